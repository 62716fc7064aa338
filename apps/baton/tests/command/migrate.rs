//! `baton migrate` between files.

use std::process::Output;

use serde_json::Value;

use crate::support::{PATIENT, World, tool, until};

fn migrate(world: &World, from: &str, to: &str) -> Output {
    let mut command = tool();
    command.args(["migrate", "-o", "json", "--from", from, "--to", to]).current_dir(world.folder.path());
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_file_is_moved_once_its_server_has_ended_and_its_tasks_go_on_from_the_copy() {
    let mut world = World::new(PATIENT);
    let done = world.create(&["--params", r#"{"n": 1.50}"#]);
    let worker = world.worker("echo done");
    world.becomes(&done, "completed");
    drop(worker);
    let waiting = world.create(&["--queue", "later"]);
    let before = world.task(&done);

    let locked = migrate(&world, "sqlite:baton.db", "sqlite:copy.db");
    assert_eq!(locked.status.code(), Some(1));
    assert!(stderr(&locked).contains("another baton has it open"), "{}", stderr(&locked));

    assert!(world.end_server().success());
    let moved = migrate(&world, "sqlite:baton.db", "sqlite:copy.db");
    assert!(moved.status.success(), "{}", stderr(&moved));
    let report: Value = serde_json::from_slice(&moved.stdout).unwrap();
    assert_eq!((&report["agrees"], &report["resumed"]), (&true.into(), &false.into()));
    let completed = report["groups"].as_array().unwrap().iter().find(|group| group["group"] == "completed");
    assert_eq!(completed.unwrap()["target"]["records"], 1);

    // The same command again finds it done; another source is refused.
    let again = migrate(&world, "sqlite:baton.db", "sqlite:copy.db");
    let report: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&report["done_before"], &report["new"]), (&true.into(), &0.into()), "{}", stderr(&again));
    std::fs::copy(world.path("baton.db"), world.path("other.db")).unwrap();
    let other = migrate(&world, "sqlite:other.db", "sqlite:copy.db");
    assert_eq!(other.status.code(), Some(4));
    assert!(stderr(&other).contains("from which this target was filled"), "{}", stderr(&other));

    std::fs::rename(world.path("copy.db"), world.path("baton.db")).unwrap();
    world.restart_server();
    assert_eq!(world.task(&done), before);
    assert_eq!(world.task(&waiting)["task"]["status"], "queued");
    let counts = world.json(&["stats"]);
    assert!(counts.to_string().contains("later"), "{counts}");
}

#[test]
fn a_migration_that_is_interrupted_says_how_to_go_on_and_does() {
    use nix::sys::signal::Signal;

    let mut world = World::new(PATIENT);
    let tasks: String =
        (0..1_000).map(|n| format!("{{\"type\":\"t\",\"params\":{{\"n\":{n}}}}}\n")).collect();
    std::fs::write(world.path("tasks.jsonl"), tasks).unwrap();
    let file = world.path("tasks.jsonl").display().to_string();
    for _ in 0..3 {
        assert!(world.command(&["task", "create", "--from", &file]).output().unwrap().status.success());
    }
    assert!(world.end_server().success());
    let mut command = tool();
    command.args(["migrate", "--from", "sqlite:baton.db", "--to", "sqlite:copy.db"]);
    command.current_dir(world.folder.path()).stdout(std::process::Stdio::null());
    command.stderr(std::fs::File::create(world.path("migrate.log")).unwrap());
    let mut running = crate::support::Running(command.spawn().unwrap());
    let log = || std::fs::read_to_string(world.path("migrate.log")).unwrap();
    until("something is copied", || log().contains("records copied").then_some(()));
    running.signal(Signal::SIGINT);
    let ended = running.wait();
    // A quick machine may have come to the end.
    assert!(ended.success() || log().contains("run the same command again to go on"), "{}", log());
    let on = migrate(&world, "sqlite:baton.db", "sqlite:copy.db");
    let report: Value = serde_json::from_slice(&on.stdout).unwrap();
    assert_eq!((&report["agrees"], &report["resumed"]), (&true.into(), &true.into()), "{}", stderr(&on));
    let queued = report["groups"].as_array().unwrap().iter().find(|group| group["group"] == "queued");
    assert_eq!(queued.unwrap()["target"]["records"], 3_000);
}

#[test]
fn stores_that_cannot_be_moved_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let run = |from: &str, to: &str| {
        let mut command = tool();
        command.args(["migrate", "--from", from, "--to", to]).current_dir(folder.path());
        let output = command.output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, told) = run("sqlite:none.db", "sqlite:new.db");
    assert!(code == Some(3) && told.contains("expected a file, got none at none.db"), "{told}");
    assert!(!folder.path().join("none.db").exists() && !folder.path().join("new.db").exists());
    let (code, told) = run("sqlite:a.db", "sqlite:a.db");
    assert!(code == Some(2) && told.contains("expected another store than --from"), "{told}");
    let (code, told) = run("postgres://x", "sqlite:a.db");
    assert!(code == Some(2) && told.contains("--from: expected sqlite: and the path"), "{told}");
    let (code, told) = run("dynamodb:a/b", "sqlite:a.db");
    assert!(code == Some(2) && told.contains("expected a table's name"), "{told}");
}
