//! Each route of tasks with its fields and codes.

use serde_json::{Value, json};

use crate::{fail, show, site, state, submit, task};

#[tokio::test]
async fn a_task_is_submitted_and_answered_as_the_helper_reads_it() {
    let site = site(&[]).await;
    let mut asked = task("agent-task-1753610400-0a1b2c3d");
    asked["acceptance"] = json!({"tests": ["pytest"], "criteria": {"x": 1}});
    asked["provider_override"] = json!("claude");
    asked["model"] = json!("opus");
    let told = submit(&site, &asked).await.json();
    assert_eq!(told["task_id"], asked["id"]);
    assert_eq!(told["job_id"].as_str().unwrap().len(), 36);
    assert_eq!((&told["selected_provider"], &told["selected_model"]), (&json!("claude"), &json!("opus")));
    assert_eq!(told["full_access"], true);

    let one = show(&site, "agent-task-1753610400-0a1b2c3d").await;
    for (field, value) in [
        ("id", json!("agent-task-1753610400-0a1b2c3d")),
        ("role", json!("generic")),
        ("branch", json!("auto/generic/agent-task-1753610400-0a1b2c3d")),
        ("state", json!("queued")),
        ("status", json!("queued")),
        ("last_error", json!(null)),
        ("error", json!(null)),
        ("provider", json!("claude")),
        ("model", json!("opus")),
        ("title", asked["title"].clone()),
        ("description", asked["description"].clone()),
        ("progress", json!(0)),
    ] {
        assert_eq!(one[field], value, "{field}: {one}");
    }
    // A worker is given all of it.
    let given = site.claim("autodev").await.unwrap();
    assert_eq!((&given["id"], &given["type"]), (&told["job_id"], &json!("generic")));
    assert_eq!(given["params"]["acceptance"], asked["acceptance"]);
    assert_eq!(given["params"]["provider"], "claude");
    assert_eq!(given["params"]["branch"], one["branch"]);
}

#[tokio::test]
async fn what_is_left_out_has_its_default() {
    let site = site(&[]).await;
    let told = submit(&site, &json!({"id": "a", "title": "t", "description": "d", "role": "fund_manager"}))
        .await
        .json();
    assert_eq!((&told["full_access"], &told["selected_model"]), (&json!(false), &json!(null)));
    assert!(told["selected_provider"].is_string(), "{told}");
    let params = site.claim("autodev").await.unwrap()["params"].clone();
    assert_eq!((&params["target_dir"], &params["acceptance"]), (&json!("."), &json!({})));
    assert_eq!((&params["repository_url"], &params["base_branch"]), (&json!(null), &json!(null)));
}

#[tokio::test]
async fn an_id_is_any_text_and_of_one_task() {
    let site = site(&[]).await;
    for (id, path) in [
        ("agent-task-1-ff", "agent-task-1-ff"),
        ("a b/c?", "a%20b%2Fc%3F"),
        ("äöü ☂", "%C3%A4%C3%B6%C3%BC%20%E2%98%82"),
        ("01980a6e-5b7c-7cc3-98c4-dc0c0c07398f", "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"),
        ("status", "status"),
    ] {
        let told = submit(&site, &task(id)).await.json();
        assert_eq!(told["task_id"], id);
        assert_eq!(show(&site, path).await["id"], id);
        for route in ["history", "outputs", "full"] {
            assert_eq!(site.get(&format!("/api/tasks/{route}/{path}")).await.status, 200, "{route} {id}");
        }
        let again = site.post(&format!("/api/tasks/{path}/recover"), &json!({})).await;
        assert_eq!((again.status, &again.json()["restored_state"]), (200, &json!("queued")));
        // Its id in Baton leads to it, too.
        assert_eq!(show(&site, told["job_id"].as_str().unwrap()).await["id"], id);
    }
    assert_eq!(site.get("/tasks").await.json().as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn the_same_id_again_makes_no_second_task() {
    let site = site(&[]).await;
    let first = submit(&site, &task("twice")).await.json();
    // An answer that was lost is asked for again.
    assert_eq!(submit(&site, &task("twice")).await.json(), first);
    let mut other = task("twice");
    other["title"] = json!("something else");
    let answer = site.post("/tasks", &other).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.json()["detail"].as_str().unwrap().contains("twice"));
    assert_eq!(site.get("/tasks").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_does_not_fit_is_told_as_fastapi_does() {
    let site = site(&[]).await;
    for field in ["id", "title", "description", "role"] {
        let mut asked = task("a");
        asked.as_object_mut().unwrap().remove(field);
        for (value, kind) in
            [(None, "missing"), (Some(json!(null)), "string_type"), (Some(json!(7)), "string_type")]
        {
            if let Some(value) = value {
                asked[field] = value;
            }
            let answer = site.post("/tasks", &asked).await;
            assert_eq!(answer.status, 422, "{field}: {answer:?}");
            let detail = answer.json()["detail"].clone();
            assert_eq!(detail.as_array().unwrap().len(), 1, "{detail}");
            assert_eq!((&detail[0]["loc"], &detail[0]["type"]), (&json!(["body", field]), &json!(kind)));
            assert!(detail[0]["msg"].is_string() && detail[0].get("input").is_some());
        }
    }
    for text in ["", "{", "[]"] {
        let request = site.request(reqwest::Method::POST, site.url("/tasks")).body(text);
        assert_eq!(site.send(request).await.status, 422, "{text:?}");
    }
    assert_eq!(site.get("/tasks").await.json(), json!([]));
}

#[tokio::test]
async fn what_is_not_there_is_told_with_404_and_not_with_500() {
    let site = site(&[]).await;
    let no_task = json!({"detail": "Task not found"});
    for path in
        ["/tasks/x", "/api/tasks/history/x", "/api/tasks/outputs/x", "/api/tasks/full/x", "/tasks/%FF"]
    {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.json()), (404, no_task.clone()), "{path}");
    }
    for path in ["/api/tasks/outputs/x", "/api/tasks/x/recover"] {
        let answer = site.post(path, &json!({"content": "c"})).await;
        assert_eq!((answer.status, answer.json()), (404, no_task.clone()), "{path}");
    }
    for path in ["/api/cli/sessions", "/nowhere", "/"] {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.json()), (404, json!({"detail": "Not Found"})), "{path}");
    }
    let answer = site.post("/api/metrics", &json!({})).await;
    assert_eq!((answer.status, answer.json()), (405, json!({"detail": "Method Not Allowed"})));
    // A task of another queue is none of this system's.
    let other = site.own_post("/v1/tasks", &json!({"type": "t"})).await;
    assert_eq!(site.get(&format!("/tasks/{}", other["id"].as_str().unwrap())).await.status, 404);
}

#[tokio::test]
async fn each_of_the_ten_states_is_told_by_the_same_word_everywhere() {
    let site = site(&[("reaper.interval_seconds", "0.05")]).await;
    for (id, error, word) in [
        ("failed", json!({"message": "tests are red"}), "failed"),
        ("error", json!({"message": "no repository", "code": "error"}), "error"),
        ("timeout", json!({"message": "it took too long", "code": "timeout"}), "timeout"),
    ] {
        submit(&site, &task(id)).await;
        fail(&site, error.clone(), false).await;
        assert_eq!(state(&site, id).await, word);
        let one = show(&site, id).await;
        assert_eq!((&one["last_error"], &one["error"]), (&error["message"], &error["message"]));
    }
    submit(&site, &task("passed")).await;
    site.work("autodev", &json!({"commit_hash": "abc123"})).await;
    assert_eq!(state(&site, "passed").await, "passed");
    assert_eq!(show(&site, "passed").await["progress"], 100);

    let cancelled = submit(&site, &task("cancelled")).await.json();
    let path = format!("/v1/tasks/{}/cancel", cancelled["job_id"].as_str().unwrap());
    site.own_post(&path, &json!({})).await;
    assert_eq!(state(&site, "cancelled").await, "cancelled");

    submit(&site, &task("runs")).await;
    assert_eq!(state(&site, "runs").await, "queued");
    let given = site.claim("autodev").await.unwrap();
    assert_eq!(state(&site, "runs").await, "running");
    for (message, word) in [
        ("starting", "starting"),
        ("compiling", "running"),
        ("paused", "paused"),
        ("completing", "completing"),
    ] {
        let running = json!([{"task_id": given["id"], "attempt": 1, "message": message, "progress": 0.25}]);
        site.own_post("/v1/workers/w1/heartbeat", &json!({"running": running})).await;
        assert_eq!(state(&site, "runs").await, word);
        assert_eq!(show(&site, "runs").await["progress"], 25);
    }
    // Each may be asked for by its word, and the counts are by the same words.
    let counts = site.get("/api/persistence/stats").await.json();
    for (word, tasks) in
        [("passed", 1), ("failed", 1), ("error", 1), ("timeout", 1), ("cancelled", 1), ("completing", 1)]
    {
        let listed = site.get(&format!("/api/tasks/persistent?states={word}")).await.json();
        assert_eq!(listed["total_results"], tasks, "{word}: {listed}");
        assert_eq!(counts["tasks_by_state"][word], tasks, "{word}: {counts}");
    }
    assert_eq!(counts["tasks_by_state"].as_object().unwrap().len(), 10);
    assert_eq!(counts["total_tasks"], 6);
}

#[tokio::test]
async fn the_history_goes_from_state_to_state_and_begins_with_queued() {
    let site = site(&[("dialects.orchestrator.max_attempts", "2")]).await;
    submit(&site, &task("a")).await;
    fail(&site, json!({"message": "once"}), true).await;
    site.clock.advance(std::time::Duration::from_secs(600));
    site.work("autodev", &json!({})).await;
    let told = site.get("/api/tasks/history/a").await.json();
    assert_eq!((&told["task_id"], &told["total_entries"]), (&json!("a"), &json!(5)));
    let history = told["history"].as_array().unwrap();
    let steps: Vec<_> =
        history.iter().map(|entry| (entry["state_from"].clone(), entry["state_to"].clone())).collect();
    let step = |from: Option<&str>, to: &str| (json!(from), json!(to));
    assert_eq!(
        steps,
        [
            step(None, "queued"),
            step(Some("queued"), "running"),
            step(Some("running"), "queued"),
            step(Some("queued"), "running"),
            step(Some("running"), "passed"),
        ]
    );
    assert_eq!(history[2]["error_message"], "once");
    let stamps: Vec<&str> = history.iter().map(|entry| entry["timestamp"].as_str().unwrap()).collect();
    assert!(stamps.is_sorted() && stamps.iter().all(|stamp| stamp.ends_with("+00:00")), "{stamps:?}");
    for entry in history {
        for field in ["id", "timestamp", "provider", "model", "error_message", "details", "user_id"] {
            assert!(entry.get(field).is_some(), "{field}: {entry}");
        }
    }
    // The whole of it in one answer.
    let full = site.get("/api/tasks/full/a").await.json();
    assert_eq!((&full["history"], &full["state"]), (&told["history"], &json!("passed")));
    assert_eq!(full["why"]["waits"], false);
    let listed = site.get("/api/tasks/full").await.json()["tasks"][0].clone();
    assert_eq!((&listed["history"], &listed["total_entries"]), (&told["history"], &json!(5)));
}

#[tokio::test]
async fn the_persistent_list_is_filtered_and_paged() {
    let site = site(&[]).await;
    for n in 0..12 {
        let mut asked = task(&format!("t{n:02}"));
        asked["role"] = json!(if n % 2 == 0 { "backend" } else { "data analyst" });
        asked["provider_override"] = json!(if n < 4 { "claude" } else { "codex" });
        if n == 7 {
            asked["description"] = json!("Mend the GREEN button");
        }
        submit(&site, &asked).await;
    }
    // First in, first out.
    assert_eq!(site.claim("autodev").await.unwrap()["params"]["id"], "t00");
    let ids = async |query: &str| -> (Vec<String>, u64) {
        let told = site.get(&format!("/api/tasks/persistent{query}")).await.json();
        let tasks = told["tasks"].as_array().unwrap();
        let ids = tasks.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect();
        (ids, told["total_results"].as_u64().unwrap())
    };
    assert_eq!(ids("").await.1, 12);
    assert_eq!(ids("?states=running").await, (vec!["t00".to_owned()], 1));
    assert_eq!(ids("?states=queued,running").await.1, 12);
    assert_eq!(ids("?roles=backend").await.1, 6);
    assert_eq!(ids("?roles=backend,data%20analyst").await.1, 12);
    assert_eq!(ids("?providers=claude").await.1, 4);
    assert_eq!(ids("?providers=claude&roles=backend&states=queued").await, (vec!["t02".to_owned()], 1));
    assert_eq!(ids("?search=green").await, (vec!["t07".to_owned()], 1));
    assert_eq!(ids("?limit=2&offset=3").await, (vec!["t08".to_owned(), "t07".to_owned()], 12));
    assert_eq!(ids("?offset=50").await, (vec![], 12));
    assert_eq!(ids("?states=&search=").await.1, 12);

    let told = site.get("/api/tasks/persistent?limit=1").await.json();
    for field in [
        "id",
        "title",
        "description",
        "role",
        "state",
        "created_at",
        "updated_at",
        "started_at",
        "completed_at",
        "provider",
        "model",
        "branch",
        "commit_hash",
        "last_error",
        "error_count",
        "full_access",
        "target_dir",
    ] {
        assert!(told["tasks"][0].get(field).is_some(), "{field}: {told}");
    }
    assert_eq!(told["filter_applied"]["limit"], 1);
    let answer = site.get("/api/tasks/persistent?states=completed").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.json()["detail"].as_str().unwrap().contains("passed"));
    let answer = site.get("/api/tasks/persistent?limit=many").await;
    assert_eq!((answer.status, &answer.json()["detail"][0]["loc"]), (422, &json!(["query", "limit"])));
}

#[tokio::test]
async fn a_finished_row_tells_of_its_run() {
    let site = site(&[]).await;
    submit(&site, &task("a")).await;
    let row = async || site.get("/api/tasks/persistent").await.json()["tasks"][0].clone();
    let waiting = row().await;
    assert_eq!((&waiting["started_at"], &waiting["completed_at"]), (&Value::Null, &Value::Null));
    site.clock.advance(std::time::Duration::from_secs(5));
    site.work("autodev", &json!({"commit_hash": "abc123"})).await;
    let row = row().await;
    assert_eq!((&row["commit_hash"], &row["error_count"]), (&json!("abc123"), &json!(0)));
    assert!(row["started_at"].as_str().unwrap() > row["created_at"].as_str().unwrap(), "{row}");
    assert!(row["completed_at"].is_string());
}

#[tokio::test]
async fn outputs_are_typed_and_appended() {
    let site = site(&[]).await;
    submit(&site, &task("a")).await;
    let empty = site.get("/api/tasks/outputs/a").await.json();
    assert_eq!(empty, json!({"task_id": "a", "outputs": [], "total_outputs": 0}));
    for kind in ["stdout", "stderr", "log", "artifact", "commit", "diagnostic"] {
        let body = json!({
            "output_type": kind, "content": format!("of {kind}"), "file_path": "a/b.txt", "commit_hash": "abc", "branch": "b",
        });
        let answer = site.post("/api/tasks/outputs/a", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["task_id"], "a");
        assert!(answer.json()["message"].is_string());
    }
    // The same words twice are two outputs; without a type it is a log.
    for _ in 0..2 {
        assert_eq!(site.post("/api/tasks/outputs/a", &json!({"content": "again"})).await.status, 200);
    }
    let told = site.get("/api/tasks/outputs/a").await.json();
    assert_eq!(told["total_outputs"], 8);
    let outputs = told["outputs"].as_array().unwrap();
    let kinds: Vec<&str> = outputs.iter().map(|output| output["output_type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["stdout", "stderr", "log", "artifact", "commit", "diagnostic", "log", "log"]);
    assert_eq!((&outputs[4]["content"], &outputs[4]["commit_hash"]), (&json!("of commit"), &json!("abc")));
    for field in ["id", "timestamp", "file_path", "file_size", "mime_type", "branch"] {
        assert!(outputs[0].get(field).is_some(), "{field}");
    }
    let answer = site.post("/api/tasks/outputs/a", &json!({"output_type": "film", "content": "x"})).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let answer = site.post("/api/tasks/outputs/a", &json!({"output_type": "log"})).await;
    assert_eq!((answer.status, &answer.json()["detail"][0]["loc"]), (422, &json!(["body", "content"])));
    // No worker is ever given an output, and none is a task.
    assert!(site.claim("autodev-records").await.is_none());
    assert_eq!(site.get("/tasks").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_worker_ships_and_hands_over_is_among_the_outputs() {
    let site = site(&[]).await;
    submit(&site, &task("a")).await;
    let given = site.claim("autodev").await.unwrap();
    let lines = json!([{"message": "hello", "source": "stdout", "level": "info", "task_id": given["id"]}]);
    let running = json!([{"task_id": given["id"], "attempt": 1}]);
    site.own_post("/v1/workers/w1/heartbeat", &json!({"running": running, "logs": lines})).await;
    site.clock.advance(std::time::Duration::from_secs(1));
    let body =
        json!({"worker_id": "w1", "attempt": 1, "result": {"commit_hash": "abc"}, "location": "s3://b/k"});
    site.own_post(&format!("/v1/tasks/{}/complete", given["id"].as_str().unwrap()), &body).await;
    let outputs = site.get("/api/tasks/outputs/a").await.json()["outputs"].clone();
    assert_eq!((&outputs[0]["output_type"], &outputs[0]["content"]), (&json!("stdout"), &json!("hello")));
    assert_eq!((&outputs[1]["output_type"], &outputs[1]["commit_hash"]), (&json!("artifact"), &json!("abc")));
    assert_eq!(outputs[1]["file_path"], "s3://b/k");
}

#[tokio::test]
async fn one_task_is_recovered() {
    let site = site(&[]).await;
    submit(&site, &task("a")).await;
    fail(&site, json!({"message": "red"}), false).await;
    let told = site.post("/api/tasks/a/recover", &json!({})).await.json();
    assert_eq!((&told["task_id"], &told["restored_state"]), (&json!("a"), &json!("queued")));
    assert!(told["message"].is_string());
    site.work("autodev", &json!({})).await;
    // What has passed stays so.
    let told = site.post("/api/tasks/a/recover", &json!({})).await;
    assert_eq!((told.status, &told.json()["restored_state"]), (200, &json!("passed")));
    assert_eq!(state(&site, "a").await, "passed");
}

#[tokio::test]
async fn answers_have_a_bound_in_bytes_and_say_that_there_is_more() {
    let site = site(&[]).await;
    let large = "x".repeat(1_000_000);
    for number in 0..20 {
        submit(&site, &task(&number.to_string())).await;
        site.work("autodev", &json!({"text": large})).await;
    }
    for list in ["persistent", "full"] {
        let told = site.get(&format!("/api/tasks/{list}?limit=1000")).await.json();
        let many = told["tasks"].as_array().unwrap().len();
        assert!((16..20).contains(&many) && told["more"] == true, "{list}: {many}, {}", told["more"]);
        assert_eq!(told["total_results"], 20);
        let rest = site.get(&format!("/api/tasks/{list}?limit=1000&offset={many}")).await.json();
        assert_eq!((rest["tasks"].as_array().unwrap().len(), &rest["more"]), (20 - many, &json!(false)));
    }
    let text = "x".repeat(200_000);
    for number in 0..150 {
        let output = json!({"output_type": "log", "content": format!("{number} {text}")});
        site.clock.advance(std::time::Duration::from_millis(1));
        assert_eq!(site.post("/api/tasks/outputs/0", &output).await.status, 200);
    }
    let told = site.get("/api/tasks/outputs/0").await.json();
    let many = told["total_outputs"].as_u64().unwrap();
    assert!(many < 150 && told["more"] == true, "{many}");
    let last = &told["outputs"][usize::try_from(many).unwrap() - 1]["content"];
    assert!(last.as_str().unwrap().starts_with("149 "), "the newest are told");
}

#[tokio::test]
async fn a_slash_too_many_leads_to_the_route() {
    let site = site(&[]).await;
    let answer = site.without_following(reqwest::Method::POST, "/tasks/", Some(&task("a"))).await;
    assert_eq!((answer.status, answer.text.as_str()), (307, ""));
    assert_eq!(answer.headers["location"], "/tasks");
    assert_eq!(site.get("/tasks").await.json(), json!([]), "it was not done");
    assert_eq!(site.post("/tasks/", &task("a")).await.json()["task_id"], "a");
    assert_eq!(site.get("/tasks/a/").await.json()["id"], "a");
    let answer = site
        .without_following(reqwest::Method::GET, "/api/tasks/persistent/?states=queued&limit=1", None)
        .await;
    assert_eq!(answer.headers["location"], "/api/tasks/persistent?states=queued&limit=1");
    for path in ["/nowhere/", "/tasks//history"] {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.json()), (404, json!({"detail": "Not Found"})), "{path}");
    }
}
