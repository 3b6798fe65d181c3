//! Joining and staying a member, over real TLS on loopback: the server as it runs, and agents that
//! are honest, late, removed or hostile. The clock is the test's own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod certificates;
mod hostile;
mod raw;
mod twins;
mod world;
