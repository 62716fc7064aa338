//! The server on DynamoDB is killed at random moments, while its connection to the table throttles, conflicts, loses
//! requests and answers, repeats requests and shows an old index. No acknowledged task is lost, none is completed twice,
//! and a generation exists if and only if its task is completed.
//!
//! The table lies in an engine of this process, and outlives the servers. Four seeds run by default:
//! `BATON_CHAOS_SEEDS=200 cargo test -p baton-tests --test chaos table -- --nocapture` runs more, and
//! `BATON_CHAOS_SEED=…` one of the past.
//!
//! The attack: two servers on one table, whose clocks differ by 0.5, 3 and 60 s, are killed in turn, and now and then both hear
//! one claim at once. It is short by default; `BATON_ATTACK_SECONDS=600` has each last so long, and `BATON_ATTACK_SKEW_MS=3000`
//! chooses one difference.

#[path = "../stream/mod.rs"]
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use baton_store::NoDoorbell;
use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::table::{self, TableOptions};
use baton_store_dynamodb::{DynamoStore, Options};
use baton_tests::chaos::{Outcome, Plan, SETTINGS, run, run_programs};
use baton_tests::program::Program;
use futures::StreamExt;
use stream::TableStream;
use tokio::net::TcpListener;

use crate::setting;

/// How many seeds run at the same time: most of the time they wait to try again.
const AT_ONCE: usize = 4;

/// Runs a seed; an error says what is broken.
async fn chaos(seed: u64) -> Result<Outcome, String> {
    let plan = Plan {
        seed,
        kills: 2,
        lasts: None,
        workers: 4,
        producers: 2,
        lives: 500..1_500,
        pace: 120,
        // In one of four, as it takes twice as long.
        limits: seed.is_multiple_of(4),
        every: 1,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let engine = stream::engine();
    let engine = tokio::spawn(dynoxide::server::serve_on(listener, engine));
    let client = local(&endpoint, http_client());
    table::create(&client, "baton", TableOptions::default()).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let server = Path::new(env!("CARGO_BIN_EXE_server-over-faults"));
    let program = Program::over_faults(server, folder.path(), (&endpoint, "baton"), (seed, 8), SETTINGS);
    let outcome = run(plan.clone(), program).await;
    engine.abort();
    let log = std::fs::read_to_string(folder.path().join("server.log")).unwrap_or_default();
    println!("BATON_CHAOS_SEED={seed}: {outcome:?}");
    if !outcome.broken.is_empty() {
        return Err(format!("{plan:?}\n{}\nserver log:\n{log}", outcome.broken.join("\n")));
    }
    if log.contains("panicked") {
        return Err(format!("{plan:?}: the server panicked:\n{log}"));
    }
    Ok(outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_over_faults_loses_and_repeats_nothing() {
    let seeds: Vec<u64> = match setting("BATON_CHAOS_SEED") {
        Some(seed) => vec![seed],
        None => (0..setting("BATON_CHAOS_SEEDS").unwrap_or(4)).collect(),
    };
    let mut runs = futures::stream::iter(seeds.into_iter().map(chaos)).buffer_unordered(AT_ONCE);
    let (mut seeds, mut created, mut completed, mut unanswered) = (0, 0, 0, 0);
    let mut broken = Vec::new();
    while let Some(outcome) = runs.next().await {
        seeds += 1;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(what) => {
                broken.push(what);
                continue;
            }
        };
        created += outcome.created;
        completed += outcome.completed;
        unanswered += outcome.unanswered;
    }
    println!(
        "{seeds} seeds: {created} tasks acknowledged, {completed} completions, {unanswered} answers lost"
    );
    assert!(broken.is_empty(), "{} seeds are broken:\n{}", broken.len(), broken.join("\n"));
    assert!(completed > 0, "the runs were too short to show anything");
}

/// Two servers on one table, of which one has a clock that is behind; an error says what is broken.
async fn attack(seed: u64, behind: u64) -> Result<Outcome, String> {
    let lasts = setting("BATON_ATTACK_SECONDS").map(Duration::from_secs);
    // It takes twice as long.
    let limits = lasts.is_some() || behind < 1_000;
    // A long run comes to its end by no more than its producers create.
    let every = if lasts.is_some() { 5 } else { 1 };
    let plan =
        Plan { seed, kills: 4, lasts, workers: 6, producers: 3, lives: 300..1_200, pace: 60, limits, every };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let db = stream::engine();
    let engine = tokio::spawn(dynoxide::server::serve_on(listener, db.clone()));
    let client = local(&endpoint, http_client());
    table::create(&client, "baton", TableOptions::default()).await.unwrap();

    // A silence is told by two clocks before the first heartbeat of a claim.
    let timeout = format!("{}", 1.5 + behind as f64 / 1e3);
    let settings = SETTINGS.iter().map(|(name, value)| {
        (*name, if *name == "BATON_LEASES_HEARTBEAT_TIMEOUT_SECONDS" { &timeout } else { *value })
    });
    let settings: Vec<_> = settings.collect();
    let folder = tempfile::tempdir().unwrap();
    let server = Path::new(env!("CARGO_BIN_EXE_server-over-faults"));
    let program = |number: u64| {
        let seed = seed * 2 + number;
        Program::over_faults(server, folder.path(), (&endpoint, "baton"), (seed, 10), &settings)
            .behind(number * behind)
    };
    let mut outcome = run_programs(plan.clone(), vec![program(0), program(1)]).await;
    let store =
        DynamoStore::open(client, "baton", Options::seeded(seed), Arc::new(NoDoorbell)).await.unwrap();
    let told = events_told(&store, &db).await;
    outcome.hold_against(&told);
    engine.abort();
    let log = std::fs::read_to_string(folder.path().join("server.log")).unwrap_or_default();
    println!("{behind} ms behind, BATON_CHAOS_SEED={seed}: {outcome}");
    if !outcome.broken.is_empty() || log.contains("panicked") {
        return Err(format!("{behind} ms: {plan:?}\n{}\nserver log:\n{log}", outcome.broken.join("\n")));
    }
    Ok(outcome)
}

/// The numbers of the events that the table's stream tells of each task.
async fn events_told(store: &DynamoStore, db: &dynoxide::Database) -> BTreeMap<String, BTreeSet<u32>> {
    let mut stream = TableStream::of(db);
    let mut told: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    loop {
        let records = stream.read();
        if records.is_empty() {
            return told;
        }
        for record in records {
            for event in store.events_of(&record.to_string()).await.unwrap() {
                told.entry(event.task.to_string()).or_default().insert(event.event.seq);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_whose_clocks_differ_lose_and_repeat_nothing_however_they_are_killed() {
    let seed = setting("BATON_CHAOS_SEED").unwrap_or(7);
    let skews = setting("BATON_ATTACK_SKEW_MS").map_or(vec![500, 3_000, 60_000], |skew| vec![skew]);
    // One after the other, as they share two cores with their servers and the engine; but for those that mostly wait.
    let (long, short): (Vec<u64>, Vec<u64>) = skews.into_iter().partition(|skew| *skew > 10_000);
    let all = |skews: Vec<u64>| async move {
        let mut broken = Vec::new();
        for behind in skews {
            match attack(seed, behind).await {
                Ok(outcome) => assert!(outcome.completed > 0, "the run was too short to show anything"),
                Err(what) => broken.push(what),
            }
        }
        broken
    };
    let broken: Vec<String> = futures::future::join_all([all(long), all(short)]).await.concat();
    assert!(broken.is_empty(), "{} attacks succeeded:\n{}", broken.len(), broken.join("\n"));
}
