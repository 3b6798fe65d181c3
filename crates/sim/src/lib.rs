//! Whole clusters in virtual time: the real server and agent loops over a store in memory, engines
//! that lie, links that break and dataplanes that agree. One thread; a seed draws what happens.
//!
//! ```text
//! Scenario ──▶ World ── Server ◀─wire─▶ Agent ── engine, network, dataplane    (many hosts)
//!                │         │                          │
//!                └─────────┴── store ──▶ Judge ◀── calls
//!                                          │
//!                                   Trace, Oracle
//! ```

mod clock;
mod dataplane;
mod dice;
mod host;
mod judge;
mod operator;
mod oracle;
mod scenario;
mod shrink;
mod trace;
mod wire;
mod world;

pub use oracle::Flaw;
pub use scenario::{Scenario, Step, Trouble};
pub use shrink::shrink;
pub use world::{Outcome, run};
