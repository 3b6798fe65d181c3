//! The tree as callers see it: a table of paths, and a walk along every path there is, in all
//! versions and forms, which must say the same.

mod shop;
mod walk;
mod yaml;

use super::World;
use super::path::segments;
use super::render::{Format, render};
use super::tree::{Reader, VERSIONS};
use shop::{OUTSIDER, WEB_1, WEB_1_LOG, shop};
use std::net::IpAddr;

/// The answer to `path`, which names a version; `None` is 404.
fn get(world: &World, source: IpAddr, path: &str, format: Format) -> Option<String> {
    let all = segments(path)?;
    let (version, rest) = all.split_first()?;
    let version = VERSIONS.iter().find(|(name, _)| name == version)?.1;
    let reader = Reader { world, version, source };
    let node = reader.walk(rest)?;
    Some(String::from_utf8(render(reader, node, format)).unwrap())
}

#[test]
fn paths_lead_where_ranchers_led() {
    let world = shop();
    let uuid = |what: &str, id: &str| model::metadata::uuid("e1", what, id);
    let by_uuid = format!("/latest/containers/{}/name", uuid("container", WEB_1_LOG));
    let host_by_uuid = format!("/latest/hosts/{}/agent_ip", uuid("host", "alpha"));
    let (env, container) = ("e1", uuid("container", WEB_1));
    for (path, expect) in [
        // Who asks is known by its address.
        ("/2015-12-19/self/container/name", Some("shop-Web-1")),
        ("/latest/self/container/name", Some("shop-web-1")),
        ("/latest/self/container/uuid", Some(container.as_str())),
        ("/latest/self/service/name", Some("web")),
        ("/latest/self/stack/name", Some("shop")),
        ("/latest/self/stack/environment_name", Some("Default")),
        ("/latest/self/host/agent_ip", Some("192.0.2.1")),
        ("/latest/self", Some("container/\nhost/\nservice/\nstack/\n")),
        // Lists are walked by place, name and UUID; a number is never a name.
        ("/latest/containers/0/name", Some("other-web-1")),
        ("/latest/containers/shop-web-1/create_index", Some("7")),
        ("/latest/containers/99", None),
        ("/latest/containers/1x", None),
        (&by_uuid, Some("shop-web-log-1")),
        (&host_by_uuid, Some("192.0.2.1")),
        ("/latest/services/web/stack_name", Some("other")),
        ("/latest/stacks/shop/services/web/stack_name", Some("shop")),
        // What is not found is tried in lower case.
        ("/latest/stacks/Shop/services/WEB/stack_name", Some("shop")),
        ("/2015-12-19/stacks/shop/services/Web/scale", Some("2")),
        ("/2015-12-19/stacks/shop/services/web/scale", None),
        ("/latest/containers/Shop-Web-1/name", Some("shop-web-1")),
        // The forms of values.
        ("/latest/self/container/ports", Some("0\n1\n")),
        ("/latest/self/container/ports/0", Some("0.0.0.0:8080:80/tcp")),
        ("/latest/self/container/ports/1", Some("127.0.0.1:9090:90/udp")),
        ("/2015-07-25/self/container/ports/0", Some("192.0.2.1:8080:80/tcp")),
        ("/2015-12-19/self/container/ports/1", Some("127.0.0.1:9090:90/udp")),
        ("/latest/self/service/ports/0", Some("8080:80/tcp")),
        ("/latest/self/container/primary_mac_address", Some("")),
        ("/latest/self/container/system", Some("false")),
        ("/latest/self/container/service_index", Some("1")),
        ("/latest/self/container/health_state", Some("healthy")),
        ("/latest/self/container/state", Some("running")),
        ("/latest/self/container/start_count", Some("1")),
        ("/latest/self/container/labels/io.rancher.stack_service.name", Some("shop/Web")),
        ("/latest/self/container/labels/io.rancher.container.ip", Some("10.42.0.2/16")),
        ("/latest/self/container/labels/team", Some("blue")),
        ("/latest/self/container/health_check/port", Some("80")),
        ("/latest/self/container/environment_uuid", Some(env)),
        ("/latest/self/service/links/other%2fdb", Some("database")),
        ("/latest/self/service/links", Some("other%2Fdb\n")),
        ("/latest/self/service/sidekicks/0", Some("log")),
        ("/latest/self/service/kind", Some("service")),
        ("/latest/services/lb/kind", Some("loadBalancerService")),
        ("/latest/services/lb/lb_config/port_rules/0/service", Some("shop/Web")),
        ("/latest/services/far/kind", Some("externalService")),
        ("/latest/services/far/external_ips/0", Some("198.51.100.7")),
        // The user's own.
        ("/latest/self/service/metadata/deep/list/1", Some("2.5")),
        ("/latest/self/service/metadata/deep/list/two/x", Some("y")),
        ("/latest/self/service/metadata/deep", Some("KEY3\nlist/\n")),
        ("/latest/self/service/metadata/deep/key3", None),
        ("/latest/self/service/metadata/a+b%2Fc", Some("slash")),
        ("/latest/self/service/metadata/deep/list", Some("0\n1\n2=two\n3\n")),
        // The first version names containers and services, and no more.
        ("/2015-07-25/self/service/containers/0", Some("shop-Web-1")),
        ("/2015-07-25/self/service/containers/0/name", None),
        ("/2015-07-25/self/service/containers/shop-Web-1", None),
        ("/2015-07-25/self/stack/services", Some("0\n1\n2\n3\n4\n")),
        ("/2015-12-19/self/service/containers/shop-Web-2/primary_ip", Some("10.42.1.2")),
        ("/2015-12-19/self/host/hostId", Some("1198127958")),
        ("/latest/self/host/hostId", None),
        ("/2015-12-19/environments", None),
        ("/latest/environments", Some("")),
        // Sidekicks are services of their own.
        ("/latest/services/log/primary_service_name", Some("web")),
        ("/latest/services/log/containers", Some("0=shop-web-log-1\n1=shop-web-log-2\n")),
        ("/latest/containers/shop-web-log-1/primary_ip", Some("")),
        ("/latest/containers/shop-web-log-1/network_from_container_uuid", Some(container.as_str())),
        // Plain containers.
        ("/latest/containers/by-hand/primary_ip", Some("172.17.0.2")),
        ("/latest/containers/by-hand/service_name", Some("")),
        ("/2015-12-19/containers/By-Hand/labels/who", Some("me")),
        // Nothing.
        ("/latest/..%2f..%2fetc%2fpasswd", None),
        ("/latest/self/container/name/x", None),
        ("/2014-01-01/self", None),
    ] {
        assert_eq!(get(&world, shop::WEB, path, Format::Text).as_deref(), expect, "{path}");
    }
}

#[test]
fn who_is_none_of_ours_is_answered_as_the_host() {
    let world = shop();
    for source in [OUTSIDER, "10.42.1.2".parse().unwrap(), "::1".parse().unwrap()] {
        let text = |path| get(&world, source, path, Format::Text);
        assert_eq!(text("/latest/self").as_deref(), Some("host/\n"), "{source}");
        assert_eq!(text("/latest/self/container"), None);
        assert_eq!(text("/latest/self/host/hostname").as_deref(), Some("alpha"));
    }
    let by_hand = "172.17.0.2".parse().unwrap();
    let text = |path| get(&world, by_hand, path, Format::Text);
    assert_eq!(text("/2015-12-19/self/container/name").as_deref(), Some("By-Hand"));
    assert_eq!(text("/latest/self/service").as_deref(), Some(""), "it has none");
    let mapped = "::ffff:10.42.0.2".parse().unwrap();
    assert!(get(&world, mapped, "/latest/self/container", Format::Text).is_some());
}

#[test]
fn what_a_host_sees_itself_goes_before_what_it_was_told() {
    use super::{Seen, SeenHere};
    use model::health::Health;
    use model::time::Timestamp;
    use std::sync::Arc;
    let mut world = shop();
    let mut see = |container_id: Option<&str>, started_at, health| {
        let container_id = container_id.map(str::to_owned);
        let seen = Seen { container_id, started_at: Timestamp(started_at), health };
        world.seen = Arc::new(SeenHere::from([(WEB_1.parse().unwrap(), seen)]));
        let keys = ["state", "health_state", "external_id", "start_count"];
        keys.map(|key| {
            let path = format!("/latest/self/container/{key}");
            get(&world, shop::WEB, &path, Format::Text).unwrap()
        })
    };
    assert_eq!(see(Some("c1"), 5, Health::Unhealthy), ["running", "unhealthy", "c1", "1"]);
    assert_eq!(see(None, 0, Health::Unhealthy), ["stopped", "unhealthy", "c1", "1"]);
    assert_eq!(see(Some("c9"), 9, Health::Initializing), ["running", "reinitializing", "c9", "2"]);
}

#[test]
fn an_address_that_goes_to_another_container_is_of_that_which_runs() {
    use super::{Seen, SeenHere};
    use model::health::Health;
    use model::metadata::MetaDelta;
    use model::time::Timestamp;
    use std::sync::Arc;
    let mut world = shop();
    let old: model::id::InstanceId = WEB_1.parse().unwrap();
    let new: model::id::InstanceId = "shop/Web#1@9".parse().unwrap();
    let one = world.meta.container(&old).unwrap().clone();
    let mut delta = MetaDelta::default();
    delta.containers.insert(new.clone(), Some(one));
    world.change(&delta);
    let index = |world: &World| {
        let path = "/latest/self/container/create_index";
        get(world, shop::WEB, path, Format::Text).unwrap()
    };
    assert_eq!(index(&world), "9", "the newer one");
    let seen = |runs: bool| Seen {
        container_id: runs.then(|| "c".to_owned()),
        started_at: Timestamp(1),
        health: Health::Unchecked,
    };
    world.seen = Arc::new(SeenHere::from([(old.clone(), seen(true)), (new.clone(), seen(false))]));
    assert_eq!(index(&world), "7");
    let gone = MetaDelta { containers: [(old, None)].into(), ..MetaDelta::default() };
    world.change(&gone);
    assert_eq!(index(&world), "9");
    let gone = MetaDelta { containers: [(new, None)].into(), ..MetaDelta::default() };
    world.change(&gone);
    assert_eq!(get(&world, shop::WEB, "/latest/self/container", Format::Text), None);
}

#[test]
fn the_forms_of_answers_and_of_errors() {
    let world = shop();
    let all = |path: &str| {
        [Format::Text, Format::Json, Format::Yaml].map(|f| get(&world, shop::WEB, path, f).unwrap())
    };
    assert_eq!(all("/latest/self/service/scale"), ["2", "2", "2\n"]);
    assert_eq!(all("/latest/self/container/primary_mac_address"), ["", "null", "null\n"]);
    assert_eq!(
        all("/2015-07-25/self/service/containers"),
        ["0\n1\n", r#"["shop-Web-1","shop-Web-2"]"#, "- shop-Web-1\n- shop-Web-2\n"]
    );
    assert_eq!(
        all("/latest/self/service/metadata/deep"),
        [
            "KEY3\nlist/\n",
            r#"{"KEY3":"true","list":[1,2.5,{"name":"two","x":"y"},null]}"#,
            "KEY3: \"true\"\nlist:\n  - 1\n  - 2.5\n  - name: two\n    x: \"y\"\n  - null\n"
        ]
    );
    assert_eq!(all("/latest/self/container/links"), ["", "{}", "{}\n"]);
    for (accept, format) in [
        ("", Format::Text),
        ("*/*", Format::Text),
        ("application/json", Format::Json),
        ("text/html, application/json;q=0.9", Format::Json),
        ("text/x-yaml", Format::Yaml),
        ("Application/YAML", Format::Yaml),
        ("text/plain, application/json", Format::Text),
    ] {
        assert_eq!(Format::of(accept), format, "{accept}");
    }
    let said = [Format::Text, Format::Json, Format::Yaml]
        .map(|format| String::from_utf8(format.error(404, "Not found")).unwrap());
    assert_eq!(
        said,
        [
            "Not found\n",
            "{\"code\":404,\"message\":\"Not found\",\"type\":\"error\"}\n",
            "code: 404\nmessage: Not found\ntype: error\n"
        ]
    );
}

#[test]
fn the_network_tells_who_may_connect_to_whom() {
    let world = shop();
    let path = "/latest/networks/0/default_policy_action";
    assert_eq!(get(&world, OUTSIDER, path, Format::Text).as_deref(), Some("allow"));
    let mut world = shop();
    let policy = serde_json::from_str(
        r#"{"default":"deny","rules":[{"action":"allow","within":"stack"},
        {"action":"allow","between":{"groupBy":"team"}},
        {"action":"deny","from":{"stack":"shop"},"to":{"service":"other/db"},"ports":["53/udp"]}]}"#,
    );
    let environment = std::sync::Arc::make_mut(&mut world.meta.environment);
    environment.policy = policy.unwrap();
    let said = get(&world, OUTSIDER, "/latest/networks/0", Format::Json).unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["default_policy_action"], "deny");
    let rules = serde_json::json!([
        {"action": "allow", "within": "stack"},
        {"action": "allow", "between": {"groupBy": "team"}},
        {"action": "deny", "from": {"stack": "shop"}, "ports": ["53/udp"],
         "to": {"service": "other/db"}},
    ]);
    assert_eq!(said["policy"], rules);
}
