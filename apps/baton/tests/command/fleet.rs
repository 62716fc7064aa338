//! Supervised workers: started with a server or beside one, started again, replaced, directed, reloaded, ended.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{Running, World, alive, not_tested, pids, program, told, until};

/// Quick heartbeats of workers, so that what a test waits for comes soon.
const LEASES: &str = "[leases]\nheartbeat_interval_seconds = 0.2\nheartbeat_timeout_seconds = 5\n\
    [reaper]\ninterval_seconds = 0.2\n[fleet]\nname = \"h\"\n";

/// A group's settings.
pub(crate) fn group(name: &str, script: &str, more: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        "[[workers]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", {script}]\nrestart_pause_seconds = 0.1\n{more}\n"
    )
}

/// A server that starts these groups with itself.
fn world(groups: &[String]) -> World {
    World::with_file("baton.toml", &[LEASES, &groups.concat()].concat())
}

fn state_of(world: &World, group: &str) -> Value {
    world.json(&["fleet", "list", group])
}

/// Waits until all workers of a group have this state; the answer is the group.
fn all_are(world: &World, group: &str, count: usize, state: &str) -> Value {
    let mut last = Value::Null;
    let begun = Instant::now();
    loop {
        let seen = state_of(world, group);
        let workers = seen["workers"].as_array().unwrap();
        if workers.len() == count && workers.iter().all(|worker| worker["state"] == state) {
            return seen;
        }
        if seen != last {
            last = seen;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "not all {count} are {state}: {last:#}\n{}",
            world.server_log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn processes(group: &Value) -> Vec<i32> {
    let workers = group["workers"].as_array().unwrap();
    workers.iter().map(|worker| worker["pid"].as_i64().unwrap() as i32).collect()
}

fn signal(process: i32, signal: Signal) {
    kill(Pid::from_raw(process), signal).unwrap();
}

/// The processes that work in a folder or were started with something in it.
pub(crate) fn at_work_in(folder: &Path) -> Vec<i32> {
    let folder = folder.canonicalize().unwrap();
    let text = folder.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_there = |id: &i32| {
        let proc = Path::new("/proc").join(id.to_string());
        let there = std::fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd == folder);
        let named = std::fs::read(proc.join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&text));
        (there || named) && alive(*id)
    };
    ids.filter(is_there).filter(|id| *id != std::process::id() as i32).collect()
}

#[test]
fn a_server_starts_its_workers_within_a_second_and_ends_them_with_itself() {
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let mut world = world(&[group("a", "cat > /dev/null; echo 7", "count = 2")]);
        let begun = Instant::now();
        let group = all_are(&world, "a", 2, "active");
        quickest = quickest.min(begun.elapsed());
        assert_eq!(group["workers"][0]["id"], "h-a-1");
        assert_eq!(
            (&group["status"], &group["count"], &group["active"]),
            (&json!("running"), &json!(2), &json!(2))
        );
        let id = world.create(&[]);
        assert_eq!(world.becomes(&id, "completed")["generation"]["result"], json!(7));
        let shown = world.run(&["fleet", "list"], 0);
        assert!(told(&shown).contains("a      running  2/2"), "{}", told(&shown));
        let folder = world.folder.path().to_owned();
        assert!(world.end_server().success(), "{}", world.server_log());
        assert_eq!(at_work_in(&folder), Vec::<i32>::new());
    }
    assert!(quickest < Duration::from_secs(1), "{quickest:?}");
}

#[test]
fn a_killed_worker_is_back_within_two_seconds_with_what_it_held() {
    let world = world(&[group("a", "echo $$ >> runs; sleep 1; wc -l < runs", "healthy_seconds = 1")]);
    let mut process = processes(&all_are(&world, "a", 1, "active"))[0];
    let mut quickest = Duration::MAX;
    let id = world.create(&[]);
    let run = pids(&world.path("runs"), 1)[0];
    for round in 1..=3 {
        signal(process, Signal::SIGKILL);
        let begun = Instant::now();
        let next = until("another start has taken its place", || {
            let group = state_of(&world, "a");
            let worker = &group["workers"][0];
            let pid = worker["pid"].as_i64().filter(|_| worker["state"] == "active")? as i32;
            (pid != process).then_some((pid, worker["restarts"].as_u64().unwrap()))
        });
        quickest = quickest.min(begun.elapsed());
        assert_eq!(next.1, round);
        process = next.0;
    }
    assert!(quickest < Duration::from_secs(2), "{quickest:?}");
    until("the command of the killed one has ended", || (!alive(run)).then_some(()));
    let detail = world.becomes(&id, "completed");
    // Whether the lost one counts is up to whether a heartbeat had told of it.
    assert!(detail["task"]["attempt"].as_u64().unwrap() >= 2, "{detail:#}");
    let group = state_of(&world, "a");
    assert_eq!(group["workers"][0]["last_exit"], "signal 9 (SIGKILL)");
}

#[test]
fn a_worker_that_hangs_is_replaced() {
    let world = world(&[group("a", "true", "health_seconds = 0.2\ncount = 2")]);
    let before = processes(&all_are(&world, "a", 2, "active"));
    signal(before[0], Signal::SIGSTOP);
    let after = until("it is replaced", || {
        let group = state_of(&world, "a");
        let now: Vec<_> =
            group["workers"].as_array().unwrap().iter().map(|worker| worker["pid"].as_i64()).collect();
        now[0].filter(|now| *now != i64::from(before[0])).map(|_| group.clone())
    });
    assert!(!alive(before[0]));
    assert_eq!(processes(&after)[1], before[1], "the other one goes on");
    assert!(world.server_log().contains("a worker is silent; it is ended and replaced"));
}

#[test]
fn a_worker_that_used_up_its_restarts_has_failed_with_its_last_words_and_the_rest_goes_on() {
    let broken = "[[workers]]\nname = \"broken\"\ncommand = \"./later.sh\"\nmax_restarts = 2\nrestart_pause_seconds = 0.1\n";
    let world = world(&[broken.to_owned(), group("a", "echo 1", "")]);
    let group = all_are(&world, "broken", 1, "failed");
    assert_eq!(
        (&group["status"], &group["failed"], &group["restarts"]),
        (&json!("failed"), &json!(1), &json!(2))
    );
    let worker = &group["workers"][0];
    assert_eq!(worker["last_exit"], "exit code 2");
    assert!(
        worker["last_output"].as_str().unwrap().contains("no such program can be executed"),
        "{worker:#}"
    );
    let shown = told(&world.run(&["fleet", "list", "broken"], 0));
    assert!(shown.contains("what h-broken-1 said last:") && shown.contains("no such program"), "{shown}");
    all_are(&world, "a", 1, "active");
    assert!(world.server_log().contains("has failed; the others go on"), "{}", world.server_log());
    let fires = || {
        let (_, alert) = world.get("/v1/alerts/group-failed");
        alert["firing"].as_array().unwrap().iter().map(|one| one["message"].clone()).collect::<Vec<_>>()
    };
    let told = until("the alert fires, of which no settings speak", || {
        Some(fires()).filter(|told| !told.is_empty())
    });
    assert_eq!(told, [json!("1 worker of group broken has used up its restarts")]);

    program(&world.path("later.sh"), "#!/bin/sh\necho 2\n");
    world.run(&["fleet", "start", "broken"], 0);
    all_are(&world, "broken", 1, "active");
}

#[test]
fn a_rolling_restart_loses_no_attempt() {
    let world = world(&[group("a", "sleep 0.2", "count = 3\nconcurrency = 2")]);
    let before: BTreeSet<i32> = processes(&all_are(&world, "a", 3, "active")).into_iter().collect();
    let mut tasks: Vec<String> = (0..12).map(|_| world.create(&[])).collect();
    let asked = world.json(&["fleet", "restart", "a", "--rolling", "--by", "ops", "--reason", "a test"]);
    assert_eq!(asked["status"], "restarting");
    let after = until("all are started anew", || {
        tasks.push(world.create(&[]));
        let group = state_of(&world, "a");
        let working =
            group["workers"].as_array().unwrap().iter().filter(|worker| worker["state"] == "active").count();
        assert!(working >= 2, "{group:#}");
        (group["status"] == "running" && working == 3).then_some(group)
    });
    let after: BTreeSet<i32> = processes(&after).into_iter().collect();
    assert!(before.is_disjoint(&after), "{before:?} {after:?}");
    for id in &tasks {
        let detail = world.becomes(id, "completed");
        assert_eq!(detail["task"]["attempts_used"], 1, "{detail:#}");
    }
    let (_, audit) = world.get("/v1/audit");
    let entry = &audit["items"][0];
    assert_eq!((&entry["action"], &entry["by"]), (&json!("restart_group"), &json!("ops")), "{audit:#}");
}

#[test]
fn groups_are_stopped_started_and_scaled() {
    let world = world(&[group("a", "true", "count = 2")]);
    all_are(&world, "a", 2, "active");
    world.run(&["fleet", "scale", "a", "3"], 0);
    all_are(&world, "a", 3, "active");
    world.run(&["fleet", "scale", "a", "1"], 0);
    all_are(&world, "a", 1, "active");
    world.run(&["fleet", "stop", "a"], 0);
    let stopped = all_are(&world, "a", 1, "stopped");
    assert_eq!((&stopped["status"], &stopped["active"]), (&json!("stopped"), &json!(0)));
    world.run(&["fleet", "start", "a"], 0);
    all_are(&world, "a", 1, "active");
    let missed = told(&world.run(&["fleet", "stop", "aa"], 3));
    assert!(missed.contains("the nearest is a"), "{missed}");
    world.run(&["fleet", "list", "b"], 3);
    world.run(&["fleet", "scale", "a", "1001"], 2);
    let none = World::new(&[]);
    let told = told(&none.run(&["fleet", "list"], 3));
    assert!(told.contains("this server supervises no workers"), "{told}");
}

#[test]
fn settings_that_are_read_again_change_only_what_has_changed() {
    let keep = group("keep", "true", "");
    let more = group("more", "true", "count = 1");
    let other = group("other", "echo 1", "");
    let gone = group("gone", "true", "");
    let mut world = world(&[keep.clone(), more, other, gone]);
    let process = |world: &World, name: &str| processes(&all_are(world, name, 1, "active"))[0];
    let [keep_1, more_1, other_1, gone_1] =
        ["keep", "more", "other", "gone"].map(|name| process(&world, name));
    let groups =
        [keep, group("more", "true", "count = 2"), group("other", "echo 2", ""), group("new", "true", "")];
    std::fs::write(world.path("baton.toml"), [LEASES, &groups.concat()].concat()).unwrap();
    world.signal_server(Signal::SIGHUP);
    until("the new one is supervised", || {
        let groups = world.json(&["fleet", "list"])["items"].as_array().unwrap().clone();
        groups.iter().any(|group| group["name"] == "new").then_some(())
    });
    all_are(&world, "new", 1, "active");
    assert_eq!(processes(&all_are(&world, "more", 2, "active"))[0], more_1);
    until("the changed one is started anew", || {
        let group = state_of(&world, "other");
        let pid = group["workers"][0]["pid"].as_i64().filter(|_| group["workers"][0]["state"] == "active")?;
        (pid != i64::from(other_1)).then_some(())
    });
    assert_eq!(process(&world, "keep"), keep_1);
    until("the one that is not named any more has ended", || (!alive(gone_1)).then_some(()));
    assert_eq!(world.json(&["fleet", "list"])["items"].as_array().unwrap().len(), 4);

    std::fs::write(world.path("baton.toml"), "[[workers]]\nname = \"x\"\n").unwrap();
    world.signal_server(Signal::SIGHUP);
    until("what is wrong is told", || {
        world
            .server_log()
            .contains("the settings cannot be read again; the workers are as before")
            .then_some(())
    });
    assert!(
        world
            .server_log()
            .contains("workers.x.command: expected a program and up to 999 arguments, got none")
    );
    assert_eq!(process(&world, "keep"), keep_1);
    assert!(world.end_server().success());
}

#[test]
fn a_server_that_ends_lets_its_workers_finish() {
    let mut world = world(&[group("a", "echo $$ > run; sleep 1; echo 5", "")]);
    let id = world.create(&[]);
    let run = pids(&world.path("run"), 1)[0];
    assert!(world.end_server().success(), "{}", world.server_log());
    assert!(!alive(run));
    world.restart_server();
    let detail = world.becomes(&id, "completed");
    assert_eq!((&detail["generation"]["result"], &detail["task"]["attempts_used"]), (&json!(5), &json!(1)));
}

#[test]
fn workers_outlive_a_killed_server_to_finish_what_they_run_and_none_runs_twice_under_its_name() {
    let mut world =
        world(&[group("a", "echo $$ >> runs; until [ -e go ]; do sleep 0.05; done; echo 5", "count = 2")]);
    let before = processes(&all_are(&world, "a", 2, "active"));
    let id = world.create(&[]);
    pids(&world.path("runs"), 1);
    world.kill_server();
    // The one that runs nothing ends; the other one finishes what it runs.
    until("the idle one has ended", || (before.iter().filter(|pid| alive(**pid)).count() == 1).then_some(()));
    let busy = *before.iter().find(|pid| alive(**pid)).unwrap();
    world.restart_server();
    let waits = until("the next start finds its name taken", || {
        let group = state_of(&world, "a");
        let workers = group["workers"].as_array().unwrap().clone();
        let active = workers.iter().any(|worker| worker["state"] == "active");
        workers.into_iter().find(|worker| active && worker["state"] == "waiting")
    });
    assert_eq!(waits["waits_for"], busy.to_string());
    std::fs::write(world.path("go"), "").unwrap();
    let detail = world.becomes(&id, "completed");
    assert_eq!((&detail["generation"]["result"], &detail["task"]["attempts_used"]), (&json!(5), &json!(1)));
    let after = processes(&all_are(&world, "a", 2, "active"));
    assert!(!alive(busy) && before.iter().all(|pid| !after.contains(pid)));
    assert_eq!(pids(&world.path("runs"), 1).len(), 1, "the attempt ran once");
    assert!(world.end_server().success());
}

/// Starts a supervisor beside a world's server.
pub(crate) fn fleet_run(world: &World, text: &str) -> Running {
    std::fs::write(world.path("fleet.toml"), text).unwrap();
    let log = std::fs::File::options().create(true).append(true).open(world.path("fleet.log")).unwrap();
    let mut command = world.command(&["fleet", "run", "--config", "fleet.toml"]);
    command.current_dir(world.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Running(command.spawn().unwrap())
}

#[test]
fn workers_run_beside_a_server_on_another_machine_and_end_with_their_supervisor() {
    let world = World::new(crate::support::QUICK);
    let text =
        ["[fleet]\nname = \"h\"\n", &group("a", "echo $$ >> runs; sleep 0.5; echo 5", "count = 2")].concat();
    let mut fleet = fleet_run(&world, &text);
    let id = world.create(&[]);
    assert_eq!(world.becomes(&id, "completed")["generation"]["result"], json!(5));
    let second = world
        .command(&["fleet", "run", "--config", "fleet.toml"])
        .current_dir(world.folder.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(told(&second).contains(&format!("which process {} has", fleet.0.id())), "{}", told(&second));
    let id = world.create(&[]);
    pids(&world.path("runs"), 2);
    fleet.signal(Signal::SIGTERM);
    assert!(fleet.wait().success());
    assert_eq!(world.becomes(&id, "completed")["task"]["attempts_used"], 1);
    let left = at_work_in(&world.path("baton-fleet"));
    assert_eq!(left, Vec::<i32>::new());
}

#[test]
fn what_cannot_be_supervised_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = |text: &str| {
        std::fs::write(folder.path().join("baton.toml"), text).unwrap();
        let output =
            crate::support::tool().args(["fleet", "run"]).current_dir(folder.path()).output().unwrap();
        (output.status.code(), told(&output))
    };
    let (code, told) = run("");
    assert!(
        code == Some(2)
            && told.contains("expected at least one group of workers, [[workers]] in the file baton.toml"),
        "{told}"
    );
    let (code, told) = run(&group("a", "true", "user = \"no-such-user\"\nworking_directory = \"no/such\""));
    assert!(code == Some(2) && told.contains("workers.a.user: expected a user of this machine"), "{told}");
    assert!(
        told.contains("workers.a.working_directory: expected a folder that there is, got \"no/such\""),
        "{told}"
    );
    let (code, told) =
        run("[fleet]\ntoken_file = \"nowhere\"\n[[workers]]\nname = \"a\"\ncommand = \"true\"\n");
    assert!(
        code == Some(2) && told.contains("fleet.token_file: expected a file with a token, got "),
        "{told}"
    );
}

#[test]
fn a_server_that_needs_tokens_needs_one_for_its_workers_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let settings = |fleet: &str| {
        let text = format!(
            "[tokens]\nrequired = \"always\"\n[fleet]\nname = \"h\"\n{fleet}\n{}",
            group("a", "echo 3", "")
        );
        std::fs::write(path.join("baton.toml"), text).unwrap();
    };
    settings("");
    let mut serve = crate::support::tool();
    let output = serve.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(
        told(&output).contains("fleet.token_file: expected a file with a token of scope worker"),
        "{}",
        told(&output)
    );

    let make = |scope: &str, file: &str| {
        let mut make = crate::support::tool();
        make.args([
            "token",
            "create",
            "--name",
            scope,
            "--scope",
            scope,
            "--store",
            "sqlite:baton.db",
            "-o",
            "json",
        ]);
        let output = make.current_dir(&path).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        std::fs::write(path.join(file), made["secret"].as_str().unwrap()).unwrap();
    };
    make("worker", "t");
    make("operator", "op");
    settings("token_file = \"t\"");
    let world = World::on(folder, &[]);
    let token = path.join("op").display().to_string();
    let created = world.json(&["--token-file", &token, "task", "create", "--type", "t"]);
    let id = created["id"].as_str().unwrap();
    until("the worker has done it", || {
        let detail = world.json(&["--token-file", &token, "task", "show", id]);
        (detail["generation"]["result"] == json!(3)).then_some(())
    });
}

#[test]
fn workers_run_as_the_user_that_their_group_names() {
    // Only root may start programs as somebody else, and who that is must be able to reach them.
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten();
    const WHAT: &str = "workers of a group that names a user, as that takes root, a user nobody and a program that it reaches";
    let Some(nobody) = nobody.filter(|_| nix::unistd::geteuid().is_root()) else {
        not_tested(WHAT);
        return;
    };
    let baton = env!("CARGO_BIN_EXE_baton");
    let mut reach = std::process::Command::new(baton);
    std::os::unix::process::CommandExt::uid(&mut reach, nobody.uid.as_raw());
    if !reach.arg("--version").output().is_ok_and(|output| output.status.success()) {
        not_tested(WHAT);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    let text = format!(
        "[fleet]\nname = \"h\"\n{}",
        group("a", "id -u", "user = \"nobody\"\nworking_directory = \"/\"\nenvironment = { WHO = \"x\" }")
    );
    std::fs::write(folder.path().join("baton.toml"), text).unwrap();
    let mut world = World::on(folder, &[]);
    let id = world.create(&[]);
    let detail = world.becomes(&id, "completed");
    assert_eq!(detail["generation"]["result"], json!(nobody.uid.as_raw()), "{detail:#}");
    assert!(world.end_server().success(), "{}", world.server_log());
}
