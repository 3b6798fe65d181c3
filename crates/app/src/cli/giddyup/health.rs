//! `giddyup health`: gives a service without a port one that says whether it is well.

use crate::exit::{Failure, Outcome};
use bytes::Bytes;
use clap::Args;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// Longest time of a connection, with the check that it asks for.
const CONNECTION: Duration = Duration::from_secs(60);

/// Options of `giddyup health`.
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Port that is answered
    #[arg(short, long, default_value_t = 1620)]
    port: u16,
    /// Run by a shell for each question; well is exit code 0
    #[arg(long)]
    check_command: Option<String>,
    /// Run by a shell when that fails
    #[arg(long)]
    on_failure_command: Option<String>,
    /// A program to start, whose end is the end
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(super) async fn run(args: HealthArgs) -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, args.port)).await;
    let listener = listener
        .map_err(|error| Failure::error(format!("port {} cannot be had: {error}", args.port)))?;
    let child = match args.command.split_first() {
        Some((program, rest)) => {
            let child = Command::new(program).args(rest).spawn();
            Some(child.map_err(|error| Failure::error(format!("{program}: {error}")))?)
        }
        None => None,
    };
    tokio::select! {
        () = serve(listener, Arc::new(args)) => Ok(()),
        outcome = ended(child) => outcome,
    }
}

/// The end of the program, with its exit code; never when there is none.
async fn ended(child: Option<Child>) -> Outcome {
    let Some(mut child) = child else { return std::future::pending().await };
    let status = child.wait().await?;
    let signal = status.signal().map(|signal| 128 + signal);
    match status.code().or(signal).and_then(|code| u8::try_from(code).ok()) {
        Some(0) => Ok(()),
        code => Err(Failure::Code(code.unwrap_or(crate::exit::ERROR))),
    }
}

async fn serve(listener: TcpListener, args: Arc<HealthArgs>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, args.clone()));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, args: Arc<HealthArgs>) {
    let service = service_fn(move |request| respond(request, args.clone()));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(CONNECTION).keep_alive(false);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION, served).await {
        tracing::debug!(%error, "question for health failed");
    }
}

async fn respond(
    request: Request<Incoming>,
    args: Arc<HealthArgs>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match request.uri().path() {
        "/ping" => match check(&args).await {
            Ok(()) => (StatusCode::OK, "OK".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
        },
        _ => (StatusCode::NOT_FOUND, "there is /ping".to_owned()),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    Ok(response)
}

async fn check(args: &HealthArgs) -> Result<(), String> {
    let Some(command) = &args.check_command else { return Ok(()) };
    let Err(why) = shell(command).await else { return Ok(()) };
    if let Some(command) = &args.on_failure_command
        && let Err(error) = shell(command).await
    {
        tracing::warn!(command, error, "command after a failed check failed too");
    }
    Err(why)
}

async fn shell(command: &str) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).kill_on_drop(true);
    match shell.status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("check failed: {status}")),
        Err(error) => Err(format!("check cannot be run: {error}")),
    }
}
