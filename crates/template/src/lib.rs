//! Templates that follow the catalog and the KV: files are rendered anew when what they were made
//! from changes. The door is `runner::Runner` for consul-template's files and flags and
//! `confd::Confd` for confd's. What is asked, rendered and waited for is decided by pure functions;
//! `watch`, `write`, `command` and `child` do. It never writes half a file, never runs a command
//! for a file that did not change, and never ends because one key is missing.

pub mod child;
pub mod command;
pub mod confd;
pub mod duration;
pub mod error;
pub mod flags;
pub mod follow;
pub mod functions;
pub mod hcl;
pub mod http;
pub mod program;
pub mod query;
pub mod quiet;
pub mod runner;
pub mod scene;
pub mod settings;
pub mod value;
pub mod watch;
pub mod write;
pub mod yaml;

pub use error::Error;
