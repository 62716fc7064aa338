//! `baton queue supply`: what is set, shown and taken away, and a queue that is full while a server runs.

use serde_json::json;

use crate::support::{PATIENT, World, stderr, stdout, told, until};

const SET: [&str; 10] = ["queue", "supply", "set", "gpu", "--min", "2", "--target", "5", "--type", "render"];

#[test]
fn a_supply_is_set_listed_shown_and_taken_away() {
    let world = World::new(PATIENT);
    let none = world.run(&["queue", "supply", "list"], 0);
    assert!(stderr(&none).contains("set one with `baton queue supply set`"), "{}", told(&none));
    let more = ["--while-asked", "--params", r#"{"seed": "{{index}}"}"#, "--by", "ada", "--reason", "nights"];
    let made = world.run(&[&SET[..], &more[..]].concat(), 0);
    let said = "queue gpu: refilled up to 5 ready tasks (render) when fewer than 2 are, while a worker takes such tasks";
    assert!(stderr(&made).contains(said), "{}", told(&made));
    let shown = stdout(&world.run(&["queue", "supply", "show", "gpu", "--utc"], 0));
    for fact in [
        "state        while asked",
        "min          2",
        "target       5",
        "by ada: nights",
        r#""seed": "{{index}}""#,
    ] {
        assert!(shown.contains(fact), "{fact}: {shown}");
    }
    let supply = world.json(&["queue", "supply", "show", "gpu"]);
    assert_eq!((&supply["while_asked"], &supply["created"]), (&json!(true), &json!(0)));

    let templates = r#"[{"weight": 3, "task": {"type": "render"}}, {"task": {"type": "bake"}}]"#;
    let several = [
        "queue",
        "supply",
        "set",
        "gpu",
        "--min",
        "2",
        "--target",
        "5",
        "--paused",
        "--templates",
        templates,
    ];
    let made = world.run(&several, 0);
    assert!(
        stderr(&made).contains("(3 × render, 1 × bake)") && stderr(&made).contains("it is paused"),
        "{}",
        told(&made)
    );
    let list = stdout(&world.run(&["queue", "supply", "list", "--columns", "queue,state,target,types"], 0));
    let row = list.lines().nth(1).unwrap();
    for cell in ["gpu", "paused", "5", "3 × render, 1 × bake"] {
        assert!(row.contains(cell), "{list}");
    }
    let gone = world.run(&["queue", "supply", "unset", "gpu"], 0);
    assert!(stderr(&gone).contains("queue gpu refills itself no more"), "{}", told(&gone));
    let unknown = world.run(&["queue", "supply", "show", "gpu"], 3);
    assert!(stderr(&unknown).contains("queue gpu has no supply"), "{}", told(&unknown));
}

#[test]
fn a_queue_is_full_as_long_as_a_server_runs() {
    let world = World::new(PATIENT);
    world.run(&SET, 0);
    let ready = || world.json(&["queue", "show", "gpu"])["queued"].as_u64().unwrap();
    until("the queue is filled", || (ready() == 5).then_some(()));
    world.run(&["queue", "supply", "unset", "gpu"], 0);
    assert_eq!(ready(), 5);
}

fn low<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["queue", "supply", "set", "gpu", "--min", "6", "--target", "5"], more].concat()
}

#[test]
fn what_is_wrong_is_told_by_its_flag() {
    let world = World::new(PATIENT);
    let below = world.run(&low(&["--type", "render"]), 1);
    assert!(stderr(&below).contains("--target: expected min, 6, at least, got 5"), "{}", told(&below));
    let neither = world.run(&low(&[]), 2);
    assert!(stderr(&neither).contains("--templates"), "{}", told(&neither));
    let broken = world.run(&low(&["--templates", "[{"]), 2);
    assert!(stderr(&broken).contains("--templates: expected JSON"), "{}", told(&broken));
    let empty = world.run(&low(&["--templates", "[{}]"]), 2);
    assert!(stderr(&empty).contains("templates[0].task: expected the task to create"), "{}", told(&empty));
}
