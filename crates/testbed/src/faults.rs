//! What is wrong with the network between the hosts, as rules for the switch. Hosts notice
//! nothing but the network.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The switch, a bridge; also the place that tests and people call from.
pub const SWITCH: &str = "switch";
/// A frame is lost with this chance of a thousand: always.
pub(crate) const ALL: u16 = 1000;

/// Frames that are lost, in one direction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Loss {
    /// From this host; nothing means all.
    pub from: Option<String>,
    /// To this host; nothing means all.
    pub to: Option<String>,
    /// Chance in thousandths, 1 to 1000.
    pub permille: u16,
}

/// Frames that are late, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// Milliseconds each way.
    pub ms: u32,
    /// At most so many more or less, in milliseconds; the order of frames stays.
    pub jitter_ms: u32,
}

/// All of it. A change replaces what was there for the same pair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Hosts whose cable is pulled.
    pub unplugged: BTreeSet<String>,
    /// Lost frames.
    pub losses: Vec<Loss>,
    /// Late frames, by host.
    pub delays: BTreeMap<String, Delay>,
}

impl Faults {
    /// Frames from one to the other are lost; no chance at all takes an earlier one back.
    pub fn lose(&mut self, from: Option<&str>, to: Option<&str>, permille: u16) {
        let (from, to) = (from.map(str::to_owned), to.map(str::to_owned));
        self.losses.retain(|loss| (&loss.from, &loss.to) != (&from, &to));
        if permille > 0 {
            self.losses.push(Loss { from, to, permille });
        }
    }

    /// Between these two nothing is wrong any more.
    pub fn heal_pair(&mut self, one: &str, other: &str) {
        let is = |end: &Option<String>, name: &str| end.as_deref() == Some(name);
        self.losses.retain(|Loss { from, to, .. }| {
            !(is(from, one) && is(to, other) || is(from, other) && is(to, one))
        });
    }

    /// With this host nothing is wrong any more.
    pub fn heal(&mut self, host: &str) {
        self.unplugged.remove(host);
        self.delays.remove(host);
        let is = |end: &Option<String>| end.as_deref() == Some(host);
        self.losses.retain(|loss| !is(&loss.from) && !is(&loss.to));
    }

    /// In words, one line each.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let name = |end: &Option<String>| end.clone().unwrap_or_else(|| "all".into());
        let cut = self.unplugged.iter().map(|host| format!("{host}: cable pulled"));
        let lost = self.losses.iter().map(|Loss { from, to, permille }| {
            let whole = permille / 10;
            let part = match permille % 10 {
                0 => String::new(),
                tenth => format!(".{tenth}"),
            };
            format!("{} -> {}: {whole}{part}% lost", name(from), name(to))
        });
        let late = self.delays.iter().map(|(host, Delay { ms, jitter_ms })| match jitter_ms {
            0 => format!("{host}: {ms} ms late each way"),
            _ => format!("{host}: {ms} ms late each way, {jitter_ms} ms more or less"),
        });
        cut.chain(lost).chain(late).collect()
    }

    /// Input of `nft -f -` that makes the switch so, whatever it was before.
    #[must_use]
    pub fn rules(&self) -> String {
        let mut chains = [String::new(), String::new(), String::new()];
        for Loss { from, to, permille } in &self.losses {
            let verdict = match *permille {
                ALL => "counter drop".to_owned(),
                part => format!("numgen random mod {ALL} < {part} counter drop"),
            };
            let [forward, input, output] = &mut chains;
            let (from, to) = (from.as_deref(), to.as_deref());
            // what is for the switch itself, or comes from it, is not forwarded
            if from != Some(SWITCH) && to != Some(SWITCH) {
                let matches = [self.port("iifname", from), self.port("oifname", to)].concat();
                rule(forward, &matches, &verdict);
            }
            if from != Some(SWITCH) && to.is_none_or(|to| to == SWITCH) {
                rule(input, &self.port("iifname", from), &verdict);
            }
            if to != Some(SWITCH) && from.is_none_or(|from| from == SWITCH) {
                rule(output, &self.port("oifname", to), &verdict);
            }
        }
        let mut text = String::from(
            "add table bridge faults\ndelete table bridge faults\ntable bridge faults {\n",
        );
        for (chain, rules) in ["forward", "input", "output"].into_iter().zip(chains) {
            let hook = format!("type filter hook {chain} priority 0; policy accept;");
            text.push_str(&format!("  chain {chain} {{\n    {hook}\n{rules}  }}\n"));
        }
        text.push_str("}\n");
        text
    }

    /// A host's port is its cable, or the near end of what delays it: a frame is met once.
    fn port(&self, field: &str, host: Option<&str>) -> String {
        let port = |host: &str| {
            if self.delays.contains_key(host) { near(host) } else { host.to_owned() }
        };
        host.map_or_else(String::new, |host| format!("{field} \"{}\" ", port(host)))
    }
}

fn rule(chain: &mut String, matches: &str, verdict: &str) {
    writeln!(chain, "    {matches}{verdict}").ok();
}

/// The near end of a delayed cable, on the switch.
#[must_use]
pub(crate) fn near(host: &str) -> String {
    format!("n.{host}")
}

/// The far end of a delayed cable.
#[must_use]
pub(crate) fn far(host: &str) -> String {
    format!("f.{host}")
}

/// The bridge between the far end and the cable.
#[must_use]
pub(crate) fn splice(host: &str) -> String {
    format!("s.{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(losses: &[(Option<&str>, Option<&str>, u16)]) -> Faults {
        let mut faults = Faults::default();
        for (from, to, permille) in losses {
            faults.lose(*from, *to, *permille);
        }
        faults
    }

    #[test]
    fn each_direction_has_its_hook() {
        let (all, h1, h2) = (None, Some("h1"), Some("h2"));
        let switch = Some(SWITCH);
        for (from, to, forward, input, output) in [
            (h1, h2, 1, 0, 0),
            (h1, all, 1, 1, 0),
            (all, h1, 1, 0, 1),
            (h1, switch, 0, 1, 0),
            (switch, h1, 0, 0, 1),
        ] {
            let rules = faults(&[(from, to, ALL)]).rules();
            let counted: Vec<usize> = rules
                .split("  chain ")
                .skip(1)
                .map(|chain| chain.matches("counter drop").count())
                .collect();
            assert_eq!(counted, [forward, input, output], "{from:?} {to:?}\n{rules}");
        }
    }

    #[test]
    fn the_last_word_counts_and_healing_takes_it_back() {
        let mut faults = faults(&[
            (Some("h1"), Some("h2"), 300),
            (Some("h1"), Some("h2"), 305),
            (Some("h2"), Some("h1"), 10),
            (Some("h3"), None, 1000),
        ]);
        faults.unplugged.insert("h3".into());
        faults.delays.insert("h1".into(), Delay { ms: 20, jitter_ms: 5 });
        assert_eq!(
            faults.told(),
            [
                "h3: cable pulled",
                "h1 -> h2: 30.5% lost",
                "h2 -> h1: 1% lost",
                "h3 -> all: 100% lost",
                "h1: 20 ms late each way, 5 ms more or less",
            ]
        );
        let rules = faults.rules();
        assert!(rules.contains("iifname \"n.h1\" oifname \"h2\" numgen random"), "{rules}");
        faults.heal_pair("h2", "h1");
        assert_eq!(faults.losses.len(), 1);
        faults.heal("h3");
        faults.heal("h1");
        assert_eq!(faults, Faults::default());
    }
}
