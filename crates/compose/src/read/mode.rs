//! How instances come to be, and how many: copies, one a host, runs of a job; a fixed scale, or one
//! that follows what fits or what is asked for.

use super::Read;
use crate::diagnostic::quoted;
use crate::fields::Fields;
use crate::source::Place;
use model::limits;
use model::scaling::{Concurrency, JobSpec, Metric, Mode, Scaling};
use model::schedule::Schedule;

const GLOBAL: &str = "io.rancher.scheduler.global";

impl Read<'_> {
    pub(super) fn mode(&mut self) -> Mode {
        let global_label = self.flag(GLOBAL);
        let deploy = self.fields.object("deploy");
        let global = match deploy.and_then(|d| d.text("mode")) {
            None | Some("replicated" | "replicated-job") => global_label,
            Some("global" | "global-job") => true,
            Some(other) => {
                let place = deploy.and_then(|d| d.place("mode")).unwrap_or(self.place);
                self.error(place, &format!("deploy: mode is {}", quoted(other)))
                    .expected("replicated, global, replicated-job or global-job");
                false
            }
        };
        let place = self.fields.place("schedule").or_else(|| self.fields.place("job"));
        match (place, global) {
            (Some(place), true) => {
                self.error(place, "a job runs one instance at a time, and not one on each host")
                    .expected("a schedule, or one instance on each host")
                    .hint("a global service may run cron itself");
                Mode::Global
            }
            (Some(_), false) => Mode::Job(Box::new(self.job())),
            (None, true) => Mode::Global,
            (None, false) => Mode::Replicated,
        }
    }

    /// Does `deploy.mode` say that its instances end? They run once for each change of the service.
    pub(super) fn ends(&self) -> bool {
        let mode = self.fields.object("deploy").and_then(|d| d.text("mode"));
        matches!(mode, Some("replicated-job" | "global-job"))
    }

    /// `schedule`, and the same keys in `job`.
    fn job(&mut self) -> JobSpec {
        let objects = [self.fields.object("schedule"), self.fields.object("job")];
        let find = |key: &str| objects.iter().flatten().find_map(|o| o.node(key).map(|n| (*o, n)));
        let mut job = JobSpec::default();
        let duration = |key: &str| find(key).and_then(|(fields, _)| fields.duration_ms(key));
        job.timeout_ms = duration("timeout").filter(|ms| *ms > 0);
        if let Some(ms) = duration("starting_deadline") {
            job.starting_deadline_ms = ms;
        }
        if let Some(history) = find("history").and_then(|(fields, _)| fields.number("history")) {
            job.history = history;
        }
        if let Some((fields, node)) = find("concurrency") {
            job.concurrency = match fields.text("concurrency") {
                Some("forbid") => Concurrency::Forbid,
                Some("allow") => Concurrency::Allow,
                Some("replace") => Concurrency::Replace,
                _ => {
                    self.error(node.place, &format!("schedule: concurrency is {}", node.kind()))
                        .expected("forbid, allow or replace");
                    Concurrency::Forbid
                }
            };
        }
        let text = |key: &str| find(key).and_then(|(_, node)| Some((node.place, node.as_text()?)));
        let zone = text("time_zone");
        match text("cron") {
            Some((place, cron)) if !is_manual(cron) => job.schedule = self.cron(cron, place, zone),
            Some(_) | None => {
                if let Some((place, _)) = zone {
                    self.warn(place, "schedule: time_zone has no effect without cron");
                }
            }
        }
        job
    }

    fn cron(&mut self, cron: &str, place: Place, zone: Option<(Place, &str)>) -> Option<Schedule> {
        let result = Schedule::parse(cron, "").map_err(|error| (place, error));
        let result = match zone {
            Some((at, zone)) => {
                result.and_then(|_| Schedule::parse(cron, zone).map_err(|error| (at, error)))
            }
            None => result,
        };
        match result {
            Ok(schedule) => Some(schedule),
            Err((at, error)) => {
                self.error(at, &error.to_string()).expected(if at == place {
                    "minute hour day-of-month month day-of-week, such as \"30 3 * * 1-5\""
                } else {
                    "a time zone such as Europe/Berlin or UTC"
                });
                None
            }
        }
    }

    /// `scale`, or `deploy.replicas`; they may not contradict each other.
    pub(super) fn scale(&mut self, mode: &Mode, scaling: Option<Scaling>) -> Option<u32> {
        let deploy = self.fields.object("deploy");
        let own = self.fields.number("scale");
        let replicas = deploy.and_then(|d| d.number("replicas"));
        let place = self.fields.place("scale");
        let place = place.or_else(|| deploy.and_then(|d| d.place("replicas")))?;
        if let (Some(scale), Some(replicas)) = (own, replicas)
            && scale != replicas
        {
            let what = format!("scale is {scale} and deploy.replicas is {replicas}");
            self.error(place, &what).expected("one of them, or the same number");
        }
        let scale: u32 = own.or(replicas)?;
        let why = match (mode, scaling) {
            (Mode::Global, _) => "one instance runs on each host",
            (Mode::Job(_), _) => "each run of a job is one instance",
            (Mode::Replicated, Some(Scaling::Fit { .. })) => "scale_policy decides on it",
            (Mode::Replicated, Some(Scaling::Load { .. })) => "autoscale decides on it",
            (Mode::Replicated, None) => return Some(scale),
        };
        // 1 is what Rancher's export writes whatever the service is.
        if scale != 1 && scaling.is_none_or(|scaling| scaling.bounds().0 != scale) {
            self.warn(place, &format!("scale has no effect: {why}"));
        }
        None
    }

    /// `scale_policy` or `autoscale`.
    pub(super) fn scaling(&mut self, mode: &Mode) -> Option<Scaling> {
        let fit = self.fields.object("scale_policy");
        let load = self.fields.object("autoscale");
        let place = self.fields.place("autoscale").or_else(|| self.fields.place("scale_policy"))?;
        if fit.is_some() && load.is_some() {
            self.error(place, "scale_policy and autoscale exclude each other")
                .hint("keep one of them");
        }
        let scaling = match (fit, load) {
            (_, Some(fields)) => self.load(fields, place),
            (Some(fields), None) => self.fit(fields, place),
            (None, None) => None,
        };
        match mode {
            Mode::Replicated => scaling,
            Mode::Global | Mode::Job(_) => {
                let key = if load.is_some() { "autoscale" } else { "scale_policy" };
                let why = "a global service or a job has no scale";
                self.warn(place, &format!("{key} has no effect: {why}"));
                None
            }
        }
    }

    fn fit(&mut self, fields: Fields<'_>, place: Place) -> Option<Scaling> {
        let (min, max) = self.bounds(fields, "scale_policy", place)?;
        let increment = fields.number("increment").unwrap_or(1);
        Some(Scaling::Fit { min, max, increment })
    }

    fn load(&mut self, fields: Fields<'_>, place: Place) -> Option<Scaling> {
        let bounds = self.bounds(fields, "autoscale", place);
        let metrics = [
            ("cpu", Metric::Cpu, 1_000),
            ("memory", Metric::Memory, 1_000),
            ("requests", Metric::Requests, 1_000_000),
        ];
        let mut found = None;
        for (key, metric, max) in metrics {
            let Some(node) = fields.node(key) else { continue };
            if found.is_some() {
                self.error(node.place, "autoscale: it follows one thing")
                    .expected("one of cpu, memory and requests");
            }
            let text = node.as_text().unwrap_or("").trim();
            let text =
                text.strip_suffix('%').filter(|_| metric != Metric::Requests).unwrap_or(text);
            match crate::scalar::integer(text.trim()).ok().and_then(|n| u64::try_from(n).ok()) {
                Some(target) if (1..=max).contains(&target) => {
                    found = Some((metric, target));
                }
                _ => {
                    let unit = match metric {
                        Metric::Requests => "requests per second for each instance",
                        Metric::Cpu | Metric::Memory => "per cent",
                    };
                    self.error(node.place, &format!("autoscale: {key} is {}", node.kind()))
                        .expected(format!("{unit}, from 1 to {max}"));
                    return None;
                }
            }
        }
        let Some((metric, target)) = found else {
            self.error(place, "autoscale does not say what it follows")
                .expected("one of cpu, memory and requests, such as cpu: 70");
            return None;
        };
        let (min, max) = bounds?;
        if min == 0 {
            self.error(fields.place("min").unwrap_or(place), "autoscale: min is 0")
                .expected("at least 1")
                .hint("nothing can be measured where nothing runs");
        }
        let after = |key, default| fields.duration_ms(key).unwrap_or(default);
        Some(Scaling::Load {
            min,
            max,
            metric,
            target,
            down_after_ms: after("down_after", limits::AUTOSCALE_DOWN_AFTER_MS_DEFAULT),
            up_after_ms: after("up_after", limits::AUTOSCALE_UP_AFTER_MS_DEFAULT),
        })
    }

    fn bounds(&mut self, fields: Fields<'_>, what: &str, place: Place) -> Option<(u32, u32)> {
        let min: u32 = match fields.node("min") {
            Some(_) => fields.number("min")?,
            None => 1,
        };
        let Some(max) = fields.number::<u32>("max") else {
            if fields.node("max").is_none() {
                self.error(place, &format!("{what} has no max"))
                    .expected(format!("max: {min} to {}", limits::SCALE_MAX));
            }
            return None;
        };
        if min > max {
            let at = fields.place("min").unwrap_or(place);
            self.error(at, &format!("{what}: min {min} is above max {max}"))
                .expected("min at most max");
        }
        Some((min, max))
    }
}

/// A job without a time: it runs when it is told to.
fn is_manual(cron: &str) -> bool {
    matches!(cron.trim(), "manual" | "never")
}
