//! The dataplane of one host: DNS, health probes and balancers, in a process of its own that goes
//! on when server and agent are dead. It decides nothing: it serves `effective(view, local)`.
//!
//! ```text
//! agent ── View, Local ──▶ plane ──▶ dns table, proxy configuration, probe targets
//!       ◀── Report ───────       ◀── verdicts, listeners, requests in flight
//! ```

mod error;
mod protocol;
mod client;
pub mod proxy;

pub use client::{Client, Event};
pub use error::Error;
pub use protocol::{
    ListenerStatus, Local, LocalInstance, PROTOCOL_VERSION, ProbeVerdict, Probes, Report, Run,
};
