//! Somebody else's firewall that would keep containers from us: a base chain that drops what no
//! rule accepts, without a rule for our bridge. Pure; it reads what `nft -j list ruleset` prints.

use ipnet::Ipv4Net;
use serde_json::Value;

/// A chain that drops by default and has nothing about our bridge beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strict {
    /// `ip filter`.
    pub(super) table: String,
    /// Its name.
    pub(super) chain: String,
    /// `input` or `forward`.
    pub(super) hook: String,
}

/// Chains that would drop what comes from `bridge`. Text of another form gives none.
pub(super) fn strict(ruleset: &str, bridge: &str, subnet: Ipv4Net) -> Vec<Strict> {
    let Ok(document) = serde_json::from_str::<Value>(ruleset) else { return Vec::new() };
    let Some(objects) = document["nftables"].as_array() else { return Vec::new() };
    let accepts: Vec<String> = objects
        .iter()
        .map(|object| &object["rule"])
        .filter(|rule| accepts_bridge(rule, bridge, subnet))
        .map(table_of)
        .collect();
    objects
        .iter()
        .map(|object| &object["chain"])
        .filter(|chain| {
            let family = chain["family"].as_str().unwrap_or_default();
            let hook = chain["hook"].as_str().unwrap_or_default();
            matches!(family, "ip" | "inet")
                && matches!(hook, "input" | "forward")
                && chain["policy"].as_str() == Some("drop")
                && !accepts.contains(&table_of(chain))
        })
        .map(|chain| Strict {
            table: table_of(chain),
            chain: chain["name"].as_str().unwrap_or_default().to_owned(),
            hook: chain["hook"].as_str().unwrap_or_default().to_owned(),
        })
        .collect()
}

fn table_of(object: &Value) -> String {
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    format!("{} {}", text("family"), text("table"))
}

/// Does the rule accept (or hand on) what comes in by the bridge or from its range?
fn accepts_bridge(rule: &Value, bridge: &str, subnet: Ipv4Net) -> bool {
    let Some(parts) = rule["expr"].as_array() else { return false };
    let verdict = parts.iter().any(|part| {
        part.as_object()
            .is_some_and(|p| ["accept", "jump", "goto"].iter().any(|v| p.contains_key(*v)))
    });
    verdict && parts.iter().any(|part| names_bridge(&part["match"], bridge, subnet))
}

fn names_bridge(test: &Value, bridge: &str, subnet: Ipv4Net) -> bool {
    let (left, right) = (&test["left"], &test["right"]);
    if test["op"].as_str() != Some("==") {
        return false;
    }
    let interface = matches!(left["meta"]["key"].as_str(), Some("iifname" | "iif"));
    let source = left["payload"]["field"].as_str() == Some("saddr");
    let values = right["set"].as_array().cloned().unwrap_or_else(|| vec![right.clone()]);
    values.iter().any(|value| {
        let named = value.as_str().is_some_and(|name| match name.strip_suffix('*') {
            Some(beginning) => bridge.starts_with(beginning),
            None => name == bridge,
        });
        (interface && named) || (source && prefix_holds(&value["prefix"], subnet))
    })
}

fn prefix_holds(prefix: &Value, subnet: Ipv4Net) -> bool {
    let net = prefix["addr"].as_str().and_then(|addr| {
        let len = u8::try_from(prefix["len"].as_u64()?).ok()?;
        Ipv4Net::new(addr.parse().ok()?, len).ok()
    });
    net.is_some_and(|net| net.contains(&subnet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(rules: &[Value]) -> Vec<String> {
        let chain = |family: &str, name: &str, hook: &str, policy: &str| {
            json!({"chain": {"family": family, "table": "filter", "name": name, "hook": hook,
                             "type": "filter", "prio": 0, "policy": policy}})
        };
        let mut objects = vec![
            json!({"metainfo": {"json_schema_version": 1}}),
            chain("ip", "INPUT", "input", "drop"),
            chain("ip", "OUTPUT", "output", "drop"),
            chain("ip6", "INPUT", "input", "drop"),
            chain("inet", "FORWARD", "forward", "accept"),
            json!({"chain": {"family": "ip", "table": "filter", "name": "plain"}}),
        ];
        objects.extend(rules.iter().map(|expr| {
            json!({"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "expr": expr}})
        }));
        let text = json!({ "nftables": objects }).to_string();
        strict(&text, "remuda0", "10.42.0.0/16".parse().unwrap())
            .into_iter()
            .map(|s| format!("{} {} {}", s.table, s.chain, s.hook))
            .collect()
    }

    fn test(left: Value, right: Value) -> Value {
        json!({"match": {"op": "==", "left": left, "right": right}})
    }

    #[test]
    fn a_dropping_chain_is_found_unless_a_rule_lets_the_bridge_in() {
        let drops = ["ip filter INPUT input"];
        let interface = json!({"meta": {"key": "iifname"}});
        let source = json!({"payload": {"protocol": "ip", "field": "saddr"}});
        let accept = json!({"accept": null});
        assert_eq!(found(&[]), drops);
        let open = [
            json!([test(interface.clone(), json!("remuda0")), accept]),
            json!([test(interface.clone(), json!("remuda*")), accept]),
            json!([test(interface.clone(), json!({"set": ["lo", "remuda0"]})), accept]),
            json!([
                test(source.clone(), json!({"prefix": {"addr": "10.0.0.0", "len": 8}})),
                accept
            ]),
        ];
        for rule in open {
            assert_eq!(found(std::slice::from_ref(&rule)), [""; 0], "{rule}");
        }
        let closed = [
            json!([test(interface.clone(), json!("eth0")), accept]),
            json!([test(interface, json!("remuda0")), {"drop": null}]),
            json!([test(source, json!({"prefix": {"addr": "10.43.0.0", "len": 16}})), accept]),
            json!([accept]),
        ];
        for rule in closed {
            assert_eq!(found(std::slice::from_ref(&rule)), drops, "{rule}");
        }
        assert_eq!(strict("not json", "remuda0", "10.42.0.0/16".parse().unwrap()), []);
    }
}
