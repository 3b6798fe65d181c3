//! The servers on real sockets, with resolvers of our own making behind them.

use super::*;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;

const WAIT: Duration = Duration::from_secs(20);

/// A resolver that answers by a rule, on UDP and TCP.
struct Resolver {
    addr: SocketAddr,
    asked: Arc<AtomicUsize>,
}

/// What a resolver does with a question: an answer as bytes, or none.
type Rule = fn(Message, bool) -> Vec<Vec<u8>>;

impl Resolver {
    /// Its threads wait for questions until the test's process ends.
    fn start(rule: Rule) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(addr).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            let mut buffer = [0u8; 2_048];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                for answer in rule(Message::from_vec(&buffer[..length]).unwrap(), false) {
                    udp.send_to(&answer, from).unwrap();
                }
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let question = Message::from_vec(&read_frame(&mut stream)).unwrap();
                for answer in rule(question, true) {
                    write_frame(&mut stream, &answer);
                }
            }
        });
        Self { addr, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0u8; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn write_frame(stream: &mut TcpStream, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, bytes].concat()).unwrap();
}

/// An answer to a question, as a resolver gives it.
fn reply(question: &Message, code: ResponseCode, address: Option<[u8; 4]>) -> Message {
    let mut message = Message::new(question.id, MessageType::Response, OpCode::Query);
    message.metadata.response_code = code;
    message.add_query(question.queries[0].clone());
    if let Some([a, b, c, d]) = address {
        let name = question.queries[0].name().clone();
        message.add_answer(Record::from_rdata(name, 300, RData::A(A::new(a, b, c, d))));
    }
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

fn serve(resolvers: &[SocketAddr]) -> (Dns, SocketAddr) {
    let options = DnsOptions {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        threads: 2,
        resolvers: Resolvers::Fixed(resolvers.to_vec()),
    };
    let dns = Dns::start(options, Table::default()).unwrap();
    let addr = bound(&dns);
    (dns, addr)
}

/// The address of the only listener, once it listens.
fn bound(dns: &Dns) -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut listening = dns.listening();
    runtime.block_on(async {
        let ready = listening.wait_for(|all| all.values().any(Result::is_ok));
        let all = tokio::time::timeout(WAIT, ready).await.unwrap().unwrap();
        *all.values().next().unwrap().as_ref().unwrap()
    })
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(321, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask(server: SocketAddr, name: &str) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    socket.send_to(&bytes(&question(name, RecordType::A)), server).unwrap();
    let mut buffer = [0u8; 4_096];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(from, server);
    let message = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(message.id, 321);
    message
}

fn address(message: &Message) -> Option<Ipv4Addr> {
    message.answers.iter().find_map(|record| match &record.data {
        RData::A(address) => Some(address.0),
        _ => None,
    })
}

#[test]
fn what_is_not_ours_is_asked_once_and_kept_for_its_ttl() {
    let resolver = Resolver::start(|question, _| {
        vec![bytes(&reply(&question, ResponseCode::NoError, Some([1, 2, 3, 4])))]
    });
    let (dns, server) = serve(&[resolver.addr]);
    for name in ["www.example.com.", "WWW.example.COM."] {
        let message = ask(server, name);
        assert_eq!(address(&message), Some(Ipv4Addr::new(1, 2, 3, 4)));
        assert!((298..=300).contains(&message.answers[0].ttl));
    }
    assert_eq!(resolver.asked(), 1);
    assert_eq!(dns.counts(), [("queries_total", 2), ("forwarded_total", 1), ("cached", 1)]);
}

#[test]
fn an_answer_that_is_cut_is_asked_for_by_tcp() {
    let resolver = Resolver::start(|question, tcp| {
        let mut message = reply(&question, ResponseCode::NoError, None);
        if tcp {
            for n in 0..20u8 {
                let name = question.queries[0].name().clone();
                let text = RData::TXT(TXT::new(vec![n.to_string().repeat(100)]));
                message.add_answer(Record::from_rdata(name, 60, text));
            }
        } else {
            message.metadata.truncation = true;
        }
        vec![bytes(&message)]
    });
    let (_dns, server) = serve(&[resolver.addr]);
    // Too long for the asker's datagram as well: it comes again by TCP, twice on one connection.
    let message = ask(server, "big.example.");
    assert!(message.metadata.truncation && message.answers.is_empty());
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    for _ in 0..2 {
        write_frame(&mut stream, &bytes(&question("big.example.", RecordType::A)));
        let message = Message::from_vec(&read_frame(&mut stream)).unwrap();
        assert_eq!((message.metadata.truncation, message.answers.len()), (false, 20));
    }
}

#[test]
fn a_dead_resolver_and_one_that_fails_are_passed_over() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failing =
        Resolver::start(|question, _| vec![bytes(&reply(&question, ResponseCode::ServFail, None))]);
    let good = Resolver::start(|question, _| {
        vec![bytes(&reply(&question, ResponseCode::NoError, Some([9, 9, 9, 9])))]
    });
    let (_dns, server) = serve(&[closed, failing.addr, good.addr]);
    assert_eq!(address(&ask(server, "a.example.")), Some(Ipv4Addr::new(9, 9, 9, 9)));
    assert_eq!(address(&ask(server, "b.example.")), Some(Ipv4Addr::new(9, 9, 9, 9)));
    assert_eq!(failing.asked(), 1, "who answered last is asked first");
}

#[test]
fn when_nobody_knows_it_says_so() {
    let failing =
        Resolver::start(|question, _| vec![bytes(&reply(&question, ResponseCode::Refused, None))]);
    let (_dns, server) = serve(&[failing.addr]);
    assert_eq!(ask(server, "a.example.").metadata.response_code, ResponseCode::Refused);
    for _ in 0..2 {
        ask(server, "a.example.");
    }
    assert_eq!(failing.asked(), 3, "a failure is never kept");
    let (_dns, server) = serve(&[]);
    assert_eq!(ask(server, "a.example.").metadata.response_code, ResponseCode::Refused);
}

/// The answer to an asker whose own resolvers these are.
async fn of_own(asks: &mpsc::Sender<Ask>, servers: &[SocketAddr]) -> Option<Ipv4Addr> {
    let message = bytes(&question("a.example.", RecordType::A));
    let query = wire::query(&message).unwrap();
    let servers = (!servers.is_empty()).then(|| servers.into());
    let (sender, receiver) = oneshot::channel();
    let key = forward::kept::Key::of(&query, servers);
    let asker = forward::kept::Asker::of(&query, 512);
    asks.send(Ask { key, asker, to: forward::ReplyTo::Tcp(sender) }).await.unwrap();
    let answer = tokio::time::timeout(WAIT, receiver).await.unwrap().unwrap();
    address(&Message::from_vec(&answer).unwrap())
}

#[test]
fn a_caller_has_its_own_resolvers_asked_before_the_hosts() {
    let hosts = Resolver::start(|question, _| {
        vec![bytes(&reply(&question, ResponseCode::NoError, Some([1, 1, 1, 1])))]
    });
    let own = Resolver::start(|question, _| {
        vec![bytes(&reply(&question, ResponseCode::NoError, Some([2, 2, 2, 2])))]
    });
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (asks, questions) = mpsc::channel(4);
        let resolvers = Resolvers::Fixed(vec![hosts.addr]);
        let forwarder = tokio::spawn(forward::run(questions, resolvers, Arc::default()));
        let (first, second) = (Some(Ipv4Addr::new(1, 1, 1, 1)), Some(Ipv4Addr::new(2, 2, 2, 2)));
        assert_eq!(of_own(&asks, &[]).await, first);
        assert_eq!(of_own(&asks, &[own.addr]).await, second, "what is kept for others is not its");
        assert_eq!(of_own(&asks, &[]).await, first);
        assert_eq!(of_own(&asks, &[closed]).await, first, "the host's where its own are silent");
        drop(asks);
        forwarder.await.unwrap();
    });
    assert_eq!((hosts.asked(), own.asked()), (2, 1));
}

#[test]
fn a_no_of_a_resolver_is_final() {
    let first =
        Resolver::start(|question, _| vec![bytes(&reply(&question, ResponseCode::NXDomain, None))]);
    let second = Resolver::start(|question, _| {
        vec![bytes(&reply(&question, ResponseCode::NoError, Some([9, 9, 9, 9])))]
    });
    let (_dns, server) = serve(&[first.addr, second.addr]);
    assert_eq!(ask(server, "no.example.").metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(second.asked(), 0);
}

#[test]
fn forged_answers_are_not_taken() {
    let resolver = Resolver::start(|question, _| {
        let mut other_id = reply(&question, ResponseCode::NoError, Some([6, 6, 6, 6]));
        other_id.metadata.id = question.id.wrapping_add(1);
        let mut other_name = reply(&question, ResponseCode::NoError, Some([6, 6, 6, 6]));
        other_name.queries[0].set_name(Name::from_ascii("bank.example.").unwrap());
        let good = reply(&question, ResponseCode::NoError, Some([1, 1, 1, 1]));
        vec![vec![0; 3], bytes(&other_id), bytes(&other_name), bytes(&good)]
    });
    let (_dns, server) = serve(&[resolver.addr]);
    assert_eq!(address(&ask(server, "shop.example.")), Some(Ipv4Addr::new(1, 1, 1, 1)));
}

#[test]
fn many_who_ask_the_same_share_one_question() {
    use std::sync::{Condvar, LazyLock};
    // The resolver answers when it is let go.
    static GO: LazyLock<(Mutex<bool>, Condvar)> = LazyLock::new(Default::default);
    let resolver = Resolver::start(|question, _| {
        let held = GO.0.lock().unwrap();
        drop(GO.1.wait_while(held, |go| !*go).unwrap());
        vec![bytes(&reply(&question, ResponseCode::NoError, Some([1, 2, 3, 4])))]
    });
    let (dns, server) = serve(&[resolver.addr]);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let message = ask(server, "www.example.");
                assert_eq!(address(&message), Some(Ipv4Addr::new(1, 2, 3, 4)));
            });
        }
        let deadline = Instant::now() + WAIT;
        while dns.counts()[1].1 < 20 {
            assert!(Instant::now() < deadline, "not all have asked");
            std::thread::yield_now();
        }
        *GO.0.lock().unwrap() = true;
        GO.1.notify_all();
    });
    assert_eq!(resolver.asked(), 1);
}

#[test]
fn a_taken_port_is_had_when_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let resolvers = Resolvers::Fixed(vec![]);
    let options = DnsOptions { listen: vec![addr], threads: 1, resolvers };
    let dns = Dns::start(options, Table::default()).unwrap();
    let mut listening = dns.listening();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let failed = runtime.block_on(async {
        let told = listening.wait_for(|all| !all.is_empty());
        tokio::time::timeout(WAIT, told).await.unwrap().unwrap()[&addr].clone()
    });
    assert!(failed.unwrap_err().contains("in use"));
    drop(taken);
    assert_eq!(bound(&dns), addr);
    assert_eq!(ask(addr, "a.example.").metadata.response_code, ResponseCode::Refused);
}

#[test]
fn an_address_that_does_not_exist_yet_is_listened_on() {
    // TEST-NET-3: no machine has it.
    let addr: SocketAddr = "203.0.113.77:0".parse().unwrap();
    let resolvers = Resolvers::Fixed(vec![]);
    let options = DnsOptions { listen: vec![addr], threads: 1, resolvers };
    let dns = Dns::start(options, Table::default()).unwrap();
    assert_eq!(bound(&dns).ip(), addr.ip());
}

/// A table of a host that has to do with `api.shop` only, and with what was asked for besides.
fn partial(known: &[&str], elsewhere: &[&str]) -> Table {
    use model::view::{DnsView, HostView, NameTarget};
    let mut view = HostView::empty("e", &"a".parse().unwrap());
    let names = known
        .iter()
        .map(|name| ((*name).to_owned(), NameTarget::Address(Ipv4Addr::new(10, 42, 0, 7))));
    view.dns = Arc::new(DnsView {
        zones: vec!["rancher.internal".into()],
        ttl_s: 1,
        names: names.collect(),
        cnames: BTreeMap::new(),
        elsewhere: elsewhere.iter().map(|name| (*name).to_owned()).collect(),
        nobody_healthy: model::dns::NobodyHealthy::All,
    });
    let local = crate::Local::new();
    Table::of(&view, &crate::effective::effective(&view, &local, &Default::default()))
}

#[test]
fn a_name_that_the_view_does_not_tell_is_asked_for_and_answered_when_it_comes() {
    let (dns, addr) = serve(&[]);
    let elsewhere = ["db.other", "other-db-"];
    dns.publish(|_| partial(&["api.shop"], &elsewhere));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for (name, key, tcp) in [
        ("db.other.rancher.internal.", "db.other", false),
        ("other-db-12.rancher.internal.", "other-db-", true),
    ] {
        dns.publish(|_| partial(&["api.shop"], &elsewhere));
        let mut asked = dns.asked_changed();
        asked.mark_unchanged();
        let asking = std::thread::spawn(move || {
            if !tcp {
                return ask(addr, name);
            }
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.set_read_timeout(Some(WAIT)).unwrap();
            write_frame(&mut stream, &bytes(&question(name, RecordType::A)));
            Message::from_vec(&read_frame(&mut stream)).unwrap()
        });
        runtime.block_on(async {
            tokio::time::timeout(WAIT, asked.changed()).await.unwrap().unwrap();
        });
        assert!(dns.asked().contains(key), "{:?}", dns.asked());
        // Another table that does not say it either is no answer.
        dns.publish(|_| partial(&["api.shop", "web.shop"], &elsewhere));
        dns.publish(|_| partial(&["api.shop", "db.other", "other-db-12"], &[]));
        let answer = asking.join().unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
        assert_eq!(answer.answers.len(), 1);
    }
    // Who is not told in time is to try again: the name exists.
    dns.publish(|_| partial(&["api.shop"], &elsewhere));
    let late = ask(addr, "db.other.rancher.internal.");
    assert_eq!(late.metadata.response_code, ResponseCode::ServFail);
    let missing = ask(addr, "nobody.other.rancher.internal.");
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
}
