//! Tells the server how an attempt ended, until it is answered: no outcome is dropped in silence.

use std::sync::Arc;
use std::time::Duration;

use baton_api::ProblemCode;
use baton_api::answer::{ClaimView, CompletedView, EndedView, TaskView};
use baton_api::request::{CompleteRequest, ErrorFields, FailRequest, ReleaseRequest};
use baton_client::{Client, ClientError};
use baton_model::limits;
use serde_json::value::to_raw_value;
use tokio::time::{Instant, sleep};

use crate::beat::obey;
use crate::claim::{jittered, worth_another_try};
use crate::detour::{self, Detour};
use crate::outcome::{Outcome, TIMED_OUT};
use crate::shared::Shared;
use crate::stop::Phase;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The most characters of a failure's message that go into the log.
const LOGGED_CHARS: usize = 300;
/// How long a worker that was told to stop goes on trying.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Delivers an outcome. The answer is the task that a completion brought along.
pub(crate) async fn deliver(shared: &Arc<Shared>, task: &TaskView, outcome: Outcome) -> Option<TaskView> {
    let mut told = match Told::new(shared, task, outcome) {
        Ok(told) => told,
        Err(reason) => {
            shared.count(|counts| counts.lost += 1);
            tracing::warn!(reason, "nothing to deliver: the attempt was taken away");
            return None;
        }
    };
    loop {
        match until_answered(shared, task, &told).await {
            Ok(answer) => return answered(shared, answer, &told).await,
            Err(Unheard::Refused(error)) if told.is_timeout() => {
                shared.count(|counts| counts.lost += 1);
                // Both watch the clock; nothing is lost when the server was the first.
                tracing::info!(%error, "the attempt ran past its timeout; the server has taken it back already");
                return None;
            }
            Err(Unheard::Refused(error)) => {
                shared.count(|counts| counts.lost += 1);
                tracing::warn!(%error, outcome = told.name(), "the outcome came too late: the attempt is no longer this worker's");
                return None;
            }
            Err(Unheard::Misfit(error)) => match told.instead(shared, task, &error) {
                Some(smaller) => {
                    tracing::warn!(%error, outcome = told.name(), "the server does not take this outcome; the attempt is failed instead");
                    told = smaller;
                }
                None => {
                    shared.count(|counts| counts.undelivered += 1);
                    tracing::error!(%error, outcome = told.name(), "the server takes no outcome of this attempt; its lease will run out");
                    return None;
                }
            },
            Err(Unheard::OutOfTime(error)) => {
                shared.count(|counts| counts.undelivered += 1);
                tracing::error!(%error, outcome = told.name(), content = %told.content(),
                    "the outcome could not be delivered before the worker had to end; the task will be run again");
                return None;
            }
        }
    }
}

/// An outcome in the words of the API.
enum Told {
    Complete(Box<CompleteRequest>),
    Fail(Box<FailRequest>),
    Release(ReleaseRequest),
}

enum Answer {
    Completed(Box<CompletedView>),
    Failed(EndedView),
    Released(EndedView),
    /// Taken on the server's behalf.
    Detoured,
}

/// Why an outcome is not, or not yet, with the server.
enum Unheard {
    /// The attempt is no longer this worker's.
    Refused(ClientError),
    /// The server does not take this request, and would not later.
    Misfit(ClientError),
    /// The worker has to end.
    OutOfTime(ClientError),
}

impl Told {
    fn new(shared: &Shared, task: &TaskView, outcome: Outcome) -> Result<Self, String> {
        let (worker_id, attempt) = (shared.options.id.clone(), task.attempt);
        Ok(match outcome {
            Outcome::Done(done) => Self::Complete(Box::new(CompleteRequest {
                worker_id,
                attempt,
                location: done.location,
                kind: done.kind,
                metadata: done.metadata,
                result: done.result,
                // The slot that becomes free by this takes the next task.
                claim: shared.may_claim().then(|| shared.claim_request(1)),
            })),
            Outcome::Failed(failed) => Self::Fail(Box::new(FailRequest {
                worker_id,
                attempt,
                error: failed.error,
                retryable: Some(failed.retryable),
                retry_after_seconds: failed.retry_after,
            })),
            Outcome::Released { delay, reason } => Self::Release(ReleaseRequest {
                worker_id,
                attempt,
                delay_seconds: Some(delay.min(limits::LONGEST_DELAY)),
                reason: Some(reason.chars().take(1_000).collect()),
            }),
            Outcome::Lost { reason } => return Err(reason),
        })
    }

    /// What to tell if the server does not take this; none if this is already the least that can be told.
    fn instead(&self, shared: &Shared, task: &TaskView, error: &ClientError) -> Option<Self> {
        // A token that is not good for one outcome is not good for another.
        if error.is_denied() {
            return None;
        }
        let told = |message: String, code: &str, retryable| {
            let error = ErrorFields { message, code: Some(code.to_owned()), details: None };
            Self::Fail(Box::new(FailRequest {
                worker_id: shared.options.id.clone(),
                attempt: task.attempt,
                error,
                retryable: Some(retryable),
                retry_after_seconds: None,
            }))
        };
        let reasons = error
            .problem()
            .map(|problem| problem.errors.iter().map(|field| format!("; {field}")).collect::<String>());
        let reasons = reasons.unwrap_or_default();
        match self {
            Self::Complete(_) => Some(told(
                format!("the command's result was refused: {error}{reasons}"),
                "result_refused",
                false,
            )),
            Self::Fail(fail) if fail.error.details.is_some() || fail.retry_after_seconds.is_some() => {
                Some(told(fail.error.message.clone(), "failed", fail.retryable.unwrap_or(true)))
            }
            Self::Fail(_) | Self::Release(_) => None,
        }
    }

    /// The code of a failure and its message, cut at its front for the log: the cause is most often told last.
    fn cause(&self) -> (&str, String) {
        let Self::Fail(fail) = self else { return ("", String::new()) };
        let message = fail.error.message.trim();
        let cut = match message.char_indices().rev().nth(LOGGED_CHARS - 1) {
            Some((at, _)) if at > 0 => format!("…{}", &message[at..]),
            _ => message.to_owned(),
        };
        (fail.error.code.as_deref().unwrap_or_default(), cut)
    }

    fn is_timeout(&self) -> bool {
        matches!(self, Self::Fail(fail) if fail.error.code.as_deref() == Some(TIMED_OUT))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Complete(_) => "complete",
            Self::Fail(_) => "fail",
            Self::Release(_) => "release",
        }
    }

    /// What is told, for the log.
    fn content(&self) -> String {
        let json = match self {
            Self::Complete(request) => serde_json::to_string(request),
            Self::Fail(request) => serde_json::to_string(request),
            Self::Release(request) => serde_json::to_string(request),
        };
        json.unwrap_or_default()
    }

    /// The message that stands for this where the server cannot be told.
    fn message(&self, task: &TaskView) -> Result<String, serde_json::Error> {
        let outcome = match self {
            // A claim needs an answer.
            Self::Complete(request) => {
                let request = CompleteRequest { claim: None, ..(**request).clone() };
                detour::Sent::Completion(to_raw_value(&request)?)
            }
            Self::Fail(request) => detour::Sent::Failure(to_raw_value(request)?),
            Self::Release(request) => detour::Sent::Release(to_raw_value(request)?),
        };
        serde_json::to_string(&detour::Message { task_id: task.id, outcome })
    }

    async fn send(&self, client: &Client, task: &TaskView) -> Result<Answer, ClientError> {
        Ok(match self {
            Self::Complete(request) => Answer::Completed(Box::new(client.complete(task.id, request).await?)),
            Self::Fail(request) => Answer::Failed(client.fail(task.id, request).await?),
            Self::Release(request) => Answer::Released(client.release(task.id, request).await?),
        })
    }
}

/// Sends an outcome by the detour; says whether it was taken.
async fn by_detour(detour: &dyn Detour, task: &TaskView, told: &Told) -> bool {
    let message = match told.message(task) {
        Ok(message) => message,
        Err(error) => {
            tracing::error!(%error, outcome = told.name(), "the outcome cannot be written as a message");
            return false;
        }
    };
    match detour.send(message).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(error = %error, outcome = told.name(), "the detour does not take the outcome either; both are tried again");
            false
        }
    }
}

/// Sends until an answer comes or, once the worker is to stop, until patience ends.
async fn until_answered(shared: &Shared, task: &TaskView, told: &Told) -> Result<Answer, Unheard> {
    let client = shared.client.with_deadline(Duration::ZERO);
    let mut pause = Duration::from_millis(200);
    let mut tries: u32 = 0;
    let began = Instant::now();
    let mut end: Option<Instant> = None;
    loop {
        let error = match told.send(&client, task).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if error.problem().is_some_and(|problem| problem.status == 409)
            || error.code() == Some(ProblemCode::TaskNotFound)
        {
            return Err(Unheard::Refused(error));
        }
        if !worth_another_try(&error) {
            return Err(Unheard::Misfit(error));
        }
        let stopping = shared.stop.phase() == Phase::Stop;
        if let Some(detour) = &shared.options.detour
            && (stopping || began.elapsed() >= detour::PATIENCE)
            && by_detour(&**detour, task, told).await
        {
            tracing::warn!(%error, "the server is out of reach; the outcome went by the detour");
            return Ok(Answer::Detoured);
        }
        if stopping && *end.get_or_insert(Instant::now() + LAST_PATIENCE) <= Instant::now() {
            return Err(Unheard::OutOfTime(error));
        }
        tries += 1;
        if tries.is_power_of_two() {
            tracing::warn!(%error, tries, outcome = told.name(), "the outcome is not delivered yet; it is tried again");
        }
        tokio::select! {
            () = sleep(jittered(pause)) => {}
            // Told to stop, it tries again at once, and then in short steps.
            () = shared.stop.reached(Phase::Stop), if end.is_none() => pause = Duration::from_millis(200),
        }
        pause = (pause * 2).min(if end.is_some() { LAST_PATIENCE / 10 } else { LONGEST_PAUSE });
    }
}

async fn answered(shared: &Arc<Shared>, answer: Answer, told: &Told) -> Option<TaskView> {
    match answer {
        Answer::Completed(answer) => {
            shared.count(|counts| counts.completed += 1);
            tracing::info!(generation_id = %answer.generation_id, "completed");
            if let Some(problem) = answer.next_problem {
                if ProblemCode::by_name(&problem.code) == Some(ProblemCode::SessionSuperseded) {
                    shared.give_up(shared.superseded());
                } else {
                    tracing::warn!(code = %problem.code, detail = %problem.detail, "the claim for the next task failed");
                }
            }
            next(shared, answer.next).await
        }
        Answer::Failed(answer) => {
            shared.count(|counts| counts.failed += 1);
            let (code, error) = told.cause();
            tracing::warn!(
                status = answer.status.as_str(),
                attempts_used = answer.attempts_used,
                code,
                error,
                "failed"
            );
            None
        }
        Answer::Released(answer) => {
            shared.count(|counts| counts.released += 1);
            tracing::info!(status = answer.status.as_str(), "given back");
            None
        }
        Answer::Detoured => {
            shared.count(|counts| counts.detoured += 1);
            None
        }
    }
}

/// The task that came along, if the worker still takes any; else it is given back.
async fn next(shared: &Arc<Shared>, claim: Option<ClaimView>) -> Option<TaskView> {
    let claim = claim?;
    if let Some(directive) = claim.nothing.and_then(|nothing| nothing.directive) {
        obey(shared, directive);
    }
    let task = claim.tasks.into_iter().next()?;
    shared.count(|counts| counts.claimed += 1);
    if shared.may_claim() {
        return Some(task);
    }
    let _listed = shared.list(task.id, task.attempt);
    let outcome = Outcome::Released { delay: Duration::ZERO, reason: "the worker ends".to_owned() };
    match Box::pin(until_answered(shared, &task, &Told::new(shared, &task, outcome).ok()?)).await {
        Ok(_) => shared.count(|counts| counts.released += 1),
        Err(Unheard::Refused(error) | Unheard::Misfit(error) | Unheard::OutOfTime(error)) => {
            tracing::warn!(task_id = %task.id, %error, "could not give the next task back; its lease will run out");
        }
    }
    None
}
