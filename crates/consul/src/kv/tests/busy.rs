//! Deletes of many keys: while others write, and more of them than a transaction holds.

use crate::testing::{open, send, told};
use bytes::Bytes;
use model::limits::CONSUL_DELETED_AT_ONCE;
use model::time::Index;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use store::{
    BackupMeta, Compare, Epoch, Keys, LeaseId, Memory, Op, Page, Read, Result, Status, Store, Txn,
    TxnOutcome, Watch,
};

/// Before each transaction that rests on more than `calm` keys somebody writes one of them.
#[derive(Clone, Debug)]
struct Busy {
    store: Memory,
    calm: usize,
    written: Arc<AtomicUsize>,
}

impl Store for Busy {
    async fn status(&self) -> Status {
        self.store.status().await
    }

    async fn range(&self, keys: Keys, read: Read) -> Result<Page> {
        self.store.range(keys, read).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        if txn.compares.len() > self.calm
            && let Some(Compare::Modified(key, _)) = txn.compares.last()
        {
            let n = self.written.fetch_add(1, Ordering::Relaxed);
            let value = format!("{{\"v\":1}}\n{n}");
            self.store.txn(Txn::default().put(key, value)).await?;
        }
        self.store.txn(txn).await
    }

    async fn watch(&self, keys: Keys, after: Index, epoch: Epoch) -> Result<Watch> {
        self.store.watch(keys, after, epoch).await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId> {
        self.store.lease_grant(ttl).await
    }

    async fn lease_keepalive(&self, id: LeaseId) -> Result<Duration> {
        self.store.lease_keepalive(id).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<()> {
        self.store.lease_revoke(id).await
    }

    async fn compact(&self, keep_from: Index) -> Result<()> {
        self.store.compact(keep_from).await
    }

    async fn backup(&self, path: &Path) -> Result<BackupMeta> {
        self.store.backup(path).await
    }
}

/// A store with so many keys below `p/`, and one beside them.
async fn filled(count: usize) -> Memory {
    let store = Memory::default();
    let value = Bytes::from_static(b"{\"v\":1}\nv");
    let names = (0..count).map(|n| format!("p/{n:06}")).chain(["q".to_owned()]);
    let put =
        |name: String| Op::Put { key: crate::kv::kv_key(&name), value: value.clone(), lease: None };
    store.txn(Txn { compares: vec![], ops: names.map(put).collect() }).await.unwrap();
    store
}

#[tokio::test]
async fn a_recursive_delete_ends_however_often_others_write_below_it() {
    for calm in [40, 1] {
        let written = Arc::new(AtomicUsize::new(0));
        let store = Busy { store: filled(300).await, calm, written: Arc::clone(&written) };
        let consul = open(store).await;
        assert_eq!(told(&consul, "DELETE", "kv/p/?recurse", "").await, (200, "true".into()));
        assert_eq!(told(&consul, "GET", "kv/?keys", "").await.1, "[\"q\"]");
        assert!(written.load(Ordering::Relaxed) > 4, "it was disturbed");
    }
}

#[tokio::test]
async fn a_tree_that_a_transaction_cannot_delete_is_refused_and_stays() {
    let consul = open(filled(CONSUL_DELETED_AT_ONCE + 1).await).await;
    let index = |path: &'static str| {
        let consul = &consul;
        async move { send(consul, "GET", path, "").await.index() }
    };
    let before = index("kv/p/?keys").await;
    let one =
        |verb: &str, key: &str| format!("{{\"KV\":{{\"Verb\":\"{verb}\",\"Key\":\"{key}\"}}}}");
    let tree = one("delete-tree", "p/");
    let (status, text) = told(&consul, "PUT", "txn", format!("[{tree}]")).await;
    assert_eq!(status, 413, "{text}");
    assert!(text.contains("30000 keys or 8 MiB"), "{text}");
    assert_eq!(index("kv/p/?keys").await, before);
    // In two trees it is as many, and one that was read counts.
    let (first, second) = (one("delete-tree", "p/00"), one("delete-tree", "p/"));
    assert_eq!(told(&consul, "PUT", "txn", format!("[{first},{second}]")).await.0, 413);
    told(&consul, "DELETE", "kv/p/000000", "").await;
    assert_eq!(told(&consul, "PUT", "txn", format!("[{}]", one("get", "q"))).await.0, 200);
    let with = format!("[{},{tree}]", one("get", "q"));
    assert_eq!(told(&consul, "PUT", "txn", with).await.0, 413);
    assert_eq!(told(&consul, "PUT", "txn", format!("[{tree}]")).await.0, 200);
    assert_eq!(told(&consul, "GET", "kv/?keys", "").await.1, "[\"q\"]");
}
