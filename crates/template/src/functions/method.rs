//! Methods of values (`.Tags.Contains "x"`, `scratch.Set "a" 1`, `datetime.Format "…"`), and what a
//! template keeps for itself.

use super::{Call, METHOD, Outcome, Table};
use crate::value::{list, map, text};
use gotmpl::{TemplateError, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

pub(super) const TABLE: Table = &[(METHOD, method), ("scratch", scratch)];

/// The mark of the value that `scratch` gives.
const SCRATCH: &str = "\u{0}scratch";
/// How times are carried: as Go prints them.
pub(super) const TIME: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

fn scratch(call: &Call<'_>) -> Outcome {
    call.count(0, 0)?;
    Ok(map([(SCRATCH, Value::Bool(true))]))
}

/// Arguments: the method's name, what it is of, and its own.
fn method(call: &Call<'_>) -> Outcome {
    let (name, of) = (call.text(0)?, call.arg(1)?);
    let own = call.args.get(2..).unwrap_or_default();
    match (name, of) {
        ("Contains", Value::List(items)) => match own {
            [Value::String(wanted)] => {
                Ok(Value::Bool(items.iter().any(|item| *item == Value::String(wanted.clone()))))
            }
            _ => Err(call.fail("Contains takes one text")),
        },
        ("Contains", Value::Nil) => Ok(Value::Bool(false)),
        ("Format", Value::String(at)) => match own {
            [Value::String(layout)] => call.made(crate::duration::format(time(call, at)?, layout)),
            _ => Err(call.fail("Format takes a layout")),
        },
        (_, Value::Map(fields)) if fields.contains_key(SCRATCH) => keep(call, name, own),
        _ => Err(call.fail(format!("{} has no method {name}", of.type_name()))),
    }
}

fn time(call: &Call<'_>, text: &str) -> Result<chrono::DateTime<chrono::Utc>, TemplateError> {
    chrono::DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f %z UTC")
        .map(|at| at.to_utc())
        .map_err(|_no| call.fail(format!("{text:?} is no time")))
}

fn keep(call: &Call<'_>, name: &str, own: &[Value]) -> Outcome {
    let word = |at: usize| -> Result<&str, TemplateError> {
        own.get(at)
            .ok_or_else(|| call.fail(format!("{name} lacks an argument")))
            .and_then(|value| call.as_text(value))
    };
    let given = |at: usize| {
        own.get(at).cloned().ok_or_else(|| call.fail(format!("{name} lacks its value")))
    };
    let mut kept = call.scene.scratch.lock().unwrap_or_else(PoisonError::into_inner);
    let nothing = text("");
    match name {
        "Key" => Ok(Value::Bool(kept.contains_key(word(0)?))),
        "Get" => Ok(kept.get(word(0)?).cloned().unwrap_or(Value::Nil)),
        "Set" => {
            kept.insert(word(0)?.to_owned(), given(1)?);
            Ok(nothing)
        }
        "SetX" => {
            let value = given(1)?;
            kept.entry(word(0)?.to_owned()).or_insert(value);
            Ok(nothing)
        }
        "MapSet" | "MapSetX" => {
            let (key, value) = (word(1)?, given(2)?);
            let slot = kept
                .entry(word(0)?.to_owned())
                .or_insert_with(|| Value::Map(Arc::new(BTreeMap::new())));
            let Value::Map(fields) = slot else {
                return Err(call.fail(format!("{:?} is no map", word(0)?)));
            };
            let fields = Arc::make_mut(fields);
            if name == "MapSet" || !fields.contains_key(key) {
                fields.insert(key.into(), value);
            }
            Ok(nothing)
        }
        "MapValues" => match kept.get(word(0)?) {
            None => Ok(list(vec![])),
            Some(Value::Map(fields)) => Ok(list(fields.values().cloned().collect())),
            Some(_) => Err(call.fail(format!("{:?} is no map", word(0)?))),
        },
        _ => Err(call.fail(format!("scratch has no method {name}"))),
    }
}
