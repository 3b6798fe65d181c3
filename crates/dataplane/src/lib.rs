//! The dataplane of one host: DNS, metadata, health probes and balancers, in a process of its own that goes
//! on when server and agent are dead. It decides nothing: it serves `effective(view, local)`. Who has a
//! floating address it settles with its like on other hosts.
//!
//! ```text
//! agent ── View, Local ──▶ plane ──▶ dns table, metadata, proxy configuration, probe targets
//!       ◀── Report ───────       ◀── verdicts, listeners, requests in flight
//! ```

mod error;
mod protocol;
mod client;

mod effective;
mod dns;
mod metadata;
mod probe;
mod check;
pub mod proxy;
mod floating;
mod glue;

mod state;
mod folder;
mod agent;
mod admin;
mod plane;
mod run;

pub use client::{Client, Event};
pub use dns::{DnsOptions, Resolvers};
pub use effective::{Effective, ServedEndpoint, Turn, effective};
pub use error::Error;
pub use folder::stop;
pub use metadata::MetadataOptions;
pub use protocol::{
    ListenerStatus, Local, LocalInstance, PROTOCOL_VERSION, ProbeVerdict, Probes, Report, Run,
};
pub use run::{Options, WirePort, run};
