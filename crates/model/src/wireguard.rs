//! Encryption between hosts: the public keys of hosts, what a dataplane is to carry, and what it
//! says of itself. A private key is in none of these.

use crate::id::HostId;
use crate::limits::WIREGUARD_KEYS_MAX;
use crate::time::Timestamp;
use ipnet::Ipv4Net;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// UDP port that hosts send encrypted packets to.
pub const WIREGUARD_PORT: u16 = 51_820;
/// What encryption takes of each packet, in bytes: IPv4, UDP and WireGuard's own.
pub const WIREGUARD_BYTES: u32 = 60;

/// Public half of a host's Curve25519 key; as text in base64, as `wg` has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// Why a text is no public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no WireGuard key: 44 characters of base64 that stand for 32 bytes, not all zero")]
pub struct KeyError(String);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const TEXT_BYTES: usize = 44;

impl PublicKey {
    /// From its bytes; `None` for all zeros, with which nothing can be agreed.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Option<Self> {
        (bytes != [0; 32]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(TEXT_BYTES);
        for three in self.0.chunks(3) {
            let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for at in 0..=three.len() {
                let index = (bits >> (18 - 6 * at)) & 63;
                text.push(char::from(ALPHABET[index as usize]));
            }
        }
        text.push('=');
        f.write_str(&text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError(text.chars().take(TEXT_BYTES + 1).collect());
        let digits = text.strip_suffix('=').filter(|_| text.len() == TEXT_BYTES);
        let digits = digits.ok_or_else(wrong)?.bytes();
        let (mut bytes, mut bits, mut count) = (Vec::with_capacity(33), 0_u32, 0_u32);
        for digit in digits {
            let value = ALPHABET.iter().position(|one| *one == digit).ok_or_else(wrong)?;
            bits = bits << 6 | u32::try_from(value).unwrap_or(0);
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push(u8::try_from(bits >> count & 0xff).unwrap_or(0));
            }
        }
        // Two bits are left over, which nobody else may use.
        let whole = bits & ((1 << count) - 1) == 0;
        let bytes: [u8; 32] = bytes.try_into().ok().filter(|_| whole).ok_or_else(wrong)?;
        Self::new(bytes).ok_or_else(wrong)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The order to hosts to have a key at least as new as this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeyOrder {
    /// It counts up; 0 is the first key of a host.
    pub number: u64,
    /// When it was given.
    pub at: Timestamp,
}

impl KeyOrder {
    /// Was none given yet?
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What a dataplane is to encrypt and to take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireWish {
    /// Is it the way between hosts now? Otherwise there are keys, and nothing is sent or heard.
    pub active: bool,
    /// The TUN device, which the fabric makes.
    pub device: String,
    /// This host's address, as its peers know it.
    pub address: Ipv4Addr,
    /// UDP port here and there.
    pub port: u16,
    /// The environment's range: nothing else comes from a peer but its own address.
    pub subnet: Ipv4Net,
    /// Number of the newest order to make a new key.
    #[serde(default)]
    pub order: u64,
    /// What is here of the environment's range: nobody else may send from there.
    #[serde(default)]
    pub own: BTreeSet<Ipv4Net>,
    /// The other hosts.
    pub peers: BTreeMap<HostId, WirePeer>,
}

/// Another host, to a dataplane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WirePeer {
    /// Where it is reached.
    pub address: Ipv4Addr,
    /// What it proves itself with, the newest first.
    pub keys: Vec<PublicKey>,
    /// What is there of the environment's range.
    pub routes: BTreeSet<Ipv4Net>,
}

/// What a dataplane says of its part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WireStatus {
    /// Its public keys that are good, the newest first.
    pub keys: Vec<PublicKey>,
    /// Why nothing can be encrypted; empty when it can, or need not.
    pub problem: String,
}

/// The keys of a host that count: at most `WIREGUARD_KEYS_MAX`, the newest first.
#[must_use]
pub fn counted(keys: &[PublicKey]) -> Vec<PublicKey> {
    let mut counted: Vec<PublicKey> = vec![];
    for key in keys {
        if counted.len() < WIREGUARD_KEYS_MAX && !counted.contains(key) {
            counted.push(*key);
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_as_wg_writes_it() {
        // `wg pubkey` of 32 bytes 0x77, and the borders of base64.
        for (bytes, text) in [
            ([0xff; 32], "//////////////////////////////////////////8="),
            ([0x77; 32], "d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3c="),
            ([1; 32], "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="),
        ] {
            let key = PublicKey::new(bytes).unwrap();
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse(), Ok(key));
            let json = serde_json::to_string(&key).unwrap();
            assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        for text in [
            "",
            "=",
            zero,
            "//////////////////////////////////////////9=",
            "//////////////////////////////////////////8",
            "//////////////////////////////////////////8==",
            "d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3\u{e4}=",
            "d3d3d3d3 3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3c=",
        ] {
            assert!(text.parse::<PublicKey>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn of_too_many_keys_the_newest_count_and_each_once() {
        let key = |n: u8| PublicKey::new([n; 32]).unwrap();
        assert_eq!(counted(&[key(1), key(1), key(2)]), [key(1), key(2)]);
        let many: Vec<PublicKey> = (1..20).map(key).collect();
        assert_eq!(counted(&many), many[..WIREGUARD_KEYS_MAX]);
    }
}
