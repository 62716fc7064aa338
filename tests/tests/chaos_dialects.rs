//! The server is killed at random moments while clients of another system work with it, in their own words, give up on answers
//! and die: nothing that it acknowledged may be lost, done twice, or split between a status and an output.
//!
//! Long runs: `BATON_CHAOS_KILLS=50 cargo test -p baton-tests --test chaos_dialects -- --nocapture`; a seed of the past:
//! `BATON_CHAOS_SEED=…`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

use baton_tests::chaos::{Plan, SETTINGS, run_platform};
use baton_tests::program::Program;

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_and_repeats_nothing_of_the_platforms_clients() {
    let plan = Plan {
        seed: setting("BATON_CHAOS_SEED").unwrap_or_else(rand::random),
        kills: setting("BATON_CHAOS_KILLS").unwrap_or(6),
        lasts: None,
        workers: 6,
        producers: 2,
        lives: 200..900,
        pace: 20,
        limits: false,
    };
    println!("{plan:?}");
    let folder = tempfile::tempdir().unwrap();
    let program = Program::baton(&folder.path().join("baton.db"), SETTINGS).speaking("edge-functions");
    let outcome = run_platform(plan.clone(), program).await;
    println!("{outcome}");
    let log = std::fs::read_to_string(folder.path().join("server.log")).unwrap_or_default();
    assert!(outcome.broken.is_empty(), "{plan:?}\n{}\nserver log:\n{log}", outcome.broken.join("\n"));
    assert!(outcome.completed > 0, "the run was too short to show anything: {outcome:?}");
    assert!(!log.contains("panicked"), "the server panicked:\n{log}");
}
