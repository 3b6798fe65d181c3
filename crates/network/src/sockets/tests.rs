//! Tables for the parser and the matcher; the process behind a socket on the real /proc.

use super::*;
use proptest::prelude::*;

#[test]
fn a_socket_table_gives_the_sockets_that_hold_a_port() {
    // 127.0.0.1:8080 listening, 10.0.0.5:39000 connected, 0.0.0.0:53 and [::1]:53 udp, and
    // [::ffff:10.0.0.1]:80 listening; the last lines are damaged.
    let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 552 1 0 100 0 0 10 0\n\
        \x20  1: 0500000A:9858 0100000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 553 1 0 20 4 30 10 -1\n\
        \x20  2: 0100007F:1F9\n\
        \x20  3: ZZ00007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 554\n";
    let udp = "head\n  10: 00000000:0035 00000000:0000 07 0:0 00:0 0 0 0 600 2 0 0\n";
    let udp6 = "head\n  10: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0 00:0 0 0 0 601 2 0 0\n";
    let tcp6 = "head\n   0: 0000000000000000FFFF00000100000A:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 602 1 0\n";
    let bound = |transport, ip: &str, port, inode| Bound {
        transport,
        ip: ip.parse().unwrap(),
        port,
        inode,
    };
    assert_eq!(parse(Transport::Tcp, tcp), [bound(Transport::Tcp, "127.0.0.1", 8080, 552)]);
    assert_eq!(parse(Transport::Udp, udp), [bound(Transport::Udp, "0.0.0.0", 53, 600)]);
    assert_eq!(parse(Transport::Udp, udp6), [bound(Transport::Udp, "::1", 53, 601)]);
    assert_eq!(parse(Transport::Tcp, tcp6), [bound(Transport::Tcp, "10.0.0.1", 80, 602)]);
    assert_eq!(parse(Transport::Tcp, ""), []);
}

#[test]
fn a_port_clashes_as_a_bind_would() {
    // (wanted, bound, would a bind fail?)
    let cases = [
        (None, "0.0.0.0", true),
        (None, "127.0.0.1", true),
        (None, "::1", true),
        (Some("127.0.0.1"), "0.0.0.0", true),
        (Some("127.0.0.1"), "::", true),
        (Some("127.0.0.1"), "127.0.0.1", true),
        (Some("127.0.0.1"), "10.0.0.1", false),
        (Some("0.0.0.0"), "10.0.0.1", true),
        (Some("0.0.0.0"), "::1", false),
        (Some("::1"), "::", true),
        (Some("::1"), "0.0.0.0", false),
        (Some("::"), "10.0.0.1", true),
        (Some("::"), "::1", true),
    ];
    for (wanted, at, expected) in cases {
        let wanted = wanted.map(|ip: &str| ip.parse().unwrap());
        let bound =
            Bound { transport: Transport::Tcp, ip: at.parse().unwrap(), port: 80, inode: 1 };
        assert_eq!(clash((Transport::Tcp, 80, wanted), &bound), expected, "{wanted:?} {at}");
        assert!(!clash((Transport::Udp, 80, wanted), &bound), "another transport");
        assert!(!clash((Transport::Tcp, 81, wanted), &bound), "another port");
    }
}

#[tokio::test]
async fn the_holder_of_a_port_is_named_with_its_pid() {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = std::net::UdpSocket::bind("[::1]:0").unwrap();
    let (tcp_port, udp_port) = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
    let wanted = [
        (Transport::Tcp, tcp_port, None),
        (Transport::Udp, udp_port, None),
        (Transport::Tcp, tcp_port, Some("127.0.0.2".parse().unwrap())),
    ];
    let found = listening(&wanted).await.unwrap();
    let shown: Vec<_> = found.iter().map(|h| (h.wanted.1, h.ip.to_string())).collect();
    assert_eq!(shown, [(tcp_port, "127.0.0.1".into()), (udp_port, "::1".into())]);
    for holder in &found {
        let program = holder.program.as_ref().unwrap();
        assert_eq!(program.pid, std::process::id());
        assert_eq!(holder.to_string(), format!("{} (pid {})", program.name, program.pid));
    }
    drop((tcp, udp));
    assert_eq!(listening(&wanted).await.unwrap(), []);
}

proptest! {
    #[test]
    fn no_table_makes_the_parser_panic(text in "(?s).{0,400}", line in "[0-9A-F: ]{0,120}") {
        parse(Transport::Tcp, &text);
        parse_line(Transport::Udp, &line);
    }
}

#[test]
fn a_socket_that_nobody_holds_counts_only_while_it_is_there() {
    let socket = |inode| Bound {
        transport: Transport::Tcp,
        ip: Ipv4Addr::UNSPECIFIED.into(),
        port: 80,
        inode,
    };
    let wanted = (Transport::Tcp, 80, None);
    let found = vec![(wanted, socket(1)), (wanted, socket(2)), (wanted, socket(3))];
    let held = [(1, Program { pid: 7, name: "nginx".into() })].into();
    let kept = still_there(found, &held, &[2].into());
    let inodes: Vec<u64> = kept.iter().map(|(_, b)| b.inode).collect();
    assert_eq!(inodes, [1, 2], "3 was closed meanwhile");
}
