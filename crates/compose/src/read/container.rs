//! `ContainerSpec`, gathered from its rooms.

use super::{BuildSpec, Read, check_image};
use crate::diagnostic::quoted;
use model::container_spec::{ContainerSpec, NetworkMode, PullPolicy};
use model::limits;
use std::collections::BTreeMap;

impl Read<'_> {
    pub(super) fn container(&mut self, build: Option<&BuildSpec>) -> ContainerSpec {
        let f = self.fields;
        let image = match build {
            Some(build) => build.image.clone(),
            None => self.image(),
        };
        let (network, dns) = (self.network_mode(), self.dns());
        self.networks();
        let (mounts, files) = (self.mounts(), self.files());
        let mut spec = ContainerSpec {
            templates: self.templates(&mounts, &files),
            volumes_from: self.volumes_from(),
            image,
            pull: self.pull(build.is_some()),
            command: self.command("command"),
            entrypoint: self.command("entrypoint"),
            environment: self.environment(),
            labels: self.labels.clone(),
            mounts,
            files,
            working_dir: self.working_dir(),
            user: f.owned("user"),
            hostname: self.hostname("hostname"),
            domainname: self.hostname("domainname"),
            extra_hosts: self.extra_hosts(),
            network,
            healthcheck: self.docker_healthcheck(),
            resources: self.resources(),
            logging: self.logging(),
            ulimits: self.ulimits(),
            sysctls: f.pairs("sysctls"),
            cap_add: self.capabilities("cap_add"),
            cap_drop: self.capabilities("cap_drop"),
            devices: self.devices(),
            security_opt: f.texts("security_opt"),
            group_add: f.texts("group_add"),
            dns,
            dns_search: f.texts("dns_search"),
            dns_opt: f.texts("dns_opt"),
            privileged: f.boolean("privileged").unwrap_or(false),
            read_only: f.boolean("read_only").unwrap_or(false),
            init: f.boolean("init"),
            tty: f.boolean("tty").unwrap_or(false),
            stdin_open: f.boolean("stdin_open").unwrap_or(false),
            ipc: self.namespace("ipc"),
            pid: self.namespace("pid"),
            userns_mode: f.owned("userns_mode"),
            cgroup: f.owned("cgroup"),
            cgroup_parent: f.owned("cgroup_parent"),
            runtime: f.owned("runtime"),
            stop_signal: self.stop_signal(),
            shm_size: f.size("shm_size"),
            storage_opt: f.pairs("storage_opt"),
            mac_address: self.mac_address(),
        };
        if let NetworkMode::Sibling(_) = spec.network {
            self.leave_to_the_owner_of_the_network(&mut spec);
        }
        spec
    }

    /// A container in the network of another one has its name, its resolver and its addresses.
    fn leave_to_the_owner_of_the_network(&mut self, spec: &mut ContainerSpec) {
        let keys = ["hostname", "dns", "dns_search", "dns_opt", "extra_hosts", "mac_address"];
        for key in keys {
            if let Some(place) = self.fields.place(key) {
                self.warn(
                    place,
                    &format!("{key} has no effect in the network of another container"),
                )
                .hint("write it at the container whose network it is");
            }
        }
        spec.hostname = None;
        spec.mac_address = None;
        for list in [&mut spec.dns, &mut spec.dns_search, &mut spec.dns_opt, &mut spec.extra_hosts]
        {
            list.clear();
        }
    }

    fn image(&mut self) -> String {
        let Some(image) = self.fields.text("image") else {
            // An image that is a list or a map was reported, and so was a failed extends.
            let reported = self.fields.node("image").is_some() || self.is_partial();
            if !reported {
                self.error(self.place, "it has neither an image nor a build")
                    .expected("image: name:tag, or build: folder");
            }
            return String::new();
        };
        if let Err(why) = check_image(image) {
            let place = self.fields.place("image").unwrap_or(self.place);
            let what = format!("image {} is not a reference: {why}", quoted(image));
            self.error(place, &what).expected("[registry/]name[:tag][@digest]");
        }
        image.to_owned()
    }

    fn pull(&mut self, built: bool) -> PullPolicy {
        if self.labels.get("io.rancher.container.pull_image").is_some_and(|v| v == "always") {
            return PullPolicy::Always;
        }
        let Some(text) = self.fields.text("pull_policy") else { return PullPolicy::Missing };
        let place = self.fields.place("pull_policy").unwrap_or(self.place);
        match text {
            "always" => PullPolicy::Always,
            "never" => PullPolicy::Never,
            "missing" | "if_not_present" => PullPolicy::Missing,
            "build" if built => PullPolicy::Missing,
            "build" => {
                self.error(place, "pull_policy is \"build\" but there is no build")
                    .expected("always, missing or never");
                PullPolicy::Missing
            }
            text if text == "daily" || text == "weekly" || text.starts_with("every_") => {
                let what = format!(
                    "pull_policy {} is not carried out yet: missing images are pulled",
                    quoted(text)
                );
                self.warn(place, &what);
                PullPolicy::Missing
            }
            _ => {
                self.error(place, &format!("pull_policy is {}", quoted(text)))
                    .expected("always, missing, if_not_present, never or build");
                PullPolicy::Missing
            }
        }
    }

    fn environment(&mut self) -> BTreeMap<String, String> {
        let pairs = self.fields.pairs("environment");
        let place = self.fields.place("environment").unwrap_or(self.place);
        if pairs.len() > limits::ENVIRONMENT_MAX {
            let what = format!("there are {} environment variables", pairs.len());
            self.error(place, &what).expected(format!("at most {}", limits::ENVIRONMENT_MAX));
        }
        let bad = |name: &str| name.is_empty() || name.contains(['=', '\0']);
        if let Some(map) = self.fields.map("environment") {
            for (key, _) in map.iter().filter(|(k, _)| bad(&k.text)) {
                let what = format!("environment has the name {}", quoted(&key.text));
                self.error(key.place, &what).expected("a name without '='");
            }
        }
        pairs
    }

    pub(super) fn hostname(&mut self, key: &str) -> Option<String> {
        let text = self.fields.owned(key)?;
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        if text.len() > 253 || !text.split('.').all(label) {
            let place = self.fields.place(key).unwrap_or(self.place);
            self.error(place, &format!("{key} {} is not a host name", quoted(&text)))
                .expected("letters, digits and '-', in parts of at most 63 with '.' between");
        }
        Some(text)
    }
}
