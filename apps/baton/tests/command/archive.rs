//! `baton archive`, and a server that archives what it removes.

use std::path::Path;

use serde_json::Value;

use crate::support::{PATIENT, World, run, stderr, stdout, told, tool, until};

/// A server that archives to a folder, and looks often.
fn world(archive: &Path) -> World {
    let text = format!(
        "[archive]\nurl = \"file://{}\"\n[reaper]\ninterval_seconds = 0.05\n[leases]\nheartbeat_interval_seconds = 0.2\n",
        archive.display()
    );
    World::with_file("baton.toml", &text)
}

/// What a command says that is run where the server's settings are.
fn archive(world: &World, arguments: &[&str], code: i32) -> std::process::Output {
    let mut command = tool();
    command.arg("archive").args(arguments).current_dir(world.folder.path());
    run(command, code)
}

fn shown(world: &World, arguments: &[&str]) -> Vec<Value> {
    let lines = stdout(&archive(world, &[&["show", "--lines"], arguments].concat(), 0));
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(records: &[Value]) -> Vec<String> {
    let mut ids: Vec<_> =
        records.iter().map(|record| record["task"]["head"]["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn is_gone(world: &World, id: &str) -> bool {
    world.get(&format!("/v1/tasks/{id}")).0 == 404
}

#[test]
fn what_is_removed_can_be_seen_in_the_archive_and_put_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = world(folder.path());
    let done = world.create(&["--project", "film", "--params", r#"{"n": 1.50}"#]);
    let worker = world.worker("echo '{\"made\": 1}'");
    world.becomes(&done, "completed");
    drop(worker);
    let cancelled = world.create(&["--project", "cut"]);
    world.run(&["task", "cancel", &cancelled], 0);
    let before = [world.task(&done), world.task(&cancelled)];
    world.run(&["task", "delete", &done, &cancelled, "--yes"], 0);
    until("both are archived and removed", || {
        (is_gone(&world, &done) && is_gone(&world, &cancelled)).then_some(())
    });

    let mut both = vec![done.clone(), cancelled.clone()];
    both.sort();
    assert_eq!(ids(&shown(&world, &[])), both, "while the server runs");
    assert_eq!(ids(&shown(&world, &["--project", "film"])), std::slice::from_ref(&done));
    assert_eq!(ids(&shown(&world, &[&cancelled])), std::slice::from_ref(&cancelled));
    assert_eq!(shown(&world, &["--until", "2020-01-01"]), [Value::Null; 0]);
    let table = stdout(&archive(&world, &["show"], 0));
    assert!(table.contains(&done) && table.contains("completed") && table.contains("film"), "{table}");
    let json: Value =
        serde_json::from_slice(&archive(&world, &["show", "--limit", "1", "-o", "json"], 0).stdout).unwrap();
    assert_eq!((json["items"].as_array().unwrap().len(), &json["more"]), (1, &Value::Bool(true)));

    let locked = archive(&world, &["restore", "--all"], 1);
    assert!(stderr(&locked).contains("another baton has it open"), "{}", told(&locked));
    assert!(world.end_server().success());
    let unsaid = archive(&world, &["restore"], 2);
    assert!(stderr(&unsaid).contains("or say --all"), "{}", told(&unsaid));
    for (there, new) in [(0, 2), (2, 0)] {
        let restored = archive(&world, &["restore", "--all", "--store", "sqlite:baton.db"], 0);
        let expected = format!("{new} tasks put back into sqlite:baton.db, {there} were there already");
        assert!(stderr(&restored).contains(&expected), "{}", told(&restored));
    }
    world.restart_server();
    assert_eq!([world.task(&done), world.task(&cancelled)], before);
    let counts = world.json(&["stats"]).to_string();
    assert!(counts.contains("completed"), "{counts}");
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(world.task(&done), before[0], "it is kept anew");
}

#[test]
fn what_cannot_be_archived_stays_and_is_archived_once_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path());
    std::fs::write(folder.path().join("parts"), "in the way").unwrap();
    let id = world.create(&[]);
    world.run(&["task", "cancel", &id], 0);
    let before = world.task(&id);
    world.run(&["task", "delete", &id, "--yes"], 0);
    until("it is said more than once", || {
        let log = world.server_log();
        (log.matches("finished tasks cannot be archived; they are kept").count() >= 2).then_some(())
    });
    assert_eq!(world.task(&id), before);
    std::fs::remove_file(folder.path().join("parts")).unwrap();
    until("it is archived and removed", || is_gone(&world, &id).then_some(()));
    assert_eq!(ids(&shown(&world, &[])), [id]);
}

#[test]
fn a_server_that_is_killed_loses_nothing_and_shows_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = world(folder.path());
    let tasks: String =
        (0..3_000).map(|n| format!("{{\"type\":\"t\",\"params\":{{\"n\":{n}}}}}\n")).collect();
    std::fs::write(world.path("tasks.jsonl"), tasks).unwrap();
    let file = world.path("tasks.jsonl").display().to_string();
    world.run(&["task", "create", "--from", &file], 0);
    world.run(&["task", "cancel", "--type", "t", "--yes"], 0);
    let left = |world: &World| world.json(&["stats"])["states"]["cancelled"].as_u64().unwrap_or(0);
    until("all are cancelled", || (left(&world) == 3_000).then_some(()));
    world.run(&["task", "delete", "--type", "t", "--yes"], 0);
    for round in 0..8 {
        std::thread::sleep(std::time::Duration::from_millis(40 + 35 * round));
        world.kill_server();
        world.restart_server();
    }
    until("all are archived and removed", || (left(&world) == 0).then_some(()));
    let records = shown(&world, &[]);
    let mut numbers: Vec<_> =
        records.iter().map(|record| record["task"]["params"]["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..3_000).collect::<Vec<_>>());
}

#[test]
fn archives_that_cannot_be_are_refused_with_what_to_do() {
    let world = World::new(PATIENT);
    let none = archive(&world, &["show"], 2);
    assert!(stderr(&none).contains("name it by --archive or the setting archive.url"), "{}", told(&none));
    let wrong = archive(&world, &["show", "--archive", "/tmp/x"], 2);
    assert!(stderr(&wrong).contains("expected file:// and the path of a folder"), "{}", told(&wrong));
    let gone = archive(&world, &["show", "--archive", "file:///nowhere/at/all"], 3);
    assert!(stderr(&gone).contains("got no folder at /nowhere/at/all"), "{}", told(&gone));
    if cfg!(not(feature = "s3")) {
        let bucket = archive(&world, &["show", "--archive", "s3://backups/baton"], 1);
        assert!(stderr(&bucket).contains("built without S3"), "{}", told(&bucket));
    }
    let day = archive(&world, &["show", "--from", "2026-13-01"], 2);
    assert!(stderr(&day).contains("expected a day such as 2026-11-28"), "{}", told(&day));
    let mut serve = tool();
    serve.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(world.folder.path());
    serve.env("BATON_STORE_URL", "sqlite:other.db").env("BATON_ARCHIVE_URL", "file:///proc/none");
    let refused = run(serve, 1);
    assert!(
        stderr(&refused).contains("archive.url: expected a folder that can be written"),
        "{}",
        told(&refused)
    );
}
