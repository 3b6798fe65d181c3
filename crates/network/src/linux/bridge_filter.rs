//! The kernel module that shows packets between containers of one bridge to nftables. Without it a
//! bridge can be told to show them, and does not.

use crate::Error;
use crate::overlay::Setting;
use model::limits::{IPTABLES_MS_MAX, REASON_BYTES_MAX};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Of all bridges; it is there when the module is loaded, or part of the kernel.
const LOADED: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// Has it loaded if it is not, and looks whether the bridge shows its packets now.
pub(super) async fn ensure(bridge: &str) -> Result<(), Error> {
    load().await?;
    let own = Setting::CallsIptables.path(bridge);
    for path in [LOADED, &own] {
        if tokio::fs::read_to_string(path).await.is_ok_and(|text| text.trim() == "1") {
            return Ok(());
        }
    }
    Err(Error::BridgeFilter { said: format!("{own} is not 1") })
}

async fn load() -> Result<(), Error> {
    if Path::new(LOADED).exists() {
        return Ok(());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let run = Command::new("modprobe")
        .arg("br_netfilter")
        .env("PATH", format!("{path}:/usr/sbin:/sbin:/usr/local/sbin"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let said = match tokio::time::timeout(Duration::from_millis(IPTABLES_MS_MAX), run).await {
        Err(_late) => "modprobe did not end".to_owned(),
        Ok(Err(error)) => format!("cannot run modprobe: {error}"),
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    if Path::new(LOADED).exists() {
        // It begins with all bridges of the machine; ours says so itself.
        for what in ["arptables", "iptables", "ip6tables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{what}");
            let done = tokio::fs::write(&path, "0\n").await;
            done.map_err(|source| Error::Setting { path: path.into(), source })?;
        }
        return Ok(());
    }
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Error::BridgeFilter { said: line.chars().take(REASON_BYTES_MAX / 4).collect() })
}
