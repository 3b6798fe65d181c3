//! Why a template, its configuration or what it asks for cannot be had.

use std::path::PathBuf;

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag is wrong.
    #[error("{what}; see `remuda template -help`")]
    Usage {
        /// Which, and why.
        what: String,
    },
    /// A configuration file is wrong.
    #[error("{}:{line}: {what}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What, and what is expected.
        what: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("{} cannot be written ({doing})", path.display())]
    Write {
        /// The destination.
        path: PathBuf,
        /// Which step.
        doing: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file or a text is larger than the limit.
    #[error("{what} has more than {max} bytes")]
    TooLarge {
        /// Which.
        what: String,
        /// The limit.
        max: usize,
    },
    /// A template cannot be parsed.
    #[error("{name}: {why}")]
    Parse {
        /// The template.
        name: String,
        /// Why, with line and column.
        why: String,
    },
    /// A template cannot be rendered with what is known.
    #[error("{name}: {why}")]
    Render {
        /// The template.
        name: String,
        /// Why.
        why: String,
    },
    /// An address is none.
    #[error(
        "address {address:?} is wrong: {why}; write 127.0.0.1:8500, http://…, https://… or unix:///…"
    )]
    Address {
        /// As given.
        address: String,
        /// Why.
        why: String,
    },
    /// A certificate or key cannot be used.
    #[error("{what} cannot be used: {why}")]
    Tls {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// A program cannot be started.
    #[error("{command} cannot be started")]
    Start {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A command failed or took too long.
    #[error("{command} {how}{}", told(output))]
    Command {
        /// The command.
        command: String,
        /// How it ended.
        how: String,
        /// The end of what it wrote.
        output: String,
    },
    /// A server does not answer, or not as it should.
    #[error("{address}: {why}")]
    Server {
        /// Who.
        address: String,
        /// Why.
        why: String,
    },
    /// A server does not show all of an answer: rights are missing.
    #[error("{query}: the anonymous token may not see all of it: give it a policy")]
    Hidden {
        /// The question.
        query: String,
    },
    /// Signals cannot be taken.
    #[error("signals cannot be taken")]
    Signals(#[source] std::io::Error),
}

fn told(output: &str) -> String {
    let output = output.trim_end();
    if output.is_empty() { String::new() } else { format!("; its output:\n{output}") }
}

/// The whole chain in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_told_with_its_output() {
        let error = Error::Command {
            command: "nginx -t".into(),
            how: "ended with code 1".into(),
            output: "no such upstream\n".into(),
        };
        assert_eq!(error.to_string(), "nginx -t ended with code 1; its output:\nno such upstream");
        let source = std::io::Error::other("full");
        let error = Error::Write { path: "/a".into(), doing: "fsync", source };
        assert_eq!(chain(&error), "/a cannot be written (fsync): full");
    }
}
