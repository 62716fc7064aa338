//! Files of the server's log.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::World;

#[test]
fn a_folder_has_the_log_as_json_for_people_and_what_went_wrong_alone() {
    let settings = "[leases]\nheartbeat_interval_seconds = 0.2\n[log]\nformat = \"text\"\nfile = \"baton.log\"\ndirectory = \"logs\"\n";
    let mut world = World::with_file("baton.toml", settings);
    let worker = world.worker_named("w1", &["--queue", "fails"], "exit 3");
    let id = world.create(&["--queue", "fails", "--max-attempts", "1"]);
    world.becomes(&id, "failed");
    drop(worker);
    world.end_server();
    let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    let json = read("logs/events.jsonl");
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_task = lines.iter().filter(|line| line["task_id"] == id.as_str()).count();
    assert!(of_task >= 3, "created, claimed, failed: {json}");
    let people = read("logs/events.log");
    assert_eq!(people.lines().count(), json.lines().count(), "{people}");
    assert!(people.contains(&id) && people.lines().all(|line| !line.starts_with('{')), "{people}");
    assert_eq!(read("baton.log").lines().count(), people.lines().count());
    let grave = lines.iter().filter(|line| line["level"] == "WARN" || line["level"] == "ERROR").count();
    assert_eq!(read("logs/errors.log").lines().count(), grave);
    let page = include_str!("../../../../docs/logs.md");
    for line in &lines {
        for key in ["timestamp", "level", "message"] {
            assert!(line[key].is_string(), "{line}");
        }
    }
    let told: BTreeSet<&str> = page.split('`').skip(1).step_by(2).collect();
    for key in ["task_id", "task_type", "queue", "attempt", "worker_id", "request_id"] {
        assert!(told.contains(key), "docs/logs.md does not tell of {key}");
        assert!(lines.iter().any(|line| !line[key].is_null()), "no line has {key}: {json}");
    }
    assert!(people.contains("server stopped"), "{people}");
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_the_server_starts() {
    let world = World::with_file("baton.toml", "");
    std::fs::write(world.path("taken"), "").unwrap();
    let mut serve = world.command(&["serve", "--listen", "127.0.0.1:0", "--store", "sqlite:other.db"]);
    serve.env("BATON_LOG_DIRECTORY", "taken").current_dir(world.path("."));
    let told = crate::support::stderr(&crate::support::run(serve, 1));
    assert!(told.contains("cannot write the log to taken") && told.contains("log.directory"), "{told}");
}
