//! What runs in the container, and with which rights.

use super::Read;
use crate::diagnostic::quoted;
use crate::fields::Fields;
use crate::group;
use crate::scalar;
use crate::yaml::{Node, Value};
use model::container_spec::Logging;
use std::collections::BTreeMap;

/// What Linux has, without `CAP_`.
const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];
/// What Docker has.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
/// Signals by name, without `SIG`; those of real time are `RTMIN+n` and `RTMAX-n` beside.
const SIGNALS: [&str; 37] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS",
    "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "UNUSED", "URG", "USR1", "USR2", "VTALRM", "WINCH",
    "XCPU", "XFSZ",
];

impl Read<'_> {
    /// A command: a list, or a text split as a shell does.
    pub(super) fn command(&mut self, key: &str) -> Option<Vec<String>> {
        let node = self.fields.node(key)?;
        match &node.value {
            Value::List(items) => Some(items.iter().map(scalar_text).collect()),
            Value::Scalar { text, .. } => match scalar::shell_words(text) {
                Ok(words) => Some(words),
                Err(expected) => {
                    let what = format!("{key} {} cannot be split into words", quoted(text));
                    self.error(node.place, &what)
                        .expected(expected)
                        .hint("write it as a list: [\"program\", \"argument\"]");
                    None
                }
            },
            Value::Map(_) => None,
        }
    }

    pub(super) fn working_dir(&mut self) -> Option<String> {
        let text = self.fields.owned("working_dir")?;
        if !text.starts_with('/') {
            let place = self.fields.place("working_dir").unwrap_or(self.place);
            self.error(place, &format!("working_dir {} is not absolute", quoted(&text)))
                .expected("a path that starts with '/'");
        }
        Some(text)
    }

    pub(super) fn stop_signal(&mut self) -> Option<String> {
        let text = self.fields.owned("stop_signal")?;
        let upper = text.to_ascii_uppercase();
        if !is_signal(upper.strip_prefix("SIG").unwrap_or(&upper)) {
            let place = self.fields.place("stop_signal").unwrap_or(self.place);
            self.error(place, &format!("stop_signal {} is not a signal", quoted(&text)))
                .expected("a name such as SIGTERM, or a number from 1 to 64");
        }
        Some(text)
    }

    /// `pid` and `ipc`: those of the host, of another container of the same instance, or of a
    /// container outside of the stack.
    pub(super) fn namespace(&mut self, key: &str) -> Option<String> {
        let text = self.fields.owned(key)?;
        let place = self.fields.place(key).unwrap_or(self.place);
        if let Some((kind, name)) = group::namespace(&text) {
            if kind == "container" && self.stack.groups.find(self.stack.services, name).is_none() {
                return Some(text);
            }
            let primary = self.stack.groups.root(self.name).to_owned();
            let sibling = self.sibling(key, name, place)?;
            let name = sibling.map_or(primary, |name| name.to_string());
            return Some(format!("service:{name}"));
        }
        match text.as_str() {
            "host" => Some(text),
            "shareable" | "private" | "none" if key == "ipc" => Some(text),
            "private" => None,
            _ => {
                self.error(place, &format!("{key} is {}", quoted(&text)))
                    .expected("host, service:name or container:name");
                None
            }
        }
    }

    pub(super) fn capabilities(&mut self, key: &str) -> Vec<String> {
        let mut out = vec![];
        for node in self.fields.items(key) {
            let Some(text) = node.as_text() else { continue };
            let name = text.to_ascii_uppercase();
            let bare = name.strip_prefix("CAP_").unwrap_or(&name);
            if name != "ALL" && !CAPABILITIES.contains(&bare) {
                self.error(node.place, &format!("{key}: {} is not a capability", quoted(text)))
                    .expected("a name such as NET_ADMIN, or ALL")
                    .near(bare, CAPABILITIES.iter().copied());
            }
            out.push(name);
        }
        out
    }

    pub(super) fn devices(&mut self) -> Vec<String> {
        let mut out = vec![];
        for node in self.fields.items("devices") {
            let Some(text) = node.as_text() else { continue };
            if !text.starts_with('/') {
                let what = format!("devices: {} is not a path", quoted(text));
                self.error(node.place, &what).expected("/dev/host[:/dev/container[:rwm]]");
                continue;
            }
            let parts: Vec<&str> = text.split(':').collect();
            match parts[..] {
                [host, inside, "ro"] => {
                    let what = "devices: \"ro\" is not a set of permissions: it is taken as \"r\"";
                    self.warn(node.place, what);
                    out.push(format!("{host}:{inside}:r"));
                }
                [_, _, permissions] if !is_permissions(permissions) => {
                    let what = format!("devices: {} are no permissions", quoted(permissions));
                    self.error(node.place, &what).expected("letters of r, w and m");
                }
                [_] | [_, _] | [_, _, _] => out.push(text.to_owned()),
                _ => {
                    self.error(node.place, &format!("devices: {} has too many ':'", quoted(text)))
                        .expected("/dev/host[:/dev/container[:rwm]]");
                }
            }
        }
        out
    }

    pub(super) fn logging(&mut self) -> Option<Logging> {
        let fields = self.fields.object("logging")?;
        let driver = fields.owned("driver").unwrap_or_default();
        Some(Logging { driver, options: fields.pairs("options") })
    }

    pub(super) fn ulimits(&mut self) -> BTreeMap<String, (i64, i64)> {
        let Some(map) = self.fields.map("ulimits") else { return BTreeMap::new() };
        let mut out = BTreeMap::new();
        for (key, node) in map.iter() {
            let Some(fields) = node.as_map().map(Fields::of) else { continue };
            let name = &*key.text;
            if !ULIMITS.contains(&name) {
                self.error(key.place, &format!("ulimits: {} is not a limit", quoted(name)))
                    .expected(ULIMITS.join(", "))
                    .near(name, ULIMITS.iter().copied());
            }
            let (soft, hard) = (fields.integer("soft"), fields.integer("hard"));
            if soft.is_none() && fields.node("soft").is_some()
                || hard.is_none() && fields.node("hard").is_some()
            {
                continue;
            }
            let (Some(soft), Some(hard)) = (soft, hard) else {
                self.error(node.place, &format!("ulimits: {name} needs both soft and hard"))
                    .expected("a number, or {soft: 1, hard: 2}");
                continue;
            };
            if hard >= 0 && (soft > hard || soft < 0) {
                let what = format!("ulimits: {name}: soft {soft} is above hard {hard}");
                self.error(node.place, &what).expected("soft at most hard");
            }
            out.insert(name.to_owned(), (soft, hard));
        }
        out
    }
}

/// A signal in capitals, without `SIG`.
fn is_signal(name: &str) -> bool {
    let up_to = |text: &str, max: u8| text.parse::<u8>().is_ok_and(|n| (1..=max).contains(&n));
    match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
        (Some(n), _) => up_to(n, 15),
        (_, Some(n)) => up_to(n, 14),
        _ => SIGNALS.contains(&name) || up_to(name, 64),
    }
}

/// Text of an item of a command, where null is an empty word.
fn scalar_text(node: &Node) -> String {
    match &node.value {
        Value::Scalar { text, .. } => text.to_string(),
        _ => String::new(),
    }
}

fn is_permissions(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'))
}
