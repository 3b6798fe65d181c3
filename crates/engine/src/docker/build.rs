//! Builds through the classic builder (`POST /build`): it needs no session, and no network when the
//! base image is here.

use super::connection::{Client, Docker};
use crate::error::{Error, Result, shown};
use crate::reference;
use crate::seen::BuildOutput;
use crate::wish::BuildOptions;
use bollard::auth::DockerCredentials;
use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use model::limits::{ENGINE_STREAM_QUEUE_MAX, LOG_LINE_BYTES_MAX};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

type Context = BoxStream<'static, std::io::Result<Bytes>>;
type Out = mpsc::Sender<Result<BuildOutput>>;

impl Docker {
    pub(super) async fn build_image(
        &self,
        context: Context,
        options: &BuildOptions,
    ) -> Result<BoxStream<'static, Result<BuildOutput>>> {
        reference::image(&options.tag)?;
        let operation = format!("build image {}", options.tag);
        let client = self.within(&operation, self.deadlines().call_ms, self.client()).await?;
        let logins = self.plain_logins().await;
        let (out, lines) = mpsc::channel(ENGINE_STREAM_QUEUE_MAX);
        let mut task = JoinSet::new();
        let docker = self.clone();
        let options = query(options);
        task.spawn(async move { docker.run_build(client, context, options, logins, out).await });
        // The task ends with the stream that owns it.
        Ok(stream::unfold((lines, task), |(mut lines, task)| async move {
            let line = lines.recv().await?;
            Some((line, (lines, task)))
        })
        .boxed())
    }

    async fn run_build(
        self,
        client: Client,
        context: Context,
        options: BuildImageOptions,
        logins: HashMap<String, DockerCredentials>,
        out: Out,
    ) {
        let operation = format!("build image {}", options.t.as_deref().unwrap_or_default());
        let silence_ms = self.deadlines().build_silence_ms;
        let body = bollard::body_try_stream(context);
        let mut steps = client.bollard.build_image(options, Some(logins), Some(body)).boxed();
        let mut progress = Progress::default();
        loop {
            let next = tokio::time::timeout(Duration::from_millis(silence_ms), steps.next()).await;
            let last = match next {
                Err(_elapsed) => Err(self.timed_out(&operation, silence_ms)),
                Ok(Some(Ok(step))) => match progress.take(step, &out).await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
                Ok(Some(Err(error))) => Err(progress.failure(self.explain(&operation, error))),
                Ok(None) => progress.result(),
            };
            if out.send(last).await.is_err() {
                tracing::debug!(%operation, "nobody waits for the build any more");
            }
            return;
        }
    }
}

fn query(options: &BuildOptions) -> BuildImageOptions {
    let file = if options.dockerfile.is_empty() { "Dockerfile" } else { &options.dockerfile };
    let args: HashMap<String, String> = options.args.clone().into_iter().collect();
    let labels: HashMap<String, String> = options.labels.clone().into_iter().collect();
    let mut query = BuildImageOptionsBuilder::default()
        .dockerfile(file)
        .t(&options.tag)
        .buildargs(&args)
        .labels(&labels)
        .nocache(options.no_cache)
        .rm(true)
        .forcerm(true)
        .target(&options.target)
        .version(BuilderVersion::BuilderV1);
    if !options.network.is_empty() {
        query = query.networkmode(&options.network);
    }
    if options.pull {
        query = query.pull("true");
    }
    if let Ok(bytes @ 1..) = i32::try_from(options.shm_size) {
        query = query.shmsize(bytes);
    }
    if !options.cache_from.is_empty() {
        query = query.cachefrom(&options.cache_from);
    }
    query.build()
}

/// Where a build is.
#[derive(Default)]
struct Progress {
    /// The last `Step n/m : …`.
    step: String,
    image: String,
    /// Output that has no newline yet.
    rest: String,
}

impl Progress {
    async fn take(&mut self, info: BuildInfo, out: &Out) -> Result<()> {
        if let Some(id) = info.aux.and_then(|aux| aux.id) {
            self.image = id;
        }
        if let Some(error) = info.error_detail.and_then(|detail| detail.message) {
            return Err(self.fail(&error));
        }
        let mut text = info.stream.unwrap_or_default();
        if let Some(status) = info.status {
            text = format!("{}{status}\n", info.id.map(|id| format!("{id}: ")).unwrap_or_default());
        }
        for line in self.lines(&text) {
            if let Some(step) = line.strip_prefix("Step ") {
                self.step = format!("step {}", step.replacen(" : ", ": ", 1));
            }
            if out.send(Ok(BuildOutput::Line(line))).await.is_err() {
                return Err(self.fail("nobody waits for it any more"));
            }
        }
        Ok(())
    }

    fn lines(&mut self, text: &str) -> Vec<String> {
        let mut found = vec![];
        for part in text.split_inclusive('\n') {
            self.rest.push_str(part);
            if part.ends_with('\n') || self.rest.len() > LOG_LINE_BYTES_MAX {
                let line = std::mem::take(&mut self.rest);
                let line = line.trim_end_matches(['\r', '\n']);
                if !line.is_empty() {
                    found.push(line.to_owned());
                }
            }
        }
        found
    }

    fn fail(&self, message: &str) -> Error {
        let step = if self.step.is_empty() { "the start" } else { &self.step };
        Error::Build { step: step.to_owned(), message: shown(message) }
    }

    /// A failure of the call: the build's own, unless the engine was lost.
    fn failure(&self, error: Error) -> Error {
        match error {
            Error::Docker { message, .. } | Error::NotFound { message, .. } => self.fail(&message),
            other => other,
        }
    }

    fn result(self) -> Result<BuildOutput> {
        if self.image.is_empty() {
            return Err(self.fail("docker ended the build without an image"));
        }
        Ok(BuildOutput::Image(self.image))
    }
}
