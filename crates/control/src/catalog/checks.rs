//! Which checks the dataplane of a host carries out: those that clients registered on its node, and
//! those that plain containers ask for by Registrator's labels.

use super::registrator::Named;
use super::{Check, CheckStatus, of_plain as entries_of_plain};
use model::cluster::Cluster;
use model::id::HostId;
use model::limits::{
    CHECK_INTERVAL_MS_MIN, CHECK_MS_MAX, CHECK_TIMEOUT_MS_DEFAULT, CHECKS_OF_NODE_MAX,
};
use model::plain::{PlainContainer, PlainId};
use model::registration::{CheckHeaders, CheckPlan, CheckProbe, CheckTls, CheckWish, ClientKey};
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Between two questions where no label says it, in milliseconds: Registrator's own.
const INTERVAL_MS: u64 = 10_000;

/// What the dataplane of a host is to ask, by the id of the check.
#[must_use]
pub fn wishes(cluster: &Cluster, host: &HostId) -> BTreeMap<String, Arc<CheckWish>> {
    let all = known(cluster, host).into_iter().filter(|(_, wish)| wish.plan.is_asked());
    all.take(CHECKS_OF_NODE_MAX).map(|(id, wish)| (id, Arc::new(wish))).collect()
}

/// All checks of a host's node that somebody asks or tells, by id: with the run that counts.
#[must_use]
pub fn known(cluster: &Cluster, host: &HostId) -> BTreeMap<String, CheckWish> {
    let mut all = BTreeMap::new();
    for (id, plain) in cluster.plains_on(host) {
        if !plain.labels.keys().chain(plain.variables.keys()).any(|key| key.contains("CHECK_")) {
            continue;
        }
        for entry in entries_of_plain(cluster, id, plain) {
            let words = asked_words(&entry.meta);
            if let Some((id, wish)) = wish(plain, &entry.id, &entry.address, entry.port, &words) {
                all.insert(id, wish);
            }
        }
    }
    for check in cluster.client_checks_of(host.as_str()) {
        let (plan, status) = (check.plan.clone(), check.status);
        all.insert(check.key.id.clone(), CheckWish { plan, run: check.since, status });
    }
    all
}

/// The words of a check, which are among all words of an entry.
fn asked_words(meta: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let asked = meta
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("check_")?.to_owned(), value.clone())));
    asked.collect()
}

/// The check that labels of a plain container ask for, as it stands; none when they ask for none.
#[must_use]
pub(super) fn of_plain(
    cluster: &Cluster,
    id: &PlainId,
    plain: &PlainContainer,
    service: &str,
    address: &str,
    named: &Named,
) -> Option<Check> {
    let (check, wish) = wish(plain, service, address, named.offered.port, &named.check)?;
    let key = ClientKey::new(id.host.as_str(), &check);
    let state = cluster.check_state(&key).filter(|state| state.run == wish.run);
    let script = matches!(wish.plan.probe, CheckProbe::Script { .. });
    let (status, output) = match state {
        Some(state) => (state.status, state.output.clone()),
        None if script => (wish.status, "programs are not run as checks on this host".to_owned()),
        None => (wish.status, String::new()),
    };
    Some(Check {
        id: check,
        name: format!("Service '{}' check", named.name),
        status,
        output,
        kind: wish.plan.kind().to_owned(),
        ..Check::default()
    })
}

fn wish(
    plain: &PlainContainer,
    service: &str,
    address: &str,
    port: u16,
    words: &BTreeMap<String, String>,
) -> Option<(String, CheckWish)> {
    let plan = plan(words, address, port)?;
    let status = words.get("initial_status").and_then(|word| CheckStatus::parse(word));
    let status = status.unwrap_or(CheckStatus::Critical);
    Some((format!("service:{service}"), CheckWish { plan, run: run_of(plain), status }))
}

/// What a check found of an earlier start says nothing of this one.
fn run_of(plain: &PlainContainer) -> Timestamp {
    plain.started_at
}

/// What Registrator made of its labels, in its order: http, https, cmd, script, ttl, tcp, grpc.
#[must_use]
pub fn plan(words: &BTreeMap<String, String>, address: &str, port: u16) -> Option<CheckPlan> {
    let word = |key: &str| words.get(key).map(String::as_str).filter(|word| !word.is_empty());
    let says_yes = |key: &str| word(key).is_some_and(|word| word != "false" && word != "0");
    let host = match address.contains(':') {
        true => format!("[{address}]"),
        false => address.to_owned(),
    };
    let skip_verify = says_yes("tls_skip_verify");
    let web = |scheme: &str, path: &str| {
        let method = word("http_method").filter(|_| scheme == "http");
        let method = method.or_else(|| word(&format!("{scheme}_method"))).unwrap_or("GET");
        CheckProbe::Http {
            url: format!("{scheme}://{host}:{port}{path}"),
            method: method.to_ascii_uppercase(),
            headers: CheckHeaders::default(),
            body: String::new(),
            tls: CheckTls { skip_verify, server_name: String::new() },
            no_redirects: false,
        }
    };
    let interpolated = |text: &str| {
        text.replace("$SERVICE_IP", address).replace("$SERVICE_PORT", &port.to_string())
    };
    let script = |text: &str| CheckProbe::Script {
        args: ["sh", "-c", &interpolated(text)].map(ToOwned::to_owned).into(),
    };
    let probe = if let Some(path) = word("http") {
        web("http", path)
    } else if let Some(path) = word("https") {
        web("https", path)
    } else if let Some(text) = word("cmd").or_else(|| word("script")) {
        script(text)
    } else if let Some(ttl) = word("ttl").and_then(milliseconds) {
        CheckProbe::Ttl(ttl)
    } else if says_yes("tcp") {
        CheckProbe::Tcp { address: format!("{host}:{port}") }
    } else {
        let service = word("grpc").filter(|_| says_yes("grpc"))?;
        let service = if service == "true" || service == "1" { "" } else { service };
        let slash = if service.is_empty() || service.starts_with('/') { "" } else { "/" };
        let tls = CheckTls { skip_verify, server_name: String::new() };
        let tls = says_yes("grpc_use_tls").then_some(tls);
        CheckProbe::Grpc { address: format!("{host}:{port}{slash}{service}"), tls }
    };
    let time = |key, default| word(key).and_then(milliseconds).unwrap_or(default);
    let interval_ms = time("interval", INTERVAL_MS).max(CHECK_INTERVAL_MS_MIN);
    let timeout_ms = time("timeout", CHECK_TIMEOUT_MS_DEFAULT.min(interval_ms));
    Some(CheckPlan { interval_ms, timeout_ms, ..CheckPlan::of(probe) })
}

/// A time as Go writes it: `10s`, `1m30s`, `500ms`; none when it is none, is 0 or is too long.
#[must_use]
pub fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut ms = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit);
        let number: f64 = number.parse().ok()?;
        ms += number
            * match unit {
                "ns" => 1e-6,
                "us" | "µs" => 1e-3,
                "ms" => 1.0,
                "s" => 1_000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                _ => return None,
            };
        rest = next;
    }
    #[expect(clippy::cast_precision_loss, reason = "the limit is far below 2^52")]
    let fits = ms > 0.0 && ms <= CHECK_MS_MAX as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is positive and within the limit"
    )]
    fits.then_some((ms as u64).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[(&str, &str)]) -> Option<CheckPlan> {
        let words = words.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        plan(&words, "10.0.0.7", 8080)
    }

    fn what(words: &[(&str, &str)]) -> String {
        match of(words).map(|plan| plan.probe) {
            Some(CheckProbe::Http { url, method, tls, .. }) => {
                format!("{method} {url}{}", if tls.skip_verify { " unverified" } else { "" })
            }
            Some(CheckProbe::Tcp { address }) => format!("tcp {address}"),
            Some(CheckProbe::Grpc { address, tls }) => format!("grpc {address} {}", tls.is_some()),
            Some(CheckProbe::Ttl(ms)) => format!("ttl {ms}"),
            Some(CheckProbe::Script { args }) => args[2].clone(),
            Some(CheckProbe::Told | CheckProbe::Alias { .. }) | None => "none".into(),
        }
    }

    #[test]
    fn labels_of_registrator_say_what_is_asked_and_the_first_kind_counts() {
        for (words, expect) in [
            (&[][..], "none"),
            (&[("http", "/ping")], "GET http://10.0.0.7:8080/ping"),
            (&[("http", "/p"), ("http_method", "head")], "HEAD http://10.0.0.7:8080/p"),
            (
                &[("https", "/p"), ("tls_skip_verify", "true")],
                "GET https://10.0.0.7:8080/p unverified",
            ),
            (&[("tcp", "true")], "tcp 10.0.0.7:8080"),
            (&[("tcp", "false")], "none"),
            (&[("ttl", "30s")], "ttl 30000"),
            (&[("ttl", "soon")], "none"),
            (&[("grpc", "true")], "grpc 10.0.0.7:8080 false"),
            (&[("grpc", "my.Svc"), ("grpc_use_tls", "1")], "grpc 10.0.0.7:8080/my.Svc true"),
            (&[("script", "nc $SERVICE_IP $SERVICE_PORT")], "nc 10.0.0.7 8080"),
            (&[("http", "/a"), ("tcp", "true"), ("ttl", "1s")], "GET http://10.0.0.7:8080/a"),
            (&[("ttl", "1s"), ("tcp", "true")], "ttl 1000"),
            (&[("interval", "5s")], "none"),
        ] {
            assert_eq!(what(words), expect, "{words:?}");
        }
        let plan = of(&[("tcp", "true")]).unwrap();
        assert_eq!((plan.interval_ms, plan.timeout_ms), (10_000, 10_000));
        let plan = of(&[("tcp", "true"), ("interval", "100ms"), ("timeout", "2s")]).unwrap();
        assert_eq!((plan.interval_ms, plan.timeout_ms), (1_000, 2_000));
    }

    #[test]
    fn times_are_read_as_go_writes_them() {
        for (text, ms) in [
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1_500)),
            ("500ms", Some(500)),
            ("1000000ns", Some(1)),
            ("2h", Some(7_200_000)),
            ("", None),
            ("0s", None),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1d", None),
            ("99999999h", None),
            ("1..5s", None),
        ] {
            assert_eq!(milliseconds(text), ms, "{text}");
        }
    }
}
