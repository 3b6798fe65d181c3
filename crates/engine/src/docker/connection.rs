//! The connection to dockerd: where it is, which API version is spoken, how long it may take, and
//! what its failures mean. One call, one deadline.

use crate::error::{Cause, Error, Result, shown};
use crate::seen::{EngineInfo, SeenContainer};
use bollard::errors::Error as Bollard;
use bytes::Bytes;
use model::limits;
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Oldest API version that is spoken.
const API_NEEDED: Api = Api { major: 1, minor: 41 };
const API_NEEDED_TEXT: &str = "1.41";
/// bollard counts to its own deadline in seconds; ours are always shorter.
const BOLLARD_TIMEOUT_S: u64 = 24 * 3_600;

/// Where Docker is and where our files for it are.
#[derive(Clone, Debug)]
pub struct DockerOptions {
    /// dockerd's Unix socket.
    pub socket: PathBuf,
    /// Private folder for secrets and configs that are mounted into containers. It must outlive a
    /// reboot, and dockerd must see it under the same path.
    pub files_dir: PathBuf,
    /// Folder of Docker's own `config.json` with registry logins; `None` is anonymous.
    pub config_dir: Option<PathBuf>,
    /// How long calls may take.
    pub deadlines: Deadlines,
}

impl DockerOptions {
    /// Docker at `socket`, logins from the usual place, the deadlines of `limits`.
    #[must_use]
    pub fn at(socket: impl Into<PathBuf>, files_dir: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            files_dir: files_dir.into(),
            config_dir: default_config_dir(),
            deadlines: Deadlines::default(),
        }
    }

    /// Docker where `DOCKER_HOST` says, else at /var/run/docker.sock.
    ///
    /// # Errors
    /// `BadHost` when `DOCKER_HOST` is no Unix socket.
    pub fn from_env(files_dir: impl Into<PathBuf>) -> Result<Self> {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        Ok(Self::at(socket_of(&host)?, files_dir))
    }
}

fn socket_of(host: &str) -> Result<PathBuf> {
    if host.is_empty() {
        return Ok(PathBuf::from("/var/run/docker.sock"));
    }
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        _ => Err(Error::BadHost { host: host.to_owned() }),
    }
}

fn default_config_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // A service started by systemd has no HOME; root's is where `docker login` wrote.
    set("DOCKER_CONFIG")
        .or_else(|| set("HOME").map(|home| home.join(".docker")))
        .or_else(|| Some(PathBuf::from("/root/.docker")))
}

/// How long calls may take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// The shortest question there is.
    pub ping_ms: u64,
    /// A short question.
    pub call_ms: u64,
    /// Making, starting or removing a container.
    pub container_ms: u64,
    /// Stopping one, beyond its grace period.
    pub stop_slack_ms: u64,
    /// Silence of a pull.
    pub pull_silence_ms: u64,
    /// Silence of a build.
    pub build_silence_ms: u64,
    /// Silence while an image is written out or taken in.
    pub archive_silence_ms: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            ping_ms: limits::ENGINE_PING_MS_MAX,
            call_ms: limits::ENGINE_CALL_MS_MAX,
            container_ms: limits::ENGINE_CONTAINER_MS_MAX,
            stop_slack_ms: limits::ENGINE_STOP_SLACK_MS,
            pull_silence_ms: limits::ENGINE_PULL_SILENCE_MS_MAX,
            build_silence_ms: limits::ENGINE_BUILD_SILENCE_MS_MAX,
            archive_silence_ms: limits::ENGINE_ARCHIVE_SILENCE_MS_MAX,
        }
    }
}

/// An API version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Api {
    pub(super) major: usize,
    pub(super) minor: usize,
}

impl std::fmt::Display for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// bollard, bound to the version that both sides speak.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) bollard: bollard::Docker,
    pub(super) api: Api,
}

impl Client {
    /// The same client, sending `body` in place of what bollard would send. For the one field that
    /// bollard's types have lost (`MacAddress`, before API 1.44).
    pub(super) fn sending(&self, body: Bytes) -> bollard::Docker {
        let api = self.api;
        self.bollard.clone().with_request_modifier(move |request| {
            let (parts, _) = with_version(request, api).into_parts();
            bollard::BollardRequest::from_parts(parts, bollard::body_full(body.clone()))
        })
    }
}

/// bollard asks without a version, which means the engine's newest; an engine newer than bollard
/// could then answer with what bollard cannot read.
fn with_version(mut request: bollard::BollardRequest, api: Api) -> bollard::BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    let path = parts.path_and_query.as_ref().map_or("/", |path| path.as_str());
    parts.path_and_query = format!("/v{api}{path}").parse().ok();
    if let Ok(uri) = http::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// The Docker engine of this host. Cheap to clone; the socket need not exist yet.
#[derive(Clone)]
pub struct Docker {
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for Docker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Docker").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

pub(super) struct Shared {
    pub(super) options: DockerOptions,
    /// Guards the negotiated client; `None` until the first call and after a broken connection.
    client: Mutex<Option<Client>>,
    /// Guards what is known of running containers.
    pub(super) looks: Mutex<Looks>,
    /// Held while a network is made: Docker checks and makes in two steps.
    pub(super) network: tokio::sync::Mutex<()>,
    /// Guards the names of containers whose files are written but which are not made yet.
    pub(super) creating: Mutex<BTreeSet<String>>,
}

/// What inspect said of running containers, as long as it must still be so.
#[derive(Default)]
pub(super) struct Looks {
    /// By id, with the print that it was for.
    pub(super) known: HashMap<String, (String, SeenContainer)>,
    /// Counts events: a look that was begun before one is not kept.
    pub(super) events: u64,
}

impl Docker {
    /// Docker as `options` say. Does not connect.
    #[must_use]
    pub fn new(options: DockerOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                client: Mutex::new(None),
                looks: Mutex::default(),
                network: tokio::sync::Mutex::default(),
                creating: Mutex::default(),
            }),
        }
    }

    pub(super) fn deadlines(&self) -> Deadlines {
        self.shared.options.deadlines
    }

    pub(super) fn looks(&self) -> MutexGuard<'_, Looks> {
        self.shared.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_client(&self) -> Option<Client> {
        self.shared.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the negotiated version: dockerd may come back as another one.
    pub(super) fn forget_client(&self) {
        *self.shared.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) async fn client(&self) -> Result<Client> {
        if let Some(client) = self.known_client() {
            return Ok(client);
        }
        let operation = "ask for its version";
        let socket = &self.shared.options.socket;
        let fresh = bollard::Docker::connect_with_unix(
            &socket.to_string_lossy(),
            BOLLARD_TIMEOUT_S,
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(|error| self.explain(operation, error))?;
        let bollard =
            fresh.negotiate_version().await.map_err(|error| self.explain(operation, error))?;
        let version = bollard.client_version();
        let api = Api { major: version.major_version, minor: version.minor_version };
        if api < API_NEEDED {
            return Err(Error::TooOld { found: api.to_string(), needed: API_NEEDED_TEXT });
        }
        let bollard = bollard.with_request_modifier(move |request| with_version(request, api));
        let client = Client { bollard, api };
        *self.shared.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    /// One question to Docker with its deadline, which covers finding a common version too.
    pub(super) async fn call<T, F, Answer>(
        &self,
        operation: &str,
        deadline_ms: u64,
        ask: F,
    ) -> Result<T>
    where
        F: FnOnce(Client) -> Answer + Send,
        Answer: Future<Output = std::result::Result<T, Bollard>> + Send,
    {
        self.within(operation, deadline_ms, async {
            let client = self.client().await?;
            ask(client).await.map_err(|error| self.explain(operation, error))
        })
        .await
    }

    /// A deadline around anything.
    pub(super) async fn within<T>(
        &self,
        operation: &str,
        deadline_ms: u64,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        // Boxed: bollard's futures are large, and callers nest.
        let work = Box::pin(work);
        match tokio::time::timeout(Duration::from_millis(deadline_ms), work).await {
            Ok(result) => result,
            Err(_elapsed) => Err(self.timed_out(operation, deadline_ms)),
        }
    }

    pub(super) fn timed_out(&self, operation: &str, after_ms: u64) -> Error {
        self.forget_client();
        Error::Timeout { operation: operation.to_owned(), after_ms }
    }

    pub(super) fn unreachable(&self, source: impl Into<Cause>) -> Error {
        self.forget_client();
        Error::Unreachable { socket: self.shared.options.socket.clone(), source: source.into() }
    }

    /// What a failure of bollard means.
    pub(super) fn explain(&self, operation: &str, error: Bollard) -> Error {
        let operation = operation.to_owned();
        match error {
            Bollard::DockerResponseServerError { status_code, message } => {
                self.refusal(&operation, status_code, &message)
            }
            Bollard::SocketNotFoundError(_) => self.unreachable("the socket does not exist"),
            Bollard::HyperLegacyError { err } if err.is_connect() => self.unreachable(err),
            Bollard::RequestTimeoutError => self.timed_out(&operation, BOLLARD_TIMEOUT_S * 1_000),
            Bollard::DockerStreamError { error } => {
                Error::Docker { operation, status: 500, message: shown(&error) }
            }
            Bollard::HyperLegacyError { .. }
            | Bollard::HyperResponseError { .. }
            | Bollard::IOError { .. } => {
                self.forget_client();
                if is_nonsense(&error) {
                    Error::Answer { operation, source: error.into() }
                } else {
                    Error::Lost { operation, source: error.into() }
                }
            }
            other => Error::Answer { operation, source: other.into() },
        }
    }

    /// What an answer with an error status means.
    pub(super) fn refusal(&self, operation: &str, status: u16, message: &str) -> Error {
        let operation = operation.to_owned();
        if status == 400 && message.contains("client version") {
            self.forget_client();
        }
        match status {
            404 => Error::NotFound { operation, message: shown(message) },
            _ => Error::Docker { operation, status, message: shown(message) },
        }
    }

    pub(super) async fn engine_ping(&self) -> Result<()> {
        let ask = |client: Client| async move { client.bollard.ping().await };
        self.call("a ping", self.deadlines().ping_ms, ask).await.map(|_ok| ())
    }

    pub(super) async fn engine_info(&self) -> Result<EngineInfo> {
        let operation = "tell about itself";
        let (api, info) = self
            .call(operation, self.deadlines().call_ms, |client| async move {
                Ok((client.api, client.bollard.info().await?))
            })
            .await?;
        let text = |value: Option<String>| value.unwrap_or_default();
        Ok(EngineInfo {
            id: text(info.id),
            version: text(info.server_version),
            api_version: api.to_string(),
            storage_driver: text(info.driver),
            cgroup_driver: info.cgroup_driver.map(|d| d.to_string()).unwrap_or_default(),
            cgroup_version: info.cgroup_version.map(|v| v.to_string()).unwrap_or_default(),
            cpus: info.ncpu.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
            memory: info.mem_total.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            live_restore: info.live_restore_enabled.unwrap_or(false),
            root_dir: text(info.docker_root_dir),
            kernel: text(info.kernel_version),
            architecture: text(info.architecture),
            operating_system: text(info.operating_system),
            warnings: info.warnings.unwrap_or_default(),
        })
    }
}

/// Did the other side answer something that is not HTTP?
fn is_nonsense(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(at) = cause {
        if at.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return true;
        }
        cause = at.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_host_must_be_a_unix_socket() {
        assert_eq!(socket_of("").unwrap(), PathBuf::from("/var/run/docker.sock"));
        assert_eq!(socket_of("unix:///run/d.sock").unwrap(), PathBuf::from("/run/d.sock"));
        for host in ["tcp://1.2.3.4:2375", "ssh://a", "unix://relative", "/run/d.sock"] {
            assert!(matches!(socket_of(host), Err(Error::BadHost { .. })), "{host}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(Api { major: 1, minor: 9 } < API_NEEDED);
        assert!(Api { major: 1, minor: 100 } > API_NEEDED);
        assert_eq!(API_NEEDED.to_string(), API_NEEDED_TEXT);
    }
}
