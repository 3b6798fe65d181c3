//! Encryption between hosts: WireGuard in this process, over a TUN device that the fabric makes.
//!
//! ```text
//! containers ─▶ remudawg0 ─▶ flow ─ peer by destination ─▶ lane ─▶ UDP 51820
//! containers ◀─ remudawg0 ◀─ flow ◀─ peer by source      ◀─ lane ◀─ UDP 51820
//! ```
//!
//! It sends nothing in clear and takes nothing in clear: what cannot be encrypted is dropped. It
//! makes this host's keys; their secret halves go nowhere but to their file.

mod allowed;
mod flow;
mod keys;
mod lane;
mod offload;
mod sys;
mod table;

pub(crate) use sys::make_tun;

use flow::{Flow, Shared, send_one};
use keys::{Keys, State};
use lane::ROOM_BYTES;
use model::limits::{WIREGUARD_BEGUN_MAX, WIREGUARD_QUIET_MS};
use model::wireguard::{WireStatus, WireWish};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use table::Table;
use tokio::sync::watch;

/// Time between two looks at all lanes.
const TICK: Duration = Duration::from_millis(250);
/// The same while there is something to encrypt and no device yet.
const HURRY: Duration = Duration::from_millis(20);
/// The same while nothing is encrypted.
const IDLE: Duration = Duration::from_secs(5);
/// Rate limits count by the second.
const SECOND: Duration = Duration::from_secs(1);
/// A device that is not there for so long is told of.
const MISSING_MS: u64 = 3_000;

/// Encrypts as is wished, in threads of its own, until whoever wishes is gone. Keys are kept in
/// `dir`, which must be private.
///
/// # Errors
/// When no thread can be started.
pub fn start_wires(
    dir: PathBuf,
    wishes: watch::Receiver<Option<Arc<WireWish>>>,
    status: watch::Sender<WireStatus>,
) -> io::Result<()> {
    let keep = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        match runtime {
            Ok(runtime) => runtime.block_on(follow(&dir, wishes, &status)),
            Err(error) => tracing::error!(%error, "nothing can be encrypted"),
        }
    };
    std::thread::Builder::new().name("wire".into()).spawn(keep).map(drop)
}

async fn follow(
    dir: &Path,
    mut wishes: watch::Receiver<Option<Arc<WireWish>>>,
    status: &watch::Sender<WireStatus>,
) {
    let mut keeper = Keeper::new();
    loop {
        let wish = wishes.borrow_and_update().clone();
        let said = keeper.step(dir, wish.as_ref());
        status.send_if_modified(|known| {
            let changed = *known != said;
            *known = said;
            changed
        });
        let pause = keeper.pause(wish.as_deref());
        if let Ok(Err(_gone)) = tokio::time::timeout(pause, wishes.changed()).await {
            return;
        }
    }
}

/// What is kept from step to step.
struct Keeper {
    keys: Option<Keys>,
    shared: Arc<Shared>,
    flow: Option<Flow>,
    /// What the flow was opened with.
    at: Option<(String, Ipv4Addr, u16)>,
    /// What the table was made from.
    made_from: Option<Arc<WireWish>>,
    keys_changed: bool,
    /// When the device was looked for first, and not found.
    missing_since: Option<u64>,
    counted: Instant,
    problem: String,
}

impl Keeper {
    fn new() -> Self {
        let first = u32::from_ne_bytes(rand::random::<[u8; 4]>());
        Self {
            keys: None,
            shared: Arc::new(Shared::new(Table::empty(first), Instant::now())),
            flow: None,
            at: None,
            made_from: None,
            keys_changed: true,
            missing_since: None,
            counted: Instant::now(),
            problem: String::new(),
        }
    }

    fn pause(&self, wish: Option<&WireWish>) -> Duration {
        match (wish.is_some_and(|wish| wish.active), &self.flow) {
            (false, _) => IDLE,
            (true, None) if self.problem.is_empty() => HURRY,
            (true, _) => TICK,
        }
    }

    /// One look at everything.
    fn step(&mut self, dir: &Path, wish: Option<&Arc<WireWish>>) -> WireStatus {
        let active = wish.is_some_and(|wish| wish.active);
        let mut problem = String::new();
        if let Err(error) = self.renew(dir, wish.map(Arc::as_ref)) {
            problem = format!("the keys of this host cannot be kept in {}: {error}", dir.display());
        }
        match wish.filter(|wish| wish.active) {
            None => self.rest(),
            Some(wish) => {
                self.describe(wish);
                if let Err(why) = self.open(wish) {
                    problem = why;
                }
                self.tick();
            }
        }
        if problem != self.problem && !problem.is_empty() {
            tracing::warn!(error = problem, "nothing is encrypted");
        }
        self.problem.clone_from(&problem);
        let keys = self.keys.as_ref().map(Keys::public).unwrap_or_default();
        WireStatus { keys, problem: if active { problem } else { String::new() } }
    }

    /// Nothing is encrypted: device and port are left, sessions end.
    fn rest(&mut self) {
        if self.made_from.take().is_some() || self.flow.is_some() {
            self.flow = None;
            self.at = None;
            let before = self.shared.table();
            self.shared.set_table(Table::next(&before, &nobody(), &[]));
        }
        self.missing_since = None;
    }

    /// Makes a key when one is ordered, and gives up those that nobody uses any more.
    fn renew(&mut self, dir: &Path, wish: Option<&WireWish>) -> io::Result<()> {
        let order = wish.map_or(0, |wish| wish.order);
        if self.keys.is_none() {
            self.keys = Some(Keys::open(dir)?);
        }
        let Some(keys) = &mut self.keys else { return Ok(()) };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let newest = keys.newest();
        let (taken_up, quiet_ms) = match wish.filter(|wish| wish.active) {
            Some(_) => use_of(&self.shared, keys),
            // Nobody has a session; all need a while to hear of the newest one.
            None => {
                let age = newest.map_or(0, |(_, made_at)| now.saturating_sub(made_at));
                (age >= 6 * WIREGUARD_QUIET_MS, age)
            }
        };
        let count = keys.all().len();
        let step = keys::next(State { count, newest, order, taken_up, quiet_ms, now });
        if keys.follow(step, order.max(newest.map_or(0, |(of, _)| of)), now)? {
            tracing::info!(?step, count = keys.all().len(), "keys of this host changed");
            self.keys_changed = true;
        }
        Ok(())
    }

    /// Makes the table anew when wish or keys are others.
    fn describe(&mut self, wish: &Arc<WireWish>) {
        let same = self.made_from.as_ref() == Some(wish) && !self.keys_changed;
        let Some(keys) = self.keys.as_ref().filter(|_| !same) else { return };
        let before = self.shared.table();
        self.shared.set_table(Table::next(&before, wish, keys.all()));
        self.made_from = Some(Arc::clone(wish));
        self.keys_changed = false;
    }

    /// Sees to it that packets flow.
    fn open(&mut self, wish: &WireWish) -> Result<(), String> {
        let at = (wish.device.clone(), wish.address, wish.port);
        if self.at.as_ref() != Some(&at) {
            self.flow = None;
        }
        if let Some(why) = self.flow.as_ref().and_then(Flow::failure) {
            tracing::info!(error = why, "looking for the device anew");
            self.flow = None;
        }
        if self.flow.is_some() {
            return Ok(());
        }
        match Flow::open(&self.shared, &wish.device, (wish.address, wish.port)) {
            Ok(flow) => {
                tracing::info!(device = wish.device, port = wish.port, "encrypting");
                self.flow = Some(flow);
                self.at = Some(at);
                self.missing_since = None;
                Ok(())
            }
            Err(Some(why)) => Err(why),
            Err(None) => {
                let now = self.shared.now();
                let since = *self.missing_since.get_or_insert(now);
                if now - since < MISSING_MS {
                    return Ok(());
                }
                Err(format!("the TUN device {} has not been made", wish.device))
            }
        }
    }

    /// Lets the lanes know that time passes, and begins handshakes.
    fn tick(&mut self) {
        let Some(flow) = &self.flow else { return };
        let (table, now) = (self.shared.table(), self.shared.now());
        if self.counted.elapsed() >= SECOND {
            self.counted = Instant::now();
            table.forget_counts();
        }
        let mut room = [0; ROOM_BYTES];
        let mut begun = 0;
        for peer in &table.peers {
            let send = |bytes: &[u8]| send_one(&flow.socket, bytes, peer.address);
            for lane in &peer.lanes {
                lane.tick(&mut room, send);
            }
            for lane in peer.due(now) {
                if begun < WIREGUARD_BEGUN_MAX {
                    begun += 1;
                    lane.begin(now, &mut room, send);
                }
            }
            flow::release(&self.shared, &flow.socket, peer, now);
        }
    }
}

/// Does every peer use the newest key, and for how long has nothing come by another one?
fn use_of(shared: &Shared, keys: &Keys) -> (bool, u64) {
    let (table, now) = (shared.table(), shared.now());
    let newest = keys.all().first().map(|key| key.public);
    let is_new = |own| Some(own) == newest;
    let taken_up = table.peers.iter().all(|peer| {
        peer.lanes.is_empty() || peer.lanes.iter().any(|one| is_new(one.own) && one.was_up())
    });
    let old = table.lanes().filter(|lane| !is_new(lane.own)).map(|lane| lane.heard_at());
    (taken_up, now.saturating_sub(old.max().unwrap_or(0)))
}

/// A wish without anybody.
fn nobody() -> WireWish {
    WireWish {
        active: false,
        device: String::new(),
        address: Ipv4Addr::UNSPECIFIED,
        port: 0,
        subnet: ipnet::Ipv4Net::default(),
        order: 0,
        own: Default::default(),
        peers: Default::default(),
    }
}

#[cfg(test)]
mod tests;
