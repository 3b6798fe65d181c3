//! Archives of each layout, taken apart and put together; what a hostile host could say.

use super::*;

fn digest(n: u32) -> String {
    format!("sha256:{n:064x}")
}

fn blob(n: u32) -> Blob {
    Blob { digest: digest(n), size: u64::from(n) }
}

fn path(n: u32) -> String {
    format!("blobs/sha256/{n:064x}")
}

fn archive(files: &[(&str, u32)], links: &[(&str, &str)], manifest: &Value) -> Archive {
    let texts = [("manifest.json".to_owned(), manifest.to_string().into_bytes())];
    Archive {
        files: files.iter().map(|(path, n)| ((*path).to_owned(), blob(*n))).collect(),
        links: links.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        texts: texts.into(),
    }
}

fn old_layout() -> Archive {
    let layers = ["aa/layer.tar", "bb/layer.tar", "cc/layer.tar"];
    let manifest = json!([{"Config": "01.json", "RepoTags": null, "Layers": layers}]);
    let files = [("01.json", 1), ("aa/layer.tar", 2), ("cc/layer.tar", 3)];
    archive(&files, &[("bb/layer.tar", "aa/layer.tar")], &manifest)
}

#[test]
fn what_docker_20_writes_is_a_configuration_and_layers_one_of_them_a_link() {
    let manifest = old_layout().manifest(&digest(1)).unwrap();
    assert_eq!(manifest.config, blob(1));
    assert_eq!(manifest.layers, [blob(2), blob(2), blob(3)]);
    assert!(manifest.documents.is_empty());
}

#[test]
fn what_docker_25_writes_is_the_same_by_other_paths() {
    let (config, layer) = (path(1), path(2));
    let manifest = json!([{"Config": config, "RepoTags": null, "Layers": [layer]}]);
    let files = [(config.as_str(), 1), (layer.as_str(), 2), (&path(9), 9)];
    let found = archive(&files, &[], &manifest).manifest(&digest(1)).unwrap();
    assert_eq!((found.config, found.layers), (blob(1), vec![blob(2)]));
    assert!(found.documents.is_empty(), "the id is the configuration's: nothing else is needed");
}

#[test]
fn an_image_that_is_named_by_its_manifest_comes_with_it() {
    let (config, layer) = (path(1), path(2));
    let manifest = json!([{"Config": config, "RepoTags": null, "Layers": [layer]}]);
    let files = [(config.as_str(), 1), (layer.as_str(), 2), (&path(7), 7)];
    let found = archive(&files, &[], &manifest).manifest(&digest(7)).unwrap();
    assert_eq!(found.documents, [blob(7)]);
    let members = members(&found, false, 0);
    let paths: Vec<&str> = members
        .iter()
        .map(|member| match member {
            Member::Text(path, _) | Member::Blob(path, _) => path.as_str(),
        })
        .collect();
    let seven = path(7);
    let wanted = [config.as_str(), &layer, &seven, "manifest.json", "index.json", "oci-layout"];
    assert_eq!(paths, wanted);
    let Member::Text(_, index) = &members[4] else { panic!("no index") };
    let index: Value = serde_json::from_slice(index).unwrap();
    assert_eq!(index["manifests"][0]["digest"], digest(7));
}

#[test]
fn an_archive_that_lacks_something_is_refused() {
    let whole = old_layout();
    let id = digest(1);
    let refused = |change: &dyn Fn(&mut Archive), id: &str| {
        let mut archive = whole.clone();
        change(&mut archive);
        archive.manifest(id).unwrap_err()
    };
    for (change, id, word) in [
        (&|a: &mut Archive| a.texts.clear(), &id, "manifest.json"),
        (&|a: &mut Archive| drop(a.files.remove("01.json")), &id, "01.json"),
        (&|a: &mut Archive| drop(a.files.remove("cc/layer.tar")), &id, "cc/layer.tar"),
        (&|a: &mut Archive| a.links.clear(), &id, "bb/layer.tar"),
        (&|_: &mut Archive| {}, &digest(5), "nothing in it is"),
    ] as [(&dyn Fn(&mut Archive), &String, &str); 5]
    {
        let why = refused(change, id);
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn only_blobs_and_what_says_how_they_belong_together_are_kept() {
    for (path, kept) in [
        ("manifest.json", false),
        (&format!("{:064x}.json", 1), true),
        ("aa/layer.tar", true),
        ("aa/json", false),
        ("aa/VERSION", false),
        ("repositories", false),
        ("blobs/sha256/aa", true),
        ("oci-layout", false),
    ] {
        assert_eq!(is_blob(path), kept, "{path}");
        assert_eq!(is_text(path), path == "manifest.json");
    }
}

#[test]
fn a_manifest_from_another_host_is_bounded() {
    let good = old_layout().manifest(&digest(1)).unwrap();
    let change = |change: &dyn Fn(&mut ImageManifest)| {
        let mut one = good.clone();
        change(&mut one);
        check(&one).unwrap_err()
    };
    for (why, word) in [
        (change(&|m| m.layers = vec![blob(2); IMAGE_LAYERS_MAX + 1]), "layers"),
        (change(&|m| m.layers[0].digest = "sha256:../../etc/passwd".into()), "no digest"),
        (change(&|m| m.layers[0].size = u64::MAX), "larger"),
        (change(&|m| m.layers[0].size = IMAGE_BYTES_MAX), "larger"),
        (change(&|m| m.config.size = IMAGE_DOCUMENT_BYTES_MAX + 1), "configuration"),
        (change(&|m| m.config = blob(9)), "nothing in it is"),
    ] {
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn the_layers_must_be_those_that_the_id_leads_to() {
    let good = old_layout().manifest(&digest(1)).unwrap();
    let config = |ids: &[u32]| {
        let ids: Vec<String> = ids.iter().map(|n| digest(*n)).collect();
        let text = json!({"rootfs": {"diff_ids": ids}}).to_string().into_bytes();
        BTreeMap::from([(digest(1), text)])
    };
    let proof = prove(&good, &config(&[2, 2, 3])).unwrap();
    assert_eq!(proof.diff_ids, [digest(2), digest(2), digest(3)]);
    assert!(prove(&good, &config(&[2, 3, 2])).is_err());
    assert!(prove(&good, &config(&[2, 2])).is_err());
    assert!(prove(&good, &BTreeMap::new()).is_err());
    // Named by a manifest, or by an index that lists it: the layers may be packed.
    let named = |id: u32, documents: &[u32]| ImageManifest {
        id: digest(id),
        documents: documents.iter().map(|n| blob(*n)).collect(),
        ..good.clone()
    };
    let layers =
        |ids: &[u32]| ids.iter().map(|n| json!({"digest": digest(*n)})).collect::<Vec<_>>();
    let manifest = |config: u32, of: &[u32]| {
        json!({"config": {"digest": digest(config)}, "layers": layers(of)}).to_string().into_bytes()
    };
    let mut documents = config(&[5, 5, 6]);
    documents.insert(digest(7), manifest(1, &[2, 2, 3]));
    let index = json!({"manifests": [{"digest": digest(6)}, {"digest": digest(7)}]});
    documents.insert(digest(8), index.to_string().into_bytes());
    assert!(!prove(&named(7, &[7]), &documents).unwrap().is_index);
    assert!(prove(&named(8, &[7, 8]), &documents).unwrap().is_index);
    documents.insert(digest(7), manifest(1, &[2, 2, 4]));
    assert!(prove(&named(7, &[7]), &documents).is_err(), "another layer");
    documents.insert(digest(7), manifest(2, &[2, 2, 3]));
    assert!(prove(&named(8, &[7, 8]), &documents).is_err(), "another configuration");
}

#[test]
fn layers_that_are_here_are_left_out_from_the_lowest_up() {
    let ids = |numbers: &[u32]| numbers.iter().map(|n| digest(*n)).collect::<Vec<_>>();
    let here = [ids(&[1, 2, 9]), ids(&[3]), ids(&[1])];
    for (wanted, shared) in
        [(&[1, 2, 3][..], 2), (&[1, 9][..], 1), (&[2, 1][..], 0), (&[1, 2, 9][..], 3), (&[][..], 0)]
    {
        assert_eq!(shared_layers(&ids(wanted), &here), shared, "{wanted:?}");
    }
    let manifest = old_layout().manifest(&digest(1)).unwrap();
    let blobs = |skipped| {
        let members = members(&manifest, false, skipped);
        let blobs = members.into_iter().filter_map(|member| match member {
            Member::Blob(path, blob) if path.ends_with(".tar") => Some(blob),
            _ => None,
        });
        blobs.collect::<Vec<_>>()
    };
    assert_eq!(blobs(0), [blob(2), blob(3)], "one that is there twice is written once");
    assert_eq!(blobs(2), [blob(3)]);
    assert_eq!(blobs(3), []);
}

#[test]
fn a_machine_runs_images_of_its_own_kind() {
    for (machine, image, runs_it) in [
        ("x86_64", "amd64", true),
        ("x86_64", "386", true),
        ("x86_64", "arm64", false),
        ("aarch64", "arm64", true),
        ("aarch64", "arm", true),
        ("aarch64", "amd64", false),
        ("armv7l", "arm", true),
        ("riscv64", "riscv64", true),
        ("", "amd64", true),
        ("x86_64", "", true),
    ] {
        assert_eq!(runs(machine, image), runs_it, "{machine} {image}");
    }
}
