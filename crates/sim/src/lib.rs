//! Whole clusters in virtual time: the real server and agent loops over a store in memory, an
//! engine that lies and a dataplane that agrees. One thread; a seed draws what happens.
//! This world is the first: one server, one host.

mod dice;
mod operator;
mod oracle;
mod world;

pub use oracle::Flaw;
pub use world::{Outcome, run};
