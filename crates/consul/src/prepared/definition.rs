//! What a prepared query says: read from a client, kept, and written with keys in their order.

use crate::duration;
use crate::fold;
use model::prepared::QueryNames;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) session: String,
    pub(super) template: Template,
    pub(super) token: String,
    pub(super) service: Wanted,
    #[serde(rename = "DNS")]
    pub(super) dns: Dns,
}

/// It stands for every name that begins as its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Template {
    pub(super) r#type: String,
    pub(super) regexp: String,
    pub(super) remove_empty_tags: bool,
}

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Wanted {
    pub(super) service: String,
    pub(super) failover: Failover,
    pub(super) only_passing: bool,
    #[serde(rename = "IgnoreCheckIDs")]
    pub(super) ignore_check_ids: Vec<String>,
    pub(super) near: String,
    pub(super) tags: Vec<String>,
    pub(super) node_meta: BTreeMap<String, String>,
    pub(super) service_meta: BTreeMap<String, String>,
    pub(super) connect: bool,
}

/// Other datacenters: there are none, so that this is kept and nothing more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Failover {
    pub(super) nearest_n: u32,
    pub(super) datacenters: Vec<String>,
}

/// How its answers live in DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Dns {
    #[serde(rename = "TTL")]
    pub(super) ttl: String,
}

/// As clients see it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Told<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    session: &'a str,
    template: &'a Template,
    token: &'a str,
    service: &'a Wanted,
    #[serde(rename = "DNS")]
    dns: &'a Dns,
    create_index: u64,
    modify_index: u64,
}

impl Definition {
    /// Reads what a client sent; the case of its keys does not matter.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| format!("Request decode failed: {error}"))?;
        if !value.is_object() {
            return Err("Request decode failed: a query is a JSON object".into());
        }
        let none = Value::Null;
        let at = |value: &Value, key: &str| fold::get(value, key).cloned().unwrap_or(Value::Null);
        let service = fold::get(&value, "Service").unwrap_or(&none);
        let (template, failover) = (at(&value, "Template"), at(service, "Failover"));
        let definition = Self {
            name: fold::text(&value, "Name").to_owned(),
            session: fold::text(&value, "Session").to_owned(),
            template: Template {
                r#type: fold::text(&template, "Type").to_owned(),
                regexp: fold::text(&template, "Regexp").to_owned(),
                remove_empty_tags: flag(&template, "RemoveEmptyTags")?,
            },
            // Nothing is asked with it; that there was one is all that is kept.
            token: match fold::text(&value, "Token") {
                "" => String::new(),
                _ => crate::acl::token::HIDDEN.to_owned(),
            },
            service: Wanted {
                service: fold::text(service, "Service").to_owned(),
                failover: Failover {
                    nearest_n: u32::try_from(fold::number(&failover, "NearestN")?)
                        .map_err(|_many| "NearestN is too large")?,
                    datacenters: list(&failover, "Datacenters")?,
                },
                only_passing: flag(service, "OnlyPassing")?,
                ignore_check_ids: list(service, "IgnoreCheckIDs")?,
                near: fold::text(service, "Near").to_owned(),
                tags: list(service, "Tags")?,
                node_meta: pairs(service, "NodeMeta")?,
                service_meta: pairs(service, "ServiceMeta")?,
                connect: flag(service, "Connect")?,
            },
            dns: Dns { ttl: fold::text(&at(&value, "DNS"), "TTL").to_owned() },
        };
        definition.check()?;
        Ok(definition)
    }

    /// Does it stand for all names that begin with its own?
    pub(super) fn is_template(&self) -> bool {
        !self.template.r#type.is_empty()
    }

    fn check(&self) -> Result<(), String> {
        if self.service.service.is_empty() {
            return Err("Must provide a Service name for service queries".into());
        }
        if !self.dns.ttl.is_empty() && duration::parse(&self.dns.ttl).is_none() {
            return Err(format!("Bad DNS TTL '{}'", self.dns.ttl));
        }
        if self.name.chars().chain(self.service.service.chars()).any(char::is_control) {
            return Err("Name and Service may not have letters that cannot be printed".into());
        }
        match self.template.r#type.as_str() {
            "" if self.template.regexp.is_empty() => Ok(()),
            "" => Err("Template has a Regexp and no Type: set it to name_prefix_match".into()),
            "name_prefix_match" => super::template::check(&self.template.regexp),
            other => Err(format!("Bad Template.Type '{other}'")),
        }
    }

    /// Is it the query of that name, and no template?
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.template.r#type.is_empty() && !name.is_empty() && self.name == name
    }

    /// Is it a template that stands for that name?
    pub(super) fn is_template_of(&self, name: &str) -> bool {
        !self.template.r#type.is_empty() && name.starts_with(&self.name)
    }

    /// What hosts need of it to answer its name. They know neither the meta of services nor which
    /// check says what: a query that asks for one of these is answered over HTTP alone.
    pub(super) fn names(&self) -> Option<QueryNames> {
        let wanted = &self.service;
        let known =
            wanted.service_meta.is_empty() && wanted.ignore_check_ids.is_empty() && !wanted.connect;
        let ttl = duration::parse(&self.dns.ttl).map(|ttl| ttl.as_secs());
        known.then(|| QueryNames {
            name: self.name.clone(),
            template: !self.template.r#type.is_empty(),
            regexp: self.template.regexp.clone(),
            remove_empty_tags: self.template.remove_empty_tags,
            service: wanted.service.clone(),
            only_passing: wanted.only_passing,
            near: wanted.near.clone(),
            tags: wanted.tags.clone(),
            node_meta: wanted.node_meta.clone(),
            ttl_s: ttl.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
        })
    }

    /// As clients see it.
    pub(super) fn json(&self, id: &str, created: u64, modified: u64) -> Vec<u8> {
        // The token is not told to whoever asks.
        let token = if self.token.is_empty() { "" } else { "<hidden>" };
        let told = Told {
            id,
            name: &self.name,
            session: &self.session,
            template: &self.template,
            token,
            service: &self.service,
            dns: &self.dns,
            create_index: created,
            modify_index: modified,
        };
        serde_json::to_vec(&told).expect("texts and numbers can always be written")
    }
}

fn flag(value: &Value, key: &str) -> Result<bool, String> {
    match fold::get(value, key) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| format!("{key} must be true or false")),
    }
}

fn list(value: &Value, key: &str) -> Result<Vec<String>, String> {
    let Some(list) = fold::get(value, key).filter(|list| !list.is_null()) else {
        return Ok(vec![]);
    };
    serde_json::from_value(list.clone()).map_err(|_other| format!("{key} must be a list of texts"))
}

fn pairs(value: &Value, key: &str) -> Result<BTreeMap<String, String>, String> {
    let map = fold::get(value, key).filter(|map| !map.is_null());
    let Some(map) = map else { return Ok(BTreeMap::new()) };
    serde_json::from_value(map.clone()).map_err(|_other| format!("{key} must be texts by name"))
}
