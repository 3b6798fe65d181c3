//! The reconciler's part in rendered files: which containers are to have some, and what keeps one
//! from its start.

use super::Reconciler;
use crate::render::{Rendered, Wanted, Wish};
use engine::Engine;
use engine::seen::SeenContainer;
use model::host_spec::{HostSpec, InstanceSpec};
use model::id::InstanceId;
use model::instance::Goal;
use model::limits::HOST_LOST_MS;
use network::Fabric;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl<E: Engine, F: Fabric> Reconciler<E, F> {
    /// Says which containers are to have files, and which of them run.
    pub(super) fn wish_rendered(&self, spec: &HostSpec) {
        let mine =
            |one: &InstanceSpec| one.goal == Goal::Run && !one.container.templates.is_empty();
        let all = spec
            .instances
            .iter()
            .filter(|(_, one)| mine(one))
            .map(|(id, one)| (id.clone(), self.wanted(id, one, spec)))
            .collect();
        let lease = self.parts.lease.now();
        let heard = lease.renewed && lease.unheard_ms.is_some_and(|ms| ms < HOST_LOST_MS);
        let known = heard && self.engine_trouble().is_empty();
        let containers = self.containers.as_ref().filter(|_| known);
        let wish = Wish { all, kept: containers.map(|containers| kept(spec, containers)) };
        self.parts.render.wish.send_if_modified(|known| {
            let news = *known != wish;
            if news {
                *known = wish;
            }
            news
        });
    }

    fn wanted(&self, id: &InstanceId, one: &InstanceSpec, spec: &HostSpec) -> Wanted {
        let known = self.containers.as_ref().and_then(|all| all.get(id));
        let running = known.into_iter().flatten().find(|container| container.running());
        let address = one.address.map(|address| address.to_string()).unwrap_or_default();
        let facts = [
            ("REMUDA_STACK", id.service.stack.to_string()),
            ("REMUDA_SERVICE", id.service.service.to_string()),
            ("REMUDA_INSTANCE", id.n.to_string()),
            ("REMUDA_ADDRESS", address),
            ("REMUDA_HOST", spec.host.to_string()),
            ("REMUDA_ENVIRONMENT", spec.environment.name.clone()),
        ];
        Wanted {
            name: one.container_name.clone(),
            spec: Arc::clone(&one.container),
            facts: facts.map(|(key, value)| (key.to_owned(), value)).into(),
            running: running.and_then(|c| Some((c.id.clone(), c.started_at?))),
        }
    }

    /// How the files of one are; there are none to wait for when it has no templates.
    pub(super) fn rendered(&self, id: &InstanceId, one: &InstanceSpec) -> Rendered {
        if one.container.templates.is_empty() || one.goal != Goal::Run {
            return Rendered::default();
        }
        let told: &BTreeMap<InstanceId, Rendered> = &self.parts.render.told.borrow();
        told.get(id).cloned().unwrap_or_else(|| Rendered {
            waits: Some("its files are rendered".into()),
            remark: String::new(),
        })
    }
}

/// Docker's names of the containers that are wished, whatever is to become of them, or there.
fn kept(
    spec: &HostSpec,
    containers: &BTreeMap<InstanceId, Vec<Arc<SeenContainer>>>,
) -> BTreeSet<String> {
    let wished = spec.instances.values().map(|one| one.container_name.clone());
    wished.chain(containers.values().flatten().map(|one| one.name.clone())).collect()
}
