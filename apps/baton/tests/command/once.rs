//! Unique keys and expiry, by the command.

use serde_json::json;

use crate::support::{QUICK, World, told};

#[test]
fn a_task_whose_key_is_held_is_not_created_and_the_other_is_told() {
    let world = World::new(QUICK);
    let first = world.create(&["--unique", "k"]);
    let again = ["task", "create", "--type", "work", "--unique", "k", "--unique-while", "1h"];
    let output = world.command(&again).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), first);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not created: this task holds the unique key, and is queued"), "{said}");
    let created = world.json(&["-o", "json", "task", "create", "--type", "work", "--unique", "k"]);
    assert_eq!((&created["id"], &created["deduplicated"]), (&json!(first), &json!(true)));
    let shown = world.command(&["task", "show", &first]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("k, while unfinished"), "{shown}");
    let wrong = world.command(&["task", "create", "--type", "a", "--unique", "k", "--unique-while", "ever"]);
    let output = { wrong }.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("expected queued, unfinished or a duration such as 1h"), "{said}");
}

#[test]
fn a_task_that_nobody_starts_expires_by_itself() {
    let world = World::new(QUICK);
    let id = world.create(&["--expires-after", "200ms"]);
    let task = world.becomes(&id, "failed");
    assert_eq!(task["task"]["error"]["code"], "expired", "the reaper finds it");
    let shown = world.command(&["task", "show", &id]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("expires") && shown.contains("no attempt had begun by then"), "{shown}");
}
