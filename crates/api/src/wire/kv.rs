//! What keys were.

use model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Which versions are asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct KvHistoryQuery {
    /// The key, or with `below` the beginning of keys.
    pub key: String,
    /// Of every key that begins so.
    pub below: bool,
    /// Only this version of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// With values, of one key only.
    pub values: bool,
}

/// Answer: versions of one key or of several, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct KvHistory {
    /// At which index the key was changed last, a lock counted; 0 when it is not there, or when
    /// several keys were asked for.
    pub modified: u64,
    /// Those that are kept.
    pub versions: Vec<KvVersion>,
}

/// A version of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct KvVersion {
    /// The key.
    pub key: String,
    /// Its number; they count from 1. Where one is missing it has been forgotten.
    pub version: u32,
    /// Index of the change.
    pub index: u64,
    /// When.
    pub at: Timestamp,
    /// Who: `host h1`, `token 5f2a…`, `end of session …`; empty when it is not known.
    pub by: String,
    /// The key was deleted.
    pub deleted: bool,
    /// The key is so now.
    pub current: bool,
    /// Flags of the key.
    pub flags: u64,
    /// Bytes of the value.
    pub bytes: usize,
    /// The value in base64, when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}
