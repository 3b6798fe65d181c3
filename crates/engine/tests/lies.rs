//! The fake's lies: each fault does what it says, by the fake's own time, and the same each run.

#![expect(clippy::unwrap_used, reason = "a test may")]

use engine::error::{Error, ImageWhy};
use engine::fake::{Fault, FaultKind, Link, Op, Program};
use engine::seen::EventAction;
use engine::wish::{Attach, CreateRequest, LogOptions};
use engine::{Engine, Fake, label};
use futures_util::{FutureExt, StreamExt, poll};
use model::container_spec::{ContainerSpec, PullPolicy};
use model::health::Health;
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

const BEGIN: Timestamp = Timestamp(1_000_000);

fn fake(program: Program) -> Fake {
    let fake = Fake::new(BEGIN);
    fake.add_image("app:1", Some(program)).unwrap();
    fake
}

fn request(name: &str) -> CreateRequest {
    CreateRequest {
        name: name.to_owned(),
        spec: Arc::new(ContainerSpec { image: "app:1".to_owned(), ..ContainerSpec::default() }),
        labels: BTreeMap::from([
            (label::ENVIRONMENT.to_owned(), "e".to_owned()),
            (label::INSTANCE.to_owned(), format!("s/{name}#1@1")),
        ]),
        attach: Attach::None,
        volumes_from: vec![],
        resolv_conf: None,
        stop_grace_ms: 1_000,
    }
}

#[tokio::test]
async fn a_fault_strikes_before_or_after_the_effect() {
    for (kind, done, is) in [
        (FaultKind::ErrorBefore, false, "Docker"),
        (FaultKind::ErrorAfter, true, "Docker"),
        (FaultKind::LostRequest, false, "Lost"),
        (FaultKind::LostReply, true, "Lost"),
    ] {
        let fake = fake(Program::forever());
        fake.fault(Fault::once(Op::Create, kind));
        let error = fake.create(&request("web")).await.unwrap_err();
        assert!(
            error.is_transient() && format!("{error:?}").starts_with(is),
            "{kind:?}: {error:?}"
        );
        assert_eq!(fake.containers().len(), usize::from(done), "{kind:?}");
        fake.create(&request("web")).await.unwrap();
        assert_eq!(fake.containers().len(), 1, "{kind:?}: struck once, and no second container");
    }
}

#[tokio::test]
async fn a_hung_call_times_out_by_the_fakes_clock() {
    for (kind, done) in [(FaultKind::Hang, false), (FaultKind::HangAfter, true)] {
        let fake = fake(Program::forever());
        fake.set_deadline(500);
        fake.fault(Fault::once(Op::Create, kind));
        let wish = request("web");
        let mut call = pin!(fake.create(&wish));
        assert!(poll!(&mut call).is_pending());
        assert_eq!(fake.next_due(), Some(BEGIN.plus_ms(500)));
        assert_eq!(fake.containers().len(), usize::from(done), "{kind:?}");
        fake.advance(499);
        assert!(poll!(&mut call).is_pending());
        fake.advance(1);
        let error = call.await.unwrap_err();
        assert!(matches!(error, Error::Timeout { after_ms: 500, .. }), "{error}");
        assert_eq!(fake.next_due(), None, "nobody waits any more");
    }
}

#[tokio::test]
async fn a_slow_call_is_done_later() {
    let fake = fake(Program::forever());
    fake.fault(Fault::once(Op::Create, FaultKind::Slow { ms: 100 }));
    let wish = request("web");
    let mut call = pin!(fake.create(&wish));
    assert!(poll!(&mut call).is_pending() && fake.containers().is_empty());
    fake.advance(100);
    call.await.unwrap();
    assert_eq!(fake.containers().len(), 1);
}

#[tokio::test]
async fn a_fault_waits_for_its_call() {
    let fake = fake(Program::forever());
    fake.fault(Fault {
        op: Some(Op::Start),
        subject: Some("b".to_owned()),
        skip: 1,
        times: 2,
        kind: FaultKind::ErrorBefore,
    });
    let a = fake.create(&request("a")).await.unwrap();
    let b = fake.create(&request("b")).await.unwrap();
    let mut failed = vec![];
    for id in [&a, &b, &b, &a, &b, &b] {
        failed.push(fake.start(id).await.is_err());
    }
    assert_eq!(failed, [false, false, true, false, true, false]);
    fake.fault(Fault::once(Op::List, FaultKind::ErrorBefore));
    assert_eq!(fake.heal(), 1);
    fake.list("e").await.unwrap();
}

#[tokio::test]
async fn while_it_is_down_containers_go_on_and_streams_end() {
    let fake = fake(Program::exits(1_000, 3));
    let id = fake.create(&request("web")).await.unwrap();
    fake.start(&id).await.unwrap();
    let mut events = fake.events(None).await.unwrap();
    fake.set_link(Link::Down);
    assert!(matches!(fake.list("e").await, Err(Error::Unreachable { .. })));
    assert!(events.next().await.is_none(), "the stream ends");
    fake.advance(1_000);
    fake.set_link(Link::Up);
    let seen = fake.list("e").await.unwrap();
    assert_eq!((seen[0].exit_code, seen[0].finished_at), (Some(3), Some(BEGIN.plus_ms(1_000))));
    let mut missed = fake.events(Some(BEGIN.plus_ms(1))).await.unwrap();
    let event = missed.next().await.unwrap().unwrap();
    assert_eq!(event.action, EventAction::Die { exit_code: 3 });
    assert!(missed.next().now_or_never().is_none(), "no more");
}

#[tokio::test]
async fn a_hung_engine_goes_on_or_times_out() {
    let fake = fake(Program::forever());
    fake.set_deadline(500);
    fake.set_link(Link::Hung);
    let mut call = pin!(fake.list("e"));
    assert!(poll!(&mut call).is_pending());
    fake.set_link(Link::Up);
    assert!(call.await.unwrap().is_empty());
    fake.set_link(Link::Hung);
    let mut call = pin!(fake.list("e"));
    assert!(poll!(&mut call).is_pending());
    fake.advance(500);
    assert!(matches!(call.await, Err(Error::Timeout { .. })));
    let mut call = pin!(fake.info());
    assert!(poll!(&mut call).is_pending());
    fake.set_link(Link::Down);
    assert!(matches!(call.await, Err(Error::Lost { .. })));
}

#[tokio::test]
async fn health_and_ends_come_in_their_order() {
    let sick = Program {
        health: vec![(100, Health::Healthy), (300, Health::Unhealthy)],
        output: vec![(true, "oh no".to_owned())],
        oom: true,
        ..Program::exits(500, 137)
    };
    let fake = fake(sick);
    let id = fake.create(&request("web")).await.unwrap();
    fake.start(&id).await.unwrap();
    assert_eq!(fake.containers()[0].docker_health, Health::Initializing);
    assert!(fake.image("app:1").await.unwrap().unwrap().has_healthcheck);
    let mut dues = vec![];
    while let Some(due) = fake.next_due() {
        dues.push(due.since_ms(BEGIN));
        fake.advance_to(due);
    }
    assert_eq!(dues, [100, 300, 500]);
    let events = fake.events(Some(BEGIN)).await.unwrap();
    let actions: Vec<_> = events.take(6).map(|event| event.unwrap().action).collect().await;
    assert_eq!(
        actions,
        [
            EventAction::Create,
            EventAction::Start,
            EventAction::HealthStatus(Health::Healthy),
            EventAction::HealthStatus(Health::Unhealthy),
            EventAction::Oom,
            EventAction::Die { exit_code: 137 },
        ]
    );
    let log = fake.logs(&id, &LogOptions::default()).await.unwrap();
    let lines: Vec<_> = log.map(Result::unwrap).collect().await;
    assert!(lines.len() == 1 && lines[0].stderr && lines[0].bytes == "oh no");
}

#[tokio::test]
async fn a_container_that_cannot_start_says_why() {
    let fake =
        fake(Program { start_fails: Some("exec: not found".to_owned()), ..Program::forever() });
    let id = fake.create(&request("web")).await.unwrap();
    let error = fake.start(&id).await.unwrap_err();
    assert!(error.to_string().contains("exec: not found") && !error.is_transient());
    let seen = fake.inspect(&id).await.unwrap().unwrap();
    assert_eq!(
        (seen.running(), seen.exit_code, seen.error.as_str()),
        (false, Some(127), "exec: not found")
    );
}

#[tokio::test]
async fn a_pull_takes_its_time_or_fails_for_its_reason() {
    let fake = Fake::new(BEGIN);
    fake.add_remote("far:1", None, 200).unwrap();
    fake.refuse_remote("secret:1", ImageWhy::Denied("no".to_owned())).unwrap();
    let mut pull = pin!(fake.pull("far:1", PullPolicy::Missing, None));
    assert!(poll!(&mut pull).is_pending());
    fake.advance(200);
    let info = pull.await.unwrap();
    assert_eq!(fake.image("far").await.unwrap(), None, "another tag");
    assert_eq!(fake.image("far:1").await.unwrap(), Some(info));
    for (image, why) in [
        ("secret:1", ImageWhy::Denied("no".to_owned())),
        ("never-heard-of:1", ImageWhy::NotFound("manifest unknown".to_owned())),
    ] {
        let error = fake.pull(image, PullPolicy::Missing, None).await.unwrap_err();
        let Error::ImageMissing { why: found, .. } = error else { panic!("{error}") };
        assert_eq!(found, why);
    }
}

#[tokio::test]
async fn a_reboot_ends_every_process() {
    let fake = fake(Program::forever());
    let id = fake.create(&request("web")).await.unwrap();
    fake.start(&id).await.unwrap();
    fake.reboot();
    let seen = fake.inspect(&id).await.unwrap().unwrap();
    assert_eq!((seen.running(), seen.exit_code), (false, Some(255)));
}

#[tokio::test]
async fn every_run_is_the_same() {
    async fn run() -> (Vec<(Op, String)>, String) {
        let fake = fake(Program::exits(10, 1));
        for name in ["a", "b", "c"] {
            let id = fake.create(&request(name)).await.unwrap();
            fake.start(&id).await.unwrap();
            fake.advance(4);
        }
        fake.exit("b", 9);
        fake.remove_behind("c");
        (fake.calls(), format!("{:?}", fake.containers()))
    }
    let (one, two) = (run().await, run().await);
    assert_eq!(one.0.len(), 6);
    assert_eq!(one, two);
}
