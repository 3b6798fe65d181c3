//! A whole cluster from nothing: all machines at once, then the server, then the hosts join.

use crate::cluster::{Cluster, Keeper};
use crate::error::{Error, Result};
use crate::ident::Ident;
use crate::role::Role;
use crate::state::{SERVER, State};
use std::path::Path;
use std::process::Child;

/// What came of starting one machine.
type Booted = (String, Result<(Ident, Child)>);

impl Cluster {
    /// Brings all of it up; `tell` hears what was done. Called on the ground.
    ///
    /// # Errors
    /// What does not start, with the end of its log.
    pub fn up(
        folder: &Path,
        state: State,
        keeper: Keeper,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        let mut cluster = Self::make(folder, state, keeper)?;
        cluster.boot_machines()?;
        let hosts = cluster.state.hosts();
        tell(&format!("power for {} and the server's machine", hosts.join(", ")));
        cluster.start_dockerds(&hosts)?;
        tell("a Docker answers on each host");
        if cluster.state.binary.is_none() {
            return Ok(cluster);
        }
        cluster.start(SERVER, Role::Server)?;
        tell(&format!("the server answers at {}", cluster.url()));
        cluster.make_token()?;
        for host in &hosts {
            cluster.start(host, Role::Agent)?;
        }
        cluster.wait_active()?;
        tell("every host is active");
        Ok(cluster)
    }

    fn boot_machines(&mut self) -> Result {
        let names: Vec<String> = self.state.nodes.keys().cloned().collect();
        let booted: Vec<Booted> =
            at_once(&names, |name| (name.to_owned(), self.boot_machine(name)));
        for (name, outcome) in booted {
            let (init, child) = outcome?;
            self.children.push(child);
            self.booted(&name, init)?;
        }
        Ok(())
    }

    fn start_dockerds(&mut self, hosts: &[String]) -> Result {
        let started = at_once(hosts, |host| self.start_dockerd(host));
        for child in started {
            self.children.push(child?);
        }
        Ok(())
    }
}

/// Does it for all names at the same time.
fn at_once<T: Send>(names: &[String], work: impl Fn(&str) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let all: Vec<_> = names.iter().map(|name| scope.spawn(move || work(name))).collect();
        all.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// The number of hosts that was asked for, if there can be so many.
///
/// # Errors
/// When there cannot.
pub fn host_count(hosts: u8) -> Result<u8> {
    use crate::state::HOSTS_MAX;
    if hosts == 0 || hosts > HOSTS_MAX {
        let why = format!("a cluster has 1 to {HOSTS_MAX} hosts, not {hosts}");
        return Err(Error::Refused(why));
    }
    Ok(hosts)
}
