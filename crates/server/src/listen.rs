//! The one port: agents over TLS under their own ALPN, the API over TLS, and the API in the clear
//! only where the listener is on loopback.

use crate::admission::Admission;
use crate::http;
use crate::joiner::Joiner;
use crate::members;
use crate::state::Shared;
use api::certificate;
use api::error::{ErrorBody, ErrorInfo};
use api::grpc::LinkServer;
use api::link::Switchboard;
use api::peer::Peer;
use api::tls;
use axum::Router;
use control::operate::member;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use model::limits::{ENROLL_MS_MAX, LINK_STREAMS_MAX};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;

/// Connections served at the same time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls at a time of who is no member.
const STRANGER_STREAMS_MAX: u32 = 8;
const KEEPALIVE: Duration = Duration::from_secs(2);
/// How long a connection that is cut has for its last word.
const LAST_WORD: Duration = Duration::from_millis(300);
/// What is still read of a refused connection, in bytes, and how long.
const REFUSED_BYTES_MAX: u64 = 64 * 1024;
const REFUSED_TIMEOUT: Duration = Duration::from_secs(1);
/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// Everything that a connection needs.
#[derive(Debug)]
pub(crate) struct Listener<S> {
    router: Router,
    switchboard: Switchboard,
    joiner: Joiner<S>,
    admission: Admission,
    api: Arc<rustls::ServerConfig>,
    agents: Arc<rustls::ServerConfig>,
}

impl<S: Store> Listener<S> {
    /// Prepares routes and TLS.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub(crate) fn new(shared: &Shared<S>, switchboard: Switchboard) -> Result<Self, tls::TlsError> {
        let authority = &shared.authority;
        Ok(Self {
            router: http::router(shared.clone()),
            switchboard,
            joiner: Joiner(shared.clone()),
            admission: Admission::new(),
            api: tls::api_config(&authority.server)?,
            agents: tls::agent_server_config(&authority.server, &authority.ca.chain_pem)?,
        })
    }

    /// Serves a socket for ever.
    pub(crate) async fn run(self, socket: TcpListener) {
        let this = Arc::new(self);
        let mut tasks = JoinSet::new();
        let plain = socket.local_addr().is_ok_and(|a| a.ip().is_loopback());
        loop {
            while tasks.len() >= CONNECTIONS_MAX {
                tasks.join_next().await;
            }
            tokio::select! {
                accepted = socket.accept() => match accepted {
                    Ok((tcp, peer)) => {
                        tasks.spawn(Arc::clone(&this).serve(tcp, peer, plain));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "connection not accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr, plain: bool) {
        let work = async {
            tcp.set_nodelay(true)?;
            let mut first = [0];
            let n = tokio::time::timeout(HANDSHAKE_TIMEOUT, tcp.peek(&mut first)).await??;
            if n == 0 {
                return Ok(());
            }
            if first[0] == TLS_HANDSHAKE {
                self.serve_tls(tcp, peer).await
            } else if plain {
                serve_api(TokioIo::new(tcp), self.router.clone()).await
            } else {
                refuse_plain(tcp).await
            }
        };
        let result: Result<(), Box<dyn std::error::Error + Send + Sync>> = work.await;
        if let Err(error) = result {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn serve_tls(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp);
        let start = tokio::time::timeout(HANDSHAKE_TIMEOUT, hello).await??;
        let is_agent = start
            .client_hello()
            .alpn()
            .is_some_and(|mut names| names.any(|name| name == tls::ALPN_AGENT));
        if is_agent {
            let turn = self.admission.turn(Instant::now());
            let wait = turn.ok_or("too many agents wait for their handshake: it comes again")?;
            tokio::time::sleep(wait).await;
        }
        let config = if is_agent { &self.agents } else { &self.api };
        let handshake = start.into_stream(Arc::clone(config));
        let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await?;
        let stream = shaken.inspect_err(|error| {
            if is_agent && let Some(why) = self.distrust(error) {
                self.joiner.0.refusals.note(&Peer::new(peer, None), &why, self.joiner.0.now());
            }
        })?;
        if !is_agent {
            return serve_api(TokioIo::new(stream), self.router.clone()).await;
        }
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let peer = Peer::new(peer, shown.and_then(certificate::read));
        // Who is no member has time to join, and no more.
        let is_member = self.is_member(&peer);
        let stay = (!is_member).then_some(Duration::from_millis(ENROLL_MS_MAX));
        // A blocking query of a client of its host is a stream that waits.
        let streams = if is_member { LINK_STREAMS_MAX } else { STRANGER_STREAMS_MAX };
        let service = LinkServer::new(self.switchboard.clone(), self.joiner.clone(), peer.clone());
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .max_concurrent_streams(streams)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let over = async {
            if let Some(stay) = stay {
                return tokio::time::sleep(stay).await;
            }
            peer.is_cut().await;
            tokio::time::sleep(LAST_WORD).await;
        };
        tokio::select! {
            served = serving => served?,
            () = over => {}
        }
        Ok(())
    }

    fn is_member(&self, peer: &Peer) -> bool {
        let shared = &self.joiner.0;
        let judged = peer.certificate.as_ref().map(|certificate| {
            member::judge(&shared.cluster(), &members::claim(certificate), shared.now())
        });
        judged.is_some_and(|judged| judged.is_ok())
    }

    /// Which side does not trust the other's certificate, and why, when that ended a handshake.
    fn distrust(&self, error: &std::io::Error) -> Option<String> {
        use rustls::{AlertDescription as Alert, Error};
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        let why = match error {
            Error::AlertReceived(Alert::UnknownCA) => {
                "it trusts another CA: its token or certificate is of another cluster".into()
            }
            Error::AlertReceived(Alert::CertificateExpired) => format!(
                "it says that the server's certificate is not good at its time: is the clock of \
                 that machine right? Here it is {}",
                self.joiner.0.now().utc()
            ),
            Error::InvalidCertificate(_) => {
                format!("its certificate is not of this cluster's CA: {error}")
            }
            _ => return None,
        };
        Some(why)
    }
}

/// Tells who speaks plain HTTP why nothing else is answered.
async fn refuse_plain(mut tcp: TcpStream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let error = ErrorInfo::invalid("plain HTTP is refused off loopback")
        .hint("use https://; the CA's hash is in the context file of the server's machine");
    let body = serde_json::to_string(&ErrorBody { error })?;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    tokio::time::timeout(HANDSHAKE_TIMEOUT, tcp.write_all(answer.as_bytes())).await??;
    // The answer would be lost with what was not read: wait until they have closed, a little.
    tcp.shutdown().await?;
    let mut rest = tcp.take(REFUSED_BYTES_MAX);
    tokio::time::timeout(REFUSED_TIMEOUT, tokio::io::copy(&mut rest, &mut tokio::io::sink()))
        .await??;
    Ok(())
}

async fn serve_api<I>(
    io: TokioIo<I>,
    router: Router,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .serve_connection_with_upgrades(io, TowerToHyperService::new(router))
        .await
}
