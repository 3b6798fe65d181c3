//! What measured containers use: asked of the engine one at a time, since each answer takes it a
//! while, and at most every few seconds.

use super::{Look, Reconciler};
use engine::Engine;
use model::host_spec::HostSpec;
use model::host_status::Usage;
use model::id::InstanceId;
use model::time::Timestamp;
use network::Fabric;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two rounds.
const PERIOD: Duration = Duration::from_secs(5);

/// A container as it was measured.
pub(super) struct Measured {
    instance: InstanceId,
    container: String,
    at: Timestamp,
    cpu_total_ns: u64,
    memory: u64,
}

/// What is known of the use of containers.
#[derive(Default)]
pub(super) struct Meter {
    pub(super) usage: BTreeMap<InstanceId, Usage>,
    /// The round before, by instance: cpu time is told as a sum since the container's start.
    before: BTreeMap<InstanceId, (String, Timestamp, u64)>,
    due: Option<Instant>,
    pub(super) is_running: bool,
}

impl Meter {
    /// Takes a round; what was measured once has no cpu yet.
    pub(super) fn take(&mut self, round: Vec<Measured>) {
        self.is_running = false;
        self.due = Some(Instant::now() + PERIOD);
        let before = std::mem::take(&mut self.before);
        self.usage.clear();
        for one in round {
            if let Some((container, at, cpu)) = before.get(&one.instance)
                && *container == one.container
            {
                let ms = one.at.since_ms(*at).max(1);
                let cpu_milli = one.cpu_total_ns.saturating_sub(*cpu) / ms.saturating_mul(1_000);
                let usage = Usage { cpu_milli, memory: one.memory, at: one.at };
                self.usage.insert(one.instance.clone(), usage);
            }
            self.before.insert(one.instance, (one.container, one.at, one.cpu_total_ns));
        }
    }
}

impl<E: Engine, F: Fabric> Reconciler<E, F> {
    /// Begins a round when one is due.
    pub(super) fn begin_measuring(&mut self, spec: &HostSpec) {
        let due = self.meter.due.is_none_or(|due| Instant::now() >= due);
        if !due || self.meter.is_running || !self.engine_problem.is_empty() {
            return;
        }
        let Some(containers) = &self.containers else { return };
        let measured = spec.instances.iter().filter(|(_, one)| one.measured);
        let running: Vec<(InstanceId, String)> = measured
            .filter_map(|(id, _)| {
                let running = containers.get(id)?.iter().find(|container| container.running())?;
                Some((id.clone(), running.id.clone()))
            })
            .collect();
        if running.is_empty() {
            self.meter.usage.clear();
            return;
        }
        self.meter.is_running = true;
        let (engine, clock) = (self.parts.engine.clone(), self.parts.clock.clone());
        self.looks.spawn(async move {
            let mut round = vec![];
            for (instance, container) in running {
                match engine.stats(&container).await {
                    Ok(stats) => round.push(Measured {
                        instance,
                        container,
                        at: clock.now(),
                        cpu_total_ns: stats.cpu_total_ns,
                        memory: stats.memory,
                    }),
                    Err(error) => tracing::debug!(%instance, %error, "not measured"),
                }
            }
            Look::Usage(round)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(container: &str, at: i64, cpu_ms: u64) -> Vec<Measured> {
        vec![Measured {
            instance: "shop/web#1@1".parse().unwrap(),
            container: container.into(),
            at: Timestamp(at),
            cpu_total_ns: cpu_ms * 1_000_000,
            memory: 7,
        }]
    }

    #[tokio::test]
    async fn cpu_is_what_was_used_between_two_rounds_of_one_container() {
        let mut meter = Meter::default();
        let used = |meter: &Meter| meter.usage.values().next().map(|usage| usage.cpu_milli);
        meter.take(measured("c1", 1_000, 500));
        assert_eq!(used(&meter), None, "once is not enough");
        meter.take(measured("c1", 6_000, 3_000));
        assert_eq!(used(&meter), Some(500), "2.5 s of 5");
        meter.take(measured("c2", 11_000, 100));
        assert_eq!(used(&meter), None, "another container begins anew");
        meter.take(measured("c2", 16_000, 10_100));
        assert_eq!(used(&meter), Some(2_000), "two cores");
    }
}
