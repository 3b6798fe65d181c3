//! Has the image of a container here: the very one that was settled for all hosts, else what its
//! name means on this host, at its registry, or on another host.

use crate::act::Failed;
use crate::transfer::{Fetcher, Wanted};
use api::image::{ImageFound, ImageOffer};
use engine::Engine;
use engine::seen::{ImageInfo, PullProgress};
use model::container_spec::PullPolicy;
use model::id::{HostId, InstanceId};
use tokio::sync::mpsc;

/// Most hosts that are named in a reason.
const NAMED_MAX: usize = 8;

/// What a host works with to have images.
pub(crate) struct Supply<'a, E> {
    pub(crate) engine: &'a E,
    pub(crate) fetcher: &'a Fetcher<E>,
    pub(crate) wanted: Wanted<'a>,
    pub(crate) policy: PullPolicy,
}

/// The image that was settled for all hosts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settled<'a> {
    /// By id.
    pub(crate) id: Option<&'a str>,
    /// By `name@sha256:…` of a registry: the same for every kind of machine.
    pub(crate) digest: Option<&'a str>,
}

/// The settled image, when it is here.
pub(crate) async fn here<E: Engine>(
    engine: &E,
    settled: Settled<'_>,
) -> Result<Option<ImageInfo>, engine::Error> {
    for name in [settled.id, settled.digest].into_iter().flatten() {
        if let Some(found) = engine.image(name).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl<E: Engine> Supply<'_, E> {
    /// Has the image here.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) async fn have(&self, settled: Settled<'_>) -> Result<ImageInfo, Failed> {
        if let Some(found) = here(self.engine, settled).await? {
            return Ok(found);
        }
        match settled.id {
            Some(id) => self.exactly(id, settled.digest).await,
            None => self.by_name().await,
        }
    }

    async fn exactly(&self, id: &str, digest: Option<&str>) -> Result<ImageInfo, Failed> {
        let is_open = self.policy != PullPolicy::Never;
        let mut refusal = None;
        if let (true, Some(digest)) = (is_open, digest) {
            match self.pull(digest, PullPolicy::Missing).await {
                Ok(found) => return Ok(found),
                Err(error) => refusal = Some(Failed::from(error)),
            }
        }
        let found = self.fetcher.find(self.wanted.instance).await;
        let (trouble, asked) = match self.fetched(&found).await {
            Ok(info) => return Ok(info),
            Err(outcome) => outcome,
        };
        if let (true, None, None, true) = (is_open, digest, &trouble, found.is_ok()) {
            // Nobody has it; perhaps it was pushed somewhere since it was built.
            let policy = PullPolicy::Always;
            match self.pull(self.wanted.name, policy).await {
                Ok(info) if info.id == id => return Ok(info),
                Ok(info) => {
                    let why = format!(
                        "image {} is settled as {id}, and at its registry the name means {} now; \
                         {asked}; deploy again to take what the name means now",
                        self.wanted.name, info.id
                    );
                    return Err(Failed { why, permanent: true });
                }
                Err(error) => refusal = Some(Failed::from(error)),
            }
        }
        Err(self.failed(refusal, trouble, &asked, found.is_ok()))
    }

    async fn by_name(&self) -> Result<ImageInfo, Failed> {
        let name = self.wanted.name;
        if self.policy == PullPolicy::Always {
            return Ok(self.pull(name, self.policy).await?);
        }
        if let Some(found) = self.engine.image(name).await? {
            return Ok(found);
        }
        let found = self.fetcher.find(self.wanted.instance).await;
        let offers = found.as_ref().map_or(&[][..], |found| &found.offers);
        // What a registry has comes from there, as other hosts have it; the rest has nowhere else
        // to come from.
        let digest = offers.iter().find_map(|(_, offer)| offer.digests.first());
        let mut refusal = None;
        if self.policy != PullPolicy::Never && (offers.is_empty() || digest.is_some()) {
            let what = digest.map_or(name, String::as_str);
            match self.pull(what, self.policy).await {
                Ok(info) => return Ok(info),
                Err(error) => refusal = Some(Failed::from(error)),
            }
        }
        match self.fetched(&found).await {
            Ok(info) => Ok(info),
            Err((trouble, asked)) => Err(self.failed(refusal, trouble, &asked, found.is_ok())),
        }
    }

    /// From a host that has it; else the trouble on the way, and who was asked.
    async fn fetched(
        &self,
        found: &Result<ImageFound, String>,
    ) -> Result<ImageInfo, (Option<Failed>, String)> {
        let asked = asked(found);
        let offers: &[(HostId, ImageOffer)] = found.as_ref().map_or(&[], |found| &found.offers);
        if offers.is_empty() {
            return Err((None, asked));
        }
        self.fetcher.fetch(self.wanted, offers).await.map_err(|failed| (Some(failed), asked))
    }

    fn failed(
        &self,
        refusal: Option<Failed>,
        trouble: Option<Failed>,
        asked: &str,
        was_asked: bool,
    ) -> Failed {
        let name = self.wanted.name;
        match (trouble, refusal) {
            // It is there: that it does not come is the thing to say.
            (Some(trouble), _) => trouble,
            (None, Some(refusal)) => {
                Failed { why: format!("{}; {asked}", refusal.why), permanent: refusal.permanent }
            }
            (None, None) => Failed {
                why: format!("image {name} is not on this host; {asked}"),
                permanent: was_asked,
            },
        }
    }

    async fn pull(&self, image: &str, policy: PullPolicy) -> Result<ImageInfo, engine::Error> {
        let (tx, mut rx) = mpsc::channel::<PullProgress>(16);
        let tell = async {
            while let Some(step) = rx.recv().await {
                self.tell(self.wanted.instance, step);
            }
        };
        let (result, ()) = tokio::join!(self.engine.pull(image, policy, Some(tx)), tell);
        result
    }

    fn tell(&self, instance: &InstanceId, step: PullProgress) {
        // Progress is for people: what does not fit is not missed.
        if self.wanted.progress.try_send((instance.clone(), step)).is_err() {
            tracing::trace!("progress of a pull not shown");
        }
    }
}

/// Who was asked for an image that nobody has.
fn asked(found: &Result<ImageFound, String>) -> String {
    let list = |hosts: &[HostId]| {
        let named: Vec<&str> = hosts.iter().take(NAMED_MAX).map(HostId::as_str).collect();
        match hosts.len().saturating_sub(NAMED_MAX) {
            0 => named.join(", "),
            more => format!("{} and {more} more", named.join(", ")),
        }
    };
    match found {
        Err(why) => format!("other hosts could not be asked: {why}"),
        Ok(found) if found.without.is_empty() && found.silent.is_empty() => {
            "there is no other host that could have it".into()
        }
        Ok(found) if found.silent.is_empty() => {
            format!("no other host has it (asked: {})", list(&found.without))
        }
        Ok(found) if found.without.is_empty() => {
            format!("other hosts do not answer ({})", list(&found.silent))
        }
        Ok(found) => format!(
            "no other host has it (asked: {}; no answer from {})",
            list(&found.without),
            list(&found.silent)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_asked_is_named() {
        let hosts = |text: &str| -> Vec<HostId> {
            text.split_whitespace().map(|name| HostId::parse(name).unwrap()).collect()
        };
        let many = "a b c d e f g h i j";
        for (without, silent, said) in [
            ("", "", "there is no other host that could have it"),
            ("a b", "", "no other host has it (asked: a, b)"),
            ("", "c", "other hosts do not answer (c)"),
            ("a", "c d", "no other host has it (asked: a; no answer from c, d)"),
            (many, "", "no other host has it (asked: a, b, c, d, e, f, g, h and 2 more)"),
        ] {
            let found =
                ImageFound { offers: vec![], without: hosts(without), silent: hosts(silent) };
            assert_eq!(asked(&Ok(found)), said);
        }
        let none = asked(&Err("there is no session with the server".into()));
        assert!(none.ends_with("no session with the server"), "{none}");
    }
}
