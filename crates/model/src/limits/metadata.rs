//! Limits of the metadata service.

/// Connections of containers to the metadata service of their host at a time. One container may
/// have four times as many as are still free.
pub const METADATA_CONNECTIONS_MAX: usize = 16_384;
/// Requests that wait for a change at a time, on one host: further ones are answered as if their
/// time were over.
pub const METADATA_WAITS_MAX: usize = 12_288;
/// Longest wait for a change, and the wait of those who name none, in seconds.
pub const METADATA_WAIT_S_MAX: u64 = 120;
/// The wait of those who name none, in seconds.
pub const METADATA_WAIT_S_DEFAULT: u64 = 60;
/// Head of a request with its path and question, in bytes.
pub const METADATA_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Segments of a path: no tree is so deep.
pub const METADATA_SEGMENTS_MAX: usize = 128;
/// Longest time for the head of a request, and between two requests, in milliseconds.
pub const METADATA_HEAD_MS_MAX: u64 = 75_000;
/// A connection that takes nothing of its answer for so long is closed, in milliseconds.
pub const METADATA_WRITE_MS_MAX: u64 = 10_000;
/// Threads that answer.
pub const METADATA_THREADS_MAX: usize = 2;
/// Pause between two tries to listen, in milliseconds.
pub const METADATA_BIND_RETRY_MS: u64 = 250;
/// Longest wait of a request for the metadata of the whole environment, where a host is told of it
/// only when it is asked for, in milliseconds.
pub const METADATA_LATER_MS_MAX: u64 = 5_000;
/// Between two writes of the metadata lie at least so many times as one took: a hundredth of a core.
pub const METADATA_STATE_PAUSE: u32 = 100;
/// Answers of more than 64 KiB that are held for their callers at a time, in bytes.
pub const METADATA_ANSWERS_BYTES_MAX: usize = 256 * 1024 * 1024;
