//! The switch and the hosts' cables: made, and broken as asked.

use crate::cluster::{Cluster, Keeper};
use crate::error::{Error, Result, tail};
use crate::faults::{ALL, Delay, SWITCH, far, near, splice};
use crate::ident::Ident;
use crate::relay;
use crate::run::{feed, text, wait_for};
use crate::state::{switch_address, switch_address6};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest wait for a device to come or go.
const DEVICE: Duration = Duration::from_secs(10);
/// Most that a frame may be late, in milliseconds.
pub const DELAY_MS_MAX: u32 = 60_000;

fn ip(lines: &str) -> Result {
    feed(Command::new("ip").args(["-batch", "-"]), lines)
}

fn is_there(device: &str) -> bool {
    Path::new("/sys/class/net").join(device).exists()
}

impl Cluster {
    /// The bridge that everything hangs on, with an address for who calls from here.
    pub(crate) fn make_switch(&self) -> Result {
        let (mtu, address, address6) = (self.state.mtu, switch_address(), switch_address6());
        ip(&format!(
            "link add {SWITCH} mtu {mtu} type bridge stp_state 0\n\
             address add {address}/24 dev {SWITCH}\n\
             address add {address6}/64 dev {SWITCH} nodad\n\
             link set {SWITCH} up\n"
        ))?;
        // a switch does not look into packets; a kernel without the filter has no such file
        for family in ["iptables", "ip6tables", "arptables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
            if Path::new(&path).exists() {
                fs::write(&path, "0").map_err(Error::file("written", Path::new(&path)))?;
            }
        }
        Ok(())
    }

    /// A cable from the switch to a machine that has power.
    pub(crate) fn plug(&self, name: &str) -> Result {
        let init = self.init_of(name)?;
        let number = self.state.nodes[name].number;
        let (mtu, pid, gateway) = (self.state.mtu, init.pid, switch_address());
        ip(&format!(
            "link add {name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {pid} \
             address 02:63:00:00:00:{number:02x}\n"
        ))?;
        let inside = format!(
            "address add 10.99.0.{number}/24 dev eth0\n\
             address add fd00:99::{number}/64 dev eth0 nodad\n\
             link set eth0 up\nroute add default via {gateway}\n"
        );
        feed(self.on(name, "ip")?.args(["-batch", "-"]), &inside)?;
        let master = if self.state.faults.delays.contains_key(name) {
            splice(name)
        } else {
            SWITCH.to_owned()
        };
        ip(&format!("link set {name} master {master}\n"))?;
        self.carrier(name)
    }

    /// The kernel takes the cable away with the machine's network, some time after it has died.
    pub(crate) fn unplug(&self, name: &str) -> Result {
        if is_there(name) {
            // it may go while we ask
            text(Command::new("ip").args(["link", "delete", name])).ok();
        }
        wait_for(&format!("cable {name} to go"), DEVICE, || Ok((!is_there(name)).then_some(())))
    }

    fn carrier(&self, name: &str) -> Result {
        if !is_there(name) {
            return Ok(());
        }
        let to = if self.state.faults.unplugged.contains(name) { "down" } else { "up" };
        ip(&format!("link set {name} {to}\n"))
    }

    fn apply(&self) -> Result {
        self.save()?;
        feed(Command::new("nft").args(["-f", "-"]), &self.state.faults.rules())
    }

    /// A machine, or the switch, from which people and tests call.
    fn check_end(&self, name: &str) -> Result {
        if name == SWITCH { Ok(()) } else { self.check_name(name) }
    }

    fn check_pair(&self, one: &str, other: &str) -> Result {
        self.check_end(one)?;
        self.check_end(other)?;
        if one == other {
            return Err(Error::Refused(format!("between {one} and itself there is no cable")));
        }
        Ok(())
    }

    /// Pulls a machine's cable: it sees that there is no carrier.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn cut(&mut self, name: &str) -> Result {
        self.check_name(name)?;
        self.state.faults.unplugged.insert(name.to_owned());
        self.save()?;
        self.carrier(name)
    }

    /// Nothing passes between these two any more; both go on with all others.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn cut_between(&mut self, one: &str, other: &str) -> Result {
        self.check_pair(one, other)?;
        self.state.faults.lose(Some(one), Some(other), ALL);
        self.state.faults.lose(Some(other), Some(one), ALL);
        self.apply()
    }

    /// Frames from the one to the other are lost; those back pass.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn one_way(&mut self, from: &str, to: &str) -> Result {
        self.check_pair(from, to)?;
        self.state.faults.lose(Some(from), Some(to), ALL);
        self.apply()
    }

    /// Loses frames to and from a machine, each with this chance in thousandths; 0 loses none.
    ///
    /// # Errors
    /// When there is no such machine, or the chance is above 1000.
    pub fn drop_frames(&mut self, name: &str, permille: u16) -> Result {
        self.check_name(name)?;
        if permille > ALL {
            return Err(Error::Refused("at most all frames can be lost: 100%".into()));
        }
        self.state.faults.lose(Some(name), None, permille);
        self.state.faults.lose(None, Some(name), permille);
        self.apply()
    }

    /// Makes frames to and from a machine late.
    ///
    /// # Errors
    /// When there is no such machine, or it is too late.
    pub fn delay(&mut self, name: &str, delay: Delay) -> Result {
        self.check_name(name)?;
        if delay.ms > DELAY_MS_MAX || delay.jitter_ms > delay.ms {
            return Err(Error::Refused(format!(
                "frames can be late by 0 to {DELAY_MS_MAX} ms, and the jitter is at most the delay"
            )));
        }
        self.no_delay(name)?;
        if delay.ms > 0 {
            self.state.faults.delays.insert(name.to_owned(), delay);
            self.save()?;
            self.start_relay(name, delay)?;
        }
        self.apply()
    }

    /// Between these two nothing is wrong any more.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn heal_between(&mut self, one: &str, other: &str) -> Result {
        self.check_pair(one, other)?;
        self.state.faults.heal_pair(one, other);
        self.apply()
    }

    /// With this machine's network nothing is wrong any more.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn heal(&mut self, name: &str) -> Result {
        self.check_name(name)?;
        self.no_delay(name)?;
        self.state.faults.heal(name);
        self.apply()?;
        self.carrier(name)
    }

    /// Nothing is wrong with the network any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn heal_all(&mut self) -> Result {
        let names: Vec<String> = self.state.nodes.keys().cloned().collect();
        names.iter().try_for_each(|name| self.heal(name))
    }

    fn no_delay(&mut self, name: &str) -> Result {
        self.state.faults.delays.remove(name);
        if let Some(ends) = self.threads.remove(name) {
            ends.store(true, Ordering::Relaxed);
        }
        if let Some(relay) = self.state.relays.remove(name) {
            relay.kill()?;
        }
        self.collect();
        self.save()?;
        for device in [near(name), far(name)] {
            let what = format!("device {device} to go");
            wait_for(&what, DEVICE, || Ok((!is_there(&device)).then_some(())))?;
        }
        if is_there(name) {
            ip(&format!("link set {name} master {SWITCH}\n"))?;
        }
        if is_there(&splice(name)) {
            ip(&format!("link delete {}\n", splice(name)))?;
        }
        Ok(())
    }

    fn start_relay(&mut self, name: &str, delay: Delay) -> Result {
        let (near, far, splice) = (near(name), far(name), splice(name));
        let log = self.folder_of(name).join("delay.log");
        match &self.keeper {
            Keeper::Thread => {
                let ends = Arc::new(AtomicBool::new(false));
                let (end, log) = (Arc::clone(&ends), log.clone());
                let (near, far) = (near.clone(), far.clone());
                std::thread::spawn(move || {
                    if let Err(error) =
                        relay::run(&near, &far, delay, || end.load(Ordering::Relaxed))
                    {
                        fs::write(log, error.chain()).ok();
                    }
                });
                self.threads.insert(name.to_owned(), ends);
            }
            Keeper::Program(program) => {
                let file = fs::File::create(&log).map_err(Error::file("made", &log))?;
                let mut command = Command::new("setsid");
                command.arg(program).arg("relay").args([&near, &far]);
                command.args([delay.ms.to_string(), delay.jitter_ms.to_string()]);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
                let child = command
                    .spawn()
                    .map_err(|e| Error::Run { command: "relay".into(), why: e.to_string() })?;
                if let Some(relay) = Ident::of(child.id()) {
                    self.state.relays.insert(name.to_owned(), relay);
                }
                self.children.push(child);
                self.save()?;
            }
        }
        wait_for(&format!("device {far} to come"), DEVICE, || {
            Ok((is_there(&near) && is_there(&far)).then_some(()))
        })
        .map_err(|error| match error {
            Error::Timeout { what, secs, .. } => Error::Timeout { what, secs, tail: tail(&log) },
            other => other,
        })?;
        let mtu = self.state.mtu;
        ip(&format!(
            "link add {splice} mtu {mtu} type bridge stp_state 0\nlink set {splice} up\n\
             link set {near} mtu {mtu} master {SWITCH} up\nlink set {far} mtu {mtu} master {splice} up\n"
        ))?;
        if is_there(name) {
            ip(&format!("link set {name} master {splice}\n"))?;
        }
        Ok(())
    }
}
