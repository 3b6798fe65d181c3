//! Files that this host renders for its containers: what they are made from is asked of the Consul
//! API of this host, they are written whole into folders that the containers have mounted, and a
//! container is told when one of its files changed. One task; the reconciler wishes and is told.
//! It never starts, stops or makes a container.

mod place;
mod tell;

pub(crate) use place::{mounts, remove};

use engine::Engine;
use model::container_spec::ContainerSpec;
use model::id::InstanceId;
use model::limits::TEMPLATE_TELLS_MAX;
use model::time::{Clock, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use template::follow::{Follower, Outcome, Plan};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The folder of rendered files in the agent's.
pub(crate) const FOLDER: &str = "rendered";

/// A container that is to have rendered files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Docker's name of it.
    pub(crate) name: String,
    /// What it is made from.
    pub(crate) spec: Arc<ContainerSpec>,
    /// What templates are told of it besides its environment.
    pub(crate) facts: BTreeMap<String, String>,
    /// Docker's id and the start of its run.
    pub(crate) running: Option<(String, Timestamp)>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// By instance.
    pub(crate) all: BTreeMap<InstanceId, Wanted>,
    /// Docker's names of all containers that are wished or there: the folders of others may go.
    /// `None` while that is not known.
    pub(crate) kept: Option<BTreeSet<String>>,
}

/// How the files of one are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// Why it may not start: a file is missing.
    pub(crate) waits: Option<String>,
    /// What is wrong and keeps it from nothing; empty for nothing.
    pub(crate) remark: String,
}

/// All of them.
pub(crate) type Told = BTreeMap<InstanceId, Rendered>;

/// The reconciler's side.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) dir: PathBuf,
    pub(crate) wish: watch::Sender<Wish>,
    pub(crate) told: watch::Receiver<Told>,
}

/// The task.
pub(crate) struct Renderer<E> {
    dir: PathBuf,
    engine: E,
    clock: Clock,
    wish: watch::Receiver<Wish>,
    told: watch::Sender<Told>,
    follower: Result<Follower<(InstanceId, usize)>, String>,
    jobs: BTreeMap<InstanceId, Job>,
    tells: JoinSet<tell::Done>,
    /// Which folders were kept when others were last looked for.
    swept: Option<BTreeSet<String>>,
}

/// One container.
struct Job {
    wanted: Wanted,
    files: Vec<File>,
    memo: tell::Memo,
}

/// One of its files.
#[derive(Default)]
struct File {
    here: bool,
    /// What it waits for, or why it is not there or stays as it was.
    waits: String,
    problem: String,
}

/// Both sides. `consul` is the Consul API of this host.
pub(crate) fn sides<E: Engine>(
    dir: PathBuf,
    engine: E,
    clock: Clock,
    consul: Option<SocketAddr>,
) -> (Renderer<E>, Desk) {
    let (wish, wished) = watch::channel(Wish::default());
    let (told, heard) = watch::channel(Told::new());
    let follower = match consul.filter(|address| address.port() != 0) {
        Some(address) => Follower::new(&address.to_string()).map_err(|e| e.to_string()),
        None => Err("templates ask the Consul API of this host, which is off \
                     (--consul-listen, REMUDA_CONSUL_LISTEN)"
            .to_owned()),
    };
    let desk = Desk { dir: dir.clone(), wish, told: heard };
    let (jobs, tells) = (BTreeMap::new(), JoinSet::new());
    let swept = None;
    (Renderer { dir, engine, clock, wish: wished, told, follower, jobs, tells, swept }, desk)
}

impl<E: Engine> Renderer<E> {
    /// Works until nobody wishes any more.
    pub(crate) async fn run(mut self) {
        loop {
            self.settle().await;
            self.render().await;
            let wake = self.tell();
            self.publish();
            let pause = wake.map(|at| Duration::from_millis(at.since_ms(self.clock.now()).max(1)));
            let timer = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            let due = async {
                match &mut self.follower {
                    Ok(follower) => follower.woken().await,
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = self.wish.changed() => if changed.is_err() { return },
                Some(done) = self.tells.join_next() => self.was_told(done).await,
                () = due => {}
                () = timer => {}
            }
        }
    }

    /// Follows what is newly wished, and lets go of what is no longer.
    async fn settle(&mut self) {
        let Wish { all: wish, kept } = self.wish.borrow_and_update().clone();
        let keeps = |id: &InstanceId, job: &Job| {
            let wanted = wish.get(id);
            wanted.is_some_and(|w| w.name == job.wanted.name && w.spec == job.wanted.spec)
        };
        let gone: Vec<InstanceId> = self
            .jobs
            .iter()
            .filter(|(id, job)| !keeps(id, job))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            let files = self.jobs.remove(&id).map_or(0, |job| job.files.len());
            if let Ok(follower) = &mut self.follower {
                (0..files).for_each(|n| follower.remove(&(id.clone(), n)));
            }
        }
        for (id, wanted) in wish {
            let known = self.jobs.get_mut(&id);
            if known.as_ref().is_none_or(|job| job.wanted.facts != wanted.facts)
                && let Ok(follower) = &mut self.follower
            {
                follow(follower, &id, &wanted);
            }
            if let Some(job) = known {
                job.wanted = wanted;
                continue;
            }
            let job = self.open(wanted).await;
            self.jobs.insert(id, job);
        }
        if let Some(kept) = kept.filter(|kept| self.swept.as_ref() != Some(kept)) {
            self.sweep(kept).await;
        }
    }

    /// Takes away the folders of containers that are neither wished nor there: they may hold values
    /// of keys.
    async fn sweep(&mut self, kept: BTreeSet<String>) {
        self.swept = Some(kept.clone());
        let dir = self.dir.clone();
        let swept = tokio::task::spawn_blocking(move || place::sweep(&dir, &kept)).await;
        for result in swept.unwrap_or_default() {
            match result {
                Ok(name) => tracing::info!(container = name, "rendered files removed"),
                Err(error) => {
                    tracing::warn!(error, "rendered files not removed");
                }
            }
        }
    }

    /// What an earlier run of the agent left: files, and whether the container was told of them.
    async fn open(&self, wanted: Wanted) -> Job {
        let (dir, name, spec) = (self.dir.clone(), wanted.name.clone(), Arc::clone(&wanted.spec));
        let found = tokio::task::spawn_blocking(move || place::found(&dir, &name, &spec)).await;
        let (here, untold) = found.unwrap_or_default();
        let files = (0..wanted.spec.templates.len()).map(|n| File {
            here: here.contains(&n),
            waits: "its files are rendered".into(),
            problem: String::new(),
        });
        let tells = wanted.spec.templates.iter().filter_map(|one| one.tell.clone());
        let memo = untold.map_or_else(tell::Memo::default, |at| tell::Memo::of(tells, at));
        Job { files: files.collect(), memo, wanted }
    }

    async fn render(&mut self) {
        let Ok(follower) = &mut self.follower else { return };
        for ((id, n), outcome) in follower.make().await {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let Some(file) = job.files.get_mut(n) else { continue };
            match outcome {
                Outcome::Waits(why) => file.waits = why,
                Outcome::Failed(why) => {
                    if file.problem != why {
                        tracing::warn!(instance = %id, error = why, "file not rendered");
                    }
                    file.problem = why;
                }
                Outcome::Text(text) => {
                    let (dir, name) = (self.dir.clone(), job.wanted.name.clone());
                    let spec = Arc::clone(&job.wanted.spec);
                    let put = move || place::put(&dir, &name, &spec, n, &text);
                    let put = tokio::task::spawn_blocking(put).await;
                    match put.unwrap_or_else(|error| Err(error.to_string())) {
                        Ok(changed) => {
                            (file.here, file.problem) = (true, String::new());
                            if let Some(target) = changed {
                                tracing::info!(instance = %id, path = target, "file rendered");
                                let tell = job.wanted.spec.templates.get(n);
                                let tell = tell.and_then(|one| one.tell.clone());
                                job.memo.changed(tell, self.clock.now());
                            }
                        }
                        Err(why) => {
                            tracing::warn!(instance = %id, error = why, "file not written");
                            file.problem = why;
                        }
                    }
                }
            }
        }
    }

    /// Begins to tell containers that are to be told; gives when the next one is due.
    fn tell(&mut self) -> Option<Timestamp> {
        let now = self.clock.now();
        let mut wake: Option<Timestamp> = None;
        for (id, job) in &mut self.jobs {
            let running = job.wanted.running.as_ref();
            match tell::next(&job.memo, running.map(|(_, at)| *at), now) {
                tell::Next::Nothing => {}
                tell::Next::At(at) => wake = Some(wake.map_or(at, |known| known.min(at))),
                tell::Next::Read | tell::Next::Now if self.tells.len() >= TEMPLATE_TELLS_MAX => {}
                next => {
                    let told = match (next, running) {
                        (tell::Next::Now, Some((container, _))) => Some(container.clone()),
                        _ => None,
                    };
                    let work = job.memo.begin(id.clone(), told);
                    self.tells.spawn(work.carry_out(self.engine.clone()));
                }
            }
        }
        wake
    }

    async fn was_told(&mut self, done: Result<tell::Done, tokio::task::JoinError>) {
        let Ok(done) = done else {
            self.jobs.values_mut().for_each(|job| job.memo.again());
            return;
        };
        let Some(job) = self.jobs.get_mut(&done.instance) else { return };
        for error in done.failures() {
            tracing::warn!(instance = %done.instance, error, "container not told");
        }
        job.memo.note(&done, self.clock.now());
        if job.memo.is_told() {
            let (dir, name) = (self.dir.clone(), job.wanted.name.clone());
            let cleared = tokio::task::spawn_blocking(move || place::told(&dir, &name)).await;
            if let Ok(Err(error)) = cleared {
                tracing::warn!(%error, "a container may be told of its files once more");
            }
        }
    }

    fn publish(&self) {
        let off = self.follower.as_ref().err();
        let told: Told =
            self.jobs.iter().map(|(id, job)| (id.clone(), job.rendered(off))).collect();
        self.told.send_if_modified(|known| {
            let news = *known != told;
            if news {
                *known = told;
            }
            news
        });
    }
}

/// Follows the templates of one, in place of those that it had.
fn follow(follower: &mut Follower<(InstanceId, usize)>, id: &InstanceId, wanted: &Wanted) {
    let mut env = wanted.spec.environment.clone();
    env.extend(wanted.facts.clone());
    let env = Arc::new(env);
    for (n, one) in wanted.spec.templates.iter().enumerate() {
        let plan = Plan {
            name: one.name.clone(),
            text: one.text.clone(),
            delimiters: one.delimiters.clone(),
            env: Arc::clone(&env),
            wait_ms: (one.wait_ms, one.wait_max_ms),
        };
        follower.put((id.clone(), n), plan);
    }
}

impl Job {
    fn rendered(&self, off: Option<&String>) -> Rendered {
        let missing = self.files.iter().find(|file| !file.here);
        let waits = missing.map(|file| match (off, file.problem.is_empty()) {
            (Some(off), _) => off.clone(),
            (None, true) => file.waits.clone(),
            (None, false) => file.problem.clone(),
        });
        let problems = self.files.iter().map(|file| &file.problem).chain([&self.memo.problem]);
        let first = off.into_iter().chain(problems).find(|problem| !problem.is_empty());
        Rendered { waits, remark: first.cloned().unwrap_or_default() }
    }
}

#[cfg(test)]
#[path = "render/tests.rs"]
mod tests;
