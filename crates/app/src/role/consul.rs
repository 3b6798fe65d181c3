//! Where the Consul API listens, of a server and of an agent.

use clap::Args;
use std::net::SocketAddr;
use std::str::FromStr;

/// Option of every role that answers clients of Consul.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConsulArgs {
    /// Address of the Consul API for programs of this machine, or none. Where server and agent
    /// share a machine the server has it
    #[arg(long, env = "REMUDA_CONSUL_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8500",
        value_parser = listen)]
    pub consul_listen: Listen,
}

/// An address, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen(pub Option<SocketAddr>);

fn listen(text: &str) -> Result<Listen, String> {
    if text == "none" {
        return Ok(Listen(None));
    }
    let address = SocketAddr::from_str(text)
        .map_err(|e| format!("{e}: say an address with its port, or none"))?;
    // Whoever reaches it may read and write keys.
    match address.ip().is_loopback() {
        true => Ok(Listen(Some(address))),
        false => Err(format!("{} is not loopback: everybody could write keys there", address.ip())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_on_loopback_or_not_at_all() {
        assert_eq!(listen("none"), Ok(Listen(None)));
        assert!(listen("127.0.0.1:0").unwrap().0.is_some());
        assert!(listen("[::1]:8500").unwrap().0.is_some());
        for bad in ["0.0.0.0:8500", "10.0.0.1:8500", "localhost", "", "127.0.0.1"] {
            assert!(listen(bad).is_err(), "{bad}");
        }
    }
}
