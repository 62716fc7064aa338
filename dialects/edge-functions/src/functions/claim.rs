//! `claim-next-task`.

use std::time::Duration;

use baton_http::Caller;
use baton_model::{
    Label, LeaseTerms, QueueName, State, Task, TaskState, Wants, Warm, Worker, WorkerId, limits,
};
use baton_runtime::telemetry::CLAIMS;
use baton_store::{Claim, ClaimAnswer, StoreError, TaskFilter};
use http::StatusCode;
use serde_json::{Value, json};

use super::model::CURRENT_MODEL;
use crate::caps;
use crate::cascade;
use crate::edge::Edge;
use crate::ending;
use crate::row::{attempts, id_of};
use crate::types::RunType;
use crate::words::{Answer, Object, Said, Word, empty, ok, text, text_of};

/// How long after a claim a worker that runs one task at a time may ask again without having lost its answer: it waits 15 s for one,
/// and rests 10 s between two.
const ANSWER_LOST: Duration = Duration::from_secs(5);
/// How often an attempt is answered once more.
const REPEATS: u32 = 2;
/// How long after a claim its answer may still have been lost, and not its worker.
const BEGUN: Duration = Duration::from_secs(600);
/// Why an attempt failed whose worker goes on asking for it.
const BEGAN_ANEW: &str = "the worker asks for its task again and again, and has neither completed nor failed it: it was started anew";
/// How long a task of another model waits at most, in minutes, unless a worker says.
const MOST_WAIT_MINUTES: f64 = 5.0;

/// Gives a worker one task.
pub(crate) async fn claim(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let run_type = run_type(body)?;
    if body.get("dry_run").is_some_and(|dry| *dry == true) {
        return rehearse(edge, caller, run_type).await;
    }
    let worker = worker(caller, body)?;
    caller.keep_room_for_tasks(&edge.app, 1).await?;
    caps::ensure(edge, None).await?;
    let known = match edge.app.store.worker(&worker).await {
        Ok(detail) => Some(detail),
        Err(StoreError::WorkerNotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    if run_type != Some(RunType::Api)
        && let Some(detail) = &known
        && let Some(task) = unanswered(edge, caller, &detail.leases).await?
        && !given_up(edge, caller, &task).await?
    {
        tracing::info!(task_id = %task.head.id, worker_id = %worker, "task answered once more to the worker that holds it");
        return told(&task);
    }
    let known = known.map(|detail| detail.worker);
    let claim = command(edge, caller, body, (worker, run_type), known.as_ref())?;
    let most = claim.max_tasks;
    match caller.sift(edge.app.store.claim(claim).await?, most) {
        ClaimAnswer::Leased(tasks) => match tasks.first() {
            Some(task) => {
                // What this platform's workers are told has no place for the attempt's span.
                edge.app.meters.claimed(task);
                log(task);
                told(task)
            }
            None => Ok(empty(StatusCode::NO_CONTENT)),
        },
        ClaimAnswer::Nothing(nothing) => {
            tracing::debug!(reason = nothing.word(), "a claim found nothing");
            Ok(empty(StatusCode::NO_CONTENT))
        }
    }
}

fn run_type(body: &Object) -> Result<Option<RunType>, Said> {
    match text(body, "run_type") {
        None => Ok(None),
        Some(name) => match RunType::named(name) {
            Some(run_type) => Ok(Some(run_type)),
            None => Err(text_of(400, "run_type must be gpu or api").into()),
        },
    }
}

/// Who claims: by name; a person's own worker may go without, and then goes by its token.
fn worker(caller: &Caller, body: &Object) -> Result<WorkerId, Said> {
    match (text(body, "worker_id"), caller.token().filter(|_| caller.is_bound())) {
        (Some(name), _) => name.parse().map_err(|error| text_of(400, format!("worker_id: {error}")).into()),
        (None, Some(token)) => Ok(WorkerId::from_stored(format!("token-{}", token.id))),
        (None, None) => Err(text_of(400, "worker_id is required").into()),
    }
}

fn queues(run_type: Option<RunType>) -> Vec<QueueName> {
    match run_type {
        Some(one) => vec![one.queue()],
        None => RunType::ALL.map(RunType::queue).to_vec(),
    }
}

/// The queues of a run type that the caller reaches. A person's worker takes all that is theirs.
fn reached(caller: &Caller, run_type: Option<RunType>) -> Vec<QueueName> {
    let run_type = run_type.filter(|_| caller.project().is_none());
    queues(run_type).into_iter().filter(|queue| caller.covers_queue(queue)).collect()
}

/// The task that the worker holds and asks for again, as it never had the answer to its claim: a GPU worker runs one at a time, and
/// asks only when it has none. Orchestrators go on running while their worker takes others.
async fn unanswered(
    edge: &Edge,
    caller: &Caller,
    leases: &[(baton_model::TaskId, u32)],
) -> Result<Option<Task>, Said> {
    let before = edge.app.now().minus(ANSWER_LOST);
    for (id, _) in leases.iter().rev() {
        let Some(detail) = edge.task(caller, *id).await? else { continue };
        let TaskState::Running(lease) = &detail.task.head.state else { continue };
        let lost = lease.claimed_at <= before && lease.expires_at.is_none();
        if lost && !edge.types.is_orchestrator(&detail.task.task_type) {
            return Ok(Some(detail.task));
        }
    }
    Ok(None)
}

/// Gives an attempt up that its worker has asked for too often, or too long after its claim: it has had the task, and was started anew
/// without a last word. The attempt counts, so that a task which its worker does not live through fails in the end.
async fn given_up(edge: &Edge, caller: &Caller, task: &Task) -> Result<bool, Said> {
    let TaskState::Running(lease) = &task.head.state else { return Ok(false) };
    let is_old = lease.claimed_at <= edge.app.now().minus(BEGUN);
    if !is_old && edge.repeated(task) <= REPEATS {
        return Ok(false);
    }
    match ending::fail(edge, caller, task, (BEGAN_ANEW, Some("worker_restarted")), true).await {
        Ok(task) if Word::of(task.head.state.state()) == Word::Failed => {
            cascade::after_failure(edge, caller, &task, Word::Failed, BEGAN_ANEW).await?;
        }
        Ok(_) => {}
        // It has ended since it was looked at.
        Err(Said::Baton(error)) if ending::has_changed(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(true)
}

fn command(
    edge: &Edge,
    caller: &Caller,
    body: &Object,
    (worker, run_type): (WorkerId, Option<RunType>),
    known: Option<&Worker>,
) -> Result<Claim, Said> {
    let queues = reached(caller, run_type);
    if queues.is_empty() {
        return Err(text_of(403, "the token does not reach tasks of this run type").into());
    }
    // A GPU worker's heartbeats come from a process beside it, and may begin after its first claim.
    // The API orchestrator's are seldom, if there are any.
    let is_api = run_type == Some(RunType::Api);
    let beats = !is_api && known.is_some_and(|worker| worker.last_beat_at.is_some());
    let will_beat = !is_api && !caller.is_bound();
    let terms = if beats || will_beat {
        LeaseTerms::Heartbeats
    } else {
        LeaseTerms::Fixed(edge.settings.silent_lease)
    };
    Ok(Claim {
        caller: caller.owner(),
        queues,
        warm: warm(body, known),
        cap: limits::WORKER_CAPACITY,
        terms,
        ..Claim::new(worker, edge.app.now())
    })
}

fn warm(body: &Object, known: Option<&Worker>) -> Warm {
    let same_only = body.get("same_model_only").is_some_and(|only| *only == true);
    let model = known
        .and_then(|worker| worker.labels.get(CURRENT_MODEL))
        .and_then(|model| model.parse::<Label>().ok());
    let Some(model) = model.filter(|_| same_only) else { return Warm::default() };
    let minutes = body.get("max_task_wait_minutes").and_then(Value::as_f64).unwrap_or(MOST_WAIT_MINUTES);
    let pass_over = Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(Warm::PASS_OVER);
    Warm { names: vec![model], wants: Wants::Prefer { pass_over } }
}

fn told(task: &Task) -> Answer {
    ok(&json!({
        "task_id": id_of(task),
        "params": task.params.to_value(),
        "task_type": task.task_type,
        "project_id": task.project,
        "attempts": attempts(task),
    }))
}

fn log(task: &Task) {
    let TaskState::Running(lease) = &task.head.state else { return };
    tracing::info!(
        target: CLAIMS,
        task_id = %task.head.id,
        task_type = %task.task_type,
        queue = %task.queue,
        attempt = task.head.attempt,
        worker_id = %lease.worker,
        "task claimed"
    );
}

/// Says whether there is something to claim, and claims nothing.
async fn rehearse(edge: &Edge, caller: &Caller, run_type: Option<RunType>) -> Answer {
    let mut waiting = None;
    for queue in reached(caller, run_type) {
        let statuses = vec![baton_model::Status::Queued];
        let filter =
            TaskFilter { queue: Some(queue), statuses, now: edge.app.now(), ..TaskFilter::default() };
        let found = edge.tasks(caller, filter, 1, |task| task.head.state.state() == State::Queued).await?;
        waiting = waiting.or(found.into_iter().next());
    }
    match waiting {
        None => Ok(empty(StatusCode::NO_CONTENT)),
        Some(task) => ok(&json!({ "dry_run": true, "task_id": id_of(&task), "task_type": task.task_type })),
    }
}
