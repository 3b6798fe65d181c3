//! The key-value part: a map in memory that the store's watch keeps equal to what is stored, and
//! writes that are transactions of the store.

mod draft;
mod entry;
mod http;
mod history;
mod map;
mod past;

pub(crate) use draft::{Draft, Refused, put_past};
pub use entry::{Entry, Origin};
pub(crate) use entry::{PENDING, Past, delay_key, encode_past, kv_key, past_key, session_key};
pub use history::Version;
pub(crate) use http::{Kv, ROUTES, answer, check_key, shown};
pub use map::Map;
pub(crate) use map::PREFIX;

#[cfg(test)]
mod tests;
