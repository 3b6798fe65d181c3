//! Requests per second out of what several hosts counted.

use super::*;
use model::host::HostFacts;
use model::time::{Generation, Index};

fn of(host: &str, requests: Option<Requests>) -> HostStatus {
    HostStatus {
        host: host.parse().unwrap(),
        number: 0,
        generation: Generation(1),
        view: Index(1),
        facts: HostFacts::default(),
        instances: BTreeMap::new(),
        plain: None,
        probes: BTreeMap::new(),
        usage: BTreeMap::new(),
        requests,
        floating: BTreeMap::new(),
        checks: BTreeMap::new(),
    }
}

/// `host@seconds-of-its-dataplane: instance=count …` at each second of the server; `?` asks for the
/// rate of the first instance.
fn rates(story: &[(i64, &str)]) -> Vec<Option<u64>> {
    let usages = Usages::default();
    let mut found = vec![];
    for (second, line) in story {
        let now = Timestamp(second * 1_000);
        let Some((host, counts)) = line.split_once(": ") else {
            found.push(usages.requests(&"shop/web#1@1".parse().unwrap(), now));
            continue;
        };
        let (host, at) = host.split_once('@').unwrap();
        let at_ms = (at.parse::<f64>().unwrap() * 1_000.0).round() as u64;
        let counts = counts.split_whitespace().map(|word| {
            let (id, count) = word.split_once('=').unwrap();
            (format!("shop/web#{id}").parse().unwrap(), count.parse().unwrap())
        });
        let requests = Requests { at_ms, of: counts.collect() };
        usages.note(&of(host, Some(requests)), now);
    }
    found
}

#[test]
fn the_rate_of_an_instance_is_the_sum_over_the_hosts_that_send_to_it() {
    // Once is not enough; then it is what came in between, by the clock of the dataplane.
    assert_eq!(rates(&[(0, "a@3: 1@1=100"), (0, "?")]), [None]);
    let one = [(0, "a@3: 1@1=100"), (5, "a@8: 1@1=600 2@2=9"), (5, "?")];
    assert_eq!(rates(&one), [Some(100)]);
    // Three hosts send to it, each with a clock of its own.
    let three = [
        (0, "a@3: 1@1=100"),
        (1, "b@700: 1@1=0"),
        (1, "c@1: 1@1=0"),
        (5, "a@8: 1@1=600"),
        (6, "b@705: 1@1=250"),
        (6, "c@6: 1@1=0"),
        (6, "?"),
    ];
    assert_eq!(rates(&three), [Some(150)]);
    // Slow ones add up before they are rounded.
    let slow =
        [(0, "a@0: 1@1=0"), (0, "b@0: 1@1=0"), (5, "a@5: 1@1=2"), (5, "b@5: 1@1=2"), (5, "?")];
    assert_eq!(rates(&slow), [Some(1)]);
    // A sidekick's requests are its instance's.
    let with = [(0, "a@0: 1@1=0 1@1+log=10"), (5, "a@5: 1@1=50 1@1+log=60"), (5, "?")];
    assert_eq!(rates(&with), [Some(20)]);
}

#[test]
fn a_count_that_began_anew_or_is_old_says_nothing() {
    // The same look, told twice.
    let twice = [(0, "a@0: 1@1=0"), (5, "a@5: 1@1=50"), (9, "a@5: 1@1=50"), (9, "?")];
    assert_eq!(rates(&twice), [Some(10)]);
    // The dataplane, and then the instance, started anew.
    for again in ["a@2: 1@1=9", "a@10: 1@1=9"] {
        let anew = [(0, "a@0: 1@1=0"), (5, "a@5: 1@1=50"), (10, again), (10, "?")];
        assert_eq!(rates(&anew), [None], "{again}");
    }
    let gone = [(0, "a@0: 1@1=0"), (5, "a@5: 1@1=50"), (19, "?"), (20, "?")];
    assert_eq!(rates(&gone), [Some(10), None], "nothing is heard any more");
    // One host of two went silent: the other one still counts.
    let half = [
        (0, "a@0: 1@1=0"),
        (0, "b@0: 1@1=0"),
        (5, "a@5: 1@1=50"),
        (5, "b@5: 1@1=50"),
        (15, "a@15: 1@1=150"),
        (20, "?"),
    ];
    assert_eq!(rates(&half), [Some(10)]);
    // Told of two looks 20 s apart: what was before is forgotten.
    let pause = [(0, "a@0: 1@1=0"), (20, "a@20: 1@1=200"), (20, "?")];
    assert_eq!(rates(&pause), [None]);
}
