//! Are the demo's host ports free, and if not, whose are they?

use crate::shell;
use anyhow::{Result, bail};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

/// An error that names the first holder of one of these TCP ports.
pub(super) fn free(ports: &[u16]) -> Result<()> {
    for port in ports {
        if let Err(error) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)) {
            let listening = shell::read(Command::new("ss").args(["-Hltnp"])).unwrap_or_default();
            let by = holder(&listening, *port).unwrap_or_else(|| "an unknown program".into());
            bail!("the demo needs TCP port {port} ({error}): it is held by {by}; stop that first");
        }
    }
    Ok(())
}

/// Who holds a port, from the lines of `ss -Hltnp`.
fn holder(listening: &str, port: u16) -> Option<String> {
    let line = listening.lines().find(|line| {
        let local = line.split_whitespace().nth(3);
        local.is_some_and(|local| local.ends_with(&format!(":{port}")))
    })?;
    let users = line.split_once("users:((\"")?.1;
    let (name, rest) = users.split_once('"')?;
    let pid: String = rest.split_once("pid=")?.1.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("{name} (process {pid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_and_a_free_one_is_not() {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let why = free(&[port]).unwrap_err().to_string();
        assert!(why.contains(&format!("TCP port {port}")), "{why}");
        drop(taken);
        free(&[port]).unwrap();
    }

    #[test]
    fn the_holder_is_read_from_ss() {
        let text = "LISTEN 0 511 0.0.0.0:18080 0.0.0.0:* users:((\"other\",pid=1,fd=3))\n\
                    LISTEN 0 511 0.0.0.0:8080 0.0.0.0:* users:((\"nginx\",pid=77,fd=6),(\"nginx\",pid=76,fd=6))";
        assert_eq!(holder(text, 8080).unwrap(), "nginx (process 77)");
        assert_eq!(holder(text, 9999), None);
    }
}
