//! Scale, start order, restart and rollout: `deploy` of v3, the keys of v2, and Rancher's.

use super::Read;
use crate::diagnostic::quoted;
use crate::fields::Fields;
use model::id::ServiceName;
use model::rollout_policy::{UpdateOrder, UpdatePolicy};
use model::service::{Condition, RestartPolicy};
use std::collections::BTreeMap;

impl Read<'_> {
    /// `scale`, or `deploy.replicas`; they may not contradict each other.
    pub(super) fn scale(&mut self) -> Option<u32> {
        let deploy = self.fields.object("deploy");
        if let Some(mode) = deploy.and_then(|d| d.text("mode"))
            && mode != "replicated"
        {
            let place = deploy.and_then(|d| d.place("mode")).unwrap_or(self.place);
            match mode {
                "global" | "replicated-job" | "global-job" => {
                    let what =
                        format!("deploy: mode {mode} is not carried out yet: the scale counts");
                    self.warn(place, &what);
                }
                _ => {
                    self.error(place, &format!("deploy: mode is {}", quoted(mode)))
                        .expected("replicated");
                }
            }
        }
        let scale = self.fields.number("scale");
        let replicas = deploy.and_then(|d| d.number("replicas"));
        if let (Some(scale), Some(replicas)) = (scale, replicas)
            && scale != replicas
        {
            let place = self.fields.place("scale").unwrap_or(self.place);
            let what = format!("scale is {scale} and deploy.replicas is {replicas}");
            self.error(place, &what).expected("one of them, or the same number");
        }
        scale.or(replicas)
    }

    pub(super) fn depends_on(&mut self) -> BTreeMap<ServiceName, Condition> {
        let mut out = BTreeMap::new();
        let Some(map) = self.fields.map("depends_on") else { return out };
        for (key, node) in map.iter() {
            let Some(fields) = node.as_map().map(Fields::of) else { continue };
            let required = fields.boolean("required").unwrap_or(true);
            if !required && !self.stack.services.contains(&key.text) {
                continue;
            }
            if !self.refer(&key.text, key.place, "it depends on") {
                continue;
            }
            let condition = match fields.text("condition") {
                None | Some("service_started") => Condition::Started,
                Some("service_healthy") => Condition::Healthy,
                Some("service_completed_successfully") => Condition::Completed,
                Some(other) => {
                    let place = fields.place("condition").unwrap_or(node.place);
                    self.error(place, &format!("depends_on: condition is {}", quoted(other)))
                        .expected(
                            "service_started, service_healthy or service_completed_successfully",
                        );
                    continue;
                }
            };
            if let Ok(name) = ServiceName::parse(&key.text) {
                out.insert(name, condition);
            }
        }
        out
    }

    /// A link is a name that is found anyway; another name for it is not carried out.
    pub(super) fn check_links(&mut self) {
        if self.is_legacy_balancer() {
            return;
        }
        for node in self.fields.items("links") {
            let Some(text) = node.as_text() else { continue };
            let (name, alias) = text.split_once(':').unwrap_or((text, text));
            if name.contains('/') {
                let what =
                    format!("links: {} of another stack is found as service.stack", quoted(name));
                self.warn(node.place, &what);
            } else if self.refer(name, node.place, "it links to") && alias != name {
                let what = format!(
                    "links: the alias {} is not carried out yet: the service is found as {name}",
                    quoted(alias)
                );
                self.warn(node.place, &what);
            }
        }
    }

    pub(super) fn deploy_restart(&mut self) -> Option<RestartPolicy> {
        let policy = self.fields.object("deploy")?.object("restart_policy")?;
        let max_attempts = policy.number("max_attempts");
        match policy.text("condition") {
            None | Some("any") => Some(RestartPolicy::Always),
            Some("none") => Some(RestartPolicy::No),
            Some("on-failure") => Some(RestartPolicy::OnFailure { max_attempts }),
            Some(other) => {
                let place = policy.place("condition").unwrap_or(self.place);
                let what = format!("deploy: restart_policy: condition is {}", quoted(other));
                self.error(place, &what).expected("any, on-failure or none");
                None
            }
        }
    }

    pub(super) fn update(&mut self) -> UpdatePolicy {
        let mut out = UpdatePolicy::default();
        if let Some(config) = self.fields.object("deploy").and_then(|d| d.object("update_config")) {
            // 0 is "all at once".
            out.batch_size = match config.number("parallelism") {
                Some(0) => Some(model::limits::SCALE_MAX),
                other => other,
            };
            out.interval_ms = config.duration_ms("delay").unwrap_or(0);
            out.order = match config.text("order") {
                // Swarm's own default is stop-first; Remuda drops nothing unless told to.
                None => None,
                Some("start-first") => Some(UpdateOrder::StartFirst),
                Some("stop-first") => Some(UpdateOrder::StopFirst),
                Some(other) => {
                    let place = config.place("order").unwrap_or(self.place);
                    let what = format!("deploy: update_config: order is {}", quoted(other));
                    self.error(place, &what).expected("start-first or stop-first");
                    None
                }
            };
        }
        if let Some(strategy) = self.fields.object("upgrade_strategy") {
            if let Some(size) = strategy.number("batch_size") {
                out.batch_size = Some(size);
            }
            if let Some(ms) = strategy.number("interval_millis") {
                out.interval_ms = ms;
            }
            match strategy.boolean("start_first") {
                Some(true) => out.order = Some(UpdateOrder::StartFirst),
                Some(false) => out.order = Some(UpdateOrder::StopFirst),
                None => {}
            }
        }
        out
    }
}
