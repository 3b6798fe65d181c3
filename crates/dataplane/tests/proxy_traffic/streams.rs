//! TCP and UDP forwards.

use super::client::{Client, PATIENCE};
use super::house::{House, nobody, up};
use dataplane::proxy::EndpointState;
use model::service::Transport;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// Says its name, then echoes until the other side ends, then says "bye".
pub(crate) async fn tcp_echo(name: &'static str) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                stream.write_all(name.as_bytes()).await.unwrap();
                let (mut reader, mut writer) = stream.split();
                if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
                    writer.write_all(b"bye").await.ok();
                }
            });
        }
    });
    (addr, tasks)
}

async fn udp_echo(name: &'static str) -> (SocketAddr, JoinSet<()>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = socket.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut buffer = vec![0; 65_536];
        loop {
            let (size, from) = socket.recv_from(&mut buffer).await.unwrap();
            let text = [name.as_bytes(), &buffer[..size]].concat();
            socket.send_to(&text, from).await.unwrap();
        }
    });
    (addr, tasks)
}

#[tokio::test]
async fn a_connection_passes_bytes_both_ways_and_each_end_by_itself() {
    let mut house = House::forward(Transport::Tcp).await;
    let (echo, _tasks) = tcp_echo("echo:").await;
    house.serve(vec![up("e", 1, echo)]).await;
    let mut client = Client::connect(house.addr()).await;
    assert_eq!(client.bytes(5).await, b"echo:");
    let sent: Vec<u8> = (0..2_000_000_u32).map(|n| (n >> 3).to_le_bytes()[0]).collect();
    let (mut reader, mut writer) = client.stream.split();
    let mut back = vec![0; sent.len()];
    let (wrote, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut back));
    wrote.unwrap();
    read.unwrap();
    assert!(back == sent);
    assert_eq!(house.proxy.status().in_flight["e"], 1);
    // One side says its end; the other one still has something to say.
    writer.shutdown().await.unwrap();
    assert_eq!(client.rest().await, b"bye");
    house.soon("ended", |status| status.in_flight.is_empty()).await;
}

#[tokio::test]
async fn a_slow_reader_holds_its_sender_back_and_nobody_else() {
    let mut house = House::forward(Transport::Tcp).await;
    let (echo, _tasks) = tcp_echo("").await;
    house.serve(vec![up("e", 1, echo)]).await;
    let slow = Client::connect(house.addr()).await;
    // Fills every buffer on the way: the echo comes back and is not read.
    loop {
        match tokio::time::timeout(Duration::from_millis(200), slow.stream.writable()).await {
            Err(_full) => break,
            Ok(ready) => ready.unwrap(),
        }
        match slow.stream.try_write(&[7; 65_536]) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    let mut other = Client::connect(house.addr()).await;
    other.send("hello").await;
    assert_eq!(other.bytes(5).await, b"hello");
}

#[tokio::test]
async fn connections_go_to_the_least_loaded_that_can_be_reached() {
    let mut house = House::forward(Transport::Tcp).await;
    let ((a, _ta), (b, _tb)) = (tcp_echo("a").await, tcp_echo("b").await);
    house.serve(vec![up("dead", 1, nobody().await), up("a", 1, a), up("b", 1, b)]).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = Client::connect(house.addr()).await;
        client.bytes(1).await;
        clients.push(client);
    }
    let in_flight = house.proxy.status().in_flight;
    assert_eq!(
        (in_flight.get("a"), in_flight.get("b"), in_flight.get("dead")),
        (Some(&5), Some(&5), None)
    );
}

#[tokio::test]
async fn a_connection_outlives_the_start_of_draining_and_is_cut_at_its_end() {
    let mut house = House::forward(Transport::Tcp).await;
    let ((old, _to), (new, _tn)) = (tcp_echo("old").await, tcp_echo("new").await);
    house.serve(vec![up("old", 1, old)]).await;
    let mut client = Client::connect(house.addr()).await;
    assert_eq!(client.bytes(3).await, b"old");
    house.config.upstreams.get_mut("web").unwrap().drain = Duration::from_millis(300);
    let mut endpoints = vec![up("old", 1, old), up("new", 1, new)];
    endpoints[0].state = EndpointState::Draining;
    house.serve(endpoints).await;
    client.send("still").await;
    assert_eq!(client.bytes(5).await, b"still");
    assert_eq!(Client::connect(house.addr()).await.bytes(3).await, b"new");
    assert!(client.rest().await.is_empty());
    house.until("cut", |status| !status.in_flight.contains_key("old")).await;
}

#[tokio::test]
async fn a_connection_that_drains_is_left_to_the_stop_of_its_endpoint() {
    let mut house = House::forward(Transport::Tcp).await;
    let (old, _to) = tcp_echo("old").await;
    house.serve(vec![up("old", 1, old)]).await;
    let mut client = Client::connect(house.addr()).await;
    assert_eq!(client.bytes(3).await, b"old");
    let upstream = house.config.upstreams.get_mut("web").unwrap();
    (upstream.drain, upstream.stop) = (Duration::ZERO, Duration::from_secs(60));
    let mut endpoints = vec![up("old", 1, old)];
    endpoints[0].state = EndpointState::Draining;
    house.serve(endpoints).await;
    for _ in 0..100 {
        client.send("still").await;
        assert_eq!(client.bytes(5).await, b"still");
    }
}

#[tokio::test]
async fn a_reset_of_one_side_is_a_reset_of_the_other() {
    let mut house = House::forward(Transport::Tcp).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    house.serve(vec![up("e", 1, listener.local_addr().unwrap())]).await;
    let mut client = TcpStream::connect(house.addr()).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'x');
    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    let end = tokio::time::timeout(PATIENCE, client.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_waits_for_an_endpoint_and_is_reset_without_one() {
    let mut house = House::forward(Transport::Tcp).await;
    let (echo, _tasks) = tcp_echo("echo").await;
    let mut client = Client::connect(house.addr()).await;
    house.soon("accepted", |status| status.counters.connections == 1).await;
    house.serve(vec![up("e", 1, echo)]).await;
    assert_eq!(client.bytes(4).await, b"echo");
    house.serve(vec![]).await;
    let mut client = TcpStream::connect(house.addr()).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, client.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(house.proxy.status().counters.tcp_failed, 1);
}

/// Asks until an answer comes: a datagram may be lost when an endpoint refuses it.
async fn ask(socket: &UdpSocket, text: &str) -> String {
    let mut buffer = vec![0; 65_536];
    for _ in 0..20 {
        socket.send(text.as_bytes()).await.unwrap();
        let wait = tokio::time::timeout(Duration::from_millis(250), socket.recv(&mut buffer));
        if let Ok(size) = wait.await {
            return String::from_utf8_lossy(&buffer[..size.unwrap()]).into_owned();
        }
    }
    panic!("no answer to {text}");
}

async fn udp_client(house: &House) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(house.addr()).await.unwrap();
    socket
}

#[tokio::test]
async fn datagrams_of_one_client_go_to_one_endpoint_while_it_is_there() {
    let mut house = House::forward(Transport::Udp).await;
    let ((a, mut tasks_a), (b, _tb)) = (udp_echo("a:").await, udp_echo("b:").await);
    house.serve(vec![up("a", 1, a)]).await;
    let first = udp_client(&house).await;
    assert_eq!(ask(&first, "1").await, "a:1");
    house.serve(vec![up("a", 1, a), up("b", 1, b)]).await;
    let second = udp_client(&house).await;
    assert_eq!(ask(&second, "2").await, "b:2");
    for n in 0..10 {
        assert_eq!(ask(&first, &n.to_string()).await, format!("a:{n}"));
    }
    assert_eq!(house.proxy.status().in_flight["a"], 1);
    let sessions = house.proxy.requests(|_| true);
    assert_eq!(sessions["a"] + sessions["b"], 2, "datagrams of a session count once");
    let big = "z".repeat(60_000);
    assert_eq!(ask(&second, &big).await.len(), 60_002);
    // Its endpoint dies: the host's refusal moves the client to the other one.
    tasks_a.shutdown().await;
    assert_eq!(ask(&first, "3").await, "b:3");
    // Down, and out: so does the configuration.
    house.endpoints().remove(0);
    house.endpoints()[0].state = EndpointState::Down;
    let (c, _tc) = udp_echo("c:").await;
    house.endpoints().push(up("c", 1, c));
    house.apply().await;
    assert_eq!(ask(&first, "4").await, "c:4");
    assert_eq!(ask(&second, "4").await, "c:4");
}

#[tokio::test]
async fn a_session_of_an_endpoint_that_drains_ends_soon_after_its_last_datagram() {
    let mut house = House::forward(Transport::Udp).await;
    let ((a, _ta), (b, _tb)) = (udp_echo("a:").await, udp_echo("b:").await);
    house.serve(vec![up("a", 1, a)]).await;
    let client = udp_client(&house).await;
    assert_eq!(ask(&client, "1").await, "a:1");
    house.config.upstreams.get_mut("web").unwrap().drain = Duration::from_secs(60);
    let mut endpoints = vec![up("a", 1, a), up("b", 1, b)];
    endpoints[0].state = EndpointState::Draining;
    house.serve(endpoints).await;
    assert_eq!(ask(&client, "2").await, "a:2");
    house.until("drained", |status| !status.in_flight.contains_key("a")).await;
    assert_eq!(ask(&client, "3").await, "b:3");
}
