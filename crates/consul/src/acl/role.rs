//! `/v1/acl/role…`

use super::http::{body, fingerprint};
use super::keep::Acls;
use super::link;
use super::records::{self, Kept, Role, encode};
use crate::answer::Answer;
use crate::fold;
use crate::request::Request;
use crate::shelf::Rows;
use http::Method;
use model::limits::ACL_ROLES_MAX;
use serde_json::{Value, json};
use store::Store;

fn shown(rows: &Rows, kept: &Kept<Role>) -> Value {
    let Role { id, name, description, .. } = &kept.value;
    let mut value = json!({
        "ID": id, "Name": name, "Description": description,
        "Hash": fingerprint(&encode(&kept.value)),
        "CreateIndex": kept.created, "ModifyIndex": kept.modified,
    });
    link::show(rows, &kept.value.links, &mut value);
    value
}

fn missing(id: &str) -> Answer {
    Answer::not_found(format!("Requested role does not exist: ACL not found: {id}"))
}

fn read(rows: &Rows, body: &Value, id: &str) -> Result<Role, Answer> {
    let (name, description) = (link::name(body, "Role")?, link::description(body)?);
    if records::roles(rows).iter().any(|kept| kept.value.name == name && kept.value.id != id) {
        return Err(Answer::bad(format!(
            "Invalid Role: A Role with Name \"{name}\" already exists"
        )));
    }
    Ok(Role { id: id.to_owned(), name, description, links: link::links(rows, body, false)? })
}

/// Makes one.
pub(super) async fn create<S: Store>(acls: &Acls<S>, request: &Request) -> Result<Answer, Answer> {
    let body = body(request)?;
    if !fold::text(&body, "ID").is_empty() {
        return Err(Answer::bad("Cannot specify the ID when creating a new role"));
    }
    let id = crate::uuid::random();
    let write = acls.shelf().commit(|rows| {
        if records::roles(rows).len() >= ACL_ROLES_MAX {
            return Err(Answer::bad(format!("there are {ACL_ROLES_MAX} roles already")));
        }
        let role = read(rows, &body, &id)?;
        Ok(((), vec![(format!("role/{id}"), Some(encode(&role)))]))
    });
    write.await?;
    found(acls, &id)
}

fn found<S: Store>(acls: &Acls<S>, id: &str) -> Result<Answer, Answer> {
    let rows = acls.shelf().rows();
    let kept = records::role(&rows, id).ok_or_else(|| missing(id))?;
    Ok(Answer::json(&shown(&rows, &kept)).with_index(kept.modified))
}

/// Reads, changes or deletes one.
pub(super) async fn one<S: Store>(acls: &Acls<S>, request: &Request) -> Result<Answer, Answer> {
    let id = request.after("acl/role/");
    let row = format!("role/{id}");
    match request.method {
        Method::PUT => {
            let body = body(request)?;
            let write = acls.shelf().commit(|rows| {
                let known = records::role(rows, id).ok_or_else(|| missing(id))?;
                let role = read(rows, &body, id)?;
                let changed = role != known.value;
                let writes = changed.then(|| (row.clone(), Some(encode(&role))));
                Ok(((), writes.into_iter().collect()))
            });
            write.await?;
            found(acls, id)
        }
        Method::DELETE => {
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
    let name = request.after("acl/role/name/");
    let rows = acls.shelf().rows();
    let all = records::roles(&rows);
    let kept = all.iter().find(|kept| kept.value.name == name).ok_or_else(|| missing(name))?;
    Ok(Answer::json(&shown(&rows, kept)).with_index(kept.modified))
}

/// All of them.
pub(super) fn list<S: Store>(acls: &Acls<S>) -> Answer {
    let rows = acls.shelf().rows();
    let all: Vec<Value> = records::roles(&rows).iter().map(|kept| shown(&rows, kept)).collect();
    Answer::json(&all).with_index(rows.changed)
}
