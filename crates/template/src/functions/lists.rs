//! Functions of lists and maps: is it in there, group by tag, key, port or meta, unfold, merge.

use super::{Call, Outcome, Table};
use crate::value::{list, text};
use gotmpl::{TemplateError, Value};
use model::limits::TEMPLATE_DEPTH_MAX;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const TABLE: Table = &[
    ("contains", |c| c.count(2, 2).and_then(|()| within(c, c.arg(1)?, c.arg(0)?))),
    ("in", |c| c.count(2, 2).and_then(|()| within(c, c.arg(0)?, c.arg(1)?))),
    ("containsAll", |c| several(c, |found, of| found == of)),
    ("containsAny", |c| several(c, |found, _| found > 0)),
    ("containsNone", |c| several(c, |found, _| found == 0)),
    ("containsNotAll", |c| several(c, |found, of| found < of)),
    ("byTag", by_tag),
    ("byKey", by_key),
    ("byPort", by_port),
    ("byMeta", by_meta),
    ("explode", explode),
    ("explodeMap", explode_map),
    ("mergeMap", |c| merged(c, false)),
    ("mergeMapWithOverride", |c| merged(c, true)),
    ("loop", turns),
];

pub(super) type Fields = BTreeMap<Arc<str>, Value>;

/// Equal, whatever kinds; whole numbers of both kinds are compared as numbers.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(a), Value::Uint(b)) | (Value::Uint(b), Value::Int(a)) => {
            u64::try_from(*a).is_ok_and(|a| a == *b)
        }
        _ => a == b,
    }
}

fn has(call: &Call<'_>, all: &Value, wanted: &Value) -> Result<bool, TemplateError> {
    match all {
        Value::List(items) => Ok(items.iter().any(|item| same(item, wanted))),
        Value::Map(fields) => Ok(fields.contains_key(call.as_text(wanted)?)),
        Value::String(whole) => Ok(whole.contains(call.as_text(wanted)?)),
        Value::Nil => Ok(false),
        other => Err(call.fail(format!("nothing is in {}", other.type_name()))),
    }
}

fn within(call: &Call<'_>, all: &Value, wanted: &Value) -> Outcome {
    has(call, all, wanted).map(Value::Bool)
}

fn several(call: &Call<'_>, judge: fn(usize, usize) -> bool) -> Outcome {
    call.count(2, 2)?;
    let (wanted, all) = (call.list(0)?, call.arg(1)?);
    let mut found = 0;
    for one in wanted {
        found += usize::from(has(call, all, one)?);
    }
    Ok(Value::Bool(judge(found, wanted.len())))
}

fn groups(map: BTreeMap<String, Vec<Value>>) -> Value {
    Value::Map(Arc::new(map.into_iter().map(|(k, v)| (Arc::from(k), list(v))).collect()))
}

fn by_tag(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    let mut map: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for service in call.list(0)? {
        let Some(tags) = service.field("Tags") else {
            return Err(call.fail("expected services"));
        };
        for tag in call.as_list(tags)? {
            map.entry(tag.to_string()).or_default().push(service.clone());
        }
    }
    Ok(groups(map))
}

fn by_port(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    let mut map: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for service in call.list(0)? {
        let port = service.field("Port").ok_or_else(|| call.fail("expected services"))?;
        map.entry(port.to_string()).or_default().push(service.clone());
    }
    Ok(groups(map))
}

/// `byMeta "zone,weight|int" services`: numbers are filled up to five digits, so that they sort.
fn by_meta(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let mut map: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for service in call.list(1)? {
        let meta = service.field("ServiceMeta").ok_or_else(|| call.fail("expected services"))?;
        let mut parts = vec![];
        for key in call.text(0)?.split(',').map(str::trim) {
            let (key, number) = match key.split_once('|') {
                Some((key, "int")) => (key, true),
                Some((_, other)) => return Err(call.fail(format!("{other:?} is not int"))),
                None => (key, false),
            };
            let value = meta.field(key).map(ToString::to_string).unwrap_or_default();
            if !number {
                parts.push(value);
                continue;
            }
            let n: u32 = value
                .parse()
                .map_err(|_no| call.fail(format!("{key} is {value:?}, no whole number")))?;
            parts.push(format!("{n:05}"));
        }
        map.entry(parts.join("_")).or_default().push(service.clone());
    }
    Ok(groups(map))
}

/// Pairs by the first folder of their keys.
fn by_key(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    let mut map: BTreeMap<Arc<str>, Fields> = BTreeMap::new();
    for pair in call.list(0)? {
        let Value::Map(fields) = pair else { return Err(call.fail("expected keys")) };
        let key = fields.get("Key").map(ToString::to_string).unwrap_or_default();
        let Some((top, rest)) = key.split_once('/') else { continue };
        let mut fields = (**fields).clone();
        fields.insert("Key".into(), text(rest));
        let pair = Value::Map(Arc::new(fields));
        map.entry(top.into()).or_default().insert(rest.into(), pair);
    }
    let map = map.into_iter().map(|(top, pairs)| (top, Value::Map(Arc::new(pairs))));
    Ok(Value::Map(Arc::new(map.collect())))
}

fn unfold(
    call: &Call<'_>,
    into: &mut Fields,
    path: &str,
    value: Value,
    depth: usize,
) -> Result<(), TemplateError> {
    if depth > TEMPLATE_DEPTH_MAX {
        return Err(call.fail(format!("nested deeper than {TEMPLATE_DEPTH_MAX}")));
    }
    let path = path.trim_start_matches('/');
    let Some((top, rest)) = path.split_once('/') else {
        if !path.is_empty() {
            into.insert(path.into(), value);
        }
        return Ok(());
    };
    let below = into.entry(top.into()).or_insert_with(|| Value::Map(Arc::default()));
    if !matches!(below, Value::Map(_)) {
        *below = Value::Map(Arc::default());
    }
    match below {
        Value::Map(fields) => unfold(call, Arc::make_mut(fields), rest, value, depth + 1),
        _ => Ok(()),
    }
}

fn explode(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    let mut map = Fields::new();
    for pair in call.list(0)? {
        let key = pair.field("Key").ok_or_else(|| call.fail("expected keys"))?;
        let value = pair.field("Value").cloned().unwrap_or(Value::Nil);
        unfold(call, &mut map, call.as_text(key)?, value, 0)?;
    }
    Ok(Value::Map(Arc::new(map)))
}

fn explode_map(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    let mut map = Fields::new();
    for (key, value) in call.map(0)?.iter() {
        unfold(call, &mut map, key, value.clone(), 0)?;
    }
    Ok(Value::Map(Arc::new(map)))
}

/// `over` lies over `under`, map by map.
pub(super) fn laid(under: &Value, over: &Value, depth: usize) -> Value {
    match (under, over) {
        (Value::Map(a), Value::Map(b)) if depth < TEMPLATE_DEPTH_MAX => {
            let mut all = (**a).clone();
            for (key, value) in b.iter() {
                let merged = match all.get(key) {
                    Some(below) => laid(below, value, depth + 1),
                    None => value.clone(),
                };
                all.insert(Arc::clone(key), merged);
            }
            Value::Map(Arc::new(all))
        }
        _ => over.clone(),
    }
}

fn merged(call: &Call<'_>, second_wins: bool) -> Outcome {
    call.count(2, 2)?;
    let (first, second) = (Value::Map(call.map(0)?), Value::Map(call.map(1)?));
    Ok(if second_wins { laid(&first, &second, 0) } else { laid(&second, &first, 0) })
}

/// `loop n` or `loop from to`.
fn turns(call: &Call<'_>) -> Outcome {
    call.count(1, 2)?;
    let (from, to) =
        if call.args.len() == 1 { (0, call.int(0)?) } else { (call.int(0)?, call.int(1)?) };
    let count = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
    if count > model::limits::TEMPLATE_VALUE_BYTES_MAX / 16 {
        return Err(call.fail(format!("{count} turns are too many")));
    }
    Ok(list((from..to.max(from)).map(Value::Int).collect()))
}
