//! `Fake`: an engine in memory, for `sim` and for tests. Deterministic: ids are counted, and time
//! moves only by `advance`, or with a clock and `drive`. It lies on command: see `Fault` and `Link`.

mod engine;
mod fault;
mod images;
mod archive;
mod plain;
mod program;
mod world;

pub use fault::{Fault, FaultKind, Link, Op};
pub use program::Program;

use crate::error::{Error, ImageWhy, Result};
use crate::fit::SeenNetwork;
use crate::seen::{DiskSpace, EngineEvent, SeenContainer};
use ipnet::Ipv4Net;
use model::health::Health;
use model::limits::ENGINE_CALL_MS_MAX;
use model::time::{Clock, Timestamp};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use world::{Remote, World, after, image_key};

/// The fake engine. Clones are the same engine. Its methods, other than those of `Engine`, are the
/// strings it hangs on.
#[derive(Clone)]
pub struct Fake {
    shared: Arc<Shared>,
}

struct Shared {
    /// Guards the world; never held across an await.
    world: Mutex<World>,
    /// The world changed so that waiting calls must look again, in the order of their waits.
    changed: Notify,
    /// Something is due earlier than it was.
    earlier: Notify,
    clock: Option<Clock>,
}

/// What is seen of the fake as it happens.
#[derive(Debug)]
pub enum Tap<'a> {
    /// A call came in; with the container that it is about, when there is one.
    Call(Op, &'a str, Option<&'a SeenContainer>),
    /// Something happened to a container.
    Event(&'a EngineEvent),
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fake").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Fake {
    /// An empty engine at a moment.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let mut world = World::default();
        world.now = now.0;
        Self::of(world, None)
    }

    /// An empty engine whose time is that of a clock, as long as `drive` runs.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        let mut world = World::default();
        world.now = clock.now().0;
        Self::of(world, Some(clock))
    }

    fn of(mut world: World, clock: Option<Clock>) -> Self {
        world.deadline_ms = ENGINE_CALL_MS_MAX;
        world.disk = DiskSpace { total: 1 << 40, free: 1 << 39 };
        let (changed, earlier) = (Notify::new(), Notify::new());
        Self { shared: Arc::new(Shared { world: Mutex::new(world), changed, earlier, clock }) }
    }

    /// Lets everything happen that is due by the clock, for ever.
    pub async fn drive(self) {
        let Some(clock) = self.shared.clock.clone() else { return };
        loop {
            // Every change takes in the time; what is next is known after it.
            self.change(|_| ());
            let due = self.next_due();
            let wait = due.map_or(Duration::from_secs(3_600), |at| {
                Duration::from_millis(at.since_ms(clock.now()).max(1))
            });
            tokio::select! {
                biased;
                () = self.shared.earlier.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Calls `tap` for everything that happens from now on, instead of keeping `calls`. It must not
    /// call the fake.
    pub fn tap(&self, tap: impl Fn(&Tap<'_>) + Send + 'static) {
        self.world().tap = Some(Box::new(tap));
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the world and lets waiting calls look again.
    fn change<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        let (done, look, earlier) = {
            let mut world = self.world();
            let before = world.mark();
            if let Some(clock) = &self.shared.clock {
                let now = clock.now().0;
                world.advance_to(now);
            }
            let done = work(&mut world);
            let look = world.mark() != before || world.has_due_waits();
            (done, look, world.arm())
        };
        if look {
            self.shared.changed.notify_waiters();
        }
        if earlier {
            self.shared.earlier.notify_one();
        }
        done
    }

    /// Waits until `look` finds something.
    async fn until<T>(&self, mut look: impl FnMut(&mut World) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.world()) {
                return found;
            }
            changed.await;
        }
    }

    /// The fake's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.world().now)
    }

    /// Lets time pass; all that is due happens in its order.
    pub fn advance(&self, ms: u64) {
        self.change(|world| world.advance_to(after(world.now, ms)));
    }

    /// Lets time pass to a moment; an earlier one changes nothing.
    pub fn advance_to(&self, time: Timestamp) {
        self.change(|world| world.advance_to(time.0));
    }

    /// The machine's clock was set by so many milliseconds: what is under way takes as long as it
    /// would have.
    pub fn set_clock_by(&self, ms: i64) {
        self.world().set_clock_by(ms);
        self.shared.changed.notify_waiters();
        self.shared.earlier.notify_one();
    }

    /// The next moment at which a process ends, a health check tells something, or a waiting call
    /// goes on.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.world().next_due().map(Timestamp)
    }

    /// Adds a fault. The first one that fits a call strikes it.
    pub fn fault(&self, fault: Fault) {
        self.change(|world| world.faults.push(fault));
    }

    /// Takes all faults away, and gives how many there were.
    pub fn heal(&self) -> usize {
        self.change(|world| std::mem::take(&mut world.faults).len())
    }

    /// Takes the engine down, hangs it, or brings it back. Containers go on.
    pub fn set_link(&self, link: Link) {
        self.change(|world| {
            if link == Link::Down && world.link != Link::Down {
                world.life += 1;
            }
            world.link = link;
        });
    }

    /// The machine is switched off and on: every process has ended, the engine answers.
    pub fn reboot(&self) {
        self.change(|world| {
            let ids: Vec<String> = world.containers.keys().cloned().collect();
            for id in ids {
                world.end(&id, 255, false);
            }
            world.life += 1;
            world.link = Link::Up;
        });
    }

    /// How long a hung call takes to time out, in milliseconds.
    pub fn set_deadline(&self, ms: u64) {
        self.change(|world| world.deadline_ms = ms);
    }

    /// Puts an image on this host. `None` lets a container do what its command says, as far as the
    /// fake knows it (`true`, `false`, `echo`, `sleep`, `sh -c "exit N"`), else run for ever.
    ///
    /// # Errors
    /// When `name` is no image reference.
    pub fn add_image(&self, name: &str, program: Option<Program>) -> Result<()> {
        let key = image_key(name)?;
        self.change(|world| {
            let image = world.new_image(&key, program);
            world.name_image(key, image);
        });
        Ok(())
    }

    /// The room on the disk of images; removing one makes none.
    pub fn set_disk(&self, disk: DiskSpace) {
        self.change(|world| world.disk = disk);
    }

    /// Puts an image in its registry: it can be pulled, which takes a while.
    ///
    /// # Errors
    /// When `name` is no image reference.
    pub fn add_remote(&self, name: &str, program: Option<Program>, pull_ms: u64) -> Result<()> {
        let key = image_key(name)?;
        self.change(|world| {
            let image = Ok(world.new_image(&key, program));
            world.remote.insert(key, Remote { image, pull_ms });
        });
        Ok(())
    }

    /// Makes the registry refuse an image. One that was never named is not found.
    ///
    /// # Errors
    /// When `name` is no image reference.
    pub fn refuse_remote(&self, name: &str, why: ImageWhy) -> Result<()> {
        let key = image_key(name)?;
        self.change(|world| world.remote.insert(key, Remote { image: Err(why), pull_ms: 0 }));
        Ok(())
    }

    /// A network of somebody else.
    pub fn add_foreign_network(&self, name: &str, subnet: Ipv4Net) {
        self.change(|world| {
            let id = world.new_id("n");
            let network =
                SeenNetwork { id, name: name.to_owned(), owner: None, subnets: vec![subnet] };
            world.networks.insert(name.to_owned(), network);
        });
    }

    /// The process of a container ends by itself.
    pub fn exit(&self, id: &str, code: i64) {
        self.change(|world| {
            if let Some(id) = world.find(id).map(|found| found.seen.id.clone()) {
                world.end(&id, code, false);
            }
        });
    }

    /// The HEALTHCHECK of a container has a verdict.
    pub fn set_health(&self, id: &str, health: Health) {
        self.change(|world| {
            if let Some(id) = world.find(id).map(|found| found.seen.id.clone()) {
                world.verdict(&id, health);
            }
        });
    }

    /// Somebody else removes a container.
    pub fn remove_behind(&self, id: &str) {
        self.change(|world| world.remove(id));
    }

    /// All containers as they are, whoever owns them, without a call.
    #[must_use]
    pub fn containers(&self) -> Vec<SeenContainer> {
        self.world().containers.values().map(|c| c.seen.clone()).collect()
    }

    /// Names of all networks.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        self.world().networks.keys().cloned().collect()
    }

    /// The calls so far, each with what it was about.
    #[must_use]
    pub fn calls(&self) -> Vec<(Op, String)> {
        self.world().calls.clone()
    }

    fn unreachable() -> Error {
        Error::Unreachable { socket: PathBuf::from("/fake.sock"), source: "it is down".into() }
    }
}
