//! `config`: the merged, interpolated file; with a word behind it the settings of a service.

mod change;
mod settings;

use super::{Format, Global, Source, source};
use crate::exit::Outcome;
use crate::output;
use clap::Args;

/// Options of `config`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ConfigArgs {
    /// Settings of a service, which are keys below config/STACK/SERVICE/
    #[command(subcommand)]
    settings: Option<settings::SettingsCommand>,
    #[command(flatten)]
    source: Source,
    /// Only the names of services
    #[arg(long)]
    services: bool,
}

/// `remuda config`.
///
/// # Errors
/// Exit code 2 for bad files, and those of the settings.
pub(super) async fn run(global: &Global, args: ConfigArgs) -> Outcome {
    if let Some(command) = args.settings {
        return settings::run(global, command).await;
    }
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
