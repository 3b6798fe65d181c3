//! Which of many a read wants: `tag`, `node-meta`, `filter`, `passing`, `near`.

use super::document::{EntryDoc, NodeDoc, list};
use crate::acl::{Access, Named};
use crate::answer::Answer;
use crate::coordinate::Coordinates;
use crate::filter::{Filter, Shape, parse_bool};
use crate::request::Request;
use bytes::Bytes;
use control::catalog::CheckStatus;
use std::collections::BTreeMap;

/// A read's wishes.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// All of them, in lower case.
    tags: Vec<String>,
    /// Each of them with its value.
    node_meta: Vec<(String, String)>,
    filter: Option<Filter>,
    /// Only what passes.
    pub(crate) passing: bool,
    /// The node whose own come first.
    near: Option<String>,
    /// Round trips from there, where they are known.
    distances: BTreeMap<String, f64>,
    /// What may be seen at all.
    access: Access,
}

impl Wishes {
    /// Reads them; a filter is one over objects of `shape`.
    ///
    /// # Errors
    /// 400 for a filter or a bool that is none.
    pub(crate) fn read(
        request: &Request,
        shape: &'static Shape,
        coordinates: &Coordinates,
    ) -> Result<Self, Answer> {
        let query = &request.query;
        let passing = match query.get("passing") {
            None => false,
            Some("") => true,
            Some(text) => {
                parse_bool(text).ok_or_else(|| Answer::bad("Invalid value for ?passing"))?
            }
        };
        let filter = query.text("filter").map(|text| Filter::parse(text, shape)).transpose();
        let filter = filter.map_err(|why| {
            Answer::bad(format!("Failed to create boolean expression evaluator: {why}"))
        })?;
        let meta = query.all("node-meta").map(|pair| {
            let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
            (key.to_owned(), value.to_owned())
        });
        let near = query.text("near").map(|near| match near {
            "_agent" => request.node.clone(),
            near => near.to_owned(),
        });
        let tags = query.all("tag").filter(|tag| !tag.is_empty()).map(str::to_lowercase);
        let distances = near.as_deref().map(|near| coordinates.from(near)).unwrap_or_default();
        let (tags, node_meta) = (tags.collect(), meta.collect());
        let access = request.access.clone();
        Ok(Self { tags, node_meta, filter, passing, near, distances, access })
    }

    /// Is everything wanted, but for what does not pass?
    pub(crate) fn is_all(&self) -> bool {
        let Self { tags, node_meta, filter, near, access, passing: _, distances: _ } = self;
        access.is_all()
            && tags.is_empty()
            && node_meta.is_empty()
            && filter.is_none()
            && near.is_none()
    }

    /// Does the answer rest on what nodes say of themselves?
    pub(crate) fn asks_nodes(&self) -> bool {
        !self.node_meta.is_empty() || self.filter.is_some()
    }

    /// Is the node one of those that are wanted, and may it be seen?
    pub(crate) fn wants_node(&self, node: &NodeDoc) -> bool {
        self.has_meta(node) && self.access.sees(Named::Node, &node.row.value.name)
    }

    /// May a service of this name be seen?
    pub(crate) fn sees_service(&self, service: &str) -> bool {
        self.access.sees(Named::Service, service)
    }

    /// May a node of this name be seen?
    pub(crate) fn sees_node(&self, node: &str) -> bool {
        self.access.sees(Named::Node, node)
    }

    /// Says the node of itself what is wanted?
    pub(crate) fn has_meta(&self, node: &NodeDoc) -> bool {
        let meta = &node.row.value.meta;
        self.node_meta.iter().all(|(key, value)| meta.get(key) == Some(value))
    }

    /// Is the entry one of those that are wanted, but for the filter?
    pub(crate) fn wants(&self, entry: &EntryDoc) -> bool {
        let tags = &entry.row.value.tags;
        let has = |tag: &String| tags.iter().any(|one| one.to_lowercase() == *tag);
        (!self.passing || entry.worst == CheckStatus::Passing)
            && self.tags.iter().all(has)
            && self.wants_node(&entry.node)
            && self.sees_service(&entry.row.value.service)
    }

    /// Does the filter let this object through?
    pub(crate) fn lets(&self, json: &[u8]) -> bool {
        let Some(filter) = &self.filter else { return true };
        serde_json::from_slice(json).is_ok_and(|object| filter.matches(&object))
    }

    /// May the service of an entry be seen, and does the filter let it through?
    pub(crate) fn lets_service(&self, entry: &EntryDoc) -> bool {
        self.sees_service(&entry.row.value.service) && self.lets(entry.service.as_bytes())
    }

    /// What is near comes first; all else keeps its order.
    pub(crate) fn order<T>(&self, all: &mut [T], node: impl Fn(&T) -> &str) {
        let Some(near) = &self.near else { return };
        let far = |one: &T| self.distances.get(node(one)).copied().unwrap_or(f64::INFINITY);
        all.sort_by(|a, b| {
            let other = (node(a) != near).cmp(&(node(b) != near));
            other.then_with(|| far(a).total_cmp(&far(b)))
        });
    }

    /// A list of objects, each with the node that it is of: those that the filter lets through.
    pub(crate) fn list(&self, mut all: Vec<(&str, Vec<u8>)>) -> Bytes {
        all.retain(|(_, json)| self.lets(json));
        self.order(&mut all, |(node, _)| node);
        list(all.into_iter(), |out, (_, json)| out.extend_from_slice(&json))
    }
}
