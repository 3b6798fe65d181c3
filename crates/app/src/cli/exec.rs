//! `exec`: a command in an instance, with the terminal handed through.

use super::Global;
use super::client::client;
use super::place::Place;
use crate::exit::{Failure, Outcome};
use crate::output;
use api::client::ChunkSocket;
use api::routes;
use api::stream::Chunk;
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::IsTerminal as _;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

/// Options of `exec`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  remuda exec shop/web -- nslookup api
  remuda exec -it shop/web#2 -- sh")]
pub(crate) struct ExecArgs {
    /// stack/service or stack/service#n
    place: Place,
    /// With stdin
    #[arg(short, long)]
    interactive: bool,
    /// With a terminal
    #[arg(short, long)]
    tty: bool,
    /// user[:group]
    #[arg(short, long, default_value = "")]
    user: String,
    /// Working directory
    #[arg(short, long, default_value = "")]
    workdir: String,
    /// The command
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// `remuda exec`: its exit code is the command's.
///
/// # Errors
/// Exit code 3 when no instance runs; the command's own code otherwise.
pub(super) async fn run(global: &Global, args: ExecArgs) -> Outcome {
    let place = args.place.service()?;
    let tty = args.tty;
    if tty && !std::io::stdin().is_terminal() {
        return Err(Failure::usage("-t needs a terminal on stdin").hint("leave -t away"));
    }
    let command = serde_json::to_string(&args.command).map_err(std::io::Error::from)?;
    let path = format!(
        "{}?{}&command={}&tty={tty}&stdin={}&user={}&workdir={}",
        routes::EXEC,
        place.query(),
        routes::encode(&command),
        args.interactive,
        routes::encode(&args.user),
        routes::encode(&args.workdir),
    );
    let socket = client(global)?.chunks(&path).await?;
    let code = {
        let _raw = if tty { Some(RawTerminal::enter()?) } else { None };
        pump(socket, args.interactive, tty).await?
    };
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Code(code)),
        Err(_beyond) => Err(Failure::Code(1)),
    }
}

/// The terminal in raw mode, put back when dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> std::io::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0) {
            output::complain(&format!("the terminal cannot be put back: {error}"), "type `reset`");
        }
    }
}

fn window() -> Option<Chunk> {
    let size = rustix::termios::tcgetwinsize(std::io::stdin()).ok()?;
    Some(Chunk::Resize(size.ws_col, size.ws_row))
}

async fn pump(socket: ChunkSocket, interactive: bool, tty: bool) -> Outcome<i64> {
    let (mut sink, mut stream) = socket.split();
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 16 * 1024];
    let mut reading = interactive;
    let mut resized = signal(SignalKind::window_change())?;
    if tty && let Some(size) = window() {
        sink.send(size).await?;
    }
    if !interactive {
        sink.send(Chunk::InEnd).await?;
    }
    loop {
        tokio::select! {
            chunk = stream.next() => match chunk {
                Some(Chunk::Out { stderr, bytes }) => output::bytes(stderr, &bytes),
                Some(Chunk::Exit(code)) => return Ok(code),
                Some(Chunk::Failed(why)) => return Err(Failure::error(why)),
                Some(Chunk::End) => return Ok(0),
                Some(_) => {}
                None => return Err(Failure::error("the connection ended before the command did")),
            },
            read = stdin.read(&mut buffer), if reading => match read? {
                0 => {
                    reading = false;
                    sink.send(Chunk::InEnd).await?;
                }
                n => {
                    let bytes = bytes::Bytes::copy_from_slice(&buffer[..n]);
                    sink.send(Chunk::In(bytes)).await?;
                }
            },
            _ = resized.recv(), if tty => if let Some(size) = window() {
                sink.send(size).await?;
            },
        }
    }
}
