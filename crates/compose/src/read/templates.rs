//! `templates`: files that the host renders for a container. Their text is read here and travels
//! with the service, as the content of configs does.

use super::Read;
use crate::diagnostic::{quoted, quoted_path};
use crate::fields::Fields;
use crate::files::ReadError;
use crate::scalar;
use crate::yaml::{Node, Value};
use model::container_spec::{Mount, SpecFile};
use model::limits;
use model::template_file::{self, Tell, TemplateFile};
use std::path::Path;

/// Readable by all in the container.
const MODE_DEFAULT: u32 = 0o644;

impl Read<'_> {
    pub(super) fn templates(&mut self, mounts: &[Mount], files: &[SpecFile]) -> Vec<TemplateFile> {
        let nodes = self.fields.items("templates");
        let mut out = vec![];
        let mut places = vec![];
        for (n, node) in nodes.iter().enumerate() {
            let Some(fields) = node.as_map().map(Fields::of) else { continue };
            if let Some(one) = self.template_file(n, node, fields) {
                out.push(one);
                places.push(node.place);
            }
        }
        let files = files.iter().map(|file| file.target.as_str());
        let mounted = mounts.iter().map(Mount::target).chain(files);
        if let Err((n, why)) = template_file::check(&out, mounted) {
            let place = places.get(n).copied().unwrap_or(self.place);
            self.error(place, &format!("templates: {why}"))
                .hint("docs/templates.md says what a template of a service may have");
        }
        out
    }

    fn template_file(&mut self, n: usize, node: &Node, fields: Fields<'_>) -> Option<TemplateFile> {
        let Some(target) = fields.owned("target") else {
            self.error(node.place, "templates: an entry has no target")
                .expected("target: /path/of/the/file in the container");
            return None;
        };
        let (name, text) = self.template_text(n, node, fields)?;
        let wait_ms = fields.duration_ms("wait").unwrap_or(0);
        let wait_max_ms = fields.duration_ms("wait_max").unwrap_or(wait_ms.saturating_mul(4));
        let mode = fields.node("mode").and_then(|mode| self.file_mode(mode));
        let delimiters = match fields.texts("delimiters").as_slice() {
            [] => None,
            [left, right] => Some((left.clone(), right.clone())),
            _ => {
                self.error(node.place, "templates: delimiters are not two")
                    .expected("delimiters: [\"[[\", \"]]\"]");
                None
            }
        };
        let tell = self.tell(node, fields);
        Some(TemplateFile {
            name,
            text,
            target,
            tell,
            wait_ms,
            wait_max_ms,
            mode: mode.unwrap_or(MODE_DEFAULT) & 0o777,
            delimiters,
        })
    }

    fn tell(&mut self, node: &Node, fields: Fields<'_>) -> Option<Tell> {
        let signal = fields.text("signal").map(|text| {
            let upper = text.to_ascii_uppercase();
            let known = upper.strip_prefix("SIG").map(str::to_owned);
            Tell::Signal(format!("SIG{}", known.unwrap_or(upper)))
        });
        let command = match fields.node("command").map(|node| &node.value) {
            None | Some(Value::Map(_)) => None,
            Some(Value::List(_)) => Some(fields.texts("command")),
            Some(Value::Scalar { text, .. }) => match scalar::shell_words(text) {
                Ok(words) => Some(words),
                Err(expected) => {
                    self.error(node.place, "templates: command cannot be split into words")
                        .expected(expected)
                        .hint("write it as a list: [\"program\", \"argument\"]");
                    None
                }
            },
        };
        match (signal, command.map(Tell::Command)) {
            (Some(_), Some(_)) => {
                self.error(node.place, "templates: an entry has a signal and a command")
                    .expected("one of the two, or none");
                None
            }
            (signal, command) => signal.or(command),
        }
    }

    fn template_text(
        &mut self,
        n: usize,
        node: &Node,
        fields: Fields<'_>,
    ) -> Option<(String, String)> {
        match (fields.text("source"), fields.text("content")) {
            (None, Some(text)) => Some((format!("template {}", n + 1), text.to_owned())),
            (Some(path), None) => {
                let place = fields.place("source").unwrap_or(node.place);
                let wrong = |why: String| {
                    format!("templates: file {} cannot be used: {why}", quoted_path(path))
                };
                let read = self.stack.files.read(Path::new(path), limits::TEMPLATES_TEXT_BYTES_MAX);
                let text = read.map_err(|error| match &error {
                    ReadError::Io(source) => wrong(format!("{error}: {source}")),
                    _ => wrong(error.to_string()),
                });
                let text = text.and_then(|bytes| {
                    String::from_utf8(bytes).map_err(|_bytes| wrong("it is no UTF-8".into()))
                });
                match text {
                    Ok(text) => {
                        let name = Path::new(path).file_name().unwrap_or_default();
                        Some((name.to_string_lossy().into_owned(), text))
                    }
                    Err(what) => {
                        self.error(place, &what).expected("a template that can be read");
                        None
                    }
                }
            }
            (source, _) => {
                let what = match source {
                    Some(path) => format!("templates: {} has content beside it", quoted(path)),
                    None => "templates: an entry has no text".to_owned(),
                };
                self.error(node.place, &what).expected("source: a file, or content: the text");
                None
            }
        }
    }
}
