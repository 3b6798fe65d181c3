//! One shard's part of a listener: its sockets' tasks and what is done with what they take in.

use super::routes::Table;
use super::shard::Shard;
use super::upstream::Upstream;
use super::{http, port, tcp, udp};
use model::view::ListenerMode;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Pause after the kernel could not give a connection (no descriptors, no memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener in one shard.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) port: u16,
    mode: RefCell<Mode>,
    closed: Cell<bool>,
    accepting: RefCell<Vec<Accepting>>,
    datagrams: RefCell<Vec<udp::Task>>,
}

/// What is done with what arrives.
#[derive(Clone, Debug)]
pub(super) enum Mode {
    /// HTTP by route.
    Http(Rc<Routes>),
    /// Bytes or datagrams to one upstream.
    Forward(Rc<Target>),
    /// To one upstream: HTTP request by request, anything else as bytes.
    Port(Rc<Target>),
}

/// Routes, and where each of them leads.
#[derive(Debug)]
pub(super) struct Routes {
    table: Table,
    targets: Vec<Target>,
}

/// An upstream by name, resolved as far as there is one.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: Arc<str>,
    pub(super) upstream: RefCell<Option<Rc<Upstream>>>,
    /// Clients of a port spoke something other than HTTP last time.
    pub(super) speaks_bytes: Cell<bool>,
}

impl Routes {
    /// Where a request for `authority` and `path` goes.
    pub(super) fn find(&self, authority: &str, path: &str) -> Option<&Target> {
        self.table.find(authority, path).map(|index| &self.targets[index])
    }
}

#[derive(Debug)]
struct Accepting {
    listener: Rc<TcpListener>,
    task: JoinHandle<()>,
}

impl Listening {
    /// A listener that does `mode`; its sockets come with `accept_on` and `receive_on`.
    pub(super) fn new(shard: &Shard, port: u16, mode: &ListenerMode) -> Self {
        Self {
            port,
            mode: RefCell::new(prepare(shard, mode)),
            closed: Cell::new(false),
            accepting: RefCell::default(),
            datagrams: RefCell::default(),
        }
    }

    /// Has it stopped listening?
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// What is done now.
    pub(super) fn mode(&self) -> Mode {
        self.mode.borrow().clone()
    }

    /// From now on does `mode`.
    pub(super) fn set_mode(&self, shard: &Shard, mode: &ListenerMode) {
        *self.mode.borrow_mut() = prepare(shard, mode);
    }

    /// Looks the upstreams up again: one of them came or went.
    pub(super) fn resolve(&self, shard: &Shard) {
        let look_up =
            |target: &Target| *target.upstream.borrow_mut() = shard.upstream(&target.name);
        match &*self.mode.borrow() {
            Mode::Http(routes) => routes.targets.iter().for_each(look_up),
            Mode::Forward(target) | Mode::Port(target) => look_up(target),
        }
    }

    /// Takes connections from `listener`.
    pub(super) fn accept_on(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        listener: std::net::TcpListener,
    ) -> io::Result<()> {
        let listener = Rc::new(TcpListener::from_std(listener)?);
        let (of_task, shard, this) = (Rc::clone(&listener), Rc::clone(shard), Rc::clone(self));
        let task = tokio::task::spawn_local(async move {
            loop {
                shard.room().await;
                match of_task.accept().await {
                    Ok((stream, peer)) => this.serve(&shard, stream, peer),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
        self.accepting.borrow_mut().push(Accepting { listener, task });
        Ok(())
    }

    /// Takes datagrams from `socket`.
    pub(super) fn receive_on(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        socket: std::net::UdpSocket,
    ) -> io::Result<()> {
        self.datagrams.borrow_mut().push(udp::Task::start(shard, self, socket)?);
        Ok(())
    }

    /// Ends sessions of datagrams that were quiet for long.
    pub(super) fn sweep(&self, now_ms: u64) {
        for task in self.datagrams.borrow().iter() {
            task.sweep(now_ms);
        }
    }

    /// Stops listening. Connections that the kernel has already taken are served: closing the
    /// socket over them would reset them.
    pub(super) async fn close(self: &Rc<Self>, shard: &Rc<Shard>) {
        self.closed.set(true);
        let accepting = self.accepting.take();
        for Accepting { listener, task } in accepting {
            task.abort();
            if let Err(error) = task.await
                && !error.is_cancelled()
            {
                tracing::error!(%error, "a listener's task broke");
            }
            let socket = socket2::SockRef::from(&*listener);
            while let Ok((stream, peer)) = socket.accept() {
                let taken = stream
                    .set_nonblocking(true)
                    .and_then(|()| tokio::net::TcpStream::from_std(stream.into()));
                match (taken, peer.as_socket()) {
                    (Ok(stream), Some(peer)) => self.serve(shard, stream, peer),
                    (Err(error), _) => tracing::debug!(%error, "a last connection was lost"),
                    (Ok(_), None) => {}
                }
            }
        }
        for task in self.datagrams.take() {
            task.stop().await;
        }
    }

    fn serve(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        stream: tokio::net::TcpStream,
        peer: std::net::SocketAddr,
    ) {
        shard.counters.connections.count();
        let (shard, listening) = (Rc::clone(shard), Rc::clone(self));
        let open = shard.open();
        match self.mode() {
            Mode::Http(_) => {
                tokio::task::spawn_local(http::serve(shard, listening, stream, peer, open))
            }
            Mode::Forward(target) => {
                tokio::task::spawn_local(tcp::serve(shard, target, stream, open))
            }
            Mode::Port(target) => {
                tokio::task::spawn_local(port::serve(shard, listening, target, stream, peer, open))
            }
        };
    }
}

fn prepare(shard: &Shard, mode: &ListenerMode) -> Mode {
    let target = |name: &str| {
        let name: Arc<str> = name.into();
        let upstream = RefCell::new(shard.upstream(&name));
        Target { name, upstream, speaks_bytes: Cell::new(false) }
    };
    match mode {
        ListenerMode::Forward { upstream } => Mode::Forward(Rc::new(target(upstream))),
        ListenerMode::Port { upstream } => Mode::Port(Rc::new(target(upstream))),
        ListenerMode::Http { routes } => Mode::Http(Rc::new(Routes {
            table: Table::new(routes),
            targets: routes.iter().map(|route| target(&route.upstream)).collect(),
        })),
    }
}
