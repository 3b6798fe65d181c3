//! The link over gRPC: TLS with the CA pinned, HTTP/2, one bidirectional `Session` per agent, one
//! `Attach` per stream, and `Enroll`. Bodies are the JSON of `link`'s types, so that one side may
//! be a version ahead: unknown fields are ignored, missing ones have defaults.

mod agent_side;
mod server_side;

pub use agent_side::{Enrolled, GrpcLink, enroll};
pub use server_side::{Enroller, LinkServer};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The only message: its body is JSON, or a chunk in `Attach`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Frame {
    /// The body.
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
}

const ENROLL: &str = "/remuda.Agent/Enroll";
const SESSION: &str = "/remuda.Agent/Session";
const ATTACH: &str = "/remuda.Agent/Attach";
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

fn encode<T: Serialize>(value: &T) -> Result<Frame, tonic::Status> {
    let body = serde_json::to_vec(value)
        .map_err(|e| tonic::Status::internal(format!("frame cannot be written: {e}")))?;
    Ok(Frame { body: body.into() })
}

fn decode<'a, T: Deserialize<'a>>(frame: &'a Frame) -> Result<T, tonic::Status> {
    serde_json::from_slice(&frame.body)
        .map_err(|e| tonic::Status::invalid_argument(format!("frame cannot be read: {e}")))
}
