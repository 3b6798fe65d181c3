//! Every key that a compose file may have: its place, its shape, and whether Remuda carries it
//! out. Checking, warnings and the documentation are all driven by this one table.

mod nested;
mod service;

use Shape::{Any, Bool, Command, Integer, List, Object, ObjectMap, Pairs, Size, Text, Texts};
use serde::Serialize;

/// Where in a file a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// At top level (v2, v3 and the current specification).
    Top,
    /// In a service.
    Service,
    /// In `build`.
    Build,
    /// In an entry of `ports`, long form.
    Port,
    /// In an entry of a service's `volumes`, long form.
    Mount,
    /// In `bind` of a mount.
    MountBind,
    /// In `volume` of a mount.
    MountVolume,
    /// In `tmpfs` of a mount.
    MountTmpfs,
    /// In an entry of a service's `secrets` or `configs`, long form.
    FileUse,
    /// In an entry of `templates`.
    Template,
    /// In an entry of `env_file`, long form.
    EnvFile,
    /// In `depends_on`, long form.
    DependsOn,
    /// In `extends`.
    Extends,
    /// In `healthcheck` (Docker's).
    Healthcheck,
    /// In `health_check` (Rancher's).
    HealthCheck,
    /// In `recreate_on_quorum_strategy_config`.
    Quorum,
    /// In `logging`.
    Logging,
    /// In an entry of `ulimits`, long form.
    Ulimit,
    /// In a network of a service.
    NetworkUse,
    /// In `deploy`.
    Deploy,
    /// In `deploy.resources`.
    DeployResources,
    /// In `deploy.resources.limits`.
    ResourceLimits,
    /// In `deploy.resources.reservations`.
    ResourceReservations,
    /// In `deploy.restart_policy`.
    DeployRestart,
    /// In `deploy.update_config`.
    DeployUpdate,
    /// In `deploy.placement`.
    DeployPlacement,
    /// In an entry of `deploy.placement.preferences`.
    Preference,
    /// In `upgrade_strategy`.
    UpgradeStrategy,
    /// In `scale_policy`.
    ScalePolicy,
    /// In `autoscale`.
    Autoscale,
    /// In `schedule` and `job`.
    Schedule,
    /// In `rollout`.
    Rollout,
    /// In `on_loss`, long form.
    OnLoss,
    /// In `floating_ip`, long form.
    FloatingIp,
    /// In `placement`.
    Placement,
    /// In `lb_config`.
    LbConfig,
    /// In an entry of `lb_config.port_rules`.
    PortRule,
    /// In a volume at top level.
    Volume,
    /// In a secret or a config at top level.
    File,
    /// In a network at top level.
    Network,
    /// In `external`.
    External,
    /// A label that begins with `io.rancher.`.
    Label,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status", content = "note")]
pub enum Status {
    /// It is carried out.
    Done,
    /// It is read and checked, a warning says that it has no effect yet; the text says what happens.
    Later(&'static str),
}

/// One row of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct KeyInfo {
    /// Where it stands.
    pub scope: Scope,
    /// Its name.
    pub name: &'static str,
    /// What becomes of it.
    #[serde(flatten)]
    pub status: Status,
    #[serde(skip)]
    pub(crate) shape: Shape,
}

/// What a value must look like, in the canonical form of the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Whatever.
    Any,
    /// One scalar.
    Text,
    /// yes or no.
    Bool,
    /// A whole number in a range.
    Integer(i64, i64),
    /// A number that may have decimals, not negative.
    Decimal,
    /// Bytes, with a unit; -1 when allowed.
    Size { unlimited: bool },
    /// `1m30s`.
    Duration,
    /// A list of scalars.
    Texts,
    /// A text that a shell would split, or a list.
    Command,
    /// A map of scalars, null allowed.
    Pairs,
    /// A list of anything.
    List,
    /// A map with the keys of a scope.
    Object(Scope),
    /// A map from names to maps with the keys of a scope, null allowed.
    ObjectMap(Scope),
    /// A list of maps with the keys of a scope.
    ObjectList(Scope),
}

const fn done(scope: Scope, name: &'static str, shape: Shape) -> KeyInfo {
    KeyInfo { scope, name, status: Status::Done, shape }
}

const fn later(scope: Scope, name: &'static str, shape: Shape, note: &'static str) -> KeyInfo {
    KeyInfo { scope, name, status: Status::Later(note), shape }
}

/// Not below zero.
const NATURAL: Shape = Integer(0, i64::MAX);
const SIZE: Shape = Size { unlimited: false };

const TOP: &[KeyInfo] = &[
    done(Scope::Top, "version", Text),
    done(Scope::Top, "name", Text),
    done(Scope::Top, "services", ObjectMap(Scope::Service)),
    done(Scope::Top, "volumes", ObjectMap(Scope::Volume)),
    done(Scope::Top, "networks", ObjectMap(Scope::Network)),
    done(Scope::Top, "secrets", ObjectMap(Scope::File)),
    done(Scope::Top, "configs", ObjectMap(Scope::File)),
    done(Scope::Top, "include", Any),
    done(Scope::Top, "network_policy", Any),
    later(Scope::Top, ".catalog", Any, "its questions are not asked"),
    later(Scope::Top, "catalog", Any, "its questions are not asked"),
    later(Scope::Top, "models", Any, "nothing is made for it"),
];

/// The whole table, for documentation.
pub fn keys() -> impl Iterator<Item = &'static KeyInfo> {
    [TOP, service::SERVICE, nested::NESTED, nested::LABELS].into_iter().flatten()
}

/// The row of a key.
pub(crate) fn find(scope: Scope, name: &str) -> Option<&'static KeyInfo> {
    table(scope).iter().find(|k| k.scope == scope && k.name == name)
}

/// The known name nearest to an unknown one, when it is near.
pub(crate) fn nearest(scope: Scope, name: &str) -> Option<&'static str> {
    if name.len() > 80 {
        return None;
    }
    let simple = name.to_lowercase().replace('-', "_");
    let known = table(scope).iter().filter(|k| k.scope == scope);
    let rated = known.map(|k| (strsim::damerau_levenshtein(&simple, k.name), k.name));
    let (distance, name) = rated.min_by_key(|(distance, _)| *distance)?;
    (distance <= (name.len() / 3).clamp(1, 4)).then_some(name)
}

/// Is it a family that ends in a name of the user, such as `io.rancher.loadbalancer.target.<name>`?
pub(crate) fn label(name: &str) -> Option<&'static KeyInfo> {
    find(Scope::Label, name).or_else(|| {
        nested::LABELS.iter().find(|k| {
            k.name
                .strip_suffix('*')
                .is_some_and(|prefix| name.len() > prefix.len() && name.starts_with(prefix))
        })
    })
}

fn table(scope: Scope) -> &'static [KeyInfo] {
    match scope {
        Scope::Top => TOP,
        Scope::Service => service::SERVICE,
        Scope::Label => nested::LABELS,
        _ => nested::NESTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_key_is_in_the_table_twice() {
        let mut seen = BTreeSet::new();
        for key in keys() {
            assert!(seen.insert((key.scope, key.name)), "{:?} {}", key.scope, key.name);
        }
    }

    #[test]
    fn a_misspelt_key_has_its_nearest_name_and_a_strange_one_has_none() {
        assert_eq!(nearest(Scope::Service, "enviroment"), Some("environment"));
        assert_eq!(nearest(Scope::Service, "mem-limit"), Some("mem_limit"));
        assert_eq!(nearest(Scope::Service, "Image"), Some("image"));
        assert_eq!(nearest(Scope::Service, "port"), Some("ports"));
        assert_eq!(nearest(Scope::Service, "zzzzzzzz"), None);
        assert_eq!(nearest(Scope::Label, "io.rancher.sidekick"), Some("io.rancher.sidekicks"));
    }
}
