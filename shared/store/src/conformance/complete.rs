//! Completion: the state and the generation in one commit, once.

use baton_model::transition::Refusal;
use baton_model::{Ended, EventKind, Failure, Fence, Output, OutputFile, RequestKey, State, TaskState};

use super::kit::*;
use crate::{ClaimAnswer, Complete, ErrorKind, Fail, Nothing, StoreError};

/// A completion sets the state and writes the generation, which tells task, attempt, worker, output and times.
pub async fn a_completion_writes_its_generation(b: Bench) {
    let output = Output {
        location: Some("s3://bucket/out.png".to_owned()),
        kind: Some("image/png".to_owned()),
        metadata: Some(json(r#"{ "w": 640,  "h":480 }"#)),
        result: Some(json("[1.0, null]")),
        files: Vec::new(),
    };
    let domain: baton_model::Label = "maps".parse().unwrap();
    let spec = baton_model::TaskSpec {
        project: name("atlas"),
        domain: Some(domain.clone()),
        ..b.spec("render").queue("gpu")
    };
    let id = b.create(at(1), spec).await;
    let held = b.claim_one(claim("w1", at(5)).queues(&["gpu"])).await;
    let complete = Complete { output: output.clone(), ..b.completion(at(9), &held) };
    let answer = b.store().complete(complete.clone(), None).await.unwrap();
    assert!(!answer.repeated && answer.next.is_none());
    assert_eq!(answer.domain, Some(domain));

    let generation = answer.generation;
    assert_eq!((generation.id, generation.task), (complete.generation, id));
    assert_eq!((&generation.project, &generation.queue), (&name("atlas"), &name("gpu")));
    assert_eq!(generation.task_type, name("render"));
    assert_eq!((generation.attempt, &generation.worker), (1, &name("w1")));
    assert_eq!(generation.output, output, "byte for byte");
    assert_eq!((generation.created_at, generation.started_at, generation.finished_at), (at(1), at(5), at(9)));

    let detail = b.task(id).await;
    assert_eq!(detail.generation.as_ref(), Some(&generation));
    let standing = TaskState::Completed { generation: generation.id, output: output.fingerprint().digest() };
    assert_eq!(detail.task.head.state, standing);
    assert_eq!((detail.task.updated_at, detail.task.finished_at), (at(9), Some(at(9))));
    let event = &detail.history[2];
    assert_eq!((event.kind, event.to, event.at), (EventKind::Completed, State::Completed, at(9)));
    assert_eq!(event.detail.worker, Some(name("w1")));
    b.check(at(10)).await;
}

/// An empty output is an output.
pub async fn an_empty_output_is_taken(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let complete = Complete { output: Output::default(), ..b.completion(at(1), &held) };
    let generation = b.store().complete(complete, None).await.unwrap().generation;
    assert_eq!(generation.output, Output::default());
    b.check(at(2)).await;
}

/// A generation keeps the files that the completion names exactly as given, in their order; the same files make the same completion,
/// whatever they have become since, and others another.
pub async fn a_generation_keeps_its_files(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let file = |path: &str, size| OutputFile {
        path: path.to_owned(),
        size,
        sha256: format!("{size:064x}"),
        content_type: "image/png".to_owned(),
    };
    let mut files: Vec<OutputFile> = (0..baton_model::limits::OUTPUT_FILES as u64)
        .map(|n| file(&format!("{n}/{}", "ü~".repeat(160)), n))
        .collect();
    files.push(file("tasks/a b.png", u64::MAX));
    files.reverse();
    let output = Output { files: files.clone(), ..output("a.png") };
    let first = Complete { output: output.clone(), ..b.completion(at(1), &held) };
    let generation = b.store().complete(first.clone(), None).await.unwrap().generation;
    assert_eq!(generation.output, output);
    assert_eq!(b.store().generation(generation.id).await.unwrap(), generation);
    assert_eq!(b.task(held.head.id).await.generation.as_ref(), Some(&generation));

    files[0].size = 1;
    let again = Complete { output: Output { files: files.clone(), ..output.clone() }, ..first.clone() };
    let repeated = b.store().complete(again, None).await.unwrap();
    assert!(repeated.repeated);
    assert_eq!(repeated.generation, generation, "as it was then");
    files.pop();
    for other in [files, Vec::new()] {
        let other = Complete { output: Output { files: other, ..output.clone() }, ..first.clone() };
        let refused = refusal(b.store().complete(other, None).await);
        assert_eq!(refused, Refusal::CompletedDifferently { generation: generation.id });
    }
    b.check(at(2)).await;
}

/// A completed task no longer shows the failure of an earlier attempt; its history does.
pub async fn a_completed_task_shows_no_error(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let failed = b.fail(failing(at(1), &held)).await;
    assert!(failed.error.is_some());
    let held = b.claim_one(claim("w2", at(60))).await;
    let generation = b.complete(at(61), &held).await;
    assert_eq!((generation.attempt, generation.started_at), (2, at(60)));
    let detail = b.task(held.head.id).await;
    assert_eq!(detail.task.error, None);
    assert!(detail.history.iter().any(|event| event.detail.error.is_some()));
    b.check(at(62)).await;
}

/// The same completion sent again answers with the generation of the first time, and writes nothing; the id that it
/// brings for a generation is not used.
pub async fn the_same_completion_again_answers_as_the_first(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let first = b.completion(at(1), &held);
    let answer = b.store().complete(first.clone(), None).await.unwrap();
    let before = b.task(held.head.id).await;
    for again in [first.clone(), Complete { now: at(900), generation: b.generation_id(), ..first.clone() }] {
        let brought = again.generation;
        let repeated = b.store().complete(again, None).await.unwrap();
        assert!(repeated.repeated);
        assert_eq!(repeated.generation, answer.generation);
        if brought != first.generation {
            let unused = b.store().generation(brought).await;
            assert_err!(unused, StoreError::GenerationNotFound(id) if id == brought);
        }
    }
    assert_eq!(b.task(held.head.id).await, before);
    b.check(at(901)).await;
}

/// The same output may be spelled with another order of JSON keys; the first spelling stays.
pub async fn the_same_output_in_another_spelling_is_the_same(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let with = |text: &str| Output { metadata: Some(json(text)), ..Output::default() };
    let first = Complete { output: with(r#"{"a":1,"b":2}"#), ..b.completion(at(1), &held) };
    b.store().complete(first.clone(), None).await.unwrap();
    let again = Complete { output: with(r#"{ "b": 2, "a": 1 }"#), ..first.clone() };
    let repeated = b.store().complete(again, None).await.unwrap();
    assert!(repeated.repeated);
    assert_eq!(repeated.generation.output, first.output);
}

/// An output whose number differs in its last digit is another one, also where no 64-bit number could tell them apart.
pub async fn an_output_of_another_number_is_refused(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let with = |text: &str| Output { result: Some(json(text)), ..Output::default() };
    let first = Complete { output: with("10000000000000000000000000000001"), ..b.completion(at(1), &held) };
    let generation = b.store().complete(first.clone(), None).await.unwrap().generation;
    let other = Complete { output: with("10000000000000000000000000000002"), ..first.clone() };
    let refused = refusal(b.store().complete(other, None).await);
    assert_eq!(refused, Refusal::CompletedDifferently { generation: generation.id });
    let same = Complete { output: with("10000000000000000000000000000001.0"), ..first };
    assert!(b.store().complete(same, None).await.unwrap().repeated);
    b.check(at(2)).await;
}

/// A completed attempt takes no other output: the generation stands.
pub async fn another_output_is_refused(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let generation = b.complete(at(1), &held).await;
    let other = Complete { output: output("other.png"), ..b.completion(at(2), &held) };
    let refused = refusal(b.store().complete(other, None).await);
    assert_eq!(refused, Refusal::CompletedDifferently { generation: generation.id });
    assert_eq!(b.task(held.head.id).await.generation, Some(generation));
    b.check(at(3)).await;
}

/// Only the worker that claimed the attempt may complete it, before and after it was completed.
pub async fn another_worker_may_not_complete(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let fence = Fence { worker: name("w2"), ..fence(&held) };
    let foreign = Complete { fence, ..b.completion(at(1), &held) };
    let before = b.task(held.head.id).await;
    let refused = refusal(b.store().complete(foreign.clone(), None).await);
    assert_eq!(refused, Refusal::WrongWorker { attempt: 1 });
    assert_eq!(b.task(held.head.id).await, before);
    b.complete(at(2), &held).await;
    let refused = refusal(b.store().complete(foreign, None).await);
    assert_eq!(refused, Refusal::WrongWorker { attempt: 1 });
    b.check(at(3)).await;
}

/// An old attempt is refused for ever, also from the same worker, while a later one runs and after it completed.
pub async fn an_old_attempt_of_the_same_worker_is_refused(b: Bench) {
    let old = b.running(at(0), "w1", b.spec("render")).await;
    b.release(releasing(at(1), &old)).await;
    let new = b.claim_one(claim("w1", at(2))).await;
    assert_eq!((new.head.id, new.head.attempt), (old.head.id, 2));
    let late = || b.completion(at(3), &old);
    let stale = |state| Refusal::StaleAttempt { presented: 1, current: 2, state };
    assert_eq!(refusal(b.store().complete(late(), None).await), stale(State::Running));
    let generation = b.complete(at(4), &new).await;
    assert_eq!(generation.attempt, 2);
    assert_eq!(refusal(b.store().complete(late(), None).await), stale(State::Completed));
    b.check(at(5)).await;
}

/// An attempt that was never begun cannot be completed: neither one to come, nor any of a task never claimed.
pub async fn an_attempt_never_begun_is_refused(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let ahead = Fence { attempt: 2, ..fence(&held) };
    let refused =
        refusal(b.store().complete(Complete { fence: ahead, ..b.completion(at(1), &held) }, None).await);
    assert_eq!(refused, Refusal::StaleAttempt { presented: 2, current: 1, state: State::Running });

    let waiting = b.create(at(0), b.spec("render")).await;
    for attempt in [0, 1] {
        let fence = Fence { attempt, worker: name("w1") };
        let complete = Complete { task: waiting, fence, ..b.completion(at(1), &held) };
        let refused = refusal(b.store().complete(complete, None).await);
        assert_eq!(refused, Refusal::StaleAttempt { presented: attempt, current: 0, state: State::Queued });
    }
    b.check(at(2)).await;
}

/// A failed, released or cancelled attempt cannot be completed, and the refusal says how it ended.
pub async fn an_ended_attempt_cannot_be_completed(b: Bench) {
    let refused_after =
        async |held: &baton_model::Task| refusal(b.store().complete(b.completion(at(9), held), None).await);
    let failed = b.running(at(0), "w1", b.spec("render")).await;
    b.fail(failing(at(1), &failed)).await;
    let lost = Refusal::LeaseLost { state: State::Queued, how: Ended::Failed };
    assert_eq!(refused_after(&failed).await, lost);

    let released = b.running(at(0), "w1", b.spec("render")).await;
    b.release(releasing(at(1), &released)).await;
    let lost = Refusal::LeaseLost { state: State::Queued, how: Ended::Released };
    assert_eq!(refused_after(&released).await, lost);
    b.cancel(at(2), released.head.id).await;

    let cancelled = b.running(at(0), "w1", b.spec("render")).await;
    b.cancel(at(1), cancelled.head.id).await;
    let lost = Refusal::LeaseLost { state: State::Cancelled, how: Ended::Cancelled };
    assert_eq!(refused_after(&cancelled).await, lost);
    b.check(at(10)).await;
}

/// An unknown task cannot be completed.
pub async fn an_unknown_task_is_not_found(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let id = b.task_id();
    let error =
        b.store().complete(Complete { task: id, ..b.completion(at(1), &held) }, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(matches!(error, StoreError::TaskNotFound(missing) if missing == id));
}

/// A completion with a claim gets the next task in the same answer, also when the completed one filled the cap.
pub async fn a_completion_can_claim_the_next_task(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let id = b.create(at(0), b.spec("render")).await;
    let next = claim("w1", at(1)).cap(1);
    let answer = b.store().complete(b.completion(at(1), &held), Some(next)).await.unwrap();
    let tasks = leased(answer.next.unwrap());
    assert_eq!(ids_of(&tasks), [id]);
    assert_eq!(b.state(held.head.id).await, State::Completed);
    assert_eq!(b.state(id).await, State::Running);
    b.check(at(2)).await;
}

/// A completion whose claim finds nothing stands, and says why there is nothing.
pub async fn a_next_claim_that_finds_nothing_says_why(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.create(at(0), b.spec("render").due(at(100))).await;
    let answer = b.store().complete(b.completion(at(1), &held), Some(claim("w1", at(1)))).await.unwrap();
    let why = answer.next.unwrap().unwrap();
    assert_eq!(why, ClaimAnswer::Nothing(Nothing::Scheduled { next_at: at(100) }));
    assert_eq!(b.state(held.head.id).await, State::Completed);
}

/// A refused completion claims nothing.
pub async fn a_refused_completion_claims_nothing(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.cancel(at(1), held.head.id).await;
    let waiting = b.create(at(1), b.spec("render")).await;
    let answer = b.store().complete(b.completion(at(2), &held), Some(claim("w1", at(2)))).await;
    assert!(matches!(refusal(answer), Refusal::LeaseLost { .. }));
    assert_eq!(b.state(waiting).await, State::Queued);
    assert_eq!(b.worker("w1").await.active, 0);
    b.check(at(3)).await;
}

/// A next claim that is refused does not undo the completion.
pub async fn a_failed_next_claim_does_not_undo_the_completion(b: Bench) {
    let held = b.running_by(at(0), claim("w1", at(0)).session(session(1)), b.spec("render")).await;
    let waiting = b.create(at(0), b.spec("render")).await;
    b.beat(beat("w1", at(1)).session(session(2))).await;
    let next = claim("w1", at(2)).session(session(1));
    let answer = b.store().complete(b.completion(at(2), &held), Some(next)).await.unwrap();
    assert_err!(answer.next.unwrap(), StoreError::SessionSuperseded { .. });
    assert_eq!(b.state(held.head.id).await, State::Completed);
    assert_eq!(b.state(waiting).await, State::Queued);
    b.check(at(3)).await;
}

/// A completion sent again together with its claim gets the same generation and, by the request key, the same leases.
pub async fn a_repeated_completion_repeats_its_claim(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.create_plain(at(0), 3).await;
    let complete = b.completion(at(1), &held);
    let next = claim("w1", at(1)).key("r1");
    let first = b.store().complete(complete.clone(), Some(next.clone())).await.unwrap();
    let again = b.store().complete(complete, Some(next)).await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.generation, first.generation);
    assert_eq!(leased(again.next.unwrap()), leased(first.next.unwrap()));
    assert_eq!(b.worker("w1").await.active, 1);
    b.check(at(2)).await;
}

/// A claim that is named by the completion it comes with gets the same leases when that is sent again, also once more tasks are ready,
/// and nothing once they are over.
pub async fn a_claim_named_by_its_completion_is_repeated_with_it(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.create_plain(at(0), 4).await;
    let own = RequestKey::of_completion(held.head.id, held.head.attempt);
    let complete = b.completion(at(1), &held);
    let ask = |now| claim("w1", now).max(2).key(own.as_str());
    let first = b.store().complete(complete.clone(), Some(ask(at(1)))).await.unwrap();
    let given = leased(first.next.unwrap());
    assert_eq!(given.len(), 2);
    b.create_plain(at(2), 2).await;
    let again = b.store().complete(complete.clone(), Some(ask(at(3)))).await.unwrap();
    assert!(again.repeated);
    assert_eq!(held_set(&leased(again.next.unwrap())), held_set(&given));
    // Another completion names another claim.
    let second = RequestKey::of_completion(given[0].head.id, given[0].head.attempt);
    let next = claim("w1", at(4)).max(2).key(second.as_str());
    let others = b.store().complete(b.completion(at(4), &given[0]), Some(next)).await.unwrap();
    assert_eq!(leased(others.next.unwrap()).len(), 2);
    b.complete(at(5), &given[1]).await;
    let spent = b.store().complete(complete, Some(ask(at(6)))).await.unwrap();
    assert_eq!(spent.next.unwrap().unwrap(), ClaimAnswer::Nothing(Nothing::RequestSpent));
    b.check(at(7)).await;
}

/// A claim that is named by its completion and found nothing is not spent: sent again with the completion it finds what is ready then,
/// and gets that again.
pub async fn a_claim_named_by_its_completion_that_found_nothing_finds_what_comes(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let own = RequestKey::of_completion(held.head.id, held.head.attempt);
    let complete = b.completion(at(1), &held);
    let ask = |now| Some(claim("w1", now).key(own.as_str()));
    let first = b.store().complete(complete.clone(), ask(at(1))).await.unwrap();
    assert_eq!(first.next.unwrap().unwrap(), ClaimAnswer::Nothing(Nothing::NoneQueued));
    let waiting = b.create(at(2), b.spec("render")).await;
    for now in [at(3), at(4)] {
        let again = b.store().complete(complete.clone(), ask(now)).await.unwrap();
        assert_eq!(ids_of(&leased(again.next.unwrap())), [waiting]);
    }
    assert_eq!(b.worker("w1").await.active, 1);
    b.check(at(5)).await;
}

/// A completed task takes no failure and no release.
pub async fn a_completed_attempt_cannot_be_failed_or_released(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.complete(at(1), &held).await;
    let before = b.task(held.head.id).await;
    let failure = Failure { message: "oops".to_owned(), code: None, details: None };
    let late = refusal(b.store().fail(Fail { failure, ..failing(at(2), &held) }).await);
    let lost = Refusal::LeaseLost { state: State::Completed, how: Ended::Completed };
    assert_eq!(late, lost);
    assert_eq!(refusal(b.store().release(releasing(at(2), &held)).await), lost);
    assert_eq!(b.task(held.head.id).await, before);
    b.check(at(3)).await;
}
