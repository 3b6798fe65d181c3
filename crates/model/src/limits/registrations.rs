//! Limits of what clients register, and of checks.

/// Bytes of a key of the free words, as in Consul.
pub const CATALOG_META_KEY_BYTES_MAX: usize = 128;
/// Bytes of the id of a service or of a check: it is a part of a key of the store.
pub const CATALOG_ID_BYTES_MAX: usize = 512;
/// Bytes of the name of a node.
pub const CATALOG_NODE_BYTES_MAX: usize = 255;
/// Bytes of an address or a host name.
pub const CATALOG_ADDRESS_BYTES_MAX: usize = 255;
/// Most further addresses of a node or of a service.
pub const CATALOG_TAGGED_MAX: usize = 16;
/// Most nodes that clients register.
pub const CLIENT_NODES_MAX: usize = 10_000;
/// Most services that clients register on one node.
pub const CLIENT_SERVICES_OF_NODE_MAX: usize = 1_000;
/// Most services that clients register.
pub const CLIENT_SERVICES_MAX: usize = 50_000;
/// Most checks of one node, also of those that a host says something of.
pub const CHECKS_OF_NODE_MAX: usize = 2_000;
/// Most checks that one request registers.
pub const CHECKS_OF_REQUEST_MAX: usize = 64;
/// Largest body of a request that registers something, in bytes.
pub const REGISTER_BODY_BYTES_MAX: usize = 512 * 1024;
/// Most requests that register something and wait for their turn.
pub const REGISTRAR_QUEUE_MAX: usize = 1_024;
/// Most of them that are carried out at a time.
pub const REGISTRAR_PARALLEL_MAX: usize = 64;
/// Most checks that one dataplane asks at a time.
pub const CHECKS_PARALLEL_MAX: usize = 64;
/// Bytes of what a check found that are kept, as in Consul.
pub const CHECK_OUTPUT_BYTES_MAX: usize = 4_096;
/// Bytes of the URL or the address of a check.
pub const CHECK_URL_BYTES_MAX: usize = 2_048;
/// Bytes of the headers of a check, names and values together.
pub const CHECK_HEADERS_BYTES_MAX: usize = 8_192;
/// Bytes of what a check sends.
pub const CHECK_BODY_BYTES_MAX: usize = 8_192;
/// Longest interval, timeout and TTL of a check, in milliseconds.
pub const CHECK_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// Shortest interval of a check, in milliseconds, as in Consul: what asks for less gets this.
pub const CHECK_INTERVAL_MS_MIN: u64 = 1_000;
/// Longest wait for the answer to a check that says nothing of it, in milliseconds.
pub const CHECK_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// Largest threshold of a check.
pub const CHECK_THRESHOLD_MAX: u16 = 1_000;
/// An output that changes without the status is written once in this time, in milliseconds.
pub const CHECK_OUTPUT_MS: u64 = 5 * 60_000;
/// The shortest time after which a critical service goes, in milliseconds, as in Consul.
pub const DEREGISTER_AFTER_MS_MIN: u64 = 60_000;
/// Between two looks for services that are to go, in milliseconds, as in Consul.
pub const DEREGISTER_LOOK_MS: u64 = 30_000;
