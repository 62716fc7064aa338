//! Alerts: what their rounds ask for with rules of each kind that a function tells, and what the requests ask for.

use serde_json::{Value, json};

use super::{INDEX, TABLE, claim, created, done, got, took};
use crate::world::{World, invoke, seconds, send};

const FUNCTION: &str = "manage-alerts";

async fn asked(world: &World, method: &str, path: &str, body: Value) -> Value {
    let (status, answer) = send(&world.function(FUNCTION), method, path, body).await;
    assert_eq!(status, 200, "{method} {path}: {answer}");
    answer
}

async fn round(world: &World) -> Value {
    invoke(&world.function(FUNCTION), &json!({"source": "aws.scheduler"})).await
}

pub(super) async fn alerts(world: &World) {
    round(world).await;
    took(world, FUNCTION, "a round that finds no rule", &[(TABLE, &["Query"])]);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let takes = axum::Router::new().route("/in", axum::routing::post(|| async {}));
    tokio::spawn(async move { axum::serve(listener, takes).await });
    asked(world, "PUT", "/v1/webhooks/chat", json!({"url": url})).await;
    took(world, FUNCTION, "a webhook that is set, recorded", &[(TABLE, &["PutItem", "Query", "UpdateItem"])]);
    for kind in
        ["queue_depth", "oldest_ready", "no_worker", "workers_lost", "dead_letters", "schedule_missed"]
    {
        let rule = json!({"kind": kind, "webhooks": ["chat"]});
        asked(world, "PUT", &format!("/v1/alerts/{kind}"), rule).await;
    }
    let rule = json!({"kind": "queue_depth", "queue": "elsewhere", "webhooks": ["chat"]});
    asked(world, "PUT", "/v1/alerts/elsewhere", rule).await;
    let rule =
        json!({"kind": "queue_depth", "queue": "looked", "above": 1, "for_seconds": 0, "webhooks": ["chat"]});
    asked(world, "PUT", "/v1/alerts/looked", rule).await;
    let rule = json!({"kind": "limit_full", "for_seconds": 0, "ends_after_seconds": 0, "webhooks": ["chat"]});
    asked(world, "PUT", "/v1/alerts/full", rule).await;

    for on in ["queue/looked/key/*", "queue/looked"] {
        done(world, "manage-tasks", "/v1/limits", json!({"on": on, "max_running": 1})).await;
    }
    for _ in 0..3 {
        created(world, json!({"type": "a", "queue": "looked", "concurrency_key": "k"})).await;
    }
    claim(world, json!({"worker_id": "w", "queues": ["looked"]})).await;
    created(world, json!({"type": "b", "queue": "looked"})).await;
    let schedule = json!({"name": "often", "every_seconds": 60, "task": {"type": "c", "queue": "timed"}});
    done(world, "manage-tasks", "/v1/schedules", schedule).await;
    world.clock.advance(seconds(20));
    world.calls.latest();
    assert_eq!(round(world).await["held"], true);
    let wanted =
        [(TABLE, &["GetItem", "BatchGetItem", "Query", "UpdateItem", "DeleteItem"][..]), (INDEX, &["Query"])];
    took(world, FUNCTION, "all rules, a firing, and a message that is taken", &wanted);
    let firing = asked(world, "GET", "/v1/alerts/full", Value::Null).await;
    assert_eq!(firing["fires"], true, "{firing}");

    let told = asked(world, "POST", "/v1/webhooks/chat/test", json!({})).await;
    asked(world, "POST", "/v1/webhooks/chat/redeliver", json!({"id": told["id"]})).await;
    asked(world, "POST", "/v1/webhooks/chat/enable", json!({})).await;
    for path in ["/v1/alerts", "/v1/alerts/full", "/v1/webhooks", "/v1/webhooks/chat"] {
        got(world, FUNCTION, path).await;
    }
    for gone in ["full", "looked"] {
        asked(world, "DELETE", &format!("/v1/alerts/{gone}"), json!({})).await;
    }
    world.clock.advance(seconds(60));
    assert_eq!(round(world).await["held"], true);
    asked(world, "POST", "/v1/webhooks/chat/test", json!({})).await;
    asked(world, "DELETE", "/v1/webhooks/chat", json!({})).await;
    took(world, FUNCTION, "what is taken away", &[(TABLE, &["DeleteItem", "PutItem"])]);
}
