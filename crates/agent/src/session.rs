//! The session with the server: dialled again and again, publications fenced and journaled,
//! status sent latest-wins. Nothing is removed because the server is away.

use crate::journal::Journal;
use crate::lease::{Beats, LeaseClock};
use crate::streams::Streams;
use crate::transfer::{Ask, Questions};
use api::link::{
    AgentLink, Down, Hello, Known, Misfit, Publication, PublicationDelta, Session, Up,
};
use api::pace::Pace;
use api::stream::{Duplex, StreamRequest};
use engine::Engine;
use model::host_status::HostStatus;
use model::id::HostId;
use model::limits::{HEARTBEAT_MS_MAX, HEARTBEAT_MS_MIN, HOST_DISCONNECTED_MS};
use model::plain::{ContainerId, PlainContainer};
use model::time::Generation;
use network::Fabric;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A trouble that stays the same is told again after this.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// The whole status goes up this often though nothing changed: a level, not an edge.
const STATUS_PERIOD: Duration = Duration::from_secs(10);
/// Plain containers that have not changed are told again with each of so many whole statuses.
const PLAIN_PERIODS: u32 = 6;
/// Statuses go up one each window, but for so many at once: a start says one thing after the other.
const STATUS_WINDOW: Duration = Duration::from_millis(20);
const STATUSES_AT_ONCE: u32 = 8;

/// Everything that the session moves.
pub(crate) struct Uplink<L, E, F> {
    pub(crate) host: HostId,
    pub(crate) link: L,
    pub(crate) journal: Journal,
    /// The journal has not the newest publication.
    pub(crate) unwritten: bool,
    /// The environment that the host is a member of, when it joined one.
    pub(crate) environment: Option<String>,
    pub(crate) lease: LeaseClock,
    pub(crate) streams: Streams<E, F>,
    /// What this host asks the server for.
    pub(crate) questions: Questions,
    /// Newest publication, for the reconciler.
    pub(crate) publication: watch::Sender<Option<Arc<Publication>>>,
    /// Names that are asked for here, from the reconciler.
    pub(crate) asked: watch::Receiver<BTreeSet<String>>,
    /// Newest status, from the reconciler.
    pub(crate) status: watch::Receiver<Option<Arc<HostStatus>>>,
}

/// Where the answer to a question goes.
type Answer = oneshot::Sender<Duplex>;

/// What a server is told: each status with its number, and plain containers not again and again.
#[derive(Debug)]
struct Teller {
    said: u64,
    periods: u32,
    plain: Option<Arc<BTreeMap<ContainerId, PlainContainer>>>,
    pace: Pace,
    /// The next status may go then.
    at: Instant,
}

impl Teller {
    fn new() -> Self {
        let pace = Pace::new(STATUS_WINDOW, STATUSES_AT_ONCE);
        Self { said: 0, periods: 0, plain: None, pace, at: Instant::now() }
    }

    /// Waits for a status that is new, and until it may go.
    async fn next(
        &self,
        status: &mut watch::Receiver<Option<Arc<HostStatus>>>,
    ) -> Result<Option<Arc<HostStatus>>, watch::error::RecvError> {
        tokio::time::sleep_until(self.at).await;
        status.changed().await?;
        Ok(status.borrow_and_update().clone())
    }

    /// A status went up.
    fn went(&mut self) {
        let now = Instant::now();
        self.at = now + self.pace.went(now);
    }

    /// A status as it goes up; what was told of plain containers already is left out and holds.
    fn message(&mut self, status: &HostStatus) -> Up {
        self.said += 1;
        let mut status = HostStatus { number: self.said, ..status.clone() };
        let same = match (&self.plain, &status.plain) {
            (Some(told), Some(now)) => Arc::ptr_eq(told, now),
            _ => false,
        };
        if same {
            status.plain = None;
        } else if status.plain.is_some() {
            self.plain.clone_from(&status.plain);
        }
        Up::Status(Box::new(status))
    }

    /// The whole status is told again.
    fn next_period(&mut self) {
        self.periods = (self.periods + 1) % PLAIN_PERIODS;
        if self.periods == 0 {
            self.plain = None;
        }
    }
}

/// Questions to the server that it has not answered yet.
#[derive(Default)]
struct Wants {
    last: u64,
    open: BTreeMap<u64, Answer>,
}

impl Wants {
    fn note(&mut self, ask: Ask) -> Option<Up> {
        self.open.retain(|_, answer| !answer.is_closed());
        if ask.answer.is_closed() {
            return None;
        }
        self.last += 1;
        self.open.insert(self.last, ask.answer);
        Some(Up::Want { number: self.last, want: ask.want })
    }
}

/// What was said last of a trouble that goes on: it is not said again with each try.
#[derive(Default)]
struct Said {
    why: String,
    at: Option<Instant>,
}

impl Said {
    fn is_news(&mut self, why: &str) -> bool {
        let now = Instant::now();
        if self.why == why && self.at.is_some_and(|at| now < at + SAY_AGAIN) {
            return false;
        }
        *self = Self { why: why.to_owned(), at: Some(now) };
        true
    }
}

/// A heartbeat that did not renew the lease is followed by another one after this.
const LEASE_AGAIN: Duration = Duration::from_millis(200);

/// Half of a pause to all of it, so that a thousand agents do not come back at once: another share
/// for every host and every try, without chance.
fn spread(host: &HostId, tries: u64, pause: Duration) -> Duration {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let bytes = host.as_str().bytes().chain(tries.to_le_bytes());
    let hash =
        bytes.fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let share = u32::try_from((hash >> 16) % 512).unwrap_or(0);
    pause / 2 + pause * share / 1_024
}

/// Is a publication newer than what is known? Within an epoch generations only grow, and what one
/// server says within its life as well.
fn is_newer(known: Option<&Publication>, new: &Publication) -> bool {
    known.is_none_or(|known| {
        let same_maker = known.mark.run == new.mark.run;
        known.epoch != new.epoch
            || (known.spec.generation <= new.spec.generation
                && (!same_maker || known.mark.serial <= new.mark.serial))
    })
}

impl<L: AgentLink, E: Engine, F: Fabric> Uplink<L, E, F> {
    /// Keeps a session for ever.
    pub(crate) async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        let mut tries = 0_u64;
        let mut said = Said::default();
        loop {
            let mut hello = Hello::new(self.host.clone(), env!("CARGO_PKG_VERSION"));
            hello.known = self.publication.borrow().as_ref().map(|publication| Known {
                epoch: publication.epoch.clone(),
                mark: publication.mark,
            });
            match self.link.connect(hello).await {
                Ok(session) => {
                    tracing::info!(host = %self.host, "session with the server begun");
                    said = Said::default();
                    backoff = BACKOFF_MIN;
                    self.questions.connected.send_replace(true);
                    self.serve(session).await;
                    self.questions.connected.send_replace(false);
                    tracing::warn!(host = %self.host, "session with the server ended");
                }
                Err(error) => {
                    let why = error.to_string();
                    if said.is_news(&why) {
                        tracing::warn!(
                            host = %self.host,
                            why,
                            "no session with the server, trying again; what runs here goes on"
                        );
                    }
                }
            }
            tries += 1;
            tokio::time::sleep(spread(&self.host, tries, backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn serve(&mut self, mut session: Session) {
        let mut tasks = JoinSet::new();
        let (mut teller, mut told) = (Teller::new(), false);
        let mut wants = Wants::default();
        let mut beats = Beats::default();
        let mut heartbeat = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS_MIN));
        let mut again = tokio::time::interval(STATUS_PERIOD);
        // A new server knows nothing of what the last one was told.
        self.status.mark_changed();
        let mut asked = BTreeSet::new();
        self.asked.mark_changed();
        loop {
            tokio::select! {
                // What is rare goes first: a status that changes all the time starves nothing.
                biased;
                _ = heartbeat.tick() => {
                    if beats.silent_ms() > HOST_DISCONNECTED_MS {
                        tracing::warn!(host = %self.host, "the server answers no heartbeat");
                        return;
                    }
                    let number = beats.next();
                    if session.up.send(Up::Beat { number }).await.is_err() {
                        return;
                    }
                }
                _ = again.tick() => {
                    teller.next_period();
                    self.status.mark_changed();
                    self.write_again().await;
                }
                Some(ask) = self.questions.asks.recv() => {
                    if let Some(message) = wants.note(ask)
                        && session.up.send(message).await.is_err()
                    {
                        return;
                    }
                }
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "stream task ended badly");
                    }
                }
                down = session.down.recv() => match down {
                    Some(Down::Publish(publication)) => {
                        self.accept(publication, None).await;
                        told = true;
                    }
                    Some(Down::Delta(delta)) => match self.change(&delta).await {
                        Ok(()) => told = true,
                        Err(Misfit) => {
                            if session.up.send(Up::Whole).await.is_err() {
                                return;
                            }
                        }
                    },
                    Some(Down::Open { stream, request }) => {
                        let asked = match &request {
                            StreamRequest::Wanted { number } => wants.open.remove(number),
                            _ => None,
                        };
                        let (link, streams) = (self.link.clone(), self.streams.clone());
                        tasks.spawn(open(link, streams, stream, request, asked));
                    }
                    Some(Down::Heard { number, lease, every_ms }) => {
                        let sent = beats.answered(number);
                        follow(&mut heartbeat, every_ms);
                        if !self.heard(sent, lease.filter(|_| told)).await {
                            heartbeat.reset_after(LEASE_AGAIN);
                        }
                    }
                    None => return,
                },
                Ok(()) = self.asked.changed() => {
                    if let Some(message) = self.other_names(&mut asked)
                        && session.up.send(message).await.is_err()
                    {
                        return;
                    }
                }
                next = teller.next(&mut self.status) => match next {
                    Ok(Some(status)) => {
                        if session.up.send(teller.message(&status)).await.is_err() {
                            return;
                        }
                        teller.went();
                    }
                    Ok(None) => {}
                    Err(_closed) => return,
                },
            }
        }
    }

    /// The names that are asked for here, when they are others than were told.
    fn other_names(&mut self, told: &mut BTreeSet<String>) -> Option<Up> {
        let names = self.asked.borrow_and_update();
        if *names == *told {
            return None;
        }
        told.clone_from(&names);
        Some(Up::Asked { names: told.iter().cloned().collect() })
    }

    /// The server has heard what was sent then. The lease is renewed once the publication of that
    /// generation is here: what was decided of this host before it was heard again has come. Says
    /// whether it was renewed.
    async fn heard(&mut self, sent: Option<Instant>, lease: Option<Generation>) -> bool {
        let has = self.publication.borrow().as_ref().map(|p| p.spec.generation);
        let Some(sent) = sent.filter(|_| lease.is_some() && has >= lease) else { return false };
        let kept = self.lives_by_lease();
        self.lease.renew(sent, kept).await;
        true
    }

    /// Is there a container of which at most one may run in the cluster?
    fn lives_by_lease(&self) -> bool {
        self.publication.borrow().as_ref().is_some_and(|publication| {
            publication.spec.instances.values().any(|one| one.stop_after_ms.is_some())
        })
    }

    /// What a full disk refused is written when there is room.
    async fn write_again(&mut self) {
        if !self.unwritten {
            return;
        }
        let publication = self.publication.borrow().clone();
        if let Some(publication) = publication {
            self.unwritten = !self.journal.write(&publication).await;
        }
    }

    /// Makes the newer publication of what is known and what changed.
    async fn change(&mut self, delta: &Arc<PublicationDelta>) -> Result<(), Misfit> {
        let known = self.publication.borrow().clone().ok_or(Misfit)?;
        if delta.is_known(&known) {
            return Ok(());
        }
        let mut next = (*known).clone();
        drop(known);
        delta.apply(&mut next)?;
        self.accept(Arc::new(next), Some(delta)).await;
        Ok(())
    }

    /// Takes a publication; `by` is what led to it from the one that is known.
    async fn accept(&mut self, publication: Arc<Publication>, by: Option<&PublicationDelta>) {
        if publication.spec.host != self.host {
            tracing::error!(host = %publication.spec.host, "publication of another host refused");
            return;
        }
        let known = self.publication.borrow().clone();
        let found = &publication.spec.environment.id;
        let member =
            self.environment.as_ref().or(known.as_ref().map(|p| &p.spec.environment.id)).cloned();
        if let Some(member) = member.filter(|member| member != found) {
            // A server without its state would empty this host.
            tracing::error!(%member, %found, "publication of another environment refused");
            return;
        }
        if !is_newer(known.as_deref(), &publication) {
            tracing::warn!(
                generation = publication.spec.generation.0,
                "publication of an older generation refused"
            );
            return;
        }
        // Written before anything is done about it: who boots alone knows of all that was done.
        self.unwritten = match by.filter(|_| !self.unwritten) {
            Some(delta) => !self.journal.append(&publication, delta).await,
            None => !self.journal.write(&publication).await,
        };
        let lived_by_lease = self.lives_by_lease();
        self.publication.send_replace(Some(publication));
        if !lived_by_lease && self.lives_by_lease() {
            // Who dies before the next answer of the server must know of the last one.
            self.lease.keep().await;
        }
    }
}

/// From now on as often as the server wishes, within what both know.
fn follow(heartbeat: &mut Interval, every_ms: u64) {
    let every = Duration::from_millis(every_ms.clamp(HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX));
    if every != heartbeat.period() {
        *heartbeat = tokio::time::interval_at(Instant::now() + every, every);
    }
}

/// Takes up a stream, for whom has asked or for what it requests.
async fn open<L: AgentLink, E: Engine, F: Fabric>(
    link: L,
    streams: Streams<E, F>,
    stream: u64,
    request: StreamRequest,
    asked: Option<Answer>,
) {
    match (link.attach(stream, request.is_bulk()).await, asked) {
        (Ok(duplex), Some(asked)) => asked
            .send(duplex)
            .map_or_else(|_unsent| tracing::debug!("an answer that nobody waits for"), |()| {}),
        (Ok(duplex), None) => streams.serve(request, duplex).await,
        (Err(error), _) => tracing::warn!(%error, "stream not opened"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::time::Index;

    #[test]
    fn plain_containers_are_told_when_they_change_and_now_and_then() {
        let containers = |id: &str| {
            let one = (ContainerId::parse(id).unwrap(), PlainContainer::default());
            Some(Arc::new(BTreeMap::from([one])))
        };
        let mut status = HostStatus {
            host: HostId::parse("h1").unwrap(),
            number: 0,
            generation: Generation(0),
            view: Index(0),
            facts: model::host::HostFacts::default(),
            instances: BTreeMap::new(),
            plain: None,
            probes: BTreeMap::new(),
            usage: BTreeMap::new(),
            requests: None,
            floating: BTreeMap::new(),
            checks: BTreeMap::new(),
        };
        let mut teller = Teller::new();
        let told = |status: &HostStatus, teller: &mut Teller| {
            let Up::Status(sent) = teller.message(status) else { return (0, false) };
            (sent.number, sent.plain.is_some())
        };
        assert_eq!(told(&status, &mut teller), (1, false));
        status.plain = containers("a1");
        assert_eq!(told(&status, &mut teller), (2, true));
        assert_eq!(told(&status, &mut teller), (3, false));
        status.plain = containers("a2");
        assert_eq!(told(&status, &mut teller), (4, true));
        let known = status.plain.take();
        assert_eq!(told(&status, &mut teller), (5, false), "they are not known just now");
        status.plain = known;
        assert_eq!(told(&status, &mut teller), (6, false));
        (1..PLAIN_PERIODS).for_each(|_| teller.next_period());
        assert_eq!(told(&status, &mut teller), (7, false));
        teller.next_period();
        assert_eq!(told(&status, &mut teller), (8, true));
    }

    #[test]
    fn hosts_that_lost_their_server_together_come_back_apart() {
        let pause = Duration::from_secs(4);
        let of = |n: u64| spread(&HostId::parse(&format!("host-{n}")).unwrap(), 3, pause);
        let mut all: Vec<Duration> = (0..1_000).map(of).collect();
        assert!(all.iter().all(|one| (pause / 2..=pause).contains(one)));
        all.sort_unstable();
        for (tenth, bounds) in all.chunks(100).enumerate() {
            let expected = pause / 2 + pause / 2 * u32::try_from(tenth).unwrap() / 10;
            assert!(bounds[0].abs_diff(expected) < pause / 10, "{tenth}: {:?}", bounds[0]);
        }
        let host = HostId::parse("one").unwrap();
        assert_ne!(spread(&host, 1, pause), spread(&host, 2, pause), "a try is not like the last");
    }
}
