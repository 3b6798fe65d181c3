//! What a seed draws: how many hosts, how their clocks go, and the steps of the run, each with dice
//! of its own. Steps can be left out one by one and the others stay as they are: that is how a
//! failing seed is shrunk.

use crate::dice::Dice;
use std::collections::BTreeSet;

/// Most hosts of a usual world.
const HOSTS_MAX: u64 = 12;
/// Hosts of a large one, of which there is one in `LARGE_EVERY` seeds.
const HOSTS_LARGE: usize = 200;
const LARGE_EVERY: u64 = 100;

/// What can happen in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Somebody asks for something: up, scale, restart, stop, remove …
    Operator,
    /// The server dies and is started again, at once, late, or while the old one still works.
    Server,
    /// An agent dies and is started again.
    Agent,
    /// A host loses its power, and comes back.
    Host,
    /// A call of an engine fails, before or after its effect, or is slow.
    Call,
    /// An engine is down or hangs for a while.
    Engine,
    /// A container dies, or is removed by somebody.
    Container,
    /// A link is cut one way or both, late, or tells things twice or in another order.
    Link,
    /// A clock jumps.
    Clock,
    /// The store refuses a transaction, does not say what came of it, or is late.
    Store,
}

impl Trouble {
    /// All of them, with how many of a hundred steps they are.
    pub const ALL: [(Self, u64); 10] = [
        (Self::Operator, 42),
        (Self::Server, 6),
        (Self::Agent, 7),
        (Self::Host, 6),
        (Self::Call, 10),
        (Self::Engine, 5),
        (Self::Container, 8),
        (Self::Link, 9),
        (Self::Clock, 2),
        (Self::Store, 5),
    ];

    /// Its word on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Server => "server",
            Self::Agent => "agent",
            Self::Host => "host",
            Self::Call => "call",
            Self::Engine => "engine",
            Self::Container => "container",
            Self::Link => "link",
            Self::Clock => "clock",
            Self::Store => "store",
        }
    }
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number in the whole scenario.
    pub number: usize,
    /// What kind of thing happens.
    pub trouble: Trouble,
    /// Seed of what exactly.
    pub dice: u64,
    /// Milliseconds until the next step.
    pub pause_ms: u64,
}

/// A run before it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Where it comes from.
    pub seed: u64,
    /// Hosts at the beginning.
    pub hosts: usize,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl Scenario {
    /// Draws everything of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::of(seed, 1);
        let large = seed % LARGE_EVERY == LARGE_EVERY - 1;
        // Half of the worlds have at most five hosts.
        let usual = match dice.below(2) {
            0 => 3 + dice.below(3),
            _ => 5 + dice.below(HOSTS_MAX - 4),
        };
        let hosts = if large { HOSTS_LARGE } else { usize::try_from(usual).unwrap_or(3) };
        let count = 15 + dice.below(30);
        let total: u64 = Trouble::ALL.iter().map(|(_, weight)| weight).sum();
        let steps = (0..usize::try_from(count).unwrap_or(15)).map(|number| {
            let mut drawn = dice.below(total);
            let mut trouble = Trouble::Operator;
            for (one, weight) in Trouble::ALL {
                if drawn < weight {
                    trouble = one;
                    break;
                }
                drawn -= weight;
            }
            // The first step is always somebody who wants something.
            let trouble = if number == 0 { Trouble::Operator } else { trouble };
            // Often the next thing happens while the last one is not over.
            let pause_ms = if dice.once_in(3) { dice.below(200) } else { dice.below(4_000) };
            Step { number, trouble, dice: dice.next(), pause_ms }
        });
        Self { seed, hosts, steps: steps.collect() }
    }

    /// The same with these steps alone.
    #[must_use]
    pub fn only(&self, numbers: &BTreeSet<usize>) -> Self {
        let steps = self.steps.iter().filter(|step| numbers.contains(&step.number));
        Self { steps: steps.cloned().collect(), ..self.clone() }
    }

    /// The command that replays it.
    #[must_use]
    pub fn command(&self) -> String {
        let whole = Self::draw(self.seed);
        let mut command = format!("cargo xtask sim --seed {}", self.seed);
        if self.hosts != whole.hosts {
            command.push_str(&format!(" --hosts {}", self.hosts));
        }
        if self.steps != whole.steps {
            let numbers: Vec<String> = self.steps.iter().map(|s| s.number.to_string()).collect();
            command.push_str(&format!(" --steps {}", numbers.join(",")));
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worlds_have_three_to_twelve_hosts_half_of_them_at_most_five_and_one_in_a_hundred_is_large() {
        let mut sizes: Vec<usize> = (0..1_000).map(|seed| Scenario::draw(seed).hosts).collect();
        sizes.sort_unstable();
        assert_eq!((sizes[0], sizes[500], sizes[989]), (3, 5, 12));
        assert_eq!(sizes.iter().filter(|size| **size == 200).count(), 10);
    }

    #[test]
    fn a_step_stays_as_it_is_when_others_are_left_out_and_the_command_says_so() {
        let whole = Scenario::draw(7);
        assert_eq!(whole.command(), "cargo xtask sim --seed 7");
        let mut less = whole.only(&[2, 9].into());
        less.hosts = 1;
        assert_eq!(less.steps, [whole.steps[2].clone(), whole.steps[9].clone()]);
        assert_eq!(less.command(), "cargo xtask sim --seed 7 --hosts 1 --steps 2,9");
    }
}
