//! Changing the queue of tasks that wait: what goes along, what stays behind, and that nothing of either queue is lost or counted twice.

use std::collections::BTreeSet;

use baton_model::alone::PATIENCE;
use baton_model::transition::Refusal;
use baton_model::{
    Alone, Bulk, BulkAction, BulkFilter, BulkId, BulkState, BulkTasks, EventKind, FairBy, FromTo, LimitRules,
    Priority, QueueOrder, RunAfter, State, Status, TaskChange, TaskId, TaskSpec, Timestamp, Unique,
    UniqueWhile,
};

use super::change::{changed, changing, to_priority};
use super::invariants::check_invariants;
use super::kit::*;
use super::limits::{keyed, limit, most, stopped};
use super::supply::{plan, refill, set};
use crate::bulk::{GONE, step};
use crate::{
    ChangeTask, Claim, ClaimAnswer, Fail, Nothing, Refilled, StoreError, TaskDetail, TaskFilter, Tasks,
};

/// That a task is to wait in this queue.
pub(super) fn to_queue(queue: &str) -> TaskChange {
    TaskChange { queue: Some(name(queue)), ..TaskChange::default() }
}

async fn moved(b: &Bench, now: Timestamp, task: TaskId, queue: &str) -> TaskDetail {
    let detail = changed(b, now, task, to_queue(queue)).await;
    assert_eq!(detail.task.queue.as_str(), queue);
    detail
}

/// What a claim of one queue is given, for a worker of its own.
async fn given(b: &Bench, now: Timestamp, queue: &str) -> Vec<TaskId> {
    b.settle().await;
    match b.store().claim(from(queue, now).max(100)).await.expect("the claim is taken") {
        ClaimAnswer::Leased(tasks) => ids_of(&tasks),
        ClaimAnswer::Nothing(_) => Vec::new(),
    }
}

fn from(queue: &str, now: Timestamp) -> Claim {
    claim(&format!("of-{queue}"), now).queues(&[queue])
}

/// How many tasks of a queue are ready, for later and for their next attempt.
async fn waits(b: &Bench, queue: &str, now: Timestamp) -> (Tasks, Tasks, Tasks) {
    let waits = b.store().queue(&name(queue), now).await.expect("the queue is known").waits;
    (waits.ready, waits.created, waits.retry)
}

/// A limit that lets one task of a key run, and whose place is held while the task waits for its next attempt.
const STRICT: LimitRules =
    LimitRules { max_running: Some(1), rate: None, exempt_types: Vec::new(), holds_retries: true };

/// A moved task is given to claims of its new queue and to no others, whether it was ready or for later.
pub async fn a_moved_task_is_claimed_from_its_new_queue_only(b: Bench) {
    let spec = |queue| b.spec("render").queue(queue);
    let (ready, stays) = (b.create(at(0), spec("a")).await, b.create(at(0), spec("a")).await);
    let late = b.create(at(0), spec("a").due(at(50))).await;
    moved(&b, at(1), ready, "b").await;
    moved(&b, at(1), late, "b").await;
    b.check(at(2)).await;
    assert_eq!(given(&b, at(2), "a").await, [stays]);
    assert_eq!(b.nothing(from("a", at(60))).await, Nothing::NoneQueued);
    assert_eq!(given(&b, at(3), "b").await, [ready]);
    assert_eq!(b.nothing(from("b", at(49))).await, Nothing::Scheduled { next_at: at(50) });
    assert_eq!(given(&b, at(50), "b").await, [late]);
    let in_b = TaskFilter { queue: Some(name("b")), ..TaskFilter::default() };
    assert_eq!(b.ids_by(in_b).await.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([ready, late]));
    b.check(at(51)).await;
}

/// A move changes nothing else of a task: its history tells from where it went and where to, by whom and why.
pub async fn a_move_tells_from_where_and_where_to(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render").attempts(5).priority(Priority::High)).await;
    let id = held.head.id;
    let before = b.fail(Fail { retry_after: Some(secs(30)), ..failing(at(1), &held) }).await;
    let (by, reason) = (Some(name("ada")), Some("the old farm is full".to_owned()));
    let asked = changing(at(2), id, to_queue("b"));
    let after =
        b.store().change(ChangeTask { by: by.clone(), reason: reason.clone(), ..asked }).await.unwrap();
    let head = baton_model::Head { events: before.head.events + 1, ..before.head.clone() };
    let expected = baton_model::Task { queue: name("b"), head, updated_at: at(2), ..before };
    assert_eq!(after, expected);
    let detail = b.task(id).await;
    assert_eq!(detail.task, after);
    let event = detail.history.last().unwrap();
    assert_eq!((event.kind, event.from, event.to), (EventKind::Changed, Some(State::Queued), State::Queued));
    assert_eq!((&event.detail.by, &event.detail.reason), (&by, &reason));
    let changes = event.detail.changes.as_deref().unwrap();
    assert_eq!(changes.queue, Some(FromTo { from: name("default"), to: name("b") }));
    assert_eq!((changes.priority, changes.run_after, changes.max_attempts), (None, None, None));
    // Its next attempt is the second one.
    b.settle().await;
    let held = b.claim_one(from("b", at(31))).await;
    assert_eq!((held.head.id, held.head.attempt, held.queue.as_str()), (id, 2, "b"));
    assert_eq!(b.complete(at(32), &held).await.queue.as_str(), "b");
    b.check(at(33)).await;
}

/// Among the tasks of its new queue a task has the turn that its priority and its time give it, as if it had always been there; what is
/// changed with its queue counts there.
pub async fn a_moved_task_has_its_turn_by_its_priority_and_time(b: Bench) {
    let spec = |queue, due| b.spec("render").queue(queue).due(at(due));
    let mut there = Vec::new();
    for due in [10, 30] {
        there.push(b.create(at(0), spec("b", due)).await);
    }
    let (first, middle, last) = (
        b.create(at(0), spec("a", 5)).await,
        b.create(at(0), spec("a", 20)).await,
        b.create(at(0), spec("a", 40).priority(Priority::Low)).await,
    );
    let urgent = b.create(at(0), spec("a", 45)).await;
    for id in [last, middle, first] {
        moved(&b, at(50), id, "b").await;
    }
    let both = TaskChange { priority: Some(Priority::Critical), ..to_queue("b") };
    assert_eq!(changed(&b, at(50), urgent, both).await.task.head.events, 2);
    assert_eq!(given(&b, at(50), "b").await, [urgent, first, there[0], middle, there[1], last]);
    b.check(at(51)).await;
}

/// What waits is counted where it is: by the numbers of both queues, and by a recount.
pub async fn the_counts_of_both_queues_tell_of_a_move(b: Bench) {
    let spec = || b.spec("render").queue("a");
    let ready = b.create_all(at(0), vec![spec(), spec(), spec()]).await;
    let late = b.create(at(0), spec().due(at(500))).await;
    let held = b.claim_one(from("a", at(1))).await;
    b.fail(Fail { retry_after: Some(secs(300)), ..failing(at(1), &held) }).await;
    for id in [ready[2], late, held.head.id] {
        moved(&b, at(2), id, "b").await;
    }
    b.settle().await;
    let [none, one] = [0, 1].map(Tasks::exactly);
    assert_eq!(waits(&b, "a", at(3)).await, (one, none, none));
    assert_eq!(waits(&b, "b", at(3)).await, (one, one, one));
    b.check(at(3)).await;
    moved(&b, at(4), late, "a").await;
    b.settle().await;
    assert_eq!(waits(&b, "a", at(5)).await, (one, one, none));
    assert_eq!(waits(&b, "b", at(5)).await, (one, none, one));
    b.check(at(5)).await;
}

/// To go where it is, is no change: no event, and the same answer again; so is a move that comes twice.
pub async fn the_same_queue_is_no_change(b: Bench) {
    let id = b.create(at(0), b.spec("render").queue("a").unique("k", UniqueWhile::Unfinished)).await;
    let stays = b.store().change(changing(at(1), id, to_queue("a"))).await.unwrap();
    assert_eq!((stays.head.events, stays.updated_at), (1, at(0)));
    let asked = changing(at(2), id, to_queue("b"));
    let first = b.store().change(asked.clone()).await.unwrap();
    assert_eq!(b.store().change(asked).await.unwrap(), first);
    assert_eq!(b.task(id).await.history.len(), 2);
    b.check(at(3)).await;
}

/// What runs or has ended is not moved, nor what is refused for anything else that is asked with it: then no queue comes to be known, and
/// nothing is half done.
pub async fn what_is_refused_stays_where_it_is(b: Bench) {
    let running = b.running(at(0), "w1", b.spec("render")).await.head.id;
    let done = b.running(at(0), "w1", b.spec("render")).await;
    b.complete(at(1), &done).await;
    let cancelled = b.create(at(0), b.spec("render")).await;
    b.cancel(at(1), cancelled).await;
    for (id, state) in
        [(running, State::Running), (done.head.id, State::Completed), (cancelled, State::Cancelled)]
    {
        let before = b.task(id).await;
        let refused = b.store().change(changing(at(2), id, to_queue("elsewhere"))).await;
        assert_eq!(refusal(refused), Refusal::NotWaiting { state });
        assert_eq!(b.task(id).await, before);
    }
    let expires = b.create(at(0), b.spec("render").until(at(60))).await;
    let too_late = TaskChange { run_after: Some(RunAfter::At(at(60))), ..to_queue("elsewhere") };
    let refused = b.store().change(changing(at(2), expires, too_late)).await;
    assert!(matches!(refusal(refused), Refusal::DueTooLate { .. }));
    assert_eq!(b.task(expires).await.task.queue.as_str(), "default");
    let unknown = b.store().queue(&name("elsewhere"), at(2)).await;
    assert_err!(unknown, StoreError::QueueNotFound(_));
    b.check(at(3)).await;
}

/// Who may reach some queues only changes a task while it is in one of them: elsewhere it is as if there were none.
pub async fn a_change_reaches_no_task_that_has_left(b: Bench) {
    let id = b.create(at(0), b.spec("render").queue("a")).await;
    let within = BTreeSet::from([name("a"), name("b")]);
    let asked = |to| ChangeTask { within: within.clone(), ..changing(at(2), id, to) };
    b.store().change(asked(to_priority(Priority::High))).await.expect("it is within reach");
    moved(&b, at(1), id, "c").await;
    for to in [to_queue("b"), to_queue("c"), to_priority(Priority::Low)] {
        assert_err!(b.store().change(asked(to)).await, StoreError::TaskNotFound(gone) if gone == id);
    }
    assert_eq!(b.task(id).await.history.len(), 3);
    b.check(at(3)).await;
}

/// A task that waits at a limit waits at none of its old queue's any more: where it goes nothing holds it up, and those that it has left
/// behind have all places of the limit.
pub async fn a_task_that_a_limit_has_put_aside_is_free_elsewhere(b: Bench) {
    limit(&*b.store(), at(0), "queue/a/key/*", most(1)).await;
    let spec = || keyed(b.spec("render").queue("a"), "x");
    let ids = b.create_all(at(0), (0..4).map(|_| spec()).collect()).await;
    let held = b.claim_one(from("a", at(1))).await;
    stopped(&b, from("a", at(1)), "queue/a/key/x").await;
    moved(&b, at(2), ids[1], "b").await;
    assert_eq!(given(&b, at(3), "b").await, [ids[1]]);
    stopped(&b, from("a", at(3)), "queue/a/key/x").await;
    b.complete(at(4), &held).await;
    b.settle().await;
    // The one that the limit has let go of leaves its place to the next.
    moved(&b, at(5), ids[2], "b").await;
    assert_eq!(given(&b, at(6), "a").await, [ids[3]]);
    assert_eq!(given(&b, at(6), "b").await, [ids[2]]);
    b.check(at(7)).await;
}

/// A task comes under the limits of its new queue, and stays under those that hold over all queues.
pub async fn a_moved_task_comes_under_the_limits_of_its_new_queue(b: Bench) {
    limit(&*b.store(), at(0), "queue/b/key/*", most(1)).await;
    limit(&*b.store(), at(0), "project/film", most(1)).await;
    let spec = |queue| keyed(b.spec("render").queue(queue), "x");
    let there = b.create(at(0), spec("b")).await;
    let held = b.claim_one(from("b", at(1))).await;
    assert_eq!(held.head.id, there);
    let comes = b.create(at(1), spec("a")).await;
    moved(&b, at(2), comes, "b").await;
    b.settle().await;
    stopped(&b, from("b", at(3)), "queue/b/key/x").await;
    b.complete(at(4), &held).await;
    assert_eq!(given(&b, at(5), "b").await, [comes]);
    let film = b.create(at(6), b.spec("cut").queue("a").project("film")).await;
    let runs = b.claim_one(from("a", at(7))).await;
    assert_eq!(runs.head.id, film);
    let next = b.create(at(7), b.spec("cut").queue("a").project("film")).await;
    stopped(&b, from("a", at(8)), "project/film").await;
    moved(&b, at(9), next, "c").await;
    b.settle().await;
    stopped(&b, from("c", at(10)), "project/film").await;
    b.complete(at(11), &runs).await;
    assert_eq!(given(&b, at(12), "c").await, [next]);
    b.check(at(13)).await;
}

/// A place that a task holds while it waits for its next attempt is free in the queue that it has left, and held in the one that it has
/// come to: its successors wait for it there.
pub async fn a_held_place_is_given_back_and_held_anew(b: Bench) {
    for queue in ["a", "b"] {
        limit(&*b.store(), at(0), &format!("queue/{queue}/key/*"), STRICT).await;
    }
    let spec = |queue| keyed(b.spec("render").queue(queue), "x");
    let first = b.create(at(0), spec("a")).await;
    let held = b.claim_one(from("a", at(0))).await;
    let (behind, there) = (b.create(at(1), spec("a")).await, b.create(at(1), spec("b")).await);
    b.fail(Fail { retry_after: Some(secs(100)), ..failing(at(2), &held) }).await;
    b.settle().await;
    stopped(&b, from("a", at(3)), "queue/a/key/x").await;
    moved(&b, at(4), first, "b").await;
    assert_eq!(given(&b, at(5), "a").await, [behind]);
    b.settle().await;
    stopped(&b, from("b", at(5)), "queue/b/key/x").await;
    let why = b.store().why(there, at(5)).await.unwrap();
    assert!(why.is_kept(), "{why:?}");
    // Another change leaves it so.
    changed(&b, at(6), first, to_priority(Priority::Low)).await;
    stopped(&b, from("b", at(7)), "queue/b/key/x").await;
    let held = b.claim_one(from("b", at(102))).await;
    assert_eq!(held.head.id, first);
    b.complete(at(103), &held).await;
    assert_eq!(given(&b, at(104), "b").await, [there]);
    b.check(at(105)).await;
}

/// A unique key goes along: it is free where it was, and held where the task is since. A task does not come where another holds it.
pub async fn a_unique_key_goes_along(b: Bench) {
    let spec = |queue| b.spec("render").queue(queue).unique("k", UniqueWhile::Unfinished);
    let first = b.create(at(0), spec("a")).await;
    let other = b.create(at(0), spec("b")).await;
    let before = b.task(first).await;
    let refused = b.store().change(changing(at(1), first, to_queue("b"))).await;
    assert_eq!(refusal(refused), Refusal::KeyHeld { by: other });
    assert_eq!(b.task(first).await, before);
    b.cancel(at(2), other).await;
    moved(&b, at(3), first, "b").await;
    let retried = b.store().retry(retry(at(4), other)).await;
    assert_eq!(refusal(retried), Refusal::KeyHeld { by: first });
    let created = |queue: &'static str| {
        let create = creation(at(5), vec![spec(queue)]);
        async { b.send(create).await.unwrap().items.remove(0).unwrap() }
    };
    let again = created("b").await;
    assert_eq!((again.id, again.new), (first, false));
    let new = created("a").await;
    assert!(new.new, "its old queue has it free");
    // Back again only once that one has ended.
    let refused = b.store().change(changing(at(6), first, to_queue("a"))).await;
    assert_eq!(refusal(refused), Refusal::KeyHeld { by: new.id });
    b.cancel(at(7), new.id).await;
    moved(&b, at(8), first, "a").await;
    assert_eq!(created("a").await.id, first);
    assert!(created("b").await.new);
    b.check(at(9)).await;
}

/// A key that is free by its time keeps no task from going anywhere, and is not taken along.
pub async fn a_key_that_has_run_out_holds_nothing_up(b: Bench) {
    let spec = |queue| b.spec("render").queue(queue).unique("k", UniqueWhile::For(secs(60)));
    let first = b.create(at(0), spec("a")).await;
    let other = b.create(at(30), spec("b")).await;
    let refused = b.store().change(changing(at(59), first, to_queue("b"))).await;
    assert_eq!(refusal(refused), Refusal::KeyHeld { by: other });
    moved(&b, at(60), first, "b").await;
    let again = b.send(creation(at(61), vec![spec("b")])).await.unwrap().items.remove(0).unwrap();
    assert_eq!((again.id, again.new), (other, false));
    b.check(at(62)).await;
}

/// Of two tasks of one key that go to one queue at once, one comes there.
pub async fn of_two_of_one_key_at_once_one_comes(b: Bench) {
    for n in 0..8_u64 {
        let unique = |queue| TaskSpec {
            unique: Some(Unique { key: name(&format!("k{n}")), held: UniqueWhile::Unfinished }),
            ..b.spec("render").queue(queue)
        };
        let ids = [b.create(at(n), unique("a")).await, b.create(at(n), unique("b")).await];
        let made = b.task_id();
        let create = creation(at(n), vec![TaskSpec { id: made, ..unique("c") }]);
        let (one, other, creates) = (b.store(), b.store(), b.store());
        let (one, other, created) = tokio::join!(
            tokio::spawn(async move { one.change(changing(at(n), ids[0], to_queue("c"))).await }),
            tokio::spawn(async move { other.change(changing(at(n), ids[1], to_queue("c"))).await }),
            tokio::spawn(async move { creates.create(create).await }),
        );
        let mut there = Vec::new();
        for (id, outcome) in ids.into_iter().zip([one.unwrap(), other.unwrap()]) {
            match outcome {
                Ok(task) => there.push(task.head.id),
                Err(error) => {
                    assert!(matches!(refusal::<()>(Err(error)), Refusal::KeyHeld { .. }));
                    assert_ne!(b.task(id).await.task.queue.as_str(), "c");
                }
            }
        }
        let accepted = created.unwrap().unwrap().items.remove(0).unwrap();
        if accepted.new {
            b.note_created([made]);
            there.push(made);
        }
        assert_eq!(there.len(), 1, "{there:?} have come, and {accepted:?} was answered");
    }
    b.check(at(9)).await;
}

/// A blocked task that is moved stays blocked, and comes into its new queue; what it waits for may be moved, too.
pub async fn a_blocked_task_comes_into_its_new_queue(b: Bench) {
    let first = b.create(at(0), b.spec("bake").queue("ovens")).await;
    let waits = b.create(at(0), b.spec("render").queue("a").after(&[first])).await;
    let detail = moved(&b, at(1), waits, "b").await;
    assert_eq!(
        (detail.task.head.state.state(), detail.task.status(at(1))),
        (State::Blocked, Status::Blocked)
    );
    moved(&b, at(1), first, "kilns").await;
    b.check(at(2)).await;
    let held = b.claim_one(from("kilns", at(2))).await;
    b.complete(at(3), &held).await;
    b.follow(at(3)).await;
    assert_eq!(given(&b, at(4), "a").await, []);
    assert_eq!(given(&b, at(4), "b").await, [waits]);
    b.check(at(5)).await;
}

/// In a fair queue a moved task counts for whose it is there; and it is found by what is to be warm wherever it goes.
pub async fn a_moved_task_keeps_to_the_order_of_its_new_queue(b: Bench) {
    b.order(at(0), "b", QueueOrder { fair: Some(FairBy::Project), age_after_seconds: None }).await;
    let spec = |queue, project| b.spec("render").queue(queue).project(project);
    let theirs = b.create_all(at(0), (0..2).map(|_| spec("b", "film")).collect()).await;
    let comes = b.create_all(at(1), vec![spec("a", "game"), spec("a", "film")]).await;
    for id in &comes {
        moved(&b, at(2), *id, "b").await;
    }
    assert_eq!(given(&b, at(3), "b").await, [theirs[0], comes[0], theirs[1], comes[1]]);
    let warm = TaskSpec { affinity: Some(name("scene")), ..spec("b", "film") };
    let (warm, cold) = (b.create(at(4), warm).await, b.create(at(4), spec("b", "film")).await);
    for id in [cold, warm] {
        moved(&b, at(5), id, "c").await;
    }
    b.settle().await;
    let only = baton_model::Warm { names: vec![name("scene")], wants: baton_model::Wants::Only };
    let claim = Claim { warm: only, ..from("c", at(6)) };
    assert_eq!(b.claim_one(claim).await.head.id, warm);
    assert_eq!(given(&b, at(6), "c").await, [cold]);
    b.check(at(7)).await;
}

/// A move into a queue wakes who waits there. Of a paused queue a task can be taken away, and in one it waits.
pub async fn a_move_wakes_who_waits_in_the_new_queue(mut b: Bench) {
    let ids = b.create_all(at(0), (0..2).map(|_| b.spec("render").queue("a")).collect()).await;
    b.pause(at(0), "a", true).await;
    b.hush();
    moved(&b, at(1), ids[0], "b").await;
    let ring = b.hear("for the new queue", |ready| ready.queue.as_str() == "b").await;
    assert_eq!((ring.count, ring.run_after), (1, at(0)));
    assert_eq!(given(&b, at(2), "b").await, [ids[0]]);
    b.pause(at(3), "b", true).await;
    moved(&b, at(4), ids[1], "b").await;
    b.settle().await;
    assert!(matches!(b.nothing(from("b", at(5))).await, Nothing::Paused { .. }));
    let why = b.store().why(ids[1], at(5)).await.unwrap();
    assert!(why.reasons.iter().any(|reason| reason.word() == "paused"), "{why:?}");
    b.pause(at(6), "b", false).await;
    assert_eq!(given(&b, at(7), "b").await, [ids[1]]);
    b.check(at(8)).await;
}

/// A supply counts what is ready in its queue now: what has left it is made up for, and what has come to it is not made.
pub async fn a_supply_counts_what_has_come_and_not_what_has_gone(b: Bench) {
    let supplied = plan(2, 2, b.spec("render").queue("a"));
    super::supply::change(&*b.store(), at(0), "a", set(supplied)).await;
    assert_eq!(refill(&b, at(0), "a").await, Refilled::Created { tasks: 2, more: false });
    let in_a = || TaskFilter { queue: Some(name("a")), ..TaskFilter::default() };
    let made = b.ids_by(in_a()).await;
    b.note_created(made.clone());
    moved(&b, at(1), made[0], "b").await;
    assert_eq!(refill(&b, at(2), "a").await, Refilled::Created { tasks: 1, more: false });
    b.note_created(b.ids_by(in_a()).await.into_iter().filter(|id| !made.contains(id)));
    assert_eq!(given(&b, at(3), "a").await.len(), 2);
    let others = b.create_all(at(4), (0..2).map(|_| b.spec("render").queue("c")).collect()).await;
    for id in others {
        moved(&b, at(5), id, "a").await;
    }
    assert_eq!(refill(&b, at(6), "a").await, Refilled::Enough);
    b.check(at(7)).await;
}

/// A worker that makes room for a task that is given out alone does so no more once that has gone to a queue of which it takes nothing.
pub async fn nobody_makes_room_for_what_has_left(b: Bench) {
    let id = b.create(at(0), b.spec("poison").queue("a")).await;
    for now in [0, 100] {
        assert_eq!(given(&b, at(now), "a").await, [id]);
        assert_eq!(b.reap(at(now + 100)).await.len(), 1);
    }
    let fixed = claim("w1", at(200)).fixed(secs(90_000));
    b.running_by(at(200), fixed, b.spec("render").queue("other")).await;
    let plain = b.create(at(201), b.spec("render").queue("a")).await;
    let later = at(200).plus(PATIENCE);
    assert_eq!(b.nothing(claim("w1", later).queues(&["a"])).await, Nothing::MakesRoom);
    assert_eq!(b.worker("w1").await.worker.alone.map(Alone::task), Some(id));
    moved(&b, later, id, "b").await;
    b.settle().await;
    assert_eq!(b.claim_one(claim("w1", later).queues(&["a"])).await.head.id, plain);
    assert_eq!(b.worker("w1").await.worker.alone, None);
    assert_eq!(given(&b, later, "b").await, [id]);
    b.check(later).await;
}

/// All tasks of a queue are moved in bulk, whoever carries the command out; one that another has moved elsewhere meanwhile is left there.
pub async fn a_queue_is_emptied_into_another_in_bulk(b: Bench) {
    let ids = b.create_all(at(0), (0..25).map(|_| b.spec("render").queue("a")).collect()).await;
    moved(&b, at(1), ids[24], "c").await;
    let filter = BulkFilter { queue: Some(name("a")), ..BulkFilter::default() };
    let id = BulkId::from_bytes(counted_id(9_000_001));
    let bulk = Bulk::new(id, at(2), BulkAction::Change(to_queue("b")), BulkTasks::Filter(filter));
    b.settle().await;
    // A page was noted before another took a task of it elsewhere, and was cut off.
    let begun = bulk.begun(ids[20..].to_vec(), None, false, at(2));
    b.store().create_bulk(bulk).await.unwrap();
    assert!(b.store().put_bulk(begun).await.unwrap());
    let stepping = |_| {
        let store = b.store();
        tokio::spawn(async move {
            for now in 20..100 {
                let bulk = step(&*store, id, 4, at(now * 10)).await.expect("the step is done");
                if bulk.state != BulkState::Running {
                    return;
                }
            }
            panic!("the command comes to no end");
        })
    };
    for running in (0..3).map(stepping).collect::<Vec<_>>() {
        running.await.unwrap();
    }
    let bulk = b.store().bulk(id).await.unwrap().unwrap();
    assert_eq!((bulk.state, bulk.looked_at, bulk.changed), (BulkState::Done, 25, 24));
    assert_eq!(bulk.skipped, [(GONE.to_owned(), 1)].into());
    for id in &ids[..24] {
        let detail = b.task(*id).await;
        assert_eq!((detail.task.queue.as_str(), detail.history.len()), ("b", 2));
    }
    assert_eq!(b.task(ids[24]).await.task.queue.as_str(), "c");
    b.check(at(1_000)).await;
}

/// Of a claim and a move at once each sees the other: a task is given out from its old queue or moved, and never both.
pub async fn a_claim_races_a_move(b: Bench) {
    let ids = b.create_all(at(0), (0..12).map(|_| b.spec("render").queue("a")).collect()).await;
    b.settle().await;
    let mut running = Vec::new();
    for &id in &ids {
        let store = b.store();
        running.push(tokio::spawn(async move { store.change(changing(at(1), id, to_queue("b"))).await }));
    }
    let store = b.store();
    let claimer = tokio::spawn(async move { store.claim(from("a", at(1)).max(12)).await });
    let mut gone = BTreeSet::new();
    for (id, one) in ids.iter().zip(running) {
        match one.await.unwrap() {
            Ok(task) => assert!(task.queue.as_str() == "b" && gone.insert(*id)),
            other => assert_eq!(refusal(other), Refusal::NotWaiting { state: State::Running }),
        }
    }
    let taken: BTreeSet<TaskId> = match claimer.await.unwrap().expect("the claim is taken") {
        ClaimAnswer::Leased(tasks) => tasks.iter().map(|task| task.head.id).collect(),
        ClaimAnswer::Nothing(_) => BTreeSet::new(),
    };
    assert!(taken.is_disjoint(&gone), "{taken:?} {gone:?}");
    assert_eq!(taken.len() + gone.len(), ids.len());
    b.check(at(2)).await;
    assert_eq!(given(&b, at(3), "b").await.into_iter().collect::<BTreeSet<_>>(), gone);
    b.check(at(4)).await;
}

/// A store that was copied before a task was moved takes in where it is since, and counts it there.
pub async fn a_move_is_taken_in_by_a_copy(b: Bench) {
    let Some(copy) = b.movable().await else { return };
    let id = b.create(at(0), b.spec("render").queue("a").unique("k", UniqueWhile::Unfinished)).await;
    b.create(at(0), b.spec("render").queue("a")).await;
    b.settle().await;
    let all = super::transfer::records(&*copy.source, 10).await;
    copy.target.import(all).await.expect("they are taken");
    moved(&b, at(1), id, "b").await;
    b.settle().await;
    for _ in 0..2 {
        let all = super::transfer::records(&*copy.source, 10).await;
        copy.target.import(all).await.expect("they are taken");
    }
    assert_eq!(copy.store.task(id).await.unwrap(), b.task(id).await);
    check_invariants(&*copy.store, &b.created(), at(2)).await;
}
