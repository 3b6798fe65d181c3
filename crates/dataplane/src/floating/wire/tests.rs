//! What is signed is read, nothing else is, and nothing is taken twice.

use super::*;
use proptest::prelude::*;

const KEY: SeatKey = SeatKey([7; 32]);

fn address() -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 50)
}

fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

fn talk(me: &str, run: u64) -> Talk {
    Talk::new(address(), host(me), KEY, run)
}

fn ask(round: u64) -> Word {
    Word::Ask { round, number: 5, term: round }
}

fn probe(round: u64) -> Word {
    Word::Probe { round, number: 5 }
}

fn yes(round: u64) -> Word {
    Word::Answer { round, given: true, free_in: 0, number: 5, term: round }
}

/// Hands a message on to another host.
fn give(bytes: &[u8], to: &mut Talk, token: u64) -> Heard {
    to.read(Letter::decode(bytes, &KEY).unwrap(), token)
}

#[test]
fn a_vote_is_asked_for_and_given_once_whatever_is_sent_again() {
    let (mut a, mut v) = (talk("a", 11), talk("v", 99));
    let probed = a.write(&host("v"), probe(1));
    assert_eq!(give(&probed, &mut v, 500), Heard::Word(probe(1)));
    let answered = v.write(&host("a"), yes(1));
    assert_eq!(give(&answered, &mut a, 0), Heard::Word(yes(1)));
    assert_eq!(give(&answered, &mut a, 0), Heard::Nothing, "an answer counts once");
    let asked = a.write(&host("v"), ask(2));
    assert_eq!(give(&asked, &mut v, 0), Heard::Word(ask(2)));
    assert!(matches!(give(&asked, &mut v, 0), Heard::Again(_)), "a recorded question");
    let back = a.write(&host("v"), Word::Release { term: 2 });
    assert_eq!(give(&back, &mut v, 0), Heard::Word(Word::Release { term: 2 }));
    assert_eq!(give(&back, &mut v, 0), Heard::Nothing);
    // The voter is started anew, and knows nothing of what was said: the recorded question has the
    // token of another process.
    let mut v = talk("v", 100);
    assert!(matches!(give(&asked, &mut v, 501), Heard::Again(_)));
    // Who asks in earnest learns the new one.
    let asked = a.write(&host("v"), ask(3));
    let Heard::Again(again) = give(&asked, &mut v, 502) else { panic!("an old token was taken") };
    let no = Word::Answer { round: 3, given: false, free_in: 0, number: 0, term: 0 };
    assert_eq!(give(&again, &mut a, 0), Heard::Word(no));
    let asked = a.write(&host("v"), ask(4));
    assert_eq!(give(&asked, &mut v, 503), Heard::Word(ask(4)));
    // So does another process of the same host, whose numbers begin anew.
    let mut a = talk("a", 12);
    assert!(matches!(give(&a.write(&host("v"), ask(1)), &mut v, 504), Heard::Again(_)));
    let again = v.write(&host("a"), yes(1));
    assert_eq!(give(&again, &mut talk("a", 11), 0), Heard::Nothing, "it is for another process");
    assert_eq!(give(&again, &mut a, 0), Heard::Word(yes(1)));
}

#[test]
fn what_was_not_signed_with_the_key_is_not_read() {
    let bytes = talk("a", 1).write(&host("v"), ask(1));
    assert!(bytes.len() <= FLOATING_MESSAGE_BYTES_MAX);
    assert!(Letter::decode(&bytes, &KEY).is_some());
    assert!(Letter::decode(&bytes, &SeatKey([8; 32])).is_none());
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert!(Letter::decode(&other, &KEY).is_none(), "byte {at} is not looked at");
        assert!(Letter::decode(&bytes[..at], &KEY).is_none(), "cut at {at}");
    }
    let longest = "h".repeat(63);
    let bytes = talk(&longest, u64::MAX).write(&host("v"), ask(u64::MAX));
    assert!(bytes.len() <= FLOATING_MESSAGE_BYTES_MAX);
    assert_eq!(Letter::decode(&bytes, &KEY).unwrap().from, host(&longest));
}

proptest! {
    #[test]
    fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut marked = MAGIC.to_vec();
        marked.extend(&bytes);
        prop_assert!(Letter::decode(&bytes, &KEY).is_none());
        prop_assert!(Letter::decode(&marked, &KEY).is_none());
    }
}
