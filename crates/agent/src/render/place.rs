//! Where rendered files are: a folder for each container, by Docker's name of it, with one for each
//! folder that it has mounted. The file `untold` beside them says that it was not yet told of a
//! change. Files are swapped whole; nothing outside of these folders is touched.

use model::container_spec::{ContainerSpec, Mount};
use model::template_file::folders;
use model::time::Timestamp;
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use template::write::{self, Wish};

const UNTOLD: &str = "untold";

fn home(dir: &Path, name: &str) -> Result<PathBuf, String> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    plain.then(|| dir.join(name)).ok_or_else(|| format!("{name:?} is not a plain name"))
}

/// The file of one template on this host.
fn path(dir: &Path, name: &str, spec: &ContainerSpec, n: usize) -> Result<PathBuf, String> {
    let nowhere = || format!("template {} has no place", n + 1);
    let target = spec.templates.get(n).ok_or_else(nowhere)?;
    let folder = target.folder().ok_or_else(nowhere)?;
    let at = folders(&spec.templates).iter().position(|known| *known == folder);
    let file = target.target.get(folder.len() + 1..).ok_or_else(nowhere)?;
    Ok(home(dir, name)?.join(at.ok_or_else(nowhere)?.to_string()).join(file))
}

/// What a container has mounted of it.
///
/// # Errors
/// A name that is none.
pub(crate) fn mounts(dir: &Path, name: &str, spec: &ContainerSpec) -> Result<Vec<Mount>, String> {
    if spec.templates.is_empty() {
        return Ok(vec![]);
    }
    let home = home(dir, name)?;
    let each = folders(&spec.templates).into_iter().enumerate();
    let mount = |(at, folder): (usize, &str)| Mount::Bind {
        source: home.join(at.to_string()).to_string_lossy().into_owned(),
        target: folder.to_owned(),
        read_only: true,
        propagation: None,
        create_host_path: false,
    };
    Ok(each.map(mount).collect())
}

/// Takes it all away.
///
/// # Errors
/// What the system says.
pub(crate) fn remove(dir: &Path, name: &str) -> Result<(), String> {
    let home = home(dir, name)?;
    match std::fs::remove_dir_all(&home) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("{} cannot be removed: {error}", home.display()))
        }
        _ => Ok(()),
    }
}

/// Takes away the folders of all containers but these: each one's name, or why it is still there.
pub(super) fn sweep(dir: &Path, kept: &BTreeSet<String>) -> Vec<Result<String, String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return vec![],
        Err(error) => return vec![Err(format!("{} cannot be read: {error}", dir.display()))],
    };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|of| of.is_dir()));
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    let others = names.filter(|name| !kept.contains(name));
    others.map(|name| remove(dir, &name).map(|()| name)).collect()
}

/// Which files are there, and since when one is untold.
pub(super) fn found(
    dir: &Path,
    name: &str,
    spec: &ContainerSpec,
) -> (BTreeSet<usize>, Option<Timestamp>) {
    let is_there = |n: &usize| path(dir, name, spec, *n).is_ok_and(|path| path.is_file());
    let here = (0..spec.templates.len()).filter(is_there).collect();
    let mark = home(dir, name).ok().and_then(|home| std::fs::metadata(home.join(UNTOLD)).ok());
    let since = mark.and_then(|mark| mark.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    let since = since.and_then(|since| Some(Timestamp(i64::try_from(since.as_millis()).ok()?)));
    (here, since)
}

/// Puts a text in its place when it differs; the path inside when it did.
pub(super) fn put(
    dir: &Path,
    name: &str,
    spec: &ContainerSpec,
    n: usize,
    text: &str,
) -> Result<Option<String>, String> {
    let path = path(dir, name, spec, n)?;
    let chain = |error: template::Error| template::error::chain(&error);
    if write::current(&path).map_err(chain)?.as_deref() == Some(text.as_bytes()) {
        return Ok(None);
    }
    let home = home(dir, name)?;
    let broken = |error: io::Error| format!("{} cannot be made: {error}", home.display());
    for folder in (0..folders(&spec.templates).len()).map(|at| home.join(at.to_string())) {
        std::fs::create_dir_all(&folder).map_err(broken)?;
        // The container's user may be anybody, and the umask has no say.
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).map_err(broken)?;
    }
    let one = spec.templates.get(n);
    let wish = Wish { mode: one.map(|one| one.mode & 0o777), ..Wish::default() };
    let staged = write::stage(&path, text.as_bytes(), &wish).map_err(chain)?;
    // First: a change that nobody heard of would be worse than one that is told twice.
    std::fs::write(home.join(UNTOLD), "").map_err(broken)?;
    staged.place().map_err(chain)?;
    Ok(one.map(|one| one.target.clone()))
}

/// The container was told of all.
pub(super) fn told(dir: &Path, name: &str) -> io::Result<()> {
    let home = home(dir, name).map_err(io::Error::other)?;
    match std::fs::remove_file(home.join(UNTOLD)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::template_file::TemplateFile;

    fn spec(targets: &[&str]) -> ContainerSpec {
        let one = |target: &&str| TemplateFile {
            target: (*target).into(),
            mode: 0o640,
            ..TemplateFile::default()
        };
        ContainerSpec { templates: targets.iter().map(one).collect(), ..ContainerSpec::default() }
    }

    #[test]
    fn files_of_one_folder_share_a_mount_and_are_swapped_whole() {
        let dir = tempfile::tempdir().unwrap();
        let spec = spec(&["/etc/a/x", "/srv/y", "/etc/a/z"]);
        let mounted = mounts(dir.path(), "c1", &spec).unwrap();
        let targets: Vec<&str> = mounted.iter().map(Mount::target).collect();
        assert_eq!(targets, ["/etc/a", "/srv"]);
        assert_eq!(found(dir.path(), "c1", &spec), (BTreeSet::new(), None));
        assert_eq!(put(dir.path(), "c1", &spec, 2, "one"), Ok(Some("/etc/a/z".into())));
        let (here, untold) = found(dir.path(), "c1", &spec);
        assert!(here == [2].into() && untold.is_some());
        assert!(dir.path().join("c1/1").is_dir(), "an empty folder can be mounted");
        told(dir.path(), "c1").unwrap();
        let file = dir.path().join("c1/0/z");
        let old = std::fs::File::open(&file).unwrap();
        assert_eq!(put(dir.path(), "c1", &spec, 2, "one"), Ok(None), "nothing changed");
        assert_eq!(found(dir.path(), "c1", &spec).1, None, "and nobody is to be told");
        assert!(put(dir.path(), "c1", &spec, 2, "two").unwrap().is_some());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "two");
        assert_eq!(io::read_to_string(old).unwrap(), "one", "who had it open reads the old one");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        remove(dir.path(), "c1").unwrap();
        remove(dir.path(), "c1").unwrap();
        assert!(!dir.path().join("c1").exists());
    }

    #[test]
    fn folders_of_containers_that_are_no_more_are_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let rendered = dir.path().join("rendered");
        assert_eq!(sweep(&rendered, &BTreeSet::new()), [], "there is none yet");
        for name in ["c1", "c2", "c3"] {
            put(&rendered, name, &spec(&["/etc/a/x"]), 0, "s3cret").unwrap();
        }
        std::fs::write(rendered.join("file"), "").unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, rendered.join("link")).unwrap();
        let kept = ["c1".to_owned(), "c9".to_owned()].into();
        let mut gone: Vec<String> =
            sweep(&rendered, &kept).into_iter().collect::<Result<_, _>>().unwrap();
        gone.sort();
        assert_eq!(gone, ["c2", "c3"]);
        assert!(rendered.join("c1/0/x").is_file() && outside.is_dir());
        assert_eq!(sweep(&rendered, &kept), []);
    }

    #[test]
    fn nothing_is_written_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", ".", "..", "a/b", "../x"] {
            assert!(put(dir.path(), name, &spec(&["/a/b"]), 0, "x").is_err(), "{name}");
            assert!(remove(dir.path(), name).is_err(), "{name}");
        }
        assert!(put(dir.path(), "c", &spec(&["/b"]), 0, "x").is_err());
        assert!(put(dir.path(), "c", &spec(&["/a/b"]), 1, "x").is_err());
    }
}
