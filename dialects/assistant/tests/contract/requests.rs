//! Each route with its fields and codes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{active, create, site};

#[tokio::test]
async fn one_task_is_created_and_answered_as_the_document_says() {
    let site = site(&[]).await;
    for prefix in ["/task", "/tasks"] {
        let task = json!({"action": "reflect", "question": "why?", "free": [1, {"x": 1.50}]});
        let answer = site.post(prefix, &json!({"task": task, "assigned_by": "ray"})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.json();
        assert_eq!((&told["status"], &told["assigned_by"]), (&json!("task_created"), &json!("ray")));
        assert_eq!(told["task"], task);
        assert!(told["message"].is_string(), "{told}");
        assert!(told["timestamp"].as_str().unwrap().ends_with("+00:00"), "{told}");
        let id = told["task_id"].as_str().unwrap();
        // A worker is given the very task.
        let own = site.own_get(&format!("/v1/tasks/{id}")).await;
        assert_eq!((&own["task"]["queue"], &own["task"]["type"]), (&json!("assistant"), &json!("reflect")));
        assert_eq!(own["task"]["params"]["task"], task);
        assert_eq!(own["task"]["assigned_by"], "ray");
    }
    // The document's version takes any object.
    create(&site, json!({})).await;
}

#[tokio::test]
async fn a_list_is_a_batch_with_an_entry_for_each_task() {
    let site = site(&[]).await;
    for prefix in ["/task", "/tasks"] {
        let tasks = json!([{"action": "a"}, {"action": ["b", "c"]}]);
        let told = site.post(prefix, &json!({"task": tasks, "assigned_by": "ray"})).await.json();
        assert_eq!(told["status"], "batch_processed");
        let counts =
            ["total_tasks", "created_count", "failed_count"].map(|name| told[name].as_u64().unwrap());
        assert_eq!(counts, [2, 2, 0]);
        assert_eq!(told["batch_id"].as_str().unwrap().len(), 36);
        assert!(told["failed_tasks"].as_array().unwrap().is_empty() && told.get("task_id").is_none());
        let created = told["created_tasks"].as_array().unwrap();
        for (entry, task) in created.iter().zip(tasks.as_array().unwrap()) {
            assert_eq!(&entry["task"], task);
            assert!(entry["task_id"].is_string() && entry["timestamp"].is_string(), "{entry}");
            assert_eq!((&entry["reflections"], &entry["is_reflection_final"]), (&json!([]), &json!(false)));
        }
        assert_eq!(told["assigned_by"], "ray");
        assert!(told["message"].is_string() && told["timestamp"].is_string());
        let one = site.get(&format!("{prefix}/{}", created[1]["task_id"].as_str().unwrap())).await.json();
        assert_eq!(one["task"]["batch_id"], told["batch_id"]);
    }
    let told = site.post("/tasks", &json!({"task": [], "assigned_by": "ray"})).await;
    assert_eq!((told.status, &told.json()["total_tasks"]), (200, &json!(0)));
}

#[tokio::test]
async fn a_batch_of_more_than_one_command_holds_is_created_whole() {
    let site = site(&[]).await;
    let tasks: Vec<Value> = (0..1_205).map(|n| json!({"action": "count", "n": n})).collect();
    let told = site.post("/tasks", &json!({"task": tasks, "assigned_by": "ray"})).await.json();
    assert_eq!(told["created_count"], 1_205);
    let listed = site.get("/tasks/list").await.json();
    assert_eq!(listed["active_tasks_count"], 1_205);
    assert_eq!(listed["active_tasks"].as_array().unwrap().len(), 1_205);
    assert_eq!(listed["active_tasks"][0]["task"]["n"], 0);
}

#[tokio::test]
async fn one_that_fails_is_told_and_the_rest_is_created() {
    let site = site(&[("limits.params_bytes", "1024")]).await;
    let large = json!({"action": "a", "content": "x".repeat(2_000)});
    let told = site.post("/task", &json!({"task": [{}, large, {}], "assigned_by": "ray"})).await.json();
    assert_eq!((&told["created_count"], &told["failed_count"]), (&json!(2), &json!(1)));
    let failed = &told["failed_tasks"][0];
    assert_eq!((&failed["task_index"], &failed["task_data"]), (&json!(1), &large));
    assert!(failed["error"].as_str().unwrap().contains("params"), "{failed}");
    let answer = site.post("/task", &json!({"task": large, "assigned_by": "ray"})).await;
    assert_eq!((answer.status, answer.json()), (500, json!({"detail": "Failed to create task"})));
}

#[tokio::test]
async fn what_does_not_fit_is_told_as_fastapi_does() {
    let site = site(&[]).await;
    for (path, body, field, kind) in [
        ("/task", json!({"task": {}}), json!(["body", "assigned_by"]), "missing"),
        ("/task", json!({"assigned_by": "ray"}), json!(["body", "task"]), "missing"),
        ("/task", json!({"task": "x", "assigned_by": "ray"}), json!(["body", "task"]), "list_type"),
        ("/task", json!({"task": {}, "assigned_by": 7}), json!(["body", "assigned_by"]), "string_type"),
        (
            "/tasks",
            json!({"task": [{}], "assigned_by": "a"}),
            json!(["body", "task", 0, "action"]),
            "missing",
        ),
        (
            "/tasks",
            json!({"task": {"action": []}, "assigned_by": "a"}),
            json!(["body", "task", "action"]),
            "value_error",
        ),
        (
            "/tasks",
            json!({"task": [{"action": ["a", 1]}], "assigned_by": "a"}),
            json!(["body", "task", 0, "action"]),
            "value_error",
        ),
        ("/tasks/reflect", json!({"task_id": "x"}), json!(["body", "reflection"]), "missing"),
        ("/heartbeat", json!({}), json!(["body", "action"]), "missing"),
    ] {
        let answer = site.post(path, &body).await;
        assert_eq!(answer.status, 422, "{path} {body}: {answer:?}");
        let fault = answer.json()["detail"][0].clone();
        assert_eq!((&fault["loc"], &fault["type"]), (&field, &json!(kind)), "{fault}");
        assert!(fault["msg"].is_string() && fault.get("input").is_some(), "{fault}");
    }
    for text in ["", "{", "[]"] {
        let request = site.request(reqwest::Method::POST, site.url("/task")).body(text);
        assert_eq!(site.send(request).await.status, 422, "{text:?}");
    }
    assert_eq!(active(&site).await, 0);
}

#[tokio::test]
async fn the_active_tasks_are_listed_with_all_their_fields() {
    let site = site(&[]).await;
    let empty = site.get("/task/list").await.json();
    assert_eq!((&empty["status"], &empty["active_tasks"]), (&json!("success"), &json!([])));
    let first = create(&site, json!({"action": "reflect"})).await;
    let second = create(&site, json!({})).await;
    for prefix in ["/task", "/tasks"] {
        let listed = site.get(&format!("{prefix}/list")).await.json();
        assert_eq!(listed["active_tasks_count"], 2);
        assert!(listed["timestamp"].is_string());
        let tasks = listed["active_tasks"].as_array().unwrap();
        assert_eq!((&tasks[0]["task_id"], &tasks[1]["task_id"]), (&json!(first), &json!(second)));
        assert_eq!(
            (&tasks[0]["task"], &tasks[0]["assigned_by"], &tasks[0]["batch_id"]),
            (&json!({"action": "reflect"}), &json!("ray"), &Value::Null)
        );
        for (name, value) in [
            ("reflections", json!([])),
            ("is_reflection_final", json!(false)),
            ("execute_immediately", json!(false)),
            ("self_destruct", json!(false)),
        ] {
            assert_eq!(tasks[0][name], value, "{name}");
        }
        let one = site.get(&format!("{prefix}/{first}")).await.json();
        assert_eq!((&one["status"], &one["task"]), (&json!("success"), &tasks[0]));
        assert!(one["timestamp"].is_string());
    }
}

#[tokio::test]
async fn an_unknown_task_is_not_found_in_the_old_words() {
    let site = site(&[]).await;
    for id in ["01980a6e-5b7c-7cc3-98c4-dc0c0c07398f", "no-id"] {
        for prefix in ["/task", "/tasks"] {
            let answer = site.get(&format!("{prefix}/{id}")).await;
            assert_eq!(
                (answer.status, answer.json()),
                (404, json!({"detail": format!("Task {id} not found")}))
            );
        }
    }
    // Nor is one of another queue.
    let other = site.own_post("/v1/tasks", &json!({"type": "a"})).await;
    assert_eq!(site.get(&format!("/task/{}", other["id"].as_str().unwrap())).await.status, 404);
    assert_eq!(active(&site).await, 0);
}

#[tokio::test]
async fn the_status_counts_what_is_active_and_completed() {
    let site = site(&[]).await;
    for _ in 0..3 {
        create(&site, json!({"action": "a"})).await;
    }
    site.work("assistant", &json!({})).await;
    for prefix in ["/task", "/tasks"] {
        let told = site.get(&format!("{prefix}/status")).await;
        assert_eq!(told.status, 200);
        let told = told.json();
        assert_eq!(told["status"], "operational");
        assert_eq!(
            told["task_manager"],
            json!({"active_tasks_count": 2, "completed_tasks_count": 1, "total_tasks_processed": 3})
        );
        assert!(told["timestamp"].is_string());
    }
}

#[tokio::test]
async fn what_was_thought_of_a_task_stays_with_it_and_is_kept_once() {
    let site = site(&[]).await;
    let id = create(&site, json!({"action": "reflect"})).await;
    let thought = |text: &str, last: bool| json!({"task_id": id, "action": "reflect", "reflection": text, "is_final": last});
    for (text, last, count) in [("one", false, 1), ("two", false, 2), ("one", false, 2), ("two", true, 2)] {
        site.clock.advance(Duration::from_secs(1));
        let answer = site.post("/tasks/reflect", &thought(text, last)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.json();
        assert_eq!(told["task"]["reflections"].as_array().unwrap().len(), count, "{told}");
        assert_eq!(told["task"]["is_reflection_final"], last);
        assert!(told["status"].is_string() && told["message"].is_string() && told["timestamp"].is_string());
    }
    let listed = site.get("/tasks/list").await.json();
    assert_eq!(
        (listed["active_tasks_count"].as_u64(), listed["active_tasks"][0]["task_id"].as_str()),
        (Some(1), Some(&*id))
    );
    assert_eq!(listed["active_tasks"][0]["reflections"][0]["reflection"], "one");
    let unknown = json!({"task_id": "nobody", "reflection": "x"});
    let answer = site.post("/task/reflect", &unknown).await;
    assert_eq!((answer.status, answer.json()), (404, json!({"detail": "Task nobody not found"})));
    // Nothing of it is work.
    assert_eq!(site.work("assistant", &json!({})).await, id);
    assert!(site.claim("assistant").await.is_none());
}

#[tokio::test]
async fn heartbeats_and_the_welcome_are_as_they_were() {
    let site = site(&[]).await;
    let told = site.get("/heartbeat").await;
    assert_eq!(told.status, 200);
    let told = told.json();
    assert_eq!((&told["type"], &told["status"]), (&json!("heartbeat"), &json!("alive")));
    assert_eq!((&told["in_task"], &told["last_server_action"]), (&json!(false), &Value::Null));
    for late in ["ray_state", "cognitive_map", "execution_protocols", "memory_flags"] {
        assert!(told.get(late).is_some(), "{late}");
    }
    for (action, status) in [("reflect", "redirect_suggested"), ("dance", "unknown_action")] {
        let answer = site.post("/heartbeat", &json!({"action": action, "question": "now?"})).await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!(status)));
    }
    assert_eq!(site.post("/", &json!({"hello": 1})).await.status, 200);
}

#[tokio::test]
async fn late_clients_may_send_new_tasks_anywhere() {
    let site = site(&[]).await;
    let body = json!({"task": [{"action": "a"}], "assigned_by": "ray"});
    for path in ["/anything", "/deep/er", "/"] {
        let answer = site.post(path, &body).await;
        assert_eq!((answer.status, &answer.json()["created_count"]), (200, &json!(1)), "{path}");
    }
    assert_eq!(active(&site).await, 3);
    let answer = site.post("/anything", &json!({"task": []})).await;
    assert_eq!((answer.status, answer.json()), (404, json!({"detail": "Not Found"})));
    let answer = site.get("/anything").await;
    assert_eq!((answer.status, answer.json()), (404, json!({"detail": "Not Found"})));
    // Also where there is a route for reading; what is no new task is none there.
    for path in ["/task/list", "/tasks/list", "/task/status", "/tasks/status", "/task/some", "/tasks/some"] {
        let answer = site.post(path, &body).await;
        assert_eq!((answer.status, &answer.json()["created_count"]), (200, &json!(1)), "{path}");
        let answer = site.post(path, &json!({"task": []})).await;
        assert_eq!((answer.status, answer.json()), (405, json!({"detail": "Method Not Allowed"})), "{path}");
    }
    let answer = site.send(site.request(reqwest::Method::DELETE, site.url("/task"))).await;
    assert_eq!((answer.status, answer.json()), (405, json!({"detail": "Method Not Allowed"})));
}

#[tokio::test]
async fn a_result_comes_with_the_answer_if_a_worker_is_fast_enough() {
    let site = site(&[("dialects.assistant.execute_seconds", "20")]).await;
    let body = json!({"task": [{"action": ["search", "scrape"]}], "assigned_by": "ray", "execute_immediately": true});
    let worker = async {
        loop {
            if let Some(task) = site.claim("assistant").await {
                let result = json!([{"hits": 3}, "page"]);
                let done = json!({"worker_id": "w1", "attempt": task["attempt"], "result": result});
                site.own_post(&format!("/v1/tasks/{}/complete", task["id"].as_str().unwrap()), &done).await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (answer, ()) = tokio::join!(site.post("/tasks", &body), worker);
    let created = answer.json()["created_tasks"][0].clone();
    let result = &created["task"]["execution_result"];
    assert_eq!((&result["executed"], &result["total_actions"]), (&json!(true), &json!(2)), "{created}");
    assert_eq!(result["action_sequence"], json!(["search", "scrape"]));
    assert_eq!(result["action_results"][0]["results"], json!({"hits": 3}));
    assert_eq!(result["action_results"][1]["action_name"], "scrape");
    assert_eq!(result["execution_summary"]["successful_actions"], 2);
    // It stays findable with it.
    let one = site.get(&format!("/tasks/{}", created["task_id"].as_str().unwrap())).await.json();
    assert_eq!(one["task"]["status"], "completed");
    assert_eq!(one["task"]["task"]["execution_result"]["results"], json!([{"hits": 3}, "page"]));
}

#[tokio::test]
async fn no_result_in_time_is_said_clearly_and_the_task_stays() {
    let site = site(&[("dialects.assistant.execute_seconds", "0.3")]).await;
    let body = json!({"task": [{"action": "dance"}], "assigned_by": "ray", "execute_immediately": true});
    let began = std::time::Instant::now();
    let told = site.post("/tasks", &body).await.json();
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < Duration::from_secs(10));
    let result = &told["created_tasks"][0]["task"]["execution_result"];
    assert_eq!(result["executed"], false);
    let error = result["error"].as_str().unwrap();
    assert!(error.starts_with("no result within 0.3 s: no worker has taken the task"), "{error}");
    assert_eq!(active(&site).await, 1);
}

#[tokio::test]
async fn an_action_that_no_worker_knows_is_not_executed_and_says_why() {
    let site = site(&[("dialects.assistant.execute_seconds", "20")]).await;
    let body = json!({"task": {"action": "dance"}, "assigned_by": "ray", "execute_immediately": true});
    let worker = async {
        loop {
            if let Some(task) = site.claim("assistant").await {
                let failed = json!({"worker_id": "w1", "attempt": task["attempt"], "retryable": false,
                    "error": {"message": "Unknown action: dance"}});
                site.own_post(&format!("/v1/tasks/{}/fail", task["id"].as_str().unwrap()), &failed).await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (answer, ()) = tokio::join!(site.post("/task", &body), worker);
    let result = answer.json()["task"]["execution_result"].clone();
    assert_eq!((&result["executed"], &result["error"]), (&json!(false), &json!("Unknown action: dance")));
}

#[tokio::test]
async fn a_task_that_destroys_itself_is_gone_once_it_is_answered() {
    let site = site(&[]).await;
    create(&site, json!({})).await;
    let body = json!({"task": [{"action": "a"}], "assigned_by": "ray", "self_destruct": true});
    let told = site.post("/tasks", &body).await.json();
    assert_eq!(told["created_count"], 1);
    let id = told["created_tasks"][0]["task_id"].as_str().unwrap();
    assert_eq!(active(&site).await, 1, "as before");
    assert_eq!(site.get(&format!("/tasks/{id}")).await.status, 404);
    let finished = site.get("/tasks/list?finished=true").await.json();
    assert_eq!(finished["finished_tasks_count"], 0);
}

#[tokio::test]
async fn a_task_that_destroys_itself_is_gone_though_a_worker_was_done_in_time() {
    let site = site(&[("dialects.assistant.execute_seconds", "20")]).await;
    let body = json!({"task": {"action": "a"}, "assigned_by": "ray", "execute_immediately": true, "self_destruct": true});
    let worker = async {
        while site.get("/task/list").await.json()["active_tasks_count"] == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        site.work("assistant", &json!({"hits": 3})).await
    };
    let (answer, id) = tokio::join!(site.post("/task", &body), worker);
    assert_eq!(answer.json()["task"]["execution_result"]["executed"], true, "{answer:?}");
    assert_eq!(site.get(&format!("/task/{id}")).await.status, 404);
    assert_eq!(site.get("/task/list?finished=true").await.json()["finished_tasks"], json!([]));
    // Baton has it, with its result.
    assert_eq!(site.own_get(&format!("/v1/tasks/{id}")).await["task"]["status"], "completed");
}

#[tokio::test]
async fn a_slash_too_many_leads_to_the_route() {
    let site = site(&[]).await;
    let body = json!({"task": {"action": "a"}, "assigned_by": "ray"});
    for path in ["/task/", "/tasks/"] {
        let answer = site.without_following(reqwest::Method::POST, path, Some(&body)).await;
        assert_eq!((answer.status, answer.text.as_str()), (307, ""), "{path}");
        assert_eq!(answer.headers["location"], path.trim_end_matches('/'));
        // As the clients do, which follow with the same body.
        assert_eq!(site.post(path, &body).await.json()["status"], "task_created");
    }
    let answer = site.without_following(reqwest::Method::GET, "/task/list/?finished=true", None).await;
    assert_eq!(answer.headers["location"], "/task/list?finished=true");
    assert_eq!(site.get("/heartbeat/").await.json()["status"], "alive");
    assert_eq!(site.get("/task/status/").await.json()["task_manager"]["active_tasks_count"], 2);
    assert_eq!(site.get("/anything/").await.status, 404);
}

#[tokio::test]
async fn an_id_is_told_as_it_was_meant() {
    let site = site(&[]).await;
    for (path, id) in [("a%20b", "a b"), ("%C3%BC", "ü"), ("a+b", "a+b")] {
        let answer = site.get(&format!("/task/{path}")).await;
        assert_eq!((answer.status, answer.json()), (404, json!({"detail": format!("Task {id} not found")})));
    }
}
