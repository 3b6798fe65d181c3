//! Connections of the agent: what it sends goes to the plane, what the plane reports goes to it,
//! the first change at once and what follows within `limits::DATAPLANE_REPORT_MS` together.

use crate::protocol::{
    FromAgent, FromDataplane, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, Report, frame,
};
use model::limits::{DATAPLANE_CONNECTIONS_MAX, DATAPLANE_GREETING_MS_MAX, DATAPLANE_REPORT_MS};
use std::io;
use std::time::Duration;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Accepts until it is dropped.
pub(crate) async fn accept(
    listener: UnixListener,
    messages: mpsc::Sender<FromAgent>,
    report: watch::Receiver<Report>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < DATAPLANE_CONNECTIONS_MAX => {
                match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, messages.clone(), report.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "agent not accepted");
                        tokio::time::sleep(Duration::from_millis(DATAPLANE_REPORT_MS)).await;
                    }
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(
    stream: UnixStream,
    messages: mpsc::Sender<FromAgent>,
    report: watch::Receiver<Report>,
) {
    match talk(stream, messages, report).await {
        Ok(()) => tracing::info!("agent hung up, serving on"),
        Err(error) => tracing::warn!(%error, "connection of an agent ended, serving on"),
    }
}

async fn talk(
    stream: UnixStream,
    messages: mpsc::Sender<FromAgent>,
    report: watch::Receiver<Report>,
) -> io::Result<()> {
    let (mut from, mut to) = stream.into_split();
    let hello = FromDataplane::Hello {
        version: PROTOCOL_VERSION,
        version_min: PROTOCOL_VERSION_MIN,
        pid: std::process::id(),
    };
    frame::write(&mut to, &hello).await?;
    let wait = Duration::from_millis(DATAPLANE_GREETING_MS_MAX);
    match tokio::time::timeout(wait, frame::read(&mut from)).await {
        Ok(Ok(Some(FromAgent::Hello { version })))
            if (PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION).contains(&version) => {}
        Ok(Ok(None)) => return Ok(()),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(Some(_))) => return Err(io::Error::new(io::ErrorKind::InvalidData, "no greeting")),
        Err(_elapsed) => return Err(io::ErrorKind::TimedOut.into()),
    }
    let mut reader = JoinSet::new();
    reader.spawn(async move {
        while let Some(message) = frame::read(&mut from).await? {
            if messages.send(message).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    let written = tokio::select! {
        Some(ended) = reader.join_next() => {
            return ended.unwrap_or_else(|e| Err(io::Error::other(e)));
        }
        written = write(&mut to, report) => written,
    };
    // Who hears nothing more may still have said something.
    while let Some(ended) = reader.join_next().await {
        ended.unwrap_or_else(|e| Err(io::Error::other(e)))?;
    }
    written
}

async fn write(to: &mut OwnedWriteHalf, mut report: watch::Receiver<Report>) -> io::Result<()> {
    report.mark_changed();
    while report.changed().await.is_ok() {
        let message = FromDataplane::Report(Box::new(report.borrow_and_update().clone()));
        frame::write(to, &message).await?;
        tokio::time::sleep(Duration::from_millis(DATAPLANE_REPORT_MS)).await;
    }
    Ok(())
}
