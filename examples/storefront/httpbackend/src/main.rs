//! The inner service: says who it is on port 8081.

use serve::http::{self, Answer};
use std::process::ExitCode;

fn main() -> ExitCode {
    let version = std::env::var("VERSION").unwrap_or_else(|_unset| "v1.0.0".into());
    let who = format!("this is httpbackendservice, version: {version}");
    serve::main("httpbackend", 8081, move |connection| {
        http::serve(connection, |request| match request.path.as_str() {
            "/" => Answer::ok(who.clone()),
            "/healthz" => Answer::ok("ok".into()),
            _ => Answer::not_found(),
        });
    })
}
