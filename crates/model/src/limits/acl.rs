//! Limits of the Consul API's tokens and policies, and of its config entries.

/// Most tokens.
pub const ACL_TOKENS_MAX: usize = 10_000;
/// Most policies.
pub const ACL_POLICIES_MAX: usize = 2_000;
/// Most roles.
pub const ACL_ROLES_MAX: usize = 2_000;
/// Longest name of a policy or a role, in bytes.
pub const ACL_NAME_BYTES_MAX: usize = 128;
/// Longest description, in bytes.
pub const ACL_TEXT_BYTES_MAX: usize = 1_024;
/// Largest body of a request about tokens, policies and roles, in bytes.
pub const ACL_BODY_BYTES_MAX: usize = 256 * 1024;
/// Longest rules of one policy, in bytes.
pub const ACL_RULES_BYTES_MAX: usize = 64 * 1024;
/// Most rules of one policy.
pub const ACL_RULES_MAX: usize = 1_000;
/// Brackets in each other in the rules of a policy.
pub const ACL_RULES_DEPTH_MAX: usize = 8;
/// Longest name in a rule, in bytes.
pub const ACL_RULE_NAME_BYTES_MAX: usize = 960;
/// Policies, roles and identities that one token or role may have, of each kind.
pub const ACL_LINKS_MAX: usize = 64;
/// Longest name of a service or a node that a token is, in bytes.
pub const ACL_IDENTITY_BYTES_MAX: usize = 256;
/// Tokens that have ended and are taken away in one transaction.
pub const ACL_ENDED_AT_ONCE: usize = 64;
/// Longest token that is looked up, in bytes.
pub const ACL_SECRET_BYTES_MAX: usize = 128;
/// Tokens whose rights are kept ready in memory.
pub const ACL_READY_MAX: usize = 4_096;
/// Shortest life of a token that ends, in milliseconds.
pub const ACL_TTL_MS_MIN: u64 = 60_000;
/// Longest life of a token that ends, in milliseconds.
pub const ACL_TTL_MS_MAX: u64 = 86_400_000;
/// Time between two looks for tokens that have ended, in milliseconds.
pub const ACL_LOOK_MS: u64 = 60_000;
/// Most config entries.
pub const CONFIG_ENTRIES_MAX: usize = 5_000;
/// Largest config entry, in bytes.
pub const CONFIG_ENTRY_BYTES_MAX: usize = 256 * 1024;
/// Longest name of a config entry, in bytes.
pub const CONFIG_NAME_BYTES_MAX: usize = 256;
