//! YAML read by somebody else's parser, as values.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Value};

enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

/// The one value of a document; panics where it is none.
pub(super) fn value(text: &str) -> Value {
    let mut parser = Parser::new(StrInput::new(text));
    let mut open: Vec<Open> = vec![];
    let mut root = None;
    while let Some(next) = parser.next_event() {
        let (event, _) = next.unwrap_or_else(|error| panic!("{error} in\n{text}"));
        let closed = match event {
            Event::SequenceStart(..) => {
                open.push(Open::List(vec![]));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop().unwrap() {
                Open::List(all) => Value::Array(all),
                Open::Map(all, _) => Value::Object(all),
            },
            Event::Scalar(text, style, ..) => scalar(&text, style),
            _ => continue,
        };
        match open.last_mut() {
            None => root = Some(closed),
            Some(Open::List(all)) => all.push(closed),
            Some(Open::Map(all, key)) => match key.take() {
                Some(key) => assert!(all.insert(key, closed).is_none(), "a key twice"),
                None => *key = Some(closed.as_str().unwrap().to_owned()),
            },
        }
    }
    root.unwrap()
}

/// By YAML's core schema.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    match text {
        "null" | "~" | "" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match serde_json::from_str::<Value>(text) {
            Ok(number @ Value::Number(_)) => number,
            _ => Value::String(text.to_owned()),
        },
    }
}
