//! The tree that a caller walks. Nothing of it is made before somebody looks: a node knows its keys,
//! and gives the one that is asked for.

use super::container::{self, Container};
use super::parts;
use super::service::{self, Service};
use super::world::{Who, World};
use model::id::{HostId, StackName};
use model::metadata::{MetaHost, uuid};
use serde_json::Value;
use std::borrow::Cow;
use std::net::IpAddr;

/// The form of an answer, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// 2015-07-25.
    V1,
    /// 2015-12-19.
    V2,
    /// 2016-07-29.
    V3,
}

/// Versions by their names.
pub(super) const VERSIONS: [(&str, Version); 4] = [
    ("2015-07-25", Version::V1),
    ("2015-12-19", Version::V2),
    ("2016-07-29", Version::V3),
    ("latest", Version::V3),
];

/// A value of the tree.
#[derive(Clone, Debug)]
pub(super) enum Node<'w> {
    Null,
    Bool(bool),
    Int(i64),
    Text(Cow<'w, str>),
    /// Of the user's `metadata`.
    Json(&'w Value),
    /// A small map, in the order of its keys.
    Map(Vec<(Cow<'w, str>, Node<'w>)>),
    /// A small list.
    List(Vec<Node<'w>>),
    Branch(Branch<'w>),
}

/// A map or a list that is looked into when it is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Branch<'w> {
    Root,
    Own,
    Containers,
    Services,
    Stacks,
    Hosts,
    Container(Container<'w>),
    Service(Service<'w>),
    ServiceContainers(Service<'w>),
    Stack(&'w StackName),
    StackServices(&'w StackName),
    Host(&'w HostId, &'w MetaHost),
}

/// Who looks at what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'w> {
    pub(super) world: &'w World,
    pub(super) version: Version,
    /// Address of the caller.
    pub(super) source: IpAddr,
}

const ROOT: [&str; 10] = [
    "containers",
    "environments",
    "hosts",
    "name",
    "networks",
    "self",
    "services",
    "stacks",
    "uuid",
    "version",
];

impl<'w> Node<'w> {
    pub(super) fn text(text: impl Into<Cow<'w, str>>) -> Self {
        Self::Text(text.into())
    }

    /// Nothing when it is empty.
    pub(super) fn word(text: &'w str) -> Self {
        if text.is_empty() { Self::Null } else { Self::text(text) }
    }

    pub(super) fn texts<T: Into<Cow<'w, str>>>(all: impl IntoIterator<Item = T>) -> Self {
        Self::List(all.into_iter().map(|text| Self::Text(text.into())).collect())
    }
}

impl<'w> Reader<'w> {
    /// A name as this version tells it.
    pub(super) fn name(self, name: &str) -> String {
        if self.version == Version::V3 { name.to_lowercase() } else { name.to_owned() }
    }

    pub(super) fn uuid(self, what: &str, id: &str) -> Node<'w> {
        Node::text(uuid(&self.world.meta.environment.id, what, id))
    }

    pub(super) fn environment_uuid(self) -> Node<'w> {
        Node::text(self.world.meta.environment.id.as_str())
    }

    /// The container that asks.
    pub(super) fn caller(self) -> Option<&'w Who> {
        match self.source.to_canonical() {
            IpAddr::V4(address) => self.world.caller(address),
            IpAddr::V6(_) => None,
        }
    }

    /// Keys of a map, in order; `None` for a list.
    pub(super) fn keys(self, branch: Branch<'w>) -> Option<Vec<&'static str>> {
        Some(match branch {
            Branch::Root => {
                let all = ROOT.into_iter();
                all.filter(|key| *key != "environments" || self.version == Version::V3).collect()
            }
            Branch::Own if self.caller().is_none() => vec!["host"],
            Branch::Own => vec!["container", "host", "service", "stack"],
            Branch::Container(_) => container::KEYS.to_vec(),
            Branch::Service(_) => service::KEYS.to_vec(),
            Branch::Stack(_) => parts::STACK.to_vec(),
            Branch::Host(..) => {
                let all = parts::HOST.into_iter();
                all.filter(|key| *key != "hostId" || self.version < Version::V3).collect()
            }
            _ => return None,
        })
    }

    /// The value of a key of a map.
    pub(super) fn get(self, branch: Branch<'w>, key: &str) -> Option<Node<'w>> {
        match branch {
            Branch::Root => self.root(key),
            Branch::Own => self.own(key),
            Branch::Container(one) => container::get(self, one, key),
            Branch::Service(one) => service::get(self, one, key),
            Branch::Stack(name) => parts::stack(self, name, key),
            Branch::Host(id, host) => parts::host(self, id, host, key),
            _ => None,
        }
    }

    fn root(self, key: &str) -> Option<Node<'w>> {
        let environment = &self.world.meta.environment;
        Some(match key {
            "containers" => Node::Branch(Branch::Containers),
            "environments" if self.version == Version::V3 => Node::List(vec![]),
            "hosts" => Node::Branch(Branch::Hosts),
            "name" => Node::text(self.name(&environment.name)),
            "networks" => Node::List(vec![parts::network(self)]),
            "self" => Node::Branch(Branch::Own),
            "services" => Node::Branch(Branch::Services),
            "stacks" => Node::Branch(Branch::Stacks),
            "uuid" => self.environment_uuid(),
            "version" => Node::text(&*self.world.version),
            _ => return None,
        })
    }

    fn own(self, key: &str) -> Option<Node<'w>> {
        let caller = self.caller();
        if key == "host" {
            let (id, host) = self.world.meta.hosts.get_key_value(self.world.host.as_ref()?)?;
            return Some(Node::Branch(Branch::Host(id, host)));
        }
        let container = container::find(self, caller?)?;
        let service = Service::of(self, container);
        Some(match key {
            "container" => Node::Branch(Branch::Container(container)),
            "service" => service.map_or(Node::Null, |one| Node::Branch(Branch::Service(one))),
            "stack" => service.map_or(Node::Null, |one| Node::Branch(Branch::Stack(&one.id.stack))),
            _ => return None,
        })
    }

    /// Members of a list, in order; nothing for a map.
    pub(super) fn items(self, branch: Branch<'w>) -> Vec<Node<'w>> {
        match branch {
            Branch::Containers => container::all(self).collect(),
            Branch::Services => service::all(self).collect(),
            Branch::Stacks => parts::stacks(self).collect(),
            Branch::Hosts => parts::hosts(self).collect(),
            Branch::ServiceContainers(one) => service::containers(self, one).collect(),
            Branch::StackServices(name) => service::of_stack(self, name).collect(),
            _ => vec![],
        }
    }

    /// The member at a place of a list.
    fn nth(self, branch: Branch<'w>, at: usize) -> Option<Node<'w>> {
        match branch {
            Branch::Containers => container::all(self).nth(at),
            Branch::Services => service::all(self).nth(at),
            Branch::Stacks => parts::stacks(self).nth(at),
            Branch::Hosts => parts::hosts(self).nth(at),
            Branch::ServiceContainers(one) => service::containers(self, one).nth(at),
            Branch::StackServices(name) => service::of_stack(self, name).nth(at),
            _ => None,
        }
    }

    /// The first member of a list that is a map of this name or UUID.
    fn named(self, branch: Branch<'w>, segment: &str) -> Option<Node<'w>> {
        match branch {
            Branch::Containers => container::named(self, segment, |_| true),
            Branch::Hosts => parts::host_named(self, segment),
            Branch::Services => service::named(self, segment),
            Branch::ServiceContainers(one) if self.version > Version::V1 => {
                container::named(self, segment, |found| service::has(one, found))
            }
            Branch::Stacks => {
                let mut all = parts::stacks(self);
                all.find(|node| self.is_called(node, segment))
            }
            Branch::StackServices(name) => {
                let mut all = service::of_stack(self, name);
                all.find(|node| self.is_called(node, segment))
            }
            _ => None,
        }
    }

    /// Is it a map whose name or UUID is this?
    fn is_called(self, node: &Node<'w>, segment: &str) -> bool {
        ["name", "uuid"].iter().any(|key| match self.step(node, key) {
            Some(Node::Text(text)) => text == segment,
            Some(Node::Json(Value::String(text))) => text == segment,
            _ => false,
        })
    }

    /// One step further down.
    pub(super) fn step(self, node: &Node<'w>, segment: &str) -> Option<Node<'w>> {
        let place =
            || segment.bytes().all(|b| b.is_ascii_digit()).then(|| segment.parse::<usize>());
        match node {
            Node::Map(all) => {
                let found = all.iter().find(|(key, _)| key == segment);
                found.map(|(_, node)| node.clone())
            }
            Node::Json(Value::Object(all)) => all.get(segment).map(Node::Json),
            Node::List(all) => match place() {
                Some(at) => all.get(at.ok()?).cloned(),
                None => all.iter().find(|node| self.is_called(node, segment)).cloned(),
            },
            Node::Json(Value::Array(all)) => match place() {
                Some(at) => all.get(at.ok()?).map(Node::Json),
                None => {
                    let mut all = all.iter().map(Node::Json);
                    all.find(|node| {
                        matches!(node, Node::Json(Value::Object(_)))
                            && self.is_called(node, segment)
                    })
                }
            },
            Node::Branch(branch) => {
                if let Some(found) = self.get(*branch, segment) {
                    return Some(found);
                }
                match place() {
                    Some(at) => self.nth(*branch, at.ok()?),
                    None => self.named(*branch, segment),
                }
            }
            Node::Null | Node::Bool(_) | Node::Int(_) | Node::Text(_) | Node::Json(_) => None,
        }
    }

    /// From the root along a path; a name that is not there is tried in lower case.
    pub(super) fn walk(self, segments: &[String]) -> Option<Node<'w>> {
        let along = |segments: &[String]| {
            let mut segments = segments.iter();
            segments.try_fold(Node::Branch(Branch::Root), |at, segment| self.step(&at, segment))
        };
        let lower = || segments.iter().map(|segment| segment.to_lowercase()).collect::<Vec<_>>();
        along(segments).or_else(|| along(&lower()))
    }
}
