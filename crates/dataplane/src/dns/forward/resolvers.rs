//! Which resolvers of the host are asked: those of its resolv.conf, read again when it changes, or
//! those it was given. Never ourselves: a question would go round for ever.

use model::limits::DNS_RESOLVERS_MAX;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Shortest time between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);
/// Largest resolv.conf read, in bytes.
const FILE_MAX: u64 = 64 * 1024;
/// Where our own DNS is, for containers.
const OURSELVES: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 250);

/// The stub of systemd-resolved, and where it writes whom it asks itself. It may hand a question back
/// to us; those do not.
const STUB: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), 53);
const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// Where resolvers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolvers {
    /// The `nameserver` lines of this file.
    File(PathBuf),
    /// These.
    Fixed(Vec<SocketAddr>),
}

/// The resolvers as they are now.
#[derive(Debug)]
pub(crate) struct Current {
    from: Resolvers,
    list: Vec<SocketAddr>,
    /// Who is asked where the file names the stub alone.
    behind: PathBuf,
    seen: [Option<(SystemTime, u64)>; 2],
    looked: Option<Instant>,
}

impl Current {
    pub(crate) fn new(from: Resolvers) -> Self {
        let list = match &from {
            Resolvers::Fixed(list) => list.clone(),
            Resolvers::File(_) => vec![],
        };
        let behind = BEHIND_STUB.into();
        Self { from, list, behind, seen: [None; 2], looked: None }
    }

    /// The list, in the order to ask; true when it is another one than before.
    pub(crate) fn list(&mut self, now: Instant) -> (&[SocketAddr], bool) {
        let mut changed = false;
        if let Resolvers::File(path) = &self.from
            && self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK)
        {
            self.looked = Some(now);
            let marks = |path: &Path| {
                let file = std::fs::metadata(path).ok()?;
                Some((file.modified().ok()?, file.len()))
            };
            let seen = [marks(path), marks(&self.behind)];
            if seen[0].is_none() || seen != self.seen {
                self.seen = seen;
                match read(path) {
                    Ok(text) => {
                        let list = behind(choose(&text), &self.behind);
                        changed = list != self.list;
                        self.list = list;
                    }
                    // The last ones stay: a file that is being replaced is not an empty one.
                    Err(error) => {
                        tracing::debug!(path = %path.display(), %error, "resolvers not read");
                    }
                }
            }
        }
        (&self.list, changed)
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = vec![];
    std::fs::File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whom the stub asks, where nobody but the stub is named.
fn behind(list: Vec<SocketAddr>, path: &Path) -> Vec<SocketAddr> {
    if list != [STUB] {
        return list;
    }
    let others = read(path).map(|text| choose(&text)).unwrap_or_default();
    if others.is_empty() { list } else { others }
}

/// The resolvers that a resolv.conf names. Those on loopback are taken only when there are no
/// others: they may hand the question back to us.
fn choose(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then_some(())?;
        words.next()?.parse::<IpAddr>().ok()
    });
    let mut named: Vec<IpAddr> =
        named.filter(|ip| *ip != IpAddr::V4(OURSELVES) && !ip.is_unspecified()).collect();
    if named.iter().any(|ip| !ip.is_loopback()) {
        named.retain(|ip| !ip.is_loopback());
    }
    let mut list: Vec<SocketAddr> = vec![];
    for ip in named {
        let addr = SocketAddr::new(ip, 53);
        if list.len() < DNS_RESOLVERS_MAX && !list.contains(&addr) {
            list.push(addr);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_behind_the_stub_is_asked_and_the_stub_where_nobody_is() {
        let dir = tempfile::tempdir().unwrap();
        let (path, behind) = (dir.path().join("resolv.conf"), dir.path().join("behind"));
        std::fs::write(&path, "nameserver 127.0.0.53").unwrap();
        let mut current = Current::new(Resolvers::File(path));
        current.behind.clone_from(&behind);
        let start = Instant::now();
        assert_eq!(current.list(start).0, [STUB]);
        let text = "nameserver 169.254.169.250\nnameserver 10.0.0.2";
        std::fs::write(&behind, text).unwrap();
        let (list, changed) = current.list(start + LOOK);
        assert_eq!((list, changed), (&["10.0.0.2:53".parse().unwrap()][..], true));
        std::fs::write(&behind, "nameserver 169.254.169.250").unwrap();
        assert_eq!(current.list(start + 2 * LOOK).0, [STUB], "not ourselves");
    }

    #[test]
    fn loopback_is_asked_only_when_it_is_all_there_is_and_we_never() {
        for (text, expect) in [
            ("nameserver 10.0.0.2\nnameserver 127.0.0.53", vec!["10.0.0.2:53"]),
            ("# c\nnameserver 127.0.0.53\noptions edns0", vec!["127.0.0.53:53"]),
            ("nameserver 169.254.169.250\nnameserver 127.0.0.1", vec!["127.0.0.1:53"]),
            ("nameserver 169.254.169.250", vec![]),
            ("nameserver 2001:db8::1\nnameserver fe80::1%eth0 ", vec!["[2001:db8::1]:53"]),
            ("nameserver 10.0.0.2\nnameserver 10.0.0.2\n nameserver x", vec!["10.0.0.2:53"]),
            ("search a\nnameserverx 1.1.1.1\nnameserver 0.0.0.0", vec![]),
        ] {
            let list: Vec<String> = choose(text).iter().map(ToString::to_string).collect();
            assert_eq!(list, expect, "{text:?}");
        }
    }

    #[test]
    fn the_file_is_read_again_when_it_changes_and_kept_when_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        std::fs::write(&path, "nameserver 10.0.0.2").unwrap();
        let mut current = Current::new(Resolvers::File(path.clone()));
        let start = Instant::now();
        assert_eq!(current.list(start).0.len(), 1);
        std::fs::write(&path, "nameserver 10.0.0.3\nnameserver 10.0.0.4").unwrap();
        assert_eq!(current.list(start).0.len(), 1, "not looked at again yet");
        let (list, changed) = current.list(start + LOOK);
        assert_eq!((list.len(), changed), (2, true));
        std::fs::remove_file(&path).unwrap();
        let (list, changed) = current.list(start + 2 * LOOK);
        assert_eq!((list.len(), changed), (2, false));
    }
}
