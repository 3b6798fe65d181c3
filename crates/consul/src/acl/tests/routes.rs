//! Every route with no token, one that may read everything, one that may write everything, and one
//! that may do everything. A route that is not in the table fails the test.

use super::{Guarded, request};
use crate::serve::TABLES;
use model::consul_access::AclMode;
use std::collections::BTreeSet;

/// What is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Nothing: it says nothing, or what may not be read is left out.
    Open,
    /// Any token that may read.
    Read,
    /// One that may write.
    Write,
    /// One that may do everything.
    All,
}

use Need::{All, Open, Read, Write};

const SERVICE: &str = r#"{"Name":"web"}"#;
const CHECK: &str = r#"{"Name":"c","TTL":"10s"}"#;

#[rustfmt::skip]
const TABLE: &[(&str, &str, &str, Need)] = &[
    ("GET", "status/leader", "", Open),
    ("GET", "status/peers", "", Open),
    ("PUT", "agent/service/register", SERVICE, Write),
    ("PUT", "agent/service/deregister/h1:a:80", "", Write),
    ("PUT", "agent/service/maintenance/h1:a:80?enable=true", "", Write),
    ("PUT", "agent/maintenance?enable=true", "", Write),
    ("PUT", "agent/check/register", CHECK, Write),
    ("PUT", "agent/check/deregister/c", "", Write),
    ("PUT", "agent/check/pass/c", "", Write),
    ("PUT", "agent/check/warn/c", "", Write),
    ("PUT", "agent/check/fail/c", "", Write),
    ("PUT", "agent/check/update/c", r#"{"Status":"passing"}"#, Write),
    ("PUT", "catalog/register", r#"{"Node":"o","Address":"1.2.3.4"}"#, Write),
    ("PUT", "catalog/deregister", r#"{"Node":"o"}"#, Write),
    ("GET", "kv/a", "", Read),
    ("PUT", "kv/a", "v", Write),
    ("DELETE", "kv/b", "", Write),
    ("PUT", "session/create", "", Write),
    ("PUT", "session/destroy/x", "", Write),
    ("PUT", "session/renew/x", "", Write),
    ("GET", "session/info/x", "", Open),
    ("GET", "session/list", "", Open),
    ("GET", "session/node/h1", "", Open),
    ("PUT", "txn", "[]", Open),
    ("PUT", "event/fire/e", "", Write),
    ("GET", "event/list", "", Open),
    ("GET", "operator/raft/configuration", "", Read),
    ("GET", "operator/autopilot/configuration", "", Read),
    ("GET", "operator/autopilot/health", "", Read),
    ("GET", "operator/autopilot/state", "", Read),
    ("GET", "snapshot", "", All),
    ("PUT", "snapshot", "", All),
    ("GET", "catalog/datacenters", "", Open),
    ("GET", "catalog/nodes", "", Open),
    ("GET", "catalog/services", "", Open),
    ("GET", "catalog/service/web", "", Open),
    ("GET", "catalog/connect/web", "", Open),
    ("GET", "catalog/gateway-services/web", "", Open),
    ("GET", "catalog/node/h1", "", Open),
    ("GET", "catalog/node-services/h1", "", Open),
    ("GET", "health/node/h1", "", Open),
    ("GET", "health/checks/web", "", Open),
    ("GET", "health/service/web", "", Open),
    ("GET", "health/connect/web", "", Open),
    ("GET", "health/ingress/web", "", Open),
    ("GET", "health/state/any", "", Open),
    ("GET", "agent/self", "", Read),
    ("GET", "agent/version", "", Read),
    ("GET", "agent/host", "", Read),
    ("GET", "agent/members", "", Open),
    ("GET", "agent/metrics", "", Read),
    ("GET", "agent/monitor", "", Read),
    ("GET", "agent/services", "", Open),
    ("GET", "agent/service/none", "", Read),
    ("GET", "agent/checks", "", Open),
    ("GET", "agent/health/service/id/none", "", Read),
    ("GET", "agent/health/service/name/web", "", Read),
    ("PUT", "agent/join/10.0.0.1", "", Write),
    ("PUT", "agent/leave", "", Write),
    ("PUT", "agent/force-leave/h1", "", Write),
    ("PUT", "agent/reload", "", Write),
    ("PUT", "agent/token/agent", "", Write),
    ("GET", "query", "", Open),
    ("POST", "query", r#"{"Name":"q","Service":{"Service":"web"}}"#, Write),
    ("GET", "query/none", "", Open),
    ("PUT", "query/none", "", Open),
    ("DELETE", "query/none", "", Write),
    ("GET", "coordinate/datacenters", "", Open),
    ("GET", "coordinate/nodes", "", Open),
    ("GET", "coordinate/node/h1", "", Read),
    ("PUT", "coordinate/update", r#"{"Node":"h1"}"#, Write),
    ("PUT", "config", r#"{"Kind":"service-defaults","Name":"web"}"#, Write),
    ("GET", "config/service-defaults/web", "", Read),
    ("GET", "config/inline-certificate/web", "", Read),
    ("GET", "config/inline-certificate", "", Read),
    ("DELETE", "config/service-defaults/web", "", Write),
    ("GET", "connect/ca/roots", "", Open),
    ("GET", "agent/connect/ca/roots", "", Open),
    ("GET", "connect/ca/configuration", "", Read),
    ("PUT", "connect/ca/configuration", "{}", Write),
    ("GET", "agent/connect/ca/leaf/web", "", Write),
    ("POST", "agent/connect/authorize", "{}", Write),
    ("GET", "connect/intentions", "", Open),
    ("POST", "connect/intentions", "{}", Open),
    ("GET", "connect/intentions/match", "", Open),
    ("GET", "connect/intentions/x", "", Write),
    ("PUT", "connect/intentions/x", "", Write),
    ("POST", "connect/intentions/x", "", Write),
    ("DELETE", "connect/intentions/x", "", Write),
    // Done already: refused to everybody, whoever asks.
    ("PUT", "acl/bootstrap", "", Open),
    ("GET", "acl/replication", "", Open),
    ("GET", "acl/token/self", "", Open),
    ("PUT", "acl/token", "{}", All),
    ("GET", "acl/token/x", "", Read),
    ("PUT", "acl/token/x", "{}", All),
    ("DELETE", "acl/token/x", "", All),
    ("GET", "acl/tokens", "", Read),
    ("PUT", "acl/policy", r#"{"Name":"p"}"#, All),
    ("GET", "acl/policy/x", "", Read),
    ("PUT", "acl/policy/x", "{}", All),
    ("DELETE", "acl/policy/x", "", All),
    ("GET", "acl/policy/name/x", "", Read),
    ("GET", "acl/policies", "", Read),
    ("PUT", "acl/role", r#"{"Name":"r"}"#, All),
    ("GET", "acl/role/x", "", Read),
    ("PUT", "acl/role/x", r#"{"Name":"r"}"#, All),
    ("DELETE", "acl/role/x", "", All),
    ("GET", "acl/role/name/x", "", Read),
    ("GET", "acl/roles", "", Read),
    ("GET", "acl/auth-methods", "", Read),
    ("GET", "acl/binding-rules", "", Read),
    ("PUT", "acl/auth-method", "{}", All),
    ("GET", "acl/auth-method/x", "", All),
    ("PUT", "acl/auth-method/x", "{}", All),
    ("DELETE", "acl/auth-method/x", "", All),
    ("PUT", "acl/binding-rule", "{}", All),
    ("GET", "acl/binding-rule/x", "", All),
    ("PUT", "acl/binding-rule/x", "{}", All),
    ("DELETE", "acl/binding-rule/x", "", All),
    ("POST", "acl/login", "{}", All),
    ("POST", "acl/logout", "{}", All),
    ("GET", "acl/list", "", Open),
    ("PUT", "acl/create", "{}", Open),
    ("POST", "acl/rules/translate", "", Open),
    ("DELETE", "acl/x", "", Open),
];

/// Rules that give one level to all that has names, and to operators.
fn rules(level: &str) -> String {
    let kinds = ["key", "service", "node", "session", "event", "query", "agent"];
    let named = kinds.map(|kind| format!("{kind}_prefix \"\" {{ policy = \"{level}\" }}\n"));
    format!("{}operator = \"{level}\"\nacl = \"read\"\n", named.concat())
}

#[tokio::test]
async fn every_route_is_refused_to_who_may_not() {
    let guarded = Guarded::new(AclMode::Deny).await;
    let read = guarded.token("read", &rules("read")).await;
    let write = guarded.token("write", &rules("write")).await;
    let config = r#"{"Kind":"service-defaults","Name":"web"}"#;
    guarded.json("PUT", "config", config, &guarded.root).await;
    let mut looked_at = BTreeSet::new();
    for (method, path, body, need) in TABLE {
        let route = TABLES.path_of(&request(method, path, "", "", false)).expect(path);
        looked_at.insert((route, *method));
        let tokens = [("none", "", Open), ("read", &*read, Read), ("write", &*write, Write)];
        for (name, token, has) in tokens.into_iter().chain([("all", &*guarded.root, All)]) {
            if (*path, *method, has) == ("snapshot", "PUT", All) {
                // An empty one is refused for what it is.
                assert_eq!(guarded.told(method, path, body, token).await.0, 500);
                continue;
            }
            let (status, text) = guarded.told(method, path, body, token).await;
            let done_already = text.contains("bootstrap no longer allowed");
            let refused = status == 403 && text.starts_with("Permission denied") && !done_already;
            assert_eq!(refused, has < *need, "{method} {path} with {name}: {status} {text}");
        }
    }
    let all: BTreeSet<(&str, &str)> = TABLES.all().collect();
    assert_eq!(looked_at, all, "a route is not in the table, or one of the table is no route");
}

#[tokio::test]
async fn a_token_that_there_is_not_gets_nothing() {
    let guarded = Guarded::new(AclMode::Allow).await;
    for (method, path, body, _) in TABLE {
        if path.starts_with("acl/bootstrap") {
            continue;
        }
        let (status, text) = guarded.told(method, path, body, "00000000-no-such").await;
        assert_eq!((status, text.as_str()), (403, "ACL not found"), "{method} {path}");
    }
}
