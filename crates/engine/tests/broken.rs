//! Docker, when it is not itself: absent, too old, hung, talking nonsense. No real Docker is
//! needed here; what goes wrong half-way with a real one is in `trouble`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "shared/proxy.rs"]
#[allow(dead_code, reason = "shared with `trouble`, which uses the rest")]
mod proxy;

use engine::error::Error;
use engine::wish::{Attach, CreateRequest, ExecRequest, LogOptions};
use engine::{Docker, DockerOptions, Engine, label};
use model::container_spec::{ContainerSpec, PullPolicy};
use proxy::{Proxy, Trouble};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn docker_at(socket: &Path, files: &Path) -> Docker {
    let mut options = DockerOptions::at(socket, files);
    options.config_dir = None;
    options.deadlines.call_ms = 300;
    options.deadlines.container_ms = 300;
    options.deadlines.stop_slack_ms = 300;
    options.deadlines.pull_silence_ms = 300;
    Docker::new(options)
}

const VERSION: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
                       Content-Length: 45\r\n\r\n{\"Version\":\"20.10.24\",   \"ApiVersion\":\"1.41\"}";

fn request() -> CreateRequest {
    CreateRequest {
        name: "web".to_owned(),
        spec: Arc::new(ContainerSpec {
            image: "a:1".to_owned(),
            environment: BTreeMap::from([("PASSWORD".to_owned(), "hunter2".to_owned())]),
            ..ContainerSpec::default()
        }),
        labels: BTreeMap::from([
            (label::ENVIRONMENT.to_owned(), "e".to_owned()),
            (label::INSTANCE.to_owned(), "s/web#1@1".to_owned()),
        ]),
        attach: Attach::None,
        volumes_from: vec![],
        resolv_conf: None,
        stop_grace_ms: 1_000,
    }
}

/// Every kind of call, each with its result as an error.
async fn all_calls(docker: &Docker) -> Vec<(&'static str, Option<Error>)> {
    let exec = ExecRequest { command: vec!["true".to_owned()], ..ExecRequest::default() };
    vec![
        ("ping", docker.ping().await.err()),
        ("info", docker.info().await.err()),
        ("list", docker.list("e").await.err()),
        ("inspect", docker.inspect("web").await.err()),
        ("remove_network", docker.remove_network("n", "e").await.err()),
        ("list_volumes", docker.list_volumes("e").await.err()),
        ("pull", docker.pull("a:1", PullPolicy::Always, None).await.err()),
        ("image", docker.image("a:1").await.err()),
        ("create", docker.create(&request()).await.err()),
        ("start", docker.start("web").await.err()),
        ("stop", docker.stop("web", 1).await.err()),
        ("kill", docker.kill("web", "SIGTERM").await.err()),
        ("remove", docker.remove("web").await.err()),
        ("events", docker.events(None).await.err()),
        ("logs", docker.logs("web", &LogOptions::default()).await.err()),
        ("exec", docker.exec("web", &exec).await.err()),
        ("stats", docker.stats("web").await.err()),
    ]
}

async fn check(docker: &Docker, kind: impl Fn(&Error) -> bool) {
    for (call, error) in all_calls(docker).await {
        let Some(error) = error else { panic!("{call} succeeded") };
        assert!(kind(&error), "{call}: {error:?}");
        assert!(error.is_transient(), "{call}: {error}");
        let mut shown = format!("{error} {error:?}");
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
        while let Some(at) = cause {
            shown.push_str(&at.to_string());
            cause = at.source();
        }
        assert!(!shown.contains("hunter2"), "{call} shows a value: {shown}");
    }
}

#[tokio::test]
async fn without_a_socket_every_call_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("no.sock");
    let docker = docker_at(&socket, folder.path());
    check(&docker, |error| matches!(error, Error::Unreachable { .. })).await;
    let error = docker.info().await.unwrap_err().to_string();
    assert!(error.contains(socket.to_str().unwrap()) && error.contains("start docker"), "{error}");
    // A socket that nobody listens at is the same.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    check(&docker, |error| matches!(error, Error::Unreachable { .. })).await;
}

#[tokio::test]
async fn a_hung_docker_is_a_timeout_for_every_call() {
    let folder = tempfile::tempdir().unwrap();
    // It takes connections and never reads, as a stopped process does.
    let socket = folder.path().join("d.sock");
    let _hung = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let docker = docker_at(&socket, folder.path());
    check(&docker, |error| matches!(error, Error::Timeout { .. })).await;
}

#[tokio::test]
async fn a_docker_that_hangs_after_its_version_is_a_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(Path::new("/nowhere"));
    proxy.always("/version", Trouble::Say(VERSION));
    proxy.always("", Trouble::Hang);
    let docker = docker_at(&proxy.socket, folder.path());
    check(&docker, |error| matches!(error, Error::Timeout { .. })).await;
}

#[tokio::test]
async fn an_old_docker_is_refused_with_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(Path::new("/nowhere"));
    proxy.always(
        "/version",
        Trouble::Say(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 21\r\n\r\n{\"ApiVersion\":\"1.40\"}",
        ),
    );
    let docker = docker_at(&proxy.socket, folder.path());
    let error = docker.list("e").await.unwrap_err();
    assert!(
        matches!(&error, Error::TooOld { found, needed: "1.41" } if found == "1.40"),
        "{error}"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn nonsense_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    for nonsense in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope"]
    {
        let proxy = Proxy::before(Path::new("/nowhere"));
        proxy.always("/version", Trouble::Say(VERSION));
        proxy.always("", Trouble::Say(nonsense));
        let docker = docker_at(&proxy.socket, folder.path());
        for (call, error) in [
            ("info", docker.info().await.err()),
            ("list", docker.list("e").await.err()),
            ("create", docker.create(&request()).await.err()),
        ] {
            let Some(error) = error else { panic!("{call} succeeded on {nonsense:?}") };
            assert!(matches!(error, Error::Answer { .. }), "{call} on {nonsense:?}: {error:?}");
            assert!(error.is_transient());
        }
    }
}

#[tokio::test]
async fn status_500_and_a_cut_connection_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(Path::new("/nowhere"));
    proxy.always("/version", Trouble::Say(VERSION));
    proxy.once("/containers/json", Trouble::Error500("layer store is on fire"));
    proxy.once("/containers/json", Trouble::Cut);
    let docker = docker_at(&proxy.socket, folder.path());
    let error = docker.list("e").await.unwrap_err();
    assert!(matches!(&error, Error::Docker { status: 500, .. }), "{error:?}");
    assert!(error.to_string().contains("layer store is on fire") && error.is_transient());
    let error = docker.list("e").await.unwrap_err();
    assert!(matches!(&error, Error::Lost { .. }) && error.is_transient(), "{error:?}");
    assert!(proxy.is_used_up());
    let versioned = proxy.seen().into_iter().filter(|line| line.contains("/containers/json"));
    assert!(versioned.into_iter().all(|line| line.starts_with("GET /v1.41/")), "not pinned");
}

#[tokio::test]
async fn a_slow_docker_is_waited_for_until_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(Path::new("/nowhere"));
    proxy.always("/version", Trouble::Say(VERSION));
    let empty = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]";
    let docker = docker_at(&proxy.socket, folder.path());
    proxy.once("/containers/json", Trouble::SaySlowly(empty, Duration::from_millis(100)));
    assert!(docker.list("e").await.unwrap().is_empty());
    proxy.once("/containers/json", Trouble::SaySlowly(empty, Duration::from_secs(60)));
    assert!(matches!(docker.list("e").await, Err(Error::Timeout { .. })));
}
