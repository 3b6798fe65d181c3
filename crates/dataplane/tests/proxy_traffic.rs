//! The proxy on real sockets: what clients see while endpoints come, go, die and lie.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says where it failed")]

#[path = "proxy_traffic/backend.rs"]
mod backend;
#[path = "proxy_traffic/client.rs"]
mod client;
#[path = "proxy_traffic/house.rs"]
mod house;

#[path = "proxy_traffic/churn.rs"]
mod churn;
#[path = "proxy_traffic/counts.rs"]
mod counts;
#[path = "proxy_traffic/http.rs"]
mod http;
#[path = "proxy_traffic/listeners.rs"]
mod listeners;
#[path = "proxy_traffic/ports.rs"]
mod ports;
#[path = "proxy_traffic/retry.rs"]
mod retry;
#[path = "proxy_traffic/smuggling.rs"]
mod smuggling;
#[path = "proxy_traffic/streams.rs"]
mod streams;
