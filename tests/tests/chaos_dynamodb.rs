//! The server on DynamoDB is killed at random moments, while its connection to the table throttles, conflicts, loses
//! requests and answers, repeats requests and shows an old index. No acknowledged task is lost, none is completed twice,
//! and a generation exists if and only if its task is completed.
//!
//! The table lies in an engine of this process, and outlives the servers. Ten seeds run by default:
//! `BATON_CHAOS_SEEDS=200 cargo test -p baton-tests --test chaos_dynamodb -- --nocapture` runs more, and
//! `BATON_CHAOS_SEED=…` one of the past.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends where it is surprised, and tells its figures"
)]

use std::path::Path;

use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::table::{self, TableOptions};
use baton_tests::chaos::{Outcome, Plan, SETTINGS, run};
use baton_tests::program::Program;
use futures::StreamExt;
use tokio::net::TcpListener;

/// How many seeds run at the same time: most of the time they wait to try again.
const AT_ONCE: usize = 4;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}")))
}

/// Runs a seed; an error says what is broken.
async fn chaos(seed: u64) -> Result<Outcome, String> {
    let plan = Plan { seed, kills: 2, workers: 4, producers: 2, lives: 500..1_500, pace: 120 };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let engine = dynoxide::Database::memory().unwrap();
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
        None => (0..setting("BATON_CHAOS_SEEDS").unwrap_or(10)).collect(),
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
