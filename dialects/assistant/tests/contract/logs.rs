//! The three log files, as the old server's viewers read them.

use std::fs;

use baton_tests::site::Site;
use serde_json::{Value, json};

use crate::{create, site};

fn read(site: &Site, name: &str) -> String {
    fs::read_to_string(site.dir().join("logs").join(name)).unwrap()
}

fn lines(site: &Site) -> Vec<Value> {
    read(site, "heartbeat_detailed.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_request_is_told_byte_for_byte_in_the_old_form() {
    let site = site(&[]).await;
    let body = json!({"task": [{"action": "reflect"}], "assigned_by": "ray"});
    site.post("/task", &body).await;
    let text = read(&site, "heartbeat_detailed.jsonl");
    let requested = text.lines().find(|line| line.contains("task_requested")).unwrap();
    let (before, rest) = requested.split_once("\"request_id\": \"").unwrap();
    assert_eq!(
        before,
        "{\"timestamp\": \"2026-02-02T02:40:00.123000+00:00\", \"event_type\": \"task_requested\", "
    );
    let (id, rest) = rest.split_once('"').unwrap();
    assert!(id.len() == 8 && id.bytes().all(|c| c.is_ascii_hexdigit()), "{id}");
    assert_eq!(
        rest,
        ", \"action\": \"task_batch\", \"data\": {\"task_count\": 1, \"task_data\": [{\"action\": \"reflect\"}], \
         \"assigned_by\": \"ray\", \"endpoint\": \"/task\"}, \"metadata\": {}}"
    );
    let people = read(&site, "heartbeat_events.log");
    let line = people.lines().find(|line| line.contains("TASK_REQUESTED")).unwrap();
    assert_eq!(
        line,
        format!("[2026-02-02T02:40:00.123000+00:00] TASK_REQUESTED | ID: {id} | Action: task_batch")
    );
    assert!(people.lines().any(|line| line.ends_with(" | Status: 200")), "{people}");
}

#[tokio::test]
async fn each_line_has_what_viewers_read() {
    let site = site(&[]).await;
    let id = create(&site, json!({"action": "reflect", "question": "où?"})).await;
    site.get("/task/list").await;
    site.get("/heartbeat").await;
    site.post("/heartbeat", &json!({"action": "reflect", "question": "what\nnow"})).await;
    site.post("/tasks/reflect", &json!({"task_id": id, "reflection": "so"})).await;
    let lines = lines(&site);
    let kinds: Vec<&str> = lines.iter().map(|line| line["event_type"].as_str().unwrap()).collect();
    for kind in [
        "incoming_get",
        "incoming_post",
        "outgoing_response",
        "task_requested",
        "task_created",
        "task_updated",
        "module_call",
        "module_response",
    ] {
        assert!(kinds.contains(&kind), "{kind} is not in {kinds:?}");
    }
    for line in &lines {
        assert!(line["request_id"].as_str().is_some_and(|id| id.len() == 8), "{line}");
        assert!(line["timestamp"].is_string() && line["action"].is_string(), "{line}");
        assert!(line["data"].is_object() && line["metadata"].is_object(), "{line}");
    }
    let created = lines.iter().find(|line| line["event_type"] == "task_created").unwrap();
    assert_eq!(created["data"]["status"], "success");
    assert!(!created["data"].to_string().contains(&id), "no task ids there");
    let stored = lines.iter().find(|line| line["event_type"] == "module_response").unwrap();
    assert_eq!(
        (&stored["data"]["module"], &stored["data"]["task_ids"]),
        (&json!("task_manager"), &json!([id]))
    );
    let told =
        |line: &&Value| line["event_type"] == "outgoing_response" && line["data"].to_string().contains(&id);
    assert!(lines.iter().any(|line| told(&line)), "the answer has it");
    let text = read(&site, "heartbeat_detailed.jsonl");
    assert!(text.contains("\"question\": \"o\\u00f9?\"") && text.is_ascii());
    assert!(
        read(&site, "heartbeat_events.log").contains(" | Question: what now | Status: redirect_suggested\n")
    );
}

#[tokio::test]
async fn failures_are_told_as_partial_or_failed_and_errors_in_their_own_file() {
    let site = site(&[("limits.params_bytes", "1024")]).await;
    let large = json!({"content": "x".repeat(2_000)});
    site.post("/task", &json!({"task": [{}, large], "assigned_by": "ray"})).await;
    assert_eq!(read(&site, "heartbeat_errors.log"), "", "a task error is no error");
    site.post("/task", &json!({"task": [large], "assigned_by": "ray"})).await;
    let lines = lines(&site);
    let created: Vec<&Value> = lines
        .iter()
        .filter(|line| line["event_type"] == "task_created")
        .map(|line| &line["data"]["status"])
        .collect();
    assert_eq!(created, ["partial", "failed"]);
    let error = lines.iter().find(|line| line["event_type"] == "task_error").unwrap();
    assert!(error["data"]["error"].is_string() && error["data"]["task_count"].is_u64(), "{error}");
    assert_eq!(error["data"]["assigned_by"], "ray");
    site.post("/task", &json!({"task": large, "assigned_by": "ray"})).await;
    let errors = read(&site, "heartbeat_errors.log");
    let expected =
        format!("[2026-02-02T02:40:00.123000+00:00] ERROR: Failed to create task\n{}\n", "=".repeat(80));
    assert_eq!(errors, expected);
}

#[tokio::test]
async fn a_file_that_has_grown_is_begun_anew_and_older_ones_are_kept_to_a_number() {
    let site =
        site(&[("dialects.assistant.log_mebibytes", "1"), ("dialects.assistant.log_files", "2")]).await;
    let large = json!({"action": "a", "content": "x".repeat(200_000)});
    for _ in 0..12 {
        assert_eq!(site.post("/task", &json!({"task": [large], "assigned_by": "ray"})).await.status, 200);
    }
    let names: Vec<String> = fs::read_dir(site.dir().join("logs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("heartbeat_detailed.jsonl"))
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in &names {
        let text = read(&site, name);
        assert!(text.len() <= 1 << 20, "{name}: {}", text.len());
        assert!(
            text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
            "{name} has whole lines"
        );
    }
}

#[tokio::test]
async fn a_task_that_was_executed_at_once_is_told_as_completed() {
    let site = site(&[("dialects.assistant.execute_seconds", "20")]).await;
    let body = json!({"task": {"action": "search"}, "assigned_by": "ray", "execute_immediately": true});
    let worker = async {
        while site.get("/task/list").await.json()["active_tasks_count"] == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        site.work("assistant", &json!({"hits": 3})).await
    };
    let (answer, id) = tokio::join!(site.post("/task", &body), worker);
    assert_eq!(answer.json()["task"]["execution_result"]["executed"], true, "{answer:?}");
    let lines = lines(&site);
    let done = lines.iter().find(|line| line["event_type"] == "task_completed").unwrap();
    assert_eq!((&done["data"]["task_id"], &done["data"]["assigned_by"]), (&json!(id), &json!("ray")));
    assert!(read(&site, "heartbeat_events.log").contains(" TASK_COMPLETED | "));
    // Its worker began and ended while the request waited.
    for (kind, status) in [("processing_start", Value::Null), ("processing_end", json!("completed"))] {
        let told: Vec<&Value> = lines.iter().filter(|line| line["event_type"] == kind).collect();
        assert_eq!(told.len(), 1, "{kind}");
        assert_eq!(
            (&told[0]["data"]["task_id"], &told[0]["data"]["attempt"]),
            (&json!(id), &json!(1)),
            "{kind}"
        );
        assert_eq!(told[0]["data"]["status"], status, "{kind}");
        assert_eq!(told[0]["request_id"], done["request_id"], "{kind}");
    }
}
