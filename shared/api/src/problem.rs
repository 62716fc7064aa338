//! Problems as RFC 9457 tells them, with codes that stay.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::health::StoreView;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// What went wrong, by a name that programs may rely on. Each has a page under `docs/errors/`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemCode {
            $($(#[$doc])* $name,)*
        }

        impl ProblemCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code's stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// The HTTP status that it comes with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }

            /// What it is about, in a few words that do not change from case to case.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    MalformedJson = "malformed_json", 400, "The body is not valid JSON";
    /// The request is not HTTP that Baton takes: a bad header, an unreadable body.
    MalformedRequest = "malformed_request", 400, "The request cannot be read";
    /// The path with its query is too long.
    UriTooLong = "uri_too_long", 414, "The path is too long";
    /// The headers are too many or too large.
    HeadersTooLarge = "headers_too_large", 431, "The headers are too large";
    /// The body has a transfer coding other than chunks.
    TransferCodingUnsupported = "transfer_coding_unsupported", 501, "The body's transfer coding is not supported";
    /// Fields of the body, the path or the query do not fit.
    InvalidFields = "invalid_fields", 422, "Some fields do not fit";
    /// The body is larger than its limit.
    PayloadTooLarge = "payload_too_large", 413, "The body is too large";
    /// The body is not said to be JSON.
    UnsupportedMediaType = "unsupported_media_type", 415, "The body must be application/json";
    /// A web page of another site asks, or asks under another site's name.
    ForeignOrigin = "foreign_origin", 403, "The request comes from another site";
    /// The request presents no token that is good.
    Unauthorized = "unauthorized", 401, "A valid token is needed";
    /// The token's scopes do not allow the route.
    ScopeMissing = "scope_missing", 403, "The token's scopes do not allow this";
    /// The request reaches beyond the token's queues or its project.
    OutsideGrant = "outside_grant", 403, "The token is bound to other queues or another project";
    /// The token has made too many requests.
    TooManyRequests = "too_many_requests", 429, "Too many requests with this token";
    /// No route has this path.
    RouteNotFound = "route_not_found", 404, "No such route";
    /// The route exists, but not for this method.
    MethodNotAllowed = "method_not_allowed", 405, "The route does not take this method";
    /// The task does not exist.
    TaskNotFound = "task_not_found", 404, "No such task";
    /// The generation does not exist.
    GenerationNotFound = "generation_not_found", 404, "No such generation";
    /// The worker does not exist.
    WorkerNotFound = "worker_not_found", 404, "No such worker";
    /// The queue does not exist.
    QueueNotFound = "queue_not_found", 404, "No such queue";
    /// The batch does not exist.
    BatchNotFound = "batch_not_found", 404, "No such batch";
    /// No task may be added to the batch any more.
    BatchSealed = "batch_sealed", 409, "The batch is sealed";
    /// The batch exists and is another than the request says.
    BatchConflict = "batch_conflict", 409, "Another batch has this id";
    /// The bulk command is unknown.
    BulkNotFound = "bulk_not_found", 404, "No such bulk command";
    /// The file does not exist.
    FileNotFound = "file_not_found", 404, "No such file";
    /// The server supervises no such group of workers.
    GroupNotFound = "group_not_found", 404, "No such group of workers";
    /// There is no such rule of alerts.
    AlertNotFound = "alert_not_found", 404, "No such alert";
    /// There is no such webhook.
    WebhookNotFound = "webhook_not_found", 404, "No such webhook";
    /// No message of this id is kept for the webhook.
    MessageNotFound = "message_not_found", 404, "No such message";
    /// The settings have one of this name, which requests do not change.
    SetInSettings = "set_in_settings", 409, "The settings have one of this name";
    /// The part of a file that is asked for lies behind its end.
    RangeRefused = "range_refused", 416, "The file has no such part";
    /// The store that the server has keeps nothing by which it could tell this.
    NotSupported = "not_supported", 501, "The store of this server cannot tell this";
    /// A signed address has expired, or was not signed for this.
    SignatureRefused = "signature_refused", 403, "The address does not hold";
    /// The token does not exist.
    TokenNotFound = "token_not_found", 404, "No such token";
    /// The schedule does not exist.
    ScheduleNotFound = "schedule_not_found", 404, "The schedule is not known";
    /// The queue has no supply.
    SupplyNotFound = "supply_not_found", 404, "The queue has no supply";
    /// The attempt is no longer the worker's.
    LeaseLost = "lease_lost", 409, "The lease is lost";
    /// The attempt is not the task's latest.
    StaleAttempt = "stale_attempt", 409, "The attempt is not the latest";
    /// The attempt is another worker's.
    WrongWorker = "wrong_worker", 409, "The attempt is another worker's";
    /// The attempt was completed before with another output.
    CompletedDifferently = "completed_differently", 409, "The task was completed with another output";
    /// The task's state does not allow the transition.
    TransitionRefused = "transition_refused", 409, "The task's state does not allow this";
    /// The chosen task id is taken by other content.
    TaskIdConflict = "task_id_conflict", 409, "The task id is taken";
    /// A task cannot depend on another as asked.
    DependencyRefused = "dependency_refused", 409, "A task cannot depend on that";
    /// An all-or-nothing batch had a refused task.
    BatchRefused = "batch_refused", 409, "The batch was refused as a whole";
    /// The idempotency key was used with another request.
    IdempotencyConflict = "idempotency_conflict", 409, "The idempotency key was used for another request";
    /// The worker has started anew since.
    SessionSuperseded = "session_superseded", 409, "The worker has started anew";
    /// The worker's name belongs to callers of another project or of other queues.
    WorkerOfOther = "worker_of_other", 409, "The worker's name is another's";
    /// There are as many tokens as the store holds.
    TooManyTokens = "too_many_tokens", 409, "There are too many tokens";
    /// Another schedule of the name says something else.
    ScheduleExists = "schedule_exists", 409, "Another schedule has the name";
    /// There are as many limits, owned projects, schedules or supplies as the store holds.
    TooManyLimits = "too_many_limits", 409, "There are too many limits";
    /// Too much is under way.
    Busy = "busy", 503, "The server is busy";
    /// The disk is full.
    StorageFull = "storage_full", 503, "The store's disk is full";
    /// The store is out of reach.
    StorageUnavailable = "storage_unavailable", 503, "The store is unavailable";
    /// It is not known whether the change was made.
    OutcomeUnknown = "outcome_unknown", 503, "The outcome is not known";
    /// The request took too long.
    RequestTimeout = "request_timeout", 408, "The request took too long";
    /// The server failed.
    Internal = "internal", 500, "The server failed";
    /// The server that a dashboard by itself asks gave no answer, or none of Baton's.
    ServerUnreachable = "server_unreachable", 502, "The server cannot be reached";
}

impl ProblemCode {
    /// The code of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// Where the server explains the code; the `type` of its problem document, relative to the server's address.
    pub fn page(self) -> String {
        format!("/errors/{}", self.as_str())
    }
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A problem document (RFC 9457), as `application/problem+json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The address of the page that explains the code.
    #[serde(rename = "type")]
    pub page: String,
    /// What it is about, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What happened in this case, and what to do next.
    pub detail: String,
    /// The fields that do not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// What the task store can do; of `GET /readyz` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<StoreView>)]
    pub store: Option<Box<StoreView>>,
    /// The request's id, to be found in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// A problem of this code, with its particulars.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            page: code.page(),
            title: code.title().to_owned(),
            status: code.status(),
            code: code.as_str().to_owned(),
            detail: detail.into(),
            errors: Vec::new(),
            store: None,
            request_id: None,
        }
    }
}

/// One field that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The field's path, such as `tasks[3].priority`.
    pub field: String,
    /// What would have been accepted.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {}", self.field, self.expected, self.got)
    }
}
