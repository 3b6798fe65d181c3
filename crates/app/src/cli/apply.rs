//! `up` and `plan`.

use super::client::client;
use super::{Format, Global, Source, build, source, watch};
use crate::exit::{CHANGES, CONFLICT, Failure, Outcome};
use crate::output::{self, Colour};
use api::client::Client;
use api::error::Kind;
use api::routes;
use api::wire::{Accepted, Plan, ServiceChange, StackDetail, StackRequest};
use clap::Args;
use http::Method;
use std::time::Duration;

/// Options of `up`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  remuda up                                   the compose file of this folder
  remuda up -f docker-compose.yml -f rancher-compose.yml -p shop
  remuda up --no-wait -o json")]
pub(crate) struct UpArgs {
    #[command(flatten)]
    source: Source,
    /// Remove services that the files do not have any more
    #[arg(long)]
    remove_orphans: bool,
    /// Build images again, also unchanged ones
    #[arg(long)]
    build: bool,
    /// Do not wait until it is healthy
    #[arg(long)]
    no_wait: bool,
    /// Wait (the default); for scripts that say it
    #[arg(long, hide = true)]
    wait: bool,
    /// Run in the background: what Remuda always does; taken for docker compose's sake
    #[arg(short, long, hide = true)]
    detach: bool,
    /// Longest wait, e.g. 90s, 5m
    #[arg(long, default_value = "10m", value_parser = duration)]
    timeout: Duration,
    /// Only show the plan
    #[arg(long)]
    dry_run: bool,
    /// Refuse when the stack is not at this version any more
    #[arg(long)]
    check_version: Option<u64>,
    /// Do not ask (nothing is asked today)
    #[arg(short, long, hide = true)]
    yes: bool,
}

/// Options of `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    source: Source,
    /// Remove services that the files do not have any more
    #[arg(long)]
    remove_orphans: bool,
}

/// A duration as `90s`, `5m`, `1h`, `500ms` or seconds.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let number: f64 = digits.parse().map_err(|_nan| format!("{text:?} is not a duration"))?;
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(format!("unit {unit:?} is not one of ms, s, m, h, d")),
    };
    Duration::try_from_secs_f64(number * factor).map_err(|e| format!("{text:?}: {e}"))
}

async fn ask_plan(client: &Client, stack: &str, request: &StackRequest) -> Outcome<Plan> {
    let path = routes::fill(routes::STACK_PLAN, &[stack]);
    Ok(client.write(Method::POST, &path, request).await?)
}

/// The plan in lines for people.
fn lines(plan: &Plan, stack: &str) -> Vec<String> {
    let mut out = vec![];
    for service in &plan.services {
        let (sign, colour) = match service.change {
            ServiceChange::Create => ("+", Colour::Green),
            ServiceChange::Update | ServiceChange::Scale | ServiceChange::Retry => {
                ("~", Colour::Yellow)
            }
            ServiceChange::Remove => ("-", Colour::Red),
            ServiceChange::Unchanged => continue,
        };
        out.push(format!("{} {}", output::paint(colour, sign), service.service));
        for detail in &service.details {
            let detail = output::harmless(detail);
            out.push(format!("    {}", output::paint(Colour::Dim, &detail)));
        }
    }
    for step in &plan.instances {
        let colour = match step.sign.as_str() {
            "+" => Colour::Green,
            "-" => Colour::Red,
            _ => Colour::Yellow,
        };
        let sign = output::paint(colour, &step.sign);
        let at = if step.host.is_empty() { String::new() } else { format!(" on {}", step.host) };
        out.push(format!("  {sign} {}{at}: {}", step.instance, step.why));
    }
    for blocked in &plan.blocked {
        let (word, colour) =
            if blocked.passing { ("later", Colour::Yellow) } else { ("blocked", Colour::Red) };
        let word = output::paint(colour, word);
        out.push(format!("  {word} {}: {}", blocked.subject, blocked.reason));
    }
    let count = |wanted: &[ServiceChange]| {
        plan.services.iter().filter(|s| wanted.contains(&s.change)).count()
    };
    if !plan.is_empty() {
        use ServiceChange::{Create, Remove, Retry, Scale, Update};
        out.push(format!(
            "{stack}: {} to create, {} to change, {} to remove",
            count(&[Create]),
            count(&[Update, Scale, Retry]),
            count(&[Remove]),
        ));
    }
    out
}

/// Warns of services that run and are in no file: `up` leaves them.
async fn tell_orphans(client: &Client, stack: &str, wanted: &[String]) -> Outcome {
    let there: StackDetail = match client.get(&routes::fill(routes::STACK, &[stack])).await {
        Ok(there) => there,
        Err(error) if error.kind == Kind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let once = format!("{stack}/{}", super::run::ONCE);
    for service in there.services {
        let name = &service.name;
        if !wanted.contains(name) && !name.starts_with(&once) && service.status != "removing" {
            let warning = output::paint(Colour::Yellow, "warning:");
            output::note(&format!(
                "{warning} {name} runs and is in no file here; --remove-orphans removes it"
            ));
        }
    }
    Ok(())
}

fn blocked_failure(plan: &Plan) -> Option<Failure> {
    let first = plan.blocked.iter().find(|b| !b.passing)?;
    Some(Failure::Message {
        code: CONFLICT,
        message: format!("{} is blocked: {}", first.subject, first.reason),
        hint: "nothing was changed".into(),
    })
}

/// `remuda plan`.
///
/// # Errors
/// Exit code 10 when there are changes, 5 when something of it is blocked.
pub(super) async fn plan(global: &Global, args: PlanArgs) -> Outcome {
    let mut loaded = source::load(global, &args.source)?;
    let client = client(global)?;
    build::keep_known_images(&client, &mut loaded).await?;
    let request = StackRequest {
        spec: loaded.spec,
        remove_orphans: args.remove_orphans,
        check_version: None,
    };
    let stack = loaded.stack.as_str();
    let plan = ask_plan(&client, stack, &request).await?;
    if !global.quiet && !args.remove_orphans {
        let wanted: Vec<String> =
            request.spec.services.keys().map(|name| format!("{stack}/{name}")).collect();
        tell_orphans(&client, stack, &wanted).await?;
    }
    if global.output == Format::Json {
        output::json(&plan);
    } else if plan.is_empty() {
        output::line(&format!("{}: no changes", loaded.stack));
    } else {
        lines(&plan, loaded.stack.as_str()).iter().for_each(|line| output::line(line));
    }
    if let Some(failure) = blocked_failure(&plan) {
        return Err(failure);
    }
    if plan.is_empty() { Ok(()) } else { Err(Failure::Code(CHANGES)) }
}

/// `remuda up`.
///
/// # Errors
/// Exit code 2 for bad files, 5 when blocked (nothing made), 6 when a rollout failed, 7 in time.
pub(super) async fn up(global: &Global, args: UpArgs) -> Outcome {
    let mut loaded = source::load(global, &args.source)?;
    let client = client(global)?;
    let stack = loaded.stack.to_string();
    let wanted: Vec<String> =
        loaded.spec.services.keys().map(|name| format!("{stack}/{name}")).collect();
    build::keep_known_images(&client, &mut loaded).await?;
    let mut request = StackRequest {
        spec: loaded.spec.clone(),
        remove_orphans: args.remove_orphans,
        check_version: args.check_version.map(model::time::Index),
    };
    let mut plan = ask_plan(&client, &stack, &request).await?;
    // What is blocked is so before anything is built.
    if !loaded.builds.is_empty() && !args.dry_run && blocked_failure(&plan).is_none() {
        build::build_all(global, &client, &mut loaded, args.build).await?;
        request.spec = loaded.spec;
        plan = ask_plan(&client, &stack, &request).await?;
    }
    if !global.quiet {
        lines(&plan, &stack).iter().for_each(|line| output::note(line));
        if !args.remove_orphans {
            tell_orphans(&client, &stack, &wanted).await?;
        }
    }
    if let Some(failure) = blocked_failure(&plan) {
        return Err(failure);
    }
    if args.dry_run {
        return if plan.is_empty() { Ok(()) } else { Err(Failure::Code(CHANGES)) };
    }
    let path = routes::fill(routes::STACK, &[&stack]);
    let accepted: Accepted = client.write(Method::PUT, &path, &request).await?;
    if !accepted.changed && !global.quiet {
        output::note(&format!("{stack}: no changes"));
    }
    if args.no_wait {
        if global.output == Format::Json {
            output::json(&accepted);
        }
        return Ok(());
    }
    let goal =
        watch::Goal { stack: stack.clone(), services: wanted, timeout: args.timeout, known: None };
    watch::until_healthy(global, &client, &goal).await?;
    if global.output == Format::Json {
        output::json(&watch::page(&client, &stack, 0, 0).await?.instances);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "x", "5y", "-1s", "1e400s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
