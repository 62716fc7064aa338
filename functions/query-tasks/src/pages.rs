//! The pages that explain problems: `docs/errors/`, built in.

use axum::response::{IntoResponse, Response};
use baton_api::ProblemCode;
use baton_http::{ApiError, PathId};
use baton_model::Expected;
use http::header::CONTENT_TYPE;

macro_rules! pages {
    ($($code:ident = $file:literal,)*) => {
        /// The page that explains a code, as Markdown.
        pub fn error_page(code: ProblemCode) -> &'static str {
            match code {
                $(ProblemCode::$code => include_str!(concat!("../../../docs/errors/", $file, ".md")),)*
            }
        }
    };
}

pages! {
    MalformedJson = "malformed_json",
    MalformedRequest = "malformed_request",
    UriTooLong = "uri_too_long",
    HeadersTooLarge = "headers_too_large",
    TransferCodingUnsupported = "transfer_coding_unsupported",
    InvalidFields = "invalid_fields",
    PayloadTooLarge = "payload_too_large",
    UnsupportedMediaType = "unsupported_media_type",
    ForeignOrigin = "foreign_origin",
    Unauthorized = "unauthorized",
    ScopeMissing = "scope_missing",
    OutsideGrant = "outside_grant",
    TooManyRequests = "too_many_requests",
    RouteNotFound = "route_not_found",
    MethodNotAllowed = "method_not_allowed",
    TaskNotFound = "task_not_found",
    GenerationNotFound = "generation_not_found",
    WorkerNotFound = "worker_not_found",
    QueueNotFound = "queue_not_found",
    BatchNotFound = "batch_not_found",
    BatchSealed = "batch_sealed",
    BatchConflict = "batch_conflict",
    BulkNotFound = "bulk_not_found",
    FileNotFound = "file_not_found",
    GroupNotFound = "group_not_found",
    AlertNotFound = "alert_not_found",
    WebhookNotFound = "webhook_not_found",
    MessageNotFound = "message_not_found",
    SetInSettings = "set_in_settings",
    RangeRefused = "range_refused",
    SignatureRefused = "signature_refused",
    TokenNotFound = "token_not_found",
    LeaseLost = "lease_lost",
    StaleAttempt = "stale_attempt",
    WrongWorker = "wrong_worker",
    CompletedDifferently = "completed_differently",
    TransitionRefused = "transition_refused",
    TaskIdConflict = "task_id_conflict",
    BatchRefused = "batch_refused",
    IdempotencyConflict = "idempotency_conflict",
    SessionSuperseded = "session_superseded",
    WorkerOfOther = "worker_of_other",
    TooManyTokens = "too_many_tokens",
    ScheduleNotFound = "schedule_not_found",
    SupplyNotFound = "supply_not_found",
    ScheduleExists = "schedule_exists",
    TooManyLimits = "too_many_limits",
    Busy = "busy",
    StorageFull = "storage_full",
    StorageUnavailable = "storage_unavailable",
    OutcomeUnknown = "outcome_unknown",
    RequestTimeout = "request_timeout",
    DependencyRefused = "dependency_refused",
    NotSupported = "not_supported",
    Internal = "internal",
    ServerUnreachable = "server_unreachable",
}

/// A problem's code in a path.
pub(crate) struct Code(ProblemCode);

impl std::str::FromStr for Code {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        // The pages link to each other by their files' names, so that the links also work where the files are read.
        let name = text.strip_suffix(".md").unwrap_or(text);
        ProblemCode::by_name(name).map(Self).ok_or_else(|| {
            let codes: Vec<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
            Expected::text(format!("one of {}", codes.join(", ")), text)
        })
    }
}

/// Explain a problem
///
/// The page that a problem document's `type` points to, as Markdown.
#[utoipa::path(
    get,
    path = "/errors/{code}",
    tag = "operations",
    params(("code" = String, Path, description = "The problem's code")),
    responses(
        (status = 200, description = "The page", content_type = "text/markdown", body = String),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn show_error_page(PathId(Code(code)): PathId<Code>) -> Result<Response, ApiError> {
    Ok(([(CONTENT_TYPE, "text/markdown; charset=utf-8")], error_page(code)).into_response())
}
