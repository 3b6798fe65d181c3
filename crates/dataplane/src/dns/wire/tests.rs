//! Queries and records as hickory writes them, and as nobody should.

use super::*;
use hickory_proto::op::{Edns as HickoryEdns, Message, MessageType, OpCode, Query as Question};
use hickory_proto::rr::{Name as HickoryName, RecordType};
use proptest::prelude::*;

fn asked(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4_711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Question::query(HickoryName::from_ascii(name).unwrap(), kind));
    message
}

#[test]
fn a_query_is_read_as_it_was_written() {
    let mut message = asked("Api.SHOP.rancher.internal.", RecordType::AAAA);
    let mut edns = HickoryEdns::new();
    edns.set_max_payload(4_096).set_dnssec_ok(true);
    message.set_edns(edns);
    let bytes = message.to_vec().unwrap();
    let query = query(&bytes).unwrap();
    assert_eq!(query.name(), Name::parse("api.shop.rancher.internal").unwrap().as_wire());
    assert_eq!((query.id, query.kind, query.recursion_desired), (4_711, 28, true));
    assert_eq!(query.edns, Some(Edns { size: 4_096, version: 0, dnssec: true }));
    assert!(query.question.starts_with(b"\x03Api\x04SHOP"), "the case of the asker is kept");
}

#[test]
fn what_is_no_query_gets_no_answer_and_a_bad_one_its_code() {
    let good = asked("a.b.", RecordType::A).to_vec().unwrap();
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let code = |code| Refusal::Code(code);
    for (what, bytes, expect) in [
        ("short", good[..11].to_vec(), Refusal::Drop),
        ("an answer", with(2, 0x81), Refusal::Drop),
        ("a notify", with(2, 0x20), code(Rcode::NotImp)),
        ("no question", with(5, 0), code(Rcode::FormErr)),
        ("two questions", with(5, 2), code(Rcode::FormErr)),
        ("no type", good[..good.len() - 3].to_vec(), code(Rcode::FormErr)),
        ("a pointer", with(12, 0xc0), code(Rcode::FormErr)),
        ("a record that is not there", with(11, 1), code(Rcode::FormErr)),
        ("class CH", with(good.len() - 1, 3), code(Rcode::NotImp)),
        ("MAILA", with(good.len() - 3, 254), code(Rcode::NotImp)),
        ("AXFR", with(good.len() - 3, 252), code(Rcode::NotImp)),
    ] {
        assert_eq!(query(&bytes).unwrap_err(), expect, "{what}");
    }
}

#[test]
fn the_longest_name_is_read_and_a_longer_one_is_not() {
    for (last, good) in [(61, true), (62, false), (63, false)] {
        let mut bytes = asked(".", RecordType::A).to_vec().unwrap()[..HEADER].to_vec();
        for length in [63u8, 63, 63, last] {
            bytes.push(length);
            bytes.extend(std::iter::repeat_n(b'a', usize::from(length)));
        }
        bytes.extend([0, 0, 1, 0, 1]);
        assert_eq!(query(&bytes).is_ok(), good, "last label of {last}");
    }
}

#[test]
fn names_end_at_labels() {
    let wire = |text: &str| Name::parse(text).unwrap();
    for (name, suffix, rest) in [
        ("api.shop.rancher.internal", "rancher.internal", Some("api.shop")),
        ("api.shop.xrancher.internal", "rancher.internal", None),
        ("internal", "rancher.internal", None),
        // The length of a label looks like the letter of a longer one.
        ("rancher.internal", "internal", Some("rancher")),
    ] {
        let (name, suffix) = (wire(name), wire(suffix));
        let stripped = strip(name.as_wire(), suffix.as_wire());
        assert_eq!(stripped, rest.map(wire).as_ref().map(Name::as_wire));
    }
    let zone = wire("rancher.internal");
    assert_eq!(strip(zone.as_wire(), zone.as_wire()), Some(&[][..]));
    for bad in ["", ".", "a..b", "a.", &"a".repeat(64), &format!("{}a", "a.".repeat(130))] {
        assert_eq!(Name::parse(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0..400usize) {
        if let Ok(query) = query(&bytes) {
            prop_assert!(query.name().len() < NAME_MAX);
        }
        if let Some(record) = record(&bytes, at) {
            prop_assert!(record.end <= bytes.len() && record.data > at);
        }
        let mut out = vec![];
        refuse(&bytes, Rcode::FormErr, &mut out);
        prop_assert!(out.len() == HEADER || bytes.len() < HEADER);
    }

    #[test]
    fn a_damaged_query_is_read_or_refused(at in 0..60usize, value in any::<u8>(), cut in 0..60usize) {
        let mut message = asked("api.shop.rancher.internal.", RecordType::A);
        message.set_edns(HickoryEdns::new());
        let mut bytes = message.to_vec().unwrap();
        let at = at % bytes.len();
        bytes[at] = value;
        bytes.truncate(bytes.len() - cut % bytes.len());
        let ours = query(&bytes);
        // What we read, hickory reads alike.
        if let (Ok(ours), Ok(theirs)) = (ours, Message::from_vec(&bytes)) {
            let name = theirs.queries[0].name().to_lowercase();
            let labels: Vec<u8> = name.iter().flat_map(|l| [&[l.len() as u8], l].concat()).collect();
            prop_assert_eq!(ours.name(), labels.as_slice());
        }
    }
}

#[test]
fn a_name_that_another_stands_for_never_makes_an_answer_too_long() {
    let long = |c: char, last: usize| {
        let label = c.to_string();
        [label.repeat(63), label.repeat(63), label.repeat(63), label.repeat(last)].join(".")
    };
    for (last, limit, edns, fits) in [
        (61, 512, false, false),
        (61, 1_232, true, true),
        (45, 512, false, true),
        (45, 512, true, false),
    ] {
        let mut message = asked(&format!("{}.", long('a', last)), RecordType::A);
        if edns {
            message.set_edns(HickoryEdns::new());
        }
        let bytes = message.to_vec().unwrap();
        let query = query(&bytes).unwrap();
        let mut out = vec![];
        let mut reply = Reply::to(&query, &mut out, limit, Rcode::NoError);
        let target = Name::parse(&long('b', last)).unwrap();
        assert_eq!(reply.cname(5, target.as_wire()), fits, "{last} {limit}");
        reply.finish();
        assert!(out.len() <= limit, "{} of {limit}", out.len());
        let read = Message::from_vec(&out).unwrap();
        assert_eq!((read.metadata.truncation, read.answers.len()), (!fits, usize::from(fits)));
    }
}
