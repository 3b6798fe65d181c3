//! Sessions: a claim of a node that ends when it is destroyed, when its time is over, or when a
//! check that it names is critical; what it holds goes with it.

mod delay;
mod http;
mod keep;

pub(crate) use delay::Delay;
pub(crate) use http::{ROUTES, Sessions, answer};
pub(crate) use keep::Keeper;

use crate::duration;
use crate::fold;
use bytes::Bytes;
use model::limits::{
    CONSUL_LOCK_DELAY_MS_DEFAULT, CONSUL_LOCK_DELAY_MS_MAX, CONSUL_SESSION_CHECKS_MAX,
    CONSUL_SESSION_TTL_MS_MAX, CONSUL_SESSION_TTL_MS_MIN,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Version of the stored form.
const VERSION: u32 = 1;
/// The check that every node has.
pub const SERF_HEALTH: &str = "serfHealth";
/// A delay below this was meant in seconds.
const SECONDS_BELOW: f64 = 1_000.0;

/// What becomes of the keys of a session that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behavior {
    /// They are free.
    #[default]
    Release,
    /// They are deleted.
    Delete,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Version of the stored form.
    v: u32,
    /// Its id, a UUID.
    pub id: Arc<str>,
    /// Its name; may be empty.
    #[serde(default)]
    pub name: String,
    /// Its node.
    pub node: String,
    /// How long its keys cannot be locked after it was lost, in milliseconds.
    #[serde(default)]
    pub lock_delay_ms: u64,
    /// What becomes of its keys.
    #[serde(default)]
    pub behavior: Behavior,
    /// Its time to live in milliseconds; 0 is for ever.
    #[serde(default)]
    pub ttl_ms: u64,
    /// The same as it was written.
    #[serde(default)]
    pub ttl: String,
    /// Checks of its node.
    #[serde(default)]
    pub node_checks: Vec<String>,
    /// Checks of services of its node, by id.
    #[serde(default)]
    pub service_checks: Vec<String>,
    /// When it came to be.
    #[serde(skip)]
    pub index: u64,
}

impl Session {
    pub(crate) fn decode(value: &Bytes, index: u64) -> Result<Self, String> {
        let session: Self = serde_json::from_slice(value).map_err(|e| e.to_string())?;
        if session.v != VERSION {
            return Err(format!("it has version {}, and this one knows {VERSION}", session.v));
        }
        Ok(Self { index, ..session })
    }

    pub(crate) fn encode(&self) -> Bytes {
        // Texts and numbers always have a JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// All checks that it rests on.
    pub fn checks(&self) -> impl Iterator<Item = &str> {
        self.node_checks.iter().chain(&self.service_checks).map(String::as_str)
    }

    /// When a session that was renewed just now ends. Clients count on twice their time.
    pub(crate) fn life(&self) -> Option<Duration> {
        (self.ttl_ms > 0).then(|| Duration::from_millis(self.ttl_ms * 2))
    }

    /// Reads what a client wants; an empty body wants nothing special.
    ///
    /// # Errors
    /// What makes no sense.
    pub(crate) fn wish(body: &[u8], id: &str, node: &str) -> Result<Self, String> {
        let value = match body.trim_ascii().is_empty() {
            true => Value::Null,
            false => {
                serde_json::from_slice(body).map_err(|e| format!("Request decode failed: {e}"))?
            }
        };
        let text = |key: &str| match fold::get(&value, key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(format!("Request decode failed: {key} is no text")),
        };
        let asked_node = text("Node")?;
        let behavior = match text("Behavior")?.as_str() {
            "" | "release" => Behavior::Release,
            "delete" => Behavior::Delete,
            other => return Err(format!("Invalid Behavior setting '{other}'")),
        };
        let (ttl, ttl_ms) = ttl(&text("TTL")?)?;
        let listed = match fold::get(&value, "NodeChecks") {
            None | Some(Value::Null) => fold::get(&value, "Checks"),
            listed => listed,
        };
        let node_checks = match listed {
            None | Some(Value::Null) => vec![SERF_HEALTH.to_owned()],
            listed => names(listed, "Checks")?,
        };
        let service_checks = names(fold::get(&value, "ServiceChecks"), "ServiceChecks")?;
        if node_checks.len() + service_checks.len() > CONSUL_SESSION_CHECKS_MAX {
            return Err(format!("a session names at most {CONSUL_SESSION_CHECKS_MAX} checks"));
        }
        Ok(Self {
            v: VERSION,
            id: id.into(),
            name: text("Name")?,
            node: if asked_node.is_empty() { node.to_owned() } else { asked_node },
            lock_delay_ms: lock_delay(fold::get(&value, "LockDelay"))?,
            behavior,
            ttl_ms,
            ttl,
            node_checks,
            service_checks,
            index: 0,
        })
    }
}

fn ttl(text: &str) -> Result<(String, u64), String> {
    if text.is_empty() {
        return Ok((String::new(), 0));
    }
    let ttl = duration::parse(text).ok_or_else(|| format!("Session TTL '{text}' invalid"))?;
    if ttl.is_zero() {
        return Ok((text.to_owned(), 0));
    }
    let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    if !(CONSUL_SESSION_TTL_MS_MIN..=CONSUL_SESSION_TTL_MS_MAX).contains(&ms) {
        let ns = ttl.as_nanos();
        return Err(format!("Invalid Session TTL '{ns}', must be between [10s=24h0m0s]"));
    }
    Ok((text.to_owned(), ms))
}

/// Milliseconds. A text is a duration, a number nanoseconds or, when it is small, seconds.
fn lock_delay(value: Option<&Value>) -> Result<u64, String> {
    let seconds = |number: f64| (number * 1e3) as u64;
    let ms = match value {
        None | Some(Value::Null) => CONSUL_LOCK_DELAY_MS_DEFAULT,
        Some(Value::String(text)) => match (duration::parse(text), text.parse::<f64>()) {
            (Some(delay), _) => u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            (None, Ok(number)) if (0.0..SECONDS_BELOW).contains(&number) => seconds(number),
            _ => return Err(format!("Request decode failed: LockDelay '{text}' is no duration")),
        },
        Some(Value::Number(number)) => match number.as_f64() {
            Some(number) if (0.0..SECONDS_BELOW).contains(&number) => seconds(number),
            Some(ns) if ns >= 0.0 => (ns / 1e6) as u64,
            _ => return Err("Request decode failed: LockDelay is negative".into()),
        },
        Some(_) => return Err("Request decode failed: LockDelay is no duration".into()),
    };
    Ok(ms.min(CONSUL_LOCK_DELAY_MS_MAX))
}

/// Texts, or objects with an `ID`.
fn names(value: Option<&Value>, what: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("Request decode failed: {what} is no list of checks");
    let list = match value {
        None | Some(Value::Null) => return Ok(vec![]),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong()),
    };
    let name = |item: &Value| match item {
        Value::String(name) => Some(name.clone()),
        item => fold::get(item, "ID").and_then(Value::as_str).map(str::to_owned),
    };
    let names = list.iter().map(|item| name(item).ok_or_else(wrong));
    names.filter(|name| name.as_ref().map_or(true, |name| !name.is_empty())).collect()
}

#[cfg(test)]
mod tests;
