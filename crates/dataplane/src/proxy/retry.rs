//! May a request that failed be sent again? Pure.

use http::Method;

/// How far a failed try had got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing of the request was written.
    Unsent,
    /// Some of it may have been written, nothing came back.
    Sent,
    /// Some of an answer came.
    Answered,
}

/// May a request of `method` be sent again, its body being still whole (`body_whole`)?
pub(super) fn may_retry(method: &Method, progress: Progress, body_whole: bool) -> bool {
    body_whole
        && match progress {
            Progress::Unsent => true,
            Progress::Sent => is_idempotent(method),
            Progress::Answered => false,
        }
}

/// Methods that may reach an endpoint twice.
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_do_harm_is_sent_again() {
        use Progress::{Answered, Sent, Unsent};
        for (method, progress, whole, want) in [
            (Method::POST, Unsent, true, true),
            (Method::POST, Unsent, false, false),
            (Method::POST, Sent, true, false),
            (Method::PATCH, Sent, true, false),
            (Method::GET, Sent, true, true),
            (Method::HEAD, Sent, true, true),
            (Method::PUT, Sent, true, true),
            (Method::PUT, Sent, false, false),
            (Method::DELETE, Sent, true, true),
            (Method::OPTIONS, Sent, true, true),
            (Method::GET, Answered, true, false),
        ] {
            assert_eq!(may_retry(&method, progress, whole), want, "{method} {progress:?} {whole}");
        }
    }
}
