//! Claims: order, bounds, caps, and why a claim finds nothing.

use std::collections::BTreeSet;

use baton_model::{Directive, EventKind, Priority, State};

use super::kit::*;
use crate::{Claim, Nothing, Reap, StoreError};

/// A claimed task runs under a lease that tells worker, session, time, timeout and request; its attempt is 1.
pub async fn a_claimed_task_runs_under_its_lease(b: Bench) {
    let id = b.create(at(0), b.spec("render").timeout(secs(30))).await;
    let task = b.claim_one(claim("w1", at(5)).session(session(1)).key("r1")).await;
    assert_eq!((task.head.id, task.head.attempt), (id, 1));
    let lease = lease(&task);
    assert_eq!(lease.worker, name("w1"));
    assert_eq!((lease.session, lease.claimed_at), (Some(session(1)), at(5)));
    assert_eq!((lease.expires_at, lease.timeout_at), (None, Some(at(35))));
    assert_eq!(lease.request, Some(name("r1")));

    let detail = b.task(id).await;
    assert_eq!(detail.task, task, "the answer is the task as it is stored");
    let event = &detail.history[1];
    assert_eq!((event.kind, event.from, event.to), (EventKind::Claimed, Some(State::Queued), State::Running));
    assert_eq!((event.at, event.attempt), (at(5), 1));
    assert_eq!((&event.detail.worker, event.detail.session), (&Some(name("w1")), Some(session(1))));
    b.check(at(6)).await;
}

/// A claim with a fixed length gets a lease that ends by itself.
pub async fn a_claim_with_a_fixed_lease_has_an_end(b: Bench) {
    let task = b.running_by(at(0), claim("w1", at(0)).fixed(millis(2_500)), b.spec("render")).await;
    assert_eq!(lease(&task).expires_at, Some(at(0).plus(millis(2_500))));
}

/// The four priorities are claimed in their order, whenever the tasks became due.
pub async fn a_higher_priority_is_claimed_first(b: Bench) {
    let mut ids = Vec::new();
    for (n, priority) in Priority::ALL.into_iter().rev().enumerate() {
        ids.push(b.create(at(n as u64), b.spec("render").priority(priority)).await);
    }
    ids.reverse();
    for id in ids {
        assert_eq!(b.claim_one(claim("w1", at(10))).await.head.id, id);
    }
}

/// Within one priority, the task that was due first is claimed first.
pub async fn within_a_priority_the_first_due_is_claimed_first(b: Bench) {
    if !b.store().capabilities().total_claim_order {
        return;
    }
    let mut ids = Vec::new();
    for due in [30, 10, 20, 40] {
        ids.push((due, b.create(at(0), b.spec("render").due(at(due))).await));
    }
    ids.sort();
    let claimed = b.claim(claim("w1", at(50)).max(3)).await;
    assert_eq!(ids_of(&claimed), [ids[0].1, ids[1].1, ids[2].1]);
    assert_eq!(b.claim_one(claim("w1", at(50))).await.head.id, ids[3].1);
}

/// Among tasks of one priority that were due at the same time, the lowest id is claimed first.
pub async fn among_equals_the_lowest_id_is_claimed_first(b: Bench) {
    if !b.store().capabilities().total_claim_order {
        return;
    }
    let mut specs: Vec<_> = (0..10).map(|_| b.spec("render")).collect();
    specs.reverse();
    let mut ids = b.create_all(at(0), specs).await;
    ids.sort();
    assert_eq!(ids_of(&b.claim(claim("w1", at(1)).max(4)).await), ids[..4]);
    assert_eq!(ids_of(&b.claim(claim("w2", at(1)).max(10)).await), ids[4..]);
}

/// Several queues are claimed from as if they were one, whatever order the claim names them in.
pub async fn the_order_holds_across_queues(b: Bench) {
    if !b.store().capabilities().total_claim_order {
        return;
    }
    let late = b.create(at(0), b.spec("render").queue("a").due(at(5))).await;
    let low = b.create(at(0), b.spec("render").queue("a").priority(Priority::Low)).await;
    let first = b.create(at(0), b.spec("render").queue("b")).await;
    let urgent = b.create(at(0), b.spec("render").queue("c").priority(Priority::Critical).due(at(6))).await;
    let claimed = b.claim(claim("w1", at(10)).queues(&["c", "a", "b"]).max(10)).await;
    assert_eq!(ids_of(&claimed), [urgent, first, late, low]);
}

/// A claim gets tasks of the queues that it names and of no other.
pub async fn only_the_named_queues_are_claimed_from(b: Bench) {
    b.create(at(0), b.spec("render").queue("other")).await;
    let wanted = b.create(at(0), b.spec("render").queue("mine")).await;
    let claimed = b.claim(claim("w1", at(1)).queues(&["mine", "empty"]).max(10)).await;
    assert_eq!(ids_of(&claimed), [wanted]);
    assert_eq!(b.nothing(claim("w1", at(1)).queues(&["mine", "empty"])).await, Nothing::NoneQueued);
}

/// A claim that names types gets tasks of these types and of no other, in the usual order.
pub async fn only_the_named_types_are_claimed(b: Bench) {
    let other = b.create(at(0), b.spec("other").priority(Priority::Critical)).await;
    let bake = b.create(at(0), b.spec("bake")).await;
    let render = b.create(at(0), b.spec("render").priority(Priority::High)).await;
    let claimed = b.claim(claim("w1", at(1)).types(&["bake", "render"]).max(10)).await;
    assert_eq!(ids_of(&claimed), [render, bake]);
    assert_eq!(b.nothing(claim("w1", at(1)).types(&["bake"])).await, Nothing::NoneQueued);
    assert_eq!(b.claim_one(claim("w1", at(1))).await.head.id, other, "naming no type means all");
}

/// A few tasks of a type are found behind many of other types.
pub async fn a_rare_type_is_found_behind_many_others(b: Bench) {
    b.create_plain(at(0), 300).await;
    let rare = b.create(at(1), b.spec("rare").priority(Priority::Low)).await;
    assert_eq!(b.claim_one(claim("w1", at(2)).types(&["rare"])).await.head.id, rare);
}

/// A claim for a project gets that project's tasks, and only those, however few; a claim that names none gets all.
pub async fn a_claim_for_a_project_gets_its_tasks_only(b: Bench) {
    let film = b.create(at(0), b.spec("render").project("film")).await;
    let game = b.create(at(0), b.spec("render").project("game")).await;
    let plain = b.create(at(0), b.spec("render")).await;
    let of = |worker: &str, project: &str| claim(worker, at(1)).project(project).max(10);
    assert_eq!(ids_of(&b.claim(of("w1", "film")).await), [film]);
    assert_eq!(b.nothing(of("w1", "film")).await, Nothing::NoneQueued);
    let second = b.create(at(1), b.spec("render").project("film")).await;
    let mut rest = ids_of(&b.claim(claim("w2", at(2)).max(10)).await);
    rest.sort();
    assert_eq!(rest, [game, plain, second]);
    b.check(at(3)).await;
}

/// The project of tasks that name none is a project like another.
pub async fn the_default_project_can_be_claimed_for(b: Bench) {
    b.create(at(0), b.spec("render").project("film").priority(Priority::Critical)).await;
    let plain = b.create(at(0), b.spec("render")).await;
    b.create(at(0), b.spec("bake").project("film")).await;
    let ours = claim("w1", at(1)).project("default").max(10);
    assert_eq!(ids_of(&b.claim(ours.clone()).await), [plain]);
    assert_eq!(b.nothing(ours.types(&["bake"])).await, Nothing::NoneQueued);
}

/// Within a project the order is that of all claims: over its queues and types, with others' tasks in between.
pub async fn the_order_holds_within_a_project(b: Bench) {
    if !b.store().capabilities().total_claim_order {
        return;
    }
    let ours = |task_type: &str| b.spec(task_type).project("film");
    let late = b.create(at(0), ours("render").queue("a").due(at(5))).await;
    let low = b.create(at(0), ours("bake").queue("a").priority(Priority::Low)).await;
    let first = b.create(at(0), ours("bake").queue("b")).await;
    let urgent = b.create(at(0), ours("render").queue("c").priority(Priority::Critical).due(at(6))).await;
    for queue in ["a", "b", "c"] {
        for priority in Priority::ALL {
            let theirs = b.spec("render").queue(queue).priority(priority);
            b.create_all(at(0), vec![theirs.clone().project("game"), b.spec("bake").queue(queue)]).await;
        }
    }
    let all = claim("w1", at(10)).project("film").queues(&["c", "a", "b"]);
    assert_eq!(ids_of(&b.claim(all.clone().types(&["bake"])).await), [first]);
    assert_eq!(ids_of(&b.claim(all.clone().types(&["render", "bake"]).max(2)).await), [urgent, late]);
    assert_eq!(ids_of(&b.claim(all.max(10)).await), [low]);
}

/// A project's task is found behind many tasks of others that come first.
pub async fn a_rare_project_is_found_behind_many_others(b: Bench) {
    for project in ["default", "game"] {
        let others = (0..150).map(|_| b.spec("render").project(project).priority(Priority::High)).collect();
        b.create_all(at(0), others).await;
    }
    let ours =
        b.create_all(at(0), vec![b.spec("render").project("film"), b.spec("bake").project("film")]).await;
    let claim = claim("w1", at(1)).project("film");
    assert_eq!(b.claim_one(claim.clone().types(&["bake"])).await.head.id, ours[1]);
    assert_eq!(b.claim_one(claim.clone()).await.head.id, ours[0]);
    assert_eq!(b.nothing(claim).await, Nothing::NoneQueued);
}

/// A claim for a project is told of that project's tasks only when it finds nothing: whether any waits, and when the
/// next one is due.
pub async fn what_waits_of_other_projects_is_not_told(b: Bench) {
    b.create(at(0), b.spec("render").due(at(50))).await;
    b.create(at(0), b.spec("render").project("game").due(at(60))).await;
    b.create(at(0), b.spec("render").project("game").queue("other")).await;
    let ours = claim("w1", at(1)).project("film").queues(&["default", "other"]);
    assert_eq!(b.nothing(ours.clone()).await, Nothing::NoneQueued);
    assert_eq!(b.nothing(ours.clone().types(&["render"])).await, Nothing::NoneQueued);
    b.create(at(0), b.spec("render").project("film").due(at(200)).priority(Priority::Critical)).await;
    b.create(at(0), b.spec("bake").project("film").queue("other").due(at(100))).await;
    assert_eq!(b.nothing(ours.clone()).await, Nothing::Scheduled { next_at: at(100) });
    assert_eq!(b.nothing(ours.types(&["render"])).await, Nothing::Scheduled { next_at: at(200) });
    let plain = claim("w2", at(1)).project("default").queues(&["default", "other"]);
    assert_eq!(b.nothing(plain).await, Nothing::Scheduled { next_at: at(50) });
}

/// A claim gets no more than it asks for, and what there is if that is less.
pub async fn a_claim_gets_no_more_than_it_asks_for(b: Bench) {
    b.create_plain(at(0), 5).await;
    assert_eq!(b.claim(claim("w1", at(1)).max(3)).await.len(), 3);
    assert_eq!(b.claim(claim("w1", at(1)).max(3)).await.len(), 2);
    b.check(at(2)).await;
}

/// A hundred tasks can be claimed at once.
pub async fn a_claim_may_get_a_hundred(b: Bench) {
    b.create_plain(at(0), 101).await;
    let claimed = b.claim(claim("w1", at(1)).max(baton_model::limits::CLAIM_TASKS).cap(1_000)).await;
    assert_eq!(claimed.len(), 100);
    assert_eq!(held_set(&claimed).len(), 100, "each once");
    b.check(at(2)).await;
}

/// A task that is claimed is given to no other claim.
pub async fn a_claimed_task_is_given_to_nobody_else(b: Bench) {
    b.running(at(0), "w1", b.spec("render")).await;
    for worker in ["w1", "w2"] {
        assert_eq!(b.nothing(claim(worker, at(1))).await, Nothing::NoneQueued);
    }
}

/// A worker holds no more tasks than its cap, over all of its claims; what it finishes makes room.
pub async fn the_cap_holds_over_all_claims_of_a_worker(b: Bench) {
    b.create_plain(at(0), 5).await;
    let first = b.claim(claim("w1", at(1)).max(10).cap(2)).await;
    assert_eq!(first.len(), 2);
    assert_eq!(b.nothing(claim("w1", at(1)).cap(2)).await, Nothing::AtCap { active: 2, cap: 2 });
    b.complete(at(2), &first[0]).await;
    assert_eq!(b.claim(claim("w1", at(3)).max(10).cap(2)).await.len(), 1);
    assert_eq!(b.nothing(claim("w1", at(3)).cap(1)).await, Nothing::AtCap { active: 2, cap: 1 });
    assert_eq!(b.claim(claim("w1", at(3)).max(10).cap(4)).await.len(), 2);
    b.check(at(4)).await;
}

/// The cap counts the tasks of all queues.
pub async fn the_cap_counts_the_tasks_of_all_queues(b: Bench) {
    b.running(at(0), "w1", b.spec("render").queue("a")).await;
    b.create(at(0), b.spec("render").queue("b")).await;
    let again = claim("w1", at(1)).queues(&["b"]).cap(1);
    assert_eq!(b.nothing(again).await, Nothing::AtCap { active: 1, cap: 1 });
}

/// One worker's cap says nothing about another's.
pub async fn a_cap_concerns_one_worker(b: Bench) {
    b.create_plain(at(0), 2).await;
    b.claim_one(claim("w1", at(1)).cap(1)).await;
    b.claim_one(claim("w2", at(1)).cap(1)).await;
}

/// A task lost to the reaper, failed, released or cancelled makes room under the cap again.
pub async fn every_end_of_an_attempt_makes_room(b: Bench) {
    let ends = b.create_plain(at(0), 4).await;
    let held = b.claim(claim("w1", at(0)).max(4).cap(4).fixed(secs(30))).await;
    assert_eq!(held.len(), ends.len());
    b.create_plain(at(0), 4).await;
    let more = || claim("w1", at(1)).max(10).cap(4);
    assert_eq!(b.nothing(more()).await, Nothing::AtCap { active: 4, cap: 4 });
    b.fail(failing(at(1), &held[0])).await;
    assert_eq!(b.claim(more()).await.len(), 1);
    b.release(crate::Release { delay: secs(900), ..releasing(at(1), &held[1]) }).await;
    assert_eq!(b.claim(more()).await.len(), 1);
    b.cancel(at(1), held[2].head.id).await;
    assert_eq!(b.claim(more()).await.len(), 1);
    b.settle().await;
    let report = b.store().reap(Reap { limit: 1, ..reap(at(31)) }).await.unwrap();
    assert_eq!(report.taken[0].task, held[3].head.id);
    assert_eq!(b.claim(Claim { now: at(31), ..more() }).await.len(), 1);
    b.check(at(32)).await;
}

/// The capacity that a worker states is shown and decides nothing.
pub async fn the_stated_capacity_is_shown_and_decides_nothing(b: Bench) {
    b.create_plain(at(0), 3).await;
    let claimed = b.claim(Claim { capacity: Some(1), ..claim("w1", at(1)).max(3) }).await;
    assert_eq!(claimed.len(), 3);
    let detail = b.worker("w1").await;
    assert_eq!((detail.worker.capacity, detail.active), (Some(1), 3));
}

/// A claim that finds no queued task says so; running and finished tasks are none.
pub async fn no_queued_task_is_said(b: Bench) {
    assert_eq!(b.nothing(claim("w1", at(0))).await, Nothing::NoneQueued);
    let held = b.running(at(0), "w1", b.spec("render")).await;
    assert_eq!(b.nothing(claim("w1", at(1))).await, Nothing::NoneQueued);
    b.complete(at(2), &held).await;
    assert_eq!(b.nothing(claim("w1", at(3))).await, Nothing::NoneQueued);
}

/// A claim whose tasks are all for later says when the first of them, of these queues and types, is due.
pub async fn the_next_due_time_is_said(b: Bench) {
    b.create(at(0), b.spec("render").due(at(300)).priority(Priority::Critical)).await;
    b.create(at(0), b.spec("render").due(at(200)).priority(Priority::Low)).await;
    b.create(at(0), b.spec("bake").due(at(100))).await;
    b.create(at(0), b.spec("render").queue("other").due(at(50))).await;
    assert_eq!(b.nothing(claim("w1", at(1))).await, Nothing::Scheduled { next_at: at(100) });
    let renders = claim("w1", at(1)).types(&["render"]);
    assert_eq!(b.nothing(renders).await, Nothing::Scheduled { next_at: at(200) });
    let both = claim("w1", at(1)).queues(&["default", "other"]);
    assert_eq!(b.nothing(both).await, Nothing::Scheduled { next_at: at(50) });
}

/// A paused queue gives out no task and says so; resumed, it does again.
pub async fn a_paused_queue_gives_nothing_until_resumed(b: Bench) {
    let id = b.create(at(0), b.spec("render")).await;
    b.pause(at(1), "default", true).await;
    let paused = Nothing::Paused { queues: vec![name("default")] };
    assert_eq!(b.nothing(claim("w1", at(2))).await, paused);
    assert_eq!(b.state(id).await, State::Queued);
    b.pause(at(3), "default", false).await;
    assert_eq!(b.claim_one(claim("w1", at(4))).await.head.id, id);
    b.check(at(5)).await;
}

/// A paused queue does not keep back the tasks of others; when all that a claim names are paused, or what there is lies in those that are, it
/// names them.
pub async fn one_paused_queue_does_not_stop_the_others(b: Bench) {
    let urgent = b.create(at(0), b.spec("render").queue("a").priority(Priority::Critical)).await;
    let open = b.create(at(0), b.spec("render").queue("b")).await;
    b.pause(at(1), "a", true).await;
    let both = claim("w1", at(2)).queues(&["a", "b"]).max(10);
    assert_eq!(ids_of(&b.claim(both.clone()).await), [open]);
    let closed = Nothing::Paused { queues: vec![name("a")] };
    assert_eq!(b.nothing(both.clone()).await, closed, "b is open, and empty");
    let none = claim("w1", at(2)).queues(&["b", "never"]);
    assert_eq!(b.nothing(none).await, Nothing::NoneQueued);
    let empty = claim("w1", at(2)).queues(&["a", "b"]).types(&["bake"]);
    assert_eq!(b.nothing(empty).await, Nothing::NoneQueued, "nothing of this type waits in a");
    // What is for later in an open queue is what it waits for.
    let later = b.create(at(2), b.spec("render").queue("b").due(at(9))).await;
    assert_eq!(b.nothing(both.clone()).await, Nothing::Scheduled { next_at: at(9) });
    b.cancel(at(2), later).await;
    b.pause(at(3), "b", true).await;
    match b.nothing(both.clone()).await {
        Nothing::Paused { queues } => {
            assert_eq!(queues.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([name("a"), name("b")]));
        }
        other => panic!("expected both to be paused, got {other:?}"),
    }
    b.pause(at(4), "a", false).await;
    assert_eq!(ids_of(&b.claim(both).await), [urgent]);
}

/// What runs when its queue is paused may be finished, and new tasks are taken in.
pub async fn a_paused_queue_takes_completions_and_tasks(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.pause(at(1), "default", true).await;
    b.complete(at(2), &held).await;
    let id = b.create(at(3), b.spec("render")).await;
    assert_eq!(b.state(id).await, State::Queued);
    b.check(at(4)).await;
}

/// A worker that was asked to drain or to stop is given nothing, and is told why; others are.
pub async fn a_directed_worker_is_given_nothing(b: Bench) {
    b.create_plain(at(0), 2).await;
    b.beat(beat("w1", at(0))).await;
    for directive in [Directive::Drain, Directive::Stop] {
        b.direct(at(1), "w1", directive).await;
        assert_eq!(b.nothing(claim("w1", at(2))).await, Nothing::Directed { directive });
    }
    b.claim_one(claim("w2", at(2))).await;
    b.direct(at(3), "w1", Directive::Run).await;
    b.claim_one(claim("w1", at(4))).await;
    b.check(at(5)).await;
}

/// A claim that finds nothing changes no task and makes no queue known.
pub async fn an_empty_claim_changes_nothing(b: Bench) {
    let id = b.create(at(0), b.spec("render").due(at(9))).await;
    let before = b.task(id).await;
    assert_eq!(b.nothing(claim("w1", at(1)).queues(&["elsewhere"])).await, Nothing::NoneQueued);
    b.nothing(claim("w1", at(1))).await;
    assert_eq!(b.task(id).await, before);
    let elsewhere = b.store().queue(&name("elsewhere"), at(2)).await;
    assert_err!(elsewhere, StoreError::QueueNotFound(queue) if queue == name("elsewhere"));
    b.check(at(2)).await;
}
