//! The Consul dialect: what old clients ask over HTTP, answered from our own state. Nothing here
//! is Consul's code, and nothing outside of this crate speaks Consul's words.
//!
//! ```text
//! client ──▶ listen ──▶ Handler ──▶ Request ──▶ route ──▶ an endpoint ──▶ Answer ──▶ client
//!              │                                              │
//!              └─ on a host without server: forwarded          └─ waits on Topics (blocking queries)
//! ```

mod acl;
pub mod agent;
mod answer;
pub mod blocking;
mod catalog;
mod config;
mod connect;
mod coordinate;
mod duration;
mod event;
pub mod filter;
pub mod fold;
mod gate;
mod kv;
mod listen;
mod operator;
mod prepared;
mod query;
mod register;
mod request;
mod route;
mod serve;
mod session;
mod shelf;
mod snapshot;
mod state;
mod status;
#[cfg(test)]
mod testing;
mod txn;
mod uuid;
mod waiters;

pub use answer::Answer;
pub use catalog::Catalog;
pub use duration::parse as parse_duration;
pub use gate::Gate;
pub use kv::{Entry, Map, Origin, Version};
pub use listen::{Arrived, Body, Handler, accept, respond, serve, serve_at_most, take};
pub use query::Query;
pub use register::{Ask, Asked, Failure, Registrar};
pub use request::{By, Consistency, ReadOptions, Request, Trusted};
pub use route::{Route, Tables};
pub use serve::{Consul, DATACENTER, Facts, Judge, Standing};
pub use session::{Behavior, SERF_HEALTH, Session};
pub use waiters::{Topic, Waiter, Waiters};
