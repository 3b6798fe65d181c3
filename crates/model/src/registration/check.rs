//! Checks that clients ask for: what is asked of whom and how often, and how it stands.

use super::{ClientKey, broken_name, broken_node_name, broken_word};
use crate::limits::{
    CATALOG_ID_BYTES_MAX, CATALOG_WORD_BYTES_MAX, CHECK_BODY_BYTES_MAX, CHECK_HEADERS_BYTES_MAX,
    CHECK_MS_MAX, CHECK_OUTPUT_BYTES_MAX, CHECK_THRESHOLD_MAX, CHECK_URL_BYTES_MAX,
};
use crate::reason::cut;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How well something is. The worst of several is the whole's.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// Well.
    #[default]
    Passing,
    /// It works, and somebody should look.
    Warning,
    /// It takes no traffic.
    Critical,
}

impl CheckStatus {
    /// The word that clients know.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// From that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Passing, Self::Warning, Self::Critical].into_iter().find(|one| one.as_str() == word)
    }
}

/// Headers of a request that a check makes. They may hold secrets, and are not in what is shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckHeaders(pub BTreeMap<String, Vec<String>>);

impl fmt::Debug for CheckHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl CheckHeaders {
    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckProbe {
    /// Nothing: who registered it says how it is.
    Told,
    /// Nothing, and who registered it must say how it is at least so often, in milliseconds.
    Ttl(u64),
    /// An HTTP request: 2xx passes, 429 warns.
    Http {
        /// `http://` or `https://`.
        url: String,
        /// `GET` when nothing else was said.
        method: String,
        /// Headers beside the usual ones.
        #[serde(default, skip_serializing_if = "CheckHeaders::is_empty")]
        headers: CheckHeaders,
        /// What is sent.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        body: String,
        /// Of an `https://` URL.
        #[serde(default, skip_serializing_if = "CheckTls::is_default")]
        tls: CheckTls,
        /// A redirect is the answer, and is not followed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        no_redirects: bool,
    },
    /// A connection to `host:port`.
    Tcp {
        /// Where.
        address: String,
    },
    /// The health protocol of gRPC at `host:port`, of `host:port/service` with a service.
    Grpc {
        /// Where.
        address: String,
        /// With TLS, and how; `None` is in the clear.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<CheckTls>,
    },
    /// As well as a service of the same node, or with no id as the node itself.
    Alias {
        /// Id of the service.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        service: String,
    },
    /// A program; carried out only where the host's agent allows it, and by none yet.
    Script {
        /// The program and its words.
        args: Vec<String>,
    },
}

/// How a check trusts a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckTls {
    /// Any certificate will do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_verify: bool,
    /// Name in the certificate; empty is the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
}

impl CheckTls {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What is asked, how often, and from when on it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckPlan {
    /// What is asked.
    pub probe: CheckProbe,
    /// From one question to the next, in milliseconds; 0 when nothing is asked.
    #[serde(default)]
    pub interval_ms: u64,
    /// Longest wait for the answer, in milliseconds.
    #[serde(default)]
    pub timeout_ms: u64,
    /// Good answers in a row from which on it passes; 0 and 1 are the first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub success_before_passing: u16,
    /// Bad answers in a row from which on it warns; 0 is never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures_before_warning: u16,
    /// Bad answers in a row from which on it is critical; 0 and 1 are the first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures_before_critical: u16,
    /// Bytes of the answer that are kept, `CHECK_OUTPUT_BYTES_MAX` at most.
    #[serde(default = "output_max")]
    pub output_bytes_max: u16,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u16) -> bool {
    *number == 0
}

fn output_max() -> u16 {
    u16::try_from(CHECK_OUTPUT_BYTES_MAX).unwrap_or(u16::MAX)
}

impl CheckPlan {
    /// One that asks this, and how it asks is as usual.
    #[must_use]
    pub fn of(probe: CheckProbe) -> Self {
        Self {
            probe,
            interval_ms: 0,
            timeout_ms: 0,
            success_before_passing: 0,
            failures_before_warning: 0,
            failures_before_critical: 0,
            output_bytes_max: output_max(),
        }
    }

    /// Does a dataplane carry it out?
    #[must_use]
    pub fn is_asked(&self) -> bool {
        matches!(
            self.probe,
            CheckProbe::Http { .. } | CheckProbe::Tcp { .. } | CheckProbe::Grpc { .. }
        )
    }

    /// The word that clients know for it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.probe {
            CheckProbe::Told => "",
            CheckProbe::Ttl(_) => "ttl",
            CheckProbe::Http { .. } => "http",
            CheckProbe::Tcp { .. } => "tcp",
            CheckProbe::Grpc { .. } => "grpc",
            CheckProbe::Alias { .. } => "alias",
            CheckProbe::Script { .. } => "script",
        }
    }

    fn broken_rule(&self) -> Option<String> {
        let times = [self.interval_ms, self.timeout_ms];
        if times.into_iter().any(|ms| ms > CHECK_MS_MAX) {
            return Some(format!("Interval and Timeout must be at most {CHECK_MS_MAX} ms"));
        }
        let counts = [
            self.success_before_passing,
            self.failures_before_warning,
            self.failures_before_critical,
        ];
        if counts.into_iter().any(|count| count > CHECK_THRESHOLD_MAX) {
            return Some(format!("a threshold must be at most {CHECK_THRESHOLD_MAX}"));
        }
        match &self.probe {
            CheckProbe::Ttl(ms) if *ms == 0 || *ms > CHECK_MS_MAX => {
                Some(format!("TTL must be more than 0 and at most {CHECK_MS_MAX} ms"))
            }
            CheckProbe::Told | CheckProbe::Ttl(_) => None,
            CheckProbe::Alias { service } => {
                broken_word("the id of the service", service, CATALOG_ID_BYTES_MAX)
            }
            CheckProbe::Http { url, method, headers, body, .. } => {
                let bytes: usize = headers.0.iter().fold(0, |sum, (name, values)| {
                    sum + name.len() + values.iter().map(|value| value.len() + 2).sum::<usize>()
                });
                let headers =
                    headers.0.iter().flat_map(|(name, values)| std::iter::once(name).chain(values));
                broken_name("the URL", url, CHECK_URL_BYTES_MAX)
                    .or_else(|| url.contains(' ').then(|| "the URL has a space".into()))
                    .or_else(|| broken_name("the method", method, 32))
                    .or_else(|| {
                        (bytes > CHECK_HEADERS_BYTES_MAX).then(|| {
                            format!("the headers have more than {CHECK_HEADERS_BYTES_MAX} bytes")
                        })
                    })
                    .or_else(|| {
                        headers
                            .into_iter()
                            .find_map(|word| broken_word("a header", word, CHECK_HEADERS_BYTES_MAX))
                    })
                    .or_else(|| {
                        (body.len() > CHECK_BODY_BYTES_MAX)
                            .then(|| format!("the body has more than {CHECK_BODY_BYTES_MAX} bytes"))
                    })
            }
            CheckProbe::Tcp { address } | CheckProbe::Grpc { address, .. } => {
                broken_name("the address", address, CHECK_URL_BYTES_MAX)
            }
            CheckProbe::Script { args } => {
                let bytes: usize = args.iter().map(String::len).sum();
                (args.is_empty() || bytes > CHECK_BODY_BYTES_MAX)
                    .then(|| format!("Args must have 1 to {CHECK_BODY_BYTES_MAX} bytes"))
            }
        }
    }
}

/// A check that a client registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCheck {
    /// Its node and its id there.
    pub key: ClientKey,
    /// For people.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// Id of the service that it is of; empty when it is the node's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// What is asked.
    pub plan: CheckPlan,
    /// How it stands until somebody has found out.
    pub status: CheckStatus,
    /// Its service goes when it has been critical for so long, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deregister_after_ms: Option<u64>,
    /// When it was registered first. Tells it from an earlier one of the same id.
    pub since: Timestamp,
}

impl ClientCheck {
    /// Which rule it breaks; `None` when it can be kept.
    #[must_use]
    pub fn broken_rule(&self) -> Option<String> {
        broken_node_name(&self.key.node)
            .or_else(|| broken_name("the id of the check", &self.key.id, CATALOG_ID_BYTES_MAX))
            .or_else(|| broken_word("the name of the check", &self.name, CATALOG_WORD_BYTES_MAX))
            .or_else(|| {
                let long = self.notes.len() > CHECK_OUTPUT_BYTES_MAX;
                long.then(|| format!("the notes have more than {CHECK_OUTPUT_BYTES_MAX} bytes"))
            })
            .or_else(|| broken_word("the id of the service", &self.service, CATALOG_ID_BYTES_MAX))
            .or_else(|| self.plan.broken_rule())
    }
}

/// How a check stands: written when its status changes, and when its output has been another one for
/// long. Of checks that containers ask for by labels as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckState {
    /// Its node and its id there.
    pub key: ClientKey,
    /// Of which one: `ClientCheck::since`, or the start of the container. One of another run says
    /// nothing.
    pub run: Timestamp,
    /// How well.
    pub status: CheckStatus,
    /// What was found, `CHECK_OUTPUT_BYTES_MAX` at most.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// When its status became this.
    pub changed_at: Timestamp,
}

/// What a dataplane is to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckWish {
    /// What, and how often.
    pub plan: CheckPlan,
    /// Of which one; its results say it.
    pub run: Timestamp,
    /// Where it begins.
    pub status: CheckStatus,
}

/// What a dataplane found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckSeen {
    /// How well, thresholds counted.
    pub status: CheckStatus,
    /// The answer that made it so, or one not older than some minutes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Of which one.
    pub run: Timestamp,
}

/// Cuts what a check found to what is kept of it.
pub fn cut_output(output: &mut String) {
    cut(output, CHECK_OUTPUT_BYTES_MAX);
}

/// Takes away what no dataplane of ours would say.
pub(crate) fn bound(all: &mut BTreeMap<String, CheckSeen>) {
    all.retain(|id, _| id.len() <= CATALOG_ID_BYTES_MAX + 16);
    while all.len() > crate::limits::CHECKS_OF_NODE_MAX {
        all.pop_last();
    }
    all.values_mut().for_each(|seen| cut_output(&mut seen.output));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_not_in_what_is_shown() {
        let headers = [("Authorization".to_owned(), vec!["Bearer x1y2".to_owned()])];
        let headers = CheckHeaders(headers.into());
        assert_eq!(format!("{headers:?}"), r#"{"Authorization"}"#);
    }

    #[test]
    fn a_check_that_cannot_be_asked_or_asks_too_much_is_refused() {
        let http = |url: &str, header: &str, body: usize| CheckProbe::Http {
            url: url.into(),
            method: "GET".into(),
            headers: CheckHeaders([("x".to_owned(), vec![header.to_owned()])].into()),
            body: "b".repeat(body),
            tls: CheckTls::default(),
            no_redirects: false,
        };
        for (probe, good) in [
            (http("http://127.0.0.1/x", "a", 0), true),
            (http("http://127.0.0.1/x\r\n", "a", 0), false),
            (http("http://127.0.0.1/a b", "a", 0), false),
            (http("http://127.0.0.1/", "a\r\nb: c", 0), false),
            (http("http://127.0.0.1/", "a", CHECK_BODY_BYTES_MAX + 1), false),
            (http("", "a", 0), false),
            (CheckProbe::Ttl(0), false),
            (CheckProbe::Ttl(CHECK_MS_MAX + 1), false),
            (CheckProbe::Ttl(10), true),
            (CheckProbe::Told, true),
            (CheckProbe::Tcp { address: String::new() }, false),
        ] {
            assert_eq!(CheckPlan::of(probe.clone()).broken_rule().is_none(), good, "{probe:?}");
        }
        let slow = CheckPlan { interval_ms: CHECK_MS_MAX + 1, ..CheckPlan::of(CheckProbe::Told) };
        assert!(slow.broken_rule().is_some());
    }

    #[test]
    fn statuses_are_ordered_by_how_bad_they_are() {
        assert!(CheckStatus::Passing < CheckStatus::Warning);
        assert!(CheckStatus::Warning < CheckStatus::Critical);
        assert_eq!(CheckStatus::parse("warning"), Some(CheckStatus::Warning));
        assert_eq!(CheckStatus::parse("maintenance"), None);
    }
}
