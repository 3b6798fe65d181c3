//! Keys to files and back, as the original writes them.

use super::ask::{Agent, escape};
use crate::exit::{Failure, Outcome};
use crate::output;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use model::limits::CONSUL_SNAPSHOT_BYTES_MAX;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::Read as _;

/// A key in a file.
#[derive(Serialize, Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    flags: u64,
    /// Base64.
    #[serde(default)]
    value: String,
}

fn failed(name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::error(format!("{name} cannot be read: {error}"))
}

/// A word itself, `@file` its content, `-` what comes on stdin.
pub(super) fn data(word: &str) -> Outcome<Vec<u8>> {
    let max = CONSUL_SNAPSHOT_BYTES_MAX as u64;
    let source: Box<dyn std::io::Read> = match word.strip_prefix('@') {
        Some(name) => Box::new(std::fs::File::open(name).map_err(|error| failed(name, &error))?),
        None if word == "-" => Box::new(std::io::stdin()),
        None => return Ok(word.as_bytes().to_vec()),
    };
    let mut bytes = vec![];
    source.take(max).read_to_end(&mut bytes).map_err(|error| failed(word, &error))?;
    Ok(bytes)
}

/// `kv export`: a list in JSON, indented with tabs.
pub(super) async fn export(agent: &Agent, prefix: &str) -> Outcome {
    let prefix = prefix.trim_start_matches('/');
    let found = agent.json(&format!("kv/{}?recurse", escape(prefix))).await?;
    let pairs = found.as_array().into_iter().flatten().map(|pair| Pair {
        key: pair["Key"].as_str().unwrap_or_default().to_owned(),
        flags: pair["Flags"].as_u64().unwrap_or_default(),
        value: pair["Value"].as_str().unwrap_or_default().to_owned(),
    });
    output::line(&exported(&pairs.collect::<Vec<_>>())?);
    Ok(())
}

fn exported(pairs: &[Pair]) -> Outcome<String> {
    let mut out = vec![];
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut out, tabs);
    pairs.serialize(&mut writer).map_err(|error| Failure::error(error.to_string()))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// `kv import`.
pub(super) async fn import(agent: &Agent, word: Option<&str>) -> Outcome {
    let Some(word) = word else {
        return Err(Failure::error("Error! Missing DATA argument"));
    };
    let text = data(word)?;
    let pairs: Vec<Pair> = serde_json::from_slice(&text)
        .map_err(|error| Failure::error(format!("Cannot unmarshal data: {error}")))?;
    for pair in pairs {
        let value = STANDARD.decode(&pair.value).map_err(|error| {
            Failure::error(format!("Error base 64 decoding value for key {}: {error}", pair.key))
        })?;
        agent.put(&format!("kv/{}?flags={}", escape(&pair.key), pair.flags), value).await?;
        output::line(&format!("Imported: {}", pair.key));
    }
    Ok(())
}

/// What a snapshot says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Meta {
    id: String,
    index: u64,
    term: u64,
    version: u64,
    size: u64,
}

fn meta(packed: &[u8]) -> Result<Meta, String> {
    let broken = |error: std::io::Error| format!("it is no snapshot, or is cut: {error}");
    let unpacked = GzDecoder::new(packed).take(2 * CONSUL_SNAPSHOT_BYTES_MAX as u64);
    let mut tar = tar::Archive::new(unpacked);
    let (mut text, mut size) = (None, None);
    for file in tar.entries().map_err(broken)? {
        let mut file = file.map_err(broken)?;
        let name = file.path().map_err(broken)?.to_string_lossy().into_owned();
        match name.as_str() {
            "meta.json" => {
                let mut bytes = vec![];
                file.by_ref().take(1024 * 1024).read_to_end(&mut bytes).map_err(broken)?;
                text = Some(bytes);
            }
            "state.bin" => size = Some(file.size()),
            _ => {}
        }
    }
    let text = text.ok_or("it has no meta.json")?;
    let meta: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let number = |name: &str| meta[name].as_u64().unwrap_or(0);
    Ok(Meta {
        id: meta["ID"].as_str().unwrap_or_default().to_owned(),
        index: number("Index"),
        term: number("Term"),
        version: number("Version"),
        size: size.ok_or("it has no state.bin")?,
    })
}

/// `snapshot save`: written beside and named when it is whole.
pub(super) async fn save(agent: &Agent, file: &str) -> Outcome {
    let answer = agent.send("GET", "snapshot", "").await?;
    let meta = meta(&answer.body)
        .map_err(|why| Failure::error(format!("Error verifying snapshot: {why}")))?;
    let beside = format!("{file}.unverified");
    let written =
        std::fs::write(&beside, &answer.body).and_then(|()| std::fs::rename(&beside, file));
    written.map_err(|error| Failure::error(format!("Error saving snapshot {file}: {error}")))?;
    output::line(&format!("Saved and verified snapshot to index {}", meta.index));
    Ok(())
}

/// `snapshot restore`.
pub(super) async fn restore(agent: &Agent, file: &str) -> Outcome {
    agent.put("snapshot", data(&format!("@{file}"))?).await?;
    output::line("Restored snapshot");
    Ok(())
}

/// `snapshot inspect`.
pub(super) fn inspect(file: &str) -> Outcome<String> {
    let meta = meta(&data(&format!("@{file}"))?)
        .map_err(|why| Failure::error(format!("Error reading snapshot {file}: {why}")))?;
    let Meta { id, index, term, version, size } = meta;
    let rows = [
        ("ID", id),
        ("Size", size.to_string()),
        ("Index", index.to_string()),
        ("Term", term.to_string()),
        ("Version", version.to_string()),
    ];
    Ok(rows.map(|(name, value)| format!(" {name:<12} {value}")).join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_looks_as_the_original() {
        let pair = |key: &str| Pair { key: key.into(), flags: 0, value: "NQ==".into() };
        assert_eq!(
            exported(&[pair("a"), pair("b")]).unwrap(),
            "[\n\t{\n\t\t\"key\": \"a\",\n\t\t\"flags\": 0,\n\t\t\"value\": \"NQ==\"\n\t},\n\
             \t{\n\t\t\"key\": \"b\",\n\t\t\"flags\": 0,\n\t\t\"value\": \"NQ==\"\n\t}\n]"
        );
    }

    #[test]
    fn a_snapshot_says_what_it_is_and_what_is_none_is_refused() {
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gzip);
        let about = br#"{"Version":1,"ID":"2-13-9","Index":13,"Term":2,"Configuration":{}}"#;
        for (name, bytes) in [("meta.json", &about[..]), ("state.bin", b"12345")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes).unwrap();
        }
        let packed = tar.into_inner().unwrap().finish().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.snap");
        std::fs::write(&file, &packed).unwrap();
        assert_eq!(
            inspect(file.to_str().unwrap()).unwrap(),
            " ID           2-13-9\n Size         5\n Index        13\n Term         2\n Version      1"
        );
        for wrong in [&packed[..20], b"", b"text"] {
            assert!(meta(wrong).is_err());
        }
    }
}
