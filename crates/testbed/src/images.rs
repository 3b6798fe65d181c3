//! The example's images as a file: no registry can be reached from a machine of ours.

use crate::error::{Error, Result};
use crate::run::text;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `cargo xtask images` makes.
const IMAGES: [&str; 6] = [
    "storefront/httpfront:v1.0.0",
    "storefront/httpfront:v1.1.0",
    "storefront/httpfront:broken",
    "storefront/httpfront:sick",
    "storefront/httpbackend:v1.0.0",
    "storefront/tcpfront:v1.0.0",
];

/// A file for `docker load` in this folder, made once for each state of the images.
///
/// # Errors
/// When the Docker of this machine does not answer or lacks them.
pub fn saved(folder: &Path) -> Result<PathBuf> {
    let mut asks = Command::new("docker");
    asks.args(["image", "inspect", "-f", "{{.Id}}"]).args(IMAGES);
    let ids = text(&mut asks).map_err(|error| {
        let why = "the example's images are missing: run `cargo xtask images`";
        Error::Refused(format!("{why} ({error})"))
    })?;
    let short = |id: &str| id.trim_start_matches("sha256:").chars().take(6).collect::<String>();
    let path = folder.join(format!("images-{}.tar", ids.lines().map(short).collect::<String>()));
    if !path.exists() {
        fs::create_dir_all(folder).map_err(Error::file("made", folder))?;
        let new = folder.join(format!("images-{}.new", std::process::id()));
        text(Command::new("docker").arg("save").args(IMAGES).arg("-o").arg(&new))?;
        fs::rename(&new, &path).map_err(Error::file("written", &path))?;
    }
    Ok(path)
}
