//! `remuda agent`: Docker, network and dataplane of this host.

use super::{clock, failed, hostname, make_private_dir, told_to_stop};
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
}

/// `remuda agent`.
///
/// # Errors
/// Why it does not start; exit code 4 when the server refuses it.
pub(crate) async fn run(args: AgentArgs) -> Outcome {
    super::dev::need_root()?;
    let dir = args.data_dir.join("agent");
    make_private_dir(&args.data_dir)?;
    make_private_dir(&dir)?;
    let lock = super::dev::lock(&args.data_dir, "agent")?;
    let membership = membership(&args, &dir.join("membership.json")).await?;
    let identity = Identity {
        chain_pem: membership.certificate_pem.clone(),
        key_pem: membership.key_pem.clone(),
    };
    let link = GrpcLink::new(&membership.server, &membership.pin, &identity)
        .map_err(|e| failed("the certificate of this host cannot be used", &e))?;
    output::note(&format!("remuda agent of host {} dials {}", membership.host, membership.server));
    let agent = prepare(&args.data_dir, membership.host, link)?;
    tokio::select! {
        () = agent.run() => {}
        stopped = told_to_stop() => stopped?,
    }
    output::note("containers and dataplane go on");
    drop(lock);
    Ok(())
}

/// An agent over real Docker and the real network.
pub(super) fn prepare<L: AgentLink>(
    data_dir: &Path,
    host: HostId,
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
        dataplane: Some(command),
    }))
}

/// Reads the membership, or enrols with the token.
async fn membership(args: &AgentArgs, file: &Path) -> Outcome<Membership> {
    if args.token.is_none() {
        let text = std::fs::read_to_string(file).map_err(|_missing| {
            Failure::usage("this host has not joined a server yet")
                .hint("remuda agent --join HOST:7600 --token $(remuda host token create)")
        })?;
        let mut membership: Membership = serde_json::from_str(&text)
            .map_err(|e| Failure::error(format!("{}: {e}", file.display())))?;
        if let Some(server) = &args.join {
            membership.server.clone_from(server);
        }
        return Ok(membership);
    }
    let token = args.token.clone().unwrap_or_default();
    let server =
        args.join.clone().ok_or_else(|| Failure::usage("--token needs --join HOST:7600"))?;
    let parts =
        api::token::parse(&token).filter(|parts| !parts.pin.is_empty()).ok_or_else(|| {
            Failure::usage("that is not a join token").hint("make one: remuda host token create")
        })?;
    let host = match &args.host {
        Some(name) => HostId::parse(name).map_err(|e| Failure::usage(e.to_string()))?,
        None => super::host_id(&hostname()),
    };
    let mut tries = 0;
    let enrolled = loop {
        match enroll(&server, &token, &parts.pin, host.clone()).await {
            Ok(enrolled) => break enrolled,
            Err(error @ LinkError::Refused { .. }) => {
                return Err(Failure::Message {
                    code: AUTH,
                    message: error.to_string(),
                    hint: "make a new token: remuda host token create".into(),
                });
            }
            Err(error) if tries >= 10 => return Err(failed("joining", &error)),
            Err(error) => {
                output::note(&format!("{error}; trying again"));
                tries += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    };
    let membership = Membership {
        host: enrolled.host,
        server,
        pin: parts.pin,
        certificate_pem: enrolled.identity.chain_pem,
        key_pem: enrolled.identity.key_pem,
    };
    let text = serde_json::to_string_pretty(&membership).map_err(std::io::Error::from)?;
    paths::write_private(file, &text)?;
    Ok(membership)
}
