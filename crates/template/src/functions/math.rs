//! Arithmetic: the second argument comes first, so that `10 | subtract 3` is 7. Whole numbers stay
//! whole, and what does not fit is an error.

use super::{Call, Outcome, Table};
use gotmpl::{TemplateError, Value};

pub(super) const TABLE: Table = &[
    ("add", |c| two(c, i64::checked_add, |a, b| a + b)),
    ("subtract", |c| two(c, i64::checked_sub, |a, b| a - b)),
    ("multiply", |c| two(c, i64::checked_mul, |a, b| a * b)),
    ("divide", |c| two(c, i64::checked_div, |a, b| a / b)),
    ("modulo", |c| two(c, i64::checked_rem, |a, b| a % b)),
    ("minimum", |c| two(c, |a, b| Some(a.min(b)), f64::min)),
    ("maximum", |c| two(c, |a, b| Some(a.max(b)), f64::max)),
    ("parseBool", parse_bool),
    ("parseFloat", parse_float),
    ("parseInt", parse_int),
    ("parseUint", parse_uint),
];

#[expect(clippy::cast_precision_loss, reason = "as Go converts it")]
fn float(call: &Call<'_>, value: &Value) -> Result<f64, TemplateError> {
    match value {
        Value::Float(n) => Ok(*n),
        other => call.as_int(other).map(|n| n as f64),
    }
}

fn two(
    call: &Call<'_>,
    whole: fn(i64, i64) -> Option<i64>,
    broken: fn(f64, f64) -> f64,
) -> Outcome {
    call.count(2, 2)?;
    let (b, a) = (call.arg(0)?, call.arg(1)?);
    if [a, b].iter().any(|v| matches!(v, Value::String(_) | Value::Nil)) {
        return Err(call.fail("text is no number: use parseInt"));
    }
    if matches!(a, Value::Float(_)) || matches!(b, Value::Float(_)) {
        return Ok(Value::Float(broken(float(call, a)?, float(call, b)?)));
    }
    let (a, b) = (call.as_int(a)?, call.as_int(b)?);
    whole(a, b).map(Value::Int).ok_or_else(|| call.fail(format!("{a} and {b} have no result")))
}

fn parsed<T: std::str::FromStr>(
    call: &Call<'_>,
    empty: T,
    to: fn(T) -> Value,
    what: &str,
) -> Outcome {
    call.count(1, 1)?;
    let text = call.text(0)?;
    if text.is_empty() {
        return Ok(to(empty));
    }
    text.parse().map(to).map_err(|_no| call.fail(format!("{text:?} is no {what}")))
}

fn parse_bool(call: &Call<'_>) -> Outcome {
    call.count(1, 1)?;
    match call.text(0)? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
        other => Err(call.fail(format!("{other:?} is neither true nor false"))),
    }
}

fn parse_float(call: &Call<'_>) -> Outcome {
    parsed(call, 0.0, Value::Float, "number")
}

fn parse_int(call: &Call<'_>) -> Outcome {
    parsed(call, 0, Value::Int, "whole number")
}

fn parse_uint(call: &Call<'_>) -> Outcome {
    parsed(call, 0, Value::Uint, "whole number from 0")
}
