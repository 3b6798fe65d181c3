//! `stats`.

use super::client::client;
use super::place::Place;
use super::{Format, Global};
use crate::exit::Outcome;
use crate::output::{self, Cell};
use api::routes;
use api::wire::StatsRow;
use clap::Args;

/// Options of `stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// stack, stack/service or stack/service#n [default: all]
    place: Option<Place>,
}

/// `remuda stats`.
///
/// # Errors
/// What the server says.
pub(super) async fn run(global: &Global, args: StatsArgs) -> Outcome {
    let client = client(global)?;
    if let Some(place) = &args.place {
        place.must_exist(&client).await?;
    }
    let mut rows: Vec<StatsRow> = client.get(routes::STATS).await?;
    if let Some(place) = args.place {
        rows.retain(|row| {
            row.instance.parse::<Place>().is_ok_and(|at| {
                at.stack == place.stack
                    && (place.service.is_empty() || at.service == place.service)
                    && (place.n == 0 || at.n == place.n)
            })
        });
    }
    if global.output == Format::Json {
        output::json(&rows);
        return Ok(());
    }
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let limit = match row.memory_limit {
                0 => String::new(),
                limit => format!(" / {}", output::size(limit)),
            };
            vec![
                row.instance.clone().into(),
                format!("{:.1}%", row.cpu_percent).into(),
                format!("{}{limit}", output::size(row.memory)).into(),
                format!("{} / {}", output::size(row.network_rx), output::size(row.network_tx))
                    .into(),
                format!("{} / {}", output::size(row.block_read), output::size(row.block_write))
                    .into(),
                row.pids.to_string().into(),
                row.problem.clone().into(),
            ]
        })
        .collect();
    let heading = ["INSTANCE", "CPU", "MEMORY", "NET IN / OUT", "DISK READ / WRITE", "PIDS", ""];
    output::table(&heading, &cells);
    Ok(())
}
