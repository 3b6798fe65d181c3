//! `net policy`: who may connect to whom.

use super::{Format, Global};
use crate::exit::{Failure, Outcome, USAGE};
use crate::output::{self, Colour};
use api::client::Client;
use api::routes;
use api::wire::{Accepted, EnvironmentRequest};
use clap::Subcommand;
use http::Method;
use model::host::Environment;
use model::limits::COMPOSE_FILE_BYTES_MAX;
use model::policy::{NetworkPolicy, PolicyAction, PolicyVerdict};
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub(super) const HELP: &str = "The file has what no rule says, and rules of which the first that fits decides:

  default: deny
  rules:
    - {action: allow, within: stack}
    - {action: allow, from: {selector: tier=web}, to: {service: shop/db}, ports: [5432]}

A service has rules of its own with the key network_policy in its compose file; they are asked first.
What is open stays open when rules change; hosts, probes and balancers are always let through.
More in docs/network-policy.md.

Examples:
  remuda net policy
  remuda net policy set policy.yaml
  remuda net policy explain shop/web shop/db 5432
  remuda net policy clear";

/// Commands of `net policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Set the policy of the environment from a file, whole
    Set {
        /// YAML; `-` is the standard input
        file: PathBuf,
    },
    /// Let everyone connect to everyone, but for what services say themselves
    Clear,
    /// Which rule decides on a connection
    Explain {
        /// Who opens it: stack/service, or the name of a plain container
        from: String,
        /// To whom, in the same words
        to: String,
        /// 5432, 53/udp; left out, only rules without ports fit
        port: Option<String>,
    },
}

/// `remuda net policy`.
///
/// # Errors
/// Exit code 2 for a file that is wrong, with every error and its place; 3 for ends that are not
/// there.
pub(super) async fn run(
    global: &Global,
    client: &Client,
    command: Option<PolicyCommand>,
) -> Outcome {
    match command {
        None => {
            let environment: Environment = client.get(routes::ENVIRONMENT).await?;
            match global.output {
                Format::Json => output::json(&environment.policy),
                _ => show(&environment.policy),
            }
            Ok(())
        }
        Some(PolicyCommand::Set { file }) => put(global, client, read(&file)?).await,
        Some(PolicyCommand::Clear) => put(global, client, NetworkPolicy::default()).await,
        Some(PolicyCommand::Explain { from, to, port }) => {
            let encode = |text: &str| routes::encode(text);
            let (from, to) = (encode(&from), encode(&to));
            let port = encode(&port.unwrap_or_default());
            let path = format!("{}?from={from}&to={to}&port={port}", routes::POLICY_VERDICT);
            let verdict: PolicyVerdict = client.get(&path).await?;
            match global.output {
                Format::Json => output::json(&verdict),
                _ => output::line(&format!(
                    "{} by {}",
                    painted(verdict.action),
                    output::harmless(&verdict.by)
                )),
            }
            Ok(())
        }
    }
}

fn painted(action: PolicyAction) -> String {
    match action {
        PolicyAction::Allow => output::paint(Colour::Green, "allow"),
        PolicyAction::Deny => output::paint(Colour::Red, "deny"),
    }
}

fn show(policy: &NetworkPolicy) {
    for (number, rule) in (1..).zip(&policy.rules) {
        output::line(&format!("{number:>3}  {}", output::harmless(&rule.to_string())));
    }
    let what = if policy.rules.is_empty() { "everything" } else { "what no rule says" };
    output::line(&format!("{what}: {}", painted(policy.default)));
}

fn read(file: &Path) -> Outcome<NetworkPolicy> {
    let shown = file.display().to_string();
    let failed = |error: std::io::Error| Failure::usage(format!("{shown} cannot be read: {error}"));
    let mut bytes = vec![];
    // One more than may be, so that too many are told of.
    let max = COMPOSE_FILE_BYTES_MAX as u64 + 1;
    match file == Path::new("-") {
        true => std::io::stdin().take(max).read_to_end(&mut bytes).map_err(failed)?,
        false => {
            let file = std::fs::File::open(file).map_err(failed)?;
            file.take(max).read_to_end(&mut bytes).map_err(failed)?
        }
    };
    let text = String::from_utf8(bytes)
        .map_err(|_bytes| Failure::usage(format!("{shown} is not UTF-8: write it as YAML text")))?;
    compose::environment_policy(&text, &shown).map_err(|errors| {
        output::note(&errors.to_string());
        Failure::Code(USAGE)
    })
}

async fn put(global: &Global, client: &Client, policy: NetworkPolicy) -> Outcome {
    let told = format!("{} rules, otherwise {}", policy.rules.len(), policy.default);
    let request = EnvironmentRequest { policy: Some(policy), ..EnvironmentRequest::default() };
    let done: Accepted = client.write(Method::PUT, routes::ENVIRONMENT, &request).await?;
    if global.output == Format::Json {
        output::json(&done);
    } else if !global.quiet {
        let already = if done.changed { "" } else { " (as before)" };
        output::note(&format!("network policy: {told}{already}"));
    }
    Ok(())
}
