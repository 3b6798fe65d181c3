//! `net`: the network between hosts.

use super::client::client;
use super::{Format, Global, net_consul, net_dns, net_expose, net_policy};
use crate::exit::{ERROR, Failure, Outcome};
use crate::output::{self, Cell, Colour};
use api::client::Client;
use api::routes;
use api::wire::{Accepted, EnvironmentRequest, NetCheckStep};
use clap::{Args, Subcommand, ValueEnum};
use futures_util::StreamExt as _;
use http::Method;
use model::host::{Environment, OverlayMode};
use model::id::HostId;
use model::net_check::{NetHost, NetReport, NetVerdict, NetWay};
use std::collections::{BTreeMap, BTreeSet};

/// Most hosts that are shown as a matrix; more are shown as a list of what is broken.
const MATRIX_HOSTS_MAX: usize = 16;

/// So many directions of one host that are alike are told together.
const GROUP_MIN: usize = 3;
/// Hosts of one end that are named then.
const NAMES_MAX: usize = 5;

/// Commands of `net`.
#[derive(Debug, Subcommand)]
pub(crate) enum NetCommand {
    /// Ping and connect each pair of hosts both ways, name the broken direction, repair what is not
    /// as wished
    #[command(after_help = CHECK)]
    Check(CheckArgs),
    /// How packets get from host to host: in VXLAN, as they are by plain routes, or encrypted
    #[command(after_help = OVERLAY)]
    Overlay {
        /// Left out, it is shown
        mode: Option<Mode>,
    },
    /// Who may connect to whom: shown, set, and explained for one connection
    #[command(after_help = net_policy::HELP)]
    Policy {
        #[command(subcommand)]
        command: Option<net_policy::PolicyCommand>,
    },
    /// Names in DNS: how long answers hold, what is answered when nobody is healthy, Consul's domain
    #[command(after_help = net_dns::HELP)]
    Dns(net_dns::DnsArgs),
    /// Show or set what containers may over the Consul API
    #[command(after_help = net_consul::HELP)]
    Consul(net_consul::ConsulArgs),
    /// Serve services of the catalog by name and port, on every host: shown, set, and put off
    #[command(after_help = net_expose::HELP)]
    Expose {
        #[command(subcommand)]
        command: Option<net_expose::ExposeCommand>,
    },
    /// Every host makes a new key for what it encrypts, now
    #[command(after_help = ROTATE)]
    RotateKeys,
}

/// How packets get from host to host.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Mode {
    /// In VXLAN: over any IPv4 network, 50 bytes of each packet
    Vxlan,
    /// As they are, by routes: all hosts are on one segment
    Routes,
    /// Encrypted, in WireGuard: over any IPv4 network, 60 bytes of each packet
    Wireguard,
}

const OVERLAY: &str = "Hosts change within a moment of each other, and connections go on. Plain routes are refused unless
all hosts have said that they are on the same segment, which must carry packets of other addresses
than the hosts' own (clouds often do not). WireGuard needs UDP port 51820 between the hosts; nothing
between containers of different hosts goes in clear then. See with `remuda net check` afterwards.

Examples:
  remuda net overlay
  remuda net overlay routes && remuda net check
  remuda net overlay wireguard
  remuda net overlay vxlan";

const ROTATE: &str = "Connections go on: a new key is used once the other hosts have it, and the earlier one is given up
then. Hosts do it by themselves every seven days.

Examples:
  remuda net rotate-keys";

const CHECK: &str = "Hosts first compare their network with what is wished and put right what is not; then each asks
the others: outside of the overlay, through it with small and large packets, by TCP, and their
containers. With over 32 hosts a sample of the pairs is looked at, another one each time.

Examples:
  remuda net check                    all hosts
  remuda net check h2                 h2 with all others
  remuda net check h1 h2              the pair of the two
  remuda net check -o json

Exit codes: 0 all is well, also when something had to be repaired; 1 something is broken, or a host
  could not be checked.";

/// Options of `net check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// One: its pairs with all others; more: the pairs between them [default: all]
    hosts: Vec<HostId>,
    /// Every pair, however many hosts there are
    #[arg(long)]
    all: bool,
}

/// `remuda net`.
///
/// # Errors
/// Exit code 1 when something is broken or could not be checked, 5 when it cannot be so.
pub(super) async fn run(global: &Global, command: NetCommand) -> Outcome {
    let client = client(global)?;
    let args = match command {
        NetCommand::Check(args) => args,
        NetCommand::Overlay { mode } => return overlay(global, &client, mode).await,
        NetCommand::Policy { command } => return net_policy::run(global, &client, command).await,
        NetCommand::Consul(args) => return net_consul::run(global, &client, args).await,
        NetCommand::Dns(args) => return net_dns::run(global, &client, args).await,
        NetCommand::Expose { command } => return net_expose::run(global, &client, command).await,
        NetCommand::RotateKeys => return rotate(global, &client).await,
    };
    let report = check(global, &client, &args).await?;
    match global.output {
        Format::Json => output::json(&report),
        Format::Name => broken(&report).for_each(|way| {
            output::line(&format!("{} {}", way.from, way.to));
        }),
        Format::Table | Format::Wide => show(&report),
    }
    if report.broken { Err(Failure::Code(ERROR)) } else { Ok(()) }
}

async fn overlay(global: &Global, client: &Client, mode: Option<Mode>) -> Outcome {
    let Some(mode) = mode else {
        let environment: Environment = client.get(routes::ENVIRONMENT).await?;
        match global.output {
            Format::Json => output::json(&environment),
            _ => output::line(word(environment.overlay)),
        }
        return Ok(());
    };
    let overlay = match mode {
        Mode::Vxlan => OverlayMode::Vxlan,
        Mode::Routes => OverlayMode::Routes,
        Mode::Wireguard => OverlayMode::Wireguard,
    };
    let request = EnvironmentRequest { overlay: Some(overlay), ..EnvironmentRequest::default() };
    let done: Accepted = client.write(Method::PUT, routes::ENVIRONMENT, &request).await?;
    if global.output == Format::Json {
        output::json(&done);
    } else if !global.quiet {
        let already = if done.changed { "" } else { " (as before)" };
        output::note(&format!("between hosts: {}{already}", word(overlay)));
    }
    Ok(())
}

async fn rotate(global: &Global, client: &Client) -> Outcome {
    let request = EnvironmentRequest { rotate_keys: true, ..EnvironmentRequest::default() };
    let done: Accepted = client.write(Method::PUT, routes::ENVIRONMENT, &request).await?;
    if global.output == Format::Json {
        output::json(&done);
    } else if !global.quiet {
        output::note("every host makes a new key; see `remuda host show HOST -o json`");
    }
    Ok(())
}

fn word(mode: OverlayMode) -> &'static str {
    match mode {
        OverlayMode::Vxlan => "vxlan",
        OverlayMode::Routes => "routes",
        OverlayMode::Wireguard => "wireguard",
    }
}

async fn check(global: &Global, client: &Client, args: &CheckArgs) -> Outcome<NetReport> {
    let hosts: Vec<&str> = args.hosts.iter().map(HostId::as_str).collect();
    let hosts = routes::encode(&hosts.join(","));
    let path = format!("{}?hosts={hosts}&all={}", routes::NET_CHECK, args.all);
    let mut steps = client.lines::<NetCheckStep>(Method::POST, &path, None).await?;
    let mut report = None;
    while let Some(step) = steps.next().await {
        match step? {
            NetCheckStep::Text { text } if !global.quiet => {
                output::note(&output::paint(Colour::Dim, &output::harmless(&text)));
            }
            NetCheckStep::Text { .. } => {}
            NetCheckStep::Report(found) => report = Some(found),
        }
    }
    report.ok_or_else(|| {
        Failure::error("the check ended without a report: the server went away")
            .hint("see `remuda status`, and try again")
    })
}

fn broken(report: &NetReport) -> impl Iterator<Item = &NetWay> {
    report.ways.iter().filter(|way| way.verdict.is_broken())
}

fn show(report: &NetReport) {
    let taking_part: BTreeSet<&HostId> =
        report.ways.iter().flat_map(|way| [&way.from, &way.to]).collect();
    if (2..=MATRIX_HOSTS_MAX).contains(&taking_part.len()) {
        matrix(report, &taking_part);
    }
    for host in &report.hosts {
        tell_host(host);
    }
    for group in groups(&report.ways) {
        let Some(way) = group.first() else { continue };
        let word = output::paint(colour(way.verdict), way.verdict.word());
        let (from, to) = (names(&group, |way| &way.from), names(&group, |way| &way.to));
        output::line(&format!("{from} -> {to}: {word}: {}", output::harmless(&way.why)));
        if !way.todo.is_empty() {
            output::line(&format!("  {}", output::harmless(&way.todo)));
        }
    }
    let text = summary(report);
    let colour = if report.broken { Colour::Red } else { Colour::Green };
    output::line(&output::paint(colour, &text));
}

fn summary(report: &NetReport) -> String {
    let (pairs, all, count) = (report.pairs, report.pairs_all, broken(report).count());
    let sample = if pairs < all { format!(" of {all}") } else { String::new() };
    let plural = if pairs.max(all) == 1 { "" } else { "s" };
    let found = match count {
        0 => "no direction is broken".to_owned(),
        1 => "1 direction is broken".to_owned(),
        count => format!("{count} directions are broken"),
    };
    let missing = match report.hosts.iter().filter(|host| !host.checked).count() {
        0 => String::new(),
        1 => ", 1 host not checked".to_owned(),
        count => format!(", {count} hosts not checked"),
    };
    format!("{pairs}{sample} pair{plural} checked both ways, {found}{missing}")
}

/// Directions that are not well; those that are so in the same way to one host, or from one, are
/// told together when there are several.
fn groups(ways: &[NetWay]) -> Vec<Vec<&NetWay>> {
    let bad: Vec<&NetWay> = ways.iter().filter(|way| way.verdict != NetVerdict::Ok).collect();
    let alike = |way: &NetWay, end: fn(&NetWay) -> &HostId| -> Vec<&NetWay> {
        let same = |one: &&&NetWay| one.verdict == way.verdict && end(one) == end(way);
        bad.iter().filter(same).copied().collect()
    };
    let mut told: BTreeSet<(&HostId, &HostId)> = BTreeSet::new();
    let mut groups = vec![];
    for way in &bad {
        if told.contains(&(&way.from, &way.to)) {
            continue;
        }
        let both = [alike(way, |way| &way.to), alike(way, |way| &way.from)];
        let larger = both.into_iter().max_by_key(Vec::len);
        let mut group = larger.filter(|all| all.len() >= GROUP_MIN).unwrap_or_else(|| vec![way]);
        group.retain(|way| told.insert((&way.from, &way.to)));
        groups.push(group);
    }
    groups
}

/// The hosts at one end of these.
fn names(group: &[&NetWay], end: fn(&NetWay) -> &HostId) -> String {
    let all: BTreeSet<&str> = group.iter().map(|way| end(way).as_str()).collect();
    let some: Vec<&str> = all.iter().copied().take(NAMES_MAX).collect();
    match all.len() - some.len() {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

fn colour(verdict: NetVerdict) -> Colour {
    match verdict {
        NetVerdict::Ok => Colour::Green,
        NetVerdict::Waits => Colour::Yellow,
        _ => Colour::Red,
    }
}

/// What is to be said of a host by itself.
fn tell_host(host: &NetHost) {
    let line = |colour, word: &str, text: &str| {
        let word = output::paint(colour, word);
        output::line(&format!("{}: {word}: {}", host.host, output::harmless(text)));
    };
    for repair in &host.repaired {
        line(Colour::Yellow, "repaired", repair);
    }
    if !host.problem.is_empty() {
        line(Colour::Red, "not as wished", &host.problem);
    }
    if !host.checked {
        line(Colour::Red, "not checked", &host.reason);
    }
}

/// Who sends, by line; to whom, by column.
fn matrix(report: &NetReport, hosts: &BTreeSet<&HostId>) {
    let ways: BTreeMap<(&HostId, &HostId), &NetWay> =
        report.ways.iter().map(|way| ((&way.from, &way.to), way)).collect();
    let cell = |from: &HostId, to: &HostId| match ways.get(&(from, to)) {
        None => Cell::painted(Colour::Dim, "-"),
        Some(way) => {
            let text = match (way.verdict, way.rtt_us) {
                (NetVerdict::Ok, Some(us)) => milliseconds(us),
                (verdict, _) => verdict.word().to_owned(),
            };
            Cell::painted(colour(way.verdict), text)
        }
    };
    let mut heading = vec!["FROM"];
    heading.extend(hosts.iter().map(|host| host.as_str()));
    let rows: Vec<Vec<Cell>> = hosts
        .iter()
        .map(|from| {
            let to = hosts.iter().map(|to| cell(from, to));
            std::iter::once(Cell::from(from.to_string())).chain(to).collect()
        })
        .collect();
    output::table(&heading, &rows);
}

fn milliseconds(us: u64) -> String {
    format!("{}.{:02} ms", us / 1_000, us % 1_000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(from: usize, to: usize, verdict: NetVerdict) -> NetWay {
        let host = |n: usize| format!("h{n}").parse().unwrap();
        let (why, todo) = (String::new(), String::new());
        NetWay { from: host(from), to: host(to), verdict, rtt_us: None, why, todo }
    }

    #[test]
    fn many_directions_of_one_host_are_told_together_and_few_one_by_one() {
        let told = |ways: &[NetWay]| -> Vec<String> {
            let one = |group: Vec<&NetWay>| {
                let (from, to) = (names(&group, |way| &way.from), names(&group, |way| &way.to));
                format!("{from} -> {to}: {}", group[0].verdict.word())
            };
            groups(ways).into_iter().map(one).collect()
        };
        use NetVerdict::{Lost, Mtu, Ok};
        let few = [way(1, 2, Lost), way(2, 1, Lost), way(1, 3, Ok), way(3, 1, Mtu)];
        assert_eq!(told(&few), ["h1 -> h2: lost", "h2 -> h1: lost", "h3 -> h1: mtu"]);
        let mut all: Vec<NetWay> = (1..9).map(|n| way(n, 9, Lost)).collect();
        all.extend((1..4).map(|n| way(9, n, Mtu)));
        let together = ["h1, h2, h3, h4, h5 and 3 more -> h9: lost", "h9 -> h1, h2, h3: mtu"];
        assert_eq!(told(&all), together);
    }

    #[test]
    fn times_read_well() {
        let all = [0, 9, 10, 999, 1_000, 123_456].map(milliseconds);
        let told = ["0.00 ms", "0.00 ms", "0.01 ms", "0.99 ms", "1.00 ms", "123.45 ms"];
        assert_eq!(all, told);
    }
}
