//! Waiting for services: until all are healthy, one has failed, or the time is over.

use super::Global;
use super::progress::{self, Screen};
use crate::exit::{Failure, INTERRUPTED, Outcome, ROLLOUT_FAILED, TIMED_OUT};
use crate::output::{self, Colour};
use api::client::Client;
use api::error::{ErrorInfo, Kind};
use api::routes;
use api::wire::{InstancePage, InstanceRow, LogLine, ServiceRow};
use futures_util::StreamExt as _;
use http::Method;
use model::record::Rollout;
use std::time::{Duration, Instant};

/// What is waited for.
#[derive(Debug)]
pub(super) struct Goal {
    /// The stack.
    pub stack: String,
    /// `stack/service` of each that must be healthy.
    pub services: Vec<String>,
    /// Longest wait.
    pub timeout: Duration,
    /// Where the rollout of the one service was before it was changed: an old failure is no news.
    pub known: Option<Rollout>,
}

/// How far a goal is.
#[derive(Debug, PartialEq)]
enum Verdict {
    Waiting,
    Done,
    Failed(Vec<String>),
    /// All is well but what finds no room, each with its reason.
    Parked(Vec<String>),
}

/// Only what finds no room is missing for so long: it is not waited for any more.
const PARKED: Duration = Duration::from_secs(10);

/// Words of services that wait for a person.
const WAITING: [&str; 3] = ["paused", "canary", "upgraded"];

/// Does a service wait for a person, and what may that person type?
pub(super) fn waits(service: &ServiceRow) -> Option<String> {
    let name = &service.name;
    let next = match service.status.as_str() {
        "paused" => format!("remuda svc resume {name}, or remuda svc abort {name}"),
        "canary" => format!("remuda svc promote {name}, or remuda svc abort {name}"),
        "upgraded" => format!("remuda svc finish {name}, or remuda svc rollback {name}"),
        _ => return None,
    };
    let reason = service.reasons.first().map_or("it waits", String::as_str);
    Some(format!("{name} waits: {reason}\n  next: {next}"))
}

fn judge(goal: &Goal, page: &InstancePage) -> Verdict {
    let mut failed = vec![];
    let mut parked = vec![];
    let mut moving = false;
    let mut done = true;
    for name in &goal.services {
        let Some(service) = page.services.iter().find(|s| s.name == *name) else {
            done = false;
            continue;
        };
        // Runs of a job are not waited for, and nobody but a person ends a pause.
        if service.mode == "job" || service.status == "paused" {
            done &= service.status != "updating";
            continue;
        }
        let stopped = service.status == "stopped";
        let old_news = match &service.rollout {
            Rollout::Failed { before, .. } => {
                let known = goal.known.as_ref() == Some(&service.rollout) && before.is_some();
                if !known && !stopped {
                    failed.push(name.clone());
                }
                known
            }
            Rollout::Done | Rollout::Running { .. } | Rollout::Finishing { .. } => false,
        };
        let rows = page.instances.iter().filter(|row| in_service(row, name));
        for row in rows.clone().filter(|row| !stopped && !row.ready) {
            match row.status.as_str() {
                "completed" | "stopped" => {}
                // A dependency on its way is no lack of room.
                "blocked" if !row.reason.starts_with("waits for") => {
                    parked.push(format!("{} is parked: {}", row.name, row.reason));
                }
                _ => moving = true,
            }
        }
        let all_settled = rows.clone().all(|row| match row.status.as_str() {
            "completed" | "stopped" => true,
            // Nothing that is to stop is settled while it runs.
            status if stopped => matches!(status, "failed" | "blocked"),
            _ => row.ready,
        });
        let waits = WAITING.contains(&service.status.as_str());
        let healthy = stopped || waits || service.status == "healthy";
        // What is kept of before is there as well while it waits for `finish`.
        let counted = stopped
            || match waits {
                true => service.serving >= service.scale,
                false => rows.count() == service.scale as usize,
            };
        // After an old failure the version before it is what has to serve.
        let served = old_news && service.serving == service.scale;
        done &= all_settled && ((healthy && counted) || served);
    }
    if !failed.is_empty() {
        Verdict::Failed(failed)
    } else if done {
        Verdict::Done
    } else if !parked.is_empty() && !moving {
        Verdict::Parked(parked)
    } else {
        Verdict::Waiting
    }
}

/// Is it an instance of this service?
pub(super) fn in_service(row: &InstanceRow, name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(stack, service)| row.stack == stack && row.service == service)
}

/// The state of a stack, once it is newer than `after` or `wait_ms` is over.
///
/// # Errors
/// What the server says.
pub(super) async fn page(
    client: &Client,
    stack: &str,
    after: u64,
    wait_ms: u64,
) -> Result<InstancePage, ErrorInfo> {
    let stack = routes::encode(stack);
    let path = format!("{}?stack={stack}&after={after}&wait_ms={wait_ms}", routes::INSTANCES);
    client.get(&path).await
}

/// Waits until every service of the goal is healthy, its progress shown.
///
/// # Errors
/// Exit code 6 when a rollout failed, with check, last result and log lines; 7 when the time is
/// over; 130 on Ctrl-C. What was begun goes on in the last two.
pub(super) async fn until_healthy(global: &Global, client: &Client, goal: &Goal) -> Outcome {
    let mut screen = Screen::new(global);
    let begun = Instant::now();
    let deadline = begun + goal.timeout;
    let mut after = 0;
    let mut parked_since: Option<Instant> = None;
    loop {
        let step = tokio::select! {
            page = page(client, &goal.stack, after, 1_000) => page,
            _ = tokio::signal::ctrl_c() => {
                screen.finish();
                return Err(Failure::Message {
                    code: INTERRUPTED,
                    message: format!("interrupted; {} goes on", goal.stack),
                    hint: format!("see `remuda ps {}`", goal.stack),
                });
            }
        };
        match step {
            Ok(page) => {
                after = page.index.0;
                screen.show(goal, &page);
                let verdict = judge(goal, &page);
                if !matches!(verdict, Verdict::Parked(_)) {
                    parked_since = None;
                }
                match verdict {
                    Verdict::Parked(reasons) => {
                        let since = *parked_since.get_or_insert_with(Instant::now);
                        if since.elapsed() >= PARKED {
                            screen.finish();
                            return Err(parked_failure(goal, &reasons));
                        }
                    }
                    Verdict::Done => {
                        screen.finish();
                        if !global.quiet {
                            output::note(&progress::summary(goal, &page, begun.elapsed()));
                        }
                        return Ok(());
                    }
                    Verdict::Failed(services) => {
                        screen.finish();
                        explain(client, &page, &services).await;
                        return Err(Failure::Code(ROLLOUT_FAILED));
                    }
                    Verdict::Waiting => {}
                }
            }
            // A server that restarts comes back; the rollout goes on meanwhile.
            Err(error) if error.kind == Kind::Unavailable && Instant::now() < deadline => {
                screen.line(&error.message);
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= deadline {
            screen.finish();
            return Err(Failure::Message {
                code: TIMED_OUT,
                message: format!(
                    "{} is not healthy after {:?}; it goes on",
                    goal.stack, goal.timeout
                ),
                hint: format!("see `remuda ps {}`", goal.stack),
            });
        }
    }
}

/// What is parked goes on waiting by itself.
fn parked_failure(goal: &Goal, reasons: &[String]) -> Failure {
    let more = match reasons.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    Failure::Message {
        code: TIMED_OUT,
        message: format!("{}{more}", reasons.first().map_or("it is parked", String::as_str)),
        hint: format!("it is placed as soon as there is room; see `remuda ps {}`", goal.stack),
    }
}

/// Says why a rollout failed: the reason, the instance, its last lines, what to type next.
async fn explain(client: &Client, page: &InstancePage, services: &[String]) {
    for name in services {
        let Some(service) = page.services.iter().find(|s| s.name == *name) else { continue };
        let (why, slot, replaces) = match &service.rollout {
            Rollout::Failed { why, n, before, .. } => (why.clone(), *n, before.is_some()),
            Rollout::Done | Rollout::Running { .. } | Rollout::Finishing { .. } => {
                (String::new(), 0, false)
            }
        };
        let serving = match (service.serving, replaces) {
            (0, _) => "nothing serves".to_owned(),
            (n, true) => format!("{n} of the version before go on serving"),
            (n, false) => format!("{n} of {} serve", service.scale),
        };
        output::complain(
            &format!("rollout of {name} to revision {} failed: {why}", service.revision),
            "",
        );
        output::note(&format!("  {serving}"));
        let guilty = page
            .instances
            .iter()
            .filter(|row| in_service(row, name) && row.revision == service.revision && !row.ready)
            .min_by_key(|row| row.n != slot);
        if let Some(row) = guilty {
            output::note(&format!("  {} is {}: {}", row.name, row.status, row.reason));
            last_lines(client, row).await;
        }
        output::note(&format!(
            "  next: remuda logs {name}, remuda events {name}, remuda svc history {name}; then remuda \
             up again, or remuda svc rollback {name}"
        ));
    }
}

async fn last_lines(client: &Client, row: &InstanceRow) {
    let path = format!(
        "{}?stack={}&service={}&n={}&incarnation={}&tail=20",
        routes::LOGS,
        row.stack,
        row.service,
        row.n,
        row.incarnation
    );
    let Ok(mut lines) = client.lines::<LogLine>(Method::GET, &path, None).await else { return };
    let mut kept: Vec<String> = vec![];
    while let Some(Ok(line)) = lines.next().await {
        kept.push(line.line);
    }
    let skip = kept.len().saturating_sub(20);
    for line in &kept[skip..] {
        output::note(&format!(
            "  {} {}",
            output::paint(Colour::Dim, "|"),
            output::fit(line, 2_000)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn failed(at: i64, before: bool) -> serde_json::Value {
        let before = before.then(|| json!({"revision": 1, "restart": 0}));
        let target = json!({"revision": 2, "restart": 0});
        json!({"status": "failed", "target": target, "before": before, "n": 1, "attempt": 0,
               "why": "it exits", "at": at})
    }

    /// `words` are the instances: `ready`, `stopped` or anything else.
    fn page(
        status: &str,
        serving: u32,
        rollout: &serde_json::Value,
        words: &[&str],
    ) -> InstancePage {
        let rows = words.iter().enumerate().map(|(n, word)| {
            json!({"stack": "shop", "service": "web", "name": "shop/web#1", "n": n + 1,
                   "incarnation": 1, "host": "a", "status": word, "health": "unchecked",
                   "ready": *word == "ready", "address": "", "ports": [], "revision": 1,
                   "image": "", "container_name": "", "container_id": "", "restarts": 0,
                   "exit_code": null, "started_at": null, "reason": ""})
        });
        let service = json!({"name": "shop/web", "kind": "container", "image": "", "scale": 2,
            "ready": 0, "serving": serving, "revision": 2, "rollout": rollout, "status": status,
            "reasons": [], "ports": []});
        serde_json::from_value(json!({"index": 1, "services": [service],
            "instances": rows.collect::<Vec<_>>()}))
        .unwrap()
    }

    #[test]
    fn what_is_waited_for_is_judged() {
        let done = json!({"status": "done"});
        let (old, new, first) = (failed(1, true), failed(2, true), failed(1, false));
        for (page, known, expect) in [
            (page("healthy", 2, &done, &["ready", "ready"]), None, "done"),
            (page("degraded", 1, &done, &["ready", "starting"]), None, "waiting"),
            (page("healthy", 2, &done, &["ready"]), None, "waiting"),
            (page("stopped", 0, &done, &["stopped", "stopped"]), None, "done"),
            (page("stopped", 0, &done, &["draining", "stopped"]), None, "waiting"),
            (page("failed", 2, &old, &["ready", "ready", "stopped"]), None, "failed"),
            (page("failed", 2, &old, &["ready", "ready", "stopped"]), Some(&old), "done"),
            (page("failed", 1, &old, &["ready", "starting"]), Some(&old), "waiting"),
            (page("failed", 2, &new, &["ready", "ready", "stopped"]), Some(&old), "failed"),
            (page("failed", 0, &first, &["backoff", "backoff"]), Some(&first), "failed"),
            (page("stopped", 0, &old, &["stopped", "stopped"]), Some(&old), "done"),
            (page("canary", 2, &done, &["ready", "ready"]), None, "done"),
            (page("canary", 1, &done, &["ready", "starting"]), None, "waiting"),
            (page("upgraded", 2, &done, &["ready", "ready", "stopped", "stopped"]), None, "done"),
            (page("upgraded", 2, &done, &["ready", "ready", "draining"]), None, "waiting"),
            (page("updating", 2, &done, &["ready", "ready"]), None, "waiting"),
            (page("degraded", 1, &done, &["ready", "blocked"]), None, "parked"),
            (page("degraded", 1, &done, &["starting", "blocked"]), None, "waiting"),
            (page("paused", 2, &done, &["ready", "ready", "starting"]), None, "done"),
        ] {
            let goal = Goal {
                stack: "shop".into(),
                services: vec!["shop/web".into()],
                timeout: Duration::ZERO,
                known: known.map(|known| serde_json::from_value(known.clone()).unwrap()),
            };
            let word = match judge(&goal, &page) {
                Verdict::Done => "done",
                Verdict::Waiting => "waiting",
                Verdict::Failed(_) => "failed",
                Verdict::Parked(_) => "parked",
            };
            assert_eq!(word, expect, "{:?} {known:?}", page.services);
        }
    }
}
