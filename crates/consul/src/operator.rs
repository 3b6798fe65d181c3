//! `/v1/operator/…`: one server, which leads and is well as long as it answers.

use crate::answer::Answer;
use crate::route::Route;
use crate::serve::{Consul, Endpoint};
use http::Method;
use serde_json::json;
use store::Store;

/// Its endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operator {
    Raft,
    Configuration,
    Health,
    State,
}

const fn row(path: &'static str, to: Operator) -> Route<Endpoint> {
    Route { path, methods: &[Method::GET], to: Endpoint::Operator(to) }
}

pub(crate) const ROUTES: &[Route<Endpoint>] = &[
    row("operator/raft/configuration", Operator::Raft),
    row("operator/autopilot/configuration", Operator::Configuration),
    row("operator/autopilot/health", Operator::Health),
    row("operator/autopilot/state", Operator::State),
];

/// Answers a request.
pub(crate) async fn answer<S: Store>(consul: &Consul<S>, endpoint: Operator) -> Answer {
    let (facts, status) = (consul.facts(), consul.store().status().await);
    // The epoch names the history that this server has: as good as an id as there is.
    let (id, name, address) = (status.epoch.to_string(), &facts.node, facts.leader());
    let index = status.index.0;
    let server = json!({
        "ID": id, "Name": name, "Address": address, "SerfStatus": "alive",
        "Version": env!("CARGO_PKG_VERSION"), "Leader": true, "LastContact": "0s", "LastTerm": 1,
        "LastIndex": index, "Healthy": true, "Voter": true,
    });
    match endpoint {
        Operator::Raft => Answer::json(&json!({
            "Servers": [{
                "ID": id, "Node": name, "Address": address, "Leader": true, "Voter": true,
                "ProtocolVersion": "3", "LastIndex": index,
            }],
            "Index": index,
        })),
        Operator::Configuration => Answer::json(&json!({
            "CleanupDeadServers": true, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250,
            "MinQuorum": 0, "ServerStabilizationTime": "10s", "RedundancyZoneTag": "",
            "DisableUpgradeMigration": false, "UpgradeVersionTag": "", "CreateIndex": 1,
            "ModifyIndex": 1,
        })),
        Operator::Health => Answer::json(&json!({
            "Healthy": true, "FailureTolerance": 0, "Servers": [server],
        })),
        Operator::State => Answer::json(&json!({
            "Healthy": true, "FailureTolerance": 0, "OptimisticFailureTolerance": 0,
            "Servers": { id.clone(): server }, "Leader": id, "Voters": [id],
        })),
    }
}
