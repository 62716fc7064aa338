//! `baton worker run --outputs`: what programs leave in their folders is handed in with their completions.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{PATIENT, QUICK, Running, World, pids, run, stderr, told, until};

/// Few bytes for a file, and tasks that fail for good at the first failure that says so.
const SMALL: &[(&str, &str)] =
    &[("BATON_LEASES_HEARTBEAT_INTERVAL_SECONDS", "0.2"), ("BATON_FILES_FILE_MEBIBYTES", "1")];

const OUTPUTS: &[&str] = &["--outputs", "outputs"];

fn ended(mut worker: Running) {
    worker.signal(Signal::SIGTERM);
    assert!(worker.wait().success());
}

/// What is in a folder, without the lock of starts.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "baton-worker.lock").collect()
}

fn paths(detail: &Value) -> Vec<String> {
    let files = detail["generation"]["files"].as_array().unwrap();
    files.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
}

fn code(detail: &Value) -> &str {
    detail["task"]["error"]["code"].as_str().unwrap()
}

#[test]
fn what_a_program_leaves_is_handed_in_and_named_by_its_completion() {
    let world = World::new(PATIENT);
    let id = world.create(&["--project", "film"]);
    let script = "cd $BATON_OUTPUTS && mkdir -p sub/deep && head -c 3000000 /dev/zero >sub/deep/b.bin && \
                  printf 'a b' >'ü 1.txt' && : >.hidden && ln -s /etc/passwd link && mkfifo pipe && echo '{\"n\": 1}'";
    let worker = world.worker_with(OUTPUTS, script);
    let detail = world.becomes(&id, "completed");
    let expected = [".hidden", "sub/deep/b.bin", "ü 1.txt"].map(|name| format!("tasks/{id}/1/{name}"));
    assert_eq!(paths(&detail), expected);
    let files = &detail["generation"]["files"];
    assert_eq!((&files[1]["size"], &files[2]["content_type"]), (&3_000_000.into(), &"text/plain".into()));
    assert_eq!(detail["generation"]["result"]["n"], 1);
    let got = run(world.command(&["file", "get", &format!("film/{}", expected[2]), "-"]), 0);
    assert_eq!(got.stdout, b"a b");
    let list = world.json(&["file", "list", "--project", "film"]);
    assert!(list["items"].as_array().unwrap().iter().all(|file| file["task_id"] == id.as_str()), "{list}");
    let log = world.worker_log();
    assert!(log.contains("neither files nor folders: link, pipe") || log.contains("pipe, link"), "{log}");
    let shown = run(world.command(&["generation", "show", detail["generation"]["id"].as_str().unwrap()]), 0);
    assert!(told(&shown).contains("sub/deep/b.bin, 3000000 bytes"), "{}", told(&shown));
    // Its folder is gone, and with the worker the folder of that.
    let own = world.path("outputs").join(&names(&world.path("outputs"))[0]);
    until("the attempt's folder is removed", || (names(&own) == ["lock"]).then_some(()));
    ended(worker);
    assert_eq!(names(&world.path("outputs")), [""; 0]);
}

#[test]
fn a_program_that_fails_or_leaves_nothing_hands_nothing_in() {
    let world = World::new(PATIENT);
    let failed = world.create(&["--max-attempts", "1", "--params", "{\"code\": 3}"]);
    let done = world.create(&["--params", "{\"code\": 0}"]);
    let script =
        "case $BATON_PARAMS in *3*) echo x >$BATON_OUTPUTS/a; exit 3;; esac; echo null; ls -A $BATON_OUTPUTS";
    let worker = world.worker_with(OUTPUTS, script);
    assert_eq!(code(&world.becomes(&failed, "failed")), "exit_3");
    assert_eq!(world.becomes(&done, "completed")["generation"].get("files"), None);
    ended(worker);
    assert_eq!(world.json(&["file", "list"])["items"].as_array().unwrap().len(), 0);
    assert_eq!(names(&world.path("outputs")), [""; 0]);
    // Without the option there is no such folder.
    let plain = world.create(&[]);
    let worker = world.worker("echo \"\\\"${BATON_OUTPUTS-none}\\\"\"");
    assert_eq!(world.becomes(&plain, "completed")["generation"]["result"], "none");
    ended(worker);
    let refused = run(world.command(&["worker", "run", "--outputs", "/dev/null/x", "--", "true"]), 2);
    assert!(
        stderr(&refused).contains("expected a folder that can be written for outputs"),
        "{}",
        told(&refused)
    );
}

#[test]
fn files_that_the_server_does_not_take_fail_the_attempt_and_complete_nothing() {
    let world = World::new(SMALL);
    let large = world.create(&["--params", "\"large\""]);
    let many = world.create(&["--params", "\"many\""]);
    let odd = world.create(&["--params", "\"odd\""]);
    let script = "cd $BATON_OUTPUTS; case $BATON_PARAMS in *large*) echo x >a; head -c 1048577 /dev/zero >b;; \
                  *many*) for n in $(seq 101); do echo x >$n; done;; *) echo x >\"$(printf %81s x)\";; esac";
    let worker = world.worker_with(OUTPUTS, script);
    for (task, why) in [
        (large, "the server does not take the output b: "),
        (many, "expected at most 100 files, got more"),
        (odd, "whose parts between / have 1 to 80 bytes"),
    ] {
        let detail = world.becomes(&task, "failed");
        assert_eq!(code(&detail), "outputs_refused");
        assert!(detail["task"]["error"]["message"].as_str().unwrap().contains(why), "{detail:#}");
        assert_eq!(detail.get("generation"), None);
    }
    ended(worker);
}

#[test]
fn files_wait_for_a_server_that_is_away_while_the_attempt_is_the_workers() {
    let mut world = World::new(PATIENT);
    let id = world.create(&[]);
    let script = "echo made >$BATON_OUTPUTS/a; echo $$ >../began; until [ -e ../go ]; do sleep 0.05; done";
    let script = script.replace("../", &format!("{}/", world.folder.path().display()));
    let worker = world.worker_with(OUTPUTS, &script);
    pids(&world.path("began"), 1);
    world.kill_server();
    std::fs::write(world.path("go"), "").unwrap();
    until("the worker has tried", || world.worker_log().contains("does not take an output").then_some(()));
    world.restart_server();
    let detail = world.becomes(&id, "completed");
    assert_eq!((paths(&detail), &detail["task"]["attempt"]), (vec![format!("tasks/{id}/1/a")], &1.into()));
    ended(worker);
}

#[test]
fn what_a_killed_worker_has_left_the_next_one_removes() {
    let world = World::new(QUICK);
    let id = world.create(&[]);
    let script = format!(
        "echo $BATON_ATTEMPT >$BATON_OUTPUTS/a; echo $$ >{0}/began; until [ -e {0}/go ]; do sleep 0.05; done",
        world.folder.path().display()
    );
    let mut killed = world.worker_named("w1", OUTPUTS, &script);
    pids(&world.path("began"), 1);
    let left = names(&world.path("outputs"));
    assert_eq!(left.len(), 1);
    killed.signal(Signal::SIGKILL);
    killed.wait();
    assert_eq!(names(&world.path("outputs")), left);
    std::fs::write(world.path("go"), "").unwrap();
    let next = world.worker_named("w2", OUTPUTS, &script);
    let detail = world.becomes(&id, "completed");
    assert_eq!(paths(&detail), [format!("tasks/{id}/2/a")]);
    assert!(!names(&world.path("outputs")).contains(&left[0]));
    ended(next);
    assert_eq!(names(&world.path("outputs")), [""; 0]);
}
