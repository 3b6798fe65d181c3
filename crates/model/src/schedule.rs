//! When a job runs: five cron fields and a time zone.

use crate::limits::SCHEDULE_BYTES_MAX;
use crate::time::Timestamp;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use serde::{Deserialize, Serialize};

/// Five cron fields (minute hour day month weekday) or `@daily` and the like, in a time zone. It
/// fires at least once: what never fires is refused when it is parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
    text: String,
}

/// How a schedule is written.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
struct Raw {
    /// Five fields.
    cron: String,
    /// Time zone.
    zone: String,
}

impl utoipa::PartialSchema for Schedule {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        Raw::schema()
    }
}

impl utoipa::ToSchema for Schedule {}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("schedule {text:?}: {why}")]
pub struct InvalidSchedule {
    /// What was given, shortened.
    pub text: String,
    /// Which rule it breaks.
    pub why: String,
}

/// A moment from which a schedule that ever fires does so within croner's search: 2026-01-01 UTC.
const PROBE_MS: i64 = 1_767_225_600_000;

impl Schedule {
    /// Parses fields and a time zone of the IANA data base (`Asia/Shanghai`); an empty one is UTC.
    ///
    /// # Errors
    /// `InvalidSchedule`, also when it never fires (the 30th of February).
    pub fn parse(cron: &str, zone: &str) -> Result<Self, InvalidSchedule> {
        let invalid = |why: String| InvalidSchedule { text: cron.chars().take(60).collect(), why };
        if cron.len() > SCHEDULE_BYTES_MAX {
            return Err(invalid(format!("it is longer than {SCHEDULE_BYTES_MAX} bytes")));
        }
        let text = cron.trim().to_owned();
        let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
        let cron = parser.parse(&text).map_err(|e| {
            let why = e.to_string();
            let why = why.trim_end_matches('.');
            invalid(format!("{why}; five fields are minute hour day-of-month month day-of-week"))
        })?;
        let zone = match zone.trim() {
            "" => Tz::UTC,
            name => name.parse().map_err(|_unknown| {
                let name: String = name.chars().take(60).collect();
                invalid(format!("no time zone is called {name:?}; write one like Asia/Shanghai"))
            })?,
        };
        let schedule = Self { cron, zone, text };
        if schedule.after(Timestamp(PROBE_MS)).is_none() {
            return Err(invalid("it never fires".into()));
        }
        Ok(schedule)
    }

    /// The first time after `at`; `None` when the calendar has none that can be found.
    #[must_use]
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let at: DateTime<Utc> = DateTime::from_timestamp_millis(at.0)?;
        let next = self.cron.find_next_occurrence(&at.with_timezone(&self.zone), false).ok()?;
        Some(Timestamp(next.timestamp_millis()))
    }

    /// The fields as they were written.
    #[must_use]
    pub fn fields(&self) -> &str {
        &self.text
    }

    /// Name of the time zone.
    #[must_use]
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }
}

impl TryFrom<Raw> for Schedule {
    type Error = InvalidSchedule;
    fn try_from(raw: Raw) -> Result<Self, InvalidSchedule> {
        Self::parse(&raw.cron, &raw.zone)
    }
}

impl From<Schedule> for Raw {
    fn from(schedule: Schedule) -> Self {
        Self { cron: schedule.text.clone(), zone: schedule.zone().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
    }

    #[test]
    fn it_fires_in_its_own_time_zone_and_once_when_the_clock_is_put_forward() {
        for (cron, zone, from, next) in [
            ("30 2 * * *", "Asia/Shanghai", "2026-03-01T00:00:00Z", "2026-03-01T18:30:00Z"),
            ("30 2 * * *", "", "2026-03-01T00:00:00Z", "2026-03-01T02:30:00Z"),
            ("*/15 * * * *", "UTC", "2026-03-01T00:15:00Z", "2026-03-01T00:30:00Z"),
            // 02:30 does not exist on that day in Berlin.
            ("30 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"),
            ("0 0 * * MON", "UTC", "2026-11-21T00:00:00Z", "2026-11-23T00:00:00Z"),
            ("@daily", "UTC", "2026-11-21T10:00:00Z", "2026-11-22T00:00:00Z"),
        ] {
            let schedule = Schedule::parse(cron, zone).unwrap();
            assert_eq!(schedule.after(at(from)), Some(at(next)), "{cron} {zone}");
            let json = serde_json::to_string(&schedule).unwrap();
            assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
        }
    }

    #[test]
    fn what_is_no_schedule_or_never_fires_is_refused() {
        for (cron, zone, why) in [
            ("* * * *", "", "five fields"),
            ("* * * * * *", "", "five fields"),
            ("61 * * * *", "", "five fields"),
            ("", "", "five fields"),
            ("0 0 30 2 *", "", "never fires"),
            ("0 0 * * *", "Mars/Olympus", "Mars/Olympus"),
            (&"*".repeat(10_000), "", "longer"),
        ] {
            let error = Schedule::parse(cron, zone).unwrap_err().to_string();
            assert!(error.contains(why), "{cron:?}: {error}");
        }
    }
}
