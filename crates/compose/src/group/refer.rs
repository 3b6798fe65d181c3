//! What a service shares with another container: its network, a namespace, its mounts.

use crate::fields::Fields;
use crate::source::Place;

/// One key that names another container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference<'m> {
    /// The key.
    pub(crate) key: &'static str,
    /// The service or container.
    pub(crate) name: &'m str,
    pub(crate) place: Place,
}

/// Everything of another container that a service shares; the network, which counts most, last.
pub(crate) fn references(fields: Fields<'_>) -> Vec<Reference<'_>> {
    let mut out = vec![];
    for node in fields.items("volumes_from") {
        if let Some((name, _)) = node.as_text().and_then(volumes_from) {
            out.push(Reference { key: "volumes_from", name, place: node.place });
        }
    }
    for key in ["pid", "ipc", "network_mode"] {
        if let (Some(text), Some(place)) = (fields.text(key), fields.place(key))
            && let Some((_, name)) = namespace(text)
        {
            out.push(Reference { key, name, place });
        }
    }
    out
}

/// `service:x` or `container:x`: which of them, and the name.
pub(crate) fn namespace(text: &str) -> Option<(&str, &str)> {
    let (kind, name) = text.split_once(':')?;
    matches!(kind, "service" | "container").then_some((kind, name))
}

/// `x`, `x:ro` or `container:x:rw`: the name, and `true` for not writable; `None` for what is not
/// of this form.
pub(crate) fn volumes_from(text: &str) -> Option<(&str, bool)> {
    let text = text.strip_prefix("container:").unwrap_or(text);
    let (name, mode) = text.split_once(':').unwrap_or((text, "rw"));
    let read_only = match mode {
        "rw" => false,
        "ro" => true,
        _ => return None,
    };
    (!name.is_empty()).then_some((name, read_only))
}
