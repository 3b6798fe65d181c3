//! Plugins that are small shell scripts: in which order they are called, what they are told, and what
//! becomes of those that fail, hang or write without end.

use super::*;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

/// Notes its call, with what it was told, and answers with its own name.
const WELL: &str = r#"
echo "$CNI_COMMAND $me" >> $dir/order
cat > $dir/$me.$CNI_COMMAND
env > $dir/env.$CNI_COMMAND
[ $CNI_COMMAND != ADD ] ||
    echo '{"cniVersion":"1.0.0","ips":[{"address":"10.42.1.5/16"}],"by":"'$me'"}'
"#;

struct Bed {
    dir: tempfile::TempDir,
    conf: NetConf,
}

impl Bed {
    /// With these plugins, each with its script.
    fn new(version: &str, plugins: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, script) in plugins {
            let path = dir.path().join(name);
            let text = format!("#!/bin/sh\nme={name} dir={}\n{script}", dir.path().display());
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let plugins: Vec<Value> = plugins.iter().map(|(name, _)| json!({"type": name})).collect();
        let list = json!({"cniVersion": version, "name": "net", "plugins": plugins});
        Self { dir, conf: NetConf::parse(list.to_string().as_bytes()).unwrap() }
    }

    fn runner(&self) -> Runner {
        Runner::new(vec![self.dir.path().to_owned()])
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    fn told(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    async fn add(&self) -> Result<Value, Error> {
        self.runner().add(&self.conf, &plug(), Path::new("/run/netns/c1")).await
    }

    async fn add_fails(&self) -> String {
        self.add().await.unwrap_err().to_string()
    }
}

fn plug() -> Plug {
    Plug {
        container: "c1".into(),
        address: [10, 42, 1, 5].into(),
        prefix: 16,
        mac: "02:42:0a:2a:01:05".into(),
    }
}

#[tokio::test]
async fn plugins_are_called_in_order_and_each_knows_what_the_one_before_it_answered() {
    let bed = Bed::new("1.0.0", &[("one", WELL), ("two", WELL)]);
    let result = bed.add().await.unwrap();
    assert_eq!(result["by"], "two");
    assert_eq!(bed.text("order"), "ADD one\nADD two\n");
    assert_eq!(bed.told("one.ADD").get("prevResult"), None);
    assert_eq!(bed.told("two.ADD")["prevResult"]["by"], "one");
    let netns = Path::new("/run/netns/c1");
    bed.runner().check(&bed.conf, &plug(), netns, &result).await.unwrap();
    bed.runner().del(&bed.conf, &plug(), None, Some(&result)).await.unwrap();
    let order = "ADD one\nADD two\nCHECK one\nCHECK two\nDEL two\nDEL one\n";
    assert_eq!(bed.text("order"), order);
    for told in ["one.CHECK", "two.CHECK", "one.DEL", "two.DEL"] {
        assert_eq!(bed.told(told)["prevResult"], result, "{told}");
    }
    let dir = bed.dir.path().display().to_string();
    let environment = bed.text("env.ADD");
    for line in [
        "CNI_COMMAND=ADD",
        "CNI_CONTAINERID=c1",
        "CNI_NETNS=/run/netns/c1",
        "CNI_IFNAME=eth0",
        "CNI_ARGS=IgnoreUnknown=1;IP=10.42.1.5/16;IPAddress=10.42.1.5;MAC=02:42:0a:2a:01:05",
        &format!("CNI_PATH={dir}"),
    ] {
        assert!(environment.lines().any(|known| known == line), "{line} in {environment}");
    }
    // The agent's own has its token; a shell adds some of its own.
    let known = |line: &&str| {
        ["CNI_", "PATH=", "PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|one| line.starts_with(one))
    };
    let others: Vec<&str> = environment.lines().filter(|line| !known(line)).collect();
    assert!(others.is_empty() && std::env::vars().count() > 6, "{others:?}");
    assert!(bed.text("env.DEL").lines().any(|line| line == "CNI_NETNS="), "it is gone");
}

#[tokio::test]
async fn an_older_specification_has_no_result_with_del() {
    let bed = Bed::new("0.3.1", &[("one", WELL)]);
    let result = bed.add().await.unwrap();
    bed.runner().del(&bed.conf, &plug(), None, Some(&result)).await.unwrap();
    assert_eq!(bed.told("one.DEL").get("prevResult"), None);
}

#[tokio::test]
async fn after_one_that_fails_none_is_asked_to_add_and_all_are_asked_to_take_back() {
    let fails = "echo \"$CNI_COMMAND $me\" >> $dir/order\n\
                 echo '{\"code\":11,\"msg\":\"no more addresses\"}'\nexit 1\n";
    let bed = Bed::new("1.0.0", &[("one", WELL), ("two", fails), ("three", WELL)]);
    assert_eq!(bed.add_fails().await, "CNI plugin two, ADD: no more addresses (code 11)");
    let told = bed.runner().del(&bed.conf, &plug(), None, None).await.unwrap_err().to_string();
    assert_eq!(told, "CNI plugin two, DEL: no more addresses (code 11)");
    let order = "ADD one\nADD two\nDEL three\nDEL two\nDEL one\n";
    assert_eq!(bed.text("order"), order);
}

#[tokio::test]
async fn one_that_hangs_is_ended_with_all_that_it_started() {
    let hangs = "sleep 1000 &\necho $! > $dir/pid\ncat > /dev/null\nwait\n";
    let bed = Bed::new("1.0.0", &[("one", hangs)]);
    let runner = bed.runner().within(Duration::from_millis(500));
    let error = runner.add(&bed.conf, &plug(), Path::new("/x")).await.unwrap_err().to_string();
    assert_eq!(error, "CNI plugin one, ADD: it did not end within 500 ms and was killed");
    let stat = format!("/proc/{}/stat", bed.text("pid").trim());
    let deadline = Instant::now() + Duration::from_secs(10);
    // One that nobody waits for is a zombie.
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "what it started lives on");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn one_that_writes_without_end_is_ended() {
    let pid = "echo $$ > $dir/pid\n";
    for flood in ["exec head -c 100000000 /dev/zero\n", "exec yes >&2\n"] {
        let bed = Bed::new("1.0.0", &[("one", &format!("{pid}{flood}"))]);
        let error = bed.add_fails().await;
        assert!(error.contains("it wrote more than 262144 bytes"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_means_nothing_is_an_error() {
    for (script, why) in [
        ("echo 10.42.1.5", "its answer is no JSON"),
        ("true", "its answer is no JSON"),
        ("echo '[]'", "its answer is no JSON object"),
        ("echo '{}'", "gave it no address"),
        (
            "echo '{\"ips\":[{\"address\":\"10.42.1.6/16\"}]}'",
            "gave it 10.42.1.6 and not 10.42.1.5",
        ),
        ("echo >&2 out of luck; exit 3", "exit status: 3: out of luck"),
        ("kill -9 $$", "signal: 9"),
    ] {
        let error = Bed::new("1.0.0", &[("one", script)]).add_fails().await;
        assert!(error.contains(why), "{script}: {error}");
    }
    let bed = Bed::new("1.0.0", &[("one", WELL)]);
    fs::remove_file(bed.dir.path().join("one")).unwrap();
    let error = bed.add_fails().await;
    assert!(error.contains("CNI plugin one, ADD: there is no plugin one in"), "{error}");
}
