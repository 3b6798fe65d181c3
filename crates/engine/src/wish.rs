//! What an engine is asked for.

use crate::error::{Error, Result};
use crate::label;
use crate::reference;
use ipnet::Ipv4Net;
use model::container_spec::ContainerSpec;
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

/// A bridge network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkWish {
    /// Docker's name.
    pub name: String,
    /// Name of the Linux bridge, at most 15 bytes.
    pub bridge_name: String,
    /// Its range.
    pub subnet: Ipv4Net,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    /// What Docker may hand out by itself.
    pub ip_range: Ipv4Net,
    /// Must hold `label::ENVIRONMENT`.
    pub labels: BTreeMap<String, String>,
    /// MTU; `None` is Docker's default.
    pub mtu: Option<u32>,
    /// Further options of the bridge driver.
    pub options: BTreeMap<String, String>,
}

/// How a container is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attach {
    /// To a network, with an address of ours.
    Network {
        /// Docker's name of it.
        name: String,
        /// Its address; `None` lets Docker choose.
        address: Option<Ipv4Addr>,
    },
    /// To that of another container, by name or id: it must run when this one starts.
    Container(String),
    /// To the host's network.
    Host,
    /// To none.
    None,
}

/// A container to be made.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// Docker's name.
    pub name: String,
    /// What it is made from.
    pub spec: Arc<ContainerSpec>,
    /// Added to the labels of the spec, and stronger; must hold `label::ENVIRONMENT` and
    /// `label::INSTANCE`.
    pub labels: BTreeMap<String, String>,
    /// Where it is attached. The spec's own `network` is not looked at. In the network of another
    /// container it has that one's host name, addresses, /etc/hosts and DNS: the spec's are not sent.
    pub attach: Attach,
    /// Containers by name or id whose mounts it has, each with `true` for not writable; they must
    /// be there. The spec's own `volumes_from` is not looked at.
    pub volumes_from: Vec<(String, bool)>,
    /// Bind-mounted read-only on /etc/resolv.conf.
    pub resolv_conf: Option<PathBuf>,
    /// What `docker stop` by hand waits, in milliseconds.
    pub stop_grace_ms: u64,
}

impl CreateRequest {
    /// Refuses what an engine would answer with words that show a value, and what nobody could
    /// find again.
    ///
    /// # Errors
    /// `Spec`, `BadName` or `ImageMissing`, none of which shows a value.
    pub fn check(&self) -> Result<()> {
        let refuse = |why: String| Err(Error::Spec { container: self.name.clone(), why });
        reference::path_safe("container name", &self.name)?;
        reference::image(&self.spec.image)?;
        for key in [label::ENVIRONMENT, label::INSTANCE] {
            if self.labels.get(key).is_none_or(String::is_empty) {
                return refuse(format!("it has no label {key}, so nobody would know whose it is"));
            }
        }
        if let Attach::Container(other) = &self.attach {
            reference::path_safe("container name", other)?;
        }
        for (other, _) in &self.volumes_from {
            reference::path_safe("container name", other)?;
        }
        for (key, value) in &self.spec.environment {
            if key.is_empty() || key.contains(['=', '\0']) {
                return refuse(format!("{key:?} is not a name of an environment variable"));
            }
            if value.contains('\0') {
                return refuse(format!("the variable {key} has a NUL byte in its value"));
            }
        }
        let shares = matches!(self.attach, Attach::Network { .. } | Attach::Container(_));
        if self.spec.mac_address.is_some() && !shares {
            return refuse("a mac_address needs a network of its own, not host or none".into());
        }
        Ok(())
    }
}

/// Which part of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on as it grows.
    pub follow: bool,
    /// Only the last lines; `None` is all.
    pub tail: Option<u32>,
    /// Only from here.
    pub since: Option<Timestamp>,
    /// Only to here.
    pub until: Option<Timestamp>,
    /// Fill `LogLine::time_ns`.
    pub timestamps: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            follow: false,
            tail: None,
            since: None,
            until: None,
            timestamps: false,
            stdout: true,
            stderr: true,
        }
    }
}

/// A command to run in a container.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The command with its arguments.
    pub command: Vec<String>,
    /// With a terminal.
    pub tty: bool,
    /// With input.
    pub stdin: bool,
    /// Added to the container's environment.
    pub environment: BTreeMap<String, String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Working directory.
    pub working_dir: Option<String>,
}

impl std::fmt::Debug for ExecRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecRequest")
            .field("command", &self.command)
            .field("tty", &self.tty)
            .field("stdin", &self.stdin)
            .field("user", &self.user)
            .field("working_dir", &self.working_dir)
            .finish_non_exhaustive()
    }
}

/// How an image is built.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Names of the result.
    pub tag: String,
    /// Path in the context; empty is `Dockerfile`.
    pub dockerfile: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Stage to stop at; empty is the last.
    pub target: String,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Do every step anew.
    pub no_cache: bool,
    /// Network of RUN steps (`none`, `host` …); empty is Docker's default.
    pub network: String,
    /// Look for a newer base image.
    pub pull: bool,
    /// Size of /dev/shm in RUN steps, in bytes; 0 is Docker's default.
    pub shm_size: i64,
    /// Images that the cache may be taken from.
    pub cache_from: Vec<String>,
}

impl std::fmt::Debug for BuildOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildOptions")
            .field("tag", &self.tag)
            .field("dockerfile", &self.dockerfile)
            .field("target", &self.target)
            .field("no_cache", &self.no_cache)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}
