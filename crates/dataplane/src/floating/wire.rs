//! Words between hosts on the wire: signed with the key of the address, and each taken once. Pure.
//!
//! A voter gives each host that talks to it a token, drawn for that host's process; a word that asks
//! for something carries it with a number that only goes up. What was recorded and is sent again has
//! another token or an old number. An answer names the question that it is for.

#[cfg(test)]
mod tests;

use super::lease::Word;
use model::floating::SeatKey;
use model::id::HostId;
use model::limits::{FLOATING_MESSAGE_BYTES_MAX, FLOATING_MESSAGES_AT_ONCE};
use ring::hmac;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

const MAGIC: &[u8; 4] = b"RMF1";
const SIGNATURE_BYTES: usize = 32;
/// Magic, kind, address, seven numbers, yes or no, length of the name.
const HEAD_BYTES: usize = 4 + 1 + 4 + 7 * 8 + 1 + 1;

/// A word with what it is sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) address: Ipv4Addr,
    pub(crate) from: HostId,
    /// Process of the host that asks.
    run: u64,
    /// The voter's, for that process.
    token: u64,
    /// Counts what that process says to that voter.
    sequence: u64,
    pub(crate) word: Word,
}

impl Letter {
    fn encode(&self, key: &SeatKey) -> Vec<u8> {
        let (kind, given, numbers) = match self.word {
            Word::Probe { round, number } => (0, false, [round, number, 0, 0]),
            Word::Ask { round, number, term } => (1, false, [round, number, term, 0]),
            Word::Release { term } => (2, false, [0, 0, term, 0]),
            Word::Answer { round, given, free_in, number, term } => {
                (3, given, [round, number, term, free_in])
            }
        };
        let name = self.from.as_str().as_bytes();
        let mut bytes = Vec::with_capacity(HEAD_BYTES + name.len() + SIGNATURE_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.push(kind);
        bytes.extend_from_slice(&self.address.octets());
        for number in [self.run, self.token, self.sequence].into_iter().chain(numbers) {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.push(u8::from(given));
        // A name has at most 63 bytes.
        bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(name);
        let signature = hmac::sign(&signer(key), &bytes);
        bytes.extend_from_slice(signature.as_ref());
        bytes
    }

    /// Which address a message is about, as it says itself.
    pub(crate) fn address_of(bytes: &[u8]) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = bytes.strip_prefix(MAGIC)?.get(1..5)?.try_into().ok()?;
        (bytes.len() <= FLOATING_MESSAGE_BYTES_MAX).then(|| Ipv4Addr::from(octets))
    }

    /// Reads what was signed with the key; `None` for everything else.
    pub(crate) fn decode(bytes: &[u8], key: &SeatKey) -> Option<Self> {
        let address = Self::address_of(bytes)?;
        let body = bytes.get(..bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        hmac::verify(&signer(key), body, &bytes[body.len()..]).ok()?;
        let number = |at: usize| {
            let at = 9 + 8 * at;
            Some(u64::from_be_bytes(body.get(at..at + 8)?.try_into().ok()?))
        };
        let (given, length) = (*body.get(HEAD_BYTES - 2)?, *body.get(HEAD_BYTES - 1)?);
        let name = body.get(HEAD_BYTES..).filter(|name| name.len() == usize::from(length))?;
        let from = HostId::parse(std::str::from_utf8(name).ok()?).ok()?;
        let [round, set, term, free_in] = [number(3)?, number(4)?, number(5)?, number(6)?];
        let word = match body.get(4)? {
            0 => Word::Probe { round, number: set },
            1 => Word::Ask { round, number: set, term },
            2 => Word::Release { term },
            3 => Word::Answer { round, given: given == 1, free_in, number: set, term },
            _ => return None,
        };
        let (run, token, sequence) = (number(0)?, number(1)?, number(2)?);
        Some(Self { address, from, run, token, sequence, word })
    }
}

fn signer(key: &SeatKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &key.0)
}

/// What a voter knows of one that talks to it.
#[derive(Clone, Copy, Debug)]
struct Asker {
    run: u64,
    token: u64,
    /// The last one that was taken.
    sequence: u64,
    /// The one that is answered.
    question: u64,
}

/// What this process knows of one that it talks to.
#[derive(Clone, Debug, Default)]
struct Voter {
    token: u64,
    sequence: u64,
    /// Numbers of what was asked and is not answered.
    open: VecDeque<u64>,
}

/// All talk of this process about one address.
#[derive(Debug)]
pub(crate) struct Talk {
    address: Ipv4Addr,
    me: HostId,
    key: SeatKey,
    /// Drawn for this process.
    run: u64,
    askers: BTreeMap<HostId, Asker>,
    voters: BTreeMap<HostId, Voter>,
}

/// What a message comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// This.
    Word(Word),
    /// It is said again, or to another process: it is to be asked anew. The answer to send.
    Again(Vec<u8>),
    /// Nothing.
    Nothing,
}

impl Talk {
    /// `run` is drawn for this process.
    pub(crate) fn new(address: Ipv4Addr, me: HostId, key: SeatKey, run: u64) -> Self {
        Self { address, me, key, run, askers: BTreeMap::new(), voters: BTreeMap::new() }
    }

    /// The server says another key.
    pub(crate) fn set_key(&mut self, key: SeatKey) {
        self.key = key;
    }

    pub(crate) fn key(&self) -> &SeatKey {
        &self.key
    }

    /// Forgets those who have nothing to do with the address any more.
    pub(crate) fn retain(&mut self, keep: impl Fn(&HostId) -> bool) {
        self.askers.retain(|host, _| keep(host));
        self.voters.retain(|host, _| keep(host));
    }

    /// A word to another host, as it is sent.
    pub(crate) fn write(&mut self, to: &HostId, word: Word) -> Vec<u8> {
        let (run, token, sequence) = match word {
            Word::Answer { .. } => {
                let asker = self.askers.get(to);
                asker.map_or((0, 0, 0), |asker| (asker.run, asker.token, asker.question))
            }
            _ => {
                let voter = self.voters.entry(to.clone()).or_default();
                voter.sequence += 1;
                voter.open.push_back(voter.sequence);
                while voter.open.len() > FLOATING_MESSAGES_AT_ONCE {
                    voter.open.pop_front();
                }
                (self.run, voter.token, voter.sequence)
            }
        };
        let (address, from) = (self.address, self.me.clone());
        Letter { address, from, run, token, sequence, word }.encode(&self.key)
    }

    /// Takes a letter of a member; `token` is drawn, for one that has not talked to us yet.
    pub(crate) fn read(&mut self, letter: Letter, token: u64) -> Heard {
        let Letter { from, run, sequence, word, .. } = letter;
        if let Word::Answer { .. } = word {
            let Some(voter) = self.voters.get_mut(&from).filter(|_| run == self.run) else {
                return Heard::Nothing;
            };
            let Some(at) = voter.open.iter().position(|open| *open == sequence) else {
                return Heard::Nothing;
            };
            voter.open.remove(at);
            voter.token = letter.token;
            return Heard::Word(word);
        }
        let new = Asker { run, token, sequence: 0, question: 0 };
        let asker = self.askers.entry(from.clone()).or_insert(new);
        if asker.run != run {
            *asker = new;
        }
        asker.question = sequence;
        let fresh = letter.token == asker.token && sequence > asker.sequence;
        if fresh {
            asker.sequence = sequence;
        }
        match word {
            // A probe asks for nothing; who sends it learns the token by the answer.
            Word::Probe { .. } => Heard::Word(word),
            _ if fresh => Heard::Word(word),
            Word::Ask { round, .. } => {
                let no = Word::Answer { round, given: false, free_in: 0, number: 0, term: 0 };
                Heard::Again(self.write(&from, no))
            }
            Word::Release { .. } | Word::Answer { .. } => Heard::Nothing,
        }
    }
}
