//! One HTTP request on its way to an endpoint: tried, tried again elsewhere while that can do no
//! harm, and answered in any case.

use super::answer::{Answer, Held};
use super::client::{Busy, Client};
use super::connect::{self, ConnectError};
use super::connection::{Connection, Driven};
use super::endpoint::{Endpoint, Lease};
use super::headers;
use super::request_body::{BodySource, RequestBody};
use super::retry::{self, Progress};
use super::upgrade;
use super::upstream::{Unavailable, Upstream};
use futures_util::future::{Either, select};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use model::limits::{PROXY_DOWN_GRACE_MS, PROXY_SENDS_MAX, PROXY_TRIES_MAX};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A request through all its tries.
pub(super) struct Exchange {
    client: Rc<Client>,
    /// Goes on with the answer.
    busy: Option<Busy>,
    upstream: Rc<Upstream>,
    head: Head,
    /// The headers of a request that may be sent twice: `head` is given away with each try.
    copy: Vec<(HeaderName, HeaderValue)>,
    body: BodySource,
    /// The client wants to change protocol.
    upgrade: Option<OnUpgrade>,
    /// Endpoints that failed it.
    tried: Vec<Rc<Endpoint>>,
    /// Those of them that only could not be reached.
    unreached: Vec<Rc<Endpoint>>,
    /// Tries that failed.
    tries: usize,
    /// Endpoints that may have got it.
    sends: usize,
    /// A pooled connection failed: the next one is a new one.
    fresh: bool,
}

struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// An endpoint's answer, and what it comes on.
struct Reply {
    response: Response<Incoming>,
    lease: Lease,
    connection: Connection,
}

/// Why a try failed.
struct Failed {
    again: bool,
    status: StatusCode,
    text: String,
}

impl Exchange {
    /// Prepares `request` for the endpoints of `upstream`.
    pub(super) fn new(busy: Busy, upstream: Rc<Upstream>, mut request: Request<Incoming>) -> Self {
        let wants_upgrade =
            request.version() == Version::HTTP_11 && headers::wants_upgrade(request.headers());
        let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
        let (parts, incoming) = request.into_parts();
        let body = BodySource::new(incoming, retry::is_idempotent(&parts.method));
        let mut head = Head { method: parts.method, uri: parts.uri, headers: parts.headers };
        let chunked = body.is_chunked();
        headers::to_endpoint(&mut head.headers, &busy.0.forwarded, wants_upgrade, chunked);
        let client = Rc::clone(&busy.0);
        let copy = client.spare_headers.take();
        let busy = Some(busy);
        Self {
            client,
            busy,
            upstream,
            head,
            copy,
            body,
            upgrade,
            tried: Vec::new(),
            unreached: Vec::new(),
            tries: 0,
            sends: 0,
            fresh: false,
        }
    }

    /// Passes the request on until there is an answer. What is rare is boxed: this future is as
    /// large as its largest part, and moved for every request.
    pub(super) async fn run(&mut self) -> Response<Answer> {
        let mut deadline: Option<Instant> = None;
        let mut last: Option<Box<Failed>> = None;
        loop {
            if last.is_some() {
                self.client.shard.counters.retries.count();
            }
            let picked = self.upstream.pick(&self.tried);
            let lease = match picked {
                Some(endpoint) => Lease::new(endpoint),
                None => match Box::pin(self.acquire(&mut deadline)).await {
                    Ok(endpoint) => Lease::new(endpoint),
                    Err(why) => return self.unavailable(why, last),
                },
            };
            match self.attempt(lease).await {
                Ok(reply) => return self.answer(reply),
                Err(failed) if failed.again && self.may_go_on() => {
                    last = Some(failed);
                }
                Err(failed) => return self.give_up(&failed),
            }
        }
    }

    /// Waits for an endpoint. When there is nobody else, those that could not be reached are asked
    /// again: a full queue or a start of a moment is no reason to fail a request.
    async fn acquire(
        &mut self,
        deadline: &mut Option<Instant>,
    ) -> Result<Rc<Endpoint>, Unavailable> {
        loop {
            let again = !self.unreached.is_empty();
            match self.upstream.acquire(&self.tried, again, deadline).await {
                Err(Unavailable::Pause) => {
                    let unreached = std::mem::take(&mut self.unreached);
                    self.tried.retain(|one| !unreached.iter().any(|u| Rc::ptr_eq(u, one)));
                }
                result => return result,
            }
        }
    }

    fn may_go_on(&self) -> bool {
        self.tries < PROXY_TRIES_MAX && self.sends < PROXY_SENDS_MAX
    }

    /// Sends the request to one endpoint and waits for the head of its answer.
    async fn attempt(&mut self, lease: Lease) -> Result<Reply, Box<Failed>> {
        let endpoint = Rc::clone(&lease.0);
        let down_before = endpoint.down.rings();
        let certain = !retry::is_idempotent(&self.head.method);
        let pooled = if self.fresh { None } else { endpoint.checkout(certain) };
        let reused = pooled.is_some();
        let mut connection = match pooled {
            Some(connection) => connection,
            None => {
                let limit = self.upstream.connect_timeout();
                match Box::pin(connect::http(&self.client.shard, &endpoint, limit)).await {
                    Ok(connection) => connection,
                    Err(error) => return Err(self.not_connected(endpoint, &error)),
                }
            }
        };
        let received = connection.socket.received();
        let request = self.request();
        let sent = pin!(connection.sender.try_send_request(request));
        let error = match self.wait(&endpoint, down_before, &mut connection, sent).await {
            Waited::Answered(response) => {
                endpoint.shared.count_request();
                return Ok(Reply { response, lease, connection });
            }
            Waited::Failed(error) => Some(error),
            Waited::Down => None,
        };
        let (error, progress) = match error {
            Some(mut error) => {
                let unsent = error.take_message();
                let progress = match unsent {
                    Some(request) => {
                        self.take_back(request);
                        Progress::Unsent
                    }
                    None if connection.socket.received() != received => Progress::Answered,
                    None => Progress::Sent,
                };
                (Some(error.into_error()), progress)
            }
            None => (None, Progress::Sent),
        };
        Err(self.failed(endpoint, reused, progress, error))
    }

    /// Waits for the head of the answer. A request that may be sent again gives up on an endpoint
    /// that went down.
    async fn wait<F>(
        &self,
        endpoint: &Rc<Endpoint>,
        down_before: u64,
        connection: &mut Connection,
        wanted: Pin<&mut F>,
    ) -> Waited
    where
        F: Future<Output = Result<Response<Incoming>, SendError>>,
    {
        let received = connection.socket.received();
        let mut sent = Driven { connection, wanted };
        match select(&mut sent, endpoint.down.after(down_before)).await {
            Either::Left((result, _)) => return result.into(),
            Either::Right(((), _)) => {}
        }
        Box::pin(self.wait_on(sent, received)).await
    }

    /// The endpoint went down: a short time is left, and a longer one for what cannot be sent again.
    async fn wait_on<F>(&self, mut sent: Driven<'_, F>, received: u64) -> Waited
    where
        F: Future<Output = Result<Response<Incoming>, SendError>>,
    {
        let grace = Duration::from_millis(PROXY_DOWN_GRACE_MS);
        if let Ok(result) = timeout(grace, &mut sent).await {
            return result.into();
        }
        let again = retry::may_retry(&self.head.method, Progress::Sent, self.body.is_whole());
        if again && sent.connection.socket.received() == received {
            return Waited::Down;
        }
        let left = self.upstream.drain();
        match timeout(left, sent).await {
            Ok(result) => result.into(),
            Err(_elapsed) => Waited::Down,
        }
    }

    /// The request for one try. It gives the head away; a copy of the headers is kept when the
    /// request may be sent twice, and `take_back` brings them back when nothing was sent.
    fn request(&mut self) -> Request<RequestBody> {
        if self.copy.is_empty() {
            if retry::is_idempotent(&self.head.method) {
                let headers = self.head.headers.iter();
                self.copy.extend(headers.map(|(name, value)| (name.clone(), value.clone())));
            }
        } else if self.head.headers.is_empty() {
            for (name, value) in &self.copy {
                self.head.headers.append(name, value.clone());
            }
        }
        let mut request = Request::new(self.body.body());
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.head.uri.clone();
        *request.headers_mut() = std::mem::take(&mut self.head.headers);
        request
    }

    fn take_back(&mut self, request: Request<RequestBody>) {
        self.head.headers = request.into_parts().0.headers;
    }

    fn not_connected(&mut self, endpoint: Rc<Endpoint>, error: &ConnectError) -> Box<Failed> {
        let status = match error {
            ConnectError::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            ConnectError::Refused(_) => StatusCode::BAD_GATEWAY,
        };
        let text = format!("{} cannot be reached: {error}", shown(&endpoint));
        self.tries += 1;
        self.unreached.push(Rc::clone(&endpoint));
        self.tried.push(endpoint);
        Box::new(Failed { again: self.body.is_whole(), status, text })
    }

    fn failed(
        &mut self,
        endpoint: Rc<Endpoint>,
        reused: bool,
        progress: Progress,
        error: Option<hyper::Error>,
    ) -> Box<Failed> {
        let again = retry::may_retry(&self.head.method, progress, self.body.is_whole());
        let (status, text) = match &error {
            None => {
                let text = format!("{} went down and did not answer", shown(&endpoint));
                (StatusCode::GATEWAY_TIMEOUT, text)
            }
            Some(error) if error.is_user() => {
                (StatusCode::BAD_REQUEST, "the request's body broke off".to_owned())
            }
            Some(error) => {
                let what = match progress {
                    Progress::Unsent => "closed its connection",
                    Progress::Sent => "closed its connection without an answer",
                    Progress::Answered => "broke its answer off, or it was not HTTP",
                };
                (StatusCode::BAD_GATEWAY, format!("{} {what}: {error}", shown(&endpoint)))
            }
        };
        self.tries += 1;
        if progress != Progress::Unsent {
            self.sends += 1;
            endpoint.shared.count_request();
        }
        let silent = error.as_ref().is_some_and(|error| connect::is_silence(error));
        if silent {
            // Its host is gone or cut off: so are all connections to it.
            let now = self.client.shard.exact_ms();
            endpoint.shared.ejection.failed(now, now);
            endpoint.forget_idle();
        }
        // A pooled connection may just have been closed for its age: that says nothing of the
        // endpoint, which gets a second chance on a new connection.
        if reused && error.is_some() && !silent {
            self.fresh = true;
        } else {
            self.tried.push(endpoint);
        }
        Box::new(Failed { again, status, text })
    }

    /// Goes on with the answer.
    fn busy(&mut self) -> Busy {
        self.busy.take().unwrap_or_else(|| Busy::new(Rc::clone(&self.client)))
    }

    fn answer(&mut self, reply: Reply) -> Response<Answer> {
        let Reply { mut response, lease, mut connection } = reply;
        let shard = Rc::clone(&self.client.shard);
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switching {
            let Some(client) = self.upgrade.take() else {
                let text = format!("{} changed the protocol unasked", shown(&lease.0));
                let failed = Failed { again: false, status: StatusCode::BAD_GATEWAY, text };
                return self.failed_answer(&failed);
            };
            let endpoint = hyper::upgrade::on(&mut response);
            connection.detach();
            upgrade::start(shard, client, endpoint, lease);
            let (mut parts, _body) = response.into_parts();
            headers::to_client(&mut parts.headers, true);
            return Response::from_parts(parts, Answer::empty(self.busy()));
        }
        if !self.body.is_ended() {
            connection.detach();
        }
        let (mut parts, body) = response.into_parts();
        headers::to_client(&mut parts.headers, false);
        parts.version = Version::HTTP_11;
        let held = Held { shard, lease, connection };
        Response::from_parts(parts, Answer::of_endpoint(self.busy(), body, held))
    }

    fn give_up(&mut self, failed: &Failed) -> Response<Answer> {
        let Failed { again, status, .. } = *failed;
        let text = match self.tries {
            0 | 1 => failed.text.clone(),
            tries => format!("{}; it was tried {tries} times", failed.text),
        };
        self.failed_answer(&Failed { again, status, text })
    }

    fn unavailable(&mut self, why: Unavailable, last: Option<Box<Failed>>) -> Response<Answer> {
        let name = &self.upstream.name;
        let (reason, text) = match (why, last) {
            (Unavailable::NoEndpoint | Unavailable::Pause, Some(failed)) => {
                return self.give_up(&failed);
            }
            (Unavailable::NoEndpoint | Unavailable::Pause, None) => {
                ("no-endpoint", format!("no endpoint of {name:?} can take requests"))
            }
            (Unavailable::QueueFull, _) => {
                ("queue-full", format!("too many requests wait for an endpoint of {name:?}"))
            }
            (Unavailable::Removed, _) => ("no-upstream", format!("{name:?} was removed")),
        };
        self.client.shard.counters.failed.count();
        Answer::own(self.busy(), StatusCode::SERVICE_UNAVAILABLE, reason, &text)
    }

    fn failed_answer(&mut self, failed: &Failed) -> Response<Answer> {
        self.client.shard.counters.failed.count();
        Answer::own(self.busy(), failed.status, "endpoint-failed", &failed.text)
    }
}

impl Drop for Exchange {
    /// Gives the room for the copy of the headers back to its client.
    fn drop(&mut self) {
        self.copy.clear();
        self.client.spare_headers.replace(std::mem::take(&mut self.copy));
    }
}

type SendError = hyper::client::conn::TrySendError<Request<RequestBody>>;

/// What the wait for an answer came to.
enum Waited {
    Answered(Response<Incoming>),
    Failed(SendError),
    Down,
}

impl From<Result<Response<Incoming>, SendError>> for Waited {
    fn from(result: Result<Response<Incoming>, SendError>) -> Self {
        match result {
            Ok(response) => Self::Answered(response),
            Err(error) => Self::Failed(error),
        }
    }
}

fn shown(endpoint: &Endpoint) -> String {
    format!("{} at {}", endpoint.shared.key, endpoint.shared.addr)
}
