//! Flags and subcommands that the rest of the tests do not use, and names with a slip in them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{PATIENCE, PATIENT, QUICK, Running, World, run, stderr, stdout, told, tool, until};

#[test]
fn a_task_is_created_for_a_time_and_with_pauses_between_its_attempts() {
    let world = World::new(QUICK);
    let create = [
        "task",
        "create",
        "--type",
        "a",
        "--run-after",
        "2199-07-01T12:00:00Z",
        "--backoff",
        "max=2m,base=1s",
    ];
    let output = run(world.command(&create), 0);
    assert!(stderr(&output).contains("created until 2199-07-01T"), "{}", told(&output));
    let id = stdout(&output);
    assert_eq!(world.task(id.trim())["task"]["run_after"], "2199-07-01T12:00:00.000Z");
    for wrong in [
        &["--run-after", "tomorrow"][..],
        &["--run-after", "2199-07-01T12:00:00Z", "--delay", "1s"],
        &["--backoff", "bse=1s"],
        &["--backoff", "soon"],
    ] {
        run(world.command(&[&["task", "create", "--type", "a"], wrong].concat()), 2);
    }
    let output = run(world.command(&["task", "create", "--type", "a", "--backoff", "60d"]), 1);
    assert!(stderr(&output).contains("--backoff.base_seconds: expected"), "{}", told(&output));
}

#[test]
fn pauses_between_attempts_are_those_that_were_asked_for() {
    let world = World::new(PATIENT);
    let _worker = world.worker("exit 3");
    let id = world.create(&["--backoff", "base=50ms,jitter=0", "--max-attempts", "3"]);
    // With the default pauses of 5 s and 10 s this would be seen no sooner than after 12 s.
    let detail = world.becomes(&id, "failed");
    let times: Vec<&str> =
        detail["history"].as_array().unwrap().iter().map(|event| event["at"].as_str().unwrap()).collect();
    assert_eq!(detail["task"]["attempts_used"], 3, "{times:?}");
    assert!(
        detail["history"].as_array().unwrap().iter().all(|event| event["kind"] != "lease_lost"),
        "{detail:#}"
    );
}

#[test]
fn creating_can_wait_for_the_end_and_tells_it_by_its_exit_code() {
    let world = World::new(PATIENT);
    let _worker = world.worker("if [ $BATON_PARAMS = 1 ]; then echo no page >&2; exit 65; fi; echo 7");
    let create = |more: &[&str]| world.command(&[&["task", "create", "--type", "a"], more].concat());
    let output = run(create(&["--wait", "--params", "0"]), 0);
    assert_eq!(stdout(&output).lines().count(), 1, "the id alone: {}", told(&output));
    assert!(stderr(&output).contains("completed attempt 1"), "{}", told(&output));
    let output = run(create(&["--wait=10m", "-o", "json"]), 0);
    let detail: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&detail["task"]["status"], &detail["generation"]["result"]),
        (&json!("completed"), &json!(7))
    );
    let output = run(create(&["--wait", "--params", "1"]), 6);
    assert!(stderr(&output).contains("the task failed: no page"), "{}", told(&output));
    let output = run(create(&["--wait=100ms", "--queue", "nobody"]), 1);
    assert!(stderr(&output).contains("is still queued"), "{}", told(&output));
}

#[test]
fn a_queue_is_shown_alone() {
    let world = World::new(QUICK);
    world.create(&["--queue", "images"]);
    world.create(&["--queue", "images", "--delay", "1h"]);
    let text = stdout(&run(world.command(&["queue", "show", "images"]), 0));
    for line in [
        "queue        images",
        "state        open",
        "waiting      2",
        "queued       1",
        "created      1",
        "retry        0",
        "running      0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\nnot in\n{text}");
    }
    let queue = world.json(&["queue", "show", "images"]);
    assert_eq!((&queue["waiting"], &queue["queued"], &queue["at_least"]), (&json!(2), &json!(1), &json!([])));
}

#[test]
fn output_records_are_listed_and_shown() {
    let world = World::new(PATIENT);
    let _worker = world.worker("echo '::baton {\"location\": \"/7.png\", \"result\": {\"n\": 7}}'");
    let ids: Vec<String> = (0..2).map(|_| world.create(&[])).collect();
    for id in &ids {
        world.becomes(id, "completed");
    }
    let all = world.json(&["generation", "list"]);
    assert_eq!((all["items"].as_array().unwrap().len(), &all["more"]), (2, &json!(false)));
    let some = world.json(&[
        "generation",
        "list",
        "--limit",
        "1",
        "--worker",
        "w1",
        "--since",
        "1h",
        "--type",
        "test",
    ]);
    assert_eq!((some["items"].as_array().unwrap().len(), &some["more"]), (1, &json!(true)));
    let of_task = world.json(&["generation", "list", "--task", &ids[0]]);
    let record = of_task["items"][0].clone();
    assert_eq!(record["task_id"], json!(ids[0]));
    let id = record["id"].as_str().unwrap();
    assert_eq!(world.json(&["generation", "show", id]), record);
    assert_eq!(world.json(&["generation", "show", &id[..35]])["task_id"], json!(ids[0]));
    let text = stdout(&run(world.command(&["generation", "show", id]), 0));
    for part in [
        &format!("generation   {id}"),
        "made by      w1, attempt 1, in ",
        "location     /7.png",
        "result       {\"n\": 7}",
    ] {
        assert!(text.contains(part), "{part}\nnot in\n{text}");
    }
    assert!(stdout(&run(world.command(&["generation", "list"]), 0)).contains("/7.png"));
    run(world.command(&["generation", "show", "ffff0000"]), 3);
    run(world.command(&["generation", "show", "no-id"]), 2);
}

#[test]
fn logs_go_on_with_the_lines_that_come() {
    let mut world = World::new(PATIENT);
    let _worker = world.worker("echo line $BATON_PARAMS >&2");
    let one = world.create(&["--params", "1"]);
    world.becomes(&one, "completed");
    until("the log line is there", || {
        (!world.json(&["logs"])["items"].as_array().unwrap().is_empty()).then_some(())
    });
    let follow = |more: &[&str]| {
        let mut command = world.command(&[&["logs", "--follow"], more].concat());
        let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
        let stdout = BufReader::new(running.0.stdout.take().unwrap());
        let (tell, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        (running, lines)
    };
    let (_people, people) = follow(&[]);
    let (_programs, programs) = follow(&["-o", "json", "--limit", "1"]);
    let next = |said: &str| {
        let line = people.recv_timeout(PATIENCE).unwrap();
        assert!(line.ends_with(&format!("stderr: {said}")), "{line}");
        let line: Value = serde_json::from_str(&programs.recv_timeout(PATIENCE).unwrap()).unwrap();
        assert_eq!(line["message"], said, "{line}");
    };
    next("line 1");
    world.create(&["--params", "2"]);
    next("line 2");
    // A server that is started anew is waited for, and nothing is told twice.
    world.kill_server();
    world.restart_server();
    world.create(&["--params", "3"]);
    next("line 3");
}

#[test]
fn the_time_line_goes_on_with_what_happens() {
    let mut world = World::new(QUICK);
    let before = world.create(&[]);
    let told = world.json(&["timeline", "--task", &before])["items"].clone();
    assert_eq!((told.as_array().unwrap().len(), &told[0]["message"]), (1, &Value::from("created")));
    let mut command =
        world.command(&["timeline", "--follow", "--limit", "1", "--queue", "default", "-o", "json"]);
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let stdout = BufReader::new(running.0.stdout.take().unwrap());
    let (tell, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let next = |id: &str, message: &str| {
        let line: Value = serde_json::from_str(&lines.recv_timeout(PATIENCE).unwrap()).unwrap();
        assert_eq!((&line["task_id"], &line["message"]), (&Value::from(id), &Value::from(message)), "{line}");
    };
    next(&before, "created");
    let id = world.create(&[]);
    next(&id, "created");
    run(world.command(&["task", "cancel", &id, "--reason", "wrong scene"]), 0);
    next(&id, "cancelled: wrong scene");
    // A server that is started anew is waited for, and nothing is told twice.
    world.kill_server();
    world.restart_server();
    let id = world.create(&[]);
    next(&id, "created");
    let servers = world.json(&["timeline", "--level", "info"])["items"].clone();
    let starts = servers.as_array().unwrap().iter().filter(|entry| entry["source"] == "server").count();
    assert_eq!(starts, 2, "{servers}");
}

#[test]
fn the_time_line_ends_before_the_time_that_is_asked_for() {
    let world = World::new(QUICK);
    let id = world.create(&[]);
    let told = |until: &str| {
        let told = world.json(&["timeline", "--task", &id, "--until", until])["items"].clone();
        told.as_array().unwrap().len()
    };
    let created = world.task(&id)["task"]["created_at"].as_str().unwrap().to_owned();
    assert_eq!((told(&created), told("2199-07-01T12:00:00Z")), (0, 1));
    for wrong in [&["--until", "yesterday"][..], &["--until", "2199-07-01T12:00:00Z", "--follow"]] {
        run(world.command(&[&["timeline"], wrong].concat()), 2);
    }
}

#[test]
fn a_token_is_revoked_by_the_beginning_of_its_id() {
    let world = World::new(QUICK);
    let create = |name: &str| world.json(&["token", "create", "--name", name, "--scope", "worker"]);
    let ids: Vec<String> =
        ["one", "two"].map(|name| create(name)["token"]["id"].as_str().unwrap().to_owned()).into();
    let shared = ids[0].bytes().zip(ids[1].bytes()).take_while(|(a, b)| a == b).count();
    let output = run(world.command(&["token", "revoke", &ids[0][..shared]]), 2);
    assert!(stderr(&output).contains(&ids[0]) && stderr(&output).contains(&ids[1]), "{}", told(&output));
    let output = run(world.command(&["token", "revoke", &ids[0][..shared + 1]]), 0);
    assert!(stderr(&output).contains(&format!("token {} (one) is revoked", ids[0])), "{}", told(&output));
    run(world.command(&["token", "revoke", "ffff0000"]), 3);
    run(world.command(&["token", "revoke", "one"]), 2);
}

#[test]
fn a_name_with_a_slip_is_answered_with_the_nearest() {
    let world = World::new(QUICK);
    let id = world.create(&["--queue", "images"]);
    let _worker = world.worker_named("painter-1", &["--queue", "images"], "sleep 600");
    world.becomes(&id, "running");
    let slip = |text: &str| {
        let last = if text.ends_with('0') { '1' } else { '0' };
        format!("{}{last}", &text[..text.len() - 1])
    };
    let mistyped = slip(&id);
    for (arguments, code, near) in [
        (&["queue", "show", "iamges"][..], 3, "the nearest is images"),
        (&["worker", "show", "painter1"], 3, "the nearest is painter-1"),
        (&["worker", "drain", "panter-1"], 3, "the nearest is painter-1"),
        (&["task", "list", "--queue", "imagse"], 0, "there is no queue imagse; the nearest is images"),
        (
            &["task", "list", "--worker", "painter-"],
            0,
            "there is no worker painter-; the nearest is painter-1",
        ),
        (&["task", "show", &mistyped], 3, &format!("the nearest is {id}")),
        (&["task", "history", &slip(&id[..20])], 3, &format!("the nearest is {id}")),
        (&["task", "cancel", &mistyped], 3, &format!("the nearest is {id}")),
        // These come last, as they make the queues that they name.
        (&["queue", "pause", "Images"], 0, "(the nearest is images)"),
        (&["queue", "resume", "image"], 0, "check its name (the nearest is images)"),
    ] {
        let output = run(world.command(arguments), code);
        assert!(stderr(&output).contains(near), "{arguments:?}: {}", told(&output));
    }
    for (arguments, near) in [
        (&["taks", "list"][..], "'task'"),
        (&["task", "lsit"], "'list'"),
        (&["task", "list", "--limt", "1"], "'--limit'"),
    ] {
        let output = run(world.command(arguments), 2);
        assert!(stderr(&output).contains(near), "{arguments:?}: {}", told(&output));
    }
    // What is like nothing is not guessed at.
    let output = run(world.command(&["queue", "show", "something-else"]), 3);
    assert!(!stderr(&output).contains("nearest"), "{}", told(&output));
}

#[test]
fn a_task_that_is_not_among_the_newest_is_named_as_the_nearest_too() {
    let world = World::new(QUICK);
    let id = world.create(&[]);
    let lines = world.path("tasks.jsonl");
    std::fs::write(&lines, "{\"type\":\"a\"}\n".repeat(1_001)).unwrap();
    run(world.command(&["task", "create", "--from", lines.to_str().unwrap()]), 0);
    for slip in [35, 20] {
        let other = if &id[slip..=slip] == "0" { "1" } else { "0" };
        let mistyped = format!("{}{other}{}", &id[..slip], &id[slip + 1..]);
        let output = run(world.command(&["task", "show", &mistyped]), 3);
        assert!(stderr(&output).contains(&format!("the nearest is {id}")), "{slip}: {}", told(&output));
    }
}

#[test]
fn options_are_offered_only_where_they_mean_something() {
    let help = |arguments: &[&str]| {
        let mut command = tool();
        command.args(arguments).arg("--help");
        stdout(&run(command, 0))
    };
    for with in [&["task", "list"][..], &["stats"], &["worker", "run"], &["bench"], &["token", "create"]] {
        let help = help(with);
        assert!(help.contains("--server") && help.contains("--token-file"), "{with:?}: {help}");
    }
    for (command, has) in [
        (&["task", "show"][..], true),
        (&["task", "history"], true),
        (&["logs"], true),
        (&["timeline"], true),
        (&["audit"], true),
        (&["task", "list"], false),
        (&["worker", "list"], false),
        (&["queue", "list"], false),
        (&["task", "cancel"], false),
    ] {
        // Where only ages are told, there is no time to show in another zone.
        assert_eq!(help(command).contains("--utc"), has, "{command:?}");
    }
    for without in [
        &["serve"][..],
        &["example"],
        &["migrate"],
        &["import"],
        &["export"],
        &["relay"],
        &["dead-letters", "list"],
        &["table", "create"],
        &["table", "check"],
    ] {
        let help = help(without);
        assert!(!help.contains("--server <") && !help.contains("--token-file"), "{without:?}: {help}");
        let needed: &[&str] = match without {
            ["migrate"] => &["--from", "sqlite:a", "--to", "sqlite:b"],
            ["import"] => &["tasks.jsonl"],
            ["table", _] => &["--store", "dynamodb:a"],
            ["relay"] => &["--since", "1h"],
            ["dead-letters", _] => &["submissions"],
            _ => &[],
        };
        for flag in [&["--server", "x"][..], &["--token-file", "x"]] {
            for arguments in [[without, needed, flag].concat(), [flag, without, needed].concat()] {
                let mut command = tool();
                command.args(&arguments);
                let output = run(command, 2);
                let expected = format!("takes no {}", flag[0]);
                assert!(stderr(&output).contains(&expected), "{arguments:?}: {}", told(&output));
            }
        }
    }
}

/// A server that tells its settings by refusing one of them.
fn serve(folder: &std::path::Path, more: &[&str]) -> Command {
    let mut command = tool();
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(more).current_dir(folder);
    command
}

#[test]
fn settings_come_from_the_file_that_is_named_or_lies_in_the_working_directory() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, key: &str| {
        std::fs::write(folder.path().join(name), format!("[server]\n{key} = 1\n")).unwrap();
    };
    write("flag.toml", "by_flag");
    write("variable.toml", "by_variable");
    let refused = |command: Command| stderr(&run(command, 2));
    let variable = |mut command: Command, value: &str| {
        command.env("BATON_CONFIG", value);
        command
    };
    let by_variable = variable(serve(folder.path(), &[]), "variable.toml");
    assert!(refused(by_variable).contains("server.by_variable"));
    write("baton.toml", "by_place");
    assert!(refused(serve(folder.path(), &[])).contains("server.by_place: expected"));
    assert!(refused(serve(folder.path(), &[])).contains("from the file baton.toml"));
    let by_variable = variable(serve(folder.path(), &[]), "variable.toml");
    assert!(refused(by_variable).contains("server.by_variable"), "the variable goes before the place");
    let by_flag = variable(serve(folder.path(), &["--config", "flag.toml"]), "variable.toml");
    assert!(refused(by_flag).contains("server.by_flag"), "the flag goes before the variable");
    // An empty variable wants no file; the port is then what is wrong.
    let mut none = variable(serve(folder.path(), &[]), "");
    none.env("BATON_SERVER_MAX_CONNECTIONS", "0");
    let error = refused(none);
    assert!(error.contains("max_connections") && !error.contains("by_place"), "{error}");
    let missing = variable(serve(folder.path(), &[]), "/no/such/file.toml");
    assert!(refused(missing).contains("/no/such/file.toml"));
    // Other commands that work on a store read it, too.
    let mut create = tool();
    create.args(["token", "create", "--name", "a", "--scope", "worker", "--store", "sqlite:b.db"]);
    create.current_dir(folder.path());
    assert!(refused(create).contains("by_place"));
}

#[test]
fn a_server_that_found_a_file_of_settings_says_so() {
    let world = World::with_file("baton.toml", "[server]\nmax_connections = 50\n");
    let log = std::fs::read_to_string(world.path("server.log")).unwrap();
    assert!(log.contains("baton.toml"), "{log}");
    let world = World::new(QUICK);
    let log = std::fs::read_to_string(world.path("server.log")).unwrap();
    assert!(!log.contains("settings"), "{log}");
}
