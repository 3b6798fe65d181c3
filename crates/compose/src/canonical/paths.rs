//! Paths of the machine where the file was read: made absolute beside the file that has them.

use super::Canon;
use crate::diagnostic::quoted;
use crate::files::normal;
use crate::source::Sources;
use crate::yaml::Node;
use std::path::{Path, PathBuf};

/// What relative paths hang on besides the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    /// The user's home folder, for `~`.
    pub(crate) home: Option<PathBuf>,
}

impl Paths {
    /// The absolute path that a scalar stands for.
    pub(crate) fn absolute(&self, sources: &Sources, node: &Node) -> Option<String> {
        let text = node.as_text()?;
        let path = match (text.strip_prefix('~'), &self.home) {
            (Some(""), Some(home)) => home.clone(),
            (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
            _ => PathBuf::from(text),
        };
        let path = normal(&sources.folder(node.place.file).join(path));
        path.to_str().map(str::to_owned)
    }
}

/// A scalar with its path made absolute.
pub(super) fn absolute(node: &Node, canon: &mut Canon<'_>) -> Option<Node> {
    let source = canon.sources.get(node.place.file);
    if let Some(main) = source.and_then(|s| s.compose_folder.as_ref())
        && node.as_text().is_some_and(|text| !text.starts_with(['/', '~']))
    {
        let message = format!(
            "{}: path {} is taken beside this file, and not in {}",
            canon.subject,
            quoted(node.as_text().unwrap_or("")),
            main.display()
        );
        canon
            .report
            .warn(node.place, message)
            .hint("docker compose takes it in the first file's folder: write an absolute path, or name the project folder");
    }
    canon.paths.absolute(canon.sources, node).map(|path| Node::text(node.place, path))
}

/// A list with its paths made absolute.
pub(super) fn each(list: Node, canon: &mut Canon<'_>) -> Option<Node> {
    let items = list.as_list()?.to_vec();
    let items = items.iter().map(|n| absolute(n, canon).unwrap_or_else(|| n.clone())).collect();
    Some(Node::list(list.place, items))
}

/// A build context that is fetched from elsewhere: a URL, or a host's name with a dot and a path,
/// which Docker takes for a git repository when there is no such folder.
pub(crate) fn is_remote(text: &str) -> bool {
    let git_host = ["github.com/", "gitlab.com/", "bitbucket.org/"];
    text.contains("://")
        || text.starts_with("git@")
        || git_host.iter().any(|host| text.starts_with(host))
}

/// Is it a path of the host, and not the name of a volume?
pub(super) fn is_host_path(text: &str) -> bool {
    Path::new(text).is_absolute() || text.starts_with('.') || text.starts_with('~')
}
