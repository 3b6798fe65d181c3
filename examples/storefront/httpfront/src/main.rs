//! The outer service: calls `http://httpbackend:8081/` by name and says what it was answered.
//!
//! `VERSION` is what it calls itself, `BACKEND` whom it calls (`httpbackend:8081`). For tries of
//! failures, `MODE=broken` exits at once and `MODE=sick` is never healthy.
//! `httpfront resolve NAME` prints the addresses that a name has where it runs.

mod backend;
mod dns;

use backend::Backend;
use serve::http::{self, Answer};
use std::process::ExitCode;

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_unset| default.into())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => {}
        [command, name] if command == "resolve" => return resolve(name),
        _ => {
            eprintln!("usage: httpfront [resolve NAME]");
            return ExitCode::from(2);
        }
    }
    let mode = setting("MODE", "");
    if mode == "broken" {
        eprintln!("httpfront: MODE=broken: this build cannot start");
        return ExitCode::FAILURE;
    }
    let who = format!("this is httpfrontservice, version: {}", setting("VERSION", "v1.0.0"));
    let backend = match Backend::new(&setting("BACKEND", "httpbackend:8081")) {
        Ok(backend) => backend,
        Err(why) => {
            eprintln!("httpfront: {why}");
            return ExitCode::from(2);
        }
    };
    serve::main("httpfront", 8080, move |connection| {
        http::serve(connection, |request| match request.path.as_str() {
            "/" => front(&who, &backend),
            "/healthz" if mode == "sick" => Answer { status: 503, body: "MODE=sick".into() },
            "/healthz" => Answer::ok("ok".into()),
            _ => Answer::not_found(),
        });
    })
}

fn front(who: &str, backend: &Backend) -> Answer {
    match backend.get() {
        Ok(answer) => Answer::ok(format!("{who}, calling backendservice ok, its resp: [{answer}]")),
        Err(why) => {
            eprintln!("calling backendservice: {why}");
            Answer { status: 502, body: format!("{who}, calling backendservice failed: {why}") }
        }
    }
}

fn resolve(name: &str) -> ExitCode {
    match dns::Resolver::from_system().addresses(name) {
        Ok(found) => {
            for address in found.addresses {
                println!("{address}");
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
