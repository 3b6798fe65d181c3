//! Every path of every tree: what the listing names is there, and the three forms say the same.

use super::shop::{OUTSIDER, WEB, shop};
use super::{get, yaml};
use crate::metadata::World;
use crate::metadata::path::{escape, unescape};
use crate::metadata::render::Format;
use model::metadata::{MetaDelta, MetaView};
use proptest::prelude::*;
use serde_json::Value;
use std::net::IpAddr;

fn escaped(text: &str) -> String {
    let mut out = vec![];
    escape(text, &mut out);
    String::from_utf8(out).unwrap()
}

/// The lines that a value is listed as, or its text.
fn text_of(value: &Value) -> String {
    let deep = |value: &Value| value.is_array() || value.is_object();
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Object(all) => {
            let mark = |value| if deep(value) { "/" } else { "" };
            all.iter().map(|(key, value)| format!("{}{}\n", escaped(key), mark(value))).collect()
        }
        Value::Array(all) => {
            let line = |(at, value): (usize, &Value)| {
                let name = value.get("name").or_else(|| value.get("uuid")).and_then(Value::as_str);
                match name.filter(|_| value.is_object()) {
                    Some(name) => format!("{at}={}\n", escaped(name)),
                    None if deep(value) => format!("{at}/\n"),
                    None => format!("{at}\n"),
                }
            };
            all.iter().enumerate().map(line).collect()
        }
    }
}

/// Goes down from a path; counts what it has seen.
fn walk(world: &World, source: IpAddr, path: &str, value: &Value, seen: &mut usize) {
    *seen += 1;
    let said = |format| get(world, source, path, format).unwrap_or_else(|| panic!("no {path}"));
    let json: Value = serde_json::from_str(&said(Format::Json)).unwrap();
    assert_eq!(json, *value, "{path}");
    assert_eq!(yaml::value(&said(Format::Yaml)), *value, "{path}");
    assert_eq!(said(Format::Text), text_of(value), "{path}");
    let children: Vec<(String, &Value)> = match value {
        Value::Object(all) => all.iter().map(|(key, value)| (escaped(key), value)).collect(),
        Value::Array(all) => {
            all.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect()
        }
        _ => vec![],
    };
    for (segment, child) in children {
        assert!(!segment.contains('/') && !unescape(&segment).is_empty(), "{segment}");
        walk(world, source, &format!("{path}/{segment}"), child, seen);
    }
}

#[test]
fn every_path_is_there_and_the_three_forms_say_the_same() {
    let world = shop();
    for version in ["2015-07-25", "2015-12-19", "2016-07-29", "latest"] {
        for source in [WEB, OUTSIDER] {
            let path = format!("/{version}");
            let root = get(&world, source, &path, Format::Json).unwrap();
            let root: Value = serde_json::from_str(&root).unwrap();
            let mut seen = 0;
            walk(&world, source, &path, &root, &mut seen);
            assert!(seen > 500, "{version}: {seen}");
        }
    }
}

proptest! {
    /// Whatever is asked, there is an answer or none, and it never panics.
    #[test]
    fn no_path_is_too_odd(path in "(/(latest|2015-07-25|self|containers|services|stacks|[a-z0-9%+. ]{0,8}|ü)){0,8}") {
        let world = shop();
        for format in [Format::Text, Format::Json, Format::Yaml] {
            _ = get(&world, WEB, &path, format);
        }
    }

    /// A world that followed changes answers as one that was made of what they lead to.
    #[test]
    fn a_world_that_followed_changes_is_the_one_that_they_lead_to(
        kept in proptest::collection::vec(any::<bool>(), 12),
    ) {
        let whole = shop().meta;
        let mut part = MetaView { environment: whole.environment.clone(), ..MetaView::default() };
        let mut kept = kept.into_iter().cycle();
        for (id, service) in &whole.services {
            if kept.next() == Some(true) {
                part.services.insert_mut(id.clone(), service.clone());
            }
        }
        for (id, host) in &whole.hosts {
            if kept.next() == Some(true) {
                part.hosts.insert_mut(id.clone(), host.clone());
            }
        }
        for (key, plain) in &whole.plain {
            if kept.next() == Some(true) {
                part.plain.insert_mut(key.clone(), plain.clone());
            }
        }
        let mut world = shop();
        world.change(&MetaDelta::between(&whole, &part).unwrap());
        let fresh = World::new(Some("alpha".parse().unwrap()), &part);
        let all = |world: &World| get(world, WEB, "/latest", Format::Json);
        prop_assert_eq!(all(&world), all(&fresh));
        world.change(&MetaDelta::between(&part, &whole).unwrap());
        prop_assert_eq!(all(&world), all(&shop()));
    }
}
