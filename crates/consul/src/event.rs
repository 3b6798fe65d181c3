//! `/v1/event/…`: events that somebody fires and others wait for. The last ones are remembered, in
//! memory: they are hints and no state.

use crate::acl::Named;
use crate::answer::Answer;
use crate::blocking::{self, Found};
use crate::request::Request;
use crate::route::Route;
use crate::serve::{Consul, Endpoint};
use crate::uuid;
use crate::waiters::Topic;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use model::limits::{CONSUL_EVENT_BYTES_MAX, CONSUL_EVENTS_MAX, CONSUL_KEY_BYTES_MAX};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use store::Store;

/// Version of the form of an event.
const VERSION: u32 = 1;

/// Its endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Events {
    Fire,
    List,
}

pub(crate) const ROUTES: &[Route<Endpoint>] = &[
    Route { path: "event/fire/", methods: &[Method::PUT], to: Endpoint::Event(Events::Fire) },
    Route { path: "event/list", methods: &[Method::GET], to: Endpoint::Event(Events::List) },
];

/// An event, as clients read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Event {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    /// Base64; null when there is none.
    payload: Option<String>,
    node_filter: String,
    service_filter: String,
    tag_filter: String,
    version: u32,
    #[serde(rename = "LTime")]
    l_time: u64,
}

/// The last events. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fired {
    /// Held for a look only.
    last: Arc<Mutex<(u64, VecDeque<Event>)>>,
}

impl Fired {
    fn push(&self, mut event: Event) -> Event {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.0 += 1;
        event.l_time = last.0;
        if last.1.len() >= CONSUL_EVENTS_MAX {
            last.1.pop_front();
        }
        last.1.push_back(event.clone());
        event
    }

    fn list(&self, name: Option<&str>) -> Vec<Event> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |event: &&Event| name.is_none_or(|name| event.name == name);
        last.1.iter().filter(fits).cloned().collect()
    }
}

/// A number made of an event's id: it is only compared for being another one.
fn index(id: &str) -> u64 {
    let hex: String = id.chars().filter(|c| *c != '-').collect();
    let half = |at: &str| u64::from_str_radix(at, 16).unwrap_or(0);
    match (hex.get(..16), hex.get(16..)) {
        (Some(low), Some(high)) => half(low) ^ half(high),
        _ => 0,
    }
}

/// Answers a request.
pub(crate) async fn answer<S: Store>(
    consul: &Consul<S>,
    request: &Request,
    endpoint: Events,
) -> Answer {
    let done = match endpoint {
        Events::Fire => fire(consul, request),
        Events::List => list(consul, request).await,
    };
    done.unwrap_or_else(|refused| refused)
}

fn fire<S: Store>(consul: &Consul<S>, request: &Request) -> Result<Answer, Answer> {
    let name = request.after("event/fire/");
    if name.is_empty() {
        return Err(Answer::bad("Missing name"));
    }
    let filter = |key: &str| request.query.get(key).unwrap_or("").to_owned();
    let filters = [filter("node"), filter("service"), filter("tag")];
    if [name, &filters[0], &filters[1], &filters[2]].iter().any(|t| t.len() > CONSUL_KEY_BYTES_MAX)
    {
        return Err(Answer::bad("the name or a filter of the event is too long"));
    }
    if request.body.len() > CONSUL_EVENT_BYTES_MAX {
        return Err(Answer::too_large(request.body.len(), CONSUL_EVENT_BYTES_MAX));
    }
    let [node_filter, service_filter, tag_filter] = filters;
    let event = consul.fired().push(Event {
        id: uuid::random(),
        name: name.to_owned(),
        payload: (!request.body.is_empty()).then(|| STANDARD.encode(&request.body)),
        node_filter,
        service_filter,
        tag_filter,
        version: VERSION,
        l_time: 0,
    });
    consul.waiters().wake([&Topic::Events]);
    Ok(Answer::json(&event))
}

async fn list<S: Store>(consul: &Consul<S>, request: &Request) -> Result<Answer, Answer> {
    let options = request.read_options()?;
    let name = request.query.text("name");
    let read = || {
        let events = consul.fired().list(name);
        let index = events.last().map_or(0, |event| index(&event.id));
        // These indexes have no order: another one is a newer one.
        let is_news = index != 0 && index != options.index;
        let changed = if is_news { u64::MAX } else { 0 };
        Ok::<_, Answer>(Found { changed, index, value: events })
    };
    let found = blocking::query(consul.waiters(), options, vec![Topic::Events], read).await?;
    let mut events = found.value;
    events.retain(|event| request.access.sees(Named::Event, &event.name));
    Ok(Answer::json(&events).with_index(found.index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_made_of_both_halves_of_the_id() {
        assert_eq!(index("00000000-0000-0001-0000-000000000003"), 2);
        assert_eq!(index("ffffffff-ffff-ffff-0000-000000000000"), u64::MAX);
        assert_eq!(index("nothing"), 0);
    }
}
