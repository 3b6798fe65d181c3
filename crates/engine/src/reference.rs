//! Names as they may become part of a request to Docker: image references, and the names of
//! containers, networks and volumes. Anything else is refused before it reaches a URL.

use crate::error::{Error, ImageWhy, Result};

/// An image reference in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Everything before tag and digest.
    pub(crate) name: String,
    /// Tag or digest; `latest` when neither is written.
    pub(crate) tag: String,
    /// Host (with port) of its registry; `docker.io` when none is written.
    pub(crate) registry: String,
}

/// Longest image reference taken, in bytes.
const REFERENCE_BYTES_MAX: usize = 512;

/// Takes an image reference apart.
pub(crate) fn image(text: &str) -> Result<Reference> {
    let bad = |why| Error::ImageMissing {
        image: text.chars().take(120).collect(),
        why: ImageWhy::BadName(why),
    };
    if text.is_empty() {
        return Err(bad("the image name is empty"));
    }
    if text.len() > REFERENCE_BYTES_MAX {
        return Err(bad("the image name is longer than 512 bytes"));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@+".contains(&b);
    if !text.bytes().all(legal) || text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(bad("the image name is not of the form [registry/]name[:tag][@digest]"));
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if name.is_empty() || tag.is_some_and(str::is_empty) || digest.is_some_and(str::is_empty) {
        return Err(bad("the image name, its tag or its digest is empty"));
    }
    let registry = match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    };
    let path = name.strip_prefix(registry).unwrap_or(name);
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(bad("the image name must be in lower case"));
    }
    Ok(Reference {
        name: name.to_owned(),
        tag: digest.or(tag).unwrap_or("latest").to_owned(),
        registry: registry.to_owned(),
    })
}

/// The one spelling of an image reference, which Docker's lists use too: `nginx`,
/// `library/nginx:latest` and `docker.io/library/nginx` are `nginx:latest`; one with a digest is
/// `name@digest`, and an id stays as it is. `None` when it is no reference.
#[must_use]
pub fn image_name(text: &str) -> Option<String> {
    let reference = image(text).ok()?;
    let name = ["docker.io/", "index.docker.io/"]
        .iter()
        .find_map(|hub| reference.name.strip_prefix(hub))
        .unwrap_or(&reference.name);
    let official = name.strip_prefix("library/").filter(|rest| !rest.contains('/'));
    let mark = if text.contains('@') { '@' } else { ':' };
    Some(format!("{}{mark}{}", official.unwrap_or(name), reference.tag))
}

/// Checks the name or id of a container, network or volume.
pub(crate) fn path_safe<'a>(what: &'static str, name: &'a str) -> Result<&'a str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if starts && name.len() <= 255 && name.bytes().all(legal) {
        return Ok(name);
    }
    Err(Error::BadName { what, name: name.chars().take(120).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_reference_is_taken_apart() {
        for (text, name, tag, registry) in [
            ("nginx", "nginx", "latest", "docker.io"),
            ("library/nginx:1.22", "library/nginx", "1.22", "docker.io"),
            ("localhost/a", "localhost/a", "latest", "localhost"),
            ("reg.example:5000/a/b", "reg.example:5000/a/b", "latest", "reg.example:5000"),
            ("reg.example:5000/a/b:v1", "reg.example:5000/a/b", "v1", "reg.example:5000"),
            ("a/b@sha256:00ff", "a/b", "sha256:00ff", "docker.io"),
            ("a/b:v1@sha256:00ff", "a/b", "sha256:00ff", "docker.io"),
        ] {
            let found = image(text).unwrap();
            assert_eq!(
                (found.name.as_str(), found.tag.as_str(), found.registry.as_str()),
                (name, tag, registry),
                "{text}"
            );
        }
    }

    #[test]
    fn an_image_has_one_spelling() {
        for (text, name) in [
            ("nginx", "nginx:latest"),
            ("library/nginx:1", "nginx:1"),
            ("docker.io/library/nginx", "nginx:latest"),
            ("index.docker.io/library/nginx:1", "nginx:1"),
            ("docker.io/a/b:2", "a/b:2"),
            ("library/a/b", "library/a/b:latest"),
            ("r.example:5000/library/nginx", "r.example:5000/library/nginx:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("a/b:1@sha256:00ff", "a/b@sha256:00ff"),
            ("docker.io/library/a@sha256:00ff", "a@sha256:00ff"),
            ("sha256:00ff", "sha256:00ff"),
        ] {
            assert_eq!(image_name(text).as_deref(), Some(name), "{text}");
        }
        assert_eq!(image_name("<none>:<none>"), None);
        assert_eq!(image_name(""), None);
    }

    #[test]
    fn what_is_no_image_reference_is_refused() {
        for text in ["", "a b", "a?b=c", "A/b", "a/", "/a", "a:", "a@", "a/../b", "a#b", "ü"] {
            let error = image(text).unwrap_err();
            assert!(matches!(error, Error::ImageMissing { why: ImageWhy::BadName(_), .. }));
        }
        assert!(image(&"a".repeat(600)).is_err());
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_a_url() {
        for name in ["", "a/b", "../x", "-a", "a?x", "a b", "a%2f"] {
            assert!(path_safe("container", name).is_err(), "{name}");
        }
        assert_eq!(path_safe("container", "shop-web-1_a.b").unwrap(), "shop-web-1_a.b");
    }
}
