//! What each function makes, by tables.

use super::*;
use crate::program::{Program, Reading};
use crate::query::Query;
use crate::scene::{Answers, View};
use proptest::prelude::*;
use serde_json::json;

pub(crate) fn view() -> View {
    let mut answers = Answers::new();
    let mut learn = |query: Query, body: serde_json::Value| {
        let answer = value::answer(&query, &body).unwrap();
        answers.insert(query, answer);
    };
    let pair = |key: &str, value: &str| {
        use base64::Engine as _;
        let value = base64::engine::general_purpose::STANDARD.encode(value);
        json!({"Key": key, "Value": value, "ModifyIndex": 7})
    };
    learn(Query::key("a/json").unwrap(), json!([pair("a/json", "{\"port\": 80, \"on\": true}")]));
    learn(Query::key("a/b").unwrap(), json!([pair("a/b", "one")]));
    learn(Query::key("empty").unwrap(), json!([pair("empty", "")]));
    learn(Query::key("none").unwrap(), json!([]));
    let all =
        json!([pair("app/x", "1"), pair("app/d/y", "2"), pair("app/d/z", "3"), pair("app/f/", "")]);
    learn(Query::keys("app").unwrap(), all);
    learn(Query::keys("nothing").unwrap(), json!([]));
    learn(Query::services("").unwrap(), json!({"web": ["http", "v1"], "db": [], "api": ["http"]}));
    let instance = |n: u16, tags: &[&str]| {
        json!({"Node": {"Node": format!("h{n}"), "Address": format!("10.0.0.{n}")},
               "Service": {"ID": format!("web:{n}"), "Service": "web", "Port": 8000 + n, "Tags": tags,
                           "Meta": {"zone": format!("z{n}"), "weight": "7"}}, "Checks": []})
    };
    let web = json!([instance(1, &["http", "v1"]), instance(2, &["v2"])]);
    learn(Query::service(&["web".into()]).unwrap(), web);
    learn(Query::service(&["db".into()]).unwrap(), json!([]));
    learn(Query::service(&["api".into()]).unwrap(), json!([instance(3, &["http"])]));
    learn(
        Query::nodes("").unwrap(),
        json!([{"Node": "h2", "Address": "10.0.0.2"}, {"Node": "h1"}]),
    );
    learn(Query::node("").unwrap(), json!({"Config": {"NodeName": "h1"}}));
    learn(Query::node("h1").unwrap(), json!({"Node": {"Node": "h1"}, "Services": {}}));
    learn(Query::Datacenters, json!(["dc1", "dc2"]));
    answers.insert(Query::File("/etc/motd".into()), Some(value::text("hello\n")));
    let env = [("HOME".to_owned(), "/root".to_owned())].into();
    let keys =
        [("/a/x", "1"), ("/a/y", "22"), ("/a/d/z", "3"), ("/j", "{\"k\": [1, 2]}"), ("/e", "")];
    View {
        answers: Arc::new(answers),
        keys: Arc::new(keys.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
        env: Arc::new(env),
        now: chrono::DateTime::from_timestamp(1_600_000_005, 0).unwrap(),
        sandbox: None,
    }
}

pub(crate) fn reading(dialect: Dialect) -> Reading {
    Reading {
        dialect,
        delimiters: ("{{".into(), "}}".into()),
        error_on_missing_key: false,
        denied: vec![],
    }
}

fn rendered(dialect: Dialect, text: &str) -> Result<String, String> {
    let program = Program::parse("t", text, &reading(dialect)).map_err(|e| e.to_string())?;
    let rendered = program.render(view());
    assert!(
        rendered.missing.is_empty() || rendered.text.is_err(),
        "{text}: {:?}",
        rendered.missing
    );
    rendered.text.map_err(|e| e.to_string())
}

fn check(dialect: Dialect, table: &[(&str, &str)]) {
    for (expression, expect) in table {
        let text = if expression.contains("{{") {
            (*expression).to_owned()
        } else {
            format!("{{{{ {expression} }}}}")
        };
        assert_eq!(rendered(dialect, &text).as_deref(), Ok(*expect), "{text}");
    }
}

#[test]
fn what_is_asked() {
    check(
        Dialect::Consul,
        &[
            ("key \"a/b\"", "one"),
            ("key \"/a/b\"", "one"),
            (
                "{{ with $d := key \"a/json\" | parseJSON }}{{ $d.port }} {{ $d.on }}{{ end }}",
                "80 true",
            ),
            ("keyOrDefault \"none\" \"x\"", "x"),
            ("key_or_default \"none\" \"x\"", "x"),
            ("keyOrDefault \"empty\" \"x\"", "x"),
            ("keyOrDefault \"a/b\" \"x\"", "one"),
            ("keyExists \"a/b\"", "true"),
            ("key_exists \"none\"", "false"),
            ("{{ with keyExistsGet \"none\" }}{{ .Key }} {{ .Exists }}{{ end }}", "none false"),
            ("{{ range ls \"app\" }}{{ .Key }}={{ .Value }};{{ end }}", "x=1;"),
            ("{{ range tree \"app\" }}{{ .Key }}={{ .Value }};{{ end }}", "x=1;d/y=2;d/z=3;"),
            ("{{ range safeTree \"app\" }}{{ .Key }};{{ end }}", "x;d/y;d/z;"),
            ("{{ range ls \"nothing\" }}{{ . }}{{ else }}no{{ end }}", "no"),
            ("{{ with tree \"app\" | explode }}{{ .x }}{{ .d.y }}{{ .d.z }}{{ end }}", "123"),
            (
                "{{ range $k, $v := tree \"app\" | byKey }}{{ $k }}:{{ range $v }}{{ .Key }}{{ end }}{{ end }}",
                "d:yz",
            ),
            ("{{ range services }}{{ .Name }}{{ .Tags }}{{ end }}", "api[http]db[]web[http v1]"),
            (
                "{{ range service \"web\" }}{{ .Address }}:{{ .Port }} {{ end }}",
                "10.0.0.1:8001 10.0.0.2:8002 ",
            ),
            (
                "{{ range service \"web\" }}{{ if .Tags.Contains \"v2\" }}{{ .ID }}{{ end }}{{ end }}",
                "web:2",
            ),
            (
                "{{ range service \"web\" }}{{ if .Tags | contains \"v2\" }}{{ .ID }}{{ end }}{{ end }}",
                "web:2",
            ),
            (
                "{{ range $i := service \"web\" }}{{ if $i.Tags.Contains \"v1\" }}{{ $i.Node }}{{ end }}{{ end }}",
                "h1",
            ),
            (
                "{{ with index (service \"web\") 0 }}{{ .Name }} {{ .Status }} {{ .ServiceMeta.zone }}{{ end }}",
                "web passing z1",
            ),
            (
                "{{ range $tag, $all := service \"web\" | byTag }}{{ $tag }}={{ len $all }} {{ end }}",
                "http=1 v1=1 v2=1 ",
            ),
            ("{{ range $p, $all := service \"web\" | byPort }}{{ $p }} {{ end }}", "8001 8002 "),
            (
                "{{ range $m, $all := service \"web\" | byMeta \"zone,weight|int\" }}{{ $m }} {{ end }}",
                "z1_00007 z2_00007 ",
            ),
            (
                "{{ range services }}{{ if in .Tags \"http\" }}{{ range service .Name }}{{ .Port }} {{ end }}{{ end }}{{ end }}",
                "8003 8001 8002 ",
            ),
            ("{{ range nodes }}{{ .Node }} {{ end }}", "h1 h2 "),
            ("{{ with node }}{{ .Node.Node }}{{ end }}", "h1"),
            ("{{ range datacenters }}{{ . }} {{ end }}", "dc1 dc2 "),
            ("file \"/etc/motd\"", "hello\n"),
            ("env \"HOME\"", "/root"),
            ("envOrDefault \"NO\" \"x\"", "x"),
            ("{{ define \"a\" }}<{{ . }}>{{ end }}{{ executeTemplate \"a\" 5 | toUpper }}", "<5>"),
        ],
    );
}

#[test]
fn text_numbers_lists_and_formats() {
    check(
        Dialect::Consul,
        &[
            ("\"a,b,,c\" | split \",\" | join \"-\"", "a-b--c"),
            ("len (split \",\" \"\")", "0"),
            ("\"a:1,b:2\" | splitToMap \",\" \":\"", "map[a:1 b:2]"),
            ("\"xxhixx\" | trim \"x\"", "hi"),
            ("\"xxhi\" | trimPrefix \"x\"", "xhi"),
            ("\"hixx\" | trimSuffix \"x\"", "hix"),
            ("\" a \" | trimSpace", "a"),
            ("\"aB c\" | toUpper", "AB C"),
            ("\"ab cd\" | toTitle", "Ab Cd"),
            ("\"a.b.c\" | replaceAll \".\" \"_\"", "a_b_c"),
            ("\"foo1\" | regexReplaceAll \"o+([0-9])\" \"<$1>\"", "f<1>"),
            ("\"foo1\" | regexMatch \"^f.*[0-9]$\"", "true"),
            ("\"a\\nb\" | indent 2", "  a\n  b"),
            ("timestamp", "2020-09-13T12:26:45Z"),
            ("timestamp \"2006-01-02\"", "2020-09-13"),
            ("timestamp \"unix\"", "1600000005"),
            ("2 | add 3", "5"),
            ("10 | subtract 3", "7"),
            ("4 | multiply 2.5", "10"),
            ("10 | divide 4", "2"),
            ("10 | modulo 4", "2"),
            ("3 | minimum 5", "3"),
            ("3 | maximum 5", "5"),
            ("\"7\" | parseInt | add 1", "8"),
            ("\"\" | parseInt", "0"),
            ("\"1.5\" | parseFloat", "1.5"),
            ("{{ if \"true\" | parseBool }}y{{ end }}", "y"),
            ("{{ range loop 3 }}{{ . }}{{ end }}{{ range loop 5 7 }}{{ . }}{{ end }}", "01256"),
            (
                "{{ $l := split \",\" \"a,b\" }}{{ containsAll (sprig_list \"a\" \"b\") $l }}{{ containsAny (sprig_list \"z\") $l }}{{ containsNone (sprig_list \"z\") $l }}{{ containsNotAll (sprig_list \"a\" \"z\") $l }}",
                "truefalsetruetrue",
            ),
            ("\"aGk=\" | base64Decode", "hi"),
            ("\"hi\" | base64Encode", "aGk="),
            ("\"a?~\" | base64URLEncode", "YT9-"),
            ("\"a: [1, x]\" | parseYAML | toJSON", "{\"a\":[1,\"x\"]}"),
            ("\"{\\\"a\\\": \\\"<\\\"}\" | parseJSON | toJSON", "{\"a\":\"\\u003c\"}"),
            ("\"{\\\"a\\\": \\\"<\\\"}\" | parseJSON | toUnescapedJSON", "{\"a\":\"<\"}"),
            ("\"{\\\"a\\\": 1}\" | parseJSON | toJSONPretty", "{\n  \"a\": 1\n}"),
            ("\"{\\\"a\\\": {\\\"b\\\": [1]}}\" | parseJSON | toYAML", "a:\n  b:\n    - 1\n"),
            ("\"{\\\"a\\\": 1, \\\"b\\\": null}\" | parseJSON | toTOML", "a = 1\n"),
            ("len (parseJSON \"\")", "0"),
            ("\"x\" | md5sum", "9dd4e461268c8034f5c8564e155c67a6"),
            (
                "\"x\" | sha256Hex",
                "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
            ),
            ("len (hmacSHA256Hex \"x\" \"k\")", "64"),
            (
                "{{ scratch.Set \"a\" 1 }}{{ scratch.SetX \"a\" 2 }}{{ scratch.Get \"a\" }}{{ scratch.Key \"b\" }}",
                "1false",
            ),
            (
                "{{ scratch.MapSet \"m\" \"x\" 1 }}{{ scratch.MapSetX \"m\" \"x\" 2 }}{{ scratch.MapSet \"m\" \"y\" 3 }}{{ range scratch.MapValues \"m\" }}{{ . }}{{ end }}",
                "13",
            ),
            (
                "{{ mergeMap (\"{\\\"a\\\": 1}\" | parseJSON) (\"{\\\"a\\\": 2, \\\"b\\\": 3}\" | parseJSON) }}",
                "map[a:1 b:3]",
            ),
            (
                "{{ mergeMapWithOverride (\"{\\\"a\\\": 1}\" | parseJSON) (\"{\\\"a\\\": 2}\" | parseJSON) }}",
                "map[a:2]",
            ),
        ],
    );
}

#[test]
fn sprig() {
    check(
        Dialect::Consul,
        &[
            ("\"\" | sprig_default \"x\"", "x"),
            ("sprig_coalesce \"\" 0 \"y\"", "y"),
            ("sprig_ternary \"a\" \"b\" true", "a"),
            ("sprig_list 1 2 2 | sprig_uniq | sprig_join \"-\"", "1-2"),
            ("sprig_dict \"a\" 1 \"b\" 2 | sprig_keys | sprig_join \",\"", "a,b"),
            ("sprig_dig \"a\" \"b\" \"none\" (sprig_dict \"a\" (sprig_dict \"b\" 3))", "3"),
            ("sprig_dig \"a\" \"z\" \"none\" (sprig_dict \"a\" (sprig_dict \"b\" 3))", "none"),
            ("sprig_trunc 3 \"abcdef\"", "abc"),
            ("sprig_trunc -2 \"abcdef\"", "ef"),
            ("sprig_abbrev 5 \"hello world\"", "he..."),
            ("sprig_substr 1 3 \"abcdef\"", "bc"),
            ("sprig_repeat 3 \"ab\"", "ababab"),
            ("sprig_quote \"a\" 1", "\"a\" \"1\""),
            ("sprig_nindent 2 \"a\\nb\"", "\n  a\n  b"),
            ("sprig_snakecase \"FirstName x\"", "first_name_x"),
            ("sprig_camelcase \"http_server\"", "HttpServer"),
            ("sprig_kebabcase \"FirstName\"", "first-name"),
            ("sprig_splitList \",\" \"a,b\" | sprig_last", "b"),
            ("(sprig_split \"$\" \"a$b\")._1", "b"),
            ("sprig_until 3 | sprig_reverse", "[2 1 0]"),
            ("sprig_untilStep 0 6 2", "[0 2 4]"),
            ("sprig_add 1 2 3", "6"),
            ("sprig_sub 7 2", "5"),
            ("sprig_max 1 5 3", "5"),
            ("sprig_atoi \"5\" | sprig_add1", "6"),
            ("sprig_sha1sum \"x\"", "11f6ad8ec52a2984abaafd7c3b516503785c2072"),
            ("sprig_b64enc \"hi\" | sprig_b64dec", "hi"),
            ("sprig_base \"/a/b.c\"", "b.c"),
            ("sprig_dir \"/a/b.c\"", "/a"),
            ("sprig_ext \"/a/b.c\"", ".c"),
            ("sprig_regexFindAll \"[a-z]\" \"a1b2\" -1", "[a b]"),
            ("sprig_regexReplaceAll \"a(x*)b\" \"axxb\" \"<$1>\"", "<xx>"),
            ("sprig_has 2 (sprig_list 1 2)", "true"),
            ("sprig_without (sprig_list 1 2 3) 2", "[1 3]"),
            ("sprig_pick (sprig_dict \"a\" 1 \"b\" 2) \"a\"", "map[a:1]"),
            ("sprig_merge (sprig_dict \"a\" 1) (sprig_dict \"a\" 2 \"b\" 3)", "map[a:1 b:3]"),
            ("sprig_now | sprig_date \"2006\"", "2020"),
            ("sprig_now.Format \"15:04\"", "12:26"),
            ("sprig_kindOf (sprig_list)", "slice"),
            ("\"ab\" | sprig_contains \"b\"", "true"),
        ],
    );
}

#[test]
fn confd() {
    check(
        Dialect::Confd,
        &[
            ("getv \"/a/x\"", "1"),
            ("getv \"/none\" \"d\"", "d"),
            ("exists \"/a/x\"", "true"),
            ("exists \"/a\"", "false"),
            ("{{ with get \"/a/x\" }}{{ .Key }}={{ .Value }}{{ end }}", "/a/x=1"),
            ("{{ range gets \"/a/*\" }}{{ .Key }}={{ .Value }};{{ end }}", "/a/x=1;/a/y=22;"),
            ("{{ range getvs \"/a/*\" }}{{ . }};{{ end }}", "1;22;"),
            ("ls \"/a\"", "[d x y]"),
            ("lsdir \"/a\"", "[d]"),
            ("ls \"/\"", "[a e j]"),
            ("getenv \"HOME\"", "/root"),
            ("getenv \"NO\" \"d\"", "d"),
            ("join (split \"a,b\" \",\") \"-\"", "a-b"),
            ("replace \"aaa\" \"a\" \"b\" 2", "bba"),
            ("replace \"aaa\" \"a\" \"b\" -1", "bbb"),
            ("base \"/a/b\"", "b"),
            ("dir \"/a/b\"", "/a"),
            ("toUpper \"a\"", "A"),
            ("contains \"abc\" \"b\"", "true"),
            ("{{ with json (getv \"/j\") }}{{ index .k 1 }}{{ end }}", "2"),
            ("{{ range jsonArray \"[1,2]\" }}{{ . }}{{ end }}", "12"),
            ("(map \"a\" 1 \"b\" 2).b", "2"),
            ("seq 1 3", "[1 2 3]"),
            ("add 1 2", "3"),
            ("sub 3 1", "2"),
            ("mul 3 2", "6"),
            ("div 7 2", "3"),
            ("mod 7 2", "1"),
            ("atoi \"12\"", "12"),
            ("datetime.Format \"2006\"", "2020"),
            ("sortByLength (split \"ccc,a,bb\" \",\")", "[a bb ccc]"),
            ("reverse (seq 1 3)", "[3 2 1]"),
            ("index (lookupIP \"127.0.0.1\") 0", "127.0.0.1"),
            ("base64Decode (base64Encode \"hi\")", "hi"),
            ("fileExists \"/no/such\"", "false"),
        ],
    );
}

#[test]
fn what_cannot_be_made_is_told() {
    for (text, part) in [
        ("{{ nosuch }}", "\"nosuch\" is not defined"),
        (
            "\n{{ keyOrDefaul \"a\" \"b\" }}",
            "line 2: function \"keyOrDefaul\" is not defined, did you mean keyOrDefault?",
        ),
        ("{{ secret \"x\" }}", "Vault is not asked"),
        ("{{ mustEnv \"NO\" }}", "NO is not set"),
        ("{{ 1 | divide 0 }}", "no result"),
        ("{{ \"x\" | parseInt }}", "no whole number"),
        ("{{ add \"1\" 2 }}", "use parseInt"),
        ("{{ service \"a|b\" }}", "no status"),
        ("{{ \"(\" | regexMatch \"(\" }}", "pattern"),
        ("{{ loop 100000000 }}", "too many"),
        ("{{ sprig_repeat 10000000 \"xxxxxxxx\" }}", "too much text"),
        ("{{ indent -1 \"a\" }}", "below 0"),
        ("{{ sprig_until 9000000000 }}", "too many"),
        (
            "{{ define \"a\" }}{{ executeTemplate \"a\" }}{{ end }}{{ executeTemplate \"a\" }}",
            "nested deeper",
        ),
        ("{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}", "recursion"),
        ("{{ range loop 1000000 }}{{ range loop 10 }}{{ end }}{{ end }}", "budget"),
        ("{{ \"x\" }", "t: "),
        ("{{ scratch.Sett \"a\" 1 }}", "takes 0 arguments"),
        ("{{ \"gggg\" | base64Decode | parseJSON }}", ""),
    ] {
        let error = rendered(Dialect::Consul, text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    let denied = Reading { denied: vec!["env".into()], ..reading(Dialect::Consul) };
    let Err(error) = Program::parse("t", "{{ env \"A\" }}", &denied) else { panic!("taken") };
    assert!(error.to_string().contains("is denied"), "{error}");
    let error = rendered(Dialect::Confd, "{{ getv \"/none\" }}").unwrap_err();
    assert!(error.contains("key /none does not exist"), "{error}");
}

/// Calls of real functions with arguments of all kinds.
fn calls() -> impl Strategy<Value = String> {
    let all: Vec<&'static str> = names(Dialect::Consul)
        .into_iter()
        .chain(names(Dialect::Confd))
        .filter(|name| !name.starts_with("lookup"))
        .collect();
    let argument = prop_oneof![
        Just("\"a,b\"".to_owned()),
        Just("\"\"".to_owned()),
        Just("nil".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        Just("-3".to_owned()),
        Just("1.5".to_owned()),
        Just("(sprig_list 1 \"x\")".to_owned()),
        Just("(sprig_dict \"a\" 1)".to_owned()),
        Just("(service \"web\")".to_owned()),
        Just("(tree \"app\")".to_owned()),
        Just("true".to_owned()),
    ];
    (proptest::sample::select(all), proptest::collection::vec(argument, 0..4))
        .prop_map(|(name, arguments)| format!("{{{{ {name} {} }}}}", arguments.join(" ")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_call_panics_and_each_gives_the_same_twice(call in calls()) {
        for dialect in [Dialect::Consul, Dialect::Confd] {
            let Ok(program) = Program::parse("t", &call, &reading(dialect)) else { continue };
            let (first, second) = (program.render(view()), program.render(view()));
            let text = |r: crate::program::Rendered| r.text.map_err(|e| e.to_string());
            let (first, second) = (text(first), text(second));
            if let Err(error) = &first {
                prop_assert!(!error.contains("panicked") && !error.contains("broke off"), "{}: {}", call, error);
            }
            prop_assert_eq!(first, second);
        }
    }
}
