//! `consul acl …`: bootstrap, tokens and policies, printed as the original prints them.

use super::ask::{Agent, escape};
use super::flags::Flags;
use crate::exit::{Failure, Outcome};
use crate::output;
use serde_json::{Value, json};

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// A token in the words of the original.
pub(super) fn token(token: &Value) -> String {
    let mut out = String::new();
    for (title, key) in
        [("AccessorID:", "AccessorID"), ("SecretID:", "SecretID"), ("Description:", "Description")]
    {
        out.push_str(&format!("{title:<18}{}\n", output::harmless(text(token, key))));
    }
    out.push_str(&format!("{:<18}{}\n", "Local:", token["Local"].as_bool().unwrap_or(false)));
    out.push_str(&format!("{:<18}{}\n", "Create Time:", text(token, "CreateTime")));
    if let Some(ends) = token["ExpirationTime"].as_str() {
        out.push_str(&format!("{:<18}{ends}\n", "Expiration Time:"));
    }
    for (title, key) in [("Policies:", "Policies"), ("Roles:", "Roles")] {
        let links = token[key].as_array().cloned().unwrap_or_default();
        if links.is_empty() {
            continue;
        }
        out.push_str(&format!("{title}\n"));
        for link in links {
            out.push_str(&format!("   {} - {}\n", text(&link, "ID"), text(&link, "Name")));
        }
    }
    out.trim_end().to_owned()
}

fn policy(policy: &Value, with_rules: bool) -> String {
    let mut out = String::new();
    for (title, key) in [("ID:", "ID"), ("Name:", "Name"), ("Description:", "Description")] {
        out.push_str(&format!("{title:<14}{}\n", output::harmless(text(policy, key))));
    }
    out.push_str("Datacenters:");
    if with_rules {
        let rules: Vec<String> = text(policy, "Rules")
            .lines()
            .map(|line| output::harmless(&line.replace('\t', "    ")))
            .collect();
        out.push_str(&format!("\nRules:\n{}", rules.join("\n")));
    }
    out
}

fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

fn needed<'f>(flags: &'f Flags, name: &str) -> Outcome<&'f str> {
    flags.text(name).ok_or_else(|| Failure::error(format!("Must specify the -{name} flag")))
}

/// Runs one of its commands; `false` when there is no such one.
pub(super) async fn run(agent: &Agent, flags: &Flags) -> Outcome<bool> {
    let words: Vec<&str> = flags.words.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["bootstrap"] => output::line(&token(&read(&agent.put("acl/bootstrap", "").await?))),
        ["token", verb] => return tokens(agent, flags, verb).await,
        ["policy", verb] => return policies(agent, flags, verb).await,
        ["set-agent-token", kind, secret] => {
            let body = json!({ "Token": secret }).to_string();
            agent.put(&format!("agent/token/{}", escape(kind)), &body).await?;
            output::line(&format!("ACL token \"{kind}\" set successfully"));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn links(flags: &Flags) -> Value {
    let named = |flag: &str, key: &str| -> Vec<Value> {
        flags.all(flag).map(|value| json!({ key: value })).collect()
    };
    let policies = [named("policy-name", "Name"), named("policy-id", "ID")].concat();
    let roles = [named("role-name", "Name"), named("role-id", "ID")].concat();
    json!({
        "Description": flags.text("description").unwrap_or_default(),
        "Policies": policies, "Roles": roles,
        "ServiceIdentities": named("service-identity", "ServiceName"),
    })
}

async fn tokens(agent: &Agent, flags: &Flags, verb: &str) -> Outcome<bool> {
    let id = || flags.text("accessor-id").or_else(|| flags.text("id"));
    let id = || id().ok_or_else(|| Failure::error("Must specify the -accessor-id flag"));
    match verb {
        "create" => {
            let mut body = links(flags);
            for (flag, key) in [
                ("accessor", "AccessorID"),
                ("secret", "SecretID"),
                ("expires-ttl", "ExpirationTTL"),
            ] {
                if let Some(value) = flags.text(flag) {
                    body[key] = value.into();
                }
            }
            output::line(&token(&read(&agent.put("acl/token", &body.to_string()).await?)));
        }
        "list" => {
            let all = agent.json("acl/tokens").await?;
            let all: Vec<String> = all.as_array().into_iter().flatten().map(token).collect();
            output::line(&all.join("\n\n"));
        }
        "read" if flags.has("self") => {
            output::line(&token(&agent.json("acl/token/self").await?));
        }
        "read" => {
            let path = format!("acl/token/{}", escape(id()?));
            output::line(&token(&read(&agent.send("GET", &path, "").await?.body)));
        }
        "update" => {
            let path = format!("acl/token/{}", escape(id()?));
            let said = agent.put(&path, &links(flags).to_string()).await?;
            output::line(&token(&read(&said)));
        }
        "clone" => {
            let path = format!("acl/token/{}/clone", escape(id()?));
            output::line(&token(&read(&agent.put(&path, "").await?)));
        }
        "delete" => {
            let id = id()?;
            agent.send("DELETE", &format!("acl/token/{}", escape(id)), "").await?;
            output::line(&format!("Token \"{id}\" deleted successfully"));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Rules: the text of the flag, `@file`, or `-` for stdin.
fn rules(flags: &Flags) -> Outcome<Option<String>> {
    let failed = |what: &str, error: std::io::Error| {
        Failure::error(format!("{what} cannot be read: {error}"))
    };
    Ok(match flags.text("rules") {
        None => None,
        Some("-") => {
            Some(std::io::read_to_string(std::io::stdin()).map_err(|e| failed("stdin", e))?)
        }
        Some(text) => Some(match text.strip_prefix('@') {
            Some(file) => std::fs::read_to_string(file).map_err(|e| failed(file, e))?,
            None => text.to_owned(),
        }),
    })
}

async fn policies(agent: &Agent, flags: &Flags, verb: &str) -> Outcome<bool> {
    let path = || match (flags.text("id"), flags.text("name")) {
        (Some(id), _) => Ok(format!("acl/policy/{}", escape(id))),
        (None, Some(name)) => Ok(format!("acl/policy/name/{}", escape(name))),
        (None, None) => Err(Failure::error("Must specify either the -id or -name flag")),
    };
    match verb {
        "create" | "update" => {
            let mut body = json!({});
            for (flag, key) in [("name", "Name"), ("description", "Description")] {
                if let Some(value) = flags.text(flag) {
                    body[key] = value.into();
                }
            }
            if let Some(rules) = rules(flags)? {
                body["Rules"] = rules.into();
            }
            let path = match verb {
                "create" => "acl/policy".to_owned(),
                _ => format!("acl/policy/{}", escape(needed(flags, "id")?)),
            };
            output::line(&policy(&read(&agent.put(&path, &body.to_string()).await?), true));
        }
        "list" => {
            let all = agent.json("acl/policies").await?;
            let all = all.as_array().cloned().unwrap_or_default();
            let all: Vec<String> = all
                .iter()
                .map(|one| format!("{}:\n{}", text(one, "Name"), policy(one, false)))
                .collect();
            output::line(&all.join("\n\n"));
        }
        "read" => {
            let found = agent.send("GET", &path()?, "").await?;
            output::line(&policy(&read(&found.body), true));
        }
        "delete" => {
            let found = read(&agent.send("GET", &path()?, "").await?.body);
            let id = text(&found, "ID");
            agent.send("DELETE", &format!("acl/policy/{}", escape(id)), "").await?;
            output::line(&format!("Policy \"{id}\" deleted successfully"));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_printed_as_the_original_prints_it() {
        let shown = token(&json!({
            "AccessorID": "a", "SecretID": "s", "Description": "d", "Local": false,
            "CreateTime": "2026-01-01T00:00:00.000Z", "Policies": [{"ID": "1", "Name": "p"}],
        }));
        assert_eq!(
            shown,
            "AccessorID:       a\nSecretID:         s\nDescription:      d\n\
             Local:            false\nCreate Time:      2026-01-01T00:00:00.000Z\n\
             Policies:\n   1 - p"
        );
    }
}
