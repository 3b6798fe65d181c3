//! Compose files from the command line's point of view: found, read, their warnings shown.

use super::{Global, Source};
use crate::exit::{Failure, Outcome, USAGE};
use crate::output;
use compose::{LoadOptions, Loaded};

/// Reads the stack that the options name.
///
/// # Errors
/// Exit code 2 with every error of the files, each with its place.
pub(super) fn load(global: &Global, source: &Source) -> Outcome<Loaded> {
    let here = std::env::current_dir()?;
    let files = if source.files.is_empty() {
        let found = compose::discover(&here);
        if found.is_empty() {
            return Err(Failure::usage(format!("there is no compose file in {}", here.display()))
                .hint("name one with -f, or go to its folder"));
        }
        found
    } else {
        source.files.clone()
    };
    let options = LoadOptions {
        files,
        project_dir: None,
        project_name: source.project.clone(),
        env: std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect(),
        env_files: source.env_files.clone(),
        profiles: source.profiles.clone(),
        strict: source.strict,
    };
    match compose::load(&options) {
        Ok(loaded) => {
            if !global.quiet {
                for warning in &loaded.warnings {
                    output::note(&warning.to_string());
                }
            }
            Ok(loaded)
        }
        Err(errors) => {
            output::note(&errors.to_string());
            Err(Failure::Code(USAGE))
        }
    }
}
