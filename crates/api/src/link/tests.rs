//! Sessions, streams, and what goes down.

use super::*;
use model::delta::{Delta, ViewDelta};
use model::host_spec::HostSpec;
use model::time::Index;
use model::view::HostView;

fn host(name: &str) -> HostId {
    HostId::parse(name).unwrap()
}

/// A publication of this serial.
pub(super) fn whole(serial: u64) -> Publication {
    let environment = model::host::Environment::new("e".into(), "e", Default::default());
    let spec = HostSpec {
        generation: Generation(1),
        host: host("a"),
        environment,
        instances: BTreeMap::new(),
        balancers: BTreeMap::new(),
        volumes: BTreeMap::new(),
        images_kept: Default::default(),
        attachments: BTreeMap::new(),
        policy: Arc::default(),
        labels: Arc::default(),
        peers: Arc::default(),
    };
    let mut view = HostView::empty("e", &host("a"));
    view.index = Index(serial);
    let mark = Mark { run: 1, serial };
    Publication { epoch: "e".into(), mark, spec: Arc::new(spec), view: Arc::new(view) }
}

/// From one serial to another: some names come.
pub(super) fn delta(from: u64, to: u64) -> PublicationDelta {
    let names = (from..to).map(|n| (format!("n{n}"), None)).collect();
    let view = ViewDelta { from: Index(from), to: Index(to), names, ..ViewDelta::default() };
    let delta = Delta { spec: None, view: Some(view) };
    PublicationDelta { epoch: "e".into(), run: 1, from, to, delta }
}

#[test]
fn a_delta_fits_on_one_publication_and_passes_the_wire() {
    let mut known = whole(3);
    let news = delta(3, 4);
    let frame = serde_json::to_string(&Down::Delta(Arc::new(news.clone()))).unwrap();
    let Down::Delta(heard) = serde_json::from_str(&frame).unwrap() else { panic!("{frame}") };
    assert_eq!(*heard, news);
    assert!(!news.is_known(&known));
    news.apply(&mut known).unwrap();
    assert_eq!((known.mark.serial, news.is_known(&known)), (4, true));
    for other in [
        delta(3, 4),
        delta(5, 6),
        PublicationDelta { run: 2, ..delta(4, 5) },
        PublicationDelta { epoch: "f".into(), ..delta(4, 5) },
    ] {
        assert_eq!(other.apply(&mut known), Err(Misfit), "{other:?}");
        assert_eq!(known, {
            let mut same = whole(4);
            same.view = known.view.clone();
            same
        });
    }
}

#[tokio::test]
async fn an_agent_gets_what_it_missed_in_one_word() {
    let (board, mut arrivals) = Switchboard::new();
    let mut session = board.begin(hello("a"), None).await.unwrap();
    let arrival = arrivals.recv().await.unwrap();
    for n in 1..2_000 {
        assert!(arrival.outbox.push(delta(n, n + 1)), "it is merged");
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let (mut serial, mut frames) = (1, 0);
    while serial < 2_000 {
        let Some(Down::Delta(delta)) = session.down.recv().await else { panic!("a delta") };
        assert_eq!(delta.from, serial);
        serial = delta.to;
        frames += 1;
    }
    assert!(frames <= 3, "{frames} frames");
}

fn hello(name: &str) -> Hello {
    Hello::new(host(name), "1")
}

#[tokio::test]
async fn a_host_has_one_session_until_it_is_over() {
    let (board, mut arrivals) = Switchboard::new();
    let _first = board.begin(hello("a"), None).await.unwrap();
    let arrival = arrivals.recv().await.unwrap();
    let twin = board.begin(hello("a"), None).await;
    assert!(matches!(twin, Err(LinkError::Refused { why, .. }) if why.contains("--host")));
    let _other = board.begin(hello("b"), None).await.unwrap();
    let over = tokio::spawn(board.over(&host("a")));
    tokio::task::yield_now().await;
    assert!(!over.is_finished(), "its streams go on with it");
    assert!(board.is_present(&host("a")));
    drop(arrival);
    assert!(!board.is_present(&host("a")));
    over.await.unwrap();
    assert!(board.begin(hello("a"), None).await.is_ok());
}

#[tokio::test]
async fn only_the_host_that_a_stream_is_for_takes_it_up_and_once() {
    let (board, _arrivals) = Switchboard::new();
    let (id, _ours) = board.stream(&host("a")).unwrap();
    assert!(board.take(id, &host("b")).is_none());
    assert!(board.take(id, &host("a")).is_some());
    assert!(board.take(id, &host("a")).is_none());
}

#[tokio::test]
async fn an_agent_may_be_one_version_of_the_link_apart() {
    let (board, _arrivals) = Switchboard::new();
    for (protocol, helps) in [
        (LINK_PROTOCOL - 1, None),
        (LINK_PROTOCOL, None),
        (LINK_PROTOCOL + 1, None),
        (LINK_PROTOCOL - 2, Some("upgrade this agent")),
        (LINK_PROTOCOL + 2, Some("upgrade the server")),
    ] {
        let name = format!("a{protocol}");
        let begun = board.begin(Hello { protocol, ..hello(&name) }, None).await;
        match (begun, helps) {
            (Ok(_), None) => {}
            (Err(LinkError::Refused { why, .. }), Some(helps)) => {
                assert!(why.contains(helps), "{why}");
            }
            (begun, _) => panic!("{protocol}: {begun:?}"),
        }
    }
    // What an older agent does not say has a meaning.
    let older: Hello = serde_json::from_str(r#"{"host":"a","version":"0.0.1"}"#).unwrap();
    assert_eq!((older.protocol, older.known), (1, None));
}
