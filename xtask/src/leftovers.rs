//! What of Remuda is on this machine: looked for with other people's tools, so that Remuda's own
//! word is not the proof.

use crate::shell;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// On every container and network that Remuda makes.
const LABEL: &str = "label=io.remuda.environment";

/// Refuses to begin where another Remuda is at work: its network would be ours.
pub(crate) fn nobody_else_is_here() -> Result<()> {
    let here = find(Path::new("/nowhere"));
    if !here.is_empty() {
        bail!(
            "another Remuda is on this machine ({}); take it away first: `remuda dev down`",
            here.join(", ")
        );
    }
    Ok(())
}

/// Everything that can be found, one line each.
pub(crate) fn find(binary: &Path) -> Vec<String> {
    let mut found = vec![];
    listed(&mut found, "container", docker(&["ps", "-a", "--format", "{{.Names}}"]));
    listed(&mut found, "network", docker(&["network", "ls", "--format", "{{.Name}}"]));
    let tables = shell::read(Command::new("nft").args(["list", "tables"]));
    let ours = |text: String, part: &str| {
        text.lines().filter(|line| line.contains(part)).map(str::to_owned).collect::<Vec<_>>()
    };
    listed(&mut found, "nft", tables.map(|text| ours(text, "remuda")));
    let addresses = shell::read(Command::new("ip").args(["-o", "address"]));
    listed(&mut found, "address", addresses.map(|text| ours(text, "169.254.169.250")));
    found.extend(processes(binary).iter().map(|pid| format!("process {pid}")));
    found
}

fn docker(arguments: &[&str]) -> Result<Vec<String>> {
    let text = shell::read(Command::new("docker").args(arguments).args(["--filter", LABEL]))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What could not be looked at counts as found: silence is no proof.
fn listed(found: &mut Vec<String>, what: &str, outcome: Result<Vec<String>>) {
    match outcome {
        Ok(names) => found.extend(names.iter().map(|name| format!("{what} {name}"))),
        Err(error) => found.push(format!("{what}: cannot be looked at: {error:#}")),
    }
}

/// Processes that run this binary, deleted or not.
pub(crate) fn processes(binary: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return vec![] };
    let mut found = vec![];
    for entry in entries.flatten() {
        // a process may end while we look, and kernel threads have no file
        let Ok(runs) = std::fs::read_link(entry.path().join("exe")) else { continue };
        let runs = runs.to_string_lossy();
        if Path::new(runs.trim_end_matches(" (deleted)")) == binary {
            found.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_binary() {
        let own = std::env::current_exe().unwrap();
        assert!(processes(&own).contains(&std::process::id()));
        assert!(processes(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn what_cannot_be_looked_at_counts_as_found() {
        let mut found = vec![];
        listed(&mut found, "network", Err(anyhow::anyhow!("no docker")));
        listed(&mut found, "container", Ok(vec!["a".into()]));
        assert_eq!(found, ["network: cannot be looked at: no docker", "container a"]);
    }
}
