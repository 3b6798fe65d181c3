//! Logins for registries, from where `docker login` has put them: `config.json` and the credential
//! helpers that it names. What cannot be got is said, and the pull is tried without it.

use super::connection::Docker;
use base64::Engine as _;
use bollard::auth::DockerCredentials;
use model::limits::{CREDENTIAL_HELPER_MS_MAX, DOCKER_CONFIG_BYTES_MAX};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The name under which `docker login` keeps Docker Hub.
const HUB: &str = "https://index.docker.io/v1/";

/// What is known for a registry.
#[derive(Default)]
pub(super) struct Login {
    /// What is sent.
    pub(super) credentials: Option<DockerCredentials>,
    /// Why there may be none, without anything secret.
    pub(super) problem: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    auths: HashMap<String, Entry>,
    #[serde(rename = "credHelpers")]
    helpers: HashMap<String, String>,
    #[serde(rename = "credsStore")]
    store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

impl Docker {
    pub(super) async fn login_for(&self, registry: &str) -> Login {
        let Some(dir) = &self.shared.options.config_dir else { return Login::default() };
        let found = find(dir, registry).await;
        match found {
            Ok(credentials) => Login { credentials, problem: None },
            Err(problem) => {
                tracing::warn!(%registry, error = %problem, "registry login not usable, pulling without");
                Login { credentials: None, problem: Some(problem) }
            }
        }
    }

    /// Logins that are written down in full, for a build's base images.
    pub(super) async fn plain_logins(&self) -> HashMap<String, DockerCredentials> {
        let Some(dir) = &self.shared.options.config_dir else { return HashMap::new() };
        let config = match read(dir).await {
            Ok(config) => config,
            Err(problem) => {
                tracing::warn!(error = %problem, "registry logins not usable, building without");
                return HashMap::new();
            }
        };
        let plain = |(server, entry): (String, Entry)| {
            let credentials = decode(&server, &entry).ok()??;
            Some((server, credentials))
        };
        config.auths.into_iter().filter_map(plain).collect()
    }
}

async fn find(dir: &Path, registry: &str) -> Result<Option<DockerCredentials>, String> {
    let config = read(dir).await?;
    let key = if registry == "docker.io" { HUB } else { registry };
    let helper = config.helpers.get(registry).or_else(|| config.helpers.get(key));
    if let Some(helper) = helper {
        return ask(helper, key).await;
    }
    if !config.store.is_empty()
        && let Some(found) = ask(&config.store, key).await?
    {
        return Ok(Some(found));
    }
    let entry = config.auths.iter().find(|(server, _)| host_of(server) == host_of(key));
    match entry {
        Some((server, entry)) => decode(server, entry),
        None => Ok(None),
    }
}

/// `https://r.example/v1/` and `r.example` are the same registry.
fn host_of(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split_once('/').map_or(rest, |(host, _)| host)
}

async fn read(dir: &Path) -> Result<Config, String> {
    let path = dir.join("config.json");
    let shown = path.display();
    let file = match tokio::fs::File::open(&path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
        Err(error) => return Err(format!("cannot open {shown}: {error}")),
    };
    let mut text = vec![];
    let read = file.take(DOCKER_CONFIG_BYTES_MAX + 1).read_to_end(&mut text).await;
    let size = read.map_err(|error| format!("cannot read {shown}: {error}"))?;
    if size as u64 > DOCKER_CONFIG_BYTES_MAX {
        return Err(format!("{shown} is larger than {DOCKER_CONFIG_BYTES_MAX} bytes"));
    }
    // serde's own words would show a piece of the file.
    serde_json::from_slice(&text).map_err(|error| {
        format!("{shown} is not a docker config (line {}, column {})", error.line(), error.column())
    })
}

fn decode(server: &str, entry: &Entry) -> Result<Option<DockerCredentials>, String> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (mut username, mut password) = (entry.username.clone(), entry.password.clone());
    if !entry.auth.is_empty() {
        let bad = || format!("the entry `auth` of {server} is not base64 of user:password");
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(entry.auth.trim())
            .map_err(|_shows_content| bad())?;
        let text = String::from_utf8(bytes).map_err(|_shows_content| bad())?;
        let (user, secret) = text.split_once(':').ok_or_else(bad)?;
        username = user.to_owned();
        password = secret.trim_end_matches('\0').to_owned();
    }
    let credentials = DockerCredentials {
        username: some(&username),
        password: some(&password),
        identitytoken: some(&entry.identitytoken),
        registrytoken: some(&entry.registrytoken),
        serveraddress: Some(server.to_owned()),
        ..DockerCredentials::default()
    };
    let empty = credentials.username.is_none()
        && credentials.identitytoken.is_none()
        && credentials.registrytoken.is_none();
    Ok((!empty).then_some(credentials))
}

/// Runs `docker-credential-<helper> get`: the registry on its input, JSON on its output.
async fn ask(helper: &str, server: &str) -> Result<Option<DockerCredentials>, String> {
    if !helper.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err("the docker config names a credential helper with an illegal name".to_owned());
    }
    let program = format!("docker-credential-{helper}");
    let run = run_helper(&program, server);
    let limit = Duration::from_millis(CREDENTIAL_HELPER_MS_MAX);
    let (ok, output) = match tokio::time::timeout(limit, run).await {
        Err(_elapsed) => {
            return Err(format!("{program} did not answer within {CREDENTIAL_HELPER_MS_MAX} ms"));
        }
        Ok(Err(error)) => return Err(format!("cannot run {program}: {error}")),
        Ok(Ok(answer)) => answer,
    };
    if !ok {
        // Its words go to its output; only the well-known ones are told apart, none is shown.
        if String::from_utf8_lossy(&output).contains("credentials not found") {
            return Ok(None);
        }
        return Err(format!("{program} failed for {server}"));
    }
    let answer: HelperAnswer = serde_json::from_slice(&output)
        .map_err(|_shows_content| format!("{program} did not answer with a login"))?;
    let token = answer.username == "<token>";
    Ok(Some(DockerCredentials {
        username: (!token).then(|| answer.username.clone()),
        password: (!token).then(|| answer.secret.clone()),
        identitytoken: token.then_some(answer.secret),
        serveraddress: Some(server.to_owned()),
        ..DockerCredentials::default()
    }))
}

async fn run_helper(program: &str, server: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let mut child = tokio::process::Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that ends without reading is judged by its exit code.
        if let Err(error) = input.write_all(format!("{server}\n").as_bytes()).await {
            tracing::debug!(%error, "credential helper did not read its input");
        }
    }
    let mut output = vec![];
    if let Some(stdout) = child.stdout.take() {
        stdout.take(DOCKER_CONFIG_BYTES_MAX).read_to_end(&mut output).await?;
    }
    let status = child.wait().await?;
    Ok((status.success(), output))
}

#[cfg(test)]
mod tests;
