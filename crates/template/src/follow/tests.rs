//! Private details of following; that it asks and waits is shown by the black box.

use super::*;
use base64::Engine as _;

fn blame(text: &str, why: &str) -> String {
    let error = Error::Render { name: "a.ctmpl".into(), why: why.into() };
    blamed("a.ctmpl", text, &error)
}

#[test]
fn a_failed_render_names_its_line_and_no_value() {
    let text = "one\n{{key \"a\" | parseInt}}\n{{parseIntoNothing}}\n";
    for (why, expect) in [
        ("parseInt: \"s3cret\" is not a number", "a.ctmpl: line 2: parseInt: … is not a number"),
        ("parseInt: \"s3\\\"cr\\\"et\" is none", "a.ctmpl: line 2: parseInt: … is none"),
        (
            "parseInt: pattern \"a(s3cret\": regex parse error:\n    a(s3cret\n     ^\nerror: \"x\"",
            "a.ctmpl: line 2: parseInt: pattern …: regex parse error:",
        ),
        ("parseInt: \"s3cret\nmore\" is none", "a.ctmpl: line 2: parseInt: …"),
        ("renders more than 5 bytes", "a.ctmpl: renders more than 5 bytes"),
        ("", "a.ctmpl: "),
    ] {
        assert_eq!(blame(text, why), expect);
    }
}

#[tokio::test]
async fn a_template_that_cannot_be_read_says_its_line_and_others_go_on() {
    let mut follower = Follower::new("127.0.0.1:1").unwrap();
    let plan = |text: &str| Plan { name: "a.ctmpl".into(), text: text.into(), ..Plan::default() };
    let env = Plan { env: Arc::new([("A".into(), "b".into())].into()), ..plan("x{{env \"A\"}}") };
    follower.put(1, plan("good\n{{if}}"));
    follower.put(2, env);
    follower.put(3, plan("a\n{{file \"/etc/shadow\"}}"));
    follower.put(4, plan("{{key \"a\"}}"));
    follower.put(5, plan("gone"));
    follower.remove(&5);
    follower.woken().await;
    let mut out: BTreeMap<i32, Outcome> = follower.make().await.into_iter().collect();
    assert_eq!(out.remove(&2), Some(Outcome::Text("xb".into())));
    let Some(Outcome::Failed(broken)) = out.remove(&1) else { panic!("{out:?}") };
    assert!(broken.contains(" 2:7: "), "{broken}");
    let Some(Outcome::Failed(denied)) = out.remove(&3) else { panic!("{out:?}") };
    assert!(denied.contains("line 2") && denied.contains("denied"), "{denied}");
    let Some(Outcome::Waits(waits)) = out.remove(&4) else { panic!("{out:?}") };
    assert!(waits.contains("key a"), "{waits}");
    assert!(out.is_empty(), "{out:?}");
}

fn plan(text: &str) -> Plan {
    Plan { name: "a.ctmpl".into(), text: text.into(), ..Plan::default() }
}

/// As if the server had answered; `None` does not exist.
fn answered(follower: &mut Follower<i32>, key: &str, value: Option<&str>) {
    let query = Query::key(key).unwrap();
    let pair = |value: &str| {
        let value = base64::engine::general_purpose::STANDARD.encode(value);
        serde_json::json!([{"Key": key, "Value": value, "ModifyIndex": 7}])
    };
    let body = value.map_or(serde_json::json!([]), pair);
    let answer = crate::value::answer(&query, &body).unwrap();
    follower.take(Report { query, found: Found::Answer(answer) });
}

async fn made(follower: &mut Follower<i32>) -> Vec<Outcome> {
    follower.make().await.into_iter().map(|(_, outcome)| outcome).collect()
}

#[tokio::test]
async fn with_one_key_absent_what_is_no_longer_asked_is_let_go() {
    let mut follower = Follower::new("127.0.0.1:1").unwrap();
    follower.put(1, plan("{{key (print \"of/\" (keyOrDefault \"which\" \"0\"))}}{{key \"none\"}}"));
    made(&mut follower).await;
    answered(&mut follower, "none", None);
    answered(&mut follower, "of/0", Some("x"));
    for n in 1..5 {
        let of = format!("of/{n}");
        answered(&mut follower, "which", Some(&n.to_string()));
        made(&mut follower).await;
        answered(&mut follower, &of, Some("x"));
        let [Outcome::Failed(why)] = &made(&mut follower).await[..] else { panic!("{n}") };
        assert!(why.contains("there is no key none"), "{why}");
        let asked: Vec<String> = follower.watchers.keys().map(ToString::to_string).collect();
        assert!(asked.len() == 3 && asked.contains(&format!("key {of}")), "{asked:?}");
    }
}

#[tokio::test]
async fn what_rights_keep_back_is_told_and_no_text_is_made_of_it() {
    let mut follower = Follower::new("127.0.0.1:1").unwrap();
    assert!(follower.asking.whole);
    follower.put(1, plan("{{key \"a\"}}{{key \"b\"}}"));
    follower.put(2, plan("{{key \"b\"}}"));
    made(&mut follower).await;
    answered(&mut follower, "a", Some("1"));
    answered(&mut follower, "b", Some("2"));
    assert_eq!(made(&mut follower).await, ["12", "2"].map(|text| Outcome::Text(text.into())));
    let query = Query::key("a").unwrap();
    let error = Error::Hidden { query: query.to_string() };
    follower.take(Report { query, found: Found::Failed(error) });
    let said = "a.ctmpl: key a: the anonymous token may not see all of it: give it a policy";
    assert_eq!(made(&mut follower).await, [Outcome::Failed(said.into())]);
    // Another answer does not make it whole.
    answered(&mut follower, "b", Some("3"));
    let both = [Outcome::Failed(said.into()), Outcome::Text("3".into())];
    assert_eq!(made(&mut follower).await, both);
    answered(&mut follower, "a", Some("1"));
    assert_eq!(made(&mut follower).await, [Outcome::Text("13".into())]);
}
