//! A static proxy from its arguments, for benchmarks: `proxy_static <http|tcp> <shards> <listen>
//! <backend> [<backend> …]`, addresses as `ip:port`. Serves until it is killed.
#![expect(clippy::print_stderr, reason = "an example says what it does")]

use dataplane::proxy::{
    EndpointConfig, EndpointState, ListenerConfig, Proxy, ProxyConfig, ProxyOptions, UpstreamConfig,
};
use model::service::Transport;
use model::view::{HostMatch, ListenerMode, Route};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().ok_or("the mode is missing: http or tcp")?;
    let shards = arguments.next().ok_or("the number of shards is missing")?.parse()?;
    let listen: SocketAddr =
        arguments.next().ok_or("the address to listen on is missing")?.parse()?;
    let addresses = arguments.map(|text| text.parse()).collect::<Result<Vec<SocketAddr>, _>>()?;
    let endpoint = |(number, addr): (usize, SocketAddr)| EndpointConfig {
        key: format!("backend-{number}"),
        run: 1,
        addr,
        weight: 1,
        state: EndpointState::Up,
    };
    let upstream = UpstreamConfig {
        endpoints: addresses.into_iter().enumerate().map(endpoint).collect(),
        connect_timeout: Duration::from_millis(250),
        drain: Duration::from_secs(10),
        stop: Duration::ZERO,
        balance: Default::default(),
        outlier: None,
    };
    let name = "backends".to_owned();
    let mode = match mode.as_str() {
        "tcp" => ListenerMode::Forward { upstream: name.clone() },
        _ => ListenerMode::Http {
            routes: vec![Route {
                host: HostMatch::Any,
                path_prefix: String::new(),
                upstream: name.clone(),
            }],
        },
    };
    let listener = ListenerConfig {
        ip: Some(listen.ip()),
        port: listen.port(),
        transport: Transport::Tcp,
        mode,
    };
    let proxy = Proxy::start(&ProxyOptions { shards })?;
    let mut config = ProxyConfig::default();
    config.listeners.insert("in".into(), listener);
    config.upstreams.insert(name, upstream);
    proxy.apply(Arc::new(config)).await?;
    match proxy.status().listeners.remove("in").and_then(|listener| listener.error) {
        Some(error) => return Err(error.into()),
        None => eprintln!("serving on {listen}"),
    }
    std::future::pending::<()>().await;
    Ok(())
}
