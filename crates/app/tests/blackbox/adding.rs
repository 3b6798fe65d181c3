//! `host add`: machines with a real sshd become hosts, over ssh and from a file, one of them does not
//! answer; what is wrong with a machine is found before anything is changed there.

use crate::cluster::{Cluster, beside_machines};
use crate::machine::{Ran, text, wait_until};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use testbed::Role;

/// Stands for systemd on a machine that has none: notes what it is told, and runs what the unit
/// names as systemd would.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >>/var/log/systemctl.log
end() {
  [ -f /run/agent.pid ] || return 0
  pid=$(cat /run/agent.pid); kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  rm /run/agent.pid
}
case $1 in
-q) [ -f /var/log/enabled ] ;;
enable) : >/var/log/enabled ;;
stop) end ;;
restart)
  end
  words=$(sed -n 's/^ExecStart=//p' "/etc/systemd/system/$2.service")
  setsid $words </dev/null >>/var/log/unit.log 2>&1 &
  echo $! >/run/agent.pid ;;
esac
"#;

/// Stands for apt-get: installs the Docker that was hidden.
const APT: &str = r#"#!/bin/sh
echo "$*" >>/var/log/apt.log
umount $(cat /var/log/hidden)
"#;

#[test]
#[ignore = "needs docker and root"]
fn machines_become_hosts_over_ssh_and_the_one_that_does_not_answer_is_told_of() {
    beside_machines(3, |cluster| {
        let keys = Keys::make(cluster);
        for machine in ["h1", "h2"] {
            cluster.bed.boot(machine, None).unwrap();
            keys.start_sshd(cluster, machine);
        }
        on(cluster, "h1", "mkdir -p /run/systemd/system");
        put_program(cluster, "h1", "systemctl", SYSTEMCTL);
        on(
            cluster,
            "h2",
            "useradd -M -d /tmp -s /bin/sh -p '*' ops && \
             echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops && chmod 440 /etc/sudoers.d/ops",
        );
        a_key_that_nobody_has_looked_at_is_not_taken(cluster, &keys);
        a_bad_file_changes_nothing(cluster, &keys);
        three_from_a_file(cluster, &keys);
        again_it_says_so(cluster, &keys);
        another_binary_is_replaced(cluster, &keys);
        one_that_was_removed_comes_back(cluster, &keys);
        what_is_wrong_is_found_before_anything_is_changed(cluster, &keys);
    });
}

/// Keys of machines and of the person who logs in, and ssh's configuration for that.
struct Keys {
    folder: PathBuf,
    config: String,
}

impl Keys {
    fn make(cluster: &Cluster) -> Self {
        let config = cluster.write("ssh/config", "");
        let folder = PathBuf::from(&config).parent().unwrap().to_owned();
        let keys = Self { folder, config };
        for name in ["person", "h1", "h2", "h3"] {
            let mut made = Command::new("ssh-keygen");
            made.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(keys.file(name));
            text(&mut made);
        }
        cluster.write(
            "ssh/config",
            &format!(
                "Host *\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  \
                 IdentitiesOnly yes\n",
                keys.file("known_hosts")
            ),
        );
        keys
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn start_sshd(&self, cluster: &Cluster, machine: &str) {
        let config = cluster.write(
            &format!("ssh/{machine}.conf"),
            &format!(
                "HostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
                 PasswordAuthentication no\nPermitRootLogin prohibit-password\n",
                self.file(machine),
                self.file("person.pub")
            ),
        );
        // The machine around it may have one that a person has installed.
        on(cluster, machine, "rm -f /usr/local/bin/remuda");
        on(cluster, machine, &format!("mkdir -p /run/sshd && /usr/sbin/sshd -f {config}"));
    }

    /// `host add`, as the person with the key; what it says as JSON.
    fn add(&self, cluster: &Cluster, words: &[&str], code: i32) -> Vec<Value> {
        self.run(cluster, words).with_code(code).json().as_array().unwrap().clone()
    }

    fn run(&self, cluster: &Cluster, words: &[&str]) -> Ran {
        let person = self.file("person");
        let mut all =
            vec!["host", "add", "-o", "json", "--ssh-config", &self.config, "-i", &person];
        all.extend(words);
        cluster.remuda(&all)
    }
}

/// Runs a script on a machine, which must succeed; what it printed.
#[track_caller]
fn on(cluster: &Cluster, machine: &str, script: &str) -> String {
    text(cluster.bed.on(machine, "sh").unwrap().args(["-c", script])).trim().to_owned()
}

fn put_program(cluster: &Cluster, machine: &str, name: &str, script: &str) {
    let from = cluster.write(name, script);
    on(cluster, machine, &format!("install -m 755 {from} /usr/local/bin/{name}"));
}

fn word<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

/// Nothing of ours is on the machine.
#[track_caller]
fn is_as_it_was(cluster: &Cluster, machine: &str) {
    let ours = "ls -A /usr/local/bin/ | grep remuda; ls -A /var/lib/remuda /etc/systemd/system/remuda* \
                2>/dev/null | grep -v :; true";
    assert_eq!(on(cluster, machine, ours), "");
}

fn a_key_that_nobody_has_looked_at_is_not_taken(cluster: &Cluster, keys: &Keys) {
    let rows = keys.add(cluster, &["root@10.99.0.1"], 1);
    let mut asks = Command::new("ssh-keygen");
    let print = text(asks.args(["-lf", &keys.file("h1.pub")]));
    let print = print.split_whitespace().nth(1).unwrap();
    assert!(word(&rows[0], "reason").contains(print), "{rows:?} should show {print}");
    assert!(word(&rows[0], "next").contains("--accept-new-host-key"), "{rows:?}");
    is_as_it_was(cluster, "h1");
}

fn a_bad_file_changes_nothing(cluster: &Cluster, keys: &Keys) {
    let file = cluster.write("bad.txt", "root@10.99.0.1\n-oProxyCommand=touch${IFS}x@10.99.0.2\n");
    let said = keys.run(cluster, &["--accept-new-host-key", "-f", &file]).with_code(2);
    assert!(said.err.contains("bad.txt:2: "), "{}", said.err);
    is_as_it_was(cluster, "h1");
}

/// What the three lines of the file come to.
fn three_from_a_file(cluster: &Cluster, keys: &Keys) {
    let file = cluster.write(
        "hosts.txt",
        "# machines of the east\nroot@10.99.0.1 zone=a\nops@10.99.0.2 zone=b,disk=ssd east-2\n\
         root@10.99.0.3   # off\n",
    );
    let words = ["--accept-new-host-key", "--detached", "-f", &file];
    let ran = keys.run(cluster, &words).with_code(1);
    let rows = ran.json();
    assert_eq!((word(&rows[0], "result"), word(&rows[0], "host")), ("active", "h1"), "{rows:#}");
    assert_eq!((word(&rows[1], "result"), word(&rows[1], "host")), ("active", "east-2"));
    assert_eq!(word(&rows[2], "result"), "failed");
    assert!(word(&rows[2], "reason").contains("10.99.0.3 port 22"), "{rows:#}");
    assert!(word(&rows[2], "next").contains("is the machine on"), "{rows:#}");
    for step in ["root@10.99.0.1: connecting", "ops@10.99.0.2: joining", "root@10.99.0.3: failed"] {
        assert!(ran.err.contains(step), "{step} is not in {}", ran.err);
    }
    let seen: Vec<(String, String)> = cluster.seen().into_iter().collect();
    let active = |host: &str| (host.to_owned(), "active".to_owned());
    assert_eq!(seen, [active("east-2"), active("h1")]);
    let labels = cluster.ok(&["host", "label", "east-2", "-o", "json"]).json();
    assert_eq!((word(&labels, "zone"), word(&labels, "disk")), ("b", "ssd"));
    // The tokens are gone, and were never written down.
    no_token_is_left(cluster);
    for machine in ["h1", "h2"] {
        let places = "/etc/systemd /var/log /var/lib/remuda/agent";
        assert_eq!(on(cluster, machine, &format!("grep -rl rmj_ {places} || true")), "");
        assert_eq!(on(cluster, machine, "ls -A /usr/local/bin | grep remuda"), "remuda");
        let mode = on(cluster, machine, "stat -c '%a %U' /usr/local/bin/remuda");
        assert_eq!(mode, "755 root");
    }
    let told = on(cluster, "h1", "cat /var/log/systemctl.log");
    assert!(told.contains("daemon-reload\nenable remuda-agent\nrestart remuda-agent"), "{told}");
}

/// But the one that the server showed at its start, which is good for any number of hosts.
#[track_caller]
fn no_token_is_left(cluster: &Cluster) {
    let rows = cluster.ok(&["host", "token", "ls", "-o", "json"]).json();
    let rows = rows.as_array().unwrap();
    assert!(rows.len() == 1 && rows[0]["uses"].is_null(), "{rows:?}");
}

fn agent(cluster: &Cluster, machine: &str) -> u32 {
    cluster.bed.find(machine, Role::Agent).unwrap().pid
}

fn again_it_says_so(cluster: &Cluster, keys: &Keys) {
    let before = ["h1", "h2"].map(|machine| agent(cluster, machine));
    let rows = keys.add(cluster, &["root@10.99.0.1", "ops@10.99.0.2"], 0);
    for row in &rows {
        assert_eq!((word(row, "result"), row["done"].as_array().unwrap().len()), ("already", 0));
    }
    assert_eq!(["h1", "h2"].map(|machine| agent(cluster, machine)), before);
    // Another id than the one that it has is refused, another label is set.
    let rows = keys.add(cluster, &["root@10.99.0.1", "--host", "other"], 1);
    assert!(word(&rows[0], "reason").contains("it is host h1 already"), "{rows:?}");
    let rows = keys.add(cluster, &["root@10.99.0.1", "--label", "zone=c"], 0);
    assert!(rows[0]["done"].to_string().contains("zone"), "{rows:?}");
    assert_eq!(word(&cluster.ok(&["host", "label", "h1", "-o", "json"]).json(), "zone"), "c");
}

fn another_binary_is_replaced(cluster: &Cluster, keys: &Keys) {
    for (machine, target) in [("h1", "root@10.99.0.1"), ("h2", "ops@10.99.0.2")] {
        on(
            cluster,
            machine,
            "cd /usr/local/bin && cp remuda other && echo other >>other && mv other remuda",
        );
        let before = agent(cluster, machine);
        let rows = keys.add(cluster, &[target, "--detached"], 0);
        assert_eq!(word(&rows[0], "result"), "already");
        assert!(rows[0]["done"].to_string().contains("copied remuda"), "{rows:?}");
        let own = cluster.bed.state().binary.clone().unwrap();
        let own = text(Command::new("sha256sum").arg(own));
        let there = on(cluster, machine, "sha256sum /usr/local/bin/remuda");
        assert_eq!(own.split(' ').next(), there.split(' ').next());
        assert_ne!(agent(cluster, machine), before, "the new one runs");
    }
    wait_until("both to be active", || cluster.seen().values().all(|status| status == "active"));
}

fn one_that_was_removed_comes_back(cluster: &Cluster, keys: &Keys) {
    cluster.ok(&["host", "rm", "h1"]);
    wait_until("h1 to be gone", || !cluster.seen().contains_key("h1"));
    let rows = keys.add(cluster, &["root@10.99.0.1"], 0);
    assert_eq!(word(&rows[0], "result"), "active");
    assert!(rows[0]["done"].to_string().contains("joined again"), "{rows:?}");
    assert_eq!(cluster.seen()["h1"], "active");
}

fn what_is_wrong_is_found_before_anything_is_changed(cluster: &mut Cluster, keys: &Keys) {
    cluster.bed.power_on("h3").unwrap();
    keys.start_sshd(cluster, "h3");
    let words = ["--accept-new-host-key", "--detached", "root@10.99.0.3"];
    let failed = |cluster: &Cluster, more: &[&str], why: &str| {
        let rows = keys.add(cluster, &[&words[..], more].concat(), 1);
        let said = rows[0].to_string();
        assert!(said.contains(why), "{said} should say {why}");
        is_as_it_was(cluster, "h3");
    };
    failed(cluster, &[], "gives no answer");
    cluster.bed.start("h3", Role::Dockerd).unwrap();
    failed(cluster, &["--server", "10.99.0.1:7600"], "reaching the server");
    failed(cluster, &["--host", "h1"], "the id h1 is that of another host at 10.99.0.1");
    let seen = cluster.seen();
    assert!(!seen.contains_key("h3"), "{seen:?}");
    no_token_is_left(cluster);
    // Docker is hidden, and apt-get brings it back.
    put_program(cluster, "h3", "apt-get", APT);
    let all = "for file in $(which -a docker); do readlink -f $file; done | sort -u";
    on(cluster, "h3", &format!("({all}; echo /run/docker.sock) >/var/log/hidden"));
    on(cluster, "h3", "for file in $(cat /var/log/hidden); do mount --bind /dev/null $file; done");
    failed(cluster, &[], "it has no Docker");
    keys.run(cluster, &[&words[..], &["--install-docker"]].concat()).with_code(2);
    let rows = keys.add(cluster, &[&words[..], &["--install-docker", "--yes"]].concat(), 0);
    assert_eq!(word(&rows[0], "result"), "active");
    assert!(rows[0]["done"].to_string().contains("installed docker.io"), "{rows:?}");
    let asked = on(cluster, "h3", "cat /var/log/apt.log");
    assert!(asked.ends_with("install --no-install-recommends docker.io"), "{asked}");
}
