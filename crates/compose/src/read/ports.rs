//! Host ports, in the long form that canonical trees have.

use super::Read;
use crate::diagnostic::quoted;
use crate::fields::Fields;
use crate::yaml::Node;
use model::balancer::BalancerSpec;
use model::container_spec::NetworkMode;
use model::limits;
use model::service::{PortMapping, Transport};
use std::net::IpAddr;

impl Read<'_> {
    pub(super) fn ports(&mut self, network: &NetworkMode) -> Vec<PortMapping> {
        let mut out = vec![];
        for node in self.fields.items("ports") {
            if let Some(port) = self.port(node)
                && !out.contains(&port)
            {
                out.push(port);
            }
        }
        self.check_expose();
        if out.len() > limits::PORTS_MAX {
            let place = self.fields.place("ports").unwrap_or(self.place);
            self.error(place, &format!("there are {} ports", out.len()))
                .expected(format!("at most {}", limits::PORTS_MAX));
        }
        if !out.is_empty() && *network != NetworkMode::Managed {
            let place = self.fields.place("ports").unwrap_or(self.place);
            let mode = self.fields.text("network_mode").unwrap_or("").to_owned();
            self.warn(place, &format!("ports have no effect with network_mode: {mode}"));
            out.clear();
        }
        out
    }

    fn port(&mut self, node: &Node) -> Option<PortMapping> {
        let fields = Fields::of(node.as_map()?);
        let Some(container_port) = fields.number::<u16>("target") else {
            if fields.node("target").is_none() {
                self.error(node.place, "ports: an entry has no target")
                    .expected("target: the container's port");
            }
            return None;
        };
        let protocol = match fields.text("protocol") {
            None | Some("tcp") => Transport::Tcp,
            Some("udp") => Transport::Udp,
            Some(other) => {
                let place = fields.place("protocol").unwrap_or(node.place);
                self.error(place, &format!("ports: protocol is {}", quoted(other)))
                    .expected("tcp or udp");
                return None;
            }
        };
        if let Some(mode) = fields.text("mode")
            && !matches!(mode, "host" | "ingress")
        {
            let place = fields.place("mode").unwrap_or(node.place);
            self.error(place, &format!("ports: mode is {}", quoted(mode)))
                .expected("host or ingress");
        }
        let host_ip = match fields.text("host_ip").map(str::parse::<IpAddr>) {
            None => None,
            // All addresses is what no address says.
            Some(Ok(ip)) if ip.is_unspecified() => None,
            Some(Ok(ip)) => Some(ip),
            Some(Err(_)) => {
                let place = fields.place("host_ip").unwrap_or(node.place);
                let text = fields.text("host_ip").unwrap_or("");
                self.error(place, &format!("ports: host_ip is {}", quoted(text)))
                    .expected("an address of the host");
                return None;
            }
        };
        let host_port = fields.number::<u16>("published").filter(|port| *port > 0);
        Some(PortMapping { host_ip, host_port, container_port, protocol })
    }

    /// `expose` documents ports, every port of a container is open to the others; it must be one.
    pub(super) fn check_expose(&mut self) {
        for node in self.fields.items("expose") {
            let Some(text) = node.as_text() else { continue };
            let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let port = |t: &str| t.parse::<u16>().is_ok_and(|p| p > 0);
            let fits = match ports.split_once('-') {
                Some((from, to)) => port(from) && port(to),
                None => port(ports),
            };
            if !fits || !matches!(protocol, "tcp" | "udp") {
                self.error(node.place, &format!("expose: {} is not a port", quoted(text)))
                    .expected("a port number from 1 to 65535, or a range");
            }
        }
    }

    /// The host ports of a balancer: its source ports. `ports` may only say the same.
    pub(super) fn balancer_ports(&mut self, spec: &BalancerSpec) -> Vec<PortMapping> {
        let mut out: Vec<PortMapping> = vec![];
        for rule in &spec.rules {
            let port = PortMapping {
                host_ip: None,
                host_port: Some(rule.source_port),
                container_port: rule.source_port,
                protocol: Transport::Tcp,
            };
            if !out.contains(&port) {
                out.push(port);
            }
        }
        self.check_expose();
        if self.is_legacy_balancer() {
            return out;
        }
        for node in self.fields.items("ports") {
            let Some(port) = self.port(node) else { continue };
            let published = port.host_port.unwrap_or(port.container_port);
            if published != port.container_port {
                let what = format!(
                    "ports: a balancer listens on its source_port {} itself, not on {published}",
                    port.container_port
                );
                self.error(node.place, &what).hint("set source_port to the port of the host");
            } else if !out.iter().any(|o| o.container_port == published) && !spec.rules.is_empty() {
                let what = format!("ports: no rule of lb_config has source_port {published}");
                self.warn(node.place, &what);
            }
            if port.host_ip.is_some() {
                let what = "ports: a balancer listens on every address of the host";
                self.warn(node.place, what);
            }
        }
        out
    }
}
