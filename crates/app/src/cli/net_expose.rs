//! `net expose`: services of the catalog that the hosts' balancers serve by themselves.

use super::{Format, Global};
use crate::exit::{Failure, Outcome};
use crate::output::{self, Cell, Colour};
use api::client::Client;
use api::routes;
use api::wire::{Accepted, EnvironmentRequest, ExposedRow};
use clap::{Args, Subcommand};
use http::Method;
use model::expose::{Balance, Expose, parse_time_ms};
use model::host::Environment;
use model::selector::Selector;

pub(super) const HELP: &str = "A container with the label SERVICE_TAGS=http is served at http://NAME.DOMAIN/ on every host, one
with SERVICE_TAGS=tcp whose name ends in a port (SERVICE_NAME=db-5432) at that port. Containers of
stacks and those started by hand count alike. A port that is taken, and a name that two services
want, is told here, by `remuda ps` and by `remuda events`. More in docs/exposure.md.

Examples:
  remuda net expose set --domain example.internal
  remuda net expose set --hosts edge=true --http-port 8080
  remuda net expose
  remuda net expose -o json
  remuda net expose off";

/// Commands of `net expose`.
#[derive(Debug, Subcommand)]
pub(crate) enum ExposeCommand {
    /// Expose what has the tags; what is left out stays as it is
    Set(Box<SetArgs>),
    /// Expose nothing any more
    Off,
}

/// Options of `net expose set`.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Services are found at NAME.DOMAIN; may be given several times
    #[arg(long = "domain", value_name = "DOMAIN")]
    domains: Vec<String>,
    /// Tag of services that are served by host name [default: http]
    #[arg(long)]
    http_tag: Option<String>,
    /// Tag of services that are served by port [default: tcp]
    #[arg(long)]
    tcp_tag: Option<String>,
    /// Tag of services of datagrams that are served by port; empty is none [default: none]
    #[arg(long)]
    udp_tag: Option<String>,
    /// Port of what is served by host name [default: 80]
    #[arg(long)]
    http_port: Option<u16>,
    /// Which hosts serve, by their labels; empty is all [default: all]
    #[arg(long, value_name = "SELECTOR")]
    hosts: Option<String>,
    /// How endpoints are chosen: least_conn or round_robin [default: least_conn]
    #[arg(long)]
    balance: Option<Balance>,
    /// Failed connections in a row after which an endpoint is out; 0 is never [default: 3]
    #[arg(long)]
    max_fails: Option<u32>,
    /// Longest time that it is out, as 60s or 500ms [default: 60s]
    #[arg(long, value_parser = parse_time_ms)]
    fail_timeout: Option<u64>,
}

/// `remuda net expose`.
///
/// # Errors
/// Exit code 2 for what cannot be meant.
pub(super) async fn run(
    global: &Global,
    client: &Client,
    command: Option<ExposeCommand>,
) -> Outcome {
    let known = async || client.get::<Environment>(routes::ENVIRONMENT).await;
    match command {
        None => {
            let settings = known().await?.expose;
            let rows: Vec<ExposedRow> = client.get(routes::EXPOSED).await?;
            show(global, &settings, &rows);
            Ok(())
        }
        Some(ExposeCommand::Off) => {
            put(global, client, Expose { domains: vec![], ..known().await?.expose }).await
        }
        Some(ExposeCommand::Set(args)) => {
            let wanted = wanted(known().await?.expose, *args)?;
            put(global, client, wanted).await
        }
    }
}

fn wanted(mut wanted: Expose, args: SetArgs) -> Outcome<Expose> {
    if !args.domains.is_empty() {
        wanted.domains = args.domains;
    }
    if wanted.is_off() {
        return Err(Failure::usage("no domain is known yet".to_owned())
            .hint("say below which names services are found: --domain example.internal"));
    }
    wanted.http_tag = args.http_tag.unwrap_or(wanted.http_tag);
    wanted.tcp_tag = args.tcp_tag.unwrap_or(wanted.tcp_tag);
    wanted.udp_tag = args.udp_tag.unwrap_or(wanted.udp_tag);
    wanted.http_port = args.http_port.unwrap_or(wanted.http_port);
    wanted.balance = args.balance.unwrap_or(wanted.balance);
    wanted.outlier.max_fails = args.max_fails.unwrap_or(wanted.outlier.max_fails);
    wanted.outlier.fail_timeout_ms = args.fail_timeout.unwrap_or(wanted.outlier.fail_timeout_ms);
    match args.hosts.as_deref().map(str::trim) {
        None => {}
        Some("") => wanted.hosts = None,
        Some(text) => {
            let selector: Selector = text.parse().map_err(|e| Failure::usage(format!("{e}")))?;
            wanted.hosts = Some(selector);
        }
    }
    let wanted = wanted.normal();
    wanted.check().map_err(Failure::usage)?;
    Ok(wanted)
}

async fn put(global: &Global, client: &Client, wanted: Expose) -> Outcome {
    let told = match wanted.is_off() {
        true => "nothing is exposed".to_owned(),
        false => words(&wanted),
    };
    let request = EnvironmentRequest { expose: Some(wanted), ..EnvironmentRequest::default() };
    let done: Accepted = client.write(Method::PUT, routes::ENVIRONMENT, &request).await?;
    if global.output == Format::Json {
        output::json(&done);
    } else if !global.quiet {
        let already = if done.changed { "" } else { " (as before)" };
        output::note(&format!("{told}{already}"));
    }
    Ok(())
}

fn words(settings: &Expose) -> String {
    let Expose { domains, http_tag, tcp_tag, udp_tag, http_port, hosts, balance, outlier } =
        settings;
    let names: Vec<String> = domains.iter().map(|domain| format!("NAME.{domain}")).collect();
    let udp = if udp_tag.is_empty() { String::new() } else { format!(" and {udp_tag:?} (udp)") };
    let hosts = match hosts {
        None => "all hosts".to_owned(),
        Some(selector) => format!("hosts with {selector}"),
    };
    let (fails, out) = (outlier.max_fails, outlier.fail_timeout_ms);
    format!(
        "tag {http_tag:?} at {}, port {http_port}; tags {tcp_tag:?}{udp} at the port that ends the \
         name; {hosts}; {balance} max_fails={fails} fail_timeout={out}ms",
        names.join(", "),
    )
}

#[derive(serde::Serialize)]
struct Whole<'a> {
    settings: &'a Expose,
    exposed: &'a [ExposedRow],
}

fn show(global: &Global, settings: &Expose, rows: &[ExposedRow]) {
    match global.output {
        Format::Json => return output::json(&Whole { settings, exposed: rows }),
        Format::Name => return rows.iter().for_each(|row| output::line(&row.name)),
        Format::Table | Format::Wide => {}
    }
    if settings.is_off() {
        output::line("nothing is exposed");
        return;
    }
    output::line(&output::harmless(&words(settings)));
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let at = if row.at.is_empty() { "-".to_owned() } else { row.at.join(" ") };
            let ready = format!("{}/{}", row.ready, row.endpoints);
            let colour = if row.ready == 0 { Colour::Red } else { Colour::Green };
            vec![
                row.name.clone().into(),
                row.kind.clone().into(),
                at.into(),
                Cell::painted(colour, ready),
                row.reason.clone().into(),
            ]
        })
        .collect();
    output::table(&["SERVICE", "KIND", "AT", "READY", "REASON"], &cells);
}
