//! Two agents with one identity, and one that comes again.

use crate::world::{Agent, World, assert_lives, assert_says, refused, until_over};
use api::link::{LinkError, Session, Up};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_copy_of_a_machine_is_refused_on_both_sides_and_the_first_one_goes_on() {
    let world = World::new().await;
    let agent = world.joined("h1").await;
    let mut session = agent.there().await;
    world.wait_row("h1", |row| row.status == "active").await;
    let copy = world.agent("h1", &agent.identity, "copy");
    for _ in 0..2 {
        let (why, void) = refused(tries(&copy, &mut session).await.map(|_| ()));
        assert_says(&why, &["host h1 from 127.0.0.1", "reset --keep-containers"]);
        assert!(!void);
    }
    let row = world.wait_row("h1", |row| row.reason.contains("is refused")).await;
    assert_says(&row.reason, &["an agent at 127.0.0.1", "reset --keep-containers"]);
    assert_eq!(row.status, "active");
    assert_lives(&mut session, 999).await;
}

/// The first agent goes on with its heartbeats while the copy tries.
async fn tries(copy: &Agent, session: &mut Session) -> Result<Session, LinkError> {
    let mut connecting = std::pin::pin!(copy.connect());
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    let mut number = 0;
    loop {
        tokio::select! {
            connected = &mut connecting => return connected,
            _ = beat.tick() => {
                number += 1;
                session.up.send(Up::Beat { number }).await.unwrap();
            }
            heard = session.down.recv() => assert!(heard.is_some(), "the session is over"),
        }
    }
}

#[tokio::test]
async fn the_same_run_that_comes_again_has_its_session_at_once() {
    let world = World::new().await;
    let agent = world.joined("h1").await;
    let mut old = agent.there().await;
    world.wait_row("h1", |row| row.status == "active").await;
    let begin = Instant::now();
    let mut new = agent.connect().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    until_over(&mut old).await;
    assert_lives(&mut new, 1).await;
}

#[tokio::test]
async fn another_run_takes_over_from_one_that_is_silent_in_a_few_seconds() {
    let world = World::new().await;
    let agent = world.joined("h1").await;
    // Its connection stays, and nothing is heard over it any more.
    let _silent = agent.there().await;
    world.wait_row("h1", |row| row.status == "active").await;
    let begin = Instant::now();
    let again = world.agent("h1", &agent.identity, "began anew");
    let mut session = again.connect().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    assert_lives(&mut session, 1).await;
}
