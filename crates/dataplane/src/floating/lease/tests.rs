//! No two holders, ever; one holder soon after all is well. Hosts with clocks that run at different
//! rates, a network that loses, delays, doubles and cuts, processes that are stopped and started
//! anew, and a server that changes the voters meanwhile: all in virtual time.

use super::*;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Virtual microseconds for which everything breaks.
const TROUBLE: Micros = 12_000_000;
/// After that everything is well; so long may it take until one holds.
const SOON: Micros = 1_200_000;
/// And it stays with that one.
const CALM: Micros = 3_000_000;
/// Voters at the start.
const VOTERS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Look(usize, u64),
    Word(usize, usize, u64, Said),
    Seat(usize, u64),
    Report(usize, u64),
    Chaos,
    Server,
}

/// A word that can be ordered.
type Said = (u8, u64, u64, u64, bool, Micros);

fn said(word: Word) -> Said {
    match word {
        Word::Probe { round, number } => (0, round, number, 0, false, 0),
        Word::Ask { round, number, term } => (1, round, number, term, false, 0),
        Word::Release { term } => (2, 0, 0, term, false, 0),
        Word::Answer { round, given, free_in, number, term } => {
            (3, round, number, term, given, free_in)
        }
    }
}

fn word(said: Said) -> Word {
    let (kind, round, number, term, given, free_in) = said;
    match kind {
        0 => Word::Probe { round, number },
        1 => Word::Ask { round, number, term },
        2 => Word::Release { term },
        _ => Word::Answer { round, given, free_in, number, term },
    }
}

/// Seeded dice.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

struct Node {
    id: HostId,
    lease: Lease,
    /// Thousandths by which its clock runs.
    rate: u64,
    offset: Micros,
    /// It does nothing before: stopped, and what comes waits for it.
    asleep_until: Micros,
    /// Which process: words from and to earlier ones are not taken, as the wire sees to.
    life: u64,
    candidate: bool,
}

impl Node {
    fn clock(&self, now: Micros) -> Micros {
        self.offset + now * self.rate / 1_000
    }

    /// When its clock shows that, at the earliest.
    fn at(&self, clock: Micros) -> Micros {
        (clock.saturating_sub(self.offset) * 1_000).div_ceil(self.rate)
    }

    fn number(&self) -> u64 {
        self.lease.seat.as_ref().map_or(0, |seat| seat.number)
    }
}

/// A rule that is broken, so that the property can be seen to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoil {
    Nothing,
    /// Who has just started votes at once.
    Silence,
    /// The server changes the voters again before the last change is settled.
    Settling,
    /// Clocks differ by more than the margin.
    Clocks,
}

struct World {
    spoil: Spoil,
    /// Two held at once, first then.
    broken: Option<String>,
    dice: Dice,
    now: Micros,
    nodes: Vec<Node>,
    due: BinaryHeap<Reverse<(Micros, u64, Due)>>,
    count: u64,
    cut: BTreeSet<(usize, usize)>,
    loss: u64,
    delay: Micros,
    well: bool,
    /// The server's: the number, its voters, and those who have said that it is settled.
    number: u64,
    voters: BTreeSet<usize>,
    settled: BTreeSet<usize>,
    seats: BTreeMap<u64, BTreeSet<usize>>,
    holdings: u64,
    last: Option<(usize, u64)>,
}

impl World {
    fn new(seed: u64, spoil: Spoil) -> Self {
        let mut dice = Dice(seed | 1);
        (0..5).for_each(|_| _ = dice.roll());
        let count = 2 + dice.index(5);
        let mut nodes: Vec<Node> = vec![];
        for n in 0..count {
            let offset = dice.below(1_000_000_000);
            let id: HostId = format!("h{n}").parse().unwrap();
            nodes.push(Node {
                lease: Lease::new(id.clone(), offset, 0),
                id,
                rate: match spoil {
                    Spoil::Clocks => 500 + dice.below(1_000),
                    _ => 970 + dice.below(60),
                },
                offset,
                asleep_until: 0,
                life: 0,
                candidate: n == 0 || !dice.one_in(4),
            });
        }
        let voters: BTreeSet<usize> = (0..count.min(VOTERS)).collect();
        let mut world = Self {
            spoil,
            broken: None,
            dice,
            now: 0,
            nodes,
            due: BinaryHeap::new(),
            count: 0,
            cut: BTreeSet::new(),
            loss: 0,
            delay: 2_000,
            well: false,
            number: 1,
            seats: [(1, voters.clone())].into(),
            voters,
            settled: BTreeSet::new(),
            holdings: 0,
            last: None,
        };
        world.tell_seats();
        world.later(100_000, Due::Chaos);
        world.later(50_000, Due::Server);
        world
    }

    fn later(&mut self, wait: Micros, due: Due) {
        self.count += 1;
        self.due.push(Reverse((self.now + wait, self.count, due)));
    }

    fn tell_seats(&mut self) {
        let number = self.number;
        for n in 0..self.nodes.len() {
            let wait = self.dice.below(if self.well { 10_000 } else { 400_000 });
            // Who is cut off from the server hears of it when all is well.
            if self.well || !self.dice.one_in(5) {
                self.later(wait, Due::Seat(n, number));
            }
        }
    }

    fn send(&mut self, from: usize, out: Vec<Sent>) {
        for (to, word) in out {
            let to = self.nodes.iter().position(|node| node.id == to).unwrap();
            let copies = if !self.well && self.dice.one_in(20) { 2 } else { 1 };
            for _ in 0..copies {
                if self.cut.contains(&(from, to)) || self.dice.below(100) < self.loss {
                    continue;
                }
                let wait = 100 + self.dice.below(self.delay);
                let lives = self.nodes[to].life + self.nodes[from].life;
                self.later(wait, Due::Word(from, to, lives, said(word)));
            }
        }
    }

    /// What follows from what a host did.
    fn after(&mut self, n: usize, out: Vec<Sent>) {
        self.send(n, out);
        let (now, node) = (self.now, &self.nodes[n]);
        let (clock, life) = (node.clock(now), node.life);
        if let Some(wake) = node.lease.wake_at(clock) {
            let wait = node.at(wake).saturating_sub(now).max(10);
            self.later(wait, Due::Look(n, life));
        }
        let settled = self.nodes[n].lease.settled(clock);
        if settled == self.number && !self.settled.contains(&n) {
            let wait = 1_000 + self.dice.below(100_000);
            self.later(wait, Due::Report(n, settled));
        }
        self.check();
    }

    /// The claim: at most one holds, at every instant. Holding begins with events only.
    fn check(&mut self) {
        let now = self.now;
        let holds = |(n, node): (usize, &Node)| Some((n, node.lease.holding(node.clock(now))?));
        let all: Vec<(usize, u64)> = self.nodes.iter().enumerate().filter_map(holds).collect();
        if all.len() > 1 {
            self.broken.get_or_insert(format!("two hold at {now}: {all:?}"));
        }
        if let Some(one) = all.first().filter(|one| self.last != Some(**one)) {
            self.last = Some(*one);
            self.holdings += 1;
        }
    }

    fn step(&mut self) {
        let Some(Reverse((at, _, due))) = self.due.pop() else { return };
        self.now = at;
        let dice = self.dice.roll();
        match due {
            Due::Look(n, life) => {
                if !self.sleeps(n, Due::Look(n, life)) && self.nodes[n].life == life {
                    let clock = self.nodes[n].clock(at);
                    let out = self.nodes[n].lease.tick(clock, dice);
                    self.after(n, out);
                }
            }
            Due::Word(from, n, lives, said) => {
                let same = self.nodes[n].life + self.nodes[from].life == lives;
                if same && !self.sleeps(n, Due::Word(from, n, lives, said)) {
                    let (clock, from) = (self.nodes[n].clock(at), self.nodes[from].id.clone());
                    let out = self.nodes[n].lease.hear_word(clock, &from, word(said), dice);
                    self.after(n, out);
                }
            }
            Due::Seat(n, number) => {
                if !self.sleeps(n, Due::Seat(n, number)) {
                    self.sit(n, number, dice);
                }
            }
            Due::Report(n, number) => {
                if number == self.number && self.voters.contains(&n) {
                    self.settled.insert(n);
                }
            }
            Due::Chaos => self.chaos(),
            Due::Server => self.server(),
        }
    }

    /// A process that is stopped takes what comes when it goes on.
    fn sleeps(&mut self, n: usize, due: Due) -> bool {
        let until = self.nodes[n].asleep_until;
        if until > self.now {
            self.later(until - self.now, due);
        }
        until > self.now
    }

    fn sit(&mut self, n: usize, number: u64, dice: u64) {
        if number < self.nodes[n].number() {
            return;
        }
        let names = |all: &BTreeSet<usize>| all.iter().map(|n| self.nodes[*n].id.clone()).collect();
        let seat = Seat {
            number,
            voters: names(&self.seats[&number]),
            members: self.nodes.iter().map(|node| node.id.clone()).collect(),
            candidate: self.nodes[n].candidate,
        };
        let clock = self.nodes[n].clock(self.now);
        let out = self.nodes[n].lease.seat(clock, Some(seat), dice);
        self.after(n, out);
    }

    /// One voter more or less, once the last change is settled.
    fn server(&mut self) {
        let wait = 50_000 + self.dice.below(1_000_000);
        self.later(wait, Due::Server);
        let majority = self.voters.len() / 2 + 1;
        let hasty = self.spoil == Spoil::Settling;
        if self.well || (self.settled.len() < majority && !hasty) {
            return;
        }
        let n = self.dice.index(self.nodes.len());
        if self.voters.contains(&n) {
            if self.voters.len() == 1 {
                return;
            }
            self.voters.remove(&n);
        } else {
            self.voters.insert(n);
        }
        self.number += 1;
        self.settled.clear();
        self.seats.insert(self.number, self.voters.clone());
        self.tell_seats();
    }

    fn chaos(&mut self) {
        if self.now >= TROUBLE {
            return;
        }
        let wait = 20_000 + self.dice.below(600_000);
        self.later(wait, Due::Chaos);
        let all = self.nodes.len();
        let [mut a, b] = [self.dice.index(all), self.dice.index(all)];
        if self.dice.one_in(2) {
            // Trouble for who holds is what counts most.
            a = self.holder().unwrap_or(a);
        }
        if self.dice.one_in(3) {
            self.cut.clear();
            (self.loss, self.delay) = (0, 2_000);
        }
        match self.dice.below(9) {
            0 => _ = self.cut.insert((a, b)),
            1 => (0..all).for_each(|n| self.cut.extend([(a, n), (n, a)])),
            2 => self.cut.clear(),
            3 => self.loss = [0, 0, 5, 30, 70][self.dice.index(5)],
            4 => self.delay = [1_000, 20_000, 200_000, 800_000][self.dice.index(4)],
            5 => self.nodes[a].asleep_until = self.now + self.dice.below(1_500_000),
            6 => self.restart(a),
            7 => {
                self.nodes[a].candidate = !self.nodes[a].candidate;
                let number = self.nodes[a].number();
                if number > 0 {
                    self.later(1, Due::Seat(a, number));
                }
            }
            _ => {}
        }
    }

    /// The process ends and another one begins: it knows its seat, as its agent wrote it down.
    fn restart(&mut self, n: usize) {
        let (now, node) = (self.now, &mut self.nodes[n]);
        let number = node.number();
        node.life += 1;
        let clock = node.clock(now);
        let begun = if self.spoil == Spoil::Silence { clock.saturating_sub(VOTE) } else { clock };
        node.lease = Lease::new(node.id.clone(), begun, now);
        if number > 0 {
            self.later(1_000, Due::Seat(n, number));
        }
    }

    fn run_until(&mut self, end: Micros) {
        while self.due.peek().is_some_and(|Reverse((at, ..))| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    fn heal(&mut self) {
        (self.well, self.loss, self.delay) = (true, 0, 1_000);
        self.cut.clear();
        self.nodes[0].candidate = true;
        self.nodes.iter_mut().for_each(|node| node.asleep_until = 0);
        self.tell_seats();
    }

    fn holder(&self) -> Option<usize> {
        let holds = |node: &Node| node.lease.holding(node.clock(self.now)).is_some();
        self.nodes.iter().position(holds)
    }
}

fn a_world(seed: u64) -> u64 {
    let mut world = World::new(seed, Spoil::Nothing);
    world.run_until(TROUBLE);
    world.heal();
    // What was on its way in the trouble comes first.
    world.run_until(TROUBLE + 800_000);
    world.run_until(TROUBLE + 800_000 + SOON);
    let holder = world.holder();
    assert!(holder.is_some(), "seed {seed}: nobody holds {SOON} us after all is well");
    let until = world.now + CALM;
    while world.now < until {
        world.run_until(world.now + 10_000);
        assert_eq!(world.holder(), holder, "seed {seed}: it moved or was lost in a calm network");
    }
    assert_eq!(world.broken, None, "seed {seed}");
    world.holdings
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn never_two_hold_and_one_does_soon_after_all_is_well(seed in any::<u64>()) {
        a_world(seed);
    }
}

#[test]
fn the_worlds_are_such_that_the_address_moves() {
    let moved: u64 = (1..40).map(|seed| a_world(seed * 7_919)).sum();
    assert!(moved > 120, "{moved} holdings in 39 worlds: the property says too little");
}

#[test]
fn a_rule_that_is_broken_is_seen_by_the_property() {
    for spoil in [Spoil::Silence, Spoil::Settling, Spoil::Clocks] {
        let found = (1..400).any(|seed| {
            let mut world = World::new(seed * 7_919, spoil);
            world.run_until(TROUBLE);
            world.broken.is_some()
        });
        assert!(found, "{spoil:?} goes unnoticed");
    }
}

fn three() -> (Seat, Vec<HostId>) {
    let hosts: Vec<HostId> = ["a", "b", "c"].map(|id| id.parse().unwrap()).into();
    let all: BTreeSet<HostId> = hosts.iter().cloned().collect();
    (Seat { number: 5, voters: all.clone(), members: all, candidate: true }, hosts)
}

fn seated(me: &HostId, seat: &Seat) -> Lease {
    let mut lease = Lease::new(me.clone(), 0, 0);
    lease.seat(0, Some(seat.clone()), 0);
    lease
}

/// Was the vote given, and else when can it be?
fn answer(out: &[Sent]) -> (bool, Micros) {
    let [(_, Word::Answer { given, free_in, .. })] = out else { panic!("no answer: {out:?}") };
    (*given, *free_in)
}

#[test]
fn a_voter_has_one_vote_until_its_time_is_over_or_it_is_given_back() {
    let (seat, hosts) = three();
    let mut voter = seated(&hosts[2], &seat);
    let ask = |term| Word::Ask { round: term, number: 5, term };
    let mut says = |at, n: usize, word| answer(&voter.hear_word(at, &hosts[n], word, 0));
    assert_eq!(says(VOTE - 1, 0, ask(1)), (false, 1), "who has just started votes for nobody");
    assert_eq!(says(VOTE, 0, ask(1)), (true, 0));
    assert_eq!(says(VOTE + 10, 1, ask(1)), (false, VOTE - 10));
    assert_eq!(says(VOTE + 20, 0, ask(2)), (true, 0), "renewed");
    assert_eq!(says(2 * VOTE, 1, ask(1)), (false, 20));
    let back = |term| Word::Release { term };
    assert!(voter.hear_word(2 * VOTE, &hosts[0], back(1), 0).is_empty());
    let mut says = |at, n: usize, word| answer(&voter.hear_word(at, &hosts[n], word, 0));
    assert_eq!(says(2 * VOTE, 1, ask(1)), (false, 20), "an old word takes nothing back");
    assert!(voter.hear_word(2 * VOTE, &hosts[0], back(2), 0).is_empty());
    let mut says = |at, n: usize, word| answer(&voter.hear_word(at, &hosts[n], word, 0));
    assert_eq!(says(2 * VOTE, 1, ask(1)), (true, 0));
    let old = Word::Ask { round: 3, number: 4, term: 9 };
    assert!(!says(4 * VOTE, 0, old).0, "an older set of voters");
    let stranger = "x".parse().unwrap();
    assert!(voter.hear_word(4 * VOTE, &stranger, ask(9), 0).is_empty(), "of no member");
}

#[test]
fn a_number_is_settled_when_no_earlier_vote_is_left() {
    let (seat, hosts) = three();
    let mut voter = seated(&hosts[0], &seat);
    assert_eq!(voter.settled(VOTE - 1), 0);
    assert_eq!(voter.settled(VOTE), 5);
    voter.seat(2 * VOTE, Some(Seat { number: 6, ..seat }), 0);
    assert_eq!(voter.settled(3 * VOTE - 1), 0, "neither number may be told");
    assert_eq!(voter.settled(3 * VOTE), 6);
}

#[test]
fn a_host_that_votes_alone_holds_at_once_and_gives_up_when_it_may_not_have_it() {
    let (seat, hosts) = three();
    let alone: BTreeSet<HostId> = [hosts[0].clone()].into();
    let seat = Seat { voters: alone.clone(), members: alone, ..seat };
    let mut lease = seated(&hosts[0], &seat);
    let mut now = 0;
    while lease.holding(now).is_none() {
        now = lease.wake_at(now).unwrap().max(now + 1);
        assert!(now < 3 * VOTE, "it does not take it");
        assert!(lease.tick(now, 0).is_empty(), "there is nobody to talk to");
    }
    assert!(now >= VOTE, "it votes for nobody at first, itself included");
    lease.seat(now, Some(Seat { candidate: false, ..seat }), 0);
    assert_eq!(lease.holding(now), None);
}
