//! The words of `cargo xtask cluster`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use testbed::Role;

/// Hosts on this machine, each of namespaces with a Docker of its own, a switch between them, a
/// server and agents: to try things with, and to break. Nothing leaves them. Needs root.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask cluster",
    bin_name = "cargo xtask cluster",
    after_help = "\
Machines are h1, h2 … and server; `switch` is the place between them, which is none of the hosts.

Examples:
  cargo xtask cluster up 3                     builds, makes three hosts, starts all, waits
  cargo xtask cluster status
  cargo xtask cluster exec switch remuda host ls
  cargo xtask cluster exec h1 docker ps
  cargo xtask cluster cut h2                   pulls the cable; heal h2 plugs it in
  cargo xtask cluster kill h3                  pulls the plug; boot h3 gives it power
  cargo xtask cluster kill h1 agent            kill -9; boot h1 agent starts it
  cargo xtask cluster down"
)]
pub(crate) struct Options {
    /// Folder of the cluster: its state, disks and logs
    #[arg(long, global = true, env = "REMUDA_CLUSTER", default_value = "/tmp/remuda-cluster")]
    pub(crate) folder: PathBuf,
    /// This is the ground
    #[arg(long, hide = true)]
    pub(crate) inside: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Options {
    /// With whole paths, whatever the current folder is later.
    pub(crate) fn whole(mut self) -> testbed::Result<Self> {
        let whole = |path: &mut PathBuf| {
            *path = std::path::absolute(&*path).map_err(testbed::Error::file("found", path))?;
            Ok(())
        };
        whole(&mut self.folder)?;
        if let Verb::Up(up) = &mut self.verb {
            [&mut up.binary, &mut up.images].into_iter().flatten().try_for_each(whole)?;
        }
        Ok(self)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a cluster: hosts with a Docker each, a server, and an agent on each host
    Up(Up),
    /// Take the cluster away, whatever its state, with all that it left
    Down,
    /// Run a command on a machine; its exit code is the command's
    #[command(after_help = "Examples:
  cargo xtask cluster exec h1 -- docker ps -a
  cargo xtask cluster exec h2 bash
  cargo xtask cluster exec switch -- remuda ps        as a client that is none of the hosts")]
    Exec {
        /// h1, h2 …, server or switch
        machine: String,
        /// The command and its words
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Show machines, what runs on them, and what is wrong with the network
    #[command(visible_alias = "ls")]
    Status {
        /// For people or for programs
        #[arg(short, long, value_enum, default_value = "table")]
        output: Format,
    },
    /// Pull a machine's cable; with another machine only what is between the two is lost
    #[command(after_help = "Examples:
  cargo xtask cluster cut h1            h1 sees that there is no carrier
  cargo xtask cluster cut h1 h2         both go on with all others
  cargo xtask cluster cut h1 server     h1 has lost only the server")]
    Cut {
        /// h1, h2 … or server
        machine: String,
        /// Another machine, or `switch`
        other: Option<String>,
    },
    /// Take back what is wrong with the network: of all, of a machine, or between two
    #[command(after_help = "Examples:
  cargo xtask cluster heal              nothing is wrong any more
  cargo xtask cluster heal h1           with h1: cable, losses, delay
  cargo xtask cluster heal h1 h2        only what was lost between the two")]
    Heal {
        /// h1, h2 … or server [default: all]
        machine: Option<String>,
        /// Another machine, or `switch`
        other: Option<String>,
    },
    /// Lose so many of the frames to and from a machine; its carrier stays
    #[command(after_help = "Examples:
  cargo xtask cluster drop h1 10%
  cargo xtask cluster drop h1 100%      silent isolation
  cargo xtask cluster drop h1 0         none any more")]
    Drop {
        /// h1, h2 … or server
        machine: String,
        /// Chance of each frame to be lost, in percent: 0 to 100, one digit after the point
        #[arg(value_parser = permille)]
        percent: u16,
    },
    /// Lose all frames from one machine to another; those back pass
    #[command(after_help = "Examples:
  cargo xtask cluster oneway h1 h2        h2 does not hear h1
  cargo xtask cluster oneway server h1    h1 does not hear the server
  cargo xtask cluster heal h1 h2")]
    Oneway {
        /// From here
        from: String,
        /// To here, or to `switch`
        to: String,
    },
    /// Make frames to and from a machine late
    #[command(after_help = "Examples:
  cargo xtask cluster delay h1 50       a round trip takes 100 ms more
  cargo xtask cluster delay h1 50 10    40 to 60 ms each way, in order
  cargo xtask cluster delay h1 0        not late any more")]
    Delay {
        /// h1, h2 … or server
        machine: String,
        /// Milliseconds each way
        ms: u32,
        /// At most so many milliseconds more or less
        #[arg(default_value_t = 0)]
        jitter: u32,
    },
    /// Pull a machine's plug, or kill -9 a role of it
    #[command(after_help = "Examples:
  cargo xtask cluster kill h1               all of it ends at once; its disk stays
  cargo xtask cluster kill h1 dockerd       containers go on with --dockerd-arg=--live-restore
  cargo xtask cluster kill server server    the process; its machine stays on")]
    Kill {
        /// h1, h2 … or server
        machine: String,
        /// Only this role
        #[arg(value_enum)]
        role: Option<Role>,
    },
    /// Give a machine power and start what it had, or start a role of it
    #[command(after_help = "Examples:
  cargo xtask cluster boot h1               dockerd and agent; waits until dockerd answers
  cargo xtask cluster boot h1 agent")]
    Boot {
        /// h1, h2 … or server
        machine: String,
        /// Only this role
        #[arg(value_enum)]
        role: Option<Role>,
    },
    /// Stop a role in its tracks: it does nothing and does not end
    #[command(after_help = "Examples:
  cargo xtask cluster hang h1 dockerd       calls to it hang, containers go on
  cargo xtask cluster wake h1 dockerd")]
    Hang {
        /// h1, h2 … or server
        machine: String,
        /// Which
        #[arg(value_enum)]
        role: Role,
    },
    /// Let a role go on that hangs
    Wake {
        /// h1, h2 … or server
        machine: String,
        /// Which
        #[arg(value_enum)]
        role: Role,
    },
    /// Delay frames between two devices
    #[command(hide = true)]
    Relay { near: String, far: String, ms: u32, jitter: u32 },
    /// Save the example's images of this machine's Docker to a file in a folder; says which
    #[command(hide = true)]
    Images { folder: PathBuf },
}

/// Of `up`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask cluster up 3
  cargo xtask cluster up 5 --binary target/debug/remuda
  cargo xtask cluster up 2 --bare                       only hosts with a Docker
  cargo xtask cluster up 3 --dockerd-arg=--live-restore
  cargo xtask cluster --folder /tmp/other up 2          a second one")]
pub(crate) struct Up {
    /// How many hosts
    pub(crate) hosts: u8,
    /// The remuda to run [default: built from this repository]
    #[arg(long, env = "REMUDA_CLUSTER_BINARY")]
    pub(crate) binary: Option<PathBuf>,
    /// A file for `docker load` on every host [default: the example's images]
    #[arg(long, env = "REMUDA_CLUSTER_IMAGES")]
    pub(crate) images: Option<PathBuf>,
    /// Without server and agents
    #[arg(long)]
    pub(crate) bare: bool,
    /// Largest packet on the cables, in bytes
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(1280..=9000))]
    pub(crate) mtu: u32,
    /// Give each machine a disk of so many MiB for what Docker and Remuda keep, to fill it up
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub(crate) disk: Option<u32>,
    /// A further word for every dockerd
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) dockerd_arg: Vec<String>,
    /// A further word for the server
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) server_arg: Vec<String>,
    /// Leave it to look at when it does not come up
    #[arg(long)]
    pub(crate) keep: bool,
}

/// How something is shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// A percentage in thousandths.
fn permille(text: &str) -> Result<u16, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let wrong = || "say a percentage from 0 to 100, such as 5 or 12.5%".to_owned();
    if !digits(whole) || !digits(tenth) || tenth.len() > 1 {
        return Err(wrong());
    }
    let permille = || {
        let whole: u16 = whole.parse().ok()?;
        whole.checked_mul(10)?.checked_add(tenth.parse().ok()?)
    };
    permille().filter(|permille| *permille <= 1000).ok_or_else(wrong)
}

/// Our words without the folder, which is named once more.
pub(crate) fn after_folder(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut left = vec![];
    let mut words = words;
    // what comes after the verb `exec` is somebody else's
    while let Some(word) = words.next() {
        if word == "--folder" {
            words.next();
        } else if !word.to_string_lossy().starts_with("--folder=") {
            let is_exec = word == "exec";
            left.push(word);
            if is_exec {
                left.extend(words.by_ref());
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_words_are_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn percentages_are_read_or_refused() {
        for (text, expect) in [("0", 0), ("5", 50), ("12.5%", 125), ("100%", 1000), ("0.1", 1)] {
            assert_eq!(permille(text), Ok(expect), "{text}");
        }
        for text in ["", "%", "-1", "101", "100.1", "1.25", "1.", ".5", "x", "99999", "6553.6"] {
            assert!(permille(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_folder_goes_and_the_words_of_a_command_stay() {
        let words = "--folder a up 3 --folder=b --bare".split(' ').map(OsString::from);
        assert_eq!(after_folder(words), ["up", "3", "--bare"]);
        let words = "--folder a exec h1 ls --folder x".split(' ').map(OsString::from);
        assert_eq!(after_folder(words), ["exec", "h1", "ls", "--folder", "x"]);
    }
}
