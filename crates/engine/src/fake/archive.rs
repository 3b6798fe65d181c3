//! Images of the fake as archives, in the layout that Docker 20.10 writes. What a program does is no
//! part of an image: one that was taken in does what its command says.

use super::program::Program;
use super::world::{Image, ImageFiles, World};
use crate::error::{Error, Result};
use crate::reference::image_name;
use crate::seen::ImageInfo;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

/// Bytes of the layer that an image does not share with others.
const LAYER_BYTES: usize = 100_000;

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused(message: impl Into<String>) -> Error {
    let operation = "take in an image".to_owned();
    Error::Docker { operation, status: 500, message: message.into() }
}

impl World {
    /// A new image: its lower layer is that of all others, the upper one is its own.
    pub(super) fn new_image(&mut self, key: &str, program: Option<Program>) -> Image {
        let mark = self.new_id(key);
        let own = mark.bytes().cycle().take(LAYER_BYTES).collect();
        let layers = vec![b"the layer of all images".to_vec(), own];
        let diff_ids: Vec<String> = layers.iter().map(|l| format!("sha256:{}", hex(l))).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "mark": mark,
        });
        let files = ImageFiles { config: config.to_string().into_bytes(), layers };
        let mut image = image_of(files);
        image.info.digests = vec![format!("{key}@{}", image.info.id)];
        image.info.has_healthcheck = program.as_ref().is_some_and(|one| !one.health.is_empty());
        image.program = program;
        image
    }

    pub(super) fn save_image(&self, key: &str, id: &str) -> Result<Vec<u8>> {
        let by_name = self.images.get(key);
        let image = by_name.or_else(|| self.images.values().find(|image| image.info.id == id));
        let Some(image) = image else {
            let operation = format!("write out image {id}");
            return Err(Error::NotFound { operation, message: format!("No such image: {id}") });
        };
        let files = &image.files;
        let config = format!("{}.json", hex(&files.config));
        let layers: Vec<String> =
            files.layers.iter().map(|layer| format!("{}/layer.tar", hex(layer))).collect();
        let manifest = json!([{"Config": config, "RepoTags": null, "Layers": layers}]).to_string();
        let mut tar = tar::Builder::new(vec![]);
        let mut put = |path: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, bytes).map_err(|e| refused(e.to_string()))
        };
        put(&config, &files.config)?;
        for (path, layer) in layers.iter().zip(&files.layers) {
            put(path, layer)?;
        }
        put("manifest.json", manifest.as_bytes())?;
        tar.into_inner().map_err(|e| refused(e.to_string()))
    }

    pub(super) fn load_image(&mut self, archive: &[u8]) -> Result<()> {
        let mut found = BTreeMap::new();
        let mut tar = tar::Archive::new(archive);
        for entry in tar.entries().map_err(|e| refused(e.to_string()))? {
            let mut entry = entry.map_err(|e| refused(e.to_string()))?;
            let path = entry.path().map_err(|e| refused(e.to_string()))?.display().to_string();
            let mut bytes = vec![];
            entry.read_to_end(&mut bytes).map_err(|e| refused(e.to_string()))?;
            found.insert(path, bytes);
        }
        let manifest = found.get("manifest.json").ok_or_else(|| refused("no manifest.json"))?;
        let manifest: Vec<Value> =
            serde_json::from_slice(manifest).map_err(|e| refused(e.to_string()))?;
        for one in manifest {
            let config = one["Config"].as_str().and_then(|path| found.get(path));
            let config = config.ok_or_else(|| refused("no config"))?.clone();
            let wanted: Value =
                serde_json::from_slice(&config).map_err(|e| refused(e.to_string()))?;
            let mut layers: Vec<Vec<u8>> = vec![];
            let paths = one["Layers"].as_array().into_iter().flatten();
            for (path, diff) in
                paths.zip(wanted["rootfs"]["diff_ids"].as_array().into_iter().flatten())
            {
                let given = path.as_str().and_then(|path| found.get(path)).cloned();
                // As Docker: a layer on top of the same ones need not be given.
                let layer = match self.layer_on(&layers, diff.as_str().unwrap_or_default()) {
                    Some(here) => here,
                    None => given.ok_or_else(|| refused(format!("no layer {path}")))?,
                };
                if format!("sha256:{}", hex(&layer)) != diff.as_str().unwrap_or_default() {
                    return Err(refused(format!("invalid diffID for layer {}", layers.len())));
                }
                layers.push(layer);
            }
            let image = image_of(ImageFiles { config, layers });
            let tags = one["RepoTags"].as_array().into_iter().flatten();
            let names: Vec<String> =
                tags.filter_map(Value::as_str).filter_map(image_name).collect();
            if names.is_empty() {
                let known = self.images.values().any(|one| one.info.id == image.info.id);
                if !known {
                    self.images.insert(image.info.id.clone(), image);
                }
                continue;
            }
            for name in names {
                self.name_image(name, image.clone());
            }
        }
        Ok(())
    }

    fn layer_on(&self, lower: &[Vec<u8>], diff: &str) -> Option<Vec<u8>> {
        self.images.values().find_map(|image| {
            let layers = &image.files.layers;
            let layer = layers.get(lower.len())?;
            let same = layers.get(..lower.len())? == lower;
            (same && format!("sha256:{}", hex(layer)) == diff).then(|| layer.clone())
        })
    }
}

fn image_of(files: ImageFiles) -> Image {
    let config: Value = serde_json::from_slice(&files.config).unwrap_or_default();
    let text = |name: &str| config[name].as_str().unwrap_or_default().to_owned();
    let layers = config["rootfs"]["diff_ids"].as_array().into_iter().flatten();
    let info = ImageInfo {
        id: format!("sha256:{}", hex(&files.config)),
        size: 1 << 20,
        os: text("os"),
        architecture: text("architecture"),
        created: text("created"),
        layers: layers.filter_map(Value::as_str).map(str::to_owned).collect(),
        ..ImageInfo::default()
    };
    Image { info, program: None, files: Arc::new(files) }
}
