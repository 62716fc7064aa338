//! Alerts and webhooks on AWS: each look is a round that a schedule begins, and the next one may be another process's.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use baton_lambda::{Function, Host, Invocation};
use baton_manage_alerts::AlertRounds;
use baton_runtime::Clock as _;
use baton_store::{DocumentChanges, DocumentStore};
use baton_store_dynamodb::table::KeptBy;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{Stream, World, again, invocation, invoke, seconds, send};

/// A receiver on this machine that notes what comes, and answers as it is told.
#[derive(Clone)]
struct Receiver {
    url: String,
    came: Arc<Mutex<Vec<Value>>>,
    answer: Arc<Mutex<StatusCode>>,
}

impl Receiver {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let receiver =
            Self { url, came: Arc::default(), answer: Arc::new(Mutex::new(StatusCode::NO_CONTENT)) };
        let noted = receiver.clone();
        let take = move |body: String| async move {
            noted.came.lock().unwrap().push(serde_json::from_str(&body).unwrap());
            *noted.answer.lock().unwrap()
        };
        let router = axum::Router::new().route("/in", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    fn answers(&self, status: StatusCode) {
        *self.answer.lock().unwrap() = status;
    }

    /// What has come, by its types.
    fn types(&self) -> Vec<String> {
        self.came.lock().unwrap().iter().map(|message| message["type"].as_str().unwrap().to_owned()).collect()
    }
}

/// A round, with a minute until it would be killed.
async fn round(world: &World, host: &Host) -> Value {
    let deadline = Some(world.clock.now().plus(seconds(60)));
    let event = json!({"source": "aws.scheduler"}).to_string();
    let invocation = Invocation { deadline, ..invocation("lambda-1") };
    serde_json::to_value(host.handle(&event, &invocation).await.unwrap()).unwrap()
}

async fn put(world: &World, path: &str, body: Value) -> Value {
    let (status, answer) = send(&world.function("manage-alerts"), "PUT", path, body).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

async fn shown(world: &World, path: &str) -> Value {
    let (status, answer) = send(&world.function("manage-alerts"), "GET", path, Value::Null).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

fn deep(for_seconds: u64) -> Value {
    json!({"kind": "queue_depth", "queue": "images", "above": 1, "below": 0, "for_seconds": for_seconds,
        "ends_after_seconds": for_seconds, "webhooks": ["chat"]})
}

#[tokio::test]
async fn an_alert_fires_and_ends_once_over_rounds_of_which_each_is_another_process() {
    let (world, receiver) = (World::new().await, Receiver::new().await);
    put(&world, "/v1/webhooks/chat", json!({"url": receiver.url})).await;
    put(&world, "/v1/alerts/deep", deep(100)).await;
    let create = world.function("create-task");
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let task = json!({"type": "a", "queue": "images"});
        tasks.push(send(&create, "POST", "/v1/tasks", task).await.1["id"].as_str().unwrap().to_owned());
    }
    let mut told = Vec::new();
    for minute in 0..8 {
        if minute == 3 {
            for id in &tasks {
                let path = format!("/v1/tasks/{id}/cancel");
                assert_eq!(send(&world.function("manage-tasks"), "POST", &path, json!({})).await.0, 200);
            }
        }
        let answer = round(&world, &world.function("manage-alerts")).await;
        assert_eq!(answer, json!({"held": true, "more": false}), "minute {minute}");
        told.push(receiver.types());
        world.clock.advance(seconds(60));
    }
    let fired = vec!["alert.fired".to_owned()];
    let ended = vec!["alert.fired".to_owned(), "alert.ended".to_owned()];
    let wanted = [vec![], vec![], fired.clone(), fired.clone(), fired, ended.clone(), ended.clone(), ended];
    assert_eq!(told, wanted);
    let rule = shown(&world, "/v1/alerts/deep").await;
    assert_eq!(rule["name"], "deep", "{rule}");
}

#[tokio::test]
async fn what_a_receiver_does_not_take_is_sent_in_a_later_round_and_nothing_to_private_addresses() {
    let (world, receiver) = (World::new().await, Receiver::new().await);
    put(&world, "/v1/webhooks/chat", json!({"url": receiver.url})).await;
    let test = async || {
        let (status, answer) =
            send(&world.function("manage-alerts"), "POST", "/v1/webhooks/chat/test", json!({})).await;
        assert_eq!(status, 200, "{answer}");
    };
    let waiting =
        async || shown(&world, "/v1/webhooks/chat").await["waiting_messages"].as_array().unwrap().len();
    test().await;
    receiver.answers(StatusCode::SERVICE_UNAVAILABLE);
    round(&world, &world.function("manage-alerts")).await;
    assert_eq!((receiver.types().len(), waiting().await), (1, 1));
    receiver.answers(StatusCode::NO_CONTENT);
    world.clock.advance(seconds(60));
    round(&world, &world.function("manage-alerts")).await;
    assert_eq!((receiver.types(), waiting().await), (vec!["webhook.test".to_owned(); 2], 0));

    // As it is on AWS.
    test().await;
    let function = Function::new("manage-alerts", baton_manage_alerts::router).schedule(|tick| async move {
        baton_manage_alerts::scheduled(&tick.app, tick.budget, &AlertRounds::default()).await
    });
    round(&world, &world.host(function)).await;
    assert_eq!((receiver.types().len(), waiting().await), (2, 1));
    let shown = shown(&world, "/v1/webhooks/chat").await;
    assert!(shown.to_string().contains("private network"), "{shown}");
}

#[tokio::test]
async fn while_another_looks_a_round_does_nothing_and_without_rules_it_writes_nothing() {
    let world = World::new().await;
    let function = world.function("manage-alerts");
    round(&world, &function).await;
    world.calls.bill();
    assert_eq!(round(&world, &function).await, json!({"held": false, "more": false}));
    assert_eq!(world.calls.bill().writes, 0.0);
    put(&world, "/v1/alerts/deep", deep(0)).await;
    let (store, now) = (world.store().await, world.clock.now());
    store.hold("notices", "a server", now, now.plus(seconds(180))).await.unwrap();
    assert_eq!(round(&world, &function).await["held"], false);
    world.clock.advance(seconds(181));
    assert_eq!(round(&world, &function).await["held"], true);
    // It has given it up, and another process goes on at once.
    assert_eq!(round(&world, &world.function("manage-alerts")).await["held"], true);
}

/// A round that is killed while it waits for a receiver has not given the hold up: others look again once its time would have been over.
#[tokio::test]
async fn a_round_that_is_killed_holds_up_the_next_ones_no_longer_than_it_could_have_lived() {
    let world = World::new().await;
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    put(&world, "/v1/webhooks/chat", json!({"url": url})).await;
    send(&world.function("manage-alerts"), "POST", "/v1/webhooks/chat/test", json!({})).await;
    let killed = world.function("manage-alerts");
    tokio::select! {
        told = round(&world, &killed) => panic!("expected it to wait for its receiver, got {told}"),
        came = silent.accept() => drop(came.unwrap()),
    }
    drop(silent);
    assert_eq!(round(&world, &world.function("manage-alerts")).await["held"], false);
    world.clock.advance(seconds(66));
    assert_eq!(round(&world, &world.function("manage-alerts")).await["held"], true);
}

/// A task that is created, claimed and completed.
async fn finish(world: &World, task: Value) -> String {
    end(world, task, "complete", json!({"result": {"ok": true}})).await
}

/// A task that is created, claimed and ended.
async fn end(world: &World, task: Value, how: &str, mut outcome: Value) -> String {
    let claim = json!({"worker_id": "w", "queues": [task["queue"]]});
    let (_, created) = send(&world.function("create-task"), "POST", "/v1/tasks", task).await;
    let id = created["id"].as_str().unwrap().to_owned();
    let (_, claimed) = send(&world.function("claim-task"), "POST", "/v1/claims", claim).await;
    assert_eq!(claimed["tasks"][0]["id"], *id, "{claimed}");
    (outcome["worker_id"], outcome["attempt"]) = (json!("w"), json!(1));
    let path = format!("/v1/tasks/{id}/{how}");
    let (status, answer) = send(&world.function("complete-task"), "POST", &path, outcome).await;
    assert_eq!(status, 200, "{answer}");
    id
}

/// A function counts no attempts: what ended in ten minutes is told by the hours of the statistics, whoever looks, and at the end of an
/// hour as within it.
#[tokio::test]
async fn the_rate_of_failures_is_of_ten_minutes_over_rounds_of_which_each_is_another_process() {
    let (world, receiver) = (World::with_statistics(KeptBy::Stream).await, Receiver::new().await);
    let mut stream = Stream::default();
    let task = || json!({"type": "a", "queue": "images"});
    put(&world, "/v1/webhooks/chat", json!({"url": receiver.url})).await;
    let rule =
        json!({"kind": "failure_rate", "for_seconds": 0, "ends_after_seconds": 0, "webhooks": ["chat"]});
    put(&world, "/v1/alerts/failing", rule).await;
    // How many complete and how many fail in the minute before each round; the 20th is the last one of an hour.
    let minutes = [(0, 12), (0, 9), (0, 0), (5, 1), (0, 0), (11, 2)];
    let ends = |minute: usize| match minute {
        18 | 20 => (0, 6),
        _ => minutes.get(minute).copied().unwrap_or_default(),
    };
    let mut told = Vec::new();
    for minute in 0..24 {
        let (completed, failed) = ends(minute);
        for _ in 0..completed {
            finish(&world, task()).await;
        }
        for _ in 0..failed {
            let failure = json!({"error": {"message": "no"}, "retryable": false});
            end(&world, task(), "fail", failure).await;
        }
        let batch = json!({ "Records": stream.records(&world) });
        assert_eq!(again(&invoke(&world.function("relay-events"), &batch).await), Vec::<String>::new());
        round(&world, &world.function("manage-alerts")).await;
        told.extend(std::mem::take(&mut *receiver.came.lock().unwrap()).into_iter().map(|message| {
            (minute, message["type"].as_str().unwrap().to_owned(), message["data"]["message"].clone())
        }));
        world.clock.advance(seconds(60));
    }
    // What failed before the first look is of no account, and nine are too few: there are ten from minute 3 on, and more that complete
    // from minute 5 on.
    let why = |rate: u64| json!(format!("{rate} of 100 attempts that ended in the last ten minutes failed"));
    let wanted = [
        (3, "alert.fired".to_owned(), why(67)),
        (5, "alert.ended".to_owned(), why(67)),
        (20, "alert.fired".to_owned(), why(100)),
    ];
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn webhooks_hear_of_tasks_by_the_stream_of_those_that_they_ask_for() {
    let (world, receiver) = (World::with_statistics(KeptBy::Stream).await, Receiver::new().await);
    let mut stream = Stream::default();
    let hook =
        json!({"url": receiver.url, "events": ["task.completed"], "queues": ["images"], "project": "film"});
    put(&world, "/v1/webhooks/film", hook).await;
    let wanted = finish(&world, json!({"type": "a", "queue": "images", "project": "film"})).await;
    finish(&world, json!({"type": "a", "queue": "images", "project": "other"})).await;
    finish(&world, json!({"type": "a", "queue": "sounds", "project": "film"})).await;
    let batch = json!({ "Records": stream.records(&world) });
    // It dies after it has kept them, so that the records come again.
    for _ in 0..2 {
        let answer = invoke(&world.function("relay-events"), &batch).await;
        assert_eq!(again(&answer), Vec::<String>::new());
    }
    assert_eq!(shown(&world, "/v1/webhooks/film").await["waiting_messages"].as_array().unwrap().len(), 1);
    assert_eq!(round(&world, &world.function("manage-alerts")).await["more"], false);
    let message = receiver.came.lock().unwrap().pop().unwrap();
    assert_eq!(receiver.types(), Vec::<String>::new(), "one task, told once");
    assert_eq!((&message["type"], &message["data"]["task_id"]), (&json!("task.completed"), &json!(wanted)));
    let data = &message["data"];
    assert_eq!((&data["queue"], &data["project"]), (&json!("images"), &json!("film")), "{message}");
    assert_eq!((&data["details"]["kind"], &data["details"]["seq"]), (&json!("completed"), &json!(3)));
    let webhook = shown(&world, "/v1/webhooks/film").await;
    assert_eq!((&webhook["delivered"], &webhook["waiting"]), (&json!(1), &json!(0)), "{webhook}");
}

/// The stream cannot wait for a receiver: so many messages wait, and those beyond are counted.
#[tokio::test]
async fn what_waits_for_a_webhook_of_tasks_is_bounded_and_of_one_that_is_gone_nothing_is_kept() {
    let (world, receiver) = (World::with_statistics(KeptBy::Stream).await, Receiver::new().await);
    let mut stream = Stream::default();
    let hook = || json!({"url": receiver.url, "events": ["task.created", "task.cancelled"]});
    put(&world, "/v1/webhooks/all", hook()).await;
    let (store, create) = (world.store().await, world.function("create-task"));
    let relay = async |host: &Host, stream: &mut Stream| {
        let answer = invoke(host, &json!({ "Records": stream.records(&world) })).await;
        assert_eq!(again(&answer), Vec::<String>::new());
    };
    let standing = store.document("webhook-standing", "all").await.unwrap().unwrap();
    let mut fuller: Value = serde_json::from_str(&standing).unwrap();
    fuller["queued"] = json!(9_999);
    let mut changes = DocumentChanges::default();
    changes.put("webhook-standing", "all", fuller.to_string());
    store.change_documents(changes).await.unwrap();
    let relayer = world.function("relay-events");
    for _ in 0..3 {
        send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    }
    relay(&relayer, &mut stream).await;
    let webhook = shown(&world, "/v1/webhooks/all").await;
    assert_eq!((&webhook["waiting"], &webhook["dropped"]), (&json!(1), &json!(2)), "{webhook}");

    // How many wait is counted anew when it is sent.
    round(&world, &world.function("manage-alerts")).await;
    for _ in 0..2 {
        send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    }
    relay(&relayer, &mut stream).await;
    assert_eq!(shown(&world, "/v1/webhooks/all").await["waiting"], 2);

    // The function still knows the webhook that was taken away.
    let (status, _) = send(&world.function("manage-alerts"), "DELETE", "/v1/webhooks/all", Value::Null).await;
    assert_eq!(status, 200);
    send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    relay(&relayer, &mut stream).await;
    assert_eq!(store.count_documents("waiting/all").await.unwrap(), 0);
    world.clock.advance(seconds(20));
    put(&world, "/v1/webhooks/all", hook()).await;
    send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    relay(&relayer, &mut stream).await;
    assert_eq!(shown(&world, "/v1/webhooks/all").await["waiting"], 1);
}

#[tokio::test]
async fn what_a_function_cannot_tell_is_refused() {
    let world = World::new().await;
    let function = world.function("manage-alerts");
    for (path, body) in [
        ("/v1/alerts/full", json!({"kind": "disk_low"})),
        ("/v1/alerts/groups", json!({"kind": "group_failed"})),
        ("/v1/webhooks/chat", json!({"url": "https://hooks.example/a", "events": ["task.completed"]})),
    ] {
        let (status, problem) = send(&function, "PUT", path, body).await;
        assert_eq!((status, &problem["code"]), (501, &json!("not_supported")), "{path}: {problem}");
    }
}
