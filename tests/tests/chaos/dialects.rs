//! The server is killed at random moments while clients of another system work with it, in their own words, give up on answers
//! and die: nothing that it acknowledged may be lost, done twice, or split between a status and an output.
//!
//! Long runs: `BATON_CHAOS_KILLS=50 cargo test -p baton-tests --test chaos dialects -- --nocapture`; a seed of the past:
//! `BATON_CHAOS_SEED=…`.

use baton_tests::chaos::{Plan, SETTINGS, Spoken, run_platform, run_spoken};
use baton_tests::program::Program;

use crate::setting;

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
        every: 1,
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

/// A run of some seconds with the clients of a system, whose connections are cut besides.
async fn spoken(spoken: Spoken) {
    let plan = Plan {
        seed: setting("BATON_CHAOS_SEED").unwrap_or_else(rand::random),
        kills: setting("BATON_CHAOS_KILLS").unwrap_or(4),
        lasts: None,
        workers: 4,
        producers: 3,
        lives: 200..700,
        pace: 20,
        limits: false,
        every: 1,
    };
    println!("{spoken:?} {plan:?}");
    let folder = tempfile::tempdir().unwrap();
    let program =
        |settings: &[(&str, &str)]| Program::baton(&folder.path().join("baton.db"), SETTINGS).with(settings);
    let outcome = run_spoken(plan.clone(), spoken, program).await;
    println!("{outcome}");
    let log = std::fs::read_to_string(folder.path().join("server.log")).unwrap_or_default();
    assert!(outcome.broken.is_empty(), "{plan:?}\n{}\nserver log:\n{log}", outcome.broken.join("\n"));
    assert!(outcome.completed > 0, "the run was too short to show anything: {outcome:?}");
    assert!(!log.contains("panicked"), "the server panicked:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_of_the_assistants_clients() {
    spoken(Spoken::Assistant).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_of_the_drift_simulations_clients() {
    spoken(Spoken::Drift).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_of_the_orchestrators_clients() {
    spoken(Spoken::Orchestrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_of_the_task_tables_shell() {
    spoken(Spoken::TaskTable).await;
}
