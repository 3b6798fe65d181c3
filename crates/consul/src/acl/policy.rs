//! `/v1/acl/policy…`

use super::http::{body, fingerprint};
use super::keep::Acls;
use super::link;
use super::records::{self, Kept, MANAGEMENT, Policy, encode};
use super::rules;
use crate::answer::Answer;
use crate::fold;
use crate::request::Request;
use crate::shelf::Rows;
use http::Method;
use model::limits::ACL_POLICIES_MAX;
use serde_json::{Value, json};
use store::Store;

fn shown(kept: &Kept<Policy>, with_rules: bool) -> Value {
    let Policy { id, name, description, rules } = &kept.value;
    let mut value = json!({
        "ID": id, "Name": name, "Description": description, "Datacenters": null,
        "Hash": fingerprint(format!("{name}\n{description}\n{rules}").as_bytes()),
        "CreateIndex": kept.created, "ModifyIndex": kept.modified,
    });
    if with_rules {
        value["Rules"] = rules.as_str().into();
    }
    value
}

fn missing(id: &str) -> Answer {
    Answer::not_found(format!("Requested policy does not exist: ACL not found: {id}"))
}

/// What a body says; what it leaves out is as it was.
fn read(rows: &Rows, body: &Value, known: Option<&Policy>) -> Result<Policy, Answer> {
    let has = |key: &str| fold::get(body, key).is_some_and(|value| !value.is_null());
    let mut policy = known.cloned().unwrap_or_default();
    if known.is_none() || has("Name") {
        policy.name = link::name(body, "Policy")?;
    }
    if has("Description") {
        policy.description = link::description(body)?;
    }
    if fold::get(body, "Datacenters").and_then(Value::as_array).is_some_and(|all| {
        !all.is_empty() && all.iter().all(|dc| dc.as_str() != Some(crate::serve::DATACENTER))
    }) {
        return Err(Answer::bad("the policy would hold in no datacenter that there is"));
    }
    if has("Rules") {
        let rules = fold::get(body, "Rules").and_then(Value::as_str);
        let rules = rules.ok_or_else(|| Answer::bad("Rules is no text"))?;
        if policy.id == MANAGEMENT && rules != policy.rules {
            return Err(Answer::bad(
                "Changing the Rules for the builtin global-management policy is not permitted",
            ));
        }
        rules::parse(rules).map_err(|why| Answer::bad(format!("Invalid Policy: {why}")))?;
        policy.rules = rules.to_owned();
    }
    let all = records::policies(rows);
    if all.iter().any(|kept| kept.value.name == policy.name && kept.value.id != policy.id) {
        let name = &policy.name;
        return Err(Answer::bad(format!(
            "Invalid Policy: A Policy with Name \"{name}\" already exists"
        )));
    }
    Ok(policy)
}

/// Makes one.
pub(super) async fn create<S: Store>(acls: &Acls<S>, request: &Request) -> Result<Answer, Answer> {
    let body = body(request)?;
    if !fold::text(&body, "ID").is_empty() {
        return Err(Answer::bad("Cannot specify the ID when creating a new policy"));
    }
    let id = crate::uuid::random();
    let write = acls.shelf().commit(|rows| {
        if records::policies(rows).len() >= ACL_POLICIES_MAX {
            return Err(Answer::bad(format!("there are {ACL_POLICIES_MAX} policies already")));
        }
        let policy = Policy { id: id.clone(), ..read(rows, &body, None)? };
        Ok(((), vec![(format!("policy/{id}"), Some(encode(&policy)))]))
    });
    write.await?;
    found(acls, &id)
}

fn found<S: Store>(acls: &Acls<S>, id: &str) -> Result<Answer, Answer> {
    let kept = records::policy(&acls.shelf().rows(), id).ok_or_else(|| missing(id))?;
    Ok(Answer::json(&shown(&kept, true)).with_index(kept.modified))
}

/// Reads, changes or deletes one.
pub(super) async fn one<S: Store>(acls: &Acls<S>, request: &Request) -> Result<Answer, Answer> {
    let id = request.after("acl/policy/");
    match request.method {
        Method::PUT => {
            let body = body(request)?;
            let said = fold::text(&body, "ID");
            if !said.is_empty() && said != id {
                return Err(Answer::bad("Policy ID in URL and payload do not match"));
            }
            let write = acls.shelf().commit(|rows| {
                let known = records::policy(rows, id).ok_or_else(|| missing(id))?;
                let policy = read(rows, &body, Some(&known.value))?;
                let changed = policy != known.value;
                let writes = changed.then(|| (known.row, Some(encode(&policy))));
                Ok(((), writes.into_iter().collect()))
            });
            write.await?;
            found(acls, id)
        }
        Method::DELETE if id == MANAGEMENT => Err(Answer::bad(
            "Delete operation not permitted on the builtin global-management policy",
        )),
        Method::DELETE => {
            let row = format!("policy/{id}");
            let write = acls.shelf().commit(|rows| {
                let there = rows.get(&row).is_some();
                Ok(((), there.then(|| (row.clone(), None)).into_iter().collect()))
            });
            write.await?;
            Ok(Answer::json(&true))
        }
        _ => found(acls, id),
    }
}

/// The one of a name.
pub(super) fn by_name<S: Store>(acls: &Acls<S>, request: &Request) -> Result<Answer, Answer> {
    let name = request.after("acl/policy/name/");
    let all = records::policies(&acls.shelf().rows());
    let kept = all.iter().find(|kept| kept.value.name == name).ok_or_else(|| missing(name))?;
    Ok(Answer::json(&shown(kept, true)).with_index(kept.modified))
}

/// All of them, without their rules.
pub(super) fn list<S: Store>(acls: &Acls<S>) -> Answer {
    let rows = acls.shelf().rows();
    let all: Vec<Value> = records::policies(&rows).iter().map(|kept| shown(kept, false)).collect();
    Answer::json(&all).with_index(rows.changed)
}
