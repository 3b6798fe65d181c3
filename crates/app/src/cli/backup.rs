//! `backup`: a copy of the state from the running server, and the way back while it is stopped.

use super::Global;
use super::client::client;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::paths;
use api::routes;
use clap::Subcommand;
use futures_util::StreamExt as _;
use http::Method;
use std::path::PathBuf;
use tokio::io::AsyncWriteExt as _;

/// Commands of `backup`.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Copy the state of the running server into a file
    Create {
        /// The file
        file: PathBuf,
    },
    /// Put a copy back; the server must be stopped. Containers that run go on running
    Restore {
        /// The file
        file: PathBuf,
        /// Data folder of the server
        #[arg(long, env = "REMUDA_DATA_DIR", default_value = paths::DATA_DIR)]
        data_dir: PathBuf,
    },
}

/// `remuda backup`.
///
/// # Errors
/// Why the copy could not be made or put back; nothing is half done.
pub(super) async fn run(global: &Global, command: BackupCommand) -> Outcome {
    match command {
        BackupCommand::Create { file } => create(global, file).await,
        BackupCommand::Restore { file, data_dir } => {
            let kept = crate::role::restore::restore(&file, &data_dir).await?;
            output::note(&format!("state of {} is back in {}", file.display(), data_dir.display()));
            if let Some(kept) = kept {
                output::note(&format!("the state that was there is kept in {}", kept.display()));
            }
            Ok(())
        }
    }
}

async fn create(global: &Global, file: PathBuf) -> Outcome {
    use std::os::unix::fs::OpenOptionsExt as _;
    if file.exists() {
        return Err(Failure::usage(format!("{} is already there", file.display()))
            .hint("name another file"));
    }
    let mut bytes = client(global)?.bytes(Method::GET, routes::BACKUP, None).await?;
    let mut temporary = file.clone().into_os_string();
    temporary.push(".part");
    let temporary = PathBuf::from(temporary);
    let failed = |e: std::io::Error| Failure::error(format!("{}: {e}", temporary.display()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = tokio::fs::File::from_std(options.open(&temporary).map_err(failed)?);
    let write = async {
        let mut size = 0u64;
        while let Some(part) = bytes.next().await {
            let part = part?;
            size += part.len() as u64;
            out.write_all(&part).await.map_err(failed)?;
        }
        out.flush().await.map_err(failed)?;
        out.sync_all().await.map_err(failed)?;
        std::fs::rename(&temporary, &file).map_err(failed)?;
        Ok(size)
    };
    let size = match write.await {
        Ok(size) => size,
        Err(failure) => {
            // Half a copy is none.
            if let Err(error) = std::fs::remove_file(&temporary) {
                tracing::debug!(%error, "unfinished copy not removed");
            }
            return Err(failure);
        }
    };
    output::note(&format!("{}: {}", file.display(), output::size(size)));
    Ok(())
}
