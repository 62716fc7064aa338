//! Who may ask for what: every route of the document, asked by callers of every kind.

use std::collections::BTreeSet;

use axum::body::Body;
use baton_http::auth::{Access, RULES, Rule};
use baton_model::{Bulk, BulkAction, BulkTasks, Scope};
use http::Request;
use serde_json::{Value, json};

use crate::world::{Answer, World};

/// The routes of the OpenAPI document, as `METHOD /path operation`.
fn documented() -> Vec<(String, String, Value)> {
    let document: Value = serde_json::from_str(baton_server::openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            routes.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    routes
}

#[test]
fn each_route_has_its_rule_and_each_rule_its_route() {
    let key = |method: &str, path: &str, operation: &str| format!("{method} {path} {operation}");
    let routes: BTreeSet<String> = documented()
        .iter()
        .map(|(method, path, operation)| key(method, path, operation["operationId"].as_str().unwrap()))
        .collect();
    let rules: BTreeSet<String> =
        RULES.iter().map(|rule| key(rule.method, rule.path, rule.operation)).collect();
    assert_eq!(routes, rules);
    assert_eq!(rules.len(), RULES.len());
}

#[test]
fn the_document_says_what_the_rules_say() {
    let document: Value = serde_json::from_str(baton_server::openapi()).unwrap();
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    for (method, path, operation) in documented() {
        let rule = Rule::of_route_key(&format!("{method} {path}")).unwrap();
        let secured = if rule.access == Access::Open { json!([]) } else { json!([{"token": []}]) };
        assert_eq!(operation["security"], secured, "{method} {path}");
        let described = operation["description"].as_str().unwrap_or_default();
        let scopes = format!("Scope: {}.", rule.scopes());
        assert_eq!(described.ends_with(&scopes), rule.access != Access::Open, "{method} {path}");
    }
}

/// A world with a task of the project film in the queue gpu, held by the worker w1, and with a completed one.
struct Site {
    world: World,
    operator: World,
    task: String,
    generation: String,
    token: String,
    bulk: String,
    batch: String,
}

impl Site {
    async fn new(required: &str) -> Self {
        let world = World::with(&[("tokens.required", required)]);
        let operator = world.with_token(json!({"scopes": ["operator"]})).await;
        let film = |name: &str| json!({"type": name, "project": "film", "queue": "gpu"});
        let done = operator.create(film("done")).await;
        let task = operator.create(film("kept")).await;
        let claim = json!({"worker_id": "w1", "queues": ["gpu"], "max_tasks": 2});
        assert_eq!(operator.post("/v1/claims", claim).await.json()["tasks"][1]["id"], task);
        let output = json!({"worker_id": "w1", "attempt": 1});
        let completed = operator.post(&format!("/v1/tasks/{done}/complete"), output).await.json();
        let generation = completed["generation_id"].as_str().unwrap().to_owned();
        let later = json!({"type": "later", "queue": "gpu", "delay_seconds": 3_600});
        let batch = json!({"batch": {"project": "film", "seal": false}, "tasks": [later]});
        let batch =
            operator.post("/v1/tasks/batch", batch).await.json()["batch_id"].as_str().unwrap().to_owned();
        let (token, _) = operator.token(json!({})).await;
        // Past the server, as its audit log is looked at.
        let (id, now) = (world.app.ids.bulk(), world.app.now());
        let nothing = BulkTasks::Ids(vec![world.app.ids.task()]);
        world.app.store.create_bulk(Bulk::new(id, now, BulkAction::Cancel, nothing)).await.unwrap();
        let (token, bulk) = (token.to_string(), id.to_string());
        Self { world, operator, task, generation, token, bulk, batch }
    }

    /// A request of an operation that an operator may make.
    fn request(&self, rule: &Rule) -> Request<Body> {
        let path = match rule.path {
            "/v1/generations/{id}" => rule.path.replace("{id}", &self.generation),
            "/v1/tokens/{id}/revoke" => rule.path.replace("{id}", &self.token),
            path if path.starts_with("/v1/batches/") => path.replace("{id}", &self.batch),
            path if path.starts_with("/v1/bulk/") => path.replace("{id}", &self.bulk),
            path => path
                .replace("{id}", &self.task)
                .replace("{worker}", "w1")
                .replace("{queue}", "gpu")
                .replace("{project}", "film")
                .replace("{name}", "nightly")
                .replace("{key}", "retention.log_hours"),
        };
        let path = match rule.operation {
            "find_task_ids" => format!("{path}?prefix={}", &self.task[..18]),
            "get_schedule" => format!("{path}?project=film"),
            // Without it, it has no end.
            "hear_events" => format!("{path}?after=0&wait=0s"),
            _ => path.replace("{code}", "busy"),
        };
        let task = json!({"type": "a", "queue": "gpu", "project": "film"});
        let body = match rule.operation {
            "create_task" => task,
            "create_batch" => json!({"tasks": [task]}),
            "claim" => json!({"worker_id": "w2", "queues": ["gpu"]}),
            "complete" | "release" => json!({"worker_id": "w1", "attempt": 1}),
            "fail" => json!({"worker_id": "w1", "attempt": 1, "error": {"message": "no"}}),
            "end_attempts" => {
                json!({"endings": [{"task_id": self.task, "release": {"worker_id": "w1", "attempt": 1}}]})
            }
            "heartbeat" => json!({}),
            "create_token" => json!({"name": "t", "scopes": ["operator"]}),
            "set_config" => json!({"value": "7"}),
            "set_limit" => json!({"on": "queue/gpu", "max_running": 5}),
            "clear_limit" => json!({"on": "queue/gpu"}),
            "order_queue" => json!({"fair": "project"}),
            "set_queue_defaults" => json!({"max_attempts": 5}),
            "set_schedule" => json!({"name": "nightly", "project": "film", "cron": "@daily",
                "task": {"type": "a", "queue": "gpu"}}),
            "set_supply" => json!({"min": 1, "target": 1, "templates": [{"task": {"type": "a"}}]}),
            "pause_schedule" | "resume_schedule" | "delete_schedule" => json!({"project": "film"}),
            "change_task" => json!({"priority": "high"}),
            "bulk_tasks" => json!({"do": "cancel", "filter": {"type": "kept"}}),
            _ => Value::Null,
        };
        let request = Request::builder().method(rule.method).uri(path);
        if body.is_null() {
            return request.body(Body::empty()).unwrap();
        }
        request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
    }

    async fn ask(&self, caller: &World, rule: &Rule) -> Answer {
        caller.send(self.request(rule)).await
    }
}

fn guarded() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(|rule| rule.access != Access::Open)
}

#[tokio::test]
async fn who_presents_no_good_token_is_refused_everywhere_and_changes_nothing() {
    let site = Site::new("always").await;
    let bad_secret = {
        let (_, secret) = site.world.token(json!({})).await;
        let text = secret.reveal();
        let last = if text.ends_with('0') { '1' } else { '0' };
        format!("Bearer {}{last}", &text[..text.len() - 1])
    };
    let unknown = format!("Bearer baton_{}_{}", "0".repeat(32), "0".repeat(64));
    let (revoked, revoked_secret) = site.world.token(json!({})).await;
    site.world.app.store.revoke_token(revoked, site.world.app.now()).await.unwrap();
    let revoked = format!("Bearer {}", revoked_secret.reveal());
    let (_, expired) = site.world.token(json!({"expires_in_seconds": 1})).await;
    let expired = format!("Bearer {}", expired.reveal());
    site.world.advance(std::time::Duration::from_secs(1));

    let before = site.operator.get("/v1/stats").await.json();
    let mut told = BTreeSet::new();
    for rule in guarded() {
        let answer = site.ask(&site.world, rule).await;
        let problem = answer.problem(401, "unauthorized");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        assert!(problem["detail"].as_str().unwrap().contains("got no such header"), "{problem}");
        // One answer for a slip, a wrong secret and an unknown id.
        for bad in ["Bearer", "Bearer x", "bearer baton_1_2", &bad_secret, &unknown] {
            let answer = site.ask(&site.world.presenting(bad), rule).await;
            told.insert(answer.problem(401, "unauthorized")["detail"].as_str().unwrap().to_owned());
        }
        for (good_once, word) in [(&expired, "has expired at"), (&revoked, "was revoked at")] {
            let problem =
                site.ask(&site.world.presenting(good_once), rule).await.problem(401, "unauthorized");
            assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
        }
    }
    assert_eq!(told.len(), 1, "{told:?}");
    let after = site.operator.get("/v1/stats").await.json();
    assert_eq!(before, after);
    assert_eq!(site.operator.task(&site.task).await["task"]["status"], "running");
    assert!(site.operator.get("/v1/audit").await.json()["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn open_routes_ask_for_no_token_and_mind_none() {
    let site = Site::new("always").await;
    for rule in RULES.iter().filter(|rule| rule.access == Access::Open) {
        for caller in [&site.world, &site.world.presenting("Bearer x")] {
            assert_eq!(site.ask(caller, rule).await.status, 200, "{}", rule.path);
        }
    }
    site.world.get("/v1/nowhere").await.problem(404, "route_not_found");
    let put = Request::put("/v1/tasks").body(Body::empty()).unwrap();
    let answer = site.world.send(put).await;
    answer.problem(405, "method_not_allowed");
    assert!(answer.headers["allow"].to_str().unwrap().contains("POST"));
}

#[tokio::test]
async fn each_scope_opens_its_routes_and_no_others() {
    for scope in Scope::ALL {
        let site = Site::new("always").await;
        let caller = site.world.with_token(json!({"scopes": [scope]})).await;
        for rule in guarded() {
            let Access::Scopes(scopes) = rule.access else { continue };
            let answer = site.ask(&caller, rule).await;
            if scope == Scope::Operator || scopes.contains(&scope) {
                let shown = format!("{scope} {}: {}", rule.operation, answer.text());
                assert!(![401, 403, 404, 405, 422].contains(&answer.status.as_u16()), "{shown}");
            } else {
                let problem = answer.problem(403, "scope_missing");
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains(&rule.scopes()) && detail.contains(scope.as_str()), "{detail}");
            }
        }
    }
}

#[tokio::test]
async fn a_token_that_is_bound_elsewhere_reaches_nothing_here() {
    for bound in [
        json!({"project": "game"}),
        json!({"queues": ["cpu"]}),
        json!({"project": "film", "queues": ["cpu"]}),
    ] {
        let site = Site::new("always").await;
        let mut token = bound.clone();
        token["scopes"] = json!(["operator"]);
        let caller = site.world.with_token(token).await;
        let before = site.operator.get("/v1/stats").await.json();
        let whole = bound["project"].is_string();
        for rule in guarded() {
            let answer = site.ask(&caller, rule).await;
            let shown = format!("{bound} {}: {} {}", rule.operation, answer.status, answer.text());
            let (status, code) = match rule.operation {
                "create_task" | "create_batch" | "set_schedule" => (403, "outside_grant"),
                "get_schedule" | "pause_schedule" | "resume_schedule" | "delete_schedule" => {
                    (404, "schedule_not_found")
                }
                // A queue's name is all that a claim names; a project's is not.
                "claim" if bound["queues"].is_array() => (403, "outside_grant"),
                "list_workers" | "drain_worker" | "stop_worker" | "run_worker" | "get_stats"
                | "list_logs" | "reap" | "show_reaper" | "create_token" | "list_tokens" | "revoke_token"
                | "list_audit" | "get_queue" | "pause_queue" | "resume_queue" | "order_queue"
                | "set_queue_defaults" | "set_limit" | "clear_limit" | "list_limits" | "set_owner"
                | "list_projects" | "list_config" | "get_config" | "set_config" | "unset_config"
                | "set_supply" | "get_supply" | "unset_supply" => (403, "outside_grant"),
                "get_own_token" => {
                    assert_eq!(answer.json()["token"]["project"], bound["project"], "{shown}");
                    continue;
                }
                "list_queues" | "list_supplies" if whole => (403, "outside_grant"),
                "get_task" | "get_history" | "get_graph" | "get_why" | "cancel_task" | "retry_task"
                | "change_task" | "complete" | "fail" | "release" => (404, "task_not_found"),
                "get_generation" => (404, "generation_not_found"),
                "get_batch" | "seal_batch" | "list_batches" if bound["queues"].is_array() => {
                    (403, "outside_grant")
                }
                "get_batch" | "seal_batch" => (404, "batch_not_found"),
                "get_bulk" | "abort_bulk" => (404, "bulk_not_found"),
                "bulk_tasks" => {
                    assert_eq!(answer.json()["changed"], 0, "{shown}");
                    continue;
                }
                "list_bulks" => {
                    // Its own, of above.
                    assert_eq!(answer.json()["items"].as_array().map(Vec::len), Some(1), "{shown}");
                    continue;
                }
                // The name belongs to callers without bounds.
                "get_worker" => (404, "worker_not_found"),
                "heartbeat" => (409, "worker_of_other"),
                "list_timeline" | "hear_events" | "list_tasks" | "list_generations" | "find_task_ids"
                | "list_queues" | "list_schedules" | "list_supplies" | "list_batches" => {
                    assert_eq!(answer.status, 200, "{shown}");
                    let list = answer.json();
                    let list = list.get("items").or(list.get("ids")).unwrap();
                    assert_eq!(list, &json!([]), "{shown}");
                    continue;
                }
                "claim" => {
                    assert_eq!(answer.json()["nothing"]["reason"], "none_queued", "{shown}");
                    continue;
                }
                "end_attempts" => {
                    assert_eq!(answer.json()["items"][0]["problem"]["code"], "task_not_found", "{shown}");
                    continue;
                }
                other => panic!("what of {other}?"),
            };
            assert_eq!(answer.json()["code"], code, "{shown}");
            answer.problem(status, code);
        }
        let mut after = site.operator.get("/v1/stats").await.json();
        after["workers"] = before["workers"].clone();
        assert_eq!(after, before, "{bound}");
        assert_eq!(site.operator.task(&site.task).await["task"]["status"], "running");
    }
}

#[tokio::test]
async fn a_server_for_its_own_machine_needs_no_token_but_heeds_one() {
    let site = Site::new("auto").await;
    for rule in guarded() {
        site.ask(&site.world.presenting("Bearer x"), rule).await.problem(401, "unauthorized");
    }
    let producer = site.world.with_token(json!({"scopes": ["producer"]})).await;
    producer.get("/v1/stats").await.problem(403, "scope_missing");
    assert_eq!(site.world.get("/v1/stats").await.status, 200);
    // Another scheme is not Baton's: a proxy in front may use it.
    assert_eq!(site.world.presenting("Basic YTpi").get("/v1/stats").await.status, 200);
    for rule in guarded().filter(|rule| rule.operation != "complete") {
        let answer = site.ask(&site.world, rule).await;
        assert!(![401, 403].contains(&answer.status.as_u16()), "{}: {}", rule.operation, answer.text());
    }
}
