//! What a worker does for its command, and to it, against a real server.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{
    PATIENT, QUICK, SLOW_REAPER, World, alive, events, pids, seconds_between, told, tool, until,
};

#[test]
fn plain_output_is_the_result_and_the_task_comes_in_on_stdin_and_in_the_environment() {
    let world = World::new(QUICK);
    let _worker = world.worker(
        r#"read task; echo "$task" > task.json
           echo "{\"type\": \"$BATON_TASK_TYPE\", \"queue\": \"$BATON_QUEUE\", \"attempt\": $BATON_ATTEMPT,
                  \"worker\": \"$BATON_WORKER_ID\", \"id\": \"$BATON_TASK_ID\", \"params\": $BATON_PARAMS}""#,
    );
    let id = world.create(&["--params", r#"{"n": 7}"#]);
    let detail = world.becomes(&id, "completed");
    let expected = json!({
        "type": "test", "queue": "default", "attempt": 1, "worker": "w1", "id": id, "params": {"n": 7},
    });
    assert_eq!(detail["generation"]["result"], expected);
    let handed: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(world.path("task.json")).unwrap()).unwrap();
    assert_eq!((&handed["id"], &handed["params"]["n"]), (&json!(id), &json!(7)));
}

#[test]
fn text_is_a_result_too_and_silence_is_none() {
    let world = World::new(QUICK);
    let _worker = world.worker(r#"if [ "$BATON_PARAMS" = 1 ]; then echo hello; fi"#);
    let (said, silent) = (world.create(&["--params", "1"]), world.create(&["--params", "2"]));
    assert_eq!(world.becomes(&said, "completed")["generation"]["result"], json!({"stdout": "hello\n"}));
    assert_eq!(world.becomes(&silent, "completed")["generation"].get("result"), None);
}

#[test]
fn the_protocol_hands_over_result_location_progress_and_log_lines() {
    let world = World::new(QUICK);
    let _worker = world.worker(
        r#"echo '::baton {"progress": 0.25, "message": "a quarter"}'
           echo '::baton {"log": {"level": "error", "message": "disk is slow"}}'
           echo '::baton {"progres": 1}'
           echo 'a line that is not the protocol'
           echo to the log >&2
           while [ ! -e go ]; do sleep 0.02; done
           echo '::baton {"result": {"pages": 12}}'
           echo '::baton {"location": "/out/7.png", "kind": "image/png", "metadata": {"width": 320}}'"#,
    );
    let id = world.create(&[]);
    let progress = until("the progress is shown", || {
        let detail = world.task(&id);
        detail.get("progress").filter(|progress| progress.get("progress").is_some()).cloned()
    });
    assert_eq!(progress, json!({"progress": 0.25, "message": "a quarter"}));
    std::fs::write(world.path("go"), "").unwrap();
    let generation = &world.becomes(&id, "completed")["generation"];
    assert_eq!(generation["result"], json!({"pages": 12}));
    assert_eq!((&generation["location"], &generation["kind"]), (&json!("/out/7.png"), &json!("image/png")));
    assert_eq!(generation["metadata"], json!({"width": 320}));

    let line = |level: &str, source: &str| {
        until("the line is logged", || {
            let lines = world.json(&["logs", "--task", &id, "--level", level])["items"].clone();
            let found = lines.as_array().unwrap().iter().find(|line| line["source"] == source)?;
            Some(found["message"].as_str().unwrap().to_owned())
        })
    };
    assert_eq!(line("error", "command"), "disk is slow");
    assert!(line("warn", "worker").contains("unknown field `progres`"));
    assert_eq!(line("info", "stderr"), "to the log");
}

#[test]
fn a_failure_tells_the_exit_code_and_the_end_of_stderr() {
    let world = World::new(QUICK);
    let _worker = world.worker(
        "i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done; echo no such page >&2; exit 3",
    );
    let id = world.create(&["--max-attempts", "1"]);
    let error = &world.becomes(&id, "failed")["task"]["error"];
    assert_eq!(error["code"], "exit_3");
    let message = error["message"].as_str().unwrap();
    assert!(message.ends_with("line 1999\nno such page"), "{message}");
    assert!(message.starts_with('[') && message.contains("bytes left out]"), "{message}");
    assert!(message.len() < 9_000, "{}", message.len());
}

#[test]
fn exit_code_65_fails_for_good_and_a_told_failure_keeps_its_code() {
    let world = World::new(QUICK);
    let _worker = world.worker(
        r#"if [ "$BATON_PARAMS" = 1 ]; then exit 65; fi
           echo '::baton {"fail": {"message": "no such page", "code": "no_page", "retryable": false, "details": {"page": 9}}}'"#,
    );
    let (data, told) = (world.create(&["--params", "1"]), world.create(&["--params", "2"]));
    let detail = world.becomes(&data, "failed");
    assert_eq!((&detail["task"]["attempts_used"], &detail["task"]["max_attempts"]), (&json!(1), &json!(3)));
    let detail = world.becomes(&told, "failed");
    assert_eq!(
        detail["task"]["error"],
        json!({"message": "no such page", "code": "no_page", "details": {"page": 9}})
    );
}

#[test]
fn exit_code_75_gives_the_task_back_and_does_not_count() {
    let world = World::new(QUICK);
    let _worker = world.worker_with(
        &["--release-delay", "100ms"],
        "if [ $BATON_ATTEMPT = 1 ]; then echo the licence server is down >&2; exit 75; fi; echo '\"ok\"'",
    );
    let id = world.create(&["--max-attempts", "1"]);
    let detail = world.becomes(&id, "completed");
    assert_eq!(events(&detail), ["created", "claimed", "released", "claimed", "completed"]);
    assert_eq!(detail["history"][2]["reason"], "the licence server is down");
    assert_eq!(detail["task"]["attempts_used"], 1);
}

#[test]
fn cancelling_ends_the_command_with_all_that_it_started_even_what_ignores_sigterm() {
    let world = World::new(QUICK);
    let script = r#"(trap "" TERM; sleep 300) & stubborn=$!
                    sleep 300 & echo $$ $stubborn $! > pids; wait"#;
    let _worker = world.worker_with(&["--grace", "300ms"], script);
    let id = world.create(&[]);
    let pids = pids(&world.path("pids"), 3);
    assert!(pids.iter().all(|pid| alive(*pid)));
    world.json(&["task", "cancel", &id, "--by", "test", "--reason", "not needed"]);
    until("all processes are gone", || pids.iter().all(|pid| !alive(*pid)).then_some(()));
    let detail = world.task(&id);
    assert_eq!(events(&detail), ["created", "claimed", "cancelled"]);
    // The slot is free again.
    std::fs::remove_file(world.path("pids")).unwrap();
    world.create(&[]);
    crate::support::pids(&world.path("pids"), 3);
}

#[test]
fn an_attempt_that_runs_past_its_time_is_ended_and_failed() {
    let world = World::new(SLOW_REAPER);
    let _worker = world.worker("echo still here >&2; sleep 300 & echo $$ $! > pids; wait");
    let id = world.create(&["--timeout", "500ms", "--max-attempts", "1"]);
    let pids = pids(&world.path("pids"), 2);
    let detail = world.becomes(&id, "failed");
    let error = &detail["task"]["error"];
    assert_eq!(error["code"], "timed_out");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("past its timeout of 0.5 s") && message.ends_with("\nstill here"), "{message}");
    // The history tells it too, and not only the command's last words.
    let history = world.command(&["task", "history", &id]).env("COLUMNS", "200").output().unwrap();
    assert!(told(&history).contains("past its timeout"), "{}", told(&history));
    until("all processes are gone", || pids.iter().all(|pid| !alive(*pid)).then_some(()));
}

#[test]
fn sigterm_drains_what_runs_is_finished_and_nothing_more_is_claimed() {
    let world = World::new(QUICK);
    let mut worker = world.worker("touch begun; while [ ! -e go ]; do sleep 0.02; done; echo 1");
    let first = world.create(&[]);
    until("the task has begun", || world.path("begun").exists().then_some(()));
    let second = world.create(&[]);
    worker.signal(Signal::SIGTERM);
    until("the worker drains", || world.worker_log().contains("draining").then_some(()));
    std::fs::write(world.path("go"), "").unwrap();
    assert!(worker.wait().success());
    assert_eq!(world.task(&first)["task"]["status"], "completed");
    let second = world.task(&second);
    assert_eq!((&second["task"]["status"], &second["task"]["attempt"]), (&json!("queued"), &json!(0)));
}

#[test]
fn a_second_signal_ends_the_commands_and_gives_their_tasks_back() {
    let world = World::new(QUICK);
    let mut worker = world.worker("echo $$ > pids; exec sleep 300");
    let id = world.create(&[]);
    let pids = pids(&world.path("pids"), 1);
    worker.signal(Signal::SIGTERM);
    until("the worker drains", || world.worker_log().contains("draining").then_some(()));
    // `timeout` signals its command, and then the group that the command is in.
    worker.signal(Signal::SIGTERM);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert!(alive(pids[0]), "SIGTERM twice at once is one");
    worker.signal(Signal::SIGTERM);
    assert!(worker.wait().success());
    assert!(!alive(pids[0]));
    let detail = world.task(&id);
    assert_eq!(events(&detail), ["created", "claimed", "released"]);
    assert_eq!((&detail["task"]["status"], &detail["task"]["attempts_used"]), (&json!("queued"), &json!(0)));
}

#[test]
fn an_operator_can_drain_and_stop_a_worker() {
    let world = World::new(QUICK);
    let mut worker = world.worker("echo $$ > pids; exec sleep 300");
    let id = world.create(&[]);
    pids(&world.path("pids"), 1);
    world.json(&["worker", "drain", "w1", "--by", "test"]);
    until("the worker heeds it", || world.worker_log().contains("asked by an operator").then_some(()));
    assert_eq!(world.task(&id)["task"]["status"], "running");
    world.json(&["worker", "stop", "w1"]);
    assert!(worker.wait().success());
    assert_eq!(events(&world.task(&id)), ["created", "claimed", "released"]);
}

#[test]
fn a_worker_that_ends_is_gone_and_one_that_is_killed_is_not() {
    let world = World::new(QUICK);
    let (mut leaves, mut dies) =
        (world.worker_named("leaves", &[], "true"), world.worker_named("dies", &[], "true"));
    let status = |id: &str| {
        let workers = world.json(&["worker", "list"]);
        let found = workers["items"].as_array().unwrap().iter().find(|worker| worker["id"] == id).cloned();
        found.map(|worker| worker["status"].as_str().unwrap().to_owned()).unwrap_or_default()
    };
    until("both beat", || (status("leaves") == "active" && status("dies") == "active").then_some(()));
    world.json(&["worker", "drain", "leaves"]);
    assert!(leaves.wait().success());
    assert_eq!(status("leaves"), "gone");
    dies.signal(Signal::SIGKILL);
    dies.wait();
    until("it is missed", || (status("dies") == "lost").then_some(()));
    assert_eq!(status("leaves"), "gone");
    let told = world.command(&["stats"]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("workers  0 alive (0 busy, 0 idle), 0 silent, 1 lost, 1 gone"), "{told}");
}

#[test]
fn an_idle_worker_ends_at_once_when_it_is_to_drain() {
    let world = World::new(PATIENT);
    let mut worker = world.worker("true");
    until("the worker is known", || {
        let workers = world.json(&["worker", "list"]);
        workers["items"].as_array().unwrap().first().map(|worker| worker["status"] == "active")
    });
    let begun = std::time::Instant::now();
    worker.signal(Signal::SIGINT);
    assert!(worker.wait().success());
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_server_that_is_away_for_a_while_costs_nothing() {
    let mut world = World::new(PATIENT);
    let _worker = world.worker("touch begun; while [ ! -e go ]; do sleep 0.02; done; echo \"{\\\"attempt\\\": $BATON_ATTEMPT}\"; touch done");
    let id = world.create(&[]);
    until("the task has begun", || world.path("begun").exists().then_some(()));
    world.kill_server();
    std::fs::write(world.path("go"), "").unwrap();
    until("the command is done", || world.path("done").exists().then_some(()));
    until("the worker has tried", || world.worker_log().contains("not delivered yet").then_some(()));
    let done = std::time::Instant::now();
    world.restart_server();
    let away = done.elapsed().as_secs_f64();
    let detail = world.becomes(&id, "completed");
    assert_eq!(detail["generation"]["result"], json!({"attempt": 1}));
    let (ran, all) = (
        detail["generation"]["run_seconds"].as_f64().unwrap(),
        seconds_between(&detail, "claimed", "completed"),
    );
    assert!(ran + away <= all, "it ran for {ran} s of {all} s, and the server was away for {away} s of them");
    assert_eq!(events(&detail), ["created", "claimed", "completed"]);
    // And it goes on working.
    let next = world.create(&[]);
    world.becomes(&next, "completed");
}

#[test]
fn a_worker_that_is_killed_takes_its_commands_along_and_another_finishes_its_task() {
    let world = World::new(QUICK);
    let worker = world.worker("sleep 300 & echo $$ $! > pids; wait");
    let id = world.create(&[]);
    let pids = pids(&world.path("pids"), 2);
    worker.signal(Signal::SIGKILL);
    until("the commands are gone", || pids.iter().all(|pid| !alive(*pid)).then_some(()));
    let _second = world.worker_named("w2", &[], "echo 1");
    let detail = world.becomes(&id, "completed");
    assert_eq!(events(&detail), ["created", "claimed", "lease_lost", "claimed", "completed"]);
    assert_eq!(detail["generation"]["worker_id"], "w2");
}

#[test]
fn a_worker_that_starts_anew_gets_its_tasks_back_without_waiting_for_the_heartbeat_timeout() {
    let world = World::new(PATIENT);
    let worker = world.worker("sleep 300");
    let id = world.create(&[]);
    world.becomes(&id, "running");
    worker.signal(Signal::SIGKILL);
    let _again = world.worker("echo 1");
    let detail = world.becomes(&id, "completed");
    assert_eq!(detail["history"][2]["loss"], "session_ended");
}

#[test]
fn several_tasks_run_at_once_and_no_more_than_that() {
    let world = World::new(QUICK);
    let script = "mkdir -p at; touch at/$BATON_TASK_ID; while [ ! -e go ]; do sleep 0.02; done";
    let _worker = world.worker_with(&["--concurrency", "3"], script);
    let ids: Vec<String> = (0..5).map(|_| world.create(&[])).collect();
    let begun = || std::fs::read_dir(world.path("at")).map_or(0, Iterator::count);
    until("three have begun", || (begun() == 3).then_some(()));
    let running = world.json(&["task", "list", "--status", "running"]);
    assert_eq!(running["items"].as_array().unwrap().len(), 3);
    std::fs::write(world.path("go"), "").unwrap();
    for id in ids {
        world.becomes(&id, "completed");
    }
}

#[test]
fn large_params_come_by_stdin_alone_and_a_result_that_is_too_large_fails_the_task() {
    let world = World::new(QUICK);
    let _worker = world.worker(
        r#"if [ "$BATON_TASK_TYPE" != test ]; then
             printf '::baton {"result": "'; head -c $BATON_PARAMS /dev/zero | tr '\0' x; echo '"}'; exit 0
           fi
           echo "{\"in_environment\": ${#BATON_PARAMS}, \"on_stdin\": $(wc -c)}""#,
    );
    let params = world.path("params.json");
    std::fs::write(&params, format!("\"{}\"", "x".repeat(200_000))).unwrap();
    let id = world.create(&["--params", &format!("@{}", params.display())]);
    let result = world.becomes(&id, "completed")["generation"]["result"].clone();
    assert_eq!(result["in_environment"], 0);
    assert!(result["on_stdin"].as_u64().unwrap() > 200_000, "{result}");

    // More than the server takes, and more than the worker reads as one line.
    for bytes in ["1060000", "2000000"] {
        let created = world.json(&["task", "create", "--type", "big", "--params", bytes]);
        let detail = world.becomes(created["id"].as_str().unwrap(), "failed");
        let error = &detail["task"]["error"];
        assert_eq!(error["code"], "result_refused", "{error}");
        assert!(error["message"].as_str().unwrap().contains("1048576 bytes"), "{error}");
        assert_eq!(detail["task"]["attempts_used"], 1);
    }
}

#[test]
fn a_protocol_line_that_cannot_be_read_fails_the_attempt_unless_the_result_came_otherwise() {
    let world = World::new(QUICK);
    let _worker = world.worker(
        r#"case $BATON_PARAMS in
             1) echo "::baton {'result': 7}"; echo done;;
             2) echo '::baton {"progres": 1}'; echo 7;;
             3) echo '::baton {"result": 7'; echo '::baton {"result": 8}';;
           esac"#,
    );
    let create = |params: &str| world.create(&["--max-attempts", "1", "--params", params]);
    let (lost, plain, told) = (create("1"), create("2"), create("3"));
    let error = world.becomes(&lost, "failed")["task"]["error"].clone();
    assert_eq!(error["code"], "protocol_error", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("line 1 column 3: ::baton {'result': 7}"), "{message}");
    assert_eq!(world.becomes(&plain, "completed")["generation"]["result"], 7);
    assert_eq!(world.becomes(&told, "completed")["generation"]["result"], 8);
}

#[test]
fn what_a_command_leaves_running_is_ended_with_it() {
    let world = World::new(QUICK);
    let _worker = world.worker("sleep 300 & echo $! > pids; echo 1");
    let id = world.create(&[]);
    let pids = pids(&world.path("pids"), 1);
    let detail = world.becomes(&id, "completed");
    assert_eq!(detail["generation"]["result"], 1);
    until("the process is gone", || (!alive(pids[0])).then_some(()));
}

#[test]
fn every_log_line_about_a_task_names_it_in_full() {
    let world = World::new(QUICK);
    let mut worker = world.worker("echo first line >&2; echo no such page >&2; exit 3");
    let id = world.create(&["--max-attempts", "1", "--domain", "books"]);
    world.becomes(&id, "failed");
    worker.signal(Signal::SIGTERM);
    worker.wait();
    let log = world.worker_log();
    let lines: Vec<serde_json::Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let about: Vec<_> = lines.iter().filter(|line| line["task_id"] == id).collect();
    assert!(about.len() >= 2, "{log}");
    let failed = about.iter().find(|line| line["message"] == "failed");
    let failed = failed.unwrap_or_else(|| panic!("{log}")).to_string();
    assert!(failed.contains("exit_3") && failed.contains("no such page"), "{failed}");
    let history = world.command(&["task", "history", &id]).env("COLUMNS", "200").output().unwrap();
    assert!(told(&history).contains("no such page"), "{}", told(&history));
    for line in about {
        for field in ["task_type", "queue", "domain", "attempt", "worker_id"] {
            assert!(line.get(field).is_some(), "{field} is missing in {line}");
        }
    }
}

#[test]
fn a_command_that_does_not_exist_is_refused_at_the_start() {
    let world = World::new(QUICK);
    let output = world.command(&["worker", "run", "--", "no-such-program"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", crate::support::told(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-program"));
}

#[test]
fn workers_that_come_and_go_lose_nothing_and_cost_no_attempt() {
    let world = World::new(PATIENT);
    let mut ids = Vec::new();
    for round in 0..12 {
        let mut worker = world.worker_with(&["--concurrency", "2"], "echo 1");
        ids.extend((0..3).map(|_| world.create(&[])));
        // At another moment each round: while it starts, claims, runs, delivers.
        std::thread::sleep(std::time::Duration::from_millis(round * 13));
        ids.push(world.create(&[]));
        worker.signal(Signal::SIGTERM);
        if round % 3 == 2 {
            worker.signal(Signal::SIGTERM);
        }
        assert!(worker.wait().code().is_none_or(|code| code == 0), "{}", world.worker_log());
    }
    let _last = world.worker("echo 1");
    for id in ids {
        let detail = world.becomes(&id, "completed");
        assert_eq!(detail["task"]["attempts_used"], 1, "{detail:#}\n{}", world.worker_log());
        assert!(!events(&detail).contains(&"lease_lost"), "{detail:#}");
    }
}

#[test]
fn two_workers_of_one_name_do_not_share_it() {
    let world = World::new(PATIENT);
    let mut first = world.worker("echo $$ > pids; exec sleep 300");
    let id = world.create(&[]);
    let pids = pids(&world.path("pids"), 1);
    let _second = world.worker("echo 1");
    assert_eq!(first.wait().code(), Some(1));
    assert!(world.worker_log().contains("give each worker an id of its own"), "{}", world.worker_log());
    assert!(!alive(pids[0]));
    world.becomes(&id, "completed");
}

#[test]
fn a_queue_that_is_no_url_is_refused_with_where_it_came_from() {
    for (arguments, variable, origin) in [
        (&["--completions-queue", "completions"][..], None, "--completions-queue"),
        (&[], Some("completions"), "BATON_QUEUES_COMPLETIONS"),
    ] {
        let mut command = tool();
        command.args(["worker", "run"]).args(arguments).args(["--", "true"]);
        command.envs(variable.map(|value| ("BATON_QUEUES_COMPLETIONS", value)));
        let output = command.output().unwrap();
        let told = told(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("expected the URL of an SQS queue"), "{told}");
        assert!(told.contains("\"completions\"") && told.contains(origin), "{told}");
    }
}
