//! One task a question: it asks, waits for a change by blocking, asks again, and gives on what
//! changed. A server that does not answer is asked again later and later, at random moments.

use crate::error::{Error, chain};
use crate::http::{Client, Reply, Target};
use crate::query::Query;
use crate::settings::Retry;
use crate::value;
use gotmpl::Value;
use http::StatusCode;
use model::limits::TEMPLATE_FILE_BYTES_MAX;
use rand::Rng as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Between two looks at what cannot be asked to wait.
const POLL: Duration = Duration::from_secs(5);
/// Between two looks at a file.
const FILE_POLL: Duration = Duration::from_millis(500);
/// Between two questions, when answers come at once all the time.
const PAUSE: Duration = Duration::from_millis(10);
/// On top of the time that a question waits.
const GRACE: Duration = Duration::from_secs(15);

/// How questions are asked.
#[derive(Clone)]
pub struct Asking {
    /// Who is asked.
    pub target: Arc<Target>,
    /// What happens when it does not answer.
    pub retry: Retry,
    /// How old an answer may be; zero asks the leader.
    pub max_stale: Duration,
    /// How long a question waits for a change.
    pub wait: Duration,
    /// Attempts in a row before it is given up; 0 is never.
    pub attempts: u32,
    /// An answer of which rights keep a part back is none: what is hidden has not gone.
    pub whole: bool,
}

/// What a watcher found.
#[derive(Debug)]
pub struct Report {
    /// The question.
    pub query: Query,
    /// The answer.
    pub found: Found,
}

/// An answer.
#[derive(Debug)]
pub enum Found {
    /// It is new, or differs; `None` does not exist.
    Answer(Option<Value>),
    /// There is none now, for the first time in a row.
    Failed(Error),
    /// There is none, and it is not asked again.
    GivenUp(Error),
}

/// Where blocking stands: the next index by the last and the one that came.
#[must_use]
pub fn next_index(last: u64, came: Option<u64>) -> u64 {
    match came {
        // It went backwards, as after a restore: from the beginning.
        Some(came) if came < last => 0,
        Some(came) => came,
        None => 0,
    }
}

/// How long to wait before attempt `n` (from 1): doubled each time, and up to a quarter at random.
#[must_use]
pub fn backoff(retry: &Retry, n: u32, random: f64) -> Duration {
    let doubled = retry.backoff.saturating_mul(1 << (n.saturating_sub(1)).min(16));
    let base = doubled.min(retry.backoff_max);
    base + base.mul_f64(0.25 * random.clamp(0.0, 1.0))
}

/// Watches until nobody listens or it is given up.
pub async fn watch(query: Query, asking: Asking, to: mpsc::Sender<Report>) {
    if let Query::File(path) = &query {
        return watch_file(path.clone(), query, to).await;
    }
    let Some(path) = query.path() else { return };
    let mut client = Client::new(Arc::clone(&asking.target));
    let fresh = asking.max_stale.is_zero();
    let mut state = State { index: 0, last: None, failures: 0, hidden: false, fresh };
    loop {
        let begun = Instant::now();
        match state.ask(&mut client, &query, &path, &asking).await {
            Ok(Some(answer)) => {
                let report = Report { query: query.clone(), found: Found::Answer(answer) };
                if to.send(report).await.is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => {
                state.failures += 1;
                // Who comes back may have been restored: what is there now is asked for at once.
                state.index = 0;
                let attempts = asking.attempts;
                let up = !asking.retry.enabled || (attempts > 0 && state.failures >= attempts);
                tracing::debug!(%query, error = chain(&error), n = state.failures, "no answer");
                let hidden = matches!(error, Error::Hidden { .. });
                let news = hidden && !std::mem::replace(&mut state.hidden, hidden);
                if up || state.failures == 1 || news {
                    let found = if up { Found::GivenUp(error) } else { Found::Failed(error) };
                    let sent = to.send(Report { query: query.clone(), found }).await;
                    if up || sent.is_err() {
                        return;
                    }
                }
                let random = rand::rng().random();
                tokio::time::sleep(backoff(&asking.retry, state.failures, random)).await;
                continue;
            }
        }
        let pause = if query.blocks() && state.index > 0 { PAUSE } else { POLL };
        if let Some(rest) = pause.checked_sub(begun.elapsed()) {
            tokio::time::sleep(rest).await;
        }
    }
}

struct State {
    index: u64,
    last: Option<Option<Value>>,
    failures: u32,
    /// Rights kept something back, which was told: the next answer is news, whatever it is.
    hidden: bool,
    /// The last answer was too old: the leader is asked.
    fresh: bool,
}

impl State {
    /// One question, which waits for a change when the index is known.
    async fn once(&self, client: &mut Client, path: &str, asking: &Asking) -> Result<Reply, Error> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let mut url = format!("{path}{sign}index={}", self.index);
        if self.index > 0 {
            url.push_str(&format!("&wait={}ms", asking.wait.as_millis()));
        }
        if !self.fresh {
            url.push_str("&stale=");
        }
        let waits = if self.index > 0 { asking.wait + asking.wait / 16 } else { Duration::ZERO };
        client.get(&url, "application/json", waits + GRACE).await
    }

    /// The answer if it differs from the last.
    async fn ask(
        &mut self,
        client: &mut Client,
        query: &Query,
        path: &str,
        asking: &Asking,
    ) -> Result<Option<Option<Value>>, Error> {
        let mut reply = self.once(client, path, asking).await?;
        let behind = number(&reply, "x-consul-lastcontact").map(Duration::from_millis);
        if !self.fresh && behind.is_some_and(|behind| behind > asking.max_stale) {
            self.fresh = true;
            reply = self.once(client, path, asking).await?;
        }
        self.fresh = asking.max_stale.is_zero();
        if asking.whole && is_hidden(&reply) {
            return Err(Error::Hidden { query: query.to_string() });
        }
        let answer = read(query, &reply, asking.target.shown())?;
        let came = number(&reply, "x-consul-index").filter(|_| query.blocks());
        self.index = next_index(self.index, came);
        self.failures = 0;
        if !std::mem::take(&mut self.hidden) && self.last.as_ref() == Some(&answer) {
            return Ok(None);
        }
        self.last = Some(answer.clone());
        Ok(Some(answer))
    }
}

/// Did rights keep all of it back, or a part?
fn is_hidden(reply: &Reply) -> bool {
    let filtered = reply.headers.get("x-consul-results-filtered-by-acls");
    reply.status == StatusCode::FORBIDDEN || filtered.is_some_and(|value| value == "true")
}

fn number(reply: &Reply, header: &str) -> Option<u64> {
    reply.headers.get(header)?.to_str().ok()?.parse().ok()
}

fn read(query: &Query, reply: &Reply, address: &str) -> Result<Option<Value>, Error> {
    let broken = |why: String| Error::Server { address: address.to_owned(), why };
    match reply.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => {
            return match query {
                Query::Key(_, _) | Query::Node(Some(_), _) => Ok(None),
                Query::Keys(_, _) => Ok(Some(value::list(vec![]))),
                _ => Err(broken(format!("{query} is not found there: is it the Consul API?"))),
            };
        }
        status => {
            let said: String = String::from_utf8_lossy(&reply.body).chars().take(200).collect();
            return Err(broken(format!("{query}: {status}: {}", said.trim())));
        }
    }
    let body: serde_json::Value = serde_json::from_slice(&reply.body)
        .map_err(|e| broken(format!("{query}: the answer is no JSON: {e}")))?;
    value::answer(query, &body).map_err(|why| broken(format!("{query}: {why}")))
}

async fn watch_file(path: std::path::PathBuf, query: Query, to: mpsc::Sender<Report>) {
    let mut last: Option<Option<Value>> = None;
    let mut seen = None;
    loop {
        let now = stamp(&path);
        if last.is_none() || now != seen {
            seen = now;
            let found = read_text(&path).await;
            if last.as_ref() != Some(&found) {
                last = Some(found.clone());
                let found = Found::Answer(found);
                if to.send(Report { query: query.clone(), found }).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(FILE_POLL).await;
        if to.is_closed() {
            return;
        }
    }
}

fn stamp(path: &Path) -> Option<(std::time::SystemTime, u64)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

async fn read_text(path: &Path) -> Option<Value> {
    let size = tokio::fs::metadata(path).await.ok()?;
    if size.len() > TEMPLATE_FILE_BYTES_MAX as u64 || !size.is_file() {
        tracing::warn!(path = %path.display(), "file is too large or none, and counts as absent");
        return None;
    }
    tokio::fs::read_to_string(path).await.ok().map(value::text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_goes_backwards_is_begun_anew() {
        for (last, came, next) in
            [(0, Some(5), 5), (5, Some(5), 5), (5, Some(9), 9), (9, Some(5), 0), (9, None, 0)]
        {
            assert_eq!(next_index(last, came), next, "{last} {came:?}");
        }
    }

    #[test]
    fn attempts_come_later_and_later_and_not_all_at_once() {
        let retry = Retry::default();
        for (n, ms) in [(1, 250), (2, 500), (3, 1_000), (9, 60_000), (60, 60_000)] {
            assert_eq!(backoff(&retry, n, 0.0), Duration::from_millis(ms), "{n}");
        }
        assert_eq!(backoff(&retry, 3, 1.0), Duration::from_millis(1_250));
    }
}
