//! Why things cannot be done on this host now, and what is here that nobody asked for.

use super::{Reconciler, wires};
use crate::dataplane::DataplaneState;
use api::link::Publication;
use engine::Engine;
use model::host_spec::HostSpec;
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
        wires::wire_problem(&publication.spec, state.report.wire.as_ref()).unwrap_or_default()
    }

    /// What containers wait for that are to be in the network: beside trouble, that what is to be
    /// guarded has its guard.
    pub(super) fn network_wait(&self, publication: &Publication, state: &DataplaneState) -> String {
        let trouble = self.network_trouble(publication, state);
        match wires::is_guarded(&publication.spec, &self.policy_held) {
            false if trouble.is_empty() => "the network policy is being put in place".into(),
            _ => trouble,
        }
    }

    /// May containers be put into the network?
    pub(super) fn may_join(&self, spec: &HostSpec) -> bool {
        self.network_problem.is_empty() && wires::is_guarded(spec, &self.policy_held)
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
