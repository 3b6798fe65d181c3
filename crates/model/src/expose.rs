//! Exposure: which services of the catalog the balancers of the hosts serve by themselves, at which
//! names and ports. Off unless somebody says under which domains.

use crate::limits::{
    CATALOG_WORD_BYTES_MAX, EXPOSE_DOMAINS_MAX, EXPOSE_FAIL_TIMEOUT_MS, EXPOSE_MAX_FAILS_MAX,
};
use crate::selector::Selector;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// How an endpoint is chosen for a request or a connection.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The one with the least in flight for its weight.
    #[default]
    LeastConn,
    /// In turn, by weight.
    RoundRobin,
}

impl Balance {
    /// Is it what nobody needs to say?
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::LeastConn => "least_conn",
            Self::RoundRobin => "round_robin",
        })
    }
}

impl FromStr for Balance {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().replace('-', "_").as_str() {
            "least_conn" | "leastconn" => Ok(Self::LeastConn),
            "round_robin" | "roundrobin" => Ok(Self::RoundRobin),
            _ => Err(format!("{text:?} is no balance: write least_conn or round_robin")),
        }
    }
}

/// When an endpoint that cannot be reached is out of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Outlier {
    /// After so many connections in a row that could not be made; 0 is never.
    pub max_fails: u32,
    /// Longest time out, in milliseconds: it is tried sooner, by one request at a time. Failures
    /// that are further apart do not count together.
    pub fail_timeout_ms: u64,
}

impl Default for Outlier {
    /// nginx's usual words in front of Registrator: `max_fails=3 fail_timeout=60`.
    fn default() -> Self {
        Self { max_fails: 3, fail_timeout_ms: 60_000 }
    }
}

/// What is exposed, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Expose {
    /// Domains, in lower case: a service is found at `<name>.<domain>`. None is off.
    pub domains: Vec<String>,
    /// Services with this tag are served by host name.
    pub http_tag: String,
    /// Services with this tag, whose names end in `-<port>`, are served at that port.
    pub tcp_tag: String,
    /// The same for datagrams; empty is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub udp_tag: String,
    /// Port of what is served by host name.
    pub http_port: u16,
    /// Which hosts serve, by their labels; all when it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub hosts: Option<Selector>,
    /// How endpoints are chosen, where a service does not say it.
    pub balance: Balance,
    /// When endpoints are out, where a service does not say it.
    pub outlier: Outlier,
}

impl Default for Expose {
    fn default() -> Self {
        Self {
            domains: vec![],
            http_tag: "http".into(),
            tcp_tag: "tcp".into(),
            udp_tag: String::new(),
            http_port: 80,
            hosts: None,
            balance: Balance::default(),
            outlier: Outlier::default(),
        }
    }
}

impl Expose {
    /// Is nothing exposed?
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.domains.is_empty()
    }

    /// Brings it to the form that is kept: domains in lower case, without dots at their ends.
    #[must_use]
    pub fn normal(mut self) -> Self {
        for domain in &mut self.domains {
            *domain = domain.trim().trim_matches('.').to_ascii_lowercase();
        }
        self.domains.dedup();
        self
    }

    /// Can it be so?
    ///
    /// # Errors
    /// What cannot, and what to write.
    pub fn check(&self) -> Result<(), String> {
        if self.domains.len() > EXPOSE_DOMAINS_MAX {
            return Err(format!(
                "{} domains are more than {EXPOSE_DOMAINS_MAX}",
                self.domains.len()
            ));
        }
        for domain in &self.domains {
            check_host_name(domain).map_err(|why| format!("domain {domain:?}: {why}"))?;
        }
        let tags = [("http", &self.http_tag), ("tcp", &self.tcp_tag), ("udp", &self.udp_tag)];
        for (what, tag) in tags {
            let bad = tag.len() > CATALOG_WORD_BYTES_MAX || tag.chars().any(char::is_control);
            if bad || (tag.is_empty() && what != "udp") {
                return Err(format!("the {what} tag {:?} must be a word", tag.escape_debug()));
            }
        }
        if self.http_tag == self.tcp_tag {
            return Err(format!("{:?} cannot be the tag of both http and tcp", self.http_tag));
        }
        if self.http_port == 0 {
            return Err("the http port must be 1 to 65535".into());
        }
        check_max_fails(self.outlier.max_fails)?;
        check_fail_timeout(self.outlier.fail_timeout_ms)
    }
}

/// May it be so many failures?
///
/// # Errors
/// With the limit.
pub fn check_max_fails(count: u32) -> Result<(), String> {
    match count <= EXPOSE_MAX_FAILS_MAX {
        true => Ok(()),
        false => Err(format!("max_fails {count} must be 0 to {EXPOSE_MAX_FAILS_MAX}")),
    }
}

/// May an endpoint be out for so long?
///
/// # Errors
/// With the limits.
pub fn check_fail_timeout(ms: u64) -> Result<(), String> {
    let (least, most) = (EXPOSE_FAIL_TIMEOUT_MS.start(), EXPOSE_FAIL_TIMEOUT_MS.end());
    match EXPOSE_FAIL_TIMEOUT_MS.contains(&ms) {
        true => Ok(()),
        false => Err(format!("fail_timeout {ms} ms must be {least} ms to {} s", most / 1_000)),
    }
}

/// A time as nginx writes it: `60`, `60s`, `500ms`, `5m`, `1h`; in milliseconds.
///
/// # Errors
/// With what may be written.
pub fn parse_time_ms(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1_000,
        "ms" => 1,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let count: Option<u64> = digits.parse().ok().filter(|_| unit > 0);
    let ms = count.and_then(|count| count.checked_mul(unit));
    ms.ok_or_else(|| format!("{text:?} is no time: write 60, 60s, 500ms, 5m or 1h"))
}

/// Is it a host name that a caller can ask for, in lower case?
///
/// # Errors
/// Which rule it breaks.
pub fn check_host_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 253 {
        return Err("a host name has 1 to 253 bytes".into());
    }
    for label in name.split('.') {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if label.is_empty() || label.len() > 63 || !label.bytes().all(plain) {
            return Err(format!(
                "{label:?} is no part of a host name: 1 to 63 letters, digits, '-' and '_'"
            ));
        }
    }
    Ok(())
}

/// Reads it from outside: no other keys than those that there are.
///
/// # Errors
/// Which key.
pub fn strict<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Expose>, D::Error> {
    use serde::de::Error as _;
    let Some(value) = Option::<serde_json::Value>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let known = serde_json::to_value(Expose::default()).map_err(D::Error::custom)?;
    let is_known = |key: &str| known.get(key).is_some() || matches!(key, "udp_tag" | "hosts");
    let unknown = value.as_object().and_then(|all| all.keys().find(|key| !is_known(key)));
    if let Some(key) = unknown {
        return Err(D::Error::custom(format!("key {key:?} is not known in expose")));
    }
    serde_json::from_value(value).map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let good = || Expose { domains: vec!["Example.Internal.".into()], ..Expose::default() };
        assert_eq!(good().normal().check(), Ok(()));
        assert_eq!(good().normal().domains, ["example.internal"]);
        assert!(Expose::default().is_off());
        let fails = |max_fails| Outlier { max_fails, ..Outlier::default() };
        let out = |fail_timeout_ms| Outlier { fail_timeout_ms, ..Outlier::default() };
        for (change, why) in [
            (Expose { domains: vec!["a b".into()], ..good() }, "\"a b\" is no part"),
            (Expose { domains: vec!["a..b".into()], ..good() }, "\"\" is no part"),
            (Expose { domains: vec![String::new()], ..good() }, "1 to 253"),
            (Expose { domains: vec!["a".into(); 17], ..good() }, "more than 16"),
            (Expose { http_tag: String::new(), ..good().normal() }, "the http tag"),
            (Expose { tcp_tag: "a\nb".into(), ..good().normal() }, "the tcp tag"),
            (Expose { tcp_tag: "http".into(), ..good().normal() }, "both http and tcp"),
            (Expose { http_port: 0, ..good().normal() }, "http port"),
            (Expose { outlier: fails(1_001), ..good().normal() }, "max_fails 1001"),
            (Expose { outlier: out(99), ..good().normal() }, "fail_timeout 99 ms"),
            (Expose { outlier: out(3_600_001), ..good().normal() }, "to 3600 s"),
        ] {
            let error = change.check().unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn times_are_read_as_nginx_writes_them() {
        for (text, ms) in [
            ("60", Some(60_000)),
            (" 60s ", Some(60_000)),
            ("500ms", Some(500)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("", None),
            ("s", None),
            ("-1", None),
            ("1d", None),
            ("1.5s", None),
            ("99999999999999999999", None),
            ("18446744073709551615h", None),
            ("1é", None),
        ] {
            assert_eq!(parse_time_ms(text).ok(), ms, "{text:?}");
        }
    }

    #[test]
    fn what_comes_from_outside_is_read_strictly_and_what_is_kept_is_not() {
        let read = |text: &str| {
            let mut json = serde_json::Deserializer::from_str(text);
            strict(&mut json).map_err(|error| error.to_string())
        };
        let good = r#"{"domains":["a"],"udp_tag":"udp","hosts":"edge=true"}"#;
        assert_eq!(read(good).unwrap().unwrap().domains, ["a"]);
        assert_eq!(read("null"), Ok(None));
        assert!(read(r#"{"domain":["a"]}"#).unwrap_err().contains("\"domain\" is not known"));
        let newer: Expose = serde_json::from_str(r#"{"domains":["a"],"later":1}"#).unwrap();
        assert_eq!(newer.http_port, 80);
    }
}
