//! What rules say: tables, and a naive evaluation to compare with.

use super::super::authority::Authority;
use super::super::level::{Level, Named, Whole};
use super::super::rules;
use model::consul_access::AclMode;
use proptest::prelude::*;

fn authority(rules: &str, mode: AclMode) -> Authority {
    Authority::of("a", rules::parse(rules).unwrap(), mode, None)
}

#[test]
fn labels_without_end_are_an_error() {
    let error = rules::parse(&"\"".repeat(64 * 1024)).unwrap_err();
    assert!(error.contains("labels"), "{error}");
}

#[test]
fn the_exact_name_counts_before_the_longest_prefix() {
    let text = r#"
        # comments of both kinds
        key "app/lock" { policy = "write" } // one line
        key_prefix "app/" { policy = "read" }
        key_prefix "app/secret/" { policy = "deny" }
        /* JSON-like, too */
        service_prefix "" = { policy = "read" }
        service "web" { policy = "write" intentions = "deny" }
        operator = "read"
    "#;
    let authority = authority(text, AclMode::Deny);
    for (kind, name, level) in [
        (Named::Key, "app/lock", Level::Write),
        (Named::Key, "app/lock2", Level::Read),
        (Named::Key, "app/secret/a", Level::Deny),
        (Named::Key, "app", Level::Deny),
        (Named::Service, "web", Level::Write),
        (Named::Service, "db", Level::Read),
        (Named::Node, "n", Level::Deny),
    ] {
        assert_eq!(authority.level(kind, name), level, "{kind:?} {name}");
    }
    for (what, level) in [
        (Whole::Operator, Level::Read),
        (Whole::Keyring, Level::Deny),
        (Whole::Acl, Level::Deny),
        (Whole::Mesh, Level::Read),
    ] {
        assert_eq!(authority.level_whole(what), level, "{what:?}");
    }
    for (prefix, level) in [
        ("app/", Level::Deny),
        ("app/l", Level::Read),
        ("app/lock", Level::Read),
        ("app/secret/", Level::Deny),
        ("", Level::Deny),
    ] {
        assert_eq!(authority.level_below(Named::Key, prefix), level, "{prefix:?}");
    }
}

#[test]
fn where_nothing_is_said_the_mode_counts_but_for_tokens_themselves() {
    let authority = authority("key \"a\" { policy = \"deny\" }", AclMode::Allow);
    assert_eq!(authority.level(Named::Key, "a"), Level::Deny);
    assert_eq!(authority.level(Named::Key, "b"), Level::Write);
    assert_eq!(authority.level_below(Named::Key, ""), Level::Deny);
    assert_eq!(authority.level_whole(Whole::Operator), Level::Write);
    assert_eq!(authority.level_whole(Whole::Acl), Level::Deny);
}

#[test]
fn json_is_read_in_both_of_its_forms() {
    for text in [
        r#"{"key_prefix": {"a/": {"policy": "write"}}, "operator": "read"}"#,
        r#"{"key_prefix": [{"a/": [{"policy": "write"}]}], "operator": "read"}"#,
        "key_prefix \"a/\" { policy = \"write\" }\noperator = \"read\"",
    ] {
        let authority = authority(text, AclMode::Deny);
        assert_eq!(authority.level(Named::Key, "a/b"), Level::Write, "{text}");
        assert_eq!(authority.level_whole(Whole::Operator), Level::Read, "{text}");
    }
}

#[test]
fn who_denies_has_the_word_then_who_allows_more() {
    let two = |a: &str, b: &str| {
        let rule = |word: &str| format!("key \"k\" {{ policy = \"{word}\" }}\n");
        let mut both = rules::parse(&rule(a)).unwrap();
        both.add(&rules::parse(&rule(b)).unwrap());
        Authority::of("a", both, AclMode::Deny, None).level(Named::Key, "k")
    };
    assert_eq!(two("read", "write"), Level::Write);
    assert_eq!(two("write", "deny"), Level::Deny);
    assert_eq!(two("read", "list"), Level::List);
}

#[test]
fn what_is_not_understood_is_refused() {
    let deep = format!("key \"a\" {}policy = \"read\"", "{ x = ".repeat(20));
    let many = "key \"a\" { policy = \"read\" }\n".repeat(1_001);
    for wrong in [
        "key \"a\" { policy = \"admin\" }",
        "key \"a\" { policy = \"read\" sentinel { } }",
        "key \"a\" { }",
        "key \"a\" \"b\" { policy = \"read\" }",
        "service \"a\" { policy = \"list\" }",
        "keys \"a\" { policy = \"read\" }",
        "acl_prefix \"\" { policy = \"read\" }",
        "namespace \"x\" { acl = \"read\" }",
        "acl = [\"read\"]",
        "key \"a\" { policy = \"read\"",
        "key \"${a}\" { policy = \"read\" }",
        "key",
        "{",
        "{} x",
        "key = \"read\"",
        "/* open",
        deep.as_str(),
        many.as_str(),
    ] {
        assert!(rules::parse(wrong).is_err(), "{}", wrong.chars().take(80).collect::<String>());
    }
    assert!(rules::parse("").is_ok() && rules::parse("{}").is_ok());
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["deny", "read", "list", "write"])
}

fn of(word: &str) -> Level {
    Level::parse(word).unwrap()
}

/// The level of a name by going through all rules.
fn naive(rules: &[(bool, String, &str)], name: &str) -> Option<Level> {
    let of_all = |fits: Vec<&(bool, String, &str)>| {
        let levels: Vec<Level> = fits.iter().map(|rule| of(rule.2)).collect();
        match levels.contains(&Level::Deny) {
            true => Some(Level::Deny),
            false => levels.into_iter().max(),
        }
    };
    let exact: Vec<_> = rules.iter().filter(|(prefix, n, _)| !prefix && n == name).collect();
    if !exact.is_empty() {
        return of_all(exact);
    }
    let fits = |rule: &&(bool, String, &str)| rule.0 && name.starts_with(&rule.1);
    let longest = rules.iter().filter(fits).map(|rule| rule.1.len()).max()?;
    of_all(rules.iter().filter(fits).filter(|rule| rule.1.len() == longest).collect())
}

proptest! {
    #[test]
    fn evaluation_is_that_of_the_naive_one(
        rules in prop::collection::vec((any::<bool>(), "[ab/ä]{0,4}", level()), 0..12),
        names in prop::collection::vec("[ab/ä]{0,5}", 1..12),
        prefix in "[ab/ä]{0,3}",
    ) {
        let text: String = rules.iter().map(|(prefix, name, word)| {
            let kind = if *prefix { "key_prefix" } else { "key" };
            format!("{kind} \"{name}\" {{ policy = \"{word}\" }}\n")
        }).collect();
        let authority = authority(&text, AclMode::Deny);
        for name in &names {
            let want = naive(&rules, name).unwrap_or(Level::Deny);
            prop_assert_eq!(authority.level(Named::Key, name), want, "{}", name);
        }
        // What may be done with all below may be done with each.
        let below = authority.level_below(Named::Key, &prefix);
        for name in names.iter().filter(|name| name.starts_with(&prefix)) {
            prop_assert!(authority.level(Named::Key, name) >= below, "{} {}", prefix, name);
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in "(?s)[\\PC\n]{0,200}") {
        rules::parse(&text).ok();
    }

    #[test]
    fn no_text_of_its_own_letters_breaks_the_reader(
        parts in prop::collection::vec(prop::sample::select(vec![
            "key", "key_prefix", " ", "\"", "{", "}", "[", "]", "=", ":", ",", "policy", "\"a\"",
            "\"read\"", "\n", "#", "/*", "*/", "//", "\\", "${", "acl", "\\u00e4",
        ]), 0..60),
    ) {
        rules::parse(&parts.concat()).ok();
    }
}
