//! Can a host take an instance? The first thing that it lacks is the reason that is shown.

use super::ports::Wish;
use super::request::{Demand, Test};
use super::{Ask, Fleet};
use model::id::HostId;
use model::mutation::{Mutation, is_in};
use model::service::{PortMapping, Transport};
use std::net::IpAddr;

/// What a host lacks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Code {
    /// None of the labels that it asks for.
    RequiredLabel,
    /// The nth constraint.
    Constraint(u8),
    MaxPerHost,
    Memory,
    Cpu,
    /// The port, and the service that holds it.
    Port(u16, Transport, u32),
    PortAddress(u16),
}

impl Fleet {
    /// What keeps one of `demand.hosts` from taking it.
    pub(super) fn check(&self, demand: &Demand, host: u32) -> Result<(), Code> {
        self.check_label(demand, host)?;
        match demand.tests.iter().find(|test| !test.passes(self, host)) {
            Some(test) => Err(Code::Constraint(test.nth)),
            None => self.check_room(demand, host),
        }
    }

    /// The same but for constraints on containers.
    pub(super) fn check_near(&self, demand: &Demand, host: u32) -> Result<(), Code> {
        self.check_label(demand, host)?;
        self.check_room(demand, host)
    }

    fn check_label(&self, demand: &Demand, host: u32) -> Result<(), Code> {
        let closed = self.hosts.choosy.has(host) && !self.is_accepted(host, &demand.labels);
        if closed { Err(Code::RequiredLabel) } else { Ok(()) }
    }

    /// Are cpu, memory and ports there?
    #[inline]
    pub(super) fn has_room(&self, demand: &Demand, host: u32) -> bool {
        let left = self.hosts.left(host);
        (demand.memory == 0 || demand.memory <= left.memory)
            && (demand.cpu == 0 || demand.cpu <= left.cpu)
            && (!demand.suspects.has(host) || self.fixed_ports(demand, host).is_ok())
    }

    /// Has a host, open or not, the cpu, the memory and the ports for an instance that is there
    /// already and holds nothing of them?
    pub(crate) fn fits_again(&mut self, ask: &Ask<'_>, host: &HostId) -> bool {
        let service = self.services.intern(ask.service);
        let demand = self.demand(ask, service);
        let Some(host) = self.hosts.index(host) else { return false };
        let left = self.hosts.left(host);
        (demand.memory == 0 || demand.memory <= left.memory)
            && (demand.cpu == 0 || demand.cpu <= left.cpu)
            && self.fixed_ports(&demand, host).is_ok()
    }

    /// The part of it that is about resources.
    pub(super) fn check_room(&self, demand: &Demand, host: u32) -> Result<(), Code> {
        if let Some(max) = demand.max_per_host
            && self.hosts.get(host).own(demand.service).run >= max
        {
            return Err(Code::MaxPerHost);
        }
        let left = self.hosts.left(host);
        let counted = !is_in(Mutation::LoseReservation);
        if counted && demand.memory > 0 && demand.memory > left.memory {
            return Err(Code::Memory);
        }
        if counted && demand.cpu > 0 && demand.cpu > left.cpu {
            return Err(Code::Cpu);
        }
        if demand.suspects.has(host) && !is_in(Mutation::PortTwice) {
            self.fixed_ports(demand, host)?;
        }
        Ok(())
    }

    /// Soft constraints that the host does not meet, a bit each in their order.
    pub(super) fn unmet(&self, soft: &[Test], host: u32) -> u128 {
        let unmet = soft.iter().zip(0_u32..).filter(|(test, _)| !test.passes(self, host));
        unmet.fold(0, |mask, (_, nth)| mask | 1 << nth.min(127))
    }

    /// The address that ports without one are published on: all of a request are on one. `None` is
    /// all addresses of the host.
    pub(super) fn fixed_ports(&self, demand: &Demand, host: u32) -> Result<Option<IpAddr>, Code> {
        let ips = &self.hosts.get(host).ips;
        let mut open: Vec<(&PortMapping, bool)> = vec![];
        for (port, exclusive) in &demand.ports {
            match port.host_ip {
                None => open.push((port, *exclusive)),
                Some(ip) if !ips.is_empty() && !ips.contains(&ip) && !ip.is_loopback() => {
                    return Err(Code::PortAddress(port.host_port.unwrap_or(port.container_port)));
                }
                Some(ip) => self.is_free(demand, host, port, Some(ip), *exclusive)?,
            }
        }
        if ips.is_empty() {
            for (port, exclusive) in open {
                self.is_free(demand, host, port, None, exclusive)?;
            }
            return Ok(None);
        }
        let mut held = None;
        for ip in ips {
            let taken = open.iter().find_map(|(port, exclusive)| {
                self.is_free(demand, host, port, Some(*ip), *exclusive).err().map(|_| *port)
            });
            match taken {
                None => return Ok(Some(*ip)),
                Some(port) => held = held.or(port.host_port),
            }
        }
        Err(Code::PortAddress(held.unwrap_or_default()))
    }

    fn is_free(
        &self,
        demand: &Demand,
        host: u32,
        port: &PortMapping,
        ip: Option<IpAddr>,
        exclusive: bool,
    ) -> Result<(), Code> {
        let Some(number) = port.host_port else { return Ok(()) };
        let service = demand.service;
        let wish = Wish { transport: port.protocol, port: number, ip, service, exclusive };
        match self.ports.in_the_way(host, &wish) {
            Some(holder) => Err(Code::Port(number, port.protocol, holder)),
            None => Ok(()),
        }
    }
}
