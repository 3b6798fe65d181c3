//! Compose files in, a `StackSpec` out: docker-compose v1, v2, v3 and the current specification,
//! and Rancher's keys beside them or in a file of their own. Every key is carried out, warned about
//! or refused; every remark has a place. It reads files and nothing else: no network, no clock, no
//! environment but the one it is given.

mod affinity;
mod assemble;
mod canonical;
mod check;
mod diagnostic;
mod discover;
mod document;
mod dotenv;
mod environment;
mod fields;
mod files;
mod flat;
mod group;
mod interpolate;
mod json;
mod keys;
mod load;
mod loader;
mod merge;
mod policy;
mod nearest;
mod read;
mod render;
mod scalar;
mod schema;
mod source;
mod stack_name;
mod variables;
mod yaml;

pub use assemble::ContainerName;
pub use diagnostic::{Diagnostic, Errors, Severity};
pub use discover::discover;
pub use files::{Files, ReadError};
pub use flat::{FlatFormat, Setting, settings};
pub use keys::{KeyInfo, Scope, Status, keys};
pub use load::{LoadOptions, Loaded, load, load_from, render};
pub use policy::environment_policy;
pub use read::BuildSpec;

#[cfg(test)]
mod tests;
