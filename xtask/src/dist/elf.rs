//! What a binary is for, from the first bytes of its file: architecture, and whether it needs a
//! loader.

use anyhow::{Context, Result, bail};

/// Where the header of a 64-bit little-endian file says these things.
const MACHINE: usize = 18;
const SEGMENTS_AT: usize = 32;
const SEGMENT_SIZE: usize = 54;
const SEGMENT_COUNT: usize = 56;
/// The kind of a segment that names a loader.
const INTERPRETER: u32 = 3;

/// A binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elf {
    /// As the kernel names its architecture.
    pub(super) kernel: &'static str,
    /// As Debian does.
    pub(super) debian: &'static str,
    /// It runs without a loader and libraries.
    pub(super) is_static: bool,
}

impl Elf {
    /// Reads the header.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
            bail!("it is no 64-bit little-endian ELF file");
        }
        let (kernel, debian) = match number(bytes, MACHINE, 2)? {
            62 => ("x86_64", "amd64"),
            183 => ("aarch64", "arm64"),
            243 => ("riscv64", "riscv64"),
            21 => ("ppc64le", "ppc64el"),
            other => bail!("its architecture (ELF machine {other}) has no name here"),
        };
        let at = number(bytes, SEGMENTS_AT, 8)?;
        let size = number(bytes, SEGMENT_SIZE, 2)?;
        let mut is_static = true;
        for segment in 0..number(bytes, SEGMENT_COUNT, 2)? {
            let kind = number(bytes, at.saturating_add(segment * size), 4)?;
            is_static &= kind != INTERPRETER as usize;
        }
        Ok(Self { kernel, debian, is_static })
    }
}

fn number(bytes: &[u8], at: usize, size: usize) -> Result<usize> {
    let end = at.checked_add(size);
    let part = end.and_then(|end| bytes.get(at..end)).context("its header is cut short")?;
    Ok(part.iter().rev().fold(0, |all, byte| (all << 8) | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one segment.
    fn file(machine: u8, segment: u8) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[MACHINE] = machine;
        bytes[SEGMENTS_AT] = 64;
        bytes[SEGMENT_SIZE] = 56;
        bytes[SEGMENT_COUNT] = 1;
        bytes[64] = segment;
        bytes
    }

    #[test]
    fn architecture_and_loader_are_seen() {
        let elf = Elf::read(&file(62, 1)).unwrap();
        assert_eq!((elf.kernel, elf.debian, elf.is_static), ("x86_64", "amd64", true));
        let elf = Elf::read(&file(183, 3)).unwrap();
        assert_eq!((elf.debian, elf.is_static), ("arm64", false));
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(Elf::read(&own).unwrap().kernel, std::env::consts::ARCH);
    }

    #[test]
    fn what_is_no_binary_is_refused() {
        for bytes in [&b"#!/bin/sh\n"[..], b"", &file(62, 1)[..66], &file(2, 1)] {
            assert!(Elf::read(bytes).is_err());
        }
    }
}
