//! Volumes, binds and tmpfs.

use super::Read;
use crate::diagnostic::quoted;
use crate::fields::Fields;
use crate::scalar;
use crate::source::Place;
use crate::yaml::Node;
use model::container_spec::Mount;
use model::stack::VolumeSpec;
use std::collections::BTreeMap;

impl Read<'_> {
    pub(super) fn mounts(&mut self) -> Vec<Mount> {
        let mut out = vec![];
        let mut targets: BTreeMap<String, u32> = BTreeMap::new();
        for node in self.fields.items("volumes") {
            let Some(fields) = node.as_map().map(Fields::of) else { continue };
            let Some(target) = self.mount_target(node, fields) else { continue };
            let line = *targets.entry(target.clone()).or_insert(node.place.line);
            if line != node.place.line {
                let what = format!("volumes: {} is mounted twice", quoted(&target));
                self.error(node.place, &what).hint(format!("the first time is in line {line}"));
                continue;
            }
            out.extend(self.mount(node, fields, target));
        }
        for node in self.fields.items("tmpfs") {
            out.extend(self.tmpfs(node));
        }
        out
    }

    fn mount_target(&mut self, node: &Node, fields: Fields<'_>) -> Option<String> {
        let Some(target) = fields.text("target") else {
            self.error(node.place, "volumes: an entry has no target")
                .expected("target: /path in the container");
            return None;
        };
        let bare = target.trim_end_matches('/');
        if !target.starts_with('/') || bare.is_empty() || target.contains('\0') {
            let place = fields.place("target").unwrap_or(node.place);
            self.error(place, &format!("volumes: target {}", quoted(target)))
                .expected("an absolute path in the container, and not '/' itself");
            return None;
        }
        Some(bare.to_owned())
    }

    fn mount(&mut self, node: &Node, fields: Fields<'_>, target: String) -> Option<Mount> {
        let read_only = fields.boolean("read_only").unwrap_or(false);
        match (fields.text("type"), fields.text("source")) {
            (Some("volume") | None, None) => Some(Mount::Anonymous { target }),
            (Some("volume") | None, Some(source)) => {
                let name = self.volume(node.place, source)?;
                let options = fields.object("volume");
                let nocopy = options.and_then(|o| o.boolean("nocopy")).unwrap_or(false);
                Some(Mount::Volume { name, target, read_only, nocopy })
            }
            (Some("bind"), Some(source)) => {
                let options = fields.object("bind");
                let propagation = options.and_then(|o| o.owned("propagation"));
                let known = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];
                if let Some(text) = &propagation
                    && !known.contains(&text.as_str())
                {
                    self.error(node.place, &format!("volumes: propagation is {}", quoted(text)))
                        .expected(known.join(", "));
                }
                let create = options.and_then(|o| o.boolean("create_host_path"));
                Some(Mount::Bind {
                    source: source.to_owned(),
                    target,
                    read_only,
                    propagation,
                    create_host_path: create.unwrap_or(true),
                })
            }
            (Some("bind"), None) => {
                self.error(node.place, "volumes: a bind has no source")
                    .expected("source: /path on the host");
                None
            }
            (Some("tmpfs"), _) => {
                let options = fields.object("tmpfs");
                let size = options.and_then(|o| o.size("size")).unwrap_or(0);
                let mode = options.and_then(|o| o.node("mode"));
                let mode = mode.and_then(|mode| self.file_mode(mode));
                Some(Mount::Tmpfs { target, size, mode })
            }
            (Some(other @ ("npipe" | "cluster" | "image")), _) => {
                let what = format!("volumes: type {} is not carried out", quoted(other));
                self.error(node.place, &what).expected("volume, bind or tmpfs");
                None
            }
            (Some(other), _) => {
                self.error(node.place, &format!("volumes: type is {}", quoted(other)))
                    .expected("volume, bind or tmpfs");
                None
            }
        }
    }

    /// Docker's name of a volume of the file.
    fn volume(&mut self, place: Place, source: &str) -> Option<String> {
        let declared = self.stack.volumes;
        let legacy = self.stack.sources.is_legacy(place.file);
        if !is_volume_name(source) {
            self.error(place, &format!("volumes: {} is not a volume's name", quoted(source)))
                .expected("letters, digits, '_', '.' and '-'")
                .hint("a path of the host begins with '/' or './'");
            return None;
        }
        let Some(node) = declared.get(source) else {
            if legacy {
                // v1 had no declarations and took the name as it is.
                self.volumes.insert(source.to_owned(), VolumeSpec::default());
                return Some(source.to_owned());
            }
            let what = format!("volumes: {} is not declared", quoted(source));
            self.error(place, &what)
                .expected("a name below the top-level volumes")
                .hint(format!("add \"volumes: {{{source}: {{}}}}\""))
                .near(source, declared.iter().map(|(k, _)| &*k.text));
            return None;
        };
        let fields = node.as_map().map(Fields::of);
        let external = fields.is_some_and(|f| is_external(f));
        let own_name = fields.and_then(|f| {
            f.owned("name").or_else(|| f.object("external").and_then(|e| e.owned("name")))
        });
        let name = match own_name {
            Some(name) => name,
            None if external => source.to_owned(),
            None => format!("{}_{source}", self.stack.name),
        };
        if !is_volume_name(&name) {
            self.error(node.place, &format!("volume name {}", quoted(&name)))
                .expected("letters, digits, '_', '.' and '-'");
            return None;
        }
        // One volume for each instance: the host puts its number there.
        let per_container = fields.and_then(|f| f.boolean("per_container")).unwrap_or(false);
        let name = if per_container { format!("{name}_${{n}}") } else { name };
        let spec = match fields {
            Some(f) => VolumeSpec {
                driver: f.owned("driver").unwrap_or_default(),
                driver_opts: f.pairs("driver_opts"),
                labels: f.pairs("labels"),
                external,
            },
            None => VolumeSpec::default(),
        };
        self.volumes.insert(name.clone(), spec);
        Some(name)
    }

    /// `/run` or `/run:size=64m,mode=1777`.
    fn tmpfs(&mut self, node: &Node) -> Option<Mount> {
        let text = node.as_text()?;
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        if !target.starts_with('/') {
            self.error(node.place, &format!("tmpfs: {} is not absolute", quoted(target)))
                .expected("/path[:size=64m,mode=1777]");
            return None;
        }
        let (mut size, mut mode) = (0, None);
        for option in options.split(',').filter(|o| !o.is_empty()) {
            match option.split_once('=') {
                Some(("size", value)) => match scalar::size(value) {
                    Ok(bytes) => size = bytes,
                    Err(expected) => {
                        let what = format!("tmpfs: size is {}", quoted(value));
                        self.error(node.place, &what).expected(expected);
                    }
                },
                Some(("mode", value)) => match scalar::mode(value) {
                    Ok(bits) => mode = Some(bits),
                    Err(expected) => {
                        let what = format!("tmpfs: mode is {}", quoted(value));
                        self.error(node.place, &what).expected(expected);
                    }
                },
                _ => {
                    let what = format!("tmpfs: option {} has no effect", quoted(option));
                    self.warn(node.place, &what).hint("size and mode are carried out");
                }
            }
        }
        Some(Mount::Tmpfs { target: target.to_owned(), size, mode })
    }

    /// An octal mode. Unquoted decimals are a trap: YAML would read 0440 as 440 or 288.
    pub(super) fn file_mode(&mut self, node: &Node) -> Option<u32> {
        let text = node.as_text()?;
        match scalar::mode(text) {
            Ok(mode) => Some(mode),
            Err(expected) => {
                self.error(node.place, &format!("mode is {}", quoted(text))).expected(expected);
                None
            }
        }
    }
}

/// `external: true` or `external: {name: x}`.
pub(super) fn is_external(fields: Fields<'_>) -> bool {
    fields.boolean("external").unwrap_or(false) || fields.map("external").is_some()
}

fn is_volume_name(text: &str) -> bool {
    text.len() <= 255
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
