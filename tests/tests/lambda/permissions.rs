//! Which permissions each function uses. Every way through a function that asks AWS for something else than the others
//! do is gone here, and says what it must have asked for; all that was seen is `infra/actions.json`, which
//! `infra/check.py` holds each function's role against. The suites beside this one end where a function asks for
//! anything that is not on that record.

mod alerts;
mod archived;
mod batched;
mod bulk;
mod edge;
mod files;
mod limited;
mod linked;
mod once;
mod ordered;
mod rare;
mod scheduled;
mod several;
mod steps;
mod supplied;

use std::collections::BTreeSet;
use std::pin::Pin;

use baton_model::{ProjectId, Scope, TokenId};
use baton_store_dynamodb::client::http_client;
use baton_store_dynamodb::faults::{Fault, Faults};
use baton_store_dynamodb::table::KeptBy;
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use self::steps::{
    bound, claim, claimed, created, done, end, ended, ended_by_one_that_dies, got, huge, large, took, waits,
};
use crate::calls::{Actions, REWRITE, record, rewriting};
use crate::events::fixtures;
use crate::world::{
    Stream, World, admin, bearer, invocation, invoke, messages, question, request, seconds, send, token,
    vouched,
};

/// The table, in short.
const TABLE: &str = "dynamodb Table";
const INDEX: &str = "dynamodb Table/index";
const READY: &str = "sqs Ready";

async fn authorize(world: &World) {
    let event = question("POST /v1/tasks", Some(&bearer(&admin().1)));
    assert_eq!(invoke(&world.function("authorize"), &event).await["isAuthorized"], true);
    took(world, "authorize", "a token's use is noted", &[(TABLE, &["GetItem", "UpdateItem"])]);
}

async fn create_task(world: &World) {
    let function = "create-task";
    waits(world, "default").await;
    created(world, json!({"type": "a"})).await;
    let alone = [(TABLE, &["GetItem", "PutItem", "UpdateItem"][..]), (READY, &["SendMessage"])];
    took(world, function, "a task, the queue and the day that it makes known, its ring", &alone);

    let keyed = messages(&[("m".into(), json!({"type": "a", "idempotency_key": "k"}).to_string())]);
    invoke(&world.function(function), &keyed).await;
    took(world, function, "a key and a task in one transaction", &[(TABLE, &["BatchGetItem", "PutItem"])]);

    let tasks: Vec<Value> = (0..120).map(|_| json!({"type": "a"})).collect();
    let mut event = request("POST", "/v1/tasks/batch", &json!({"atomic": false, "tasks": tasks}));
    event["headers"]["idempotency-key"] = json!("many");
    let answer = invoke(&world.function(function), &event).await;
    assert!(answer["statusCode"].as_u64().unwrap() < 300, "{answer}");
    took(
        world,
        function,
        "a batch that is larger than a transaction",
        &[(TABLE, &["PutItem", "UpdateItem"])],
    );

    let id = created(world, json!({"type": "a"})).await;
    let conflict = json!({"id": id, "type": "a", "params": {"blob": large()}});
    let (status, _) = send(&world.function(function), "POST", "/v1/tasks", conflict).await;
    assert_eq!(status, 409);
    took(world, function, "params that nobody will name", &[(TABLE, &["PutItem", "BatchWriteItem"])]);

    let id = created(world, json!({"type": "a", "params": {"blob": large()}})).await;
    done(world, "manage-tasks", &format!("/v1/tasks/{id}/cancel"), json!({})).await;
    world.calls.latest();
    let again = json!({"id": id, "type": "a", "params": {"blob": large()}});
    done(world, function, "/v1/tasks", again).await;
    took(world, function, "the end of params, written again", &[(TABLE, &["PutItem", "UpdateItem"])]);

    invoke(&world.function(function), &messages(&[("m".into(), "{".into())])).await;
    took(world, function, "a letter that is dead", &[("sqs SubmissionsDead", &["SendMessage"])]);
}

async fn claim_task(world: &World) {
    let function = "claim-task";
    created(world, json!({"type": "a", "params": {"blob": large()}})).await;
    world.calls.latest();
    let request = json!({"worker_id": "w", "request_id": "r"});
    let first = claim(world, request.clone()).await;
    let wanted =
        [(TABLE, &["GetItem", "BatchGetItem", "PutItem", "UpdateItem", "Query"][..]), (INDEX, &["Query"])];
    took(world, function, "a plan, a lease, and params that are kept apart", &wanted);
    assert_eq!(claim(world, request).await["tasks"], first["tasks"]);
    took(world, function, "a claim that is repeated", &[(TABLE, &["BatchGetItem", "Query"])]);
    for n in 0..5 {
        created(world, json!({"type": format!("type-{n}"), "queue": "many"})).await;
    }
    claim(world, json!({"worker_id": "w", "queues": ["many"]})).await;
    took(world, function, "a note of how a queue is claimed from", &[(TABLE, &["UpdateItem"])]);

    let waiting = json!({"worker_id": "waiting", "wait_seconds": 20});
    let host = world.function(function);
    let claiming = async { send(&host, "POST", "/v1/claims", waiting).await };
    let ringing = async {
        while !host.open().await.unwrap().waits() {
            tokio::task::yield_now().await;
        }
        waits(world, "others").await;
        let others = json!({"tasks": [{"type": "a", "queue": "others"}]});
        done(world, "create-task", "/v1/tasks/batch", others).await;
        while !world.calls.has(function, "Ready", "sqs:ChangeMessageVisibility") {
            tokio::task::yield_now().await;
        }
        let many: Vec<Value> = (0..12).map(|_| json!({"type": "a"})).collect();
        done(world, "create-task", "/v1/tasks/batch", json!({"tasks": many})).await;
    };
    let ((status, answer), ()) = tokio::join!(claiming, ringing);
    assert_eq!((status, answer["tasks"].as_array().unwrap().len()), (200, 1), "{answer}");
    let ready = ["ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "SendMessage"];
    let what = "rings that are heard, given back and passed on, and the look whether the token still stands";
    took(world, function, what, &[(READY, &ready), (TABLE, &["GetItem"])]);
}

async fn complete_task(world: &World) {
    let function = "complete-task";
    let attempt = json!({"worker_id": "w", "attempt": 1});
    let with = |more: Value| {
        let mut body = attempt.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let id = claimed(world, json!({"type": "a"})).await;
    world.calls.latest();
    let (path, completion) = (format!("/v1/tasks/{id}/complete"), with(json!({"result": {"blob": huge()}})));
    done(world, function, &path, completion.clone()).await;
    let wanted = [(TABLE, &["GetItem", "PutItem", "UpdateItem", "BatchWriteItem"][..])];
    took(world, function, "a task, its generation, and a result in parts", &wanted);
    done(world, function, &path, completion).await;
    took(world, function, "a completion that is repeated, whose result is read", &[(TABLE, &["Query"])]);

    let id = claimed(world, json!({"type": "a"})).await;
    created(world, json!({"type": "a", "params": {"blob": large()}})).await;
    world.calls.latest();
    let next = with(json!({"claim": {"worker_id": "w", "request_id": "next"}}));
    done(world, function, &format!("/v1/tasks/{id}/complete"), next).await;
    let wanted = [(TABLE, &["BatchGetItem", "PutItem", "UpdateItem", "Query"][..]), (INDEX, &["Query"])];
    took(world, function, "a completion with a claim for the next", &wanted);

    let id = claimed(world, json!({"type": "a"})).await;
    created(world, json!({"type": "a"})).await;
    let next = with(json!({"claim": {"worker_id": "w", "request_id": format!("{id}@1")}}));
    for what in ["a completion that names its claim", "the same again, whose plan lies with its generation"] {
        world.calls.latest();
        done(world, function, &format!("/v1/tasks/{id}/complete"), next.clone()).await;
        took(world, function, what, &[(TABLE, &["BatchGetItem", "GetItem"]), (INDEX, &["Query"])]);
    }

    let id = claimed(world, json!({"type": "a", "queue": "default", "params": {"blob": large()}})).await;
    world.calls.latest();
    let failure = with(json!({"error": {"message": large()}}));
    done(world, function, &format!("/v1/tasks/{id}/fail"), failure).await;
    let wanted = [(TABLE, &["GetItem", "PutItem", "UpdateItem", "Query"][..]), (READY, &["SendMessage"])];
    took(world, function, "a failure that is kept apart, and the ring of its task", &wanted);

    let film = json!({"type": "a", "project": "film", "params": {"blob": large()}});
    let id = created(world, film).await;
    let claim = json!({"worker_id": "filming"});
    let answer = bound(world, "claim-task", Scope::Worker, "/v1/claims", &claim).await;
    assert!(answer["body"].as_str().unwrap().contains(&id), "{answer}");
    world.calls.latest();
    let own = json!({"worker_id": "filming", "attempt": 1});
    let answer = bound(world, function, Scope::Worker, &format!("/v1/tasks/{id}/release"), &own).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    took(
        world,
        function,
        "a release, by a caller whose bounds are looked at",
        &[(TABLE, &["GetItem", "Query"])],
    );

    invoke(&world.function(function), &messages(&[("m".into(), "{".into())])).await;
    took(world, function, "a letter that is dead", &[("sqs CompletionsDead", &["SendMessage"])]);
    several::end_together(world).await;
}

async fn heartbeat_worker(world: &World) {
    let function = "heartbeat-worker";
    let film = json!({"type": "a", "project": "film", "params": {"blob": large()}});
    let id = claimed(world, film).await;
    done(world, "manage-tasks", &format!("/v1/tasks/{id}/cancel"), json!({})).await;
    world.calls.latest();
    let path = "/v1/workers/new/heartbeat";
    done(world, function, path, json!({})).await;
    took(world, function, "a worker that is new", &[(TABLE, &["GetItem", "PutItem"])]);
    let beat = json!({"running": [{"task_id": id, "attempt": 1}], "logs": [{"message": "hello"}]});
    done(world, function, path, beat.clone()).await;
    let wanted = [(TABLE, &["UpdateItem", "BatchGetItem", "BatchWriteItem"][..]), (INDEX, &["Query"])];
    took(world, function, "a list with a lost lease, and log lines", &wanted);
    let answer = bound(world, function, Scope::Worker, "/v1/workers/own/heartbeat", &beat).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    took(world, function, "a lost lease, by a caller whose bounds are looked at", &[(TABLE, &["Query"])]);
}

async fn reap_stale_workers(world: &World) {
    let function = "reap-stale-workers";
    let round = json!({"source": "aws.scheduler"});
    let host = world.function(function);
    created(world, json!({"type": "a", "max_attempts": 100})).await;
    waits(world, "default").await;
    invoke(&host, &round).await;
    world.calls.latest();
    // Often enough for its history to outgrow its item.
    for _ in 0..16 {
        claim(world, json!({"worker_id": "dies"})).await;
        world.clock.advance(seconds(61));
        assert_eq!(invoke(&host, &round).await["taken"], 1);
    }
    let wanted = [
        (TABLE, &["GetItem", "PutItem", "UpdateItem", "Query"][..]),
        (INDEX, &["Query"]),
        (READY, &["SendMessage"]),
    ];
    took(world, function, "a task that is taken back again and again", &wanted);

    *world.pools.lock().unwrap() = json!([{"name": "gpu", "queues": ["default", "none"]}]).to_string();
    let pooled = world.function(function);
    world.pools.lock().unwrap().clear();
    world.calls.latest();
    invoke(&pooled, &round).await;
    took(world, function, "how many machines a pool should have", &[(TABLE, &["GetItem", "Query"])]);

    done(world, function, "/v1/reap", json!({"worker_id": "dies"})).await;
    took(
        world,
        function,
        "a round that is recorded in the audit log",
        &[(TABLE, &["PutItem", "UpdateItem"])],
    );

    let apart = created(world, json!({"type": "a", "queue": "done", "params": {"blob": large()}})).await;
    claim(world, json!({"worker_id": "w", "queues": ["done"]})).await;
    let completion = json!({"worker_id": "w", "attempt": 1, "result": {"blob": large()}});
    done(world, "complete-task", &format!("/v1/tasks/{apart}/complete"), completion).await;
    let cancelled = created(world, json!({"type": "a"})).await;
    done(world, "manage-tasks", &format!("/v1/tasks/{cancelled}/cancel"), json!({})).await;
    let keyed =
        messages(&[("m".into(), json!({"type": "a", "queue": "q", "idempotency_key": "k"}).to_string())]);
    invoke(&world.function("create-task"), &keyed).await;
    claim(world, json!({"worker_id": "w", "queues": ["q"], "request_id": "r"})).await;
    let beat = json!({"logs": [{"message": "hello"}]});
    done(world, "heartbeat-worker", "/v1/workers/idle/heartbeat", beat).await;
    let short = json!({"name": "short", "scopes": ["worker"], "expires_in_seconds": 60});
    done(world, "manage-tokens", "/v1/tokens", short).await;
    // Tasks that ended before they were dated as they end are dated by the rounds, and days that are empty struck off.
    world.age().await;
    let walk = json!({"begins": 0, "day": -1, "part": 0, "after": null, "dated": 0});
    let kept = 30_u64 * 86_400_000;
    let note =
        json!({"looked": null, "settled": null, "keep": kept, "walk": walk, "walked": null}).to_string();
    world.put(&[("pk", "M"), ("sk", "purge"), ("tx", &note)], &[]).await;
    world.calls.latest();
    world.clock.advance(seconds(500 * 86_400));
    // A time that has jumped is believed after an hour.
    for _ in 0..3 {
        while invoke(&host, &round).await["more"] == true {}
        world.clock.advance(seconds(1_800));
    }
    let wanted =
        [(TABLE, &["GetItem", "PutItem", "Query", "UpdateItem", "DeleteItem"][..]), (INDEX, &["Query"])];
    took(world, function, "the removal of what does not go by itself", &wanted);
    let kinds = world.calls.all()[function]["Table"]["dynamodb:UpdateItem"].clone();
    assert!(["D", "G#*", "P#*", "T#*"].iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
    let left: BTreeSet<String> = world.items().await.into_keys().map(|(partition, _)| partition).collect();
    let kept = |letter: &str| left.iter().filter(|partition| partition.starts_with(letter)).count();
    assert_eq!((kept("K#"), kept("W#")), (1, 0), "of tokens the lasting one, and no worker: {left:#?}");
}

async fn query_tasks(world: &World) {
    let function = "query-tasks";
    let id = claimed(world, json!({"type": "a", "params": {"blob": large()}})).await;
    created(world, json!({"type": "a"})).await;
    done(world, "heartbeat-worker", "/v1/workers/w/heartbeat", json!({"logs": [{"message": "m"}]})).await;
    world.calls.latest();
    got(world, function, &format!("/v1/tasks/{id}")).await;
    took(world, function, "a task whose params are kept apart", &[(TABLE, &["GetItem", "Query"])]);
    got(world, function, "/v1/tasks?status=created,running").await;
    took(world, function, "a list by status", &[(TABLE, &["BatchGetItem"]), (INDEX, &["Query"])]);
    world.calls.latest();
    got(world, function, "/readyz").await;
    let asked = world.calls.latest();
    let told: Vec<_> = asked.iter().map(|(_, _, action)| action.as_str()).collect();
    assert_eq!(told, ["dynamodb:GetItem"], "anybody may ask, and nobody pays for a write");
    let completion = json!({"worker_id": "w", "attempt": 1, "result": {"blob": large()}});
    let answer = done(world, "complete-task", &format!("/v1/tasks/{id}/complete"), completion).await;
    let generation = answer["generation_id"].as_str().unwrap();
    for path in [
        "/v1/tasks",
        "/v1/tasks?status=completed",
        "/v1/tasks?status=failed,cancelled",
        &format!("/v1/tasks/{id}/history"),
        &format!("/v1/task-ids?prefix={}", &id[..8]),
        "/v1/generations",
        &format!("/v1/generations/{generation}"),
        "/v1/workers",
        "/v1/workers/w",
        "/v1/queues",
        "/v1/queues/default",
        "/v1/stats",
        "/v1/logs",
        &format!("/v1/timeline?task_id={id}"),
        "/v1/timeline?worker=w",
        "/openapi.json",
    ] {
        got(world, function, path).await;
    }
}

async fn manage_tasks(world: &World) {
    let function = "manage-tasks";
    let id = claimed(world, json!({"type": "a", "project": "film", "params": {"blob": large()}})).await;
    world.calls.latest();
    let long = json!({"reason": "r".repeat(1_000)});
    done(world, function, &format!("/v1/tasks/{id}/cancel"), long.clone()).await;
    let wanted = [(TABLE, &["GetItem", "PutItem", "UpdateItem", "Query"][..])];
    took(world, function, "a call-off with a long reason, recorded", &wanted);
    waits(world, "default").await;
    world.calls.latest();
    done(world, function, &format!("/v1/tasks/{id}/retry"), long).await;
    took(world, function, "a task that is ready again", &[(READY, &["SendMessage"])]);
    bound(world, function, Scope::Producer, &format!("/v1/tasks/{id}/cancel"), &json!({})).await;
    took(world, function, "a caller whose bounds are looked at", &[(TABLE, &["Query"])]);
    for path in ["/v1/queues/default/pause", "/v1/queues/default/resume"] {
        done(world, function, path, json!({})).await;
        took(world, function, path, &[(TABLE, &["UpdateItem", "GetItem", "Query"]), (INDEX, &["Query"])]);
    }
    done(world, function, "/v1/queues/typo/pause", json!({})).await;
    world.calls.latest();
    let path = "/v1/queues/typo/resume";
    done(world, function, path, json!({})).await;
    took(world, function, "a queue that no task has named", &[(TABLE, &["DeleteItem"])]);
    for path in ["/v1/workers/w/drain", "/v1/workers/w/stop", "/v1/workers/w/run"] {
        done(world, function, path, json!({})).await;
        took(world, function, path, &[(TABLE, &["UpdateItem"]), (INDEX, &["Query"])]);
    }
}

async fn manage_tokens(world: &World) {
    let function = "manage-tokens";
    let asked = json!({"name": "t", "scopes": ["worker"]});
    let made = done(world, function, "/v1/tokens", asked).await;
    took(world, function, "a token and the count of all, recorded", &[(TABLE, &["PutItem", "UpdateItem"])]);
    done(world, function, &format!("/v1/tokens/{}/revoke", made["token"]["id"].as_str().unwrap()), json!({}))
        .await;
    took(world, function, "a token that is revoked", &[(TABLE, &["GetItem", "UpdateItem"])]);
    got(world, function, "/v1/tokens").await;
    got(world, function, "/v1/token").await;
    got(world, function, "/v1/audit").await;
    took(world, function, "lists", &[(TABLE, &["Query"])]);
}

async fn relay_events(world: &World) {
    let function = "relay-events";
    let mut stream = Stream::default();
    stream.records(world);
    let id = claimed(world, json!({"type": "a"})).await;
    let records = stream.records(world);
    invoke(&world.function(function), &json!({ "Records": records })).await;
    let wanted = [("sqs TaskEvents", &["SendMessage"][..]), (TABLE, &["GetItem"])];
    took(world, function, "events that are sent", &wanted);
    let failure = json!({"worker_id": "w", "attempt": 1, "error": {"message": large()}});
    done(world, "complete-task", &format!("/v1/tasks/{id}/fail"), failure).await;
    let records = stream.records(world);
    invoke(&world.function(function), &json!({ "Records": records })).await;
    took(world, function, "an event that is kept apart", &[(TABLE, &["Query"])]);
    let damaged = json!({"eventSource": "aws:dynamodb", "dynamodb": {"SequenceNumber": "1"}});
    invoke(&world.function(function), &json!({"Records": [damaged]})).await;
    took(world, function, "a record that is put aside", &[("sqs RelayDead", &["SendMessage"])]);
}

/// Where the stream keeps the statistics.
async fn counted_events(world: &World) {
    let mut stream = Stream::default();
    claimed(world, json!({"type": "a"})).await;
    invoke(&world.function("reap-stale-workers"), &json!({"source": "aws.scheduler"})).await;
    took(
        world,
        "reap-stale-workers",
        "a tick, by which the counts' age is known",
        &[(TABLE, &["UpdateItem"])],
    );
    let records = stream.records(world);
    invoke(&world.function("relay-events"), &json!({ "Records": records })).await;
    let wanted = [(TABLE, &["GetItem", "UpdateItem"][..])];
    took(world, "relay-events", "who keeps the statistics, and what is added to them", &wanted);

    let hook = json!({"url": "http://127.0.0.1:1/in", "events": ["task.created"]});
    let (status, answer) = send(&world.function("manage-alerts"), "PUT", "/v1/webhooks/all", hook).await;
    assert_eq!(status, 200, "{answer}");
    created(world, json!({"type": "a"})).await;
    let records = stream.records(world);
    world.calls.latest();
    invoke(&world.function("relay-events"), &json!({ "Records": records })).await;
    let wanted = [(TABLE, &["GetItem", "PutItem", "Query", "UpdateItem"][..])];
    took(world, "relay-events", "what a webhook is to hear of a task", &wanted);
}

/// Each event of `events/`, by the function that takes it.
async fn events(world: &World) {
    for (function, event) in fixtures() {
        invoke(&world.function(function), &event).await;
    }
}

/// Makes a future on the heap: side by side, all of them are more than a thread's stack holds, also while they are made.
fn on_heap<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::pin(make())
}

/// How many ways the functions are driven at the same time, each on a table of its own.
const AT_ONCE: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_function_asks_for_what_is_recorded_and_no_more() {
    let mut drives: Vec<fn() -> World> = Vec::new();
    macro_rules! drive {
        ($($kept:ident: $($way:ident)*;)*) => {$($(
            drives.push(|| {
                Handle::current().block_on(async {
                    let world = on_heap(|| World::with_statistics(KeptBy::$kept)).await;
                    on_heap(|| $way(&world)).await;
                    world
                })
            });
        )*)*};
    }
    use alerts::alerts;
    use archived::archived;
    use batched::batched;
    use bulk::bulk;
    use edge::{edge, edge_counted};
    use files::files;
    use limited::limited;
    use linked::linked;
    use once::once;
    use ordered::ordered;
    use rare::{given_out_alone, heard_anew};
    use scheduled::scheduled;
    use supplied::supplied;
    // A table that was made for functions has its statistics kept by the stream; another one by whoever changes tasks.
    drive! {
        Processes: authorize create_task claim_task complete_task heartbeat_worker reap_stale_workers query_tasks
            manage_tasks manage_tokens relay_events events given_out_alone heard_anew linked limited ordered once scheduled bulk supplied batched archived alerts edge files;
        Stream: authorize create_task claim_task complete_task heartbeat_worker reap_stale_workers query_tasks
            manage_tasks manage_tokens relay_events counted_events events given_out_alone heard_anew linked limited ordered once scheduled bulk supplied batched archived alerts edge_counted;
    }
    let mut all = Actions::new();
    let mut worlds = futures::stream::iter(drives).map(tokio::task::spawn_blocking).buffer_unordered(AT_ONCE);
    while let Some(world) = worlds.next().await {
        for (function, resources) in world.unwrap().calls.all() {
            for (resource, actions) in resources {
                let known = all.entry(function.clone()).or_default().entry(resource).or_default();
                for (action, keys) in actions {
                    known.entry(action).or_default().extend(keys);
                }
            }
        }
    }
    let told = serde_json::to_string_pretty(&all).unwrap() + "\n";
    if rewriting() {
        std::fs::write(record(), &told).unwrap();
    }
    let kept = std::fs::read_to_string(record()).unwrap_or_default();
    assert!(kept == told, "infra/actions.json is stale; to write it anew: {REWRITE}; got {told}");
}

/// What goes wrong may lead where nothing else does: a write that is looked at again, a batch of which the rest is sent.
/// The world ends where a function has asked for what is not on record.
#[tokio::test]
async fn a_function_asks_for_nothing_else_when_requests_fail_and_answers_are_lost() {
    let faults = Faults::new(http_client(), 7, 10);
    faults.switch(false);
    let world = World::over(faults.client(), KeptBy::Stream).await;
    let mut random = StdRng::seed_from_u64(7);
    let mut stream = Stream::default();
    faults.switch(true);
    let mut ids = vec!["01980a6e-5b7c-7cc3-98c4-dc0c0c07398f".to_owned()];
    for step in 0..100 {
        let id = ids[random.random_range(0..ids.len())].clone();
        let worker = ["w1", "w2"][random.random_range(0..2)];
        let blob = if random.random_bool(0.3) { large() } else { String::new() };
        let attempt = random.random_range(1..3);
        let ended = |more: Value| {
            let mut body = json!({"worker_id": worker, "attempt": attempt});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let asked = json!({"worker_id": worker, "max_tasks": 3, "request_id": format!("r{}", step / 20)});
        let listed: Vec<Value> = ids.iter().map(|id| json!({"task_id": id, "attempt": attempt})).collect();
        let task = json!({"type": "a", "params": {"blob": blob}, "max_attempts": 9});
        let (function, path, body) = match random.random_range(0..14) {
            0 | 1 => ("create-task", "/v1/tasks".to_owned(), task),
            2 => ("create-task", "/v1/tasks/batch".to_owned(), json!({"tasks": [task.clone(), task]})),
            3 | 4 => ("claim-task", "/v1/claims".to_owned(), asked),
            5 => {
                let more = json!({"result": {"blob": blob}, "claim": {"worker_id": worker}});
                ("complete-task", format!("/v1/tasks/{id}/complete"), ended(more))
            }
            6 => {
                ("complete-task", format!("/v1/tasks/{id}/fail"), ended(json!({"error": {"message": blob}})))
            }
            7 => ("complete-task", format!("/v1/tasks/{id}/release"), ended(json!({}))),
            8 => {
                let body = json!({"running": listed, "logs": [{"message": blob}]});
                ("heartbeat-worker", format!("/v1/workers/{worker}/heartbeat"), body)
            }
            9 => ("manage-tasks", format!("/v1/tasks/{id}/cancel"), json!({})),
            10 => ("manage-tasks", format!("/v1/tasks/{id}/retry"), json!({})),
            11 => ("manage-tasks", "/v1/queues/default/pause".to_owned(), json!({})),
            12 => ("manage-tasks", "/v1/queues/default/resume".to_owned(), json!({})),
            _ => {
                world.clock.advance(seconds(61));
                let round = json!({"source": "aws.scheduler"}).to_string();
                // It may fail, as may whatever else is asked here.
                let _ = world.function("reap-stale-workers").handle(&round, &invocation("i")).await;
                faults.switch(false);
                let records = stream.records(&world);
                faults.switch(true);
                let relayed = json!({ "Records": records }).to_string();
                let _ = world.function("relay-events").handle(&relayed, &invocation("i")).await;
                continue;
            }
        };
        let answer = send(&world.function(function), "POST", &path, body).await.1;
        ids.extend(answer["id"].as_str().map(str::to_owned));
        for path in ["/v1/tasks?status=queued,running,failed", "/v1/tasks"] {
            if random.random_bool(0.1) {
                send(&world.function("query-tasks"), "GET", path, Value::Null).await;
            }
        }
    }
    assert!(faults.injected().len() >= 7 && ids.len() > 5, "{:?}, {}", faults.injected(), ids.len());
}
