//! Archives of images between Docker and the depot, both ways in small pieces: the format is read
//! and written by a thread, which waits for whoever is slower.

use super::depot::{Depot, Writer};
use super::layout::{self, Archive, Member};
use api::image::Blob;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use model::limits::{IMAGE_BYTES_MAX, IMAGE_CHUNK_BYTES, IMAGE_DOCUMENT_BYTES_MAX};
use std::io::{Read, Write};
use tokio::sync::mpsc;

/// Pieces that wait between a thread and its other side.
const PIECES_MAX: usize = 8;

/// What is found in an archive, in order.
enum Found {
    File(String),
    Bytes(Vec<u8>),
    End,
    Link(String, String),
}

/// Reads what a channel brings.
struct Source {
    pieces: mpsc::Receiver<Result<Bytes, String>>,
    rest: Bytes,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(why)) => return Err(std::io::Error::other(why)),
                None => return Ok(0),
            }
        }
        let n = self.rest.len().min(buffer.len());
        let piece = self.rest.split_to(n);
        if let Some(into) = buffer.get_mut(..n) {
            into.copy_from_slice(&piece);
        }
        Ok(n)
    }
}

fn gone() -> std::io::Error {
    std::io::Error::other("nobody waits for it any more")
}

/// The thread that takes an archive apart.
fn take_apart(source: Source, out: &mpsc::Sender<Found>) -> std::io::Result<()> {
    let send = |found| out.blocking_send(found).map_err(|_closed| gone());
    let mut tar = tar::Archive::new(source);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        if let Some(link) = entry.link_name()? {
            let link = link.to_string_lossy().into_owned();
            send(Found::Link(path, link))?;
            continue;
        }
        if !entry.header().entry_type().is_file()
            || !(layout::is_blob(&path) || layout::is_text(&path))
        {
            continue;
        }
        send(Found::File(path))?;
        loop {
            let mut piece = vec![0; IMAGE_CHUNK_BYTES];
            let n = entry.read(&mut piece)?;
            if n == 0 {
                break;
            }
            piece.truncate(n);
            send(Found::Bytes(piece))?;
        }
        send(Found::End)?;
    }
    Ok(())
}

/// Where a link leads to: Docker 20.10 writes `../<id>/layer.tar` for a layer that is there twice.
fn target(path: &str, link: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Keeps the blobs of an archive in the depot.
///
/// # Errors
/// What cannot be read or written; what was written stays, as blobs of the depot.
pub(super) async fn keep(
    depot: &Depot,
    mut archive: BoxStream<'static, engine::Result<Bytes>>,
) -> Result<Archive, String> {
    let (into, pieces) = mpsc::channel(PIECES_MAX);
    let (out, mut found) = mpsc::channel(PIECES_MAX);
    let thread = tokio::task::spawn_blocking(move || {
        take_apart(Source { pieces, rest: Bytes::new() }, &out)
    });
    let feed = async {
        while let Some(piece) = archive.next().await {
            let piece = piece.map_err(|e| api::error::chain(&e));
            // The thread tells why it has ended.
            if into.send(piece).await.is_err() {
                break;
            }
        }
        drop(into);
    };
    let collect = async {
        let mut kept = Archive::default();
        let mut open: Option<(String, Option<Writer>, Vec<u8>)> = None;
        let mut total = 0_u64;
        let mut work = async || -> std::io::Result<()> {
            while let Some(found) = found.recv().await {
                match found {
                    Found::Link(path, link) => {
                        let link = target(&path, &link);
                        kept.links.insert(path, link);
                    }
                    Found::File(path) => {
                        let writer = match layout::is_text(&path) {
                            true => None,
                            false => Some(depot.create().await?),
                        };
                        open = Some((path, writer, vec![]));
                    }
                    Found::Bytes(bytes) => {
                        total += bytes.len() as u64;
                        if total > IMAGE_BYTES_MAX {
                            let why = format!("it is larger than {IMAGE_BYTES_MAX} bytes");
                            return Err(std::io::Error::other(why));
                        }
                        match &mut open {
                            Some((_, Some(writer), _)) => writer.write(&bytes).await?,
                            Some((_, None, text)) => {
                                if (text.len() + bytes.len()) as u64 > IMAGE_DOCUMENT_BYTES_MAX {
                                    return Err(std::io::Error::other("its manifest is too long"));
                                }
                                text.extend_from_slice(&bytes);
                            }
                            None => {}
                        }
                    }
                    Found::End => match open.take() {
                        Some((path, Some(writer), _)) => {
                            let size = writer.len;
                            let digest = depot.finish(writer, None).await?;
                            kept.files.insert(path, Blob { digest, size });
                        }
                        Some((path, None, text)) => {
                            kept.texts.insert(path, text);
                        }
                        None => {}
                    },
                }
            }
            Ok(())
        };
        let result = work().await;
        drop(found);
        result.map(|()| kept)
    };
    let ((), kept) = tokio::join!(feed, collect);
    let kept = kept.map_err(|e| e.to_string())?;
    match thread.await {
        Ok(Ok(())) => Ok(kept),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Writes into a channel.
struct Sink(mpsc::Sender<std::io::Result<Bytes>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = bytes.len().min(IMAGE_CHUNK_BYTES);
        let piece = Bytes::copy_from_slice(bytes.get(..n).unwrap_or_default());
        self.0.blocking_send(Ok(piece)).map_err(|_closed| gone())?;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The archive of these members, whose blobs are in the depot.
pub(super) fn compose(
    depot: &Depot,
    members: Vec<Member>,
) -> BoxStream<'static, std::io::Result<Bytes>> {
    let (tx, pieces) = mpsc::channel(PIECES_MAX);
    let depot = depot.clone();
    tokio::task::spawn_blocking(move || {
        let write = || -> std::io::Result<()> {
            let mut tar = tar::Builder::new(Sink(tx.clone()));
            for member in members {
                let mut header = tar::Header::new_gnu();
                header.set_mode(0o644);
                match member {
                    Member::Text(path, text) => {
                        header.set_size(text.len() as u64);
                        tar.append_data(&mut header, path, text.as_slice())?;
                    }
                    Member::Blob(path, blob) => {
                        header.set_size(blob.size);
                        let file = depot.open_now(&blob.digest)?.take(blob.size);
                        tar.append_data(&mut header, path, file)?;
                    }
                }
            }
            tar.finish()
        };
        if let Err(error) = write() {
            // A reader that is gone has its own reason to be told.
            let _told = tx.blocking_send(Err(error));
        }
    });
    let next = |mut pieces: mpsc::Receiver<_>| async { pieces.recv().await.map(|p| (p, pieces)) };
    stream::unfold(pieces, next).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_from_where_it_is() {
        assert_eq!(target("aa/layer.tar", "../bb/layer.tar"), "bb/layer.tar");
        assert_eq!(target("aa/layer.tar", "x"), "aa/x");
        assert_eq!(target("a", "../../etc/passwd"), "etc/passwd", "only a key, never opened");
    }
}
