//! The one binary: parse, set up logs, run one command.

mod cli;
mod exit;
mod output;
mod paths;
mod role;
mod telemetry;

use clap::Parser as _;
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(words) = cli::consul::called(&words) {
        return finish(1, cli::consul::run(words));
    }
    if let Some(applet) = cli::template::called(&words) {
        return finish(1, cli::template::run(applet));
    }
    let cli = cli::Cli::parse();
    telemetry::init(&cli);
    finish(role::worker_threads(&cli), cli::run(cli))
}

/// Runs one command on a runtime of its own.
fn finish(threads: usize, work: impl Future<Output = exit::Outcome>) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(threads).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("the runtime cannot be started: {error}"), "");
            return ExitCode::from(exit::ERROR);
        }
    };
    let code = match runtime.block_on(work) {
        Ok(()) => 0,
        Err(error) => {
            error.print();
            error.code()
        }
    };
    // Blocking reads of stdin must not hold the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}
