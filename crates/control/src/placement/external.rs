//! An external scheduler takes part: what it is asked, in Rancher's words, and what it answered.
//! Planning stays pure: a plan says what is to be asked, somebody asks, and the next plan has the
//! answer. Who asks must never place by itself.

use super::{Ask, Fleet, Place, Unplaced, Wake, needs};
use model::cluster::Cluster;
use model::id::{HostId, ServiceId};
use model::instance::Instance;
use model::limits::{SCHEDULER_CANDIDATES_MAX, SCHEDULER_RETRY_MS};
use model::reason::{Lack, Reason};
use model::service::{PortMapping, Transport};
use model::time::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// For which slot and revision something is asked.
pub type Key = (ServiceId, u32, u32);

/// What is to be asked for one instance: first in which order, then to reserve on one host.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// For what.
    pub key: Key,
    /// Hosts that fit, the best first: nobody else is taken.
    pub candidates: Vec<HostId>,
    /// `schedulerRequest` without a host.
    pub body: Value,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is reserved there.
    Reserved {
        /// Where.
        host: HostId,
        /// Ports as they were given.
        ports: Vec<PortMapping>,
    },
    /// It would have it nowhere.
    Refused,
    /// It did not answer, or not so that it can be understood.
    Down(String),
}

impl Request {
    /// The payload of `scheduler.prioritize`.
    #[must_use]
    pub fn prioritize(&self) -> Value {
        let hosts: Vec<&str> = self.candidates.iter().map(HostId::as_str).collect();
        let mut request = self.body.clone();
        request["candidates"] = json!(hosts);
        event("scheduler.prioritize", &request)
    }

    /// The payload of `scheduler.reserve`, or of `scheduler.release` after it.
    #[must_use]
    pub fn on(&self, name: &str, host: &HostId) -> Value {
        let mut request = self.body.clone();
        request["hostID"] = json!(host.as_str());
        event(name, &request)
    }
}

fn event(name: &str, request: &Value) -> Value {
    json!({ "name": name, "data": { "schedulerRequest": request } })
}

/// Rancher puts an answer into `data` or sends it as it is.
fn data(text: &[u8]) -> Result<Value, String> {
    let value: Value =
        serde_json::from_slice(text).map_err(|e| format!("its answer is no JSON: {e}"))?;
    Ok(value.get("data").cloned().unwrap_or(value))
}

/// Reads the answer to `prioritize`: hosts, the best first.
///
/// # Errors
/// What is wrong with it.
pub fn parse_prioritized(text: &[u8]) -> Result<Vec<String>, String> {
    let data = data(text)?;
    let list = data.get("prioritizedCandidates").and_then(Value::as_array);
    let list = list.ok_or("its answer has no list prioritizedCandidates")?;
    let word = |one: &Value| one.as_str().map(str::to_owned);
    let all: Option<Vec<String>> = list.iter().map(word).collect();
    all.ok_or_else(|| "prioritizedCandidates has something else than host ids".to_owned())
}

/// Reads the answer to `reserve`: ports with the addresses that they were given.
///
/// # Errors
/// What is wrong with it.
pub fn parse_reserved(text: &[u8]) -> Result<Vec<PortMapping>, String> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(vec![]);
    }
    let data = data(text)?;
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut ports = vec![];
    for one in list(data.get("portReservation")) {
        for port in list(one.get("allocatedIPs")) {
            let number =
                |key| port.get(key).and_then(Value::as_u64).and_then(|n| n.try_into().ok());
            let private: Option<u16> = number("privatePort");
            let ip = port.get("allocatedIP").and_then(Value::as_str).unwrap_or_default();
            let ip: Option<IpAddr> = match ip {
                "" => None,
                ip => Some(ip.parse().map_err(|_bad| format!("{ip:?} is no address"))?),
            };
            ports.push(PortMapping {
                host_ip: ip.filter(|ip| !ip.is_unspecified()),
                host_port: number("publicPort"),
                container_port: private.ok_or("a reserved port has no privatePort")?,
                protocol: match port.get("protocol").and_then(Value::as_str) {
                    Some("udp") => Transport::Udp,
                    _ => Transport::Tcp,
                },
            });
        }
    }
    Ok(ports)
}

struct Wanted<'a> {
    service: &'a ServiceId,
    n: u32,
    phase: &'a str,
    force: bool,
    cpu: i64,
    memory: i64,
    ports: &'a [PortMapping],
    labels: BTreeMap<String, String>,
}

/// Rancher's `schedulerRequest`.
fn scheduler_request(wanted: &Wanted<'_>) -> Value {
    let Wanted { service, n, phase, force, cpu, memory, ports, labels } = wanted;
    let name = format!("{}-{}-{n}", service.stack, service.service);
    let id = format!("{service}#{n}");
    let pool = |resource: &str, amount: i64| json!({ "type": "computePool", "resource": resource, "amount": amount });
    let mut requests = vec![];
    if *memory > 0 {
        requests.push(pool("memoryReservation", *memory));
    }
    if *cpu > 0 {
        requests.push(pool("cpuReservation", *cpu));
    }
    let asked: Vec<Value> = ports
        .iter()
        .map(|port| {
            json!({
                "ipAddress": port.host_ip.map(|ip| ip.to_string()),
                "publicPort": port.host_port,
                "privatePort": port.container_port,
                "protocol": port.protocol.to_string(),
            })
        })
        .collect();
    if !asked.is_empty() {
        requests.push(json!({
            "type": "portPool", "resource": "portReservation", "instanceId": id,
            "resourceUuid": name, "portRequests": asked,
        }));
    }
    requests.push(pool("instanceReservation", 1));
    json!({
        "phase": phase,
        "hostID": "",
        "force": force,
        "context": [{ "id": id, "name": name, "data": { "fields": { "labels": labels } } }],
        "resourceRequests": requests,
    })
}

/// Ports with the addresses that the other scheduler gave, and its numbers where none was named.
fn with_given(
    chosen: &[PortMapping],
    wanted: &[PortMapping],
    given: &[PortMapping],
) -> Vec<PortMapping> {
    let mut all = chosen.to_vec();
    for (port, wish) in all.iter_mut().zip(wanted) {
        let same = |one: &&PortMapping| {
            (one.container_port, one.protocol) == (port.container_port, port.protocol)
                && (wish.host_port.is_none() || one.host_port == wish.host_port)
        };
        let Some(one) = given.iter().find(same) else { continue };
        port.host_ip = port.host_ip.or(one.host_ip);
        if wish.host_port.is_none() {
            port.host_port = one.host_port.or(port.host_port);
        }
    }
    all
}

/// What is known of the external scheduler between two plans.
#[derive(Clone, Debug, Default)]
pub(crate) struct External {
    answers: BTreeMap<Key, Answer>,
    consulted: BTreeSet<Key>,
    /// Until when an answer that it is down or refuses holds.
    held: BTreeMap<Key, Timestamp>,
    pub(crate) asks: Vec<Request>,
    /// Payloads of `scheduler.release`.
    pub(crate) releases: Vec<Value>,
}

impl External {
    pub(crate) fn answer(&mut self, key: Key, answer: Answer) {
        self.answers.insert(key, answer);
    }

    /// The answer for an instance, when there is one.
    pub(crate) fn consult(&mut self, key: &Key) -> Option<Answer> {
        let answer = self.answers.get(key).cloned();
        if answer.is_some() {
            self.consulted.insert(key.clone());
        }
        answer
    }

    /// Places what the other scheduler has reserved, or asks it.
    ///
    /// # Errors
    /// It has not answered yet, it refused, or it is down.
    pub(crate) fn place(&mut self, fleet: &mut Fleet, ask: &Ask<'_>) -> Result<Place, Unplaced> {
        let key = (ask.service.clone(), ask.n, ask.revision);
        let wake = Wake { hosts: true, capacity: true, ..Wake::default() };
        let down = |why: String| Unplaced { reason: Reason::SchedulerDown { why }, wake };
        match self.consult(&key) {
            None => {
                let request = fleet.request(ask)?;
                if self.asks.iter().all(|known| known.key != key) {
                    self.asks.push(request);
                }
                Err(down("it is being asked".into()))
            }
            Some(Answer::Down(why)) => Err(down(why)),
            Some(Answer::Refused) => {
                let hosts = u32::try_from(fleet.request(ask)?.candidates.len()).unwrap_or(u32::MAX);
                let reason = Reason::NoFit { hosts, lacks: vec![(Lack::Scheduler, hosts)] };
                Err(Unplaced { reason, wake })
            }
            Some(Answer::Reserved { host, ports }) => {
                let pinned = Ask { pin: Some(&host), ..ask.clone() };
                let mut place = match fleet.choose(&pinned) {
                    Ok(place) => place,
                    Err(unplaced) => {
                        // The host has no room any more: it is given back and asked for anew.
                        self.consulted.remove(&key);
                        return Err(unplaced);
                    }
                };
                let given = with_given(&place.ports, &needs::wanted_ports(ask.template), &ports);
                if fleet.port_holder(&host, ask.service, &given).is_none() {
                    place.ports = given;
                }
                Ok(place)
            }
        }
    }

    /// Answers that have held for long enough are forgotten: it is asked anew.
    pub(crate) fn forget_old(&mut self, now: Timestamp) {
        let old: Vec<Key> =
            self.held.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in old {
            self.held.remove(&key);
            self.answers.remove(&key);
        }
    }

    /// After a service was thought about: answers that nobody needed go, with what they reserved.
    /// Says when it is to be asked again.
    pub(crate) fn settle(
        &mut self,
        cluster: &Cluster,
        service: &ServiceId,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let of = |key: &&Key| key.0 == *service;
        let keys: Vec<Key> = self.answers.keys().filter(of).cloned().collect();
        let mut again: Option<Timestamp> = None;
        for key in keys {
            let consulted = self.consulted.remove(&key);
            match self.answers.get(&key) {
                Some(Answer::Reserved { .. }) if consulted => {}
                Some(Answer::Reserved { host, .. }) => {
                    let came = cluster.instances_of(service).any(|instance| {
                        (instance.id.n, instance.target.revision) == (key.1, key.2)
                            && instance.host == *host
                    });
                    if !came {
                        self.release_reserved(cluster, &key, &host.clone());
                    }
                    self.answers.remove(&key);
                }
                Some(Answer::Refused | Answer::Down(_)) if consulted => {
                    let until = now.plus_ms(SCHEDULER_RETRY_MS);
                    let at = *self.held.entry(key).or_insert(until);
                    again = Some(again.map_or(at, |known| known.min(at)));
                }
                Some(Answer::Refused | Answer::Down(_)) | None => {
                    self.held.remove(&key);
                    self.answers.remove(&key);
                }
            }
        }
        again
    }

    fn release_reserved(&mut self, cluster: &Cluster, key: &Key, host: &HostId) {
        let Some(revision) = cluster.revision(&key.0, key.2) else { return };
        let (cpu, memory) = needs::reserved(&revision.template);
        let ports = needs::wanted_ports(&revision.template);
        let wanted = Wanted {
            service: &key.0,
            n: key.1,
            phase: "instance.deallocate",
            force: false,
            cpu,
            memory,
            ports: &ports,
            labels: BTreeMap::new(),
        };
        let mut request = scheduler_request(&wanted);
        request["hostID"] = json!(host.as_str());
        self.releases.push(event("scheduler.release", &request));
    }
}

impl Fleet {
    /// What an external scheduler is to be asked for this.
    ///
    /// # Errors
    /// Why no host can take it, whatever the other one says.
    pub(crate) fn request(&mut self, ask: &Ask<'_>) -> Result<Request, Unplaced> {
        let place = self.choose(ask)?;
        let mut candidates = self.candidates(ask);
        candidates.retain(|host| *host != place.host);
        candidates.insert(0, place.host);
        candidates.truncate(SCHEDULER_CANDIDATES_MAX);
        let (cpu, memory) = needs::reserved(ask.template);
        let ports = needs::wanted_ports(ask.template);
        let labels = ask.template.containers().flat_map(|(_, one)| one.labels.clone()).collect();
        let wanted = Wanted {
            service: ask.service,
            n: ask.n,
            phase: "instance.allocate",
            force: ask.pin.is_some() || ask.template.placement.requested_host.is_some(),
            cpu,
            memory,
            ports: &ports,
            labels,
        };
        let key = (ask.service.clone(), ask.n, ask.revision);
        Ok(Request { key, candidates, body: scheduler_request(&wanted) })
    }

    /// The payload of `scheduler.release` for an instance that is noted here.
    pub(crate) fn release(&self, instance: &Instance) -> Value {
        let service = self.services.index(&instance.id.service).map(|at| self.services.get(at));
        let shape = service.and_then(|service| service.shape(instance.target.revision));
        let (cpu, memory) = shape.map_or((0, 0), |shape| {
            let shape = self.shapes.get(shape);
            (shape.cpu, shape.memory)
        });
        let mut request = scheduler_request(&Wanted {
            service: &instance.id.service,
            n: instance.id.n,
            phase: "instance.deallocate",
            force: false,
            cpu,
            memory,
            ports: &instance.ports,
            labels: BTreeMap::new(),
        });
        request["hostID"] = json!(instance.host.as_str());
        event("scheduler.release", &request)
    }

    /// An instance as it is noted.
    pub(crate) fn noted(&self, id: &model::id::InstanceId) -> Option<&Instance> {
        let service = self.services.index(&id.service)?;
        let held = self.services.get(service).members.get(&(id.n, id.incarnation))?;
        Some(&held.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::tests::{World, container, id, port, template};

    #[test]
    fn a_request_has_the_words_of_rancher() {
        let mut world = World::new(&["a", "b"]);
        world.on("a", "old", &template(""), 1);
        let (service, mut web) = (id("web"), template("Role=web"));
        web.ports = vec![port(None, Some(8080), 80)];
        container(&mut web).resources.memory_reserved = 128 << 20;
        container(&mut web).resources.cpu_reserved_milli = 500;
        let request = world.fleet.request(&World::ask(&service, &web, 3)).unwrap();
        let asked = request.prioritize();
        assert_eq!(asked["name"], "scheduler.prioritize");
        let inner = &asked["data"]["schedulerRequest"];
        assert_eq!(inner["phase"], "instance.allocate");
        assert_eq!(inner["force"], false);
        assert_eq!(inner["candidates"], json!(["b", "a"]), "the best first");
        assert_eq!(inner["context"][0]["data"]["fields"]["labels"]["Role"], "web");
        assert_eq!(
            inner["resourceRequests"],
            json!([
                { "type": "computePool", "resource": "memoryReservation", "amount": 134_217_728 },
                { "type": "computePool", "resource": "cpuReservation", "amount": 500 },
                { "type": "portPool", "resource": "portReservation", "instanceId": "shop/web#3",
                  "resourceUuid": "shop-web-3", "portRequests": [
                    { "ipAddress": null, "publicPort": 8080, "privatePort": 80, "protocol": "tcp" } ] },
                { "type": "computePool", "resource": "instanceReservation", "amount": 1 },
            ])
        );
        let reserve = request.on("scheduler.reserve", &"b".parse().unwrap());
        assert_eq!(reserve["data"]["schedulerRequest"]["hostID"], "b");
    }

    #[test]
    fn answers_are_read_as_they_come_or_refused_with_what_is_wrong() {
        let hosts = vec!["b".to_owned(), "a".to_owned()];
        for text in [
            r#"{"prioritizedCandidates":["b","a"]}"#,
            r#"{"data":{"prioritizedCandidates":["b","a"]}}"#,
        ] {
            assert_eq!(parse_prioritized(text.as_bytes()), Ok(hosts.clone()));
        }
        for (text, why) in [
            ("", "no JSON"),
            ("{}", "no list"),
            (r#"{"prioritizedCandidates":[1]}"#, "something else"),
        ] {
            let error = parse_prioritized(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let reserved = parse_reserved(
            br#"{"portReservation":[{"instanceID":"42","allocatedIPs":[
                {"allocatedIP":"0.0.0.0","publicPort":8080,"privatePort":80,"protocol":"tcp"},
                {"allocatedIP":"10.0.0.1","publicPort":53,"privatePort":53,"protocol":"udp"}]}]}"#,
        );
        let udp = PortMapping { protocol: Transport::Udp, ..port(Some("10.0.0.1"), Some(53), 53) };
        assert_eq!(reserved, Ok(vec![port(None, Some(8080), 80), udp]));
        assert_eq!(parse_reserved(b" "), Ok(vec![]));
        assert!(parse_reserved(br#"{"portReservation":[{"allocatedIPs":[{}]}]}"#).is_err());
    }
}
