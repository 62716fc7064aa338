//! `baton mirror` into a PostgreSQL server that the test starts itself, beside a server of Baton.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::postgres::Server;
use crate::support::{QUICK, Running, World, run, stderr, told, until};

/// How far a row may be behind.
const BEHIND: Duration = Duration::from_secs(2);

/// A mirror that follows, until the test ends.
struct Mirror {
    running: Running,
    log: PathBuf,
}

impl Mirror {
    fn start(world: &World, database: &Server, flags: &[&str]) -> Self {
        let log = world.path("mirror.log");
        let to = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut command = world.command(&["mirror", "--to", &database.url()]);
        let running =
            command.args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(to).spawn().unwrap();
        Self { running: Running(running), log }
    }

    /// Waits until it follows.
    fn follows(world: &World, database: &Server, flags: &[&str]) -> Self {
        let mirror = Self::start(world, database, flags);
        until("the mirror follows", || mirror.said().contains("following").then_some(()));
        mirror
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn killed(mut self) {
        self.running.signal(Signal::SIGKILL);
        self.running.wait();
        std::fs::remove_file(&self.log).unwrap();
    }
}

fn once(world: &World, database: &Server, code: i32) -> Output {
    run(world.command(&["mirror", "--to", &database.url(), "--once"]), code)
}

fn claim(world: &World, worker: &str) -> Value {
    let (status, answer) =
        world.ask("POST", "/v1/claims", &json!({"worker_id": worker, "queues": ["default"]}).to_string());
    assert_eq!(status, 200, "{answer}");
    answer["tasks"][0].clone()
}

/// Ends an attempt.
fn end(world: &World, task: &Value, how: &str, mut with: Value) {
    with["worker_id"] = "w1".into();
    with["attempt"] = task["attempt"].clone();
    let path = format!("/v1/tasks/{}/{how}", task["id"].as_str().unwrap());
    let (status, answer) = world.ask("POST", &path, &with.to_string());
    assert_eq!(status, 200, "{answer}");
}

/// How long it takes until a query gives this value.
fn becomes(database: &Server, sql: &str, value: &str) -> Duration {
    let begun = Instant::now();
    until(&format!("{sql} gives {value}"), || (database.value(sql) == value).then_some(()));
    begun.elapsed()
}

fn status_of(id: &str) -> String {
    format!("SELECT status FROM tasks WHERE id = '{id}'")
}

#[test]
fn the_table_is_that_of_the_contract() {
    let Some(database) = Server::start() else { return };
    let world = World::new(QUICK);
    let created = world.json(&[
        "task",
        "create",
        "--type",
        "dspy.plan",
        "--description",
        "why?",
        "--domain",
        "books",
        "--params",
        r#"{"n": 1.50, "task_description": "x"}"#,
    ]);
    let id = created["id"].as_str().unwrap();
    let (status, _) = world.ask(
        "POST",
        "/v1/tasks",
        &json!({"type": "a", "id": "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f", "drift_score": 0.9, "delay_seconds": 3600}).to_string(),
    );
    assert_eq!(status, 201);
    let output = once(&world, &database, 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains("2 rows written"), "{}", told(&output));
    let columns = database.rows(
        "SELECT column_name, CASE data_type WHEN 'USER-DEFINED' THEN udt_name ELSE data_type END FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name = 'tasks' ORDER BY ordinal_position",
    );
    assert_eq!(
        columns,
        [
            "id|uuid",
            "status|taskstatus",
            "type|text",
            "description|text",
            "domain|text",
            "drift_score|double precision",
            "attempts|integer",
            "locked_by|text",
            "locked_at|timestamp with time zone",
            "run_after|timestamp with time zone",
            "params|jsonb",
            "result|jsonb",
            "error|text",
            "created_at|timestamp with time zone",
            "updated_at|timestamp with time zone",
            "owner_id|text",
            "lease_expires_at|timestamp with time zone",
            "last_heartbeat|timestamp with time zone",
        ]
    );
    assert_eq!(
        database.rows("SELECT unnest(enum_range(NULL::taskstatus))"),
        ["created", "queued", "running", "completed", "failed", "cancelled", "retry"]
    );
    let row = format!(
        "SELECT type, status, description, domain, drift_score, attempts, locked_by IS NULL, params->>'n', result IS NULL, error IS NULL
         FROM tasks WHERE id = '{id}'"
    );
    assert_eq!(database.value(&row), "dspy.plan|queued|why?|books|0|0|t|1.50|t|t");
    let later = "SELECT status, drift_score, run_after - created_at FROM tasks WHERE type = 'a'";
    assert_eq!(database.value(later), "created|0.9|01:00:00");
    let of_task = world.task(id);
    let times = format!(
        "SELECT created_at = '{}', updated_at = '{}' FROM tasks WHERE id = '{id}'",
        of_task["task"]["created_at"].as_str().unwrap(),
        of_task["task"]["updated_at"].as_str().unwrap()
    );
    assert_eq!(database.value(&times), "t|t");
    // Again: nothing is left to be written.
    let again = once(&world, &database, 0);
    assert!(String::from_utf8_lossy(&again.stdout).contains(": 0 rows written"), "{}", told(&again));
}

#[cfg(feature = "dialects")]
#[test]
fn a_clients_own_words_are_in_the_columns() {
    let Some(database) = Server::start() else { return };
    let world = World::new(QUICK);
    let long = "why? ".repeat(2_000);
    let words = baton_dialect_task_table::keep("general query", Some(&long), None, r#"{"n": 1}"#);
    let params: Value = serde_json::from_str(&words.params).unwrap();
    for queue in ["task-table", "default"] {
        let task = json!({"type": words.task_type, "queue": queue, "description": words.description, "params": params});
        let (status, answer) = world.ask("POST", "/v1/tasks", &task.to_string());
        assert_eq!(status, 201, "{answer}");
    }
    once(&world, &database, 0);
    let told = "SELECT type, length(description), params FROM tasks WHERE type = 'general query'";
    assert_eq!(database.rows(told), [r#"general query|10000|{"n": 1}"#]);
    // What lies in another queue is nobody's words.
    let other = "SELECT length(description), params ? 'baton_words' FROM tasks WHERE type = 'general_query'";
    assert_eq!(database.rows(other), ["4096|t"]);
}

#[test]
fn every_change_is_there_within_two_seconds() {
    let Some(database) = Server::start() else { return };
    let world = World::new(QUICK);
    let _mirror = Mirror::follows(&world, &database, &[]);
    let mut slowest = Duration::ZERO;
    let mut sees = |sql: &str, value: &str| slowest = slowest.max(becomes(&database, sql, value));

    let id = world.create(&["--max-attempts", "2", "--backoff", "1s"]);
    sees(&status_of(&id), "queued");
    let task = claim(&world, "w1");
    sees(
        &format!(
            "SELECT status, locked_by, owner_id, attempts, locked_at IS NOT NULL, last_heartbeat IS NULL FROM tasks WHERE id = '{id}'"
        ),
        "running|w1|w1|1|t|t",
    );
    end(&world, &task, "fail", json!({"error": {"message": "no luck"}}));
    sees(&format!("SELECT status, error, locked_by IS NULL FROM tasks WHERE id = '{id}'"), "retry|no luck|t");
    // By the clock alone; the test's own waiting for it is no delay.
    until("it is due", || (world.task(&id)["task"]["status"] == "queued").then_some(()));
    sees(&status_of(&id), "queued");
    let task = claim(&world, "w1");
    end(&world, &task, "complete", json!({"result": [1, 2]}));
    sees(
        &format!("SELECT status, result, attempts, error FROM tasks WHERE id = '{id}'"),
        r#"completed|{"result": [1, 2]}|2|"#,
    );

    // Between two looks: it comes, and is over.
    let quick = world.create(&[]);
    let task = claim(&world, "w1");
    end(&world, &task, "complete", json!({"result": {"a": 1}}));
    sees(&format!("SELECT status, result FROM tasks WHERE id = '{quick}'"), r#"completed|{"a": 1}"#);

    let off = world.create(&[]);
    world.run(&["task", "cancel", &off], 0);
    sees(&status_of(&off), "cancelled");
    world.run(&["task", "retry", &off], 0);
    sees(&status_of(&off), "queued");
    assert!(slowest < BEHIND, "a row was {slowest:?} behind");
    assert_eq!(database.value("SELECT count(*) FROM tasks"), "3");
}

#[test]
fn a_worker_that_beats_is_seen_to() {
    let Some(database) = Server::start() else { return };
    let world = World::new(QUICK);
    let id = world.create(&[]);
    let _mirror = Mirror::follows(&world, &database, &[]);
    let _worker = world.worker("sleep 60");
    becomes(
        &database,
        &format!("SELECT last_heartbeat > now() - interval '1 minute' FROM tasks WHERE id = '{id}'"),
        "t",
    );
}

/// A batch of tasks that wait.
fn create_many(world: &World, tasks: usize) {
    for begun in (0..tasks).step_by(1_000) {
        let many: Vec<Value> =
            (begun..tasks.min(begun + 1_000)).map(|n| json!({"type": "many", "params": {"n": n}})).collect();
        let (status, answer) = world.ask("POST", "/v1/tasks/batch", &json!({ "tasks": many }).to_string());
        assert_eq!(status, 201, "{}", answer["detail"]);
    }
}

#[test]
fn killed_in_the_middle_it_goes_on_and_nothing_is_missing() {
    let Some(database) = Server::start() else { return };
    let mut world = World::new(QUICK);
    create_many(&world, 6_000);
    world.run(&["task", "cancel", "--type", "many", "--yes"], 0);
    let count = "SELECT count(*) FROM tasks";
    let mut kills = 0;
    for least in [1, 2_000, 4_000] {
        let mirror = Mirror::start(&world, &database, &[]);
        until("some rows are written", || {
            let there = database.rows("SELECT to_regclass('public.tasks') IS NOT NULL")[0] == "t";
            (there && database.value(count).parse::<usize>().unwrap() >= least).then_some(())
        });
        mirror.killed();
        kills += 1;
    }
    // While it is away: one goes, one comes and ends, and the server starts anew.
    let gone = database.value("SELECT min(id::text) FROM tasks");
    world.run(&["task", "delete", &gone, "--yes"], 0);
    let new = world.create(&[]);
    let task = claim(&world, "w1");
    end(&world, &task, "complete", json!({"result": {"a": 1}}));
    world.kill_server();
    world.restart_server();
    let mirror = Mirror::follows(&world, &database, &["--check-every", "1s"]);
    becomes(&database, count, "6000");
    becomes(&database, "SELECT count(*) FROM tasks WHERE status = 'cancelled'", "5999");
    becomes(
        &database,
        &format!("SELECT status, result FROM tasks WHERE id = '{new}'"),
        r#"completed|{"a": 1}"#,
    );
    assert_eq!((kills, database.value("SELECT count(*) FROM baton_mirror_task")), (3, "6000".to_owned()));
    // Two at once do not write into one database.
    let second = once(&world, &database, 4);
    assert!(stderr(&second).contains("another baton mirror writes into"), "{}", told(&second));
    drop(mirror);
}

#[test]
fn what_is_lost_on_either_side_is_waited_for_and_said_once() {
    let Some(mut database) = Server::start() else { return };
    let mut world = World::new(QUICK);
    let mirror = Mirror::follows(&world, &database, &[]);
    world.kill_server();
    until("it is said", || mirror.said().contains("no answer from").then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    world.restart_server();
    let id = world.create(&[]);
    becomes(&database, &status_of(&id), "queued");
    until("it is said", || mirror.said().contains("both sides answer again").then_some(()));
    assert_eq!(mirror.said().matches("trying again").count(), 1, "{}", mirror.said());

    database.stop();
    until("it is said", || mirror.said().contains("is out of reach").then_some(()));
    world.run(&["task", "cancel", &id], 0);
    std::thread::sleep(Duration::from_secs(1));
    database.go_on();
    becomes(&database, &status_of(&id), "cancelled");
    assert_eq!(mirror.said().matches("trying again").count(), 2, "{}", mirror.said());
    assert!(!mirror.said().contains("secret"), "{}", mirror.said());
}

/// A server removes nothing in its first hour (docs/clocks.md), so they are deleted, which is the same command of the store.
#[test]
fn rows_go_with_their_tasks_unless_they_are_kept() {
    let Some(database) = Server::start() else { return };
    let world = World::new(QUICK);
    let (gone, kept) = (world.create(&[]), world.create(&[]));
    for id in [&gone, &kept] {
        world.run(&["task", "cancel", id], 0);
    }
    let mut mirror = Mirror::follows(&world, &database, &["--check-every", "500ms"]);
    becomes(&database, "SELECT count(*) FROM tasks WHERE status = 'cancelled'", "2");
    world.run(&["task", "delete", &gone, "--yes"], 0);
    becomes(&database, &format!("SELECT count(*) FROM tasks WHERE id = '{gone}'"), "0");
    assert_eq!(database.value(&status_of(&kept)), "cancelled");
    mirror.running.signal(Signal::SIGTERM);
    assert!(mirror.running.wait().success() && mirror.said().contains("ended; "), "{}", mirror.said());
    std::fs::remove_file(&mirror.log).unwrap();
    let _mirror = Mirror::follows(&world, &database, &["--check-every", "500ms", "--keep"]);
    world.run(&["task", "delete", &kept, "--yes"], 0);
    becomes(&database, "SELECT count(*) FROM baton_mirror_task", "0");
    assert_eq!(database.value(&status_of(&kept)), "cancelled", "its row is kept");
}

#[test]
fn an_older_reading_does_not_overwrite_a_newer_one_unless_the_task_itself_says_so_seconds_later() {
    let Some(database) = Server::start() else { return };
    let world = World::new(QUICK);
    let id = world.create(&[]);
    once(&world, &database, 0);
    // As if a later reading had come first.
    assert!(database.psql("UPDATE baton_mirror_task SET events = 2; UPDATE tasks SET status = 'running'"));
    let mut mirror = Mirror::start(&world, &database, &["--check-every", "500ms"]);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(database.value(&status_of(&id)), "running");
    becomes(&database, &status_of(&id), "queued");
    assert!(mirror.said().contains("put back to an earlier time"), "{}", mirror.said());
    mirror.running.signal(Signal::SIGTERM);
    mirror.running.wait();
    claim(&world, "w1");
    world.run(&["task", "cancel", &id], 0);
    once(&world, &database, 0);
    assert_eq!(database.value(&status_of(&id)), "cancelled");
    // What somebody else has written is put right.
    assert!(database.psql("UPDATE tasks SET status = 'failed'"));
    once(&world, &database, 0);
    assert_eq!(database.value(&status_of(&id)), "cancelled");
    assert!(database.psql("DELETE FROM tasks"));
    once(&world, &database, 0);
    assert_eq!(database.value(&status_of(&id)), "cancelled");
}

#[test]
fn a_reading_that_is_not_taken_is_not_believed_to_be_written() {
    let Some(database) = Server::start() else { return };
    let world = World::new(QUICK);
    let columns = "id uuid PRIMARY KEY, status text NOT NULL, type text NOT NULL, description text, domain text, drift_score float8,
        attempts int, locked_by text, locked_at timestamptz, run_after timestamptz, params jsonb, result jsonb, error text,
        created_at timestamptz, updated_at timestamptz";
    assert!(database.psql(&format!("CREATE TABLE tasks ({columns})")));
    let id = world.create(&[]);
    once(&world, &database, 0);
    // A status that is none of Baton's tells nothing of the row, but that it is to be written; and its task had more events.
    let strange = "UPDATE baton_mirror_task SET events = 9; UPDATE tasks SET status = 'of another'";
    assert!(database.psql(strange));
    let mut mirror = Mirror::start(&world, &database, &[]);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(database.value(&status_of(&id)), "of another");
    becomes(&database, &status_of(&id), "queued");
    mirror.running.signal(Signal::SIGTERM);
    mirror.running.wait();
    // A single comparison waits for it.
    assert!(database.psql(strange));
    once(&world, &database, 0);
    assert_eq!(database.value(&status_of(&id)), "queued");
}

/// The rule does not go by what the store says of itself, so that it holds for each of them, and however it was put back.
#[test]
fn a_store_that_was_put_back_to_an_earlier_time_is_followed() {
    let Some(database) = Server::start() else { return };
    let mut world = World::new(QUICK);
    let ids: Vec<String> = (0..4).map(|_| world.create(&[])).collect();
    world.kill_server();
    let store = world.path("baton.db");
    let files = [store.clone(), store.with_extension("db-wal")];
    let backup: Vec<_> = files.iter().map(|file| std::fs::read(file).ok()).collect();
    world.restart_server();
    let _mirror = Mirror::follows(&world, &database, &["--check-every", "500ms"]);
    // One is cancelled, one runs, and one is completed; another one comes.
    let done = claim(&world, "w1");
    end(&world, &done, "complete", json!({"result": {"of": "what was"}}));
    let runs = claim(&world, "w1");
    world.run(&["task", "cancel", &ids[2]], 0);
    let newer = world.create(&[]);
    becomes(
        &database,
        "SELECT count(*) FROM tasks WHERE status IN ('cancelled', 'completed', 'running')",
        "3",
    );
    becomes(&database, &format!("SELECT count(*) FROM tasks WHERE id = '{newer}'"), "1");
    world.kill_server();
    for (file, bytes) in files.iter().zip(backup) {
        match bytes {
            Some(bytes) => std::fs::write(file, bytes).unwrap(),
            None => drop(std::fs::remove_file(file)),
        }
    }
    world.restart_server();
    // The same task, and as many events, at another time.
    let again = claim(&world, "w1");
    assert_eq!(again["id"], done["id"]);
    end(&world, &again, "complete", json!({"result": {"of": "what is"}}));
    becomes(
        &database,
        &format!("SELECT result->>'of' FROM tasks WHERE id = '{}'", done["id"].as_str().unwrap()),
        "what is",
    );
    becomes(&database, &status_of(&ids[2]), "queued");
    becomes(&database, &status_of(runs["id"].as_str().unwrap()), "queued");
    becomes(&database, &format!("SELECT count(*) FROM tasks WHERE id = '{newer}'"), "0");
}

#[test]
fn a_foreign_table_is_refused_by_its_column() {
    let Some(database) = Server::start() else { return };
    let world = World::new(QUICK);
    world.create(&[]);
    let refused = |sql: &str, why: &str| {
        assert!(database.psql(sql), "{sql}");
        let told_why = stderr(&once(&world, &database, 4));
        assert!(told_why.contains(why) && told_why.contains("postgres://ray@127.0.0.1"), "{told_why}");
        assert!(!told_why.contains("secret"), "{told_why}");
    };
    refused(
        "CREATE TABLE tasks (id uuid PRIMARY KEY)",
        "expected the column status of type taskstatus in public.tasks, got none",
    );
    refused(
        "DROP TABLE tasks; CREATE TABLE tasks (id integer PRIMARY KEY)",
        "expected the column id of public.tasks to be uuid, got integer",
    );
    refused(
        "DROP TABLE tasks; CREATE VIEW tasks AS SELECT 1 AS id",
        "expected public.tasks to be a plain table",
    );
    refused(
        "DROP VIEW tasks; CREATE TYPE taskstatus AS ENUM ('CREATED', 'queued')",
        "expected the value created in the type public.taskstatus, got CREATED, queued",
    );
    let old = "id uuid, status taskstatus NOT NULL, type varchar NOT NULL, description text, domain text, drift_score float8,
        attempts int, locked_by text, locked_at timestamptz, run_after timestamptz, params jsonb, result jsonb, error text,
        created_at timestamptz, updated_at timestamptz, snapshot_id int";
    let kind = "DROP TYPE taskstatus; CREATE TYPE taskstatus AS ENUM
        ('created', 'queued', 'running', 'completed', 'failed', 'cancelled', 'retry');";
    refused(
        &format!("{kind} CREATE TABLE tasks ({old})"),
        "expected the column id of public.tasks to be its primary key",
    );
    refused(
        "ALTER TABLE tasks ADD PRIMARY KEY (id);
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.updated_at = now(); RETURN NEW; END';
         CREATE TRIGGER touched BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION touch()",
        "got touched",
    );
    // As its own system left it, with rows of its own: it is taken, and these stay.
    assert!(database.psql(
        "ALTER TABLE tasks DISABLE TRIGGER touched;
         INSERT INTO tasks (id, status, type) VALUES ('01980a6e-5b7c-7cc3-98c4-dc0c0c07398f', 'failed', 'old')"
    ));
    once(&world, &database, 0);
    assert_eq!(database.rows("SELECT type, status FROM tasks ORDER BY type"), ["old|failed", "test|queued"]);
}

#[test]
fn what_cannot_be_is_said_by_name() {
    let Some(database) = Server::start() else { return };
    let world = World::new(QUICK);
    let id = world.create(&[]);
    let says = |to: &str, code: i32, why: &str| {
        let output = run(world.command(&["mirror", "--to", to, "--once"]), code);
        assert!(stderr(&output).contains(why) && !stderr(&output).contains("secret"), "{}", told(&output));
    };
    says("mysql://ray:secret@db/x", 2, "expected the address of a PostgreSQL database");
    says("postgres://ray:secret@db:port/x", 2, "postgres://ray@db:port/x");
    says("postgres://ray:secret@127.0.0.1:1/x", 1, "cannot connect to postgres://ray@127.0.0.1:1/x");
    says(&database.url().replace("/postgres", "/none"), 1, "database \"none\" does not exist");
    assert!(database.psql("CREATE ROLE guest LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC"));
    let guest = database.url().replace("ray:secret", "guest:secret");
    says(&guest, 1, "permission denied for schema public; expected the right to make tables");
    let mut unreachable =
        world.command(&["mirror", "--to", &database.url(), "--server", "http://127.0.0.1:1"]);
    unreachable.args(["--once"]);
    assert!(stderr(&run(unreachable, 5)).contains("no answer from http://127.0.0.1:1"));

    // The mirror of one server is not made that of another.
    once(&world, &database, 0);
    let other = World::new(QUICK);
    let refused = stderr(&once(&other, &database, 4));
    assert!(refused.contains(&format!("mirrors {}, got {}", world.url, other.url)), "{refused}");
    assert_eq!(database.value(&status_of(&id)), "queued");
}

#[test]
fn texts_that_a_database_might_stumble_over() {
    let Some(database) = Server::start() else { return };
    let world = World::new(QUICK);
    let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    let hostile = "'; DROP TABLE tasks; -- \"\\ {} , NULL \t\r\n ü 🦀 \\N";
    let params =
        format!(r#"{{"nul": "a\u0000b", "no": "\\u0000", "deep": {deep}, "tiny": 1e-200000, "x\u0000": 1}}"#);
    let body = format!(r#"{{"type": "a", "description": {}, "params": {params}}}"#, Value::from(hostile));
    let (status, answer) = world.ask("POST", "/v1/tasks", &body);
    assert_eq!(status, 201, "{answer}");
    let body =
        format!(r#"{{"type": "b", "description": "nul", "params": {}}}"#, params.replace("1e-200000", "0.1"));
    assert_eq!(world.ask("POST", "/v1/tasks", &body).0, 201);
    let task = claim(&world, "w1");
    end(&world, &task, "fail", json!({"error": {"message": hostile}, "retryable": false}));
    let output = once(&world, &database, 0);
    assert!(stderr(&output).contains("cannot be held by PostgreSQL"), "{}", told(&output));

    let same = format!(
        "SELECT description = $baton${hostile}$baton$, error = description FROM tasks WHERE type = 'a'"
    );
    assert_eq!(database.value(&same), "t|t");
    assert!(
        database
            .value("SELECT params->>'baton_mirror' FROM tasks WHERE type = 'a'")
            .contains("not held by PostgreSQL")
    );
    let held: Value =
        serde_json::from_str(&database.value("SELECT params FROM tasks WHERE type = 'b'")).unwrap();
    assert_eq!(
        (&held["nul"], &held["no"], &held["x\u{fffd}"]),
        (&json!("a\u{fffd}b"), &json!("\\u0000"), &json!(1))
    );
    assert_eq!(held["deep"].to_string().matches('[').count(), 120);
}

/// The figure of docs/mirror.md: how many rows the first pass writes in a second.
#[test]
fn the_first_pass_writes_thousands_of_rows_a_second() {
    let Some(database) = Server::start() else { return };
    let world = World::new(QUICK);
    create_many(&world, 20_000);
    let begun = Instant::now();
    let output = once(&world, &database, 0);
    let taken = begun.elapsed();
    assert_eq!(database.value("SELECT count(*) FROM tasks"), "20000");
    eprintln!("20,000 rows in {taken:?}: {}", String::from_utf8_lossy(&output.stdout));
    // A tenth of what it is on a machine that does nothing else.
    assert!(taken < Duration::from_secs(20), "{taken:?}");
}
