//! The program on DynamoDB: its table, a server on it, and moving there and back under a worker that goes on. The engine
//! runs in the test's own process.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use baton_store::NoDoorbell;
use baton_store_dynamodb::{DynamoStore, Options, client};
use dynoxide::actions::describe_stream::DescribeStreamRequest;
use dynoxide::actions::get_records::GetRecordsRequest;
use dynoxide::actions::get_shard_iterator::GetShardIteratorRequest;
use dynoxide::actions::list_streams::ListStreamsRequest;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{PATIENT, Running, World, tool};
use crate::ui::ask;

/// An engine at an address of its own, until the test ends.
struct Engine {
    endpoint: String,
    database: dynoxide::Database,
    runtime: tokio::runtime::Runtime,
}

impl Engine {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let database = dynoxide::Database::memory().unwrap();
        runtime.spawn(dynoxide::server::serve_on(listener, database.clone()));
        Self { endpoint, database, runtime }
    }

    /// Counts the stream of a table as relay-events does, all of it from its beginning, again and again.
    fn relay(&self, table: &'static str) -> Relay {
        let (database, endpoint) = (self.database.clone(), self.endpoint.clone());
        Relay(self.runtime.spawn(async move {
            let client = client::local(&endpoint, client::http_client());
            let store =
                DynamoStore::open(client, table, Options::seeded(1), Arc::new(NoDoorbell)).await.unwrap();
            loop {
                let counted = store.count(&records(&database, table)).await;
                assert!(counted.failed.is_none(), "{counted:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }))
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

/// A relay, until it is dropped.
struct Relay(tokio::task::JoinHandle<()>);

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The stream of a table, as Lambda hands it over.
fn records(database: &dynoxide::Database, table: &str) -> Vec<String> {
    let all = ListStreamsRequest { table_name: Some(table.to_owned()), ..ListStreamsRequest::default() };
    let stream_arn = database.list_streams(all).unwrap().streams.remove(0).stream_arn;
    let described =
        DescribeStreamRequest { stream_arn: stream_arn.clone(), ..DescribeStreamRequest::default() };
    let shard_id = database.describe_stream(described).unwrap().stream_description.shards.remove(0).shard_id;
    let begin = GetShardIteratorRequest {
        stream_arn,
        shard_id,
        shard_iterator_type: "TRIM_HORIZON".to_owned(),
        sequence_number: None,
    };
    let iterator = database.get_shard_iterator(begin).unwrap().shard_iterator.unwrap();
    let asked = GetRecordsRequest { shard_iterator: iterator, limit: None };
    let records = database.get_records(asked).unwrap().records;
    records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
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
    serve_with(engine, world, table, &[])
}

/// The same, with some settings.
fn serve_with(engine: &Engine, world: &World, table: &str, settings: &[(&str, &str)]) -> Running {
    let address = world.url.strip_prefix("http://").unwrap();
    let log = std::fs::File::create(world.path("table-server.log")).unwrap();
    let mut command = engine.tool(&["serve", "-o", "json", "--listen", address, "--store", table]);
    command.envs(PATIENT.iter().copied()).envs(settings.iter().copied());
    command.stdout(Stdio::piped()).stderr(log);
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
    assert!(stats.contains("1 waiting, 0 running, 1 completed, 0 failed, 1 cancelled"), "{stats}");
}

fn stats(world: &World) -> String {
    let stats = world.command(&["stats"]).output().unwrap();
    String::from_utf8(stats.stdout).unwrap()
}

#[test]
fn a_new_table_whose_stream_keeps_the_statistics_says_how_old_they_are() {
    let engine = Engine::start();
    let mut world = World::new(PATIENT);
    assert!(world.end_server().success());
    let store = ["--store", "dynamodb:baton-tasks"];
    engine.json(&[&["table", "create", "--statistics", "stream"], &store[..]].concat());
    let _server = serve(&engine, &world, "dynamodb:baton-tasks");
    world.create(&[]);
    let before = stats(&world);
    assert!(before.contains("counted  nothing yet: relay-events"), "{before}");
    assert!(before.contains("tasks    0 waiting"), "{before}");
    let _relay = engine.relay("baton-tasks");
    let counted = |stats: &str| stats.contains("tasks    1 waiting") && !stats.contains("nothing yet");
    for _ in 0..100 {
        if counted(&stats(&world)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(counted(&stats(&world)), "{}", stats(&world));
    let stats = world.json(&["stats"]);
    assert!(stats["counted_at"].as_str().unwrap() <= stats["at"].as_str().unwrap(), "{stats}");
    assert_eq!(stats["queues"][0]["counted_at"], stats["counted_at"]);
}

#[test]
fn statistics_are_counted_anew_and_kept_by_the_stream_from_then_on() {
    let engine = Engine::start();
    let mut world = World::new(PATIENT);
    assert!(world.end_server().success());
    let store = ["--store", "dynamodb:baton-tasks"];
    engine.json(&[&["table", "create"], &store[..]].concat());
    let mut server = serve(&engine, &world, "dynamodb:baton-tasks");
    (0..3).for_each(|_| drop(world.create(&[])));
    assert!(stats(&world).contains("tasks    3 waiting"), "{}", stats(&world));
    let again = engine.run(&[&["table", "create", "--statistics", "stream"], &store[..]].concat());
    assert!(told(&again).contains("rebuild-statistics --store dynamodb:baton-tasks"), "{}", told(&again));

    let rebuild = ["table", "rebuild-statistics", "--clock-skew", "100ms", "--write-delay", "1s"];
    let rebuild = [&rebuild[..], &store[..]].concat();
    let silent = engine.run(&[&rebuild[..], &["--patience", "300ms"]].concat());
    assert_eq!(silent.status.code(), Some(1), "{}", told(&silent));
    assert!(told(&silent).contains("see that relay-events is deployed"), "{}", told(&silent));
    assert!(stats(&world).contains("tasks    3 waiting"), "the former ones stand");

    let relay = engine.relay("baton-tasks");
    let rebuilt = engine.json(&rebuild);
    assert_eq!((&rebuilt["touched"], &rebuilt["table"]), (&3.into(), &"baton-tasks".into()));
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    drop(relay);
    let _server = serve(&engine, &world, "dynamodb:baton-tasks");
    world.create(&[]);
    assert!(
        stats(&world).contains("tasks    3 waiting"),
        "as of when the relay was there: {}",
        stats(&world)
    );
    let file = engine.run(&["table", "rebuild-statistics", "--store", "sqlite:baton.db"]);
    assert_eq!(file.status.code(), Some(2));
}

/// What is removed by hand is archived first; any server on the table leaves what has ended to the archiver until that is ended.
#[test]
fn finished_tasks_of_a_table_are_archived_and_put_back() {
    let engine = Engine::start();
    let mut world = World::new(PATIENT);
    assert!(world.end_server().success());
    let store = ["--store", "dynamodb:baton-tasks"];
    engine.json(&[&["table", "create"], &store[..]].concat());
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    let often = [("BATON_ARCHIVE_URL", &*url), ("BATON_REAPER_INTERVAL_SECONDS", "0.05")];
    let server = serve_with(&engine, &world, "dynamodb:baton-tasks", &often);
    let id = world.create(&["--project", "film", "--params", r#"{"n": 1.50}"#]);
    world.run(&["task", "cancel", &id], 0);
    let before = world.task(&id);
    world.run(&["task", "delete", &id, "--yes"], 0);
    let gone = || world.get(&format!("/v1/tasks/{id}")).0 == 404;
    crate::support::until("it is archived and removed", || gone().then_some(()));
    drop(server);
    let shown = engine.json(&["archive", "show", "--archive", &url]);
    assert_eq!(shown["items"].as_array().unwrap().len(), 1, "{shown}");
    let put = engine.json(&[&["archive", "restore", "--all", "--archive", &url], &store[..]].concat());
    assert_eq!((&put["restored"], &put["refused"]), (&1.into(), &0.into()), "{put}");
    let server = serve(&engine, &world, "dynamodb:baton-tasks");
    assert_eq!(world.task(&id), before);
    let log = std::fs::read_to_string(world.path("table-server.log")).unwrap();
    assert!(log.contains("this server has no archive"), "{log}");
    drop(server);
    let ended = engine.json(&[&["table", "end-archiving"], &store[..]].concat());
    assert_eq!(ended["was_archived"], true);
    let ended = engine.json(&[&["table", "end-archiving"], &store[..]].concat());
    assert_eq!(ended["was_archived"], false);
}

#[test]
fn a_server_on_a_table_shows_the_dashboard() {
    let engine = Engine::start();
    let mut world = World::new(PATIENT);
    assert!(world.end_server().success());
    engine.json(&["table", "create", "--store", "dynamodb:baton-tasks"]);
    let _server = serve(&engine, &world, "dynamodb:baton-tasks");
    let id = world.create(&[]);
    let address = world.url.strip_prefix("http://").unwrap();
    let task = format!("/ui/tasks/{id}");
    for (page, part) in
        [("/ui", "Overview"), ("/ui/tasks", task.as_str()), (task.as_str(), "Cancel the task")]
    {
        let shown = ask(address, "GET", page, "", "");
        assert!(shown.status == 200 && shown.body.contains(part), "{page}: {}", shown.body);
    }
    assert_eq!(ask(address, "GET", "/ui/events", "", "").status, 501, "a table tells no events");
}

/// Rules and webhooks are kept in the table; a webhook that wants what a table cannot tell is refused.
#[test]
fn a_server_on_a_table_keeps_alerts_and_webhooks() {
    let engine = Engine::start();
    let mut world = World::new(PATIENT);
    assert!(world.end_server().success());
    engine.json(&["table", "create", "--store", "dynamodb:baton-tasks"]);
    let server = serve(&engine, &world, "dynamodb:baton-tasks");
    world.run(&["alert", "set", "deep", "--kind", "queue_depth", "--above", "5"], 0);
    let hook = ["webhook", "set", "chat", "--url", "https://hooks.example/baton"];
    world.run(&[&hook[..], &["--event", "alert.fired"]].concat(), 0);
    let refused = world.command(&[&hook[..], &["--event", "task.failed"]].concat()).output().unwrap();
    assert!(!refused.status.success() && told(&refused).contains("stream"), "{}", told(&refused));
    drop(server);
    let _server = serve(&engine, &world, "dynamodb:baton-tasks");
    let alerts = world.json(&["alert", "list"]).to_string();
    assert!(alerts.contains("\"deep\"") && alerts.contains("queue_depth"), "{alerts}");
    let hooks = world.json(&["webhook", "list"]).to_string();
    assert!(
        hooks.contains("\"chat\"") && hooks.contains("alert.fired") && !hooks.contains("whsec_"),
        "{hooks}"
    );
}
