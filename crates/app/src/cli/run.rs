//! `run`: an image once, as a service of a stack that does not start again; then it is removed.

use super::client::client;
use super::place::Place;
use super::{Global, watch};
use crate::exit::{ERROR, Failure, INTERRUPTED, Outcome};
use crate::output;
use api::client::Client;
use api::routes;
use api::wire::{Accepted, InstanceRow, LogLine, StackRequest};
use clap::Args;
use futures_util::StreamExt as _;
use http::Method;
use model::container_spec::ContainerSpec;
use model::id::ServiceName;
use model::service::{RestartPolicy, ServiceSpec, Template};
use model::stack::StackSpec;
use std::collections::BTreeMap;

/// How the name of a service that runs once begins.
pub(super) const ONCE: &str = "run-";

/// Options of `run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  remuda run --stack shop busybox -- nslookup api
  remuda run alpine -- echo hello")]
pub(crate) struct RunArgs {
    /// The image
    image: String,
    /// In which stack, so that its names are found
    #[arg(long, default_value = "run")]
    stack: Place,
    /// Environment, KEY=VALUE
    #[arg(short, long)]
    env: Vec<String>,
    /// Leave it until it ends by itself
    #[arg(short, long)]
    detach: bool,
    /// The command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// `remuda run`: its exit code is the command's.
///
/// # Errors
/// Why it could not run; else the command's own code.
pub(super) async fn run(global: &Global, args: RunArgs) -> Outcome {
    let client = client(global)?;
    let stack = args.stack.stack.clone();
    let mut environment = BTreeMap::new();
    for pair in &args.env {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!("--env {pair:?} has no value")).hint("write it as KEY=VALUE")
        })?;
        environment.insert(key.to_owned(), value.to_owned());
    }
    let name = format!("{ONCE}{:08x}", rand::random::<u32>());
    let container = ContainerSpec {
        image: args.image,
        command: (!args.command.is_empty()).then_some(args.command),
        environment,
        ..ContainerSpec::default()
    };
    let mut template = Template::of_container(container);
    template.restart = RestartPolicy::No;
    let service = ServiceSpec { scale: Some(1), ..ServiceSpec::of(template) };
    let id = ServiceName::parse(&name).map_err(|e| Failure::usage(e.to_string()))?;
    let spec = StackSpec { services: [(id, service)].into(), volumes: BTreeMap::new() };
    let request = StackRequest { spec, remove_orphans: false, check_version: None };
    let path = routes::fill(routes::STACK, &[&stack]);
    let _accepted: Accepted = client.write(Method::PUT, &path, &request).await?;
    if args.detach {
        output::line(&format!("{stack}/{name}"));
        return Ok(());
    }
    let result = tokio::select! {
        result = follow(&client, &stack, &name) => result,
        stopped = crate::role::told_to_stop() => {
            stopped?;
            Err(Failure::Code(INTERRUPTED))
        }
    };
    let path = routes::fill(routes::SERVICE, &[&stack, &name]);
    let _accepted: Accepted = client.delete(&path).await?;
    match u8::try_from(result?) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Code(code)),
        Err(_beyond) => Err(Failure::Code(1)),
    }
}

/// Shows the output of the one instance, returns its exit code.
async fn follow(client: &Client, stack: &str, service: &str) -> Outcome<i64> {
    let mut shown = 0;
    let mut after = 0;
    loop {
        let page = watch::page(client, stack, after, 5_000).await?;
        after = page.index.0;
        let Some(row) = page.instances.iter().find(|row| row.service == service) else { continue };
        // What did not start is not tried again for ever.
        let ended = matches!(row.status.as_str(), "completed" | "failed" | "blocked" | "backoff");
        if !ended && row.status != "running" {
            continue;
        }
        if !row.container_id.is_empty() {
            // A log that ended with its container has said everything.
            shown += show(client, row, shown).await?;
        }
        if ended {
            return match row.exit_code {
                Some(code) => Ok(code),
                None => Err(not_started(row)),
            };
        }
    }
}

/// Why it never ran; a program that is not there has the exit code that shells give it.
fn not_started(row: &InstanceRow) -> Failure {
    let no_program = ["executable file not found", "no such file or directory"];
    let code = if no_program.iter().any(|text| row.reason.contains(text)) { 127 } else { ERROR };
    Failure::Message { code, message: row.reason.clone(), hint: String::new() }
}

async fn show(client: &Client, row: &InstanceRow, skip: usize) -> Outcome<usize> {
    let path = format!(
        "{}?stack={}&service={}&n={}&follow=true",
        routes::LOGS,
        row.stack,
        row.service,
        row.n
    );
    let mut lines = client.lines::<LogLine>(Method::GET, &path, None).await?;
    let mut count = 0;
    while let Some(line) = lines.next().await {
        let line = line?;
        count += 1;
        if count > skip {
            let mut text = line.line.into_bytes();
            text.push(b'\n');
            output::bytes(line.stderr, &text);
        }
    }
    Ok(count.saturating_sub(skip))
}
