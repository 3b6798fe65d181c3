//! The one binary: parse, set up logs, run one command.

mod cli;
mod exit;
mod output;
mod paths;
mod role;
mod telemetry;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    telemetry::init(&cli);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(role::worker_threads(&cli))
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("the runtime cannot be started: {error}"), "");
            return ExitCode::from(exit::ERROR);
        }
    };
    let code = match runtime.block_on(cli::run(cli)) {
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
