//! confd's flags and its own file, `confd.toml`: flags lie over the file.

use crate::error::Error;
use crate::flags::{Flag, cut, switch};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Rancher's metadata.
    Rancher,
    /// Consul's keys.
    Consul,
}

/// What is set.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// Where keys come from.
    pub backend: Backend,
    /// Who is asked, in this order.
    pub nodes: Vec<String>,
    /// Before every key.
    pub prefix: String,
    /// Between two rounds.
    pub interval: Duration,
    /// Rounds follow changes instead.
    pub watch: bool,
    /// One round only.
    pub once: bool,
    /// Nothing is written or run.
    pub noop: bool,
    /// Files are written, commands are not run.
    pub sync_only: bool,
    /// Has `conf.d` and `templates`.
    pub confdir: PathBuf,
    /// `http` or `https` for nodes that do not say it.
    pub scheme: String,
    /// Token for Consul; empty for none.
    pub token: String,
    /// `debug`, `info`, `warn` or `error`.
    pub log_level: String,
}

// Written by hand: the token is shown nowhere.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("backend", &self.backend)
            .field("nodes", &self.nodes)
            .field("prefix", &self.prefix)
            .field("confdir", &self.confdir)
            .finish_non_exhaustive()
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// To run so.
    Run(Box<Options>),
    /// For help.
    Help,
    /// For the version.
    Version,
}

const ALONE: [&str; 9] =
    ["onetime", "watch", "noop", "sync-only", "help", "h", "version", "v", "keep-stage-file"];
const KNOWN: [&str; 9] = [
    "backend",
    "node",
    "prefix",
    "interval",
    "confdir",
    "config-file",
    "scheme",
    "log-level",
    "auth-token",
];

/// Options by flags, `confd.toml` and the environment.
///
/// # Errors
/// What is wrong on the command line or in the file.
pub fn read(words: &[String], env: &dyn Fn(&str) -> Option<String>) -> Result<Asked, Error> {
    let (flags, rest) = cut(words, &KNOWN, &ALONE)?;
    let usage = |what: String| Error::Usage { what };
    // `confd consul -node …` is how newer ones name the backend.
    let named = match rest.as_slice() {
        [] => None,
        [backend] => Some(backend.clone()),
        [_, odd, ..] => return Err(usage(format!("{odd:?} is no flag"))),
    };
    let last = |name: &str| flags.iter().rev().find(|flag| flag.name == name);
    if last("help").or(last("h")).is_some() {
        return Ok(Asked::Help);
    }
    if last("version").or(last("v")).is_some() {
        return Ok(Asked::Version);
    }
    let text = |name: &str| last(name).and_then(|flag| flag.value.clone());
    let confdir = PathBuf::from(text("confdir").unwrap_or("/etc/confd".into()));
    let mut raw = Raw::default();
    let file = text("config-file").map(PathBuf::from);
    let path = file.clone().unwrap_or_else(|| confdir.join("confd.toml"));
    match std::fs::read_to_string(&path) {
        Ok(toml) => raw.lay(&path, &toml)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && file.is_none() => {}
        Err(source) => return Err(Error::Read { path, source }),
    }
    for flag in &flags {
        raw.flag(flag)?;
    }
    if let Some(named) = named {
        raw.backend = Some(named);
    }
    raw.token = raw.token.or_else(|| env("CONSUL_HTTP_TOKEN"));
    raw.check(confdir).map(|options| Asked::Run(Box::new(options)))
}

/// What was said, before it is checked.
#[derive(Default)]
struct Raw {
    backend: Option<String>,
    nodes: Vec<String>,
    prefix: Option<String>,
    interval: Option<u64>,
    confdir: Option<PathBuf>,
    scheme: Option<String>,
    token: Option<String>,
    log_level: Option<String>,
    watch: bool,
    once: bool,
    noop: bool,
    sync_only: bool,
}

impl Raw {
    fn lay(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let wrong = |line: usize, what: String| Error::Config { file: path.to_owned(), line, what };
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let line = e.span().and_then(|s| text.get(..s.start)).map_or(1, |t| t.lines().count());
            wrong(line.max(1), e.message().to_owned())
        })?;
        for (key, value) in table {
            let bad = || wrong(1, format!("{key} = {value} is of the wrong kind"));
            let string = || value.as_str().map(ToOwned::to_owned).ok_or_else(bad);
            let bool = || value.as_bool().ok_or_else(bad);
            match key.as_str() {
                "backend" => self.backend = Some(string()?),
                "prefix" => self.prefix = Some(string()?),
                "scheme" => self.scheme = Some(string()?),
                "log-level" => self.log_level = Some(string()?),
                "auth_token" => self.token = Some(string()?),
                "confdir" => self.confdir = Some(string()?.into()),
                "interval" => {
                    let n = value.as_integer().and_then(|n| u64::try_from(n).ok());
                    self.interval = Some(n.ok_or_else(bad)?);
                }
                "watch" => self.watch = bool()?,
                "noop" => self.noop = bool()?,
                "sync-only" => self.sync_only = bool()?,
                "nodes" => {
                    let all = value.as_array().ok_or_else(bad)?;
                    let all: Option<Vec<String>> =
                        all.iter().map(|n| n.as_str().map(ToOwned::to_owned)).collect();
                    self.nodes = all.ok_or_else(bad)?;
                }
                _ => tracing::warn!(%key, path = %path.display(), "setting has no effect here"),
            }
        }
        Ok(())
    }

    fn flag(&mut self, flag: &Flag) -> Result<(), Error> {
        let value = flag.value.clone();
        match flag.name.as_str() {
            "backend" => self.backend = value,
            "node" => self.nodes.extend(value),
            "prefix" => self.prefix = value,
            "scheme" => self.scheme = value,
            "auth-token" => self.token = value,
            "log-level" => self.log_level = value,
            "interval" => {
                let text = value.unwrap_or_default();
                let seconds = text.parse().map_err(|_no| Error::Usage {
                    what: format!("-interval: {text:?} is no number of seconds"),
                })?;
                self.interval = Some(seconds);
            }
            "onetime" => self.once = switch(flag)?,
            "watch" => self.watch = switch(flag)?,
            "noop" => self.noop = switch(flag)?,
            "sync-only" => self.sync_only = switch(flag)?,
            _ => {}
        }
        Ok(())
    }

    fn check(self, confdir: PathBuf) -> Result<Options, Error> {
        let usage = |what: String| Error::Usage { what };
        let backend = match self.backend.as_deref() {
            Some("rancher") => Backend::Rancher,
            Some("consul") => Backend::Consul,
            Some(other) => {
                return Err(usage(format!("backend {other:?} is not here: rancher or consul")));
            }
            None => return Err(usage("no backend: -backend rancher or -backend consul".into())),
        };
        let mut nodes = self.nodes;
        if nodes.is_empty() {
            nodes.push(match backend {
                Backend::Rancher => "rancher-metadata".into(),
                Backend::Consul => "127.0.0.1:8500".into(),
            });
        }
        if self.interval == Some(0) && !self.once && !self.watch {
            return Err(usage("-interval 0 would never rest: -watch follows changes".into()));
        }
        Ok(Options {
            backend,
            nodes,
            prefix: self.prefix.unwrap_or_default(),
            interval: Duration::from_secs(self.interval.unwrap_or(600)),
            watch: self.watch,
            once: self.once,
            noop: self.noop,
            sync_only: self.sync_only,
            confdir: self.confdir.unwrap_or(confdir),
            scheme: self.scheme.unwrap_or_else(|| "http".into()),
            token: self.token.unwrap_or_default(),
            log_level: self.log_level.unwrap_or_else(|| "info".into()).to_ascii_lowercase(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &[&str]) -> Result<Options, Error> {
        let words: Vec<String> = line.iter().map(|w| (*w).to_owned()).collect();
        match read(&words, &|_| None)? {
            Asked::Run(options) => Ok(*options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_lie_over_confd_toml() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display().to_string();
        let toml = "backend = \"rancher\"\nprefix = \"/2015-12-19\"\ninterval = 5\nnodes = [\"a\", \"b\"]\n";
        std::fs::write(folder.path().join("confd.toml"), toml).unwrap();
        let options = run(&["-confdir", &dir, "--prefix", "/latest", "-watch"]).unwrap();
        assert_eq!((options.backend, &*options.prefix), (Backend::Rancher, "/latest"));
        assert_eq!(options.nodes, ["a", "b"]);
        assert!(options.watch && !options.once);
        assert_eq!(options.interval, Duration::from_secs(5));
        let options = run(&["-onetime", "-backend=consul", "-confdir", "/nowhere"]).unwrap();
        assert_eq!(options.nodes, ["127.0.0.1:8500"]);
        assert_eq!(run(&["-confdir", "/nowhere", "rancher"]).unwrap().nodes, ["rancher-metadata"]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, "backend = \"consul\"\ninterval = \"x\"\n").unwrap();
        let file = file.display().to_string();
        for (line, part) in [
            (["-confdir", "/nowhere"].as_slice(), "no backend"),
            (&["-confdir", "/nowhere", "-backend", "etcd"], "not here: rancher or consul"),
            (&["-confdir", "/nowhere", "-backend", "consul", "-interval", "0"], "never rest"),
            (&["-config-file", &file], "wrong kind"),
            (&["-intervall", "1"], "did you mean -interval?"),
        ] {
            let error = run(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line:?}: {error}");
        }
    }
}
