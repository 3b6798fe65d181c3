//! `events`.

use super::client::client;
use super::place::Place;
use super::{Format, Global};
use crate::exit::{Failure, INTERRUPTED, Outcome};
use crate::output::{self, Colour};
use api::routes;
use api::wire::EventPage;
use clap::Args;
use futures_util::StreamExt as _;
use http::Method;
use model::event::{Event, Severity};

/// Options of `events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only of this stack or service
    place: Option<Place>,
    /// Go on
    #[arg(short, long)]
    follow: bool,
    /// Last events
    #[arg(long, default_value_t = 100)]
    tail: u32,
}

/// `remuda events`.
///
/// # Errors
/// What the server says.
pub(super) async fn run(global: &Global, args: EventsArgs) -> Outcome {
    let client = client(global)?;
    let place = args.place.unwrap_or_default();
    let stack = routes::encode(&place.stack);
    let path =
        format!("{}?stack={stack}&tail={}&follow={}", routes::EVENTS, args.tail, args.follow);
    let selected = |event: &Event| {
        place.service.is_empty()
            || event.service.as_ref().is_some_and(|id| id.service.as_str() == place.service)
    };
    if !args.follow {
        let mut page: EventPage = client.get(&path).await?;
        page.events.retain(selected);
        if page.events.is_empty() && !place.stack.is_empty() {
            // Of what is gone there may be events; without any it must be there.
            place.must_exist(&client).await?;
        }
        if global.output == Format::Json {
            output::json(&page.events);
        } else {
            page.events.iter().for_each(print);
        }
        return Ok(());
    }
    let mut events = client.lines::<Event>(Method::GET, &path, None).await?;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = tokio::signal::ctrl_c() => return Err(Failure::Code(INTERRUPTED)),
        };
        let Some(event) = event else { return Ok(()) };
        let event = event?;
        if !selected(&event) {
            continue;
        }
        if global.output == Format::Json {
            output::line(&serde_json::to_string(&event).unwrap_or_default());
        } else {
            print(&event);
        }
    }
}

fn print(event: &Event) {
    let colour = match event.severity {
        Severity::Info => Colour::Dim,
        Severity::Warn => Colour::Yellow,
        Severity::Error => Colour::Red,
    };
    let subject = match (&event.instance, &event.service, &event.stack, &event.host) {
        (Some(instance), ..) => format!("{}#{}", instance.service, instance.n),
        (None, Some(service), ..) => service.to_string(),
        (None, None, Some(stack), _) => stack.to_string(),
        (None, None, None, Some(host)) => host.to_string(),
        (None, None, None, None) => String::new(),
    };
    output::line(&format!(
        "{} {} {subject} {}",
        output::paint(Colour::Dim, &output::utc(event.at)),
        output::paint(colour, &format!("{:<18}", event.action)),
        event.message
    ));
}
