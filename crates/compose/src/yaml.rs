//! YAML as this crate sees it: a tree of scalars, lists and maps, each with its place. Types are
//! given to scalars by those who read them, never here: `22:22` and `010` stay what was written.

mod build;
mod node;
mod write;

pub(crate) use build::parse;
pub(crate) use node::{Key, Map, Mark, Node, Value};
pub(crate) use write::write;
