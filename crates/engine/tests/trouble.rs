//! A real Docker behind a proxy that breaks things half-way: whatever happened, doing it again ends
//! with exactly one container.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may")]

#[path = "shared/suite.rs"]
#[allow(dead_code, reason = "shared with `docker`, which uses the rest")]
mod suite;
#[path = "shared/real.rs"]
mod real;
#[path = "shared/proxy.rs"]
#[allow(dead_code, reason = "shared with `broken`, which uses the rest")]
mod proxy;
#[path = "shared/registry.rs"]
mod registry;

use base64::Engine as _;
use bollard::query_parameters::ListNetworksOptions;
use engine::error::{Error, ImageWhy};
use engine::seen::{EventAction, SeenContainer};
use engine::wish::Attach;
use engine::{Docker, DockerOptions, Engine};
use futures_util::StreamExt;
use model::container_spec::PullPolicy;
use proxy::{Proxy, Trouble};
use real::OnDocker;
use registry::Registry;
use std::time::Duration;
use suite::{Bench, PATIENCE, request, until};

/// Does a step until it succeeds, as an agent does; an error that is not transient fails the test.
async fn again<T, F: Future<Output = engine::Result<T>>>(step: impl Fn() -> F) -> (T, u32) {
    for failures in 0..10 {
        match step().await {
            Ok(done) => return (done, failures),
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    panic!("ten failures in a row");
}

#[tokio::test]
async fn docker_whatever_breaks_there_is_one_container_in_the_end() {
    let Some(bench) = OnDocker::new().await else { return };
    let troubles = [
        Trouble::Error500("no luck today"),
        Trouble::Hang,
        Trouble::HangAfter,
        Trouble::CutAfter,
        Trouble::Cut,
        Trouble::Slow(Duration::from_millis(50)),
        Trouble::Say("rubbish\r\n\r\n"),
    ];
    for (n, trouble) in troubles.into_iter().enumerate() {
        let proxy = Proxy::before(&bench.socket);
        let docker = bench.second(&proxy.socket);
        let wish = request(&bench, &format!("trouble{n}"), &["sleep", "1000"]);
        let fails = u32::from(!matches!(trouble, Trouble::Slow(_)));
        for on in ["/containers/create", "/start", "DELETE "] {
            proxy.once(on, trouble.clone());
        }
        let (id, failed) = again(|| docker.create(&wish)).await;
        assert!(failed >= fails, "create, {trouble:?}");
        let (_, failed) = again(|| docker.start(&id)).await;
        assert!(failed >= fails, "start, {trouble:?}");
        let seen = bench.docker.list(bench.owner()).await.unwrap();
        assert_eq!(seen.len(), 1, "{trouble:?}: {seen:?}");
        assert!(seen[0].id == id && seen[0].running(), "{trouble:?}: {seen:?}");
        let (_, failed) = again(|| docker.remove(&id)).await;
        assert!(failed >= fails, "remove, {trouble:?}");
        assert!(bench.docker.list(bench.owner()).await.unwrap().is_empty(), "{trouble:?}");
        assert!(proxy.is_used_up(), "{trouble:?} did not strike");
    }
}

#[tokio::test]
async fn docker_whatever_breaks_there_is_one_network_in_the_end() {
    let Some(bench) = OnDocker::new().await else { return };
    let net = suite::network(&bench);
    for trouble in [Trouble::CutAfter, Trouble::HangAfter, Trouble::Error500("no")] {
        let proxy = Proxy::before(&bench.socket);
        let docker = bench.second(&proxy.socket);
        proxy.once("/networks/create", trouble.clone());
        let (_, failed) = again(|| docker.ensure_network(&net)).await;
        assert!(failed >= 1, "{trouble:?}");
        let raw = bench.raw();
        let networks = raw.list_networks(None::<ListNetworksOptions>).await.unwrap();
        let ours = networks.iter().filter(|network| network.name.as_ref() == Some(&net.name));
        assert_eq!(ours.count(), 1, "{trouble:?}");
        proxy.once("DELETE ", trouble);
        again(|| docker.remove_network(&net.name, bench.owner())).await;
    }
}

#[tokio::test]
async fn docker_an_end_while_nobody_watched_is_in_the_next_list() {
    let Some(bench) = OnDocker::new().await else { return };
    let proxy = Proxy::before(&bench.socket);
    let docker = bench.second(&proxy.socket);
    let id = docker.create(&request(&bench, "quiet", &["sleep", "1000"])).await.unwrap();
    docker.start(&id).await.unwrap();
    let mut events = docker.events(None).await.unwrap();
    let before = docker.list(bench.owner()).await.unwrap();
    assert!(before[0].running());
    bench.docker.kill(&id, "SIGKILL").await.unwrap();
    let die = async {
        loop {
            let event = events.next().await.unwrap().unwrap();
            if event.action == (EventAction::Die { exit_code: 137 }) {
                return event;
            }
        }
    };
    let event = tokio::time::timeout(PATIENCE, die).await.unwrap();
    assert_eq!(event.id, id);
    // Docker's own list may still say that it runs.
    let after = docker.list(bench.owner()).await.unwrap();
    assert_eq!((after[0].running(), after[0].exit_code), (false, Some(137)), "{after:?}");
}

#[tokio::test]
async fn docker_a_list_outlives_a_container_that_vanishes_under_it() {
    let Some(bench) = OnDocker::new().await else { return };
    let proxy = Proxy::before(&bench.socket);
    let docker = bench.second(&proxy.socket);
    let id = bench.docker.create(&request(&bench, "gone", &["true"])).await.unwrap();
    let gone = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    proxy.once("/json ", Trouble::Say(gone));
    proxy.once("/json?", Trouble::Slow(Duration::from_millis(1)));
    assert!(docker.list(bench.owner()).await.unwrap().is_empty());
    assert!(docker.inspect(&id).await.unwrap().is_some(), "it was only a bad moment");
}

#[tokio::test]
async fn docker_addresses_are_given_and_seen() {
    let Some(bench) = OnDocker::new().await else { return };
    let net = suite::network(&bench);
    bench.docker.ensure_network(&net).await.unwrap();
    let mut wish = request(&bench, "address", &["sleep", "1000"]);
    wish.attach = Attach::Network { name: net.name.clone(), address: None };
    let id = bench.docker.create(&wish).await.unwrap();
    bench.docker.start(&id).await.unwrap();
    let seen = until(&bench, &id, "running", SeenContainer::running).await;
    let address = seen.addresses.get(&net.name).expect("an address");
    assert!(net.ip_range.contains(address), "docker keeps to its range: {address}");
}

/// A Docker with this login for the registry.
fn with_login(
    bench: &OnDocker,
    registry: &Registry,
    config: &tempfile::TempDir,
    secret: &str,
) -> Docker {
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("ann:{secret}"));
    let text = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.address);
    std::fs::write(config.path().join("config.json"), text).unwrap();
    let mut options = DockerOptions::at(&bench.socket, bench.files.path());
    options.config_dir = Some(config.path().to_owned());
    Docker::new(options)
}

#[tokio::test]
async fn docker_a_private_image_is_pulled_with_the_login_of_docker() {
    let Some(bench) = OnDocker::new().await else { return };
    let registry = Registry::start("ann", "hunter2").await;
    let image = format!("{}/{}/app:1", registry.address, bench.owner());
    let config = tempfile::tempdir().unwrap();
    let docker = with_login(&bench, &registry, &config, "hunter2");
    let (progress, mut steps) = tokio::sync::mpsc::channel(64);
    let info = docker.pull(&image, PullPolicy::Missing, Some(progress)).await.unwrap();
    assert!(info.digests[0].starts_with(&registry.address), "{info:?}");
    let mut said = vec![];
    while let Some(step) = steps.recv().await {
        said.push(step.status);
    }
    assert!(said.iter().any(|status| status == "Pull complete"), "{said:?}");
    let before = registry.requests();
    docker.pull(&image, PullPolicy::Missing, None).await.unwrap();
    assert_eq!(registry.requests(), before, "it is here");
    docker.pull(&image, PullPolicy::Always, None).await.unwrap();
    assert!(registry.requests() > before, "it is asked for again");

    let missing = format!("{}/{}/app:2", registry.address, bench.owner());
    let error = docker.pull(&missing, PullPolicy::Missing, None).await.unwrap_err();
    assert!(matches!(&error, Error::ImageMissing { why: ImageWhy::NotFound(_), .. }), "{error}");

    let stranger = with_login(&bench, &registry, &config, "wrong");
    let error = stranger.pull(&missing, PullPolicy::Missing, None).await.unwrap_err();
    assert!(matches!(&error, Error::ImageMissing { why: ImageWhy::Denied(_), .. }), "{error}");
    assert!(!error.is_transient() && !error.to_string().contains("wrong"), "{error}");
    docker.remove_image(&image).await.unwrap();
}

#[tokio::test]
async fn docker_a_pull_that_stalls_is_given_up() {
    let Some(bench) = OnDocker::new().await else { return };
    // It takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/a/b:1", silent.local_addr().unwrap());
    let mut options = DockerOptions::at(&bench.socket, bench.files.path());
    options.config_dir = None;
    options.deadlines.pull_silence_ms = 300;
    let error = Docker::new(options).pull(&image, PullPolicy::Missing, None).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { after_ms: 300, .. }), "{error}");
}
