//! Images that go from host to host: what a host asks the server for, and what one that has the
//! image answers. An image is its configuration and its layers, each named by its SHA-256.

use model::id::{HostId, InstanceId};
use serde::{Deserialize, Serialize};

/// What a host wants of an image that it lacks. It names the container that needs it: the server
/// looks in the spec of the host which image that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageWant {
    /// Which hosts have it: one `Json` chunk, an `ImageFound`.
    Find {
        /// The container.
        instance: InstanceId,
    },
    /// What it is made of: `Text` while it is got ready, then `Json`, an `ImageManifest`.
    Manifest {
        /// The container.
        instance: InstanceId,
        /// Which image, by id.
        image: String,
        /// The host that has it.
        from: HostId,
    },
    /// One of its blobs: `Text` while it is got ready, `Out` chunks, `End`.
    Blob {
        /// The container.
        instance: InstanceId,
        /// Which image, by id.
        image: String,
        /// The host that has it.
        from: HostId,
        /// Which blob.
        digest: String,
        /// Bytes that are here already.
        offset: u64,
    },
}

impl ImageWant {
    /// The container that needs the image.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        match self {
            Self::Find { instance }
            | Self::Manifest { instance, .. }
            | Self::Blob { instance, .. } => instance,
        }
    }
}

/// An image that a host has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageOffer {
    /// Its id.
    pub id: String,
    /// `name@sha256:…` by registry; empty when no registry is known to have it.
    pub digests: Vec<String>,
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Bytes.
    pub size: u64,
}

/// Who has an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageFound {
    /// Hosts that have it, the best one first.
    pub offers: Vec<(HostId, ImageOffer)>,
    /// Hosts that do not.
    pub without: Vec<HostId>,
    /// Hosts that did not answer, or are not connected.
    pub silent: Vec<HostId>,
}

/// A blob of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blob {
    /// `sha256:…` of its bytes.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// What an image is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageManifest {
    /// Its id: the digest of the configuration, or of a document that leads to it.
    pub id: String,
    /// Its configuration.
    pub config: Blob,
    /// Its layers, from the lowest up.
    pub layers: Vec<Blob>,
    /// Documents of an engine that names images by them (the containerd store): the manifest, and
    /// the index that lists it.
    #[serde(default)]
    pub documents: Vec<Blob>,
}

impl ImageManifest {
    /// All of its blobs; one that occurs twice is in there twice.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.documents.iter().chain([&self.config]).chain(&self.layers)
    }
}

/// The hex of a digest, which is safe as the name of a file; `None` when it is no SHA-256.
#[must_use]
pub fn hex_of(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    let legal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (hex.len() == 64 && hex.bytes().all(legal)).then_some(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_digest_names_a_file() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(hex_of(&good), Some(&good[7..]));
        for bad in [
            String::new(),
            "0a".repeat(32),
            format!("sha256:{}", "0A".repeat(32)),
            format!("sha256:{}", "0a".repeat(31)),
            format!("sha256:../{}", "0a".repeat(30)),
            format!("sha512:{}", "0a".repeat(32)),
        ] {
            assert_eq!(hex_of(&bad), None, "{bad}");
        }
    }
}
