//! What runs on the machines of a cluster: found by what it is, started as a unit would start it,
//! killed by its number and no other.

use crate::cluster::Cluster;
use crate::error::{Error, Result, tail};
use crate::ident::Ident;
use crate::run::{text, wait_for};
use crate::state::SERVER;
use rustix::process::Signal;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest wait for a dockerd, and for a server, to answer.
const ANSWERS: Duration = Duration::from_secs(90);
/// Longest wait for all hosts to be active.
const JOINED: Duration = Duration::from_secs(90);
/// What a token begins with that a host joins with.
const JOIN_PREFIX: &str = "rmj_";
/// What a dockerd that was killed leaves in `/run` and would take for one that runs.
const STALE: [&str; 3] =
    ["/run/docker.pid", "/run/docker.sock", "/run/docker/containerd/containerd.pid"];

/// A process that a machine has one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// `remuda server`.
    Server,
    /// `remuda agent`.
    Agent,
    /// `remuda dataplane`, which the agent starts.
    Dataplane,
    /// Docker.
    Dockerd,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Agent => "agent",
            Self::Dataplane => "dataplane",
            Self::Dockerd => "dockerd",
        })
    }
}

impl Role {
    /// What a machine of this name can have.
    #[must_use]
    pub fn of(machine: &str) -> &'static [Self] {
        if machine == SERVER {
            &[Self::Server]
        } else {
            &[Self::Dockerd, Self::Agent, Self::Dataplane]
        }
    }
}

impl Cluster {
    fn check_role(&self, name: &str, role: Role) -> Result {
        self.check_name(name)?;
        if Role::of(name).contains(&role) {
            return Ok(());
        }
        let roles: Vec<String> = Role::of(name).iter().map(ToString::to_string).collect();
        Err(Error::Refused(format!("{name} has no {role}: it has {}", roles.join(", "))))
    }

    /// The processes of a machine, without those in its containers: each with its words.
    pub(crate) fn processes(&self, init: Ident) -> Vec<(Ident, Vec<String>)> {
        let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = space(&init.pid.to_string());
        let mut found = vec![];
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some((name, pid)) = name.to_str().and_then(|n| Some((n, n.parse().ok()?))) else {
                continue;
            };
            if own.is_none() || space(name) != own {
                continue;
            }
            let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
            let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
            let words = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            found.extend(Ident::of(pid).map(|ident| (ident, words)));
        }
        found
    }

    /// The process of a role, if it runs.
    #[must_use]
    pub fn find(&self, name: &str, role: Role) -> Option<Ident> {
        let init = self.init_of(name).ok()?;
        let program = |word: &str| Path::new(word).file_name().map(|n| n.to_owned());
        let is = |words: &[String]| match (role, words) {
            (Role::Dockerd, [first, ..]) => program(first).is_some_and(|name| name == "dockerd"),
            (_, [first, second, ..]) => {
                *second == role.to_string() && program(first).is_some_and(|name| name == "remuda")
            }
            _ => false,
        };
        let all = self.processes(init);
        all.into_iter().find(|(ident, words)| ident.lives() && is(words)).map(|(ident, _)| ident)
    }

    fn running(&self, name: &str, role: Role) -> Result<Ident> {
        self.check_role(name, role)?;
        self.init_of(name)?;
        self.find(name, role).ok_or_else(|| Error::Refused(format!("no {role} runs on {name}")))
    }

    /// kill -9 of a role. A dataplane's agent may start it again.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_role(&mut self, name: &str, role: Role) -> Result {
        let process = self.running(name, role)?;
        let parent = process.parent();
        process.kill()?;
        // It may have hung, and who waits for it with it.
        parent.map_or(Ok(()), |parent| parent.signal(Signal::CONT))?;
        if role == Role::Dockerd {
            // its containerd follows it; containers stay where they are
            let init = self.init_of(name)?;
            for (ident, words) in self.processes(init) {
                if words.first().is_some_and(|word| word.ends_with("containerd")) {
                    ident.kill()?;
                }
            }
            text(self.on(name, "rm")?.arg("-f").args(STALE))?;
        }
        self.collect();
        Ok(())
    }

    /// A role does nothing any more and does not end: its connections stay open.
    ///
    /// # Errors
    /// When it does not run.
    pub fn hang(&self, name: &str, role: Role) -> Result {
        self.running(name, role)?.signal(Signal::STOP)
    }

    /// It goes on, and with it who waits for it: `nsenter` stops when what it started does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn wake(&self, name: &str, role: Role) -> Result {
        let process = self.running(name, role)?;
        process.signal(Signal::CONT)?;
        process.parent().map_or(Ok(()), |parent| parent.signal(Signal::CONT))
    }

    /// Pulls the plug of a machine, or kills a role of it.
    ///
    /// # Errors
    /// When there is nothing to kill.
    pub fn kill(&mut self, name: &str, role: Option<Role>) -> Result {
        match role {
            Some(role) => self.kill_role(name, role),
            None => self.power_off(name),
        }
    }

    /// Gives a machine power and starts what it had, or starts a role of it. Waits until Docker or
    /// the server answer; when an agent is active is the server's to say.
    ///
    /// # Errors
    /// When it runs already, or ends at once.
    pub fn boot(&mut self, name: &str, role: Option<Role>) -> Result {
        if let Some(role) = role {
            return self.start(name, role);
        }
        self.power_on(name)?;
        if name == SERVER {
            return self.start(name, Role::Server);
        }
        self.start(name, Role::Dockerd)?;
        if self.state.token.is_some() { self.start(name, Role::Agent) } else { Ok(()) }
    }

    /// Starts a role that does not run.
    ///
    /// # Errors
    /// When it runs already, or ends at once.
    pub fn start(&mut self, name: &str, role: Role) -> Result {
        self.check_role(name, role)?;
        if self.find(name, role).is_some() {
            return Err(Error::Refused(format!("{role} of {name} runs already")));
        }
        self.collect();
        let child = match role {
            Role::Dockerd => self.start_dockerd(name)?,
            Role::Server => self.start_server()?,
            Role::Agent => self.start_agent(name)?,
            Role::Dataplane => {
                let why = "the agent starts the dataplane: boot the agent, or wait for it";
                return Err(Error::Refused(why.into()));
            }
        };
        self.children.push(child);
        Ok(())
    }

    /// Starts a role in the background; what it says is added to its log.
    fn spawn(&self, name: &str, role: Role, program: &Path, words: &[String]) -> Result<Child> {
        let log = self.log_of(name, role);
        let file = File::options().create(true).append(true).open(&log);
        let file = file.map_err(Error::file("written", &log))?;
        let inside = self.on(name, &program.to_string_lossy())?;
        let mut command = Command::new("setsid");
        command.arg(inside.get_program()).args(inside.get_args()).args(words);
        for (key, value) in inside.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let again = file.try_clone().map_err(Error::file("written", &log))?;
        command.stdin(Stdio::null()).stdout(again).stderr(file).current_dir("/");
        command
            .spawn()
            .map_err(|e| Error::Run { command: format!("{role} of {name}"), why: e.to_string() })
    }

    /// Waits until a role that was just started answers.
    fn answers(
        &self,
        (name, role): (&str, Role),
        child: &mut Child,
        mut asks: impl FnMut() -> Result<bool>,
    ) -> Result {
        let log = self.log_of(name, role);
        let what = format!("{role} of {name} to answer");
        let waited = wait_for(&what, ANSWERS, || {
            if let Ok(Some(status)) = child.try_wait() {
                let (what, status) = (format!("{role} of {name}"), status.to_string());
                return Err(Error::Ended { what, status, tail: tail(&log) });
            }
            Ok(asks()?.then_some(()))
        });
        waited.map_err(|error| match error {
            Error::Timeout { what, secs, .. } => Error::Timeout { what, secs, tail: tail(&log) },
            other => other,
        })
    }

    /// Starts a Docker, which gets the images at its first start.
    pub(crate) fn start_dockerd(&self, name: &str) -> Result<Child> {
        let data = self.folder_of(name).join("data/docker");
        let loaded = self.folder_of(name).join("images.loaded");
        let mut words = vec!["--data-root".into(), data.to_string_lossy().into_owned()];
        words.extend(["--cgroup-parent".into(), self.cgroup_of(name)?]);
        words.extend(self.state.dockerd_args.iter().cloned());
        let mut child = self.spawn(name, Role::Dockerd, Path::new("dockerd"), &words)?;
        self.answers((name, Role::Dockerd), &mut child, || {
            let asked = self.on(name, "docker")?.arg("version").stdin(Stdio::null()).output();
            Ok(asked.is_ok_and(|output| output.status.success()))
        })?;
        if let Some(images) = self.state.images.as_ref().filter(|_| !loaded.exists()) {
            text(self.on(name, "docker")?.args(["load", "-q", "-i"]).arg(images))?;
            File::create(&loaded).map_err(Error::file("made", &loaded))?;
        }
        Ok(child)
    }

    fn start_server(&self) -> Result<Child> {
        let mut words = vec!["server".into(), "--listen".into(), self.listen()];
        words.extend(self.state.server_args.iter().cloned());
        let mut child = self.spawn(SERVER, Role::Server, self.binary()?, &words)?;
        self.answers((SERVER, Role::Server), &mut child, || {
            let mut asks = self.on(SERVER, &self.binary()?.to_string_lossy())?;
            let asked = asks.args(["host", "ls"]).stdin(Stdio::null()).output();
            Ok(asked.is_ok_and(|output| output.status.success()))
        })?;
        Ok(child)
    }

    /// As a unit file starts it for ever: with the token of its first time.
    pub(crate) fn start_agent(&self, name: &str) -> Result<Child> {
        let token = self.state.token.clone().ok_or_else(|| {
            Error::Refused("no host can join yet: the server has made no token".into())
        })?;
        let mut words =
            ["agent", "--join", &self.listen(), "--token", &token].map(str::to_owned).to_vec();
        words.extend(self.state.agent_args.get(name).into_iter().flatten().cloned());
        self.spawn(name, Role::Agent, self.binary()?, &words)
    }

    /// The agent of a host is started with these further words from now on.
    pub fn set_agent_args(&mut self, name: &str, words: Vec<String>) {
        self.state.agent_args.insert(name.to_owned(), words);
    }

    /// The server makes the token that hosts join with.
    pub(crate) fn make_token(&mut self) -> Result {
        let binary = self.binary()?.to_string_lossy().into_owned();
        let said = text(self.on(SERVER, &binary)?.args(["host", "token", "create"]))?;
        // it may stand in a sentence, or in a command to type
        let token = said.split_whitespace().find(|word| word.starts_with(JOIN_PREFIX));
        let token = token.ok_or_else(|| Error::Run {
            command: "remuda host token create".into(),
            why: format!("no token ({JOIN_PREFIX}…) in what it said: {}", said.trim()),
        })?;
        self.state.token = Some(token.to_owned());
        self.save()
    }

    /// What the server says of each host: its name and status.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn hosts_seen(&self) -> Result<Vec<(String, String)>> {
        let mut asks = self.remuda()?;
        let said = text(asks.args(["host", "ls", "-o", "json"]))?;
        let rows: Vec<serde_json::Value> = serde_json::from_str(&said).map_err(|error| {
            Error::Run { command: "remuda host ls -o json".into(), why: error.to_string() }
        })?;
        let word = |row: &serde_json::Value, key: &str| {
            row[key].as_str().map_or_else(String::new, str::to_owned)
        };
        Ok(rows.iter().map(|row| (word(row, "id"), word(row, "status"))).collect())
    }

    /// Waits until every host that has power is active.
    ///
    /// # Errors
    /// Which are not, and the end of a log.
    pub fn wait_active(&self) -> Result {
        let mut hosts = self.state.hosts();
        hosts.retain(|host| self.init_of(host).is_ok());
        self.wait_hosts(&hosts)
    }

    fn wait_hosts(&self, wanted: &[String]) -> Result {
        let mut left = vec![];
        let waited = wait_for("hosts to be active", JOINED, || {
            let seen = self.hosts_seen().unwrap_or_default();
            let away = |name: &&String| !seen.contains(&((*name).clone(), "active".into()));
            left = wanted.iter().filter(away).cloned().collect();
            Ok(left.is_empty().then_some(()))
        });
        waited.map_err(|error| match error {
            Error::Timeout { secs, .. } => Error::Timeout {
                what: format!("{} to be active", left.join(", ")),
                secs,
                tail: left.first().map_or_else(String::new, |h| tail(&self.log_of(h, Role::Agent))),
            },
            other => other,
        })
    }
}
