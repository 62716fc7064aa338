//! What versions 10 to 17 brought, in files of theirs: it is there, and goes on; and what files of before take of it.

use std::time::Duration;

use baton_model::{Happened, Particulars, Priority, ProjectId, Source, State, Unsaid};
use baton_store::{DocumentChanges, DocumentStore};

use super::files::*;
use super::*;

#[tokio::test]
async fn a_supply_of_version_10_refills_its_queue_from_its_index_on() {
    let (_folder, store) = opened(10);
    let queue: QueueName = "stock".parse().unwrap();
    let supply = store.supply(&queue).await.unwrap();
    assert_eq!((supply.next_index, supply.revision, supply.refilled_at), (7, 4, Some(millis(1_000))));
    assert_eq!((supply.plan.min, supply.plan.target, supply.plan.templates.len()), (2, 3, 1));
    let refilled = store.refill(Refill { now: millis(10_000), queue: queue.clone() }).await.unwrap();
    assert_eq!(refilled, Refilled::Created { tasks: 2, more: false });
    assert_eq!(store.supply(&queue).await.unwrap().next_index, 9);
    let claim = claim_of("stock", "w9", 10_000);
    let ClaimAnswer::Leased(tasks) = store.claim(claim).await.unwrap() else { panic!("expected tasks") };
    let mut params: Vec<_> = tasks.iter().map(|task| task.params.as_str()).collect();
    params.sort_unstable();
    assert_eq!(params, [r#"{"n":"6"}"#, r#"{"n":"7"}"#, r#"{"n":"8"}"#]);
}

#[tokio::test]
async fn defaults_of_version_11_are_given_its_batches_count_and_its_tasks_go_when_they_were_to() {
    let (_folder, store) = opened(11);
    let film: ProjectId = "film".parse().unwrap();
    let spec = TaskSpec {
        project: film,
        queue: "given".parse().unwrap(),
        unsaid: Unsaid::BOTH,
        ..TaskSpec::new(nth(21), "render".parse().unwrap())
    };
    let create = Create { now: millis(10_000), tasks: vec![spec], atomic: true, idempotency: None, by: None };
    store.create(create).await.unwrap();
    let task = store.task(nth(21)).await.unwrap().task;
    assert_eq!((task.head.max_attempts, task.priority), (7, Priority::Low));
    assert_eq!(
        (task.head.timeout, task.retention),
        (Some(Duration::from_secs(90)), Some(Duration::from_secs(3_600)))
    );
    assert_eq!(task.head.backoff.factor, 3.0);

    let id: BatchId = nth_text("d1").parse().unwrap();
    let told = store.batch(id).await.unwrap();
    assert_eq!((told.blocked, told.queued, told.running, told.batch.counts.tasks), (0, 1, 1, 3));
    assert_eq!((told.failures[0].task, told.batch.made), (nth(11), None));
    store.complete(completion(12, "w1", 10_000), None).await.unwrap();
    let cancel =
        Cancel { now: millis(11_000), task: nth(13), by: None, reason: None, with_dependants: false };
    store.cancel(cancel).await.unwrap();
    let batch = store.batch(id).await.unwrap().batch;
    let counts = batch.counts;
    assert_eq!((counts.tasks, counts.completed, counts.failed, counts.cancelled), (3, 1, 1, 1));
    assert_eq!(batch.ended_at, Some(millis(11_000)));
    let follows = store.task(batch.made.unwrap().task).await.unwrap().task;
    assert_eq!((follows.task_type.as_str(), follows.head.state), ("join", TaskState::Queued));

    for (now, gone) in [(3_603_000, false), (3_605_000, true)] {
        let report = store.purge(Purge::at(millis(now))).await.unwrap();
        assert_eq!(report.tasks, u64::from(gone), "at {now}");
    }
    assert!(matches!(store.task(nth(14)).await, Err(StoreError::TaskNotFound(_))));
}

#[tokio::test]
async fn generations_of_version_12_name_their_files() {
    let (_folder, store) = opened(12);
    let generation = store.generation(nth_text("63").parse().unwrap()).await.unwrap();
    let file = OutputFile {
        path: "tasks/3/a.png".to_owned(),
        size: 812,
        sha256: "00".repeat(32),
        content_type: "image/png".to_owned(),
    };
    assert_eq!((generation.task, generation.output.files), (nth(3), vec![file]));
}

#[tokio::test]
async fn events_of_before_version_13_have_no_place_in_the_order_of_all_and_are_told_by_task() {
    let (_folder, store) = opened(12);
    assert_eq!((store.feed_head().await.unwrap(), store.feed(0, 9).await.unwrap().items.len()), (0, 0));
    assert_eq!(leased(&store, claim_of("default", "w9", 10_000)).await, [nth(1)]);
    assert_eq!(store.feed_head().await.unwrap(), 1);
    let told = async |filter| store.timeline(filter, PageRequest::first(9)).await.unwrap().items;
    let all = told(TimelineFilter { events_only: true, ..TimelineFilter::default() }).await;
    assert_eq!(all.iter().map(|entry| entry.task).collect::<Vec<_>>(), [Some(nth(1))]);
    let of_task = told(TimelineFilter { task: Some(nth(1)), ..TimelineFilter::default() }).await;
    assert_eq!(of_task.len(), 2, "created before, and claimed since");
}

#[tokio::test]
async fn the_order_of_events_of_version_13_goes_on_and_its_time_line_tells_all() {
    let (_folder, store) = opened(13);
    assert_eq!(leased(&store, claim_of("default", "w9", 10_000)).await, [nth(1)]);
    let feed = store.feed(0, 99).await.unwrap().items;
    let positions: Vec<_> = feed.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, (1..=12).collect::<Vec<_>>());
    let tasks: Vec<_> = feed.iter().filter_map(|(_, entry)| entry.task).collect();
    assert_eq!(tasks, [1, 2, 3, 4, 5, 2, 3, 4, 3, 4, 5, 1].map(nth));

    let page = store.timeline(TimelineFilter::default(), PageRequest::first(99)).await.unwrap();
    let told: Vec<_> = page
        .items
        .into_iter()
        .filter_map(|entry| match entry.particulars {
            Particulars::Happened(happened) => Some((entry.at, *happened)),
            _ => None,
        })
        .collect();
    let (worker, lost): (baton_model::WorkerId, _) = ("w1".parse().unwrap(), "w9".parse().unwrap());
    let session = Some(nth_text("51").parse().unwrap());
    let expected = [
        (millis(4_000), Happened::WorkerLost { worker: lost, tasks: 2, reason: LossReason::HeartbeatMissed }),
        (millis(1_000), Happened::WorkerStarted { worker, session }),
        (millis(500), Happened::ServerStarted { version: "0.1.0".to_owned() }),
    ];
    let of_file: Vec<_> = told.into_iter().filter(|(at, _)| *at < millis(10_000)).collect();
    assert_eq!(of_file, expected);
}

#[tokio::test]
async fn documents_of_version_14_are_kept_and_replaced_by_what_was_read_of_them() {
    let (_folder, store) = opened(14);
    let names = store.documents("alert", None, 9).await.unwrap();
    assert_eq!(names.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["slow"]);
    let standing = store.document("alert/standing", "slow").await.unwrap();
    assert_eq!(standing.as_deref(), Some(r#"{"since":"1970-01-01T00:00:04Z"}"#));
    assert_eq!(store.count_documents("webhook").await.unwrap(), 1);
    let mut changes = DocumentChanges::default();
    changes.replace("alert/standing", "slow", standing, "{}".to_owned());
    assert!(store.change_documents(changes).await.unwrap());
    assert_eq!(store.document("alert/standing", "slow").await.unwrap().as_deref(), Some("{}"));
}

#[tokio::test]
async fn a_file_of_before_version_15_takes_settings() {
    let (folder, store) = opened(14);
    assert!(store.settings().await.unwrap().is_none());
    let said = Said { now: millis(3), by: None, reason: None };
    let set = SetSetting { key: "log.level".to_owned(), to: Some("debug".to_owned()), said };
    let set = store.set_setting(set).await.unwrap().to;
    drop(store);
    assert_eq!(open(&at(&folder)).settings().await.unwrap(), set);
}

#[tokio::test]
async fn settings_of_version_15_hold_with_their_history() {
    let (_folder, store) = opened(15);
    let settings = store.settings().await.unwrap();
    let level = &settings.values["log.level"];
    assert_eq!((level.value.as_str(), level.set_at), ("debug", millis(3_000)));
    assert_eq!(
        (level.set_by.clone(), level.reason.as_deref()),
        (Some("ada".parse().unwrap()), Some("a closer look"))
    );
    let steps: Vec<_> =
        settings.history.iter().map(|past| (past.from.as_deref(), past.to.as_deref())).collect();
    assert_eq!(steps, [(None, Some("warn")), (Some("warn"), Some("debug"))]);
    let said = Said { now: millis(10_000), by: None, reason: None };
    let unset = SetSetting { key: "log.level".to_owned(), to: None, said };
    let to = store.set_setting(unset).await.unwrap().to;
    assert_eq!((to.version, to.values.len(), to.history.len()), (3, 0, 3));
}

#[tokio::test]
async fn tasks_of_before_version_16_have_no_trace_and_later_ones_may() {
    let (_folder, store) = opened(15);
    let trace: Option<baton_model::Trace> =
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 a=1".parse().unwrap());
    let new = TaskSpec { trace: trace.clone(), ..TaskSpec::new(nth(21), "render".parse().unwrap()) };
    let create = Create { now: millis(9_000), tasks: vec![new], atomic: true, idempotency: None, by: None };
    store.create(create).await.unwrap();
    let claim = claim_of("default", "w9", 10_000);
    let ClaimAnswer::Leased(tasks) = store.claim(claim).await.unwrap() else { panic!("expected tasks") };
    let told: Vec<_> = tasks.into_iter().map(|task| (task.head.id, task.trace)).collect();
    assert_eq!(told, [(nth(1), None), (nth(21), trace)]);
}

#[tokio::test]
async fn a_task_of_version_16_is_given_out_with_its_trace() {
    let (_folder, store) = opened(16);
    let claim = claim_of("traced", "w9", 10_000);
    let ClaimAnswer::Leased(tasks) = store.claim(claim).await.unwrap() else { panic!("expected tasks") };
    let trace = tasks[0].trace.as_ref().map(ToString::to_string);
    assert_eq!(trace.as_deref(), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 vendor=1"));
    assert_eq!(store.feed_head().await.unwrap(), 13);
    assert_eq!(state(&store, 11).await, State::Running);
}

#[tokio::test]
async fn of_what_was_asked_of_a_worker_before_version_17_it_is_not_known_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    of_version(&at(&folder), 16);
    Connection::open(at(&folder)).unwrap().execute("UPDATE worker SET directive = 1", []).unwrap();
    let store = open(&at(&folder));
    let known = store.worker(&"w1".parse().unwrap()).await.unwrap().worker;
    assert_eq!((known.directive, known.directed), (Directive::Drain, None));
    let stop = Direct {
        now: millis(3),
        worker: "w1".parse().unwrap(),
        directive: Directive::Stop,
        by: Some("ada".parse().unwrap()),
        reason: None,
        only_if: None,
    };
    let directed = store.direct_worker(stop).await.unwrap().worker.directed;
    let expected = Directed { since: millis(3), by: Some("ada".parse().unwrap()), reason: None };
    assert_eq!(directed.as_ref(), Some(&expected));
    drop(store);
    let store = open(&at(&folder));
    assert_eq!(store.worker(&"w1".parse().unwrap()).await.unwrap().worker.directed, Some(expected));
}

#[tokio::test]
async fn who_has_directed_a_worker_in_version_17_is_kept_and_a_task_tells_who_has_called_it_off() {
    let (_folder, store) = opened(17);
    let worker: baton_model::WorkerId = "w1".parse().unwrap();
    let known = store.worker(&worker).await.unwrap().worker;
    let (by, reason) = (Some("ada".parse().unwrap()), Some("a new driver".to_owned()));
    assert_eq!(
        (known.directive, known.directed),
        (Directive::Drain, Some(Directed { since: millis(4_000), by, reason }))
    );
    let nothing = store.claim(claim_of("default", "w1", 10_000)).await.unwrap();
    assert_eq!(nothing, ClaimAnswer::Nothing(Nothing::Directed { directive: Directive::Drain }));
    let run = Direct {
        now: millis(11_000),
        worker,
        directive: Directive::Run,
        by: None,
        reason: None,
        only_if: None,
    };
    assert_eq!(store.direct_worker(run).await.unwrap().worker.directed, None);
    assert_eq!(leased(&store, claim_of("default", "w1", 12_000)).await, [nth(1)]);

    let filter = TimelineFilter { task: Some(nth(5)), ..TimelineFilter::default() };
    let entries = store.timeline(filter, PageRequest::first(9)).await.unwrap().items;
    let asked: Vec<_> = entries.iter().filter(|entry| entry.source == Source::Audit).collect();
    assert_eq!((entries.len(), asked.len(), asked[0].at), (3, 1, millis(4_000)));
}
