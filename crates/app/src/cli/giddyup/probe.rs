//! `giddyup probe`: is something there?

use super::source::{get, split};
use crate::exit::{ERROR, Failure, Outcome};
use crate::output;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use template::http::{Client, Target};
use template::settings::Tls;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Options of `giddyup probe`.
#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// tcp://host:port, http://host[:port]/path or https://host[:port]/path
    url: String,
    /// Longest wait for an answer
    #[arg(short, long, default_value = "5s", value_parser = super::super::duration)]
    timeout: Duration,
    /// Authorities that are trusted, PEM [default: those of this image]
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Any certificate is good
    #[arg(short = 'k', long)]
    insecure: bool,
    /// Again until it is there
    #[arg(long = "loop")]
    again: bool,
    /// First pause between two tries
    #[arg(long, default_value = "1s", value_parser = super::super::duration)]
    min: Duration,
    /// Longest pause
    #[arg(long, default_value = "120s", value_parser = super::super::duration)]
    max: Duration,
    /// Each pause is so many times the one before
    #[arg(long, default_value_t = 1.0)]
    backoff: f64,
    /// Tries; 0 is without end
    #[arg(long, default_value_t = 0)]
    num: u32,
}

/// The pause before a try, counted from 0: `min · backoff^n`, at most `max`.
fn pause(args: &ProbeArgs, nth: u32) -> Duration {
    let factor = args.backoff.max(0.0).powf(f64::from(nth));
    let seconds = (args.min.as_secs_f64() * factor).min(args.max.as_secs_f64());
    Duration::try_from_secs_f64(seconds).unwrap_or(args.max)
}

pub(super) async fn run(args: ProbeArgs) -> Outcome {
    let mut nth = 0;
    loop {
        match probe(&args).await? {
            Ok(()) => {
                output::line("OK");
                return Ok(());
            }
            Err(why) => output::line(&why),
        }
        nth += 1;
        if !args.again || nth == args.num {
            return Err(Failure::Code(ERROR));
        }
        sleep(pause(&args, nth - 1)).await;
    }
}

/// Once; the inner error is a no.
async fn probe(args: &ProbeArgs) -> Outcome<Result<(), String>> {
    if let Some(authority) = args.url.strip_prefix("tcp://") {
        return Ok(match timeout(args.timeout, TcpStream::connect(authority)).await {
            Ok(Ok(_connected)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err(format!("no connection within {:?}", args.timeout)),
        });
    }
    if args.url.starts_with("https://") {
        return probe_tls(args).await;
    }
    let (authority, path) = split(&args.url)?;
    Ok(match get(&authority, &path, args.timeout).await {
        Ok((status, _)) if status.is_success() => Ok(()),
        Ok((status, _)) => Err(format!("it answers {status}")),
        Err(why) => Err(why),
    })
}

/// Once, over TLS.
async fn probe_tls(args: &ProbeArgs) -> Outcome<Result<(), String>> {
    let no = |why: &str| Failure::usage(format!("{:?} is no URL: {why}", args.url));
    let uri: http::Uri = args.url.parse().map_err(|_not_a_url| no("https://host[:port]/path"))?;
    let host = uri.host().ok_or_else(|| no("it names no host"))?;
    let address = format!("https://{host}:{}", uri.port_u16().unwrap_or(443));
    let tls = Tls { ca_cert: args.ca_cert.clone(), verify: !args.insecure, ..Tls::default() };
    let wrong = |error: template::Error| Failure::usage(template::error::chain(&error));
    let target = Target::new(&address, 443, Some(&tls)).map_err(wrong)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let reply = Client::new(Arc::new(target)).get(path, "*/*", args.timeout).await;
    Ok(match reply {
        Ok(reply) if reply.status.is_success() => Ok(()),
        Ok(reply) => Err(format!("it answers {}", reply.status)),
        Err(error) => Err(template::error::chain(&error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_url_of_tls_is_asked_and_says_why_not() {
        let args = |url: &str| ProbeArgs {
            url: url.into(),
            timeout: Duration::from_secs(30),
            ca_cert: None,
            insecure: true,
            again: false,
            min: Duration::ZERO,
            max: Duration::ZERO,
            backoff: 1.0,
            num: 1,
        };
        // Somebody is there and speaks no TLS.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let plain = async {
            use tokio::io::AsyncWriteExt as _;
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        };
        let url = args(&format!("https://127.0.0.1:{port}/ping"));
        let (said, ()) = tokio::join!(probe(&url), plain);
        let why = said.unwrap().unwrap_err();
        assert!(why.contains("127.0.0.1") && why.contains("tls"), "{why}");
        for wrong in ["https://", "https:///x", "ftp://a/"] {
            assert!(probe(&args(wrong)).await.is_err(), "{wrong}");
        }
    }

    #[test]
    fn pauses_grow_to_their_longest() {
        let mut args = ProbeArgs {
            url: String::new(),
            timeout: Duration::ZERO,
            ca_cert: None,
            insecure: false,
            again: true,
            min: Duration::from_secs(1),
            max: Duration::from_secs(5),
            backoff: 2.0,
            num: 0,
        };
        let seconds = |args: &ProbeArgs| [0, 1, 2, 3, 4000].map(|nth| pause(args, nth).as_secs());
        assert_eq!(seconds(&args), [1, 2, 4, 5, 5]);
        args.backoff = 1.0;
        assert_eq!(seconds(&args), [1, 1, 1, 1, 1]);
        args.backoff = f64::NAN;
        assert!(pause(&args, 1) <= args.max);
    }
}
