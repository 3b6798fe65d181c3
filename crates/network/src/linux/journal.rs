//! The journal of what cannot carry our mark in the kernel: which environments use this host,
//! whether forwarding was off before us, which table is the one that we loaded. It is written
//! before the thing itself is done, so that a crash in between is never forgotten.

use crate::Error;
use crate::overlay::OverlayTrace;
use crate::plan::{Before, SwitchedOn};
use ipnet::Ipv4Net;
use model::policy::HostPolicy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

const FILE: &str = "network.json";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// Boot that `switched_on` and `loaded` are of: all of it is gone after the next one.
    boot: String,
    /// Did we switch forwarding on?
    #[serde(default)]
    pub(crate) switched_on: Option<SwitchedOn>,
    /// The rules that we loaded last.
    #[serde(default)]
    pub(crate) loaded: Option<Loaded>,
    /// What each environment has on this host.
    #[serde(default)]
    pub(crate) environments: BTreeMap<String, Trace>,
}

/// Rules in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// Hash of their text.
    pub(crate) text: u64,
    /// Fingerprint of what the kernel made of it.
    pub(crate) kernel: u64,
}

/// What is needed to know what an environment left behind, and to write the rules without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trace {
    pub(crate) bridge: String,
    /// It is one that we made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) made_bridge: bool,
    /// Further interfaces that containers come by.
    #[serde(default, skip_serializing_if = "std::collections::BTreeSet::is_empty")]
    pub(crate) callers: std::collections::BTreeSet<String>,
    pub(crate) link_local: Ipv4Addr,
    pub(crate) dns: std::net::SocketAddr,
    pub(crate) metadata: std::net::SocketAddr,
    /// Its overlay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) overlay: Option<OverlayTrace>,
    /// Range of its network; it is known of those that have a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subnet: Option<Ipv4Net>,
    /// Who may connect to what is here.
    #[serde(default, skip_serializing_if = "is_off")]
    pub(crate) policy: Arc<HostPolicy>,
}

fn is_off(policy: &Arc<HostPolicy>) -> bool {
    policy.is_off()
}

impl Trace {
    /// For the plan.
    pub(crate) fn before(&self) -> Before<'_> {
        let Self { bridge, made_bridge, overlay, policy, .. } = self;
        let (made_bridge, guarded) = (*made_bridge, !policy.is_off());
        Before { bridge, made_bridge, overlay: overlay.as_ref(), guarded }
    }
}

/// Reads the journal in `dir`; none is an empty one. A damaged one counts as empty, with a
/// warning: addresses have their mark in the kernel, only forwarding would stay switched on.
pub(crate) async fn load(dir: &Path) -> Result<Journal, Error> {
    let boot = tokio::fs::read_to_string(BOOT_ID)
        .await
        .map_err(|source| Error::Setting { path: BOOT_ID.into(), source })?;
    let boot = boot.trim().to_owned();
    let path = dir.join(FILE);
    let kept = match tokio::fs::read(&path).await {
        Ok(bytes) => serde_json::from_slice::<Journal>(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "network journal is damaged, starting anew");
            Journal::default()
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Journal::default(),
        Err(source) => return Err(Error::Journal { path, source }),
    };
    Ok(of_boot(kept, boot))
}

fn of_boot(kept: Journal, boot: String) -> Journal {
    if kept.boot == boot {
        kept
    } else {
        Journal { boot, environments: kept.environments, ..Journal::default() }
    }
}

/// Writes the journal, or takes its file away when nothing on this host is ours.
pub(crate) async fn save(dir: &Path, journal: &Journal) -> Result<(), Error> {
    let path = dir.join(FILE);
    let done = if journal.environments.is_empty() && journal.switched_on.is_none() {
        match tokio::fs::remove_file(&path).await {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    } else {
        write(dir, &path, journal).await
    };
    done.map_err(|source| Error::Journal { path, source })
}

async fn write(dir: &Path, path: &Path, journal: &Journal) -> io::Result<()> {
    tokio::fs::create_dir_all(dir).await?;
    let text = serde_json::to_vec_pretty(journal)?;
    let (dir, path) = (dir.to_owned(), path.to_path_buf());
    tokio::task::spawn_blocking(move || crate::resolv::write_atomic(&dir, &path, &text, 0o600))
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reboot_undid_is_forgotten_and_the_environments_are_not() {
        let trace = Trace {
            bridge: "remuda0".into(),
            made_bridge: false,
            callers: Default::default(),
            link_local: crate::LINK_LOCAL,
            dns: "169.254.169.250:7653".parse().unwrap(),
            metadata: "169.254.169.250:7680".parse().unwrap(),
            overlay: None,
            subnet: None,
            policy: Arc::default(),
        };
        let kept = Journal {
            boot: "a".into(),
            switched_on: serde_json::from_str(r#"{"docker_was_there":true}"#).unwrap(),
            loaded: Some(Loaded { text: 1, kernel: 2 }),
            environments: BTreeMap::from([("e1".to_owned(), trace)]),
        };
        assert_eq!(of_boot(kept.clone(), "a".into()), kept);
        let after = of_boot(kept.clone(), "b".into());
        assert!(kept.switched_on.is_some());
        assert!(after.switched_on.is_none() && after.loaded.is_none());
        assert_eq!(after.environments, kept.environments);
    }
}
