//! What may go wrong with an engine. No text here holds the value of an environment variable or
//! the content of a file.

use model::limits::REASON_BYTES_MAX;
use std::path::PathBuf;

/// Result of an engine call.
pub type Result<T> = std::result::Result<T, Error>;

/// The cause below one of ours.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An engine call that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens at the socket, or we may not connect.
    #[error(
        "docker cannot be reached at {socket}: start it (`systemctl start docker`), or set DOCKER_HOST, and see that this user may open the socket"
    )]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
    /// `DOCKER_HOST` names something other than a Unix socket.
    #[error("DOCKER_HOST is {host:?}: only unix:///path is supported, containers are local")]
    BadHost {
        /// What it is.
        host: String,
    },
    /// The engine is older than we can work with.
    #[error(
        "docker speaks API {found}, but at least {needed} (docker 20.10) is needed: upgrade docker"
    )]
    TooOld {
        /// API version of the engine.
        found: String,
        /// API version needed.
        needed: &'static str,
    },
    /// No answer in time: the engine may hang. Whether it took effect is not known.
    #[error("docker did not answer within {after_ms} ms: {operation}")]
    Timeout {
        /// What was asked.
        operation: String,
        /// The deadline in milliseconds.
        after_ms: u64,
    },
    /// The connection ended before the answer. Whether it took effect is not known.
    #[error("docker's connection broke, whether it was done is not known: {operation}")]
    Lost {
        /// What was asked.
        operation: String,
        /// How it broke.
        #[source]
        source: Cause,
    },
    /// The answer is not what the API says it is.
    #[error("docker's answer makes no sense: {operation}")]
    Answer {
        /// What was asked.
        operation: String,
        /// What is wrong with it.
        #[source]
        source: Cause,
    },
    /// The engine said no.
    #[error("docker refused to {operation} (status {status}): {message}")]
    Docker {
        /// What was asked.
        operation: String,
        /// HTTP status.
        status: u16,
        /// Docker's words.
        message: String,
    },
    /// The thing the call is about is not there.
    #[error("cannot {operation}: {message}")]
    NotFound {
        /// What was asked.
        operation: String,
        /// Docker's words.
        message: String,
    },
    /// Another container has the name.
    #[error(
        "the container name {name} is taken by {by}: remove or rename that container if it is not needed"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        by: String,
    },
    /// A network of that name is there, but it is not the one that is wanted.
    #[error("the docker network {name} cannot be used: {why}")]
    NetworkClash {
        /// The network.
        name: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The volume cannot be used.
    #[error("the volume {name} cannot be used: {why}")]
    Volume {
        /// The volume.
        name: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The image cannot be had.
    #[error("image {image} is missing: {why}")]
    ImageMissing {
        /// The image.
        image: String,
        /// Why.
        why: ImageWhy,
    },
    /// A name that Docker could not know, refused before it is part of a request.
    #[error("{what} {name:?} is not valid")]
    BadName {
        /// Which kind of name.
        what: &'static str,
        /// The name, cut.
        name: String,
    },
    /// The container cannot be made as it is specified.
    #[error("container {container} cannot be made: {why}")]
    Spec {
        /// Its name.
        container: String,
        /// What is wrong.
        why: String,
    },
    /// The private files (secrets, configs) of a container.
    #[error("cannot {action} {path}")]
    Files {
        /// What was tried.
        action: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A build failed.
    #[error("the build failed at {step}: {message}")]
    Build {
        /// `step 3/7: RUN make`, or "the start".
        step: String,
        /// Docker's words.
        message: String,
    },
}

/// Why an image cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageWhy {
    /// It may not be pulled.
    #[error("it is not on this host, and its pull policy is `never`")]
    NotHere,
    /// Not a name of an image.
    #[error("{0}")]
    BadName(&'static str),
    /// The registry does not have it.
    #[error("the registry has no such image or tag ({0})")]
    NotFound(String),
    /// The registry wants another login.
    #[error("the registry refuses it: log in with `docker login`, or check the name ({0})")]
    Denied(String),
    /// The registry cannot be reached.
    #[error("the registry cannot be reached ({0})")]
    RegistryUnreachable(String),
    /// The registry wants us to slow down.
    #[error("the registry limits the rate of pulls ({0})")]
    RateLimited(String),
    /// It is there, but not for this machine.
    #[error("it does not exist for this machine's architecture ({0})")]
    WrongPlatform(String),
    /// None of these.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// May the same call succeed later without anybody doing anything? Whether this one took effect
    /// is not known then.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Lost { .. }
            | Self::Answer { .. } => true,
            Self::Docker { status, message, .. } => *status >= 500 && !is_lasting(message),
            Self::ImageMissing { why, .. } => {
                matches!(why, ImageWhy::RegistryUnreachable(_) | ImageWhy::RateLimited(_))
            }
            Self::BadHost { .. }
            | Self::TooOld { .. }
            | Self::NotFound { .. }
            | Self::NameTaken { .. }
            | Self::NetworkClash { .. }
            | Self::Volume { .. }
            | Self::BadName { .. }
            | Self::Spec { .. }
            | Self::Files { .. }
            | Self::Build { .. } => false,
        }
    }
}

/// Docker answers 500 for much that is the container's own fault and will not heal by itself.
fn is_lasting(message: &str) -> bool {
    const SIGNS: [&str; 8] = [
        "OCI runtime create failed",
        "failed to create shim",
        "failed to create task",
        "no such device",
        "invalid mount config",
        "unknown log opt",
        "executable file not found",
        "permission denied",
    ];
    SIGNS.iter().any(|sign| message.contains(sign))
}

/// Docker's words, at most `REASON_BYTES_MAX` bytes of them, on one line.
pub(crate) fn shown(message: &str) -> String {
    let mut text = message.trim().replace(['\r', '\n'], " ");
    if text.len() > REASON_BYTES_MAX {
        let mut end = REASON_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, message: &str) -> Error {
        Error::Docker { operation: "start x".into(), status, message: message.into() }
    }

    #[test]
    fn only_what_may_heal_by_itself_is_transient() {
        for (error, transient) in [
            (refused(500, "layer store is busy"), true),
            (refused(503, ""), true),
            (refused(500, "OCI runtime create failed: runc create failed"), false),
            (refused(400, "bad parameter"), false),
            (refused(409, "removal in progress"), false),
            (Error::Timeout { operation: "x".into(), after_ms: 1 }, true),
            (Error::TooOld { found: "1.39".into(), needed: "1.41" }, false),
            (
                Error::ImageMissing {
                    image: "a".into(),
                    why: ImageWhy::RegistryUnreachable("dial tcp".into()),
                },
                true,
            ),
            (Error::ImageMissing { image: "a".into(), why: ImageWhy::NotHere }, false),
        ] {
            assert_eq!(error.is_transient(), transient, "{error}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let cut = shown(&"ü".repeat(REASON_BYTES_MAX));
        assert!(cut.len() <= REASON_BYTES_MAX + '…'.len_utf8());
        assert!(cut.ends_with('…'));
        assert_eq!(shown(" a\nb "), "a b");
    }
}
