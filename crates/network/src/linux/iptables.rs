//! Docker's chain for rules of others, `DOCKER-USER`. Docker closes the way between networks that
//! it does not know of, and only a rule there opens it again: an accept in a table of our own ends
//! nothing but that table. The `iptables` program is used, as Docker does: both of its back ends
//! look alike through it.

use crate::Error;
use crate::overlay::Entry;
use model::limits::{IPTABLES_MS_MAX, REASON_BYTES_MAX};
use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// Docker's chain.
const CHAIN: &str = "DOCKER-USER";
/// Begin of the comment on our rules; the bridge follows.
const MARK: &str = "remuda-";

/// Our rules in the chain; `None` when there is no such chain, or no `iptables` that could have
/// made one.
pub(super) async fn accepted() -> Result<Option<Vec<Entry>>, Error> {
    let output = match run(&["-S", CHAIN]).await {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    // There is no other reason to refuse a list: what is wrong shows when a rule is made.
    if !output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Some(text.lines().filter_map(rule_of).collect()))
}

/// Puts a rule before those of others.
pub(super) async fn accept(bridge: &str, words: &str) -> Result<(), Error> {
    change("-I", bridge, words).await
}

/// Takes our rule away.
pub(super) async fn withdraw(bridge: &str, words: &str) -> Result<(), Error> {
    change("-D", bridge, words).await
}

async fn change(how: &str, bridge: &str, words: &str) -> Result<(), Error> {
    let comment = format!("{MARK}{bridge}");
    let mut arguments = vec![how, CHAIN];
    arguments.extend(words.split(' '));
    arguments.extend(["-m", "comment", "--comment", &comment, "-j", "ACCEPT"]);
    let output = run(&arguments).await.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Error::IptablesRefused { stderr: line.chars().take(REASON_BYTES_MAX / 4).collect() })
}

fn failed(source: io::Error) -> Error {
    Error::IptablesRun { source }
}

async fn run(arguments: &[&str]) -> io::Result<Output> {
    let path = std::env::var("PATH").unwrap_or_default();
    let child = Command::new("iptables")
        .args(["-w", "5"])
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin:/usr/local/sbin"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(Duration::from_millis(IPTABLES_MS_MAX), child)
        .await
        .unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()))
}

/// One of ours in a line of `iptables -S`.
fn rule_of(line: &str) -> Option<Entry> {
    let line = line.replace('"', "");
    let rest = line.strip_prefix("-A DOCKER-USER ")?;
    let (words, rest) = rest.split_once(" -m comment --comment ")?;
    let bridge = rest.strip_prefix(MARK)?.strip_suffix(" -j ACCEPT")?;
    Some(Entry::Accept { bridge: bridge.to_owned(), words: words.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rule_with_our_mark_is_ours() {
        let ours = |words: &str| {
            Some(Entry::Accept { bridge: "remuda0".to_owned(), words: words.to_owned() })
        };
        let cases = [
            (
                "-A DOCKER-USER -i remudavx0 -o remuda0 -m comment --comment remuda-remuda0 -j ACCEPT",
                ours("-i remudavx0 -o remuda0"),
            ),
            (
                "-A DOCKER-USER -s 10.42.0.0/16 -o remuda0 -m comment --comment \"remuda-remuda0\" -j ACCEPT",
                ours("-s 10.42.0.0/16 -o remuda0"),
            ),
            ("-A DOCKER-USER -i remudavx0 -o remuda0 -j ACCEPT", None),
            ("-A DOCKER-USER -m comment --comment other -j ACCEPT", None),
            ("-A DOCKER-USER -i a -m comment --comment remuda-remuda0 -j DROP", None),
            ("-N DOCKER-USER", None),
            ("-A DOCKER-USER -j RETURN", None),
        ];
        for (line, expected) in cases {
            assert_eq!(rule_of(line), expected, "{line}");
        }
    }
}
