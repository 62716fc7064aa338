//! Tells the server how an attempt ended, until it is answered: no outcome is dropped in silence.

use std::sync::Arc;
use std::time::Duration;

use baton_api::ProblemCode;
use baton_api::claim::ClaimView;
use baton_api::complete::{CompleteRequest, ErrorFields, FailRequest, ReleaseRequest};
use baton_api::complete::{CompletedView, EndedView};
use baton_api::task::TaskView;
use baton_client::{Client, ClientError};
use baton_model::limits;
use serde_json::value::to_raw_value;
use tokio::time::{Instant, sleep, timeout};

use crate::beat::obey;
use crate::claim::{jittered, out_of_reach, worth_another_try};
use crate::detour::{self, Detour};
use crate::follow::follow;
use crate::outcome::{Outcome, TIMED_OUT};
use crate::shared::{Listed, Shared, UnheardClaim};
use crate::stop::Phase;

/// The longest pause between two tries.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The most characters of a failure's message that go into the log.
const LOGGED_CHARS: usize = 300;
/// How long a worker that was told to stop goes on trying.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Delivers an outcome. The answer is the task that a completion brought along.
pub(crate) async fn deliver(
    shared: &Arc<Shared>,
    task: &TaskView,
    outcome: Outcome,
    listed: &Arc<Listed>,
) -> Option<TaskView> {
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
            Ok(Heard::Server(answer)) => return answered(shared, answer, &told).await,
            Ok(Heard::Detour(claim)) => {
                shared.count(|counts| {
                    counts.detoured += 1;
                    counts.unconfirmed += 1;
                });
                if claim.is_none() {
                    told.claim_nothing();
                }
                follow(shared, task.clone(), told, Arc::clone(listed), claim);
                return None;
            }
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
pub(crate) enum Told {
    Complete(Box<CompleteRequest>),
    Fail(Box<FailRequest>),
    Release(ReleaseRequest),
}

pub(crate) enum Answer {
    Completed(Box<CompletedView>),
    Failed(EndedView),
    Released(EndedView),
}

/// Who has an outcome.
enum Heard {
    Server(Answer),
    /// The detour, on the server's behalf. The server may have heard of it too, and have granted its claim.
    Detour(Option<UnheardClaim>),
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
    pub(crate) fn instead(&self, shared: &Shared, task: &TaskView, error: &ClientError) -> Option<Self> {
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

    fn claims(&self) -> bool {
        matches!(self, Self::Complete(request) if request.claim.is_some())
    }

    /// Leaves the claim for a next task out: the slot is free, and is filled by the claims.
    fn claim_nothing(&mut self) {
        if let Self::Complete(request) = self {
            request.claim = None;
        }
    }

    pub(crate) fn name(&self) -> &'static str {
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

    pub(crate) async fn send(&self, client: &Client, task: &TaskView) -> Result<Answer, ClientError> {
        Ok(match self {
            Self::Complete(request) => Answer::Completed(Box::new(client.complete(task.id, request).await?)),
            Self::Fail(request) => Answer::Failed(client.fail(task.id, request).await?),
            Self::Release(request) => Answer::Released(client.release(task.id, request).await?),
        })
    }
}

/// Sends an outcome by the detour, which must say in time that it has it.
async fn by_detour(
    detour: &dyn Detour,
    task: &TaskView,
    told: &Told,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let message = told.message(task)?;
    match timeout(detour::SENDING, detour.send(message)).await {
        Ok(sent) => sent,
        Err(_) => Err(format!("no answer in {} s", detour::SENDING.as_secs()).into()),
    }
}

/// Whether the server says that the attempt is no longer this worker's.
pub(crate) fn is_refusal(error: &ClientError) -> bool {
    error.problem().is_some_and(|problem| problem.status == 409)
        || error.code() == Some(ProblemCode::TaskNotFound)
}

/// Sends until an answer comes or, once the worker is to stop, until patience ends.
async fn until_answered(shared: &Arc<Shared>, task: &TaskView, told: &Told) -> Result<Heard, Unheard> {
    let client = shared.client.with_deadline(Duration::ZERO);
    let mut pause = Duration::from_millis(200);
    let mut tries: u32 = 0;
    let mut claim = None;
    let mut detour_refused = false;
    let began = Instant::now();
    let mut end: Option<Instant> = None;
    loop {
        let error = match told.send(&client, task).await {
            Ok(answer) => return Ok(Heard::Server(answer)),
            Err(error) => error,
        };
        if is_refusal(&error) {
            return Err(Unheard::Refused(error));
        }
        if !worth_another_try(&error) {
            return Err(Unheard::Misfit(error));
        }
        if told.claims() && claim.is_none() && !error.is_untouched() {
            claim = Some(shared.unheard_claim());
        }
        tries += 1;
        let stopping = shared.stop.phase() == Phase::Stop;
        if let Some(detour) = &shared.options.detour
            && (stopping || began.elapsed() >= detour::PATIENCE)
            && out_of_reach(&error)
        {
            match by_detour(&**detour, task, told).await {
                Ok(()) => {
                    tracing::warn!(%error, outcome = told.name(), "the server is out of reach; the outcome went by the detour");
                    return Ok(Heard::Detour(claim));
                }
                Err(refused) if tries.is_power_of_two() || !detour_refused => {
                    detour_refused = true;
                    tracing::warn!(error = %refused, outcome = told.name(), "the detour does not take the outcome either; both ways are tried again");
                }
                Err(_) => {}
            }
        }
        if stopping && *end.get_or_insert(Instant::now() + LAST_PATIENCE) <= Instant::now() {
            return Err(Unheard::OutOfTime(error));
        }
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

/// Counts and logs what the server has answered. The answer is the task that a completion brought along.
pub(crate) async fn answered(shared: &Arc<Shared>, answer: Answer, told: &Told) -> Option<TaskView> {
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
    give_back(shared, &task, "the worker ends").await;
    None
}

/// Gives a task back that came along with a completion and cannot be run here.
pub(crate) async fn give_back(shared: &Arc<Shared>, task: &TaskView, reason: &str) {
    let listed = Arc::new(shared.list(task.id, task.attempt));
    let outcome = Outcome::Released { delay: Duration::ZERO, reason: reason.to_owned() };
    Box::pin(deliver(shared, task, outcome, &listed)).await;
}
