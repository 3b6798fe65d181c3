//! The link over gRPC: TLS with the CA pinned, HTTP/2, one bidirectional `Session` per agent, one
//! `Attach` per stream, `Enroll` and `Renew`. Bodies are the JSON of `link`'s types, so that one side may
//! be a version ahead: unknown fields are ignored, missing ones have defaults.

mod agent_side;
mod connection;
mod membership;
mod server_side;

pub use agent_side::{Caller, GrpcLink, Standing};
pub use membership::{Enrolled, Joining, enroll};
pub use server_side::{Enroller, Forwarded, LinkServer};

use bytes::Bytes;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The only message: its body is JSON, or a chunk in `Attach`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Frame {
    /// The body.
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
}

const ENROLL: &str = "/remuda.Agent/Enroll";
const RENEW: &str = "/remuda.Agent/Renew";
const SESSION: &str = "/remuda.Agent/Session";
const ATTACH: &str = "/remuda.Agent/Attach";
/// Paths of plain HTTP that clients asked the agent: they go to the server as they are.
const FORWARDED: &str = "/v1/";
const STREAM_HEADER: &str = "remuda-stream";

/// Body of `Enroll`.
#[derive(Clone, Serialize, Deserialize)]
pub struct EnrollRequest {
    /// The join token.
    pub token: String,
    /// Id that the host would like.
    pub host: model::id::HostId,
    /// Certificate request, PEM.
    pub request_pem: String,
    /// What the clock of the host says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Timestamp>,
}

/// Answer of `Enroll`.
#[derive(Clone, Serialize, Deserialize)]
pub struct EnrollResponse {
    /// The id that it got.
    pub host: model::id::HostId,
    /// Its certificate, PEM.
    pub certificate_pem: String,
    /// The environment that it is a member of now.
    pub environment: model::host::Environment,
}

/// Body of `Renew`: what the certificate of the connection says stays as it is.
#[derive(Clone, Serialize, Deserialize)]
pub struct RenewRequest {
    /// Certificate request for a new key, PEM.
    pub request_pem: String,
}

/// Answer of `Renew`.
#[derive(Clone, Serialize, Deserialize)]
pub struct RenewResponse {
    /// The new certificate, PEM.
    pub certificate_pem: String,
}

fn encode<T: Serialize>(value: &T) -> Result<Frame, tonic::Status> {
    let body = serde_json::to_vec(value)
        .map_err(|e| tonic::Status::internal(format!("frame cannot be written: {e}")))?;
    Ok(Frame { body: body.into() })
}

fn decode<'a, T: Deserialize<'a>>(frame: &'a Frame) -> Result<T, tonic::Status> {
    serde_json::from_slice(&frame.body)
        .map_err(|e| tonic::Status::invalid_argument(format!("frame cannot be read: {e}")))
}
