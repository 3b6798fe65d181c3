//! Any sequence of operations gives what a simple model gives: one map for each index.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use model::time::Index;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use store::{Error, Keys, Kv, LeaseId, Memory, Read, Sqlite, Store, Txn, WatchEnd};

/// `n` of the six keys that everything happens on.
fn key(n: u8) -> String {
    ["a", "a/1", "a/2", "b", "b/1", "c"][usize::from(n % 6)].to_owned()
}

#[derive(Clone, Debug)]
enum Step {
    /// Compares (right ones unless `wrong`), then puts (`Some`) and deletes, one of them leased.
    Txn {
        compares: Vec<u8>,
        wrong: bool,
        ops: BTreeMap<u8, Option<u8>>,
        lease: Option<u8>,
    },
    Grant,
    Revoke(u8),
    /// So many hundredths of all history.
    Compact(u8),
    ReadAt(u8),
    Watch(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let txn = (
        prop::collection::vec(0..6u8, 0..3),
        prop::bool::weighted(0.2),
        prop::collection::btree_map(0..6u8, prop::option::weighted(0.7, any::<u8>()), 0..4),
        prop::option::weighted(0.3, any::<u8>()),
    )
        .prop_map(|(compares, wrong, ops, lease)| Step::Txn { compares, wrong, ops, lease });
    prop_oneof![
        12 => txn,
        1 => Just(Step::Grant),
        1 => any::<u8>().prop_map(Step::Revoke),
        1 => (0..100u8).prop_map(Step::Compact),
        3 => (0..120u8).prop_map(Step::ReadAt),
        2 => (0..120u8).prop_map(Step::Watch),
    ]
}

type State = BTreeMap<String, Kv>;

#[derive(Default)]
struct Model {
    /// The state at each index from 0.
    states: Vec<State>,
    compacted: u64,
    leases: Vec<LeaseId>,
}

impl Model {
    fn now(&self) -> (u64, &State) {
        (self.states.len() as u64 - 1, self.states.last().unwrap())
    }

    fn part(&self, hundredths: u8) -> u64 {
        self.now().0 * u64::from(hundredths) / 100
    }

    fn put(state: &mut State, key: &str, value: u8, index: u64, lease: Option<LeaseId>) {
        let created = state.get(key).map_or(Index(index), |kv| kv.created);
        let (value, modified) = (vec![value].into(), Index(index));
        let kv = Kv { key: key.into(), value, created, modified, lease };
        state.insert(key.to_owned(), kv);
    }
}

async fn run<S: Store>(store: S, steps: &[Step]) {
    let mut model = Model { states: vec![State::new()], ..Model::default() };
    for step in steps {
        apply(&store, &mut model, step).await;
        let (index, state) = model.now();
        let page = store.range(Keys::all(), Read::Latest).await.unwrap();
        assert_eq!(page.index, Index(index), "{step:?}");
        assert_eq!(page.kvs, state.values().cloned().collect::<Vec<_>>(), "{step:?}");
        assert_eq!(store.status().await.compacted, Index(model.compacted));
    }
}

async fn apply<S: Store>(store: &S, model: &mut Model, step: &Step) {
    match step {
        Step::Txn { compares, wrong, ops, lease } => {
            let lease = lease.filter(|_| !model.leases.is_empty());
            let lease = lease.map(|n| model.leases[usize::from(n) % model.leases.len()]);
            transact(store, model, (compares, *wrong), ops, lease).await;
        }
        Step::Grant => {
            let ttl = std::time::Duration::from_secs(3_600);
            model.leases.push(store.lease_grant(ttl).await.unwrap());
        }
        Step::Revoke(n) => {
            let Some(at) = usize::from(*n).checked_rem(model.leases.len()) else { return };
            let id = model.leases.remove(at);
            store.lease_revoke(id).await.unwrap();
            let mut next = model.now().1.clone();
            next.retain(|_, kv| kv.lease != Some(id));
            if next != *model.now().1 {
                model.states.push(next);
            }
        }
        Step::Compact(part) => {
            let keep_from = model.part(*part);
            store.compact(Index(keep_from)).await.unwrap();
            model.compacted = model.compacted.max(keep_from);
        }
        Step::ReadAt(part) => read_at(store, model, model.part(*part)).await,
        Step::Watch(part) => watch(store, model, model.part(*part)).await,
    }
}

async fn transact<S: Store>(
    store: &S,
    model: &mut Model,
    (compares, wrong): (&[u8], bool),
    ops: &BTreeMap<u8, Option<u8>>,
    lease: Option<LeaseId>,
) {
    let (index, now) = model.now();
    let mut txn = Txn::default();
    for (at, n) in compares.iter().enumerate() {
        let key = key(*n);
        let wrong = wrong && at + 1 == compares.len();
        txn = match (now.get(&key), wrong) {
            (None, false) => txn.if_absent(&key),
            (None, true) => txn.if_modified(&key, Index(index)),
            (Some(kv), false) => txn.if_modified(&key, kv.modified),
            (Some(kv), true) => txn.if_modified(&key, Index(kv.modified.0 + 1)),
        };
    }
    let mut next = now.clone();
    for (n, value) in ops {
        let key = key(*n);
        match (value, lease) {
            (None, _) => txn = txn.delete(&key),
            (Some(value), None) => txn = txn.put(&key, vec![*value]),
            (Some(value), Some(id)) => txn = txn.put_leased(&key, vec![*value], id),
        }
        match value {
            None => drop(next.remove(&key)),
            Some(value) => Model::put(&mut next, &key, *value, index + 1, lease),
        }
    }
    let result = store.txn(txn).await;
    if wrong && let Some(last) = compares.last() {
        let culprit = key(*last);
        assert!(matches!(&result, Err(Error::Conflict { key }) if **key == *culprit), "{result:?}");
        return;
    }
    if next != *now {
        model.states.push(next);
    }
    assert_eq!(result.unwrap().index, Index(model.now().0));
}

async fn read_at<S: Store>(store: &S, model: &Model, at: u64) {
    let (index, _) = model.now();
    for keys in [Keys::all(), Keys::prefix("a/"), Keys::between("a/2", "b/1")] {
        let result = store.range(keys.clone(), Read::At(Index(at))).await;
        if at > index {
            assert!(matches!(result, Err(Error::Future { .. })), "{result:?}");
        } else if at < model.compacted {
            assert!(matches!(result, Err(Error::Compacted { .. })), "{result:?}");
        } else {
            let state = &model.states[usize::try_from(at).unwrap()];
            let wanted: Vec<_> =
                state.values().filter(|kv| keys.contains(&kv.key)).cloned().collect();
            assert_eq!(result.unwrap().kvs, wanted, "{keys:?} at {at}");
        }
    }
}

/// Replays the log from `after`: it leads from the state there to the state now.
async fn watch<S: Store>(store: &S, model: &Model, after: u64) {
    let epoch = store.status().await.epoch;
    let mut events = store.watch(Keys::all(), Index(after), epoch).await.unwrap();
    let (index, now) = model.now();
    if after > index || after < model.compacted {
        let end = events.next().await.unwrap_err();
        assert_eq!(matches!(end, WatchEnd::Compacted { .. }), after <= index, "{end:?}");
        return;
    }
    let mut state = model.states[usize::try_from(after).unwrap()].clone();
    for at in after + 1..=index {
        let event = events.next().await.unwrap();
        assert_eq!(event.index, Index(at));
        for op in event.ops.iter() {
            assert_eq!(state.get(&*op.key), op.prev.as_ref());
            match &op.next {
                Some(kv) => drop(state.insert(op.key.to_string(), kv.clone())),
                None => drop(state.remove(&*op.key)),
            }
        }
        assert_eq!(state, model.states[usize::try_from(at).unwrap()]);
    }
    assert_eq!(state, *now);
}

fn property(cases: u32, check: impl Fn(&[Step])) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let steps = prop::collection::vec(step(), 1..60);
    let result = TestRunner::new(config).run(&steps, |steps| {
        check(&steps);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

#[test]
fn memory_does_what_the_model_does() {
    property(400, |steps| block_on(run(Memory::default(), steps)));
}

#[test]
fn sqlite_does_what_the_model_does() {
    property(40, |steps| {
        let dir = tempfile::tempdir().unwrap();
        block_on(async { run(Sqlite::open(dir.path()).await.unwrap(), steps).await });
    });
}
