//! `Docker`: the real engine, over its Unix socket. Questions and answers go through bollard; byte
//! streams (events, logs, terminals) through `stream`, which needs to know when they have begun,
//! and bounds what it holds. Any engine from API 1.41 up.

mod connection;
mod containers;
mod create;
mod files;
mod networks;
mod plain;
mod volumes;
mod images;
mod shelf;
mod archive;
mod login;
mod stream;
mod frames;
mod events;
mod logs;
mod exec;
mod stats;
mod build;

pub use connection::{Deadlines, Docker, DockerOptions};

use crate::error::Result;
use crate::seen::{
    BuildOutput, DiskSpace, EngineEvent, EngineInfo, ExecSession, ImageInfo, LogLine, PlainList,
    PullProgress, SeenContainer, SeenImage, SeenVolume, Stats,
};
use crate::wish::{BuildOptions, CreateRequest, ExecRequest, LogOptions, NetworkWish};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use model::container_spec::PullPolicy;
use model::stack::VolumeSpec;
use model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use tokio::sync::mpsc;

impl crate::Engine for Docker {
    async fn info(&self) -> Result<EngineInfo> {
        self.engine_info().await
    }

    async fn ping(&self) -> Result<()> {
        self.engine_ping().await
    }

    async fn list(&self, owner: &str) -> Result<Vec<SeenContainer>> {
        self.list_containers(owner).await
    }

    async fn inspect(&self, id: &str) -> Result<Option<SeenContainer>> {
        self.inspect_container(id).await
    }

    async fn ensure_network(&self, wish: &NetworkWish) -> Result<()> {
        self.make_network(wish).await
    }

    async fn remove_network(&self, name: &str, owner: &str) -> Result<()> {
        self.drop_network(name, owner).await
    }

    async fn list_plain(&self) -> Result<PlainList> {
        self.plain_containers().await
    }

    async fn connect(&self, id: &str, network: &str, address: Ipv4Addr) -> Result<()> {
        self.connect_container(id, network, address).await
    }

    async fn disconnect(&self, id: &str, network: &str) -> Result<()> {
        self.disconnect_container(id, network).await
    }

    async fn ensure_volume(
        &self,
        name: &str,
        spec: &VolumeSpec,
        labels: &BTreeMap<String, String>,
    ) -> Result<()> {
        self.make_volume(name, spec, labels).await
    }

    async fn list_volumes(&self, owner: &str) -> Result<Vec<SeenVolume>> {
        self.volumes_of(owner).await
    }

    async fn pull(
        &self,
        image: &str,
        policy: PullPolicy,
        progress: Option<mpsc::Sender<PullProgress>>,
    ) -> Result<ImageInfo> {
        self.pull_image(image, policy, progress).await
    }

    async fn image(&self, name: &str) -> Result<Option<ImageInfo>> {
        self.inspect_image(name).await
    }

    async fn tag_image(&self, image: &str, name: &str) -> Result<()> {
        self.name_image(image, name).await
    }

    async fn remove_image(&self, name: &str) -> Result<()> {
        self.drop_image(name).await
    }

    async fn save_image(&self, id: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.export_image(id).await
    }

    async fn load_image(&self, archive: BoxStream<'static, std::io::Result<Bytes>>) -> Result<()> {
        self.import_image(archive).await
    }

    async fn images(&self) -> Result<Vec<SeenImage>> {
        self.list_images().await
    }

    async fn images_in_use(&self) -> Result<BTreeSet<String>> {
        self.used_images().await
    }

    async fn disk(&self) -> Result<DiskSpace> {
        self.disk_space().await
    }

    async fn create(&self, request: &CreateRequest) -> Result<String> {
        self.create_container(request).await
    }

    async fn start(&self, id: &str) -> Result<()> {
        self.start_container(id).await
    }

    async fn stop(&self, id: &str, grace_ms: u64) -> Result<()> {
        self.stop_container(id, grace_ms).await
    }

    async fn kill(&self, id: &str, signal: &str) -> Result<()> {
        self.kill_container(id, signal).await
    }

    async fn remove(&self, id: &str) -> Result<()> {
        self.remove_container(id).await
    }

    async fn events(
        &self,
        since: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        self.event_stream(since).await
    }

    async fn logs(
        &self,
        id: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        self.log_stream(id, options).await
    }

    async fn exec(&self, id: &str, request: &ExecRequest) -> Result<ExecSession> {
        self.start_exec(id, request).await
    }

    async fn exec_resize(&self, exec_id: &str, rows: u16, columns: u16) -> Result<()> {
        self.resize_exec(exec_id, rows, columns).await
    }

    async fn exec_exit(&self, exec_id: &str) -> Result<Option<i64>> {
        self.exit_of_exec(exec_id).await
    }

    async fn stats(&self, id: &str) -> Result<Stats> {
        self.container_stats(id).await
    }

    async fn build(
        &self,
        context: BoxStream<'static, std::io::Result<Bytes>>,
        options: &BuildOptions,
    ) -> Result<BoxStream<'static, Result<BuildOutput>>> {
        self.build_image(context, options).await
    }
}
