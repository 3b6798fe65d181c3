//! The contract of `Engine`: one suite, for the fake and for Docker. It uses only what both have:
//! an image with `sh`, `true`, `false`, `echo`, `sleep` and `cat` in it.

use bytes::Bytes;
use engine::error::{Error, ImageWhy};
use engine::seen::{BuildOutput, EngineEvent, EventAction, RunState, SeenContainer};
use engine::wish::{Attach, BuildOptions, CreateRequest, ExecRequest, LogOptions, NetworkWish};
use engine::{Engine, label};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use ipnet::Ipv4Net;
use model::container_spec::{ContainerSpec, PullPolicy};
use model::stack::VolumeSpec;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An engine to be tried, and a corner of it that is ours alone.
pub(crate) trait Bench {
    type Engine: Engine;

    fn engine(&self) -> &Self::Engine;

    /// Environment id, and begin of all names: nobody else has it.
    fn owner(&self) -> &str;

    /// The image.
    fn image(&self) -> &str;

    /// A range that no other network overlaps.
    fn subnet(&self) -> Ipv4Net;

    /// Lets time pass where it does not pass by itself.
    fn pass(&self, ms: u64);
}

pub(crate) fn labels(owner: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(label::ENVIRONMENT.to_owned(), owner.to_owned())])
}

/// A container of the bench, `what` being its command.
pub(crate) fn request<B: Bench>(bench: &B, name: &str, command: &[&str]) -> CreateRequest {
    let mut labels = labels(bench.owner());
    labels.insert(label::INSTANCE.to_owned(), format!("test/{name}#1@1"));
    CreateRequest {
        name: format!("{}-{name}", bench.owner()),
        spec: Arc::new(ContainerSpec {
            image: bench.image().to_owned(),
            command: Some(command.iter().map(|word| (*word).to_owned()).collect()),
            ..ContainerSpec::default()
        }),
        labels,
        attach: Attach::None,
        volumes_from: vec![],
        resolv_conf: None,
        stop_grace_ms: 1_000,
    }
}

pub(crate) fn network<B: Bench>(bench: &B) -> NetworkWish {
    let subnet = bench.subnet();
    let tail: String = bench.owner().chars().rev().take(8).collect();
    NetworkWish {
        name: format!("{}-net", bench.owner()),
        bridge_name: format!("rt{tail}"),
        subnet,
        gateway: model::host::gateway(subnet),
        ip_range: model::host::docker_range(subnet),
        labels: labels(bench.owner()),
        mtu: Some(1_400),
        options: BTreeMap::new(),
    }
}

pub(crate) fn address(subnet: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) + n)
}

/// Waits until a container is as wanted: looks, then waits for the next event, as an agent does.
pub(crate) async fn until<B: Bench>(
    bench: &B,
    id: &str,
    what: &str,
    wanted: impl Fn(&SeenContainer) -> bool,
) -> SeenContainer {
    let mut events = bench.engine().events(None).await.unwrap();
    let mut last = None;
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let seen = bench.engine().list(bench.owner()).await.unwrap();
            if let Some(seen) = seen.into_iter().find(|seen| seen.id == id) {
                if wanted(&seen) {
                    return seen;
                }
                last = Some(seen);
            }
            bench.pass(100);
            events.next().await.unwrap().unwrap();
        }
    });
    match found.await {
        Ok(found) => found,
        Err(_elapsed) => panic!("container {id} is not {what}: {last:?}"),
    }
}

/// The next `count` events of a container, by their action.
async fn actions(
    events: &mut BoxStream<'static, engine::Result<EngineEvent>>,
    id: &str,
    wanted: &[EventAction],
) {
    for action in wanted {
        let event = loop {
            let next = tokio::time::timeout(PATIENCE, events.next()).await;
            let event = next.expect("an event in time").expect("no end").unwrap();
            let is_noise = matches!(event.action, EventAction::Other(_) | EventAction::Kill { .. });
            if event.id == id && !is_noise {
                break event;
            }
        };
        assert_eq!(&event.action, action);
    }
}

pub(crate) async fn a_container_goes_through_its_life<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let net = network(bench);
    engine.ensure_network(&net).await.unwrap();
    let mut wish = request(bench, "life", &["sleep", "1000"]);
    let wanted = address(bench.subnet(), 9);
    wish.attach = Attach::Network { name: net.name.clone(), address: Some(wanted) };
    let id = engine.create(&wish).await.unwrap();
    assert_eq!(
        engine.create(&wish).await.unwrap(),
        id,
        "the same request gives the same container"
    );
    let seen = engine.inspect(&wish.name).await.unwrap().unwrap();
    assert_eq!((seen.state, seen.running()), (RunState::Created, false));
    assert_eq!((seen.started_at, seen.finished_at, seen.exit_code), (None, None, None));
    assert_eq!((&seen.id, &seen.name), (&id, &wish.name));
    assert_eq!(seen.instance.as_deref(), Some("test/life#1@1"));

    engine.start(&id).await.unwrap();
    engine.start(&id).await.unwrap();
    let running = until(bench, &id, "running", SeenContainer::running).await;
    assert_eq!(running.addresses.get(&net.name), Some(&wanted));
    assert!(running.pid.is_some() && running.started_at.is_some() && !running.paused());
    assert_eq!(running.owner.as_deref(), Some(bench.owner()));
    assert_eq!(
        engine.list(bench.owner()).await.unwrap(),
        std::slice::from_ref(&running),
        "seen again, the same"
    );
    assert!(engine.list("somebody-else").await.unwrap().is_empty());

    engine.kill(&id, "SIGKILL").await.unwrap();
    let ended = until(bench, &id, "ended", |seen| !seen.running()).await;
    assert_eq!((ended.state, ended.exit_code), (RunState::Exited, Some(137)));
    assert!(ended.finished_at.is_some() && ended.addresses.is_empty());
    engine.kill(&id, "SIGKILL").await.expect("killing what does not run is fine");
    engine.stop(&id, 1_000).await.expect("stopping what does not run is fine");

    bench.pass(5);
    engine.start(&id).await.unwrap();
    let again = until(bench, &id, "running again", SeenContainer::running).await;
    assert!(again.started_at > running.started_at, "{again:?}");
    assert_eq!(again.exit_code, None, "the old end is not the new one's");

    engine.remove(&id).await.unwrap();
    engine.remove(&id).await.expect("removing what is gone is fine");
    engine.stop(&id, 1_000).await.expect("stopping what is gone is fine");
    engine.kill(&id, "SIGTERM").await.expect("killing what is gone is fine");
    assert_eq!(engine.inspect(&id).await.unwrap(), None);
    assert!(matches!(engine.start(&id).await, Err(Error::NotFound { .. })));
    engine.remove_network(&net.name, bench.owner()).await.unwrap();
}

pub(crate) async fn a_stop_waits_for_the_grace_period<B: Bench>(bench: &B) {
    let engine = bench.engine();
    // PID 1 without a handler does not hear SIGTERM.
    let id = engine.create(&request(bench, "deaf", &["sleep", "1000"])).await.unwrap();
    engine.start(&id).await.unwrap();
    let stop = engine.stop(&id, 500);
    tokio::pin!(stop);
    // Polled once, so that the fake begins before its time passes.
    let early = futures_util::poll!(&mut stop);
    assert!(early.is_pending(), "it stops at once: {early:?}");
    bench.pass(1_000);
    tokio::time::timeout(PATIENCE, stop).await.unwrap().unwrap();
    let seen = engine.inspect(&id).await.unwrap().unwrap();
    assert_eq!((seen.state, seen.exit_code), (RunState::Exited, Some(137)));
}

pub(crate) async fn a_name_is_taken_once<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let wish = request(bench, "one", &["sleep", "1000"]);
    engine.create(&wish).await.unwrap();
    let mut other = wish.clone();
    other.labels.insert(label::INSTANCE.to_owned(), "test/other#1@1".to_owned());
    let error = engine.create(&other).await.unwrap_err();
    assert!(matches!(&error, Error::NameTaken { name, .. } if *name == wish.name), "{error}");
    let mut foreign = wish.clone();
    foreign.labels.insert(label::ENVIRONMENT.to_owned(), "elsewhere".to_owned());
    assert!(matches!(engine.create(&foreign).await, Err(Error::NameTaken { .. })));
    let mut nobodys = wish;
    nobodys.labels.clear();
    assert!(matches!(engine.create(&nobodys).await, Err(Error::Spec { .. })));
}

pub(crate) async fn an_end_is_told_with_its_exit_code<B: Bench>(bench: &B) {
    let engine = bench.engine();
    for (name, command, code) in
        [("seven", vec!["sh", "-c", "exit 7"], 7), ("true", vec!["true"], 0)]
    {
        let mut events = engine.events(None).await.unwrap();
        let id = engine.create(&request(bench, name, &command)).await.unwrap();
        engine.start(&id).await.unwrap();
        let seen = until(bench, &id, "ended", |seen| seen.state == RunState::Exited).await;
        assert_eq!(seen.exit_code, Some(code));
        assert!(!seen.oom_killed);
        engine.remove(&id).await.unwrap();
        let die = EventAction::Die { exit_code: code };
        let wanted = [EventAction::Create, EventAction::Start, die, EventAction::Destroy];
        actions(&mut events, &id, &wanted).await;
    }
}

pub(crate) async fn events_come_again_from_a_moment<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let mut events = engine.events(None).await.unwrap();
    let id = engine.create(&request(bench, "past", &["true"])).await.unwrap();
    let create = loop {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        if event.id == id {
            break event;
        }
    };
    assert_eq!(create.owner.as_deref(), Some(bench.owner()));
    assert_eq!(create.instance.as_deref(), Some("test/past#1@1"));
    assert_eq!(create.name, format!("{}-past", bench.owner()));
    drop(events);
    engine.start(&id).await.unwrap();
    until(bench, &id, "ended", |seen| seen.state == RunState::Exited).await;
    let mut missed = engine.events(Some(create.time())).await.unwrap();
    let die = EventAction::Die { exit_code: 0 };
    actions(&mut missed, &id, &[EventAction::Create, EventAction::Start, die]).await;
}

pub(crate) async fn a_network_is_made_once_and_never_bent<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let net = network(bench);
    engine.ensure_network(&net).await.unwrap();
    engine.ensure_network(&net).await.unwrap();
    let mut other = net.clone();
    other.subnet = Ipv4Net::new(net.subnet.network(), net.subnet.prefix_len() + 1).unwrap();
    let error = engine.ensure_network(&other).await.unwrap_err();
    assert!(matches!(error, Error::NetworkClash { .. }), "{error}");
    let mut foreign = net.clone();
    foreign.labels = labels("elsewhere");
    let error = engine.ensure_network(&foreign).await.unwrap_err();
    assert!(error.to_string().contains("not made by this environment"), "{error}");
    let mut overlapping = net.clone();
    overlapping.name.push_str("-2");
    overlapping.bridge_name.push('2');
    let error = engine.ensure_network(&overlapping).await.unwrap_err();
    assert!(error.to_string().contains(&format!("of the docker network {}", net.name)), "{error}");
    let error = engine.remove_network(&net.name, "elsewhere").await.unwrap_err();
    assert!(matches!(error, Error::NetworkClash { .. }), "{error}");

    let mut ids = vec![];
    for name in ["a", "b"] {
        let mut wish = request(bench, name, &["sleep", "1000"]);
        let address = Some(address(bench.subnet(), 20));
        wish.attach = Attach::Network { name: net.name.clone(), address };
        ids.push(engine.create(&wish).await.unwrap());
    }
    engine.start(&ids[0]).await.unwrap();
    let error = engine.start(&ids[1]).await.unwrap_err();
    assert!(matches!(error, Error::Docker { status: 403, .. }), "one address, two owners: {error}");
    assert!(error.to_string().contains("Address already in use"), "{error}");
    assert!(engine.remove_network(&net.name, bench.owner()).await.is_err(), "it is in use");
    for id in &ids {
        engine.remove(id).await.unwrap();
    }
    engine.remove_network(&net.name, bench.owner()).await.unwrap();
    engine.remove_network(&net.name, bench.owner()).await.expect("gone is fine");
    let mut wish = request(bench, "late", &["true"]);
    wish.attach = Attach::Network { name: net.name.clone(), address: None };
    // Whether the missing network is missed at `create` or at `start` differs by engine.
    let started = match engine.create(&wish).await {
        Ok(id) => engine.start(&id).await,
        Err(error) => Err(error),
    };
    assert!(matches!(started, Err(Error::NotFound { .. })), "{started:?}");
}

pub(crate) async fn a_volume_is_made_once_and_never_removed<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let name = format!("{}_data", bench.owner());
    let spec = VolumeSpec { labels: labels("not-this-one"), ..VolumeSpec::default() };
    let ours = labels(bench.owner());
    engine.ensure_volume(&name, &spec, &ours).await.unwrap();
    engine.ensure_volume(&name, &spec, &ours).await.unwrap();
    let listed = engine.list_volumes(bench.owner()).await.unwrap();
    let names: Vec<&str> = listed.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, [name.as_str()], "our labels are stronger");
    assert_eq!(listed[0].driver, "local");
    let bent = VolumeSpec {
        driver_opts: BTreeMap::from([("type".to_owned(), "tmpfs".to_owned())]),
        ..VolumeSpec::default()
    };
    let error = engine.ensure_volume(&name, &bent, &ours).await.unwrap_err();
    assert!(matches!(error, Error::Volume { .. }), "{error}");
    let external = VolumeSpec { external: true, ..VolumeSpec::default() };
    engine.ensure_volume(&name, &external, &ours).await.unwrap();
    let missing = format!("{name}-not");
    let error = engine.ensure_volume(&missing, &external, &ours).await.unwrap_err();
    assert!(error.to_string().contains("docker volume create"), "{error}");
    assert_eq!(engine.list_volumes(bench.owner()).await.unwrap().len(), 1, "nothing was made");
}

pub(crate) async fn an_image_is_here_or_missing<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let here = engine.image(bench.image()).await.unwrap().expect("the image of the bench");
    assert!(here.id.starts_with("sha256:"));
    let pulled = engine.pull(bench.image(), PullPolicy::Missing, None).await.unwrap();
    assert_eq!(pulled.id, here.id, "nothing to pull");
    let other = format!("{}-other:2", bench.image().split(':').next().unwrap());
    assert_eq!(engine.image(&other).await.unwrap(), None);
    let error = engine.pull(&other, PullPolicy::Never, None).await.unwrap_err();
    assert!(matches!(&error, Error::ImageMissing { why: ImageWhy::NotHere, .. }), "{error}");
    let mut wish = request(bench, "noimage", &["true"]);
    Arc::make_mut(&mut wish.spec).image = other.clone();
    let error = engine.create(&wish).await.unwrap_err();
    assert!(matches!(&error, Error::ImageMissing { image, .. } if *image == other), "{error}");
    engine.tag_image(bench.image(), &other).await.unwrap();
    assert_eq!(engine.image(&other).await.unwrap().unwrap().id, here.id);
    engine.remove_image(&other).await.unwrap();
    engine.remove_image(&other).await.expect("gone is fine");
    assert_eq!(engine.image(&other).await.unwrap(), None);
    let error = engine.pull("Not A Name", PullPolicy::Missing, None).await.unwrap_err();
    assert!(matches!(&error, Error::ImageMissing { why: ImageWhy::BadName(_), .. }), "{error}");
}

pub(crate) async fn a_log_is_read_line_by_line<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let id = engine.create(&request(bench, "log", &["echo", "hello", "world"])).await.unwrap();
    engine.start(&id).await.unwrap();
    let follow = LogOptions { follow: true, timestamps: true, ..LogOptions::default() };
    let mut log = engine.logs(&id, &follow).await.unwrap();
    let line = tokio::time::timeout(PATIENCE, log.next()).await.unwrap().unwrap().unwrap();
    assert_eq!((line.stderr, &line.bytes[..]), (false, &b"hello world"[..]));
    let started = engine.inspect(&id).await.unwrap().unwrap().started_at.unwrap();
    let written = line.time_ns.expect("a time stamp") / 1_000_000;
    assert!((started.0 - 60_000..started.0 + 60_000).contains(&written), "{written} {started:?}");
    let end = tokio::time::timeout(PATIENCE, log.next()).await.unwrap();
    assert!(end.is_none(), "the log ends with its container: {end:?}");
    let stderr_only = LogOptions { stdout: false, ..LogOptions::default() };
    let lines: Vec<_> = engine.logs(&id, &stderr_only).await.unwrap().collect().await;
    assert!(lines.is_empty(), "{lines:?}");
    let none = LogOptions { tail: Some(0), ..LogOptions::default() };
    let lines: Vec<_> = engine.logs(&id, &none).await.unwrap().collect().await;
    assert!(lines.is_empty(), "{lines:?}");
    assert!(matches!(
        engine.logs("remuda-no-such-container", &none).await.map(|_| ()),
        Err(Error::NotFound { .. })
    ));
}

pub(crate) async fn a_command_runs_in_a_container<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let id = engine.create(&request(bench, "exec", &["sleep", "1000"])).await.unwrap();
    let run = |words: &[&str]| ExecRequest {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecRequest::default()
    };
    let error = engine.exec(&id, &run(&["true"])).await.unwrap_err();
    assert!(matches!(error, Error::Docker { status: 409, .. }), "it does not run: {error}");
    engine.start(&id).await.unwrap();
    for (command, output, exit) in [
        (vec!["echo", "a b"], "a b\n", 0),
        (vec!["false"], "", 1),
        (vec!["sh", "-c", "exit 3"], "", 3),
    ] {
        let session = engine.exec(&id, &run(&command)).await.unwrap();
        assert_eq!(read(session.output).await, output);
        assert_eq!(engine.exec_exit(&session.id).await.unwrap(), Some(exit));
    }
    let cat = ExecRequest { stdin: true, ..run(&["cat"]) };
    let mut session = engine.exec(&id, &cat).await.unwrap();
    session.input.write_all(b"there and back\n").await.unwrap();
    assert_eq!(engine.exec_exit(&session.id).await.unwrap(), None, "it waits for more");
    session.input.shutdown().await.unwrap();
    assert_eq!(read(session.output).await, "there and back\n");
    assert_eq!(engine.exec_exit(&session.id).await.unwrap(), Some(0));
}

async fn read(mut output: BoxStream<'static, engine::Result<engine::seen::ExecOutput>>) -> String {
    let mut bytes = vec![];
    let all = async {
        while let Some(piece) = output.next().await {
            bytes.extend_from_slice(&piece.unwrap().bytes);
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the command ends");
    String::from_utf8(bytes).unwrap()
}

/// A build context of one Dockerfile.
pub(crate) fn context(dockerfile: &str) -> BoxStream<'static, std::io::Result<Bytes>> {
    let mut tar = tar::Builder::new(vec![]);
    let mut header = tar::Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "Dockerfile", dockerfile.as_bytes()).unwrap();
    let bytes = Bytes::from(tar.into_inner().unwrap());
    stream::iter([Ok(bytes)]).boxed()
}

pub(crate) async fn a_build_ends_with_an_image_or_with_its_step<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let tag = format!("{}-built:1", bench.image().split(':').next().unwrap());
    let options =
        BuildOptions { tag: tag.clone(), network: "none".to_owned(), ..BuildOptions::default() };
    let good = context(&format!("FROM {}\nCMD [\"true\"]\n", bench.image()));
    let output: Vec<_> = engine.build(good, &options).await.unwrap().collect().await;
    let Some(Ok(BuildOutput::Image(id))) = output.last() else { panic!("{output:?}") };
    assert_eq!(&engine.image(&tag).await.unwrap().expect("it is there").id, id);
    let first = output.first().unwrap().as_ref().unwrap();
    assert!(matches!(first, BuildOutput::Line(line) if line.starts_with("Step 1/2 : FROM")));
    engine.remove_image(&tag).await.unwrap();

    let bad = context(&format!("FROM {}\nRUN false\n", bench.image()));
    let output: Vec<_> = engine.build(bad, &options).await.unwrap().collect().await;
    let Some(Err(Error::Build { step, message })) = output.last() else { panic!("{output:?}") };
    assert_eq!(step, "step 2/2: RUN false");
    assert!(message.contains("non-zero code: 1"), "{message}");
    assert_eq!(engine.image(&tag).await.unwrap(), None);
}

pub(crate) async fn an_engine_tells_about_itself_and_its_containers<B: Bench>(bench: &B) {
    let engine = bench.engine();
    engine.ping().await.unwrap();
    let info = engine.info().await.unwrap();
    assert!(!info.id.is_empty() && !info.version.is_empty() && info.cpus > 0 && info.memory > 0);
    let (major, minor) = info.api_version.split_once('.').unwrap();
    assert!((major, minor.parse::<u32>().unwrap()) >= ("1", 41), "{}", info.api_version);
    let id = engine.create(&request(bench, "use", &["sleep", "1000"])).await.unwrap();
    engine.start(&id).await.unwrap();
    let stats = engine.stats(&id).await.unwrap();
    assert!(stats.pids >= 1 && stats.memory > 0 && stats.memory_limit > stats.memory, "{stats:?}");
    let gone = engine.stats("remuda-no-such-container").await;
    assert!(matches!(gone, Err(Error::NotFound { .. })));
}

pub(crate) async fn names_cannot_leave_their_place<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let mut wish = request(bench, "x", &["true"]);
    wish.name = "../../volumes".to_owned();
    assert!(matches!(engine.create(&wish).await, Err(Error::BadName { .. })));
    let mut net = network(bench);
    net.name = "a/b".to_owned();
    assert!(matches!(engine.ensure_network(&net).await, Err(Error::BadName { .. })));
    let volume = engine.ensure_volume("a/b", &VolumeSpec::default(), &BTreeMap::new()).await;
    assert!(matches!(volume, Err(Error::BadName { .. })));
}

pub(crate) async fn a_container_shares_the_network_and_the_volumes_of_another<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let sleeps: &[&str] = &["sleep", "1000"];
    let owner = request(bench, "owner", sleeps);
    let mut wish = request(bench, "sharer", sleeps);
    wish.attach = Attach::Container(owner.name.clone());
    wish.volumes_from = vec![(owner.name.clone(), true)];
    let error = engine.create(&wish).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let first = engine.create(&owner).await.unwrap();
    let id = engine.create(&wish).await.unwrap();
    assert!(engine.start(&id).await.is_err(), "its owner does not run");
    engine.start(&first).await.unwrap();
    engine.start(&id).await.unwrap();
    let seen = engine.inspect(&id).await.unwrap().unwrap();
    assert_eq!(seen.network_mode, format!("container:{first}"), "a name has become an id");
    assert!(seen.running() && seen.addresses.is_empty());
    // The owner made anew is another container: who was made for the old one never starts again.
    engine.stop(&id, 0).await.unwrap();
    engine.remove(&first).await.unwrap();
    let second = engine.create(&owner).await.unwrap();
    engine.start(&second).await.unwrap();
    let error = engine.start(&id).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    engine.remove(&id).await.unwrap();
    let anew = engine.create(&wish).await.unwrap();
    engine.start(&anew).await.unwrap();
    for id in [&anew, &second] {
        engine.remove(id).await.unwrap();
    }
}

pub(crate) async fn a_container_is_connected_to_a_network_and_stays_so<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let net = network(bench);
    engine.ensure_network(&net).await.unwrap();
    let (first, second) = (address(bench.subnet(), 33), address(bench.subnet(), 34));
    let id = engine.create(&request(bench, "joins", &["sleep", "1000"])).await.unwrap();
    engine.start(&id).await.unwrap();
    let seen = async || engine.inspect(&id).await.unwrap().unwrap();
    let at = async || seen().await.addresses.get(&net.name).copied();
    assert_eq!(at().await, None, "it has no network");
    engine.connect(&id, &net.name, first).await.unwrap();
    assert_eq!(at().await, Some(first));
    engine.connect(&id, &net.name, first).await.unwrap();
    engine.stop(&id, 0).await.unwrap();
    engine.start(&id).await.unwrap();
    assert_eq!(at().await, Some(first), "after its restart");
    let run = seen().await.started_at;
    engine.connect(&id, &net.name, second).await.unwrap();
    assert_eq!((at().await, seen().await.started_at), (Some(second), run), "it runs on");

    let other = engine.create(&request(bench, "late", &["sleep", "1000"])).await.unwrap();
    engine.start(&other).await.unwrap();
    let refused = engine.connect(&other, &net.name, second).await.unwrap_err();
    assert!(matches!(refused, Error::Docker { .. }), "{refused}");
    engine.disconnect(&id, &net.name).await.unwrap();
    engine.disconnect(&id, &net.name).await.unwrap();
    assert_eq!(at().await, None);
    engine.connect(&other, &net.name, second).await.unwrap();
    let missing = engine.connect("0123456789ab", &net.name, first).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    let plain = engine.list_plain().await.unwrap();
    assert!(plain.containers.iter().all(|one| one.id != id && one.id != other), "they are ours");
}
