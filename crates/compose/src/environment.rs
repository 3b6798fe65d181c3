//! `env_file`, `label_file` and `environment` become one map of variables with values: what the
//! container will have.

use crate::diagnostic::quoted;
use crate::dotenv::{self, Pair};
use crate::fields::Fields;
use crate::loader::Loader;
use crate::source::{Place, Source};
use crate::variables;
use crate::yaml::{Key, Map, Node};
use model::limits;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files of variables that were read, by path and format.
pub(crate) type EnvFiles = BTreeMap<(PathBuf, bool), Option<Arc<(u32, Vec<Pair>)>>>;

impl Loader<'_> {
    /// Reads the variables that `--env-file` or `.env` sets. A missing one is an error when it was
    /// asked for.
    pub(crate) fn env_file_pairs(
        &mut self,
        path: &Path,
        shown: &str,
        raw: bool,
    ) -> Option<(u32, Vec<Pair>)> {
        self.read_pairs(path, shown, raw, None)
    }

    fn read_pairs(
        &mut self,
        path: &Path,
        shown: &str,
        raw: bool,
        asked: Option<Place>,
    ) -> Option<(u32, Vec<Pair>)> {
        let bytes = match self.files.read(path, limits::AUXILIARY_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.unreadable(shown, asked, &error);
                return None;
            }
        };
        let mut source = Source::new(shown, path, path.parent().unwrap_or(Path::new("/")));
        source.masked = true;
        let file = self.sources.add(source);
        let text = self.text(file, &bytes)?;
        match dotenv::parse(&text, raw) {
            Ok(pairs) => Some((file, pairs)),
            Err(bad) => {
                let place = Place { file, line: bad.line, column: bad.column };
                self.report.error(place, bad.message).expected(bad.expected);
                None
            }
        }
    }

    /// Replaces `env_file`, `label_file` and valueless variables of a canonical service.
    pub(crate) fn resolve_variables(&mut self, service: &mut Map, read: &mut EnvFiles) {
        let mut out = Map::default();
        let items = Fields::of(service).items("env_file").to_vec();
        for item in &items {
            let Some(fields) = item.as_map().map(Fields::of) else { continue };
            let Some(path) = fields.text("path") else {
                self.report.error(item.place, "an env_file has no path").expected("a path");
                continue;
            };
            let place = fields.place("path").unwrap_or(item.place);
            let required = fields.boolean("required").unwrap_or(true);
            let raw = match fields.text("format") {
                None => false,
                Some("raw") => true,
                Some(other) => {
                    self.report
                        .error(
                            item.place,
                            format!("env_file format {} is not known", quoted(other)),
                        )
                        .expected("raw, or no format");
                    continue;
                }
            };
            if !required && !self.files.is_file(Path::new(path)) {
                continue;
            }
            self.take_file(path, place, raw, read, &mut out);
        }
        let variables = self.variables.clone();
        if let Some(map) = Fields::of(service).map("environment") {
            for (key, node) in map.iter() {
                if !node.is_null() {
                    out.set(key.clone(), node.clone());
                } else if let Some(value) = variables.get(&key.text) {
                    out.set(key.clone(), Node::text(node.place, value));
                } else {
                    out.remove(&key.text);
                }
            }
        }
        let place = service.key("environment").or_else(|| service.key("env_file")).cloned();
        service.remove("env_file");
        if let Some(key) = place {
            let key = Key::new(key.place, "environment");
            let node = Node::map(key.place, out);
            service.set(key, node);
        }
        self.resolve_label_files(service, read);
        // A build argument without a value comes from the environment too.
        if let Some(args) = service.get_mut("build").and_then(Node::as_map_mut)
            && let Some(args) = args.get_mut("args").and_then(Node::as_map_mut)
        {
            let filled = args.iter().filter_map(|(key, node)| {
                let value = if node.is_null() {
                    Node::text(node.place, variables.get(&key.text)?)
                } else {
                    node.clone()
                };
                Some((key.clone(), value))
            });
            *args = filled.collect();
        }
    }

    fn resolve_label_files(&mut self, service: &mut Map, read: &mut EnvFiles) {
        let Some((key, files)) = service.remove("label_file") else { return };
        let mut out = Map::default();
        for item in files.as_list().unwrap_or_default() {
            if let Some(path) = item.as_text() {
                self.take_file(path, item.place, false, read, &mut out);
            }
        }
        if let Some(labels) = Fields::of(service).map("labels") {
            for (key, node) in labels.iter() {
                out.set(key.clone(), node.clone());
            }
        }
        let node = Node::map(key.place, out);
        service.set(Key::new(key.place, "labels"), node);
    }

    fn take_file(
        &mut self,
        path: &str,
        place: Place,
        raw: bool,
        read: &mut EnvFiles,
        out: &mut Map,
    ) {
        let at = (PathBuf::from(path), raw);
        if !read.contains_key(&at) {
            if read.len() >= limits::COMPOSE_FILES_MAX {
                let max = limits::COMPOSE_FILES_MAX;
                self.report
                    .error(place, format!("more than {max} files of variables are named"))
                    .expected("fewer of them");
                return;
            }
            let pairs = self.read_pairs(&at.0, path, raw, Some(place)).map(Arc::new);
            read.insert(at.clone(), pairs);
        }
        let Some(Some(pairs)) = read.get(&at).cloned() else { return };
        let variables = self.variables.clone();
        let (file, pairs) = &*pairs;
        let max = limits::ENVIRONMENT_MAX;
        if let Some(pair) = pairs.get(max) {
            let place = Place { file: *file, line: pair.line, column: 1 };
            let message = format!("with this variable the file has over {max}");
            self.report.error(place, message).expected(format!("at most {max} in a service"));
            return;
        }
        for pair in pairs {
            let lookup = |name: &str| {
                let earlier = out.get(name).and_then(Node::as_text).map(str::to_owned);
                variables.get(name).or(earlier)
            };
            let place = Place { file: *file, line: pair.line, column: 1 };
            let value = variables::value(pair, &lookup, self.budget);
            let Some(value) = value else { continue };
            // What a variable costs beside its value.
            let cost = value.len() + pair.key.len() + 16;
            let Some(left) = self.budget.checked_sub(cost) else {
                let max = limits::COMPOSE_EXPANDED_BYTES_MAX;
                let message = format!("with this variable the stack has over {max} bytes");
                self.report.error(place, message).expected("fewer or shorter values");
                return;
            };
            self.budget = left;
            out.set(Key::new(place, &pair.key), Node::text(place, value));
        }
    }
}

/// Is a service wanted, given the active profiles?
pub(crate) fn is_active(service: &Map, profiles: &[String]) -> bool {
    let own = Fields::of(service).texts("profiles");
    own.is_empty() || profiles.iter().any(|p| p == "*" || own.contains(p))
}
