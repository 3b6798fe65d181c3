//! `build` and `pull`, and the builds that `up` needs. The context is packed here, beside the
//! compose file, and sent to the server.

use super::client::client;
use super::context::Context;
use super::{Global, Source, source};
use crate::exit::{Failure, Outcome};
use crate::output::{self, Colour};
use api::client::{Client, Upload};
use api::error::Kind as ErrorKind;
use api::routes;
use api::wire::{Progress, ServiceDetail};
use clap::Args;
use compose::{BuildSpec, ContainerName, Loaded};
use futures_util::StreamExt as _;
use http::Method;
use model::container_spec::{BUILT_IMAGE_LABEL, ContainerSpec};
use model::service::Kind;
use model::stack::StackSpec;
use std::collections::{BTreeMap, BTreeSet};

/// Label that carries a hash of what an image was built from, so that `plan`, which builds nothing,
/// knows whether `up` would make another one.
const FROM_LABEL: &str = "io.remuda.image.from";

/// Options of `build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    source: Source,
    /// Do not use the cache
    #[arg(long)]
    no_cache: bool,
}

/// Options of `pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// One image, or the images of the compose file here
    image: Option<String>,
    #[command(flatten)]
    source: Source,
}

/// `remuda build`.
///
/// # Errors
/// What the build said.
pub(super) async fn build(global: &Global, args: BuildArgs) -> Outcome {
    let mut loaded = source::load(global, &args.source)?;
    if loaded.builds.is_empty() {
        return Err(Failure::usage("no service of these files has a build:"));
    }
    let client = client(global)?;
    build_all(global, &client, &mut loaded, args.no_cache).await
}

/// `remuda pull`.
///
/// # Errors
/// Why an image could not be pulled.
pub(super) async fn pull(global: &Global, args: PullArgs) -> Outcome {
    let images: Vec<String> = match args.image {
        Some(image) => vec![image],
        None => {
            let loaded = source::load(global, &args.source)?;
            let services = loaded.spec.services.values();
            let containers = services.flat_map(|s| s.template.containers());
            let images: BTreeSet<String> = containers.map(|(_, c)| c.image.clone()).collect();
            images.into_iter().collect()
        }
    };
    let client = client(global)?;
    for image in images {
        let path = format!("{}?image={}", routes::PULL, routes::encode(&image));
        follow(global, &client, &path, None, &image).await?;
    }
    Ok(())
}

/// Builds every image that has a `build:` and notes its id in the spec.
///
/// # Errors
/// What the build said.
pub(super) async fn build_all(
    global: &Global,
    client: &Client,
    loaded: &mut Loaded,
    no_cache: bool,
) -> Outcome {
    for (name, build) in &loaded.builds {
        let context = Context::of(build)?;
        let mut image = String::new();
        for tag in std::iter::once(&build.image).chain(&build.tags) {
            // The further tags come from the cache.
            let again = (no_cache || build.no_cache) && image.is_empty();
            if !global.quiet {
                output::note(&format!("building {name} ({tag})"));
            }
            let path = query(build, tag, context.dockerfile(), again);
            image = follow(global, client, &path, Some(context.upload()), tag).await?;
        }
        let from = fingerprint(build, &context).await?;
        if let Some(container) = container_mut(&mut loaded.spec, name) {
            container.labels.insert(BUILT_IMAGE_LABEL.into(), image);
            container.labels.insert(FROM_LABEL.into(), from);
        }
    }
    Ok(())
}

/// The container that a build is for.
fn container_mut<'s>(
    spec: &'s mut StackSpec,
    name: &ContainerName,
) -> Option<&'s mut ContainerSpec> {
    let template = &mut spec.services.get_mut(&name.service)?.template;
    match (&name.sidekick, &mut template.kind) {
        (Some(sidekick), _) => template.sidekicks.get_mut(sidekick).map(|s| &mut s.container),
        (None, Kind::Container(container)) => Some(container),
        (None, _) => None,
    }
}

/// The route of a build with everything that it asks for.
fn query(build: &BuildSpec, tag: &str, dockerfile: &str, no_cache: bool) -> String {
    let map = |map: &BTreeMap<String, String>| {
        routes::encode(&serde_json::to_string(map).unwrap_or_default())
    };
    let cache_from = serde_json::to_string(&build.cache_from).unwrap_or_default();
    format!(
        "{}?tag={}&dockerfile={}&target={}&args={}&labels={}&no_cache={no_cache}&pull={}\
         &network={}&shm_size={}&cache_from={}",
        routes::BUILD,
        routes::encode(tag),
        routes::encode(dockerfile),
        routes::encode(build.target.as_deref().unwrap_or_default()),
        map(&build.args),
        map(&build.labels),
        build.pull,
        routes::encode(build.network.as_deref().unwrap_or_default()),
        build.shm_size.unwrap_or(0),
        routes::encode(&cache_from),
    )
}

/// A hash of everything that an image is built from.
async fn fingerprint(build: &BuildSpec, context: &Context) -> Outcome<String> {
    let asked = query(build, &build.image, context.dockerfile(), build.no_cache);
    context.hash(asked).await
}

/// For `plan`, which builds nothing: a service keeps the image that it was last built to, when it
/// would be built from the same.
///
/// # Errors
/// What the server says, or why a context cannot be read.
pub(super) async fn keep_known_images(client: &Client, loaded: &mut Loaded) -> Outcome {
    for (name, build) in &loaded.builds {
        let path = routes::fill(routes::SERVICE, &[loaded.stack.as_str(), name.service.as_str()]);
        let known = match client.get::<ServiceDetail>(&path).await {
            Ok(detail) => detail
                .spec
                .template
                .containers()
                .find(|(sidekick, _)| *sidekick == name.sidekick.as_ref())
                .map(|(_, container)| container.labels.clone()),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let known = known.unwrap_or_default();
        let from = fingerprint(build, &Context::of(build)?).await?;
        if let Some(container) = container_mut(&mut loaded.spec, name) {
            if let Some(id) = known.get(BUILT_IMAGE_LABEL) {
                container.labels.insert(BUILT_IMAGE_LABEL.into(), id.clone());
            }
            container.labels.insert(FROM_LABEL.into(), from);
        }
    }
    Ok(())
}

async fn follow(
    global: &Global,
    client: &Client,
    path: &str,
    body: Option<Upload>,
    what: &str,
) -> Outcome<String> {
    let mut progress = client.lines::<Progress>(Method::POST, path, body).await?;
    let mut image = String::new();
    while let Some(step) = progress.next().await {
        match step? {
            Progress::Text { text } if !global.quiet => {
                for line in text.lines() {
                    output::note(&format!("  {} {line}", output::paint(Colour::Dim, "|")));
                }
            }
            Progress::Text { .. } => {}
            Progress::Done { image: id } => image = id,
            Progress::Failed { why } => return Err(Failure::error(format!("{what}: {why}"))),
        }
    }
    Ok(image)
}
