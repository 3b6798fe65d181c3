//! The grammar by examples, what is refused with its line, and that no text makes it panic.

use super::*;
use proptest::prelude::*;

fn text(s: &str) -> Item {
    Item::Text(s.into())
}

fn keys(entries: &[Entry]) -> Vec<(&str, usize)> {
    entries.iter().map(|e| (e.key.as_str(), e.line)).collect()
}

#[test]
fn a_file_of_consul_template_is_read() {
    let entries = parse(
        "consul {\n  address = \"127.0.0.1:8500\" # where\n  retry { attempts = 3 }\n}\n// old\n/* two\nlines */\nwait = \"5s:10s\"\ntemplate {\n contents = <<EOF\n{{ key \"a\" }}\n  b\nEOF\n perms = 0644\n command = [\"nginx\", \"-s\", \"reload\",]\n backup = true\n}\n",
    )
    .unwrap();
    assert_eq!(keys(&entries), [("consul", 1), ("wait", 8), ("template", 9)]);
    let Item::Object(template) = &entries[2].item else { panic!("{entries:?}") };
    assert_eq!(template[0].item, text("{{ key \"a\" }}\n  b\n"));
    assert_eq!(template[1].item, Item::Number("0644".into()));
    assert_eq!(template[2].item, Item::List(vec![text("nginx"), text("-s"), text("reload")]));
    assert_eq!(template[3].item, Item::Bool(true));
}

#[test]
fn json_is_read_by_the_same_grammar() {
    let json = "{\"template\": [{\"source\": \"a\\u00e9\\ud83d\\ude00\", \"n\": -1.5e3}, {}], \"x\": null}";
    let entries = parse(json).unwrap();
    let Item::List(list) = &entries[0].item else { panic!("{entries:?}") };
    let Item::Object(first) = &list[0] else { panic!("{list:?}") };
    assert_eq!(first[0].item, text("aé😀"));
    assert_eq!(first[1].item, Item::Number("-1.5e3".into()));
    assert_eq!(entries[1].item, Item::Null);
}

#[test]
fn heredocs_lose_the_indent_that_all_lines_have() {
    let entries = parse("a = <<-END\n    one\n      two\n\n    END\nb = 1").unwrap();
    assert_eq!(entries[0].item, text("one\n  two\n\n"));
    assert_eq!(entries[1].line, 6);
}

#[test]
fn labels_are_keys_inside() {
    let entries = parse("a \"b\" c { d = 1 }").unwrap();
    assert_eq!(keys(&entries), [("a", 1)]);
    let Item::Object(inner) = &entries[0].item else { panic!("{entries:?}") };
    assert_eq!(inner[0].key, "b");
}

#[test]
fn what_is_wrong_has_its_line() {
    for (file, line, part) in [
        ("a = \n\n}", 3, "where a value"),
        ("a = \"x\nb = 1", 1, "closing quote"),
        ("a {\n b = 1\n", 3, "before '}'"),
        ("a = [1 2]", 1, "in a list"),
        ("a = <<EOF\nx\n", 1, "without its EOF"),
        ("a = <<EOF\nx", 1, "without its EOF"),
        ("a = word", 1, "quote text"),
        ("a = \"\\q\"", 1, "no escape"),
        ("a = 1x2", 1, "no number"),
        ("= 1", 1, "where a key"),
        ("{\"a\": 1} b", 1, "after the end"),
        ("a", 1, "ends after"),
    ] {
        let wrong = parse(file).unwrap_err();
        assert_eq!(wrong.line, line, "{file:?}: {wrong:?}");
        assert!(wrong.what.contains(part), "{file:?}: {wrong:?}");
    }
    let deep = format!("a = {}{}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(parse(&deep).unwrap_err().what.contains("deeper"));
    assert!(parse(&"a ".repeat(5_000)).unwrap_err().what.contains("deeper"));
}

/// A value that may be written down.
fn items() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        ".{0,12}".prop_map(Item::Text),
        any::<i32>().prop_map(|n| Item::Number(n.to_string())),
        any::<bool>().prop_map(Item::Bool),
        Just(Item::Null),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let entry =
            ("[a-z_]{1,8}", inner.clone()).prop_map(|(key, item)| Entry { key, line: 1, item });
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Item::List),
            proptest::collection::vec(entry, 0..4).prop_map(Item::Object),
        ]
    })
}

fn written(item: &Item) -> String {
    match item {
        Item::Text(s) => serde_json::to_string(s).unwrap(),
        Item::Number(n) => n.clone(),
        Item::Bool(b) => b.to_string(),
        Item::Null => "null".into(),
        Item::List(list) => {
            format!("[{}]", list.iter().map(written).collect::<Vec<_>>().join(", "))
        }
        Item::Object(entries) => {
            let all: Vec<_> =
                entries.iter().map(|e| format!("{} = {}", e.key, written(&e.item))).collect();
            format!("{{ {} }}", all.join(", "))
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(file in "\\PC{0,200}") {
        let _read = parse(&file);
    }

    #[test]
    fn no_text_of_its_own_signs_makes_it_panic(file in "[a-c={}\\[\\]\"\\\\<E\n, #/*0-9.-]{0,80}") {
        let _read = parse(&file);
    }

    #[test]
    fn what_is_written_is_read_back(item in items()) {
        let entries = parse(&format!("a = {}", written(&item))).unwrap();
        prop_assert_eq!(&entries[0].item, &item);
    }
}
