//! Tasks that wait for others.

use baton_model::dependency::DEPENDENCY_FAILED;
use baton_model::transition::Refusal;
use baton_model::{EventKind, IfDependencyFails, Output, State, Status, Task, TaskId, TaskSpec};

use super::kit::*;
use crate::{
    Cancel, Complete, Create, DependencyProblem, Fail, ItemRefusal, Nothing, Purge, Retry, StoreError,
    TaskFilter,
};

/// Claims the one task that is ready and completes it.
async fn complete_next(b: &Bench, now: u64) -> TaskId {
    let held = b.claim_one(claim("w1", at(now))).await;
    b.complete(at(now), &held).await;
    b.follow(at(now)).await;
    held.head.id
}

/// Claims the one task that is ready and fails it for good.
async fn fail_next(b: &Bench, now: u64) -> TaskId {
    let held = b.claim_one(claim("w1", at(now))).await;
    b.fail(Fail { retryable: false, ..failing(at(now), &held) }).await;
    b.follow(at(now)).await;
    held.head.id
}

/// The tasks' states.
async fn states(b: &Bench, ids: &[TaskId]) -> Vec<State> {
    let mut states = Vec::new();
    for id in ids {
        states.push(b.state(*id).await);
    }
    states
}

/// Asserts that a task ended with a failure of another, and tells so.
fn assert_followed(task: &Task, first: TaskId) {
    let error = task.error.as_ref().expect("it says why");
    assert_eq!(error.code.as_deref(), Some(DEPENDENCY_FAILED));
    assert!(error.message.contains(&first.to_string()), "{error:?} names {first}");
}

/// A task that depends on others is given out once all of them are completed, and says so in its history.
pub async fn a_dependant_waits_until_the_last_dependency_is_completed(b: Bench) {
    let ids = b.create_plain(at(0), 2).await;
    let waiting = b.create(at(1), b.spec("stitch").after(&ids)).await;
    let created = b.task(waiting).await;
    assert_eq!(created.task.head.state.state(), State::Blocked);
    assert_eq!(created.task.status(at(1)), Status::Blocked);
    assert_eq!((&created.task.depends_on, created.history[0].to), (&ids, State::Blocked));
    complete_next(&b, 2).await;
    assert_eq!(b.state(waiting).await, State::Blocked);
    assert_eq!(b.nothing(claim("w1", at(3)).types(&["stitch"])).await, Nothing::NoneQueued);
    complete_next(&b, 4).await;
    let detail = b.task(waiting).await;
    let event = &detail.history[1];
    assert_eq!(
        (event.kind, event.from, event.to),
        (EventKind::Unblocked, Some(State::Blocked), State::Queued)
    );
    assert_eq!(detail.task.head.run_after, at(4), "its turn counts from then");
    assert_eq!(complete_next(&b, 5).await, waiting);
    b.check(at(6)).await;
}

/// A dependency that is completed already is met from the beginning.
pub async fn a_dependency_that_is_completed_already_is_met(b: Bench) {
    let done = b.create(at(0), b.spec("render")).await;
    complete_next(&b, 1).await;
    let next = b.create(at(2), b.spec("stitch").after(&[done])).await;
    b.follow(at(2)).await;
    assert_eq!(complete_next(&b, 3).await, next);
    b.check(at(4)).await;
}

/// A graph is created by one request, whatever the order of its tasks in it.
pub async fn a_graph_is_created_by_one_request(b: Bench) {
    let [first, left, right, last] = [(); 4].map(|()| b.task_id());
    let with = |id: TaskId, after: &[TaskId]| {
        let spec = b.spec("render").after(after);
        baton_model::TaskSpec { id, ..spec }
    };
    let tasks =
        vec![with(last, &[left, right]), with(left, &[first]), with(right, &[first]), with(first, &[])];
    let answer = b.send(Create { atomic: true, ..creation(at(0), tasks) }).await.unwrap();
    assert_eq!(answer.items.len(), 4);
    assert_eq!(complete_next(&b, 1).await, first);
    assert_eq!(states(&b, &[left, right, last]).await, [State::Queued, State::Queued, State::Blocked]);
    complete_next(&b, 2).await;
    complete_next(&b, 3).await;
    assert_eq!(complete_next(&b, 4).await, last);
    b.check(at(5)).await;
}

/// A dependency that does not exist, or belongs to another project, is refused by its place, and so is nothing created.
pub async fn an_unknown_dependency_is_refused_by_its_place(b: Bench) {
    let own = b.create(at(0), b.spec("render")).await;
    let foreign = b.create(at(0), b.spec("render").project("film")).await;
    let nobodys = b.task_id();
    for id in [foreign, nobodys] {
        let problem = DependencyProblem::Unknown;
        let refusal = ItemRefusal::Dependency { place: 1, id, problem };
        let tasks = vec![b.spec("render"), b.spec("stitch").after(&[own, id])];
        let ids: Vec<_> = tasks.iter().map(|spec| spec.id).collect();
        let answer = b.send(creation(at(1), tasks.clone())).await.unwrap();
        assert!(answer.items[0].is_ok());
        assert_eq!(answer.items[1], Err(refusal.clone()));
        assert_err!(b.store().task(ids[1]).await, StoreError::TaskNotFound(_));
        let tasks = vec![b.spec("render"), b.spec("stitch").after(&[own, id])];
        let first = tasks[0].id;
        let together = b.store().create(Create { atomic: true, ..creation(at(1), tasks) }).await;
        assert_err!(together, StoreError::BatchRefused { refusals } if refusals == [(1, refusal.clone())]);
        assert_err!(b.store().task(first).await, StoreError::TaskNotFound(_));
    }
    b.check(at(2)).await;
}

/// Tasks that depend on themselves, over whatever others, are refused, and so is what depends on a refused one.
pub async fn a_cycle_is_refused_and_what_depends_on_it(b: Bench) {
    let [one, two, three, four] = [(); 4].map(|()| b.task_id());
    let with = |id: TaskId, after: &[TaskId]| baton_model::TaskSpec { id, ..b.spec("render").after(after) };
    let tasks = vec![with(one, &[two]), with(two, &[one]), with(three, &[two]), with(four, &[])];
    let answer = b.send(creation(at(0), tasks)).await.unwrap();
    let refused = |id, problem| Err(ItemRefusal::Dependency { place: 0, id, problem });
    assert_eq!(answer.items[0], refused(two, DependencyProblem::Cycle));
    assert_eq!(answer.items[1], refused(one, DependencyProblem::Cycle));
    assert_eq!(answer.items[2], refused(two, DependencyProblem::Refused));
    assert!(answer.items[3].is_ok());
    let itself = b.store().create(Create { atomic: true, ..creation(at(1), vec![with(one, &[one])]) }).await;
    assert_err!(itself, StoreError::BatchRefused { .. });
    b.check(at(2)).await;
}

/// A task of a chosen id with the same dependencies is the same task; with others it is another.
pub async fn the_dependencies_are_part_of_what_was_asked(b: Bench) {
    let ids = b.create_plain(at(0), 2).await;
    let spec = b.spec("stitch").chosen().after(&ids);
    b.create(at(1), spec.clone()).await;
    let again = b.send(creation(at(2), vec![spec.clone()])).await.unwrap();
    assert!(!again.items[0].as_ref().unwrap().new);
    let other = b.send(creation(at(2), vec![spec.clone().after(&ids[..1])])).await.unwrap();
    assert_eq!(other.items[0], Err(ItemRefusal::IdConflict { id: spec.id }));
    let other = b.send(creation(at(2), vec![spec.clone().if_fails(IfDependencyFails::Run)])).await.unwrap();
    assert_eq!(other.items[0], Err(ItemRefusal::IdConflict { id: spec.id }));
    b.check(at(3)).await;
}

/// A failed dependency cancels those that wait for it, however far; each names the first failure.
pub async fn a_failure_cancels_dependants_and_names_the_first(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let other = b.create(at(0), b.spec("render").queue("other")).await;
    let second = b.create(at(1), b.spec("stitch").after(&[other, first])).await;
    let third = b.create(at(1), b.spec("stitch").after(&[second])).await;
    assert_eq!(fail_next(&b, 2).await, first);
    for id in [second, third] {
        let detail = b.task(id).await;
        assert_eq!(
            (detail.task.head.state.state(), detail.task.finished_at),
            (State::Cancelled, Some(at(2)))
        );
        assert_followed(&detail.task, first);
        let event = &detail.history[1];
        assert_eq!((event.kind, event.detail.dependency), (EventKind::DependencyFailed, Some(first)));
    }
    assert_eq!(b.state(other).await, State::Queued);
    b.check(at(3)).await;
}

/// A dependency that is cancelled, or whose attempts the reaper finds used up, ends those that wait for it as a failed one does.
pub async fn a_cancelled_or_reaped_dependency_is_a_failed_one(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let waits = b.create(at(0), b.spec("stitch").after(&[first])).await;
    b.cancel(at(1), first).await;
    b.follow(at(1)).await;
    let task = b.task(waits).await.task;
    assert_eq!(task.head.state.state(), State::Cancelled);
    assert_followed(&task, first);
    let held = b.running(at(2), "w1", b.spec("render").attempts(1)).await;
    let waits = b.create(at(2), b.spec("stitch").after(&[held.head.id])).await;
    assert_eq!(b.reap(at(500)).await.len(), 1);
    b.follow(at(500)).await;
    let task = b.task(waits).await.task;
    assert_eq!(task.head.state.state(), State::Cancelled);
    assert_followed(&task, held.head.id);
    b.check(at(501)).await;
}

/// As a task says, a failed dependency cancels it, fails it, or lets it run.
pub async fn a_task_says_what_a_failed_dependency_does_to_it(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let mut waiting = Vec::new();
    for choice in IfDependencyFails::ALL {
        waiting.push(b.create(at(0), b.spec("stitch").after(&[first]).if_fails(choice)).await);
    }
    let after_failed = b.create(at(0), b.spec("last").after(&waiting[1..2])).await;
    fail_next(&b, 1).await;
    assert_eq!(states(&b, &waiting).await, [State::Cancelled, State::Failed, State::Queued]);
    let failed = b.task(waiting[1]).await.task;
    assert_followed(&failed, first);
    assert_followed(&b.task(after_failed).await.task, first);
    let ran = b.claim_one(claim("w1", at(2))).await;
    assert_eq!((ran.head.id, ran.error.as_ref()), (waiting[2], None));
    b.complete(at(3), &ran).await;
    b.check(at(4)).await;
}

/// A task that runs whatever becomes of its dependencies still waits for all of them to end.
pub async fn a_task_that_runs_all_the_same_waits_for_every_end(b: Bench) {
    let ids = b.create_plain(at(0), 2).await;
    let waits = b.create(at(0), b.spec("stitch").after(&ids).if_fails(IfDependencyFails::Run)).await;
    fail_next(&b, 1).await;
    assert_eq!(b.state(waits).await, State::Blocked);
    b.cancel(at(2), ids[1]).await;
    b.follow(at(2)).await;
    assert_eq!(complete_next(&b, 3).await, waits);
    b.check(at(4)).await;
}

/// A task that is created after its dependency has failed ends as if it had waited for it.
pub async fn a_dependency_that_has_failed_already_ends_the_task(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    fail_next(&b, 1).await;
    let second = b.create(at(2), b.spec("stitch").after(&[first])).await;
    let third = b.create(at(2), b.spec("stitch").after(&[second]).if_fails(IfDependencyFails::Fail)).await;
    b.follow(at(2)).await;
    assert_eq!(states(&b, &[second, third]).await, [State::Cancelled, State::Failed]);
    assert_followed(&b.task(third).await.task, first);
    assert_eq!(b.task(second).await.history.len(), 2);
    b.check(at(3)).await;
}

/// So do those of one request that wait for each other alone, whatever their order in it: what the first of them depends on has failed.
pub async fn a_dependency_that_has_failed_already_ends_a_new_graph(b: Bench) {
    let before = b.create(at(0), b.spec("render")).await;
    fail_next(&b, 1).await;
    let [first, second, third] = [(); 3].map(|()| b.task_id());
    let with = |id: TaskId, after: &[TaskId]| {
        let spec = b.spec("stitch").after(after);
        baton_model::TaskSpec { id, ..spec }
    };
    let all_the_same = with(third, &[second]).if_fails(IfDependencyFails::Run);
    let tasks = vec![all_the_same, with(second, &[first]), with(first, &[before])];
    b.send(creation(at(2), tasks)).await.unwrap();
    b.follow(at(2)).await;
    assert_eq!(
        states(&b, &[first, second, third]).await,
        [State::Cancelled, State::Cancelled, State::Queued]
    );
    assert_followed(&b.task(second).await.task, before);
    assert_eq!(complete_next(&b, 3).await, third);
    b.check(at(4)).await;
}

/// A task for later that waits for others is given out when both allow it.
pub async fn a_dependant_for_later_waits_for_both(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let later = b.create(at(0), b.spec("stitch").after(&[first]).due(at(100))).await;
    assert_eq!(b.task(later).await.task.status(at(50)), Status::Blocked);
    complete_next(&b, 1).await;
    let task = b.task(later).await;
    assert_eq!((task.task.status(at(50)), task.task.head.run_after), (Status::Created, at(100)));
    assert_eq!(task.history[1].status(), Status::Created);
    assert_eq!(b.nothing(claim("w1", at(99))).await, Nothing::Scheduled { next_at: at(100) });
    assert_eq!(complete_next(&b, 100).await, later);
    b.check(at(101)).await;
}

/// A blocked task can be cancelled; one that ended so follows no dependency any more.
pub async fn a_blocked_task_can_be_cancelled(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let waits = b.create(at(0), b.spec("stitch").after(&[first])).await;
    let before = b.cancel(at(1), waits).await;
    assert_eq!(before.head.state.state(), State::Cancelled);
    complete_next(&b, 2).await;
    assert_eq!(b.task(waits).await.task, before);
    b.check(at(3)).await;
}

/// A cancellation with dependants cancels what waits for the task, however far and whatever it says, and leaves the rest.
pub async fn a_cancellation_with_dependants_cancels_all_that_wait(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let other = b.create(at(0), b.spec("render")).await;
    let second =
        b.create(at(0), b.spec("stitch").after(&[first, other]).if_fails(IfDependencyFails::Run)).await;
    let third = b.create(at(0), b.spec("stitch").after(&[second]).if_fails(IfDependencyFails::Fail)).await;
    let fourth =
        b.create(at(0), b.spec("stitch").after(&[third, second]).if_fails(IfDependencyFails::Run)).await;
    let reason = Some("wrong scene".to_owned());
    let asked = Cancel { with_dependants: true, reason: reason.clone(), ..cancel(at(1), first) };
    b.store().cancel(asked.clone()).await.unwrap();
    assert_eq!(states(&b, &[first, second, third, fourth]).await, [State::Cancelled; 4]);
    for id in [second, third, fourth] {
        let event = &b.task(id).await.history[1];
        assert_eq!((event.kind, &event.detail.reason), (EventKind::Cancelled, &reason));
        assert_eq!(event.detail.dependency, Some(first));
    }
    assert_eq!(b.state(other).await, State::Queued);
    let again = b.store().cancel(Cancel { now: at(2), ..asked }).await.unwrap();
    assert_eq!(again, b.task(first).await.task);
    b.check(at(3)).await;
}

/// A task whose dependency did not complete is not retried alone; with its dependency it waits again.
pub async fn a_retry_with_dependants_has_them_wait_again(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let second = b.create(at(0), b.spec("stitch").after(&[first])).await;
    let third =
        b.create(at(0), b.spec("stitch").after(&[second, first]).if_fails(IfDependencyFails::Fail)).await;
    let called_off = b.create(at(0), b.spec("stitch").after(&[first])).await;
    b.cancel(at(0), called_off).await;
    fail_next(&b, 1).await;
    let refused = refusal(b.store().retry(retry(at(2), second)).await);
    assert!(matches!(refused, Refusal::DependencyFailed { first: one } if one.task == first), "{refused:?}");
    b.store().retry(Retry { with_dependants: true, ..retry(at(3), first) }).await.unwrap();
    let all = [first, second, third, called_off];
    assert_eq!(states(&b, &all).await, [State::Queued, State::Blocked, State::Blocked, State::Cancelled]);
    let task = b.task(third).await;
    assert_eq!((&task.task.error, task.task.finished_at), (&None, None));
    assert_eq!((task.history[2].kind, task.history[2].detail.dependency), (EventKind::Retried, Some(first)));
    for now in [4, 5, 6] {
        complete_next(&b, now).await;
    }
    assert_eq!(states(&b, &all[..3]).await, [State::Completed; 3]);
    b.check(at(7)).await;
}

/// A retry of the dependency alone leaves its dependants as they are; they can be retried after it, while it waits.
pub async fn a_dependant_is_retried_after_its_dependency(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let second = b.create(at(0), b.spec("stitch").after(&[first])).await;
    fail_next(&b, 1).await;
    b.retry(at(2), first).await;
    assert_eq!(b.state(second).await, State::Cancelled);
    assert_eq!(b.retry(at(3), second).await.head.state.state(), State::Blocked);
    complete_next(&b, 4).await;
    assert_eq!(complete_next(&b, 5).await, second);
    let cancelled = b.create(at(6), b.spec("stitch").after(&[first])).await;
    b.follow(at(6)).await;
    b.cancel(at(7), cancelled).await;
    assert_eq!(b.retry(at(8), cancelled).await.head.state.state(), State::Queued, "all is met");
    b.check(at(9)).await;
}

/// A retry with dependants goes on with those that a former one has left.
pub async fn a_retry_with_dependants_can_be_sent_again(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let second = b.create(at(0), b.spec("stitch").after(&[first])).await;
    fail_next(&b, 1).await;
    let before = b.retry(at(2), first).await;
    let again = Retry { with_dependants: true, ..retry(at(3), first) };
    assert_eq!(b.store().retry(again).await.unwrap(), before);
    assert_eq!(b.state(second).await, State::Blocked);
    b.check(at(4)).await;
}

/// What an unfinished task depends on is kept, however old; once that one has ended, it goes.
pub async fn what_an_unfinished_task_depends_on_is_kept(b: Bench) {
    let days = |n: u64| at(n * 86_400);
    let first = b.create(at(0), b.spec("render")).await;
    complete_next(&b, 1).await;
    let second = b.create(at(2), b.spec("stitch").after(&[first]).due(days(100))).await;
    b.follow(at(2)).await;
    assert_eq!(b.purge(Purge::at(days(50))).await.tasks, 0);
    assert_eq!(b.store().inputs(vec![first]).await.unwrap().len(), 1);
    assert_eq!(complete_next(&b, 100 * 86_400).await, second);
    b.check(days(100)).await;
    // A store may see to it by and by.
    for day in [140, 180, 220] {
        b.follow(days(day)).await;
        b.purge(Purge::at(days(day))).await;
    }
    for id in [first, second] {
        assert_err!(b.store().task(id).await, StoreError::TaskNotFound(_));
    }
    b.check(days(221)).await;
}

/// A task that is created under the id of one that was removed has the dependants that name the id.
pub async fn a_new_task_under_a_removed_ones_id_has_the_dependants_that_name_it(b: Bench) {
    let days = |n: u64| at(n * 86_400);
    let spec = TaskSpec { id_chosen: true, ..b.spec("render") };
    let first = b.create(at(0), spec.clone()).await;
    complete_next(&b, 1).await;
    let second = b.create(at(2), b.spec("stitch").after(&[first]).due(days(20))).await;
    b.follow(at(2)).await;
    assert_eq!(complete_next(&b, 20 * 86_400).await, second);
    // A store may see to it by and by.
    for day in [25, 40, 41] {
        b.follow(days(day)).await;
        b.purge(Purge::at(days(day))).await;
    }
    assert_err!(b.store().task(first).await, StoreError::TaskNotFound(_));
    assert_eq!(b.create(days(42), spec).await, first);
    let linked = b.store().linked(vec![first]).await.unwrap();
    assert_eq!(linked[0].dependants, [second]);
    b.check(days(43)).await;
}

/// A task that was removed is nobody's dependant any more, also when another is created under its id.
pub async fn what_was_removed_is_no_dependant(b: Bench) {
    let days = |n: u64| at(n * 86_400);
    let first = b.create(at(0), b.spec("render").due(days(100))).await;
    let spec = TaskSpec { id_chosen: true, ..b.spec("stitch") };
    let second = b.create(at(1), spec.clone().after(&[first])).await;
    let cancel = Cancel { now: at(2), task: second, by: None, reason: None, with_dependants: false };
    b.store().cancel(cancel).await.unwrap();
    b.purge(Purge::at(days(40))).await;
    assert_err!(b.store().task(second).await, StoreError::TaskNotFound(_));
    let dependants = async || b.store().linked(vec![first]).await.unwrap()[0].dependants.clone();
    assert_eq!(dependants().await, []);
    assert_eq!(b.create(days(41), spec).await, second);
    assert_eq!(dependants().await, []);
    b.check(days(42)).await;
}

/// A list by status finds the blocked tasks, and statistics count them.
pub async fn blocked_tasks_are_listed_and_counted(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let mut waiting = Vec::new();
    for n in 0..5 {
        waiting.push(b.create(at(n), b.spec("stitch").after(&[first])).await);
    }
    waiting.sort();
    let blocked = TaskFilter { statuses: vec![Status::Blocked], now: at(9), ..TaskFilter::default() };
    let mut listed: Vec<_> = b.tasks_by(blocked.clone(), 2).await.iter().map(|task| task.head.id).collect();
    listed.sort();
    assert_eq!(listed, waiting);
    let count = b.store().stats(at(9)).await.unwrap().states.get(&State::Blocked).copied();
    assert_eq!(count, Some(5));
    b.check(at(9)).await;
    complete_next(&b, 10).await;
    assert_eq!(b.ids_by(blocked).await, []);
    b.check(at(11)).await;
}

/// A task shows what it depends on and what depends on it; nobody else is asked.
pub async fn edges_are_told_from_both_ends(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let second = b.create(at(0), b.spec("stitch").after(&[first]).if_fails(IfDependencyFails::Run)).await;
    let third = b.create(at(0), b.spec("stitch").after(&[second, first])).await;
    let nobody = b.task_id();
    b.settle().await;
    let told = b.store().linked(vec![third, nobody, first, second]).await.unwrap();
    let edges = |n: usize| (told[n].id, told[n].depends_on.clone(), told[n].dependants.clone());
    assert_eq!(told.len(), 3);
    assert_eq!(edges(0), (third, vec![second, first], vec![]));
    assert_eq!(edges(1), (first, vec![], vec![second, third]));
    assert_eq!(edges(2), (second, vec![first], vec![third]));
    assert_eq!((told[2].state, told[2].if_dependency_fails), (State::Blocked, IfDependencyFails::Run));
}

/// What a dependency has put out comes along: its location, kind and metadata, and its result while it is small.
pub async fn inputs_bring_what_is_small(b: Bench) {
    let small = b.running(at(0), "w1", b.spec("render")).await;
    let output =
        Output { result: Some(json("[1, 2]")), kind: Some("image/png".to_owned()), ..output("a.png") };
    let taken =
        b.store().complete(Complete { output: output.clone(), ..b.completion(at(1), &small) }, None).await;
    let generation = taken.unwrap().generation;
    let large = b.running(at(0), "w1", b.spec("render")).await;
    let text = json(&format!("\"{}\"", "x".repeat(5_000)));
    let huge = Output { result: Some(text.clone()), metadata: Some(text), ..output.clone() };
    b.store().complete(Complete { output: huge, ..b.completion(at(1), &large) }, None).await.unwrap();
    let open = b.create(at(2), b.spec("bake")).await;
    let ids = vec![small.head.id, b.task_id(), large.head.id, open];
    let inputs = b.store().inputs(ids).await.unwrap();
    assert_eq!(inputs.len(), 3);
    assert_eq!((inputs[0].task, inputs[0].generation.as_ref()), (small.head.id, Some(&generation)));
    let told = inputs[1].generation.as_ref().unwrap();
    assert_eq!(
        (&told.output.location, &told.output.result, &told.output.metadata),
        (&output.location, &None, &None)
    );
    assert!(inputs[1].omitted.result && inputs[1].omitted.metadata && !inputs[0].omitted.result);
    assert_eq!(
        (inputs[2].state, inputs[2].task_type.as_str(), &inputs[2].generation),
        (State::Queued, "bake", &None)
    );
}

/// A task that is let go of rings for its queue and type.
pub async fn a_task_that_is_let_go_of_rings(mut b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    b.create(at(0), b.spec("stitch").after(&[first])).await;
    b.hear("for the first", |ready| ready.task_type == Some(name("render"))).await;
    b.hush();
    complete_next(&b, 1).await;
    let ring = b.hear("for what is let go of", |ready| ready.task_type == Some(name("stitch"))).await;
    assert_eq!(ring.run_after, at(1));
}

/// Whichever of many dependencies completes last, at once with the others and with the creation of their dependant, that one
/// is let go of once.
pub async fn completions_at_once_let_go_of_a_task_once(b: Bench) {
    for round in 0..12_u64 {
        let now = round * 10;
        let ids = b.create_plain(at(now), 8).await;
        let held = b.claim(claim("w1", at(now)).max(8)).await;
        let waits = b.spec("stitch").after(&ids);
        let id = waits.id;
        let completions: Vec<_> = held.iter().map(|task| b.completion(at(now + 1), task)).collect();
        let (store, creating) = (b.store(), b.store());
        let create = creation(at(now + 1), vec![waits]);
        let complete = at_once(completions.into_iter().map(move |complete| {
            let store = std::sync::Arc::clone(&store);
            async move { store.complete(complete, None).await.unwrap() }
        }));
        let create = async move { creating.create(create).await.unwrap() };
        let (_, answer) = race(round as usize, complete, create).await;
        assert!(answer.items[0].is_ok());
        b.note_created([id]);
        b.follow(at(now + 2)).await;
        let detail = b.task(id).await;
        let kinds: Vec<_> = detail.history.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::Created, EventKind::Unblocked]);
        assert_eq!(complete_next(&b, now + 3).await, id);
    }
    b.check(at(1_000)).await;
}

/// A dependency that is cancelled while its dependant is created, and while it is completed, leaves the dependant ended or let
/// go of, and never blocked.
pub async fn an_end_races_the_creation_of_a_dependant(b: Bench) {
    for round in 0..16_u64 {
        let now = at(round * 10);
        let held = b.running(now, "w1", b.spec("render")).await;
        let spec = b.spec("stitch").after(&[held.head.id]);
        let id = spec.id;
        let (creating, ending, completing) = (b.store(), b.store(), b.store());
        let complete = b.completion(now, &held);
        let first = held.head.id;
        let create = async move { creating.create(creation(now, vec![spec])).await.unwrap() };
        let end = async move {
            let (one, other) = race(
                round as usize / 2,
                async move { ending.cancel(cancel(now, first)).await.is_ok() },
                async move { completing.complete(complete, None).await.is_ok() },
            )
            .await;
            assert!(one != other, "one of them ends it");
        };
        race(round as usize, create, end).await;
        b.note_created([id]);
        b.follow(now).await;
        let ended = b.state(first).await;
        let expected = if ended == State::Completed { State::Queued } else { State::Cancelled };
        assert_eq!(b.state(id).await, expected, "{first} is {ended}");
        if expected == State::Queued {
            b.cancel(now, id).await;
        }
    }
    b.check(at(1_000)).await;
}

/// Blocked tasks and their edges outlive a restart.
pub async fn blocked_tasks_outlive_a_restart(mut b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let second = b.create(at(0), b.spec("stitch").after(&[first])).await;
    b.reopen().await;
    assert_eq!(states(&b, &[first, second]).await, [State::Queued, State::Blocked]);
    complete_next(&b, 1).await;
    assert_eq!(complete_next(&b, 2).await, second);
    b.check(at(3)).await;
}
