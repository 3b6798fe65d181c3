//! A file of a container that is rendered from a template by the agent of its host: once before the
//! container starts, and again whenever what it was made from changes.

use crate::limits::{
    TEMPLATE_TARGET_BYTES_MAX, TEMPLATE_WAIT_MS_MAX, TEMPLATES_PER_CONTAINER_MAX,
    TEMPLATES_TEXT_BYTES_MAX,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What one file is made from, and who is told of a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct TemplateFile {
    /// How messages name it: the file that it was read from, without folders.
    pub name: String,
    /// The template, in Go's syntax.
    pub text: String,
    /// Absolute path of the file inside. Its folder holds nothing but such files: it is mounted from
    /// the host, not writable.
    pub target: String,
    /// What is done in the container after a new file; nothing when it looks by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tell: Option<Tell>,
    /// Milliseconds without a change before a file is replaced; 0 replaces it at once.
    pub wait_ms: u64,
    /// Milliseconds after the first change in which it is replaced at the latest.
    pub wait_max_ms: u64,
    /// Octal mode.
    pub mode: u32,
    /// Other delimiters than `{{` and `}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiters: Option<(String, String)>,
}

/// How a container is told of a new file.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Tell {
    /// A signal to its first process, e.g. `SIGHUP`.
    Signal(String),
    /// A command that is run in it.
    Command(Vec<String>),
}

/// Signals that a container may be told by: none of them ends a process for good measure.
pub const SIGNALS: [&str; 6] = ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGTERM"];

impl TemplateFile {
    /// The folder of its file inside; `None` when the target has none that may be mounted.
    #[must_use]
    pub fn folder(&self) -> Option<&str> {
        let (folder, file) = self.target.rsplit_once('/')?;
        let parts = self.target.split('/').skip(1);
        let plain = parts.clone().all(|part| !matches!(part, "" | "." | ".."));
        let fits = self.target.len() <= TEMPLATE_TARGET_BYTES_MAX && !self.target.contains('\0');
        (plain && fits && !folder.is_empty() && !file.is_empty() && folder.starts_with('/'))
            .then_some(folder)
    }

    fn broken_rule(&self) -> Option<String> {
        if self.folder().is_none() {
            return Some(format!(
                "target {:?} is not the absolute path of a file in a folder of its own",
                self.target
            ));
        }
        match &self.tell {
            Some(Tell::Signal(signal)) if !SIGNALS.contains(&signal.as_str()) => {
                return Some(format!("signal {signal:?} is none of {}", SIGNALS.join(", ")));
            }
            Some(Tell::Command(words)) if words.first().is_none_or(String::is_empty) => {
                return Some("its command is empty".into());
            }
            _ => {}
        }
        if self.wait_ms > self.wait_max_ms || self.wait_max_ms > TEMPLATE_WAIT_MS_MAX {
            let max = TEMPLATE_WAIT_MS_MAX / 1_000;
            return Some(format!("its wait is longer than {max} s, or its longest than that"));
        }
        match &self.delimiters {
            Some((left, right)) if left.is_empty() || right.is_empty() => {
                Some("a delimiter is empty".into())
            }
            _ => None,
        }
    }
}

/// The folders that the files of a container are in, each once, in the order of the files.
#[must_use]
pub fn folders(templates: &[TemplateFile]) -> Vec<&str> {
    let mut known = BTreeSet::new();
    let all = templates.iter().filter_map(TemplateFile::folder);
    all.filter(|folder| known.insert(*folder)).collect()
}

/// What Docker mounts into each container, whatever its network is.
const OF_DOCKER: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
/// Where a container cannot have a folder of the host.
const OF_THE_KERNEL: [&str; 2] = ["/proc", "/dev"];

/// A path without what does not count in it: empty parts, dots, and a slash at its end.
fn plain(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.flat_map(|part| ["/", part]).collect()
}

/// Is a path below a folder? Neither has a slash at its end.
fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Why a folder cannot be mounted from the host and not writable, with all that is in the container
/// besides: a mount below it needs a file or folder to be mounted on, which nobody can make there.
fn crowded(folder: &str, mounted: &BTreeSet<String>, folders: &[&str]) -> Option<String> {
    if mounted.contains(folder) || OF_DOCKER.contains(&folder) {
        return Some(format!("folder {folder:?} of its target is mounted otherwise too"));
    }
    if OF_THE_KERNEL.contains(&folder) || is_below(folder, "/proc") {
        return Some(format!("folder {folder:?} of its target is the kernel's"));
    }
    let below = mounted.iter().map(String::as_str).chain(OF_DOCKER).chain(folders.iter().copied());
    let first = below.into_iter().find(|path| is_below(path, folder))?;
    let what = match OF_DOCKER.contains(&first) {
        true => "Docker's ",
        false if folders.contains(&first) => "the folder of another, ",
        false => "",
    };
    Some(format!(
        "folder {folder:?} of its target is mounted not writable, so that {what}{first:?} cannot be \
         mounted below it; give the file a folder that has nothing else below it"
    ))
}

/// Which rule the templates of one container break, and the number of the one that does. `mounted`
/// is where the container has its mounts, and its files of configs and secrets.
///
/// # Errors
/// The number, from 0, and why.
pub fn check<'m>(
    templates: &[TemplateFile],
    mounted: impl Iterator<Item = &'m str>,
) -> Result<(), (usize, String)> {
    if templates.len() > TEMPLATES_PER_CONTAINER_MAX {
        let why = format!(
            "there are {}, and {TEMPLATES_PER_CONTAINER_MAX} are the most",
            templates.len()
        );
        return Err((TEMPLATES_PER_CONTAINER_MAX, why));
    }
    let mounted: BTreeSet<String> = mounted.map(plain).collect();
    let folders = folders(templates);
    let mut targets = BTreeSet::new();
    let mut bytes = 0;
    for (n, one) in templates.iter().enumerate() {
        if let Some(why) = one.broken_rule() {
            return Err((n, why));
        }
        if !targets.insert(one.target.as_str()) {
            return Err((n, format!("target {:?} is there twice", one.target)));
        }
        let folder = one.folder().unwrap_or_default();
        if let Some(why) = crowded(folder, &mounted, &folders) {
            return Err((n, why));
        }
        bytes += one.text.len();
        if bytes > TEMPLATES_TEXT_BYTES_MAX {
            return Err((
                n,
                format!("together they have more than {TEMPLATES_TEXT_BYTES_MAX} bytes"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(target: &str) -> TemplateFile {
        TemplateFile { target: target.into(), ..TemplateFile::default() }
    }

    #[test]
    fn a_target_is_a_file_in_a_folder() {
        for (target, folder) in [
            ("/etc/nginx/conf.d/a.conf", Some("/etc/nginx/conf.d")),
            ("/a/b", Some("/a")),
            ("/a", None),
            ("a/b", None),
            ("/a/", None),
            ("/a//b", None),
            ("/a/../b", None),
            ("/a/./b", None),
            ("", None),
        ] {
            assert_eq!(at(target).folder(), folder, "{target}");
        }
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_with_its_number() {
        let told = |tell| TemplateFile { tell: Some(tell), ..at("/a/b") };
        let twice = vec![at("/a/b"), at("/a/b")];
        let slow = TemplateFile { wait_ms: 2, wait_max_ms: 1, ..at("/a/b") };
        let many: Vec<_> =
            (0..=TEMPLATES_PER_CONTAINER_MAX).map(|n| at(&format!("/a/{n}"))).collect();
        let large = TemplateFile { text: "x".repeat(TEMPLATES_TEXT_BYTES_MAX + 1), ..at("/a/b") };
        for (templates, number, why) in [
            (vec![at("/a/b"), at("/b")], 1, "absolute path"),
            (twice, 1, "twice"),
            (vec![at("/m/b")], 0, "mounted"),
            (vec![told(Tell::Signal("SIGKILL".into()))], 0, "SIGKILL"),
            (vec![told(Tell::Command(vec![]))], 0, "empty"),
            (vec![slow], 0, "wait"),
            (many, TEMPLATES_PER_CONTAINER_MAX, "the most"),
            (vec![large], 0, "bytes"),
        ] {
            let (n, said) = check(&templates, ["/m/"].into_iter()).unwrap_err();
            assert!(n == number && said.contains(why), "{n} {said}");
        }
        let good = [told(Tell::Signal("SIGHUP".into())), at("/a/c"), at("/d/e")];
        assert_eq!(check(&good, ["/m", "/", "/ab/x"].into_iter()), Ok(()));
        assert_eq!(folders(&good), ["/a", "/d"]);
    }

    #[test]
    fn nothing_can_be_mounted_below_a_folder_that_is_not_writable() {
        let one = |target: &str, below: &str| {
            let result = check(&[at(target)], [below].into_iter());
            result.map_err(|(n, why)| {
                assert_eq!(n, 0, "{why}");
                why
            })
        };
        for (target, mounted, said) in [
            ("/etc/app/a.conf", "/etc/app/data", "\"/etc/app/data\" cannot be mounted below it"),
            ("/etc/app/a.conf", "/etc//app/./data/x/", "\"/etc/app/data/x\""),
            ("/etc/app/a.conf", "/etc/app/a.conf", "\"/etc/app/a.conf\""),
            ("/etc/app/a.conf", "/etc/./app/", "mounted otherwise"),
            ("/run/secrets/a.conf", "/run/secrets/password", "\"/run/secrets/password\""),
            ("/etc/haproxy.cfg", "/srv", "Docker's \"/etc/hosts\""),
            ("/etc/hosts/a", "/srv", "mounted otherwise"),
            ("/proc/a", "/srv", "the kernel's"),
            ("/proc/sys/a", "/srv", "the kernel's"),
            ("/dev/a", "/srv", "the kernel's"),
        ] {
            let why = one(target, mounted).expect_err(target);
            assert!(why.contains(said), "{target} {mounted}: {why}");
        }
        for (target, mounted) in [
            ("/etc/app/a.conf", "/etc/application"),
            ("/etc/app/a.conf", "/etc"),
            ("/etc/app/a.conf", "/etc/ap"),
            ("/processes/a", "/srv"),
        ] {
            assert_eq!(one(target, mounted), Ok(()), "{target} {mounted}");
        }
        for both in [["/etc/app/a", "/etc/app/conf.d/b"], ["/etc/app/conf.d/b", "/etc/app/a"]] {
            let (n, why) = check(&both.map(at), std::iter::empty()).unwrap_err();
            assert!(both.get(n) == Some(&"/etc/app/a") && why.contains("another, "), "{n} {why}");
        }
    }
}
