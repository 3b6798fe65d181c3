//! `down`: a stack goes, its named volumes stay.

use super::client::client;
use super::{Global, watch};
use crate::exit::{Failure, Outcome, TIMED_OUT};
use crate::output;
use api::error::Kind;
use api::routes;
use api::wire::{Accepted, StackDetail};
use clap::Args;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Options of `down`.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// The stack [default: the one of the compose file here]
    stack: Option<String>,
    /// Name of the stack, as in `up`
    #[arg(
        short = 'p',
        long = "project",
        short_alias = 's',
        env = "REMUDA_PROJECT",
        conflicts_with = "stack"
    )]
    project: Option<String>,
    /// Compose file, as in `up`: only its stack name is used
    #[arg(short, long = "file")]
    files: Vec<PathBuf>,
    /// Do not wait until it is gone
    #[arg(long)]
    no_wait: bool,
    /// Longest wait
    #[arg(long, default_value = "5m", value_parser = super::apply::duration)]
    timeout: Duration,
    /// Do not ask (nothing is asked today)
    #[arg(short, long, hide = true)]
    yes: bool,
}

/// `remuda down`.
///
/// # Errors
/// Exit code 3 when there is no such stack, 7 when it is not gone in time.
pub(super) async fn run(global: &Global, args: DownArgs) -> Outcome {
    let stack = match args.stack.or(args.project) {
        Some(name) => name,
        None => {
            let source = super::Source {
                files: args.files,
                project: None,
                env_files: vec![],
                profiles: vec![],
                strict: false,
            };
            super::source::load(global, &source)?.stack.to_string()
        }
    };
    let client = client(global)?;
    let path = routes::fill(routes::STACK, &[&stack]);
    let detail: StackDetail = client.get(&path).await?;
    let _accepted: Accepted = client.delete(&path).await?;
    if args.no_wait {
        return Ok(());
    }
    let deadline = Instant::now() + args.timeout;
    let (mut after, mut left) = (0, usize::MAX);
    loop {
        let page = watch::page(&client, &stack, after, 1_000).await?;
        after = page.index.0;
        if page.instances.len() != left && !global.quiet {
            left = page.instances.len();
            output::note(&format!("{stack}: {left} instances left"));
        }
        if page.services.is_empty() {
            match client.get::<StackDetail>(&path).await {
                Err(error) if error.kind == Kind::NotFound => break,
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
        }
        if Instant::now() >= deadline {
            return Err(Failure::Message {
                code: TIMED_OUT,
                message: format!("{stack} is not gone after {:?}; it goes on", args.timeout),
                hint: format!("see `remuda ps {stack}`"),
            });
        }
    }
    if !global.quiet {
        output::note(&format!("{stack} is gone"));
        for volume in &detail.volumes {
            output::note(&format!("kept: volume {volume} (docker volume rm {volume} removes it)"));
        }
    }
    Ok(())
}
