//! `giddyup leader`: of a service's containers the one that was made first leads, whatever its health.

use super::exec::become_command;
use super::forward::Forward;
use super::say;
use super::source::{Source, word};
use crate::exit::{ERROR, Failure, Outcome};
use clap::Subcommand;
use serde_json::Value;

/// Seconds between two looks at who leads.
const LOOK_S: u64 = 2;

/// What there is.
#[derive(Debug, Subcommand)]
pub(super) enum LeaderCommand {
    /// Exit code 0 when this container leads, else 1
    Check,
    /// Print the leader's address, or the name or address of its host
    Get {
        /// What of it: host or agent_ip
        #[arg(value_parser = ["host", "agent_ip"])]
        what: Option<String>,
    },
    /// Become a command once this container leads; until then pass a port on to the leader
    Elect {
        /// Port that is passed on to the leader
        #[arg(long)]
        proxy_tcp_port: Option<u16>,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Pass a port on to the leader, for ever
    Forward {
        /// Port here
        #[arg(long)]
        src_port: u16,
        /// Port there [default: the same]
        #[arg(long)]
        dst_port: Option<u16>,
    },
}

/// The leader among containers: the lowest `create_index`.
fn leader(containers: &[Value]) -> Option<&Value> {
    let index = |one: &Value| one["create_index"].as_i64();
    containers.iter().filter(|one| index(one).is_some()).min_by_key(|one| index(one))
}

async fn find(source: &Source) -> Outcome<Value> {
    let all = source.containers(None).await?;
    leader(&all).cloned().ok_or_else(|| Failure::error("this service has no container"))
}

async fn is_own(source: &Source, leader: &Value) -> Outcome<bool> {
    Ok(source.own().await?["uuid"] == leader["uuid"])
}

pub(super) async fn run(source: &Source, command: LeaderCommand) -> Outcome {
    match command {
        LeaderCommand::Check => match is_own(source, &find(source).await?).await? {
            true => Ok(()),
            false => Err(Failure::Code(ERROR)),
        },
        LeaderCommand::Get { what } => {
            let leader = find(source).await?;
            match what.as_deref() {
                Some("host") => say(&source.of_host(&leader, "hostname").await?),
                Some("agent_ip") => say(&source.of_host(&leader, "agent_ip").await?),
                _ => say(word(&leader["primary_ip"])),
            }
            Ok(())
        }
        LeaderCommand::Elect { proxy_tcp_port, command } => {
            elect(source, proxy_tcp_port, &command).await
        }
        LeaderCommand::Forward { src_port, dst_port } => {
            let mut forward = Forward::start(src_port, dst_port.unwrap_or(src_port)).await?;
            let mut version = String::from("init");
            loop {
                forward.to(word(&find(source).await?["primary_ip"]));
                version = followed(source, version, &mut forward).await?;
            }
        }
    }
}

async fn elect(source: &Source, port: Option<u16>, command: &[String]) -> Outcome {
    let mut forward = None;
    let mut version = String::from("init");
    loop {
        let leader = find(source).await?;
        if is_own(source, &leader).await? {
            drop(forward);
            return become_command(command);
        }
        let Some(port) = port else {
            let ip = word(&leader["primary_ip"]);
            return Err(Failure::error(format!("this container does not lead, {ip} does"))
                .hint("--proxy-tcp-port waits, and passes a port on to the leader"));
        };
        let forward = match &mut forward {
            Some(forward) => forward,
            none => none.insert(Forward::start(port, port).await?),
        };
        forward.to(word(&leader["primary_ip"]));
        version = followed(source, version, forward).await?;
    }
}

/// Passes connections on until something has changed. A metadata service that is away for a moment
/// changes nothing.
async fn followed(source: &Source, version: String, forward: &mut Forward) -> Outcome<String> {
    let changed = async {
        match source.changed(&version, LOOK_S).await {
            Ok(next) => next,
            Err(_away) => {
                tokio::time::sleep(std::time::Duration::from_secs(LOOK_S)).await;
                version.clone()
            }
        }
    };
    tokio::select! {
        failed = forward.serve() => Err(failed),
        version = changed => Ok(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_oldest_leads_and_what_has_no_place_in_the_row_never_does() {
        let all = [
            json!({"name": "by-hand", "create_index": null}),
            json!({"name": "b", "create_index": 9}),
            json!({"name": "a", "create_index": 3, "state": "stopped"}),
            json!({"name": "c", "create_index": 20}),
        ];
        assert_eq!(leader(&all).unwrap()["name"], "a");
        assert_eq!(leader(&all[..1]), None);
    }
}
