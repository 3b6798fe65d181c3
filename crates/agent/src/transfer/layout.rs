//! What is in an archive of `docker save`, and the archive that `docker load` is given. Docker has
//! written two layouts: `<id>/layer.tar` up to version 24, and OCI's `blobs/sha256/<hex>` since;
//! both have a `manifest.json`. Pure.

use api::image::{Blob, ImageManifest, hex_of};
use model::limits::{IMAGE_BYTES_MAX, IMAGE_DOCUMENT_BYTES_MAX, IMAGE_LAYERS_MAX};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Most documents that lead from the id of an image to its configuration.
const DOCUMENTS_MAX: usize = 8;

/// What was found in an archive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archive {
    /// Files that are blobs, by path.
    pub(crate) files: BTreeMap<String, Blob>,
    /// Links to other paths.
    pub(crate) links: BTreeMap<String, String>,
    /// Small files: `manifest.json`.
    pub(crate) texts: BTreeMap<String, Vec<u8>>,
}

/// Is a file of this path kept as a blob? The rest is of formats that nobody reads any more.
pub(crate) fn is_blob(path: &str) -> bool {
    let in_root = !path.contains('/') && path.ends_with(".json") && !is_text(path);
    in_root || path.ends_with("/layer.tar") || path.starts_with("blobs/sha256/")
}

/// Is it a text that says how the blobs belong together?
pub(crate) fn is_text(path: &str) -> bool {
    path == "manifest.json"
}

impl Archive {
    fn blob(&self, path: &str) -> Option<&Blob> {
        let path = self.links.get(path).map_or(path, String::as_str);
        self.files.get(path)
    }

    /// What the image of this id is made of.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn manifest(&self, id: &str) -> Result<ImageManifest, String> {
        let text = self.texts.get("manifest.json").ok_or("the archive has no manifest.json")?;
        let all: Vec<Value> =
            serde_json::from_slice(text).map_err(|e| format!("its manifest.json: {e}"))?;
        let one = all.first().ok_or("its manifest.json names no image")?;
        let blob = |path: &Value| {
            let path = path.as_str().unwrap_or_default();
            self.blob(path).cloned().ok_or_else(|| format!("the archive has no {path}"))
        };
        let config = blob(&one["Config"])?;
        let layers = one["Layers"].as_array().ok_or("its manifest.json names no layers")?;
        let layers = layers.iter().map(blob).collect::<Result<Vec<_>, _>>()?;
        let mut manifest = ImageManifest { id: id.to_owned(), config, layers, documents: vec![] };
        if manifest.config.digest != id {
            let known: BTreeSet<&str> = manifest.blobs().map(|b| b.digest.as_str()).collect();
            let others = self.files.values().filter(|b| !known.contains(b.digest.as_str()));
            let small = others.filter(|b| b.size <= IMAGE_DOCUMENT_BYTES_MAX);
            manifest.documents = small.take(DOCUMENTS_MAX).cloned().collect();
        }
        check(&manifest)?;
        Ok(manifest)
    }
}

/// Is this manifest, which came from another host, one to begin with?
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(manifest: &ImageManifest) -> Result<(), String> {
    if manifest.layers.len() > IMAGE_LAYERS_MAX || manifest.documents.len() > DOCUMENTS_MAX {
        return Err(format!("it has more than {IMAGE_LAYERS_MAX} layers"));
    }
    if let Some(bad) = manifest.blobs().find(|blob| hex_of(&blob.digest).is_none()) {
        return Err(format!("{:?} is no digest", bad.digest));
    }
    let size = manifest.blobs().try_fold(0_u64, |sum, blob| sum.checked_add(blob.size));
    if size.is_none_or(|size| size > IMAGE_BYTES_MAX) {
        return Err(format!("it is larger than {IMAGE_BYTES_MAX} bytes"));
    }
    let texts = manifest.documents.iter().chain([&manifest.config]);
    if texts.clone().any(|blob| blob.size > IMAGE_DOCUMENT_BYTES_MAX) {
        return Err(format!("its configuration is over {IMAGE_DOCUMENT_BYTES_MAX} bytes"));
    }
    if !texts.into_iter().any(|blob| blob.digest == manifest.id) {
        return Err(format!("nothing in it is {}", manifest.id));
    }
    Ok(())
}

/// The digests of the unpacked layers that a configuration names.
///
/// # Errors
/// When it is none.
pub(crate) fn diff_ids(config: &[u8]) -> Result<Vec<String>, String> {
    let config: Value =
        serde_json::from_slice(config).map_err(|e| format!("its configuration: {e}"))?;
    let ids = config["rootfs"]["diff_ids"].as_array().ok_or("its configuration has no layers")?;
    Ok(ids.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// What is known of an image whose id leads to its layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Digests of its unpacked layers, from the lowest up.
    pub(crate) diff_ids: Vec<String>,
    /// Its id is that of a list of images for several platforms.
    pub(crate) is_index: bool,
}

/// Does the id lead to just this configuration and these layers? Each document was checked
/// against its digest; `documents` are by digest, with the configuration.
///
/// # Errors
/// Where the chain breaks.
pub(crate) fn prove(
    manifest: &ImageManifest,
    documents: &BTreeMap<String, Vec<u8>>,
) -> Result<Proof, String> {
    let config = documents.get(&manifest.config.digest).ok_or("its configuration is not here")?;
    let diff_ids = diff_ids(config)?;
    if diff_ids.len() != manifest.layers.len() {
        return Err("its configuration and its manifest differ in their layers".into());
    }
    if manifest.config.digest == manifest.id {
        let same = manifest.layers.iter().zip(&diff_ids).all(|(layer, id)| layer.digest == *id);
        let proof = Proof { diff_ids, is_index: false };
        return if same { Ok(proof) } else { Err("its layers are not those of its id".into()) };
    }
    let read = |digest: &str| {
        let text = documents.get(digest)?;
        serde_json::from_slice::<Value>(text).ok()
    };
    let top = read(&manifest.id).ok_or("the document of its id cannot be read")?;
    let listed = top["manifests"].as_array().cloned().unwrap_or_default();
    let is_index = !listed.is_empty();
    let listed = listed.iter().filter_map(|one| read(one["digest"].as_str()?));
    let leads = |document: &Value| {
        let layers = document["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let layers = layers.iter().map(|one| one["digest"].as_str().unwrap_or_default());
        document["config"]["digest"].as_str() == Some(manifest.config.digest.as_str())
            && layers.eq(manifest.layers.iter().map(|blob| blob.digest.as_str()))
    };
    if std::iter::once(top).chain(listed).any(|document| leads(&document)) {
        return Ok(Proof { diff_ids, is_index });
    }
    Err("its id does not lead to its layers".into())
}

/// How many of the lowest layers are here: those of one of the images of this host.
pub(crate) fn shared_layers(wanted: &[String], here: &[Vec<String>]) -> usize {
    let shared = |other: &Vec<String>| wanted.iter().zip(other).take_while(|(a, b)| a == b).count();
    here.iter().map(shared).max().unwrap_or(0)
}

/// A file of the archive that `docker load` is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// A text.
    Text(String, Vec<u8>),
    /// A blob.
    Blob(String, Blob),
}

/// The archive of an image without its lowest `skipped` layers. It gives the image no name.
pub(crate) fn members(manifest: &ImageManifest, is_index: bool, skipped: usize) -> Vec<Member> {
    let oci = !manifest.documents.is_empty();
    let path = |blob: &Blob| format!("blobs/sha256/{}", hex_of(&blob.digest).unwrap_or_default());
    let plain = |blob: &Blob, end: &str| match (oci, hex_of(&blob.digest)) {
        (false, Some(hex)) => format!("{hex}{end}"),
        _ => path(blob),
    };
    let config = plain(&manifest.config, ".json");
    let layers: Vec<String> =
        manifest.layers.iter().map(|layer| plain(layer, "/layer.tar")).collect();
    let text = json!([{"Config": config, "RepoTags": null, "Layers": layers}]).to_string();
    let mut members = vec![Member::Blob(config, manifest.config.clone())];
    let mut seen = BTreeSet::new();
    for (blob, path) in manifest.layers.iter().zip(layers).skip(skipped) {
        if seen.insert(path.clone()) {
            members.push(Member::Blob(path, blob.clone()));
        }
    }
    for document in &manifest.documents {
        members.push(Member::Blob(path(document), document.clone()));
    }
    members.push(Member::Text("manifest.json".into(), text.into_bytes()));
    if let Some(top) = manifest.documents.iter().find(|blob| blob.digest == manifest.id) {
        let kind = if is_index { "index" } else { "manifest" };
        let kind = format!("application/vnd.oci.image.{kind}.v1+json");
        let top = json!({"mediaType": kind, "digest": top.digest, "size": top.size});
        let index = json!({"schemaVersion": 2, "manifests": [top]}).to_string();
        members.push(Member::Text("index.json".into(), index.into_bytes()));
        let layout = json!({"imageLayoutVersion": "1.0.0"}).to_string();
        members.push(Member::Text("oci-layout".into(), layout.into_bytes()));
    }
    members
}

/// Can a machine of this kind, in the words of uname or of Go, run an image of that one?
pub(crate) fn runs(machine: &str, image: &str) -> bool {
    let machine = platform(machine);
    let image = platform(image);
    let older = [("amd64", "386"), ("arm64", "arm")];
    machine.is_empty() || image.is_empty() || machine == image || older.contains(&(machine, image))
}

/// The word of Go for a machine.
pub(crate) fn platform(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i686" => "386",
        other if other.starts_with("armv") => "arm",
        other => other,
    }
}

#[cfg(test)]
mod tests;
