//! All routers as one, and the document that describes them.

use std::sync::LazyLock;

use baton_http::App;
use utoipa::OpenApi;
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
        .merge(crate::system::router())
        .merge(crate::pages::router())
}

/// The OpenAPI 3.1 document of all routes, as JSON. A copy of it is kept as `docs/openapi.json`.
pub fn openapi() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let (_, document) = router().split_for_parts();
        // The document is text and lists, which always serialise.
        document.to_pretty_json().unwrap_or_default() + "\n"
    });
    &TEXT
}
