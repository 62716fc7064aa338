//! All routers as one, and the document that describes them.

use std::sync::LazyLock;

use baton_http::App;
use baton_http::auth::{Access, RULES, Rule};
use utoipa::OpenApi;
use utoipa::openapi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

/// Hands tasks to workers and takes them back.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Baton",
        description = "Hands tasks to a fleet of workers and takes them back, and never drops one.\n\n\
                       Problems are told as RFC 9457 problem documents; `type` is the address of a page that explains \
                       the `code`, which stays. Every wrong field is listed at once. Times are RFC 3339 in UTC, \
                       durations are seconds. A request's `x-request-id` is taken over, or made, and answered.",
        license(name = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "tasks", description = "What producers and operators do with tasks"),
        (name = "workers", description = "What workers do, and what is done with them"),
        (name = "queues", description = "Named lanes that tasks wait in"),
        (name = "limits", description = "How many tasks run at once, and how many start in a while"),
        (name = "tokens", description = "Who may call, and what operators did"),
        (name = "generations", description = "Output records of completed tasks"),
        (name = "operations", description = "The state of everything"),
    ),
)]
struct Document;

/// All routes of the server.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(baton_create_task::router())
        .merge(baton_claim_task::router())
        .merge(baton_complete_task::router())
        .merge(baton_heartbeat_worker::router())
        .merge(baton_reap_stale_workers::router())
        .merge(baton_query_tasks::router())
        .merge(baton_manage_tasks::router())
        .merge(baton_manage_tokens::router())
}

/// The OpenAPI 3.1 document of all routes, as JSON. A copy of it is kept as `docs/openapi.json`.
pub fn openapi() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let (_, document) = router().split_for_parts();
        described(document, RULES)
    });
    &TEXT
}

/// A document of routes with who may ask for them, as JSON.
pub(crate) fn described(mut document: openapi::OpenApi, rules: &[Rule]) -> String {
    secure(&mut document, rules);
    // The document is text and lists, which always serialise.
    document.to_pretty_json().unwrap_or_default() + "\n"
}

/// The name of the one way to say who asks.
const BEARER: &str = "token";

/// Says of each operation who may ask for it, as the rules have it.
fn secure(document: &mut openapi::OpenApi, rules: &[Rule]) {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("baton_<id>_<secret>")
        .description(Some(
            "A token that an operator has made (`POST /v1/tokens`, `baton token create`). A server that listens on a \
             loopback address may go without; a request that presents a token is held to it in any case. A token may be \
             bound to queues or to a project: then what lies outside is refused (403) or looks as if it did not exist \
             (404).",
        ))
        .build();
    document.components.get_or_insert_default().add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in [
            ("GET", &mut item.get),
            ("POST", &mut item.post),
            ("PATCH", &mut item.patch),
            ("PUT", &mut item.put),
            ("DELETE", &mut item.delete),
        ] {
            let Some(operation) = operation else { continue };
            let rule = rules.iter().find(|rule| rule.method == method && rule.path == *path);
            let Some(rule) = rule else { continue };
            if rule.access == Access::Open {
                operation.security = Some(Vec::new());
                continue;
            }
            operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])]);
            let scopes = format!("Scope: {}.", rule.scopes());
            operation.description = Some(match operation.description.take() {
                Some(description) => format!("{description}\n\n{scopes}"),
                None => scopes,
            });
        }
    }
}
