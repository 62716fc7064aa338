//! `baton task cancel|retry|change` with filters, and `baton bulk`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use serde_json::json;

use crate::support::terminal::Terminal;
use crate::support::{QUICK, World, run, stderr, stdout, told, tool};

#[test]
fn many_tasks_are_changed_cancelled_and_retried_by_filters() {
    let world = World::new(QUICK);
    let ids: Vec<_> = (0..3).map(|_| world.create(&["--queue", "gpu"])).collect();
    let other = world.create(&["--queue", "cpu"]);
    let change = ["task", "change", "--queue", "gpu", "--priority", "high", "--yes", "--by", "ana"];
    let bulk = world.json(&change);
    assert_eq!((&bulk["state"], &bulk["changed"], &bulk["by"]), (&json!("done"), &json!(3), &json!("ana")));
    assert_eq!(world.task(&ids[1])["task"]["priority"], "high");
    let output = run(world.command(&["task", "cancel", "--queue", "gpu", "--yes"]), 0);
    assert!(stderr(&output).contains("is done: 3 tasks changed"), "{}", told(&output));
    let output =
        run(world.command(&["task", "cancel", "--queue", "gpu", "--status", "cancelled", "--yes"]), 0);
    assert!(stderr(&output).contains("0 tasks changed, 3 skipped (3 already)"), "{}", told(&output));
    run(world.command(&["task", "retry", "--queue", "gpu", "--yes"]), 0);
    for id in &ids {
        assert_eq!(world.task(id)["task"]["status"], "queued");
    }
    assert_eq!(world.task(&other)["task"]["priority"], "normal");
    let list = world.json(&["bulk", "list"]);
    let made: Vec<_> = list["items"].as_array().unwrap().iter().map(|bulk| bulk["do"].clone()).collect();
    assert_eq!(made, ["retry", "cancel", "cancel", "change"]);
    let id = bulk["id"].as_str().unwrap();
    assert_eq!(world.json(&["bulk", "show", id]), bulk);
    assert_eq!(world.json(&["bulk", "abort", id]), bulk, "it has ended");
    assert!(stdout(&run(world.command(&["bulk", "list"]), 0)).contains("3 tasks changed"));
    run(world.command(&["bulk", "show", "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"]), 3);
}

#[test]
fn nothing_is_done_to_many_tasks_unasked_or_without_a_filter() {
    let world = World::new(QUICK);
    let id = world.create(&["--queue", "gpu"]);
    let output = run(world.command(&["task", "cancel", "--queue", "gpu"]), 2);
    assert!(stderr(&output).contains("cancel 1 task(s)?"), "{}", told(&output));
    assert!(stderr(&output).contains("--yes"), "{}", told(&output));
    let output = run(world.command(&["task", "cancel", "--yes"]), 2);
    assert!(stderr(&output).contains("a task's id, or a filter"), "{}", told(&output));
    let output = run(world.command(&["task", "cancel", &id, "--queue", "gpu"]), 2);
    assert!(stderr(&output).contains("got both"), "{}", told(&output));
    let output = run(world.command(&["task", "cancel", "--queue", "gpu", "--with-dependants", "--yes"]), 2);
    assert!(stderr(&output).contains("--with-dependants"), "{}", told(&output));
    assert_eq!(world.task(&id)["task"]["status"], "queued");
}

#[test]
fn only_ended_tasks_are_deleted() {
    let world = World::new(QUICK);
    let ids: Vec<_> = (0..3).map(|_| world.create(&["--queue", "gpu"])).collect();
    run(world.command(&["task", "cancel", &ids[0]]), 0);
    run(world.command(&["task", "cancel", &ids[1]]), 0);
    let output = run(world.command(&["task", "delete", &ids[0], &ids[2], "--yes"]), 0);
    assert!(stderr(&output).contains("1 tasks changed, 1 skipped (1 queued)"), "{}", told(&output));
    run(world.command(&["task", "show", &ids[0]]), 3);
    let bulk = world.json(&["task", "delete", "--queue", "gpu", "--yes"]);
    assert_eq!((&bulk["do"], &bulk["changed"]), (&json!("delete"), &json!(1)));
    assert_eq!(world.task(&ids[2])["task"]["status"], "queued");
}

/// Answers the question that a command asks at a terminal, and waits for what it says then; the answer is whether it has succeeded.
fn answers(world: &World, arguments: &[&str], (question, answer): (&str, &str), said: &str) -> bool {
    let mut terminal = Terminal::new(world.command(arguments));
    terminal.shows(&format!("{question} task(s)? [y/N]"));
    terminal.press(&format!("{answer}\n"));
    terminal.shows(said);
    terminal.ends().success()
}

#[test]
fn each_command_to_many_tasks_asks_at_a_terminal_and_goes_on_only_if_it_is_agreed_to() {
    let world = World::new(QUICK);
    let id = world.create(&["--queue", "gpu"]);
    let status = || world.task(&id)["task"]["status"].as_str().unwrap().to_owned();
    let priority = || world.task(&id)["task"]["priority"].as_str().unwrap().to_owned();

    let change = ["task", "change", "--queue", "gpu", "--priority", "high"];
    assert!(!answers(&world, &change, ("change 1", "n"), "nothing was done"));
    assert_eq!(priority(), "normal");
    assert!(answers(&world, &change, ("change 1", "y"), "1 tasks changed"));
    assert_eq!(priority(), "high");

    let cancel = ["task", "cancel", "--queue", "gpu"];
    assert!(!answers(&world, &cancel, ("cancel 1", "n"), "nothing was done"));
    assert_eq!(status(), "queued");
    assert!(answers(&world, &cancel, ("cancel 1", "y"), "1 tasks changed"));
    assert_eq!(status(), "cancelled");

    let retry = ["task", "retry", "--queue", "gpu"];
    assert!(!answers(&world, &retry, ("retry 1", "n"), "nothing was done"));
    assert_eq!(status(), "cancelled");
    assert!(answers(&world, &retry, ("retry 1", "y"), "1 tasks changed"));
    assert_eq!(status(), "queued");

    // Of the two that are named, one has ended.
    let ended = world.create(&["--queue", "cpu"]);
    run(world.command(&["task", "cancel", &ended]), 0);
    let by_ids = ["task", "delete", ended.as_str(), id.as_str()];
    for delete in [&["task", "delete", "--queue", "cpu"][..], &by_ids[..]] {
        assert!(!answers(&world, delete, ("delete 1", "n"), "nothing was done"));
    }
    assert_eq!(world.task(&ended)["task"]["status"], "cancelled");
    assert!(answers(&world, &by_ids, ("delete 1", "y"), "1 tasks changed"));
    run(world.command(&["task", "show", &ended]), 3);
    assert_eq!(status(), "queued");
}

/// A server that has one command for many tasks: it has counted these as `count` says, and each look finds a thousand more done, until it
/// is over with the fifth.
fn busy_server(count: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut looks = 0_u64;
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut asked, mut length) = (String::new(), 0);
            reader.read_line(&mut asked).unwrap();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let line = line.trim().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(bytes) = line.strip_prefix("content-length:") {
                    length = bytes.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            looks += u64::from(asked.starts_with("GET "));
            let answer = match String::from_utf8(body).unwrap().contains("dry_run") {
                true => count.to_owned(),
                false => json!({
                    "id": "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f", "do": "cancel", "filter": {"queue": "gpu"},
                    "state": if looks < 5 { "running" } else { "done" }, "looked_at": looks * 1_000,
                    "changed": looks * 1_000, "created_at": "2026-01-31T08:15:00.000Z",
                })
                .to_string(),
            };
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
            let length = answer.len();
            // Whoever has gone away is not told.
            let _ = write!(reader.into_inner(), "{head}\r\ncontent-length: {length}\r\n\r\n{answer}");
        }
    });
    url
}

#[test]
fn how_far_a_long_command_is_is_shown_by_a_bar_or_by_a_wheel_where_nobody_knows_of_how_many() {
    for (count, question, shown) in [
        (r#"{"matches":4000}"#, "cancel 4000", "]  50 % 2000 of 4000, 2000 changed, "),
        (r#"{"matches":10000,"more":true}"#, "cancel 10000 or more", "- 2000 looked at, 2000 changed, "),
        (
            r#"{"matches":10000,"more":true,"about":20000}"#,
            "cancel about 20000",
            "]  10 % 2000 of 20000, 2000 changed, ",
        ),
    ] {
        let mut command = tool();
        command.args(["task", "cancel", "--queue", "gpu"]).env("BATON_URL", busy_server(count));
        let mut terminal = Terminal::new(command);
        terminal.shows(&format!("{question} task(s)? [y/N]"));
        terminal.press("y\n");
        terminal.shows("is done: 5000 tasks changed");
        assert!(terminal.ends().success());
        assert!(terminal.raw().contains(shown), "{count}: {:?}", terminal.raw());
    }
}

#[test]
fn a_command_with_a_name_is_made_once_however_often_it_is_given() {
    let world = World::new(QUICK);
    let id = world.create(&["--queue", "gpu"]);
    run(world.command(&["task", "cancel", &id]), 0);
    let retry = ["task", "retry", "--queue", "gpu", "--yes", "--idempotency-key", "once"];
    let first = world.json(&retry);
    assert_eq!(first["changed"], 1);
    run(world.command(&["task", "cancel", &id]), 0);
    assert_eq!(world.json(&retry), first);
    assert_eq!(world.task(&id)["task"]["status"], "cancelled", "it was put back once");
    let named = |arguments: &[&str], key: &str, code| {
        let output = world.run(&[arguments, &["--idempotency-key", key]].concat(), code);
        stderr(&output)
    };
    let other = named(&["task", "retry", "--queue", "cpu", "--yes"], "once", 4);
    assert!(other.contains("was used before with another request"), "{other}");
    let wrong = named(&["task", "retry", "--queue", "gpu", "--yes"], "a b", 1);
    assert!(wrong.contains("--idempotency-key: expected"), "{wrong}");
    // What is meant by these is another time each time.
    for ages in ["--since", "--before"] {
        let wrong = named(&["task", "retry", "--queue", "gpu", "--yes", ages, "1h"], "k", 2);
        assert!(wrong.contains(ages), "{wrong}");
    }
    let alone = named(&["task", "retry", &id], "k", 2);
    assert!(alone.contains("got both"), "{alone}");
}
