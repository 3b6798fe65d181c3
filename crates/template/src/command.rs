//! Commands after a change, and checks before one: in a process group of their own, which ends
//! with its time. What they wrote is kept, to be told when they fail.

use crate::error::Error;
use crate::settings::Command;
use model::limits::TEMPLATE_COMMAND_OUTPUT_BYTES_MAX;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How long output is read on when the command has ended and a child of it keeps the pipe.
const DRAIN: Duration = Duration::from_millis(200);

/// Names of the staged file in a check; confd's are with them.
const PLACES: [&str; 6] =
    ["{{.Path}}", "{{ .Path }}", "{{.src}}", "{{ .src }}", "{{.Src}}", "{{ .Src }}"];

/// Does the command name the staged file?
#[must_use]
pub fn names_file(command: &Command) -> bool {
    let has = |text: &String| PLACES.iter().any(|place| text.contains(place));
    match command {
        Command::Shell(line) => has(line),
        Command::Words(words) => words.iter().any(has),
    }
}

/// The command with the staged file where it names it.
#[must_use]
pub fn with_file(command: &Command, file: &Path) -> Command {
    let file = file.display().to_string();
    let filled = |text: &str, file: &str| {
        PLACES.iter().fold(text.to_owned(), |text, place| text.replace(place, file))
    };
    match command {
        Command::Shell(line) => {
            let quoted = format!("'{}'", file.replace('\'', "'\\''"));
            Command::Shell(filled(line, &quoted))
        }
        Command::Words(words) => {
            Command::Words(words.iter().map(|word| filled(word, &file)).collect())
        }
    }
}

/// A process that is about to be started.
#[must_use]
pub fn process(command: &Command, env: &[(String, String)]) -> tokio::process::Command {
    let (program, arguments): (&str, Vec<&str>) = match command {
        Command::Shell(line) => ("sh", vec!["-c", line]),
        Command::Words(words) => match words.split_first() {
            Some((program, rest)) => (program, rest.iter().map(String::as_str).collect()),
            None => ("", vec![]),
        },
    };
    let mut process = tokio::process::Command::new(program);
    process.args(arguments).envs(env.iter().map(|(k, v)| (k, v))).kill_on_drop(true);
    process
}

/// Ends the whole group when the wait for it is given up.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take()
            && let Err(error) = kill_process_group(pid, Signal::KILL)
        {
            tracing::debug!(%error, "the command's group is gone");
        }
    }
}

/// Runs a command to its end; its output, cut to the last of it.
///
/// # Errors
/// `Error::Start`; `Error::Command` when it fails or takes longer than `timeout`, which ends it.
pub async fn run(
    command: &Command,
    env: &[(String, String)],
    timeout: Duration,
) -> Result<String, Error> {
    let failed =
        |how: String, output: String| Error::Command { command: command.to_string(), how, output };
    let mut child = process(command, env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|source| Error::Start { command: command.to_string(), source })?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(pid);
    let kept: Kept = Arc::default();
    let readers = [
        child.stdout.take().map(|from| tokio::task::spawn(read(from, Arc::clone(&kept)))),
        child.stderr.take().map(|from| tokio::task::spawn(read(from, Arc::clone(&kept)))),
    ];
    let ended = tokio::time::timeout(timeout, child.wait()).await;
    if ended.is_ok() {
        // What it left running in its group goes on: it may have started a service.
        group.0 = None;
    }
    drop(group);
    for mut reader in readers.into_iter().flatten() {
        if tokio::time::timeout(DRAIN, &mut reader).await.is_err() {
            reader.abort();
        }
    }
    let output = {
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept.iter().copied().collect::<Vec<u8>>()).into_owned()
    };
    match ended {
        Err(_late) => Err(failed(format!("took longer than {timeout:?} and was ended"), output)),
        Ok(Err(source)) => Err(Error::Start { command: command.to_string(), source }),
        Ok(Ok(status)) if status.success() => Ok(output),
        Ok(Ok(status)) => {
            let how = match status.code() {
                Some(code) => format!("ended with code {code}"),
                None => format!("ended by {status}"),
            };
            Err(failed(how, output))
        }
    }
}

/// The last bytes of both streams. Locked only to add to it or to take it.
type Kept = Arc<Mutex<VecDeque<u8>>>;

async fn read(mut from: impl AsyncRead + Unpin, kept: Kept) {
    let mut buffer = [0_u8; 4096];
    while let Ok(n) = from.read(&mut buffer).await {
        if n == 0 {
            return;
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(buffer.iter().take(n));
        let over = kept.len().saturating_sub(TEMPLATE_COMMAND_OUTPUT_BYTES_MAX);
        kept.drain(..over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Command {
        Command::Shell(line.to_owned())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_failure_is_told_with_code_and_output() {
        let out = run(&shell("echo $A; echo two >&2"), &[("A".into(), "one".into())], LONG).await;
        let out = out.unwrap();
        assert!(out.contains("one\n") && out.contains("two\n"), "{out}");
        let error = run(&shell("echo why; exit 3"), &[], LONG).await.unwrap_err().to_string();
        assert!(error.contains("ended with code 3") && error.ends_with("why"), "{error}");
        let none = Command::Words(vec!["/no/such/program".into()]);
        assert!(matches!(run(&none, &[], LONG).await, Err(Error::Start { .. })));
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let line = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let error = run(&shell(&line), &[], Duration::from_millis(500)).await.unwrap_err();
        assert!(error.to_string().contains("took longer than 500ms"), "{error}");
        let pid = std::fs::read_to_string(file).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let goes_on = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        // Its pipes are closed before it is dead.
        let begun = std::time::Instant::now();
        while goes_on() {
            assert!(begun.elapsed() < LONG, "the sleep goes on");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_service_that_it_leaves_does_not_hold_it() {
        let begun = std::time::Instant::now();
        let out = run(&shell("sleep 20 & echo started"), &[], LONG).await.unwrap();
        assert_eq!(out, "started\n");
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn much_output_is_cut_to_its_end() {
        let out = run(&shell("seq 1 200000; echo end"), &[], LONG).await.unwrap();
        assert_eq!(out.len(), TEMPLATE_COMMAND_OUTPUT_BYTES_MAX);
        assert!(out.ends_with("200000\nend\n"));
    }

    #[test]
    fn a_check_names_the_staged_file() {
        assert!(names_file(&shell("nginx -t -c {{.Path}}")));
        assert!(!names_file(&shell("nginx -t")));
        let file = Path::new("/a b'c");
        assert_eq!(with_file(&shell("x {{ .src }}"), file), shell("x '/a b'\\''c'"));
        let words = Command::Words(vec!["x".into(), "-c{{.Path}}".into()]);
        assert_eq!(with_file(&words, file), Command::Words(vec!["x".into(), "-c/a b'c".into()]));
    }
}
