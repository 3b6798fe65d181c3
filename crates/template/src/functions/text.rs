//! Functions of text: split, join, trim, replace, patterns, indent, time.

use super::{Call, Outcome, Table};
use crate::value::{list, text};
use gotmpl::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const TABLE: Table = &[
    ("join", join),
    ("split", split),
    ("splitToMap", split_to_map),
    ("trim", trim),
    ("trimPrefix", trim_prefix),
    ("trimSuffix", trim_suffix),
    ("trimSpace", |c| c.count(1, 1).and_then(|()| c.made(c.text(0)?.trim().to_owned()))),
    ("toLower", |c| c.count(1, 1).and_then(|()| c.made(c.text(0)?.to_lowercase()))),
    ("toUpper", |c| c.count(1, 1).and_then(|()| c.made(c.text(0)?.to_uppercase()))),
    ("toTitle", |c| c.count(1, 1).and_then(|()| c.made(title(c.text(0)?)))),
    ("replaceAll", replace_all),
    ("regexReplaceAll", regex_replace_all),
    ("regexMatch", regex_match),
    ("indent", indent),
    ("timestamp", timestamp),
];

fn join(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let words: Result<Vec<&str>, _> = call.list(1)?.iter().map(|word| call.as_text(word)).collect();
    call.made(words?.join(call.text(0)?))
}

/// Pieces of trimmed text; of empty text there are none.
fn split(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let (separator, whole) = (call.text(0)?, call.text(1)?.trim());
    if whole.is_empty() {
        return Ok(list(vec![]));
    }
    if separator.is_empty() {
        return Ok(list(whole.chars().map(|c| text(c.to_string())).collect()));
    }
    Ok(list(whole.split(separator).map(text).collect()))
}

fn split_to_map(call: &Call<'_>) -> Outcome {
    call.count(3, 3)?;
    let (between, inside, whole) = (call.text(0)?, call.text(1)?, call.text(2)?.trim());
    let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    if between.is_empty() || inside.is_empty() {
        return Err(call.fail("a separator is empty"));
    }
    for pair in whole.split(between).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(inside).unwrap_or((pair, ""));
        map.insert(key.into(), text(value));
    }
    Ok(Value::Map(Arc::new(map)))
}

fn trim(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let (cut, whole) = (call.text(0)?, call.text(1)?);
    Ok(text(whole.trim_matches(|c| cut.contains(c))))
}

fn trim_prefix(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let whole = call.text(1)?;
    Ok(text(whole.strip_prefix(call.text(0)?).unwrap_or(whole)))
}

fn trim_suffix(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let whole = call.text(1)?;
    Ok(text(whole.strip_suffix(call.text(0)?).unwrap_or(whole)))
}

/// The first letter of each word large.
pub(super) fn title(whole: &str) -> String {
    let mut begins = true;
    let mut out = String::with_capacity(whole.len());
    for c in whole.chars() {
        if begins {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        begins = !(c.is_alphanumeric() || c == '_' || c == '\'');
    }
    out
}

pub(super) fn replaced(call: &Call<'_>, from: &str, to: &str, whole: &str) -> Outcome {
    let hits = whole.matches(from).count();
    let large = hits.saturating_mul(to.len()).saturating_add(whole.len());
    if large > model::limits::TEMPLATE_VALUE_BYTES_MAX * 2 {
        return Err(call.fail("makes too much text"));
    }
    call.made(whole.replace(from, to))
}

fn replace_all(call: &Call<'_>) -> Outcome {
    call.count(3, 3)?;
    replaced(call, call.text(0)?, call.text(1)?, call.text(2)?)
}

pub(super) fn regex_replace(call: &Call<'_>, pattern: &str, to: &str, whole: &str) -> Outcome {
    let pattern = call.pattern(pattern)?;
    let large = pattern.find_iter(whole).count().saturating_mul(to.len() + 1);
    if large > model::limits::TEMPLATE_VALUE_BYTES_MAX {
        return Err(call.fail("makes too much text"));
    }
    call.made(pattern.replace_all(whole, to).into_owned())
}

fn regex_replace_all(call: &Call<'_>) -> Outcome {
    call.count(3, 3)?;
    regex_replace(call, call.text(0)?, call.text(1)?, call.text(2)?)
}

fn regex_match(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    Ok(Value::Bool(call.pattern(call.text(0)?)?.is_match(call.text(1)?)))
}

/// Spaces before each line that is not the end of the text.
pub(super) fn indented(call: &Call<'_>, width: usize, whole: &str) -> Outcome {
    let lines = whole.split_inclusive('\n').count();
    if lines.saturating_mul(width) > model::limits::TEMPLATE_VALUE_BYTES_MAX {
        return Err(call.fail("makes too much text"));
    }
    let space = " ".repeat(width);
    let mut out = String::with_capacity(whole.len() + lines * width);
    for line in whole.split_inclusive('\n') {
        out.push_str(&space);
        out.push_str(line);
    }
    call.made(out)
}

fn indent(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    indented(call, call.size(0)?, call.text(1)?)
}

fn timestamp(call: &Call<'_>) -> Outcome {
    call.count(0, 1)?;
    let now = call.scene.view.now;
    let layout = if call.args.is_empty() { "2006-01-02T15:04:05Z07:00" } else { call.text(0)? };
    if layout == "unix" {
        return Ok(text(now.timestamp().to_string()));
    }
    call.made(crate::duration::format(now, layout))
}
