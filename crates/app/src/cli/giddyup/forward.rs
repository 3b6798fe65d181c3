//! A port that is passed on to another container; where to may change at any time.

use crate::exit::Failure;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections that are passed on at a time.
const CONNECTIONS_MAX: usize = 1_024;
/// Longest wait for the other side to accept.
const CONNECT: Duration = Duration::from_secs(10);

/// A port that listens, and what goes through it. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Forward {
    listener: TcpListener,
    port: u16,
    target: Option<Ipv4Addr>,
    connections: JoinSet<()>,
}

impl Forward {
    /// Listens at a port of all addresses.
    pub(super) async fn start(from: u16, port: u16) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, from)).await;
        let listener = listener.map_err(|error| {
            Failure::error(format!("port {from} cannot be passed on: {error}"))
                .hint("what listens there must begin only once this container leads")
        })?;
        Ok(Self { listener, port, target: None, connections: JoinSet::new() })
    }

    /// New connections go there; what is under way goes on.
    pub(super) fn to(&mut self, address: &str) {
        self.target = address.parse().ok();
    }

    /// Passes connections on; ends only with a failure. Cancel-safe.
    pub(super) async fn serve(&mut self) -> Failure {
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if self.connections.len() < CONNECTIONS_MAX => {
                    match accepted {
                        Ok((stream, _)) => self.pass(stream),
                        Err(error) => return Failure::error(format!("no connection is taken: {error}")),
                    }
                }
                Some(_ended) = self.connections.join_next() => {}
            }
        }
    }

    fn pass(&mut self, mut stream: TcpStream) {
        let Some(target) = self.target else { return };
        let port = self.port;
        self.connections.spawn(async move {
            let connect = tokio::time::timeout(CONNECT, TcpStream::connect((target, port))).await;
            match connect {
                Ok(Ok(mut there)) => {
                    if let Err(error) = copy_bidirectional(&mut stream, &mut there).await {
                        tracing::debug!(%target, %error, "connection to the leader broke");
                    }
                }
                Ok(Err(error)) => tracing::warn!(%target, %error, "leader not reached"),
                Err(_elapsed) => tracing::warn!(%target, "leader not reached in time"),
            }
        });
    }
}
