//! What the task makes of a wish; what it tells of it is shown by the black box.

use super::*;
use engine::Fake;
use model::template_file::TemplateFile;

fn wanted(address: &str) -> Wanted {
    let one = TemplateFile {
        name: "a.ctmpl".into(),
        text: "{{env \"REMUDA_ADDRESS\"}}".into(),
        target: "/etc/a/x".into(),
        mode: 0o644,
        ..TemplateFile::default()
    };
    let spec = ContainerSpec { templates: vec![one], ..ContainerSpec::default() };
    Wanted {
        name: "c1".into(),
        spec: Arc::new(spec),
        facts: [("REMUDA_ADDRESS".to_owned(), address.to_owned())].into(),
        running: None,
    }
}

fn wish(address: &str, kept: Option<&[&str]>) -> Wish {
    let id: InstanceId = "shop/web#1@4".parse().unwrap();
    Wish {
        all: [(id, wanted(address))].into(),
        kept: kept.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
    }
}

struct Place {
    dir: tempfile::TempDir,
    renderer: Renderer<Fake>,
    desk: Desk,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::new(|| Timestamp(1_700_000_000_000));
        // Nobody is asked: the templates want nothing of a server.
        let nobody = Some(SocketAddr::from(([127, 0, 0, 1], 1)));
        let engine = Fake::with_clock(clock.clone());
        let (renderer, desk) = sides(dir.path().join(FOLDER), engine, clock, nobody);
        Self { dir, renderer, desk }
    }

    async fn wished(&mut self, wish: Wish) {
        self.desk.wish.send_replace(wish);
        self.renderer.settle().await;
        self.renderer.render().await;
    }

    fn text(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.dir.path().join(FOLDER).join(name).join("0/x")).ok()
    }
}

#[tokio::test]
async fn a_file_follows_the_facts_of_its_container() {
    let mut place = Place::new();
    place.wished(wish("10.42.0.5", None)).await;
    assert_eq!(place.text("c1").as_deref(), Some("10.42.0.5"));
    place.wished(wish("10.42.0.6", None)).await;
    assert_eq!(place.text("c1").as_deref(), Some("10.42.0.6"));
}

#[tokio::test]
async fn files_of_a_container_that_is_no_more_go_when_all_containers_are_known() {
    let mut place = Place::new();
    let old = ContainerSpec::clone(&wanted("").spec);
    place::put(&place.renderer.dir, "old", &old, 0, "s3cret").unwrap();
    place.wished(wish("a", None)).await;
    assert_eq!(place.text("old").as_deref(), Some("s3cret"), "it is not known who is there");
    place.wished(wish("a", Some(&["c1", "old"]))).await;
    assert_eq!(place.text("old").as_deref(), Some("s3cret"));
    place.wished(wish("a", Some(&["c1"]))).await;
    assert_eq!((place.text("old"), place.text("c1").as_deref()), (None, Some("a")));
    place.wished(Wish { kept: Some(BTreeSet::new()), ..Wish::default() }).await;
    assert_eq!(place.text("c1"), None);
}
