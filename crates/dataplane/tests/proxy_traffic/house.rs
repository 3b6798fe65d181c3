//! A proxy with one listener, and its configuration at hand.

use dataplane::proxy::{
    EndpointConfig, EndpointState, ListenerConfig, Proxy, ProxyConfig, ProxyOptions, ProxyStatus,
    UpstreamConfig,
};
use model::service::Transport;
use model::view::{HostMatch, ListenerMode, Route};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct House {
    pub(crate) proxy: Proxy,
    pub(crate) config: ProxyConfig,
}

pub(crate) const WEB: &str = "web";

impl House {
    /// Two shards; the listener `in` sends all to the upstream `web`.
    pub(crate) async fn http() -> Self {
        Self::with(
            Transport::Tcp,
            ListenerMode::Http { routes: vec![route(HostMatch::Any, "", WEB)] },
        )
        .await
    }

    pub(crate) async fn forward(transport: Transport) -> Self {
        Self::with(transport, ListenerMode::Forward { upstream: WEB.into() }).await
    }

    pub(crate) async fn with(transport: Transport, mode: ListenerMode) -> Self {
        let proxy = Proxy::start(&ProxyOptions { shards: 2 }).unwrap();
        let mut config = ProxyConfig::default();
        let ip = Some(Ipv4Addr::LOCALHOST.into());
        config.listeners.insert("in".into(), ListenerConfig { ip, port: 0, transport, mode });
        config.upstreams.insert(WEB.into(), upstream(vec![]));
        let house = Self { proxy, config };
        house.apply().await;
        house
    }

    pub(crate) async fn apply(&self) {
        let applied = self.proxy.apply(Arc::new(self.config.clone()));
        tokio::time::timeout(Duration::from_secs(10), applied).await.unwrap().unwrap();
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.proxy.status().listeners["in"].bound[0]
    }

    pub(crate) fn endpoints(&mut self) -> &mut Vec<EndpointConfig> {
        &mut self.config.upstreams.get_mut(WEB).unwrap().endpoints
    }

    pub(crate) async fn serve(&mut self, endpoints: Vec<EndpointConfig>) {
        *self.endpoints() = endpoints;
        self.apply().await;
    }

    /// Looks until the status is as `wanted`, for what nobody is told of.
    pub(crate) async fn soon(&self, what: &str, wanted: impl Fn(&ProxyStatus) -> bool) {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        let wait = async {
            while !wanted(&self.proxy.status()) {
                looks.tick().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
        assert!(waited.is_ok(), "{what}: {:?}", self.proxy.status());
    }

    /// Waits to be told that the status is as `wanted`.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&ProxyStatus) -> bool) {
        let mut changed = self.proxy.changed();
        let wait = async {
            while !wanted(&self.proxy.status()) {
                changed.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
        assert!(waited.is_ok(), "{what}: {:?}", self.proxy.status());
    }
}

pub(crate) fn route(host: HostMatch, path: &str, upstream: &str) -> Route {
    Route { host, path_prefix: path.into(), upstream: upstream.into() }
}

pub(crate) fn upstream(endpoints: Vec<EndpointConfig>) -> UpstreamConfig {
    let connect_timeout = Duration::from_millis(250);
    let drain = Duration::from_secs(10);
    let (balance, outlier) = (Default::default(), None);
    UpstreamConfig { endpoints, connect_timeout, drain, stop: Duration::ZERO, balance, outlier }
}

pub(crate) fn up(key: &str, run: u64, addr: SocketAddr) -> EndpointConfig {
    EndpointConfig { key: key.into(), run, addr, weight: 1, state: EndpointState::Up }
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap()
}
