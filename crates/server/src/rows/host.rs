//! Rows of hosts: what is on each, what is reserved, and what keeps a drain from its end.

use super::instance::instance_rows;
use api::wire::{HostDetail, HostRow, InstanceRow, LeftRow};
use model::cluster::Cluster;
use model::host::{Host, HostLink, Scheduling};
use model::id::{HostId, ServiceId};
use model::instance::{Goal, Phase};
use model::reason::{Blocked, Reason};
use model::record::Service;
use std::collections::BTreeSet;

fn strays(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(
            "no stack knows the containers {}; `docker rm -f` removes what is not wanted",
            names.join(", ")
        ),
    }
}

fn reason(host: &Host, trouble: &str) -> String {
    let facts = &host.facts;
    let strays = strays(&facts.strays);
    let problems = [&facts.engine_problem, &facts.network_problem, &facts.dataplane_problem];
    let left_out = match facts.plain_left_out {
        0 => String::new(),
        more => format!("{more} more plain containers than are listed"),
    };
    let refused = facts.expose_refused.iter();
    let refused: Vec<String> = refused.map(|(port, why)| format!("port {port}: {why}")).collect();
    [strays.as_str(), &host.reason, trouble, left_out.as_str(), &refused.join("; ")]
        .into_iter()
        .chain(problems.map(String::as_str))
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

/// The row of a host; `trouble` is what keeps its agent away besides what the cluster knows.
#[must_use]
pub(crate) fn host_row(cluster: &Cluster, host: &Host, trouble: &str) -> HostRow {
    let (mut instances, mut cpu, mut memory) = (0, 0_u64, 0_u64);
    for instance in cluster.instances().filter(|i| i.host == host.id) {
        instances += 1;
        if instance.goal != Goal::Run {
            continue;
        }
        let revision = cluster.revision(&instance.id.service, instance.target.revision);
        for (_, container) in revision.iter().flat_map(|r| r.template.containers()) {
            cpu = cpu.saturating_add(container.resources.cpu_reserved_milli);
            let bytes = u64::try_from(container.resources.memory_reserved).unwrap_or(0);
            memory = memory.saturating_add(bytes);
        }
    }
    HostRow {
        id: host.id.to_string(),
        status: match host.status {
            HostLink::Active => "active".into(),
            HostLink::Disconnected => "disconnected".into(),
            HostLink::Lost => "lost".into(),
            HostLink::Joined => "joined".into(),
        },
        scheduling: host.scheduling,
        reason: reason(host, trouble),
        instances,
        labels: host.all_labels(),
        cpu_reserved_milli: cpu,
        memory_reserved: memory,
        certificate_until: host.membership.certificate_until,
        facts: host.facts.clone(),
    }
}

/// A host whole.
#[must_use]
pub(crate) fn host_detail(cluster: &Cluster, id: &HostId, trouble: &str) -> Option<HostDetail> {
    let host = cluster.host(id)?;
    let services: BTreeSet<&ServiceId> =
        cluster.instances().filter(|i| i.host == *id).map(|i| &i.id.service).collect();
    let (mut instances, mut left) = (vec![], vec![]);
    for service in services.into_iter().filter_map(|id| cluster.service(id)) {
        let rows = instance_rows(cluster, service);
        if matches!(host.scheduling, Scheduling::Draining { .. }) {
            left.extend(left_of(cluster, service, id, &rows));
        }
        instances.extend(rows.into_iter().filter(|row| row.host == id.as_str()));
    }
    Some(HostDetail { host: host_row(cluster, host, trouble), instances, left })
}

/// What of a service has not left a host that drains.
fn left_of(
    cluster: &Cluster,
    service: &Service,
    host: &HostId,
    rows: &[InstanceRow],
) -> Vec<LeftRow> {
    let blocked = cluster.service_status(&service.id).map(|s| s.blocked.clone());
    let blocked = blocked.unwrap_or_default();
    let mut left = vec![];
    for instance in cluster.instances_of(&service.id).filter(|i| i.host == *host) {
        let seen = cluster.instance_status(&instance.id);
        let phase = seen.map(|seen| seen.phase).unwrap_or_default();
        let over = match instance.goal {
            // What has done its one job stays; what is stopped runs nothing.
            Goal::Run => phase == Phase::Completed,
            Goal::Stop => matches!(phase, Phase::Stopped | Phase::Completed | Phase::Absent),
            Goal::Remove => phase == Phase::Absent,
        };
        if over {
            continue;
        }
        let n = instance.id.n;
        let name = format!("{}#{n}", service.id);
        let runs = instance.goal == Goal::Run;
        let own = blocked.iter().find(|b| b.n == n && runs);
        let next = rows.iter().find(|row| {
            row.n == n && row.incarnation > instance.id.incarnation && row.host != host.as_str()
        });
        // What has no room for one has none for the next: the planner says it once.
        let drains =
            |b: &&Blocked| matches!(&b.reason, Reason::DrainWaits { host: at, .. } if at == host);
        let why = own.or_else(|| blocked.iter().find(drains).filter(|_| runs && next.is_none()));
        let (blocked, why) = match (why, next) {
            (Some(why), _) => {
                (!matches!(why.reason, Reason::Backoff { .. }), why.reason.to_string())
            }
            (None, _) if instance.goal != Goal::Run => (false, instance.reason.clone()),
            (None, Some(next)) => {
                let row = format!("its successor on host {} is {}", next.host, next.status);
                let colon = if next.reason.is_empty() { "" } else { ": " };
                (false, format!("{row}{colon}{}", next.reason))
            }
            (None, None) => (false, "it waits for its turn".to_owned()),
        };
        left.push(LeftRow { instance: name, blocked, why });
    }
    left
}
