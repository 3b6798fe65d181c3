//! Is an expression true of an object? A field that is not there is empty and equal to nothing.

use super::{Leaf, Node, Operator, Shape, Wanted};
use serde_json::Value;

pub(super) fn holds(node: &Node, object: &Value, shape: &Shape) -> bool {
    match node {
        Node::Any(list) => list.iter().any(|one| holds(one, object, shape)),
        Node::All(list) => list.iter().all(|one| holds(one, object, shape)),
        Node::Not(inner) => !holds(inner, object, shape),
        Node::Leaf(leaf) => reach(leaf, &leaf.path, object, shape),
    }
}

/// Follows the selector; through a list it is enough that one of its members fits.
fn reach(leaf: &Leaf, path: &[String], value: &Value, shape: &Shape) -> bool {
    let Some((first, rest)) = path.split_first() else { return fits(leaf, value) };
    let (next, shape) = match shape {
        Shape::List(of) => {
            let list = value.as_array().map_or(&[] as &[Value], Vec::as_slice);
            return list.iter().any(|one| reach(leaf, path, one, of));
        }
        Shape::Object(fields) => {
            (value.get(first), fields.iter().find(|(name, _)| name == first).map(|(_, s)| s))
        }
        Shape::Map(of) => (value.get(first), Some(*of)),
        Shape::Text | Shape::Number | Shape::Bool | Shape::Texts => (None, None),
    };
    match (next, shape) {
        (Some(next), Some(shape)) if !next.is_null() => reach(leaf, rest, next, shape),
        _ => without(leaf.operator),
    }
}

/// The answer where there is nothing to test.
fn without(operator: Operator) -> bool {
    match operator {
        Operator::NotEqual | Operator::NotIn | Operator::NotMatches | Operator::IsEmpty => true,
        Operator::Equal | Operator::In | Operator::Matches | Operator::IsNotEmpty => false,
    }
}

fn fits(leaf: &Leaf, value: &Value) -> bool {
    match leaf.operator {
        Operator::Equal => equal(value, &leaf.wanted),
        Operator::NotEqual => !equal(value, &leaf.wanted),
        Operator::In => within(value, &leaf.wanted),
        Operator::NotIn => !within(value, &leaf.wanted),
        Operator::Matches => matches(value, &leaf.wanted),
        Operator::NotMatches => !matches(value, &leaf.wanted),
        Operator::IsEmpty => is_empty(value),
        Operator::IsNotEmpty => !is_empty(value),
    }
}

fn equal(value: &Value, wanted: &Wanted) -> bool {
    match wanted {
        Wanted::Text(text) => value.as_str() == Some(text),
        Wanted::Number(number) => value.as_i64() == Some(*number),
        Wanted::Bool(is) => value.as_bool() == Some(*is),
        Wanted::Nothing | Wanted::Pattern(_) => false,
    }
}

fn within(value: &Value, wanted: &Wanted) -> bool {
    let Wanted::Text(text) = wanted else { return false };
    match value {
        Value::String(whole) => whole.contains(text),
        Value::Array(list) => list.iter().any(|one| one.as_str() == Some(text)),
        Value::Object(map) => map.contains_key(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn matches(value: &Value, wanted: &Wanted) -> bool {
    let Wanted::Pattern(pattern) = wanted else { return false };
    value.as_str().is_some_and(|text| pattern.is_match(text))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
