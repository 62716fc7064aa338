//! What a round of the purge does, and what it costs.

use super::*;

/// A purge reads no task, and costs the same over an empty table and a full one, however old its tasks are; so does the reaper.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_costs_the_same_over_an_idle_table_and_a_full_one() {
    let mut costs = Vec::new();
    for tasks in [0, 600] {
        let b = Bench::open().await;
        // What there is of each kind in both: a day of each, a queue and a worker.
        b.create(0, timed(1), 30).await;
        let task = b.claimed(1).await;
        b.complete(1, &task, 30).await;
        let specs: Vec<_> =
            (0..tasks).map(|n| spec(if n % 2 == 0 { random(n) } else { timed(10 + n) }, 30)).collect();
        let ids: Vec<_> = specs.iter().map(|spec| spec.id).collect();
        b.store.create(creation(2, specs)).await.unwrap();
        for id in ids.iter().skip(tasks as usize / 3) {
            b.cancel(3, *id).await;
        }
        let mut cost = Vec::new();
        for seconds in [31 * DAY, 31 * DAY + 60, 32 * DAY] {
            b.heard.take();
            b.purge(seconds).await;
            cost.push(b.heard.take());
            let reap = Reap { watch: Watch::at(at(seconds)), limit: 100, worker: None, queue: None };
            b.store.reap(reap).await.unwrap();
            cost.push(b.heard.take());
        }
        println!("{tasks} tasks: {cost:#?}");
        let scans = |cost: &Cost| cost.times("Scan") > 0;
        assert!(!cost.iter().any(scans));
        assert!(cost[2].read <= 2.5 && cost[2].write == 0.0, "each minute: {:?}", cost[2]);
        costs.push(cost);
    }
    // Whether a day is empty is asked by the hour, and answered by its first task.
    let by_the_hour = |cost: &mut Vec<Cost>| cost.drain(..).map(|cost| cost.operations).collect::<Vec<_>>();
    let (idle, full) = (&costs[0][1..4], &costs[1][1..4]);
    assert_eq!(idle, full);
    let [idle, full] = &mut costs[..] else { panic!("two tables") };
    let (idle, full) = (by_the_hour(idle), by_the_hour(full));
    assert!(
        full.iter()
            .zip(&idle)
            .all(|(full, idle)| full.values().sum::<usize>() <= idle.values().sum::<usize>() + 8)
    );
}

/// Tasks that ended before they were dated at their end get one, each once and behind any number of UUIDv4s; then never again.
#[tokio::test(flavor = "multi_thread")]
async fn what_ended_before_it_was_dated_is_dated_once() {
    let waiting = std::env::var("BATON_TEST_WAITING").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    let b = Bench::open().await;
    let created = waiting.min(400);
    b.store.create(creation(0, (0..created).map(|n| spec(random(n), 200)).collect())).await.unwrap();
    // A debug build of the engine takes its time for each that is created.
    b.engine.copy_task((created..waiting).map(|n| TaskId::from_bytes(random(n))), at(0).as_millis()).await;
    let ended: Vec<_> = (0..60).map(|n| if n < 30 { random(waiting + n) } else { timed(n) }).collect();
    for (n, id) in ended.iter().enumerate() {
        let id = b.create(1, *id, if n % 10 == 0 { 2_000 } else { 200 }).await;
        b.cancel(2, id).await;
    }
    let (large, generation) = large_behind(&b).await;
    b.undated().await;
    let now = |hours: u64| 40 * DAY + hours * 3_600;
    b.purge(now(0)).await;
    b.heard.take();
    b.purge(now(1)).await;
    assert!(b.lying().await.iter().all(|item| ends(item).is_none()), "former programs may still be at work");

    let began = std::time::Instant::now();
    let mut rounds = 0;
    b.heard.take();
    while b.note().await.contains("\"walked\":null") {
        assert!(rounds < 1_000, "it does not come to its end");
        b.purge(now(24) + rounds * 60).await;
        rounds += 1;
    }
    let (took, cost) = (began.elapsed(), b.heard.take());
    println!("{waiting} others: 61 dated in {rounds} rounds, {took:.1?}, {cost:?}");
    assert!(!cost.times("Scan") > 0);
    // Each task is read once, at half a unit for 4 KB, and what has ended is written once; so is what the large one keeps apart,
    // over 700 KB. Besides, there are 24 partitions, and what is done by the hour.
    assert!(cost.read <= 0.2 * (waiting + 100) as f64 + 90.0 + 50.0 + 5.0 * rounds as f64, "{cost:?}");
    assert!(cost.write <= 2.0 * 61.0 + 20.0 + 800.0 + 3.0 * rounds as f64, "{cost:?}");

    // What was past its keeping by then ends at once, and what waits has no end.
    b.engine.pass(at(now(30))).await;
    let left = b.lying().await;
    assert_eq!(left.len() as u64, waiting, "those that wait");
    assert!(matches!(b.store.task(large).await, Err(StoreError::TaskNotFound(_))));
    assert!(matches!(b.store.generation(generation).await, Err(StoreError::GenerationNotFound(_))));

    b.purge(now(40)).await;
    b.heard.take();
    b.purge(now(40) + 60).await;
    let cost = b.heard.take();
    assert!(cost.read <= 2.5 && cost.write == 0.0, "never again: {cost:?}");
}

/// A walk that a clock begins which is ten years ahead goes on when the clock is right again.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_puts_no_dating_off() {
    let b = Bench::open().await;
    let id = b.create(0, timed(1), 30).await;
    b.cancel(1, id).await;
    b.undated().await;
    for days in [3_650, 1, 2] {
        b.purge(days * DAY).await;
    }
    assert!(b.lying().await.iter().all(|item| ends(item).is_some()));
}

/// A large task that is claimed before all others.
async fn large_behind(b: &Bench) -> (TaskId, GenerationId) {
    let first = TaskSpec { priority: Priority::Critical, ..spec(timed(900), 5_000) };
    let id = first.id;
    b.store.create(creation(3, vec![first])).await.unwrap();
    let task = b.claimed(4).await;
    assert_eq!(task.head.id, id);
    (id, b.complete(5, &task, 700_000).await)
}

/// When the keeping is changed, what has ended is dated anew by it: also to stay for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_dated_anew_when_the_keeping_changes() {
    let b = Bench::open().await;
    let id = b.create(0, timed(1), 5_000).await;
    b.cancel(0, id).await;
    b.purge(10).await;
    let ends_of = async |b: &Bench| b.lying().await.iter().map(ends).collect::<BTreeSet<_>>();
    let end = |days: u64| Some(1_800_000_000 + days * DAY);
    assert_eq!(ends_of(&b).await, [end(30)].into());
    let mut engine = b.engine;
    for (round, (keep, wanted)) in
        [(Some(90), end(90)), (None, None), (Some(60), end(60))].into_iter().enumerate()
    {
        let b = Bench::on(engine, keep.map(|days| Duration::from_secs(days * DAY))).await;
        let begun = (1 + 3 * round as u64) * DAY;
        b.purge(begun).await;
        for minute in 0..10 {
            b.purge(begun + DAY + minute * 60).await;
        }
        assert_eq!(ends_of(&b).await, [wanted].into(), "kept for {keep:?} days");
        engine = b.engine;
    }
}

/// What was past its keeping when it was dated is not kept for longer by a walk that comes by again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_to_go_is_left_to_go() {
    let b = Bench::open().await;
    let id = b.create(0, timed(1), 5_000).await;
    b.cancel(0, id).await;
    b.purge(10).await;
    let mut engine = b.engine;
    for (keep, day) in [(20, 100), (10, 110), (20, 120)] {
        let b = Bench::on(engine, Some(Duration::from_secs(keep * DAY))).await;
        b.purge(day * DAY).await;
        b.purge((day + 1) * DAY).await;
        let found = b.lying().await.iter().map(ends).collect::<BTreeSet<_>>();
        assert_eq!(found, [Some(1_800_000_000 + 30 * DAY)].into(), "it is past its end at {day} days");
        engine = b.engine;
    }
}

/// The counts that processes keep lose a task when the day is over on which it went.
#[tokio::test(flavor = "multi_thread")]
async fn the_counts_of_processes_lose_what_has_gone() {
    let b = Bench::open().await;
    let ids: Vec<_> = (0..5).map(|n| spec(timed(n), 30)).collect();
    b.store.create(creation(0, ids.clone())).await.unwrap();
    for spec in &ids[1..] {
        b.cancel(1, spec.id).await;
    }
    b.retry(2, ids[4].id).await;
    let states = async |seconds| {
        let stats = b.store.stats(at(seconds)).await.unwrap();
        stats.counts.iter().map(|row| row.tasks).sum::<u64>()
    };
    b.purge(3).await;
    assert_eq!(states(3).await, 5);
    b.engine.pass(at(32 * DAY)).await;
    b.purge(32 * DAY).await;
    assert_eq!(states(32 * DAY).await, 2, "one that waits, and one that waits again");
    b.purge(33 * DAY).await;
    assert_eq!(states(33 * DAY).await, 2, "once");
}

/// How far removing is behind is told by how long a probe stays.
#[tokio::test(flavor = "multi_thread")]
async fn how_far_removing_is_behind_is_told() {
    let b = Bench::open().await;
    let behind = async |seconds| b.purge(seconds).await.overdue.unwrap().longest();
    assert_eq!(behind(0).await, Duration::ZERO);
    assert_eq!(behind(600).await, Duration::from_secs(600));
    assert_eq!(behind(6 * DAY).await, Duration::from_secs(6 * DAY), "it is not removed");
    b.engine.pass(at(6 * DAY)).await;
    assert_eq!(behind(6 * DAY + 60).await, Duration::from_secs(60));
    // Where nothing is ever removed, no more is laid out for ever.
    let probes = async || {
        let items = b.engine.items().await;
        items.iter().filter(|item| item["sk"].as_s().unwrap().starts_with("probe#")).count()
    };
    assert_eq!(behind(36 * DAY).await, Duration::from_secs(30 * DAY));
    let laid = probes().await;
    behind(400 * DAY).await;
    assert_eq!(probes().await, laid);
}
