//! Claims by type and by project: they find what they may take whatever else waits, and the order of all claims holds.

use baton_model::{Priority, TaskId, TaskSpec};

use super::kit::*;
use crate::{ClaimAnswer, Nothing};

/// Many tasks of many types and two projects, some for later, that come before all that is due at 1,000 s.
async fn others(b: &Bench) {
    let spec = |n: u64| {
        let spec = b.spec(&format!("other-{}", n % 7)).due(at([n, 90_000 + n][(n % 2) as usize]));
        let spec = spec.project(["default", "game"][(n % 3 % 2) as usize]);
        if n.is_multiple_of(5) { spec.priority(Priority::Critical) } else { spec }
    };
    b.create_all(at(0), (0..200).map(spec).collect()).await;
}

/// The ids of tasks, each created at its time of becoming due.
async fn created(b: &Bench, specs: Vec<(u64, TaskSpec)>) -> Vec<TaskId> {
    b.create_all(at(0), specs.into_iter().map(|(due, spec)| spec.due(at(due))).collect()).await
}

/// A claim that names types, or is bound to a project, is given what is due of them whatever waits before it, and is told
/// when the next of them is due.
pub async fn a_choice_is_found_whatever_waits_before_it(b: Bench) {
    others(&b).await;
    let (rare, film) = (|| b.spec("rare"), || b.spec("render").project("film"));
    let ids = created(&b, vec![(1_000, rare()), (1_100, rare()), (1_000, film()), (1_200, film())]).await;
    let rare = claim("w1", at(1_001)).types(&["rare"]).max(10);
    let film = claim("w2", at(1_001)).project("film").max(10);
    assert_eq!(ids_of(&b.claim(rare.clone()).await), [ids[0]]);
    assert_eq!(b.nothing(rare).await, Nothing::Scheduled { next_at: at(1_100) });
    assert_eq!(ids_of(&b.claim(film.clone()).await), [ids[2]]);
    assert_eq!(b.nothing(film.clone()).await, Nothing::Scheduled { next_at: at(1_200) });
    assert_eq!(b.nothing(film.types(&["rare"])).await, Nothing::NoneQueued);
    assert_eq!(b.nothing(claim("w1", at(1_001)).types(&["unheard-of"])).await, Nothing::NoneQueued);
    assert_eq!(b.nothing(claim("w3", at(1_001)).project("unheard-of")).await, Nothing::NoneQueued);
    b.check(at(1_002)).await;
}

/// However many types and projects wait in a queue, a claim that names none follows the order of all of its tasks, and one
/// that names one of them is given its tasks in their order.
pub async fn many_types_are_claimed_in_the_order_of_all(b: Bench) {
    if !b.store().capabilities().total_claim_order {
        return;
    }
    let types: Vec<_> = (0..130).map(|n| format!("type-{n}")).collect();
    let mut due = Vec::new();
    let mut specs = Vec::new();
    for n in 0..260_u64 {
        // Scattered, and each another.
        due.push(n * 89 % 260);
        let project = ["default", "film", "game"][(n % 3) as usize];
        specs.push((due[n as usize], b.spec(&types[n as usize % types.len()]).project(project)));
    }
    let ids = created(&b, specs).await;
    let mut order: Vec<_> = due.iter().copied().zip(ids.clone()).collect();
    order.sort();
    // Type 7 has tasks 7, of the project film, and 137, of game.
    let seventh = claim("w1", at(1_000)).types(&["type-7"]).max(10);
    let bound = claim("w3", at(1_000)).types(&["type-7"]).max(10).project("game");
    assert_eq!(ids_of(&b.claim(bound.clone()).await), [ids[137]]);
    assert_eq!(b.nothing(bound).await, Nothing::NoneQueued);
    assert_eq!(ids_of(&b.claim(seventh).await), [ids[7]]);
    order.retain(|(_, id)| *id != ids[7] && *id != ids[137]);
    let mut given = Vec::new();
    while given.len() < order.len() {
        given.extend(ids_of(&b.claim(claim("w2", at(1_000)).max(60).cap(1_000)).await));
    }
    assert_eq!(given, order.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
    assert_eq!(b.nothing(claim("w1", at(1_000))).await, Nothing::NoneQueued);
}

/// A task that waits again, whatever has ended its attempt, is found by its type and its project.
pub async fn what_waits_again_is_found_by_its_type_and_project(b: Bench) {
    b.create_plain(at(0), 3).await;
    let ids = b.create_all(at(0), (0..4).map(|_| b.spec("rare").project("film")).collect()).await;
    let rare = |worker: &str, now| claim(worker, at(now)).types(&["rare"]).max(10);
    let film = |worker: &str, now| claim(worker, at(now)).project("film").max(10);
    let held = b.claim(rare("w1", 1).fixed(secs(10))).await;
    assert_eq!(ids_of(&held), ids);
    b.fail(failing(at(2), &held[0])).await;
    b.release(releasing(at(2), &held[1])).await;
    b.cancel(at(2), ids[2]).await;
    b.retry(at(3), ids[2]).await;
    b.settle().await;
    assert_eq!(b.reap(at(12)).await.len(), 1, "the fourth");
    let mut again = ids_of(&b.claim(rare("w2", 500)).await);
    again.sort();
    assert_eq!(again, ids);
    let held = b.claim_one(claim("w3", at(500)).types(&["render"])).await;
    b.release(releasing(at(501), &held)).await;
    let first = b.task(ids[0]).await.task;
    b.release(releasing(at(501), &first)).await;
    assert_eq!(b.claim_one(film("w4", 600)).await.head.id, ids[0]);
    b.check(at(601)).await;
}

/// Claims of all tasks, by type and for a project share a queue over a long time, and each gets what there is for it.
pub async fn claims_of_all_and_by_choice_share_a_queue(b: Bench) {
    let mut left = Vec::new();
    for round in 0..4_u64 {
        let now = round * 1_000;
        let project = |n: u64| ["default", "film"][(n % 2) as usize];
        let specs = (0..12).map(|n| b.spec(&format!("type-{n}")).project(project(n))).collect();
        let ids = b.create_all(at(now), specs).await;
        left.extend(ids.iter().copied());
        let mut claims = vec![
            (claim("typed", at(now + 1)).types(&["type-8"]).max(10), Some(ids[8])),
            (claim("bound", at(now + 1)).project("film").types(&["type-9", "type-8"]), Some(ids[9])),
        ];
        // Where it comes first, it must not take what the others are to find.
        let first = round.is_multiple_of(2) && b.store().capabilities().total_claim_order;
        claims.insert(if first { 0 } else { 2 }, (claim("all", at(now + 1)), None));
        for (claim, expected) in claims {
            let given = ids_of(&b.claim(claim.clone()).await);
            assert!(expected.is_none_or(|expected| given.contains(&expected)), "{claim:?}");
            left.retain(|one| !given.contains(one));
        }
        // Taken by the next round.
        left.push(b.create(at(now + 1), b.spec("type-8").due(at(now + 50))).await);
        let typed = claim("typed", at(now + 1)).types(&["type-8", "type-9"]);
        assert_eq!(b.nothing(typed).await, Nothing::Scheduled { next_at: at(now + 50) });
    }
    let mut rest = Vec::new();
    let all = || claim("all", at(9_000)).max(7).cap(1_000);
    while let ClaimAnswer::Leased(tasks) = b.store().claim(all()).await.unwrap() {
        rest.extend(ids_of(&tasks));
    }
    rest.sort();
    left.sort();
    assert_eq!(rest, left);
    b.check(at(9_001)).await;
}

/// A task that is given out alone is given to the claims that ask for its type, and to no others.
pub async fn a_task_given_out_alone_is_found_by_its_type(b: Bench) {
    let poison = b.create(at(0), b.spec("poison").project("film").attempts(9)).await;
    for now in [0, 100] {
        b.claim_one(claim("gone", at(now))).await;
        assert_eq!(b.reap(at(now + 100)).await.len(), 1);
    }
    b.create_plain(at(0), 3).await;
    assert_ne!(b.claim_one(claim("w1", at(201)).types(&["render"])).await.head.id, poison);
    assert_ne!(b.claim_one(claim("w2", at(201)).project("default")).await.head.id, poison);
    assert_eq!(b.claim_one(claim("w3", at(201)).types(&["poison"]).project("film")).await.head.id, poison);
    assert_eq!(b.nothing(claim("w3", at(202)).types(&["render"])).await, Nothing::RunsAlone);
    b.check(at(203)).await;
}

/// A paused queue keeps back its types and projects from claims that also name open ones.
pub async fn a_paused_queue_keeps_back_what_is_chosen(b: Bench) {
    let specs = ["a", "b"].map(|queue| b.spec("rare").project("film").queue(queue));
    let ids = b.create_all(at(0), specs.to_vec()).await;
    b.pause(at(1), "a", true).await;
    let both = claim("w1", at(2)).queues(&["a", "b"]).types(&["rare"]).max(10);
    assert_eq!(ids_of(&b.claim(both.clone()).await), [ids[1]]);
    assert_eq!(b.nothing(both.clone()).await, Nothing::Paused { queues: vec![name("a")] });
    // What waits there is nothing to who asks for something else.
    let game = claim("w3", at(2)).queues(&["a", "b"]).project("game");
    for other in [both.clone().types(&["other"]), game] {
        assert_eq!(b.nothing(other).await, Nothing::NoneQueued);
    }
    b.pause(at(3), "a", false).await;
    let bound = claim("w2", at(4)).queues(&["a", "b"]).project("film");
    assert_eq!(ids_of(&b.claim(bound).await), [ids[0]]);
}
