//! Images that go from host to host: who has one is asked for, and its parts pass through here, in
//! pieces, as fast as the slower of the two takes them. A host gets only what its own spec names.

use crate::hosts::Hosts;
use crate::state::Shared;
use api::error::ErrorInfo;
use api::image::{ImageFound, ImageOffer, ImageWant};
use api::stream::{Chunk, Duplex, StreamRequest};
use futures_util::stream::{self, StreamExt as _};
use model::cluster::Cluster;
use model::host_spec::InstanceSpec;
use model::id::{HostId, InstanceId};
use model::limits::{IMAGE_HOSTS_ASKED_MAX, IMAGE_LOOK_MS_MAX, IMAGE_SILENCE_MS_MAX};
use std::collections::BTreeSet;
use std::time::Duration;
use store::Store;
use tokio::time::Instant;

/// Hosts that are asked at a time.
const ASKED_AT_ONCE: usize = 16;
/// Once one host has the image, others may say so for so long: more than one is better.
const MORE: Duration = Duration::from_millis(200);
/// Who waits for its turn is told that often that it goes on.
const TELL: Duration = Duration::from_secs(2);

/// Answers a question of a host, by a stream to it.
pub(crate) async fn answer<S: Store>(
    shared: Shared<S>,
    host: HostId,
    number: u64,
    want: ImageWant,
) {
    let mut to = match shared.hosts.open(&host, StreamRequest::Wanted { number }).await {
        Ok(to) => to,
        Err(error) => {
            tracing::debug!(%host, error = error.message, "question about an image not answered");
            return;
        }
    };
    let last = match give(&shared, &host, want, &mut to).await {
        Ok(()) => Chunk::End,
        Err(why) => Chunk::Failed(why),
    };
    if to.tx.send(last).await.is_err() {
        tracing::debug!(%host, "a host went away before its image came");
        return;
    }
    // It may still be on its way here: a stream whose one end is gone is taken for abandoned.
    let taken = tokio::time::timeout(Duration::from_millis(IMAGE_SILENCE_MS_MAX), to.rx.recv());
    if taken.await.is_err() {
        tracing::debug!(%host, "an answer was not taken");
    }
}

async fn give<S: Store>(
    shared: &Shared<S>,
    host: &HostId,
    want: ImageWant,
    to: &mut Duplex,
) -> Result<(), String> {
    let spec = wanted(&shared.cluster(), host, want.instance())?;
    match want {
        ImageWant::Find { instance } => {
            let found = find(shared, host, &instance, &spec).await;
            let found = serde_json::to_vec(&found).map_err(|e| e.to_string())?;
            to.tx.send(Chunk::Json(found)).await.map_err(|_closed| "it went away".into())
        }
        ImageWant::Manifest { image, from, .. } => {
            let name = allowed(&spec, &image)?.to_owned();
            let request = StreamRequest::ImageManifest { name, id: image };
            relay(&shared.hosts, &from, request, to).await
        }
        ImageWant::Blob { image, from, digest, offset, .. } => {
            let name = allowed(&spec, &image)?.to_owned();
            let request = StreamRequest::ImageBlob { name, id: image, digest, offset };
            relay(&shared.hosts, &from, request, to).await
        }
    }
}

/// The container for which a host wants an image, as the host's own spec has it.
fn wanted(cluster: &Cluster, host: &HostId, id: &InstanceId) -> Result<InstanceSpec, String> {
    control::host::container(cluster, host, id)
        .ok_or_else(|| format!("the spec of host {host} has no container {id}"))
}

/// The name by which the host that has an image must know it, empty when its id is enough: a host
/// gets the image that was settled for it, or what the name in its spec means to the other one.
fn allowed<'s>(spec: &'s InstanceSpec, image: &str) -> Result<&'s str, String> {
    match (&spec.image_id, &spec.image_digest) {
        (Some(id), _) if id == image => Ok(""),
        (Some(_), Some(digest)) => Ok(digest),
        (Some(id), None) => Err(format!("the spec of this host names image {id}, not {image}")),
        (None, _) => Ok(&spec.container.image),
    }
}

/// Hosts that may have the image, those first that run it.
fn candidates(cluster: &Cluster, host: &HostId, spec: &InstanceSpec) -> Vec<HostId> {
    let runs = |id: &InstanceId| {
        let revision = cluster
            .instance(&id.instance())
            .and_then(|i| cluster.revision(&i.id.service, i.target.revision));
        revision.is_some_and(|revision| {
            let mut containers = revision.template.containers();
            containers.any(|(_, container)| container.image == spec.container.image)
        })
    };
    let known = cluster.instances().filter(|one| one.host != *host && runs(&one.id));
    let first: BTreeSet<&HostId> = known.map(|one| &one.host).collect();
    let rest = cluster.hosts().map(|one| &one.id).filter(|id| *id != host && !first.contains(id));
    first.iter().copied().chain(rest).take(IMAGE_HOSTS_ASKED_MAX).cloned().collect()
}

async fn find<S: Store>(
    shared: &Shared<S>,
    host: &HostId,
    instance: &InstanceId,
    spec: &InstanceSpec,
) -> ImageFound {
    let (name, id) = match &spec.image_id {
        Some(id) => (String::new(), id.clone()),
        None => (spec.container.image.clone(), String::new()),
    };
    let look = StreamRequest::ImageLook { name, id };
    let wait = Duration::from_millis(IMAGE_LOOK_MS_MAX);
    let ask = |other: HostId| {
        let look = look.clone();
        async move {
            let answer = shared.hosts.ask::<Option<ImageOffer>>(&other, look);
            let answer = tokio::time::timeout(wait, answer).await;
            (other, answer.ok().and_then(Result::ok))
        }
    };
    let all = candidates(&shared.cluster(), host, spec);
    let mut open: BTreeSet<HostId> = all.iter().cloned().collect();
    let mut answers = stream::iter(all).map(ask).buffer_unordered(ASKED_AT_ONCE);
    let mut found = ImageFound::default();
    let mut enough: Option<Instant> = None;
    loop {
        let next = match enough {
            None => answers.next().await,
            Some(until) => tokio::time::timeout_at(until, answers.next()).await.ok().flatten(),
        };
        let Some((other, answer)) = next else { break };
        open.remove(&other);
        match answer {
            Some(Some(offer)) => {
                found.offers.push((other, offer));
                enough.get_or_insert(Instant::now() + MORE);
            }
            Some(None) => found.without.push(other),
            None => found.silent.push(other),
        }
    }
    if found.offers.is_empty() {
        found.silent.extend(open);
    }
    found.without.sort();
    found.silent.sort();
    let offers = found.offers.len();
    tracing::debug!(%host, %instance, offers, "a host asked who has an image");
    found
}

/// Passes on what another host sends.
async fn relay(
    hosts: &Hosts,
    from: &HostId,
    request: StreamRequest,
    to: &mut Duplex,
) -> Result<(), String> {
    let _turn = loop {
        tokio::select! {
            biased;
            turn = hosts.relays.acquire() => break turn.map_err(|e| e.to_string())?,
            () = tokio::time::sleep(TELL) => {
                let told = to.tx.send(Chunk::Text("other images pass first".into())).await;
                told.map_err(|_closed| "it went away".to_owned())?;
            }
        }
    };
    let said = |error: ErrorInfo| error.message;
    let mut source = hosts.open(from, request).await.map_err(said)?;
    let silence = Duration::from_millis(IMAGE_SILENCE_MS_MAX);
    loop {
        let chunk = tokio::select! {
            chunk = tokio::time::timeout(silence, source.rx.recv()) => chunk,
            // Its end of the stream says nothing but that it is gone.
            _ = to.rx.recv() => return Err("it went away".into()),
        };
        let chunk = match chunk {
            Ok(Some(Chunk::End)) => return Ok(()),
            Ok(Some(Chunk::Failed(why))) => return Err(why),
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Err(format!("host {from} went away")),
            Err(_elapsed) => {
                return Err(format!("host {from} sent nothing for {} s", silence.as_secs()));
            }
        };
        match tokio::time::timeout(silence, to.tx.send(chunk)).await {
            Ok(Ok(())) => {}
            _ => return Err("it takes nothing any more".into()),
        }
    }
}

#[cfg(test)]
mod tests;
