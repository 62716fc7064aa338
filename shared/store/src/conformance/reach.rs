//! Attempts that callers with bounds may end: of tasks that they reach, under names that are theirs.

use baton_model::transition::Refusal;
use baton_model::{Bounds, Ended, Grant, QueueName, Scope, State, Task, TaskChange};

use super::kit::*;
use crate::{ChangeTask, Claim, Complete, EndedAs, Ending, Fail, Release, StoreError};

fn bounds(queues: &[&str], project: Option<&str>) -> Bounds {
    Bounds::of(&Grant {
        scopes: [Scope::Worker].into(),
        queues: queues.iter().map(|one| name(one)).collect(),
        project: project.map(name),
    })
}

/// A claim by a caller of these bounds.
fn claim_of(bounds: &Bounds, worker: &str) -> Claim {
    Claim { caller: bounds.owner().clone(), queues: vec![name("gpu")], ..claim(worker, at(1)) }
}

/// A task of the project `film` in the queue `gpu` that a worker of these bounds runs.
async fn running(b: &Bench, bounds: &Bounds, worker: &str) -> Task {
    let spec = b.spec("render").queue("gpu").project("film");
    b.running_by(at(0), claim_of(bounds, worker), spec).await
}

/// What becomes of a completion, a failure and a release by a caller of these bounds, in this order.
async fn ends(b: &Bench, task: &Task, caller: &Bounds) -> Vec<Result<(), StoreError>> {
    let complete = Complete { caller: caller.clone(), ..b.completion(at(2), task) };
    let fail = Fail { caller: caller.clone(), ..failing(at(2), task) };
    let release = Release { caller: caller.clone(), ..releasing(at(2), task) };
    let store = b.store();
    vec![
        store.complete(complete, None).await.map(drop),
        store.fail(fail).await.map(drop),
        store.release(release).await.map(drop),
    ]
}

/// The bounds that reach the task of [`running`], and those that do not.
fn both() -> (Vec<Bounds>, Vec<Bounds>) {
    let reaching = vec![
        Bounds::default(),
        bounds(&[], Some("film")),
        bounds(&["cpu", "gpu"], None),
        bounds(&["gpu"], Some("film")),
    ];
    let others = vec![
        bounds(&[], Some("game")),
        bounds(&[], Some("default")),
        bounds(&["cpu"], None),
        bounds(&["cpu"], Some("film")),
        bounds(&["gpu"], Some("game")),
    ];
    (reaching, others)
}

/// A caller whose bounds leave the task out is answered as of an id that nobody has, and changes nothing.
pub async fn an_attempt_beyond_the_bounds_is_as_if_its_task_did_not_exist(b: Bench) {
    let task = running(&b, &Bounds::default(), "w1").await;
    let id = task.head.id;
    for caller in both().1 {
        for refused in ends(&b, &task, &caller).await {
            assert_err!(refused, StoreError::TaskNotFound(unknown) if unknown == id);
        }
        assert_eq!(b.task(id).await.task, task);
    }
    b.complete(at(3), &task).await;
    b.check(at(4)).await;
}

/// A caller whose bounds hold the task ends what was claimed under its own name, in each of the three ways.
pub async fn an_attempt_within_the_bounds_is_ended(b: Bench) {
    for (turn, caller) in both().0.into_iter().enumerate() {
        let worker = format!("w{turn}");
        let task = running(&b, &caller, &worker).await;
        let release = Release { caller: caller.clone(), ..releasing(at(2), &task) };
        b.store().release(release).await.expect("it may be given back");
        let again = b.claim_one(Claim { now: at(3), ..claim_of(&caller, &worker) }).await;
        let fail = Fail { caller: caller.clone(), retry_after: Some(secs(0)), ..failing(at(4), &again) };
        b.store().fail(fail).await.expect("it may fail");
        let again = b.claim_one(Claim { now: at(5), ..claim_of(&caller, &worker) }).await;
        let complete = Complete { caller, ..b.completion(at(6), &again) };
        b.store().complete(complete, None).await.expect("it may be completed");
        assert_eq!(b.state(task.head.id).await, State::Completed);
    }
    b.check(at(7)).await;
}

/// Who reaches a task and knows the worker that runs it does not end its attempt if the name is that of callers of other bounds.
pub async fn a_name_of_others_ends_no_attempt(b: Bench) {
    let (reaching, _) = both();
    for (turn, holder) in reaching.iter().enumerate() {
        let task = running(&b, holder, &format!("w{turn}")).await;
        // Those without bounds come last, as they do end it.
        for caller in reaching.iter().rev().filter(|caller| caller.owner() != holder.owner()) {
            let ended = ends(&b, &task, caller).await;
            if caller.is_unbound() {
                continue;
            }
            for refused in ended {
                assert_err!(refused, StoreError::WorkerOfOther(of) if of == name(&format!("w{turn}")));
            }
        }
        let free = !holder.is_unbound();
        let state = if free { State::Completed } else { State::Running };
        assert_eq!(b.state(task.head.id).await, state, "a caller without bounds may use each name");
    }
    b.check(at(3)).await;
}

/// A completion that is sent again is answered as the first time to who reaches the task; to others there is no such task.
pub async fn what_has_ended_is_told_once_more_within_the_bounds_alone(b: Bench) {
    let film = bounds(&[], Some("film"));
    let task = running(&b, &film, "w1").await;
    let complete = |caller: Bounds| Complete { caller, ..b.completion(at(2), &task) };
    let first = b.store().complete(complete(film.clone()), None).await.unwrap();
    let again = b.store().complete(complete(film), None).await.unwrap();
    assert_eq!((again.generation, again.repeated), (first.generation, true));
    // The name is another's, which nothing hangs on any more.
    let again = b.store().complete(complete(bounds(&["gpu"], None)), None).await.unwrap();
    assert!(again.repeated);
    let refused = b.store().complete(complete(bounds(&[], Some("game"))), None).await;
    assert_err!(refused, StoreError::TaskNotFound(_));
    b.check(at(3)).await;
}

/// Where a task has gone to another queue since its attempt, those that reach it there are told that the attempt has ended, and those of the
/// queue before that there is no such task.
pub async fn the_bounds_go_by_the_queue_that_the_task_is_in(b: Bench) {
    let (gpu, cpu) = (bounds(&["gpu"], None), bounds(&["cpu"], None));
    let task = running(&b, &gpu, "w1").await;
    b.release(releasing(at(2), &task)).await;
    let to = TaskChange { queue: Some(name("cpu")), ..TaskChange::default() };
    let change = ChangeTask {
        now: at(3),
        task: task.head.id,
        by: None,
        reason: None,
        to,
        within: [name::<QueueName>("gpu")].into(),
    };
    b.store().change(change).await.unwrap();
    let complete = |caller: &Bounds| Complete { caller: caller.clone(), ..b.completion(at(4), &task) };
    assert_err!(b.store().complete(complete(&gpu), None).await, StoreError::TaskNotFound(_));
    let lost = Refusal::LeaseLost { state: State::Queued, how: Ended::Released };
    let refused = b.store().complete(complete(&cpu), None).await;
    assert_err!(refused, StoreError::Refused { refusal, .. } if refusal == lost);
    b.check(at(5)).await;
}

/// Of several ends in one request those beyond the bounds are refused, and the others taken.
pub async fn of_many_ends_each_is_judged_by_itself(b: Bench) {
    let film = bounds(&[], Some("film"));
    let (mine, others) = (running(&b, &film, "w1").await, running(&b, &Bounds::default(), "w2").await);
    let elsewhere = b.spec("render").queue("gpu").project("game");
    let elsewhere = b.running_by(at(0), claim("w3", at(1)), elsewhere).await;
    let ending =
        |task: &Task| Ending::Complete(Complete { caller: film.clone(), ..b.completion(at(2), task) });
    let endings = vec![ending(&elsewhere), ending(&mine), ending(&others), ending(&mine)];
    let mut items = b.store().end(endings, None).await.unwrap().items.into_iter();
    assert_err!(items.next().unwrap(), StoreError::TaskNotFound(id) if id == elsewhere.head.id);
    assert!(matches!(items.next(), Some(Ok(EndedAs::Completed(one))) if !one.repeated));
    assert_err!(items.next().unwrap(), StoreError::WorkerOfOther(_));
    assert!(matches!(items.next(), Some(Ok(EndedAs::Completed(one))) if one.repeated));
    for task in [&others, &elsewhere] {
        assert_eq!(b.state(task.head.id).await, State::Running);
    }
    b.check(at(4)).await;
}
