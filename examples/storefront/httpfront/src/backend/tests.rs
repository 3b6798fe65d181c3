//! Answers byte by byte, and a backend that goes away under the client.

use super::*;
use std::io::Read;
use std::net::TcpListener;
use std::thread;

#[test]
fn an_answer_is_taken_when_it_is_whole() {
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(parse(whole.as_bytes(), false).unwrap(), Some(("abc".into(), true)));
    for cut in 0..whole.len() {
        assert_eq!(parse(&whole.as_bytes()[..cut], false).unwrap(), None, "{cut}");
    }
    let closing = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n";
    assert_eq!(parse(closing.as_bytes(), false).unwrap(), Some((String::new(), false)));
    let unsized_ = b"HTTP/1.0 200 OK\r\n\r\nabc";
    assert_eq!(parse(unsized_, false).unwrap(), None);
    assert_eq!(parse(unsized_, true).unwrap(), Some(("abc".into(), false)));
    for bad in [
        "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ] {
        assert!(parse(bad.as_bytes(), false).is_err(), "{bad}");
    }
}

/// Answers `answers` requests on each of `connections` connections, then closes each.
fn backend(connections: usize, answers: usize) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            for _ in 0..answers {
                let mut buffer = vec![];
                while head_end(&buffer).is_none() {
                    assert_ne!(fill(&stream, &mut buffer).unwrap(), 0);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap();
            }
            if answers == 0 {
                // breaks off after the request was read
                assert_ne!(stream.read(&mut [0; 512]).unwrap(), 0);
            }
        }
    });
    (port, serving)
}

#[test]
fn a_connection_is_kept_and_a_closed_one_is_noticed() {
    let (port, serving) = backend(2, 2);
    let client = Backend::new(&format!("127.0.0.1:{port}")).unwrap();
    for _ in 0..4 {
        assert_eq!(client.get().unwrap(), "hi");
    }
    serving.join().unwrap();
}

#[test]
fn a_backend_that_breaks_off_is_asked_once_more() {
    let (port, serving) = backend(2, 0);
    let client = Backend::new(&format!("127.0.0.1:{port}")).unwrap();
    let why = client.get().unwrap_err();
    assert!(why.starts_with(&format!("127.0.0.1:{port}: ")), "{why}");
    serving.join().unwrap();
}

#[test]
fn a_backend_without_a_port_is_refused() {
    for text in ["httpbackend", "httpbackend:x", ""] {
        assert!(Backend::new(text).err().is_some_and(|why| why.contains("name:port")), "{text}");
    }
}
