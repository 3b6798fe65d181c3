//! One end of a check of the network: this host puts its own right first, then asks the others and
//! is asked, and tells what it has seen.

use crate::reconcile::wires;
use crate::streams::{Streams, end, send_json};
use api::error::chain;
use api::stream::{Chunk, Duplex};
use engine::Engine;
use model::limits::{NET_CHECK_HOSTS_MAX, NET_CHECK_READY_MS_MAX, NET_CHECK_TELL_MS_MAX};
use model::net_check::{NetReady, NetTask};
use network::{Fabric, FabricWish, ProbeWish, Prober};
use std::time::Duration;
use tokio::time::timeout;

/// Publications that may come while the network is compared with them, before it is left to the
/// reconciler.
const WISHES_MAX: usize = 5;
/// A check in which the server says nothing for so long is given up: it waits for the slowest host,
/// and for all of a large cluster.
const SILENCE: Duration = Duration::from_secs(300);

impl<E: Engine, F: Fabric> Streams<E, F> {
    /// Ready, `NetReady` as `Json`; its task, as `In`; done, as `Text`; others are too, `InEnd`;
    /// `NetSeen` as `Json`.
    pub(crate) async fn net_check(&self, check: u64, mut duplex: Duplex) -> Result<(), String> {
        let (wish, mut ready) = self.put_right().await;
        let Some(overlay) = wish.and_then(|wish| wish.overlay) else {
            send_json(&duplex.tx, &ready).await?;
            end(&duplex.tx, Chunk::End).await;
            return Ok(());
        };
        let device = overlay.device_name();
        let prober = Prober::open(ProbeWish { check, address: overlay.underlay, device }).await;
        let prober = prober.map_err(|e| match ready.problem.as_str() {
            "" => chain(&e),
            problem => problem.to_owned(),
        })?;
        ready.address = Some(overlay.underlay);
        ready.overhead = u16::try_from(wires::overhead(overlay.mode)).unwrap_or(0);
        ready.mtu = prober.mtu();
        ready.tcp_port = prober.tcp_port();
        send_json(&duplex.tx, &ready).await?;
        let ms = NET_CHECK_READY_MS_MAX + NET_CHECK_TELL_MS_MAX;
        let task = match timeout(Duration::from_millis(ms), duplex.rx.recv()).await {
            Ok(Some(Chunk::In(bytes))) => serde_json::from_slice::<NetTask>(&bytes),
            _ => return Err("the server has not said which hosts to ask".into()),
        };
        let mut task = task.map_err(|e| format!("the task of a check of the network: {e}"))?;
        task.targets.truncate(NET_CHECK_HOSTS_MAX);
        tokio::select! {
            () = prober.ask(&task) => {}
            // Whoever asked has gone.
            () = duplex.tx.closed() => return Ok(()),
        }
        end(&duplex.tx, Chunk::Text("asked".into())).await;
        match timeout(SILENCE, duplex.rx.recv()).await {
            Ok(Some(Chunk::InEnd)) => send_json(&duplex.tx, &prober.seen()).await?,
            _ => return Err("the server has not ended the check".into()),
        }
        end(&duplex.tx, Chunk::End).await;
        Ok(())
    }

    /// Compares the host's network with what is wished for it and repairs what is not so.
    async fn put_right(&self) -> (Option<FabricWish>, NetReady) {
        let mut ready = NetReady::default();
        let newest = || {
            let publication = self.publication.borrow().clone();
            let anchor = self.anchor.borrow().clone()?;
            publication.map(|publication| wires::fabric(&publication.spec, &anchor))
        };
        let mut wish = newest();
        for _ in 0..WISHES_MAX {
            let Some(now) = &wish else {
                ready.problem = match *self.anchor.borrow() {
                    None if self.publication.borrow().is_some() => {
                        "its containers have to leave it first: look at `remuda host ls`".into()
                    }
                    _ => "the server has not told this host yet what to hold".into(),
                };
                break;
            };
            ready.problem.clear();
            match self.fabric.ensure(now).await {
                Ok(status) => {
                    let repaired = status.repaired.iter().map(ToString::to_string);
                    ready.repaired.extend(repaired);
                    let problem = wires::segment_problem(now, &status.off_segment);
                    ready.problem = problem.unwrap_or_default();
                }
                Err(error) => ready.problem = chain(&error),
            }
            // The reconciler may have made a newer wish meanwhile, which was just undone.
            let newer = newest();
            if newer == wish {
                break;
            }
            wish = newer;
        }
        if ready.problem.is_empty()
            && let Some(publication) = self.publication.borrow().as_ref()
        {
            let said = self.dataplane.borrow().report.wire.clone();
            ready.problem =
                wires::wire_problem(&publication.spec, said.as_ref()).unwrap_or_default();
        }
        for repair in &ready.repaired {
            tracing::warn!(%repair, "network put right by a check");
        }
        (wish, ready)
    }
}
