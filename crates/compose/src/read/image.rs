//! The syntax of image references, as registries have it.

/// Checks a reference.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(reference: &str) -> Result<(), &'static str> {
    if reference.is_empty() {
        return Err("it is empty");
    }
    if reference.len() > 512 {
        return Err("it is longer than 512 bytes");
    }
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    if let Some(digest) = digest {
        let valid = digest.split_once(':').is_some_and(|(algorithm, hex)| {
            !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
        });
        if !valid {
            return Err("its digest is not sha256: and 64 hexadecimal digits");
        }
    }
    // A colon behind the last slash is a tag; one before it is a registry's port.
    let slash = rest.rfind('/').map_or(0, |i| i + 1);
    let (name, tag) = match rest[slash..].find(':') {
        Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
        None => (rest, None),
    };
    if let Some(tag) = tag {
        let first = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        let body = tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !first || !body || tag.len() > 128 {
            return Err("its tag is not made of letters, digits, '_', '.' and '-'");
        }
    }
    let mut parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 1 && is_registry(parts[0]) {
        parts.remove(0);
    }
    if parts.iter().any(|part| part.bytes().any(|b| b.is_ascii_uppercase())) {
        return Err("its name has upper-case letters");
    }
    if !parts.iter().all(|part| is_component(part)) {
        return Err("its name is not made of lower-case letters, digits, '.', '_', '-' and '/'");
    }
    Ok(())
}

fn is_registry(part: &str) -> bool {
    let (host, port) = part.split_once(':').unwrap_or((part, ""));
    let looks = part == "localhost" || part.contains('.') || part.contains(':');
    let host_ok = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    looks && host_ok && port.bytes().all(|b| b.is_ascii_digit())
}

fn is_component(part: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(part.bytes().next())
        && edge(part.bytes().next_back())
        && part.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
        })
}
