//! Plugins as child processes: each with its time, and with so much of what it writes. What it
//! started itself ends with it.

use super::call::{self, INTERFACE, Plug, Verb};
use super::conf::{NetConf, find, program};
use crate::Error;
use model::limits::{CNI_CALL_MS_MAX, CNI_OUTPUT_BYTES_MAX};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// Where plugins find `iptables` and the like.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Calls the plugins of some folders.
#[derive(Clone, Debug)]
pub struct Runner {
    bin_dirs: Vec<PathBuf>,
    call: Duration,
}

/// One call while it is put together.
struct Call<'a> {
    verb: Verb,
    conf: &'a NetConf,
    plug: &'a Plug,
    netns: Option<&'a Path>,
}

impl Runner {
    /// Of these folders, the first one before the second one.
    #[must_use]
    pub fn new(bin_dirs: Vec<PathBuf>) -> Self {
        Self { bin_dirs, call: Duration::from_millis(CNI_CALL_MS_MAX) }
    }

    /// The same with another time for each call.
    #[must_use]
    pub fn within(mut self, call: Duration) -> Self {
        self.call = call;
        self
    }

    /// Plugs a container in: each plugin in turn, with the result of the one before it. After an
    /// error something may be there: call `del`.
    ///
    /// # Errors
    /// `Error::CniPlugin` with what the plugin says, `Error::CniTimeout`, and `Error::CniAddress`
    /// when the result has another address.
    pub async fn add(&self, conf: &NetConf, plug: &Plug, netns: &Path) -> Result<Value, Error> {
        let call = Call { verb: Verb::Add, conf, plug, netns: Some(netns) };
        let mut last: Option<Value> = None;
        for at in 0..conf.plugins.len() {
            let output = self.one(&call, at, last.as_ref()).await?;
            let result = call::result(&output).map_err(|why| failed(&call, at, why))?;
            last = Some(result);
        }
        let result = last.unwrap_or_default();
        match call::other_address(&result, plug) {
            Some(why) => Err(Error::CniAddress { why }),
            None => Ok(result),
        }
    }

    /// Asks each plugin in turn whether all is as the result of ADD says.
    ///
    /// # Errors
    /// As `add`: what is not so.
    pub async fn check(
        &self,
        conf: &NetConf,
        plug: &Plug,
        netns: &Path,
        result: &Value,
    ) -> Result<(), Error> {
        let call = Call { verb: Verb::Check, conf, plug, netns: Some(netns) };
        for at in 0..conf.plugins.len() {
            self.one(&call, at, Some(result)).await?;
        }
        Ok(())
    }

    /// Takes a plug back: the plugins from the last to the first, all of them whatever one says. It
    /// may be called again. Without a name space only what is outside of it is given back; without a
    /// result ADD has not come to its end.
    ///
    /// # Errors
    /// As `add`, all of them.
    pub async fn del(
        &self,
        conf: &NetConf,
        plug: &Plug,
        netns: Option<&Path>,
        result: Option<&Value>,
    ) -> Result<(), Error> {
        let call = Call { verb: Verb::Del, conf, plug, netns };
        // The specification has it since 0.4.0.
        let result = result.filter(|_| conf.cni_version != "0.3.1");
        let mut errors = vec![];
        for at in (0..conf.plugins.len()).rev() {
            if let Err(error) = self.one(&call, at, result).await {
                errors.push(error);
            }
        }
        Error::of_all(errors)
    }

    async fn one(
        &self,
        call: &Call<'_>,
        at: usize,
        before: Option<&Value>,
    ) -> Result<Vec<u8>, Error> {
        let why = |why: String| failed(call, at, why);
        let name = call.conf.plugins.get(at).map_or("", program);
        let file = find(&self.bin_dirs, name).map_err(why)?;
        let input = call::input(call.conf, at, before, call.plug).to_string();
        let mut child =
            self.command(call, &file).spawn().map_err(|e| why(format!("cannot be run: {e}")))?;
        let group = Group::of(&child);
        let talk = tokio::time::timeout(self.call, talk(&mut child, input.as_bytes()));
        let Ok(said) = talk.await else {
            let (plugin, verb) = (name.to_owned(), call.verb.word());
            return Err(Error::CniTimeout { plugin, verb, ms: self.call.as_millis() });
        };
        let (status, output, errors) = said.map_err(|e| why(e.to_string()))?;
        group.has_ended();
        if status.success() {
            return Ok(output);
        }
        let (plugin, verb) = (name.to_owned(), call.verb.word());
        let why = call::failure(&output, &errors, &status.to_string());
        Err(Error::CniPlugin { plugin, verb, why, answered: true })
    }

    fn command(&self, call: &Call<'_>, file: &Path) -> Command {
        let mut command = Command::new(file);
        let paths: Vec<String> =
            self.bin_dirs.iter().map(|dir| dir.display().to_string()).collect();
        command
            // Tokens of ours are in our environment.
            .env_clear()
            .env("PATH", PATH)
            .env("CNI_COMMAND", call.verb.word())
            .env("CNI_CONTAINERID", &call.plug.container)
            .env("CNI_NETNS", call.netns.unwrap_or(Path::new("")))
            .env("CNI_IFNAME", INTERFACE)
            .env("CNI_ARGS", call::args(call.plug))
            .env("CNI_PATH", paths.join(":"))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

fn failed(call: &Call<'_>, at: usize, why: String) -> Error {
    let plugin = call.conf.plugins.get(at).map_or("", program).to_owned();
    Error::CniPlugin { plugin, verb: call.verb.word(), why, answered: false }
}

/// A plugin and what it started: it is killed unless it has ended by itself.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        Self(pid.and_then(Pid::from_raw))
    }

    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(group) = self.0 else { return };
        if let Err(error) = kill_process_group(group, Signal::KILL) {
            tracing::debug!(%error, "plugin has ended already");
        }
    }
}

async fn talk(
    child: &mut Child,
    input: &[u8],
) -> io::Result<(std::process::ExitStatus, Vec<u8>, Vec<u8>)> {
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let mut stdin = child.stdin.take().ok_or_else(gone)?;
    let stdout = child.stdout.take().ok_or_else(gone)?;
    let stderr = child.stderr.take().ok_or_else(gone)?;
    let write = async move {
        // One that does not read may be content; its exit code tells.
        match stdin.write_all(input).await {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e),
            _ => Ok(()),
        }
    };
    let ((), out, err) = tokio::try_join!(write, bounded(stdout), bounded(stderr))?;
    Ok((child.wait().await?, out, err))
}

async fn bounded(pipe: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.take(CNI_OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > CNI_OUTPUT_BYTES_MAX {
        return Err(io::Error::other(format!("it wrote more than {CNI_OUTPUT_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
