//! Where a machine is: `[user@]address[:port]`, checked before anything is done with it. What is
//! let in here can be neither an option of `ssh` nor anything to a shell.

use std::net::Ipv6Addr;

/// Longest name of a user, in bytes.
const USER_BYTES_MAX: usize = 64;
/// Longest name of a machine in DNS, in bytes.
const NAME_BYTES_MAX: usize = 253;

/// A machine that `ssh` reaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// Without one, ssh's own: its configuration, or the user here.
    pub(super) user: Option<String>,
    /// Name or address, without brackets.
    pub(super) address: String,
    /// Without one, ssh's own.
    pub(super) port: Option<u16>,
}

impl Target {
    /// Reads `[user@]address[:port]`; an IPv6 address with a port is in brackets.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(self::user(user)?), place),
            None => (None, text),
        };
        let (address, port) = place_of(place)?;
        Ok(Self { user, address, port })
    }

    /// Do both name the same machine and port?
    pub(super) fn is_same_machine(&self, other: &Self) -> bool {
        self.address.eq_ignore_ascii_case(&other.address)
            && self.port.unwrap_or(22) == other.port.unwrap_or(22)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (self.port, self.address.contains(':')) {
            (None, _) => f.write_str(&self.address),
            (Some(port), false) => write!(f, "{}:{port}", self.address),
            (Some(port), true) => write!(f, "[{}]:{port}", self.address),
        }
    }
}

/// The server's address as a host is to dial it: `address[:port]`, the port 7600 when left out.
///
/// # Errors
/// What is wrong with it.
pub(super) fn server(text: &str) -> Result<String, String> {
    if text.contains("://") || text.contains('/') {
        return Err(format!("{text:?} is not HOST:PORT: leave out https:// and what is behind /"));
    }
    let (address, port) = place_of(text)?;
    Ok(join(&address, port.unwrap_or(7600)))
}

/// `address:port`, with brackets where they are needed.
pub(super) fn join(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Takes `address[:port]` apart.
pub(super) fn place_of(text: &str) -> Result<(String, Option<u16>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) =
            rest.split_once(']').ok_or_else(|| format!("{text:?} has no closing ]"))?;
        let address = ipv6(inside).ok_or_else(|| format!("{inside:?} is not an IPv6 address"))?;
        let port = match after {
            "" => None,
            after => {
                let port = after.strip_prefix(':');
                Some(port_of(port.ok_or_else(|| format!("{text:?} is not [ADDRESS]:PORT"))?)?)
            }
        };
        return Ok((address, port));
    }
    if let Some(address) = ipv6(text) {
        return Ok((address, None));
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port_of(port)?)),
        None => (text, None),
    };
    Ok((machine(name)?, port))
}

/// An IPv6 address, with its zone if it has one.
fn ipv6(text: &str) -> Option<String> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(a, z)| (a, Some(z)));
    address.parse::<Ipv6Addr>().ok()?;
    let of_a_device = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
    let is_good = zone.is_none_or(|zone| !zone.is_empty() && zone.chars().all(of_a_device));
    is_good.then(|| text.to_owned())
}

fn port_of(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse::<u16>().ok().filter(|port| digits && *port > 0);
    port.ok_or_else(|| format!("{text:?} is not a port (1 to 65535)"))
}

fn user(text: &str) -> Result<String, String> {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || ['_', '.', '-'].contains(&c);
    let starts = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_good =
        text.len() <= USER_BYTES_MAX && text.starts_with(starts) && text.chars().all(of_a_name);
    match is_good {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{text:?} is not the name of a user: letters, digits, `_`, `.` and `-`, not beginning \
             with a sign"
        )),
    }
}

fn machine(text: &str) -> Result<String, String> {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || ['_', '.', '-'].contains(&c);
    let is_good = text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(of_a_name);
    match is_good {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is neither the name nor the address of a machine")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_read_as_they_are_written() {
        for text in [
            "root@10.0.0.1",
            "10.0.0.1",
            "ops.team@node-1.example.test:2222",
            "_svc@node_1",
            "root@fd00::1",
            "root@fe80::1%eth0",
            "root@[fd00::1]:22",
        ] {
            assert_eq!(Target::parse(text).unwrap().to_string(), text);
        }
        let target = Target::parse("a@[fd00::1]:2222").unwrap();
        assert_eq!((target.address.as_str(), target.port), ("fd00::1", Some(2222)));
        assert_eq!(Target::parse("root@[fd00::1]").unwrap().to_string(), "root@fd00::1");
    }

    #[test]
    fn nothing_gets_in_that_means_something_to_ssh_or_to_a_shell() {
        for bad in [
            "",
            "@h",
            "root@",
            "-oProxyCommand=id@h",
            "-h",
            "root@-oProxyCommand=id",
            "root@h -oX=y",
            "root@h;id",
            "root@$(id)",
            "ro'ot@h",
            "a b@h",
            "root@h:0",
            "root@h:65536",
            "root@h:+22",
            "root@h:22x",
            "root@h:",
            "root@[fd00::1",
            "root@[fd00::1]22",
            "root@[h]:22",
            "root@fe80::1%",
            "root@fe80::1%a;b",
            "ssh://h",
            "röot@h",
            "root@h\n",
            "a\\b@h",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Target::parse(&format!("root@{}", "a".repeat(254))).is_err());
        assert!(Target::parse(&format!("{}@h", "a".repeat(65))).is_err());
    }

    #[test]
    fn the_servers_address_has_a_port() {
        for (text, expect) in [
            ("10.0.0.1", "10.0.0.1:7600"),
            ("node:99", "node:99"),
            ("fd00::1", "[fd00::1]:7600"),
            ("[fd00::1]:1", "[fd00::1]:1"),
        ] {
            assert_eq!(server(text).unwrap(), expect);
        }
        for bad in ["https://10.0.0.1:7600", "a/b", "-x", "a b", "a:0", "user@a"] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_machine_written_in_two_ways_is_one() {
        let same = |a, b| Target::parse(a).unwrap().is_same_machine(&Target::parse(b).unwrap());
        assert!(same("root@Node", "ops@node:22"));
        assert!(!same("node", "node:23"));
    }
}
