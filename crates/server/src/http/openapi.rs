//! The OpenAPI document, generated from the handlers; what is the same for all routes (token,
//! errors, unique names of operations) is added here.

use api::error::Kind;
use axum::Json;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};

/// Name of the way to authenticate, in the document.
const TOKEN: &str = "token";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Remuda",
        description = "Every answer that is not 2xx has the shape ErrorBody. All routes but \
                       /api/v1/ping want `Authorization: Bearer <token>`."
    ),
    paths(
        super::admin::ping,
        super::admin::status,
        super::admin::backup,
        super::stacks::list,
        super::stacks::show,
        super::stacks::plan,
        super::stacks::put,
        super::stacks::remove,
        super::services::show,
        super::services::scale,
        super::services::restart,
        super::services::stop,
        super::services::start,
        super::services::remove,
        super::services::action,
        super::services::history,
        super::services::diff,
        super::services::runs,
        super::instances::list,
        super::events::list,
        super::hosts::list,
        super::tokens::create,
        super::tokens::list,
        super::tokens::revoke,
        super::hosts::show,
        super::hosts::remove,
        super::hosts::cordon,
        super::hosts::uncordon,
        super::hosts::drain,
        super::hosts::label,
        super::environment::show,
        super::environment::put,
        super::environment::verdict,
        super::environment::exposed,
        super::kv::history,
        super::net_check::check,
        super::relay::logs,
        super::relay::exec,
        super::relay::stats,
        super::relay::build,
        super::relay::pull,
        get,
    ),
    components(schemas(
        api::error::ErrorBody,
        api::wire::LogLine,
        api::wire::NetCheckStep,
        api::wire::Progress,
        api::wire::StatsRow,
        model::event::Event,
    )),
    modifiers(&Common)
)]
struct Document;

/// What all routes have in common.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API token, rmd_…; a wrong one gives 401"))
            .build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme(TOKEN, SecurityScheme::Http(scheme));
        for (path, item) in &mut document.paths.paths {
            let operations = [
                ("get", &mut item.get),
                ("put", &mut item.put),
                ("post", &mut item.post),
                ("delete", &mut item.delete),
            ];
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    complete(path, method, operation);
                }
            }
        }
    }
}

fn complete(path: &str, method: &str, operation: &mut Operation) {
    let words: Vec<&str> = path
        .trim_start_matches(api::routes::ROOT)
        .split(['/', '.'])
        .map(|word| word.trim_matches(['{', '}']))
        .filter(|word| !word.is_empty())
        .collect();
    operation.operation_id = Some(format!("{method}_{}", words.join("_")));
    if path == api::routes::PING {
        return;
    }
    operation.security = Some(vec![SecurityRequirement::new::<_, _, String>(TOKEN, [])]);
    let takes_json = operation.request_body.is_some();
    let parameters = operation.parameters.as_ref().is_some_and(|all| !all.is_empty());
    let mut kinds = vec![Kind::Unauthorized, Kind::Unavailable, Kind::Bug];
    if takes_json || parameters {
        kinds.push(Kind::Invalid);
    }
    if path.contains('{') || [api::routes::LOGS, api::routes::EXEC].contains(&path) {
        kinds.push(Kind::NotFound);
    }
    if takes_json {
        kinds.push(Kind::TooLarge);
    }
    if method != "get" || path == api::routes::SERVICE_RUNS {
        kinds.push(Kind::Conflict);
    }
    for kind in kinds {
        let (status, text) = (kind.status(), meaning(kind));
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody")));
        let response = ResponseBuilder::new()
            .description(text)
            .content("application/json", content.build())
            .build();
        operation.responses.responses.insert(status.as_str().to_owned(), response.into());
    }
}

fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "The request makes no sense",
        Kind::Unauthorized => "No or a wrong token",
        Kind::NotFound => "There is no such thing",
        Kind::MethodNotAllowed => "The route has no such method",
        Kind::Conflict => "It changed meanwhile, or it is taken",
        Kind::TooLarge => "Larger than the limit",
        Kind::Unavailable => "Something needed does not answer now",
        Kind::Bug => "A defect of the server",
    }
}

/// The document as data.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This document.
#[utoipa::path(get, path = api::routes::OPENAPI, responses((status = 200, body = Object)))]
pub(super) async fn get() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
