//! The tables, as the platform's clients and its debug tool read and write them.

use std::time::Duration;

use baton_runtime::Clock as _;
use baton_tests::site::{Answer, Site};
use reqwest::Method;
use serde_json::{Value, json};

use super::world::{PROJECT, beat, called, claim_as, claim_this, create, id, reap, site, status};

async fn get(site: &Site, query: &str) -> Answer {
    site.get(&format!("/rest/v1/{query}")).await
}

async fn rows(site: &Site, query: &str) -> Vec<Value> {
    let answer = get(site, query).await;
    assert!([200, 206].contains(&answer.status), "{query}: {answer:?}");
    answer.json().as_array().unwrap().clone()
}

async fn single(site: &Site, query: &str) -> Answer {
    let request = site.request(Method::GET, site.url(&format!("/rest/v1/{query}")));
    site.send(request.header("accept", "application/vnd.pgrst.object+json")).await
}

async fn write(site: &Site, method: Method, query: &str, body: Value) -> Answer {
    let request = site.request(method, site.url(&format!("/rest/v1/{query}"))).json(&body);
    site.send(request.header("prefer", "return=representation")).await
}

#[tokio::test]
async fn tasks_are_read_by_what_clients_filter_by() {
    let site = site().await;
    create(&site, &id(1), "travel_segment", json!({"orchestrator_task_id_ref": id(9), "segment_index": 0}))
        .await;
    site.clock.advance(Duration::from_secs(1));
    create(&site, &id(2), "travel_segment", json!({"orchestrator_task_id_ref": id(9), "segment_index": 1}))
        .await;
    claim_this(&site, "api-worker-main", &id(1)).await;
    for (query, ids) in [
        ("tasks?select=id&order=created_at.asc", vec![id(1), id(2)]),
        ("tasks?select=id&order=created_at.desc&limit=1", vec![id(2)]),
        ("tasks?select=*&status=eq.In+Progress", vec![id(1)]),
        ("tasks?select=id, worker_id&status=eq.In%20Progress&worker_id=eq.api-worker-main", vec![id(1)]),
        ("tasks?select=id&worker_id=like.api-worker-%25", vec![id(1)]),
        ("tasks?select=id&worker_id=is.null", vec![id(2)]),
        ("tasks?select=id&attempts=lt.3&status=in.(Queued)", vec![id(2)]),
        ("tasks?select=id&status=eq.Complete", vec![]),
        ("tasks?select=id&generation_started_at=lt.2100-01-01T00:00:00", vec![id(1)]),
    ] {
        let found: Vec<String> =
            rows(&site, query).await.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(found, ids, "{query}");
    }
    let query = format!(
        "tasks?select=id, task_type, status, params, output_location&params=cs.{{\"orchestrator_task_id_ref\": \"{}\"}}&order=created_at.asc",
        id(9)
    );
    assert_eq!(rows(&site, &query).await.len(), 2);
    let query = format!("tasks?select=id&id=in.({},{})", id(1), id(7));
    assert_eq!(rows(&site, &query).await.len(), 1);
    let row = rows(&site, &format!("tasks?select=*&id=eq.{}", id(1))).await.remove(0);
    assert!(row["created_at"].as_str().unwrap().ends_with("+00:00"));
    assert_eq!((&row["project_id"], &row["attempts"]), (&json!(PROJECT), &json!(0)));
    let columns = "id, params, task_type, project_id";
    let row = rows(
        &site,
        &format!("tasks?select={columns}&worker_id=eq.api-worker-main&status=eq.In Progress&limit=1"),
    )
    .await;
    assert_eq!(row[0].as_object().unwrap().len(), 4);
}

#[tokio::test]
async fn one_row_is_an_object_and_none_is_told_as_clients_look_for_it() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    let answer =
        single(&site, &format!("tasks?select=status, created_at, project_id, task_type&id=eq.{}", id(1)))
            .await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("Queued")));
    let answer = single(&site, &format!("tasks?select=id&id=eq.{}", id(2))).await;
    assert_eq!(answer.status, 406);
    let told = answer.json();
    assert_eq!((&told["code"], &told["details"]), (&json!("PGRST116"), &json!("The result contains 0 rows")));
    assert!(told["message"].is_string() && told.get("hint").is_some());
}

#[tokio::test]
async fn rows_are_counted_where_that_is_asked() {
    let site = site().await;
    for number in 0..5 {
        create(&site, &id(number), "t", json!({})).await;
    }
    let counted = async |query: &str| {
        let request = site.request(Method::GET, site.url(&format!("/rest/v1/{query}")));
        let answer = site.send(request.header("prefer", "count=exact")).await;
        assert!([200, 206].contains(&answer.status));
        answer.headers["content-range"].to_str().unwrap().to_owned()
    };
    assert_eq!(counted("tasks?select=count&limit=1").await, "0-0/5");
    assert_eq!(counted("tasks?select=id&limit=2").await, "0-1/5");
    assert_eq!(counted("tasks?select=id&limit=2&offset=2").await, "2-3/5");
    assert_eq!(counted("tasks?select=id&status=eq.Failed").await, "*/0");
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_in_the_shape_that_clients_parse() {
    let site = site().await;
    for (query, status) in [
        ("tasks?select=nothing", 400),
        ("tasks?nothing=eq.1", 400),
        ("tasks?status=Queued", 400),
        ("tasks?status=regex.x", 400),
        ("nothing?select=*", 404),
    ] {
        let answer = get(&site, query).await;
        assert_eq!(answer.status, status, "{query}");
        let told = answer.json();
        for key in ["code", "message", "details", "hint"] {
            assert!(told.get(key).is_some(), "{query}: {told}");
        }
    }
}

#[tokio::test]
async fn a_reset_by_the_orchestrator_ends_the_attempt_and_queues_the_task() {
    let site = site().await;
    for number in 1..4 {
        create(&site, &id(number), "t", json!({})).await;
    }
    claim_this(&site, "w1", &id(1)).await;
    claim_this(&site, "w2", &id(2)).await;
    let body = json!({"status": "Queued", "worker_id": null, "generation_started_at": null,
        "generation_processed_at": null, "error_message": "Worker failed"});
    let query = format!("tasks?id=in.({},{})&status=eq.In+Progress", id(1), id(3));
    let answer = write(&site, Method::PATCH, &query, body.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let changed = answer.json();
    assert_eq!(changed.as_array().unwrap().len(), 1, "those that were changed are counted");
    assert_eq!((&changed[0]["id"], &changed[0]["status"]), (&json!(id(1)), &json!("Queued")));
    assert_eq!((&changed[0]["worker_id"], &changed[0]["attempts"]), (&Value::Null, &json!(1)));
    assert_eq!(status(&site, &id(2)).await, "In Progress");
    let entry = site.own_get("/v1/audit?action=edge_functions.update").await["items"][0].clone();
    assert_eq!(entry["outcome"], 200, "it is recorded");
    // A worker that was given up, by its own fallback.
    claim_this(&site, "w3", &id(1)).await;
    let late = json!({"status": "Queued", "worker_id": null, "attempts": 1, "error_details": "late"});
    let answer = write(&site, Method::PATCH, &format!("tasks?id=eq.{}", id(1)), late).await;
    assert_eq!(answer.status, 409);
    assert_eq!(status(&site, &id(1)).await, "In Progress");
}

#[tokio::test]
async fn what_a_change_cannot_mean_is_refused() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    let one = format!("tasks?id=eq.{}", id(1));
    for body in
        [json!({"result_data": {}}), json!({"params": {}}), json!({"attempts": 0}), json!({"status": "Odd"})]
    {
        assert_eq!(write(&site, Method::PATCH, &one, body.clone()).await.status, 400, "{body}");
    }
    assert_eq!(write(&site, Method::PATCH, "tasks", json!({"status": "Failed"})).await.status, 400);
    assert_eq!(write(&site, Method::DELETE, "tasks", json!({})).await.status, 400);
    assert_eq!(write(&site, Method::PATCH, "generations?id=eq.x", json!({"name": "x"})).await.status, 403);
}

#[tokio::test]
async fn tasks_are_added_and_removed_as_rows() {
    let mut site = site().await;
    let body =
        json!({"id": id(1), "task_type": "t", "params": {"a": 1}, "status": "Queued", "project_id": PROJECT});
    let answer = write(&site, Method::POST, "tasks", body).await;
    assert_eq!((answer.status, &answer.json()[0]["id"]), (201, &json!(id(1))));
    let request = site.request(Method::POST, site.url("/rest/v1/tasks")).header("prefer", "return=minimal");
    let body =
        json!({"id": id(2), "task_type": "t", "params": {}, "status": "Queued", "project_id": PROJECT});
    let answer = site.send(request.json(&body)).await;
    assert_eq!((answer.status, answer.text.as_str()), (201, ""));
    let answer = write(&site, Method::DELETE, &format!("tasks?id=eq.{}", id(1)), json!({})).await;
    assert_eq!((answer.status, answer.json().as_array().unwrap().len()), (200, 1));
    assert!(rows(&site, &format!("tasks?select=id&id=eq.{}", id(1))).await.is_empty());
    let key = site.make_token(json!({"scopes": ["producer", "worker"]})).await;
    site.present(Some(&key));
    let answer = write(&site, Method::DELETE, &format!("tasks?id=eq.{}", id(2)), json!({})).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn a_dying_workers_beat_does_not_bring_its_row_back() {
    let site = site().await;
    let body = json!({"id": "gpu-1", "instance_type": "NVIDIA", "status": "inactive", "metadata": {"runpod_id": "p"},
        "created_at": "2026-01-01T00:00:00+00:00"});
    let answer = write(&site, Method::POST, "workers", body).await;
    assert_eq!((answer.status, &answer.json()[0]["status"]), (201, &json!("inactive")));
    let worker = async || {
        let answer = single(&site, "workers?select=*&id=eq.gpu-1").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    write(&site, Method::PATCH, "workers?id=eq.gpu-1", json!({"status": "spawning"})).await;
    let row = worker().await;
    assert_eq!((&row["status"], &row["last_heartbeat"]), (&json!("spawning"), &Value::Null));
    beat(&site, "gpu-1", "active", json!([])).await;
    let row = worker().await;
    assert_eq!((&row["status"], &row["metadata"]["runpod_id"]), (&json!("active"), &json!("p")));
    assert_eq!(row["metadata"]["vram_total_mb"], 24_576);
    assert_eq!(row["created_at"], "2026-01-01T00:00:00+00:00");
    assert!(row["last_heartbeat"].is_string());
    for end in ["terminating", "error", "terminated"] {
        write(
            &site,
            Method::PATCH,
            "workers?id=eq.gpu-1",
            json!({"status": end, "metadata": {"error_reason": "x"}}),
        )
        .await;
        beat(&site, "gpu-1", "active", json!([])).await;
        let row = worker().await;
        assert_eq!((&row["status"], &row["metadata"]["error_reason"]), (&json!(end), &json!("x")));
    }
    create(&site, &id(1), "t", json!({})).await;
    assert!(super::world::claim(&site, "gpu-1").await.is_none(), "it is given nothing more");
    assert!(rows(&site, "workers?select=*&status=neq.terminated").await.is_empty());
    assert_eq!(
        rows(&site, "workers?select=id, status&instance_type=neq.api&order=created_at.desc").await.len(),
        1
    );
}

#[tokio::test]
async fn what_is_written_down_about_a_worker_is_no_sign_of_its_life() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    beat(&site, "gpu-1", "active", json!([])).await;
    claim_this(&site, "gpu-1", &id(1)).await;
    for _ in 0..5 {
        site.clock.advance(Duration::from_secs(20));
        write(&site, Method::PATCH, "workers?id=eq.gpu-1", json!({"metadata": {"orchestrator_status": "x"}}))
            .await;
    }
    reap(&site).await;
    assert_eq!(status(&site, &id(1)).await, "Queued");
}

#[tokio::test]
async fn log_lines_are_read_in_one_time_line() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    let at = "2026-02-02T02:39:00.500000+00:00";
    let lines: Vec<Value> = (0..3)
        .map(|n| json!({"timestamp": at, "level": "INFO", "message": format!("line {n}"), "task_id": id(1), "metadata": {"n": n}}))
        .collect();
    beat(&site, "gpu-1", "active", json!(lines)).await;
    let batch = json!({"logs": [{"timestamp": at, "source_type": "orchestrator_gpu", "source_id": "host", "log_level": "ERROR",
        "message": "Starting orchestrator cycle", "metadata": {}, "cycle_number": 7}]});
    site.post("/rest/v1/rpc/func_insert_logs_batch", &batch).await;
    let found =
        rows(&site, &format!("system_logs?select=*&task_id=eq.{}&order=timestamp.asc&limit=1000", id(1)))
            .await;
    let times: std::collections::BTreeSet<&str> =
        found.iter().map(|row| row["timestamp"].as_str().unwrap()).collect();
    assert_eq!(
        (found.len(), times.len()),
        (3, 3),
        "the debug tool takes lines of one time for the same: {found:?}"
    );
    assert_eq!((&found[0]["message"], &found[0]["metadata"]), (&json!("line 0"), &json!({"n": 0})));
    assert_eq!((&found[0]["source_type"], &found[0]["worker_id"]), (&json!("worker"), &json!("gpu-1")));
    for (query, number) in [
        ("system_logs?select=*&source_type=eq.orchestrator_gpu&order=timestamp.desc&limit=1000", 1),
        ("system_logs?select=*&cycle_number=eq.7", 1),
        ("system_logs?select=*&log_level=eq.ERROR", 1),
        ("system_logs?select=*&source_id=eq.gpu-1", 3),
        ("system_logs?select=*&worker_id=eq.gpu-1&message=ilike.%25LINE%25&message=ilike.%252%25", 1),
        ("system_logs?select=*&timestamp=gte.2026-02-02T02:00:00&timestamp=lte.2026-02-02T02:39:01", 4),
        ("system_logs?select=*&timestamp=gte.2026-02-02T02:40:00", 0),
    ] {
        assert_eq!(rows(&site, query).await.len(), number, "{query}");
    }
}

#[tokio::test]
async fn lines_about_a_worker_and_lines_of_a_kind_are_found_behind_those_of_others() {
    let site = site().await;
    let at = "2026-02-02T02:39:00.500000+00:00";
    let batch = json!({"logs": [
        {"timestamp": at, "source_type": "orchestrator_gpu", "source_id": "host", "log_level": "INFO", "message": "a cycle"},
        {"timestamp": at, "source_type": "orchestrator_gpu", "source_id": "host", "log_level": "INFO", "message": "it was spawned",
            "worker_id": "gpu-1"},
    ]});
    site.post("/rest/v1/rpc/func_insert_logs_batch", &batch).await;
    beat(&site, "gpu-1", "active", json!([{"timestamp": at, "level": "INFO", "message": "it is ready"}])).await;
    // More of another worker than are looked through.
    let many: Vec<Value> = (0..500).map(|n| json!({"level": "INFO", "message": format!("step {n}")})).collect();
    for _ in 0..21 {
        site.clock.advance(Duration::from_secs(20));
        beat(&site, "gpu-2", "active", json!(many)).await;
    }
    let found = rows(&site, "system_logs?select=*&worker_id=eq.gpu-1&order=timestamp").await;
    let told: std::collections::BTreeMap<&str, &str> =
        found.iter().map(|row| (row["timestamp"].as_str().unwrap(), row["message"].as_str().unwrap())).collect();
    let messages: Vec<&str> = told.into_values().collect();
    assert_eq!(messages, ["it is ready", "it was spawned"], "no two of one time: {found:?}");
    for (query, number) in [
        ("source_type=eq.orchestrator_gpu", 2),
        ("source_id=eq.host&worker_id=eq.gpu-1", 1),
        ("worker_id=eq.gpu-1&source_type=eq.worker", 1),
        ("worker_id=eq.gpu-1&source_type=eq.orchestrator_gpu", 1),
        ("worker_id=eq.host", 0),
    ] {
        assert_eq!(rows(&site, &format!("system_logs?select=*&{query}")).await.len(), number, "{query}");
    }
}

#[tokio::test]
async fn generations_and_views_are_read() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    create(&site, &id(2), "travel_orchestrator", json!({})).await;
    beat(&site, "gpu-1", "active", json!([])).await;
    for number in 1..3 {
        claim_this(&site, "gpu-1", &id(number)).await;
        called(&site, "complete_task", json!({"task_id": id(number), "output_location": "https://x/a.png"}))
            .await;
    }
    let found = rows(&site, "generations?select=*").await;
    assert_eq!(found.len(), 1, "an orchestrator's is none of the platform's");
    assert_eq!((&found[0]["tasks"], &found[0]["location"]), (&json!([id(1)]), &json!("https://x/a.png")));
    let health = rows(&site, "active_workers_health?select=*").await;
    assert_eq!((&health[0]["id"], &health[0]["health_status"]), (&json!("gpu-1"), &json!("healthy")));
    assert_eq!(rows(&site, "orchestrator_status?select=*").await[0]["active_workers"], 1);
    assert!(rows(&site, "pause_scaling?select=until&pool=eq.main").await.is_empty());
}

#[tokio::test]
async fn a_task_whose_worker_lives_is_neither_stale_nor_put_back_by_others() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    beat(&site, "w1", "active", json!([])).await;
    claim_this(&site, "w1", &id(1)).await;
    for _ in 0..93 {
        site.clock.advance(Duration::from_secs(20));
        beat(&site, "w1", "active", json!([])).await;
    }
    let row = rows(&site, &format!("tasks?select=updated_at&id=eq.{}", id(1))).await.remove(0);
    let worker = rows(&site, "workers?select=last_heartbeat&id=eq.w1").await.remove(0);
    assert_eq!(row["updated_at"], worker["last_heartbeat"]);
    let reset = json!({"status": "Queued", "worker_id": null, "generation_started_at": null, "error_message": "stuck"});
    let one = format!("tasks?id=eq.{}", id(1));
    let mut counted = reset.clone();
    counted["attempts"] = json!(1);
    for reset in [&reset, &counted] {
        let answer = write(&site, Method::PATCH, &one, reset.clone()).await;
        assert_eq!((answer.status, answer.json()), (200, json!([])), "none was changed: {reset}");
    }
    assert_eq!(status(&site, &id(1)).await, "In Progress");
    // An orchestrator that has given the worker up puts back what it held.
    write(&site, Method::PATCH, "workers?id=eq.w1", json!({"status": "error"})).await;
    assert_eq!(write(&site, Method::PATCH, &one, reset).await.status, 200);
    assert_eq!(status(&site, &id(1)).await, "Queued");
    // The worker may not know of it: what it says then without its attempt does not end the task.
    beat(&site, "w2", "active", json!([])).await;
    claim_this(&site, "w2", &id(1)).await;
    let late = json!({"task_id": id(1), "status": "Failed", "output_location": "late"});
    assert_eq!(called(&site, "update-task-status", late).await["status"], "Queued");
    // A worker puts back its own attempt at any time.
    claim_this(&site, "w2", &id(1)).await;
    let own = json!({"status": "Queued", "worker_id": null, "attempts": 3, "error_details": "a mishap", "generation_started_at": null});
    assert_eq!(write(&site, Method::PATCH, &one, own).await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_task_of_the_orchestrator_of_services_is_not_put_back_while_its_lease_runs() {
    let site = site().await;
    create(&site, &id(1), "image_edit", json!({})).await;
    claim_as(&site, "api-worker-main", "api").await.unwrap();
    let beat = async || {
        let now = site.clock.now().to_string();
        let body = json!({"id": "api-worker-main", "instance_type": "api", "status": "active", "last_heartbeat": now,
            "metadata": {"type": "api_orchestrator"}});
        write(&site, Method::POST, "workers?on_conflict=id", body).await.json()[0]["last_heartbeat"].clone()
    };
    let stale = "tasks?worker_id=like.api-worker-%25&status=eq.In+Progress&generation_started_at=lt.2100-01-01T00:00:00";
    let reset = json!({"status": "Queued", "worker_id": null, "generation_started_at": null,
        "generation_processed_at": null, "error_message": "stuck", "attempts": 1});
    let resets = async || {
        let answer = write(&site, Method::PATCH, stale, reset.clone()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json().as_array().unwrap().len()
    };
    site.clock.advance(Duration::from_secs(360));
    let told = beat().await;
    let row = rows(&site, &format!("tasks?select=updated_at&id=eq.{}", id(1))).await.remove(0);
    assert_eq!(row["updated_at"].as_str().unwrap()[..23], told.as_str().unwrap()[..23], "its worker has touched it");
    assert_eq!(resets().await, 0);
    assert_eq!(status(&site, &id(1)).await, "In Progress");
    // Once the worker is given up, what it held is put back.
    write(&site, Method::PATCH, "workers?id=eq.api-worker-main", json!({"status": "error"})).await;
    assert_eq!(resets().await, 1);
    let row = rows(&site, &format!("tasks?select=status,attempts&id=eq.{}", id(1))).await.remove(0);
    assert_eq!(row, json!({"status": "Queued", "attempts": 1}));
}

#[tokio::test]
async fn a_word_that_a_task_runs_touches_it() {
    let site = site().await;
    create(&site, &id(1), "travel_orchestrator", json!({})).await;
    claim_this(&site, "api-worker-main", &id(1)).await;
    site.clock.advance(Duration::from_secs(10));
    called(&site, "update-task-status", json!({"task_id": id(1), "status": "In Progress"})).await;
    let row = rows(&site, &format!("tasks?select=created_at,updated_at,generation_started_at&id=eq.{}", id(1))).await.remove(0);
    assert_eq!(row["updated_at"], row["generation_started_at"], "its time begins anew");
    assert!(row["updated_at"].as_str() > row["created_at"].as_str(), "{row}");
    site.clock.advance(Duration::from_secs(10));
    let anew = json!({"task_id": id(1), "status": "In Progress", "reset_generation_started_at": true});
    called(&site, "update-task-status", anew).await;
    let later = rows(&site, &format!("tasks?select=generation_started_at&id=eq.{}", id(1))).await.remove(0);
    assert!(later["generation_started_at"].as_str() > row["generation_started_at"].as_str(), "{later}");
}

#[tokio::test]
async fn what_a_task_that_runs_is_said_to_have_found_goes_with_its_record() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    claim_this(&site, "w1", &id(1)).await;
    let one = format!("tasks?id=eq.{}", id(1));
    let found = json!({"result_data": {"seconds": 12}});
    let answer = write(&site, Method::PATCH, &one, found.clone()).await;
    assert_eq!((answer.status, &answer.json()[0]["result_data"]), (200, &found["result_data"]), "{answer:?}");
    called(&site, "complete_task", json!({"task_id": id(1), "output_location": "https://x/a.png"})).await;
    let row = rows(&site, &format!("tasks?select=status,result_data&id=eq.{}", id(1))).await.remove(0);
    assert_eq!(row, json!({"status": "Complete", "result_data": {"seconds": 12}}));
    // What stands may be said again, and nothing else.
    assert_eq!(write(&site, Method::PATCH, &one, found).await.status, 200);
    assert_eq!(write(&site, Method::PATCH, &one, json!({"result_data": {"seconds": 13}})).await.status, 400);
}

#[tokio::test]
async fn an_answer_has_so_many_bytes_and_tells_how_many_rows_there_are() {
    let site = site().await;
    let text = "x".repeat(240 * 1_024);
    for number in 0..72 {
        create(&site, &id(number), "t", json!({"text": text, "n": number})).await;
        site.clock.advance(Duration::from_secs(1));
    }
    let counted = async |query: &str| {
        let request = site.request(Method::GET, site.url(&format!("/rest/v1/{query}")));
        let answer = site.send(request.header("prefer", "count=exact")).await;
        (answer.text.len(), answer.json(), answer.headers["content-range"].to_str().unwrap().to_owned())
    };
    for (order, first) in [("", 71), ("&order=created_at.desc", 71), ("&order=created_at.asc", 0)] {
        let (bytes, rows, range) = counted(&format!("tasks?select=*{order}")).await;
        assert!((15 << 20..17 << 20).contains(&bytes), "{order}: {bytes}");
        assert_eq!(rows[0]["params"]["n"], first, "{order}");
        assert!(range.ends_with("/72"), "{range}");
    }
    let (bytes, rows, range) = counted("tasks?select=status").await;
    assert_eq!((rows.as_array().unwrap().len(), range.as_str()), (72, "0-71/72"));
    assert!(bytes < 4_096);
    let (_, rows, _) = counted("tasks?select=id&params=cs.{\"n\":3}").await;
    assert_eq!(rows, json!([{"id": id(3)}]));
}

#[tokio::test]
async fn a_task_is_known_by_its_clients_name_and_by_its_id() {
    let site = site().await;
    create(&site, "segment-1", "t", json!({})).await;
    let body = json!({"task_id": "segment-2", "task_type": "t", "params": {}, "project_id": PROJECT, "dependant_on": ["segment-1"]});
    called(&site, "create-task", body).await;
    let found = single(&site, "tasks?select=dependant_on&id=eq.segment-2").await;
    assert_eq!(found.json(), json!({"dependant_on": "segment-1"}), "the value is taken for one id");
    let listed = rows(&site, "tasks?select=dependant_on&id=eq.segment-2").await;
    assert_eq!(listed, [json!({"dependant_on": ["segment-1"]})]);
    let told = called(&site, "get-task-output", json!({"task_id": "segment-2"})).await;
    assert_eq!(told["dependant_on"], json!(["segment-1"]));
    let own = site.own_get("/v1/tasks?limit=10").await;
    for task in own["items"].as_array().unwrap() {
        let uuid = task["id"].as_str().unwrap();
        for filter in [format!("id=eq.{uuid}"), format!("id=in.({uuid},{})", task["description"].as_str().unwrap())] {
            let found = rows(&site, &format!("tasks?select=id&{filter}")).await;
            assert_eq!(found, [json!({"id": task["description"]})], "{filter}");
        }
        let others = rows(&site, &format!("tasks?select=id&id=neq.{uuid}")).await;
        assert_eq!(others.len(), 1, "{others:?}");
    }
}

#[tokio::test]
async fn an_api_orchestrator_writes_its_row_again_and_again() {
    let site = site().await;
    let query = "workers?on_conflict=id";
    for beat in ["2026-02-02T02:40:00+00:00", "2026-02-02T02:40:30+00:00"] {
        let body = json!({"id": "api-worker-main", "instance_type": "api", "status": "active", "last_heartbeat": beat,
            "metadata": {"type": "api_orchestrator"}, "created_at": "2026-01-01T00:00:00+00:00"});
        let request = site.request(Method::POST, site.url(&format!("/rest/v1/{query}"))).json(&body);
        let answer =
            site.send(request.header("prefer", "return=representation,resolution=merge-duplicates")).await;
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        let row = answer.json()[0].clone();
        assert_eq!((&row["id"], &row["instance_type"]), (&json!("api-worker-main"), &json!("api")), "{row}");
        assert_eq!((&row["status"], &row["metadata"]["type"]), (&json!("active"), &json!("api_orchestrator")));
    }
    assert_eq!(rows(&site, "workers?select=*").await.len(), 1);
    assert!(rows(&site, "workers?select=*&instance_type=neq.api").await.is_empty());
}

#[tokio::test]
async fn workers_are_told_apart_by_names_and_by_having_none() {
    let site = site().await;
    for number in 1..4 {
        create(&site, &id(number), "t", json!({})).await;
        site.clock.advance(Duration::from_secs(1));
    }
    claim_this(&site, "api-worker-main", &id(1)).await;
    claim_this(&site, "gpu-1", &id(2)).await;
    for (filter, ids) in [
        ("worker_id=not.is.null", vec![id(1), id(2)]),
        ("worker_id=not.like.api-worker-%25", vec![id(2)]),
        ("worker_id=in.(gpu-1,gpu-2)", vec![id(2)]),
        ("worker_id=is.null", vec![id(3)]),
    ] {
        let query = format!("tasks?select=id&order=created_at.asc&{filter}");
        let found: Vec<String> =
            rows(&site, &query).await.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(found, ids, "{filter}");
    }
}
