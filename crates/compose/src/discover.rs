//! Which files a folder has, when none is named.

use std::path::{Path, PathBuf};

/// Names by which compose looks, the first wins.
const NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
/// Rancher's file beside it.
const RANCHER: [&str; 2] = ["rancher-compose.yml", "rancher-compose.yaml"];

/// The compose files of a folder, in merging order: the file, its `.override`, Rancher's. Empty
/// when there is none. The names are below `folder`.
#[must_use]
pub fn discover(folder: &Path) -> Vec<PathBuf> {
    let first_of =
        |names: &[String]| names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    let mut out = vec![];
    let Some(main) = NAMES.iter().find(|name| folder.join(name).is_file()) else { return out };
    out.push(folder.join(main));
    let stem = main.rsplit_once('.').map_or(*main, |(stem, _)| stem);
    let overrides = ["yml", "yaml"].map(|extension| format!("{stem}.override.{extension}"));
    out.extend(first_of(&overrides));
    out.extend(first_of(&RANCHER.map(str::to_owned)));
    out
}

#[cfg(test)]
mod tests {
    use super::discover;
    use std::fs;

    #[test]
    fn the_first_name_wins_and_its_companions_follow() {
        let folder = tempfile::tempdir().unwrap();
        assert!(discover(folder.path()).is_empty());
        let names = || -> Vec<String> {
            let name = |p: &std::path::PathBuf| p.file_name().unwrap().to_str().unwrap().to_owned();
            discover(folder.path()).iter().map(name).collect()
        };
        for name in ["rancher-compose.yml", "docker-compose.override.yml", "docker-compose.yml"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let three = ["docker-compose.yml", "docker-compose.override.yml", "rancher-compose.yml"];
        assert_eq!(names(), three);
        fs::write(folder.path().join("compose.yaml"), "").unwrap();
        assert_eq!(names(), ["compose.yaml", "rancher-compose.yml"]);
    }
}
