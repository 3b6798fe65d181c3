//! Answers of the Consul API as values that templates walk through, and JSON to values and back.
//! Pure.

use crate::query::{Query, Status};
use base64::Engine as _;
use gotmpl::Value;
use model::limits::TEMPLATE_DEPTH_MAX;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A map of named values.
#[must_use]
pub fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(Arc::new(fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect()))
}

/// Text.
#[must_use]
pub fn text(text: impl Into<Arc<str>>) -> Value {
    Value::String(text.into())
}

/// A list.
#[must_use]
pub fn list(items: Vec<Value>) -> Value {
    Value::List(Arc::from(items))
}

/// JSON as a value; a whole number stays whole.
#[must_use]
pub fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::Int(n),
            (None, Some(n)) => Value::Uint(n),
            (None, None) => Value::Float(n.as_f64().unwrap_or(0.0)),
        },
        Json::String(s) => text(s.as_str()),
        Json::Array(items) => list(items.iter().map(from_json).collect()),
        Json::Object(fields) => Value::Map(Arc::new(
            fields.iter().map(|(k, v)| (Arc::from(k.as_str()), from_json(v))).collect(),
        )),
    }
}

/// A value as JSON; `None` when it is nested deeper than `TEMPLATE_DEPTH_MAX`.
#[must_use]
pub fn to_json(value: &Value) -> Option<Json> {
    json_at(value, 0)
}

fn json_at(value: &Value, depth: usize) -> Option<Json> {
    if depth > TEMPLATE_DEPTH_MAX {
        return None;
    }
    Some(match value {
        Value::Nil | Value::Function(_) => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(n) => Json::from(*n),
        Value::Uint(n) => Json::from(*n),
        Value::Float(n) => serde_json::Number::from_f64(*n).map_or(Json::Null, Json::Number),
        Value::String(s) => Json::String(s.to_string()),
        Value::List(items) => {
            let items: Option<_> = items.iter().map(|v| json_at(v, depth + 1)).collect();
            Json::Array(items?)
        }
        Value::Map(fields) => {
            let mut out = Map::new();
            for (key, value) in fields.iter() {
                out.insert(key.to_string(), json_at(value, depth + 1)?);
            }
            Json::Object(out)
        }
    })
}

fn field<'a>(json: &'a Json, name: &str) -> &'a Json {
    json.get(name).unwrap_or(&Json::Null)
}

fn string(json: &Json, name: &str) -> Value {
    text(field(json, name).as_str().unwrap_or_default())
}

fn object(json: &Json, name: &str) -> Value {
    match field(json, name) {
        object @ Json::Object(_) => from_json(object),
        _ => Value::Map(Arc::new(BTreeMap::new())),
    }
}

fn strings(json: &Json) -> Value {
    list(json.as_array().into_iter().flatten().filter_map(Json::as_str).map(text).collect())
}

fn number(json: &Json, name: &str) -> Value {
    let n = field(json, name);
    n.as_i64().map(Value::Int).or(n.as_u64().map(Value::Uint)).unwrap_or(Value::Int(0))
}

fn key_of<'a>(json: &'a Json, name: &str) -> &'a str {
    field(json, name).as_str().unwrap_or_default()
}

/// What an answer to a query is to templates; `None` when the thing does not exist.
///
/// # Errors
/// What is not as the API says it is.
pub fn answer(query: &Query, body: &Json) -> Result<Option<Value>, String> {
    match query {
        Query::Services(_) => Ok(Some(services(body)?)),
        Query::Service { statuses, scope, .. } => {
            Ok(Some(instances(body, statuses, scope.near.is_empty())?))
        }
        Query::Nodes(scope) => {
            let mut nodes: Vec<&Json> = array(body)?.iter().collect();
            if scope.near.is_empty() {
                nodes.sort_by_key(|node| key_of(node, "Node"));
            }
            Ok(Some(list(nodes.into_iter().map(node).collect())))
        }
        Query::Node(Some(_), _) => Ok(with_services(body)),
        Query::Node(None, _) => match key_of(field(body, "Config"), "NodeName") {
            "" => Err("the agent does not say its name".into()),
            name => Ok(Some(text(name))),
        },
        Query::Datacenters => Ok(Some(strings(body))),
        Query::Key(_, _) => match array(body)?.first() {
            Some(pair) => Ok(Some(pair_of(pair, ""))),
            None => Ok(None),
        },
        Query::Keys(prefix, _) => {
            Ok(Some(list(array(body)?.iter().map(|pair| pair_of(pair, prefix)).collect())))
        }
        Query::File(_) => Err("a file is no answer of a server".into()),
    }
}

fn array(body: &Json) -> Result<&[Json], String> {
    match body {
        Json::Array(items) => Ok(items),
        Json::Null => Ok(&[]),
        _ => Err("the answer is no list".into()),
    }
}

fn services(body: &Json) -> Result<Value, String> {
    let Json::Object(all) = body else { return Err("the answer is no object".into()) };
    let mut names: Vec<&String> = all.keys().collect();
    names.sort();
    let each = names.into_iter().map(|name| {
        let tags = all.get(name).map_or(list(vec![]), sorted);
        map([("Name", text(name.as_str())), ("Tags", tags)])
    });
    Ok(list(each.collect()))
}

fn sorted(tags: &Json) -> Value {
    let mut tags: Vec<&str> =
        tags.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    tags.sort_unstable();
    list(tags.into_iter().map(text).collect())
}

fn node(json: &Json) -> Value {
    map([
        ("ID", string(json, "ID")),
        ("Node", string(json, "Node")),
        ("Address", string(json, "Address")),
        ("Datacenter", string(json, "Datacenter")),
        ("TaggedAddresses", object(json, "TaggedAddresses")),
        ("Meta", object(json, "Meta")),
    ])
}

fn with_services(body: &Json) -> Option<Value> {
    let about = body.get("Node").filter(|node| node.is_object())?;
    let mut services: Vec<&Json> = match field(body, "Services") {
        Json::Object(all) => all.values().collect(),
        Json::Array(all) => all.iter().collect(),
        _ => vec![],
    };
    services.sort_by_key(|s| (key_of(s, "Service"), key_of(s, "ID")));
    let services = services.into_iter().map(|service| {
        map([
            ("ID", string(service, "ID")),
            ("Service", string(service, "Service")),
            ("Tags", strings(field(service, "Tags"))),
            ("Meta", object(service, "Meta")),
            ("Port", number(service, "Port")),
            ("Address", string(service, "Address")),
        ])
    });
    Some(map([("Node", node(about)), ("Services", list(services.collect()))]))
}

/// The status of an instance: the worst of its checks, maintenance above all.
fn status(checks: &[Json]) -> Status {
    let mut worst = Status::Passing;
    for check in checks {
        let id = key_of(check, "CheckID");
        let found = if id == "_node_maintenance" || id.starts_with("_service_maintenance:") {
            Status::Maintenance
        } else {
            match key_of(check, "Status") {
                "critical" => Status::Critical,
                "warning" => Status::Warning,
                _ => Status::Passing,
            }
        };
        worst = worst.max(found);
    }
    worst
}

fn instances(body: &Json, statuses: &[Status], sort: bool) -> Result<Value, String> {
    let mut found = vec![];
    for entry in array(body)? {
        let (node, service) = (field(entry, "Node"), field(entry, "Service"));
        let checks = field(entry, "Checks").as_array().map(Vec::as_slice).unwrap_or_default();
        let status = status(checks);
        if !statuses.contains(&Status::Any) && !statuses.contains(&status) {
            continue;
        }
        let order = (key_of(node, "Node"), key_of(service, "ID"));
        found.push((order, instance(node, service, checks, status)));
    }
    if sort {
        found.sort_by_key(|(order, _)| *order);
    }
    Ok(list(found.into_iter().map(|(_, value)| value).collect()))
}

fn instance(node: &Json, service: &Json, checks: &[Json], status: Status) -> Value {
    let own = key_of(service, "Address");
    let address = if own.is_empty() { key_of(node, "Address") } else { own };
    let checks = checks.iter().map(|check| {
        map([
            ("Node", string(check, "Node")),
            ("CheckID", string(check, "CheckID")),
            ("Name", string(check, "Name")),
            ("Status", string(check, "Status")),
            ("Notes", string(check, "Notes")),
            ("Output", string(check, "Output")),
            ("ServiceID", string(check, "ServiceID")),
            ("ServiceName", string(check, "ServiceName")),
            ("ServiceTags", strings(field(check, "ServiceTags"))),
            ("Type", string(check, "Type")),
        ])
    });
    map([
        ("Node", string(node, "Node")),
        ("NodeID", string(node, "ID")),
        ("NodeAddress", string(node, "Address")),
        ("NodeDatacenter", string(node, "Datacenter")),
        ("NodeTaggedAddresses", object(node, "TaggedAddresses")),
        ("NodeMeta", object(node, "Meta")),
        ("ID", string(service, "ID")),
        ("Name", string(service, "Service")),
        ("Kind", string(service, "Kind")),
        ("Address", text(address)),
        ("Port", number(service, "Port")),
        ("Tags", strings(field(service, "Tags"))),
        ("ServiceMeta", object(service, "Meta")),
        ("ServiceTaggedAddresses", object(service, "TaggedAddresses")),
        ("Weights", object(service, "Weights")),
        ("Namespace", string(service, "Namespace")),
        ("Status", text(status.word())),
        ("Checks", list(checks.collect())),
    ])
}

/// A pair; what is no UTF-8 in its value is replaced, as text of a template is UTF-8.
fn pair_of(json: &Json, prefix: &str) -> Value {
    let path = key_of(json, "Key");
    let key = path.strip_prefix(prefix).unwrap_or(path).trim_start_matches('/');
    let value = base64::engine::general_purpose::STANDARD
        .decode(key_of(json, "Value"))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    map([
        ("Path", text(path)),
        ("Key", text(key)),
        ("Value", text(value)),
        ("Exists", Value::Bool(true)),
        ("CreateIndex", number(json, "CreateIndex")),
        ("ModifyIndex", number(json, "ModifyIndex")),
        ("LockIndex", number(json, "LockIndex")),
        ("Flags", number(json, "Flags")),
        ("Session", string(json, "Session")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(node: &str, id: &str, address: &str, checks: Json) -> Json {
        json!({"Node": {"Node": node, "Address": "10.0.0.9", "Meta": {"rack": "r1"}},
               "Service": {"ID": id, "Service": "web", "Address": address, "Port": 80,
                           "Tags": ["http"], "Meta": null}, "Checks": checks})
    }

    fn column(value: &Value, name: &str) -> Vec<String> {
        let Value::List(rows) = value else { panic!("{value:?}") };
        rows.iter().map(|row| row.field(name).unwrap().to_string()).collect()
    }

    #[test]
    fn instances_are_sorted_filtered_and_have_an_address() {
        let body = json!([
            entry("b", "web:2", "10.0.0.2", json!([{"CheckID": "x", "Status": "warning"}])),
            entry("a", "web:1", "", json!([{"CheckID": "serfHealth", "Status": "passing"}])),
            entry("c", "web:3", "", json!([{"CheckID": "x", "Status": "critical"}])),
            entry(
                "d",
                "web:4",
                "",
                json!([{"CheckID": "_node_maintenance", "Status": "critical"}])
            ),
        ]);
        for (filter, ids) in [
            ("web", vec!["web:1"]),
            ("web|passing,warning", vec!["web:1", "web:2"]),
            ("web|critical", vec!["web:3"]),
            ("web|maintenance", vec!["web:4"]),
            ("web|any", vec!["web:1", "web:2", "web:3", "web:4"]),
        ] {
            let query = Query::service(&[filter.to_owned()]).unwrap();
            let found = answer(&query, &body).unwrap().unwrap();
            assert_eq!(column(&found, "ID"), ids, "{filter}");
        }
        let all = answer(&Query::service(&["web|any".into()]).unwrap(), &body).unwrap().unwrap();
        assert_eq!(column(&all, "Address")[..2], ["10.0.0.9", "10.0.0.2"]);
        assert_eq!(column(&all, "Status"), ["passing", "warning", "critical", "maintenance"]);
    }

    #[test]
    fn services_keys_and_nodes_are_read() {
        let services =
            answer(&Query::services("").unwrap(), &json!({"web": ["v1", "http"], "consul": []}));
        let services = services.unwrap().unwrap();
        assert_eq!(column(&services, "Name"), ["consul", "web"]);
        assert_eq!(column(&services, "Tags"), ["[]", "[http v1]"]);
        let keys = answer(
            &Query::keys("app").unwrap(),
            &json!([{"Key": "app/a/b", "Value": "aGk=", "ModifyIndex": 7}, {"Key": "app/n", "Value": null}]),
        );
        let keys = keys.unwrap().unwrap();
        assert_eq!(column(&keys, "Key"), ["a/b", "n"]);
        assert_eq!(column(&keys, "Value"), ["hi", ""]);
        let key = Query::key("app").unwrap();
        assert_eq!(answer(&key, &json!([])), Ok(None));
        answer(&key, &json!({})).unwrap_err();
        let node = Query::node("h1").unwrap();
        assert_eq!(answer(&node, &Json::Null), Ok(None));
        let body =
            json!({"Node": {"Node": "h1"}, "Services": {"x": {"ID": "x", "Service": "web"}}});
        let found = answer(&node, &body).unwrap().unwrap();
        assert_eq!(column(found.field("Services").unwrap(), "Service"), ["web"]);
    }

    #[test]
    fn json_goes_there_and_back() {
        let json =
            json!({"a": [1, 2.5, "x", null, true], "b": {"c": 18_446_744_073_709_551_615_u64}});
        assert_eq!(to_json(&from_json(&json)), Some(json));
    }
}
