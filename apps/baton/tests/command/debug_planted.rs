//! Faults that a server of its own is brought to: `baton debug health` names each first, with what mends it. (`debug.rs` and
//! `debug_faults.rs` have the others.)

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::debug_faults::{first, message};
use crate::support::{QUICK, World, program, run, stdout, told, until};
use crate::worker_life::worker_of;

/// A second may pass before it is asked why tasks wait.
const SOON: &[&str] = &["--patience", "1s"];

/// It is not asked why tasks wait: nobody is to take those that are made here.
const NEVER: &[&str] = &["--patience", "1h"];

const MAKE_ROOM: &str = "baton task delete --status completed --before 7d";

/// Waits until this kind of fault is named first; the verdict.
fn named_first(world: &World, arguments: &[&str], what: &str) -> Value {
    until(&format!("{what} is named first"), || {
        let output = world.command(&[&["debug", "health", "--json"], arguments].concat()).output().unwrap();
        let health: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", told(&output)));
        (first(&health).1 == what).then_some(health)
    })
}

/// What shows more of the fault that is named first.
fn more(health: &Value) -> &str {
    health["findings"][0]["more"].as_str().unwrap_or_default()
}

/// Asks the worker's heartbeat of its start number `session`; the status of the answer.
fn beat(world: &World, worker: &str, session: u8) -> u16 {
    let body = json!({"session_id": session_id(session), "capacity": 1}).to_string();
    world.ask("POST", &format!("/v1/workers/{worker}/heartbeat"), &body).0
}

fn session_id(session: u8) -> String {
    format!("01980a6e-5b7c-7cc3-98c4-{session:012}")
}

/// Has the task run that is ready in a queue; who has claimed it holds it from then on.
fn claim(world: &World, worker: &str, session: u8, queue: &str) {
    let claim =
        json!({"worker_id": worker, "session_id": session_id(session), "queues": [queue]}).to_string();
    let (status, claimed) = world.ask("POST", "/v1/claims", &claim);
    assert_eq!((status, claimed["tasks"].as_array().map(Vec::len)), (200, Some(1)), "{claimed:#}");
}

#[test]
fn a_worker_that_is_lost_is_named_first() {
    let world = World::new(QUICK);
    let worker = world.worker("true");
    until("it lives", || {
        let output = world.command(&["worker", "show", "w1", "-o", "json"]).output().unwrap();
        let shown: Value = serde_json::from_slice(&output.stdout).ok()?;
        (shown["status"] == "active").then_some(())
    });
    drop(worker);
    let health = named_first(&world, &[], "worker_lost");
    assert_eq!(first(&health), ("warning", "worker_lost", "baton debug worker w1"), "{health:#}");
    let shown = stdout(&world.run(&["debug", "worker", "w1"], 1));
    assert!(shown.contains("look whether its process and its machine live"), "{shown}");
}

#[test]
fn an_alert_that_fires_is_named_first() {
    let world = World::new(QUICK);
    world.run(&["alert", "set", "deep", "--kind", "queue_depth", "--above", "0", "--for", "0s"], 0);
    world.create(&["--queue", "lonely"]);
    let health = named_first(&world, NEVER, "alert");
    assert_eq!(first(&health), ("warning", "alert", "baton alert show deep"), "{health:#}");
    world.run(&["alert", "show", "deep"], 0);
}

#[test]
fn a_limit_that_is_reached_is_named_first_and_what_is_told_raises_it() {
    let world = World::new(QUICK);
    world.run(&["limit", "set", "queue/slow", "--running", "1", "--exempt", "other"], 0);
    let _worker = world.worker_named("w1", &["--queue", "slow", "--concurrency", "2"], "exec sleep 300");
    let runs = world.create(&["--queue", "slow"]);
    world.becomes(&runs, "running");
    let waits = world.create(&["--queue", "slow"]);
    let health = named_first(&world, SOON, "at_limit");
    let raises = "baton limit set queue/slow --running 2 --exempt other";
    assert_eq!(first(&health), ("warning", "at_limit", raises), "{health:#}");
    assert_eq!(more(&health), "baton limit show queue/slow");
    let shown = stdout(&world.run(&[&["debug", "health"], SOON].concat(), 0));
    assert!(shown.contains(&format!("\n   {raises}\n   baton limit show queue/slow\n")), "{shown}");
    let command: Vec<&str> = raises.split(' ').skip(1).collect();
    world.run(&command, 0);
    world.becomes(&waits, "running");
}

#[test]
fn more_work_than_workers_is_named_first_and_one_more_takes_it() {
    let world = World::new(QUICK);
    let _worker = world.worker_named("w1", &["--queue", "busy"], "exec sleep 300");
    // Created at once, so that the one that is asked about has others before it.
    let tasks: Vec<_> = (0..4).map(|_| json!({"type": "test", "queue": "busy"})).collect();
    let (status, created) = world.ask("POST", "/v1/tasks/batch", &json!({"tasks": tasks}).to_string());
    assert_eq!(status, 201, "{created:#}");
    // Others may be before it for ten times as long as it is patient.
    let health = named_first(&world, &["--patience", "100ms"], "behind");
    assert_eq!(
        first(&health),
        ("warning", "behind", "baton worker run --queue busy -- COMMAND"),
        "{health:#}"
    );
    assert!(more(&health).starts_with("baton debug task "), "{health:#}");
}

#[test]
fn a_task_that_runs_alone_only_is_named_first_and_a_worker_that_holds_nothing_takes_it() {
    let world = World::new(QUICK);
    let id = world.create(&["--queue", "lonely", "--max-attempts", "9"]);
    // Two starts of its worker end with it.
    assert_eq!(beat(&world, "w1", 0), 200);
    for session in 0..2 {
        claim(&world, "w1", session, "lonely");
        assert_eq!(beat(&world, "w1", session + 1), 200);
        world.becomes(&id, "queued");
    }
    let health = named_first(&world, SOON, "only_alone");
    let starts = "baton worker run --queue lonely -- COMMAND";
    assert_eq!(first(&health), ("warning", "only_alone", starts), "{health:#}");
    assert_eq!(more(&health), format!("baton task history {id}"));
    let _worker = world.worker_named("w2", &["--queue", "lonely"], "true");
    world.becomes(&id, "completed");
}

#[test]
fn a_worker_that_cannot_start_its_command_is_named_first() {
    let world = World::new(QUICK);
    program(&world.path("run.sh"), "#!/bin/sh\necho 1\n");
    let _worker = worker_of(&world, "", &["--id", "broken"], "./run.sh");
    std::fs::remove_file(world.path("run.sh")).unwrap();
    world.create(&[]);
    let health = named_first(&world, NEVER, "cannot_start");
    assert_eq!(first(&health), ("error", "cannot_start", "baton debug worker broken"), "{health:#}");
    assert!(message(&health).contains("No such file or directory"), "{health:#}");
    let shown = stdout(&world.run(&["debug", "worker", "broken"], 1));
    assert!(shown.contains("error: it cannot start its command: No such file"), "{shown}");
}

#[test]
fn two_workers_of_one_name_are_named_first() {
    let world = World::new(QUICK);
    assert_eq!([beat(&world, "w1", 0), beat(&world, "w1", 1), beat(&world, "w1", 0)], [200, 200, 409]);
    let health = named_first(&world, &[], "worker_contested");
    let names = "baton worker run --id NAME -- COMMAND";
    assert_eq!(first(&health), ("error", "worker_contested", names), "{health:#}");
    assert_eq!(more(&health), "baton debug worker w1");
    world.run(&["debug", "health"], 1);
}

/// Says in the head of a database that nobody has open that it has 5 GiB; what is between holds nothing, and takes no room.
fn grow(path: &Path) {
    const PAGES: u32 = 1_310_720;
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(u64::from(PAGES) * 4_096).unwrap();
    // The place of the number of pages: the SQLite file format.
    file.write_all_at(&PAGES.to_be_bytes(), 28).unwrap();
}

#[test]
fn a_large_file_of_what_has_ended_is_named_first() {
    let mut world = World::new(QUICK);
    let id = world.create(&[]);
    world.run(&["task", "cancel", &id], 0);
    assert!(world.end_server().success());
    grow(&world.path("baton.db"));
    world.restart_server();
    let health = named_first(&world, &[], "file_grows");
    assert_eq!(first(&health), ("warning", "file_grows", MAKE_ROOM), "{health:#}");
    assert!(
        message(&health).starts_with("the store's file has 5120.0 MiB, and 1 of its 1 tasks"),
        "{health:#}"
    );
    assert_eq!(more(&health), "baton debug config --explain");
}

#[test]
fn a_store_without_room_is_named_first() {
    let world = World::new(&[("BATON_STORE_MAX_MEBIBYTES", "1")]);
    let health = named_first(&world, NEVER, "disk");
    assert_eq!(first(&health), ("error", "disk", MAKE_ROOM), "{health:#}");

    let params = serde_json::to_string(&"x".repeat(100_000)).unwrap();
    let create = ["task", "create", "--type", "test", "--params", &params];
    until("the file is full", || {
        let output = world.command(&create).output().unwrap();
        (!output.status.success()).then_some(())
    });
    let health = named_first(&world, NEVER, "store_writes");
    assert_eq!(first(&health), ("error", "store_writes", MAKE_ROOM), "{health:#}");
    assert!(message(&health).starts_with("the store cannot be written to (full): "), "{health:#}");
}

#[test]
fn a_store_that_another_program_has_locked_is_named_first() {
    let world = World::new(&[]);
    let other = Connection::open(world.path("baton.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let health = named_first(&world, &[], "store_writes");
    assert_eq!(first(&health), ("error", "store_writes", "baton debug config"), "{health:#}");
    assert!(message(&health).starts_with("the store cannot be written to (unavailable): "), "{health:#}");
    let shown = stdout(&world.run(&["debug", "config"], 0));
    assert!(shown.contains("store.url"), "{shown}");
    other.execute_batch("ROLLBACK").unwrap();
    until("it is well again", || {
        world.command(&["debug", "health"]).output().unwrap().status.success().then_some(())
    });
}

#[test]
fn a_store_that_cannot_be_read_is_named_first_whatever_else_can_be_told() {
    let world = World::new(QUICK);
    let id = world.create(&[]);
    let other = Connection::open(world.path("baton.db")).unwrap();
    // What was never written so; a request meets it, and from then on the store counts as damaged.
    other.execute_batch("UPDATE task SET state = 2").unwrap();
    world.run(&["task", "show", &id], 1);
    let health = named_first(&world, NEVER, "store_reads");
    let restores = "baton serve --store sqlite:BACKUP";
    assert_eq!(first(&health), ("error", "store_reads", restores), "{health:#}");
    assert!(message(&health).starts_with("the store cannot be read (damaged): "), "{health:#}");

    // Here nothing else can be asked for.
    let world = World::new(QUICK);
    let other = Connection::open(world.path("baton.db")).unwrap();
    other.execute_batch("ALTER TABLE tally RENAME TO elsewhere").unwrap();
    let health = named_first(&world, &[], "store_reads");
    assert_eq!(first(&health), ("error", "store_reads", "baton debug config"), "{health:#}");
    let shown = stdout(&run(world.command(&["debug", "health"]), 1));
    assert!(shown.starts_with("error: one thing is wrong\n1. error: the store cannot be read"), "{shown}");
}
