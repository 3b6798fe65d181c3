//! Templates of many owners followed as one: what they ask for is asked once, and whoever owns them
//! is given the text of those that are to be made anew. It writes nothing, and reads nothing of this
//! machine. One task owns it.

use crate::error::{Error, chain};
use crate::functions::Dialect;
use crate::http::Target;
use crate::program::{Program, Reading};
use crate::query::Query;
use crate::quiet::{Quiet, Wait};
use crate::scene::{Answers, Missing, View};
use crate::settings::Retry;
use crate::watch::{Asking, Found, Report, watch};
use model::limits::{TEMPLATE_QUERIES_MAX, TEMPLATE_QUEUE_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// How long a question waits for a change.
const BLOCK: Duration = Duration::from_secs(60);
/// What a template of somebody else may not call: it would read files of this machine.
const DENIED: [&str; 1] = ["file"];

/// One template, as its owner has it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// For messages.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Other delimiters.
    pub delimiters: Option<(String, String)>,
    /// What `env` answers.
    pub env: Arc<BTreeMap<String, String>>,
    /// Quiet before it is made anew, in milliseconds: after a change, and at most.
    pub wait_ms: (u64, u64),
}

/// What came of a template that was due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its text, whole.
    Text(String),
    /// Which answers it waits for, in words.
    Waits(String),
    /// Why there is no text: something does not exist, or it cannot be made, with the line as far as
    /// it is known and without values.
    Failed(String),
}

/// Templates by `K`, and what they ask for.
pub struct Follower<K> {
    asking: Asking,
    items: BTreeMap<K, Item>,
    answers: Arc<Answers>,
    watchers: BTreeMap<Query, AbortHandle>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    /// The last trouble with the server that was told.
    trouble: Option<String>,
    /// Questions of which rights keep the answer back, or a part of it, and how that is told.
    hidden: BTreeMap<Query, String>,
    /// There are more questions than are asked, which was told.
    full: bool,
}

struct Item {
    program: Result<Program, String>,
    plan: Plan,
    quiet: Quiet,
    /// What it asked for when it was last made.
    used: BTreeSet<Query>,
    /// Questions that nobody has answered yet.
    pending: BTreeSet<Query>,
    made: bool,
}

impl<K> std::fmt::Debug for Follower<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("templates", &self.items.len()).finish_non_exhaustive()
    }
}

impl<K> Drop for Follower<K> {
    fn drop(&mut self) {
        for watcher in self.watchers.values() {
            watcher.abort();
        }
    }
}

impl<K: Ord + Clone> Follower<K> {
    /// Nothing yet, which asks the Consul API at `address`, host:port. Old answers are good answers:
    /// what is asked without a server is what this host knows.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(address: &str) -> Result<Self, Error> {
        let asking = Asking {
            target: Arc::new(Target::new(address, 8500, None)?),
            retry: Retry { backoff_max: Duration::from_secs(5), ..Retry::default() },
            max_stale: Duration::from_secs(u64::from(u32::MAX)),
            wait: BLOCK,
            attempts: 0,
            // It asks as nobody: what is hidden from nobody is there all the same.
            whole: true,
        };
        Ok(Self {
            asking,
            items: BTreeMap::new(),
            answers: Arc::default(),
            watchers: BTreeMap::new(),
            reports: mpsc::channel(TEMPLATE_QUEUE_MAX),
            trouble: None,
            hidden: BTreeMap::new(),
            full: false,
        })
    }

    /// Follows one more, which is due at once; one with the same key is let go.
    pub fn put(&mut self, key: K, plan: Plan) {
        let open_close = plan.delimiters.clone();
        let reading = Reading {
            dialect: Dialect::Consul,
            delimiters: open_close.unwrap_or(("{{".into(), "}}".into())),
            error_on_missing_key: false,
            denied: DENIED.map(str::to_owned).to_vec(),
        };
        let program = Program::parse(&plan.name, &plan.text, &reading).map_err(|e| chain(&e));
        let mut quiet = Quiet::default();
        quiet.changed(None, Instant::now());
        let (used, pending) = (BTreeSet::new(), BTreeSet::new());
        self.items.insert(key, Item { program, plan, quiet, used, pending, made: false });
    }

    /// Follows it no more.
    pub fn remove(&mut self, key: &K) {
        self.items.remove(key);
    }

    /// Waits until one is due; for ever while there is none. May be given up at any time.
    pub async fn woken(&mut self) {
        loop {
            let due = self.items.values().filter_map(|item| item.quiet.due()).min();
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(report) = self.reports.1.recv() => self.take(report),
                () = timer => return,
            }
        }
    }

    fn take(&mut self, report: Report) {
        let Report { query, found } = report;
        match found {
            Found::Answer(answer) if self.watchers.contains_key(&query) => {
                self.trouble = None;
                self.hidden.remove(&query);
                Arc::make_mut(&mut self.answers).insert(query.clone(), answer);
                let now = Instant::now();
                self.items.values_mut().for_each(|item| item.answered(&query, now));
            }
            Found::Answer(_) => {}
            Found::Failed(error) | Found::GivenUp(error) => {
                let text = chain(&error);
                if self.trouble.as_ref() != Some(&text) {
                    tracing::warn!(error = text, %query, "no answer for templates, asked again");
                    self.trouble = Some(text.clone());
                }
                if matches!(error, Error::Hidden { .. }) && self.watchers.contains_key(&query) {
                    let now = Instant::now();
                    let asks = self.items.values_mut().filter(|item| item.used.contains(&query));
                    asks.for_each(|item| item.quiet.changed(None, now));
                    self.hidden.insert(query, text);
                }
            }
        }
    }

    /// Makes what is due, each on a thread of its own.
    pub async fn make(&mut self) -> Vec<(K, Outcome)> {
        let mut out = vec![];
        let now = Instant::now();
        let due: Vec<K> = self
            .items
            .iter_mut()
            .filter_map(|(k, i)| i.quiet.take(now).then(|| k.clone()))
            .collect();
        for key in due {
            let Some(item) = self.items.get_mut(&key) else { continue };
            let program = match &item.program {
                Ok(program) => program.clone(),
                Err(why) => {
                    out.push((key, Outcome::Failed(why.clone())));
                    continue;
                }
            };
            let view = View {
                answers: Arc::clone(&self.answers),
                keys: Arc::default(),
                env: Arc::clone(&item.plan.env),
                now: std::time::SystemTime::now().into(),
                sandbox: None,
            };
            let rendered = tokio::task::spawn_blocking(move || program.render(view)).await;
            let outcome = match rendered {
                Ok(rendered) => item.outcome(rendered, &self.hidden),
                Err(error) => Outcome::Failed(format!("the render broke off: {error}")),
            };
            out.push((key, outcome));
        }
        self.watch();
        out
    }

    /// Starts watchers for what is newly asked, ends those of what nobody asks any more.
    fn watch(&mut self) {
        let wanted: BTreeSet<&Query> = self.items.values().flat_map(|item| &item.used).collect();
        let (answers, hidden) = (&mut self.answers, &mut self.hidden);
        self.watchers.retain(|query, watcher| {
            let kept = wanted.contains(query);
            if !kept {
                watcher.abort();
                Arc::make_mut(answers).remove(query);
                hidden.remove(query);
            }
            kept
        });
        let mut full = false;
        for query in wanted {
            if self.watchers.contains_key(query) {
                continue;
            }
            if self.watchers.len() >= TEMPLATE_QUERIES_MAX {
                full = true;
                if !std::mem::replace(&mut self.full, true) {
                    tracing::error!(%query, most = TEMPLATE_QUERIES_MAX, "too many questions, not asked");
                }
                continue;
            }
            let task = watch(query.clone(), self.asking.clone(), self.reports.0.clone());
            self.watchers.insert(query.clone(), tokio::task::spawn(task).abort_handle());
        }
        self.full = full;
    }
}

impl Item {
    fn answered(&mut self, query: &Query, now: Instant) {
        if !self.used.contains(query) {
            return;
        }
        self.pending.remove(query);
        if self.pending.is_empty() {
            let (min, max) = self.plan.wait_ms;
            let wait = Wait { min: Duration::from_millis(min), max: Duration::from_millis(max) };
            // The first text is wanted soon; quiet is for those that replace another.
            self.quiet.changed(Some(wait).filter(|_| self.made && min > 0), now);
        }
    }

    fn outcome(
        &mut self,
        rendered: crate::program::Rendered,
        hidden: &BTreeMap<Query, String>,
    ) -> Outcome {
        let of = |why: Missing| {
            let missing = rendered.missing.iter().filter(move |(_, other)| **other == why);
            missing.map(|(query, _)| query.clone()).collect::<BTreeSet<Query>>()
        };
        let absent = of(Missing::Absent);
        let hidden = hidden.iter().find(|(query, _)| rendered.used.contains(query));
        let hidden = hidden.map(|(_, why)| why);
        self.pending = of(Missing::NotYet);
        if rendered.text.is_ok() && self.pending.is_empty() {
            self.used = rendered.used;
        } else {
            // It broke off, or some of it hangs on what is not known yet: what it asked for before it
            // may ask for again.
            self.used.extend(rendered.used);
        }
        let name = &self.plan.name;
        let list = |all: &BTreeSet<Query>| {
            all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        if let Some(why) = hidden {
            return Outcome::Failed(format!("{name}: {why}"));
        }
        if !absent.is_empty() {
            let what = list(&absent);
            return Outcome::Failed(format!(
                "{name}: there is no {what}; keyOrDefault does without"
            ));
        }
        if !self.pending.is_empty() {
            return Outcome::Waits(format!(
                "{name} waits for the answer to {}",
                list(&self.pending)
            ));
        }
        match rendered.text {
            Ok(text) => {
                self.made = true;
                Outcome::Text(text)
            }
            Err(error) => Outcome::Failed(blamed(name, &self.plan.text, &error)),
        }
    }
}

/// Why a render failed, with the lines that call what failed, and without what was in quotes: that
/// may be the value of a key. Further lines are left out: they may repeat it without quotes.
fn blamed(name: &str, text: &str, error: &Error) -> String {
    let Error::Render { why, .. } = error else { return chain(error) };
    let why = why.lines().next().unwrap_or_default();
    let bare = match (why.find('"'), why.rfind('"')) {
        (Some(first), Some(last)) => {
            // One that is alone is closed on a line that is left out.
            let after = if first < last { why.get(last + 1..) } else { None };
            format!("{}…{}", why.get(..first).unwrap_or_default(), after.unwrap_or_default())
        }
        _ => why.to_owned(),
    };
    let called = why.split(':').next().unwrap_or_default();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let calls = |line: &str| line.split(|c| !is_word(c)).any(|word| word == called);
    let lines: Vec<String> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !called.is_empty() && called.chars().all(is_word) && calls(line))
        .map(|(n, _)| (n + 1).to_string())
        .take(3)
        .collect();
    match lines.is_empty() {
        true => format!("{name}: {bare}"),
        false => format!("{name}: line {}: {bare}", lines.join(" or ")),
    }
}

#[cfg(test)]
#[path = "follow/tests.rs"]
mod tests;
