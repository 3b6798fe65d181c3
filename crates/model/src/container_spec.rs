//! `ContainerSpec`: everything that one Docker container is made from. It is what a compose file
//! says, resolved: nothing in it refers to a file of the machine where the CLI ran.

use crate::id::ServiceName;
use crate::template_file::TemplateFile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Label with the id of the image that `up` has built for a container.
pub const BUILT_IMAGE_LABEL: &str = "io.remuda.image.id";

/// The immutable template of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerSpec {
    /// Image reference as Docker takes it.
    pub image: String,
    /// When to pull.
    pub pull: PullPolicy,
    /// Replaces the image's CMD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Replaces the image's ENTRYPOINT; `Some(vec![])` clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Environment; a key without value is passed as empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Container labels of the user.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Volumes, binds and tmpfs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// All mounts of other containers of the same instance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<VolumesFrom>,
    /// Secrets and configs: small files, their content carried in the spec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SpecFile>,
    /// Files that the host renders before the start, and again whenever they change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<TemplateFile>,
    /// Working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// `user[:group]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Host name inside the container; default is Docker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Domain name inside the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// `name:address` lines for /etc/hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    /// Network of the container.
    pub network: NetworkMode,
    /// Docker's own health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<DockerHealthcheck>,
    /// cpu, memory, pids.
    pub resources: Resources,
    /// Log driver and options; default json-file 3 x 10 MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// `name -> (soft, hard)`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// Kernel parameters of the container's namespaces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Added capabilities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Dropped capabilities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// `host:container[:rwm]` devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// As Docker takes it; `no-new-privileges:true` is added unless one `no-new-privileges` entry is here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_opt: Vec<String>,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    /// DNS servers, besides ours.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// DNS search domains, after ours.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// resolv.conf options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_opt: Vec<String>,
    /// Full access to the host.
    pub privileged: bool,
    /// Root file system is read-only.
    pub read_only: bool,
    /// Run an init as PID 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Keep stdin open.
    pub stdin_open: bool,
    /// `host`, `shareable`, `service:x` for that of a container of the same instance (`x` is the
    /// primary's service or a sidekick), `container:x` for one outside of the stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipc: Option<String>,
    /// `host`, `service:x`, `container:x`, as in `ipc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// `host` or unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userns_mode: Option<String>,
    /// `host`, `private`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Parent cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
    /// OCI runtime by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Signal that stops it, e.g. `SIGTERM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Size of /dev/shm in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<i64>,
    /// Options of the storage driver.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub storage_opt: BTreeMap<String, String>,
    /// MAC address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// Before every new instance.
    Always,
    /// When the host has none.
    #[default]
    Missing,
    /// Never: a missing image is a failure.
    Never,
}

/// Which network a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// The environment's managed network, with an address of ours.
    #[default]
    Managed,
    /// The host's own network.
    Host,
    /// No network.
    None,
    /// The network of another container of the same instance: `None` is the primary.
    Sibling(Option<ServiceName>),
}

/// The mounts of another container of the same instance.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct VolumesFrom {
    /// Which container; `None` is the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub sidekick: Option<ServiceName>,
    /// Not writable.
    #[serde(default)]
    pub read_only: bool,
}

/// A mount.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Mount {
    /// A named volume; `name` is Docker's full name (`<stack>_<name>` or the external one). In the
    /// name of a volume of each instance, `${n}` stands for the instance's number.
    Volume {
        /// Docker's name.
        name: String,
        /// Path inside.
        target: String,
        /// Not writable.
        #[serde(default)]
        read_only: bool,
        /// Do not copy the image's content into an empty volume.
        #[serde(default)]
        nocopy: bool,
    },
    /// An anonymous volume, removed with its container.
    Anonymous {
        /// Path inside.
        target: String,
    },
    /// A host path.
    Bind {
        /// Absolute path on the host.
        source: String,
        /// Path inside.
        target: String,
        /// Not writable.
        #[serde(default)]
        read_only: bool,
        /// `rprivate`, `shared` …
        #[serde(default, skip_serializing_if = "Option::is_none")]
        propagation: Option<String>,
        /// Make the host path when it is missing (compose's short form does).
        #[serde(default)]
        create_host_path: bool,
    },
    /// Memory.
    Tmpfs {
        /// Path inside.
        target: String,
        /// Bytes; 0 is unlimited.
        #[serde(default)]
        size: i64,
        /// Octal mode, e.g. 0o1777.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
    },
}

impl Mount {
    /// Where it is inside.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::Volume { target, .. }
            | Self::Anonymous { target }
            | Self::Bind { target, .. }
            | Self::Tmpfs { target, .. } => target,
        }
    }
}

/// A secret or a config, put in the container as a read-only file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SpecFile {
    /// Name in the compose file, for messages.
    pub name: String,
    /// Absolute path inside the container.
    pub target: String,
    /// Content, base64.
    pub content_base64: String,
    /// Octal mode.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Secret: content is never shown by the API, logs or events.
    pub secret: bool,
}

impl std::fmt::Debug for SpecFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpecFile")
            .field("name", &self.name)
            .field("target", &self.target)
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

/// Docker's HEALTHCHECK, as compose overrides it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct DockerHealthcheck {
    /// `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", …]`; empty takes the image's.
    pub test: Vec<String>,
    /// Milliseconds between checks; `None` is Docker's default.
    pub interval_ms: Option<u64>,
    /// Milliseconds a check may take.
    pub timeout_ms: Option<u64>,
    /// Failures that do not count after the start, in milliseconds.
    pub start_period_ms: Option<u64>,
    /// Failures in a row until unhealthy.
    pub retries: Option<u32>,
}

/// Limits and reservations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Resources {
    /// CPU limit in thousandths of a core.
    pub cpu_limit_milli: Option<u64>,
    /// Memory limit in bytes.
    pub memory_limit: Option<i64>,
    /// Memory and swap in bytes, -1 unlimited.
    pub memory_swap: Option<i64>,
    /// 0..100.
    pub memory_swappiness: Option<i64>,
    /// CPU held for placement, in thousandths of a core.
    pub cpu_reserved_milli: u64,
    /// Memory held for placement, in bytes.
    pub memory_reserved: i64,
    /// Relative weight.
    pub cpu_shares: Option<i64>,
    /// Cores by number.
    pub cpuset: Option<String>,
    /// Process limit; `None` is our default, -1 unlimited.
    pub pids_limit: Option<i64>,
    /// -1000..1000.
    pub oom_score_adj: Option<i64>,
    /// Do not kill on out of memory.
    pub oom_kill_disable: Option<bool>,
}

/// Log driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Logging {
    /// Docker's driver name; empty is json-file.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}
