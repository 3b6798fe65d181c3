//! Tokens and policies of the Consul API: who asks, and what they may do. Off until it is turned on.
//!
//! ```text
//! token ──▶ keyed hash ──▶ Token ──▶ policies and roles ──▶ Authority ──▶ Access of one request
//! ```

pub(crate) mod authority;
pub(crate) mod guard;
mod hcl;
mod http;
pub(crate) mod keep;
pub(crate) mod level;
mod link;
mod policy;
mod records;
mod role;
mod rules;
#[cfg(test)]
mod tests;
pub(crate) mod token;

pub(crate) use authority::Access;
pub(crate) use http::{Acl, ROUTES, answer};
pub(crate) use keep::Acls;
pub(crate) use level::{Level, Named};
