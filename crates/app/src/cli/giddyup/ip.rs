//! `giddyup ip`: addresses for start-up scripts.

use super::say;
use super::source::{Source, word};
use crate::exit::{Failure, Outcome};
use clap::{Subcommand, ValueEnum};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two questions to DNS, and for all of them.
const DNS_PAUSE: Duration = Duration::from_millis(500);
const DNS_PATIENCE: Duration = Duration::from_secs(60);

/// What there is.
#[derive(Debug, Subcommand)]
pub(super) enum IpCommand {
    /// Print the address of this container
    Myip,
    /// Print the addresses of a service's containers
    Stringify {
        /// Between two of them
        #[arg(long, default_value = ",")]
        delimiter: String,
        /// Before each
        #[arg(long, default_value = "")]
        prefix: String,
        /// Behind each
        #[arg(long, default_value = "")]
        suffix: String,
        /// Who is asked
        #[arg(long, value_enum, default_value = "metadata")]
        source: From,
        /// Addresses of the hosts instead
        #[arg(long)]
        use_agent_ips: bool,
        /// Names of the hosts instead
        #[arg(long, conflicts_with = "use_agent_ips")]
        use_agent_names: bool,
        /// stack/service [default: this container's own]
        service: Option<String>,
    },
}

/// Who is asked for addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum From {
    Metadata,
    Dns,
}

pub(super) async fn run(source: &Source, command: IpCommand) -> Outcome {
    let IpCommand::Stringify { delimiter, prefix, suffix, service, .. } = &command else {
        say(word(&source.own().await?["primary_ip"]));
        return Ok(());
    };
    let service = service.as_deref();
    let found = match command {
        IpCommand::Stringify { source: From::Dns, .. } => by_dns(source, service).await?,
        IpCommand::Stringify { use_agent_ips, use_agent_names, .. } => {
            let mut found = vec![];
            for one in source.containers(service).await? {
                found.push(match (use_agent_ips, use_agent_names) {
                    (true, _) => source.of_host(&one, "agent_ip").await?,
                    (_, true) => source.of_host(&one, "name").await?,
                    _ => word(&one["primary_ip"]).to_owned(),
                });
            }
            found
        }
        IpCommand::Myip => vec![],
    };
    let found = found.iter().filter(|one| !one.is_empty());
    let all: Vec<String> = found.map(|one| format!("{prefix}{one}{suffix}")).collect();
    say(&all.join(delimiter));
    Ok(())
}

async fn by_dns(source: &Source, service: Option<&str>) -> Outcome<Vec<String>> {
    let name = match service {
        Some(name) => match name.split_once('/') {
            Some((stack, service)) => format!("{service}.{stack}"),
            None => name.to_owned(),
        },
        None => {
            let own = source.own().await?;
            format!("{}.{}", word(&own["service_name"]), word(&own["stack_name"]))
        }
    };
    let deadline = Instant::now() + DNS_PATIENCE;
    loop {
        let why = match tokio::net::lookup_host((name.as_str(), 0)).await {
            Ok(found) => {
                let mut all: Vec<String> = found.map(|address| address.ip().to_string()).collect();
                all.sort();
                all.dedup();
                if !all.is_empty() {
                    return Ok(all);
                }
                "it has no address".to_owned()
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(Failure::error(format!("{name} is not found: {why}")));
        }
        sleep(DNS_PAUSE).await;
    }
}
