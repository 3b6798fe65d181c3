//! Health checks that Remuda itself carries out, and what they find.

use serde::{Deserialize, Serialize};

/// Rancher's `health_check`: a probe by the dataplane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HealthCheck {
    /// Port inside the container.
    pub port: u16,
    /// What is asked.
    pub probe: Probe,
    /// Milliseconds between probes.
    pub interval_ms: u64,
    /// Milliseconds a probe may take.
    pub timeout_ms: u64,
    /// Successes in a row to become healthy again.
    pub healthy_threshold: u32,
    /// Failures in a row to become unhealthy.
    pub unhealthy_threshold: u32,
    /// Time to the first success; `None` waits for ever (a rollout has its own deadline).
    pub initializing_timeout_ms: Option<u64>,
    /// The same after a restart.
    pub reinitializing_timeout_ms: Option<u64>,
    /// What an unhealthy instance causes.
    pub strategy: HealthStrategy,
}

impl HealthCheck {
    /// A TCP check of `port` with the defaults of Rancher's console.
    #[must_use]
    pub fn tcp(port: u16) -> Self {
        Self {
            port,
            probe: Probe::Tcp,
            interval_ms: 2_000,
            timeout_ms: 2_000,
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            initializing_timeout_ms: None,
            reinitializing_timeout_ms: None,
            strategy: HealthStrategy::Recreate,
        }
    }
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Probe {
    /// A connection is accepted.
    Tcp,
    /// An HTTP request is answered 2xx or 3xx.
    Http {
        /// `GET`.
        method: String,
        /// `/healthz`.
        path: String,
        /// `HTTP/1.0` or `HTTP/1.1`.
        version: String,
    },
}

/// Rancher's reaction to an unhealthy instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum HealthStrategy {
    /// It stays, out of traffic.
    None,
    /// It is replaced.
    #[default]
    Recreate,
    /// It is replaced when at least `quorum` others are healthy.
    RecreateOnQuorum {
        /// Healthy instances that must remain.
        quorum: u32,
    },
}

/// What is known of an instance's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nobody checks it.
    #[default]
    Unchecked,
    /// Checked, no verdict since its start.
    Initializing,
    /// Passing.
    Healthy,
    /// Failing.
    Unhealthy,
}

impl Health {
    /// May it take traffic while its container runs?
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Unchecked | Self::Healthy)
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Unchecked => "-",
            Self::Initializing => "initializing",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}
