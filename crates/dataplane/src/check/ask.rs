//! One question of a check, and how its answer is read: by the words and rules that clients of
//! Consul know.

use super::{grpc, resolve, tls};
use crate::dns::Listening;
use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::registration::{CheckHeaders, CheckPlan, CheckProbe, CheckStatus, CheckTls};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;

/// A stream in the clear or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Asks once, within the time of the plan: how well, and what was said.
pub(super) async fn ask(
    plan: &CheckPlan,
    names: &watch::Receiver<Listening>,
) -> (CheckStatus, String) {
    let limit = Duration::from_millis(plan.timeout_ms.max(1));
    let question = async {
        match &plan.probe {
            CheckProbe::Http { url, method, headers, body, tls, no_redirects } => {
                let max = usize::from(plan.output_bytes_max);
                let redirects = if *no_redirects { 0 } else { REDIRECTS_MAX };
                let web = Web { method, headers, body, tls, names, max, redirects };
                web.ask(url).await.map_err(|why| format!("{method} \"{url}\": {why}"))
            }
            CheckProbe::Tcp { address } => {
                let connected = connect(address, None, names).await;
                let text = || (CheckStatus::Passing, format!("TCP connect {address}: Success"));
                connected.map(|_stream| text()).map_err(|why| format!("dial tcp {address}: {why}"))
            }
            CheckProbe::Grpc { address, tls } => {
                let asked = grpc::ask(address, tls.as_ref(), names).await;
                let text = || (CheckStatus::Passing, format!("gRPC check {address}: success"));
                asked.map(|()| text()).map_err(|why| format!("gRPC check {address}: {why}"))
            }
            CheckProbe::Told
            | CheckProbe::Ttl(_)
            | CheckProbe::Alias { .. }
            | CheckProbe::Script { .. } => Err("it is not asked by this program".into()),
        }
    };
    let answer = tokio::time::timeout(limit, question).await;
    let late = || Err(format!("no answer within {} ms", limit.as_millis()));
    let (status, mut output) =
        answer.unwrap_or_else(|_elapsed| late()).unwrap_or_else(|why| (CheckStatus::Critical, why));
    model::registration::cut_output(&mut output);
    (status, output)
}

/// Connects to `host:port`, or to a host and the port of its scheme.
pub(super) async fn connect(
    address: &str,
    port: Option<u16>,
    names: &watch::Receiver<Listening>,
) -> Result<TcpStream, String> {
    let mut last = "the name has no address".to_owned();
    for to in resolve::addresses(address, port, names).await? {
        match TcpStream::connect(to).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = in_words(&error),
        }
    }
    Err(last)
}

/// An answer of a web server.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    text: String,
}

struct Web<'a> {
    method: &'a str,
    headers: &'a CheckHeaders,
    body: &'a str,
    tls: &'a CheckTls,
    names: &'a watch::Receiver<Listening>,
    max: usize,
    /// Redirects that are followed; with 0 one is the answer.
    redirects: usize,
}

impl Web<'_> {
    async fn ask(&self, url: &str) -> Result<(CheckStatus, String), String> {
        let mut url = url.to_owned();
        for _ in 0..=self.redirects {
            let uri: Uri = url.parse().map_err(|error| format!("the URL is broken: {error}"))?;
            let answer = self.exchange(&uri).await?;
            if let Some(next) =
                answer.location.filter(|_| self.redirects > 0 && answer.status.is_redirection())
            {
                url = joined(&uri, &next);
                continue;
            }
            let (status, text) = (answer.status, answer.text);
            let output = format!("HTTP {} {url}: {status} Output: {text}", self.method);
            return Ok((judged(status), output));
        }
        Err(format!("more than {REDIRECTS_MAX} redirects"))
    }

    async fn exchange(&self, uri: &Uri) -> Result<Answer, String> {
        let host = uri.host().ok_or("the URL has no host")?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("the URL begins with neither http:// nor https://".into()),
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let request = self.request(uri)?;
        let stream = connect(host, Some(port), self.names).await?;
        let stream: Box<dyn Stream> = match secure {
            true => Box::new(tls::wrap(stream, host, self.tls, b"http/1.1").await?),
            false => Box::new(stream),
        };
        let words = |error: hyper::Error| error.to_string();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(words)?;
            let (head, body) = response.into_parts();
            let location = head.headers.get(LOCATION).and_then(|place| place.to_str().ok());
            let location = location.map(ToOwned::to_owned);
            Ok(Answer { status: head.status, location, text: read(body, self.max).await? })
        };
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            // What has come before its end is still read.
            _ended = &mut connection => exchange.await,
        }
    }

    fn request(&self, uri: &Uri) -> Result<Request<Full<Bytes>>, String> {
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|error| format!("the method is broken: {error}"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let body = Full::new(Bytes::copy_from_slice(self.body.as_bytes()));
        let broken = |error: http::Error| format!("the request is broken: {error}");
        let mut request = Request::builder().method(method).uri(path).body(body).map_err(broken)?;
        let headers = request.headers_mut();
        let authority = uri.authority().map_or("", |of| of.as_str());
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_error| "a header has no text".to_owned())
        };
        headers.insert(HOST, value(authority)?);
        headers.insert(USER_AGENT, HeaderValue::from_static("Consul Health Check"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/plain, text/*, */*"));
        for (name, values) in &self.headers.0 {
            let name: HeaderName =
                name.parse().map_err(|_error| format!("{name} is no name of a header"))?;
            headers.remove(&name);
            for one in values {
                headers.append(&name, value(one)?);
            }
        }
        Ok(request)
    }
}

/// 2xx passes, 429 warns.
fn judged(status: StatusCode) -> CheckStatus {
    match status {
        _ if status.is_success() => CheckStatus::Passing,
        StatusCode::TOO_MANY_REQUESTS => CheckStatus::Warning,
        _ => CheckStatus::Critical,
    }
}

/// The beginning of a body, as text.
async fn read(mut body: Incoming, max: usize) -> Result<String, String> {
    let mut bytes = vec![];
    while bytes.len() < max {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| error.to_string())?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(&data[..data.len().min(max - bytes.len())]);
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where a redirect leads.
fn joined(from: &Uri, to: &str) -> String {
    if to.contains("://") {
        return to.to_owned();
    }
    let scheme = from.scheme_str().unwrap_or("http");
    let authority = from.authority().map_or("", |of| of.as_str());
    match to.starts_with('/') {
        true => format!("{scheme}://{authority}{to}"),
        false => {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{to}")
        }
    }
}

/// "connection refused", without the number that the standard library adds.
fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
