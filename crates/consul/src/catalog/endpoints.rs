//! `/v1/catalog/…` and `/v1/health/…`: reads of the catalog. Each waits for what it reads and for
//! nothing else.

use super::document::{EntryDoc, ServiceDoc, join, list};
use super::select::Wishes;
use super::{Catalog, Shown};
use crate::answer::Answer;
use crate::blocking::{self, Found};
use crate::filter::{CATALOG_SERVICE, CHECK, HEALTH_SERVICE, NODE, SERVICE, Shape};
use crate::request::{ReadOptions, Request};
use crate::route::Route;
use crate::serve::{DATACENTER, Endpoint};
use crate::waiters::{Topic, Waiters};
use bytes::Bytes;
use http::Method;
use http::header::{AGE, HeaderName, HeaderValue};
use model::time::Index;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

const CACHE: HeaderName = HeaderName::from_static("x-cache");

/// Their endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read {
    Datacenters,
    Nodes,
    Services,
    Service,
    Node,
    NodeServices,
    /// What only a mesh would have.
    Mesh,
    HealthNode,
    HealthChecks,
    HealthService,
    HealthState,
}

const fn get(path: &'static str, to: Read) -> Route<Endpoint> {
    Route { path, methods: &[Method::GET], to: Endpoint::Catalog(to) }
}

pub(crate) const ROUTES: &[Route<Endpoint>] = &[
    get("catalog/datacenters", Read::Datacenters),
    get("catalog/nodes", Read::Nodes),
    get("catalog/services", Read::Services),
    get("catalog/service/", Read::Service),
    get("catalog/connect/", Read::Mesh),
    get("catalog/gateway-services/", Read::Mesh),
    get("catalog/node/", Read::Node),
    get("catalog/node-services/", Read::NodeServices),
    get("health/node/", Read::HealthNode),
    get("health/checks/", Read::HealthChecks),
    get("health/service/", Read::HealthService),
    get("health/connect/", Read::Mesh),
    get("health/ingress/", Read::Mesh),
    get("health/state/", Read::HealthState),
];

/// Reads of one catalog.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reads<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) waiters: &'a Waiters,
    /// Longest wait, whatever a request says.
    pub(crate) wait_max: Duration,
    /// Are tokens asked for?
    pub(crate) asks_tokens: bool,
}

/// Answers a read.
pub(crate) async fn answer(reads: Reads<'_>, endpoint: Read, request: &Request) -> Answer {
    let answer = match endpoint {
        Read::Datacenters => Ok(Answer::json(&[DATACENTER])),
        Read::Nodes => reads.nodes(request).await,
        Read::Services => reads.services(request).await,
        Read::Service => reads.service(request).await,
        Read::Node => reads.node(request).await,
        Read::NodeServices => reads.node_services(request).await,
        Read::Mesh => reads.mesh(request).await,
        Read::HealthNode => reads.health_node(request).await,
        Read::HealthChecks => reads.health_checks(request).await,
        Read::HealthService => reads.health_service(request).await,
        Read::HealthState => reads.health_state(request).await,
    };
    answer.unwrap_or_else(|refusal| refusal)
}

/// The last part of the path, `what` it is called.
fn name<'r>(request: &'r Request, what: &str) -> Result<&'r str, Answer> {
    let name = request.path.splitn(3, '/').nth(2).unwrap_or_default();
    let name = name.strip_suffix('/').unwrap_or(name);
    match name {
        "" => Err(Answer::bad(format!("Missing {what}"))),
        name => Ok(name),
    }
}

/// What was read, with how.
struct Seen {
    options: ReadOptions,
    index: u64,
    shown: Arc<Shown>,
}

impl Seen {
    fn answer(&self, body: impl Into<Bytes>) -> Answer {
        let answer = Answer::json_bytes(body).with_index(self.index);
        match self.options.cached {
            // What is in memory is as good as any cache, and newer.
            true => answer.with(CACHE, HeaderValue::from_static("HIT")).with(AGE, 0_u64.into()),
            false => answer,
        }
    }
}

impl Reads<'_> {
    pub(crate) fn wishes(
        &self,
        request: &Request,
        shape: &'static Shape,
    ) -> Result<Wishes, Answer> {
        Wishes::read(request, shape, self.catalog.coordinates())
    }

    /// Waits as the request says.
    async fn see(
        &self,
        request: &Request,
        topics: impl FnOnce() -> Vec<Topic>,
        index: impl Fn(&Shown) -> Index,
    ) -> Result<Seen, Answer> {
        let mut options = request.read_options()?;
        options.wait = options.wait.min(self.wait_max);
        let topics = if options.index == 0 { vec![] } else { topics() };
        let read = || {
            let shown = self.catalog.shown();
            Ok::<_, Infallible>(Found::at(index(&shown).0.max(1), shown))
        };
        let Ok(found) = blocking::query(self.waiters, options, topics, read).await;
        Ok(Seen { options, index: found.index, shown: found.value })
    }

    async fn nodes(&self, request: &Request) -> Result<Answer, Answer> {
        let wishes = self.wishes(request, &NODE)?;
        let seen =
            self.see(request, || vec![Topic::Nodes], |shown| shown.tables.nodes_index()).await?;
        let nodes = seen.shown.nodes.values().filter(|node| wishes.wants_node(node));
        let nodes =
            nodes.map(|node| (node.row.value.name.as_str(), node.json.clone().into_bytes()));
        Ok(seen.answer(wishes.list(nodes.collect())))
    }

    async fn services(&self, request: &Request) -> Result<Answer, Answer> {
        let wishes = self.wishes(request, &CATALOG_SERVICE)?;
        let nodes = wishes.asks_nodes();
        let topics =
            || if nodes { vec![Topic::Services, Topic::Nodes] } else { vec![Topic::Services] };
        let index = |shown: &Shown| match nodes {
            true => shown.tables.entries_index().max(shown.tables.nodes_index()),
            false => shown.tables.entries_index(),
        };
        let seen = self.see(request, topics, index).await?;
        let mut body = vec![b'{'];
        let services = seen
            .shown
            .services
            .iter()
            .filter(|(name, _)| wishes.sees_service(name))
            .filter_map(|(name, service)| tags(service, &wishes).map(|tags| (name, tags)));
        join(&mut body, services, |out, (name, tags)| {
            // Names and tags are texts: they can be written.
            let (name, tags) = (serde_json::to_vec(name), serde_json::to_vec(&tags));
            out.extend(name.unwrap_or_default());
            out.push(b':');
            out.extend(tags.unwrap_or_default());
        });
        body.push(b'}');
        Ok(seen.answer(body))
    }

    async fn see_service(&self, request: &Request, name: &str) -> Result<Seen, Answer> {
        let topics = || vec![Topic::Service(name.into())];
        self.see(request, topics, |shown| shown.tables.service_index(name)).await
    }

    async fn service(&self, request: &Request) -> Result<Answer, Answer> {
        let name = name(request, "service name")?;
        let wishes = self.wishes(request, &CATALOG_SERVICE)?;
        let seen = self.see_service(request, name).await?;
        let Some(service) = seen.shown.services.get(name) else { return Ok(seen.answer("[]")) };
        if wishes.is_all() && !wishes.passing {
            return Ok(seen.answer(service.catalog()));
        }
        Ok(seen.answer(chosen(service, &wishes, EntryDoc::catalog)))
    }

    async fn health_service(&self, request: &Request) -> Result<Answer, Answer> {
        let name = name(request, "service name")?;
        let wishes = self.wishes(request, &HEALTH_SERVICE)?;
        let seen = self.see_service(request, name).await?;
        let Some(service) = seen.shown.services.get(name) else { return Ok(seen.answer("[]")) };
        if wishes.is_all() {
            return Ok(seen.answer(service.health(wishes.passing)));
        }
        Ok(seen.answer(chosen(service, &wishes, EntryDoc::health)))
    }

    async fn health_checks(&self, request: &Request) -> Result<Answer, Answer> {
        let name = name(request, "service name")?;
        let wishes = self.wishes(request, &CHECK)?;
        let seen = self.see_service(request, name).await?;
        let entries = seen.shown.services.get(name).map(|service| service.entries.clone());
        let entries = entries.unwrap_or_default();
        let entries = entries.values();
        let entries =
            entries.filter(|one| wishes.wants_node(&one.node) && wishes.sees_service(name));
        let checks = entries.flat_map(|entry| {
            entry
                .checks
                .iter()
                .map(|json| (entry.row.value.node.as_str(), json.clone().into_bytes()))
        });
        Ok(seen.answer(wishes.list(checks.collect())))
    }

    async fn mesh(&self, request: &Request) -> Result<Answer, Answer> {
        let name = name(request, "service name")?;
        let seen = self.see_service(request, name).await?;
        Ok(seen.answer("[]"))
    }

    async fn see_node(&self, request: &Request, name: &str) -> Result<Seen, Answer> {
        let topics = || vec![Topic::Node(name.into()), Topic::Nodes];
        self.see(request, topics, |shown| shown.tables.place_index(name)).await
    }

    async fn node(&self, request: &Request) -> Result<Answer, Answer> {
        let name = name(request, "node name")?;
        let wishes = self.wishes(request, &SERVICE)?;
        let seen = self.see_node(request, name).await?;
        let node = seen.shown.nodes.get(name).filter(|_| wishes.sees_node(name));
        let Some(node) = node else { return Ok(seen.answer("null")) };
        let mut body = format!("{{\"Node\":{},\"Services\":{{", node.json).into_bytes();
        let entries = seen.shown.entries_on(name).filter(|one| wishes.lets_service(one));
        join(&mut body, entries, |out, entry| {
            out.extend(serde_json::to_vec(&entry.row.value.id).unwrap_or_default());
            out.push(b':');
            out.extend_from_slice(entry.service.as_bytes());
        });
        body.extend_from_slice(b"}}");
        Ok(seen.answer(body))
    }

    async fn node_services(&self, request: &Request) -> Result<Answer, Answer> {
        let name = name(request, "node name")?;
        let wishes = self.wishes(request, &SERVICE)?;
        let seen = self.see_node(request, name).await?;
        let node = seen.shown.nodes.get(name).filter(|_| wishes.sees_node(name));
        let entries = node.into_iter().flat_map(|_| seen.shown.entries_on(name));
        let entries = entries.filter(|one| wishes.lets_service(one));
        let node = node.map_or("null", |node| &node.json);
        let services = list(entries, |out, entry| out.extend_from_slice(entry.service.as_bytes()));
        let mut body = format!("{{\"Node\":{node},\"Services\":").into_bytes();
        body.extend_from_slice(&services);
        body.push(b'}');
        Ok(seen.answer(body))
    }

    async fn health_node(&self, request: &Request) -> Result<Answer, Answer> {
        let name = name(request, "node name")?;
        let wishes = self.wishes(request, &CHECK)?;
        let seen = self.see_node(request, name).await?;
        let node = seen.shown.nodes.get(name).filter(|_| wishes.sees_node(name));
        let own = node.map(|node| node.checks.clone()).unwrap_or_default();
        let entries = node.into_iter().flat_map(|_| seen.shown.entries_on(name));
        let entries = entries.filter(|entry| wishes.sees_service(&entry.row.value.service));
        let entries = entries.flat_map(|entry| entry.checks.iter().cloned());
        let checks = own.into_iter().chain(entries).map(|json| (name, json.into_bytes()));
        Ok(seen.answer(wishes.list(checks.collect())))
    }

    async fn health_state(&self, request: &Request) -> Result<Answer, Answer> {
        let state = name(request, "check state")?;
        let wishes = self.wishes(request, &CHECK)?;
        let nodes = wishes.asks_nodes();
        let topics =
            || if nodes { vec![Topic::AllChecks, Topic::Nodes] } else { vec![Topic::AllChecks] };
        let index = |shown: &Shown| match nodes {
            true => shown.tables.checks_index().max(shown.tables.nodes_index()),
            false => shown.tables.checks_index(),
        };
        let seen = self.see(request, topics, index).await?;
        let mut all = vec![];
        for node in seen.shown.nodes.values().filter(|node| wishes.wants_node(node)) {
            let name = node.row.value.name.as_str();
            let own = node.row.value.checks.iter().zip(&node.checks);
            let entries = seen.shown.entries_on(name);
            let entries = entries.filter(|one| wishes.sees_service(&one.row.value.service));
            let entries = entries.flat_map(|one| one.row.value.checks.iter().zip(&one.checks));
            let wanted = own
                .chain(entries)
                .filter(|(check, _)| state == "any" || check.status.as_str() == state);
            all.extend(wanted.map(|(_, json)| (name, json.clone().into_bytes())));
        }
        Ok(seen.answer(wishes.list(all)))
    }
}

/// A list of the entries of a service that are wished.
fn chosen(service: &ServiceDoc, wishes: &Wishes, write: fn(&EntryDoc, &mut Vec<u8>)) -> Bytes {
    let wanted = service.entries.values().filter(|entry| wishes.wants(entry));
    let all = wanted.map(|entry| {
        let mut json = vec![];
        write(entry, &mut json);
        (entry.row.value.node.as_str(), json)
    });
    wishes.list(all.collect())
}

/// The tags of a service's entries that are wished; `None` when there is no such entry.
fn tags<'a>(service: &'a ServiceDoc, wishes: &Wishes) -> Option<BTreeSet<&'a str>> {
    let all = wishes.is_all();
    let mut wanted = service.entries.values().filter(|entry| {
        all || (wishes.has_meta(&entry.node) && {
            let mut json = vec![];
            entry.catalog(&mut json);
            wishes.lets(&json)
        })
    });
    let mut tags: BTreeSet<&str> = BTreeSet::new();
    let first = wanted.next()?;
    for entry in std::iter::once(first).chain(wanted) {
        tags.extend(entry.row.value.tags.iter().map(String::as_str));
    }
    Some(tags)
}
