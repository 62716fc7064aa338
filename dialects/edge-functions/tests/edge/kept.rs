//! Whose files paths lead to, and what becomes of the files that a record tells of.

use std::time::Duration;

use baton_model::{Timestamp, limits};
use baton_tests::site::{Answer, Site};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::world::{
    PROJECT, bare, call, called, claim_this, create, generations, id, set, site, site_with, status,
};

/// Puts a file by the storage's route, in the place of what is there.
async fn put(site: &Site, path: &str, text: &str) -> u16 {
    let url = site.url(&format!("/storage/v1/object/image_uploads/{path}"));
    let request = site.request(Method::POST, url).header("x-upsert", "true").body(text.to_owned());
    site.send(request).await.status
}

async fn read(site: &Site, path: &str) -> (u16, String) {
    let answer = bare(site, Method::GET, &format!("/storage/v1/object/public/image_uploads/{path}")).await;
    (answer.status, answer.text)
}

/// Puts a file by Baton's own route.
async fn own_put(site: &Site, name: &str) {
    let answer =
        site.send(site.request(Method::PUT, site.own_url(&format!("/v1/files/{name}"))).body("x")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// The files of a project, by their paths, with the tasks that they belong to.
async fn files(site: &Site, project: &str) -> Vec<(String, Value)> {
    let found = site.own_get(&format!("/v1/files?project={project}")).await;
    let items = found["items"].as_array().unwrap().iter();
    items.map(|file| (file["path"].as_str().unwrap().to_owned(), file["task_id"].clone())).collect()
}

fn handing_over(path: &str) -> Value {
    json!({"task_id": id(1), "storage_path": path})
}

/// "hello" as a file of this name.
fn hello(name: &str) -> Value {
    json!({"task_id": id(1), "file_data": "aGVsbG8=", "filename": name})
}

async fn running(settings: &[(&str, &str)]) -> Site {
    let site = site_with(settings).await;
    create(&site, &id(1), "t", json!({})).await;
    claim_this(&site, "w1", &id(1)).await;
    site
}

#[tokio::test]
async fn anybody_reads_the_files_of_the_platforms_tasks_by_their_users_name_and_those_of_no_other_task() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    let other = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    site.own_post("/v1/tasks", &json!({"id": other, "type": "a", "project": "film"})).await;
    let of_platform = format!("{PROJECT}/tasks/{}/a.txt", id(1));
    for name in
        [&of_platform, &format!("film/tasks/{other}/a.txt"), &format!("image_uploads/tasks/{other}/a.txt")]
    {
        own_put(&site, name).await;
    }
    assert_eq!(read(&site, &of_platform).await, (200, "x".to_owned()));
    for (path, expected) in [
        (format!("elsewhere/tasks/{}/a.txt", id(1)), 404),
        (format!("film/tasks/{other}/a.txt"), 404),
        (format!("u/tasks/{other}/a.txt"), 404),
        // Whatever project has the bucket's name.
        (format!("tasks/{other}/a.txt"), 400),
    ] {
        assert_eq!(read(&site, &path).await.0, expected, "{path}");
        // Nor is anything put there.
        put(&site, &path, "y").await;
    }
    assert_eq!(read(&site, &of_platform).await.1, "x");
    assert_eq!(files(&site, "film").await.len(), 1);
    let body = json!({"task_type": "t", "params": {}, "project_id": "image_uploads"});
    assert_eq!(call(&site, "create-task", body).await.status, 404);
}

#[tokio::test]
async fn what_was_put_before_its_project_had_an_owner_is_read_by_the_name_of_then() {
    let site = running(&[]).await;
    let path = format!("{PROJECT}/tasks/{}/a.txt", id(1));
    assert_eq!(put(&site, &path, "a file").await, 200);
    site.own_post(&format!("/v1/projects/{PROJECT}/owner"), &json!({"owner": "ann"})).await;
    site.clock.advance(Duration::from_secs(11));
    assert_eq!(read(&site, &path).await, (200, "a file".to_owned()));
    assert_eq!(read(&site, &format!("ann/tasks/{}/a.txt", id(1))).await.0, 200);
}

#[tokio::test]
async fn a_persons_key_hands_over_no_file_of_another_project_of_the_same_owner() {
    let mut site = site().await;
    let other = "51c00000-0000-4000-8000-000000000002";
    for project in [PROJECT, other] {
        site.own_post(&format!("/v1/projects/{project}/owner"), &json!({"owner": "ann"})).await;
    }
    create(&site, &id(1), "travel_orchestrator", json!({})).await;
    let key = site.make_token(json!({"scopes": ["worker"], "project": PROJECT})).await;
    site.present(Some(&key));
    claim_this(&site, "w1", &id(1)).await;
    site.present(None);
    let body =
        json!({"task_id": id(2), "task_type": "t", "params": {}, "project_id": other, "dependant_on": null});
    called(&site, "create-task", body).await;
    let path = format!("ann/tasks/{}/a.txt", id(2));
    assert_eq!(put(&site, &path, "of another").await, 200);
    site.present(Some(&key));
    let answer = call(&site, "complete_task", handing_over(&path)).await;
    assert_eq!((answer.status, &answer.json()["errorCode"]), (403, &json!("storage_forbidden")));
    site.present(None);
    assert_eq!(status(&site, &id(1)).await, "In Progress");
    called(&site, "complete_task", handing_over(&path)).await;
}

#[tokio::test]
async fn who_may_not_end_an_attempt_leaves_no_file() {
    // The worker's name is a service key's.
    let mut site = running(&[]).await;
    let key = site.make_token(json!({"scopes": ["worker"], "project": PROJECT})).await;
    site.present(Some(&key));
    let answer = call(&site, "complete_task", hello("out.txt")).await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
    site.present(None);
    assert!(files(&site, PROJECT).await.is_empty());
    called(&site, "complete_task", hello("out.txt")).await;
}

#[tokio::test]
async fn what_a_record_tells_of_is_no_other_files_place() {
    let site = running(&[]).await;
    let path = format!("{PROJECT}/tasks/{}/out.txt", id(1));
    assert_eq!((put(&site, &path, "first").await, put(&site, &path, "second").await), (200, 200));
    called(&site, "complete_task", handing_over(&path)).await;
    assert_eq!(put(&site, &path, "late").await, 409);
    assert_eq!(read(&site, &path).await, (200, "second".to_owned()));
    // What takes nothing's place is welcome.
    assert_eq!(put(&site, &format!("{PROJECT}/tasks/{}/notes.txt", id(1)), "more").await, 200);
}

#[tokio::test]
async fn a_file_that_comes_along_lies_beside_another_one_of_its_name() {
    let site = running(&[]).await;
    let path = format!("{PROJECT}/tasks/{}/out.txt", id(1));
    assert_eq!(put(&site, &path, "another's").await, 200);
    let first = called(&site, "complete_task", hello("out.txt")).await;
    let url = first["public_url"].as_str().unwrap();
    assert!(url.ends_with("/out.txt") && !url.ends_with(&path), "{url}");
    assert_eq!(read(&site, &path).await.1, "another's");
    assert_eq!(read(&site, url.split("/image_uploads/").nth(1).unwrap()).await.1, "hello");
    let again = called(&site, "complete_task", hello("out.txt")).await;
    assert_eq!(
        (&again["public_url"], &again["generation_id"]),
        (&first["public_url"], &first["generation_id"])
    );
}

/// Sends the head and a part of a file, and the rest once `between` is done.
async fn put_slowly(site: &Site, path: &str, between: impl Future<Output = ()>) -> String {
    let url = site.url(&format!("/storage/v1/object/image_uploads/{path}"));
    let url = reqwest::Url::parse(&url).unwrap();
    let at = url.socket_addrs(|| None).unwrap();
    let mut stream = TcpStream::connect(at[0]).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\nx-upsert: true\r\ncontent-length: 8\r\nconnection: close\r\n\r\n",
        url.path()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"some").await.unwrap();
    // So that it has come so far.
    tokio::time::sleep(Duration::from_millis(200)).await;
    between.await;
    stream.write_all(b"more").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_upload_that_ends_after_its_attempt_takes_no_files_place() {
    let site = running(&[]).await;
    let path = format!("{PROJECT}/tasks/{}/out.txt", id(1));
    assert_eq!(put(&site, &path, "handed over").await, 200);
    let answer = put_slowly(&site, &path, async {
        called(&site, "complete_task", handing_over(&path)).await;
    });
    let answer = answer.await;
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
    assert_eq!(read(&site, &path).await, (200, "handed over".to_owned()));
    // While it goes on, the last word counts.
    create(&site, &id(2), "t", json!({})).await;
    let path = format!("{PROJECT}/tasks/{}/out.txt", id(2));
    assert!(put_slowly(&site, &path, async {}).await.starts_with("HTTP/1.1 200"));
    assert_eq!(read(&site, &path).await.1, "somemore");
}

#[tokio::test]
async fn a_completion_is_known_again_by_its_record_whatever_has_become_of_its_file() {
    let site = running(&[]).await;
    let first = called(&site, "complete_task", hello("out.txt")).await;
    let (file, _) = files(&site, PROJECT).await.remove(0);
    let url = site.own_url(&format!("/v1/files/{PROJECT}/{file}"));
    assert_eq!(site.send(site.request(Method::DELETE, url)).await.status, 204);
    site.own_post(&format!("/v1/projects/{PROJECT}/owner"), &json!({"owner": "ann"})).await;
    site.clock.advance(Duration::from_secs(11));
    let again = called(&site, "complete_task", hello("out.txt")).await;
    assert_eq!(again["generation_id"], first["generation_id"]);
    // With a text besides, the file counts as well: "other".
    let url = first["public_url"].clone();
    let mut other =
        json!({"task_id": id(1), "output_location": url, "file_data": "b3RoZXI=", "filename": "out.txt"});
    assert_eq!(call(&site, "complete_task", other.clone()).await.status, 409);
    other["file_data"] = json!("aGVsbG8=");
    assert_eq!(called(&site, "complete_task", other).await["generation_id"], first["generation_id"]);
}

#[tokio::test]
async fn an_address_of_this_server_that_leads_to_nothing_is_no_output() {
    let site = running(&[]).await;
    let absent = site.url("/storage/v1/object/public/image_uploads/task_outputs/absent.png");
    let told: [Answer; 2] = [
        call(&site, "complete_task", json!({"task_id": id(1), "output_location": absent})).await,
        set(&site, &id(1), "Complete", json!({"output_location": absent})).await,
    ];
    for answer in told {
        assert_eq!((answer.status, &answer.json()["errorCode"]), (404, &json!("storage_not_found")));
    }
    assert_eq!(status(&site, &id(1)).await, "In Progress");
}

#[tokio::test]
async fn a_file_is_a_tasks_once_its_record_tells_of_it_and_not_before() {
    let site = running(&[]).await;
    assert_eq!(put(&site, "task_outputs/a.txt", "a file").await, 200);
    let mut refused = handing_over("task_outputs/a.txt");
    refused["output_location"] = json!("x".repeat(limits::Limits::default().result_bytes));
    assert_eq!(call(&site, "complete_task", refused).await.status, 400);
    assert_eq!(files(&site, "image_uploads").await, [("task_outputs/a.txt".to_owned(), Value::Null)]);
    called(&site, "complete_task", handing_over("task_outputs/a.txt")).await;
    assert_eq!(files(&site, "image_uploads").await, [("task_outputs/a.txt".to_owned(), json!(id(1)))]);
    assert_eq!(
        generations(&site, &id(1)).await[0]["metadata"]["files"][0]["name"],
        "image_uploads/task_outputs/a.txt"
    );
}

#[tokio::test]
async fn what_is_taken_over_has_no_end_and_what_cannot_be_is_left() {
    let site = running(&[("dialects.edge-functions.upload_days", "3")]).await;
    let old = site.dir().join("files/files");
    let own = format!("{PROJECT}/tasks/{}/out.txt", id(1));
    for path in [own.as_str(), "task_outputs/old.txt", "tasks/..strange:name"] {
        let place = old.join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, "an old file").unwrap();
    }
    let site = site.restarted().await;
    let left = old.join("tasks/..strange:name");
    for _ in 0..200 {
        if !old.join(&own).exists() && !old.join("task_outputs").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for path in [own.as_str(), "task_outputs/old.txt"] {
        assert_eq!(read(&site, path).await, (200, "an old file".to_owned()));
        let document = site.dir().join(format!("baton-files/names/image_uploads/{path}~"));
        let document: Value = serde_json::from_slice(&std::fs::read(document).unwrap()).unwrap();
        assert_eq!(document["kept_until"], json!(Timestamp::MAX), "{path}");
    }
    assert!(left.exists(), "it is no file of the dialect's");
    // A record may tell of it, and then nothing takes its place.
    called(&site, "complete_task", handing_over(&own)).await;
    assert_eq!(put(&site, &own, "late").await, 409);
    assert_eq!(read(&site, &own).await.1, "an old file");
}
