//! Errors as problem documents: what happened and what to do next for the caller, the cause for the log.

use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use baton_api::fields::BodyError;
use baton_api::health::{AbilityView, StoreView};
use baton_api::{FieldError, Problem, ProblemCode};
use baton_model::Expected;
use baton_model::transition::Refusal;
use baton_store::{DependencyProblem, ItemRefusal, StoreError};
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

/// What a handler answers, or why not.
pub type ApiResult = Result<Response, ApiError>;

/// How many wrong fields are listed at most.
const FIELDS_LISTED: usize = 1_000;

/// Why a request was not done. As a response it is a problem document; the [`crate::Envelope`] adds the request's id.
#[derive(Clone, Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: ProblemCode,
    problem: Problem,
    cause: Option<Arc<dyn Error + Send + Sync>>,
    /// The seconds after which to try again.
    retry_after: Option<u64>,
    /// The methods that the route takes.
    allow: Option<String>,
}

impl ApiError {
    /// A problem of this code. The detail says what happened and what to do next.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let retry_after = (code.status() == 503).then_some(1);
        let problem = Problem::new(code, detail);
        Self(Box::new(Inner { code, problem, cause: None, retry_after, allow: None }))
    }

    /// Some fields do not fit: all of them are listed.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{only}; mend the field and send the request again"),
            many if many.len() > FIELDS_LISTED => format!(
                "{} fields do not fit, and `errors` lists the first {FIELDS_LISTED}; mend them and send the request again",
                many.len()
            ),
            many => format!(
                "{} fields do not fit, and `errors` lists each; mend them and send the request again",
                many.len()
            ),
        };
        let mut error = Self::new(ProblemCode::InvalidFields, detail);
        error.0.problem.errors = errors;
        error.0.problem.errors.truncate(FIELDS_LISTED);
        error
    }

    /// One field does not fit.
    pub fn field(field: impl Into<String>, problem: Expected) -> Self {
        Self::fields(vec![FieldError { field: field.into(), expected: problem.expected, got: problem.got }])
    }

    /// Adds what concerns single fields or items.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.problem.errors = errors;
        self
    }

    /// Says after how many seconds to try again; 1 unless said, where that helps at all.
    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// No route has this path.
    pub(crate) fn no_such_route(path: &str) -> Self {
        let path = Expected::text("", path).got;
        let detail = format!("no route has the path {path}; /openapi.json lists those that exist");
        Self::new(ProblemCode::RouteNotFound, detail)
    }

    /// The route does not take this method; [`Self::with_allow`] says which ones it takes.
    pub(crate) fn method_not_allowed(method: &str, path: &str) -> Self {
        let (method, path) = (Expected::text("", method).got, Expected::text("", path).got);
        Self::new(ProblemCode::MethodNotAllowed, format!("the route {path} does not take {method}"))
    }

    /// Names the methods that the route takes, unless they are named already.
    #[must_use]
    pub(crate) fn with_allow(mut self, allow: &str) -> Self {
        if self.0.allow.is_none() {
            self.0.problem.detail = format!("{}; it takes {allow}", self.0.problem.detail);
            self.0.allow = Some(allow.to_owned());
        }
        self
    }

    /// The store cannot do all that it should; `store` tells what it can. The causes are for the log.
    pub(crate) fn not_ready(store: StoreView, cause: StoreError) -> Self {
        let code = match cause {
            StoreError::StorageFull(_) => ProblemCode::StorageFull,
            _ => ProblemCode::StorageUnavailable,
        };
        let side = |name: &str, side: &AbilityView| match &side.detail {
            Some(detail) => format!("the task store cannot be {name}: {detail}"),
            None => format!("the task store can be {name}"),
        };
        let detail = format!("{}; {}", side("written", &store.write), side("read", &store.read));
        let mut error = Self::new(code, detail).caused_by(cause);
        error.0.problem.store = Some(Box::new(store));
        error
    }

    /// What another server refused, as it has told it: for whoever asks that one on a caller's behalf. A code that is not known here
    /// stands as it came, and is taken for a failure of that server.
    pub fn told(problem: Problem, retry_after: Option<u64>) -> Self {
        let known = ProblemCode::by_name(&problem.code);
        let code = known.unwrap_or(ProblemCode::ServerUnreachable);
        // Its page is one of this program's own: that of a code which is not known here there is none of.
        let problem = Problem { page: code.page(), ..problem };
        Self(Box::new(Inner { code, problem, cause: None, retry_after, allow: None }))
    }

    fn caused_by(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.0.cause = Some(Arc::new(cause));
        self
    }

    /// The code.
    pub fn code(&self) -> ProblemCode {
        self.0.code
    }

    /// Writes to the log what the caller is not told, if there is something.
    pub fn log(&self) {
        let Some(cause) = &self.0.cause else { return };
        let cause = baton_model::with_causes(&**cause);
        tracing::error!(code = self.code().as_str(), cause, "a request failed");
    }

    /// The problem document, for whoever says it in other words.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// The problem document, as part of another answer.
    pub fn into_problem(self) -> Problem {
        self.0.problem
    }

    /// The problem document's text, with the request's id.
    pub(crate) fn document(&self, request_id: Option<&str>) -> Vec<u8> {
        let problem = Problem { request_id: request_id.map(str::to_owned), ..self.0.problem.clone() };
        // A problem is made of text and numbers, which always serialise.
        serde_json::to_vec(&problem).unwrap_or_default()
    }

    /// The response, with the request's id.
    pub(crate) fn respond(self, request_id: Option<&str>) -> Response {
        let status = StatusCode::from_u16(self.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::from(self.document(request_id)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            // RFC 9110 §15.5.16: which codings a body may have.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(Ok(allow)) = self.0.allow.map(HeaderValue::try_from) {
            headers.insert(ALLOW, allow);
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.clone().respond(None);
        response.extensions_mut().insert(self);
        response
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::NotJson(position) => Self::new(
                ProblemCode::MalformedJson,
                format!(
                    "expected one JSON object, got text with an error: {position}; mend the body and send it again"
                ),
            ),
            BodyError::Fields(errors) => Self::fields(errors),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let told = error.to_string();
        let new = |code, next: &str| Self::new(code, format!("{told}; {next}"));
        match &error {
            StoreError::TaskNotFound(_) => {
                new(ProblemCode::TaskNotFound, "check the id; finished tasks are removed after their retention")
            }
            StoreError::GenerationNotFound(_) => new(
                ProblemCode::GenerationNotFound,
                "check the id; a generation is removed with its task after the retention",
            ),
            StoreError::WorkerNotFound(_) => {
                new(ProblemCode::WorkerNotFound, "GET /v1/workers lists those that are known")
            }
            StoreError::BatchNotFound(_) => {
                new(ProblemCode::BatchNotFound, "GET /v1/batches lists those that are known")
            }
            StoreError::BatchSealed(_) => Self::new(ProblemCode::BatchSealed, told.clone()),
            StoreError::BatchExists(_) => Self::new(ProblemCode::BatchConflict, told.clone()),
            StoreError::BulkNotFound(_) => new(ProblemCode::BulkNotFound, "GET /v1/bulk lists those that are known"),
            StoreError::QueueNotFound(_) => {
                new(ProblemCode::QueueNotFound, "GET /v1/queues lists those that are known")
            }
            StoreError::Refused { refusal, .. } => {
                let (code, next) = refused(refusal);
                new(code, next)
            }
            StoreError::BatchRefused { refusals } => {
                let errors = refusals.iter().map(|(index, refusal)| refused_field(&format!("tasks[{index}]."), refusal));
                new(
                    ProblemCode::BatchRefused,
                    "`errors` names them; mend these, or send the batch with \"atomic\": false to create the rest",
                )
                .with_errors(errors.collect())
            }
            StoreError::IdempotencyConflict { .. } => new(
                ProblemCode::IdempotencyConflict,
                "use a fresh Idempotency-Key for each new request, and the same key only to repeat the same one",
            ),
            StoreError::SessionSuperseded { .. } => {
                new(ProblemCode::SessionSuperseded, "this process must stop: the newer one runs the worker's tasks")
            }
            StoreError::TokenNotFound(_) => {
                new(ProblemCode::TokenNotFound, "GET /v1/tokens lists those that are known")
            }
            StoreError::WorkerOfOther(_) => new(
                ProblemCode::WorkerOfOther,
                "choose another worker_id: a name belongs to the project of the token that first used it, else to its queues, until its record is removed",
            ),
            StoreError::TooManyTokens { .. } => {
                new(ProblemCode::TooManyTokens, "a token that has ended is removed 30 days later")
            }
            StoreError::ScheduleNotFound(_) => {
                new(ProblemCode::ScheduleNotFound, "GET /v1/schedules lists those that there are")
            }
            StoreError::SupplyNotFound(_) => {
                new(ProblemCode::SupplyNotFound, "GET /v1/supplies lists those that there are")
            }
            StoreError::ScheduleExists(_) => {
                new(ProblemCode::ScheduleExists, "say \"replace\": true to put this one in its place")
            }
            StoreError::TooManyLimits { .. } => new(
                ProblemCode::TooManyLimits,
                "GET /v1/limits, GET /v1/projects, GET /v1/schedules and GET /v1/supplies list what there is",
            ),
            StoreError::BadCursor => Self::field(
                "cursor",
                Expected::new("the next_cursor of an earlier page of the same query", "another text"),
            ),
            StoreError::NotTold { .. } => Self::new(ProblemCode::NotSupported, told.clone()),
            StoreError::TooLarge { .. } => {
                new(ProblemCode::PayloadTooLarge, "this is what the task store can hold; send less at once")
            }
            StoreError::Busy => new(ProblemCode::Busy, "try again in a second"),
            StoreError::StorageFull(_) => Self::new(
                ProblemCode::StorageFull,
                "the disk of the task store is full and nothing was changed; free space on it, then try again",
            )
            .caused_by(error),
            StoreError::Unavailable(_) => Self::new(
                ProblemCode::StorageUnavailable,
                "the task store is unavailable and nothing was changed; try again in a second",
            )
            .caused_by(error),
            StoreError::Unknown(_) => Self::new(
                ProblemCode::OutcomeUnknown,
                "the task store did not say whether the change was made; send the same request again, which is safe",
            )
            .caused_by(error),
            StoreError::Gone { .. } => Self::new(
                ProblemCode::OutcomeUnknown,
                "the task store is no longer there and the server ends; send the same request again once it is back",
            )
            .caused_by(error),
            StoreError::CannotOpen { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Internal { .. } => {
                Self::internal().caused_by(error)
            }
        }
    }
}

impl ApiError {
    /// The server failed; the log tells how.
    pub fn internal() -> Self {
        Self::new(
            ProblemCode::Internal,
            "the server failed to do this; find `request_id` in its log for the cause, and tell its operator",
        )
    }
}

/// Why a task was refused, as an error of the field that is in the way; `path` leads to the task's fields.
fn refused_field(path: &str, refusal: &ItemRefusal) -> FieldError {
    match refusal {
        ItemRefusal::IdConflict { id } => FieldError {
            field: format!("{path}id"),
            expected: "an id that no task of other content has".to_owned(),
            got: id.to_string(),
        },
        ItemRefusal::Dependency { place, id, problem } => FieldError {
            field: format!("{path}depends_on[{place}]"),
            expected: match problem {
                DependencyProblem::Unknown => {
                    "a task of the same project that exists, or one of the same batch"
                }
                DependencyProblem::Cycle => "a task that does not depend on this one",
                DependencyProblem::Refused => "a task that is not refused itself",
            }
            .to_owned(),
            got: id.to_string(),
        },
    }
}

impl ApiError {
    /// One task was refused; `path` leads to its fields, such as `tasks[3].`.
    pub fn task_refused(path: &str, refusal: &ItemRefusal) -> Self {
        let field = refused_field(path, refusal);
        let (code, detail) = match refusal {
            ItemRefusal::IdConflict { id } => (
                ProblemCode::TaskIdConflict,
                format!(
                    "task {id} exists with other content; choose another id, or leave it out to have one made, or send the same \
                     content to repeat a request"
                ),
            ),
            ItemRefusal::Dependency { .. } => (
                ProblemCode::DependencyRefused,
                format!("{field}; create what it depends on first, or in the same batch"),
            ),
        };
        Self::new(code, detail).with_errors(vec![field])
    }
}

fn refused(refusal: &Refusal) -> (ProblemCode, &'static str) {
    match refusal {
        Refusal::StaleAttempt { .. } => {
            (ProblemCode::StaleAttempt, "drop this attempt's work and claim the next task")
        }
        Refusal::WrongWorker { .. } => {
            (ProblemCode::WrongWorker, "present the worker_id that claimed the attempt, or drop the work")
        }
        Refusal::LeaseLost { .. } => {
            (ProblemCode::LeaseLost, "drop this attempt's work and claim the next task")
        }
        Refusal::CompletedDifferently { .. } => (
            ProblemCode::CompletedDifferently,
            "keep the standing output, or create a new task for another one",
        ),
        Refusal::Finished { .. } => (
            ProblemCode::TransitionRefused,
            "a finished task needs no cancelling; GET the task to see how it ended",
        ),
        Refusal::NotFinished { .. } => {
            (ProblemCode::TransitionRefused, "it will run by itself; cancel it first to start it over")
        }
        Refusal::CompletedIsFinal => {
            (ProblemCode::TransitionRefused, "create a new task to do the work once more")
        }
        Refusal::KeyHeld { .. } => {
            (ProblemCode::TransitionRefused, "cancel that task first, or wait for its end")
        }
        Refusal::NotClaimable { .. }
        | Refusal::Expired { .. }
        | Refusal::NotExpired { .. }
        | Refusal::NotRunning { .. } => (ProblemCode::TransitionRefused, "GET the task to see its state"),
        Refusal::DependencyFailed { .. } | Refusal::NotBlocked { .. } => {
            (ProblemCode::TransitionRefused, "GET the task's graph to see what it waits for")
        }
        Refusal::NotWaiting { .. } => (
            ProblemCode::TransitionRefused,
            "only a task that waits is changed; what runs can be cancelled, and what has failed or was cancelled be retried",
        ),
        Refusal::AttemptsUsed { .. } => (ProblemCode::TransitionRefused, "give it more, or cancel it"),
        Refusal::DueTooLate { .. } => {
            (ProblemCode::TransitionRefused, "name an earlier time, or create a new task that expires later")
        }
        Refusal::Unfinished { .. } => (ProblemCode::TransitionRefused, "cancel it first"),
        Refusal::WaitedFor => {
            (ProblemCode::TransitionRefused, "GET the task's graph to see which ones do; cancel those first")
        }
        Refusal::HistoryFull => (ProblemCode::TransitionRefused, "create a new task to go on"),
    }
}

#[cfg(test)]
mod tests {
    use baton_model::{BatchId, BulkId, Ended, GenerationId, QueueName, State, TaskId, TokenId, WorkerId};

    use super::*;

    #[test]
    fn what_went_wrong_inside_is_not_told() {
        let error = StoreError::Internal { what: "reading page 7 of /secret".into(), cause: None };
        let problem = ApiError::from(error).into_problem();
        assert_eq!(problem.status, 500);
        assert!(!problem.detail.contains("secret"), "{}", problem.detail);
    }

    #[test]
    fn a_refusal_says_what_to_do_next() {
        let refusal = Refusal::WrongWorker { attempt: 2 };
        let error = ApiError::from(StoreError::Refused {
            task: "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f".parse().unwrap(),
            refusal,
        });
        assert_eq!(error.code(), ProblemCode::WrongWorker);
        assert!(error.into_problem().detail.contains("; present the worker_id"));
    }

    #[test]
    fn each_failure_of_the_store_has_its_code() {
        let (task, generation) = (TaskId::from_bytes([1; 16]), GenerationId::from_bytes([2; 16]));
        let cause = || Box::new(std::io::Error::other("secret")) as baton_store::error::Cause;
        let state = State::Running;
        let refused = |refusal| StoreError::Refused { task, refusal };
        for (error, code, status) in [
            (StoreError::TaskNotFound(task), ProblemCode::TaskNotFound, 404),
            (StoreError::GenerationNotFound(generation), ProblemCode::GenerationNotFound, 404),
            (StoreError::WorkerNotFound(WorkerId::from_stored("w")), ProblemCode::WorkerNotFound, 404),
            (StoreError::QueueNotFound(QueueName::default()), ProblemCode::QueueNotFound, 404),
            (StoreError::BatchNotFound(BatchId::from_bytes([3; 16])), ProblemCode::BatchNotFound, 404),
            (StoreError::BatchSealed(BatchId::from_bytes([3; 16])), ProblemCode::BatchSealed, 409),
            (StoreError::BatchExists(BatchId::from_bytes([3; 16])), ProblemCode::BatchConflict, 409),
            (StoreError::BulkNotFound(BulkId::from_bytes([3; 16])), ProblemCode::BulkNotFound, 404),
            (
                refused(Refusal::StaleAttempt { presented: 1, current: 2, state }),
                ProblemCode::StaleAttempt,
                409,
            ),
            (refused(Refusal::WrongWorker { attempt: 1 }), ProblemCode::WrongWorker, 409),
            (refused(Refusal::LeaseLost { state, how: Ended::Failed }), ProblemCode::LeaseLost, 409),
            (refused(Refusal::CompletedDifferently { generation }), ProblemCode::CompletedDifferently, 409),
            (refused(Refusal::Finished { state }), ProblemCode::TransitionRefused, 409),
            (refused(Refusal::NotFinished { state }), ProblemCode::TransitionRefused, 409),
            (refused(Refusal::CompletedIsFinal), ProblemCode::TransitionRefused, 409),
            (refused(Refusal::HistoryFull), ProblemCode::TransitionRefused, 409),
            (StoreError::BatchRefused { refusals: Vec::new() }, ProblemCode::BatchRefused, 409),
            (StoreError::IdempotencyConflict { key: "k".into() }, ProblemCode::IdempotencyConflict, 409),
            (StoreError::TokenNotFound(TokenId::from_bytes([3; 16])), ProblemCode::TokenNotFound, 404),
            (StoreError::WorkerOfOther(WorkerId::from_stored("w")), ProblemCode::WorkerOfOther, 409),
            (StoreError::TooManyTokens { most: 10_000 }, ProblemCode::TooManyTokens, 409),
            (StoreError::TooManyLimits { what: "limits", most: 9 }, ProblemCode::TooManyLimits, 409),
            (StoreError::BadCursor, ProblemCode::InvalidFields, 422),
            (baton_store::without_feed(), ProblemCode::NotSupported, 501),
            (StoreError::Busy, ProblemCode::Busy, 503),
            (StoreError::StorageFull(cause()), ProblemCode::StorageFull, 503),
            (StoreError::Unavailable(cause()), ProblemCode::StorageUnavailable, 503),
            (StoreError::Unknown(cause()), ProblemCode::OutcomeUnknown, 503),
            (StoreError::Gone { what: "secret".into() }, ProblemCode::OutcomeUnknown, 503),
            (StoreError::NewerSchema { found: 2, known: 1 }, ProblemCode::Internal, 500),
            (StoreError::Corrupt { what: "secret".into(), cause: Some(cause()) }, ProblemCode::Internal, 500),
        ] {
            let error = ApiError::from(error);
            assert_eq!(error.code(), code);
            let response = error.clone().into_response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503);
            let detail = error.into_problem().detail;
            assert!(detail.contains(';') && !detail.contains("secret"), "{detail}");
        }
    }

    #[test]
    fn what_another_server_refuses_is_told_as_it_came() {
        let busy = Problem::new(ProblemCode::Busy, "too much; wait");
        let told = ApiError::told(Problem { request_id: Some("r1".to_owned()), ..busy.clone() }, Some(7));
        assert_eq!((told.code(), told.problem().request_id.as_deref()), (ProblemCode::Busy, Some("r1")));
        assert_eq!(told.into_response().headers()[RETRY_AFTER], "7");
        let later = Problem {
            code: "of_a_later_version".to_owned(),
            status: 409,
            page: "javascript:alert(1)".to_owned(),
            ..busy
        };
        let told = ApiError::told(later, None);
        assert_eq!(told.code(), ProblemCode::ServerUnreachable);
        let problem = told.into_problem();
        assert_eq!((problem.status, problem.code.as_str()), (409, "of_a_later_version"));
        assert_eq!(problem.page, "/errors/server_unreachable");
    }

    #[test]
    fn a_long_list_of_wrong_fields_is_cut() {
        let wrong = FieldError { field: "a".into(), expected: "b".into(), got: "c".into() };
        let problem = ApiError::fields(vec![wrong; 5_000]).into_problem();
        assert_eq!(problem.errors.len(), FIELDS_LISTED);
        assert!(problem.detail.starts_with("5000 fields"), "{}", problem.detail);
    }
}
