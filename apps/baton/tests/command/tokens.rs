//! Tokens on the command line: the first one, those that follow, and where a secret may and may not be seen.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{Running, World, told, tool, until};

/// Each request needs a token, on loopback too.
const STRICT: &[(&str, &str)] =
    &[("BATON_TOKENS_REQUIRED", "always"), ("BATON_LEASES_HEARTBEAT_INTERVAL_SECONDS", "0.2")];

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command that must end with this exit code.
fn run(command: &mut Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", told(&output));
    output
}

/// A strict server, and an operator's token that was made before it started.
pub(crate) fn site() -> (World, String) {
    let mut world = World::new(STRICT);
    world.end_server();
    let output = run(&mut in_store(&world, &["--name", "admin", "--scope", "operator"]), 0);
    assert!(text(&output.stderr).contains("its secret is shown this once"), "{}", told(&output));
    world.restart_server();
    (world, text(&output.stdout).trim().to_owned())
}

fn in_store(world: &World, arguments: &[&str]) -> Command {
    let mut command = tool();
    command.args(["token", "create", "--store", "sqlite:baton.db"]).args(arguments);
    command.current_dir(world.folder.path());
    command
}

pub(crate) fn with(world: &World, token: &str, arguments: &[&str]) -> Command {
    let mut command = world.command(arguments);
    command.env("BATON_TOKEN", token);
    command
}

pub(crate) fn json_of(command: &mut Command) -> Value {
    serde_json::from_slice(&run(command.args(["-o", "json"]), 0).stdout).unwrap()
}

fn made(world: &World, operator: &str, arguments: &[&str]) -> (String, String) {
    let arguments = [&["token", "create"], arguments].concat();
    let created = json_of(&mut with(world, operator, &arguments));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&created["secret"]), text(&created["token"]["id"]))
}

#[test]
fn the_first_token_is_made_on_the_store_and_makes_the_others() {
    let (world, admin) = site();
    assert!(admin.starts_with("baton_") && admin.len() == 103, "{admin}");
    let refused = run(&mut world.command(&["task", "list"]), 7);
    assert!(text(&refused.stderr).contains("ask an operator for a token"), "{}", told(&refused));

    let (ci, id) = made(
        &world,
        &admin,
        &["--name", "ci", "--scope", "producer", "--project", "film", "--expires", "30d"],
    );
    let task = json_of(&mut with(&world, &ci, &["task", "create", "--type", "a"]));
    let shown = json_of(&mut with(&world, &ci, &["task", "show", task["id"].as_str().unwrap()]));
    assert_eq!(shown["task"]["project"], "film");
    run(&mut with(&world, &ci, &["stats"]), 7);

    let list = run(&mut with(&world, &admin, &["token", "list"]), 0);
    let list = text(&list.stdout);
    assert!(list.contains("admin") && list.contains("project film"), "{list}");
    assert!(!list.contains(&ci[39..]) && !list.contains(&admin[39..]), "{list}");

    run(&mut with(&world, &admin, &["token", "revoke", &id]), 0);
    let refused = run(&mut with(&world, &ci, &["task", "list"]), 7);
    assert!(text(&refused.stderr).contains("was revoked"), "{}", told(&refused));
    run(&mut with(&world, &admin, &["token", "revoke", "01980a6e-0000-7cc3-98c4-dc0c0c070000"]), 3);

    let audit = json_of(&mut with(&world, &admin, &["audit", "--limit", "9"]));
    let told: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["action"].clone(), entry["token_name"].clone(), entry["outcome"].clone()))
        .collect();
    let entry = |action: &str, token: Value, outcome: u16| (json!(action), token, json!(outcome));
    assert_eq!(
        told,
        [
            entry("revoke_token", json!("admin"), 404),
            entry("revoke_token", json!("admin"), 200),
            entry("create_token", json!("admin"), 201),
            entry("create_token", Value::Null, 201),
        ]
    );
    let audit = run(&mut with(&world, &admin, &["audit", "--action", "create_token", "--since", "1h"]), 0);
    assert_eq!(text(&audit.stdout).lines().count(), 3, "{}", told_of(&audit));
    run(&mut with(&world, &admin, &["audit", "--action", "make_coffee"]), 1);
}

fn told_of(output: &Output) -> String {
    told(output)
}

#[test]
fn a_store_that_a_server_has_open_takes_no_token() {
    let (world, _) = site();
    let output = run(&mut in_store(&world, &["--name", "x", "--scope", "operator"]), 1);
    assert!(text(&output.stderr).contains("another baton has it open"), "{}", told(&output));
    assert!(output.stdout.is_empty(), "{}", told(&output));
}

#[test]
fn a_token_comes_from_the_environment_or_a_file_and_never_from_an_argument() {
    let (world, admin) = site();
    let file = world.path("admin.token");
    std::fs::write(&file, format!("{admin}\n")).unwrap();
    let path = file.to_str().unwrap();
    run(&mut world.command(&["stats", "--token-file", path]), 0);
    run(world.command(&["stats"]).env("BATON_TOKEN_FILE", path), 0);
    // The nearer one wins: the flag, then the variable that holds it, then the one that names a file.
    let wrong = format!("{}0", &admin[..102]);
    run(with(&world, &wrong, &["stats", "--token-file", path]).env("BATON_TOKEN_FILE", "/nowhere"), 0);
    run(with(&world, &admin, &["stats"]).env("BATON_TOKEN_FILE", "/nowhere"), 0);
    run(world.command(&["stats"]).env("BATON_TOKEN_FILE", "/nowhere"), 2);
    let output = run(&mut with(&world, &admin[1..], &["stats"]), 2);
    assert!(
        text(&output.stderr).contains("in BATON_TOKEN, got another text of 102 bytes"),
        "{}",
        told(&output)
    );
    assert!(!text(&output.stderr).contains(&admin[39..71]), "{}", told(&output));
    run(&mut world.command(&["stats", "--token", &admin]), 2);
}

#[test]
fn a_token_that_leaves_the_machine_in_clear_is_warned_of() {
    let (world, admin) = site();
    // 0.0.0.0 leads to this machine, but is no address of it.
    let port = world.url.rsplit(':').next().unwrap();
    let server = format!("http://0.0.0.0:{port}");
    let output = run(with(&world, &admin, &["stats", "--server", &server]).env_remove("BATON_URL"), 0);
    assert!(text(&output.stderr).contains("over plain http"), "{}", told(&output));
    let output = run(&mut with(&world, &admin, &["stats"]), 0);
    assert!(output.stderr.is_empty(), "{}", told(&output));
}

#[test]
fn a_workers_commands_do_not_get_its_token_and_no_process_shows_it() {
    let (world, admin) = site();
    let (worker_token, _) =
        made(&world, &admin, &["--name", "farm", "--scope", "worker", "--project", "film", "--queue", "gpu"]);
    let token_file = world.path("unused.token");
    let script = "env > env.txt; echo done > done.txt; cat release.fifo";
    run(Command::new("mkfifo").arg(world.path("release.fifo")), 0);
    let log = std::fs::File::create(world.path("worker.log")).unwrap();
    // It names no queue: its token does.
    let mut command = with(&world, &worker_token, &["worker", "run", "--id", "w1", "--", "sh", "-c", script]);
    command.env("BATON_TOKEN_FILE", &token_file).env("BATON_LOG_LEVEL", "trace");
    command.current_dir(world.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut worker = Running(command.spawn().unwrap());
    let (film, _) =
        made(&world, &admin, &["--name", "p", "--scope", "producer", "--project", "film", "--queue", "gpu"]);
    let task = json_of(&mut with(&world, &film, &["task", "create", "--type", "a"]));
    let task = task["id"].as_str().unwrap().to_owned();
    until("the command has looked", || world.path("done.txt").exists().then_some(()));

    let seen = std::fs::read_to_string(world.path("env.txt")).unwrap();
    assert!(seen.contains("BATON_TASK_ID=") && !seen.contains("BATON_TOKEN"), "{seen}");
    // The list of processes, as everybody may read it, while worker, guard, server and command run.
    for process in std::fs::read_dir("/proc").unwrap() {
        let path = process.unwrap().path().join("cmdline");
        let shown = std::fs::read(&path).unwrap_or_default();
        let shown = String::from_utf8_lossy(&shown).into_owned();
        for secret in [&worker_token, &admin, &film] {
            assert!(!shown.contains(&secret[39..]), "{}: {shown}", path.display());
        }
    }
    std::fs::write(world.path("release.fifo"), "{}").unwrap();
    until("the task is completed", || {
        let shown = json_of(&mut with(&world, &film, &["task", "show", &task]));
        (shown["task"]["status"] == "completed").then_some(())
    });
    worker.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(worker.wait().success(), "{}", world.worker_log());
    for file in ["worker.log", "server.log"] {
        let log = std::fs::read_to_string(world.path(file)).unwrap();
        for secret in [&worker_token, &admin, &film] {
            assert!(!log.contains(&secret[39..]), "{file}: {log}");
        }
    }
}

#[test]
fn a_worker_whose_token_does_not_do_says_so_and_ends() {
    let (world, admin) = site();
    let (producer, _) = made(&world, &admin, &["--name", "p", "--scope", "producer"]);
    let output = run(&mut with(&world, &producer, &["worker", "run", "--id", "w1", "--", "true"]), 7);
    assert!(text(&output.stderr).contains("scope_missing"), "{}", told(&output));
    let output = run(&mut world.command(&["worker", "run", "--id", "w1", "--", "true"]), 7);
    assert!(text(&output.stderr).contains("unauthorized"), "{}", told(&output));
}

#[test]
fn a_start_without_an_operators_token_says_how_to_make_one() {
    let world = World::new(STRICT);
    let log = until("the server has told", || {
        let log = std::fs::read_to_string(world.path("server.log")).unwrap();
        log.contains("server started").then_some(log)
    });
    assert!(log.contains("baton token create --name admin --scope operator"), "{log}");
    let (world, _) = site();
    let second = until("the second start is told", || {
        let log = std::fs::read_to_string(world.path("server.log")).unwrap();
        let (_, log) = log.split_once("server stopped")?;
        log.contains("server started").then(|| log.to_owned())
    });
    assert!(!second.contains("there is none of an operator"), "{second}");
}

#[test]
fn wrong_tokens_are_refused_with_the_flag_that_is_wrong() {
    let (world, admin) = site();
    for (arguments, part) in [
        (&["--name", "x", "--scope", "admin"][..], "--scope"),
        (&["--name", "x", "--scope", "worker", "--expires", "soon"], "--expires"),
        (&["--name", "x", "--scope", "worker", "--requests-per-second", "0"], "--requests-per-second"),
        (&["--scope", "worker"], "--name"),
    ] {
        let arguments = [&["token", "create"], arguments].concat();
        let output = run(&mut with(&world, &admin, &arguments), 2);
        assert!(text(&output.stderr).contains(part), "{}", told(&output));
    }
    let arguments = ["token", "create", "--name", "x", "--scope", "worker", "--project", "default"];
    let output = run(&mut with(&world, &admin, &arguments), 1);
    assert!(text(&output.stderr).contains("--project: expected a project of its own"), "{}", told(&output));
    let (endless, _) = made(&world, &admin, &["--name", "x", "--scope", "worker", "--expires", "never"]);
    assert_eq!(endless.len(), 103);
}

#[test]
fn a_key_of_another_system_is_imported_once_and_goes_on_working() {
    let (mut world, admin) = site();
    world.end_server();
    let key = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJl";
    std::fs::write(world.folder.path().join("old.key"), format!("{key}\n")).unwrap();
    let import = |world: &World, name: &str| {
        let mut command = tool();
        command.args([
            "token",
            "import",
            "--store",
            "sqlite:baton.db",
            "--scope",
            "operator",
            "--name",
            name,
            "old.key",
        ]);
        command.current_dir(world.folder.path());
        command
    };
    for _ in 0..2 {
        let output = run(&mut import(&world, "service"), 0);
        assert!(
            text(&output.stderr).contains("its callers present the key that they have"),
            "{}",
            told(&output)
        );
        assert!(output.stdout.is_empty() && !text(&output.stderr).contains(key), "{}", told(&output));
    }
    let refused = run(&mut import(&world, "another"), 1);
    assert!(text(&refused.stderr).contains("expected a secret that no token has yet"), "{}", told(&refused));
    world.restart_server();
    // As the old system's clients present it.
    let old =
        |key: &str, path: &str| world.ask_with(&format!("authorization: Bearer {key}\r\n"), "GET", path, "");
    let (status, listed) = old(key, "/v1/tokens");
    assert_eq!(status, 200, "{listed}");
    let tokens = listed["items"].as_array().unwrap();
    let service = tokens.iter().find(|token| token["name"] == "service").unwrap();
    assert!(tokens.len() == 2 && service["expires_at"].is_null(), "{listed}");
    // One by asking the server, from stdin.
    let mut asked = with(
        &world,
        &admin,
        &["token", "import", "--name", "ada", "--scope", "producer", "--project", "film"],
    );
    let mut child =
        asked.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"another-key-of-that-system").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(old("another-key-of-that-system", "/v1/tasks").0, 200);
    std::fs::write(world.folder.path().join("old.key"), "short").unwrap();
    let refused = run(&mut import(&world, "short"), 2);
    assert!(text(&refused.stderr).contains("16 to 4,096 characters"), "{}", told(&refused));
    run(&mut with(&world, &admin, &["token", "revoke", service["id"].as_str().unwrap()]), 0);
    assert_eq!(old(key, "/v1/tokens").0, 401);
}
