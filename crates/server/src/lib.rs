//! The server: API, control loops, agents' sessions, over one store. Its death stops deploys and
//! nothing else.
//!
//! ```text
//!            http ──Proposal──▶ store ──watch──▶ follow ──▶ Cluster ─┬─▶ reconcile ──Proposal──▶ store
//!  agents ──status──▶ hosts ──────▲                                  └─▶ publish ──Publication──▶ agents
//! ```

mod admission;
mod authority;
mod boot;
mod consul;
mod events;
mod floating;
mod follow;
mod history;
mod hosts;
mod images;
mod http;
mod joiner;
mod keys;
mod latest;
mod listen;
mod members;
mod net_check;
mod plain;
mod presence;
mod preview;
mod publish;
mod reconcile;
mod refusals;
mod registrar;
mod rows;
mod scheduler;
mod state;
mod tokens;
mod usage;
mod validate;
mod verdicts;

pub use crate::consul::ConsulOptions;
pub use authority::{Authority, AuthorityError};
pub use http::document;
pub use preview::validate as check_stack;
pub use scheduler::SchedulerUrl;

use api::link::Switchboard;
use ipnet::Ipv4Net;
use model::cluster::Cluster;
use model::host::Environment;
use model::limits::{CERTIFICATE_MS_MAX, CERTIFICATE_MS_MIN};
use model::time::Clock;
use state::{Parts, Shared};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Store, codec};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What a server is started with.
#[derive(Debug)]
pub struct Options {
    /// Folder of certificates, the token file and short-lived files.
    pub dir: PathBuf,
    /// Range of the managed network, used at the first start only.
    pub subnet: Ipv4Net,
    /// Further names and addresses for the server's certificate.
    pub names: Vec<String>,
    /// The environment that was made here before, when that is known: no other one is served.
    pub environment: Option<String>,
    /// The time.
    pub clock: Clock,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error("the state cannot be read or written")]
    Store(#[from] store::Error),
    /// The certificates.
    #[error("the certificates cannot be used")]
    Authority(#[from] AuthorityError),
    /// TLS.
    #[error("tls cannot be set up")]
    Tls(#[from] api::tls::TlsError),
    /// There was a state, and it is gone.
    #[error(
        "the state of environment {known} is gone from {}: a new one would know nothing of its \
         containers, which go on running",
        dir.display()
    )]
    StateLost {
        /// The environment that was here.
        known: String,
        /// Where its state was.
        dir: PathBuf,
    },
    /// The state is of another environment.
    #[error(
        "the state in {} is of environment {found}, and what runs here is of environment {known}",
        dir.display()
    )]
    OtherEnvironment {
        /// The environment that was here.
        known: String,
        /// The environment of the state.
        found: String,
        /// Where the state is.
        dir: PathBuf,
    },
    /// The state was written and cannot be read back.
    #[error("the environment was written and is not there")]
    NoEnvironment,
    /// The token file.
    #[error("token file {} cannot be {what}", path.display())]
    TokenFile {
        /// Which.
        path: PathBuf,
        /// read or written.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A server that is ready to run.
#[derive(Debug)]
pub struct Server<S> {
    shared: Shared<S>,
    switchboard: Switchboard,
    arrivals: tokio::sync::mpsc::Receiver<api::link::Arrival>,
    scheduler: Option<SchedulerUrl>,
    consul: Option<ConsulOptions>,
    /// Path of the admin token's file.
    pub token_file: PathBuf,
}

impl<S: Store> Server<S> {
    /// Loads the state; at the first start founds the environment. The admin token is made when
    /// its file is missing or not known to the store.
    ///
    /// # Errors
    /// `Error`: nothing is served then.
    pub async fn open(store: S, options: Options) -> Result<Self, Error> {
        let Options { dir, subnet, names, environment: known, clock } = options;
        let (mut cluster, mut epoch) = codec::cluster(&store).await?;
        check_environment(&cluster, known, &dir)?;
        if cluster.environment().is_none() {
            let founding = boot::found(boot::environment(subnet));
            store.txn(codec::encode(&founding)?).await?;
            (cluster, epoch) = codec::cluster(&store).await?;
        }
        let environment = cluster.environment().cloned().ok_or(Error::NoEnvironment)?;
        state::clear_backups(&dir);
        let token_file = dir.join("admin.token");
        let text = match std::fs::read_to_string(&token_file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => {
                return Err(Error::TokenFile { path: token_file, what: "read", source });
            }
        };
        if !boot::is_known(&cluster, &text) {
            let (text, proposal) = boot::admin_token(&environment, clock.now());
            if let Err(source) = write_private(&token_file, &text) {
                return Err(Error::TokenFile { path: token_file, what: "written", source });
            }
            store.txn(codec::encode(&proposal)?).await?;
            (cluster, epoch) = codec::cluster(&store).await?;
        }
        let authority = Authority::open(&dir, &environment.id, &names, clock.now())?;
        let (switchboard, arrivals) = Switchboard::new();
        let hosts = hosts::Hosts::new(switchboard.clone());
        let parts = Parts { store, authority, hosts, epoch, scratch: dir, clock, cluster };
        let shared = Shared::new(parts);
        Ok(Self { shared, switchboard, arrivals, scheduler: None, consul: None, token_file })
    }

    /// Certificates of agents live so long, in milliseconds, from the next one on.
    #[must_use]
    pub fn with_certificate_life(mut self, ms: u64) -> Self {
        let ms = ms.clamp(CERTIFICATE_MS_MIN, CERTIFICATE_MS_MAX);
        self.shared.authority = Arc::new(self.shared.authority.with_life(ms));
        self
    }

    /// Nothing is placed without the word of the program there, when one is named.
    #[must_use]
    pub fn with_scheduler(mut self, url: Option<SchedulerUrl>) -> Self {
        self.scheduler = url;
        self
    }

    /// Answers clients of Consul as well.
    #[must_use]
    pub fn with_consul(mut self, options: ConsulOptions) -> Self {
        self.consul = Some(options);
        self
    }

    /// The environment.
    #[must_use]
    pub fn environment(&self) -> Option<Arc<Environment>> {
        self.shared.cluster().environment().cloned()
    }

    /// Where links meet this server, for an agent in the same process.
    #[must_use]
    pub fn switchboard(&self) -> Switchboard {
        self.switchboard.clone()
    }

    /// SHA-256 of the CA certificate, for join tokens and https clients.
    #[must_use]
    pub fn pin(&self) -> String {
        self.shared.authority.pin.clone()
    }

    /// The join token that this server shows at its start, once it runs: the one of an earlier start
    /// while that is good for a while, else a new one, and the earlier one is revoked.
    ///
    /// # Errors
    /// When there are too many or the store refuses.
    pub fn join_token(
        &self,
    ) -> impl Future<Output = Result<api::wire::JoinToken, api::error::ErrorInfo>> + use<S> {
        let shared = self.shared.clone();
        async move { tokens::first(&shared).await }
    }

    /// Has any host joined?
    #[must_use]
    pub fn has_hosts(&self) -> bool {
        self.shared.cluster().hosts().next().is_some()
    }

    /// Serves until the future is dropped. Without a socket (simulation) there is no API.
    ///
    /// # Errors
    /// `Error::Tls` when the certificates cannot be used, `Error::Store` when keys cannot be read.
    pub async fn run(self, socket: Option<TcpListener>) -> Result<(), Error> {
        let Self { shared, switchboard, arrivals, scheduler, consul, .. } = self;
        let mut tasks = JoinSet::new();
        let (registrar, asked) = ::consul::Registrar::new();
        if let Some(options) = consul {
            consul::start(&shared, options, registrar, &mut tasks).await?;
        }
        if let Some(socket) = socket {
            tasks.spawn(listen::Listener::new(&shared, switchboard)?.run(socket));
        }
        tasks.spawn(follow::run(shared.clone()));
        tasks.spawn(hosts::accept(shared.clone(), arrivals));
        tasks.spawn(members::run(shared.clone()));
        tasks.spawn(usage::run(shared.clone()));
        tasks.spawn(keys::run(shared.clone()));
        tasks.spawn(verdicts::run(shared.clone()));
        tasks.spawn(publish::run(shared.clone()));
        tasks.spawn(registrar::run(shared.clone(), asked));
        let scheduler = scheduler.map(|url| scheduler::start(url, &mut tasks));
        tasks.spawn(reconcile::run(shared, scheduler));
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        Ok(())
    }
}

/// What runs here belongs to an environment; its state, and no empty or foreign one, is served.
fn check_environment(cluster: &Cluster, known: Option<String>, dir: &Path) -> Result<(), Error> {
    let Some(known) = known else { return Ok(()) };
    let dir = dir.to_owned();
    match cluster.environment().map(|environment| environment.id.clone()) {
        Some(found) if found == known => Ok(()),
        Some(found) => Err(Error::OtherEnvironment { known, found, dir }),
        None => Err(Error::StateLost { known, dir }),
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let new = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}
