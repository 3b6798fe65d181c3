//! Stacks as they are wanted.

use crate::id::ServiceName;
use crate::service::ServiceSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A whole stack: what `remuda up` sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StackSpec {
    /// Its services.
    #[schema(value_type = Object)]
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    /// Named volumes by Docker's full name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub volumes: BTreeMap<String, VolumeSpec>,
}

/// A named volume. It is made when a service needs it and never removed but by the user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct VolumeSpec {
    /// Docker's driver; empty is `local`.
    pub driver: String,
    /// Its options.
    pub driver_opts: BTreeMap<String, String>,
    /// Labels of the volume.
    pub labels: BTreeMap<String, String>,
    /// Made by somebody else: never created, a missing one is a failure.
    pub external: bool,
}
