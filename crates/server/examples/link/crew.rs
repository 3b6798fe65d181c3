//! Many agents in one process. A line on its input asks how far they are, or lets them see changes.

use crate::Result;
use crate::agent::{Agent, Counts};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

/// Agents that join at a time.
const JOINING_MAX: usize = 64;
/// Between two bursts of changes.
const BURST: Duration = Duration::from_millis(10);

/// `ADDRESS TOKEN PIN FROM COUNT GROUP ENDPOINTS LEAVES`.
pub(crate) async fn run(words: &[String]) -> Result<()> {
    let [address, token, pin, from, count, group, endpoints, leaves] = words else {
        return Err("a crew takes eight words".into());
    };
    let (from, count): (usize, usize) = (from.parse()?, count.parse()?);
    let counts: Arc<Mutex<Counts>> = Arc::default();
    let (mut tasks, mut tellers) = (JoinSet::new(), vec![]);
    let joining = Arc::new(Semaphore::new(JOINING_MAX));
    let leaves = leaves == "true";
    for n in from..from + count {
        let agent = Agent {
            address: address.clone(),
            token: token.clone(),
            pin: pin.clone(),
            host: format!("sim-{n:05}").parse()?,
            group: n / group.parse::<usize>()?,
            endpoints: endpoints.parse()?,
            leaves,
            counts: Arc::clone(&counts),
        };
        let (tell, told) = mpsc::channel(1_024);
        tellers.push(tell);
        let joining = Arc::clone(&joining);
        tasks.spawn(async move {
            // Those that leave make room for the next; the others begin a few at a time.
            let _turn = match agent.leaves {
                true => Some(joining.acquire_owned().await?),
                false => None,
            };
            if _turn.is_none() {
                tokio::time::sleep(Duration::from_millis(u64::try_from(n - from)? * 5)).await;
            }
            agent.run(told).await
        });
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                println!("{}", obey(&line, &tellers, &counts).await?);
            }
            Some(ended) = tasks.join_next() => ended??,
        }
    }
}

async fn obey(line: &str, tellers: &[mpsc::Sender<()>], counts: &Mutex<Counts>) -> Result<Value> {
    let lock = || counts.lock().unwrap_or_else(PoisonError::into_inner);
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["count"] => {
            let counts = lock();
            Ok(json!({
                "joined": counts.joined, "ready": counts.ready,
                "wholes": counts.wholes, "deltas": counts.deltas,
            }))
        }
        // So many changes a second, for so many seconds, and a moment more for the last to arrive.
        ["change", rate, seconds] => {
            let (rate, seconds): (usize, usize) = (rate.parse()?, seconds.parse()?);
            lock().arrivals = Some(vec![]);
            let mut ticks = tokio::time::interval(BURST);
            let bursts = seconds * 100;
            let mut told = 0;
            for burst in 1..=bursts {
                ticks.tick().await;
                while told < rate * seconds * burst / bursts {
                    if let Some(teller) = tellers.get(told % tellers.len().max(1)) {
                        teller.send(()).await?;
                    }
                    told += 1;
                }
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            let arrivals = lock().arrivals.take().unwrap_or_default();
            let mut histogram = vec![0_u32; 10_001];
            for ms in &arrivals {
                let at = usize::try_from(*ms)?.min(10_000);
                histogram[at] += 1;
            }
            while histogram.last() == Some(&0) {
                histogram.pop();
            }
            Ok(json!({ "changes": told, "arrivals": arrivals.len(), "histogram": histogram }))
        }
        _ => Err(format!("a crew does not know {line:?}").into()),
    }
}
