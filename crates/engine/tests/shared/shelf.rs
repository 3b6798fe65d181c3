//! The contract of images: looked up, listed, removed, written out and taken in.

use super::suite::{Bench, context, request};
use bytes::Bytes;
use engine::Engine;
use engine::error::Error;
use engine::seen::BuildOutput;
use engine::wish::BuildOptions;
use futures_util::StreamExt;
use std::sync::Arc;

pub(crate) async fn an_image_goes_by_its_id_too<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let info = engine.image(bench.image()).await.unwrap().unwrap();
    assert_eq!(engine.image(&info.id).await.unwrap().map(|found| found.id), Some(info.id.clone()));
    let mut wish = request(bench, "by-id", &["true"]);
    Arc::make_mut(&mut wish.spec).image = info.id.clone();
    let id = engine.create(&wish).await.unwrap();
    assert_eq!(engine.inspect(&id).await.unwrap().unwrap().image_id, info.id);
    engine.remove(&id).await.unwrap();
    assert!(engine.image("sha256:00ff").await.unwrap().is_none());
}

/// Builds an image named `tag` that has its own content.
async fn build<B: Bench>(bench: &B, tag: &str, what: &str) -> String {
    let options =
        BuildOptions { tag: tag.into(), network: "none".into(), ..BuildOptions::default() };
    let file = context(&format!("FROM {}\nLABEL what={what}\n", bench.image()));
    let output: Vec<_> = bench.engine().build(file, &options).await.unwrap().collect().await;
    let Some(Ok(BuildOutput::Image(id))) = output.last() else { panic!("{output:?}") };
    id.clone()
}

pub(crate) async fn an_image_is_written_out_and_taken_in<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let base = bench.image().split(':').next().unwrap();
    let tag = format!("{base}-moved:1");
    let id = build(bench, &tag, &format!("moved-of-{}", bench.owner())).await;
    let before = engine.image(&id).await.unwrap().unwrap();
    assert!(!before.layers.is_empty() && !before.architecture.is_empty(), "{before:?}");
    let archive: Vec<_> = engine.save_image(&id).await.unwrap().collect().await;
    engine.remove_image(&tag).await.unwrap();
    assert!(engine.image(&id).await.unwrap().is_none());
    // An archive that breaks off is no image.
    let half = archive.len() / 2;
    let pieces = |all: &[engine::Result<Bytes>]| {
        let pieces = all.iter().map(|piece| Ok(piece.as_ref().unwrap().clone()));
        pieces.collect::<Vec<std::io::Result<Bytes>>>()
    };
    let mut broken = pieces(&archive[..half]);
    broken.push(Err(std::io::ErrorKind::UnexpectedEof.into()));
    let error = engine.load_image(futures_util::stream::iter(broken).boxed()).await;
    assert!(error.is_err() && engine.image(&id).await.unwrap().is_none());
    engine.load_image(futures_util::stream::iter(pieces(&archive)).boxed()).await.unwrap();
    let after = engine.image(&id).await.unwrap().unwrap();
    assert_eq!(
        (&after.id, &after.layers, &after.created),
        (&before.id, &before.layers, &before.created)
    );
    engine.remove_image(&id).await.unwrap();
    let error = engine.save_image(&id).await.err().unwrap();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

pub(crate) async fn images_are_listed_and_go_when_nothing_needs_them<B: Bench>(bench: &B) {
    let engine = bench.engine();
    let disk = engine.disk().await.unwrap();
    assert!(disk.total > 0 && disk.free <= disk.total, "{disk:?}");
    let list = |id: String| async move {
        let all = engine.images().await.unwrap();
        assert!(all.is_sorted_by(|a, b| a.id < b.id));
        let found = all.into_iter().find(|image| image.id == id)?;
        Some(found.names.into_iter().collect::<Vec<_>>())
    };
    let base = bench.image().split(':').next().unwrap();
    let [tag, more] = [format!("{base}-listed:1"), format!("{base}-listed:2")];
    let first = build(bench, &tag, &format!("first-of-{}", bench.owner())).await;
    assert_eq!(list(first.clone()).await, Some(vec![tag.clone()]));
    // A second one takes its name: the first one is still there, without any.
    let second = build(bench, &tag, &format!("second-of-{}", bench.owner())).await;
    assert_ne!(first, second);
    assert_eq!(list(second.clone()).await, Some(vec![tag.clone()]));
    assert_eq!(list(first.clone()).await, Some(vec![]));
    engine.remove_image(&first).await.unwrap();
    assert_eq!(list(first.clone()).await, None);
    engine.remove_image(&first).await.expect("gone is fine");
    // What a container needs is refused, whether it runs or not.
    let mut wish = request(bench, "needs", &["sleep", "1000"]);
    Arc::make_mut(&mut wish.spec).image = tag.clone();
    let id = engine.create(&wish).await.unwrap();
    assert!(engine.images_in_use().await.unwrap().contains(&second));
    let refused = |error: Error| matches!(error, Error::Docker { status: 409, .. });
    assert!(refused(engine.remove_image(&tag).await.unwrap_err()), "it was never started");
    engine.start(&id).await.unwrap();
    assert!(refused(engine.remove_image(&second).await.unwrap_err()), "it runs");
    assert_eq!(list(second.clone()).await, Some(vec![tag.clone()]));
    engine.remove(&id).await.unwrap();
    assert!(!engine.images_in_use().await.unwrap().contains(&second));
    // A name is only a name, and the image goes with its last one.
    engine.tag_image(&tag, &more).await.unwrap();
    assert_eq!(list(second.clone()).await, Some(vec![tag.clone(), more.clone()]));
    engine.remove_image(&tag).await.unwrap();
    assert_eq!(list(second.clone()).await, Some(vec![more.clone()]));
    engine.remove_image(&second).await.expect("by its id, with one name");
    assert_eq!(list(second).await, None);
}
