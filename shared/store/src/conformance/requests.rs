//! Claims that are sent again under their request key.

use baton_model::Directive;

use super::kit::*;
use crate::{Claim, Nothing, Purge};

/// The same request key of the same worker gets the leases that it was given before, and no others, though more tasks
/// are ready.
pub async fn a_claim_repeated_with_its_key_gets_the_same_leases(b: Bench) {
    b.create_plain(at(0), 6).await;
    let first = b.claim(claim("w1", at(1)).max(3).key("r1")).await;
    assert_eq!(first.len(), 3);
    for now in [at(1), at(30), at(14 * 60)] {
        let mut again = b.claim(claim("w1", now).max(3).key("r1")).await;
        again.sort_by_key(|task| task.head.id);
        let mut first = first.clone();
        first.sort_by_key(|task| task.head.id);
        assert_eq!(again, first);
    }
    assert_eq!(b.worker("w1").await.active, 3);
    b.check(at(900)).await;
}

/// A claim of fewer tasks than it asked for does not get the rest when it is repeated.
pub async fn a_repeated_claim_is_not_filled_up(b: Bench) {
    b.create_plain(at(0), 1).await;
    let first = b.claim(claim("w1", at(1)).max(3).key("r1")).await;
    b.create_plain(at(2), 2).await;
    assert_eq!(held_set(&b.claim(claim("w1", at(3)).max(3).key("r1")).await), held_set(&first));
}

/// Of its leases, a repeated claim gets those that still hold.
pub async fn a_repeated_claim_gets_only_what_still_holds(b: Bench) {
    b.create_plain(at(0), 5).await;
    let first = b.claim(claim("w1", at(1)).max(4).key("r1")).await;
    b.complete(at(2), &first[0]).await;
    b.release(releasing(at(2), &first[1])).await;
    b.cancel(at(2), first[2].head.id).await;
    // The released task runs again, in another attempt by another claim: that lease is not this request's.
    let other = b.claim(claim("w1", at(3)).max(5).key("r2")).await;
    assert!(other.iter().any(|task| task.head.id == first[1].head.id));
    let again = b.claim(claim("w1", at(4)).max(4).key("r1")).await;
    assert_eq!(held_set(&again), held_set(&first[3..]));
    b.check(at(5)).await;
}

/// A repeated claim whose leases are all gone gets nothing, however much is ready.
pub async fn a_spent_request_gets_nothing(b: Bench) {
    b.create_plain(at(0), 4).await;
    let first = b.claim(claim("w1", at(1)).max(2).key("r1")).await;
    for held in &first {
        b.complete(at(2), held).await;
    }
    assert_eq!(b.nothing(claim("w1", at(3)).max(2).key("r1")).await, Nothing::RequestSpent);
    assert_eq!(b.claim(claim("w1", at(3)).max(2).key("r2")).await.len(), 2, "another key asks anew");
    assert_eq!(b.nothing(claim("w1", at(4)).max(2).key("r1")).await, Nothing::RequestSpent);
}

/// A claim for a project that is repeated with its key gets its leases again; one for a project gets none of another
/// project's that the same key was given before, when the caller named none.
pub async fn a_repeated_claim_for_a_project_gets_its_tasks_only(b: Bench) {
    let specs = || vec![b.spec("render").project("film"), b.spec("render").project("game")];
    let ours = b.create_all(at(0), specs()).await[0];
    let bound = claim("w1", at(1)).project("film").max(10);
    for now in [at(1), at(2)] {
        assert_eq!(ids_of(&b.claim(Claim { now, ..bound.clone().key("r1") }).await), [ours]);
    }
    let unbound = b.claim(claim("w1", at(3)).max(10).key("r2")).await;
    assert_eq!(unbound.len(), 1);
    assert_eq!(b.nothing(bound.clone().key("r2")).await, Nothing::RequestSpent);
    assert_eq!(held_set(&b.claim(claim("w1", at(4)).key("r2")).await), held_set(&unbound));
    b.complete(at(5), &b.claim(bound.clone().key("r1")).await[0]).await;
    assert_eq!(b.nothing(bound.key("r1")).await, Nothing::RequestSpent);
}

/// The same request key of another worker is another request.
pub async fn a_request_key_belongs_to_its_worker(b: Bench) {
    b.create_plain(at(0), 2).await;
    let one = b.claim_one(claim("w1", at(1)).key("r1")).await;
    let two = b.claim_one(claim("w2", at(1)).key("r1")).await;
    assert_ne!(one.head.id, two.head.id);
    assert_eq!(b.claim_one(claim("w1", at(2)).key("r1")).await, one);
    assert_eq!(b.claim_one(claim("w2", at(2)).key("r1")).await, two);
}

/// A repeated claim gets its leases though its worker is at its cap or was asked to drain, or its queue is paused.
pub async fn nothing_stands_between_a_repeated_claim_and_its_leases(b: Bench) {
    b.create_plain(at(0), 3).await;
    let first = b.claim(claim("w1", at(1)).max(2).cap(2).key("r1")).await;
    let again = async || held_set(&b.claim(claim("w1", at(2)).max(2).cap(2).key("r1")).await);
    assert_eq!(again().await, held_set(&first), "at the cap");
    b.pause(at(2), "default", true).await;
    assert_eq!(again().await, held_set(&first), "while the queue is paused");
    b.direct(at(2), "w1", Directive::Drain).await;
    assert_eq!(again().await, held_set(&first), "while draining");
}

/// A claim that found nothing may be sent again under its key, and finds what is ready then: so it can wait for work.
pub async fn a_request_that_found_nothing_is_not_spent(b: Bench) {
    assert_eq!(b.nothing(claim("w1", at(1)).key("r1")).await, Nothing::NoneQueued);
    let id = b.create(at(2), b.spec("render")).await;
    let held = b.claim_one(claim("w1", at(3)).key("r1")).await;
    assert_eq!(held.head.id, id);
    assert_eq!(b.claim_one(claim("w1", at(4)).key("r1")).await, held);
}

/// Claims without a key are never taken for each other.
pub async fn claims_without_key_are_separate(b: Bench) {
    b.create_plain(at(0), 2).await;
    let one = b.claim_one(claim("w1", at(1))).await;
    let two = b.claim_one(claim("w1", at(1))).await;
    assert_ne!(one.head.id, two.head.id);
}

/// A request key is remembered for 15 minutes, and forgotten once it was purged.
pub async fn a_request_key_is_kept_for_fifteen_minutes(b: Bench) {
    b.create_plain(at(0), 2).await;
    let held = b.claim_one(claim("w1", at(0)).key("r1")).await;
    b.complete(at(1), &held).await;
    assert_eq!(b.purge(Purge::at(at(14 * 60))).await.claim_requests, 0);
    assert_eq!(b.nothing(claim("w1", at(14 * 60)).key("r1")).await, Nothing::RequestSpent);
    // A store that removes by itself may know it for an hour.
    let later = at(61 * 60);
    assert_eq!(b.purge(Purge::at(later)).await.claim_requests, 1);
    b.claim_one(claim("w1", later).key("r1")).await;
}
