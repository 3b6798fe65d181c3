//! Tokens and policies: what rules say, what clients see of tokens, and what each endpoint needs.

mod evaluate;
mod filtered;
mod routes;

use super::records::MANAGEMENT_NAME;
use crate::answer::Answer;
use crate::catalog::tests::World;
use crate::register::Registrar;
use crate::request::{Request, Trusted};
use crate::serve::Consul;
use model::consul_access::AclMode;
use serde_json::{Value, json};
use store::Memory;

/// A Consul with a catalog, which asks for tokens.
struct Guarded {
    world: World,
    consul: Consul<Memory>,
    root: String,
}

fn request(method: &str, path: &str, body: &str, token: &str, trusted: bool) -> Request {
    let uri = format!("/v1/{path}");
    let mut request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
    request.headers_mut().insert("x-consul-token", token.parse().unwrap());
    if trusted {
        request.extensions_mut().insert(Trusted);
    }
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    Request::read(&request.into_parts().0, body, "h1").unwrap()
}

impl Guarded {
    async fn new(mode: AclMode) -> Self {
        let world = World::new().await;
        // Nobody carries orders out: those that may be are answered with 500.
        let consul = world.consul.clone().with_registrar(Registrar::new().0);
        let running = consul.clone();
        tokio::spawn(async move { running.run().await });
        consul.set_acl(mode);
        let mut guarded = Self { world, consul, root: String::new() };
        let made = guarded.json("PUT", "acl/bootstrap", "", "").await;
        guarded.root = made["SecretID"].as_str().unwrap().to_owned();
        guarded
    }

    async fn ask(&self, method: &str, path: &str, body: &str, token: &str) -> Answer {
        self.consul.answer(&request(method, path, body, token, false)).await
    }

    async fn told(&self, method: &str, path: &str, body: &str, token: &str) -> (u16, String) {
        let answer = self.ask(method, path, body, token).await;
        (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
    }

    async fn json(&self, method: &str, path: &str, body: &str, token: &str) -> Value {
        let (status, body) = self.told(method, path, body, token).await;
        assert_eq!(status, 200, "{method} {path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn policy(&self, name: &str, rules: &str) -> Value {
        let body = json!({ "Name": name, "Rules": rules }).to_string();
        self.json("PUT", "acl/policy", &body, &self.root).await
    }

    /// The secret of a token with these rules.
    async fn token(&self, name: &str, rules: &str) -> String {
        self.policy(name, rules).await;
        let body = json!({ "Policies": [{ "Name": name }] }).to_string();
        let token = self.json("PUT", "acl/token", &body, &self.root).await;
        token["SecretID"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn while_it_is_off_tokens_are_not_looked_at() {
    let world = World::new().await;
    let answer = world.consul.answer(&request("GET", "kv/?keys", "", "any", false)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.headers.get("x-consul-default-acl-policy").is_none());
    for (method, path) in [("PUT", "acl/bootstrap"), ("GET", "acl/tokens"), ("GET", "acl/info/x")] {
        let answer = world.ask(method, path).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (401, &b"ACL support disabled"[..]));
    }
    let answer = world.ask("PUT", "agent/token/agent").await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn the_first_token_is_made_once_and_again_by_who_has_the_api_token() {
    let guarded = Guarded::new(AclMode::Deny).await;
    let (status, text) = guarded.told("PUT", "acl/bootstrap", "", "").await;
    assert_eq!(status, 403);
    let index =
        text.strip_prefix("Permission denied: ACL bootstrap no longer allowed (reset index: ");
    let index = index.and_then(|rest| rest.strip_suffix(')')).expect(&text).to_owned();
    let path = format!("acl/bootstrap?reset={index}");
    assert_eq!(guarded.told("PUT", &path, "", "").await.0, 403, "not over the Consul API");
    let again = guarded.consul.answer(&request("PUT", &path, "", "", true)).await;
    assert_eq!(again.status, 200);
    let again = guarded.consul.answer(&request("PUT", &path, "", "", true)).await;
    assert_eq!(again.status, 403, "the index is another one now");
}

#[tokio::test]
async fn a_secret_is_shown_once_and_kept_nowhere() {
    let guarded = Guarded::new(AclMode::Deny).await;
    let root = guarded.root.as_str();
    let made = guarded.json("PUT", "acl/token", r#"{"Description":"ci"}"#, root).await;
    let (accessor, secret) =
        (made["AccessorID"].as_str().unwrap(), made["SecretID"].as_str().unwrap());
    let read = guarded.json("GET", &format!("acl/token/{accessor}"), "", root).await;
    assert_eq!((&read["SecretID"], &read["Description"]), (&"<hidden>".into(), &"ci".into()));
    let mine = guarded.json("GET", "acl/token/self", "", secret).await;
    assert_eq!(mine["AccessorID"], accessor);
    let (_, list) = guarded.told("GET", "acl/tokens", "", root).await;
    assert!(list.contains(accessor) && !list.contains(secret) && !list.contains(root));
    // As clients do it that send back what they read.
    let body = json!({ "AccessorID": accessor, "SecretID": "<hidden>", "Description": "cd" });
    let path = format!("acl/token/{accessor}");
    let changed = guarded.json("PUT", &path, &body.to_string(), root).await;
    assert_eq!(changed["Description"], "cd");
    let other = json!({ "SecretID": "5f3d6a5e-0000-4000-8000-000000000000" }).to_string();
    assert_eq!(guarded.told("PUT", &path, &other, root).await.0, 400);
    let copy = guarded.json("PUT", &format!("{path}/clone"), "", root).await;
    assert_ne!(copy["SecretID"], secret);
    let store = guarded.consul.store();
    let page = store::Store::range(store, store::Keys::all(), store::Read::Latest).await.unwrap();
    let all: String = page.kvs.iter().map(|kv| format!("{} {:?}", kv.key, kv.value)).collect();
    assert!(all.contains(accessor) && !all.contains(secret) && !all.contains(root));
    assert_eq!(guarded.json("DELETE", &path, "", root).await, true);
    assert_eq!(guarded.told("GET", "acl/token/self", "", secret).await.1, "ACL not found");
    assert_eq!(guarded.told("GET", "kv/a", "", secret).await, (403, "ACL not found".into()));
}

#[tokio::test]
async fn what_is_built_in_stays() {
    let guarded = Guarded::new(AclMode::Deny).await;
    let root = guarded.root.as_str();
    let name = format!("acl/policy/name/{MANAGEMENT_NAME}");
    let policy = guarded.json("GET", &name, "", root).await;
    let id = policy["ID"].as_str().unwrap();
    assert_eq!(guarded.told("DELETE", &format!("acl/policy/{id}"), "", root).await.0, 400);
    let body = r#"{"Rules":"acl = \"read\""}"#;
    assert_eq!(guarded.told("PUT", &format!("acl/policy/{id}"), body, root).await.0, 400);
    let anonymous = format!("acl/token/{}", super::authority::ANONYMOUS);
    assert_eq!(guarded.told("DELETE", &anonymous, "", root).await.0, 400);
    assert_eq!(guarded.json("GET", &anonymous, "", root).await["SecretID"], "anonymous");
    assert_eq!(guarded.told("PUT", "acl/create", "{}", root).await.0, 410);
    let own = guarded.json("GET", "acl/token/self", "", root).await;
    let own = format!("acl/token/{}", own["AccessorID"].as_str().unwrap());
    assert_eq!(guarded.told("DELETE", &own, "", root).await.0, 400);
}

#[tokio::test]
async fn roles_and_identities_give_rights() {
    let guarded = Guarded::new(AclMode::Deny).await;
    let root = guarded.root.as_str();
    guarded.policy("keys", "key_prefix \"a/\" { policy = \"write\" }").await;
    let body = r#"{"Name":"app","Policies":[{"Name":"keys"}]}"#;
    let role = guarded.json("PUT", "acl/role", body, root).await;
    assert_eq!(guarded.told("PUT", "acl/role", body, root).await.0, 400, "the name is taken");
    let body = r#"{"Roles":[{"Name":"app"}],"ServiceIdentities":[{"ServiceName":"web"}]}"#;
    let token = guarded.json("PUT", "acl/token", body, root).await;
    assert_eq!(token["Roles"][0]["ID"], role["ID"]);
    let secret = token["SecretID"].as_str().unwrap();
    assert_eq!(guarded.told("PUT", "kv/a/b", "1", secret).await.1, "true");
    assert_eq!(guarded.told("PUT", "kv/b", "1", secret).await.0, 403);
    let register = r#"{"Name":"web"}"#;
    assert_eq!(guarded.told("PUT", "agent/service/register", register, secret).await.0, 500);
    let register = r#"{"Name":"db"}"#;
    assert_eq!(guarded.told("PUT", "agent/service/register", register, secret).await.0, 403);
    let body = r#"{"Policies":[{"Name":"none"}]}"#;
    assert_eq!(guarded.told("PUT", "acl/token", body, root).await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_with_its_time_and_wakes_who_waits_with_it() {
    let guarded = Guarded::new(AclMode::Deny).await;
    guarded.policy("keys", "key_prefix \"\" { policy = \"read\" }").await;
    let body = r#"{"Policies":[{"Name":"keys"}],"ExpirationTTL":"2m"}"#;
    let token = guarded.json("PUT", "acl/token", body, &guarded.root).await;
    let secret = token["SecretID"].as_str().unwrap();
    assert!(token["ExpirationTime"].is_string());
    let begun = tokio::time::Instant::now();
    let (status, text) = guarded.told("GET", "kv/a?index=9999999&wait=10m", "", secret).await;
    assert_eq!((status, text.as_str()), (403, "ACL not found"));
    assert_eq!(begun.elapsed().as_secs(), 120);
    for wrong in ["5s", "48h", "x"] {
        let body = json!({ "ExpirationTTL": wrong }).to_string();
        assert_eq!(guarded.told("PUT", "acl/token", &body, &guarded.root).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn who_waits_is_answered_at_once_when_its_rights_change() {
    let guarded = Guarded::new(AclMode::Deny).await;
    let secret = guarded.token("keys", "key_prefix \"\" { policy = \"read\" }").await;
    let policy = guarded.json("GET", "acl/policy/name/keys", "", &guarded.root).await;
    let waiting = {
        let (consul, secret) = (guarded.consul.clone(), secret.clone());
        tokio::spawn(async move {
            let path = "kv/a?index=9999999&wait=10m";
            consul.answer(&request("GET", path, "", &secret, false)).await
        })
    };
    while guarded.consul.waiters().is_empty() {
        tokio::task::yield_now().await;
    }
    // A policy of somebody else wakes nobody.
    guarded.policy("other", "operator = \"read\"").await;
    assert!(!waiting.is_finished());
    let path = format!("acl/policy/{}", policy["ID"].as_str().unwrap());
    let body = json!({ "Rules": "key_prefix \"b\" { policy = \"read\" }" }).to_string();
    guarded.json("PUT", &path, &body, &guarded.root).await;
    assert_eq!(waiting.await.unwrap().status, 403);
}

#[tokio::test]
async fn turning_it_on_stops_who_waits_without_a_token() {
    let guarded = Guarded::new(AclMode::Deny).await;
    guarded.consul.set_acl(AclMode::Off);
    let waiting = {
        let consul = guarded.consul.clone();
        tokio::spawn(async move {
            consul.answer(&request("GET", "kv/a?index=9999999", "", "", false)).await
        })
    };
    while guarded.consul.waiters().is_empty() {
        tokio::task::yield_now().await;
    }
    guarded.consul.set_acl(AclMode::Deny);
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 403);
    assert_eq!(answer.headers.get("x-consul-default-acl-policy").unwrap(), "deny");
}
