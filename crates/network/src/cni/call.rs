//! The words of one call of a plugin, by the CNI specification: what it is told, and what its answer
//! means. Pure.

use super::conf::NetConf;
use model::reason::within_limit;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::net::{IpAddr, Ipv4Addr};

/// Name of the interface in the container, as Docker calls it too.
pub(super) const INTERFACE: &str = "eth0";

/// A container that is plugged in, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plug {
    /// Docker's id.
    pub container: String,
    /// The address that was decided.
    pub address: Ipv4Addr,
    /// Length of the prefix of the managed network.
    pub prefix: u8,
    /// Its MAC address, for plugins that can set it.
    pub mac: String,
}

impl Plug {
    fn whole_address(&self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }
}

/// What a plugin is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Del,
    Check,
}

impl Verb {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
        }
    }
}

/// `CNI_ARGS`: `IP` as the plugins of the CNI project read it, `IPAddress` as Rancher's
/// did.
pub(super) fn args(plug: &Plug) -> String {
    let Plug { address, mac, .. } = plug;
    format!("IgnoreUnknown=1;IP={};IPAddress={address};MAC={mac}", plug.whole_address())
}

/// What a plugin reads on its standard input. `before` is the answer of the plugin before it, or
/// of the last ADD.
pub(super) fn input(conf: &NetConf, at: usize, before: Option<&Value>, plug: &Plug) -> Value {
    let mut input = conf.plugins.get(at).cloned().unwrap_or_default();
    input.insert("cniVersion".into(), conf.cni_version.clone().into());
    input.insert("name".into(), conf.name.clone().into());
    let declared = |input: &Map<String, Value>, what: &str| {
        input.get("capabilities").and_then(|all| all.get(what)) == Some(&Value::Bool(true))
    };
    let mut runtime = Map::new();
    if declared(&input, "ips") {
        runtime.insert("ips".into(), json!([plug.whole_address()]));
    }
    if declared(&input, "mac") {
        runtime.insert("mac".into(), plug.mac.clone().into());
    }
    if !runtime.is_empty() {
        input.insert("runtimeConfig".into(), runtime.into());
    }
    if let Some(before) = before {
        input.insert("prevResult".into(), before.clone());
    }
    Value::Object(input)
}

/// What a plugin answered to ADD.
pub(super) fn result(output: &[u8]) -> Result<Value, String> {
    let value: Value = serde_json::from_slice(output)
        .map_err(|e| format!("its answer is no JSON ({e}): {:?}", begin(output)))?;
    if value.is_object() { Ok(value) } else { Err("its answer is no JSON object".into()) }
}

/// Has the result the address that was decided and no other one? Why not, with what to do.
pub(super) fn other_address(result: &Value, plug: &Plug) -> Option<String> {
    let ips = result.get("ips").and_then(Value::as_array);
    let found = ips.into_iter().flatten().filter_map(|ip| ip.get("address")?.as_str());
    let address = |text: &str| text.split('/').next().and_then(|ip| ip.parse::<IpAddr>().ok());
    let found: Vec<IpAddr> = found.filter_map(address).filter(IpAddr::is_ipv4).collect();
    if found == [IpAddr::V4(plug.address)] {
        return None;
    }
    let found = match found.as_slice() {
        [] => "no address".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
    };
    Some(format!(
        "the plugins gave it {found} and not {}, which was decided: write \"ipam\": {{\"type\": \
         \"static\"}} and \"capabilities\": {{\"ips\": true}} in the CNI configuration, or \
         \"ipam\": {{\"type\": \"host-local\", \"ranges\": [[{{\"subnet\": …}}]]}} with the whole \
         managed network",
        plug.address
    ))
}

/// Why a plugin failed, as it says: its error by the specification, else what it wrote.
pub(super) fn failure(output: &[u8], errors: &[u8], status: &str) -> String {
    let said: Option<Value> = serde_json::from_slice(output).ok();
    let word = |key: &str| Some(said.as_ref()?.get(key)?.as_str()?.to_owned());
    let code = said.as_ref().and_then(|said| said.get("code")?.as_u64());
    let text = match (word("msg"), code) {
        (Some(msg), code) => {
            let details = word("details").filter(|details| !details.is_empty());
            let details = details.map(|details| format!(": {details}")).unwrap_or_default();
            let code = code.map(|code| format!(" (code {code})")).unwrap_or_default();
            format!("{msg}{code}{details}")
        }
        (None, _) => {
            let said = [errors, output].map(begin).into_iter().find(|text| !text.is_empty());
            format!("{status}: {}", said.unwrap_or_else(|| "it said nothing".into()))
        }
    };
    within_limit(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The begin of what was written, on one line.
fn begin(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..1_024).unwrap_or(bytes)).into_owned();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: &str = "02:00:00:00:00:05";

    fn plug() -> Plug {
        let address = Ipv4Addr::new(10, 42, 1, 5);
        Plug { container: "c1".into(), address, prefix: 16, mac: MAC.into() }
    }

    fn conf(plugin: &Value) -> NetConf {
        let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [plugin, plugin]});
        NetConf::parse(list.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_plugin_is_told_what_it_says_that_it_understands() {
        let both = json!({"ips": ["10.42.1.5/16"], "mac": MAC});
        for (capabilities, runtime) in [
            (json!({}), Value::Null),
            (json!({"ips": true, "mac": false}), json!({"ips": ["10.42.1.5/16"]})),
            (json!({"ips": false, "portMappings": true}), Value::Null),
            (json!({"mac": true}), json!({"mac": MAC})),
            (json!({"ips": true, "mac": true}), both),
        ] {
            let conf = conf(&json!({"type": "x", "capabilities": capabilities}));
            let told = input(&conf, 1, None, &plug());
            assert_eq!(told["runtimeConfig"], runtime, "{capabilities}");
            assert_eq!((&told["cniVersion"], &told["name"]), (&json!("1.0.0"), &json!("net")));
            assert_eq!(told.get("prevResult"), None);
        }
        let before = json!({"ips": []});
        let told = input(&conf(&json!({"type": "x"})), 0, Some(&before), &plug());
        assert_eq!(told["prevResult"], before);
        let words = "IgnoreUnknown=1;IP=10.42.1.5/16;IPAddress=10.42.1.5;MAC=02:00:00:00:00:05";
        assert_eq!(args(&plug()), words);
    }

    #[test]
    fn a_result_has_the_decided_address_and_no_other_one() {
        for (addresses, wrong) in [
            (json!([{"address": "10.42.1.5/16"}]), None),
            (json!([{"address": "fd00::5/64"}, {"version": "4", "address": "10.42.1.5/24"}]), None),
            (json!([{"address": "10.42.1.6/16"}]), Some("gave it 10.42.1.6 and not 10.42.1.5")),
            (
                json!([{"address": "10.42.1.5/16"}, {"address": "10.9.0.1/16"}]),
                Some("gave it 10.42.1.5 and 10.9.0.1 and not"),
            ),
            (json!([]), Some("gave it no address")),
            (json!({"address": 7}), Some("gave it no address")),
        ] {
            let found = other_address(&json!({"ips": addresses}), &plug());
            match (found, wrong) {
                (None, None) => {}
                (Some(found), Some(wrong)) => assert!(found.contains(wrong), "{found}"),
                (found, _) => panic!("{addresses}: {found:?}"),
            }
        }
        let told = other_address(&json!({}), &plug()).unwrap();
        assert!(told.contains("\"capabilities\": {\"ips\": true}"), "what to write: {told}");
    }

    #[test]
    fn an_error_is_told_as_the_plugin_says_it() {
        let by_spec = br#"{"cniVersion":"1.0.0","code":11,"msg":"try again","details":"no\nlink"}"#;
        for (out, err, text) in [
            (&by_spec[..], &b"noise"[..], "try again (code 11): no link"),
            (br#"{"msg":"only that"}"#, b"", "only that"),
            (b"", b"panic:\n  index out of range", "exit status: 2: panic: index out of range"),
            (b"not JSON", b"", "exit status: 2: not JSON"),
            (b"", b"", "exit status: 2: it said nothing"),
            (b"\xff\xfe", b"", "exit status: 2: \u{fffd}\u{fffd}"),
        ] {
            assert_eq!(failure(out, err, "exit status: 2"), text);
        }
        let long = failure(format!(r#"{{"msg":"{}"}}"#, "x".repeat(99_999)).as_bytes(), b"", "");
        assert!(long.len() <= model::limits::REASON_BYTES_MAX, "{}", long.len());
        assert!(result(b"{}").is_ok());
        assert!(result(b"[]").unwrap_err().contains("no JSON object"));
        assert!(result(b"10.42.1.5").unwrap_err().contains("no JSON ("));
    }
}
