//! Configurations that are taken, and those that are refused with the reason.

use super::*;
use serde_json::json;

fn parse(value: &Value) -> Result<NetConf, String> {
    NetConf::parse(value.to_string().as_bytes())
}

fn bridge() -> Value {
    json!({"type": "bridge", "bridge": "cni-remuda", "isDefaultGateway": true,
        "ipam": {"type": "static"}})
}

fn list(plugins: &Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": "remuda", "plugins": plugins})
}

#[test]
fn a_conf_is_a_list_of_one() {
    let mut single = bridge();
    single["cniVersion"] = "0.3.1".into();
    single["name"] = "remuda".into();
    let conf = parse(&single).unwrap();
    assert_eq!(
        (conf.plugins.len(), conf.bridge(), conf.has_check()),
        (1, Some("cni-remuda"), false)
    );
    let mut two = list(&json!([bridge(), {"type": "firewall"}]));
    let conf = parse(&two).unwrap();
    assert_eq!((conf.programs(), conf.has_check()), (vec!["bridge", "firewall", "static"], true));
    two["disableCheck"] = true.into();
    assert!(!parse(&two).unwrap().has_check());
    let other = parse(&list(&json!([{"type": "ptp"}]))).unwrap();
    assert_eq!(other.bridge(), None);
    let kept: NetConf = serde_json::from_value(serde_json::to_value(&other).unwrap()).unwrap();
    assert_eq!(kept, other, "as it is kept with a result");
}

#[test]
fn what_no_plugin_could_work_with_is_refused_with_the_reason() {
    let with = |key: &str, value: Value| {
        let mut conf = list(&json!([bridge()]));
        conf[key] = value;
        conf
    };
    let plugin = |key: &str, value: Value| {
        let mut one = bridge();
        one[key] = value;
        list(&json!([one]))
    };
    let many: Vec<Value> = (0..=CNI_PLUGINS_MAX).map(|_| bridge()).collect();
    for (conf, why) in [
        (json!([]), "no JSON object"),
        (with("cniVersion", Value::Null), "cniVersion is missing"),
        (with("cniVersion", "0.2.0".into()), "\"0.2.0\" is none of 0.3.1, 0.4.0, 1.0.0"),
        (with("name", Value::Null), "no name"),
        (with("name", "../x".into()), "must be letters"),
        (with("plugins", json!({})), "plugins is no list"),
        (with("plugins", json!([])), "0 plugins"),
        (with("plugins", json!(many)), "33 plugins"),
        (with("plugins", json!(["bridge"])), "plugin 1 is no JSON object"),
        (plugin("type", "../../bin/sh".into()), "type of plugin 1"),
        (plugin("type", Value::Null), "type of plugin 1"),
        (plugin("bridge", "a-name-that-is-long".into()), "1 to 11 bytes"),
        (plugin("bridge", "__host_label__:bridge".into()), "1 to 11 bytes"),
        (plugin("isDefaultGateway", false.into()), "write \"isDefaultGateway\": true"),
    ] {
        let error = parse(&conf).unwrap_err();
        assert!(error.contains(why), "{why}: {error}");
    }
    assert!(NetConf::parse(b"{").unwrap_err().contains("no JSON: "));
    let routed = json!({"type": "static", "routes": [{"dst": "0.0.0.0/0"}]});
    let mut own = plugin("ipam", routed);
    own["plugins"][0]["isDefaultGateway"] = false.into();
    parse(&own).unwrap();
}

#[test]
fn values_stand_for_labels_of_the_host() {
    let mut one = bridge();
    one["mtu"] = "__host_label__: net.mtu".into();
    one["deep"] = json!([{"zone": "__host_label__:zone"}, "plain"]);
    let conf = parse(&list(&json!([one]))).unwrap();
    let labels = [("net.mtu", "1400"), ("zone", "a")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let resolved = conf.resolved(&labels.clone().into()).unwrap();
    assert_eq!(resolved.plugins[0]["mtu"], "1400");
    assert_eq!(resolved.plugins[0]["deep"], json!([{"zone": "a"}, "plain"]));
    let why = conf.resolved(&[labels[0].clone()].into()).unwrap_err();
    assert!(why.contains("\"zone\"") && why.contains("remuda host label HOST zone="), "{why}");
}

#[test]
fn the_first_file_of_a_folder_counts_and_its_programs_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let (conf, bin) = (dir.path().join("conf"), dir.path().join("bin"));
    fs::create_dir_all(&conf).unwrap();
    fs::create_dir_all(&bin).unwrap();
    let load = || Cni::load(vec![dir.path().join("none"), bin.clone()], &conf);
    let refused = |why: &str| {
        let error = load().unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    };
    refused("no file .conflist, .conf or .json");
    fs::write(conf.join("10-a.conflist"), list(&json!([bridge()])).to_string()).unwrap();
    fs::write(conf.join("20-b.conf"), "{").unwrap();
    fs::write(conf.join("00-readme.txt"), "{").unwrap();
    refused("10-a.conflist: there is no plugin bridge in ");
    let make = |name: &str, mode: u32| {
        fs::write(bin.join(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    make("bridge", 0o755);
    refused("there is no plugin static");
    make("static", 0o644);
    refused("static is not executable");
    make("static", 0o755);
    let cni = load().unwrap();
    assert_eq!(cni.words(), "remuda: bridge (CNI 1.0.0)");
    assert!(cni.file.ends_with("10-a.conflist"));
    let error = Cni::load(vec!["bin".into()], &conf).unwrap_err().to_string();
    assert!(error.contains("is no whole path"), "{error}");
    fs::write(conf.join("10-a.conflist"), " ".repeat(262_145)).unwrap();
    refused("longer than 262144 bytes");
    let error = Cni::load(vec![], &conf.join("gone.conf")).unwrap_err().to_string();
    assert!(error.contains("gone.conf: No such file"), "{error}");
}
