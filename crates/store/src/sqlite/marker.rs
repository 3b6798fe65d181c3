//! The marker: a small file beside the database that remembers its epoch and the last index
//! acknowledged. It shows that there was a store, and that a database is not all there.
//!
//! The index is written over in place after every commit and before its acknowledgement, without
//! a flush: a killed process loses none of it; after a power cut it may be older than the
//! database, never newer.

use super::failure::of_file;
use super::folder::{Folder, MARKER};
use crate::error::{Error, Result};
use crate::status::Epoch;
use model::time::Index;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

const HEAD: &str = "remuda store\nepoch ";
const INDEX: &str = "\nindex ";
/// Digits of an index.
const WIDTH: usize = 20;
const INDEX_AT: usize = HEAD.len() + 32 + INDEX.len();

/// The marker of an open store.
#[derive(Debug)]
pub(super) struct Marker {
    file: File,
    path: PathBuf,
    warned: bool,
}

/// What a marker remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memo {
    pub(super) epoch: Epoch,
    pub(super) index: Index,
}

impl Marker {
    /// What the folder's marker remembers, `None` when there is none.
    pub(super) fn read(folder: &Folder) -> Result<Option<Memo>> {
        let path = folder.file(MARKER);
        let text = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(of_file("read", &path, e)),
        };
        let memo = std::str::from_utf8(&text).ok().and_then(parse);
        let why = || "it is not a marker that a store wrote".to_owned();
        memo.map(Some).ok_or_else(|| Error::Corrupt { path, why: why() })
    }

    /// Writes a new marker in the place of any old one, all or nothing.
    pub(super) fn write(folder: &Folder, memo: Memo) -> Result<()> {
        let (path, new) = (folder.file(MARKER), folder.file("state.marker.new"));
        let failed = |e| of_file("write", &new, e);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new).map_err(failed)?;
        file.write_all(render(memo).as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&new, &path).map_err(|e| of_file("write", &path, e))?;
        folder.sync()
    }

    /// Opens the folder's marker to keep it up to date.
    pub(super) fn open(folder: &Folder) -> Result<Self> {
        let path = folder.file(MARKER);
        let file = OpenOptions::new().write(true).open(&path);
        let file = file.map_err(|e| of_file("open", &path, e))?;
        Ok(Self { file, path, warned: false })
    }

    /// Remembers that everything up to `index` is committed.
    pub(super) fn advance(&mut self, index: Index) {
        let digits = format!("{:0WIDTH$}", index.0);
        let written = self.file.write_all_at(digits.as_bytes(), INDEX_AT as u64);
        if let Err(error) = written
            && !std::mem::replace(&mut self.warned, true)
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "store marker falls behind, lost files may go unnoticed");
        }
    }

    /// Makes what it remembers survive a power cut.
    pub(super) fn sync(&self) {
        if let Err(error) = self.file.sync_data() {
            tracing::warn!(path = %self.path.display(), %error, "store marker not flushed");
        }
    }
}

fn render(memo: Memo) -> String {
    format!("{HEAD}{}{INDEX}{:0WIDTH$}\n", memo.epoch, memo.index.0)
}

fn parse(text: &str) -> Option<Memo> {
    let (epoch, index) = text.strip_prefix(HEAD)?.split_once(INDEX)?;
    let index = index.strip_suffix('\n').filter(|digits| digits.len() == WIDTH)?;
    Some(Memo { epoch: epoch.parse().ok()?, index: Index(index.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_survives_its_text_and_keeps_its_width() {
        for index in [0, 42, u64::MAX] {
            let memo = Memo { epoch: Epoch([7; 16]), index: Index(index) };
            let text = render(memo);
            assert_eq!(parse(&text), Some(memo));
            assert_eq!(text.len(), INDEX_AT + WIDTH + 1);
        }
        for bad in
            ["", "remuda store\n", &render(Memo { epoch: Epoch([0; 16]), index: Index(1) })[1..]]
        {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
