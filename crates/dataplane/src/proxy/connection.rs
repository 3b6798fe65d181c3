//! An HTTP/1 connection to an endpoint. It has no task of its own: whoever uses it drives it, so
//! that an answer goes from one socket to the other while it is in the processor's cache.

use super::request_body::RequestBody;
use super::socket::{Io, Socket};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Longest wait for a connection to take its next request after an answer.
const READY_WAIT: Duration = Duration::from_secs(1);

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

/// A connection that takes one request at a time.
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) socket: Arc<Socket>,
    /// `None`: it ended, or a task of its own drives it.
    driver: Option<Driver>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Speaks HTTP/1 on `socket`.
    pub(super) async fn start(socket: Arc<Socket>, buffer_max: usize) -> hyper::Result<Self> {
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(buffer_max)
            .handshake(TokioIo::new(Io(Arc::clone(&socket))))
            .await?;
        Ok(Self { sender, socket, driver: Some(Box::pin(connection.with_upgrades())) })
    }

    /// Moves its bytes.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && let Poll::Ready(result) = driver.as_mut().poll(cx)
        {
            if let Err(error) = result {
                tracing::trace!(%error, "a connection to an endpoint ended");
            }
            self.driver = None;
        }
    }

    /// Is it open, and can it take a request now? An answer that is not asked for closes it.
    pub(super) fn is_idle(&mut self) -> bool {
        // Nobody is to be woken by what happens to an idle connection: it is looked at again
        // before it is used.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Waits until it can take its next request; gives up when it closes or takes too long.
    pub(super) async fn into_idle(mut self) -> Option<Self> {
        self.driver.as_ref()?;
        let ready = poll_fn(|cx| {
            self.drive(cx);
            self.sender.poll_ready(cx)
        });
        let ready = tokio::time::timeout(READY_WAIT, ready).await;
        matches!(ready, Ok(Ok(()))).then_some(self)
    }

    /// Is it driven by its user?
    pub(super) fn is_driven(&self) -> bool {
        self.driver.is_some()
    }

    /// Lets it move its bytes by itself until it ends: for a body that goes on while its answer is
    /// read, and for a change of protocol. The shard's runtime owns the task.
    pub(super) fn detach(&mut self) {
        if let Some(driver) = self.driver.take() {
            tokio::task::spawn_local(async move {
                if let Err(error) = driver.await {
                    tracing::trace!(%error, "a connection to an endpoint ended");
                }
            });
        }
    }
}

/// Drives a connection while something that it carries is waited for.
pub(super) struct Driven<'a, F> {
    pub(super) connection: &'a mut Connection,
    pub(super) wanted: Pin<&'a mut F>,
}

impl<F: Future> Future for Driven<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.connection.drive(cx);
        self.wanted.as_mut().poll(cx)
    }
}
