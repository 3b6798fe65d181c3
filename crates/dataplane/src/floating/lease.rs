//! Who has a floating address: a lease that a majority of voters gives, as one host sees it. Pure:
//! time and dice are arguments, messages and the next time to look come back.
//!
//! What makes two holders impossible, whatever is lost, late, doubled, stopped or cut off:
//!
//! - A voter gives its vote to one host at a time, for `FLOATING_VOTE_MS` from when it was asked. It
//!   counts by a clock of its own that never jumps; one that has just started gives none for as long.
//! - A holder counts each vote from before it asked, and gives up `FLOATING_MARGIN_MS` earlier.
//! - It counts votes of the voters of one configuration, by number. A voter that has heard of a
//!   later number gives no vote for an earlier one. Two configurations that follow on each other
//!   differ by one voter, so that majorities of the two have a voter in common; the next one is made
//!   when a majority of the last one says that it is settled: it has known the number for so
//!   long that no vote that it gave for an earlier one is left.

#[cfg(test)]
mod tests;

use model::id::HostId;
use model::limits::{FLOATING_ANSWER_MS, FLOATING_MARGIN_MS, FLOATING_RENEW_MS, FLOATING_VOTE_MS};
use std::collections::{BTreeMap, BTreeSet};

/// Microseconds of a clock of this machine that never jumps, and goes on while the machine sleeps.
pub(crate) type Micros = u64;

const MILLI: u64 = 1_000;
/// For how long a voter gives its vote.
pub(crate) const VOTE: Micros = FLOATING_VOTE_MS * MILLI;
/// How long a holder counts a vote, from before it asked.
pub(crate) const HELD: Micros = (FLOATING_VOTE_MS - FLOATING_MARGIN_MS) * MILLI;
const RENEW: Micros = FLOATING_RENEW_MS * MILLI;
const ANSWER: Micros = FLOATING_ANSWER_MS * MILLI;
/// Between two candidates in the order of their names: the first one is mostly done before the
/// second one asks.
const STAGGER: Micros = 15 * MILLI;
/// What dice add to that, at most.
const JITTER: Micros = 10 * MILLI;
/// Rounds whose answers still count.
const ROUNDS_MAX: usize = 8;

/// What one host says to another about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Would you vote for me? Nothing comes of it.
    Probe { round: u64, number: u64 },
    /// Vote for me.
    Ask { round: u64, number: u64, term: u64 },
    /// I do not want your vote any more.
    Release { term: u64 },
    /// Answer to `Probe` or `Ask`. `free_in` is when the vote can be had, from now on, if the asker
    /// has not got it; `term` is the highest that it was given for.
    Answer { round: u64, given: bool, free_in: Micros, number: u64, term: u64 },
}

/// A message and to whom.
pub(crate) type Sent = (HostId, Word);

/// The part of a seat that counts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) number: u64,
    pub(crate) voters: BTreeSet<HostId>,
    /// All who have to do with it: words of others are not heard.
    pub(crate) members: BTreeSet<HostId>,
    /// May this host have the address now?
    pub(crate) candidate: bool,
}

impl Seat {
    fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }
}

/// A vote that was given away.
#[derive(Clone, Debug)]
struct Promise {
    to: HostId,
    until: Micros,
    term: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing until then.
    Rest { until: Micros },
    /// It has asked whether it may ask.
    Probe { until: Micros, yes: BTreeSet<HostId>, no: BTreeMap<HostId, Micros> },
    /// It has asked for votes.
    Ask { until: Micros, no: BTreeSet<HostId> },
    /// It holds the address, and renews then.
    Hold { renew_at: Micros },
}

/// One host and one address.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    me: HostId,
    seat: Option<Seat>,
    /// The latest number that was heard of, and since when.
    heard: (u64, Micros),
    /// The number of the seat, and since when.
    known: (u64, Micros),
    promise: Option<Promise>,
    /// It votes for nobody before.
    mute_until: Micros,
    /// The highest term of which is known.
    term: u64,
    /// The term of what is asked for or held.
    own_term: u64,
    phase: Phase,
    round: u64,
    /// When the last rounds were begun.
    rounds: BTreeMap<u64, Micros>,
    /// Votes that it has, with the time before they were asked for.
    votes: BTreeMap<HostId, Micros>,
    /// Until when it holds by the votes of the voters before these ones.
    before_until: Micros,
}

impl Lease {
    /// Of a process that has just started: before now it may have given its vote to anybody. `terms`
    /// is higher than that of any process of this host before it, such as the time of day.
    pub(crate) fn new(me: HostId, now: Micros, terms: u64) -> Self {
        Self {
            me,
            seat: None,
            heard: (0, now),
            known: (0, now),
            promise: None,
            mute_until: now + VOTE,
            term: 0,
            own_term: terms,
            phase: Phase::Rest { until: now },
            round: 0,
            rounds: BTreeMap::new(),
            votes: BTreeMap::new(),
            before_until: 0,
        }
    }

    /// Until when this host holds the address for sure; `None` when it does not.
    pub(crate) fn held_until(&self, now: Micros) -> Option<Micros> {
        match self.phase {
            Phase::Hold { .. } => self.lease_until().filter(|until| *until > now),
            _ => None,
        }
    }

    fn lease_until(&self) -> Option<Micros> {
        self.votes_until().max((self.before_until > 0).then_some(self.before_until))
    }

    /// Which holding it is, while it holds.
    pub(crate) fn holding(&self, now: Micros) -> Option<u64> {
        self.held_until(now).map(|_| self.own_term)
    }

    /// The number of the seat, once no vote that was given for an earlier one is left.
    pub(crate) fn settled(&self, now: Micros) -> u64 {
        let (number, since) = self.known;
        if now >= (since + VOTE).max(self.mute_until) { number } else { 0 }
    }

    /// Has it neither a seat nor a vote that is given away?
    pub(crate) fn is_over(&self, now: Micros) -> bool {
        self.seat.is_none() && self.promise.as_ref().is_none_or(|promise| promise.until <= now)
    }

    /// When to look again at the latest.
    pub(crate) fn wake_at(&self, now: Micros) -> Option<Micros> {
        let seat = self.seat.as_ref()?;
        let settles = (self.known.1 + VOTE).max(self.mute_until);
        let settles = (settles > now).then_some(settles);
        let next = match &self.phase {
            Phase::Rest { until } => seat.candidate.then_some(*until),
            Phase::Probe { until, .. } | Phase::Ask { until, .. } => Some(*until),
            Phase::Hold { renew_at } => {
                Some(self.lease_until().map_or(now, |until| until.min(*renew_at)))
            }
        };
        [settles, next].into_iter().flatten().min()
    }

    /// It is told of its seat, or that it has none.
    pub(crate) fn seat(&mut self, now: Micros, seat: Option<Seat>, dice: u64) -> Vec<Sent> {
        if let Some(seat) = &seat {
            if seat.number > self.known.0 {
                self.known = (seat.number, now);
            }
            self.hear(now, seat.number);
        }
        let stays = seat.as_ref().is_some_and(|seat| seat.candidate);
        let began = stays && !self.seat.as_ref().is_some_and(|seat| seat.candidate);
        let mut out = vec![];
        if !stays {
            out = self.give_up(now);
        }
        let numbers = |seat: &Option<Seat>| seat.as_ref().map(|seat| seat.number);
        let other = numbers(&self.seat) != numbers(&seat);
        if other && let Phase::Hold { .. } = self.phase {
            self.before_until = self.lease_until().unwrap_or(0);
        }
        self.seat = seat;
        if began {
            self.phase = Phase::Rest { until: now + self.turn(dice) };
        } else if other && let Phase::Hold { renew_at } = &mut self.phase {
            *renew_at = now;
        }
        out
    }

    /// What is due.
    pub(crate) fn tick(&mut self, now: Micros, dice: u64) -> Vec<Sent> {
        let Some(seat) = self.seat.clone().filter(|seat| seat.candidate) else { return vec![] };
        match &self.phase {
            Phase::Hold { .. } if self.held_until(now).is_none() => {
                let out = self.give_up(now);
                self.rest(now, self.turn(dice));
                out
            }
            Phase::Hold { renew_at } if *renew_at <= now => self.renew(&seat, now),
            Phase::Rest { until } if *until <= now => self.probe(&seat, now, dice),
            Phase::Probe { until, .. } if *until <= now => {
                self.refused(now, dice);
                vec![]
            }
            Phase::Ask { until, .. } if *until <= now => self.retreat(now, dice),
            _ => vec![],
        }
    }

    /// A word of another host.
    pub(crate) fn hear_word(
        &mut self,
        now: Micros,
        from: &HostId,
        word: Word,
        dice: u64,
    ) -> Vec<Sent> {
        let known = self.seat.as_ref().is_some_and(|seat| seat.members.contains(from));
        if !known {
            return vec![];
        }
        if let (Word::Release { .. }, Phase::Rest { .. }) = (word, &self.phase) {
            // Nobody has it any more: it need not be waited for.
            self.rest(now, self.turn(dice));
        }
        match word {
            Word::Probe { .. } | Word::Ask { .. } | Word::Release { .. } => {
                let answer = self.vote(now, from, word);
                answer.map(|answer| (from.clone(), answer)).into_iter().collect()
            }
            Word::Answer { round, given, free_in, number, term } => {
                self.hear(now, number);
                self.term = self.term.max(term);
                self.answered(now, from, round, given.then_some(()).ok_or(free_in), dice)
            }
        }
    }

    fn hear(&mut self, now: Micros, number: u64) {
        if number > self.heard.0 {
            self.heard = (number, now);
        }
    }

    /// What it says as a voter.
    fn vote(&mut self, now: Micros, from: &HostId, word: Word) -> Option<Word> {
        let (round, number, term) = match word {
            Word::Probe { round, number } => (round, number, None),
            Word::Ask { round, number, term } => (round, number, Some(term)),
            Word::Release { term } => {
                if self.promise.as_ref().is_some_and(|p| p.to == *from && p.term <= term) {
                    self.promise = None;
                }
                return None;
            }
            Word::Answer { .. } => return None,
        };
        let late = number < self.heard.0;
        self.hear(now, number);
        let others = self.promise.as_ref().filter(|p| p.to != *from && p.until > now);
        let taken = others.map_or(0, |p| p.until - now);
        let mute = self.mute_until.saturating_sub(now);
        let free_in = if late { VOTE } else { taken.max(mute) };
        let given = free_in == 0;
        if let Some(term) = term.filter(|_| given) {
            self.term = self.term.max(term);
            self.promise = Some(Promise { to: from.clone(), until: now + VOTE, term });
        }
        let (number, term) = (self.heard.0, self.term);
        Some(Word::Answer { round, given, free_in, number, term })
    }

    /// How long this candidate waits for its turn.
    fn turn(&self, dice: u64) -> Micros {
        let members = self.seat.iter().flat_map(|seat| &seat.members);
        let before = members.take_while(|other| **other < self.me).count();
        let before = u64::try_from(before.min(8)).unwrap_or(8);
        before * STAGGER + dice % JITTER
    }

    fn rest(&mut self, now: Micros, wait: Micros) {
        self.phase = Phase::Rest { until: now + wait };
    }

    fn new_round(&mut self, now: Micros) -> u64 {
        self.round += 1;
        self.rounds.insert(self.round, now);
        while self.rounds.len() > ROUNDS_MAX {
            self.rounds.pop_first();
        }
        self.round
    }

    fn probe(&mut self, seat: &Seat, now: Micros, dice: u64) -> Vec<Sent> {
        let round = self.new_round(now);
        self.phase =
            Phase::Probe { until: now + ANSWER, yes: BTreeSet::new(), no: BTreeMap::new() };
        self.tell_voters(seat, now, Word::Probe { round, number: seat.number }, dice)
    }

    fn renew(&mut self, seat: &Seat, now: Micros) -> Vec<Sent> {
        let round = self.new_round(now);
        self.phase = Phase::Hold { renew_at: now + RENEW };
        let ask = Word::Ask { round, number: seat.number, term: self.own_term };
        self.tell_voters(seat, now, ask, 0)
    }

    /// Sends to all voters; what this host itself says as one is taken at once.
    fn tell_voters(&mut self, seat: &Seat, now: Micros, word: Word, dice: u64) -> Vec<Sent> {
        let others = seat.voters.iter().filter(|voter| **voter != self.me);
        let mut out: Vec<Sent> = others.map(|voter| (voter.clone(), word)).collect();
        if seat.voters.contains(&self.me) {
            let me = self.me.clone();
            let answer = self.vote(now, &me, word);
            if let Some(Word::Answer { round, given, free_in, .. }) = answer {
                let said = given.then_some(()).ok_or(free_in);
                out.extend(self.answered(now, &me, round, said, dice));
            }
        }
        out
    }

    /// A voter has said yes, or when it could.
    fn answered(
        &mut self,
        now: Micros,
        from: &HostId,
        round: u64,
        said: Result<(), Micros>,
        dice: u64,
    ) -> Vec<Sent> {
        let Some(seat) = self.seat.clone().filter(|seat| seat.voters.contains(from)) else {
            return vec![];
        };
        let Some(begun) = self.rounds.get(&round).copied() else { return vec![] };
        let needed = seat.majority();
        let others = seat.voters.len() - needed;
        let newest = round == self.round;
        match (&mut self.phase, said) {
            (Phase::Probe { yes, .. }, Ok(())) if newest => {
                yes.insert(from.clone());
                if yes.len() >= needed {
                    return self.ask(&seat, now, dice);
                }
            }
            (Phase::Probe { no, .. }, Err(free_in)) if newest => {
                no.insert(from.clone(), free_in);
                if no.len() > others {
                    self.refused(now, dice);
                }
            }
            (Phase::Ask { .. }, Ok(())) if newest => {
                self.votes.insert(from.clone(), begun);
                if self.votes_until().is_some_and(|until| until > now) {
                    self.phase = Phase::Hold { renew_at: begun + RENEW };
                }
            }
            (Phase::Ask { no, .. }, Err(_)) if newest => {
                no.insert(from.clone());
                if no.len() > others {
                    return self.retreat(now, dice);
                }
            }
            (Phase::Hold { .. }, Ok(())) => {
                let at = self.votes.entry(from.clone()).or_insert(begun);
                *at = begun.max(*at);
            }
            _ => {}
        }
        vec![]
    }

    fn ask(&mut self, seat: &Seat, now: Micros, dice: u64) -> Vec<Sent> {
        let round = self.new_round(now);
        self.votes.clear();
        self.before_until = 0;
        // Answers to the probe do not count as votes.
        self.rounds.retain(|known, _| *known == round);
        self.own_term = self.term.max(self.own_term) + 1;
        self.phase = Phase::Ask { until: now + ANSWER, no: BTreeSet::new() };
        let ask = Word::Ask { round, number: seat.number, term: self.own_term };
        self.tell_voters(seat, now, ask, dice)
    }

    /// Until when a majority of the votes that it has counts.
    fn votes_until(&self) -> Option<Micros> {
        let seat = self.seat.as_ref()?;
        let votes = self.votes.iter().filter(|(voter, _)| seat.voters.contains(*voter));
        let mut times: Vec<Micros> = votes.map(|(_, begun)| *begun).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.get(seat.majority() - 1).map(|begun| begun + HELD)
    }

    /// The probe came to nothing: again when a majority could say yes, or soon.
    fn refused(&mut self, now: Micros, dice: u64) {
        let (Some(seat), Phase::Probe { yes, no, .. }) = (&self.seat, &self.phase) else { return };
        let mut free: Vec<Micros> = yes.iter().map(|_| 0).chain(no.values().copied()).collect();
        free.sort_unstable();
        let wait = free.get(seat.majority() - 1).copied().unwrap_or(ANSWER).min(VOTE);
        let turn = self.turn(dice);
        self.rest(now, wait + turn);
    }

    /// Too few votes: they are given back, so that another one can have them.
    fn retreat(&mut self, now: Micros, dice: u64) -> Vec<Sent> {
        let out = self.release(now);
        // Who met another candidate once must not meet it again.
        let wait = dice % (4 * STAGGER);
        let turn = self.turn(dice);
        self.rest(now, wait + turn);
        out
    }

    /// Holds and asks for nothing from now on.
    fn give_up(&mut self, now: Micros) -> Vec<Sent> {
        let out = match self.phase {
            Phase::Hold { .. } | Phase::Ask { .. } => self.release(now),
            Phase::Rest { .. } | Phase::Probe { .. } => vec![],
        };
        self.phase = Phase::Rest { until: now };
        out
    }

    /// Voters hear of it, and those who may have it next.
    fn release(&mut self, now: Micros) -> Vec<Sent> {
        self.votes.clear();
        self.rounds.clear();
        self.before_until = 0;
        let release = Word::Release { term: self.own_term };
        let Some(seat) = &self.seat else { return vec![] };
        let others = seat.members.iter().filter(|other| **other != self.me);
        let out = others.map(|other| (other.clone(), release)).collect();
        let me = self.me.clone();
        self.vote(now, &me, release);
        out
    }

    /// The end of this process: what it holds is given back. The address is away already.
    pub(crate) fn end(&mut self, now: Micros) -> Vec<Sent> {
        self.give_up(now)
    }
}
