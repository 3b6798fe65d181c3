//! The past, compaction, backup and restore.

use crate::{DEADLINE, Driver, all, next, texts, watch};
use model::limits::{STORE_PAGE_BYTES_MAX, STORE_VALUE_BYTES_MAX};
use model::time::Index;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use store::{Error, Keys, Kind, RESTORE_INDEX_JUMP, Read, Sqlite, Store, Txn, WatchEnd};

pub(crate) async fn the_past_can_be_read<S: Driver>(store: S) {
    let steps = [
        Txn::default().put("a", "1").put("b", "1"),
        Txn::default().put("a", "2"),
        Txn::default().delete("a").put("c", "3"),
        Txn::default().put("a", "4").delete("b"),
        Txn::default().put("a", "5").put("b", "5"),
    ];
    let mut pages = vec![all(&store).await];
    for step in steps {
        store.txn(step).await.unwrap();
        pages.push(all(&store).await);
    }
    for page in pages {
        let past = store.range(Keys::all(), Read::At(page.index)).await.unwrap();
        assert_eq!(past, page, "at {}", page.index);
        let part = store.range(Keys::one("a"), Read::At(page.index)).await.unwrap();
        let a: Vec<_> = page.kvs.into_iter().filter(|kv| &*kv.key == "a").collect();
        assert_eq!(part.kvs, a, "a at {}", page.index);
    }
    let error = store.range(Keys::all(), Read::At(Index(6))).await.unwrap_err();
    assert!(matches!(error, Error::Future { asked: Index(6), index: Index(5) }), "{error:?}");
}

pub(crate) async fn a_long_range_comes_in_pages_of_one_index<S: Driver>(store: S) {
    let count = STORE_PAGE_BYTES_MAX / STORE_VALUE_BYTES_MAX + 3;
    for n in 0..count {
        let value = vec![b'x'; STORE_VALUE_BYTES_MAX];
        store.txn(Txn::default().put(&format!("k{n:03}"), value)).await.unwrap();
    }
    let first = all(&store).await;
    assert!(first.kvs.len() < count, "the first page is not all");
    let rest = first.next.clone().expect("there is more");
    // The rest changes meanwhile, and the second page does not see it.
    store.txn(Txn::default().delete(&rest).put("k999", "")).await.unwrap();
    let rest = Keys::all().starting_at(&rest);
    let second = store.range(rest, Read::At(first.index)).await.unwrap();
    assert_eq!((second.index, second.next), (first.index, None));
    let keys: Vec<_> = first.kvs.iter().chain(&second.kvs).map(|kv| kv.key.to_string()).collect();
    assert_eq!(keys, (0..count).map(|n| format!("k{n:03}")).collect::<Vec<_>>());
}

pub(crate) async fn what_is_compacted_is_gone_and_what_is_not_is_there<S: Driver>(store: S) {
    for n in 1..=6 {
        store.txn(Txn::default().put("a", n.to_string())).await.unwrap();
    }
    let error = store.compact(Index(7)).await.unwrap_err();
    assert!(matches!(error, Error::Future { asked: Index(7), index: Index(6) }), "{error:?}");
    for (keep_from, compacted) in [(0, 0), (3, 3), (3, 3), (1, 3)] {
        store.compact(Index(keep_from)).await.unwrap();
        assert_eq!(store.status().await.compacted, Index(compacted));
    }
    for at in 0..3 {
        let error = store.range(Keys::all(), Read::At(Index(at))).await.unwrap_err();
        assert!(matches!(error, Error::Compacted { compacted: Index(3), .. }), "{error:?}");
        assert_eq!(error.kind(), Kind::Compacted);
    }
    for at in 3..=6 {
        let page = store.range(Keys::all(), Read::At(Index(at))).await.unwrap();
        assert_eq!(texts(&page), [("a".into(), at.to_string())]);
    }
    let mut events = watch(&store, "", 3).await;
    for index in 4..=6 {
        assert_eq!(next(&mut events).await.unwrap().index, Index(index));
    }
    // All of it, and the state itself stays.
    store.compact(Index(6)).await.unwrap();
    assert_eq!(texts(&all(&store).await), [("a".into(), "6".into())]);
    store.txn(Txn::default().put("a", "7")).await.unwrap();
    assert_eq!(next(&mut events).await.unwrap().index, Index(7));
}

pub(crate) async fn a_backup_becomes_a_store_that_never_goes_back<S: Driver>(store: S) {
    let lease = store.lease_grant(Duration::from_millis(100)).await.unwrap();
    store.txn(Txn::default().put("a", "1").put("b", "2")).await.unwrap();
    store.txn(Txn::default().put_leased("leased", "3", lease).delete("b")).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    let saved = all(&store).await;
    let meta = store.backup(&file).await.unwrap();
    let status = store.status().await;
    assert_eq!((meta.epoch, meta.index, meta.schema), (status.epoch, Index(2), status.schema));
    assert_eq!(meta.bytes, file.metadata().unwrap().len());
    assert_eq!(meta.sha256.len(), 64);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    // The backup does not have what came after it.
    store.txn(Txn::default().put("after", "")).await.unwrap();
    let home = dir.path().join("restored");
    let restored = store::restore(&file, &home).unwrap();
    let index = Index(2 + RESTORE_INDEX_JUMP);
    assert_eq!((restored.from, restored.index, restored.aside), (Index(2), index, None));
    let again = Sqlite::open(&home).await.unwrap();
    let now = again.status().await;
    assert_eq!((now.epoch, now.index, now.compacted), (restored.epoch, index, index));
    assert_ne!(now.epoch, status.epoch);
    assert_eq!(all(&again).await.kvs, saved.kvs);

    // Whoever watched before learns that history was lost.
    let mut old = again.watch(Keys::all(), Index(2), status.epoch).await.unwrap();
    let end = next(&mut old).await.unwrap_err();
    assert!(matches!(end, WatchEnd::EpochChanged { epoch } if epoch == now.epoch), "{end:?}");

    // The lease went along, and ends by its time.
    let mut events = again.watch(Keys::one("leased"), index, now.epoch).await.unwrap();
    let gone = tokio::time::timeout(DEADLINE, events.next()).await.unwrap().unwrap();
    assert!(gone.ops[0].next.is_none());
    assert_eq!(gone.index, Index(index.0 + 1));
}

pub(crate) async fn a_backup_takes_no_existing_file<S: Driver>(store: S) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("precious");
    std::fs::write(&file, "mine").unwrap();
    let error = store.backup(&file).await.unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let error = store.backup(&dir.path().join("no/such/folder")).await.unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error:?}");
    assert!(error.to_string().contains("no/such/folder"), "{error}");
}
