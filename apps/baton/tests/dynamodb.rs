//! The program on DynamoDB: its table, a server on it, and moving there and back under a worker that goes on. The engine
//! runs in the test's own process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{PATIENT, Running, World, tool};

/// An engine at an address of its own, until the test ends.
struct Engine {
    endpoint: String,
    _runtime: tokio::runtime::Runtime,
}

impl Engine {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let database = dynoxide::Database::memory().unwrap();
        runtime.spawn(dynoxide::server::serve_on(listener, database));
        Self { endpoint, _runtime: runtime }
    }

    /// The tool with AWS's own settings for this engine, and nothing of the machine's.
    fn tool(&self, arguments: &[&str]) -> Command {
        let mut command = bare();
        command.args(arguments).envs([
            ("AWS_ENDPOINT_URL_DYNAMODB", self.endpoint.as_str()),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ]);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.tool(arguments).output().unwrap()
    }

    /// What a command answers as JSON; it must succeed.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["-o", "json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// The tool without any settings of AWS.
fn bare() -> Command {
    let mut command = tool();
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.envs([("AWS_CONFIG_FILE", "/nonexistent"), ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")]);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server on the table, listening at the address.
fn serve(engine: &Engine, world: &World, table: &str) -> Running {
    let address = world.url.strip_prefix("http://").unwrap();
    let log = std::fs::File::create(world.path("table-server.log")).unwrap();
    let mut command = engine.tool(&["serve", "-o", "json", "--listen", address, "--store", table]);
    command.envs(PATIENT.iter().copied()).stdout(Stdio::piped()).stderr(log);
    let mut running = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let log = || std::fs::read_to_string(world.path("table-server.log")).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no server: {}", log()));
    assert_eq!(ready["store"], table);
    running
}

#[test]
fn a_table_is_made_once_and_checked() {
    let engine = Engine::start();
    let store = ["--store", "dynamodb:baton-tasks"];
    let missing = engine.run(&[&["serve"], &store[..]].concat());
    assert_eq!(missing.status.code(), Some(1));
    assert!(told(&missing).contains("baton table create"), "{}", told(&missing));
    let missing = engine.run(&[&["table", "check"], &store[..]].concat());
    assert_eq!(missing.status.code(), Some(3));
    assert!(told(&missing).contains("baton table create --store dynamodb:baton-tasks"), "{}", told(&missing));

    for _ in 0..2 {
        let made = engine.json(&[&["table", "create"], &store[..]].concat());
        assert_eq!((&made["table"], &made["works"]), (&"baton-tasks".into(), &true.into()));
    }
    let checked = engine.json(&[&["table", "check"], &store[..]].concat());
    // The engine has no backups, which is told and breaks nothing.
    let findings = checked["findings"].as_array().unwrap();
    assert!(findings.iter().all(|one| one["fatal"] == false), "{checked}");
    let file = engine.run(&["table", "create", "--store", "sqlite:baton.db"]);
    assert_eq!(file.status.code(), Some(2));
    assert!(told(&file).contains("expected a table such as dynamodb:baton"), "{}", told(&file));
}

#[test]
fn without_region_or_credentials_the_start_says_what_to_set() {
    let run = |environment: &[(&str, &str)]| {
        let mut command = bare();
        command.args(["serve", "--store", "dynamodb:baton"]).envs(environment.iter().copied());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        told(&output)
    };
    let error = run(&[]);
    assert!(error.contains("expected a region of AWS") && error.contains("AWS_REGION"), "{error}");
    let error = run(&[("AWS_REGION", "eu-central-1")]);
    assert!(error.contains("expected credentials of AWS") && error.contains("AWS_PROFILE"), "{error}");
    let secret = "a-secret-that-nobody-may-see";
    let error = run(&[
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1"),
    ]);
    assert!(error.contains("cannot open dynamodb:baton") && !error.contains(secret), "{error}");
}

#[test]
fn a_store_is_moved_there_and_back_and_a_running_worker_delivers_to_the_new_server() {
    let engine = Engine::start();
    let mut world = World::new(PATIENT);
    let large = format!("{{\"text\": \"{}\"}}", "x".repeat(100_000));
    let failed = world.create(&["--queue", "none", "--params", &large]);
    world.json(&["task", "cancel", &failed]);
    let running = world.create(&["--params", r#"{"n": 1.50}"#]);
    let _worker = world.worker("while [ ! -e go ]; do sleep 0.05; done; echo done");
    world.becomes(&running, "running");
    assert!(world.end_server().success());

    engine.json(&["table", "create", "--store", "dynamodb:baton-tasks"]);
    let file = format!("sqlite:{}", world.path("baton.db").display());
    let there = engine.json(&["migrate", "--from", &file, "--to", "dynamodb:baton-tasks"]);
    let back = format!("sqlite:{}", world.path("back.db").display());
    let back = engine.json(&["migrate", "--from", "dynamodb:baton-tasks", "--to", &back]);
    assert_eq!(there["groups"], back["groups"], "counts and checksums are the same on all three");
    assert_eq!((&there["agrees"], &back["agrees"]), (&true.into(), &true.into()));

    let mut server = serve(&engine, &world, "dynamodb:baton-tasks");
    std::fs::write(world.path("go"), "").unwrap();
    let detail = world.becomes(&running, "completed");
    assert_eq!(detail["task"]["attempt"], 1, "the attempt was not lost");
    assert_eq!(world.task(&failed)["task"]["status"], "cancelled");
    let waiting = world.create(&["--queue", "later"]);
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());

    // What was done on the table is there for the next server, its counts included.
    let _server = serve(&engine, &world, "dynamodb:baton-tasks");
    assert_eq!(world.task(&waiting)["task"]["status"], "queued");
    let stats = world.command(&["stats"]).output().unwrap();
    let stats = String::from_utf8(stats.stdout).unwrap();
    assert!(stats.contains("1 queued, 0 running, 1 completed, 0 failed, 1 cancelled"), "{stats}");
}
