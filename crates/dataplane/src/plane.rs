//! The loop of the dataplane: takes what agent, probes and proxy say, works out what is served,
//! and hands it to DNS, proxy and prober. One task owns all state; nothing here waits for others.

use crate::admin::{Inside, Question};
use crate::dns::{Dns, Table};
use crate::effective::{Effective, effective};
use crate::floating::{self, Keeper};
use crate::glue;
use crate::probe::{Prober, Targets, Verdict, targets};
use crate::protocol::{FromAgent, Local, Probes, Report};
use crate::proxy::{Proxy, ProxyConfig, Stopped};
use crate::run::WirePort;
use crate::state::{Live, Remembered};
use model::host_status::Requests;
use model::limits::DATAPLANE_COUNT_MS;
use model::time::Index;
use model::view::{HostView, VIEW_FORMAT};
use model::wireguard::{WireStatus, WireWish};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What comes in.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) messages: mpsc::Receiver<FromAgent>,
    pub(crate) verdicts: mpsc::Receiver<Verdict>,
    pub(crate) questions: mpsc::Receiver<Question>,
}

/// Who carries it out.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) dns: Dns,
    pub(crate) proxy: Proxy,
    pub(crate) prober: Prober,
    pub(crate) keeper: Keeper,
}

/// The state, and who carries it out.
#[derive(Debug)]
pub(crate) struct Plane {
    view: Option<Arc<HostView>>,
    local: Arc<Local>,
    probes: Arc<Probes>,
    served: Arc<Effective>,
    config: Arc<ProxyConfig>,
    /// Applications of a configuration under way, by number.
    applying: JoinSet<(u64, Index, Result<(), Stopped>)>,
    number: u64,
    /// The newest that is in force everywhere, and its view.
    in_force: (u64, Index),
    parts: Parts,
    /// What to encrypt, and who does it.
    wire: Option<Arc<WireWish>>,
    wires: Option<WirePort>,
    report: watch::Sender<Report>,
    memory: watch::Sender<Remembered>,
    /// What was counted last, told with every report.
    requests: Option<Requests>,
    began: Instant,
}

/// Does the loop go on?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    End,
}

impl Plane {
    /// Serves what is remembered, at once.
    pub(crate) fn new(
        remembered: Remembered,
        parts: Parts,
        wires: Option<WirePort>,
        report: watch::Sender<Report>,
        memory: watch::Sender<Remembered>,
    ) -> Self {
        let mut plane = Self {
            view: remembered.view,
            local: remembered.live.local,
            probes: remembered.live.probes,
            served: Arc::default(),
            config: Arc::default(),
            applying: JoinSet::new(),
            number: 0,
            in_force: (0, Index::default()),
            parts,
            wire: remembered.wire,
            wires,
            report,
            memory,
            requests: None,
            began: Instant::now(),
        };
        plane.encrypt();
        plane.serve(true);
        plane
    }

    /// Works until it is told to end by the agent, or `stop` is. Gives back what
    /// is to be ended.
    pub(crate) async fn run(
        mut self,
        mut inputs: Inputs,
        stop: impl Future<Output = ()>,
    ) -> (Proxy, Keeper) {
        let mut stop = std::pin::pin!(stop);
        let mut proxy_changed = self.parts.proxy.changed();
        let mut asked = self.parts.dns.asked_changed();
        let mut seen = self.parts.keeper.seen.clone();
        let mut encrypted = self.wires.as_ref().map(|wires| wires.status.clone());
        let mut count = tokio::time::interval(Duration::from_millis(DATAPLANE_COUNT_MS));
        loop {
            tokio::select! {
                Some(first) = inputs.messages.recv() => {
                    if self.take(first, &mut inputs.messages) == Flow::End {
                        tracing::info!("told to end");
                        break;
                    }
                }
                Some(first) = inputs.verdicts.recv() => self.take_verdicts(first, &mut inputs.verdicts),
                Some(done) = self.applying.join_next() => match done {
                    Ok((number, index, result)) => {
                        if self.applied(number, index, result) == Flow::End {
                            break;
                        }
                    }
                    Err(error) => tracing::error!(%error, "waiting for the proxy failed"),
                },
                Ok(()) = proxy_changed.changed() => self.tell(),
                Ok(()) = asked.changed() => self.tell(),
                () = told(&mut encrypted) => self.tell(),
                Ok(()) = seen.changed() => self.tell(),
                _ = count.tick() => self.count(),
                Some(question) = inputs.questions.recv() => self.answer(question),
                () = &mut stop => break,
            }
        }
        (self.parts.proxy, self.parts.keeper)
    }

    /// Takes a message and all that wait behind it: only the newest counts.
    fn take(&mut self, first: FromAgent, more: &mut mpsc::Receiver<FromAgent>) -> Flow {
        let mut next = Some(first);
        let mut new_view = false;
        while let Some(message) = next {
            match message {
                FromAgent::Hello { .. } => {}
                FromAgent::View(view) if view.format > VIEW_FORMAT => {
                    tracing::error!(
                        format = view.format,
                        newest = VIEW_FORMAT,
                        "view of a newer format is not served: upgrade the dataplane"
                    );
                }
                FromAgent::View(view) => {
                    new_view = true;
                    self.view = Some(view);
                }
                FromAgent::Local(local) => self.local = local,
                FromAgent::Wire(wire) => {
                    self.wire = Some(wire);
                    self.encrypt();
                }
                FromAgent::Shutdown => return Flow::End,
            }
            next = more.try_recv().ok();
        }
        self.serve(new_view);
        Flow::On
    }

    fn take_verdicts(&mut self, first: Verdict, more: &mut mpsc::Receiver<Verdict>) {
        let probes = Arc::make_mut(&mut self.probes);
        let mut next = Some(first);
        while let Some((id, verdict)) = next {
            tracing::info!(instance = %id, health = %verdict.health, detail = verdict.detail, "probed");
            probes.insert(id, verdict);
            next = more.try_recv().ok();
        }
        self.serve(false);
    }

    /// Serves what is known now: what is as it was is not touched.
    fn serve(&mut self, new_view: bool) {
        let Some(view) = self.view.clone() else { return };
        let targets: Targets = targets(&view, &self.local);
        if self.probes.keys().any(|id| !targets.contains_key(id)) {
            Arc::make_mut(&mut self.probes).retain(|id, _| targets.contains_key(id));
        }
        self.parts.prober.set(targets);
        let served = effective(&view, &self.local, &self.probes);
        if new_view || served.names != self.served.names {
            self.parts.dns.publish(Table::of(&view, &served));
        }
        let config = glue::proxy_config(&view, &served);
        if new_view || config != *self.config {
            self.config = Arc::new(config);
            self.number += 1;
            let (number, index) = (self.number, view.index);
            let applied = self.parts.proxy.apply(self.config.clone());
            self.applying.spawn(async move { (number, index, applied.await) });
        }
        self.parts.keeper.wish(floating::wish(&view, &served));
        self.served = Arc::new(served);
        self.remember();
        self.tell();
    }

    /// Hands down what is to be encrypted, and keeps it.
    fn encrypt(&self) {
        if let (Some(wires), Some(wire)) = (&self.wires, &self.wire) {
            wires.wish.send_if_modified(|known| {
                let changed = known.as_ref() != Some(wire);
                *known = Some(wire.clone());
                changed
            });
        }
        self.remember();
    }

    fn remember(&self) {
        let new = Remembered {
            view: self.view.clone(),
            live: Live { local: self.local.clone(), probes: self.probes.clone() },
            wire: self.wire.clone(),
        };
        self.memory.send_if_modified(|old| {
            let changed = *old != new;
            *old = new;
            changed
        });
    }

    fn applied(&mut self, number: u64, index: Index, result: Result<(), Stopped>) -> Flow {
        if let Err(error) = result {
            // Whoever started this process starts a new one, which serves what is remembered.
            tracing::error!(%error, "configuration not in force, ending");
            return Flow::End;
        }
        if number > self.in_force.0 {
            self.in_force = (number, index);
            self.tell();
        }
        Flow::On
    }

    /// Looks at the numbers of those endpoints whose requests are wanted, and tells them.
    fn count(&mut self) {
        let view = self.view.as_deref();
        let wanted = view.map(|view| glue::counted(view, &self.served)).unwrap_or_default();
        if wanted.is_empty() && self.requests.is_none() {
            return;
        }
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let of = self.parts.proxy.requests(|key| wanted.contains(key));
        let of = of.into_iter().filter_map(|(key, count)| Some((key.parse().ok()?, count)));
        self.requests = (!wanted.is_empty()).then(|| Requests { at_ms, of: of.collect() });
        self.tell();
    }

    fn tell(&self) {
        let view = self.view.as_deref();
        let status = self.parts.proxy.status();
        let mut new = glue::report(
            view,
            self.in_force.1,
            &self.served,
            &self.probes,
            &status,
            self.requests.as_ref(),
            self.parts.dns.asked(),
        );
        new.wire = self.wires.as_ref().map(|wires| wires.status.borrow().clone());
        new.floating.clone_from(&self.parts.keeper.seen.borrow());
        self.report.send_if_modified(|old| {
            let changed = *old != new;
            *old = new;
            changed
        });
    }

    fn answer(&self, question: Question) {
        let inside = Inside {
            view: self.view.clone(),
            local: self.local.clone(),
            probes: self.probes.clone(),
            served: self.served.clone(),
            in_force: self.in_force.1,
            proxy: self.parts.proxy.status(),
            dns: self.parts.dns.counts(),
            dns_listening: self.parts.dns.listening().borrow().clone(),
        };
        if question.send(inside).is_err() {
            tracing::trace!("asker hung up");
        }
    }
}

/// Something else is said of the encryption; never when nobody encrypts.
async fn told(status: &mut Option<watch::Receiver<WireStatus>>) {
    let Some(status) = status else { return std::future::pending().await };
    if status.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
