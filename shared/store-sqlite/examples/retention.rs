//! How a database grows while what it keeps comes and goes at the highest rate: a table of one line a second, to stdout.
//!
//! `cargo run --release -p baton-store-sqlite --example retention -- CALLERS SECONDS KEPT_SECONDS SLICE_MICROS REST`
//!
//! Each caller creates a task under an idempotency key, claims one by a request id, ships a log line with a heartbeat, and
//! completes it, one after the other. Everything is kept for KEPT_SECONDS only. Removing rests REST times as long as each slice
//! took; SLICE_MICROS 0 removes nothing. The database lies in the temporary folder (TMPDIR).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring tool ends where it is surprised, and tells what it measured"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_model::{
    Bounds, Digest, Fence, GenerationId, Level, LogLine, Output, Payload, TaskId, TaskSpec, Timestamp,
    WorkerId,
};
use baton_store::{Beat, Claim, ClaimAnswer, Complete, Create, Idempotency, NoDoorbell, Purge, TaskStore};
use baton_store_sqlite::{Options, SqliteStore};

struct World {
    store: SqliteStore,
    begun: Instant,
    ids: AtomicU64,
    lifecycles: AtomicU64,
    /// How long claims took, in microseconds.
    claims: Mutex<Vec<u32>>,
    removed: AtomicU64,
    slices: AtomicU64,
    /// How long slices took, in microseconds.
    sliced: AtomicU64,
}

impl World {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.begun.elapsed().as_millis() as i64)
    }

    /// Sixteen bytes that sort by time, as UUIDv7 do.
    fn id(&self) -> [u8; 16] {
        let n = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(self.now().as_millis() as u64).to_be_bytes());
        id[8..].copy_from_slice(&n.to_be_bytes());
        id
    }

    /// One task from its creation to its completion.
    async fn lifecycle(&self, worker: &WorkerId) {
        let id = TaskId::from_bytes(self.id());
        let spec = TaskSpec {
            params: Payload::from_value(&serde_json::json!({"file": "in/0001.png", "width": 320})),
            ..TaskSpec::new(id, "render".parse().unwrap())
        };
        // As callers draw keys: in no order.
        let number = self.ids.load(Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let key = format!("{number:016x}-{id}");
        let idempotency =
            Some(Idempotency { fingerprint: Digest::of_bytes(key.as_bytes()).into(), key: key.clone() });
        let create = Create { now: self.now(), tasks: vec![spec], atomic: true, idempotency, by: None };
        self.store.create(create).await.unwrap();
        let claim = Claim {
            cap: 1_000,
            request: Some(key.parse().unwrap()),
            ..Claim::new(worker.clone(), self.now())
        };
        let began = Instant::now();
        let ClaimAnswer::Leased(tasks) = self.store.claim(claim).await.unwrap() else { return };
        self.claims.lock().unwrap().push(began.elapsed().as_micros() as u32);
        let task = &tasks[0];
        let line = LogLine {
            at: self.now(),
            received_at: self.now(),
            worker: worker.clone(),
            task: Some(task.head.id),
            level: Level::Info,
            source: "stderr".to_owned(),
            message: "rendered tile 17 of 64 in 0.2 s".to_owned(),
            metadata: None,
        };
        let beat = Beat { logs: vec![line], ..Beat::new(worker.clone(), self.now()) };
        self.store.heartbeat(beat).await.unwrap();
        let complete = Complete {
            now: self.now(),
            task: task.head.id,
            fence: Fence { attempt: task.head.attempt, worker: worker.clone() },
            caller: Bounds::default(),
            generation: GenerationId::from_bytes(self.id()),
            output: Output {
                location: Some("out/0001.png".to_owned()),
                kind: Some("image/png".to_owned()),
                metadata: None,
                result: Some(Payload::from_value(&serde_json::json!({"ok": true}))),
                files: Vec::new(),
            },
            ran: None,
        };
        self.store.complete(complete, None).await.unwrap();
        self.lifecycles.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes for ever what is older than `keep`.
    async fn purge(&self, keep: Duration, slice: Duration, rest: u32) {
        loop {
            let purge = Purge {
                limit: 100_000,
                slice: Some(slice),
                keep_finished: Some(keep),
                keep_logs: keep,
                keep_workers: keep,
                keep_idempotency: keep,
                keep_claims: keep,
                ..Purge::at(self.now())
            };
            let began = Instant::now();
            let report = self.store.purge(purge).await.unwrap();
            self.removed.fetch_add(report.tasks, Ordering::Relaxed);
            self.slices.fetch_add(1, Ordering::Relaxed);
            let took = began.elapsed();
            self.sliced.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
            tokio::time::sleep(if report.more { took * rest } else { Duration::from_secs(1) }).await;
        }
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).map(|word| word.parse().unwrap()).collect();
    let [callers, seconds, kept, slice, rest] = arguments[..] else {
        println!("usage: retention CALLERS SECONDS KEPT_SECONDS SLICE_MICROS REST");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let store =
        SqliteStore::open(&folder.path().join("baton.db"), Options::default(), Arc::new(NoDoorbell)).unwrap();
    let world = Arc::new(World {
        store,
        begun: Instant::now(),
        ids: AtomicU64::new(0),
        lifecycles: AtomicU64::new(0),
        claims: Default::default(),
        removed: AtomicU64::new(0),
        slices: AtomicU64::new(0),
        sliced: AtomicU64::new(0),
    });
    for n in 0..callers {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let worker: WorkerId = format!("worker-{n}").parse().unwrap();
            loop {
                world.lifecycle(&worker).await;
            }
        });
    }
    if slice > 0 {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            world.purge(Duration::from_secs(kept), Duration::from_micros(slice), rest as u32).await;
        });
    }
    println!("second  made/s  removed/s  slices/s  ms/slice  claim p50 us  p99 us   file MiB  log MiB");
    let mut last = (0, 0, 0, 0);
    for second in 1..=seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let counts = (
            world.lifecycles.load(Ordering::Relaxed),
            world.removed.load(Ordering::Relaxed),
            world.slices.load(Ordering::Relaxed),
            world.sliced.load(Ordering::Relaxed),
        );
        let mut claims = std::mem::take(&mut *world.claims.lock().unwrap());
        claims.sort_unstable();
        let at = |part: f64| claims.get((claims.len() as f64 * part) as usize).copied().unwrap_or(0);
        let size =
            |name: &str| std::fs::metadata(folder.path().join(name)).map_or(0, |file| file.len()) >> 20;
        let slices = counts.2 - last.2;
        println!(
            "{second:6} {:7} {:10} {slices:9} {:9.2} {:13} {:7} {:10} {:8}",
            counts.0 - last.0,
            counts.1 - last.1,
            (counts.3 - last.3) as f64 / 1_000.0 / slices.max(1) as f64,
            at(0.5),
            at(0.99),
            size("baton.db"),
            size("baton.db-wal"),
        );
        last = counts;
    }
    folder.close().unwrap();
    // The callers never come to an end.
    std::process::exit(0);
}
