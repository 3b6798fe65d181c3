//! Enrolment: a join token is checked, a certificate that names the host is signed.

use crate::http::{allowed, refusal};
use crate::state::Shared;
use api::grpc::{EnrollRequest, EnrollResponse, Enroller};
use control::operate::token::enroll;
use model::record::TokenRole;
use store::Store;

/// Enrols agents.
#[derive(Debug)]
pub(crate) struct Joiner<S>(pub Shared<S>);

impl<S: Clone> Clone for Joiner<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Store> Enroller for Joiner<S> {
    async fn enroll(&self, request: EnrollRequest) -> Result<EnrollResponse, String> {
        let shared = &self.0;
        allowed(&shared.cluster(), &request.token, TokenRole::Join, shared.now())
            .map_err(|error| error.message)?;
        let host = request.host;
        if shared.hosts.is_present(&host) {
            return Err(format!(
                "a host {host} has joined and is connected: give this one another id with --host"
            ));
        }
        let environment = shared.cluster().environment().map(|e| (**e).clone());
        let environment = environment.ok_or("the server is still starting")?;
        let token = api::token::parse(&request.token).map(|parts| parts.id).unwrap_or_default();
        shared
            .propose(|cluster, now| enroll(cluster, &token, &host, now).map_err(refusal))
            .await
            .map_err(|error| error.message)?;
        let certificate_pem =
            api::tls::sign_agent(&shared.authority.ca, &request.request_pem, &host)
                .map_err(|error| api::error::chain(&error))?;
        tracing::info!(%host, "agent enrolled");
        Ok(EnrollResponse { host, certificate_pem, environment })
    }
}
