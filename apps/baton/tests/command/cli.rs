//! What an operator or a script sees of the tool: output, errors, exit codes.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{QUICK, World, run, stderr, stdout, told, tool, until};

#[test]
fn help_has_examples_and_the_exit_codes() {
    let mut command = tool();
    command.arg("--help");
    let help = stdout(&run(command, 0));
    for part in ["baton serve", "Exit codes:", "  5  the server cannot be reached", "NO_COLOR", "example"] {
        assert!(help.contains(part), "{part}:\n{help}");
    }
    for hidden in ["guard", "render-scene"] {
        assert!(!help.contains(hidden), "{hidden}:\n{help}");
    }
    for subcommand in [
        &["task", "create"][..],
        &["task", "list"],
        &["queue", "order"],
        &["worker", "run"],
        &["serve"],
        &["bench"],
        &["mirror"],
        &["fleet", "run"],
        &["ui"],
    ] {
        let mut command = tool();
        command.args(subcommand).arg("--help");
        let help = stdout(&run(command, 0));
        assert!(help.contains("Examples:"), "{subcommand:?}:\n{help}");
    }
}

#[test]
fn what_help_adds_to_the_flags_fits_in_78_columns() {
    for command_line in [
        &[][..],
        &["serve"],
        &["task", "create"],
        &["task", "list"],
        &["task", "watch"],
        &["worker", "run"],
        &["logs"],
        &["timeline"],
        &["reap"],
        &["bench"],
        &["example"],
        &["schedule", "create"],
        &["mirror"],
        &["ui"],
    ] {
        let mut command = tool();
        command.args(command_line).arg("--help");
        let help = stdout(&run(command, 0));
        let after = help.split("Print help").nth(1).unwrap();
        for line in after.lines().skip(1) {
            assert!(line.chars().count() <= 78 || line.contains("Print version"), "{command_line:?}: {line}");
        }
    }
}

#[test]
fn json_may_be_asked_for_in_a_word() {
    let world = World::new(&[]);
    for asked in [&["stats", "--json"][..], &["--json", "stats"], &["stats", "-o", "json"]] {
        let output = run(world.command(asked), 0);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(told["states"].is_object(), "{told}");
    }
}

#[test]
fn a_store_that_is_named_goes_before_the_address_in_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tool();
    command
        .args(["token", "create", "--name", "n", "--scope", "worker", "--store", "sqlite:baton.db"])
        .env("BATON_URL", "http://127.0.0.1:1")
        .current_dir(folder.path());
    run(command, 0);
}

#[test]
fn a_wrong_command_line_is_2() {
    for wrong in [
        &["task", "frobnicate"][..],
        &["task", "create"],
        &["task", "create", "--type", "a/b"],
        &["task", "create", "--type", "a", "--delay", "soon"],
        &["task", "create", "--type", "a", "--params", "{"],
        &["task", "create", "--type", "a", "--params", "@/no/such/file"],
        &["task", "list", "--status", "lost"],
        &["task", "show", "not-an-id"],
        &["worker", "run", "--queue", "q"],
        &["stats", "--server", "localhost"],
        &["serve", "--server", "http://127.0.0.1:7410"],
        &["example", "--server", "http://127.0.0.1:7410"],
        &["task", "list", "--limit", "0"],
        &["logs", "--limit", "0"],
        &["stats", "--json", "-o", "table"],
        &[
            "token",
            "create",
            "--name",
            "n",
            "--scope",
            "worker",
            "--store",
            "sqlite:x.db",
            "--server",
            "localhost",
        ],
        &["mirror"],
        &["mirror", "--to", "mysql://db/x"],
    ] {
        let mut command = tool();
        command.args(wrong);
        let output = run(command, 2);
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{wrong:?}: {}", told(&output));
    }
}

#[test]
fn without_a_server_it_is_5_and_the_error_says_what_to_do() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = tool();
    command.args(["stats", "--server", &format!("http://127.0.0.1:{port}")]);
    let output = run(command, 5);
    let error = stderr(&output);
    assert!(
        error.contains(&format!("error: no answer from http://127.0.0.1:{port}: Connection refused")),
        "{error}"
    );
    assert!(error.contains("start a server with `baton serve`"), "{error}");
}

#[test]
fn a_task_is_created_and_its_id_alone_is_on_stdout() {
    let world = World::new(QUICK);
    let params = world.path("params.json");
    std::fs::write(&params, "{\"n\": 1.50}\n").unwrap();
    let mut command =
        world.command(&["task", "create", "--type", "resize", "--queue", "images", "--priority", "high"]);
    command.args(["--params", &format!("@{}", params.display()), "--delay", "1h", "--max-attempts", "7"]);
    command.args([
        "--timeout",
        "10m",
        "--domain",
        "books",
        "--assigned-by",
        "anna",
        "--description",
        "seven",
    ]);
    let output = run(command, 0);
    let id = stdout(&output).trim().to_owned();
    assert_eq!(stdout(&output).lines().count(), 1);
    assert!(stderr(&output).contains("created until "), "{}", told(&output));

    let task = &world.task(&id)["task"];
    let expected = json!({
        "type": "resize", "queue": "images", "priority": "high", "status": "created", "max_attempts": 7,
        "timeout_seconds": 600.0, "domain": "books", "assigned_by": "anna", "description": "seven",
        "params": {"n": 1.5},
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&task[field], value, "{field}");
    }
}

#[test]
fn params_come_from_stdin_too_and_a_key_or_an_id_makes_a_repetition_harmless() {
    let world = World::new(QUICK);
    let create = |more: &[&str]| {
        let arguments = [&["task", "create", "--type", "a", "--params", "-"], more].concat();
        let mut command = assert_cmd::Command::from_std(world.command(&arguments));
        let output = command.write_stdin("[1,2]").assert().success();
        stdout(output.get_output())
    };
    assert_eq!(create(&["--idempotency-key", "k1"]), create(&["--idempotency-key", "k1"]));
    let chosen = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    assert_eq!(create(&["--id", chosen]).trim(), chosen);
    assert_eq!(create(&["--id", chosen]).trim(), chosen);
    assert_eq!(world.task(chosen)["task"]["params"], json!([1, 2]));
    // Other content under the same id is a conflict.
    run(world.command(&["task", "create", "--type", "other", "--id", chosen]), 4);
}

#[test]
fn a_refused_request_tells_each_wrong_field_on_a_line_of_its_own() {
    let world = World::new(QUICK);
    let command =
        world.command(&["task", "create", "--type", "a", "--max-attempts", "0", "--timeout", "60d"]);
    let output = run(command, 1);
    let error = stderr(&output);
    assert!(error.starts_with("error: Some fields do not fit (invalid_fields)"), "{error}");
    assert!(error.contains("\n  --max-attempts: expected a whole number from 1 to 1000, got 0\n"), "{error}");
    assert!(error.contains("\n  --timeout: expected "), "{error}");
    assert!(error.contains("/errors/invalid_fields, request "), "{error}");
}

#[test]
fn a_single_wrong_field_is_told_once_by_its_flag_and_unknown_names_lead_to_a_command() {
    let world = World::new(QUICK);
    let output = run(world.command(&["task", "create", "--type", "a", "--timeout", "60d"]), 1);
    let error = stderr(&output);
    assert_eq!(error.matches("--timeout: expected").count(), 1, "{error}");
    assert!(!error.contains("timeout_seconds"), "{error}");
    let output = run(world.command(&["worker", "show", "nobody"]), 3);
    assert!(stderr(&output).contains("`baton worker list`"), "{}", stderr(&output));
}

#[test]
fn talk_on_stderr_says_what_is_meant() {
    let world = World::new(QUICK);
    let talk = |arguments: &[&str]| stderr(&run(world.command(arguments), 0));
    let told = talk(&["queue", "pause", "nosuch"]);
    assert!(told.contains("queue nosuch is new"), "{told}");
    world.create(&["--queue", "known"]);
    let told = talk(&["queue", "pause", "known"]);
    assert!(!told.contains("is new"), "{told}");
    assert!(talk(&["logs"]).contains("next heartbeat"));
    // An address without its scheme is taken as HTTP.
    let address = world.url.strip_prefix("http://").unwrap();
    run(world.command(&["stats", "--server", address]), 0);
}

#[test]
fn lists_follow_pages_until_their_limit() {
    let world = World::new(QUICK);
    let file = world.path("tasks.jsonl");
    std::fs::write(&file, "{\"type\":\"a\",\"queue\":\"many\"}\n".repeat(2_300)).unwrap();
    run(world.command(&["task", "create", "--from", file.to_str().unwrap()]), 0);
    let list = |limit: &str| world.json(&["task", "list", "--queue", "many", "--limit", limit]);
    let ids = |list: &Value| -> std::collections::BTreeSet<String> {
        list["items"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
    };
    let (some, all) = (list("2100"), list("9999"));
    assert_eq!((ids(&some).len(), &some["more"]), (2_100, &json!(true)));
    assert_eq!((ids(&all).len(), &all["more"]), (2_300, &json!(false)));
    let queues = world.json(&["queue", "list"]);
    assert_eq!(queues["items"][0]["queued"], 2_300);
}

#[test]
fn lists_are_filtered() {
    let world = World::new(QUICK);
    let one = world.create(&["--domain", "books", "--assigned-by", "anna", "--queue", "q1"]);
    let two = world.create(&["--domain", "films", "--delay", "1h"]);
    for (filter, expected) in [
        (&["--domain", "books"][..], vec![&one]),
        (&["--assigned-by", "anna"], vec![&one]),
        (&["--queue", "default"], vec![&two]),
        (&["--status", "created"], vec![&two]),
        (&["--status", "created,queued"], vec![&two, &one]),
        (&["--type", "none"], vec![]),
        (&["--since", "1h"], vec![&two, &one]),
        (&["--limit", "1"], vec![&two]),
    ] {
        let list = world.json(&[&["task", "list"], filter].concat());
        let ids: Vec<_> = list["items"].as_array().unwrap().iter().map(|task| task["id"].clone()).collect();
        assert_eq!(ids, expected.iter().map(|id| json!(id)).collect::<Vec<_>>(), "{filter:?}");
    }
}

#[test]
fn json_is_exactly_one_document_on_stdout() {
    let world = World::new(QUICK);
    let id = world.create(&[]);
    for arguments in [
        &["task", "list"][..],
        &["task", "show", &id],
        &["task", "history", &id],
        &["task", "cancel", &id],
        &["task", "retry", &id, "--delay", "5s"],
        &["worker", "list"],
        &["queue", "list"],
        &["queue", "pause", "default"],
        &["queue", "resume", "default"],
        &["queue", "order", "default", "--fair", "key"],
        &["stats"],
        &["logs"],
        &["timeline"],
        &["timeline", "--task", &id, "--level", "warn"],
        &["reap"],
    ] {
        // `json` reads stdout as one document and nothing else.
        world.json(arguments);
    }
    let output =
        run(world.command(&["task", "show", "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f", "-o", "json"]), 3);
    assert!(output.stdout.is_empty(), "{}", told(&output));
}

#[test]
fn an_id_may_be_cut_as_long_as_it_means_one_task() {
    let world = World::new(QUICK);
    let one = "aaaa1111-5b7c-7cc3-98c4-dc0c0c07398f";
    let two = "aaaa2222-5b7c-7cc3-98c4-dc0c0c07398f";
    for id in [one, two] {
        world.create(&["--id", id]);
    }
    assert_eq!(world.task("aaaa1")["task"]["id"], one);
    assert_eq!(world.task("AAAA22225b7c")["task"]["id"], two);
    let output = run(world.command(&["task", "show", "aaaa"]), 2);
    let error = stderr(&output);
    assert!(error.contains(&format!("\n  {one}\n  {two}\n")), "{error}");
    run(world.command(&["task", "show", "bbbb"]), 3);
}

#[test]
fn refusals_have_their_exit_codes() {
    let world = World::new(QUICK);
    let id = world.create(&[]);
    run(world.command(&["task", "cancel", &id]), 0);
    // A cancelled task stays as it is; a queued one cannot be retried; an unknown one does not exist.
    run(world.command(&["task", "cancel", &id]), 0);
    run(world.command(&["task", "retry", &id]), 0);
    run(world.command(&["task", "retry", &id]), 4);
    run(world.command(&["task", "cancel", "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"]), 3);
    run(world.command(&["worker", "drain", "nobody"]), 3);
    run(world.command(&["worker", "show", "nobody"]), 3);
}

#[test]
fn watching_ends_with_the_task() {
    let world = World::new(QUICK);
    let _worker = world.worker("if [ $BATON_PARAMS = 1 ]; then exit 3; fi; echo 7");
    let good = world.create(&[]);
    let output = run(world.command(&["task", "watch", &good]), 0);
    let told = stdout(&output);
    let kinds: Vec<_> = told.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(kinds, ["created", "claimed", "completed"], "{told}");

    let bad = world.create(&["--params", "1", "--max-attempts", "1"]);
    let output = run(world.command(&["task", "watch", &bad, "-o", "json"]), 6);
    let events: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.last().unwrap()["kind"], "attempt_failed");
    assert!(stderr(&output).contains("exited with code 3"), "{}", stderr(&output));

    let waiting = world.create(&["--queue", "nobody"]);
    run(world.command(&["task", "watch", &waiting, "--timeout", "400ms"]), 1);
}

#[test]
fn a_paused_queue_gives_out_nothing_until_it_is_resumed() {
    let world = World::new(QUICK);
    world.json(&["queue", "pause", "default", "--by", "test"]);
    let _worker = world.worker("echo 1");
    let id = world.create(&[]);
    until("the worker has asked", || {
        let workers = world.json(&["worker", "list"]);
        (workers["items"].as_array().unwrap().len() == 1).then_some(())
    });
    assert_eq!(world.task(&id)["task"]["status"], "queued");
    assert_eq!(world.json(&["queue", "resume", "default"])["paused"], false);
    world.becomes(&id, "completed");
}

#[test]
fn a_paused_queue_tells_by_whom_and_why_and_a_misspelt_one_can_be_taken_off_the_list() {
    let world = World::new(QUICK);
    world.create(&["--queue", "images"]);
    run(world.command(&["queue", "pause", "images", "--by", "ada", "--reason", "full disk"]), 0);
    let typo = run(world.command(&["queue", "pause", "imagse"]), 0);
    assert!(stderr(&typo).contains("no task has ever named it"), "{}", stderr(&typo));
    let wide = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("COLUMNS", "200");
        stdout(&run(command, 0)).to_owned()
    };
    let list = wide(&["queue", "list"]);
    assert!(list.contains("by ada: full disk"), "{list}");
    assert!(list.contains("never used"), "{list}");
    let audit = wide(&["audit"]);
    assert!(audit.contains("ada") && audit.contains("full disk"), "{audit}");

    let gone = run(world.command(&["queue", "resume", "imagse"]), 0);
    assert!(stderr(&gone).contains("gone from the list"), "{}", stderr(&gone));
    let names = world.json(&["queue", "list"])["items"].clone();
    assert_eq!(names.as_array().unwrap().len(), 1, "{names}");
}

#[test]
fn the_order_of_a_queue_is_stated_whole_told_in_words_and_shown_with_it() {
    let world = World::new(QUICK);
    world.create(&["--queue", "images"]);
    let order = |flags: &[&str]| {
        let output = run(world.command(&[&["queue", "order", "images"], flags].concat()), 0);
        assert!(stdout(&output).is_empty(), "{}", told(&output));
        stderr(&output)
    };
    let age = "a task counts one priority higher after each 1h30m of waiting";
    let alone = "by priority and waiting time alone";
    let told = order(&["--fair", "project", "--age-after", "90m", "--by", "ada", "--reason", "take turns"]);
    assert!(
        told.contains(&format!("queue images: fair between projects, {age} (before: {alone})")),
        "{told}"
    );
    let shown = stdout(&run(world.command(&["queue", "show", "images"]), 0));
    let line = shown.lines().find(|line| line.starts_with("order")).unwrap();
    assert!(line.contains(&format!("fair between projects, {age}")), "{shown}");
    assert_eq!(
        world.json(&["queue", "show", "images"])["order"],
        json!({"fair": "project", "age_after_seconds": 5_400})
    );

    let told = order(&["--fair", "key"]);
    assert!(
        told.contains(&format!("images: fair between keys (before: fair between projects, {age})")),
        "{told}"
    );
    let change = world.json(&["queue", "order", "images", "--age-after", "1s"]);
    assert_eq!(change, json!({"queue": "images", "from": {"fair": "key"}, "to": {"age_after_seconds": 1}}));
    assert!(
        order(&[]).contains(&format!("images: {alone} (before: a task counts")),
        "what is not given is off"
    );
    assert!(order(&[]).contains(&format!("images: {alone} (as before)")));
    let shown = stdout(&run(world.command(&["queue", "show", "images"]), 0));
    assert!(!shown.lines().any(|line| line.starts_with("order")), "{shown}");

    let audit = world.json(&["audit", "--action", "order_queue"]);
    let first = audit["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&first["by"], &first["reason"]), (&json!("ada"), &json!("take turns")));
    let is = "fair by project; a priority higher after each 5400 s";
    assert_eq!((&first["change"]["from"], &first["change"]["to"]), (&Value::Null, &json!(is)));
}

#[test]
fn an_order_that_does_not_fit_is_told_by_its_flag_and_a_misspelt_queue_by_its_name() {
    let world = World::new(QUICK);
    world.create(&["--queue", "images"]);
    for (flags, told) in [
        (["--fair", "owner"], "expected project or key, got \"owner\""),
        (["--age-after", "soon"], "expected a duration such as"),
        (["--age-after", "0s"], "expected a duration of whole seconds from 1s to 30d, got \"0s\""),
        (["--age-after", "1500ms"], "expected a duration of whole seconds from 1s to 30d"),
        (["--age-after", "31d"], "expected a duration of whole seconds from 1s to 30d"),
    ] {
        let output = run(world.command(&[&["queue", "order", "images"], &flags[..]].concat()), 2);
        let error = stderr(&output);
        assert!(error.contains(told) && error.contains(flags[0]), "{flags:?}: {error}");
    }
    let none = ["queue", "order", "images", "--reason", ""];
    let error = stderr(&run(world.command(&none), 1));
    assert!(error.contains("--reason: expected text of 1 to 1000 characters"), "{error}");

    let output = run(world.command(&["queue", "order", "imagse", "--fair", "key"]), 0);
    let error = stderr(&output);
    assert!(
        error.contains("queue imagse is new: no task has ever named it (the nearest is images)"),
        "{error}"
    );
    let shown = stdout(&run(world.command(&["queue", "show", "imagse"]), 0));
    assert!(shown.contains("fair between keys; never used"), "{shown}");
    let resumed = stderr(&run(world.command(&["queue", "resume", "imagse"]), 0));
    assert!(!resumed.contains("gone from the list"), "{resumed}");
    for _ in 0..2 {
        let error = stderr(&run(world.command(&["queue", "order", "imagse"]), 0));
        assert!(error.contains("no task has ever named queue imagse: it is not on the list"), "{error}");
    }
    let names = world.json(&["queue", "list"])["items"].clone();
    assert_eq!(names.as_array().unwrap().len(), 1, "{names}");
}

#[test]
fn the_server_refuses_wrong_settings_with_2_and_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tool();
    command.args(["serve", "--listen", "0.0.0.0", "--store", "postgres:x"]).current_dir(folder.path());
    let output = run(command, 2);
    let error = stderr(&output);
    assert!(
        error.contains("server.listen: expected an address and port") && error.contains("the flag --listen"),
        "{error}"
    );
    assert!(error.contains("store.url: expected sqlite:"), "{error}");
    let mut command = tool();
    command.args(["serve", "--config", "/no/such/file.toml"]).current_dir(folder.path());
    run(command, 2);
}

#[test]
fn a_server_ends_gracefully_and_keeps_its_tasks() {
    let mut world = World::new(QUICK);
    let id = world.create(&[]);
    assert!(world.end_server().success());
    world.restart_server();
    assert_eq!(world.task(&id)["task"]["status"], "queued");
}

#[test]
fn a_server_that_is_ended_while_half_a_request_hangs_ends_with_exit_code_0_after_its_grace() {
    let mut world = World::new(&[("BATON_SERVER_SHUTDOWN_GRACE_SECONDS", "0.3")]);
    let mut half = TcpStream::connect(world.url.strip_prefix("http://").unwrap()).unwrap();
    let head = "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{";
    half.write_all(head.as_bytes()).unwrap();
    // The server has it once it has answered one that was sent later.
    assert_eq!(world.get("/livez").0, 200);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(world.end_server().code(), Some(0), "{}", world.server_log());
    assert!(world.server_log().contains("the grace is over"), "{}", world.server_log());
}
