//! What is kept for a time goes as it comes, so that the file does not grow.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use baton_model::{Bounds, Digest, Fence, GenerationId, Level, LogLine, Output, WorkerId};
use baton_store::{Beat, Claim, ClaimAnswer, Complete, Idempotency, Overdue, Purge, PurgeReport};

use super::*;

/// Makes lifecycles, each at a second of its own.
struct Mill {
    store: SqliteStore,
    made: AtomicU64,
}

impl Mill {
    fn new(folder: &tempfile::TempDir) -> Self {
        // Nothing here loses power.
        let options = Options { durability: Durability::Normal, ..Options::default() };
        Self { store: open(&at(folder), options).unwrap(), made: AtomicU64::new(0) }
    }

    /// A task from its creation under a key, by a claim with a name and a heartbeat with a log line, to its completion.
    async fn lifecycle(&self, worker: &WorkerId) {
        let n = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        let now = seconds(n);
        // As callers draw them: in no order.
        let key = format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut create = Create {
            now,
            idempotency: Some(Idempotency {
                key: key.clone(),
                fingerprint: Digest::of_bytes(key.as_bytes()).into(),
            }),
            ..task(u128::from(n), 100)
        };
        // Due for whoever claims next, however callers overtake each other.
        create.tasks[0].run_after = RunAfter::At(seconds(0));
        self.store.create(create).await.unwrap();
        let claim = Claim { cap: 10, request: Some(key.parse().unwrap()), ..Claim::new(worker.clone(), now) };
        let ClaimAnswer::Leased(leased) = self.store.claim(claim).await.unwrap() else {
            panic!("no task for {n}")
        };
        let head = &leased[0].head;
        let line = LogLine {
            at: now,
            received_at: now,
            worker: worker.clone(),
            task: Some(head.id),
            level: Level::Info,
            source: "stderr".to_owned(),
            message: "x".repeat(100),
            metadata: None,
        };
        let beat = Beat { logs: vec![line], ..Beat::new(worker.clone(), now) };
        self.store.heartbeat(beat).await.unwrap();
        let complete = Complete {
            now,
            task: head.id,
            fence: Fence { attempt: head.attempt, worker: worker.clone() },
            caller: Bounds::default(),
            generation: GenerationId::from_bytes(*head.id.as_bytes()),
            output: Output::default(),
            ran: None,
        };
        self.store.complete(complete, None).await.unwrap();
    }

    /// Removes what is older than so many seconds, but for the worker.
    async fn purge(&self, keep: u64, slice: Option<Duration>) -> PurgeReport {
        let keep = Duration::from_secs(keep);
        let purge = Purge {
            limit: 100_000,
            slice,
            keep_finished: Some(keep),
            keep_logs: keep,
            keep_idempotency: keep,
            keep_claims: keep,
            ..Purge::at(seconds(self.made.load(Ordering::Relaxed)))
        };
        self.store.purge(purge).await.unwrap()
    }
}

fn seconds(n: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(n).unwrap() * 1_000)
}

#[tokio::test]
async fn a_file_stays_level_while_things_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let mill = Mill::new(&folder);
    let worker = "w1".parse().unwrap();
    let mut pages = Vec::new();
    for _ in 0..10 {
        for _ in 0..100 {
            mill.lifecycle(&worker).await;
        }
        let report = mill.purge(150, None).await;
        assert!(!report.more);
        let db = Connection::open(at(&folder)).unwrap();
        pages.push(db.query_row("PRAGMA page_count", [], |row| row.get::<_, u64>(0)).unwrap());
    }
    let (early, late) = (pages[2], pages[9]);
    assert!(late * 10 <= early * 11, "the file grows: {pages:?}");
}

/// Nothing here is told how fast it is to be: callers make as much as they can, and what is removed keeps up all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn purges_keep_up_with_callers_that_never_pause() {
    let folder = tempfile::tempdir().unwrap();
    let mill = Arc::new(Mill::new(&folder));
    let done = Arc::new(AtomicBool::new(false));
    let purges = tokio::spawn({
        let (mill, done) = (Arc::clone(&mill), Arc::clone(&done));
        async move {
            let mut overdue = None;
            while !done.load(Ordering::Relaxed) {
                overdue = mill.purge(100, Some(Duration::from_millis(1))).await.overdue;
            }
            overdue.unwrap_or_default()
        }
    });
    let callers = (0..32).map(|n| {
        let mill = Arc::clone(&mill);
        let worker: WorkerId = format!("w{n}").parse().unwrap();
        tokio::spawn(async move {
            for _ in 0..60 {
                mill.lifecycle(&worker).await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    let overdue: Overdue = purges.await.unwrap();
    // Each lifecycle has a second of its own: of 1,920, 100 are kept.
    for (kind, overdue) in overdue.each() {
        assert!(overdue < Duration::from_secs(500), "{kind}: {overdue:?} behind");
    }
}
