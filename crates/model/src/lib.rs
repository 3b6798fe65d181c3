//! The nouns of Remuda, in reading order: names, what is wanted, what is decided, what is seen,
//! what crosses to a host and back, and `Cluster`, which holds all of it at one `Index`.
//!
//! No I/O, no clock, no randomness, no task: every other crate may depend on this one, it depends
//! on nobody.

pub mod limits;
pub mod time;
pub mod id;

pub mod template_file;
pub mod container_spec;
pub mod health;
pub mod balancer;
pub mod placement;
pub mod rollout_policy;
pub mod schedule;
pub mod scaling;
pub mod selector;
pub mod floating;
pub mod service;
pub mod stack;

pub mod dns;
pub mod consul_access;
pub mod policy;
pub mod expose;
pub mod wireguard;
pub mod host;
pub mod instance;
pub mod plain;
pub mod registration;
pub mod prepared;
pub mod reason;
pub mod record;
pub mod change;
pub mod cluster;
pub mod event;
pub mod mutation;

pub mod host_spec;
pub mod host_status;
pub mod net_check;
pub mod catalog_view;
pub mod metadata;
pub mod view;
pub mod delta;
