//! `events`.

use super::client::client;
use super::place::Place;
use super::{Format, Global};
use crate::exit::{Failure, INTERRUPTED, Outcome};
use crate::output::{self, Colour};
use api::error::{ErrorInfo, Kind};
use api::routes;
use api::wire::EventPage;
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::Method;
use model::event::{Event, Severity};
use std::time::Duration;

/// Between two tries to take up a stream that broke.
const RETRY: Duration = Duration::from_millis(500);

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
    let mut told = Told::default();
    let mut path = path;
    loop {
        let ended = match client.lines::<Event>(Method::GET, &path, None).await {
            Ok(events) => {
                told.follow(events, |event| {
                    if !selected(event) {
                        return;
                    }
                    if global.output == Format::Json {
                        output::line(&serde_json::to_string(event).unwrap_or_default());
                    } else {
                        print(event);
                    }
                })
                .await?
            }
            // Only a server that was there is waited for.
            Err(error) if told.index == 0 || error.kind != Kind::Unavailable => {
                return Err(error.into());
            }
            Err(error) => error.message,
        };
        if told.said != ended && !global.quiet {
            output::note(&format!("{ended}; going on when it is back"));
            told.said = ended;
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            _ = tokio::signal::ctrl_c() => return Err(Failure::Code(INTERRUPTED)),
        }
        // The last change again: part of its events may have been lost with the connection.
        let after = told.index.saturating_sub(1);
        path = format!("{}?stack={stack}&after={after}&follow=true", routes::EVENTS);
        told.skip = told.of_index;
    }
}

/// What was told already, so that a stream that broke is taken up where it ended.
#[derive(Debug, Default)]
struct Told {
    /// Index of the last event.
    index: u64,
    /// How many events of that index were told.
    of_index: usize,
    /// So many events of that index come again.
    skip: usize,
    /// The last trouble told.
    said: String,
}

impl Told {
    fn is_new(&mut self, event: &Event) -> bool {
        if event.index.0 == self.index && self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.skip = 0;
        self.of_index = if event.index.0 == self.index { self.of_index + 1 } else { 1 };
        self.index = event.index.0;
        true
    }

    /// Tells what comes until the stream breaks; gives why it did.
    async fn follow(
        &mut self,
        mut events: BoxStream<'static, Result<Event, ErrorInfo>>,
        mut tell: impl FnMut(&Event),
    ) -> Outcome<String> {
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ = tokio::signal::ctrl_c() => return Err(Failure::Code(INTERRUPTED)),
            };
            match event {
                Some(Ok(event)) => {
                    self.said.clear();
                    if self.is_new(&event) {
                        tell(&event);
                    }
                }
                Some(Err(error)) => return Ok(error.message),
                None => return Ok("the server ended the stream".into()),
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use model::time::{Index, Timestamp};

    fn event(index: u64) -> Event {
        Event {
            index: Index(index),
            at: Timestamp(0),
            severity: Severity::Info,
            action: "x".into(),
            stack: None,
            service: None,
            instance: None,
            host: None,
            message: String::new(),
        }
    }

    #[test]
    fn a_stream_that_is_taken_up_tells_nothing_twice_and_misses_nothing() {
        let mut told = Told::default();
        assert!([3, 5, 5].iter().all(|index| told.is_new(&event(*index))));
        // It broke in the middle of change 5, which had three events.
        told.skip = told.of_index;
        let new: Vec<bool> = [5, 5, 5, 6].iter().map(|index| told.is_new(&event(*index))).collect();
        assert_eq!(new, [false, false, true, true]);
    }
}
