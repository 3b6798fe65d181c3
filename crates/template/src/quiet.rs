//! Quiescence: how long a template waits for more changes before it is rendered. Pure: time is an
//! argument.

use std::time::{Duration, Instant};

/// `wait{min,max}`: each change waits `min` for the next, but never more than `max` in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// From the last change.
    pub min: Duration,
    /// From the first.
    pub max: Duration,
}

impl Wait {
    /// Reads `min[:max]`; the longest is four times the shortest when it is not said.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once(':').map_or((text, None), |(a, b)| (a, Some(b)));
        let read = |text: &str| {
            crate::duration::parse(text).ok_or_else(|| format!("{text:?} is no duration like 5s"))
        };
        let min = read(min)?;
        let max = max.map(read).transpose()?.unwrap_or(min.saturating_mul(4));
        if max < min {
            return Err(format!("wait {text:?}: the longest is below the shortest"));
        }
        Ok(Self { min, max })
    }
}

/// Where one template stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quiet {
    /// First change and when it is to be rendered.
    pending: Option<(Instant, Instant)>,
}

impl Quiet {
    /// Something changed.
    pub fn changed(&mut self, wait: Option<Wait>, now: Instant) {
        let Some(wait) = wait else {
            self.pending = Some((now, now));
            return;
        };
        let first = self.pending.map_or(now, |(first, _)| first);
        self.pending = Some((first, (now + wait.min).min(first + wait.max)));
    }

    /// When it is to be rendered, if it is.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.pending.map(|(_, due)| due)
    }

    /// Is it to be rendered now? Then nothing is pending any more.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|due| due <= now);
        if due {
            self.pending = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_wait_for_the_next_but_not_for_ever() {
        let at = |ms: u64| Duration::from_millis(ms);
        let start = Instant::now();
        // Changes at these moments are rendered at that one, for wait 100ms:250ms.
        for (changes, rendered) in
            [(vec![0], 100), (vec![0, 50], 150), (vec![0, 90, 180], 250), (vec![0, 10, 20], 120)]
        {
            let wait = Some(Wait { min: at(100), max: at(250) });
            let mut quiet = Quiet::default();
            for change in &changes {
                quiet.changed(wait, start + at(*change));
            }
            assert_eq!(quiet.due(), Some(start + at(rendered)), "{changes:?}");
            assert!(!quiet.take(start + at(rendered - 1)));
            assert!(quiet.take(start + at(rendered)));
            assert!(!quiet.take(start + at(rendered + 1_000)), "once");
        }
        let mut quiet = Quiet::default();
        quiet.changed(None, start);
        assert!(quiet.take(start), "without a wait it is at once");
    }

    #[test]
    fn waits_are_read() {
        let wait = |min, max| Wait { min: Duration::from_secs(min), max: Duration::from_secs(max) };
        assert_eq!(Wait::parse("5s"), Ok(wait(5, 20)));
        assert_eq!(Wait::parse("5s:10s"), Ok(wait(5, 10)));
        for wrong in ["", "5", "10s:5s", "a:b", "5s:"] {
            Wait::parse(wrong).unwrap_err();
        }
    }
}
