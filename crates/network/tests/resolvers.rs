//! What the resolvers of glibc and musl make of our resolv.conf: the names that people use inside
//! containers come to our server in a form that it answers. Needs root for its namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: what fails here fails the test"
)]

#[path = "resolver/build.rs"]
mod build;
#[path = "bed/netns.rs"]
mod netns;
#[path = "bed/services.rs"]
mod services;

use build::{Libc, resolver};
use netns::{Container, as_root_in_own_netns};
use network::{Fabric, FabricWish, LINK_LOCAL, Linux, resolv_conf, write_resolv};
use services::{Asked, Zone, serve_dns};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// A container with nothing but a resolver of each C library and our resolv.conf.
struct Bed {
    root: tempfile::TempDir,
    container: Container,
    programs: [PathBuf; 2],
    asked: Asked,
}

impl Bed {
    fn new(search: &[&str], names: &[(&str, [u8; 4])]) -> Self {
        let root = tempfile::tempdir().unwrap();
        netns::make_bridge("remuda0", "10.42.0.1/16");
        let container = Container::on_bridge(1, "remuda0", "10.42.3.1/16", "10.42.0.1");
        let wish = FabricWish::new("e1", "remuda0", "10.42.0.0/16".parse().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Linux::new(root.path().join("data")).ensure(&wish)).unwrap();
        let zone: Zone =
            names.iter().map(|(name, ip)| ((*name).to_owned(), Ipv4Addr::from(*ip))).collect();
        let asked = serve_dns(SocketAddr::from((LINK_LOCAL, network::DNS_PORT)), zone);
        let search: Vec<String> = search.iter().map(|d| (*d).to_owned()).collect();
        write_resolv(&root.path().join("etc"), "resolv.conf", &resolv_conf(&[], &search, &[]))
            .unwrap();
        let programs = [Libc::Glibc, Libc::Musl].map(|libc| resolver(libc, root.path()));
        Self { root, container, programs, asked }
    }

    /// Both libraries resolve the name to the address.
    fn resolves(&self, name: &str, address: &str) {
        for program in &self.programs {
            let (success, out, err) = self.resolve(program, name);
            assert!(success, "{}: {name}: {err}", program.display());
            assert_eq!(out, format!("{name} {address}\n"), "{}", program.display());
        }
    }

    fn resolve(&self, program: &Path, name: &str) -> (bool, String, String) {
        let inside = format!("/{}", program.file_name().unwrap().to_str().unwrap());
        let root = self.root.path().to_str().unwrap();
        self.container.attempt("chroot", &[root, &inside, name])
    }
}

#[test]
#[ignore = "needs root"]
fn as_root_the_names_that_people_use_resolve_with_glibc_and_musl() {
    as_root_in_own_netns("as_root_the_names_that_people_use_resolve_with_glibc_and_musl", || {
        let bed = Bed::new(
            &["shop.rancher.internal", "rancher.internal"],
            &[
                ("api.shop.rancher.internal", [10, 42, 1, 1]),
                // Our server applies the search list to names with a dot itself.
                ("api.shop", [10, 42, 1, 1]),
                ("www.example.test", [203, 0, 113, 80]),
            ],
        );
        bed.resolves("api", "10.42.1.1");
        bed.resolves("api.shop", "10.42.1.1");
        bed.resolves("api.shop.rancher.internal", "10.42.1.1");
        bed.asked.lock().unwrap().clear();
        bed.resolves("www.example.test", "203.0.113.80");
        let asked = bed.asked.lock().unwrap().clone();
        assert!(asked.iter().all(|name| name == "www.example.test"), "ndots is above 1: {asked:?}");
        for program in &bed.programs {
            let (success, out, _) = bed.resolve(program, "nobody");
            assert!(!success && out.is_empty(), "{}: {out}", program.display());
        }
    });
}

#[test]
#[ignore = "needs root"]
fn as_root_glibc_and_musl_read_the_longest_search_list_that_we_write() {
    as_root_in_own_netns(
        "as_root_glibc_and_musl_read_the_longest_search_list_that_we_write",
        || {
            let domains: Vec<String> =
                (0..9).map(|i| format!("d{i}{}.test", "x".repeat(33))).collect();
            let search: Vec<&str> = domains.iter().map(String::as_str).collect();
            let last = format!("api.{}", domains[5]);
            let bed = Bed::new(&search, &[(last.as_str(), [10, 42, 1, 9])]);
            let text = std::fs::read_to_string(bed.root.path().join("etc/resolv.conf")).unwrap();
            let line = text.lines().find(|l| l.starts_with("search ")).unwrap();
            assert!(line.ends_with(&domains[5]) && line.len() > 245, "{}: {line}", line.len());
            bed.resolves("api", "10.42.1.9");
        },
    );
}
