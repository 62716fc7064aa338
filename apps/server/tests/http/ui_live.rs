//! What moves on the dashboard: events to a session, readings as lines, groups of supervised workers.

use std::time::Duration;

use axum::body::BodyDataStream;
use baton_http::fleet::Asked;
use futures::StreamExt as _;
use http::Request;
use http::header::COOKIE;
use serde_json::json;
use tokio::time::timeout;

use crate::fleet;
use crate::ui::{Browser, guarded, location};
use crate::world::World;

const SOON: Duration = Duration::from_secs(20);

async fn listen(world: &World, browser: &Browser, after: &str) -> BodyDataStream {
    let request = Request::get("/ui/events").header(COOKIE, browser.cookie.clone().unwrap_or_default());
    let answer = world.open_with(request.header("last-event-id", after)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    answer.into_body().into_data_stream()
}

/// What comes until it holds this; none if it ends before.
async fn until(body: &mut BodyDataStream, part: &str) -> Option<String> {
    let mut text = String::new();
    let came = async {
        while !text.contains(part) {
            text.push_str(std::str::from_utf8(&body.next().await?.unwrap()).unwrap());
        }
        Some(())
    };
    timeout(SOON, came).await.expect("something comes")?;
    Some(text)
}

#[tokio::test]
async fn a_session_hears_events_and_goes_on_where_it_was_cut_off() {
    let world = guarded();
    let browser = Browser::signed_in(&world, json!({"name": "ada"})).await;
    let operator = world.with_token(json!({})).await;
    assert!(browser.get("/ui").await.text().contains("data-events=\"/ui/events\""));
    let id = operator.create(json!({"type": "render"})).await;
    let page = browser.get(&format!("/ui/tasks/{id}")).await.text();
    assert!(page.contains(&format!("data-events=\"/ui/events?task_id={id}\"")), "{page}");
    let mut heard = listen(&world, &browser, "").await;
    let next = operator.create(json!({"type": "render"})).await;
    let text = until(&mut heard, &next).await.unwrap();
    assert!(!text.contains(&id), "it was before: {text}");
    let mut again = listen(&world, &browser, "1").await;
    assert!(until(&mut again, &next).await.unwrap().contains("id: 2"), "{text}");
}

#[tokio::test]
async fn who_has_no_session_or_has_signed_out_hears_nothing() {
    let world = guarded();
    let browser = Browser::signed_in(&world, json!({})).await;
    let operator = world.with_token(json!({})).await;
    let nobody = Browser::new(&world).get("/ui/events").await;
    assert_eq!(location(&nobody), "/ui/sign-in?next=%2Fui%2Fevents");
    let worker = Browser::signed_in(&world, json!({"name": "w", "scopes": ["worker"]})).await;
    assert_eq!(worker.get("/ui/events").await.status, 403);
    assert!(!worker.get("/ui").await.text().contains("data-events"), "it is not offered");
    let mut heard = listen(&world, &browser, "").await;
    until(&mut heard, "id: ").await.unwrap();
    let out = browser.post("/ui", "/ui/sign-out", &[]).await;
    assert_eq!(out.status, 303);
    operator.create(json!({"type": "secret"})).await;
    assert_eq!(until(&mut heard, "secret").await, None, "it ends");
}

#[tokio::test]
async fn a_tenants_page_hears_of_its_own_tasks_alone() {
    let world = guarded();
    let operator = world.with_token(json!({})).await;
    let film = Browser::signed_in(&world, json!({"name": "film", "project": "film"})).await;
    let mut heard = listen(&world, &film, "").await;
    operator.create(json!({"type": "a", "project": "game"})).await;
    operator.create(json!({"type": "b", "project": "film"})).await;
    let text = until(&mut heard, "film").await.unwrap();
    assert!(!text.contains("game"), "{text}");
}

#[tokio::test]
async fn readings_are_drawn_as_lines_and_told_in_words() {
    let world = World::new();
    let browser = Browser::new(&world);
    for gpu in [20, 80, 50] {
        let beat = json!({"capacity": 1, "readings": {"<b>gpu": gpu, "once": 1}});
        assert_eq!(world.post("/v1/workers/w1/heartbeat", beat).await.status, 200);
        world.advance(Duration::from_secs(20));
    }
    let told = world.get("/v1/workers/w1?lately=1").await.json();
    assert_eq!(told["lately"]["readings"]["<b>gpu"], json!([20.0, 80.0, 50.0]), "{told:#}");
    assert!(world.get("/v1/workers/w1").await.json().get("lately").is_none());
    assert!(world.get("/v1/workers?lately=1").await.json()["items"][0]["lately"]["at"].is_array());
    for page in ["/ui/workers", "/ui/workers/w1"] {
        let text = browser.get(page).await.text();
        assert!(text.contains("aria-label=\"in the last 1 min from 20 to 80, last 50\""), "{page}: {text}");
        assert_eq!(text.matches("<svg class=\"spark\"").count(), 2, "{page}");
        assert!(!text.contains("<b>gpu"), "{page}");
    }
}

#[tokio::test]
async fn the_page_of_a_task_that_runs_looks_again_each_2_s_at_what_moves_alone() {
    let world = World::new();
    let browser = Browser::new(&world);
    let id = world.create(json!({"type": "render", "params": {"scene": "harbour"}})).await;
    let (page, part) = (format!("/ui/tasks/{id}"), format!("/ui/tasks/{id}?part=moving"));
    for path in [&page, &part] {
        let text = browser.get(path).await.text();
        assert!(text.contains("<main") && !text.contains("data-moving"), "{path}, before it runs: {text}");
    }
    world.claim("w1").await;
    let beat = json!({
        "capacity": 1,
        "running": [{"task_id": id, "attempt": 1, "progress": 0.4, "message": "frame 9"}],
        "logs": [{"at": "2026-02-02T02:40:00Z", "level": "info", "source": "x", "message": "it is warm", "task_id": id}],
    });
    assert_eq!(world.post("/v1/workers/w1/heartbeat", beat).await.status, 200);
    let whole = browser.get(&page).await.text();
    assert!(whole.contains("data-every=\"5\"") && whole.contains("data-moving=\"2\""), "{whole}");
    let answer = browser.get(&part).await;
    assert!(answer.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let moving = answer.text();
    for told in ["data-moving=\"2\"", "40 %", "frame 9", "it is warm", "id=\"now\"", "id=\"history\""] {
        assert!(moving.contains(told) && whole.contains(told), "{told}: {moving}");
    }
    for rest in ["<main", "harbour", "id=\"facts\""] {
        assert!(!moving.contains(rest) && whole.contains(rest), "{rest}: {moving}");
    }
    world.act(&format!("/v1/tasks/{id}/cancel")).await;
    let text = browser.get(&part).await.text();
    assert!(
        text.contains("<main") && !text.contains("data-moving"),
        "once it has ended, all is told: {text}"
    );
}

#[tokio::test]
async fn groups_of_supervised_workers_are_shown_and_directed() {
    let (world, noted) = fleet::world(&[("tokens.required", "always")]);
    let browser = Browser::signed_in(&world, json!({"name": "ada"})).await;
    let page = browser.get("/ui/groups").await.text();
    for part in ["h-resize-1", "./resize.sh", "signal 9 (SIGKILL)", "What it said last", "line one", "1 of 1"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(
        !page.contains("<b>Killed") && page.contains("href=\"/ui/groups\" aria-current=\"page\""),
        "{page}"
    );
    for (action, fields, did) in [
        ("start", &[][..], "started"),
        ("stop", &[("reason", "night")], "stopped"),
        ("restart", &[("rolling", "1")], "rolled"),
        ("restart", &[], "restarted"),
        ("scale", &[("count", "3")], "scaled"),
    ] {
        let answer = browser.post("/ui/groups", &format!("/ui/groups/resize/{action}"), fields).await;
        assert_eq!(location(&answer), format!("/ui/groups?did={did}"));
    }
    let asked: Vec<Asked> = noted.0.lock().unwrap().iter().map(|(_, asked)| *asked).collect();
    let restart = |rolling| Asked::Restart { rolling };
    assert_eq!(asked, [Asked::Start, Asked::Stop, restart(true), restart(false), Asked::Scale(3)]);
    for (path, fields, status) in [
        ("/ui/groups/resize/scale", &[("count", "many")][..], 422),
        ("/ui/groups/resize/scale", &[], 422),
        ("/ui/groups/other/stop", &[], 404),
        ("/ui/groups/resize/explode", &[], 404),
    ] {
        assert_eq!(browser.post("/ui/groups", path, fields).await.status, status, "{path}");
    }
    let operator = world.with_token(json!({})).await;
    let audit = operator.get("/v1/audit").await.json();
    let stop = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["action"] == "stop_group" && entry["outcome"] == 200)
        .unwrap();
    assert_eq!((&stop["token_name"], &stop["reason"]), (&json!("ada"), &json!("night")), "{stop}");

    // Of those who may not, nobody is offered it, and nobody may.
    let before = noted.0.lock().unwrap().len();
    for token in [json!({"scopes": ["producer"]}), json!({"scopes": ["operator"], "queues": ["gpu"]})] {
        let browser = Browser::signed_in(&world, token).await;
        assert!(!browser.get("/ui").await.text().contains("/ui/groups"));
        assert_eq!(browser.get("/ui/groups").await.status, 403);
        assert_eq!(browser.post("/ui", "/ui/groups/resize/stop", &[]).await.status, 403);
    }
    assert_eq!(noted.0.lock().unwrap().len(), before);
}

#[tokio::test]
async fn a_server_that_supervises_nobody_has_no_page_for_it() {
    let world = World::new();
    let browser = Browser::new(&world);
    assert!(!browser.get("/ui").await.text().contains("/ui/groups"));
    assert_eq!(browser.get("/ui/groups").await.status, 404);
}
