//! `baton debug`: what is planted is found, and named first.

use serde_json::{Value, json};

use crate::support::{QUICK, World, run, stderr, stdout, until};

/// The findings of `baton debug health`, which ends with this exit code.
fn health(world: &World, code: i32) -> Value {
    let output = run(world.command(&["debug", "health", "--patience", "1s", "--json"]), code);
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn first(health: &Value) -> (&str, &str, &str) {
    let first = &health["findings"][0];
    let text = |key: &str| first[key].as_str().unwrap_or_default();
    (text("weight"), text("what"), text("next"))
}

#[test]
fn each_planted_fault_is_found_first_with_what_mends_it() {
    let world = World::new(QUICK);
    assert_eq!(health(&world, 0)["verdict"], "ok");
    let shown = stdout(&run(world.command(&["debug", "health"]), 0));
    assert!(shown.starts_with("ok: nothing is wrong; 0 waiting, 0 running, 0 workers alive"), "{shown}");

    // Nobody takes the tasks of a queue.
    world.create(&["--queue", "lonely"]);
    let found = until("it has waited for a second", || {
        let output = world.command(&["debug", "health", "--patience", "1s", "--json"]).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        (found["verdict"] == "error").then_some(found)
    });
    assert_eq!(
        first(&found),
        ("error", "no_worker", "baton worker run --queue lonely -- COMMAND"),
        "{found:#}"
    );
    health(&world, 1);
    let shown = stdout(&run(world.command(&["debug", "health", "--patience", "1s"]), 1));
    assert!(shown.starts_with("error: one thing is wrong; 1 waiting"), "{shown}");

    // The queue is paused, which is meant perhaps.
    world.run(&["queue", "pause", "lonely", "--by", "ann", "--reason", "moving"], 0);
    let found = health(&world, 0);
    assert_eq!(first(&found), ("warning", "paused", "baton queue resume lonely"));
    assert!(found["findings"][0]["message"].as_str().unwrap().contains("by ann: moving"), "{found:#}");

    // Most tasks fail.
    let worker = world.worker_named("w1", &["--queue", "fails"], "echo no page $RANDOM 17 >&2; exit 3");
    let ids: Vec<String> =
        (0..6).map(|_| world.create(&["--queue", "fails", "--max-attempts", "1"])).collect();
    for id in &ids {
        world.becomes(id, "failed");
    }
    let found = health(&world, 1);
    assert_eq!(first(&found), ("error", "failures", "baton debug tasks"), "{found:#}");

    // A worker is lost, and its tasks go back.
    drop(worker);
    let held = world.worker_named("w2", &["--queue", "slow"], "exec sleep 300");
    let slow = world.create(&["--queue", "slow"]);
    world.becomes(&slow, "running");
    drop(held);
    until("the worker is lost", || (world.json(&["worker", "show", "w2"])["status"] == "lost").then_some(()));
    let found = health(&world, 1);
    let words: Vec<_> = found["findings"].as_array().unwrap().iter().map(|one| one["what"].clone()).collect();
    assert!(words.contains(&json!("worker_lost")), "{found:#}");
}

#[test]
fn one_task_tells_its_attempts_and_what_to_do_next() {
    let world = World::new(QUICK);
    let worker = world.worker_named("w1", &["--queue", "fails"], "echo disk gone >&2; exit 3");
    let id = world.create(&["--queue", "fails", "--max-attempts", "2"]);
    world.becomes(&id, "failed");
    let output = run(world.command(&["debug", "task", &id, "--json"]), 6);
    let told: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let attempts = told["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{told:#}");
    for (n, attempt) in attempts.iter().enumerate() {
        assert_eq!((&attempt["attempt"], &attempt["worker_id"]), (&json!(n + 1), &json!("w1")));
        assert_eq!(attempt["end"], "attempt_failed");
        assert!(attempt["error"].as_str().unwrap().contains("disk gone"), "{attempt}");
    }
    assert_eq!(told["next"][0], format!("baton task retry {id}"));
    let shown = stdout(&run(world.command(&["debug", "task", &id]), 6));
    for part in ["ATTEMPT", "disk gone", "next:", "baton debug worker w1"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    let waits = world.create(&["--queue", "lonely"]);
    let shown = stdout(&run(world.command(&["debug", "task", &waits]), 1));
    assert!(shown.contains("baton worker run --queue lonely -- COMMAND"), "{shown}");

    let workers = world.json(&["debug", "workers"]);
    assert_eq!(workers["failures"][0]["worker_id"], "w1", "{workers:#}");
    assert_eq!(workers["failures"][0]["attempts"], 2, "{workers:#}");
    let tasks = world.json(&["debug", "tasks"]);
    assert_eq!(tasks["failed_by_type"], json!({"test": 1}), "{tasks:#}");
    assert_eq!(
        (&tasks["failed_by_error"][0]["tasks"], &tasks["more"]),
        (&json!(1), &json!(false)),
        "{tasks:#}"
    );

    let told = world.json(&["debug", "worker", "w1"]);
    assert_eq!((&told["worker"]["id"], &told["wrong"]), (&json!("w1"), &json!([])), "{told:#}");
    world.run(&["debug", "worker", "w1", "--check-logging"], 0);
    let started = world.json(&["debug", "worker", "w1", "--startup"]);
    assert!(!started["logs"].as_array().unwrap().is_empty(), "{started:#}");
    drop(worker);
    let _quiet = world.worker_named("quiet", &["--queue", "none"], "true");
    until("it is known", || {
        world.command(&["worker", "show", "quiet"]).output().unwrap().status.success().then_some(())
    });
    let shown = stdout(&run(world.command(&["debug", "worker", "quiet", "--check-logging"]), 1));
    assert!(shown.contains("error: it sent no log line in the last hour"), "{shown}");
    world.run(&["debug", "worker", "nobody"], 3);
    for refused in [
        &["debug", "tasks", "--hours", "0"][..],
        &["debug", "health", "--hours", "25"],
        &["debug", "health", "--limit", "5"],
        &["debug", "task", &id, "--hours", "2"],
    ] {
        world.run(refused, 2);
    }
}

#[test]
fn a_type_and_a_worker_that_mostly_fail_are_told_by_the_exit_code() {
    let world = World::new(QUICK);
    let judged = |what: &str, code: i32| -> Value {
        let told = serde_json::from_str(&stdout(&run(world.command(&["debug", what, "--json"]), code)));
        let told: Value = told.unwrap();
        let first = &told["findings"][0];
        json!([told["verdict"], first["weight"], first["what"], first["next"]])
    };
    for what in ["tasks", "workers"] {
        assert_eq!(judged(what, 0), json!(["ok", null, null, null]), "{what}");
    }
    let _worker = world.worker_named("w1", &["--queue", "q"], "[ $BATON_PARAMS = 1 ] || exit 3");
    let ends = |params: &str, status: &str, tasks: usize| {
        let flags = ["--queue", "q", "--max-attempts", "1", "--params", params];
        let ids: Vec<String> = (0..tasks).map(|_| world.create(&flags)).collect();
        for id in &ids {
            world.becomes(id, status);
        }
    };
    let tasks = "baton task list --status failed --type test";
    // Few may pass, and are no more than a warning.
    ends("0", "failed", 4);
    assert_eq!(judged("tasks", 0), json!(["warning", "warning", "type_fails", tasks]));
    assert_eq!(judged("workers", 0), json!(["warning", "warning", "worker_fails", "baton debug worker w1"]));
    ends("0", "failed", 1);
    assert_eq!(judged("tasks", 1), json!(["error", "error", "type_fails", tasks]));
    assert_eq!(judged("workers", 1), json!(["error", "error", "worker_fails", "baton debug worker w1"]));
    for what in ["tasks", "workers"] {
        let shown = stdout(&run(world.command(&["debug", what]), 1));
        assert!(shown.contains(": 5 of its newest 5 tasks that ended in the last hour failed"), "{shown}");
    }
    ends("1", "completed", 5);
    for what in ["tasks", "workers"] {
        assert_eq!(judged(what, 0), json!(["ok", null, null, null]), "{what}");
    }
}

#[test]
fn a_line_that_is_dated_far_ahead_stands_where_it_was_received() {
    let world = World::new(QUICK);
    let id = world.create(&["--queue", "lonely"]);
    let line = json!({"at": "2199-01-01T00:00:00Z", "level": "warn", "source": "clock", "message": "ahead", "task_id": id});
    let (status, answer) =
        world.ask("POST", "/v1/workers/w9/heartbeat", &json!({"logs": [line]}).to_string());
    assert_eq!(status, 200, "{answer}");
    world.run(&["task", "cancel", &id], 0);
    let shown = stdout(&world.run(&["debug", "task", &id, "--utc"], 6));
    let lines: Vec<&str> = shown.lines().collect();
    let place = |what: &str| {
        lines.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {shown}"))
    };
    let dated = "Z (dated 2199-01-01T00:00:00.000Z)";
    let at = place("w9 clock: ahead");
    assert!(place("  created (attempt 0)") < at && at < place("  cancelled (attempt 0)"), "{shown}");
    assert!(lines[at].contains(dated) && lines[at].starts_with("20"), "{shown}");
    let logs = stdout(&world.run(&["logs", "--utc"], 0));
    assert!(logs.contains(dated) && !logs.starts_with("2199"), "{logs}");
}

#[test]
fn every_setting_is_told_with_where_it_is_from() {
    let world = World::with_file("baton.toml", "[leases]\nheartbeat_interval_seconds = 0.2\n");
    let mut command = world.command(&["debug", "config", "--changed", "--explain", "--json"]);
    command.current_dir(world.path("."));
    let told: Value = serde_json::from_str(&stdout(&run(command, 0))).unwrap();
    let items = told["items"].as_array().unwrap();
    let of = |key: &str| items.iter().find(|one| one["key"] == key).unwrap();
    let beat = of("leases.heartbeat_interval_seconds");
    assert_eq!(beat["value"], "0.2");
    assert_eq!(beat["from"], "the file baton.toml");
    assert!(beat["what"].as_str().unwrap().len() > 20, "{beat}");
    let shown = stdout(&run(world.command(&["debug", "config"]), 0));
    assert!(shown.lines().count() > 40 && shown.contains("server.listen"), "{shown}");
}

#[test]
fn what_the_store_keeps_is_a_source_and_one_that_cannot_be_asked_is_said() {
    let world = World::with_file("baton.toml", "[reaper]\ninterval_seconds = 0.5\n");
    let said = ["--by", "ada", "--reason", "the disk is full"];
    world.run(&[&["config", "set", "retention.log_hours", "12"], &said[..]].concat(), 0);
    world.run(&["config", "set", "reaper.interval_seconds", "30"], 0);
    let told = |arguments: &[&str]| {
        let mut command = world.command(&[&["debug", "config"], arguments].concat());
        command.current_dir(world.path("."));
        run(command, 0)
    };
    let items: Value = serde_json::from_str(&stdout(&told(&["--json"]))).unwrap();
    assert_eq!(items["store"], "asked");
    let of = |items: &Value, key: &str| {
        items["items"].as_array().unwrap().iter().find(|one| one["key"] == key).cloned().unwrap()
    };
    let kept = of(&items, "retention.log_hours");
    assert_eq!((&kept["value"], &kept["stored"]["set_by"]), (&json!("12"), &json!("ada")));
    assert!(kept["from"].as_str().unwrap().starts_with("the store, set by ada at 2"), "{kept}");
    let beaten = of(&items, "reaper.interval_seconds");
    assert_eq!((&beaten["value"], &beaten["from"]), (&json!("0.5"), &json!("the file baton.toml")));
    assert!(beaten["not_in_force"].as_str().unwrap().contains("in the store: 30, not in force"), "{beaten}");
    let explained = stdout(&told(&["--explain", "--changed"]));
    assert!(explained.contains("retention.log_hours = 12  (the store, set by ada at "), "{explained}");
    assert!(explained.contains("Set in the store: the disk is full"), "{explained}");
    let local: Value = serde_json::from_str(&stdout(&told(&["--json", "--local"]))).unwrap();
    assert_eq!(
        (&local["store"], &of(&local, "retention.log_hours")["value"]),
        (&json!("not asked"), &json!("48"))
    );
    for way in
        [["--server", "http://127.0.0.1:9"], ["--server", "ftp://nowhere"], ["--token-file", "/no/such/file"]]
    {
        let mut alone = world.command(&[&way[..], &["debug", "config"]].concat());
        alone.current_dir(world.path("."));
        let alone = run(alone, 0);
        let told = stderr(&alone);
        assert!(told.contains("what the store keeps is not told here: "), "{way:?}: {told}");
        assert!(stdout(&alone).contains("retention.log_hours"), "{way:?}");
    }
}

/// The commands of the page of symptoms: every line of its blocks that begins with `baton`.
fn commands() -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/troubleshooting.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut inside = false;
    let mut commands = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside
            && let Some(command) = line.strip_prefix("$ ").filter(|line| line.starts_with("baton "))
        {
            commands.push(command.to_owned());
        }
    }
    commands
}

#[test]
fn every_command_of_the_page_of_symptoms_runs() {
    let world = World::new(QUICK);
    let _worker = world.worker_named("w1", &["--queue", "slow"], "exec sleep 300");
    let task = world.create(&["--queue", "slow"]);
    world.becomes(&task, "running");
    world.run(&["limit", "set", "queue/slow", "--running", "1"], 0);
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands {
        let here = command.replace("TASK", &task).replace("WORKER", "w1").replace("QUEUE", "slow");
        let words: Vec<&str> = here.split_whitespace().skip(1).collect();
        let output = world.command(&words).output().unwrap();
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 1)), "{here}: {code:?} {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_kind_of_finding_has_its_place_on_the_page() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let page = std::fs::read_to_string(format!("{folder}docs/troubleshooting.md")).unwrap();
    let findings = std::fs::read_to_string(format!("{folder}shared/verdict/src/findings.rs")).unwrap();
    let reaper = std::fs::read_to_string(format!("{folder}shared/verdict/src/reaper.rs")).unwrap();
    let failures = std::fs::read_to_string(format!("{folder}shared/verdict/src/failures.rs")).unwrap();
    let rules = [findings, reaper, failures]
        .map(|file| file.split("#[cfg(test)]").next().unwrap().to_owned())
        .concat();
    let named = |begin: &str| -> Vec<String> {
        let parts = rules.split(begin).skip(1);
        parts.filter_map(|part| part.split('"').next()).map(str::to_owned).collect()
    };
    let mut words: Vec<String> =
        ["error(\"", "warning(\"", "tell(\"", "failing((\"", "=> (\"", "[(\"", " (\"store_"]
            .into_iter()
            .flat_map(named)
            .collect();
    words.retain(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    assert!(words.len() > 12, "{words:?}");
    for word in words.iter().filter(|word| !word.is_empty() && *word != "waiting" && *word != "writes") {
        assert!(page.contains(&format!("`[{word}]`")), "docs/troubleshooting.md does not tell of {word}");
    }
}
