//! `build` and `pull`, and the builds that `up` needs. The context is packed here, beside the
//! compose file, and sent to the server.

use super::client::client;
use super::{Global, Source, source};
use crate::exit::{Failure, Outcome};
use crate::output::{self, Colour};
use api::client::{Client, Upload};
use api::error::Kind as ErrorKind;
use api::routes;
use api::wire::{Progress, ServiceDetail};
use clap::Args;
use compose::Loaded;
use futures_util::StreamExt as _;
use http::Method;
use model::service::Kind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Label that carries the id of a built image, so that a new build is a new revision.
const BUILT_LABEL: &str = "io.remuda.image.id";

/// Options of `build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    source: Source,
    /// Do not use the cache
    #[arg(long)]
    no_cache: bool,
}

/// Options of `pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// One image, or the images of the compose file here
    image: Option<String>,
    #[command(flatten)]
    source: Source,
}

/// `remuda build`.
///
/// # Errors
/// What the build said.
pub(super) async fn build(global: &Global, args: BuildArgs) -> Outcome {
    let mut loaded = source::load(global, &args.source)?;
    if loaded.builds.is_empty() {
        return Err(Failure::usage("no service of these files has a build:"));
    }
    let client = client(global)?;
    build_all(global, &client, &mut loaded, args.no_cache).await
}

/// `remuda pull`.
///
/// # Errors
/// Why an image could not be pulled.
pub(super) async fn pull(global: &Global, args: PullArgs) -> Outcome {
    let images: Vec<String> = match args.image {
        Some(image) => vec![image],
        None => {
            let loaded = source::load(global, &args.source)?;
            let containers = loaded.spec.services.values().filter_map(|s| s.template.container());
            containers.map(|c| c.image.clone()).collect()
        }
    };
    let client = client(global)?;
    for image in images {
        let path = format!("{}?image={}", routes::PULL, routes::encode(&image));
        follow(global, &client, &path, None, &image).await?;
    }
    Ok(())
}

/// Builds every image that has a `build:` and notes its id in the spec.
///
/// # Errors
/// What the build said.
pub(super) async fn build_all(
    global: &Global,
    client: &Client,
    loaded: &mut Loaded,
    no_cache: bool,
) -> Outcome {
    for (name, build) in &loaded.builds {
        let json = |map: &BTreeMap<String, String>| {
            routes::encode(&serde_json::to_string(map).unwrap_or_default())
        };
        let path = format!(
            "{}?tag={}&dockerfile={}&target={}&args={}&labels={}&no_cache={}",
            routes::BUILD,
            routes::encode(&build.image),
            routes::encode(build.dockerfile.as_deref().unwrap_or_default()),
            routes::encode(build.target.as_deref().unwrap_or_default()),
            json(&build.args),
            json(&build.labels),
            no_cache || build.no_cache,
        );
        output::note(&format!("building {name} ({})", build.image));
        let context = pack(build.context.clone());
        let image = follow(global, client, &path, Some(context), &build.image).await?;
        if let Some(service) = loaded.spec.services.get_mut(name)
            && let Kind::Container(container) = &mut service.template.kind
        {
            container.labels.insert(BUILT_LABEL.into(), image);
        }
    }
    Ok(())
}

/// For `plan`, which builds nothing: a service keeps the image that it was last built to.
///
/// # Errors
/// What the server says.
pub(super) async fn keep_known_images(client: &Client, loaded: &mut Loaded) -> Outcome {
    for name in loaded.builds.keys() {
        let path = routes::fill(routes::SERVICE, &[loaded.stack.as_str(), name.as_str()]);
        let known = match client.get::<ServiceDetail>(&path).await {
            Ok(detail) => {
                detail.spec.template.container().and_then(|c| c.labels.get(BUILT_LABEL).cloned())
            }
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(id) = known
            && let Some(service) = loaded.spec.services.get_mut(name)
            && let Kind::Container(container) = &mut service.template.kind
        {
            container.labels.insert(BUILT_LABEL.into(), id);
        }
    }
    Ok(())
}

async fn follow(
    global: &Global,
    client: &Client,
    path: &str,
    body: Option<Upload>,
    what: &str,
) -> Outcome<String> {
    let mut progress = client.lines::<Progress>(Method::POST, path, body).await?;
    let mut image = String::new();
    while let Some(step) = progress.next().await {
        match step? {
            Progress::Text { text } if !global.quiet => {
                for line in text.lines() {
                    output::note(&format!("  {} {line}", output::paint(Colour::Dim, "|")));
                }
            }
            Progress::Text { .. } => {}
            Progress::Done { image: id } => image = id,
            Progress::Failed { why } => return Err(Failure::error(format!("{what}: {why}"))),
        }
    }
    Ok(image)
}

/// Packs a folder as tar, without what `.dockerignore` names.
fn pack(context: PathBuf) -> Upload {
    let (tx, rx) = mpsc::channel::<bytes::Bytes>(8);
    tokio::task::spawn_blocking(move || {
        let mut archive = tar::Builder::new(Pipe(tx));
        archive.follow_symlinks(false);
        archive.mode(tar::HeaderMode::Deterministic);
        let rules = std::fs::read_to_string(context.join(".dockerignore")).unwrap_or_default();
        let ignore = Ignore::parse(&rules);
        let result = add(&mut archive, &context, Path::new(""), &ignore)
            .and_then(|()| archive.into_inner().map(drop));
        if let Err(error) = result {
            output::complain(&format!("build context {}: {error}", context.display()), "");
        }
    });
    tokio_stream_of(rx)
}

fn tokio_stream_of(rx: mpsc::Receiver<bytes::Bytes>) -> Upload {
    futures_util::stream::unfold(rx, |mut rx| async { rx.recv().await.map(|b| (b, rx)) }).boxed()
}

/// A writer whose bytes go into a channel.
struct Pipe(mpsc::Sender<bytes::Bytes>);

impl std::io::Write for Pipe {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0
            .blocking_send(bytes::Bytes::copy_from_slice(data))
            .map_err(|_closed| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn add(
    archive: &mut tar::Builder<Pipe>,
    root: &Path,
    at: &Path,
    ignore: &Ignore,
) -> std::io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(root.join(at))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = at.join(entry.file_name());
        let kind = entry.file_type()?;
        let ignored = ignore.matches(&path.to_string_lossy());
        if kind.is_dir() {
            // A rule may bring back something below an ignored folder.
            if !ignored {
                archive.append_dir(&path, entry.path())?;
            }
            if !ignored || ignore.brings_back {
                add(archive, root, &path, ignore)?;
            }
        } else if !ignored && (kind.is_file() || kind.is_symlink()) {
            archive.append_path_with_name(entry.path(), &path)?;
        }
    }
    Ok(())
}

/// Rules of `.dockerignore`: the last one that matches wins, `!` brings back.
struct Ignore {
    rules: Vec<(bool, String)>,
    brings_back: bool,
}

impl Ignore {
    fn parse(text: &str) -> Self {
        let mut rules = vec![];
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (keep, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, line),
            };
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            rules.push((keep, pattern.to_owned()));
        }
        let brings_back = rules.iter().any(|(keep, _)| *keep);
        Self { rules, brings_back }
    }

    fn matches(&self, path: &str) -> bool {
        let mut ignored = false;
        for (keep, pattern) in &self.rules {
            // A pattern that names a folder covers everything below it.
            let covered = path.match_indices('/').map(|(i, _)| &path[..i]).chain([path]);
            if covered.into_iter().any(|part| glob(pattern.as_bytes(), part.as_bytes())) {
                ignored = !keep;
            }
        }
        ignored
    }
}

/// `*` and `?` within a path element, `**` across elements.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', b'/', rest @ ..] => {
            glob(rest, text)
                || text
                    .iter()
                    .position(|b| *b == b'/')
                    .is_some_and(|i| glob(pattern, &text[i + 1..]))
        }
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|i| glob(rest, &text[i..])),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|b| *b == b'/').unwrap_or(text.len());
            (0..=end).any(|i| glob(rest, &text[i..]))
        }
        [b'?', rest @ ..] => matches!(text, [c, more @ ..] if *c != b'/' && glob(rest, more)),
        [c, rest @ ..] => matches!(text, [d, more @ ..] if c == d && glob(rest, more)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockerignore_is_anchored_and_the_last_rule_wins() {
        let ignore = Ignore::parse("node_modules\n*.md\n!README.md\n**/*.tmp\n/dist/\n# x\n");
        for (path, ignored) in [
            ("node_modules", true),
            ("node_modules/a/b.js", true),
            ("src/node_modules", false),
            ("a.md", true),
            ("README.md", false),
            ("docs/a.md", false),
            ("x.tmp", true),
            ("a/b/x.tmp", true),
            ("dist/x", true),
            ("src/main.rs", false),
        ] {
            assert_eq!(ignore.matches(path), ignored, "{path}");
        }
    }
}
