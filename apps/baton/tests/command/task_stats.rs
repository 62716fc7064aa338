//! `baton task stats`.

use serde_json::json;

use crate::support::{QUICK, World, run, stderr, stdout, until};

#[test]
fn the_newest_tasks_are_counted_by_what_they_are_and_those_that_need_a_look_are_named() {
    let world = World::new(QUICK);
    let none = world.json(&["task", "stats"]);
    assert_eq!((&none["tasks"], none["recent_activity"].as_array().unwrap().len()), (&json!(0), 7), "{none}");

    let _failing = world.worker_named("w1", &["--type", "fails"], "exit 3");
    let _slow = world.worker_named("w2", &["--type", "slow"], "exec sleep 300");
    let failed =
        world.json(&["task", "create", "--type", "fails", "--domain", "x", "--max-attempts", "1"])["id"]
            .clone();
    let slow = world.json(&["task", "create", "--type", "slow", "--domain", "y"])["id"].clone();
    for _ in 0..2 {
        world.create(&["--domain", "y", "--delay", "1h"]);
    }
    world.becomes(failed.as_str().unwrap(), "failed");
    world.becomes(slow.as_str().unwrap(), "running");

    let stats = world.json(&["task", "stats", "--attempts", "1", "--running-for", "1h"]);
    assert_eq!(stats["status_counts"], json!({"created": 2, "failed": 1, "running": 1}), "{stats}");
    assert_eq!(stats["type_counts"], json!({"fails": 1, "slow": 1, "test": 2}), "{stats}");
    assert_eq!(stats["domain_counts"], json!({"x": 1, "y": 3}), "{stats}");
    let days = stats["recent_activity"].as_array().unwrap();
    let sum = |count: &str| days.iter().map(|day| day[count].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("created_count"), sum("completed_count"), sum("failed_count")), (4, 0, 1), "{stats}");
    assert_eq!((&stats["long_running"], &stats["more"]), (&json!([]), &json!(false)), "{stats}");
    // A running attempt counts as one.
    let tried: Vec<_> = stats["high_attempts"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert!(tried.contains(&&failed) && tried.contains(&&slow) && tried.len() == 2, "{stats}");

    // What has run for long is told also where it is not among the newest.
    let of_one = until("it has run for long", || {
        let stats = world.json(&["task", "stats", "--limit", "1", "--running-for", "100ms"]);
        (stats["long_running"] != json!([])).then_some(stats)
    });
    assert_eq!((&of_one["tasks"], &of_one["more"]), (&json!(1), &json!(true)), "{of_one}");
    assert_eq!(
        (&of_one["long_running"][0]["id"], &of_one["long_running"][0]["locked_by"]),
        (&slow, &json!("w2"))
    );
    let shown =
        run(world.command(&["task", "stats", "--attempts", "1", "--running-for", "0s", "--limit", "2"]), 0);
    let text = stdout(&shown);
    for part in ["DOMAIN", "DAY (UTC)", "RUNS LONG", "w2"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(stderr(&shown).contains("of the newest 2 tasks"), "{}", stderr(&shown));
    let of_x = world.json(&["task", "stats", "--domain", "x", "--running-for", "0s"]);
    assert_eq!(
        (&of_x["tasks"], &of_x["long_running"]),
        (&json!(1), &json!([])),
        "filters hold for all of it"
    );
}
