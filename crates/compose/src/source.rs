//! The texts that were read, and places in them. A place is a number triple, so that a node costs
//! little; the text of its line is looked up only when a message is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A point in one of the `Sources`: 1-based line and column, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Index in `Sources`.
    pub(crate) file: u32,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// One text that was read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As the user names it, for messages.
    pub(crate) shown: String,
    /// Absolute path; `-` for the standard input.
    pub(crate) path: PathBuf,
    /// Absolute folder beside which relative paths resolve.
    pub(crate) folder: PathBuf,
    /// The text, empty when it could not be read.
    text: Arc<str>,
    /// Byte offset of each line; none when it could not be read.
    lines: Vec<usize>,
    /// Its services are at top level (docker-compose v1).
    pub(crate) legacy: bool,
    /// Folder of the first file, when this is a further one of the command line in another folder:
    /// docker compose would resolve its paths there.
    pub(crate) compose_folder: Option<PathBuf>,
    /// Values are cut from quoted lines, since the file is likely to hold passwords.
    pub(crate) masked: bool,
}

/// Every text that was read, in reading order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    all: Vec<Source>,
}

impl Sources {
    /// Adds a text and returns its number.
    pub(crate) fn add(&mut self, source: Source) -> u32 {
        self.all.push(source);
        u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn get(&self, file: u32) -> Option<&Source> {
        self.all.get(file as usize)
    }

    pub(crate) fn get_mut(&mut self, file: u32) -> Option<&mut Source> {
        self.all.get_mut(file as usize)
    }

    /// Folder beside which the relative paths of `file` resolve.
    pub(crate) fn folder(&self, file: u32) -> &Path {
        self.get(file).map_or(Path::new("/"), |s| s.folder.as_path())
    }

    pub(crate) fn is_legacy(&self, file: u32) -> bool {
        self.get(file).is_some_and(|s| s.legacy)
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.all.iter().map(|s| s.path.clone()).collect()
    }
}

impl Source {
    /// A file whose text is not read yet.
    pub(crate) fn new(shown: &str, path: &Path, folder: &Path) -> Self {
        Self {
            shown: shown.to_owned(),
            path: path.to_owned(),
            folder: folder.to_owned(),
            text: "".into(),
            lines: vec![],
            legacy: false,
            compose_folder: None,
            masked: false,
        }
    }

    /// Sets the text and finds its lines. YAML breaks them at LF, CR LF and CR.
    pub(crate) fn set_text(&mut self, text: Arc<str>) {
        let bytes = text.as_bytes();
        self.lines = vec![0];
        for (i, byte) in bytes.iter().enumerate() {
            let crlf = *byte == b'\r' && bytes.get(i + 1) == Some(&b'\n');
            if matches!(byte, b'\n' | b'\r') && !crlf {
                self.lines.push(i + 1);
            }
        }
        self.text = text;
    }

    /// The text of a line without its line break.
    pub(crate) fn line(&self, line: u32) -> Option<&str> {
        let start = *self.lines.get((line as usize).checked_sub(1)?)?;
        let end = self.lines.get(line as usize).copied().unwrap_or(self.text.len());
        Some(self.text[start..end].trim_end_matches(['\n', '\r']))
    }
}
