//! Reads files into documents: bytes, text, tree, variables, canonical form; then `extends`. Each
//! file is read once; the number of files and the length of a chain are bounded.

use crate::canonical::Paths;
use crate::diagnostic::{Report, quoted, quoted_path};
use crate::document::{self, Document};
use crate::files::{Files, ReadError};
use crate::interpolate::{Expander, Malformed};
use crate::merge::Merger;
use crate::source::{Place, Source, Sources};
use crate::variables::Variables;
use crate::yaml::{self, Key, Map, Node, Value};
use model::limits;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// State of one load.
pub(crate) struct Loader<'a> {
    pub(crate) files: &'a Files,
    pub(crate) sources: Sources,
    pub(crate) report: Report,
    pub(crate) variables: Arc<Variables>,
    pub(crate) paths: Paths,
    pub(crate) merger: Merger,
    /// Folder of the first file of the command line.
    pub(crate) main_folder: Option<PathBuf>,
    /// Bytes that expanded variables may still have.
    pub(crate) budget: usize,
    /// Bytes of files that may still be read.
    unread: usize,
    documents: BTreeMap<PathBuf, Option<Arc<Document>>>,
    /// Services whose `extends` failed.
    pub(crate) partial: BTreeSet<String>,
    /// Variables already warned about.
    unset: BTreeSet<String>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(files: &'a Files, variables: Variables, strict: bool) -> Self {
        let home = variables.process("HOME").map(PathBuf::from);
        Self {
            files,
            sources: Sources::default(),
            report: Report::new(strict),
            variables: Arc::new(variables),
            paths: Paths { home },
            merger: Merger::default(),
            main_folder: None,
            budget: limits::COMPOSE_EXPANDED_BYTES_MAX,
            unread: limits::COMPOSE_EXPANDED_BYTES_MAX,
            documents: BTreeMap::new(),
            partial: BTreeSet::new(),
            unset: BTreeSet::new(),
        }
    }

    /// Reads a compose file, its variables expanded, `extends` not yet carried out. `asked` is who
    /// names the file; nobody for one of the command line.
    pub(crate) fn document(
        &mut self,
        path: &Path,
        shown: &str,
        folder: &Path,
        asked: Option<Place>,
    ) -> Option<Arc<Document>> {
        if let Some(known) = self.documents.get(path) {
            return known.clone();
        }
        let document = self.read_document(path, shown, folder, asked).map(Arc::new);
        self.documents.insert(path.to_owned(), document.clone());
        document
    }

    fn read_document(
        &mut self,
        path: &Path,
        shown: &str,
        folder: &Path,
        asked: Option<Place>,
    ) -> Option<Document> {
        if self.documents.len() >= limits::COMPOSE_FILES_MAX {
            let message = format!("more than {} files are named", limits::COMPOSE_FILES_MAX);
            self.report.file_error(shown.to_owned(), message);
            return None;
        }
        let max = limits::COMPOSE_FILE_BYTES_MAX.min(self.unread);
        let bytes = match self.files.read(path, max) {
            Ok(bytes) => {
                self.unread -= bytes.len();
                bytes
            }
            Err(error) => {
                self.unreadable(shown, asked, &error);
                return None;
            }
        };
        let mut source = Source::new(shown, path, folder);
        source.compose_folder =
            self.main_folder.clone().filter(|main| asked.is_none() && *main != folder);
        let file = self.sources.add(source);
        let text = self.text(file, &bytes)?;
        let root = yaml::parse(&text, file, &mut self.report)?;
        let root = self.expand(&root);
        let legacy = root.as_map().is_some_and(document::is_legacy);
        if let Some(source) = self.sources.get_mut(file) {
            source.legacy = legacy;
        }
        Some(document::read(file, &root, &self.sources, &self.paths, &mut self.report))
    }

    pub(crate) fn unreadable(&mut self, shown: &str, asked: Option<Place>, error: &ReadError) {
        let mut message = format!("file {} cannot be used: {error}", quoted_path(shown));
        if let ReadError::Io(source) = error {
            message = format!("{message}: {source}");
        }
        let finding = match asked {
            Some(place) => self.report.error(place, message),
            // The place is the file itself.
            None => {
                let mut source = Source::new(shown, Path::new(shown), Path::new("/"));
                if let ReadError::TooLarge { start, .. } = error {
                    source.set_text(String::from_utf8_lossy(start).into());
                }
                let file = self.sources.add(source);
                self.report.error(Place { file, line: 1, column: 1 }, message)
            }
        };
        finding.expected(match error {
            ReadError::TooLarge { .. } => "a smaller file",
            _ => "a file that can be read",
        });
    }

    /// The text of a file: UTF-8, no NUL, without a byte order mark.
    pub(crate) fn text(&mut self, file: u32, bytes: &[u8]) -> Option<Arc<str>> {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let valid = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let offset = error.valid_up_to();
                let (before, bad) = bytes.split_at(offset);
                let text: Arc<str> = String::from_utf8_lossy(before).into();
                let place = end_of(file, &text);
                self.set_text(file, text);
                let byte = bad.first().copied().unwrap_or(0);
                let message = format!("byte {byte:#04x} at offset {offset} is not UTF-8");
                let finding = self.report.error(place, message);
                finding.expected("text in UTF-8");
                if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
                    finding.hint("the file is in UTF-16: save it as UTF-8");
                }
                return None;
            }
        };
        let text: Arc<str> = valid.into();
        self.set_text(file, text.clone());
        if let Some(at) = text.find('\0') {
            let place = end_of(file, &text[..at]);
            self.report
                .error(place, format!("there is a NUL byte at offset {at}"))
                .expected("text");
            return None;
        }
        Some(text)
    }

    fn set_text(&mut self, file: u32, text: Arc<str>) {
        if let Some(source) = self.sources.get_mut(file) {
            source.set_text(text);
        }
    }

    /// Expands the variables of a tree, `x-` keys at top level left as they are.
    fn expand(&mut self, root: &Node) -> Node {
        let Some(top) = root.as_map() else { return root.clone() };
        let variables = self.variables.clone();
        let lookup = |name: &str| variables.get(name);
        let mut expander = Expander::new(&lookup, self.budget);
        let mut out = Map::default();
        for (key, node) in top.iter() {
            let node = match key.text.starts_with("x-") {
                true => node.clone(),
                false => self.expand_node(node, &mut expander),
            };
            out.set(key.clone(), node);
        }
        self.budget = expander.budget();
        Node { mark: root.mark, ..Node::map(root.place, out) }
    }

    fn expand_node(&mut self, node: &Node, expander: &mut Expander<'_>) -> Node {
        let value = match &node.value {
            Value::Scalar { text, .. } if text.contains('$') && !expander.exhausted() => {
                match expander.expand(text) {
                    Ok(expanded) => {
                        self.warn_unset(node.place, &mut expander.unset);
                        Value::Scalar { text: expanded.into(), plain: false }
                    }
                    Err(error) => {
                        self.malformed(node, text, error);
                        node.value.clone()
                    }
                }
            }
            Value::Scalar { .. } => node.value.clone(),
            Value::List(items) => {
                let items = items.iter().map(|n| self.expand_node(n, expander)).collect();
                Value::List(Arc::new(items))
            }
            Value::Map(map) => {
                let pair = |(k, n): (&Key, &Node)| (k.clone(), self.expand_node(n, expander));
                Value::Map(Arc::new(map.iter().map(pair).collect()))
            }
        };
        Node { place: node.place, mark: node.mark, value }
    }

    fn warn_unset(&mut self, place: Place, unset: &mut BTreeSet<String>) {
        for name in std::mem::take(unset) {
            if self.unset.insert(name.clone()) {
                let message = format!("variable {} is not set: it is empty here", quoted(&name));
                let finding = self.report.warn(place, message);
                match name.as_str() {
                    "stack_name" | "service_name" | "project_name" => {
                        finding.hint(format!("what the scheduler fills in is written $${{{name}}}"))
                    }
                    _ => finding.hint(format!("set it, or write ${{{name}:-default}}")),
                };
            }
        }
    }

    fn malformed(&mut self, node: &Node, text: &str, error: Malformed) {
        // In a text of one line the place of the dollar sign can be found again.
        let mut place = node.place;
        if let Some(line) = self.sources.get(place.file).and_then(|s| s.line(place.line)) {
            let start: usize =
                line.chars().take(place.column as usize - 1).map(char::len_utf8).sum();
            let piece: String = text[error.at..].chars().take(12).collect();
            if let Some(at) = line[start..].find(&piece) {
                let column = line[..start + at].chars().count() + 1;
                place.column = u32::try_from(column).unwrap_or(u32::MAX);
            }
        }
        let finding = self.report.error(place, error.message);
        if let Some(hint) = error.hint {
            finding.hint(hint);
        }
    }

    /// A service with what it extends below it. `chain` holds who asked for it.
    pub(crate) fn extended(
        &mut self,
        document: &Document,
        name: &str,
        chain: &mut Vec<(u32, String)>,
    ) -> Option<Node> {
        let node = document.services.get(name)?.clone();
        let map = node.as_map()?;
        let Some(extends) = map.get("extends").cloned() else { return Some(node) };
        let mut own = map.clone();
        own.remove("extends");
        let own = Node { mark: node.mark, ..Node::map(node.place, own) };
        let from = extends.as_map();
        let Some(base) = from.and_then(|m| m.get("service")).and_then(Node::as_text) else {
            self.report
                .error(extends.place, format!("service {}: extends names no service", quoted(name)))
                .expected("extends: {service: name, file: other.yml}");
            return Some(own);
        };
        chain.push((document.file, name.to_owned()));
        let file = from.and_then(|m| m.get("file")).filter(|n| !n.is_null()).cloned();
        let base_node = self.base(document, base, file.as_ref(), extends.place, chain);
        chain.pop();
        let Some(base_map) = base_node.as_ref().and_then(Node::as_map) else {
            let asked = chain.first().map_or(name, |(_, first)| first);
            self.partial.insert(asked.to_owned());
            return Some(own);
        };
        let mut base_map = base_map.clone();
        if self.sources.is_legacy(document.file) {
            // In v1 what ties a service to others was never shared.
            for key in ["links", "volumes_from", "depends_on"] {
                base_map.remove(key);
            }
        }
        let own_map = own.as_map()?;
        let merged = self.merger.maps(&base_map, own_map, "", &mut self.report);
        Some(Node { mark: node.mark, ..Node::map(node.place, merged) })
    }

    fn base(
        &mut self,
        document: &Document,
        base: &str,
        file: Option<&Node>,
        place: Place,
        chain: &mut Vec<(u32, String)>,
    ) -> Option<Node> {
        let max = limits::EXTENDS_DEPTH_MAX;
        if chain.len() > max {
            self.report
                .error(place, format!("extends goes on for more than {max} services"))
                .expected("a shorter chain");
            return None;
        }
        let other = match file {
            None => None,
            Some(file) => {
                let path = PathBuf::from(self.paths.absolute(&self.sources, file)?);
                let shown = self.shown(document.file, file.as_text()?);
                let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
                Some(self.document(&path, &shown, &folder, Some(file.place))?)
            }
        };
        let document = other.as_deref().unwrap_or(document);
        if let Some(at) = chain.iter().position(|(f, s)| *f == document.file && s == base) {
            let names: Vec<_> = chain[at..].iter().map(|(_, s)| s.as_str()).collect();
            let cycle = format!("{} -> {base}", names.join(" -> "));
            self.report
                .error(place, format!("extends goes in a circle: {cycle}"))
                .expected("a service that does not lead back here");
            return None;
        }
        if !document.services.contains(base) {
            let names = document.services.iter().map(|(k, _)| &*k.text);
            let message = format!("extends names service {}, which is not there", quoted(base));
            self.report.error(place, message).near(base, names);
            return None;
        }
        self.extended(document, base, chain)
    }

    /// Reads what a document includes, into the list before it. `open` holds the files under way.
    pub(crate) fn included(
        &mut self,
        document: &Document,
        open: &mut Vec<PathBuf>,
        out: &mut Vec<Arc<Document>>,
    ) {
        for node in &document.includes {
            let Some(path) = self.paths.absolute(&self.sources, node).map(PathBuf::from) else {
                continue;
            };
            if open.contains(&path) || open.len() > limits::EXTENDS_DEPTH_MAX {
                self.report
                    .error(node.place, "include goes in a circle, or on for too many files")
                    .expected("files that do not include each other");
                continue;
            }
            let shown = self.shown(document.file, node.as_text().unwrap_or(""));
            let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
            let Some(other) = self.document(&path, &shown, &folder, Some(node.place)) else {
                continue;
            };
            if out.iter().any(|d| d.file == other.file) {
                continue;
            }
            open.push(path);
            self.included(&other, open, out);
            open.pop();
            for (key, _) in
                other.services.iter().filter(|(k, _)| document.services.contains(&k.text))
            {
                let place = document.services.key(&key.text).map_or(node.place, |own| own.place);
                let message = format!("service {} is in an included file too", quoted(&key.text));
                self.report
                    .error(place, message)
                    .expected("a name of its own")
                    .hint("to change a service of another file, name both files with -f");
            }
            out.push(other);
        }
    }

    /// How a file named in another file is shown: beside it.
    fn shown(&self, from: u32, name: &str) -> String {
        let parent = self.sources.get(from).and_then(|s| Path::new(&s.shown).parent());
        parent.map_or_else(|| name.to_owned(), |p| p.join(name).display().to_string())
    }
}

/// The place behind a text.
fn end_of(file: u32, text: &str) -> Place {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { file, line: number(line), column: number(column) }
}
