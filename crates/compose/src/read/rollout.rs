//! How a change goes, and what a lost host leads to: `deploy.update_config`, Rancher's
//! `upgrade_strategy`, and Remuda's `rollout` and `on_loss`; the later of the first three wins.

use super::Read;
use crate::diagnostic::quoted;
use crate::fields::Fields;
use model::limits;
use model::rollout_policy::{FailureAction, Finish, UpdateOrder, UpdatePolicy};
use model::service::LossPolicy;

impl Read<'_> {
    pub(super) fn update(&mut self) -> UpdatePolicy {
        let mut out = UpdatePolicy::default();
        if let Some(config) = self.fields.object("deploy").and_then(|d| d.object("update_config")) {
            let what = "deploy: update_config";
            // 0 is "all at once".
            out.batch_size = match config.number("parallelism") {
                Some(0) => Some(limits::SCALE_MAX),
                other => other,
            };
            out.interval_ms = config.duration_ms("delay").unwrap_or(0);
            // Swarm's own defaults are stop-first and pause; Remuda drops nothing and goes back,
            // unless told otherwise.
            out.order = self.order(config, what);
            out.on_failure = self.on_failure(config, what, "failure_action").unwrap_or_default();
            out.monitor_ms = config.duration_ms("monitor");
        }
        if let Some(strategy) = self.fields.object("upgrade_strategy") {
            out.batch_size = strategy.number("batch_size").or(out.batch_size);
            out.interval_ms = strategy.number("interval_millis").unwrap_or(out.interval_ms);
            out.order = match strategy.boolean("start_first") {
                Some(true) => Some(UpdateOrder::StartFirst),
                Some(false) => Some(UpdateOrder::StopFirst),
                None => out.order,
            };
        }
        if let Some(rollout) = self.fields.object("rollout") {
            self.rollout(rollout, &mut out);
        }
        out
    }

    fn rollout(&mut self, fields: Fields<'_>, out: &mut UpdatePolicy) {
        out.batch_size = fields.number("batch_size").or(out.batch_size);
        out.interval_ms = fields.duration_ms("interval").unwrap_or(out.interval_ms);
        out.order = self.order(fields, "rollout").or(out.order);
        out.max_unavailable = fields.number("max_unavailable");
        out.monitor_ms = fields.duration_ms("monitor").or(out.monitor_ms);
        out.canary = fields.number("canary").filter(|n| *n > 0);
        if let Some(action) = self.on_failure(fields, "rollout", "on_failure") {
            out.on_failure = action;
        }
        match fields.text("finish") {
            None | Some("auto") => {}
            Some("manual") => out.finish = Finish::Manual,
            Some(other) => {
                let place = fields.place("finish").unwrap_or(self.place);
                self.error(place, &format!("rollout: finish is {}", quoted(other)))
                    .expected("auto or manual");
            }
        }
        if out.max_unavailable == Some(0) && out.order == Some(UpdateOrder::StopFirst) {
            let place = fields.place("max_unavailable").unwrap_or(self.place);
            self.error(place, "rollout: max_unavailable is 0, and the old instance stops first")
                .expected("at least 1, or order: start-first")
                .hint("no instance could ever be changed");
        }
    }

    fn order(&mut self, fields: Fields<'_>, what: &str) -> Option<UpdateOrder> {
        match fields.text("order")? {
            "start-first" | "start_first" => Some(UpdateOrder::StartFirst),
            "stop-first" | "stop_first" => Some(UpdateOrder::StopFirst),
            other => {
                let place = fields.place("order").unwrap_or(self.place);
                self.error(place, &format!("{what}: order is {}", quoted(other)))
                    .expected("start-first or stop-first");
                None
            }
        }
    }

    fn on_failure(&mut self, fields: Fields<'_>, what: &str, key: &str) -> Option<FailureAction> {
        match fields.text(key)? {
            "rollback" => Some(FailureAction::Rollback),
            "pause" => Some(FailureAction::Pause),
            "continue" => Some(FailureAction::Continue),
            other => {
                let place = fields.place(key).unwrap_or(self.place);
                self.error(place, &format!("{what}: {key} is {}", quoted(other)))
                    .expected("rollback, pause or continue");
                None
            }
        }
    }

    pub(super) fn on_loss(&mut self) -> Option<LossPolicy> {
        let fields = self.fields.object("on_loss")?;
        let place = self.fields.place("on_loss").unwrap_or(self.place);
        let after = fields.duration_ms("after");
        if let Some(ms) = after
            && ms < limits::HOST_LOST_MS
        {
            let at = fields.place("after").unwrap_or(place);
            let seconds = limits::HOST_LOST_MS / 1_000;
            self.error(at, &format!("on_loss: after is {ms} ms")).expected(format!(
                "at least {seconds}s: a host that is silent for less is not lost"
            ));
        }
        match fields.text("policy") {
            Some("keep") => {
                if let Some(at) = fields.place("after") {
                    self.warn(at, "on_loss: after has no effect with keep");
                }
                Some(LossPolicy::Keep)
            }
            Some("replace") => {
                Some(LossPolicy::Replace { after_ms: after.unwrap_or(limits::HOST_LOST_MS) })
            }
            Some("stop") => Some(LossPolicy::StopAfter {
                after_ms: after.unwrap_or(limits::LOSS_STOP_AFTER_MS_DEFAULT),
            }),
            other => {
                let at = fields.place("policy").unwrap_or(place);
                let what = format!("on_loss: policy is {}", quoted(other.unwrap_or("")));
                self.error(at, &what).expected("keep, replace or stop");
                None
            }
        }
    }
}
