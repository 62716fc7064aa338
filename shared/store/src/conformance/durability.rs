//! What was answered is there after the store was closed and opened again.

use baton_model::{Directive, Level, LogLine, State};

use super::kit::*;
use super::{audit, token};
use crate::{
    AuditFilter, Beat, Create, Fail, GenerationFilter, LogFilter, Nothing, PauseQueue, Settled, StoreError,
    TaskFilter,
};

/// Tasks in every state, with histories, leases and generations, are the same after reopening.
pub async fn tasks_outlive_a_restart(mut b: Bench) {
    let spec = b.spec("render").params(r#"{ "b": 1.50, "a": [] }"#).timeout(secs(7_000));
    let running = b.running_by(at(0), claim("w1", at(0)).session(session(1)).key("r1"), spec).await.head.id;
    let done = b.running(at(0), "w1", b.spec("render")).await;
    b.complete(at(1), &done).await;
    let failed = b.running(at(0), "w1", b.spec("render")).await;
    b.fail(Fail { retryable: false, ..failing(at(1), &failed) }).await;
    let waiting = b.running(at(0), "w1", b.spec("render")).await;
    b.fail(failing(at(1), &waiting)).await;
    let cancelled = b.create(at(0), b.spec("render")).await;
    b.cancel(at(1), cancelled).await;
    let later = b.create(at(1), b.spec("render").due(at(500))).await;

    let ids = [running, done.head.id, failed.head.id, waiting.head.id, cancelled, later];
    let mut before = Vec::new();
    for id in ids {
        before.push(b.task(id).await);
    }
    let filter = TaskFilter { now: at(2), ..TaskFilter::default() };
    let list = b.tasks_by(filter.clone(), 10).await;
    let generations = b.generations_by(GenerationFilter::default()).await;
    let stats = b.store().stats(at(2)).await.unwrap();

    b.reopen().await;
    for (id, before) in ids.into_iter().zip(before) {
        assert_eq!(b.task(id).await, before);
    }
    assert_eq!(b.tasks_by(filter, 10).await, list);
    assert_eq!(b.generations_by(GenerationFilter::default()).await, generations);
    assert_eq!(b.store().stats(at(2)).await.unwrap(), stats);
    b.check(at(3)).await;
}

/// Work goes on after a restart where it stood: the attempt is completed, the queue is claimed from.
pub async fn work_goes_on_after_a_restart(mut b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let waiting = b.create(at(0), b.spec("render")).await;
    b.reopen().await;
    let complete = b.completion(at(1), &held);
    let first = b.store().complete(complete.clone(), None).await.unwrap();
    assert_eq!(b.claim_one(claim("w1", at(2))).await.head.id, waiting);
    b.reopen().await;
    let again = b.store().complete(complete, None).await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.generation, first.generation);
    assert_eq!(b.state(waiting).await, State::Running);
    b.check(at(3)).await;
}

/// Request keys and idempotency keys are known after a restart.
pub async fn keys_outlive_a_restart(mut b: Bench) {
    let send = |spec| Create { idempotency: idempotency("k", "request"), ..creation(at(0), vec![spec]) };
    let first = b.send(send(b.spec("render"))).await.unwrap();
    b.create_plain(at(0), 2).await;
    let held = b.claim_one(claim("w1", at(1)).key("r1")).await;
    let spent = b.claim_one(claim("w2", at(1)).key("r1")).await;
    b.complete(at(2), &spent).await;
    b.reopen().await;
    let again = b.send(send(b.spec("render"))).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.items, first.items);
    assert_eq!(b.claim_one(claim("w1", at(3)).key("r1")).await, held);
    assert_eq!(b.nothing(claim("w2", at(3)).key("r1")).await, Nothing::RequestSpent);
}

/// Workers with their sessions and directives, paused queues and log lines are known after a restart.
pub async fn workers_queues_and_logs_outlive_a_restart(mut b: Bench) {
    let line = LogLine {
        at: at(1),
        received_at: at(1),
        worker: name("w1"),
        task: None,
        level: Level::Error,
        source: "stderr".to_owned(),
        message: "boom".to_owned(),
        metadata: Some(json("[ 1 ]")),
    };
    b.beat(beat("w1", at(0)).session(session(1))).await;
    let second = Beat {
        logs: vec![line.clone()],
        readings: [("vram".to_owned(), 0.1)].into(),
        labels: [("host".to_owned(), "h".to_owned())].into(),
        capacity: Some(3),
        ..beat("w1", at(1)).session(session(2)).running(&[])
    };
    b.beat(second).await;
    b.direct(at(2), "w1", Directive::Drain).await;
    b.create(at(2), b.spec("render")).await;
    let (by, reason) = (Some(name("ada")), Some("a new disk".to_owned()));
    let pause = PauseQueue { now: at(2), queue: name("default"), paused: true, by, reason };
    let paused = b.store().pause_queue(pause).await.unwrap().pause;
    let before = b.worker("w1").await;

    b.reopen().await;
    assert_eq!(b.worker("w1").await, before);
    assert_eq!(b.store().queue(&name("default"), at(3)).await.unwrap().pause, paused);
    assert_eq!(b.logs_by(LogFilter::default()).await, [line]);
    let old = b.store().heartbeat(beat("w1", at(3)).session(session(1))).await;
    assert_err!(old, StoreError::SessionSuperseded { .. });
    let paused = Nothing::Paused { queues: vec![name("default")] };
    assert_eq!(b.nothing(claim("w2", at(3))).await, paused);
    let directed = Nothing::Directed { directive: Directive::Drain };
    b.pause(at(3), "default", false).await;
    assert_eq!(b.nothing(claim("w1", at(3)).session(session(2))).await, directed);
}

/// Tokens with their ends and last uses, audit entries with their outcomes, and the projects of workers are known after
/// a restart.
pub async fn tokens_audit_entries_and_projects_outlive_a_restart(mut b: Bench) {
    let (used, revoked) = (token::made(&b, "used").await.token.id, token::made(&b, "revoked").await.token.id);
    b.store().token_used(used, at(1)).await.unwrap();
    b.store().revoke_token(revoked, at(2)).await.unwrap();
    let settled = audit::recorded(&b, audit::entry(&b, at(3))).await;
    b.store().settle(settled, Settled::with(200)).await.unwrap();
    audit::recorded(&b, audit::entry(&b, at(4))).await;
    b.beat(beat("w1", at(5)).project("film")).await;
    let (used, revoked) = (b.store().token(used).await.unwrap(), b.store().token(revoked).await.unwrap());
    let (tokens, audit) = (b.tokens().await, b.audit_by(AuditFilter::default()).await);
    assert_eq!((tokens.len(), audit.len()), (2, 2));

    b.reopen().await;
    for before in [used, revoked] {
        let id = before.as_ref().unwrap().token.id;
        assert_eq!(b.store().token(id).await.unwrap(), before);
    }
    assert_eq!(b.tokens().await, tokens);
    assert_eq!(b.audit_by(AuditFilter::default()).await, audit);
    let foreign = b.store().heartbeat(beat("w1", at(6)).project("game")).await;
    assert_err!(foreign, StoreError::WorkerOfOther(_));
    b.beat(beat("w1", at(6)).project("film")).await;
}
