//! confd's functions: keys of the backend, and small things for text, lists and names of hosts.

use super::sprig::path;
use super::text::{replaced, title};
use super::{Call, Outcome, Table};
use crate::value::{from_json, list, map, text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gotmpl::{TemplateError, Value};
use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs as _};

pub(super) const TABLE: Table = &[
    ("exists", |c| c.count(1, 1).and_then(|()| Ok(Value::Bool(found(c, 0)?.is_some())))),
    ("get", get),
    ("gets", |c| c.count(1, 1).and_then(|()| Ok(list(matching(c)?.map(pair).collect())))),
    ("getv", getv),
    ("getvs", |c| {
        c.count(1, 1).and_then(|()| Ok(list(matching(c)?.map(|(_, v)| text(v)).collect())))
    }),
    ("ls", |c| below(c, false)),
    ("lsdir", |c| below(c, true)),
    ("getenv", getenv),
    ("datetime", |c| {
        c.count(0, 0)?;
        Ok(text(crate::duration::format(c.scene.view.now, super::method::TIME)))
    }),
    ("split", |c| {
        c.count(2, 2)?;
        let (whole, separator) = (c.text(0)?, c.text(1)?);
        if separator.is_empty() {
            return Ok(list(whole.chars().map(|x| text(x.to_string())).collect()));
        }
        Ok(list(whole.split(separator).map(text).collect()))
    }),
    ("join", |c| {
        c.count(2, 2)?;
        let words: Result<Vec<&str>, _> = c.list(0)?.iter().map(|w| c.as_text(w)).collect();
        c.made(words?.join(c.text(1)?))
    }),
    ("toUpper", |c| c.count(1, 1).and_then(|()| c.made(c.text(0)?.to_uppercase()))),
    ("toLower", |c| c.count(1, 1).and_then(|()| c.made(c.text(0)?.to_lowercase()))),
    ("title", |c| c.count(1, 1).and_then(|()| c.made(title(c.text(0)?)))),
    ("trimSuffix", |c| {
        c.count(2, 2)?;
        Ok(text(c.text(0)?.strip_suffix(c.text(1)?).unwrap_or(c.text(0)?)))
    }),
    ("contains", |c| c.count(2, 2).and_then(|()| Ok(Value::Bool(c.text(0)?.contains(c.text(1)?))))),
    ("replace", replace),
    ("base", |c| c.count(1, 1).and_then(|()| Ok(text(path(c.text(0)?).1)))),
    ("dir", |c| c.count(1, 1).and_then(|()| Ok(text(path(c.text(0)?).0)))),
    ("json", |c| c.count(1, 1).and_then(|()| json(c))),
    ("jsonArray", |c| c.count(1, 1).and_then(|()| json(c))),
    ("map", pairs),
    ("reverse", |c| {
        c.count(1, 1).and_then(|()| Ok(list(c.list(0)?.iter().rev().cloned().collect())))
    }),
    ("sortByLength", |c| sorted(c, |v| v.to_string())),
    ("sortKVByLength", |c| {
        sorted(c, |v| v.field("Key").map(ToString::to_string).unwrap_or_default())
    }),
    ("base64Encode", |c| c.count(1, 1).and_then(|()| c.made(STANDARD.encode(c.text(0)?)))),
    ("base64Decode", |c| {
        c.count(1, 1).and_then(|()| super::codec::decoded(c, STANDARD.decode(c.text(0)?)))
    }),
    ("parseBool", |c| {
        c.count(1, 1)?;
        match c.text(0)? {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            other => Err(c.fail(format!("{other:?} is neither true nor false"))),
        }
    }),
    ("atoi", |c| c.count(1, 1).and_then(|()| Ok(Value::Int(c.int(0)?)))),
    ("add", |c| two(c, i64::checked_add)),
    ("sub", |c| two(c, i64::checked_sub)),
    ("mul", |c| two(c, i64::checked_mul)),
    ("div", |c| two(c, i64::checked_div)),
    ("mod", |c| two(c, i64::checked_rem)),
    ("seq", |c| {
        c.count(2, 2)?;
        let (from, to) = (c.int(0)?, c.int(1)?);
        if to.saturating_sub(from) > 1_000_000 {
            return Err(c.fail("has too many numbers"));
        }
        Ok(list((from..=to).map(Value::Int).collect()))
    }),
    ("fileExists", |c| {
        c.count(1, 1).and_then(|()| Ok(Value::Bool(std::path::Path::new(c.text(0)?).exists())))
    }),
    ("lookupIP", |c| looked_up(c, |_| true)),
    ("lookupIPV4", |c| looked_up(c, IpAddr::is_ipv4)),
    ("lookupIPV6", |c| looked_up(c, IpAddr::is_ipv6)),
];

fn found<'a>(call: &'a Call<'_>, at: usize) -> Result<Option<&'a str>, TemplateError> {
    let key = format!("/{}", call.text(at)?.trim_matches('/'));
    Ok(call.scene.view.keys.get(&key).map(String::as_str))
}

fn absent(call: &Call<'_>) -> TemplateError {
    call.fail(format!("key {} does not exist", call.text(0).unwrap_or_default()))
}

fn pair((key, value): (&str, &str)) -> Value {
    map([("Key", text(key)), ("Value", text(value))])
}

fn get(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    let value = found(call, 0)?.ok_or_else(|| absent(call))?;
    Ok(pair((call.text(0)?, value)))
}

fn getv(call: &Call<'_>) -> Outcome {
    call.count(1, 2)?;
    match (found(call, 0)?, call.args.get(1)) {
        (Some(value), _) => Ok(text(value)),
        (None, Some(default)) => Ok(default.clone()),
        (None, None) => Err(absent(call)),
    }
}

/// Keys that a pattern of a shell matches: `*` and `?` stay within one part.
fn matching<'a>(
    call: &'a Call<'_>,
) -> Result<impl Iterator<Item = (&'a str, &'a str)>, TemplateError> {
    let glob = format!("/{}", call.text(0)?.trim_start_matches('/'));
    let mut pattern = String::from("^");
    let mut chars = glob.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => pattern.push_str("[^/]*"),
            '?' => pattern.push_str("[^/]"),
            '[' => {
                pattern.push('[');
                for inner in chars.by_ref() {
                    pattern.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            '\\' => pattern.push_str(&regex::escape(&chars.next().unwrap_or('\\').to_string())),
            c => pattern.push_str(&regex::escape(&c.to_string())),
        }
    }
    pattern.push('$');
    let pattern = call.pattern(&pattern)?;
    let all = call.scene.view.keys.iter();
    Ok(all
        .filter(move |(key, _)| pattern.is_match(key))
        .map(|(key, value)| (key.as_str(), value.as_str())))
}

/// Names right below a key; only those that have more below them when they have to be folders.
fn below(call: &Call<'_>, folders: bool) -> Outcome {
    call.count(1, 1)?;
    let top = call.text(0)?.trim_matches('/');
    let prefix = if top.is_empty() { "/".to_owned() } else { format!("/{top}/") };
    let mut names = BTreeSet::new();
    for key in call.scene.view.keys.keys() {
        let Some(rest) = key.strip_prefix(&prefix) else { continue };
        match rest.split_once('/') {
            Some((name, _)) => names.insert(name),
            None if folders || rest.is_empty() => false,
            None => names.insert(rest),
        };
    }
    Ok(list(names.into_iter().map(text).collect()))
}

fn getenv(call: &Call<'_>) -> Outcome {
    call.count(1, 2)?;
    let found = call.scene.view.env.get(call.text(0)?).filter(|value| !value.is_empty());
    match (found, call.args.get(1)) {
        (Some(value), _) => Ok(text(value.as_str())),
        (None, Some(default)) => Ok(default.clone()),
        (None, None) => Ok(text("")),
    }
}

fn replace(call: &Call<'_>) -> Outcome {
    call.count(4, 4)?;
    let (whole, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    match usize::try_from(call.int(3)?) {
        Ok(most) if most.saturating_mul(to.len()) <= model::limits::TEMPLATE_VALUE_BYTES_MAX => {
            call.made(whole.replacen(from, to, most))
        }
        _ => replaced(call, from, to, whole),
    }
}

fn json(call: &Call<'_>) -> Outcome {
    let json: serde_json::Value = serde_json::from_str(call.text(0)?).map_err(|e| call.fail(e))?;
    Ok(from_json(&json))
}

fn pairs(call: &Call<'_>) -> Outcome {
    if call.args.len() % 2 == 1 {
        return Err(call.fail("takes keys and values in pairs"));
    }
    let mut fields = super::lists::Fields::new();
    for at in (0..call.args.len()).step_by(2) {
        fields.insert(call.text(at)?.into(), call.arg(at + 1)?.clone());
    }
    Ok(Value::Map(std::sync::Arc::new(fields)))
}

fn sorted(call: &Call<'_>, by: impl Fn(&Value) -> String) -> Outcome {
    call.count(1, 1)?;
    let mut all = call.list(0)?.to_vec();
    all.sort_by_key(|value| by(value).len());
    Ok(list(all))
}

fn two(call: &Call<'_>, with: fn(i64, i64) -> Option<i64>) -> Outcome {
    call.count(2, 2)?;
    let (a, b) = (call.int(0)?, call.int(1)?);
    with(a, b).map(Value::Int).ok_or_else(|| call.fail(format!("{a} and {b} have no result")))
}

fn looked_up(call: &Call<'_>, wanted: fn(&IpAddr) -> bool) -> Outcome {
    call.count(1, 1)?;
    // A name that is not known has no addresses, as in the original.
    let all = (call.text(0)?, 0).to_socket_addrs().map(Iterator::collect).unwrap_or(vec![]);
    let all: BTreeSet<IpAddr> = all.iter().map(std::net::SocketAddr::ip).filter(wanted).collect();
    Ok(list(all.into_iter().map(|ip| text(ip.to_string())).collect()))
}
