//! Who is told of new files, and when: a container that has begun after they were there has read
//! them, one that has just begun may not listen yet. Pure, but for `Work::carry_out`.

use engine::Engine;
use engine::wish::ExecRequest;
use futures_util::StreamExt as _;
use model::id::InstanceId;
use model::limits::{TEMPLATE_COMMAND_MS_MAX, TEMPLATE_RETRY_MS, TEMPLATE_TELL_AFTER_MS};
use model::template_file::Tell;
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// What one container has not been told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memo {
    /// A file changed since it was told; with nothing to do when it looks by itself.
    untold: bool,
    /// What is to be said, with the change that it is of.
    tells: BTreeMap<Tell, u64>,
    changed_at: Timestamp,
    /// Counts the changes.
    changes: u64,
    busy: bool,
    failures: u32,
    retry_at: Option<Timestamp>,
    /// What did not do well when it was last said, and why.
    failed: BTreeMap<Tell, String>,
    /// All of these; empty for none.
    pub(super) problem: String,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until something changes.
    Nothing,
    /// It has read the files at its start.
    Read,
    /// It is told later.
    At(Timestamp),
    /// It is told.
    Now,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) instance: InstanceId,
    /// Up to which change.
    changes: u64,
    /// What was to be said, with the change that it was of, and what came of it.
    said: Vec<(Tell, u64, Result<(), Failed>)>,
}

/// Why it did not do well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) why: String,
    /// The engine has failed, not the command: it is tried again.
    again: bool,
}

/// Telling one container.
#[derive(Debug)]
pub(super) struct Work {
    instance: InstanceId,
    changes: u64,
    /// Whom; nobody when it has read the files itself.
    container: Option<String>,
    tells: BTreeMap<Tell, u64>,
}

/// Decides by the start of its run.
pub(super) fn next(memo: &Memo, started: Option<Timestamp>, now: Timestamp) -> Next {
    let (true, false, Some(started)) = (memo.untold, memo.busy, started) else {
        return Next::Nothing;
    };
    if started > memo.changed_at {
        return Next::Read;
    }
    // A start in the future is by a clock that was set back since.
    let listens = if started > now { now } else { started.plus_ms(TEMPLATE_TELL_AFTER_MS) };
    let due = memo.retry_at.map_or(listens, |at| at.max(listens));
    if due > now { Next::At(due) } else { Next::Now }
}

impl Memo {
    /// An earlier run of the agent has not told all of this.
    pub(super) fn of(tells: impl Iterator<Item = Tell>, changed_at: Timestamp) -> Self {
        let tells = tells.map(|tell| (tell, 1)).collect();
        Self { untold: true, tells, changed_at, changes: 1, ..Self::default() }
    }

    /// A file changed.
    pub(super) fn changed(&mut self, tell: Option<Tell>, now: Timestamp) {
        self.untold = true;
        self.changed_at = now;
        self.changes += 1;
        self.tells.extend(tell.map(|tell| (tell, self.changes)));
        (self.failures, self.retry_at) = (0, None);
    }

    /// Equal words are said once, however many files changed.
    pub(super) fn begin(&mut self, instance: InstanceId, container: Option<String>) -> Work {
        self.busy = true;
        Work { instance, changes: self.changes, container, tells: self.tells.clone() }
    }

    /// What was said is not said again before the next change; what the engine did not take is.
    pub(super) fn note(&mut self, done: &Done, now: Timestamp) {
        self.busy = false;
        let mut again = false;
        for (tell, change, result) in &done.said {
            match result {
                Ok(()) => self.failed.remove(tell),
                Err(failed) => self.failed.insert(tell.clone(), failed.why.clone()),
            };
            match result {
                Err(Failed { again: true, .. }) => again = true,
                // What changed since is said once more.
                _ if self.tells.get(tell) == Some(change) => drop(self.tells.remove(tell)),
                _ => {}
            }
        }
        let all: Vec<&str> = self.failed.values().map(String::as_str).collect();
        self.problem = all.join("; ");
        if again {
            let (min, max) = TEMPLATE_RETRY_MS;
            self.retry_at = Some(now.plus_ms((min << self.failures.min(10)).min(max)));
            self.failures = self.failures.saturating_add(1);
            return;
        }
        (self.failures, self.retry_at) = (0, None);
        if self.changes == done.changes {
            self.untold = false;
        }
    }

    /// Who told ended without a word.
    pub(super) fn again(&mut self) {
        self.busy = false;
    }

    pub(super) fn is_told(&self) -> bool {
        !self.untold
    }
}

impl Done {
    /// Why what was said did not do well.
    pub(super) fn failures(&self) -> impl Iterator<Item = &str> {
        self.said.iter().filter_map(|(_, _, result)| Some(result.as_ref().err()?.why.as_str()))
    }
}

impl Work {
    pub(super) async fn carry_out<E: Engine>(self, engine: E) -> Done {
        let mut all = vec![];
        for (tell, change) in self.tells {
            let result = match &self.container {
                Some(container) => said(&engine, container, &tell).await,
                None => Ok(()),
            };
            all.push((tell, change, result));
        }
        Done { instance: self.instance, changes: self.changes, said: all }
    }
}

async fn said<E: Engine>(engine: &E, container: &str, tell: &Tell) -> Result<(), Failed> {
    let again = |error: engine::Error| Failed { why: api::error::chain(&error), again: true };
    let command = match tell {
        Tell::Signal(signal) => return engine.kill(container, signal).await.map_err(again),
        Tell::Command(command) => command,
    };
    let program = command.first().map_or("", String::as_str);
    let failed = |how: &str| Failed {
        why: format!("{program:?}, which is run after a new file, {how}"),
        again: false,
    };
    let run = async {
        let request = ExecRequest { command: command.clone(), ..ExecRequest::default() };
        let mut session = engine.exec(container, &request).await.map_err(again)?;
        // What it writes may be secret, and is for nobody here.
        while let Some(piece) = session.output.next().await {
            piece.map_err(again)?;
        }
        match engine.exec_exit(&session.id).await.map_err(again)? {
            None | Some(0) => Ok(()),
            Some(code) => Err(failed(&format!("ended with code {code}"))),
        }
    };
    let limit = Duration::from_millis(TEMPLATE_COMMAND_MS_MAX);
    let seconds = TEMPLATE_COMMAND_MS_MAX / 1_000;
    let late = |_elapsed| Err(failed(&format!("did not end within {seconds} s")));
    tokio::time::timeout(limit, run).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hup() -> Tell {
        Tell::Signal("SIGHUP".into())
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp(ms)
    }

    fn id() -> InstanceId {
        "shop/web#1@4".parse().unwrap()
    }

    fn done(work: Work, result: impl Fn(&Tell) -> Result<(), Failed>) -> Done {
        let said = work.tells.into_iter().map(|(tell, change)| {
            let result = result(&tell);
            (tell, change, result)
        });
        Done { instance: work.instance, changes: work.changes, said: said.collect() }
    }

    fn failed(why: &str, again: bool) -> Result<(), Failed> {
        Err(Failed { why: why.into(), again })
    }

    #[test]
    fn who_began_before_the_change_is_told_and_who_began_after_it_has_read_it() {
        let mut memo = Memo::default();
        assert_eq!(next(&memo, Some(at(1)), at(9_000)), Next::Nothing, "nothing changed");
        memo.changed(Some(hup()), at(5_000));
        for (what, started, now, expect) in [
            ("it does not run", None, 9_000, Next::Nothing),
            ("it runs for long", Some(1_000), 5_001, Next::Now),
            ("it has just begun", Some(4_500), 5_001, Next::At(at(5_500))),
            ("it began since", Some(5_001), 5_002, Next::Read),
            ("both at once", Some(5_000), 6_000, Next::Now),
        ] {
            assert_eq!(next(&memo, started.map(at), at(now)), expect, "{what}");
        }
        // The clock was set back: what began is of a time to come, and is not waited for.
        let mut set_back = Memo::default();
        set_back.changed(Some(hup()), at(9_000));
        assert_eq!(next(&set_back, Some(at(8_000)), at(2_000)), Next::Now);
    }

    #[test]
    fn what_changes_while_it_is_told_is_told_again() {
        let mut memo = Memo::default();
        memo.changed(Some(hup()), at(10));
        memo.changed(Some(hup()), at(20));
        let work = memo.begin(id(), Some("c1".into()));
        assert_eq!((work.tells.len(), work.changes), (1, 2), "equal words are said once");
        assert_eq!(next(&memo, Some(at(1)), at(9_000)), Next::Nothing, "it is under way");
        memo.changed(None, at(30));
        memo.note(&done(work, |_| Ok(())), at(40));
        assert!(!memo.is_told());
        assert_eq!(next(&memo, Some(at(1)), at(9_000)), Next::Now);
        let work = memo.begin(id(), Some("c1".into()));
        assert!(work.tells.is_empty(), "what changed since is nobody's to be told");
        memo.changed(Some(hup()), at(50));
        memo.note(&done(work, |_| Ok(())), at(60));
        let work = memo.begin(id(), Some("c1".into()));
        memo.changed(Some(hup()), at(70));
        memo.note(&done(work, |_| Ok(())), at(80));
        assert!(!memo.is_told(), "the same words, of a later change");
        let work = memo.begin(id(), Some("c1".into()));
        assert_eq!(work.tells.len(), 1);
        memo.note(&done(work, |_| Ok(())), at(90));
        assert!(memo.is_told());
        assert_eq!(next(&memo, Some(at(1)), at(9_000)), Next::Nothing);
    }

    #[test]
    fn an_engine_that_fails_is_asked_again_and_a_command_that_fails_is_not() {
        let mut memo = Memo::of([hup()].into_iter(), at(10));
        for wait in [500, 1_000, 2_000] {
            let work = memo.begin(id(), Some("c1".into()));
            memo.note(&done(work, |_| failed("no", true)), at(9_000));
            assert_eq!(next(&memo, Some(at(1)), at(9_000)), Next::At(at(9_000 + wait)));
        }
        assert_eq!(next(&memo, Some(at(1)), at(11_000)), Next::Now);
        let work = memo.begin(id(), Some("c1".into()));
        memo.note(&done(work, |_| failed("no", false)), at(11_000));
        assert_eq!((memo.is_told(), memo.problem.as_str()), (true, "no"));
        memo.changed(Some(hup()), at(12_000));
        assert_eq!(next(&memo, Some(at(1)), at(12_000)), Next::Now, "the next change runs it");
        let work = memo.begin(id(), Some("c1".into()));
        memo.note(&done(work, |_| Ok(())), at(12_001));
        assert_eq!(memo.problem, "");
    }

    #[test]
    fn of_two_that_are_said_only_the_one_that_was_not_heard_is_said_again() {
        let check = Tell::Command(vec!["check".into()]);
        let mut memo = Memo::default();
        memo.changed(Some(hup()), at(10));
        memo.changed(Some(check.clone()), at(20));
        // The engine did not take the signal, and the command, which is said after it, fails.
        let work = memo.begin(id(), Some("c1".into()));
        assert_eq!(work.tells.len(), 2);
        let each = |tell: &Tell| match tell {
            Tell::Signal(_) => failed("away", true),
            Tell::Command(_) => failed("code 1", false),
        };
        memo.note(&done(work, each), at(9_000));
        assert!(!memo.is_told() && memo.problem == "away; code 1", "{}", memo.problem);
        assert_eq!(next(&memo, Some(at(1)), at(9_000)), Next::At(at(9_500)));
        let work = memo.begin(id(), Some("c1".into()));
        assert_eq!(work.tells.keys().collect::<Vec<_>>(), [&hup()]);
        memo.note(&done(work, |_| Ok(())), at(9_500));
        assert_eq!((memo.is_told(), memo.problem.as_str()), (true, "code 1"));
        memo.changed(Some(check), at(9_600));
        let work = memo.begin(id(), Some("c1".into()));
        assert_eq!(work.tells.len(), 1, "a signal that was heard is of its own change only");
        memo.note(&done(work, |_| Ok(())), at(9_700));
        assert_eq!((memo.is_told(), memo.problem.as_str()), (true, ""));
    }
}
