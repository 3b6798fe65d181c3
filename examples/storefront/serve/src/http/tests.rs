//! What is a request and what is not, byte by byte, without a socket.

use super::*;
use std::io::Cursor;

/// A client that has said all it will say, and what it was answered.
struct Client {
    says: Cursor<Vec<u8>>,
    hears: Vec<u8>,
}

impl Read for &mut Client {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        // one byte at a time: no boundary may matter
        self.says.read(&mut to[..1])
    }
}

impl Write for &mut Client {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.hears.write(from)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn check(text: &str, expect: &[&str]) {
    let mut client = Client { says: Cursor::new(text.as_bytes().to_vec()), hears: vec![] };
    let mut buffer = vec![];
    let mut seen = vec![];
    loop {
        match read_request(&mut client, &mut buffer).unwrap() {
            Incoming::Whole(r) => {
                let kept = if r.keep_alive { "keep" } else { "close" };
                seen.push(format!("{} {} {kept}", r.method, r.path));
            }
            Incoming::Refused(status, _) => {
                seen.push(status.to_string());
                break;
            }
            Incoming::Gone => break,
        }
    }
    assert_eq!(seen, expect, "{text:?}");
}

#[test]
fn requests_are_told_apart() {
    check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &["GET / keep"]);
    check("GET /x?y HTTP/1.0\r\n\r\n", &["GET /x?y close"]);
    check("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &["GET / keep"]);
    check("GET / HTTP/1.1\r\nConnection: upgrade, Close\r\n\r\n", &["GET / close"]);
    check(
        "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcHEAD /b HTTP/1.1\r\n\r\n",
        &["POST /a keep", "HEAD /b keep"],
    );
}

#[test]
fn what_is_not_a_request_is_refused() {
    check("GET /\r\n\r\n", &["400"]);
    check("GET / HTTP/2.0\r\n\r\n", &["505"]);
    check("GET / HTTP/1.1\r\nno colon\r\n\r\n", &["400"]);
    check("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", &["400"]);
    check("POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", &["413"]);
    check("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", &["411"]);
    check(&format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX)), &["431"]);
    check("GET / HTTP/1.1\r\nHo", &[]);
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let says = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx";
    let mut client = Client { says: Cursor::new(says.into()), hears: vec![] };
    assert!(matches!(read_request(&mut client, &mut vec![]).unwrap(), Incoming::Whole(_)));
    assert_eq!(client.hears, b"HTTP/1.1 100 Continue\r\n\r\n");
}
