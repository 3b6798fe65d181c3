//! What a watcher asks and gives on, against a server with true blocking queries.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "fake/mod.rs"]
mod fake;

use fake::Fake;
use std::sync::Arc;
use std::time::Duration;
use template::http::Target;
use template::query::Query;
use template::settings::{Consul, Retry};
use template::watch::{Asking, Found, Report, watch};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

fn asking(address: &str) -> Asking {
    let consul = Consul { address: address.to_owned(), ..Consul::default() };
    Asking {
        target: Arc::new(Target::consul(&consul).unwrap()),
        retry: Retry { backoff: Duration::from_millis(5), ..Retry::default() },
        max_stale: Duration::from_secs(2),
        wait: Duration::from_secs(30),
        attempts: 0,
        whole: false,
    }
}

struct Watched {
    reports: mpsc::Receiver<Report>,
    _task: tokio::task::JoinHandle<()>,
}

fn start(query: Query, asking: Asking) -> Watched {
    let (to, reports) = mpsc::channel(8);
    Watched { reports, _task: tokio::spawn(watch(query, asking, to)) }
}

impl Watched {
    async fn next(&mut self) -> Found {
        let report = tokio::time::timeout(PATIENCE, self.reports.recv()).await;
        report.expect("in time").expect("it watches on").found
    }

    async fn value(&mut self) -> Option<String> {
        match self.next().await {
            Found::Answer(answer) => answer.map(|v| v.field("Value").unwrap().to_string()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_followed_through_absence_change_and_restore() {
    let fake = Fake::start();
    // After a restore a question waits for its whole time, as its index is of the future.
    let asking = Asking { wait: Duration::from_millis(500), ..asking(&fake.address()) };
    let mut watched = start(Query::key("a").unwrap(), asking);
    assert_eq!(watched.value().await, None);
    fake.put("a", "1");
    assert_eq!(watched.value().await.as_deref(), Some("1"));
    fake.put("b", "unrelated");
    fake.put("a", "2");
    assert_eq!(watched.value().await.as_deref(), Some("2"));
    fake.restore();
    fake.put("a", "3");
    assert_eq!(watched.value().await.as_deref(), Some("3"));
    fake.put("a", "4");
    assert_eq!(watched.value().await.as_deref(), Some("4"));
    let asked = fake.asked();
    assert!(asked.iter().all(|path| path.contains("stale=")), "{asked:?}");
    assert!(asked.iter().any(|path| path.contains("wait=500ms")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_is_told_once_and_asked_again() {
    let fake = Fake::start();
    fake.fail(true);
    fake.put("a", "1");
    let mut watched = start(Query::key("a").unwrap(), asking(&fake.address()));
    let Found::Failed(error) = watched.next().await else { panic!("an answer") };
    assert!(error.to_string().contains("No cluster leader"), "{error}");
    let begun = tokio::time::Instant::now();
    while fake.asked().len() < 4 {
        assert!(begun.elapsed() < PATIENCE, "it does not ask again");
        tokio::task::yield_now().await;
    }
    fake.fail(false);
    assert_eq!(watched.value().await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_are_given_up_when_that_is_asked_for() {
    let fake = Fake::start();
    fake.fail(true);
    let mut watched =
        start(Query::key("a").unwrap(), Asking { attempts: 3, ..asking(&fake.address()) });
    assert!(matches!(watched.next().await, Found::Failed(_)));
    assert!(matches!(watched.next().await, Found::GivenUp(_)));
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_did_not_change_wakes_nobody() {
    let fake = Fake::start();
    fake.service("web", &[("h1", 80, &["http"], "passing")]);
    let web = Query::service(&["web".into()]).unwrap();
    let mut watched = start(web, asking(&fake.address()));
    assert!(matches!(watched.next().await, Found::Answer(Some(_))));
    // The same again has a new index and is no news.
    fake.service("web", &[("h1", 80, &["http"], "passing")]);
    fake.service("web", &[("h1", 80, &["http"], "passing"), ("h2", 81, &[], "passing")]);
    let Found::Answer(Some(list)) = watched.next().await else { panic!("no answer") };
    assert_eq!(list.len(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let mut watched = start(Query::File(path.clone()), asking("127.0.0.1:1"));
    assert!(matches!(watched.next().await, Found::Answer(None)));
    std::fs::write(&path, "one").unwrap();
    let Found::Answer(Some(text)) = watched.next().await else { panic!("no answer") };
    assert_eq!(text.to_string(), "one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_old_is_asked_of_the_leader() {
    let fake = Fake::start();
    fake.put("a", "1");
    fake.behind(5_000);
    let mut watched = start(Query::key("a").unwrap(), asking(&fake.address()));
    assert_eq!(watched.value().await.as_deref(), Some("1"));
    let asked = fake.asked();
    assert!(asked[0].contains("stale=") && !asked[1].contains("stale="), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_is_asked_too() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let socket = folder.path().join("api.sock");
    fake.listen_at(&socket);
    fake.put("a", "1");
    let address = format!("unix://{}", socket.display());
    let mut watched = start(Query::key("a").unwrap(), asking(&address));
    assert_eq!(watched.value().await.as_deref(), Some("1"));
    fake.put("a", "2");
    assert_eq!(watched.value().await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rights_keep_back_has_not_gone() {
    let fake = Fake::start();
    fake.service("web", &[("n1", 80, &[], "passing")]);
    let query = || Query::services("").unwrap();
    let mut strict = start(query(), Asking { whole: true, ..asking(&fake.address()) });
    let mut plain = start(query(), asking(&fake.address()));
    let Found::Answer(Some(before)) = strict.next().await else { panic!("no answer") };
    assert!(matches!(plain.next().await, Found::Answer(Some(_))));
    fake.hide(true);
    let Found::Failed(error) = strict.next().await else { panic!("an answer") };
    assert!(error.to_string().contains("give it a policy"), "{error}");
    let Found::Answer(Some(empty)) = plain.next().await else { panic!("no answer") };
    assert_ne!(empty, before, "who asks with a token of his own is given what it may see");
    fake.hide(false);
    let Found::Answer(Some(after)) = strict.next().await else { panic!("no answer") };
    assert_eq!(after, before, "it is told although it is as it was");
}
