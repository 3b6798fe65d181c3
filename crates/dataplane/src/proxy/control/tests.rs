//! Which listeners are touched by a change, and which endpoints stay the same.

use super::super::config::EndpointConfig;
use super::*;
use crate::proxy::EndpointState;
use std::net::Ipv4Addr;

fn http() -> ListenerMode {
    ListenerMode::Http { routes: vec![] }
}

fn to(upstream: &str) -> ListenerMode {
    ListenerMode::Forward { upstream: upstream.into() }
}

fn listener(port: u16, transport: Transport, mode: ListenerMode) -> ListenerConfig {
    ListenerConfig { ip: None, port, transport, mode }
}

fn wanted(list: &[(&str, ListenerConfig)]) -> BTreeMap<String, ListenerConfig> {
    list.iter().map(|(id, listener)| ((*id).to_owned(), listener.clone())).collect()
}

fn address(port: u16, transport: Transport) -> Address {
    Address { ip: None, port, transport, of: None }
}

fn slots(list: &[(&str, ListenerConfig)]) -> BTreeMap<Address, Slot> {
    let plan = plan(&BTreeMap::new(), &wanted(list));
    let slot = |(address, id, mode)| {
        let socket = SocketState::Bound(vec![]);
        (address, Slot { id, number: 1, mode: Arc::new(mode), socket })
    };
    plan.open.into_iter().map(slot).collect()
}

#[test]
fn a_listener_that_is_unchanged_is_not_touched() {
    let same =
        [("a", listener(80, Transport::Tcp, http())), ("z", listener(0, Transport::Udp, to("u")))];
    assert_eq!(plan(&slots(&same), &wanted(&same)), Plan::default());
}

#[test]
fn a_socket_outlives_its_listeners_name_and_mode() {
    let before = slots(&[("a", listener(80, Transport::Tcp, http()))]);
    let plan = plan(&before, &wanted(&[("b", listener(80, Transport::Tcp, to("u")))]));
    let adopt = vec![(address(80, Transport::Tcp), "b".to_owned(), to("u"))];
    assert_eq!(plan, Plan { adopt, ..Plan::default() });
}

#[test]
fn what_is_not_wanted_closes_and_what_is_new_opens() {
    let before = slots(&[("a", listener(80, Transport::Tcp, http()))]);
    let plan = plan(&before, &wanted(&[("a", listener(81, Transport::Tcp, http()))]));
    let open = vec![(address(81, Transport::Tcp), "a".to_owned(), http())];
    let close = vec![address(80, Transport::Tcp)];
    assert_eq!(plan, Plan { open, close, ..Plan::default() });
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let plan = plan(
        &BTreeMap::new(),
        &wanted(&[
            ("a", listener(80, Transport::Tcp, http())),
            ("b", listener(80, Transport::Tcp, to("u"))),
            ("c", listener(80, Transport::Udp, http())),
            ("d", listener(80, Transport::Udp, to("u"))),
        ]),
    );
    assert_eq!(plan.open.len(), 2);
    assert_eq!(plan.refused["b"], "listener a has the same address");
    assert_eq!(plan.refused["c"], "http needs tcp, the listener is udp");
}

#[test]
fn an_endpoint_is_the_same_while_key_run_and_address_are() {
    let endpoint = |key: &str, run, port| EndpointConfig {
        key: key.into(),
        run,
        addr: (Ipv4Addr::LOCALHOST, port).into(),
        weight: 1,
        state: EndpointState::Up,
    };
    let config = |endpoints| UpstreamConfig {
        endpoints,
        connect_timeout: Duration::from_millis(1),
        drain: Duration::ZERO,
        stop: Duration::ZERO,
        balance: Default::default(),
        outlier: None,
    };
    let changed = Arc::new(watch::Sender::new(0));
    let first = config(vec![endpoint("a", 1, 1), endpoint("b", 1, 2), endpoint("c", 1, 3)]);
    let (first, gone) = make_set(&first, &[], &changed);
    assert!(gone.is_empty());
    let mut twice = endpoint("a", 1, 1);
    twice.weight = 9;
    let next = config(vec![twice, endpoint("a", 1, 1), endpoint("b", 2, 2), endpoint("c", 1, 4)]);
    let (next, gone) = make_set(&next, &first.endpoints, &changed);
    assert_eq!(next.endpoints.len(), 3);
    assert!(Arc::ptr_eq(&next.endpoints[0].shared, &first.endpoints[0].shared));
    assert_eq!(next.endpoints[0].weight, 9);
    let mut gone: Vec<_> = gone.iter().map(|shared| shared.key.as_str()).collect();
    gone.sort_unstable();
    assert_eq!(gone, ["b", "c"]);
}
