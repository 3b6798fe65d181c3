//! What a joined host keeps to prove itself, and how it stays a member: its certificate is renewed
//! well before its end, and with a token at hand a host that is none any more joins again, as the
//! host that it was.

use super::AgentArgs;
use crate::exit::{AUTH, Failure, Outcome};
use crate::output;
use crate::paths;
use crate::role::clock;
use crate::role::server::{read_environment, write_environment};
use api::certificate::{self, Certificate};
use api::grpc::{Caller, GrpcLink, Joining, Standing, enroll};
use api::link::LinkError;
use api::tls::{Identity, TlsError};
use model::id::HostId;
use model::limits::CERTIFICATE_MS_MAX;
use model::time::Clock;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two tries to join a server that does not answer.
const JOIN_RETRY: Duration = Duration::from_secs(1);
/// Longest sleep until the time is looked at again: a clock may be set.
const LOOK: Duration = Duration::from_secs(600);

/// What an enrolled host keeps.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Membership {
    pub(super) host: HostId,
    pub(super) server: String,
    pin: String,
    certificate_pem: String,
    key_pem: String,
    pub(super) environment: String,
}

impl Membership {
    fn identity(&self) -> Identity {
        Identity { chain_pem: self.certificate_pem.clone(), key_pem: self.key_pem.clone() }
    }

    /// The same with another certificate.
    fn with(&self, identity: Identity) -> Self {
        let Identity { chain_pem: certificate_pem, key_pem } = identity;
        Self { certificate_pem, key_pem, ..self.clone() }
    }

    /// The way to the server.
    pub(super) fn link(&self, caller: Caller) -> Result<GrpcLink, TlsError> {
        GrpcLink::new(&self.server, &self.pin, &self.identity(), caller)
    }

    fn write(&self, file: &Path) -> Outcome {
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::from)?;
        paths::write_private(file, &text)
    }

    /// Says that the certificate has expired, by the clock of this host; the server decides.
    fn warn(&self) {
        let Ok(read) = certificate::read_pem(&self.certificate_pem) else { return };
        if clock().now() >= read.until {
            output::note(&format!(
                "the certificate of this host has expired: it was good until {}; start it with \
                 --join and a --token (`remuda host token create`) to take it back",
                read.until.utc()
            ));
        }
    }
}

/// Keeps a host a member.
pub(super) struct Keeper {
    pub(super) membership: Membership,
    pub(super) file: PathBuf,
    pub(super) link: GrpcLink,
    /// Used at most once, when the server says that the certificate is worth nothing.
    pub(super) token: Option<JoinToken>,
    pub(super) clock: Clock,
}

impl Keeper {
    /// Works for ever.
    pub(super) async fn run(mut self) {
        if let Some(token) = self.token.take() {
            self.come_back(&token).await;
        }
        let mut said = String::new();
        loop {
            let (renew_at, retry) = match certificate::read_pem(&self.membership.certificate_pem) {
                Ok(read) => (renew_at(&read, self.clock.now()), read.retry_ms()),
                // It was read when the link was made.
                Err(_) => return std::future::pending().await,
            };
            let left = renew_at.since_ms(self.clock.now());
            if left > 0 {
                tokio::time::sleep(Duration::from_millis(left).min(LOOK)).await;
                continue;
            }
            match self.link.renew().await {
                Ok(identity) => {
                    said.clear();
                    self.take(identity);
                }
                Err(error) => {
                    let why = error.to_string();
                    if said != why {
                        tracing::warn!(why, "certificate not renewed yet, trying again");
                        said = why;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(retry)).await;
        }
    }

    /// A new certificate is there: it is kept, and used for the next connection.
    fn take(&mut self, identity: Identity) {
        if let Err(error) = self.link.replace(&identity) {
            tracing::warn!(%error, "new certificate cannot be used");
            return;
        }
        self.membership = self.membership.with(identity);
        let until = certificate::read_pem(&self.membership.certificate_pem);
        let until = until.map(|read| read.until.utc()).unwrap_or_default();
        match self.membership.write(&self.file) {
            Ok(()) => tracing::info!(until, "certificate renewed"),
            Err(_) => tracing::warn!(
                until,
                file = %self.file.display(),
                "new certificate cannot be kept, and is lost when this agent ends"
            ),
        }
    }

    /// Joins again if the server says that this host is no member any more; its containers stay.
    async fn come_back(&mut self, token: &JoinToken) {
        let mut standing = self.link.standing();
        loop {
            let now = standing.borrow_and_update().clone();
            match now {
                Standing::Good => return,
                Standing::Void(_) => {}
                Standing::Unknown => {
                    if standing.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
            }
            let before = self.membership.identity();
            let joining = Joining {
                address: &self.membership.server,
                token: &token.text,
                pin: &token.pin,
                host: &self.membership.host,
                before: Some(&before),
                clock: self.clock.now(),
            };
            match enroll(&joining).await {
                Ok(enrolled) if enrolled.environment.id != self.membership.environment => {
                    tracing::error!("the server is of another environment now: not joined again");
                    return;
                }
                Ok(enrolled) => {
                    self.take(enrolled.identity);
                    let host = &self.membership.host;
                    output::note(&format!("host {host} is a member again; its containers stay"));
                    return;
                }
                Err(LinkError::Unreachable { .. }) => tokio::time::sleep(JOIN_RETRY).await,
                Err(error) => {
                    output::note(&format!("this host cannot join again: {error}"));
                    return;
                }
            }
        }
    }
}

/// When a certificate is renewed; one that lives longer than any that is made now, at once.
fn renew_at(read: &Certificate, now: model::time::Timestamp) -> model::time::Timestamp {
    match read.until.since_ms(read.from) > 2 * CERTIFICATE_MS_MAX {
        true => now,
        false => read.renew_at(),
    }
}

/// Reads the membership; without one the host joins with the token.
///
/// # Errors
/// Why this host is no member and cannot become one.
pub(super) async fn open(
    args: &AgentArgs,
    file: &Path,
) -> Outcome<(Membership, Option<JoinToken>)> {
    // An API token of the environment (REMUDA_TOKEN) comes in by the same option.
    let api = |text: &String| text.starts_with(api::token::API_PREFIX);
    let token = match &args.token {
        Some(text) if api(text) => std::env::var("REMUDA_JOIN_TOKEN").ok(),
        token => token.clone(),
    };
    let token = match token {
        Some(text) => Some(join_token(&text)?),
        None => None,
    };
    open_with(args, token, file).await
}

/// The same with the token at hand.
async fn open_with(
    args: &AgentArgs,
    token: Option<JoinToken>,
    file: &Path,
) -> Outcome<(Membership, Option<JoinToken>)> {
    let Some(mut membership) = read_membership(file)? else {
        let token = token.ok_or_else(|| {
            Failure::usage("this host has not joined a server yet")
                .hint("remuda agent --join HOST:7600 --token $(remuda host token create)")
        })?;
        return Ok((join(args, &token, file).await?, None));
    };
    super::own_host(&args.data_dir, args.host.as_deref())?;
    // A unit file may name the token for ever: who has joined needs it only to come back.
    if let Some(token) = token.as_ref().filter(|token| token.pin != membership.pin) {
        return Err(Failure::usage(format!(
            "this host belongs to another server than the token is of (CA {} and not {})",
            &membership.pin[..12.min(membership.pin.len())],
            &token.pin[..12.min(token.pin.len())]
        ))
        .hint("leave out --token, or take the host away from the other one: remuda dev down"));
    }
    if let Some(server) = &args.join {
        membership.server.clone_from(server);
    }
    membership.warn();
    Ok((membership, token))
}

/// Joins now: a machine that is a host of this server already gets a new certificate for what it is.
///
/// # Errors
/// Why it is no host.
pub(super) async fn join_now(args: &AgentArgs, token: JoinToken, file: &Path) -> Outcome<HostId> {
    let (membership, token) = open_with(args, Some(token), file).await?;
    let Some(token) = token else { return Ok(membership.host) };
    let before = membership.identity();
    let joining = Joining {
        address: &membership.server,
        token: &token.text,
        pin: &token.pin,
        host: &membership.host,
        before: Some(&before),
        clock: clock().now(),
    };
    let enrolled = enroll(&joining).await.map_err(refused)?;
    if enrolled.environment.id != membership.environment {
        return Err(Failure::error("the server is of another environment now: not joined again"));
    }
    membership.with(enrolled.identity).write(file)?;
    Ok(membership.host)
}

/// A join token, taken apart; its text as well.
pub(super) struct JoinToken {
    text: String,
    pub(super) pin: String,
}

/// Why the server does not take this machine.
fn refused(error: LinkError) -> Failure {
    Failure::Message {
        code: AUTH,
        message: error.to_string(),
        hint:
            "on the server `remuda host ls` shows who has joined, and `remuda host token create` \
               makes a new token"
                .into(),
    }
}

pub(super) fn join_token(text: &str) -> Outcome<JoinToken> {
    let parts = api::token::parse(text).filter(|parts| !parts.pin.is_empty());
    let parts = parts.ok_or_else(|| {
        Failure::usage("that is not a whole join token (rmj_…)")
            .hint("make one on the server: remuda host token create")
    })?;
    Ok(JoinToken { text: text.trim().to_owned(), pin: parts.pin })
}

fn read_membership(file: &Path) -> Outcome<Option<Membership>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::error(format!("{}: {e}", file.display()))),
    };
    serde_json::from_str(&text).map(Some).map_err(|e| {
        Failure::error(format!("{} cannot be read: {e}", file.display())).hint(
            "remove the file and join again: \
             remuda agent --join HOST:7600 --token $(remuda host token create --host ID)",
        )
    })
}

/// Joins; waits for a server that does not answer yet.
async fn join(args: &AgentArgs, token: &JoinToken, file: &Path) -> Outcome<Membership> {
    let server =
        args.join.clone().ok_or_else(|| Failure::usage("--token needs --join HOST:7600"))?;
    let host = super::own_host(&args.data_dir, args.host.as_deref())?;
    let mut said = String::new();
    let enrolled = loop {
        let joining = Joining {
            address: &server,
            token: &token.text,
            pin: &token.pin,
            host: &host,
            before: None,
            clock: clock().now(),
        };
        match enroll(&joining).await {
            Ok(enrolled) => break enrolled,
            Err(error) if !matches!(error, LinkError::Unreachable { .. }) => {
                return Err(refused(error));
            }
            Err(error) => {
                let why = error.to_string();
                if said != why {
                    output::note(&format!("{why}; waiting for it"));
                    said = why;
                }
                tokio::time::sleep(JOIN_RETRY).await;
            }
        }
    };
    let environment = enrolled.environment;
    if let Some(other) = read_environment(&args.data_dir).filter(|id| *id != environment.id) {
        return Err(Failure::error(format!(
            "{} holds what runs here for environment {other}, and the server is of {}",
            args.data_dir.display(),
            environment.id
        ))
        .hint(
            "take it away first with `remuda dev down`, or name another folder with --data-dir",
        ));
    }
    let membership = Membership {
        host: enrolled.host,
        server,
        pin: token.pin.clone(),
        certificate_pem: enrolled.identity.chain_pem,
        key_pem: enrolled.identity.key_pem,
        environment: environment.id.clone(),
    };
    // `dev down` must find what this host will hold, whatever happens next.
    write_environment(&args.data_dir, &environment)?;
    membership.write(file)?;
    Ok(membership)
}
