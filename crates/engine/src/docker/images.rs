//! Images: looked up, pulled, named, removed; and why a pull failed, in words.

use super::connection::Docker;
use super::login::Login;
use crate::error::{Error, ImageWhy, Result, shown};
use crate::reference::{self, Reference};
use crate::seen::{ImageInfo, PullProgress};
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::{
    CreateImageOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::StreamExt;
use model::container_spec::PullPolicy;
use std::time::Duration;
use tokio::sync::mpsc;

impl Docker {
    pub(super) async fn inspect_image(&self, name: &str) -> Result<Option<ImageInfo>> {
        reference::image(name)?;
        let answer = self
            .call(&format!("inspect image {name}"), self.deadlines().call_ms, |client| async move {
                client.bollard.inspect_image(name).await
            })
            .await;
        match answer {
            Ok(found) => Ok(Some(info(found))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn name_image(&self, image: &str, name: &str) -> Result<()> {
        reference::image(image)?;
        let new = reference::image(name)?;
        let options = TagImageOptionsBuilder::default().repo(&new.name).tag(&new.tag).build();
        self.call(
            &format!("tag image {image} as {name}"),
            self.deadlines().call_ms,
            |client| async move { client.bollard.tag_image(image, Some(options)).await },
        )
        .await
    }

    pub(super) async fn drop_image(&self, name: &str) -> Result<()> {
        reference::image(name)?;
        let options = RemoveImageOptionsBuilder::default().build();
        let answer = self
            .call(&format!("remove image {name}"), self.deadlines().container_ms, |client| {
                async move { client.bollard.remove_image(name, Some(options), None).await }
            })
            .await;
        match answer {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn pull_image(
        &self,
        image: &str,
        policy: PullPolicy,
        progress: Option<mpsc::Sender<PullProgress>>,
    ) -> Result<ImageInfo> {
        let name = reference::image(image)?;
        if policy != PullPolicy::Always {
            if let Some(here) = self.inspect_image(image).await? {
                return Ok(here);
            }
            if policy == PullPolicy::Never {
                return Err(missing(image, ImageWhy::NotHere));
            }
        }
        let login = self.login_for(&name.registry).await;
        self.fetch_image(image, &name, &login, progress).await.map_err(|error| match error {
            Error::Docker { message, .. } | Error::NotFound { message, .. } => {
                missing(image, with_hint(why(&message), &login))
            }
            other => other,
        })?;
        self.inspect_image(image).await?.ok_or_else(|| {
            missing(image, ImageWhy::Other("it was pulled and is gone again".to_owned()))
        })
    }

    async fn fetch_image(
        &self,
        image: &str,
        name: &Reference,
        login: &Login,
        progress: Option<mpsc::Sender<PullProgress>>,
    ) -> Result<()> {
        let operation = format!("pull image {image}");
        let silence_ms = self.deadlines().pull_silence_ms;
        let client = self.within(&operation, self.deadlines().call_ms, self.client()).await?;
        let options =
            CreateImageOptionsBuilder::default().from_image(&name.name).tag(&name.tag).build();
        let mut steps =
            client.bollard.create_image(Some(options), None, login.credentials.clone()).boxed();
        loop {
            let next = tokio::time::timeout(Duration::from_millis(silence_ms), steps.next()).await;
            match next {
                Err(_elapsed) => return Err(self.timed_out(&operation, silence_ms)),
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return Err(self.explain(&operation, error)),
                Ok(Some(Ok(step))) => {
                    if let Some(progress) = &progress {
                        // Progress is for eyes: a full queue loses a step, never stops the pull.
                        if progress.try_send(of_step(step)).is_err() {
                            tracing::trace!(%image, "pull progress not taken");
                        }
                    }
                }
            }
        }
    }
}

fn missing(image: &str, why: ImageWhy) -> Error {
    Error::ImageMissing { image: image.to_owned(), why }
}

fn of_step(step: CreateImageInfo) -> PullProgress {
    let bytes = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let detail = step.progress_detail.unwrap_or_default();
    PullProgress {
        layer: step.id.unwrap_or_default(),
        current: bytes(detail.current),
        total: bytes(detail.total),
        status: step.status.unwrap_or_default(),
    }
}

/// A refusal after a login that could not be got: that is the thing to say.
fn with_hint(why: ImageWhy, login: &Login) -> ImageWhy {
    match (why, &login.problem) {
        (ImageWhy::Denied(text), Some(problem)) => {
            ImageWhy::Denied(format!("{text}; its login could not be used: {problem}"))
        }
        (why, _) => why,
    }
}

/// Docker tells all failures of a pull in prose, with statuses that differ by version.
fn why(message: &str) -> ImageWhy {
    const RATE: [&str; 2] = ["toomanyrequests", "rate limit"];
    const PLATFORM: [&str; 2] = ["no matching manifest", "does not match the specified platform"];
    const DENIED: [&str; 6] = [
        "pull access denied",
        "unauthorized",
        "no basic auth credentials",
        "denied:",
        "authentication required",
        "incorrect username or password",
    ];
    const NOT_FOUND: [&str; 5] =
        ["manifest unknown", "not found", "name unknown", "no such image", "invalid reference"];
    const UNREACHABLE: [&str; 11] = [
        "dial tcp",
        "no such host",
        "i/o timeout",
        "connection refused",
        "handshake",
        "client.timeout",
        "deadline exceeded",
        "proxyconnect",
        "x509",
        "server gave http response",
        "eof",
    ];
    let lower = message.to_ascii_lowercase();
    let has = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    let text = shown(message);
    if has(&RATE) {
        ImageWhy::RateLimited(text)
    } else if has(&PLATFORM) {
        ImageWhy::WrongPlatform(text)
    } else if has(&DENIED) {
        ImageWhy::Denied(text)
    } else if has(&UNREACHABLE) {
        ImageWhy::RegistryUnreachable(text)
    } else if has(&NOT_FOUND) {
        ImageWhy::NotFound(text)
    } else {
        ImageWhy::Other(text)
    }
}

fn info(found: ImageInspect) -> ImageInfo {
    let config = found.config.unwrap_or_default();
    let test = config.healthcheck.and_then(|check| check.test).unwrap_or_default();
    let mut exposed_ports = config.exposed_ports.unwrap_or_default();
    exposed_ports.sort();
    ImageInfo {
        id: found.id.unwrap_or_default(),
        digests: found.repo_digests.unwrap_or_default(),
        exposed_ports,
        has_healthcheck: test.first().is_some_and(|kind| kind != "NONE"),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        size: found.size.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        os: found.os.unwrap_or_default(),
        architecture: found.architecture.unwrap_or_default(),
        created: found.created.unwrap_or_default(),
        layers: found.root_fs.and_then(|fs| fs.layers).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_failed_pull_is_told_apart() {
        type Kind = fn(String) -> ImageWhy;
        let table: [(&str, Kind); 10] = [
            ("manifest for nginx:9 not found: manifest unknown", ImageWhy::NotFound),
            (
                "pull access denied for a/b, repository does not exist or may require 'docker login'",
                ImageWhy::Denied,
            ),
            ("Head \"https://r/v2/a\": no basic auth credentials", ImageWhy::Denied),
            ("unauthorized: authentication required", ImageWhy::Denied),
            (
                "Get \"https://r/v2/\": dial tcp: lookup r: no such host",
                ImageWhy::RegistryUnreachable,
            ),
            (
                "Get \"https://r/v2/\": net/http: TLS handshake timeout",
                ImageWhy::RegistryUnreachable,
            ),
            (
                "Get \"https://r/v2/\": x509: certificate signed by unknown authority",
                ImageWhy::RegistryUnreachable,
            ),
            ("toomanyrequests: You have reached your pull rate limit", ImageWhy::RateLimited),
            (
                "no matching manifest for linux/arm64 in the manifest list entries",
                ImageWhy::WrongPlatform,
            ),
            ("layers from manifest don't match image configuration", ImageWhy::Other),
        ];
        for (message, kind) in table {
            assert_eq!(why(message), kind(message.to_owned()));
        }
    }

    #[test]
    fn a_broken_login_is_named_when_the_registry_refuses() {
        let login = Login { credentials: None, problem: Some("helper x not found".into()) };
        let ImageWhy::Denied(text) = with_hint(ImageWhy::Denied("denied".into()), &login) else {
            panic!("another reason");
        };
        assert!(text.contains("helper x not found"));
    }
}
