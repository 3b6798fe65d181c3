//! What a new spec of a stack changes: the proposal that `up` commits, and its story for people.

use model::change::{Edit, Proposal};
use model::cluster::Cluster;
use model::id::{ServiceId, StackName};
use model::instance::{Goal, Target};
use model::record::{
    Orders, Record, RecordKey, Revision, Rollout, Service, ServiceSettings, Stack,
};
use model::scaling::Mode;
use model::service::{ServiceSpec, Template};
use model::stack::StackSpec;
use model::time::Timestamp;
use serde_json::{Map, Value};
use std::sync::Arc;

/// What a new spec changes.
#[derive(Clone, Debug, PartialEq)]
pub struct StackDiff {
    /// Service by service, those of the stack that are not in the spec too.
    pub services: Vec<ServiceDiff>,
    /// What to commit; empty when nothing changes.
    pub proposal: Proposal,
    /// What a service cannot become: the whole spec is refused for it.
    pub refused: Vec<String>,
}

/// What changes of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceDiff {
    /// Which.
    pub id: ServiceId,
    /// What happens to it.
    pub change: ServiceChange,
    /// `path: old -> new`, secrets masked.
    pub details: Vec<String>,
}

/// What happens to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceChange {
    /// It is new.
    Create,
    /// Its template or settings change.
    Update,
    /// Only its scale changes.
    Scale,
    /// A rollout that had failed is tried again.
    Retry,
    /// It stays.
    Unchanged,
    /// It goes.
    Remove,
}

/// Most differences told of one service.
const DETAILS_MAX: usize = 50;

/// Compares a spec with what the cluster has of the stack.
#[must_use]
pub fn diff(
    cluster: &Cluster,
    stack: &StackName,
    spec: &StackSpec,
    remove_orphans: bool,
    now: Timestamp,
) -> StackDiff {
    let mut out = StackDiff { services: vec![], proposal: Proposal::default(), refused: vec![] };
    stack_record(cluster, stack, spec, now, &mut out.proposal);
    for (name, wanted) in &spec.services {
        let id = ServiceId { stack: stack.clone(), service: name.clone() };
        let one = match cluster.service(&id) {
            Some(known) => {
                out.refused.extend(cannot_become(cluster, known, wanted));
                update(cluster, known, wanted, now, &mut out.proposal)
            }
            None => create(id, wanted, now, &mut out.proposal),
        };
        out.services.push(one);
    }
    for known in cluster.services_of(stack) {
        if spec.services.contains_key(&known.id.service) || known.goal == Goal::Remove {
            continue;
        }
        let change = if remove_orphans {
            let one = crate::operate::remove_service(cluster, &known.id);
            out.proposal.reads.extend(one.reads);
            out.proposal.change.edits.extend(one.change.edits);
            ServiceChange::Remove
        } else {
            ServiceChange::Unchanged
        };
        out.services.push(ServiceDiff { id: known.id.clone(), change, details: vec![] });
    }
    out
}

/// Copies, one a host, and runs are numbered in different ways: one cannot become the other, nor
/// can instances become a name for something else.
fn cannot_become(cluster: &Cluster, known: &Service, wanted: &ServiceSpec) -> Option<String> {
    let word = |mode: &Mode| match mode {
        Mode::Replicated => "replicated",
        Mode::Global => "global",
        Mode::Job(_) => "a job",
    };
    let (old, new) = (word(&known.settings.mode), word(&wanted.mode));
    if old != new {
        return Some(format!(
            "service {} is {old} and cannot become {new}: remove it first",
            known.id
        ));
    }
    let has =
        cluster.revision(&known.id, known.target.revision).map(|r| r.template.has_instances());
    (has.is_some_and(|has| has != wanted.template.has_instances())).then(|| {
        format!(
            "service {} cannot become or cease to be a name for something else: remove it first",
            known.id
        )
    })
}

fn stack_record(
    cluster: &Cluster,
    name: &StackName,
    spec: &StackSpec,
    now: Timestamp,
    proposal: &mut Proposal,
) {
    let known = cluster.stack(name);
    let mut stack = known.map_or_else(
        || Stack { name: name.clone(), volumes: spec.volumes.clone(), created_at: now },
        |known| (**known).clone(),
    );
    // Volumes of services that stay though the file does not name them any more are kept.
    stack.volumes.extend(spec.volumes.clone());
    if known.is_none_or(|known| **known != stack) {
        let key = RecordKey::Stack(name.clone());
        proposal.reads.push((key.clone(), cluster.modified(&key)));
        proposal.change.edits.push(Edit::Put(Record::Stack(Arc::new(stack))));
    }
}

fn create(
    id: ServiceId,
    wanted: &ServiceSpec,
    now: Timestamp,
    proposal: &mut Proposal,
) -> ServiceDiff {
    let service = Service {
        id: id.clone(),
        settings: ServiceSettings::of(wanted),
        scale: wanted.scale.unwrap_or(1),
        target: Target { revision: 1, restart: 0 },
        attempt: 0,
        orders: Orders::default(),
        goal: if wanted.create_stopped { Goal::Stop } else { Goal::Run },
        created_at: now,
    };
    let revision = Revision {
        service: id.clone(),
        number: 1,
        template: wanted.template.clone(),
        created_at: now,
    };
    proposal.reads.push((RecordKey::Service(id.clone()), None));
    proposal.change.edits.push(Edit::Put(Record::Revision(Arc::new(revision))));
    proposal.change.edits.push(Edit::Put(Record::Service(Arc::new(service))));
    ServiceDiff { id, change: ServiceChange::Create, details: vec![] }
}

fn update(
    cluster: &Cluster,
    known: &Service,
    wanted: &ServiceSpec,
    now: Timestamp,
    proposal: &mut Proposal,
) -> ServiceDiff {
    let id = known.id.clone();
    let mut service = known.clone();
    let mut details = vec![];
    service.settings = ServiceSettings::of(wanted);
    service.scale = wanted.scale.unwrap_or(known.scale);
    // What was made to be started later is not started by saying the same again.
    service.goal = if wanted.create_stopped { known.goal } else { Goal::Run };
    let old = cluster.revision(&id, known.target.revision).map(|r| &r.template);
    let template_differs = old != Some(&wanted.template);
    if template_differs {
        let newest = cluster.revisions_of(&id).map(|r| r.number).max().unwrap_or(0);
        service.target = Target { revision: newest + 1, restart: known.target.restart };
        // What was said was said of the rollout before.
        service.orders.paused = false;
        service.orders.promoted = None;
        service.orders.finished = None;
        details = template_diff(old, &wanted.template);
        let revision = Revision {
            service: id.clone(),
            number: newest + 1,
            template: wanted.template.clone(),
            created_at: now,
        };
        let key = RecordKey::Revision(id.clone(), newest + 1);
        proposal.reads.push((key, None));
        proposal.change.edits.push(Edit::Put(Record::Revision(Arc::new(revision))));
    }
    let rollout = cluster.service_status(&id).map(|s| &s.rollout);
    let failed = matches!(rollout, Some(Rollout::Failed { target, attempt, .. })
        if *target == service.target && *attempt == service.attempt);
    if failed {
        service.attempt += 1;
    }
    if service.scale != known.scale {
        details.push(format!("scale: {} -> {}", known.scale, service.scale));
    }
    if service.goal != known.goal {
        details.push("it is stopped: it starts again".into());
    }
    let settings_differ = service.settings != known.settings || service.goal != known.goal;
    if service.settings != known.settings {
        details.push("settings of the rollout, dependencies or metadata".into());
    }
    let change = match (template_differs || settings_differ, service.scale != known.scale, failed) {
        (true, ..) => ServiceChange::Update,
        (false, true, _) => ServiceChange::Scale,
        (false, false, true) => ServiceChange::Retry,
        (false, false, false) => ServiceChange::Unchanged,
    };
    if service != *known {
        let key = RecordKey::Service(id.clone());
        proposal.reads.push((key.clone(), cluster.modified(&key)));
        proposal.change.edits.push(Edit::Put(Record::Service(Arc::new(service))));
    }
    details.truncate(DETAILS_MAX);
    ServiceDiff { id, change, details }
}

/// What differs between two templates: `path: old -> new`, secrets hidden.
#[must_use]
pub fn template_diff(old: Option<&Template>, new: &Template) -> Vec<String> {
    let json = |template: Option<&Template>| {
        template.and_then(|t| serde_json::to_value(t).ok()).unwrap_or(Value::Null)
    };
    let mut details = vec![];
    compare("", &json(old), &json(Some(new)), &mut details);
    details.truncate(DETAILS_MAX);
    details
}

/// Is the value at this path better not shown?
fn is_secret(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or(path).to_ascii_lowercase();
    let telling = ["password", "passwd", "secret", "token", "key", "content_base64", "credential"];
    telling.iter().any(|word| last.contains(word))
}

fn shown(path: &str, value: &Value) -> String {
    match value {
        Value::Null => "(none)".into(),
        _ if is_secret(path) => "(hidden)".into(),
        // A constraint has a key, and that is no secret.
        other if path.starts_with("placement.") => other.to_string().chars().take(200).collect(),
        Value::String(text) => without_password(text).chars().take(120).collect(),
        other => hidden(other).to_string().chars().take(200).collect(),
    }
}

/// A URL without the password in it: `postgres://shop:(hidden)@db/shop`.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host)))
    {
        Some((user, host)) => format!("{scheme}://{user}:(hidden)@{host}{path}"),
        None => text.to_owned(),
    }
}

/// The value without what is better not shown, at any depth.
fn hidden(value: &Value) -> Value {
    match value {
        Value::String(text) => without_password(text).into(),
        Value::Array(items) => items.iter().map(hidden).collect(),
        Value::Object(map) => {
            // What a constraint looks at has a key that is no secret.
            let is_subject = map.contains_key("type") && map.contains_key("key");
            let pair = |(key, value): (&String, &Value)| match is_secret(key)
                && !(is_subject && key == "key")
            {
                true => (key.clone(), "(hidden)".into()),
                false => (key.clone(), hidden(value)),
            };
            Value::Object(map.iter().map(pair).collect())
        }
        other => other.clone(),
    }
}

/// Differences of two lists of objects: what has a name is compared by it, of the rest it is told
/// what goes and what comes.
fn compare_lists(path: &str, old: &[Value], new: &[Value], out: &mut Vec<String>) {
    let name = |value: &Value| {
        let known = value.get("target").or_else(|| value.get("name"));
        known.and_then(Value::as_str).map(str::to_owned)
    };
    let before = out.len();
    let (gone, come) = (
        old.iter().filter(|item| !new.contains(item)),
        new.iter().filter(|item| !old.contains(item)),
    );
    let twin = |item: &Value, list: &[Value]| {
        let wanted = name(item)?;
        list.iter().find(|other| name(other).as_ref() == Some(&wanted)).cloned()
    };
    for item in gone {
        match twin(item, new) {
            Some(other) => {
                let at = format!("{path}.{}", name(item).unwrap_or_default());
                compare(&at, item, &other, out);
            }
            None => out.push(format!("{}: - {}", short(path), shown(path, item))),
        }
    }
    for item in come.filter(|item| twin(item, old).is_none()) {
        out.push(format!("{}: + {}", short(path), shown(path, item)));
    }
    if out.len() == before {
        out.push(format!("{}: another order", short(path)));
    }
}

/// Is it a map of names to texts, such as an environment or labels?
fn is_pairs(map: &Map<String, Value>) -> bool {
    map.values().all(Value::is_string)
}

fn short(path: &str) -> &str {
    path.trim_start_matches("kind.").trim_start_matches("container.")
}

/// Differences, path by path.
fn compare(path: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    if old == new || out.len() >= DETAILS_MAX {
        return;
    }
    let (empty_map, empty_list) = (Value::Object(Map::new()), Value::Array(vec![]));
    // What is empty is not written.
    let (old, new) = match (old, new) {
        (Value::Null, Value::Object(map)) if is_pairs(map) => (&empty_map, new),
        (Value::Object(map), Value::Null) if is_pairs(map) => (old, &empty_map),
        (Value::Null, Value::Array(_)) => (&empty_list, new),
        (Value::Array(_), Value::Null) => (old, &empty_list),
        both => both,
    };
    match (old, new) {
        (Value::Array(a), Value::Array(b)) if a.iter().chain(b).all(Value::is_object) => {
            compare_lists(path, a, b, out);
        }
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let none = Value::Null;
                let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&at, a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none), out);
            }
        }
        _ => {
            out.push(format!("{}: {} -> {}", short(path), shown(path, old), shown(path, new)));
        }
    }
}
