//! Prepared queries as names: which one a name asks for, and what it takes of its service.

use super::places::{Spot, Tag};
use super::{Name, Node, label};
use model::limits::FILTER_PATTERN_BYTES_MAX;
use model::prepared::QueryNames;
use regex::{Regex, RegexBuilder};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// All queries of a view.
#[derive(Debug, Default)]
pub(super) struct Queries {
    /// By name and by id, in lower case.
    named: HashMap<String, Arc<QueryNames>>,
    /// Those that stand for many names, the longest first.
    templates: Vec<Template>,
    told: BTreeMap<String, Arc<QueryNames>>,
}

#[derive(Debug)]
struct Template {
    /// How names begin that it stands for, in lower case.
    begins: String,
    pattern: Option<Regex>,
    query: Arc<QueryNames>,
}

impl Queries {
    /// Of a view; those of before when nothing is otherwise.
    pub(super) fn of(
        told: &BTreeMap<String, Arc<QueryNames>>,
        before: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        if let Some(same) = before.filter(|before| before.told == *told) {
            return Arc::clone(same);
        }
        let mut made = Self { told: told.clone(), ..Self::default() };
        for (id, query) in told {
            if query.template {
                let mut builder = RegexBuilder::new(&query.regexp);
                let pattern = match query.regexp.is_empty() {
                    true => None,
                    // It was a pattern when it was taken; one that is none fits nothing.
                    false => match builder.size_limit(FILTER_PATTERN_BYTES_MAX).build() {
                        Ok(pattern) => Some(pattern),
                        Err(_not_ours) => continue,
                    },
                };
                let begins = query.name.to_ascii_lowercase();
                made.templates.push(Template { begins, pattern, query: Arc::clone(query) });
            } else if !query.name.is_empty() {
                made.named.insert(query.name.to_ascii_lowercase(), Arc::clone(query));
            }
            made.named.entry(id.to_ascii_lowercase()).or_insert_with(|| Arc::clone(query));
        }
        made.templates.sort_by(|a, b| {
            b.begins.len().cmp(&a.begins.len()).then_with(|| a.begins.cmp(&b.begins))
        });
        Arc::new(made)
    }

    /// The query of a name, given as labels in lower case; a template is filled in.
    pub(super) fn find(&self, name: &[u8]) -> Option<Cow<'_, QueryNames>> {
        let name = dotted(name)?;
        if let Some(found) = self.named.get(&name) {
            return Some(Cow::Borrowed(found));
        }
        let of = self.templates.iter().find(|one| name.starts_with(&one.begins))?;
        let groups = of.pattern.as_ref().and_then(|pattern| pattern.captures(&name));
        let groups = groups.iter().flat_map(|found| found.iter());
        let groups: Vec<String> =
            groups.map(|group| group.map_or("", |group| group.as_str()).to_owned()).collect();
        of.query.filled(&name, &groups).ok().map(Cow::Owned)
    }
}

/// Labels as text with dots between them.
fn dotted(mut wire: &[u8]) -> Option<String> {
    let mut labels = vec![];
    while let Some((length, rest)) = wire.split_first() {
        let (text, after) = rest.split_at_checked(usize::from(*length))?;
        labels.push(std::str::from_utf8(text).ok()?);
        wire = after;
    }
    (!labels.is_empty()).then(|| labels.join("."))
}

/// The service of a query as the text of a label.
pub(super) fn service_of(query: &QueryNames) -> Option<Box<[u8]>> {
    label(&query.service.to_ascii_lowercase())
}

/// Does a query take it?
pub(super) fn takes(query: &QueryNames, spot: &Spot) -> bool {
    let has = |tag: &str| {
        let tag = Name::parse(tag);
        tag.is_some_and(|tag| spot.has(Tag::Labels(tag.as_wire())))
    };
    let tagged = query.tags.iter().all(|tag| match tag.strip_prefix('!') {
        Some(tag) => !has(tag),
        None => has(tag),
    });
    let said = |key: &String| spot.node.as_ref().and_then(|node| node.told.meta.get(key));
    let meta = query.node_meta.iter().all(|(key, value)| said(key) == Some(value));
    (spot.passing || !query.only_passing) && tagged && meta
}

/// Is it what is to come first?
pub(super) fn is_near(query: &QueryNames, spot: &Spot, here: Option<&Arc<Node>>) -> bool {
    let Some(node) = &spot.node else { return false };
    match query.near.as_str() {
        "" => false,
        "_agent" => here.is_some_and(|here| Arc::ptr_eq(here, node)),
        name => Name::parse(&name.to_ascii_lowercase()).is_some_and(|name| name == node.name),
    }
}
