//! The keys of this host: made here, kept in a file that only its owner may read, and never told to
//! anybody but by their public half. When a new one is made and an earlier one is given up is
//! decided in `next`, which is pure.

use boringtun::x25519::{PublicKey as Point, StaticSecret};
use model::limits::{WIREGUARD_KEYS_MAX, WIREGUARD_OVERLAP_MS_MAX, WIREGUARD_QUIET_MS};
use model::wireguard::PublicKey;
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "wireguard.json";

/// A key of this host.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) secret: StaticSecret,
    pub(super) public: PublicKey,
    /// The order that it was made for.
    order: u64,
    /// When, in milliseconds of the host's clock.
    made_at: u64,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, order {})", self.public, self.order)
    }
}

/// A key in its file.
#[derive(Serialize, Deserialize)]
struct Kept {
    secret: [u8; 32],
    order: u64,
    made_at: u64,
}

impl Key {
    /// A new one.
    fn make(order: u64, made_at: u64) -> io::Result<Self> {
        let mut secret = [0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut secret).map_err(io::Error::other)?;
        Self::of(&Kept { secret, order, made_at })
            .ok_or_else(|| io::Error::other("a key of zeros was made"))
    }

    fn of(kept: &Kept) -> Option<Self> {
        let secret = StaticSecret::from(kept.secret);
        let public = PublicKey::new(*Point::from(&secret).as_bytes())?;
        Some(Self { secret, public, order: kept.order, made_at: kept.made_at })
    }
}

/// The keys of this host, the newest first.
#[derive(Debug)]
pub(super) struct Keys {
    path: PathBuf,
    all: Vec<Key>,
}

/// What is known of a host's keys, to decide on.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) count: usize,
    /// Order and time of the newest one; none without any.
    pub(super) newest: Option<(u64, u64)>,
    /// The newest order.
    pub(super) order: u64,
    /// Does everybody use the newest one?
    pub(super) taken_up: bool,
    /// For how long nothing has come by an earlier one, in milliseconds.
    pub(super) quiet_ms: u64,
    pub(super) now: u64,
}

/// What is to be done with the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// A new one is made, and the earlier ones are good for a while.
    Make,
    /// All but the newest are given up.
    GiveUp,
}

/// One is made when it was ordered, and there is room for it. The earlier ones are given up when
/// everybody uses the newest one and nothing comes by them any more, and in any case after
/// `WIREGUARD_OVERLAP_MS_MAX`.
pub(super) fn next(state: State) -> Step {
    let State { count, newest, order, taken_up, quiet_ms, now } = state;
    let Some((of, made_at)) = newest else { return Step::Make };
    // A clock that was set back takes no key from those who use it, and keeps none for ever.
    let age = now.checked_sub(made_at);
    let over = age.is_some_and(|age| age >= WIREGUARD_OVERLAP_MS_MAX);
    let settled = age.is_none_or(|age| age >= WIREGUARD_QUIET_MS);
    if order > of && count < WIREGUARD_KEYS_MAX {
        Step::Make
    } else if count > 1 && (over || settled && taken_up && quiet_ms >= WIREGUARD_QUIET_MS) {
        Step::GiveUp
    } else {
        Step::Nothing
    }
}

impl Keys {
    /// Those of a folder; none when there are none, or when they cannot be read.
    ///
    /// # Errors
    /// When the file cannot be read: keys that others know are not to be replaced for that.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        let kept: Vec<Kept> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                // The text of the error names no value of the file.
                let line = error.line();
                tracing::warn!(path = %path.display(), line, "keys are damaged, making a new one");
                vec![]
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
            Err(error) => return Err(error),
        };
        let all = kept.iter().filter_map(Key::of).take(WIREGUARD_KEYS_MAX).collect();
        Ok(Self { path, all })
    }

    /// All, the newest first.
    pub(super) fn all(&self) -> &[Key] {
        &self.all
    }

    /// Their public halves.
    pub(super) fn public(&self) -> Vec<PublicKey> {
        self.all.iter().map(|key| key.public).collect()
    }

    /// Order and time of the newest one.
    pub(super) fn newest(&self) -> Option<(u64, u64)> {
        self.all.first().map(|key| (key.order, key.made_at))
    }

    /// Takes a step; have the keys changed? They are on disk before they are used. When somebody
    /// took the file away, this host is to be another one: all keys are made anew.
    ///
    /// # Errors
    /// When the file cannot be written; the keys stay as they were.
    pub(super) fn follow(&mut self, step: Step, order: u64, now: u64) -> io::Result<bool> {
        let gone = !self.all.is_empty() && !self.path.try_exists()?;
        let mut all = if gone { vec![] } else { self.all.clone() };
        match step {
            _ if all.is_empty() => all = vec![Key::make(order, now)?],
            Step::Make => all.insert(0, Key::make(order, now)?),
            Step::GiveUp => all.truncate(1),
            Step::Nothing => return Ok(false),
        }
        self.write(&all)?;
        self.all = all;
        Ok(true)
    }

    fn write(&self, all: &[Key]) -> io::Result<()> {
        let kept = |key: &Key| Kept {
            secret: key.secret.to_bytes(),
            order: key.order,
            made_at: key.made_at,
        };
        let text = serde_json::to_vec(&all.iter().map(kept).collect::<Vec<_>>())?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        crate::resolv::write_atomic(dir, &self.path, &text, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_when_it_is_ordered_and_given_up_when_nobody_needs_it() {
        const DAY: u64 = WIREGUARD_OVERLAP_MS_MAX;
        const QUIET: u64 = WIREGUARD_QUIET_MS;
        let made = Some((3, 1_000_000));
        // Keys, newest, order, taken up, quiet, age.
        let cases = [
            ((0, None, 0, false, 0, 0), Step::Make),
            ((1, made, 3, true, QUIET, DAY), Step::Nothing),
            ((1, made, 4, false, 0, 0), Step::Make),
            ((1, made, 2, true, QUIET, DAY), Step::Nothing),
            ((2, made, 3, true, QUIET, QUIET), Step::GiveUp),
            ((2, made, 3, true, QUIET, QUIET - 1), Step::Nothing),
            ((2, made, 3, true, QUIET - 1, QUIET), Step::Nothing),
            ((2, made, 3, false, DAY, DAY - 1), Step::Nothing),
            ((2, made, 3, false, 0, DAY), Step::GiveUp),
            ((2, made, 4, true, QUIET, QUIET), Step::Make),
            ((WIREGUARD_KEYS_MAX, made, 9, false, 0, 0), Step::Nothing),
            ((WIREGUARD_KEYS_MAX, made, 9, true, QUIET, QUIET), Step::GiveUp),
        ];
        for ((count, newest, order, taken_up, quiet_ms, age), expected) in cases {
            let state = State { count, newest, order, taken_up, quiet_ms, now: 1_000_000 + age };
            assert_eq!(next(state), expected, "{state:?}");
        }
        let set_back =
            State { count: 2, newest: made, order: 3, taken_up: false, quiet_ms: 0, now: 5 };
        assert_eq!(next(set_back), Step::Nothing, "others use it, whatever the clock says");
        let unused = State { taken_up: true, quiet_ms: QUIET, ..set_back };
        assert_eq!(next(unused), Step::GiveUp);
    }

    #[test]
    fn keys_outlive_the_process_and_only_their_owner_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = Keys::open(dir.path()).unwrap();
        assert_eq!(keys.public(), []);
        assert!(keys.follow(Step::Make, 0, 5).unwrap());
        assert!(!keys.follow(Step::Nothing, 0, 6).unwrap());
        assert!(keys.follow(Step::Make, 1, 7).unwrap());
        let before = keys.public();
        assert!(before.len() == 2 && before[0] != before[1]);
        assert_eq!(keys.newest(), Some((1, 7)));
        let mut again = Keys::open(dir.path()).unwrap();
        assert_eq!((again.public(), again.newest()), (before.clone(), Some((1, 7))));
        let mode = dir.path().join(FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(again.follow(Step::GiveUp, 1, 8).unwrap());
        assert_eq!(Keys::open(dir.path()).unwrap().public(), before[..1]);
        assert!(!format!("{again:?}").contains(&format!("{:?}", again.all[0].secret.to_bytes())));
    }

    #[test]
    fn who_takes_the_file_away_makes_another_host_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = Keys::open(dir.path()).unwrap();
        keys.follow(Step::Make, 4, 5).unwrap();
        let before = keys.public();
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        assert!(keys.follow(Step::Nothing, 4, 6).unwrap());
        assert!(keys.public().len() == 1 && keys.public() != before);
        std::fs::write(dir.path().join(FILE), "[{\"secret\":7}]").unwrap();
        assert_eq!(Keys::open(dir.path()).unwrap().public(), [], "damaged");
    }
}
