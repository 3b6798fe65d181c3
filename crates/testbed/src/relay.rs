//! A slow cable: frames go between two TAP devices and wait on the way. Kernels without `netem`
//! have nothing of the kind; a TAP also makes whole frames of what a network card would have cut
//! and summed up.

use crate::error::{Error, Result};
use crate::faults::Delay;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const DEVICE: &str = "/dev/net/tun";
/// `TUNSETIFF` of linux/if_tun.h.
const ATTACH: rustix::ioctl::Opcode = 0x4004_54ca;
/// `IFF_TAP | IFF_NO_PI`: whole frames with nothing before them.
const FRAMES: u16 = 0x0002 | 0x1000;
/// Longest name of a device with its end.
const NAME_BYTES: usize = 16;
/// Bytes of the largest frame.
const FRAME_BYTES_MAX: usize = 65_536;
/// Frames on the way in one direction; more are lost, as on a card.
const FRAMES_MAX: usize = 20_000;
/// Frames taken at one look, so that the other direction gets its turn.
const AT_ONCE: usize = 64;
/// Longest time between two looks at whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// `struct ifreq`: a name, flags, and room that this call does not use.
#[repr(C)]
struct Request {
    name: [u8; NAME_BYTES],
    flags: u16,
    rest: [u8; 22],
}

/// Makes a TAP device that is there as long as the file is open.
fn tap(name: &str) -> Result<File> {
    let path = Path::new(DEVICE);
    let mut options = File::options();
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    options.read(true).write(true).custom_flags(nonblock);
    let file = options.open(path).map_err(Error::file("opened", path))?;
    let mut request = Request { name: [0; NAME_BYTES], flags: FRAMES, rest: [0; 22] };
    if name.len() >= NAME_BYTES {
        return Err(Error::Refused(format!("device name {name} is longer than 15 bytes")));
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    #[expect(unsafe_code, reason = "no safe call makes a TAP device")]
    // SAFETY: TUNSETIFF reads (and writes) one `struct ifreq`, which `Request` is, 40 bytes long,
    // and keeps nothing of it.
    let made =
        unsafe { rustix::ioctl::ioctl(&file, rustix::ioctl::Setter::<ATTACH, _>::new(request)) };
    made.map_err(|error| Error::file("made a TAP device of", path)(error.into()))?;
    Ok(file)
}

/// Frames on their way in one direction.
#[derive(Default)]
struct Way {
    frames: VecDeque<(Instant, Vec<u8>)>,
}

impl Way {
    /// Takes what came in; each is due when its delay is over, and not before the one before it.
    fn take(&mut self, from: &mut File, due: &mut impl FnMut() -> Duration) -> Result {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        for _ in 0..AT_ONCE {
            match from.read(&mut buffer) {
                Ok(n) if self.frames.len() < FRAMES_MAX => {
                    let last = self.frames.back().map(|(at, _)| *at);
                    let at = Instant::now() + due();
                    let at = last.map_or(at, |last| last.max(at));
                    self.frames.push_back((at, buffer[..n].to_vec()));
                }
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                // the device is down for the moment
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                    return Ok(());
                }
                Err(e) => return Err(Error::file("read", Path::new(DEVICE))(e)),
            }
        }
        Ok(())
    }

    /// Gives on what is due; when the next one is.
    fn give(&mut self, to: &mut File) -> Option<Instant> {
        let now = Instant::now();
        while let Some((at, frame)) = self.frames.front() {
            if *at > now {
                return Some(*at);
            }
            // a device that is full or down loses it; a TAP takes all of a frame or nothing
            to.write_all(frame).ok();
            self.frames.pop_front();
        }
        None
    }
}

/// Relays between two new TAP devices until `ends` says so.
///
/// # Errors
/// When a device cannot be made or read.
pub fn run(one: &str, other: &str, delay: Delay, ends: impl Fn() -> bool) -> Result {
    let (mut one, mut other) = (tap(one)?, tap(other)?);
    let (mut there, mut back) = (Way::default(), Way::default());
    // Jitter needs no good dice: a multiplicative generator modulo 2^31 - 1.
    let mut seed = u64::from(std::process::id()).max(1);
    let mut due = || {
        seed = seed * 48_271 % 0x7fff_ffff;
        let spread = u64::from(delay.jitter_ms) * 2_000;
        let micros = u64::from(delay.ms) * 1_000 + if spread == 0 { 0 } else { seed % spread };
        Duration::from_micros(micros.saturating_sub(spread / 2))
    };
    while !ends() {
        let next = [there.give(&mut other), back.give(&mut one)];
        let next = next.into_iter().flatten().min();
        let wait = next.map_or(LOOK, |at| at.saturating_duration_since(Instant::now()).min(LOOK));
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut looks = [
            PollFd::from_borrowed_fd(one.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(other.as_fd(), PollFlags::IN),
        ];
        match poll(&mut looks, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::file("read", Path::new(DEVICE))(error.into())),
        }
        there.take(&mut one, &mut due)?;
        back.take(&mut other, &mut due)?;
    }
    Ok(())
}
