//! Does what is there fit what is wanted? Pure rules for networks and volumes, for every engine.

use crate::error::{Error, Result};
use crate::label;
use crate::wish::NetworkWish;
use ipnet::Ipv4Net;
use model::stack::VolumeSpec;
use std::collections::BTreeMap;

/// What is looked at in a network that is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeenNetwork {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) owner: Option<String>,
    pub(crate) subnets: Vec<Ipv4Net>,
}

/// The network is there, but not ours.
pub(crate) fn foreign(name: &str) -> Error {
    Error::NetworkClash {
        name: name.to_owned(),
        why: format!(
            "it was not made by this environment; remove it with `docker network rm {name}` if nothing needs it"
        ),
    }
}

/// Is the wanted network there? An error when it cannot be made.
pub(crate) fn network_is_there(networks: &[SeenNetwork], wish: &NetworkWish) -> Result<bool> {
    if let Some(there) = networks.iter().find(|network| network.name == wish.name) {
        if there.owner.as_ref() != wish.labels.get(label::ENVIRONMENT) || there.owner.is_none() {
            return Err(foreign(&wish.name));
        }
        if there.subnets != [wish.subnet] {
            let subnets: Vec<String> = there.subnets.iter().map(Ipv4Net::to_string).collect();
            return Err(Error::NetworkClash {
                name: wish.name.clone(),
                why: format!(
                    "it has the subnet {} instead of {}; take the environment down before its range is changed",
                    subnets.join(", "),
                    wish.subnet
                ),
            });
        }
        return Ok(true);
    }
    for other in networks {
        let overlap = |net: &&Ipv4Net| net.contains(&wish.subnet) || wish.subnet.contains(*net);
        if let Some(net) = other.subnets.iter().find(overlap) {
            return Err(Error::NetworkClash {
                name: wish.name.clone(),
                why: format!(
                    "its subnet {} overlaps {net} of the docker network {}; choose another range, or remove that network",
                    wish.subnet, other.name
                ),
            });
        }
    }
    Ok(false)
}

/// The driver that is meant.
pub(crate) fn volume_driver(spec: &VolumeSpec) -> &str {
    if spec.driver.is_empty() { "local" } else { &spec.driver }
}

/// An external volume is not there.
pub(crate) fn no_external_volume(name: &str) -> Error {
    Error::Volume {
        name: name.to_owned(),
        why: format!("it is external and is not there; make it with `docker volume create {name}`"),
    }
}

/// A volume that is there is used as it is, with whatever is in it; not with another driver or
/// other options, for its data would not be where the user says.
pub(crate) fn volume_fits(
    name: &str,
    spec: &VolumeSpec,
    driver: &str,
    options: &BTreeMap<String, String>,
) -> Result<()> {
    let clash = |why: String| Err(Error::Volume { name: name.to_owned(), why });
    if spec.external {
        return Ok(());
    }
    if volume_driver(spec) != driver {
        return clash(format!(
            "it is there with the driver {driver} instead of {}; rename it in the compose file, or remove it with `docker volume rm {name}` if its data may go",
            volume_driver(spec)
        ));
    }
    if *options != spec.driver_opts {
        return clash(format!(
            "it is there with other driver options; rename it in the compose file, or remove it with `docker volume rm {name}` if its data may go"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(subnet: &str) -> NetworkWish {
        let subnet: Ipv4Net = subnet.parse().unwrap();
        NetworkWish {
            name: "ours".into(),
            bridge_name: "br0".into(),
            subnet,
            gateway: model::host::gateway(subnet),
            ip_range: model::host::docker_range(subnet),
            labels: BTreeMap::from([(label::ENVIRONMENT.to_owned(), "e1".to_owned())]),
            mtu: None,
            options: BTreeMap::new(),
        }
    }

    fn seen(name: &str, owner: Option<&str>, subnet: &str) -> SeenNetwork {
        SeenNetwork {
            id: "1".into(),
            name: name.into(),
            owner: owner.map(str::to_owned),
            subnets: vec![subnet.parse().unwrap()],
        }
    }

    #[test]
    fn a_network_is_ours_or_in_the_way() {
        let there = |s: SeenNetwork| network_is_there(&[s], &wish("10.42.0.0/16"));
        assert!(!there(seen("x", None, "10.43.0.0/16")).unwrap());
        assert!(there(seen("ours", Some("e1"), "10.42.0.0/16")).unwrap());
        for (clash, word) in [
            (seen("ours", None, "10.42.0.0/16"), "not made by this environment"),
            (seen("ours", Some("e2"), "10.42.0.0/16"), "not made by this environment"),
            (seen("ours", Some("e1"), "10.99.0.0/16"), "instead of 10.42.0.0/16"),
            (seen("x", None, "10.42.7.0/24"), "overlaps 10.42.7.0/24 of the docker network x"),
            (seen("x", Some("e1"), "10.0.0.0/8"), "overlaps 10.0.0.0/8"),
        ] {
            let error = there(clash).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_volume_is_used_as_it_is_or_not_at_all() {
        let options = |v: &str| BTreeMap::from([("o".to_owned(), v.to_owned())]);
        let spec = VolumeSpec { driver_opts: options("hunter2"), ..VolumeSpec::default() };
        volume_fits("v", &spec, "local", &options("hunter2")).unwrap();
        let error = volume_fits("v", &spec, "local", &options("x")).unwrap_err().to_string();
        assert!(error.contains("other driver options") && !error.contains("hunter2"), "{error}");
        let error = volume_fits("v", &spec, "nfs", &options("hunter2")).unwrap_err().to_string();
        assert!(error.contains("driver nfs instead of local"), "{error}");
        let external = VolumeSpec { external: true, ..VolumeSpec::default() };
        volume_fits("v", &external, "nfs", &options("x")).unwrap();
    }
}
