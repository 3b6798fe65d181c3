//! `cargo xtask images`: the example's programs, static and small, each an image with one file.

use crate::place::Place;
use crate::say::{self, Step};
use crate::shell;
use anyhow::{Context, Result, bail};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Label with a fingerprint of what the image was made from.
const LABEL: &str = "io.remuda.example.made-from";

/// An image of the example.
#[derive(Debug, Hash)]
struct Image {
    tag: &'static str,
    program: &'static str,
    environment: &'static str,
    port: u16,
}

const fn image(
    tag: &'static str,
    program: &'static str,
    environment: &'static str,
    port: u16,
) -> Image {
    Image { tag, program, environment, port }
}

/// `broken` exits at once, `sick` never gets healthy: for tries of failing rollouts.
const IMAGES: &[Image] = &[
    image("storefront/httpfront:v1.0.0", "httpfront", "VERSION=v1.0.0", 8080),
    image("storefront/httpfront:v1.1.0", "httpfront", "VERSION=v1.1.0", 8080),
    image("storefront/httpfront:broken", "httpfront", "MODE=broken", 8080),
    image("storefront/httpfront:sick", "httpfront", "MODE=sick", 8080),
    image("storefront/httpbackend:v1.0.0", "httpbackend", "VERSION=v1.0.0", 8081),
    image("storefront/tcpfront:v1.0.0", "tcpfront", "VERSION=v1.0.0", 9999),
];

/// Builds the programs; the folder they are in.
pub(crate) fn build(place: &Place) -> Result<PathBuf> {
    let step = Step::loud("building the example's programs");
    let (mut build, programs) = place.static_build(&place.target.join("storefront"))?;
    shell::run(build.arg("--manifest-path").arg("examples/storefront/Cargo.toml"))?;
    step.done("built");
    Ok(programs)
}

/// Builds the programs and makes every image that is missing or older than its program.
pub(crate) fn make(place: &Place) -> Result<()> {
    let programs = build(place)?;
    let step = Step::silent("making the example's images");
    let mut made = 0;
    for image in IMAGES {
        let program = programs.join(image.program);
        let fingerprint = fingerprint(image, &program)?;
        if fingerprint_of_existing(image.tag).is_none_or(|existing| existing != fingerprint) {
            import(image, &programs, &fingerprint)
                .with_context(|| format!("making the image {}", image.tag))?;
            made += 1;
        }
    }
    step.done(&format!("{made} made, {} as before", IMAGES.len() - made));
    for image in IMAGES {
        say::line(&format!("    {}", image.tag));
    }
    Ok(())
}

fn fingerprint(image: &Image, program: &Path) -> Result<String> {
    let bytes = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    let mut hasher = DefaultHasher::new();
    image.hash(&mut hasher);
    bytes.hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

fn fingerprint_of_existing(tag: &str) -> Option<String> {
    let format = format!("{{{{index .Config.Labels \"{LABEL}\"}}}}");
    shell::read(Command::new("docker").args(["image", "inspect", "--format", &format, tag])).ok()
}

/// `tar` into `docker import`: one layer with one file, no builder needed.
fn import(image: &Image, programs: &Path, fingerprint: &str) -> Result<()> {
    let Image { tag, program, environment, port } = image;
    let mut tar = Command::new("tar")
        .args(["--create", "--owner=0", "--group=0", "--mode=0755", "--mtime=@0", "--directory"])
        .arg(programs)
        .arg(program)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting `tar`")?;
    let layer = tar.stdout.take().context("tar has no output")?;
    let imported = Command::new("docker")
        .arg("import")
        .args(["--change", &format!("ENTRYPOINT [\"/{program}\"]")])
        .args(["--change", &format!("ENV {environment}")])
        .args(["--change", &format!("EXPOSE {port}")])
        .args(["--change", "USER 65534:65534"])
        .args(["--change", &format!("LABEL {LABEL}={fingerprint}")])
        .args(["-", tag])
        .stdin(layer)
        .output()
        .context("starting `docker import`")?;
    let packed = tar.wait()?;
    if !packed.success() || !imported.status.success() {
        let said = String::from_utf8_lossy(&imported.stderr);
        bail!("tar: {packed}; docker import: {}: {}", imported.status, said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_differ_by_what_they_are_made_from() {
        let program = std::env::current_exe().unwrap();
        let prints: std::collections::BTreeSet<_> =
            IMAGES.iter().map(|image| fingerprint(image, &program).unwrap()).collect();
        assert_eq!(prints.len(), IMAGES.len());
        assert_eq!(
            fingerprint(&IMAGES[0], &program).unwrap(),
            fingerprint(&IMAGES[0], &program).unwrap()
        );
    }
}
