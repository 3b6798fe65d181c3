//! `giddyup exec`: files and variables first, then this process becomes the command.

use super::source::{Source, word};
use crate::exit::{Failure, Outcome};
use clap::Args;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where Docker and Remuda put secrets.
const SECRETS: &str = "/run/secrets";
/// Between two looks for a file.
const LOOK: Duration = Duration::from_millis(200);
/// Reads a file into the environment, and becomes the command.
const SOURCE: &str = "set -a; . \"$0\"; set +a; exec \"$@\"";

/// Options of `giddyup exec`.
#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// Each file in /run/secrets becomes a variable with its name in capitals
    #[arg(long)]
    secret_envs: bool,
    /// Write the files that the service's metadata has under cloud-init.write_files
    #[arg(long)]
    cloud_init: bool,
    /// Wait until there is this file
    #[arg(long)]
    wait_for_file: Option<PathBuf>,
    /// Shell file whose variables the command gets
    #[arg(long)]
    source_file: Option<PathBuf>,
    /// The command
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Does not come back but with an error.
pub(super) fn become_command(command: &[String]) -> Outcome {
    let Some((program, rest)) = command.split_first() else {
        return Err(Failure::usage("there is no command"));
    };
    replace(Command::new(program).args(rest), program)
}

fn replace(command: &mut Command, program: &str) -> Outcome {
    let error = command.exec();
    Err(Failure::error(format!("{program} cannot be run: {error}")))
}

pub(super) async fn run(source: &Source, args: ExecArgs) -> Outcome {
    if let Some(path) = &args.wait_for_file {
        while !path.exists() {
            tokio::time::sleep(LOOK).await;
        }
    }
    if args.cloud_init {
        let files = source.get("/self/service/metadata/cloud-init/write_files").await?;
        for file in files.as_array().into_iter().flatten() {
            write(file)?;
        }
    }
    let mut words = args.command;
    if let Some(file) = args.source_file {
        let file = file.to_string_lossy().into_owned();
        words.splice(0..0, ["sh".to_owned(), "-c".to_owned(), SOURCE.to_owned(), file]);
    }
    let Some((program, rest)) = words.split_first() else {
        return Err(Failure::usage("there is no command"));
    };
    let mut command = Command::new(program);
    command.args(rest);
    if args.secret_envs {
        command.envs(secrets(Path::new(SECRETS))?);
    }
    replace(&mut command, program)
}

/// Contents of the files of a folder by their names in capitals; a folder that is not there has none.
fn secrets(folder: &Path) -> Outcome<Vec<(String, String)>> {
    let failed = |path: &Path, error: &std::io::Error| {
        Failure::error(format!("{} cannot be read: {error}", path.display()))
    };
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(failed(folder, &error)),
    };
    let mut all = vec![];
    for entry in listed {
        let path = entry.map_err(|error| failed(folder, &error))?.path();
        if !path.is_file() {
            continue;
        }
        let value = std::fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if name.contains('=') || value.contains('\0') {
            return Err(Failure::error(format!("{} cannot be a variable", path.display())));
        }
        all.push((name, value));
    }
    all.sort();
    Ok(all)
}

/// One entry of cloud-init's `write_files`.
fn write(file: &Value) -> Outcome {
    let path = PathBuf::from(word(&file["path"]));
    if !path.is_absolute() {
        return Err(Failure::error(format!(
            "cloud-init: {:?} is no absolute path",
            path.display()
        )));
    }
    let failed = |error: std::io::Error| {
        Failure::error(format!("cloud-init: {} cannot be written: {error}", path.display()))
    };
    let bits = match word(&file["permissions"]) {
        "" => 0o644,
        text => u32::from_str_radix(text.trim_start_matches("0o"), 8).map_err(|_not_octal| {
            Failure::error(format!("cloud-init: permissions {text:?} are not octal"))
        })?,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(&path, word(&file["content"])).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits & 0o7777)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_become_variables_and_files_are_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(secrets(&folder.path().join("none")).unwrap(), []);
        std::fs::write(folder.path().join("db_password"), "s3cret\n").unwrap();
        let found = secrets(folder.path()).unwrap();
        assert_eq!(found, [("DB_PASSWORD".to_owned(), "s3cret\n".to_owned())]);
        let path = folder.path().join("a/b.sh");
        write(&json!({"path": path, "content": "echo", "permissions": "0755"})).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "echo");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(write(&json!({"path": "etc/x", "content": ""})).is_err());
        assert!(write(&json!({"path": "/x", "permissions": "rwx"})).is_err());
    }
}
