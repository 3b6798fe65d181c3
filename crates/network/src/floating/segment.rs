//! ARP on the segment that a host's address is on: questions are heard, answers and announcements are
//! said. Whether they may be said is the caller's to know, each time.

use crate::Error;
use crate::linux::announce::{ANSWERS, ASKS, BROADCAST, arp, arp_socket, link_address};
use crate::linux::route::Session;
use crate::overlay::Mac;
use socket2::{SockAddr, Socket};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Bytes of an ARP message of Ethernet and IPv4.
const ARP_BYTES: usize = 28;

/// The segment of one of this host's addresses.
#[derive(Debug)]
pub struct Segment {
    index: u32,
    mac: Mac,
    socket: AsyncFd<Socket>,
}

/// Somebody asks who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    mac: Mac,
    from: Ipv4Addr,
    /// The address that is asked for.
    pub about: Ipv4Addr,
}

impl Question {
    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ARP_BYTES] = bytes.get(..ARP_BYTES)?.try_into().ok()?;
        if bytes[..8] != [0, 1, 8, 0, 6, 4, 0, ASKS] {
            return None;
        }
        let address = |at: usize| {
            let octets: [u8; 4] = bytes[at..at + 4].try_into().unwrap_or_default();
            Ipv4Addr::from(octets)
        };
        let mac: Mac = bytes[8..14].try_into().ok()?;
        // Who asks in the name of all is answered by nobody.
        let is_one = mac[0] & 1 == 0;
        is_one.then(|| Self { mac, from: address(14), about: address(24) })
    }
}

impl Segment {
    /// The segment of the device that has this address. Takes root.
    ///
    /// # Errors
    /// When no device has it, or the kernel gives no such socket.
    pub async fn open(own: Ipv4Addr) -> Result<Self, Error> {
        let failed = |doing: &str| {
            let doing = doing.to_owned();
            move |source| Error::Floating { doing, source }
        };
        let session = Session::open()?;
        let addresses = session.addresses().await?;
        let links = session.links().await?;
        let at = addresses.iter().find(|(_, ip, ..)| *ip == IpAddr::V4(own));
        let link = at.and_then(|(index, ..)| links.values().find(|link| link.index == *index));
        let none = || io::Error::new(io::ErrorKind::NotFound, "no device has it");
        let link =
            link.ok_or_else(|| failed(&format!("find address {own} of this host"))(none()))?;
        let socket = arp_socket().map_err(failed("open a packet socket"))?;
        socket
            .bind(&link_address(link.index, BROADCAST))
            .map_err(failed("listen to ARP on the segment"))?;
        #[expect(unsafe_code, reason = "no safe call watches a socket that tokio does not know")]
        // SAFETY: it owns the socket, whose file stays the same one until it is dropped.
        let socket = unsafe { AsyncFd::register(socket) }
            .map_err(|error| failed("wait for ARP on the segment")(error.into()))?;
        Ok(Self { index: link.index, mac: link.mac, socket })
    }

    /// The next question of anybody about anything. Cancel-safe.
    ///
    /// # Errors
    /// When the device is gone or down.
    pub async fn question(&self) -> io::Result<Question> {
        loop {
            let read = self.socket.async_io(Interest::READABLE, |socket| {
                let mut bytes = [0; 64];
                let count = rustix::io::read(socket, &mut bytes)?;
                Ok(Question::read(&bytes[..count]))
            });
            if let Some(question) = read.await? {
                return Ok(question);
            }
        }
    }

    /// "It is here."
    ///
    /// # Errors
    /// When it cannot be sent at once.
    pub fn answer(&self, question: &Question) -> io::Result<()> {
        let to = (question.mac, question.from);
        let message = arp(ANSWERS, (self.mac, question.about), to);
        self.send(&message, &link_address(self.index, question.mac))
    }

    /// Tells everybody that an address is here, in the two forms that neighbours know.
    ///
    /// # Errors
    /// When it cannot be sent at once.
    pub fn announce(&self, address: Ipv4Addr) -> io::Result<()> {
        let (own, all) = ((self.mac, address), link_address(self.index, BROADCAST));
        let asks = self.send(&arp(ASKS, own, ([0; 6], address)), &all);
        self.send(&arp(ANSWERS, own, (BROADCAST, address)), &all).and(asks)
    }

    fn send(&self, message: &[u8], to: &SockAddr) -> io::Result<()> {
        self.socket.get_ref().send_to(message, to).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_and_nothing_else_is() {
        let (asker, ip) = ([2, 0, 0, 0, 0, 9], Ipv4Addr::new(192, 0, 2, 9));
        let about = Ipv4Addr::new(192, 0, 2, 50);
        let question = arp(ASKS, (asker, ip), ([0; 6], about));
        assert_eq!(Question::read(&question), Some(Question { mac: asker, from: ip, about }));
        // Ethernet makes short frames longer.
        assert!(Question::read(&[&question[..], &[0; 18]].concat()).is_some());
        assert_eq!(Question::read(&arp(ANSWERS, (asker, ip), ([0; 6], about))), None);
        assert_eq!(Question::read(&arp(ASKS, (BROADCAST, ip), ([0; 6], about))), None);
        assert_eq!(Question::read(&question[..27]), None);
        assert_eq!(Question::read(&[]), None);
    }
}
