//! The filter language: what it reads, what it refuses and in which words, what is true of an object.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn object() -> Value {
    json!({
        "Node": {"ID": "u", "Node": "h1", "Address": "10.0.0.7", "Datacenter": "dc1",
                 "TaggedAddresses": {"lan": "10.0.0.7"}, "Meta": {"zone": "a", "a b": "x"}},
        "Service": {"ID": "h1:web:80", "Service": "web", "Tags": ["v1", "http"],
                    "Meta": {"env": "prod"}, "Port": 8080, "Address": "10.42.0.9",
                    "TaggedAddresses": {"lan_ipv4": {"Address": "10.42.0.9", "Port": 8080}},
                    "Weights": {"Passing": 3, "Warning": 1}, "EnableTagOverride": false,
                    "Proxy": {}, "Connect": {}},
        "Checks": [{"CheckID": "serfHealth", "Status": "passing", "ServiceTags": []},
                   {"CheckID": "service:web", "Status": "warning", "ServiceTags": ["v1"]}],
    })
}

#[test]
fn what_is_true_of_an_object() {
    let object = object();
    for (text, wanted) in [
        ("Service.Service == web", true),
        ("Service.Service == \"web\"", true),
        ("(Service.Service == `web`)", true),
        ("Service.Service != web", false),
        ("Service.Port == 8080", true),
        ("Service.Port != 8081", true),
        ("Service.Weights.Passing == 3", true),
        ("Service.EnableTagOverride == false", true),
        ("Service.EnableTagOverride == F", true),
        ("v1 in Service.Tags", true),
        ("\"v2\" in Service.Tags", false),
        ("v2 not in Service.Tags", true),
        ("Service.Tags contains http", true),
        ("Service.Tags not contains http", false),
        ("Service.Tags is empty", false),
        ("Service.Tags is not empty", true),
        ("Service.Meta.env == prod", true),
        ("Service.Meta[\"env\"] == prod", true),
        ("Node.Meta[\"a b\"] == x", true),
        ("Service.Meta.none == prod", false),
        ("Service.Meta.none != prod", true),
        ("Service.Meta.none is empty", true),
        ("Service.Meta.none not matches x", true),
        ("env in Service.Meta", true),
        ("\"none\" in Service.Meta", false),
        ("Service.ID matches `^h[0-9]+:`", true),
        ("Service.ID not matches `^w`", true),
        ("8 in Service.Address", false),
        ("\"42\" in Service.Address", true),
        ("Service.TaggedAddresses.lan_ipv4.Port == 8080", true),
        ("Service.TaggedAddresses[\"wan\"].Address == \"10.42.0.9\"", false),
        ("Service.Proxy.Mode == x", false),
        ("Service.Connect.Native == true", false),
        ("Checks.Status == warning", true),
        ("Checks.Status == critical", false),
        ("Checks.Status != passing", true),
        ("v1 in Checks.ServiceTags", true),
        ("Checks is not empty", true),
        ("not Service.Service == web", false),
        ("not not Service.Service == web", true),
        ("not (Service.Service == web and Node.Node == h2)", true),
        ("Service.Service == x or Service.Port == 8080 and Node.Node == h1", true),
        ("Service.Service == x and Node.Node == h1 or Node.Node == h1", true),
        ("(Service.Service == x or Node.Node == h1) and Service.Service == x", false),
        ("  Node.Node==h1\n and\t(Node.Address==\"10.0.0.7\")", true),
        ("Node.Node == \"h\\u0031\"", true),
        ("not(Node.Node == h2)", true),
    ] {
        let filter = Filter::parse(text, &HEALTH_SERVICE).expect(text);
        assert_eq!(filter.matches(&object), wanted, "{text}");
    }
}

#[test]
fn what_is_refused_says_why() {
    for (text, why) in [
        ("", "the expression ends where a name"),
        ("Service.Service", "ends where an operator"),
        ("Service.Service ==", "ends where a name"),
        ("Service.Service = web", "at letter 17, near \"= web\""),
        (
            "Service.Nope == web",
            "Selector \"Service.Nope\" is not valid; there are: Node, Service, Checks",
        ),
        ("Meta.x == web", "Selector \"Meta.x\" is not valid"),
        ("Service == web", "Invalid match operator \"==\" for selector \"Service\""),
        ("Service.Tags == web", "Invalid match operator \"==\" for selector \"Service.Tags\""),
        ("Service.Port matches 8", "Invalid match operator \"matches\""),
        ("Checks contains x", "Invalid match operator \"in\" for selector \"Checks\""),
        ("Service.Port == web", "Failed to convert \"web\""),
        ("Service.EnableTagOverride == yes", "to true or false"),
        ("Service.ID matches `(`", "Failed to compile regular expression"),
        ("Service.ID matches `(a{1000}){1000}`", "Failed to compile regular expression"),
        ("(Service.Service == web", "ends where \")\""),
        ("Service.Service == web)", "the end, \"and\" or \"or\""),
        ("Service.Service == web Node.Node == x", "the end, \"and\" or \"or\""),
        ("Service.Service == \"web", "a closing quote"),
        ("Service.Meta[\"env\" == x", "\"]\" should be there"),
        ("\"web\" == Service.Service", "\"in\" or \"not in\" behind a value"),
        ("Service.Port == 1.2.3", "a number"),
        ("Service.Port == 12x", "a number"),
    ] {
        let error = Filter::parse(text, &HEALTH_SERVICE).expect_err(text);
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn depth_and_length_have_limits() {
    let deep = |n: usize| format!("{}Node.Node == x{}", "(".repeat(n), ")".repeat(n));
    assert!(Filter::parse(&deep(20), &HEALTH_SERVICE).is_ok());
    assert!(Filter::parse(&deep(3000), &HEALTH_SERVICE).unwrap_err().contains("deeper"));
    assert!(Filter::parse(&"not ".repeat(1500), &HEALTH_SERVICE).unwrap_err().contains("deeper"));
    let long = ["Node.Node == x"; 2000].join(" or ");
    assert!(Filter::parse(&long, &HEALTH_SERVICE).unwrap_err().contains("bytes"));
    let wide = ["Node.Node == x"; 200].join(" or ");
    assert!(Filter::parse(&wide, &HEALTH_SERVICE).is_ok(), "width is no depth");
}

fn expressions() -> impl Strategy<Value = Expression> {
    let operators = prop_oneof![
        Just(Operator::Equal),
        Just(Operator::NotEqual),
        Just(Operator::In),
        Just(Operator::NotIn),
        Just(Operator::Matches),
        Just(Operator::NotMatches),
        Just(Operator::IsEmpty),
        Just(Operator::IsNotEmpty),
    ];
    let part = prop_oneof!["[A-Za-z][A-Za-z0-9_/]{0,6}", any::<String>()];
    let test =
        ("[A-Za-z][a-z]{0,6}x", prop::collection::vec(part, 0..3), operators, any::<String>());
    let test = test.prop_map(|(first, rest, operator, value)| {
        let alone = matches!(operator, Operator::IsEmpty | Operator::IsNotEmpty);
        let selector = std::iter::once(first).chain(rest).collect();
        Expression::Test(Test { selector, operator, value: (!alone).then_some(value) })
    });
    test.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::Or),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::And),
            inner.prop_map(|one| Expression::Not(Box::new(one))),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same(expression in expressions()) {
        let text = expression.to_string();
        prop_assert_eq!(text.parse::<Expression>(), Ok(expression), "{}", text);
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        drop(Filter::parse(&text, &HEALTH_SERVICE));
    }

    #[test]
    fn no_text_of_its_own_words_makes_it_panic(
        words in prop::collection::vec(prop_oneof![
            Just("Node.Node"), Just("Service.Tags"), Just("=="), Just("in"), Just("not"), Just("("),
            Just(")"), Just("is"), Just("empty"), Just("\"x\""), Just("`"), Just("\\"), Just("and"),
            Just("or"), Just("Service.Meta[\"k\"]"), Just("matches"), Just("-1"), Just("é"),
        ], 0..20),
    ) {
        if let Ok(filter) = Filter::parse(&words.join(" "), &HEALTH_SERVICE) {
            let found = [object(), Value::Null].map(|object| filter.matches(&object));
            prop_assert_eq!(found, [object(), Value::Null].map(|object| filter.matches(&object)));
        }
    }
}
