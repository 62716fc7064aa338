//! Creating tasks: one, many, again, and under an idempotency key.

use baton_model::event::EventDetail;
use baton_model::{Backoff, Label, RunAfter, State, Status};

use super::kit::*;
use crate::{Create, ErrorKind, ItemRefusal, KeepKey, KeptKey, Purge, StoreError, TaskFilter};

/// A created task is queued, was never tried, is stored as it was asked for, and has its creation as first event.
pub async fn a_task_is_stored_as_asked_with_its_first_event(b: Bench) {
    let backoff = Backoff { base: secs(1), factor: 3.0, max: secs(9), jitter: 0.5 };
    let spec = baton_model::TaskSpec {
        project: name("atlas"),
        description: Some("the north face\n☂".to_owned()),
        domain: Some(name("größe")),
        drift_score: Some(0.25),
        assigned_by: Some(name("ada")),
        run_after: RunAfter::At(at(90)),
        backoff: Some(backoff),
        ..b.spec("render")
    };
    let spec =
        spec.queue("gpu").priority(baton_model::Priority::High).attempts(7).timeout(secs(60)).params("[1]");
    let by: Label = name("producer");
    let create = Create { by: Some(by.clone()), ..creation(at(1), vec![spec.clone()]) };
    let accepted = b.send(create).await.unwrap().items.remove(0).unwrap();
    assert_eq!((accepted.id, accepted.new), (spec.id, true));
    assert_eq!((accepted.created_at, accepted.run_after), (at(1), at(90)));

    let detail = b.task(spec.id).await;
    let task = detail.task;
    assert_eq!(task.head.state.state(), State::Queued);
    assert_eq!((task.head.attempt, task.head.forgiven, task.head.events), (0, 0, 1));
    assert_eq!((task.head.max_attempts, task.head.run_after), (7, at(90)));
    assert_eq!((task.head.timeout, task.head.backoff), (Some(secs(60)), backoff));
    assert_eq!(task.head.ended, None);
    assert_eq!((task.project, task.queue, task.task_type), (spec.project, spec.queue, spec.task_type));
    assert_eq!(
        (task.priority, task.params, task.description),
        (spec.priority, spec.params, spec.description)
    );
    assert_eq!((task.domain, task.assigned_by), (spec.domain, spec.assigned_by));
    assert_eq!(task.drift_score, Some(0.25));
    assert_eq!((task.created_at, task.updated_at, task.finished_at), (at(1), at(1), None));
    assert_eq!(task.error, None);
    let particulars = EventDetail { by: Some(by), run_after: Some(at(90)), ..EventDetail::default() };
    assert_eq!(detail.history[0].detail, particulars);
    assert_eq!(detail.history[0].status(), Status::Created);
    let ready = b.create(at(1), b.spec("render").due(at(1))).await;
    let first = &b.task(ready).await.history[0];
    assert_eq!((first.detail.run_after, first.status()), (None, Status::Queued), "it waits for no time");
    assert_eq!((detail.generation, detail.progress), (None, None));
    b.check(at(2)).await;
}

/// A task that names no backoff waits by the default one.
pub async fn a_task_without_backoff_has_the_default(b: Bench) {
    let id = b.create(at(0), baton_model::TaskSpec { backoff: None, ..b.spec("render") }).await;
    assert_eq!(b.task(id).await.task.head.backoff, Backoff::default());
}

/// Params come back byte for byte, whatever JSON they are.
pub async fn params_come_back_byte_for_byte(b: Bench) {
    let long = format!(r#"{{"long":"{}"}}"#, "x☂".repeat(60_000));
    let texts = [
        r#"{ "b": 1.50,  "a":[1e3, "\u00fc\u0000"] }"#,
        "null",
        "\"\"",
        "12345678901234567890",
        long.as_str(),
    ];
    for text in texts {
        let id = b.create(at(0), b.spec("render").params(text)).await;
        assert_eq!(b.task(id).await.task.params.as_str(), text);
    }
}

/// A batch answers each task in its order, and each exists.
pub async fn a_batch_is_answered_task_by_task_in_order(b: Bench) {
    let ids = b.create_plain(at(0), baton_model::limits::BATCH_TASKS).await;
    let mut listed = b.ids_by(TaskFilter { now: at(0), ..TaskFilter::default() }).await;
    listed.sort();
    assert_eq!(listed, ids);
}

/// Two tasks of the same content whose ids nobody chose are two tasks.
pub async fn equal_tasks_without_chosen_ids_are_distinct(b: Bench) {
    let ids = b.create_plain(at(0), 2).await;
    assert_ne!(b.task(ids[0]).await.task.head.id, b.task(ids[1]).await.task.head.id);
    assert_eq!(b.claim(claim("w1", at(1)).max(5)).await.len(), 2);
}

/// A chosen id that exists with the same content counts as created before, and nothing is written.
pub async fn a_chosen_id_again_with_the_same_content_is_the_same_task(b: Bench) {
    let spec = b.spec("render").chosen().params(r#"{"scene":1}"#);
    b.create(at(0), spec.clone()).await;
    let before = b.task(spec.id).await;

    let again = b.send(creation(at(50), vec![spec.clone()])).await.unwrap();
    assert!(!again.replayed, "no idempotency key was given");
    let accepted = again.items[0].clone().unwrap();
    assert_eq!((accepted.id, accepted.new), (spec.id, false));
    assert_eq!((accepted.created_at, accepted.run_after), (at(0), at(0)), "it tells of the first creation");
    assert_eq!(b.task(spec.id).await, before);
    b.check(at(51)).await;
}

/// The same content may be spelled with other spaces and another order of JSON keys; the first spelling stays.
pub async fn reordered_json_keys_are_the_same_content(b: Bench) {
    let spec = b.spec("render").chosen().params(r#"{"a":1,"b":{"c":[2,3],"d":4}}"#);
    b.create(at(0), spec.clone()).await;
    let other = spec.clone().params(r#"{ "b": {"d":4, "c":[2, 3]}, "a": 1 }"#);
    let accepted = b.send(creation(at(1), vec![other])).await.unwrap().items.remove(0).unwrap();
    assert!(!accepted.new);
    assert_eq!(b.task(spec.id).await.task.params, spec.params);
}

/// Numbers are the same content if they are equal in value, however they are written, and are not if their last digits
/// differ, also where no 64-bit number could tell them apart.
pub async fn numbers_are_compared_to_their_last_digit(b: Bench) {
    let spec = b.spec("pay").chosen().params(r#"{"wei":10000000000000000000000000000001,"n":1}"#);
    b.create(at(0), spec.clone()).await;
    let same = spec.clone().params(r#"{"n":1.0,"wei":10000000000000000000000000000001e0}"#);
    let accepted = b.send(creation(at(1), vec![same])).await.unwrap().items.remove(0).unwrap();
    assert!(!accepted.new);
    for other in [
        r#"{"wei":10000000000000000000000000000002,"n":1}"#,
        r#"{"wei":1e31,"n":1}"#,
        r#"{"wei":10000000000000000000000000000001,"n":1,"n":2}"#,
    ] {
        let answer = b.send(creation(at(2), vec![spec.clone().params(other)])).await.unwrap();
        assert_eq!(answer.items, [Err(ItemRefusal::IdConflict { id: spec.id })], "{other}");
    }
    assert_eq!(b.task(spec.id).await.task.params, spec.params);
}

/// A chosen id that exists with other content is refused, and the standing task and the rest of the batch are not
/// touched by that.
pub async fn a_chosen_id_with_other_content_is_refused_alone(b: Bench) {
    let spec = b.spec("render").chosen().params(r#"{"scene":1}"#);
    b.create(at(0), spec.clone()).await;
    let before = b.task(spec.id).await;

    let (first, last) = (b.spec("render"), b.spec("render"));
    let others = [
        spec.clone().params(r#"{"scene":2}"#),
        spec.clone().queue("other"),
        spec.clone().priority(baton_model::Priority::Low),
        baton_model::TaskSpec { task_type: name("bake"), ..spec.clone() },
        spec.clone().attempts(4),
    ];
    let mut batch = vec![first.clone()];
    batch.extend(others);
    batch.push(last.clone());
    let answer = b.send(creation(at(1), batch)).await.unwrap();
    assert_eq!(answer.items.len(), 7);
    for item in &answer.items[1..6] {
        assert_eq!(*item, Err(ItemRefusal::IdConflict { id: spec.id }));
    }
    for (item, spec) in [(&answer.items[0], &first), (&answer.items[6], &last)] {
        assert!(item.as_ref().unwrap().new);
        assert_eq!(b.state(spec.id).await, State::Queued);
    }
    assert_eq!(b.task(spec.id).await, before);
    b.check(at(2)).await;
}

/// With one refusal, an atomic batch creates nothing and names every refused task by its place.
pub async fn an_atomic_batch_with_a_refusal_creates_nothing(b: Bench) {
    let taken = b.spec("render").chosen();
    b.create(at(0), taken.clone()).await;
    let (one, two) = (b.spec("render"), b.spec("render").queue("never"));
    let clash = taken.clone().attempts(9);
    let batch = vec![one.clone(), clash.clone(), two.clone(), clash];
    let answer = b.send(Create { atomic: true, ..creation(at(1), batch) }).await;
    let refused = ItemRefusal::IdConflict { id: taken.id };
    match answer {
        Err(error @ StoreError::BatchRefused { .. }) => {
            assert_eq!(error.kind(), ErrorKind::Conflict);
            let StoreError::BatchRefused { refusals } = error else { unreachable!() };
            assert_eq!(refusals, [(1, refused.clone()), (3, refused)]);
        }
        other => panic!("expected the batch to be refused, got {other:?}"),
    }
    for id in [one.id, two.id] {
        assert_err!(b.store().task(id).await, StoreError::TaskNotFound(missing) if missing == id);
    }
    assert_err!(b.store().queue(&two.queue, at(2)).await, StoreError::QueueNotFound(_));
    b.check(at(2)).await;
}

/// An atomic batch without refusal creates its tasks; a task that was created before is no refusal.
pub async fn an_atomic_batch_takes_what_exists_with_the_same_content(b: Bench) {
    let known = b.spec("render").chosen();
    b.create(at(0), known.clone()).await;
    let fresh = b.spec("render");
    let batch = vec![known, fresh.clone()];
    let answer = b.send(Create { atomic: true, ..creation(at(1), batch) }).await.unwrap();
    let new: Vec<_> = answer.items.iter().map(|item| item.as_ref().unwrap().new).collect();
    assert_eq!(new, [false, true]);
    assert_eq!(b.state(fresh.id).await, State::Queued);
}

/// One chosen id twice in one batch with the same content is one task.
pub async fn a_chosen_id_twice_in_one_batch_is_one_task(b: Bench) {
    for atomic in [false, true] {
        let spec = b.spec("render").chosen();
        let batch = vec![spec.clone(), spec.clone()];
        let answer = b.send(Create { atomic, ..creation(at(0), batch) }).await.unwrap();
        let new: Vec<_> = answer.items.iter().map(|item| item.as_ref().unwrap().new).collect();
        assert_eq!(new, [true, false]);
        assert_eq!(b.task(spec.id).await.history.len(), 1);
    }
    b.check(at(1)).await;
}

/// One chosen id with two contents in one batch: the first is created, the second refused; if the batch is atomic,
/// none is.
pub async fn a_chosen_id_with_two_contents_in_one_batch_conflicts(b: Bench) {
    let spec = b.spec("render").chosen();
    let batch = vec![spec.clone(), spec.clone().attempts(8)];
    let answer = b.send(Create { atomic: true, ..creation(at(0), batch.clone()) }).await;
    assert_err!(answer, StoreError::BatchRefused { refusals } if refusals.len() == 1 && refusals[0].0 == 1);
    assert_err!(b.store().task(spec.id).await, StoreError::TaskNotFound(_));

    let answer = b.send(creation(at(0), batch)).await.unwrap();
    assert!(answer.items[0].as_ref().unwrap().new);
    assert_eq!(answer.items[1], Err(ItemRefusal::IdConflict { id: spec.id }));
    assert_eq!(b.task(spec.id).await.task.head.max_attempts, 3);
    b.check(at(1)).await;
}

/// A task that has moved on since is left alone by its creation sent again.
pub async fn a_creation_sent_again_leaves_a_task_that_moved_on(b: Bench) {
    let spec = b.spec("render").chosen();
    let held = b.running(at(0), "w1", spec.clone()).await;
    for completed in [false, true] {
        if completed {
            b.complete(at(1), &held).await;
        }
        let before = b.task(spec.id).await;
        let answer = b.send(creation(at(2), vec![spec.clone()])).await.unwrap();
        assert!(!answer.items[0].as_ref().unwrap().new);
        assert_eq!(b.task(spec.id).await, before);
    }
    b.check(at(3)).await;
}

/// The same idempotency key with the same request gives the first answer again, refusals included, and creates nothing.
pub async fn an_idempotency_key_gives_its_first_answer_again(b: Bench) {
    let taken = b.spec("render").chosen();
    b.create(at(0), taken.clone()).await;
    let batch = |b: &Bench| vec![b.spec("render"), taken.clone().attempts(9), b.spec("bake")];
    let send = |now, tasks| Create { idempotency: idempotency("k", "request"), ..creation(now, tasks) };
    let first = b.send(send(at(1), batch(&b))).await.unwrap();
    assert!(!first.replayed);

    // The ids of a repeated request are made anew, and must come to nothing.
    let tasks = batch(&b);
    let unused = [tasks[0].id, tasks[2].id];
    let again = b.send(send(at(2), tasks)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.items, first.items);
    for id in unused {
        assert_err!(b.store().task(id).await, StoreError::TaskNotFound(_));
    }
    b.check(at(3)).await;
}

/// An idempotency key that was used with another request is refused, and nothing is created.
pub async fn an_idempotency_key_for_another_request_is_refused(b: Bench) {
    let send =
        |request, spec| Create { idempotency: idempotency("k", request), ..creation(at(0), vec![spec]) };
    b.send(send("one", b.spec("render"))).await.unwrap();
    let other = b.spec("render");
    let id = other.id;
    assert_err!(b.send(send("two", other)).await, StoreError::IdempotencyConflict { key } if key == "k");
    assert_err!(b.store().task(id).await, StoreError::TaskNotFound(_));

    let free =
        Create { idempotency: idempotency("other key", "two"), ..creation(at(0), vec![b.spec("render")]) };
    assert!(!b.send(free).await.unwrap().replayed, "another key is not concerned");
    b.check(at(1)).await;
}

/// The answer kept for an idempotency key outlives the tasks that it tells of.
pub async fn an_idempotent_answer_outlives_its_tasks(mut b: Bench) {
    b.keeping(Some(secs(10))).await;
    let send = |now, spec| Create { idempotency: idempotency("k", "request"), ..creation(now, vec![spec]) };
    let first = b.send(send(at(0), b.spec("render"))).await.unwrap();
    let id = first.items[0].as_ref().unwrap().id;
    b.cancel(at(1), id).await;
    b.purge(Purge { keep_finished: Some(secs(10)), ..Purge::at(at(3_600)) }).await;
    assert_err!(b.store().task(id).await, StoreError::TaskNotFound(_));

    let again = b.send(send(at(3_601), b.spec("render"))).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.items, first.items);
    let all = TaskFilter { statuses: vec![Status::Queued], now: at(3_602), ..TaskFilter::default() };
    assert_eq!(b.ids_by(all).await, [], "nothing was created");
}

/// An idempotency key is kept for its time and free again once it was purged.
pub async fn an_idempotency_key_is_kept_for_its_time(b: Bench) {
    let hours = |n: u64| at(n * 3_600);
    let send = |now, spec| Create { idempotency: idempotency("k", "request"), ..creation(now, vec![spec]) };
    b.send(send(hours(0), b.spec("render"))).await.unwrap();
    assert_eq!(b.purge(Purge::at(hours(23))).await.idempotency_keys, 0);
    assert!(b.send(send(hours(23), b.spec("render"))).await.unwrap().replayed);
    assert_eq!(b.purge(Purge::at(hours(26))).await.idempotency_keys, 1);
    assert!(!b.send(send(hours(26), b.spec("render"))).await.unwrap().replayed);
}

/// A key of a request that creates no task stands for the id and the time of its first request, for no other request, and as long as that
/// of a creation.
pub async fn an_idempotency_key_stands_for_its_first_id(b: Bench) {
    let keep = |now, key: &str, request: &str, id| KeepKey {
        now,
        idempotency: idempotency(key, request).unwrap(),
        id: counted_id(id),
    };
    let store = b.store();
    let first = store.keep_key(keep(at(1), "k", "request", 1)).await.unwrap();
    assert_eq!(first, KeptKey { id: counted_id(1), created_at: at(1), replayed: false });
    let again = store.keep_key(keep(at(2), "k", "request", 2)).await.unwrap();
    assert_eq!(again, KeptKey { replayed: true, ..first });
    let other = store.keep_key(keep(at(3), "k", "another", 3)).await;
    assert_err!(other, StoreError::IdempotencyConflict { key } if key == "k");
    let free = store.keep_key(keep(at(4), "other key", "another", 4)).await.unwrap();
    assert_eq!(free, KeptKey { id: counted_id(4), created_at: at(4), replayed: false });
    let hours = |n: u64| at(n * 3_600);
    b.purge(Purge::at(hours(23))).await;
    assert!(store.keep_key(keep(hours(23), "k", "request", 5)).await.unwrap().replayed);
    b.purge(Purge::at(hours(26))).await;
    let anew = store.keep_key(keep(hours(26), "k", "another", 6)).await.unwrap();
    assert_eq!(anew, KeptKey { id: counted_id(6), created_at: hours(26), replayed: false });
}
