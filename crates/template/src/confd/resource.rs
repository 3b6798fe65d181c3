//! A file of `conf.d`: which template goes where, from which keys, and what checks and reloads.

use super::Options;
use crate::error::Error;
use crate::settings::{Command, Source, Template};
use model::limits::{TEMPLATE_CONFIG_FILES_MAX, TEMPLATE_FILE_BYTES_MAX};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A template with its keys.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resource {
    pub(super) template: Template,
    pub(super) keys: Vec<String>,
    /// Begins with `/`; just that when there is none.
    pub(super) prefix: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    template: Raw,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    src: String,
    dest: PathBuf,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    prefix: String,
    mode: Option<String>,
    owner: Option<String>,
    group: Option<String>,
    uid: Option<i64>,
    gid: Option<i64>,
    reload_cmd: Option<String>,
    check_cmd: Option<String>,
}

/// Reads all of `conf.d`, in the order of names.
///
/// # Errors
/// A file that cannot be read or is wrong.
pub(super) fn load(options: &Options) -> Result<Vec<Resource>, Error> {
    let folder = options.confdir.join("conf.d");
    let read = |source| Error::Read { path: folder.clone(), source };
    let mut files = vec![];
    for entry in std::fs::read_dir(&folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    if files.len() > TEMPLATE_CONFIG_FILES_MAX {
        let what = format!("more than {TEMPLATE_CONFIG_FILES_MAX} files in one folder");
        return Err(Error::Config { file: folder, line: 1, what });
    }
    files.sort();
    let mut all = vec![];
    for path in files {
        let read = |source| Error::Read { path: path.clone(), source };
        if std::fs::metadata(&path).map_err(read)?.len() > TEMPLATE_FILE_BYTES_MAX as u64 {
            let what = path.display().to_string();
            return Err(Error::TooLarge { what, max: TEMPLATE_FILE_BYTES_MAX });
        }
        let text = std::fs::read_to_string(&path).map_err(read)?;
        all.push(parse(&path, &text, options)?);
    }
    Ok(all)
}

/// Reads one file.
///
/// # Errors
/// What is wrong, with its line.
pub(super) fn parse(path: &Path, text: &str, options: &Options) -> Result<Resource, Error> {
    let wrong = |line, what: String| Error::Config { file: path.to_owned(), line, what };
    let file: File = toml::from_str(text).map_err(|e| {
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        wrong(before.matches('\n').count() + 1, e.message().to_owned())
    })?;
    let raw = file.template;
    if raw.src.is_empty() || raw.dest.as_os_str().is_empty() {
        return Err(wrong(1, "src or dest is empty".into()));
    }
    let source = Source::File(options.confdir.join("templates").join(&raw.src));
    let mut template = Template::new(source, raw.dest);
    template.create_dest_dirs = false;
    if let Some(mode) = &raw.mode {
        let octal = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777);
        template.perms =
            Some(octal.ok_or_else(|| wrong(1, format!("mode {mode:?} is no mode like 0644")))?);
    }
    // confd's -1 is the user that it runs as.
    let number = |n: Option<i64>| n.filter(|n| *n >= 0).map(|n| n.to_string());
    template.user = number(raw.uid).or(raw.owner);
    template.group = number(raw.gid).or(raw.group);
    let shell = |line: Option<String>| line.filter(|l| !l.trim().is_empty()).map(Command::Shell);
    template.command = shell(raw.reload_cmd);
    template.check = shell(raw.check_cmd);
    let prefix = joined(&options.prefix, &raw.prefix);
    Ok(Resource { template, keys: raw.keys, prefix })
}

/// Two parts of a path, with one `/` before each.
fn joined(first: &str, second: &str) -> String {
    let parts = first.split('/').chain(second.split('/')).filter(|part| !part.is_empty());
    let path: String = parts.flat_map(|part| ["/", part]).collect();
    if path.is_empty() { "/".to_owned() } else { path }
}

impl Resource {
    /// A key with its prefix.
    pub(super) fn path(&self, key: &str) -> String {
        joined(&self.prefix, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confd::{Asked, read};
    use proptest::prelude::*;

    fn options() -> Options {
        let words = ["-backend", "rancher", "-prefix", "/latest", "-confdir", "/nowhere"];
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        match read(&words, &|_| None).unwrap() {
            Asked::Run(options) => *options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_of_conf_d_is_taken_whole() {
        let toml = "[template]\nsrc = \"a.tmpl\"\ndest = \"/etc/a\"\nkeys = [\"/self\", \"stacks\"]\nprefix = \"x/\"\nmode = \"0640\"\nowner = \"root\"\nuid = 7\nreload_cmd = \"reload\"\ncheck_cmd = \"check {{.src}}\"\n";
        let resource = parse(Path::new("a.toml"), toml, &options()).unwrap();
        assert_eq!(resource.prefix, "/latest/x");
        assert_eq!(resource.path("/self"), "/latest/x/self");
        assert_eq!(resource.path("/"), "/latest/x");
        let t = resource.template;
        assert_eq!(t.source, Source::File("/nowhere/templates/a.tmpl".into()));
        assert_eq!((t.perms, t.user.as_deref()), (Some(0o640), Some("7")));
        assert_eq!(t.check, Some(Command::Shell("check {{.src}}".into())));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (toml, line, part) in [
            ("[template]\nsrc = \"a\"\n", 1, "dest"),
            ("[template]\nsrc = \"a\"\ndest = \"b\"\nsrcc = \"x\"\n", 4, "srcc"),
            ("[template]\nsrc = \"a\"\ndest = \"b\"\nmode = \"rw\"\n", 1, "no mode"),
            ("[template]\nsrc = \"a\"\ndest = [\n", 3, ""),
        ] {
            let error = parse(Path::new("a.toml"), toml, &options()).unwrap_err();
            let Error::Config { line: at, what, .. } = &error else { panic!("{error}") };
            assert!(what.contains(part), "{toml}: {error}");
            assert!(at.abs_diff(line) <= 1, "{toml}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            text in "(\\[template\\]\n)?([a-z_]{1,6} ?= ?[\"'\\[\\]0-9a-z{},\n]{0,12}\n){0,6}\\PC{0,20}"
        ) {
            let _read = parse(Path::new("a.toml"), &text, &options());
        }
    }
}
