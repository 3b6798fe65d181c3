//! Sprig's functions of lists, dictionaries, defaults and kinds as `sprig_*`. None changes what it
//! is given.

use super::lists::{Fields, laid, same};
use super::{Call, Outcome, Table};
use crate::value::{list, text};
use gotmpl::{TemplateError, Value};
use model::limits::TEMPLATE_VALUE_BYTES_MAX;
use std::sync::Arc;

pub(super) const TABLE: Table = &[
    ("sprig_default", |c| {
        c.count(1, 2)?;
        Ok(if c.last()?.is_truthy() { c.last()? } else { c.arg(0)? }.clone())
    }),
    ("sprig_empty", |c| c.count(1, 1).and_then(|()| Ok(Value::Bool(!c.arg(0)?.is_truthy())))),
    ("sprig_coalesce", |c| {
        Ok(c.args.iter().find(|v| v.is_truthy()).cloned().unwrap_or(Value::Nil))
    }),
    ("sprig_all", |c| Ok(Value::Bool(c.args.iter().all(Value::is_truthy)))),
    ("sprig_any", |c| Ok(Value::Bool(c.args.iter().any(Value::is_truthy)))),
    ("sprig_ternary", |c| {
        c.count(3, 3)?;
        Ok(c.arg(if c.arg(2)?.is_truthy() { 0 } else { 1 })?.clone())
    }),
    ("sprig_list", |c| Ok(list(c.args.to_vec()))),
    ("sprig_first", |c| part(c, |l| l.first().cloned().unwrap_or(Value::Nil))),
    ("sprig_last", |c| part(c, |l| l.last().cloned().unwrap_or(Value::Nil))),
    ("sprig_rest", |c| part(c, |l| list(l.get(1..).unwrap_or_default().to_vec()))),
    ("sprig_initial", |c| {
        part(c, |l| list(l.split_last().map_or_else(Vec::new, |(_, most)| most.to_vec())))
    }),
    ("sprig_reverse", |c| part(c, |l| list(l.iter().rev().cloned().collect()))),
    ("sprig_compact", |c| part(c, |l| list(l.iter().filter(|v| v.is_truthy()).cloned().collect()))),
    ("sprig_uniq", |c| part(c, unique)),
    ("sprig_append", |c| {
        c.count(2, 2)?;
        Ok(list(c.list(0)?.iter().chain([c.arg(1)?]).cloned().collect()))
    }),
    ("sprig_prepend", |c| {
        c.count(2, 2)?;
        Ok(list([c.arg(1)?].into_iter().chain(c.list(0)?).cloned().collect()))
    }),
    ("sprig_concat", |c| {
        let lists: Result<Vec<&[Value]>, _> = c.args.iter().map(|l| c.as_list(l)).collect();
        Ok(list(lists?.concat()))
    }),
    ("sprig_without", |c| {
        c.count(1, 64)?;
        let out = c.args.get(1..).unwrap_or_default();
        let kept = c.list(0)?.iter().filter(|v| !out.iter().any(|o| same(o, v)));
        Ok(list(kept.cloned().collect()))
    }),
    ("sprig_has", |c| {
        c.count(2, 2)?;
        Ok(Value::Bool(c.list(1)?.iter().any(|v| same(v, c.args.first().unwrap_or(&Value::Nil)))))
    }),
    ("sprig_slice", |c| c.count(1, 3).and_then(|()| slice(c))),
    ("sprig_until", |c| c.count(1, 1).and_then(|()| steps(c, 0, c.int(0)?, 1))),
    ("sprig_untilStep", |c| c.count(3, 3).and_then(|()| steps(c, c.int(0)?, c.int(1)?, c.int(2)?))),
    ("sprig_sortAlpha", |c| {
        part(c, |l| {
            let mut words: Vec<String> = l.iter().map(ToString::to_string).collect();
            words.sort();
            list(words.into_iter().map(text).collect())
        })
    }),
    ("sprig_join", |c| {
        c.count(2, 2)?;
        let words: Vec<String> = match c.arg(1)? {
            Value::List(items) => items.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        };
        c.made(words.join(c.text(0)?))
    }),
    ("sprig_splitList", |c| {
        c.count(2, 2)?;
        let separator = c.text(0)?;
        if separator.is_empty() {
            return Ok(list(c.text(1)?.chars().map(|x| text(x.to_string())).collect()));
        }
        Ok(list(c.text(1)?.split(separator).map(text).collect()))
    }),
    ("sprig_split", |c| {
        c.count(2, 2)?;
        let separator = c.text(0)?;
        if separator.is_empty() {
            return Err(c.fail("the separator is empty"));
        }
        let parts = c.text(1)?.split(separator).enumerate();
        Ok(Value::Map(Arc::new(
            parts.map(|(n, part)| (Arc::from(format!("_{n}")), text(part))).collect(),
        )))
    }),
    ("sprig_dict", dict),
    ("sprig_get", |c| {
        c.count(2, 2)?;
        Ok(c.map(0)?.get(c.text(1)?).cloned().unwrap_or_else(|| text("")))
    }),
    ("sprig_hasKey", |c| {
        c.count(2, 2).and_then(|()| Ok(Value::Bool(c.map(0)?.contains_key(c.text(1)?))))
    }),
    ("sprig_keys", |c| {
        let mut all = vec![];
        for at in 0..c.args.len() {
            all.extend(c.map(at)?.keys().map(|k| Value::String(Arc::clone(k))));
        }
        Ok(list(all))
    }),
    ("sprig_values", |c| {
        c.count(1, 1).and_then(|()| Ok(list(c.map(0)?.values().cloned().collect())))
    }),
    ("sprig_pick", |c| chosen(c, true)),
    ("sprig_omit", |c| chosen(c, false)),
    ("sprig_pluck", |c| {
        c.count(1, 64)?;
        let name = c.text(0)?;
        let maps = c.args.get(1..).unwrap_or_default();
        Ok(list(maps.iter().filter_map(|m| m.field(name).cloned()).collect()))
    }),
    ("sprig_merge", |c| {
        let all = c.args.iter().rev();
        Ok(all.fold(Value::Map(Arc::default()), |under, over| laid(&under, over, 0)))
    }),
    ("sprig_mergeOverwrite", |c| {
        Ok(c.args.iter().fold(Value::Map(Arc::default()), |under, over| laid(&under, over, 0)))
    }),
    ("sprig_dig", dig),
    ("sprig_kindOf", |c| c.count(1, 1).and_then(|()| Ok(text(kind(c.arg(0)?))))),
    ("sprig_typeOf", |c| c.count(1, 1).and_then(|()| Ok(text(kind(c.arg(0)?))))),
    ("sprig_kindIs", |c| {
        c.count(2, 2).and_then(|()| Ok(Value::Bool(kind(c.arg(1)?) == c.text(0)?)))
    }),
];

fn kind(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "slice",
        Value::Uint(_) => "uint64",
        Value::Nil => "invalid",
        other => other.type_name(),
    }
}

fn part(call: &Call<'_>, of: impl Fn(&[Value]) -> Value) -> Outcome {
    call.count(1, 1)?;
    Ok(of(call.list(0)?))
}

fn unique(all: &[Value]) -> Value {
    let mut kept: Vec<Value> = vec![];
    for value in all {
        if !kept.iter().any(|k| same(k, value)) {
            kept.push(value.clone());
        }
    }
    list(kept)
}

fn slice(call: &Call<'_>) -> Outcome {
    let all = call.list(0)?;
    let from = if call.args.len() > 1 { call.size(1)? } else { 0 };
    let to = if call.args.len() > 2 { call.size(2)? } else { all.len() };
    let cut = all.get(from..to).ok_or_else(|| call.fail("is out of the list"))?;
    Ok(list(cut.to_vec()))
}

fn steps(call: &Call<'_>, from: i64, to: i64, by: i64) -> Outcome {
    let mut all = vec![];
    let mut at = from;
    while by != 0 && ((by > 0 && at < to) || (by < 0 && at > to)) {
        if all.len() >= TEMPLATE_VALUE_BYTES_MAX / 16 {
            return Err(call.fail("has too many steps"));
        }
        all.push(Value::Int(at));
        let Some(next) = at.checked_add(by) else { break };
        at = next;
    }
    Ok(list(all))
}

fn dict(call: &Call<'_>) -> Outcome {
    let mut fields = Fields::new();
    for at in (0..call.args.len()).step_by(2) {
        let value = call.args.get(at + 1).cloned().unwrap_or_else(|| text(""));
        fields.insert(Arc::from(call.shown(at)?.as_ref()), value);
    }
    Ok(Value::Map(Arc::new(fields)))
}

fn chosen(call: &Call<'_>, stay: bool) -> Outcome {
    call.count(1, 64)?;
    let names: Result<Vec<&str>, TemplateError> =
        (1..call.args.len()).map(|at| call.text(at)).collect();
    let names = names?;
    let fields = call.map(0)?;
    let kept = fields.iter().filter(|(key, _)| names.contains(&key.as_ref()) == stay);
    Ok(Value::Map(Arc::new(kept.map(|(k, v)| (Arc::clone(k), v.clone())).collect())))
}

/// `dig "a" "b" default dictionary`.
fn dig(call: &Call<'_>) -> Outcome {
    call.count(3, 64)?;
    let n = call.args.len();
    let mut at = call.last()?.clone();
    for key in 0..n - 2 {
        match at.field(call.text(key)?) {
            Some(value) => at = value.clone(),
            None => return Ok(call.arg(n - 2)?.clone()),
        }
    }
    Ok(at)
}
