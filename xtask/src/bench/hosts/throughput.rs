//! What the network between containers of two hosts carries, beside the same two hosts without it:
//! one TCP connection, pair by pair. Then the same encrypted, beside what VXLAN carried.

use super::bed::Bed;
use crate::bench::network::Network;
use crate::bench::report::{Row, median, paired};
use crate::{interrupt, shell};
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Pairs that count.
const PAIRS: usize = 5;
/// How long one is measured.
const WHILE: Duration = Duration::from_secs(3);
/// Longest wait for a thread that should be there at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of one write.
const CHUNK: usize = 128 << 10;
const PORT: u16 = 5201;
/// At least 0.75 times what goes without it.
const TARGET: f64 = 1.0 / 0.75;
const STACK: &str = "bench-net";
const COMPOSE: &str = "
services:
  web:
    image: storefront/httpbackend:v1.0.0
    labels: {io.rancher.scheduler.global: 'true'}
";

pub(super) fn run(bed: &Bed) -> Result<Vec<Row>> {
    bed.up(STACK, COMPOSE)?;
    let ready = Bed::ready(STACK);
    let address = ready.iter().find(|(host, _)| host == "h2").map(|(_, address)| address);
    let address = address.context("no instance is ready on h2")?;
    let inside = (bed.network_of("h1", "bench-net/web")?, bed.network_of("h2", "bench-net/web")?);
    let outside = (bed.network("h1")?, bed.network("h2")?);
    let over = SocketAddr::new(address.parse().context("the address on h2")?, PORT);
    let plain = SocketAddr::from(([10, 99, 0, 2], PORT));
    let (mut ours, mut theirs) = (vec![], vec![]);
    for n in 0..=PAIRS {
        interrupt::check()?;
        let with = || carry(&inside.0, &inside.1, over);
        let without = || carry(&outside.0, &outside.1, plain);
        // in turn, so that neither always has the machine first; the first pair warms up
        let (a, b) = if n % 2 == 0 {
            let a = with()?;
            (a, without()?)
        } else {
            let b = without()?;
            (with()?, b)
        };
        if n > 0 {
            ours.push(a);
            theirs.push(b);
        }
    }
    let encrypted = encrypted(bed, || carry(&inside.0, &inside.1, over))?;
    Bed::down(STACK)?;
    let vxlan = median(&ours);
    let row = Row {
        part: "hosts".into(),
        what: format!("TCP between containers of two hosts, encrypted, median of {PAIRS}"),
        ours: format!("{:.2} GB/s", median(&encrypted)),
        beside: format!("in VXLAN, in clear: {vxlan:.2} GB/s"),
        measured: vxlan / median(&encrypted),
        target: None,
        unit: "x as slow".into(),
    };
    let first = Row {
        part: "hosts".into(),
        what: format!("TCP between containers of two hosts, median of {PAIRS} pairs"),
        ours: format!("{:.2} GB/s", median(&ours)),
        beside: format!("the two hosts without it: {:.2} GB/s", median(&theirs)),
        measured: paired(&theirs, &ours),
        target: Some(TARGET),
        unit: "x as slow".into(),
    };
    Ok(vec![first, row])
}

/// What is carried in mode `wireguard`; the cluster is as before after it.
fn encrypted(bed: &Bed, carried: impl Fn() -> Result<f64>) -> Result<Vec<f64>> {
    let change = |mode: &str, device: &str| -> Result<()> {
        Bed::wait("every host to have told its key", PATIENCE, || {
            shell::read(Bed::remuda().args(["net", "overlay", mode])).is_ok()
        })?;
        Bed::wait(device, PATIENCE, || {
            let has = |host: &str| shell::read(&mut bed.on(host, &["ip", "link", "show", device]));
            ["h1", "h2"].iter().all(|host| has(host).is_ok())
        })?;
        Bed::wait("a way for all that is sent", PATIENCE, || {
            shell::read(Bed::remuda().args(["net", "check"])).is_ok()
        })
    };
    change("wireguard", "remudawg0")?;
    // The first one warms up.
    let all: Result<Vec<f64>> = (0..=PAIRS)
        .map(|_| {
            interrupt::check()?;
            carried()
        })
        .collect();
    change("vxlan", "remudavx0")?;
    Ok(all?.split_off(1))
}

/// Gigabytes a second from one network to another.
fn carry(from: &Network, to: &Network, address: SocketAddr) -> Result<f64> {
    let (tell, listening) = channel();
    let to = to.clone();
    let reader = std::thread::spawn(move || -> Result<f64> {
        to.enter()?;
        let listener = TcpListener::bind(address).with_context(|| format!("binding {address}"))?;
        tell.send(()).ok();
        let (mut stream, _) = listener.accept().context("accepting")?;
        let (mut chunk, mut bytes, since) = (vec![0; CHUNK], 0_u64, Instant::now());
        loop {
            match stream.read(&mut chunk).context("reading")? {
                0 => return Ok(bytes as f64 / since.elapsed().as_secs_f64() / 1e9),
                count => bytes += count as u64,
            }
        }
    });
    if listening.recv_timeout(PATIENCE).is_err() && !reader.is_finished() {
        bail!("{address} does not listen");
    }
    let from = from.clone();
    let writer = std::thread::spawn(move || -> Result<()> {
        from.enter()?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("connecting to {address}"))?;
        let (chunk, since) = (vec![0; CHUNK], Instant::now());
        while since.elapsed() < WHILE {
            stream.write_all(&chunk).context("writing")?;
        }
        stream.shutdown(Shutdown::Both).context("ending the connection")
    });
    let Ok(written) = writer.join() else { bail!("the writer panicked") };
    written?;
    let Ok(read) = reader.join() else { bail!("the reader panicked") };
    read
}
