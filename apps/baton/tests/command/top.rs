//! `baton top` on a terminal.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::terminal::Terminal;
use crate::support::{QUICK, World, run, stderr, tool, until};

fn top(world: &World, arguments: &[&str]) -> Terminal {
    Terminal::new(world.command(&[&["top", "--interval", "500ms"], arguments].concat()))
}

/// The entries of the audit log of this action.
fn audited(world: &World, action: &str) -> Vec<Value> {
    let all = world.json(&["audit", "--action", action]);
    all["items"].as_array().unwrap().clone()
}

#[test]
fn a_queue_is_paused_and_a_task_cancelled_by_keys_once_y_is_pressed() {
    let world = World::new(QUICK);
    let id = world.create(&["--queue", "images"]);
    let mut terminal = top(&world, &[]);
    terminal.shows("\nimages ");
    // Nobody takes it yet; that is soon told, as `baton debug health` tells it.
    terminal.press("p");
    terminal.shows("pause queue images? what runs goes on y/n");
    terminal.press("n");
    terminal.shows("nothing was done");
    assert_eq!(world.json(&["queue", "show", "images"])["paused"], json!(false));
    terminal.press("py");
    terminal.shows("queue images is paused now; 1 wait");
    let queue = world.json(&["queue", "show", "images"]);
    assert_eq!(
        (&queue["paused"], &queue["pause"]["reason"]),
        (&json!(true), &json!("asked for in baton top"))
    );
    terminal.shows("images           paused");

    terminal.press("\r");
    terminal.shows("it was paused");
    let row = |status: &str| format!("{} {status}", &id[30..]);
    terminal.shows(&row("queued"));
    terminal.press("c");
    terminal.shows(&format!("cancel task {id}? y/n"));
    terminal.press("y");
    terminal.shows(&format!("task {id} is cancelled now"));
    assert_eq!(world.task(&id)["task"]["status"], "cancelled");
    terminal.shows(&row("cancelled"));
    terminal.press("r");
    terminal.shows(&format!("put task {id} back into its queue"));
    terminal.press("y");
    terminal.shows(&format!("task {id} is queued now"));
    terminal.press("\r");
    terminal.shows("is paused");
    terminal.shows("retried (attempt 0)");
    assert_eq!(audited(&world, "pause_queue").len(), 1);

    terminal.press("\u{3}");
    assert!(terminal.ends().success());
    assert!(terminal.comes_back(), "{:?}", terminal.raw());
}

#[test]
fn a_worker_and_what_it_runs_are_shown_and_it_is_drained() {
    let world = World::new(QUICK);
    let _worker = world.worker("echo '::baton {\"progress\": 0.5, \"message\": \"half\"}'; sleep 600");
    let id = world.create(&[]);
    world.becomes(&id, "running");
    let mut terminal = top(&world, &[]);
    terminal.press("3");
    terminal.shows(&id[..8]);
    terminal.shows(" 50% ");
    terminal.press("\r");
    terminal.shows("progress   50% half");
    terminal.press("2");
    terminal.shows("\nw1 ");
    terminal.press("\r");
    terminal.shows("holds      1 of 1 tasks");
    terminal.press("d");
    terminal.shows("drain worker w1?");
    terminal.press("y");
    terminal.shows("worker w1 is asked to drain; it holds 1 tasks");
    terminal.shows("asked to drain");
    assert_eq!(world.json(&["worker", "show", "w1"])["directive"], "drain");
    terminal.press("q");
    assert!(terminal.ends().success() && terminal.comes_back());
}

#[test]
fn a_server_that_goes_away_and_comes_back_is_told_and_the_program_goes_on() {
    let mut world = World::new(QUICK);
    world.create(&["--queue", "images"]);
    let mut terminal = top(&world, &[]);
    terminal.shows("\nimages ");
    world.kill_server();
    terminal.shows(" no answer for ");
    terminal.shows("\nimages ");
    terminal.press("py");
    terminal.shows("could not pause queue images: no answer: ");
    terminal.press("?");
    terminal.shows("cancel the task that is chosen");
    terminal.press("x");
    world.restart_server();
    until("it has heard of the server again", || {
        (!terminal.screen().contains("no answer for")).then_some(())
    });
    assert_eq!(world.json(&["queue", "show", "images"])["paused"], json!(false));
    terminal.press("q");
    assert!(terminal.ends().success() && terminal.comes_back());
}

#[test]
fn a_server_that_stands_still_holds_up_no_key() {
    let world = World::new(QUICK);
    world.create(&["--queue", "images"]);
    let mut terminal = top(&world, &[]);
    terminal.shows("\nimages ");
    world.signal_server(Signal::SIGSTOP);
    terminal.press("2?");
    terminal.shows("cancel the task that is chosen");
    terminal.press("x1\r");
    terminal.shows("› queue images");
    terminal.shows(" no answer for ");
    world.signal_server(Signal::SIGCONT);
    terminal.shows("1 ready; the oldest for ");
    until("it has heard of the server again", || {
        (!terminal.screen().contains("no answer for")).then_some(())
    });
    terminal.press("q");
    assert!(terminal.ends().success() && terminal.comes_back());
}

#[test]
fn the_terminal_is_given_back_on_signals() {
    let world = World::new(QUICK);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut terminal = top(&world, &[]);
        terminal.shows("1 queues");
        assert!(!terminal.is_given_back());
        terminal.program.signal(signal);
        assert!(terminal.ends().success(), "{signal}");
        assert!(terminal.comes_back(), "{signal}: {:?}", terminal.raw());
    }
}

#[test]
fn a_token_that_may_little_is_told_so_and_sees_what_it_may() {
    let mut world = World::new(&[("BATON_TOKENS_REQUIRED", "always")]);
    world.end_server();
    let mut command = tool();
    command.args(["token", "create", "--store", "sqlite:baton.db", "-o", "json"]);
    command.args(["--name", "shop", "--scope", "producer"]).current_dir(world.folder.path());
    let made: Value = serde_json::from_slice(&run(command, 0).stdout).unwrap();
    world.restart_server();
    let secret = made["secret"].as_str().unwrap();
    let with = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("BATON_TOKEN", secret);
        command
    };
    run(with(&["task", "create", "--type", "a", "--queue", "images"]), 0);
    let mut terminal = Terminal::new(with(&["top", "--interval", "500ms"]));
    terminal.shows(" no verdict ");
    terminal.shows("your token may not do that (scope_missing)");
    terminal.shows("\nimages ");
    terminal.press("py");
    terminal.shows("could not pause queue images: your token may not do that (scope_missing)");
    terminal.press("2");
    terminal.shows("\nyour token may not do that (scope_missing)");
    terminal.press("3tt");
    terminal.shows("queued");
    terminal.press("cy");
    terminal.shows("is cancelled now");
    terminal.press("q");
    assert!(terminal.ends().success() && terminal.comes_back());
    // Without a token.
    let mut terminal = Terminal::new(world.command(&["top"]));
    terminal.shows("the server takes no request without a valid token (BATON_TOKEN)");
    terminal.press("q");
    assert!(terminal.ends().success());
}

#[test]
fn nothing_is_changed_read_only_and_pasted_text_is_no_keys() {
    let world = World::new(QUICK);
    world.create(&["--queue", "images"]);
    let mut terminal = top(&world, &["--read-only"]);
    terminal.shows("\nimages ");
    terminal.press("p");
    terminal.shows("will not pause queue images: baton top was started with --read-only");
    terminal.press("\u{1b}[200~qpy\u{1b}[201~");
    terminal.shows("text that is pasted is not taken for keys");
    terminal.press("q");
    assert!(terminal.ends().success());
    assert_eq!(world.json(&["queue", "show", "images"])["paused"], json!(false));
}

#[test]
fn with_many_queues_those_with_the_most_tasks_are_shown_and_another_is_found_by_its_name() {
    let world = World::new(QUICK);
    let lines = world.path("tasks.jsonl");
    let line = |number| format!("{{\"type\":\"a\",\"queue\":\"q{:04}\"}}\n", number % 1_000);
    std::fs::write(&lines, (0..2_100).map(line).collect::<String>()).unwrap();
    run(world.command(&["task", "create", "--from", lines.to_str().unwrap()]), 0);
    let mut terminal = top(&world, &[]);
    terminal.shows("100 by waiting, 900 more by /name");
    terminal.press("/q0999\r");
    terminal.shows("\nq0999 ");
    terminal.press("py");
    terminal.shows("queue q0999 is paused now; 2 wait");
    terminal.press("3tt");
    terminal.shows("200 waiting by age, newest of more");
    terminal.press("q");
    assert!(terminal.ends().success());
}

#[test]
fn it_needs_a_terminal_and_says_what_does_without() {
    let world = World::new(QUICK);
    for (arguments, told) in [
        (&["top"][..], "needs a terminal, and stdout is none"),
        (&["top", "-o", "json"], "baton top writes no JSON"),
        (&["top", "--interval", "1ms"], "expected 500ms to 1h, got 1ms"),
    ] {
        let output = run(world.command(arguments), 2);
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    let told = stderr(&run(world.command(&["top"]), 2));
    assert!(told.contains("`baton debug health`") && told.contains("`baton stats`"), "{told}");
}
