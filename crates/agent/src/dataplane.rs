//! Keeps the dataplane process of this host: connects to the one that runs, starts one when none
//! does, hands down the newest view and local status, hands up its reports. It is never stopped
//! from here: it outlives the agent.

use dataplane::{Client, Event, LocalInstance, Report};
use model::id::InstanceId;
use model::view::HostView;
use model::wireguard::WireWish;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Containers of this host as the dataplane wants to know them.
pub type Local = BTreeMap<InstanceId, LocalInstance>;

/// How the dataplane is started.
#[derive(Clone, Debug)]
pub struct DataplaneCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its folder.
    pub dir: PathBuf,
}

/// What is known of the dataplane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataplaneState {
    /// Its newest report.
    pub report: Report,
    /// Its process id; 0 while it does not answer.
    pub pid: u32,
    /// Why it does not answer; empty when it does.
    pub problem: String,
}

/// The agent's side of the dataplane: what goes down and what comes up, whoever carries it.
#[derive(Debug)]
pub struct DataplanePort {
    /// Newest view.
    pub view: watch::Receiver<Option<Arc<HostView>>>,
    /// Newest local status; `None` until the containers have been looked at.
    pub local: watch::Receiver<Option<Arc<Local>>>,
    /// Newest word on what to encrypt between hosts.
    pub wire: watch::Receiver<Option<Arc<WireWish>>>,
    /// What is known of the dataplane.
    pub state: watch::Sender<DataplaneState>,
}

const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// A process that does not answer for this long after its start is said to be in trouble.
const START_TRIES: u32 = 200;

/// Keeps it for ever.
pub(crate) async fn keep(command: DataplaneCommand, mut port: DataplanePort) {
    let mut retry = RETRY_MIN;
    loop {
        match open(&command).await {
            Ok(client) => {
                retry = RETRY_MIN;
                serve(client, &mut port).await;
                tracing::warn!("dataplane went away");
                problem(&port, "it went away and is being started again".into());
            }
            Err(why) => {
                tracing::error!(error = why, "dataplane cannot be started");
                problem(&port, why);
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

fn problem(port: &DataplanePort, why: String) {
    port.state.send_modify(|state| {
        state.problem = why;
        state.pid = 0;
    });
}

/// Connects to the one that runs, or starts one.
async fn open(command: &DataplaneCommand) -> Result<Client, String> {
    if let Ok(client) = Client::connect(&command.dir).await {
        return Ok(client);
    }
    start(command)?;
    let mut last = String::new();
    for _ in 0..START_TRIES {
        match Client::connect(&command.dir).await {
            Ok(client) => return Ok(client),
            Err(error) => last = api::error::chain(&error),
        }
        tokio::time::sleep(RETRY_MIN).await;
    }
    let log = command.dir.join("dataplane.log");
    Err(format!("it does not answer ({last}); see {}", log.display()))
}

fn start(command: &DataplaneCommand) -> Result<(), String> {
    let log_path = command.dir.join("dataplane.log");
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(|e| format!("log {}: {e}", log_path.display()))?;
    let errors = log.try_clone().map_err(|e| format!("log {}: {e}", log_path.display()))?;
    let mut process = std::process::Command::new(&command.program);
    process
        .args(&command.args)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // Its own group: Ctrl-C in the agent's terminal is not meant for it.
        .process_group(0);
    let mut child = process.spawn().map_err(|e| format!("{}: {e}", command.program.display()))?;
    tracing::info!(pid = child.id(), "dataplane started");
    // A thread that waits for its end, so that it is no zombie; it ends with the process.
    std::thread::spawn(move || match child.wait() {
        Ok(status) => tracing::warn!(%status, "dataplane ended"),
        Err(error) => tracing::warn!(%error, "dataplane cannot be waited for"),
    });
    Ok(())
}

async fn serve(mut client: Client, port: &mut DataplanePort) {
    port.view.mark_changed();
    port.local.mark_changed();
    port.wire.mark_changed();
    loop {
        tokio::select! {
            event = client.next() => match event {
                Some(Event::Hello { pid, .. }) => port.state.send_modify(|state| {
                    state.pid = pid;
                    state.problem.clear();
                }),
                Some(Event::Report(report)) => port.state.send_modify(|state| {
                    state.report = *report;
                }),
                None => return,
            },
            changed = port.view.changed() => {
                if changed.is_err() {
                    return;
                }
                if let Some(view) = port.view.borrow_and_update().clone() {
                    client.publish(view);
                }
            }
            changed = port.local.changed() => {
                if changed.is_err() {
                    return;
                }
                if let Some(local) = port.local.borrow_and_update().clone() {
                    client.local(local);
                }
            }
            changed = port.wire.changed() => {
                if changed.is_err() {
                    return;
                }
                if let Some(wire) = port.wire.borrow_and_update().clone() {
                    client.wire(wire);
                }
            }
        }
    }
}
