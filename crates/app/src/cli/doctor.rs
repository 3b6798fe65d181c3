//! `doctor`: what would keep Remuda from working on this machine, and what to do.

use super::{Format, Global};
use crate::exit::{ERROR, Failure, Outcome};
use crate::output::{self, Colour};
use crate::paths;
use crate::role::lock;
use clap::Args;
use engine::Engine as _;
use serde::Serialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::Store as _;

/// Options of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Data folder
    #[arg(long, env = "REMUDA_DATA_DIR", default_value = paths::DATA_DIR)]
    data_dir: PathBuf,
}

/// A dockerd that is well answers in some milliseconds.
const DOCKER_TIMEOUT: Duration = Duration::from_secs(5);
const DOCKER_FIX: &str = "install it (apt-get install docker.io), start it (systemctl start docker), \
     or point DOCKER_HOST at its socket";

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    ok: bool,
    problem: String,
    fix: String,
}

impl Finding {
    fn well(check: &str, detail: String) -> Self {
        Self { check: check.into(), ok: true, problem: detail, fix: String::new() }
    }

    fn bad(check: &str, problem: String, fix: &str) -> Self {
        Self { check: check.into(), ok: false, problem, fix: fix.into() }
    }
}

/// `remuda doctor`.
///
/// # Errors
/// Exit code 1 when something was found.
pub(super) async fn run(global: &Global, args: DoctorArgs) -> Outcome {
    let mut findings = vec![docker(&args.data_dir).await];
    if findings.iter().all(|finding| finding.ok) {
        findings.push(docker_disk(&args.data_dir).await);
    }
    findings.push(data_folder(&args.data_dir).await);
    let subnet = crate::role::server::read_subnet(&args.data_dir);
    let mut options = network::PreflightOptions::new(subnet);
    if let Some(driver) = crate::role::driver::look(&args.data_dir) {
        if let Ok(cni) = &driver {
            cni.conf.host_bridge().clone_into(&mut options.bridge);
        }
        findings.push(network_driver(driver));
    }
    for finding in network::preflight(&options).await {
        let network::Finding { check, ok, problem, fix } = finding;
        findings.push(Finding { check: check.into(), ok, problem, fix });
    }
    if global.output == Format::Json {
        output::json(&findings);
    } else {
        for finding in &findings {
            let (word, colour) =
                if finding.ok { ("ok     ", Colour::Green) } else { ("problem", Colour::Red) };
            let word = output::paint(colour, word);
            output::line(&format!("{word} {}: {}", finding.check, finding.problem));
            if !finding.ok && !finding.fix.is_empty() {
                output::line(&format!("        do: {}", finding.fix));
            }
        }
    }
    let problems = findings.iter().filter(|finding| !finding.ok).count();
    if problems > 0 { Err(Failure::Code(ERROR)) } else { Ok(()) }
}

/// The plugins of CNI and their configuration.
fn network_driver(driver: Result<network::cni::Cni, String>) -> Finding {
    let check = "network driver";
    match driver {
        Ok(cni) => Finding::well(check, format!("cni {} by {}", cni.words(), cni.file.display())),
        Err(problem) => {
            Finding::bad(check, problem, "mend it and start the agent again: docs/cni.md")
        }
    }
}

async fn docker(data_dir: &Path) -> Finding {
    let check = "docker";
    let engine = match engine::DockerOptions::from_env(data_dir.join("agent/files")) {
        Ok(options) => engine::Docker::new(options),
        Err(error) => return Finding::bad(check, api::error::chain(&error), DOCKER_FIX),
    };
    match tokio::time::timeout(DOCKER_TIMEOUT, engine.info()).await {
        Ok(Ok(info)) => Finding::well(
            check,
            format!(
                "version {}, API {}, storage {}",
                info.version, info.api_version, info.storage_driver
            ),
        ),
        Ok(Err(error @ engine::Error::TooOld { .. })) => Finding::bad(
            check,
            api::error::chain(&error),
            "upgrade Docker to 20.10 or newer (apt-get install docker.io)",
        ),
        Ok(Err(error)) => Finding::bad(check, api::error::chain(&error), DOCKER_FIX),
        Err(_elapsed) => Finding::bad(
            check,
            format!("dockerd accepts the connection and gives no answer in {DOCKER_TIMEOUT:?}"),
            "restart it: systemctl restart docker",
        ),
    }
}

/// The disk of Docker's images.
async fn docker_disk(data_dir: &Path) -> Finding {
    let check = "docker's disk";
    let unseen = |why: String| Finding::well(check, format!("it cannot be looked at: {why}"));
    let engine = match engine::DockerOptions::from_env(data_dir.join("agent/files")) {
        Ok(options) => engine::Docker::new(options),
        Err(error) => return unseen(api::error::chain(&error)),
    };
    let disk = match tokio::time::timeout(DOCKER_TIMEOUT, engine.disk()).await {
        Ok(Ok(disk)) => disk,
        Ok(Err(error)) => return unseen(api::error::chain(&error)),
        Err(_elapsed) => return unseen(format!("no answer in {DOCKER_TIMEOUT:?}")),
    };
    let room = format!("{} of {} free", output::size(disk.free), output::size(disk.total));
    if disk.free < DOCKER_ROOM_BYTES {
        let problem = format!("no space left: {room}, images cannot be pulled");
        return Finding::bad(
            check,
            problem,
            "free some room there: docker system df tells of what",
        );
    }
    if control::host::is_disk_short(disk.total, disk.free) {
        let then = "images that Remuda brought and nothing needs are removed";
        return Finding::well(check, format!("{room}, short of room: {then}"));
    }
    Finding::well(check, room)
}

/// Room that Docker wants for the smallest images, in bytes.
const DOCKER_ROOM_BYTES: u64 = 256 * 1024 * 1024;
/// Room that the state and the journals want on their disk, in bytes.
const ROOM_BYTES: u64 = 64 * 1024 * 1024;
const STATE_FIX: &str = "put a copy back with `remuda backup restore FILE`; without one, `remuda dev \
     down` takes away what runs here, to begin anew";

/// Is the data folder one that a server can start with? Nothing in it is changed.
async fn data_folder(dir: &Path) -> Finding {
    let check = format!("data folder {}", dir.display());
    let bad = |problem: String, fix: &str| Finding::bad(&check, problem, fix);
    match std::fs::read_dir(dir).map(drop) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Finding::well(&check, "not made yet".into());
        }
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            return bad(format!("it cannot be read: {e}"), "run remuda doctor as root");
        }
        Err(e) => return bad(format!("it cannot be read: {e}"), "name another one: --data-dir"),
    }
    match rustix::fs::statvfs(dir) {
        Err(e) => return bad(format!("its disk cannot be looked at: {e}"), "look at the disk"),
        Ok(disk) if disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) => {
            return bad("its disk is read-only".into(), "mount it read-write");
        }
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free < ROOM_BYTES {
                let free = output::size(free);
                let problem = format!("no space left: {free} free on its disk, changes will fail");
                return bad(problem, "free some room on that disk, at least 64 MiB");
            }
        }
    }
    if let Some(holder) = lock::any_holder(dir) {
        return Finding::well(&check, format!("in use by {holder}"));
    }
    let server = dir.join("server");
    let names = match std::fs::read_dir(&server) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
        Err(e) if e.kind() == ErrorKind::NotFound => vec![],
        Err(e) => return bad(format!("{} cannot be read: {e}", server.display()), STATE_FIX),
    };
    // Opening the state makes one where there never was one: that is not for a look.
    if !names.iter().any(|name| name.to_string_lossy().starts_with("state.db")) {
        let environment = crate::role::server::read_environment(dir);
        let only_agent = dir.join("agent/membership.json").exists();
        return match environment.filter(|_| !only_agent) {
            Some(id) => bad(format!("the state of environment {id} is gone"), STATE_FIX),
            None => Finding::well(&check, "no state in it yet".into()),
        };
    }
    match store::Sqlite::open(&server).await {
        Ok(store) => {
            let status = store.status().await;
            Finding::well(&check, format!("whole, {} changes", status.index))
        }
        Err(store::Error::Locked { .. }) => {
            Finding::well(&check, "in use by the running remuda server".into())
        }
        Err(error) => bad(api::error::chain(&error), STATE_FIX),
    }
}
