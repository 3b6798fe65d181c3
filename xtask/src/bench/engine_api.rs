//! A bare driver of the Engine API: what any orchestrator must at least do to start containers.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Where Docker listens unless `DOCKER_HOST` says otherwise.
const SOCKET: &str = "/var/run/docker.sock";
/// Longest silence of Docker.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Calls at the same time; Docker gains nothing above.
const PARALLEL: usize = 16;

/// Asks on a connection of its own, from which the answer can be read.
pub(super) fn ask(method: &str, path: &str, body: &str) -> Result<UnixStream> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_unset| format!("unix://{SOCKET}"));
    let socket = host.strip_prefix("unix://").context("the bench needs Docker on a Unix socket")?;
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("connecting to {socket}"))?;
    // HTTP/1.0: the answer is not chunked and ends with the connection
    write!(
        stream,
        "{method} /v1.41{path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(stream)
}

/// One call; the answer's JSON.
pub(super) fn call(method: &str, path: &str, body: &Value) -> Result<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = ask(method, path, &body)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("{method} {path}"))?;
    parse(&answer).with_context(|| format!("{method} {path}"))
}

/// JSON as it stands in a query.
pub(super) fn encoded(value: &Value) -> String {
    value.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn parse(answer: &str) -> Result<Value> {
    let (head, body) = answer.split_once("\r\n\r\n").context("Docker's answer has no head")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with('2') && status != "304" {
        bail!("Docker says {status}: {}", body.trim());
    }
    if body.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(body).context("reading Docker's answer")
}

/// Makes and starts `count` containers named `prefix-n`.
pub(super) fn deploy(prefix: &str, count: usize, image: &str, network: &str) -> Result<()> {
    in_parallel(count, |n| {
        let spec = json!({ "Image": image, "HostConfig": { "NetworkMode": network } });
        let made = call("POST", &format!("/containers/create?name={prefix}-{n}"), &spec)?;
        let id = made["Id"].as_str().context("Docker names no id")?.to_owned();
        call("POST", &format!("/containers/{id}/start"), &Value::Null)?;
        Ok(())
    })
}

/// Removes them again, as far as they are there.
pub(super) fn remove(prefix: &str, count: usize) -> Result<()> {
    in_parallel(count, |n| {
        // a Docker that kills and removes at once may forget to give the address back
        let stopped = call("POST", &format!("/containers/{prefix}-{n}/stop?t=0"), &Value::Null);
        let removed = stopped.and_then(|_| remove_one(prefix, n));
        match removed {
            Err(error) if !format!("{error:#}").contains("No such container") => Err(error),
            _ => Ok(()),
        }
    })
}

fn remove_one(prefix: &str, n: usize) -> Result<Value> {
    call("DELETE", &format!("/containers/{prefix}-{n}?force=true"), &Value::Null)
}

/// Gives each number from 1 to `count` to one of the workers; the first error is given back.
fn in_parallel(count: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(1);
    std::thread::scope(|scope| {
        let worker = || loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n > count {
                return Ok(());
            }
            work(n)?;
        };
        let workers: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(worker)).collect();
        let ends = workers.into_iter().map(|w| w.join().unwrap_or_else(|_| bail!("it panicked")));
        ends.collect::<Vec<Result<()>>>().into_iter().collect()
    })
}

/// A container as the list has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    state: String,
}

/// Ids of the containers with this label or name part, all of which must run.
pub(super) fn running(filter: &Value, count: usize) -> Result<Vec<String>> {
    let path = format!("/containers/json?all=1&filters={}", encoded(filter));
    let found = call("GET", &path, &Value::Null)?;
    let found: Vec<Listed> = serde_json::from_value(found).context("reading the container list")?;
    let up = found.iter().filter(|container| container.state == "running").count();
    ensure!(up == count && found.len() == count, "{up} of {} run, not {count}", found.len());
    Ok(found.into_iter().map(|container| container.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn answers_are_taken_apart() {
        let answer = "HTTP/1.0 201 Created\r\nA: b\r\n\r\n{\"Id\":\"7\"}\n";
        assert_eq!(parse(answer).unwrap()["Id"], "7");
        assert!(parse("HTTP/1.0 204 No Content\r\n\r\n").unwrap().is_null());
        let error = parse("HTTP/1.0 409 Conflict\r\n\r\n{\"message\":\"taken\"}").unwrap_err();
        assert!(error.to_string().contains("taken"));
    }

    #[test]
    fn each_number_is_worked_on_once() {
        let seen = Mutex::new(vec![]);
        in_parallel(50, |n| {
            seen.lock().unwrap().push(n);
            Ok(())
        })
        .unwrap();
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (1..=50).collect::<Vec<_>>());
        assert!(in_parallel(3, |n| if n == 2 { bail!("two") } else { Ok(()) }).is_err());
    }

    #[test]
    #[ignore = "needs docker"]
    fn containers_come_and_go() {
        let prefix = format!("remuda-xtask-{}", std::process::id());
        let image = "storefront/tcpfront:v1.0.0";
        let deployed = deploy(&prefix, 3, image, "bridge");
        let running = running(&json!({ "name": [prefix] }), 3);
        remove(&prefix, 3).unwrap();
        deployed.unwrap();
        assert_eq!(running.unwrap().len(), 3);
        remove(&prefix, 3).unwrap();
    }
}
