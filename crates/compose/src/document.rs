//! One file as a document: which generation of compose it is, and its top-level maps. v1 files,
//! whose services stand at top level, get the form of the others here.

use crate::canonical::{Canon, Paths, service};
use crate::diagnostic::{Report, quoted};
use crate::keys::{self, Scope};
use crate::source::{Place, Sources};
use crate::yaml::{Key, Map, Mark, Node};

/// The content of one file, its services canonical.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) file: u32,
    pub(crate) name: Option<Node>,
    /// Paths of files to load before it.
    pub(crate) includes: Vec<Node>,
    pub(crate) services: Map,
    pub(crate) volumes: Map,
    pub(crate) networks: Map,
    pub(crate) secrets: Map,
    pub(crate) configs: Map,
    pub(crate) policy: Option<Node>,
}

impl Document {
    pub(crate) fn empty(file: u32) -> Self {
        Self {
            file,
            name: None,
            includes: vec![],
            services: Map::default(),
            volumes: Map::default(),
            networks: Map::default(),
            secrets: Map::default(),
            configs: Map::default(),
            policy: None,
        }
    }
}

/// Are the services of this file at top level?
pub(crate) fn is_legacy(top: &Map) -> bool {
    if top.contains("services") {
        return false;
    }
    let version = top.get("version").filter(|v| v.as_map().is_none()).and_then(Node::as_text);
    if let Some(version) = version {
        return version == "1" || version.starts_with("1.");
    }
    let mut others = top.iter().filter(|(key, _)| {
        let name = &*key.text;
        !name.starts_with("x-") && (name == "version" || keys::find(Scope::Top, name).is_none())
    });
    // A map named "version" is a service, and so is a name without a value.
    others.any(|(_, node)| node.as_map().is_some() || node.is_null())
}

/// Takes a file's tree apart. Errors are in the report; what can be read is returned.
pub(crate) fn read(
    file: u32,
    root: &Node,
    sources: &Sources,
    paths: &Paths,
    report: &mut Report,
) -> Document {
    let mut out = Document::empty(file);
    if root.is_null() {
        return out;
    }
    let Some(top) = root.as_map() else {
        report
            .error(root.place, format!("a compose file cannot be {}", root.kind()))
            .expected("a map with the key services");
        return out;
    };
    if sources.is_legacy(file) {
        let is_service = |k: &Key, n: &Node| match &*k.text {
            "version" => n.as_map().is_some(),
            name => !name.starts_with("x-"),
        };
        let services = top.iter().filter(|(k, n)| is_service(k, n));
        let services = services.map(|(k, n)| (k.clone(), n.clone())).collect();
        warn_misspelt(&services, report);
        out.services = read_services(&services, sources, paths, report);
        return out;
    }
    check_top(top, report);
    out.name = top.get("name").filter(|n| !n.is_null()).cloned();
    out.includes = top.get("include").map(|n| includes(n, report)).unwrap_or_default();
    let mut section = |name: &str| match top.get(name) {
        None => Map::default(),
        Some(node) if node.is_null() => Map::default(),
        Some(node) => match node.as_map() {
            Some(map) => map.clone(),
            None => {
                report
                    .error(node.place, format!("{name} is {}", node.kind()))
                    .expected("a map from names to their settings");
                Map::default()
            }
        },
    };
    let services = section("services");
    out.volumes = section("volumes");
    out.networks = section("networks");
    out.secrets = section("secrets");
    out.configs = section("configs");
    let policy = top.get("network_policy").or_else(|| top.get("x-remuda-network_policy"));
    out.policy = policy.filter(|node| !node.is_null()).cloned();
    out.services = read_services(&services, sources, paths, report);
    out.volumes =
        each(&out.volumes, |map| pairs_of(map, &["driver_opts", "labels"], sources, paths, report));
    for files in [&mut out.secrets, &mut out.configs] {
        *files = each(files, |map| file_of(map, sources, paths));
    }
    out
}

/// The paths of `include`: a list of paths, or of maps with `path`.
fn includes(node: &Node, report: &mut Report) -> Vec<Node> {
    let mut out = vec![];
    let alone = [node.clone()];
    for item in node.as_list().unwrap_or(&alone) {
        let path = match item.as_map() {
            Some(map) => {
                keys_of_include(map, report);
                map.get("path")
            }
            None => Some(item),
        };
        let paths = path.map_or(&[][..], |p| p.as_list().unwrap_or(std::slice::from_ref(p)));
        if paths.is_empty() || paths.iter().any(|p| p.as_text().is_none()) {
            report
                .error(item.place, format!("include has {} in it", item.kind()))
                .expected("a path, or a map with path");
            continue;
        }
        out.extend(paths.iter().cloned());
    }
    out
}

fn keys_of_include(map: &Map, report: &mut Report) {
    for (key, _) in map.iter().filter(|(k, _)| &*k.text != "path") {
        let message = format!("include: {} is not carried out yet", quoted(&key.text));
        report.warn(key.place, message).hint("paths resolve beside the included file");
    }
}

fn read_services(services: &Map, sources: &Sources, paths: &Paths, report: &mut Report) -> Map {
    let mut out = Map::default();
    for (key, node) in services.iter() {
        // Rancher's catalog: at top level, or among the services of a v2 file.
        if &*key.text == ".catalog" {
            report.warn(key.place, ".catalog is not carried out yet: its questions are not asked");
            continue;
        }
        let subject = format!("service {}", quoted(&key.text));
        if node.mark == Mark::Reset {
            out.set(key.clone(), node.clone());
        } else if node.is_null() {
            out.set(key.clone(), Node::map(node.place, Map::default()));
        } else if let Some(map) = node.as_map() {
            let mut canon = Canon { sources, report, paths, subject };
            let map = service(map, &mut canon);
            out.set(key.clone(), Node { mark: node.mark, ..Node::map(node.place, map) });
        } else {
            report
                .error(node.place, format!("{subject} is {}", node.kind()))
                .expected("a map with keys such as image");
        }
    }
    out
}

fn each(map: &Map, mut change: impl FnMut(&Map) -> Map) -> Map {
    map.iter()
        .map(|(key, node)| {
            let node = match node.as_map() {
                Some(inner) => Node { mark: node.mark, ..Node::map(node.place, change(inner)) },
                None => node.clone(),
            };
            (key.clone(), node)
        })
        .collect()
}

/// Lists of `KEY=value` as maps.
fn pairs_of(
    map: &Map,
    names: &[&str],
    sources: &Sources,
    paths: &Paths,
    report: &mut Report,
) -> Map {
    let mut canon = Canon { sources, report, paths, subject: "volume".to_owned() };
    crate::canonical::pairs_in(map, names, &mut canon)
}

/// The path of a secret or config made absolute.
fn file_of(map: &Map, sources: &Sources, paths: &Paths) -> Map {
    let mut out = map.clone();
    if let Some(file) = out.get_mut("file")
        && let Some(path) = paths.absolute(sources, file)
    {
        *file = Node::text(file.place, path);
    }
    out
}

fn check_top(top: &Map, report: &mut Report) {
    for (key, node) in top.iter() {
        let name = &*key.text;
        if name.starts_with("x-") {
            continue;
        }
        match (keys::find(Scope::Top, name), name) {
            (_, "version") => check_version(key.place, node, report),
            (Some(info), _) => {
                if let keys::Status::Later(note) = info.status {
                    report.warn(key.place, format!("{name} is not carried out yet: {note}"));
                }
            }
            (None, _) => {
                let message = format!("top-level key {} is not known", quoted(name));
                let finding = report.warn(key.place, message);
                if node.as_map().is_some() {
                    finding.hint("if it is a service, put it below services:");
                }
                if node.as_map().is_none() || keys::nearest(Scope::Top, name).is_some() {
                    finding.near_key(Scope::Top, name);
                }
            }
        }
    }
}

fn check_version(place: Place, node: &Node, report: &mut Report) {
    let known = node.as_text().is_some_and(|v| {
        let mut parts = v.split('.');
        let major = parts.next().is_some_and(|m| matches!(m, "2" | "3"));
        major && parts.all(|p| p.parse::<u8>().is_ok())
    });
    if !known {
        report
            .warn(place, format!("version {} is not known", node.kind()))
            .hint("the file is read as the current compose specification; version can be left out");
    }
}

/// A v1 file has no key `service`, but a file with `services` misspelt looks like one.
fn warn_misspelt(services: &Map, report: &mut Report) {
    for (key, node) in services.iter() {
        let of_maps = node.as_map().is_some_and(|m| {
            !m.is_empty()
                && m.iter().all(|(k, n)| {
                    n.as_map().is_some() && keys::find(Scope::Service, &k.text).is_none()
                })
        });
        if of_maps && strsim::damerau_levenshtein(&key.text, "services") <= 2 {
            report
                .error(key.place, format!("top-level key {} is not known", quoted(&key.text)))
                .hint("did you mean \"services\"?");
        }
    }
}
