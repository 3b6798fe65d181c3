//! DNS for containers that somebody else made: Docker's file behind their /etc/resolv.conf says our
//! server while they are ours to serve, keeps what it said before, and says that again afterwards.
//! It is written in place: a container that has it mounted sees the same file.

use crate::Error;
use crate::resolv::resolv_conf;
use model::limits::{RESOLV_FILE_BYTES_MAX, RESOLV_SEARCH_DOMAINS_MAX};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Who writes a file reads it first, and two may write one: for the time of both, one at a time. What
/// is done with it held is the work of a few small files.
static WRITING: Mutex<()> = Mutex::new(());

/// First line of a file that is lent.
const MARK: &str = "# Written by Remuda; what Docker wrote is below.";
/// Begin of each line that was there before.
const KEPT: &str = "#remuda: ";

/// What the file says while our DNS is asked: our server, the search list that it had with `search`
/// behind it, and its options.
fn lent(text: &str, search: &str) -> String {
    let before = returned(text);
    let mut domains: Vec<String> = vec![];
    let mut options: Vec<String> = vec![];
    for line in before.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            // The last one counts, as for every resolver.
            Some("search" | "domain") => domains = words.map(ToOwned::to_owned).collect(),
            Some("options") => options.extend(words.map(ToOwned::to_owned)),
            _ => {}
        }
    }
    // `.` is Docker's word for none.
    domains.retain(|domain| domain != "." && domain != search);
    domains.truncate(RESOLV_SEARCH_DOMAINS_MAX - 1);
    domains.push(search.to_owned());
    let mut out = format!("{MARK}\n{}", resolv_conf(&[], &domains, &options));
    for line in before.lines() {
        out.push_str(KEPT);
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// What the file said before it was lent; what was never lent is as it is.
fn returned(text: &str) -> String {
    if !text.starts_with(MARK) {
        return text.to_owned();
    }
    let kept = text.lines().filter_map(|line| line.strip_prefix(KEPT));
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// Lets a container ask our DNS: says whether the file had to be changed. `search` is added to its
/// search list.
///
/// # Errors
/// `Error::Resolv`; also when the path is no plain file.
pub fn lend_dns(path: &Path, search: &str) -> Result<bool, Error> {
    change(path, |text| lent(text, search))
}

/// Puts back what [`lend_dns`] changed: says whether it had.
///
/// # Errors
/// `Error::Resolv`; a file that is gone is none.
pub fn return_dns(path: &Path) -> Result<bool, Error> {
    match change(path, returned) {
        Err(Error::Resolv { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other,
    }
}

/// Lets a container find its own host name: adds it to the file behind its /etc/hosts, which Docker
/// writes anew with each start, and without it where it gives no network. Says whether the file had
/// to be changed.
///
/// # Errors
/// `Error::Resolv`; also when the path is no plain file.
pub fn name_in_hosts(path: &Path, address: Ipv4Addr, hostname: &str) -> Result<bool, Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if hostname.is_empty() || !hostname.bytes().all(plain) {
        return Ok(false);
    }
    let line = format!("{address}\t{hostname}");
    change(path, |text| match text.lines().any(|known| known == line) {
        true => text.to_owned(),
        false if text.is_empty() || text.ends_with('\n') => format!("{text}{line}\n"),
        false => format!("{text}\n{line}\n"),
    })
}

/// Has a file say what `make` makes of it; says whether it had to be written. What would be longer
/// than may be read again is not written.
pub(crate) fn change(path: &Path, make: impl Fn(&str) -> String) -> Result<bool, Error> {
    let failed = |source| Error::Resolv { path: path.to_owned(), source };
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file = open(path).map_err(failed)?;
    let text = read(&mut file).map_err(failed)?;
    let wanted = make(&text);
    if wanted == text {
        return Ok(false);
    }
    fits(&wanted).and_then(|()| write(&mut file, &wanted)).map_err(failed)?;
    Ok(true)
}

/// The file itself and nothing that a link leads to.
fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
    }
    Ok(file)
}

fn read(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.take(RESOLV_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    fits(&text).map(|()| text)
}

fn fits(text: &str) -> io::Result<()> {
    match text.len() as u64 > RESOLV_FILE_BYTES_MAX {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, "longer than 64 KiB")),
        false => Ok(()),
    }
}

/// In place: never empty in between, and never with an end of what was there before behind it.
fn write(file: &mut File, text: &str) -> io::Result<()> {
    let before = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(bytes.len().max(before), b'\n');
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    const SEARCH: &str = "rancher.internal";

    fn asks_us(text: &str) -> bool {
        let ours = format!("nameserver {}", crate::LINK_LOCAL);
        text.lines().any(|line| line == ours)
    }

    #[test]
    fn our_server_is_asked_with_the_search_list_and_the_options_that_were_there() {
        for (before, search, options) in [
            ("nameserver 127.0.0.11\noptions ndots:0\n", "rancher.internal", "ndots:0"),
            (
                "search corp.example a.example\nnameserver 9.9.9.9\n",
                "corp.example a.example rancher.internal",
                "ndots:1",
            ),
            ("domain old.example\nsearch .\n", "rancher.internal", "ndots:1"),
            ("", "rancher.internal", "ndots:1"),
        ] {
            let text = lent(before, SEARCH);
            assert!(asks_us(&text) && text.contains(&format!("\nsearch {search}\n")), "{text}");
            let line = text.lines().find(|line| line.starts_with("options ")).unwrap();
            assert!(line.split(' ').any(|word| word == options), "{text}");
            let servers = text.lines().filter(|line| line.starts_with("nameserver")).count();
            assert_eq!(servers, 1, "{text}");
        }
        let many: Vec<String> = (0..9).map(|n| format!("d{n}")).collect();
        let text = lent(&format!("search {}\n", many.join(" ")), SEARCH);
        assert!(text.contains("search d0 d1 d2 d3 d4 rancher.internal\n"), "{text}");
    }

    proptest! {
        #[test]
        fn what_was_there_comes_back_and_twice_is_once(
            lines in proptest::collection::vec("[ -~]{0,40}", 0..8),
        ) {
            let before: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            let text = lent(&before, SEARCH);
            prop_assert_eq!(&lent(&text, SEARCH), &text);
            prop_assert_eq!(returned(&text), returned(&before));
        }
    }

    #[test]
    fn the_file_stays_the_same_one_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let before = "nameserver 127.0.0.11\n";
        std::fs::write(&path, before).unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        assert!(lend_dns(&path, SEARCH).unwrap());
        assert!(!lend_dns(&path, SEARCH).unwrap(), "nothing is to do");
        assert!(asks_us(&std::fs::read_to_string(&path).unwrap()));
        assert!(return_dns(&path).unwrap() && !return_dns(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);

        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        lend_dns(&link, SEARCH).unwrap_err();
        lend_dns(dir.path(), SEARCH).unwrap_err();
        let missing = dir.path().join("missing");
        lend_dns(&missing, SEARCH).unwrap_err();
        assert!(!return_dns(&missing).unwrap() && !missing.exists());
    }

    #[test]
    fn a_container_finds_its_own_name_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        std::fs::write(&path, "127.0.0.1\tlocalhost").unwrap();
        let address = Ipv4Addr::new(10, 42, 1, 5);
        assert!(name_in_hosts(&path, address, "web-1").unwrap());
        assert!(!name_in_hosts(&path, address, "web-1").unwrap());
        for name in ["", "a b", "a\n1.1.1.1\tb"] {
            assert!(!name_in_hosts(&path, address, name).unwrap(), "{name:?}");
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "127.0.0.1\tlocalhost\n10.42.1.5\tweb-1\n");
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        let before = "127.0.0.1\tlocalhost\n";
        std::fs::write(&path, before).unwrap();
        let line = format!("10.42.0.5\t{}", "a".repeat(1_000));
        let error = crate::names_in_hosts(&path, &vec![line.clone(); 66]).unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("64 KiB"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
        assert!(crate::names_in_hosts(&path, &vec![line; 60]).unwrap());
        assert!(crate::names_in_hosts(&path, &[]).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    }

    #[test]
    fn two_that_write_one_file_lose_nothing_of_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        std::fs::write(&path, "").unwrap();
        std::thread::scope(|scope| {
            for who in 0..2 {
                let path = &path;
                scope.spawn(move || {
                    for n in 0..100 {
                        let address = Ipv4Addr::new(10, 42, who, n);
                        name_in_hosts(path, address, &format!("c{who}-{n}")).unwrap();
                    }
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 200);
    }
}
