//! What runs in the container, and with which rights.

use super::Read;
use crate::diagnostic::quoted;
use crate::fields::Fields;
use crate::scalar;
use crate::yaml::{Node, Value};
use model::container_spec::Logging;
use std::collections::BTreeMap;

impl Read<'_> {
    /// A command: a list, or a text split as a shell does.
    pub(super) fn command(&mut self, key: &str) -> Option<Vec<String>> {
        let node = self.fields.node(key)?;
        match &node.value {
            Value::List(items) => Some(items.iter().map(scalar_text).collect()),
            Value::Scalar { text, .. } => match scalar::shell_words(text) {
                Ok(words) => Some(words),
                Err(expected) => {
                    let what = format!("{key} {} cannot be split into words", quoted(text));
                    self.error(node.place, &what)
                        .expected(expected)
                        .hint("write it as a list: [\"program\", \"argument\"]");
                    None
                }
            },
            Value::Map(_) => None,
        }
    }

    pub(super) fn working_dir(&mut self) -> Option<String> {
        let text = self.fields.owned("working_dir")?;
        if !text.starts_with('/') {
            let place = self.fields.place("working_dir").unwrap_or(self.place);
            self.error(place, &format!("working_dir {} is not absolute", quoted(&text)))
                .expected("a path that starts with '/'");
        }
        Some(text)
    }

    pub(super) fn stop_signal(&mut self) -> Option<String> {
        let text = self.fields.owned("stop_signal")?;
        let name = text.strip_prefix("SIG").unwrap_or(&text);
        let named = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"+-".contains(&b));
        if !named {
            let place = self.fields.place("stop_signal").unwrap_or(self.place);
            self.error(place, &format!("stop_signal {} is not a signal", quoted(&text)))
                .expected("a name such as SIGTERM, or a number");
        }
        Some(text)
    }

    /// `pid` and `ipc`: those of the host or of a container; those of a service need sidekicks.
    pub(super) fn namespace(&mut self, key: &str) -> Option<String> {
        let text = self.fields.owned(key)?;
        let place = self.fields.place(key).unwrap_or(self.place);
        let container = text.starts_with("container:");
        match text.as_str() {
            "host" => Some(text),
            "shareable" | "private" | "none" if key == "ipc" => Some(text),
            "private" => None,
            _ if container => Some(text),
            _ if text.starts_with("service:") => {
                let what =
                    format!("{key}: {text} is not carried out yet: the container has its own");
                self.warn(place, &what);
                None
            }
            _ => {
                self.error(place, &format!("{key} is {}", quoted(&text)))
                    .expected("host, or container:name");
                None
            }
        }
    }

    pub(super) fn capabilities(&mut self, key: &str) -> Vec<String> {
        let mut out = vec![];
        for node in self.fields.items(key) {
            let Some(text) = node.as_text() else { continue };
            let name = text.to_ascii_uppercase();
            if !name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') {
                self.error(node.place, &format!("{key}: {} is not a capability", quoted(text)))
                    .expected("a name such as NET_ADMIN, or ALL");
            }
            out.push(name);
        }
        out
    }

    pub(super) fn devices(&mut self) -> Vec<String> {
        let mut out = vec![];
        for node in self.fields.items("devices") {
            let Some(text) = node.as_text() else { continue };
            if !text.starts_with('/') {
                let what = format!("devices: {} is not a path", quoted(text));
                self.error(node.place, &what).expected("/dev/host[:/dev/container[:rwm]]");
                continue;
            }
            let parts: Vec<&str> = text.split(':').collect();
            match parts[..] {
                [host, inside, "ro"] => {
                    let what = "devices: \"ro\" is not a set of permissions: it is taken as \"r\"";
                    self.warn(node.place, what);
                    out.push(format!("{host}:{inside}:r"));
                }
                [_, _, permissions] if !is_permissions(permissions) => {
                    let what = format!("devices: {} are no permissions", quoted(permissions));
                    self.error(node.place, &what).expected("letters of r, w and m");
                }
                [_] | [_, _] | [_, _, _] => out.push(text.to_owned()),
                _ => {
                    self.error(node.place, &format!("devices: {} has too many ':'", quoted(text)))
                        .expected("/dev/host[:/dev/container[:rwm]]");
                }
            }
        }
        out
    }

    pub(super) fn logging(&mut self) -> Option<Logging> {
        let fields = self.fields.object("logging")?;
        let driver = fields.owned("driver").unwrap_or_default();
        Some(Logging { driver, options: fields.pairs("options") })
    }

    pub(super) fn ulimits(&mut self) -> BTreeMap<String, (i64, i64)> {
        let Some(map) = self.fields.map("ulimits") else { return BTreeMap::new() };
        let mut out = BTreeMap::new();
        for (key, node) in map.iter() {
            let Some(fields) = node.as_map().map(Fields::of) else { continue };
            let name = &*key.text;
            let (soft, hard) = (fields.integer("soft"), fields.integer("hard"));
            if soft.is_none() && fields.node("soft").is_some()
                || hard.is_none() && fields.node("hard").is_some()
            {
                continue;
            }
            let (Some(soft), Some(hard)) = (soft, hard) else {
                self.error(node.place, &format!("ulimits: {name} needs both soft and hard"))
                    .expected("a number, or {soft: 1, hard: 2}");
                continue;
            };
            if hard >= 0 && (soft > hard || soft < 0) {
                let what = format!("ulimits: {name}: soft {soft} is above hard {hard}");
                self.error(node.place, &what).expected("soft at most hard");
            }
            out.insert(name.to_owned(), (soft, hard));
        }
        out
    }
}

/// Text of an item of a command, where null is an empty word.
fn scalar_text(node: &Node) -> String {
    match &node.value {
        Value::Scalar { text, .. } => text.to_string(),
        _ => String::new(),
    }
}

fn is_permissions(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'))
}
