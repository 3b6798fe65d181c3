//! Docker's name of a container, which is made up: it follows from the environment and the id alone,
//! so that whoever asks again gets the same.

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
