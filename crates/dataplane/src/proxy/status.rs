//! What the proxy says of itself. Counters are written by one thread each and summed by readers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The proxy as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyStatus {
    /// Every listener of the configuration, by id.
    pub listeners: BTreeMap<String, ListenerStatus>,
    /// Requests, connections and sessions in flight by endpoint key; keys without any are left out.
    pub in_flight: BTreeMap<String, u64>,
    /// Totals since the start.
    pub counters: Counters,
}

/// A listener as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Addresses it listens on.
    pub bound: Vec<SocketAddr>,
    /// Why it does not listen; it is tried again by itself.
    pub error: Option<String>,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Totals since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counters of one shard, which alone writes them.
        #[derive(Debug, Default)]
        pub(super) struct ShardCounters {
            $(pub(super) $name: Counter,)*
        }

        impl ShardCounters {
            /// Adds these to `sum`.
            pub(super) fn add_to(&self, sum: &mut Counters) {
                $(sum.$name += self.$name.get();)*
            }
        }
    };
}

counters! {
    /// Client connections accepted, HTTP and TCP.
    connections,
    /// HTTP requests.
    requests,
    /// HTTP requests that the proxy itself answered with 400 or 404.
    refused,
    /// HTTP requests that the proxy itself answered with 502, 503 or 504.
    failed,
    /// Tries after the first one of a request or connection.
    retries,
    /// Connections to endpoints made.
    connects,
    /// Connections to endpoints that could not be made.
    connect_failures,
    /// TCP connections for which no endpoint was found.
    tcp_failed,
    /// Datagrams taken from clients.
    datagrams,
    /// Datagrams dropped: no endpoint, or too many sessions.
    datagrams_dropped,
}

/// A number that one thread counts up and others read.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Counts one. Only the owning thread may: a plain store is cheaper than an atomic addition.
    pub(super) fn count(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
