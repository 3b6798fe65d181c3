//! Which addresses the fake's containers have in networks, and containers that are nobody's of
//! ours.

use super::Fake;
use super::world::World;
use crate::error::{Error, Result};
use crate::label;
use crate::seen::{PlainList, SeenContainer};
use crate::wish::{Attach, CreateRequest};
use model::container_spec::ContainerSpec;
use model::plain::asks_for_network;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

impl World {
    /// The container's addresses, unless a network is gone or somebody else has it.
    pub(super) fn addresses_for(&self, id: &str) -> Result<BTreeMap<String, Ipv4Addr>> {
        let Some(container) = self.containers.get(id) else { return Ok(BTreeMap::new()) };
        let mut wanted: BTreeMap<&String, Option<Ipv4Addr>> =
            container.connected.iter().map(|(name, address)| (name, Some(*address))).collect();
        if let Attach::Network { name, address } = &container.request.attach {
            wanted.entry(name).or_insert(*address);
        }
        let operation = format!("start container {id}");
        let mut addresses = BTreeMap::new();
        for (name, address) in wanted {
            if let Some(address) = self.address_in(id, name, address, &operation)? {
                addresses.insert(name.clone(), address);
            }
        }
        Ok(addresses)
    }

    /// The address that it wants in a network, when that is there and the address is free.
    pub(super) fn address_in(
        &self,
        id: &str,
        name: &str,
        address: Option<Ipv4Addr>,
        operation: &str,
    ) -> Result<Option<Ipv4Addr>> {
        let operation = operation.to_owned();
        if !self.networks.contains_key(name) {
            let message = format!("network {name} not found");
            return Err(Error::NotFound { operation, message });
        }
        let Some(address) = address else { return Ok(None) };
        let taken = self.containers.values().any(|other| {
            other.seen.id != id
                && other.seen.running()
                && other.seen.addresses.get(name) == Some(&address)
        });
        if taken {
            let message = "Address already in use".to_owned();
            return Err(Error::Docker { operation, status: 403, message });
        }
        Ok(Some(address))
    }

    pub(super) fn list_plain(&self) -> PlainList {
        let plain = |seen: &&SeenContainer| {
            seen.owner.is_none() && (seen.running() || asks_for_network(&seen.labels))
        };
        let all = self.containers.values().map(|one| &one.seen).filter(plain);
        let mut containers: Vec<SeenContainer> = all.cloned().collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        PlainList { containers, left_out: 0 }
    }

    pub(super) fn connect(&mut self, id: &str, network: &str, address: Ipv4Addr) -> Result<()> {
        let id = self.id_of("connect", id)?;
        let operation = format!("connect container {id} to network {network}");
        self.address_in(&id, network, Some(address), &operation)?;
        if let Some(container) = self.containers.get_mut(&id) {
            container.connected.insert(network.to_owned(), address);
            if container.seen.running() {
                container.seen.addresses.insert(network.to_owned(), address);
            }
        }
        Ok(())
    }

    pub(super) fn disconnect(&mut self, id: &str, network: &str) {
        let Ok(id) = self.id_of("disconnect", id) else { return };
        if let Some(container) = self.containers.get_mut(&id) {
            container.connected.remove(network);
            container.seen.addresses.remove(network);
        }
    }
}

impl Fake {
    /// Somebody runs a container by hand; its id.
    ///
    /// # Errors
    /// When the image is not here, or the name is taken.
    pub fn run_plain(
        &self,
        name: &str,
        image: &str,
        labels: &[(&str, &str)],
        network: &str,
    ) -> Result<String> {
        let marks = [label::ENVIRONMENT, label::INSTANCE];
        let request = CreateRequest {
            name: name.to_owned(),
            spec: Arc::new(ContainerSpec { image: image.to_owned(), ..ContainerSpec::default() }),
            labels: marks.map(|key| (key.to_owned(), "nobody".to_owned())).into(),
            attach: Attach::None,
            volumes_from: vec![],
            resolv_conf: None,
            stop_grace_ms: 0,
        };
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.change(|world| {
            let id = world.create_as(&request, |seen| {
                seen.labels = labels;
                (seen.owner, seen.instance) = (None, None);
                seen.network_mode = network.to_owned();
            })?;
            world.start(&id)?;
            Ok(id)
        })
    }

    /// Somebody starts a container again.
    ///
    /// # Errors
    /// When it is not there, or its address is taken.
    pub fn start_behind(&self, id: &str) -> Result<()> {
        self.change(|world| world.start(id))
    }
}
