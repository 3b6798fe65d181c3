//! A registry on loopback (which Docker talks to in the clear) with one image, for one user.

use base64::Engine as _;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

pub(crate) struct Registry {
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    requests: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

/// What is served: content type and bytes by digest, the first being the manifest.
struct Image {
    login: String,
    blobs: Vec<(String, &'static str, Vec<u8>)>,
}

impl Registry {
    pub(crate) async fn start(user: &str, password: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let image = Arc::new(Image { login: format!("basic {login}"), blobs: blobs() });
        let requests = Arc::new(AtomicUsize::new(0));
        let mut task = JoinSet::new();
        let count = requests.clone();
        task.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (image, count) = (image.clone(), count.clone());
                open.spawn(async move {
                    // Docker closes when it has what it wants.
                    let _served: std::io::Result<()> = serve(client, &image, &count).await;
                });
            }
        });
        Self { address, requests, _task: task }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn blobs() -> Vec<(String, &'static str, Vec<u8>)> {
    let mut tar = tar::Builder::new(vec![]);
    let mut header = tar::Header::new_gnu();
    let content = format!("layer of process {}", std::process::id());
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "hello", content.as_bytes()).unwrap();
    let layer = tar.into_inner().unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/hello"]}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        digest(&layer)
    )
    .into_bytes();
    let part = |kind: &str, bytes: &[u8]| {
        format!(r#"{{"mediaType":"{kind}","size":{},"digest":"{}"}}"#, bytes.len(), digest(bytes))
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
        part("application/vnd.docker.container.image.v1+json", &config),
        part("application/vnd.docker.image.rootfs.diff.tar", &layer),
    )
    .into_bytes();
    let blob = "application/octet-stream";
    [(MANIFEST, manifest), (blob, config), (blob, layer)]
        .map(|(kind, bytes)| (digest(&bytes), kind, bytes))
        .to_vec()
}

async fn serve(mut client: TcpStream, image: &Image, count: &AtomicUsize) -> std::io::Result<()> {
    let mut buffer = vec![];
    loop {
        // Docker tries TLS first.
        if buffer.first() == Some(&0x16) {
            return Ok(());
        }
        let Some(end) = buffer.windows(4).position(|end| end == b"\r\n\r\n") else {
            if client.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 4);
        count.fetch_add(1, Ordering::SeqCst);
        client.write_all(&answer(&head, image)).await?;
    }
}

fn answer(head: &str, image: &Image) -> Vec<u8> {
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let login = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("authorization").then(|| value.trim().to_owned())
    });
    let known = login.is_some_and(|login| {
        let (kind, secret) = login.split_once(' ').unwrap_or_default();
        image.login == format!("{} {secret}", kind.to_ascii_lowercase())
    });
    let json = "application/json";
    let (status, kind, extra, body): (_, _, String, &[u8]) = if !known {
        let ask = "Www-Authenticate: Basic realm=\"test\"\r\n".to_owned();
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        ("401 Unauthorized", json, ask, body)
    } else if path == "/v2/" {
        ("200 OK", json, String::new(), b"{}")
    } else {
        let last = path.rsplit('/').next().unwrap_or_default();
        let tagged = last == "1" && path.contains("/manifests/");
        let found = image.blobs.iter().enumerate();
        let found =
            found.map(|(n, blob)| (n == 0 && tagged, blob)).find(|(t, b)| *t || b.0 == last);
        match found {
            Some((_, (digest, kind, bytes))) => {
                ("200 OK", *kind, format!("Docker-Content-Digest: {digest}\r\n"), bytes)
            }
            None => {
                let body =
                    br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
                ("404 Not Found", json, String::new(), body)
            }
        }
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n{extra}\
         Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if method != "HEAD" {
        answer.extend_from_slice(body);
    }
    answer
}
