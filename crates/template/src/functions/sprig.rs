//! Sprig's functions of text, numbers, paths and time as `sprig_*`. Left out: what is random or
//! makes keys (a render has to be the same twice), and what changes a dictionary in its place.

use super::codec::{compact, decoded, escaped, hash, json_of, pretty};
use super::text::{indented, regex_replace, replaced, title};
use super::{Call, Outcome, Table};
use crate::value::{from_json, list, text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gotmpl::{TemplateError, Value};
use std::cmp::Ordering;

pub(super) const TABLE: Table = &[
    ("sprig_trim", |c| whole(c, |t| t.trim().to_owned())),
    ("sprig_upper", |c| whole(c, str::to_uppercase)),
    ("sprig_lower", |c| whole(c, str::to_lowercase)),
    ("sprig_title", |c| whole(c, title)),
    ("sprig_untitle", |c| whole(c, |t| first(t, char::to_ascii_lowercase))),
    ("sprig_nospace", |c| whole(c, |t| t.chars().filter(|c| !c.is_whitespace()).collect())),
    ("sprig_initials", |c| {
        whole(c, |t| t.split_whitespace().filter_map(|w| w.chars().next()).collect())
    }),
    ("sprig_snakecase", |c| whole(c, |t| parted(t, '_'))),
    ("sprig_kebabcase", |c| whole(c, |t| parted(t, '-'))),
    ("sprig_camelcase", |c| whole(c, camel)),
    ("sprig_swapcase", |c| whole(c, swapped)),
    ("sprig_toString", |c| c.count(1, 1).and_then(|()| c.made(c.shown(0)?.into_owned()))),
    ("sprig_trimAll", |c| two(c, |cut, t| t.trim_matches(|x| cut.contains(x)).to_owned())),
    ("sprig_trimPrefix", |c| two(c, |cut, t| t.strip_prefix(cut).unwrap_or(t).to_owned())),
    ("sprig_trimSuffix", |c| two(c, |cut, t| t.strip_suffix(cut).unwrap_or(t).to_owned())),
    ("sprig_contains", |c| said(c, |part, t| t.contains(part))),
    ("sprig_hasPrefix", |c| said(c, |part, t| t.starts_with(part))),
    ("sprig_hasSuffix", |c| said(c, |part, t| t.ends_with(part))),
    ("sprig_replace", |c| {
        c.count(3, 3).and_then(|()| replaced(c, c.text(0)?, c.text(1)?, c.text(2)?))
    }),
    ("sprig_repeat", repeat),
    ("sprig_substr", substr),
    ("sprig_trunc", trunc),
    ("sprig_abbrev", abbrev),
    ("sprig_indent", |c| c.count(2, 2).and_then(|()| lines(c, ""))),
    ("sprig_nindent", |c| c.count(2, 2).and_then(|()| lines(c, "\n"))),
    ("sprig_quote", |c| joined(c, |t| format!("{t:?}"))),
    ("sprig_squote", |c| joined(c, |t| format!("'{t}'"))),
    ("sprig_cat", |c| joined(c, ToOwned::to_owned)),
    ("sprig_plural", plural),
    ("sprig_regexMatch", |c| {
        c.count(2, 2).and_then(|()| Ok(Value::Bool(c.pattern(c.text(0)?)?.is_match(c.text(1)?))))
    }),
    ("sprig_regexFind", |c| {
        c.count(2, 2)?;
        Ok(text(c.pattern(c.text(0)?)?.find(c.text(1)?).map_or("", |hit| hit.as_str())))
    }),
    ("sprig_regexFindAll", regex_find_all),
    ("sprig_regexReplaceAll", |c| {
        c.count(3, 3).and_then(|()| regex_replace(c, c.text(0)?, c.text(2)?, c.text(1)?))
    }),
    ("sprig_regexSplit", regex_split),
    ("sprig_sha1sum", |c| whole(c, |t| hash(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, t))),
    ("sprig_sha256sum", |c| whole(c, |t| hash(&ring::digest::SHA256, t))),
    ("sprig_sha512sum", |c| whole(c, |t| hash(&ring::digest::SHA512, t))),
    ("sprig_md5sum", |c| whole(c, |t| format!("{:x}", md5::compute(t)))),
    ("sprig_b64enc", |c| whole(c, |t| STANDARD.encode(t))),
    ("sprig_b64dec", |c| c.count(1, 1).and_then(|()| decoded(c, STANDARD.decode(c.text(0)?)))),
    ("sprig_toJson", |c| json_of(c).and_then(|j| c.made(escaped(&compact(&j))))),
    ("sprig_toRawJson", |c| json_of(c).and_then(|j| c.made(compact(&j)))),
    ("sprig_toPrettyJson", |c| json_of(c).and_then(|j| c.made(escaped(&pretty(&j))))),
    ("sprig_fromJson", |c| {
        c.count(1, 1)?;
        let json: serde_json::Value = serde_json::from_str(c.text(0)?).map_err(|e| c.fail(e))?;
        Ok(from_json(&json))
    }),
    ("sprig_env", |c| {
        c.count(1, 1)?;
        Ok(text(c.scene.view.env.get(c.text(0)?).map_or("", String::as_str)))
    }),
    ("sprig_base", |c| whole(c, |t| path(t).1)),
    ("sprig_dir", |c| whole(c, |t| path(t).0)),
    ("sprig_ext", |c| {
        whole(c, |t| {
            path(t).1.rfind('.').map_or(String::new(), |at| path(t).1.split_at(at).1.to_owned())
        })
    }),
    ("sprig_isAbs", |c| c.count(1, 1).and_then(|()| Ok(Value::Bool(c.text(0)?.starts_with('/'))))),
    ("sprig_int", |c| c.count(1, 1).and_then(|()| Ok(Value::Int(number(c, 0)?)))),
    ("sprig_int64", |c| c.count(1, 1).and_then(|()| Ok(Value::Int(number(c, 0)?)))),
    ("sprig_atoi", |c| c.count(1, 1).and_then(|()| Ok(Value::Int(number(c, 0)?)))),
    ("sprig_add", |c| fold(c, i64::checked_add)),
    ("sprig_add1", |c| c.count(1, 1).and_then(|()| sum(c, number(c, 0)?.checked_add(1)))),
    ("sprig_sub", |c| fold(c, i64::checked_sub)),
    ("sprig_mul", |c| fold(c, i64::checked_mul)),
    ("sprig_div", |c| fold(c, i64::checked_div)),
    ("sprig_mod", |c| fold(c, i64::checked_rem)),
    ("sprig_max", |c| fold(c, |a, b| Some(a.max(b)))),
    ("sprig_min", |c| fold(c, |a, b| Some(a.min(b)))),
    ("sprig_now", |c| {
        c.count(0, 0)?;
        Ok(text(crate::duration::format(c.scene.view.now, super::method::TIME)))
    }),
    ("sprig_date", date),
    ("sprig_fail", |c| c.count(1, 1).and_then(|()| Err(c.fail(c.text(0)?)))),
];

fn whole(call: &Call<'_>, to: impl Fn(&str) -> String) -> Outcome {
    call.count(1, 1)?;
    call.made(to(call.text(0)?))
}

fn two(call: &Call<'_>, to: impl Fn(&str, &str) -> String) -> Outcome {
    call.count(2, 2)?;
    call.made(to(call.text(0)?, call.text(1)?))
}

fn said(call: &Call<'_>, is: impl Fn(&str, &str) -> bool) -> Outcome {
    call.count(2, 2)?;
    Ok(Value::Bool(is(call.text(0)?, call.text(1)?)))
}

fn first(word: &str, to: impl Fn(&char) -> char) -> String {
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |c| to(&c).to_string() + chars.as_str())
}

fn parted(whole: &str, sign: char) -> String {
    let mut out = String::new();
    let mut before = None::<char>;
    for c in whole.chars() {
        if !c.is_alphanumeric() {
            if !out.is_empty() && !out.ends_with(sign) {
                out.push(sign);
            }
        } else {
            if c.is_uppercase() && before.is_some_and(|b| b.is_lowercase() || b.is_numeric()) {
                out.push(sign);
            }
            out.extend(c.to_lowercase());
        }
        before = Some(c);
    }
    out.trim_end_matches(sign).to_owned()
}

fn camel(whole: &str) -> String {
    whole
        .split(|c: char| !c.is_alphanumeric())
        .map(|word| first(word, char::to_ascii_uppercase))
        .collect()
}

fn swapped(whole: &str) -> String {
    let swap = |c: char| -> String {
        if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
    };
    whole.chars().map(swap).collect()
}

/// Folder and last part, as Go's `path` gives them.
pub(super) fn path(whole: &str) -> (String, String) {
    let trimmed = whole.trim_end_matches('/');
    if trimmed.is_empty() {
        let all = if whole.is_empty() { "." } else { "/" };
        return (all.into(), all.into());
    }
    match trimmed.rsplit_once('/') {
        Some((dir, base)) => {
            let dir = dir.trim_end_matches('/');
            (if dir.is_empty() { "/".into() } else { dir.into() }, base.into())
        }
        None => (".".into(), trimmed.into()),
    }
}

fn repeat(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let (n, piece) = (call.size(0)?, call.text(1)?);
    if n.saturating_mul(piece.len()) > model::limits::TEMPLATE_VALUE_BYTES_MAX {
        return Err(call.fail("makes too much text"));
    }
    call.made(piece.repeat(n))
}

fn substr(call: &Call<'_>) -> Outcome {
    call.count(3, 3)?;
    let (from, to) = (call.int(0)?, call.int(1)?);
    let from = usize::try_from(from).unwrap_or(0);
    let to = usize::try_from(to).unwrap_or(usize::MAX);
    call.made(call.text(2)?.chars().take(to).skip(from).collect())
}

fn trunc(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let (n, whole) = (call.int(0)?, call.text(1)?);
    let size = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
    match n.cmp(&0) {
        Ordering::Less => {
            let skip = whole.chars().count().saturating_sub(size);
            call.made(whole.chars().skip(skip).collect())
        }
        _ => call.made(whole.chars().take(size).collect()),
    }
}

fn abbrev(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let (n, whole) = (call.size(0)?, call.text(1)?);
    if n < 4 || whole.chars().count() <= n {
        return Ok(text(whole));
    }
    call.made(whole.chars().take(n - 3).collect::<String>() + "...")
}

fn lines(call: &Call<'_>, before: &str) -> Outcome {
    let whole = call.text(1)?;
    let body = indented(call, call.size(0)?, whole)?;
    call.made(format!("{before}{body}"))
}

fn joined(call: &Call<'_>, each: impl Fn(&str) -> String) -> Outcome {
    let mut words = vec![];
    for at in 0..call.args.len() {
        if !matches!(call.arg(at)?, Value::Nil) {
            words.push(each(&call.shown(at)?));
        }
    }
    call.made(words.join(" "))
}

fn plural(call: &Call<'_>) -> Outcome {
    call.count(3, 3)?;
    Ok(text(if call.int(2)? == 1 { call.text(0)? } else { call.text(1)? }))
}

fn regex_find_all(call: &Call<'_>) -> Outcome {
    call.count(3, 3)?;
    let most = usize::try_from(call.int(2)?).unwrap_or(usize::MAX);
    let pattern = call.pattern(call.text(0)?)?;
    let hits = pattern.find_iter(call.text(1)?).take(most);
    Ok(list(hits.map(|hit| text(hit.as_str())).collect()))
}

fn regex_split(call: &Call<'_>) -> Outcome {
    call.count(3, 3)?;
    let (pattern, whole) = (call.pattern(call.text(0)?)?, call.text(1)?);
    Ok(match usize::try_from(call.int(2)?) {
        Ok(most) => list(pattern.splitn(whole, most).map(text).collect()),
        Err(_all) => list(pattern.split(whole).map(text).collect()),
    })
}

/// A number of anything; what is none is 0, as Sprig has it.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates; Sprig cuts")]
fn number(call: &Call<'_>, at: usize) -> Result<i64, TemplateError> {
    Ok(match call.arg(at)? {
        Value::Int(n) => *n,
        Value::Uint(n) => i64::try_from(*n).unwrap_or(i64::MAX),
        Value::Float(n) => *n as i64,
        Value::Bool(b) => i64::from(*b),
        Value::String(t) => t.parse().unwrap_or(0),
        _ => 0,
    })
}

fn sum(call: &Call<'_>, result: Option<i64>) -> Outcome {
    result.map(Value::Int).ok_or_else(|| call.fail("there is no result"))
}

fn fold(call: &Call<'_>, with: fn(i64, i64) -> Option<i64>) -> Outcome {
    call.count(1, 64)?;
    let mut all = number(call, 0)?;
    for at in 1..call.args.len() {
        all = with(all, number(call, at)?).ok_or_else(|| call.fail("there is no result"))?;
    }
    Ok(Value::Int(all))
}

fn date(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let at = match call.arg(1)? {
        Value::Int(seconds) => chrono::DateTime::from_timestamp(*seconds, 0),
        Value::String(at) => chrono::DateTime::parse_from_str(at, "%Y-%m-%d %H:%M:%S%.f %z UTC")
            .ok()
            .map(|at| at.to_utc()),
        _ => None,
    };
    let at = at.ok_or_else(|| call.fail("expected a time or seconds since 1970"))?;
    call.made(crate::duration::format(at, call.text(0)?))
}
