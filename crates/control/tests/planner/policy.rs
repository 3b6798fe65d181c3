//! Network policy: what each host is to hold of it, followed change by change, and what it says of
//! single connections.

use crate::world::{World, service};
use control::policy::explain;
use model::host::HostLink;
use model::policy::{HostPolicy, PolicyAction, Unlisted};
use model::service::Transport;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

fn held(world: &World, host: &str) -> HostPolicy {
    (*control::host::spec(&world.cluster, &host.parse().unwrap()).policy).clone()
}

/// What all hosts hold, put together.
fn all(world: &World) -> Vec<HostPolicy> {
    world.cluster.hosts().map(|host| held(world, host.id.as_str())).collect()
}

fn addresses(world: &World, name: &str) -> BTreeSet<Ipv4Addr> {
    world.cluster.instances_of(&service(name)).filter_map(|one| one.address).collect()
}

fn says(world: &World, from: &str, to: &str, port: Option<u16>) -> (PolicyAction, String) {
    let name = |name: &str| format!("shop/{name}");
    let port = port.map(|port| (port, Transport::Tcp));
    let verdict = explain(&world.cluster, &name(from), &name(to), port).unwrap();
    (verdict.action, verdict.by)
}

use PolicyAction::{Allow, Deny};

#[test]
fn without_a_word_about_it_hosts_hold_nothing() {
    let mut world = World::new();
    world.up(&["web image=good:1 scale=2 check"]);
    world.until_done();
    assert_eq!(all(&world), [HostPolicy::default()]);
    assert_eq!(says(&world, "web", "web", Some(80)).0, Allow);
}

#[test]
fn a_service_with_rules_of_its_own_is_guarded_where_it_is_and_knows_whom_it_lets_in() {
    let mut world = World::new();
    world.host("beta", HostLink::Active);
    world.up(&[
        "web image=good:1 scale=2 check",
        "db image=good:1 guard allow=web",
        "batch image=good:1",
    ]);
    world.until_done();
    let at = world.cluster.instances_of(&service("db")).next().unwrap().host.to_string();
    let other = if at == "alpha" { "beta" } else { "alpha" };
    assert_eq!(held(&world, other), HostPolicy::default(), "nothing there has rules");
    let policy = held(&world, &at);
    assert_eq!(policy.unlisted, Unlisted::Allow);
    assert_eq!(policy.guarded.keys().copied().collect::<BTreeSet<_>>(), addresses(&world, "db"));
    assert_eq!(policy.guards["shop/db"].default, Deny);
    assert_eq!(policy.sources["service shop/web"], addresses(&world, "web"));
    assert_eq!(says(&world, "web", "db", None).0, Allow);
    let (action, by) = says(&world, "batch", "db", Some(5432));
    assert_eq!((action, by.as_str()), (Deny, "the default of shop/db"));
    // Another instance of a source is let in from the moment on that it has an address.
    world.up(&[
        "web image=good:1 scale=3 check",
        "db image=good:1 guard allow=web",
        "batch image=good:1",
    ]);
    assert_eq!(addresses(&world, "web").len(), 3);
    assert_eq!(held(&world, &at).sources["service shop/web"], addresses(&world, "web"));
    world.until_done();
    world.up(&["web image=good:1 scale=3 check", "db image=good:1", "batch image=good:1"]);
    world.until_done();
    assert_eq!(held(&world, &at), HostPolicy::default());
}

#[test]
fn the_first_rule_that_fits_decides_and_those_of_the_service_are_asked_first() {
    let mut world = World::new();
    world.up(&[
        "web image=good:1 tag=tier:front tag=team:a links=api",
        "api image=good:1 tag=team:a",
        "db image=good:1 tag=team:b allow=web",
        "log image=good:1 tag=team:b guard allow=api",
    ]);
    world.until_done();
    world.policy(
        r#"{"default": "deny", "rules": [
            {"action": "deny", "from": {"service": "shop/web"}, "ports": ["9000-9010"]},
            {"action": "allow", "within": "linked"},
            {"action": "allow", "from": {"selector": "tier=front"}, "to": {"service": "shop/db"}, "ports": ["80"]},
            {"action": "allow", "between": {"group_by": "team"}, "ports": ["7000/tcp"]}]}"#,
    );
    let own = "rule 1 of shop/db: allow from service shop/web";
    let table = [
        // Its own rule goes before the one that refuses.
        ("web", "db", Some(9_000), Allow, own),
        ("web", "api", Some(9_005), Deny, "rule 1 of the environment"),
        ("web", "api", Some(80), Allow, "rule 2 of the environment: allow within linked"),
        ("web", "api", None, Allow, "rule 2"),
        ("api", "web", Some(80), Deny, "the default of the environment"),
        ("api", "web", Some(7_000), Allow, "rule 4"),
        ("db", "log", Some(7_000), Deny, "the default of shop/log"),
        ("api", "log", Some(1), Allow, "rule 1 of shop/log"),
        ("api", "db", Some(7_000), Deny, "the default of the environment"),
        ("web", "web", Some(80), Deny, "the default"),
    ];
    for (from, to, port, action, by) in table {
        let (said, rule) = says(&world, from, to, port);
        assert!(said == action && rule.contains(by), "{from} to {to} {port:?}: {said} by {rule}");
    }
    let unknown = explain(&world.cluster, "shop/nobody", "shop/db", None).unwrap_err();
    assert!(unknown.contains("shop/nobody"), "{unknown}");
    assert_eq!(held(&world, "alpha").unlisted, Unlisted::Deny);
}

#[test]
fn a_stack_that_is_closed_lets_its_own_in() {
    let mut world = World::new();
    world.up(&["web image=good:1 scale=2", "db image=good:1"]);
    world.until_done();
    world.policy(r#"{"default": "deny", "rules": [{"action": "allow", "within": "stack"}]}"#);
    let policy = held(&world, "alpha");
    let all: BTreeSet<Ipv4Addr> =
        addresses(&world, "web").union(&addresses(&world, "db")).copied().collect();
    assert_eq!(policy.sources["stack shop"], all);
    assert_eq!(policy.guarded.len(), 3);
    world.policy(r#"{"default": "deny", "rules": [{"action": "allow", "within": "service"}]}"#);
    assert_eq!(says(&world, "web", "web", None).0, Allow);
    assert_eq!(says(&world, "web", "db", None).0, Deny);
    // Who has no rule at all is guarded by the default, a balancer like any other.
    world.up(&["web image=good:1 scale=2", "db image=good:1 port=81", "lb lb=80>web:8080"]);
    world.until_done();
    world.policy(r#"{"default": "deny"}"#);
    let policy = held(&world, "alpha");
    assert_eq!(policy.guards["shop/lb"].default, Deny);
    assert!(addresses(&world, "lb").iter().all(|address| policy.guarded[address] == "shop/lb"));
    for to in ["lb", "db"] {
        assert!(
            says(&world, "web", to, Some(80)).1.contains("by whoever reaches the host"),
            "{to}"
        );
    }
    world.policy("{}");
    assert_eq!(held(&world, "alpha"), HostPolicy::default());
}
