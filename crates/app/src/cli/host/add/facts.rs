//! What a machine said when it was looked at, read from the lines of the script.

use super::script::MARK;
use std::collections::BTreeMap;

/// Who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    /// What goes before a command that root has to run.
    pub(super) prefix: &'static str,
    /// The address from which we came, as the machine sees it.
    pub(super) from: Option<std::net::IpAddr>,
}

/// How Docker is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Docker {
    /// It answers, with its version where that is known.
    Answers(String),
    /// It is installed and gives no answer.
    Silent,
    /// There is none.
    Missing,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Seconds since 1970 by its clock.
    pub(super) now_s: i64,
    pub(super) os: String,
    pub(super) arch: String,
    pub(super) hostname: String,
    pub(super) systemd: bool,
    /// The unit of the agent starts at every boot.
    pub(super) enabled: bool,
    pub(super) apt: bool,
    pub(super) docker: Docker,
    /// Programs that Remuda needs and that are not there.
    pub(super) lacks: Vec<String>,
    /// Bytes that are free where the binary goes.
    pub(super) room_program: Option<u64>,
    /// Bytes that are free where the state goes, and Docker's images usually.
    pub(super) room_data: Option<u64>,
    /// SHA-256 of the binary that is there.
    pub(super) sha: Option<String>,
    /// Environment of its data folder.
    pub(super) environment: Option<String>,
    /// The id that it has had.
    pub(super) host: Option<String>,
    /// It has a certificate.
    pub(super) is_member: bool,
    /// The role of the process that works as its agent: `agent` or `dev`.
    pub(super) role: Option<String>,
}

/// The values of our lines, each key with all that was said of it.
fn values(said: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let ours = said.lines().filter_map(|line| line.trim_end().strip_prefix(MARK));
    for (key, value) in ours.filter_map(|line| line.split_once('=')) {
        values.entry(key).or_default().push(value);
    }
    values
}

/// The last value of a key.
pub(super) fn value<'a>(said: &'a str, key: &str) -> Option<&'a str> {
    values(said).get(key).and_then(|all| all.last().copied()).filter(|value| !value.is_empty())
}

impl Who {
    /// Reads what `who` said.
    ///
    /// # Errors
    /// Why this user can do nothing here, and what to do: reason and next step.
    pub(super) fn read(said: &str) -> Result<Self, (String, String)> {
        let uid = value(said, "uid");
        let prefix = match (uid, value(said, "sudo")) {
            (Some("0"), _) => "",
            (Some(_), Some("yes")) => "sudo -n ",
            (Some(_), Some("missing")) => {
                return Err((
                    "this user is not root, and there is no sudo".into(),
                    "log in as root (root@…), or install sudo there".into(),
                ));
            }
            (Some(_), _) => {
                return Err((
                    "this user is not root, and sudo asks for a password".into(),
                    "log in as root, or let the user go on without one: a file in /etc/sudoers.d \
                     with `USER ALL=(ALL) NOPASSWD: ALL`"
                        .into(),
                ));
            }
            (None, _) => {
                return Err((
                    "the login gives no shell that runs commands".into(),
                    "log in by hand and run `sh -s`: what does it say?".into(),
                ));
            }
        };
        let from = value(said, "from").and_then(|from| from.parse().ok());
        Ok(Self { prefix, from })
    }
}

impl Facts {
    /// Reads what the look at the machine said; `None` when it did not come to its end.
    pub(super) fn read(said: &str) -> Option<Self> {
        value(said, "end")?;
        let text = |key| value(said, key).map(str::to_owned);
        let kib = |key| value(said, key).and_then(|kib| kib.parse::<u64>().ok());
        let docker = match value(said, "docker") {
            Some("missing") | None => Docker::Missing,
            Some("silent") => Docker::Silent,
            Some("socket") => Docker::Answers(String::new()),
            Some(version) => Docker::Answers(version.to_owned()),
        };
        let lacks = values(said).get("lacks").cloned().unwrap_or_default();
        Some(Self {
            now_s: value(said, "now")?.parse().ok()?,
            os: text("os")?,
            arch: text("arch")?,
            hostname: text("hostname").unwrap_or_default(),
            systemd: value(said, "systemd").is_some(),
            enabled: value(said, "enabled").is_some(),
            apt: value(said, "apt").is_some(),
            docker,
            lacks: lacks.into_iter().map(str::to_owned).collect(),
            room_program: kib("room_program").map(|kib| kib.saturating_mul(1024)),
            room_data: kib("room_data").map(|kib| kib.saturating_mul(1024)),
            sha: text("sha"),
            environment: text("environment"),
            host: text("host"),
            is_member: value(said, "member").is_some(),
            role: value(said, "pid").and(text("role")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_do_what_root_does_is_known() {
        let who = |text: &str| Who::read(text).map(|who| who.prefix);
        assert_eq!(who("motd\nremuda:uid=0\nremuda:sudo=missing\n"), Ok(""));
        assert_eq!(who("remuda:uid=1000\nremuda:sudo=yes\n"), Ok("sudo -n "));
        for (said, reason) in [
            ("remuda:uid=1000\nremuda:sudo=missing\n", "there is no sudo"),
            ("remuda:uid=1000\nremuda:sudo=password\n", "asks for a password"),
            ("This account is not available.\n", "gives no shell"),
        ] {
            let (why, next) = who(said).unwrap_err();
            assert!(why.contains(reason) && !next.is_empty(), "{why}");
        }
        let from = |text: &str| Who::read(&format!("remuda:uid=0\n{text}")).unwrap().from;
        assert_eq!(from("remuda:from=10.0.0.9\n"), "10.0.0.9".parse().ok());
        assert_eq!(from("remuda:from=fd00::9\n"), "fd00::9".parse().ok());
        assert_eq!(from("remuda:from=\n"), None);
    }

    #[test]
    fn a_look_that_broke_off_is_none() {
        let said = "remuda:now=1\nremuda:os=Linux\nremuda:arch=x86_64\n";
        assert_eq!(Facts::read(said), None);
        let facts = Facts::read(&format!(
            "hello\n{said}remuda:lacks=nft\nremuda:lacks=ip\nremuda:docker=20.10.24\n\
             remuda:room_data=4\nremuda:room_program=\nremuda:role=dev\nremuda:end=yes\n"
        ))
        .unwrap();
        assert_eq!(facts.lacks, ["nft", "ip"]);
        assert_eq!(facts.docker, Docker::Answers("20.10.24".into()));
        assert_eq!((facts.room_data, facts.room_program), (Some(4096), None));
        assert_eq!(facts.role, None, "a lock that nobody holds");
    }
}
