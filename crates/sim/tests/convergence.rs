//! A few seeds in the build at hand; `cargo xtask test` runs 500 in an optimised one.

use sim::Scenario;

/// Seeds of a run in this build.
const SEEDS: u64 = 12;

fn run(scenario: &Scenario, keep: bool) -> sim::Outcome {
    let dir = tempfile::tempdir().expect("a folder");
    sim::run(scenario, dir.path(), keep)
}

#[test]
fn a_seed_has_the_same_trace_byte_for_byte_whenever_it_runs() {
    for seed in [1, 4, 17] {
        let scenario = Scenario::draw(seed);
        let (first, second) = (run(&scenario, true), run(&scenario, true));
        assert!(first.trace.len() > 100, "seed {seed} has a story");
        for (number, (a, b)) in first.trace.iter().zip(&second.trace).enumerate() {
            assert_eq!(a, b, "line {number} of seed {seed}");
        }
        assert_eq!(first.trace.len(), second.trace.len());
        assert_eq!(first.digest, second.digest);
        assert_eq!(run(&scenario, false).digest, first.digest, "also when it is not kept");
    }
}

#[test]
fn every_seed_comes_to_rest_and_breaks_no_rule() {
    let mut failed = vec![];
    for seed in 0..SEEDS {
        let scenario = Scenario::draw(seed);
        let outcome = run(&scenario, false);
        if !outcome.flaws.is_empty() {
            println!("seed {seed}: {:#?}\nreplay: {}", outcome.flaws, scenario.command());
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?} failed");
}
