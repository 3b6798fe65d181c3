//! What Docker is sent for a spec.

use super::*;
use model::container_spec::{Resources, SpecFile};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

fn request(spec: ContainerSpec) -> CreateRequest {
    let spec = ContainerSpec { image: "shop/web:1".into(), ..spec };
    CreateRequest {
        name: "shop-web-1-abc".into(),
        spec: Arc::new(spec),
        labels: BTreeMap::from([
            (label::ENVIRONMENT.to_owned(), "e1".to_owned()),
            (label::INSTANCE.to_owned(), "shop/web#1@1".to_owned()),
        ]),
        attach: Attach::Network {
            name: "remuda".into(),
            address: Some(Ipv4Addr::new(10, 42, 0, 9)),
        },
        volumes_from: vec![],
        resolv_conf: Some("/run/r/resolv.conf".into()),
        stop_grace_ms: 1_500,
    }
}

fn sent(spec: ContainerSpec) -> serde_json::Value {
    let request = request(spec);
    request.check().unwrap();
    serde_json::to_value(body(&request, &["/f/0".into()]).unwrap()).unwrap()
}

#[test]
fn the_defaults_are_safe_and_bounded() {
    let sent = sent(ContainerSpec::default());
    let host = &sent["HostConfig"];
    assert_eq!(host["RestartPolicy"]["Name"], "no");
    assert_eq!(host["LogConfig"]["Type"], "json-file");
    assert_eq!(host["LogConfig"]["Config"]["max-size"], "10m");
    assert_eq!(host["LogConfig"]["Config"]["max-file"], "3");
    assert_eq!(host["SecurityOpt"], serde_json::json!(["no-new-privileges:true"]));
    assert_eq!(host["PidsLimit"], limits::PIDS_DEFAULT);
    assert_eq!(host["NetworkMode"], "remuda");
    assert_eq!(host["Mounts"][0]["Target"], "/etc/resolv.conf");
    assert_eq!(host["Mounts"][0]["ReadOnly"], true);
    assert_eq!(sent["StopTimeout"], 2, "rounded up to seconds");
    let endpoint = &sent["NetworkingConfig"]["EndpointsConfig"]["remuda"];
    assert_eq!(endpoint["IPAMConfig"]["IPv4Address"], "10.42.0.9");
    assert_eq!(sent["Labels"][label::INSTANCE], "shop/web#1@1");
}

#[test]
fn what_the_spec_says_is_sent() {
    let sent = sent(ContainerSpec {
        command: Some(vec!["serve".into()]),
        entrypoint: Some(vec![]),
        environment: BTreeMap::from([("A".into(), "1".into()), ("B".into(), String::new())]),
        security_opt: vec!["no-new-privileges:false".into()],
        logging: Some(Logging { driver: "none".into(), options: BTreeMap::new() }),
        resources: Resources {
            cpu_limit_milli: Some(1_500),
            memory_limit: Some(64 << 20),
            pids_limit: Some(-1),
            ..Resources::default()
        },
        ulimits: BTreeMap::from([("nofile".into(), (10, 20))]),
        devices: vec!["/dev/a:/dev/b:r".into(), "/dev/c".into(), "/dev/d:rw".into()],
        cgroup: Some("private".into()),
        healthcheck: Some(DockerHealthcheck {
            test: vec!["CMD".into(), "true".into()],
            interval_ms: Some(1_500),
            ..DockerHealthcheck::default()
        }),
        files: vec![SpecFile {
            name: "key".into(),
            target: "/run/secrets/key".into(),
            content_base64: "eA==".into(),
            mode: 0o400,
            uid: 0,
            gid: 0,
            secret: true,
        }],
        ..ContainerSpec::default()
    });
    assert_eq!(sent["Cmd"], serde_json::json!(["serve"]));
    assert_eq!(sent["Entrypoint"], serde_json::json!([""]));
    assert_eq!(sent["Env"], serde_json::json!(["A=1", "B="]));
    assert_eq!(sent["Healthcheck"]["Interval"], 1_500_000_000_i64);
    let host = &sent["HostConfig"];
    assert_eq!(host["SecurityOpt"], serde_json::json!(["no-new-privileges:false"]));
    assert_eq!(host["LogConfig"]["Type"], "none");
    assert_eq!(host["NanoCpus"], 1_500_000_000_i64);
    assert_eq!(host["PidsLimit"], -1);
    assert_eq!(host["Ulimits"][0]["Hard"], 20);
    assert_eq!(host["Devices"][0]["CgroupPermissions"], "r");
    assert_eq!(host["Devices"][1]["PathInContainer"], "/dev/c");
    assert_eq!(host["Devices"][2]["CgroupPermissions"], "rw");
    assert_eq!(host["CgroupnsMode"], "private");
    assert_eq!(host["Mounts"][0]["Source"], "/f/0");
    assert_eq!(host["Mounts"][0]["Target"], "/run/secrets/key");
    assert_eq!(host["Mounts"][0]["ReadOnly"], true);
}

#[test]
fn every_kind_of_mount_is_sent() {
    let bind = |create| Mount::Bind {
        source: "/srv".into(),
        target: "/s".into(),
        read_only: true,
        propagation: Some("rshared".into()),
        create_host_path: create,
    };
    let sent = sent(ContainerSpec {
        mounts: vec![
            bind(true),
            bind(false),
            Mount::Volume { name: "v".into(), target: "/v".into(), read_only: false, nocopy: true },
            Mount::Anonymous { target: "/n".into() },
            Mount::Tmpfs { target: "/t".into(), size: 0, mode: Some(0o1777) },
        ],
        ..ContainerSpec::default()
    });
    let host = &sent["HostConfig"];
    assert_eq!(host["Binds"], serde_json::json!(["/srv:/s:ro,rshared"]));
    let mounts = &host["Mounts"];
    assert_eq!(mounts[0]["BindOptions"]["Propagation"], "rshared");
    assert_eq!(
        (&mounts[1]["Source"], &mounts[1]["VolumeOptions"]["NoCopy"]),
        (&"v".into(), &true.into())
    );
    assert!(mounts[2].get("Source").is_none(), "an anonymous volume has no name");
    assert_eq!(mounts[3]["TmpfsOptions"]["Mode"], 0o1777);
    assert!(mounts[3]["TmpfsOptions"].get("SizeBytes").is_none());
}

#[test]
fn an_own_resolv_conf_wins() {
    let own = Mount::Bind {
        source: "/mine".into(),
        target: "/etc/resolv.conf".into(),
        read_only: true,
        propagation: None,
        create_host_path: false,
    };
    let sent = sent(ContainerSpec { mounts: vec![own], ..ContainerSpec::default() });
    let mounts = sent["HostConfig"]["Mounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 1);
    assert_eq!(mounts[0]["Source"], "/mine");
}

#[test]
fn a_bad_spec_is_refused_without_showing_values() {
    let bad_env = |key: &str, value: &str| ContainerSpec {
        environment: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        ..ContainerSpec::default()
    };
    for spec in [bad_env("", "hunter2"), bad_env("A=B", "hunter2"), bad_env("A", "hunter2\0")] {
        let error = request(spec).check().unwrap_err();
        assert!(matches!(error, Error::Spec { .. }), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let mut nobodys = request(ContainerSpec::default());
    nobodys.labels.remove(label::INSTANCE);
    assert!(nobodys.check().is_err());
    let mut mac = request(ContainerSpec {
        mac_address: Some("02:00:00:00:00:01".into()),
        ..ContainerSpec::default()
    });
    mac.check().unwrap();
    mac.attach = Attach::Host;
    assert!(mac.check().is_err());
    let device =
        request(ContainerSpec { devices: vec!["a:b:c:d".into()], ..ContainerSpec::default() });
    assert!(body(&device, &[]).is_err());
}

#[test]
fn in_the_network_of_another_container_nothing_of_a_network_is_sent() {
    let mut request = request(ContainerSpec {
        hostname: Some("web".into()),
        domainname: Some("shop".into()),
        dns: vec!["10.0.0.1".into()],
        dns_search: vec!["shop".into()],
        dns_opt: vec!["ndots:2".into()],
        extra_hosts: vec!["db:10.0.0.2".into()],
        mac_address: Some("02:42:ac:11:00:02".into()),
        ..ContainerSpec::default()
    });
    request.attach = Attach::Container("shop-web-1-abc".into());
    request.volumes_from = vec![("shop-web-1-abc".into(), true), ("shop-web-x-1".into(), false)];
    request.check().unwrap();
    let sent = serde_json::to_value(body(&request, &[]).unwrap()).unwrap();
    let host = &sent["HostConfig"];
    assert_eq!(host["NetworkMode"], "container:shop-web-1-abc");
    assert_eq!(host["VolumesFrom"], serde_json::json!(["shop-web-1-abc:ro", "shop-web-x-1:rw"]));
    for key in ["Dns", "DnsSearch", "DnsOptions", "ExtraHosts"] {
        assert!(host[key].is_null(), "{key}: {}", host[key]);
    }
    for key in ["Hostname", "Domainname", "NetworkingConfig"] {
        assert!(sent[key].is_null(), "{key}: {}", sent[key]);
    }
    assert_eq!(host["Mounts"][0]["Target"], "/etc/resolv.conf", "names go by ours all the same");
    request.attach = Attach::Container("../x".into());
    assert!(request.check().is_err());
}
