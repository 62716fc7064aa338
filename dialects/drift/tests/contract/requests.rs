//! Every route over HTTP.

use baton_tests::site::Site;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Client, active, result, site, status};

#[tokio::test]
async fn a_client_registers_is_known_beats_and_leaves() {
    let site = site().await;
    let client = Client::register(&site).await;
    let me = client.get(&site, "/clients/me").await;
    assert_eq!(me.status, 200, "{me:?}");
    let me = me.json();
    assert_eq!((&me["client_id"], &me["name"]), (&json!(client.id), &json!("a machine")));
    assert_eq!((&me["capabilities"]["cpu"]["cores"], &me["is_active"]), (&json!(8), &json!(true)));
    assert!(me["created_at"].is_string());
    // The old server took the token from the query.
    let by_query = site.get(&format!("/api/v1/clients/me?token={}", client.token)).await;
    assert_eq!(by_query.status, 200, "{by_query:?}");
    assert_eq!(client.send(&site, Method::PUT, "/clients/heartbeat", None).await.status, 200);
    let task = client.take(&site).await;
    assert_eq!(client.send(&site, Method::DELETE, "/clients/unregister", None).await.status, 200);
    assert_eq!(client.get(&site, "/clients/me").await.status, 401);
    let other = Client::register(&site).await;
    assert_eq!(status(&other, &site, &task).await["status"], "pending");
}

#[tokio::test]
async fn who_presents_no_good_token_is_told_so() {
    let site = site().await;
    let answer = site.get("/api/v1/tasks/available").await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.json()["detail"].is_string());
    assert_eq!(answer.headers["www-authenticate"].to_str().unwrap().split(' ').next(), Some("Bearer"));
}

#[tokio::test]
async fn a_registration_without_a_name_says_what_is_missing() {
    let site = site().await;
    let answer = site.post("/api/v1/clients/register", &json!({})).await;
    assert_eq!(answer.status, 422, "{answer:?}");
    assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", "name"]));
}

#[tokio::test]
async fn a_task_has_the_fields_that_clients_read_and_ends_over_http() {
    let site = site().await;
    let client = Client::register(&site).await;
    let task = client.ask(&site).await;
    assert!(task["task_id"].is_string() && task["simulation_id"].is_string() && task["deadline"].is_string());
    assert_eq!(
        (&task["particle_count"], &task["input_data"], &task["priority"]),
        (&json!(10), &json!(""), &json!(1))
    );
    assert_eq!(
        (&task["parameters"]["time_horizon"], &task["parameters"]["auto_created"]),
        (&json!(1.0), &json!(true))
    );
    let id = task["task_id"].as_str().unwrap();
    let running = status(&client, &site, id).await;
    assert_eq!((&running["status"], &running["retry_count"]), (&json!("assigned"), &json!(0)));
    let body = json!({"task_id": id, "result_data": result(), "execution_time": 1.2, "metadata": {}});
    assert_eq!(client.post(&site, "/tasks/complete", &body).await.status, 200);
    let done = status(&client, &site, id).await;
    assert_eq!(done["status"], "completed");
    assert!(done["assigned_at"].is_string() && done["completed_at"].is_string());
    let results = client.get(&site, "/tasks/results?limit=5").await.json();
    assert_eq!(
        (&results["results"][0]["task_id"], &results["results"][0]["result_data"]),
        (&json!(id), &json!(result()))
    );
    let id = client.take(&site).await;
    let body = json!({"task_id": id, "error_message": "Task cancelled: paused", "metadata": {}});
    assert_eq!(client.post(&site, "/tasks/fail", &body).await.status, 200);
    assert_eq!(status(&client, &site, &id).await["retry_count"], 1);
}

#[tokio::test]
async fn the_queue_refills_itself_and_its_numbers_are_set() {
    let site = site().await;
    let client = Client::register(&site).await;
    client.take(&site).await;
    let queue = site.get("/api/v1/tasks/queue/status").await.json();
    for (name, number) in [
        ("active_tasks", 1),
        ("active_clients", 1),
        ("total_client_capacity", 5),
        ("target_pending_tasks", 10),
        ("min_pending_tasks", 5),
        ("max_tasks_per_client", 5),
    ] {
        assert_eq!(queue[name], number, "{name}: {queue}");
    }
    let body = json!({"target_pending_tasks": 0, "max_tasks_per_client": 1});
    let told = site.post("/api/v1/admin/tasks/config", &body).await.json();
    assert_eq!(told["status"], "updated");
    let set = json!({"target_pending_tasks": 1, "min_pending_tasks": 5, "max_tasks_per_client": 1});
    assert_eq!(told["current_config"], set);
    assert_eq!(client.ask(&site).await, Value::Null, "it holds one");
}

#[tokio::test]
async fn operators_see_what_runs_by_client() {
    let site = site().await;
    let client = Client::register(&site).await;
    let task = client.take(&site).await;
    let told = active(&site).await;
    assert_eq!(
        (&told["total_active_tasks"], &told["tasks_by_client"][&client.id]),
        (&json!(1), &json!([task]))
    );
    for field in [
        "task_id",
        "simulation_id",
        "particle_count",
        "assigned_client",
        "assigned_at",
        "deadline",
        "retry_count",
        "priority",
        "age_seconds",
    ] {
        assert!(told["all_tasks"][0].get(field).is_some(), "{field}: {told}");
    }
    assert!(told["queue_size"].is_number() && told["timestamp"].is_string());
    for path in [
        "/",
        "/health",
        "/api/v1/admin/health",
        "/api/v1/admin/stats",
        "/api/v1/admin/clients",
        "/api/v1/admin/batches",
    ] {
        assert_eq!(site.get(path).await.status, 200, "{path}");
    }
    let health = site.get("/health").await.json();
    assert_eq!((&health["status"], &health["queue_status"]["active_tasks"]), (&json!("healthy"), &json!(1)));
    assert!(health["timestamp"].is_string());
    let stats = site.get("/api/v1/admin/stats").await.json();
    assert_eq!((&stats["total_clients"], &stats["active_clients"]), (&json!(1), &json!(1)), "{stats}");
    assert_eq!((&stats["tasks"]["assigned"], &stats["more"]), (&json!(1), &json!(false)), "{stats}");
    let by_word = stats["tasks"].as_object().unwrap().values().map(|count| count.as_u64().unwrap());
    assert_eq!(stats["total_tasks"], by_word.sum::<u64>(), "{stats}");
    assert!(stats["queue_status"].is_object() && stats["timestamp"].is_string(), "{stats}");
}

#[tokio::test]
async fn a_batch_says_how_many_tasks_it_really_has() {
    let site = site().await;
    let told = site.post("/api/v1/simulations/batch", &json!({"particle_count": 25})).await.json();
    assert_eq!((&told["task_count"], &told["total_particles"]), (&json!(3), &json!(25)));
    // As lax as the old server read it.
    let lax = json!({"particle_count": "25", "particles_per_task": 5.0});
    let told = site.post("/api/v1/simulations/batch", &lax).await.json();
    assert_eq!((&told["task_count"], &told["total_particles"]), (&json!(5), &json!(25)));
    let told = site.post("/api/v1/simulations/test-batch", &json!({})).await.json();
    assert_eq!(told["task_count"], 5);
}

/// Waits until so many tasks wait.
async fn pending(site: &Site, tasks: u64) {
    let waited = async {
        while site.get("/api/v1/tasks/queue/status").await.json()["pending_tasks"] != tasks {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), waited).await.expect("so many wait");
}

#[tokio::test]
async fn the_queue_begins_with_one_task_and_refills_to_ten_below_five() {
    let site = site().await;
    let queue = site.get("/api/v1/tasks/queue/status").await.json();
    assert_eq!((&queue["pending_tasks"], &queue["active_clients"]), (&json!(1), &json!(0)));
    let (one, other) = (Client::register(&site).await, Client::register(&site).await);
    one.take(&site).await;
    pending(&site, 10).await;
    for _ in 0..4 {
        one.take(&site).await;
    }
    other.take(&site).await;
    pending(&site, 5).await;
    // The next one makes them four.
    other.take(&site).await;
    pending(&site, 10).await;
    // All tasks of a refill are of one simulation.
    let batches = site.get("/api/v1/admin/batches").await.json()["batches"].clone();
    let counts = batches.as_array().unwrap().iter().map(|batch| batch["task_count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 17, "{batches}");
}

#[tokio::test]
async fn numbers_that_were_set_hold_over_a_restart_and_must_be_whole() {
    let site = site().await;
    let set = json!({"target_pending_tasks": 3, "min_pending_tasks": -7, "max_tasks_per_client": 2});
    let told = site.post("/api/v1/admin/tasks/config", &set).await.json();
    let stands = json!({"target_pending_tasks": 3, "min_pending_tasks": 1, "max_tasks_per_client": 2});
    assert_eq!(told["current_config"], stands);
    assert!(told["message"].is_string() && told["timestamp"].is_string());
    let answer = site.post("/api/v1/admin/tasks/config", &json!({"max_tasks_per_client": "many"})).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", "max_tasks_per_client"]));
    let site = site.restarted().await;
    let queue = site.get("/api/v1/tasks/queue/status").await.json();
    for (name, number) in stands.as_object().unwrap() {
        assert_eq!(queue[name], *number, "{name}");
    }
}

#[tokio::test]
async fn a_task_that_is_not_a_clients_cannot_be_told_of() {
    let site = site().await;
    let client = Client::register(&site).await;
    for id in ["nothing", "00000000-0000-4000-8000-000000000001"] {
        assert_eq!(client.get(&site, &format!("/tasks/status/{id}")).await.status, 404, "{id}");
        let body = json!({"task_id": id, "result_data": "", "execution_time": 1.0, "metadata": {}});
        assert_eq!(client.post(&site, "/tasks/complete", &body).await.status, 400, "{id}");
        let body = json!({"task_id": id, "error_message": "x", "metadata": {}});
        assert_eq!(client.post(&site, "/tasks/fail", &body).await.status, 400, "{id}");
    }
    let answer = client.post(&site, "/tasks/complete", &json!({"task_id": "x"})).await;
    assert_eq!((answer.status, &answer.json()["detail"][0]["loc"][1]), (422, &json!("result_data")));
    let stats = client.get(&site, "/clients/stats").await.json();
    assert_eq!((&stats["active_tasks"], &stats["max_tasks"]), (&json!(0), &json!(5)));
    let asked = client.post(&site, "/tasks/request", &json!({})).await.json();
    assert!(asked["task_id"].is_string(), "{asked}");
}

#[tokio::test]
async fn a_slash_too_many_leads_to_the_route() {
    let site = site().await;
    let answer = site.without_following(Method::GET, "/api/v1/tasks/queue/status/", None).await;
    assert_eq!((answer.status, answer.text.as_str()), (307, ""));
    assert_eq!(answer.headers["location"], "/api/v1/tasks/queue/status");
    assert_eq!(site.get("/health/").await.json()["status"], "healthy");
    // The body goes along, and so does the token.
    let body = json!({"name": "a machine", "public_key": "k", "capabilities": {}, "system_info": {}});
    let told = site.post("/api/v1/clients/register/", &body).await.json();
    let token = told["token"].as_str().unwrap();
    let me = site.request(Method::GET, site.url("/api/v1/clients/me/")).bearer_auth(token);
    assert_eq!(site.send(me).await.json()["client_id"], told["client_id"]);
    let me = site.get(&format!("/api/v1/clients/me/?token={token}")).await;
    assert_eq!(me.status, 200, "{me:?}");
    assert_eq!(site.get("/api/v1/nothing/").await.json(), json!({"detail": "Not Found"}));
}

#[tokio::test]
async fn tasks_are_given_first_in_first_out_whatever_their_priority() {
    let site = site().await;
    let client = Client::register(&site).await;
    site.own_post("/v1/queues/drift/supply/unset", &json!({})).await;
    // The one that the old server began with.
    client.take(&site).await;
    let mut made = Vec::new();
    for priority in [1, 9, 5] {
        site.clock.advance(std::time::Duration::from_secs(1));
        let asked = json!({"particle_count": 10, "priority": priority});
        let told = site.post("/api/v1/simulations/batch", &asked).await.json();
        made.push((told["task_ids"][0].clone(), json!(priority)));
    }
    for (id, priority) in made {
        let task = client.ask(&site).await;
        assert_eq!((&task["task_id"], &task["priority"]), (&id, &priority), "{task}");
    }
}
