//! How a command ends: the exit codes, and errors that know theirs.

use crate::output;
use api::error::{ErrorInfo, Kind};

/// Something went wrong.
pub(crate) const ERROR: u8 = 1;
/// The command or a file was wrong: nothing was done.
pub(crate) const USAGE: u8 = 2;
/// There is no such thing.
pub(crate) const NOT_FOUND: u8 = 3;
/// No or a wrong token.
pub(crate) const AUTH: u8 = 4;
/// It changed meanwhile, or it is taken: nothing was done.
pub(crate) const CONFLICT: u8 = 5;
/// The rollout failed; what served before goes on.
pub(crate) const ROLLOUT_FAILED: u8 = 6;
/// Not done in time; it goes on.
pub(crate) const TIMED_OUT: u8 = 7;
/// `plan` found changes.
pub(crate) const CHANGES: u8 = 10;
/// Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// With a message for people.
    Message {
        /// Exit code.
        code: u8,
        /// What, where, why.
        message: String,
        /// What to do next; may be empty.
        hint: String,
    },
    /// Everything has been said; only the code is left.
    Code(u8),
}

/// What commands return.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with exit code 1.
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::Message { code: ERROR, message: message.into(), hint: String::new() }
    }

    /// A failure with exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Message { code: USAGE, message: message.into(), hint: String::new() }
    }

    /// The same with what to do next.
    #[must_use]
    pub(crate) fn hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Message { code, message, .. } => {
                Self::Message { code, message, hint: text.into() }
            }
            Self::Code(code) => Self::Code(code),
        }
    }

    /// The exit code.
    #[must_use]
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Message { code, .. } | Self::Code(code) => *code,
        }
    }

    /// Says it on stderr.
    pub(crate) fn print(&self) {
        if let Self::Message { message, hint, .. } = self {
            output::complain(message, hint);
        }
    }
}

impl From<ErrorInfo> for Failure {
    fn from(error: ErrorInfo) -> Self {
        let code = match error.kind {
            Kind::Invalid | Kind::TooLarge => USAGE,
            Kind::Unauthorized => AUTH,
            Kind::NotFound => NOT_FOUND,
            Kind::Conflict => CONFLICT,
            Kind::MethodNotAllowed | Kind::Unavailable | Kind::Bug => ERROR,
        };
        Self::Message { code, message: error.message, hint: error.hint }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::error(error.to_string())
    }
}
