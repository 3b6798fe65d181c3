//! Keys that were taken from a session that ended cannot be locked for a while. That is stored with
//! the change that frees them, so that it holds over a restart of the server.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Version of the stored form.
const VERSION: u32 = 1;

/// Some keys of one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delay {
    /// Version of the stored form.
    v: u32,
    /// Until when they cannot be locked, in milliseconds since 1970.
    pub(crate) until: i64,
    /// The keys.
    pub(crate) keys: Vec<Arc<str>>,
}

impl Delay {
    pub(crate) fn new(until: i64, keys: Vec<Arc<str>>) -> Self {
        Self { v: VERSION, until, keys }
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// Why it cannot be understood.
    pub(crate) fn decode(value: &Bytes) -> Result<Self, String> {
        let delay: Self = serde_json::from_slice(value).map_err(|e| e.to_string())?;
        if delay.v != VERSION {
            return Err(format!("it has version {}, and this one knows {VERSION}", delay.v));
        }
        Ok(delay)
    }

    pub(crate) fn encode(&self) -> Bytes {
        // Texts and numbers always have a JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_survives_being_stored_and_a_newer_one_says_so() {
        let delay = Delay::new(7, vec!["a".into(), "b\"".into()]);
        assert_eq!(Delay::decode(&delay.encode()), Ok(delay));
        let newer = Bytes::from_static(b"{\"v\":2,\"until\":1,\"keys\":[]}");
        assert!(Delay::decode(&newer).unwrap_err().contains("version 2"));
    }
}
