//! Why things cannot be done on this host now, and what is here that nobody asked for.

use super::{Reconciler, wires};
use crate::dataplane::DataplaneState;
use api::link::Publication;
use engine::Engine;
use model::limits::STRAYS_TOLD_MAX;
use network::Fabric;

impl<E: Engine, F: Fabric> Reconciler<E, F> {
    /// Why the engine cannot be worked with; empty when it can.
    pub(super) fn engine_trouble(&self) -> &str {
        if self.engine_problem.is_empty() { &self.list_problem } else { &self.engine_problem }
    }

    /// Why the network cannot be used; empty when it can.
    pub(super) fn network_trouble(
        &self,
        publication: &Publication,
        state: &DataplaneState,
    ) -> String {
        if !self.network_problem.is_empty() {
            return self.network_problem.clone();
        }
        if let Some(why) = wires::wire_problem(&publication.spec, state.report.wire.as_ref()) {
            return why;
        }
        match wires::is_guarded(&publication.spec, &self.policy_held) {
            true => String::new(),
            false => "the network policy is being put in place".into(),
        }
    }

    /// Containers of ours that the spec does not know. They are told of and never removed: what
    /// is not known may be missing from the news.
    pub(super) fn strays(&self, publication: Option<&Publication>) -> Vec<String> {
        let (Some(publication), Some(containers)) = (publication, &self.containers) else {
            return vec![];
        };
        let unknown =
            containers.iter().filter(|(id, _)| !publication.spec.instances.contains_key(*id));
        let names = unknown.flat_map(|(_, all)| all.iter().map(|c| c.name.clone()));
        names.take(STRAYS_TOLD_MAX).collect()
    }
}
