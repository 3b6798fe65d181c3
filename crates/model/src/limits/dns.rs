//! Limits of names in DNS.

/// Longest TTL of our own DNS names, in seconds.
pub const DNS_TTL_S_MAX: u32 = 600;
/// How long it holds that a name of ours does not exist, in seconds: one that comes is found then.
pub const DNS_NEGATIVE_TTL_S: u32 = 1;
/// Longest TTL of names of Consul, in seconds.
pub const CONSUL_TTL_S_MAX: u32 = 86_400;
/// Most services, or beginnings of their names, with a TTL of their own.
pub const CONSUL_TTLS_MAX: usize = 256;
/// Most words of a node in one TXT answer.
pub const CONSUL_NODE_WORDS_MAX: usize = 64;
/// Most servers of its own that a caller has asked before the host's resolvers.
pub const DNS_OWN_SERVERS_MAX: usize = 3;
/// Most addresses of one name in a container's /etc/hosts.
pub const HOSTS_ADDRESSES_MAX: usize = 16;
/// Longest block of ours in a container's /etc/hosts, in bytes; further names are left out.
pub const HOSTS_BLOCK_BYTES_MAX: usize = 32 * 1024;
/// Pause before a container's /etc/hosts that could not be written is written again, in milliseconds.
pub const HOSTS_RETRY_MS: u64 = 2_000;
