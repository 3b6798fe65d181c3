//! Agents that were refused lately: said in the log, once in a while for each, and shown with the
//! host that they say to be.

use api::peer::Peer;
use model::id::HostId;
use model::limits::{REFUSAL_SHOWN_MS, REFUSALS_KEPT_MAX};
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The same trouble of the same agent is logged again after this, in milliseconds.
const SAY_AGAIN_MS: u64 = 60_000;

/// The host that an agent says to be, and where it is.
type Who = (Option<HostId>, IpAddr);

/// Who was refused, and why. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<BTreeMap<Who, Refused>>>);

#[derive(Debug)]
struct Refused {
    why: String,
    /// Last time.
    at: Timestamp,
    /// Last time that it was logged.
    said: Timestamp,
}

impl Refusals {
    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<Who, Refused>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An agent was refused; it is logged when that is news.
    pub(crate) fn note(&self, peer: &Peer, why: &str, now: Timestamp) {
        let host = peer.certificate.as_ref().map(|certificate| certificate.host.clone());
        if self.is_news((host.clone(), peer.address.ip()), why, now) {
            let host = host.map_or_else(String::new, |host| host.to_string());
            tracing::warn!(host, peer = %peer.address, why, "agent refused");
        }
    }

    fn is_news(&self, key: Who, why: &str, now: Timestamp) -> bool {
        let mut all = self.all();
        if let Some(known) = all.get_mut(&key) {
            known.at = now;
            // Times in it differ with each try.
            let same = shape(&known.why) == shape(why);
            why.clone_into(&mut known.why);
            if same && now.since_ms(known.said) < SAY_AGAIN_MS {
                return false;
            }
            known.said = now;
            return true;
        }
        if all.len() >= REFUSALS_KEPT_MAX {
            let oldest =
                all.iter().min_by_key(|(_, refused)| refused.at).map(|(key, _)| key.clone());
            oldest.map(|key| all.remove(&key));
        }
        all.insert(key, Refused { why: why.to_owned(), at: now, said: now });
        true
    }

    /// A host was let in from there: what was wrong is over.
    pub(crate) fn forget(&self, peer: &Peer) {
        let host = peer.certificate.as_ref().map(|certificate| certificate.host.clone());
        self.all().remove(&(host, peer.address.ip()));
    }

    /// Why an agent that says it is this host is refused, as long as it keeps trying.
    #[must_use]
    pub(crate) fn of(&self, host: &HostId, now: Timestamp) -> Option<String> {
        let all = self.all();
        let of_host = all.iter().filter(|((of, _), _)| of.as_ref() == Some(host));
        let fresh = of_host.filter(|(_, refused)| now.since_ms(refused.at) < REFUSAL_SHOWN_MS);
        let ((_, address), newest) = fresh.max_by_key(|(_, refused)| refused.at)?;
        Some(format!("an agent at {address} is refused: {}", newest.why))
    }
}

/// A text without its figures.
fn shape(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_once_a_minute_shown_while_it_lasts_and_the_oldest_is_forgotten() {
        let refusals = Refusals::default();
        let host: HostId = "h1".parse().unwrap();
        let key = |n: u32| (Some(host.clone()), IpAddr::from(n.to_be_bytes()));
        assert!(refusals.is_news(key(1), "it is 08:00", Timestamp(0)));
        assert!(!refusals.is_news(key(1), "it is 08:01", Timestamp(59_999)));
        assert!(refusals.is_news(key(1), "it is something else", Timestamp(59_999)));
        assert!(refusals.is_news(key(1), "it is something else", Timestamp(119_999)));
        assert!(refusals.is_news(key(2), "it is something else", Timestamp(119_999)));
        let shown = refusals.of(&host, Timestamp(120_000)).unwrap();
        assert!(shown.contains("it is something else"), "{shown}");
        assert_eq!(refusals.of(&"h2".parse().unwrap(), Timestamp(120_000)), None);
        let later = Timestamp(119_999).plus_ms(REFUSAL_SHOWN_MS);
        assert_eq!(refusals.of(&host, later), None, "it has not come again");
        for n in 0..u32::try_from(REFUSALS_KEPT_MAX).unwrap() {
            refusals.is_news(key(1_000 + n), "x", later);
        }
        assert_eq!(refusals.all().len(), REFUSALS_KEPT_MAX);
        assert!(refusals.all().get(&key(1)).is_none());
    }
}
