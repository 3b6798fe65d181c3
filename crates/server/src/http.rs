//! The HTTP API: a handler is extract, authorise, call, render. Routes are `api::routes`.

mod admin;
mod auth;
mod environment;
mod events;
mod extract;
mod hosts;
mod instances;
mod kv;
mod missing;
mod net_check;
mod openapi;
mod relay;
mod services;
mod stacks;
mod tokens;

pub(crate) use auth::allowed;
pub use openapi::document;
pub(crate) use services::refused as refusal;

use crate::state::Shared;
use api::routes;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, delete, get, post};
use model::limits::API_BODY_BYTES_MAX;
use store::Store;

/// All routes. Everything but `PING` needs a token.
pub(crate) fn router<S: Store>(shared: Shared<S>) -> Router {
    let guarded = Router::new()
        .route(routes::STATUS, get(admin::status::<S>))
        .route(routes::OPENAPI, get(openapi::get))
        .route(routes::BACKUP, get(admin::backup::<S>))
        .route(routes::STACKS, get(stacks::list::<S>))
        .route(
            routes::STACK,
            get(stacks::show::<S>).put(stacks::put::<S>).delete(stacks::remove::<S>),
        )
        .route(routes::STACK_PLAN, post(stacks::plan::<S>))
        .route(routes::SERVICE, get(services::show::<S>).delete(services::remove::<S>))
        .route(routes::SERVICE_SCALE, post(services::scale::<S>))
        .route(routes::SERVICE_RESTART, post(services::restart::<S>))
        .route(routes::SERVICE_STOP, post(services::stop::<S>))
        .route(routes::SERVICE_START, post(services::start::<S>))
        .route(routes::SERVICE_ACTION, post(services::action::<S>))
        .route(routes::SERVICE_HISTORY, get(services::history::<S>))
        .route(routes::SERVICE_DIFF, get(services::diff::<S>))
        .route(routes::SERVICE_RUNS, get(services::runs::<S>))
        .route(routes::INSTANCES, get(instances::list::<S>))
        .route(routes::EVENTS, get(events::list::<S>))
        .route(routes::ENVIRONMENT, get(environment::show::<S>).put(environment::put::<S>))
        .route(routes::POLICY_VERDICT, get(environment::verdict::<S>))
        .route(routes::EXPOSED, get(environment::exposed::<S>))
        .route(routes::HOSTS, get(hosts::list::<S>))
        .route(routes::HOST_TOKENS, post(tokens::create::<S>).get(tokens::list::<S>))
        .route(routes::HOST_TOKEN, delete(tokens::revoke::<S>))
        .route(routes::HOST, get(hosts::show::<S>).delete(hosts::remove::<S>))
        .route(routes::HOST_CORDON, post(hosts::cordon::<S>))
        .route(routes::HOST_UNCORDON, post(hosts::uncordon::<S>))
        .route(routes::HOST_DRAIN, post(hosts::drain::<S>))
        .route(routes::HOST_LABELS, post(hosts::label::<S>))
        .route(routes::NET_CHECK, post(net_check::check::<S>))
        .route(routes::KV_HISTORY, get(kv::history::<S>))
        .route(routes::LOGS, get(relay::logs::<S>))
        .route(routes::EXEC, get(relay::exec::<S>))
        .route(routes::STATS, get(relay::stats::<S>))
        .route(routes::PULL, post(relay::pull::<S>))
        .layer(DefaultBodyLimit::max(API_BODY_BYTES_MAX))
        .route(routes::CONSUL, any(crate::consul::api::<S>).layer(DefaultBodyLimit::disable()))
        .route(routes::BUILD, post(relay::build::<S>).layer(DefaultBodyLimit::disable()))
        .method_not_allowed_fallback(not_allowed)
        .layer(axum::middleware::from_fn_with_state(shared.clone(), auth::require::<S>));
    Router::new()
        .route(routes::PING, get(admin::ping::<S>))
        .method_not_allowed_fallback(not_allowed)
        .merge(guarded)
        .fallback(unknown)
        .with_state(shared)
}

async fn not_allowed(method: ::http::Method, uri: ::http::Uri) -> api::error::ErrorInfo {
    let routes = routes::OPENAPI;
    let message = format!("{} has no method {method}", uri.path());
    api::error::ErrorInfo::new(api::error::Kind::MethodNotAllowed, message)
        .hint(format!("all routes and methods are listed in {routes}"))
}

async fn unknown(uri: ::http::Uri) -> api::error::ErrorInfo {
    let routes = routes::OPENAPI;
    api::error::ErrorInfo::not_found(format!("there is no route {}", uri.path()))
        .hint(format!("all routes are listed in {routes}"))
}

#[cfg(test)]
mod tests;
