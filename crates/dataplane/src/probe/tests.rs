//! Probes on real sockets.

use super::target::What;
use super::*;
use model::health::{Health, HealthCheck, Probe};
use model::time::Timestamp;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

const WAIT: Duration = Duration::from_secs(20);

fn id(n: u32) -> InstanceId {
    format!("shop/api#{n}@{n}").parse().unwrap()
}

fn target(what: What, run: i64) -> Arc<Target> {
    Arc::new(Target { address: Ipv4Addr::LOCALHOST, what, run: Timestamp(run) })
}

fn check(port: u16, probe: Probe) -> What {
    What::Check(HealthCheck { probe, interval_ms: 10, timeout_ms: 500, ..HealthCheck::tcp(port) })
}

fn http(path: &str) -> Probe {
    Probe::Http { method: "GET".into(), path: path.into(), version: "HTTP/1.1".into() }
}

/// Answers by path: `/ok`, `/moved`, `/broken`, `/silent`, else hangs up.
async fn server() -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut silent = vec![];
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0u8; 1_024];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let expect = format!("HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
            assert!(length == 0 || request.contains(&expect), "{request:?}");
            let answer = match request.split(' ').nth(1) {
                Some("/ok") => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                Some("/moved") => "HTTP/1.1 301 Moved\r\n\r\n",
                Some("/broken") => "HTTP/1.1 500 Oh\r\n\r\n",
                Some("/silent") => {
                    silent.push(stream);
                    continue;
                }
                _ => continue,
            };
            // The prober hangs up when it has seen enough.
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    (port, tasks)
}

/// The next verdict that fits.
async fn until(
    verdicts: &mut mpsc::Receiver<Verdict>,
    fits: impl Fn(&InstanceId, &ProbeVerdict) -> bool,
) -> ProbeVerdict {
    let wait = async {
        loop {
            let (id, verdict) = verdicts.recv().await.expect("the prober runs");
            if fits(&id, &verdict) {
                return verdict;
            }
        }
    };
    timeout(WAIT, wait).await.expect("a verdict within the deadline")
}

#[tokio::test]
async fn http_answers_are_judged_and_failures_told_in_words() {
    let (port, _server) = server().await;
    let (prober, mut verdicts) = Prober::start(Probes::new()).unwrap();
    let cases = [
        ("/ok", Health::Healthy, String::new()),
        ("/moved", Health::Healthy, String::new()),
        ("/broken", Health::Initializing, format!("http GET 127.0.0.1:{port}/broken: status 500")),
        (
            "/bye",
            Health::Initializing,
            format!("http GET 127.0.0.1:{port}/bye: closed without an answer"),
        ),
        (
            "/silent",
            Health::Initializing,
            format!("http GET 127.0.0.1:{port}/silent: no answer within 500 ms"),
        ),
        (
            "/a\r\nx: y",
            Health::Initializing,
            format!("http GET 127.0.0.1:{port}/a\r\nx: y: the request line has control characters"),
        ),
    ];
    for (run, (path, health, detail)) in (1..).zip(cases) {
        prober.set([(id(1), target(check(port, http(path)), run))].into());
        let verdict = until(&mut verdicts, |_, v| v.run_started_at == Timestamp(run)).await;
        assert_eq!((verdict.health, verdict.detail), (health, detail), "{path:?}");
    }
}

#[tokio::test]
async fn a_new_start_begins_anew_and_a_port_is_asked_until_it_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (prober, mut verdicts) = Prober::start(Probes::new()).unwrap();
    let ready = What::Ready(vec![addr.port()]);
    prober.set([(id(1), target(ready.clone(), 1))].into());
    until(&mut verdicts, |_, v| v.health == Health::Healthy).await;
    drop(listener);
    prober.set([(id(1), target(ready, 2))].into());
    let verdict = until(&mut verdicts, |_, v| v.run_started_at == Timestamp(2)).await;
    let refused = format!("tcp {addr}: connection refused");
    assert_eq!((verdict.health, verdict.detail), (Health::Initializing, refused));
    let _listener = TcpListener::bind(addr).await.unwrap();
    let verdict = until(&mut verdicts, |_, _| true).await;
    assert_eq!((verdict.health, verdict.run_started_at), (Health::Healthy, Timestamp(2)));
}

#[tokio::test]
async fn a_check_that_fails_is_unhealthy_after_its_threshold_and_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (prober, mut verdicts) = Prober::start(Probes::new()).unwrap();
    prober.set([(id(1), target(check(addr.port(), Probe::Tcp), 1))].into());
    until(&mut verdicts, |_, v| v.health == Health::Healthy).await;
    drop(listener);
    let verdict = until(&mut verdicts, |_, v| v.health == Health::Unhealthy).await;
    assert_eq!(verdict.detail, format!("tcp {addr}: connection refused"));
    let _listener = TcpListener::bind(addr).await.unwrap();
    let verdict = until(&mut verdicts, |_, v| v.health == Health::Healthy).await;
    assert_eq!(verdict.detail, "");
}

#[tokio::test]
async fn what_is_no_target_any_more_is_not_probed() {
    let (port, _server) = server().await;
    let known = ProbeVerdict {
        health: Health::Unhealthy,
        detail: "before".into(),
        run_started_at: Timestamp(1),
    };
    let (prober, mut verdicts) = Prober::start([(id(2), known)].into()).unwrap();
    let one = target(check(port, http("/ok")), 1);
    prober.set([(id(1), one), (id(2), target(check(port, http("/ok")), 1))].into());
    // The second goes on from what was known of the same start: two successes are needed.
    until(&mut verdicts, |of, v| *of == id(2) && v.health == Health::Healthy).await;
    prober.set(Targets::new());
    drop(prober);
    // Its thread has ended, and with it its end of the channel.
    while timeout(WAIT, verdicts.recv()).await.unwrap().is_some() {}
}

#[tokio::test]
async fn a_probe_hangs_up_by_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (prober, mut verdicts) = Prober::start(Probes::new()).unwrap();
    prober.set([(id(1), target(What::Ready(vec![port]), 1))].into());
    until(&mut verdicts, |_, v| v.health == Health::Healthy).await;
    let (mut stream, _) = timeout(WAIT, listener.accept()).await.unwrap().unwrap();
    let error = timeout(WAIT, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
