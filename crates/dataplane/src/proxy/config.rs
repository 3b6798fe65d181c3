//! What the proxy is told to do: listeners and upstreams, compared as values.

use model::expose::{Balance, Outlier};
use model::view::Listener;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// All that the proxy serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Ports by id. Two of one address: the second is an error in the status.
    pub listeners: BTreeMap<String, ListenerConfig>,
    /// Sets of endpoints by id, which routes and forwards name.
    pub upstreams: BTreeMap<String, UpstreamConfig>,
}

/// A port and what is done with what arrives there. Port 0 lets the kernel choose; the status
/// says which it is.
pub type ListenerConfig = Listener;

/// A set of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Endpoints; one that is unchanged in key, run and address keeps its connections and counts.
    pub endpoints: Vec<EndpointConfig>,
    /// Longest time to connect before the next endpoint is tried.
    pub connect_timeout: Duration,
    /// How long connections of an endpoint that was taken out may go on.
    pub drain: Duration,
    /// How much longer those of one that drains may: it is stopped after `drain`, and ends them in
    /// its own manner.
    pub stop: Duration,
    /// How the next endpoint is chosen.
    pub balance: Balance,
    /// When an endpoint that cannot be reached is out; `None` is at once, and not for long.
    pub outlier: Option<Outlier>,
}

/// An address that takes traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointConfig {
    /// The instance, which the status counts requests in flight for.
    pub key: String,
    /// Which start of it: a new start is a new endpoint, and the old one is gone.
    pub run: u64,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Relative share; 0 takes nothing new.
    pub weight: u32,
    /// May it take traffic?
    pub state: EndpointState,
}

/// May an endpoint take traffic?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// Yes.
    Up,
    /// Only when no other one can.
    Doubtful,
    /// Nothing new; what is in flight ends.
    Draining,
    /// Nothing: it does not run, or is not healthy.
    Down,
}

impl EndpointState {
    /// May it take something new?
    pub(super) fn takes(self) -> bool {
        matches!(self, Self::Up | Self::Doubtful)
    }
}

/// How the proxy runs.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// Threads that carry traffic, fixed for the life of the proxy: a listener that is closed in
    /// one of them would reset the connections in its queue.
    pub shards: usize,
}

impl Default for ProxyOptions {
    /// A thread for each processor.
    fn default() -> Self {
        let shards = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { shards }
    }
}
