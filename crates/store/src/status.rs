//! Where a store is, and what a backup of it holds.

use model::time::Index;
use std::fmt;
use std::str::FromStr;

/// Names one unbroken history. A new one whenever history may have been lost (restore): whoever
/// holds an index of another epoch reads everything again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(pub [u8; 16]);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Text that is no epoch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is 32 hexadecimal digits")]
pub struct InvalidEpoch;

impl FromStr for Epoch {
    type Err = InvalidEpoch;
    fn from_str(text: &str) -> Result<Self, InvalidEpoch> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidEpoch);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_checked_above| InvalidEpoch)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its history.
    pub epoch: Epoch,
    /// Index of its newest change.
    pub index: Index,
    /// Oldest index that can be read or watched after.
    pub compacted: Index,
    /// `sqlite` or `memory`.
    pub driver: &'static str,
    /// Version of its format.
    pub schema: u32,
    /// Bytes that it takes on disk, 0 for memory.
    pub bytes: u64,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupMeta {
    /// Of which history.
    pub epoch: Epoch,
    /// All changes up to this one are in it.
    pub index: Index,
    /// Version of its format.
    pub schema: u32,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_survives_its_text() {
        let epoch = Epoch([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(epoch.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        for bad in ["", "00", "+00102030405060708090a0b0c0d0eff", &"g".repeat(32)] {
            assert_eq!(bad.parse::<Epoch>(), Err(InvalidEpoch), "{bad:?}");
        }
    }
}
