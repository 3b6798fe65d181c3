//! CPU, memory and processes: v2's keys and `deploy.resources`, which wins.

use super::Read;
use crate::fields::Fields;
use crate::source::Place;
use model::container_spec::Resources;

/// Docker refuses a smaller memory limit.
const MEMORY_LIMIT_MIN: i64 = 6 * 1024 * 1024;

impl Read<'_> {
    pub(super) fn resources(&mut self) -> Resources {
        let f = self.fields;
        let deploy = f.object("deploy").and_then(|d| d.object("resources"));
        let limits = deploy.and_then(|r| r.object("limits"));
        let reserved = deploy.and_then(|r| r.object("reservations"));
        let size = |fields: Option<Fields<'_>>, key| fields.and_then(|f| f.size(key));
        let memory_limit =
            size(limits, "memory").or_else(|| f.size("mem_limit")).filter(|bytes| *bytes > 0);
        let memory_place = f.place("mem_limit").unwrap_or(self.place);
        if memory_limit.is_some_and(|bytes| bytes < MEMORY_LIMIT_MIN) {
            self.warn(memory_place, "the memory limit is below 6 MB: Docker refuses it")
                .hint("sizes without a unit are bytes: write 512m");
        }
        let memory_swap = f.size("memswap_limit");
        if let Some(place) = f.place("memswap_limit") {
            self.check_swap(place, memory_swap, memory_limit);
        }
        let memory_reserved =
            size(reserved, "memory").or_else(|| f.size("mem_reservation")).unwrap_or(0);
        if let Some(limit) = memory_limit
            && memory_reserved > limit
        {
            let place = f.place("mem_reservation").unwrap_or(self.place);
            self.error(place, "the memory reservation is above the memory limit")
                .expected(format!("at most {limit} bytes"));
        }
        Resources {
            cpu_limit_milli: limits
                .and_then(|l| l.milli("cpus"))
                .or_else(|| self.cpus())
                .filter(|c| *c > 0),
            memory_limit,
            memory_swap,
            memory_swappiness: f.integer("mem_swappiness"),
            cpu_reserved_milli: reserved
                .and_then(|r| r.milli("cpus"))
                .or_else(|| f.number("milli_cpu_reservation"))
                .unwrap_or(0),
            memory_reserved,
            cpu_shares: f.integer("cpu_shares").filter(|shares| *shares > 0),
            cpuset: self.cpuset(),
            pids_limit: limits
                .and_then(|l| l.integer("pids"))
                .or_else(|| f.integer("pids_limit"))
                .filter(|pids| *pids != 0),
            oom_score_adj: f.integer("oom_score_adj"),
            oom_kill_disable: f.boolean("oom_kill_disable"),
        }
    }

    fn check_swap(&mut self, place: Place, swap: Option<i64>, memory: Option<i64>) {
        match (swap, memory) {
            (Some(swap), Some(memory)) if swap >= 0 && swap < memory => {
                self.error(place, "memswap_limit is below the memory limit")
                    .expected("memory and swap together, or -1");
            }
            (Some(swap), None) if swap > 0 => {
                self.error(place, "memswap_limit needs a mem_limit")
                    .hint("memswap_limit counts memory and swap together");
            }
            _ => {}
        }
    }

    /// `cpus`, or `cpu_quota` over `cpu_period`, in thousandths.
    fn cpus(&mut self) -> Option<u64> {
        let f = self.fields;
        if let Some(cpus) = f.milli("cpus") {
            return Some(cpus);
        }
        let quota = f.number::<u64>("cpu_quota")?;
        let period = f.number::<u64>("cpu_period").unwrap_or(100_000);
        if period == 0 {
            let place = f.place("cpu_period").unwrap_or(self.place);
            self.error(place, "cpu_period is 0").expected("microseconds, 1000 to 1000000");
            return None;
        }
        Some(quota.saturating_mul(1000) / period)
    }

    fn cpuset(&mut self) -> Option<String> {
        let text = self.fields.owned("cpuset")?;
        let cpu = |t: &str| t.trim().parse::<u16>().is_ok();
        let range = |t: &str| match t.split_once('-') {
            Some((from, to)) => cpu(from) && cpu(to),
            None => cpu(t),
        };
        if !text.split(',').all(range) {
            let place = self.fields.place("cpuset").unwrap_or(self.place);
            self.error(place, &format!("cpuset is {}", crate::diagnostic::quoted(&text)))
                .expected("numbers of cores such as 0-3 or 0,2");
        }
        Some(text)
    }
}
