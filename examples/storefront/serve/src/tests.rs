//! The server on a port of the kernel's choice: it serves, and ends without cutting anything off.

use super::*;
use crate::http::Answer;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

struct Running {
    port: u16,
    stopper: Stopper,
    ended: Receiver<io::Result<()>>,
}

fn begin(serve: impl Fn(&Connection) + Send + Sync + 'static) -> Running {
    let server = Server::bind(0).unwrap();
    let (port, stopper) = (server.port().unwrap(), server.stopper().unwrap());
    let (tell, ended) = sync_channel(1);
    thread::spawn(move || tell.send(server.run(serve)).unwrap());
    Running { port, stopper, ended }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn ends(&self) {
        self.ended.recv_timeout(Duration::from_secs(5)).expect("it ends").unwrap();
    }
}

fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut buffer = vec![];
    loop {
        assert_ne!(http::fill(&mut *stream, &mut buffer).unwrap(), 0, "{buffer:?}");
        let text = String::from_utf8_lossy(&buffer);
        if text.ends_with("yes") {
            return text.into_owned();
        }
    }
}

/// A handler that waits inside each request until the test lets it go.
fn gated() -> (impl Fn(&Connection) + Send + Sync, Receiver<()>, SyncSender<()>) {
    let (inside, is_inside) = sync_channel(8);
    let (open, gate) = sync_channel::<()>(8);
    let gate = Mutex::new(gate);
    let serve = move |c: &Connection| {
        http::serve(c, |_| {
            inside.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
            Answer::ok("yes".into())
        });
    };
    (serve, is_inside, open)
}

#[test]
fn a_connection_is_kept_alive() {
    let running = begin(|c| http::serve(c, |_| Answer::ok("yes".into())));
    let mut client = running.connect();
    for _ in 0..3 {
        let answer = ask(&mut client);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("connection: keep-alive"), "{answer}");
    }
}

#[test]
fn the_end_waits_for_a_request_in_flight_and_closes_idle_connections() {
    let (serve, is_inside, open) = gated();
    let running = begin(serve);
    let mut idle = running.connect();
    open.send(()).unwrap();
    ask(&mut idle);
    is_inside.recv().unwrap();
    let mut busy = running.connect();
    let asking = thread::spawn(move || ask(&mut busy));
    is_inside.recv().unwrap();
    running.stopper.stop();
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "the idle one is closed");
    open.send(()).unwrap();
    let answer = asking.join().unwrap();
    assert!(answer.contains("connection: close"), "{answer}");
    running.ends();
}

#[test]
fn a_request_that_never_ends_does_not_hold_the_end() {
    let (serve, is_inside, _open) = gated();
    let running = begin(serve);
    let mut stuck = running.connect();
    stuck.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    is_inside.recv().unwrap();
    let stopped = Instant::now();
    running.stopper.stop();
    running.ends();
    assert!(stopped.elapsed() >= Duration::from_millis(END_MS_MAX));
}
