//! What the example's programs share: a TCP server with one thread a connection, a bound on
//! their number, and a clean end at SIGTERM: nothing new, what is in flight is finished.

pub mod http;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Most connections served at a time; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 512;
/// Connections from which on answers end theirs, so that new clients find a place.
const CONNECTIONS_CROWDED: usize = CONNECTIONS_MAX * 3 / 4;
/// Time from SIGTERM to the exit, whatever is still in flight.
const END_MS_MAX: u64 = 800;
/// Stack of a connection's thread, in bytes.
const STACK_BYTES: usize = 192 * 1024;

/// The open connections, and whether the server is ending.
#[derive(Default)]
struct Room {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// A second handle on each connection, and whether it waits for its client to speak.
    open: HashMap<u64, (TcpStream, bool)>,
    opened: u64,
    ending: Option<Instant>,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, State> {
        // guards plain data that is whole after each statement
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, stream: TcpStream) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        let second = stream.try_clone()?;
        let mut state = self.lock();
        state.opened += 1;
        let id = state.opened;
        state.open.insert(id, (second, false));
        Ok(Connection { stream, id, room: Arc::clone(self) })
    }

    fn end(&self) {
        let mut state = self.lock();
        state.ending = Some(Instant::now());
        for (stream, waits) in state.open.values() {
            // what the client has already sent is still read; then its reader sees the end
            if *waits && let Err(error) = stream.shutdown(Shutdown::Read) {
                eprintln!("closing an idle connection: {error}");
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for a free place; `false` when the server is ending.
    fn wait_for_place(&self) -> bool {
        let full =
            |state: &mut State| state.open.len() >= CONNECTIONS_MAX && state.ending.is_none();
        let state =
            self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        state.ending.is_none()
    }

    fn wait_until_empty(&self) {
        let mut state = self.lock();
        let until = state.ending.unwrap_or_else(Instant::now) + Duration::from_millis(END_MS_MAX);
        while !state.open.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                eprintln!("{} connections are cut off", state.open.len());
                return;
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// One client.
pub struct Connection {
    stream: TcpStream,
    id: u64,
    room: Arc<Room>,
}

impl Connection {
    /// Its socket.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Says that the client owes the next byte; `false` when the server is ending and the
    /// connection should be closed instead of waiting.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.mark(true)
    }

    /// Says that something is in flight, which the end of the server waits for.
    pub fn works(&self) {
        self.mark(false);
    }

    fn mark(&self, waits: bool) -> bool {
        let mut state = self.room.lock();
        if let Some(entry) = state.open.get_mut(&self.id) {
            entry.1 = waits;
        }
        state.ending.is_none()
    }

    /// Should the next answer be the connection's last?
    #[must_use]
    pub fn last(&self) -> bool {
        let state = self.room.lock();
        state.ending.is_some() || state.open.len() > CONNECTIONS_CROWDED
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.room.lock().open.remove(&self.id);
        self.room.changed.notify_all();
    }
}

/// A server that is bound to its port.
pub struct Server {
    listener: TcpListener,
    room: Arc<Room>,
}

impl Server {
    /// Binds `port` on every IPv4 address; 0 lets the kernel choose.
    ///
    /// # Errors
    /// What `bind` says.
    pub fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        Ok(Self { listener, room: Arc::default() })
    }

    /// The port.
    ///
    /// # Errors
    /// What `getsockname` says.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// What ends the server from another thread.
    ///
    /// # Errors
    /// What `getsockname` says.
    pub fn stopper(&self) -> io::Result<Stopper> {
        Ok(Stopper { port: self.port()?, room: Arc::clone(&self.room) })
    }

    /// Gives each connection to `serve` on a thread of its own, until the server is stopped and
    /// what was in flight is done (at most 0.8 s later).
    ///
    /// # Errors
    /// When the listener breaks.
    pub fn run(self, serve: impl Fn(&Connection) + Send + Sync + 'static) -> io::Result<()> {
        let serve = Arc::new(serve);
        while self.room.wait_for_place() {
            match self.listener.accept() {
                Ok((stream, _)) => start(&self.room, &serve, stream),
                Err(error) if gone_before_accepted(&error) => {}
                Err(error) => return Err(error),
            }
        }
        // clients that connected before the end are served, then the port is given back
        self.listener.set_nonblocking(true)?;
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(false)?;
            start(&self.room, &serve, stream);
        }
        drop(self.listener);
        self.room.wait_until_empty();
        Ok(())
    }
}

fn gone_before_accepted(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

fn start<F: Fn(&Connection) + Send + Sync + 'static>(
    room: &Arc<Room>,
    serve: &Arc<F>,
    stream: TcpStream,
) {
    let serve = Arc::clone(serve);
    let begun = room.enter(stream).and_then(|connection| {
        thread::Builder::new().stack_size(STACK_BYTES).spawn(move || serve(&connection))
    });
    if let Err(error) = begun {
        eprintln!("a connection is turned away: {error}");
    }
}

/// Ends its server.
pub struct Stopper {
    port: u16,
    room: Arc<Room>,
}

impl Stopper {
    /// Nothing new is taken from now on.
    pub fn stop(&self) {
        self.room.end();
        // `accept` has no other alarm clock
        if let Err(error) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
            eprintln!("waking the listener: {error}");
        }
    }
}

/// Runs a whole program: binds, says so, serves, ends at SIGTERM or SIGINT with exit code 0.
pub fn main(
    name: &str,
    port: u16,
    serve: impl Fn(&Connection) + Send + Sync + 'static,
) -> ExitCode {
    match run(name, port, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(
    name: &str,
    port: u16,
    serve: impl Fn(&Connection) + Send + Sync + 'static,
) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    let server = Server::bind(port)?;
    let stopper = server.stopper()?;
    thread::Builder::new().spawn(move || {
        if signals.forever().next().is_some() {
            stopper.stop();
        }
    })?;
    eprintln!("{name}: listening on port {port}");
    server.run(serve)?;
    eprintln!("{name}: ended");
    Ok(())
}

#[cfg(test)]
mod tests;
