//! The checker against servers of this machine.

use super::*;
use model::registration::{CheckHeaders, CheckPlan, CheckProbe, CheckStatus, CheckTls};
use model::time::Timestamp;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

/// Long enough for the slowest machine; nothing waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(30);

/// A web server that answers each connection with the next of these.
fn server(answers: Vec<&'static str>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let mut asked = vec![];
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = vec![];
            let mut chunk = [0; 4096];
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                match stream.read(&mut chunk).unwrap() {
                    0 => break,
                    read => head.extend_from_slice(&chunk[..read]),
                }
            }
            asked.push(String::from_utf8_lossy(&head).to_lowercase());
            stream.write_all(answer.as_bytes()).unwrap();
        }
        asked
    });
    (address, thread)
}

fn http(url: &str, headers: &[(&str, &str)]) -> CheckProbe {
    let headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
    CheckProbe::Http {
        url: url.to_owned(),
        method: "GET".into(),
        headers: CheckHeaders(headers.collect()),
        body: String::new(),
        tls: CheckTls::default(),
        no_redirects: false,
    }
}

fn wish(probe: CheckProbe) -> Arc<CheckWish> {
    let plan = CheckPlan { interval_ms: 1, timeout_ms: 20_000, ..CheckPlan::of(probe) };
    Arc::new(CheckWish { plan, run: Timestamp(3), status: CheckStatus::Critical })
}

fn checker() -> (Checker, mpsc::Receiver<News>) {
    let (_, names) = watch::channel(Listening::new());
    Checker::start(Found::new(), names).unwrap()
}

async fn next(news: &mut mpsc::Receiver<News>) -> (CheckStatus, String) {
    let (_, seen) = tokio::time::timeout(DEADLINE, news.recv()).await.unwrap().unwrap();
    assert_eq!(seen.run, Timestamp(3));
    (seen.status, seen.output)
}

#[tokio::test]
async fn an_answer_decides_and_only_another_status_is_told() {
    let (address, thread) = server(vec![
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nill\r\n0\r\n\r\n",
    ]);
    let (checker, mut news) = checker();
    let url = format!("http://{address}/health");
    checker.set(&[("c".to_owned(), wish(http(&url, &[("X-Key", "s")])))].into());
    let (status, output) = next(&mut news).await;
    assert_eq!(status, CheckStatus::Passing);
    assert_eq!(output, format!("HTTP GET {url}: 200 OK Output: fine"));
    assert_eq!(next(&mut news).await.0, CheckStatus::Warning, "the second 2xx is no news");
    let (status, output) = next(&mut news).await;
    assert_eq!(status, CheckStatus::Critical);
    assert_eq!(
        output,
        format!("HTTP GET http://{address}/other: 503 Service Unavailable Output: ill")
    );
    let asked = thread.join().unwrap();
    assert!(asked[0].starts_with("get /health http/1.1") && asked[0].contains("x-key: s"));
    assert!(asked[0].contains(&format!("host: {address}")), "{}", asked[0]);
}

#[tokio::test]
async fn a_redirect_is_the_answer_where_none_is_followed() {
    let (address, thread) =
        server(vec!["HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"]);
    let (checker, mut news) = checker();
    let mut probe = http(&format!("http://{address}/health"), &[]);
    if let CheckProbe::Http { no_redirects, .. } = &mut probe {
        *no_redirects = true;
    }
    checker.set(&[("c".to_owned(), wish(probe))].into());
    let (status, output) = next(&mut news).await;
    assert_eq!(status, CheckStatus::Critical);
    assert_eq!(output, format!("HTTP GET http://{address}/health: 302 Found Output: "));
    assert_eq!(thread.join().unwrap().len(), 1);
}

#[tokio::test]
async fn a_port_that_listens_passes_and_one_that_does_not_is_critical() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (checker, mut news) = checker();
    checker.set(&[("c".to_owned(), wish(CheckProbe::Tcp { address: address.clone() }))].into());
    let expect = format!("TCP connect {address}: Success");
    assert_eq!(next(&mut news).await, (CheckStatus::Passing, expect));
    drop(listener);
    let (status, output) = next(&mut news).await;
    assert_eq!(status, CheckStatus::Critical);
    assert!(output.contains("connection refused"), "{output}");
}

#[tokio::test]
async fn what_cannot_be_asked_says_why() {
    for (probe, why) in [
        (http("ftp://127.0.0.1/", &[]), "neither http:// nor https://"),
        (http("http://nobody.invalid/", &[]), "does not listen"),
        (CheckProbe::Tcp { address: "127.0.0.1".into() }, "no port"),
        (CheckProbe::Tcp { address: "127.0.0.1:99999".into() }, "no port"),
    ] {
        let (checker, mut news) = checker();
        checker.set(&[("c".to_owned(), wish(probe))].into());
        let (status, output) = next(&mut news).await;
        assert_eq!(status, CheckStatus::Critical);
        assert!(output.contains(why), "{output}");
    }
}
