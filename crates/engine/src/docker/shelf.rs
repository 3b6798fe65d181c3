//! All images of a host together: which there are, which containers need, and the room on the disk.

use super::connection::Docker;
use crate::error::{Error, Result};
use crate::reference::image_name;
use crate::seen::{DiskSpace, SeenImage};
use bollard::models::ImageSummary;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListImagesOptionsBuilder};
use std::collections::BTreeSet;

impl Docker {
    pub(super) async fn list_images(&self) -> Result<Vec<SeenImage>> {
        let options = ListImagesOptionsBuilder::default().all(false).build();
        let found = self
            .call("list images", self.deadlines().call_ms, |client| async move {
                client.bollard.list_images(Some(options)).await
            })
            .await?;
        let mut images: Vec<SeenImage> = found.into_iter().map(seen).collect();
        images.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(images)
    }

    pub(super) async fn used_images(&self) -> Result<BTreeSet<String>> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let operation = "list all containers";
        let found = self
            .call(operation, self.deadlines().call_ms, |client| async move {
                client.bollard.list_containers(Some(options)).await
            })
            .await?;
        // A container that does not say what it is made of could be made of any image.
        let ids = found.into_iter().map(|container| container.image_id.filter(|id| !id.is_empty()));
        ids.collect::<Option<BTreeSet<String>>>().ok_or_else(|| Error::Answer {
            operation: operation.into(),
            source: "a container without the id of its image".into(),
        })
    }

    pub(super) async fn disk_space(&self) -> Result<DiskSpace> {
        let root = self.engine_info().await?.root_dir;
        let operation = format!("look at the disk of {root}");
        let refused = |message: String| Error::Docker {
            operation: operation.clone(),
            status: 0,
            message: crate::error::shown(&message),
        };
        // A disk over the network may hang.
        let look = async {
            let path = root.clone();
            tokio::task::spawn_blocking(move || rustix::fs::statvfs(path))
                .await
                .map_err(|error| refused(error.to_string()))?
                .map_err(|error| refused(error.to_string()))
        };
        let disk = self.within(&operation, self.deadlines().call_ms, look).await?;
        Ok(DiskSpace {
            total: disk.f_blocks.saturating_mul(disk.f_frsize),
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
        })
    }
}

/// Docker writes `<none>` where there is no name, which is no reference.
fn seen(image: ImageSummary) -> SeenImage {
    let names = |texts: Vec<String>| texts.iter().filter_map(|text| image_name(text)).collect();
    SeenImage {
        id: image.id,
        names: names(image.repo_tags),
        digests: names(image.repo_digests),
        size: u64::try_from(image.size).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_name_has_none() {
        let image = |tags: &[&str], digests: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            let summary = ImageSummary {
                id: "sha256:1".into(),
                repo_tags: texts(tags),
                repo_digests: texts(digests),
                size: -1,
                ..ImageSummary::default()
            };
            let seen = seen(summary);
            let words = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(" ");
            (words(seen.names), words(seen.digests), seen.size)
        };
        let none = String::new;
        assert_eq!(image(&["<none>:<none>"], &["<none>@<none>"]), (none(), none(), 0));
        assert_eq!(image(&[], &["a@sha256:ff"]), (none(), "a@sha256:ff".into(), 0));
        assert_eq!(image(&["r:5000/a:1", "b:2"], &[]), ("b:2 r:5000/a:1".into(), none(), 0));
    }
}
