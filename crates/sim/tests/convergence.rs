//! Seeds of the first world: one server, one host, a lying engine.

/// Seeds of a test run; `REMUDA_SIM_SEED=N` runs one alone and tells its story.
const SEEDS: u64 = 40;

#[test]
fn every_seed_converges_with_no_orphan_no_duplicate_and_an_empty_audit() {
    let one = std::env::var("REMUDA_SIM_SEED").ok().and_then(|text| text.parse().ok());
    let seeds = one.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut failed = vec![];
    for seed in seeds {
        let outcome = sim::run(seed);
        if one.is_some() || !outcome.flaws.is_empty() {
            for line in &outcome.story {
                println!("{line}");
            }
        }
        if !outcome.flaws.is_empty() {
            println!("seed {seed}: {:#?}", outcome.flaws);
            println!("replay: REMUDA_SIM_SEED={seed} cargo test -p sim");
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?} failed");
}
