//! A cluster from the inside: everything here is called by a process on the ground, whose network
//! is the switch.

use crate::boot::{Boot, Own, layer, without_others};
use crate::cgroup;
use crate::error::{Error, Result};
use crate::ident::Ident;
use crate::role::Role;
use crate::state::{PORT, SERVER, State, lock};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Who delays frames.
#[derive(Clone, Debug)]
pub enum Keeper {
    /// A thread of this process: the cluster ends with it.
    Thread,
    /// This program, called with `relay NEAR FAR MS JITTER`: it goes on when this one ends.
    Program(PathBuf),
}

/// A cluster, and the right to change it.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) folder: PathBuf,
    pub(crate) state: State,
    pub(crate) keeper: Keeper,
    /// Threads that delay, by host: set, they end.
    pub(crate) threads: BTreeMap<String, Arc<AtomicBool>>,
    /// What this process started and has to collect.
    pub(crate) children: Vec<Child>,
    /// Nothing for who only looks.
    _lock: Option<File>,
}

impl Cluster {
    /// A cluster with no power yet, made of what `state` says.
    ///
    /// # Errors
    /// When this is not the ground that was started in the folder.
    pub fn make(folder: &Path, state: State, keeper: Keeper) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::file("made", folder))?;
        let lock = lock(folder)?;
        state.write(folder)?;
        let cluster = Self {
            folder: folder.to_owned(),
            state,
            keeper,
            threads: BTreeMap::new(),
            children: vec![],
            _lock: Some(lock),
        };
        cluster.make_switch()?;
        Ok(cluster)
    }

    /// The one that is in this folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(folder: &Path, keeper: Keeper) -> Result<Self> {
        let lock = lock(folder)?;
        Self::read(folder, keeper, Some(lock))
    }

    /// The one that is in this folder, to look at while others may change it.
    ///
    /// # Errors
    /// When there is none.
    pub fn look(folder: &Path) -> Result<Self> {
        Self::read(folder, Keeper::Thread, None)
    }

    fn read(folder: &Path, keeper: Keeper, lock: Option<File>) -> Result<Self> {
        let state = State::read(folder)?
            .ok_or_else(|| Error::Refused(format!("no cluster is in {}", folder.display())))?;
        Ok(Self {
            folder: folder.to_owned(),
            state,
            keeper,
            threads: BTreeMap::new(),
            children: vec![],
            _lock: lock,
        })
    }

    /// What it is made of.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Further words for the server when it is started next.
    pub fn set_server_args(&mut self, words: &[&str]) {
        self.state.server_args = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// The token that agents are started with from now on; the one before.
    pub fn set_token(&mut self, token: &str) -> Option<String> {
        self.state.token.replace(token.to_owned())
    }

    pub(crate) fn save(&self) -> Result {
        self.state.write(&self.folder)
    }

    /// A machine's own folder: its disk and its logs.
    #[must_use]
    pub fn folder_of(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a role of a machine has said.
    #[must_use]
    pub fn log_of(&self, name: &str, role: Role) -> PathBuf {
        self.folder_of(name).join(format!("{role}.log"))
    }

    /// Refuses a name that no machine has.
    ///
    /// # Errors
    /// With the names that there are.
    pub fn check_name(&self, name: &str) -> Result {
        if self.state.nodes.contains_key(name) {
            return Ok(());
        }
        let mut names = self.state.hosts();
        names.push(SERVER.into());
        Err(Error::Refused(format!("no machine is called {name}: there are {}", names.join(", "))))
    }

    /// The first process of a machine that has power.
    ///
    /// # Errors
    /// When it has none, or there is no such machine.
    pub fn init_of(&self, name: &str) -> Result<Ident> {
        self.check_name(name)?;
        let init = self.state.nodes[name].init.filter(|init| init.lives());
        init.ok_or_else(|| {
            Error::Refused(format!("machine {name} has no power: `boot {name}` gives it some"))
        })
    }

    /// A command on a machine, in all its namespaces, with its home.
    ///
    /// # Errors
    /// When it has no power.
    pub fn on(&self, name: &str, program: &str) -> Result<Command> {
        let init = self.init_of(name)?;
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(init.pid.to_string());
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--", program]);
        self.settle(&mut command, name);
        Ok(command)
    }

    /// The CLI on the switch: a client that is none of the hosts.
    ///
    /// # Errors
    /// When the cluster was made without a binary.
    pub fn remuda(&self) -> Result<Command> {
        Ok(self.on_switch(&self.binary()?.to_string_lossy()))
    }

    /// A command on the switch, which is where this process is.
    #[must_use]
    pub fn on_switch(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.settle(&mut command, SERVER);
        command
    }

    pub(crate) fn binary(&self) -> Result<&Path> {
        self.state.binary.as_deref().ok_or_else(|| {
            Error::Refused("this cluster was made with --bare: it has no remuda".into())
        })
    }

    /// A home of its own; `remuda` is found and knows where the server is.
    fn settle(&self, command: &mut Command, name: &str) {
        without_others(command);
        let home = self.folder_of(name).join("home");
        command.env("HOME", &home);
        let config = self.folder_of(SERVER).join("home/.config/remuda/config.yaml");
        command.env("REMUDA_CONFIG", config);
        let folder = self.state.binary.as_deref().and_then(Path::parent);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = folder.map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
        if let Ok(all) = std::env::join_paths(all) {
            command.env("PATH", all);
        }
    }

    /// URL of the API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.listen())
    }

    /// Where the server listens.
    #[must_use]
    pub fn listen(&self) -> String {
        format!("{}:{PORT}", self.state.nodes[SERVER].address())
    }

    /// The ground's first process, as the world outside knows it: our cgroups have its name.
    fn ground(&self) -> Result<Ident> {
        Boot::init_of(&self.folder).ok_or_else(|| {
            Error::Refused(format!("{} has no ground under it", self.folder.display()))
        })
    }

    /// For dockerd of a machine.
    pub(crate) fn cgroup_of(&self, name: &str) -> Result<String> {
        Ok(cgroup::parent(self.ground()?, name))
    }

    /// Gives a machine power and a cable; nothing runs on it yet.
    ///
    /// # Errors
    /// When it does not boot, or has power already.
    pub fn power_on(&mut self, name: &str) -> Result {
        self.check_name(name)?;
        if self.init_of(name).is_ok() {
            return Err(Error::Refused(format!("machine {name} has power already")));
        }
        let (init, child) = self.boot_machine(name)?;
        self.children.push(child);
        self.booted(name, init)
    }

    /// The part of [`Cluster::power_on`] that can be done for many at once.
    pub(crate) fn boot_machine(&self, name: &str) -> Result<(Ident, Child)> {
        let folder = self.folder_of(name);
        let etc = layer(&folder, "/etc");
        let home = folder.join("home");
        for folder in [&etc, &home] {
            fs::create_dir_all(folder).map_err(Error::file("made", folder))?;
        }
        for (file, text) in [("hostname", format!("{name}\n")), ("hosts", self.hosts_file())] {
            let path = etc.join(file);
            fs::write(&path, text).map_err(Error::file("written", &path))?;
        }
        let machine_id = etc.join("machine-id");
        if !machine_id.exists() {
            let random = Path::new("/proc/sys/kernel/random/uuid");
            let id = fs::read_to_string(random).map_err(Error::file("read", random))?;
            fs::write(&machine_id, id.replace('-', ""))
                .map_err(Error::file("written", &machine_id))?;
        }
        // where programs are installed by hand, and what is logged, is a machine's own as well
        let places = ["/etc", "/var/lib", "/var/log", "/usr/local/bin"];
        let mut own = places.map(Own::Layer).to_vec();
        own.extend(self.state.disk_mib.map(|mib| Own::Disk("data", mib)));
        own.push(Own::Bind("data/state", "/var/lib/remuda"));
        Boot::new(&folder, name)?.with(&own).start()
    }

    /// Notes it and plugs its cable in.
    pub(crate) fn booted(&mut self, name: &str, init: Ident) -> Result {
        if let Some(node) = self.state.nodes.get_mut(name) {
            node.init = Some(init);
        }
        self.save()?;
        self.plug(name)
    }

    fn hosts_file(&self) -> String {
        let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        for (name, node) in &self.state.nodes {
            text.push_str(&format!("{} {name}\n", node.address()));
        }
        text
    }

    /// Pulls the plug: everything on the machine ends at once; its disk stays.
    ///
    /// # Errors
    /// When it had no power.
    pub fn power_off(&mut self, name: &str) -> Result {
        let init = self.init_of(name)?;
        let started_by: Vec<Ident> =
            self.processes(init).into_iter().filter_map(|(ident, _)| ident.parent()).collect();
        init.signal(Signal::KILL)?;
        // Who waits for a process that hangs has stopped with it, and collects it only when awake.
        for parent in started_by.into_iter().filter(|parent| *parent != init) {
            parent.signal(Signal::CONT)?;
        }
        init.wait_gone()?;
        if let Some(node) = self.state.nodes.get_mut(name) {
            node.init = None;
        }
        self.collect();
        self.unplug(name)?;
        self.save()
    }

    /// Collects children that have ended.
    pub(crate) fn collect(&mut self) {
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}
