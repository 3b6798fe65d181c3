//! What an operator may see, on loopback only: `/metrics` for Prometheus, `/health`, and `/dump`,
//! the View exactly as it is in memory. It changes nothing.

use crate::dns::Listening;
use crate::effective::Effective;
use crate::protocol::{Local, Probes};
use crate::proxy::ProxyStatus;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use model::floating::SeatKey;
use model::health::Health;
use model::limits::{DATAPLANE_ADMIN_CONNECTIONS_MAX, DATAPLANE_ADMIN_MS_MAX};
use model::registration::CheckProbe;
use model::time::Index;
use model::view::HostView;
use serde::Serialize;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// A question to the plane: what is inside now?
pub(crate) type Question = oneshot::Sender<Inside>;

/// What is inside.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) view: Option<Arc<HostView>>,
    pub(crate) local: Arc<Local>,
    pub(crate) probes: Arc<Probes>,
    pub(crate) served: Arc<Effective>,
    pub(crate) in_force: Index,
    pub(crate) proxy: ProxyStatus,
    pub(crate) dns: [(&'static str, u64); 3],
    pub(crate) dns_listening: Listening,
    pub(crate) metadata: [(&'static str, u64); 3],
    pub(crate) metadata_listening: Listening,
}

/// Accepts until it is dropped.
pub(crate) async fn serve(listener: TcpListener, questions: mpsc::Sender<Question>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < DATAPLANE_ADMIN_CONNECTIONS_MAX => {
                match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, questions.clone()));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "connection not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, questions: mpsc::Sender<Question>) {
    let wait = Duration::from_millis(DATAPLANE_ADMIN_MS_MAX);
    let service = service_fn(move |request| respond(request, questions.clone()));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(wait).keep_alive(false);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(wait, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "request of an operator failed"),
        Err(_elapsed) => tracing::debug!("operator too slow"),
    }
}

async fn respond(
    request: Request<Incoming>,
    questions: mpsc::Sender<Question>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into()));
    }
    let (question, answer) = oneshot::channel();
    let inside = match questions.send(question).await {
        Ok(()) => answer.await.ok(),
        Err(_plane_ended) => None,
    };
    let Some(inside) = inside else {
        return Ok(text(StatusCode::SERVICE_UNAVAILABLE, "it is ending\n".into()));
    };
    Ok(match request.uri().path() {
        "/metrics" => text(StatusCode::OK, metrics(&inside)),
        "/health" => health(&inside),
        "/dump" => dump(&inside),
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /health and /dump\n".into()),
    })
}

fn response(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    response(status, "text/plain; version=0.0.4; charset=utf-8", body.into_bytes())
}

fn health(inside: &Inside) -> Response<Full<Bytes>> {
    let mut problems = String::new();
    if inside.view.is_none() {
        problems.push_str("no view yet\n");
    }
    for (what, all) in [("dns", &inside.dns_listening), ("metadata", &inside.metadata_listening)] {
        for (addr, why) in
            all.iter().filter_map(|(addr, state)| Some((addr, state.as_ref().err()?)))
        {
            problems.push_str(&format!("{what} {addr}: {why}\n"));
        }
    }
    for (id, status) in &inside.proxy.listeners {
        if let Some(why) = &status.error {
            problems.push_str(&format!("listener {id}: {why}\n"));
        }
    }
    if problems.is_empty() {
        return text(StatusCode::OK, "ok\n".into());
    }
    text(StatusCode::SERVICE_UNAVAILABLE, problems)
}

#[derive(Serialize)]
struct Dump<'a> {
    in_force: Index,
    view: Option<&'a HostView>,
    local: &'a Local,
    probes: &'a Probes,
    effective: &'a Effective,
}

fn dump(inside: &Inside) -> Response<Full<Bytes>> {
    // Whoever may ask here may not speak for floating addresses.
    let mut view = inside.view.as_deref().cloned();
    let seats = view.iter_mut().flat_map(|view| view.floating.values_mut());
    seats.for_each(|seat| seat.key = SeatKey::default());
    // Nor may they read what checks log in with.
    for wish in view.iter_mut().flat_map(|view| view.checks.values_mut()) {
        if let CheckProbe::Http { headers, body, .. } = &mut Arc::make_mut(wish).plan.probe {
            headers.0.values_mut().for_each(Vec::clear);
            body.clear();
        }
    }
    let dump = Dump {
        in_force: inside.in_force,
        view: view.as_ref(),
        local: &inside.local,
        probes: &inside.probes,
        effective: &inside.served,
    };
    match serde_json::to_vec_pretty(&dump) {
        Ok(body) => response(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn metrics(inside: &Inside) -> String {
    let mut out = String::new();
    let counters = &inside.proxy.counters;
    let sum =
        |values: &mut dyn Iterator<Item = usize>| u64::try_from(values.sum::<usize>()).unwrap_or(0);
    let unhealthy = inside.probes.values().filter(|v| v.health == Health::Unhealthy).count();
    let endpoints = sum(&mut inside.served.upstreams.values().map(Vec::len));
    let rows: [(&str, u64); 17] = [
        ("view_index", inside.in_force.0),
        ("names", sum(&mut [inside.served.names.len()].into_iter())),
        ("endpoints", endpoints),
        ("probes", sum(&mut [inside.probes.len()].into_iter())),
        ("probes_unhealthy", sum(&mut [unhealthy].into_iter())),
        ("in_flight", inside.proxy.in_flight.values().sum()),
        ("proxy_connections_total", counters.connections),
        ("proxy_requests_total", counters.requests),
        ("proxy_refused_total", counters.refused),
        ("proxy_failed_total", counters.failed),
        ("proxy_retries_total", counters.retries),
        ("proxy_connects_total", counters.connects),
        ("proxy_connect_failures_total", counters.connect_failures),
        ("proxy_tcp_failed_total", counters.tcp_failed),
        ("proxy_datagrams_total", counters.datagrams),
        ("proxy_datagrams_dropped_total", counters.datagrams_dropped),
        ("local_instances", sum(&mut [inside.local.len()].into_iter())),
    ];
    let dns = inside.dns.iter().map(|(name, value)| (format!("dns_{name}"), *value));
    let metadata = inside.metadata.iter().map(|(name, value)| (format!("metadata_{name}"), *value));
    let dns = dns.chain(metadata);
    for (name, value) in rows.iter().map(|(name, value)| ((*name).to_owned(), *value)).chain(dns) {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        // Writing to a String cannot fail.
        writeln!(out, "# TYPE remuda_dataplane_{name} {kind}\nremuda_dataplane_{name} {value}")
            .unwrap_or_default();
    }
    out
}
