//! What goes down to an agent: what its host should hold and may publish, whole or as what changed.

use model::delta::Delta;
use model::host_spec::HostSpec;
use model::view::HostView;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a host should hold and may publish, made from one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publication {
    /// Changes whenever history may have been lost (restore); generations count within it.
    pub epoch: String,
    /// Which of the publications of its maker it is.
    #[serde(default)]
    pub mark: Mark,
    /// What it should hold.
    pub spec: Arc<HostSpec>,
    /// What it may publish.
    pub view: Arc<HostView>,
}

/// Which publication of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When the server that made it was started, in its milliseconds: only that one knows what a
    /// serial stands for.
    pub run: i64,
    /// Grows with each one for the same host.
    pub serial: u64,
}

/// Which publication an agent has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Of its epoch.
    pub epoch: String,
    /// Which one.
    pub mark: Mark,
}

/// What leads from one publication to a newer one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct PublicationDelta {
    /// Of both.
    pub epoch: String,
    /// `Mark::run` of both.
    pub run: i64,
    /// Serial of the one that it fits on.
    pub from: u64,
    /// Serial of the one that it makes.
    pub to: u64,
    /// What changed; it may be nothing.
    #[serde(flatten)]
    pub delta: Delta,
}

/// As it is on the wire. What is flattened cannot be read at once: serde keeps the keys of its maps as
/// text there, and numbers are read from text by `serde_json` only.
#[derive(Deserialize)]
struct Raw {
    epoch: String,
    run: i64,
    from: u64,
    to: u64,
    #[serde(flatten)]
    delta: serde_json::Map<String, serde_json::Value>,
}

impl TryFrom<Raw> for PublicationDelta {
    type Error = serde_json::Error;

    fn try_from(raw: Raw) -> Result<Self, Self::Error> {
        let delta = serde_json::from_value(raw.delta.into())?;
        Ok(Self { epoch: raw.epoch, run: raw.run, from: raw.from, to: raw.to, delta })
    }
}

/// A delta does not fit on what is known: the whole is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit;

impl PublicationDelta {
    /// Is all that it says known to one who has this publication?
    #[must_use]
    pub fn is_known(&self, known: &Publication) -> bool {
        known.epoch == self.epoch && known.mark.run == self.run && self.to <= known.mark.serial
    }

    /// Makes the newer publication of the one that it fits on.
    ///
    /// # Errors
    /// `Misfit`: it is made for another one, which stays as it is.
    pub fn apply(&self, known: &mut Publication) -> Result<(), Misfit> {
        let base = Mark { run: self.run, serial: self.from };
        if known.epoch != self.epoch || known.mark != base {
            return Err(Misfit);
        }
        self.delta.apply(&mut known.spec, &mut known.view).map_err(|_wrong_base| Misfit)?;
        known.mark.serial = self.to;
        Ok(())
    }

    /// One delta for this one and the next.
    ///
    /// # Errors
    /// `Misfit` when the other one does not follow on this one, which is worth nothing then.
    pub(super) fn merge(&mut self, newer: &Self) -> Result<(), Misfit> {
        if (&self.epoch, self.run, self.to) != (&newer.epoch, newer.run, newer.from) {
            return Err(Misfit);
        }
        self.delta.merge(&newer.delta).map_err(|_wrong_base| Misfit)?;
        self.to = newer.to;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::delta::ViewDelta;
    use model::metadata::{MetaPart, MetaService, ServiceFacts};

    /// The maps of metadata have numbers for keys.
    #[test]
    fn what_changed_of_metadata_is_read_as_it_was_written() {
        let old = HostView::empty("e", &"h1".parse().unwrap());
        let mut new = old.clone();
        let part = MetaPart { labels: [("a".into(), "b".into())].into(), ..MetaPart::default() };
        let service = MetaService {
            facts: Arc::new(ServiceFacts { scale: 2, revision: 12, ..ServiceFacts::default() }),
            revisions: Arc::new([(12, [(String::new(), part)].into())].into()),
            ..MetaService::default()
        };
        new.meta.services.insert_mut("shop/web".parse().unwrap(), Arc::new(service));
        let view = ViewDelta::between(&old, &new);
        assert!(view.is_some());
        let delta = Delta { spec: None, view };
        let sent = PublicationDelta { epoch: "e".into(), run: 1, from: 2, to: 3, delta };
        let text = serde_json::to_vec(&sent).unwrap();
        assert_eq!(serde_json::from_slice::<PublicationDelta>(&text).unwrap(), sent);
    }
}
