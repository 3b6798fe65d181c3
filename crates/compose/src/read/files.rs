//! Secrets and configs: their content is read here and travels with the service. No message of
//! this file shows any content.

use super::Read;
use super::mounts::is_external;
use crate::diagnostic::{quoted, quoted_path};
use crate::fields::Fields;
use crate::files::ReadError;
use crate::source::Place;
use crate::yaml::{Map, Node};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::container_spec::SpecFile;
use model::limits;
use std::path::Path;

/// Readable by all in the container, as Docker has it.
const MODE_DEFAULT: u32 = 0o444;

impl Read<'_> {
    pub(super) fn files(&mut self) -> Vec<SpecFile> {
        let mut out = self.files_of("secrets", self.stack.secrets, true);
        out.extend(self.files_of("configs", self.stack.configs, false));
        let total: usize = out.iter().map(|f| f.content_base64.len() / 4 * 3).sum();
        if total > limits::SERVICE_FILES_BYTES_MAX {
            let place = self.fields.place("configs").or_else(|| self.fields.place("secrets"));
            let what = format!("its secrets and configs have {total} bytes");
            self.error(place.unwrap_or(self.place), &what)
                .expected(format!("at most {} bytes together", limits::SERVICE_FILES_BYTES_MAX))
                .hint("put large files in a volume or in the image");
        }
        out
    }

    fn files_of(&mut self, key: &str, declared: &Map, secret: bool) -> Vec<SpecFile> {
        let mut out: Vec<SpecFile> = vec![];
        for node in self.fields.items(key) {
            if let Some(file) = self.file(node, key, declared, secret) {
                if out.iter().any(|f| f.target == file.target) {
                    let what = format!("{key}: {} is there twice", quoted(&file.target));
                    self.error(node.place, &what).expected("a target of its own");
                }
                out.push(file);
            }
        }
        out
    }

    fn file(&mut self, node: &Node, key: &str, declared: &Map, secret: bool) -> Option<SpecFile> {
        let fields = Fields::of(node.as_map()?);
        let Some(source) = fields.text("source") else {
            self.error(node.place, &format!("{key}: an entry has no source"))
                .expected(format!("a name below the top-level {key}"));
            return None;
        };
        let Some(definition) = declared.get(source) else {
            self.error(node.place, &format!("{key}: {} is not declared", quoted(source)))
                .expected(format!("a name below the top-level {key}"))
                .near(source, declared.iter().map(|(k, _)| &*k.text));
            return None;
        };
        let folder = if secret { "/run/secrets/" } else { "/" };
        let target = match fields.text("target") {
            Some(target) if target.starts_with('/') => target.to_owned(),
            other => format!("{folder}{}", other.unwrap_or(source)),
        };
        if target.contains('\0') || target.split('/').any(|part| part == "..") || target == "/" {
            self.error(node.place, &format!("{key}: target {}", quoted(&target)))
                .expected("an absolute path without '..'");
            return None;
        }
        let mode = fields.node("mode").map(|mode| self.file_mode(mode));
        let owner = |name: &str| fields.text(name).map(|text| (text, text.parse::<u32>()));
        let mut ids = [0, 0];
        for (id, name) in ids.iter_mut().zip(["uid", "gid"]) {
            match owner(name) {
                None => {}
                Some((_, Ok(number))) => *id = number,
                Some((text, Err(_))) => {
                    self.error(node.place, &format!("{key}: {name} is {}", quoted(text)))
                        .expected("a number");
                }
            }
        }
        let content = self.content(definition, source, key)?;
        Some(SpecFile {
            name: source.to_owned(),
            target,
            content_base64: STANDARD.encode(content),
            mode: mode.flatten().unwrap_or(MODE_DEFAULT),
            uid: ids[0],
            gid: ids[1],
            secret,
        })
    }

    /// The content of a secret or config, from wherever its definition says.
    fn content(&mut self, definition: &Node, name: &str, key: &str) -> Option<Vec<u8>> {
        let what = format!("{key}: {}", quoted(name));
        let expected = "file:, environment: or content:";
        let fields = match definition.as_map() {
            Some(map) => Fields::of(map),
            None => {
                self.error(definition.place, &format!("{what} has no content")).expected(expected);
                return None;
            }
        };
        if is_external(fields) {
            self.error(definition.place, &format!("{what} is external"))
                .expected(expected)
                .hint("a store of secrets is not carried out yet: name a file");
            return None;
        }
        if let (Some(path), Some(place)) = (fields.text("file"), fields.place("file")) {
            return self.content_of_file(path, place, &what);
        }
        if let (Some(variable), Some(place)) =
            (fields.text("environment"), fields.place("environment"))
        {
            let value = self.stack.variables.get(variable);
            if value.is_none() {
                let message = format!("{what}: the variable {} is not set", quoted(variable));
                self.error(place, &message).hint("set it in the environment or in the .env file");
            }
            return self.bounded(value?.into_bytes(), place, &what);
        }
        if let (Some(content), Some(place)) = (fields.node("content"), fields.place("content")) {
            return self.bounded(content.as_text()?.as_bytes().to_vec(), place, &what);
        }
        self.error(definition.place, &format!("{what} has no content")).expected(expected);
        None
    }

    fn content_of_file(&mut self, path: &str, place: Place, what: &str) -> Option<Vec<u8>> {
        match self.stack.files.read(Path::new(path), limits::AUXILIARY_FILE_BYTES_MAX) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let mut message =
                    format!("{what}: file {} cannot be used: {error}", quoted_path(path));
                if let ReadError::Io(source) = &error {
                    message = format!("{message}: {source}");
                }
                self.error(place, &message).expected("a file that can be read");
                None
            }
        }
    }

    fn bounded(&mut self, bytes: Vec<u8>, place: Place, what: &str) -> Option<Vec<u8>> {
        let max = limits::AUXILIARY_FILE_BYTES_MAX;
        if bytes.len() > max {
            self.error(place, &format!("{what} has {} bytes", bytes.len()))
                .expected(format!("at most {max} bytes"));
            return None;
        }
        Some(bytes)
    }
}
