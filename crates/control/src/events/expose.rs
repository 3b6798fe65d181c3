//! What becomes of exposure, told to people.

use super::Told;
use model::event::{Event, Severity};
use model::expose::Expose;
use model::time::{Index, Timestamp};
use std::collections::BTreeMap;

/// Somebody has set it otherwise.
pub(super) fn of_settings(prev: &Expose, next: &Expose) -> Option<Told> {
    if prev == next {
        return None;
    }
    if next.is_off() {
        return Some(Told::info("exposure.off", "services are not exposed any more".into()));
    }
    let domains = next.domains.join(", ");
    let text = format!("services are exposed below {domains}, at port {}", next.http_port);
    Some(Told::info("exposure.set", text))
}

/// What keeps services from being served is otherwise: an event for each that is new, and for each
/// that is over.
#[must_use]
pub fn of_exposure(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
    index: Index,
    at: Timestamp,
) -> Vec<Event> {
    let blocked = now.iter().filter(|(what, why)| before.get(*what) != Some(*why));
    let blocked = blocked.map(|(what, why)| {
        Told::new(
            Severity::Warn,
            "exposure.blocked",
            format!("{what} is not served as asked: {why}"),
        )
    });
    let over = before.keys().filter(|what| !now.contains_key(*what));
    let over = over.map(|what| {
        Told::info("exposure.unblocked", format!("{what}: nothing is in the way any more"))
    });
    blocked.chain(over).map(|told| told.event(index, at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_and_what_comes_in_the_way_is_told_once() {
        let on = |domain: &str| Expose { domains: vec![domain.into()], ..Expose::default() };
        let word = |a: &Expose, b: &Expose| of_settings(a, b).map(|told| told.action);
        assert_eq!(word(&Expose::default(), &on("a")), Some("exposure.set"));
        assert_eq!(word(&on("a"), &on("b")), Some("exposure.set"));
        assert_eq!(word(&on("a"), &on("a")), None);
        assert_eq!(word(&on("a"), &Expose::default()), Some("exposure.off"));
        let map = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
            all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let told = |before: &[(&str, &str)], now: &[(&str, &str)]| -> Vec<String> {
            let events = of_exposure(&map(before), &map(now), Index(7), Timestamp(1));
            events.into_iter().map(|event| format!("{} {}", event.action, event.message)).collect()
        };
        let blocked = "exposure.blocked http web is not served as asked: taken";
        assert_eq!(told(&[], &[("http web", "taken")]), [blocked]);
        assert!(told(&[("http web", "taken")], &[("http web", "taken")]).is_empty());
        let over = "exposure.unblocked http web: nothing is in the way any more";
        assert_eq!(told(&[("http web", "taken")], &[]), [over]);
    }
}
