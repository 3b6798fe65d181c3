//! `host add`: machines become hosts over ssh, one or many at a time. Here are the options and who
//! works at what time; what is done with one machine is in `add/work.rs`.

mod board;
mod decide;
mod facts;
mod list;
mod script;
mod ssh;
mod target;
mod work;

use crate::cli::{Global, apply, examples};
use crate::exit::{ERROR, Failure, INTERRUPTED, Outcome};
use crate::output;
use crate::role::make_private_dir;
use api::client::Client;
use api::routes;
use board::{Added, Board};
use clap::Args;
use futures_util::StreamExt as _;
use list::Entry;
use model::host::Environment;
use model::id::HostId;
use model::limits::{HOSTS_ADDED_AT_ONCE, HOSTS_ADDED_AT_ONCE_MAX, HOSTS_FILE_BYTES_MAX};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use target::Target;
use work::{Binary, Shared, Work};

/// Mistakes of a file that are told; of more there is the number.
const TOLD_MAX: usize = 20;
/// Longest path of a folder for the sockets of ssh: the kernel takes 107 bytes for a whole one.
const FOLDER_BYTES_MAX: usize = 40;
/// This very program, also when its file has been replaced since.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Options of `host add`.
#[derive(Debug, Args)]
#[command(after_help = examples::HOST_ADD)]
pub(crate) struct AddArgs {
    /// Machine to add, [user@]address[:port]; several may be named
    #[arg(value_name = "USER@ADDRESS", required_unless_present = "file", conflicts_with = "file")]
    machines: Vec<String>,
    /// File with a machine a line: user@address, labels (key=value,…), host id; `-` is stdin
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Id of the host [default: its host name]
    #[arg(long, conflicts_with = "file", value_parser = super::host_id)]
    host: Option<HostId>,
    /// A label that each of them gets, key=value; may be said again
    #[arg(long = "label", value_parser = list::label)]
    labels: Vec<(String, String)>,
    /// Private key to log in with [default: ssh's own choice]
    #[arg(short, long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Configuration of ssh, instead of ~/.ssh/config
    #[arg(long, value_name = "FILE")]
    ssh_config: Option<PathBuf>,
    /// Take the key that an unknown machine shows for its own, without a look at its fingerprint
    #[arg(long)]
    accept_new_host_key: bool,
    /// Where the hosts reach the server, HOST:PORT [default: as this command reaches it]
    #[arg(long, value_parser = target::server)]
    server: Option<String>,
    /// Install Docker and what else is missing, by apt-get
    #[arg(long)]
    install_docker: bool,
    /// Do not ask whether packages may be installed
    #[arg(short, long)]
    yes: bool,
    /// Where there is no systemd, start the agent by hand, until the machine is next off
    #[arg(long)]
    detached: bool,
    /// Machines that are worked on at a time
    #[arg(long, default_value_t = HOSTS_ADDED_AT_ONCE, value_parser = at_once)]
    parallel: usize,
    /// Wait so long until the server sees the host
    #[arg(long, default_value = "60s", value_parser = apply::duration)]
    wait: Duration,
}

fn at_once(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=HOSTS_ADDED_AT_ONCE_MAX).contains(&n) => Ok(n),
        _ => Err(format!("{text:?} is not between 1 and {HOSTS_ADDED_AT_ONCE_MAX}")),
    }
}

/// `remuda host add`.
///
/// # Errors
/// Exit code 2 when the words or the file are wrong: nothing was done; 1 when a machine did not
/// become a host.
pub(super) async fn run(global: &Global, client: Client, args: AddArgs) -> Outcome {
    let entries = entries(&args)?;
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    may_install(&args, entries.len(), terminal)?;
    let can_ask = terminal && (entries.len() == 1 || args.parallel == 1);
    let environment: Environment = client.get(routes::ENVIRONMENT).await?;
    let folder = Folder::make()?;
    let shared = Shared {
        client,
        environment,
        login: ssh::Login {
            identity: args.identity,
            config: args.ssh_config,
            accept_new: args.accept_new_host_key,
            can_ask,
        },
        binary: tokio::task::spawn_blocking(this_program)
            .await
            .map_err(std::io::Error::other)??,
        server: args.server,
        install: args.install_docker,
        detached: args.detached,
        wait: args.wait,
        folder: folder.0.clone(),
        taken: Mutex::default(),
        tokens: Mutex::new(BTreeSet::new()),
    };
    let targets: Vec<String> = entries.iter().map(|entry| entry.target.to_string()).collect();
    let board = Board::new(global, &targets, can_ask);
    let all = tokio::select! {
        all = Box::pin(work(&shared, &entries, &board, args.parallel)) => Some(all),
        _ = tokio::signal::ctrl_c() => None,
    };
    shared.revoke_all().await;
    let Some(all) = all else {
        return Err(Failure::Message {
            code: INTERRUPTED,
            message: "interrupted; machines that were not done with may have the binary".into(),
            hint: "run the same command again: it goes on with what is missing".into(),
        });
    };
    board::summary(global, &all);
    match all.iter().any(Added::has_failed) {
        true => Err(Failure::Code(ERROR)),
        false => Ok(()),
    }
}

/// All machines, some at a time; the results in the order of the machines.
async fn work(shared: &Shared, entries: &[Entry], board: &Board, parallel: usize) -> Vec<Added> {
    let one = |(number, entry)| async move {
        (number, Work { shared, entry, number, board }.run().await)
    };
    let mut all: Vec<(usize, Added)> = futures_util::stream::iter(entries.iter().enumerate())
        .map(one)
        .buffer_unordered(parallel)
        .collect()
        .await;
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, added)| added).collect()
}

/// Who is to be added, by the words or by the file.
fn entries(args: &AddArgs) -> Outcome<Vec<Entry>> {
    let mut entries = match &args.file {
        Some(path) => read_file(path)?,
        None => named(args)?,
    };
    let count = args.labels.len();
    let labels: BTreeMap<String, String> = args.labels.iter().cloned().collect();
    if labels.len() < count {
        return Err(Failure::usage("a label is named twice"));
    }
    for entry in &mut entries {
        // What a line says is said of that machine, and counts more.
        let own = std::mem::take(&mut entry.labels);
        entry.labels = labels.clone().into_iter().chain(own).collect();
    }
    Ok(entries)
}

fn named(args: &AddArgs) -> Outcome<Vec<Entry>> {
    if args.host.is_some() && args.machines.len() > 1 {
        return Err(Failure::usage("--host names one host, and there is more than one machine")
            .hint("write them into a file, with an id at the end of each line: --file hosts.txt"));
    }
    let mut entries: Vec<Entry> = vec![];
    for text in &args.machines {
        let target = Target::parse(text).map_err(|why| {
            Failure::usage(why).hint("remuda host add user@address[:port], e.g. root@10.0.0.1")
        })?;
        if entries.iter().any(|entry| entry.target.is_same_machine(&target)) {
            return Err(Failure::usage(format!("{} is named twice", target.address)));
        }
        let host = args.host.clone();
        entries.push(Entry { target, labels: BTreeMap::new(), host });
    }
    Ok(entries)
}

fn read_file(path: &Path) -> Outcome<Vec<Entry>> {
    let is_stdin = path.as_os_str() == "-";
    let name = if is_stdin { "stdin".into() } else { path.display().to_string() };
    let failed = |e: std::io::Error| Failure::usage(format!("{name} cannot be read: {e}"));
    let mut bytes = vec![];
    let most = HOSTS_FILE_BYTES_MAX + 1;
    let read = match is_stdin {
        true => std::io::stdin().lock().take(most).read_to_end(&mut bytes),
        false => std::fs::File::open(path).and_then(|f| f.take(most).read_to_end(&mut bytes)),
    };
    read.map_err(failed)?;
    if bytes.len() as u64 == most {
        let most = output::size(HOSTS_FILE_BYTES_MAX);
        return Err(Failure::usage(format!("{name} is larger than {most}")).hint("split it"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::usage(format!("{name}:{line}: this is no text (UTF-8)"))
    })?;
    list::read(&name, &text).map_err(|mut wrong| {
        let more = wrong.len().saturating_sub(TOLD_MAX);
        wrong.truncate(TOLD_MAX);
        if more > 0 {
            wrong.push(format!("… and {more} more"));
        }
        Failure::usage(wrong.join("\n  "))
            .hint("a line is user@address, labels (key=value,…), host id; nothing was done")
    })
}

/// Packages are installed only when somebody has said so.
fn may_install(args: &AddArgs, count: usize, terminal: bool) -> Outcome {
    if !args.install_docker || args.yes {
        return Ok(());
    }
    if !terminal {
        return Err(Failure::usage("nobody is there to say whether packages may be installed")
            .hint("add --yes to --install-docker"));
    }
    let machines = if count == 1 { "the machine".into() } else { format!("{count} machines") };
    output::raw_note(&format!(
        "Docker, nftables, iproute2 and iptables will be installed by apt-get where they are \
         missing on {machines}. Go on? [y/N] "
    ));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::error("not added: packages may not be installed")
            .hint("leave out --install-docker, and install Docker there by hand")),
    }
}

/// The program that is copied, with its SHA-256.
fn this_program() -> Outcome<Binary> {
    let failed = |e: std::io::Error| {
        Failure::error(format!("this program cannot be read ({THIS_PROGRAM}): {e}"))
            .hint("`host add` copies itself: run it on Linux, with /proc mounted")
    };
    let mut file = std::fs::File::open(THIS_PROGRAM).map_err(failed)?;
    let mut hasher = Sha256::new();
    let size = std::io::copy(&mut file, &mut hasher).map_err(failed)?;
    let sha = api::token::hex(&hasher.finalize());
    Ok(Binary { path: THIS_PROGRAM.into(), size, sha })
}

/// A private folder for sockets, gone when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Outcome<Self> {
        let mut above = std::env::temp_dir();
        if above.as_os_str().len() > FOLDER_BYTES_MAX {
            above = "/tmp".into();
        }
        let name = api::token::hex(&rand::random::<[u8; 6]>());
        let path = above.join(format!("remuda-add-{name}"));
        make_private_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(folder = %self.0.display(), %error, "folder stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::host::HostCommand;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn args(words: &[&str]) -> Result<AddArgs, String> {
        let words = ["remuda", "host", "add"].iter().chain(words);
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Host(HostCommand::Add(args)) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    fn wrong(words: &[&str]) -> String {
        match args(words).map(|args| entries(&args)) {
            Ok(Err(Failure::Message { code: 2, message, .. })) => message,
            Err(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_anything_is_done() {
        for (words, why) in [
            (&[][..], "required"),
            (&["--", "-oProxyCommand=id@h"], "not the name of a user"),
            (&["root@h", "ops@h"], "named twice"),
            (&["root@a", "root@b", "--host", "n1"], "more than one machine"),
            (&["root@a", "--host", "-n1"], "host"),
            (&["root@a", "--label", "zone"], "not a label"),
            (&["root@a", "--label", "zone=a", "--label", "zone=b"], "named twice"),
            (&["root@a", "--server", "https://a"], "not HOST:PORT"),
            (&["root@a", "--parallel", "0"], "between 1 and 64"),
            (&["root@a", "-f", "hosts.txt"], "cannot be used with"),
            (&["-f", "/no/such/file"], "/no/such/file cannot be read"),
        ] {
            let said = wrong(words);
            assert!(said.contains(why), "{words:?}: {said} should say {why}");
        }
    }

    #[test]
    fn the_labels_of_a_line_count_more_than_those_of_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts.txt");
        std::fs::write(&path, "root@a zone=a\nroot@b\n").unwrap();
        let words = ["-f", path.to_str().unwrap(), "--label", "zone=z", "--label", "x=y"];
        let entries = entries(&args(&words).unwrap()).unwrap();
        assert_eq!(entries[0].labels["zone"], "a");
        assert_eq!((entries[1].labels["zone"].as_str(), entries[1].labels.len()), ("z", 2));
        std::fs::write(&path, b"root@a\n\xff\n").unwrap();
        assert!(wrong(&["-f", path.to_str().unwrap()]).contains("hosts.txt:2: this is no text"));
        std::fs::write(&path, "-x\n".repeat(50)).unwrap();
        assert!(wrong(&["-f", path.to_str().unwrap()]).contains("… and 30 more"));
    }

    #[test]
    fn packages_need_a_yes() {
        let args = args(&["root@a", "--install-docker"]).unwrap();
        assert_eq!(may_install(&args, 1, false).unwrap_err().code(), 2);
        let args = AddArgs { yes: true, ..args };
        assert!(may_install(&args, 1, false).is_ok());
    }

    #[test]
    fn the_program_that_is_copied_is_this_one() {
        let binary = this_program().unwrap();
        let here = std::fs::metadata(std::env::current_exe().unwrap()).unwrap();
        assert_eq!((binary.size, binary.sha.len()), (here.len(), 64));
    }
}
