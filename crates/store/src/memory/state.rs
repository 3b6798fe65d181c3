//! The state of a `Memory` store: the pairs, their history and the leases, at one index.

use super::{Fault, ambiguous};
use crate::error::{Error, Result};
use crate::keys::{Key, Keys};
use crate::lease::{LeaseId, admit};
use crate::page::{Kv, Page, Read};
use crate::status::{Epoch, Status};
use crate::txn::{self, Op, Txn, TxnOutcome};
use crate::watch::{Chunk, Hub, HubFull, Live, WatchEnd, WatchEvent, WatchOp};
use model::limits::WATCHES_MAX;
use model::time::Index;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

/// Transactions given for one step of catching up.
const CHUNK_EVENTS: usize = 256;

#[derive(Debug)]
pub(super) struct State {
    pub(super) epoch: Epoch,
    pub(super) index: Index,
    pub(super) compacted: Index,
    pub(super) faults: VecDeque<Fault>,
    kvs: BTreeMap<Key, Kv>,
    /// Every transaction after `compacted`, in order.
    log: VecDeque<WatchEvent>,
    leases: BTreeMap<LeaseId, Lease>,
    last_lease: u64,
    /// Since the store was made.
    now: Duration,
    hub: Hub,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Duration,
    keys: BTreeSet<Key>,
}

impl txn::State for State {
    fn get(&self, key: &str) -> Result<Option<Kv>> {
        Ok(self.kvs.get(key).cloned())
    }

    fn lease_keys(&self, id: LeaseId) -> Result<Option<usize>> {
        Ok(self.leases.get(&id).map(|lease| lease.keys.len()))
    }
}

impl State {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            index: Index(0),
            compacted: Index(0),
            faults: VecDeque::new(),
            kvs: BTreeMap::new(),
            log: VecDeque::new(),
            leases: BTreeMap::new(),
            last_lease: 0,
            now: Duration::ZERO,
            hub: Hub::default(),
        }
    }

    pub(super) fn status(&self) -> Status {
        Status {
            epoch: self.epoch,
            index: self.index,
            compacted: self.compacted,
            driver: "memory",
            schema: crate::sqlite::SCHEMA,
            bytes: 0,
        }
    }

    pub(super) fn all(&self) -> Vec<Kv> {
        self.kvs.values().cloned().collect()
    }

    /// All leases with their time to live in milliseconds.
    pub(super) fn leases(&self) -> Vec<(LeaseId, u64)> {
        let ms = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.leases.iter().map(|(id, lease)| (*id, ms(lease.ttl))).collect()
    }

    pub(super) fn range(&self, keys: &Keys, read: Read) -> Result<Page> {
        let index = match read {
            Read::Latest => self.index,
            Read::At(index) if index > self.index => {
                return Err(Error::Future { asked: index, index: self.index });
            }
            Read::At(index) if index < self.compacted => {
                return Err(Error::Compacted { asked: index, compacted: self.compacted });
            }
            Read::At(index) => index,
        };
        if keys.is_empty() {
            return Ok(Page { index, ..Page::default() });
        }
        let upper = keys.end().map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (Bound::Included(keys.start()), upper);
        let mut found: BTreeMap<&Key, &Kv> = self.kvs.range::<str, _>(bounds).collect();
        // Undo, newest first, what came after.
        let later = self.log.iter().rev().take_while(|event| event.index > index);
        for op in later.flat_map(|event| event.ops.iter()).filter(|op| keys.contains(&op.key)) {
            match &op.prev {
                Some(prev) => drop(found.insert(&op.key, prev)),
                None => drop(found.remove(&op.key)),
            }
        }
        Page::fill(index, found.into_values().cloned().map(Ok))
    }

    pub(super) fn txn(&mut self, txn: &Txn) -> Result<TxnOutcome> {
        let ops = txn::decide(txn, self.next_index(), self)?;
        let changed = ops.len();
        if changed > 0 {
            match self.faults.pop_front() {
                Some(Fault::NoSpace) => return Err(Error::NoSpace { path: "memory".into() }),
                Some(Fault::AmbiguousLost) => return Err(ambiguous()),
                Some(Fault::AmbiguousDone) => {
                    self.commit(ops);
                    return Err(ambiguous());
                }
                None => self.commit(ops),
            }
        }
        Ok(TxnOutcome { index: self.index, changed })
    }

    fn next_index(&self) -> Index {
        Index(self.index.0 + 1)
    }

    fn commit(&mut self, ops: Vec<WatchOp>) {
        self.index = self.next_index();
        for op in &ops {
            if let Some(id) = op.prev.as_ref().and_then(|kv| kv.lease)
                && let Some(lease) = self.leases.get_mut(&id)
            {
                lease.keys.remove(&op.key);
            }
            match &op.next {
                Some(kv) => {
                    if let Some(lease) = kv.lease.and_then(|id| self.leases.get_mut(&id)) {
                        lease.keys.insert(op.key.clone());
                    }
                    self.kvs.insert(op.key.clone(), kv.clone());
                }
                None => drop(self.kvs.remove(&op.key)),
            }
        }
        let event = WatchEvent { index: self.index, ops: ops.into() };
        self.hub.publish(&event);
        self.log.push_back(event);
    }

    pub(super) fn watch(&mut self, keys: Keys) -> Result<Live> {
        self.hub.add(keys).map_err(|HubFull| Error::TooManyWatches { max: WATCHES_MAX })
    }

    /// A bounded piece of the log behind `after`, up to `until`.
    pub(super) fn log_after(
        &self,
        keys: &Keys,
        epoch: Epoch,
        after: Index,
        until: Index,
    ) -> Result<Chunk, WatchEnd> {
        if epoch != self.epoch {
            return Err(WatchEnd::EpochChanged { epoch: self.epoch });
        }
        if after < self.compacted {
            return Err(WatchEnd::Compacted { after, compacted: self.compacted });
        }
        let from = self.log.partition_point(|event| event.index <= after);
        let events = self.log.range(from..).take_while(|event| event.index <= until);
        let events: Vec<_> = events.take(CHUNK_EVENTS).collect();
        let full = events.len() == CHUNK_EVENTS;
        let upto = events.last().filter(|_| full).map_or(until, |event| event.index);
        let events = events.into_iter().filter_map(|event| event.within(keys)).collect();
        Ok(Chunk { events, upto })
    }

    pub(super) fn compact(&mut self, keep_from: Index) -> Result<()> {
        if keep_from > self.index {
            return Err(Error::Future { asked: keep_from, index: self.index });
        }
        if keep_from > self.compacted {
            self.compacted = keep_from;
            let gone = self.log.partition_point(|event| event.index <= keep_from);
            self.log.drain(..gone);
        }
        Ok(())
    }

    pub(super) fn lease_grant(&mut self, ttl: Duration) -> Result<LeaseId> {
        let ttl = Duration::from_millis(admit(ttl, self.leases.len())?);
        self.last_lease += 1;
        let id = LeaseId(self.last_lease);
        self.leases.insert(id, Lease { ttl, ends: self.now + ttl, keys: BTreeSet::new() });
        Ok(id)
    }

    pub(super) fn lease_keepalive(&mut self, id: LeaseId) -> Result<Duration> {
        let lease = self.leases.get_mut(&id).ok_or(Error::LeaseGone { id })?;
        lease.ends = self.now + lease.ttl;
        Ok(lease.ttl)
    }

    pub(super) fn lease_revoke(&mut self, id: LeaseId) -> Result<()> {
        let lease = self.leases.get(&id).ok_or(Error::LeaseGone { id })?;
        let ops = lease.keys.iter().map(|key| Op::Delete(key.clone())).collect();
        let txn = Txn { compares: vec![], ops };
        let ops = txn::decide(&txn, self.next_index(), self)?;
        if !ops.is_empty() {
            self.commit(ops);
        }
        self.leases.remove(&id);
        Ok(())
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
        let mut over: Vec<_> = self.leases.iter().map(|(id, lease)| (lease.ends, *id)).collect();
        over.retain(|(ends, _)| *ends <= self.now);
        over.sort_unstable();
        for (_, id) in over {
            self.lease_revoke(id).expect("it is in the list of leases, and memory cannot fail");
        }
    }

    pub(super) fn restored_as(&mut self, epoch: Epoch, jump: u64) {
        self.epoch = epoch;
        self.index = Index(self.index.0 + jump);
        self.compacted = self.index;
        self.log.clear();
        self.hub.end_all(&WatchEnd::EpochChanged { epoch });
    }
}
