//! Which server a command talks to: flags and environment first, then the context file.

use super::Global;
use crate::exit::{Failure, Outcome};
use crate::paths;
use api::client::Client;

/// The client for this command.
///
/// # Errors
/// When no server is known, or the context file cannot be read.
pub(super) fn client(global: &Global) -> Outcome<Client> {
    let file = paths::config_file();
    let contexts = paths::read_contexts(&file)?;
    let name = global.context.clone().unwrap_or_else(|| contexts.current.clone());
    let context = contexts.contexts.get(&name).cloned();
    if context.is_none() && global.context.is_some() {
        let known: Vec<&str> = contexts.contexts.keys().map(String::as_str).collect();
        return Err(Failure::usage(format!("there is no context {name}")).hint(format!(
            "{} has: {}",
            file.display(),
            known.join(", ")
        )));
    }
    let context = context.unwrap_or_default();
    let server = global.addr.clone().unwrap_or(context.server);
    if server.is_empty() {
        return Err(Failure::error("no server is known here")
            .hint("start one with `sudo remuda dev`, or set REMUDA_ADDR and REMUDA_TOKEN"));
    }
    let token = global.token.clone().unwrap_or(context.token);
    let ca = global.ca.clone().unwrap_or(context.ca);
    Ok(Client::new(&server, &token, &ca))
}
