//! Cgroups have no namespace here: what runs on our machines is below one folder of them, named
//! after the machine, so that it can be found and removed. No others are ever touched.

use crate::error::{Error, Result};
use crate::ident::Ident;
use crate::run::wait_for;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Above all of ours.
const TOP: &str = "remuda-testbed";
/// Longest wait for a group to be empty after its processes were killed.
const EMPTY: Duration = Duration::from_secs(10);

/// For `dockerd --cgroup-parent`: of host `name` on the ground whose first process is `ground`.
#[must_use]
pub fn parent(ground: Ident, name: &str) -> String {
    format!("/{TOP}/{ground}/{name}")
}

/// Every hierarchy's folder.
fn hierarchies(mounts: &str) -> BTreeSet<PathBuf> {
    let kinds = ["cgroup", "cgroup2"];
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.len() > 2 && kinds.contains(&fields[2]))
        .map(|fields| PathBuf::from(fields[1].replace("\\040", " ")))
        .collect()
}

fn mounted() -> Result<BTreeSet<PathBuf>> {
    let path = Path::new("/proc/self/mounts");
    Ok(hierarchies(&fs::read_to_string(path).map_err(Error::file("read", path))?))
}

/// Folders of groups of this ground.
///
/// # Errors
/// When the mounts cannot be read.
pub fn of(ground: Ident) -> Result<Vec<PathBuf>> {
    let all = mounted()?.into_iter().map(|mount| mount.join(TOP).join(ground.to_string()));
    Ok(all.filter(|path| path.exists()).collect())
}

/// Removes the groups of a ground whose processes are all gone.
///
/// # Errors
/// When one of them stays.
pub fn remove(ground: Ident) -> Result {
    for folder in of(ground)? {
        let what = format!("the cgroup {} to be empty", folder.display());
        wait_for(&what, EMPTY, || Ok(remove_tree(&folder).then_some(())))?;
    }
    for mount in mounted()? {
        // others of ours may be there
        fs::remove_dir(mount.join(TOP)).ok();
    }
    Ok(())
}

/// The kernel's own files go with their folder. Is it gone?
fn remove_tree(folder: &Path) -> bool {
    let below = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    fs::remove_dir(folder).is_ok() || !folder.exists()
}

/// Removes groups of grounds that have died with nobody to clean up after them.
///
/// # Errors
/// When one of them stays.
pub fn sweep() -> Result {
    let mut dead = BTreeSet::new();
    for mount in mounted()? {
        let grounds = fs::read_dir(mount.join(TOP)).into_iter().flatten().flatten();
        let names = grounds.filter_map(|entry| Ident::from_name(entry.file_name().to_str()?));
        dead.extend(names.filter(|ground| !ground.lives()));
    }
    dead.into_iter().try_for_each(remove)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_kinds_are_found() {
        let mounts = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found: Vec<_> = hierarchies(mounts).into_iter().collect();
        assert_eq!(
            found,
            ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/unified"].map(PathBuf::from)
        );
    }
}
