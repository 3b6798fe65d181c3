//! Commands in running containers, with and without a terminal.

use super::connection::Docker;
use super::frames::Frames;
use super::stream::Ask;
use crate::error::{Error, Result};
use crate::reference::path_safe;
use crate::seen::{ExecOutput, ExecSession};
use crate::wish::ExecRequest;
use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeExecOptionsBuilder;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes read from a command's output at once.
const READ_BYTES: usize = 32 * 1024;

impl Docker {
    pub(super) async fn start_exec(&self, id: &str, request: &ExecRequest) -> Result<ExecSession> {
        let id = path_safe("container", id)?;
        let operation = format!("run a command in container {id}");
        let environment: Vec<String> =
            request.environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let config = ExecConfig {
            attach_stdin: Some(request.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(request.tty),
            env: (!environment.is_empty()).then_some(environment),
            cmd: Some(request.command.clone()),
            user: request.user.clone(),
            working_dir: request.working_dir.clone(),
            ..ExecConfig::default()
        };
        let made = self
            .call(&operation, self.deadlines().call_ms, |client| async move {
                client.bollard.create_exec(id, config).await
            })
            .await?;
        let exec = path_safe("exec", &made.id)?;
        let ask = Ask {
            operation: operation.clone(),
            method: "POST",
            path: format!("/exec/{exec}/start"),
            body: Some(format!(r#"{{"Detach":false,"Tty":{}}}"#, request.tty)),
            upgrade: true,
        };
        let both = self.begin(ask).await?.upgraded(&operation).await?;
        let (read, write) = tokio::io::split(both);
        let output = Output { operation, read, frames: Frames::new(request.tty), over: false };
        let output = stream::unfold(output, |mut output| async move {
            let piece = output.next().await?;
            Some((piece, output))
        });
        Ok(ExecSession { id: made.id, input: Box::pin(write), output: output.boxed() })
    }

    pub(super) async fn resize_exec(&self, exec: &str, rows: u16, columns: u16) -> Result<()> {
        let exec = path_safe("exec", exec)?;
        let options =
            ResizeExecOptionsBuilder::default().h(i32::from(rows)).w(i32::from(columns)).build();
        self.call("resize a terminal", self.deadlines().call_ms, |client| async move {
            client.bollard.resize_exec(exec, options).await
        })
        .await
    }

    pub(super) async fn exit_of_exec(&self, exec: &str) -> Result<Option<i64>> {
        let exec = path_safe("exec", exec)?;
        let found = self
            .call("inspect a command", self.deadlines().call_ms, |client| async move {
                client.bollard.inspect_exec(exec).await
            })
            .await?;
        Ok(if found.running.unwrap_or(false) { None } else { found.exit_code })
    }
}

struct Output<R> {
    operation: String,
    read: R,
    frames: Frames,
    over: bool,
}

impl<R: AsyncRead + Unpin> Output<R> {
    async fn next(&mut self) -> Option<Result<ExecOutput>> {
        while !self.over {
            match self.frames.next() {
                Ok(Some(piece)) => {
                    return Some(Ok(ExecOutput { stderr: piece.stderr, bytes: piece.bytes }));
                }
                Ok(None) => {}
                Err(bad) => {
                    self.over = true;
                    let operation = self.operation.clone();
                    return Some(Err(Error::Answer { operation, source: bad.into() }));
                }
            }
            let mut buffer = vec![0; READ_BYTES];
            match self.read.read(&mut buffer).await {
                Ok(0) => self.over = true,
                Ok(size) => self.frames.push(&buffer[..size]),
                Err(error) => {
                    self.over = true;
                    let operation = self.operation.clone();
                    return Some(Err(Error::Lost { operation, source: error.into() }));
                }
            }
        }
        None
    }
}
