//! From what callers ask to the store's commands, and from its answers to what callers are shown, where more than one
//! function needs it.

use baton_api::FieldError;
use baton_api::claim::ClaimRequest;
use baton_api::claim::{ClaimView, NothingView};
use baton_api::fleet::{HeldView, PercentilesView, QueueView, WorkerView};
use baton_api::supervised::SupervisedView;
use baton_api::task::{Page as PageView, TaskView};
use baton_model::life::Supervised;
use baton_model::{
    LeasePolicy, LeaseTerms, LimitOn, Living, QueueName, RequestKey, Status, TaskType, Timestamp, Watch,
    limits,
};
use baton_runtime::telemetry::CLAIMS;
use baton_store::{Claim, ClaimAnswer, Nothing, Page, Percentiles, QueueStats, Waits, WorkerDetail};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::meters::Meters;

/// A claim as the store takes it, within the caller's bounds.
///
/// # Errors
/// 403 if it names queues beyond them; 422 if its own name is that of a claim which comes with a completion.
pub fn claim(app: &App, caller: &Caller, request: ClaimRequest, now: Timestamp) -> Result<Claim, ApiError> {
    if let Some(name) = request.request_id.as_ref().filter(|name| name.is_of_completion()) {
        return Err(of_completion(name, "request_id"));
    }
    let mut warm = request.warmth();
    let mut queues = caller.claim_queues(request.queues)?;
    let mut types = request.types;
    keep_first_of_each(&mut queues);
    keep_first_of_each(&mut types);
    keep_first_of_each(&mut warm.names);
    Ok(Claim {
        now,
        worker: request.worker_id,
        session: request.session_id,
        caller: caller.owner(),
        queues,
        types,
        warm,
        max_tasks: request.max_tasks.unwrap_or(1),
        cap: request.capacity.unwrap_or(app.worker_cap()).min(limits::WORKER_CAPACITY),
        capacity: request.capacity,
        terms: request.lease_seconds.map_or(LeaseTerms::Heartbeats, LeaseTerms::Fixed),
        request: request.request_id,
    })
}

fn keep_first_of_each<T: PartialEq + Clone>(names: &mut Vec<T>) {
    if names.len() < 2 {
        return;
    }
    let mut seen = Vec::with_capacity(names.len());
    names.retain(|name| {
        let new = !seen.contains(name);
        seen.push(name.clone());
        new
    });
}

/// What a claim found, as of `now`; `queues` and `types` are those that it named.
pub fn claim_view(
    meters: &Meters,
    answer: ClaimAnswer,
    queues: &[QueueName],
    types: &[TaskType],
    now: Timestamp,
) -> ClaimView {
    match answer {
        ClaimAnswer::Leased(tasks) => {
            log_claims(&tasks);
            let shown = |task| {
                let span = meters.claimed(&task);
                let mut view = TaskView::new(task, now);
                if let (Some(lease), Some(_)) = (&mut view.lease, span) {
                    lease.traceparent = span;
                }
                view
            };
            ClaimView { tasks: tasks.into_iter().map(shown).collect(), nothing: None }
        }
        ClaimAnswer::Nothing(nothing) => {
            ClaimView { tasks: Vec::new(), nothing: Some(nothing_view(nothing, queues, types)) }
        }
    }
}

/// The refusal of a claim that has, in this field, the name of one which comes with a completion
/// ([`RequestKey::of_completion`]) and is not that one.
pub fn of_completion(name: &RequestKey, field: &str) -> ApiError {
    let expected = "a name other than a task's id with @ and an attempt, which is that of the claim that comes with the \
                    attempt's completion";
    let got = format!("{:?}", name.as_str());
    ApiError::fields(vec![FieldError { field: field.to_owned(), expected: expected.to_owned(), got }])
}

fn log_claims(tasks: &[baton_model::Task]) {
    for task in tasks {
        let baton_model::TaskState::Running(lease) = &task.head.state else { continue };
        tracing::info!(
            target: CLAIMS,
            task_id = %task.head.id,
            task_type = %task.task_type,
            queue = %task.queue,
            domain = task.domain.as_ref().map(tracing::field::display),
            attempt = task.head.attempt,
            worker_id = %lease.worker,
            "task claimed"
        );
    }
}

fn nothing_view(nothing: Nothing, queues: &[QueueName], types: &[TaskType]) -> NothingView {
    let list = |names: Vec<&str>| names.join(", ");
    let among = || {
        let queues = list(queues.iter().map(QueueName::as_str).collect());
        if types.is_empty() {
            format!("in queue {queues}")
        } else {
            format!("of type {} in queue {queues}", list(types.iter().map(TaskType::as_str).collect()))
        }
    };
    let mut view = NothingView {
        reason: nothing.word().to_owned(),
        message: String::new(),
        limit: None,
        next_at: None,
        directive: None,
    };
    view.message = match nothing {
        Nothing::NoneQueued => {
            format!("no task {} is ready or for later; what waits for other tasks does not count", among())
        }
        Nothing::Scheduled { next_at } => {
            view.next_at = Some(next_at);
            format!("no task {} is due before {next_at}", among())
        }
        Nothing::NotWarm => {
            format!("tasks wait {}, and none of them is for what the worker has warm", among())
        }
        Nothing::RunsAlone => {
            "the worker runs a task that was lost with its workers before, and is given nothing else until that attempt has \
             ended"
                .to_owned()
        }
        Nothing::MakesRoom => {
            "a task that was lost with its workers before waits for a worker that holds nothing: this one is given it once \
             what it holds has ended, and nothing until then"
                .to_owned()
        }
        Nothing::OnlyAlone => format!(
            "only tasks wait {} that were lost with their workers before: they are given to workers that hold nothing",
            among()
        ),
        Nothing::AtLimit { limit, next_at } => {
            let message = format!("tasks wait {}, and {}", among(), at_limit(&limit, next_at));
            (view.limit, view.next_at) = (Some(limit), next_at);
            message
        }
        Nothing::AtCap { active, cap } => format!(
            "the worker holds {active} tasks and may hold {cap}; finish one, or claim with a larger capacity"
        ),
        Nothing::Paused { queues } => {
            format!("paused: {}; resume to go on", list(queues.iter().map(QueueName::as_str).collect()))
        }
        Nothing::Directed { directive } => {
            view.directive = Some(directive);
            format!("an operator has asked the worker to {}", directive.as_str())
        }
        Nothing::RequestSpent => {
            "this request_id was answered before, and its leases are gone since; claim with a fresh one"
                .to_owned()
        }
    };
    view
}

/// What a limit does that lets no task start, for people.
pub fn at_limit(limit: &LimitOn, next_at: Option<Timestamp>) -> String {
    match next_at {
        Some(next_at) => format!("the limit of {limit} lets none start before {next_at}"),
        None => {
            format!(
                "the limit of {limit} is full; the next one starts when one of those ends that run under it"
            )
        }
    }
}

/// A page of anything.
pub fn page<T, V>(page: Page<T>, show: impl Fn(T) -> V) -> PageView<V> {
    PageView { items: page.items.into_iter().map(show).collect(), next_cursor: page.next.map(|next| next.0) }
}

/// A worker with what it holds, as of `now`; `supervised` is what its supervisor tells, if the server has it.
pub fn worker_view(
    detail: WorkerDetail,
    supervised: Option<&SupervisedView>,
    policy: &LeasePolicy,
    now: Timestamp,
) -> WorkerView {
    let WorkerDetail { worker, active, leases } = detail;
    let supervised = supervised.map(|told| Supervised {
        state: &told.state,
        since: told.since,
        last_exit: told.last_exit.as_deref(),
    });
    let life = Living::of(&worker, active, supervised, policy, now);
    let status = worker.status(policy, now);
    let contested_at = worker.contested_at.filter(|_| worker.is_contested(&Watch::at(now)));
    let progress_of = |task, attempt| {
        let running = worker.running.iter().flatten();
        running.filter(|said| said.task == task && said.attempt == attempt).find_map(|said| said.progress)
    };
    let tasks = leases
        .into_iter()
        .map(|(task_id, attempt)| HeldView { task_id, attempt, progress: progress_of(task_id, attempt) })
        .collect();
    WorkerView {
        id: worker.id,
        status,
        life: Some(life.into()),
        session_id: worker.session,
        started_at: worker.started_at,
        contested_at,
        last_beat_at: worker.last_beat_at,
        ended_at: worker.ended_at,
        directive: worker.directive,
        directed: worker.directed.map(Into::into),
        capacity: worker.capacity,
        active,
        tasks,
        readings: worker.readings,
        labels: worker.labels,
        lately: None,
    }
}

/// A queue.
pub fn queue_view(stats: QueueStats) -> QueueView {
    let Waits { ready, created, retry } = stats.waits;
    QueueView {
        name: stats.queue,
        paused: stats.pause.is_some(),
        pause: stats.pause.map(Into::into),
        order: (!stats.order.is_usual()).then(|| stats.order.into()),
        defaults: (!stats.defaults.is_none()).then(|| stats.defaults.into()),
        used: stats.used,
        waiting: stats.queued,
        queued: ready.tasks,
        created: created.tasks,
        retry: retry.tasks,
        at_least: [(Status::Queued, ready), (Status::Created, created), (Status::Retry, retry)]
            .into_iter()
            .filter(|(_, number)| number.at_least)
            .map(|(status, _)| status.as_str().to_owned())
            .collect(),
        running: stats.running,
        oldest_ready_seconds: stats.oldest_ready.map(|age| age.as_secs_f64()),
        oldest_running_seconds: stats.oldest_running.map(|age| age.as_secs_f64()),
        wait: percentiles_view(stats.wait),
        run: percentiles_view(stats.run),
        counted_at: stats.counted_at,
    }
}

fn percentiles_view(percentiles: Percentiles) -> PercentilesView {
    PercentilesView {
        count: percentiles.count,
        p50_seconds: percentiles.p50.as_secs_f64(),
        p95_seconds: percentiles.p95.as_secs_f64(),
        p99_seconds: percentiles.p99.as_secs_f64(),
    }
}
