//! The `nft` program as a child process: our rules go in by stdin, as one batch that the kernel
//! takes whole or not at all. Plain text, since not every `nft` is built with JSON.

use crate::Error;
use model::limits::{NFT_MS_MAX, NFT_OUTPUT_BYTES_MAX, REASON_BYTES_MAX};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Where it is looked for besides `PATH`, which has no sbin for many.
const SBIN: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// What `nft` is asked to do with a text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// Load it.
    Load,
    /// Let the kernel look at it and throw it away.
    Check,
}

/// Path of `nft`.
pub(crate) fn find() -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SBIN.iter().map(PathBuf::from))
        .map(|folder| folder.join("nft"))
        .find(|file| file.is_file())
        .ok_or(Error::NftMissing)
}

/// Loads or checks `text`.
pub(crate) async fn feed(mode: Mode, text: &str) -> Result<(), Error> {
    let arguments: &[&str] = match mode {
        Mode::Load => &["-f", "-"],
        Mode::Check => &["-c", "-f", "-"],
    };
    run(arguments, text).await.map(drop)
}

/// `nft -j list ruleset`, to look for other people's policies; cut at `NFT_OUTPUT_BYTES_MAX`.
pub(crate) async fn list_ruleset() -> Result<String, Error> {
    run(&["-j", "list", "ruleset"], "").await
}

async fn run(arguments: &[&str], input: &str) -> Result<String, Error> {
    let program = find()?;
    let failed = |source| Error::NftRun { program: program.clone(), source };
    let mut child = Command::new(&program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let talk = tokio::time::timeout(Duration::from_millis(NFT_MS_MAX), talk(&mut child, input));
    let Ok(said) = talk.await else { return Err(Error::NftTimeout { ms: NFT_MS_MAX }) };
    let (success, stdout, stderr) = said.map_err(failed)?;
    if success { Ok(stdout) } else { Err(Error::NftRefused { stderr: shortened(&stderr) }) }
}

async fn talk(child: &mut Child, input: &str) -> io::Result<(bool, String, String)> {
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let mut stdin = child.stdin.take().ok_or_else(gone)?;
    let stdout = child.stdout.take().ok_or_else(gone)?;
    let stderr = child.stderr.take().ok_or_else(gone)?;
    let write = async move {
        // A refusal may close the pipe before all was read; the exit code tells.
        match stdin.write_all(input.as_bytes()).await {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e),
            _ => Ok(()),
        }
    };
    let (written, out, err) = tokio::join!(write, bounded(stdout), bounded(stderr));
    written?;
    Ok((child.wait().await?.success(), out?, err?))
}

async fn bounded(pipe: impl tokio::io::AsyncRead + Unpin) -> io::Result<String> {
    let mut bytes = Vec::new();
    pipe.take(NFT_OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// On one line and bounded: it ends in a host's `network_problem`.
fn shortened(stderr: &str) -> String {
    let line = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(REASON_BYTES_MAX / 4).collect()
}
