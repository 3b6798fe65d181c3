//! Names that are made up: Docker's of a container, and the UUIDs that Rancher's clients know
//! things by. Both follow from the environment and the id alone, so that whoever asks again gets
//! the same.

use model::cluster::Cluster;
use model::id::InstanceId;
use sha2::{Digest, Sha256};

fn digest(environment: &str, text: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(environment);
    hasher.update(text);
    hasher.finalize().into()
}

/// `<stack>-<service>-[<sidekick>-]<n>-<6 characters of environment and incarnation>`.
pub(crate) fn container_name(cluster: &Cluster, id: &InstanceId) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let environment = cluster.environment().map(|e| e.id.as_str()).unwrap_or_default();
    let tail: String = digest(environment, &id.to_string())
        .iter()
        .take(6)
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect();
    format!("{}-{tail}", id.public_name())
}

/// The UUID of a thing of the environment; `what` keeps things of one id apart.
pub(crate) fn uuid(environment: &str, what: &str, id: &str) -> String {
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest(environment, &format!("{what} {id}"))[..16]);
    // Version 8: made in a way of our own.
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_form_and_follows_from_what_it_names() {
        let one = uuid("e1", "container", "shop/web#1@1");
        assert_eq!(one, uuid("e1", "container", "shop/web#1@1"));
        assert_ne!(one, uuid("e1", "unit", "shop/web#1@1"));
        assert_ne!(one, uuid("e2", "container", "shop/web#1@1"));
        let lengths: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'8', "its version");
    }
}
