//! The address on a device that the kernel takes away with the last file that has it open: no crash
//! and no kill leaves it behind.

use crate::Error;
use crate::linux::route::Session;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;

const DEVICE: &str = "/dev/net/tun";
/// `TUNSETIFF` of linux/if_tun.h.
const ATTACH: rustix::ioctl::Opcode = 0x4004_54ca;
/// `IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL`: packets as they are, on a device that was not there.
const NEW: u16 = 0x0001 | 0x1000 | 0x8000;
/// Longest name of a device with its end.
const NAME_BYTES: usize = 16;
/// Names that are tried.
const NAMES: u8 = 128;

/// `struct ifreq`: a name, flags, and room that this call does not use.
#[repr(C)]
struct Request {
    name: [u8; NAME_BYTES],
    flags: u16,
    rest: [u8; 22],
}

/// An address of this host until it is dropped, or the process ends.
#[derive(Debug)]
pub struct FloatingAddress {
    name: String,
    // The device goes with it.
    _file: File,
}

impl FloatingAddress {
    /// Takes an address. Nobody on the segment hears of it by that. Takes root.
    ///
    /// # Errors
    /// When the kernel gives no such device, or not the address.
    pub async fn take(address: Ipv4Addr) -> Result<Self, Error> {
        let made = Self::make().map_err(|source| failed("make a device", source))?;
        let session = Session::open()?;
        let links = session.links().await?;
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let link = links.get(&made.name).ok_or_else(|| failed("find the device", gone()))?;
        session.add((&made.name, link.index), address, 32).await?;
        session.up(&made.name, link.index).await?;
        Ok(made)
    }

    fn make() -> io::Result<Self> {
        for number in 0..NAMES {
            let file = File::options().read(true).write(true).open(DEVICE)?;
            let name = format!("remudaf{number}");
            let mut request = Request { name: [0; NAME_BYTES], flags: NEW, rest: [0; 22] };
            request.name[..name.len()].copy_from_slice(name.as_bytes());
            match attach(&file, request) {
                Ok(()) => return Ok(Self { name, _file: file }),
                // It is another address's.
                Err(Errno::BUSY | Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::BUSY.into())
    }

    /// The device that it is on.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.name
    }
}

#[expect(unsafe_code, reason = "no safe call makes a TUN device")]
fn attach(file: &File, request: Request) -> rustix::io::Result<()> {
    // SAFETY: TUNSETIFF reads (and writes) one `struct ifreq`, which `Request` is, 40 bytes long,
    // and keeps nothing of it.
    unsafe { rustix::ioctl::ioctl(file, rustix::ioctl::Setter::<ATTACH, _>::new(request)) }
}

fn failed(doing: &str, source: io::Error) -> Error {
    Error::Floating { doing: doing.to_owned(), source }
}
