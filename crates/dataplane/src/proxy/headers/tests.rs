//! Tables for the heads that are passed on.

use super::*;

fn head(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

fn text(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}

fn from() -> Forwarded {
    Forwarded { client: "10.0.0.9".parse().unwrap(), port: "8080".parse().unwrap() }
}

#[test]
fn what_is_for_one_connection_does_not_reach_the_endpoint() {
    let mut headers = head(&[
        ("host", "a"),
        ("connection", "close, x-secret"),
        ("connection", "Host, content-length , keep-alive"),
        ("x-secret", "1"),
        ("keep-alive", "5"),
        ("te", "trailers"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("expect", "100-continue"),
        ("x-kept", "1"),
    ]);
    to_endpoint(&mut headers, &from(), false, false);
    assert_eq!(
        text(&headers),
        [
            "host: a",
            "x-forwarded-for: 10.0.0.9",
            "x-forwarded-port: 8080",
            "x-forwarded-proto: http",
            "x-kept: 1"
        ]
    );
}

#[test]
fn an_upgrade_and_what_others_forwarded_are_kept() {
    let mut headers = head(&[
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2, 3.3.3.3"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
    ]);
    assert!(wants_upgrade(&headers));
    to_endpoint(&mut headers, &from(), true, false);
    assert_eq!(
        text(&headers),
        [
            "connection: upgrade",
            "upgrade: websocket",
            "x-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https"
        ]
    );
}

#[test]
fn an_answer_loses_what_is_for_one_connection() {
    let mut headers = head(&[("connection", "close, x-a"), ("x-a", "1"), ("server", "s")]);
    to_client(&mut headers, false);
    assert_eq!(text(&headers), ["server: s"]);
    let mut headers = head(&[("connection", "upgrade"), ("upgrade", "echo"), ("server", "s")]);
    to_client(&mut headers, true);
    assert_eq!(text(&headers), ["connection: upgrade", "server: s", "upgrade: echo"]);
}

#[test]
fn targets_become_origin_form_or_are_refused() {
    for (method, target, version, hosts, want) in [
        ("GET", "/a?b", Version::HTTP_11, &["h"][..], Ok(("/a?b", "h"))),
        ("GET", "http://x:81/a?b", Version::HTTP_11, &["h"][..], Ok(("/a?b", "x:81"))),
        ("GET", "http://x", Version::HTTP_11, &["h"][..], Ok(("/", "x"))),
        ("GET", "http://x?q=1", Version::HTTP_11, &["h"][..], Ok(("/?q=1", "x"))),
        ("GET", "http://me@x/", Version::HTTP_11, &["h"][..], Err(Unfit::Target)),
        ("OPTIONS", "*", Version::HTTP_11, &["h"][..], Ok(("*", "h"))),
        ("GET", "x", Version::HTTP_11, &["h"][..], Err(Unfit::Target)),
        ("CONNECT", "x:80", Version::HTTP_11, &["h"][..], Err(Unfit::Connect)),
        ("GET", "/", Version::HTTP_11, &[][..], Err(Unfit::Host)),
        ("GET", "/", Version::HTTP_11, &["a", "b"][..], Err(Unfit::Host)),
        ("GET", "/", Version::HTTP_10, &["a", "b"][..], Err(Unfit::Host)),
        ("GET", "/", Version::HTTP_10, &[][..], Ok(("/", ""))),
    ] {
        let mut request = Request::builder().method(method).uri(target).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        let mut request = request.body(()).unwrap();
        let got = normalize(&mut request).map(|()| {
            let host = request.headers().get("host").map_or("", |h| h.to_str().unwrap());
            (request.uri().to_string(), host.to_owned())
        });
        let want = want.map(|(uri, host)| (uri.to_owned(), host.to_owned()));
        assert_eq!(got, want, "{method} {target}");
    }
}
