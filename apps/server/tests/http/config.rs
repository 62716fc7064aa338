//! Settings that change while servers run, over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use baton_runtime::{Clock, LocalDoorbell, RandomIds, Settings, Sources, SystemClock};
use baton_server::Server;
use baton_store::{SetSetting, Store};
use baton_store_sqlite::{Options, SqliteStore};
use http::Request;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::sockets::Connection;
use crate::world::{Answer, World};

async fn put(world: &World, key: &str, body: Value) -> Answer {
    let request = Request::put(format!("/v1/config/{key}")).header("content-type", "application/json");
    world.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn unset(world: &World, key: &str) -> Answer {
    world.send(Request::delete(format!("/v1/config/{key}")).body(Body::empty()).unwrap()).await
}

async fn setting(world: &World, key: &str) -> Value {
    world.get(&format!("/v1/config/{key}")).await.json()["setting"].clone()
}

/// What a newer version might have written.
async fn written(world: &World, key: &str, value: &str) {
    let said = baton_model::schedule::Said { now: world.app.now(), by: None, reason: None };
    let set = SetSetting { key: key.to_owned(), to: Some(value.to_owned()), said };
    world.app.store.set_setting(set).await.unwrap();
}

#[tokio::test]
async fn a_setting_is_in_force_at_once_and_tells_who_set_it_and_what_it_was() {
    let world = World::new();
    let task = json!({"type": "a", "params": {"text": "x".repeat(2_000)}});
    assert_eq!(world.post("/v1/tasks", task.clone()).await.status, 201);
    let body = json!({"value": 1_024, "by": "ada", "reason": "small ones only"});
    let changed = put(&world, "limits.params_bytes", body.clone()).await.json();
    assert_eq!((&changed["to"], changed.get("from"), &changed["version"]), (&json!("1024"), None, &json!(1)));
    assert_eq!(
        (&changed["setting"]["value"], &changed["setting"]["layer"]),
        (&json!("1024"), &json!("store"))
    );
    let refused = world.post("/v1/tasks", task.clone()).await;
    assert_eq!(refused.wrong_fields(), ["params"]);
    // The same again changes nothing.
    assert_eq!(put(&world, "limits.params_bytes", body).await.json()["version"], 1);
    put(&world, "limits.params_bytes", json!({"value": "4096"})).await;
    assert_eq!(world.post("/v1/tasks", task.clone()).await.status, 201);
    let told = world.get("/v1/config/limits.params_bytes").await.json();
    let history = told["history"].as_array().unwrap();
    assert_eq!((&history[0]["from"], &history[0]["to"]), (&json!("1024"), &json!("4096")));
    assert_eq!((&history[1]["by"], &history[1]["reason"]), (&json!("ada"), &json!("small ones only")));
    assert_eq!(told["setting"]["expects"], "a whole number of bytes from 1024 to 16777216");
    assert_eq!((&told["setting"]["unit"], &told["setting"]["default"]), (&json!("bytes"), &json!("262144")));

    let gone = unset(&world, "limits.params_bytes").await.json();
    assert_eq!((&gone["from"], gone.get("to")), (&json!("4096"), None));
    assert_eq!((&gone["setting"]["value"], &gone["setting"]["layer"]), (&json!("262144"), &json!("default")));
    assert_eq!(unset(&world, "limits.params_bytes").await.json().get("from"), None);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_its_name_and_changes_nothing() {
    let world = World::new();
    for (key, value, field, expected, got) in [
        ("limits.params_bytes", json!(5), "value", "a whole number of bytes from 1024 to 16777216", "5"),
        ("log.level", json!("louder"), "value", "error, warn, info, debug or trace", "\"louder\""),
        ("log.level", json!(null), "value", "a number or text", "null"),
        (
            "store.url",
            json!("sqlite:x.db"),
            "key",
            "may change while servers run",
            "is read at the start only: set it in the file",
        ),
        (
            "log.levl",
            json!("info"),
            "key",
            "one of server.request_timeout_seconds",
            "the nearest is log.level",
        ),
    ] {
        let answer = put(&world, key, json!({"value": value})).await;
        assert_eq!(answer.wrong_fields(), [field], "{key}");
        let error = answer.json()["errors"][0].clone();
        assert!(error["expected"].as_str().unwrap().contains(expected), "{error}");
        assert!(error["got"].as_str().unwrap().contains(got), "{error}");
    }
    assert_eq!(put(&world, "log.level", json!({})).await.wrong_fields(), ["value"]);
    assert_eq!(unset(&world, "store.url").await.wrong_fields(), ["key"]);
    assert_eq!(world.get("/v1/config/store.url").await.wrong_fields(), ["key"]);
    let listed = world.get("/v1/config").await.json();
    assert_eq!((&listed["version"], &listed["passed_over"]), (&json!(0), &json!([])));
    assert!(
        listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["layer"] == "default" || one["layer"] == "flag")
    );
}

#[tokio::test]
async fn a_flag_wins_and_the_listing_says_so() {
    let world = World::with(&[("reaper.interval_seconds", "10")]);
    let changed = put(&world, "reaper.interval_seconds", json!({"value": 30})).await.json();
    let why = "in the store: 30, not in force: the flag --set sets 10";
    assert_eq!(
        (&changed["setting"]["value"], &changed["setting"]["not_in_force"]),
        (&json!("10"), &json!(why))
    );
    let listed = world.get("/v1/config").await.json();
    let items = listed["items"].as_array().unwrap();
    let one = items.iter().find(|one| one["key"] == "reaper.interval_seconds").unwrap();
    assert_eq!(
        (&one["layer"], &one["from"], &one["stored"]["value"]),
        (&json!("flag"), &json!("the flag --set"), &json!("30"))
    );
    assert_eq!(world.app.reaper_interval(), Duration::from_secs(10));
}

#[tokio::test]
async fn what_a_newer_version_has_set_is_told_passed_over_and_can_be_unset() {
    let world = World::new();
    written(&world, "a-newer.key", "1").await;
    written(&world, "log.level", "louder").await;
    written(&world, "leases.worker_cap", "9").await;
    let listed = world.get("/v1/config").await.json();
    let keys: Vec<_> =
        listed["passed_over"].as_array().unwrap().iter().map(|one| one["key"].clone()).collect();
    assert_eq!(keys, ["a-newer.key", "log.level"]);
    assert_eq!(world.app.worker_cap(), 9, "the others are in force");
    let level = setting(&world, "log.level").await;
    assert_eq!((&level["value"], &level["layer"]), (&json!("info"), &json!("default")));
    assert!(level["not_in_force"].as_str().unwrap().contains("expected error, warn, info"), "{level}");
    let gone = unset(&world, "a-newer.key").await;
    assert_eq!((gone.status.as_u16(), &gone.json()["from"]), (200, &json!("1")));
    assert_eq!(unset(&world, "a-newer.key").await.wrong_fields(), ["key"]);
}

#[tokio::test]
async fn each_change_is_in_the_audit_log_and_the_time_line() {
    let world = World::new();
    let operator = world.with_token(json!({"name": "ops"})).await;
    put(&operator, "retention.log_hours", json!({"value": 12, "reason": "the disk"})).await;
    unset(&operator, "retention.log_hours").await;
    let audit = operator.get("/v1/audit").await.json();
    let told: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["action"].as_str().unwrap(), entry["target"].as_str().unwrap()))
        .collect();
    let target = "/v1/config/retention.log_hours";
    assert_eq!(told, [("unset_config", target), ("set_config", target)]);
    let set = &audit["items"][1];
    assert_eq!(
        (&set["change"]["to"], &set["reason"], &set["token_name"]),
        (&json!("12"), &json!("the disk"), &json!("ops"))
    );
    let history = operator.get("/v1/config/retention.log_hours").await.json()["history"].clone();
    assert_eq!((&history[0]["by"], &history[1]["by"]), (&json!("ops"), &json!("ops")));
    let line = operator.get("/v1/timeline").await.text();
    assert!(line.contains("retention.log_hours"), "{line}");
}

#[tokio::test]
async fn what_each_setting_says_holds_from_the_next_request_on() {
    let world = World::new();
    let ops = world.with_token(json!({"name": "ops"})).await;
    put(&ops, "tokens.requests_per_second", json!({"value": 2})).await;
    let mut refused = 0;
    for _ in 0..5 {
        refused += u32::from(ops.get("/v1/stats").await.status == 429);
    }
    assert!(refused >= 2, "{refused} were refused");
    put(&world, "tokens.requests_per_second", json!({"value": 0})).await;
    for _ in 0..5 {
        assert_eq!(ops.get("/v1/stats").await.status, 200);
    }
    put(&world, "leases.worker_cap", json!({"value": 1})).await;
    for _ in 0..2 {
        world.create(json!({"type": "a"})).await;
    }
    let claim = json!({"worker_id": "w", "max_tasks": 2});
    assert_eq!(world.post("/v1/claims", claim).await.json()["tasks"].as_array().unwrap().len(), 1);
    put(&world, "server.max_listeners", json!({"value": 0})).await;
    assert_eq!(world.get("/v1/events").await.status, 429);
    put(&world, "files.file_mebibytes", json!({"value": 1})).await;
    let large = Request::put("/v1/files/film/a").body(Body::from(vec![0; (1 << 20) + 1])).unwrap();
    assert_eq!(world.send(large).await.status, 413);
    put(&world, "retention.log_hours", json!({"value": 1})).await;
    assert_eq!(world.app.retention().logs, Duration::from_secs(3_600));
    put(&world, "server.request_timeout_seconds", json!({"value": 1})).await;
    assert_eq!(world.app.request_timeout(), Duration::from_secs(1));
    // Another server of the store begins with what is set.
    let other = world.restarted().await;
    other.app.look_at_settings().await.unwrap();
    assert_eq!((other.app.worker_cap(), other.app.max_listeners()), (1, 0));
}

/// Of two servers on one store: what is set on one, the other goes by within five seconds, and its reaper with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_of_the_store_goes_by_it_within_five_seconds() {
    let flags = [("server.listen", "127.0.0.1:0"), ("retention.worker_days", "3")];
    let flags = flags.map(|(key, value)| ("--set".to_owned(), key.to_owned(), value.to_owned()));
    let settings = Settings::load(&Sources { flags: flags.into(), ..Sources::default() }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let doorbell = LocalDoorbell::new(Arc::clone(&clock));
    let store =
        SqliteStore::open(&dir.path().join("baton.db"), Options::default(), Arc::clone(&doorbell) as _);
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    let start = || {
        Server::start(
            &settings,
            Arc::clone(&store),
            Arc::clone(&doorbell),
            Arc::clone(&clock),
            Arc::new(RandomIds),
        )
    };
    let (first, second) = (start().await.unwrap(), start().await.unwrap());
    let (mut one, mut other) = (
        Connection(TcpStream::connect(first.addr()).await.unwrap()),
        Connection(TcpStream::connect(second.addr()).await.unwrap()),
    );
    let large = json!({"type": "a", "params": {"text": "x".repeat(2_000)}}).to_string();
    let (head, _) = other.ask("POST", "/v1/tasks", &large).await;
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    let (head, set) = one.ask("PUT", "/v1/config/limits.params_bytes", r#"{"value": 1024}"#).await;
    assert!(head.starts_with("HTTP/1.1 200") && set["setting"]["value"] == "1024", "{head} {set}");
    let (head, _) = one.ask("POST", "/v1/tasks", &large).await;
    assert!(head.starts_with("HTTP/1.1 422"), "at once on the same server: {head}");
    let heard = async {
        loop {
            let (head, _) = other.ask("POST", "/v1/tasks", &large).await;
            if head.starts_with("HTTP/1.1 422") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), heard).await.expect("the other server has heard of it");
    // Who asks the other one is told of what was set a moment ago.
    one.ask("PUT", "/v1/config/retention.worker_days", r#"{"value": 9}"#).await;
    let (_, told) = other.ask("GET", "/v1/config/retention.worker_days", "").await;
    assert_eq!(told["setting"]["not_in_force"], "in the store: 9, not in force: the flag --set sets 3");
    first.shutdown().await;
    second.shutdown().await;
}
