//! Start order and restart: `deploy` of v3, the keys of v2, and Rancher's.

use super::Read;
use crate::diagnostic::quoted;
use crate::fields::Fields;
use crate::yaml::Key;
use model::id::ServiceName;
use model::scaling::Mode;
use model::service::{Condition, RestartPolicy};
use std::collections::BTreeMap;

impl Read<'_> {
    /// `restart`, `deploy.restart_policy`, or Rancher's label. The runs of a job end.
    pub(super) fn restart(&mut self, mode: &Mode) -> RestartPolicy {
        if self.flag("io.rancher.container.start_once") {
            return RestartPolicy::Once;
        }
        let said = self.deploy_restart().or_else(|| self.own_restart());
        match (mode, said) {
            (Mode::Job(_), Some(RestartPolicy::Always)) => {
                let place = self.fields.place("restart").unwrap_or(self.place);
                self.warn(place, "restart has no effect: the runs of a job end")
                    .hint("write on-failure:3 to try a failed run again");
                RestartPolicy::No
            }
            (Mode::Job(_), said) => said.unwrap_or(RestartPolicy::No),
            (_, None | Some(RestartPolicy::Always)) if self.ends() => {
                RestartPolicy::OnFailure { max_attempts: None }
            }
            (_, said) => said.unwrap_or_default(),
        }
    }

    fn own_restart(&mut self) -> Option<RestartPolicy> {
        let text = self.fields.text("restart")?;
        let place = self.fields.place("restart").unwrap_or(self.place);
        let (policy, attempts) = match text.split_once(':') {
            Some((policy, attempts)) => (policy, Some(attempts)),
            None => (text, None),
        };
        let max_attempts = attempts.map(str::parse::<u32>);
        match (policy, max_attempts) {
            ("always" | "unless-stopped", None) => Some(RestartPolicy::Always),
            ("no" | "false" | "never", None) => Some(RestartPolicy::No),
            ("on-failure", None) => Some(RestartPolicy::OnFailure { max_attempts: None }),
            ("on-failure", Some(Ok(n))) => Some(RestartPolicy::OnFailure { max_attempts: Some(n) }),
            _ => {
                self.error(place, &format!("restart is {}", quoted(text)))
                    .expected("no, always, unless-stopped, on-failure or on-failure:3");
                None
            }
        }
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
            self.depend(key, condition, &mut out);
        }
        out
    }

    /// What depends on a sidekick depends on its primary; within one instance the order is ours.
    fn depend(
        &mut self,
        key: &Key,
        mut condition: Condition,
        out: &mut BTreeMap<ServiceName, Condition>,
    ) {
        let groups = self.stack.groups;
        let (own, root) = (groups.root(self.name), groups.root(&key.text));
        let completes = condition == Condition::Completed;
        if completes && (own == root || root != &*key.text) {
            let name = quoted(&key.text);
            let what = format!("depends_on: that {name} has completed is not waited for");
            self.warn(key.place, &what).hint("a sidekick is part of its primary's instances");
            condition = Condition::Started;
        }
        if own == root && own != &*key.text {
            return;
        }
        if let Ok(name) = ServiceName::parse(root) {
            let known = out.entry(name).or_insert(condition);
            if condition != Condition::Started {
                *known = condition;
            }
        }
    }

    fn deploy_restart(&mut self) -> Option<RestartPolicy> {
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
}
