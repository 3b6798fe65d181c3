//! Carries out actions: each is one or two calls of the engine, and every one may be repeated.

use crate::NETWORK;
use crate::render;
use crate::supply::{self, Settled, Supply};
use crate::transfer::{Fetcher, Wanted};
use control::host::{Action, BusyKind};
use engine::Engine;
use engine::seen::{ImageInfo, PullProgress, SeenContainer};
use engine::wish::{Attach, CreateRequest};
use model::container_spec::NetworkMode;
use model::host_spec::{HostSpec, InstanceSpec};
use model::id::InstanceId;
use model::instance::Goal;
use model::mutation::{Mutation, is_in};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What came of an action.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) instance: InstanceId,
    pub(crate) result: Result<Effect, Failed>,
}

/// What an action led to.
#[derive(Debug)]
pub(crate) enum Effect {
    /// The image is here.
    Pulled {
        /// It.
        found: Box<ImageInfo>,
        /// The id that was settled for all hosts, which it stands for.
        settled: Option<String>,
    },
    /// A container runs.
    Started(SeenContainer),
    /// A container is stopped.
    Stopped(SeenContainer),
    /// A container is gone.
    Gone(String),
}

/// Why an action failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) why: String,
    /// A try again would fail the same way.
    pub(crate) permanent: bool,
}

impl From<engine::Error> for Failed {
    fn from(error: engine::Error) -> Self {
        let permanent = matches!(
            error,
            engine::Error::ImageMissing { .. }
                | engine::Error::Spec { .. }
                | engine::Error::NameTaken { .. }
                // A command that is not there, a mount that cannot be: what is asked is wrong.
                | engine::Error::Docker { status: 400, .. }
        );
        Self { why: api::error::chain(&error), permanent }
    }
}

/// Which instance an action is about, and how it is called while under way.
pub(crate) fn subject(action: &Action) -> (&InstanceId, BusyKind) {
    match action {
        Action::Pull { instance, .. } => (instance, BusyKind::Pulling),
        Action::Create { instance } | Action::Start { instance, .. } => {
            (instance, BusyKind::Starting)
        }
        Action::Stop { instance, .. } | Action::Remove { instance, .. } => {
            (instance, BusyKind::Stopping)
        }
    }
}

/// What actions work with.
#[derive(Clone, Debug)]
pub(crate) struct Tools<E> {
    pub(crate) engine: E,
    pub(crate) fetcher: Fetcher<E>,
    pub(crate) resolv_dir: PathBuf,
    pub(crate) rendered_dir: PathBuf,
    /// Networks come from CNI, after the start.
    pub(crate) by_cni: bool,
    pub(crate) progress: mpsc::Sender<(InstanceId, PullProgress)>,
}

/// Carries out one action.
pub(crate) async fn act<E: Engine>(tools: Tools<E>, action: Action, spec: Arc<HostSpec>) -> Done {
    let instance = subject(&action).0.clone();
    let engine = &tools.engine;
    let result = match action {
        Action::Pull { image, image_id, image_digest, policy, .. } => {
            let wanted = Wanted { instance: &instance, name: &image, progress: &tools.progress };
            let supply = Supply { engine, fetcher: &tools.fetcher, wanted, policy };
            let settled = Settled { id: image_id.as_deref(), digest: image_digest.as_deref() };
            match supply.have(settled).await {
                Ok(found) => Ok(Effect::Pulled { found: found.into(), settled: image_id }),
                Err(failed) => Err(failed),
            }
        }
        Action::Create { .. } => create(&tools, &instance, &spec).await,
        Action::Start { container, .. } => started(engine, &container).await,
        Action::Stop { container, grace_ms, .. } => stop(engine, &container, grace_ms).await,
        Action::Remove { container, .. } => remove(&tools, &instance, container, &spec).await,
    };
    Done { instance, result }
}

async fn create<E: Engine>(
    tools: &Tools<E>,
    instance: &InstanceId,
    spec: &HostSpec,
) -> Result<Effect, Failed> {
    let (engine, by_cni) = (&tools.engine, tools.by_cni);
    let missing = || Failed { why: "it is not in the spec any more".into(), permanent: false };
    let wanted = spec.instances.get(instance).ok_or_else(missing)?;
    for mount in &wanted.container.mounts {
        if let model::container_spec::Mount::Volume { name, .. } = mount {
            let volume = spec.volumes.get(name).cloned().unwrap_or_default();
            let labels = [(engine::label::ENVIRONMENT.to_owned(), spec.environment.id.clone())];
            engine.ensure_volume(name, &volume, &labels.into()).await?;
        }
    }
    let mut template = Arc::clone(&wanted.container);
    let settled =
        Settled { id: wanted.image_id.as_deref(), digest: wanted.image_digest.as_deref() };
    if settled.id.is_some() {
        let gone = || Failed {
            why: format!("image {} has gone from this host", wanted.container.image),
            permanent: false,
        };
        let found = supply::here(engine, settled).await?.ok_or_else(gone)?;
        Arc::make_mut(&mut template).image = found.id;
    }
    let folders = render::mounts(&tools.rendered_dir, &wanted.container_name, &template);
    let folders = folders.map_err(|why| Failed { why, permanent: true })?;
    if !folders.is_empty() {
        Arc::make_mut(&mut template).mounts.extend(folders);
    }
    let name_of = |id: &InstanceId| {
        let other = spec.instances.get(id).map(|other| other.container_name.clone());
        other.ok_or_else(|| Failed { why: format!("{id} is not in the spec"), permanent: false })
    };
    let mut volumes_from = vec![];
    for (id, read_only) in &wanted.volumes_from {
        volumes_from.push((name_of(id)?, *read_only));
    }
    if by_cni && template.mac_address.is_some() {
        // That is for the plugins.
        Arc::make_mut(&mut template).mac_address = None;
    }
    let request = CreateRequest {
        name: wanted.container_name.clone(),
        spec: template,
        labels: wanted.system_labels.clone(),
        attach: match wanted.container.network {
            NetworkMode::Managed if by_cni => Attach::None,
            NetworkMode::Managed => {
                Attach::Network { name: NETWORK.into(), address: wanted.address }
            }
            NetworkMode::Host => Attach::Host,
            NetworkMode::None => Attach::None,
            NetworkMode::Sibling(_) => match &wanted.network_of {
                Some(owner) => Attach::Container(name_of(owner)?),
                None => Attach::None,
            },
        },
        volumes_from,
        resolv_conf: resolv_conf(wanted, spec, &tools.resolv_dir)?,
        stop_grace_ms: wanted.stop_grace_ms,
    };
    let id = engine.create(&request).await?;
    let done = started(engine, &id).await;
    if done.is_err() && is_in(Mutation::CreateAgain) {
        let name = format!("{}-again", request.name);
        let id = engine.create(&CreateRequest { name, ..request }).await?;
        return started(engine, &id).await;
    }
    done
}

/// The container's own resolv.conf. Those in the managed network get one, unless Rancher's label
/// `io.rancher.container.dns` says no, and those in the host's network where it says yes.
fn resolv_conf(
    wanted: &InstanceSpec,
    spec: &HostSpec,
    dir: &Path,
) -> Result<Option<PathBuf>, Failed> {
    let owner = wanted.network_of.as_ref().and_then(|owner| spec.instances.get(owner));
    let network = &owner.unwrap_or(wanted).container.network;
    let label = wanted.container.labels.get("io.rancher.container.dns").map(String::as_str);
    let ours = match (network, label) {
        (_, Some("false")) | (NetworkMode::None, _) => false,
        (NetworkMode::Managed, _) => true,
        (NetworkMode::Host | NetworkMode::Sibling(_), label) => label == Some("true"),
    };
    if !ours {
        return Ok(None);
    }
    let mut search = wanted.search.clone();
    search.extend(wanted.container.dns_search.iter().cloned());
    let text = network::resolv_conf(&wanted.container.dns, &search, &wanted.container.dns_opt);
    network::write_resolv(dir, &wanted.container_name, &text)
        .map(Some)
        .map_err(|e| Failed { why: api::error::chain(&e), permanent: false })
}

/// Takes the container away, and its resolv.conf and rendered files with the instance's last one.
async fn remove<E: Engine>(
    tools: &Tools<E>,
    instance: &InstanceId,
    container: String,
    spec: &HostSpec,
) -> Result<Effect, Failed> {
    tools.engine.remove(&container).await?;
    if let Some(gone) = spec.instances.get(instance).filter(|one| one.goal == Goal::Remove) {
        network::remove_resolv(&tools.resolv_dir, &gone.container_name)
            .map_err(|e| Failed { why: api::error::chain(&e), permanent: false })?;
        render::remove(&tools.rendered_dir, &gone.container_name)
            .map_err(|why| Failed { why, permanent: false })?;
    }
    Ok(Effect::Gone(container))
}

async fn started<E: Engine>(engine: &E, id: &str) -> Result<Effect, Failed> {
    engine.start(id).await?;
    let gone = || Failed { why: format!("container {id} went away"), permanent: false };
    Ok(Effect::Started(engine.inspect(id).await?.ok_or_else(gone)?))
}

async fn stop<E: Engine>(engine: &E, id: &str, grace_ms: u64) -> Result<Effect, Failed> {
    engine.stop(id, grace_ms).await?;
    Ok(match engine.inspect(id).await? {
        Some(container) => Effect::Stopped(container),
        None => Effect::Gone(id.to_owned()),
    })
}
