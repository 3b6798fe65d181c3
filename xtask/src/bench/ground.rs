//! Where servers are measured: a network namespace of its own with nothing but a loopback, and
//! the processes in it, which end with it.

use crate::dockerd::stop_child;
use crate::interrupt;
use crate::say;
use crate::shell;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a server to listen, and for one to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace and a folder.
#[derive(Debug)]
pub(super) struct Ground {
    name: String,
    pub(super) folder: PathBuf,
}

/// A server that runs there. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    name: String,
}

impl Ground {
    pub(super) fn make(folder: &Path) -> Result<Self> {
        let name = format!("remuda-bench-{}", std::process::id());
        shell::read(Command::new("ip").args(["netns", "add", &name]))?;
        let ground = Self { name, folder: folder.to_owned() };
        fs::create_dir_all(folder)
            .with_context(|| format!("making the folder {}", folder.display()))?;
        shell::read(ground.command("ip").args(["link", "set", "lo", "up"]))?;
        Ok(ground)
    }

    /// A command inside that is measured: on a processor of its own where there are two.
    pub(super) fn server(&self, program: &str) -> Command {
        self.on("0", program)
    }

    /// A command inside that makes load or answers it: away from what is measured.
    pub(super) fn beside(&self, program: &str) -> Command {
        self.on("1", program)
    }

    fn on(&self, processor: &str, program: &str) -> Command {
        if !two_processors() {
            return self.command(program);
        }
        let mut command = self.command("taskset");
        command.args(["--cpu-list", processor, program]);
        command
    }

    /// A command inside.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).current_dir(&self.folder);
        command
    }

    /// A file of the folder; `PREFIX` in it is the folder's path.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        let text = text.replace("PREFIX", &self.folder.to_string_lossy());
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Starts a server and waits until `ready` holds.
    pub(super) fn serve(
        &self,
        name: &str,
        command: &mut Command,
        ready: impl Fn() -> bool,
    ) -> Result<Server> {
        let log = self.folder.join(format!("{name}.log"));
        let file = shell::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        let mut server = Server { child, name: name.to_owned() };
        let until = Instant::now() + PATIENCE;
        while !ready() {
            interrupt::check()?;
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended: {status}; it said:\n{}", shell::tail(&log));
            }
            if Instant::now() > until {
                bail!("{name} does not listen; it said:\n{}", shell::tail(&log));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Does somebody listen on this TCP port inside?
    pub(super) fn listens(&self, address: &str) -> bool {
        let listening = shell::read(self.command("ss").args(["-Hltn"])).unwrap_or_default();
        listening.lines().any(|line| line.split_whitespace().nth(3) == Some(address))
    }

    /// The same for UDP.
    pub(super) fn listens_udp(&self, address: &str) -> bool {
        let listening = shell::read(self.command("ss").args(["-Hlun"])).unwrap_or_default();
        listening.lines().any(|line| line.split_whitespace().nth(3) == Some(address))
    }
}

/// May this process use the first two?
fn two_processors() -> bool {
    let free = |cpu: &str| shell::succeeds(Command::new("taskset").args(["-c", cpu, "true"]));
    free("0") && free("1")
}

impl Drop for Ground {
    fn drop(&mut self) {
        let removed = shell::read(Command::new("ip").args(["netns", "delete", &self.name]));
        if let Err(error) = removed {
            say::error(&format!("{error:#}"));
        }
    }
}

impl Server {
    /// The one process that `ip` became.
    pub(super) fn program(&self) -> Result<u32> {
        match self.family()[..] {
            [pid] => Ok(pid),
            ref all => bail!("{} is {} processes", self.name, all.len()),
        }
    }

    /// The process that was started and all below it.
    pub(super) fn family(&self) -> Vec<u32> {
        super::cpu::family(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = stop_child(&mut self.child, PATIENCE) {
            say::error(&format!("ending {}: {error:#}", self.name));
        }
    }
}
