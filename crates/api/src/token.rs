//! Tokens: how they look, how they are hashed and compared. Only hashes are kept.

use model::host::Environment;
use sha2::{Digest, Sha256};

/// An API token: `rmd_<id>_<secret>`.
pub const API_PREFIX: &str = "rmd";
/// A join token: `rmj_<id>_<secret>_<SHA-256 of the CA certificate>`.
pub const JOIN_PREFIX: &str = "rmj";

/// A token taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct Parts {
    /// Public part.
    pub id: String,
    /// Secret part.
    pub secret: String,
    /// SHA-256 of the CA certificate, hex; empty in an API token.
    pub pin: String,
}

/// Takes an API or a join token apart; `None` when it does not look like one.
#[must_use]
pub fn parse(text: &str) -> Option<Parts> {
    let mut fields = text.trim().split('_');
    let prefix = fields.next()?;
    let id = fields.next()?.to_owned();
    let secret = fields.next()?.to_owned();
    let pin = fields.next();
    let hex = |s: &str, len: usize| s.len() == len && s.bytes().all(|b| b.is_ascii_hexdigit());
    let right = hex(&id, 12)
        && hex(&secret, 64)
        && fields.next().is_none()
        && match prefix {
            API_PREFIX => pin.is_none(),
            JOIN_PREFIX => pin.is_some_and(|pin| hex(pin, 64)),
            _ => false,
        };
    let pin = pin.unwrap_or_default().to_owned();
    right.then_some(Parts { id, secret, pin })
}

/// Makes the text of a token from random bytes.
#[must_use]
pub fn format(prefix: &str, id: [u8; 6], secret: [u8; 32], pin: &str) -> (String, Parts) {
    let parts = Parts { id: hex(&id), secret: hex(&secret), pin: pin.to_owned() };
    let mut text = format!("{prefix}_{}_{}", parts.id, parts.secret);
    if !pin.is_empty() {
        text.push('_');
        text.push_str(pin);
    }
    (text, parts)
}

/// What the store keeps: SHA-256 over environment id and secret. The secret has 256 random bits,
/// so that a slow hash would add nothing.
#[must_use]
pub fn hash(environment: &Environment, secret: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(environment.id.as_bytes());
    hasher.update([0]);
    hasher.update(secret.as_bytes());
    hex(&hasher.finalize())
}

/// Compares two hashes in constant time.
#[must_use]
pub fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a String cannot fail");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_and_nothing_else_parses() {
        let (text, parts) = format(API_PREFIX, [1; 6], [2; 32], "");
        assert!(parse(&text) == Some(parts));
        let (join, parts) = format(JOIN_PREFIX, [1; 6], [2; 32], &"ab".repeat(32));
        assert!(parse(&join) == Some(parts));
        for bad in ["", "rmd", "rmd_1_2", &format!("{text}_"), &text.replace("rmd", "xxx")] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
