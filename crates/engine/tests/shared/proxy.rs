//! A Unix socket in front of dockerd that does to a request what a sick machine does. Each request
//! of ours comes on a connection of its own, so that a fault strikes exactly one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Status 500 and a message; Docker never hears of it.
    Error500(&'static str),
    /// Never answered; Docker never hears of it.
    Hang,
    /// Docker does it, the answer never comes.
    HangAfter,
    /// Docker does it, the connection ends before the answer.
    CutAfter,
    /// The connection ends at once.
    Cut,
    /// Docker does it after a while.
    Slow(Duration),
    /// The answer is these bytes.
    Say(&'static str),
    /// The answer is these bytes, after a while.
    SaySlowly(&'static str, Duration),
}

/// A trouble for the requests whose first line has this text in it.
pub(crate) struct Rule {
    pub(crate) on: &'static str,
    pub(crate) times: u32,
    pub(crate) trouble: Trouble,
}

type Rules = Arc<Mutex<Vec<Rule>>>;

pub(crate) struct Proxy {
    pub(crate) socket: PathBuf,
    rules: Rules,
    seen: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Listens; requests without a rule go to `docker`.
    pub(crate) fn before(docker: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("d.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let rules = Rules::default();
        let seen = Arc::new(Mutex::new(vec![]));
        let mut task = JoinSet::new();
        let (to, for_all, log) = (docker.to_owned(), rules.clone(), seen.clone());
        task.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (to, rules, log) = (to.clone(), for_all.clone(), log.clone());
                open.spawn(async move {
                    // A broken connection is what this is for.
                    let _served: std::io::Result<()> = serve(client, &to, &rules, &log).await;
                });
            }
        });
        Self { socket, rules, seen, _folder: folder, _task: task }
    }

    /// One request gets into trouble.
    pub(crate) fn once(&self, on: &'static str, trouble: Trouble) {
        self.rules.lock().unwrap().push(Rule { on, times: 1, trouble });
    }

    /// All of them do.
    pub(crate) fn always(&self, on: &'static str, trouble: Trouble) {
        self.rules.lock().unwrap().push(Rule { on, times: u32::MAX, trouble });
    }

    /// First lines of the requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Have all rules that were for a number of requests struck?
    pub(crate) fn is_used_up(&self) -> bool {
        self.rules.lock().unwrap().iter().all(|rule| rule.times > 1_000)
    }
}

fn pick(rules: &Rules, line: &str) -> Option<Trouble> {
    let mut rules = rules.lock().unwrap();
    let at = rules.iter().position(|rule| line.contains(rule.on))?;
    let trouble = rules[at].trouble.clone();
    rules[at].times = rules[at].times.saturating_sub(1);
    if rules[at].times == 0 {
        rules.remove(at);
    }
    Some(trouble)
}

async fn serve(
    mut client: UnixStream,
    to: &Path,
    rules: &Rules,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = vec![];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    log.lock().unwrap().push(line.clone());
    let trouble = pick(rules, &line);
    match trouble {
        Some(Trouble::Cut) => return Ok(()),
        Some(Trouble::Hang) => {
            std::future::pending::<()>().await;
        }
        Some(Trouble::Say(text)) => {
            client.write_all(text.as_bytes()).await?;
            return client.shutdown().await;
        }
        Some(Trouble::SaySlowly(text, by)) => {
            tokio::time::sleep(by).await;
            client.write_all(text.as_bytes()).await?;
            return client.shutdown().await;
        }
        Some(Trouble::Error500(message)) => {
            let body = format!("{{\"message\":\"{message}\"}}");
            let answer = format!(
                "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            client.write_all(answer.as_bytes()).await?;
            return client.shutdown().await;
        }
        Some(Trouble::Slow(by)) => tokio::time::sleep(by).await,
        Some(Trouble::CutAfter | Trouble::HangAfter) | None => {}
    }
    let mut docker = UnixStream::connect(to).await?;
    docker.write_all(&head).await?;
    if matches!(trouble, Some(Trouble::CutAfter | Trouble::HangAfter)) {
        return swallow(client, docker, trouble == Some(Trouble::HangAfter)).await;
    }
    tokio::io::copy_bidirectional(&mut client, &mut docker).await.map(|_| ())
}

/// Lets the request through and the answer vanish.
async fn swallow(mut client: UnixStream, docker: UnixStream, hang: bool) -> std::io::Result<()> {
    let (mut from_docker, mut to_docker) = docker.into_split();
    let mut first = [0; 1];
    {
        let (mut from_client, _to_client) = client.split();
        tokio::select! {
            // Docker's first byte means that the work is done.
            read = from_docker.read(&mut first) => { read?; }
            copied = tokio::io::copy(&mut from_client, &mut to_docker) => { copied?; }
        }
    }
    if hang {
        std::future::pending::<()>().await;
    }
    Ok(())
}
