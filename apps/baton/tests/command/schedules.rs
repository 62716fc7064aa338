//! `baton schedule`: what is set, shown, paused and deleted, and tasks that come at their times while a server runs and is killed.

use serde_json::{Value, json};

use crate::support::{PATIENT, World, stderr, stdout, told, until};

const DAILY: [&str; 7] = ["schedule", "create", "daily", "--cron", "@daily", "--type", "backup"];

#[test]
fn a_schedule_is_set_listed_shown_paused_and_deleted() {
    let world = World::new(PATIENT);
    assert!(stderr(&world.run(&["schedule", "list"], 0)).contains("make one with `baton schedule create`"));
    let more = [
        "--time-zone",
        "Europe/Berlin",
        "--queue",
        "disks",
        "--params",
        r#"{"day": "{{date}}"}"#,
        "--if-missed",
        "all",
        "--missed-at-most",
        "3",
        "--if-running",
        "allow",
        "--by",
        "ada",
        "--reason",
        "each night",
    ];
    let made = world.run(&[&DAILY[..], &more[..]].concat(), 0);
    assert_eq!(stdout(&made), "daily\n");
    assert!(stderr(&made).contains("@daily (Europe/Berlin); its next times: "), "{}", told(&made));
    let again = world.run(&[&DAILY[..], &more[..]].concat(), 0);
    assert_eq!(stdout(&again), "daily\n", "the same changes nothing");
    let other = world.run(&DAILY, 4);
    assert!(stderr(&other).contains("there is a schedule default/daily already"), "{}", told(&other));

    let list = stdout(&world.run(&["schedule", "list", "--columns", "schedule,when,type,queue,created"], 0));
    let lines: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(lines[1], ["daily", "@daily (Europe/Berlin)", "backup", "disks", "0"]);
    let shown = stdout(&world.run(&["schedule", "show", "daily", "--utc"], 0));
    for fact in
        ["state        on", "if missed    all, the latest 3", "if running   allow", "by ada: each night"]
    {
        assert!(shown.contains(fact), "{fact}: {shown}");
    }
    let next = stdout(&world.run(&["schedule", "next", "daily", "--limit", "7", "--utc"], 0));
    assert_eq!(next.lines().count(), 7);
    assert!(next.lines().all(|line| line.contains("22:00:00") || line.contains("23:00:00")), "{next}");
    let schedule = world.json(&["schedule", "show", "daily"]);
    assert_eq!((&schedule["time_zone"], &schedule["missed_at_most"]), (&json!("Europe/Berlin"), &json!(3)));

    let paused = world.run(&["schedule", "pause", "daily", "--reason", "a holiday"], 0);
    assert!(stderr(&paused).contains("schedule daily is paused"), "{}", told(&paused));
    // Each is at a full hour.
    let five = |text: &str, led_by: &str| {
        let line =
            text.lines().find(|line| line.contains(led_by)).unwrap_or_else(|| panic!("{led_by}: {text}"));
        assert_eq!(line.matches(":00:00").count(), 5, "{line}");
    };
    five(&stderr(&paused), "if it were resumed now, its next times would be: ");
    assert!(stdout(&world.run(&["schedule", "list"], 0)).contains("paused"));
    five(&stdout(&world.run(&["schedule", "list", "--columns", "schedule,times"], 0)), "daily");
    assert_eq!(world.json(&["schedule", "list"])["items"][0]["next"].as_array().unwrap().len(), 5);
    assert!(stderr(&world.run(&["schedule", "next", "daily"], 0)).contains("it is paused"));
    let resumed = world.run(&["schedule", "resume", "daily"], 0);
    five(&stderr(&resumed), "its next times: ");
    let gone = world.run(&["schedule", "delete", "daily"], 0);
    assert!(stderr(&gone).contains("the tasks that it has created stay"), "{}", told(&gone));
    five(&stderr(&gone), "its next times would have been: ");
    let unknown = world.run(&["schedule", "show", "daily"], 3);
    assert!(stderr(&unknown).contains("there is no schedule default/daily"), "{}", told(&unknown));
}

#[test]
fn what_is_wrong_is_told_by_its_flag() {
    let world = World::new(PATIENT);
    let create = ["schedule", "create", "s", "--type", "a"];
    let wrong = |more: &[&str], said: &str| {
        let output = world.run(&[&create[..], more].concat(), 2);
        assert!(stderr(&output).contains(said), "{}", told(&output));
    };
    wrong(&["--cron", "61 * * * *"], "expected a cron expression such as 30 3 * * MON-FRI");
    wrong(&["--cron", "@daily", "--time-zone", "Mars"], "expected an IANA time zone");
    wrong(&[], "--cron <EXPRESSION>");
    wrong(&["--cron", "@daily", "--every", "5m"], "cannot be used with");
    let refused = world.run(&[&create[..], &["--every", "10ms"]].concat(), 1);
    assert!(stderr(&refused).contains("--every: expected a number of seconds from 1"), "{}", told(&refused));
    let refused =
        world.run(&[&create[..], &["--cron", "@daily", "--ends-at", "2001-01-01T00:00:00Z"]].concat(), 1);
    assert!(
        stderr(&refused).contains("--ends-at: expected a schedule with a time ahead"),
        "{}",
        told(&refused)
    );
}

/// The times that tasks of a type are for, each once.
fn times(world: &World) -> Vec<String> {
    let listed = world.json(&["task", "list", "--type", "tick", "--limit", "500"]);
    let mut times: Vec<String> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task: &Value| task["run_after"].as_str().unwrap().to_owned())
        .collect();
    times.sort();
    times
}

#[test]
fn a_task_comes_each_second_though_the_server_is_killed() {
    let mut world = World::new(PATIENT);
    world.run(
        &["schedule", "create", "tick", "--cron", "* * * * * *", "--type", "tick", "--if-running", "allow"],
        0,
    );
    until("the first tasks", || (times(&world).len() >= 3).then_some(()));
    world.kill_server();
    world.restart_server();
    let seen = times(&world).len();
    until("tasks of after the restart", || (times(&world).len() >= seen + 4).then_some(()));
    world.run(&["schedule", "delete", "tick"], 0);
    let times = times(&world);
    let at = |time: &String| time.parse::<baton_model::Timestamp>().unwrap().as_millis();
    let gaps: Vec<i64> = times.windows(2).map(|pair| at(&pair[1]) - at(&pair[0])).collect();
    assert!(gaps.iter().all(|gap| *gap == 1_000), "each second once, also those of the pause: {times:?}");
    let listed = world.json(&["task", "list", "--type", "tick", "--limit", "500"]);
    for task in listed["items"].as_array().unwrap() {
        let time = |name: &str| task[name].as_str().unwrap().parse::<baton_model::Timestamp>().unwrap();
        assert!(time("created_at") >= time("run_after"), "none before its time: {task}");
    }
}

#[test]
fn a_schedule_that_cannot_be_moved_on_is_tried_again_after_a_while() {
    let world = World::new(PATIENT);
    let refuse = "CREATE TRIGGER refused BEFORE INSERT ON task BEGIN SELECT RAISE(ABORT, 'no'); END";
    rusqlite::Connection::open(world.path("baton.db")).unwrap().execute_batch(refuse).unwrap();
    world.run(&["schedule", "create", "often", "--every", "1s", "--type", "tick"], 0);
    let failures = || {
        let log = world.server_log();
        let lines = log.lines().filter(|line| line.contains("a schedule could not be moved on"));
        let times = lines.map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["timestamp"].as_str().unwrap().parse::<baton_model::Timestamp>().unwrap()
        });
        times.collect::<Vec<_>>()
    };
    let times = until("two failures", || Some(failures()).filter(|times| times.len() >= 2));
    let gap = times[1].since(times[0]);
    assert!(gap.as_secs() >= 4, "tried again after {gap:?}");
}
