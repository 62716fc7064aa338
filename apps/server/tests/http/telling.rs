//! What a server tells those who listen to its work: up to its last request, and in nobody's way.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_runtime::spans::TakeMetrics;
use baton_server::{Beside, Listener};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::sockets::{SOON, site_beside};

type Telling = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server whose figures are taken so often, and so.
fn told(every: Duration, take: TakeMetrics) -> Beside {
    Beside { listener: Listener { spans: None, metrics: Some((every, take)) }, ..Beside::default() }
}

#[tokio::test]
async fn the_last_figures_tell_of_requests_that_were_answered_within_the_grace() {
    let texts: Arc<Mutex<Vec<String>>> = Arc::default();
    let all = Arc::clone(&texts);
    let take: TakeMetrics = Arc::new(move |text: String| -> Telling {
        all.lock().unwrap().push(text);
        Box::pin(async {})
    });
    let site = site_beside(&[], told(Duration::from_secs(3_600), take)).await;
    let mut half = site.connect().await;
    let head = "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{\"type\"";
    half.0.write_all(head.as_bytes()).await.unwrap();
    // The server has the request once it has answered one that was sent later.
    site.connect().await.ask("GET", "/livez", "").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stopped = tokio::spawn(site.shutdown());
    tokio::time::sleep(Duration::from_millis(300)).await;
    half.0.write_all(b":\"a\"}").await.unwrap();
    let (head, _) = timeout(SOON, half.answer()).await.expect("answered").expect("answered");
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    assert!(timeout(SOON, stopped).await.expect("stopped").unwrap(), "all was answered");
    let texts = texts.lock().unwrap();
    let asked = r#"baton_requests_total{route="/v1/tasks",method="POST",status="201"} 1"#;
    assert!(texts.len() == 1 && texts[0].contains(asked), "{texts:?}");
}

#[tokio::test]
async fn the_reaper_goes_on_though_who_takes_figures_has_broken() {
    let take: TakeMetrics = Arc::new(|text: String| -> Telling {
        Box::pin(async move { assert!(text.is_empty(), "who takes figures breaks") })
    });
    let settings = [("reaper.interval_seconds", "0.1")];
    let site = site_beside(&settings, told(Duration::from_millis(10), take)).await;
    let mut connection = site.connect().await;
    let (_, created) = connection.ask("POST", "/v1/tasks", r#"{"type":"a","expires_after_seconds":1}"#).await;
    let id = created["id"].as_str().unwrap().to_owned();
    let reaped = async {
        loop {
            let (_, shown) = connection.ask("GET", &format!("/v1/tasks/{id}"), "").await;
            if shown["task"]["status"] == "failed" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, reaped).await.expect("the task has expired");
    assert!(site.shutdown().await, "all was answered");
}
