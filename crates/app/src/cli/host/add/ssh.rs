//! The system's `ssh`: one connection a machine, over which every command goes. Keys, agent,
//! known hosts and configuration are those of the user.

use super::decide::Problem;
use super::target::Target;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::process::{Child, ChildStdin, Command};

/// Longest wait for a connection where nobody types a password.
const CONNECT: Duration = Duration::from_secs(30);
/// The same where somebody may.
const CONNECT_ASKED: Duration = Duration::from_secs(300);
/// What a machine may say to one command, in bytes, on each stream.
const SAID_BYTES_MAX: u64 = 1024 * 1024;
/// Lines of what ssh says that are kept.
const LINES_KEPT: usize = 100;
/// Said by the machine when commands can be run.
const READY: &str = "remuda-ready";
/// Held open for as long as the connection lives; a constant, so that no shell can misread it.
const HOLD: &str = "echo remuda-ready; exec cat";

/// How machines are reached.
#[derive(Clone, Debug, Default)]
pub(super) struct Login {
    /// Private key.
    pub(super) identity: Option<PathBuf>,
    /// Instead of the user's configuration.
    pub(super) config: Option<PathBuf>,
    /// The key that an unknown machine shows is taken for its own.
    pub(super) accept_new: bool,
    /// Somebody is there to type a password.
    pub(super) can_ask: bool,
}

impl Login {
    /// The options of every call, and the machine.
    fn words(&self, target: &Target, socket: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["-T".into(), "-a".into(), "-x".into()];
        let socket = socket.to_string_lossy().replace('%', "%%");
        let key = match (self.accept_new, self.can_ask) {
            (true, _) => "accept-new",
            (false, true) => "ask",
            (false, false) => "yes",
        };
        let batch = if self.can_ask { "no" } else { "yes" };
        for option in [
            format!("ControlPath={socket}"),
            format!("StrictHostKeyChecking={key}"),
            format!("BatchMode={batch}"),
            "ControlPersist=no".into(),
            "ConnectTimeout=10".into(),
            "ServerAliveInterval=5".into(),
            "ServerAliveCountMax=3".into(),
            "ClearAllForwardings=yes".into(),
            "PermitLocalCommand=no".into(),
            "RemoteCommand=none".into(),
        ] {
            words.extend(["-o".into(), option.into()]);
        }
        if let Some(config) = &self.config {
            words.extend(["-F".into(), config.into()]);
        }
        if let Some(identity) = &self.identity {
            words.extend(["-i".into(), identity.into()]);
        }
        if let Some(port) = target.port {
            words.extend(["-p".into(), port.to_string().into()]);
        }
        if let Some(user) = &target.user {
            words.extend(["-l".into(), user.into()]);
        }
        // What comes now can be no option, whatever it is.
        words.extend(["--".into(), target.address.clone().into()]);
        words
    }
}

/// What goes to a command.
pub(super) enum Input<'a> {
    /// Text: a script, or a token.
    Text(&'a str),
    /// A file that is open at its beginning.
    File(std::fs::File),
}

/// A connection; it ends when this is dropped.
pub(super) struct Session {
    target: Target,
    words: Vec<OsString>,
    master: Child,
    _hold: Option<ChildStdin>,
}

impl Session {
    /// Connects. `socket` is a path in a folder of our own.
    ///
    /// # Errors
    /// Why there is no connection, and what to do.
    pub(super) async fn open(
        login: &Login,
        target: &Target,
        socket: &Path,
    ) -> Result<Self, Problem> {
        let words = login.words(target, socket);
        let mut command = Command::new("ssh");
        // The key that the machine shows is told at this level only.
        command.args(["-v", "-o", "ControlMaster=yes"]).args(&words).arg(HOLD);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut master = command.kill_on_drop(true).spawn().map_err(|error| no_ssh(&error))?;
        let hold = master.stdin.take();
        let said = master.stderr.take().map(|stream| tokio::spawn(last_lines(stream)));
        let patience = if login.can_ask { CONNECT_ASKED } else { CONNECT };
        let ready = match master.stdout.take() {
            Some(stdout) => tokio::time::timeout(patience, ready(stdout)).await,
            None => Ok(false),
        };
        match ready {
            Ok(true) => Ok(Self { target: target.clone(), words, master, _hold: hold }),
            Ok(false) => {
                drop(hold);
                let said = match said {
                    Some(said) => said.await.unwrap_or_default(),
                    None => vec![],
                };
                Err(explain(&said, target, login))
            }
            Err(_elapsed) => Err(Problem::new(
                format!("no login in {} s", patience.as_secs()),
                format!("try it by hand: ssh {}", by_hand(target)),
            )),
        }
    }

    /// Runs a command there; what it printed.
    ///
    /// # Errors
    /// When it fails, with the last that it said, or takes too long.
    pub(super) async fn run(
        &self,
        what: &str,
        command: &str,
        input: Input<'_>,
        patience: Duration,
    ) -> Result<String, Problem> {
        let in_time = tokio::time::timeout(patience, self.output(command, input)).await;
        let output = match in_time {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(no_ssh(&error)),
            Err(_elapsed) => {
                return Err(Problem::new(
                    format!("{what}: not done in {} s", patience.as_secs()),
                    "look what the machine is busy with, then run the same command again",
                ));
            }
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let (why, hint) = why(&output);
        let next = hint.unwrap_or_else(|| self.next(output.status.code()));
        Err(Problem::new(format!("{what}: {why}"), next))
    }

    async fn output(&self, command: &str, input: Input<'_>) -> std::io::Result<Output> {
        let mut ssh = Command::new("ssh");
        ssh.args(["-o", "ControlMaster=no"]).args(&self.words).arg(command);
        ssh.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let text = match input {
            Input::File(file) => {
                ssh.stdin(file);
                ""
            }
            Input::Text(text) => {
                ssh.stdin(Stdio::piped());
                text
            }
        };
        let mut child = ssh.spawn()?;
        let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // Who does not read to the end says why on stderr.
                let _unread = stdin.write_all(text.as_bytes()).await;
            }
        };
        let ((), stdout, stderr) = tokio::join!(feed, all(out), all(err));
        let status = child.wait().await?;
        Ok(Output { status, stdout: stdout?, stderr: stderr? })
    }

    fn next(&self, code: Option<i32>) -> String {
        let target = by_hand(&self.target);
        match code {
            Some(255) | None => {
                format!("the connection broke: run the same command again; by hand: ssh {target}")
            }
            Some(_) => format!("look there: ssh {target}; then run the same command again"),
        }
    }

    /// Ends the connection in good order.
    pub(super) async fn close(mut self) {
        drop(self._hold.take());
        if tokio::time::timeout(Duration::from_secs(2), self.master.wait()).await.is_err() {
            tracing::debug!(target = %self.target, "ssh does not end by itself and is killed");
        }
    }
}

/// All that comes out of a stream, and not without bound: ssh ends when nobody reads on.
async fn all(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![];
    if let Some(stream) = stream {
        stream.take(SAID_BYTES_MAX).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn no_ssh(error: &std::io::Error) -> Problem {
    Problem::new(
        format!("ssh cannot be started here: {error}"),
        "install it: apt-get install openssh-client",
    )
}

/// The words of a person that reach the machine.
fn by_hand(target: &Target) -> String {
    let port = target.port.map_or_else(String::new, |port| format!("-p {port} "));
    format!("{port}{}", Target { port: None, ..target.clone() })
}

/// Did the machine say that it is ready, whatever its login scripts said before?
async fn ready(stdout: impl AsyncRead + Unpin) -> bool {
    let mut lines = BufReader::new(stdout.take(SAID_BYTES_MAX)).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        if line.trim_ascii_end().ends_with(READY.as_bytes()) {
            return true;
        }
    }
    false
}

/// What ssh says, until it ends.
async fn last_lines(stream: impl AsyncRead + Unpin) -> Vec<String> {
    let mut lines = BufReader::new(stream.take(SAID_BYTES_MAX)).split(b'\n');
    let mut kept = std::collections::VecDeque::new();
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !line.starts_with("debug1: ") || line.starts_with(SHOWN_KEY) {
            kept.push_back(line);
        }
        if kept.len() > LINES_KEPT {
            kept.pop_front();
        }
    }
    kept.into()
}

/// What ssh says before the key that a machine shows.
const SHOWN_KEY: &str = "debug1: Server host key: ";

/// Why a command failed, the last that it said, and the hint that one of our own errors has.
fn why(output: &Output) -> (String, Option<String>) {
    use crate::output::harmless;
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let hint = lines().find_map(|line| line.strip_prefix("hint: ")).map(harmless);
    let ours = lines().rev().find_map(|line| line.strip_prefix("error: "));
    match ours.or_else(|| lines().next_back()) {
        Some(line) => (harmless(line), hint),
        None => (format!("it ended with {}", output.status), hint),
    }
}

/// What ssh said, as reason and next step.
fn explain(said: &[String], target: &Target, login: &Login) -> Problem {
    let has = |part: &str| said.iter().any(|line| line.contains(part));
    let shown = said.iter().find_map(|line| line.strip_prefix(SHOWN_KEY));
    let shown =
        shown.map_or_else(String::new, |key| format!(" ({})", crate::output::harmless(key)));
    let hand = by_hand(target);
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") || has("has changed and you have requested") {
        return Problem::new(
            format!(
                "it shows another host key than the known one{shown}: somebody may be in between"
            ),
            format!(
                "only if you know why the key is new (reinstalled): ssh-keygen -R '{}', then compare \
                 the fingerprint as for a new machine",
                known_as(target)
            ),
        );
    }
    if has("Host key verification failed") {
        return Problem::new(
            format!("its host key is not known here{shown}"),
            format!(
                "compare that fingerprint with what the machine itself says (at its console: \
                 ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then answer yes to `ssh {hand}`; \
                 or add --accept-new-host-key, which trusts the network this once"
            ),
        );
    }
    if has("Permission denied") || has("Too many authentication failures") {
        let asked = match login.can_ask {
            true => "",
            false => "; a password is asked for only at a terminal, and for one host at a time",
        };
        return Problem::new(
            "it lets nobody in with these keys",
            format!("ssh-copy-id {hand}, or name a key with --identity FILE{asked}"),
        );
    }
    let ours = |line: &&String| !line.is_empty() && !line.starts_with("debug");
    let last = said.iter().rev().find(ours).map_or("ssh ended", String::as_str);
    let last = crate::output::harmless(last.trim_start_matches("ssh: "));
    let next = if has("Could not resolve hostname") {
        "is the name right? an address does as well".to_owned()
    } else if has("connect to host") || has("timed out") || has("No route to host") {
        format!("is the machine on, and does sshd listen there? by hand: ssh {hand}")
    } else {
        format!("try it by hand: ssh {hand}")
    };
    Problem::new(last, next)
}

/// How `known_hosts` names it.
fn known_as(target: &Target) -> String {
    match target.port {
        Some(port) if port != 22 => format!("[{}]:{port}", target.address),
        _ => target.address.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap()
    }

    #[test]
    fn the_machine_stands_behind_the_end_of_the_options() {
        let login = Login { identity: Some("-key".into()), ..Login::default() };
        let words = login.words(&target("ops@node:2222"), Path::new("/tmp/a%b/0"));
        let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
        let tail = ["-i", "-key", "-p", "2222", "-l", "ops", "--", "node"];
        assert_eq!(words[words.len() - tail.len()..], tail);
        assert!(words.contains(&"StrictHostKeyChecking=yes") && words.contains(&"BatchMode=yes"));
        assert!(words.contains(&"ControlPath=/tmp/a%%b/0"), "{words:?}");
        let asks = Login { can_ask: true, ..Login::default() };
        let words = asks.words(&target("node"), Path::new("/s"));
        assert!(words.contains(&"StrictHostKeyChecking=ask".into()), "{words:?}");
        let trusts = Login { accept_new: true, ..asks };
        let words = trusts.words(&target("node"), Path::new("/s"));
        assert!(words.contains(&"StrictHostKeyChecking=accept-new".into()), "{words:?}");
    }

    #[test]
    fn what_ssh_says_becomes_a_reason_and_a_next_step() {
        let key = "debug1: Server host key: ssh-ed25519 SHA256:abc";
        for (said, reason, next) in [
            (
                &[key, "Host key verification failed."][..],
                "not known here (ssh-ed25519 SHA256:abc)",
                "ssh-keygen -lf /etc/ssh",
            ),
            (
                &[
                    "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @",
                    "Host key verification failed.",
                ],
                "another host key",
                "ssh-keygen -R '[node]:2222'",
            ),
            (&["ops@node: Permission denied (publickey)."], "lets nobody in", "--identity"),
            (
                &["ssh: connect to host node port 2222: Connection refused"],
                "connect to host node port 2222: Connection refused",
                "is the machine on",
            ),
            (
                &["ssh: Could not resolve hostname node: Name or service not known"],
                "Could not resolve",
                "is the name right",
            ),
            (&["Bad owner or permissions on x", ""], "Bad owner", "ssh -p 2222 ops@node"),
            (&[], "ssh ended", "by hand"),
        ] {
            let said: Vec<String> = said.iter().map(|line| (*line).to_owned()).collect();
            let problem = explain(&said, &target("ops@node:2222"), &Login::default());
            assert!(problem.reason.contains(reason), "{problem:?} should say {reason}");
            assert!(problem.next.contains(next), "{problem:?} should say {next}");
        }
    }

    #[tokio::test]
    async fn what_a_login_script_says_does_not_matter() {
        assert!(ready(&b"Welcome!\nto-day: remuda-ready\r\nmore"[..]).await);
        assert!(!ready(&b"This account is not available.\n"[..]).await);
        let said = last_lines(&b"debug1: noise\ndebug1: Server host key: k\nwhy\n"[..]).await;
        assert_eq!(said, ["debug1: Server host key: k", "why"]);
    }
}
