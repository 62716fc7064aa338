//! `baton task change`.

use serde_json::json;

use crate::support::{QUICK, World, run, stderr, stdout, told};

#[test]
fn a_task_that_waits_is_changed_and_its_history_says_from_what_to_what() {
    let world = World::new(QUICK);
    let id = world.create(&["--delay", "1h"]);
    let options =
        ["--priority", "high", "--delay", "0s", "--timeout", "10m", "--max-attempts", "5", "--by", "ana"];
    let task = world.json(&[&["task", "change", &id][..], &options].concat());
    assert_eq!((&task["priority"], &task["status"]), (&json!("high"), &json!("queued")));
    assert_eq!((&task["timeout_seconds"], &task["max_attempts"]), (&json!(600.0), &json!(5)));
    let history = stdout(&run(world.command(&["task", "history", &id]), 0));
    for told in ["changed", "by ana", "priority normal → high", "timeout none → 10m", "attempts 3 → 5"]
    {
        assert!(history.contains(told), "{told}: {history}");
    }
    let output = run(world.command(&["task", "change", &id, "--timeout", "none", "--delay", "1h"]), 0);
    assert!(stderr(&output).contains(" is created until "), "{}", told(&output));
    assert!(world.task(&id)["task"].get("timeout_seconds").is_none());
}

#[test]
fn a_change_that_cannot_be_made_says_what_to_do() {
    let world = World::new(QUICK);
    let id = world.create(&[]);
    let output = run(world.command(&["task", "change", &id]), 2);
    assert!(stderr(&output).contains("--priority"), "{}", told(&output));
    run(world.command(&["task", "cancel", &id]), 0);
    let output = run(world.command(&["task", "change", &id, "--priority", "low"]), 4);
    assert!(stderr(&output).contains("got one that is cancelled"), "{}", told(&output));
    run(world.command(&["task", "change", "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f", "--priority", "low"]), 3);
}

#[test]
fn a_task_that_waits_is_put_into_another_queue() {
    let world = World::new(QUICK);
    let id = world.create(&["--queue", "gpu"]);
    let task = world.json(&["task", "change", &id, "--to-queue", "cpu", "--by", "ana"]);
    assert_eq!((&task["queue"], &task["status"]), (&json!("cpu"), &json!("queued")));
    let history = stdout(&run(world.command(&["task", "history", &id]), 0));
    assert!(history.contains("queue gpu → cpu"), "{history}");
    let output = run(world.command(&["task", "change", &id, "--to-queue", "c pu"]), 2);
    assert!(stderr(&output).contains("--to-queue"), "{}", told(&output));
    // All of a queue: there --queue says which tasks.
    let more = [world.create(&["--queue", "gpu"]), world.create(&["--queue", "gpu"])];
    let bulk = world.json(&["task", "change", "--queue", "gpu", "--to-queue", "cpu", "--yes"]);
    assert_eq!((&bulk["changed"], &bulk["with"]), (&json!(2), &json!({"queue": "cpu"})));
    for id in &more {
        assert_eq!(world.task(id)["task"]["queue"], "cpu");
    }
}
