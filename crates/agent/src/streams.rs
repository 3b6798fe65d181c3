//! Streams that the server opens to this host: logs, exec, stats, ports, build, pull, images, checks.

use crate::dataplane::DataplaneState;
use crate::images::ImageBook;
use crate::reconcile::wires::Anchor;
use crate::transfer::Giver;
use api::error::chain;
use api::link::Publication;
use api::stream::{Chunk, Duplex, PortHolder, StreamRequest};
use api::wire::StatsRow;
use bytes::Bytes;
use engine::Engine;
use engine::seen::{BuildOutput, SeenContainer};
use engine::wish::{BuildOptions, ExecRequest, LogOptions};
use futures_util::StreamExt as _;
use model::container_spec::PullPolicy;
use model::id::InstanceId;
use model::time::Timestamp;
use network::{Fabric, HostPort};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, watch};

/// Time between two tries to tell a terminal its size.
const RESIZE_AGAIN: Duration = Duration::from_millis(20);
/// Most tries.
const RESIZE_TRIES_MAX: u32 = 100;

/// What streams work with.
#[derive(Clone, Debug)]
pub(crate) struct Streams<E, F> {
    pub(crate) engine: E,
    pub(crate) fabric: F,
    /// Containers as the reconciler sees them.
    pub(crate) containers: watch::Receiver<BTreeMap<InstanceId, Arc<SeenContainer>>>,
    /// What this host should hold.
    pub(crate) publication: watch::Receiver<Option<Arc<Publication>>>,
    /// What the dataplane says.
    pub(crate) dataplane: watch::Receiver<DataplaneState>,
    /// Process ids of ours: their ports are not in anybody's way.
    pub(crate) own_pids: watch::Receiver<Vec<u32>>,
    /// What the fabric works with; `None` while it must stay as it is.
    pub(crate) anchor: watch::Receiver<Option<Anchor>>,
    /// Images that were pulled or built.
    pub(crate) images: ImageBook,
    /// Images for other hosts.
    pub(crate) giver: Giver<E>,
}

/// Sends the end of a stream; a reader that went away does not need it.
pub(crate) async fn end(tx: &mpsc::Sender<Chunk>, chunk: Chunk) {
    if tx.send(chunk).await.is_err() {
        tracing::debug!("stream ended by its reader");
    }
}

impl<E: Engine, F: Fabric> Streams<E, F> {
    /// Serves one stream to its end.
    pub(crate) async fn serve(self, request: StreamRequest, duplex: Duplex) {
        let tx = duplex.tx.clone();
        let work = async {
            match request {
                StreamRequest::Logs { instance, follow, tail, since, timestamps } => {
                    let options = LogOptions {
                        follow,
                        tail,
                        since: since.map(|s| Timestamp(s.saturating_mul(1000))),
                        timestamps,
                        ..LogOptions::default()
                    };
                    self.logs(&instance, &options, &duplex.tx).await
                }
                StreamRequest::Exec { instance, command, tty, stdin, user, workdir } => {
                    let some = |text: String| (!text.is_empty()).then_some(text);
                    let exec = ExecRequest {
                        command,
                        tty,
                        stdin,
                        environment: BTreeMap::new(),
                        user: some(user),
                        working_dir: some(workdir),
                    };
                    return self.exec(&instance, &exec, duplex).await;
                }
                StreamRequest::Stats => self.stats(&duplex.tx).await,
                StreamRequest::Ports { wanted } => self.ports(&wanted, &duplex.tx).await,
                StreamRequest::Build {
                    tag,
                    dockerfile,
                    target,
                    args,
                    labels,
                    no_cache,
                    pull,
                    network,
                    shm_size,
                    cache_from,
                } => {
                    let options = BuildOptions {
                        tag,
                        dockerfile,
                        args,
                        target,
                        labels,
                        no_cache,
                        network,
                        pull,
                        shm_size,
                        cache_from,
                    };
                    return self.build(options, duplex).await;
                }
                StreamRequest::Pull { image } => self.pull(&image, &duplex.tx).await,
                StreamRequest::ImageLook { name, id } => match self.giver.look(&name, &id).await {
                    Ok(found) => send_json(&duplex.tx, &found).await,
                    Err(why) => Err(why),
                },
                StreamRequest::ImageManifest { name, id } => {
                    match self.giver.manifest(&name, &id, &duplex.tx).await {
                        Ok(manifest) => send_json(&duplex.tx, &manifest).await,
                        Err(why) => Err(why),
                    }
                }
                StreamRequest::ImageBlob { name, id, digest, offset } => {
                    self.giver.blob(&name, &id, &digest, offset, &duplex.tx).await
                }
                StreamRequest::NetCheck { check } => return self.net_check(check, duplex).await,
                // The session hands it to who has asked.
                StreamRequest::Wanted { .. } => Err("nobody has asked for it".into()),
            }
        };
        match work.await {
            Ok(()) => end(&tx, Chunk::End).await,
            Err(why) => end(&tx, Chunk::Failed(why)).await,
        }
    }

    fn container(&self, instance: &InstanceId) -> Result<String, String> {
        self.containers
            .borrow()
            .get(instance)
            .map(|container| container.id.clone())
            .ok_or_else(|| format!("{}#{} has no container", instance.service, instance.n))
    }

    async fn logs(
        &self,
        instance: &InstanceId,
        options: &LogOptions,
        tx: &mpsc::Sender<Chunk>,
    ) -> Result<(), String> {
        let id = self.container(instance)?;
        let mut lines = self.engine.logs(&id, options).await.map_err(|e| chain(&e))?;
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = tx.closed() => return Ok(()),
            };
            let Some(line) = line else { return Ok(()) };
            let line = line.map_err(|e| chain(&e))?;
            let mut bytes = Vec::with_capacity(line.bytes.len() + 32);
            if let Some(ns) = line.time_ns {
                bytes.extend_from_slice(rfc3339(ns).as_bytes());
                bytes.push(b' ');
            }
            bytes.extend_from_slice(&line.bytes);
            bytes.push(b'\n');
            let chunk = Chunk::Out { stderr: line.stderr, bytes: bytes.into() };
            if tx.send(chunk).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn exec(
        &self,
        instance: &InstanceId,
        request: &ExecRequest,
        mut duplex: Duplex,
    ) -> Result<(), String> {
        let id = self.container(instance)?;
        let session = self.engine.exec(&id, request).await.map_err(|e| chain(&e))?;
        let mut output = session.output;
        let mut input = Some(session.input);
        let mut listening = true;
        let mut window = None;
        let mut again = tokio::time::interval(RESIZE_AGAIN);
        loop {
            tokio::select! {
                _ = again.tick(), if window.is_some() => if let Some((rows, columns, tries)) = window {
                    let resized = self.engine.exec_resize(&session.id, rows, columns).await;
                    // Docker refuses until the command has started.
                    window = resized.is_err().then_some((rows, columns, tries + 1));
                    window = window.filter(|(.., tries)| *tries < RESIZE_TRIES_MAX);
                },
                item = output.next() => match item {
                    Some(Ok(out)) => {
                        let chunk = Chunk::Out { stderr: out.stderr, bytes: out.bytes };
                        if duplex.tx.send(chunk).await.is_err() {
                            return Ok(());
                        }
                    }
                    Some(Err(error)) => return Err(chain(&error)),
                    None => break,
                },
                chunk = duplex.rx.recv(), if listening => match chunk {
                    Some(Chunk::In(bytes)) => {
                        // A command that closed its input does not want more of it.
                        if let Some(open) = &mut input
                            && (open.write_all(&bytes).await.is_err() || open.flush().await.is_err())
                        {
                            input = None;
                        }
                    }
                    Some(Chunk::InEnd) => if let Some(mut open) = input.take()
                        && let Err(error) = open.shutdown().await
                    {
                        tracing::debug!(%error, "input of the command was closed already");
                    },
                    Some(Chunk::Resize(columns, rows)) => window = Some((rows, columns, 0)),
                    Some(_) => {}
                    None => {
                        listening = false;
                        input = None;
                    }
                }
            }
        }
        let code = self.engine.exec_exit(&session.id).await.map_err(|e| chain(&e))?;
        end(&duplex.tx, Chunk::Exit(code.unwrap_or(0))).await;
        Ok(())
    }

    async fn stats(&self, tx: &mpsc::Sender<Chunk>) -> Result<(), String> {
        let containers = self.containers.borrow().clone();
        let running = containers.into_iter().filter(|(_, container)| container.running());
        let ask = |(id, container): (InstanceId, Arc<SeenContainer>)| async move {
            let instance = format!("{}#{}", id.service, id.n);
            match self.engine.stats(&container.id).await {
                Ok(stats) => StatsRow {
                    instance,
                    cpu_percent: stats.cpu_percent,
                    memory: stats.memory,
                    memory_limit: stats.memory_limit,
                    network_rx: stats.net_rx,
                    network_tx: stats.net_tx,
                    block_read: stats.block_read,
                    block_write: stats.block_write,
                    pids: stats.pids,
                    problem: String::new(),
                },
                Err(error) => StatsRow { instance, problem: chain(&error), ..StatsRow::default() },
            }
        };
        // Docker measures for a second or two each: all together, bounded.
        let rows: Vec<StatsRow> =
            futures_util::stream::iter(running).map(ask).buffer_unordered(64).collect().await;
        send_json(tx, &rows).await
    }

    async fn ports(&self, wanted: &[HostPort], tx: &mpsc::Sender<Chunk>) -> Result<(), String> {
        let holders = self.fabric.listening(wanted).await.map_err(|e| chain(&e))?;
        let own = self.own_pids.borrow().clone();
        let rows: Vec<PortHolder> = holders
            .into_iter()
            .filter(|h| h.program.as_ref().is_none_or(|program| !own.contains(&program.pid)))
            .map(|holder| PortHolder {
                transport: holder.wanted.0,
                port: holder.wanted.1,
                by: holder.to_string(),
            })
            .collect();
        send_json(tx, &rows).await
    }

    async fn build(&self, options: BuildOptions, duplex: Duplex) -> Result<(), String> {
        let Duplex { tx, rx } = duplex;
        let context = futures_util::stream::unfold(Some(rx), |rx| async {
            let mut rx = rx?;
            match rx.recv().await {
                Some(Chunk::In(bytes)) => Some((Ok::<Bytes, std::io::Error>(bytes), Some(rx))),
                Some(Chunk::InEnd) => None,
                // Half a context must not become an image.
                Some(Chunk::Failed(why)) => Some((Err(std::io::Error::other(why)), None)),
                _ => Some((Err(std::io::ErrorKind::UnexpectedEof.into()), None)),
            }
        });
        let mut output =
            self.engine.build(context.boxed(), &options).await.map_err(|e| chain(&e))?;
        while let Some(item) = output.next().await {
            match item.map_err(|e| chain(&e))? {
                BuildOutput::Line(line) => {
                    if tx.send(Chunk::Text(line)).await.is_err() {
                        return Ok(());
                    }
                }
                BuildOutput::Image(id) => {
                    self.images.built(&id, &options.tag);
                    return send_json(&tx, &id).await;
                }
            }
        }
        Err("the build ended without an image".into())
    }

    async fn pull(&self, image: &str, tx: &mpsc::Sender<Chunk>) -> Result<(), String> {
        let (progress, mut steps) = mpsc::channel(64);
        let pull = self.engine.pull(image, PullPolicy::Always, Some(progress));
        let tell = async {
            while let Some(step) = steps.recv().await {
                let text = match step.total {
                    0 => format!("{} {}", step.layer, step.status),
                    total => {
                        format!("{} {} {}/{total}", step.layer, step.status, step.current)
                    }
                };
                if tx.send(Chunk::Text(text.trim().to_owned())).await.is_err() {
                    return;
                }
            }
        };
        let (result, ()) = tokio::join!(pull, tell);
        let info = result.map_err(|e| chain(&e))?;
        self.images.used(&info.id, image);
        send_json(tx, &info.id).await
    }
}

pub(crate) async fn send_json<T: serde::Serialize>(
    tx: &mpsc::Sender<Chunk>,
    value: &T,
) -> Result<(), String> {
    let bytes = serde_json::to_vec(value).map_err(|e| e.to_string())?;
    end(tx, Chunk::Json(bytes)).await;
    Ok(())
}

/// RFC 3339 with nanoseconds, UTC.
fn rfc3339(ns: i64) -> String {
    let (secs, nanos) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
    let (days, rest) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let (year, month, day) = model::time::civil(days);
    let (h, m, s) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{nanos:09}Z")
}
