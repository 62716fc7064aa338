//! Why a task waits, in words, and as far as the caller is to know.

use axum::extract::State;
use baton_api::why::{HolderView, ReasonView, WaitedView, WhyView};
use baton_http::{ApiResult, App, Caller, PathId, QueryFields, ok, wire};
use baton_model::queue::Pause;
use baton_model::takes::Taker;
use baton_model::why::{Ahead, FullLimit, Waited};
use baton_model::{QueueName, Reason, State as TaskState, TaskId, Timestamp, Why, WorkerId};
use baton_store::StoreError;

/// Show why a task waits
///
/// Every reason that holds now, in the order in which they must be lifted: the tasks that it waits for, when it is due, that its
/// queue is paused, which limits are full and who holds them, that it is given out alone, that no live worker takes it, and about
/// how many come before it. A token that is bound is told of no tasks and no workers beyond its bounds, and one that is bound to a
/// project not by whom and why the queue is paused, nor how many tasks come before it.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/why",
    tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    responses(
        (status = 200, description = "Why it waits", body = WhyView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get_why(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<TaskId>,
    query: QueryFields,
) -> ApiResult {
    query.finish()?;
    let why = app.store.why(id, app.now()).await?;
    if !caller.covers(&why.queue, &why.project) {
        return Err(StoreError::TaskNotFound(id).into());
    }
    ok(&why_view(&caller, why))
}

/// Why a task waits, as far as the caller is to know.
pub fn why_view(caller: &Caller, why: Why) -> WhyView {
    let message = summary(&why);
    let waits = why.waits();
    let Why { task, queue, project, task_type, affinity, status, attempt, worker, reasons } = why;
    let kind = match &affinity {
        Some(affinity) => format!("{task_type} of queue {queue} with affinity {affinity}"),
        None => format!("{task_type} of queue {queue}"),
    };
    let reasons = reasons.into_iter().map(|reason| {
        let (word, keeps) = (reason.word().to_owned(), reason.keeps());
        let told = match reason {
            Reason::Expired { at } => expired(at),
            Reason::Blocked { by } => blocked(caller, by),
            Reason::Scheduled { at } => scheduled(at),
            Reason::Paused(pause) => paused(caller, &queue, pause),
            Reason::AtLimit(full) => at_limit(caller, full),
            Reason::OnlyAlone { makes_room } => only_alone(caller, makes_room),
            Reason::NoWorker { last, unseen } => no_worker(caller, &kind, last, unseen),
            Reason::Behind(ahead) => behind(caller, ahead),
        };
        ReasonView { reason: word, keeps, ..told }
    });
    let reasons = reasons.collect();
    WhyView {
        task_id: task,
        queue,
        project,
        task_type,
        affinity,
        status,
        attempt,
        worker_id: worker,
        waits,
        message,
        reasons,
    }
}

/// All of it in one sentence.
fn summary(why: &Why) -> String {
    match (why.status.state(), &why.worker) {
        (TaskState::Running, Some(worker)) => format!("it does not wait: {worker} runs it"),
        (TaskState::Blocked | TaskState::Queued, _) => match (why.reasons.len(), why.is_kept()) {
            (0, _) => "nothing keeps it: it is next, and goes to the next claim that takes it".to_owned(),
            (_, true) => "no claim is given it before these are lifted".to_owned(),
            (_, false) => "it may be claimed, and waits for a worker or for its turn".to_owned(),
        },
        (state, _) => format!("it does not wait: it is {state}"),
    }
}

fn count(tasks: usize) -> String {
    if tasks == 1 { "1 task".to_owned() } else { format!("{tasks} tasks") }
}

fn blocked(caller: &Caller, by: Vec<Waited>) -> ReasonView {
    let message = match by.len() {
        0 => "nothing is left that it waits for: it is about to be let go".to_owned(),
        tasks => format!("it waits for {} to end", count(tasks)),
    };
    let all = by.len();
    let waits_for: Vec<_> = by
        .into_iter()
        .filter_map(|Waited { task, standing }| {
            let standing = standing.filter(|one| caller.covers(&one.queue, &one.project))?;
            Some(WaitedView { task_id: task, status: standing.status })
        })
        .collect();
    ReasonView { message, more: waits_for.len() < all, waits_for, ..ReasonView::default() }
}

fn expired(at: Timestamp) -> ReasonView {
    let message = format!("it expired at {at}: no attempt had begun by then, and it is about to fail");
    ReasonView { message, ..ReasonView::default() }
}

fn scheduled(at: Timestamp) -> ReasonView {
    ReasonView { message: format!("it is due at {at}"), next_at: Some(at), ..ReasonView::default() }
}

fn paused(caller: &Caller, queue: &QueueName, pause: Pause) -> ReasonView {
    // A queue is shared by all projects: what one of them is the reason for is not for the others.
    let pause = match caller.project() {
        Some(_) => Pause { since: pause.since, by: None, reason: None },
        None => pause,
    };
    let by = pause.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let why = pause.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let message = format!("queue {queue} is paused since {}{by}{why}", pause.since);
    ReasonView { message, pause: Some(pause.into()), ..ReasonView::default() }
}

fn at_limit(caller: &Caller, full: FullLimit) -> ReasonView {
    let FullLimit { on, max_running, taken, next_at, holders } = full;
    let mut message = wire::at_limit(&on, next_at);
    if let (None, Some(most)) = (next_at, max_running) {
        message.push_str(&format!(" ({taken} of {most})"));
    }
    let seen = holders.into_iter().filter(|one| caller.covers(&one.queue, &one.project));
    let holders: Vec<_> = seen.map(|one| HolderView { task_id: one.task, worker_id: one.worker }).collect();
    ReasonView {
        message,
        more: next_at.is_none() && holders.len() < taken as usize,
        limit: Some(on),
        next_at,
        max_running,
        taken: Some(taken),
        holders,
        ..ReasonView::default()
    }
}

fn only_alone(caller: &Caller, makes_room: Option<WorkerId>) -> ReasonView {
    let told = match (&makes_room, caller.is_bound()) {
        (None, _) => String::new(),
        (Some(_), true) => "; one makes room for it".to_owned(),
        (Some(worker), false) => format!("; {worker} makes room for it"),
    };
    let message =
        format!("it was lost with its workers before, and is given to a worker that holds nothing{told}");
    ReasonView { message, worker_id: makes_room.filter(|_| !caller.is_bound()), ..ReasonView::default() }
}

fn no_worker(caller: &Caller, kind: &str, last: Option<Taker>, unseen: bool) -> ReasonView {
    let mut message = format!("no live worker takes type {kind}");
    if unseen {
        message.push_str(", of those that were looked at");
    }
    let Some(Taker { worker, status, heard_at, .. }) = last else {
        return ReasonView { message, more: unseen, ..ReasonView::default() };
    };
    let name = if caller.is_bound() { "one" } else { worker.as_str() };
    message
        .push_str(&format!("; {name} did, which is {} and was heard of last at {heard_at}", status.as_str()));
    ReasonView {
        message,
        more: unseen,
        worker_id: Some(worker).filter(|_| !caller.is_bound()),
        worker_status: Some(status),
        last_heard_at: Some(heard_at),
        ..ReasonView::default()
    }
}

fn behind(caller: &Caller, Ahead { tasks, at_least }: Ahead) -> ReasonView {
    // What waits of other projects is not told.
    if caller.project().is_some() {
        let message = "others of its queue may come before it".to_owned();
        return ReasonView { message, ..ReasonView::default() };
    }
    let some = if at_least { "more than" } else { "about" };
    let (what, come) = if tasks == 1 { ("task", "comes") } else { ("tasks", "come") };
    let message = format!("{some} {tasks} {what} of its queue {come} before it");
    ReasonView { message, ahead: Some(tasks), more: at_least, ..ReasonView::default() }
}
