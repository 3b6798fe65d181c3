//! `ports` in their short forms: `80`, `8080:80/udp`, `127.0.0.1:3000-3005:3000-3005`, `[::1]:1:1`.

use super::{Canon, entry};
use crate::diagnostic::quoted;
use crate::source::Place;
use crate::yaml::{Key, Map, Node, Value};
use model::limits::PORTS_MAX;
use std::net::IpAddr;

const EXPECTED: &str = "[ip:][host port:]port[/tcp|/udp], such as \"8080:80\"";

/// The long forms of one entry: a range is one entry for each port.
pub(super) fn port(node: &Node, canon: &mut Canon<'_>) -> Vec<Node> {
    let subject = canon.subject.clone();
    let text = match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => text,
        Value::Map(map) => return vec![long(node, map, canon)],
        _ => {
            let message = format!("{subject}: ports has {} in it", node.kind());
            canon.report.error(node.place, message).expected(EXPECTED);
            return vec![];
        }
    };
    match short(text) {
        Ok(parts) => parts.into_iter().map(|part| part.node(node.place)).collect(),
        Err((why, expected)) => {
            let message = format!("{subject}: ports: {}: {why}", quoted(text));
            canon.report.error(node.place, message).expected(expected);
            vec![]
        }
    }
}

/// In the long form `published` may be quoted, and a range of one port.
fn long(node: &Node, map: &Map, canon: &mut Canon<'_>) -> Node {
    let Some(published) = map.get("published").and_then(Node::as_text) else { return node.clone() };
    if published.contains('-') && !published.starts_with('-') {
        let subject = &canon.subject;
        let message = format!("{subject}: ports: published is the range {}", quoted(published));
        canon.report.error(node.place, message).expected("one port number").hint(
            "a port chosen from a range is not carried out: name one, or leave published out",
        );
        let mut out = map.clone();
        out.remove("published");
        return Node::map(node.place, out);
    }
    node.clone()
}

struct Part {
    ip: Option<String>,
    published: Option<u16>,
    target: u16,
    protocol: String,
}

impl Part {
    fn node(self, place: Place) -> Node {
        let mut map = Map::default();
        let number = |n: u16| Node::plain(place, n.to_string());
        map.set(Key::new(place, "target"), number(self.target));
        if let Some(published) = self.published {
            map.set(Key::new(place, "published"), number(published));
        }
        if let Some(ip) = self.ip {
            let (key, node) = entry(place, "host_ip", &ip);
            map.set(key, node);
        }
        let (key, node) = entry(place, "protocol", &self.protocol);
        map.set(key, node);
        Node::map(place, map)
    }
}

type Refusal = (String, &'static str);

fn short(text: &str) -> Result<Vec<Part>, Refusal> {
    let (rest, protocol) = match text.rsplit_once('/') {
        Some((rest, protocol)) => (rest, protocol.to_ascii_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    if protocol != "tcp" && protocol != "udp" {
        return Err((format!("protocol {} is not known", quoted(&protocol)), "tcp or udp"));
    }
    let (rest, target) = match rest.rsplit_once(':') {
        Some((rest, target)) => (Some(rest), target),
        None => (None, rest),
    };
    let target = range(target)?;
    let (ip, published) = match rest {
        None => (None, None),
        Some(rest) => match rest.rsplit_once(':') {
            None => (None, Some(rest)),
            Some((ip, published)) => (Some(ip), Some(published)),
        },
    };
    let ip = ip.filter(|ip| !ip.is_empty()).map(address).transpose()?;
    let count = usize::from(target.1 - target.0) + 1;
    let first = match published {
        None => None,
        Some("") if ip.is_some() => None,
        Some(published) => {
            let (from, to) = range(published)?;
            if usize::from(to - from) + 1 != count {
                let why = format!("{published} and the container's ports differ in their number");
                return Err((why, "ranges of the same length"));
            }
            Some(from)
        }
    };
    if count > PORTS_MAX {
        return Err((format!("{count} ports"), "at most 1000 ports in one service"));
    }
    let part = |i: u16| Part {
        ip: ip.clone(),
        published: first.map(|from| from + i),
        target: target.0 + i,
        protocol: protocol.clone(),
    };
    Ok((0..=target.1 - target.0).map(part).collect())
}

fn address(text: &str) -> Result<String, Refusal> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok(ip.to_string()),
        Err(_) => Err((format!("{} is not an address", quoted(text)), EXPECTED)),
    }
}

fn range(text: &str) -> Result<(u16, u16), Refusal> {
    let (from, to) = match text.split_once('-') {
        Some((from, to)) => (number(from)?, number(to)?),
        None => {
            let port = number(text)?;
            (port, port)
        }
    };
    if to < from {
        return Err((format!("{text} ends before it starts"), "a range such as 3000-3005"));
    }
    Ok((from, to))
}

fn number(text: &str) -> Result<u16, Refusal> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err((format!("{} is not a port", quoted(text)), EXPECTED));
    }
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err((format!("{text} is not a port number"), "a port number from 1 to 65535")),
    }
}
