//! Services of the catalog that the hosts' balancers serve.

use serde::{Deserialize, Serialize};

/// One of them, served in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct ExposedRow {
    /// Its name in the catalog.
    pub name: String,
    /// http, tcp or udp.
    pub kind: String,
    /// `http://web.example.internal/`, `*:9999/tcp`; none when it is not served.
    pub at: Vec<String>,
    /// Its endpoints.
    pub endpoints: usize,
    /// Those that may take traffic.
    pub ready: usize,
    /// Why it is not served as it should be, or not by every host; empty when it is.
    pub reason: String,
}
