//! What a worker hears from its program, and what it makes of it, against a real server.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{QUICK, SLOW_REAPER, World, alive, events, pids, seconds_between, until};

/// Takes results of 2 KiB at most.
const SMALL_RESULTS: &[(&str, &str)] =
    &[("BATON_LEASES_HEARTBEAT_INTERVAL_SECONDS", "0.2"), ("BATON_LIMITS_RESULT_BYTES", "2048")];

/// Takes results of 4 MiB.
const LARGE_RESULTS: &[(&str, &str)] =
    &[("BATON_LEASES_HEARTBEAT_INTERVAL_SECONDS", "0.2"), ("BATON_LIMITS_RESULT_BYTES", "4194304")];

/// How many seconds a program of some tenths may take that is heard for one or two after its exit; the rest is for a machine that is busy.
const AFTER_THE_EXIT: f64 = 10.0;

#[test]
fn a_program_that_leaves_a_process_holding_its_output_is_heard_to_its_last_word() {
    let world = World::new(QUICK);
    let script = r#"setsid sleep 60 & sleep 0.2
                    case $BATON_PARAMS in
                      1) printf '{"ok":1}';;
                      2) printf 'done';;
                      3) printf '::baton {"result": 7}';;
                      4) printf 'no such page' >&2; exit 7;;
                    esac"#;
    let _worker = world.worker_with(&["--concurrency", "4"], script);
    let create = |params: &str| world.create(&["--max-attempts", "1", "--params", params]);
    let [json, text, line, failed] = ["1", "2", "3", "4"].map(create);
    for (id, result) in [(json, json!({"ok": 1})), (text, json!({"stdout": "done"})), (line, json!(7))] {
        let detail = world.becomes(&id, "completed");
        assert_eq!(detail["generation"]["result"], result);
        // A second after the exit, and not when the process lets go of the pipe, after a minute.
        assert!(seconds_between(&detail, "claimed", "completed") < AFTER_THE_EXIT, "{detail:#}");
    }
    let error = world.becomes(&failed, "failed")["task"]["error"].clone();
    assert_eq!(error, json!({"code": "exit_7", "message": "no such page"}));
}

#[test]
fn a_process_that_goes_on_writing_after_the_programs_exit_does_not_hold_its_result_up() {
    let world = World::new(QUICK);
    let script = r#"echo 1; (while sleep 0.1; do echo still here >&2; done) & sleep 0.3"#;
    let _worker = world.worker(script);
    let id = world.create(&[]);
    let detail = world.becomes(&id, "completed");
    assert_eq!(detail["generation"]["result"], 1);
    assert!(seconds_between(&detail, "claimed", "completed") < AFTER_THE_EXIT, "{detail:#}");
}

#[test]
fn output_that_passes_through_a_process_which_outlives_the_program_is_kept() {
    let world = World::new(QUICK);
    // As bash has it with `exec > >(tee log)`: what passes the output on ends only after the program.
    let _worker = world.worker("mkfifo pipe; (sleep 0.3; cat) < pipe & exec > pipe; rm pipe; printf whole");
    let id = world.create(&[]);
    let detail = world.becomes(&id, "completed");
    assert_eq!(detail["generation"]["result"], json!({"stdout": "whole"}));
}

#[test]
fn plain_output_that_is_larger_than_a_result_may_be_fails_the_task_for_good_with_its_size() {
    let world = World::new(QUICK);
    let _worker = world.worker("printf '\"'; head -c $BATON_PARAMS /dev/zero | tr '\\0' x; printf '\"'");
    let create = |bytes: &str| world.create(&["--params", bytes]);
    let (fits, json, much) = (create("1048574"), create("1048575"), create("5000000"));
    let result = world.becomes(&fits, "completed")["generation"]["result"].clone();
    assert_eq!(result.as_str().map(str::len), Some(1_048_574));
    for (id, size) in [(json, "got 1048577 bytes"), (much, "got 5000002 bytes")] {
        let detail = world.becomes(&id, "failed");
        let error = &detail["task"]["error"];
        assert_eq!(error["code"], "result_refused", "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("at most 1048576 bytes") && message.contains(size), "{message}");
        assert_eq!(detail["task"]["attempts_used"], 1);
    }
}

#[test]
fn how_large_a_result_may_be_is_the_servers_word() {
    let small = World::new(SMALL_RESULTS);
    let script = "head -c $BATON_PARAMS /dev/zero | tr '\\0' x";
    let _worker = small.worker(script);
    let (fits, more) = (small.create(&["--params", "2000"]), small.create(&["--params", "2040"]));
    let result = small.becomes(&fits, "completed")["generation"]["result"].clone();
    assert_eq!(result["stdout"].as_str().map(str::len), Some(2_000));
    let error = small.becomes(&more, "failed")["task"]["error"].clone();
    assert_eq!(error["code"], "result_refused", "{error}");
    assert!(error["message"].as_str().unwrap().contains("got 2040 bytes of text, 2053 as JSON"), "{error}");

    let large = World::new(LARGE_RESULTS);
    let _worker = large.worker(&format!("printf '::baton {{\"result\": \"'; {script}; echo '\"}}'"));
    let id = large.create(&["--params", "3000000"]);
    let result = large.becomes(&id, "completed")["generation"]["result"].clone();
    assert_eq!(result.as_str().map(str::len), Some(3_000_000));
}

#[test]
fn output_that_is_no_json_says_in_its_form_what_it_is() {
    let world = World::new(QUICK);
    let script =
        r#"case $BATON_PARAMS in 1) echo '{"loss": NaN}';; 2) printf 'caf\351';; 3) printf 'a\000b';; esac"#;
    let _worker = world.worker(script);
    let create = |params: &str| world.create(&["--params", params]);
    let (nan, latin, nul) = (create("1"), create("2"), create("3"));
    let result = |id: &str| world.becomes(id, "completed")["generation"]["result"].clone();
    assert_eq!(result(&nan), json!({"stdout": "{\"loss\": NaN}\n"}));
    assert_eq!(result(&latin), json!({"stdout_base64": "Y2Fm6Q=="}));
    assert_eq!(result(&nul), json!({"stdout": "a\0b"}));
    let warning = until("the log tells why it is text", || lines(&world, &nan, "warn").pop());
    assert!(warning.contains("line 1 column 10") && warning.contains("kept as text"), "{warning}");
}

#[test]
fn a_long_line_of_stderr_is_cut_between_letters() {
    let world = World::new(QUICK);
    let _worker = world.worker(
        "(printf a; i=0; while [ $i -lt 900 ]; do printf éééééééééé; i=$((i+1)); done) >&2; sleep 300",
    );
    let id = world.create(&[]);
    let whole = format!("a{}", "é".repeat(9_000));
    until("all but its end is logged", || {
        // The last part waits for its newline, or the end.
        let told = lines(&world, &id, "info").concat();
        assert!(whole.starts_with(&told), "{told}");
        (told.len() >= 16_000).then_some(())
    });
    world.json(&["task", "cancel", &id, "--by", "test", "--reason", "seen"]);
    until("the end is logged", || (lines(&world, &id, "info").concat().len() == whole.len()).then_some(()));
}

#[test]
fn a_noisy_task_pushes_out_no_lines_of_another_and_its_own_log_tells_how_many_of_its_were_dropped() {
    let world = World::new(QUICK);
    let script = r#"if [ "$BATON_PARAMS" = 1 ]; then
                      echo first >&2
                      while [ ! -e noisy ]; do sleep 0.05; done
                      echo last >&2
                    else
                      head -c 6000000 /dev/zero | tr '\0' x | fold -w 200 >&2; touch noisy
                    fi"#;
    let _worker = world.worker_with(&["--concurrency", "2"], script);
    let (quiet, noisy) = (world.create(&["--params", "1"]), world.create(&["--params", "2"]));
    world.becomes(&quiet, "completed");
    world.becomes(&noisy, "completed");
    until("the quiet one's lines are there", || {
        let lines = lines(&world, &quiet, "info");
        (lines == ["first", "last"]).then_some(())
    });
    let notice = until("the noisy one's log tells of it", || lines(&world, &noisy, "warn").pop());
    assert!(notice.contains("older log lines of this task were dropped"), "{notice}");
    assert!(lines(&world, &quiet, "warn").is_empty());
}

#[test]
fn a_timed_out_program_that_ignores_sigterm_is_told_of_with_its_last_words_before_it_has_ended() {
    let world = World::new(SLOW_REAPER);
    let script = r#"trap "echo not yet >&2" TERM; echo $$ > pids; echo still here >&2
                    while true; do sleep 0.1; done"#;
    let mut worker = world.worker_with(&["--grace", "300s"], script);
    let id = world.create(&["--timeout", "500ms", "--max-attempts", "1"]);
    let pids = pids(&world.path("pids"), 1);
    let detail = world.becomes(&id, "failed");
    let error = &detail["task"]["error"];
    assert_eq!(error["code"], "timed_out", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("past its timeout of 0.5 s; its last words:\nstill here"), "{message}");
    assert_eq!(events(&detail), ["created", "claimed", "attempt_failed"]);
    // Not when its grace (5 s after a timeout) was over.
    let took = seconds_between(&detail, "claimed", "attempt_failed");
    assert!(took < 5.0, "{took}");
    until("it is ended all the same", || (!alive(pids[0])).then_some(()));
    worker.signal(Signal::SIGTERM);
    assert!(worker.wait().success());
}

/// The messages of a task's log lines of one level.
fn lines(world: &World, id: &str, level: &str) -> Vec<String> {
    let lines = world.json(&["logs", "--task", id, "--level", level, "--limit", "1000"])["items"].clone();
    let of_level = |line: &&Value| line["level"] == level;
    let messages = lines.as_array().unwrap().iter().filter(of_level);
    messages.map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_program_is_given_what_the_tasks_that_its_task_waited_for_have_put_out() {
    let world = World::new(QUICK);
    let first = world.create(&["--params", "{\"frames\": 7}"]);
    let second = world.create(&["--depends-on", &first]);
    let _worker = world.worker("cat");
    let made = world.becomes(&second, "completed")["generation"]["result"].clone();
    let input = &made["inputs"][0];
    assert_eq!((&input["task_id"], &input["state"]), (&json!(first), &json!("completed")), "{made}");
    assert_eq!(input["generation"]["result"]["params"]["frames"], 7, "{made}");
}
