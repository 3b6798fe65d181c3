//! Keys of a service that end in its container, its ports and its rollout.

use super::{given, service, web};
use model::container_spec::{Mount, NetworkMode, PullPolicy};
use model::health::{HealthStrategy, Probe};
use model::rollout_policy::UpdateOrder;
use model::service::{Condition, PortMapping, RestartPolicy, Transport};

#[test]
fn a_command_is_split_as_a_shell_does_and_a_list_stays() {
    for (written, words) in [
        ("command: a 'b c' \"d\\\"e\" f\\ g", vec!["a", "b c", "d\"e", "f g"]),
        ("command: [a, 'b c', 8080, '']", vec!["a", "b c", "8080", ""]),
        ("command: ''", vec![]),
        ("command: []", vec![]),
    ] {
        assert_eq!(web(written).container().command.unwrap(), words, "{written}");
    }
    assert_eq!(web("command:").container().command, None);
    assert_eq!(web("entrypoint: []").container().entrypoint, Some(vec![]));
}

#[test]
fn environment_and_labels_are_maps_or_lists() {
    for written in
        ["environment: {A: 1, B: yes, C: '', D: 010}", "environment: [A=1, B=yes, C=, D=010]"]
    {
        let shown = format!("{:?}", web(written).container().environment);
        assert_eq!(shown, r#"{"A": "1", "B": "yes", "C": "", "D": "010"}"#, "{written}");
    }
    let labels = web("labels: [a.b=c, d]\ndeploy: {labels: {e: f, d: g}}").container().labels;
    assert_eq!(format!("{labels:?}"), r#"{"a.b": "c", "d": "", "e": "f"}"#);
}

fn port(host_ip: &str, host_port: u16, container_port: u16, protocol: Transport) -> PortMapping {
    PortMapping {
        host_ip: host_ip.parse().ok(),
        host_port: (host_port > 0).then_some(host_port),
        container_port,
        protocol,
    }
}

#[test]
fn ports_have_many_forms() {
    use Transport::{Tcp, Udp};
    for (written, expected) in [
        ("[80]", vec![port("", 0, 80, Tcp)]),
        ("[22:22]", vec![port("", 22, 22, Tcp)]),
        ("['8080:80/udp']", vec![port("", 8080, 80, Udp)]),
        ("['127.0.0.1:8080:80']", vec![port("127.0.0.1", 8080, 80, Tcp)]),
        ("['127.0.0.1::80']", vec![port("127.0.0.1", 0, 80, Tcp)]),
        ("['[::1]:1:2']", vec![port("::1", 1, 2, Tcp)]),
        ("['0.0.0.0:1:2']", vec![port("", 1, 2, Tcp)]),
        ("['3-4:5-6']", vec![port("", 3, 5, Tcp), port("", 4, 6, Tcp)]),
        ("['5-6']", vec![port("", 0, 5, Tcp), port("", 0, 6, Tcp)]),
        (
            "[{target: 80, published: '8080', protocol: udp, mode: host}]",
            vec![port("", 8080, 80, Udp)],
        ),
        ("['80:80', '80:80']", vec![port("", 80, 80, Tcp)]),
    ] {
        let ports = web(&format!("ports: {written}")).service().template.ports;
        assert_eq!(ports, expected, "{written}");
    }
}

#[test]
fn mounts_have_many_forms() {
    let bind = |source: &str, target: &str, read_only| Mount::Bind {
        source: source.into(),
        target: target.into(),
        read_only,
        propagation: None,
        create_host_path: true,
    };
    for (written, expected) in [
        ("['./a:/b']", bind("/p/a", "/b", false)),
        ("['../a:/b:ro']", bind("/a", "/b", true)),
        ("['~/a:/b']", bind("/srv/me/a", "/b", false)),
        ("[/var/run/x.sock:/x]", bind("/var/run/x.sock", "/x", false)),
        ("[/data]", Mount::Anonymous { target: "/data".into() }),
        (
            "[{type: bind, source: ., target: /b, bind: {create_host_path: false}}]",
            Mount::Bind {
                source: "/p".into(),
                target: "/b".into(),
                read_only: false,
                propagation: None,
                create_host_path: false,
            },
        ),
        (
            "[{type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 1777}}]",
            Mount::Tmpfs { target: "/t".into(), size: 1 << 20, mode: Some(0o1777) },
        ),
    ] {
        let mounts = web(&format!("volumes: {written}")).env("HOME", "/srv/me").container().mounts;
        assert_eq!(mounts, [expected], "{written}");
    }
    let tmpfs = web("tmpfs: /run:size=64k,mode=700").container().mounts;
    assert_eq!(tmpfs, [Mount::Tmpfs { target: "/run".into(), size: 65_536, mode: Some(0o700) }]);
}

#[test]
fn volumes_get_the_name_of_their_stack_unless_they_have_one() {
    let loaded = given(
        "name: shop\nservices:\n  web:\n    image: a\n    volumes: ['a:/a', 'b:/b', 'c:/c:ro', 'd:/d']\n\
         volumes:\n  a:\n  b: {name: bee, driver: local, driver_opts: [type=nfs]}\n  \
         c: {external: true}\n  d: {external: {name: dee}}\n  unused: {}\n",
    )
    .clean();
    let names: Vec<_> = loaded.spec.volumes.iter().map(|(n, v)| (n.as_str(), v.external)).collect();
    assert_eq!(names, [("bee", false), ("c", true), ("dee", true), ("shop_a", false)]);
    assert_eq!(loaded.spec.volumes["bee"].driver_opts["type"], "nfs");
    let mount = &service(&loaded, "web").template.container().unwrap().mounts[2];
    assert!(
        matches!(mount, Mount::Volume { name, read_only: true, .. } if name == "c"),
        "{mount:?}"
    );
    let legacy = given("web:\n  image: a\n  volumes: ['a:/a']\n").clean();
    assert!(legacy.spec.volumes.contains_key("a"), "v1 took the name as it is");
}

#[test]
fn resources_come_from_v2_keys_and_deploy_wins() {
    let r = web("mem_limit: 512m\nmem_reservation: 64m\ncpus: 1.5\ncpu_shares: 10\npids_limit: 7\n\
                 milli_cpu_reservation: 250\nmemswap_limit: -1\ncpuset: 0-1\noom_score_adj: 5\n\
                 deploy: {resources: {limits: {cpus: '0.25', memory: 1G}, reservations: {cpus: 0.1}}}")
    .container()
    .resources;
    assert_eq!((r.cpu_limit_milli, r.cpu_reserved_milli), (Some(250), 100));
    assert_eq!((r.memory_limit, r.memory_reserved), (Some(1 << 30), 64 << 20));
    assert_eq!((r.memory_swap, r.pids_limit, r.cpu_shares), (Some(-1), Some(7), Some(10)));
    let r = web("cpu_quota: 50000\ncpu_period: 100000").container().resources;
    assert_eq!(r.cpu_limit_milli, Some(500));
    web("mem_limit: 100").warned("below 6 MB");
}

#[test]
fn restart_has_four_sources() {
    let of = |lines: &str| web(lines).service().template.restart;
    let on_failure = |max_attempts| RestartPolicy::OnFailure { max_attempts };
    for (lines, policy) in [
        ("", RestartPolicy::Always),
        ("restart: no", RestartPolicy::No),
        ("restart: unless-stopped", RestartPolicy::Always),
        ("restart: on-failure", on_failure(None)),
        ("restart: on-failure:3", on_failure(Some(3))),
        ("deploy: {restart_policy: {condition: none}}", RestartPolicy::No),
        ("deploy: {restart_policy: {condition: on-failure, max_attempts: 2}}", on_failure(Some(2))),
        ("labels: {io.rancher.container.start_once: 'true'}", RestartPolicy::Once),
    ] {
        assert_eq!(of(lines), policy, "{lines}");
    }
}

#[test]
fn both_health_checks_are_read() {
    let check = web("healthcheck: {test: curl -f localhost, interval: 1m30s, timeout: 500ms, \
                     start_period: 1h, retries: 4}")
    .container()
    .healthcheck
    .unwrap();
    assert_eq!(check.test, ["CMD-SHELL", "curl -f localhost"]);
    assert_eq!((check.interval_ms, check.timeout_ms), (Some(90_000), Some(500)));
    assert_eq!((check.start_period_ms, check.retries), (Some(3_600_000), Some(4)));
    let off = web("healthcheck: {disable: yes}").container().healthcheck.unwrap();
    assert_eq!(off.test, ["NONE"]);
    let ours = web(
        "health_check:\n  port: 80\n  request_line: GET \"/x\" \"HTTP/1.1\"\n  interval: 500\n  \
                    strategy: recreateOnQuorum\n  recreate_on_quorum_strategy_config: {quorum: 2}",
    )
    .service()
    .template
    .health_check
    .unwrap();
    let probe = Probe::Http { method: "GET".into(), path: "/x".into(), version: "HTTP/1.1".into() };
    assert_eq!((ours.port, ours.interval_ms, ours.timeout_ms), (80, 500, 2_000));
    assert_eq!(
        (ours.probe, ours.strategy),
        (probe, HealthStrategy::RecreateOnQuorum { quorum: 2 })
    );
}

#[test]
fn depends_on_is_a_list_or_a_map() {
    let text = |depends: &str| {
        format!(
            "services:\n  web: {{image: a, depends_on: {depends}}}\n  b: {{image: b}}\n  c: {{image: c}}\n"
        )
    };
    let of = |depends: &str| {
        let loaded = given(&text(depends)).clean();
        let found = service(&loaded, "web").depends_on.clone();
        found.into_iter().map(|(name, condition)| (name.to_string(), condition)).collect::<Vec<_>>()
    };
    assert_eq!(of("[b]"), [("b".to_owned(), Condition::Started)]);
    assert_eq!(
        of("{b: {condition: service_healthy}, c: {condition: service_completed_successfully}}"),
        [("b".to_owned(), Condition::Healthy), ("c".to_owned(), Condition::Completed)]
    );
    assert_eq!(of("{b: , x: {condition: service_started, required: false}}").len(), 1);
}

#[test]
fn rollouts_come_from_deploy_and_from_upgrade_strategy() {
    let update = web("deploy: {update_config: {parallelism: 2, delay: 5s, order: stop-first}}")
        .service()
        .update;
    assert_eq!((update.batch_size, update.interval_ms), (Some(2), 5_000));
    assert_eq!(update.order, Some(UpdateOrder::StopFirst));
    let update = web("upgrade_strategy: {start_first: false, batch_size: 3, interval_millis: 7}")
        .service()
        .update;
    assert_eq!((update.batch_size, update.interval_ms), (Some(3), 7));
    assert_eq!(update.order, Some(UpdateOrder::StopFirst));
    assert_eq!(web("").service().update.order, None);
}

#[test]
fn networks_end_in_the_managed_one_with_a_warning() {
    assert_eq!(web("network_mode: host").container().network, NetworkMode::Host);
    assert_eq!(web("networks: [default]").container().network, NetworkMode::Managed);
    let loaded = given("services:\n  web: {image: a, networks: [back]}\nnetworks: {back: }\n")
        .warned("back");
    let network = &service(&loaded, "web").template.container().unwrap().network;
    assert_eq!(*network, NetworkMode::Managed);
    web("network_mode: host\nports: ['80:80']").warned("ports have no effect");
}

#[test]
fn when_an_image_is_pulled_is_said_by_policy_or_label() {
    for (lines, pull) in [
        ("", PullPolicy::Missing),
        ("pull_policy: always", PullPolicy::Always),
        ("pull_policy: never", PullPolicy::Never),
        ("labels: {io.rancher.container.pull_image: always}", PullPolicy::Always),
    ] {
        assert_eq!(web(lines).container().pull, pull, "{lines}");
    }
}

#[test]
fn the_small_keys_arrive() {
    let c = web("user: '0'\nworking_dir: /w\nhostname: h\ndomainname: d.test\nprivileged: yes\n\
                 read_only: on\ninit: false\ntty: true\nstdin_open: TRUE\nipc: host\npid: host\n\
                 stop_signal: SIGINT\nstop_grace_period: 1m\nshm_size: 64m\nruntime: runc\n\
                 mac_address: 02:42:ac:11:00:02\nuserns_mode: host\ncgroup_parent: x\n\
                 storage_opt: {size: 1G}\ngroup_add: [7, x]\ncap_add: [net_admin]\ncap_drop: [ALL]\n\
                 security_opt: ['label:disable']\nsysctls: [net.core.somaxconn=1]\n\
                 devices: ['/dev/a:/dev/b:rw']\nulimits: {nofile: 9, core: {soft: 1, hard: 2}}\n\
                 dns: 1.1.1.1\ndns_search: [a.test]\ndns_opt: {ndots: 2}\n\
                 extra_hosts: {a: 1.2.3.4, b: host-gateway}\nlogging: {driver: syslog, options: {tag: x}}")
    .container();
    assert!(c.privileged && c.read_only && c.tty && c.stdin_open && c.init == Some(false));
    assert_eq!((c.user.as_deref(), c.working_dir.as_deref()), (Some("0"), Some("/w")));
    assert_eq!((c.cap_add, c.cap_drop), (vec!["NET_ADMIN".to_owned()], vec!["ALL".to_owned()]));
    assert_eq!(c.sysctls["net.core.somaxconn"], "1");
    assert_eq!((c.ulimits["nofile"], c.ulimits["core"]), ((9, 9), (1, 2)));
    assert_eq!((c.dns, c.dns_opt), (vec!["1.1.1.1".to_owned()], vec!["ndots:2".to_owned()]));
    assert_eq!(c.extra_hosts, ["a:1.2.3.4", "b:host-gateway"]);
    assert_eq!(c.logging.unwrap().options["tag"], "x");
    assert_eq!((c.shm_size, c.group_add.len(), c.devices.len()), (Some(64 << 20), 2, 1));
}

#[test]
fn keys_of_v1_are_read() {
    let loaded = given(
        "web:\n  image: web:1\n  net: host\n  log_driver: syslog\n  log_opt: {tag: t}\n  \
         stop_grace_period: 7\ndb:\n  image: db:1\n  links: [web]\n",
    )
    .clean();
    let web = service(&loaded, "web");
    let container = web.template.container().unwrap();
    assert_eq!(container.network, NetworkMode::Host);
    assert_eq!(container.logging.as_ref().unwrap().options["tag"], "t");
    assert_eq!(web.template.stop_grace_ms, 7_000);
}

#[test]
fn metadata_keeps_the_types_it_was_written_in() {
    let metadata = web("metadata: {a: 1, b: '1', c: yes, d: [x, {e: 1.5}], f: , g: 010, h: 1_0}")
        .service()
        .metadata;
    let json = serde_json::to_string(&metadata).unwrap();
    assert_eq!(
        json,
        r#"{"a":1,"b":"1","c":true,"d":["x",{"e":1.5}],"f":null,"g":"010","h":"1_0"}"#
    );
}

#[test]
fn a_build_names_its_folder_and_its_image() {
    let text = "name: shop\nservices:\n  web:\n    build:\n      context: src\n      dockerfile: D\n      \
                args: [A=1, B]\n      target: t\n      cache_from: c\n  \
                old: {image: 'o:1', build: ./src}\n";
    let loaded =
        given(text).with("/p/src/D", "").with("/p/src/Dockerfile", "").env("B", "2").clean();
    let builds: Vec<_> =
        loaded.builds.iter().map(|(n, b)| (n.to_string(), b.image.as_str())).collect();
    assert_eq!(builds, [("old".into(), "o:1"), ("web".into(), "shop_web:latest")]);
    let web = loaded.builds.values().next_back().unwrap();
    assert_eq!(web.context.to_str(), Some("/p/src"));
    assert_eq!((web.args["A"].as_str(), web.args["B"].as_str()), ("1", "2"));
    assert_eq!(
        (web.target.as_deref(), web.cache_from.as_slice()),
        (Some("t"), &["c".to_owned()][..])
    );
    let image = &service(&loaded, "web").template.container().unwrap().image;
    assert_eq!(image, "shop_web:latest");
}
