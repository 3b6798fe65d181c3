//! The fake behind the door of the crate: each call meets its fault, has its effect, and answers.

use super::fault::{FaultKind, Link, Op};
use super::world::{World, after, has_digest, image_key};
use super::{Fake, Program};
use crate::error::{Error, ImageWhy, Result};
use crate::seen::{
    BuildOutput, DiskSpace, EngineEvent, EngineInfo, ExecOutput, ExecSession, ImageInfo, LogLine,
    PlainList, PullProgress, RunState, SeenContainer, SeenImage, SeenVolume, Stats,
};
use crate::wish::{BuildOptions, CreateRequest, ExecRequest, LogOptions, NetworkWish};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use model::container_spec::PullPolicy;
use model::limits::BUILD_CONTEXT_BYTES_MAX;
use model::stack::VolumeSpec;
use model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

/// What is left to do wrong after the effect.
enum Then {
    Answer,
    Error,
    Lose,
    Hang,
}

impl Fake {
    /// One call: its fault, its effect, its answer.
    async fn call<T>(
        &self,
        op: Op,
        subject: &str,
        effect: impl FnOnce(&mut World) -> Result<T> + Send,
    ) -> Result<T> {
        let then = self.begin(op, subject).await?;
        let done = self.change(effect)?;
        self.finish(op, subject, then).await?;
        Ok(done)
    }

    async fn begin(&self, op: Op, subject: &str) -> Result<Then> {
        let (fault, begun, deadline_ms) =
            self.change(|world| (world.called(op, subject), world.uptime(), world.deadline_ms));
        let until = after(begun, deadline_ms);
        self.reach(op, subject, until, deadline_ms).await?;
        let operation = || said(op, subject);
        match fault {
            None => Ok(Then::Answer),
            Some(FaultKind::ErrorAfter) => Ok(Then::Error),
            Some(FaultKind::LostReply) => Ok(Then::Lose),
            Some(FaultKind::HangAfter) => Ok(Then::Hang),
            Some(FaultKind::ErrorBefore) => Err(refused(operation())),
            Some(FaultKind::LostRequest) => Err(lost(operation())),
            Some(FaultKind::Hang) => {
                self.wait_for(until).await;
                Err(Error::Timeout { operation: operation(), after_ms: deadline_ms })
            }
            Some(FaultKind::Slow { ms }) => {
                self.wait_for(after(begun, ms)).await;
                if self.world().link == Link::Down {
                    return Err(lost(operation()));
                }
                Ok(Then::Answer)
            }
        }
    }

    /// Gets through to the engine, or not.
    async fn reach(&self, op: Op, subject: &str, until: i64, deadline_ms: u64) -> Result<()> {
        let link = self.world().link;
        match link {
            Link::Up => return Ok(()),
            Link::Down => return Err(Self::unreachable()),
            Link::Hung => {}
        }
        let _waiting = Waiting::new(self, until);
        let link = self
            .until(|world| match world.link {
                Link::Hung if world.uptime() < until => None,
                link => Some(link),
            })
            .await;
        match link {
            Link::Up => Ok(()),
            Link::Down => Err(lost(said(op, subject))),
            Link::Hung => {
                Err(Error::Timeout { operation: said(op, subject), after_ms: deadline_ms })
            }
        }
    }

    async fn finish(&self, op: Op, subject: &str, then: Then) -> Result<()> {
        match then {
            Then::Answer => Ok(()),
            Then::Error => Err(refused(said(op, subject))),
            Then::Lose => Err(lost(said(op, subject))),
            Then::Hang => {
                let (now, deadline_ms) = {
                    let world = self.world();
                    (world.uptime(), world.deadline_ms)
                };
                self.wait_for(after(now, deadline_ms)).await;
                Err(Error::Timeout { operation: said(op, subject), after_ms: deadline_ms })
            }
        }
    }

    async fn wait_for(&self, moment: i64) {
        let _waiting = Waiting::new(self, moment);
        self.until(|world| (world.uptime() >= moment).then_some(())).await;
    }
}

/// A call that waits for a moment: `next_due` counts it while it lives.
struct Waiting<'a> {
    fake: &'a Fake,
    moment: i64,
}

impl<'a> Waiting<'a> {
    fn new(fake: &'a Fake, moment: i64) -> Self {
        fake.change(|world| *world.waits.entry(moment).or_default() += 1);
        Self { fake, moment }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut world = self.fake.world();
        if let Some(count) = world.waits.get_mut(&self.moment) {
            *count -= 1;
            if *count == 0 {
                world.waits.remove(&self.moment);
            }
        }
    }
}

fn said(op: Op, subject: &str) -> String {
    format!("{op:?} {subject}")
}

fn refused(operation: String) -> Error {
    Error::Docker { operation, status: 500, message: "a fault was asked for".into() }
}

fn lost(operation: String) -> Error {
    Error::Lost { operation, source: "a fault was asked for".into() }
}

impl crate::Engine for Fake {
    async fn info(&self) -> Result<EngineInfo> {
        self.call(Op::Info, "", |_| {
            Ok(EngineInfo {
                id: "FAKE".into(),
                version: "20.10.0".into(),
                api_version: "1.41".into(),
                storage_driver: "memory".into(),
                cpus: 2,
                memory: 1 << 32,
                root_dir: "/nowhere".into(),
                architecture: "x86_64".into(),
                ..EngineInfo::default()
            })
        })
        .await
    }

    async fn ping(&self) -> Result<()> {
        self.call(Op::Ping, "", |_| Ok(())).await
    }

    async fn list(&self, owner: &str) -> Result<Vec<SeenContainer>> {
        self.call(Op::List, owner, |world| Ok(world.list(owner))).await
    }

    async fn inspect(&self, id: &str) -> Result<Option<SeenContainer>> {
        self.call(Op::Inspect, id, |world| Ok(world.find(id).map(|found| found.seen.clone()))).await
    }

    async fn list_plain(&self) -> Result<PlainList> {
        self.call(Op::ListPlain, "", |world| Ok(world.list_plain())).await
    }

    async fn connect(&self, id: &str, network: &str, address: Ipv4Addr) -> Result<()> {
        self.call(Op::Connect, id, |world| world.connect(id, network, address)).await
    }

    async fn disconnect(&self, id: &str, network: &str) -> Result<()> {
        self.call(Op::Disconnect, id, |world| {
            world.disconnect(id, network);
            Ok(())
        })
        .await
    }

    async fn ensure_network(&self, wish: &NetworkWish) -> Result<()> {
        self.call(Op::EnsureNetwork, &wish.name, |world| world.ensure_network(wish)).await
    }

    async fn remove_network(&self, name: &str, owner: &str) -> Result<()> {
        self.call(Op::RemoveNetwork, name, |world| world.remove_network(name, owner)).await
    }

    async fn ensure_volume(
        &self,
        name: &str,
        spec: &VolumeSpec,
        labels: &BTreeMap<String, String>,
    ) -> Result<()> {
        self.call(Op::EnsureVolume, name, |world| world.ensure_volume(name, spec, labels)).await
    }

    async fn list_volumes(&self, owner: &str) -> Result<Vec<SeenVolume>> {
        self.call(Op::ListVolumes, owner, |world| Ok(world.volumes_of(owner))).await
    }

    async fn pull(
        &self,
        image: &str,
        policy: PullPolicy,
        progress: Option<mpsc::Sender<PullProgress>>,
    ) -> Result<ImageInfo> {
        let key = image_key(image)?;
        let then = self.begin(Op::Pull, image).await?;
        let missing = |why| Error::ImageMissing { image: image.to_owned(), why };
        let (here, remote, now) = {
            let world = self.world();
            let by_digest = || {
                let mut all = world.remote.values();
                all.find(|it| it.image.as_ref().is_ok_and(|found| has_digest(found, image)))
            };
            let remote = world.remote.get(&key).or_else(by_digest).cloned();
            (world.image(image)?.cloned(), remote, world.uptime())
        };
        if let (true, Some(here)) = (policy != PullPolicy::Always, here) {
            self.finish(Op::Pull, image, then).await?;
            return Ok(here.info);
        }
        if policy == PullPolicy::Never {
            return Err(missing(ImageWhy::NotHere));
        }
        let Some(remote) = remote else {
            return Err(missing(ImageWhy::NotFound("manifest unknown".into())));
        };
        let found = remote.image.map_err(missing)?;
        if let Some(progress) = progress {
            let step = PullProgress {
                layer: "layer".into(),
                current: found.info.size,
                total: found.info.size,
                status: "Downloading".into(),
            };
            if progress.try_send(step).is_err() {
                tracing::trace!(%image, "pull progress not taken");
            }
        }
        self.wait_for(after(now, remote.pull_ms)).await;
        let info = found.info.clone();
        // What is pulled by its digest gets no name.
        let key = if image.contains('@') { info.id.clone() } else { key };
        self.change(|world| world.name_image(key, found));
        self.finish(Op::Pull, image, then).await?;
        Ok(info)
    }

    async fn image(&self, name: &str) -> Result<Option<ImageInfo>> {
        self.call(Op::Image, name, |world| Ok(world.image(name)?.map(|i| i.info.clone()))).await
    }

    async fn tag_image(&self, image: &str, name: &str) -> Result<()> {
        let (from, to) = (image_key(image)?, image_key(name)?);
        self.call(Op::TagImage, image, |world| match world.images.get(&from).cloned() {
            Some(found) => {
                world.name_image(to, found);
                Ok(())
            }
            None => Err(Error::NotFound {
                operation: format!("tag image {image} as {name}"),
                message: format!("No such image: {image}"),
            }),
        })
        .await
    }

    async fn remove_image(&self, name: &str) -> Result<()> {
        let key = image_key(name)?;
        self.call(Op::RemoveImage, name, |world| world.remove_image(&key)).await
    }

    async fn save_image(&self, id: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        let key = image_key(id)?;
        let archive = self.call(Op::SaveImage, id, |world| world.save_image(&key, id)).await?;
        let pieces: Vec<Result<Bytes>> =
            archive.chunks(4_096).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok(stream::iter(pieces).boxed())
    }

    async fn load_image(
        &self,
        mut archive: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<()> {
        let mut all = vec![];
        while let Some(piece) = archive.next().await {
            let piece = piece.map_err(|source| Error::Lost {
                operation: "take in an image".into(),
                source: source.into(),
            })?;
            all.extend_from_slice(&piece);
        }
        self.call(Op::LoadImage, "", |world| world.load_image(&all)).await
    }

    async fn images(&self) -> Result<Vec<SeenImage>> {
        self.call(Op::Images, "", |world| Ok(world.list_images())).await
    }

    async fn images_in_use(&self) -> Result<BTreeSet<String>> {
        self.call(Op::ImagesInUse, "", |world| {
            Ok(world.containers.values().map(|one| one.seen.image_id.clone()).collect())
        })
        .await
    }

    async fn disk(&self) -> Result<DiskSpace> {
        self.call(Op::Disk, "", |world| Ok(world.disk)).await
    }

    async fn create(&self, request: &CreateRequest) -> Result<String> {
        self.call(Op::Create, &request.name, |world| world.create(request)).await
    }

    async fn start(&self, id: &str) -> Result<()> {
        self.call(Op::Start, id, |world| world.start(id)).await
    }

    async fn stop(&self, id: &str, grace_ms: u64) -> Result<()> {
        let then = self.begin(Op::Stop, id).await?;
        // Docker counts in seconds, and so does its fake.
        let grace_ms = grace_ms.div_ceil(1_000).saturating_mul(1_000);
        let due = self.change(|world| {
            world.begin_stop(id, grace_ms);
            world.find(id).and_then(|found| found.seen.running().then_some(found.ends()))
        });
        if let Some(due) = due.flatten() {
            let _waiting = Waiting::new(self, due);
            self.until(|world| match world.find(id) {
                Some(found) if found.seen.running() => None,
                _ => Some(()),
            })
            .await;
        }
        self.finish(Op::Stop, id, then).await
    }

    async fn kill(&self, id: &str, signal: &str) -> Result<()> {
        self.call(Op::Kill, id, |world| {
            world.kill(id, signal);
            Ok(())
        })
        .await
    }

    async fn remove(&self, id: &str) -> Result<()> {
        self.call(Op::Remove, id, |world| {
            world.remove(id);
            Ok(())
        })
        .await
    }

    async fn events(
        &self,
        since: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        let (life, next) = self
            .call(Op::Events, "", |world| {
                let old = |event: &EngineEvent| since.is_none_or(|since| event.time() < since);
                let passed = world.events.iter().take_while(|event| old(event)).count();
                Ok((world.life, world.events_dropped + passed))
            })
            .await?;
        let state = (self.clone(), life, next);
        Ok(stream::unfold(state, |(fake, life, next)| async move {
            let event = fake
                .until(|world| {
                    let at = next.saturating_sub(world.events_dropped);
                    match world.events.get(at) {
                        _ if world.life != life => Some(None),
                        Some(event) if world.link == Link::Up => Some(Some(event.clone())),
                        _ => None,
                    }
                })
                .await?;
            Some((Ok(event), (fake, life, next + 1)))
        })
        .boxed())
    }

    async fn logs(
        &self,
        id: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        let first = self
            .call(Op::Logs, id, |world| match world.find(id) {
                Some(found) => {
                    let tail = options.tail.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
                    Ok(tail.map_or(0, |n| found.output.len().saturating_sub(n)))
                }
                None => Err(Error::NotFound {
                    operation: format!("read the log of container {id}"),
                    message: format!("no container {id}"),
                }),
            })
            .await?;
        let state = (self.clone(), id.to_owned(), options.clone(), first);
        Ok(stream::unfold(state, |(fake, id, options, mut next)| async move {
            let line = fake
                .until(|world| {
                    loop {
                        let Some(found) = world.find(&id) else { return Some(None) };
                        let Some((time, stderr, text)) = found.output.get(next) else {
                            let more = options.follow && found.seen.running();
                            return if more { None } else { Some(None) };
                        };
                        next += 1;
                        if let Some(line) = line_of(&options, *time, *stderr, text) {
                            return Some(Some(line));
                        }
                    }
                })
                .await?;
            Some((Ok(line), (fake, id, options, next)))
        })
        .boxed())
    }

    async fn exec(&self, id: &str, request: &ExecRequest) -> Result<ExecSession> {
        let program = Program::of_command(&request.command);
        let reads = request.stdin && request.command.first().is_some_and(|word| word == "cat");
        let exec = self
            .call(Op::Exec, id, |world| {
                let operation = format!("run a command in container {id}");
                match world.find(id).map(|found| found.seen.state) {
                    Some(RunState::Running) => {
                        let exec = world.new_id("e");
                        let exit = (!reads).then_some(program.exit_code);
                        world.execs.insert(exec.clone(), exit);
                        Ok(exec)
                    }
                    Some(_) => Err(Error::Docker {
                        operation,
                        status: 409,
                        message: format!("Container {id} is not running"),
                    }),
                    None => {
                        Err(Error::NotFound { operation, message: format!("no container {id}") })
                    }
                }
            })
            .await?;
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let output = if reads {
            echo(self.clone(), exec.clone(), theirs)
        } else {
            let line = |(stderr, text): (bool, String)| {
                Ok(ExecOutput { stderr, bytes: Bytes::from(format!("{text}\n")) })
            };
            stream::iter(program.output.into_iter().map(line)).boxed()
        };
        Ok(ExecSession { id: exec, input: Box::pin(ours), output })
    }

    async fn exec_resize(&self, exec_id: &str, _rows: u16, _columns: u16) -> Result<()> {
        self.exec_exit(exec_id).await.map(|_exit| ())
    }

    async fn exec_exit(&self, exec_id: &str) -> Result<Option<i64>> {
        self.call(Op::ExecControl, exec_id, |world| {
            world.execs.get(exec_id).copied().ok_or_else(|| Error::NotFound {
                operation: "inspect a command".into(),
                message: format!("No such exec instance: {exec_id}"),
            })
        })
        .await
    }

    async fn stats(&self, id: &str) -> Result<Stats> {
        self.call(Op::Stats, id, |world| match world.find(id) {
            Some(found) if found.seen.running() => {
                Ok(Stats { memory: 1 << 20, memory_limit: 1 << 30, pids: 1, ..Stats::default() })
            }
            Some(_) => Ok(Stats::default()),
            None => Err(Error::NotFound {
                operation: format!("measure container {id}"),
                message: format!("no container {id}"),
            }),
        })
        .await
    }

    /// Takes the context for text: a step `RUN false` in it fails, anything else is built.
    async fn build(
        &self,
        mut context: BoxStream<'static, std::io::Result<Bytes>>,
        options: &BuildOptions,
    ) -> Result<BoxStream<'static, Result<BuildOutput>>> {
        let mut text = vec![];
        while let Some(chunk) = context.next().await {
            let chunk = chunk.map_err(|source| Error::Lost {
                operation: format!("build image {}", options.tag),
                source: source.into(),
            })?;
            text.extend_from_slice(&chunk);
            if text.len() as u64 > BUILD_CONTEXT_BYTES_MAX {
                break;
            }
        }
        let fails = String::from_utf8_lossy(&text).contains("RUN false");
        let key = image_key(&options.tag)?;
        let output = self
            .call(Op::Build, &options.tag, |world| {
                let mut output = vec![Ok(BuildOutput::Line("Step 1/2 : FROM scratch".into()))];
                if fails {
                    output.push(Ok(BuildOutput::Line("Step 2/2 : RUN false".into())));
                    output.push(Err(Error::Build {
                        step: "step 2/2: RUN false".into(),
                        message: "The command '/bin/sh -c false' returned a non-zero code: 1"
                            .into(),
                    }));
                    return Ok(output);
                }
                let mut image = world.new_image(&key, None);
                image.info.digests.clear();
                output.push(Ok(BuildOutput::Image(image.info.id.clone())));
                world.name_image(key, image);
                Ok(output)
            })
            .await?;
        Ok(stream::iter(output).boxed())
    }
}

fn line_of(options: &LogOptions, time: i64, stderr: bool, text: &str) -> Option<LogLine> {
    let wanted = if stderr { options.stderr } else { options.stdout };
    let early = options.since.is_some_and(|since| time < since.0);
    let late = options.until.is_some_and(|until| time > until.0);
    (wanted && !early && !late).then(|| LogLine {
        stderr,
        time_ns: options.timestamps.then(|| time.saturating_mul(1_000_000)),
        bytes: Bytes::copy_from_slice(text.as_bytes()),
    })
}

/// `cat`: gives back what it is given until its input ends.
fn echo(
    fake: Fake,
    exec: String,
    input: tokio::io::DuplexStream,
) -> BoxStream<'static, Result<ExecOutput>> {
    stream::unfold((fake, exec, input), |(fake, exec, mut input)| async move {
        let mut buffer = vec![0; 4_096];
        match input.read(&mut buffer).await {
            Ok(size) if size > 0 => {
                buffer.truncate(size);
                let piece = ExecOutput { stderr: false, bytes: buffer.into() };
                Some((Ok(piece), (fake, exec, input)))
            }
            _ => {
                fake.change(|world| world.execs.insert(exec, Some(0)));
                None
            }
        }
    })
    .boxed()
}
