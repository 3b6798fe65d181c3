//! Configuration files laid over the settings: each key is known or an error with its line.

use super::{Command, Consul, Exec, Settings, Source, Template, Tls, signal};
use crate::duration;
use crate::error::Error;
use crate::hcl::{self, Entry, Item};
use crate::quiet::Wait;
use model::limits::{TEMPLATE_CONFIG_FILES_MAX, TEMPLATE_FILE_BYTES_MAX, TEMPLATES_MAX};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Lays a file, or all `.hcl` and `.json` of a folder in the order of their names.
///
/// # Errors
/// What cannot be read or is wrong, with its place.
pub fn lay_path(settings: &mut Settings, path: &Path) -> Result<(), Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(read)?.is_dir() {
        return lay_one(settings, path);
    }
    let mut files = vec![];
    for entry in std::fs::read_dir(path).map_err(read)? {
        let file = entry.map_err(read)?.path();
        if file.extension().is_some_and(|e| e == "hcl" || e == "json") {
            files.push(file);
        }
    }
    if files.len() > TEMPLATE_CONFIG_FILES_MAX {
        let what = format!("more than {TEMPLATE_CONFIG_FILES_MAX} files in one folder");
        return Err(Error::Config { file: path.to_owned(), line: 1, what });
    }
    files.sort();
    files.iter().try_for_each(|file| lay_one(settings, file))
}

fn lay_one(settings: &mut Settings, path: &Path) -> Result<(), Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(read)?.len() > TEMPLATE_FILE_BYTES_MAX as u64 {
        let what = path.display().to_string();
        return Err(Error::TooLarge { what, max: TEMPLATE_FILE_BYTES_MAX });
    }
    lay_file(settings, path, &std::fs::read_to_string(path).map_err(read)?)
}

/// Lays the text of a file.
///
/// # Errors
/// What is wrong, with its line.
pub fn lay_file(settings: &mut Settings, file: &Path, text: &str) -> Result<(), Error> {
    let wrong = |w: Wrong| Error::Config { file: file.to_owned(), line: w.line, what: w.what };
    let entries = hcl::parse(text).map_err(|w| wrong(Wrong { line: w.line, what: w.what }))?;
    entries.iter().try_for_each(|entry| top(settings, entry)).map_err(wrong)
}

struct Wrong {
    line: usize,
    what: String,
}

type Laid = Result<(), Wrong>;

/// Top-level stanzas of the original that have nothing to do here.
const NOT_HERE: [&str; 6] =
    ["vault", "nomad", "syslog", "telemetry", "template_error_fatal", "err_on_failed_lookup"];

fn top(settings: &mut Settings, entry: &Entry) -> Laid {
    let e = At(entry);
    match entry.key.as_str() {
        "consul" => match &entry.item {
            Item::Text(address) => settings.consul.address.clone_from(address),
            _ => e.blocks()?.into_iter().flatten().try_for_each(|c| consul(settings, c))?,
        },
        "retry" => settings.consul.retry.backoff = e.duration()?,
        "token" => settings.consul.token = e.text()?,
        "template" => {
            for block in e.blocks()? {
                let one = template(block, entry.line, &settings.delimiters)?;
                if settings.templates.len() >= TEMPLATES_MAX {
                    return Err(e.wrong(format!("more than {TEMPLATES_MAX} templates")));
                }
                settings.templates.push(one);
            }
        }
        "wait" => settings.wait = e.wait()?,
        "exec" => {
            for block in e.blocks()? {
                settings.exec = exec(block, settings.exec.take())?;
            }
        }
        "pid_file" => settings.pid_file = Some(e.path()?),
        "log_level" => settings.log_level = e.text()?.to_ascii_lowercase(),
        "max_stale" => settings.max_stale = e.duration()?,
        "block_query_wait" => settings.block_wait = e.duration()?,
        "kill_signal" => settings.kill_signals = with(e.signal()?, &[Signal::TERM]),
        "reload_signal" => settings.reload_signals = with(e.signal()?, &[]),
        "once" => settings.once = e.bool()?,
        "default_left_delimiter" => settings.delimiters.0 = e.text()?,
        "default_right_delimiter" => settings.delimiters.1 = e.text()?,
        "function_denylist" | "function_blacklist" => settings.denied = e.texts()?,
        "deduplicate" => {
            settings.deduplicate = true;
            for one in e.blocks()?.into_iter().flatten() {
                match one.key.as_str() {
                    "enabled" => settings.deduplicate = At(one).bool()?,
                    "prefix" | "max_stale" | "ttl" | "block_query_wait" => {}
                    _ => return Err(At(one).unknown("deduplicate")),
                }
            }
        }
        key if NOT_HERE.contains(&key) => settings.ignored.push(key.to_owned()),
        _ => return Err(e.unknown("the file")),
    }
    Ok(())
}

/// A signal with what always does the same.
fn with(signal: Option<Signal>, always: &[Signal]) -> Vec<Signal> {
    let mut all: Vec<Signal> = signal.into_iter().collect();
    all.extend(always.iter().copied().filter(|s| Some(*s) != signal));
    all
}

fn consul(settings: &mut Settings, entry: &Entry) -> Laid {
    let (e, c): (At<'_>, &mut Consul) = (At(entry), &mut settings.consul);
    match entry.key.as_str() {
        "address" => c.address = e.text()?,
        "token" => c.token = e.text()?,
        "token_file" => {
            let path = e.path()?;
            let read = std::fs::read_to_string(&path);
            let token = read.map_err(|why| e.wrong(format!("{}: {why}", path.display())))?;
            c.token = token.trim().to_owned();
        }
        "namespace" => c.namespace = e.text()?,
        "auth" => match &entry.item {
            Item::Text(auth) => c.auth.clone_from(auth),
            _ => {
                let (mut enabled, mut user, mut password) = (true, String::new(), String::new());
                for one in e.blocks()?.into_iter().flatten() {
                    match one.key.as_str() {
                        "enabled" => enabled = At(one).bool()?,
                        "username" => user = At(one).text()?,
                        "password" => password = At(one).text()?,
                        _ => return Err(At(one).unknown("auth")),
                    }
                }
                c.auth = if enabled { format!("{user}:{password}") } else { String::new() };
            }
        },
        "retry" => {
            for one in e.blocks()?.into_iter().flatten() {
                let o = At(one);
                match one.key.as_str() {
                    "enabled" => c.retry.enabled = o.bool()?,
                    "attempts" => c.retry.attempts = Some(o.number()?),
                    "backoff" => c.retry.backoff = o.duration()?,
                    "max_backoff" => c.retry.backoff_max = o.duration()?,
                    _ => return Err(o.unknown("retry")),
                }
            }
        }
        "ssl" => e.blocks()?.into_iter().flatten().try_for_each(|s| tls(&mut c.tls, s))?,
        // Connections are kept and their number is bounded; there is nothing to tune.
        "transport" => settings.ignored.push("consul.transport".into()),
        _ => return Err(e.unknown("consul")),
    }
    Ok(())
}

fn tls(tls: &mut Tls, entry: &Entry) -> Laid {
    let e = At(entry);
    match entry.key.as_str() {
        "enabled" => tls.enabled = e.bool()?,
        "verify" => tls.verify = e.bool()?,
        "ca_cert" => tls.ca_cert = e.some_path()?,
        "ca_path" => tls.ca_path = e.some_path()?,
        "cert" => tls.cert = e.some_path()?,
        "key" => tls.key = e.some_path()?,
        "server_name" => tls.server_name = e.text()?,
        _ => return Err(e.unknown("ssl")),
    }
    Ok(())
}

fn template(entries: &[Entry], line: usize, default: &(String, String)) -> Result<Template, Wrong> {
    let mut template = Template::new(Source::Contents(String::new()), PathBuf::new());
    let (mut source, mut delimiters) = (None, default.clone());
    for entry in entries {
        let e = At(entry);
        match entry.key.as_str() {
            "source" => source = Some(Source::File(e.path()?)),
            "contents" => source = Some(Source::Contents(e.text()?)),
            "destination" => template.destination = e.path()?,
            "left_delimiter" => delimiters.0 = e.text()?,
            "right_delimiter" => delimiters.1 = e.text()?,
            _ => template_more(&mut template, entry)?,
        }
    }
    template.source = source
        .ok_or_else(|| Wrong { line, what: "template has no source and no contents".into() })?;
    if template.destination.as_os_str().is_empty() {
        return Err(Wrong { line, what: "template has no destination".into() });
    }
    if delimiters != *default {
        template.delimiters = Some(delimiters);
    }
    Ok(template)
}

fn template_more(t: &mut Template, entry: &Entry) -> Laid {
    let e = At(entry);
    match entry.key.as_str() {
        "create_dest_dirs" => t.create_dest_dirs = e.bool()?,
        "command" => t.command = e.command()?,
        "command_timeout" => t.command_timeout = e.duration()?,
        "check" => t.check = e.command()?,
        "exec" => {
            for one in e.blocks()?.into_iter().flatten() {
                let o = At(one);
                match one.key.as_str() {
                    "command" => t.command = o.command()?,
                    "timeout" => t.command_timeout = o.duration()?,
                    "env" => t.command_env = env(one)?,
                    "splay" => t.splay = o.duration()?,
                    "enabled" | "kill_signal" | "kill_timeout" | "reload_signal" => {}
                    _ => return Err(o.unknown("exec")),
                }
            }
        }
        "error_on_missing_key" => t.error_on_missing_key = e.bool()?,
        "error_fatal" => t.error_fatal = e.bool()?,
        "perms" => t.perms = Some(e.perms()?),
        "user" | "uid" => t.user = e.some_text()?,
        "group" | "gid" => t.group = e.some_text()?,
        "backup" => t.backup = e.bool()?,
        "wait" => t.wait = Some(e.wait()?),
        "sandbox_path" => t.sandbox = e.some_path()?,
        "function_denylist" | "function_blacklist" => t.denied = e.texts()?,
        _ => return Err(e.unknown("template")),
    }
    Ok(())
}

fn exec(entries: &[Entry], before: Option<Exec>) -> Result<Option<Exec>, Wrong> {
    let mut exec = before.unwrap_or_else(|| Exec::new(Command::Words(vec![])));
    let mut enabled = true;
    for entry in entries {
        let e = At(entry);
        match entry.key.as_str() {
            "command" => exec.command = e.command()?.unwrap_or(Command::Words(vec![])),
            "enabled" => enabled = e.bool()?,
            "env" => exec.env = env(entry)?,
            "kill_signal" => exec.kill_signal = e.signal()?.unwrap_or(Signal::TERM),
            "kill_timeout" => exec.kill_timeout = e.duration()?,
            "reload_signal" => exec.reload_signal = e.signal()?,
            "splay" => exec.splay = e.duration()?,
            "timeout" => {}
            _ => return Err(e.unknown("exec")),
        }
    }
    Ok((enabled && exec.command != Command::Words(vec![])).then_some(exec))
}

/// `env { custom = ["A=b"] }`; the rest of it chooses what is passed on, and all is.
fn env(entry: &Entry) -> Result<Vec<(String, String)>, Wrong> {
    let mut all = vec![];
    for one in At(entry).blocks()?.into_iter().flatten() {
        match one.key.as_str() {
            "custom" => {
                for pair in At(one).texts()? {
                    let (key, value) = pair.split_once('=').unwrap_or((&pair, ""));
                    all.push((key.to_owned(), value.to_owned()));
                }
            }
            "pristine" | "allowlist" | "denylist" | "whitelist" | "blacklist" => {
                return Err(At(one).wrong("is not carried out: the environment is passed on whole"));
            }
            _ => return Err(At(one).unknown("env")),
        }
    }
    Ok(all)
}

/// An entry with the ways to read it.
#[derive(Clone, Copy)]
struct At<'a>(&'a Entry);

impl<'a> At<'a> {
    fn wrong(self, what: impl std::fmt::Display) -> Wrong {
        Wrong { line: self.0.line, what: format!("{}: {what}", self.0.key) }
    }

    fn unknown(self, place: &str) -> Wrong {
        self.wrong(format!("is not known in {place}"))
    }

    /// Its blocks: one, or a list of them.
    fn blocks(self) -> Result<Vec<&'a [Entry]>, Wrong> {
        match &self.0.item {
            Item::Object(entries) => Ok(vec![entries.as_slice()]),
            Item::List(items) => items
                .iter()
                .map(|item| match item {
                    Item::Object(entries) => Ok(entries.as_slice()),
                    _ => Err(self.wrong("expected a block")),
                })
                .collect(),
            _ => Err(self.wrong("expected a block")),
        }
    }

    fn text(self) -> Result<String, Wrong> {
        match &self.0.item {
            Item::Text(text) | Item::Number(text) => Ok(text.clone()),
            _ => Err(self.wrong("expected text")),
        }
    }

    fn some_text(self) -> Result<Option<String>, Wrong> {
        Ok(Some(self.text()?).filter(|text| !text.is_empty()))
    }

    fn path(self) -> Result<PathBuf, Wrong> {
        let text = self.text()?;
        if text.is_empty() { Err(self.wrong("is empty")) } else { Ok(text.into()) }
    }

    fn some_path(self) -> Result<Option<PathBuf>, Wrong> {
        Ok(self.some_text()?.map(PathBuf::from))
    }

    fn texts(self) -> Result<Vec<String>, Wrong> {
        let items = match &self.0.item {
            Item::List(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        items
            .iter()
            .map(|item| match item {
                Item::Text(text) | Item::Number(text) => Ok(text.clone()),
                _ => Err(self.wrong("expected a list of text")),
            })
            .collect()
    }

    fn bool(self) -> Result<bool, Wrong> {
        match &self.0.item {
            Item::Bool(b) => Ok(*b),
            Item::Text(text) if text == "true" => Ok(true),
            Item::Text(text) if text == "false" => Ok(false),
            _ => Err(self.wrong("expected true or false")),
        }
    }

    fn number(self) -> Result<u32, Wrong> {
        self.text()?.parse().map_err(|_not_one| self.wrong("expected a whole number"))
    }

    fn duration(self) -> Result<Duration, Wrong> {
        let text = self.text()?;
        duration::parse(&text)
            .ok_or_else(|| self.wrong(format!("{text:?} is no duration like \"5s\"")))
    }

    fn signal(self) -> Result<Option<Signal>, Wrong> {
        signal(&self.text()?).map_err(|what| self.wrong(what))
    }

    fn perms(self) -> Result<u32, Wrong> {
        let text = self.text()?;
        let octal = text.strip_prefix("0o").unwrap_or(&text);
        u32::from_str_radix(octal, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| self.wrong(format!("{text:?} is no mode like 0644")))
    }

    /// `"5s:10s"` or `{ min = "5s" max = "10s" }`.
    fn wait(self) -> Result<Option<Wait>, Wrong> {
        if let Item::Text(text) = &self.0.item {
            return Wait::parse(text).map(Some).map_err(|what| self.wrong(what));
        }
        let (mut enabled, mut min, mut max) = (true, None, None);
        for one in self.blocks()?.into_iter().flatten() {
            match one.key.as_str() {
                "enabled" => enabled = At(one).bool()?,
                "min" => min = Some(At(one).text()?),
                "max" => max = Some(At(one).text()?),
                _ => return Err(At(one).unknown("wait")),
            }
        }
        let Some(min) = min.filter(|_| enabled) else { return Ok(None) };
        let text = max.map_or_else(|| min.clone(), |max| format!("{min}:{max}"));
        Wait::parse(&text).map(Some).map_err(|what| self.wrong(what))
    }

    /// Text is for the shell, and so is a list of one; more are a program and its arguments.
    fn command(self) -> Result<Option<Command>, Wrong> {
        let mut words = self.texts()?;
        Ok(match words.len() {
            0 => None,
            1 => words.pop().filter(|word| !word.trim().is_empty()).map(Command::Shell),
            _ => Some(Command::Words(words)),
        })
    }
}
