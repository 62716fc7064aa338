//! A small file of each earlier version, as text in `files/`: what every version wrote alike, and what that version brought.
//!
//! `common.sql` has the tasks that are in every file, and `common-from-NN.sql` what versions from NN on wrote besides of them;
//! `version-NN.sql` has rows that use what version NN brought. All were written as the programs of that time wrote them: a file is never
//! changed to fit a later program. The tables are made by the steps of the schema up to that version, which are never edited either
//! (`steps.rs`). A new version needs a file of the one before it.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_model::{EventKind, Fingerprint, State, WorkerId};
use baton_store::{Idempotency, Retry};
use rusqlite::types::Value;

use super::*;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a file of a version is made of.
fn parts(version: usize) -> Vec<String> {
    let mut parts: Vec<String> = (1..=version).map(|step| format!("src/{}", steps::name(step))).collect();
    for (from, name) in [(1, "common.sql"), (3, "common-from-03.sql"), (13, "common-from-13.sql")] {
        if from <= version {
            parts.push(format!("tests/upgrade/files/{name}"));
        }
    }
    parts.push(format!("tests/upgrade/files/version-{version:02}.sql"));
    parts
}

/// Makes a file of a version.
pub(super) fn of_version(path: &Path, version: usize) {
    let db = Connection::open(path).unwrap();
    // In one transaction: each by itself, a hundred statements wait for the disk a hundred times.
    db.execute_batch("BEGIN").unwrap();
    for part in parts(version) {
        db.execute_batch(&text(&part)).unwrap_or_else(|error| panic!("{part}: {error}"));
    }
    let marks = format!("PRAGMA user_version = {version}; PRAGMA application_id = 0x4261746e; COMMIT");
    db.execute_batch(&marks).unwrap();
}

/// A file of a version, opened.
pub(super) fn opened(version: usize) -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    of_version(&at(&folder), version);
    let store = open(&at(&folder));
    (folder, store)
}

/// The text of the id of the nth thing in the files: of a task up to 20 by its number.
pub(super) fn nth_text(n: &str) -> String {
    format!("00000000-03e8-7000-8000-{n:0>12}")
}

/// The id of the nth task of the files.
pub(super) fn nth(n: u8) -> TaskId {
    nth_text(&n.to_string()).parse().unwrap()
}

/// A claim of up to nine tasks of a queue.
pub(super) fn claim_of(queue: &str, worker: &str, now: i64) -> Claim {
    Claim {
        queues: vec![queue.parse().unwrap()],
        max_tasks: 9,
        cap: 9,
        ..Claim::new(worker.parse().unwrap(), millis(now))
    }
}

/// Which tasks a claim is given; none if it is given nothing.
pub(super) async fn leased(store: &SqliteStore, claim: Claim) -> Vec<TaskId> {
    match store.claim(claim).await.unwrap() {
        ClaimAnswer::Leased(tasks) => tasks.iter().map(|task| task.head.id).collect(),
        ClaimAnswer::Nothing(_) => Vec::new(),
    }
}

/// Completes the first attempt of the nth task.
pub(super) fn completion(n: u8, worker: &str, now: i64) -> Complete {
    Complete {
        caller: baton_model::Bounds::default(),
        now: millis(now),
        task: nth(n),
        fence: Fence { attempt: 1, worker: worker.parse().unwrap() },
        generation: GenerationId::from_bytes([n; 16]),
        output: Output::default(),
        ran: None,
    }
}

/// The state of the nth task.
pub(super) async fn state(store: &SqliteStore, n: u8) -> State {
    store.task(nth(n)).await.unwrap().task.head.state.state()
}

/// What has happened to the nth task.
pub(super) async fn kinds(store: &SqliteStore, n: u8) -> Vec<EventKind> {
    store.task(nth(n)).await.unwrap().history.iter().map(|event| event.kind).collect()
}

/// The columns of each table.
type Columns = BTreeMap<String, Vec<String>>;

fn columns(path: &Path) -> Columns {
    let db = Connection::open(path).unwrap();
    let sql = "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'";
    let mut statement = db.prepare(sql).unwrap();
    let mut found = Columns::new();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        found.entry(row.get(0).unwrap()).or_default().push(row.get(1).unwrap());
    }
    found
}

/// All rows of these tables, by these columns alone, as text.
fn rows(path: &Path, columns: &Columns) -> BTreeMap<String, Vec<String>> {
    let db = Connection::open(path).unwrap();
    let mut found = BTreeMap::new();
    for (table, columns) in columns {
        let sql = format!("SELECT \"{}\" FROM \"{table}\"", columns.join("\", \""));
        let mut statement = db.prepare(&sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut texts = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let cell = |(at, column): (usize, &String)| {
                let value: Value = row.get(at).unwrap();
                format!("{column} {value:?}")
            };
            texts.push(columns.iter().enumerate().map(cell).collect::<Vec<_>>().join(", "));
        }
        texts.sort();
        found.insert(table.clone(), texts);
    }
    found
}

/// Looks at all that every file has; writes nothing.
async fn has_what_all_have(store: &SqliteStore, version: usize) {
    use EventKind::{AttemptFailed, Cancelled, Claimed, Completed, Created};
    let expected = [
        (State::Queued, vec![Created]),
        (State::Running, vec![Created, Claimed]),
        (State::Completed, vec![Created, Claimed, Completed]),
        (State::Failed, vec![Created, Claimed, AttemptFailed]),
        (State::Cancelled, vec![Created, Cancelled]),
    ];
    for (n, expected) in (1..).zip(expected) {
        assert_eq!((state(store, n).await, kinds(store, n).await), expected, "task {n} of version {version}");
    }
    let task = async |n| store.task(nth(n)).await.unwrap();

    let running = task(2).await;
    let TaskState::Running(lease) = &running.task.head.state else {
        panic!("expected it to run: {running:?}")
    };
    assert_eq!((lease.claimed_at, lease.timeout_at), (millis(2_000), Some(millis(602_000))));
    assert_eq!(lease.request.as_ref().map(ToString::to_string).as_deref(), Some("r-2"));
    assert_eq!(running.history[1].detail.session, lease.session);

    let made = task(3).await.generation.unwrap();
    assert_eq!((made.started_at, made.finished_at), (millis(2_000), millis(3_000)));
    assert_eq!(made.ran, (version >= 3).then_some(Duration::from_millis(900)));
    assert_eq!(made.output.location.as_deref(), Some("scenes/3.png"));
    assert_eq!(made.output.result.as_ref().map(|result| result.as_str()), Some("[1,2.50]"));

    let failure = task(4).await.task.error.unwrap();
    assert_eq!((failure.message.as_str(), failure.code.as_deref()), ("no such scene", Some("E_SCENE")));

    let cancelled = task(5).await;
    let told = &cancelled.task;
    assert_eq!(
        (told.params.as_str(), told.description.as_deref()),
        (r#"{"scene":5}"#, Some("the last scene"))
    );
    assert_eq!((told.head.max_attempts, told.head.timeout), (9, Some(Duration::from_secs(60))));
    assert_eq!((told.drift_score, told.head.backoff.factor), (Some(0.25), 3.0));
    assert_eq!((told.finished_at, told.head.worker_losses), (Some(millis(4_000)), 0));
    assert_eq!(cancelled.history[1].detail.reason.as_deref(), Some("cut"));

    let worker = store.worker(&"w1".parse().unwrap()).await.unwrap();
    assert!(worker.leases.contains(&(nth(2), 1)), "{worker:?}");
    let worker = worker.worker;
    assert_eq!((worker.capacity, worker.readings["vram_used_mb"]), (Some(2), 812.5));
    assert_eq!((worker.beats, worker.last_beat_at), (u64::from(version >= 3), Some(millis(1_500))));

    let of_task = LogFilter { task: Some(nth(2)), ..LogFilter::default() };
    let lines = store.logs(of_task, PageRequest::first(9)).await.unwrap().items;
    let told: Vec<_> = lines.iter().map(|line| (line.message.as_str(), line.received_at)).collect();
    assert_eq!(told, [("half way", millis(2_500))]);

    let queue = store.queue(&QueueName::default(), millis(4_000)).await.unwrap();
    assert_eq!((queue.queued, queue.running, queue.used, queue.pause), (1, 1, true, None));
}

/// Goes on with what every file has.
async fn goes_on(store: &SqliteStore, version: usize) {
    let create = Create {
        now: millis(10_000),
        tasks: vec![TaskSpec::new(nth(99), "render".parse().unwrap())],
        atomic: true,
        idempotency: Some(Idempotency { key: "key-1".to_owned(), fingerprint: Fingerprint::of(&["same"]) }),
        by: None,
    };
    let again = store.create(create).await.unwrap();
    assert!(again.replayed, "version {version}");
    assert_eq!(again.items[0].as_ref().unwrap().id, nth(1));

    assert_eq!(leased(store, claim_of("default", "w9", 10_000)).await, [nth(1)], "version {version}");
    let completed = store.complete(completion(2, "w1", 10_000), None).await.unwrap();
    assert_eq!((completed.generation.task, completed.repeated), (nth(2), false));
    let retry = Retry {
        now: millis(10_000),
        task: nth(4),
        by: None,
        reason: None,
        delay: Duration::ZERO,
        with_dependants: false,
    };
    store.retry(retry).await.unwrap();
    let states = [state(store, 1).await, state(store, 2).await, state(store, 4).await];
    assert_eq!(states, [State::Running, State::Completed, State::Queued], "version {version}");
    let queue = store.queue(&QueueName::default(), millis(10_000)).await.unwrap();
    assert_eq!((queue.queued, queue.running), (1, 1), "version {version}");
}

#[tokio::test]
async fn a_file_of_each_earlier_version_opens_with_every_row_as_it_was_and_goes_on() {
    for version in 1..steps::STEPS.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(&folder);
        of_version(&path, version);
        let mut columns = columns(&path);
        if version < 3 {
            // Those that the third step writes anew, which tests of their own look at.
            for (table, column) in [("worker", "superseded"), ("log", "k")] {
                columns.get_mut(table).unwrap().retain(|name| name != column);
            }
        }
        let before = rows(&path, &columns);
        for _ in 0..2 {
            let store = open(&path);
            has_what_all_have(&store, version).await;
            drop(store);
            assert_eq!(rows(&path, &columns), before, "version {version}");
        }
        goes_on(&open(&path), version).await;
        goes_on_once_more(&open(&path), version).await;
    }
}

/// What was done is there after a restart, too.
async fn goes_on_once_more(store: &SqliteStore, version: usize) {
    let worker: WorkerId = "w9".parse().unwrap();
    let known = store.worker(&worker).await.unwrap();
    assert_eq!(known.leases, [(nth(1), 1)], "version {version}");
    assert_eq!(kinds(store, 4).await.len(), 4, "version {version}");
}

#[test]
fn what_an_upgraded_file_is_made_of_is_what_a_new_one_is_made_of() {
    let schema = |path: &Path| {
        let db = Connection::open(path).unwrap();
        let sql =
            "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY type, name";
        let mut statement = db.prepare(sql).unwrap();
        let found = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        found.collect::<rusqlite::Result<Vec<_>>>().unwrap()
    };
    let new = tempfile::tempdir().unwrap();
    drop(open(&at(&new)));
    for version in 1..steps::STEPS.len() {
        let folder = tempfile::tempdir().unwrap();
        of_version(&at(&folder), version);
        drop(open(&at(&folder)));
        assert_eq!(schema(&at(&folder)), schema(&at(&new)), "version {version}");
    }
}
