//! All of the thinking, as pure functions: what should exist and where (`cluster::plan`), what one
//! host should hold and how to get there (`host::spec`, `host::plan`), what the world may see of it
//! (`publish::view`), and what must never be true (`audit`).
//!
//! No I/O, no clock, no randomness, no logging: time is an argument, timers come back as `wake_at`.

pub mod cluster;
pub mod host;
