//! Walks every method that the crate `rs-consul` has, against the server of `argv[1]`. Ends with the
//! first thing that is not as the crate's users know it. Prints one line a step.

use rs_consul::{
    Config, ConsistencyMode, Consul, ConsulBuilder, CreateOrUpdateKeyRequest, DeleteKeyRequest,
    DeregisterEntityPayload, GetNodesRequest, GetServiceNodesRequest, LockExpirationBehavior,
    LockRequest, LockWatchRequest, QueryOptions, ReadKeyRequest, RegisterEntityCheck,
    RegisterEntityPayload, RegisterEntityService,
};
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

static STEPS: AtomicUsize = AtomicUsize::new(0);

fn step(name: &str) {
    println!("{} {name}", STEPS.fetch_add(1, Ordering::Relaxed) + 1);
}

#[track_caller]
fn equal<T: PartialEq + Debug>(found: T, wanted: T) {
    assert_eq!(found, wanted, "step {}", STEPS.load(Ordering::Relaxed));
}

fn key(key: &str) -> ReadKeyRequest<'_> {
    ReadKeyRequest { key, ..Default::default() }
}

fn put(key: &str) -> CreateOrUpdateKeyRequest<'_> {
    CreateOrUpdateKeyRequest { key, ..Default::default() }
}

/// What a single key has.
async fn value(consul: &Consul, name: &str) -> Option<String> {
    let found = consul.read_key(key(name)).await.expect("the key is there");
    equal(found.response.len(), 1);
    found.response[0].value.clone()
}

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1).expect("the address of a server");
    let config = Config { address: format!("http://{address}"), ..Config::from_env() };
    let consul = ConsulBuilder::new(config.clone()).build();
    let root = format!("walk-rs/{}", std::process::id());
    keys(&consul, &root).await;
    a_read_that_waits(&consul, &config, &root).await;
    locks(&consul, &root).await;
    catalog(&consul).await;
    services_that_are_waited_for(&consul, &config).await;
    step("acl is off, and says so");
    let refused = consul.get_acl_tokens().await.expect_err("there are no tokens").to_string();
    assert!(refused.contains("401") && refused.contains("ACL support disabled"), "{refused}");
    for refused in [
        consul.get_acl_policies().await.map(drop),
        consul.read_acl_token("none".into()).await.map(drop),
        consul.delete_acl_token("none".into()).await,
        consul.delete_acl_policy("none".into()).await,
        consul.create_acl_policy(&rs_consul::CreateACLPolicyRequest::default()).await.map(drop),
        consul.create_acl_token(&rs_consul::CreateACLTokenPayload::default()).await.map(drop),
    ] {
        assert!(refused.is_err(), "it was taken");
    }
    let steps = STEPS.load(Ordering::Relaxed);
    println!("{{\"client\": \"rs-consul\", \"steps\": {steps}}}");
}

async fn keys(consul: &Consul, root: &str) {
    step("keys: create, update, read, flags, cas");
    let a = format!("{root}/a");
    let (done, _) = consul.create_or_update_key(put(&a), b"one".to_vec()).await.expect("a put");
    equal(done, true);
    equal(value(consul, &a).await.as_deref(), Some("one"));
    let flagged = CreateOrUpdateKeyRequest { flags: u64::MAX, ..put(&a) };
    equal(consul.create_or_update_key(flagged, b"two".to_vec()).await.expect("a put").0, true);
    let found = consul.read_key(key(&a)).await.expect("the key");
    equal(found.response[0].flags, u64::MAX);
    let modified = found.response[0].modify_index;
    equal(found.index, u64::try_from(modified).expect("an index"));
    let cas = |index| CreateOrUpdateKeyRequest { check_and_set: Some(index), ..put(&a) };
    let taken = consul.create_or_update_key(cas(modified - 1), b"x".to_vec()).await;
    equal(taken.expect("an answer").0, false);
    let taken = consul.create_or_update_key(cas(modified), b"three".to_vec()).await;
    equal(taken.expect("an answer").0, true);
    let taken = consul.create_or_update_key(cas(0), b"x".to_vec()).await;
    equal(taken.expect("an answer").0, false);
    equal(consul.create_or_update_key_sync(put(&a), b"four".to_vec()).expect("a put"), true);
    equal(value(consul, &a).await.as_deref(), Some("four"));

    step("keys: recurse, separator, consistency, delete");
    let b = format!("{root}/b/c");
    consul.create_or_update_key(put(&b), vec![]).await.expect("a put");
    let below = format!("{root}/");
    for consistency in
        [ConsistencyMode::Default, ConsistencyMode::Consistent, ConsistencyMode::Stale]
    {
        let all = ReadKeyRequest { recurse: true, consistency, ..key(&below) };
        let all = consul.read_key(all).await.expect("the keys").response;
        let names: Vec<&str> = all.iter().map(|one| one.key.as_str()).collect();
        equal(names, vec![a.as_str(), b.as_str()]);
        equal(all[1].value.clone(), None);
    }
    let delete = DeleteKeyRequest { key: &b, ..Default::default() };
    equal(consul.delete_key(delete).await.expect("a delete"), true);
    // The crate always says `recurse=…`, and with that no index may be given.
    let delete = DeleteKeyRequest { key: &a, check_and_set: 1, ..Default::default() };
    assert!(consul.delete_key(delete).await.is_err(), "recurse and cas exclude each other");
    let delete = DeleteKeyRequest { key: &below, recurse: true, ..Default::default() };
    equal(consul.delete_key(delete).await.expect("a delete"), true);
    let gone = consul.read_key(key(&a)).await.expect_err("it is gone").to_string();
    assert!(gone.contains("404"), "{gone}");
}

async fn a_read_that_waits(consul: &Consul, config: &Config, root: &str) {
    step("keys: a read waits for a change");
    let a = format!("{root}/waited");
    let (_, _) = consul.create_or_update_key(put(&a), b"1".to_vec()).await.expect("a put");
    let index = consul.read_key(key(&a)).await.expect("the key").index;
    let waiting = tokio::spawn({
        let (consul, a) = (Consul::new(config.clone()), a.clone());
        async move {
            let wait = Duration::from_secs(20);
            let request = ReadKeyRequest { index: Some(index), wait, ..key(&a) };
            consul.read_key(request).await.expect("an answer").response[0].value.clone()
        }
    });
    let other = format!("{root}/other");
    consul.create_or_update_key(put(&other), b"1".to_vec()).await.expect("a put");
    consul.create_or_update_key(put(&a), b"2".to_vec()).await.expect("a put");
    equal(waiting.await.expect("it ends").as_deref(), Some("2"));
}

async fn locks(consul: &Consul, root: &str) {
    step("locks: one holder, the other one waits until it is let go");
    let name = format!("{root}/lock");
    let request = LockRequest {
        key: &name,
        timeout: Duration::from_secs(10),
        lock_delay: Duration::from_secs(0),
        behavior: LockExpirationBehavior::Release,
        ..Default::default()
    };
    let held = consul.get_lock(request, b"first").await.expect("a free lock");
    let seen = consul.read_key(key(&name)).await.expect("the key").response;
    equal(seen[0].session.as_deref(), Some(held.session_id.as_str()));
    equal((seen[0].lock_index, seen[0].value.as_deref()), (1, Some("first")));
    let refused = consul.get_lock(request, b"second").await.expect_err("it is held");
    let index = match refused {
        error if error.to_string().starts_with("Lock acquisition failure: ") => error.to_string()
            ["Lock acquisition failure: ".len()..]
            .parse::<u64>()
            .expect("a number"),
        other => panic!("{other}"),
    };
    let began = Instant::now();
    // Its end lets go of the lock, by a blocking call of its own.
    std::thread::scope(|scope| {
        scope.spawn(move || drop(held));
    });
    let watch = LockWatchRequest {
        key: &name,
        index: Some(index),
        wait: Duration::from_secs(20),
        ..Default::default()
    };
    let free = consul.watch_lock(watch).await.expect("an answer");
    assert!(free.index > index && began.elapsed() < Duration::from_secs(15), "it was told late");
    equal(free.response[0].session.clone(), None);
    let second = consul.get_lock(request, b"second").await.expect("it is free");
    let seen = consul.read_key(key(&name)).await.expect("the key").response;
    equal((seen[0].lock_index, seen[0].value.as_deref()), (2, Some("second")));
    std::thread::scope(|scope| {
        scope.spawn(move || drop(second));
    });
}

async fn catalog(consul: &Consul) {
    step("catalog: register and deregister a node, a service and its check");
    let node = format!("walk-rs-{}", std::process::id());
    let service = RegisterEntityService::builder()
        .Service("walk-rs".into())
        .ID("walk-rs-1".into())
        .Tags(vec!["http".into(), "v1".into()])
        .Meta([("env".to_owned(), "dev".to_owned())].into())
        .Port(8080)
        .build();
    let check = |status: &str| {
        RegisterEntityCheck::builder()
            .Name("its word".into())
            .CheckID("walk-rs-check".into())
            .Status(status.into())
            .ServiceID("walk-rs-1".into())
            .build()
    };
    let payload = |status: &str| {
        RegisterEntityPayload::builder()
            .Node(node.clone())
            .Address("10.1.1.7".into())
            .Datacenter("dc1".into())
            .NodeMeta([("rack".to_owned(), "7".to_owned())].into())
            .Service(service.clone())
            .Checks(vec![check(status)])
            .build()
    };
    consul.register_entity(&payload("passing")).await.expect("a registration");
    let names = consul.get_all_registered_service_names(None).await.expect("names");
    assert!(names.response.contains(&"walk-rs".to_owned()) && names.index > 0, "{names:?}");
    let filter = "Meta.rack==7";
    let nodes = GetNodesRequest { filter: Some(filter), near: Some("_agent") };
    let nodes = consul.get_nodes(nodes, None).await.expect("nodes").response;
    equal(nodes.len(), 1);
    equal((nodes[0].node.as_str(), nodes[0].address.as_str()), (node.as_str(), "10.1.1.7"));
    equal(nodes[0].datacenter.as_str(), "dc1");
    let all = consul.get_nodes(GetNodesRequest::default(), None).await.expect("nodes").response;
    assert!(all.len() > 1, "the hosts are nodes too: {all:?}");
    let ask =
        |passing| GetServiceNodesRequest { service: "walk-rs", passing, ..Default::default() };
    let found = consul.get_service_nodes(ask(true), None).await.expect("nodes").response;
    equal(found.len(), 1);
    equal(found[0].service.tags.clone(), vec!["http".to_owned(), "v1".to_owned()]);
    // It registered no address: its node's is taken.
    let places = consul.get_service_addresses_and_ports("walk-rs", None).await.expect("places");
    equal(places, vec![("10.1.1.7".to_owned(), 8080)]);
    consul.register_entity(&payload("critical")).await.expect("a registration");
    equal(consul.get_service_nodes(ask(true), None).await.expect("nodes").response.len(), 0);
    equal(consul.get_service_nodes(ask(false), None).await.expect("nodes").response.len(), 1);
    let filter = "%22v2%22%20in%20Service.Tags";
    let filtered = GetServiceNodesRequest { filter: Some(filter), ..ask(false) };
    equal(consul.get_service_nodes(filtered, None).await.expect("nodes").response.len(), 0);
    let gone =
        DeregisterEntityPayload::builder().Node(node.clone()).ServiceID("walk-rs-1".into()).build();
    consul.deregister_entity(&gone).await.expect("an end");
    equal(consul.get_service_nodes(ask(false), None).await.expect("nodes").response.len(), 0);
    let gone = DeregisterEntityPayload::builder().Node(node.clone()).build();
    consul.deregister_entity(&gone).await.expect("an end");
    let all = consul.get_nodes(GetNodesRequest::default(), None).await.expect("nodes").response;
    assert!(all.iter().all(|one| one.node != node), "{all:?}");
    let options = QueryOptions { datacenter: Some("dc9".into()), ..Default::default() };
    let refused = consul.get_all_registered_service_names(Some(options)).await;
    let refused = refused.expect_err("there is no such datacenter").to_string();
    assert!(refused.contains("No path to datacenter"), "{refused}");
}

async fn services_that_are_waited_for(consul: &Consul, config: &Config) {
    step("catalog: a read waits for a service");
    let ask = || GetServiceNodesRequest { service: "walk-rs-late", ..Default::default() };
    let index = consul.get_service_nodes(ask(), None).await.expect("nodes").index;
    let options = QueryOptions {
        index: Some(index),
        wait: Some(Duration::from_secs(20)),
        timeout: Some(Duration::from_secs(30)),
        ..Default::default()
    };
    let waiting = tokio::spawn({
        let consul = Consul::new(config.clone());
        async move { consul.get_service_nodes(ask(), Some(options)).await.expect("an answer") }
    });
    let node = format!("walk-rs-late-{}", std::process::id());
    let service = RegisterEntityService::builder().Service("walk-rs-late".into()).Port(1).build();
    let payload = RegisterEntityPayload::builder()
        .Node(node.clone())
        .Address("10.1.1.8".into())
        .Service(service)
        .build();
    consul.register_entity(&payload).await.expect("a registration");
    let told = waiting.await.expect("it ends");
    equal(told.response.len(), 1);
    assert!(told.index > index, "{} after {index}", told.index);
    consul
        .deregister_entity(&DeregisterEntityPayload::builder().Node(node).build())
        .await
        .expect("an end");
}
