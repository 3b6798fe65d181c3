//! Who watches: every change of the store and every call of an engine passes here, into the trace
//! and to the oracle.

use crate::oracle::{Flaw, Oracle};
use crate::trace::{FNV_START, Trace, fnv};
use engine::fake::Tap;
use model::cluster::Cluster;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{Memory, Store as _, Watch, WatchEvent, codec};

/// The judge of a run. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    pub(crate) trace: Trace,
    oracle: Arc<Mutex<Oracle>>,
}

impl Judge {
    pub(crate) fn new(trace: Trace) -> Self {
        Self { trace, oracle: Arc::default() }
    }

    fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the oracle's books.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Oracle) -> T) -> T {
        look(&mut self.oracle())
    }

    /// The state as the store has told it.
    pub(crate) fn cluster(&self) -> Cluster {
        self.oracle().cluster().clone()
    }

    /// What has been found until now.
    pub(crate) fn flaws(&self) -> Vec<Flaw> {
        self.oracle().flaws.clone()
    }

    /// Something that happened on the engine of a host.
    pub(crate) fn engine(&self, host: usize, tap: &Tap<'_>) {
        match tap {
            Tap::Call(op, subject, container) => {
                self.trace.line(format_args!("h{host} {op:?} {subject}"));
                self.oracle().call(host, *op, *container);
            }
            Tap::Event(event) => {
                self.trace.line(format_args!("h{host} . {:?} {}", event.action, event.name));
                self.oracle().event(host, event);
            }
        }
    }

    /// Watches a store from its beginning, for ever.
    pub(crate) async fn watch(self, store: Memory) {
        let status = store.status().await;
        let watch = store.watch(codec::keys(), status.compacted, status.epoch).await;
        let mut watch: Watch = watch.expect("a store in memory can be watched");
        while let Ok(event) = watch.next().await {
            self.change(&event);
        }
        self.oracle().note("the watch of the judge ended early".into());
    }

    fn change(&self, event: &WatchEvent) {
        for op in event.ops.iter() {
            match &op.next {
                Some(kv) => {
                    let hash = fnv(FNV_START, &kv.value);
                    self.trace.line(format_args!("{} {} {hash:016x}", event.index, op.key));
                }
                None => self.trace.line(format_args!("{} {} gone", event.index, op.key)),
            }
        }
        match codec::decode(event) {
            Ok(decoded) => self.oracle().commit(&decoded),
            Err(error) => self.oracle().note(format!("a change cannot be read: {error}")),
        }
    }
}
