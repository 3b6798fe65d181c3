//! Machines to test on, made of namespaces of this one: a single machine for a test, and whole
//! clusters with a switch between the hosts, each with a Docker of its own. No traffic leaves
//! them, and when the first process of a machine ends, everything on it has ended. For tests and
//! `cargo xtask cluster`; nothing of the product depends on it.
//!
//! The ground of a cluster is a machine whose network is the switch. [`ground`] is the view from
//! outside of it, [`Cluster`] the one of a process on it.

mod boot;
mod cables;
pub mod cgroup;
mod cluster;
mod error;
mod faults;
pub mod ground;
mod ident;
pub mod images;
pub mod relay;
mod role;
mod run;
mod state;
mod status;
mod up;

pub use boot::{Boot, Own};
pub use cables::DELAY_MS_MAX;
pub use cluster::{Cluster, Keeper};
pub use error::{Error, Result, tail};
pub use faults::{Delay, SWITCH};
pub use ident::Ident;
pub use role::Role;
pub use run::{feed, text, wait_for};
pub use state::{HOSTS_MAX, Node, PORT, SERVER, State, switch_address};
pub use status::{Machine, Status};
pub use up::host_count;
