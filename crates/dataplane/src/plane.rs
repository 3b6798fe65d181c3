//! The loop of the dataplane: takes what agent, probes and proxy say, works out what is served,
//! and hands it to DNS, proxy and prober. One task owns all state; nothing here waits for others.

use crate::admin::{Inside, Question};
use crate::check::{Checker, Found, News};
use crate::dns::{Dns, Table};
use crate::effective::{Effective, effective};
use crate::floating::{self, Keeper};
use crate::glue;
use crate::metadata::{Kept, Metadata, Teller};
use crate::probe::{Prober, Targets, Verdict, targets};
use crate::protocol::{FromAgent, Local, MetaUpdate, Probes, Report};
use crate::proxy::{Proxy, ProxyConfig, Stopped};
use crate::run::WirePort;
use crate::state::{Live, Remembered};
use model::host_status::Requests;
use model::limits::DATAPLANE_COUNT_MS;
use model::metadata::METADATA_NAME;
use model::time::Index;
use model::view::{HostView, VIEW_FORMAT};
use model::wireguard::{WireStatus, WireWish};
use std::collections::BTreeSet;
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
    pub(crate) checked: mpsc::Receiver<News>,
    pub(crate) questions: mpsc::Receiver<Question>,
}

/// Who carries it out.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) dns: Dns,
    pub(crate) metadata: Metadata,
    pub(crate) proxy: Proxy,
    pub(crate) prober: Prober,
    pub(crate) keeper: Keeper,
    pub(crate) checker: Checker,
}

/// The state, and who carries it out.
#[derive(Debug)]
pub(crate) struct Plane {
    view: Option<Arc<HostView>>,
    local: Arc<Local>,
    probes: Arc<Probes>,
    checks: Arc<Found>,
    served: Arc<Effective>,
    config: Arc<ProxyConfig>,
    /// Applications of a configuration under way, by number.
    applying: JoinSet<(u64, Index, Result<(), Stopped>)>,
    number: u64,
    /// The newest that is in force everywhere, and its view.
    in_force: (u64, Index),
    /// Of the newest view, though only its metadata may have come.
    index: Index,
    /// What is told to who asks for metadata.
    teller: Teller,
    parts: Parts,
    /// What to encrypt, and who does it.
    wire: Option<Arc<WireWish>>,
    wires: Option<WirePort>,
    report: watch::Sender<Report>,
    memory: watch::Sender<Remembered>,
    meta_memory: watch::Sender<Option<Arc<Kept>>>,
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
        (memory, meta_memory): (watch::Sender<Remembered>, watch::Sender<Option<Arc<Kept>>>),
        teller: Teller,
    ) -> Self {
        let index = remembered.view.as_ref().map(|view| view.index).unwrap_or_default();
        let mut plane = Self {
            view: remembered.view,
            local: remembered.live.local,
            probes: remembered.live.probes,
            checks: remembered.live.checks,
            served: Arc::default(),
            config: Arc::default(),
            applying: JoinSet::new(),
            number: 0,
            in_force: (0, Index::default()),
            index,
            teller,
            parts,
            wire: remembered.wire,
            wires,
            report,
            memory,
            meta_memory,
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
        let mut asked_meta = self.parts.metadata.asked_changed();
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
                Some(first) = inputs.checked.recv() => self.take_checked(first, &mut inputs.checked),
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
                Ok(()) = asked_meta.changed() => self.tell(),
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
        let (mut new_view, mut changed) = (false, false);
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
                    (new_view, changed) = (true, true);
                    self.index = view.index;
                    self.view = Some(view);
                }
                FromAgent::Meta(update) => self.take_meta(*update),
                FromAgent::Local(local) => {
                    changed = true;
                    self.local = local;
                }
                FromAgent::Wire(wire) => {
                    self.wire = Some(wire);
                    self.encrypt();
                }
                FromAgent::Shutdown => return Flow::End,
            }
            next = more.try_recv().ok();
        }
        if changed {
            self.serve(new_view);
        }
        Flow::On
    }

    /// Tells other metadata. The rest of what is served stays as it is.
    fn take_meta(&mut self, update: MetaUpdate) {
        let MetaUpdate { host, index, alone, whole, delta } = update;
        let news = match whole {
            Some(meta) => self.teller.replace(host, &meta),
            None => self.teller.change(&delta),
        };
        if news {
            self.parts.metadata.publish(self.teller.world());
            self.meta_memory.send_replace(self.teller.kept().map(Arc::new));
        }
        if alone {
            self.index = index;
            if self.applying.is_empty() {
                self.in_force.1 = index;
                self.tell();
            }
        }
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

    fn take_checked(&mut self, first: News, more: &mut mpsc::Receiver<News>) {
        let checks = Arc::make_mut(&mut self.checks);
        let mut next = Some(first);
        while let Some((id, seen)) = next {
            let status = seen.status.as_str();
            tracing::info!(check = id, status, "checked");
            checks.insert(id, seen);
            next = more.try_recv().ok();
        }
        self.check();
        self.remember();
        self.tell();
    }

    /// Has the checks of the view carried out; of others nothing is known any more.
    fn check(&mut self) {
        let Some(view) = &self.view else { return };
        let is_asked = |id: &String, run| view.checks.get(id).is_some_and(|wish| wish.run == run);
        if self.checks.iter().any(|(id, seen)| !is_asked(id, seen.run)) {
            Arc::make_mut(&mut self.checks).retain(|id, seen| is_asked(id, seen.run));
        }
        self.parts.checker.set(&view.checks);
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
        let names = (&served.names, &served.unfit);
        if new_view || names != (&self.served.names, &self.served.unfit) {
            self.parts.dns.publish(|before| Table::after(Some(before), &view, &served));
        }
        let config = glue::proxy_config(&view, &served);
        if new_view || config != *self.config {
            self.config = Arc::new(config);
            self.number += 1;
            let (number, index) = (self.number, self.index);
            let applied = self.parts.proxy.apply(self.config.clone());
            self.applying.spawn(async move { (number, index, applied.await) });
        }
        if self.teller.see(glue::seen_here(&view, &self.local, &self.probes)) {
            self.parts.metadata.publish(self.teller.world());
        }
        self.parts.keeper.wish(floating::wish(&view, &served));
        if new_view {
            self.check();
        }
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
            live: Live {
                local: self.local.clone(),
                probes: self.probes.clone(),
                checks: self.checks.clone(),
            },
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
            // What came since without another configuration is in force with it.
            let newest = if number == self.number { self.index } else { index };
            self.in_force = (number, newest);
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
            self.asked(),
        );
        new.wire = self.wires.as_ref().map(|wires| wires.status.borrow().clone());
        new.floating.clone_from(&self.parts.keeper.seen.borrow());
        new.checks = (*self.checks).clone();
        self.report.send_if_modified(|old| {
            let changed = *old != new;
            *old = new;
            changed
        });
    }

    /// What the server is to be asked for.
    fn asked(&self) -> BTreeSet<String> {
        let mut asked = self.parts.dns.asked();
        if self.parts.metadata.is_asked() {
            asked.insert(METADATA_NAME.to_owned());
        }
        asked
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
            metadata: self.parts.metadata.counts(),
            metadata_listening: self.parts.metadata.listening().borrow().clone(),
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
