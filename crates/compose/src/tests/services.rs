//! The examples of `docs/services.md` are whole files that load without a warning.

use super::{given, service};
use model::scaling::Mode;
use model::service::Kind;
use std::path::Path;

fn examples() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/services.md");
    let text = std::fs::read_to_string(path).unwrap();
    let parts = text.split("```yaml\n").skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn every_example_of_the_document_loads_without_a_warning() {
    let examples = examples();
    assert!(examples.len() >= 9, "{}", examples.len());
    for text in &examples {
        given(&format!("name: shop\n{text}")).clean();
    }
}

#[test]
fn the_examples_are_what_the_document_says() {
    let examples = examples();
    let with = |word: &str| {
        let text = examples.iter().find(|text| text.contains(word)).unwrap();
        given(&format!("name: shop\n{text}")).clean()
    };
    assert_eq!(service(&with("mode: global"), "node-exporter").mode, Mode::Global);
    let jobs = with("concurrency:");
    assert!(jobs.spec.services.values().all(|s| matches!(s.mode, Mode::Job(_))));
    let sidekicks = with("io.rancher.sidekicks");
    assert_eq!(sidekicks.spec.services.len(), 1);
    assert_eq!(service(&sidekicks, "web").template.sidekicks.len(), 2);
    let names = with("rancher/dns-service");
    assert!(matches!(service(&names, "auth").template.kind, Kind::Alias(_)));
    let labels = with("constraint:region");
    assert_eq!(service(&labels, "web").template.placement.constraints.len(), 7);
}
