//! What is set: consul-template's configuration, checked, with its defaults. Files are laid over
//! each other in order, flags over files.

mod read;

use crate::quiet::Wait;
use rustix::process::Signal;
use std::path::PathBuf;
use std::time::Duration;

pub use read::{lay_file, lay_path};

/// Everything that is set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The Consul API.
    pub consul: Consul,
    /// What is rendered, in order.
    pub templates: Vec<Template>,
    /// Quiescence of templates without their own.
    pub wait: Option<Wait>,
    /// A child that lives as long as this process.
    pub exec: Option<Exec>,
    /// Where the number of this process is written.
    pub pid_file: Option<PathBuf>,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub log_level: String,
    /// How old an answer may be for any server to give it; zero asks the leader.
    pub max_stale: Duration,
    /// How long a question waits for a change.
    pub block_wait: Duration,
    /// Render once, then end.
    pub once: bool,
    /// Print instead of writing, and run nothing.
    pub dry: bool,
    /// Only read configuration and templates.
    pub parse_only: bool,
    /// Asked for; each process asks for itself all the same (docs/templates.md).
    pub deduplicate: bool,
    /// Signals that end this process.
    pub kill_signals: Vec<Signal>,
    /// Signals that read the configuration again.
    pub reload_signals: Vec<Signal>,
    /// Delimiters of templates without their own.
    pub delimiters: (String, String),
    /// Functions that no template may call.
    pub denied: Vec<String>,
    /// Keys of the files that are known and not carried out.
    pub ignored: Vec<String>,
}

/// The Consul API, and how it is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Consul {
    /// `host:port`, `http://…`, `https://…` or `unix:///…`.
    pub address: String,
    /// The token; empty for none.
    pub token: String,
    /// `user:password` of a proxy before it; empty for none.
    pub auth: String,
    /// Namespace of everything that names none; empty for none.
    pub namespace: String,
    /// What happens when it does not answer.
    pub retry: Retry,
    /// How it is known.
    pub tls: Tls,
}

/// What happens when a server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Is it asked again at all?
    pub enabled: bool,
    /// How often in a row; `None` is what the way of running says: for ever, or 12 times with `-once`.
    pub attempts: Option<u32>,
    /// After the first failure.
    pub backoff: Duration,
    /// At most.
    pub backoff_max: Duration,
}

/// TLS towards a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Also for an address without `https://`.
    pub enabled: bool,
    /// Is its certificate looked at?
    pub verify: bool,
    /// Authorities that are trusted, PEM; `None` is what the machine trusts.
    pub ca_cert: Option<PathBuf>,
    /// Folder of such files.
    pub ca_path: Option<PathBuf>,
    /// Own certificate, PEM.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Name that its certificate has to have; empty is the host of the address.
    pub server_name: String,
}

/// Where a template comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The configuration itself.
    Contents(String),
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Command {
    /// By `sh -c`.
    Shell(String),
    /// By itself.
    Words(Vec<String>),
}

/// One file that is rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Where it comes from.
    pub source: Source,
    /// Where it goes.
    pub destination: PathBuf,
    /// Folders above it are made.
    pub create_dest_dirs: bool,
    /// Run when it changed.
    pub command: Option<Command>,
    /// How long that may take.
    pub command_timeout: Duration,
    /// Further environment of it.
    pub command_env: Vec<(String, String)>,
    /// Most time that passes, at random, before it is run.
    pub splay: Duration,
    /// Run before the file is taken over; when it fails, the last good file stays.
    pub check: Option<Command>,
    /// A key that a map lacks is an error.
    pub error_on_missing_key: bool,
    /// Ends the process when it cannot be rendered or its command fails.
    pub error_fatal: bool,
    /// Mode of the file; `None` keeps what it has, 0644 for a new one.
    pub perms: Option<u32>,
    /// Owner: a number or a name.
    pub user: Option<String>,
    /// Group: a number or a name.
    pub group: Option<String>,
    /// The last file is kept beside it, as `.bak`.
    pub backup: bool,
    /// Delimiters, if they are its own.
    pub delimiters: Option<(String, String)>,
    /// Quiescence, if it is its own; `Some(None)` is none at all.
    pub wait: Option<Option<Wait>>,
    /// `file` reads only below this folder.
    pub sandbox: Option<PathBuf>,
    /// Functions that it may not call.
    pub denied: Vec<String>,
}

/// A child that lives as long as this process.
#[derive(Clone, Debug, PartialEq)]
pub struct Exec {
    /// What is run.
    pub command: Command,
    /// Further environment.
    pub env: Vec<(String, String)>,
    /// Ends it.
    pub kill_signal: Signal,
    /// How long it may take to end.
    pub kill_timeout: Duration,
    /// Tells it to read its files again; `None` restarts it.
    pub reload_signal: Option<Signal>,
    /// Most time that passes, at random, before it is told.
    pub splay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consul: Consul::default(),
            templates: vec![],
            wait: None,
            exec: None,
            pid_file: None,
            log_level: "warn".into(),
            max_stale: Duration::from_secs(2),
            block_wait: Duration::from_secs(60),
            once: false,
            dry: false,
            parse_only: false,
            deduplicate: false,
            kill_signals: vec![Signal::INT, Signal::TERM],
            reload_signals: vec![Signal::HUP],
            delimiters: ("{{".into(), "}}".into()),
            denied: vec![],
            ignored: vec![],
        }
    }
}

// Written by hand: token and password are shown nowhere.
impl std::fmt::Debug for Consul {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consul")
            .field("address", &self.address)
            .field("namespace", &self.namespace)
            .field("retry", &self.retry)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl Default for Consul {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8500".into(),
            token: String::new(),
            auth: String::new(),
            namespace: String::new(),
            retry: Retry::default(),
            tls: Tls::default(),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            enabled: true,
            attempts: None,
            backoff: Duration::from_millis(250),
            backoff_max: Duration::from_secs(60),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            enabled: false,
            verify: true,
            ca_cert: None,
            ca_path: None,
            cert: None,
            key: None,
            server_name: String::new(),
        }
    }
}

impl Template {
    /// With the defaults.
    #[must_use]
    pub fn new(source: Source, destination: PathBuf) -> Self {
        Self {
            source,
            destination,
            create_dest_dirs: true,
            command: None,
            command_timeout: Duration::from_secs(30),
            command_env: vec![],
            splay: Duration::ZERO,
            check: None,
            error_on_missing_key: false,
            error_fatal: false,
            perms: None,
            user: None,
            group: None,
            backup: false,
            delimiters: None,
            wait: None,
            sandbox: None,
            denied: vec![],
        }
    }

    /// `in:out[:command]`, as `-template` takes it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let source = parts.next().unwrap_or_default().trim();
        let destination = parts.next().unwrap_or_default().trim();
        if source.is_empty() || destination.is_empty() {
            return Err(format!("template {text:?} is not in:out[:command]"));
        }
        let mut template = Self::new(Source::File(source.into()), destination.into());
        let command = parts.next().unwrap_or_default().trim();
        if !command.is_empty() {
            template.command = Some(Command::Shell(command.to_owned()));
        }
        Ok(template)
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.source {
            Source::File(path) => path.display().to_string(),
            Source::Contents(_) => format!("contents of {}", self.destination.display()),
        }
    }
}

impl Exec {
    /// With the defaults.
    #[must_use]
    pub fn new(command: Command) -> Self {
        Self {
            command,
            env: vec![],
            kill_signal: Signal::TERM,
            kill_timeout: Duration::from_secs(30),
            reload_signal: None,
            splay: Duration::ZERO,
        }
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shell(line) => write!(f, "command {line:?}"),
            Self::Words(words) => write!(f, "command {:?}", words.join(" ")),
        }
    }
}

const SIGNALS: [(&str, Signal); 14] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("KILL", Signal::KILL),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("URG", Signal::URG),
    ("IO", Signal::IO),
];

/// Reads a signal: `SIGHUP` or `HUP`; nothing, `nil` and `null` are none.
///
/// # Errors
/// What it is not.
pub fn signal(text: &str) -> Result<Option<Signal>, String> {
    let upper = text.trim().to_ascii_uppercase();
    if ["", "NIL", "NULL", "SIGNULL", "SIGNIL"].contains(&upper.as_str()) {
        return Ok(None);
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let found = SIGNALS.iter().find(|(word, _)| *word == name).map(|(_, signal)| *signal);
    found.map(Some).ok_or_else(|| format!("{text:?} is no signal like SIGHUP"))
}

#[cfg(test)]
#[path = "settings/tests.rs"]
mod tests;
