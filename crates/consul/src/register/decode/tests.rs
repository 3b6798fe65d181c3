//! Bodies as the clients of today send them.

use super::*;

fn registered(body: &str) -> (ClientService, Vec<ClientCheck>) {
    match service_order(body.as_bytes(), "h1", false) {
        Ok(Order::Service { service, checks, .. }) => (service, checks),
        other => panic!("{other:?}"),
    }
}

fn text(answer: Answer) -> (u16, String) {
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
}

#[test]
fn registrator_sends_nulls_and_ids_with_colons() {
    let (service, checks) = registered(
        r#"{"ID":"h1:front:9999","Name":"tcpfront-9999","Tags":["tcp"],"Port":32768,
            "Address":"10.0.0.7","EnableTagOverride":false,"Check":null,"Checks":null}"#,
    );
    assert_eq!(service.key, ClientKey::new("h1", "h1:front:9999"));
    assert_eq!((service.service.as_str(), service.port), ("tcpfront-9999", 32768));
    assert_eq!((service.tags, checks.len()), (vec!["tcp".to_owned()], 0));
    let (_, checks) = registered(
        r#"{"ID":"i","Name":"n","Check":{"HTTP":"http://10.0.0.7:1/p","Interval":"10s",
            "Status":"passing","DeregisterCriticalServiceAfter":"2m"},"Checks":null}"#,
    );
    assert_eq!(checks[0].key.id, "service:i");
    assert_eq!(checks[0].status, CheckStatus::Passing);
    assert_eq!(checks[0].deregister_after_ms, Some(120_000));
    assert_eq!((checks[0].plan.interval_ms, checks[0].plan.timeout_ms), (10_000, 10_000));
}

#[test]
fn python_and_node_send_small_letters_lists_and_numbers() {
    let (service, checks) = registered(
        r#"{"name":"foo","port":8080,"tags":["a"],"meta":{"Key":"v"},"weights":{"passing":10,
            "warning":0},"check":{"ttl":"10s","deregister_critical_service_after":"10m"}}"#,
    );
    assert_eq!(service.key.id, "foo");
    assert_eq!((service.weight_passing, service.weight_warning), (10, 0));
    assert_eq!(service.meta["Key"], "v");
    assert_eq!(checks[0].plan.probe, CheckProbe::Ttl(10_000));
    assert_eq!(checks[0].deregister_after_ms, Some(600_000));
    let (_, checks) = registered(
        r#"{"name":"foo","checks":[{"tcp":"127.0.0.1:1","interval":5000000000,
            "timeout":"2s","failures_before_critical":2},{"ttl":"1s","notes":"n"},
            {"check_id":"own","grpc":"127.0.0.1:1/x","interval":"100ms","grpc_use_tls":true}]}"#,
    );
    let ids: Vec<&str> = checks.iter().map(|check| check.key.id.as_str()).collect();
    assert_eq!(ids, ["service:foo:1", "service:foo:2", "own"]);
    assert_eq!((checks[0].plan.interval_ms, checks[0].plan.timeout_ms), (5_000, 2_000));
    assert_eq!(checks[0].plan.failures_before_critical, 2);
    assert_eq!(checks[2].plan.interval_ms, 1_000, "no more often than once in a second");
    assert!(matches!(&checks[2].plan.probe, CheckProbe::Grpc { tls: Some(_), .. }));
}

#[test]
fn a_check_stands_alone_or_with_a_service() {
    let order = |body: &str| check_order(body.as_bytes(), "h1");
    let Ok(Order::Check(check)) = order(
        r#"{"Name":"web","ServiceID":"s","HTTP":"https://x/","Interval":"10s","Method":"post",
            "Header":{"X-A":["1","2"]},"Body":"b","TLSSkipVerify":true,"DisableRedirects":true}"#,
    ) else {
        panic!("refused");
    };
    assert_eq!((check.key.id.as_str(), check.service.as_str()), ("web", "s"));
    let CheckProbe::Http { method, headers, body, tls, no_redirects, .. } = check.plan.probe else {
        panic!("another kind");
    };
    assert_eq!((method.as_str(), body.as_str(), tls.skip_verify), ("POST", "b", true));
    assert_eq!(headers.0["X-A"], ["1", "2"]);
    assert!(no_redirects);
    let Ok(Order::Check(alias)) = order(r#"{"Name":"like","AliasService":"web"}"#) else {
        panic!("refused");
    };
    assert_eq!(alias.plan.probe, CheckProbe::Alias { service: "web".into() });
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let check = |check: &str| format!(r#"{{"Name":"a","Check":{check}}}"#);
    for (body, words) in [
        (r#"{"ID":"x"}"#.to_owned(), "Missing service name"),
        (r#"{"Name":"a","Port":70000}"#.into(), "Port must be a number"),
        (r#"{"Name":"a","Tags":"x"}"#.into(), "Tags must be a list"),
        (r#"{"Name":"a","Kind":"connect-proxy"}"#.into(), "there is no mesh"),
        (r#"{"Name":"a","Weights":{"Passing":0}}"#.into(), "Passing must be greater than 0"),
        (check(r#"{"Name":"c"}"#), "TTL must be > 0 for TTL checks"),
        (check(r#"{"HTTP":"http://x"}"#), "Interval must be > 0"),
        (check(r#"{"TCP":"x:1","Interval":"1s","TTL":"1s"}"#), "cannot both be specified"),
        (check(r#"{"TTL":"soon"}"#), "must be a duration"),
        (check(r#"{"TTL":"1s","Status":"well"}"#), "Bad check status"),
        (check(r#"{"UDP":"x:1","Interval":"1s"}"#), "UDP checks are not carried out"),
        (check(r#"{"AliasNode":"other"}"#), "AliasNode must be"),
        (format!(r#"{{"Name":"a","Checks":[{}]}}"#, vec!["{}"; 65].join(",")), "64 are taken"),
    ] {
        let (status, text) = text(service_order(body.as_bytes(), "h1", false).unwrap_err());
        assert!(status == 400 && text.contains(words), "{body}: {status} {text}");
    }
}

#[test]
fn nodes_come_from_outside_with_what_is_on_them() {
    let order = node_order(
        br#"{"Datacenter":"dc1","Node":"db","Address":"192.0.2.1","NodeMeta":{"a":"b"},
            "TaggedAddresses":{"lan":"192.0.2.1"},"SkipNodeUpdate":false,
            "Service":{"ID":"pg:1","Service":"pg","Tags":["v1"],"Port":5432},
            "Checks":[{"Node":"db","CheckID":"c","Name":"C","Status":"passing","Output":"o",
            "ServiceID":"pg:1"}]}"#,
    );
    let Ok(Order::Node { node, service: Some(service), checks, .. }) = order else {
        panic!("{order:?}");
    };
    assert_eq!((node.name.as_str(), node.meta["a"].as_str()), ("db", "b"));
    assert_eq!((service.key.id.as_str(), service.service.as_str()), ("pg:1", "pg"));
    assert_eq!((checks[0].0.status, checks[0].1.as_str()), (CheckStatus::Passing, "o"));
    for (body, status, words) in [
        (r#"{"Node":"db"}"#, 400, "Must provide address"),
        (r#"{"Node":"db","Address":"x","Service":{"ID":"a"}}"#, 400, "Must provide service name"),
        (r#"{"Node":"db","Address":"x","Check":{"Node":"b"}}"#, 400, "does not match node"),
        (r#"{"Node":"db","Address":"x","Datacenter":"dc9"}"#, 500, "No path to datacenter"),
    ] {
        let (code, text) = text(node_order(body.as_bytes()).unwrap_err());
        assert!(code == status && text.contains(words), "{body}: {code} {text}");
    }
    for (body, order) in [
        (r#"{"Node":"n"}"#, Order::NoNode("n".into())),
        (r#"{"Node":"n","ServiceID":"s"}"#, Order::NoService(ClientKey::new("n", "s"))),
        (r#"{"Node":"n","CheckID":"c"}"#, Order::NoCheck(ClientKey::new("n", "c"))),
    ] {
        assert_eq!(no_node_order(body.as_bytes()), Ok(order), "{body}");
    }
}
