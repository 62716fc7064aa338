//! Batches: what is told of tasks that were handed in together, and the task that follows them.

use baton_model::{
    Batch, BatchCounts, BatchId, BatchState, NewBatch, State, Task, TaskId, TaskSpec, Then, ThenOn,
    Timestamp, Unique, UniqueWhile,
};

use super::kit::*;
use crate::{
    AddToBatch, BatchDetail, BatchFilter, Create, CreateAnswer, Fail, PageRequest, Purge, SealBatch,
    StoreError,
};

const DAY: u64 = 86_400;

fn id(n: u64) -> BatchId {
    BatchId::from_bytes(counted_id(7_000_000 + n))
}

/// A batch that says nothing but which it is.
pub(super) fn plain(id: BatchId, project: &str) -> NewBatch {
    NewBatch { id, project: name(project), name: None, then: None }
}

/// What follows a batch.
pub(super) fn then(on: ThenOn, task: TaskSpec) -> Option<Then> {
    Some(Then { on, task: TaskSpec { id: TaskId::unset(), ..task } })
}

fn named(b: &Bench, n: u64, on: ThenOn) -> NewBatch {
    let task = b.spec("report").queue("reports").params(r#"{"to":"ada"}"#);
    NewBatch { name: Some(name("frames")), then: then(on, task), ..plain(id(n), "default") }
}

/// A request to add tasks.
pub(super) fn adding(batch: NewBatch, seal: bool, create: Create) -> AddToBatch {
    let of_it = |spec: TaskSpec| TaskSpec { batch: Some(batch.id), project: batch.project.clone(), ..spec };
    let tasks = create.tasks.iter().cloned().map(of_it).collect();
    AddToBatch { create: Create { tasks, ..create }, batch, seal }
}

async fn add(b: &Bench, batch: NewBatch, seal: bool, create: Create) -> Result<CreateAnswer, StoreError> {
    let answer = b.store().add_to_batch(adding(batch, seal, create)).await;
    b.note_created(answer.iter().flat_map(|answer| answer.items.iter().flatten()).map(|one| one.id));
    answer
}

/// Hands in a batch of so many plain tasks, and has them claimed.
async fn running(b: &Bench, batch: NewBatch, tasks: usize, seal: bool) -> Vec<Task> {
    let specs = (0..tasks).map(|_| b.spec("render")).collect();
    add(b, batch, seal, creation(at(0), specs)).await.expect("the batch is taken");
    b.claim(claim("w", at(1)).max(100).cap(1_000)).await
}

async fn detail(b: &Bench, n: u64) -> BatchDetail {
    b.settle().await;
    b.store().batch(id(n)).await.expect("the batch is there")
}

/// How many tasks are blocked, queued, running, completed, failed and cancelled.
fn numbers(detail: &BatchDetail) -> [u64; 6] {
    let BatchCounts { tasks, completed, failed, cancelled } = detail.batch.counts;
    let all = [detail.blocked, detail.queued, detail.running, completed, failed, cancelled];
    assert_eq!((all.iter().sum::<u64>(), detail.at_least), (tasks, false));
    all
}

async fn failed(b: &Bench, now: Timestamp, held: &Task) {
    b.fail(Fail { retryable: false, ..failing(now, held) }).await;
}

/// The task that followed a batch, if it was created.
async fn followed(b: &Bench, n: u64) -> Option<Task> {
    let batch = detail(b, n).await.batch;
    let made = batch.made?;
    b.note_created([made.task]);
    Some(b.task(made.task).await.task)
}

/// Each task of a batch counts by its state, and tells which batch it is of.
pub async fn tasks_of_a_batch_are_counted_by_what_they_do(b: Bench) {
    let mut held = running(&b, plain(id(1), "default"), 5, true).await;
    assert_eq!(numbers(&detail(&b, 1).await), [0, 0, 5, 0, 0, 0]);
    assert_eq!(held[0].batch, Some(id(1)));
    b.complete(at(2), &held.remove(0)).await;
    failed(&b, at(2), &held.remove(0)).await;
    b.cancel(at(2), held.remove(0).head.id).await;
    b.release(releasing(at(2), &held.remove(0))).await;
    let told = detail(&b, 1).await;
    assert_eq!(numbers(&told), [0, 1, 1, 1, 1, 1]);
    assert_eq!((told.batch.state(), told.batch.ended_at), (BatchState::Running, None));
    assert!(told.batch.ends_probably(at(4)).is_some());
    b.check(at(3)).await;
}

/// The task of a `then` is created once all tasks have ended, however, with its own params and the outcome; as any other task, it is
/// claimed then. That is noted with the batch.
pub async fn what_follows_is_created_when_all_have_ended(b: Bench) {
    let held = running(&b, named(&b, 1, ThenOn::Ended), 3, true).await;
    b.complete(at(2), &held[0]).await;
    failed(&b, at(3), &held[1]).await;
    assert_eq!(followed(&b, 1).await, None);
    b.cancel(at(4), held[2].head.id).await;
    let then = followed(&b, 1).await.expect("it is created");
    assert_eq!((then.queue.as_str(), then.task_type.as_str(), then.created_at), ("reports", "report", at(4)));
    let params = then.params.to_value();
    let outcome = &params["batch"];
    assert_eq!(
        (&params["to"], &outcome["name"], &outcome["state"]),
        (&"ada".into(), &"frames".into(), &"failed".into())
    );
    let counts =
        ["tasks", "completed", "failed", "cancelled", "unfinished"].map(|field| outcome[field].as_u64());
    assert_eq!(counts, [3, 1, 1, 1, 0].map(Some));
    assert_eq!(outcome["first_failures"][0], held[1].head.id.to_string());
    let batch = detail(&b, 1).await.batch;
    assert_eq!((batch.state(), batch.ended_at), (BatchState::Failed, Some(at(4))));
    assert_eq!(batch.made.map(|made| (made.task, made.at)), Some((batch.then_id(), at(4))));
    let claimed = b.claim_one(claim("w2", at(5)).queues(&["reports"])).await;
    assert_eq!(claimed.head.id, then.head.id);
    b.check(at(6)).await;
}

/// One that waits for all to complete is not created where a task has failed, but once that was retried and has completed, too.
pub async fn what_waits_for_all_to_complete_comes_when_they_have(b: Bench) {
    let held = running(&b, named(&b, 1, ThenOn::Completed), 2, true).await;
    b.complete(at(2), &held[0]).await;
    failed(&b, at(3), &held[1]).await;
    assert_eq!(followed(&b, 1).await, None);
    b.retry(at(4), held[1].head.id).await;
    let told = detail(&b, 1).await;
    assert_eq!((numbers(&told), told.batch.ended_at), ([0, 1, 0, 1, 0, 0], None), "it lives again");
    assert_eq!(told.failures, []);
    let again = b.claim_one(claim("w", at(5))).await;
    b.complete(at(6), &again).await;
    let then = followed(&b, 1).await.expect("it is created");
    assert_eq!(then.params.to_value()["batch"]["state"], "completed");
    assert_eq!(detail(&b, 1).await.batch.ended_at, Some(at(6)));
    // What lives again after that has none created anew.
    b.check(at(7)).await;
}

/// One that waits for the first failure is created at once, also while the batch is open; and no second one.
pub async fn what_waits_for_the_first_failure_comes_at_once(b: Bench) {
    let held = running(&b, named(&b, 1, ThenOn::Failed), 3, false).await;
    b.cancel(at(2), held[0].head.id).await;
    assert_eq!(followed(&b, 1).await, None, "to be cancelled is not to fail");
    failed(&b, at(3), &held[1]).await;
    let then = followed(&b, 1).await.expect("it is created");
    assert_eq!(then.params.to_value()["batch"]["unfinished"], 1);
    failed(&b, at(4), &held[2]).await;
    b.retry(at(5), held[2].head.id).await;
    let again = b.claim_one(claim("w", at(6))).await;
    failed(&b, at(7), &again).await;
    assert_eq!(followed(&b, 1).await.map(|task| task.head.id), Some(then.head.id));
    let reports = b.claim(claim("w2", at(8)).queues(&["reports"]).max(9).cap(9)).await;
    assert_eq!(reports.len(), 1);
}

/// A batch that is open takes more tasks and does not end, though all of its tasks have; once it is sealed, it has ended, and takes no
/// other task.
pub async fn an_open_batch_takes_more_tasks_until_it_is_sealed(b: Bench) {
    let first = running(&b, named(&b, 1, ThenOn::Ended), 1, false).await;
    b.complete(at(2), &first[0]).await;
    let told = detail(&b, 1).await;
    assert_eq!((told.batch.state(), told.batch.made), (BatchState::Open, None));
    let more = creation(at(3), vec![b.spec("render"), b.spec("render")]);
    add(&b, plain(id(1), "default"), false, more).await.expect("more are taken");
    for held in b.claim(claim("w", at(4)).max(9).cap(9)).await {
        b.complete(at(5), &held).await;
    }
    assert_eq!(numbers(&detail(&b, 1).await), [0, 0, 0, 3, 0, 0]);
    let seal = |seconds| SealBatch { now: at(seconds), batch: id(1) };
    let sealed = b.store().seal_batch(seal(6)).await.expect("it is sealed");
    assert_eq!(
        (sealed.sealed_at, sealed.state(), sealed.ended_at),
        (Some(at(6)), BatchState::Completed, Some(at(6)))
    );
    assert!(followed(&b, 1).await.is_some());
    assert_eq!(b.store().seal_batch(seal(9)).await.expect("once more").sealed_at, Some(at(6)));
    let late = b.spec("render").chosen();
    let refused = add(&b, plain(id(1), "default"), true, creation(at(7), vec![late.clone()])).await;
    assert_err!(refused, StoreError::BatchSealed(sealed) if sealed == id(1));
    assert_err!(b.store().task(late.id).await, StoreError::TaskNotFound(_));
    assert_eq!(detail(&b, 1).await.batch.counts.tasks, 3);
    assert_err!(
        b.store().seal_batch(SealBatch { now: at(7), batch: id(2) }).await,
        StoreError::BatchNotFound(_)
    );
    assert_err!(b.store().batch(id(2)).await, StoreError::BatchNotFound(missing) if missing == id(2));
}

/// The last tasks may have ended before the batch is sealed by the request that adds nothing new.
pub async fn a_request_that_only_seals_lets_what_follows_come(b: Bench) {
    let spec = b.spec("render").chosen();
    let send = |seal| add(&b, named(&b, 1, ThenOn::Ended), seal, creation(at(0), vec![spec.clone()]));
    send(false).await.expect("the batch is taken");
    let held = b.claim_one(claim("w", at(1))).await;
    b.complete(at(2), &held).await;
    assert_eq!(followed(&b, 1).await, None);
    let again = send(true).await.expect("the same again, and sealed");
    assert!(again.items[0].as_ref().is_ok_and(|accepted| !accepted.new));
    assert!(followed(&b, 1).await.is_some());
}

/// The same request again, by its tasks' chosen ids or by its key, adds nothing and counts nothing twice, also once the batch is
/// sealed and its tasks have moved on.
pub async fn the_same_request_again_counts_nothing_twice(b: Bench) {
    let specs = vec![b.spec("render").chosen(), b.spec("render").chosen()];
    let create = creation(at(0), specs);
    let by_key =
        Create { idempotency: idempotency("k", "request"), ..creation(at(0), vec![b.spec("render")]) };
    let send = async |n: u64, now: u64, create: &Create| {
        add(&b, named(&b, n, ThenOn::Ended), true, Create { now: at(now), ..create.clone() })
            .await
            .expect("it is taken")
    };
    let (first, keyed) = (send(1, 0, &create).await, send(2, 0, &by_key).await);
    for now in [1, 9] {
        let again = send(1, now, &create).await;
        assert_eq!(
            again.items.iter().flatten().map(|one| (one.id, one.new)).collect::<Vec<_>>(),
            first.items.iter().flatten().map(|one| (one.id, false)).collect::<Vec<_>>()
        );
        let replay = send(2, now, &Create { tasks: vec![b.spec("render")], ..by_key.clone() }).await;
        assert_eq!((replay.items, replay.replayed), (keyed.items.clone(), true));
        if now == 1 {
            for held in b.claim(claim("w", at(2)).max(9).cap(9)).await {
                b.complete(at(3), &held).await;
            }
        }
        assert_eq!(numbers(&detail(&b, 1).await), [0, 0, 0, 2, 0, 0]);
        assert_eq!(numbers(&detail(&b, 2).await), [0, 0, 0, 1, 0, 0]);
    }
    let reports = b.claim(claim("w2", at(10)).queues(&["reports"]).max(9).cap(9)).await;
    assert_eq!(reports.len(), 2, "one for each");
}

/// Where all are refused, nothing of the batch is there; where each stands for itself, those count that were taken.
pub async fn a_refused_request_leaves_no_batch(b: Bench) {
    let taken = b.create(at(0), b.spec("render").chosen()).await;
    let clash = TaskSpec { id: taken, ..b.spec("other").chosen() };
    let both = || vec![b.spec("render").chosen(), clash.clone()];
    let atomic = Create { atomic: true, ..creation(at(1), both()) };
    assert_err!(add(&b, named(&b, 1, ThenOn::Ended), true, atomic).await, StoreError::BatchRefused { .. });
    assert_err!(b.store().batch(id(1)).await, StoreError::BatchNotFound(_));
    let answer =
        add(&b, named(&b, 1, ThenOn::Ended), true, creation(at(2), both())).await.expect("it is taken");
    assert!(answer.items[0].is_ok() && answer.items[1].is_err());
    assert_eq!(detail(&b, 1).await.batch.counts.tasks, 1);
    assert_eq!(b.task(taken).await.task.batch, None);
}

/// A batch is what it was made as: another project, name or `then` for its id is refused, and nothing is added.
pub async fn another_batch_of_the_same_id_is_refused(b: Bench) {
    running(&b, named(&b, 1, ThenOn::Ended), 1, false).await;
    let others = [
        plain(id(1), "film"),
        NewBatch { name: Some(name("other")), ..plain(id(1), "default") },
        named(&b, 1, ThenOn::Failed),
    ];
    for other in others {
        let refused = add(&b, other, true, creation(at(2), vec![b.spec("render")])).await;
        assert_err!(refused, StoreError::BatchExists(there) if there == id(1));
    }
    let told = detail(&b, 1).await;
    assert_eq!((told.batch.counts.tasks, told.batch.sealed_at), (1, None));
}

/// The first ten failures are told, with what went wrong; a task that lives again is not among them.
pub async fn the_first_failures_are_told(b: Bench) {
    let held = running(&b, plain(id(1), "default"), 12, true).await;
    for (n, task) in (2..).zip(&held) {
        failed(&b, at(n), task).await;
    }
    let told = detail(&b, 1).await;
    assert_eq!(told.batch.counts.failed, 12);
    let first = |failures: &[crate::BatchFailure]| failures.iter().map(|one| one.task).collect::<Vec<_>>();
    assert_eq!(first(&told.failures), ids_of(&held[..10]));
    assert_eq!((told.failures[1].failed_at, told.failures[1].task_type.as_str()), (at(3), "render"));
    assert!(told.failures[0].error.is_some());
    b.retry(at(20), held[0].head.id).await;
    assert_eq!(first(&detail(&b, 1).await.failures), ids_of(&held[1..10]));
}

/// Tasks of a batch may wait for each other; those that end with another count as they end. One whose dependencies are met already
/// when it is handed in counts once.
pub async fn tasks_that_wait_for_each_other_count_as_they_end(b: Bench) {
    let before = b.create(at(0), b.spec("render")).await;
    b.cancel(at(0), before).await;
    let first = b.spec("render");
    let second = b.spec("render").after(&[first.id]);
    let third = b.spec("render").after(&[second.id]);
    let lost = b.spec("render").after(&[before]);
    let tasks = vec![first, second, third, lost];
    let create = Create { atomic: true, ..creation(at(1), tasks) };
    add(&b, named(&b, 1, ThenOn::Ended), true, create).await.expect("the batch is taken");
    b.follow(at(1)).await;
    assert_eq!(numbers(&detail(&b, 1).await), [2, 1, 0, 0, 0, 1]);
    let held = b.claim_one(claim("w", at(2))).await;
    failed(&b, at(3), &held).await;
    b.follow(at(3)).await;
    assert_eq!(numbers(&detail(&b, 1).await), [0, 0, 0, 0, 1, 3]);
    assert!(followed(&b, 1).await.is_some());
    b.check(at(4)).await;
}

/// A task that is not created, as another holds its unique key, does not count.
pub async fn a_task_that_another_stands_for_does_not_count(b: Bench) {
    let key = || Some(Unique { key: name("k"), held: UniqueWhile::Unfinished });
    b.create(at(0), TaskSpec { unique: key(), ..b.spec("render") }).await;
    let tasks = vec![TaskSpec { unique: key(), ..b.spec("render") }, b.spec("render")];
    add(&b, named(&b, 1, ThenOn::Ended), true, creation(at(1), tasks)).await.expect("it is taken");
    assert_eq!(detail(&b, 1).await.batch.counts.tasks, 1);
}

/// However many end its last tasks at the same time, each task counts once, and what follows is created once.
pub async fn many_at_once_count_each_task_once(b: Bench) {
    let held = running(&b, named(&b, 1, ThenOn::Ended), 40, true).await;
    at_once(held.iter().map(|task| {
        let (store, complete) = (b.store(), b.completion(at(2), task));
        let fail = Fail { retryable: false, ..failing(at(2), task) };
        let fails = task.head.id.as_bytes()[15].is_multiple_of(3);
        async move {
            match fails {
                true => store.fail(fail).await.map(drop),
                false => store.complete(complete, None).await.map(drop),
            }
        }
    }))
    .await
    .into_iter()
    .for_each(|ended| ended.expect("each is ended"));
    let told = detail(&b, 1).await;
    let fails = held.iter().filter(|task| task.head.id.as_bytes()[15].is_multiple_of(3)).count() as u64;
    assert_eq!(numbers(&told), [0, 0, 0, 40 - fails, fails, 0]);
    let then = followed(&b, 1).await.expect("it is created");
    assert_eq!(then.params.to_value()["batch"]["unfinished"], 0);
    assert_eq!(b.claim(claim("w2", at(3)).queues(&["reports"]).max(9).cap(9)).await.len(), 1);
    b.check(at(4)).await;
}

/// Batches are listed, the newest id first, page by page, of all projects or of one.
pub async fn batches_are_listed_by_id_and_project(b: Bench) {
    for n in 1..=5_u64 {
        let project = if n.is_multiple_of(2) { "film" } else { "default" };
        let create = creation(at(n), vec![b.spec("render")]);
        add(&b, plain(id(n), project), n == 1, create).await.expect("it is taken");
    }
    let of = async |project: Option<&str>| {
        let filter = BatchFilter { project: project.map(name) };
        let store = b.store();
        let found = pages(2, |page| store.batches(filter.clone(), page)).await;
        found.iter().map(|batch: &Batch| batch.id).collect::<Vec<_>>()
    };
    b.settle().await;
    assert_eq!(of(None).await, [5, 4, 3, 2, 1].map(id));
    assert_eq!(of(Some("film")).await, [4, 2].map(id));
    assert_eq!(of(Some("none")).await, []);
    let first =
        b.store().batches(BatchFilter::default(), PageRequest::first(1)).await.unwrap().items.remove(0);
    assert_eq!((first.counts.tasks, first.state(), first.created_at), (1, BatchState::Open, at(5)));
}

/// A batch is kept as long as its tasks are, counted from its end; one that goes on is kept.
pub async fn a_batch_goes_after_its_time(mut b: Bench) {
    b.keeping(Some(secs(30 * DAY))).await;
    let held = running(&b, plain(id(1), "default"), 1, true).await;
    b.complete(at(1), &held[0]).await;
    let other = running(&b, plain(id(2), "default"), 1, true).await;
    b.purge(Purge { keep_finished: Some(secs(30 * DAY)), ..Purge::at(at(29 * DAY)) }).await;
    assert!(b.store().batch(id(1)).await.is_ok());
    b.purge(Purge { keep_finished: Some(secs(30 * DAY)), ..Purge::at(at(31 * DAY)) }).await;
    assert_err!(b.store().batch(id(1)).await, StoreError::BatchNotFound(_));
    assert_eq!(numbers(&detail(&b, 2).await), [0, 0, 1, 0, 0, 0]);
    assert_eq!(b.state(other[0].head.id).await, State::Running);
}

/// A batch and what is counted of it are there after the store was closed and opened again.
pub async fn a_batch_outlives_a_restart(mut b: Bench) {
    let held = running(&b, named(&b, 1, ThenOn::Ended), 2, true).await;
    b.complete(at(2), &held[0]).await;
    b.reopen().await;
    assert_eq!(numbers(&detail(&b, 1).await), [0, 0, 1, 1, 0, 0]);
    b.complete(at(3), &held[1]).await;
    assert!(followed(&b, 1).await.is_some());
}

/// Of several that fail in one command, which is the first is the store's choice; what waits for the first failure is created once, and
/// tells of those that have failed by then.
pub async fn what_follows_tells_of_a_failure_of_several_at_once(b: Bench) {
    let once = || b.spec("render").attempts(1);
    let batch = named(&b, 1, ThenOn::Failed);
    add(&b, batch, true, creation(at(0), vec![once(), once(), once()])).await.expect("the batch is taken");
    let held = b.claim(claim("w", at(1)).max(9).cap(9).fixed(secs(5))).await;
    assert_eq!(b.reap(at(60)).await.len(), 3, "all are lost in one round");
    b.follow(at(60)).await;
    let params = followed(&b, 1).await.expect("it is created").params.to_value();
    let told: Vec<TaskId> = serde_json::from_value(params["batch"]["first_failures"].clone()).unwrap();
    assert!((1..=3).contains(&told.len()), "{told:?}");
    assert_eq!(params["batch"]["failed"], told.len());
    assert!(told.iter().all(|id| ids_of(&held).contains(id)), "{told:?}");
    let detail = detail(&b, 1).await;
    assert_eq!((numbers(&detail), detail.failures.len()), ([0, 0, 0, 0, 3, 0], 3));
    b.check(at(61)).await;
}

/// A task that was ended by a clock that is behind is a task of its batch for as long as it is there: put back, it counts as what it is.
pub async fn a_task_of_a_batch_counts_for_as_long_as_it_is_there(mut b: Bench) {
    b.keeping(Some(secs(600))).await;
    let specs = vec![b.spec("render"), b.spec("render")];
    let added = add(&b, plain(id(1), "default"), true, creation(at(100), specs)).await.unwrap();
    let task = added.items[0].as_ref().unwrap().id;
    b.cancel(at(40), task).await;
    assert_eq!(numbers(&detail(&b, 1).await), [0, 1, 0, 0, 0, 1]);
    b.purge(Purge { keep_finished: Some(secs(600)), ..Purge::at(at(660)) }).await;
    b.retry(at(670), task).await;
    assert_eq!(numbers(&detail(&b, 1).await), [0, 2, 0, 0, 0, 0]);
    b.check(at(671)).await;
}

/// An id may be used again once its batch and the tasks of it have gone: the new one counts what is added to it.
pub async fn a_batch_made_anew_counts_what_is_added_to_it(mut b: Bench) {
    b.keeping(Some(secs(30 * DAY))).await;
    let held = running(&b, named(&b, 1, ThenOn::Ended), 2, true).await;
    for task in &held {
        b.complete(at(1), task).await;
    }
    b.purge(Purge { keep_finished: Some(secs(30 * DAY)), ..Purge::at(at(31 * DAY)) }).await;
    assert_err!(b.store().batch(id(1)).await, StoreError::BatchNotFound(_));
    let specs = (0..3).map(|_| b.spec("render")).collect();
    let create = creation(at(32 * DAY), specs);
    add(&b, named(&b, 1, ThenOn::Ended), true, create).await.expect("it is made anew");
    assert_eq!(numbers(&detail(&b, 1).await), [0, 3, 0, 0, 0, 0]);
    let held = b.claim(claim("w", at(32 * DAY + 1)).max(2).cap(9)).await;
    for task in &held {
        b.complete(at(32 * DAY + 2), task).await;
    }
    let told = detail(&b, 1).await;
    assert_eq!(
        (numbers(&told), told.batch.state(), told.batch.made),
        ([0, 1, 0, 2, 0, 0], BatchState::Running, None)
    );
}
