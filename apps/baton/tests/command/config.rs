//! `baton config`: what is listed, set, told and unset, and what is refused.

use serde_json::{Value, json};

use crate::support::{PATIENT, World, stderr, stdout, told, until};

/// A setting as the list has it.
fn setting(world: &World, key: &str) -> Value {
    let listed = world.json(&["config", "list"]);
    listed["items"].as_array().unwrap().iter().find(|one| one["key"] == key).cloned().unwrap()
}

#[test]
fn a_setting_is_set_listed_told_and_unset() {
    let world = World::new(PATIENT);
    let set =
        world.run(&["config", "set", "retention.log_hours", "12", "--by", "ada", "--reason", "the disk"], 0);
    assert!(stderr(&set).contains("retention.log_hours is 12 in the store; before: unset"), "{}", told(&set));
    assert!(stderr(&set).contains("in force: 12, from the store, set by ada"), "{}", told(&set));
    let again = world.run(&["config", "set", "retention.log_hours", "12"], 0);
    assert!(stderr(&again).contains("is 12 in the store as before"), "{}", told(&again));
    let one = setting(&world, "retention.log_hours");
    assert_eq!(
        (&one["value"], &one["layer"], &one["stored"]["set_by"]),
        (&json!("12"), &json!("store"), &json!("ada"))
    );
    let list = stdout(&world.run(&["config", "list", "--changed"], 0));
    let line = list.lines().find(|line| line.starts_with("retention.log_hours")).unwrap();
    assert_eq!(
        line.split_whitespace().take(4).collect::<Vec<_>>(),
        ["retention.log_hours", "12", "store", "12"]
    );
    let explained = stdout(&world.run(&["config", "list", "--explain"], 0));
    for part in [
        "How many hours the workers' log lines are kept",
        "Expects a whole number of hours from 1 to 87600; by default 48.",
        "by ada: the disk",
    ] {
        assert!(explained.contains(part), "{part} is not in {explained}");
    }
    let got = world.run(&["config", "get", "retention.log_hours"], 0);
    assert_eq!(stdout(&got), "12\n");
    assert!(stderr(&got).contains("by ada: unset -> 12: the disk"), "{}", told(&got));
    let gone = world.run(&["config", "unset", "retention.log_hours"], 0);
    assert!(
        stderr(&gone).contains("retention.log_hours is unset in the store; before: 12"),
        "{}",
        told(&gone)
    );
    assert!(stderr(&gone).contains("in force: 48, from the default"), "{}", told(&gone));
}

#[test]
fn what_the_file_sets_wins_and_what_does_not_fit_is_refused() {
    let world = World::with_file("baton.toml", "[reaper]\ninterval_seconds = 0.5\n");
    let set = world.run(&["config", "set", "reaper.interval_seconds", "30"], 0);
    let why = "in the store: 30, not in force: the file ";
    assert!(stderr(&set).contains(why) && stderr(&set).contains(" sets 0.5"), "{}", told(&set));
    assert_eq!(setting(&world, "reaper.interval_seconds")["layer"], "file");
    for (arguments, part) in [
        (
            ["config", "set", "retention.log_hours", "0"],
            "expected a whole number of hours from 1 to 87600, got 0",
        ),
        (
            ["config", "set", "store.url", "sqlite:x"],
            "is read at the start only: set it in the file of settings, or by BATON_STORE_URL",
        ),
        (["config", "set", "log.levl", "debug"], "the nearest is log.level"),
    ] {
        let refused = world.run(&arguments, 1);
        assert!(stderr(&refused).contains(part), "{}", told(&refused));
    }
}

#[test]
fn the_level_of_the_log_changes_while_the_server_runs_and_stays_over_a_restart() {
    let mut world = World::new(&[]);
    let asked = |world: &World| {
        world.get("/v1/stats");
        world.server_log().lines().filter(|line| line.contains("/v1/stats")).count()
    };
    assert_eq!(asked(&world), 0, "a request is a line at debug only");
    world.run(&["config", "set", "log.level", "debug"], 0);
    until("the log tells of requests", || (asked(&world) > 0).then_some(()));
    assert!(world.end_server().success());
    world.restart_server();
    let before = asked(&world);
    until("the log tells of requests again", || (asked(&world) > before).then_some(()));
    world.run(&["config", "unset", "log.level"], 0);
    assert_eq!(setting(&world, "log.level")["value"], "info");
}
