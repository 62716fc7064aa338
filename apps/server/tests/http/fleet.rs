//! The routes of supervised workers: where a server has some, who may ask, and what is recorded.

use std::sync::{Arc, Mutex};

use baton_api::supervised::{GroupView, SupervisedView};
use baton_http::auth::FLEET_RULES;
use baton_http::fleet::{Asked, Fleet};
use baton_model::{GroupName, Scope, Timestamp};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request};
use serde_json::json;

use crate::world::World;

/// A supervisor that notes what it is asked.
#[derive(Default)]
pub(crate) struct Noted(pub(crate) Mutex<Vec<(String, Asked)>>);

fn group() -> GroupView {
    GroupView {
        name: "resize".parse().unwrap(),
        status: "running".to_owned(),
        count: 1,
        active: 1,
        idle: 0,
        busy: 1,
        failed: 0,
        restarts: 2,
        command: vec!["./resize.sh".to_owned()],
        workers: vec![SupervisedView {
            id: "h-resize-1".parse().unwrap(),
            state: "active".to_owned(),
            since: Timestamp::from_millis(0),
            pid: Some(7),
            running: 1,
            tasks: 5,
            memory_bytes: 6,
            restarts: 2,
            starts_at: None,
            waits_for: None,
            last_exit: Some("signal 9 (SIGKILL)".to_owned()),
            last_output: Some("line one\n<b>Killed</b>".to_owned()),
        }],
    }
}

impl Fleet for Noted {
    fn groups(&self) -> BoxFuture<'_, Vec<GroupView>> {
        async { vec![group()] }.boxed()
    }

    fn ask<'a>(&'a self, name: &'a GroupName, asked: Asked) -> BoxFuture<'a, Option<GroupView>> {
        async move {
            let known = group();
            (known.name == *name).then(|| {
                self.0.lock().unwrap().push((name.to_string(), asked));
                known
            })
        }
        .boxed()
    }
}

pub(crate) fn world(settings: &[(&str, &str)]) -> (World, Arc<Noted>) {
    let noted = Arc::new(Noted::default());
    (World::with_fleet(settings, Arc::clone(&noted) as _), noted)
}

#[tokio::test]
async fn groups_are_shown_and_directed() {
    let (world, noted) = world(&[]);
    let shown = world.get("/v1/fleet").await.json();
    assert_eq!(shown["items"][0]["name"], "resize");
    let worker = &shown["items"][0]["workers"][0];
    assert_eq!((&worker["pid"], &worker["last_exit"]), (&json!(7), &json!("signal 9 (SIGKILL)")));
    assert!(worker.get("starts_at").is_none());
    for (what, body) in [
        ("start", json!({})),
        ("stop", json!({"by": "ops", "reason": "night"})),
        ("restart", json!({})),
        ("restart", json!({"rolling": true})),
        ("scale", json!({"count": 3})),
    ] {
        let answer = world.post(&format!("/v1/fleet/resize/{what}"), body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["name"]), (200, &json!("resize")), "{what}");
    }
    assert_eq!(world.act("/v1/fleet/resize/stop").await.status, 200, "without a body");
    let asked: Vec<Asked> = noted.0.lock().unwrap().iter().map(|(_, asked)| *asked).collect();
    let restart = |rolling| Asked::Restart { rolling };
    let all = [Asked::Start, Asked::Stop, restart(false), restart(true), Asked::Scale(3), Asked::Stop];
    assert_eq!(asked, all);
}

#[tokio::test]
async fn what_is_asked_is_recorded() {
    let (world, _) = world(&[]);
    world.post("/v1/fleet/resize/scale", json!({"count": 3, "by": "ops", "reason": "more"})).await;
    let audit = world.get("/v1/audit").await.json();
    let entry = &audit["items"][0];
    assert_eq!(
        (&entry["action"], &entry["by"], &entry["reason"]),
        (&json!("scale_group"), &json!("ops"), &json!("more"))
    );
    assert!(entry.to_string().contains("1 workers") && entry.to_string().contains("3 workers"), "{entry:#}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_its_field() {
    let (world, noted) = world(&[]);
    let missed = world.act("/v1/fleet/other/stop").await.problem(404, "group_not_found");
    assert!(
        missed["detail"].as_str().unwrap().contains("no group \"other\"; GET /v1/fleet lists"),
        "{missed}"
    );
    for (path, body, field) in [
        ("/v1/fleet/resize/scale", json!({}), "count"),
        ("/v1/fleet/resize/scale", json!({"count": 1_001}), "count"),
        ("/v1/fleet/resize/scale", json!({"count": 1, "cuont": 2}), "cuont"),
        ("/v1/fleet/resize/restart", json!({"rolling": "yes"}), "rolling"),
        ("/v1/fleet/no%20name/stop", json!({}), "group"),
    ] {
        let problem = world.post(path, body).await.problem(422, "invalid_fields");
        assert!(problem.to_string().contains(&format!("\"field\":\"{field}\"")), "{path}: {problem}");
    }
    assert!(noted.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_without_workers_has_no_such_routes() {
    let world = World::new();
    let told = world.get("/v1/fleet").await.problem(404, "route_not_found");
    assert!(told["detail"].as_str().unwrap().contains("supervises no workers"), "{told}");
    world.act("/v1/fleet/resize/stop").await.problem(404, "route_not_found");
}

#[tokio::test]
async fn only_operators_who_reach_everything_may_ask() {
    let (site, noted) = world(&[("tokens.required", "always")]);
    let statuses = async |caller: &World| {
        let mut statuses = Vec::new();
        for rule in FLEET_RULES {
            let path = rule.path.replace("{group}", "resize");
            let request = Request::builder().method(rule.method.parse::<Method>().unwrap()).uri(path);
            let body = if rule.method == "GET" { "" } else { "{\"count\": 1}" };
            let body = if rule.path.ends_with("scale") { body } else { "" };
            let request = request.header("content-type", "application/json").body(body.into()).unwrap();
            statuses.push(caller.send(request).await.status.as_u16());
        }
        statuses
    };
    assert_eq!(statuses(&site).await, [401; 5], "without a token");
    for scope in Scope::ALL {
        let free = site.with_token(json!({"scopes": [scope]})).await;
        let expected = if scope == Scope::Operator { [200; 5] } else { [403; 5] };
        assert_eq!(statuses(&free).await, expected, "{scope}");
        noted.0.lock().unwrap().clear();
        for bound in
            [json!({"scopes": [scope], "project": "film"}), json!({"scopes": [scope], "queues": ["gpu"]})]
        {
            let bound = site.with_token(bound).await;
            assert_eq!(statuses(&bound).await, [403; 5], "{scope}");
        }
        assert!(noted.0.lock().unwrap().is_empty(), "a tenant moves nothing");
    }
}
