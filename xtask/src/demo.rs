//! `cargo xtask demo`: the whole path from source to traffic on this machine, through the
//! interfaces that a user has and no others, and back to nothing.

mod ports;
mod promises;
mod wire;

use crate::dockerd::Dockerd;
use crate::place::Place;
use crate::remuda::Remuda;
use crate::say::{self, Step};
use crate::{images, interrupt, leftovers, needs, shell};
use anyhow::{Result, bail};

/// How long the demo stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Until Ctrl-C.
    UntilCtrlC,
    /// No longer than it takes to look.
    Check,
}

/// The example's stack.
const STACK: &str = "storefront";

/// The demo, from nothing to nothing.
pub(crate) fn run(place: &Place, mode: Mode) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the demo makes a network of its own, so it must run as root");
    }
    needs::ensure(place, &[needs::RUN])?;
    let dockerd = Dockerd::ensure(place)?;
    let outcome = with_docker(place, mode);
    let stopped = dockerd.stop();
    outcome.and(stopped)
}

fn with_docker(place: &Place, mode: Mode) -> Result<()> {
    let mut remuda = Remuda::of(place, "demo")?;
    remuda.take_away_what_a_killed_task_left()?;
    leftovers::nobody_else_is_here()?;
    ports::free(&[7600, 8080, 9999])?;
    remuda.build(place)?;
    images::make(place)?;
    interrupt::check()?;

    let seen = show(place, &mut remuda, mode);
    let gone = take_away(&mut remuda);
    if let (Err(_), Err(also)) = (&seen, &gone) {
        say::error(&format!("taking it away: {also:#}"));
    }
    seen.and(gone)
}

/// Brings the example up and looks at it.
fn show(place: &Place, remuda: &mut Remuda, mode: Mode) -> Result<()> {
    remuda.start()?;
    let step = Step::loud("bringing the example up");
    let example = place.root.join("examples/storefront");
    let compose = example.join("docker-compose.yml");
    let rancher = example.join("rancher-compose.yml");
    let mut up = remuda.command();
    up.arg("up").arg("-f").arg(compose).arg("-f").arg(rancher).args(["-p", STACK]);
    shell::run(&mut up)?;
    step.done("up");
    interrupt::check()?;
    say::line("==> calling it");
    let broken = promises::check(remuda);
    say::line("");
    say::line("    the shop:  curl -H 'Host: httpfront.example.test' http://127.0.0.1:8080/");
    say::line("    the echo:  nc 127.0.0.1 9999");
    say::line(&format!("    the rest:  {}", remuda.how_to_call()));
    if mode == Mode::UntilCtrlC {
        say::line("\n==> it stays up until Ctrl-C");
        interrupt::wait();
        say::line("");
    }
    if !broken.is_empty() {
        bail!("not everything that was promised was seen:\n  {}", broken.join("\n  "));
    }
    Ok(())
}

fn take_away(remuda: &mut Remuda) -> Result<()> {
    let step = Step::loud("taking everything away");
    remuda.take_away(&[STACK])?;
    let left = leftovers::find(remuda.binary());
    if !left.is_empty() {
        bail!("left behind:\n  {}", left.join("\n  "));
    }
    step.done("no container, network, nft table, address or process of ours is left");
    Ok(())
}
