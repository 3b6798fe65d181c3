//! `remuda server`: API, loops and state.

use super::consul::ConsulArgs;
use super::lock::{self, Part};
use super::{CONTEXT, clock, failed, make_private_dir, told_to_stop};
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::paths::{self, Context};
use api::error::ErrorInfo;
use api::wire::JoinToken;
use clap::Args;
use ipnet::Ipv4Net;
use model::host::Environment;
use model::limits::{CERTIFICATE_MS_DEFAULT, CERTIFICATE_MS_MAX, CERTIFICATE_MS_MIN};
use network::Fabric as _;
use server::Server;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use store::Sqlite;
use tokio::net::TcpListener;

/// Options of `server`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  remuda server
  remuda host token create       then, on a host: remuda agent --join ADDRESS --token TOKEN")]
pub(crate) struct ServerArgs {
    /// Data folder
    #[arg(long, env = "REMUDA_DATA_DIR", default_value = paths::DATA_DIR)]
    pub data_dir: PathBuf,
    /// Address of API and agents' link; off loopback only TLS is spoken
    #[arg(long, env = "REMUDA_LISTEN", default_value = paths::API_LISTEN)]
    pub listen: SocketAddr,
    /// Range of the managed network, used at the first start
    #[arg(long, env = "REMUDA_SUBNET", default_value = "10.42.0.0/16")]
    pub subnet: Ipv4Net,
    /// Further names and addresses for the server's certificate
    #[arg(long)]
    pub name: Vec<String>,
    /// How long an agent's certificate is good; the agent renews it by itself at two thirds of
    /// that [default: 90d]
    #[arg(long, env = "REMUDA_CERTIFICATE_LIFE", value_name = "DURATION",
        value_parser = certificate_life)]
    pub certificate_life: Option<u64>,
    /// A program that has a say in where instances go: prioritize, reserve and release are posted
    /// there; http:// only
    #[arg(long, env = "REMUDA_SCHEDULER_URL", value_name = "URL")]
    pub scheduler_url: Option<server::SchedulerUrl>,
    #[command(flatten)]
    pub consul: ConsulArgs,
    /// The server answers containers of this machine over the Consul API: its agent is in the same
    /// process.
    #[arg(skip)]
    pub answers_containers: bool,
}

/// Milliseconds.
fn certificate_life(text: &str) -> Result<u64, String> {
    let life = crate::cli::duration(text)?;
    let ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    match (CERTIFICATE_MS_MIN..=CERTIFICATE_MS_MAX).contains(&ms) {
        true => Ok(ms),
        false => Err(format!("{text} is not between 10s and 1825d")),
    }
}

/// A server that is open and bound.
pub(super) struct Opened {
    pub(super) server: Server<Sqlite>,
    pub(super) socket: TcpListener,
}

/// Opens the state, binds the port, writes the context of the CLI.
pub(super) async fn open(args: &ServerArgs) -> Outcome<Opened> {
    check_subnet(args.subnet)?;
    make_private_dir(&args.data_dir)?;
    // Before anything is made: a start that fails leaves nothing.
    let socket = TcpListener::bind(args.listen).await.map_err(|e| {
        Failure::error(format!("the API cannot listen on {}: {e}", args.listen)).hint(
            "is another remuda running? `remuda doctor` shows who holds the port; \
             --listen takes another one",
        )
    })?;
    let dir = args.data_dir.join("server");
    make_private_dir(&dir)?;
    let store = Sqlite::open(&dir)
        .await
        .map_err(|e| failed(&format!("the state in {} cannot be opened", dir.display()), &e))?;
    let mut names = args.name.clone();
    if !args.listen.ip().is_loopback() && !args.listen.ip().is_unspecified() {
        names.push(args.listen.ip().to_string());
    }
    names.push(super::hostname());
    let environment = read_environment(&args.data_dir);
    let options = server::Options { dir, subnet: args.subnet, names, environment, clock: clock() };
    let server = Server::open(store, options).await.map_err(|e| match e {
        server::Error::StateLost { .. } | server::Error::OtherEnvironment { .. } => {
            failed("server", &e).hint(
                "put a copy back with `remuda backup restore FILE`, or take away what runs here \
                 with `remuda dev down` to begin anew",
            )
        }
        _ => failed("server", &e),
    })?;
    let life = args.certificate_life.unwrap_or(CERTIFICATE_MS_DEFAULT);
    let consul = server::ConsulOptions {
        listen: args.consul.consul_listen.0,
        containers: args
            .answers_containers
            .then(|| (network::LINK_LOCAL, network::CONSUL_PORT).into()),
        node: super::host_id(&super::hostname()).to_string(),
        address: reachable(args.listen).await.ip(),
    };
    let server = server
        .with_scheduler(args.scheduler_url.clone())
        .with_certificate_life(life)
        .with_consul(consul);
    let environment =
        server.environment().ok_or_else(|| Failure::error("the state has no environment"))?;
    write_environment(&args.data_dir, &environment)?;
    write_context(&server, args)?;
    Ok(Opened { server, socket })
}

fn check_subnet(subnet: Ipv4Net) -> Outcome {
    if subnet.prefix_len() > 24 || subnet.prefix_len() < 8 {
        return Err(Failure::usage(format!("subnet {subnet} must be between /8 and /24")));
    }
    if subnet.network() != subnet.addr() {
        return Err(Failure::usage(format!("subnet {subnet} has host bits set"))
            .hint(format!("did you mean {}?", subnet.trunc())));
    }
    Ok(())
}

fn write_context(server: &Server<Sqlite>, args: &ServerArgs) -> Outcome {
    let listen = args.listen;
    let token = std::fs::read_to_string(&server.token_file)?;
    let mut at = listen;
    if at.ip().is_unspecified() {
        at.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let context = if listen.ip().is_loopback() {
        Context { server: format!("http://{at}"), token, ca: String::new() }
    } else {
        Context { server: format!("https://{at}"), token, ca: server.pin() }
    };
    let file = paths::config_file();
    paths::write_context(&file, CONTEXT, context)?;
    paths::remember_context_file(&args.data_dir, &file)
}

/// URL of the API for people.
pub(super) fn url(listen: SocketAddr) -> String {
    format!("{}://{listen}", if listen.ip().is_loopback() { "http" } else { "https" })
}

/// File that tells `dev down` and `doctor` the environment without the store.
fn environment_file(data_dir: &Path) -> PathBuf {
    data_dir.join("environment")
}

/// Writes it.
pub(super) fn write_environment(data_dir: &Path, environment: &Environment) -> Outcome {
    paths::write_private(
        &environment_file(data_dir),
        &format!("{}\n{}\n", environment.id, environment.subnet),
    )
}

/// Environment id of a data folder; `None` when nothing was ever started with it.
pub(crate) fn read_environment(data_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(environment_file(data_dir)).ok()?;
    text.lines().next().filter(|id| !id.is_empty()).map(str::to_owned)
}

/// Range of the managed network of a data folder; the usual one when nothing was started there.
pub(crate) fn read_subnet(data_dir: &Path) -> Ipv4Net {
    let text = std::fs::read_to_string(environment_file(data_dir)).unwrap_or_default();
    let usual = Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 42, 0, 0), 16);
    text.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or(usual)
}

/// Says how a host joins: while none has, with a token that can be used as it stands.
async fn tell_joining(
    listen: SocketAddr,
    has_hosts: bool,
    token: impl Future<Output = Result<JoinToken, ErrorInfo>>,
) {
    let at = reachable(listen).await;
    let later = |what: &str| {
        let how = format!("remuda agent --join {at} --token $(remuda host token create)");
        output::note(&format!("to join {what} host: {how}"));
    };
    if has_hosts {
        return later("another");
    }
    let token = match token.await {
        Ok(token) => token,
        Err(error) => {
            output::note(&format!(
                "no join token could be made: {} ({})",
                error.message, error.hint
            ));
            return later("a");
        }
    };
    let until = output::utc(token.expires_at);
    output::note(&format!("to join a host, run this there as root (good until {until}):"));
    output::note(&format!("  remuda agent --join {at} --token {}", token.token));
    if listen.ip().is_loopback() {
        output::note("  (only this machine reaches it there: see --listen)");
    }
}

/// Where hosts find the server: an address of this machine when it listens on all of them.
async fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut at = listen;
    if at.ip().is_unspecified() {
        let facts = network::Linux::new(std::env::temp_dir()).facts().await;
        let own = facts.ok().and_then(|facts| facts.address);
        at.set_ip(own.unwrap_or_else(|| std::net::Ipv4Addr::LOCALHOST.into()));
    }
    at
}

/// `remuda server`.
///
/// # Errors
/// Why it does not start.
pub(crate) async fn run(mut args: ServerArgs) -> Outcome {
    args.data_dir = std::path::absolute(&args.data_dir)?;
    make_private_dir(&args.data_dir)?;
    let lock = lock::take(&args.data_dir, Part::Server, "server").await?;
    let opened = open(&args).await?;
    output::note(&format!(
        "remuda server {}: API on {}; token file {}",
        env!("CARGO_PKG_VERSION"),
        url(args.listen),
        opened.server.token_file.display()
    ));
    let has_hosts = opened.server.has_hosts();
    let telling = tell_joining(args.listen, has_hosts, opened.server.join_token());
    let telling = async {
        telling.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = opened.server.run(Some(opened.socket)) => {
            return result.map_err(|e| failed("server", &e));
        }
        () = telling => {}
        stopped = told_to_stop() => stopped?,
    }
    output::note("what runs goes on; `remuda dev down` takes all away");
    drop(lock);
    Ok(())
}
