//! Stand-ins for the dataplane: DNS and HTTP that answer with the address of whoever asks, so that
//! a test sees whether the caller's address was kept.

#![allow(dead_code, reason = "shared by several test programs")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

/// Names that DNS answers, lower case; any other is NXDOMAIN.
pub(crate) type Zone = BTreeMap<String, Ipv4Addr>;

/// Answers the caller's own address.
pub(crate) const WHO: &str = "who.test";

/// Names that were asked for, in order.
pub(crate) type Asked = Arc<Mutex<Vec<String>>>;

/// Serves DNS over UDP and TCP at `at` until the process ends.
pub(crate) fn serve_dns(at: SocketAddr, zone: Zone) -> Asked {
    let asked = Asked::default();
    let udp = UdpSocket::bind(at).unwrap();
    let tcp = TcpListener::bind(at).unwrap();
    let (zone_tcp, asked_tcp) = (zone.clone(), asked.clone());
    let asked_udp = asked.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((len, caller)) = udp.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..len], caller.ip(), &zone, &asked_udp) {
                udp.send_to(&answer, caller).unwrap();
            }
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let caller = stream.peer_addr().unwrap().ip();
            let mut len = [0; 2];
            stream.read_exact(&mut len).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut query).unwrap();
            let answer = answer(&query, caller, &zone_tcp, &asked_tcp).unwrap();
            let len = u16::try_from(answer.len()).unwrap().to_be_bytes();
            stream.write_all(&[&len[..], &answer].concat()).unwrap();
        }
    });
    asked
}

/// Serves HTTP at `at` until the process ends: the body is `NAME ADDRESS` of who asks.
pub(crate) fn serve_http(at: SocketAddr, name: &'static str) {
    let listener = TcpListener::bind(at).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let body = format!("{name} {}", stream.peer_addr().unwrap().ip());
            let mut request = [0; 2048];
            if stream.read(&mut request).unwrap() == 0 {
                continue;
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len());
            stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).unwrap();
        }
    });
}

/// One A record, NODATA for other types of a known name, NXDOMAIN for the rest.
fn answer(query: &[u8], caller: IpAddr, zone: &Zone, asked: &Asked) -> Option<Vec<u8>> {
    const A: u16 = 1;
    let mut name = String::new();
    let mut at = 12;
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        let label = query.get(at..at + len)?;
        name.push_str(&String::from_utf8_lossy(label).to_lowercase());
        name.push('.');
        at += len;
    }
    let name = name.trim_end_matches('.').to_owned();
    let question = query.get(12..at + 4)?;
    let kind = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    asked.lock().unwrap().push(name.clone());
    let address = match (name.as_str(), caller) {
        (WHO, IpAddr::V4(ip)) => Some(ip),
        _ => zone.get(&name).copied(),
    };
    let (code, data) = match address {
        None => (3, None),
        Some(ip) => (0, (kind == A).then_some(ip)),
    };
    let mut out = Vec::new();
    out.extend_from_slice(&query[..2]);
    out.extend_from_slice(&[0x85, 0x80 | code, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]);
    out.extend_from_slice(question);
    if let Some(ip) = data {
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend_from_slice(&ip.octets());
    }
    Some(out)
}
