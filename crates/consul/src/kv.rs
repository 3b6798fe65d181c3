//! The key-value part: a map in memory that the store's watch keeps equal to what is stored, and
//! writes that are transactions of the store.

mod draft;
mod entry;
mod http;
mod map;

pub(crate) use draft::{Draft, Refused};
pub use entry::Entry;
pub(crate) use entry::{PENDING, kv_key, session_key};
pub(crate) use http::{Kv, ROUTES, answer, check_key, shown};
pub use map::Map;
pub(crate) use map::PREFIX;

#[cfg(test)]
mod tests;
