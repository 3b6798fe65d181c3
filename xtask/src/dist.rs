//! `cargo xtask dist`: what is given to people who do not build: a tarball, a package of Debian and
//! their checksums, of the static release binary or of one that is named. The same binary and the
//! same commit give the same bytes.

mod deb;
mod elf;

use crate::place::Place;
use crate::remuda::Remuda;
use crate::say::{self, Step};
use crate::{needs, shell};
use anyhow::{Context, Result, bail};
use elf::Elf;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The units, as they are in the repository; `@BINARY@` is where the binary is.
const UNITS: [&str; 2] = ["remuda-agent.service", "remuda-server.service"];
/// Where people put a binary that no package brings.
const BY_HAND: &str = "/usr/local/bin/remuda";
/// What the checksums are in.
const SUMS: &str = "SHA256SUMS";

/// What is packed.
struct Release<'a> {
    place: &'a Place,
    binary: &'a Path,
    elf: Elf,
    version: String,
    /// Time of the commit, seconds since 1970: files are as old as that.
    epoch: u64,
}

/// The words of the task.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    /// Instead of the release binary, which is built.
    binary: Option<PathBuf>,
    /// Instead of `dist` in the target folder.
    out: Option<PathBuf>,
}

impl Words {
    fn read(words: &[&str]) -> Result<Self> {
        let mut read = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (*word, words.next().copied()),
            };
            let value = value.filter(|value| !value.is_empty()).map(PathBuf::from);
            match (name, value) {
                ("--binary", Some(path)) => read.binary = Some(path),
                ("--out", Some(path)) => read.out = Some(path),
                ("--binary" | "--out", None) => bail!("{name} needs a path"),
                _ => bail!("no such option: {name}; there are --binary PATH and --out FOLDER"),
            }
        }
        Ok(read)
    }
}

/// Makes all of it.
pub(crate) fn run(place: &Place, words: &[&str]) -> Result<()> {
    let words = Words::read(words)?;
    needs::ensure(place, &[needs::DIST])?;
    let binary = match words.binary {
        Some(path) => std::path::absolute(path)?,
        None => {
            let remuda = Remuda::of(place, "dist")?;
            remuda.build(place)?;
            remuda.binary().to_owned()
        }
    };
    let out = words.out.unwrap_or_else(|| place.target.join("dist"));
    fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
    let step = Step::silent("packing");
    let release = Release {
        place,
        binary: &binary,
        elf: elf_of(&binary)?,
        version: version_of(&binary)?,
        epoch: epoch(place),
    };
    if !release.elf.is_static {
        say::line("    (this binary is not static: the package needs the machine's libc6)");
    }
    let folder = out.join("parts");
    remove(&folder)?;
    fs::create_dir_all(&folder)?;
    let made = [tarball(&release, &folder)?, deb::make(&release, &folder)?];
    let mut names = vec![];
    for path in &made {
        let name = path.file_name().context("a file has a name")?;
        fs::rename(path, out.join(name))?;
        names.push(name.to_owned());
    }
    remove(&folder)?;
    let sums = shell::read(Command::new("sha256sum").args(&names).current_dir(&out))?;
    write(&out.join(SUMS), &format!("{sums}\n"), 0o644)?;
    step.done("packed");
    for name in names.iter().map(|name| name.to_string_lossy()).chain([SUMS.into()]) {
        say::result(&out.join(&*name).display().to_string());
    }
    Ok(())
}

/// The tarball: one folder with the binary, and what one needs to install it by hand.
fn tarball(release: &Release<'_>, folder: &Path) -> Result<PathBuf> {
    let name = format!("remuda-{}-{}-linux", release.version, release.elf.kernel);
    let tree = folder.join(&name);
    copy(release.binary, &tree.join("remuda"), 0o755)?;
    for file in ["LICENSE", "README.md", "CHANGELOG.md"] {
        copy(&release.place.root.join(file), &tree.join(file), 0o644)?;
    }
    for (unit, text) in units(release.place, BY_HAND)? {
        write(&tree.join(unit), &text, 0o644)?;
    }
    set_mode(&tree, 0o755)?;
    let tar = folder.join(format!("{name}.tar"));
    let mut pack = Command::new("tar");
    pack.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"]);
    pack.arg(format!("--mtime=@{}", release.epoch)).arg("-cf").arg(&tar);
    shell::read(pack.arg("-C").arg(folder).arg(&name))?;
    shell::read(Command::new("gzip").args(["-n", "-f"]).arg(&tar))?;
    Ok(folder.join(format!("{name}.tar.gz")))
}

fn elf_of(binary: &Path) -> Result<Elf> {
    let bytes = fs::read(binary).with_context(|| format!("reading {}", binary.display()))?;
    Elf::read(&bytes).with_context(|| format!("{} cannot be packed", binary.display()))
}

/// What the binary says that it is: another one is not packed under our name.
fn version_of(binary: &Path) -> Result<String> {
    let said = shell::read(Command::new(binary).arg("--version"))?;
    let version = said.strip_prefix("remuda ").filter(|version| is_version(version));
    let version = version.with_context(|| {
        format!("{} --version says {said:?}, and not `remuda 1.2.3`", binary.display())
    })?;
    Ok(version.to_owned())
}

fn is_version(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || ['.', '+', '~', '-'].contains(&c);
    text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(good)
}

/// When the commit was made; without a repository the beginning of time.
fn epoch(place: &Place) -> u64 {
    let mut asks = Command::new("git");
    let said = shell::read(asks.args(["log", "-1", "--format=%ct"]).current_dir(&place.root));
    said.ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The units with the place of the binary.
fn units(place: &Place, binary: &str) -> Result<Vec<(&'static str, String)>> {
    let read = |name: &'static str| {
        let path = place.root.join("packaging").join(name);
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("reading {}", path.display()))?;
        Ok((name, text.replace("@BINARY@", binary)))
    };
    UNITS.into_iter().map(read).collect()
}

/// Writes a file, and the folders above it.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    make_folder(path)?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    set_mode(path, mode)
}

/// Copies a file, and makes the folders above it.
fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    make_folder(to)?;
    fs::copy(from, to)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    set_mode(to, mode)
}

/// Folders of a package are for all to read, whatever this shell's umask is.
fn make_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    if folder.exists() {
        return Ok(());
    }
    make_folder(folder)?;
    fs::create_dir(folder).with_context(|| format!("making {}", folder.display()))?;
    set_mode(folder, 0o755)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the mode of {}", path.display()))
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_name_a_binary_and_a_folder() {
        let words = Words::read(&["--binary", "a/b", "--out=c"]).unwrap();
        assert_eq!(words, Words { binary: Some("a/b".into()), out: Some("c".into()) });
        assert_eq!(Words::read(&[]).unwrap(), Words::default());
        for bad in [&["--binary"][..], &["--out="], &["a"], &["--binery", "x"]] {
            assert!(Words::read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_a_binary_of_ours_is_packed() {
        assert!(is_version("0.1.0") && is_version("1.2.3-rc.1"));
        assert!(!is_version("") && !is_version("v1") && !is_version("1.0; rm"));
        let error = version_of(Path::new("/bin/echo")).unwrap_err().to_string();
        assert!(error.contains("and not `remuda 1.2.3`"), "{error}");
    }
}
