//! `giddyup probe`: is something there?

use super::source::{get, split};
use crate::exit::{ERROR, Failure, Outcome};
use crate::output;
use clap::Args;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Options of `giddyup probe`.
#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// tcp://host:port or http://host[:port]/path
    url: String,
    /// Longest wait for an answer
    #[arg(short, long, default_value = "5s", value_parser = super::super::duration)]
    timeout: Duration,
    /// Again until it is there
    #[arg(long = "loop")]
    again: bool,
    /// First pause between two tries
    #[arg(long, default_value = "1s", value_parser = super::super::duration)]
    min: Duration,
    /// Longest pause
    #[arg(long, default_value = "120s", value_parser = super::super::duration)]
    max: Duration,
    /// Each pause is so many times the one before
    #[arg(long, default_value_t = 1.0)]
    backoff: f64,
    /// Tries; 0 is without end
    #[arg(long, default_value_t = 0)]
    num: u32,
}

/// The pause before a try, counted from 0: `min · backoff^n`, at most `max`.
fn pause(args: &ProbeArgs, nth: u32) -> Duration {
    let factor = args.backoff.max(0.0).powf(f64::from(nth));
    let seconds = (args.min.as_secs_f64() * factor).min(args.max.as_secs_f64());
    Duration::try_from_secs_f64(seconds).unwrap_or(args.max)
}

pub(super) async fn run(args: ProbeArgs) -> Outcome {
    let mut nth = 0;
    loop {
        match probe(&args).await? {
            Ok(()) => {
                output::line("OK");
                return Ok(());
            }
            Err(why) => output::line(&why),
        }
        nth += 1;
        if !args.again || nth == args.num {
            return Err(Failure::Code(ERROR));
        }
        sleep(pause(&args, nth - 1)).await;
    }
}

/// Once; the inner error is a no.
async fn probe(args: &ProbeArgs) -> Outcome<Result<(), String>> {
    if let Some(authority) = args.url.strip_prefix("tcp://") {
        return Ok(match timeout(args.timeout, TcpStream::connect(authority)).await {
            Ok(Ok(_connected)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err(format!("no connection within {:?}", args.timeout)),
        });
    }
    let (authority, path) = split(&args.url)?;
    Ok(match get(&authority, &path, args.timeout).await {
        Ok((status, _)) if status.is_success() => Ok(()),
        Ok((status, _)) => Err(format!("it answers {status}")),
        Err(why) => Err(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_longest() {
        let mut args = ProbeArgs {
            url: String::new(),
            timeout: Duration::ZERO,
            again: true,
            min: Duration::from_secs(1),
            max: Duration::from_secs(5),
            backoff: 2.0,
            num: 0,
        };
        let seconds = |args: &ProbeArgs| [0, 1, 2, 3, 4000].map(|nth| pause(args, nth).as_secs());
        assert_eq!(seconds(&args), [1, 2, 4, 5, 5]);
        args.backoff = 1.0;
        assert_eq!(seconds(&args), [1, 1, 1, 1, 1]);
        args.backoff = f64::NAN;
        assert!(pause(&args, 1) <= args.max);
    }
}
