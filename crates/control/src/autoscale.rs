//! How many instances a load asks for. The load must have been high, or low, for as long as the
//! policy says before the scale follows it, and then it follows the mildest wish of that time.

use model::scaling::Scaling;
use model::time::Timestamp;

/// Part of the target, in per cent, that a load may be off it before anything is changed.
const TOLERANCE_PERCENT: u64 = 10;
/// Samples may lie so far apart, in milliseconds, that a time counts as watched.
const GAP_MS_MAX: u64 = 20_000;

/// What the instances of a service used at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Sum over the instances that were measured, in the metric's unit.
    pub total: u64,
    /// How many were.
    pub instances: u32,
}

/// The scale that the load asks for, and why; `None` leaves it as it is. `changed_at` is when the
/// scale was last changed: what was seen before it counts no more. Samples are oldest first.
#[must_use]
pub fn decide(
    policy: &Scaling,
    current: u32,
    changed_at: Timestamp,
    samples: &[Sample],
    now: Timestamp,
) -> Option<(u32, String)> {
    let Scaling::Load { min, max, metric, target, down_after_ms, up_after_ms } = *policy else {
        return None;
    };
    let target = target.max(1);
    let bounded = |wanted: u32| wanted.clamp(min, max.max(min));
    let up = window(samples, changed_at, up_after_ms, now);
    let down = window(samples, changed_at, down_after_ms, now);
    let mildest_up = up.and_then(|seen| seen.iter().map(|s| more(*s, current, target)).min());
    let mildest_down = down.and_then(|seen| seen.iter().map(|s| less(*s, current, target)).max());
    let last = samples.last()?;
    let average = last.total / u64::from(last.instances.max(1));
    let word = format!("{metric:?}").to_lowercase();
    if let Some(to) = mildest_up.map(bounded).filter(|to| *to > current) {
        let s = up_after_ms / 1_000;
        return Some((to, format!("{word} {average} for each, above {target} for {s} s")));
    }
    if let Some(to) = mildest_down.map(bounded).filter(|to| *to < current) {
        let s = down_after_ms / 1_000;
        return Some((to, format!("{word} {average} for each, below {target} for {s} s")));
    }
    None
}

/// The samples of the last `ms` milliseconds; `None` when that time was not watched all along.
fn window(samples: &[Sample], changed_at: Timestamp, ms: u64, now: Timestamp) -> Option<&[Sample]> {
    let valid = samples.partition_point(|sample| sample.at <= changed_at);
    let samples = samples.get(valid..).unwrap_or_default();
    if now.since_ms(changed_at) < ms {
        return None;
    }
    // The newest sample at or before the begin of the time belongs to it: it held then.
    let later = samples.partition_point(|sample| now.since_ms(sample.at) > ms);
    let from = later.saturating_sub(1);
    let seen = samples.get(from..).filter(|seen| !seen.is_empty())?;
    let watched = seen.windows(2).all(|two| two[1].at.since_ms(two[0].at) <= GAP_MS_MAX)
        && seen.last().is_some_and(|last| now.since_ms(last.at) <= GAP_MS_MAX)
        && seen.first().is_some_and(|first| now.since_ms(first.at) >= ms);
    watched.then_some(seen)
}

fn wanted(total: u64, target: u64) -> u32 {
    u32::try_from(total.div_ceil(target)).unwrap_or(u32::MAX)
}

/// What a sample asks for when there may be more: instances that were not measured use nothing.
fn more(sample: Sample, current: u32, target: u64) -> u32 {
    let enough = target.saturating_mul(100 + TOLERANCE_PERCENT) * u64::from(current.max(1)) / 100;
    if sample.total <= enough { current } else { wanted(sample.total, target) }
}

/// What it asks for when there may be fewer: instances that were not measured are busy.
fn less(sample: Sample, current: u32, target: u64) -> u32 {
    let unknown = u64::from(current.saturating_sub(sample.instances));
    let total = sample.total.saturating_add(unknown.saturating_mul(target));
    let little = target.saturating_mul(100 - TOLERANCE_PERCENT) * u64::from(current) / 100;
    if total >= little { current } else { wanted(total, target) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::scaling::Metric;

    const NOW: i64 = 1_000_000;

    /// 60 per cent of cpu each, 2 to 10; up after 15 s, down after 60 s.
    fn policy() -> Scaling {
        Scaling::Load {
            min: 2,
            max: 10,
            metric: Metric::Cpu,
            target: 60,
            down_after_ms: 60_000,
            up_after_ms: 15_000,
        }
    }

    /// `total/instances` words, 5 s apart, the last one now.
    fn samples(words: &str) -> Vec<Sample> {
        let words: Vec<&str> = words.split_whitespace().collect();
        let count = i64::try_from(words.len()).unwrap();
        let one = |(nth, word): (i64, &&str)| {
            let (total, instances) = word.split_once('/').unwrap();
            Sample {
                at: Timestamp(NOW - (count - 1 - nth) * 5_000),
                total: total.parse().unwrap(),
                instances: instances.parse().unwrap(),
            }
        };
        (0..).zip(&words).map(one).collect()
    }

    fn again(word: &str, times: usize) -> String {
        vec![word; times].join(" ")
    }

    #[test]
    fn the_scale_follows_a_load_that_stays() {
        for (current, seen, changed_ago, expect) in [
            // High for 15 s: the mildest wish of that time.
            (2, again("360/2", 4), 600_000, Some(6)),
            (2, "360/2 240/2 300/2 360/2".into(), 600_000, Some(4)),
            (2, "100/2 360/2 360/2 360/2".into(), 600_000, None),
            (2, again("360/2", 2), 600_000, None),
            (2, again("9000/2", 4), 600_000, Some(10)),
            (10, again("9000/10", 4), 600_000, None),
            // Hardly above or below is where it should be.
            (2, again("130/2", 4), 600_000, None),
            (4, again("220/4", 13), 600_000, None),
            // Low for a minute.
            (6, again("120/6", 13), 600_000, Some(2)),
            (6, format!("{} 200/6", again("120/6", 12)), 600_000, Some(4)),
            (6, again("120/6", 8), 600_000, None),
            (6, again("0/6", 13), 600_000, Some(2)),
            (2, again("0/2", 13), 600_000, None),
            // Who was not measured uses nothing on the way up, and is busy on the way down.
            (4, again("250/2", 4), 600_000, None),
            (6, again("60/3", 13), 600_000, Some(4)),
            // What was seen before the last change counts no more.
            (2, again("360/2", 4), 10_000, None),
            (2, again("360/2", 6), 16_000, Some(6)),
            (2, String::new(), 600_000, None),
        ] {
            let changed = Timestamp(NOW - changed_ago);
            let got = decide(&policy(), current, changed, &samples(&seen), Timestamp(NOW));
            assert_eq!(got.as_ref().map(|(to, _)| *to), expect, "{current}: {seen}: {got:?}");
        }
    }

    #[test]
    fn a_time_that_was_not_watched_changes_nothing_and_a_change_says_why() {
        let mut seen = samples(&again("360/2", 4));
        let changed = Timestamp(0);
        let late = Timestamp(NOW + 30_000);
        assert_eq!(decide(&policy(), 2, changed, &seen, late), None, "nothing is heard any more");
        seen[0].at = Timestamp(NOW - 60_000);
        seen.drain(1..3);
        assert_eq!(decide(&policy(), 2, changed, &seen, Timestamp(NOW)), None, "a gap");
        let seen = samples(&again("360/2", 4));
        let (_, why) = decide(&policy(), 2, changed, &seen, Timestamp(NOW)).unwrap();
        assert_eq!(why, "cpu 180 for each, above 60 for 15 s");
        let fit = Scaling::Fit { min: 1, max: 5, increment: 1 };
        assert_eq!(decide(&fit, 2, changed, &seen, Timestamp(NOW)), None);
    }
}
