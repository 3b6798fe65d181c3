//! Who is at the other end of an agent's connection, and why it is refused.

use crate::certificate::Certificate;
use std::net::SocketAddr;
use tokio::sync::watch;

/// The other end of one connection of the agents' link. Clones are the same connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// What its verified certificate says; `None` when it showed none. Its time is not verified.
    pub certificate: Option<Certificate>,
    /// Why the connection ends, once it has to.
    cut: watch::Sender<Option<Refusal>>,
}

/// Why an agent is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its certificate is worth nothing any more: only a join token helps.
    pub void: bool,
    /// Why, and what helps.
    pub why: String,
}

impl Refusal {
    /// It may come again as it is.
    #[must_use]
    pub fn now(why: impl Into<String>) -> Self {
        Self { void: false, why: why.into() }
    }

    /// It may come again with a join token.
    #[must_use]
    pub fn void(why: impl Into<String>) -> Self {
        Self { void: true, why: why.into() }
    }
}

impl Peer {
    /// The end of a connection that has just begun.
    #[must_use]
    pub fn new(address: SocketAddr, certificate: Option<Certificate>) -> Self {
        Self { address, certificate, cut: watch::Sender::new(None) }
    }

    /// Ends the connection with all that goes over it. The first reason counts.
    pub fn cut(&self, why: Refusal) {
        self.cut.send_if_modified(|cut| {
            let first = cut.is_none();
            cut.get_or_insert(why);
            first
        });
    }

    /// Waits until the connection has to end.
    pub async fn is_cut(&self) -> Refusal {
        let mut cut = self.cut.subscribe();
        loop {
            let why = cut.borrow_and_update().clone();
            if let Some(why) = why {
                return why;
            }
            if cut.changed().await.is_err() {
                // Cannot be: this end holds the sender.
                return std::future::pending().await;
            }
        }
    }
}
