//! The loop: what is asked for is watched, what changed is rendered when it is quiet, what differs
//! is written, and commands run once a batch. One task owns all of it.

mod entry;
mod signals;

use crate::child::Child;
use crate::command;
use crate::error::{Error, chain};
use crate::http::Target;
use crate::query::Query;
use crate::scene::{Answers, View};
use crate::settings::{Command, Settings};
use crate::watch::{Asking, Found, Report, watch};
use entry::Entry;
pub(crate) use entry::{Written, pass_on, replace};
use model::limits::{TEMPLATE_QUERIES_MAX, TEMPLATE_QUEUE_MAX};
use rand::Rng as _;
pub(crate) use signals::{Heard, Signals};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Attempts in a row with `-once`, when nothing else is said.
const ONCE_ATTEMPTS: u32 = 12;

/// Waits a random time up to the longest.
pub(crate) async fn splay(longest: Duration) {
    if !longest.is_zero() {
        let part: f64 = rand::rng().random();
        tokio::time::sleep(longest.mul_f64(part)).await;
    }
}

/// Everything that runs.
pub struct Runner {
    settings: Settings,
    entries: Vec<Entry>,
    answers: Arc<Answers>,
    env: Arc<BTreeMap<String, String>>,
    asking: Asking,
    watchers: BTreeMap<Query, AbortHandle>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    child: Option<Child>,
    /// The last trouble with a server that was told.
    trouble: Option<String>,
    failed: bool,
    /// Everything was rendered once, and only the child is waited for.
    over: bool,
}

/// Runs until it is done, told to end, or its child ends. The exit code.
///
/// # Errors
/// What keeps it from starting: settings, templates that cannot be read, signals.
pub async fn run(
    settings: Settings,
    again: &(dyn Fn() -> Result<Settings, Error> + Sync),
) -> Result<u8, Error> {
    let mut signals = Signals::new(&settings)?;
    let mut runner = Runner::new(settings)?;
    if runner.settings.parse_only {
        return Ok(0);
    }
    let pid = runner.settings.pid_file.clone();
    if let Some(path) = &pid {
        let number = std::process::id().to_string();
        std::fs::write(path, number).map_err(|source| Error::Write {
            path: path.clone(),
            doing: "write",
            source,
        })?;
    }
    let code = runner.follow(&mut signals, again).await;
    runner.forget();
    if let Some(path) = &pid
        && let Err(error) = std::fs::remove_file(path)
    {
        tracing::warn!(%error, path = %path.display(), "pid file stays");
    }
    code
}

enum Woken {
    Report(Box<Report>),
    Due,
    Child(u8),
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Runner {
    /// Reads every template.
    ///
    /// # Errors
    /// A template that cannot be read or parsed; an address that is none.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        for ignored in &settings.ignored {
            tracing::warn!(setting = %ignored, "setting is known and has no effect here");
        }
        if settings.deduplicate {
            tracing::info!("deduplicate has no effect: each process asks for itself");
        }
        let target = Arc::new(Target::consul(&settings.consul)?);
        let entries: Result<Vec<Entry>, Error> =
            settings.templates.iter().map(|t| Entry::new(t, &settings)).collect();
        let default = if settings.once { ONCE_ATTEMPTS } else { 0 };
        let asking = Asking {
            target,
            retry: settings.consul.retry,
            max_stale: settings.max_stale,
            wait: settings.block_wait,
            attempts: settings.consul.retry.attempts.unwrap_or(default),
            whole: false,
        };
        let env = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        Ok(Self {
            entries: entries?,
            answers: Arc::default(),
            env: Arc::new(env.collect()),
            asking,
            watchers: BTreeMap::new(),
            reports: mpsc::channel(TEMPLATE_QUEUE_MAX),
            child: None,
            trouble: None,
            failed: false,
            over: false,
            settings,
        })
    }

    fn forget(&mut self) {
        for (_, watcher) in std::mem::take(&mut self.watchers) {
            watcher.abort();
        }
    }

    async fn follow(
        &mut self,
        signals: &mut Signals,
        again: &(dyn Fn() -> Result<Settings, Error> + Sync),
    ) -> Result<u8, Error> {
        let mut waiting = vec![];
        loop {
            let end = {
                let mut turn = std::pin::pin!(self.turn());
                loop {
                    tokio::select! {
                        done = &mut turn => break Ok(done),
                        heard = signals.next() => match heard {
                            // What runs is given up: a command ends with its group.
                            Heard::Stop(code) => break Err(code),
                            other => waiting.push(other),
                        },
                    }
                }
            };
            match end {
                Ok(Ok(Some(code))) => return Ok(code),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    self.stop(1).await;
                    return Err(error);
                }
                Err(code) => return Ok(self.stop(code).await),
            }
            for heard in std::mem::take(&mut waiting) {
                self.hear(heard, again);
            }
            if self
                .entries
                .iter()
                .any(|entry| entry.quiet.due().is_some_and(|d| d <= Instant::now()))
            {
                continue;
            }
            tokio::select! {
                heard = signals.next() => match heard {
                    Heard::Stop(code) => return Ok(self.stop(code).await),
                    other => self.hear(other, again),
                },
                woken = self.woken() => match woken {
                    Woken::Report(report) => {
                        if let Some(code) = self.take(*report) {
                            return Ok(self.stop(code).await);
                        }
                    }
                    Woken::Due => {}
                    Woken::Child(code) => return Ok(code),
                },
            }
            while let Ok(report) = self.reports.1.try_recv() {
                if let Some(code) = self.take(report) {
                    return Ok(self.stop(code).await);
                }
            }
        }
    }

    /// Waits until there is something to do. May be given up at any time.
    async fn woken(&mut self) -> Woken {
        let due = self.entries.iter().filter_map(|entry| entry.quiet.due()).min();
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let child = async {
            match &mut self.child {
                Some(child) => child.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            report = self.reports.1.recv() => match report {
                Some(report) => Woken::Report(Box::new(report)),
                // The sender is ours and lives as long.
                None => std::future::pending().await,
            },
            () = timer => Woken::Due,
            code = child => Woken::Child(code),
        }
    }

    /// Ends the child, if there is one; its code counts when it ended by itself.
    async fn stop(&mut self, code: u8) -> u8 {
        self.forget();
        match self.child.take() {
            Some(mut child) => child.stop().await,
            None => code,
        }
    }

    fn hear(&mut self, heard: Heard, again: &(dyn Fn() -> Result<Settings, Error> + Sync)) {
        match heard {
            Heard::Stop(_) => {}
            Heard::Forward(signal) => {
                if let Some(child) = &self.child {
                    child.signal(signal);
                }
            }
            Heard::Reload => match again().and_then(Self::new) {
                Ok(mut fresh) => {
                    tracing::info!("configuration and templates are read again");
                    fresh.child = self.child.take();
                    *self = fresh;
                }
                Err(error) => {
                    tracing::error!(error = chain(&error), "not reloaded, what was set stays");
                }
            },
        }
    }

    /// Takes up an answer; an exit code when there will never be one.
    fn take(&mut self, report: Report) -> Option<u8> {
        let Report { query, found } = report;
        match found {
            Found::Answer(answer) => {
                self.trouble = None;
                if !self.watchers.contains_key(&query) {
                    return None;
                }
                Arc::make_mut(&mut self.answers).insert(query.clone(), answer);
                let now = Instant::now();
                for entry in &mut self.entries {
                    entry.answered(&query, now);
                }
                None
            }
            Found::Failed(error) => {
                let text = chain(&error);
                if self.trouble.as_ref() != Some(&text) {
                    tracing::warn!(error = text, %query, "no answer, asked again");
                    self.trouble = Some(text);
                }
                None
            }
            Found::GivenUp(error) => {
                let n = self.asking.attempts;
                tracing::error!(error = chain(&error), %query, attempts = n, "no answer, given up");
                Some(1)
            }
        }
    }

    /// Renders what is due, then runs what that asks for; an exit code when all is done.
    async fn turn(&mut self) -> Result<Option<u8>, Error> {
        if self.over {
            return Ok(None);
        }
        let mut commands: Vec<usize> = vec![];
        for at in 0..self.entries.len() {
            let now = Instant::now();
            let Some(entry) = self.entries.get_mut(at) else { continue };
            if !entry.quiet.take(now) {
                continue;
            }
            let view = View {
                answers: Arc::clone(&self.answers),
                keys: Arc::default(),
                env: Arc::clone(&self.env),
                now: std::time::SystemTime::now().into(),
                sandbox: entry.template.sandbox.clone(),
            };
            match entry.render(view, self.settings.dry).await {
                Ok(Written::Changed) => commands.push(at),
                Ok(Written::Same | Written::Waits) => {}
                Err(error) => {
                    self.failed = true;
                    if entry.template.error_fatal {
                        return Err(error);
                    }
                    entry.tell(&chain(&error));
                }
            }
        }
        self.watch();
        self.after(commands).await?;
        if !self.entries.iter().all(|entry| entry.settled) {
            return Ok(None);
        }
        self.tend().await?;
        if !self.settings.once {
            return Ok(None);
        }
        self.forget();
        self.over = true;
        Ok(match &self.child {
            Some(_) => None,
            None => Some(u8::from(self.failed)),
        })
    }

    /// Has the child run that the settings name: they may be others after a reload.
    async fn tend(&mut self) -> Result<(), Error> {
        let wanted = self.settings.exec.clone().filter(|_| !self.settings.dry);
        if self.child.as_ref().map(Child::exec) == wanted.as_ref() {
            return Ok(());
        }
        if let Some(mut child) = self.child.take() {
            child.stop().await;
        }
        self.child = wanted.as_ref().map(Child::start).transpose()?;
        Ok(())
    }

    /// Starts watchers for what is newly asked, ends those of what nobody asks any more.
    fn watch(&mut self) {
        let wanted: BTreeSet<&Query> = self.entries.iter().flat_map(|e| &e.used).collect();
        let gone: Vec<Query> =
            self.watchers.keys().filter(|query| !wanted.contains(query)).cloned().collect();
        let fresh: Vec<Query> = wanted
            .into_iter()
            .filter(|query| !self.watchers.contains_key(query))
            .cloned()
            .collect();
        for query in gone {
            if let Some(watcher) = self.watchers.remove(&query) {
                watcher.abort();
            }
            Arc::make_mut(&mut self.answers).remove(&query);
        }
        for query in fresh {
            if self.watchers.len() >= TEMPLATE_QUERIES_MAX {
                tracing::error!(%query, most = TEMPLATE_QUERIES_MAX, "too many questions, not asked");
                continue;
            }
            let task = watch(query.clone(), self.asking.clone(), self.reports.0.clone());
            self.watchers.insert(query, tokio::task::spawn(task).abort_handle());
        }
    }

    /// Runs the commands of what changed, equal ones once, and tells the child.
    async fn after(&mut self, changed: Vec<usize>) -> Result<(), Error> {
        let mut done: Vec<(Command, Vec<(String, String)>)> = vec![];
        for at in &changed {
            let Some(entry) = self.entries.get_mut(*at) else { continue };
            let template = entry.template.clone();
            let Some(run) = &template.command else { continue };
            let same = (run.clone(), template.command_env.clone());
            if done.contains(&same) {
                continue;
            }
            splay(template.splay).await;
            match command::run(run, &template.command_env, template.command_timeout).await {
                Ok(output) => {
                    tracing::info!(command = %run, "command run");
                    pass_on(&output);
                }
                Err(error) => {
                    self.failed = true;
                    if template.error_fatal {
                        return Err(error);
                    }
                    tracing::error!("{}", chain(&error));
                }
            }
            done.push(same);
        }
        if let (Some(child), false) = (&mut self.child, changed.is_empty()) {
            child.reload().await?;
        }
        Ok(())
    }
}
