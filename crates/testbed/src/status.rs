//! What a cluster is at the moment, for people and programs.

use crate::cluster::Cluster;
use crate::role::Role;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its folder: logs and disks.
    pub folder: PathBuf,
    /// Where its API is, for who is on the ground.
    pub api: Option<String>,
    /// The binary that it runs.
    pub binary: Option<PathBuf>,
    /// Its machines.
    pub machines: Vec<Machine>,
    /// What is wrong with its network, in words.
    pub faults: Vec<String>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Has it power?
    pub power: bool,
    /// What of it runs: the number of each process as the cluster's own `/proc` has it.
    pub roles: BTreeMap<String, Option<u32>>,
    /// What the server says of it: active, disconnected, lost; nothing where it does not know it.
    pub seen: Option<String>,
}

impl Cluster {
    /// Looks at everything.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.state();
        let has_server = state.binary.is_some();
        let seen: BTreeMap<String, String> = if has_server {
            self.hosts_seen().unwrap_or_default().into_iter().collect()
        } else {
            BTreeMap::new()
        };
        let mut names = state.hosts();
        names.insert(0, crate::state::SERVER.into());
        let machines = names.into_iter().map(|name| Machine {
            address: state.nodes[&name].address(),
            power: self.init_of(&name).is_ok(),
            roles: Role::of(&name)
                .iter()
                .filter(|role| has_server || **role == Role::Dockerd)
                .map(|role| (role.to_string(), self.find(&name, *role).map(|ident| ident.pid)))
                .collect(),
            seen: seen.get(&name).cloned(),
            name,
        });
        Status {
            folder: self.folder.clone(),
            api: has_server.then(|| self.url()),
            binary: state.binary.clone(),
            machines: machines.collect(),
            faults: state.faults.told(),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:<8} {:<12} {:<6} {:<13} RUNS", "MACHINE", "ADDRESS", "POWER", "STATUS")?;
        for machine in &self.machines {
            let runs = machine.roles.iter().map(|(role, pid)| match pid {
                Some(pid) => format!("{role} ({pid})"),
                None => format!("no {role}"),
            });
            let runs: Vec<String> = if machine.power { runs.collect() } else { vec![] };
            let (name, address) = (&machine.name, &machine.address);
            let power = if machine.power { "on" } else { "off" };
            let seen = machine.seen.as_deref().unwrap_or("-");
            writeln!(f, "{name:<8} {address:<12} {power:<6} {seen:<13} {}", runs.join(", "))?;
        }
        match &self.api {
            Some(api) => writeln!(f, "\napi: {api}")?,
            None => writeln!(f, "\nno remuda: hosts with a Docker and no more")?,
        }
        writeln!(f, "folder: {}", self.folder.display())?;
        if self.faults.is_empty() {
            return write!(f, "network: nothing is wrong");
        }
        write!(f, "network: {}", self.faults.join("; "))
    }
}
