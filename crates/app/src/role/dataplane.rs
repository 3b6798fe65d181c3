//! `remuda dataplane`: DNS, probes and balancers of this host, in a process of its own.

use super::{failed, make_private_dir, told_to_stop};
use crate::exit::Outcome;
use clap::Args;
use std::path::PathBuf;

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
    let mut options = dataplane::Options::new(args.dir);
    options.view = args.view;
    let stop = async {
        if let Err(error) = told_to_stop().await {
            tracing::error!(%error, "signals cannot be taken");
        }
    };
    dataplane::run(options, stop).await.map_err(|e| failed("dataplane", &e))
}
