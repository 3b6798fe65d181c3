//! A whole dataplane over real sockets on loopback: in this process, and in one of its own where it
//! is killed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says where it failed")]

#[path = "whole/metadata.rs"]
mod metadata;
#[path = "whole/world.rs"]
mod world;

use dataplane::{Client, Error, LocalInstance, Options, Report};
use model::health::{Health, HealthCheck};
use model::time::{Index, Timestamp};
use model::view::{Admit, NameTarget};
use std::sync::Arc;
use std::time::Duration;
use world::{Backend, DEADLINE, Place, World, ask, get, running, until};

#[tokio::test]
async fn what_the_agent_publishes_is_named_probed_balanced_and_reported() {
    let place = Place::new();
    let task = place.start();
    let mut client = place.client().await;
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut world = World::new(7);
    world.add(1, &one, Some(HealthCheck { interval_ms: 20, ..HealthCheck::tcp(one.port()) }));
    world.add(2, &two, None);
    world.instance(2).ready_ports = vec![two.port()];
    let port = world.listen();
    client.publish(Arc::new(world.view.clone()));
    client.local(Arc::new([(world::id(1), running(5)), (world::id(2), running(6))].into()));
    let report = until(&mut client, |report| {
        report.view == Index(7)
            && report.probes.len() == 2
            && report.probes.values().all(|verdict| verdict.health == Health::Healthy)
            && report.listeners.values().all(|listener| listener.ok)
            && report.listeners.len() == 1
    });
    let report = report.await;
    assert_eq!(report.probes[&world::id(1)].run_started_at, Timestamp(5));
    assert_eq!(ask(place.dns(), "api.shop.").await, [one.ip(), two.ip()]);
    for _ in 0..8 {
        let body = get(port).await;
        assert!(body == "one" || body == "two", "{body:?}");
    }

    // Its container is gone: no name, no request leads there, without any word of the server.
    client.local(Arc::new(
        [(world::id(1), running(5)), (world::id(2), LocalInstance::default())].into(),
    ));
    until(&mut client, |report| report.probes.len() == 1).await;
    assert_eq!(ask(place.dns(), "api.shop.").await, [one.ip()]);

    // It is back with its next start, and probed anew.
    client.local(Arc::new([(world::id(1), running(5)), (world::id(2), running(9))].into()));
    let back = |report: &Report| {
        report.probes.get(&world::id(2)).is_some_and(|verdict| {
            verdict.health == Health::Healthy && verdict.run_started_at == Timestamp(9)
        })
    };
    until(&mut client, back).await;
    assert_eq!(ask(place.dns(), "api.shop.").await, [one.ip(), two.ip()]);

    // The check fails: the reason is told, and the name of the container stays.
    Arc::make_mut(&mut world.view.dns)
        .names
        .insert("shop-api-1".into(), NameTarget::Instance(world::id(1)));
    world.view.index = Index(8);
    client.publish(Arc::new(world.view.clone()));
    let (ip, port_of_one) = (one.ip(), one.port());
    one.stop().await;
    let report = until(&mut client, |report| {
        report.probes[&world::id(1)].health == Health::Unhealthy && report.view == Index(8)
    });
    let detail = &report.await.probes[&world::id(1)].detail;
    assert_eq!(*detail, format!("tcp {ip}:{port_of_one}: connection refused"));
    assert_eq!(ask(place.dns(), "api.shop.").await, [two.ip()]);
    assert_eq!(ask(place.dns(), "shop-api-1.").await, [ip]);
    place.end(task).await;
}

#[tokio::test]
async fn an_instance_that_drains_takes_nothing_new_and_its_last_request_is_reported() {
    let place = Place::new();
    let task = place.start();
    let mut client = place.client().await;
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut world = World::new(1);
    world.add(1, &one, None);
    let port = world.listen();
    client.publish(Arc::new(world.view.clone()));
    client.local(Arc::new([(world::id(1), running(1)), (world::id(2), running(1))].into()));
    until(&mut client, |report| report.view == Index(1) && report.listeners.len() == 1).await;
    let held = one.hold();
    let slow = tokio::spawn(async move { get(port).await });
    held.taken().await;
    world.add(2, &two, None);
    world.instance(1).admit = Admit::Draining;
    world.view.index = Index(2);
    client.publish(Arc::new(world.view.clone()));
    let report = until(&mut client, |report| report.view == Index(2)).await;
    assert_eq!(report.active.get(&world::id(1)), Some(&1));
    assert_eq!(get(port).await, "two");
    held.release();
    assert_eq!(slow.await.unwrap(), "one");
    until(&mut client, |report| report.active.is_empty()).await;
    place.end(task).await;
}

#[tokio::test]
async fn requests_are_told_of_those_instances_whose_scale_follows_them() {
    let place = Place::new();
    let task = place.start();
    let mut client = place.client().await;
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let mut world = World::new(1);
    world.add(1, &one, None);
    world.add(2, &two, None);
    let port = world.listen();
    client.publish(Arc::new(world.view.clone()));
    client.local(Arc::new([(world::id(1), running(1)), (world::id(2), running(1))].into()));
    until(&mut client, |report| report.view == Index(1) && report.listeners.len() == 1).await;
    let mut of_one = 0;
    for _ in 0..4 {
        of_one += u64::from(get(port).await == "one");
    }
    world.instance(1).counted = true;
    world.view.index = Index(2);
    client.publish(Arc::new(world.view.clone()));
    let told = until(&mut client, |report| report.requests.is_some()).await.requests.unwrap();
    assert_eq!(told.of, [(world::id(1), of_one)].into(), "the other one is nobody's concern");
    for _ in 0..4 {
        of_one += u64::from(get(port).await == "one");
    }
    let more =
        |report: &Report| report.requests.as_ref().is_some_and(|r| r.of[&world::id(1)] == of_one);
    let later = until(&mut client, more).await.requests.unwrap();
    assert!(later.at_ms > told.at_ms, "{later:?} after {told:?}");
    world.instance(1).counted = false;
    world.view.index = Index(3);
    client.publish(Arc::new(world.view.clone()));
    until(&mut client, |report| report.requests.is_none()).await;
    place.end(task).await;
}

#[tokio::test]
async fn a_killed_dataplane_serves_again_without_anybody() {
    let place = Place::new();
    let mut child = place.spawn();
    let backend = Backend::start("one").await;
    let mut world = World::new(3);
    world.add(
        1,
        &backend,
        Some(HealthCheck { interval_ms: 50, ..HealthCheck::tcp(backend.port()) }),
    );
    let port = world.listen();
    let mut client = place.client().await;
    client.publish(Arc::new(world.view.clone()));
    client.local(Arc::new([(world::id(1), running(5))].into()));
    until(&mut client, |report| {
        report.view == Index(3)
            && report.probes.get(&world::id(1)).is_some_and(|v| v.health == Health::Healthy)
    })
    .await;
    assert_eq!(get(port).await, "one");
    place.remembers("healthy").await;
    drop(client);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = place.spawn();
    // Nobody connects to its socket: what it serves, it remembered.
    assert_eq!(ask(place.dns(), "api.shop.").await, [backend.ip()]);
    assert_eq!(get(port).await, "one");
    dataplane::stop(place.dir(), DEADLINE).await.unwrap();
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn a_hangup_ends_nothing_and_sigterm_ends_it_in_order() {
    let place = Place::new();
    let mut child = place.spawn();
    let mut client = place.client().await;
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    client.publish(Arc::new(World::new(4).view));
    until(&mut client, |report| report.view == Index(4)).await;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    while client.next().await.is_some() {}
    assert!(child.wait().unwrap().success());
    assert!(!place.dir().join("dataplane.sock").exists());
    let left = std::fs::read_to_string(place.dir().join("view.json")).unwrap();
    assert!(left.contains("\"index\":4"), "{left}");
}

#[tokio::test]
async fn a_second_one_of_the_same_folder_is_refused_by_name() {
    let place = Place::new();
    let task = place.start();
    drop(place.client().await);
    let error = dataplane::run(place.options(), std::future::pending()).await.unwrap_err();
    let expect = format!(
        "another dataplane (pid {}) serves {} already: stop it first, or name another folder",
        std::process::id(),
        place.dir().display()
    );
    assert_eq!(error.to_string(), expect);
    place.end(task).await;
}

#[tokio::test]
async fn stop_is_fine_when_none_runs_and_one_that_does_is_gone_after_it() {
    let place = Place::new();
    dataplane::stop(place.dir(), DEADLINE).await.unwrap();
    let mut child = place.spawn();
    // Even when it has not begun to listen yet.
    place.locked().await;
    dataplane::stop(place.dir(), DEADLINE).await.unwrap();
    assert!(child.try_wait().unwrap().is_some_and(|status| status.success()));
    let error = Client::connect(place.dir()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}

#[tokio::test]
async fn a_view_file_is_served_without_an_agent_and_shown_to_operators() {
    let place = Place::new();
    let backend = Backend::start("one").await;
    let mut world = World::new(12);
    world.add(1, &backend, None);
    let port = world.listen();
    let file = place.dir().join("mine.json");
    std::fs::write(&file, serde_json::to_vec(&world.view).unwrap()).unwrap();
    let admin = place.free_port();
    let options = Options { view: Some(file), admin: Some(admin), ..place.options() };
    let task = place.start_with(options);
    assert_eq!(ask(place.dns(), "api.shop.").await, [backend.ip()]);
    assert_eq!(get(port).await, "one");
    until(&mut place.client().await, |report| report.view == Index(12)).await;
    assert_eq!(world::fetch(admin, "/health").await, (200, "ok\n".into()));
    let (status, metrics) = world::fetch(admin, "/metrics").await;
    assert!(status == 200 && metrics.contains("\nremuda_dataplane_view_index 12\n"), "{metrics}");
    assert!(metrics.contains("\nremuda_dataplane_proxy_connections_total 1\n"), "{metrics}");
    let (_, dump) = world::fetch(admin, "/dump").await;
    let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
    assert_eq!(dump["view"], serde_json::to_value(&world.view).unwrap());
    assert_eq!(dump["effective"]["names"]["api.shop"][0], backend.ip().to_string());
    assert_eq!(world::fetch(admin, "/no").await.0, 404);
    place.end(task).await;
}

#[tokio::test]
async fn a_view_file_that_is_none_is_an_error_with_its_place() {
    let place = Place::new();
    let file = place.dir().join("mine.json");
    std::fs::write(&file, "{").unwrap();
    let options = Options { view: Some(file.clone()), ..place.options() };
    let error = dataplane::run(options, std::future::pending()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read the view {}", file.display()));
}

#[tokio::test]
async fn two_agents_at_a_time_and_one_that_talks_nonsense_disturb_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let place = Place::new();
    let task = place.start();
    let mut client = place.client().await;
    let mut other = place.client().await;
    let mut bad =
        tokio::net::UnixStream::connect(place.dir().join("dataplane.sock")).await.unwrap();
    bad.write_all(&[0xff; 64]).await.unwrap();
    let mut said = vec![];
    let read = tokio::time::timeout(DEADLINE, bad.read_to_end(&mut said)).await.unwrap();
    assert!(read.is_err() || said.len() > 4, "it greeted and hung up");
    client.publish(Arc::new(World::new(5).view));
    until(&mut other, |report| report.view == Index(5)).await;
    let mut newer = World::new(6).view;
    newer.format += 1;
    other.publish(Arc::new(newer));
    other.local(Arc::new([(world::id(1), running(1))].into()));
    other.publish(Arc::new(World::new(8).view));
    until(&mut client, |report| report.view == Index(8)).await;
    place.end(task).await;
}

/// Without orders, a test like the others; with them, the process that `Place::spawn` makes.
#[tokio::test]
async fn a_process_of_its_own_serves_until_it_is_told() {
    if let Some(options) = world::child_options() {
        let mut term =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        let stop = async move {
            term.recv().await;
        };
        let run = tokio::time::timeout(Duration::from_secs(120), dataplane::run(options, stop));
        return run.await.expect("its parent ends it").unwrap();
    }
    let place = Place::new();
    let mut child = place.spawn();
    drop(place.client().await);
    assert!(child.try_wait().unwrap().is_none(), "it serves without agents");
    dataplane::stop(place.dir(), DEADLINE).await.unwrap();
    assert!(child.wait().unwrap().success());
}
