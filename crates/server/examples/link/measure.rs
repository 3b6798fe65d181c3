//! Starts the server and the crews, and measures.

use crate::{Result, Wishes};
use api::client::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

/// Nothing may take longer.
const LIMIT: Duration = Duration::from_secs(900);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// A clock tick of /proc, in milliseconds.
const TICK_MS: u64 = 10;

/// A process that is told lines and answers each with one.
struct Helper {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    fn start(words: &[String]) -> Result<Self> {
        // Each connection is a file: as many as the system allows.
        let script = "ulimit -n $(ulimit -H -n); exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(std::env::current_exe()?).args(words);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        Ok(Self { child, input, output })
    }

    async fn hear(&mut self) -> Result<Value> {
        let line = tokio::time::timeout(LIMIT, self.output.next_line()).await??;
        Ok(serde_json::from_str(&line.ok_or("a process has ended")?)?)
    }

    async fn ask(&mut self, line: &str) -> Result<Value> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        self.hear().await
    }

    fn proc(&self, file: &str) -> Result<String> {
        let id = self.child.id().ok_or("it has ended")?;
        Ok(std::fs::read_to_string(format!("/proc/{id}/{file}"))?)
    }

    /// Resident memory, in MB: now and at most.
    fn memory(&self) -> Result<(u64, u64)> {
        let status = self.proc("status")?;
        let of = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let kb = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kb.map(|kb| kb / 1_024).ok_or("no memory told")
        };
        Ok((of("VmRSS:")?, of("VmHWM:")?))
    }

    /// CPU time, in milliseconds.
    fn cpu(&self) -> Result<u64> {
        let stat = self.proc("stat")?;
        let rest = stat.rsplit(')').next().unwrap_or_default();
        let of = |nth: usize| rest.split_whitespace().nth(nth).and_then(|n| n.parse::<u64>().ok());
        Ok((of(11).unwrap_or(0) + of(12).unwrap_or(0)) * TICK_MS)
    }
}

#[derive(Deserialize)]
struct Place {
    address: String,
    pin: String,
    token: String,
    admin: String,
}

struct Ground {
    server: Helper,
    place: Place,
    crews: Vec<Helper>,
    agents: usize,
}

impl Ground {
    async fn start(wishes: &Wishes, agents: usize, endpoints: usize, leaves: bool) -> Result<Self> {
        let mut server = Helper::start(&["serve".into()])?;
        let place: Place = serde_json::from_value(server.hear().await?)?;
        let processes = wishes.get("processes", 4).clamp(1, agents);
        let group = wishes.get("group", 50);
        let mut crews = vec![];
        for nth in 0..processes {
            let (from, to) = (agents * nth / processes, agents * (nth + 1) / processes);
            let Place { address, token, pin, .. } = &place;
            let words = ["crew".into(), address.clone(), token.clone(), pin.clone()];
            let numbers = [from, to - from, group, endpoints].map(|number| number.to_string());
            let words: Vec<String> =
                words.into_iter().chain(numbers).chain([leaves.to_string()]).collect();
            crews.push(Helper::start(&words)?);
        }
        Ok(Self { server, place, crews, agents })
    }

    /// Waits until as many have come so far.
    async fn until(&mut self, what: &str) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let mut count = 0;
            for crew in &mut self.crews {
                count += crew.ask("count").await?[what].as_u64().unwrap_or(0);
            }
            if count >= u64::try_from(self.agents)? {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > LIMIT {
                return Err(format!("{count} of {} are {what} after {LIMIT:?}", self.agents).into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn crews_cpu(&self) -> Result<u64> {
        self.crews.iter().map(Helper::cpu).sum()
    }
}

/// Asks the API for its status again and again; each answer's milliseconds.
fn probe(place: &Place) -> Arc<Mutex<Vec<u32>>> {
    let answers: Arc<Mutex<Vec<u32>>> = Arc::default();
    let client = Client::new(&format!("http://{}", place.address), &place.admin, &place.pin);
    let into = Arc::downgrade(&answers);
    tokio::task::spawn(async move {
        while let Some(into) = into.upgrade() {
            let begun = Instant::now();
            let answer = client.get::<Value>(api::routes::STATUS).await;
            let ms = match answer {
                Ok(_) => u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX),
                Err(_) => u32::MAX,
            };
            into.lock().unwrap_or_else(PoisonError::into_inner).push(ms);
            drop(into);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    answers
}

/// 0.5, 0.99 and 1 of what was measured.
fn spread(mut values: Vec<u32>) -> Value {
    values.sort_unstable();
    let at = |share: f64| {
        let last = values.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a rank among some thousands"
        )]
        values.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
    };
    json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0), "n": values.len() })
}

fn taken(answers: &Mutex<Vec<u32>>) -> Vec<u32> {
    std::mem::take(&mut answers.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Agents join from nothing.
pub(crate) async fn joins(wishes: &Wishes) -> Result<()> {
    let agents = wishes.get("agents", 10_000);
    let mut ground = Ground::start(wishes, agents, 0, true).await?;
    let answers = probe(&ground.place);
    let took = ground.until("joined").await?;
    let (rss, peak) = ground.server.memory()?;
    println!(
        "{}",
        json!({
            "agents": agents, "seconds": took.as_secs_f64(), "api_ms": spread(taken(&answers)),
            "server_rss_mb": rss, "server_peak_mb": peak,
            "server_cpu_ms": ground.server.cpu()?, "agents_cpu_ms": ground.crews_cpu()?,
        })
    );
    Ok(())
}

/// Endpoints change, and all who have to do with them hear of it.
pub(crate) async fn changes(wishes: &Wishes) -> Result<()> {
    let (agents, endpoints) = (wishes.get("agents", 1_000), wishes.get("endpoints", 100));
    let (rate, seconds) = (wishes.get("rate", 1_000), wishes.get("seconds", 60));
    let groups = agents.div_ceil(wishes.get("group", 50));
    let mut ground = Ground::start(wishes, agents, endpoints, false).await?;
    let joined = ground.until("joined").await?;
    ground.server.ask(&format!("deploy {groups} {endpoints}")).await?;
    let ready = ground.until("ready").await?;
    // What has just begun to run is still being told.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let answers = probe(&ground.place);
    let ((rss_before, _), cpu) = (ground.server.memory()?, ground.server.cpu()?);
    let (crews_cpu, begun) = (ground.crews_cpu()?, Instant::now());
    let each = rate / ground.crews.len();
    let told = ground
        .crews
        .iter_mut()
        .map(|crew| async move { crew.ask(&format!("change {each} {seconds}")).await });
    let told = futures_util::future::try_join_all(told).await?;
    let wall = begun.elapsed().as_secs_f64();
    let (cpu, crews_cpu) = (ground.server.cpu()? - cpu, ground.crews_cpu()? - crews_cpu);
    let (rss, peak) = ground.server.memory()?;
    let sum = |key: &str| told.iter().filter_map(|one| one[key].as_u64()).sum::<u64>();
    let (changes, arrivals) = (sum("changes"), sum("arrivals"));
    println!(
        "{}",
        json!({
            "agents": agents, "endpoints": endpoints, "rate": rate, "seconds": seconds,
            "joined_s": joined.as_secs_f64(), "ready_s": ready.as_secs_f64(),
            "changes": changes, "arrivals": arrivals, "arrival_ms": arrived(&told, arrivals),
            "api_ms": spread(taken(&answers)), "wall_s": wall,
            "server_rss_before_mb": rss_before, "server_rss_mb": rss, "server_peak_mb": peak,
            "server_cpu_ms": cpu, "agents_cpu_ms": crews_cpu,
        })
    );
    Ok(())
}

/// The same spread, of histograms by the millisecond.
fn arrived(told: &[Value], count: u64) -> Value {
    let mut all: Vec<u64> = vec![];
    for histogram in told.iter().filter_map(|one| one["histogram"].as_array()) {
        all.resize(all.len().max(histogram.len()), 0);
        for (at, n) in histogram.iter().enumerate() {
            all[at] += n.as_u64().unwrap_or(0);
        }
    }
    let at = |per_cent: u64| {
        let mut left = count * per_cent / 100;
        let found = all.iter().position(|n| {
            let here = *n >= left;
            left = left.saturating_sub(*n);
            here
        });
        found.unwrap_or(0)
    };
    json!({ "p50": at(50), "p99": at(99), "max": all.len().saturating_sub(1) })
}
