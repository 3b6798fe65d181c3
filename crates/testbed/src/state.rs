//! What is known of a cluster between two commands, in its folder.

use crate::error::{Error, Result};
use crate::faults::Faults;
use crate::ident::Ident;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Its name in the folder; the folder is ours when it is there.
const FILE: &str = "cluster.json";
/// Held by the command that changes the cluster.
const LOCK: &str = "lock";
/// The form of the file.
const VERSION: u32 = 1;
/// Most hosts of a cluster: their number is the last part of their address.
pub const HOSTS_MAX: u8 = 100;
/// Number of the server's machine.
const SERVER_NUMBER: u8 = 200;
/// Number of the switch.
const SWITCH_NUMBER: u8 = 254;
/// Name of the server's machine.
pub const SERVER: &str = "server";
/// Port of API and agents.
pub const PORT: u16 = 7600;

/// What a cluster is made of, and what is wrong with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The binary of Remuda; nothing for hosts with a Docker and no more.
    pub binary: Option<PathBuf>,
    /// A file for `docker load`, given to each host's Docker.
    pub images: Option<PathBuf>,
    /// Largest packet on the cables, in bytes.
    pub mtu: u32,
    /// MiB of each machine's disk for what Docker and Remuda keep; nothing is the space around it.
    pub disk_mib: Option<u32>,
    /// Further words for every dockerd.
    pub dockerd_args: Vec<String>,
    /// Further words for the server.
    pub server_args: Vec<String>,
    /// Further words for the agents of hosts.
    #[serde(default)]
    pub agent_args: BTreeMap<String, Vec<String>>,
    /// The token that hosts join with.
    pub token: Option<String>,
    /// All machines by name.
    pub nodes: BTreeMap<String, Node>,
    /// What is wrong with the network.
    pub faults: Faults,
    /// Who delays which host's frames.
    pub relays: BTreeMap<String, Ident>,
}

/// A machine of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The last part of its addresses.
    pub number: u8,
    /// Its first process while it has power.
    pub init: Option<Ident>,
}

impl Node {
    /// Its address on the cable.
    #[must_use]
    pub fn address(&self) -> String {
        address(self.number)
    }
}

/// The address of a number.
#[must_use]
pub(crate) fn address(number: u8) -> String {
    format!("10.99.0.{number}")
}

/// The switch's own address, which calls of people and tests come from.
#[must_use]
pub fn switch_address() -> String {
    address(SWITCH_NUMBER)
}

/// The switch's IPv6 address.
#[must_use]
pub(crate) fn switch_address6() -> String {
    format!("fd00:99::{SWITCH_NUMBER}")
}

impl State {
    /// Of `hosts` machines `h1`, `h2` … and a server's, all without power.
    #[must_use]
    pub fn new(hosts: u8) -> Self {
        let node = |number| Node { number, init: None };
        let mut nodes: BTreeMap<String, Node> =
            (1..=hosts).map(|number| (format!("h{number}"), node(number))).collect();
        nodes.insert(SERVER.into(), node(SERVER_NUMBER));
        Self {
            version: VERSION,
            binary: None,
            images: None,
            mtu: 1500,
            disk_mib: None,
            dockerd_args: vec![],
            server_args: vec![],
            agent_args: BTreeMap::new(),
            token: None,
            nodes,
            faults: Faults::default(),
            relays: BTreeMap::new(),
        }
    }

    /// The hosts, without the server's machine, in the order of their numbers.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<(u8, &String)> = self
            .nodes
            .iter()
            .filter(|(name, _)| *name != SERVER)
            .map(|(name, node)| (node.number, name))
            .collect();
        hosts.sort_unstable();
        hosts.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// Reads it; nothing when the folder has none.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::file("read", &path)(e)),
        };
        let state: Self = serde_json::from_slice(&bytes)
            .map_err(|e| Error::file("understood", &path)(e.into()))?;
        if state.version != VERSION {
            return Err(Error::Refused(format!(
                "{} is of another version of this program: take the cluster away with `down`",
                path.display()
            )));
        }
        Ok(Some(state))
    }

    /// Has this folder a cluster, whatever its state?
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Path) -> Result {
        let (path, new) = (folder.join(FILE), folder.join("cluster.new"));
        let text =
            serde_json::to_vec_pretty(self).map_err(|e| Error::file("written", &path)(e.into()))?;
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(Error::file("written", &path))
    }
}

/// Waits for other commands on this cluster, and keeps them off until it is dropped.
///
/// # Errors
/// When there is no such folder.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    let file = options.open(&path).map_err(Error::file("made", &path))?;
    file.lock().map_err(Error::file("locked", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(State::read(folder.path()).unwrap().is_none());
        assert!(!State::is_in(folder.path()));
        let mut state = State::new(11);
        state.token = Some("t".into());
        state.write(folder.path()).unwrap();
        let read = State::read(folder.path()).unwrap().unwrap();
        assert_eq!(read.nodes, state.nodes);
        assert_eq!((read.nodes.len(), read.token.as_deref()), (12, Some("t")));
        assert_eq!(read.hosts().last().map(String::as_str), Some("h11"), "by number, not by name");
        fs::write(folder.path().join(FILE), "{").unwrap();
        let error = State::read(folder.path()).unwrap_err().chain();
        assert!(error.contains("cluster.json cannot be understood"), "{error}");
    }
}
