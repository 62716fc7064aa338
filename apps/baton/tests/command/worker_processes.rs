//! What a worker's programs have started: ended with them wherever it hides, and collected when it has ended.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{
    PATIENT, QUICK, Running, SLOW_REAPER, World, alive, events, not_tested, pids, seconds_between, until,
};

/// Starts three processes that leave the program's group, and writes their numbers: a child, an orphan, and an orphan
/// without anything of the program's environment. Their output goes nowhere.
const HIDING: &str = r#"
    exec 3>&1 > /dev/null 2>&1
    setsid sh -c 'echo $$ > "$0/a"; exec sleep 300' "$PWD" &
    (setsid sh -c 'echo $$ > "$0/b"; exec sleep 300' "$PWD" &)
    (env -i PATH="$PATH" setsid sh -c 'echo $$ > "$0/c"; exec sleep 300' "$PWD" &)
    while [ ! -s a ] || [ ! -s b ] || [ ! -s c ]; do sleep 0.02; done
    cat a b c > hiding
    exec >&3
"#;

/// The numbers of those three; all of them run.
fn hiding(world: &World) -> Vec<i32> {
    let pids = pids(&world.path("hiding"), 3);
    assert!(pids.iter().all(|pid| alive(*pid)));
    pids
}

fn gone(pids: &[i32]) {
    until("what the program has started is gone", || pids.iter().all(|pid| !alive(*pid)).then_some(()));
}

#[test]
fn what_has_left_its_group_ends_with_a_cancelled_task() {
    let world = World::new(QUICK);
    let _worker = world.worker(&format!("{HIDING} sleep 300"));
    let id = world.create(&[]);
    let pids = hiding(&world);
    world.json(&["task", "cancel", &id, "--by", "test", "--reason", "not needed"]);
    gone(&pids);
    assert_eq!(events(&world.task(&id)), ["created", "claimed", "cancelled"]);
}

#[test]
fn what_has_left_its_group_ends_with_a_timeout() {
    let world = World::new(SLOW_REAPER);
    let _worker = world.worker(&format!("{HIDING} sleep 300"));
    let id = world.create(&["--timeout", "2s", "--max-attempts", "1"]);
    let pids = hiding(&world);
    assert_eq!(world.becomes(&id, "failed")["task"]["error"]["code"], "timed_out");
    gone(&pids);
}

#[test]
fn what_has_left_its_group_ends_with_the_program() {
    let world = World::new(QUICK);
    let _worker = world.worker(&format!("{HIDING} while [ ! -e go ]; do sleep 0.02; done; echo 1"));
    let id = world.create(&[]);
    let pids = hiding(&world);
    std::fs::write(world.path("go"), "").unwrap();
    assert_eq!(world.becomes(&id, "completed")["generation"]["result"], 1);
    gone(&pids);
}

#[test]
fn what_has_left_its_group_ends_with_a_worker_that_is_stopped() {
    let world = World::new(QUICK);
    let mut worker = world.worker(&format!("{HIDING} sleep 300"));
    let id = world.create(&[]);
    let pids = hiding(&world);
    world.json(&["worker", "stop", "w1"]);
    assert!(worker.wait().success());
    assert!(pids.iter().all(|pid| !alive(*pid)));
    assert_eq!(events(&world.task(&id)), ["created", "claimed", "released"]);
}

#[test]
fn what_has_left_its_group_ends_with_a_worker_that_is_killed() {
    let world = World::new(QUICK);
    let worker = world.worker(&format!("{HIDING} sleep 300"));
    world.create(&[]);
    let pids = hiding(&world);
    // Where the system lets the worker make no control group, what has cleaned its environment is not found.
    let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", worker.0.id())).unwrap();
    let found = if cgroup.contains("/baton-worker-") {
        &pids
    } else {
        not_tested(
            "that a process without its environment ends with a worker that is killed, for want of control groups (v2)",
        );
        &pids[..2]
    };
    worker.signal(Signal::SIGKILL);
    gone(found);
}

#[test]
fn what_one_task_has_started_is_left_alone_when_another_ends() {
    let world = World::new(QUICK);
    let script =
        format!("if [ $BATON_PARAMS = 1 ]; then {HIDING} sleep 300; else setsid sleep 300 & echo $!; fi");
    let _worker = world.worker_with(&["--concurrency", "2"], &script);
    let first = world.create(&["--params", "1"]);
    let first_pids = hiding(&world);
    for _ in 0..3 {
        let id = world.create(&["--params", "2"]);
        let pid = world.becomes(&id, "completed")["generation"]["result"].as_i64().unwrap();
        gone(&[pid.try_into().unwrap()]);
    }
    assert!(first_pids.iter().all(|pid| alive(*pid)));
    world.json(&["task", "cancel", &first, "--by", "test", "--reason", "seen"]);
    gone(&first_pids);
}

#[test]
fn the_outcome_does_not_wait_for_what_ignores_sigterm_and_the_next_task_does() {
    let world = World::new(QUICK);
    let script = r#"if [ $BATON_PARAMS = 2 ]; then kill -0 $(cat stubborn) 2> no; [ -s no ] && echo 2; exit 0; fi
                    setsid sh -c 'trap "" TERM; echo $$ > stubborn; while sleep 0.1; do :; done' > no 2>&1 &
                    while [ ! -s stubborn ]; do sleep 0.02; done
                    echo 1"#;
    let _worker = world.worker_with(&["--grace", "12s"], script);
    let (first, second) = (world.create(&["--params", "1"]), world.create(&["--params", "2"]));
    let detail = world.becomes(&first, "completed");
    assert_eq!(detail["generation"]["result"], 1);
    let took = seconds_between(&detail, "claimed", "completed");
    assert!(took < 12.0, "{took}");
    assert_eq!(world.becomes(&second, "completed")["generation"]["result"], 2);
}

#[test]
fn an_orphan_of_a_program_is_the_workers_child_and_stays_as_no_zombie() {
    let world = World::new(PATIENT);
    let script = r#"(sh -c 'echo $$ > orphan; while [ ! -e go ]; do sleep 0.02; done; exit 9' &)
                    while [ ! -e done ]; do sleep 0.02; done; exit 3"#;
    let worker = world.worker(script);
    let id = world.create(&["--max-attempts", "1"]);
    let orphan = pids(&world.path("orphan"), 1)[0];
    until("the worker has adopted it", || (parent(orphan)? == worker.0.id()).then_some(()));
    std::fs::write(world.path("go"), "").unwrap();
    until("nothing is left of it", || (!Path::new(&format!("/proc/{orphan}")).exists()).then_some(()));
    std::fs::write(world.path("done"), "").unwrap();
    assert_eq!(world.becomes(&id, "failed")["task"]["error"]["code"], "exit_3");
}

#[test]
fn orphans_take_no_exit_codes_along() {
    let world = World::new(PATIENT);
    let script = "for n in 1 2 3 4 5; do (sh -c 'exit 9' &); done; exit $BATON_PARAMS";
    let _worker = world.worker_with(&["--concurrency", "4"], script);
    let codes: Vec<String> = (10..50).map(|code: u32| code.to_string()).collect();
    let ids: Vec<String> =
        codes.iter().map(|code| world.create(&["--max-attempts", "1", "--params", code])).collect();
    for (id, code) in ids.iter().zip(codes) {
        assert_eq!(world.becomes(id, "failed")["task"]["error"]["code"], format!("exit_{code}"));
    }
}

#[test]
fn a_worker_that_is_process_1_of_a_container_has_no_zombies() {
    let Some(container) = container() else {
        not_tested("a worker that is process 1 of a container, as nobody may make a namespace of processes");
        return;
    };
    let world = World::new(PATIENT);
    let script = r#"if [ $BATON_PARAMS = 1 ]; then for n in 1 2 3 4 5; do (sh -c 'exit 9' &); done; sleep 0.2; exit; fi
                    zombies=5; looks=0
                    while [ $zombies != 0 ] && [ $looks -lt 100 ]; do
                      zombies=$(cat /proc/[0-9]*/status | grep -c '^State:.Z'); looks=$((looks+1)); sleep 0.1
                    done
                    echo "{\"parent\": $PPID, \"zombies\": $zombies}""#;
    let inside = world.command(&["worker", "run", "--id", "w1", "--", "sh", "-c", script]);
    let mut command = Command::new("unshare");
    command.args(container).args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(inside.get_program()).args(inside.get_args());
    command.env("BATON_URL", &world.url).current_dir(world.folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _worker = Running(command.spawn().unwrap());
    let orphans = world.create(&["--params", "1"]);
    world.becomes(&orphans, "completed");
    let look = world.create(&["--params", "2"]);
    let result = world.becomes(&look, "completed")["generation"]["result"].clone();
    assert_eq!(result, json!({"parent": 1, "zombies": 0}));
}

/// The arguments by which `unshare` makes a namespace of processes here, if it can.
fn container() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    ways.into_iter().find(|way| {
        let mut command = Command::new("unshare");
        command.args(*way).args(["--pid", "--fork", "--kill-child", "--mount-proc", "--", "true"]);
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    })
}

/// The parent of a process; none if it is gone.
fn parent(pid: i32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
