//! From `CreateRequest` to what Docker's API takes: pure, but for the files and the call itself.

use super::connection::{Api, Docker};
use crate::error::{Error, ImageWhy, Result};
use crate::label;
use crate::wish::{Attach, CreateRequest};
use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointIpamConfig, EndpointSettings, HealthConfig,
    HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount as DockerMount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
    MountVolumeOptions, NetworkingConfig, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use model::container_spec::{ContainerSpec, DockerHealthcheck, Logging, Mount};
use model::limits;
use std::collections::HashMap;
use std::path::PathBuf;

/// API version from which a MAC address belongs to the endpoint.
const API_MAC_IN_ENDPOINT: Api = Api { major: 1, minor: 44 };
const RESOLV_CONF: &str = "/etc/resolv.conf";

impl Docker {
    pub(super) async fn create_container(&self, request: &CreateRequest) -> Result<String> {
        request.check()?;
        let writing = self.write_files(request).await?;
        let mut answer = self.create_or_adopt(request, writing.paths()).await;
        if matches!(answer, Ok(None)) {
            // The name was taken and is free now.
            answer = self.create_or_adopt(request, writing.paths()).await;
        }
        let made = answer.and_then(|id| {
            id.ok_or_else(|| Error::NameTaken {
                name: request.name.clone(),
                by: "a container that comes and goes".to_owned(),
            })
        });
        match made {
            Ok(id) => {
                writing.belongs_to(&id).await?;
                Ok(id)
            }
            Err(error) => {
                // After a transient error the container may be there, with its files.
                if !error.is_transient() {
                    writing.discard().await?;
                }
                Err(error)
            }
        }
    }

    /// `None` when the name was taken by a container that is gone now.
    async fn create_or_adopt(
        &self,
        request: &CreateRequest,
        files: &[PathBuf],
    ) -> Result<Option<String>> {
        let body = body(request, files)?;
        let options = CreateContainerOptionsBuilder::default().name(&request.name).build();
        let mac = request.spec.mac_address.as_deref().filter(|_| !shares_network(request));
        let answer = self
            .call(
                &format!("create container {}", request.name),
                self.deadlines().container_ms,
                |client| async move {
                    let bollard = match mac {
                        Some(mac) if client.api < API_MAC_IN_ENDPOINT => {
                            client.sending(with_mac(&body, mac)?.into())
                        }
                        _ => client.bollard,
                    };
                    bollard.create_container(Some(options), body).await
                },
            )
            .await;
        match answer {
            Ok(made) => Ok(Some(made.id)),
            Err(Error::Docker { status: 409, .. }) => self.adopt(request).await,
            Err(Error::NotFound { message, .. }) if message.contains("No such image") => {
                let image = request.spec.image.clone();
                Err(Error::ImageMissing { image, why: ImageWhy::NotHere })
            }
            // Volumes of a container that is gone; 400 would say that a try again is in vain.
            Err(Error::Docker { operation, status: 400, message })
                if message.contains("No such container") =>
            {
                Err(Error::NotFound { operation, message })
            }
            Err(error) => Err(error),
        }
    }

    /// The name is taken: by ourselves, when an earlier reply was lost.
    async fn adopt(&self, request: &CreateRequest) -> Result<Option<String>> {
        let name = &request.name;
        let Some(there) = self.inspect_container(name).await? else { return Ok(None) };
        let wanted = |key| request.labels.get(key);
        if there.owner.as_ref() == wanted(label::ENVIRONMENT)
            && there.instance.as_ref() == wanted(label::INSTANCE)
        {
            tracing::debug!(container = %name, id = %there.id, "container was there already");
            return Ok(Some(there.id));
        }
        let by = match &there.instance {
            Some(instance) => format!("instance {instance} (container {})", there.id),
            None => format!("container {}, which is not ours", there.id),
        };
        Err(Error::NameTaken { name: name.clone(), by })
    }
}

/// Before API 1.44 the address was a field of the container, which bollard no longer knows.
fn with_mac(
    body: &ContainerCreateBody,
    mac: &str,
) -> std::result::Result<Vec<u8>, bollard::errors::Error> {
    let mut body = serde_json::to_value(body)?;
    if let Some(fields) = body.as_object_mut() {
        fields.insert("MacAddress".into(), mac.into());
    }
    Ok(serde_json::to_vec(&body)?)
}

fn body(request: &CreateRequest, files: &[PathBuf]) -> Result<ContainerCreateBody> {
    let spec = &*request.spec;
    let mut labels: HashMap<String, String> = spec.labels.clone().into_iter().collect();
    labels.extend(request.labels.clone());
    let grace_s = i64::try_from(request.stop_grace_ms.div_ceil(1_000)).unwrap_or(i64::MAX);
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: spec.command.clone(),
        // Docker takes `[""]` for "clear the image's", and `[]` for "keep it".
        entrypoint: spec
            .entrypoint
            .clone()
            .map(|e| if e.is_empty() { vec![String::new()] } else { e }),
        env: some_list(spec.environment.iter().map(|(k, v)| format!("{k}={v}")).collect()),
        labels: Some(labels),
        working_dir: spec.working_dir.clone(),
        user: spec.user.clone(),
        hostname: spec.hostname.clone().filter(|_| !shares_network(request)),
        domainname: spec.domainname.clone().filter(|_| !shares_network(request)),
        healthcheck: spec.healthcheck.as_ref().map(healthcheck),
        tty: Some(spec.tty),
        open_stdin: Some(spec.stdin_open),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: Some(grace_s),
        networking_config: networking(request),
        host_config: Some(host_config(request, files)?),
        ..ContainerCreateBody::default()
    })
}

fn some_list<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn networking(request: &CreateRequest) -> Option<NetworkingConfig> {
    let Attach::Network { name, address } = &request.attach else { return None };
    let endpoint = EndpointSettings {
        ipam_config: address.map(|address| EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        mac_address: request.spec.mac_address.clone(),
        ..EndpointSettings::default()
    };
    Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(name.clone(), endpoint)])) })
}

fn healthcheck(check: &DockerHealthcheck) -> HealthConfig {
    let nanos = |ms: Option<u64>| {
        ms.map(|ms| i64::try_from(ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX))
    };
    HealthConfig {
        test: some_list(check.test.clone()),
        interval: nanos(check.interval_ms),
        timeout: nanos(check.timeout_ms),
        start_period: nanos(check.start_period_ms),
        retries: check.retries.map(i64::from),
        start_interval: None,
    }
}

fn host_config(request: &CreateRequest, files: &[PathBuf]) -> Result<HostConfig> {
    let spec = &*request.spec;
    let res = &spec.resources;
    let (binds, mounts) = mounts(request, files)?;
    Ok(HostConfig {
        binds: some_list(binds),
        mounts: some_list(mounts),
        network_mode: Some(match &request.attach {
            Attach::Network { name, .. } => name.clone(),
            Attach::Container(other) => format!("container:{other}"),
            Attach::Host => "host".into(),
            Attach::None => "none".into(),
        }),
        // The agent restarts by the service's policy; Docker must not do it a second time.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        log_config: Some(log_config(spec.logging.as_ref())),
        security_opt: Some(security(spec)),
        nano_cpus: res.cpu_limit_milli.map(|m| i64::try_from(m).unwrap_or(0) * 1_000_000),
        memory: res.memory_limit,
        memory_swap: res.memory_swap,
        memory_swappiness: res.memory_swappiness,
        memory_reservation: (res.memory_reserved > 0).then_some(res.memory_reserved),
        cpu_shares: res.cpu_shares,
        cpuset_cpus: res.cpuset.clone(),
        pids_limit: Some(res.pids_limit.unwrap_or(limits::PIDS_DEFAULT)),
        oom_score_adj: res.oom_score_adj,
        oom_kill_disable: res.oom_kill_disable,
        ulimits: some_list(ulimits(spec)),
        sysctls: some_map(&spec.sysctls),
        cap_add: some_list(spec.cap_add.clone()),
        cap_drop: some_list(spec.cap_drop.clone()),
        devices: some_list(devices(request)?),
        group_add: some_list(spec.group_add.clone()),
        dns: of_network(request, &spec.dns),
        dns_search: of_network(request, &spec.dns_search),
        dns_options: of_network(request, &spec.dns_opt),
        extra_hosts: of_network(request, &spec.extra_hosts),
        volumes_from: some_list(request.volumes_from.iter().map(volumes_from).collect()),
        privileged: Some(spec.privileged),
        readonly_rootfs: Some(spec.read_only),
        init: spec.init,
        ipc_mode: spec.ipc.clone(),
        pid_mode: spec.pid.clone(),
        userns_mode: spec.userns_mode.clone(),
        cgroupns_mode: cgroup_namespace(request)?,
        cgroup_parent: spec.cgroup_parent.clone(),
        runtime: spec.runtime.clone(),
        shm_size: spec.shm_size,
        storage_opt: some_map(&spec.storage_opt),
        ..HostConfig::default()
    })
}

fn shares_network(request: &CreateRequest) -> bool {
    matches!(request.attach, Attach::Container(_))
}

/// What belongs to a network is not sent for one of another container: Docker refuses it.
fn of_network(request: &CreateRequest, list: &[String]) -> Option<Vec<String>> {
    some_list(list.to_vec()).filter(|_| !shares_network(request))
}

fn volumes_from((other, read_only): &(String, bool)) -> String {
    format!("{other}:{}", if *read_only { "ro" } else { "rw" })
}

fn some_map(map: &std::collections::BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!map.is_empty()).then(|| map.clone().into_iter().collect())
}

fn log_config(logging: Option<&Logging>) -> HostConfigLogConfig {
    let Some(logging) = logging else {
        let bounds = [("max-size", "10m"), ("max-file", "3")];
        return HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(bounds.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
        };
    };
    let driver = if logging.driver.is_empty() { "json-file" } else { &logging.driver };
    HostConfigLogConfig { typ: Some(driver.to_owned()), config: some_map(&logging.options) }
}

fn security(spec: &ContainerSpec) -> Vec<String> {
    let mut options = spec.security_opt.clone();
    if !options.iter().any(|option| option.starts_with("no-new-privileges")) {
        options.push("no-new-privileges:true".into());
    }
    options
}

fn ulimits(spec: &ContainerSpec) -> Vec<ResourcesUlimits> {
    let one = |(name, (soft, hard)): (&String, &(i64, i64))| ResourcesUlimits {
        name: Some(name.clone()),
        soft: Some(*soft),
        hard: Some(*hard),
    };
    spec.ulimits.iter().map(one).collect()
}

fn devices(request: &CreateRequest) -> Result<Vec<DeviceMapping>> {
    let mut found = vec![];
    for text in &request.spec.devices {
        let parts: Vec<&str> = text.split(':').collect();
        let (host, inside, access) = match parts.as_slice() {
            [host] => (*host, *host, "rwm"),
            [host, inside] if inside.starts_with('/') => (*host, *inside, "rwm"),
            [host, access] => (*host, *host, *access),
            [host, inside, access] => (*host, *inside, *access),
            _ => {
                return Err(Error::Spec {
                    container: request.name.clone(),
                    why: format!("device {text:?} is not of the form host[:container][:rwm]"),
                });
            }
        };
        found.push(DeviceMapping {
            path_on_host: Some(host.to_owned()),
            path_in_container: Some(inside.to_owned()),
            cgroup_permissions: Some(access.to_owned()),
        });
    }
    Ok(found)
}

fn cgroup_namespace(request: &CreateRequest) -> Result<Option<HostConfigCgroupnsModeEnum>> {
    match request.spec.cgroup.as_deref() {
        None => Ok(None),
        Some("host") => Ok(Some(HostConfigCgroupnsModeEnum::HOST)),
        Some("private") => Ok(Some(HostConfigCgroupnsModeEnum::PRIVATE)),
        Some(other) => Err(Error::Spec {
            container: request.name.clone(),
            why: format!("cgroup {other:?} is neither `host` nor `private`"),
        }),
    }
}

/// Binds in Docker's short form (the only one that makes a missing host path before API 1.42), and
/// all other mounts.
fn mounts(request: &CreateRequest, files: &[PathBuf]) -> Result<(Vec<String>, Vec<DockerMount>)> {
    let mut binds = vec![];
    let mut mounts = vec![];
    for mount in &request.spec.mounts {
        match mount {
            Mount::Bind { source, target, read_only, propagation, create_host_path: true }
                if !source.contains(':') && !target.contains(':') =>
            {
                let mode = if *read_only { "ro" } else { "rw" };
                let spread = propagation.as_deref().map(|p| format!(",{p}")).unwrap_or_default();
                binds.push(format!("{source}:{target}:{mode}{spread}"));
            }
            Mount::Bind { source, target, read_only, propagation, create_host_path } => {
                let mut bind = bind(source.clone(), target, *read_only);
                bind.bind_options = Some(MountBindOptions {
                    propagation: propagation
                        .as_deref()
                        .map(|text| spread(request, text))
                        .transpose()?,
                    create_mountpoint: create_host_path.then_some(true),
                    ..MountBindOptions::default()
                });
                mounts.push(bind);
            }
            Mount::Volume { name, target, read_only, nocopy } => mounts.push(DockerMount {
                typ: Some(MountType::VOLUME),
                source: Some(name.clone()),
                target: Some(target.clone()),
                read_only: Some(*read_only),
                volume_options: Some(MountVolumeOptions {
                    no_copy: Some(*nocopy),
                    ..MountVolumeOptions::default()
                }),
                ..DockerMount::default()
            }),
            Mount::Anonymous { target } => mounts.push(DockerMount {
                typ: Some(MountType::VOLUME),
                target: Some(target.clone()),
                ..DockerMount::default()
            }),
            Mount::Tmpfs { target, size, mode } => mounts.push(DockerMount {
                typ: Some(MountType::TMPFS),
                target: Some(target.clone()),
                tmpfs_options: Some(MountTmpfsOptions {
                    size_bytes: (*size > 0).then_some(*size),
                    mode: mode.map(i64::from),
                    options: None,
                }),
                ..DockerMount::default()
            }),
        }
    }
    for (file, path) in request.spec.files.iter().zip(files) {
        mounts.push(bind(path.to_string_lossy().into_owned(), &file.target, true));
    }
    if let Some(path) = &request.resolv_conf
        && !request.spec.mounts.iter().any(|mount| target(mount) == RESOLV_CONF)
    {
        mounts.push(bind(path.to_string_lossy().into_owned(), RESOLV_CONF, true));
    }
    Ok((binds, mounts))
}

fn bind(source: String, target: &str, read_only: bool) -> DockerMount {
    DockerMount {
        typ: Some(MountType::BIND),
        source: Some(source),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..DockerMount::default()
    }
}

fn target(mount: &Mount) -> &str {
    match mount {
        Mount::Volume { target, .. }
        | Mount::Anonymous { target }
        | Mount::Bind { target, .. }
        | Mount::Tmpfs { target, .. } => target,
    }
}

fn spread(request: &CreateRequest, text: &str) -> Result<MountBindOptionsPropagationEnum> {
    text.parse().map_err(|_unknown| Error::Spec {
        container: request.name.clone(),
        why: format!("{text:?} is not a bind propagation"),
    })
}

#[cfg(test)]
mod tests;
