//! The child of exec mode: started once all templates are there, told or restarted when one
//! changed, and this process ends with it.

use crate::command;
use crate::error::Error;
use crate::settings::Exec;
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// A child that runs.
#[derive(Debug)]
pub struct Child {
    exec: Exec,
    process: tokio::process::Child,
}

/// The exit code that stands for how a child ended: its own, or 128 and the signal.
#[must_use]
pub fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

impl Child {
    /// Starts it with this process's own input and output.
    ///
    /// # Errors
    /// `Error::Start`.
    pub fn start(exec: &Exec) -> Result<Self, Error> {
        let start = command::process(&exec.command, &exec.env).spawn();
        let process =
            start.map_err(|source| Error::Start { command: exec.command.to_string(), source })?;
        tracing::info!(command = %exec.command, pid = process.id(), "child started");
        Ok(Self { exec: exec.clone(), process })
    }

    /// What it was started from.
    #[must_use]
    pub fn exec(&self) -> &Exec {
        &self.exec
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!(%error, "the child is gone");
        }
    }

    /// Waits for its end. May be given up and begun again.
    pub async fn ended(&mut self) -> u8 {
        match self.process.wait().await {
            Ok(status) => code(status),
            Err(error) => {
                tracing::error!(%error, "the child cannot be waited for");
                1
            }
        }
    }

    /// Ends it: by its signal, and by force when that takes too long. Its exit code.
    pub async fn stop(&mut self) -> u8 {
        self.signal(self.exec.kill_signal);
        let patience = self.exec.kill_timeout;
        if let Ok(code) = tokio::time::timeout(patience, self.ended()).await {
            return code;
        }
        tracing::warn!(command = %self.exec.command, ?patience, "child does not end, killed");
        self.signal(Signal::KILL);
        self.ended().await
    }

    /// A file changed: it is told by its signal, or started anew.
    ///
    /// # Errors
    /// `Error::Start`.
    pub async fn reload(&mut self) -> Result<(), Error> {
        crate::runner::splay(self.exec.splay).await;
        match self.exec.reload_signal {
            Some(signal) => {
                tracing::info!(command = %self.exec.command, "child told to reload");
                self.signal(signal);
            }
            None => {
                self.stop().await;
                *self = Self::start(&self.exec.clone())?;
            }
        }
        Ok(())
    }
}
