//! `remuda template` and `remuda confd`, also as `consul-template` and `confd`: their flags are
//! those of the originals, with one dash, and are not read by clap.

use crate::exit::{Failure, Outcome, USAGE};
use crate::{output, telemetry};
use std::ffi::OsString;
use std::path::Path;
use template::{Error, confd, flags, runner};

/// A command whose flags are read by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applet {
    /// `remuda template …` or `consul-template …`.
    Template(Vec<String>),
    /// `remuda confd …` or `confd …`.
    Confd(Vec<String>),
}

/// Which of them a command line calls, by the name of the program or its first word.
#[must_use]
pub(crate) fn called(words: &[OsString]) -> Option<Applet> {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let name = Path::new(words.first()?).file_name().unwrap_or_default().to_string_lossy();
    let after = |n: usize| words.iter().skip(n).map(text).collect();
    match &*name {
        "consul-template" => return Some(Applet::Template(after(1))),
        "confd" => return Some(Applet::Confd(after(1))),
        _ => {}
    }
    match words.get(1)?.to_str()? {
        "template" => Some(Applet::Template(after(2))),
        "confd" => Some(Applet::Confd(after(2))),
        _ => None,
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn failure(error: &Error) -> Failure {
    let code = match error {
        Error::Usage { .. }
        | Error::Config { .. }
        | Error::Parse { .. }
        | Error::Address { .. } => USAGE,
        _ => crate::exit::ERROR,
    };
    Failure::Message { code, message: template::error::chain(error), hint: String::new() }
}

/// Runs it to its end.
///
/// # Errors
/// Its failure; an exit code that is not 0 with everything said.
pub(crate) async fn run(applet: Applet) -> Outcome {
    let code = match applet {
        Applet::Template(words) => templates(words).await,
        Applet::Confd(words) => keys(words).await,
    };
    match code {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Code(code)),
        Err(error) => Err(failure(&error)),
    }
}

async fn templates(words: Vec<String>) -> Result<u8, Error> {
    let settings = match flags::read(&words, &env)? {
        flags::Asked::Help => {
            output::line(TEMPLATE_HELP);
            return Ok(0);
        }
        flags::Asked::Version => {
            output::line(&format!("consul-template of remuda {}", env!("CARGO_PKG_VERSION")));
            return Ok(0);
        }
        flags::Asked::Run(settings) => settings,
    };
    telemetry::init_applet(&settings.log_level);
    let again = || match flags::read(&words, &env)? {
        flags::Asked::Run(settings) => Ok(*settings),
        flags::Asked::Help | flags::Asked::Version => {
            Err(Error::Usage { what: "there is nothing to run".into() })
        }
    };
    runner::run(*settings, &again).await
}

async fn keys(words: Vec<String>) -> Result<u8, Error> {
    let options = match confd::read(&words, &env)? {
        confd::Asked::Help => {
            output::line(CONFD_HELP);
            return Ok(0);
        }
        confd::Asked::Version => {
            output::line(&format!("confd of remuda {}", env!("CARGO_PKG_VERSION")));
            return Ok(0);
        }
        confd::Asked::Run(options) => options,
    };
    telemetry::init_applet(&options.log_level);
    let again = || match confd::read(&words, &env)? {
        confd::Asked::Run(options) => Ok(*options),
        confd::Asked::Help | confd::Asked::Version => {
            Err(Error::Usage { what: "there is nothing to run".into() })
        }
    };
    confd::run(*options, &again).await
}

const TEMPLATE_HELP: &str = "Render files from the catalog and the keys, again whenever they change

Usage: remuda template [flags]        (also as a program called consul-template)

  -template in:out[:command]   a template; several times for more
  -config file|folder          settings in HCL or JSON; several are laid over each other
  -once                        render once, run the commands, end
  -dry                         print instead of writing; run nothing
  -parse-only                  read settings and templates, say what is wrong
  -wait min[:max]              wait for quiet before a file is replaced, but not longer than max
  -exec command                run a child, tell it of changes, end with it
  -exec-reload-signal, -exec-kill-signal, -exec-kill-timeout, -exec-splay
  -consul-addr address         127.0.0.1:8500, http(s)://…, unix:///… [CONSUL_HTTP_ADDR]
  -consul-token, -consul-token-file, -consul-auth, -consul-namespace
  -consul-ssl, -consul-ssl-verify, -consul-ssl-ca-cert, -consul-ssl-ca-path, -consul-ssl-cert,
  -consul-ssl-key, -consul-ssl-server-name
  -consul-retry, -consul-retry-attempts, -consul-retry-backoff, -consul-retry-max-backoff, -retry
  -max-stale duration          how old an answer may be; 0s asks the leader [2s]
  -kill-signal, -reload-signal, -pid-file, -log-level, -dedup, -version

Exit codes: 0 done, 1 something failed, 2 usage, 130 interrupted; with -exec the child's.
Functions, settings and what differs from consul-template: docs/templates.md";

const CONFD_HELP: &str = "Render files from Rancher's metadata or Consul's keys by confd's conf.d

Usage: remuda confd [flags]           (also as a program called confd)

  -backend rancher|consul
  -node address                [rancher-metadata or 127.0.0.1:8500]; several are tried in order
  -prefix path                 before every key, for example /latest
  -confdir folder              has conf.d/*.toml and templates/ [/etc/confd]
  -config-file file            [confd.toml in the folder]
  -interval seconds            between two looks [600]
  -watch                       look when something changed instead
  -onetime                     look once, then end
  -noop                        say what would change
  -sync-only                   write, but run no reload command
  -scheme http|https, -auth-token token, -log-level level, -version

Exit codes: 0 done, 1 something failed, 2 usage, 130 interrupted.
Functions and what differs from confd: docs/templates.md";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_name_or_its_first_word_says_what_is_called() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let rest = |line: &str| line.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
        for (line, expect) in [
            ("/usr/bin/consul-template -once", Some(Applet::Template(rest("-once")))),
            ("remuda template -config x", Some(Applet::Template(rest("-config x")))),
            ("confd -onetime", Some(Applet::Confd(rest("-onetime")))),
            ("./remuda confd -watch", Some(Applet::Confd(rest("-watch")))),
            ("remuda up", None),
            ("remuda", None),
        ] {
            assert_eq!(called(&words(line)), expect, "{line}");
        }
    }
}
