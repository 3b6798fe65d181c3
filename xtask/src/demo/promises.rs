//! What the demo promises, each looked at through a public interface: the CLI, DNS, the
//! balancer's ports.

use super::{STACK, wire};
use crate::remuda::Remuda;
use crate::{interrupt, say, shell};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// `up` has waited until all is healthy; this is for a slow machine, and every wait is shown.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// What the example answers.
const ANSWER: &str = "this is httpfrontservice, version: v1.0.0, calling backendservice ok, its \
                      resp: [this is httpbackendservice, version: v1.0.0]";
/// Instances of each service of containers.
const SCALE: usize = 3;
/// Requests through the balancer: enough to meet every instance.
const REQUESTS: usize = 30;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const NAMESERVER: SocketAddr =
    SocketAddr::V4(std::net::SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 250), 53));

/// A row of `remuda ps -o json`.
#[derive(Debug, Deserialize)]
struct Row {
    stack: String,
    service: String,
    name: String,
    status: String,
    health: String,
    #[serde(default)]
    reason: Option<String>,
}

/// Looks at everything and prints what it saw; gives what was not seen.
pub(super) fn check(remuda: &Remuda) -> Vec<String> {
    let promises: [(&str, &dyn Fn() -> Result<String>); 6] = [
        ("every instance is running and healthy", &|| every_instance(remuda)),
        ("a container finds the backend by its short name", &|| name_inside(remuda)),
        ("the host's DNS finds it by its full name", &name_outside),
        ("HTTP through the balancer", &http),
        ("another host name is not routed", &other_host),
        ("TCP through the balancer", &tcp),
    ];
    let mut broken = vec![];
    for (what, look) in promises {
        let since = Instant::now();
        let outcome = until_seen(look);
        let waited = since.elapsed();
        let late = if waited > Duration::from_secs(1) {
            format!(" (after {:.1} s)", waited.as_secs_f64())
        } else {
            String::new()
        };
        match outcome {
            Ok(seen) => say::line(&format!("    ok    {what}: {seen}{late}")),
            Err(error) => {
                say::line(&format!("    FAIL  {what}: {error:#}{late}"));
                broken.push(format!("{what}: {error:#}"));
            }
        }
    }
    broken
}

fn until_seen(look: &dyn Fn() -> Result<String>) -> Result<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let outcome = look();
        if outcome.is_ok() || Instant::now() > until || interrupt::came() {
            return outcome;
        }
        std::thread::sleep(LOOK);
    }
}

fn every_instance(remuda: &Remuda) -> Result<String> {
    let text = shell::read(remuda.command().args(["ps", "-o", "json"]))?;
    judge(&serde_json::from_str::<Vec<Row>>(&text).context("reading `remuda ps -o json`")?)
}

fn judge(rows: &[Row]) -> Result<String> {
    let ours: Vec<_> = rows.iter().filter(|row| row.stack == STACK).collect();
    for row in &ours {
        let reason = row.reason.as_deref().unwrap_or_default();
        ensure!(
            row.status == "running" && row.health != "unhealthy" && row.health != "initializing",
            "{} is {}, {} {reason}",
            row.name,
            row.status,
            row.health
        );
    }
    let count = |service: &str, healthy: bool| {
        let of = |row: &&&Row| row.service == service && (!healthy || row.health == "healthy");
        ours.iter().filter(of).count()
    };
    for service in ["httpfront", "httpbackend", "tcpfront"] {
        let healthy = count(service, true);
        ensure!(healthy == SCALE, "{service} has {healthy} healthy instances, not {SCALE}");
    }
    ensure!(count("lb", false) > 0, "there is no balancer");
    Ok(format!("{} of {}", ours.len(), ours.len()))
}

fn addresses_shown(addresses: &[String]) -> Result<String> {
    let mut distinct = addresses.to_vec();
    distinct.sort();
    distinct.dedup();
    ensure!(distinct.len() == SCALE, "{} addresses, not {SCALE}: {distinct:?}", distinct.len());
    Ok(distinct.join(" "))
}

fn name_inside(remuda: &Remuda) -> Result<String> {
    let instance = format!("{STACK}/httpfront#1");
    let resolve = ["/httpfront", "resolve", "httpbackend"];
    let text = shell::read(remuda.command().arg("exec").arg(&instance).arg("--").args(resolve))?;
    addresses_shown(&text.lines().map(str::to_owned).collect::<Vec<_>>())
}

fn name_outside() -> Result<String> {
    let name = format!("httpbackend.{STACK}.rancher.internal");
    let found = wire::resolve(NAMESERVER, &name)?;
    addresses_shown(&found.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn http() -> Result<String> {
    let mut body = String::new();
    for _ in 0..REQUESTS {
        let to = (LOOPBACK, 8080).into();
        let (status, answer) = wire::http_get(to, "httpfront.example.test", "/")?;
        ensure!(status == 200 && answer == ANSWER, "it answered {status}: {answer}");
        body = answer;
    }
    Ok(format!("{REQUESTS} requests, each answered: {body}"))
}

fn other_host() -> Result<String> {
    let (status, answer) = wire::http_get((LOOPBACK, 8080).into(), "other.example.test", "/")?;
    ensure!(status == 404 || status == 503, "it answered {status}: {answer}");
    Ok(format!("{status}"))
}

fn tcp() -> Result<String> {
    let said = "hello from the demo";
    let back = wire::echo((LOOPBACK, 9999).into(), said)?;
    ensure!(back == said, "{back:?} came back for {said:?}");
    Ok(format!("{back:?} came back"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(sick: &str) -> Vec<Row> {
        let mut rows = vec![];
        for service in ["httpfront", "httpbackend", "tcpfront"] {
            for n in 1..=SCALE {
                let name = format!("storefront-{service}-{n}");
                let health = if name == sick { "unhealthy" } else { "healthy" }.to_owned();
                let (stack, service) = (STACK.to_owned(), service.to_owned());
                rows.push(Row {
                    stack,
                    service,
                    name,
                    status: "running".into(),
                    health,
                    reason: None,
                });
            }
        }
        let json = r#"{"stack":"storefront","service":"lb","name":"storefront-lb-1",
                       "status":"running","health":"-","address":"10.42.0.2"}"#;
        rows.push(serde_json::from_str(json).unwrap());
        rows
    }

    #[test]
    fn ten_good_rows_are_all_there_is_to_see() {
        assert_eq!(judge(&rows("")).unwrap(), "10 of 10");
    }

    #[test]
    fn what_is_missing_or_sick_is_named() {
        let why = |rows: &[Row]| judge(rows).unwrap_err().to_string();
        assert!(why(&rows("storefront-tcpfront-2")).contains("storefront-tcpfront-2"));
        assert!(why(&rows("")[1..]).contains("httpfront has 2 healthy"));
        assert!(why(&rows("")[..9]).contains("no balancer"));
        assert!(why(&[]).contains("httpfront has 0"));
    }
}
