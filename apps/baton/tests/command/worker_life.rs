//! A worker's own life: programs that it cannot start, its name, its token, the signals that end it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{PATIENT, QUICK, Running, World, alive, events, pids, program, told, tool, until};

/// Starts a worker that runs a program of the world's folder, and waits until the server knows it. `shell` is a line before
/// it, such as for limits.
pub(crate) fn worker_of(world: &World, shell: &str, arguments: &[&str], program: &str) -> Running {
    let log = std::fs::File::options().create(true).append(true).open(world.path("worker.log")).unwrap();
    let mut command = Command::new("sh");
    let script = format!("{shell}\nexec \"$@\"");
    command.args(["-c", &script, "sh"]).arg(env!("CARGO_BIN_EXE_baton")).args(["worker", "run"]);
    command.args(arguments).args(["--", program]).env("BATON_URL", &world.url);
    command.current_dir(world.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let running = Running(command.spawn().unwrap());
    if let Some(at) = arguments.iter().position(|argument| *argument == "--id") {
        until("the worker is known", || {
            let output = world.command(&["worker", "show", arguments[at + 1]]).output().unwrap();
            output.status.success().then_some(())
        });
    }
    running
}

fn cannot_start(world: &World, worker: &str) -> Option<String> {
    let shown = world.json(&["worker", "show", worker]);
    shown["labels"]["cannot_start"].as_str().map(str::to_owned)
}

#[test]
fn the_tasks_of_a_worker_that_cannot_start_its_program_are_done_by_a_healthy_one() {
    let world = World::new(QUICK);
    program(&world.path("run.sh"), "#!/bin/sh\necho 1\n");
    let _broken = worker_of(&world, "", &["--id", "broken", "--concurrency", "4"], "./run.sh");
    std::fs::remove_file(world.path("run.sh")).unwrap();
    let tasks: Vec<_> = (0..30).map(|_| world.create(&[])).collect();
    let label = until("the worker says that it cannot start it", || cannot_start(&world, "broken"));
    assert!(label.starts_with("No such file or directory (os error 2), "), "{label}");
    let list = world.command(&["worker", "list"]).output().unwrap();
    assert!(told(&list).contains("cannot start: No such file"), "{}", told(&list));

    let _healthy = world.worker_named("healthy", &["--concurrency", "2"], "echo 2");
    for id in &tasks {
        let detail = world.becomes(id, "completed");
        assert_eq!(detail["generation"]["worker_id"], "healthy", "{detail:#}");
        assert_eq!(detail["task"]["attempts_used"], 1, "{detail:#}");
    }
    let log = world.worker_log();
    assert!(log.contains("the program could not be started") && log.contains("ERROR"), "{log}");
    let given_back = tasks.iter().filter(|id| events(&world.task(id)).contains(&"released")).count();
    assert!(given_back > 0, "the broken worker has had its share: {log}");
    assert!(cannot_start(&world, "broken").is_some());
}

#[test]
fn a_worker_takes_tasks_again_once_its_program_is_back() {
    let world = World::new(QUICK);
    program(&world.path("run.sh"), "#!/bin/sh\necho 1\n");
    let _worker = worker_of(&world, "", &["--id", "w1"], "./run.sh");
    std::fs::rename(world.path("run.sh"), world.path("away")).unwrap();
    let id = world.create(&["--max-attempts", "1"]);
    until("the worker says that it cannot start it", || cannot_start(&world, "w1"));
    std::fs::rename(world.path("away"), world.path("run.sh")).unwrap();
    let detail = world.becomes(&id, "completed");
    let reason = detail["history"][2]["reason"].as_str().unwrap();
    assert_eq!(reason, "could not start ./run.sh on worker w1: No such file or directory (os error 2)");
    until("the worker says it no more", || cannot_start(&world, "w1").is_none().then_some(()));
    let logs = world.json(&["logs", "--task", &id, "--level", "error"]);
    let line = logs["items"][0]["message"].as_str().unwrap();
    assert!(
        line.ends_with("check that the program and the interpreter in its first line are there"),
        "{line}"
    );
}

#[test]
fn what_cannot_be_executed_is_the_workers_fault_whatever_the_reason() {
    let world = World::new(QUICK);
    let spoilt: [(&str, &str, u32, &str); 3] = [
        ("interpreter", "#!/no/such/interpreter\n", 0o755, "os error 2"),
        ("rights", "#!/bin/sh\necho 1\n", 0o644, "os error 13"),
        ("format", "\u{7f}ELF of another machine", 0o755, "os error 8"),
    ];
    let mut workers = Vec::new();
    for (name, ..) in spoilt {
        program(&world.path(name), "#!/bin/sh\necho 1\n");
        workers.push(worker_of(&world, "", &["--id", name, "--queue", name], &format!("./{name}")));
    }
    for (name, text, mode, error) in spoilt {
        let file = world.path("spoilt");
        program(&file, text);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::rename(&file, world.path(name)).unwrap();
        let id = world.create(&["--queue", name, "--max-attempts", "1"]);
        let label = until("the worker says that it cannot start it", || cannot_start(&world, name));
        assert!(label.contains(error), "{name}: {label}");
        until("the task is given back", || events(&world.task(&id)).contains(&"released").then_some(()));
        assert_ne!(world.task(&id)["task"]["status"], "failed");
    }
}

#[test]
fn params_that_make_the_environment_too_large_come_by_standard_input_alone() {
    let world = World::new(QUICK);
    program(
        &world.path("run.sh"),
        "#!/bin/sh\necho \"{\\\"variable\\\": ${#BATON_PARAMS}, \\\"bytes\\\": $(wc -c)}\"\n",
    );
    // The environment and the arguments of a program may be as large as a quarter of its stack: 256 KiB here.
    let shell = "ulimit -s 1024\nA=$(head -c 90000 /dev/zero | tr '\\0' a)\nB=$A\nexport A B";
    let _worker = worker_of(&world, shell, &["--id", "w1"], "./run.sh");
    let params = world.path("params");
    std::fs::write(&params, format!("\"{}\"", "x".repeat(95_000))).unwrap();
    let id = world.create(&["--params", &format!("@{}", params.display()), "--max-attempts", "1"]);
    let result = world.becomes(&id, "completed")["generation"]["result"].clone();
    assert_eq!(result["variable"], 0, "{result}");
    assert!(result["bytes"].as_u64().unwrap() > 95_000, "{result}");
    let small = world.create(&["--params", "[1]"]);
    assert_eq!(world.becomes(&small, "completed")["generation"]["result"]["variable"], 3);
}

#[test]
fn a_worker_with_few_open_files_takes_no_more_than_fit_and_fails_no_task() {
    let world = World::new(QUICK);
    program(&world.path("run.sh"), "#!/bin/sh\nsleep 0.2\necho 1\n");
    let _few = worker_of(&world, "ulimit -n 48", &["--id", "few", "--concurrency", "40"], "./run.sh");
    assert!(world.worker_log().contains("ulimit -n 272"), "{}", world.worker_log());
    assert_eq!(world.json(&["worker", "show", "few"])["capacity"], 2);
    let _healthy = world.worker_named("healthy", &["--concurrency", "4"], "sleep 0.2; echo 2");
    let tasks: Vec<_> = (0..30).map(|_| world.create(&[])).collect();
    for id in &tasks {
        assert_eq!(world.becomes(id, "completed")["task"]["attempts_used"], 1);
    }
}

#[test]
fn two_starts_of_one_name_are_told_of_in_the_log_of_both_with_what_to_set() {
    let world = World::new(PATIENT);
    let mut first = world.worker("echo $$ > pids; exec sleep 300");
    let id = world.create(&[]);
    pids(&world.path("pids"), 1);
    let second = world.worker("echo 1");
    assert_eq!(first.wait().code(), Some(1));
    world.becomes(&id, "completed");
    let log = world.worker_log();
    let line =
        |part: &str| log.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {log}"));
    for (part, other) in [
        ("takes the place of an earlier one", first.0.id()),
        ("another start has taken the place of this one", second.0.id()),
    ] {
        let line = line(part);
        assert!(line.contains("give each worker a name of its own (--id)"), "{line}");
        assert!(line.contains(&other.to_string()), "{line}");
    }
}

#[test]
fn workers_that_are_given_no_name_get_one_each() {
    let world = World::new(PATIENT);
    program(&world.path("run.sh"), "#!/bin/sh\necho 1\n");
    let _workers = [0; 3].map(|_| worker_of(&world, "", &[], "./run.sh"));
    let items = until("all are known", || {
        let items = world.json(&["worker", "list"])["items"].as_array().unwrap().clone();
        (items.len() == 3).then_some(items)
    });
    for worker in items {
        let (id, host) = (worker["id"].as_str().unwrap(), worker["labels"]["host"].as_str().unwrap());
        let chance = id.strip_prefix(host).and_then(|rest| rest.strip_prefix('-')).unwrap();
        assert_eq!(chance.len(), 6, "{id}");
    }
}

/// Something that is not Baton, and answers each request as API Gateway does where the authorizer lets nobody through.
fn gateway(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // The requests are small: one read takes in all of them.
            let _ = stream.read(&mut [0; 64 * 1024]);
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

#[test]
fn a_worker_whose_token_a_gateway_refuses_ends_as_one_whose_token_a_server_refuses() {
    for (status, body) in [
        ("401 Unauthorized", r#"{"message":"Unauthorized"}"#),
        ("403 Forbidden", r#"{"message":"Forbidden"}"#),
    ] {
        let mut command = tool();
        command.args(["worker", "run", "--id", "w1", "--server", &gateway(status, body), "--", "true"]);
        let mut worker = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        // What it says is little: it need not be read while it runs.
        assert_eq!(worker.wait().code(), Some(7));
        let mut told = String::new();
        worker.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(told.contains(status) && told.contains("BATON_TOKEN"), "{told}");
    }
}

#[test]
fn a_worker_without_a_server_says_what_it_waits_for_and_begins_when_it_is_there() {
    let mut world = World::new(PATIENT);
    world.kill_server();
    let _worker = world.worker("echo 1");
    until("the worker says so", || {
        world.worker_log().contains("the server does not take the worker's heartbeats").then_some(())
    });
    world.restart_server();
    let id = world.create(&[]);
    world.becomes(&id, "completed");
    until("the worker says so", || {
        world.worker_log().contains("takes the worker's heartbeats again").then_some(())
    });
}

#[test]
fn sighup_drains_a_worker_and_the_second_gives_its_tasks_back() {
    let world = World::new(QUICK);
    let mut worker = world.worker("echo $$ > pids; exec sleep 300");
    let id = world.create(&[]);
    let pids = pids(&world.path("pids"), 1);
    // systemd's SendSIGHUP= sends one after the other, which is to be one request.
    worker.signal(Signal::SIGTERM);
    worker.signal(Signal::SIGHUP);
    until("the worker drains", || world.worker_log().contains("draining").then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert!(alive(pids[0]), "SIGTERM and SIGHUP at once are one");
    worker.signal(Signal::SIGHUP);
    assert!(worker.wait().success());
    assert!(!alive(pids[0]));
    let detail = world.task(&id);
    assert_eq!(events(&detail), ["created", "claimed", "released"]);
    assert_eq!((&detail["task"]["status"], &detail["task"]["attempts_used"]), (&json!("queued"), &json!(0)));
}

#[test]
fn under_nohup_sighup_is_passed_over() {
    let world = World::new(QUICK);
    program(&world.path("run.sh"), "#!/bin/sh\necho 1\n");
    let worker = worker_of(&world, "trap '' HUP", &["--id", "w1"], "./run.sh");
    worker.signal(Signal::SIGHUP);
    let id = world.create(&[]);
    world.becomes(&id, "completed");
    assert!(!world.worker_log().contains("draining"), "{}", world.worker_log());
}

#[test]
fn sighup_ends_a_server_in_order() {
    let mut world = World::new(QUICK);
    let id = world.create(&[]);
    assert!(world.end_server_by(Signal::SIGHUP).success());
    world.restart_server();
    assert_eq!(world.task(&id)["task"]["attempt"], 0);
}
