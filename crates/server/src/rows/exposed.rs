//! Rows of exposed services, and the reasons that they give to services and plain containers.

use api::wire::{ExposedRow, InstancePage, StandaloneRow};
use control::publish::exposure::{self, Shown};
use model::cluster::Cluster;
use model::id::{InstanceId, ServiceId};
use std::collections::{BTreeMap, BTreeSet};

/// All of them.
#[must_use]
pub(crate) fn exposed_rows(cluster: &Cluster) -> Vec<ExposedRow> {
    exposure::shown(cluster).into_iter().map(row).collect()
}

fn row(shown: Shown) -> ExposedRow {
    ExposedRow {
        name: shown.front.name,
        kind: shown.front.kind.as_str().to_owned(),
        at: shown.at,
        endpoints: shown.endpoints,
        ready: shown.ready,
        reason: shown.problems.join("; "),
    }
}

/// Says of what is listed why it is not exposed as it asks to be.
pub(crate) fn add_reasons(cluster: &Cluster, page: &mut InstancePage) {
    let shown = exposure::shown(cluster);
    if shown.iter().all(|one| one.problems.is_empty()) {
        return;
    }
    let plain = |row: &StandaloneRow| {
        let id = format!("{}/{}", row.host, row.container_id).parse().ok()?;
        exposure::id_of_plain(&id)
    };
    let plains = page.standalone.iter().enumerate();
    let plains: BTreeMap<InstanceId, usize> =
        plains.filter_map(|(at, row)| Some((plain(row)?, at))).collect();
    let services = page.services.iter().enumerate();
    let services: BTreeMap<ServiceId, usize> =
        services.filter_map(|(at, row)| Some((row.name.parse().ok()?, at))).collect();
    for one in shown.into_iter().filter(|one| !one.problems.is_empty()) {
        let (kind, name) = (one.front.kind.as_str(), &one.front.name);
        let why = format!("exposed as {kind} {name}: {}", one.problems.join("; "));
        let of: BTreeSet<&ServiceId> = one.members.iter().map(|id| &id.service).collect();
        for at in of.into_iter().filter_map(|id| services.get(id)) {
            page.services[*at].reasons.push(why.clone());
        }
        for at in one.members.iter().filter_map(|id| plains.get(id)) {
            let reason = &mut page.standalone[*at].reason;
            if !reason.is_empty() {
                reason.push_str("; ");
            }
            reason.push_str(&why);
        }
    }
}
