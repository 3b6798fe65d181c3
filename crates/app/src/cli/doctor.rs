//! `doctor`: what would keep Remuda from working on this machine, and what to do.

use super::{Format, Global};
use crate::exit::{ERROR, Failure, Outcome};
use crate::output::{self, Colour};
use crate::paths;
use clap::Args;
use engine::Engine as _;
use serde::Serialize;
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
    let mut findings = vec![docker().await, data_folder(&args.data_dir).await];
    let subnet = crate::role::server::read_subnet(&args.data_dir);
    for finding in network::preflight(&network::PreflightOptions::new(subnet)).await {
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

async fn docker() -> Finding {
    let check = "docker";
    let engine = match engine::DockerOptions::from_env(paths::DATA_DIR) {
        Ok(options) => engine::Docker::new(options),
        Err(error) => return Finding::bad(check, api::error::chain(&error), DOCKER_FIX),
    };
    match tokio::time::timeout(Duration::from_secs(10), engine.info()).await {
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
            "dockerd accepts the connection and gives no answer in 10 s".into(),
            "restart it: systemctl restart docker",
        ),
    }
}

async fn data_folder(dir: &Path) -> Finding {
    let check = format!("data folder {}", dir.display());
    if !dir.exists() {
        return Finding::well(&check, "not made yet".into());
    }
    if crate::role::lock::any_holder(dir).is_some() {
        return Finding::well(&check, "in use by the running remuda".into());
    }
    let server = dir.join("server");
    if !server.exists() {
        return Finding::well(&check, "no state in it yet".into());
    }
    match store::Sqlite::open(&server).await {
        Ok(store) => {
            let status = store.status().await;
            Finding::well(&check, format!("whole, {} changes", status.index))
        }
        Err(store::Error::Locked { .. }) => {
            Finding::well(&check, "in use by the running remuda server".into())
        }
        Err(error) => Finding::bad(
            &check,
            api::error::chain(&error),
            "put a copy back with `remuda backup restore FILE`, or move the folder away to start anew",
        ),
    }
}
