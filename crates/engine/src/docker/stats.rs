//! Resource use of a container, once.

use super::connection::Docker;
use crate::error::{Error, Result};
use crate::reference::path_safe;
use crate::seen::Stats;
use bollard::models::{ContainerCpuStats, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;

impl Docker {
    pub(super) async fn container_stats(&self, id: &str) -> Result<Stats> {
        let id = path_safe("container", id)?;
        let operation = format!("measure container {id}");
        // Docker takes two samples, a second apart, and gives both.
        let options = StatsOptionsBuilder::default().stream(false).one_shot(false).build();
        let found = self
            .call(&operation, self.deadlines().call_ms, |client| async move {
                client.bollard.stats(id, Some(options)).boxed().next().await.transpose()
            })
            .await?;
        match found {
            Some(found) => Ok(of_response(&found)),
            None => Err(Error::Answer { operation, source: "it is empty".into() }),
        }
    }
}

fn of_response(found: &ContainerStatsResponse) -> Stats {
    let networks = found.networks.as_ref();
    let network = |pick: fn(&bollard::models::ContainerNetworkStats) -> Option<u64>| {
        networks.map_or(0, |all| all.values().filter_map(pick).sum())
    };
    let block = |wanted: &str| -> u64 {
        let entries =
            found.blkio_stats.as_ref().and_then(|b| b.io_service_bytes_recursive.as_ref());
        entries.map_or(0, |entries| {
            let of_kind = entries
                .iter()
                .filter(|e| e.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(wanted)));
            of_kind.filter_map(|e| e.value).sum()
        })
    };
    let (memory, memory_limit) = found.memory_stats.as_ref().map_or((0, 0), memory);
    Stats {
        cpu_percent: cpu_percent(found.cpu_stats.as_ref(), found.precpu_stats.as_ref()),
        cpu_total_ns: cpu_total(found.cpu_stats.as_ref()),
        memory,
        memory_limit,
        net_rx: network(|n| n.rx_bytes),
        net_tx: network(|n| n.tx_bytes),
        block_read: block("read"),
        block_write: block("write"),
        pids: found.pids_stats.as_ref().and_then(|p| p.current).unwrap_or(0),
    }
}

fn cpu_total(stats: Option<&ContainerCpuStats>) -> u64 {
    stats.and_then(|s| s.cpu_usage.as_ref()?.total_usage).unwrap_or(0)
}

/// Percent of one core: the container's share of the machine's time, times the cores.
#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn cpu_percent(now: Option<&ContainerCpuStats>, before: Option<&ContainerCpuStats>) -> f64 {
    let system = |stats: Option<&ContainerCpuStats>| stats.and_then(|s| s.system_cpu_usage);
    let used = cpu_total(now).saturating_sub(cpu_total(before));
    let (Some(end), Some(begin)) = (system(now), system(before)) else { return 0.0 };
    let passed = end.saturating_sub(begin);
    if passed == 0 {
        return 0.0;
    }
    let cores = now.and_then(|s| s.online_cpus).unwrap_or(1).max(1);
    used as f64 / passed as f64 * f64::from(cores) * 100.0
}

/// Page cache that is not in use can go at any time: it does not count (cgroup v1, then v2 name).
fn memory(stats: &ContainerMemoryStats) -> (u64, u64) {
    let detail = |key: &str| stats.stats.as_ref().and_then(|all| all.get(key).copied());
    let idle = detail("total_inactive_file").or_else(|| detail("inactive_file")).unwrap_or(0);
    let used = stats.usage.unwrap_or(0);
    (used.checked_sub(idle).unwrap_or(used), stats.limit.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_counts_becomes_what_people_read() {
        let found: ContainerStatsResponse = serde_json::from_str(
            r#"{"cpu_stats":{"cpu_usage":{"total_usage":3000},"system_cpu_usage":20000,"online_cpus":2},
            "precpu_stats":{"cpu_usage":{"total_usage":1000},"system_cpu_usage":10000},
            "memory_stats":{"usage":500,"limit":1000,"stats":{"total_inactive_file":100}},
            "networks":{"eth0":{"rx_bytes":5,"tx_bytes":6},"eth1":{"rx_bytes":1,"tx_bytes":1}},
            "blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":7},{"op":"write","value":8}]},
            "pids_stats":{"current":3}}"#,
        )
        .unwrap();
        let stats = of_response(&found);
        assert!((stats.cpu_percent - 40.0).abs() < 1e-9, "{stats:?}");
        assert_eq!((stats.memory, stats.memory_limit, stats.pids), (400, 1000, 3));
        assert_eq!((stats.net_rx, stats.net_tx), (6, 7));
        assert_eq!((stats.block_read, stats.block_write), (7, 8));
    }

    #[test]
    fn the_first_sample_has_no_percentage() {
        assert_eq!(of_response(&ContainerStatsResponse::default()), Stats::default());
    }
}
