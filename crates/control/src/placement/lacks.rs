//! Why nothing fits: what each host lacks first, counted.

use super::check::Code;
use super::ports::Wish;
use super::request::Demand;
use super::{Ask, Fleet, Unplaced, Wake};
use model::id::{HostId, ServiceId};
use model::placement::Subject;
use model::reason::{Lack, Reason};
use model::service::PortMapping;
use std::collections::BTreeMap;

/// Kinds of lack that are told, the most frequent first.
const LACKS_MAX: usize = 8;

impl Fleet {
    pub(super) fn explain(&self, demand: &Demand, ask: &Ask<'_>) -> Unplaced {
        let mut wake = Wake { hosts: true, ..Wake::default() };
        let known = u32::try_from(self.hosts.order.len()).unwrap_or(u32::MAX);
        if self.hosts.connected == 0 {
            return Unplaced { reason: Reason::NoHost { known }, wake };
        }
        let pin = ask.pin.and_then(|pin| self.hosts.index(pin));
        let looked_at = self.hosts.order.iter().filter(|host| pin.is_none_or(|pin| pin == **host));
        let (mut lacks, mut codes): (BTreeMap<Lack, u32>, BTreeMap<Code, (u32, u32)>) =
            Default::default();
        let mut hosts = 0;
        for host in looked_at.copied() {
            hosts += 1;
            if let Some(lack) = self.before_check(demand, host) {
                *lacks.entry(lack).or_default() += 1;
            } else if let Err(code) = self.check_all(demand, host) {
                codes.entry(code).or_insert((0, host)).0 += 1;
            }
        }
        for (code, (count, host)) in codes {
            wake = wake.or(wakes_on(code, ask));
            *lacks.entry(self.lack(code, demand, ask, host)).or_default() += count;
        }
        let mut lacks: Vec<(Lack, u32)> = lacks.into_iter().collect();
        lacks.sort_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.cmp(b)));
        lacks.truncate(LACKS_MAX);
        Unplaced { reason: Reason::NoFit { hosts, lacks }, wake }
    }

    /// Which service holds one of these ports on the host beside this one?
    pub(crate) fn port_holder(
        &self,
        host: &HostId,
        service: &ServiceId,
        ports: &[PortMapping],
    ) -> Option<Reason> {
        let index = self.hosts.index(host)?;
        let own = self.services.index(service).unwrap_or(u32::MAX);
        ports.iter().find_map(|port| {
            let (transport, number) = (port.protocol, port.host_port?);
            let ip = port.host_ip;
            let wish = Wish { transport, port: number, ip, service: own, exclusive: false };
            let holder = self.ports.in_the_way(index, &wish)?;
            let holder = self.services.get(holder).id.clone();
            Some(Reason::PortHeld { port: number, transport, holder, host: host.clone() })
        })
    }

    fn before_check(&self, demand: &Demand, host: u32) -> Option<Lack> {
        let wanted = demand.requested.as_ref();
        match wanted {
            Some(wanted) if *wanted != *self.hosts.id(host) => {
                Some(Lack::NotRequested { wanted: wanted.to_string() })
            }
            _ => self.hosts.closed(host),
        }
    }

    /// As `check`, with the constraints that are in `demand.hosts` too.
    fn check_all(&self, demand: &Demand, host: u32) -> Result<(), Code> {
        if self.hosts.choosy.has(host) && !self.is_accepted(host, &demand.labels) {
            return Err(Code::RequiredLabel);
        }
        if let Some(test) = demand.hard.iter().find(|test| !test.passes(self, host)) {
            return Err(Code::Constraint(test.nth));
        }
        self.check_room(demand, host)
    }

    fn lack(&self, code: Code, demand: &Demand, ask: &Ask<'_>, host: u32) -> Lack {
        match code {
            Code::RequiredLabel => {
                Lack::RequiredLabel { any_of: self.hosts.get(host).require_text() }
            }
            Code::Constraint(nth) => {
                let constraint = ask.template.placement.constraints.get(usize::from(nth));
                Lack::Constraint { text: constraint.map(ToString::to_string).unwrap_or_default() }
            }
            Code::MaxPerHost => Lack::MaxPerHost { max: demand.max_per_host.unwrap_or_default() },
            Code::Memory => Lack::Memory { wanted: bytes(demand.memory) },
            Code::Cpu => Lack::Cpu { wanted: cores(demand.cpu) },
            Code::Port(port, transport, holder) => {
                Lack::Port { port, transport, by: self.services.get(holder).id.to_string() }
            }
            Code::PortAddress(port) => Lack::PortAddress { port },
        }
    }
}

fn wakes_on(code: Code, ask: &Ask<'_>) -> Wake {
    let on_hosts = |nth: u8| {
        let constraint = ask.template.placement.constraints.get(usize::from(nth));
        constraint.is_some_and(|c| matches!(c.on, Subject::HostLabel { .. } | Subject::Host { .. }))
    };
    match code {
        Code::Constraint(nth) => Wake { labels: !on_hosts(nth), ..Wake::default() },
        Code::RequiredLabel => Wake::default(),
        Code::MaxPerHost | Code::Memory | Code::Cpu => Wake { capacity: true, ..Wake::default() },
        Code::Port(..) | Code::PortAddress(_) => Wake { ports: true, ..Wake::default() },
    }
}

/// "512 MiB", rounded up.
fn bytes(bytes: i64) -> String {
    const MIB: i64 = 1 << 20;
    if bytes < MIB {
        return format!("{bytes} bytes");
    }
    format!("{} MiB", bytes / MIB + i64::from(bytes % MIB > 0))
}

/// "1.5".
fn cores(milli: i64) -> String {
    let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
