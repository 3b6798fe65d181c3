//! One machine, from the first connection until the server sees an active host. What was found
//! wrong before the binary is in its place leaves the machine as it was.

use super::board::{Added, Board};
use super::decide::{Joining, Plan, Problem, Start, Wanted, decide};
use super::facts::{self, Docker, Facts, Who};
use super::list::Entry;
use super::script;
use super::ssh::{Input, Login, Session};
use super::target::join;
use api::client::Client;
use api::error::ErrorInfo;
use api::routes;
use api::wire::{Accepted, HostDetail, HostRow, JoinToken, JoinTokenRequest};
use http::Method;
use model::host::Environment;
use model::id::HostId;
use model::limits::HOST_ADD_TOKEN_MS;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For a look, or a change of a few files.
const SHORT: Duration = Duration::from_secs(60);
/// For a copy of the binary over a slow line.
const COPY: Duration = Duration::from_secs(900);
/// For packages and what they need.
const INSTALL: Duration = Duration::from_secs(1_200);
/// Between two questions to the server.
const LOOK: Duration = Duration::from_millis(250);

/// The binary that is copied.
pub(super) struct Binary {
    /// To read it again for each machine.
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) sha: String,
}

/// What all machines share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) environment: Environment,
    pub(super) login: Login,
    pub(super) binary: Binary,
    /// The server's address that was given for the hosts.
    pub(super) server: Option<String>,
    pub(super) install: bool,
    pub(super) detached: bool,
    pub(super) wait: Duration,
    /// A private folder.
    pub(super) folder: PathBuf,
    /// Ids of this run, and who has them.
    pub(super) taken: Mutex<BTreeMap<HostId, String>>,
    /// Tokens that were made and are not used up.
    pub(super) tokens: Mutex<BTreeSet<String>>,
}

impl Shared {
    /// Nobody else of this run may have this id.
    fn reserve(&self, host: &HostId, target: &str) -> Result<(), Problem> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get(host).filter(|other| *other != target) {
            Some(other) => Err(Problem::new(
                format!("{other} is host {host} already"),
                "give one of them an id of its own: the last word of its line",
            )),
            None => {
                taken.insert(host.clone(), target.to_owned());
                Ok(())
            }
        }
    }

    /// A token for one machine, which is taken back when it is not used.
    async fn token(&self, labels: &BTreeMap<String, String>) -> Result<JoinToken, Problem> {
        let request = JoinTokenRequest {
            ttl_ms: Some(HOST_ADD_TOKEN_MS),
            uses: Some(1),
            host: None,
            labels: labels.clone(),
        };
        let made = self.client.write(Method::POST, routes::HOST_TOKENS, &request).await;
        let token: JoinToken = made.map_err(asked)?;
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(token.id.clone());
        Ok(token)
    }

    /// Nobody can join with it any more; it would end by itself in minutes.
    async fn revoke(&self, id: &str) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let path = routes::fill(routes::HOST_TOKEN, &[id]);
        let revoked: Result<Accepted, ErrorInfo> = self.client.delete(&path).await;
        if let Err(error) = revoked {
            tracing::debug!(id, error = error.message, "join token not revoked");
        }
    }

    /// The same for all that were made and not used.
    pub(super) async fn revoke_all(&self) {
        let left = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for id in left {
            self.revoke(&id).await;
        }
    }
}

/// What the server said to a question of ours.
fn asked(error: ErrorInfo) -> Problem {
    Problem::new(error.message, error.hint)
}

/// One machine at work.
pub(super) struct Work<'a> {
    pub(super) shared: &'a Shared,
    pub(super) entry: &'a Entry,
    pub(super) number: usize,
    pub(super) board: &'a Board,
}

impl Work<'_> {
    /// Does all of it.
    pub(super) async fn run(&self) -> Added {
        let mut added = Added::of(self.entry.target.to_string());
        if let Err(problem) = self.connect(&mut added).await {
            added.fail(problem);
        }
        self.board.end(self.number, &added);
        added
    }

    fn tell(&self, text: &str) {
        self.board.tell(self.number, text);
    }

    async fn connect(&self, added: &mut Added) -> Result<(), Problem> {
        self.tell("connecting");
        let socket = self.shared.folder.join(self.number.to_string());
        let session = Session::open(&self.shared.login, &self.entry.target, &socket).await?;
        let done = self.add(&session, added).await;
        session.close().await;
        done
    }

    async fn add(&self, session: &Session, added: &mut Added) -> Result<(), Problem> {
        self.tell("looking at it");
        let text = script::who();
        let said = session.run("looking who we are", "sh -s", Input::Text(&text), SHORT).await?;
        let who = Who::read(&said).map_err(|(reason, next)| Problem::new(reason, next))?;
        let there = There { session, prefix: who.prefix };
        let before = crate::cli::now().0 / 1_000;
        let facts = there.look().await?;
        let looked_s = (before, crate::cli::now().0 / 1_000);
        let plan = self.decide(&facts, looked_s).await?;
        added.host = plan.host.to_string();
        added.warnings.clone_from(&plan.warnings);
        if !plan.packages.is_empty() {
            self.packages(&there, &plan, added).await?;
        }
        let new =
            format!("/usr/local/bin/.remuda-add.{}", api::token::hex(&rand::random::<[u8; 8]>()));
        if plan.copy {
            self.copy(&there, &new).await?;
        }
        match plan.joining {
            Joining::Is => self.upgrade(&there, &facts, &plan, &new, added).await?,
            Joining::New | Joining::Again => {
                let joined = self.join(&there, &facts, &plan, who.from, &new, added).await;
                if joined.is_err() && plan.copy {
                    // It may be in its place already.
                    there.script("cleaning up", &script::forget(&new), SHORT).await.ok();
                }
                joined?;
            }
        }
        Ok(())
    }

    async fn decide(&self, facts: &Facts, looked_s: (i64, i64)) -> Result<Plan, Problem> {
        let rows: Vec<HostRow> = self.shared.client.get(routes::HOSTS).await.map_err(asked)?;
        let plan = decide(
            facts,
            &Wanted {
                arch: std::env::consts::ARCH,
                size: self.shared.binary.size,
                sha: &self.shared.binary.sha,
                looked_s,
                environment: &self.shared.environment,
                rows: &rows,
                host: self.entry.host.as_ref(),
                install: self.shared.install,
                detached: self.shared.detached,
            },
        )?;
        self.shared.reserve(&plan.host, &self.entry.target.to_string())?;
        Ok(plan)
    }

    async fn packages(
        &self,
        there: &There<'_>,
        plan: &Plan,
        added: &mut Added,
    ) -> Result<(), Problem> {
        let names = plan.packages.join(", ");
        self.tell(&format!("installing {names}"));
        let script = script::install(&plan.packages);
        there.script(&format!("installing {names}"), &script, INSTALL).await?;
        added.done.push(format!("installed {names}"));
        let facts = there.look().await?;
        if !facts.lacks.is_empty() || !matches!(facts.docker, Docker::Answers(_)) {
            return Err(Problem::new(
                format!("{names} are installed, and Docker does not answer"),
                "start it there: systemctl start docker, or `dockerd` without systemd",
            ));
        }
        Ok(())
    }

    /// The binary, beside its place.
    async fn copy(&self, there: &There<'_>, new: &str) -> Result<(), Problem> {
        let Binary { path, size, sha } = &self.shared.binary;
        self.tell(&format!("copying remuda ({})", crate::output::size(*size)));
        let file = std::fs::File::open(path).map_err(|error| {
            let reason = format!("this program cannot be read ({}): {error}", path.display());
            Problem::new(reason, "run it from a file that is there")
        })?;
        there.command("copying remuda", &script::upload(new), Input::File(file), COPY).await?;
        let said = there.script("comparing remuda", &script::verify(new, sha), SHORT).await?;
        match facts::value(&said, "arrived") {
            Some("whole") => Ok(()),
            _ => Err(Problem::new(
                "what arrived is not what was sent (its SHA-256 differs): nothing was changed",
                "run the same command again",
            )),
        }
    }

    async fn place(&self, there: &There<'_>, new: &str, added: &mut Added) -> Result<(), Problem> {
        there.script("placing remuda", &script::place(new), SHORT).await?;
        added.done.push(format!("copied remuda {}", env!("CARGO_PKG_VERSION")));
        Ok(())
    }

    /// A host that is in gets the binary, and the labels of its line.
    async fn upgrade(
        &self,
        there: &There<'_>,
        facts: &Facts,
        plan: &Plan,
        new: &str,
        added: &mut Added,
    ) -> Result<(), Problem> {
        added.result = "already";
        if plan.copy {
            self.place(there, new, added).await?;
        }
        if plan.restart && plan.start == Start::Told {
            added.next = "its agent runs the old binary until it is started again".into();
        } else if plan.restart {
            self.tell("restarting the agent");
            there.script("stopping the agent", &script::stop(facts.systemd), SHORT).await?;
            self.start(there, plan.start, added).await?;
            self.wait(there, facts, &plan.host).await?;
        }
        self.labels(&plan.host, added).await
    }

    async fn labels(&self, host: &HostId, added: &mut Added) -> Result<(), Problem> {
        let path = routes::fill(routes::HOST, &[host.as_str()]);
        let detail: HostDetail = self.shared.client.get(&path).await.map_err(asked)?;
        let has = &detail.host.labels;
        let new = self.entry.labels.iter().filter(|(key, value)| has.get(*key) != Some(*value));
        let new: BTreeMap<&String, Option<&String>> = new.map(|(k, v)| (k, Some(v))).collect();
        if new.is_empty() {
            return Ok(());
        }
        let path = routes::fill(routes::HOST_LABELS, &[host.as_str()]);
        let _: Accepted =
            self.shared.client.write(Method::POST, &path, &new).await.map_err(asked)?;
        let keys: Vec<&str> = new.keys().map(|key| key.as_str()).collect();
        added.done.push(format!("set the label {}", keys.join(", ")));
        Ok(())
    }

    async fn join(
        &self,
        there: &There<'_>,
        facts: &Facts,
        plan: &Plan,
        from: Option<IpAddr>,
        new: &str,
        added: &mut Added,
    ) -> Result<(), Problem> {
        let server = server_for(self.shared.server.as_deref(), self.shared.client.address(), from)?;
        let token = self.shared.token(&self.entry.labels).await?;
        let host = Some(plan.host.as_str());
        self.tell(&format!("does it reach the server at {server}?"));
        let binary = if plan.copy { new } else { script::BINARY };
        let looks = script::join(binary, &server, host, true);
        let reached =
            there.command("reaching the server", &looks, Input::Text(&token.token), SHORT);
        reached.await.map_err(|problem| unreached(problem, &server))?;
        if plan.copy {
            self.place(there, new, added).await?;
        }
        self.tell("joining");
        if plan.joining == Joining::Again || facts.role.is_some() {
            there.script("stopping the agent", &script::stop(facts.systemd), SHORT).await?;
        }
        let joins = script::join(script::BINARY, &server, host, false);
        there.command("joining", &joins, Input::Text(&token.token), SHORT).await?;
        self.shared.revoke(&token.id).await;
        let how = if plan.joining == Joining::Again { "joined again" } else { "joined" };
        added.done.push(format!("{how} {server}"));
        added.result = "joined";
        self.start(there, plan.start, added).await?;
        if plan.start == Start::Told {
            return Ok(());
        }
        self.wait(there, facts, &plan.host).await?;
        added.result = "active";
        if plan.joining == Joining::Again { self.labels(&plan.host, added).await } else { Ok(()) }
    }

    async fn start(
        &self,
        there: &There<'_>,
        start: Start,
        added: &mut Added,
    ) -> Result<(), Problem> {
        self.tell("starting the agent");
        match start {
            Start::Unit => {
                there.script("starting the unit", &script::unit(), SHORT).await?;
                added.done.push(format!("started the unit {}", script::UNIT));
            }
            Start::Detached => {
                there.script("starting the agent", &script::detached(), SHORT).await?;
                added.done.push("started the agent, until the machine is next off".into());
            }
            Start::Told => {
                added.next = format!(
                    "there is no systemd: let what starts things there run `{} agent` as root, or \
                     add the host again with --detached",
                    script::BINARY
                );
            }
        }
        Ok(())
    }

    /// Until the server sees it.
    async fn wait(&self, there: &There<'_>, facts: &Facts, host: &HostId) -> Result<(), Problem> {
        self.tell("waiting until the server sees it");
        let deadline = Instant::now() + self.shared.wait;
        let path = routes::fill(routes::HOST, &[host.as_str()]);
        loop {
            let seen: Result<HostDetail, ErrorInfo> = self.shared.client.get(&path).await;
            let why = match seen {
                Ok(detail) if detail.host.status == "active" => return Ok(()),
                Ok(detail) => match detail.host.reason {
                    why if why.is_empty() => detail.host.status,
                    why => why,
                },
                Err(error) => error.message,
            };
            if Instant::now() >= deadline {
                let systemd = facts.systemd;
                let words = there.script("", &script::last_words(systemd), SHORT).await;
                let words = words.unwrap_or_default();
                let words = words.lines().next_back().unwrap_or_default().trim();
                let seconds = self.shared.wait.as_secs();
                let log = match systemd {
                    true => format!("journalctl -u {}", script::UNIT),
                    false => format!("tail {}", script::LOG),
                };
                return Err(Problem::new(
                    format!(
                        "it joined and is not active after {seconds} s: {why}; it says: {words}"
                    ),
                    format!("look there: {log}"),
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The machine, with what makes us root there.
struct There<'a> {
    session: &'a Session,
    prefix: &'static str,
}

impl There<'_> {
    async fn script(
        &self,
        what: &str,
        script: &str,
        patience: Duration,
    ) -> Result<String, Problem> {
        self.command(what, "sh -s", Input::Text(script), patience).await
    }

    async fn command(
        &self,
        what: &str,
        command: &str,
        input: Input<'_>,
        patience: Duration,
    ) -> Result<String, Problem> {
        self.session.run(what, &format!("{}{command}", self.prefix), input, patience).await
    }

    async fn look(&self) -> Result<Facts, Problem> {
        let said = self.script("looking at the machine", &script::facts(), SHORT).await?;
        Facts::read(&said).ok_or_else(|| {
            Problem::new(
                "the look at the machine broke off",
                "has it `sh`, `df`, `awk` and `date`? run the same command again",
            )
        })
    }
}

/// The server's address for a host: what was given, else what is dialled here, else, when that
/// leads to this very machine, the address from which the host sees us come.
fn server_for(given: Option<&str>, dialled: &str, from: Option<IpAddr>) -> Result<String, Problem> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let authority = dialled.split_once("://").map_or(dialled, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let (address, port) = super::target::place_of(authority)
        .map_err(|why| Problem::new(why, "say where hosts reach the server: --server HOST:PORT"))?;
    let port = port.unwrap_or(7600);
    let ip: Option<IpAddr> = address.parse().ok();
    let is_here = address == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
    match (is_here, from) {
        (false, _) => Ok(join(&address, port)),
        (true, Some(from)) => Ok(join(&from.to_string(), port)),
        (true, None) => Err(Problem::new(
            format!("hosts cannot reach the server at {authority}"),
            "say where they reach it: --server HOST:PORT",
        )),
    }
}

/// The same with what is most often wrong.
fn unreached(problem: Problem, server: &str) -> Problem {
    let address = server.rsplit_once(':').map_or(server, |(address, _)| address);
    let loopback = address == "127.0.0.1" || address == "[::1]";
    let listen =
        if loopback { "" } else { "does it listen there (remuda server --listen 0.0.0.0:7600)? " };
    Problem::new(
        problem.reason,
        format!("{listen}is a firewall in between? --server HOST:PORT names another way to it"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_where_the_server_is() {
        let from = "10.0.0.9".parse().ok();
        let six = "fd00::9".parse().ok();
        for (given, dialled, from, expect) in [
            (Some("a:1"), "https://127.0.0.1:7600", from, "a:1"),
            (None, "https://10.0.0.5:7600", from, "10.0.0.5:7600"),
            (None, "https://remuda.example.test", from, "remuda.example.test:7600"),
            (None, "https://127.0.0.1:7601", from, "10.0.0.9:7601"),
            (None, "http://localhost:7600", six, "[fd00::9]:7600"),
            (None, "https://[::1]:7600", six, "[fd00::9]:7600"),
        ] {
            assert_eq!(server_for(given, dialled, from).unwrap(), expect);
        }
        let none = server_for(None, "http://127.0.0.1:7600", None).unwrap_err();
        assert!(none.next.contains("--server"), "{none:?}");
    }
}
