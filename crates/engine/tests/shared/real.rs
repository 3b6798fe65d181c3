//! A corner of the real Docker: an own image, an own owner, an own subnet, and all of it gone at
//! the end, also when the test failed.

use crate::suite::Bench;
use bollard::query_parameters::{CreateImageOptionsBuilder, RemoveVolumeOptions};
use bytes::Bytes;
use engine::{Docker, DockerOptions, Engine};
use futures_util::StreamExt;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const SKIP: &str = "REMUDA_TEST_SKIP_DOCKER";

pub(crate) struct OnDocker {
    pub(crate) docker: Docker,
    pub(crate) socket: PathBuf,
    pub(crate) files: tempfile::TempDir,
    owner: String,
    image: String,
    subnet: Ipv4Net,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl OnDocker {
    /// `None` when Docker tests are to be skipped; fails when there is no Docker.
    pub(crate) async fn new() -> Option<Self> {
        if std::env::var(SKIP).is_ok_and(|value| value == "1") {
            eprintln!("skipped: {SKIP}=1");
            return None;
        }
        let files = tempfile::tempdir().unwrap();
        let options = DockerOptions::from_env(files.path()).unwrap();
        let socket = options.socket.clone();
        let docker = Docker::new(options);
        if let Err(error) = docker.info().await {
            panic!(
                "{error}\nthis test needs docker; start dockerd, or set {SKIP}=1 to leave it out"
            );
        }
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let owner = format!("rt{pid}x{n}");
        let image = format!("remuda-test/{owner}:1");
        let bench = Self { docker, socket, files, image, subnet: subnet(pid, n), owner };
        import(&bench.socket, &bench.image).await;
        Some(bench)
    }

    /// bollard itself, to look at what the engine's own types do not show.
    pub(crate) fn raw(&self) -> bollard::Docker {
        connect(&self.socket)
    }

    /// Another engine on the same Docker, as a second process would have it.
    pub(crate) fn second(&self, socket: &std::path::Path) -> Docker {
        let mut options = DockerOptions::at(socket, self.files.path());
        options.config_dir = None;
        options.deadlines.call_ms = 2_000;
        options.deadlines.container_ms = 2_000;
        Docker::new(options)
    }

    async fn clean(docker: Docker, raw: bollard::Docker, owner: String, image: String) {
        let said =
            |what: &str, error: &dyn std::fmt::Display| eprintln!("cleaning {what}: {error}");
        for seen in docker.list(&owner).await.unwrap_or_default() {
            if let Err(error) = docker.remove(&seen.id).await {
                said(&seen.name, &error);
            }
        }
        let network = format!("{owner}-net");
        if let Err(error) = docker.remove_network(&network, &owner).await {
            said(&network, &error);
        }
        for volume in docker.list_volumes(&owner).await.unwrap_or_default() {
            let none = None::<RemoveVolumeOptions>;
            if let Err(error) = raw.remove_volume(&volume.name, none).await {
                said(&volume.name, &error);
            }
        }
        if let Err(error) = docker.remove_image(&image).await {
            said(&image, &error);
        }
    }
}

impl Drop for OnDocker {
    fn drop(&mut self) {
        let (docker, raw) =
            (Docker::new(DockerOptions::at(&self.socket, self.files.path())), self.raw());
        let (owner, image) = (self.owner.clone(), self.image.clone());
        // A runtime of its own: the test's may be gone, and a drop cannot wait on it.
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(Self::clean(docker, raw, owner, image));
        });
        if cleaned.join().is_err() {
            eprintln!("could not clean up after the test");
        }
    }
}

impl Bench for OnDocker {
    type Engine = Docker;

    fn engine(&self) -> &Docker {
        &self.docker
    }

    fn owner(&self) -> &str {
        &self.owner
    }

    fn image(&self) -> &str {
        &self.image
    }

    fn subnet(&self) -> Ipv4Net {
        self.subnet
    }

    fn pass(&self, _ms: u64) {}
}

fn subnet(pid: u32, n: u32) -> Ipv4Net {
    let at = pid.wrapping_mul(7).wrapping_add(n) % (40 * 256);
    let [_, _, high, low] = at.to_be_bytes();
    Ipv4Net::new(Ipv4Addr::new(10, 201 + high, low, 0), 24).unwrap()
}

/// A static busybox and links to it.
fn busybox() -> Vec<u8> {
    let paths = ["/bin/busybox", "/usr/bin/busybox"];
    let binary = paths.iter().find_map(|path| std::fs::read(path).ok());
    let binary = binary.expect("no /bin/busybox: install the package busybox-static");
    let mut tar = tar::Builder::new(vec![]);
    let mut header = tar::Header::new_gnu();
    header.set_size(binary.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "bin/busybox", binary.as_slice()).unwrap();
    for name in ["sh", "true", "false", "echo", "sleep", "cat", "stat", "stty", "trap"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{name}"), "busybox").unwrap();
    }
    tar.into_inner().unwrap()
}

/// Makes the image on the Docker at `socket`.
pub(crate) async fn import(socket: &std::path::Path, image: &str) {
    let (repo, tag) = image.split_once(':').unwrap();
    let options = CreateImageOptionsBuilder::default().from_src("-").repo(repo).tag(tag).build();
    let body = bollard::body_full(Bytes::from(busybox()));
    let raw = connect(socket);
    let mut steps = raw.create_image(Some(options), Some(body), None).boxed();
    while let Some(step) = steps.next().await {
        step.expect("docker imports a busybox image");
    }
}

fn connect(socket: &std::path::Path) -> bollard::Docker {
    let socket = socket.to_str().unwrap();
    bollard::Docker::connect_with_unix(socket, 60, bollard::API_DEFAULT_VERSION).unwrap()
}
