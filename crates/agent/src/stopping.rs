//! Containers that have got their stop signal and still run: they take nothing new. Docker says so
//! (`kill`) some time before they end. Pure.

use engine::seen::SeenContainer;
use model::limits::EXPOSE_STOPPING_MS_MAX;
use model::time::Timestamp;
use std::collections::BTreeMap;

const SIGTERM: u8 = 15;
const SIGKILL: u8 = 9;

/// By Docker's id.
#[derive(Debug, Default)]
pub(crate) struct Stopping(BTreeMap<String, Mark>);

#[derive(Debug)]
struct Mark {
    /// Of which start.
    started_at: Option<Timestamp>,
    /// It was no stop, or takes longer than anybody waits.
    until: Timestamp,
}

impl Stopping {
    /// A container got a signal. Is it the one that stops it? Others, such as the one that has it
    /// read its configuration again, mean nothing here.
    pub(crate) fn note(&mut self, seen: &SeenContainer, signal: u8, now: Timestamp) -> bool {
        let stops = signal == SIGKILL || signal == seen.stop_signal.unwrap_or(SIGTERM);
        if stops && seen.running() {
            let until = now.plus_ms(EXPOSE_STOPPING_MS_MAX);
            self.0.insert(seen.id.clone(), Mark { started_at: seen.started_at, until });
        }
        stops
    }

    /// Is this start of it being stopped?
    pub(crate) fn is(&self, seen: &SeenContainer) -> bool {
        let mark = self.0.get(&seen.id);
        mark.is_some_and(|mark| seen.running() && mark.started_at == seen.started_at)
    }

    /// It is gone.
    pub(crate) fn forget(&mut self, container: &str) {
        self.0.remove(container);
    }

    /// Forgets what is over. Was there any, and when is the next one?
    pub(crate) fn tidy(&mut self, now: Timestamp) -> (bool, Option<Timestamp>) {
        let before = self.0.len();
        self.0.retain(|_, mark| mark.until > now);
        (self.0.len() < before, self.0.values().map(|mark| mark.until).min())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::seen::RunState;

    fn seen(stop_signal: Option<u8>, started: i64) -> SeenContainer {
        let (id, state) = ("c1".to_owned(), RunState::Running);
        let started_at = Some(Timestamp(started));
        SeenContainer { id, state, stop_signal, started_at, ..SeenContainer::default() }
    }

    #[test]
    fn the_signal_that_stops_it_counts_for_this_start_and_not_for_ever() {
        let now = Timestamp(1_000);
        for (own, signal, stops) in [
            (None, 15, true),
            (None, 9, true),
            (None, 1, false),
            (Some(3), 3, true),
            (Some(3), 15, false),
            (Some(3), 9, true),
        ] {
            let (mut all, one) = (Stopping::default(), seen(own, 5));
            assert_eq!(all.note(&one, signal, now), stops, "{own:?} {signal}");
            assert_eq!(all.is(&one), stops);
            assert!(!all.is(&seen(own, 6)), "it has started again");
            let ended = SeenContainer { state: RunState::Exited, ..one.clone() };
            assert!(!all.is(&ended));
            let last = now.plus_ms(EXPOSE_STOPPING_MS_MAX);
            assert_eq!(all.tidy(now), (false, stops.then_some(last)));
            assert_eq!(all.tidy(last), (stops, None));
            assert!(!all.is(&one));
        }
    }
}
