//! `cargo xtask cluster` runs this: a cluster of hosts on this machine, and what can go wrong with
//! it. Commands on a cluster run on its ground: this program calls itself there.

mod words;

use clap::Parser as _;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testbed::{
    Cluster, Delay, Error, Keeper, Result, SWITCH, State, ground, images, relay, wait_for,
};
use words::{Format, Options, Up, Verb};

/// Exit code of a command that was killed by a signal: that much more than its number.
const KILLED: i32 = 128;
/// Longest wait for a whole cluster; each step of it has a shorter one of its own.
const UP: Duration = Duration::from_secs(1_800);
/// Exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    match Options::parse().whole().and_then(|options| run(&options)) {
        Ok(code) => code,
        Err(error) => {
            say_error(&format!("error: {}", error.chain()));
            ExitCode::FAILURE
        }
    }
}

/// A reader that went away is no reason to stop.
fn say(text: &str) {
    writeln!(std::io::stdout().lock(), "{text}").ok();
}

fn say_error(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").ok();
}

fn run(options: &Options) -> Result<ExitCode> {
    match &options.verb {
        Verb::Relay { near, far, ms, jitter } => {
            relay::run(near, far, Delay { ms: *ms, jitter_ms: *jitter }, || false)?;
        }
        Verb::Down => down(options)?,
        Verb::Images { folder } => say(&images::saved(folder)?.to_string_lossy()),
        Verb::Up(up) if !options.inside => return start(options, up),
        _ if !options.inside => {
            let init = ground::running(&options.folder)?;
            return Err(failed("nsenter", &again(options, init)?.exec()));
        }
        Verb::Up(up) => bring_up(options, up)?,
        Verb::Exec { machine, command } => return exec(options, machine, command),
        Verb::Status { output } => {
            let status = Cluster::look(&options.folder)?.status();
            let json = || serde_json::to_string_pretty(&status);
            match output {
                Format::Table => say(&status.to_string()),
                Format::Json => say(&json().map_err(|e| failed("status", &e.into()))?),
            }
        }
        verb => change(&mut Cluster::open(&options.folder, keeper()?)?, verb)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(what: &str, error: &std::io::Error) -> Error {
    Error::Run { command: what.to_owned(), why: error.to_string() }
}

/// What delays frames goes on when this command has ended.
fn keeper() -> Result<Keeper> {
    std::env::current_exe().map(Keeper::Program).map_err(|e| failed("this program", &e))
}

/// This program with the same words, on the ground.
fn again(options: &Options, init: testbed::Ident) -> Result<Command> {
    let own = std::env::current_exe().map_err(|e| failed("this program", &e))?;
    let mut command = ground::enter(init, &own);
    command.arg("--inside").arg("--folder").arg(&options.folder);
    command.args(words::after_folder(std::env::args_os().skip(1)));
    Ok(command)
}

fn down(options: &Options) -> Result {
    let there = ground::end(&options.folder)?;
    ground::sweep()?;
    let folder = options.folder.display();
    say(&if there { format!("gone: {folder}") } else { format!("no cluster is in {folder}") });
    Ok(())
}

/// Outside: the ground, then the rest on it. What does not come up is taken away again.
fn start(options: &Options, up: &Up) -> Result<ExitCode> {
    testbed::host_count(up.hosts)?;
    if up.binary.is_none() && !up.bare {
        return Err(Error::Refused("name the remuda to run with --binary, or say --bare".into()));
    }
    for path in [&up.binary, &up.images].into_iter().flatten() {
        if !path.is_file() {
            return Err(Error::Refused(format!("there is no file {}", path.display())));
        }
    }
    let stopped = listen()?;
    let init = ground::start(&options.folder)?;
    let child = again(options, init)?.spawn().map_err(|e| failed("nsenter", &e));
    let mut child = child.inspect_err(|_| take_away(&options.folder))?;
    let status = wait_for("the cluster to come up", UP, || {
        let ended = child.try_wait().map_err(|e| failed("nsenter", &e))?;
        let stopped = stopped.load(Ordering::Relaxed);
        Ok(if stopped { Some(None) } else { ended.map(Some) })
    });
    match status {
        Ok(Some(status)) if status.success() => return Ok(ExitCode::SUCCESS),
        Ok(Some(_)) => {}
        Ok(None) => {
            take_away(&options.folder);
            say_error("interrupted: it is taken away again");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Err(error) => say_error(&format!("error: {}", error.chain())),
    }
    if up.keep {
        say_error(&format!("it is left as it is: {}", options.folder.display()));
    } else {
        take_away(&options.folder);
    }
    Ok(ExitCode::FAILURE)
}

/// Set by Ctrl-C and SIGTERM, which what runs on the ground hears as well or is ended with.
fn listen() -> Result<Arc<AtomicBool>> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stopped))
            .map_err(|e| failed("listening for Ctrl-C", &e))?;
    }
    Ok(stopped)
}

fn take_away(folder: &Path) {
    if let Err(error) = ground::end(folder) {
        say_error(&format!("error: taking it away: {}", error.chain()));
    }
}

fn bring_up(options: &Options, up: &Up) -> Result {
    let since = Instant::now();
    let mut tell =
        |what: &str| say(&format!("==> {what} ({:.1} s)", since.elapsed().as_secs_f64()));
    let mut state = State::new(up.hosts);
    state.binary = up.binary.clone().filter(|_| !up.bare);
    state.images.clone_from(&up.images);
    state.mtu = up.mtu;
    state.disk_mib = up.disk;
    state.dockerd_args.clone_from(&up.dockerd_arg);
    state.server_args.clone_from(&up.server_arg);
    let cluster = Cluster::up(&options.folder, state, keeper()?, &mut tell)?;
    say(&cluster.status().to_string());
    Ok(())
}

fn exec(options: &Options, machine: &str, words: &[String]) -> Result<ExitCode> {
    let cluster = Cluster::look(&options.folder)?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(Error::Refused("name a command, for example `exec h1 -- docker ps`".into()));
    };
    // the switch is where this program is already; its home is the one with the server's context
    let mut command = match machine {
        SWITCH => cluster.on_switch(program),
        machine => cluster.on(machine, program)?,
    };
    let status = command.args(arguments).status().map_err(|e| failed(program, &e))?;
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = status.code().unwrap_or_else(|| KILLED + signal.unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// What changes a cluster that is up.
fn change(cluster: &mut Cluster, verb: &Verb) -> Result {
    match verb {
        Verb::Cut { machine, other: None } => cluster.cut(machine),
        Verb::Cut { machine, other: Some(other) } => cluster.cut_between(machine, other),
        Verb::Heal { machine: None, .. } => cluster.heal_all(),
        Verb::Heal { machine: Some(machine), other: None } => cluster.heal(machine),
        Verb::Heal { machine: Some(machine), other: Some(other) } => {
            cluster.heal_between(machine, other)
        }
        Verb::Drop { machine, percent } => cluster.drop_frames(machine, *percent),
        Verb::Oneway { from, to } => cluster.one_way(from, to),
        Verb::Delay { machine, ms, jitter } => {
            cluster.delay(machine, Delay { ms: *ms, jitter_ms: *jitter })
        }
        Verb::Kill { machine, role } => cluster.kill(machine, *role),
        Verb::Boot { machine, role } => cluster.boot(machine, *role),
        Verb::Hang { machine, role } => cluster.hang(machine, *role),
        Verb::Wake { machine, role } => cluster.wake(machine, *role),
        // done before
        Verb::Up(_) | Verb::Down | Verb::Exec { .. } | Verb::Status { .. } => Ok(()),
        Verb::Relay { .. } | Verb::Images { .. } => Ok(()),
    }
}
