//! Logs: on stderr, for roles only; commands speak through `output`.

use crate::cli::Cli;
use tracing_subscriber::EnvFilter;

/// Sets up logs by `-v`, `-q` and `REMUDA_LOG`.
pub(crate) fn init(cli: &Cli) {
    crate::output::set_colour(cli.global.no_color);
    let default = match (cli.is_role(), cli.global.verbose) {
        // What the protocol says of itself is an error to nobody: a peer that rests, or is away.
        (true, 0) => "info,boringtun=off",
        (false, 0) => "off",
        (_, 1) => "info,remuda=debug",
        (_, 2) => "debug",
        (_, _) => "trace",
    };
    start(default);
}

/// Sets up logs of a command whose level is a setting of its own.
pub(crate) fn init_applet(level: &str) {
    if tracing::dispatcher::has_been_set() {
        return;
    }
    crate::output::set_colour(false);
    let known = match level {
        "trace" | "debug" | "info" | "error" => level,
        "err" | "fatal" | "panic" => "error",
        // As the originals write it, and what is no level.
        _ => "warn",
    };
    start(known);
}

fn start(default: &str) {
    let filter = EnvFilter::try_from_env("REMUDA_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let ansi = crate::output::is_coloured();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .with_target(false)
        .init();
}
