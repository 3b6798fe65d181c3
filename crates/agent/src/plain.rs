//! Plain containers: what is told of them, and what is to be done that they are in the managed
//! network and ask our DNS. They are never started, stopped or removed. Pure, but for `attach`.

use crate::NETWORK;
use engine::Engine;
use engine::seen::{RunState, SeenContainer};
use model::limits::{PLAIN_RETRY_MS_MAX, PLAIN_RETRY_MS_MIN};
use model::plain::{PlainContainer, PlainState, asks_for_dns, asks_for_network, has_own_network};
use model::time::Timestamp;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// What is added to the search list of who asks our DNS.
const SEARCH: &str = "rancher.internal";

/// Is it told of? What has ended stays as long as it may come back into the managed network.
pub(crate) fn is_listed(seen: &SeenContainer) -> bool {
    let going = matches!(seen.state, RunState::Removing | RunState::Dead);
    seen.owner.is_none() && !going && (seen.running() || asks_for_network(&seen.labels))
}

/// A container in the words of the server.
pub(crate) fn told(seen: &SeenContainer, problem: &str, stopping: bool) -> PlainContainer {
    let up = seen.running();
    PlainContainer {
        name: seen.name.clone(),
        hostname: seen.hostname.clone(),
        image: seen.image.clone(),
        state: match seen.state {
            RunState::Created => PlainState::Created,
            RunState::Running => PlainState::Running,
            RunState::Paused => PlainState::Paused,
            RunState::Restarting => PlainState::Restarting,
            RunState::Exited => PlainState::Exited,
            RunState::Removing | RunState::Dead => PlainState::Dead,
        },
        health: if up { seen.docker_health } else { model::health::Health::Unchecked },
        created_at: seen.created_at.unwrap_or_default(),
        started_at: seen.started_at.unwrap_or_default(),
        exit_code: seen.exit_code.filter(|_| !up),
        network: seen.network_mode.clone(),
        addresses: if up { seen.addresses.clone() } else { Default::default() },
        ports: seen.ports.clone(),
        labels: seen.labels.clone(),
        variables: seen.variables.clone(),
        problem: problem.to_owned(),
        stopping,
    }
}

/// What is known of the work on one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memo {
    /// It is under way.
    pub(crate) busy: bool,
    /// In which run of it the DNS was lent, at which address.
    lent: Option<(Option<Timestamp>, Option<Ipv4Addr>)>,
    /// Failures in a row.
    failures: u32,
    retry_at: Option<Timestamp>,
    /// Why it is not as it should be; empty when it is.
    pub(crate) problem: String,
}

impl Memo {
    /// The task has ended.
    pub(crate) fn note(&mut self, task: &Task, result: Result<(), String>, now: Timestamp) {
        self.busy = false;
        match result {
            Ok(()) => {
                if task.lend.is_some() {
                    self.lent = Some((task.run, task.address));
                }
                self.failures = 0;
                self.retry_at = None;
                self.problem.clear();
            }
            Err(why) => {
                let wait = PLAIN_RETRY_MS_MIN << self.failures.min(10);
                self.failures = self.failures.saturating_add(1);
                self.retry_at = Some(now.plus_ms(wait.min(PLAIN_RETRY_MS_MAX)));
                self.problem = why;
            }
        }
    }

    /// Somebody may have changed the file meanwhile: it is looked at again.
    pub(crate) fn look_again(&mut self) {
        self.lent = None;
    }

    /// When it is tried again, as far as it failed.
    pub(crate) fn retry_at(&self) -> Option<Timestamp> {
        self.retry_at.filter(|_| !self.busy)
    }
}

/// What is to be done with one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// Docker's id.
    pub(crate) id: String,
    /// Connect it with this address.
    pub(crate) connect: Option<Ipv4Addr>,
    /// Let it ask our DNS, by this file.
    pub(crate) lend: Option<PathBuf>,
    run: Option<Timestamp>,
    address: Option<Ipv4Addr>,
}

/// What is to be done now; `decided` is its address in the managed network.
pub(crate) fn next(
    seen: &SeenContainer,
    decided: Option<Ipv4Addr>,
    memo: &Memo,
    now: Timestamp,
) -> Option<Task> {
    let waits = memo.busy || memo.retry_at.is_some_and(|at| at > now);
    // One that is frozen cannot be worked with, one that restarts is about to run.
    if waits || seen.owner.is_some() || seen.state != RunState::Running {
        return None;
    }
    let address = decided.filter(|_| has_own_network(&seen.network_mode));
    let connect = address.filter(|address| seen.addresses.get(NETWORK) != Some(address));
    // Connecting it lets Docker write the file anew.
    let is_lent = connect.is_none() && memo.lent == Some((seen.started_at, address));
    let lend = seen.resolv_conf.clone().filter(|_| asks_for_dns(&seen.labels) && !is_lent);
    (connect.is_some() || lend.is_some()).then(|| Task {
        id: seen.id.clone(),
        connect,
        lend,
        run: seen.started_at,
        address,
    })
}

/// Carries out a task; it may be repeated.
pub(crate) async fn attach<E: Engine>(engine: E, task: &Task) -> Result<(), String> {
    if let Some(address) = task.connect {
        let done = engine.connect(&task.id, NETWORK, address).await;
        done.map_err(|e| format!("not in the managed network: {}", api::error::chain(&e)))?;
        tracing::info!(container = task.id, %address, "plain container connected");
    }
    if let Some(path) = task.lend.clone() {
        let lent = tokio::task::spawn_blocking(move || network::lend_dns(&path, SEARCH)).await;
        let lent = lent.map_err(|e| e.to_string())?;
        lent.map_err(|e| format!("does not ask our DNS: {}", api::error::chain(&e)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::plain::{LABEL_DNS, LABEL_NETWORK};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn ours() -> Ipv4Addr {
        Ipv4Addr::new(10, 42, 7, 7)
    }

    fn seen(network: &str, labels: &[(&str, &str)]) -> SeenContainer {
        SeenContainer {
            id: "c1".into(),
            state: RunState::Running,
            network_mode: network.into(),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            started_at: Some(Timestamp(5)),
            resolv_conf: Some("/x/containers/c1/resolv.conf".into()),
            ..SeenContainer::default()
        }
    }

    fn connected(mut one: SeenContainer, address: Ipv4Addr) -> SeenContainer {
        one.addresses.insert(NETWORK.into(), address);
        one
    }

    /// `connect` and `lend` as far as they are to be done.
    fn words(seen: &SeenContainer, decided: Option<Ipv4Addr>, memo: &Memo) -> String {
        let Some(task) = next(seen, decided, memo, NOW) else { return String::new() };
        let mut words = vec![];
        words.extend(task.connect.map(|_| "connect"));
        words.extend(task.lend.map(|_| "lend"));
        words.join(" ")
    }

    #[test]
    fn who_is_to_be_in_the_network_is_connected_and_asks_our_dns() {
        let join = [(LABEL_NETWORK, "true")];
        let own_dns = [(LABEL_NETWORK, "true"), (LABEL_DNS, "false")];
        let dns = [(LABEL_DNS, "true")];
        let with = |change: fn(&mut SeenContainer)| {
            let mut one = seen("default", &[(LABEL_NETWORK, "true")]);
            change(&mut one);
            one
        };
        let fresh = Memo::default();
        for (what, one, decided, wanted) in [
            ("not decided yet", seen("default", &join), None, "lend"),
            ("decided", seen("default", &join), Some(ours()), "connect lend"),
            ("of none", seen("none", &join), Some(ours()), "connect lend"),
            ("its own DNS", seen("default", &own_dns), Some(ours()), "connect"),
            ("connected", connected(seen("default", &join), ours()), Some(ours()), "lend"),
            (
                "elsewhere",
                connected(seen("remuda", &join), Ipv4Addr::new(10, 42, 255, 9)),
                Some(ours()),
                "connect lend",
            ),
            ("the host's", seen("host", &join), Some(ours()), "lend"),
            ("another one's", seen("container:c2", &own_dns), Some(ours()), ""),
            ("only DNS", seen("default", &dns), None, "lend"),
            ("nothing asked", seen("default", &[]), None, ""),
            ("frozen", with(|one| one.state = RunState::Paused), Some(ours()), ""),
            ("ended", with(|one| one.state = RunState::Exited), Some(ours()), ""),
            ("ours", with(|one| one.owner = Some("e1".into())), Some(ours()), ""),
            ("his own file", with(|one| one.resolv_conf = None), Some(ours()), "connect"),
        ] {
            assert_eq!(words(&one, decided, &fresh), wanted, "{what}");
        }
    }

    #[test]
    fn what_is_done_is_done_once_for_each_run_and_address() {
        let one = seen("default", &[(LABEL_NETWORK, "true")]);
        let mut memo = Memo { busy: true, ..Memo::default() };
        assert_eq!(words(&one, Some(ours()), &memo), "", "it is under way");
        let task = next(&one, Some(ours()), &Memo::default(), NOW).unwrap();
        memo.note(&task, Ok(()), NOW);
        let one = connected(one, ours());
        assert_eq!(words(&one, Some(ours()), &memo), "");
        let again = SeenContainer { started_at: Some(Timestamp(9)), ..one.clone() };
        assert_eq!(words(&again, Some(ours()), &memo), "lend", "Docker wrote the file anew");
        let cut = SeenContainer { addresses: Default::default(), ..one.clone() };
        assert_eq!(words(&cut, Some(ours()), &memo), "connect lend", "somebody took it out");
        memo.look_again();
        assert_eq!(words(&one, Some(ours()), &memo), "lend");
    }

    #[test]
    fn a_failure_is_told_and_tried_again_later_and_later() {
        let one = seen("default", &[(LABEL_NETWORK, "true")]);
        let task = next(&one, Some(ours()), &Memo::default(), NOW).unwrap();
        let mut memo = Memo::default();
        let mut waits = vec![];
        for _ in 0..9 {
            memo.note(&task, Err("Address already in use".into()), NOW);
            waits.push(memo.retry_at().unwrap().since_ms(NOW));
        }
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(words(&one, Some(ours()), &memo), "");
        let later = next(&one, Some(ours()), &memo, NOW.plus_ms(30_000));
        assert!(later.is_some() && memo.problem.contains("already in use"));
        assert_eq!(told(&one, &memo.problem, false).problem, memo.problem);
        memo.note(&task, Ok(()), NOW);
        assert_eq!((memo.problem.as_str(), memo.retry_at()), ("", None));
    }

    #[test]
    fn what_runs_or_asks_is_told_and_nothing_of_ours() {
        let ended = |one: SeenContainer| SeenContainer { state: RunState::Exited, ..one };
        let asks = || seen("default", &[(LABEL_NETWORK, "true")]);
        let mine = SeenContainer { owner: Some("e".into()), ..asks() };
        let going = SeenContainer { state: RunState::Removing, ..asks() };
        for (one, listed) in [
            (seen("default", &[]), true),
            (ended(seen("default", &[])), false),
            (ended(asks()), true),
            (mine, false),
            (going, false),
        ] {
            assert_eq!(is_listed(&one), listed, "{one:?}");
        }
        let told = told(&connected(ended(asks()), ours()), "", false);
        assert_eq!((told.state, told.addresses.len()), (PlainState::Exited, 0));
    }
}
