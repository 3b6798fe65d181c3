//! Limits of the Consul API: those that its clients know, and ours.

/// Connections to one Consul listener; more are answered with 429. An agent passes each on as a
/// stream of its one connection, which has a few to spare (`LINK_STREAMS_MAX`).
pub const CONSUL_CONNECTIONS_MAX: usize = 16_000;
/// The same for the containers of a host.
pub const CONSUL_CONTAINER_CONNECTIONS_MAX: usize = 4_000;
/// Largest body of a request to the Consul API, in bytes: a transaction of many keys. Endpoints
/// that take less say so themselves.
pub const CONSUL_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Largest snapshot that is taken back, in bytes, compressed or not.
pub const CONSUL_SNAPSHOT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Longest wait of a blocking query, in milliseconds, without its jitter.
pub const CONSUL_WAIT_MS_MAX: u64 = 600_000;
/// Wait of a blocking query that does not say, in milliseconds.
pub const CONSUL_WAIT_MS_DEFAULT: u64 = 300_000;
/// Largest value of a key, in bytes.
pub const CONSUL_VALUE_BYTES_MAX: usize = 512 * 1024;
/// Longest key, in bytes.
pub const CONSUL_KEY_BYTES_MAX: usize = 960;
/// Most keys, with those that were deleted lately.
pub const CONSUL_KEYS_MAX: usize = 1_000_000;
/// Most bytes of keys and values together.
pub const CONSUL_KV_BYTES_MAX: usize = 192 * 1024 * 1024;
/// Most keys that are remembered as deleted: beyond that the oldest are forgotten before their time.
pub const CONSUL_TOMBSTONES_MAX: usize = 250_000;
/// Deleted keys, versions or lock-delays that are forgotten in one transaction.
pub const CONSUL_FORGOTTEN_AT_ONCE: usize = 2_000;
/// Most former versions that are kept of one key.
pub const CONSUL_PAST_OF_KEY_MAX: usize = 32;
/// Most bytes of former values that are kept of one key.
pub const CONSUL_PAST_OF_KEY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most former versions that are kept of all keys; the oldest go first. While there are a quarter
/// more, writes leave none.
pub const CONSUL_PAST_MAX: usize = 200_000;
/// Most bytes of former values that are kept of all keys; the oldest go first. While there are a
/// quarter more, writes leave none.
pub const CONSUL_PAST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most bytes of former values that are written with a change; more are written before it.
pub const CONSUL_PAST_AT_ONCE_BYTES: usize = 1024 * 1024;
/// Most versions that one answer lists.
pub const CONSUL_PAST_ROWS_MAX: usize = 1_000;
/// How long it is remembered that a key was deleted, in milliseconds.
pub const CONSUL_TOMBSTONE_MS: u64 = 900_000;
/// Most operations of one transaction.
pub const CONSUL_TXN_OPS_MAX: usize = 128;
/// Keys that the results of a transaction may have.
pub const CONSUL_TXN_ROWS_MAX: usize = 10_000;
/// Most sessions at a time.
pub const CONSUL_SESSIONS_MAX: usize = 50_000;
/// Shortest time to live of a session, in milliseconds.
pub const CONSUL_SESSION_TTL_MS_MIN: u64 = 10_000;
/// Longest time to live of a session, in milliseconds.
pub const CONSUL_SESSION_TTL_MS_MAX: u64 = 86_400_000;
/// Longest time for which a key cannot be locked after its session was lost, in milliseconds.
pub const CONSUL_LOCK_DELAY_MS_MAX: u64 = 60_000;
/// That time when a session does not say, in milliseconds.
pub const CONSUL_LOCK_DELAY_MS_DEFAULT: u64 = 15_000;
/// Most checks that a session names.
pub const CONSUL_SESSION_CHECKS_MAX: usize = 64;
/// Most events that are remembered.
pub const CONSUL_EVENTS_MAX: usize = 256;
/// Largest payload of an event, in bytes.
pub const CONSUL_EVENT_BYTES_MAX: usize = 512;
/// Tries of a write whose keys keep changing before the client hears of it.
pub const CONSUL_CONFLICTS_MAX: usize = 32;
/// Most changes that are taken into memory at a time.
pub const CONSUL_APPLIED_AT_ONCE: usize = 512;
/// Most keys of an ended session that are freed in one transaction.
pub const CONSUL_FREED_AT_ONCE: usize = 400;
/// Most bytes of keys of an ended session that are freed in one transaction.
pub const CONSUL_FREED_BYTES_AT_ONCE: usize = 3 * 1024 * 1024;
/// Most keys that a recursive delete takes away in one transaction.
pub const CONSUL_DELETED_AT_ONCE: usize = 30_000;
/// Most records of lock-delays at a time: one for each ended session that held keys.
pub const CONSUL_DELAYS_MAX: usize = 50_000;
/// Snapshots that are taken back at a time: each has its body in memory.
pub const CONSUL_SNAPSHOTS_AT_ONCE: usize = 1;
/// Calls and waiting queries of clients at a time over one connection of an agent.
pub const LINK_STREAMS_MAX: u32 = 16_384;
