//! Paths of the HTTP API, shared by server, client and the OpenAPI document.

/// Every route begins with it.
pub const ROOT: &str = "/api/v1";
/// Liveness, version and index; the only route without a token.
pub const PING: &str = "/api/v1/ping";
/// Role by role: does it answer, and if not why.
pub const STATUS: &str = "/api/v1/status";
/// The OpenAPI document.
pub const OPENAPI: &str = "/api/v1/openapi.json";
/// All stacks.
pub const STACKS: &str = "/api/v1/stacks";
/// One stack: GET, PUT, DELETE.
pub const STACK: &str = "/api/v1/stacks/{stack}";
/// What a PUT of the stack would do.
pub const STACK_PLAN: &str = "/api/v1/stacks/{stack}/plan";
/// One service.
pub const SERVICE: &str = "/api/v1/stacks/{stack}/services/{service}";
/// Set the scale.
pub const SERVICE_SCALE: &str = "/api/v1/stacks/{stack}/services/{service}/scale";
/// Restart, one batch at a time.
pub const SERVICE_RESTART: &str = "/api/v1/stacks/{stack}/services/{service}/restart";
/// Stop, containers kept.
pub const SERVICE_STOP: &str = "/api/v1/stacks/{stack}/services/{service}/stop";
/// Start again.
pub const SERVICE_START: &str = "/api/v1/stacks/{stack}/services/{service}/start";
/// What is to become of a rollout (pause, resume, promote, abort, finish, rollback, and Rancher's
/// words for them), or one more run of a job (run).
pub const SERVICE_ACTION: &str = "/api/v1/stacks/{stack}/services/{service}/actions/{verb}";
/// Revisions that are kept, and how each of them did.
pub const SERVICE_HISTORY: &str = "/api/v1/stacks/{stack}/services/{service}/history";
/// What differs between two revisions.
pub const SERVICE_DIFF: &str = "/api/v1/stacks/{stack}/services/{service}/diff";
/// Runs of a job.
pub const SERVICE_RUNS: &str = "/api/v1/stacks/{stack}/services/{service}/runs";
/// All instances, filtered by `stack` and `service`.
pub const INSTANCES: &str = "/api/v1/instances";
/// Logs of instances, filtered by `stack`, `service`, `n`.
pub const LOGS: &str = "/api/v1/logs";
/// A command in an instance, over a WebSocket.
pub const EXEC: &str = "/api/v1/exec";
/// Use of cpu and memory.
pub const STATS: &str = "/api/v1/stats";
/// Events: a page, or a stream with `follow=true`.
pub const EVENTS: &str = "/api/v1/events";
/// The environment: GET, PUT of what is done when a host joins, of the network and its policy.
pub const ENVIRONMENT: &str = "/api/v1/environment";
/// What the network policy says of one connection.
pub const POLICY_VERDICT: &str = "/api/v1/network/policy/verdict";
/// Services of the catalog that the hosts' balancers serve.
pub const EXPOSED: &str = "/api/v1/network/exposed";
/// All hosts.
pub const HOSTS: &str = "/api/v1/hosts";
/// Make a join token: POST; list them: GET.
pub const HOST_TOKENS: &str = "/api/v1/hosts/tokens";
/// Revoke a join token: DELETE.
pub const HOST_TOKEN: &str = "/api/v1/hosts/tokens/{token}";
/// One host: GET, DELETE.
pub const HOST: &str = "/api/v1/hosts/{host}";
/// The host gets no new instances.
pub const HOST_CORDON: &str = "/api/v1/hosts/{host}/cordon";
/// It gets instances again; a drain ends.
pub const HOST_UNCORDON: &str = "/api/v1/hosts/{host}/uncordon";
/// Its instances move to other hosts.
pub const HOST_DRAIN: &str = "/api/v1/hosts/{host}/drain";
/// Set labels, or take them away with null.
pub const HOST_LABELS: &str = "/api/v1/hosts/{host}/labels";
/// Check the network between the hosts.
pub const NET_CHECK: &str = "/api/v1/network/check";
/// Build an image from a context that is posted as tar.
pub const BUILD: &str = "/api/v1/images/build";
/// Pull an image on the hosts.
pub const PULL: &str = "/api/v1/images/pull";
/// The Consul API for who has a token: keys, for `remuda kv`.
pub const CONSUL: &str = "/v1/{*path}";
/// What keys of the Consul API were.
pub const KV_HISTORY: &str = "/api/v1/kv/history";
/// A copy of the store.
pub const BACKUP: &str = "/api/v1/backup";

/// Fills the `{…}` of a route in order. Values are percent-encoded.
#[must_use]
pub fn fill(route: &str, values: &[&str]) -> String {
    let mut out = String::with_capacity(route.len() + 16);
    let mut values = values.iter();
    let mut rest = route;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (_, after) = after.split_once('}').unwrap_or(("", after));
        if let Some(value) = values.next() {
            out.push_str(&encode(value));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Percent-encodes everything but unreserved characters.
#[must_use]
pub fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_filled_and_encoded() {
        assert_eq!(
            fill(SERVICE_SCALE, &["shop", "we b/x"]),
            "/api/v1/stacks/shop/services/we%20b%2Fx/scale"
        );
    }
}
