//! What is different for a sidekick: the keys of a whole service are its primary's.

use super::Read;
use crate::diagnostic::quoted;
use crate::fields::Fields;
use crate::group;
use crate::yaml::Node;
use model::container_spec::VolumesFrom;

/// Keys that say something of a whole service.
const OF_SERVICE: [&str; 15] = [
    "scale",
    "scale_policy",
    "autoscale",
    "schedule",
    "job",
    "upgrade_strategy",
    "rollout",
    "on_loss",
    "retain_ip",
    "floating_ip",
    "start_on_create",
    "drain_timeout_ms",
    "metadata",
    "lb_config",
    "network_policy",
];
/// Keys of `deploy` that do.
const OF_SERVICE_IN_DEPLOY: [&str; 3] = ["mode", "replicas", "update_config"];
/// Labels that do.
const LABELS_OF_SERVICE: [&str; 3] = [
    "io.rancher.scheduler.global",
    "io.rancher.container.requested_ip",
    "io.rancher.service.selector.container",
];

impl Read<'_> {
    /// Warns of what a sidekick cannot say for itself, unless it says what its primary says.
    pub(super) fn warn_keys_of_service(&mut self, primary: &str) {
        let other = self.stack.services.get(primary).and_then(Node::as_map).map(Fields::of);
        for key in OF_SERVICE {
            let Some(node) = self.fields.node(key) else { continue };
            let text = node.as_text();
            let said = other.and_then(|o| o.text(key));
            // What Rancher's export writes at every service.
            let plain =
                matches!((key, text), ("scale", Some("1")) | ("start_on_create", Some("true")))
                    || (key == "retain_ip" && text == Some("false"));
            if (text.is_some() && text == said) || plain {
                continue;
            }
            self.of_service(node, key, primary);
        }
        let deploy = self.fields.object("deploy");
        for key in OF_SERVICE_IN_DEPLOY {
            let Some(node) = deploy.and_then(|d| d.node(key)) else { continue };
            let text = node.as_text();
            let said = other.and_then(|o| o.object("deploy")).and_then(|d| d.text(key));
            let plain =
                matches!((key, text), ("mode", Some("replicated")) | ("replicas", Some("1")));
            if !plain && (text.is_none() || text != said) {
                self.of_service(node, &format!("deploy: {key}"), primary);
            }
        }
        for key in LABELS_OF_SERVICE {
            let node = self.fields.map("labels").and_then(|m| m.get(key));
            let said = other.and_then(|o| o.map("labels")).and_then(|m| m.get(key));
            if let Some(node) = node
                && node.as_text() != said.and_then(Node::as_text)
            {
                self.of_service(node, key, primary);
            }
        }
    }

    fn of_service(&mut self, node: &Node, key: &str, primary: &str) {
        let what = format!("{key} has no effect on a sidekick of {}", quoted(primary));
        self.warn(node.place, &what).hint(format!("write it at service {primary}"));
    }

    pub(super) fn volumes_from(&mut self) -> Vec<VolumesFrom> {
        let mut out = vec![];
        for node in self.fields.items("volumes_from") {
            let Some(text) = node.as_text() else { continue };
            let Some((name, read_only)) = group::volumes_from(text) else {
                self.error(node.place, &format!("volumes_from: {}", quoted(text)))
                    .expected("service, service:ro or service:rw");
                continue;
            };
            let Some(sidekick) = self.sibling("volumes_from", name, node.place) else { continue };
            let one = VolumesFrom { sidekick, read_only };
            if !out.contains(&one) {
                out.push(one);
            }
        }
        out
    }
}
