//! Frames: four bytes of length, big endian, then that much JSON. Never reads more than
//! `limits::DATAPLANE_FRAME_BYTES_MAX`, whatever the length says.

use model::limits::DATAPLANE_FRAME_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Reads one; `None` when the other side closed between two frames. Not cancel-safe.
pub(crate) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>> {
    let mut head = [0u8; 4];
    let mut have = 0;
    while have < head.len() {
        match from.read(&mut head[have..]).await? {
            0 if have == 0 => return Ok(None),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => have += read,
        }
    }
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    check(length)?;
    // Grows as bytes arrive: a length alone reserves nothing.
    let mut body = Vec::with_capacity(length.min(64 * 1024));
    let limit = u64::try_from(length).unwrap_or(u64::MAX);
    if (&mut *from).take(limit).read_to_end(&mut body).await? < length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&body).map(Some).map_err(Error::from)
}

/// One as bytes.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = vec![0u8; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    check(length)?;
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// Writes one.
pub(crate) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> Result<()> {
    to.write_all(&encode(message)?).await
}

fn check(length: usize) -> Result<()> {
    if length <= DATAPLANE_FRAME_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidData,
        format!("a frame of {length} bytes, at most {DATAPLANE_FRAME_BYTES_MAX} are allowed"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_back_as_they_were_and_the_end_is_none() {
        let mut bytes = encode(&"a").unwrap();
        bytes.extend(encode(&vec![1, 2]).unwrap());
        let mut from = bytes.as_slice();
        assert_eq!(read::<String>(&mut from).await.unwrap().as_deref(), Some("a"));
        assert_eq!(read::<Vec<u8>>(&mut from).await.unwrap(), Some(vec![1, 2]));
        assert_eq!(read::<String>(&mut from).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_cut_a_too_long_and_a_foreign_frame_are_errors() {
        let whole = encode(&"abc").unwrap();
        for cut in 1..whole.len() {
            let error = read::<String>(&mut &whole[..cut]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "cut at {cut}");
        }
        let error = read::<String>(&mut [255, 255, 255, 255].as_slice()).await.unwrap_err();
        assert!(error.to_string().contains("at most 67108864"), "{error}");
        let error = read::<u8>(&mut whole.as_slice()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
