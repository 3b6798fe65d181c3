//! `status` and `version`.

use super::client::client;
use super::{Format, Global};
use crate::exit::{ERROR, Failure, Outcome, TIMED_OUT};
use crate::output::{self, Cell};
use api::error::Kind;
use api::routes;
use api::wire::{Ping, SystemStatus};
use clap::Args;
use std::time::{Duration, Instant};

/// Options of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Wait until every role answers, at most this long, e.g. 60s
    #[arg(long, value_parser = super::apply::duration)]
    wait: Option<Duration>,
}

/// `remuda status`.
///
/// # Errors
/// Exit code 1 when a role does not answer, 7 when `--wait` is over.
pub(super) async fn run(global: &Global, args: StatusArgs) -> Outcome {
    let deadline = args.wait.map(|wait| Instant::now() + wait);
    loop {
        let result = match client(global) {
            Ok(client) => client.get::<SystemStatus>(routes::STATUS).await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        let well = matches!(&result, Ok(status) if status.roles.iter().all(|role| role.ok));
        let over = deadline.is_none_or(|at| Instant::now() >= at);
        if well || over {
            let status = result?;
            print(global, &status);
            return match (well, deadline) {
                (true, _) => Ok(()),
                (false, Some(_)) => Err(Failure::Code(TIMED_OUT)),
                (false, None) => Err(Failure::Code(ERROR)),
            };
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn print(global: &Global, status: &SystemStatus) {
    if global.output == Format::Json {
        return output::json(status);
    }
    let cells: Vec<Vec<Cell>> = status
        .roles
        .iter()
        .map(|role| {
            vec![
                role.role.clone().into(),
                role.host.clone().into(),
                Cell::status(if role.ok { "ok" } else { "failed" }),
                role.detail.clone().into(),
            ]
        })
        .collect();
    output::table(&["ROLE", "HOST", "STATUS", "DETAIL"], &cells);
    if !status.blocked.is_empty() {
        output::line("");
        let cells: Vec<Vec<Cell>> = status
            .blocked
            .iter()
            .map(|one| vec![one.subject.clone().into(), one.reason.clone().into()])
            .collect();
        output::table(&["BLOCKED", "REASON"], &cells);
    }
    if status.audit_violations > 0 {
        output::complain(
            &format!("the audit found {} violations", status.audit_violations),
            "this is a defect of Remuda: please report it with `remuda events -o json`",
        );
    }
}

/// `remuda version`: ours, and the server's when one answers.
pub(super) async fn version(global: &Global) {
    output::line(&format!("remuda {}", env!("CARGO_PKG_VERSION")));
    let Ok(client) = client(global) else { return };
    match client.get::<Ping>(routes::PING).await {
        Ok(ping) => output::line(&format!("server {} at {}", ping.version, client.address())),
        Err(error) if error.kind == Kind::Unavailable => {}
        Err(error) => output::complain(&error.message, &error.hint),
    }
}
