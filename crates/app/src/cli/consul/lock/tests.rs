//! The lock over an API that fails as a test wants it.

use super::*;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Renewals follow each other at once.
const FAST: Pace = Pace {
    renew: Duration::from_millis(1),
    trust: Duration::from_secs(60),
    again: Duration::from_millis(1),
    answer: Duration::from_secs(60),
    kill: Duration::from_secs(60),
};

/// What was asked, in order, and how the next renewals and watches end.
#[derive(Default)]
struct Told {
    asked: Vec<String>,
    renewed: usize,
    /// So many renewals and watches fail, each.
    fail: [usize; 2],
    is_gone: bool,
}

#[derive(Clone, Default)]
struct Api {
    told: Arc<Mutex<Told>>,
    moved: Arc<Notify>,
    /// Ends a watch without an answer.
    cut: Arc<Notify>,
}

impl Api {
    /// Answers for ever; gives where.
    async fn serve(&self) -> (Agent, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let api = self.clone();
        let serving = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let api = api.clone();
                tokio::spawn(async move { api.answer(tcp).await });
            }
        });
        (Agent::of(Some(&address), None), serving)
    }

    async fn answer(&self, mut tcp: TcpStream) {
        let mut head = vec![];
        while !head.windows(4).any(|four| four == b"\r\n\r\n") {
            head.push(tcp.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        // A body that is not read would reset the connection.
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |text| text.parse().unwrap())];
        tcp.read_exact(&mut body).await.unwrap();
        let line = head.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let is_watch = line.contains("&index=");
        let answer = {
            let mut told = self.told.lock().unwrap();
            told.asked.push(line.clone());
            let (is_renewal, at) = (line.contains("renew"), usize::from(is_watch));
            if (is_renewal || is_watch) && told.fail[at] > 0 {
                told.fail[at] -= 1;
                None
            } else if is_renewal && told.is_gone {
                Some((404, ""))
            } else if is_renewal {
                told.renewed += 1;
                Some((200, "[]"))
            } else if line.contains("session/create") {
                Some((200, "{\"ID\":\"s1\"}"))
            } else if line.starts_with("GET") {
                Some((200, "[{\"Session\":\"s1\"}]"))
            } else {
                Some((200, "true"))
            }
        };
        self.moved.notify_one();
        // Nobody answers, as while an agent starts.
        let Some((status, body)) = answer else { return };
        if is_watch && line.contains("&index=7") {
            // It waits until the asker goes, or is cut off.
            tokio::select! {
                _ = tcp.read_u8() => {}
                () = self.cut.notified() => {}
            }
            return;
        }
        let text = format!("HTTP/1.0 {status} x\r\nX-Consul-Index: 7\r\n\r\n{body}");
        tcp.write_all(text.as_bytes()).await.unwrap();
    }

    /// Until it was told so.
    async fn until(&self, done: impl Fn(&Told) -> bool) {
        while !done(&self.told.lock().unwrap()) {
            self.moved.notified().await;
        }
    }

    fn asked(&self, what: &str) -> bool {
        self.told.lock().unwrap().asked.iter().any(|line| line.contains(what))
    }
}

/// A program that says when it is up, ends with 7 when it is asked to, and writes that down.
struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    fn new() -> Self {
        let program = Self { folder: tempfile::tempdir().unwrap() };
        let made = std::process::Command::new("mkfifo").arg(program.path("up")).status().unwrap();
        assert!(made.success());
        program
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn flags(&self) -> Flags {
        let at = |name| self.path(name).display().to_string();
        let line = format!(
            "tail -f /dev/null & p=$!; trap 'kill $p; echo > {}; exit 7' TERM; echo > {}; wait",
            at("ended"),
            at("up")
        );
        let words = ["lock", "-child-exit-code", "jobs/a", "sh", "-c", &line];
        Flags::read(&words.map(str::to_owned))
    }

    async fn up(&self) {
        let path = self.path("up");
        tokio::task::spawn_blocking(move || std::fs::read(path).unwrap()).await.unwrap();
    }

    fn has_ended(&self) -> bool {
        Path::exists(&self.path("ended"))
    }
}

fn code(outcome: &Outcome) -> Option<u8> {
    outcome.as_ref().err().map(Failure::code)
}

/// Ends this process, unless it listens.
fn terminate() {
    kill_process(rustix::process::getpid(), Signal::TERM).unwrap();
}

#[tokio::test]
async fn a_signal_is_the_programs_and_the_lock_is_held_until_it_has_ended() {
    let (api, program) = (Api::default(), Program::new());
    let (agent, serving) = api.serve().await;
    let flags = program.flags();
    let work = run_at(&agent, &flags, FAST);
    let end = async {
        program.up().await;
        assert!(!api.asked("release") && !api.asked("destroy"));
        terminate();
    };
    let (outcome, ()) = tokio::join!(work, end);
    assert_eq!(code(&outcome), Some(7), "{outcome:?}");
    assert!(program.has_ended());
    assert!(api.asked("kv/jobs/a/.lock?release=s1") && api.asked("session/destroy/s1"));
    serving.abort();
}

#[tokio::test]
async fn an_agent_that_does_not_answer_for_a_moment_costs_no_lock() {
    let (api, program) = (Api::default(), Program::new());
    let (agent, serving) = api.serve().await;
    let flags = program.flags();
    let work = run_at(&agent, &flags, FAST);
    let end = async {
        program.up().await;
        let renewed = {
            let mut told = api.told.lock().unwrap();
            told.fail = [5, 5];
            told.renewed
        };
        api.cut.notify_one();
        api.until(|told| told.fail == [0, 0] && told.renewed > renewed + 3).await;
        assert!(!program.has_ended());
        terminate();
    };
    let (outcome, ()) = tokio::join!(work, end);
    assert_eq!(code(&outcome), Some(7), "{outcome:?}");
    serving.abort();
}

#[tokio::test]
async fn a_session_that_is_gone_or_silent_for_its_time_ends_the_program_kindly() {
    for is_gone in [true, false] {
        let (api, program) = (Api::default(), Program::new());
        let (agent, serving) = api.serve().await;
        let flags = program.flags();
        // There is no time for another try.
        let again = if is_gone { FAST.again } else { FAST.trust };
        let work = run_at(&agent, &flags, Pace { again, ..FAST });
        let end = async {
            program.up().await;
            let mut told = api.told.lock().unwrap();
            told.is_gone = is_gone;
            told.fail[0] = if is_gone { 0 } else { usize::MAX };
        };
        let (outcome, ()) = tokio::join!(work, end);
        assert_eq!(code(&outcome), Some(1), "{outcome:?}");
        assert!(format!("{outcome:?}").contains("Lock lost"), "{outcome:?}");
        assert!(program.has_ended(), "it was asked and not killed");
        serving.abort();
    }
}
