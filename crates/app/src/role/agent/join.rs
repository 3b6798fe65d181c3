//! `remuda agent join`: this machine becomes a host and keeps what proves it; the agent is started by
//! somebody else, without a token. The token comes in by a file or by stdin, so that no list of
//! processes, no unit and no log has it.

use super::membership::{self, JoinToken};
use super::{AgentArgs, DriverArgs};
use crate::exit::{Failure, Outcome, TIMED_OUT};
use crate::output;
use crate::paths;
use crate::role::consul::{ConsulArgs, Listen};
use crate::role::lock::{self, Part};
use crate::role::make_private_dir;
use api::client::Client;
use api::error::Kind;
use api::routes;
use api::wire::Ping;
use clap::Args;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest token file, in bytes.
const TOKEN_BYTES_MAX: u64 = 4_096;
/// Longest wait for a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Options of `agent join`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  sudo remuda agent join --server 10.0.0.9:7600 --token-file /root/token
  remuda host token create --uses 1 | ssh root@10.0.0.1 \\
      remuda agent join --server 10.0.0.9:7600 --token-file -

Then start the agent: systemctl enable --now remuda-agent, or remuda agent.")]
pub(crate) struct JoinArgs {
    /// Data folder
    #[arg(long, env = "REMUDA_DATA_DIR", default_value = paths::DATA_DIR)]
    data_dir: PathBuf,
    /// Address of the server, host:port
    #[arg(long)]
    server: String,
    /// File with the join token; `-` is stdin
    #[arg(long)]
    token_file: PathBuf,
    /// Id of this host [default: its host name]
    #[arg(long)]
    host: Option<String>,
    /// Only look whether the server answers there, and is the one that the token is of
    #[arg(long)]
    check: bool,
}

/// Joins.
///
/// # Errors
/// Why this machine is no host; exit code 4 when the server refuses it, 7 when it does not answer.
pub(super) async fn run(args: JoinArgs) -> Outcome {
    let token = membership::join_token(&read_token(&args.token_file)?)?;
    look(&args.server, &token).await?;
    if args.check {
        output::note(&format!("the server answers at {}", args.server));
        return Ok(());
    }
    let data_dir = std::path::absolute(&args.data_dir)?;
    let dir = data_dir.join("agent");
    make_private_dir(&data_dir)?;
    make_private_dir(&dir)?;
    let lock = lock::take(&data_dir, Part::Agent, "agent").await?;
    let options = AgentArgs {
        command: None,
        join: Some(args.server.clone()),
        token: None,
        host: args.host,
        data_dir,
        driver: DriverArgs::default(),
        // It joins, and answers nobody.
        consul: ConsulArgs { consul_listen: Listen(None) },
    };
    let file = dir.join("membership.json");
    let joined = membership::join_now(&options, token, &file);
    let host =
        tokio::time::timeout(PATIENCE, joined).await.map_err(|_elapsed| Failure::Message {
            code: TIMED_OUT,
            message: format!("the server at {} does not answer", args.server),
            hint: "is it running, and does this machine reach that address?".into(),
        })??;
    output::note(&format!("this machine is host {host} of the server at {}", args.server));
    drop(lock);
    Ok(())
}

/// Does the server answer there, with the certificate that the token names?
async fn look(server: &str, token: &JoinToken) -> Outcome {
    let client = Client::new(&format!("https://{server}"), "", &token.pin);
    match client.get::<Ping>(routes::PING).await {
        Err(error) if error.kind == Kind::Unavailable => Err(Failure::from(error)),
        _ => Ok(()),
    }
}

fn read_token(file: &Path) -> Outcome<String> {
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_to_string(&mut text),
        false => std::fs::File::open(file)
            .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text)),
    };
    read.map_err(|e| Failure::usage(format!("token file {}: {e}", file.display())))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_without_its_line_end_and_never_without_bound() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "rmj_1\n").unwrap();
        assert_eq!(read_token(&file).unwrap(), "rmj_1");
        std::fs::write(&file, "x".repeat(10_000)).unwrap();
        assert_eq!(read_token(&file).unwrap().len(), 4_096);
        assert_eq!(read_token(&dir.path().join("none")).unwrap_err().code(), 2);
    }
}
