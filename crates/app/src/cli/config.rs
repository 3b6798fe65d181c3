//! `config`: the merged, interpolated file.

use super::{Format, Global, Source, source};
use crate::exit::Outcome;
use crate::output;
use clap::Args;

/// Options of `config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    source: Source,
    /// Only the names of services
    #[arg(long)]
    services: bool,
}

/// `remuda config`.
///
/// # Errors
/// Exit code 2 for bad files.
pub(super) fn run(global: &Global, args: ConfigArgs) -> Outcome {
    let loaded = source::load(global, &args.source)?;
    if args.services || global.output == Format::Name {
        loaded.spec.services.keys().for_each(|name| output::line(name.as_str()));
    } else if global.output == Format::Json {
        let mut spec = loaded.spec;
        for service in spec.services.values_mut() {
            for container in service.template.containers_mut() {
                container.files.iter_mut().for_each(|file| file.content_base64.clear());
            }
        }
        output::json(&spec);
    } else {
        output::line(compose::render(&loaded).trim_end());
    }
    Ok(())
}
