//! `remuda agent`: Docker, network and dataplane of this host.

use super::lock::{self, Part};
use super::server::{read_environment, write_environment};
use super::{clock, failed, hostname, make_private_dir, need_root, told_to_stop};
use crate::exit::{AUTH, Failure, Outcome};
use crate::output;
use crate::paths;
use ::agent::{Agent, DataplaneCommand, Options};
use api::grpc::{GrpcLink, enroll};
use api::link::{AgentLink, LinkError};
use api::tls::Identity;
use clap::Args;
use model::id::HostId;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two tries to join a server that does not answer.
const JOIN_RETRY: Duration = Duration::from_secs(1);

/// Options of `agent`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  remuda agent --join 127.0.0.1:7600 --token rmj_…     the first time
  remuda agent                                         from then on")]
pub(crate) struct AgentArgs {
    /// Data folder
    #[arg(long, env = "REMUDA_DATA_DIR", default_value = paths::DATA_DIR)]
    data_dir: PathBuf,
    /// Address of the server, host:port
    #[arg(long, env = "REMUDA_JOIN")]
    join: Option<String>,
    /// Join token, from `remuda host token create`
    #[arg(long, env = "REMUDA_JOIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Id of this host [default: its host name]
    #[arg(long)]
    host: Option<String>,
}

/// What an enrolled host keeps.
#[derive(Serialize, Deserialize)]
struct Membership {
    host: HostId,
    server: String,
    pin: String,
    certificate_pem: String,
    key_pem: String,
    environment: String,
}

/// `remuda agent`.
///
/// # Errors
/// Why it does not start; exit code 4 when the server refuses it.
pub(crate) async fn run(mut args: AgentArgs) -> Outcome {
    need_root()?;
    args.data_dir = std::path::absolute(&args.data_dir)?;
    let dir = args.data_dir.join("agent");
    make_private_dir(&args.data_dir)?;
    make_private_dir(&dir)?;
    let lock = lock::take(&args.data_dir, Part::Agent, "agent").await?;
    let membership = membership(&args, &dir.join("membership.json")).await?;
    let identity = Identity {
        chain_pem: membership.certificate_pem.clone(),
        key_pem: membership.key_pem.clone(),
    };
    let link = GrpcLink::new(&membership.server, &membership.pin, &identity)
        .map_err(|e| failed("the certificate of this host cannot be used", &e))?;
    output::note(&format!("remuda agent of host {} dials {}", membership.host, membership.server));
    let environment = Some(membership.environment);
    let machine = lock::take_machine(&args.data_dir)?;
    let agent = prepare(&args.data_dir, membership.host, environment, link)?;
    tokio::select! {
        () = agent.run() => {}
        stopped = told_to_stop() => stopped?,
    }
    output::note("containers and dataplane go on");
    drop((lock, machine));
    Ok(())
}

/// An agent over real Docker and the real network.
pub(super) fn prepare<L: AgentLink>(
    data_dir: &Path,
    host: HostId,
    environment: Option<String>,
    link: L,
) -> Outcome<Agent<L, engine::Docker, network::Linux>> {
    let dir = data_dir.join("agent");
    make_private_dir(&dir)?;
    let dataplane_dir = data_dir.join("dataplane");
    make_private_dir(&dataplane_dir)?;
    let engine = super::dev::docker(data_dir)?;
    let fabric = network::Linux::new(data_dir.join("network"));
    make_private_dir(&data_dir.join("network"))?;
    let program = std::env::current_exe()?;
    let command = DataplaneCommand {
        program,
        args: vec!["dataplane".into(), "--dir".into(), dataplane_dir.clone().into()],
        dir: dataplane_dir,
    };
    Ok(Agent::new(Options {
        host,
        dir,
        link,
        engine,
        fabric,
        clock: clock(),
        journal: None,
        environment,
        dataplane: Some(command),
    }))
}

/// The id of this host: the one that it has had, else the one asked for, else its name.
///
/// # Errors
/// When the id asked for is not one, or is not the one that it has.
pub(super) fn own_host(data_dir: &Path, asked: Option<&str>) -> Outcome<HostId> {
    let file = data_dir.join("agent/host");
    let asked = match asked {
        Some(name) => Some(HostId::parse(name).map_err(|e| Failure::usage(e.to_string()))?),
        None => None,
    };
    let kept = std::fs::read_to_string(&file).ok();
    let kept = kept.and_then(|text| HostId::parse(text.trim()).ok());
    match (kept, asked) {
        (Some(kept), Some(asked)) if kept != asked => {
            Err(Failure::usage(format!("this host is {kept} already, not {asked}"))
                .hint("leave out --host, or `remuda dev down` takes away what it is"))
        }
        (Some(kept), _) => Ok(kept),
        (None, asked) => {
            let host = asked.unwrap_or_else(|| super::host_id(&hostname()));
            make_private_dir(&data_dir.join("agent"))?;
            paths::write_private(&file, &format!("{host}\n"))?;
            Ok(host)
        }
    }
}

/// Reads the membership; without one the host joins with the token.
async fn membership(args: &AgentArgs, file: &Path) -> Outcome<Membership> {
    // An API token of the environment (REMUDA_TOKEN) comes in by the same option.
    let api = |text: &String| text.starts_with(api::token::API_PREFIX);
    let token = match &args.token {
        Some(text) if api(text) => std::env::var("REMUDA_JOIN_TOKEN").ok(),
        token => token.clone(),
    };
    let token = match token {
        Some(text) => Some(join_token(&text)?),
        None => None,
    };
    let Some(mut membership) = read_membership(file)? else {
        let token = token.ok_or_else(|| {
            Failure::usage("this host has not joined a server yet")
                .hint("remuda agent --join HOST:7600 --token $(remuda host token create)")
        })?;
        return join(args, &token, file).await;
    };
    own_host(&args.data_dir, args.host.as_deref())?;
    // A unit file may name the token for ever: who has joined does not need it any more.
    if let Some(token) = token.filter(|token| token.pin != membership.pin) {
        return Err(Failure::usage(format!(
            "this host belongs to another server than the token is of (CA {} and not {})",
            &membership.pin[..12.min(membership.pin.len())],
            &token.pin[..12.min(token.pin.len())]
        ))
        .hint("leave out --token, or take the host away from the other one: remuda dev down"));
    }
    if let Some(server) = &args.join {
        membership.server.clone_from(server);
    }
    Ok(membership)
}

/// A join token, taken apart; its text as well.
struct JoinToken {
    text: String,
    pin: String,
}

fn join_token(text: &str) -> Outcome<JoinToken> {
    let parts = api::token::parse(text).filter(|parts| !parts.pin.is_empty());
    let parts = parts.ok_or_else(|| {
        Failure::usage("that is not a whole join token (rmj_…)")
            .hint("make one on the server: remuda host token create")
    })?;
    Ok(JoinToken { text: text.trim().to_owned(), pin: parts.pin })
}

fn read_membership(file: &Path) -> Outcome<Option<Membership>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::error(format!("{}: {e}", file.display()))),
    };
    serde_json::from_str(&text).map(Some).map_err(|e| {
        Failure::error(format!("{} cannot be read: {e}", file.display())).hint(
            "remove the file and join again: \
             remuda agent --join HOST:7600 --token $(remuda host token create)",
        )
    })
}

/// Joins; waits for a server that does not answer yet.
async fn join(args: &AgentArgs, token: &JoinToken, file: &Path) -> Outcome<Membership> {
    let server =
        args.join.clone().ok_or_else(|| Failure::usage("--token needs --join HOST:7600"))?;
    let host = own_host(&args.data_dir, args.host.as_deref())?;
    let mut said = String::new();
    let enrolled = loop {
        match enroll(&server, &token.text, &token.pin, host.clone()).await {
            Ok(enrolled) => break enrolled,
            Err(error @ (LinkError::Refused { .. } | LinkError::Foreign { .. })) => {
                return Err(Failure::Message {
                    code: AUTH,
                    message: error.to_string(),
                    hint: "on the server `remuda host ls` shows who has joined, and `remuda host \
                           token create` makes a new token"
                        .into(),
                });
            }
            Err(error) => {
                let why = error.to_string();
                if said != why {
                    output::note(&format!("{why}; waiting for it"));
                    said = why;
                }
                tokio::time::sleep(JOIN_RETRY).await;
            }
        }
    };
    let environment = enrolled.environment;
    if let Some(other) = read_environment(&args.data_dir).filter(|id| *id != environment.id) {
        return Err(Failure::error(format!(
            "{} holds what runs here for environment {other}, and the server is of {}",
            args.data_dir.display(),
            environment.id
        ))
        .hint(
            "take it away first with `remuda dev down`, or name another folder with --data-dir",
        ));
    }
    let membership = Membership {
        host: enrolled.host,
        server,
        pin: token.pin.clone(),
        certificate_pem: enrolled.identity.chain_pem,
        key_pem: enrolled.identity.key_pem,
        environment: environment.id.clone(),
    };
    // `dev down` must find what this host will hold, whatever happens next.
    write_environment(&args.data_dir, &environment)?;
    let text = serde_json::to_string_pretty(&membership).map_err(std::io::Error::from)?;
    paths::write_private(file, &text)?;
    Ok(membership)
}
