//! What this host's containers get their network from: Docker, or plugins of CNI. It is checked
//! before anything is started.

use super::{failed, make_private_dir};
use crate::exit::{Failure, Outcome};
use crate::paths;
use clap::Args;
use network::cni::Cni;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where plugins are when nothing else is said, as far as these folders are there.
const BIN_DIRS: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
/// Where their configuration is when nothing else is said.
const CONF: &str = "/etc/cni/net.d";
/// In the agent's folder: what its last start was told, for `remuda doctor`.
const FILE: &str = "driver.json";

/// What makes the network of containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Driver {
    /// Docker
    #[default]
    Docker,
    /// Plugins of the Container Network Interface
    Cni,
}

/// Options of `agent` and `dev`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DriverArgs {
    /// What containers get their network from; cni: docs/cni.md
    #[arg(long, env = "REMUDA_NETWORK_DRIVER", value_enum, default_value = "docker")]
    network_driver: Driver,
    /// Folders of CNI plugins [default: those of /opt/cni/bin:/usr/lib/cni:/usr/libexec/cni]
    #[arg(long, env = "REMUDA_CNI_BIN_DIR", value_delimiter = ':')]
    cni_bin_dir: Vec<PathBuf>,
    /// CNI configuration, a file or a folder whose first one counts [default: /etc/cni/net.d]
    #[arg(long, env = "REMUDA_CNI_CONF")]
    cni_conf: Option<PathBuf>,
}

/// Where plugins and configuration are.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Places {
    bin_dirs: Vec<PathBuf>,
    conf: PathBuf,
}

impl Places {
    fn load(&self) -> Result<Cni, network::Error> {
        Cni::load(self.bin_dirs.clone(), &self.conf)
    }
}

impl DriverArgs {
    fn places(&self) -> Outcome<Option<Places>> {
        if self.network_driver == Driver::Docker {
            if self.cni_conf.is_some() || !self.cni_bin_dir.is_empty() {
                return Err(Failure::usage("--cni-conf and --cni-bin-dir are for CNI alone")
                    .hint("add --network-driver cni, or leave them out"));
            }
            return Ok(None);
        }
        let usual = || BIN_DIRS.iter().map(PathBuf::from).filter(|dir| dir.is_dir()).collect();
        let bin_dirs = match self.cni_bin_dir.as_slice() {
            [] => usual(),
            some => some.to_vec(),
        };
        let conf = std::path::absolute(self.cni_conf.as_deref().unwrap_or(Path::new(CONF)))?;
        Ok(Some(Places { bin_dirs, conf }))
    }

    /// Reads and checks what it names, and keeps for `remuda doctor` what that was. `None` when
    /// Docker is the driver.
    ///
    /// # Errors
    /// What is wrong with the configuration or its plugins, as a wrong option.
    pub(super) fn load(&self, agent_dir: &Path) -> Outcome<Option<Cni>> {
        let places = self.places()?;
        keep(agent_dir, places.as_ref())?;
        let Some(places) = places else { return Ok(None) };
        let loaded = places.load();
        let wrong = |e: network::Error| {
            Failure::usage(format!("network driver cni: {}", api::error::chain(&e)))
                .hint("docs/cni.md has a configuration to begin with")
        };
        loaded.map(Some).map_err(wrong)
    }
}

fn keep(agent_dir: &Path, places: Option<&Places>) -> Outcome {
    make_private_dir(agent_dir)?;
    let file = agent_dir.join(FILE);
    match places {
        Some(places) => {
            let text = serde_json::to_string(places).map_err(|e| failed("network driver", &e))?;
            paths::write_private(&file, &text)
        }
        None => match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::error(format!("{} cannot be removed: {e}", file.display())))
            }
            _ => Ok(()),
        },
    }
}

/// What the last agent of this data folder was told, looked at anew, or what is wrong with it. `None`
/// when Docker is the driver.
pub(crate) fn look(data_dir: &Path) -> Option<Result<Cni, String>> {
    let text = std::fs::read_to_string(data_dir.join("agent").join(FILE)).ok()?;
    let places: Result<Places, _> = serde_json::from_str(&text);
    let loaded = places
        .map_err(|e| format!("{FILE} of the agent cannot be understood: {e}"))
        .and_then(|places| places.load().map_err(|e| api::error::chain(&e)));
    Some(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_cni_is_for_cni_alone_and_is_looked_at_again_by_doctor() {
        let dir = tempfile::tempdir().unwrap();
        let agent = dir.path().join("agent");
        let mut args = DriverArgs { cni_conf: Some("/x".into()), ..DriverArgs::default() };
        assert!(args.load(&agent).is_err());
        args.network_driver = Driver::Cni;
        args.cni_bin_dir = vec![dir.path().to_owned()];
        args.cni_conf = Some(dir.path().join("net.conf"));
        assert!(args.load(&agent).is_err(), "there is no such file");
        let why = look(dir.path()).unwrap().unwrap_err();
        assert!(why.contains("net.conf"), "{why}");
        let conf = r#"{"cniVersion":"1.0.0","name":"n","type":"net.conf"}"#;
        std::fs::write(dir.path().join("net.conf"), conf).unwrap();
        assert!(look(dir.path()).unwrap().unwrap_err().contains("not executable"));
        let docker = DriverArgs::default();
        assert!(docker.load(&agent).unwrap().is_none() && look(dir.path()).is_none());
    }
}
