//! The thread of floating addresses: takes words and wishes, lets the leases think, and does what comes
//! of it.

use super::clock;
use super::hold::Hold;
use super::lease::{Lease, Micros, Seat, Sent};
use super::wire::{Heard, Letter, Talk};
use model::floating::{FloatingSeat, FloatingSeen};
use model::id::HostId;
use model::limits::{
    FLOATING_MESSAGE_BYTES_MAX, FLOATING_MESSAGES_AT_ONCE, FLOATING_PORT, FLOATING_RETRY_MS,
    FLOATING_SILENCE_MS,
};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is wished: the seats of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) host: Option<HostId>,
    pub(crate) seats: BTreeMap<Ipv4Addr, FloatingSeat>,
}

/// What is known of each address.
pub(crate) type Seen = BTreeMap<Ipv4Addr, FloatingSeen>;

/// The thread, from outside.
#[derive(Debug)]
pub(crate) struct Keeper {
    wish: watch::Sender<Wish>,
    pub(crate) seen: watch::Receiver<Seen>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread, which has nothing to do yet.
    pub(crate) fn start() -> io::Result<Self> {
        let (wish, wishes) = watch::channel(Wish::default());
        let (tell, seen) = watch::channel(Seen::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || runtime.block_on(Work::new(tell).run(wishes));
        let thread = std::thread::Builder::new().name("floating".into()).spawn(work)?;
        Ok(Self { wish, seen, thread })
    }

    /// Wishes, in the place of what was wished before.
    pub(crate) fn wish(&self, new: Wish) {
        self.wish.send_if_modified(|old| {
            let changed = *old != new;
            *old = new;
            changed
        });
    }

    /// Gives back what is held, and ends.
    pub(crate) async fn stop(self) {
        drop(self.wish);
        let joined = tokio::task::spawn_blocking(move || self.thread.join().is_ok()).await;
        if !matches!(joined, Ok(true)) {
            tracing::error!("the thread of floating addresses ended badly");
        }
    }
}

/// One address.
struct One {
    lease: Lease,
    talk: Talk,
    seat: Option<FloatingSeat>,
    hold: Option<Hold>,
    /// Why it cannot be held, and when that is tried again.
    problem: Option<(String, Micros)>,
}

/// What the kernel was to be silent about, and whether it is.
type Silenced = (BTreeMap<Ipv4Addr, Ipv4Addr>, Result<(), network::Error>);

struct Work {
    tell: watch::Sender<Seen>,
    host: Option<HostId>,
    all: BTreeMap<Ipv4Addr, One>,
    /// With the address that it is bound to.
    socket: Result<(UdpSocket, Ipv4Addr), (String, Micros)>,
    /// Addresses, and those of this host, for which the kernel is kept silent.
    silenced: BTreeMap<Ipv4Addr, Ipv4Addr>,
    silencing: JoinSet<Silenced>,
    silence_problem: Option<(String, Micros)>,
    /// When its rules are put in place anew: others may take them away.
    silence_due: Option<Micros>,
    /// An address could not be held: its seat is to be told anew.
    failed: bool,
    /// Drawn for this process.
    run: u64,
}

/// The socket's turn in the loop: none while there is none.
async fn readable(socket: Option<&UdpSocket>) -> io::Result<()> {
    match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    }
}

fn text(error: &network::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// Tried again then.
fn later() -> Micros {
    clock::now() + FLOATING_RETRY_MS * 1_000
}

impl Work {
    fn new(tell: watch::Sender<Seen>) -> Self {
        Self {
            tell,
            host: None,
            all: BTreeMap::new(),
            socket: Err((String::new(), 0)),
            silenced: BTreeMap::new(),
            silencing: JoinSet::new(),
            silence_problem: None,
            silence_due: None,
            failed: false,
            run: rand::random(),
        }
    }

    async fn run(mut self, mut wishes: watch::Receiver<Wish>) {
        loop {
            let wait = self.wake_at().map(|at| at.saturating_sub(clock::now()));
            let socket = self.socket.as_ref().ok().map(|(socket, _)| socket);
            tokio::select! {
                changed = wishes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let wish = wishes.borrow_and_update().clone();
                    self.take(wish).await;
                }
                ready = readable(socket) => {
                    if let Err(error) = ready {
                        self.socket = Err((format!("its socket broke: {error}"), later()));
                    } else {
                        self.hear().await;
                    }
                }
                Some(done) = self.silencing.join_next() => self.silenced(done).await,
                () = tokio::time::sleep(Duration::from_micros(wait.unwrap_or(0))), if wait.is_some() => {
                    self.look().await;
                }
            }
            if std::mem::take(&mut self.failed) {
                self.seat_all().await;
            }
            self.report();
        }
        self.end().await;
    }

    /// When something is due.
    fn wake_at(&self) -> Option<Micros> {
        let now = clock::now();
        let leases = self.all.values().filter_map(|one| one.lease.wake_at(now));
        let problems = self.all.values().filter_map(|one| one.problem.as_ref().map(|p| p.1));
        let socket = self.socket.as_ref().err().filter(|_| self.own().is_some()).map(|p| p.1);
        let silence = self.silence_problem.as_ref().map(|p| p.1);
        leases.chain(problems).chain(socket).chain(silence).chain(self.silence_due).min()
    }

    /// Where this host is reached.
    fn own(&self) -> Option<Ipv4Addr> {
        let host = self.host.as_ref()?;
        self.all.values().find_map(|one| one.seat.as_ref()?.addresses.get(host).copied())
    }

    async fn take(&mut self, wish: Wish) {
        let Some(host) = wish.host else { return };
        if self.host.as_ref().is_some_and(|known| *known != host) {
            self.give_all_back().await;
            self.all.clear();
        }
        self.host = Some(host.clone());
        let (now, seconds) = (clock::now(), SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default());
        let terms = u64::try_from(seconds.as_millis()).unwrap_or(0);
        for (address, seat) in &wish.seats {
            let one = self.all.entry(*address).or_insert_with(|| One {
                lease: Lease::new(host.clone(), now, terms),
                talk: Talk::new(*address, host.clone(), seat.key, self.run),
                seat: None,
                hold: None,
                problem: None,
            });
            one.talk.set_key(seat.key);
            one.talk.retain(|host| seat.addresses.contains_key(host));
            one.seat = Some(seat.clone());
        }
        for (address, one) in &mut self.all {
            if !wish.seats.contains_key(address) {
                one.seat = None;
            }
        }
        self.open().await;
        self.silence();
        self.seat_all().await;
    }

    /// Opens the socket where this host is reached, and closes it when it is not needed.
    async fn open(&mut self) {
        let Some(own) = self.own() else {
            self.socket = Err((String::new(), 0));
            return;
        };
        match &self.socket {
            Ok((_, at)) if *at == own => return,
            Err((why, at)) if !why.is_empty() && *at > clock::now() => return,
            _ => {}
        }
        self.socket = match UdpSocket::bind((own, FLOATING_PORT)).await {
            Ok(socket) => Ok((socket, own)),
            Err(error) => {
                let why = format!("UDP port {FLOATING_PORT} of {own} cannot be had: {error}");
                tracing::warn!(%own, %error, "no votes about floating addresses");
                Err((why, later()))
            }
        };
    }

    /// Keeps the kernel silent about the addresses of the seats.
    fn silence(&mut self) {
        let Some(host) = self.host.clone() else { return };
        let seats =
            self.all.iter().filter_map(|(address, one)| Some((address, one.seat.as_ref()?)));
        let wanted: BTreeMap<Ipv4Addr, Ipv4Addr> = seats
            .filter_map(|(address, seat)| Some((*address, *seat.addresses.get(&host)?)))
            .collect();
        let due = self.silence_due.is_some_and(|at| at <= clock::now());
        if !self.silencing.is_empty() || (wanted == self.silenced && !due) {
            return;
        }
        self.silence_due = None;
        self.silencing.spawn(async move {
            let done = match wanted.is_empty() {
                true => network::speak_again().await,
                false => network::silence(&wanted).await,
            };
            (wanted, done)
        });
    }

    async fn silenced(&mut self, done: Result<Silenced, tokio::task::JoinError>) {
        self.silence_problem = None;
        match done {
            Ok((now, Ok(()))) => {
                let again = clock::now() + FLOATING_SILENCE_MS * 1_000;
                self.silence_due = (!now.is_empty()).then_some(again);
                self.silenced = now;
                self.silence();
            }
            Ok((_, Err(error))) => {
                let why = text(&error);
                tracing::warn!(
                    error = why,
                    "the kernel is not kept from ARP for floating addresses"
                );
                self.silence_problem = Some((why, later()));
            }
            Err(error) => self.silence_problem = Some((error.to_string(), later())),
        }
        self.seat_all().await;
    }

    /// Tells every lease its seat. A host that cannot hold an address is no candidate.
    async fn seat_all(&mut self) {
        let now = clock::now();
        for address in self.all.keys().copied().collect::<Vec<_>>() {
            let able = self.socket.is_ok() && self.silenced.contains_key(&address);
            let Some(one) = self.all.get_mut(&address) else { continue };
            let seat = one.seat.as_ref().map(|seat| Seat {
                number: seat.number,
                voters: seat.voters.clone(),
                members: seat.addresses.keys().cloned().collect(),
                candidate: seat.candidate && able && one.problem.is_none(),
            });
            let out = one.lease.seat(now, seat, rand::random());
            self.after(address, out).await;
        }
        self.all.retain(|_, one| one.hold.is_some() || !one.lease.is_over(now));
    }

    /// What the time brings.
    async fn look(&mut self) {
        let now = clock::now();
        let over =
            |problem: &Option<(String, Micros)>| problem.as_ref().is_some_and(|p| p.1 <= now);
        let mut again = false;
        for one in self.all.values_mut().filter(|one| over(&one.problem)) {
            one.problem = None;
            again = true;
        }
        if self.socket.as_ref().is_err_and(|(_, at)| *at <= now) && self.own().is_some() {
            self.open().await;
            again = true;
        }
        if over(&self.silence_problem) || self.silence_due.is_some_and(|at| at <= now) {
            self.silence_problem = None;
            self.silence();
        }
        if again {
            self.seat_all().await;
        }
        for address in self.all.keys().copied().collect::<Vec<_>>() {
            let Some(one) = self.all.get_mut(&address) else { continue };
            let out = one.lease.tick(clock::now(), rand::random());
            self.after(address, out).await;
        }
    }

    /// Takes what has come, some at a time.
    async fn hear(&mut self) {
        for _ in 0..FLOATING_MESSAGES_AT_ONCE {
            let Ok((socket, _)) = &self.socket else { return };
            let mut bytes = [0; FLOATING_MESSAGE_BYTES_MAX + 1];
            let Ok((count, from)) = socket.try_recv_from(&mut bytes) else { return };
            let IpAddr::V4(from) = from.ip() else { continue };
            self.take_message(&bytes[..count], from).await;
        }
    }

    /// A message: of a member of the address that it is about, from where that one is, and signed.
    async fn take_message(&mut self, bytes: &[u8], from: Ipv4Addr) {
        let Some(address) = Letter::address_of(bytes) else { return };
        let Some(one) = self.all.get_mut(&address) else { return };
        let Some(seat) = &one.seat else { return };
        if !seat.addresses.values().any(|member| *member == from) {
            return;
        }
        let Some(letter) = Letter::decode(bytes, one.talk.key()) else { return };
        let host = letter.from.clone();
        if letter.address != address || seat.addresses.get(&host) != Some(&from) {
            return;
        }
        match one.talk.read(letter, rand::random()) {
            Heard::Word(word) => {
                let out = one.lease.hear_word(clock::now(), &host, word, rand::random());
                self.after(address, out).await;
            }
            Heard::Again(answer) => self.send(&answer, from),
            Heard::Nothing => {}
        }
    }

    /// What follows from what a lease did. Words that give it up go when the address is away.
    async fn after(&mut self, address: Ipv4Addr, out: Vec<Sent>) {
        let Some(own) = self.own() else { return self.drop_hold(address).await };
        let Some(one) = self.all.get_mut(&address) else { return };
        match (one.lease.held_until(clock::now()), &one.hold) {
            (Some(until), Some(hold)) => hold.renew(until),
            (None, Some(_)) => {
                tracing::warn!(%address, "floating address given up");
                self.drop_hold(address).await;
            }
            (Some(until), None) => {
                tracing::info!(%address, "floating address taken");
                match Hold::take(address, own, until).await {
                    Ok(hold) => one.hold = Some(hold),
                    Err(error) => {
                        let why = text(&error);
                        tracing::error!(%address, error = why, "floating address cannot be held");
                        one.problem = Some((why, later()));
                        self.failed = true;
                        let back = one.lease.end(clock::now());
                        self.write_all(address, back);
                        return;
                    }
                }
            }
            (None, None) => {}
        }
        self.write_all(address, out);
    }

    async fn drop_hold(&mut self, address: Ipv4Addr) {
        if let Some(hold) = self.all.get_mut(&address).and_then(|one| one.hold.take()) {
            hold.stop().await;
        }
    }

    fn write_all(&mut self, address: Ipv4Addr, out: Vec<Sent>) {
        for (to, word) in out {
            let Some(one) = self.all.get_mut(&address) else { return };
            let at = one.seat.as_ref().and_then(|seat| seat.addresses.get(&to).copied());
            let Some(at) = at else { continue };
            let bytes = one.talk.write(&to, word);
            self.send(&bytes, at);
        }
    }

    /// What cannot be sent is lost, as words are.
    fn send(&self, bytes: &[u8], to: Ipv4Addr) {
        if let Ok((socket, _)) = &self.socket
            && let Err(error) = socket.try_send_to(bytes, SocketAddr::from((to, FLOATING_PORT)))
        {
            tracing::debug!(%to, %error, "word about a floating address not sent");
        }
    }

    fn report(&mut self) {
        let now = clock::now();
        let trouble = self.socket.as_ref().err().map(|(why, _)| why).filter(|why| !why.is_empty());
        let silence = self.silence_problem.as_ref().map(|(why, _)| why);
        let seated = self.all.iter().filter(|(_, one)| one.seat.is_some());
        let seen = seated.map(|(address, one)| {
            let own = one.problem.as_ref().map(|(why, _)| why);
            let seen = FloatingSeen {
                settled: one.lease.settled(now),
                term: one.lease.holding(now).filter(|_| one.hold.is_some()),
                problem: own.or(trouble).or(silence).cloned().unwrap_or_default(),
            };
            (*address, seen)
        });
        let new: Seen = seen.collect();
        self.tell.send_if_modified(|old| {
            let changed = *old != new;
            *old = new;
            changed
        });
    }

    async fn give_all_back(&mut self) {
        for address in self.all.keys().copied().collect::<Vec<_>>() {
            self.drop_hold(address).await;
            let Some(one) = self.all.get_mut(&address) else { continue };
            let out = one.lease.end(clock::now());
            self.write_all(address, out);
        }
    }

    async fn end(mut self) {
        self.give_all_back().await;
        while self.silencing.join_next().await.is_some() {}
        if !self.silenced.is_empty()
            && let Err(error) = network::speak_again().await
        {
            tracing::warn!(error = text(&error), "table arp remuda not taken away");
        }
    }
}
