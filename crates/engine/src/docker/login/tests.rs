//! Logins out of config files, and out of helpers that are there, silent, or broken.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn config(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), text).unwrap();
    dir
}

async fn user(text: &str, registry: &str) -> Result<Option<String>, String> {
    let dir = config(text);
    Ok(find(dir.path(), registry).await?.and_then(|found| found.username))
}

#[tokio::test]
async fn a_login_is_found_under_every_spelling_of_its_registry() {
    // base64 of ann:secret
    for server in ["r.example:5000", "https://r.example:5000", "https://r.example:5000/v1/"] {
        let text = format!(r#"{{"auths":{{"{server}":{{"auth":"YW5uOnNlY3JldA=="}}}}}}"#);
        assert_eq!(user(&text, "r.example:5000").await, Ok(Some("ann".to_owned())));
        assert_eq!(user(&text, "r.example").await, Ok(None));
    }
    let hub = r#"{"auths":{"https://index.docker.io/v1/":{"username":"bob","password":"x"}}}"#;
    assert_eq!(user(hub, "docker.io").await, Ok(Some("bob".to_owned())));
    let dir = tempfile::tempdir().unwrap();
    assert!(find(dir.path(), "docker.io").await.unwrap().is_none(), "no file is no login");
}

#[tokio::test]
async fn a_broken_config_is_told_without_its_content() {
    for text in [
        r#"{"auths": "hunter2"}"#,
        "hunter2",
        r#"{"auths":{"r.example":{"auth":"hunter2hunter2!"}}}"#,
        r#"{"auths":{"r.example":{"auth":"aHVudGVyMg=="}}}"#,
        r#"{"credsStore":"../hunter2"}"#,
    ] {
        let problem = user(text, "r.example").await.unwrap_err();
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}

/// Helpers are looked up by PATH, which a test must not change for the others in its process: the
/// name is given with a folder instead, past the check of `ask`.
async fn helper(script: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("helper");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    run_helper(path.to_str().unwrap(), "r.example").await
}

#[tokio::test]
async fn a_helper_reads_the_registry_and_answers() {
    let (ok, output) =
        helper(r#"read r; echo "{\"ServerURL\":\"$r\",\"Username\":\"$1\",\"Secret\":\"s\"}""#)
            .await
            .unwrap();
    assert!(ok);
    let answer: HelperAnswer = serde_json::from_slice(&output).unwrap();
    assert_eq!((answer.username.as_str(), answer.secret.as_str()), ("get", "s"));
    let (ok, output) =
        helper("echo credentials not found in native keychain; exit 1").await.unwrap();
    assert!(!ok && output.starts_with(b"credentials not found"));
    let problem = ask("remuda-test-no-such-helper", "r.example").await.err().unwrap();
    assert!(problem.contains("docker-credential-remuda-test-no-such-helper"), "{problem}");
}
