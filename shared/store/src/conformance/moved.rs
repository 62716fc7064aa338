//! What goes along with tasks when a store is moved, where both stores have a place for it: bulk commands, documents, the order of events.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use baton_model::{
    BulkAction, BulkState, BulkTasks, Directive, Happened, Priority, TaskId, TimelineFilter, Timestamp,
};

use super::bulk::{bulk_id, finish, of_queue};
use super::change::to_priority;
use super::kit::*;
use super::transfer::cut::Cut;
use super::transfer::{NOW, migration, moving};
use crate::bulk::{filter_of, step};
use crate::transfer::{BULK, Holding, ImportError, MigrationError, NOTICES, Record, TIMELINE, Verdict};
use crate::{Count, Cursor, Direct, DocumentChanges, Page, PageRequest, Store, StoreError, Transfer};

/// The bench's store and one beside it, if a group of records can be moved between them.
async fn movable(b: &Bench, group: &str) -> Option<Movable> {
    b.movable().await.filter(|moved| has_room(moved, group))
}

/// Whether both stores have a place for a group.
fn has_room(moved: &Movable, group: &str) -> bool {
    [&moved.source, &moved.target].iter().all(|store| !store.lacks().contains(&group))
}

async fn all_moved(moved: &Movable, page: u32) {
    migration(&*moved.source, &*moved.target, page).run(|_| {}).await.expect("it comes to its end");
}

/// How many events of a bulk command a task's history has in a store.
async fn marks(store: &dyn Store, id: TaskId, mark: &str) -> usize {
    let history = store.task(id).await.expect("it was moved").history;
    let is_its = |reason: &Option<String>| reason.as_ref().is_some_and(|reason| reason.starts_with(mark));
    history.iter().filter(|event| is_its(&event.detail.reason)).count()
}

/// A bulk command goes on in a store that was moved where it was: by a filter or by ids, between two pages or in the middle of one. Each
/// task is changed once, and counted once. One that has ended is told as before.
pub async fn a_bulk_command_goes_on_in_a_moved_store(b: Bench) {
    let Some(moved) = movable(&b, BULK).await else { return };
    // Some tasks are gone, so that those that are there are not numbered one after the other.
    let gone = b.create_all(at(0), (0..7).map(|_| b.spec("render").queue("a")).collect()).await;
    let ids = b.create_all(at(0), (0..25).map(|_| b.spec("render").queue("a")).collect()).await;
    let others = b.create_all(at(0), (0..25).map(|_| b.spec("render").queue("c")).collect()).await;
    for task in &gone[..5] {
        b.cancel(at(1), *task).await;
        b.store().remove(crate::Remove { now: at(1), task: *task }).await.unwrap();
    }
    let store = b.store();
    let high = BulkAction::Change(to_priority(Priority::High));
    let by_filter = of_queue(1, at(5), high.clone(), "a");
    let by_ids =
        baton_model::Bulk::new(bulk_id(2), at(5), BulkAction::Cancel, BulkTasks::Ids(others.clone()));
    let ended = of_queue(3, at(5), high, "b");
    for bulk in [&by_filter, &by_ids, &ended] {
        store.create_bulk(bulk.clone()).await.unwrap();
    }
    for _ in 0..2 {
        step(&*store, by_filter.id, 5, at(6)).await.unwrap();
    }
    // Its page is begun, and one task of it done, as by a server that was killed then.
    step(&*store, by_ids.id, 4, at(6)).await.unwrap();
    let noted = store.bulk(by_ids.id).await.unwrap().unwrap();
    let begun = noted.begun(others[4..8].to_vec(), Some("8".to_owned()), false, at(6));
    assert!(store.put_bulk(begun.clone()).await.unwrap());
    let cancel = crate::Cancel { reason: Some(by_ids.note()), ..cancel(at(6), others[4]) };
    store.cancel(cancel).await.unwrap();
    let ended = finish(&*store, ended.id, 5, at(6)).await;

    all_moved(&moved, 4).await;
    let to = &*moved.store;
    assert_eq!(to.bulk(ended.id).await.unwrap(), Some(ended));
    assert_eq!(to.bulk(by_ids.id).await.unwrap(), Some(begun));
    let mut open = to.open_bulks().await.unwrap();
    open.sort();
    assert_eq!(open, [by_filter.id, by_ids.id]);
    let done = finish(to, by_filter.id, 5, at(7)).await;
    assert_eq!((done.state, done.looked_at, done.changed), (BulkState::Done, 27, 27), "{done:?}");
    let done = finish(to, by_ids.id, 4, at(60)).await;
    assert_eq!((done.state, done.looked_at, done.changed), (BulkState::Done, 25, 25), "{done:?}");
    for (ids, bulk) in [(&ids, &by_filter), (&others, &by_ids)] {
        for id in ids {
            assert_eq!(marks(to, *id, &bulk.mark()).await, 1);
        }
    }
}

/// A bulk command by a filter that was moved with a page under way, some of it done and not counted, does each task once and counts it
/// once: also where lists are in another order, so that its list tells the tasks again that it has done, and one that somebody has
/// changed back since.
pub async fn a_bulk_command_does_no_task_again_in_a_moved_store(b: Bench) {
    let Some(moved) = movable(&b, BULK).await else { return };
    let ids = b.create_all(at(0), (0..12).map(|_| b.spec("render").queue("a")).collect()).await;
    b.settle().await;
    let store = b.store();
    let bulk = of_queue(1, at(5), BulkAction::Change(to_priority(Priority::High)), "a");
    store.create_bulk(bulk.clone()).await.unwrap();
    let noted = step(&*store, bulk.id, 5, at(6)).await.unwrap();
    let mut back = None;
    for id in &ids {
        if marks(&*store, *id, &bulk.mark()).await == 1 {
            back = Some(*id);
        }
    }
    let back = back.expect("the page is done");
    let low = crate::ChangeTask {
        now: at(7),
        task: back,
        by: Some(name("ada")),
        reason: None,
        to: to_priority(Priority::Low),
        within: BTreeSet::new(),
    };
    store.change(low).await.unwrap();
    let BulkTasks::Filter(filter) = &bulk.tasks else { panic!("it is one of a filter") };
    let request = PageRequest { after: noted.after.clone().map(Cursor), ..PageRequest::first(3) };
    let page = store.tasks(filter_of(&noted, filter), request).await.unwrap();
    let listed: Vec<TaskId> = page.items.iter().map(|task| task.head.id).collect();
    let begun = noted.begun(listed.clone(), page.next.map(|next| next.0), false, at(8));
    assert!(store.put_bulk(begun.clone()).await.unwrap());
    let done = crate::ChangeTask {
        now: at(8),
        task: listed[1],
        by: begun.by.clone(),
        reason: Some(begun.note()),
        to: to_priority(Priority::High),
        within: BTreeSet::new(),
    };
    store.change(done).await.unwrap();
    // Gone, when what is left of the page is done.
    b.cancel(at(9), listed[2]).await;

    all_moved(&moved, 4).await;
    let to = &*moved.store;
    let done = finish(to, bulk.id, 5, at(60)).await;
    let skipped = done.skipped.values().sum::<u64>();
    assert_eq!((done.state, done.changed), (BulkState::Done, 11), "{done:?}");
    assert_eq!(done.looked_at, done.changed + skipped, "{done:?}");
    for id in &ids {
        let (task, times) = (to.task(*id).await.unwrap().task, marks(to, *id, &bulk.mark()).await);
        let priority = if *id == back { Priority::Low } else { Priority::High };
        match *id == listed[2] {
            true => assert_eq!(times, 0),
            false => assert_eq!((times, task.priority), (1, priority)),
        }
    }
}

async fn put(store: &dyn Store, kind: &str, name: &str, value: &str) {
    let mut changes = DocumentChanges::default();
    changes.put(kind, name, value.to_owned());
    store.change_documents(changes).await.unwrap();
}

/// Documents are moved as they are, whatever they say; what has changed in the source since a first copy is taken over.
pub async fn documents_are_moved_as_they_are(b: Bench) {
    let Some(moved) = movable(&b, NOTICES).await else { return };
    let store = b.store();
    for (kind, name, value) in
        [("alert", "a", "{}"), ("alert", "b", ""), ("waiting/x", "m 1", "☂"), ("waiting/x", "m 2", "{}")]
    {
        put(&*store, kind, name, value).await;
    }
    moved.target.import(moving(&moved, 2).await).await.expect("they are taken");
    put(&*store, "alert", "a", r#"{"firing":1}"#).await;
    put(&*store, "waiting/x", "m 3", "late").await;
    moved.target.import(moving(&moved, 3).await).await.expect("the later ones are taken");
    let again = moved.target.import(moving(&moved, 3).await).await.expect("they are known");
    assert!(again.iter().all(|verdict| *verdict == Verdict::Same), "{again:?}");
    for kind in ["alert", "waiting/x"] {
        let told = moved.store.documents(kind, None, 9).await.unwrap();
        assert_eq!(told, store.documents(kind, None, 9).await.unwrap());
    }
}

/// What the target's own server has written stays: a record that says otherwise is refused by name.
pub async fn a_document_that_was_written_in_the_target_is_refused(b: Bench) {
    let Some(moved) = movable(&b, NOTICES).await else { return };
    put(&*b.store(), "alert", "a", "{}").await;
    let all = moving(&moved, 9).await;
    moved.target.import(all.clone()).await.expect("they are taken");
    put(&*moved.store, "alert", "a", "mine").await;
    for turn in 0..2 {
        match moved.target.import(all.clone()).await {
            Err(ImportError::Refused(refusal)) => {
                assert_eq!(refusal.record, "the document a of alert");
                assert!(refusal.why.contains("it is used in the target"), "{turn}: {refusal}");
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
        put(&*b.store(), "alert", "a", "later").await;
    }
    assert_eq!(moved.store.document("alert", "a").await.unwrap().as_deref(), Some("mine"));
}

/// A document that the source has removed between two runs of a move is noticed, and gone from the target once that is copied anew; what
/// the target's own server has written stays.
pub async fn a_document_that_the_source_has_lost_is_gone_once_it_is_copied_anew(b: Bench) {
    let Some(moved) = movable(&b, NOTICES).await else { return };
    for name in ["stays", "sent"] {
        put(&*b.store(), "waiting/x", name, "{}").await;
    }
    let mut cuts = 0;
    while moved.store.document("waiting/x", "sent").await.unwrap().is_none() {
        let target = Cut::after(1 + cuts % 2, &moved.target);
        assert_err!(migration(&*moved.source, &target, 4).run(|_| {}).await, MigrationError::Target(_));
        cuts += 1;
    }
    put(&*moved.store, "waiting/x", "written here", "{}").await;
    let mut changes = DocumentChanges::default();
    changes.remove("waiting/x", "sent");
    b.store().change_documents(changes).await.unwrap();
    let run = async || migration(&*moved.source, &*moved.target, 4).run(|_| {}).await;
    let names = async || {
        let told = moved.store.documents("waiting/x", None, 9).await.unwrap();
        told.into_iter().map(|document| document.name).collect::<Vec<_>>()
    };
    for turn in 0..2 {
        let differs = run().await;
        let Err(MigrationError::Differs(outcome)) = differs else {
            panic!("expected a difference, got {differs:?}")
        };
        assert!(!outcome.groups[NOTICES].agrees(), "{turn}");
    }
    assert_eq!(names().await, ["stays", "written here"]);
    let mut changes = DocumentChanges::default();
    changes.remove("waiting/x", "written here");
    moved.store.change_documents(changes).await.unwrap();
    run().await.expect("it comes to its end");
    assert_eq!(names().await, ["stays"]);
}

/// All that the order of events tells behind a position: each position, with when it was, of which task, and what.
async fn told(store: &dyn Store, after: u64) -> Vec<(u64, Timestamp, Option<TaskId>, String)> {
    let (mut all, mut position) = (Vec::new(), after);
    loop {
        let page = store.feed(position, 5).await.unwrap();
        all.extend(
            page.items.into_iter().map(|(position, entry)| (position, entry.at, entry.task, entry.message)),
        );
        if page.up_to == position {
            return all;
        }
        position = page.up_to;
    }
}

/// Positions of events mean the same in a store that was moved, what happens there comes behind them, and its time line tells what the
/// first one told.
pub async fn the_order_of_events_goes_on_in_a_moved_store(b: Bench) {
    let Some(moved) = movable(&b, TIMELINE).await else { return };
    let store = b.store();
    let gone = b.create_all(at(0), (0..4).map(|_| b.spec("render").queue("gone")).collect()).await;
    for id in 0..9 {
        let held = b.running(at(1 + id), "w1", b.spec("render")).await;
        b.complete(at(2 + id), &held).await;
    }
    for task in &gone[..3] {
        b.cancel(at(12), *task).await;
        store.remove(crate::Remove { now: at(12), task: *task }).await.unwrap();
    }
    let (subject, message, queue) = ("gpu".to_owned(), "x".to_owned(), Some(name("gpu")));
    let fired = Happened::AlertFired { alert: name("deep"), subject, queue, message };
    store.note_happened(at(12), fired.clone()).await.unwrap();
    store.note_happened(at(12), fired).await.unwrap();
    all_moved(&moved, 3).await;
    let to = &*moved.store;
    let head = store.feed_head().await.unwrap();
    assert_eq!(to.feed_head().await.unwrap(), head);
    for after in [0, 7, head - 1] {
        assert_eq!(told(to, after).await, told(&*store, after).await);
    }
    let lines = async |store: &dyn Store| {
        let page = store.timeline(TimelineFilter::default(), PageRequest::first(200)).await.unwrap();
        page.items.into_iter().map(|entry| (entry.at, entry.task, entry.message)).collect::<Vec<_>>()
    };
    assert_eq!(lines(to).await, lines(&*store).await);
    let id = b.task_id();
    to.create(creation(at(NOW), vec![plain_spec(id, "render")])).await.unwrap();
    assert_eq!(to.feed_beyond(head).await.unwrap(), head + 1);
    let behind = told(to, head).await;
    assert_eq!((behind.len(), behind[0].0, behind[0].2), (1, head + 1, Some(id)));
}

/// Since when something is asked of a worker, who has asked and why are told as a difference, and taken over.
pub async fn who_has_asked_something_of_a_worker_goes_along(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    b.beat(beat("w1", at(1))).await;
    let ask = async |now: u64, by: &str, directive: Directive| {
        let (worker, by, reason) = (name("w1"), Some(name(by)), Some(format!("{by} says so")));
        let direct = Direct { now: at(now), worker, directive, by, reason, only_if: None };
        b.store().direct_worker(direct).await.unwrap();
    };
    let mut verdicts = Vec::new();
    for (now, by) in [(2, "ada"), (5, "bob")] {
        ask(now, by, Directive::Drain).await;
        verdicts = moved.target.import(moving(&moved, 9).await).await.expect("they are taken");
        let told = async |store: &dyn Store| store.worker(&name("w1")).await.unwrap().worker.directed;
        assert_eq!(told(&*moved.store).await, told(&*b.store()).await);
        ask(now + 1, by, Directive::Run).await;
    }
    assert!(verdicts.contains(&Verdict::Later), "{verdicts:?}");
}

/// A move that a version has begun which moved no places of tasks goes on where none are moved; else it is refused before anything is
/// copied.
pub async fn what_an_earlier_version_has_begun_goes_on_where_no_places_are_moved(b: Bench) {
    let ids = b.create_plain(at(0), 3).await;
    put(&*b.store(), "alert", "a", "{}").await;
    b.settle().await;
    for stage in [r#"{"copying":{"after":null}}"#, r#""copied""#] {
        let Some(moved) = b.movable().await else { return };
        let begun = format!(r#"{{"source":"first","stage":{stage},"copied":0}}"#);
        moved.target.set_checkpoint(begun).await.unwrap();
        let outcome = migration(&*moved.source, &*moved.target, 2).run(|_| {}).await;
        if moved.source.keeps_places() && moved.target.keeps_places() {
            assert_err!(outcome, MigrationError::BegunOtherwise);
            continue;
        }
        assert!(outcome.expect("it comes to its end").resumed);
        for id in &ids {
            assert_eq!(moved.store.task(*id).await.unwrap(), b.task(*id).await);
        }
        assert_eq!(moved.store.document("alert", "a").await.unwrap().as_deref(), Some("{}"));
    }
}

/// A target that has no place for some of it.
struct Lacking(Arc<dyn Transfer>);

#[async_trait]
impl Transfer for Lacking {
    async fn export(
        &self,
        now: Timestamp,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<Record>, StoreError> {
        self.0.export(now, after, limit).await
    }

    async fn import(&self, records: Vec<Record>) -> Result<Vec<Verdict>, ImportError> {
        for record in &records {
            assert!(!self.lacks().contains(&record.group()), "{} is left behind", record.name());
        }
        self.0.import(records).await
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[BULK, NOTICES, TIMELINE]
    }

    async fn set_counts(&self, counts: Vec<Count>) -> Result<(), StoreError> {
        self.0.set_counts(counts).await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.0.checkpoint().await
    }

    async fn set_checkpoint(&self, checkpoint: String) -> Result<(), StoreError> {
        self.0.set_checkpoint(checkpoint).await
    }
}

/// Where the target has no place for bulk commands, documents or the order of events, the migration says so before it copies anything, by
/// name and count, and moves all else.
pub async fn what_a_store_has_no_place_for_is_told_and_left_behind(b: Bench) {
    let Some(moved) = b.movable().await else { return };
    let open = of_queue(1, at(5), BulkAction::Cancel, "a");
    b.store().create_bulk(open.clone()).await.unwrap();
    b.create_plain(at(0), 3).await;
    put(&*b.store(), "alert-rule", "deep", "{}").await;
    put(&*b.store(), "waiting/ops", "m1", "{}").await;
    b.settle().await;
    let target = Lacking(Arc::clone(&moved.target));
    let mut first = None;
    let mut left = Vec::new();
    let moving = migration(&*moved.source, &target, 2);
    let outcome = moving.run(|progress| {
        first.get_or_insert_with(|| progress.clone());
        if let crate::transfer::Progress::LeftBehind(one) = progress {
            left.push(one);
        }
    });
    let outcome = outcome.await.expect("it comes to its end");
    assert!(matches!(first, Some(crate::transfer::Progress::LeftBehind(_))), "{first:?}");
    assert_eq!(outcome.left_behind, left);
    assert!(left.iter().all(|one| one.by_target && one.holding.records > 0), "{left:?}");
    let of = |group: &'static str| left.iter().filter(move |one| one.holding.group == group);
    let names: Vec<&Holding> = of(BULK).map(|one| &one.holding).collect();
    assert_eq!((names.len(), names[0].records, &names[0].names), (1, 1, &vec![open.id.to_string()]));
    let named: Vec<_> = of(NOTICES).map(|one| (one.holding.records, one.holding.names.join(" "))).collect();
    assert_eq!(named, [(1, "deep".to_owned()), (1, String::new())]);
    assert_eq!(of(TIMELINE).count() > 0, b.store().capabilities().feed);
    assert!([BULK, NOTICES, TIMELINE].iter().all(|group| !outcome.groups.contains_key(*group)));
    assert_eq!(outcome.groups["queued"].target.records, 3);
    assert!(moved.store.bulk(open.id).await.unwrap().is_none());
}
