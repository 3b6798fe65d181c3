//! confd's `conf.d` with the keys of Rancher's metadata and of Consul.

use crate::fake::Fake;
use crate::tool::{Place, Running, remuda, said};
use serde_json::json;

fn confdir(place: &Place, keys: &str, template: &str) -> String {
    place.file(
        "conf.d/a.toml",
        &format!(
            "[template]\nsrc = \"a.tmpl\"\ndest = \"{}\"\nkeys = [{keys}]\nmode = \"0640\"\ncheck_cmd = \"grep -q '^ok' {{{{.src}}}}\"\nreload_cmd = \"echo run >> {}\"\n",
            place.shown("out"),
            place.shown("log")
        ),
    );
    place.file("templates/a.tmpl", template);
    place.shown("")
}

#[test]
fn metadata_is_rendered_once_and_then_at_every_change() {
    let (fake, place) = (Fake::start(), Place::new());
    let tree = |ip: &str| {
        json!({"self": {"service": {"name": "web", "containers": [
            {"name": "web_1", "primary_ip": ip}, {"name": "web_2", "primary_ip": "10.42.0.2"}]}}})
    };
    fake.metadata(tree("10.42.0.1"));
    let template = "ok {{ getv \"/self/service/name\" }}{{ range ls \"/self/service/containers\" }} {{ . }}={{ getv (printf \"/self/service/containers/%s/primary_ip\" .) }}{{ end }}\n";
    let folder = confdir(&place, "\"/self/service\"", template);
    let node = fake.address();
    let words =
        ["confd", "-backend", "rancher", "-prefix", "/latest", "-node", &node, "-confdir", &folder];
    let ran = remuda(&[&words[..], &["-onetime"]].concat());
    assert_eq!(ran.status.code(), Some(0), "{}", said(&ran));
    assert_eq!(place.text("out"), "ok web web_1=10.42.0.1 web_2=10.42.0.2\n");
    assert_eq!(place.text("log"), "run\n");
    let mut running = Running::start(&[&words[..], &["-watch"]].concat());
    fake.metadata(tree("10.42.0.9"));
    place.wait_text("out", "ok web web_1=10.42.0.9 web_2=10.42.0.2\n");
    place.wait_text("log", "run\nrun\n");
    fake.fail(true);
    running.wait_told("500");
    fake.fail(false);
    fake.metadata(tree("10.42.0.8"));
    place.wait_text("out", "ok web web_1=10.42.0.8 web_2=10.42.0.2\n");
    running.signal("-TERM");
    assert_eq!(running.ended(), 0, "{}", running.told());
}

#[test]
fn keys_of_consul_are_rendered_and_what_fails_its_check_is_not_taken() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.put("app/host", "ok db");
    fake.put("app/list/1", "a");
    fake.put("app/list/2", "b");
    let template =
        "{{ getv \"/host\" }}{{ range gets \"/list/*\" }} {{ base .Key }}{{ .Value }}{{ end }}\n";
    let folder = confdir(&place, "\"/host\", \"/list\"", template);
    let node = fake.address();
    let words = [
        "confd", "-backend", "consul", "-prefix", "/app", "-node", &node, "-confdir", &folder,
        "-watch",
    ];
    let running = Running::start(&words);
    place.wait_text("out", "ok db 1a 2b\n");
    fake.put("app/host", "bad");
    running.wait_told("ended with code 1");
    assert_eq!(place.text("out"), "ok db 1a 2b\n");
    fake.put("app/host", "ok again");
    place.wait_text("out", "ok again 1a 2b\n");
    fake.delete("app/host");
    running.wait_told("key /host does not exist");
    assert_eq!(place.text("out"), "ok again 1a 2b\n");
    let ran = remuda(&[
        "confd", "-backend", "consul", "-prefix", "/app", "-node", &node, "-confdir", &folder,
        "-onetime",
    ]);
    assert_eq!(ran.status.code(), Some(1), "{}", said(&ran));
}
