//! What has ended goes, whole, and nothing else does.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_task_goes_with_all_that_belongs_to_it() {
    let b = Bench::open().await;
    let (id, generation) = large(&b, 1).await;
    let failed = b.create(30, timed(2), 5_000).await;
    let task = b.claimed(31).await;
    b.fail(31, &task, 2_000, false).await;
    let items = b.lying().await;
    assert!(items.len() >= 10, "{}", items.len());
    assert!(items.iter().all(|item| ends(item).is_some()), "each has its end");

    b.engine.pass(at(20 + 30 * DAY)).await;
    assert_eq!(b.store.task(id).await.unwrap().history.len(), 27, "it is kept for its time");
    b.engine.pass(at(40 + 30 * DAY)).await;
    assert_eq!(b.lying().await.len(), 0);
    for id in [id, failed] {
        assert!(matches!(b.store.task(id).await, Err(StoreError::TaskNotFound(_))));
    }
    let gone = b.store.generation(generation).await;
    assert!(matches!(gone, Err(StoreError::GenerationNotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_takes_the_end_off_all_that_belongs_to_the_task() {
    let b = Bench::open().await;
    let id = b.create(0, timed(1), 5_000).await;
    for round in 0..12 {
        let task = b.claimed(round).await;
        b.fail(round, &task, 700, round < 11).await;
    }
    assert!(b.lying().await.iter().all(|item| ends(item).is_some()));
    b.retry(DAY, id).await;
    assert!(b.lying().await.iter().all(|item| ends(item).is_none()), "what lives has no end");
    b.engine.pass(at(1_000 * DAY)).await;
    let detail = b.store.task(id).await.unwrap();
    assert_eq!((detail.task.params, detail.history.len()), (text(5_000), 26));

    b.cancel(1_000 * DAY, id).await;
    assert!(b.lying().await.iter().all(|item| ends(item).is_some()));
    b.engine.pass(at(1_031 * DAY)).await;
    assert_eq!(b.lying().await.len(), 0);
}

/// A walk dates what is apart before the task, and may be cut off in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_takes_the_end_off_what_is_apart_though_the_task_has_none() {
    let b = Bench::open().await;
    let id = b.create(0, timed(1), 5_000).await;
    b.cancel(1, id).await;
    let task = b.lying().await.into_iter().find(|item| letter(item) == 'T').unwrap();
    b.strip(&task, "xp").await;
    assert_eq!(b.lying().await.iter().filter(|item| ends(item).is_some()).count(), 1, "the params");
    b.retry(2, id).await;
    assert!(b.lying().await.iter().all(|item| ends(item).is_none()), "what lives has no end");
}

/// A task of which something has gone already does not live again without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_a_task_that_has_gone_in_part_is_of_one_that_is_gone() {
    for first in 0..4 {
        let b = Bench::open().await;
        let id = b.create(0, timed(1), 5_000).await;
        for round in 0..12 {
            let task = b.claimed(round).await;
            b.fail(round, &task, 700, round < 11).await;
        }
        let parts: Vec<_> = b.lying().await.into_iter().filter(|item| letter(item) == 'P').collect();
        assert!(parts.len() > 4);
        let key = parts[first * 3]["sk"].clone();
        b.engine.remove_ended(at(31 * DAY), |item| item["sk"] == key).await;
        let (by, reason, delay) = (None, None, Duration::ZERO);
        let retry = Retry { now: at(31 * DAY), task: id, by, reason, delay, with_dependants: false };
        let error = b.store.retry(retry).await.unwrap_err();
        assert!(matches!(error, StoreError::TaskNotFound(_)), "{key:?}: {error:?}");
    }
}

/// Whatever is removed first, a task is told with its generation and all that belongs to them, or not at all; and nothing
/// fails.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_in_part_while_it_goes() {
    for first in 0.. {
        let b = Bench::open().await;
        let (id, generation) = large(&b, 1).await;
        let items = b.lying().await;
        let Some(item) = items.get(first) else {
            assert!(first >= 8, "{first} items");
            return;
        };
        let delete = b.engine.client.delete_item().table_name(&b.engine.table);
        delete.key("pk", item["pk"].clone()).key("sk", item["sk"].clone()).send().await.unwrap();

        let what = format!("without {:?}", item["sk"]);
        let task = b.store.task(id).await;
        let of_task = letter(item) == 'T' || item["pk"].as_s().unwrap().contains(&id.to_string());
        assert!(matches!(task, Err(StoreError::TaskNotFound(_))), "{what}: {task:?}");
        if letter(item) == 'T' || !of_task {
            let found = b.store.generation(generation).await;
            assert!(matches!(found, Err(StoreError::GenerationNotFound(_))), "{what}: {found:?}");
        }
        let filter = TaskFilter { now: at(100), ..TaskFilter::default() };
        b.store.tasks(filter, PageRequest::first(10)).await.expect(&what);
        b.store.generations(GenerationFilter::default(), PageRequest::first(10)).await.expect(&what);
        let mut after = None;
        loop {
            let page = b.store.export(at(100), after, 100).await.expect(&what);
            assert!(!page.items.iter().any(|record| matches!(record, Record::Task(_))), "{what}");
            match page.next {
                None => break,
                next => after = next,
            }
        }
    }
}

/// A law: over any history, cut and repeated requests included, what lives has no end, nor has what is kept for others, and what
/// else has ended has one.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_lives_has_an_end_whatever_fails() {
    for seed in seeds(1) {
        println!("BATON_SEED={seed}");
        let engine = Engine::start().await;
        let (store, faults) = engine.failing(seed, 6, Options::seeded(seed)).await;
        faults.switch(true);
        run(Arc::new(store), seed, Load::default(), || faults.switch(false)).await;
        let items = engine.items().await;
        let mut living = BTreeSet::new();
        for task in items.iter().filter(|item| letter(item) == 'T' && item.contains_key("st")) {
            let final_state = ["2", "3", "4"].contains(&task["st"].as_n().unwrap().as_str());
            let kept = task.contains_key("dd");
            assert_eq!(ends(task).is_some(), final_state && !kept, "{task:?}");
            if !final_state || kept {
                living.insert(format!("P#{}", task["sk"].as_s().unwrap()));
            }
        }
        let generations: Vec<_> = items.iter().filter(|item| letter(item) == 'G').collect();
        assert!(!generations.is_empty());
        for generation in generations {
            let of = |item: &&Item| letter(item) == 'T' && item["sk"] == generation["tk"];
            assert_eq!(
                items.iter().find(of).map(ends),
                Some(ends(generation)),
                "they end at the same second"
            );
        }
        let parts: Vec<_> = items.iter().filter(|item| letter(item) == 'P').collect();
        assert!(parts.len() > 3, "some have something apart: {}", parts.len());
        let lives = |item: &&&Item| living.contains(item["pk"].as_s().unwrap());
        assert!(parts.iter().filter(lives).all(|item| ends(item).is_none()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_is_sent_again_leaves_the_end_of_what_is_apart() {
    let b = Bench::open().await;
    let id = b.create(0, timed(1), 5_000).await;
    b.cancel(1, id).await;
    let before = b.lying().await.iter().map(ends).collect::<Vec<_>>();
    assert!(before.iter().all(Option::is_some));
    let again = b.store.create(creation(2, vec![spec(timed(1), 5_000)])).await.unwrap();
    assert!(!again.items[0].as_ref().unwrap().new);
    assert_eq!(b.lying().await.iter().map(ends).collect::<Vec<_>>(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_is_forgotten_after_its_time_though_it_is_still_there() {
    let b = Bench::open().await;
    for size in [1, 120] {
        let send = async |hours: u64, number: u64| {
            let tasks: Vec<_> =
                (0..size).map(|n| TaskSpec { id_chosen: false, ..spec(timed(number + n), 30) }).collect();
            let fingerprint = spec(timed(1), 30).fingerprint();
            let idempotency = Some(Idempotency { key: format!("k{size}"), fingerprint });
            let create = Create { idempotency, ..creation(hours * 3_600, tasks) };
            b.store.create(create).await.unwrap().replayed
        };
        assert_eq!(
            [send(0, size * 1_000).await, send(24, size * 2_000).await, send(25, size * 3_000).await],
            [false, true, false],
            "{size} tasks"
        );
        assert!(send(26, size * 4_000).await, "it is remembered anew");
    }
}

/// A removal by the table itself brings no event and leaves the counts of the stream exact.
#[tokio::test(flavor = "multi_thread")]
async fn the_stream_counts_what_goes_by_itself_and_tells_no_event_of_it() {
    let (engine, mut stream) = Engine::with_stream(KeptBy::Stream).await;
    let b = Bench::on(engine, Some(Duration::from_secs(30 * DAY))).await;
    large(&b, 1).await;
    let waits = b.create(30, timed(2), 30).await;
    let records = |stream: &mut crate::engine::Stream| -> Vec<_> {
        stream.read().into_iter().map(|(_, record)| record).collect()
    };
    assert!(b.store.count(&records(&mut stream)).await.failed.is_none());
    b.engine.pass(at(31 * DAY)).await;
    let removals = records(&mut stream);
    assert!(removals.iter().any(|record| record.contains("dynamodb.amazonaws.com")), "{removals:?}");
    for record in &removals {
        assert_eq!(b.store.events_of(record).await.unwrap(), []);
    }
    assert!(b.store.count(&removals).await.failed.is_none());
    let stats = b.store.stats(at(31 * DAY)).await.unwrap();
    assert_eq!(stats.counts.iter().map(|row| row.tasks).sum::<u64>(), 1);
    assert_eq!(b.store.task(waits).await.unwrap().task.head.id, waits);
}

/// A task is not completed anew, nor is the store damaged, where its generation has gone before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_completion_sent_again_after_its_generation_went_is_of_a_task_that_is_gone() {
    let b = Bench::open().await;
    b.create(0, timed(1), 30).await;
    let task = b.claimed(1).await;
    b.complete(1, &task, 30).await;
    b.engine.remove_ended(at(31 * DAY), |item| letter(item) == 'G').await;
    let again = Complete {
        caller: baton_model::Bounds::default(),
        now: at(31 * DAY),
        task: task.head.id,
        fence: Fence { attempt: 1, worker: "w1".parse().unwrap() },
        generation: GenerationId::from_bytes(timed(77)),
        output: Output { result: Some(text(30)), ..Output::default() },
        ran: None,
    };
    let error = b.store.complete(again, None).await.unwrap_err();
    assert!(matches!(error, StoreError::TaskNotFound(_)), "{error:?}");
    assert_ne!(error.kind(), ErrorKind::Internal);
}

/// What is moved here onto what has gone in part is whole again, and has no end before a walk comes by.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_moved_onto_what_is_left_of_it_is_whole() {
    for gone in ['T', 'G', 'P'] {
        let b = Bench::open().await;
        let (id, generation) = large(&b, 1).await;
        let mut after = None;
        let record = loop {
            let page = b.store.export(at(100), after, 100).await.unwrap();
            let task = page.items.into_iter().find(|record| matches!(record, Record::Task(_)));
            match task {
                Some(record) => break record,
                None => after = Some(page.next.unwrap()),
            }
        };
        let whole = b.store.task(id).await.unwrap();
        b.engine.remove_ended(at(31 * DAY), |item| letter(item) == gone).await;
        b.store.import(vec![record]).await.unwrap();
        assert_eq!(b.store.task(id).await.unwrap(), whole, "without {gone}");
        // Archives that the new ones took the place of go all the same.
        let gone_then = b.engine.pass(at(400 * DAY)).await;
        assert!(!gone_then.contains_key(&'T') && !gone_then.contains_key(&'G'), "{gone_then:?}");
        assert_eq!(b.store.task(id).await.unwrap(), whole, "without {gone}");
        assert_eq!(b.store.generation(generation).await.ok(), whole.generation, "without {gone}");
    }
}
