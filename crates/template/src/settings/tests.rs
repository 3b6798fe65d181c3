//! Configuration files of the original: what they set, and what is refused with its line.

use super::*;
use crate::error::Error;
use std::path::Path;

fn laid(text: &str) -> Settings {
    let mut settings = Settings::default();
    lay_file(&mut settings, Path::new("a.hcl"), text).unwrap();
    settings
}

const WHOLE: &str = r#"
consul {
  address = "10.0.0.1:8500"
  token   = "t"
  auth { enabled = true username = "u" password = "p" }
  retry { enabled = true attempts = 5 backoff = "100ms" max_backoff = "2s" }
  ssl { enabled = true verify = false ca_cert = "/ca.pem" server_name = "consul" }
}
max_stale = "10m"
log_level = "INFO"
pid_file = "/run/x.pid"
kill_signal = "SIGINT"
reload_signal = "SIGUSR1"
wait { min = "5s" max = "10s" }
deduplicate { enabled = true prefix = "x/" }
exec {
  command = ["/bin/app", "-x"]
  splay = "1s"
  env { custom = ["A=b=c"] }
  reload_signal = "SIGUSR2"
  kill_signal = "SIGQUIT"
  kill_timeout = "2s"
}
template {
  source = "in.ctmpl"
  destination = "/etc/out.conf"
  create_dest_dirs = false
  command = "service nginx reload"
  command_timeout = "60s"
  check = ["nginx", "-t"]
  error_on_missing_key = true
  perms = 0600
  backup = true
  left_delimiter = "<<"
  right_delimiter = ">>"
  wait { min = "2s" }
  user = 1000
}
template { contents = "x" destination = "b" wait { enabled = false } }
syslog { enabled = true }
"#;

#[test]
fn every_stanza_is_taken() {
    let s = laid(WHOLE);
    assert_eq!((s.consul.address.as_str(), s.consul.token.as_str()), ("10.0.0.1:8500", "t"));
    assert_eq!(s.consul.auth, "u:p");
    assert_eq!(s.consul.retry.attempts, Some(5));
    assert_eq!(s.consul.retry.backoff_max, Duration::from_secs(2));
    assert!(s.consul.tls.enabled && !s.consul.tls.verify);
    assert_eq!(s.consul.tls.server_name, "consul");
    assert_eq!(s.max_stale, Duration::from_secs(600));
    assert_eq!(s.wait, Some(Wait::parse("5s:10s").unwrap()));
    assert_eq!(s.kill_signals, [Signal::INT, Signal::TERM]);
    assert_eq!(s.reload_signals, [Signal::USR1]);
    assert!(s.deduplicate);
    assert_eq!(s.ignored, ["syslog"]);
    let exec = s.exec.unwrap();
    assert_eq!(exec.command, Command::Words(vec!["/bin/app".into(), "-x".into()]));
    assert_eq!(exec.env, [("A".to_owned(), "b=c".to_owned())]);
    assert_eq!((exec.kill_signal, exec.reload_signal), (Signal::QUIT, Some(Signal::USR2)));
    let [first, second] = s.templates.as_slice() else { panic!("{:?}", s.templates) };
    assert_eq!(first.command, Some(Command::Shell("service nginx reload".into())));
    assert_eq!(first.check, Some(Command::Words(vec!["nginx".into(), "-t".into()])));
    assert_eq!(first.perms, Some(0o600));
    assert_eq!(first.delimiters, Some(("<<".into(), ">>".into())));
    assert_eq!(first.wait, Some(Some(Wait::parse("2s:8s").unwrap())));
    assert_eq!(first.user.as_deref(), Some("1000"));
    assert!(!first.create_dest_dirs && first.backup && first.error_on_missing_key);
    assert_eq!(second.source, Source::Contents("x".into()));
    assert_eq!(second.wait, Some(None));
}

#[test]
fn json_sets_the_same() {
    let json = r#"{"consul": {"address": "a:1", "retry": {"attempts": 0}},
        "template": [{"source": "i", "destination": "o", "perms": "0640"}], "wait": "1s:2s"}"#;
    let s = laid(json);
    assert_eq!(s.consul.address, "a:1");
    assert_eq!(s.consul.retry.attempts, Some(0));
    assert_eq!(s.templates[0].perms, Some(0o640));
    assert_eq!(s.wait, Some(Wait::parse("1s:2s").unwrap()));
}

#[test]
fn a_later_file_lies_over_an_earlier_one() {
    let mut s = laid(
        "consul { address = \"a\" token = \"t\" }\ntemplate { source = \"1\" destination = \"1\" }",
    );
    lay_file(
        &mut s,
        Path::new("b"),
        "consul = \"b\"\ntemplate { source = \"2\" destination = \"2\" }",
    )
    .unwrap();
    assert_eq!((s.consul.address.as_str(), s.consul.token.as_str()), ("b", "t"));
    assert_eq!(s.templates.len(), 2);
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (text, line, part) in [
        ("\nfoo = 1", 2, "foo: is not known"),
        ("template {\n source = \"x\"\n}", 1, "no destination"),
        ("template {\n destination = \"x\"\n}", 1, "no source"),
        ("template {\n bar = 1\n}", 2, "bar: is not known in template"),
        ("wait = \"10s:5s\"", 1, "below the shortest"),
        ("consul {\n\n retry { attempts = \"x\" }\n}", 3, "whole number"),
        ("template { source = \"a\" destination = \"b\" perms = 999 }", 1, "no mode"),
        ("kill_signal = \"SIGFOO\"", 1, "no signal"),
        ("max_stale = 5", 1, "no duration"),
        ("exec {\n env { pristine = true } }", 2, "not carried out"),
    ] {
        let error = lay_file(&mut Settings::default(), Path::new("a"), text).unwrap_err();
        let Error::Config { line: at, what, .. } = &error else { panic!("{error}") };
        assert_eq!(*at, line, "{text:?}: {error}");
        assert!(what.contains(part), "{text:?}: {error}");
    }
}

#[test]
fn a_template_flag_is_in_out_and_command() {
    let t = Template::parse("/in:/out:echo a:b").unwrap();
    assert_eq!(t.command, Some(Command::Shell("echo a:b".into())));
    assert_eq!(Template::parse("/in:/out").unwrap().command, None);
    for wrong in ["", "in", "in:", ":out"] {
        Template::parse(wrong).unwrap_err();
    }
    assert_eq!(signal("SIGHUP"), Ok(Some(Signal::HUP)));
    assert_eq!(signal("usr1"), Ok(Some(Signal::USR1)));
    assert_eq!(signal("nil"), Ok(None));
}
