//! The door to the container engine of one host: `Engine`, with Docker behind it, and a fake that
//! lies on command. It does what it is told and says what it sees; it decides nothing, and nothing
//! of its errors ever shows the value of an environment variable or the content of a file.

pub mod error;
pub mod wish;
pub mod seen;
pub mod label;

pub mod docker;
#[cfg(feature = "fake")]
pub mod fake;

mod fit;
mod moment;
mod reference;
mod signal;

pub use docker::{Docker, DockerOptions};
pub use error::{Error, ImageWhy, Result};
#[cfg(feature = "fake")]
pub use fake::Fake;
pub use reference::image_name;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use model::container_spec::PullPolicy;
use model::stack::VolumeSpec;
use model::time::Timestamp;
use seen::{
    BuildOutput, DiskSpace, EngineEvent, EngineInfo, ExecSession, ImageInfo, LogLine, PlainList,
    PullProgress, SeenContainer, SeenImage, SeenVolume, Stats,
};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::Ipv4Addr;
use tokio::sync::mpsc;
use wish::{BuildOptions, CreateRequest, ExecRequest, LogOptions, NetworkWish};

/// A container engine. Every call has a deadline (`Error::Timeout`), every stream is bounded: it is
/// read from the engine only as fast as its reader takes it. An error with `is_transient()` says
/// nothing of whether the effect took place: look again with `list`, which alone is the truth.
pub trait Engine: Clone + Send + Sync + 'static {
    /// What engine this is, and that it answers.
    fn info(&self) -> impl Future<Output = Result<EngineInfo>> + Send;

    /// That it answers, at next to no cost and with the shortest deadline: one that hangs is found.
    fn ping(&self) -> impl Future<Output = Result<()>> + Send;

    /// All containers with the label `label::ENVIRONMENT` = `owner`, running or not, by name.
    fn list(&self, owner: &str) -> impl Future<Output = Result<Vec<SeenContainer>>> + Send;

    /// Containers without the label `label::ENVIRONMENT` that run or ask for the managed network
    /// (`model::plain::asks_for_network`), by name, at most `PLAIN_CONTAINERS_MAX`.
    fn list_plain(&self) -> impl Future<Output = Result<PlainList>> + Send;

    /// Connects a container to a network with this address, besides the networks that it is in; it
    /// keeps both over its restarts. One that has no network (`none`) leaves that, one that is there
    /// with another address is connected anew. `Error::Docker` when somebody has the address.
    fn connect(
        &self,
        id: &str,
        network: &str,
        address: Ipv4Addr,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Takes a container out of a network; one that is not in it, or gone, is fine.
    fn disconnect(&self, id: &str, network: &str) -> impl Future<Output = Result<()>> + Send;

    /// One container by id or name, ours or not; `None` when there is none.
    fn inspect(&self, id: &str) -> impl Future<Output = Result<Option<SeenContainer>>> + Send;

    /// Makes the bridge network unless it is there. A network of that name which is not ours or has
    /// another subnet, and a subnet that another network overlaps, are errors; nothing is changed.
    fn ensure_network(&self, wish: &NetworkWish) -> impl Future<Output = Result<()>> + Send;

    /// Takes the network of `owner` away; one that is not there is fine, a foreign one an error.
    fn remove_network(&self, name: &str, owner: &str) -> impl Future<Output = Result<()>> + Send;

    /// Makes the named volume unless it is there; an external one must be there. A volume is never
    /// removed or changed.
    fn ensure_volume(
        &self,
        name: &str,
        spec: &VolumeSpec,
        labels: &BTreeMap<String, String>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Named volumes with the label `label::ENVIRONMENT` = `owner`, by name.
    fn list_volumes(&self, owner: &str) -> impl Future<Output = Result<Vec<SeenVolume>>> + Send;

    /// Has the image here, as `policy` says. Progress is sent as far as there is room for it: it
    /// may be lost, the result is not. `Error::ImageMissing` says why an image cannot be had.
    fn pull(
        &self,
        image: &str,
        policy: PullPolicy,
        progress: Option<mpsc::Sender<PullProgress>>,
    ) -> impl Future<Output = Result<ImageInfo>> + Send;

    /// An image of this host; `None` when it is not here.
    fn image(&self, name: &str) -> impl Future<Output = Result<Option<ImageInfo>>> + Send;

    /// Gives an image a further name.
    fn tag_image(&self, image: &str, name: &str) -> impl Future<Output = Result<()>> + Send;

    /// Takes the name of an image away, and the image with its last name, or, by its id, an image
    /// with at most one name; a missing one is fine. `Error::Docker` with status 409 when a
    /// container or another image needs it.
    fn remove_image(&self, name: &str) -> impl Future<Output = Result<()>> + Send;

    /// The image as a tar, as `docker save` writes it. The stream is read from the engine only as
    /// fast as its reader takes it.
    fn save_image(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<Bytes>>>> + Send;

    /// Takes an image in from such a tar. An archive may leave out layers that are here already,
    /// on top of the same ones.
    fn load_image(
        &self,
        archive: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// All images with a name, and those without one that no other image is made of, by id, whoever
    /// brought them here.
    fn images(&self) -> impl Future<Output = Result<Vec<SeenImage>>> + Send;

    /// Ids of the images of all containers, ours or not, running or not.
    fn images_in_use(&self) -> impl Future<Output = Result<BTreeSet<String>>> + Send;

    /// The disk of images, layers and volumes.
    fn disk(&self) -> impl Future<Output = Result<DiskSpace>> + Send;

    /// Makes a container, not started, and gives its id. The name is the compare-and-swap: when a
    /// container of that name with the same environment and instance labels is there (a reply was
    /// lost), its id is given, any other one is `Error::NameTaken`.
    fn create(&self, request: &CreateRequest) -> impl Future<Output = Result<String>> + Send;

    /// Starts a container; one that runs is fine.
    fn start(&self, id: &str) -> impl Future<Output = Result<()>> + Send;

    /// Sends the container's stop signal, and SIGKILL after `grace_ms` (whole seconds on Docker,
    /// rounded up). Returns when it has stopped; one that is stopped or gone is fine.
    fn stop(&self, id: &str, grace_ms: u64) -> impl Future<Output = Result<()>> + Send;

    /// Sends a signal, e.g. `SIGHUP`; a container that does not run is fine.
    fn kill(&self, id: &str, signal: &str) -> impl Future<Output = Result<()>> + Send;

    /// Removes a container, killing it if it runs, with its anonymous volumes and its files; named
    /// volumes stay. One that is gone or going is fine.
    fn remove(&self, id: &str) -> impl Future<Output = Result<()>> + Send;

    /// Container events from now, or from `since` (with those of that very moment). They are hints:
    /// one may be lost or come twice. The end of the stream means that the engine went away:
    /// `list`, then call again.
    fn events(
        &self,
        since: Option<Timestamp>,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<EngineEvent>>>> + Send;

    /// What a container wrote, oldest first. Ends with the container when following.
    fn logs(
        &self,
        id: &str,
        options: &LogOptions,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<LogLine>>>> + Send;

    /// Starts a command in a running container. Dropping the session closes its input and output;
    /// the command goes on if it does not care.
    fn exec(
        &self,
        id: &str,
        request: &ExecRequest,
    ) -> impl Future<Output = Result<ExecSession>> + Send;

    /// Sets the size of an exec's terminal.
    fn exec_resize(
        &self,
        exec_id: &str,
        rows: u16,
        columns: u16,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Exit code of an exec; `None` while it runs.
    fn exec_exit(&self, exec_id: &str) -> impl Future<Output = Result<Option<i64>>> + Send;

    /// Resource use now. Docker takes a second or two for it, to measure the CPU.
    fn stats(&self, id: &str) -> impl Future<Output = Result<Stats>> + Send;

    /// Builds an image from a tar stream, offline unless its base image is missing. Ends with
    /// `BuildOutput::Image`, or with `Error::Build`, which names the step that failed.
    fn build(
        &self,
        context: BoxStream<'static, std::io::Result<Bytes>>,
        options: &BuildOptions,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<BuildOutput>>>> + Send;
}
