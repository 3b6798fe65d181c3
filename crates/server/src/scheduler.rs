//! Asks an external scheduler over HTTP: `prioritize`, then `reserve` on the first host that it
//! takes, and `release` when an instance is gone. It decides nothing and holds nobody up: questions
//! go to a task of their own, answers come back when they come.

use bytes::Bytes;
use control::placement::external::{self, Answer, Key, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use model::limits::{SCHEDULER_BODY_BYTES_MAX, SCHEDULER_MS_MAX};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Questions and releases that wait; above, the scheduler counts as down.
const JOBS_MAX: usize = 1_024;
/// Questions under way at a time.
const PARALLEL_MAX: usize = 8;
/// Hosts on which a reservation is tried for one question.
const TRIES_MAX: usize = 3;

/// Where an external scheduler is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerUrl {
    authority: String,
    path: String,
}

impl std::str::FromStr for SchedulerUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let uri: http::Uri = text.parse().map_err(|e| format!("{text:?} is no URL: {e}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!(
                "{text:?} must begin with http://; for TLS put a proxy on this machine before it"
            ));
        }
        let host = uri.host().ok_or_else(|| format!("{text:?} names no host"))?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        Ok(Self { authority, path: uri.path().trim_end_matches('/').to_owned() })
    }
}

enum Job {
    Ask(Box<Request>),
    Release(Value),
}

/// The way to the task that asks.
#[derive(Debug)]
pub(crate) struct Scheduler {
    jobs: mpsc::Sender<Job>,
    answers: mpsc::Receiver<(Key, Answer)>,
    asked: BTreeSet<Key>,
}

/// Starts the task; it ends with what it gives back.
pub(crate) fn start(url: SchedulerUrl, tasks: &mut tokio::task::JoinSet<()>) -> Scheduler {
    let (jobs, waiting) = mpsc::channel(JOBS_MAX);
    let (told, answers) = mpsc::channel(JOBS_MAX);
    tasks.spawn(work(url, waiting, told));
    Scheduler { jobs, answers, asked: BTreeSet::new() }
}

impl Scheduler {
    /// Has it asked, unless it is being asked already; an answer when there is one at once.
    pub(crate) fn ask(&mut self, request: Request) -> Option<(Key, Answer)> {
        let key = request.key.clone();
        if !self.asked.insert(key.clone()) {
            return None;
        }
        if self.jobs.try_send(Job::Ask(Box::new(request))).is_ok() {
            return None;
        }
        self.asked.remove(&key);
        Some((key, Answer::Down(format!("{JOBS_MAX} questions wait for it"))))
    }

    /// Tells it what is free again. One that was not told counts the instance still.
    pub(crate) fn release(&self, body: Value) {
        if self.jobs.try_send(Job::Release(body)).is_err() {
            tracing::warn!("the external scheduler was not told of a release");
        }
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Option<(Key, Answer)> {
        let (key, answer) = self.answers.recv().await?;
        self.asked.remove(&key);
        Some((key, answer))
    }
}

async fn work(url: SchedulerUrl, mut jobs: mpsc::Receiver<Job>, told: mpsc::Sender<(Key, Answer)>) {
    let mut under_way = tokio::task::JoinSet::new();
    while let Some(job) = jobs.recv().await {
        while under_way.len() >= PARALLEL_MAX {
            under_way.join_next().await;
        }
        let (url, told) = (url.clone(), told.clone());
        under_way.spawn(async move {
            match job {
                Job::Ask(request) => {
                    let answer = ask(&url, &request).await;
                    if let Answer::Down(why) = &answer {
                        tracing::warn!(why, "the external scheduler gave no answer");
                    }
                    if told.send((request.key, answer)).await.is_err() {
                        tracing::debug!("nobody waits for the external scheduler any more");
                    }
                }
                Job::Release(body) => {
                    if let Err(failure) = post(&url, "release", &body).await {
                        tracing::warn!(%failure, "the external scheduler was not told of a release");
                    }
                }
            }
        });
    }
}

async fn ask(url: &SchedulerUrl, request: &Request) -> Answer {
    let order = match post(url, "prioritize", &request.prioritize()).await {
        Ok(text) => external::parse_prioritized(&text),
        Err(failure) => Err(failure.to_string()),
    };
    let order = match order {
        Ok(order) => order,
        Err(why) => return Answer::Down(why),
    };
    let known = order
        .iter()
        .filter_map(|name| request.candidates.iter().find(|candidate| candidate.as_str() == name));
    let force = request.body["force"] == Value::Bool(true);
    for host in known.take(TRIES_MAX) {
        let reserved = post(url, "reserve", &request.on("scheduler.reserve", host)).await;
        match reserved {
            Ok(text) => match external::parse_reserved(&text) {
                Ok(ports) => return Answer::Reserved { host: host.clone(), ports },
                Err(why) => return Answer::Down(why),
            },
            // A host that was asked for by people is taken whatever the scheduler thinks of it.
            Err(Failure::Status(_)) if force => {
                return Answer::Reserved { host: host.clone(), ports: vec![] };
            }
            Err(Failure::Status(_)) => {}
            Err(failure @ Failure::Unreachable(_)) => return Answer::Down(failure.to_string()),
        }
    }
    Answer::Refused
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Unreachable(String),
    #[error("it answered with status {0}")]
    Status(u16),
}

async fn post(url: &SchedulerUrl, verb: &str, body: &Value) -> Result<Bytes, Failure> {
    let limit = Duration::from_millis(SCHEDULER_MS_MAX);
    tokio::time::timeout(limit, exchange(url, verb, body)).await.unwrap_or_else(|_elapsed| {
        let s = SCHEDULER_MS_MAX / 1_000;
        Err(Failure::Unreachable(format!("{} did not answer within {s} s", url.authority)))
    })
}

async fn exchange(url: &SchedulerUrl, verb: &str, body: &Value) -> Result<Bytes, Failure> {
    let lost = |why: String| Failure::Unreachable(format!("{}: {why}", url.authority));
    let tcp = TcpStream::connect(&url.authority).await.map_err(|e| lost(e.to_string()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp))
        .await
        .map_err(|e| lost(e.to_string()))?;
    let request = http::Request::post(format!("{}/{verb}", url.path))
        .header("host", &url.authority)
        .header("content-type", "application/json")
        .header("connection", "close")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|e| lost(e.to_string()))?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(|e| lost(e.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), SCHEDULER_BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|e| lost(format!("its answer cannot be read: {e}")))?;
        if !status.is_success() {
            return Err(Failure::Status(status.as_u16()));
        }
        Ok(body.to_bytes())
    };
    // The connection carries the exchange and ends with it.
    let (_, answer) = tokio::join!(connection, answered);
    answer
}

#[cfg(test)]
mod tests;
