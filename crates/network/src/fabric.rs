//! The seam: what an agent asks of a host's network. `Linux` does it, `Fake` plays it; one
//! contract suite runs on both.

use crate::Error;
use crate::sockets::{Holder, HostPort};
use crate::wish::{FabricStatus, FabricWish};
use ipnet::Ipv4Net;
use std::future::Future;
use std::net::IpAddr;

/// A host's network.
pub trait Fabric: Clone + Send + Sync + 'static {
    /// Makes the host's network as wished and repairs what others changed of it. Call it often:
    /// when nothing is to do it is a few netlink dumps. Does all it can before it returns an error.
    ///
    /// # Errors
    /// `Error::BridgeMissing` until Docker has made the bridge; else what could not be done.
    fn ensure(&self, wish: &FabricWish)
    -> impl Future<Output = Result<FabricStatus, Error>> + Send;

    /// Takes away what `ensure` made for the environment and nothing else; `Ok` when there is
    /// nothing. Docker's bridge is not ours to take.
    ///
    /// # Errors
    /// All that could not be taken away, after everything was tried; it can be called again.
    fn remove(&self, environment: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Sockets in this network namespace that stand in the way of `wanted`, our own processes'
    /// included: compare `Program::pid`.
    ///
    /// # Errors
    /// When the kernel's socket tables cannot be read.
    fn listening(
        &self,
        wanted: &[HostPort],
    ) -> impl Future<Output = Result<Vec<Holder>, Error>> + Send;

    /// Slow-moving facts.
    ///
    /// # Errors
    /// When the kernel does not tell.
    fn facts(&self) -> impl Future<Output = Result<Facts, Error>> + Send;

    /// Every address of the host, in the kernel's order.
    ///
    /// # Errors
    /// When the kernel does not tell.
    fn local_addresses(&self) -> impl Future<Output = Result<Vec<LocalAddress>, Error>> + Send;
}

/// Slow-moving facts of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Host name.
    pub hostname: String,
    /// Source address towards the default route; else the first global IPv4 address that is on no
    /// bridge; `None` on a host with loopback alone.
    pub address: Option<IpAddr>,
    /// MTU of the device that `address` is on.
    pub mtu: Option<u32>,
    /// The segment that `address` is on.
    pub segment: Option<Ipv4Net>,
    /// Kernel release.
    pub kernel: String,
}

/// An address of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// Interface.
    pub device: String,
    /// Address.
    pub ip: IpAddr,
    /// Prefix length.
    pub prefix: u8,
}
