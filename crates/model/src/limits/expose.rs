//! Limits of exposure.

/// Most domains under which exposed services have a name.
pub const EXPOSE_DOMAINS_MAX: usize = 16;
/// Most names and ports that are exposed in an environment; further ones are left out, which is told.
pub const EXPOSE_FRONTS_MAX: usize = 5_000;
/// Most host names that one service asks for by its labels.
pub const EXPOSE_HOSTNAMES_MAX: usize = 16;
/// Most failures in a row before an endpoint is out that can be asked for.
pub const EXPOSE_MAX_FAILS_MAX: u32 = 1_000;
/// Shortest and longest time that can be asked for an endpoint to be out, in milliseconds.
pub const EXPOSE_FAIL_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;
/// A container that got its stop signal and still runs takes new requests again after so long, in
/// milliseconds.
pub const EXPOSE_STOPPING_MS_MAX: u64 = 120_000;
/// Most ports of exposed services that a host tells it cannot listen on.
pub const EXPOSE_REFUSED_TOLD_MAX: usize = 64;
