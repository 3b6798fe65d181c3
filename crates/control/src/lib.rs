//! All of the thinking, as pure functions: what should be where (`cluster`), what one host should
//! hold and how it gets there (`host`), what the world may see (`publish`), an independent check
//! (`audit`), nodes and services for clients of Consul (`catalog`), the change log told to people (`events`), states in Rancher's words (`rancher`), what a
//! check of the network comes to (`net_check`), who may connect to whom (`policy`). No I/O, no clock, no randomness.

pub mod cluster;
pub mod operate;
pub mod host;
pub mod probing;
pub mod publish;
pub mod catalog;
pub mod register;
pub mod audit;
pub mod events;
pub mod rancher;
pub mod autoscale;
pub mod floating;
pub mod net_check;
pub mod policy;

mod readiness;
mod ledger;
pub mod placement;
mod names;
mod parts;
mod unit;
