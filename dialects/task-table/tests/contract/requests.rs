//! Each route with its fields and codes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{QUEUE, TASKS, create, id, show, site};

const FIELDS: [&str; 11] = [
    "id",
    "type",
    "description",
    "params",
    "domain",
    "drift_score",
    "status",
    "result",
    "error",
    "created_at",
    "updated_at",
];

#[tokio::test]
async fn a_task_is_created_to_be_run_at_once_or_later() {
    let site = site(&[]).await;
    for (run, status) in [(true, "queued"), (false, "created")] {
        let task = create(&site, run).await;
        let fields: BTreeSet<&str> = task.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, BTreeSet::from(FIELDS));
        assert_eq!((&task["status"], &task["type"]), (&json!(status), &json!("dspy.plan")));
        assert_eq!((&task["description"], &task["drift_score"]), (&json!("why?"), &json!(0.2)));
        assert_eq!(task["params"], json!({"task_description": "why?"}));
        assert_eq!(
            (&task["result"], &task["error"], &task["domain"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert_eq!(task["created_at"], "2026-02-02T02:40:00.123000+00:00");
    }
    // Nobody is given one that nobody has asked to run, however long it waits.
    assert_eq!(site.claim(QUEUE).await.unwrap()["status"], "running");
    site.clock.advance(Duration::from_secs(3_600));
    assert!(site.claim(QUEUE).await.is_none());
}

#[tokio::test]
async fn what_is_left_out_has_the_old_defaults() {
    let site = site(&[]).await;
    let task = site.post(TASKS, &json!({"type": "general_query"})).await.json();
    assert_eq!(task["status"], "created");
    assert_eq!(
        (&task["description"], &task["params"], &task["drift_score"]),
        (&json!(""), &json!({}), &json!(0.0))
    );
}

#[tokio::test]
async fn a_task_whose_client_does_not_say_runs_at_once_where_the_old_server_was_a_late_one() {
    let site = site(&[("dialects.task-table.late", "true")]).await;
    let least = json!({"type": "general_query"});
    assert_eq!(site.post(TASKS, &least).await.json()["status"], "queued");
    for (run, status) in [(true, "queued"), (false, "created")] {
        assert_eq!(create(&site, run).await["status"], status);
    }
}

#[tokio::test]
async fn what_does_not_fit_is_told_as_fastapi_does() {
    let site = site(&[]).await;
    for (body, field) in [
        (json!({}), "type"),
        (json!({"type": 7}), "type"),
        (json!({"type": "a", "params": []}), "params"),
        (json!({"type": "a", "drift_score": "x"}), "drift_score"),
        (json!({"type": "a", "run_immediately": "x"}), "run_immediately"),
        (json!({"type": "a", "description": 7}), "description"),
        (json!({"type": "a", "domain": ["x"]}), "domain"),
        (json!({"type": "a", "description": "x".repeat(300_000)}), "description"),
        (json!({"type": "a", "params": {"x": "x".repeat(300_000)}}), "params"),
    ] {
        let answer = site.post(TASKS, &body).await;
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        let fault = answer.json()["detail"][0].clone();
        assert_eq!(fault["loc"], json!(["body", field]), "{fault}");
        assert!(fault["msg"].is_string() && fault["type"].is_string());
    }
    assert_eq!(site.get(&format!("{TASKS}?limit=x")).await.status, 422);
    assert_eq!(site.get(TASKS).await.json()["total"], 0);
}

#[tokio::test]
async fn the_list_has_all_tasks_the_newest_first_with_their_results() {
    let site = site(&[]).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(id(&create(&site, true).await).to_owned());
        site.clock.advance(Duration::from_secs(1));
    }
    site.own_post("/v1/tasks", &json!({"type": "a"})).await;
    assert_eq!(site.work(QUEUE, &json!({"answer": 42})).await, ids[0]);
    let list = site.get(TASKS).await.json();
    assert_eq!(list["total"], 5, "those of other queues are none of it");
    let items = list["items"].as_array().unwrap();
    let listed: Vec<&str> = items.iter().map(id).collect();
    assert!(listed.iter().eq(ids.iter().rev()), "{listed:?}");
    assert!(items.iter().all(|task| task["description"].is_string()));
    assert_eq!((&items[4]["status"], &items[4]["result"]), (&json!("completed"), &json!({"answer": 42})));
    let large = json!({"text": "x".repeat(50_000)});
    assert_eq!(site.work(QUEUE, &large).await, ids[1]);
    assert_eq!(site.get(TASKS).await.json()["items"][3]["result"], large);
    let part = site.get(&format!("{TASKS}?limit=2&offset=1&snapshot_id=9")).await.json();
    assert_eq!(part["total"], 5);
    let listed: Vec<&str> = part["items"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(listed, [&ids[3], &ids[2]]);
}

#[tokio::test]
async fn a_task_is_found_by_its_id_or_the_beginning_of_it() {
    let site = site(&[]).await;
    let known = "0198aaaa-0000-4000-8000-00000000000a";
    site.own_post("/v1/tasks", &json!({"id": known, "type": "a", "queue": QUEUE})).await;
    // One of another queue is not in the way.
    let other = json!({"id": "0198aaaa-0000-4000-8000-00000000000b", "type": "a"});
    site.own_post("/v1/tasks", &other).await;
    for text in [known, &known[..35], &known[..4], &known.to_uppercase()] {
        assert_eq!(show(&site, text).await["id"], known, "{text}");
    }
}

#[tokio::test]
async fn an_ambiguous_beginning_is_a_conflict_and_an_unknown_one_not_found() {
    let site = site(&[]).await;
    for id in ["0198aaaa-0000-4000-8000-000000000001", "0198aabb-0000-4000-8000-000000000002"] {
        site.own_post("/v1/tasks", &json!({"id": id, "type": "a", "queue": QUEUE})).await;
    }
    for (prefix, status) in
        [("0198aa", 409), ("0", 409), ("0198aaa", 200), ("0198aabb-0000", 200), ("0299", 404), ("xyz", 404)]
    {
        for rest in ["", "/status"] {
            let answer = site.get(&format!("{TASKS}/{prefix}{rest}")).await;
            assert_eq!(answer.status, status, "{prefix}{rest}: {answer:?}");
            assert_eq!(answer.json().get("detail").is_some(), status != 200);
        }
        if status != 200 {
            for verb in ["run", "cancel"] {
                assert_eq!(site.post(&format!("{TASKS}/{prefix}/{verb}"), &json!({})).await.status, status);
            }
        }
    }
}

#[tokio::test]
async fn the_status_is_told_in_short() {
    let site = site(&[]).await;
    let task = create(&site, true).await;
    let told = site.get(&format!("{TASKS}/{}/status", id(&task))).await.json();
    let expected =
        json!({"id": task["id"], "status": "queued", "updated_at": task["updated_at"], "error": null});
    assert_eq!(told, expected);
}

#[tokio::test]
async fn run_has_a_task_run_and_leaves_what_is_at_work_or_done() {
    let site = site(&[]).await;
    let task = create(&site, false).await;
    let run = async |id: &str| {
        let answer = site.post(&format!("{TASKS}/{id}/run"), &json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["status"].as_str().unwrap().to_owned()
    };
    let id = id(&task);
    assert_eq!(run(id).await, "queued");
    assert_eq!(run(id).await, "queued");
    let claimed = site.claim(QUEUE).await.unwrap();
    assert_eq!((claimed["id"].as_str().unwrap(), run(id).await.as_str()), (id, "running"));
    let failed = json!({"worker_id": "w1", "attempt": 1, "error": {"message": "no"}});
    site.own_post(&format!("/v1/tasks/{id}/fail"), &failed).await;
    let waits = show(&site, id).await;
    assert_eq!((&waits["status"], &waits["error"]), (&json!("retry"), &json!("no")));
    assert_eq!(run(id).await, "queued", "it need not wait for its time");
    let claimed = site.claim(QUEUE).await.unwrap();
    let failed = json!({"worker_id": "w1", "attempt": claimed["attempt"], "retryable": false, "error": {"message": "no"}});
    site.own_post(&format!("/v1/tasks/{id}/fail"), &failed).await;
    assert_eq!(show(&site, id).await["status"], "failed");
    assert_eq!(run(id).await, "queued", "anew");
    assert_eq!(site.work(QUEUE, &json!(["a"])).await, id);
    assert_eq!(run(id).await, "completed");
    assert_eq!(show(&site, id).await["result"], json!({"result": ["a"]}), "an object in any case");
}

#[tokio::test]
async fn cancel_calls_a_task_off_and_leaves_what_has_ended() {
    let site = site(&[]).await;
    let first = create(&site, true).await;
    let second = create(&site, false).await;
    let cancel = async |id: &str| {
        let answer = site.post(&format!("{TASKS}/{id}/cancel"), &json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["status"].as_str().unwrap().to_owned()
    };
    site.work(QUEUE, &json!({})).await;
    assert_eq!(cancel(id(&first)).await, "completed");
    assert_eq!(cancel(id(&second)).await, "cancelled");
    assert_eq!(cancel(id(&second)).await, "cancelled");
    let history = site.own_get(&format!("/v1/tasks/{}/history", id(&second))).await;
    assert_eq!(history["items"][1]["kind"], "cancelled");
}

#[tokio::test]
async fn the_logs_of_a_task_are_a_stream_until_it_is_over() {
    let site = site(&[]).await;
    let task = create(&site, true).await;
    let path = format!("{TASKS}/{}/logs", id(&task));
    let work = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        site.work(QUEUE, &json!({})).await;
    };
    let (answer, ()) = tokio::join!(site.get(&path), work);
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let events: Vec<Value> = answer
        .text
        .split("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
        .collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["created", "claimed", "completed"]);
    assert_eq!(site.get(&format!("{TASKS}/01980a6e-5b7c-7cc3-98c4-dc0c0c07398f/logs")).await.status, 404);
}

#[tokio::test]
async fn a_stop_ends_the_streams() {
    let site = site(&[]).await;
    let task = create(&site, true).await;
    let url = site.url(&format!("{TASKS}/{}/logs", id(&task)));
    let stream = site.request(reqwest::Method::GET, url).send().await.unwrap();
    let read = tokio::spawn(stream.text());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(site.stopped().await, "all was answered");
    assert!(read.await.unwrap().unwrap().contains("\"created\""));
}

#[tokio::test]
async fn health_is_told_at_the_root_without_a_token() {
    let site = site(&[("tokens.required", "always")]).await;
    let told = site.get("/health").await.json();
    assert!(["status", "service", "version"].iter().all(|name| told[*name].is_string()), "{told}");
    let ready = site.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")));
    assert!(ready.json()["deps"].is_object());
    assert_eq!(site.get("/api/v1/coordinator/health").await.status, 200);
    let answer = site.get(TASKS).await;
    assert_eq!(answer.status, 401);
    assert!(answer.json()["detail"].is_string());
    let answer = site.get("/api/v1/nothing").await;
    assert_eq!((answer.status, answer.json()), (404, json!({"detail": "Not Found"})));
}

#[tokio::test]
async fn a_server_whose_file_is_gone_is_not_ready_and_lives() {
    let site = site(&[]).await;
    std::fs::remove_file(site.dir().join("baton.db")).unwrap();
    let ready = site.get("/readyz").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    assert_eq!(ready.json(), json!({"status": "not_ready", "deps": {"db": "unavailable"}}));
    assert_eq!(site.get("/health").await.status, 200);
}

#[tokio::test]
async fn facts_are_none_of_it_and_that_is_said() {
    let site = site(&[]).await;
    assert_eq!(site.get("/api/v1/facts").await.json(), json!({"items": [], "total": 0}));
    let answer = site.post("/api/v1/facts", &json!({"text": "x", "metadata": {}})).await;
    assert_eq!(answer.status, 501);
    assert!(answer.json()["detail"].as_str().unwrap().starts_with("Facts are not kept"));
    let gone = site.request(reqwest::Method::DELETE, site.url("/api/v1/facts/1"));
    assert_eq!(site.send(gone).await.status, 404);
}

#[tokio::test]
async fn a_type_a_description_and_a_domain_are_any_text_as_they_were() {
    let site = site(&[]).await;
    let long = "why? ".repeat(2_000);
    let domain = "x".repeat(300);
    let body = json!({"type": "general query/ü", "description": long, "domain": domain,
        "params": {"n": 1}, "run_immediately": true});
    let task = site.post(TASKS, &body).await.json();
    let listed = site.get(TASKS).await.json()["items"][0].clone();
    for told in [&task, &show(&site, id(&task)).await, &listed] {
        assert_eq!((&told["type"], &told["params"]), (&json!("general query/ü"), &json!({"n": 1})), "{told}");
        assert_eq!((&told["description"], &told["domain"]), (&json!(long), &json!(domain)));
    }
    // Baton has a lawful type, and whoever runs it has the words besides.
    let own = site.claim(QUEUE).await.unwrap();
    assert_eq!((&own["id"], &own["type"]), (&task["id"], &json!("general_query__")));
    assert_eq!(own["description"].as_str().unwrap().len(), 4_096);
    assert_eq!(own["params"]["baton_words"]["type"], "general query/ü");
    assert_eq!((&own["params"]["n"], own["domain"].as_str().unwrap().len()), (&json!(1), 256));
    for kind in ["", "..", "a\tb", "日本語"] {
        let task = site.post(TASKS, &json!({"type": kind})).await;
        assert_eq!((task.status, &task.json()["type"]), (200, &json!(kind)), "{task:?}");
        assert_eq!(task.json()["params"], json!({}));
    }
    // What looks like words is params, if a client has sent it so.
    let own = json!({"type": "a", "params": {"baton_words": {"type": "b"}}});
    let task = site.post(TASKS, &own).await.json();
    assert_eq!((&task["type"], &task["params"]), (&own["type"], &own["params"]));
}

#[tokio::test]
async fn a_slash_too_many_leads_to_the_route() {
    let site = site(&[]).await;
    let body = json!({"type": "a"});
    let answer = site.without_following(reqwest::Method::POST, "/api/v1/tasks/", Some(&body)).await;
    assert_eq!((answer.status, answer.text.as_str()), (307, ""));
    assert_eq!(answer.headers["location"], TASKS);
    let task = site.post(&format!("{TASKS}/"), &body).await.json();
    let answer = site.without_following(reqwest::Method::GET, "/api/v1/tasks/?limit=5", None).await;
    assert_eq!(answer.headers["location"], "/api/v1/tasks?limit=5");
    for path in [format!("{TASKS}/{}/", id(&task)), format!("{TASKS}/{}/status/", id(&task))] {
        assert_eq!(site.get(&path).await.json()["id"], task["id"], "{path}");
    }
    assert_eq!(site.get("/health/").await.status, 200);
    assert_eq!(site.get("/api/v1/nothing/").await.json(), json!({"detail": "Not Found"}));
}

#[tokio::test]
async fn an_id_is_told_as_it_was_meant() {
    let site = site(&[]).await;
    for (path, id) in [("a%20b", "a b"), ("%C3%9C", "Ü"), ("XYZ", "XYZ")] {
        let answer = site.get(&format!("{TASKS}/{path}")).await;
        let said = json!({"detail": format!("Task '{id}' not found")});
        assert_eq!((answer.status, answer.json()), (404, said));
    }
    let gone = site.request(reqwest::Method::DELETE, site.url("/api/v1/facts/a%20b"));
    assert_eq!(site.send(gone).await.json(), json!({"detail": "Fact 'a b' not found"}));
}

#[tokio::test]
async fn what_runs_may_be_cancelled_and_what_was_cancelled_be_run() {
    let site = site(&[]).await;
    let task = create(&site, true).await;
    site.claim(QUEUE).await.unwrap();
    for (verb, status) in [("cancel", "cancelled"), ("cancel", "cancelled"), ("run", "queued")] {
        let told = site.post(&format!("{TASKS}/{}/{verb}", id(&task)), &json!({})).await;
        assert_eq!((told.status, &told.json()["status"]), (200, &json!(status)), "{verb}");
        let short = site.get(&format!("{TASKS}/{}/status", id(&task))).await.json();
        assert_eq!(short["status"], status);
    }
}
