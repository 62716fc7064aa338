//! What happens at the same time: however commands overlap, each task has one outcome.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use baton_model::transition::Refusal;
use baton_model::{Bounds, Ended, Fence, GenerationId, LossReason, RequestKey, State, Task};

use super::kit::*;
use crate::{ClaimAnswer, Complete, Create, Fail, Reap, Release, StoreError};

/// How often each race is run, each time on fresh tasks: 20 times, or as often as `BATON_ROUNDS` says.
fn rounds() -> usize {
    std::env::var("BATON_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// Of many claims of one task, exactly one gets it.
pub async fn one_task_has_one_claimer(b: Bench) {
    for _ in 0..rounds() {
        let id = b.create(at(0), b.spec("render")).await;
        let answers = at_once((0..8).map(|n| {
            let store = b.store();
            async move { store.claim(claim(&format!("w{n}"), at(1))).await.unwrap() }
        }))
        .await;
        let winners: Vec<_> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                ClaimAnswer::Leased(tasks) => Some(tasks),
                ClaimAnswer::Nothing(_) => None,
            })
            .collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(ids_of(&winners[0]), [id]);
        assert_eq!(winners[0][0].head.attempt, 1);
        b.complete(at(2), &winners[0][0]).await;
    }
    b.check(at(3)).await;
}

/// Many workers that claim from many tasks get each task once, and all of them.
pub async fn many_claimers_share_the_tasks_without_overlap(b: Bench) {
    let ids = b.create_plain(at(0), 200).await;
    let shares = at_once((0..8).map(|n| {
        let store = b.store();
        async move {
            let mut mine = Vec::new();
            while let ClaimAnswer::Leased(tasks) =
                store.claim(claim(&format!("w{n}"), at(1)).max(3).cap(1_000)).await.unwrap()
            {
                mine.extend(ids_of(&tasks));
            }
            mine
        }
    }))
    .await;
    let mut all: Vec<_> = shares.into_iter().flatten().collect();
    all.sort();
    assert_eq!(all, ids);
    b.check(at(2)).await;
}

/// While there are tasks enough for all who claim, each claim is given one, however many want the same.
pub async fn no_claim_is_told_that_nothing_waits_while_something_does(b: Bench) {
    const CLAIMS: usize = 12;
    b.create_plain(at(0), 8 * CLAIMS).await;
    let shares = at_once((0..8).map(|n| {
        let store = b.store();
        async move {
            let mut mine = Vec::new();
            for _ in 0..CLAIMS {
                mine.extend(ids_of(&leased(store.claim(claim(&format!("w{n}"), at(1))).await)));
            }
            mine
        }
    }))
    .await;
    assert!(shares.iter().all(|mine| mine.len() == CLAIMS), "each claim got one");
    assert_eq!(b.nothing(claim("w0", at(1))).await, crate::Nothing::NoneQueued);
    b.check(at(2)).await;
}

/// When a completion meets the reaper, one of them has the task: completed with its generation, or taken back and the
/// completion refused.
pub async fn a_completion_races_the_reaper(b: Bench) {
    for round in 0..rounds() {
        let held = b.running_by(at(0), claim("w1", at(0)).fixed(secs(1)), b.spec("render")).await;
        b.settle().await;
        let (one, two) = (b.store(), b.store());
        let complete = b.completion(at(2), &held);
        let (completed, reaped) =
            race(round, async move { one.complete(complete, None).await }, async move {
                two.reap(reap(at(2))).await.unwrap()
            })
            .await;
        let taken = reaped.taken.iter().any(|taken| taken.task == held.head.id);
        assert_ne!(completed.is_ok(), taken, "one of them");
        if taken {
            let how = Ended::Lost(LossReason::LeaseExpired);
            assert_eq!(refusal(completed), Refusal::LeaseLost { state: State::Queued, how });
            b.cancel(at(3), held.head.id).await;
        } else {
            assert_eq!(b.state(held.head.id).await, State::Completed);
        }
    }
    b.check(at(4)).await;
}

/// When a completion meets a cancellation, one of them is refused.
pub async fn a_completion_races_a_cancellation(b: Bench) {
    for round in 0..rounds() {
        let held = b.running(at(0), "w1", b.spec("render")).await;
        let id = held.head.id;
        let (one, two) = (b.store(), b.store());
        let complete = b.completion(at(2), &held);
        let (completed, cancelled) =
            race(round, async move { one.complete(complete, None).await }, async move {
                two.cancel(cancel(at(2), id)).await
            })
            .await;
        assert_ne!(completed.is_ok(), cancelled.is_ok(), "one of them");
        if completed.is_ok() {
            assert_eq!(refusal(cancelled), Refusal::Finished { state: State::Completed });
            assert_eq!(b.state(id).await, State::Completed);
        } else {
            let lost = Refusal::LeaseLost { state: State::Cancelled, how: Ended::Cancelled };
            assert_eq!(refusal(completed), lost);
            assert_eq!(b.state(id).await, State::Cancelled);
        }
    }
    b.check(at(3)).await;
}

/// When a worker's completion meets its own failure, one of them is refused.
pub async fn a_completion_races_a_failure(b: Bench) {
    for round in 0..rounds() {
        let held = b.running(at(0), "w1", b.spec("render")).await;
        let id = held.head.id;
        let (one, two) = (b.store(), b.store());
        let (complete, fail) = (b.completion(at(2), &held), failing(at(2), &held));
        let (completed, failed) =
            race(round, async move { one.complete(complete, None).await }, async move {
                two.fail(Fail { retryable: false, ..fail }).await
            })
            .await;
        assert_ne!(completed.is_ok(), failed.is_ok(), "one of them");
        if completed.is_ok() {
            let lost = Refusal::LeaseLost { state: State::Completed, how: Ended::Completed };
            assert_eq!(refusal(failed), lost);
            assert_eq!(b.state(id).await, State::Completed);
        } else {
            let lost = Refusal::LeaseLost { state: State::Failed, how: Ended::Failed };
            assert_eq!(refusal(completed), lost);
            assert_eq!(b.state(id).await, State::Failed);
        }
    }
    b.check(at(3)).await;
}

/// When a worker's failure meets the reaper, the attempt counts once.
pub async fn a_failure_races_the_reaper(b: Bench) {
    for round in 0..rounds() {
        let held = b.running_by(at(0), claim("w1", at(0)).fixed(secs(1)), b.spec("render")).await;
        b.settle().await;
        let (one, two) = (b.store(), b.store());
        let fail = failing(at(2), &held);
        let (failed, reaped) =
            race(
                round,
                async move { one.fail(fail).await },
                async move { two.reap(reap(at(2))).await.unwrap() },
            )
            .await;
        let taken = reaped.taken.iter().any(|taken| taken.task == held.head.id);
        assert_ne!(failed.is_ok(), taken, "one of them");
        let detail = b.task(held.head.id).await;
        assert_eq!((detail.task.head.attempts_used(), detail.history.len()), (1, 3));
        b.cancel(at(3), held.head.id).await;
    }
    b.check(at(4)).await;
}

/// The same completion sent many times at once is taken once, and all get the same generation.
pub async fn the_same_completion_at_once_is_taken_once(b: Bench) {
    for _ in 0..rounds() {
        let held = b.running(at(0), "w1", b.spec("render")).await;
        let answers = at_once((0..6).map(|_| {
            let (store, complete) = (b.store(), b.completion(at(1), &held));
            async move { store.complete(complete, None).await.unwrap() }
        }))
        .await;
        assert_eq!(answers.iter().filter(|answer| !answer.repeated).count(), 1);
        assert!(answers.iter().all(|answer| answer.generation == answers[0].generation));
    }
    b.check(at(2)).await;
}

/// Of completions with different outputs at once, one is taken and the others are told that it stands.
pub async fn of_different_completions_at_once_one_stands(b: Bench) {
    for _ in 0..rounds() {
        let held = b.running(at(0), "w1", b.spec("render")).await;
        let answers = at_once((0..6).map(|n| {
            let output = output(&format!("{n}.png"));
            let (store, complete) = (b.store(), Complete { output, ..b.completion(at(1), &held) });
            async move { store.complete(complete, None).await }
        }))
        .await;
        let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(taken.len(), 1);
        let standing = taken.into_iter().next().unwrap().unwrap().generation;
        for answer in refused {
            assert_eq!(refusal(answer), Refusal::CompletedDifferently { generation: standing.id });
        }
        assert_eq!(b.task(held.head.id).await.generation, Some(standing));
    }
    b.check(at(2)).await;
}

/// An old attempt of the same worker that completes while the new one does is refused, whichever comes first.
pub async fn an_old_attempt_races_the_new(b: Bench) {
    for round in 0..rounds() {
        let old = b.running(at(0), "w1", b.spec("render")).await;
        b.release(releasing(at(1), &old)).await;
        let new = b.claim_one(claim("w1", at(1))).await;
        assert_eq!(new.head.id, old.head.id);
        let (one, two) = (b.store(), b.store());
        let (late, good) = (b.completion(at(2), &old), b.completion(at(2), &new));
        let (late, good) = race(round, async move { one.complete(late, None).await }, async move {
            two.complete(good, None).await
        })
        .await;
        assert_eq!(good.unwrap().generation.attempt, 2);
        assert!(matches!(refusal(late), Refusal::StaleAttempt { presented: 1, current: 2, .. }));
    }
    b.check(at(3)).await;
}

/// A claim sent many times at once under one request key takes its tasks once.
pub async fn a_claim_repeated_at_once_takes_its_tasks_once(b: Bench) {
    for round in 0..rounds() {
        b.create_plain(at(0), 9).await;
        let key = format!("r{round}");
        let worker = format!("w{round}");
        let answers = at_once((0..6).map(|_| {
            let (store, claim) = (b.store(), claim(&worker, at(1)).max(3).key(&key));
            async move { leased(store.claim(claim).await) }
        }))
        .await;
        let first = held_set(&answers[0]);
        assert_eq!(first.len(), 3);
        assert!(answers.iter().all(|tasks| held_set(tasks) == first));
        assert_eq!(b.worker(&worker).await.active, 3);
        for task in &b.claim(claim("rest", at(1)).max(6).cap(1_000)).await {
            b.complete(at(1), task).await;
        }
    }
    b.check(at(2)).await;
}

/// A completion sent many times at once, with a claim that it names, is taken once, and so are the claim's tasks.
pub async fn a_completion_repeated_at_once_brings_its_claims_tasks_once(b: Bench) {
    for round in 0..rounds() {
        let worker = format!("w{round}");
        let held = b.running(at(0), &worker, b.spec("render")).await;
        b.create_plain(at(0), 9).await;
        let own = RequestKey::of_completion(held.head.id, held.head.attempt);
        let complete = b.completion(at(1), &held);
        let answers = at_once((0..6).map(|_| {
            let (store, complete) = (b.store(), complete.clone());
            let next = claim(&worker, at(1)).max(3).key(own.as_str());
            async move { store.complete(complete, Some(next)).await.unwrap() }
        }))
        .await;
        assert_eq!(answers.iter().filter(|answer| !answer.repeated).count(), 1);
        let given: Vec<_> =
            answers.into_iter().map(|answer| held_set(&leased(answer.next.unwrap()))).collect();
        assert_eq!(given[0].len(), 3);
        assert!(given.iter().all(|one| *one == given[0]));
        assert_eq!(b.worker(&worker).await.active, 3);
        for task in &b.claim(claim("rest", at(1)).max(6).cap(1_000)).await {
            b.complete(at(1), task).await;
        }
    }
    b.check(at(2)).await;
}

/// One worker's claims at once do not exceed its cap.
pub async fn the_cap_holds_under_claims_at_once(b: Bench) {
    if !b.store().capabilities().exact_worker_cap {
        return;
    }
    for round in 0..rounds() {
        let worker = format!("w{round}");
        b.create_plain(at(0), 12).await;
        let answers = at_once((0..6).map(|_| {
            let (store, claim) = (b.store(), claim(&worker, at(1)).max(2).cap(5));
            async move { store.claim(claim).await.unwrap() }
        }))
        .await;
        let mut held: Vec<Task> = Vec::new();
        for answer in answers {
            if let ClaimAnswer::Leased(tasks) = answer {
                held.extend(tasks);
            }
        }
        assert_eq!(held.len(), 5, "no more than the cap, and no less as there is enough");
        assert_eq!(b.worker(&worker).await.active, 5);
        held.extend(b.claim(claim("rest", at(1)).max(12).cap(1_000)).await);
        for task in &held {
            b.complete(at(2), task).await;
        }
    }
    b.check(at(3)).await;
}

/// Two reapers at once take each lost lease back once.
pub async fn reapers_at_once_take_each_lease_once(b: Bench) {
    for round in 0..rounds() as u64 {
        let now = at(round * 10);
        b.create_plain(now, 10).await;
        let held = b.claim(claim("w1", now).max(10).cap(1_000).fixed(secs(1))).await;
        b.settle().await;
        let later = at(round * 10 + 2);
        let reports = at_once((0..3).map(|_| {
            let store = b.store();
            async move { store.reap(Reap { limit: 10, ..reap(later) }).await.unwrap().taken }
        }))
        .await;
        let taken: Vec<_> = reports.into_iter().flatten().map(|taken| (taken.task, taken.attempt)).collect();
        assert_eq!(taken.len(), 10, "none twice");
        assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), held_set(&held));
        for task in &held {
            b.cancel(later, task.head.id).await;
        }
    }
    b.check(at(1_000)).await;
}

/// Of several retries of one task at once, one is taken: the task is queued once.
pub async fn retries_at_once_queue_a_task_once(b: Bench) {
    for _ in 0..rounds() {
        let id = b.create(at(0), b.spec("render")).await;
        b.cancel(at(1), id).await;
        let answers = at_once((0..4).map(|_| {
            let store = b.store();
            async move { store.retry(retry(at(2), id)).await }
        }))
        .await;
        let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(taken.len(), 1);
        for answer in refused {
            assert_eq!(refusal(answer), Refusal::NotFinished { state: State::Queued });
        }
        b.cancel(at(3), id).await;
    }
    b.check(at(4)).await;
}

/// A cancellation and a claim at once end in a cancelled task, whether the claim came before or after.
pub async fn a_claim_races_a_cancellation(b: Bench) {
    for round in 0..rounds() {
        let id = b.create(at(0), b.spec("render")).await;
        let (one, two) = (b.store(), b.store());
        let (claimed, cancelled) =
            race(round, async move { one.claim(claim("w1", at(1))).await.unwrap() }, async move {
                two.cancel(cancel(at(1), id)).await
            })
            .await;
        cancelled.unwrap();
        let detail = b.task(id).await;
        assert_eq!(detail.task.head.state.state(), State::Cancelled);
        let was_claimed = matches!(claimed, ClaimAnswer::Leased(_));
        assert_eq!(detail.task.head.attempt, u32::from(was_claimed));
    }
    b.check(at(2)).await;
}

/// A chosen id created many times at once with the same content is one task, and new to one of the requests.
pub async fn one_chosen_id_created_at_once_is_one_task(b: Bench) {
    for _ in 0..rounds() {
        let spec = b.spec("render").chosen();
        b.note_created([spec.id]);
        let answers = at_once((0..6).map(|_| {
            let (store, create) = (b.store(), creation(at(0), vec![spec.clone()]));
            async move { store.create(create).await.unwrap().items.remove(0).unwrap() }
        }))
        .await;
        assert_eq!(answers.iter().filter(|accepted| accepted.new).count(), 1);
        assert_eq!(b.task(spec.id).await.history.len(), 1);
    }
    b.check(at(1)).await;
}

/// One idempotency key sent many times at once creates its tasks once, and all get the same answer.
pub async fn one_idempotency_key_at_once_creates_once(b: Bench) {
    for round in 0..rounds() {
        let key = format!("k{round}");
        let answers = at_once((0..6).map(|_| {
            let specs = vec![b.spec("render"), b.spec("render")];
            let create = Create { idempotency: idempotency(&key, "request"), ..creation(at(0), specs) };
            let store = b.store();
            async move { store.create(create).await.unwrap() }
        }))
        .await;
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
        assert!(answers.iter().all(|answer| answer.items == answers[0].items));
        b.note_created(answers[0].items.iter().flatten().map(|accepted| accepted.id));
    }
    let filter = crate::TaskFilter { now: at(1), ..Default::default() };
    assert_eq!(b.ids_by(filter).await.len(), 2 * rounds());
    b.check(at(1)).await;
}

/// Refused commands among good ones, all at once so that a store may commit them together, are refused alone: every
/// good one is taken.
pub async fn a_refused_command_leaves_its_neighbours_alone(b: Bench) {
    for round in 0..rounds() as u64 / 4 {
        let now = at(round);
        b.create_plain(now, 24).await;
        let held = b.claim(claim("w1", now).max(24).cap(1_000)).await;
        let taken = b.spec("render").chosen().queue("never-claimed");
        b.create(now, taken.clone()).await;
        let answers = at_once(held.iter().enumerate().map(|(n, task)| {
            let store = b.store();
            let good = b.completion(now, task);
            let (first, second) = (b.spec("render").queue("kept"), b.spec("render").queue("undone"));
            b.note_created([first.id]);
            let task = task.clone();
            let unknown = b.task_id();
            let clash = taken.clone().attempts(9);
            async move {
                match n % 6 {
                    0 => store.complete(good, None).await.is_ok(),
                    1 => {
                        let wrong = Fence { attempt: 9, ..good.fence.clone() };
                        let refused = store.complete(Complete { fence: wrong, ..good.clone() }, None).await;
                        assert!(matches!(refusal(refused), Refusal::StaleAttempt { .. }));
                        store.complete(good, None).await.is_ok()
                    }
                    2 => {
                        let refused = store.cancel(cancel(now, unknown)).await;
                        assert_err!(refused, StoreError::TaskNotFound(_));
                        store.fail(Fail { retryable: false, ..failing(now, &task) }).await.is_ok()
                    }
                    3 => {
                        let refused = store.retry(retry(now, task.head.id)).await;
                        assert!(matches!(refusal(refused), Refusal::NotFinished { .. }));
                        store.cancel(cancel(now, task.head.id)).await.is_ok()
                    }
                    4 => {
                        let batch = Create { atomic: true, ..creation(now, vec![second, clash]) };
                        assert_err!(store.create(batch).await, StoreError::BatchRefused { .. });
                        store.create(creation(now, vec![first])).await.is_ok()
                            && store.complete(good, None).await.is_ok()
                    }
                    _ => {
                        let fence = Fence { worker: name("thief"), ..good.fence.clone() };
                        let refused = store.release(Release { fence, ..releasing(now, &task) }).await;
                        assert_eq!(refusal(refused), Refusal::WrongWorker { attempt: task.head.attempt });
                        store.complete(good, None).await.is_ok()
                    }
                }
            }
        }))
        .await;
        assert!(answers.into_iter().all(|good| good), "every good command is taken");
        for (n, task) in held.iter().enumerate() {
            let wanted = [State::Completed, State::Completed, State::Failed, State::Cancelled][..]
                .get(n % 6)
                .copied()
                .unwrap_or(State::Completed);
            assert_eq!(b.state(task.head.id).await, wanted);
        }
    }
    assert_err!(b.store().queue(&name("undone"), at(100)).await, StoreError::QueueNotFound(_));
    b.check(at(100)).await;
}

/// Completions that claim the next task, from many workers at once, give each task to one worker.
pub async fn completions_with_claims_at_once_do_not_overlap(b: Bench) {
    let ids = b.create_plain(at(0), 120).await;
    let done = at_once((0..6).map(|n| {
        let (store, worker) = (b.store(), format!("w{n}"));
        let generations: Vec<_> = (0..121).map(|_| b.generation_id()).collect();
        async move {
            let next = || claim(&worker, at(1)).cap(1);
            let mut done = Vec::new();
            let mut answer = store.claim(next()).await.unwrap();
            for generation in generations {
                let ClaimAnswer::Leased(tasks) = answer else { break };
                assert_eq!(tasks.len(), 1);
                done.push(tasks[0].head.id);
                let complete = Complete {
                    now: at(1),
                    task: tasks[0].head.id,
                    fence: fence(&tasks[0]),
                    caller: Bounds::default(),
                    generation,
                    output: output("out"),
                    ran: None,
                };
                let taken = store.complete(complete, Some(next())).await.unwrap();
                answer = taken.next.unwrap().unwrap();
            }
            done
        }
    }))
    .await;
    let mut all: Vec<_> = done.into_iter().flatten().collect();
    all.sort();
    assert_eq!(all, ids);
    b.check(at(2)).await;
}

/// A fleet that completes, fails, gives back and forgets under a reaper, all at once, finishes every task: none is
/// lost, stranded or completed twice.
pub async fn a_fleet_finishes_every_task(b: Bench) {
    const TASKS: usize = 120;
    let specs = (0..TASKS).map(|_| b.spec("render").attempts(1_000)).collect();
    let ids = b.create_all(at(0), specs).await;
    let finished = Arc::new(AtomicUsize::new(0));
    // A clock that all share and that every reading moves on.
    let clock = Arc::new(AtomicU64::new(1));
    let tick = |clock: &AtomicU64| at(0).plus(millis(clock.fetch_add(1, Ordering::SeqCst)));

    let (store, done, time) = (b.store(), Arc::clone(&finished), Arc::clone(&clock));
    let reaper = tokio::spawn(async move {
        while done.load(Ordering::SeqCst) < TASKS {
            store.reap(reap(tick(&time))).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let completions = at_once((0..6_u64).map(|n| {
        let (store, worker) = (b.store(), format!("w{n}"));
        let (finished, time) = (Arc::clone(&finished), Arc::clone(&clock));
        let mut random = super::split_mix::SplitMix(n);
        let mut serial = 1_000_000 * (n + 1);
        async move {
            let mut mine = Vec::new();
            while finished.load(Ordering::SeqCst) < TASKS {
                let short = random.below(2) == 0;
                let length = if short { millis(5) } else { secs(100_000) };
                let claim = claim(&worker, tick(&time)).max(2).fixed(length);
                let ClaimAnswer::Leased(tasks) = store.claim(claim).await.unwrap() else {
                    tokio::task::yield_now().await;
                    continue;
                };
                for task in &tasks {
                    let now = tick(&time);
                    // What is refused was taken back by the reaper before.
                    match random.below(6) {
                        0 => {
                            let at_once = Fail { retry_after: Some(secs(0)), ..failing(now, task) };
                            drop(store.fail(at_once).await);
                        }
                        1 => drop(store.release(releasing(now, task)).await),
                        2 if short => {}
                        _ => {
                            serial += 1;
                            let complete = Complete {
                                now,
                                task: task.head.id,
                                fence: fence(task),
                                caller: Bounds::default(),
                                generation: GenerationId::from_bytes(counted_id(serial)),
                                output: output("out"),
                                ran: None,
                            };
                            if store.complete(complete, None).await.is_ok() {
                                mine.push(task.head.id);
                                finished.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    }
                }
            }
            mine
        }
    }));
    let completions = tokio::time::timeout(secs(120), completions).await.expect("no task is stranded");
    reaper.await.expect("no panic");
    let mut all: Vec<_> = completions.into_iter().flatten().collect();
    all.sort();
    assert_eq!(all, ids, "each was completed, and once");
    b.check(at(1_000)).await;
}
