//! What stands for the dataplane of a host: it puts every view in force at once and finds every
//! running container healthy.

use agent::{DataplanePort, DataplaneState};
use model::health::Health;

/// Serves until the agent is gone.
pub(crate) async fn agree(mut port: DataplanePort) {
    loop {
        let view = port.view.borrow_and_update().clone();
        let local = port.local.borrow_and_update().clone();
        let mut state = DataplaneState { pid: 1, ..DataplaneState::default() };
        if let Some(view) = &view {
            state.report.view = view.index;
            let ok = dataplane::ListenerStatus { ok: true, error: String::new() };
            state.report.listeners =
                view.listeners.keys().map(|id| (id.clone(), ok.clone())).collect();
        }
        for (id, one) in local.iter().flat_map(|local| local.iter()) {
            if let Some(run) = &one.run {
                let verdict = dataplane::ProbeVerdict {
                    health: Health::Healthy,
                    detail: String::new(),
                    run_started_at: run.started_at,
                };
                state.report.probes.insert(id.clone(), verdict);
            }
        }
        // Of other hosts' instances it probes those that it is to.
        for (id, one) in view.iter().flat_map(|view| view.instances.iter()) {
            let host = view.as_ref().map(|view| &view.host);
            if one.check.is_some() && one.running && one.probers.iter().any(|p| Some(p) == host) {
                let verdict = dataplane::ProbeVerdict {
                    health: Health::Healthy,
                    detail: String::new(),
                    run_started_at: one.run,
                };
                state.report.probes.insert(id.clone(), verdict);
            }
        }
        port.state.send_if_modified(|known| {
            let changed = *known != state;
            *known = state;
            changed
        });
        let alive = tokio::select! {
            biased;
            changed = port.view.changed() => changed.is_ok(),
            changed = port.local.changed() => changed.is_ok(),
        };
        if !alive {
            return;
        }
    }
}
