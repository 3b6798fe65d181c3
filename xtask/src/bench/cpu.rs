//! What a process and its children have used, from `/proc`.

use anyhow::{Context, Result};
use std::fs;

/// Clock ticks a second in `/proc/PID/stat`: fixed by the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process and all below it.
pub(super) fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        at += 1;
        // children are listed by the thread that made them; one that ended meanwhile has none
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        }
    }
    all
}

/// CPU seconds, in user and kernel mode, that these processes have used so far.
pub(super) fn seconds(pids: &[u32]) -> Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} has ended"))?;
        ticks += ticks_of(&text).with_context(|| format!("reading /proc/{pid}/stat"))?;
    }
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// Fields 14 and 15; the name in brackets may contain anything.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Resident memory of a process, in MB of a million bytes.
pub(super) fn resident_mb(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} has ended"))?;
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok()
    });
    Ok(kib.with_context(|| format!("/proc/{pid}/status has no VmRSS"))? * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_the_fields_after_the_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0 5 0 0";
        assert_eq!(ticks_of(stat), Some(42));
        assert_eq!(ticks_of("7 (a) S 1"), None);
    }

    #[test]
    fn our_own_use_is_seen() {
        let own = std::process::id();
        assert!(family(own).contains(&own));
        assert!(seconds(&[own]).unwrap() >= 0.0);
        assert!(resident_mb(own).unwrap() > 0.5);
    }
}
