//! Programs of others, run to their end, and waiting for a condition with a deadline.

use crate::error::{Error, Result};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// The command as one would type it.
#[must_use]
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs it; what it printed on stdout.
///
/// # Errors
/// When it does not start or does not succeed.
pub fn text(command: &mut Command) -> Result<String> {
    let failed = |why: String| Error::Run { command: String::new(), why };
    let output = command.stdin(Stdio::null()).output();
    let outcome = output.map_err(|e| failed(e.to_string())).and_then(|output| {
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(failed(format!("{}: {}", output.status, said.trim())))
    });
    outcome.map_err(|error| match error {
        Error::Run { why, .. } => Error::Run { command: shown(command), why },
        other => other,
    })
}

/// Runs it with `input` on stdin.
///
/// # Errors
/// When it does not start or does not succeed.
pub fn feed(command: &mut Command, input: &str) -> Result {
    let mut file = tempfile::tempfile().map_err(Error::file("made", &std::env::temp_dir()))?;
    std::io::Write::write_all(&mut file, input.as_bytes())
        .and_then(|()| std::io::Seek::rewind(&mut file))
        .map_err(Error::file("written", &std::env::temp_dir()))?;
    let output = command.stdin(file).output();
    let output = output.map_err(|e| Error::Run { command: shown(command), why: e.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    let why = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Err(Error::Run { command: shown(command), why })
}

/// Looks again and again until `look` gives something.
///
/// # Errors
/// `Error::Timeout` after `patience`, or what `look` failed with.
pub fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            let (what, secs) = (what.to_owned(), patience.as_secs());
            return Err(Error::Timeout { what, secs, tail: String::new() });
        }
        std::thread::park_timeout(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_command_and_words() {
        let error = text(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("sh -c") && error.contains("why"), "{error}");
        let error = text(&mut Command::new("no-such-program")).unwrap_err().to_string();
        assert!(error.contains("no-such-program"), "{error}");
        feed(Command::new("grep").arg("in"), "it is in\n").unwrap();
        assert!(feed(Command::new("grep").arg("out"), "it is in\n").is_err());
    }

    #[test]
    fn waiting_ends() {
        let mut looks = 0;
        let found = wait_for("three", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
        let error = wait_for::<()>("never", Duration::ZERO, || Ok(None)).unwrap_err();
        assert!(error.to_string().contains("in vain for never"));
    }
}
