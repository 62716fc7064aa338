//! Alerts: rules that requests set, what fires and ends by what there is, and what is told of it.

use std::sync::Arc;
use std::time::Duration;

use baton_alerts::{Kind, Rule};
use baton_api::supervised::GroupView;
use baton_http::Notices;
use baton_http::auth::ALERT_RULES;
use baton_http::fleet::{Asked, Fleet};
use baton_manage_alerts::Watch;
use baton_model::{GroupName, Scope};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::world::World;

/// A rule that fires when more than two tasks of `gpu` wait for 20 s, and ends when none waits for 20 s.
async fn deep(world: &World) -> Value {
    let rule = json!({"kind": "queue_depth", "queue": "gpu", "above": 2, "below": 0, "for_seconds": 20,
        "ends_after_seconds": 20, "webhooks": ["chat"]});
    world.put("/v1/alerts/deep", rule).await.json()
}

/// Looks every ten seconds, so many times.
async fn looks(world: &World, watch: &mut Watch, many: u32) {
    for _ in 0..many {
        world.advance(Duration::from_secs(10));
        watch.look(&world.app).await.unwrap();
    }
}

async fn shown(world: &World) -> Value {
    world.get("/v1/alerts/deep").await.json()
}

/// What the time line tells of alerts, the oldest first.
async fn told(world: &World) -> Vec<String> {
    let all = world.get("/v1/timeline?limit=100").await.json();
    let entries = all["items"].as_array().unwrap().iter().rev();
    let alerts = entries.filter(|entry| entry["source"] == "alert");
    alerts.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
}

/// The three tasks are given out, and what fires ends: once, however often it is looked at.
async fn ends_once(world: &World, watch: &mut Watch) {
    for _ in 0..3 {
        world.claim_of("w", "gpu").await;
    }
    looks(world, watch, 4).await;
    let now = shown(world).await;
    assert_eq!((&now["fires"], now["ended"].as_array().unwrap().len()), (&json!(false), 1), "{now:#}");
    looks(world, watch, 5).await;
    assert_eq!(
        told(world).await,
        ["alert deep fires: 3 tasks wait in queue gpu", "alert deep has ended: 3 tasks wait in queue gpu"]
    );
}

#[tokio::test]
async fn an_alert_fires_and_ends_once_and_over_a_restart_nothing_fires_anew() {
    let world = World::new();
    let set = deep(&world).await;
    assert_eq!((&set["from"], &set["fires"], &set["above"]), (&json!("api"), &json!(false), &json!(2.0)));
    let mut watch = Watch::default();
    for _ in 0..3 {
        world.create(json!({"type": "a", "queue": "gpu"})).await;
    }
    looks(&world, &mut watch, 2).await;
    assert_eq!(shown(&world).await["fires"], false, "not for long enough");
    looks(&world, &mut watch, 1).await;
    let now = shown(&world).await;
    let firing = &now["firing"][0];
    assert_eq!(
        (&firing["subject"], &firing["message"]),
        (&json!("gpu"), &json!("3 tasks wait in queue gpu")),
        "{now:#}"
    );
    assert_eq!(told(&world).await, ["alert deep fires: 3 tasks wait in queue gpu"]);
    for (queue, alerts) in [("gpu", 1), ("cpu", 0)] {
        let of_queue = world.get(&format!("/v1/timeline?queue={queue}")).await.json();
        let told = of_queue["items"].as_array().unwrap().iter().filter(|one| one["source"] == "alert");
        assert_eq!(told.count(), alerts, "{queue}: {of_queue:#}");
    }
    // Another server on the same store.
    let world = world.restarted().await;
    let mut watch = Watch::default();
    looks(&world, &mut watch, 5).await;
    assert_eq!(shown(&world).await["firing"][0]["fired_at"], firing["fired_at"]);
    assert_eq!(told(&world).await.len(), 1);
    ends_once(&world, &mut watch).await;
}

#[tokio::test]
async fn in_a_store_that_was_moved_what_fires_goes_on_and_ends_once() {
    let world = World::new();
    deep(&world).await;
    let mut watch = Watch::default();
    for _ in 0..3 {
        world.create(json!({"type": "a", "queue": "gpu"})).await;
    }
    looks(&world, &mut watch, 3).await;
    let firing = shown(&world).await["firing"][0].clone();
    let world = world.moved().await;
    let mut watch = Watch::default();
    looks(&world, &mut watch, 5).await;
    assert_eq!(shown(&world).await["firing"][0], firing);
    assert_eq!(told(&world).await.len(), 1);
    ends_once(&world, &mut watch).await;
}

#[tokio::test]
async fn a_rule_that_is_taken_away_ends_what_fires() {
    let world = World::new();
    deep(&world).await;
    let mut watch = Watch::default();
    for _ in 0..3 {
        world.create(json!({"type": "a", "queue": "gpu"})).await;
    }
    looks(&world, &mut watch, 3).await;
    assert_eq!(world.delete("/v1/alerts/deep").await.status, 200);
    world.get("/v1/alerts/deep").await.problem(404, "alert_not_found");
    world.delete("/v1/alerts/deep").await.problem(404, "alert_not_found");
    looks(&world, &mut watch, 2).await;
    assert_eq!(told(&world).await.len(), 2);
    assert_eq!(world.get("/v1/alerts").await.json(), json!({"items": []}));
}

#[tokio::test]
async fn the_figures_are_those_that_statistics_tell() {
    let world = World::new();
    for (name, rule) in [
        ("dead", json!({"kind": "dead_letters"})),
        ("dead-gpu", json!({"kind": "dead_letters", "queue": "gpu"})),
        ("old", json!({"kind": "oldest_ready", "above": 50, "for_seconds": 0})),
        ("lost", json!({"kind": "workers_lost"})),
        ("disk", json!({"kind": "disk_low", "below": 1e15, "for_seconds": 0})),
        ("full", json!({"kind": "limit_full", "for_seconds": 0})),
        ("nobody", json!({"kind": "no_worker"})),
        ("missed", json!({"kind": "schedule_missed"})),
        ("rate", json!({"kind": "failure_rate"})),
        ("group", json!({"kind": "group_failed"})),
    ] {
        assert_eq!(world.put(&format!("/v1/alerts/{name}"), rule).await.status, 200, "{name}");
    }
    world.post("/v1/limits", json!({"on": "queue/cpu", "max_running": 1})).await;
    let dead = world.create(json!({"type": "a", "queue": "gpu", "max_attempts": 1})).await;
    world.create(json!({"type": "a", "queue": "cpu"})).await;
    world.create(json!({"type": "a", "queue": "other"})).await;
    let claim = world.claim_of("w", "gpu").await;
    let fail = json!({"worker_id": "w", "attempt": claim["attempt"], "error": {"message": "no"}});
    assert_eq!(world.post(&format!("/v1/tasks/{dead}/fail"), fail).await.status, 200);
    world.claim_of("w2", "cpu").await;
    world.post("/v1/workers/w3/heartbeat", json!({"running": []})).await;
    let mut watch = Watch::default();
    looks(&world, &mut watch, 7).await;
    let all = world.get("/v1/alerts").await.json();
    let fires: Vec<(&str, Vec<&str>)> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let subjects = one["firing"].as_array().unwrap().iter();
            let subjects = subjects.map(|firing| firing["subject"].as_str().unwrap_or_default()).collect();
            (one["name"].as_str().unwrap(), subjects)
        })
        .collect();
    let stats = world.get("/v1/stats").await.json();
    assert_eq!(
        fires,
        [
            ("dead", vec![""]),
            ("dead-gpu", vec!["gpu"]),
            ("disk", vec![""]),
            ("full", vec!["queue/cpu"]),
            ("group", vec![]),
            ("lost", if stats["workers"]["lost"] == 1 { vec![""] } else { vec![] }),
            ("missed", vec![]),
            ("nobody", vec![]),
            ("old", vec!["other"]),
            ("rate", vec![]),
        ],
        "{all:#}"
    );
    assert_eq!(stats["workers"]["lost"], 1, "{stats:#}");
}

#[tokio::test]
async fn rules_of_the_settings_are_shown_and_stay() {
    let rule = Rule::of("deep".parse().unwrap(), Kind::OldestReady);
    let world = World::new().with_notices(Notices::new(vec![rule], Vec::new()));
    let listed = world.get("/v1/alerts").await.json();
    assert_eq!(
        (&listed["items"][0]["from"], &listed["items"][0]["above"]),
        (&json!("settings"), &json!(900.0))
    );
    let refused =
        world.put("/v1/alerts/deep", json!({"kind": "no_worker"})).await.problem(409, "set_in_settings");
    assert!(refused["detail"].as_str().unwrap().contains("[[alerts]]"), "{refused}");
    world.delete("/v1/alerts/deep").await.problem(409, "set_in_settings");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_its_field() {
    let world = World::new();
    for (name, body, field) in [
        ("a", json!({}), "kind"),
        ("a", json!({"kind": "depth"}), "kind"),
        ("a", json!({"kind": "queue_depth", "above": 1, "below": 2}), "below"),
        ("a", json!({"kind": "disk_low", "queue": "q"}), "queue"),
        ("a", json!({"kind": "no_worker", "command": ["reboot"]}), "command"),
        ("a", json!({"kind": "no_worker", "for_seconds": 1e9}), "for_seconds"),
        ("no%20name", json!({"kind": "no_worker"}), "alert"),
    ] {
        let answer = world.put(&format!("/v1/alerts/{name}"), body).await;
        assert_eq!(answer.wrong_fields(), [field]);
    }
    for n in 0..Rule::MOST {
        assert_eq!(world.put(&format!("/v1/alerts/r{n}"), json!({"kind": "no_worker"})).await.status, 200);
    }
    world.put("/v1/alerts/more", json!({"kind": "no_worker"})).await.problem(409, "too_many_limits");
    assert_eq!(world.put("/v1/alerts/r7", json!({"kind": "limit_full"})).await.status, 200);
}

#[tokio::test]
async fn only_operators_who_reach_everything_may_ask() {
    let site = World::with(&[("tokens.required", "always")]);
    let statuses = async |caller: &World| {
        let mut statuses = Vec::new();
        for rule in ALERT_RULES {
            let path = rule.path.replace("{alert}", "a").replace("{webhook}", "a");
            let body = match rule.operation {
                "set_alert" => r#"{"kind": "no_worker"}"#,
                "set_webhook" => r#"{"url": "https://a.example"}"#,
                "redeliver_message" => r#"{"id": "msg_1"}"#,
                _ => "",
            };
            let request = Request::builder().method(rule.method.parse::<Method>().unwrap()).uri(path);
            let request = request.header("content-type", "application/json").body(body.into()).unwrap();
            statuses.push(caller.send(request).await.status.as_u16());
        }
        statuses
    };
    assert_eq!(statuses(&site).await, [401; ALERT_RULES.len()], "without a token");
    for scope in Scope::ALL {
        for bounds in [json!({}), json!({"project": "film"}), json!({"queues": ["gpu"]})] {
            let mut token = json!({"scopes": [scope]});
            token.as_object_mut().unwrap().extend(bounds.as_object().unwrap().clone());
            let caller = site.with_token(token).await;
            let is_free = scope == Scope::Operator && bounds == json!({});
            let statuses = statuses(&caller).await;
            assert!(
                statuses.iter().all(|status| (*status == 403) != is_free),
                "{scope} {bounds}: {statuses:?}"
            );
        }
    }
}

/// A supervisor of a group of which one worker has used up its restarts.
struct Failing;

impl Fleet for Failing {
    fn groups(&self) -> BoxFuture<'_, Vec<GroupView>> {
        let group = json!({"name": "resize", "status": "degraded", "count": 2, "active": 1, "idle": 1, "busy": 0,
            "failed": 1, "restarts": 9, "command": [], "workers": []});
        async { vec![serde_json::from_value(group).unwrap()] }.boxed()
    }

    fn ask<'a>(&'a self, _: &'a GroupName, _: Asked) -> BoxFuture<'a, Option<GroupView>> {
        async { None }.boxed()
    }
}

/// What the messages of all that fires say.
async fn messages(world: &World) -> Vec<String> {
    let all = world.get("/v1/alerts").await.json();
    let firing =
        all["items"].as_array().unwrap().iter().flat_map(|one| one["firing"].as_array().unwrap().clone());
    firing.map(|one| one["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn groups_untaken_work_and_failures_are_told() {
    let world = World::with_fleet(&[], Arc::new(Failing));
    for kind in [Kind::GroupFailed, Kind::NoWorker] {
        world.put(&format!("/v1/alerts/{}", kind.as_str()), json!({"kind": kind.as_str()})).await;
    }
    world.put("/v1/alerts/rate", json!({"kind": "failure_rate", "for_seconds": 0})).await;
    let why = "no live worker takes type a of queue gpu".to_owned();
    world.app.untaken.turn([("gpu".parse().unwrap(), why.clone())].into());
    let mut watch = Watch::default();
    looks(&world, &mut watch, 1).await;
    let group = "1 worker of group resize has used up its restarts";
    assert_eq!(messages(&world).await, [group, why.as_str()]);
    for n in 0..10 {
        world.create(json!({"type": "a", "queue": "cpu"})).await;
        let task = world.claim_of("w", "cpu").await;
        let path = |what: &str| format!("/v1/tasks/{}/{what}", task["id"].as_str().unwrap());
        let mut end = json!({"worker_id": "w", "attempt": 1});
        let what = if n < 6 {
            end["error"] = json!({"message": "no"});
            end["retryable"] = json!(false);
            "fail"
        } else {
            "complete"
        };
        let ended = world.post(&path(what), end).await;
        assert_eq!(ended.status, 200, "{}", ended.text());
    }
    looks(&world, &mut watch, 1).await;
    let rate = "60 of 100 attempts that ended in the last ten minutes failed";
    assert_eq!(messages(&world).await, [group, why.as_str(), rate]);
    world.app.untaken.turn([].into());
    looks(&world, &mut watch, 7).await;
    assert_eq!(messages(&world).await, [group, rate]);
}

#[tokio::test]
async fn a_quiet_time_sends_and_writes_nothing() {
    let world = World::new();
    for kind in Kind::ALL {
        world.put(&format!("/v1/alerts/{}", kind.as_str()), json!({"kind": kind.as_str()})).await;
    }
    let hook = json!({"url": "https://a.example", "events": ["alert.fired", "alert.ended"]});
    world.put("/v1/webhooks/chat", hook).await;
    let kept = async |kind: &str| world.app.store.documents(kind, None, 9).await.unwrap();
    let stands = kept("webhook-standing").await;
    let mut watch = Watch::default();
    for _ in 0..50 {
        world.create(json!({"type": "a"})).await;
        let task = world.claim("w").await;
        looks(&world, &mut watch, 3).await;
        let path = format!("/v1/tasks/{}/complete", task["id"].as_str().unwrap());
        let done = world.post(&path, json!({"worker_id": "w", "attempt": 1})).await;
        assert_eq!(done.status, 200, "{}", done.text());
        world.post("/v1/workers/w/heartbeat", json!({"running": []})).await;
    }
    assert_eq!(messages(&world).await, Vec::<String>::new());
    assert_eq!(told(&world).await, Vec::<String>::new());
    assert_eq!(kept("webhook-standing").await, stands);
    for kind in ["alert", "waiting/chat", "over/chat"] {
        assert_eq!(kept(kind).await, [], "{kind}");
    }
}
