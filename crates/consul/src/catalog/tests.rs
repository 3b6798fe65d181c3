//! What clients read of hosts and their containers, and who is woken by what.

use super::*;
use crate::answer::Answer;
use crate::request::Request;
use crate::serve::{Consul, Facts, Judge, Standing};
use bytes::Bytes;
use model::change::{Change, Edit};
use model::health::Health;
use model::host::{Environment, Host, HostFacts, HostLink};
use model::plain::{PlainContainer, PlainId, PlainPort, PlainState};
use model::record::{Record, RecordKey};
use model::service::Transport;
use model::time::Index;
use serde_json::Value;

/// A cluster and the API over it.
pub(crate) struct World {
    cluster: Cluster,
    pub(crate) consul: Consul<store::Memory>,
    at: u64,
}

pub(crate) fn host(name: &str, address: &str, status: HostLink, labels: &[(&str, &str)]) -> Edit {
    let host = Host {
        id: name.parse().unwrap(),
        facts: HostFacts { address: address.into(), ..HostFacts::default() },
        status,
        changed_at: Default::default(),
        unheard_since: Default::default(),
        scheduling: Default::default(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        reason: "the cable".into(),
        membership: Default::default(),
    };
    Edit::Put(Record::Host(Arc::new(host)))
}

fn plain_id(host: &str, name: &str) -> PlainId {
    PlainId { host: host.parse().unwrap(), container: name.parse().unwrap() }
}

/// A container that publishes port 80 as `port`, with labels.
pub(crate) fn plain(
    host: &str,
    name: &str,
    port: u16,
    health: Health,
    labels: &[(&str, &str)],
) -> Edit {
    let port = PlainPort {
        container_port: 80,
        protocol: Transport::Tcp,
        host_port: Some(port),
        host_ip: None,
    };
    let plain = PlainContainer {
        name: name.into(),
        image: "web".into(),
        state: PlainState::Running,
        health,
        network: "default".into(),
        ports: vec![port],
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..PlainContainer::default()
    };
    Edit::Put(Record::Plain(plain_id(host, name), Arc::new(plain)))
}

pub(crate) fn gone(host: &str, name: &str) -> Edit {
    Edit::Delete(RecordKey::Plain(plain_id(host, name)))
}

fn facts() -> Facts {
    Facts { node: "h1".into(), address: [10, 0, 0, 1].into() }
}

async fn open(facts: Facts) -> Consul<store::Memory> {
    let judge: Judge = Arc::new(|_node, _check| Standing::Absent);
    Consul::open(store::Memory::default(), crate::testing::clock(), facts, judge).await.unwrap()
}

impl World {
    /// Two hosts; `web` on both, one of them sick, and `db` on the second.
    pub(crate) async fn new() -> Self {
        let consul = open(facts()).await;
        let mut world = Self { cluster: Cluster::default(), consul, at: 6 };
        let environment = Environment::new("e".into(), "e", "10.42.0.0/16".parse().unwrap());
        let web = |tags| [("SERVICE_TAGS", tags), ("SERVICE_ENV", "prod")];
        world.apply(vec![
            Edit::Put(Record::Environment(Arc::new(environment))),
            host("h1", "10.0.0.1", HostLink::Active, &[("zone", "a")]),
            host("h2", "10.0.0.2", HostLink::Active, &[("zone", "b")]),
            plain("h1", "a", 31001, Health::Healthy, &web("http,V1")),
            plain("h2", "b", 31002, Health::Unhealthy, &web("http,v2")),
            plain("h2", "c", 31003, Health::Unchecked, &[("SERVICE_NAME", "db")]),
        ]);
        world
    }

    pub(crate) fn apply(&mut self, edits: Vec<Edit>) {
        self.at += 1;
        self.cluster.apply(Index(self.at), &Change { edits });
        self.consul.catalog().follow(&self.cluster, self.consul.waiters());
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, "").await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let uri = format!("/v1/{path}");
        let request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let request = Request::read(&request.into_parts().0, body, "h1").unwrap();
        self.consul.answer(&request).await
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        let answer = self.ask("GET", path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).expect(path)
    }

    /// One field of each object of a list.
    async fn each(&self, path: &str, pointer: &str) -> Vec<String> {
        let list = self.json(path).await;
        let field = |one: &Value| {
            let value = one.pointer(pointer).unwrap_or_else(|| panic!("{path} {pointer}: {one}"));
            value.as_str().map_or_else(|| value.to_string(), str::to_owned)
        };
        list.as_array().expect(path).iter().map(field).collect()
    }
}

#[tokio::test]
async fn objects_have_their_keys_in_the_order_and_the_kinds_that_clients_know() {
    let world = World::new().await;
    let id = world.json("catalog/node/h1").await["Node"]["ID"].as_str().unwrap().to_owned();
    let node = format!(
        "{{\"ID\":\"{id}\",\"Node\":\"h1\",\"Address\":\"10.0.0.1\",\"Datacenter\":\"dc1\",\
         \"TaggedAddresses\":{{\"lan\":\"10.0.0.1\",\"lan_ipv4\":\"10.0.0.1\",\"wan\":\"10.0.0.1\",\
         \"wan_ipv4\":\"10.0.0.1\"}},\"Meta\":{{\"zone\":\"a\"}},\"CreateIndex\":7,\"ModifyIndex\":7}}"
    );
    let tagged = "{\"lan_ipv4\":{\"Address\":\"10.0.0.1\",\"Port\":31001},\
                  \"wan_ipv4\":{\"Address\":\"10.0.0.1\",\"Port\":31001}}";
    let proxy = "{\"Mode\":\"\",\"MeshGateway\":{},\"Expose\":{}}";
    let service = format!(
        "{{\"ID\":\"h1:a:80\",\"Service\":\"web\",\"Tags\":[\"http\",\"V1\"],\"Address\":\"10.0.0.1\",\
         \"TaggedAddresses\":{tagged},\"Meta\":{{\"env\":\"prod\"}},\"Port\":31001,\
         \"Weights\":{{\"Passing\":1,\"Warning\":1}},\"EnableTagOverride\":false,\
         \"Proxy\":{proxy},\"Connect\":{{}},\"CreateIndex\":7,\"ModifyIndex\":7}}"
    );
    let check = |id: &str, name: &str, output: &str, of: &str| {
        format!(
            "{{\"Node\":\"h1\",\"CheckID\":\"{id}\",\"Name\":\"{name}\",\"Status\":\"passing\",\
             \"Notes\":\"\",\"Output\":\"{output}\",{of},\"Type\":\"\",\"Interval\":\"\",\
             \"Timeout\":\"\",\"ExposedPort\":0,\"Definition\":{{}},\"CreateIndex\":7,\"ModifyIndex\":7}}"
        )
    };
    let none = "\"ServiceID\":\"\",\"ServiceName\":\"\",\"ServiceTags\":[]";
    let web = "\"ServiceID\":\"h1:a:80\",\"ServiceName\":\"web\",\"ServiceTags\":[\"http\",\"V1\"]";
    let serf = check("serfHealth", "Serf Health Status", "Agent alive and reachable", none);
    let own = check("service:h1:a:80", "Service 'web' check", "it runs", web);
    let health = format!("[{{\"Node\":{node},\"Service\":{service},\"Checks\":[{serf},{own}]}}]");
    assert_eq!(world.text("health/service/web?passing").await, health);
    assert_eq!(world.text("health/node/h1").await, format!("[{serf},{own}]"));
    assert_eq!(world.text("health/checks/web?filter=Node==h1").await, format!("[{own}]"));
    assert_eq!(
        world.text("catalog/node/h1").await,
        format!("{{\"Node\":{node},\"Services\":{{\"h1:a:80\":{service}}}}}")
    );
    assert_eq!(
        world.text("catalog/node-services/h1").await,
        format!("{{\"Node\":{node},\"Services\":[{service}]}}")
    );
    let tail = node.find(",\"Meta\"").unwrap();
    let catalog = format!(
        "[{},\"NodeMeta\":{{\"zone\":\"a\"}},\"ServiceKind\":\"\",\"ServiceID\":\"h1:a:80\",\
         \"ServiceName\":\"web\",\"ServiceTags\":[\"http\",\"V1\"],\"ServiceAddress\":\"10.0.0.1\",\
         \"ServiceTaggedAddresses\":{tagged},\"ServiceWeights\":{{\"Passing\":1,\"Warning\":1}},\
         \"ServiceMeta\":{{\"env\":\"prod\"}},\"ServicePort\":31001,\"ServiceSocketPath\":\"\",\
         \"ServiceEnableTagOverride\":false,\"ServiceProxy\":{proxy},\"ServiceConnect\":{{}},\
         \"CreateIndex\":7,\"ModifyIndex\":7}}]",
        &node[..tail]
    );
    assert_eq!(world.text("catalog/service/web?tag=v1").await, catalog);
    assert_eq!(world.text("catalog/nodes?node-meta=zone:a").await, format!("[{node}]"));
    assert_eq!(
        world.text("agent/services").await,
        format!(
            "{{\"h1:a:80\":{{\"ID\":\"h1:a:80\",\"Service\":\"web\",\"Tags\":[\"http\",\"V1\"],\
             \"Meta\":{{\"env\":\"prod\"}},\"Port\":31001,\"Address\":\"10.0.0.1\",\
             \"TaggedAddresses\":{tagged},\"Weights\":{{\"Passing\":1,\"Warning\":1}},\
             \"EnableTagOverride\":false,\"Datacenter\":\"dc1\"}}}}"
        )
    );
    assert_eq!(world.text("agent/checks").await, format!("{{\"service:h1:a:80\":{own}}}"));
}

#[tokio::test]
async fn what_is_not_there_is_empty_and_what_is_not_named_is_refused() {
    let world = World::new().await;
    for (path, body) in [
        ("catalog/datacenters", "[\"dc1\"]"),
        ("catalog/services", "{\"db\":[],\"web\":[\"V1\",\"http\",\"v2\"]}"),
        ("catalog/services?node-meta=zone:a", "{\"web\":[\"V1\",\"http\"]}"),
        ("catalog/services?node-meta=zone:c", "{}"),
        ("catalog/services?filter=ServiceName==db", "{\"db\":[]}"),
        ("catalog/service/none", "[]"),
        ("catalog/connect/web", "[]"),
        ("catalog/node/none", "null"),
        ("catalog/node-services/none", "{\"Node\":null,\"Services\":[]}"),
        ("health/service/none", "[]"),
        ("health/service/none?passing", "[]"),
        ("health/connect/web", "[]"),
        ("health/node/none", "[]"),
        ("health/checks/none", "[]"),
        ("health/state/none", "[]"),
    ] {
        assert_eq!(world.text(path).await, body, "{path}");
    }
    for (method, path, status, text) in [
        ("GET", "catalog/service/", 400, "Missing service name"),
        ("GET", "catalog/node/", 400, "Missing node name"),
        ("GET", "health/service/", 400, "Missing service name"),
        ("GET", "health/state/", 400, "Missing check state"),
        ("GET", "health/service/web?passing=maybe", 400, "Invalid value for ?passing"),
        ("GET", "health/service/web?index=x", 400, "Invalid index"),
        ("GET", "health/service/web?dc=nowhere", 500, "No path to datacenter"),
        ("PUT", "health/service/web", 405, "method PUT not allowed"),
        ("GET", "acl/tokens", 401, "ACL support disabled"),
        ("PUT", "acl/bootstrap", 401, "ACL support disabled"),
        ("GET", "agent/service/none", 404, "unknown service ID: none"),
        ("PUT", "agent/force-leave/none", 500, "agent: No node found with name 'none'"),
    ] {
        let answer = world.ask(method, path).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, text.as_bytes()), "{path}");
    }
    let wrong = world.ask("GET", "health/service/web?filter=Nope==x").await;
    assert_eq!(wrong.status, 400);
    assert!(String::from_utf8_lossy(&wrong.body).contains("Selector \"Nope\" is not valid"));
}

#[tokio::test]
async fn wishes_choose_and_order() {
    let world = World::new().await;
    for (path, pointer, found) in [
        ("health/service/web", "/Service/ID", &["h1:a:80", "h2:b:80"][..]),
        ("health/service/web?passing", "/Service/ID", &["h1:a:80"]),
        ("health/service/web?passing=1", "/Service/ID", &["h1:a:80"]),
        ("health/service/web?passing=false", "/Service/ID", &["h1:a:80", "h2:b:80"]),
        ("health/service/web?tag=v1", "/Service/ID", &["h1:a:80"]),
        ("health/service/web?tag=HTTP&tag=v2", "/Service/ID", &["h2:b:80"]),
        ("health/service/web?tag=v1&tag=v2", "/Service/ID", &[]),
        ("health/service/web?tag=v2&passing", "/Service/ID", &[]),
        ("health/service/web?near=h2", "/Service/ID", &["h2:b:80", "h1:a:80"]),
        ("health/service/web?near=_agent", "/Service/ID", &["h1:a:80", "h2:b:80"]),
        ("health/service/web?near=nobody", "/Service/ID", &["h1:a:80", "h2:b:80"]),
        ("health/service/web?node-meta=zone:b", "/Service/ID", &["h2:b:80"]),
        ("health/service/web?node-meta=zone:b&node-meta=x:y", "/Service/ID", &[]),
        ("health/service/web?filter=Checks.Status%3D%3Dcritical", "/Service/ID", &["h2:b:80"]),
        ("health/service/web?filter=%22V1%22+in+Service.Tags", "/Service/ID", &["h1:a:80"]),
        ("catalog/service/web?filter=ServicePort!=31001", "/ServiceID", &["h2:b:80"]),
        ("catalog/service/web?near=h2", "/ServiceID", &["h2:b:80", "h1:a:80"]),
        ("catalog/nodes", "/Node", &["h1", "h2"]),
        ("catalog/nodes?near=h2", "/Node", &["h2", "h1"]),
        ("catalog/nodes?filter=Meta.zone==b", "/Node", &["h2"]),
        ("health/state/critical", "/CheckID", &["service:h2:b:80"]),
        ("health/state/warning", "/CheckID", &[]),
        ("health/state/any?node-meta=zone:a", "/CheckID", &["serfHealth", "service:h1:a:80"]),
        ("health/state/passing?filter=CheckID==serfHealth", "/Node", &["h1", "h2"]),
        ("health/checks/web", "/Status", &["passing", "critical"]),
    ] {
        assert_eq!(world.each(path, pointer).await, found, "{path}");
    }
}

/// Asks with the index that an answer had, and says whether that waits.
async fn waits(world: &World, path: &str) -> bool {
    let index = world.ask("GET", path).await.index().unwrap();
    let sign = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{sign}wait=10m&index={index}");
    let mut asking = std::pin::pin!(world.ask("GET", &path));
    futures_poll(asking.as_mut()).is_none()
}

/// Polls once.
fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_wakes_those_whom_it_concerns_and_nobody_else() {
    let paths = [
        "health/service/web",
        "health/service/web?passing",
        "health/checks/web",
        "catalog/service/db",
        "health/service/none",
        "catalog/services",
        "catalog/services?node-meta=zone:a",
        "catalog/nodes",
        "catalog/node/h1",
        "health/node/h2",
        "health/state/any",
    ];
    // What happens, and who hears of it: a letter for each of the paths.
    for (edit, woken) in [
        (
            plain(
                "h1",
                "a",
                31001,
                Health::Unhealthy,
                &[("SERVICE_TAGS", "http,V1"), ("SERVICE_ENV", "prod")],
            ),
            "yyy.....y.y",
        ),
        (plain("h2", "c", 31004, Health::Unchecked, &[("SERVICE_NAME", "db")]), "...y.yy..y."),
        (plain("h2", "x", 31009, Health::Unchecked, &[("SERVICE_NAME", "none")]), "....yyy..yy"),
        (gone("h2", "c"), "...y.yy..yy"),
        (host("h1", "10.0.0.1", HostLink::Disconnected, &[("zone", "a")]), "yyy.....y.y"),
        (host("h1", "10.0.0.1", HostLink::Active, &[("zone", "a")]), "..........."),
        (
            plain(
                "h2",
                "b",
                31002,
                Health::Unhealthy,
                &[("SERVICE_TAGS", "http,v2"), ("SERVICE_ENV", "prod")],
            ),
            "...........",
        ),
    ] {
        let mut world = World::new().await;
        for path in paths {
            assert!(waits(&world, path).await, "{path} answers what is known");
        }
        let mut indexes = vec![];
        for path in paths {
            indexes.push(world.ask("GET", path).await.index().unwrap());
        }
        world.apply(vec![edit.clone()]);
        let mut heard = String::new();
        for (path, index) in paths.iter().zip(indexes) {
            let sign = if path.contains('?') { '&' } else { '?' };
            let path = format!("{path}{sign}wait=10m&index={index}");
            let mut asking = std::pin::pin!(world.ask("GET", &path));
            heard.push(if futures_poll(asking.as_mut()).is_some() { 'y' } else { '.' });
        }
        assert_eq!(heard, woken, "{edit:?}");
        assert!(world.consul.waiters().is_empty(), "who hangs up is forgotten");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_answered_when_it_happens() {
    let mut world = World::new().await;
    let consul = world.consul.clone();
    let waiting = tokio::spawn(async move {
        let uri = "/v1/health/service/web?passing&index=7&wait=10m";
        let request = http::Request::builder().uri(uri).body(()).unwrap();
        let request = Request::read(&request.into_parts().0, Bytes::new(), "h1").unwrap();
        consul.answer(&request).await
    });
    while world.consul.waiters().is_empty() {
        tokio::task::yield_now().await;
    }
    world.apply(vec![plain("h2", "c", 31004, Health::Unchecked, &[("SERVICE_NAME", "db")])]);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "another service");
    world.apply(vec![gone("h1", "a")]);
    let answer = waiting.await.unwrap();
    assert_eq!((answer.index(), &answer.body[..]), (Some(9), &b"[]"[..]));
}

#[tokio::test(start_paused = true)]
async fn an_index_from_the_future_waits_and_then_gets_the_true_one() {
    let world = World::new().await;
    let begun = tokio::time::Instant::now();
    let answer = world.ask("GET", "health/service/web?index=999&wait=16s").await;
    assert!((16..=17).contains(&begun.elapsed().as_secs()));
    assert_eq!(answer.index(), Some(7));
}

#[tokio::test]
async fn answers_say_where_they_are_from() {
    let world = World::new().await;
    let answer = world.ask("GET", "health/service/web?cached").await;
    let header = |name: &str| answer.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    for (name, value) in [
        ("x-consul-index", Some("7")),
        ("x-consul-knownleader", Some("true")),
        ("x-consul-lastcontact", Some("0")),
        ("content-type", Some("application/json")),
        ("x-cache", Some("HIT")),
        ("age", Some("0")),
    ] {
        assert_eq!(header(name).as_deref(), value, "{name}");
    }
}

#[tokio::test]
async fn a_host_that_is_lost_is_critical_and_offers_nothing() {
    let mut world = World::new().await;
    world.apply(vec![host("h2", "10.0.0.2", HostLink::Lost, &[("zone", "b")])]);
    assert_eq!(world.text("catalog/services").await, "{\"web\":[\"V1\",\"http\"]}");
    assert_eq!(
        world.each("health/state/critical", "/Output").await,
        ["the host is lost: the cable"]
    );
    let members = world.each("agent/members", "/Status").await;
    assert_eq!(members, ["1", "4"]);
    world.apply(vec![host("h2", "10.0.0.2", HostLink::Active, &[("zone", "b")])]);
    assert_eq!(world.each("health/service/web", "/Service/ID").await.len(), 2);
}

/// What is shown is what would be shown by one who sees the cluster for the first time.
#[tokio::test]
async fn what_is_followed_reads_as_what_is_made_anew() {
    let mut world = World::new().await;
    world.apply(vec![gone("h1", "a"), plain("h1", "d", 31007, Health::Healthy, &[])]);
    world.apply(vec![host("h2", "10.0.0.9", HostLink::Active, &[])]);
    world.apply(vec![plain("h2", "c", 31008, Health::Unhealthy, &[("SERVICE_NAME", "db")])]);
    let mut fresh = World::new().await;
    fresh.cluster = world.cluster.clone();
    fresh.consul = open(facts()).await;
    fresh.consul.catalog().follow(&fresh.cluster, fresh.consul.waiters());
    for path in [
        "health/service/web",
        "health/service/db",
        "catalog/service/web",
        "catalog/nodes",
        "catalog/services",
        "health/state/any",
        "catalog/node/h2",
    ] {
        let strip = |text: String| -> String {
            text.split(',').filter(|part| !part.contains("Index\"")).collect()
        };
        assert_eq!(strip(world.text(path).await), strip(fresh.text(path).await), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_server_what_is_known_is_read_and_said_to_be_of_no_leader() {
    let world = World::new().await;
    let alone = Catalog::default();
    alone.show(&control::catalog::Catalog::of(&world.cluster), Index(77));
    let facts = facts();
    let ask = async |method: &str, path: &str| {
        let uri = format!("/v1/{path}");
        let request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
        let request = Request::read(&request.into_parts().0, Bytes::new(), "h1").unwrap();
        alone.alone(&request, &facts).await
    };
    let ids =
        |answer: &Answer| String::from_utf8_lossy(&answer.body).matches("\"Service\":{").count();
    for (path, found) in [("health/service/web", 2), ("health/service/web?passing&stale", 1)] {
        let answer = ask("GET", path).await.unwrap();
        let leader = answer.headers.get("x-consul-knownleader").unwrap();
        assert_eq!(
            (ids(&answer), answer.index(), leader.as_bytes()),
            (found, Some(77), &b"false"[..])
        );
    }
    let begun = tokio::time::Instant::now();
    ask("GET", "catalog/services?index=77&wait=10m").await.unwrap();
    assert!(begun.elapsed().as_secs() <= 11, "a server may be back");
    assert!(ask("GET", "agent/self").await.unwrap().is_ok());
    for (method, path) in [
        ("GET", "health/service/web?consistent"),
        ("GET", "kv/a"),
        ("PUT", "agent/join/h1"),
        ("GET", "health/service/web?dc=nowhere"),
    ] {
        assert!(ask(method, path).await.is_none(), "{method} {path}");
    }
}

#[tokio::test]
async fn further_addresses_and_whose_tags_they_are_come_back_as_they_were_said() {
    use model::registration::{ClientKey, ClientService};
    let mut world = World::new().await;
    let service = ClientService {
        key: ClientKey::new("h1", "s1"),
        service: "said".into(),
        tags: vec![],
        address: "10.9.9.9".into(),
        port: 80,
        meta: Default::default(),
        tagged_addresses: [("wan".to_owned(), ("198.51.100.1".to_owned(), 8080))].into(),
        weight_passing: 1,
        weight_warning: 1,
        enable_tag_override: true,
    };
    world.apply(vec![Edit::Put(Record::ClientService(Arc::new(service)))]);
    for (path, tagged, tags) in [
        ("catalog/service/said", "/0/ServiceTaggedAddresses", "/0/ServiceEnableTagOverride"),
        ("health/service/said", "/0/Service/TaggedAddresses", "/0/Service/EnableTagOverride"),
        ("agent/services", "/s1/TaggedAddresses", "/s1/EnableTagOverride"),
        ("agent/service/s1", "/TaggedAddresses", "/EnableTagOverride"),
    ] {
        let told = world.json(path).await;
        let wan = told.pointer(tagged).and_then(|all| all.get("wan")).expect(path);
        assert_eq!((&wan["Address"], &wan["Port"]), (&"198.51.100.1".into(), &8080.into()));
        let lan = told.pointer(tagged).and_then(|all| all.get("lan_ipv4")).expect(path);
        assert_eq!(lan["Address"], "10.9.9.9", "{path}");
        assert_eq!(told.pointer(tags), Some(&true.into()), "{path}");
    }
}
