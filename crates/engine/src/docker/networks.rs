//! Bridge networks: made once, looked at, never bent.

use super::connection::Docker;
use crate::error::{Error, Result};
use crate::fit::{SeenNetwork, foreign, network_is_there};
use crate::label;
use crate::reference::path_safe;
use crate::wish::NetworkWish;
use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use std::collections::{BTreeMap, HashMap};

impl Docker {
    pub(super) async fn make_network(&self, wish: &NetworkWish) -> Result<()> {
        path_safe("network name", &wish.name)?;
        let _one_at_a_time = self.shared.network.lock().await;
        if network_is_there(&self.networks().await?, wish)? {
            return Ok(());
        }
        let request = create_request(wish);
        let answer = self
            .call(
                &format!("create network {}", wish.name),
                self.deadlines().container_ms,
                |client| async move { client.bollard.create_network(request).await },
            )
            .await;
        match answer {
            Ok(_made) => Ok(()),
            // Somebody was faster, or an overlap came up since: the list tells.
            Err(error @ Error::Docker { .. }) => {
                match network_is_there(&self.networks().await?, wish) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(error),
                    Err(clash) => Err(clash),
                }
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn drop_network(&self, name: &str, owner: &str) -> Result<()> {
        path_safe("network name", name)?;
        let networks = self.networks().await?;
        let Some(there) = networks.into_iter().find(|network| network.name == name) else {
            return Ok(());
        };
        if there.owner.as_deref() != Some(owner) {
            return Err(foreign(name));
        }
        let answer = self
            .call(
                &format!("remove network {name}"),
                self.deadlines().container_ms,
                |client| async move { client.bollard.remove_network(&there.id).await },
            )
            .await;
        match answer {
            Err(Error::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Labels of the network of this name; `None` when there is none.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub async fn network_labels(&self, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        let listed = self.listed().await?;
        let found = listed.into_iter().find(|network| network.name.as_deref() == Some(name));
        Ok(found.map(|network| network.labels.unwrap_or_default().into_iter().collect()))
    }

    async fn listed(&self) -> Result<Vec<Network>> {
        self.call("list networks", self.deadlines().call_ms, |client| async move {
            client.bollard.list_networks(None::<ListNetworksOptions>).await
        })
        .await
    }

    async fn networks(&self) -> Result<Vec<SeenNetwork>> {
        let listed = self.listed().await?;
        let seen = listed.into_iter().map(|network| SeenNetwork {
            id: network.id.unwrap_or_default(),
            name: network.name.unwrap_or_default(),
            owner: network.labels.and_then(|labels| labels.get(label::ENVIRONMENT).cloned()),
            subnets: network
                .ipam
                .and_then(|ipam| ipam.config)
                .unwrap_or_default()
                .into_iter()
                .filter_map(|config| config.subnet?.parse().ok())
                .collect(),
        });
        Ok(seen.collect())
    }
}

fn create_request(wish: &NetworkWish) -> NetworkCreateRequest {
    let mut options: HashMap<String, String> = wish.options.clone().into_iter().collect();
    options.insert("com.docker.network.bridge.name".into(), wish.bridge_name.clone());
    if let Some(mtu) = wish.mtu {
        options.insert("com.docker.network.driver.mtu".into(), mtu.to_string());
    }
    NetworkCreateRequest {
        name: wish.name.clone(),
        driver: Some("bridge".into()),
        ipam: Some(Ipam {
            driver: Some("default".into()),
            config: Some(vec![IpamConfig {
                subnet: Some(wish.subnet.to_string()),
                ip_range: Some(wish.ip_range.to_string()),
                gateway: Some(wish.gateway.to_string()),
                auxiliary_addresses: None,
            }]),
            options: None,
        }),
        options: Some(options),
        labels: Some(wish.labels.clone().into_iter().collect()),
        ..NetworkCreateRequest::default()
    }
}
