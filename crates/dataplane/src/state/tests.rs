//! What comes back from disk, and what does not.

use super::*;
use crate::protocol::{LocalInstance, ProbeVerdict, Run};
use model::health::Health;
use model::time::{Index, Timestamp};
use std::collections::BTreeMap;

fn remembered(index: u64) -> Remembered {
    let id: model::id::InstanceId = "shop/api#1@1".parse().unwrap();
    let run = Run { started_at: Timestamp(5), container_id: "c".into() };
    let local = LocalInstance { run: Some(run), docker_health: Health::Healthy, stopping: true };
    let verdict = ProbeVerdict {
        health: Health::Unhealthy,
        detail: "tcp: refused".into(),
        run_started_at: Timestamp(5),
    };
    let view = HostView {
        format: VIEW_FORMAT,
        environment: "default".into(),
        host: "here".parse().unwrap(),
        index: Index(index),
        dns: Arc::default(),
        callers: Arc::default(),
        instances: Arc::default(),
        upstreams: BTreeMap::new(),
        listeners: BTreeMap::new(),
        floating: [].into(),
        checks: [].into(),
        partial: false,
        catalog: Arc::default(),
        meta: Default::default(),
    };
    Remembered {
        view: Some(Arc::new(view)),
        live: Live {
            local: Arc::new([(id.clone(), local)].into()),
            probes: Arc::new([(id, verdict)].into()),
            checks: Arc::default(),
        },
        wire: Some(Arc::new(WireWish {
            active: true,
            device: "remudawg0".into(),
            address: [192, 0, 2, 1].into(),
            port: 51_820,
            subnet: "10.42.0.0/16".parse().unwrap(),
            order: index,
            own: Default::default(),
            peers: BTreeMap::new(),
        })),
    }
}

#[tokio::test]
async fn the_last_state_is_written_when_its_sender_goes() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(load(dir.path()), Remembered::default());
    let (sender, receiver) = watch::channel(Remembered::default());
    let keeper = tokio::spawn(keep(dir.path().to_owned(), Remembered::default(), receiver));
    for index in 1..50 {
        sender.send_replace(remembered(index));
        tokio::task::yield_now().await;
    }
    drop(sender);
    keeper.await.unwrap();
    assert_eq!(load(dir.path()), remembered(49));
}

#[test]
fn what_cannot_be_read_is_set_aside_and_the_rest_is_used() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), Remembered::default(), remembered(1));
    std::fs::write(view_path(dir.path()), "{\"format\":1,").unwrap();
    let loaded = load(dir.path());
    assert_eq!((loaded.view, loaded.live), (None, remembered(1).live));
    assert!(!view_path(dir.path()).exists());
    assert!(dir.path().join("view.json.bad").exists());
}

#[test]
fn a_view_of_a_newer_format_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let mut view = Arc::unwrap_or_clone(remembered(1).view.unwrap());
    view.format = VIEW_FORMAT + 1;
    write(&view_path(dir.path()), &view).unwrap();
    let error = view_file(&view_path(dir.path())).unwrap_err();
    assert!(error.to_string().ends_with("has format 2, this program reads 1"), "{error}");
    assert_eq!(load(dir.path()).view, None);
    assert!(dir.path().join("view.json.bad").exists());
}

#[tokio::test]
async fn what_could_not_be_written_is_written_when_it_can_be_though_nothing_new_comes() {
    let dir = tempfile::tempdir().unwrap();
    // A folder in the place of the new file: no permission stops root, this does.
    let in_the_way = view_path(dir.path()).with_extension("json.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let (on_disk, whole) = save(dir.path(), Remembered::default(), remembered(1));
    assert_eq!((on_disk.view, on_disk.live, whole), (None, remembered(1).live, false));
    std::fs::remove_file(live_path(dir.path())).unwrap();
    let (sender, receiver) = watch::channel(Remembered::default());
    let keeper = tokio::spawn(keep(dir.path().to_owned(), Remembered::default(), receiver));
    sender.send_replace(remembered(2));
    let waited = async {
        // It is written after the view: when it is there, the view was tried, and failed.
        while load(dir.path()).live != remembered(2).live {
            tokio::task::yield_now().await;
        }
        assert_eq!(load(dir.path()).view, None);
        std::fs::remove_dir(&in_the_way).unwrap();
        while load(dir.path()) != remembered(2) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.expect("it is written");
    drop(sender);
    keeper.await.unwrap();
}
