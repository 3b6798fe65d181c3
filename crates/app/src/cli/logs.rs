//! `logs`.

use super::client::client;
use super::place::Place;
use super::{Format, Global};
use crate::exit::{Failure, INTERRUPTED, Outcome};
use crate::output;
use api::routes;
use api::wire::LogLine;
use clap::Args;
use futures_util::StreamExt as _;
use http::Method;
use std::time::{Duration, SystemTime};

/// Options of `logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  remuda logs -f shop/web
  remuda logs --tail 20 shop/web#2
  remuda logs --since 10m --grep error shop")]
pub(crate) struct LogsArgs {
    /// stack, stack/service or stack/service#n
    place: Place,
    /// Go on with new lines
    #[arg(short, long)]
    follow: bool,
    /// Last lines of each instance
    #[arg(long)]
    tail: Option<u32>,
    /// Not older than this, e.g. 10m
    #[arg(long, value_parser = super::apply::duration)]
    since: Option<Duration>,
    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Only lines with this text
    #[arg(long)]
    grep: Option<String>,
    /// Without the name of the instance
    #[arg(long)]
    no_prefix: bool,
}

/// `remuda logs`.
///
/// # Errors
/// Exit code 3 when there is no such container.
pub(super) async fn run(global: &Global, args: LogsArgs) -> Outcome {
    let mut path = format!(
        "{}?{}&follow={}&timestamps={}",
        routes::LOGS,
        args.place.query(),
        args.follow,
        args.timestamps
    );
    if let Some(tail) = args.tail {
        path.push_str(&format!("&tail={tail}"));
    }
    if let Some(since) = args.since {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        path.push_str(&format!("&since={}", now.saturating_sub(since).as_secs()));
    }
    let client = client(global)?;
    let mut lines = client.lines::<LogLine>(Method::GET, &path, None).await?;
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            _ = tokio::signal::ctrl_c() => return Err(Failure::Code(INTERRUPTED)),
        };
        let Some(line) = line else { return Ok(()) };
        let line = line?;
        if args.grep.as_ref().is_some_and(|text| !line.line.contains(text.as_str())) {
            continue;
        }
        if global.output == Format::Json {
            output::line(&serde_json::to_string(&line).unwrap_or_default());
            continue;
        }
        let mut text = String::new();
        if !args.no_prefix {
            text = format!("{} | ", output::paint(output::Colour::Dim, &line.instance));
        }
        if args.timestamps {
            text.push_str(&line.at);
            text.push(' ');
        }
        text.push_str(&line.line);
        output::line(&text);
    }
}
