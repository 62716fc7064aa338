//! The server is killed at random moments under load; nothing that it acknowledged may be lost or done twice.
//!
//! Long runs: `BATON_CHAOS_KILLS=50 cargo test -p baton-tests --test chaos file -- --nocapture`; a seed of the past:
//! `BATON_CHAOS_SEED=…`.

use baton_tests::chaos::{Plan, SETTINGS, run};
use baton_tests::program::Program;

use crate::setting;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_and_repeats_nothing() {
    let plan = Plan {
        seed: setting("BATON_CHAOS_SEED").unwrap_or_else(rand::random),
        kills: setting("BATON_CHAOS_KILLS").unwrap_or(6),
        lasts: None,
        workers: 8,
        producers: 3,
        lives: 30..400,
        pace: 12,
        limits: true,
        every: 1,
    };
    println!("{plan:?}");
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("baton.db");
    let outcome = run(plan.clone(), Program::baton(&database, SETTINGS)).await;
    println!("{outcome}");
    let log = std::fs::read_to_string(folder.path().join("server.log")).unwrap_or_default();
    assert!(outcome.broken.is_empty(), "{plan:?}\n{}\nserver log:\n{log}", outcome.broken.join("\n"));
    assert!(
        outcome.completed > 0 && outcome.scheduled > 0,
        "the run was too short to show anything: {outcome:?}"
    );
    assert!(!log.contains("panicked"), "the server panicked:\n{log}");
}
