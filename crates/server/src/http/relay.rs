//! Logs, exec, stats, build and pull: streams to the host that holds the thing, spliced.

use super::extract::Query;
use crate::hosts::Hosts;
use crate::state::Shared;
use api::error::ErrorInfo;
use api::routes;
use api::stream::{Chunk, Duplex, StreamRequest};
use api::wire::{
    BuildQuery, ExecQuery, LogLine, LogQuery, Progress, PullQuery, StatsRow, json_map,
};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream, StreamExt};
use model::cluster::Cluster;
use model::id::{HostId, InstanceId};
use model::instance::{Goal, Phase};
use model::limits::{BUILD_CONTEXT_BYTES_MAX, EXEC_MESSAGE_BYTES_MAX};
use serde::Serialize;
use store::Store;

const NDJSON: &str = "application/x-ndjson";

pub(super) fn ndjson<T: Serialize + Send + 'static>(items: BoxStream<'static, T>) -> Response {
    let lines = items.map(|item| {
        let mut line = serde_json::to_vec(&item).map_err(std::io::Error::other)?;
        line.push(b'\n');
        Ok::<_, std::io::Error>(line)
    });
    ([(CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
}

/// Instances with a container that match, newest incarnation of a slot last.
fn matching(cluster: &Cluster, stack: &str, service: &str, n: u32) -> Vec<(HostId, InstanceId)> {
    cluster
        .instances()
        .filter(|i| {
            i.id.service.stack.as_str() == stack
                && (service.is_empty() || i.id.service.service.as_str() == service)
                && (n == 0 || i.id.n == n)
                && !i.container_name.is_empty()
        })
        .map(|i| (i.host.clone(), i.id.clone()))
        .collect()
}

/// Splits output into lines, across chunks.
struct Lines {
    instance: String,
    timestamps: bool,
    rest: [Vec<u8>; 2],
}

/// A line longer than this is cut in two, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

impl Lines {
    fn push(&mut self, stderr: bool, bytes: &[u8]) -> Vec<LogLine> {
        let mut out = vec![];
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let rest = &mut self.rest[usize::from(stderr)];
            rest.extend_from_slice(part);
            if rest.ends_with(b"\n") || rest.len() >= LINE_BYTES_MAX {
                let line = std::mem::take(rest);
                out.push(self.line(stderr, &line));
            }
        }
        out
    }

    fn line(&self, stderr: bool, bytes: &[u8]) -> LogLine {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let (at, line) = match text.split_once(' ') {
            Some((at, line)) if self.timestamps => (at.to_owned(), line.to_owned()),
            _ => (String::new(), text.to_owned()),
        };
        LogLine { instance: self.instance.clone(), stderr, at, line }
    }

    fn finish(&mut self) -> Vec<LogLine> {
        let rest = std::mem::take(&mut self.rest);
        let lines = rest.iter().enumerate().filter(|(_, bytes)| !bytes.is_empty());
        lines.map(|(i, bytes)| self.line(i == 1, bytes)).collect()
    }
}

async fn log_stream(
    hosts: Hosts,
    host: HostId,
    id: InstanceId,
    query: LogQuery,
) -> BoxStream<'static, LogLine> {
    let name = format!("{}#{}", id.service, id.n);
    let request = StreamRequest::Logs {
        instance: id,
        follow: query.follow,
        tail: query.tail,
        since: query.since,
        timestamps: query.timestamps,
    };
    let failed = |why: String| LogLine {
        instance: name.clone(),
        stderr: true,
        at: String::new(),
        line: format!("(no logs: {why})"),
    };
    let duplex = match hosts.open(&host, request).await {
        Ok(duplex) => duplex,
        Err(error) => return stream::iter([failed(error.message)]).boxed(),
    };
    let lines =
        Lines { instance: name.clone(), timestamps: query.timestamps, rest: [vec![], vec![]] };
    stream::unfold((duplex, lines, false), |(mut duplex, mut lines, ended)| async move {
        if ended {
            return None;
        }
        let batch = match duplex.rx.recv().await {
            Some(Chunk::Out { stderr, bytes }) => lines.push(stderr, &bytes),
            Some(Chunk::Failed(why)) => {
                let mut batch = lines.finish();
                batch.push(lines.line(true, format!("(logs ended: {why})").as_bytes()));
                return Some((stream::iter(batch), (duplex, lines, true)));
            }
            Some(Chunk::End) | None => {
                return Some((stream::iter(lines.finish()), (duplex, lines, true)));
            }
            Some(_) => vec![],
        };
        Some((stream::iter(batch), (duplex, lines, false)))
    })
    .flatten()
    .boxed()
}

/// Logs of the instances that match, merged as they come: NDJSON of `LogLine`.
#[utoipa::path(get, path = routes::LOGS, params(LogQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = LogLine)))]
pub(super) async fn logs<S: Store>(
    State(shared): State<Shared<S>>,
    Query(query): Query<LogQuery>,
) -> Result<Response, ErrorInfo> {
    let cluster = shared.cluster();
    let mut found = matching(&cluster, &query.stack, &query.service, query.n);
    found.retain(|(_, id)| query.incarnation == 0 || id.incarnation == query.incarnation);
    if found.is_empty() {
        let LogQuery { stack, service, n, .. } = &query;
        let said = "there is no container of";
        return Err(super::missing::container(&cluster, stack, service, *n, said));
    }
    let mut streams = vec![];
    for (host, id) in found {
        streams.push(log_stream(shared.hosts.clone(), host, id, query.clone()).await);
    }
    // One after the other is easier to read; only when following must they be merged.
    if query.follow {
        Ok(ndjson(stream::select_all(streams).boxed()))
    } else {
        Ok(ndjson(stream::iter(streams).flatten().boxed()))
    }
}

/// A command in an instance: a WebSocket of chunks.
#[utoipa::path(get, path = routes::EXEC, params(ExecQuery), responses((status = 101)))]
pub(super) async fn exec<S: Store>(
    State(shared): State<Shared<S>>,
    Query(query): Query<ExecQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ErrorInfo> {
    let upgrade = upgrade.map_err(|e| ErrorInfo::invalid(e.body_text()))?;
    let command: Vec<String> = serde_json::from_str(&query.command)
        .map_err(|e| ErrorInfo::invalid(format!("the command is not a JSON list: {e}")))?;
    let cluster = shared.cluster();
    let found = matching(&cluster, &query.stack, &query.service, query.n);
    let running = found.into_iter().rev().find(|(_, id)| {
        cluster.instance(id).is_some_and(|i| i.goal == Goal::Run)
            && cluster.instance_status(id).is_some_and(|s| s.phase == Phase::Running)
    });
    let (host, instance) = running.ok_or_else(|| {
        let ExecQuery { stack, service, n, .. } = &query;
        super::missing::container(&cluster, stack, service, *n, "nothing runs of")
    })?;
    let request = StreamRequest::Exec {
        instance,
        command,
        tty: query.tty,
        stdin: query.stdin,
        user: query.user,
        workdir: query.workdir,
    };
    let duplex = shared.hosts.open(&host, request).await?;
    let upgrade = upgrade.max_message_size(EXEC_MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| splice(socket, duplex)))
}

async fn splice(mut socket: WebSocket, mut duplex: Duplex) {
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let Some(chunk) = Chunk::decode(&bytes) else { return };
                    if duplex.tx.send(chunk).await.is_err() {
                        return;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            chunk = duplex.rx.recv() => {
                let chunk = chunk.unwrap_or(Chunk::Failed("the host went away".into()));
                let last = chunk.is_last();
                if socket.send(Message::Binary(chunk.encode().into())).await.is_err() || last {
                    return;
                }
            }
        }
    }
}

/// Use of cpu and memory of every instance of every host that answers.
#[utoipa::path(get, path = routes::STATS, responses((status = 200, body = Vec<StatsRow>)))]
pub(super) async fn stats<S: Store>(
    State(shared): State<Shared<S>>,
) -> Result<Json<Vec<StatsRow>>, ErrorInfo> {
    let mut rows = vec![];
    for host in shared.hosts.connected() {
        rows.extend(shared.hosts.ask::<Vec<StatsRow>>(&host, StreamRequest::Stats).await?);
    }
    rows.sort_by(|a, b| a.instance.cmp(&b.instance));
    Ok(Json(rows))
}

/// Text and result of a stream as progress.
fn progress(duplex: Duplex) -> BoxStream<'static, Progress> {
    stream::unfold((duplex, false), |(mut duplex, ended)| async move {
        if ended {
            return None;
        }
        loop {
            let (item, last) = match duplex.rx.recv().await {
                Some(Chunk::Text(text)) => (Progress::Text { text }, false),
                Some(Chunk::Json(image)) => {
                    let image = serde_json::from_slice(&image).unwrap_or_default();
                    (Progress::Done { image }, true)
                }
                Some(Chunk::Failed(why)) => (Progress::Failed { why }, true),
                Some(Chunk::End) => return None,
                Some(_) => continue,
                None => (Progress::Failed { why: "the host went away".into() }, true),
            };
            return Some((item, (duplex, last)));
        }
    })
    .boxed()
}

fn any_host(hosts: &Hosts) -> Result<HostId, ErrorInfo> {
    hosts
        .connected()
        .into_iter()
        .next()
        .ok_or_else(|| ErrorInfo::unavailable("no host is connected").hint("see `remuda host ls`"))
}

/// Builds an image from the context in the body (tar): NDJSON of `Progress`.
#[utoipa::path(post, path = routes::BUILD, params(BuildQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = Progress)))]
pub(super) async fn build<S: Store>(
    State(shared): State<Shared<S>>,
    Query(query): Query<BuildQuery>,
    body: Body,
) -> Result<Response, ErrorInfo> {
    let map = |name: &str, text: &str| {
        json_map(text).map_err(|e| ErrorInfo::invalid(format!("{name} is not a JSON object: {e}")))
    };
    let list = |name: &str, text: &str| match text {
        "" => Ok(vec![]),
        text => serde_json::from_str::<Vec<String>>(text)
            .map_err(|e| ErrorInfo::invalid(format!("{name} is not a JSON list of texts: {e}"))),
    };
    let request = StreamRequest::Build {
        tag: query.tag,
        dockerfile: query.dockerfile,
        target: query.target,
        args: map("args", &query.args)?,
        labels: map("labels", &query.labels)?,
        no_cache: query.no_cache,
        pull: query.pull,
        network: query.network,
        shm_size: query.shm_size,
        cache_from: list("cache_from", &query.cache_from)?,
    };
    let duplex = shared.hosts.open(&any_host(&shared.hosts)?, request).await?;
    let tx = duplex.tx.clone();
    // Ends with the body or with the stream; a context over the limit cuts the build off.
    tokio::task::spawn(async move {
        let mut body = body.into_data_stream();
        let mut total = 0u64;
        let last = loop {
            match body.next().await {
                Some(Ok(bytes)) => {
                    total += bytes.len() as u64;
                    if total > BUILD_CONTEXT_BYTES_MAX {
                        let max = BUILD_CONTEXT_BYTES_MAX;
                        break Chunk::Failed(format!("the build context is over {max} bytes"));
                    }
                    if tx.send(Chunk::In(bytes)).await.is_err() {
                        return;
                    }
                }
                // Half a context must not become an image.
                Some(Err(error)) => {
                    break Chunk::Failed(format!("the build context broke off: {error}"));
                }
                None => break Chunk::InEnd,
            }
        };
        if tx.send(last).await.is_err() {
            tracing::debug!("build ended before its context");
        }
    });
    Ok(ndjson(progress(duplex)))
}

/// Pulls an image on every host: NDJSON of `Progress`.
#[utoipa::path(post, path = routes::PULL, params(PullQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = Progress)))]
pub(super) async fn pull<S: Store>(
    State(shared): State<Shared<S>>,
    Query(query): Query<PullQuery>,
) -> Result<Response, ErrorInfo> {
    any_host(&shared.hosts)?;
    let mut streams = vec![];
    for host in shared.hosts.connected() {
        let request = StreamRequest::Pull { image: query.image.clone() };
        streams.push(progress(shared.hosts.open(&host, request).await?));
    }
    Ok(ndjson(stream::select_all(streams).boxed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_across_chunks_and_by_channel() {
        let mut lines =
            Lines { instance: "a/b#1".into(), timestamps: false, rest: [vec![], vec![]] };
        assert!(lines.push(false, b"hel").is_empty());
        let out = lines.push(true, b"err\r\n");
        assert_eq!((out[0].line.as_str(), out[0].stderr), ("err", true));
        let out = lines.push(false, b"lo\nwor");
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].line, "hello");
        assert_eq!(lines.finish()[0].line, "wor");
        assert!(lines.finish().is_empty());
    }
}
