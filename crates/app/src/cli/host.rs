//! `host`: list and show; cordon, drain, label, remove; tokens to join one.

mod add;
mod drain;
mod token;

use super::client::client;
use super::{Format, Global, ago, examples, list};
use crate::exit::{Failure, Outcome};
use crate::output::{self, Cell, Colour};
use api::client::Client;
use api::routes;
use api::wire::{Accepted, EnvironmentRequest, HostDetail, HostRow};
use clap::Subcommand;
use http::Method;
use model::host::{DiskFacts, Environment, Rebalance, Scheduling};
use model::id::HostId;
use std::collections::BTreeMap;

/// Commands of `host`.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// List hosts
    Ls,
    /// Make hosts of machines, over ssh: the binary, a systemd unit, the joining
    Add(Box<add::AddArgs>),
    /// Show a host with its instances
    Show {
        /// Host, as `host ls` shows it
        host: String,
    },
    /// Let it get no new instances; what is there stays
    Cordon {
        /// Host
        host: String,
    },
    /// Let it get instances again; a drain ends
    Uncordon {
        /// Host
        host: String,
    },
    /// Move its instances to other hosts, and wait until all have left
    #[command(alias = "evacuate", after_help = examples::HOST_DRAIN)]
    Drain(drain::DrainArgs),
    /// Set labels (key=value), or take them away (key-)
    #[command(after_help = examples::HOST_LABEL)]
    Label {
        /// Host
        host: String,
        /// key=value, or key- to take it away
        #[arg(value_parser = change)]
        labels: Vec<(String, Option<String>)>,
    },
    /// Remove a host: its agent is cut off and its certificate is worth nothing any more; what runs
    /// there goes on until somebody stops it
    Rm {
        /// Host
        host: String,
        /// Also when instances are to run there: they are made anew elsewhere
        #[arg(long)]
        force: bool,
    },
    /// What is done when a host has joined: nothing, advice in `svc show`, or instances move to it
    #[command(after_help = examples::HOST_REBALANCE)]
    Rebalance {
        /// Left out, it is shown
        policy: Option<Policy>,
    },
    /// Tokens to join a host
    #[command(subcommand)]
    Token(TokenCommand),
}

/// What is done when instances could be spread better.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Policy {
    /// Nothing
    Off,
    /// Each service says which move would help
    Suggest,
    /// Instances move, one of a service at a time
    On,
}

/// Commands of `host token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a join token; it is shown once
    #[command(after_help = examples::HOST_TOKEN_CREATE)]
    Create {
        /// How long it is good for, from a minute to 30 days [default: 1h]
        #[arg(long, value_parser = super::apply::duration)]
        ttl: Option<std::time::Duration>,
        /// How many hosts may join with it [default: any number]
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        uses: Option<u32>,
        /// The one host that may join with it: also one that was here before and has lost its data
        /// folder
        #[arg(long, value_parser = host_id)]
        host: Option<HostId>,
        /// A label that a host gets which joins with it, key=value; may be said again
        #[arg(long = "label", value_parser = pair)]
        labels: Vec<(String, String)>,
    },
    /// List join tokens, without their secrets
    Ls,
    /// Take a join token away; who has joined with it stays
    Revoke {
        /// Id, as `host token ls` shows it
        id: String,
    },
}

fn host_id(text: &str) -> Result<HostId, String> {
    HostId::parse(text).map_err(|e| e.to_string())
}

/// `key=value`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not key=value")),
    }
}

/// `key=value`, or `key-`.
fn change(text: &str) -> Result<(String, Option<String>), String> {
    let bad = || format!("{text:?} is neither key=value nor key-");
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text.strip_suffix('-').ok_or_else(bad)?, None),
    };
    if key.is_empty() { Err(bad()) } else { Ok((key.to_owned(), value)) }
}

/// `remuda host`.
///
/// # Errors
/// Exit code 3 when there is no such host, 5 when it means nothing now; see `drain`.
pub(super) async fn run(global: &Global, command: HostCommand) -> Outcome {
    let client = client(global)?;
    match command {
        HostCommand::Ls => {
            let rows: Vec<HostRow> = client.get(routes::HOSTS).await?;
            list(global, &rows);
        }
        HostCommand::Add(args) => add::run(global, client, *args).await?,
        HostCommand::Show { host } => show(global, &client, &host).await?,
        HostCommand::Cordon { host } => {
            let done = post(&client, routes::HOST_CORDON, &host, &()).await?;
            tell(global, &done, &format!("{host} takes no new instances"));
        }
        HostCommand::Uncordon { host } => {
            let done = post(&client, routes::HOST_UNCORDON, &host, &()).await?;
            tell(global, &done, &format!("{host} takes instances"));
        }
        HostCommand::Drain(args) => drain::run(global, &client, args).await?,
        HostCommand::Label { host, labels } => label(global, &client, &host, labels).await?,
        HostCommand::Rm { host, force } => {
            let path = format!("{}?force={force}", routes::fill(routes::HOST, &[&host]));
            let done: Accepted = client.delete(&path).await?;
            tell(
                global,
                &done,
                &format!("{host} has left; what runs there goes on until it is stopped there"),
            );
        }
        HostCommand::Rebalance { policy } => rebalance(global, &client, policy).await?,
        HostCommand::Token(command) => token::run(global, &client, command).await?,
    }
    Ok(())
}

async fn rebalance(global: &Global, client: &Client, policy: Option<Policy>) -> Outcome {
    let Some(policy) = policy else {
        let environment: Environment = client.get(routes::ENVIRONMENT).await?;
        if global.output == Format::Json {
            output::json(&environment);
        } else {
            output::line(policy_word(environment.rebalance));
        }
        return Ok(());
    };
    let rebalance = match policy {
        Policy::Off => Rebalance::Off,
        Policy::Suggest => Rebalance::Suggest,
        Policy::On => Rebalance::On,
    };
    let request =
        EnvironmentRequest { rebalance: Some(rebalance), ..EnvironmentRequest::default() };
    let done: Accepted = client.write(Method::PUT, routes::ENVIRONMENT, &request).await?;
    tell(global, &done, &format!("rebalancing is {}", policy_word(rebalance)));
    Ok(())
}

fn policy_word(rebalance: Rebalance) -> &'static str {
    match rebalance {
        Rebalance::Off => "off",
        Rebalance::Suggest => "suggest",
        Rebalance::On => "on",
    }
}

async fn post<B: serde::Serialize + Sync>(
    client: &Client,
    route: &str,
    host: &str,
    body: &B,
) -> Outcome<Accepted> {
    Ok(client.write(Method::POST, &routes::fill(route, &[host]), body).await?)
}

fn tell(global: &Global, done: &Accepted, text: &str) {
    if global.output == Format::Json {
        output::json(done);
    } else if !global.quiet {
        let already = if done.changed { "" } else { " (as before)" };
        output::note(&format!("{text}{already}"));
    }
}

async fn label(
    global: &Global,
    client: &Client,
    host: &str,
    labels: Vec<(String, Option<String>)>,
) -> Outcome {
    if labels.is_empty() {
        let detail: HostDetail = client.get(&routes::fill(routes::HOST, &[host])).await?;
        match global.output {
            Format::Json => output::json(&detail.host.labels),
            _ => labels_of(&detail.host).iter().for_each(|label| output::line(label)),
        }
        return Ok(());
    }
    let count = labels.len();
    let labels: BTreeMap<String, Option<String>> = labels.into_iter().collect();
    if labels.len() < count {
        return Err(Failure::usage("a label is named twice"));
    }
    let done = post(client, routes::HOST_LABELS, host, &labels).await?;
    let keys: Vec<&str> = labels.keys().map(String::as_str).collect();
    tell(global, &done, &format!("{host}: {} changed", keys.join(", ")));
    Ok(())
}

fn labels_of(row: &HostRow) -> Vec<String> {
    row.labels.iter().map(|(k, v)| output::harmless(&format!("{k}={v}"))).collect()
}

/// Whether it is connected and takes instances, in a word.
fn word(row: &HostRow) -> String {
    match (row.status.as_str(), row.scheduling) {
        ("active", Scheduling::Cordoned) => "cordoned".to_owned(),
        ("active", Scheduling::Draining { .. }) if row.instances == 0 => "drained".to_owned(),
        ("active", Scheduling::Draining { .. }) => "draining".to_owned(),
        (status, _) => status.to_owned(),
    }
}

fn scheduling(row: &HostRow) -> String {
    match row.scheduling {
        Scheduling::Active => "takes instances".to_owned(),
        Scheduling::Cordoned => "cordoned: it gets no new instances".to_owned(),
        Scheduling::Draining { deadline: None, .. } => "draining, without a deadline".to_owned(),
        Scheduling::Draining { deadline: Some(at), force, .. } => {
            let then = if force { "goes all the same" } else { "stays" };
            format!("draining until {} ({}), what is left then {then}", output::utc(at), ago(at))
        }
    }
}

/// The room on the disk of Docker's images.
fn room(disk: &DiskFacts) -> String {
    let (free, total) = (output::size(disk.free), output::size(disk.total));
    let short = if disk.short { ", short of room" } else { "" };
    let reclaimable = match disk.reclaimable {
        0 => String::new(),
        bytes => format!(", {} of images that nothing needs", output::size(bytes)),
    };
    format!("{free} of {total} free{short}{reclaimable}")
}

fn cores(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn list(global: &Global, rows: &[HostRow]) {
    match global.output {
        Format::Json => return output::json(&rows),
        Format::Name => return rows.iter().for_each(|row| output::line(&row.id)),
        Format::Table | Format::Wide => {}
    }
    let wide = global.output == Format::Wide;
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let facts = &row.facts;
            let mut cells: Vec<Cell> = vec![
                row.id.clone().into(),
                Cell::status(&word(row)),
                facts.address.clone().into(),
                row.instances.to_string().into(),
                format!("{}/{}", cores(row.cpu_reserved_milli), facts.cpus).into(),
                format!(
                    "{}/{}",
                    if row.memory_reserved == 0 {
                        "0".into()
                    } else {
                        output::size(row.memory_reserved)
                    },
                    output::size(facts.memory)
                )
                .into(),
                facts.docker_version.clone().into(),
                facts.agent_version.clone().into(),
            ];
            if wide {
                cells.push(labels_of(row).join(" ").into());
            }
            cells.push(Cell::painted(Colour::Dim, row.reason.clone()));
            cells
        })
        .collect();
    let mut heading =
        vec!["HOST", "STATUS", "ADDRESS", "INSTANCES", "CPUS", "MEMORY", "DOCKER", "AGENT"];
    if wide {
        heading.push("LABELS");
    }
    heading.push("REASON");
    output::table(&heading, &cells);
}

async fn show(global: &Global, client: &Client, host: &str) -> Outcome {
    let detail: HostDetail = client.get(&routes::fill(routes::HOST, &[host])).await?;
    if global.output == Format::Json {
        output::json(&detail);
        return Ok(());
    }
    let (row, facts) = (&detail.host, &detail.host.facts);
    let word = word(row);
    let painted = output::paint(output::status_colour(&word), &word);
    output::line(&format!("{} ({}): {painted}", row.id, output::harmless(&facts.address)));
    let field = |name: &str, text: &str| {
        output::line(&format!("  {name:<11} {}", output::harmless(text)));
    };
    field("scheduling", &scheduling(row));
    if !row.reason.is_empty() {
        field("reason", &row.reason);
    }
    field("cpu", &format!("{} of {} reserved", cores(row.cpu_reserved_milli), facts.cpus));
    let (held, all) = (output::size(row.memory_reserved), output::size(facts.memory));
    field("memory", &format!("{held} of {all} reserved"));
    if let Some(disk) = &facts.disk {
        field("disk", &room(disk));
    }
    if let Some(until) = row.certificate_until {
        field("certificate", &format!("good until {} ({})", output::utc(until), ago(until)));
    }
    field("docker", &facts.docker_version);
    if !facts.network_driver.is_empty() {
        field("network", &facts.network_driver);
    }
    field("kernel", &facts.kernel);
    for label in labels_of(row) {
        field("label", &label);
    }
    for left in &detail.left {
        let word = if left.blocked { "stays" } else { "leaves" };
        field(word, &format!("{}: {}", left.instance, left.why));
    }
    let cells: Vec<Vec<Cell>> = detail
        .instances
        .iter()
        .map(|row| {
            vec![
                format!("  {}", row.name).into(),
                Cell::status(&row.status),
                Cell::status(&row.health.to_string()),
                format!("r{}", row.revision).into(),
                Cell::painted(Colour::Dim, list::reason(row)),
            ]
        })
        .collect();
    if !cells.is_empty() {
        output::table(&["  INSTANCE", "STATUS", "HEALTH", "REV", "REASON"], &cells);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_on_the_disk_is_told_with_what_can_be_had_back() {
        let disk = |free, reclaimable, short| {
            let gib = |n: u64| n << 30;
            let (total, free, reclaimable) = (gib(100), gib(free), gib(reclaimable));
            room(&DiskFacts { total, free, reclaimable, short })
        };
        assert_eq!(disk(50, 0, false), "50.0 GiB of 100.0 GiB free");
        let short =
            "5.0 GiB of 100.0 GiB free, short of room, 2.0 GiB of images that nothing needs";
        assert_eq!(disk(5, 2, true), short);
    }

    #[test]
    fn labels_are_read_as_they_are_written() {
        assert_eq!(change("zone=a"), Ok(("zone".into(), Some("a".into()))));
        assert_eq!(change("zone="), Ok(("zone".into(), Some(String::new()))));
        assert_eq!(change("a=b=c-"), Ok(("a".into(), Some("b=c-".into()))));
        assert_eq!(change("ssd-"), Ok(("ssd".into(), None)));
        for bad in ["", "zone", "-", "=a"] {
            assert!(change(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cores_are_shown_as_short_as_they_can_be() {
        for (milli, text) in [(0, "0"), (1_500, "1.5"), (250, "0.25"), (10_000, "10")] {
            assert_eq!(cores(milli), text);
        }
    }
}
