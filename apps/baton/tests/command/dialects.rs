//! Dialects of the program itself: by flag, by settings, at an address of their own, and through a kill.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{QUICK, Running, World, run, stderr, tool};

const BESIDE: &[(&str, &str)] =
    &[("BATON_DIALECTS_ASSISTANT_ON", "true"), ("BATON_DIALECTS_TASK_TABLE_PREFIX", "/table")];

#[test]
fn a_dialect_is_served_beside_batons_own_routes_and_writes_its_files_where_it_runs() {
    let mut world = World::new(BESIDE);
    let body = json!({"task": {"action": "reflect"}, "assigned_by": "ray"}).to_string();
    let (status, told) = world.ask("POST", "/task", &body);
    assert_eq!((status, &told["status"]), (200, &json!("task_created")));
    let id = told["task_id"].as_str().unwrap().to_owned();
    assert_eq!(world.json(&["task", "show", &id])["task"]["queue"], "assistant");
    assert_eq!(world.get("/task/status").1["task_manager"]["active_tasks_count"], 1);
    // A prefix alone turns nothing on.
    assert_eq!(world.get("/table/health").0, 404);
    let lines = std::fs::read_to_string(world.path("logs/heartbeat_detailed.jsonl")).unwrap();
    assert!(lines.contains("\"event_type\": \"task_created\""), "{lines}");
    // What was answered is there after a kill, in the store and in the files.
    world.kill_server();
    world.restart_server();
    assert_eq!(world.get(&format!("/task/{id}")).0, 200);
    let after = std::fs::read_to_string(world.path("logs/heartbeat_detailed.jsonl")).unwrap();
    assert!(after.starts_with(&lines), "it is gone on with");
    assert!(world.end_server().success());
}

#[test]
fn flags_turn_dialects_on_and_the_ready_line_says_where_each_listens() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("baton.toml"), "[dialects.task-table]\nlisten = \"127.0.0.1:0\"\n")
        .unwrap();
    let mut command = tool();
    command.args(["serve", "--listen", "127.0.0.1:0", "--dialect", "assistant", "-o", "json"]);
    command
        .current_dir(folder.path())
        .envs(QUICK.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut server = Running(command.spawn().unwrap());
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(server.0.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let dialects = ready["dialects"].as_object().unwrap();
    assert_eq!(dialects.keys().collect::<Vec<_>>(), ["task-table"]);
    let ask = |url: &Value, path: &str| {
        let client = std::net::TcpStream::connect(url.as_str().unwrap().strip_prefix("http://").unwrap());
        let mut stream = client.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    assert_eq!(ask(&dialects["task-table"], "/health"), 200);
    assert_eq!(ask(&dialects["task-table"], "/livez"), 404, "it is alone there");
    assert_eq!(ask(&ready["url"], "/heartbeat"), 200);
    assert_eq!(ask(&ready["url"], "/livez"), 200);
    assert_eq!(ask(&ready["url"], "/api/v1/tasks"), 404);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(server.wait().success());
}

#[test]
fn what_cannot_be_spoken_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], environment: &[(&str, &str)], code: i32| {
        let mut command = tool();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments).current_dir(folder.path());
        command.envs(environment.iter().copied());
        stderr(&run(command, code))
    };
    let error = refused(&["--dialect", "esperanto"], &[], 2);
    assert!(
        error.contains("expected one of assistant, drift, edge-functions, orchestrator, task-table"),
        "{error}"
    );
    std::fs::write(folder.path().join("taken"), "").unwrap();
    let error = refused(&["--dialect", "assistant"], &[("BATON_DIALECTS_ASSISTANT_LOGS", "taken")], 1);
    assert!(error.contains("the dialect assistant cannot be spoken: "), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = refused(&[], &[("BATON_DIALECTS_ASSISTANT_LISTEN", &address)], 1);
    assert!(error.contains("or choose another address with dialects.assistant.listen"), "{error}");
}
