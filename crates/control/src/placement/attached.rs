//! Addresses of plain containers in the managed network: held like those of instances, so that
//! neither ever gets one of the other's.

use super::Fleet;
use model::cluster::Cluster;
use model::plain::{Attachment, PlainId};
use std::net::Ipv4Addr;

/// An address that a plain container holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    address: Ipv4Addr,
    /// The host's place in its table.
    host: u32,
}

impl Fleet {
    /// Notes the address of a plain container as the cluster says, in place of what was noted.
    pub(super) fn note_attachment(&mut self, cluster: &Cluster, id: &PlainId) {
        match cluster.attachment(id) {
            Some(attachment) => self.attach(attachment),
            None => self.detach(id),
        }
    }

    /// Notes the address of a plain container.
    pub fn attach(&mut self, attachment: &Attachment) {
        let Attachment { id, address } = attachment;
        if self.attached.get(id).is_some_and(|known| known.address == *address) {
            return;
        }
        let host = self.hosts.intern(&id.host);
        self.hosts.get_mut(host).attached += 1;
        self.addresses.hold(*address, host);
        if let Some(before) = self.attached.insert(id.clone(), Attached { address: *address, host })
        {
            self.free(before);
        }
        self.other();
    }

    fn detach(&mut self, id: &PlainId) {
        if let Some(before) = self.attached.remove(id) {
            self.free(before);
            self.freed.capacity = true;
            self.other();
        }
    }

    fn free(&mut self, Attached { address, host }: Attached) {
        self.addresses.release(address);
        let entry = self.hosts.get_mut(host);
        entry.attached = entry.attached.saturating_sub(1);
        if self.hosts.vacate(host) {
            self.spreads.clear();
        }
    }

    /// An address for a plain container: the first of `wanted` that nobody has, else a free one
    /// among those of its host. `None` when there is none left.
    #[must_use]
    pub fn address_for(&mut self, id: &PlainId, wanted: &[Ipv4Addr]) -> Option<Ipv4Addr> {
        let subnet = self.environment.as_ref()?.subnet;
        let host = self.hosts.index(&id.host)?;
        self.addresses
            .preferred(subnet, wanted, None)
            .or_else(|| self.addresses.free(subnet, host, self.services.turn, &[]))
    }
}
