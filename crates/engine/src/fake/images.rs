//! The fake's shelf of images: names that move, images that lose their last one, and what may go.

use super::world::{Image, World};
use crate::error::{Error, Result};
use crate::reference::image_name;
use crate::seen::SeenImage;
use std::collections::BTreeMap;

impl World {
    /// Gives an image a name. The one that had it stays under its id when that was its last name.
    pub(super) fn name_image(&mut self, key: String, image: Image) {
        self.images.remove(&image.info.id);
        let id = image.info.id.clone();
        if let Some(before) = self.images.insert(key, image)
            && before.info.id != id
            && self.names_of(&before.info.id).is_empty()
        {
            self.images.insert(before.info.id.clone(), before);
        }
    }

    fn names_of(&self, id: &str) -> Vec<String> {
        let named = self.images.iter().filter(|(_, image)| image.info.id == id);
        named.map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn list_images(&self) -> Vec<SeenImage> {
        let mut found: BTreeMap<&str, SeenImage> = BTreeMap::new();
        for (key, image) in &self.images {
            let info = &image.info;
            let seen = found.entry(&info.id).or_insert_with(|| SeenImage {
                id: info.id.clone(),
                digests: info.digests.iter().filter_map(|text| image_name(text)).collect(),
                size: info.size,
                ..SeenImage::default()
            });
            if *key != info.id {
                seen.names.extend(image_name(key));
            }
        }
        found.into_values().collect()
    }

    /// By name or by id, as Docker does without force.
    pub(super) fn remove_image(&mut self, key: &str) -> Result<()> {
        let by_name = self.images.get(key).map(|image| image.info.id.clone());
        let by_id = || self.images.values().find(|i| i.info.id == key).map(|i| i.info.id.clone());
        let Some(id) = by_name.or_else(by_id) else { return Ok(()) };
        let names = self.names_of(&id);
        let refused = |why: &str| Error::Docker {
            operation: format!("remove image {key}"),
            status: 409,
            message: format!("conflict: unable to remove {key}: {why}"),
        };
        if id == key && names.len() > 1 {
            return Err(refused("image is referenced in multiple repositories"));
        }
        let used = self.containers.values().any(|container| container.seen.image_id == id);
        if used && names.len() == 1 {
            return Err(refused("a container is using its referenced image"));
        }
        for name in names.iter().filter(|name| id == key || *name == key) {
            self.images.remove(name);
        }
        Ok(())
    }
}
