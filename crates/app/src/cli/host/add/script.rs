//! What is said to the shell of a machine. Scripts go in by stdin, so that a login shell of any
//! kind sees nothing but `sh -s`; whatever is put into one is quoted. No secret is in any of them.

/// Where the binary goes.
pub(super) const BINARY: &str = "/usr/local/bin/remuda";
/// Where the unit goes.
pub(super) const UNIT: &str = "remuda-agent";
/// Where a detached agent writes.
pub(super) const LOG: &str = "/var/log/remuda-agent.log";
/// What our own lines begin with: a login script may say things of its own.
pub(super) const MARK: &str = "remuda:";
/// Folders of an administrator, which root may not have over ssh.
const PATH: &str =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH LC_ALL=C";
/// The unit of the agent; `@BINARY@` is where the binary is.
const UNIT_TEXT: &str = include_str!("../../../../../../packaging/remuda-agent.service");

/// One word for a shell.
pub(super) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Who is it that has logged in, and may it do what root may?
pub(super) fn who() -> String {
    "echo \"remuda:uid=$(id -u)\"\n\
     if ! command -v sudo >/dev/null 2>&1; then echo remuda:sudo=missing\n\
     elif sudo -n true </dev/null >/dev/null 2>&1; then echo remuda:sudo=yes\n\
     else echo remuda:sudo=password; fi\n\
     echo \"remuda:from=${SSH_CONNECTION%% *}\"\n"
        .into()
}

/// Looks at the machine and changes nothing. Secrets that it has are not read.
pub(super) fn facts() -> String {
    let look = r#"
say() { echo "remuda:$1=$2"; }
has() { command -v "$1" >/dev/null 2>&1; }
free() { df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print $4 }'; }
first() { head -n 1 "$1" 2>/dev/null | tr -cd '[:print:]'; }
data=/var/lib/remuda
say now "$(date +%s)"
say os "$(uname -s)"
say arch "$(uname -m)"
say hostname "$(uname -n)"
if [ -d /run/systemd/system ]; then
  say systemd yes
  systemctl -q is-enabled remuda-agent >/dev/null 2>&1 && say enabled yes
fi
for tool in nft ip iptables; do has "$tool" || say lacks "$tool"; done
if has docker; then
  version=$(timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null </dev/null) \
    && say docker "$version" || say docker silent
elif [ -S /var/run/docker.sock ]; then say docker socket
else say docker missing; fi
has apt-get && say apt yes
say room_program "$(free /usr/local)"
say room_data "$(free /var/lib)"
if [ -f "$binary" ]; then
  say sha "$(sha256sum "$binary" | cut -d ' ' -f 1)"
fi
[ -f "$data/environment" ] && say environment "$(first "$data/environment")"
[ -f "$data/agent/host" ] && say host "$(first "$data/agent/host")"
[ -f "$data/agent/membership.json" ] && say member yes
pid=
if [ -f "$data/agent.lock" ]; then
  # a lock that can be had is nobody's, whatever it says
  has flock && flock -n -s "$data/agent.lock" true || pid=$(first "$data/agent.lock")
fi
case $pid in
'' | *[!0-9]*) ;;
*) case $(readlink "/proc/$pid/exe" 2>/dev/null) in
  *remuda*) say pid "$pid"; say role "$(sed -n 2p "$data/agent.lock" | tr -cd '[:alpha:]')" ;; esac ;;
esac
say end yes
"#;
    format!("{PATH}\nbinary={BINARY}\n{look}")
}

/// The command that takes the new binary on its stdin. It is no script: stdin is taken.
pub(super) fn upload(new: &str) -> String {
    let inner = format!("umask 077; mkdir -p /usr/local/bin && cat >{}", quote(new));
    format!("sh -c {}", quote(&inner))
}

/// Compares what has arrived with what was sent, and makes it a program.
pub(super) fn verify(new: &str, sha: &str) -> String {
    format!(
        "{PATH}\nset -eu\nnew={}\nhave=$(sha256sum \"$new\" | cut -d ' ' -f 1)\n\
         if [ \"$have\" != {} ]; then rm -f \"$new\"; echo \"remuda:arrived=$have\"; exit 0; fi\n\
         chmod 755 \"$new\"\necho remuda:arrived=whole\n",
        quote(new),
        quote(sha)
    )
}

/// Puts it in its place at once, and removes what transfers that were cut have left.
pub(super) fn place(new: &str) -> String {
    format!(
        "{PATH}\nset -eu\nnew={}\nsync \"$new\" 2>/dev/null || sync\nmv -f \"$new\" {BINARY}\n\
         find /usr/local/bin -maxdepth 1 -name '.remuda-add.*' -mmin +60 -exec rm -f {{}} + || :\n",
        quote(new)
    )
}

/// Takes the new binary away again.
pub(super) fn forget(new: &str) -> String {
    format!("rm -f {}\n", quote(new))
}

/// Installs packages of Debian.
pub(super) fn install(packages: &[&str]) -> String {
    let packages: Vec<String> = packages.iter().map(|name| quote(name)).collect();
    let packages = packages.join(" ");
    format!(
        "{PATH}\nexport DEBIAN_FRONTEND=noninteractive\n\
         get() {{ apt-get -y -q -o DPkg::Lock::Timeout=120 \"$@\" </dev/null; }}\n\
         get install --no-install-recommends {packages} >&2 || {{\n\
         get update >&2; get install --no-install-recommends {packages} >&2; }}\n"
    )
}

/// The words that join; the token comes on stdin.
pub(super) fn join(binary: &str, server: &str, host: Option<&str>, only_look: bool) -> String {
    let mut words = vec![quote(binary), "agent join --token-file - --server".into(), quote(server)];
    if let Some(host) = host {
        words.extend(["--host".into(), quote(host)]);
    }
    if only_look {
        words.push("--check".into());
    }
    words.join(" ")
}

/// Ends the agent; what runs there goes on.
pub(super) fn stop(systemd: bool) -> String {
    let unit = match systemd {
        true => format!("systemctl stop {UNIT} >/dev/null 2>&1 || :\n"),
        false => String::new(),
    };
    format!(
        "{PATH}\n{unit}lock=/var/lib/remuda/agent.lock\n[ -f $lock ] || exit 0\n\
         command -v flock >/dev/null && flock -n -s $lock true && exit 0\n\
         pid=$(head -n 1 $lock)\n\
         is_ours() {{ case $(readlink \"/proc/$pid/exe\" 2>/dev/null) in *remuda*) return 0 ;; esac; \
         return 1; }}\n\
         case $pid in '' | *[!0-9]*) exit 0 ;; esac\n\
         is_ours || exit 0\nkill \"$pid\"\nleft=100\n\
         while is_ours && [ $left -gt 0 ]; do sleep 0.2; left=$((left - 1)); done\n\
         if is_ours; then echo \"the agent (pid $pid) does not end\" >&2; exit 1; fi\n"
    )
}

/// Installs the unit, and starts it now and at every boot.
pub(super) fn unit() -> String {
    let text = UNIT_TEXT.replace("@BINARY@", BINARY);
    format!(
        "{PATH}\nset -eu\nunit=/etc/systemd/system/{UNIT}.service\n\
         cat >\"$unit.new\" <<'END_OF_UNIT'\n{text}END_OF_UNIT\n\
         chmod 644 \"$unit.new\"\nmv -f \"$unit.new\" \"$unit\"\n\
         systemctl daemon-reload\nsystemctl enable {UNIT} >&2\nsystemctl restart {UNIT}\n"
    )
}

/// Starts the agent in a session of its own, until the machine is next off.
pub(super) fn detached() -> String {
    format!(
        "{PATH}\nset -eu\numask 077\ncd /\n\
         setsid {BINARY} agent </dev/null >>{LOG} 2>&1 &\n"
    )
}

/// The last that the agent has said.
pub(super) fn last_words(systemd: bool) -> String {
    match systemd {
        true => format!("journalctl -q -n 3 --no-pager -o cat -u {UNIT} 2>/dev/null || :\n"),
        false => format!("tail -n 3 {LOG} 2>/dev/null || :\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn sh(arguments: &[&str], script: &str) -> String {
        let mut child = Command::new("sh")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn a_quoted_word_comes_out_of_a_shell_as_it_was() {
        for word in
            ["", "a b", "it's", "$(id)", "`id`", "a;b", "\\", "\"", "*", "-n", "a\nb", "''", "!x"]
        {
            let printed = sh(&["-s"], &format!("printf %s {}\n", quote(word)));
            assert_eq!(printed, word);
            let twice = format!("sh -c {}", quote(&format!("printf %s {}", quote(word))));
            assert_eq!(sh(&["-s"], &twice), word);
        }
    }

    #[test]
    fn every_script_is_one_that_sh_can_read() {
        for script in [
            who(),
            facts(),
            upload("/usr/local/bin/.remuda-add.ab"),
            verify("/n", "ab"),
            place("/n"),
            forget("/n"),
            install(&["docker.io", "nftables"]),
            join(BINARY, "10.0.0.1:7600", Some("n1"), true),
            stop(true),
            stop(false),
            unit(),
            detached(),
            last_words(true),
            last_words(false),
        ] {
            let mut child =
                Command::new("sh").args(["-n", "-s"]).stdin(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{script}");
        }
    }

    #[test]
    fn the_look_at_a_machine_ends_and_tells_what_it_is() {
        let said = sh(&["-s"], &facts());
        for part in ["remuda:os=Linux", "remuda:arch=", "remuda:room_data=", "remuda:end=yes"] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
    }

    #[test]
    fn what_did_not_arrive_whole_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join(".remuda-add.ab");
        let path = new.to_str().unwrap();
        std::fs::write(&new, "whole").unwrap();
        let sha = api::token::hex(&<sha2::Sha256 as sha2::Digest>::digest("whole"));
        assert_eq!(sh(&["-s"], &verify(path, &sha)), "remuda:arrived=whole\n");
        std::fs::write(&new, "who").unwrap();
        assert!(sh(&["-s"], &verify(path, &sha)).starts_with("remuda:arrived="));
        assert!(!new.exists());
        sh(&["-s", "-c", "true"], "");
        sh(&["-c", &upload_to(path)], "\0bytes\n");
        assert_eq!(std::fs::read(&new).unwrap(), b"\0bytes\n");
    }

    fn upload_to(path: &str) -> String {
        upload(path).replace("mkdir -p /usr/local/bin && ", "")
    }

    #[test]
    fn the_unit_keeps_the_dataplane_and_names_the_binary() {
        let unit = unit();
        assert!(unit.contains("ExecStart=/usr/local/bin/remuda agent\n"), "{unit}");
        assert!(unit.contains("KillMode=process") && !unit.contains('@'), "{unit}");
    }
}
