//! CNI: containers get their network from plugins of other people, which are programs of a folder
//! and do what a configuration says. Here is how they are found and called, and what of each call is
//! kept. When to call is the agent's to decide.
//!
//! Addresses are ours: a plugin is told which one, and a result with another one is an error.

mod call;
mod conf;
mod kept;
mod pin;
mod run;

pub use call::Plug;
pub use conf::{Cni, NetConf};
pub use kept::{Kept, Shelf};
pub use pin::Pins;
pub use run::Runner;
