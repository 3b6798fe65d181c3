//! `/v1/snapshot`: all keys as a gzipped tar, and back. What is put back is read and checked whole
//! before anything is changed. Sessions are not in it: a key that was locked comes back free. The
//! history of keys goes on: what a snapshot puts back are new versions.

mod foreign;

use crate::answer::Answer;
use crate::kv::Entry;
use crate::request::Request;
use crate::route::Route;
use crate::serve::{Consul, Endpoint};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::Method;
use model::limits::{
    CONSUL_FREED_AT_ONCE, CONSUL_FREED_BYTES_AT_ONCE, CONSUL_KEY_BYTES_MAX, CONSUL_KEYS_MAX,
    CONSUL_SNAPSHOT_BYTES_MAX, CONSUL_VALUE_BYTES_MAX,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::sync::Arc;
use store::Store;

/// Its endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot;

pub(crate) const ROUTES: &[Route<Endpoint>] = &[Route {
    path: "snapshot",
    methods: &[Method::GET, Method::PUT],
    to: Endpoint::Snapshot(Snapshot),
}];

const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";
/// What `state.bin` begins with.
const MAGIC: &str = "remuda-kv 1";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    version: u32,
    #[serde(rename = "ID")]
    id: String,
    index: u64,
    term: u64,
}

/// A line of `state.bin`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    key: String,
    #[serde(default)]
    flags: u64,
    /// Base64.
    value: String,
}

/// Flags and values by key.
type Keys = BTreeMap<String, (u64, Bytes)>;

/// Answers a request.
pub(crate) async fn answer<S: Store>(consul: &Consul<S>, request: &Request) -> Answer {
    // One at a time: each has all keys in memory.
    let _alone = consul.snapshots().lock().await;
    let done = match request.method {
        Method::PUT => restore(consul, request.body.clone(), &request.by).await,
        _ => save(consul).await,
    };
    done.unwrap_or_else(|refused| refused)
}

async fn save<S: Store>(consul: &Consul<S>) -> Result<Answer, Answer> {
    let (entries, index) = {
        let map = consul.state().map();
        (map.list("").value, map.table())
    };
    let id = format!("1-{index}-{}", consul.state().now());
    let packed = tokio::task::spawn_blocking(move || pack(&entries, index, id)).await;
    let broken = |error: &dyn std::fmt::Display| {
        Answer::failed(format!("the snapshot cannot be written: {error}"))
    };
    let packed = packed.map_err(|e| broken(&e))?.map_err(|e| broken(&e))?;
    Ok(Answer::empty(http::StatusCode::OK)
        .with_type("application/x-gzip")
        .with_body(packed)
        .with_index(index))
}

fn pack(entries: &[Arc<Entry>], index: u64, id: String) -> io::Result<Bytes> {
    let mut state = format!("{MAGIC}\n").into_bytes();
    for entry in entries {
        let line = Line {
            key: entry.key.to_string(),
            flags: entry.flags,
            value: STANDARD.encode(&entry.value),
        };
        serde_json::to_writer(&mut state, &line)?;
        state.push(b'\n');
    }
    let meta = serde_json::to_vec(&Meta { version: 1, id, index, term: 1 })?;
    let sums = format!("{}  {META}\n{}  {STATE}\n", sum(&meta), sum(&state));
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, bytes) in [(META, &meta[..]), (STATE, &state[..]), (SUMS, sums.as_bytes())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, name, bytes)?;
    }
    Ok(tar.into_inner()?.finish()?.into())
}

fn sum(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// The keys of a snapshot, or what is wrong with it.
fn unpack(packed: &[u8]) -> Result<Keys, String> {
    let gone = |error: io::Error| format!("it is no gzipped tar, or is cut: {error}");
    let max = CONSUL_SNAPSHOT_BYTES_MAX as u64 * 2;
    let mut tar = tar::Archive::new(GzDecoder::new(packed).take(max));
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for file in tar.entries().map_err(gone)? {
        let mut file = file.map_err(gone)?;
        let name = file.path().map_err(gone)?.to_string_lossy().into_owned();
        if ![META, STATE, SUMS].contains(&name.as_str()) || files.contains_key(&name) {
            return Err(format!("it has a file {name:?} that does not belong there"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(gone)?;
        files.insert(name, bytes);
    }
    // The sum of the whole is behind what the tar needs.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(gone)?;
    let file = |name: &str| files.get(name).ok_or_else(|| format!("it has no file {name}"));
    let sums = String::from_utf8_lossy(file(SUMS)?).into_owned();
    for name in [META, STATE] {
        let wanted = format!("{}  {name}", sum(file(name)?));
        if !sums.lines().any(|line| line == wanted) {
            return Err(format!("the sum of {name} is not the one in {SUMS}"));
        }
    }
    lines(file(STATE)?)
}

fn lines(state: &[u8]) -> Result<Keys, String> {
    let mut lines = state.split(|byte| *byte == b'\n');
    let mut keys = BTreeMap::new();
    if lines.next() != Some(MAGIC.as_bytes()) {
        // Consul's own: keys are taken, what else it holds is not ours to keep.
        foreign::read(state, |found| put(&mut keys, found.key, found.flags, found.value))?;
        return Ok(keys);
    }
    for line in lines.filter(|line| !line.is_empty()) {
        let line: Line =
            serde_json::from_slice(line).map_err(|e| format!("a line is broken: {e}"))?;
        let value = STANDARD.decode(&line.value).map_err(|e| format!("a value is broken: {e}"))?;
        put(&mut keys, line.key, line.flags, value.into())?;
    }
    Ok(keys)
}

fn put(keys: &mut Keys, key: String, flags: u64, value: Bytes) -> Result<(), String> {
    let fits = (1..=CONSUL_KEY_BYTES_MAX).contains(&key.len());
    if !fits || value.len() > CONSUL_VALUE_BYTES_MAX || keys.len() >= CONSUL_KEYS_MAX {
        return Err(format!("key {key:?} is outside of the limits"));
    }
    keys.insert(key, (flags, value));
    Ok(())
}

async fn restore<S: Store>(
    consul: &Consul<S>,
    packed: Bytes,
    by: &Arc<str>,
) -> Result<Answer, Answer> {
    let keys = tokio::task::spawn_blocking(move || unpack(&packed)).await;
    let keys = keys.map_err(|e| Answer::failed(format!("the snapshot cannot be read: {e}")))?;
    let keys = keys
        .map_err(|why| Answer::failed(format!("failed to restore: {why}; nothing was changed")))?;
    let state = consul.state();
    // First what is too much, so that there is room.
    let too_much: Vec<Arc<str>> = {
        let map = state.map();
        let all = map.below("").filter(|entry| !keys.contains_key(&*entry.key));
        all.map(|entry| Arc::clone(&entry.key)).collect()
    };
    for some in too_much.chunks(CONSUL_FREED_AT_ONCE) {
        let write = state.commit(by, |draft| {
            some.iter().for_each(|key| draft.delete(key));
            Ok(())
        });
        write.await?;
    }
    let mut rest: Vec<(&String, &(u64, Bytes))> = keys.iter().collect();
    rest.reverse();
    while !rest.is_empty() {
        let (mut some, mut bytes) = (vec![], 0);
        while let Some((key, (flags, value))) = rest.pop() {
            bytes += key.len() + value.len();
            some.push((key, *flags, value));
            if some.len() >= CONSUL_FREED_AT_ONCE || bytes > CONSUL_FREED_BYTES_AT_ONCE {
                break;
            }
        }
        let write = state.commit(by, |draft| {
            for (key, flags, value) in &some {
                let done = draft.set(key, Bytes::clone(value), *flags);
                done.map_err(|refused| Answer::failed(refused.to_string()))?;
                let holder = draft.get(key).and_then(|entry| entry.session);
                if let Some(holder) = holder {
                    draft.release(key, &holder);
                }
            }
            Ok(())
        });
        write.await?;
    }
    tracing::info!(keys = keys.len(), "keys put back from a snapshot");
    Ok(Answer::empty(http::StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Entry;

    fn packed() -> Vec<u8> {
        let entry = |key: &str, value: &'static [u8], flags| {
            Arc::new(Entry {
                key: key.into(),
                value: Bytes::from_static(value),
                flags,
                lock_index: 0,
                session: None,
                create_index: 1,
                modify_index: 2,
                origin: crate::kv::Origin::default(),
            })
        };
        let all = [entry("a/\n", b"\0\xff", u64::MAX), entry("b", b"", 0)];
        pack(&all, 7, "id".into()).unwrap().to_vec()
    }

    #[test]
    fn a_snapshot_comes_back_as_it_was() {
        let keys = unpack(&packed()).unwrap();
        assert_eq!(keys["a/\n"], (u64::MAX, Bytes::from_static(b"\0\xff")));
        assert_eq!(keys["b"], (0, Bytes::new()));
        assert_eq!(keys.len(), 2);
    }

    #[test]
    fn one_that_is_cut_or_damaged_is_refused() {
        let whole = packed();
        for cut in 0..whole.len() {
            assert!(unpack(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut refused = 0;
        for at in 10..whole.len() - 8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            if let Ok(keys) = unpack(&damaged) {
                // Only bits that mean nothing may be changed unseen.
                assert_eq!(keys, unpack(&whole).unwrap(), "byte {at}");
            } else {
                refused += 1;
            }
        }
        assert!(refused > whole.len() / 2);
        assert!(unpack(b"corrupt").is_err());
    }
}
