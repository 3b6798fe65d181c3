//! Labels, and what Rancher's labels ask for.

use super::Read;
use crate::diagnostic::quoted;
use crate::keys::{self, Scope, Status};
use model::limits;
use std::collections::BTreeMap;

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
}
