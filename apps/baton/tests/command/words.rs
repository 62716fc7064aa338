//! The same thing is told by the same words, wherever it is told; and long lists are told as counts and sums.

use std::process::Command;

use crate::support::{QUICK, World, told};

/// What a command prints, on stdout and on stderr.
fn run(mut command: Command) -> (String, String) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The cells of the first row below the table's head, by the head's words of one letter case.
fn cell(table: &str, column: &str) -> String {
    let mut lines = table.lines().skip_while(|line| !line.contains(column));
    let (head, row) = (lines.next().unwrap(), lines.next().unwrap());
    let at = head.find(column).unwrap();
    row[at..].split("  ").next().unwrap().trim().to_owned()
}

#[test]
fn a_task_that_waits_is_told_by_the_same_word_everywhere_with_the_time_that_it_waits_for() {
    let world = World::new(QUICK);
    let due = "2199-07-01T12:00:00.000";
    let create = ["task", "create", "--type", "a", "--queue", "later", "--run-after", "2199-07-01T12:00:00Z"];
    let (id, note) = run(world.command(&create));
    let id = id.trim();
    assert!(note.contains(&format!("created until {due}")), "{note}");
    let (list, _) = run(world.command(&["task", "list"]));
    assert!(cell(&list, "STATUS").starts_with("created in "), "{list}");
    let (shown, _) = run(world.command(&["task", "show", id, "--utc"]));
    assert!(shown.contains(&format!("status       created until {due}")), "{shown}");
    let (history, _) = run(world.command(&["task", "history", id, "--utc"]));
    assert_eq!(cell(&history, "STATUS"), "created", "{history}");
    assert!(history.contains(&format!("until {due}")), "{history}");
    let (stats, _) = run(world.command(&["stats"]));
    assert!(stats.starts_with("tasks    1 waiting, 0 running"), "{stats}");
    for (column, tasks) in [("QUEUED", "0"), ("CREATED", "1"), ("RETRY", "0")] {
        assert_eq!(cell(&stats, column), tasks, "{column} in\n{stats}");
    }
    run(world.command(&["task", "cancel", id]));
    let (_, note) = run(world.command(&["task", "retry", id, "--delay", "1h"]));
    assert!(note.contains("is created until "), "{note}");
    let history = world.task(id)["history"].clone();
    let statuses: Vec<_> = history.as_array().unwrap().iter().map(|event| &event["status"]).collect();
    assert_eq!(statuses, ["created", "cancelled", "created"]);
}

#[test]
fn statistics_of_many_queues_are_short_and_tell_the_rest_as_a_count_and_a_sum() {
    let world = World::new(QUICK);
    let file = world.path("tasks.jsonl");
    let lines: Vec<_> = (0..250).map(|n| format!("{{\"type\": \"a\", \"queue\": \"q{n:03}\"}}\n")).collect();
    std::fs::write(&file, lines.concat()).unwrap();
    run(world.command(&["task", "create", "--from", file.to_str().unwrap()]));
    let (stats, _) = run(world.command(&["stats"]));
    assert!(stats.starts_with("tasks    250 waiting"), "{stats}");
    assert!(stats.lines().count() < 220, "{} lines", stats.lines().count());
    let rest = "and 150 queues more with fewer tasks at work: 150 waiting, 0 running, 0 completed, 0 failed, 0 cancelled";
    assert!(stats.contains(rest), "{stats}");
    assert!(stats.contains("and 150 rows more, of 150 tasks"), "{stats}");
    let json = world.json(&["stats"]);
    assert_eq!(json["queues"].as_array().unwrap().len(), 100);
    assert_eq!(json["other_queues"]["queues"], 150);
}
