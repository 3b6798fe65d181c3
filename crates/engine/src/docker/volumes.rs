//! Named volumes: made when missing, never changed, never removed.

use super::connection::Docker;
use crate::error::{Error, Result};
use crate::fit::{no_external_volume, volume_driver, volume_fits};
use crate::label;
use crate::reference::path_safe;
use crate::seen::SeenVolume;
use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::ListVolumesOptionsBuilder;
use model::stack::VolumeSpec;
use std::collections::{BTreeMap, HashMap};

impl Docker {
    pub(super) async fn make_volume(
        &self,
        name: &str,
        spec: &VolumeSpec,
        labels: &BTreeMap<String, String>,
    ) -> Result<()> {
        path_safe("volume name", name)?;
        if let Some(there) = self.volume(name).await? {
            let options = there.options.into_iter().collect();
            return volume_fits(name, spec, &there.driver, &options);
        }
        if spec.external {
            return Err(no_external_volume(name));
        }
        let mut all: HashMap<String, String> = spec.labels.clone().into_iter().collect();
        all.extend(labels.clone());
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some(volume_driver(spec).to_owned()),
            driver_opts: Some(spec.driver_opts.clone().into_iter().collect()),
            labels: Some(all),
            ..VolumeCreateRequest::default()
        };
        // Docker gives the one that is there when somebody was faster.
        self.call(&format!("create volume {name}"), self.deadlines().call_ms, |client| async move {
            client.bollard.create_volume(request).await
        })
        .await
        .map(|_made| ())
    }

    async fn volume(&self, name: &str) -> Result<Option<Volume>> {
        let answer = self
            .call(
                &format!("inspect volume {name}"),
                self.deadlines().call_ms,
                |client| async move { client.bollard.inspect_volume(name).await },
            )
            .await;
        match answer {
            Ok(volume) => Ok(Some(volume)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn volumes_of(&self, owner: &str) -> Result<Vec<SeenVolume>> {
        let filters =
            HashMap::from([("label".to_owned(), vec![format!("{}={owner}", label::ENVIRONMENT)])]);
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let listed = self
            .call("list volumes", self.deadlines().call_ms, |client| async move {
                client.bollard.list_volumes(Some(options)).await
            })
            .await?;
        let mut found: Vec<SeenVolume> = listed
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|volume| SeenVolume {
                name: volume.name,
                driver: volume.driver,
                labels: volume.labels.into_iter().collect(),
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}
