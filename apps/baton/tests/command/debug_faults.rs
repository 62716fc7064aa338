//! Faults that take a caller in a hurry, a clock that is wrong or a reaper that stands still: `baton debug` names each, with what
//! mends it.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use baton_model::{TaskId, TaskSpec, Timestamp};
use baton_runtime::{Clock, LocalDoorbell, ManualClock, RandomIds, Settings, Sources, SystemClock};
use baton_server::{Running, Server};
use baton_store::{Cancel, Create, Doorbell, Store};
use baton_store_sqlite::{Options, SqliteStore};
use futures::future::try_join_all;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::{QUICK, World, run, stdout, tool, until};

/// A server of this process, whose clock the test sets.
struct Clocked {
    runtime: Runtime,
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
    running: Option<Running>,
    _folder: TempDir,
}

impl Clocked {
    fn new(start: Timestamp, reaper_seconds: &str) -> Self {
        let flag = ("--set".to_owned(), "reaper.interval_seconds".to_owned(), reaper_seconds.to_owned());
        let listen = ("--listen".to_owned(), "server.listen".to_owned(), "127.0.0.1:0".to_owned());
        let settings = Settings::load(&Sources { flags: vec![flag, listen], ..Sources::default() }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let doorbell = LocalDoorbell::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let rung = Arc::clone(&doorbell) as Arc<dyn Doorbell>;
        let store = SqliteStore::open(&folder.path().join("baton.db"), Options::default(), rung).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let runtime = Runtime::new().unwrap();
        let time = Arc::clone(&clock) as Arc<dyn Clock>;
        let start = Server::start(&settings, Arc::clone(&store), doorbell, time, Arc::new(RandomIds));
        let running = runtime.block_on(start).unwrap();
        Self { runtime, clock, store, running: Some(running), _folder: folder }
    }

    /// Has its clock tell what this machine's tells.
    fn catch_up(&self) {
        self.clock.advance(SystemClock.now().since(self.clock.now()));
    }

    /// Has tasks end long ago, those that were created side by side at different times: they are removed one by one.
    fn ended(&self, thousands: u64, at: Timestamp) {
        let id = |n: u64| TaskId::from_bytes(u128::from(n).to_be_bytes());
        let cancel = |n: u64| {
            let now = at.plus(Duration::from_secs(n % 100));
            self.store.cancel(Cancel { now, task: id(n), by: None, reason: None, with_dependants: false })
        };
        self.runtime.block_on(async {
            for thousand in 0..thousands {
                let of = thousand * 1_000 + 1..=thousand * 1_000 + 1_000;
                let tasks = of.clone().map(|n| TaskSpec::new(id(n), "old".parse().unwrap())).collect();
                let create = Create { now: at, tasks, atomic: true, idempotency: None, by: None };
                self.store.create(create).await.unwrap();
                try_join_all(of.map(cancel)).await.unwrap();
            }
        });
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let addr: SocketAddr = self.running.as_ref().unwrap().addr();
        let mut command = tool();
        command.args(arguments).env("BATON_URL", format!("http://{addr}"));
        command
    }

    /// What a command of `debug` tells, which ends with this exit code.
    fn debug(&self, what: &str, code: i32) -> Value {
        let output = run(self.command(&["debug", what, "--json"]), code);
        serde_json::from_str(&stdout(&output)).unwrap()
    }

    /// Waits until a round has begun at the clock's present time.
    fn round(&self) {
        let now = self.clock.now().to_string();
        until("a round was made", || {
            let told = self.debug_anyhow("reaper");
            (told["reaper"]["last_at"] == now).then_some(())
        });
    }

    fn debug_anyhow(&self, what: &str) -> Value {
        let output = self.command(&["debug", what, "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Clocked {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.shutdown());
        }
    }
}

pub(crate) fn first(told: &Value) -> (&str, &str, &str) {
    let first = &told["findings"][0];
    let text = |key: &str| first[key].as_str().unwrap_or_default();
    (text("weight"), text("what"), text("next"))
}

pub(crate) fn message(told: &Value) -> &str {
    told["findings"][0]["message"].as_str().unwrap_or_default()
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_token_that_asks_too_often_is_named_with_what_lets_it_go_on() {
    for (settings, own) in
        [(QUICK, &["--requests-per-second", "1"][..]), (&[("BATON_TOKENS_REQUESTS_PER_SECOND", "1")], &[])]
    {
        let world = World::new(settings);
        let create = [&["token", "create", "--name", "ci", "--scope", "producer"], own].concat();
        let secret = stdout(&world.run(&create, 0)).trim().to_owned();
        let header = format!("authorization: Bearer {secret}\r\n");
        until("it is refused", || {
            let (status, problem) = world.ask_with(&header, "GET", "/v1/tasks", "");
            (status == 429).then(|| assert_eq!(problem["code"], "too_many_requests"))
        });
        let told: Value =
            serde_json::from_str(&stdout(&world.run(&["debug", "health", "--json"], 0))).unwrap();
        let mends = match own {
            [] => "BATON_TOKENS_REQUESTS_PER_SECOND=2 baton serve",
            _ => "baton token create --name ci --scope producer --requests-per-second 2",
        };
        assert_eq!(first(&told), ("warning", "too_many_requests", mends), "{told:#}");
        assert!(message(&told).contains("of the token ci were answered with 429"), "{told:#}");
        let token = &world.json(&["token", "list"])["items"][0];
        assert_eq!(token["held_back"]["requests_per_second"], 1, "{token:#}");
    }
}

#[test]
fn a_servers_clock_that_is_wrong_is_named_first() {
    let server = Clocked::new(SystemClock.now().plus(HOUR), "0.2");
    let told = server.debug("health", 0);
    assert_eq!(first(&told), ("warning", "clock", "timedatectl"), "{told:#}");
    assert!(message(&told).contains("ahead of this machine's"), "{told:#}");
}

#[test]
fn a_clock_that_was_set_is_doubted_and_told_of_until_it_is_set_right() {
    let server = Clocked::new(SystemClock.now(), "0.2");
    let nothing = server.debug("reaper", 0);
    assert_eq!(nothing["verdict"], "ok", "there was no time to believe yet, which is no fault: {nothing:#}");
    for _ in 0..3 {
        server.round();
        server.clock.advance(HOUR / 2);
    }
    server.round();
    assert!(server.debug("reaper", 0)["reaper"]["doubt"].is_null(), "it is believed by now");

    let right = server.clock.now();
    server.clock.set(right.plus(HOUR * 72));
    server.round();
    let told = server.debug("reaper", 0);
    assert_eq!(first(&told), ("warning", "clock", "timedatectl"), "{told:#}");
    assert!(message(&told).starts_with("the server's clock was set ahead by 3d"), "{told:#}");
    let health = server.debug("health", 0);
    assert!(health["findings"].as_array().unwrap().contains(&told["findings"][0]), "{health:#}");
    let shown = stdout(&run(server.command(&["debug", "reaper"]), 0));
    assert!(shown.contains("the time is not believed before"), "{shown}");

    server.clock.set(right);
    server.round();
    let told = server.debug("reaper", 0);
    assert_eq!(told["verdict"], "ok", "{told:#}");
}

#[test]
fn a_reaper_that_stands_still_is_named_first() {
    // It makes one round at its start, and the next one after an hour of this test's own time.
    let server = Clocked::new(SystemClock.now(), "3600");
    server.round();
    server.clock.advance(HOUR * 3);
    assert_eq!(server.debug("reaper", 0)["verdict"], "ok", "three may be missing");
    server.clock.advance(HOUR);
    let told = server.debug("reaper", 1);
    assert_eq!(first(&told), ("error", "reaper", "baton reap"), "{told:#}");
    assert!(message(&told).starts_with("the reaper made its last round 4h ago"), "{told:#}");
    assert_eq!(first(&server.debug("health", 1)), ("error", "reaper", "baton reap"));
}

#[test]
fn removals_that_stay_behind_are_named_first() {
    let server = Clocked::new(SystemClock.now().minus(HOUR + HOUR / 4), "0.2");
    server.round();
    // Kept for 30 days, and ten more have passed. Removing takes a ninth of the time, which makes some seconds of what it is.
    server.ended(15, server.clock.now().minus(HOUR * 24 * 40));
    server.clock.advance(HOUR / 2);
    server.round();
    assert_eq!(
        server.debug("health", 0)["findings"][0]["what"],
        "clock",
        "nothing is removed in the first hour"
    );
    let told = until("removals are behind", || {
        server.catch_up();
        let told = server.debug_anyhow("health");
        (first(&told).1 == "reaper_behind").then_some(told)
    });
    assert_eq!(first(&told), ("warning", "reaper_behind", "baton debug reaper"), "{told:#}");
    assert!(
        message(&told).starts_with("removals are behind: what should have been removed 10d ago"),
        "{told:#}"
    );
    run(server.command(&["debug", "reaper"]), 0);
}

#[test]
fn a_schedule_that_missed_a_time_is_named_first() {
    let server = Clocked::new(SystemClock.now().minus(HOUR / 3), "0.2");
    let create = ["schedule", "create", "tick", "--every", "5m", "--late-after", "1m", "--if-missed", "skip"];
    run(server.command(&[&create[..], &["--type", "tick"]].concat()), 0);
    let told = until("the times are missed", || {
        server.catch_up();
        let health = server.command(&["debug", "health", "--patience", "1h", "--json"]).output().unwrap();
        let told: Value = serde_json::from_slice(&health.stdout).unwrap();
        (first(&told).1 == "schedule_missed").then_some(told)
    });
    assert_eq!(first(&told), ("warning", "schedule_missed", "baton schedule show tick"), "{told:#}");
    let shown = stdout(&run(server.command(&["schedule", "show", "tick"]), 0));
    assert!(shown.contains("missed"), "{shown}");
}

#[test]
fn the_last_rounds_tell_what_they_took_also_after_a_restart() {
    let mut world = World::new(QUICK);
    let worker = world.worker_named("w1", &["--queue", "slow"], "exec sleep 300");
    let id = world.create(&["--queue", "slow"]);
    world.becomes(&id, "running");
    drop(worker);
    let took = |world: &World| {
        let told = world.json(&["debug", "reaper"]);
        let rounds = told["reaper"]["rounds"].as_array().unwrap().clone();
        rounds.into_iter().find(|round| round["taken"] == 1)
    };
    let round = until("it was taken back", || took(&world));
    let by = round["by"].as_str().unwrap();
    assert!(by.contains(':') && round["seconds"].as_f64().unwrap() >= 0.0, "{round:#}");
    let told = world.json(&["debug", "reaper", "--limit", "1"]);
    assert_eq!((told["reaper"]["rounds"].as_array().unwrap().len(), &told["more"]), (1, &true.into()));
    assert_eq!(
        (&told["reaper"]["known_by"], &told["reaper"]["every_seconds"]),
        (&"server".into(), &0.2.into())
    );
    let shown = stdout(&run(world.command(&["debug", "reaper"]), 0));
    for part in ["ok: the reaper makes its rounds", "next round", "TAKEN BACK", by] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    until("the next round has written its note", || {
        let told = world.json(&["debug", "reaper"]);
        (told["reaper"]["last_at"].as_str() > round["at"].as_str()).then_some(())
    });
    world.end_server();
    world.restart_server();
    assert_eq!(took(&world).unwrap(), round, "the note tells the next process");
    world.run(&["debug", "reaper", "--hours", "0"], 2);
}
