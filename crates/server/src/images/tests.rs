//! Which images a host may have.

use super::*;
use model::container_spec::ContainerSpec;
use model::instance::{Goal, Target};
use model::service::RestartPolicy;
use std::collections::BTreeMap;
use std::sync::Arc;

fn spec(image: &str, id: Option<&str>, digest: Option<&str>) -> InstanceSpec {
    InstanceSpec {
        goal: Goal::Run,
        ordered_at: None,
        target: Target::default(),
        container_name: "web-1".into(),
        container: Arc::new(ContainerSpec { image: image.into(), ..ContainerSpec::default() }),
        address: None,
        search: vec![],
        system_labels: BTreeMap::new(),
        restart: RestartPolicy::Always,
        stop_grace_ms: 0,
        drain_ms: 0,
        probed: false,
        network_of: None,
        namespaces_of: BTreeSet::new(),
        volumes_from: vec![],
        sidekick_of: None,
        stop_after_ms: None,
        image_id: id.map(str::to_owned),
        image_digest: digest.map(str::to_owned),
        settles: false,
        measured: false,
        ended: None,
    }
}

#[test]
fn a_host_gets_what_its_spec_names_and_nothing_else() {
    let settled = spec("web:1", Some("sha256:aa"), None);
    assert_eq!(allowed(&settled, "sha256:aa").unwrap(), "");
    let why = allowed(&settled, "sha256:bb").unwrap_err();
    assert!(why.contains("sha256:aa") && why.contains("sha256:bb"), "{why}");
    // For another platform the same digest is another id: the one that has it looks.
    let digest = spec("web:1", Some("sha256:aa"), Some("web@sha256:dd"));
    assert_eq!(allowed(&digest, "sha256:bb").unwrap(), "web@sha256:dd");
    // Not settled yet: only what the name means where it is.
    assert_eq!(allowed(&spec("web:1", None, None), "sha256:bb").unwrap(), "web:1");
}

#[test]
fn a_host_that_was_given_nothing_has_nothing_to_ask_for() {
    let host: HostId = "h1".parse().unwrap();
    let cluster = Cluster::default();
    let why = wanted(&cluster, &host, &"shop/web#1@1".parse().unwrap()).unwrap_err();
    assert!(why.contains("h1") && why.contains("shop/web#1"), "{why}");
}
