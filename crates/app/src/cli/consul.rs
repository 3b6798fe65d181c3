//! The binary called as `consul`: the commands that people have in their fingers, asked of the Consul
//! API of this machine and printed as the original prints them.

mod acl;
mod ask;
mod carry;
mod flags;
mod lock;
mod show;

use crate::exit::{Failure, Outcome};
use crate::output;
use ask::{Agent, escape};
use flags::Flags;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::Path;

const HELP: &str = "Usage: consul [-http-addr=ADDRESS] <command> [args]

Answered here, from the Consul API of this machine:
    acl bootstrap|set-agent-token
    acl token create|list|read|update|clone|delete
    acl policy create|list|read|update|delete
    catalog datacenters|nodes|services    event          info
    kv get|put|delete|export|import       members        operator raft list-peers
    services register|deregister          version        watch
    snapshot save|restore|inspect         lock

The rest is done by `remuda`.";

/// The words behind the program's name, when it is called as `consul`.
#[must_use]
pub(crate) fn called(words: &[OsString]) -> Option<Vec<String>> {
    let name = Path::new(words.first()?).file_name()?;
    let rest = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned());
    (name == "consul").then(|| rest.collect())
}

/// Runs one of its commands.
///
/// # Errors
/// What the original ends with: code 1 and a text on stderr.
pub(crate) async fn run(words: Vec<String>) -> Outcome {
    let flags = Flags::read(&words);
    let mut command = flags.words.iter().map(String::as_str);
    let (first, second, third) = (command.next(), command.next(), command.next());
    let agent = Agent::of(flags.text("http-addr"), flags.text("token"));
    match (first, second, third) {
        (None | Some("help"), ..) => output::line(HELP),
        (Some("version"), ..) => {
            output::line(&format!("Consul v{}", ::consul::agent::DIALECT_VERSION));
            output::line(&format!("Revision remuda {}", env!("CARGO_PKG_VERSION")));
        }
        (Some("members"), ..) => output::line(&show::members(&agent.json("agent/members").await?)),
        (Some("info"), ..) => output::line(&show::info(&agent.json("agent/self").await?)),
        (Some("catalog"), Some("datacenters"), _) => {
            output::line(&show::datacenters(&agent.json("catalog/datacenters").await?));
        }
        (Some("catalog"), Some("nodes"), _) => {
            let path = match flags.text("service") {
                Some(service) => format!("catalog/service/{}", escape(service)),
                None => format!("catalog/nodes{}", flags.query(&["filter", "near", "node-meta"])),
            };
            output::line(&show::nodes(&agent.json(&path).await?));
        }
        (Some("catalog"), Some("services"), _) => {
            let path = match flags.text("node") {
                Some(node) => format!("catalog/node-services/{}", escape(node)),
                None => format!("catalog/services{}", flags.query(&["node-meta"])),
            };
            output::line(&show::services(&agent.json(&path).await?, flags.has("tags")));
        }
        (Some("operator"), Some("raft"), Some("list-peers")) => {
            output::line(&show::peers(&agent.json("operator/raft/configuration").await?));
        }
        (Some("acl"), ..) if acl::run(&agent, &flags).await? => {}
        (Some("event"), ..) => event(&agent, &flags).await?,
        (Some("services"), Some("register"), _) => register(&agent, &flags).await?,
        (Some("services"), Some("deregister"), _) => deregister(&agent, &flags).await?,
        (Some("kv"), Some(verb @ ("get" | "put" | "delete")), _) => {
            kv(&agent, &flags, verb, flags.words.get(2..).unwrap_or_default()).await?;
        }
        (Some("kv"), Some("export"), prefix) => {
            carry::export(&agent, prefix.unwrap_or_default()).await?;
        }
        (Some("kv"), Some("import"), data) => carry::import(&agent, data).await?,
        (Some("snapshot"), Some("save"), Some(file)) => carry::save(&agent, file).await?,
        (Some("snapshot"), Some("restore"), Some(file)) => carry::restore(&agent, file).await?,
        (Some("snapshot"), Some("inspect"), Some(file)) => output::line(&carry::inspect(file)?),
        (Some("lock"), Some(_), _) => return lock::run(&agent, &flags).await,
        (Some("watch"), ..) => return watch(&agent, &flags).await,
        _ => {
            return Err(Failure::Message {
                code: 127,
                message: format!("consul {} is not answered here", flags.words.join(" ")),
                hint: HELP.into(),
            });
        }
    }
    Ok(())
}

/// A token as the original prints it.
#[must_use]
pub(super) fn token(token: &Value) -> String {
    acl::token(token)
}

async fn event(agent: &Agent, flags: &Flags) -> Outcome {
    let Some(name) = flags.text("name") else {
        return Err(Failure::error("Event name must be specified"));
    };
    let path = format!("event/fire/{}{}", escape(name), flags.query(&["node", "service", "tag"]));
    let payload = flags.words.get(1).map_or("", String::as_str);
    let fired = agent.put(&path, payload).await?;
    let fired: Value = serde_json::from_slice(&fired).unwrap_or_default();
    output::line(&format!("Event ID: {}", fired["ID"].as_str().unwrap_or_default()));
    Ok(())
}

async fn register(agent: &Agent, flags: &Flags) -> Outcome {
    let files = flags.words.get(2..).unwrap_or_default();
    let mut services = vec![];
    for file in files {
        let text = std::fs::read(file)
            .map_err(|error| Failure::error(format!("{file} cannot be read: {error}")))?;
        let value: Value = serde_json::from_slice(&text)
            .map_err(|error| Failure::error(format!("{file} is no JSON: {error}")))?;
        let value = value.get("service").or_else(|| value.get("Service")).unwrap_or(&value).clone();
        services.push(value);
    }
    if files.is_empty() {
        let Some(name) = flags.text("name") else {
            return Err(Failure::error("A name or the file of a service is needed: -name=web"));
        };
        let number = |text: &str| text.parse::<u16>().ok();
        let port = flags
            .text("port")
            .map(|text| number(text).ok_or_else(|| Failure::error(format!("{text} is no port"))));
        let meta = flags.all("meta").filter_map(|pair| pair.split_once('='));
        let meta: serde_json::Map<String, Value> =
            meta.map(|(key, value)| (key.to_owned(), value.into())).collect();
        services.push(json!({
            "Name": name, "ID": flags.text("id").unwrap_or(name),
            "Address": flags.text("address").unwrap_or_default(),
            "Port": port.transpose()?.unwrap_or(0),
            "Tags": flags.all("tag").collect::<Vec<_>>(), "Meta": meta,
        }));
    }
    for service in services {
        agent.put("agent/service/register", service.to_string()).await?;
        let key = |key: &str| service.get(key).and_then(Value::as_str);
        let name = key("Name").or_else(|| key("name")).unwrap_or_default();
        output::line(&format!("Registered service: {name}"));
    }
    Ok(())
}

async fn deregister(agent: &Agent, flags: &Flags) -> Outcome {
    let Some(id) = flags.text("id") else {
        return Err(Failure::error("An id is needed: -id=web"));
    };
    agent.put(&format!("agent/service/deregister/{}", escape(id)), "").await?;
    output::line(&format!("Deregistered service: {id}"));
    Ok(())
}

async fn kv(agent: &Agent, flags: &Flags, verb: &str, words: &[String]) -> Outcome {
    let key = words.first().map_or("", String::as_str).trim_start_matches('/');
    let path = format!("kv/{}", escape(key));
    match verb {
        "get" if flags.has("keys") => {
            let keys = agent.json(&format!("{path}?keys&separator=/")).await?;
            show::lines(keys.as_array().into_iter().flatten().filter_map(Value::as_str));
        }
        "get" if flags.has("recurse") => {
            let pairs = agent.json(&format!("{path}?recurse")).await?;
            let pairs = pairs.as_array().cloned().unwrap_or_default();
            let pairs = pairs.iter().map(show::pair).collect::<Vec<_>>();
            show::lines(pairs.iter().map(String::as_str));
        }
        "get" if flags.has("detailed") => {
            let pairs = agent.json(&path).await?;
            match pairs.get(0) {
                Some(pair) => output::line(&show::detailed(pair)),
                None => return Err(Failure::error(format!("Error! No key exists at: {key}"))),
            }
        }
        "get" => match agent.found(&format!("{path}?raw")).await? {
            Some(value) => output::line(&String::from_utf8_lossy(&value)),
            None => return Err(Failure::error(format!("Error! No key exists at: {key}"))),
        },
        "put" => {
            let value = carry::data(words.get(1).map_or("", String::as_str))?;
            let path = format!("{path}{}", flags.query(&["cas", "flags", "acquire", "release"]));
            if agent.put(&path, &value).await?.trim_ascii() == b"false" {
                return Err(Failure::error(format!(
                    "Error! Did not write to {key}: it has changed"
                )));
            }
            output::line(&format!("Success! Data written to: {key}"));
        }
        _ => {
            let recurse = if flags.has("recurse") { "?recurse" } else { "" };
            agent.send("DELETE", &format!("{path}{recurse}"), "").await?;
            let what = if recurse.is_empty() { "key" } else { "keys with prefix" };
            output::line(&format!("Success! Deleted {what}: {key}"));
        }
    }
    Ok(())
}

/// Prints what is watched each time that it changes, or hands it to a program.
async fn watch(agent: &Agent, flags: &Flags) -> Outcome {
    let word = |key: &str| flags.text(key).map(escape).unwrap_or_default();
    let path = match flags.text("type") {
        Some("key") => format!("kv/{}", word("key")),
        Some("keyprefix") => format!("kv/{}?recurse", word("prefix")),
        Some("services") => "catalog/services".into(),
        Some("nodes") => "catalog/nodes".into(),
        Some("service") => {
            let passing = if flags.has("passingonly") { "?passing" } else { "" };
            format!("health/service/{}{passing}", word("service"))
        }
        Some("checks") if flags.has("service") => format!("health/checks/{}", word("service")),
        Some("checks") => format!("health/state/{}", flags.text("state").unwrap_or("any")),
        Some("event") => format!("event/list{}", flags.query(&["name"])),
        Some(other) => return Err(Failure::error(format!("Unsupported watch type: {other}"))),
        None => return Err(Failure::error("Watch type must be specified: -type=service")),
    };
    let program = flags.words.get(1..).unwrap_or_default();
    let (mut index, mut last) = (0, None);
    loop {
        let sign = if path.contains('?') { '&' } else { '?' };
        let answer = agent.read(&format!("{path}{sign}index={index}")).await?;
        // An index that went back is of another store: begin again.
        index = if answer.index < index { 0 } else { answer.index };
        if last.as_ref() == Some(&answer.body) {
            continue;
        }
        show::hand(program, &answer.body)?;
        if program.is_empty() {
            return Ok(());
        }
        last = Some(answer.body);
    }
}
