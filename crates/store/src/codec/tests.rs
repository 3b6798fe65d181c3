//! What is written today must be read by every later version, so the form is fixed here.

use super::*;
use bytes::Bytes;
use model::host::Environment;
use model::id::InstanceId;
use model::instance::InstanceStatus;
use model::record::{Stack, Token, TokenRole};
use model::time::Timestamp;

fn stack(name: &str) -> Record {
    let name = name.parse().unwrap();
    Record::Stack(Arc::new(Stack { name, volumes: BTreeMap::new(), created_at: Timestamp(7) }))
}

fn kv(key: &str, value: &str) -> Kv {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Kv { key: key.into(), value, created: Index(1), modified: Index(2), lease: None }
}

fn put(key: &str, value: &str) -> WatchEvent {
    let next = Some(kv(key, value));
    WatchEvent { index: Index(2), ops: [WatchOp { key: key.into(), prev: None, next }].into() }
}

const STACK: &str =
    r#"{"v":1,"body":{"record":"stack","value":{"name":"shop","volumes":{},"created_at":7}}}"#;

#[test]
fn the_form_of_a_record_is_fixed() {
    let change = Change { edits: vec![Edit::Put(stack("shop")), Edit::Delete(stack("old").key())] };
    let reads = vec![(stack("shop").key(), None), (stack("old").key(), Some(Index(3)))];
    let txn = encode(&Proposal { reads, change }).unwrap();
    let wanted = Txn::default()
        .if_absent("state/stack/shop")
        .if_modified("state/stack/old", Index(3))
        .put("state/stack/shop", STACK)
        .delete("state/stack/old");
    assert_eq!(txn, wanted);
}

#[test]
fn every_kind_of_record_survives() {
    let id: InstanceId = "shop/web#1@2".parse().unwrap();
    let status = InstanceStatus { reason: "ü \u{0} \"".into(), ..InstanceStatus::default() };
    let token = Token {
        id: "ab12".into(),
        hash: "00".into(),
        role: TokenRole::Join,
        expires_at: None,
        created_at: Timestamp(1),
        uses_max: None,
        used_by: [].into(),
        labels: [].into(),
        host: None,
    };
    let environment = Environment {
        id: "e1".into(),
        name: "default".into(),
        subnet: "10.42.0.0/16".parse().unwrap(),
        rebalance: model::host::Rebalance::default(),
        overlay: model::host::OverlayMode::default(),
        policy: model::policy::NetworkPolicy::default(),
        keys: Default::default(),
        dns: Default::default(),
        expose: Default::default(),
        consul: Default::default(),
    };
    let records = [
        stack("shop"),
        Record::InstanceStatus(id, Arc::new(status)),
        Record::Token(Arc::new(token)),
        Record::Environment(Arc::new(environment)),
    ];
    let change = Change { edits: records.iter().cloned().map(Edit::Put).collect() };
    let txn = encode(&Proposal { reads: vec![], change: change.clone() }).unwrap();
    let mut page = Page { index: Index(9), ..Page::default() };
    let mut ops = Vec::new();
    for op in txn.ops {
        let Op::Put { key, value, .. } = op else { panic!("{op:?}") };
        let kv = Kv { key: key.clone(), value, created: Index(1), modified: Index(4), lease: None };
        page.kvs.push(kv.clone());
        ops.push(WatchOp { key, prev: Some(kv.clone()), next: Some(kv) });
    }
    let decoded = decode(&WatchEvent { index: Index(4), ops: ops.into() }).unwrap();
    assert_eq!(decoded.change(), change);
    let before: Vec<_> = decoded.edits.into_iter().filter_map(|(before, _)| before).collect();
    assert_eq!(before, records);
    assert_eq!(load(&page).unwrap(), BTreeMap::from([(Index(4), change)]));
}

#[test]
fn the_last_of_several_edits_of_one_record_counts() {
    let gone = Edit::Delete(stack("shop").key());
    let edits = vec![gone, Edit::Put(stack("other")), Edit::Put(stack("shop"))];
    let change = Change { edits };
    let txn = encode(&Proposal { reads: vec![], change }).unwrap();
    let keys: Vec<_> = txn.ops.iter().map(|op| op.key().to_string()).collect();
    assert_eq!(keys, ["state/stack/other", "state/stack/shop"]);
    assert!(matches!(txn.ops[1], Op::Put { .. }));
}

#[test]
fn too_much_for_one_transaction_is_an_error_here_already() {
    let reads = vec![(RecordKey::Environment, None); model::limits::STORE_TXN_OPS_MAX + 1];
    let error = encode(&Proposal { reads, change: Change::default() }).unwrap_err();
    assert!(matches!(error, Error::TxnTooLarge { .. }), "{error:?}");
}

#[test]
fn what_is_not_ours_or_newer_is_passed_over() {
    for key in ["kv/a", "sys/leader", "state/gateway/x", "state/quota", "states/stack/shop"] {
        assert_eq!(decode(&put(key, "anything")).unwrap().edits, [], "{key}");
        let page = Page { index: Index(2), kvs: vec![kv(key, "anything")], next: None };
        assert!(load(&page).unwrap().is_empty(), "{key}");
    }
}

#[test]
fn what_cannot_be_understood_is_an_error_that_names_the_record() {
    let newer = STACK.replace("\"v\":1", "\"v\":2");
    let other = STACK.replace("shop", "other");
    for (key, value, variant) in [
        ("state/stack/shop", "", "Record "),
        ("state/stack/shop", "{\"v\":1}", "Record "),
        ("state/stack/shop", "\u{1}", "Record "),
        ("state/stack/shop", &newer, "NewerRecord"),
        ("state/stack/shop", "{\"v\":7,\"pages\":[]}", "NewerRecord"),
        ("state/stack/shop", &other, "MisplacedRecord"),
        ("state/stack/a b", STACK, "RecordKey"),
        ("state/revision/shop/web/x", STACK, "RecordKey"),
    ] {
        let error = decode(&put(key, value)).unwrap_err();
        assert!(format!("{error:?}").starts_with(variant), "{key} {value}: {error:?}");
        assert!(error.to_string().contains(key), "{error}");
        let page = Page { index: Index(2), kvs: vec![kv(key, value)], next: None };
        assert!(load(&page).is_err());
    }
}

#[test]
fn damage_that_was_written_over_is_no_trouble() {
    let key: Key = "state/stack/shop".into();
    let op =
        WatchOp { key: key.clone(), prev: Some(kv(&key, "damage")), next: Some(kv(&key, STACK)) };
    let decoded = decode(&WatchEvent { index: Index(2), ops: [op].into() }).unwrap();
    assert_eq!(decoded.edits, [(None, Edit::Put(stack("shop")))]);
}

/// A new kind does not build until it is here, and then not pass until it is in `KINDS`.
#[test]
fn every_kind_of_key_is_known() {
    let service = || "shop/web".parse().unwrap();
    let instance = || "shop/web#1@1".parse().unwrap();
    let mut key = Some(RecordKey::Environment);
    let mut kinds = Vec::new();
    while let Some(now) = key {
        kinds.push(now.to_string().split('/').next().unwrap().to_owned());
        key = match now {
            RecordKey::Environment => Some(RecordKey::Stack("shop".parse().unwrap())),
            RecordKey::Stack(_) => Some(RecordKey::Service(service())),
            RecordKey::Service(_) => Some(RecordKey::Revision(service(), 1)),
            RecordKey::Revision(..) => Some(RecordKey::ServiceStatus(service())),
            RecordKey::ServiceStatus(_) => Some(RecordKey::Instance(instance())),
            RecordKey::Instance(_) => Some(RecordKey::InstanceStatus(instance())),
            RecordKey::InstanceStatus(_) => Some(RecordKey::Host("alpha".parse().unwrap())),
            RecordKey::Host(_) => Some(RecordKey::Token("ab".into())),
            RecordKey::Token(_) => Some(RecordKey::Plain("alpha/ab12".parse().unwrap())),
            RecordKey::Plain(id) => Some(RecordKey::Attachment(id)),
            RecordKey::Attachment(_) => {
                Some(RecordKey::Floating(std::net::Ipv4Addr::new(192, 0, 2, 50)))
            }
            RecordKey::Floating(_) => Some(RecordKey::ClientNode("db".into())),
            RecordKey::ClientNode(_) => Some(RecordKey::ClientService("h1/web".parse().unwrap())),
            RecordKey::ClientService(key) => Some(RecordKey::ClientCheck(key)),
            RecordKey::ClientCheck(key) => Some(RecordKey::CheckState(key)),
            RecordKey::CheckState(_) => Some(RecordKey::Query("8f246b77".into())),
            RecordKey::Query(_) => None,
        };
    }
    assert_eq!(kinds, KINDS);
}
