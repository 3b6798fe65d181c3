//! What is cut and joined again is what it was; every checksum is right.

use super::*;
use proptest::prelude::*;

/// A TCP packet with the sum of its pseudo header, as a kernel hands it to its card.
fn packet(sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, TCP, 0, 0];
    packet.extend([10, 42, 0, 2, 10, 42, 1, 3]);
    packet.extend([0x9c, 0x40, 0, 80]);
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 9, 0x80, flags, 1, 0, 0, 0, 0, 0]);
    // Options: a time stamp.
    packet.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    packet.extend(payload);
    length(&mut packet, IPV4_BYTES).unwrap();
    let sum = fold(pseudo(&packet, IPV4_BYTES));
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn offload(size: u16) -> Offload {
    let kind = if size > 0 { TCP4 } else { 0 };
    Offload { flags: NEEDS_CHECKSUM, kind, head: 52, size, checksum_start: 20, checksum_offset: 16 }
}

fn is_right(packet: &[u8]) -> bool {
    let ip = finish(add(0, &packet[..IPV4_BYTES])) == 0;
    ip && finish(add(pseudo(packet, IPV4_BYTES), &packet[IPV4_BYTES..])) == 0
}

fn cut(packet: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    let mut all = vec![];
    offload.cut(&mut packet.to_vec(), |one| all.push(one.to_vec()));
    all
}

fn joined(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut joiner = Joiner::new();
    let mut all = vec![];
    for packet in packets {
        joiner.push(packet, |one| all.push(one.to_vec()));
    }
    joiner.flush(|one| all.push(one.to_vec()));
    all
}

#[test]
fn a_header_reads_as_it_was_written() {
    let mut bytes = offload(1400).bytes().to_vec();
    bytes.extend([7, 8]);
    let (read, rest) = Offload::read(&mut bytes).unwrap();
    assert_eq!((read, &*rest), (offload(1400), &[7, 8][..]));
    assert_eq!(Offload::read(&mut [0; HEADER_BYTES - 1]), None);
}

#[test]
fn a_large_packet_becomes_segments_that_a_wire_would_take() {
    let payload: Vec<u8> = (0..2_500_u32).map(|n| (n % 251) as u8).collect();
    let all = cut(&packet(u32::MAX - 100, ACK | PUSH | FIN | CWR, &payload), offload(1_000));
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [1_052, 1_052, 552]);
    assert!(all.iter().all(|one| is_right(one)));
    let flags: Vec<u8> = all.iter().map(|one| one[33]).collect();
    assert_eq!(flags, [ACK | CWR, ACK, ACK | PUSH | FIN]);
    let sequences: Vec<u32> = all.iter().map(|one| word(one, 24).unwrap()).collect();
    assert_eq!(sequences, [u32::MAX - 100, 899, 1_899], "it wraps around");
    let numbers: Vec<u8> = all.iter().map(|one| one[5]).collect();
    assert_eq!(numbers, [0x34, 0x35, 0x36]);
    let together: Vec<u8> = all.iter().flat_map(|one| one[52..].to_vec()).collect();
    assert_eq!(together, payload);
}

#[test]
fn a_checksum_that_was_left_to_us_is_put_in() {
    let all = cut(&packet(5, ACK, b"odd"), offload(0));
    assert!(all.len() == 1 && is_right(&all[0]));
    let done = all[0].clone();
    assert_eq!(cut(&done, Offload::default()), [done], "one that has its own passes as it is");
}

#[test]
fn segments_in_a_row_become_one_packet_and_others_do_not() {
    type Spoil = fn(&mut Vec<Vec<u8>>);
    let resealed = |packet: &mut Vec<u8>| seal(packet, IPV4_BYTES).unwrap();
    let seal_all = |all: &mut Vec<Vec<u8>>| all.iter_mut().for_each(resealed);
    let cases: [(&str, Spoil, usize); 11] = [
        ("in a row", |_| {}, 1),
        ("one is missing", |all| _ = all.remove(1), 2),
        ("another order", |all| all.swap(0, 1), 3),
        ("a shorter one ends it", |all| all[1].truncate(600), 2),
        ("pushed ends it", |all| all[1][33] |= PUSH, 2),
        ("the end of a connection is by itself", |all| all[3][33] |= FIN, 2),
        ("another connection", |all| all[2][20] ^= 1, 3),
        ("another window", |all| all[2][34] ^= 1, 3),
        ("another acknowledgement", |all| all[2][31] ^= 1, 3),
        ("another option", |all| all[2][50] ^= 1, 3),
        ("another type of service", |all| all[2][1] ^= 4, 3),
    ];
    let payload = vec![b'x'; 3_900];
    for (name, spoil, expected) in cases {
        let mut all = cut(&packet(1_000, ACK, &payload), offload(1_000));
        spoil(&mut all);
        seal_all(&mut all);
        let out = joined(&all);
        assert_eq!(out.len(), expected, "{name}");
        let bytes: usize = out.iter().map(|one| one.len() - HEADER_BYTES - 52).sum();
        assert_eq!(bytes, all.iter().map(|one| one.len() - 52).sum::<usize>(), "{name}");
    }
    let mut spoilt = cut(&packet(1_000, ACK, &payload), offload(1_000));
    spoilt[1][60] ^= 1;
    assert_eq!(joined(&spoilt).len(), 3, "a wrong checksum is not made a right one");
}

#[test]
fn what_is_joined_is_a_packet_that_the_kernel_can_cut_again() {
    let payload: Vec<u8> = (0..9_000_u32).map(|n| (n % 249) as u8).collect();
    let all = cut(&packet(77, ACK | PUSH, &payload), offload(1_388));
    let mut out = joined(&all);
    assert_eq!(out.len(), 1);
    let (read, whole) = Offload::read(&mut out[0]).unwrap();
    assert_eq!((read.kind, read.size, read.head), (TCP4, 1_388, 52));
    assert_eq!(cut(whole, read), all);
}

#[test]
fn what_is_joined_is_never_longer_than_ip_can_say() {
    let all: Vec<Vec<u8>> = (0..60_u32)
        .map(|n| cut(&packet(n * 1_400, ACK, &[7; 1_400]), offload(0)).remove(0))
        .collect();
    let out = joined(&all);
    assert_eq!(out.len(), 2);
    assert!(out.iter().all(|one| one.len() <= PACKET_BYTES_MAX));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        more in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut read = bytes.clone();
        if let Some((offload, packet)) = Offload::read(&mut read) {
            offload.cut(packet, |_| {});
        }
        joined(&[bytes, more]);
    }

    #[test]
    fn any_payload_is_the_same_after_all(
        payload in proptest::collection::vec(any::<u8>(), 1..5_000),
        size in 1_u16..1_500,
        sequence in any::<u32>(),
    ) {
        let all = cut(&packet(sequence, ACK, &payload), offload(size));
        prop_assert!(all.iter().all(|one| is_right(one)));
        let out = joined(&all);
        let together: Vec<u8> = out.iter().flat_map(|one| one[HEADER_BYTES + 52..].to_vec()).collect();
        prop_assert_eq!(together, payload);
    }
}
