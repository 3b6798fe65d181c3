//! Agents that lie, and clocks that are wrong: refused with a reason on both sides, and nothing else
//! is harmed.

use crate::raw;
use crate::world::{Agent, DAY, MINUTE, World, assert_lives, assert_says, host, refused};
use api::link::{Hello, LinkError, Up};
use api::routes;
use api::wire::{Accepted, JoinTokenRequest};
use bytes::BytesMut;

const HOUR: i64 = 60 * MINUTE;

/// Another host, which must notice nothing of what a test does.
async fn bystander(world: &World) -> (Agent, api::link::Session) {
    let agent = world.joined("bystander").await;
    let session = agent.there().await;
    world.wait_row("bystander", |row| row.status == "active").await;
    (agent, session)
}

#[tokio::test]
async fn a_token_that_is_wrong_forged_used_up_revoked_or_expired_lets_nobody_in() {
    let world = World::new().await;
    let once = JoinTokenRequest { uses: Some(1), ..JoinTokenRequest::default() };
    let used = world.token(once).await;
    world.enroll(&used, &host("h1"), None).await.unwrap();
    let good = world.any_token().await;
    let revoked = world.any_token().await;
    let path = routes::fill(routes::HOST_TOKEN, &[&revoked]);
    let _done: Accepted = world.client.delete(&path).await.unwrap();
    let mut fields: Vec<&str> = good.split('_').collect();
    let secret = "0".repeat(64);
    fields[2] = &secret;
    let forged = fields.join("_");
    for (token, words) in [
        ("nonsense", "not known here"),
        (forged.as_str(), "not known here"),
        (&revoked, "not known here"),
        (&used, "used up"),
    ] {
        let (why, _) = refused(world.enroll(token, &host("h2"), None).await.map(|_| ()));
        assert_says(&why, &[words, "host token create"]);
    }
    world.time.set_ahead(61 * MINUTE);
    world.there.set_ahead(61 * MINUTE);
    let (why, _) = refused(world.enroll(&good, &host("h2"), None).await.map(|_| ()));
    assert_says(&why, &["the token has expired"]);
    assert_eq!(world.rows().await.len(), 1, "nobody but h1 has joined");
}

#[tokio::test]
async fn an_agent_of_another_cluster_is_refused_by_both_sides() {
    let (ours, theirs) = (World::new().await, World::new().await);
    let (_bystander, mut session) = bystander(&ours).await;
    let stranger = theirs.joined("bystander").await;
    let token = theirs.any_token().await;
    let (address, pin) = (ours.address.as_str(), theirs.pin.as_str());
    let (token, host, clock) = (token.as_str(), &host("h9"), ours.there.clock().now());
    let joining = api::grpc::Joining { address, token, pin, host, before: None, clock };
    let foreign = api::grpc::enroll(&joining).await;
    assert!(matches!(foreign, Err(LinkError::Foreign { .. })), "it does not trust ours");
    // It does not care whom it talks to, and shows what another CA has signed for that host.
    let forged = ours.agent("bystander", &stranger.identity, "stranger");
    let error = forged.connect().await.map(|_| ()).unwrap_err();
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error}");
    assert_lives(&mut session, 1).await;
}

#[tokio::test]
async fn an_agent_is_the_host_of_its_certificate_and_speaks_for_no_other() {
    let world = World::new().await;
    let (other, mut others) = bystander(&world).await;
    let agent = world.joined("h1").await;
    let posing = Agent { host: other.host.clone(), ..world.joined("h2").await };
    let (why, _) = refused(posing.connect().await.map(|_| ()));
    assert_says(&why, &["of host h2", "bystander"]);

    let mut session = agent.there().await;
    session.up.send(agent.status(&other.host, "taken over")).await.unwrap();
    assert_lives(&mut session, 1).await;
    assert_eq!(world.row("bystander").await.facts.hostname, "ours", "what it said of itself");
    assert_lives(&mut others, 1).await;

    // With a token it gets no id that another host has, connected or not.
    let token = world.any_token().await;
    let taken = world.enroll(&token, &other.host, Some(&agent.identity)).await;
    assert_says(&refused(taken.map(|_| ())).0, &["connected from 127.0.0.1", "--host"]);
}

#[tokio::test]
async fn garbage_and_frames_of_a_gigabyte_end_a_session_with_a_reason_and_harm_no_other() {
    let world = World::new().await;
    let (_other, mut others) = bystander(&world).await;
    let agent = world.joined("h1").await;
    let hello = Up::Hello(Hello::new(host("h1"), "1"));
    let hello = raw::message(&serde_json::to_vec(&hello).unwrap());
    let gigabyte = raw::frame(1 << 30, &[0; 64]);
    for (number, (last, words)) in [
        (raw::message(b"\xff\x00garbage"), "frame cannot be read"),
        (raw::frame(9, &[0xff; 9]), "decode"),
        (gigabyte.clone(), "too large"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut bytes = BytesMut::from(&hello[..]);
        bytes.extend_from_slice(&last);
        let identity = Some(&agent.identity);
        let (status, why) = raw::call(&world, identity, "Session", bytes.freeze()).await;
        assert_ne!(status, 0);
        assert_says(&why, &[words]);
        let row = world.wait_row("bystander", |row| row.status == "active").await;
        assert_eq!(row.reason, "");
        assert_lives(&mut others, u64::try_from(number).unwrap() + 1).await;
    }
    for method in ["Enroll", "Renew", "Session", "Attach", "Nothing"] {
        for bytes in [raw::message(b"garbage"), gigabyte.clone()] {
            let (status, why) = raw::call(&world, None, method, bytes).await;
            assert!(status != 0 && !why.is_empty(), "{method}: {status} {why}");
        }
    }
    assert_lives(&mut others, 9).await;
    assert!(agent.connect().await.is_ok(), "and an honest session of that host begins");
}

#[tokio::test]
async fn clocks_an_hour_apart_are_refused_with_both_times_and_agree_again_later() {
    let world = World::new().await;
    let (_other, mut others) = bystander(&world).await;
    let agent = world.joined("h1").await;
    let token = world.any_token().await;
    for ahead in [HOUR, -HOUR] {
        world.there.set_ahead(ahead);
        let (there, here) = (world.there.clock().now().utc(), world.time.clock().now().utc());
        // To the minute: the seconds go on.
        let words = [&there[..14], &here[..14], "minutes apart", "set the clocks"];
        let (why, void) = refused(agent.connect().await.map(|_| ()));
        assert_says(&why, &words);
        assert!(!void, "no token helps");
        let (why, _) = refused(world.enroll(&token, &host("h2"), None).await.map(|_| ()));
        assert_says(&why, &words);
        world.wait_row("h1", |row| row.reason.contains("minutes apart")).await;
    }
    assert_lives(&mut others, 1).await;
    world.there.set_ahead(10 * MINUTE);
    assert!(agent.connect().await.is_ok(), "a few minutes are nothing");
}

#[tokio::test]
async fn a_certificate_that_is_not_good_yet_and_a_server_that_is_of_tomorrow_are_told_with_both_times()
 {
    let world = World::new().await;
    let agent = world.joined("h1").await;
    world.time.set_ahead(-2 * DAY);
    world.there.set_ahead(-2 * DAY);
    let (why, void) = refused(agent.connect().await.map(|_| ()));
    assert_says(&why, &["is good from", "server's clock says", "set the clocks"]);
    assert!(!void);

    let tomorrow = World::ahead(3 * DAY).await;
    let token = tomorrow.any_token().await;
    let error = tomorrow.enroll(&token, &host("h1"), None).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, LinkError::Clock { .. }), "{error}");
    assert_says(&error.to_string(), &["good from", "clock of this host says", "set the clocks"]);
}
