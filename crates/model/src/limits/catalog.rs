//! Limits of the catalog.

/// Most tags of one entry.
pub const CATALOG_TAGS_MAX: usize = 64;
/// Most pairs of free words of one entry, as in Consul.
pub const CATALOG_META_MAX: usize = 64;
/// Bytes of a name, a tag, a key or a value in it.
pub const CATALOG_WORD_BYTES_MAX: usize = 512;
/// Bytes of a filter expression.
pub const FILTER_BYTES_MAX: usize = 8 * 1024;
/// Brackets and nots in each other in a filter expression.
pub const FILTER_DEPTH_MAX: usize = 64;
/// Bytes of memory of a regular expression of a filter.
pub const FILTER_PATTERN_BYTES_MAX: usize = 256 * 1024;
/// Most regular expressions in a filter: they are held while it waits.
pub const FILTER_PATTERNS_MAX: usize = 8;
/// Services that are remembered after their last entry has gone, with the index of when: whoever
/// waits for one of them is not woken by others that go.
pub const CATALOG_GONE_MAX: usize = 10_000;
/// Most prepared queries.
pub const PREPARED_QUERIES_MAX: usize = 1_024;
/// Bytes of a prepared query as it is sent.
pub const PREPARED_BYTES_MAX: usize = 64 * 1024;
/// Most nodes whose place in the space of round trips is kept.
pub const COORDINATES_MAX: usize = 10_000;
