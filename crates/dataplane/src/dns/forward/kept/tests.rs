//! Answers as hickory writes them, kept and given on.

use super::*;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use proptest::prelude::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn key(text: &str, kind: RecordType) -> Key {
    let name = wire::Name::parse(text).unwrap().as_wire().into();
    Key { name, kind: kind.into(), dnssec: false, checking_disabled: false, servers: None }
}

fn answer(text: &str, kind: RecordType, code: ResponseCode) -> Message {
    let mut message = Message::new(99, MessageType::Response, OpCode::Query);
    message.metadata.response_code = code;
    message.metadata.authoritative = true;
    message.add_query(Question::query(name(text), kind));
    message
}

fn asker(question: &str, kind: RecordType, edns: bool, limit: usize) -> Asker {
    let mut message = Message::new(5, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Question::query(name(question), kind));
    let bytes = message.to_vec().unwrap();
    Asker { edns, ..Asker::of(&wire::query(&bytes).unwrap(), limit) }
}

fn given(kept: &Kept, asker: &Asker, now: Instant) -> Message {
    let mut out = vec![];
    kept.write(asker, now, &mut out);
    assert!(out.len() <= asker.limit, "{} bytes", out.len());
    Message::from_vec(&out).unwrap()
}

#[test]
fn an_answer_is_given_on_with_the_askers_id_case_and_less_ttl() {
    let mut message = answer("www.example.com.", RecordType::A, ResponseCode::NoError);
    message.add_answer(Record::from_rdata(
        name("www.example.com."),
        300,
        RData::A(A::new(1, 2, 3, 4)),
    ));
    message.add_answer(Record::from_rdata(
        name("www.example.com."),
        60,
        RData::A(A::new(1, 2, 3, 5)),
    ));
    message.set_edns(Edns::new());
    let start = Instant::now();
    let key = key("www.example.com", RecordType::A);
    let kept = Kept::take(&key, 99, &message.to_vec().unwrap(), start).unwrap();
    assert_eq!(kept.until(), start + Duration::from_secs(60));
    let later = start + Duration::from_millis(10_900);
    let reply = given(&kept, &asker("WWW.Example.com.", RecordType::A, false, 512), later);
    assert_eq!(
        (reply.id, reply.metadata.recursion_desired, reply.edns.is_some()),
        (5, true, false)
    );
    assert!(!reply.metadata.authoritative && reply.metadata.recursion_available);
    assert!(reply.queries[0].name().eq_case(&name("WWW.Example.com.")));
    let ttls: Vec<u32> = reply.answers.iter().map(|record| record.ttl).collect();
    assert_eq!(ttls, [290, 50]);
    let reply = given(&kept, &asker("www.example.com.", RecordType::A, true, 1_232), later);
    assert_eq!((reply.edns.unwrap().max_payload(), reply.answers.len()), (1_232, 2));
}

#[test]
fn an_answer_that_is_too_long_for_the_asker_is_cut() {
    let mut message = answer("big.example.", RecordType::TXT, ResponseCode::NoError);
    for n in 0..10 {
        let text = RData::TXT(TXT::new(vec![format!("{n}").repeat(200)]));
        message.add_answer(Record::from_rdata(name("big.example."), 30, text));
    }
    let key = key("big.example", RecordType::TXT);
    let now = Instant::now();
    let kept = Kept::take(&key, 99, &message.to_vec().unwrap(), now).unwrap();
    let reply = given(&kept, &asker("big.example.", RecordType::TXT, true, 512), now);
    assert_eq!((reply.metadata.truncation, reply.answers.len()), (true, 0));
    let reply = given(&kept, &asker("big.example.", RecordType::TXT, false, 65_535), now);
    assert_eq!((reply.metadata.truncation, reply.answers.len()), (false, 10));
}

#[test]
fn a_no_is_kept_as_long_as_its_soa_says_and_a_failure_never() {
    let soa = SOA::new(name("example."), name("example."), 1, 60, 10, 86_400, 7);
    let soa = Record::from_rdata(name("example."), 900, RData::SOA(soa));
    for (code, authority, seconds) in [
        (ResponseCode::NXDomain, true, 7),
        (ResponseCode::NoError, true, 7),
        (ResponseCode::NXDomain, false, 0),
        (ResponseCode::ServFail, true, 0),
        (ResponseCode::Refused, false, 0),
    ] {
        let mut message = answer("no.example.", RecordType::A, code);
        if authority {
            message.add_authority(soa.clone());
        }
        let now = Instant::now();
        let bytes = message.to_vec().unwrap();
        let kept = Kept::take(&key("no.example", RecordType::A), 99, &bytes, now).unwrap();
        assert_eq!(kept.until(), now + Duration::from_secs(seconds), "{code} {authority}");
        assert_eq!(
            kept.is_failure(),
            matches!(code, ResponseCode::ServFail | ResponseCode::Refused)
        );
        let reply = given(&kept, &asker("no.example.", RecordType::A, false, 512), now);
        assert_eq!(reply.metadata.response_code, code);
    }
}

#[test]
fn only_the_answer_to_what_was_asked_is_taken() {
    let message = answer("www.example.", RecordType::A, ResponseCode::NoError);
    let good = message.to_vec().unwrap();
    let now = Instant::now();
    let taken = |key: &Key, id, bytes: &[u8]| Kept::take(key, id, bytes, now).is_some();
    let own = key("www.example", RecordType::A);
    assert!(taken(&own, 99, &good));
    assert!(!taken(&own, 98, &good), "another id");
    assert!(!taken(&key("ww2.example", RecordType::A), 99, &good), "another name");
    assert!(!taken(&key("www.example", RecordType::AAAA), 99, &good), "another type");
    let mut query = good.clone();
    query[2] &= 0x7f;
    assert!(!taken(&own, 99, &query), "a query");
    for cut in 0..good.len() {
        assert!(!taken(&own, 99, &good[..cut]), "cut at {cut}");
    }
}

#[test]
fn a_name_without_aaaa_is_not_taken_for_one_that_does_not_exist() {
    let now = Instant::now();
    for (kind, dnssec, expect) in [
        (RecordType::AAAA, false, ResponseCode::NoError),
        (RecordType::AAAA, true, ResponseCode::NXDomain),
        (RecordType::A, false, ResponseCode::NXDomain),
    ] {
        let mut message = answer("www.example.com.", kind, ResponseCode::NXDomain);
        let soa = SOA::new(name("example.com."), name("example.com."), 1, 60, 10, 86_400, 30);
        message.add_authority(Record::from_rdata(name("example.com."), 300, RData::SOA(soa)));
        let key = Key { dnssec, ..key("www.example.com", kind) };
        let kept = Kept::take(&key, 99, &message.to_vec().unwrap(), now).unwrap();
        assert_eq!(kept.until(), now + Duration::from_secs(30), "{kind} is kept as the no it was");
        let reply = given(&kept, &asker("www.example.com.", kind, false, 512), now);
        assert_eq!(reply.metadata.response_code, expect, "{kind} dnssec {dnssec}");
        assert_eq!((reply.answers.len(), reply.authorities.len()), (0, 1));
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(
        tail in proptest::collection::vec(any::<u8>(), 0..120),
        counts in proptest::array::uniform6(0..4u8),
        limit in 40..600usize,
        edns in any::<bool>(),
    ) {
        let key = key("www.example", RecordType::A);
        let mut bytes = answer("www.example.", RecordType::A, ResponseCode::NoError).to_vec().unwrap();
        bytes[6..12].copy_from_slice(&counts);
        bytes.extend(tail);
        let now = Instant::now();
        if let Some(kept) = Kept::take(&key, 99, &bytes, now) {
            let mut out = vec![];
            let asker = asker("www.example.", RecordType::A, edns, limit);
            kept.write(&asker, now + Duration::from_secs(3), &mut out);
            prop_assert!(out.len() >= HEADER);
        }
    }
}

#[test]
fn an_answer_is_given_for_a_name_that_stands_for_the_one_that_was_asked() {
    let mut message = answer("smtp.example.com.", RecordType::A, ResponseCode::NoError);
    let cname = hickory_proto::rr::rdata::CNAME(name("mx7.example.net."));
    message.add_answer(Record::from_rdata(name("smtp.example.com."), 300, RData::CNAME(cname)));
    for last in [4, 5] {
        let address = RData::A(A::new(1, 2, 3, last));
        message.add_answer(Record::from_rdata(name("mx7.example.net."), 60, address));
    }
    let start = Instant::now();
    let key = key("smtp.example.com", RecordType::A);
    let kept = Kept::take(&key, 99, &message.to_vec().unwrap(), start).unwrap();
    let target = wire::Name::parse("smtp.example.com").unwrap();
    let aliased = |edns| Asker {
        stands_for: Some((target.as_wire().into(), 1)),
        ..asker("Mail.Shop.", RecordType::A, edns, 512)
    };
    let reply = given(&kept, &aliased(true), start + Duration::from_secs(10));
    let records: Vec<String> =
        reply.answers.iter().map(|r| format!("{} {} {}", r.name, r.ttl, r.data)).collect();
    let expect = [
        "Mail.Shop. 1 smtp.example.com.",
        "smtp.example.com. 50 1.2.3.4",
        "smtp.example.com. 50 1.2.3.5",
    ];
    assert_eq!(records, expect);
    assert!(reply.edns.is_some() && reply.id == 5);
    let missing = answer("smtp.example.com.", RecordType::A, ResponseCode::NXDomain);
    let kept = Kept::take(&key, 99, &missing.to_vec().unwrap(), start).unwrap();
    let reply = given(&kept, &aliased(false), start);
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NXDomain, 1));
    let reply = given(&Kept::failure(&key, start), &aliased(false), start);
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
}
