//! Entries and checks of clients as the catalog lists them.

use super::super::Catalog;
use super::*;
use model::change::{Change, Edit};
use model::record::Record;
use model::registration::{CheckPlan, ClientService};
use model::time::{Index, Timestamp};
use std::collections::BTreeMap;

fn service(node: &str, id: &str) -> Record {
    Record::ClientService(Arc::new(ClientService {
        key: ClientKey::new(node, id),
        service: "web".into(),
        tags: vec!["b".into(), "a".into()],
        address: String::new(),
        port: 80,
        meta: BTreeMap::new(),
        tagged_addresses: BTreeMap::new(),
        weight_passing: 1,
        weight_warning: 1,
        enable_tag_override: false,
    }))
}

fn check(id: &str, service: &str, probe: CheckProbe) -> Record {
    Record::ClientCheck(Arc::new(ClientCheck {
        key: ClientKey::new("db", id),
        name: id.into(),
        notes: String::new(),
        service: service.into(),
        plan: CheckPlan::of(probe),
        status: CheckStatus::Critical,
        deregister_after_ms: None,
        since: Timestamp(5),
    }))
}

fn state(id: &str, run: i64, status: CheckStatus) -> Record {
    Record::CheckState(Arc::new(CheckState {
        key: ClientKey::new("db", id),
        run: Timestamp(run),
        status,
        output: "seen".into(),
        changed_at: Timestamp(9),
    }))
}

fn node() -> Record {
    let node = ClientNode { name: "db".into(), address: "db.example".into(), ..Default::default() };
    Record::ClientNode(Arc::new(node))
}

fn cluster(records: Vec<Record>) -> Cluster {
    let mut cluster = Cluster::default();
    let edits = records.into_iter().map(Edit::Put).collect();
    cluster.apply(Index(1), &Change { edits });
    cluster
}

#[test]
fn what_clients_registered_is_listed_beside_ours_with_its_own_checks() {
    let alias = |service: &str| CheckProbe::Alias { service: service.into() };
    let catalog = Catalog::of(&cluster(vec![
        node(),
        service("db", "web:1"),
        service("db", "web:2"),
        service("elsewhere", "web:3"),
        check("c1", "web:1", CheckProbe::Told),
        check("c2", "web:2", CheckProbe::Told),
        check("disk", "", CheckProbe::Told),
        check("like", "web:2", alias("web:1")),
        check("unlike", "web:2", alias("nothing")),
        state("c1", 5, CheckStatus::Warning),
        state("c2", 4, CheckStatus::Passing),
        state("disk", 5, CheckStatus::Passing),
    ]));
    let entries: Vec<&Arc<Entry>> = catalog.services["web"].values().collect();
    assert_eq!(entries.len(), 2, "a service of no node is not listed");
    assert_eq!(entries[0].tags, ["b", "a"]);
    let told = |n: usize| {
        let of = |check: &Check| format!("{} {}", check.id, check.status.as_str());
        entries[n].checks.iter().map(of).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(told(0), "c1 warning");
    assert_eq!(told(1), "c2 critical, like warning, unlike critical", "a state of an earlier run");
    assert_eq!(catalog.nodes["db"].checks[0].status, CheckStatus::Passing);
    assert_eq!(catalog.nodes["db"].address, "db.example");
}
