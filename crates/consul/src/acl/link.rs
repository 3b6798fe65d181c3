//! What bodies of tokens, policies and roles share: names, descriptions, links.

use super::records::{self, Links};
use crate::answer::Answer;
use crate::fold;
use crate::shelf::Rows;
use model::limits::{
    ACL_IDENTITY_BYTES_MAX, ACL_LINKS_MAX, ACL_NAME_BYTES_MAX, ACL_TEXT_BYTES_MAX,
};
use serde_json::{Value, json};

/// A description.
pub(super) fn description(body: &Value) -> Result<String, Answer> {
    let text = fold::text(body, "Description");
    if text.len() > ACL_TEXT_BYTES_MAX {
        return Err(Answer::bad(format!(
            "Description has {} bytes, and may have {ACL_TEXT_BYTES_MAX}",
            text.len()
        )));
    }
    Ok(text.to_owned())
}

/// A name of a policy or a role.
pub(super) fn name(body: &Value, what: &str) -> Result<String, Answer> {
    let name = fold::text(body, "Name");
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > ACL_NAME_BYTES_MAX || !name.chars().all(fits) {
        return Err(Answer::bad(format!(
            "Invalid {what}: invalid Name. Only alphanumeric characters, '-' and '_' are allowed, \
             {ACL_NAME_BYTES_MAX} at most"
        )));
    }
    Ok(name.to_owned())
}

/// Links, each to something that there is.
pub(super) fn links(rows: &Rows, body: &Value, with_roles: bool) -> Result<Links, Answer> {
    let policies = records::policies(rows).into_iter().map(|k| (k.value.id, k.value.name));
    let policies: Vec<_> = policies.collect();
    let roles: Vec<_> = match with_roles {
        true => records::roles(rows).into_iter().map(|k| (k.value.id, k.value.name)).collect(),
        false => vec![],
    };
    Ok(Links {
        policies: named(body, "Policies", &policies)?,
        roles: if with_roles { named(body, "Roles", &roles)? } else { vec![] },
        services: identities(body, "ServiceIdentities", "ServiceName")?,
        nodes: identities(body, "NodeIdentities", "NodeName")?,
    })
}

fn list<'v>(body: &'v Value, key: &str) -> Result<&'v [Value], Answer> {
    let all = match fold::get(body, key) {
        None | Some(Value::Null) => &[],
        Some(Value::Array(all)) => all.as_slice(),
        Some(_) => return Err(Answer::bad(format!("{key} is no list"))),
    };
    match all.len() > ACL_LINKS_MAX {
        true => Err(Answer::bad(format!("{key} has more than {ACL_LINKS_MAX}"))),
        false => Ok(all),
    }
}

/// Ids of what is named by `ID` or `Name`, each once.
fn named(body: &Value, key: &str, known: &[(String, String)]) -> Result<Vec<String>, Answer> {
    let mut ids: Vec<String> = vec![];
    for item in list(body, key)? {
        let (id, name) = (fold::text(item, "ID"), fold::text(item, "Name"));
        let is = |one: &&(String, String)| {
            if id.is_empty() { !name.is_empty() && one.1 == name } else { one.0 == id }
        };
        let found = known.iter().find(is).ok_or_else(|| {
            let asked = if id.is_empty() { name } else { id };
            Answer::bad(format!("{key}: there is no {asked:?}"))
        })?;
        if !ids.contains(&found.0) {
            ids.push(found.0.clone());
        }
    }
    Ok(ids)
}

fn identities(body: &Value, key: &str, field: &str) -> Result<Vec<String>, Answer> {
    let fits = |name: &&str| {
        let ok = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !name.is_empty() && name.len() <= ACL_IDENTITY_BYTES_MAX && name.chars().all(ok)
    };
    let mut names: Vec<String> = vec![];
    for item in list(body, key)? {
        let name = fold::text(item, field);
        let name = Some(name).filter(fits).ok_or_else(|| {
            Answer::bad(format!("{key}: {name:?} is no {field} of letters, digits, '-', '_', '.'"))
        })?;
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Links as clients read them, in the fields of an object. What is gone meanwhile is left out.
pub(super) fn show(rows: &Rows, links: &Links, into: &mut Value) {
    let policies = links.policies.iter().filter_map(|id| records::policy(rows, id));
    let policies = policies.map(|k| json!({ "ID": k.value.id, "Name": k.value.name }));
    into["Policies"] = policies.collect::<Vec<_>>().into();
    let roles = links.roles.iter().filter_map(|id| records::role(rows, id));
    let roles: Vec<_> = roles.map(|k| json!({ "ID": k.value.id, "Name": k.value.name })).collect();
    if !roles.is_empty() {
        into["Roles"] = roles.into();
    }
    if !links.services.is_empty() {
        let all = links.services.iter().map(|name| json!({ "ServiceName": name }));
        into["ServiceIdentities"] = all.collect::<Vec<_>>().into();
    }
    if !links.nodes.is_empty() {
        let datacenter = crate::serve::DATACENTER;
        let all = links.nodes.iter();
        let all = all.map(|name| json!({ "NodeName": name, "Datacenter": datacenter }));
        into["NodeIdentities"] = all.collect::<Vec<_>>().into();
    }
}
