//! Load by `wrk`, and what it says of it.

use crate::shell;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// What `wrk` says.
#[derive(Debug, PartialEq)]
pub(super) struct Load {
    pub(super) requests: f64,
    pub(super) per_second: f64,
    pub(super) p99_ms: f64,
    pub(super) failures: u64,
}

/// Runs `wrk`, which has to know its own options, against a URL. A failed request fails it.
pub(super) fn run(mut wrk: Command, url: &str) -> Result<Load> {
    let said = shell::read(wrk.args(["--latency", "--timeout", "5s"]).arg(url))?;
    let load = parse(&said)?;
    ensure!(load.failures == 0, "{} requests to {url} failed; wrk says:\n{said}", load.failures);
    Ok(load)
}

fn parse(text: &str) -> Result<Load> {
    let line = |part: &str| text.lines().map(str::trim).find(|line| line.contains(part));
    let requests = line(" requests in ").and_then(|line| line.split(' ').next()?.parse().ok());
    let per_second = line("Requests/sec:").and_then(|line| line.split_whitespace().nth(1));
    let p99 = line("99%").and_then(|line| milliseconds(line.split_whitespace().nth(1)?));
    let numbers = |line: &str| -> u64 {
        let digits = line.split(|c: char| !c.is_ascii_digit());
        digits.filter_map(|word| word.parse::<u64>().ok()).sum()
    };
    let failures = ["Socket errors:", "Non-2xx or 3xx responses:"].map(|part| {
        let found = line(part).and_then(|line| line.split_once(": "));
        found.map_or(0, |(_, rest)| numbers(rest))
    });
    Ok(Load {
        requests: requests.with_context(|| format!("wrk says no count: {text}"))?,
        per_second: per_second
            .and_then(|word| word.parse().ok())
            .with_context(|| format!("wrk says no rate: {text}"))?,
        p99_ms: p99.with_context(|| format!("wrk says no latency: {text}"))?,
        failures: failures.iter().sum(),
    })
}

fn milliseconds(text: &str) -> Option<f64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_understood() {
        let text = "  Latency Distribution\n     50%  310.00us\n     99%    1.25ms\n  131700 requests \
                    in 6.01s, 28.89MB read\nRequests/sec:  21920.05\n";
        let expect = Load { requests: 131_700.0, per_second: 21_920.05, p99_ms: 1.25, failures: 0 };
        assert_eq!(parse(text).unwrap(), expect);
        let bad = format!(
            "{text}  Socket errors: connect 0, read 3, write 0, timeout 2\n  Non-2xx or 3xx \
             responses: 7\n"
        );
        assert_eq!(parse(&bad).unwrap().failures, 12);
        assert!(parse("unable to connect").is_err());
    }
}
