//! What is to be done with a machine, from what it is and what the server knows. Pure: whatever
//! speaks against it is found here, before anything is changed there.

use super::facts::{Docker, Facts};
use crate::output;
use api::wire::HostRow;
use model::host::Environment;
use model::id::HostId;
use model::limits::{CLOCK_SKEW_MS_MAX, CLOCK_TOLD_MS, HOST_ROOM_BYTES_MIN};

/// Why it does not go on, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: String,
    pub(super) next: String,
}

impl Problem {
    pub(super) fn new(reason: impl Into<String>, next: impl Into<String>) -> Self {
        Self { reason: reason.into(), next: next.into() }
    }
}

/// How it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joining {
    /// It is in, and active.
    Is,
    /// It has never been a host of this environment.
    New,
    /// It was one: what runs there is taken over.
    Again,
}

/// How its agent is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// By systemd, at every boot.
    Unit,
    /// Now, by hand.
    Detached,
    /// Not at all: a person is told what to run.
    Told,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Its id.
    pub(super) host: HostId,
    /// Debian's packages to install.
    pub(super) packages: Vec<&'static str>,
    /// The binary is copied.
    pub(super) copy: bool,
    pub(super) joining: Joining,
    pub(super) start: Start,
    /// Of a host that is in: its agent runs an old binary, or would not run after the next boot.
    pub(super) restart: bool,
    /// What a person should know.
    pub(super) warnings: Vec<String>,
}

/// What is wanted, and what is known here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Architecture of this binary, as Rust has it.
    pub(super) arch: &'a str,
    /// Its bytes.
    pub(super) size: u64,
    /// Its SHA-256.
    pub(super) sha: &'a str,
    /// Time of this machine before and after the look, seconds since 1970.
    pub(super) looked_s: (i64, i64),
    pub(super) environment: &'a Environment,
    /// All hosts that the server knows.
    pub(super) rows: &'a [HostRow],
    /// The id that was asked for.
    pub(super) host: Option<&'a HostId>,
    /// Packages may be installed.
    pub(super) install: bool,
    /// Without systemd the agent is started by hand.
    pub(super) detached: bool,
}

/// Decides.
///
/// # Errors
/// What speaks against this machine.
pub(super) fn decide(facts: &Facts, wanted: &Wanted<'_>) -> Result<Plan, Problem> {
    program_runs(facts, wanted)?;
    let mut warnings: Vec<String> = clock(facts, wanted)?.into_iter().collect();
    let host = identity(facts, wanted)?;
    let joining = joining(facts, wanted, &host)?;
    let copy = facts.sha.as_deref() != Some(wanted.sha);
    if copy {
        // the old one stays until the new one is whole
        room("/usr/local", facts.room_program, wanted.size + HOST_ROOM_BYTES_MIN / 4)?;
    }
    let packages = match joining {
        Joining::Is => vec![],
        _ => {
            room("/var/lib", facts.room_data, HOST_ROOM_BYTES_MIN)?;
            packages(facts, wanted)?
        }
    };
    let start = match (facts.systemd, wanted.detached) {
        (true, _) => Start::Unit,
        (false, true) => Start::Detached,
        (false, false) => Start::Told,
    };
    if joining == Joining::Is && facts.docker == Docker::Silent {
        warnings.push("Docker gives no answer there".into());
    }
    let restart = copy || (start == Start::Unit && !facts.enabled);
    Ok(Plan { host, packages, copy, joining, start, restart, warnings })
}

/// Is it a machine that this very binary runs on?
fn program_runs(facts: &Facts, wanted: &Wanted<'_>) -> Result<(), Problem> {
    if facts.os != "Linux" {
        let reason = format!("it runs {}, and a host runs Linux", facts.os);
        return Err(Problem::new(reason, "take a machine with Linux and Docker"));
    }
    if architecture(&facts.arch) != architecture(wanted.arch) {
        return Err(Problem::new(
            format!("it is {}, and this binary is for {}", facts.arch, wanted.arch),
            format!("run `remuda host add` with a binary for {}", facts.arch),
        ));
    }
    Ok(())
}

/// One word for what kernel and compiler name each in their way.
fn architecture(name: &str) -> &str {
    match name {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "i386" | "i486" | "i586" | "i686" => "x86",
        name if name.starts_with("armv") => "arm",
        "ppc64" | "ppc64le" => "powerpc64",
        name => name,
    }
}

/// What to say of its clock.
fn clock(facts: &Facts, wanted: &Wanted<'_>) -> Result<Option<String>, Problem> {
    let (before, after) = wanted.looked_s;
    // Whatever the look took is no error of the clock.
    let off_s = facts.now_s.saturating_sub(facts.now_s.clamp(before, after.max(before)));
    let off_ms = off_s.unsigned_abs().saturating_mul(1_000);
    let (direction, off) = (if off_s > 0 { "ahead" } else { "behind" }, off_s.unsigned_abs());
    if off_ms > CLOCK_SKEW_MS_MAX {
        return Err(Problem::new(
            format!("its clock is {off} s {direction} of the one here; 30 minutes are the most"),
            "set the clock that is wrong (on Debian: apt-get install systemd-timesyncd)",
        ));
    }
    Ok((off_ms > CLOCK_TOLD_MS).then(|| format!("its clock is {off} s {direction}")))
}

/// The id that the host has or gets.
fn identity(facts: &Facts, wanted: &Wanted<'_>) -> Result<HostId, Problem> {
    if let Some(other) = facts.environment.as_ref().filter(|id| **id != wanted.environment.id) {
        return Err(Problem::new(
            format!("it belongs to another environment ({other}), not to this one"),
            "there, `sudo remuda dev down` takes away what it is, and what runs there",
        ));
    }
    if facts.role.as_deref() == Some("dev") {
        return Err(Problem::new(
            "`remuda dev` runs there: it is server and agent of that machine in one",
            "it is a host already; stop `remuda dev` to make it the host of this server",
        ));
    }
    let kept = facts.host.as_deref().and_then(|text| HostId::parse(text).ok());
    match (kept, wanted.host) {
        (Some(kept), Some(asked)) if kept != *asked => Err(Problem::new(
            format!("it is host {kept} already, not {asked}"),
            "leave the id out, or `sudo remuda agent reset` there to make another host of it",
        )),
        (Some(kept), _) => Ok(kept),
        (None, Some(asked)) => Ok(asked.clone()),
        (None, None) => Ok(crate::role::host_id(&facts.hostname)),
    }
}

fn joining(facts: &Facts, wanted: &Wanted<'_>, host: &HostId) -> Result<Joining, Problem> {
    let row = wanted.rows.iter().find(|row| row.id == host.as_str());
    match (facts.is_member, row) {
        (true, Some(row)) if row.status == "active" => Ok(Joining::Is),
        (true, _) => Ok(Joining::Again),
        (false, Some(row)) if facts.host.is_none() => {
            let at = match row.facts.address.as_str() {
                "" => String::new(),
                address => format!(" at {}", output::harmless(address)),
            };
            Err(Problem::new(
                format!("the id {host} is that of another host{at}, which is {}", row.status),
                format!(
                    "give this machine an id of its own (--host ID, or the last word of its \
                     line); if it is that host and has lost its data, `remuda host rm {host}` first"
                ),
            ))
        }
        (false, _) => Ok(Joining::New),
    }
}

fn room(place: &str, free: Option<u64>, needed: u64) -> Result<(), Problem> {
    match free {
        Some(free) if free < needed => Err(Problem::new(
            format!(
                "{} are free on the disk of {place}, and {} are needed",
                output::size(free),
                output::size(needed)
            ),
            "free some room there",
        )),
        _ => Ok(()),
    }
}

/// What has to be installed first.
fn packages(facts: &Facts, wanted: &Wanted<'_>) -> Result<Vec<&'static str>, Problem> {
    if facts.docker == Docker::Silent {
        return Err(Problem::new(
            "Docker is installed there and gives no answer",
            "start it (systemctl start docker), and look at what it says (journalctl -u docker)",
        ));
    }
    let mut packages: Vec<&'static str> = vec![];
    if facts.docker == Docker::Missing {
        packages.push("docker.io");
    }
    for program in &facts.lacks {
        packages.extend(match program.as_str() {
            "nft" => Some("nftables"),
            "ip" => Some("iproute2"),
            "iptables" => Some("iptables"),
            _ => None,
        });
    }
    if packages.is_empty() || wanted.install && facts.apt {
        return Ok(packages);
    }
    let mut missing: Vec<&str> = facts.lacks.iter().map(String::as_str).collect();
    if facts.docker == Docker::Missing {
        missing.insert(0, "Docker");
    }
    let missing = missing.join(", ");
    if !facts.apt {
        let next = format!("install {missing} with the packages of that system, then try again");
        return Err(Problem::new(format!("it has no {missing}, and no apt-get"), next));
    }
    Err(Problem::new(
        format!("it has no {missing}"),
        format!(
            "add --install-docker, or there: apt-get install --no-install-recommends {}",
            packages.join(" ")
        ),
    ))
}

#[cfg(test)]
mod tests;
