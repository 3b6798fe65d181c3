//! Bodies that register: which service and which checks they ask for.

use super::body::Fields;
use crate::answer::Answer;
use control::register::Order;
use model::limits::{
    CHECK_INTERVAL_MS_MIN, CHECK_OUTPUT_BYTES_MAX, CHECK_TIMEOUT_MS_DEFAULT, CHECKS_OF_REQUEST_MAX,
    DEREGISTER_AFTER_MS_MIN,
};
use model::registration::{
    CheckHeaders, CheckPlan, CheckProbe, CheckStatus, CheckTls, ClientCheck, ClientKey, ClientNode,
    ClientService,
};
use model::time::Timestamp;

/// Kinds of check that nobody carries out here.
const OTHER_KINDS: [&str; 4] = ["UDP", "H2PING", "OSService", "TCPUseTLS"];

fn invalid(why: impl std::fmt::Display) -> Answer {
    Answer::bad(format!("Invalid check: {why}"))
}

/// `/v1/agent/service/register`.
pub(crate) fn service_order(body: &[u8], node: &str, replace: bool) -> Result<Order, Answer> {
    let fields = Fields::parse(body)?;
    let name = fields.text("Name")?;
    if name.is_empty() {
        return Err(Answer::bad("Missing service name"));
    }
    let service = client_service(&fields, node, name)?;
    let mut asked: Vec<Fields> = fields.object("Check")?.into_iter().collect();
    asked.retain(|check| !is_empty(check));
    asked.extend(fields.list("Checks")?);
    if asked.len() > CHECKS_OF_REQUEST_MAX {
        let count = asked.len();
        return Err(invalid(format!("{count} checks, {CHECKS_OF_REQUEST_MAX} are taken at once")));
    }
    let several = asked.len() > 1;
    let mut checks = Vec::with_capacity(asked.len());
    for (n, fields) in asked.iter().enumerate() {
        let default = match several {
            true => format!("service:{}:{}", service.key.id, n + 1),
            false => format!("service:{}", service.key.id),
        };
        let id = Some(fields.text_of(&["CheckID", "ID"])?).filter(|id| !id.is_empty());
        let key = ClientKey::new(node, &id.unwrap_or(default));
        let name = Some(fields.text("Name")?).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| format!("Service '{}' check", service.service));
        checks.push(check(fields, key, name, service.key.id.clone())?);
    }
    Ok(Order::Service { service, checks, replace_checks: replace })
}

/// A check of which nothing is said at all.
fn is_empty(check: &Fields) -> bool {
    let said = ["CheckID", "ID", "Name", "TTL", "HTTP", "TCP", "GRPC", "Status", "Interval"];
    let also = ["Args", "ScriptArgs", "Script", "DockerContainerID", "AliasService", "AliasNode"];
    !said.iter().chain(&also).chain(&OTHER_KINDS).any(|name| check.has(name))
}

/// `/v1/agent/check/register`.
pub(crate) fn check_order(body: &[u8], node: &str) -> Result<Order, Answer> {
    let fields = Fields::parse(body)?;
    let name = fields.text("Name")?;
    if name.is_empty() {
        return Err(Answer::bad("Missing check name"));
    }
    let id = fields.text_of(&["CheckID", "ID"])?;
    let id = if id.is_empty() { &name } else { &id };
    let key = ClientKey::new(node, id);
    let service = fields.text("ServiceID")?;
    Ok(Order::Check(check(&fields, key, name, service)?))
}

fn client_service(fields: &Fields, node: &str, name: String) -> Result<ClientService, Answer> {
    let kind = fields.text("Kind")?;
    if !kind.is_empty() && kind != "typical" {
        return Err(Answer::bad(format!("services of kind {kind} are not kept: there is no mesh")));
    }
    let id = fields.text("ID")?;
    let weights = fields.object("Weights")?;
    let weight = |name| match &weights {
        Some(weights) => Ok(weights.number(name)?.unwrap_or(0)),
        None => Ok(1),
    };
    let (weight_passing, weight_warning) = (weight("Passing")?, weight("Warning")?);
    if weight_passing == 0 {
        return Err(Answer::bad("Invalid Weights: Passing must be greater than 0"));
    }
    let mut tagged_addresses = std::collections::BTreeMap::new();
    for (kind, address) in fields.objects("TaggedAddresses")? {
        let port = address.number("Port")?.unwrap_or(0);
        tagged_addresses.insert(kind, (address.text("Address")?, port));
    }
    Ok(ClientService {
        key: ClientKey::new(node, if id.is_empty() { &name } else { &id }),
        service: name,
        tags: fields.texts("Tags")?,
        address: fields.text("Address")?,
        port: fields.number("Port")?.unwrap_or(0),
        meta: fields.words("Meta")?,
        tagged_addresses,
        weight_passing,
        weight_warning,
        enable_tag_override: fields.flag("EnableTagOverride")?,
    })
}

fn check(
    fields: &Fields,
    key: ClientKey,
    name: String,
    service: String,
) -> Result<ClientCheck, Answer> {
    let word = fields.text("Status")?;
    let status = match word.as_str() {
        "" => CheckStatus::Critical,
        word => CheckStatus::parse(word).ok_or_else(|| Answer::bad("Bad check status"))?,
    };
    let after = fields.milliseconds("DeregisterCriticalServiceAfter")?;
    Ok(ClientCheck {
        plan: plan(fields, &key.node)?,
        key,
        name,
        notes: fields.text("Notes")?,
        service,
        status,
        deregister_after_ms: (after > 0).then_some(after.max(DEREGISTER_AFTER_MS_MIN)),
        // Whoever decides knows the time.
        since: Timestamp(0),
    })
}

/// What is asked, how often, and from when on it counts.
fn plan(fields: &Fields, node: &str) -> Result<CheckPlan, Answer> {
    let probe = probe(fields, node)?;
    let (interval, ttl) = (fields.milliseconds("Interval")?, fields.milliseconds("TTL")?);
    let mut plan = CheckPlan::of(probe);
    if plan.is_asked() {
        if interval == 0 {
            return Err(invalid("Interval must be > 0 for Script, HTTP, or TCP checks"));
        }
        if ttl > 0 {
            return Err(invalid("Interval and TTL cannot both be specified"));
        }
        let timeout = fields.milliseconds("Timeout")?;
        plan.interval_ms = interval.max(CHECK_INTERVAL_MS_MIN);
        plan.timeout_ms = if timeout == 0 { CHECK_TIMEOUT_MS_DEFAULT } else { timeout };
        plan.success_before_passing = fields.number("SuccessBeforePassing")?.unwrap_or(0);
        plan.failures_before_warning = fields.number("FailuresBeforeWarning")?.unwrap_or(0);
        plan.failures_before_critical = fields.number("FailuresBeforeCritical")?.unwrap_or(0);
        let most = u16::try_from(CHECK_OUTPUT_BYTES_MAX).unwrap_or(u16::MAX);
        let size = fields.number("OutputMaxSize")?.filter(|size| *size > 0);
        plan.output_bytes_max = size.unwrap_or(most).min(most);
    }
    Ok(plan)
}

fn probe(fields: &Fields, node: &str) -> Result<CheckProbe, Answer> {
    let tls = CheckTls {
        skip_verify: fields.flag("TLSSkipVerify")?,
        server_name: fields.text("TLSServerName")?,
    };
    if let Some(kind) = OTHER_KINDS.iter().find(|kind| fields.has(kind)) {
        return Err(invalid(format!("{kind} checks are not carried out here")));
    }
    if fields.has("Args") || fields.has("ScriptArgs") {
        let args = fields.texts(if fields.has("Args") { "Args" } else { "ScriptArgs" })?;
        return Ok(CheckProbe::Script { args });
    }
    if fields.has("Script") || fields.has("DockerContainerID") {
        return Ok(CheckProbe::Script { args: vec![fields.text("Script")?] });
    }
    if fields.has("HTTP") {
        let method = fields.text("Method")?;
        return Ok(CheckProbe::Http {
            url: fields.text("HTTP")?,
            method: if method.is_empty() { "GET".into() } else { method.to_ascii_uppercase() },
            headers: CheckHeaders(fields.lists("Header")?),
            body: fields.text("Body")?,
            tls,
            no_redirects: fields.flag("DisableRedirects")?,
        });
    }
    if fields.has("TCP") {
        return Ok(CheckProbe::Tcp { address: fields.text("TCP")? });
    }
    if fields.has("GRPC") {
        let tls = fields.flag("GRPCUseTLS")?.then_some(tls);
        return Ok(CheckProbe::Grpc { address: fields.text("GRPC")?, tls });
    }
    if fields.has("AliasService") || fields.has("AliasNode") {
        let of = fields.text("AliasNode")?;
        if !of.is_empty() && of != node {
            return Err(invalid("AliasNode must be the node of the agent that is asked"));
        }
        return Ok(CheckProbe::Alias { service: fields.text("AliasService")? });
    }
    match fields.milliseconds("TTL")? {
        0 => Err(invalid("TTL must be > 0 for TTL checks")),
        ttl => Ok(CheckProbe::Ttl(ttl)),
    }
}

/// `/v1/catalog/register`.
pub(crate) fn node_order(body: &[u8]) -> Result<Order, Answer> {
    let fields = Fields::parse(body)?;
    in_datacenter(&fields)?;
    let name = fields.text("Node")?;
    let address = fields.text("Address")?;
    let skip_node = fields.flag("SkipNodeUpdate")?;
    if name.is_empty() {
        return Err(Answer::bad("Must provide node"));
    }
    if address.is_empty() && !skip_node {
        return Err(Answer::bad("Must provide address if SkipNodeUpdate is not set"));
    }
    let service = match fields.object("Service")? {
        Some(of) => {
            let named = of.text("Service")?;
            if named.is_empty() {
                return Err(Answer::bad("Must provide service name (Service.Service)"));
            }
            Some(client_service(&of, &name, named)?)
        }
        None => None,
    };
    let mut asked: Vec<Fields> = fields.object("Check")?.into_iter().collect();
    asked.extend(fields.list("Checks")?);
    if asked.len() > CHECKS_OF_REQUEST_MAX {
        let count = asked.len();
        return Err(invalid(format!("{count} checks, {CHECKS_OF_REQUEST_MAX} are taken at once")));
    }
    let checks = asked.iter().map(|check| told_check(check, &name)).collect::<Result<_, _>>()?;
    let node = ClientNode {
        name,
        id: fields.text("ID")?,
        address,
        tagged_addresses: fields.words("TaggedAddresses")?,
        meta: fields.words("NodeMeta")?,
    };
    Ok(Order::Node { node, skip_node, service, checks })
}

/// A check of `/v1/catalog/register`: nobody asks it, it is as it is said to be.
fn told_check(fields: &Fields, node: &str) -> Result<(ClientCheck, String), Answer> {
    let of = fields.text("Node")?;
    if !of.is_empty() && of != node {
        return Err(Answer::bad(format!("check node '{of}' does not match node '{node}'")));
    }
    let name = fields.text("Name")?;
    let id = fields.text_of(&["CheckID", "ID"])?;
    let id = if id.is_empty() { &name } else { &id };
    let status = match fields.text("Status")?.as_str() {
        "" => CheckStatus::Critical,
        word => CheckStatus::parse(word).ok_or_else(|| Answer::bad("Bad check status"))?,
    };
    let check = ClientCheck {
        key: ClientKey::new(node, id),
        name,
        notes: fields.text("Notes")?,
        service: fields.text("ServiceID")?,
        plan: CheckPlan::of(CheckProbe::Told),
        status,
        deregister_after_ms: None,
        since: Timestamp(0),
    };
    Ok((check, fields.text("Output")?))
}

/// `/v1/catalog/deregister`.
pub(crate) fn no_node_order(body: &[u8]) -> Result<Order, Answer> {
    let fields = Fields::parse(body)?;
    in_datacenter(&fields)?;
    let node = fields.text("Node")?;
    if node.is_empty() {
        return Err(Answer::bad("Must provide node"));
    }
    let (service, check) = (fields.text("ServiceID")?, fields.text("CheckID")?);
    Ok(match (service.is_empty(), check.is_empty()) {
        (false, _) => Order::NoService(ClientKey::new(&node, &service)),
        (true, false) => Order::NoCheck(ClientKey::new(&node, &check)),
        (true, true) => Order::NoNode(node),
    })
}

fn in_datacenter(fields: &Fields) -> Result<(), Answer> {
    let named = fields.text("Datacenter")?;
    let ours = named.is_empty() || named == crate::serve::DATACENTER;
    ours.then_some(()).ok_or_else(|| Answer::failed("No path to datacenter"))
}

#[cfg(test)]
mod tests;
