//! Names of Consul as hickory reads their answers.

use super::super::answer::{Step, Transport, answer};
use super::super::table::Table;
use super::*;
use crate::effective::effective;
use crate::protocol::{Local, LocalInstance, Probes};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name as HickoryName, RData, RecordType};
use model::catalog_view::{CatalogNode, Offer, Offers};
use model::dns::ConsulNames;
use model::prepared::QueryNames;
use model::time::{Index, Timestamp};
use model::view::{Admit, DnsView, NameTarget, ViewInstance};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

const ASKER: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 9);

/// An offer in words: `node`, `address:port` or `:port`, then `passing|warning|critical`, `#tag`,
/// `weight=P/W`, `is=N` for an instance of ours.
fn offer(line: &str) -> Offer {
    let mut words = line.split_whitespace();
    let node = words.next().unwrap().to_owned();
    let (address, port) = words.next().unwrap().rsplit_once(':').unwrap();
    let (address, port) = (address.to_owned(), port.parse().unwrap());
    let mut offer = Offer { node, address, port, passing: 1, warning: 1, ..Offer::default() };
    for word in words {
        match word.split_once('=') {
            Some(("weight", weights)) => {
                let (passing, warning) = weights.split_once('/').unwrap();
                offer.passing = passing.parse().unwrap();
                offer.warning = warning.parse().unwrap();
            }
            Some((_, n)) => offer.instance = Some(instance(n)),
            None if word == "warning" => offer.fitness = Fitness::Warning,
            None if word == "critical" => offer.fitness = Fitness::Critical,
            None => offer.tags.push(word.trim_start_matches('#').to_owned()),
        }
    }
    offer
}

fn instance(n: &str) -> InstanceId {
    format!("shop/web#{n}@{n}").parse().unwrap()
}

fn offers(lines: &[&str]) -> Arc<Offers> {
    let each = lines.iter().enumerate();
    Arc::new(each.map(|(n, line)| (n.to_string(), Arc::new(offer(line)))).collect())
}

fn view() -> HostView {
    let node = |address: &str, fitness, meta: &[(&str, &str)]| {
        let meta = meta.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Arc::new(CatalogNode { address: address.to_owned(), meta, fitness })
    };
    let words = [("rack", "r1"), ("rfc1035-note", "hello")];
    let nodes = [
        ("h1", node("192.0.2.1", Fitness::Passing, &words)),
        ("h2", node("192.0.2.2", Fitness::Critical, &[])),
        ("h3", node("2001:db8::3", Fitness::Passing, &[])),
        ("far", node("www.example.com", Fitness::Passing, &[])),
        ("two.words", node("192.0.2.4", Fitness::Warning, &[])),
    ];
    let services: [(&str, &[&str]); 12] = [
        ("toafar", &["h1 afar.service.consul:80"]),
        ("web", &["h1 10.42.0.5:80 #V1 #a.b weight=3/1", "h1 10.42.0.6:81 warning weight=3/2"]),
        ("onnode", &["h1 :8080"]),
        ("six", &["h3 :80"]),
        ("mixed", &["h3 :80", "h1 10.42.0.5:80"]),
        ("sick", &["h1 10.42.0.7:80 critical", "h2 10.42.0.8:80"]),
        ("warned", &["two.words 10.42.0.7:80"]),
        ("named", &["h1 db.example.com:5432", "h1 db2.example.com:5432"]),
        ("inner", &["h1 web.service.consul:80"]),
        ("twice", &["h1 10.42.0.5:80", "h1 10.42.0.5:81", "h1 10.42.0.5:80"]),
        ("ours", &["h1 10.42.0.1:80 is=1", "h1 10.42.0.2:80 is=2"]),
        ("in.dots", &["h1 10.42.0.5:80"]),
    ];
    let services = services.into_iter().map(|(name, lines)| (name.to_owned(), offers(lines)));
    let mut view = HostView::empty("default", &"h1".parse().unwrap());
    view.index = Index(77);
    view.catalog = Arc::new(CatalogView {
        settings: ConsulNames {
            alt_domain: "alt.example".into(),
            node_ttl_s: 7,
            service_ttl_s: [("web".to_owned(), 5), ("o*".to_owned(), 2)].into(),
            ..ConsulNames::default()
        },
        nodes: nodes.into_iter().map(|(name, node)| (name.to_owned(), node)).collect(),
        services: services.collect(),
        elsewhere: ["afar".to_owned()].into(),
        queries: queries(),
        ..CatalogView::default()
    });
    view
}

fn queries() -> BTreeMap<String, Arc<QueryNames>> {
    let query = |name: &str, service: &str| QueryNames {
        name: name.into(),
        service: service.into(),
        ..QueryNames::default()
    };
    let tagged =
        |name: &str, tag: &str| QueryNames { tags: vec![tag.into()], ..query(name, "web") };
    let all = [
        QueryNames { ttl_s: Some(9), ..query("Shop.Front", "Web") },
        QueryNames { only_passing: true, ..query("well", "web") },
        tagged("first", "v1"),
        tagged("others", "!v1"),
        QueryNames { node_meta: [("rack".into(), "r1".into())].into(), ..query("rack", "mixed") },
        QueryNames { node_meta: [("rack".into(), "r2".into())].into(), ..query("norack", "mixed") },
        QueryNames { near: "_agent".into(), ..query("here", "mixed") },
        QueryNames { near: "h3".into(), ..query("there", "mixed") },
        query("gone", "nobody"),
        query("far", "afar"),
        QueryNames { template: true, ..query("", "${name.full}") },
        QueryNames {
            template: true,
            regexp: "^geo-([a-z]+)-?(.*)$".into(),
            tags: vec!["${match(2)}".into()],
            remove_empty_tags: true,
            ..query("geo-", "${match(1)}")
        },
        QueryNames { template: true, ..query("bad-", "${what}") },
    ];
    (0..).zip(all).map(|(n, query)| (format!("ID-{n}"), Arc::new(query))).collect()
}

#[test]
fn prepared_queries_are_names_with_a_ttl_of_their_own() {
    use RecordType::{A, AAAA, SRV};
    let table = table(&view());
    let both = "A 10.42.0.5 5, A 10.42.0.6 5";
    for (name, kind, expect) in [
        ("shop.front.query.consul.", A, "A 10.42.0.5 9, A 10.42.0.6 9"),
        ("SHOP.front.query.DC1.consul.", A, "A 10.42.0.5 9, A 10.42.0.6 9"),
        ("id-0.query.consul.", A, "A 10.42.0.5 9, A 10.42.0.6 9"),
        ("well.query.consul.", A, "A 10.42.0.5 5"),
        ("first.query.alt.example.", A, "A 10.42.0.5 5"),
        ("others.query.consul.", A, "A 10.42.0.6 5"),
        ("rack.query.consul.", A, "A 10.42.0.5 0"),
        ("there.query.consul.", AAAA, "AAAA 2001:db8::3 0"),
        ("geo-web.query.consul.", A, both),
        ("geo-web-v1.query.consul.", A, "A 10.42.0.5 5"),
        ("onnode.query.consul.", A, "A 192.0.2.1 2"),
        ("web.query.consul.", A, both),
    ] {
        assert_eq!(words(&table, name, kind), expect, "{name} {kind}");
    }
    let srv = words(&table, "first.query.consul.", SRV);
    assert!(srv.contains("80") && srv.contains(".addr.dc1.consul"), "{srv}");
    for (name, code) in [
        ("shop.front.query.dc2.consul.", ResponseCode::NXDomain),
        ("gone.query.consul.", ResponseCode::NXDomain),
        ("norack.query.consul.", ResponseCode::NXDomain),
        ("bad-x.query.consul.", ResponseCode::NXDomain),
        ("geo-.query.consul.", ResponseCode::NXDomain),
        ("query.consul.", ResponseCode::NXDomain),
    ] {
        let message = given(&table, &question(name, A), Transport::Udp).unwrap();
        assert_eq!((message.metadata.response_code, message.answers.len()), (code, 0), "{name}");
    }
    let later = given(&table, &question("far.query.consul.", A), Transport::Udp).unwrap_err();
    assert_eq!(later, "later consul:afar");
    // What is near comes first; what is drawn is the same for both.
    for (name, first) in
        [("here.query.consul.", "10.42.0.5"), ("there.query.consul.", "2001:db8::3")]
    {
        let message = given(&table, &question(name, RecordType::ANY), Transport::Tcp).unwrap();
        assert_eq!(message.answers[0].data.to_string(), first, "{name}");
    }
}

fn table(view: &HostView) -> Table {
    Table::of(view, &effective(view, &Local::new(), &Probes::new()))
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(HickoryName::from_ascii(name).unwrap(), kind));
    message
}

fn given(table: &Table, message: &Message, by: Transport) -> Result<Message, String> {
    let bytes = message.to_vec().unwrap();
    let (mut out, mut rng) = (vec![], SmallRng::seed_from_u64(5));
    match answer(&bytes, ASKER.into(), by, table, &mut rng, &mut out) {
        Step::Send => Ok(Message::from_vec(&out).unwrap()),
        Step::Forward(_) => Err("forward".into()),
        Step::Chase(_, name, ttl) => Err(format!("chase {:?} {ttl}", name.as_wire().len())),
        Step::Later(_, name) => Err(format!("later {name}")),
        Step::Drop => panic!("dropped"),
    }
}

/// An answer in words, its records in the order of their texts.
fn words(table: &Table, name: &str, kind: RecordType) -> String {
    let message = match given(table, &question(name, kind), Transport::Tcp) {
        Ok(message) => message,
        Err(what) => return what,
    };
    let ours = message.metadata.response_code != ResponseCode::NotImp;
    assert!(message.metadata.authoritative == ours && !message.metadata.truncation, "{name}");
    let told = |record: &hickory_proto::rr::Record| {
        let own = message.queries[0].name().eq_case(&record.name);
        let owner = if own { String::new() } else { format!("{} ", record.name) };
        let data = match &record.data {
            RData::TXT(_) => record.data.to_string().replace('"', ""),
            data => data.to_string(),
        };
        format!("{owner}{} {data} {}", record.record_type(), record.ttl)
    };
    let mut answers: Vec<String> = message.answers.iter().map(told).collect();
    let mut more: Vec<String> =
        message.additionals.iter().map(|record| format!("+ {}", told(record))).collect();
    answers.sort();
    more.sort();
    answers.extend(more);
    let soa = message.authorities.iter().any(|one| one.record_type() == RecordType::SOA);
    match message.metadata.response_code {
        ResponseCode::NoError if answers.is_empty() && soa => "nodata".into(),
        ResponseCode::NoError => answers.join(", "),
        ResponseCode::NXDomain if soa => "nxdomain".into(),
        other => format!("{other:?}"),
    }
}

#[test]
fn every_form_is_answered_as_consul_does() {
    use RecordType::{A, AAAA, ANY, CNAME, NS, PTR, SOA, SRV, TXT};
    let table = table(&view());
    let web = "A 10.42.0.5 5, A 10.42.0.6 5";
    let srv = "SRV 1 2 81 0a2a0006.addr.dc1.consul. 5, SRV 1 3 80 0a2a0005.addr.dc1.consul. 5, \
               + 0a2a0005.addr.dc1.consul. A 10.42.0.5 5, + 0a2a0006.addr.dc1.consul. A 10.42.0.6 5";
    let tagged =
        "SRV 1 3 80 0a2a0005.addr.dc1.consul. 5, + 0a2a0005.addr.dc1.consul. A 10.42.0.5 5";
    let soa = "SOA ns.consul. hostmaster.consul. 77 3600 600 86400 0 0";
    let ns = "NS h1.node.dc1.consul. 7, + h1.node.dc1.consul. A 192.0.2.1 7";
    for (name, kind, expect) in [
        ("web.service.consul.", A, web),
        ("WEB.Service.Consul.", A, web),
        ("web.service.dc1.consul.", A, web),
        ("web.service.alt.example.", A, web),
        ("web.service.consul.", ANY, web),
        ("v1.web.service.consul.", A, "A 10.42.0.5 5"),
        ("a.b.web.service.consul.", A, "A 10.42.0.5 5"),
        ("nobody.web.service.consul.", A, "nxdomain"),
        ("web.service.consul.", AAAA, "nodata"),
        ("web.service.consul.", TXT, "nodata"),
        ("web.service.dc2.consul.", A, "nxdomain"),
        ("no.service.consul.", A, "nxdomain"),
        ("in.dots.service.consul.", A, "nxdomain"),
        ("web.service.consul.", SRV, srv),
        ("_web._tcp.service.consul.", SRV, srv),
        ("_web._tcp.consul.", SRV, srv),
        ("_web._v1.service.dc1.consul.", SRV, tagged),
        ("_web._no.service.consul.", SRV, "nxdomain"),
        (
            "onnode.service.consul.",
            SRV,
            "SRV 1 1 8080 h1.node.dc1.consul. 2, + h1.node.dc1.consul. A 192.0.2.1 2, \
             + h1.node.dc1.consul. TXT hello 2, + h1.node.dc1.consul. TXT rack=r1 2",
        ),
        ("onnode.service.consul.", A, "A 192.0.2.1 2"),
        ("six.service.consul.", AAAA, "AAAA 2001:db8::3 0"),
        ("six.service.consul.", A, "nodata"),
        ("mixed.service.consul.", ANY, "A 10.42.0.5 0, AAAA 2001:db8::3 0"),
        ("mixed.service.consul.", AAAA, "AAAA 2001:db8::3 0"),
        ("sick.service.consul.", A, "nxdomain"),
        ("sick.service.consul.", SRV, "nxdomain"),
        ("warned.service.consul.", A, "A 10.42.0.7 0"),
        ("twice.service.consul.", A, "A 10.42.0.5 0"),
        ("inner.service.consul.", CNAME, "CNAME web.service.consul. 0"),
        ("afar.service.consul.", A, "later consul:afar"),
        ("toafar.service.consul.", A, "later consul:afar"),
        ("toafar.service.consul.", AAAA, "later consul:afar"),
        ("h1.node.consul.", A, "A 192.0.2.1 7, + TXT hello 7, + TXT rack=r1 7"),
        ("h1.node.dc1.consul.", TXT, "TXT hello 7, TXT rack=r1 7"),
        ("h1.node.consul.", ANY, "A 192.0.2.1 7, TXT hello 7, TXT rack=r1 7"),
        ("h1.node.consul.", AAAA, "nodata"),
        ("h2.node.consul.", A, "A 192.0.2.2 7"),
        ("h3.node.consul.", AAAA, "AAAA 2001:db8::3 7"),
        ("h3.node.consul.", TXT, "nodata"),
        ("two.words.node.consul.", A, "A 192.0.2.4 7"),
        ("far.node.consul.", A, "chase 16 7"),
        ("far.node.consul.", CNAME, "CNAME www.example.com. 7"),
        ("no.node.consul.", A, "nxdomain"),
        ("0a2a0005.addr.dc1.consul.", A, "A 10.42.0.5 7"),
        ("0a2a0005.addr.consul.", AAAA, "nodata"),
        ("20010db8000000000000000000000003.addr.consul.", AAAA, "AAAA 2001:db8::3 7"),
        ("web.virtual.consul.", A, "nxdomain"),
        ("web.connect.consul.", A, "nxdomain"),
        ("consul.", SOA, soa),
        ("consul.", NS, ns),
        ("consul.", A, "nodata"),
        ("1.2.0.192.in-addr.arpa.", PTR, "PTR h1.node.dc1.consul. 7"),
        (
            "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.",
            PTR,
            "PTR h3.node.dc1.consul. 7",
        ),
        ("6.0.42.10.in-addr.arpa.", PTR, "PTR web.service.dc1.consul. 7"),
        ("99.0.42.10.in-addr.arpa.", PTR, "forward"),
        ("web.service.consul.example.", A, "forward"),
        ("example.com.", ANY, "NotImp"),
    ] {
        assert_eq!(words(&table, name, kind), expect, "{name} {kind}");
    }
}

#[test]
fn a_host_name_is_answered_alone_and_followed_to_where_it_leads() {
    let table = table(&view());
    let named = words(&table, "named.service.consul.", RecordType::A);
    assert!(named == "chase 15 0" || named == "chase 16 0", "{named}");
    let inner = words(&table, "inner.service.consul.", RecordType::A);
    let web = "web.service.consul. A 10.42.0.5 0, web.service.consul. A 10.42.0.6 0";
    assert_eq!(inner, format!("CNAME web.service.consul. 0, {web}"));
    let inner = words(&table, "inner.service.consul.", RecordType::AAAA);
    assert_eq!(inner, "CNAME web.service.consul. 0");
    let srv = words(&table, "named.service.consul.", RecordType::SRV);
    assert!(srv.contains("SRV 1 1 5432 db.example.com. 0"), "{srv}");
}

#[test]
fn settings_decide_what_warns_and_where_names_end() {
    let mut view = view();
    let settings = |view: &mut HostView, change: fn(&mut ConsulNames)| {
        change(&mut Arc::make_mut(&mut view.catalog).settings);
    };
    settings(&mut view, |s| s.only_passing = true);
    assert_eq!(words(&table(&view), "web.service.consul.", RecordType::A), "A 10.42.0.5 5");
    assert_eq!(words(&table(&view), "warned.service.consul.", RecordType::A), "nxdomain");
    settings(&mut view, |s| (s.datacenter, s.domain) = ("east".into(), "cluster".into()));
    let table_east = table(&view);
    assert_eq!(words(&table_east, "web.service.east.cluster.", RecordType::A), "A 10.42.0.5 5");
    assert_eq!(words(&table_east, "web.service.dc1.cluster.", RecordType::A), "nxdomain");
    assert_eq!(words(&table_east, "web.service.consul.", RecordType::A), "forward");
    settings(&mut view, |s| s.domain = String::new());
    settings(&mut view, |s| s.alt_domain = String::new());
    assert_eq!(words(&table(&view), "web.service.cluster.", RecordType::A), "forward");
}

#[test]
fn names_of_ours_go_before_those_of_consul() {
    let mut view = view();
    let mut dns =
        DnsView { zones: vec!["rancher.internal".into()], ttl_s: 1, ..DnsView::default() };
    let address = Ipv4Addr::new(10, 42, 9, 9);
    dns.names.insert("server.consul".into(), NameTarget::Address(address));
    view.dns = Arc::new(dns);
    let table = table(&view);
    assert_eq!(words(&table, "server.consul.", RecordType::A), "A 10.42.9.9 1");
    assert_eq!(words(&table, "onnode.service.consul.", RecordType::A), "A 192.0.2.1 2");
}

/// What this host sees itself takes out, and lets come back, what the catalog has.
#[test]
fn what_stops_here_is_out_at_once_and_the_rest_is_not_looked_at_again() {
    let mut view = view();
    let one = |address: [u8; 4]| ViewInstance {
        address: address.into(),
        host: "h1".parse().unwrap(),
        admit: Admit::Active,
        check: None,
        probers: vec![],
        run: Timestamp::default(),
        ready_ports: vec![],
        running: true,
        health: model::health::Health::Unchecked,
        counted: false,
        nobody_healthy: None,
    };
    let listed = [("1", [10, 42, 0, 1]), ("2", [10, 42, 0, 2])];
    let listed = listed.map(|(n, address)| (instance(n), Arc::new(one(address))));
    view.instances = Arc::new(listed.into());
    let stopped = |all: &[&str]| -> Local {
        all.iter().map(|n| (instance(n), LocalInstance::default())).collect()
    };
    let after = |before: &Table, local: Local| {
        Table::after(Some(before), &view, &effective(&view, &local, &Probes::new()))
    };
    let first = table(&view);
    let ours = |table: &Table| words(table, "ours.service.consul.", RecordType::A);
    assert_eq!(ours(&first), "A 10.42.0.1 2, A 10.42.0.2 2");
    let second = after(&first, stopped(&["1"]));
    assert_eq!(ours(&second), "A 10.42.0.2 2");
    let web = |table: &Table| Arc::clone(&table.consul.services[b"web".as_slice()]);
    assert!(Arc::ptr_eq(&web(&first), &web(&second)), "nothing of it changed");
    let third = after(&second, stopped(&["1", "2"]));
    assert_eq!(ours(&third), "nxdomain", "Consul's names do not fail open");
    assert_eq!(ours(&after(&third, Local::new())), "A 10.42.0.1 2, A 10.42.0.2 2");
    let same = after(&third, stopped(&["1", "2"]));
    assert!(Arc::ptr_eq(&same.consul, &third.consul));
}

#[test]
fn answers_are_few_without_edns_cut_with_it_and_whole_by_tcp() {
    let mut view = view();
    let lines: Vec<String> = (0..40).map(|n| format!("h1 10.42.1.{n}:80")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    Arc::make_mut(&mut view.catalog).services.insert("many".into(), offers(&lines));
    let plain = |kind| question("many.service.consul.", kind);
    let wide = |kind| {
        let mut edns = Edns::new();
        edns.set_max_payload(1_000);
        let mut message = plain(kind);
        message.set_edns(edns);
        message
    };
    let of = |table: &Table, message: &Message, by| {
        let reply = given(table, message, by).unwrap();
        (reply.answers.len(), reply.metadata.truncation, reply.to_vec().unwrap().len())
    };
    for kind in [RecordType::A, RecordType::SRV] {
        let table = table(&view);
        let (count, cut, bytes) = of(&table, &plain(kind), Transport::Udp);
        assert!(count == 3 && !cut && bytes <= 512, "{kind} {count} {bytes}");
        let (count, cut, _) = of(&table, &plain(kind), Transport::Tcp);
        assert_eq!((count, cut), (40, false), "{kind}");
        let (count, cut, bytes) = of(&table, &wide(kind), Transport::Udp);
        assert!(bytes <= 1_000 && (kind == RecordType::A || cut) && count > 3, "{kind} {count}");
    }
    Arc::make_mut(&mut view.catalog).settings.udp_answers = 0;
    let (count, cut, bytes) = of(&table(&view), &plain(RecordType::A), Transport::Udp);
    assert!(count > 20 && cut && bytes <= 512, "{count} {bytes}");
}

#[test]
fn the_order_of_answers_changes() {
    let table = table(&view());
    let bytes = question("web.service.consul.", RecordType::A).to_vec().unwrap();
    let mut rng = SmallRng::seed_from_u64(2);
    let mut firsts = BTreeSet::new();
    for _ in 0..50 {
        let mut out = vec![];
        answer(&bytes, ASKER.into(), Transport::Udp, &table, &mut rng, &mut out);
        firsts.insert(Message::from_vec(&out).unwrap().answers[0].data.to_string());
    }
    assert_eq!(firsts.len(), 2);
}

proptest! {
    #[test]
    fn every_question_in_the_domain_has_a_well_formed_answer(
        labels in proptest::collection::vec(
            prop_oneof![
                "[a-z0-9_]{1,12}",
                prop::sample::select(vec!["service", "node", "addr", "dc1", "dc", "web", "_web", "_tcp",
                    "h1", "v1", "mixed", "named", "0a2a0005", "query"]).prop_map(str::to_owned),
            ],
            0..8,
        ),
        kind in prop::sample::select(vec![1u16, 2, 5, 6, 12, 16, 28, 33, 255]),
        by in prop::sample::select(vec![Transport::Udp, Transport::Tcp]),
        size in proptest::option::of(0u16..2_000),
    ) {
        let name = labels.into_iter().chain(["consul.".to_owned()]).collect::<Vec<_>>().join(".");
        let mut message = question(&name, RecordType::from(kind));
        if let Some(size) = size {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            message.set_edns(edns);
        }
        if let Ok(reply) = given(&table(&view()), &message, by) {
            prop_assert_eq!(reply.id, 7);
            prop_assert!(by == Transport::Tcp || reply.to_vec().unwrap().len() <= 2_000);
        }
    }
}
