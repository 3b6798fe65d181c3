//! From the parser's events to the tree, within budgets: bytes, depth, and nodes once aliases are
//! expanded. Sizes are counted before anything is copied, so that an alias bomb ends early.

use crate::diagnostic::{Report, quoted};
use crate::source::Place;
use crate::yaml::node::{Key, Map, Mark, Node, Value};
use model::limits;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Parses one document; an empty one is null. `None` for an error that hides the rest; errors are
/// in the report.
pub(crate) fn parse(text: &str, file: u32, report: &mut Report) -> Option<Node> {
    let mut builder =
        Builder { file, report, frames: vec![], anchors: BTreeMap::new(), root: None };
    let mut parser = Parser::new(StrInput::new(text));
    let mut documents = 0;
    while let Some(next) = parser.next_event() {
        let done = match next {
            Err(error) => builder.syntax(&error, text),
            Ok((Event::DocumentStart(_), span)) => {
                documents += 1;
                if documents > 1 {
                    let place = builder.place(&span);
                    builder
                        .report
                        .error(place, "a second document starts here")
                        .expected("one YAML document per file")
                        .hint("split the file, or remove the '---'");
                    Stop
                } else {
                    Go
                }
            }
            Ok((event, span)) => builder.event(event, &span),
        };
        if matches!(done, Stop) {
            return None;
        }
    }
    Some(builder.root.unwrap_or_else(|| Node::null(Place { file, line: 1, column: 1 })))
}

/// Longest key that YAML knows without a `?` before it, in characters.
const YAML_KEY_CHARS_MAX: usize = 1024;

/// Whether to read on.
enum Flow {
    Go,
    Stop,
}
use Flow::{Go, Stop};

/// What a node costs once all aliases in it are expanded.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl Size {
    fn plus(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(other.nodes),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

struct Frame {
    place: Place,
    mark: Mark,
    anchor: usize,
    size: Size,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { map: Map, key: Option<Key>, merged: Vec<(Key, Node)> },
}

struct Builder<'a> {
    file: u32,
    report: &'a mut Report,
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, (Node, Size)>,
    root: Option<Node>,
}

impl Builder<'_> {
    fn place(&self, span: &Span) -> Place {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place {
            file: self.file,
            line: number(span.start.line()).max(1),
            column: number(span.start.col() + 1),
        }
    }

    fn event(&mut self, event: Event<'_>, span: &Span) -> Flow {
        let place = self.place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let Some((mark, text_tag)) = self.tag(tag.as_deref(), place) else { return Stop };
                let plain = style == ScalarStyle::Plain && !text_tag;
                let size = Size { nodes: 1, bytes: text.len() };
                if text.contains('\0') {
                    // An escape: one in the file itself was refused before.
                    self.report
                        .error(place, "there is a NUL character in this text")
                        .expected("text that a program can be given");
                }
                let text: Arc<str> = Arc::from(Cow::as_ref(&text));
                let node = Node { place, mark, value: Value::Scalar { text, plain } };
                self.complete(node, size, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(place, anchor, tag.as_deref(), Content::List(vec![]))
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Map { map: Map::default(), key: None, merged: vec![] };
                self.open(place, anchor, tag.as_deref(), content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    self.report
                        .error(place, "this alias is inside the value that it stands for")
                        .hint("an anchor can only be used after the value that it names");
                    return Stop;
                };
                // Errors inside a repeated value point to where it was written.
                self.complete(node, size, 0)
            }
            _ => Go,
        }
    }

    fn open(&mut self, place: Place, anchor: usize, tag: Option<&Tag>, content: Content) -> Flow {
        let Some((mark, _)) = self.tag(tag, place) else { return Stop };
        if self.frames.len() >= limits::COMPOSE_DEPTH_MAX {
            let max = limits::COMPOSE_DEPTH_MAX;
            self.report
                .error(place, format!("the nesting is deeper than {max} levels"))
                .expected(format!("at most {max} levels"));
            return Stop;
        }
        if let Some(Frame { content: Content::Map { key: None, .. }, .. }) = self.frames.last() {
            self.report
                .error(place, "a list or a map cannot be a key")
                .expected("a text before the ':'");
            return Stop;
        }
        let size = Size { nodes: 1, bytes: 0 };
        self.frames.push(Frame { place, mark, anchor, size, content });
        Go
    }

    fn close(&mut self) -> Flow {
        let Some(frame) = self.frames.pop() else { return Go };
        let value = match frame.content {
            Content::List(items) => Value::List(Arc::new(items)),
            Content::Map { mut map, merged, .. } => {
                for (key, node) in merged {
                    if !map.contains(&key.text) {
                        map.set(key, node);
                    }
                }
                Value::Map(Arc::new(map))
            }
        };
        let node = Node { place: frame.place, mark: frame.mark, value };
        self.complete(node, frame.size, frame.anchor)
    }

    /// Takes a whole node into the open list or map.
    fn complete(&mut self, node: Node, size: Size, anchor: usize) -> Flow {
        if !self.charge(node.place, size) {
            return Stop;
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Go;
        };
        frame.size = frame.size.plus(size);
        match &mut frame.content {
            Content::List(items) => {
                items.push(node);
                Go
            }
            Content::Map { key, map, merged } => match key.take() {
                None => match &node.value {
                    Value::Scalar { text, .. } => {
                        let text = text.clone();
                        if let Some(first) = map.key(&text).filter(|_| &*text != "<<") {
                            let line = first.place.line;
                            self.report
                                .error(node.place, format!("key {} is here twice", quoted(&text)))
                                .hint(format!("it is first set in line {line}; keep one"));
                        }
                        *key = Some(Key { place: node.place, text });
                        Go
                    }
                    _ => {
                        self.report
                            .error(node.place, "a list or a map cannot be a key")
                            .expected("a text before the ':'");
                        Stop
                    }
                },
                Some(key) if &*key.text == "<<" => {
                    let parts = match &node.value {
                        Value::List(items) => items.to_vec(),
                        _ => vec![node],
                    };
                    for part in parts {
                        let Value::Map(from) = &part.value else {
                            self.report
                                .error(key.place, format!("'<<' merges {}", part.kind()))
                                .expected("a map, or a list of maps");
                            continue;
                        };
                        merged.extend(from.iter().map(|(k, n)| (k.clone(), n.clone())));
                    }
                    Go
                }
                Some(key) => {
                    if !map.contains(&key.text) {
                        map.set(key, node);
                    }
                    Go
                }
            },
        }
    }

    /// Counts what the document has become; false when it is too much.
    fn charge(&mut self, place: Place, size: Size) -> bool {
        let open = self.frames.iter().fold(size, |sum, frame| sum.plus(frame.size));
        let (max_nodes, max_bytes) =
            (limits::COMPOSE_NODES_MAX, limits::COMPOSE_EXPANDED_BYTES_MAX);
        if open.nodes > max_nodes {
            self.report
                .error(place, format!("with its aliases the file has over {max_nodes} values"))
                .hint("aliases of aliases multiply: write fewer of them");
            return false;
        }
        if open.bytes > max_bytes {
            self.report
                .error(place, format!("with its aliases the file has over {max_bytes} bytes"))
                .hint("aliases of long texts multiply: write fewer of them");
            return false;
        }
        true
    }

    /// The merge tag, and whether the tag makes a scalar a text. `None` for a tag that nobody knows.
    fn tag(&mut self, tag: Option<&Tag>, place: Place) -> Option<(Mark, bool)> {
        let Some(tag) = tag else { return Some((Mark::None, false)) };
        if tag.is_yaml_core_schema() {
            match tag.suffix.as_str() {
                "str" => return Some((Mark::None, true)),
                "int" | "float" | "bool" | "null" | "map" | "seq" => {
                    return Some((Mark::None, false));
                }
                _ => {}
            }
        }
        match (tag.handle.as_str(), tag.suffix.as_str()) {
            ("!", "reset") => return Some((Mark::Reset, false)),
            ("!", "override") => return Some((Mark::Override, false)),
            ("", "!") | ("!", "") => return Some((Mark::None, true)),
            _ => {}
        }
        self.report
            .error(place, format!("tag {} is not known", quoted(&tag.to_string())))
            .expected("!reset, !override, !!str or no tag");
        None
    }

    fn syntax(&mut self, error: &ScanError, text: &str) -> Flow {
        let mark = error.marker();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let line = number(mark.line()).max(1);
        let mut place = Place { file: self.file, line, column: number(mark.col() + 1) };
        let template = text.lines().position(|l| l.trim_start().starts_with("{{"));
        if let Some(line) = template {
            // Where the trouble starts, and not where YAML gives up.
            (place.line, place.column) = (number(line + 1), 1);
            self.report
                .error(place, "Go templates ({{ … }}) are not carried out")
                .expected("YAML")
                .hint("write what the template makes of it");
            return Stop;
        }
        if error.info().contains("recursion limit") {
            // The scanner's own bound came before ours.
            let max = limits::COMPOSE_DEPTH_MAX;
            self.report
                .error(place, format!("the nesting is deeper than {max} levels"))
                .expected(format!("at most {max} levels"));
            return Stop;
        }
        let finding = self.report.error(place, format!("not valid YAML: {}", error.info()));
        let at = text.lines().nth(line as usize - 1).unwrap_or("");
        let indent = &at[..at.len() - at.trim_start().len()];
        if indent.contains('\t') {
            finding.expected("spaces").hint("YAML does not allow tabs for indentation");
        } else if mark.col() > YAML_KEY_CHARS_MAX {
            finding.hint("a key of YAML has at most 1024 characters");
        } else {
            finding.hint("look at indentation, quotes and colons of this line and the one before");
        }
        Stop
    }
}
