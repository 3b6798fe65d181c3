//! What the kernel leaves to whoever reads a TUN device, and what it takes from who writes it: TCP
//! packets of up to 64 KiB that are cut into segments here, and checksums. Pure.

/// Bytes of the header before each packet.
pub(super) const HEADER_BYTES: usize = 10;
/// Longest packet with its header.
pub(super) const PACKET_BYTES_MAX: usize = HEADER_BYTES + 65_535;
/// The checksum is left to the reader.
const NEEDS_CHECKSUM: u8 = 1;
/// TCP over IPv4 that is to be cut; without more of it, it is one packet.
const TCP4: u8 = 1;
const IPV4_BYTES: usize = 20;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 0x01;
const PUSH: u8 = 0x08;
const ACK: u8 = 0x10;
const CWR: u8 = 0x80;

/// The kernel's `virtio_net_hdr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offload {
    flags: u8,
    kind: u8,
    head: u16,
    /// Bytes of payload of each segment.
    size: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

impl Offload {
    /// Of what was read, with the packet behind it.
    pub(super) fn read(bytes: &mut [u8]) -> Option<(Self, &mut [u8])> {
        let (header, packet) = bytes.split_at_mut_checked(HEADER_BYTES)?;
        let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let read = Self {
            flags: header[0],
            kind: header[1],
            head: word(2),
            size: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
        };
        Some((read, packet))
    }

    fn bytes(self) -> [u8; HEADER_BYTES] {
        let Self { flags, kind, head, size, checksum_start, checksum_offset } = self;
        let mut bytes = [flags, kind, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, word) in [head, size, checksum_start, checksum_offset].into_iter().enumerate() {
            bytes[2 + 2 * at..][..2].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// Gives the packet as it would be on a wire: whole, or in segments, with its checksums. What
    /// makes no sense is left out.
    pub(super) fn cut(self, packet: &mut [u8], mut each: impl FnMut(&[u8])) {
        if self.kind == TCP4 && self.size > 0 {
            _ = self.segments(packet, each);
            return;
        }
        let done = self.flags & NEEDS_CHECKSUM == 0;
        if self.kind == 0 && (done || self.complete(packet).is_some()) {
            each(packet);
        }
    }

    /// Puts the checksum in; the sum of the pseudo header is there already.
    fn complete(self, packet: &mut [u8]) -> Option<()> {
        let start = usize::from(self.checksum_start);
        let sum = finish(add(0, packet.get(start..)?));
        let is_udp = packet.get(9) == Some(&UDP);
        let at = start + usize::from(self.checksum_offset);
        // A sum of zero means none in UDP.
        let sum = if sum == 0 && is_udp { 0xffff } else { sum };
        packet.get_mut(at..at + 2)?.copy_from_slice(&sum.to_be_bytes());
        Some(())
    }

    fn segments(self, packet: &mut [u8], mut each: impl FnMut(&[u8])) -> Option<()> {
        let (ip, head) = heads(packet)?;
        let (header, payload) = packet.split_at_checked(head)?;
        let size = usize::from(self.size);
        let count = payload.len().div_ceil(size);
        let number = u16::from_be_bytes([header[4], header[5]]);
        let sequence = word(header, ip + 4)?;
        let mut segment = vec![0; head + size];
        for (n, part) in payload.chunks(size).enumerate() {
            let segment = segment.get_mut(..head + part.len())?;
            segment[..head].copy_from_slice(header);
            segment[head..].copy_from_slice(part);
            let n_16 = u16::try_from(n).unwrap_or(0);
            segment[4..6].copy_from_slice(&number.wrapping_add(n_16).to_be_bytes());
            let offset = u32::try_from(n * size).unwrap_or(0);
            segment[ip + 4..ip + 8].copy_from_slice(&sequence.wrapping_add(offset).to_be_bytes());
            let flags = &mut segment[ip + 13];
            *flags &= if n > 0 { !CWR } else { !0 };
            *flags &= if n + 1 < count { !(FIN | PUSH) } else { !0 };
            seal(segment, ip)?;
            each(segment);
        }
        Some(())
    }
}

/// Where the headers of a TCP packet over IPv4 end: IP's, and TCP's.
fn heads(packet: &[u8]) -> Option<(usize, usize)> {
    let first = *packet.first()?;
    let ip = usize::from(first & 15) * 4;
    let fits = first >> 4 == 4 && ip >= IPV4_BYTES && packet.get(9) == Some(&TCP);
    let tcp = usize::from(packet.get(ip + 12)? >> 4) * 4;
    (fits && tcp >= 20 && ip + tcp <= packet.len()).then_some((ip, ip + tcp))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Sets the length and both checksums of a TCP packet.
fn seal(packet: &mut [u8], ip: usize) -> Option<()> {
    length(packet, ip)?;
    packet[ip + 16..ip + 18].copy_from_slice(&[0, 0]);
    let sum = finish(add(pseudo(packet, ip), &packet[ip..]));
    packet[ip + 16..ip + 18].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Sets the length and the checksum of the IP header.
fn length(packet: &mut [u8], ip: usize) -> Option<()> {
    let length = u16::try_from(packet.len()).ok()?;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[10..12].copy_from_slice(&[0, 0]);
    let sum = finish(add(0, packet.get(..ip)?));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Sum of the pseudo header.
fn pseudo(packet: &[u8], ip: usize) -> u64 {
    let length = (packet.len() - ip) as u64;
    add(length + u64::from(packet[9]), &packet[12..20])
}

/// Adds up words of 16 bits, those of two at a time.
fn add(sum: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(4);
    let mut sum = sum;
    for four in &mut chunks {
        sum += u64::from(u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
    }
    let rest = chunks.remainder();
    let byte = |at: usize| u64::from(rest.get(at).copied().unwrap_or(0));
    sum + (byte(0) << 24 | byte(1) << 16 | byte(2) << 8)
}

/// The sum in 16 bits.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).unwrap_or(0)
}

/// The checksum.
fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// Joins TCP segments of one connection that come in a row into one packet for the kernel, as a
/// network card does. What cannot be joined passes as it is, in its order.
#[derive(Debug)]
pub(super) struct Joiner {
    /// Header and packet.
    held: Vec<u8>,
    run: Option<Run>,
}

/// Segments that were joined.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Bytes of both headers.
    head: usize,
    /// Payload of each segment.
    size: usize,
    /// What the next one begins with.
    next: u32,
    count: usize,
    /// Nothing can follow any more.
    closed: bool,
}

impl Joiner {
    pub(super) fn new() -> Self {
        Self { held: Vec::with_capacity(PACKET_BYTES_MAX), run: None }
    }

    /// Takes a packet; gives what is not held back, with its header.
    pub(super) fn push(&mut self, packet: &[u8], mut give: impl FnMut(&[u8])) {
        let found = plain_segment(packet);
        if let Some((head, sequence)) = found
            && self.joins(packet, head, sequence)
        {
            return;
        }
        self.flush(&mut give);
        self.held.clear();
        self.held.extend_from_slice(&Offload::default().bytes());
        self.held.extend_from_slice(packet);
        let Some((head, sequence)) = found else { return give(&self.held) };
        let size = packet.len() - head;
        self.run = Some(Run {
            head,
            size,
            next: sequence.wrapping_add(u32::try_from(size).unwrap_or(0)),
            count: 1,
            closed: packet[33] & PUSH != 0,
        });
    }

    /// Does it follow what is held? Then it is held too.
    fn joins(&mut self, packet: &[u8], head: usize, sequence: u32) -> bool {
        let Some(run) = &mut self.run else { return false };
        let held = &self.held[HEADER_BYTES..];
        let size = packet.len() - head;
        let fits = !run.closed
            && head == run.head
            && sequence == run.next
            && size <= run.size
            && held.len() + size <= usize::from(u16::MAX);
        // All of the headers but length, number and checksum of IP, and sequence, flags and checksum
        // of TCP, of which the flags were looked at.
        let same = |from: usize, to: usize| held.get(from..to) == packet.get(from..to);
        let alike = fits
            && same(0, 2)
            && same(6, 10)
            && same(12, 24)
            && same(28, 33)
            && same(34, 36)
            && same(38, head);
        if !alike {
            return false;
        }
        run.next = run.next.wrapping_add(u32::try_from(size).unwrap_or(0));
        run.count += 1;
        let pushed = packet[33] & PUSH;
        run.closed = pushed != 0 || size < run.size;
        self.held.extend_from_slice(&packet[head..]);
        self.held[HEADER_BYTES + 33] |= pushed;
        true
    }

    /// Gives what is held.
    pub(super) fn flush(&mut self, mut give: impl FnMut(&[u8])) {
        let Some(run) = self.run.take() else { return };
        if run.count > 1 {
            let packet = &mut self.held[HEADER_BYTES..];
            let sum = fold(pseudo(packet, IPV4_BYTES));
            packet[36..38].copy_from_slice(&sum.to_be_bytes());
            if length(packet, IPV4_BYTES).is_none() {
                return;
            }
            let small = |number: usize| u16::try_from(number).unwrap_or(0);
            let offload = Offload {
                flags: NEEDS_CHECKSUM,
                kind: TCP4,
                head: small(run.head),
                size: small(run.size),
                checksum_start: small(IPV4_BYTES),
                checksum_offset: 16,
            };
            self.held[..HEADER_BYTES].copy_from_slice(&offload.bytes());
        }
        give(&self.held);
    }
}

/// Where the payload of a segment begins and with which number, when others may be joined to it:
/// no options of IP, no fragment, no flag but ACK and PSH, some payload, and a right checksum, for a
/// new one will be made of all.
fn plain_segment(packet: &[u8]) -> Option<(usize, u32)> {
    let (ip, head) = heads(packet)?;
    let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let fragment = packet[6] & 0x3f != 0 || packet[7] != 0;
    let flags = packet[ip + 13];
    let plain = ip == IPV4_BYTES
        && length == packet.len()
        && head < length
        && !fragment
        && flags & !PUSH == ACK
        && finish(add(pseudo(packet, ip), &packet[ip..])) == 0;
    Some((head, word(packet, ip + 4)?)).filter(|_| plain)
}

#[cfg(test)]
mod tests;
