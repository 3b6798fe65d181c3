//! `healthcheck` (Docker runs it) and `health_check` (Remuda probes).

use super::Read;
use crate::diagnostic::quoted;
use crate::fields::Fields;
use crate::source::Place;
use crate::yaml::Value;
use model::container_spec::DockerHealthcheck;
use model::health::{HealthCheck, HealthStrategy, Probe};

impl Read<'_> {
    pub(super) fn docker_healthcheck(&mut self) -> Option<DockerHealthcheck> {
        let fields = self.fields.object("healthcheck")?;
        let mut test = self.health_test(fields);
        if fields.boolean("disable") == Some(true) {
            test = vec!["NONE".to_owned()];
        }
        let place = self.fields.place("healthcheck").unwrap_or(self.place);
        for key in ["interval", "timeout"] {
            if fields.duration_ms(key) == Some(0) && fields.text(key) != Some("0") {
                self.error(place, &format!("healthcheck: {key} is below a millisecond"))
                    .expected("at least 1ms");
            }
        }
        Some(DockerHealthcheck {
            test,
            interval_ms: fields.duration_ms("interval").filter(|ms| *ms > 0),
            timeout_ms: fields.duration_ms("timeout").filter(|ms| *ms > 0),
            start_period_ms: fields.duration_ms("start_period"),
            retries: fields.number("retries"),
        })
    }

    fn health_test(&mut self, fields: Fields<'_>) -> Vec<String> {
        let Some(node) = fields.node("test") else { return vec![] };
        match &node.value {
            Value::Scalar { text, .. } => vec!["CMD-SHELL".to_owned(), text.to_string()],
            Value::Map(_) => vec![],
            Value::List(_) => {
                let words = fields.texts("test");
                let kind = words.first().map(String::as_str);
                let fits = match kind {
                    Some("NONE") => words.len() == 1,
                    Some("CMD") => words.len() > 1,
                    Some("CMD-SHELL") => words.len() == 2,
                    _ => false,
                };
                if !fits {
                    self.error(node.place, "healthcheck: test does not begin as it must")
                        .expected("[\"CMD\", program, …], [\"CMD-SHELL\", line] or [\"NONE\"]");
                }
                words
            }
        }
    }

    pub(super) fn health_check(&mut self) -> Option<HealthCheck> {
        let fields = self.fields.object("health_check")?;
        let place = self.fields.place("health_check").unwrap_or(self.place);
        let Some(port) = fields.number::<u16>("port") else {
            if fields.node("port").is_none() {
                self.error(place, "health_check has no port").expected("port: 1 to 65535");
            }
            return None;
        };
        let probe = match (fields.text("request_line"), fields.place("request_line")) {
            (Some(line), Some(place)) if !line.trim().is_empty() => self.probe(line, place)?,
            _ => Probe::Tcp,
        };
        let mut check = HealthCheck::tcp(port);
        check.probe = probe;
        let set = |value: &mut u64, key| *value = fields.number(key).unwrap_or(*value);
        set(&mut check.interval_ms, "interval");
        set(&mut check.timeout_ms, "response_timeout");
        let set = |value: &mut u32, key| *value = fields.number(key).unwrap_or(*value);
        set(&mut check.healthy_threshold, "healthy_threshold");
        set(&mut check.unhealthy_threshold, "unhealthy_threshold");
        check.initializing_timeout_ms = fields.number("initializing_timeout");
        check.reinitializing_timeout_ms = fields.number("reinitializing_timeout");
        check.strategy = self.strategy(fields);
        Some(check)
    }

    fn strategy(&mut self, fields: Fields<'_>) -> HealthStrategy {
        let place = fields.place("strategy").unwrap_or(self.place);
        let quorum = fields.object("recreate_on_quorum_strategy_config");
        let quorum = quorum.and_then(|q| q.number("quorum")).unwrap_or(1);
        match fields.text("strategy") {
            None | Some("recreate") => HealthStrategy::Recreate,
            Some("none") => HealthStrategy::None,
            Some("recreateOnQuorum") => HealthStrategy::RecreateOnQuorum { quorum },
            Some(other) => {
                self.error(place, &format!("health_check: strategy is {}", quoted(other)))
                    .expected("none, recreate or recreateOnQuorum");
                HealthStrategy::Recreate
            }
        }
    }

    /// `GET "/healthz" "HTTP/1.0"`, quotes optional, as HAProxy's `httpchk` took it.
    fn probe(&mut self, line: &str, place: Place) -> Option<Probe> {
        const EXPECTED: &str = "METHOD \"/path\" \"HTTP/1.0\"";
        // Rancher's users appended headers behind the version.
        let (line, headers) = match line.find(['\r', '\n']) {
            Some(at) => (&line[..at], line[at..].trim()),
            None => (line, ""),
        };
        let (line, escaped) = match line.find("\\r\\n") {
            Some(at) => (&line[..at], true),
            None => (line, false),
        };
        if !headers.is_empty() || escaped {
            self.warn(place, "health_check: headers in request_line are not carried out yet")
                .hint("the probe sends a Host header of its own");
        }
        let words: Vec<String> =
            line.split_whitespace().map(|w| w.trim_matches('"').to_owned()).collect();
        let (method, path, version) = match &words[..] {
            [path] if path.starts_with('/') => ("OPTIONS", path.as_str(), "HTTP/1.0"),
            [method, path] => (method.as_str(), path.as_str(), "HTTP/1.0"),
            [method, path, version] => (method.as_str(), path.as_str(), version.as_str()),
            _ => {
                let what = format!("health_check: request_line is {}", quoted(line));
                self.error(place, &what).expected(EXPECTED);
                return None;
            }
        };
        let method_ok = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
        let path_ok = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
        if !method_ok || !path_ok || !matches!(version, "HTTP/1.0" | "HTTP/1.1") {
            let what = format!("health_check: request_line is {}", quoted(line));
            self.error(place, &what).expected(EXPECTED);
            return None;
        }
        Some(Probe::Http {
            method: method.to_owned(),
            path: path.to_owned(),
            version: version.to_owned(),
        })
    }
}
