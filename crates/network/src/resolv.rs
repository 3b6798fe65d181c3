//! A container's `/etc/resolv.conf`: our DNS server and the search list, within what glibc and
//! musl read. The text is made by a pure function; the file is swapped whole.

use crate::{Error, LINK_LOCAL};
use model::limits::{
    RESOLV_LINE_BYTES_MAX, RESOLV_OPTIONS_MAX, RESOLV_SEARCH_DOMAINS_MAX, RESOLV_SERVERS_MAX,
};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// `ndots:1`: a name with a dot is asked as it is first, and our server applies the search list
/// to it itself. Two tries of two seconds: the server is on this host, a lost answer is rare.
/// No `single-request`: A and AAAA may go together.
const OPTIONS: [&str; 3] = ["ndots:1", "timeout:2", "attempts:2"];

/// Longest domain name, in bytes.
const DOMAIN_BYTES_MAX: usize = 253;

/// The text of a container's resolv.conf. `servers` of the user are asked after ours, so that the
/// names of services are found before theirs. Of `search` the first ones are kept that every resolver
/// reads: 6 domains, 254 bytes in a line. An option of `options` replaces ours of the same name.
/// Words that would break the file's form are left out.
#[must_use]
pub fn resolv_conf(servers: &[String], search: &[String], options: &[String]) -> String {
    let mut text = format!("nameserver {LINK_LOCAL}\n");
    let valid = servers.iter().filter_map(|s| s.parse::<std::net::IpAddr>().ok());
    for server in valid.take(RESOLV_SERVERS_MAX - 1) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let mut domains: Vec<&str> = Vec::new();
    for domain in search.iter().map(|d| d.trim_matches('.')) {
        if is_domain(domain) && !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    domains.truncate(RESOLV_SEARCH_DOMAINS_MAX);
    push_line(&mut text, "search", &domains);
    let users: Vec<&str> = options.iter().map(String::as_str).filter(|o| is_word(o)).collect();
    let ours = OPTIONS.into_iter().filter(|o| !users.iter().any(|user| name(user) == name(o)));
    let mut words: Vec<&str> = ours.chain(users.iter().copied()).collect();
    words.truncate(RESOLV_OPTIONS_MAX);
    push_line(&mut text, "options", &words);
    text
}

/// Writes as many words, from the first, as fit the line.
fn push_line(text: &mut String, keyword: &str, words: &[&str]) {
    let mut line = keyword.to_owned();
    for word in words {
        if line.len() + 1 + word.len() > RESOLV_LINE_BYTES_MAX {
            break;
        }
        line.push(' ');
        line.push_str(word);
    }
    if line.len() > keyword.len() {
        text.push_str(&line);
        text.push('\n');
    }
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

fn is_domain(domain: &str) -> bool {
    domain.len() <= DOMAIN_BYTES_MAX && is_word(domain) && !domain.contains("..")
}

/// `ndots` of `ndots:3`.
fn name(option: &str) -> &str {
    option.split_once(':').map_or(option, |(name, _value)| name)
}

/// Writes `text` to `dir/name`, readable by everybody (a container's user may be anybody), and
/// returns the path. The file is swapped whole; one that already says so is left alone, since a
/// container that has it mounted keeps the old file.
///
/// # Errors
/// `Error::Resolv`; also when `name` is not a plain file name.
pub fn write_resolv(dir: &Path, name: &str, text: &str) -> Result<PathBuf, Error> {
    let path = resolv_path(dir, name)?;
    let failed = |source| Error::Resolv { path: path.clone(), source };
    if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(path);
    }
    fs::create_dir_all(dir)
        .and_then(|()| write_atomic(dir, &path, text.as_bytes(), 0o644))
        .map_err(failed)?;
    Ok(path)
}

/// Removes what [`write_resolv`] wrote; nothing when it is not there.
///
/// # Errors
/// `Error::Resolv`.
pub fn remove_resolv(dir: &Path, name: &str) -> Result<(), Error> {
    let path = resolv_path(dir, name)?;
    match fs::remove_file(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|source| Error::Resolv { path, source }),
    }
}

fn resolv_path(dir: &Path, name: &str) -> Result<PathBuf, Error> {
    let path = dir.join(name);
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "not a plain file name");
        return Err(Error::Resolv { path, source });
    }
    Ok(path)
}

/// Writes a file beside `path`, syncs it and moves it there.
pub(crate) fn write_atomic(dir: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let draft = dir.join(format!(".draft-{}-{n}", std::process::id()));
    let written = write_synced(&draft, bytes, mode).and_then(|()| fs::rename(&draft, path));
    if let Err(error) = written {
        return match fs::remove_file(&draft) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(io::Error::other(format!("{error}; the draft {} stays: {e}", draft.display())))
            }
            _ => Err(error),
        };
    }
    File::open(dir)?.sync_all()
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    // The umask has no say.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn what_was_written_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = write_resolv(dir.path(), "shop-web-1", "nameserver 10.0.0.1\n").unwrap();
        write_resolv(dir.path(), "shop-web-2", "nameserver 10.0.0.1\n").unwrap();
        remove_resolv(dir.path(), "shop-web-1").unwrap();
        remove_resolv(dir.path(), "shop-web-1").unwrap();
        assert!(!path.exists() && dir.path().join("shop-web-2").exists());
        for name in ["", "..", "a/b"] {
            assert!(remove_resolv(dir.path(), name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_text_says_server_search_and_options() {
        let search = strings(&["shop.rancher.internal", "rancher.internal.", "corp.example"]);
        assert_eq!(
            resolv_conf(&[], &search, &[]),
            "nameserver 169.254.169.250\n\
             search shop.rancher.internal rancher.internal corp.example\n\
             options ndots:1 timeout:2 attempts:2\n"
        );
        assert_eq!(
            resolv_conf(&[], &[], &strings(&["ndots:3", "rotate"])),
            "nameserver 169.254.169.250\noptions timeout:2 attempts:2 ndots:3 rotate\n"
        );
    }

    #[test]
    fn words_that_would_break_the_file_are_left_out() {
        let search =
            strings(&["a b", "x\nnameserver 8.8.8.8", "", "..", "#", "ok.test", "ok.test"]);
        let text = resolv_conf(&[], &search, &strings(&["a\nb", "", "inet6"]));
        assert_eq!(
            text,
            "nameserver 169.254.169.250\nsearch ok.test\n\
             options ndots:1 timeout:2 attempts:2 inet6\n"
        );
    }

    #[test]
    fn of_a_long_search_list_the_first_are_kept() {
        let many: Vec<String> = (0..9).map(|i| format!("d{i}.test")).collect();
        assert!(
            resolv_conf(&[], &many, &[])
                .contains("search d0.test d1.test d2.test d3.test d4.test d5.test\n")
        );
        let long: Vec<String> = (0..3).map(|i| format!("{}{i}.test", "l".repeat(100))).collect();
        let text = resolv_conf(&[], &long, &[]);
        let line = text.lines().nth(1).unwrap();
        assert!(line.ends_with(&long[1]) && !line.contains(&long[2]), "{line}");
    }

    proptest! {
        #[test]
        fn no_input_makes_a_line_that_musl_would_skip(
            search in proptest::collection::vec(".{0,300}", 0..12),
            options in proptest::collection::vec(".{0,300}", 0..12),
        ) {
            let text = resolv_conf(&[], &search, &options);
            for line in text.lines() {
                prop_assert!(line.len() <= RESOLV_LINE_BYTES_MAX);
                let keyword = line.split(' ').next().unwrap();
                prop_assert!(["nameserver", "search", "options"].contains(&keyword), "{line:?}");
            }
            let servers = text.lines().filter(|l| l.starts_with("nameserver ")).count();
            prop_assert_eq!(servers, 1, "a word became a server");
        }
    }

    #[test]
    fn the_file_is_swapped_whole_readable_by_all_and_left_alone_when_it_says_so_already() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("deep/er");
        let path = write_resolv(&inside, "shop-web-1", "one\n").unwrap();
        let first = fs::metadata(&path).unwrap();
        assert_eq!(first.mode() & 0o777, 0o644);
        write_resolv(&inside, "shop-web-1", "one\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), first.ino());
        write_resolv(&inside, "shop-web-1", "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 1, "a draft stayed");
        for name in ["", "../x", "a/b", ".hidden"] {
            assert!(write_resolv(&inside, name, "x").is_err(), "{name:?}");
        }
    }
}
