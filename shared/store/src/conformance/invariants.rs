//! The invariants that hold whatever has happened.

use std::collections::BTreeMap;

use baton_model::dependency::outlook;
use baton_model::{Dependency, IfDependencyFails, Outlook, State, Status, TaskId, TaskState, Timestamp};

use super::words::*;
use crate::{GenerationFilter, StoreError, TaskDetail, TaskFilter, TaskStore, Tasks, Waits, WorkerDetail};

/// Checks what holds at every time, whatever has happened: of each of the tasks `ids` that still exists, its history
/// and its generation; of the store, that lists, counts and workers tell the same.
pub async fn check_invariants(store: &dyn TaskStore, ids: &[TaskId], now: Timestamp) {
    let mut seen = BTreeMap::new();
    for &id in ids {
        match store.task(id).await {
            Ok(detail) => {
                check_task(store, &detail).await;
                seen.insert(id, detail.task);
            }
            Err(StoreError::TaskNotFound(missing)) if missing == id => {}
            Err(other) => panic!("task {id}: {other}"),
        }
    }

    let filter = TaskFilter { now, ..TaskFilter::default() };
    let list = pages(100, |page| store.tasks(filter.clone(), page)).await;
    for task in &list {
        if let Some(same) = seen.remove(&task.head.id) {
            assert_eq!(*task, same, "a list shows a task as its own page does");
        }
    }
    assert!(seen.is_empty(), "the list lacks {:?}", seen.keys());

    let stats = store.stats(now).await.expect("statistics are given");
    let mut counts = BTreeMap::new();
    for task in &list {
        let key = (task.queue.clone(), Some(task.task_type.clone()), task.head.state.state());
        *counts.entry(key).or_insert(0_u64) += 1;
    }
    let mut told: BTreeMap<_, _> = stats
        .counts
        .iter()
        .filter(|row| row.tasks > 0)
        .map(|row| ((row.queue.clone(), row.task_type.clone(), row.state), row.tasks))
        .collect();
    if !store.capabilities().counts_removals {
        let ended = |counts: &mut BTreeMap<(_, _, State), u64>| {
            counts.extract_if(.., |(_, _, state), _| state.is_final()).collect::<BTreeMap<_, _>>()
        };
        let (told, counts) = (ended(&mut told), ended(&mut counts));
        for (kind, tasks) in counts {
            assert!(told.get(&kind) >= Some(&tasks), "{kind:?}: counted as long as it is there, {told:?}");
        }
    }
    assert_eq!(told, counts, "the counts equal a recount");

    let waiting = store.waiting(now).await.expect("the longest wait is given");
    let oldest = stats.queues.iter().filter_map(|queue| queue.oldest_ready).max();
    assert_eq!(waiting.longest.map(|(_, age)| age), oldest, "the longest wait is the queues' longest");

    for queue in &stats.queues {
        let mine = || list.iter().filter(|task| task.queue == queue.queue);
        let count = |state| mine().filter(|task| task.head.state.state() == state).count() as u64;
        assert_eq!(queue.queued, count(State::Queued), "queued in {}", queue.queue);
        assert_eq!(queue.running, count(State::Running), "running in {}", queue.queue);
        let of = |status| Tasks::exactly(mine().filter(|task| task.status(now) == status).count() as u64);
        let (ready, created, retry) = (of(Status::Queued), of(Status::Created), of(Status::Retry));
        assert_eq!(queue.waits, Waits { ready, created, retry }, "what waits in {}", queue.queue);
    }
    for task in &list {
        let known = stats.queues.iter().any(|queue| queue.queue == task.queue);
        assert!(known, "statistics know the queue {}", task.queue);
    }

    let workers = pages(100, |page| store.workers(page)).await;
    for detail in &workers {
        let mut held: Vec<_> = list
            .iter()
            .filter(
                |task| matches!(&task.head.state, TaskState::Running(lease) if lease.worker == detail.worker.id),
            )
            .map(|task| (task.head.id, task.head.attempt))
            .collect();
        assert_eq!(detail.active as usize, held.len(), "active tasks of {}", detail.worker.id);
        if held.len() <= WorkerDetail::LEASES {
            let mut told = detail.leases.clone();
            told.sort();
            held.sort();
            assert_eq!(told, held, "leases of {}", detail.worker.id);
        }
    }
    for task in &list {
        if let TaskState::Running(lease) = &task.head.state {
            let known = workers.iter().any(|detail| detail.worker.id == lease.worker);
            assert!(known, "the worker {} that holds {} is listed", lease.worker, task.head.id);
        }
    }
}

/// A blocked task waits for something, and what was let go of has all that it waited for.
async fn check_dependencies(store: &dyn TaskStore, detail: &TaskDetail) {
    let (id, task) = (detail.task.head.id, &detail.task);
    let standing = store.linked(task.depends_on.clone()).await.expect("dependencies are given");
    let state_of = |id: TaskId| standing.iter().find(|one| one.id == id).map(|one| one.state);
    let of = |task: TaskId| Dependency { task, state: state_of(task), first: None };
    let outlook = outlook(task.if_dependency_fails, task.depends_on.iter().copied().map(of));
    match task.head.state.state() {
        State::Blocked => assert_eq!(outlook, Outlook::Unmet, "{id} waits for {standing:?}"),
        State::Queued | State::Running if task.if_dependency_fails != IfDependencyFails::Run => {
            assert_eq!(outlook, Outlook::Met, "{id} was let go of, and has {standing:?}");
        }
        State::Queued | State::Running | State::Completed | State::Failed | State::Cancelled => {}
    }
}

pub(super) async fn check_task(store: &dyn TaskStore, detail: &TaskDetail) {
    use baton_model::EventKind::{Claimed, Created};

    let head = &detail.task.head;
    let id = head.id;
    let history = &pages(100, |page| store.history(id, page)).await;
    let shown = history.len().saturating_sub(TaskDetail::EVENTS as usize);
    assert_eq!(detail.history, history[shown..], "{id}: the latest events are shown with it");
    let numbers: Vec<_> = history.iter().map(|event| event.seq).collect();
    assert_eq!(
        numbers,
        (1..=head.events).collect::<Vec<_>>(),
        "{id}: history is numbered from 1 without gaps"
    );

    assert!(
        history.is_sorted_by_key(|event| event.at),
        "{id}: the history does not run backwards: {history:?}"
    );

    let (mut state, mut attempt) = (None, 0);
    for event in history {
        assert_eq!(event.from, state, "{id}: event {} begins where the one before ended", event.seq);
        assert_eq!(event.kind == Created, event.seq == 1, "{id}: created once, at first");
        let raised = attempt + u32::from(event.kind == Claimed);
        assert_eq!(event.attempt, raised, "{id}: a claim, and only that, raises the attempt by one");
        (state, attempt) = (Some(event.to), event.attempt);
    }
    assert_eq!(state, Some(head.state.state()), "{id}: the last event tells the state");
    assert_eq!(attempt, head.attempt, "{id}: the last event tells the attempt");
    assert_eq!(history.first().map(|event| event.at), Some(detail.task.created_at), "{id}: created_at");
    assert_eq!(history.last().map(|event| event.at), Some(detail.task.updated_at), "{id}: updated_at");
    assert!(head.attempts_used() <= head.max_attempts, "{id}: no more attempts than given");

    check_dependencies(store, detail).await;
    let open = head.attempt == 0 || head.state.state() == State::Running;
    assert_eq!(head.ended.is_none(), open, "{id}: the latest attempt has ended unless it runs");
    let finished = head.state.state().is_final().then_some(detail.task.updated_at);
    assert_eq!(detail.task.finished_at, finished, "{id}: finished_at is there if and only if it is finished");

    let by_task = GenerationFilter { task: Some(id), ..GenerationFilter::default() };
    let generations = pages(10, |page| store.generations(by_task.clone(), page)).await;
    match (&head.state, &detail.generation) {
        (TaskState::Completed { generation, output }, Some(record)) => {
            assert_eq!(record.id, *generation, "{id}: the generation that the state names");
            assert_eq!(record.task, id);
            assert_eq!(record.attempt, head.attempt, "{id}: the completing attempt is the last");
            assert!(record.output.fingerprint().matches(*output), "{id}: the output that was digested");
            assert_eq!(generations, std::slice::from_ref(record), "{id}: exactly one generation");
            let by_id = store.generation(*generation).await.expect("the generation exists");
            assert_eq!(by_id, *record);
        }
        (TaskState::Completed { .. }, None) => panic!("{id}: completed without generation"),
        (_, Some(record)) => panic!("{id}: {} with generation {record:?}", head.state.state()),
        (_, None) => assert!(generations.is_empty(), "{id}: not completed, yet it has {generations:?}"),
    }
    if head.state.state() != State::Running {
        assert_eq!(detail.progress, None, "{id}: progress is told only while it runs");
    }
}
