//! Certificates: their life, their renewal, their end, and hosts that are removed or come back.

use crate::world::{DAY, World, assert_lives, assert_says, host, refused, until_over};
use api::certificate::read_pem;
use api::wire::JoinTokenRequest;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_certificate_is_of_the_host_for_ninety_days_and_is_renewed_over_a_session_that_goes_on() {
    let world = World::new().await;
    let agent = world.joined("h1").await;
    let first = read_pem(&agent.identity.chain_pem).unwrap();
    let now = world.time.clock().now();
    assert_eq!(first.host, host("h1"));
    assert!(first.until.since_ms(now).abs_diff(90 * 24 * 3_600_000) < 60_000, "{first:?}");
    assert_eq!(world.row("h1").await.status, "joined", "it was never connected");
    let mut session = agent.there().await;
    world.wait_row("h1", |row| row.status == "active").await;

    world.time.set_ahead(60 * DAY);
    world.there.set_ahead(60 * DAY);
    let renewed = agent.link.renew().await.unwrap();
    let second = read_pem(&renewed.chain_pem).unwrap();
    assert_ne!(renewed.key_pem, agent.identity.key_pem, "the key is a new one");
    assert_eq!((&second.host, &second.enrolment), (&first.host, &first.enrolment));
    assert!(second.until > first.until);
    agent.link.replace(&renewed).unwrap();
    assert_lives(&mut session, 1).await;
    let shown = world.row("h1").await.certificate_until;
    assert_eq!(shown, Some(second.until), "and `host ls` shows it");

    // The old one has ended, the new one has not; what lives is not cut.
    world.time.set_ahead(100 * DAY);
    world.there.set_ahead(100 * DAY);
    assert_lives(&mut session, 2).await;
    drop(session);
    assert!(agent.connect().await.is_ok(), "the next connection is made with the new one");
    let (why, void) = refused(world.agent("h1", &agent.identity, "old").connect().await);
    assert_says(&why, &["has expired"]);
    assert!(void);
}

#[tokio::test]
async fn an_expired_agent_hears_it_the_server_shows_it_and_a_token_takes_it_back_as_the_same_host()
{
    let world = World::new().await;
    let agent = world.joined("h1").await;
    let session = agent.there().await;
    world.wait_row("h1", |row| row.status == "active").await;
    drop(session);
    world.time.set_ahead(91 * DAY);
    world.there.set_ahead(91 * DAY);
    let (why, void) = refused(agent.connect().await);
    let until = read_pem(&agent.identity.chain_pem).unwrap().until.utc();
    assert_says(&why, &["host h1 has expired", &until, "server's clock says", "agent --join"]);
    assert!(void, "only a token helps");
    let row = world.wait_row("h1", |row| row.reason.contains("expired")).await;
    assert_says(&row.reason, &["an agent at 127.0.0.1 is refused", &until]);

    let token = world.any_token().await;
    let stranger = world.enroll(&token, &host("h1"), None).await.map(|_| ());
    assert_says(&refused(stranger).0, &["has joined before", "--host"]);
    let back = world.enroll(&token, &host("h1"), Some(&agent.identity)).await.unwrap();
    agent.link.replace(&back.identity).unwrap();
    let mut session = agent.there().await;
    assert_lives(&mut session, 1).await;
    world.wait_row("h1", |row| row.status == "active" && row.reason.is_empty()).await;
    assert_eq!(world.rows().await.len(), 1);
}

#[tokio::test]
async fn a_machine_that_lost_its_certificate_needs_a_token_for_its_own_id() {
    let world = World::new().await;
    let agent = world.joined("h1").await;
    let session = agent.there().await;
    world.wait_row("h1", |row| row.status == "active").await;
    drop(session);
    let row = world.wait_row("h1", |row| row.status == "disconnected").await;
    assert!(!row.reason.contains("refused"), "a connection that ends is nobody's fault: {row:?}");
    let request = JoinTokenRequest { host: Some(host("h1")), ..JoinTokenRequest::default() };
    let token = world.token(request).await;
    let other = world.enroll(&token, &host("h2"), None).await.map(|_| ());
    assert_says(&refused(other).0, &["for host h1", "h2"]);
    let again = world.enroll(&token, &host("h1"), None).await.unwrap();
    let (why, void) = refused(agent.connect().await);
    assert_says(&why, &["joined anew"]);
    assert!(void, "the first certificate is worth nothing any more");
    assert!(world.agent("h1", &again.identity, "new").connect().await.is_ok());
}

#[tokio::test]
async fn a_removed_host_is_cut_off_within_a_second_and_does_not_come_back_without_a_token() {
    let world = World::new().await;
    let (agent, other) = (world.joined("h1").await, world.joined("h2").await);
    let (mut session, mut others) = (agent.there().await, other.there().await);
    world.wait_row("h1", |row| row.status == "active").await;
    world.wait_row("h2", |row| row.status == "active").await;
    let begin = Instant::now();
    world.remove("h1", false).await;
    until_over(&mut session).await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    for _ in 0..2 {
        let (why, void) = refused(agent.connect().await);
        assert_says(&why, &["host h1 was removed", "goes on", "agent --join"]);
        assert!(void);
    }
    let renewed = agent.link.renew().await;
    assert!(renewed.is_err(), "and its old connection gives it nothing");
    assert_eq!(world.rows().await.len(), 1, "a last status does not make it known again");
    assert_lives(&mut others, 1).await;

    let token = world.any_token().await;
    let back = world.enroll(&token, &host("h1"), Some(&agent.identity)).await.unwrap();
    let (why, _) = refused(agent.connect().await);
    assert_says(&why, &["joined anew"]);
    agent.link.replace(&back.identity).unwrap();
    let _session = agent.there().await;
    world.wait_row("h1", |row| row.status == "active").await;
}
