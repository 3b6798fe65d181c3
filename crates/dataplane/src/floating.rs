//! Floating addresses: this host votes about who has one, and takes it when a majority gives it. It
//! works in a thread of its own, so that nothing that carries traffic makes it late, and goes on when
//! agent and server are dead. Without a floating address nothing is opened.
//!
//! ```text
//! plane ── Wish ──▶ keeper ── lease (pure) ──▶ words, signed by wire ──▶ UDP 7605 of other hosts
//!       ◀── Seen ──        └─▶ hold: the address on a device, ARP for it
//! ```

mod clock;
mod hold;
mod keeper;
mod lease;
mod wire;

pub(crate) use keeper::{Keeper, Wish};

use crate::effective::{Effective, Turn};
use model::view::HostView;

/// What the keeper is to do: a host is a candidate while one of the service's ports leads somewhere.
pub(crate) fn wish(view: &HostView, served: &Effective) -> Wish {
    let leads = |upstream: &String| {
        let endpoints = served.upstreams.get(upstream).into_iter().flatten();
        endpoints.into_iter().any(|end| matches!(end.turn, Turn::Up | Turn::Doubtful))
    };
    let mut seats = view.floating.clone();
    for seat in seats.values_mut() {
        let takes = seat.upstreams.is_empty() || seat.upstreams.iter().any(leads);
        seat.candidate &= takes;
    }
    Wish { host: Some(view.host.clone()), seats }
}
