//! What can go wrong on the host's network, each with its subject and the way out.

use std::io;
use std::path::PathBuf;

/// Why the host's network is not as wished.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The wish itself cannot be carried out on any host.
    #[error("network wish of environment {environment}: {why}")]
    Wish {
        /// Whose wish.
        environment: String,
        /// Which rule it breaks.
        why: String,
    },
    /// The bridge that Docker should have made is not there; all else was carried out.
    #[error(
        "bridge {bridge} does not exist: docker makes it together with the network; \
         is docker running?"
    )]
    BridgeMissing {
        /// Its name.
        bridge: String,
    },
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    NetlinkOpen(#[source] io::Error),
    /// The kernel refused a request.
    #[error("cannot {doing}{}", needs_root(.source))]
    Netlink {
        /// "add address 10.42.3.7/32 to remuda0".
        doing: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel's nftables could not be read.
    #[error("cannot read nftables table inet remuda from the kernel{}", needs_root(.0))]
    TableRead(#[source] io::Error),
    /// There is no `nft`.
    #[error(
        "nft is not installed: install the package nftables \
         (apt install nftables, dnf install nftables, apk add nftables)"
    )]
    NftMissing,
    /// `nft` did not run.
    #[error("cannot run {}", program.display())]
    NftRun {
        /// Its path.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `nft` refused the rules: nothing was changed, a batch is taken whole or not at all.
    #[error("nft refused the rules: {stderr}")]
    NftRefused {
        /// What it said, cut.
        stderr: String,
    },
    /// `nft` hung and was ended.
    #[error("nft did not end within {ms} ms and was killed")]
    NftTimeout {
        /// How long it had.
        ms: u64,
    },
    /// `iptables` did not run.
    #[error("cannot run iptables")]
    IptablesRun {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `iptables` refused a rule in Docker's chain.
    #[error("iptables refused a rule in chain DOCKER-USER: {stderr}")]
    IptablesRefused {
        /// What it said, cut.
        stderr: String,
    },
    /// The kernel does not show packets between containers of one bridge to any rules.
    #[error(
        "the network policy cannot be kept on this host: packets between its containers pass no \
         rules: {said}; run `modprobe br_netfilter`, and name it in /etc/modules-load.d"
    )]
    BridgeFilter {
        /// What `modprobe` said, cut.
        said: String,
    },
    /// The overlay's device cannot be made.
    #[error(
        "interface {device} is not ours, so the network between hosts cannot be made: \
         rename or remove it"
    )]
    DeviceTaken {
        /// Its name.
        device: String,
    },
    /// The device of what is encrypted could not be made.
    #[error(
        "cannot make the TUN device {device}, by which what is encrypted goes to other hosts: is \
         there a /dev/net/tun (modprobe tun){}",
        needs_root(.source)
    )]
    Tun {
        /// Its name.
        device: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A kernel setting could not be read or written.
    #[error("cannot access {}", path.display())]
    Setting {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The journal of what is ours could not be read or written, so nothing new was made.
    #[error("cannot keep the journal {} of what is ours on this host", path.display())]
    Journal {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The ways to other hosts cannot be checked.
    #[error("cannot {doing} to check the ways to other hosts{}", needs_root(.source))]
    Probe {
        /// What.
        doing: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A floating address cannot be held here.
    #[error("cannot {doing} for a floating address{}", needs_root(.source))]
    Floating {
        /// What.
        doing: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A container's resolv.conf could not be written.
    #[error("cannot write {}", path.display())]
    Resolv {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's list of sockets could not be read.
    #[error("cannot read the sockets in {}", path.display())]
    Sockets {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The CNI configuration cannot be worked with.
    #[error("CNI configuration {}: {why}", path.display())]
    CniConfig {
        /// Its file, or the folder that it was looked for in.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A CNI plugin failed.
    #[error("CNI plugin {plugin}, {verb}: {why}")]
    CniPlugin {
        /// Which.
        plugin: String,
        /// ADD, DEL or CHECK.
        verb: &'static str,
        /// What it says.
        why: String,
        /// It ran, and said so itself.
        answered: bool,
    },
    /// A CNI plugin hung and was ended, with all that it had started.
    #[error("CNI plugin {plugin}, {verb}: it did not end within {ms} ms and was killed")]
    CniTimeout {
        /// Which.
        plugin: String,
        /// ADD, DEL or CHECK.
        verb: &'static str,
        /// How long it had.
        ms: u128,
    },
    /// The CNI plugins gave a container another address than the one that was decided.
    #[error("{why}")]
    CniAddress {
        /// Which one, and what to write in the configuration.
        why: String,
    },
    /// What the CNI plugins answered could not be kept or read.
    #[error("cannot keep the CNI result {}", path.display())]
    CniKept {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A container's network name space could not be held or let go.
    #[error("network name space: cannot {doing}{}", needs_root(.source))]
    Netns {
        /// What.
        doing: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than one thing failed; the rest was carried out.
    #[error("{}", joined(.0))]
    Several(Vec<Error>),
}

impl Error {
    /// `Ok` for none, the error itself for one, `Several` for more.
    pub(crate) fn of_all(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }
}

fn needs_root(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied {
        " (it takes root, or CAP_NET_ADMIN and CAP_NET_RAW)"
    } else {
        ""
    }
}

/// The texts with their sources: `Several` has no single source to leave them to.
fn joined(errors: &[Error]) -> String {
    let each = errors.iter().map(|error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        text
    });
    each.collect::<Vec<_>>().join("; ")
}
