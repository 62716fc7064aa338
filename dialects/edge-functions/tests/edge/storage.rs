//! Uploads by prepared addresses, and the storage's own routes.

use std::time::Duration;

use baton_files::sha256;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::world::{
    PROJECT, bare, beat, call, called, claim_this, create, generations, id, reap, site, site_with, status,
};

#[tokio::test]
async fn a_file_is_put_at_a_prepared_address_without_a_token_and_handed_over_by_its_path() {
    let site = site_with(&[("tokens.required", "always")]).await;
    let key = site.make_token(json!({"scopes": ["operator"]})).await;
    let mut site = site;
    site.present(Some(&key));
    create(&site, &id(1), "t", json!({})).await;
    claim_this(&site, "w1", &id(1)).await;
    let body = json!({"task_id": id(1), "filename": "out.mp4", "content_type": "video/mp4", "generate_thumbnail_url": true});
    let told = called(&site, "generate-upload-url", body).await;
    assert_eq!(told["storage_path"], format!("{PROJECT}/tasks/{}/out.mp4", id(1)));
    let thumbnail = told["thumbnail_storage_path"].as_str().unwrap();
    assert!(
        thumbnail.starts_with(&format!("{PROJECT}/tasks/{}/thumbnails/thumb_", id(1)))
            && thumbnail.ends_with(".jpg")
    );
    assert!(told["expires_at"].as_str().unwrap().ends_with("+00:00"));
    site.present(None);
    for (url, text) in [("upload_url", "\0\0\0\u{18}ftypmp42film"), ("thumbnail_upload_url", "GIF89a frame")] {
        let request = site.request(Method::PUT, told[url].as_str().unwrap().to_owned());
        let answer = site.send(request.header("content-type", "video/mp4").body(text)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    site.present(Some(&key));
    let body =
        json!({"task_id": id(1), "storage_path": told["storage_path"], "thumbnail_storage_path": thumbnail});
    let told = called(&site, "complete_task", body).await;
    site.present(None);
    let kinds = ["video/mp4", "image/gif"];
    let texts = ["\0\0\0\u{18}ftypmp42film", "GIF89a frame"];
    for ((url, text), kind) in ["public_url", "thumbnail_url"].into_iter().zip(texts).zip(kinds) {
        let url = told[url].as_str().unwrap().to_owned();
        assert!(url.contains("/storage/v1/object/public/image_uploads/"));
        let answer = site.send(site.request(Method::GET, url.clone())).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, text));
        assert_eq!(answer.headers["content-type"], kind, "by its own first bytes, whatever its sender said");
        let part = site.send(site.request(Method::GET, url).header("range", "bytes=0-3")).await;
        assert_eq!((part.status, part.text.as_str()), (206, &text[..4]));
    }
    site.present(Some(&key));
    // Its record has them as those of any task, and Baton's own routes give them out.
    let record = &generations(&site, &id(1)).await[0];
    let paths: Vec<_> = record["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths[0], format!("tasks/{}/out.mp4", id(1)));
    assert!(paths.len() == 2 && paths[1].starts_with(&format!("tasks/{}/thumbnails/thumb_", id(1))), "{paths:?}");
    let digest = sha256(texts[0].as_bytes());
    assert_eq!((&record["files"][0]["sha256"], &record["files"][0]["content_type"]), (&json!(digest), &json!("video/mp4")));
    let url = site.own_url(&format!("/v1/files/{PROJECT}/{}", paths[0]));
    assert_eq!(site.send(site.request(Method::GET, url)).await.text, texts[0]);
}

#[tokio::test]
async fn what_no_task_has_is_kept_for_its_days_and_what_a_task_hands_over_as_long_as_it() {
    let site = site_with(&[("dialects.edge-functions.upload_days", "3")]).await;
    let put = async |path: &str| {
        let url = site.url(&format!("/storage/v1/object/image_uploads/{path}"));
        site.send(site.request(Method::POST, url).body("bytes").header("x-upsert", "true")).await.status
    };
    for path in ["task_outputs/a.png", "task_outputs/b%20c.png", "task_outputs/input.png"] {
        assert_eq!(put(path).await, 200, "{path}");
    }
    let public = |path: &str| site.url(&format!("/storage/v1/object/public/image_uploads/{path}"));
    // The API orchestrator hands over an address, by either function.
    for (number, name, path) in [(1, "complete_task", "task_outputs/a.png"), (2, "update-task-status", "task_outputs/b%20c.png")] {
        create(&site, &id(number), "t", json!({})).await;
        claim_this(&site, "w1", &id(number)).await;
        let mut body = json!({"task_id": id(number), "output_location": public(path)});
        if number == 2 {
            body["status"] = json!("Complete");
        }
        called(&site, name, body).await;
        let record = &generations(&site, &id(number)).await[0];
        let digest = sha256(b"bytes");
        assert_eq!(record["metadata"]["files"][0]["sha256"], json!(digest), "{record}");
    }
    let files = site.own_get("/v1/files?project=image_uploads").await;
    let owners: Vec<_> = files["items"].as_array().unwrap().iter().map(|file| file["task_id"].clone()).collect();
    assert_eq!(owners, [json!(id(1)), json!(id(2)), Value::Null]);
    // An address of another server is taken as it is.
    create(&site, &id(3), "t", json!({})).await;
    claim_this(&site, "w1", &id(3)).await;
    let elsewhere = "https://cdn.example/storage/v1/object/public/image_uploads/not/here.png";
    let told = called(&site, "complete_task", json!({"task_id": id(3), "output_location": elsewhere})).await;
    assert_eq!(told["public_url"], elsewhere);
}

#[tokio::test]
async fn a_long_name_is_taken_as_the_platform_takes_it() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    claim_this(&site, "w1", &id(1)).await;
    let name = format!("{}.mp4", "a-prompt_of_many_words ".repeat(10).trim());
    let body = json!({"task_id": id(1), "filename": name, "content_type": "video/mp4"});
    let told = called(&site, "generate-upload-url", body).await;
    assert_eq!(told["storage_path"], format!("{PROJECT}/tasks/{}/{name}", id(1)));
    let request = site.request(Method::PUT, told["upload_url"].as_str().unwrap().to_owned()).body("x");
    assert_eq!(site.send(request).await.status, 200);
    let done = called(&site, "complete_task", json!({"task_id": id(1), "storage_path": told["storage_path"]})).await;
    let url = done["public_url"].as_str().unwrap().to_owned();
    assert!(url.ends_with("words.mp4"), "{url}");
    assert_eq!(site.send(site.request(Method::GET, url)).await.text, "x");
}

#[tokio::test]
async fn what_an_earlier_version_kept_is_read_handed_over_and_taken_over_at_the_start() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    claim_this(&site, "w1", &id(1)).await;
    let old = site.dir().join("files/files");
    let own = format!("{PROJECT}/tasks/{}/out.png", id(1));
    for (path, text) in [(own.as_str(), "an output"), ("task_outputs/old file.bin", "loose"), ("u/tasks/gone/x.png", "of no task")] {
        let place = old.join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, text).unwrap();
    }
    let read = async |site: &baton_tests::site::Site, path: &str| {
        let answer = bare(site, Method::GET, &format!("/storage/v1/object/public/image_uploads/{path}")).await;
        (answer.status, answer.text)
    };
    // Read from where it lies.
    assert_eq!(read(&site, "task_outputs/old%20file.bin").await, (200, "loose".to_owned()));
    called(&site, "complete_task", json!({"task_id": id(1), "storage_path": own})).await;
    assert_eq!(generations(&site, &id(1)).await[0]["files"][0]["size"], 9);
    assert!(!old.join(&own).exists(), "it was taken over with the completion");
    // What has come in its place since stands.
    let url = site.url("/storage/v1/object/image_uploads/u/tasks/gone/x.png");
    assert_eq!(site.send(site.request(Method::POST, url).body("newer").header("x-upsert", "true")).await.status, 200);
    let site = site.restarted().await;
    for _ in 0..200 {
        if !old.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!old.exists(), "all of it was taken over");
    assert_eq!(read(&site, "task_outputs/old%20file.bin").await, (200, "loose".to_owned()));
    assert_eq!(read(&site, "u/tasks/gone/x.png").await, (200, "newer".to_owned()));
    assert_eq!(read(&site, &own).await, (200, "an output".to_owned()));
}

#[tokio::test]
async fn a_persons_key_reaches_no_files_of_others_tasks() {
    let mut site = site().await;
    let other = "51c00000-0000-4000-8000-000000000002";
    let body = json!({"task_id": id(1), "task_type": "t", "params": {}, "project_id": other, "dependant_on": null});
    called(&site, "create-task", body).await;
    let key = site.make_token(json!({"scopes": ["producer", "worker"], "project": PROJECT})).await;
    site.present(Some(&key));
    let url = site.url(&format!("/storage/v1/object/image_uploads/{PROJECT}/tasks/{}/x.png", id(1)));
    assert_eq!(site.send(site.request(Method::POST, url).body("x")).await.status, 403);
}

#[tokio::test]
async fn a_file_may_take_longer_to_come_than_other_requests_may_take() {
    let site = site_with(&[("server.request_timeout_seconds", "1")]).await;
    let url = reqwest::Url::parse(&site.url("/storage/v1/object/image_uploads/task_outputs/a.txt")).unwrap();
    let at = url.socket_addrs(|| None).unwrap();
    let mut stream = TcpStream::connect(at[0]).await.unwrap();
    let head = format!("POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 8\r\nconnection: close\r\n\r\n", url.path());
    stream.write_all(head.as_bytes()).await.unwrap();
    for part in ["some", "more"] {
        stream.write_all(part.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = bare(&site, Method::GET, "/storage/v1/object/public/image_uploads/task_outputs/a.txt").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "somemore"));
}

#[tokio::test]
async fn an_address_is_good_for_its_file_and_its_hour() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    let body = json!({"task_id": id(1), "filename": "out.mp4", "content_type": "video/mp4"});
    let url = called(&site, "generate-upload-url", body).await["upload_url"].as_str().unwrap().to_owned();
    let put = async |url: &str| site.send(site.request(Method::PUT, url.to_owned()).body("x")).await.status;
    assert_eq!(put(&url.replace("out.mp4", "other.mp4")).await, 400);
    assert_eq!(put(&url.replace("token=", "token=9")).await, 400);
    assert_eq!(put(url.split('?').next().unwrap()).await, 400);
    assert_eq!(put(&url).await, 200);
    site.clock.advance(Duration::from_secs(3_600));
    assert_eq!(put(&url).await, 400);
    for body in [json!({"task_id": id(1)}), json!({"filename": "a", "content_type": "b"})] {
        assert_eq!(call(&site, "generate-upload-url", body).await.status, 400);
    }
}

#[tokio::test]
async fn a_service_key_puts_a_file_anywhere_and_a_persons_own_where_it_belongs() {
    let mut site = site().await;
    let put = async |site: &baton_tests::site::Site, path: &str, upsert: bool| {
        let url = site.url(&format!("/storage/v1/object/image_uploads/{path}"));
        let request = site.request(Method::POST, url).body("bytes");
        let request = if upsert { request.header("x-upsert", "true") } else { request };
        site.send(request).await.status
    };
    assert_eq!(put(&site, "task_outputs/a.png", true).await, 200);
    assert_eq!(put(&site, "task_outputs/a.png", true).await, 200);
    assert_eq!(put(&site, "task_outputs/a.png", false).await, 409);
    let answer = bare(&site, Method::GET, "/storage/v1/object/public/image_uploads/task_outputs/a.png").await;
    // Not by its name, which is its sender's word.
    assert_eq!((answer.status, answer.headers["content-type"].to_str().unwrap()), (200, "text/plain"));
    let answer = bare(&site, Method::GET, "/storage/v1/object/public/image_uploads/absent.png").await;
    assert_eq!(answer.status, 404);
    assert_eq!(put(&site, "page.html", true).await, 200);
    let answer = bare(&site, Method::GET, "/storage/v1/object/public/image_uploads/page.html").await;
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let key = site.make_token(json!({"scopes": ["producer", "worker"], "project": PROJECT})).await;
    site.present(Some(&key));
    assert_eq!(put(&site, "task_outputs/b.png", true).await, 403);
    assert_eq!(put(&site, &format!("{PROJECT}/b.png"), true).await, 200);
}

#[tokio::test]
async fn a_file_that_is_too_large_leaves_nothing() {
    let site = site_with(&[("dialects.edge-functions.file_mebibytes", "1")]).await;
    let url = site.url("/storage/v1/object/image_uploads/large.bin");
    let answer = site.send(site.request(Method::POST, url).body(vec![0; (1 << 20) + 1])).await;
    assert_eq!(answer.status, 413);
    let answer = bare(&site, Method::GET, "/storage/v1/object/public/image_uploads/large.bin").await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn an_address_is_good_for_its_attempt_and_a_file_for_its_own() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    beat(&site, "w1", "active", json!([])).await;
    claim_this(&site, "w1", &id(1)).await;
    let prepare = json!({"task_id": id(1), "filename": "out.mp4", "content_type": "video/mp4"});
    let put = async |told: &Value, text: &'static str| {
        let request = site.request(Method::PUT, told["upload_url"].as_str().unwrap().to_owned());
        site.send(request.body(text)).await.status
    };
    let first = called(&site, "generate-upload-url", prepare.clone()).await;
    assert_eq!(put(&first, "of the first").await, 200);
    site.clock.advance(Duration::from_secs(70));
    reap(&site).await;
    assert_eq!(put(&first, "late").await, 409, "it was given up");
    site.clock.advance(Duration::from_secs(600));
    beat(&site, "w2", "active", json!([])).await;
    claim_this(&site, "w2", &id(1)).await;
    assert_eq!(put(&first, "late").await, 409);
    let late = json!({"task_id": id(1), "storage_path": first["storage_path"]});
    assert_eq!(call(&site, "complete_task", late).await.status, 409);
    assert_eq!(status(&site, &id(1)).await, "In Progress");
    let second = called(&site, "generate-upload-url", prepare.clone()).await;
    assert_eq!(second["storage_path"], format!("{PROJECT}/tasks/{}/attempt-2/out.mp4", id(1)));
    assert_eq!(put(&second, "of the second").await, 200);
    let own = json!({"task_id": id(1), "storage_path": second["storage_path"]});
    let url = called(&site, "complete_task", own).await["public_url"].as_str().unwrap().to_owned();
    for told in [&first, &second, &called(&site, "generate-upload-url", prepare).await] {
        assert_eq!(put(told, "late").await, 409, "what is completed stands");
    }
    assert_eq!(site.send(site.request(Method::GET, url)).await.text, "of the second");
}

#[tokio::test]
async fn what_a_worker_tells_of_its_file_is_the_tasks_output_and_the_record_goes_by_the_address() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    let waits = json!({"task_id": id(2), "task_type": "t", "params": {}, "project_id": PROJECT, "dependant_on": [id(1)]});
    called(&site, "create-task", waits).await;
    claim_this(&site, "w1", &id(1)).await;
    let url = site.url("/storage/v1/object/image_uploads/task_outputs/out.mp4");
    assert_eq!(site.send(site.request(Method::POST, url).body("film")).await.status, 200);
    // As long as workers of March write it, and longer than an address may be.
    let text = json!({"output_location": "task_outputs/out.mp4", "frames": vec![1; 4_000]}).to_string();
    let body = json!({"task_id": id(1), "storage_path": "task_outputs/out.mp4", "output_location": text});
    for time in ["first", "again"] {
        let told = called(&site, "complete_task", body.clone()).await;
        let public = told["public_url"].as_str().unwrap();
        assert!(public.ends_with("/storage/v1/object/public/image_uploads/task_outputs/out.mp4"), "{time}: {told}");
        assert_eq!(told["output_location"], json!(text), "{time}");
        let record = generations(&site, &id(1)).await.remove(0);
        assert_eq!((&record["location"], &record["kind"]), (&json!(public), &json!("video")), "{time}");
    }
    // Without the text it is the same file.
    called(&site, "complete_task", json!({"task_id": id(1), "storage_path": "task_outputs/out.mp4"})).await;
    let other = json!({"task_id": id(1), "storage_path": "task_outputs/out.mp4", "output_location": "{}"});
    assert_eq!(call(&site, "complete_task", other).await.status, 409);
    let told = called(&site, "get-task-output", json!({"task_id": id(1)})).await;
    assert_eq!((&told["status"], &told["output_location"]), (&json!("Complete"), &json!(text)));
    let told = called(&site, "get-predecessor-output", json!({"task_id": id(2)})).await;
    assert_eq!((&told["output_location"], &told["all_complete"]), (&json!(text), &json!(true)));
    let rows = site.get(&format!("/rest/v1/tasks?select=output_location,generation_created&id=eq.{}", id(1))).await.json();
    assert_eq!(rows[0], json!({"output_location": text, "generation_created": true}));
    let rows = site.get("/rest/v1/generations?select=location,type").await.json();
    assert!(rows[0]["location"].as_str().unwrap().ends_with("out.mp4") && rows[0]["type"] == "video", "{rows}");
}
