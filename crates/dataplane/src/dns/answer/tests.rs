//! Answers as hickory reads them.

mod rancher;

use super::*;
use crate::effective::effective;
use crate::protocol::{Local, Probes};
use hickory_proto::op::{
    Edns as HickoryEdns, Message, MessageType, OpCode, Query as Question, ResponseCode,
};
use hickory_proto::rr::{Name as HickoryName, RData, RecordType};
use model::time::Index;
use model::view::{Caller, DnsView, HostView, NameTarget, VIEW_FORMAT};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use std::collections::BTreeSet;
use std::sync::Arc;

const CALLER: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 9);

fn table(addresses: &[(&str, &str)]) -> Table {
    table_with(addresses, &[], &[])
}

/// With names that stand for others, and names that the caller alone knows.
fn table_with(
    addresses: &[(&str, &str)],
    cnames: &[(&str, &str)],
    aliases: &[(&str, &str)],
) -> Table {
    let pairs = |all: &[(&str, &str)]| {
        all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let names = addresses
        .iter()
        .map(|(name, address)| ((*name).to_owned(), NameTarget::Address(address.parse().unwrap())));
    let search = ["web.shop.rancher.internal", "shop.rancher.internal", "example.com"];
    let search = search.into_iter().chain(["rancher.internal"]).map(str::to_owned).collect();
    let service = "shop/web".parse().unwrap();
    let caller = Caller { service, search, aliases: pairs(aliases), servers: vec![] };
    let view = HostView {
        format: VIEW_FORMAT,
        environment: "default".into(),
        host: "here".parse().unwrap(),
        index: Index(77),
        dns: Arc::new(DnsView {
            zones: vec!["rancher.internal".into(), "remuda.internal".into()],
            ttl_s: 1,
            names: names.collect(),
            cnames: pairs(cnames),
            elsewhere: [].into(),
            nobody_healthy: model::dns::NobodyHealthy::All,
        }),
        callers: Arc::new([(CALLER, caller)].into()),
        instances: Arc::default(),
        upstreams: [].into(),
        listeners: [].into(),
        floating: [].into(),
        checks: [].into(),
        partial: false,
        catalog: Arc::default(),
        meta: Default::default(),
    };
    Table::of(&view, &effective(&view, &Local::new(), &Probes::new()))
}

fn shop() -> Table {
    table(&[
        ("api.shop", "10.42.0.2"),
        ("db.other", "10.42.0.3"),
        ("side.web.shop", "10.42.0.4"),
        ("shop-api-1", "10.42.0.2"),
        ("rancher-metadata", "169.254.169.250"),
    ])
}

fn asked(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Question::query(HickoryName::from_ascii(name).unwrap(), kind));
    message
}

/// `None` when it is forwarded.
fn reply(table: &Table, message: &Message, source: Ipv4Addr, by: Transport) -> Option<Message> {
    let bytes = message.to_vec().unwrap();
    let mut out = vec![];
    let mut rng = SmallRng::seed_from_u64(1);
    match answer(&bytes, source.into(), by, table, &mut rng, &mut out) {
        Step::Send => Some(Message::from_vec(&out).unwrap()),
        Step::Forward(_) | Step::Chase(..) | Step::Later(..) => None,
        Step::Drop => panic!("dropped"),
    }
}

/// An answer in words: `forward`, a code, or addresses.
fn words(table: &Table, source: Ipv4Addr, name: &str, kind: RecordType) -> String {
    let Some(reply) = reply(table, &asked(name, kind), source, Transport::Udp) else {
        return "forward".into();
    };
    let asked = HickoryName::from_ascii(name).unwrap();
    assert!(reply.metadata.authoritative && reply.metadata.recursion_available, "{name}");
    assert_eq!(reply.id, 7);
    assert!(reply.queries[0].name().eq_case(&asked), "{name} is repeated as asked");
    let authority = reply.authorities.iter().map(|soa| format!(" soa {} {}", soa.name, soa.ttl));
    let authority: String = authority.collect();
    let answers = reply.answers.iter().map(|record| {
        assert!(record.name.eq_case(&asked), "the owner is what was asked");
        match &record.data {
            RData::A(address) => format!("{} {}", address.0, record.ttl),
            RData::SOA(soa) => format!("soa {} {}", soa.serial, soa.minimum),
            other => panic!("what is {other}?"),
        }
    });
    match reply.metadata.response_code {
        ResponseCode::NoError if reply.answers.is_empty() => format!("nodata{authority}"),
        ResponseCode::NoError => answers.collect::<Vec<_>>().join(" "),
        ResponseCode::NXDomain => format!("nxdomain{authority}"),
        other => other.to_string(),
    }
}

#[test]
fn names_of_ours_are_answered_as_the_caller_means_them() {
    let table = shop();
    let host = Ipv4Addr::LOCALHOST;
    let link_local = Ipv4Addr::new(169, 254, 169, 250);
    for (source, name, expect) in [
        (CALLER, "api.shop.rancher.internal.", "10.42.0.2 1"),
        (CALLER, "API.Shop.Remuda.Internal.", "10.42.0.2 1"),
        (CALLER, "api.", "10.42.0.2 1"),
        (CALLER, "Api.Shop.", "10.42.0.2 1"),
        (CALLER, "side.", "10.42.0.4 1"),
        (CALLER, "db.other.", "10.42.0.3 1"),
        (CALLER, "db.", "forward"),
        (CALLER, "api.shop.example.", "forward"),
        (CALLER, "rancher-metadata.", "169.254.169.250 1"),
        (CALLER, "shop-api-1.rancher.internal.", "10.42.0.2 1"),
        (CALLER, "shop.", "forward"),
        (CALLER, ".", "forward"),
        (host, "api.", "forward"),
        (host, "api.shop.", "10.42.0.2 1"),
        (host, "api.shop.rancher.internal.", "10.42.0.2 1"),
        (link_local, "api.shop.", "10.42.0.2 1"),
        (host, "www.example.com.", "forward"),
        (CALLER, "no.shop.rancher.internal.", "nxdomain soa rancher.internal. 1"),
        (CALLER, "no.shop.remuda.internal.", "nxdomain soa remuda.internal. 1"),
        (CALLER, "shop.rancher.internal.", "nodata soa rancher.internal. 1"),
        (CALLER, "rancher.internal.", "nodata soa rancher.internal. 1"),
        (CALLER, "xrancher.internal.", "forward"),
    ] {
        assert_eq!(words(&table, source, name, RecordType::A), expect, "{name} of {source}");
    }
}

#[test]
fn other_types_of_a_known_name_are_empty_and_never_missing() {
    let table = shop();
    for (name, kind, expect) in [
        ("api.", RecordType::AAAA, "nodata soa rancher.internal. 1"),
        ("api.shop.remuda.internal.", RecordType::AAAA, "nodata soa remuda.internal. 1"),
        ("api.shop.", RecordType::TXT, "nodata soa rancher.internal. 1"),
        ("rancher.internal.", RecordType::SOA, "soa 77 1"),
        ("no.rancher.internal.", RecordType::AAAA, "nxdomain soa rancher.internal. 1"),
        ("api.", RecordType::ANY, "Not Implemented"),
    ] {
        if kind == RecordType::ANY {
            let reply = reply(&table, &asked(name, kind), CALLER, Transport::Udp).unwrap();
            assert_eq!(reply.metadata.response_code, ResponseCode::NotImp);
        } else {
            assert_eq!(words(&table, CALLER, name, kind), expect, "{name} {kind}");
        }
    }
}

#[test]
fn without_a_view_everything_is_asked_of_the_host() {
    assert_eq!(words(&Table::default(), CALLER, "api.", RecordType::A), "forward");
}

fn many(count: u8) -> Table {
    let mut view_names: Vec<(String, String)> = vec![];
    for n in 0..count {
        view_names.push((format!("n{n}.shop"), format!("10.42.1.{n}")));
    }
    let names: Vec<(&str, &str)> =
        view_names.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let mut table = table(&names);
    table.put("api.shop", (0..count).map(|n| Ipv4Addr::new(10, 42, 1, n)));
    table
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let a = message.answers.iter().map(|record| match &record.data {
        RData::A(address) => address.0,
        other => panic!("what is {other}?"),
    });
    a.collect()
}

#[test]
fn addresses_come_in_changing_order_and_all_of_them_first_sometimes() {
    let table = many(5);
    let bytes = asked("api.shop.", RecordType::A).to_vec().unwrap();
    let mut rng = SmallRng::seed_from_u64(2);
    let mut firsts = BTreeSet::new();
    for _ in 0..100 {
        let mut out = vec![];
        answer(&bytes, CALLER.into(), Transport::Udp, &table, &mut rng, &mut out);
        let got = addresses(&Message::from_vec(&out).unwrap());
        assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), 5);
        firsts.insert(got[0]);
    }
    assert_eq!(firsts.len(), 5);
}

#[test]
fn an_answer_that_does_not_fit_is_cut_and_whole_by_tcp() {
    let table = many(200);
    let plain = asked("api.shop.", RecordType::A);
    let mut wide = plain.clone();
    let mut edns = HickoryEdns::new();
    edns.set_max_payload(4_096);
    wide.set_edns(edns);
    let of = |message: &Message, by| {
        let reply = reply(&table, message, CALLER, by).unwrap();
        (reply.to_vec().unwrap().len(), reply.metadata.truncation, addresses(&reply).len())
    };
    let (bytes, cut, count) = of(&plain, Transport::Udp);
    assert!(bytes <= 512 && cut && count >= 28, "{bytes} {count}");
    let (bytes, cut, count) = of(&wide, Transport::Udp);
    assert!(bytes <= DNS_UDP_BYTES_MAX && cut && count >= 70, "{bytes} {count}");
    assert_eq!((of(&plain, Transport::Tcp).1, of(&plain, Transport::Tcp).2), (false, 200));
    let reply = reply(&table, &wide, CALLER, Transport::Udp).unwrap();
    assert_eq!(reply.edns.unwrap().max_payload(), 1_232);
}

#[test]
fn an_unknown_version_of_edns_is_named() {
    let mut message = asked("api.shop.", RecordType::A);
    let mut edns = HickoryEdns::new();
    edns.set_version(9);
    message.set_edns(edns);
    let reply = reply(&shop(), &message, CALLER, Transport::Udp).unwrap();
    assert_eq!((u16::from(reply.metadata.response_code), reply.answers.len()), (16, 0));
}

proptest! {
    #[test]
    fn no_message_makes_it_panic_and_every_answer_is_well_formed(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        damage in proptest::option::of((0..45usize, any::<u8>())),
    ) {
        let table = shop();
        let mut message = bytes;
        if let Some((at, value)) = damage {
            message = asked("api.shop.rancher.internal.", RecordType::A).to_vec().unwrap();
            let at = at % message.len();
            message[at] = value;
        }
        let mut out = vec![];
        let mut rng = SmallRng::seed_from_u64(3);
        let step = answer(&message, CALLER.into(), Transport::Udp, &table, &mut rng, &mut out);
        if matches!(step, Step::Send) {
            prop_assert!(Message::from_vec(&out).is_ok() || message[2] & 0x78 != 0, "{:?}", out);
        }
    }
}

#[test]
fn a_caller_has_names_of_its_own_that_go_before_those_of_all() {
    let addresses = [("db.other", "10.42.0.3"), ("api.shop", "10.42.0.2"), ("pg", "10.42.0.7")];
    let aliases = [("pg", "db.other"), ("pg.other", "db.other"), ("gone", "nobody.shop")];
    let table = table_with(&addresses, &[], &aliases);
    let stranger = Ipv4Addr::new(10, 42, 0, 8);
    for (source, name, expect) in [
        (CALLER, "pg.", "10.42.0.3"),
        (CALLER, "PG.rancher.internal.", "10.42.0.3"),
        (CALLER, "pg.other.", "10.42.0.3"),
        (CALLER, "pg.other.remuda.internal.", "10.42.0.3"),
        (CALLER, "pg.shop.rancher.internal.", "nxdomain"),
        (CALLER, "gone.rancher.internal.", "nxdomain"),
        (CALLER, "gone.", "forward"),
        (CALLER, "api.", "10.42.0.2"),
        (stranger, "pg.", "10.42.0.7"),
        (stranger, "pg.other.", "forward"),
    ] {
        let words = words(&table, source, name, RecordType::A);
        assert_eq!(words.split(' ').next(), Some(expect), "{name} of {source}");
    }
}

#[test]
fn a_name_may_stand_for_another_one() {
    let cnames = [
        ("mail.shop", "smtp.example.com"),
        ("inner.shop", "api.shop.rancher.internal"),
        ("outer.shop", "inner.shop.rancher.internal"),
        ("deep.shop", "mail.shop.rancher.internal"),
        ("ring.shop", "ring.shop.rancher.internal"),
        ("lost.shop", "nobody.shop.rancher.internal"),
    ];
    let table = table_with(&[("api.shop", "10.42.0.2")], &cnames, &[]);
    let mut rng = SmallRng::seed_from_u64(1);
    for (name, kind, chased) in [
        ("mail.shop.rancher.internal.", RecordType::A, Some("smtp.example.com")),
        ("mail.", RecordType::AAAA, Some("smtp.example.com")),
        ("deep.shop.", RecordType::A, Some("smtp.example.com")),
        ("mail.shop.", RecordType::CNAME, None),
        ("inner.shop.", RecordType::A, None),
    ] {
        let bytes = asked(name, kind).to_vec().unwrap();
        let mut out = vec![];
        let step = answer(&bytes, CALLER.into(), Transport::Udp, &table, &mut rng, &mut out);
        let target = match step {
            Step::Chase(_, target, _) => Some(target),
            Step::Send => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(target, chased.map(|name| Name::parse(name).unwrap()), "{name}");
    }
    let answers = |name: &str, kind| -> Vec<String> {
        let reply = reply(&table, &asked(name, kind), CALLER, Transport::Udp).unwrap();
        let code = format!("{:?}", reply.metadata.response_code);
        let records = reply.answers.iter().map(|r| format!("{} {}", r.name, r.data));
        std::iter::once(code).chain(records).collect()
    };
    let inner = "api.shop.rancher.internal.";
    assert_eq!(
        answers("inner.shop.", RecordType::A),
        ["NoError".to_owned(), format!("inner.shop. {inner}"), format!("{inner} 10.42.0.2")]
    );
    assert_eq!(
        answers("outer.shop.", RecordType::A),
        ["NoError".to_owned(), format!("outer.shop. {inner}"), format!("{inner} 10.42.0.2")]
    );
    assert_eq!(answers("mail.shop.", RecordType::MX)[1..], ["mail.shop. smtp.example.com."]);
    assert_eq!(answers("lost.shop.", RecordType::A).len(), 2, "the name alone");
    assert_eq!(answers("ring.shop.", RecordType::A), ["ServFail"], "a circle is cut");
}
