//! Sessions: a worker that has started anew has forgotten what it ran. And whose name is whose: a worker's name belongs
//! to callers of the bounds that used it first.

use baton_model::{Directive, Level, LogLine, LossReason, Owner, State, Worker};

use super::kit::*;
use crate::{Beat, Claim, LogFilter, Purge, StoreError, WorkerDetail};

/// A new session of a worker ends the leases of the session before, whether it shows by a claim or by a heartbeat.
pub async fn a_new_session_ends_the_leases_of_the_old(b: Bench) {
    for by_claim in [false, true] {
        let worker = if by_claim { "claimer" } else { "beater" };
        let held = b.running_by(at(0), claim(worker, at(0)).session(session(1)), b.spec("render")).await;
        assert_eq!(b.reap(at(1)).await, []);
        let mut kept = None;
        if by_claim {
            let again = claim(worker, at(2)).session(session(2));
            kept = Some(b.running_by(at(2), again, b.spec("render")).await);
        } else {
            b.beat(beat(worker, at(2)).session(session(2))).await;
        }
        let taken = b.reap(at(3)).await;
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].task, taken[0].reason), (held.head.id, LossReason::SessionEnded));
        if let Some(kept) = kept {
            assert_eq!(b.state(kept.head.id).await, State::Running, "the new session's own lease holds");
            b.complete(at(4), &kept).await;
        }
        b.cancel(at(4), held.head.id).await;
    }
    b.check(at(5)).await;
}

/// The worker after the first word of its only superseded session.
fn contested(mut detail: WorkerDetail, now: u64) -> WorkerDetail {
    detail.worker.superseded[0].heard = true;
    detail.worker.contested_at = Some(at(now));
    detail
}

/// A session that was superseded may not claim, nor does the attempt change anything but that the name is contested.
pub async fn a_superseded_session_may_not_claim(b: Bench) {
    let id = b.create(at(0), b.spec("render")).await;
    b.beat(beat("w1", at(0)).session(session(1))).await;
    b.beat(beat("w1", at(1)).session(session(2))).await;
    let before = b.worker("w1").await;
    let refused = b.store().claim(claim("w1", at(2)).session(session(1))).await;
    assert_err!(refused, StoreError::SessionSuperseded { worker, session: old }
        if worker == name("w1") && old == session(1));
    assert_eq!(b.state(id).await, State::Queued);
    assert_eq!(b.worker("w1").await, contested(before, 2));
    b.check(at(3)).await;
}

/// A superseded session may not beat: its readings and log lines are not taken.
pub async fn a_superseded_session_may_not_beat(b: Bench) {
    b.beat(beat("w1", at(0)).session(session(1))).await;
    b.beat(beat("w1", at(1)).session(session(2))).await;
    let before = b.worker("w1").await;
    let line = LogLine {
        at: at(2),
        received_at: at(2),
        worker: name("w1"),
        task: None,
        level: Level::Info,
        source: "stderr".to_owned(),
        message: "still here".to_owned(),
        metadata: None,
    };
    let late = Beat { logs: vec![line], ..beat("w1", at(2)).session(session(1)) };
    assert_err!(b.store().heartbeat(late).await, StoreError::SessionSuperseded { .. });
    assert_eq!(b.worker("w1").await, contested(before, 2));
    assert_eq!(b.logs_by(LogFilter::default()).await, []);
}

/// Two starts of one worker do not take the worker from each other in turns: the earlier stays refused.
pub async fn sessions_do_not_flip_flop(b: Bench) {
    for n in 1..=3 {
        b.beat(beat("w1", at(n)).session(session(n))).await;
    }
    for now in 10..15 {
        for old in [1, 2] {
            let late = beat("w1", at(now)).session(session(old));
            assert_err!(b.store().heartbeat(late).await, StoreError::SessionSuperseded { .. });
        }
        b.beat(beat("w1", at(now)).session(session(3))).await;
    }
    let worker = b.worker("w1").await.worker;
    assert_eq!((worker.session, worker.started_at), (Some(session(3)), at(3)));
}

/// The last sixteen superseded sessions are remembered.
pub async fn sixteen_superseded_sessions_are_remembered(b: Bench) {
    let last = Worker::SUPERSEDED_SESSIONS as u64;
    for n in 0..=last {
        b.beat(beat("w1", at(n)).session(session(n))).await;
    }
    for n in 0..last {
        let late = claim("w1", at(100)).session(session(n));
        assert_err!(b.store().claim(late).await, StoreError::SessionSuperseded { .. });
    }
    b.beat(beat("w1", at(100)).session(session(last))).await;
}

/// One worker's sessions say nothing about another's.
pub async fn a_session_belongs_to_its_worker(b: Bench) {
    b.beat(beat("w1", at(0)).session(session(1))).await;
    b.beat(beat("w1", at(1)).session(session(2))).await;
    b.beat(beat("w2", at(2)).session(session(1))).await;
    assert_eq!(b.worker("w2").await.worker.session, Some(session(1)));
}

/// The same session again is no new start: its leases hold, and what was asked of it stays asked.
pub async fn the_same_session_again_is_no_new_start(b: Bench) {
    let held = b.running_by(at(0), claim("w1", at(0)).session(session(1)), b.spec("render")).await;
    b.direct(at(1), "w1", Directive::Drain).await;
    let answer = b.beat(beat("w1", at(2)).session(session(1)).running(&[&held])).await;
    assert_eq!(answer.directive, Directive::Drain);
    assert_eq!(b.reap(at(3)).await, []);
    assert_eq!(b.worker("w1").await.worker.started_at, at(0));
}

/// A lease that was claimed without a session does not end by a session.
pub async fn a_lease_without_session_outlives_sessions(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.beat(beat("w1", at(1)).session(session(1))).await;
    b.beat(beat("w1", at(2)).session(session(2))).await;
    assert_eq!(b.reap(at(3)).await, []);
    assert_eq!(b.state(held.head.id).await, State::Running);
}

/// What was asked of a worker holds for one session: a new start begins with run.
pub async fn a_new_session_begins_with_run(b: Bench) {
    b.beat(beat("w1", at(0)).session(session(1))).await;
    b.direct(at(1), "w1", Directive::Stop).await;
    assert_eq!(b.beat(beat("w1", at(2)).session(session(2))).await.directive, Directive::Run);
    assert_eq!(b.worker("w1").await.worker.directive, Directive::Run);
    b.running_by(at(3), claim("w1", at(3)).session(session(2)), b.spec("render")).await;
}

/// An attempt of a superseded session may still be completed until the reaper has taken it back.
pub async fn a_superseded_session_may_complete_before_the_reaper(b: Bench) {
    let held = b.running_by(at(0), claim("w1", at(0)).session(session(1)), b.spec("render")).await;
    b.beat(beat("w1", at(1)).session(session(2))).await;
    b.complete(at(2), &held).await;
    assert_eq!(b.reap(at(3)).await, []);
    b.check(at(4)).await;
}

/// A worker's name belongs to the project that used it first, by a claim or by a heartbeat, and shows it.
pub async fn a_name_belongs_to_the_project_that_used_it_first(b: Bench) {
    b.nothing(claim("claimer", at(0)).project("film")).await;
    b.beat(beat("beater", at(0)).project("film")).await;
    for worker in ["claimer", "beater"] {
        assert_eq!(b.worker(worker).await.worker.project(), Some(&name("film")));
        let refused = b.store().claim(claim(worker, at(1)).project("game")).await;
        assert_err!(refused, StoreError::WorkerOfOther(of) if of == name(worker));
        let refused = b.store().heartbeat(beat(worker, at(1)).project("game")).await;
        assert_err!(refused, StoreError::WorkerOfOther(of) if of == name(worker));
        b.beat(beat(worker, at(2)).project("film").session(session(1))).await;
        b.nothing(claim(worker, at(2)).project("film").session(session(2))).await;
        assert_eq!(b.worker(worker).await.worker.project(), Some(&name("film")), "also over new starts");
    }
    let page = b.store().workers(crate::PageRequest::first(10)).await.unwrap();
    assert!(page.items.iter().all(|detail| detail.worker.project() == Some(&name("film"))));
}

/// A name that was used first by a caller without project is not given to one with a project.
pub async fn a_name_of_no_project_refuses_callers_with_one(b: Bench) {
    b.nothing(claim("claimer", at(0))).await;
    b.beat(beat("beater", at(0))).await;
    for worker in ["claimer", "beater"] {
        for project in ["film", "default"] {
            let refused = b.store().claim(claim(worker, at(1)).project(project)).await;
            assert_err!(refused, StoreError::WorkerOfOther(_));
            let refused = b.store().heartbeat(beat(worker, at(1)).project(project)).await;
            assert_err!(refused, StoreError::WorkerOfOther(_));
        }
        assert_eq!(b.worker(worker).await.worker.project(), None);
    }
}

/// A caller without project may use every name, which stays its project's.
pub async fn a_caller_without_project_may_use_every_name(b: Bench) {
    b.create(at(0), b.spec("render").project("game")).await;
    b.beat(beat("w1", at(0)).project("film")).await;
    b.beat(beat("w1", at(1)).session(session(1))).await;
    b.claim_one(claim("w1", at(2)).session(session(2))).await;
    assert_eq!(b.worker("w1").await.worker.project(), Some(&name("film")));
    b.beat(beat("w1", at(3)).project("film").session(session(2))).await;
}

/// A name that was used first by a caller that is bound to queues alone is for callers of the same queues, in whatever
/// order they are named, and for those without bounds.
pub async fn a_name_of_queues_is_for_callers_of_just_these(b: Bench) {
    b.nothing(claim("claimer", at(0)).of_queues(&["cpu", "gpu"])).await;
    b.beat(beat("beater", at(0)).of_queues(&["cpu", "gpu"])).await;
    for worker in ["claimer", "beater"] {
        for other in [of_queues(&["cpu"]), of_queues(&["cpu", "gpu", "x"]), Owner::Project(name("cpu"))] {
            let foreign = Claim { caller: other.clone(), ..claim(worker, at(1)).session(session(9)) };
            assert_err!(b.store().claim(foreign).await, StoreError::WorkerOfOther(_));
            let foreign = Beat { caller: other, ..beat(worker, at(1)).session(session(9)) };
            assert_err!(b.store().heartbeat(foreign).await, StoreError::WorkerOfOther(_));
        }
        b.beat(beat(worker, at(2)).of_queues(&["gpu", "cpu"]).session(session(1))).await;
        b.nothing(claim(worker, at(3)).session(session(2))).await;
        b.nothing(claim(worker, at(4)).of_queues(&["cpu", "gpu"]).session(session(2))).await;
        let worker = b.worker(worker).await.worker;
        assert_eq!((worker.owner, worker.session), (Some(of_queues(&["cpu", "gpu"])), Some(session(2))));
    }
}

/// A caller that is bound to queues may use no name that belongs to a project or to callers without bounds, and changes
/// nothing of it: not a lease ends by its word.
pub async fn names_of_others_are_refused_to_callers_of_queues(b: Bench) {
    for (worker, caller) in [("film-1", Owner::Project(name("film"))), ("all-1", Owner::Unbound)] {
        let ours = Claim { caller: caller.clone(), ..claim(worker, at(0)).session(session(1)) };
        let held = b.running_by(at(0), ours, b.spec("render").project("film")).await;
        let ours = beat(worker, at(1)).session(session(1)).running(&[&held]);
        b.beat(Beat { caller, ..ours }).await;
        let before = b.worker(worker).await;
        for start in [1, 2] {
            let foreign = beat(worker, at(2)).of_queues(&["default"]).session(session(start)).running(&[]);
            assert_err!(b.store().heartbeat(foreign).await, StoreError::WorkerOfOther(_));
            let foreign = claim(worker, at(2)).of_queues(&["default"]).session(session(start));
            assert_err!(b.store().claim(foreign).await, StoreError::WorkerOfOther(_));
        }
        assert_eq!(b.worker(worker).await, before);
        assert_eq!(b.reap(at(3)).await, []);
        b.complete(at(3), &held).await;
    }
    b.check(at(4)).await;
}

/// A caller of another project that is refused changes nothing: no session is superseded, no beat and no log line
/// noted, no task taken.
pub async fn a_caller_of_another_project_changes_nothing(b: Bench) {
    let id = b.create(at(0), b.spec("render").project("game")).await;
    let ours = b.spec("render").project("film");
    let held = b.running_by(at(0), claim("w1", at(0)).project("film").session(session(1)), ours).await;
    b.beat(beat("w1", at(1)).project("film").session(session(1)).running(&[&held])).await;
    let before = b.worker("w1").await;
    let line = LogLine {
        at: at(2),
        received_at: at(2),
        worker: name("w1"),
        task: None,
        level: Level::Info,
        source: "stderr".to_owned(),
        message: "not mine".to_owned(),
        metadata: None,
    };
    let foreign = Beat { logs: vec![line], capacity: Some(9), ..beat("w1", at(2)).project("game") };
    let foreign = Beat { labels: [("host".to_owned(), "h".to_owned())].into(), ..foreign };
    assert_err!(b.store().heartbeat(foreign.clone()).await, StoreError::WorkerOfOther(_));
    let anew = foreign.session(session(2)).running(&[]);
    assert_err!(b.store().heartbeat(anew).await, StoreError::WorkerOfOther(_));
    let foreign = Claim { capacity: Some(9), ..claim("w1", at(2)).project("game") };
    assert_err!(b.store().claim(foreign.clone()).await, StoreError::WorkerOfOther(_));
    // Not even whether the session was superseded is told.
    let anew = foreign.session(session(2)).key("r1");
    assert_err!(b.store().claim(anew).await, StoreError::WorkerOfOther(_));
    assert_eq!(b.worker("w1").await, before);
    assert_eq!(b.logs_by(LogFilter::default()).await, []);
    assert_eq!(b.state(id).await, State::Queued);
    assert_eq!(b.reap(at(3)).await, []);
    b.complete(at(3), &held).await;
    b.check(at(4)).await;
}

/// A completion stands when the claim that comes with it names another project than the worker's.
pub async fn a_next_claim_for_another_project_does_not_undo_the_completion(b: Bench) {
    let held =
        b.running_by(at(0), claim("w1", at(0)).project("film"), b.spec("render").project("film")).await;
    let waiting = b.create(at(0), b.spec("render").project("game")).await;
    let next = Some(claim("w1", at(1)).project("game"));
    let answer = b.store().complete(b.completion(at(1), &held), next).await.unwrap();
    assert_err!(answer.next.unwrap(), StoreError::WorkerOfOther(_));
    assert_eq!(b.state(held.head.id).await, State::Completed);
    assert_eq!(b.state(waiting).await, State::Queued);
    b.check(at(2)).await;
}

/// The name of a worker whose record was removed belongs to whoever uses it next.
pub async fn the_name_of_a_removed_worker_is_free(b: Bench) {
    b.beat(beat("w1", at(0)).project("film")).await;
    let later = at(8 * 86_400);
    assert_eq!(b.purge(Purge::at(later)).await.workers, 1);
    b.beat(beat("w1", later).project("game")).await;
    assert_eq!(b.worker("w1").await.worker.project(), Some(&name("game")));
}

/// Of callers of different projects that use a new name at once, one project has it.
pub async fn a_name_used_at_once_goes_to_one_project(b: Bench) {
    let uses = (0..8).map(|n| {
        let (store, project) = (b.store(), format!("project-{n}"));
        async move {
            let outcome = match n % 2 {
                0 => store.claim(claim("w1", at(0)).project(&project)).await.map(drop),
                _ => store.heartbeat(beat("w1", at(0)).project(&project)).await.map(drop),
            };
            outcome.map(|()| project)
        }
    });
    let outcomes = at_once(uses).await;
    let taken: Vec<_> = outcomes.iter().flatten().collect();
    assert_eq!(taken.len(), 1, "{outcomes:?}");
    assert_eq!(b.worker("w1").await.worker.project(), Some(&name(taken[0])));
    let refused = outcomes.iter().filter(|one| matches!(one, Err(StoreError::WorkerOfOther(_)))).count();
    assert_eq!(refused, 7);
}
