//! A machine of namespaces: its first process. Network, mounts, processes, host name and IPC are
//! its own; the file system is the one around it, but for what it is given of its own.

use crate::error::{Error, Result, tail};
use crate::ident::Ident;
use crate::run::wait_for;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest wait for a machine to boot.
const BOOTED: Duration = Duration::from_secs(30);
/// Has the process as the machine around it knows it.
const INIT: &str = "init";
/// There when the machine is.
const READY: &str = "ready";

/// The first process. It is found by the file `init`, written before anything is made. Cgroups are
/// put back over the new sysfs, which shows the new network. `/run` is private, so that sockets and
/// locks are. A layer is a folder whose changes are kept beside the machine; where the machine's
/// own folder is on an overlay itself, they are kept until the machine ends.
const SCRIPT: &str = r#"
set -e
folder=$1 name=$2 hold=$3; shift 3
read -r stat </proc/self/stat
echo "$stat" >"$folder/init.new"; mv "$folder/init.new" "$folder/init"
if [ "$hold" = hold ]; then read -r _ || exit 1; exec </dev/null; fi
mount -t proc proc /proc
mkdir -p "$folder/cgroup"; mount --rbind /sys/fs/cgroup "$folder/cgroup"
mount -t sysfs sysfs /sys; mount --rbind "$folder/cgroup" /sys/fs/cgroup
umount -l "$folder/cgroup"
mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /run/lock
ip link set lo up
while [ "$1" != -- ]; do
  case $1 in
  layer)
    mkdir -p "$2/upper" "$2/work"
    mount -t overlay -o "lowerdir=$3,upperdir=$2/upper,workdir=$2/work" overlay "$3" 2>/dev/null || {
      mkdir -p "/run/layer$3/upper" "/run/layer$3/work"; cp -a "$2/upper/." "/run/layer$3/upper"
      mount -t overlay -o "lowerdir=$3,upperdir=/run/layer$3/upper,workdir=/run/layer$3/work" overlay "$3"
    } ;;
  disk)
    mkdir -p "$2"
    [ -e "$2.img" ] || { truncate -s "$3M" "$2.img"; mkfs.ext4 -q -m 0 "$2.img"; }
    mount -o loop "$2.img" "$2" ;;
  bind) mkdir -p "$2" "$3"; mount --bind "$2" "$3" ;;
  cable)
    ip link add eth0 type veth peer name cable
    ip link set cable up; ip link set eth0 up
    ip address add "$2" dev eth0; ip route add default via "$3" ;;
  esac
  shift 3
done
shift
hostname "$name"
: >"$folder/ready"
exec docker-init -s -- "$@"
"#;

/// Something that a machine has of its own.
#[derive(Clone, Debug)]
pub enum Own {
    /// Changes below this folder; those of an earlier boot are there again.
    Layer(&'static str),
    /// A disk of so many MiB that holds the machine's folder of this name.
    Disk(&'static str, u32),
    /// The machine's folder of this name, at this place.
    Bind(&'static str, &'static str),
    /// An `eth0` that leads nowhere, with this address, and a route through another.
    Cable(&'static str, &'static str),
}

/// What a machine is to be.
#[derive(Clone, Debug)]
pub struct Boot {
    folder: PathBuf,
    name: String,
    own: Vec<Own>,
    run: Vec<OsString>,
}

impl Boot {
    /// Its files are below `folder`; `name` is its host name.
    ///
    /// # Errors
    /// When the folder cannot be made, or its path cannot be named to `mount`.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        if folder.to_string_lossy().contains([',', ':', '\\', '\n']) {
            return Err(Error::Refused(format!(
                "folder {} cannot be used: mount options cannot name it; take one without `,`, \
                 `:` and `\\`",
                folder.display()
            )));
        }
        std::fs::create_dir_all(folder).map_err(Error::file("made", folder))?;
        let run = ["sleep", "infinity"].map(OsString::from).to_vec();
        Ok(Self { folder: folder.to_owned(), name: name.to_owned(), own: vec![], run })
    }

    /// It has these of its own.
    #[must_use]
    pub fn with(mut self, own: &[Own]) -> Self {
        self.own.extend_from_slice(own);
        self
    }

    /// It runs this instead of waiting; when it ends, so does the machine.
    #[must_use]
    pub fn run(mut self, program: impl Into<OsString>, arguments: &[&str]) -> Self {
        self.run = vec![program.into()];
        self.run.extend(arguments.iter().map(Into::into));
        self
    }

    /// A machine that ends with the thread that starts this command. Its exit code is that of what
    /// runs on it.
    ///
    /// # Errors
    /// When what an earlier one left cannot be removed.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "unshare", "--kill-child"]);
        self.complete(&mut command, "go")?;
        Ok(command)
    }

    /// Starts a machine that stays when this process ends, and waits until it has booted. Should
    /// this process be killed before [`Boot::init_of`] can find it, it ends as well.
    ///
    /// # Errors
    /// When it does not boot.
    pub fn start(&self) -> Result<(Ident, Child)> {
        let log = self.folder.join("boot.log");
        let file = std::fs::File::create(&log).map_err(Error::file("made", &log))?;
        let mut command = Command::new("setsid");
        command.arg("unshare");
        self.complete(&mut command, "hold")?;
        let file2 = file.try_clone().map_err(Error::file("written", &log))?;
        command.stdin(Stdio::piped()).stdout(file2).stderr(file);
        let failed = |why: String| Error::Run { command: "setsid unshare".into(), why };
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let mut hold = child.stdin.take();
        let what = format!("machine {} to boot", self.name);
        let init = wait_for(&what, BOOTED, || {
            if let Some(status) = child.try_wait().map_err(|e| failed(e.to_string()))? {
                let (what, status) = (format!("machine {}", self.name), status.to_string());
                return Err(Error::Ended { what, status, tail: tail(&log) });
            }
            let Some(init) = Self::init_of(&self.folder) else { return Ok(None) };
            if let Some(mut pipe) = hold.take() {
                std::io::Write::write_all(&mut pipe, b"go\n").map_err(|e| failed(e.to_string()))?;
            }
            Ok(self.folder.join(READY).exists().then_some(init))
        })?;
        Ok((init, child))
    }

    /// The machine's first process, as the machine around it knows it.
    #[must_use]
    pub fn init_of(folder: &Path) -> Option<Ident> {
        Ident::read(&folder.join(INIT))
    }

    fn complete(&self, command: &mut Command, hold: &str) -> Result {
        for file in [INIT, READY] {
            let path = self.folder.join(file);
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::file("removed", &path)(e));
                }
                _ => {}
            }
        }
        command
            .args(["--net", "--mount", "--pid", "--uts", "--ipc", "--fork"])
            .args(["--propagation", "private", "--", "sh", "-c", SCRIPT, "boot"])
            .arg(&self.folder)
            .args([&self.name, hold]);
        for own in &self.own {
            match own {
                Own::Layer(place) => {
                    let layer = place.trim_start_matches('/').replace('/', "-");
                    command.arg("layer").arg(self.folder.join(layer)).arg(place);
                }
                Own::Disk(folder, mib) => {
                    command.arg("disk").arg(self.folder.join(folder)).arg(mib.to_string());
                }
                Own::Bind(folder, place) => {
                    command.arg("bind").arg(self.folder.join(folder)).arg(place);
                }
                Own::Cable(address, gateway) => {
                    command.args(["cable", address, gateway]);
                }
            }
        }
        command.arg("--").args(&self.run).current_dir("/");
        without_others(command);
        Ok(())
    }
}

/// Folder of what a machine changes below `place`, for files that it is to find there.
#[must_use]
pub(crate) fn layer(folder: &Path, place: &str) -> PathBuf {
    folder.join(place.trim_start_matches('/').replace('/', "-")).join("upper")
}

/// A Docker or a Remuda that is named in the environment is not on the machine.
pub(crate) fn without_others(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let theirs = ["DOCKER_HOST", "DOCKER_CONTEXT", "REMUDA_ADDR", "REMUDA_TOKEN", "REMUDA_CA"]
            .into_iter()
            .chain(["REMUDA_CONTEXT", "REMUDA_CONFIG", "REMUDA_DATA_DIR", "REMUDA_LISTEN"])
            .any(|theirs| name == theirs);
        if theirs {
            command.env_remove(name);
        }
    }
}
