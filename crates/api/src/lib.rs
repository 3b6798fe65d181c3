//! What crosses process borders: routes and wire types of the HTTP API, its client, and the link
//! between server and agent. No decision is made here.

pub mod routes;
pub mod wire;
pub mod error;
pub mod token;
pub mod tls;
pub mod certificate;
pub mod client;
pub mod stream;
pub mod peer;
pub mod image;
pub mod pace;
pub mod link;
pub mod grpc;
