//! Moving a store into another: nothing is lost, nothing comes twice, and nothing that stands is trampled on.
//!
//! Stores that cannot be moved are not held to these rules: [`World::movable`] gives none.

pub(super) mod cut;
mod populated;

use std::collections::BTreeMap;

use baton_model::{
    Digest, FairBy, Fingerprint, Grant, Label, LossReason, Output, Priority, QueueOrder, Running, Scope,
    SecretDigest, State, Task, TaskChange, TaskSpec, TaskState, Timeout, Token, TokenStatus, Wants, Warm,
};

use self::cut::Cut;
use self::populated::{WORN, populate};
use super::change::{changing, to_priority};
use super::kit::*;
use super::limits::keyed;
use super::order::fair;
use super::{audit, token};
use crate::transfer::{ImportError, Migration, MigrationError, Record, Tally, Verdict};
use crate::{
    AuditEntry, AuditFilter, Beat, Complete, Create, Fail, GenerationFilter, Idempotency, ItemRefusal,
    LogFilter, PauseQueue, Purge, Settled, Stats, StoreError, StoredToken, TaskFilter, TaskStore, Transfer,
};

/// When everything of these rules' stores has happened.
pub(super) const NOW: u64 = 500;

pub(super) fn migration<'a>(source: &'a dyn Transfer, target: &'a dyn Transfer, page: u32) -> Migration<'a> {
    Migration { source, target, name: "first", page, keep_logs: secs(48 * 3_600), clock: &|| at(NOW) }
}

/// What statistics tell but for their age, which is each store's own.
async fn numbers(store: &dyn TaskStore) -> Stats {
    let mut stats = store.stats(at(NOW)).await.expect("statistics are given");
    stats.counted_at = None;
    stats.queues.iter_mut().for_each(|queue| queue.counted_at = None);
    stats
}

/// All records of a store.
pub(super) async fn records(store: &dyn Transfer, limit: u32) -> Vec<Record> {
    let mut found = Vec::new();
    let mut after = None;
    for _ in 0..10_000 {
        let page = store.export(at(NOW), after, limit).await.expect("the page is given");
        assert!(page.items.len() <= limit as usize, "a page keeps to its limit");
        found.extend(page.items);
        match page.next {
            None => return found,
            next => after = next,
        }
    }
    panic!("the export does not end");
}

/// What is moved of a source, as the target is to take it in.
pub(super) async fn moving(moved: &Movable, limit: u32) -> Vec<Record> {
    let all = records(&*moved.source, limit).await.into_iter();
    all.filter_map(|record| crate::transfer::moved(record, &*moved.source, &*moved.target)).collect()
}

/// What a store holds, by group.
async fn tallies(store: &dyn Transfer) -> BTreeMap<&'static str, Tally> {
    tallied(records(store, 7).await)
}

/// What a source holds that is moved, by group.
async fn tallies_moving(moved: &Movable) -> BTreeMap<&'static str, Tally> {
    tallied(moving(moved, 7).await)
}

fn tallied(records: Vec<Record>) -> BTreeMap<&'static str, Tally> {
    let mut tallies: BTreeMap<_, Tally> = BTreeMap::new();
    for record in records {
        if let Some(checksum) = record.checksum(at(NOW), secs(48 * 3_600)) {
            tallies.entry(record.group()).or_default().add(checksum);
        }
    }
    tallies
}

/// A store that was moved shows what the first showed: tasks with histories, leases, generations and progress, lists in
/// their order, workers, queues with their counts and times, log lines, tokens with their digests, the audit log.
pub async fn a_moved_store_holds_all_that_the_first_held(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    let populated = populate(&b).await;
    let outcome =
        migration(&*moved.source, &*moved.target, 3).run(|_| {}).await.expect("it comes to its end");
    assert!(outcome.groups.values().all(|group| group.agrees()));
    assert_eq!(outcome.groups["tokens"].target.records, 5);
    assert_eq!(outcome.groups["audit entries"].target.records, 4);
    for state in State::ALL {
        assert!(outcome.groups[state.as_str()].source.records > 0, "{state} is tried");
    }
    let (from, to) = (b.store(), moved.store);
    assert_eq!(to.settings().await.unwrap(), from.settings().await.unwrap());
    for id in b.created() {
        assert_eq!(to.task(id).await.unwrap(), from.task(id).await.unwrap());
    }
    let filter = TaskFilter { now: at(NOW), ..TaskFilter::default() };
    // Stores differ in where they list ids that name no time, and such as name another than that of their arrival.
    let timed = |mut list: Vec<Task>| {
        list.retain(|task| task.head.id.as_bytes()[6] >> 4 == 7);
        list.sort_by_key(|task| task.head.id);
        list
    };
    let list = pages(4, |page| to.tasks(filter.clone(), page)).await;
    assert_eq!(timed(list), timed(b.tasks_by(filter, 4).await));
    let generations = pages(4, |page| to.generations(GenerationFilter::default(), page)).await;
    assert_eq!(generations, b.generations_by(GenerationFilter::default()).await);
    let logs = pages(2, |page| to.logs(LogFilter::default(), page)).await;
    assert_eq!(logs, b.logs_by(LogFilter::default()).await);
    assert_eq!(logs.len(), 3);
    let workers = pages(2, |page| to.workers(page)).await;
    assert_eq!(workers, pages(2, |page| from.workers(page)).await);
    assert_eq!(numbers(&*to).await, numbers(&*from).await);
    for stored in &populated.tokens {
        assert_eq!(to.token(stored.token.id).await.unwrap().as_ref(), Some(stored));
    }
    let newest: Vec<_> = populated.tokens.into_iter().rev().map(|stored| stored.token).collect();
    assert_eq!(pages(2, |page| to.tokens(page)).await, newest);
    let audit = pages(3, |page| to.audit(AuditFilter::default(), page)).await;
    assert_eq!(audit, populated.audited.into_iter().rev().collect::<Vec<_>>());
    check_invariants(&*to, &b.created(), at(NOW)).await;
}

/// In a store that was moved, tokens are used, revoked and removed as they were in the first, and so many more are made
/// as there is room for: each is counted once, however often it was taken in.
pub async fn tokens_go_on_in_a_moved_store(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    let tokens = populate(&b).await.tokens;
    moved.target.import(moving(&moved, 10).await).await.expect("they are taken");
    moved.target.import(moving(&moved, 3).await).await.expect("they are known");
    let to = &moved.store;
    let status = async |one: &StoredToken| {
        let stored = to.token(one.token.id).await.unwrap().expect("it was moved");
        assert_eq!(stored.digest, one.digest);
        stored.token.status(at(NOW))
    };
    let mut statuses = Vec::new();
    for one in &tokens {
        statuses.push(status(one).await);
    }
    use TokenStatus::{Active, Expired, Revoked};
    assert_eq!(statuses, [Active, Revoked, Expired, Active, Revoked]);

    to.token_used(tokens[0].token.id, at(NOW)).await.unwrap();
    let again = to.revoke_token(tokens[1].token.id, at(NOW)).await.unwrap();
    assert_eq!(again.revoked_at, Some(at(74)), "the first time stays");
    let revoked = to.revoke_token(tokens[0].token.id, at(NOW)).await.unwrap();
    assert_eq!((revoked.last_used_at, revoked.revoked_at), (Some(at(NOW)), Some(at(NOW))));
    assert_eq!(status(&tokens[0]).await, Revoked);

    // 5 were moved; 3 of them ended long before.
    let most = to.capabilities().tokens;
    for n in 5..most {
        to.create_token(token::token(&b, &format!("token {n}"))).await.expect("there is room");
    }
    let late = token::token(&b, "late");
    assert_err!(to.create_token(late.clone()).await, StoreError::TooManyTokens { .. });
    let purge = Purge { keep_tokens: secs(1), ..Purge::at(at(NOW)) };
    assert_eq!(to.purge(purge).await.unwrap().tokens, 3);
    for n in 0..3 {
        to.create_token(token::token(&b, &format!("later {n}"))).await.expect("there is room again");
    }
    assert_err!(to.create_token(late).await, StoreError::TooManyTokens { .. });
}

/// In a store that was moved, a worker completes what it had claimed in the first, a claim and a creation that are sent
/// again get the answers that they had, a superseded session stays refused, and waiting tasks are given out.
pub async fn work_goes_on_in_a_moved_store(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    let populated = populate(&b).await;
    migration(&*moved.source, &*moved.target, 50).run(|_| {}).await.expect("it comes to its end");
    let to = moved.store;

    let done = to.complete(b.completion(at(80), &populated.running), None).await.expect("it is taken");
    assert!(!done.repeated);
    assert_eq!(to.task(populated.running.head.id).await.unwrap().generation, Some(done.generation));
    let again = leased(to.claim(claim("w4", at(80)).queues(&["keyed"]).key("c1").max(2)).await);
    assert_eq!(held_set(&again), held_set(&populated.keyed));
    let spent = to.claim(claim("w4", at(80)).queues(&["default"]).key("c2")).await;
    assert!(matches!(spent, Ok(crate::ClaimAnswer::Nothing(crate::Nothing::RequestSpent))), "{spent:?}");
    let send =
        Create { idempotency: idempotency("k", "request"), ..creation(at(80), vec![b.spec("render")]) };
    assert!(to.create(send).await.unwrap().replayed);
    let other =
        Create { idempotency: idempotency("k", "another"), ..creation(at(80), vec![b.spec("render")]) };
    assert_err!(to.create(other).await, StoreError::IdempotencyConflict { .. });
    let old = to.heartbeat(beat("w5", at(80)).session(session(5))).await;
    assert_err!(old, StoreError::SessionSuperseded { .. });
    let paused = to.claim(claim("w6", at(80)).queues(&["gpu"])).await;
    assert!(matches!(paused, Ok(crate::ClaimAnswer::Nothing(crate::Nothing::Paused { .. }))), "{paused:?}");
    let next = leased(to.claim(claim("w6", at(80)).queues(&["worn"])).await);
    assert_eq!((next.len(), next[0].head.attempt), (1, WORN + 1));
    let task = to.fail(failing(at(81), &next[0])).await.expect("the failure is taken").task;
    // Its creation, and a claim and an end of each attempt.
    let all = 1 + 2 * (WORN as usize + 1);
    assert_eq!(to.task(task.head.id).await.unwrap().history.len(), all);
    let mut ids = b.created();
    ids.extend(
        pages(100, |page| to.tasks(TaskFilter::default(), page)).await.iter().map(|task| task.head.id),
    );
    for id in ids {
        assert!(to.task(id).await.is_ok());
    }
    // Nothing of what runs is lost by having been moved.
    let taken = to.reap(reap(at(82))).await.unwrap().taken;
    assert!(taken.iter().all(|one| one.worker == name("w6") || one.worker == name("w3")), "{taken:?}");
}

/// A queue keeps its order in a store that it is moved to, by what waits and runs there, and tasks keep what they want to be warm.
pub async fn orders_and_affinities_go_along(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    let order = QueueOrder { age_after_seconds: Some(3_600), ..fair(FairBy::Key) };
    b.order(at(0), "default", order).await;
    let spec = |key: &str, due| keyed(b.spec("render").due(at(due)), key);
    let warm = |key: &str, due| TaskSpec { affinity: Some(name("sdxl")), ..spec(key, due) };
    let ids =
        b.create_all(at(0), vec![spec("x", 0), warm("x", 1), spec("x", 2), warm("y", 3), spec("z", 4)]).await;
    let held = b.claim_one(claim("w1", at(10))).await;
    assert_eq!(held.head.id, ids[0]);
    migration(&*moved.source, &*moved.target, 50).run(|_| {}).await.expect("it comes to its end");
    let to = moved.store;
    assert_eq!(to.queue(&name("default"), at(20)).await.expect("the queue is known").order, order);
    let mut only = claim("w2", at(20)).max(1);
    only.warm = Warm { names: vec![name("sdxl")], wants: Wants::Only };
    assert_eq!(ids_of(&leased(to.claim(only).await)), [ids[3]], "one of x runs already");
    assert_eq!(ids_of(&leased(to.claim(claim("w3", at(20)).max(9)).await)), [ids[4], ids[1], ids[2]]);
}

/// The digest that a store kept of `value` while numbers were read as 64-bit floats.
fn rounded_digest(value: &impl serde::Serialize) -> Digest {
    let text = serde_json::to_value(value).expect("it serialises").to_string();
    Digest::of_bytes(text.as_bytes())
}

/// What a store kept while it read numbers as floats is known again: the chosen id, the completion, the key. What such a
/// number could not hold is not, as another number's digest would be the same.
pub async fn what_was_kept_with_rounded_numbers_is_known_again(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    let output = Output { result: Some(json(r#"{"score":0.5,"n":1e0}"#)), ..Output::default() };
    let spec = b.spec("render").chosen().params(r#"{"n":1.0,"x":[0.25,3]}"#);
    let wide = b.spec("render").chosen().queue("wide").params("10000000000000000000000000000001");
    let key = Idempotency { key: "k".to_owned(), fingerprint: rounded_digest(&spec.params).into() };
    let create = Create { idempotency: Some(key), ..creation(at(0), vec![spec.clone(), wide.clone()]) };
    b.send(create).await.expect("it is taken");
    let held = b.claim_one(claim("w1", at(1))).await;
    let complete = Complete { output: output.clone(), ..b.completion(at(2), &held) };
    b.store().complete(complete.clone(), None).await.expect("it is taken");
    for mut record in moving(&moved, 10).await {
        if let Record::Task(record) = &mut record {
            let of = if record.task.head.id == spec.id { &spec } else { &wide };
            record.content = record.content.map(|_| rounded_digest(of));
            if let TaskState::Completed { output: kept, .. } = &mut record.task.head.state {
                *kept = rounded_digest(&output);
            }
        }
        taken(&*moved.target, record).await;
    }
    let to = moved.store;
    let again = to.create(creation(at(3), vec![spec.clone(), wide.clone()])).await.unwrap().items;
    assert!(matches!(&again[0], Ok(accepted) if !accepted.new), "{again:?}");
    assert_eq!(again[1], Err(ItemRefusal::IdConflict { id: wide.id }));
    assert!(to.complete(complete, None).await.unwrap().repeated);
    let key = Idempotency { key: "k".to_owned(), fingerprint: Fingerprint::of(&spec.params) };
    let keyed = Create { idempotency: Some(key), ..creation(at(3), vec![spec, wide]) };
    assert!(to.create(keyed).await.unwrap().replayed);
}

/// A worker that runs many tasks, and has said so at length, loses none of them by the move but the one that it forgot.
pub async fn a_worker_of_many_tasks_loses_none_of_them(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    b.create_plain(at(0), 60).await;
    let held = b.claim(claim("w1", at(0)).max(60)).await;
    let said = |task: &Task| Running { message: Some("at it, and far from done".to_owned()), ..listed(task) };
    b.beat(Beat { running: Some(held[1..].iter().map(said).collect()), ..beat("w1", at(30)) }).await;
    b.settle().await;
    migration(&*moved.source, &*moved.target, 25).run(|_| {}).await.expect("it comes to its end");
    let taken = moved.store.reap(reap(at(31))).await.unwrap().taken;
    let taken: Vec<_> = taken.iter().map(|one| (one.task, one.reason)).collect();
    assert_eq!(taken, [(held[0].head.id, LossReason::Forgotten)]);
}

/// The same records a second time, also in one call, are known, and leave everything as it is.
pub async fn records_taken_in_again_change_nothing(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    populate(&b).await;
    let all = moving(&moved, 10).await;
    let first = moved.target.import(all.clone()).await.expect("they are taken");
    assert!(first.iter().all(|verdict| matches!(verdict, Verdict::New | Verdict::Later)), "{first:?}");
    let before = records(&*moved.target, 10).await;
    let second = moved.target.import(all).await.expect("they are known");
    assert!(second.iter().all(|verdict| *verdict == Verdict::Same), "{second:?}");
    assert_eq!(records(&*moved.target, 10).await, before);
    check_invariants(&*moved.store, &b.created(), at(NOW)).await;
}

/// What a store holds in the end does not depend on the order in which records came, nor on how they were bundled.
pub async fn records_may_come_in_any_order(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    populate(&b).await;
    let mut all = moving(&moved, 1).await;
    all.reverse();
    for bundle in all.chunks(3) {
        moved.target.import(bundle.to_vec()).await.expect("they are taken");
    }
    assert_eq!(tallies(&*moved.target).await, tallies_moving(&moved).await);
    check_invariants(&*moved.store, &b.created(), at(NOW)).await;
}

/// A task, worker or queue that has changed in the source since takes the place of what was copied before.
pub async fn a_later_version_takes_the_place_of_the_earlier(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    let populated = populate(&b).await;
    moved.target.import(moving(&moved, 10).await).await.expect("they are taken");
    b.complete(at(90), &populated.running).await;
    b.fail(failing(at(90), &populated.keyed[0])).await;
    b.retry(
        at(91),
        b.ids_by(TaskFilter { statuses: vec![baton_model::Status::Failed], ..TaskFilter::default() }).await
            [0],
    )
    .await;
    // One that waits has another priority, and an event that tells of it.
    let waits = b
        .ids_by(TaskFilter { statuses: vec![baton_model::Status::Created], ..TaskFilter::default() })
        .await[0];
    let to = TaskChange { timeout: Some(Timeout::After(secs(77))), ..to_priority(Priority::Critical) };
    b.store().change(changing(at(91), waits, to)).await.expect("the change is taken");
    // Further on in a history that is kept in pieces.
    let worn = b.ids_by(TaskFilter { queue: Some(name("worn")), ..TaskFilter::default() }).await[0];
    for round in 100..130 {
        let held = b.claim_one(claim("w3", at(round)).queues(&["worn"])).await;
        assert_eq!(held.head.id, worn);
        b.fail(Fail { retry_after: Some(secs(0)), ..failing(at(round), &held) }).await;
    }
    b.beat(beat("w1", at(92)).session(session(7))).await;
    b.pause(at(93), "gpu", false).await;
    let (used, bound) = (populated.tokens[0].token.id, populated.tokens[3].token.id);
    b.store().token_used(used, at(94)).await.unwrap();
    b.store().revoke_token(used, at(95)).await.unwrap();
    b.store().token_used(bound, at(96)).await.unwrap();
    b.store().settle(populated.audited[3].id, Settled::with(200)).await.unwrap();
    b.settle().await;
    let verdicts = moved.target.import(moving(&moved, 10).await).await.expect("they are taken");
    assert!(verdicts.contains(&Verdict::Later) && verdicts.contains(&Verdict::Same));
    assert_eq!(tallies(&*moved.target).await, tallies_moving(&moved).await);
    for id in b.created() {
        assert_eq!(moved.store.task(id).await.unwrap(), b.task(id).await);
    }
    for one in &populated.tokens {
        let id = one.token.id;
        assert_eq!(moved.store.token(id).await.unwrap(), b.store().token(id).await.unwrap());
    }
    let token = moved.store.token(used).await.unwrap().unwrap().token;
    assert_eq!((token.last_used_at, token.revoked_at), (Some(at(94)), Some(at(95))));
    let audit = moved.store.audit(AuditFilter::default(), crate::PageRequest::first(1)).await.unwrap();
    assert_eq!(audit.items[0].outcome, Some(200));
    check_invariants(&*moved.store, &b.created(), at(NOW)).await;
}

/// The refusal of a record, which names it.
async fn refused(target: &dyn Transfer, record: Record) -> String {
    let name = record.name();
    match target.import(vec![record]).await {
        Err(ImportError::Refused(refusal)) if refusal.record == name => refusal.why,
        other => panic!("expected {name} to be refused, got {other:?}"),
    }
}

/// A task that was worked on in the target is not set back: its record is refused by name.
pub async fn a_task_that_went_on_in_the_target_is_refused(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    let id = b.create(at(0), b.spec("render")).await;
    let all = moving(&moved, 10).await;
    moved.target.import(all.clone()).await.expect("they are taken");
    leased(moved.store.claim(claim("w1", at(1))).await);
    let before = moved.store.task(id).await.unwrap();
    let record = all.into_iter().find(|record| matches!(record, Record::Task(_))).unwrap();
    let why = refused(&*moved.target, record).await;
    assert!(why.contains("expected the target to be no further on than 1 events, got 2"), "{why}");
    // Nor does a task follow whose history went another way.
    b.cancel(at(2), id).await;
    b.retry(at(3), id).await;
    let record = moving(&moved, 10).await.into_iter().find(|record| matches!(record, Record::Task(_)));
    let why = refused(&*moved.target, record.unwrap()).await;
    assert!(why.contains("got another"), "{why}");
    assert_eq!(moved.store.task(id).await.unwrap(), before);
}

/// A task of the target that has the same id, and is another, stays as it is: the record is refused by name.
pub async fn another_task_of_the_same_id_is_refused(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    let large = format!(r#"["{}"]"#, "x".repeat(5_000));
    let spec = b.spec("render").params(&large).chosen();
    let id = b.create(at(0), spec.clone()).await;
    let other = TaskSpec { params: json(&large.replace('x', "y")), ..spec };
    moved.store.create(creation(at(0), vec![other])).await.unwrap();
    let before = moved.store.task(id).await.unwrap();
    let record = moving(&moved, 10).await.into_iter().find(|record| matches!(record, Record::Task(_)));
    let why = refused(&*moved.target, record.unwrap()).await;
    assert!(why.contains("expected no other task of this id"), "{why}");
    assert_eq!(moved.store.task(id).await.unwrap(), before);
}

/// Takes in one record, whose verdict it gives.
async fn taken(target: &dyn Transfer, record: Record) -> Verdict {
    target.import(vec![record]).await.expect("it is taken")[0]
}

/// No record makes a revoked token good again, nor its last use an earlier one; nor does one take the place of another
/// token. It is refused by name, also when the target has only just taken in the revocation.
pub async fn an_older_record_leaves_a_token_revoked(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    let (target, store) = (&*moved.target, moved.store);
    let made = token::made(&b, "farm").await;
    let id = made.token.id;
    let as_ = |used: Option<u64>, revoked: Option<u64>| {
        let token = Token { last_used_at: used.map(at), revoked_at: revoked.map(at), ..made.token.clone() };
        Record::Token(StoredToken { token, ..made.clone() })
    };
    let stands = async || store.token(id).await.unwrap().map(Record::Token);

    for (record, verdict) in [
        (as_(None, None), Verdict::New),
        (as_(Some(5), None), Verdict::Later),
        (as_(Some(7), Some(9)), Verdict::Later),
        (as_(Some(8), Some(9)), Verdict::Later),
        (as_(Some(8), Some(9)), Verdict::Same),
    ] {
        assert_eq!(taken(target, record.clone()).await, verdict, "{record:?}");
        assert_eq!(stands().await, Some(record));
    }
    for (record, why) in [
        (as_(None, None), "it was revoked in the target"),
        (as_(Some(99), None), "it was revoked in the target"),
        (as_(Some(8), Some(4)), "it was revoked in the target"),
        (as_(Some(8), Some(99)), "it was revoked in the target"),
        (as_(Some(7), Some(9)), "it was used in the target"),
        (as_(None, Some(9)), "it was used in the target"),
    ] {
        let told = refused(target, record.clone()).await;
        assert!(told.contains(why), "{record:?}: {told}");
        assert_eq!(stands().await, Some(as_(Some(8), Some(9))));
    }
    // A later one of the same call, too, whatever comes of the call.
    let of_both = token::token(&b, "both");
    let id = of_both.token.id;
    let ended = Token { revoked_at: Some(at(3)), ..of_both.token.clone() };
    let ended = StoredToken { token: ended, ..of_both.clone() };
    let both = vec![Record::Token(ended.clone()), Record::Token(of_both.clone())];
    assert_err!(target.import(both).await, ImportError::Refused(_));
    assert_eq!(store.token(id).await.unwrap(), Some(ended));

    // Revoked by the target's own operator, and another token altogether.
    let here = token::made(&b, "here").await;
    assert_eq!(taken(target, Record::Token(here.clone())).await, Verdict::New);
    let revoked = store.revoke_token(here.token.id, at(20)).await.unwrap();
    let why = refused(target, Record::Token(here.clone())).await;
    assert!(why.contains("it was revoked in the target"), "{why}");
    let grant = Grant { scopes: [Scope::Operator].into(), ..here.token.grant.clone() };
    for other in [
        StoredToken { digest: SecretDigest::from_bytes([1; 32]), token: revoked.clone() },
        StoredToken { token: Token { grant, ..revoked.clone() }, ..here.clone() },
        StoredToken { token: Token { expires_at: Some(at(9_999)), ..revoked.clone() }, ..here.clone() },
        StoredToken { token: Token { name: Label::from_stored("x"), ..revoked.clone() }, ..here.clone() },
    ] {
        let why = refused(target, Record::Token(other)).await;
        assert!(why.contains("expected no other token of this id"), "{why}");
    }
    assert_eq!(store.token(here.token.id).await.unwrap(), Some(StoredToken { token: revoked, ..here }));
}

/// A settled entry of the audit log keeps its outcome, and none takes the place of another: their records are refused by
/// name.
pub async fn an_older_record_leaves_an_audit_entry_settled(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    let target = &*moved.target;
    let entry = audit::entry(&b, at(1));
    let settled = AuditEntry { outcome: Some(204), ..entry.clone() };
    for (record, verdict) in [
        (&entry, Verdict::New),
        (&entry, Verdict::Same),
        (&settled, Verdict::Later),
        (&settled, Verdict::Same),
    ] {
        assert_eq!(taken(target, Record::Audit(record.clone())).await, verdict);
    }
    for (record, expected) in [
        (entry.clone(), "it was settled in the target"),
        (AuditEntry { outcome: Some(409), ..entry.clone() }, "it was settled in the target"),
        (AuditEntry { action: "retry_task".to_owned(), ..settled.clone() }, "no other entry of this id"),
        (AuditEntry { at: at(2), ..settled.clone() }, "no other entry of this id"),
    ] {
        let why = refused(target, Record::Audit(record)).await;
        assert!(why.contains(expected), "{why}");
    }
    let kept = pages(2, |page| moved.store.audit(AuditFilter::default(), page)).await;
    assert_eq!(kept, [settled]);
}

/// A migration begins with an empty target only, and one that was begun goes on from the same source only.
pub async fn a_target_that_holds_something_is_refused(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    b.create(at(0), b.spec("render")).await;
    moved
        .store
        .pause_queue(PauseQueue { now: at(0), queue: name("q"), paused: true, by: None, reason: None })
        .await
        .unwrap();
    let refused = migration(&*moved.source, &*moved.target, 3).run(|_| {}).await;
    assert_err!(refused, MigrationError::NotEmpty(what) if what == "queue q");

    let Some(moved) = b.movable().await else { return };
    let token = token::token(&b, "made too early");
    let id = token.token.id;
    moved.store.create_token(token).await.unwrap();
    let refused = migration(&*moved.source, &*moved.target, 3).run(|_| {}).await;
    assert_err!(refused, MigrationError::NotEmpty(what) if what == format!("token {id}"));

    let Some(moved) = b.movable().await else { return };
    migration(&*moved.source, &*moved.target, 3).run(|_| {}).await.expect("it comes to its end");
    let other = Migration { name: "second", ..migration(&*moved.source, &*moved.target, 3) };
    assert_err!(other.run(|_| {}).await, MigrationError::OtherSource { .. });
    let again = migration(&*moved.source, &*moved.target, 3).run(|_| {}).await.expect("it is done");
    assert!(again.done_before && again.new + again.later + again.same == 0, "{again:?}");
}

/// A migration that is cut off, at every place in turn, goes on where it stopped, and ends as one that was not.
pub async fn a_migration_goes_on_where_it_was_cut_off(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    populate(&b).await;
    // One more write each time than it takes to find the place again, so that each run is cut off one step further on.
    let mut cuts = 0;
    let outcome = loop {
        let target = Cut::after(1 + cuts % 2, &moved.target);
        match migration(&*moved.source, &target, 4).run(|_| {}).await {
            Ok(outcome) => break outcome,
            Err(MigrationError::Target(StoreError::Unknown(_))) => cuts += 1,
            Err(other) => panic!("{other}"),
        }
        assert!(cuts < 1_000, "it comes forward");
    };
    assert!(cuts > 10 && outcome.resumed);
    assert_eq!(tallies(&*moved.target).await, tallies_moving(&moved).await);
    assert_eq!(numbers(&*moved.store).await, numbers(&*b.store()).await);
    check_invariants(&*moved.store, &b.created(), at(NOW)).await;
}

/// A source that has changed while it was copied is noticed, and told by the groups that differ; the next run takes over
/// what has changed.
pub async fn a_source_that_changes_is_noticed_and_copied_anew(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    let populated = populate(&b).await;
    let target = Cut::at_logs(&moved.target);
    assert_err!(migration(&*moved.source, &target, 4).run(|_| {}).await, MigrationError::Target(_));
    b.complete(at(90), &populated.running).await;
    b.create(at(91), b.spec("render")).await;
    b.settle().await;
    let differs = migration(&*moved.source, &*moved.target, 4).run(|_| {}).await;
    let Err(MigrationError::Differs(outcome)) = differs else {
        panic!("expected a difference, got {differs:?}")
    };
    let different: Vec<_> =
        outcome.groups.iter().filter(|(_, group)| !group.agrees()).map(|(name, _)| name.as_str()).collect();
    assert_eq!(different, ["completed", "queued", "running"]);
    migration(&*moved.source, &*moved.target, 4).run(|_| {}).await.expect("it comes to its end");
    assert_eq!(tallies(&*moved.target).await, tallies_moving(&moved).await);
    check_invariants(&*moved.store, &b.created(), at(NOW)).await;
}
