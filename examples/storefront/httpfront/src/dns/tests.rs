//! resolv.conf, the search list, and answers byte by byte.

use super::*;

#[test]
fn resolv_conf_is_read() {
    let r = Resolver::parse(
        "# ours\nnameserver 169.254.169.250\nnameserver ::1\nsearch shop.rancher.internal \
         rancher.internal\noptions timeout:2 ndots:2\n",
    );
    assert_eq!(r.servers, ["169.254.169.250:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
    assert_eq!(r.ndots, 2);
    assert_eq!(r.candidates("api"), ["api.shop.rancher.internal", "api.rancher.internal", "api"]);
    assert_eq!(r.candidates("a.b.c")[0], "a.b.c");
    assert_eq!(r.candidates("api."), ["api"]);
    assert_eq!(Resolver::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
}

fn answer(query: &[u8], flags: [u8; 2], records: &[&[u8]]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2..4].copy_from_slice(&flags);
    bytes[7] = records.len() as u8;
    for record in records {
        bytes.extend([0xc0, 12]);
        bytes.extend(*record);
    }
    bytes
}

const A: &[u8] = &[0, 1, 0, 1, 0, 0, 0, 7, 0, 4, 10, 42, 0, 9];
const CNAME: &[u8] = &[0, 5, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, 12];

#[test]
fn addresses_are_taken_from_an_answer() {
    let q = query(7, "a.b").unwrap();
    let found = parse_answer(&q, &answer(&q, [0x81, 0x80], &[CNAME, A])).unwrap();
    assert_eq!(found.addresses, [Ipv4Addr::new(10, 42, 0, 9)]);
    assert_eq!(found.ttl, Duration::from_secs(1));
    let none = parse_answer(&q, &answer(&q, [0x81, 0x83], &[])).unwrap();
    assert!(none.addresses.is_empty());
}

#[test]
fn an_answer_that_is_none_is_refused() {
    let q = query(7, "a.b").unwrap();
    let good = answer(&q, [0x81, 0x80], &[A]);
    for (what, bytes) in [
        ("a failure", answer(&q, [0x81, 0x82], &[])),
        ("a query", answer(&q, [0x01, 0x00], &[])),
        ("another id", answer(&query(8, "a.b").unwrap(), [0x81, 0x80], &[])),
        ("another name", answer(&query(7, "a.c").unwrap(), [0x81, 0x80], &[])),
        ("a cut one", good[..good.len() - 1].to_vec()),
        ("nothing", vec![]),
    ] {
        assert!(parse_answer(&q, &bytes).is_err(), "{what}");
    }
    assert!(query(7, "a..b").is_err());
}
