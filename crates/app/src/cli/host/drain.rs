//! `host drain`: the host is told to drain, and what leaves it is watched to the end.

use super::{post, tell};
use crate::cli::{Format, Global};
use crate::exit::{Failure, INTERRUPTED, Outcome, ROLLOUT_FAILED, TIMED_OUT};
use crate::output;
use api::client::Client;
use api::error::Kind;
use api::routes;
use api::wire::{DrainRequest, HostDetail, LeftRow};
use clap::Args;
use model::host::Scheduling;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What cannot leave for this long, with nothing on its way, is not waited for.
const STUCK: Duration = Duration::from_secs(15);

/// Options of `host drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Host
    host: String,
    /// What has not left by then stays, e.g. 90s, 10m; 0 is no deadline
    #[arg(long, default_value = "10m", value_parser = crate::cli::apply::duration)]
    deadline: Duration,
    /// After the deadline what has not left goes all the same
    #[arg(long)]
    force: bool,
    /// Do not wait
    #[arg(short, long, visible_alias = "no-wait")]
    detach: bool,
}

/// `remuda host drain`.
///
/// # Errors
/// Exit code 6 when what is left cannot leave, 7 when the deadline is over, both with the reasons;
/// 3 when there is no such host.
pub(super) async fn run(global: &Global, client: &Client, args: DrainArgs) -> Outcome {
    let deadline_ms = u64::try_from(args.deadline.as_millis()).unwrap_or(u64::MAX);
    let body = DrainRequest { deadline_ms: Some(deadline_ms), force: args.force };
    let done = post(client, routes::HOST_DRAIN, &args.host, &body).await?;
    if args.detach {
        tell(global, &done, &format!("{} drains", args.host));
        return Ok(());
    }
    let path = routes::fill(routes::HOST, &[&args.host]);
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let mut stuck_since: Option<Instant> = None;
    let begun = Instant::now();
    loop {
        let detail: HostDetail = match client.get(&path).await {
            Ok(detail) => detail,
            // A server that restarts comes back; the drain goes on meanwhile.
            Err(error) if error.kind == Kind::Unavailable => {
                pause(&args.host).await?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        tell_changes(global, &mut told, &detail.left);
        if detail.left.is_empty() {
            if global.output == Format::Json {
                output::json(&detail);
            } else if !global.quiet {
                let s = begun.elapsed().as_secs_f32();
                output::note(&format!("{} is drained ({s:.1} s)", args.host));
            }
            return Ok(());
        }
        let Scheduling::Draining { deadline, force, .. } = detail.host.scheduling else {
            return Err(Failure::error(format!("{} does not drain any more", args.host))
                .hint("somebody ended it with `remuda host uncordon` or `cordon`"));
        };
        let all_blocked = detail.left.iter().all(|left| left.blocked);
        stuck_since = if all_blocked { stuck_since.or_else(|| Some(Instant::now())) } else { None };
        let is_over = deadline.is_some_and(|at| crate::cli::now() >= at) && !force && all_blocked;
        let is_stuck = stuck_since.is_some_and(|since| since.elapsed() >= STUCK) && !force;
        if is_over || is_stuck {
            return Err(left(&args.host, &detail, is_over));
        }
        pause(&args.host).await?;
    }
}

async fn pause(host: &str) -> Outcome {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(250)) => Ok(()),
        _ = tokio::signal::ctrl_c() => Err(Failure::Message {
            code: INTERRUPTED,
            message: format!("interrupted; the drain of {host} goes on"),
            hint: format!("see `remuda host show {host}`; `remuda host uncordon {host}` ends it"),
        }),
    }
}

/// A line for each thing that has come nearer to its end, or cannot.
fn tell_changes(global: &Global, told: &mut BTreeMap<String, String>, left: &[LeftRow]) {
    if global.quiet {
        return;
    }
    let gone: Vec<String> = told
        .keys()
        .filter(|name| !left.iter().any(|one| one.instance == **name))
        .cloned()
        .collect();
    for name in gone {
        output::note(&format!("{name} has left"));
        told.remove(&name);
    }
    for one in left {
        let word = if one.blocked { "cannot leave: " } else { "" };
        let text = format!("{word}{}", output::harmless(&one.why));
        if told.get(&one.instance) != Some(&text) {
            output::note(&format!("{}: {text}", one.instance));
            told.insert(one.instance.clone(), text);
        }
    }
}

/// What is left, and why, and what to do.
fn left(host: &str, detail: &HostDetail, is_over: bool) -> Failure {
    for one in &detail.left {
        output::note(&format!("  {} stays: {}", one.instance, output::harmless(&one.why)));
    }
    let count = detail.left.len();
    let what = if count == 1 { "instance has" } else { "instances have" };
    let (code, why) = match is_over {
        true => (TIMED_OUT, "the time of the drain is over"),
        false => (ROLLOUT_FAILED, "nothing of it can leave now; the drain goes on"),
    };
    Failure::Message {
        code,
        message: format!("{count} {what} not left {host}: {why}"),
        hint: format!(
            "make room elsewhere, `--force` to give them up at the deadline, or `remuda host \
             uncordon {host}` to end it"
        ),
    }
}
