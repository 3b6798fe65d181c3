//! consul-template's flags: one dash or two, `-flag value` or `-flag=value`. Read by hand, since
//! no parser of long options takes them with one dash.

use crate::error::Error;
use crate::quiet::Wait;
use crate::settings::{Command, Exec, Settings, Template, lay_path, signal};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// To run so.
    Run(Box<Settings>),
    /// For help.
    Help,
    /// For the version.
    Version,
}

/// One flag of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Without dashes.
    pub name: String,
    /// Its value; `None` for one that stands alone.
    pub value: Option<String>,
}

/// Cuts a command line into flags. `alone` are those that need no value.
///
/// # Errors
/// What is no flag, not known or lacks its value; words that follow are given to `rest`.
pub fn cut(
    words: &[String],
    known: &[&str],
    alone: &[&str],
) -> Result<(Vec<Flag>, Vec<String>), Error> {
    let usage = |what: String| Error::Usage { what };
    let mut flags = vec![];
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            let mut rest = vec![word.clone()];
            rest.extend(words.cloned());
            return Ok((flags, rest));
        };
        if name.is_empty() {
            return Ok((flags, words.cloned().collect()));
        }
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let is_alone = alone.contains(&name);
        if !is_alone && !known.contains(&name) {
            let near = known
                .iter()
                .chain(alone)
                .min_by_key(|flag| strsim::levenshtein(flag, name))
                .filter(|flag| strsim::levenshtein(flag, name) <= 3);
            let hint = near.map_or(String::new(), |near| format!(", did you mean -{near}?"));
            return Err(usage(format!("flag -{name} is not known{hint}")));
        }
        let value = match (value, is_alone) {
            (None, false) => {
                let next = words.next();
                Some(next.cloned().ok_or_else(|| usage(format!("flag -{name} lacks its value")))?)
            }
            (value, _) => value,
        };
        flags.push(Flag { name: name.to_owned(), value });
    }
    Ok((flags, vec![]))
}

/// A flag that stands alone, or says `=false`.
///
/// # Errors
/// When its value is neither.
pub fn switch(flag: &Flag) -> Result<bool, Error> {
    match flag.value.as_deref() {
        None | Some("true" | "1" | "t") => Ok(true),
        Some("false" | "0" | "f") => Ok(false),
        Some(other) => {
            Err(Error::Usage { what: format!("-{}: {other:?} is not true or false", flag.name) })
        }
    }
}

const ALONE: [&str; 15] = [
    "once",
    "dry",
    "dedup",
    "parse-only",
    "help",
    "h",
    "version",
    "v",
    "consul-ssl",
    "consul-ssl-verify",
    "consul-retry",
    "syslog",
    "log-file-rotate",
    "render-stderr",
    "exec-enabled",
];
const KNOWN: [&str; 37] = [
    "template",
    "config",
    "wait",
    "exec",
    "exec-kill-signal",
    "exec-kill-timeout",
    "exec-reload-signal",
    "exec-splay",
    "consul",
    "consul-addr",
    "consul-token",
    "consul-token-file",
    "consul-auth",
    "consul-namespace",
    "consul-ssl-ca-cert",
    "consul-ssl-ca-path",
    "consul-ssl-cert",
    "consul-ssl-key",
    "consul-ssl-server-name",
    "consul-retry-attempts",
    "consul-retry-backoff",
    "consul-retry-max-backoff",
    "retry",
    "kill-signal",
    "reload-signal",
    "log-level",
    "max-stale",
    "pid-file",
    "token",
    "block-query-wait",
    "default-left-delimiter",
    "default-right-delimiter",
    "syslog-facility",
    "syslog-name",
    "consul-transport-dial-timeout",
    "consul-transport-max-idle-conns-per-host",
    "vault-addr",
];

/// Settings by flags, files that they name and the environment (`CONSUL_HTTP_ADDR`,
/// `CONSUL_HTTP_TOKEN`, …), the first before the others.
///
/// # Errors
/// What is wrong on the command line or in a file.
pub fn read(words: &[String], env: &dyn Fn(&str) -> Option<String>) -> Result<Asked, Error> {
    let (flags, rest) = cut(words, &KNOWN, &ALONE)?;
    if let Some(word) = rest.first() {
        let what = format!("{word:?} is no flag; quote what belongs to one");
        return Err(Error::Usage { what });
    }
    let mut settings = Settings::default();
    of_environment(&mut settings, env);
    for flag in flags.iter().filter(|flag| flag.name == "config") {
        lay_path(&mut settings, Path::new(value(flag)))?;
    }
    // Flags about the child may come before the one that names it.
    for flag in flags.iter().filter(|flag| flag.name == "exec") {
        let command = Command::Shell(value(flag).to_owned());
        match &mut settings.exec {
            Some(exec) => exec.command = command,
            None => settings.exec = Some(Exec::new(command)),
        }
    }
    for flag in &flags {
        match flag.name.as_str() {
            "help" | "h" => return Ok(Asked::Help),
            "version" | "v" => return Ok(Asked::Version),
            "config" | "exec" => {}
            _ => one(&mut settings, flag)?,
        }
    }
    if settings.templates.is_empty() && settings.exec.is_none() {
        let what = "there is nothing to render: give -template in:out or -config file".into();
        return Err(Error::Usage { what });
    }
    Ok(Asked::Run(Box::new(settings)))
}

fn of_environment(settings: &mut Settings, env: &dyn Fn(&str) -> Option<String>) {
    let get = |name: &str| env(name).filter(|value| !value.is_empty());
    let consul = &mut settings.consul;
    let to = |name: &str, field: &mut String| {
        if let Some(value) = get(name) {
            *field = value;
        }
    };
    to("CONSUL_HTTP_ADDR", &mut consul.address);
    to("CONSUL_HTTP_TOKEN", &mut consul.token);
    to("CONSUL_HTTP_AUTH", &mut consul.auth);
    to("CONSUL_NAMESPACE", &mut consul.namespace);
    to("CONSUL_TLS_SERVER_NAME", &mut consul.tls.server_name);
    to("CONSUL_TEMPLATE_LOG", &mut settings.log_level);
    consul.tls.enabled = get("CONSUL_HTTP_SSL").is_some_and(|v| v == "true" || v == "1");
    consul.tls.verify = get("CONSUL_HTTP_SSL_VERIFY").is_none_or(|v| v != "false" && v != "0");
    consul.tls.ca_cert = get("CONSUL_CACERT").map(PathBuf::from);
    consul.tls.ca_path = get("CONSUL_CAPATH").map(PathBuf::from);
    consul.tls.cert = get("CONSUL_CLIENT_CERT").map(PathBuf::from);
    consul.tls.key = get("CONSUL_CLIENT_KEY").map(PathBuf::from);
}

fn value(flag: &Flag) -> &str {
    flag.value.as_deref().unwrap_or_default()
}

fn one(settings: &mut Settings, flag: &Flag) -> Result<(), Error> {
    let wrong = |what: String| Error::Usage { what: format!("-{}: {what}", flag.name) };
    let text = || value(flag).to_owned();
    let path = || Some(PathBuf::from(value(flag)));
    let time = || -> Result<Duration, Error> {
        crate::duration::parse(value(flag))
            .ok_or_else(|| wrong(format!("{:?} is no duration like 5s", value(flag))))
    };
    let consul = &mut settings.consul;
    match flag.name.as_str() {
        "template" => settings.templates.push(Template::parse(value(flag)).map_err(wrong)?),
        "wait" => settings.wait = Some(Wait::parse(value(flag)).map_err(wrong)?),
        "once" => settings.once = switch(flag)?,
        "dry" => settings.dry = switch(flag)?,
        "dedup" => settings.deduplicate = switch(flag)?,
        "parse-only" => settings.parse_only = switch(flag)?,
        "consul" | "consul-addr" => consul.address = text(),
        "token" | "consul-token" => consul.token = text(),
        "consul-token-file" => {
            let path = PathBuf::from(value(flag));
            let token = std::fs::read_to_string(&path);
            let token = token.map_err(|source| Error::Read { path, source })?;
            consul.token = token.trim().to_owned();
        }
        "consul-auth" => consul.auth = text(),
        "consul-namespace" => consul.namespace = text(),
        "consul-ssl" => consul.tls.enabled = switch(flag)?,
        "consul-ssl-verify" => consul.tls.verify = switch(flag)?,
        "consul-ssl-ca-cert" => consul.tls.ca_cert = path(),
        "consul-ssl-ca-path" => consul.tls.ca_path = path(),
        "consul-ssl-cert" => consul.tls.cert = path(),
        "consul-ssl-key" => consul.tls.key = path(),
        "consul-ssl-server-name" => consul.tls.server_name = text(),
        "consul-retry" => consul.retry.enabled = switch(flag)?,
        "consul-retry-attempts" => {
            let n = value(flag).parse().map_err(|e| wrong(format!("{e}")))?;
            consul.retry.attempts = Some(n);
        }
        "retry" | "consul-retry-backoff" => consul.retry.backoff = time()?,
        "consul-retry-max-backoff" => consul.retry.backoff_max = time()?,
        "kill-signal" => {
            settings.kill_signals = signal(value(flag)).map_err(wrong)?.into_iter().collect();
            settings.kill_signals.push(rustix::process::Signal::TERM);
        }
        "reload-signal" => {
            settings.reload_signals = signal(value(flag)).map_err(wrong)?.into_iter().collect();
        }
        "log-level" => settings.log_level = text().to_ascii_lowercase(),
        "max-stale" => settings.max_stale = time()?,
        "block-query-wait" => settings.block_wait = time()?,
        "pid-file" => settings.pid_file = path(),
        "default-left-delimiter" => settings.delimiters.0 = text(),
        "default-right-delimiter" => settings.delimiters.1 = text(),
        name if name.starts_with("exec-") => return of_exec(settings, flag, time),
        name => settings.ignored.push(format!("-{name}")),
    }
    Ok(())
}

fn of_exec(
    settings: &mut Settings,
    flag: &Flag,
    time: impl Fn() -> Result<Duration, Error>,
) -> Result<(), Error> {
    let wrong = |what: String| Error::Usage { what: format!("-{}: {what}", flag.name) };
    let Some(exec) = &mut settings.exec else {
        return Err(wrong("there is no command: give -exec too".into()));
    };
    match flag.name.as_str() {
        "exec-kill-signal" => {
            let signal = signal(value(flag)).map_err(wrong)?;
            exec.kill_signal = signal.unwrap_or(rustix::process::Signal::TERM);
        }
        "exec-kill-timeout" => exec.kill_timeout = time()?,
        "exec-reload-signal" => exec.reload_signal = signal(value(flag)).map_err(wrong)?,
        "exec-splay" => exec.splay = time()?,
        _ => {
            if !switch(flag)? {
                settings.exec = None;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::Signal;

    fn run(line: &[&str]) -> Result<Settings, Error> {
        let words: Vec<String> = line.iter().map(|w| (*w).to_owned()).collect();
        let env = |name: &str| (name == "CONSUL_HTTP_ADDR").then(|| "env:8500".to_owned());
        match read(&words, &env)? {
            Asked::Run(settings) => Ok(*settings),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_dash_and_two_with_and_without_equals_are_the_same() {
        for line in [
            ["-template", "a:b:c d", "-once", "-wait", "1s:2s"].as_slice(),
            &["--template", "a:b:c d", "--once", "--wait=1s:2s"],
            &["-template=a:b:c d", "-once=true", "--wait", "1s:2s"],
        ] {
            let settings = run(line).unwrap();
            assert_eq!(settings.templates, [Template::parse("a:b:c d").unwrap()]);
            assert!(settings.once);
            assert_eq!(settings.wait, Some(Wait::parse("1s:2s").unwrap()));
            assert_eq!(settings.consul.address, "env:8500");
        }
    }

    #[test]
    fn flags_lie_over_files_and_those_over_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.hcl");
        let text = "consul { address = \"file:1\" token = \"f\" }\nexec { command = \"old\" }";
        std::fs::write(&file, text).unwrap();
        let file = file.display().to_string();
        let settings = run(&["-consul-addr", "flag:1", "-config", &file]).unwrap();
        assert_eq!((&*settings.consul.address, &*settings.consul.token), ("flag:1", "f"));
        let settings =
            run(&["-config", &file, "-exec", "new", "-exec-reload-signal", "SIGHUP"]).unwrap();
        let exec = settings.exec.unwrap();
        assert_eq!(exec.command, Command::Shell("new".into()));
        assert_eq!(exec.reload_signal, Some(Signal::HUP));
        assert_eq!(settings.consul.address, "file:1");
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (line, part) in [
            (["-templat", "x"].as_slice(), "did you mean -template?"),
            (&["-template"], "lacks its value"),
            (&["-template", "x"], "not in:out"),
            (&["-once"], "nothing to render"),
            (&["-template", "a:b", "word"], "\"word\" is no flag"),
            (&["-template", "a:b", "-once=perhaps"], "not true or false"),
            (&["-exec-splay", "1s"], "give -exec too"),
            (&["-template", "a:b", "-max-stale", "5"], "no duration"),
        ] {
            let error = run(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line:?}: {error}");
        }
    }
}
