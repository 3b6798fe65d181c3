//! `remuda dataplane`: DNS, probes and balancers of this host, in a process of its own.

use super::{failed, make_private_dir, told_to_stop};
use crate::exit::Outcome;
use clap::Args;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// Options of `dataplane`.
#[derive(Debug, Args)]
pub(crate) struct DataplaneArgs {
    /// Its folder: socket and last view
    #[arg(long)]
    dir: PathBuf,
    /// Serve this view (JSON) without an agent
    #[arg(long)]
    view: Option<PathBuf>,
}

/// `remuda dataplane`.
///
/// # Errors
/// Why it does not start.
pub(crate) async fn run(args: DataplaneArgs) -> Outcome {
    make_private_dir(&args.dir)?;
    // What is in a folder of its own encrypts nothing: it has no agent.
    let wires = match &args.view {
        None => Some(wires(&args.dir)?),
        Some(_) => None,
    };
    let mut options = dataplane::Options::new(args.dir);
    options.view = args.view;
    options.wires = wires;
    let stop = async {
        if let Err(error) = told_to_stop().await {
            tracing::error!(%error, "signals cannot be taken");
        }
    };
    dataplane::run(options, stop).await.map_err(|e| failed("dataplane", &e))
}

/// Who encrypts between hosts, which no crate but `network` can.
fn wires(dir: &Path) -> Outcome<dataplane::WirePort> {
    let (wish, wishes) = watch::channel(None);
    let (said, status) = watch::channel(model::wireguard::WireStatus::default());
    network::start_wires(dir.to_owned(), wishes, said)
        .map_err(|e| failed("the thread that encrypts cannot be started", &e))?;
    Ok(dataplane::WirePort { wish, status })
}
