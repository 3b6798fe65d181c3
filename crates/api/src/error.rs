//! The one error shape of the API, and its kinds. The HTTP status is derived from the kind here
//! and nowhere else.

use serde::{Deserialize, Serialize};

/// Body of every answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorInfo,
}

/// What went wrong.
#[derive(
    Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, thiserror::Error,
)]
#[error("{message}")]
pub struct ErrorInfo {
    /// Which kind.
    pub kind: Kind,
    /// What, where and why, for people.
    pub message: String,
    /// What to do next; empty when nothing helps.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// Kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request makes no sense: 400.
    Invalid,
    /// No or a wrong token: 401.
    Unauthorized,
    /// There is no such thing: 404.
    NotFound,
    /// The route has no such method: 405.
    MethodNotAllowed,
    /// It changed meanwhile, or it is taken: 409.
    Conflict,
    /// Larger than the limit: 413.
    TooLarge,
    /// Something needed does not answer now: 503.
    Unavailable,
    /// A defect of ours: 500.
    Bug,
}

impl Kind {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> http::StatusCode {
        match self {
            Self::Invalid => http::StatusCode::BAD_REQUEST,
            Self::Unauthorized => http::StatusCode::UNAUTHORIZED,
            Self::NotFound => http::StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => http::StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => http::StatusCode::CONFLICT,
            Self::TooLarge => http::StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::Bug => http::StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl ErrorInfo {
    /// An error without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: String::new() }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// `Kind::NotFound`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// `Kind::Invalid`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// `Kind::Unavailable`.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }
}

impl axum::response::IntoResponse for ErrorInfo {
    fn into_response(self) -> axum::response::Response {
        let kind = self.kind;
        let body = axum::Json(ErrorBody { error: self });
        let mut response = (kind.status(), body).into_response();
        if kind == Kind::Unauthorized {
            let bearer = http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(http::header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

/// An error with its sources, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text.push_str(": ");
        text.push_str(&next.to_string());
        source = next.source();
    }
    text
}
