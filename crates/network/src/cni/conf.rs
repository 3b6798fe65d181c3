//! The configuration of the network: read and checked when the agent starts, so that what is wrong
//! with it is told there and not by every container.

use crate::Error;
use crate::wish::device_name_problem;
use model::limits::{CNI_BIN_DIRS_MAX, CNI_CONFIG_BYTES_MAX, CNI_PLUGINS_MAX};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Versions of the specification that are spoken.
const VERSIONS: [&str; 3] = ["0.3.1", "0.4.0", "1.0.0"];
/// Begin of a value that stands for a label of the host, as Rancher wrote it.
const HOST_LABEL: &str = "__host_label__:";
/// The bridge that we make where plugins make none.
const PORTLESS: &str = "remudacni";
/// The bridge of the plugin `bridge` when its configuration names none.
const BRIDGE: &str = "cni0";

/// A list of plugins with what each is told: the form that a `.conflist` has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetConf {
    /// Version of the specification.
    pub cni_version: String,
    /// Name of the network.
    pub name: String,
    /// The plugins are not asked whether all is well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disable_check: bool,
    /// In the order in which they are called.
    pub plugins: Vec<Map<String, Value>>,
}

/// Text of a field of a plugin's configuration.
fn text<'a>(plugin: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    plugin.get(key).and_then(Value::as_str)
}

/// The program of a plugin; a configuration that was checked has one.
pub(super) fn program(plugin: &Map<String, Value>) -> &str {
    text(plugin, "type").unwrap_or_default()
}

/// Letters, digits, `_`, `.`, `-`, and no dot or hyphen at the begin: it is part of paths.
fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    text.len() <= 128
        && text.bytes().all(fits)
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

impl NetConf {
    /// Reads a `.conflist`, or a `.conf`, which is a list of one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| format!("no JSON: {e}"))?;
        let Value::Object(mut whole) = value else { return Err("it is no JSON object".into()) };
        let version = whole.get("cniVersion").and_then(Value::as_str);
        let version = version.ok_or("cniVersion is missing: 0.3.1, 0.4.0 or 1.0.0")?.to_owned();
        let name = text(&whole, "name").ok_or("the network has no name")?.to_owned();
        let disable_check = whole.get("disableCheck").and_then(Value::as_bool).unwrap_or_default();
        let plugins = match whole.remove("plugins") {
            None => vec![whole],
            Some(Value::Array(list)) => {
                let object = |(i, one): (usize, Value)| match one {
                    Value::Object(one) => Ok(one),
                    _ => Err(format!("plugin {} is no JSON object", i + 1)),
                };
                list.into_iter().enumerate().map(object).collect::<Result<_, _>>()?
            }
            Some(_) => return Err("plugins is no list".into()),
        };
        let conf = Self { cni_version: version, name, disable_check, plugins };
        conf.broken_rule().map_or(Ok(conf), Err)
    }

    fn broken_rule(&self) -> Option<String> {
        let Self { cni_version, name, plugins, .. } = self;
        if !VERSIONS.contains(&cni_version.as_str()) {
            return Some(format!("cniVersion {cni_version:?} is none of {}", VERSIONS.join(", ")));
        }
        if !is_name(name) {
            return Some(format!("the name {name:?} must be letters, digits, '_', '.', '-'"));
        }
        if plugins.is_empty() || plugins.len() > CNI_PLUGINS_MAX {
            let count = plugins.len();
            return Some(format!("it has {count} plugins, and must have 1 to {CNI_PLUGINS_MAX}"));
        }
        let nameless = plugins.iter().position(|plugin| !is_name(program(plugin)));
        if let Some(at) = nameless {
            return Some(format!("the type of plugin {} is no name of a program", at + 1));
        }
        self.bridge_rule()
    }

    /// What the plugin `bridge` must be told, so that containers find our DNS and other hosts.
    fn bridge_rule(&self) -> Option<String> {
        let bridge = self.bridge()?;
        if let Some(why) = device_name_problem(bridge) {
            return Some(format!("the bridge {bridge:?} {why}"));
        }
        let first = self.plugins.first()?;
        let on = |key: &str| first.get(key).and_then(Value::as_bool).unwrap_or_default();
        let routes = first.get("ipam").and_then(|ipam| ipam.get("routes"));
        let routed = routes.and_then(Value::as_array).is_some_and(|routes| !routes.is_empty());
        (!on("isDefaultGateway") && !routed).then(|| {
            "plugin bridge gives containers no way to 169.254.169.250, where names are asked: \
             write \"isDefaultGateway\": true"
                .to_owned()
        })
    }

    /// The bridge, when the first plugin makes containers ports of one.
    #[must_use]
    pub fn bridge(&self) -> Option<&str> {
        let first = self.plugins.first().filter(|plugin| program(plugin) == "bridge")?;
        Some(text(first, "bridge").unwrap_or(BRIDGE))
    }

    /// The bridge that has the host's addresses: that of the plugins, else one without ports.
    #[must_use]
    pub fn host_bridge(&self) -> &str {
        self.bridge().unwrap_or(PORTLESS)
    }

    /// Can its plugins be asked whether all is well?
    #[must_use]
    pub fn has_check(&self) -> bool {
        !self.disable_check && self.cni_version != "0.3.1"
    }

    /// With each value that stands for a label of the host in its place.
    ///
    /// # Errors
    /// Which label the host does not have.
    pub fn resolved(&self, labels: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut conf = self.clone();
        for value in conf.plugins.iter_mut().flat_map(Map::values_mut) {
            resolve(value, labels)?;
        }
        Ok(conf)
    }

    /// The programs that it needs: its plugins and those that give addresses.
    fn programs(&self) -> Vec<&str> {
        let ipam = self.plugins.iter().filter_map(|plugin| plugin.get("ipam")?.get("type"));
        let ipam = ipam.filter_map(Value::as_str).filter(|name| !name.is_empty());
        self.plugins.iter().map(program).chain(ipam).collect()
    }
}

fn resolve(value: &mut Value, labels: &BTreeMap<String, String>) -> Result<(), String> {
    match value {
        Value::String(text) => {
            if let Some(label) = text.strip_prefix(HOST_LABEL).map(str::trim) {
                let known = labels.get(label).ok_or_else(|| {
                    format!(
                        "the CNI configuration stands for the host's label {label:?}, which it \
                         does not have: remuda host label HOST {label}=…"
                    )
                })?;
                *text = known.clone();
            }
            Ok(())
        }
        Value::Array(list) => list.iter_mut().try_for_each(|one| resolve(one, labels)),
        Value::Object(map) => map.values_mut().try_for_each(|one| resolve(one, labels)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// How this host's containers get their network from plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cni {
    /// What the plugins are told.
    pub conf: NetConf,
    /// Where that was read.
    pub file: PathBuf,
    /// Where plugins are looked for, the first one before the second one.
    pub bin_dirs: Vec<PathBuf>,
}

impl Cni {
    /// Reads the configuration, a file or the first `.conflist`, `.conf` or `.json` of a folder by
    /// name, and looks for its plugins.
    ///
    /// # Errors
    /// `Error::CniConfig` with the file and what is wrong with it.
    pub fn load(bin_dirs: Vec<PathBuf>, conf: &Path) -> Result<Self, Error> {
        let file = file_of(conf)?;
        let wrong = |why: String| Error::CniConfig { path: file.clone(), why };
        let bytes = read(&file).map_err(|e| wrong(e.to_string()))?;
        if bytes.len() as u64 > CNI_CONFIG_BYTES_MAX {
            return Err(wrong(format!("longer than {CNI_CONFIG_BYTES_MAX} bytes")));
        }
        let conf = NetConf::parse(&bytes).map_err(wrong)?;
        if bin_dirs.is_empty() || bin_dirs.len() > CNI_BIN_DIRS_MAX {
            let count = bin_dirs.len();
            return Err(wrong(format!("{count} folders of plugins, not 1 to {CNI_BIN_DIRS_MAX}")));
        }
        if let Some(dir) = bin_dirs.iter().find(|dir| !dir.is_absolute()) {
            return Err(wrong(format!("the folder of plugins {} is no whole path", dir.display())));
        }
        for name in conf.programs() {
            find(&bin_dirs, name).map_err(wrong)?;
        }
        Ok(Self { conf, file, bin_dirs })
    }

    /// In a few words, for people: `remuda: bridge, firewall (CNI 1.0.0)`.
    #[must_use]
    pub fn words(&self) -> String {
        let NetConf { cni_version, name, plugins, .. } = &self.conf;
        let types: Vec<&str> = plugins.iter().map(program).collect();
        format!("{name}: {} (CNI {cni_version})", types.join(", "))
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![];
    fs::File::open(file)?.take(CNI_CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file itself, or the first one of a folder.
fn file_of(conf: &Path) -> Result<PathBuf, Error> {
    if !conf.is_dir() {
        return Ok(conf.to_owned());
    }
    let wrong = |why: String| Error::CniConfig { path: conf.to_owned(), why };
    let entries = fs::read_dir(conf).map_err(|e| wrong(e.to_string()))?;
    let is_conf = |path: &PathBuf| {
        let end = path.extension().and_then(|end| end.to_str());
        matches!(end, Some("conflist" | "conf" | "json")) && path.is_file()
    };
    let files = entries.flatten().map(|entry| entry.path()).filter(is_conf);
    files.min().ok_or_else(|| wrong("no file .conflist, .conf or .json in this folder".into()))
}

/// A plugin's program.
pub(super) fn find(bin_dirs: &[PathBuf], name: &str) -> Result<PathBuf, String> {
    if !is_name(name) {
        return Err(format!("{name:?} is no name of a program"));
    }
    let paths = bin_dirs.iter().map(|dir| dir.join(name));
    let mut there = paths.filter(|path| path.is_file());
    let runs = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
    };
    match there.next() {
        Some(path) if runs(&path) => Ok(path),
        Some(path) => Err(format!("plugin {} is not executable", path.display())),
        None => {
            let dirs: Vec<String> = bin_dirs.iter().map(|dir| dir.display().to_string()).collect();
            Err(format!("there is no plugin {name} in {}", dirs.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests;
