//! `build`: what an image is made from. The folder stays on the machine where the file was read.

use super::{Read, check_image};
use crate::canonical::is_remote;
use crate::diagnostic::{quoted, quoted_path};
use crate::fields::Fields;
use model::id::ServiceName;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An image to build before its service is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildSpec {
    /// Absolute folder with the context.
    pub context: PathBuf,
    /// Dockerfile, relative to the context or absolute; `None` is `Dockerfile`.
    pub dockerfile: Option<String>,
    /// Its text, instead of a file.
    pub dockerfile_inline: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Stage to stop at.
    pub target: Option<String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Images whose layers may be reused.
    pub cache_from: Vec<String>,
    /// Network of `RUN` steps.
    pub network: Option<String>,
    /// Reuse no layer.
    pub no_cache: bool,
    /// Pull base images even when they are there.
    pub pull: bool,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<i64>,
    /// Reference that the image gets: the service's `image`, or `<stack>_<service>:latest`.
    pub image: String,
    /// Further references.
    pub tags: Vec<String>,
}

impl Read<'_> {
    pub(super) fn build(&mut self, name: &ServiceName) -> Option<BuildSpec> {
        let Some(fields) = self.fields.object("build") else {
            if let Some(place) = self.fields.place("dockerfile") {
                self.warn(place, "dockerfile has no effect without build");
            }
            return None;
        };
        let place = self.fields.place("build").unwrap_or(self.place);
        let image = match self.fields.text("image") {
            Some(image) => {
                if let Err(why) = check_image(image) {
                    let place = self.fields.place("image").unwrap_or(place);
                    let what = format!("image {} is not a reference: {why}", quoted(image));
                    self.error(place, &what).expected("[registry/]name[:tag]");
                }
                image.to_owned()
            }
            None => format!("{}_{name}:latest", self.stack.name).to_lowercase(),
        };
        let tags = fields.texts("tags");
        for (tag, node) in tags.iter().zip(fields.items("tags")) {
            if let Err(why) = check_image(tag) {
                let what = format!("build: tag {} is not a reference: {why}", quoted(tag));
                self.error(node.place, &what).expected("[registry/]name[:tag]");
            }
        }
        let context = self.context(fields);
        // In v1 the Dockerfile stood beside build.
        let dockerfile = fields.owned("dockerfile").or_else(|| self.fields.owned("dockerfile"));
        let inline = fields.owned("dockerfile_inline");
        if let Some(context) = &context {
            match (&dockerfile, &inline) {
                (Some(_), Some(_)) => {
                    self.error(place, "build: dockerfile and dockerfile_inline exclude each other")
                        .hint("keep one of them");
                }
                (file, None) => self.check_dockerfile(fields, context, file.as_deref()),
                (None, Some(_)) => {}
            }
        }
        Some(BuildSpec {
            context: context.unwrap_or_default(),
            dockerfile,
            dockerfile_inline: inline,
            args: fields.pairs("args"),
            target: fields.owned("target"),
            labels: fields.pairs("labels"),
            cache_from: fields.texts("cache_from"),
            network: fields.owned("network"),
            no_cache: fields.boolean("no_cache").unwrap_or(false),
            pull: fields.boolean("pull").unwrap_or(false),
            shm_size: fields.size("shm_size"),
            image,
            tags,
        })
    }

    fn context(&mut self, fields: Fields<'_>) -> Option<PathBuf> {
        let place = fields.place("context").or_else(|| self.fields.place("build"));
        let place = place.unwrap_or(self.place);
        let Some(text) = fields.text("context") else {
            self.error(place, "build has no context").expected("context: folder");
            return None;
        };
        if is_remote(text) {
            self.error(place, &format!("build: the context {} is elsewhere", quoted(text)))
                .expected("a folder of this machine")
                .hint("clone it and name its folder; fetching is not carried out yet");
            return None;
        }
        let path = Path::new(text);
        if !self.stack.files.is_folder(path) {
            let what = format!("build: the context {} is not a folder", quoted_path(text));
            self.error(place, &what).expected("a folder, relative to the compose file");
            return None;
        }
        Some(path.to_owned())
    }

    fn check_dockerfile(&mut self, fields: Fields<'_>, context: &Path, file: Option<&str>) {
        let path = context.join(file.unwrap_or("Dockerfile"));
        if self.stack.files.is_file(&path) {
            return;
        }
        let place = fields.place("dockerfile").or_else(|| self.fields.place("dockerfile"));
        let place = place.or_else(|| fields.place("context")).unwrap_or(self.place);
        let what = format!("build: there is no file {}", quoted_path(&path.display().to_string()));
        self.error(place, &what).expected("a Dockerfile, relative to the context");
    }
}
