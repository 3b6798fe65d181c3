//! `consul lock`: a program runs while a key is held, as all clients hold it that know the recipe:
//! a session that is renewed, a key of a known name, a wait for whoever has it. The key is let go of
//! only when the program has ended, whoever wants to end this one.

use super::ask::{Agent, escape};
use super::flags::Flags;
use crate::exit::{Failure, Outcome};
use crate::output;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::cell::Cell;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// What the original marks its locks with.
const FLAG: u64 = 0x2ddc_cbc0_58a5_0c18;
/// Time to live of the session.
const TTL: &str = "15s";
/// The pace of a lock.
const PACE: Pace = Pace {
    renew: Duration::from_secs(7),
    trust: Duration::from_secs(15),
    again: Duration::from_secs(1),
    answer: Duration::from_secs(5),
    kill: Duration::from_secs(5),
};
/// The longest wait for who has it; then it is tried again.
const WAIT: &str = "15s";
/// The longest wait for its answer: servers add a sixteenth.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// A key that is free and cannot be locked yet is tried again after so long.
const DELAYED: Duration = Duration::from_secs(1);

/// How long what takes.
#[derive(Clone, Copy)]
struct Pace {
    /// The session is renewed so often.
    renew: Duration,
    /// So long after a renewal it is still there for sure: its time to live. It ends after twice that,
    /// so that there is time to end the program.
    trust: Duration,
    /// A request that failed is tried again after so long.
    again: Duration,
    /// An answer is waited for so long.
    answer: Duration,
    /// A program that is to end is killed after so long.
    kill: Duration,
}

struct Held<'a> {
    agent: &'a Agent,
    session: String,
    path: String,
    pace: Pace,
    /// When the last renewal that was answered was asked for.
    renewed: Cell<Instant>,
}

/// Signals that end programs. While this is there, they do not end this one.
struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    fn new() -> Outcome<Self> {
        let of = |kind| {
            unix::signal(kind)
                .map_err(|error| Failure::error(format!("signals cannot be taken: {error}")))
        };
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hangup: of(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }

    /// Ends with the code of the next one.
    async fn ended(&mut self) -> Failure {
        let code = 128 + self.next().await.as_raw();
        Failure::Code(u8::try_from(code).unwrap_or(crate::exit::ERROR))
    }
}

/// Runs the program.
///
/// # Errors
/// 1 when the lock is not had in time or is lost; with `-child-exit-code` the program's code.
pub(super) async fn run(agent: &Agent, flags: &Flags) -> Outcome {
    run_at(agent, flags, PACE).await
}

async fn run_at(agent: &Agent, flags: &Flags, pace: Pace) -> Outcome {
    let Some((prefix, program)) =
        flags.words.get(1..).and_then(<[String]>::split_first).filter(|(_, rest)| !rest.is_empty())
    else {
        return Err(Failure::error("Key prefix and child command must be specified"));
    };
    if flags.text("n").is_some_and(|n| n != "1") {
        return Err(Failure::error("A semaphore (-n greater than 1) is not known here"));
    }
    let tried = flags.text("try").map(|text| {
        ::consul::parse_duration(text)
            .ok_or_else(|| Failure::error(format!("Invalid -try duration: {text}")))
    });
    let until = tried.transpose()?.and_then(|tried| Instant::now().checked_add(tried));
    let line = program.join(" ");
    let name =
        flags.text("name").map_or_else(|| format!("Consul lock for '{line}'"), str::to_owned);
    let key = format!("{}/.lock", prefix.trim_matches('/'));
    let mut signals = Signals::new()?;
    let (asked, wish) = (Instant::now(), json!({"Name": name, "TTL": TTL}).to_string());
    let made = tokio::select! {
        made = agent.put("session/create", wish) => made?,
        ended = signals.ended() => return Err(ended),
    };
    let made: Value = serde_json::from_slice(&made).unwrap_or_default();
    let session = made["ID"].as_str().unwrap_or_default().to_owned();
    let (path, renewed) = (format!("kv/{}", escape(&key)), Cell::new(asked));
    let held = Held { agent, session, path, pace, renewed };
    let result = held.run(program, until, &mut signals).await;
    tokio::select! {
        () = held.let_go() => {}
        // The program has ended; the session does so by itself.
        _ = signals.next() => output::note("the session is left to its time"),
    }
    let ended = result?;
    match ended.code() {
        Some(0) => Ok(()),
        Some(code) if flags.has("child-exit-code") => {
            Err(Failure::Code(u8::try_from(code).unwrap_or(crate::exit::ERROR)))
        }
        _ => Err(Failure::error(format!("Error running handler: {ended}"))),
    }
}

impl Held<'_> {
    async fn run(
        &self,
        program: &[String],
        until: Option<Instant>,
        signals: &mut Signals,
    ) -> Outcome<ExitStatus> {
        let late = || Failure::error("Lock acquisition timed out");
        let acquired = async {
            tokio::select! {
                done = self.acquire() => done,
                lost = self.renew() => Err(lost),
                ended = signals.ended() => Err(ended),
            }
        };
        match until {
            Some(until) => timeout_at(until, acquired).await.map_err(|_elapsed| late())??,
            None => acquired.await?,
        }
        let name = program.first().map_or("", String::as_str);
        let failed =
            |error: std::io::Error| Failure::error(format!("{name} cannot be run: {error}"));
        let mut child = Command::new(name)
            .args(program.get(1..).unwrap_or_default())
            .env("CONSUL_LOCK_HELD", "true")
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut losing = std::pin::pin!(async {
            tokio::select! {
                lost = self.renew() => lost,
                lost = self.is_lost() => lost,
            }
        });
        loop {
            tokio::select! {
                ended = child.wait() => return ended.map_err(failed),
                lost = &mut losing => {
                    self.stop(&mut child, &lost).await;
                    return Err(Failure::error("Lock lost, the child was ended"));
                }
                // The lock is kept until the program has ended, as fast or slowly as it likes.
                signal = signals.next() => pass(&child, signal),
            }
        }
    }

    /// Until the key is this session's.
    async fn acquire(&self) -> Outcome {
        loop {
            let path = format!("{}?acquire={}&flags={FLAG}", self.path, self.session);
            if self.agent.put(&path, "").await?.trim_ascii() == b"true" {
                return Ok(());
            }
            let seen = self.agent.read(&format!("{}?consistent", self.path)).await?;
            let entry: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            if entry[0]["Session"].is_string() {
                let index = seen.index;
                let path = format!("{}?consistent&wait={WAIT}&index={index}", self.path);
                self.agent.read(&path).await?;
            } else {
                sleep(DELAYED).await;
            }
        }
    }

    /// Keeps the session alive; ends when it is gone, or was not renewed for so long that it may be.
    async fn renew(&self) -> Failure {
        let path = format!("session/renew/{}", self.session);
        loop {
            sleep_until(self.renewed.get() + self.pace.renew).await;
            let end = self.renewed.get() + self.pace.trust;
            let failure = loop {
                let asked = Instant::now();
                let answered =
                    timeout_at(end.min(asked + self.pace.answer), self.agent.touch(&path));
                let failure = match answered.await {
                    Ok(Ok(true)) => {
                        self.renewed.set(asked);
                        break None;
                    }
                    Ok(Ok(false)) => break Some(Failure::error("the session is gone")),
                    Ok(Err(failure)) => failure,
                    Err(_elapsed) => Failure::error("the session is not renewed: no answer"),
                };
                if Instant::now() + self.pace.again >= end {
                    break Some(failure);
                }
                sleep(self.pace.again).await;
            };
            if let Some(failure) = failure {
                return failure;
            }
        }
    }

    /// Ends when the key is not this session's. A read that fails says nothing of that and is
    /// tried again: as long as the session is renewed, nobody else has the key.
    async fn is_lost(&self) -> Failure {
        let mut index = 0;
        loop {
            let path = format!("{}?consistent&wait={WAIT}&index={index}", self.path);
            let Ok(Ok(seen)) = timeout(WAIT_MAX, self.agent.read(&path)).await else {
                sleep(self.pace.again).await;
                continue;
            };
            let entry: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            if entry[0]["Session"].as_str() != Some(&self.session) {
                return Failure::error("the key is not held any more");
            }
            index = if seen.index < index { 0 } else { seen.index };
        }
    }

    /// Ends the program: asks it, and kills it when it does not listen.
    async fn stop(&self, child: &mut Child, why: &Failure) {
        why.print();
        pass(child, Signal::TERM);
        if timeout(self.pace.kill, child.wait()).await.is_err() {
            // It has ended already, or is ended now.
            child.kill().await.ok();
        }
    }

    /// Frees the key and takes the session away; what cannot be done ends with the session's time.
    async fn let_go(&self) {
        let release = format!("{}?release={}&flags={FLAG}", self.path, self.session);
        let destroy = format!("session/destroy/{}", self.session);
        for path in [release, destroy] {
            match timeout(self.pace.answer, self.agent.put(&path, "")).await {
                Ok(Ok(_)) => {}
                Ok(Err(failure)) => failure.print(),
                Err(_elapsed) => return output::note("the session is left to its time"),
            }
        }
        let seen = timeout(self.pace.answer, self.agent.json(&self.path)).await;
        let seen = seen.ok().and_then(Result::ok).unwrap_or_default();
        let index = seen[0]["ModifyIndex"].as_u64().unwrap_or(0);
        if index > 0 && !seen[0]["Session"].is_string() {
            // Somebody else may have it by now; then it stays.
            let path = format!("{}?cas={index}", self.path);
            if self.agent.send("DELETE", &path, "").await.is_err() {
                output::note("the lock's key stays");
            }
        }
    }
}

/// Gives a signal to the program; one that has ended needs none.
fn pass(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        kill_process(pid, signal).ok();
    }
}

#[cfg(test)]
mod tests;
