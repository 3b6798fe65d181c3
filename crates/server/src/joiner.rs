//! Enrolment: a join token is checked, a certificate that names the host is signed; and who has one
//! is let in while it counts.

use crate::http::{allowed, refusal as to_error};
use crate::members::{claim, refusal};
use crate::state::Shared;
use api::certificate::{self, Grant};
use api::error::ErrorInfo;
use api::grpc::{EnrollRequest, EnrollResponse, Enroller, Forwarded, RenewRequest, RenewResponse};
use api::link::Hello;
use api::peer::{Peer, Refusal};
use control::operate::member::{self, Joining};
use model::host::Environment;
use model::record::TokenRole;
use store::Store;

/// Enrols agents, and lets them in.
#[derive(Debug)]
pub(crate) struct Joiner<S>(pub Shared<S>);

impl<S: Clone> Clone for Joiner<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// With what helps.
fn told(error: ErrorInfo) -> Refusal {
    match error.hint.as_str() {
        "" => Refusal::now(error.message),
        hint => Refusal::now(format!("{}; {hint}", error.message)),
    }
}

impl<S: Store> Joiner<S> {
    fn environment(&self) -> Result<Environment, Refusal> {
        let environment = self.0.cluster().environment().map(|e| (**e).clone());
        environment.ok_or_else(|| Refusal::now("the server is still starting"))
    }

    fn sign(&self, request_pem: &str, grant: &Grant<'_>) -> Result<String, Refusal> {
        certificate::sign(&self.0.authority.ca, request_pem, grant)
            .map_err(|error| Refusal::now(api::error::chain(&error)))
    }
}

impl<S: Store> Enroller for Joiner<S> {
    async fn enroll(&self, peer: &Peer, request: EnrollRequest) -> Result<EnrollResponse, Refusal> {
        let (shared, now, host) = (&self.0, self.0.now(), &request.host);
        let known = allowed(&shared.cluster(), &request.token, TokenRole::Join, now);
        known.map_err(|error| {
            Refusal::now(format!("{}; make one: `remuda host token create`", error.message))
        })?;
        member::check_clock(request.clock, now).map_err(refusal)?;
        if let Some(other) = shared.hosts.seen_from(host) {
            return Err(Refusal::now(format!(
                "a host {host} has joined and is connected{other}: give this one another id with \
                 --host"
            )));
        }
        let environment = self.environment()?;
        let token = api::token::parse(&request.token).map(|parts| parts.id).unwrap_or_default();
        let enrolment = api::token::hex(&rand::random::<[u8; 8]>());
        let life_ms = shared.authority.certificate_ms;
        let (environment_id, enrolment) = (environment.id.as_str(), enrolment.as_str());
        let grant = Grant { environment: environment_id, host, enrolment, now, life_ms };
        // Before anything is written: a request that is none counts as no use of the token.
        let certificate_pem = self.sign(&request.request_pem, &grant)?;
        let before = peer.certificate.as_ref().map(claim);
        let (token, before, until) = (token.as_str(), before.as_ref(), grant.until());
        let joining = Joining { token, host, before, enrolment, until };
        shared
            .propose(|cluster, now| member::enroll(cluster, &joining, now).map_err(to_error))
            .await
            .map_err(told)?;
        tracing::info!(%host, peer = %peer.address, "agent enrolled");
        Ok(EnrollResponse { host: host.clone(), certificate_pem, environment })
    }

    fn admit(&self, peer: &Peer, hello: &Hello) -> Result<(), Refusal> {
        let now = self.0.now();
        let certificate = peer.certificate.as_ref();
        let certificate = certificate.ok_or_else(|| Refusal::void("there is no certificate"))?;
        member::judge(&self.0.cluster(), &claim(certificate), now).map_err(refusal)?;
        member::check_clock(hello.clock, now).map_err(refusal)
    }

    async fn renew(&self, peer: &Peer, request: RenewRequest) -> Result<RenewResponse, Refusal> {
        let (shared, now) = (&self.0, self.0.now());
        let old = peer.certificate.as_ref();
        let old = old.ok_or_else(|| Refusal::void("there is no certificate to renew"))?;
        let environment = self.environment()?;
        let grant = Grant {
            environment: &environment.id,
            host: &old.host,
            enrolment: &old.enrolment,
            now,
            life_ms: shared.authority.certificate_ms,
        };
        member::is_member(&shared.cluster(), &claim(old)).map_err(refusal)?;
        let certificate_pem = self.sign(&request.request_pem, &grant)?;
        let until = grant.until();
        shared
            .propose(|cluster, _| {
                let denied = |denied: member::Denied| ErrorInfo::invalid(denied.why);
                member::renew(cluster, &claim(old), until).map_err(denied)
            })
            .await
            .map_err(told)?;
        tracing::info!(host = %old.host, until = until.utc(), "certificate renewed");
        Ok(RenewResponse { certificate_pem })
    }

    async fn forwarded(
        &self,
        peer: &Peer,
        request: http::Request<hyper::body::Incoming>,
    ) -> http::Response<Forwarded> {
        crate::consul::forwarded(&self.0, peer.certificate.as_ref(), request).await
    }

    fn refused(&self, peer: &Peer, why: &str) {
        self.0.refusals.note(peer, why, self.0.now());
    }
}
