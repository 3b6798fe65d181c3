//! Random runs against a model that is a sorted map: every answer, every index, and who is woken.

use crate::Consul;
use crate::testing::{json, open, send, told};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Wake, Waker};
use store::Memory;

const KEYS: [&str; 6] = ["a", "a/b", "a/c", "b", "t", "tz"];
const PREFIXES: [&str; 6] = ["", "a", "a/", "t", "tz", "none"];
const SESSIONS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum At {
    Zero,
    Current,
    Stale,
}

#[derive(Clone, Debug)]
enum Do {
    Put(usize, u8, u64),
    Cas(usize, u8, At),
    Delete(usize),
    DeleteCas(usize, At),
    DeleteTree(usize),
    Acquire(usize, u8, usize),
    Release(usize, u8, usize),
    Destroy(usize),
    Restart,
}

fn at() -> impl Strategy<Value = At> {
    prop_oneof![Just(At::Zero), Just(At::Current), Just(At::Stale)]
}

fn step() -> impl Strategy<Value = Do> {
    let (key, value, session) = (|| 0..KEYS.len(), || 0..3_u8, || 0..SESSIONS);
    prop_oneof![
        4 => (key(), value(), 0..2_u64).prop_map(|(k, v, f)| Do::Put(k, v, f)),
        2 => (key(), value(), at()).prop_map(|(k, v, at)| Do::Cas(k, v, at)),
        2 => key().prop_map(Do::Delete),
        2 => (key(), at()).prop_map(|(k, at)| Do::DeleteCas(k, at)),
        1 => (0..PREFIXES.len()).prop_map(Do::DeleteTree),
        3 => (key(), value(), session()).prop_map(|(k, v, s)| Do::Acquire(k, v, s)),
        2 => (key(), value(), session()).prop_map(|(k, v, s)| Do::Release(k, v, s)),
        1 => session().prop_map(Do::Destroy),
        1 => Just(Do::Restart),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    value: u8,
    flags: u64,
    lock_index: u64,
    session: Option<usize>,
    create: u64,
    modify: u64,
}

#[derive(Default)]
struct Model {
    rows: BTreeMap<&'static str, Row>,
    gone: [bool; SESSIONS],
}

/// What is to be answered; the row of the key is as it will be but for its indexes.
impl Model {
    fn index(&self, key: usize, at: At) -> u64 {
        match (at, self.rows.get(KEYS[key])) {
            (At::Zero, _) | (At::Current, None) => 0,
            (At::Current, Some(row)) => row.modify,
            (At::Stale, row) => row.map_or(1, |row| row.modify - 1).max(1),
        }
    }

    fn set(&mut self, key: usize, change: impl FnOnce(&mut Row)) {
        let new = || Row { value: 0, flags: 0, lock_index: 0, session: None, create: 0, modify: 0 };
        change(self.rows.entry(KEYS[key]).or_insert_with(new));
    }

    fn step(&mut self, step: &Do) -> &'static str {
        match *step {
            Do::Put(key, value, flags) => {
                self.set(key, |row| {
                    (row.value, row.flags) = (value, flags);
                });
            }
            Do::Cas(key, value, at) => {
                let (index, now) = (self.index(key, at), self.rows.get(KEYS[key]));
                if now.map_or(0, |row| row.modify) != index {
                    return "false";
                }
                self.set(key, |row| {
                    (row.value, row.flags) = (value, 0);
                });
            }
            Do::Delete(key) => drop(self.rows.remove(KEYS[key])),
            Do::DeleteCas(key, at) => {
                let index = self.index(key, at);
                if self.rows.get(KEYS[key]).is_some_and(|row| row.modify != index) {
                    return "false";
                }
                self.rows.remove(KEYS[key]);
            }
            Do::DeleteTree(prefix) => self.rows.retain(|key, _| !key.starts_with(PREFIXES[prefix])),
            Do::Acquire(_, _, session) if self.gone[session] => return "invalid",
            Do::Acquire(key, value, session) => {
                let holder = self.rows.get(KEYS[key]).and_then(|row| row.session);
                if holder.is_some_and(|holder| holder != session) {
                    return "false";
                }
                self.set(key, |row| {
                    (row.value, row.flags, row.session) = (value, 0, Some(session));
                    row.lock_index += u64::from(holder.is_none());
                });
            }
            Do::Release(key, value, session) => match self.rows.get_mut(KEYS[key]) {
                Some(row) if row.session == Some(session) => {
                    (row.value, row.flags, row.session) = (value, 0, None);
                }
                _ => return "false",
            },
            Do::Destroy(session) => {
                self.gone[session] = true;
                for row in self.rows.values_mut().filter(|row| row.session == Some(session)) {
                    row.session = None;
                }
            }
            Do::Restart => {}
        }
        "true"
    }
}

/// A question that waits, and whether it was woken.
struct Asked {
    what: String,
    topic: String,
    is_key: bool,
    future: Pin<Box<dyn Future<Output = crate::Answer>>>,
    woken: Arc<Flag>,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// Begins to wait for everything, each from the index that it has now.
async fn ask_all(consul: &Consul<Memory>) -> Vec<Asked> {
    let keys = KEYS.iter().map(|key| (format!("kv/{key}?wait=300s"), *key, true));
    let prefixes = PREFIXES.iter().map(|p| (format!("kv/{p}?recurse&wait=300s"), *p, false));
    let mut all = vec![];
    for (what, topic, is_key) in keys.chain(prefixes).collect::<Vec<_>>() {
        let index = send(consul, "GET", &what, "").await.index().unwrap();
        let (consul, uri) = (consul.clone(), format!("{what}&index={index}"));
        let mut future: Pin<Box<dyn Future<Output = crate::Answer>>> =
            Box::pin(async move { send(&consul, "GET", &uri, "").await });
        let woken = Arc::new(Flag::default());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "{what}");
        all.push(Asked { what, topic: topic.to_owned(), is_key, future, woken });
    }
    all
}

async fn carry_out(consul: &Consul<Memory>, step: &Do, model: &Model, ids: &[String]) -> String {
    let key = |key: usize| format!("kv/{}", KEYS[key]);
    let (method, uri, value) = match step {
        Do::Put(k, v, flags) => ("PUT", format!("{}?flags={flags}", key(*k)), Some(*v)),
        Do::Cas(k, v, at) => ("PUT", format!("{}?cas={}", key(*k), model.index(*k, *at)), Some(*v)),
        Do::Delete(k) => ("DELETE", key(*k), None),
        Do::DeleteCas(k, at) => {
            ("DELETE", format!("{}?cas={}", key(*k), model.index(*k, *at)), None)
        }
        Do::DeleteTree(p) => ("DELETE", format!("kv/{}?recurse", PREFIXES[*p]), None),
        Do::Acquire(k, v, s) => ("PUT", format!("{}?acquire={}", key(*k), ids[*s]), Some(*v)),
        Do::Release(k, v, s) => ("PUT", format!("{}?release={}", key(*k), ids[*s]), Some(*v)),
        Do::Destroy(s) => ("PUT", format!("session/destroy/{}", ids[*s]), None),
        Do::Restart => return "true".into(),
    };
    let body = value.map_or(String::new(), |value| "x".repeat(usize::from(value)));
    let (status, text) = told(consul, method, &uri, body).await;
    if status == 500 && text.starts_with("invalid session") { "invalid".into() } else { text }
}

/// Reads everything into rows.
async fn rows(consul: &Consul<Memory>, ids: &[String]) -> BTreeMap<&'static str, Row> {
    let answer = send(consul, "GET", "kv/?recurse", "").await;
    if answer.status == 404 {
        return BTreeMap::new();
    }
    let list: Value = serde_json::from_slice(&answer.body).unwrap();
    let row = |entry: &Value| {
        let key = KEYS.iter().find(|key| entry["Key"] == **key).unwrap();
        let number = |name: &str| entry[name].as_u64().unwrap();
        // Base64 of up to two x.
        let value = match entry["Value"].as_str() {
            None => 0,
            Some("eA==") => 1,
            Some("eHg=") => 2,
            Some(other) => panic!("{other}"),
        };
        let session = entry["Session"].as_str().map(|id| ids.iter().position(|i| i == id).unwrap());
        let row = Row {
            value,
            flags: number("Flags"),
            lock_index: number("LockIndex"),
            session,
            create: number("CreateIndex"),
            modify: number("ModifyIndex"),
        };
        (*key, row)
    };
    list.as_array().unwrap().iter().map(row).collect()
}

/// Compares what is with the model, takes over the indexes, and gives the keys that changed.
fn compare(
    step: &Do,
    before: &BTreeMap<&'static str, Row>,
    model: &mut Model,
    found: &BTreeMap<&'static str, Row>,
) -> Vec<&'static str> {
    let newest = before.values().map(|row| row.modify).max().unwrap_or(0);
    assert!(model.rows.keys().eq(found.keys()), "{step:?}: {found:?}");
    for (key, want) in &mut model.rows {
        let (is, was) = (&found[key], before.get(key));
        let same = was.is_some_and(|was| {
            Row { create: 0, modify: 0, ..was.clone() }
                == Row { create: 0, modify: 0, ..want.clone() }
        });
        if same {
            assert_eq!(is.modify, was.unwrap().modify, "{step:?}: {key} did not change");
        } else {
            assert!(is.modify > newest, "{step:?}: {key} has a new index");
        }
        assert_eq!(is.create, was.map_or(is.modify, |was| was.create), "{step:?}: {key}");
        (want.create, want.modify) = (is.create, is.modify);
        assert_eq!(is, want, "{step:?}: {key}");
    }
    let changed = |key: &&&str| before.get(**key) != found.get(**key);
    KEYS.iter().filter(changed).copied().collect()
}

async fn run(steps: Vec<Do>) {
    let store = Memory::default();
    let mut consul = open(store.clone()).await;
    let mut ids = vec![];
    for _ in 0..SESSIONS {
        let made = json(&consul, "PUT", "session/create", "{\"LockDelay\":\"0s\"}").await;
        ids.push(made["ID"].as_str().unwrap().to_owned());
    }
    let (mut model, mut before) = (Model::default(), BTreeMap::new());
    let mut highest: BTreeMap<String, u64> = BTreeMap::new();
    for step in &steps {
        if matches!(step, Do::Restart) {
            consul = open(store.clone()).await;
        }
        let mut asked = ask_all(&consul).await;
        let answer = carry_out(&consul, step, &model, &ids).await;
        let want = model.step(step);
        assert_eq!(answer, want, "{step:?}");
        let found = rows(&consul, &ids).await;
        let changed = compare(step, &before, &mut model, &found);
        before = found;
        for one in &mut asked {
            let concerns = |key: &&str| match one.is_key {
                true => **key == one.topic,
                false => key.starts_with(&*one.topic),
            };
            let is_news = changed.iter().any(concerns);
            assert_eq!(one.woken.0.load(SeqCst), is_news, "{step:?}: {} woken", one.what);
            let polled = one.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(polled.is_ready(), is_news, "{step:?}: {} answered", one.what);
            let index = send(&consul, "GET", &one.what, "").await.index().unwrap();
            let highest = highest.entry(one.what.clone()).or_default();
            // A missing key shows the table's index, and its own once it is there.
            assert!(one.is_key || index >= *highest, "{step:?}: {} went back", one.what);
            *highest = index;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn it_does_what_a_sorted_map_does(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(run(steps));
    }
}
