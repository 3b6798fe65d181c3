//! Makes a failing run smaller: fewer kinds of trouble, fewer steps, fewer hosts, as long as it
//! fails in the same way.

use crate::oracle::Flaw;
use crate::scenario::{Scenario, Trouble};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The search ends after this time with the smallest run found.
const TIME_MAX: Duration = Duration::from_secs(60);

/// The smallest run found that has a flaw of this kind. `run` gives the flaws of a scenario.
pub fn shrink(
    scenario: &Scenario,
    flaw: &Flaw,
    mut run: impl FnMut(&Scenario) -> Vec<Flaw>,
) -> Scenario {
    let begin = Instant::now();
    let mut fails = |candidate: &Scenario| {
        begin.elapsed() < TIME_MAX && run(candidate).iter().any(|found| found.kind() == flaw.kind())
    };
    let mut best = scenario.clone();
    loop {
        let before = best.clone();
        for (trouble, _) in Trouble::ALL {
            keep_if(&mut best, &mut fails, |step| step.trouble != trouble);
        }
        drop_steps(&mut best, &mut fails);
        drop_hosts(&mut best, &mut fails);
        if best == before {
            return best;
        }
    }
}

/// Keeps the steps that `keep` names, when the run still fails with them alone.
fn keep_if(
    best: &mut Scenario,
    fails: &mut impl FnMut(&Scenario) -> bool,
    keep: impl Fn(&crate::scenario::Step) -> bool,
) {
    let mut candidate = best.clone();
    candidate.steps.retain(|step| keep(step));
    if candidate.steps.len() < best.steps.len() && fails(&candidate) {
        *best = candidate;
    }
}

/// Leaves out steps: halves first, then smaller and smaller parts, at last one by one.
fn drop_steps(best: &mut Scenario, fails: &mut impl FnMut(&Scenario) -> bool) {
    let mut part = best.steps.len().div_ceil(2);
    while part > 0 {
        let numbers: Vec<usize> = best.steps.iter().map(|step| step.number).collect();
        for chunk in numbers.chunks(part).rev() {
            let chunk: BTreeSet<usize> = chunk.iter().copied().collect();
            keep_if(best, fails, |step| !chunk.contains(&step.number));
        }
        part /= 2;
    }
}

fn drop_hosts(best: &mut Scenario, fails: &mut impl FnMut(&Scenario) -> bool) {
    let sizes = [1, 2, 3, 4, 5, 6, 8, 10, 12, 20, 50, 100];
    for hosts in sizes.into_iter().filter(|hosts| *hosts < best.hosts) {
        let candidate = Scenario { hosts, ..best.clone() };
        if fails(&candidate) {
            *best = candidate;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let whole = Scenario::draw(3);
        let (first, second) = (whole.steps[4].number, whole.steps[11].number);
        let flaw = Flaw::Orphan("x".into());
        let small = shrink(&whole, &flaw, |candidate| {
            let has = |number| candidate.steps.iter().any(|step| step.number == number);
            let other = Flaw::Twice("y".into());
            if has(first) && has(second) && candidate.hosts >= 2 {
                vec![other, Flaw::Orphan("z".into())]
            } else {
                vec![other]
            }
        });
        let numbers: Vec<usize> = small.steps.iter().map(|step| step.number).collect();
        assert_eq!((numbers, small.hosts), (vec![first, second], 2));
    }
}
