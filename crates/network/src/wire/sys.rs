//! The system calls of the encryption that no safe crate has: a TUN device, and datagrams that the
//! kernel cuts apart and joins (UDP GSO and GRO). It holds no state and decides nothing.

use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

const TUN: &str = "/dev/net/tun";
/// Bytes that wait to be read of a socket: some tens of milliseconds at full speed.
const RECEIVE_BYTES: i32 = 8 << 20;
/// Room for one control message.
const CONTROL_BYTES: usize = 64;

/// Bytes of the number that tells how datagrams are to be cut.
const SEGMENT_BYTES: u32 = 2;

/// The kernel's `struct ifreq`, of which name and flags are used.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: i16,
    rest: [u8; 22],
}

/// Control messages want to be aligned.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Makes a TUN device that stays when this process ends; it is down.
///
/// # Errors
/// When there is no `/dev/net/tun`, or the kernel refuses.
#[expect(unsafe_code, reason = "no safe call makes a TUN device")]
pub(crate) fn make_tun(name: &str) -> io::Result<()> {
    let file = open(name)?;
    // SAFETY: the argument of this request is a number.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETPERSIST, 1) }).map(drop)
}

/// Attaches to a TUN device that is there; only one may at a time. What is read and written has the
/// kernel's header of what it leaves to us before it: checksums, and TCP that is not cut yet.
///
/// # Errors
/// `NotFound` while it is not there; why the kernel refuses.
#[expect(unsafe_code, reason = "no safe call attaches to a TUN device")]
pub(super) fn attach(name: &str) -> io::Result<File> {
    let text = std::ffi::CString::new(name)?;
    // SAFETY: the name ends in a zero byte and outlives the call.
    if unsafe { libc::if_nametoindex(text.as_ptr()) } == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    let file = open(name)?;
    let offload = libc::c_ulong::from(libc::TUN_F_CSUM | libc::TUN_F_TSO4);
    // SAFETY: the argument of this request is a number.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, offload) })?;
    Ok(file)
}

#[expect(unsafe_code, reason = "no safe call names a TUN device")]
fn open(name: &str) -> io::Result<File> {
    let mut options = File::options();
    let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(TUN)?;
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let flags = i16::try_from(flags).map_err(io::Error::other)?;
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags, rest: [0; 22] };
    let room = request.name.get_mut(..name.len()).filter(|_| name.len() < libc::IFNAMSIZ);
    room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(name.as_bytes());
    // SAFETY: the request has the layout and the size of the kernel's `struct ifreq`.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(file)
}

/// Lets the kernel join what has come in a row, hold more of it, and cut what does not fit.
///
/// # Errors
/// When the kernel knows nothing of the first.
pub(super) fn prepare(socket: &UdpSocket) -> io::Result<()> {
    // A limit of the host may be in the way: less is held then.
    if let Err(error) = option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BYTES) {
        tracing::debug!(%error, "receive buffer stays as it is");
    }
    option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
    option(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

#[expect(unsafe_code, reason = "no safe call sets these options")]
fn option(socket: &UdpSocket, level: i32, name: i32, value: i32) -> io::Result<()> {
    let length = length_of::<i32>();
    let value: *const i32 = &raw const value;
    // SAFETY: the value is an int, and outlives the call.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.cast(), length) };
    checked(done).map(drop)
}

/// Sends datagrams of `segment` bytes each, the last one may be shorter; one datagram without it.
///
/// # Errors
/// The kernel's; nothing has been sent then.
#[expect(unsafe_code, reason = "no safe call has the kernel cut datagrams")]
pub(super) fn send(
    socket: &UdpSocket,
    bytes: &[u8],
    to: SocketAddrV4,
    segment: Option<u16>,
) -> io::Result<()> {
    let mut address = to_kernel(to);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control([0; CONTROL_BYTES]);
    // SAFETY: all zeros is an empty message. Every pointer in it is to a local that outlives the
    // call; the control message fits into its room, which is aligned for it.
    let done = unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = length_of::<libc::sockaddr_in>();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if let Some(segment) = segment {
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(SEGMENT_BYTES) as _;
            let first = libc::CMSG_FIRSTHDR(&raw const message);
            (*first).cmsg_level = libc::SOL_UDP;
            (*first).cmsg_type = libc::UDP_SEGMENT;
            (*first).cmsg_len = libc::CMSG_LEN(SEGMENT_BYTES) as _;
            libc::CMSG_DATA(first).cast::<u16>().write_unaligned(segment);
        }
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT)
    };
    checked(done).map(drop)
}

/// What has come: how many bytes, from whom, and the size of each datagram in them but the last.
///
/// # Errors
/// `WouldBlock` when nothing waits; the kernel's.
#[expect(unsafe_code, reason = "no safe call tells how datagrams were joined")]
pub(super) fn receive(
    socket: &UdpSocket,
    into: &mut [u8],
) -> io::Result<(usize, SocketAddrV4, usize)> {
    let mut address = to_kernel(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let mut control = Control([0; CONTROL_BYTES]);
    // SAFETY: all zeros is an empty message. Every pointer in it is to memory that outlives the call
    // and has the length that is told with it; control messages are read as far as the kernel wrote.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = length_of::<libc::sockaddr_in>();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_BYTES as _;
        let got = checked(libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT))?;
        let mut size = got;
        let mut next = libc::CMSG_FIRSTHDR(&raw const message);
        while !next.is_null() {
            if (*next).cmsg_level == libc::SOL_UDP && (*next).cmsg_type == libc::UDP_GRO {
                let told = libc::CMSG_DATA(next).cast::<i32>().read_unaligned();
                size = usize::try_from(told).unwrap_or(got);
            }
            next = libc::CMSG_NXTHDR(&raw const message, next);
        }
        let from = SocketAddrV4::new(
            Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)),
            u16::from_be(address.sin_port),
        );
        Ok((got, from, size.max(1)))
    }
}

/// Waits until something can be read, or has gone wrong; at most so long.
///
/// # Errors
/// The kernel's.
#[expect(unsafe_code, reason = "waits for one descriptor without another feature of another crate")]
pub(super) fn wait(of: RawFd, most: Duration) -> io::Result<()> {
    let mut asked = libc::pollfd { fd: of, events: libc::POLLIN, revents: 0 };
    let ms = i32::try_from(most.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one entry, which outlives the call.
    match checked(unsafe { libc::poll(&raw mut asked, 1, ms) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

fn to_kernel(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or(2),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

#[expect(clippy::cast_possible_truncation, reason = "sizes of small structures")]
fn length_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// What a system call has returned: how much it was, or the error.
fn checked<N: TryInto<isize>>(returned: N) -> io::Result<usize> {
    let number = returned.try_into().unwrap_or(-1);
    usize::try_from(number).map_err(|_negative| io::Error::last_os_error())
}
