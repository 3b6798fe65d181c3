//! The contract of `Engine` on the real Docker, and what only a real one can show. Fails when no
//! Docker answers, unless REMUDA_TEST_SKIP_DOCKER=1.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may")]

#[path = "shared/suite.rs"]
mod suite;
#[path = "shared/shelf.rs"]
mod shelf;
#[path = "shared/real.rs"]
mod real;

use base64::Engine as _;
use engine::Engine;
use engine::error::{Error, ImageWhy};
use engine::seen::{RunState, SeenContainer};
use engine::wish::{Attach, ExecRequest, LogOptions};
use futures_util::StreamExt;
use model::container_spec::{ContainerSpec, DockerHealthcheck, Mount, PullPolicy, SpecFile};
use model::health::Health;
use real::OnDocker;
use std::sync::Arc;
use suite::{Bench, PATIENCE, request, until};
use tokio::io::AsyncWriteExt;

macro_rules! contract {
    ($suite:ident: $($name:ident as $docker:ident)*) => {$(
        #[tokio::test]
        async fn $docker() {
            if let Some(bench) = OnDocker::new().await {
                $suite::$name(&bench).await;
            }
        }
    )*};
}

contract! {
    suite:
    a_container_goes_through_its_life as docker_a_container_goes_through_its_life
    a_stop_waits_for_the_grace_period as docker_a_stop_waits_for_the_grace_period
    a_name_is_taken_once as docker_a_name_is_taken_once
    an_end_is_told_with_its_exit_code as docker_an_end_is_told_with_its_exit_code
    events_come_again_from_a_moment as docker_events_come_again_from_a_moment
    a_network_is_made_once_and_never_bent as docker_a_network_is_made_once_and_never_bent
    a_volume_is_made_once_and_never_removed as docker_a_volume_is_made_once_and_never_removed
    an_image_is_here_or_missing as docker_an_image_is_here_or_missing
    a_log_is_read_line_by_line as docker_a_log_is_read_line_by_line
    a_command_runs_in_a_container as docker_a_command_runs_in_a_container
    a_build_ends_with_an_image_or_with_its_step as docker_a_build_ends_with_an_image_or_with_its_step
    an_engine_tells_about_itself_and_its_containers as docker_it_tells_about_itself_and_its_containers
    names_cannot_leave_their_place as docker_names_cannot_leave_their_place
    a_container_shares_the_network_and_the_volumes_of_another as docker_a_container_shares_with_another
    a_container_is_connected_to_a_network_and_stays_so as docker_a_container_is_connected
}

contract! {
    shelf:
    an_image_goes_by_its_id_too as docker_an_image_goes_by_its_id_too
    images_are_listed_and_go_when_nothing_needs_them as docker_images_are_listed_and_go_when_nothing_needs_them
    an_image_is_written_out_and_taken_in as docker_an_image_is_written_out_and_taken_in
}

/// A container that runs a shell script, changed as `change` says.
fn shell(
    bench: &OnDocker,
    name: &str,
    script: &str,
    change: impl FnOnce(&mut ContainerSpec),
) -> engine::wish::CreateRequest {
    let mut wish = request(bench, name, &["sh", "-c", script]);
    change(Arc::make_mut(&mut wish.spec));
    wish
}

async fn started(bench: &OnDocker, wish: &engine::wish::CreateRequest) -> String {
    let id = bench.docker.create(wish).await.unwrap();
    bench.docker.start(&id).await.unwrap();
    id
}

/// What the container writes until it ends.
async fn output(bench: &OnDocker, id: &str) -> Vec<String> {
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let log = bench.docker.logs(id, &follow).await.unwrap();
    let all = log.map(|line| String::from_utf8_lossy(&line.unwrap().bytes).into_owned()).collect();
    tokio::time::timeout(PATIENCE, all).await.expect("the container ends")
}

#[tokio::test]
async fn docker_a_restart_behind_our_back_is_seen() {
    let Some(bench) = OnDocker::new().await else { return };
    let id = started(&bench, &request(&bench, "again", &["sleep", "1000"])).await;
    let before = until(&bench, &id, "running", SeenContainer::running).await;
    assert_eq!(bench.docker.list(bench.owner()).await.unwrap(), std::slice::from_ref(&before));
    let other = bench.second(&bench.socket);
    other.kill(&id, "SIGKILL").await.unwrap();
    until(&bench, &id, "ended", |seen| !seen.running()).await;
    other.start(&id).await.unwrap();
    let after = bench.docker.list(bench.owner()).await.unwrap().remove(0);
    assert!(after.started_at > before.started_at, "the old look was kept: {after:?}");
    assert_ne!(after.pid, before.pid);
}

#[tokio::test]
async fn docker_secrets_work_on_a_read_only_root_and_go_with_their_container() {
    let Some(bench) = OnDocker::new().await else { return };
    let file = |target: &str, content: &str, mode, uid| SpecFile {
        name: "key".to_owned(),
        target: target.to_owned(),
        content_base64: base64::engine::general_purpose::STANDARD.encode(content),
        mode,
        uid,
        gid: uid,
        secret: true,
    };
    let script = "exec 2>&1; cat /run/secrets/key; stat -c '%a %u %g' /run/secrets/key; \
                  cat /etc/conf/a; echo x >> /etc/conf/a || echo refused";
    let wish = shell(&bench, "secret", script, |spec| {
        spec.read_only = true;
        spec.files = vec![
            file("/run/secrets/key", "open\n", 0o440, 1234),
            file("/etc/conf/a", "b\n", 0o644, 0),
        ];
    });
    let id = started(&bench, &wish).await;
    let lines = output(&bench, &id).await;
    assert_eq!(&lines[..3], ["open", "440 1234 1234", "b"]);
    assert_eq!(lines.last().map(String::as_str), Some("refused"), "{lines:?}");
    let folder = bench.files.path().join(&wish.name);
    assert!(folder.join("0").exists());
    assert_eq!(bench.docker.create(&wish).await.unwrap(), id, "adopted, files and all");
    // A folder that an interrupted create left goes with the next removal.
    let left = bench.files.path().join("remuda-test-left-over");
    std::fs::create_dir(&left).unwrap();
    bench.docker.remove(&id).await.unwrap();
    assert!(!folder.exists() && !left.exists(), "files stay behind");
}

#[tokio::test]
async fn docker_a_refused_create_leaves_no_secret_behind() {
    let Some(bench) = OnDocker::new().await else { return };
    let wish = shell(&bench, "noimage", "true", |spec| {
        spec.image = "remuda-test/not-here:1".to_owned();
        spec.files = vec![SpecFile {
            name: "key".to_owned(),
            target: "/key".to_owned(),
            content_base64: "aHVudGVyMg==".to_owned(),
            mode: 0o400,
            uid: 0,
            gid: 0,
            secret: true,
        }];
    });
    let error = bench.docker.create(&wish).await.unwrap_err();
    assert!(matches!(error, Error::ImageMissing { .. }), "{error}");
    assert!(!bench.files.path().join(&wish.name).exists());
}

#[tokio::test]
async fn docker_our_resolv_conf_is_the_containers() {
    let Some(bench) = OnDocker::new().await else { return };
    let net = suite::network(&bench);
    bench.docker.ensure_network(&net).await.unwrap();
    let path = bench.files.path().join("resolv.conf");
    std::fs::write(&path, "nameserver 169.254.169.250\n").unwrap();
    let mut wish = shell(&bench, "resolv", "cat /etc/resolv.conf", |_| {});
    wish.resolv_conf = Some(path);
    let mac = "02:42:0a:01:02:03".to_owned();
    Arc::make_mut(&mut wish.spec).mac_address = Some(mac.clone());
    wish.attach = Attach::Network { name: net.name.clone(), address: None };
    let id = started(&bench, &wish).await;
    assert_eq!(output(&bench, &id).await, ["nameserver 169.254.169.250"]);
    bench.docker.start(&id).await.unwrap();
    let again = shell(&bench, "mac", "cat /sys/class/net/eth0/address", |spec| {
        spec.mac_address = Some(mac.clone());
    });
    let again = engine::wish::CreateRequest { attach: wish.attach.clone(), ..again };
    bench.docker.remove(&id).await.unwrap();
    let id = started(&bench, &again).await;
    assert_eq!(output(&bench, &id).await, [mac]);
}

#[tokio::test]
async fn docker_the_limits_of_a_spec_hold() {
    let Some(bench) = OnDocker::new().await else { return };
    let script = "cat /proc/self/status | while read k v; do [ $k = NoNewPrivs: ] && echo nnp $v; done; \
                  ulimit -n; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; echo $ANIMAL; pwd";
    let wish = shell(&bench, "limits", script, |spec| {
        spec.ulimits.insert("nofile".to_owned(), (123, 456));
        spec.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "77".to_owned());
        spec.environment.insert("ANIMAL".to_owned(), "horse = \"fast\" $HOME".to_owned());
        spec.working_dir = Some("/tmp/work".to_owned());
        spec.mounts = vec![Mount::Tmpfs { target: "/tmp".to_owned(), size: 1 << 20, mode: None }];
        spec.resources.memory_limit = Some(32 << 20);
        spec.resources.cpu_limit_milli = Some(500);
    });
    let id = started(&bench, &wish).await;
    let lines = output(&bench, &id).await;
    assert_eq!(lines, ["nnp 1", "123", "77", "horse = \"fast\" $HOME", "/tmp/work"]);
    let raw = bench.raw().inspect_container(&id, None).await.unwrap().host_config.unwrap();
    assert_eq!((raw.memory, raw.nano_cpus), (Some(32 << 20), Some(500_000_000)));
    assert_eq!(raw.pids_limit, Some(model::limits::PIDS_DEFAULT));
    let logging = raw.log_config.unwrap();
    assert_eq!(logging.typ.as_deref(), Some("json-file"));
    assert_eq!(logging.config.unwrap().get("max-size").map(String::as_str), Some("10m"));
}

#[tokio::test]
async fn docker_want_of_memory_is_told() {
    let Some(bench) = OnDocker::new().await else { return };
    let wish = shell(&bench, "hungry", "x=aaaaaaaa; while true; do x=$x$x; done", |spec| {
        spec.resources.memory_limit = Some(16 << 20);
        spec.resources.memory_swap = Some(16 << 20);
    });
    let id = started(&bench, &wish).await;
    let seen = until(&bench, &id, "ended", |seen| seen.state == RunState::Exited).await;
    assert_eq!((seen.exit_code, seen.oom_killed), (Some(137), true));
}

#[tokio::test]
async fn docker_a_command_that_is_not_there_is_told_at_start() {
    let Some(bench) = OnDocker::new().await else { return };
    let wish = request(&bench, "nocmd", &["no-such-program"]);
    let id = bench.docker.create(&wish).await.unwrap();
    let error = bench.docker.start(&id).await.unwrap_err();
    assert!(error.to_string().contains("no-such-program"), "{error}");
    assert!(!error.is_transient(), "it does not heal by itself: {error}");
    let seen = bench.docker.inspect(&id).await.unwrap().unwrap();
    assert!(seen.error.contains("no-such-program"), "{seen:?}");
    assert!(!seen.running());
}

#[tokio::test]
async fn docker_health_is_followed() {
    let Some(bench) = OnDocker::new().await else { return };
    let wish = shell(&bench, "health", "sleep 1000", |spec| {
        let test = "[ -e /tmp/sick ] && echo feeling sick && exit 1 || exit 0";
        spec.healthcheck = Some(DockerHealthcheck {
            test: vec!["CMD-SHELL".to_owned(), test.to_owned()],
            interval_ms: Some(200),
            retries: Some(1),
            ..DockerHealthcheck::default()
        });
        spec.mounts = vec![Mount::Tmpfs { target: "/tmp".to_owned(), size: 0, mode: None }];
    });
    let id = started(&bench, &wish).await;
    let seen = bench.docker.inspect(&id).await.unwrap().unwrap();
    assert!(matches!(seen.docker_health, Health::Initializing | Health::Healthy));
    until(&bench, &id, "healthy", |seen| seen.docker_health == Health::Healthy).await;
    let make_sick = ExecRequest {
        command: ["sh", "-c", "echo > /tmp/sick"].map(str::to_owned).to_vec(),
        ..ExecRequest::default()
    };
    let session = bench.docker.exec(&id, &make_sick).await.unwrap();
    session.output.collect::<Vec<_>>().await;
    let seen =
        until(&bench, &id, "unhealthy", |seen| seen.docker_health == Health::Unhealthy).await;
    assert_eq!(seen.health_output, "feeling sick");
}

#[tokio::test]
async fn docker_a_terminal_is_passed_through() {
    let Some(bench) = OnDocker::new().await else { return };
    let wish =
        shell(&bench, "tty", "echo from the terminal; exec sleep 1000", |spec| spec.tty = true);
    let id = started(&bench, &wish).await;
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let mut log = bench.docker.logs(&id, &follow).await.unwrap();
    let line = tokio::time::timeout(PATIENCE, log.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(line.bytes, "from the terminal");
    let request = ExecRequest {
        command: vec!["sh".to_owned()],
        tty: true,
        stdin: true,
        ..ExecRequest::default()
    };
    let mut session = bench.docker.exec(&id, &request).await.unwrap();
    bench.docker.exec_resize(&session.id, 41, 137).await.unwrap();
    session.input.write_all(b"stty size; exit 5\n").await.unwrap();
    let mut seen = vec![];
    let all = async {
        while let Some(piece) = session.output.next().await {
            seen.extend_from_slice(&piece.unwrap().bytes);
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the shell ends");
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("41 137"), "{seen}");
    assert_eq!(bench.docker.exec_exit(&session.id).await.unwrap(), Some(5));
}

#[tokio::test]
async fn docker_a_silent_log_is_open_before_its_first_line() {
    let Some(bench) = OnDocker::new().await else { return };
    let id = started(&bench, &shell(&bench, "silent", "exec sleep 1000", |_| {})).await;
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let mut log = bench.docker.logs(&id, &follow).await.expect("it does not wait for a line");
    bench.docker.remove(&id).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, log.next()).await.expect("it ends");
    assert!(end.is_none(), "{end:?}");
}

#[tokio::test]
async fn docker_both_outputs_and_long_lines_are_told_apart() {
    let Some(bench) = OnDocker::new().await else { return };
    let script = "echo out; echo err >&2; x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11; do x=$x$x; done; echo $x";
    let id = started(&bench, &shell(&bench, "both", script, |_| {})).await;
    until(&bench, &id, "ended", |seen| seen.state == RunState::Exited).await;
    let all = LogOptions { timestamps: true, ..LogOptions::default() };
    let log = bench.docker.logs(&id, &all).await.unwrap();
    let lines: Vec<_> = log.map(Result::unwrap).collect().await;
    assert!(lines.iter().any(|line| !line.stderr && line.bytes == "out"));
    assert!(lines.iter().any(|line| line.stderr && line.bytes == "err"));
    assert!(lines.iter().all(|line| line.time_ns.is_some()));
    let long: usize = lines.iter().map(|line| line.bytes.len()).filter(|size| *size > 10).sum();
    assert_eq!(long, 32 * 1024, "no byte of the long line is lost or added");
}

#[tokio::test]
async fn docker_anonymous_volumes_go_and_named_ones_stay() {
    let Some(bench) = OnDocker::new().await else { return };
    let named = format!("{}_named", bench.owner());
    let labels = suite::labels(bench.owner());
    bench.docker.ensure_volume(&named, &Default::default(), &labels).await.unwrap();
    let wish = shell(&bench, "volumes", "echo data > /named/file; exec sleep 1000", |spec| {
        spec.mounts = vec![
            Mount::Volume {
                name: named.clone(),
                target: "/named".to_owned(),
                read_only: false,
                nocopy: false,
            },
            Mount::Anonymous { target: "/anonymous".to_owned() },
        ];
    });
    let id = started(&bench, &wish).await;
    let raw = bench.raw();
    let mounts = raw.inspect_container(&id, None).await.unwrap().mounts.unwrap();
    let anonymous = mounts.iter().find(|m| m.destination.as_deref() == Some("/anonymous"));
    let anonymous = anonymous.unwrap().name.clone().unwrap();
    raw.inspect_volume(&anonymous).await.expect("it is there with its container");
    bench.docker.remove(&id).await.unwrap();
    assert!(raw.inspect_volume(&anonymous).await.is_err(), "the anonymous volume stays behind");
    raw.inspect_volume(&named).await.expect("the named volume is kept");
}

#[tokio::test]
async fn docker_a_registry_that_is_not_there_is_told() {
    let Some(bench) = OnDocker::new().await else { return };
    // Bound and closed again: nobody listens on that port.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let image = format!("127.0.0.1:{port}/a/b:1");
    let error = bench.docker.pull(&image, PullPolicy::Missing, None).await.unwrap_err();
    let Error::ImageMissing { why, .. } = &error else { panic!("{error}") };
    assert!(matches!(why, ImageWhy::RegistryUnreachable(_)), "{error}");
    assert!(error.is_transient());
}
