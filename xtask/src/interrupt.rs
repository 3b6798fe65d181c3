//! Ctrl-C and SIGTERM set a flag and no more, so that a task can clean up before it ends. The
//! programs that a task runs in the foreground hear Ctrl-C themselves.

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

static CAME: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on the flag is set instead of ending the process; a second Ctrl-C ends it.
pub(crate) fn listen() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&CAME))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&CAME)))
            .context("listening for Ctrl-C")?;
    }
    Ok(())
}

/// Did one come?
pub(crate) fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}

/// An error if one came: the way out between two steps.
pub(crate) fn check() -> Result<()> {
    if came() {
        bail!("interrupted");
    }
    Ok(())
}

/// Waits for one.
pub(crate) fn wait() {
    while !came() {
        std::thread::sleep(Duration::from_millis(100));
    }
}
