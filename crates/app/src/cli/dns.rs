//! `dns`: this machine, and Docker's default bridge, ask Remuda for names, or do so no longer.
//! `plan` decides, `files` does.

mod files;
mod plan;
mod question;

use super::{Format, Global};
use crate::exit::{Failure, Outcome};
use crate::output::{self, Cell};
use crate::paths::DATA_DIR;
use clap::{Args, Subcommand};
use files::Machine;
use plan::{ADDRESS, Kept, Plan};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands of `dns`.
#[derive(Debug, Subcommand)]
pub(crate) enum DnsCommand {
    /// Make this machine ask Remuda first, and say what was changed
    #[command(after_help = INSTALL)]
    Install {
        #[command(flatten)]
        place: Place,
        /// A domain that is Remuda's too, besides rancher.internal and remuda.internal
        #[arg(long, default_value = "consul")]
        domain: Vec<String>,
        /// Though nothing answers at 169.254.169.250
        #[arg(long)]
        unchecked: bool,
    },
    /// Put back what `install` changed
    #[command(after_help = UNDO)]
    Undo {
        #[command(flatten)]
        place: Place,
    },
    /// Who is asked for names here, and does Remuda answer
    #[command(after_help = STATUS)]
    Status {
        #[command(flatten)]
        place: Place,
    },
}

pub(super) const HELP: &str = "Examples:
  sudo remuda dns install
  remuda dns status
  sudo remuda dns undo

How names are answered is set with `remuda net dns`.";

const INSTALL: &str = "It knows systemd-resolved (a drop-in and a reload), resolvconf (its head), and an /etc/resolv.conf that
nobody else writes (one line before the others). Anything else is refused, and nothing is changed.
Containers of Docker's default bridge get what the host has when they start, so that dockerd is not
touched, unless /etc/docker/daemon.json has servers of its own: they get Remuda's before them, which
dockerd reads when it starts the next time. What was there is kept for `remuda dns undo`.

Examples:
  sudo remuda dns install
  sudo remuda dns install --domain consul --domain dc.example
  sudo remuda dns status";

const UNDO: &str = "A file that somebody has changed since loses our lines and keeps the rest.

Examples:
  sudo remuda dns undo";

const STATUS: &str = "Examples:
  remuda dns status
  remuda dns status -o json";

/// Where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// Data folder, where what was changed is kept
    #[arg(long, default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Another root of the file system: files below it are changed, and nothing is told of it
    #[arg(long, default_value = "/")]
    root: PathBuf,
}

impl Place {
    fn is_this_machine(&self) -> bool {
        self.root == Path::new("/")
    }
}

/// `remuda dns`.
///
/// # Errors
/// When the machine is one that it does not understand, or a file cannot be read or written: what
/// was changed until then is put back.
pub(super) fn run(global: &Global, command: &DnsCommand) -> Outcome {
    match command {
        DnsCommand::Install { place, domain, unchecked } => {
            install(global, place, domain, *unchecked)
        }
        DnsCommand::Undo { place } => undo(global, place),
        DnsCommand::Status { place } => status(global, place),
    }
}

fn install(global: &Global, place: &Place, domains: &[String], unchecked: bool) -> Outcome {
    let machine = Machine::new(&place.root, &place.data_dir);
    let refused = |why: String| {
        Failure::error(why).hint("nothing was changed; see docs/dns.md for other ways")
    };
    let plan = plan::install(&machine.look()?, domains).map_err(refused)?;
    if !unchecked && place.is_this_machine() {
        question::ask(ADDRESS).map_err(|why| {
            Failure::error(format!("nothing answers at {ADDRESS}: {why}"))
                .hint("start `remuda agent` or `remuda dev` first, or say --unchecked")
        })?;
    }
    let known = machine.kept()?;
    carry_out(global, place, &machine, &plan, |edits| {
        machine.keep(&known.unwrap_or_default().with(plan.manager, edits))
    })
}

fn undo(global: &Global, place: &Place) -> Outcome {
    let machine = Machine::new(&place.root, &place.data_dir);
    let Some(kept) = machine.kept()? else {
        if !global.quiet {
            output::note("nothing to undo: `remuda dns install` was not run here");
        }
        return Ok(());
    };
    let plan = plan::undo(&kept, |path| machine.read(path))?;
    carry_out(global, place, &machine, &plan, |_| Ok(()))?;
    machine.forget()
}

/// Writes the files, tells who has to know, and says what was done.
fn carry_out(
    global: &Global,
    place: &Place,
    machine: &Machine,
    plan: &Plan,
    keep: impl FnOnce(&[plan::Edit]) -> Outcome,
) -> Outcome {
    if !plan.edits.is_empty() {
        keep(&plan.edits)?;
        machine.write(&plan.edits)?;
    }
    match global.output {
        Format::Json => output::json(plan),
        Format::Name => plan.edits.iter().for_each(|edit| output::line(&edit.path)),
        Format::Table | Format::Wide => {
            plan.words().iter().for_each(|text| output::line(&output::harmless(text)));
        }
    }
    let tell = plan.command.filter(|_| place.is_this_machine() && !plan.edits.is_empty());
    if let Some((program, args)) = tell.and_then(|words| words.split_first()) {
        let line = plan.command.unwrap_or_default().join(" ");
        let failed = |why: String| {
            Failure::error(format!("`{line}` failed: {why}"))
                .hint("the files are written: run it yourself, or `remuda dns undo`")
        };
        let ran = Command::new(program).args(args).output();
        let ran = ran.map_err(|error| failed(error.to_string()))?;
        if !ran.status.success() {
            return Err(failed(String::from_utf8_lossy(&ran.stderr).trim().to_owned()));
        }
        if global.output == Format::Table {
            output::line(&format!("ran `{line}`"));
        }
    }
    Ok(())
}

fn status(global: &Global, place: &Place) -> Outcome {
    let machine = Machine::new(&place.root, &place.data_dir);
    let installed = machine.kept()?.is_some();
    let state = plan::state(&machine.look()?);
    let answers = match place.is_this_machine() {
        true => {
            question::ask(ADDRESS).map_or_else(|why| format!("no: {why}"), |()| "yes".to_owned())
        }
        false => "not asked".to_owned(),
    };
    let rows = [
        ("installed", if installed { "yes" } else { "no" }.to_owned()),
        ("names of this machine", state.manager),
        ("asks Remuda", if state.host { "yes" } else { "no" }.to_owned()),
        ("Docker's default bridge", state.bridge),
        ("Remuda answers", answers),
    ];
    match global.output {
        Format::Json => {
            let all: std::collections::BTreeMap<_, _> = rows.into_iter().collect();
            output::json(&all);
        }
        _ => {
            let rows =
                rows.into_iter().map(|(what, value)| vec![Cell::from(what), Cell::from(value)]);
            output::table(&["WHAT", "IS"], &rows.collect::<Vec<_>>());
        }
    }
    Ok(())
}

impl Kept {
    /// With what is changed now: of a file that is changed again the newest word on what was before.
    fn with(mut self, manager: plan::Manager, edits: &[plan::Edit]) -> Self {
        self.manager = Some(manager);
        for edit in edits {
            self.edits.retain(|known| known.path != edit.path);
            self.edits.push(edit.clone());
        }
        self
    }
}
