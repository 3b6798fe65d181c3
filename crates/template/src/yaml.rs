//! YAML for templates: a document as JSON by YAML 1.2's core schema, and JSON as YAML. Pure.

use model::limits::{TEMPLATE_DEPTH_MAX, TEMPLATE_NODES_MAX};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// Reads the first document.
///
/// # Errors
/// Why it is none, or which limit it passes.
pub fn parse(text: &str) -> Result<Json, String> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|e| e.to_string())?;
        if let Some(done) = builder.take(event)? {
            return Ok(done);
        }
    }
    Ok(Json::Null)
}

enum Open {
    List(Vec<Json>, usize),
    Map(Map<String, Json>, Option<String>, usize),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Json, usize)>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>) -> Result<Option<Json>, String> {
        match event {
            Event::SequenceStart(anchor, _) => self.enter(Open::List(vec![], anchor))?,
            Event::MappingStart(anchor, _) => self.enter(Open::Map(Map::new(), None, anchor))?,
            Event::SequenceEnd | Event::MappingEnd => {
                let (json, anchor) = match self.open.pop() {
                    Some(Open::List(items, anchor)) => (Json::Array(items), anchor),
                    Some(Open::Map(fields, _, anchor)) => (Json::Object(fields), anchor),
                    None => return Err("a list or map ends that did not begin".into()),
                };
                return self.put(json, anchor);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let string = tag.is_some_and(|tag| tag.suffix == "str");
                let plain = style == ScalarStyle::Plain && !string;
                let json = if plain { scalar(&text) } else { Json::from(text.as_ref()) };
                return self.put(json, anchor);
            }
            Event::Alias(anchor) => {
                let Some((json, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err("an alias has no anchor".into());
                };
                self.nodes = self.nodes.saturating_add(size);
                return self.put(json, 0);
            }
            Event::DocumentEnd => return Ok(Some(Json::Null)),
            _ => {}
        }
        Ok(None)
    }

    fn enter(&mut self, open: Open) -> Result<(), String> {
        if self.open.len() >= TEMPLATE_DEPTH_MAX {
            return Err(format!("nested deeper than {TEMPLATE_DEPTH_MAX}"));
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, json: Json, anchor: usize) -> Result<Option<Json>, String> {
        self.nodes += 1;
        if self.nodes > TEMPLATE_NODES_MAX {
            return Err(format!("has more than {TEMPLATE_NODES_MAX} nodes"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (json.clone(), size(&json)));
        }
        match self.open.last_mut() {
            None => return Ok(Some(json)),
            Some(Open::List(items, _)) => items.push(json),
            Some(Open::Map(fields, key, _)) => match key.take() {
                None => *key = Some(key_text(&json)?),
                Some(key) if key == "<<" => merge(fields, json)?,
                Some(key) => {
                    fields.insert(key, json);
                }
            },
        }
        Ok(None)
    }
}

fn size(json: &Json) -> usize {
    match json {
        Json::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Json::Object(fields) => 1 + fields.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

fn merge(into: &mut Map<String, Json>, from: Json) -> Result<(), String> {
    match from {
        Json::Object(fields) => {
            for (key, value) in fields {
                into.entry(key).or_insert(value);
            }
            Ok(())
        }
        Json::Array(all) => all.into_iter().try_for_each(|one| merge(into, one)),
        _ => Err("<< needs a map".into()),
    }
}

fn key_text(json: &Json) -> Result<String, String> {
    match json {
        Json::String(text) => Ok(text.clone()),
        Json::Array(_) | Json::Object(_) => Err("a key is a list or a map".into()),
        other => Ok(other.to_string()),
    }
}

fn scalar(text: &str) -> Json {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Json::Null,
        "true" | "True" | "TRUE" => return Json::Bool(true),
        "false" | "False" | "FALSE" => return Json::Bool(false),
        _ => {}
    }
    if let Ok(n) = text.parse::<i64>() {
        return Json::from(n);
    }
    let radix = |prefix, radix| {
        text.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(digits, radix).ok())
    };
    if let Some(n) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Json::from(n);
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && text.contains(|c: char| c.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(n) if numeric => serde_json::Number::from_f64(n).map_or(text.into(), Json::Number),
        _ => text.into(),
    }
}

/// Writes YAML, keys in their order, two spaces a level.
#[must_use]
pub fn write(json: &Json) -> String {
    let mut out = String::new();
    block(json, 0, false, &mut out);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn block(json: &Json, indent: usize, inline: bool, out: &mut String) {
    match json {
        Json::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 || !inline {
                    out.push_str(&" ".repeat(indent));
                }
                out.push_str("- ");
                block(item, indent + 2, true, out);
            }
        }
        Json::Object(fields) if !fields.is_empty() => {
            for (at, (key, value)) in fields.iter().enumerate() {
                if at > 0 || !inline {
                    out.push_str(&" ".repeat(indent));
                }
                out.push_str(&quoted(key));
                out.push(':');
                let nested = match value {
                    Json::Array(items) => !items.is_empty(),
                    Json::Object(fields) => !fields.is_empty(),
                    _ => false,
                };
                if nested {
                    out.push('\n');
                    block(value, indent + 2, false, out);
                } else {
                    out.push(' ');
                    block(value, indent + 2, true, out);
                }
            }
        }
        Json::Array(_) => out.push_str("[]\n"),
        Json::Object(_) => out.push_str("{}\n"),
        Json::String(text) => {
            out.push_str(&quoted(text));
            out.push('\n');
        }
        other => {
            out.push_str(&other.to_string());
            out.push('\n');
        }
    }
}

/// Plain where it reads back as the same text, as JSON elsewhere.
fn quoted(text: &str) -> String {
    let harmless = text.starts_with(|c: char| c.is_alphabetic() || c == '/' || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || " _-./@".contains(c))
        && !text.ends_with(' ')
        && !["yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str())
        && scalar(text) == text;
    if harmless { text.to_owned() } else { Json::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn scalars_get_the_types_of_the_core_schema() {
        let yaml = "a: 1\nb: 1.5\nc: true\nd: ~\ne: \"1\"\nf: 0x10\ng: 1.2.3.4\nh: yes\ni: [x, {y: z}]\nj: &k {p: 1}\nl:\n  <<: *k\n  q: 2\nm: !!str 5\nn: |\n  two\n  lines\n";
        assert_eq!(
            parse(yaml).unwrap(),
            json!({"a": 1, "b": 1.5, "c": true, "d": null, "e": "1", "f": 16, "g": "1.2.3.4",
                   "h": "yes", "i": ["x", {"y": "z"}], "j": {"p": 1}, "l": {"p": 1, "q": 2},
                   "m": "5", "n": "two\nlines\n"})
        );
        parse("a: [").unwrap_err();
        parse(&"[".repeat(1_000)).unwrap_err();
        let bomb: String = (1..40).fold("a0: &a0 [x,x,x,x,x,x,x,x]\n".to_owned(), |all, n| {
            let m = n - 1;
            format!("{all}a{n}: &a{n} [*a{m},*a{m},*a{m},*a{m},*a{m},*a{m},*a{m},*a{m}]\n")
        });
        assert!(parse(&bomb).unwrap_err().contains("nodes"));
    }

    #[test]
    fn yaml_is_written_as_people_write_it() {
        let json = json!({"a": {"b": [1, {"c": "x y", "d": []}]}, "e": "1", "f": "", "g": null});
        assert_eq!(
            write(&json),
            "a:\n  b:\n    - 1\n    - c: x y\n      d: []\ne: \"1\"\nf: \"\"\ng: null\n"
        );
    }

    fn documents() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            "[ -~äß\n]{0,10}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                proptest::collection::btree_map("[ -~]{0,6}", inner, 0..4)
                    .prop_filter("no merge keys", |m| !m.contains_key("<<"))
                    .prop_map(|m| Json::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(json in documents()) {
            prop_assert_eq!(parse(&write(&json)), Ok(json));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,120}") {
            let _read = parse(&text);
        }
    }
}
