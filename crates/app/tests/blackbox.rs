//! The black box: the built binary on a machine of its own, used as a person would.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may")]

#[path = "blackbox/acl.rs"]
mod acl;
#[path = "blackbox/adding.rs"]
mod adding;
#[path = "blackbox/alone.rs"]
mod alone;
#[path = "blackbox/api.rs"]
mod api;
#[path = "blackbox/apart.rs"]
mod apart;
#[path = "blackbox/article.rs"]
mod article;
#[path = "blackbox/backup.rs"]
mod backup;
#[path = "blackbox/chaos.rs"]
mod chaos;
#[path = "blackbox/clients.rs"]
mod clients;
#[path = "blackbox/cluster.rs"]
mod cluster;
#[path = "blackbox/cni.rs"]
mod cni;
#[path = "blackbox/consul_dns.rs"]
mod consul_dns;
#[path = "blackbox/hosts.rs"]
mod hosts;
#[path = "blackbox/joining.rs"]
mod joining;
#[path = "blackbox/bad_files.rs"]
mod bad_files;
#[path = "blackbox/doctor.rs"]
mod doctor;
#[path = "blackbox/floating.rs"]
mod floating;
#[path = "blackbox/dig.rs"]
mod dig;
#[path = "blackbox/expose.rs"]
mod expose;
#[path = "blackbox/images.rs"]
mod images;
#[path = "blackbox/leftovers.rs"]
mod leftovers;
#[path = "blackbox/commands.rs"]
mod commands;
#[path = "blackbox/consul_catalog.rs"]
mod consul_catalog;
#[path = "blackbox/configuration.rs"]
mod configuration;
#[path = "blackbox/consul_keys.rs"]
mod consul_keys;
#[path = "blackbox/containers.rs"]
mod containers;
#[path = "blackbox/load.rs"]
#[allow(dead_code, reason = "a harness has more than each group of tests uses")]
mod load;
#[path = "blackbox/losses.rs"]
mod losses;
#[path = "blackbox/machine.rs"]
#[allow(dead_code, reason = "a harness has more than each group of tests uses")]
mod machine;
#[path = "blackbox/metadata.rs"]
mod metadata;
#[path = "blackbox/names.rs"]
mod names;
#[path = "blackbox/net_check.rs"]
mod net_check;
#[path = "blackbox/overlay.rs"]
mod overlay;
#[path = "blackbox/plain.rs"]
mod plain;
#[path = "blackbox/probers.rs"]
mod probers;
#[path = "blackbox/overlay_mode.rs"]
mod overlay_mode;
#[path = "blackbox/wire.rs"]
mod wire;
#[path = "blackbox/prometheus.rs"]
mod prometheus;
#[path = "blackbox/registrations.rs"]
mod registrations;
#[path = "blackbox/rendered.rs"]
mod rendered;
#[path = "blackbox/hosts_file.rs"]
mod hosts_file;
#[path = "blackbox/restart.rs"]
mod restart;
#[path = "blackbox/rollout.rs"]
mod rollout;
#[path = "blackbox/sidekicks.rs"]
mod sidekicks;
#[path = "blackbox/plan.rs"]
mod plan;
#[path = "blackbox/policy.rs"]
mod policy;
#[path = "blackbox/tools.rs"]
mod tools;
#[path = "blackbox/traffic.rs"]
mod traffic;
#[path = "blackbox/transfer.rs"]
mod transfer;
#[path = "blackbox/verbs.rs"]
mod verbs;
#[path = "blackbox/trouble.rs"]
mod trouble;
