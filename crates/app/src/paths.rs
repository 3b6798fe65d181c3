//! Where things are on this machine: data folder, context file, default ports.

use crate::exit::{Failure, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Data folder when none is named.
pub(crate) const DATA_DIR: &str = "/var/lib/remuda";
/// Where server and console listen.
pub(crate) const API_LISTEN: &str = "127.0.0.1:7600";

/// Contexts of the CLI: how servers are reached. `~/.config/remuda/config.yaml`, 0600.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Contexts {
    /// Which one is used.
    pub current: String,
    /// By name.
    pub contexts: BTreeMap<String, Context>,
}

/// How one server is reached.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Context {
    /// URL.
    pub server: String,
    /// API token.
    pub token: String,
    /// SHA-256 of the server's CA certificate, for https.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca: String,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Path of the context file.
#[must_use]
pub(crate) fn config_file() -> PathBuf {
    if let Some(path) = std::env::var_os("REMUDA_CONFIG") {
        return path.into();
    }
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".config")
    });
    base.join("remuda/config.yaml")
}

/// The contexts; none when there is no file.
///
/// # Errors
/// When the file cannot be read or is not one of ours.
pub(crate) fn read_contexts(path: &Path) -> Outcome<Contexts> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Contexts::default()),
        Err(e) => {
            return Err(Failure::error(format!("context file {}: {e}", path.display())));
        }
    };
    parse_contexts(&text).map_err(|why| {
        Failure::usage(format!("context file {}: {why}", path.display()))
            .hint("remove the file; `remuda dev` and `remuda server` write it anew")
    })
}

/// The file is YAML of two levels, written and read by us: `current: x`, then by context name the
/// fields. A full YAML reader would be a second one beside the compose parser.
fn parse_contexts(text: &str) -> Result<Contexts, String> {
    let mut out = Contexts::default();
    let mut name = String::new();
    for (i, line) in text.lines().enumerate() {
        let body = line.trim_end();
        let content = body.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let (key, value) = content
            .split_once(':')
            .ok_or_else(|| format!("line {}: expected key: value", i + 1))?;
        let value = value.trim().trim_matches('"').to_owned();
        let key = key.trim().trim_matches('"');
        match (body.len() - content.len(), key) {
            (0, "current") => out.current = value,
            (0, "contexts") => {}
            (2, _) => {
                name = key.to_owned();
                out.contexts.insert(name.clone(), Context::default());
            }
            (4, field) => {
                let context = out
                    .contexts
                    .get_mut(&name)
                    .ok_or_else(|| format!("line {}: a field outside a context", i + 1))?;
                match field {
                    "server" => context.server = value,
                    "token" => context.token = value,
                    "ca" => context.ca = value,
                    other => return Err(format!("line {}: unknown field {other}", i + 1)),
                }
            }
            _ => return Err(format!("line {}: unknown key {key}", i + 1)),
        }
    }
    Ok(out)
}

fn render_contexts(contexts: &Contexts) -> String {
    use std::fmt::Write as _;
    let mut out = format!("current: \"{}\"\ncontexts:\n", contexts.current);
    for (name, context) in &contexts.contexts {
        let Context { server, token, ca } = context;
        writeln!(out, "  {name}:\n    server: \"{server}\"\n    token: \"{token}\"")
            .expect("writing to a String cannot fail");
        if !ca.is_empty() {
            writeln!(out, "    ca: \"{ca}\"").expect("writing to a String cannot fail");
        }
    }
    out
}

/// File of a data folder that lists the context files which know its server.
fn context_list(data_dir: &Path) -> PathBuf {
    data_dir.join("contexts")
}

/// Context files that know the server of this data folder; the usual one at least.
#[must_use]
pub(crate) fn context_files(data_dir: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_to_string(context_list(data_dir)).unwrap_or_default();
    let mut files: Vec<PathBuf> = listed.lines().map(PathBuf::from).collect();
    if !files.contains(&config_file()) {
        files.push(config_file());
    }
    files
}

/// Remembers that a context file knows the server of this data folder.
///
/// # Errors
/// When the list cannot be written.
pub(crate) fn remember_context_file(data_dir: &Path, file: &Path) -> Outcome {
    let path = context_list(data_dir);
    let listed = std::fs::read_to_string(&path).unwrap_or_default();
    let file = std::path::absolute(file)?.display().to_string();
    if listed.lines().any(|line| line == file) {
        return Ok(());
    }
    write_private(&path, &format!("{listed}{file}\n"))
}

/// Forgets them.
///
/// # Errors
/// When the list cannot be removed.
pub(crate) fn forget_context_files(data_dir: &Path) -> Outcome {
    let path = context_list(data_dir);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed(&path, &e)),
        _ => Ok(()),
    }
}

/// Puts a context in the file; it becomes the current one when there is none.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_context(path: &Path, name: &str, context: Context) -> Outcome {
    let mut contexts = read_contexts(path)?;
    contexts.contexts.insert(name.to_owned(), context);
    if contexts.current.is_empty() {
        name.clone_into(&mut contexts.current);
    }
    save(path, &contexts)
}

/// Takes a context out of the file.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn remove_context(path: &Path, name: &str) -> Outcome {
    let mut contexts = read_contexts(path)?;
    if contexts.contexts.remove(name).is_none() {
        return Ok(());
    }
    if contexts.current == name {
        contexts.current = contexts.contexts.keys().next().cloned().unwrap_or_default();
    }
    if contexts.contexts.is_empty() {
        return std::fs::remove_file(path).map_err(|e| failed(path, &e));
    }
    save(path, &contexts)
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::error(format!("file {} cannot be written: {error}", path.display()))
}

fn save(path: &Path, contexts: &Contexts) -> Outcome {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| failed(dir, &e))?;
    }
    write_private(path, &render_contexts(contexts))
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_private(path: &Path, text: &str) -> Outcome {
    let temporary = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|e| failed(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_survive_the_file_and_it_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/config.yaml");
        let context = Context {
            server: "http://127.0.0.1:7600".into(),
            token: "rmd_1_2".into(),
            ca: String::new(),
        };
        write_context(&path, "dev", context).unwrap();
        write_context(&path, "prod", Context { ca: "ab".into(), ..Context::default() }).unwrap();
        let read = read_contexts(&path).unwrap();
        assert_eq!(read.current, "dev");
        assert_eq!(read.contexts["dev"].server, "http://127.0.0.1:7600");
        assert_eq!(read.contexts["prod"].ca, "ab");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        remove_context(&path, "dev").unwrap();
        assert_eq!(read_contexts(&path).unwrap().current, "prod");
        remove_context(&path, "prod").unwrap();
        assert!(!path.exists());
        assert!(parse_contexts("x\n").is_err());
    }
}
