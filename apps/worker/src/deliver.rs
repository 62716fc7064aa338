//! Tells the server how an attempt ended, until it is answered: no outcome is dropped in silence.

use std::sync::Arc;
use std::time::Duration;

use baton_api::task::TaskView;
use baton_client::ClientError;
use baton_model::TraceParent;
use tokio::time::{Instant, sleep, timeout};

use crate::detour::{self, Detour};
use crate::ends::Ends;
use crate::outcome::Outcome;
use crate::retry::{is_refusal, jittered, out_of_reach, worth_another_try};
use crate::shared::{Shared, UnheardClaim};
use crate::stop::Phase;
use crate::told::{Answer, Told};

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a worker that was told to stop goes on trying.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// What became of an outcome.
pub(crate) enum Delivered {
    /// It is with the server. A completion may have brought the next task.
    Over(Option<Box<TaskView>>),
    /// Nobody takes it any more, and in a word why.
    Nowhere(&'static str),
    /// It went by the detour; the server has yet to confirm it.
    Detoured(Detoured),
}

/// An outcome that went by the detour.
pub(crate) struct Detoured {
    pub(crate) told: Told,
    /// The claim in it, if it may have been granted.
    pub(crate) claim: Option<UnheardClaim>,
}

/// The attempt is another's, or over.
const LOST: &str = "lost";
/// The server takes no outcome of it, or could not be reached for as long as it was tried.
const UNDELIVERED: &str = "undelivered";

/// Delivers an outcome, as a part of `span` if it is spanned.
pub(crate) async fn deliver(
    shared: &Arc<Shared>,
    ends: &Arc<Ends>,
    task: &TaskView,
    outcome: Outcome,
    span: Option<TraceParent>,
) -> Delivered {
    let mut told = match Told::new(shared, task, outcome) {
        Ok(told) => told,
        Err(reason) => {
            shared.count(|counts| counts.lost += 1);
            tracing::warn!(reason, "nothing to deliver: the attempt was taken away");
            return Delivered::Nowhere(LOST);
        }
    };
    loop {
        match until_answered(shared, ends, task, &told, span).await {
            Ok(Heard::Server(answer)) => {
                return Delivered::Over(answered(shared, answer, &told).map(Box::new));
            }
            Ok(Heard::Detour(claim)) => {
                shared.count(|counts| {
                    counts.detoured += 1;
                    counts.unconfirmed += 1;
                });
                if claim.is_none() {
                    told.claim_nothing();
                }
                return Delivered::Detoured(Detoured { told, claim });
            }
            Err(Unheard::Refused(error)) if told.is_timeout() => {
                shared.count(|counts| counts.lost += 1);
                // Both watch the clock; nothing is lost when the server was the first.
                tracing::info!(%error, "the attempt ran past its timeout; the server has taken it back already");
                return Delivered::Nowhere(LOST);
            }
            Err(Unheard::Refused(error)) => {
                shared.count(|counts| counts.lost += 1);
                tracing::warn!(%error, outcome = told.name(), "the outcome came too late: the attempt is no longer this worker's");
                return Delivered::Nowhere(LOST);
            }
            Err(Unheard::Misfit(error)) => match told.instead(shared, task, &error) {
                Some(smaller) => {
                    tracing::warn!(%error, outcome = told.name(), "the server does not take this outcome; the attempt is failed instead");
                    told = smaller;
                }
                None => {
                    shared.count(|counts| counts.undelivered += 1);
                    tracing::error!(%error, outcome = told.name(), "the server takes no outcome of this attempt; its lease will run out");
                    return Delivered::Nowhere(UNDELIVERED);
                }
            },
            Err(Unheard::OutOfTime(error)) => {
                shared.count(|counts| counts.undelivered += 1);
                tracing::error!(%error, outcome = told.name(), content = %told.content(),
                    "the outcome could not be delivered in time; the task will be run again");
                return Delivered::Nowhere(UNDELIVERED);
            }
        }
    }
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
    /// The worker has to end, or its token has not been taken for too long.
    OutOfTime(ClientError),
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

/// Sends until an answer comes or, once the worker is to stop or its token is not taken, until patience ends.
async fn until_answered(
    shared: &Arc<Shared>,
    ends: &Arc<Ends>,
    task: &TaskView,
    told: &Told,
    span: Option<TraceParent>,
) -> Result<Heard, Unheard> {
    let client = ends.client.clone().in_span(span);
    let alone = client.without_gathering();
    let mut pause = Duration::from_millis(200);
    let mut tries: u32 = 0;
    let mut claim = None;
    let mut detour_refused = false;
    let began = Instant::now();
    let mut end: Option<Instant> = None;
    let mut denied: Option<Instant> = None;
    loop {
        // A claim that may have been heard is sent again under its own name, and so alone.
        let sent = told.send(if claim.is_some() { &alone } else { &client }, task.id).await;
        let error = match sent.answer {
            Ok(answer) => return Ok(Heard::Server(answer)),
            Err(error) => error,
        };
        if is_refusal(&error) {
            return Err(Unheard::Refused(error));
        }
        if !worth_another_try(&error) {
            return Err(Unheard::Misfit(error));
        }
        if sent.alone && told.claims() && claim.is_none() && !error.is_untouched() {
            claim = Some(shared.unheard_claim());
        }
        tries += 1;
        let stopping = shared.stop.phase() == Phase::Stop;
        if !stopping {
            // It was called off: another stop has a patience of its own.
            end = None;
        }
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
        if error.is_denied()
            && denied.get_or_insert_with(Instant::now).elapsed() >= shared.options.denied_patience
        {
            return Err(Unheard::OutOfTime(error));
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
pub(crate) fn answered(shared: &Shared, answer: Answer, told: &Told) -> Option<TaskView> {
    match answer {
        Answer::Completed(answer) => {
            shared.count(|counts| counts.completed += 1);
            tracing::info!(generation_id = %answer.generation_id, "completed");
            if let Some(problem) = answer.next_problem {
                shared.next_failed(&problem);
            }
            let claim = answer.next?;
            if let Some(directive) = claim.nothing.and_then(|nothing| nothing.directive) {
                shared.obey(directive);
            }
            claim.tasks.into_iter().next()
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
