//! What was plugged in, on disk, a file for each container: whole or not at all, so that it outlives
//! a loss of power. Before ADD it says that one was begun, after it with which result; a plug is
//! taken back with the configuration that it was made with, whatever has become of the file.

use super::call::Plug;
use super::conf::NetConf;
use crate::Error;
use crate::resolv::write_atomic;
use model::limits::CNI_OUTPUT_BYTES_MAX;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A container that was plugged in, or was about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What was asked for.
    pub plug: Plug,
    /// The start of the container that it is for: the next one has another name space.
    pub run: Timestamp,
    /// What the plugins were told.
    pub conf: NetConf,
    /// Where the plugins were.
    pub bin_dirs: Vec<PathBuf>,
    /// What they answered; `None` when they were not heard to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
}

/// Where that is kept.
#[derive(Clone, Debug)]
pub struct Shelf {
    dir: PathBuf,
}

impl Shelf {
    /// In this folder.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn path(&self, container: &str) -> PathBuf {
        self.dir.join(format!("{container}.json"))
    }

    /// All of it. A file that cannot be understood is set aside with a warning: when its container is
    /// plugged in again, what is left of it is taken back first.
    ///
    /// # Errors
    /// `Error::CniKept` when the folder cannot be read.
    pub fn read(&self) -> Result<Vec<Kept>, Error> {
        let failed = |path: &Path, source| Error::CniKept { path: path.to_owned(), source };
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            other => other.map_err(|e| failed(&self.dir, e))?,
        };
        let mut all = vec![];
        for entry in entries {
            let path = entry.map_err(|e| failed(&self.dir, e))?.path();
            if path.extension().is_none_or(|end| end != "json") {
                continue;
            }
            let bytes = fs::read(&path).map_err(|e| failed(&path, e))?;
            match serde_json::from_slice(&bytes) {
                Ok(kept) => all.push(kept),
                Err(error) => {
                    let aside = path.with_extension("unreadable");
                    tracing::warn!(aside = %aside.display(), %error, "kept CNI result set aside");
                    fs::rename(&path, &aside).map_err(|e| failed(&path, e))?;
                }
            }
        }
        Ok(all)
    }

    /// Keeps one.
    ///
    /// # Errors
    /// `Error::CniKept`.
    pub fn write(&self, kept: &Kept) -> Result<(), Error> {
        let path = self.path(&kept.plug.container);
        let failed = |source| Error::CniKept { path: path.clone(), source };
        let bytes = serde_json::to_vec(kept).map_err(|e| failed(e.into()))?;
        if bytes.len() as u64 > CNI_OUTPUT_BYTES_MAX * 4 {
            return Err(failed(io::Error::other("configuration and result are too long")));
        }
        fs::create_dir_all(&self.dir)
            .and_then(|()| write_atomic(&self.dir, &path, &bytes, 0o600))
            .map_err(failed)
    }

    /// Forgets one.
    ///
    /// # Errors
    /// `Error::CniKept`; one that is not there is none.
    pub fn forget(&self, container: &str) -> Result<(), Error> {
        let path = self.path(container);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::CniKept { path, source: e })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kept(container: &str) -> Kept {
        let conf = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "x"}]});
        let plug = Plug {
            container: container.into(),
            address: [10, 42, 1, 5].into(),
            prefix: 16,
            mac: "02:42:0a:2a:01:05".into(),
        };
        let conf = NetConf::parse(conf.to_string().as_bytes()).unwrap();
        let bin_dirs = vec!["/usr/lib/cni".into()];
        Kept { plug, run: Timestamp(7), conf, bin_dirs, result: Some(json!({"ips": []})) }
    }

    #[test]
    fn what_was_plugged_in_is_known_again_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path().join("deep/results"));
        assert_eq!(shelf.read().unwrap(), vec![]);
        shelf.forget("ab").unwrap();
        shelf.write(&Kept { result: None, ..kept("ab") }).unwrap();
        shelf.write(&kept("ab")).unwrap();
        shelf.write(&kept("cd")).unwrap();
        let mut all = shelf.read().unwrap();
        all.sort_by(|a, b| a.plug.container.cmp(&b.plug.container));
        assert_eq!(all, [kept("ab"), kept("cd")]);
        shelf.forget("ab").unwrap();
        fs::write(shelf.path("ef"), "{").unwrap();
        assert_eq!(shelf.read().unwrap(), [kept("cd")]);
        assert!(shelf.path("ef").with_extension("unreadable").exists(), "for people to look at");
        assert_eq!(shelf.read().unwrap(), [kept("cd")]);
    }
}
