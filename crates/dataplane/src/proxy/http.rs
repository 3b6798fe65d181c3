//! HTTP/1 from clients: one connection, its requests, and their routes.

use super::answer::Answer;
use super::client::{Busy, Client};
use super::forward::Exchange;
use super::headers::{self, Forwarded, Unfit};
use super::listening::{Listening, Mode};
use super::shard::{Open, Shard};
use super::socket::{Io, Socket};
use futures_util::future::{Either, select};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::limits::PROXY_HEAD_BYTES_MAX;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use tokio::net::TcpStream;

/// Longest part of a host or path shown in the proxy's own answers, in characters.
const SHOWN_MAX: usize = 200;

/// Serves one client's connection to its end.
pub(super) async fn serve(
    shard: Rc<Shard>,
    listening: Rc<Listening>,
    stream: TcpStream,
    peer: SocketAddr,
    open: Open,
) {
    let socket = Socket::new(stream);
    let forwarded = Forwarded {
        client: text_value(&peer.ip().to_string()),
        port: HeaderValue::from(listening.port),
    };
    let client =
        Client::new(Rc::clone(&shard), listening, forwarded, std::sync::Arc::clone(&socket));
    let number = shard.enter(Rc::clone(&client));
    if client.listening.is_closed() {
        client.close.ring();
    }
    serve_client(&client, socket).await;
    shard.leave(number);
    drop(open);
}

async fn serve_client(client: &Rc<Client>, socket: std::sync::Arc<Socket>) {
    let service = hyper::service::service_fn(|request| handle(course(Rc::clone(client), request)));
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .max_buf_size(PROXY_HEAD_BYTES_MAX)
            .max_header_size(PROXY_HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(Io(socket)), service)
            .with_upgrades()
    );
    // A connection that has not asked anything yet is closed after its first request, which may be
    // on its way: closing over it would drop it.
    let close = pin!(async {
        client.close.after(0).await;
        client.asked.after(0).await;
    });
    let abort = pin!(client.abort.after(0));
    let result = match select(connection.as_mut(), select(close, abort)).await {
        Either::Left((result, _)) => result,
        Either::Right((Either::Left(((), abort)), _)) => {
            connection.as_mut().graceful_shutdown();
            match select(connection, abort).await {
                Either::Left((result, _)) => result,
                Either::Right(_) => return,
            }
        }
        Either::Right((Either::Right(_), _)) => return,
    };
    if let Err(error) = result {
        tracing::trace!(%error, "a client's connection ended");
    }
}

fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_not_text| HeaderValue::from_static("unknown"))
}

/// What becomes of a request. Decided before anything waits, so that the future of a request
/// holds only what it needs.
enum Course {
    Answered(Option<Response<Answer>>),
    Forward(Exchange),
}

async fn handle(mut course: Course) -> Result<Response<Answer>, Infallible> {
    // By reference: what is moved out of an argument takes its room twice.
    match &mut course {
        Course::Answered(answer) => Ok(answer.take().expect("it is polled to its end once")),
        Course::Forward(exchange) => Ok(exchange.run().await),
    }
}

fn course(client: Rc<Client>, mut request: Request<Incoming>) -> Course {
    client.shard.counters.requests.count();
    let mode = client.listening.mode();
    let busy = Busy::new(client);
    if let Err(unfit) = headers::normalize(&mut request) {
        return Course::Answered(Some(refuse(busy, unfit)));
    }
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    let path = request.uri().path();
    let target = match &mode {
        Mode::Http(routes) => routes.find(host, path),
        Mode::Port(target) => Some(&**target),
        Mode::Forward(_) => None,
    };
    let Some(target) = target else {
        return Course::Answered(Some(no_route(busy, host, path)));
    };
    let upstream = target.upstream.borrow().clone();
    match upstream {
        Some(upstream) => Course::Forward(Exchange::new(busy, upstream, request)),
        None => {
            let text = format!("the route leads to {:?}, which does not exist", target.name);
            busy.0.shard.counters.failed.count();
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Course::Answered(Some(Answer::own(busy, status, "no-upstream", &text)))
        }
    }
}

fn no_route(busy: Busy, host: &str, path: &str) -> Response<Answer> {
    busy.0.shard.counters.refused.count();
    let shown = |text: &str| text.chars().take(SHOWN_MAX).collect::<String>();
    let text = format!("no route for host {:?} and path {:?}", shown(host), shown(path));
    Answer::own(busy, StatusCode::NOT_FOUND, "no-route", &text)
}

fn refuse(busy: Busy, unfit: Unfit) -> Response<Answer> {
    busy.0.shard.counters.refused.count();
    let (status, text) = match unfit {
        Unfit::Host => (StatusCode::BAD_REQUEST, "exactly one Host header is needed"),
        Unfit::Target => (StatusCode::BAD_REQUEST, "the request target is not a path"),
        Unfit::Connect => (StatusCode::METHOD_NOT_ALLOWED, "CONNECT is for forward proxies"),
    };
    let mut response = Answer::own(busy, status, "bad-request", text);
    // What follows a request that was not understood is not to be trusted as the next one.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
