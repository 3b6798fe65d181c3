//! Labels, and what Rancher's labels ask for.

use super::Read;
use crate::diagnostic::quoted;
use crate::keys::{self, Scope, Status};
use crate::scalar;
use crate::source::Place;
use model::limits;
use model::selector::{InvalidSelector, Selector};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

impl Read<'_> {
    /// Labels of `deploy` and of the container; the latter win.
    pub(super) fn read_labels(&mut self) -> BTreeMap<String, String> {
        let deploy = self.fields.object("deploy");
        let mut labels = deploy.map(|d| d.pairs("labels")).unwrap_or_default();
        labels.extend(self.fields.pairs("labels"));
        let maps = [deploy.and_then(|d| d.map("labels")), self.fields.map("labels")];
        for (key, _) in maps.into_iter().flatten().flat_map(|map| map.iter()) {
            if key.text.is_empty() {
                self.error(key.place, "labels: a name is empty").expected("a name and a value");
            }
            if !key.text.starts_with("io.rancher.") {
                continue;
            }
            match keys::label(&key.text).map(|info| info.status) {
                Some(Status::Done) => {}
                Some(Status::Later(note)) => {
                    let text = &key.text;
                    self.warn(key.place, &format!("label {text} is not carried out yet: {note}"));
                }
                None => {
                    let what = format!("label {} is not known", quoted(&key.text));
                    self.warn(key.place, &what).near_key(Scope::Label, &key.text);
                }
            }
        }
        if labels.len() > limits::LABELS_MAX {
            let place = self.fields.place("labels").unwrap_or(self.place);
            let what = format!("there are {} labels", labels.len());
            self.error(place, &what).expected(format!("at most {}", limits::LABELS_MAX));
        }
        labels
    }

    /// A label with its place; that of the container before that of `deploy`.
    pub(super) fn label(&self, name: &str) -> Option<(Place, String)> {
        let deploy = self.fields.object("deploy").and_then(|d| d.map("labels"));
        let maps = [self.fields.map("labels"), deploy];
        let node = maps.into_iter().flatten().find_map(|labels| labels.get(name))?;
        Some((node.place, node.as_text()?.to_owned()))
    }

    /// Does a label say yes?
    pub(super) fn flag(&mut self, name: &str) -> bool {
        let Some((place, text)) = self.label(name) else { return false };
        match scalar::boolean(text.trim()) {
            Ok(yes) => yes,
            Err(expected) => {
                self.error(place, &format!("label {name} is {}", quoted(&text))).expected(expected);
                false
            }
        }
    }

    pub(super) fn selector(&mut self, name: &str) -> Option<Selector> {
        let (place, text) = self.label(name)?;
        match text.parse() {
            Ok(selector) => Some(selector),
            Err(InvalidSelector { text, why }) => {
                let what = format!("label {name}: {}: {why}", quoted(&text));
                self.error(place, &what)
                    .expected("k=v, k!=v, k, k in (a,b) or k notin (a,b), with commas between");
                None
            }
        }
    }

    pub(super) fn requested_ips(&mut self) -> Vec<Ipv4Addr> {
        const LABEL: &str = "io.rancher.container.requested_ip";
        let Some((place, text)) = self.label(LABEL) else { return vec![] };
        let max = limits::SCALE_MAX as usize;
        let (mut out, mut seen) = (vec![], BTreeSet::new());
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.parse::<Ipv4Addr>() {
                Ok(address) if !seen.insert(address) => {}
                Ok(_) if out.len() >= max => {
                    self.error(place, &format!("label {LABEL} has more than {max} addresses"))
                        .expected(format!("at most {max}"));
                    return vec![];
                }
                Ok(address) => out.push(address),
                Err(_) => {
                    let what = format!("label {LABEL}: {} is not an address", quoted(part));
                    self.error(place, &what)
                        .expected("addresses such as 10.42.0.7, with commas between");
                    return vec![];
                }
            }
        }
        out
    }
}
