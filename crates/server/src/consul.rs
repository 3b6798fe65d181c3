//! The Consul API of this server: opened with its store, asked by clients of this machine at its
//! own port, by clients of other hosts through their agents, and by the CLI at the API's port.

use crate::latest::Interest;
use crate::state::Shared;
use ::consul::{Body, By, Consul, Facts, Gate, Judge, Registrar, SERF_HEALTH, Standing};
use api::certificate::Certificate;
use api::error::{ErrorInfo, Kind};
use axum::response::IntoResponse as _;
use control::operate::member;
use http::StatusCode;
use http::header::AUTHORIZATION;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use model::cluster::Cluster;
use model::consul_access::AclMode;
use model::host::HostLink;
use model::id::HostId;
use model::record::RecordKey;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use store::Store;
use tokio::task::JoinSet;

/// How the Consul API is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsulOptions {
    /// Where clients of this machine find it; `None` when they do not.
    pub listen: Option<SocketAddr>,
    /// Where containers of this machine find it; `None` when its agent is another process, which
    /// answers them.
    pub containers: Option<SocketAddr>,
    /// Name of the server's machine as a node.
    pub node: String,
    /// Its address for others.
    pub address: IpAddr,
}

/// Opens it over the server's store, and begins to serve.
///
/// # Errors
/// What the store says.
pub(crate) async fn start<S: Store>(
    shared: &Shared<S>,
    options: ConsulOptions,
    registrar: Registrar,
    tasks: &mut JoinSet<()>,
) -> Result<(), store::Error> {
    let ConsulOptions { listen, containers, node, address } = options;
    let judge = judge(shared, node.clone());
    let facts = Facts { node, address };
    let consul = Consul::open(shared.store.clone(), shared.clock(), facts, judge).await?;
    let consul = consul.with_registrar(registrar);
    // Nobody is to see an empty catalog, or an index of before it was read.
    consul.catalog().follow(&shared.cluster(), consul.waiters());
    consul.set_acl(mode(&shared.cluster()));
    shared.set_consul(consul.clone());
    let running = consul.clone();
    tasks.spawn(async move { running.run().await });
    tasks.spawn(follow_hosts(shared.clone(), consul.clone()));
    if let Some(containers) = containers {
        let clusters = shared.clusters();
        let may = move || clusters.get().environment().map(|known| known.consul.containers);
        let gate = Gate::new(consul.clone(), move || may().unwrap_or_default());
        tasks.spawn(::consul::serve(containers, gate));
    }
    if let Some(listen) = listen {
        tasks.spawn(::consul::serve(listen, consul));
    }
    Ok(())
}

/// Does the Consul API ask for tokens?
fn mode(cluster: &Cluster) -> AclMode {
    cluster.environment().map(|known| known.consul.acl).unwrap_or_default()
}

/// How checks stand. It holds no store: what it is part of is held by the state that it reads.
fn judge<S: Store>(shared: &Shared<S>, own: String) -> Judge {
    let clusters = shared.clusters();
    Arc::new(move |node, check| standing(&clusters.get(), &own, node, check))
}

fn standing(cluster: &Cluster, own: &str, node: &str, check: &str) -> Standing {
    let host = HostId::parse(node).ok().and_then(|id| cluster.host(&id).cloned());
    match (host, check) {
        (None, check) if node != own => outside(cluster, node, check),
        // The server's machine need not be a host: what asks it is alive.
        (None, SERF_HEALTH) => Standing::Passing,
        (Some(host), SERF_HEALTH) => match host.status {
            HostLink::Lost => Standing::Critical,
            HostLink::Active | HostLink::Disconnected | HostLink::Joined => Standing::Passing,
        },
        _ => crate::registrar::standing(cluster, node, check),
    }
}

/// Of a node that a client registered nobody hears anything: it is alive until it is deregistered, or
/// until a check of that name says otherwise.
fn outside(cluster: &Cluster, node: &str, check: &str) -> Standing {
    match crate::registrar::standing(cluster, node, check) {
        Standing::Absent if check == SERF_HEALTH && cluster.client_node(node).is_some() => {
            Standing::Passing
        }
        known => known,
    }
}

/// Keeps the catalog equal to the cluster, and has sessions looked at whenever a host changes.
async fn follow_hosts<S: Store>(shared: Shared<S>, consul: Consul<S>) {
    let mut clusters = shared.follow(Interest::Every);
    let mut seen = shared.cluster().index();
    loop {
        let cluster = clusters.take();
        consul.set_acl(mode(&cluster));
        consul.catalog().follow(&cluster, consul.waiters());
        let may_alter = |key: &RecordKey| {
            use RecordKey::{CheckState, ClientCheck, ClientNode, Host};
            matches!(key, Host(_) | ClientCheck(_) | CheckState(_) | ClientNode(_))
        };
        if cluster.changed_since(seen).is_none_or(|mut keys| keys.any(may_alter)) {
            consul.checks_changed();
        }
        seen = cluster.index();
        clusters.changed().await;
    }
}

/// Answers what a client asked the agent of a member.
pub(crate) async fn forwarded<S: Store>(
    shared: &Shared<S>,
    certificate: Option<&Certificate>,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    let known = certificate.map(|certificate| {
        let claim = crate::members::claim(certificate);
        // The handshake has looked at the certificate's time: a connection may outlive it.
        member::is_member(&shared.cluster(), &claim).map(|()| certificate)
    });
    match (known, shared.consul()) {
        (Some(Ok(certificate)), Some(consul)) => {
            ::consul::take(request, Some(certificate.host.to_string()), consul).await
        }
        (Some(Ok(_)), None) => ::consul::respond(::consul::Answer::no_leader()),
        (None | Some(Err(_)), _) => {
            let answer = ::consul::Answer::error(StatusCode::FORBIDDEN, "this host is no member");
            ::consul::respond(answer)
        }
    }
}

/// Answers the CLI, which has shown its token, with errors as the API has them.
pub(crate) async fn api<S: Store>(
    axum::extract::State(shared): axum::extract::State<Shared<S>>,
    mut request: axum::extract::Request,
) -> axum::response::Response {
    let token = request.headers().get(AUTHORIZATION).and_then(|text| text.to_str().ok());
    let token = token.and_then(|text| api::token::parse(text.strip_prefix("Bearer ")?));
    if let Some(token) = token {
        request.extensions_mut().insert(By(format!("token {}", token.id).into()));
    }
    let Some(consul) = shared.consul() else {
        return ErrorInfo::unavailable("this server does not answer for Consul").into_response();
    };
    let mut request = request;
    // The token of the API is that of Remuda's own people: none of the Consul API's is asked for.
    request.extensions_mut().insert(::consul::Trusted);
    let answer = ::consul::take(request, None, consul).await;
    let kind = match answer.status() {
        status if status.is_success() => return answer.map(axum::body::Body::new),
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Kind::MethodNotAllowed,
        StatusCode::CONFLICT => Kind::Conflict,
        StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
        status if status.is_client_error() => Kind::Invalid,
        _ => Kind::Unavailable,
    };
    let text = match answer.into_body().collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(error) => error.to_string(),
    };
    let message = if text.is_empty() { "there is no such key".into() } else { text };
    ErrorInfo::new(kind, message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::change::{Change, Edit};
    use model::host::{Host, HostFacts, Membership, Scheduling};
    use model::record::Record;
    use model::registration::ClientNode;
    use model::time::{Index, Timestamp};
    use std::collections::BTreeMap;

    fn cluster(hosts: &[(&str, HostLink)]) -> Cluster {
        let edit = |(id, status): &(&str, HostLink)| {
            let host = Host {
                id: id.parse().unwrap(),
                facts: HostFacts::default(),
                status: *status,
                changed_at: Timestamp(0),
                unheard_since: Timestamp(0),
                scheduling: Scheduling::Active,
                labels: BTreeMap::new(),
                reason: String::new(),
                membership: Membership::default(),
            };
            Edit::Put(Record::Host(Arc::new(host)))
        };
        let outside = ClientNode { name: "outside".into(), ..ClientNode::default() };
        let outside = Edit::Put(Record::ClientNode(Arc::new(outside)));
        let mut cluster = Cluster::default();
        let edits = hosts.iter().map(edit).chain([outside]).collect();
        cluster.apply(Index(1), &Change { edits });
        cluster
    }

    #[test]
    fn a_node_is_critical_when_its_host_is_lost() {
        let cluster = cluster(&[
            ("a", HostLink::Active),
            ("d", HostLink::Disconnected),
            ("l", HostLink::Lost),
        ]);
        for (node, check, want) in [
            ("a", SERF_HEALTH, Standing::Passing),
            ("d", SERF_HEALTH, Standing::Passing),
            ("l", SERF_HEALTH, Standing::Critical),
            ("a", "other", Standing::Absent),
            ("nobody", SERF_HEALTH, Standing::Absent),
            ("own", SERF_HEALTH, Standing::Passing),
            ("own", "other", Standing::Absent),
            ("no id!", SERF_HEALTH, Standing::Absent),
            ("outside", SERF_HEALTH, Standing::Passing),
            ("outside", "other", Standing::Absent),
        ] {
            assert_eq!(standing(&cluster, "own", node, check), want, "{node} {check}");
        }
    }
}
