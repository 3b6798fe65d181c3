//! Answers as the original prints them.

use crate::exit::{Failure, Outcome};
use crate::output;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Columns with two blanks between them.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head = head.iter().map(|word| (*word).to_owned()).collect();
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |at: usize| all.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let lines = all.iter().map(|row| {
        let cells = row.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

pub(super) fn members(members: &Value) -> String {
    let rows = list(members).iter().map(|member| {
        let tags = &member["Tags"];
        let status = match member["Status"].as_u64() {
            Some(1) => "alive",
            Some(2) => "leaving",
            Some(3) => "left",
            Some(4) => "failed",
            _ => "none",
        };
        let kind = if tags["role"] == "consul" { "server" } else { "client" };
        let build = text(tags, "build");
        vec![
            text(member, "Name"),
            format!("{}:{}", text(member, "Addr"), text(member, "Port")),
            status.into(),
            kind.into(),
            build.split(':').next().unwrap_or_default().to_owned(),
            text(member, "ProtocolCur"),
            text(tags, "dc"),
            "default".into(),
            if kind == "server" { "<all>".into() } else { "<default>".into() },
        ]
    });
    let head =
        ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Partition", "Segment"];
    table(&head, rows.collect())
}

pub(super) fn nodes(nodes: &Value) -> String {
    let rows = list(nodes).iter().map(|node| {
        let id: String = text(node, "ID").chars().take(8).collect();
        vec![text(node, "Node"), id, text(node, "Address"), text(node, "Datacenter")]
    });
    let mut rows: Vec<_> = rows.collect();
    rows.dedup();
    if rows.is_empty() {
        return "No nodes match the given query - try expanding your search.".into();
    }
    table(&["Node", "ID", "Address", "DC"], rows)
}

pub(super) fn datacenters(all: &Value) -> String {
    list(all).iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// Names, or names with their tags; of all or of one node.
pub(super) fn services(all: &Value, with_tags: bool) -> String {
    let tags = |tags: &Value| {
        let mut tags: Vec<&str> = list(tags).iter().filter_map(Value::as_str).collect();
        tags.sort_unstable();
        tags.join(",")
    };
    let mut named: Vec<Vec<String>> = match all.get("Services") {
        Some(Value::Array(of_node)) => {
            of_node.iter().map(|one| vec![text(one, "Service"), tags(&one["Tags"])]).collect()
        }
        _ => {
            let all = all.as_object().into_iter().flatten();
            all.map(|(name, of)| vec![name.clone(), tags(of)]).collect()
        }
    };
    named.sort();
    named.dedup_by(|a, b| a[0] == b[0]);
    if !with_tags {
        return named.iter().map(|row| row[0].as_str()).collect::<Vec<_>>().join("\n");
    }
    let width = named.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
    let lines =
        named.iter().map(|row| format!("{:<width$}    {}", row[0], row[1]).trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

pub(super) fn peers(raft: &Value) -> String {
    let rows = list(&raft["Servers"]).iter().map(|server| {
        let state = if server["Leader"] == true { "leader" } else { "follower" };
        vec![
            text(server, "Node"),
            text(server, "ID"),
            text(server, "Address"),
            state.into(),
            text(server, "Voter"),
            text(server, "ProtocolVersion"),
        ]
    });
    table(&["Node", "ID", "Address", "State", "Voter", "RaftProtocol"], rows.collect())
}

pub(super) fn info(me: &Value) -> String {
    let mut out = vec![];
    for (section, pairs) in me["Stats"].as_object().into_iter().flatten() {
        out.push(format!("{section}:"));
        for (key, value) in pairs.as_object().into_iter().flatten() {
            out.push(format!("\t{key} = {}", value.as_str().unwrap_or_default()));
        }
    }
    out.join("\n")
}

/// `key:value` of a pair of the KV; its value is text or is left out.
pub(super) fn pair(pair: &Value) -> String {
    let value = STANDARD.decode(text(pair, "Value")).unwrap_or_default();
    format!("{}:{}", text(pair, "Key"), String::from_utf8_lossy(&value))
}

/// A pair of the KV with all that is known of it.
pub(super) fn detailed(pair: &Value) -> String {
    let value = STANDARD.decode(text(pair, "Value")).unwrap_or_default();
    let session = match text(pair, "Session") {
        none if none.is_empty() => "-".to_owned(),
        session => session,
    };
    let of = |key: &str| text(pair, key);
    let rows = [
        ("CreateIndex", of("CreateIndex")),
        ("Flags", of("Flags")),
        ("Key", of("Key")),
        ("LockIndex", of("LockIndex")),
        ("ModifyIndex", of("ModifyIndex")),
        ("Session", session),
        ("Value", String::from_utf8_lossy(&value).into_owned()),
    ];
    rows.map(|(name, value)| format!("{name:<16} {value}")).join("\n")
}

pub(super) fn lines<'a>(all: impl Iterator<Item = &'a str>) {
    all.for_each(output::line);
}

/// Gives what is watched to a program's standard input, or prints it.
pub(super) fn hand(program: &[String], body: &[u8]) -> Outcome {
    let Some((name, arguments)) = program.split_first() else {
        output::line(String::from_utf8_lossy(body).trim_end());
        return Ok(());
    };
    let failed = |error: std::io::Error| Failure::error(format!("{name} cannot be run: {error}"));
    let mut child =
        Command::new(name).args(arguments).stdin(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        match input.write_all(body) {
            // It need not read all of it.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                return Err(failed(error));
            }
            _ => {}
        }
    }
    let ended = child.wait().map_err(failed)?;
    if !ended.success() {
        output::complain(&format!("{name} ended with {ended}"), "");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_looks_as_the_original() {
        let member = json!([{"Name": "h1", "Addr": "10.0.0.1", "Port": 8301, "Status": 1, "ProtocolCur": 2,
            "Tags": {"role": "consul", "build": "1.16.0:x", "dc": "dc1"}},
            {"Name": "h22", "Addr": "10.0.0.2", "Port": 8301, "Status": 4, "ProtocolCur": 2,
            "Tags": {"role": "node", "build": "1.16.0:x", "dc": "dc1"}}]);
        assert_eq!(
            members(&member),
            "Node  Address        Status  Type    Build   Protocol  DC   Partition  Segment
h1    10.0.0.1:8301  alive   server  1.16.0  2         dc1  default    <all>
h22   10.0.0.2:8301  failed  client  1.16.0  2         dc1  default    <default>"
        );
        let node =
            json!([{"ID": "0123456789", "Node": "h1", "Address": "10.0.0.1", "Datacenter": "dc1"}]);
        assert_eq!(nodes(&node), "Node  ID        Address   DC\nh1    01234567  10.0.0.1  dc1");
        let all = json!({"web": ["v1", "http"], "db": []});
        assert_eq!(services(&all, false), "db\nweb");
        assert_eq!(services(&all, true), "db\nweb    http,v1");
        let own = json!({"Node": {}, "Services": [{"Service": "web", "Tags": ["a"]}, {"Service": "web", "Tags": ["b"]}]});
        assert_eq!(services(&own, false), "web");
        let raft = json!({"Servers": [{"ID": "1", "Node": "h1", "Address": "10.0.0.1:8300", "Leader": true,
            "Voter": true, "ProtocolVersion": "3"}]});
        assert_eq!(
            peers(&raft),
            "Node  ID  Address        State   Voter  RaftProtocol\nh1    1   10.0.0.1:8300  leader  true   3"
        );
        let pair = json!({"Key": "a", "Flags": 0, "LockIndex": 0, "Value": "NQ==", "CreateIndex": 3,
            "ModifyIndex": 33});
        assert_eq!(
            detailed(&pair),
            "CreateIndex      3\nFlags            0\nKey              a\nLockIndex        0\n\
             ModifyIndex      33\nSession          -\nValue            5"
        );
        assert_eq!(
            info(&json!({"Stats": {"consul": {"server": "true"}}})),
            "consul:\n\tserver = true"
        );
    }
}
