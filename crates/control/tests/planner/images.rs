//! Which image a revision runs is settled once, for all hosts.

use crate::world::{World, service};
use control::operate;
use model::instance::Phase;
use model::record::Record;
use std::sync::Arc;

/// Instance `n` says that its host has this image, before it has a container.
fn says(world: &mut World, n: u32, image: &str, digest: &str) {
    let found = world.cluster.instances_of(&service("web")).filter(|one| one.id.n == n).last();
    let id = found.unwrap().id.clone();
    let mut status =
        world.cluster.instance_status(&id).map_or_else(Default::default, |s| (**s).clone());
    status.phase = Phase::Pulling;
    status.image_id = image.into();
    status.image_digest = digest.into();
    world.put(Record::InstanceStatus(id, Arc::new(status)));
    world.plan();
}

fn settled(world: &World, revision: u32) -> String {
    let status = world.status("web").unwrap();
    let known = status.revisions.get(&revision).cloned().unwrap_or_default();
    let of =
        |map: &std::collections::BTreeMap<String, String>| map.get("").cloned().unwrap_or_default();
    format!("{} {}", of(&known.images), of(&known.image_digests)).trim().to_owned()
}

#[test]
fn the_first_host_to_say_what_a_name_means_settles_it() {
    let mut world = World::new();
    world.up(&["web image=stuck:1 scale=2"]);
    assert_eq!(settled(&world, 1), "");
    says(&mut world, 2, "sha256:bb", "web@sha256:dd");
    assert_eq!(settled(&world, 1), "sha256:bb web@sha256:dd");
    says(&mut world, 1, "sha256:aa", "");
    assert_eq!(settled(&world, 1), "sha256:bb web@sha256:dd", "the other one takes that too");
    let before = world.cluster.clone();
    world.plan();
    assert_eq!(world.cluster, before, "it is settled once");
}

#[test]
fn a_new_revision_and_a_restart_look_up_anew_what_the_name_means() {
    let mut world = World::new();
    world.up(&["web image=stuck:1 scale=1"]);
    says(&mut world, 1, "sha256:aa", "web@sha256:dd");
    world.up(&["web image=stuck:2 scale=1"]);
    assert_eq!(
        (settled(&world, 1), settled(&world, 2)),
        ("sha256:aa web@sha256:dd".into(), String::new())
    );
    says(&mut world, 1, "sha256:bb", "");
    assert_eq!(settled(&world, 2), "sha256:bb");
    world.operate(operate::restart);
    world.run(1_000);
    says(&mut world, 1, "sha256:cc", "");
    assert_eq!(settled(&world, 2), "sha256:cc");
}
