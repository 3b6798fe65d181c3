//! What clients of Rancher's DNS rely on, by the examples that it came with.

use super::*;
use model::dns::NobodyHealthy;

/// Stacks as those of the examples, and one who asks out of `service-foo.stack-a`.
fn stacks() -> Table {
    let label = |letter: &str| letter.repeat(63);
    let long = format!("{}.{}.{}", "d".repeat(61), label("c"), label("b"));
    let addresses = [
        ("stack-a_service-baz_1", "10.42.141.123"),
        ("stack-a_service-baz_2", "10.42.195.8"),
        ("service-baz.stack-a", "10.42.141.123"),
        ("sidekick-bar.service-foo.stack-a", "10.42.209.131"),
        ("service-foo.stack-a", "10.42.112.91"),
        ("sidekick-baz.service-bar.stack-b", "10.42.209.120"),
        ("service-bar.stack-b", "10.42.112.11"),
        ("rancher-metadata", "169.254.169.250"),
        (long.as_str(), "169.254.169.250"),
        ("d.x", "1.2.3.8"),
        ("target", "172.16.2.3"),
    ];
    let chain: Vec<(String, String)> = (1..=10)
        .map(|n| (format!("toolong{n}"), format!("toolong{}.rancher.internal", n + 1)))
        .collect();
    let mut cnames = vec![
        ("external-alias-foo.stack-a", "www.example.com"),
        ("e.x", "d.x.rancher.internal"),
        ("simpleloop", "simpleloop.rancher.internal"),
        ("loop", "loop2.rancher.internal"),
        ("loop2", "loop.rancher.internal"),
        ("things", "target.rancher.internal"),
        ("toolong11", "target.rancher.internal"),
    ];
    cnames.extend(chain.iter().map(|(a, b)| (a.as_str(), b.as_str())));
    let aliases = [
        ("db", "service-bar.stack-b"),
        ("db.stack-b", "service-bar.stack-b"),
        ("far", "external-alias-foo.stack-a"),
        ("service-baz", "service-foo.stack-a"),
    ];
    table_with(&addresses, &cnames, &aliases)
}

/// The code and the addresses.
fn told(table: &Table, source: Ipv4Addr, name: &str, kind: RecordType) -> String {
    let Some(reply) = reply(table, &asked(name, kind), source, Transport::Udp) else {
        return "recursed".into();
    };
    let records = reply.answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(format!(" {}", address.0)),
        _ => None,
    });
    format!("{:?}{}", reply.metadata.response_code, records.collect::<String>())
}

#[test]
fn the_examples_are_answered_as_they_were() {
    let table = stacks();
    let stranger = Ipv4Addr::new(10, 42, 7, 7);
    let long =
        format!("{}.{}.{}.rancher.internal.", "d".repeat(61), "c".repeat(63), "b".repeat(63));
    use RecordType::{A, AAAA, ANY, MX, PTR, TXT};
    for (source, name, kind, expect) in [
        (stranger, "service-foo.stack-a.rancher.internal.", A, "NoError 10.42.112.91"),
        (stranger, "Service-Foo.Stack-A.Rancher.Internal.", A, "NoError 10.42.112.91"),
        (stranger, "stack-a_service-baz_2.rancher.internal.", A, "NoError 10.42.195.8"),
        (stranger, "sidekick-baz.service-bar.stack-b.", A, "NoError 10.42.209.120"),
        (stranger, "rancher-metadata.", A, "NoError 169.254.169.250"),
        (stranger, &long, A, "NoError 169.254.169.250"),
        // A name that has an A and no AAAA is there.
        (stranger, "service-foo.stack-a.rancher.internal.", AAAA, "NoError"),
        (stranger, "rancher-metadata.rancher.internal.", AAAA, "NoError"),
        (stranger, "service-foo.stack-a.rancher.internal.", TXT, "NoError"),
        (stranger, "service-foo.stack-a.rancher.internal.", MX, "NoError"),
        (stranger, "nobody.stack-a.rancher.internal.", A, "NXDomain"),
        (stranger, "nobody.stack-a.rancher.internal.", AAAA, "NXDomain"),
        (stranger, "nobody.stack-a.", A, "recursed"),
        (stranger, "1.0.42.10.in-addr.arpa.", PTR, "recursed"),
        (stranger, "service-foo.stack-a.", ANY, "NotImp"),
        (stranger, "www.example.com.", ANY, "NotImp"),
        // Names that stand for others, ten of them at most, and circles.
        (stranger, "external-alias-foo.stack-a.rancher.internal.", A, "recursed"),
        (stranger, "things.rancher.internal.", A, "NoError 172.16.2.3"),
        (stranger, "e.x.rancher.internal.", A, "NoError 1.2.3.8"),
        (stranger, "toolong2.rancher.internal.", A, "NoError 172.16.2.3"),
        (stranger, "toolong1.rancher.internal.", A, "ServFail"),
        (stranger, "simpleloop.rancher.internal.", A, "ServFail"),
        (stranger, "loop.rancher.internal.", A, "ServFail"),
        // What one alone knows goes before what all know, in each of its forms.
        (CALLER, "db.", A, "NoError 10.42.112.11"),
        (CALLER, "db.rancher.internal.", A, "NoError 10.42.112.11"),
        (CALLER, "db.stack-b.", A, "NoError 10.42.112.11"),
        (CALLER, "db.stack-b.rancher.internal.", A, "NoError 10.42.112.11"),
        (CALLER, "db.", AAAA, "NoError"),
        (CALLER, "far.", A, "recursed"),
        (stranger, "db.", A, "recursed"),
        (stranger, "db.rancher.internal.", A, "NXDomain"),
        (stranger, "db.stack-b.rancher.internal.", A, "NXDomain"),
        (CALLER, "service-baz.", A, "NoError 10.42.112.91"),
    ] {
        assert_eq!(told(&table, source, name, kind), expect, "{name} {kind} of {source}");
    }
}

#[test]
fn what_is_no_question_of_the_internet_is_not_implemented() {
    let mut bytes = asked("service-foo.stack-a.", RecordType::A).to_vec().unwrap();
    let class = bytes.len() - 1;
    bytes[class] = 3;
    let (mut out, mut rng) = (vec![], SmallRng::seed_from_u64(1));
    let step = answer(&bytes, CALLER.into(), Transport::Udp, &stacks(), &mut rng, &mut out);
    assert!(matches!(step, Step::Send));
    assert_eq!(out[3] & 0x0f, Rcode::NotImp as u8);
}

/// With a long TTL a name that comes is found all the same: that it was not there holds a second.
#[test]
fn a_no_holds_for_a_second_whatever_the_ttl() {
    let mut table = stacks();
    table.ttl = 600;
    let of = |name| reply(&table, &asked(name, RecordType::A), CALLER, Transport::Udp).unwrap();
    assert_eq!(of("service-foo.stack-a.rancher.internal.").answers[0].ttl, 600);
    let missing = of("nobody.stack-a.rancher.internal.");
    let soa = &missing.authorities[0];
    let RData::SOA(data) = &soa.data else { panic!("what is {soa}?") };
    assert_eq!(
        (soa.ttl, data.minimum, data.refresh, data.retry, data.expire),
        (1, 1, 60, 10, 86_400)
    );
    assert!(missing.metadata.authoritative);
}

#[test]
fn a_caller_with_resolvers_of_its_own_has_them() {
    let mut view = HostView::empty("default", &"here".parse().unwrap());
    let service: model::id::ServiceId = "shop/web".parse().unwrap();
    let caller = |servers: &[&str]| Caller {
        service: service.clone(),
        search: vec![],
        aliases: [].into(),
        servers: servers.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let other = Ipv4Addr::new(10, 42, 0, 8);
    let callers = [(CALLER, caller(&["10.0.0.2", "2001:db8::1"])), (other, caller(&[]))];
    view.callers = Arc::new(callers.into());
    let table = Table::of(&view, &effective(&view, &Local::new(), &Probes::new()));
    let expect: Vec<std::net::SocketAddr> =
        vec!["10.0.0.2:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
    assert_eq!(table.servers(CALLER.into()).unwrap().as_ref(), expect);
    assert_eq!(table.servers(other.into()), None);
    assert_eq!(view.dns.nobody_healthy, NobodyHealthy::All);
}
