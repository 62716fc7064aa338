//! What people see: tables in a pipe and on a terminal, pages, times, and text of others that a terminal must not obey.

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};
use serde_json::json;

use crate::support::{PATIENT, QUICK, World, run, stdout, until};

/// What a command writes to a terminal of this size; it must succeed.
fn on_terminal(mut command: Command, columns: u16, rows: u16) -> String {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).unwrap();
    command.env("TERM", "xterm").env("NO_COLOR", "1").stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(terminal.slave).spawn().unwrap();
    // Ends with an error once all that had it open as a terminal are gone, this process's own copies included.
    drop(command);
    let mut told = Vec::new();
    let _ = File::from(terminal.master).read_to_end(&mut told);
    assert!(child.wait().unwrap().success());
    String::from_utf8(told).unwrap().replace("\r\n", "\n")
}

#[test]
fn a_table_in_a_pipe_has_all_columns_and_no_line_is_broken_or_cut() {
    let world = World::new(QUICK);
    let queue = "a-queue-with-a-name-that-alone-is-longer-than-half-of-a-terminal-is-wide";
    let id = world.create(&["--queue", queue]);
    let mut command = world.command(&["task", "list"]);
    command.env("COLUMNS", "40");
    let text = stdout(&run(command, 0));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    let names: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(names, ["ID", "STATUS", "TYPE", "QUEUE", "TRIES", "WORKER", "PRIORITY", "CREATED"]);
    assert!(lines[1].starts_with(&id) && lines[1].contains(queue), "{text}");
    for arguments in [&["queue", "list"][..], &["stats"], &["task", "history", &id]] {
        let text = stdout(&run(world.command(arguments), 0));
        assert!(!text.contains('\u{1b}') && (text.contains(queue) || arguments[0] == "task"), "{text}");
    }
}

#[test]
fn ids_stay_whole_on_a_terminal_of_any_width() {
    let world = World::new(QUICK);
    let ids: Vec<String> = ["images", "thumbs"].map(|queue| world.create(&["--queue", queue])).into();
    for width in [0, 1, 40, 60, 80, 200] {
        let text = on_terminal(world.command(&["task", "list"]), width, 24);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{width}: {text}");
        assert!(lines[1].starts_with(&ids[1]) && lines[2].starts_with(&ids[0]), "{width}: {text}");
        if width == 0 || width >= 80 {
            assert!(lines[0].contains("QUEUE"), "queues differ: {width}: {text}");
            let most = if width == 0 { 80 } else { usize::from(width) };
            assert!(lines.iter().all(|line| line.chars().count() <= most), "{width}: {text}");
        }
    }
    let text = on_terminal(world.command(&["task", "list", "--queue", "images"]), 70, 24);
    assert!(!text.contains("QUEUE"), "all are of one queue: {text}");
}

#[test]
fn columns_are_chosen_by_name() {
    let world = World::new(QUICK);
    let id = world.create(&["--domain", "books", "--delay", "1h"]);
    let list = |columns: &str| world.command(&["task", "list", "--columns", columns]);
    let text = stdout(&run(list("domain,ID,assigned-by"), 0));
    assert_eq!(text, format!("DOMAIN  ID                                    ASSIGNED BY\nbooks   {id}  -\n"));
    assert!(stdout(&run(list("due"), 0)).contains("in "));
    let output = run(list("id,domian"), 2);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("--columns: expected some of id,status,type,queue,")
            && error.contains("the nearest is domain"),
        "{error}"
    );
    for list in ["worker", "queue", "generation"] {
        run(world.command(&[list, "list", "--columns", "no"]), 2);
    }
}

#[test]
fn a_table_longer_than_the_terminal_is_high_is_shown_by_the_pager() {
    let world = World::new(QUICK);
    for _ in 0..10 {
        world.create(&[]);
    }
    let shown = world.path("shown");
    let list = |more: &[&str], pager: &str| {
        let mut command = world.command(&[&["task", "list"], more].concat());
        command.env("PAGER", pager);
        command
    };
    let pager = format!("cat > '{}'; echo paged", shown.display());
    assert_eq!(on_terminal(list(&[], &pager), 80, 10), "paged\n");
    assert_eq!(std::fs::read_to_string(&shown).unwrap().lines().count(), 11);
    // What fits, what is not wanted so, and what cannot be shown so comes as it is.
    for (text, why) in [
        (on_terminal(list(&[], &pager), 80, 24), "it fits"),
        (on_terminal(list(&["--no-pager"], &pager), 80, 10), "--no-pager"),
        (on_terminal(list(&[], ""), 80, 10), "no pager is wanted"),
        (on_terminal(list(&[], "/no/such/pager 2>/dev/null"), 80, 10), "there is no such pager"),
        (on_terminal(list(&["-o", "json", "--limit", "1"], &pager), 80, 10), "JSON"),
    ] {
        assert!(text.lines().count() >= 11 && !text.contains("paged"), "{why}: {text}");
    }
    // A pager that is left early is no error.
    on_terminal(list(&[], "head -n 1"), 80, 10);
    assert_eq!(stdout(&run(list(&[], &pager), 0)).lines().count(), 11, "a pipe has no pager");
}

#[test]
fn what_a_terminal_would_obey_is_shown_and_not_done() {
    let world = World::new(PATIENT);
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}a\0b\u{9b}31m\rc\u{202e}gpj.exe";
    let worker = "printf '\\033[2J\\033]0;owned\\007oops\\r\\n' >&2; \
                  if [ $BATON_PARAMS = 1 ]; then exit 3; fi; \
                  printf '::baton {\"message\": \"\\\\u001b[31mhalf\", \"location\": \"/a\\\\u001b[2J\\\\u202eb\"}\\n'; echo '\"\\u202e\"'";
    let _worker = world.worker_with(&[], worker);
    let good = world.create(&["--description", &evil.replace('\0', ""), "--params", "0"]);
    let bad = world.create(&["--params", "1", "--max-attempts", "1"]);
    world.becomes(&good, "completed");
    world.becomes(&bad, "failed");
    until("the log lines are there", || {
        let lines = world.json(&["logs"])["items"].as_array().unwrap().len();
        (lines >= 2).then_some(())
    });
    let generation = world.task(&good)["generation"]["id"].as_str().unwrap().to_owned();
    let harmful = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    for arguments in [
        &["task", "show", &good][..],
        &["task", "show", &bad],
        &["task", "history", &bad],
        &["task", "list", "--columns", "id,description,error"],
        &["generation", "list"],
        &["generation", "show", &generation],
        &["logs"],
        &["timeline"],
        &["timeline", "--task", &bad],
        &["worker", "show", "w1"],
    ] {
        let output = run(world.command(arguments), 0);
        let text = stdout(&output) + &String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains(harmful), "{arguments:?}: {text:?}");
    }
    let text = stdout(&run(world.command(&["task", "show", &bad]), 0));
    assert!(text.contains("\\x1b[2J\\x1b]0;owned\\x07oops"), "{text}");
    let output = run(world.command(&["task", "watch", &bad]), 6);
    let text = stdout(&output) + &String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("oops") && !text.contains(harmful), "{text:?}");
    // JSON is exact.
    assert_eq!(world.task(&good)["task"]["description"], json!(evil.replace('\0', "")));
    assert_eq!(world.task(&good)["generation"]["location"], "/a\u{1b}[2J\u{202e}b");
}

#[test]
fn times_are_those_of_this_machines_zone_unless_utc_is_asked_for() {
    let world = World::new(QUICK);
    let id = world.create(&["--run-after", "2199-07-01T12:00:00Z"]);
    let show = |zone: &str, more: &[&str]| {
        let mut command = world.command(&[&["task", "show", &id], more].concat());
        command.env("TZ", zone);
        stdout(&run(command, 0))
    };
    // A POSIX zone, which needs no database: five and a half hours east of Greenwich.
    assert!(show("IST-5:30", &[]).contains("status       created until 2199-07-01T17:30:00.000+05:30 (in "));
    for (zone, more) in [("IST-5:30", &["--utc"][..]), ("UTC0", &[])] {
        assert!(
            show(zone, more).contains("status       created until 2199-07-01T12:00:00.000Z (in "),
            "{zone}"
        );
    }
    // JSON has UTC always; a time without an offset is one of this zone.
    let mut command =
        world.command(&["task", "create", "--type", "a", "--run-after", "2199-07-01T17:30", "-o", "json"]);
    command.env("TZ", "IST-5:30");
    assert!(stdout(&run(command, 0)).contains("\"run_after\": \"2199-07-01T12:00:00.000Z\""));
}

#[test]
fn facts_without_content_are_left_out() {
    let world = World::new(PATIENT);
    // Progress that says neither how far nor what.
    let _worker = world.worker("echo '::baton {\"message\": \"\"}'; sleep 600");
    let id = world.create(&["--description", ""]);
    until("the worker has told", || (!world.task(&id)["progress"].is_null()).then_some(()));
    let text = stdout(&run(world.command(&["task", "show", &id]), 0));
    for name in ["progress", "description"] {
        assert!(!text.contains(name), "{text}");
    }
}

#[test]
fn statistics_of_many_queues_are_bounded_and_name_the_rest() {
    let world = World::new(QUICK);
    let lines = world.path("tasks.jsonl");
    let line = |number| format!("{{\"type\":\"a\",\"queue\":\"q{number}\"}}\n");
    std::fs::write(&lines, (0..1_200).map(line).collect::<String>()).unwrap();
    run(world.command(&["task", "create", "--from", lines.to_str().unwrap()]), 0);
    let text = stdout(&run(world.command(&["stats"]), 0));
    assert!(text.starts_with("tasks    1200 waiting, "), "{text}");
    assert!(
        text.contains("\nand 1100 queues more with fewer tasks at work: 1100 waiting, 0 running, "),
        "{text}"
    );
    assert!(text.contains("\nand 1100 rows more, of 1100 tasks\n"), "{text}");
    // A hundred queues, what they hold, and a few lines about all.
    assert!(text.lines().count() < 250, "{}", text.lines().count());
}

#[test]
fn tasks_that_wait_for_others_are_made_shown_and_cancelled_with_them() {
    let world = World::new(QUICK);
    let first = world.create(&["--params", "1"]);
    let second = world.create(&["--depends-on", &first, "--if-dependency-fails", "fail"]);
    let third = world.create(&["--depends-on", &first, "--depends-on", &second]);
    let shown = stdout(&run(world.command(&["task", "graph", &second]), 0));
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 5, "{shown}");
    for (line, words) in [
        (0, &["ID", "TYPE", "QUEUE", "STATUS", "CREATED", "CRITICAL", "WAITS FOR"][..]),
        (1, &[&first, "queued", "*"]),
        (2, &[&second, "blocked", "*", &first]),
        (3, &[&third, "blocked", "*", &first, &second]),
        (4, &["critical path: 3 tasks (*) in "]),
    ] {
        assert!(words.iter().all(|word| lines[line].contains(word)), "{words:?}: {shown}");
    }
    let graph = world.json(&["task", "graph", &second]);
    assert_eq!((graph["nodes"].as_array().unwrap().len(), graph["edges"].as_array().unwrap().len()), (3, 3));
    let shown = stdout(&run(world.command(&["task", "show", &second]), 0));
    assert!(shown.contains("blocked") && shown.contains(&first), "{shown}");

    run(world.command(&["task", "cancel", &first, "--with-dependants", "--by", "ann"]), 0);
    for id in [&first, &second, &third] {
        assert_eq!(world.task(id)["task"]["status"], "cancelled");
    }
    let unknown = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    let refused = run(world.command(&["task", "create", "--type", "t", "--depends-on", unknown]), 4);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("--depends-on") && told.contains(unknown), "{told}");
}

#[test]
fn why_a_task_waits_is_told_in_lines_with_what_to_do() {
    let world = World::new(QUICK);
    let first = world.create(&["--queue", "images"]);
    let id = world.create(&["--queue", "images", "--depends-on", &first]);
    run(world.command(&["limit", "set", "queue/images/project/default", "--running", "0"]), 0);
    run(world.command(&["queue", "pause", "images", "--by", "ada", "--reason", "new drivers"]), 0);
    let text = stdout(&run(world.command(&["task", "why", &id]), 0));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    let graph = format!("(see: baton task graph {id})");
    for (line, words) in [
        (0, &[&*id, "of queue images) is blocked: no claim is given it"][..]),
        (1, &["1. it waits for 1 task to end: ", &first, " (queued) ", &graph]),
        (
            2,
            &[
                "2. queue images is paused since ",
                " by ada: new drivers",
                "(to go on: baton queue resume images)",
            ],
        ),
        (
            3,
            &["3. the limit of queue/images/project/default is full", "(see: baton limit show queue/images/"],
        ),
        (4, &["4. no live worker takes type ", "(to go on: baton worker run --queue images -- COMMAND)"]),
    ] {
        assert!(words.iter().all(|word| lines[line].contains(word)), "{words:?}: {text}");
    }
    // The command that it names lifts what it stands beside.
    run(world.command(&["queue", "resume", "images"]), 0);
    let why = world.json(&["task", "why", &id[..30]]);
    let words: Vec<_> = why["reasons"].as_array().unwrap().iter().map(|one| one["reason"].clone()).collect();
    assert_eq!(words, [json!("blocked"), json!("at_limit"), json!("no_worker")]);
    run(world.command(&["task", "cancel", &first]), 0);
    let text = stdout(&run(world.command(&["task", "why", &id]), 0));
    assert!(text.ends_with("is cancelled: it does not wait: it is cancelled\n"), "{text}");
    run(world.command(&["task", "why", "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"]), 3);
}
