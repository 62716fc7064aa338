//! Tasks of which there is one at a time for a key.

use baton_model::transition::Refusal;
use baton_model::{EventKind, State, Status, TaskId, TaskSpec, UniqueWhile};

use super::kit::*;
use crate::{
    Accepted, Cancel, Create, DependencyProblem, Expire, Fail, ItemRefusal, Nothing, Purge, StoreError,
};

const UNFINISHED: UniqueWhile = UniqueWhile::Unfinished;

/// What one task of its own is answered with.
async fn sent(b: &Bench, now: u64, spec: TaskSpec) -> Accepted {
    let answer = b.send(creation(at(now), vec![spec])).await.expect("the creation is taken");
    answer.items.into_iter().next().expect("one answer").expect("the task is taken")
}

/// Asserts that a new task of the key is answered with `first`, in this status.
async fn assert_first(b: &Bench, now: u64, spec: TaskSpec, first: TaskId, status: Status) {
    let id = spec.id;
    let second = sent(b, now, spec).await;
    assert_eq!((second.id, second.new, second.deduplicated), (first, false, Some(status)));
    assert_err!(b.store().task(id).await, StoreError::TaskNotFound(_));
}

/// While a task of its key is unfinished, a second one is answered with it, whatever else it asks for.
pub async fn a_second_task_of_a_key_is_answered_with_the_first(b: Bench) {
    let spec = || b.spec("render").unique("k", UNFINISHED);
    let first = b.create(at(0), spec().due(at(10))).await;
    assert_eq!(b.task(first).await.task.unique.unwrap().key.as_str(), "k");
    assert_first(&b, 1, spec(), first, Status::Created).await;
    assert_first(&b, 11, b.spec("bake").params("[7]").unique("k", UNFINISHED), first, Status::Queued).await;
    let held = b.claim_one(claim("w1", at(12))).await;
    assert_first(&b, 13, spec(), first, Status::Running).await;
    let second = sent(&b, 13, spec()).await;
    assert_eq!((second.created_at, second.run_after), (at(0), at(10)));
    b.complete(at(14), &held).await;
    let next = sent(&b, 15, spec()).await;
    assert!(next.new && next.id != first);
    b.create(at(16), b.spec("render").unique("other", UNFINISHED)).await;
    b.create(at(16), b.spec("render")).await;
    b.check(at(17)).await;
}

/// A key is free by the same commit that ends its task, however it ends, and is not while the task waits for its next attempt.
pub async fn a_key_is_free_however_its_task_has_ended(b: Bench) {
    let spec = || b.spec("render").unique("k", UNFINISHED);
    let held = b.running(at(0), "w1", spec().attempts(2)).await;
    b.fail(failing(at(1), &held)).await;
    assert_first(&b, 2, spec(), held.head.id, Status::Retry).await;
    let held = b.claim_one(claim("w1", at(30))).await;
    b.fail(Fail { retryable: false, ..failing(at(31), &held) }).await;
    let second = b.create(at(31), spec()).await;
    b.cancel(at(32), second).await;
    let third = b.create(at(32), spec().until(at(40))).await;
    b.settle().await;
    b.store().expire(Expire { now: at(40), limit: 10 }).await.unwrap();
    assert_eq!(b.state(third).await, State::Failed);
    let first = b.create(at(41), b.spec("bake")).await;
    let blocked = b.create(at(41), spec().after(&[first])).await;
    assert_first(&b, 42, spec(), blocked, Status::Blocked).await;
    b.cancel(at(43), first).await;
    b.follow(at(43)).await;
    b.create(at(44), spec()).await;
    b.check(at(45)).await;
}

/// A key that is held while its task waits is free once an attempt has begun.
pub async fn a_key_that_is_held_while_its_task_waits_is_free_once_that_runs(b: Bench) {
    let spec = || b.spec("render").unique("k", UniqueWhile::Queued);
    let first = b.create(at(0), spec()).await;
    assert_first(&b, 1, spec(), first, Status::Queued).await;
    let held = b.claim_one(claim("w1", at(2))).await;
    let second = b.create(at(3), spec()).await;
    b.fail(failing(at(4), &held)).await;
    assert_first(&b, 5, spec(), second, Status::Queued).await;
    b.cancel(at(6), second).await;
    b.create(at(7), spec()).await;
    b.check(at(8)).await;
}

/// A key that is held for a while is free after it, and not before, whatever becomes of its task.
pub async fn a_key_that_is_held_for_a_while_is_free_after_it(b: Bench) {
    let spec = || b.spec("render").unique("k", UniqueWhile::For(secs(60)));
    let first = b.create(at(0), spec()).await;
    b.cancel(at(1), first).await;
    assert_first(&b, 59, spec(), first, Status::Cancelled).await;
    b.retry(at(59), first).await;
    let second = b.create(at(60), spec()).await;
    assert_first(&b, 61, spec(), second, Status::Queued).await;
    b.check(at(62)).await;
}

/// A key belongs to its project and its queue: the same text elsewhere is another key.
pub async fn a_key_belongs_to_its_project_and_queue(b: Bench) {
    let spec = || b.spec("render").unique("k", UNFINISHED);
    let first = b.create(at(0), spec()).await;
    b.create(at(1), spec().queue("other")).await;
    b.create(at(1), spec().project("film")).await;
    assert_first(&b, 2, spec(), first, Status::Queued).await;
    b.check(at(3)).await;
}

/// Of several tasks of a key in one batch the first is created, and the others are answered with it, in whatever way it is made.
pub async fn a_batch_creates_one_task_of_a_key(b: Bench) {
    for (now, atomic) in [(0, true), (1, false)] {
        let key = if atomic { "together" } else { "each" };
        let spec = || b.spec("render").unique(key, UNFINISHED);
        let tasks = vec![b.spec("render"), spec(), spec(), spec().queue("other"), spec()];
        let ids: Vec<_> = tasks.iter().map(|spec| spec.id).collect();
        let create = Create { atomic, ..creation(at(now), tasks) };
        let answer = b.send(create).await.expect("the creation is taken");
        let told: Vec<_> =
            answer.items.iter().flatten().map(|one| (one.id, one.new, one.deduplicated)).collect();
        let again = (ids[1], false, Some(Status::Queued));
        let new = |id| (id, true, None);
        assert_eq!(told, [new(ids[0]), new(ids[1]), again, new(ids[3]), again]);
    }
    b.check(at(2)).await;
}

/// What is to wait for a task of the batch that is not created waits for the one that holds its key; a circle that comes of
/// that is refused.
pub async fn what_waits_for_a_second_task_waits_for_the_first(b: Bench) {
    let spec = || b.spec("render").unique("k", UNFINISHED);
    let first = b.create(at(0), spec()).await;
    let second = spec();
    let last = b.spec("stitch").after(&[first, second.id]);
    let last_id = last.id;
    let create = Create { atomic: true, ..creation(at(1), vec![last, second]) };
    let answer = b.send(create).await.expect("the creation is taken");
    assert_eq!(answer.items[1].as_ref().unwrap().id, first);
    assert_eq!(b.task(last_id).await.task.depends_on, [first]);
    let held = b.claim_one(claim("w1", at(2))).await;
    b.complete(at(3), &held).await;
    b.follow(at(3)).await;
    assert_eq!(b.state(last_id).await, State::Queued);

    let one = b.task_id();
    let other = b.spec("render").unique("c", UNFINISHED);
    let between = b.spec("stitch").after(&[one]);
    let ring = TaskSpec { id: one, ..b.spec("render").unique("c", UNFINISHED).after(&[between.id]) };
    // The ring's key is held by the other, so that there is none.
    let between_id = between.id;
    let create =
        Create { atomic: true, ..creation(at(4), vec![other.clone(), between.clone(), ring.clone()]) };
    b.send(create).await.expect("the creation is taken");
    assert_eq!(b.task(between_id).await.task.depends_on, [other.id]);

    let front = b.spec("render").unique("d", UNFINISHED);
    let after = b.spec("stitch").after(&[front.id]);
    let back = TaskSpec { id: b.task_id(), ..b.spec("render").unique("d", UNFINISHED) };
    let front = front.after(&[after.id]);
    let tasks = vec![TaskSpec { depends_on: vec![back.id], ..after.clone() }, front.clone(), back];
    let answer = b.send(creation(at(5), tasks)).await.expect("the creation is taken");
    let circle = |id| Err(ItemRefusal::Dependency { place: 0, id, problem: DependencyProblem::Cycle });
    assert_eq!(answer.items[0], circle(front.id));
    assert_eq!(answer.items[1], circle(after.id));
    assert_eq!(answer.items[2], circle(after.id), "it is what the first one is");
    b.check(at(6)).await;
}

/// A finished task whose key another holds cannot be retried; once the key is free it can, and holds it again.
pub async fn a_retry_is_refused_while_another_holds_the_key(b: Bench) {
    let spec = || b.spec("render").unique("k", UNFINISHED);
    let first = b.create(at(0), spec()).await;
    b.cancel(at(1), first).await;
    let second = b.create(at(2), spec()).await;
    let retried = b.store().retry(retry(at(3), first)).await;
    assert_eq!(refusal(retried), Refusal::KeyHeld { by: second });
    assert_eq!(b.task(first).await.history.last().unwrap().kind, EventKind::Cancelled);
    b.cancel(at(4), second).await;
    b.retry(at(5), first).await;
    assert_first(&b, 6, spec(), first, Status::Queued).await;
    let retried = b.store().retry(retry(at(7), second)).await;
    assert_eq!(refusal(retried), Refusal::KeyHeld { by: first });
    // With what it depends on, too: what cannot be put back stays as it is.
    let base = b.create(at(8), b.spec("bake")).await;
    let waits = b.create(at(8), b.spec("stitch").unique("w", UNFINISHED).after(&[base])).await;
    b.store().cancel(Cancel { with_dependants: false, ..cancel(at(9), base) }).await.unwrap();
    b.follow(at(9)).await;
    let other = b.create(at(10), b.spec("stitch").unique("w", UNFINISHED)).await;
    b.store().retry(crate::Retry { with_dependants: true, ..retry(at(11), base) }).await.unwrap();
    assert_eq!((b.state(base).await, b.state(waits).await), (State::Queued, State::Cancelled));
    assert_eq!(b.state(other).await, State::Queued);
    b.check(at(12)).await;
}

/// A unique task that is sent again by its chosen id or its idempotency key is answered as the first time.
pub async fn a_unique_task_sent_again_is_itself(b: Bench) {
    let spec = b.spec("render").chosen().unique("k", UNFINISHED);
    b.create(at(0), spec.clone()).await;
    let again = sent(&b, 1, spec.clone()).await;
    assert_eq!((again.id, again.new, again.deduplicated), (spec.id, false, None));
    let changed = b.send(creation(at(2), vec![spec.clone().unique("k", UniqueWhile::Queued)])).await.unwrap();
    assert_eq!(changed.items[0], Err(ItemRefusal::IdConflict { id: spec.id }));
    let second = Create {
        idempotency: idempotency("key", "asked"),
        ..creation(at(3), vec![b.spec("render").unique("k", UNFINISHED)])
    };
    let first_answer = b.send(second.clone()).await.unwrap();
    assert_eq!(first_answer.items[0].as_ref().unwrap().id, spec.id);
    b.cancel(at(4), spec.id).await;
    let answer = b.send(Create { now: at(5), ..second }).await.unwrap();
    assert!(answer.replayed);
    assert_eq!(answer.items, first_answer.items);
    assert_eq!(b.nothing(claim("w1", at(6))).await, Nothing::NoneQueued);
    b.check(at(6)).await;
}

/// Of creations at once one makes the task, and all are answered with it.
pub async fn of_creations_at_once_one_makes_the_task(b: Bench) {
    for round in 0..5 {
        let key = format!("k{round}");
        let creations = (0..12).map(|n| {
            let store = b.store();
            let create = Create {
                atomic: n % 2 == 0,
                ..creation(at(round), vec![b.spec("render").unique(&key, UNFINISHED)])
            };
            async move { store.create(create).await }
        });
        let answers = at_once(creations.collect::<Vec<_>>()).await;
        let answers: Vec<_> = answers
            .into_iter()
            .map(|one| one.expect("it is taken").items.remove(0).expect("it is taken"))
            .collect();
        let new: Vec<_> = answers.iter().filter(|one| one.new).map(|one| one.id).collect();
        assert_eq!(new.len(), 1);
        assert!(answers.iter().all(|one| one.id == new[0] && one.new != one.deduplicated.is_some()));
        b.note_created(new);
    }
    b.check(at(10)).await;
}

/// A creation races the end of the task that holds its key: it is answered with that one or makes a new one, and never are two
/// unfinished.
pub async fn a_creation_races_the_end_of_the_holder(b: Bench) {
    let mut held = b.running(at(0), "w1", b.spec("render").unique("k", UNFINISHED)).await;
    for turn in 0..12 {
        let now = at(1 + turn as u64);
        let complete = b.completion(now, &held);
        let create = creation(now, vec![b.spec("render").unique("k", UNFINISHED)]);
        let (one, other) = (b.store(), b.store());
        let (completed, created) =
            race(turn, async move { one.complete(complete, None).await }, async move {
                other.create(create).await
            })
            .await;
        completed.expect("the completion is taken");
        let accepted = created.expect("the creation is taken").items.remove(0).expect("it is taken");
        assert_eq!(accepted.new, accepted.id != held.head.id);
        if !accepted.new {
            b.create(now, b.spec("render").unique("k", UNFINISHED)).await;
        } else {
            b.note_created([accepted.id]);
        }
        held = b.claim_one(claim("w1", now)).await;
    }
    b.check(at(20)).await;
}

/// A retry of a task races the creation of another of its key: one of them has it.
pub async fn a_retry_races_a_creation(b: Bench) {
    let first = b.create(at(0), b.spec("render").unique("k", UNFINISHED)).await;
    for turn in 0..12 {
        let now = at(1 + turn as u64);
        b.cancel(now, first).await;
        let create = creation(now, vec![b.spec("render").unique("k", UNFINISHED)]);
        let (one, other) = (b.store(), b.store());
        let (retried, created) = race(turn, async move { one.retry(retry(now, first)).await }, async move {
            other.create(create).await
        })
        .await;
        let accepted = created.expect("the creation is taken").items.remove(0).expect("it is taken");
        match retried {
            Ok(_) => assert_eq!((accepted.id, accepted.new), (first, false)),
            Err(_) => {
                assert_eq!(refusal(retried), Refusal::KeyHeld { by: accepted.id });
                assert!(accepted.new);
                b.note_created([accepted.id]);
                b.cancel(now, accepted.id).await;
                b.retry(now, first).await;
            }
        }
    }
    b.check(at(20)).await;
}

/// Who holds a key is known after a restart.
pub async fn keys_outlive_a_restart(mut b: Bench) {
    let spec = |b: &Bench, held| b.spec("render").unique("k", held);
    let first = b.create(at(0), spec(&b, UNFINISHED)).await;
    let timed = b.create(at(0), spec(&b, UniqueWhile::For(secs(60))).queue("timed")).await;
    b.cancel(at(1), timed).await;
    b.reopen().await;
    assert_first(&b, 2, spec(&b, UNFINISHED), first, Status::Queued).await;
    assert_first(&b, 2, spec(&b, UNFINISHED).queue("timed"), timed, Status::Cancelled).await;
    b.check(at(3)).await;
}

/// A task that was removed holds no key, also one that held it for longer than it was kept.
pub async fn a_removed_task_holds_no_key(mut b: Bench) {
    b.keeping(Some(secs(60))).await;
    let spec = || b.spec("render").unique("k", UniqueWhile::For(secs(86_400)));
    let first = b.create(at(0), spec()).await;
    b.cancel(at(1), first).await;
    let purge = Purge { keep_finished: Some(secs(60)), ..Purge::at(at(100)) };
    assert_eq!(b.purge(purge).await.tasks, 1);
    let second = b.create(at(101), spec()).await;
    assert_first(&b, 102, spec(), second, Status::Queued).await;
    b.check(at(103)).await;
}
