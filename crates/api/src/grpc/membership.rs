//! How a host becomes a member and stays one: the agent's side of `Enroll` and `Renew`.

use super::connection::{Connection, Load, call_once, dial};
use super::{ENROLL, EnrollRequest, EnrollResponse, RENEW, RenewRequest, RenewResponse};
use crate::certificate;
use crate::link::LinkError;
use crate::tls::{self, Identity};
use model::host::Environment;
use model::id::HostId;
use model::time::Timestamp;

/// What enrolment gives: the id, and the identity to keep on the host, 0600.
#[derive(Clone)]
pub struct Enrolled {
    /// The id that the server gave.
    pub host: HostId,
    /// The environment that the host is a member of now.
    pub environment: Environment,
    /// Certificate and key.
    pub identity: Identity,
}

/// How a host joins.
#[derive(Clone, Copy)]
pub struct Joining<'a> {
    /// Server, host:port.
    pub address: &'a str,
    /// Text of the join token.
    pub token: &'a str,
    /// SHA-256 of the server's CA certificate, from the token.
    pub pin: &'a str,
    /// Id that the host would like.
    pub host: &'a HostId,
    /// What it was before: it proves that it is the host of that name, however old it is.
    pub before: Option<&'a Identity>,
    /// What its clock says.
    pub clock: Timestamp,
}

/// Enrols this host: makes a key, sends a request with the token, takes the certificate.
/// The server is trusted only if its CA has the hash in the token.
///
/// # Errors
/// `LinkError::Unreachable` (try again), or why the server or this host refuses.
pub async fn enroll(joining: &Joining<'_>) -> Result<Enrolled, LinkError> {
    let Joining { address, token, pin, host, before, clock } = *joining;
    let refused = |why: String| LinkError::Refused { address: address.to_owned(), why };
    let failed = |e: tls::TlsError| refused(crate::error::chain(&e));
    let tls = tls::pinned_client_config(pin, before, tls::ALPN_AGENT).map_err(failed)?;
    let (request_pem, key_pem) = certificate::request().map_err(failed)?;
    let connection = dial(address, tls, Load::Session).await?;
    let (token, host) = (token.to_owned(), host.clone());
    let body = EnrollRequest { token, host, request_pem, clock: Some(clock) };
    let answer: EnrollResponse = call_once(address, connection, ENROLL, &body).await?;
    let identity = Identity { chain_pem: answer.certificate_pem, key_pem };
    Ok(Enrolled { host: answer.host, environment: answer.environment, identity })
}

/// Asks for a certificate over a live connection; its key is made here, anew.
pub(super) async fn renew(address: &str, connection: Connection) -> Result<Identity, LinkError> {
    let failed = |e: tls::TlsError| LinkError::Refused {
        address: address.to_owned(),
        why: crate::error::chain(&e),
    };
    let (request_pem, key_pem) = certificate::request().map_err(failed)?;
    let body = RenewRequest { request_pem };
    let answer: RenewResponse = call_once(address, connection, RENEW, &body).await?;
    let identity = Identity { chain_pem: answer.certificate_pem, key_pem };
    certificate::read_pem(&identity.chain_pem).map_err(failed)?;
    Ok(identity)
}
