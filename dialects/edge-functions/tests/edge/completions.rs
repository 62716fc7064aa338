//! `complete_task` in its forms: each sets the status and writes one record.

use serde_json::{Value, json};

use super::world::{call, called, claim_this, create, generations, id, set, site, status};

async fn running(site: &baton_tests::site::Site, number: u32, task_type: &str, params: Value) {
    create(site, &id(number), task_type, params).await;
    claim_this(site, "w1", &id(number)).await;
}

#[tokio::test]
async fn both_names_set_the_status_and_write_the_record() {
    let site = site().await;
    for (number, name) in [(1, "complete_task"), (2, "complete-task")] {
        running(&site, number, "t", json!({})).await;
        let body = json!({"task_id": id(number), "output_location": "https://cdn.example/a.mp4"});
        let told = called(&site, name, body).await;
        assert_eq!(
            (&told["success"], &told["public_url"]),
            (&json!(true), &json!("https://cdn.example/a.mp4"))
        );
        assert_eq!(told["follow_up"], json!({"status": "ok", "issues": []}));
        assert!(told["thumbnail_url"].is_null() && told["message"].is_string());
        assert_eq!(status(&site, &id(number)).await, "Complete");
        let found = generations(&site, &id(number)).await;
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&found[0]["location"], &found[0]["kind"]),
            (&json!("https://cdn.example/a.mp4"), &json!("video"))
        );
    }
}

#[tokio::test]
async fn a_task_without_an_output_has_a_record_too() {
    let site = site().await;
    running(&site, 1, "t", json!({})).await;
    let told = called(&site, "complete_task", json!({"task_id": id(1)})).await;
    assert_eq!((&told["success"], &told["public_url"]), (&json!(true), &Value::Null));
    assert_eq!(generations(&site, &id(1)).await.len(), 1);
}

#[tokio::test]
async fn a_file_comes_along_as_base64_and_is_read_at_its_address() {
    let site = site().await;
    running(&site, 1, "t", json!({})).await;
    // "hello" and "frame".
    let body = json!({"task_id": id(1), "file_data": "aGVsbG8=", "filename": "out.mp4",
        "first_frame_data": "ZnJhbWU=", "first_frame_filename": "frame.jpg"});
    let told = called(&site, "complete_task", body.clone()).await;
    let (url, thumbnail) = (told["public_url"].as_str().unwrap(), told["thumbnail_url"].as_str().unwrap());
    assert!(url.contains("/storage/v1/object/public/image_uploads/"), "{url}");
    assert!(url.ends_with(&format!("/tasks/{}/out.mp4", id(1))), "{url}");
    for (url, text) in [(url, "hello"), (thumbnail, "frame")] {
        let answer = site.send(site.request(reqwest::Method::GET, url.to_owned())).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, text));
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    let again = called(&site, "complete_task", body).await;
    assert_eq!(again["public_url"], url);
    assert_eq!(generations(&site, &id(1)).await.len(), 1);
}

#[tokio::test]
async fn the_same_completion_again_answers_as_the_first_and_writes_nothing() {
    let site = site().await;
    running(&site, 1, "t", json!({})).await;
    let body = json!({"task_id": id(1), "output_location": "https://x/a.png"});
    let ask = || called(&site, "complete_task", body.clone());
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    assert_eq!(
        (&one["public_url"], &two["generation_id"]),
        (&json!("https://x/a.png"), &three["generation_id"])
    );
    let none = called(&site, "complete_task", json!({"task_id": id(1)})).await;
    assert_eq!(none["public_url"], "https://x/a.png", "what stands is told");
    assert_eq!(generations(&site, &id(1)).await.len(), 1);
}

#[tokio::test]
async fn a_status_of_complete_writes_the_record_as_well() {
    let site = site().await;
    running(&site, 1, "t", json!({})).await;
    let answer = set(&site, &id(1), "Complete", json!({"output_location": "https://x/a.png"})).await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("Complete")));
    assert_eq!(generations(&site, &id(1)).await[0]["location"], "https://x/a.png");
    // As workers of March send it right after the completion.
    let answer = set(&site, &id(1), "Complete", json!({"output_location": "{\"a\":1}"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(generations(&site, &id(1)).await.len(), 1);
}

#[tokio::test]
async fn a_record_says_whose_variant_or_child_it_is() {
    let site = site().await;
    for (number, task_type, params, field, value) in [
        (
            1,
            "travel_segment",
            json!({"parent_generation_id": "g1", "segment_index": 2}),
            "child_order",
            json!(2),
        ),
        (2, "travel_stitch", json!({"parent_generation_id": "g1"}), "variant_of", json!("g1")),
        (3, "t", json!({"based_on": "g2"}), "variant_type", json!("regenerated")),
        (6, "t", json!({"child_generation_id": "g3"}), "variant_of", json!("g3")),
        (7, "join_final_stitch", json!({"parent_generation_id": "g1"}), "variant_of", json!("g1")),
        (8, "t", json!({"parent_generation_id": "g1", "join_index": 4}), "child_order", json!(4)),
        (4, "t", json!({"skip_generation": true}), "hidden", json!(true)),
        (5, "travel_orchestrator", json!({}), "hidden", json!(true)),
    ] {
        running(&site, number, task_type, params).await;
        called(&site, "complete_task", json!({"task_id": id(number), "output_location": "https://x/a.png"}))
            .await;
        let found = generations(&site, &id(number)).await;
        assert_eq!((found.len(), &found[0]["metadata"][field]), (1, &value), "{task_type}");
    }
}

#[tokio::test]
async fn what_is_no_longer_in_progress_takes_no_late_output() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    let complete =
        || call(&site, "complete_task", json!({"task_id": id(1), "output_location": "https://x/a.png"}));
    assert_eq!(complete().await.status, 409, "nobody has begun it");
    claim_this(&site, "w1", &id(1)).await;
    set(&site, &id(1), "Queued", json!({"attempts": 1, "clear_worker": true})).await;
    assert_eq!(complete().await.status, 409, "it was given back");
    assert!(generations(&site, &id(1)).await.is_empty());
    claim_this(&site, "w2", &id(1)).await;
    set(&site, &id(1), "Cancelled", json!({})).await;
    assert_eq!(complete().await.status, 409);
    assert_eq!(status(&site, &id(1)).await, "Cancelled");
}

#[tokio::test]
async fn what_cannot_be_completed_is_refused() {
    let site = site().await;
    running(&site, 1, "t", json!({})).await;
    let refused = async |body: Value, status: u16| {
        let answer = call(&site, "complete_task", body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    };
    refused(json!({}), 400).await;
    let answer = call(&site, "complete_task", json!({"task_id": id(9)})).await;
    assert_eq!(answer.status, 404);
    assert!(answer.text.contains("not found"), "clients look for it: {answer:?}");
    refused(json!({"task_id": id(1), "file_data": "***", "filename": "a.png"}), 400).await;
    refused(json!({"task_id": id(1), "file_data": "aGVsbG8="}), 400).await;
    refused(json!({"task_id": id(1), "storage_path": "u/absent.png"}), 404).await;
    refused(json!({"task_id": id(1), "storage_path": format!("u/tasks/{}/a.png", id(2))}), 403).await;
    refused(json!({"task_id": id(1), "storage_path": "../../etc/passwd"}), 400).await;
    let request = site.request(reqwest::Method::POST, site.url("/functions/v1/complete_task"));
    let request = request.header("content-type", "multipart/form-data; boundary=x").body("--x--");
    assert_eq!(site.send(request).await.status, 400);
    assert_eq!(status(&site, &id(1)).await, "In Progress");
}

#[tokio::test]
async fn a_second_completion_with_another_output_is_refused_and_the_first_stands() {
    let site = site().await;
    running(&site, 1, "t", json!({})).await;
    // "hello" and "other".
    let file = |data: &str, name: &str| json!({"task_id": id(1), "file_data": data, "filename": name});
    let first = called(&site, "complete_task", file("aGVsbG8=", "out.png")).await;
    let mut others = vec![file("b3RoZXI=", "out.png"), file("aGVsbG8=", "other.png")];
    others.push(json!({"task_id": id(1), "output_location": "https://x/b.png"}));
    others.push(json!({"task_id": id(1), "storage_path": "u/b.png"}));
    for other in others {
        let answer = call(&site, "complete_task", other.clone()).await;
        assert_eq!(
            (answer.status, &answer.json()["errorCode"]),
            (409, &json!("task_not_in_progress")),
            "{other}"
        );
    }
    let url = first["public_url"].as_str().unwrap();
    let again = called(&site, "complete_task", file("aGVsbG8=", "out.png")).await;
    assert_eq!(again["generation_id"], first["generation_id"]);
    let path = url.split("/image_uploads/").nth(1).unwrap();
    for same in
        [json!({"task_id": id(1), "output_location": url}), json!({"task_id": id(1), "storage_path": path})]
    {
        assert_eq!(called(&site, "complete_task", same).await["public_url"], url);
    }
    let kept = site.send(site.request(reqwest::Method::GET, url.to_owned())).await;
    assert_eq!(kept.text, "hello");
}

#[tokio::test]
async fn who_names_an_attempt_or_a_worker_completes_no_others() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    claim_this(&site, "w1", &id(1)).await;
    set(&site, &id(1), "Queued", json!({"attempts": 1, "clear_worker": true})).await;
    claim_this(&site, "w2", &id(1)).await;
    for late in [json!({"attempts": 1}), json!({"worker_id": "w1"})] {
        for (name, status) in [
            ("complete_task", None),
            ("update-task-status", Some("Complete")),
            ("update-task-status", Some("Failed")),
        ] {
            let mut body =
                json!({"task_id": id(1), "output_location": "https://x/late.png", "status": status});
            body.as_object_mut().unwrap().extend(late.as_object().unwrap().clone());
            let answer = call(&site, name, body.clone()).await;
            assert_eq!(answer.status, 409, "{body}: {answer:?}");
        }
    }
    assert_eq!(status(&site, &id(1)).await, "In Progress");
    let own =
        json!({"task_id": id(1), "output_location": "https://x/a.png", "attempts": 2, "worker_id": "w2"});
    called(&site, "complete_task", own).await;
}

#[tokio::test]
async fn what_is_created_claimed_and_ended_is_counted_as_that_of_others_is() {
    let site = site().await;
    for (number, end) in [(1, "Complete"), (2, "Failed"), (3, "Cancelled")] {
        running(&site, number, "t", json!({})).await;
        assert_eq!(set(&site, &id(number), end, json!({})).await.status, 200, "{end}");
        // The same again ends nothing.
        assert_eq!(set(&site, &id(number), end, json!({})).await.status, 200, "{end} again");
    }
    let told = site.send(site.request(reqwest::Method::GET, site.own_url("/metrics"))).await;
    let count = |name: &str| -> u64 {
        let lines = told.text.lines().filter_map(|line| line.strip_prefix(name));
        lines.filter_map(|rest| rest.split(' ').next_back()?.parse::<u64>().ok()).sum()
    };
    let counts = ["tasks_created", "claims", "completions", "failures"]
        .map(|name| count(&format!("baton_{name}_total")));
    assert_eq!(counts, [3, 3, 1, 1], "{}", told.text);
}
