//! Files of settings as a flat list: YAML, JSON, properties and `.env`. A map in a map becomes a path,
//! as programs that read keys expect it. Values are text, as they are written. Pure.

use crate::diagnostic::{Errors, Report};
use crate::dotenv;
use crate::source::{Place, Source, Sources};
use crate::yaml::{self, Node, Value};
use model::limits::COMPOSE_FILE_BYTES_MAX;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// How a file of settings is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlatFormat {
    /// YAML; a map of scalars, lists and maps.
    Yaml,
    /// JSON.
    Json,
    /// Java's properties.
    Properties,
    /// `KEY=value` lines.
    Env,
}

impl FlatFormat {
    /// By the end of a file's name: yaml, yml, json, properties, env.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name.rsplit('.').next()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "properties" => Some(Self::Properties),
            "env" => Some(Self::Env),
            _ => None,
        }
    }
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name: parts of a path with `/` between them. A list's parts are 0, 1, 2 …
    pub name: String,
    /// Its value.
    pub value: String,
    /// Line of the file where it is, from 1.
    pub line: u32,
}

struct Reader {
    report: Report,
    found: Vec<(String, String, Place)>,
}

/// Reads a file. `shown` is its name in messages. Dots in names of properties are kept.
///
/// # Errors
/// `Errors`: everything that is wrong with it, each with its place; a name that is there twice is
/// wrong too.
pub fn settings(text: &str, format: FlatFormat, shown: &str) -> Result<Vec<Setting>, Errors> {
    let mut sources = Sources::default();
    let mut source = Source::new(shown, Path::new(shown), Path::new("/"));
    source.set_text(Arc::from(text));
    let file = sources.add(source);
    let mut reader = Reader { report: Report::new(true), found: vec![] };
    if text.len() > COMPOSE_FILE_BYTES_MAX {
        let what = format!("the file has {} bytes", text.len());
        let max = COMPOSE_FILE_BYTES_MAX;
        reader.report.file_error(shown.to_owned(), what).expected(format!("at most {max}"));
    } else {
        match format {
            FlatFormat::Json => reader.json(text, file),
            FlatFormat::Yaml => reader.yaml(text, file),
            FlatFormat::Properties => reader.properties(text, file),
            FlatFormat::Env => reader.env(text, file),
        }
    }
    let Reader { mut report, found } = reader;
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for (name, _, place) in &found {
        if name.split('/').any(str::is_empty) || name.chars().any(char::is_control) {
            let what = format!("the name {name:?} has an empty part or a control character");
            report.error(*place, what).expected("a name as db/host");
        } else if let Some(line) = seen.insert(name, place.line) {
            report.error(*place, format!("{name} is in line {line} already")).expected("it once");
        }
    }
    report.finish(&sources)?;
    let setting =
        |(name, value, place): (String, String, Place)| Setting { name, value, line: place.line };
    Ok(found.into_iter().map(setting).collect())
}

impl Reader {
    /// YAML would read more than JSON is.
    fn json(&mut self, text: &str, file: u32) {
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            let place = Place { file, line: number(error.line()), column: number(error.column()) };
            self.report.error(place, format!("it is no JSON: {error}"));
            return;
        }
        self.yaml(text, file);
    }

    fn yaml(&mut self, text: &str, file: u32) {
        let Some(root) = yaml::parse(text, file, &mut self.report) else { return };
        match &root.value {
            Value::Map(_) => self.node("", &root, root.place),
            Value::Scalar { text, plain: true } if text.is_empty() => {}
            _ => {
                self.report.error(root.place, "the file is no map").expected("name: value");
            }
        }
    }

    /// `place` is the key's: a text of several lines begins below it.
    fn node(&mut self, name: &str, node: &Node, place: Place) {
        let below = |part: &str| match name {
            "" => part.to_owned(),
            name => format!("{name}/{part}"),
        };
        match &node.value {
            Value::Scalar { text, plain } => {
                // What is empty, or said to be nothing, is an empty value.
                let is_null = *plain && matches!(&**text, "~" | "null" | "Null" | "NULL");
                let value = if is_null { String::new() } else { text.to_string() };
                self.found.push((name.to_owned(), value, place));
            }
            Value::List(list) => {
                for (n, node) in list.iter().enumerate() {
                    self.node(&below(&n.to_string()), node, node.place);
                }
            }
            Value::Map(map) => {
                for (key, node) in map.iter() {
                    self.node(&below(&key.text), node, key.place);
                }
            }
        }
    }

    fn env(&mut self, text: &str, file: u32) {
        match dotenv::parse(text, false) {
            Ok(pairs) => {
                for pair in pairs {
                    let place = Place { file, line: pair.line, column: 1 };
                    match pair.value {
                        Some(value) => self.found.push((pair.key, value, place)),
                        None => {
                            let what = format!("{} has no value", pair.key);
                            self.report.error(place, what).expected("KEY=value");
                        }
                    }
                }
            }
            Err(bad) => {
                let place = Place { file, line: bad.line, column: bad.column };
                self.report.error(place, bad.message).expected(bad.expected);
            }
        }
    }

    /// `name=value`, `name: value` or `name value`; `#` and `!` begin comments, a `\` at the end of a
    /// line goes on in the next one.
    fn properties(&mut self, text: &str, file: u32) {
        let mut lines = text.lines().zip(1_u32..);
        while let Some((first, line)) = lines.next() {
            let first = first.trim_start();
            if first.is_empty() || first.starts_with(['#', '!']) {
                continue;
            }
            let mut whole = first.to_owned();
            while whole.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
                whole.pop();
                let Some((next, _)) = lines.next() else { break };
                whole.push_str(next.trim_start());
            }
            let place = Place { file, line, column: 1 };
            match property(&whole) {
                Ok((name, _)) if name.is_empty() => {
                    self.report.error(place, "there is no name").expected("name=value");
                }
                Ok((name, value)) => self.found.push((name, value, place)),
                Err(what) => {
                    self.report.error(place, what).expected("\\n, \\t, \\uXXXX or \\\\");
                }
            }
        }
    }
}

/// Name and value of a line that is put together.
fn property(line: &str) -> Result<(String, String), String> {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || c.is_whitespace());
        escaped = c == '\\' && !escaped;
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    Ok((unescaped(name)?, unescaped(rest)?))
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                    units.push(unit.ok_or_else(|| format!("\\u{digits} is no character"))?);
                    continue;
                }
                Some(other) => other,
                None => continue,
            },
            c => c,
        };
        units.extend(c.encode_utf16(&mut [0; 2]).iter());
    }
    String::from_utf16(&units).map_err(|_half| "half a character is escaped".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, format: FlatFormat) -> Result<Vec<String>, String> {
        let shown = |one: Setting| format!("{}:{}={}", one.line, one.name, one.value);
        let all = settings(text, format, "app.x");
        all.map(|all| all.into_iter().map(shown).collect()).map_err(|errors| errors.to_string())
    }

    #[test]
    fn every_format_gives_names_and_values_with_their_lines() {
        for (format, text, want) in [
            (
                FlatFormat::Yaml,
                "db:\n  host: pg\n  ports: [1, 010]\nempty: ~\ntext: |\n  a\n  b\n",
                &[
                    "2:db/host=pg",
                    "3:db/ports/0=1",
                    "3:db/ports/1=010",
                    "4:empty=",
                    "5:text=a\nb\n",
                ][..],
            ),
            (FlatFormat::Yaml, "", &[]),
            (
                FlatFormat::Json,
                "{\"a\": {\"b\": \"x\"},\n\"n\": 1.50, \"t\": true}",
                &["1:a/b=x", "2:n=1.50", "2:t=true"],
            ),
            (
                FlatFormat::Properties,
                "# c\n! c\na.b = x y \n c:1\nd e\\\n   f\ng\nh\\ i=\\u00e4\\n\\\\\n",
                &["3:a.b=x y ", "4:c=1", "5:d=ef", "7:g=", "8:h i=\u{e4}\n\\"],
            ),
            (FlatFormat::Env, "# c\nexport A=1\nB='x y'\n", &["2:A=1", "3:B=x y"]),
        ] {
            assert_eq!(
                read(text, format),
                Ok(want.iter().map(|s| (*s).to_owned()).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (format, text, place) in [
            (FlatFormat::Yaml, "a: 1\nb: [\n", "app.x:"),
            (FlatFormat::Yaml, "- 1\n", "app.x:1"),
            (FlatFormat::Yaml, "a: 1\na/b: 2\n\"\": 3\n", "app.x:3"),
            (FlatFormat::Yaml, "a: {b: 1}\na/b: 2\n", "app.x:2"),
            (FlatFormat::Json, "{\"a\": 1,\n}", "app.x:2"),
            (FlatFormat::Json, "a: 1", "app.x:1"),
            (FlatFormat::Properties, "a=1\n=2\n", "app.x:2"),
            (FlatFormat::Properties, "a=1\nb=\\u12\n", "app.x:2"),
            (FlatFormat::Properties, "a=1\na=2\n", "app.x:2"),
            (FlatFormat::Env, "A=1\n=2\n", "app.x:2"),
            (FlatFormat::Env, "A=1\nB\n", "app.x:2"),
        ] {
            let error = read(text, format).unwrap_err();
            assert!(error.contains(place), "{text:?}: {error}");
        }
    }
}
