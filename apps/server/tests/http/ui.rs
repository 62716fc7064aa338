//! The dashboard, as browsers meet it: signing in, what a page may load, what whose token sees and may do.

mod sessions;
mod setting;

use std::time::Duration;

use axum::body::Body;
use http::Request;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use serde_json::{Value, json};

use crate::world::{Answer, World};

const PAGES: &[&str] = &[
    "/ui",
    "/ui/queues",
    "/ui/tasks",
    "/ui/workers",
    "/ui/schedules",
    "/ui/limits",
    "/ui/alerts",
    "/ui/projects",
    "/ui/tokens",
    "/ui/audit",
    "/ui/settings",
    "/ui/settings/log.level",
];

/// What would run if anything of it were taken as it is.
const HOSTILE: &str =
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>javascript:alert(1)\u{202E}gnp.exe\u{0007}";

/// Somebody with a browser.
#[derive(Clone)]
pub(crate) struct Browser {
    world: World,
    pub(crate) cookie: Option<String>,
}

impl Browser {
    pub(crate) fn new(world: &World) -> Self {
        Self { world: world.clone(), cookie: None }
    }

    /// Somebody who has signed in with a new token.
    pub(crate) async fn signed_in(world: &World, token: Value) -> Self {
        let (_, secret) = world.token(token).await;
        let mut browser = Self::new(world);
        let answer = browser.sign_in(&secret.reveal()).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        browser
    }

    async fn sign_in(&mut self, token: &str) -> Answer {
        let answer = self.post("/ui/sign-in", "/ui/sign-in", &[("token", token)]).await;
        if let Some(cookie) = answer.headers.get(SET_COOKIE) {
            self.cookie = cookie.to_str().unwrap().split(';').next().map(str::to_owned);
        }
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path), Body::empty()).await
    }

    /// Posts a form that the page `from` has, with that page's token.
    pub(crate) async fn post(&self, from: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.get(from).await.text();
        let token = page.split("name=\"form\" value=\"").nth(1).map(|rest| &rest[..64]).unwrap_or_default();
        let mut all = vec![("form", token)];
        all.extend(fields);
        self.post_form(path, &all).await
    }

    async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let body: Vec<String> =
            fields.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
        let request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request, Body::from(body.join("&"))).await
    }

    async fn send(&self, mut request: http::request::Builder, body: Body) -> Answer {
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        self.world.send(request.body(body).unwrap()).await
    }
}

pub(crate) fn location(answer: &Answer) -> &str {
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.headers[LOCATION].to_str().unwrap()
}

pub(crate) fn guarded() -> World {
    World::with(&[("tokens.required", "always")])
}

#[tokio::test]
async fn every_page_binds_the_browser_and_has_nothing_inline() {
    let world = guarded();
    let browser = Browser::signed_in(&world, json!({})).await;
    let task = world.with_token(json!({})).await.create(json!({"type": "render"})).await;
    let one = format!("/ui/tasks/{task}");
    let others = [
        one.as_str(),
        "/ui/sign-in",
        "/ui/no-such-page",
        "/ui/tasks/nothing",
        "/ui/static/app.css",
        "/ui/static/app.js",
    ];
    for path in PAGES.iter().chain(&others) {
        let answer = browser.get(path).await;
        let policy = answer.headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "media-src 'self';",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        let text = answer.text();
        assert!(text.len() < 150_000, "{path} weighs {} bytes", text.len());
        if text.starts_with("<!doctype") {
            for inline in [" style=", "<style", " onclick=", "javascript:", "http://", "https://"] {
                assert!(!text.contains(inline), "{path} has {inline}");
            }
            assert!(text.contains("<html lang=\"en\">") && text.contains("<main id=\"main\""), "{path}");
        }
    }
    for path in PAGES {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        assert_eq!(answer.text().matches("aria-current=\"page\"").count(), 1, "{path}");
    }
    assert_eq!(browser.get("/ui/no-such-page").await.status, 404);
    assert_eq!(browser.get("/ui/tasks/nothing").await.status, 422);
}

#[tokio::test]
async fn where_no_token_is_needed_nobody_signs_in() {
    let world = World::new();
    let browser = Browser::new(&world);
    for path in PAGES {
        assert_eq!(browser.get(path).await.status, 200, "{path}");
    }
    let task = world.create(json!({"type": "render"})).await;
    let page = format!("/ui/tasks/{task}");
    let answer = browser.post(&page, &format!("{page}/cancel"), &[("reason", "no longer wanted")]).await;
    assert_eq!(location(&answer), format!("{page}?did=cancelled"));
    assert_eq!(world.task(&task).await["task"]["status"], "cancelled");
}

#[tokio::test]
async fn what_waits_and_runs_is_drawn_over_the_minutes_that_the_server_has_noted() {
    let world = guarded();
    let browser = Browser::signed_in(&world, json!({})).await;
    let operator = world.with_token(json!({})).await;
    let look = async || baton_http::untaken::look_for_untaken(&world.app, true).await.unwrap();
    let minutes = async || operator.get("/v1/stats?minutes=1").await.json()["minutes"].clone();
    assert_eq!(minutes().await, Value::Null, "nothing is noted yet");
    for _ in 0..2 {
        operator.create(json!({"type": "render"})).await;
    }
    look().await;
    let before = browser.get("/ui").await.text();
    assert!(before.contains("id=\"course\"") && !before.contains("<polyline"), "{before}");
    world.advance(Duration::from_secs(10));
    operator.claim("w1").await;
    look().await;
    world.advance(Duration::from_secs(60));
    look().await;
    world.advance(Duration::from_secs(120));
    operator.create(json!({"type": "render"})).await;
    look().await;
    let waiting = json!([2, 1, null, 2]);
    let running = json!([0, 1, null, 1]);
    let from = "2026-02-02T02:40:00.000Z";
    assert_eq!(minutes().await, json!({"from": from, "waiting": waiting, "running": running}));
    assert_eq!(operator.get("/v1/stats").await.json().get("minutes"), None, "it is told to who asks for it");
    let text = browser.get("/ui").await.text();
    for part in [
        "Tasks waiting from 02:40 to 02:43 UTC: at most 2, at least 1, last 2",
        "Tasks running from 02:40 to 02:43 UTC: at most 1, at least 0, last 1",
        "<polyline class=\"c-waiting\" points=\"0.0,1.0 320.0,40.0 960.0,1.0\"/>",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Another server has its own memory, and one that is bound is told nothing.
    let other = world.restarted().await;
    assert_eq!(other.get("/v1/stats?minutes=1").await.json().get("minutes"), None);
    let tenant = world.with_token(json!({"project": "film"})).await;
    tenant.get("/v1/stats?minutes=1").await.problem(403, "outside_grant");
}

#[tokio::test]
async fn a_form_without_the_sessions_token_changes_nothing() {
    let world = guarded();
    let browser = Browser::signed_in(&world, json!({})).await;
    let other = Browser::signed_in(&world, json!({})).await;
    let operator = world.with_token(json!({})).await;
    let task = operator.create(json!({"type": "render"})).await;
    let act = format!("/ui/tasks/{task}/cancel");
    for fields in [&[][..], &[("form", "")], &[("form", "0000")]] {
        let answer = browser.post_form(&act, fields).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    // A token of another session is none of this one, and without a session there is none at all.
    let page = other.get("/ui").await.text();
    let of_other = page.split("name=\"form\" value=\"").nth(1).map(|rest| &rest[..64]).unwrap();
    assert_eq!(browser.post_form(&act, &[("form", of_other)]).await.status, 403);
    assert_eq!(Browser::new(&world).post_form(&act, &[("form", of_other)]).await.status, 303);
    // A form of another site is refused, whatever it holds.
    let page = browser.get("/ui").await.text();
    let own = page.split("name=\"form\" value=\"").nth(1).map(|rest| &rest[..64]).unwrap();
    for (name, value) in
        [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        let request = Request::post(&act).header(name, value).header("host", "baton.example.org");
        let answer = browser.send(request, Body::from(format!("form={own}"))).await;
        assert_eq!(answer.status, 403, "{name}: {value}");
    }
    assert_eq!(operator.task(&task).await["task"]["status"], "queued");
    assert_eq!(browser.get(&act).await.status, 405, "a link can change something");
}

#[tokio::test]
async fn what_is_done_is_done_by_the_token_and_recorded_as_its_own() {
    let world = guarded();
    let browser = Browser::signed_in(&world, json!({"name": "ada"})).await;
    let operator = world.with_token(json!({})).await;
    let task = operator.create(json!({"type": "render", "queue": "gpu"})).await;
    let page = format!("/ui/tasks/{task}");
    assert!(browser.get(&page).await.text().contains("Cancel the task"));
    let answer = browser.post(&page, &format!("{page}/cancel"), &[("reason", "a mistake")]).await;
    assert!(browser.get(location(&answer)).await.text().contains("The task is cancelled."));
    assert!(browser.get(&page).await.text().contains("Put it back into its queue"));
    let answer = browser.post(&page, &format!("{page}/retry"), &[]).await;
    assert_eq!(location(&answer), format!("{page}?did=retried"));
    browser.post("/ui/queues", "/ui/queues/gpu/pause", &[("reason", "too hot")]).await;
    let queues = browser.get("/ui/queues").await.text();
    assert!(queues.contains("too hot") && queues.contains("by <bdi>ada</bdi>"), "{queues}");
    assert!(browser.get("/ui").await.text().contains("queue gpu was paused"));
    browser.post("/ui/queues", "/ui/queues/gpu/resume", &[]).await;
    operator.claim_of("w1", "gpu").await;
    let worker = "/ui/workers/w1";
    browser.post(worker, "/ui/workers/w1/drain", &[]).await;
    assert!(browser.get(worker).await.text().contains("Let it run on"));
    let audit = operator.get("/v1/audit").await.json();
    let done: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|entry| {
            assert_eq!(entry["token_name"], "ada", "{entry}");
            assert_eq!(entry["outcome"], 200, "{entry}");
            entry["action"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(done, ["cancel_task", "retry_task", "pause_queue", "resume_queue", "drain_worker"]);
    let history = operator.task(&task).await["history"].clone();
    assert_eq!((&history[1]["by"], &history[1]["reason"]), (&json!("ada"), &json!("a mistake")));
    let shown = browser.get("/ui/audit?action=pause_queue").await.text();
    assert!(
        shown.contains("pause_queue") && shown.contains("too hot") && !shown.contains("cancel_task</code>")
    );
}

#[tokio::test]
async fn what_a_token_may_not_do_is_not_offered_and_refused() {
    let world = guarded();
    let operator = world.with_token(json!({})).await;
    let producer = Browser::signed_in(&world, json!({"name": "maker", "scopes": ["producer"]})).await;
    let worker = Browser::signed_in(&world, json!({"name": "runner", "scopes": ["worker"]})).await;
    let task = operator.create(json!({"type": "render", "queue": "gpu"})).await;
    operator.act(&format!("/v1/tasks/{task}/cancel")).await;
    let page = format!("/ui/tasks/{task}");
    for browser in [&producer, &worker] {
        let shown = browser.get(&page).await;
        assert_eq!(shown.status, 200);
        assert!(!shown.text().contains("/retry\""), "it offers what is refused");
        assert!(
            !shown.text().contains("href=\"/ui/audit\"") && !shown.text().contains("href=\"/ui/workers\"")
        );
        assert_eq!(browser.post(&page, &format!("{page}/retry"), &[]).await.status, 403);
        assert_eq!(browser.post(&page, "/ui/queues/gpu/pause", &[]).await.status, 403);
        assert_eq!(browser.post(&page, "/ui/bulk", &[("do", "cancel"), ("queue", "gpu")]).await.status, 403);
        for path in ["/ui/audit", "/ui/tokens", "/ui/workers", "/ui/limits", "/ui/projects", "/ui/settings"] {
            assert_eq!(browser.get(path).await.status, 403, "{path}");
        }
        let setting = "/ui/settings/retention.log_hours";
        assert_eq!(browser.get(setting).await.status, 403);
        for act in ["confirm", "change"] {
            let answer = browser.post("/ui", &format!("{setting}/{act}"), &[("value", "12")]).await;
            assert_eq!(answer.status, 403, "{act}");
        }
        assert_eq!(browser.get("/ui").await.status, 200);
    }
    assert!(!producer.get("/ui/queues").await.text().contains("/pause\""));
    assert!(!producer.get("/ui/tasks?queue=gpu").await.text().contains("/ui/bulk"));
    assert_eq!(worker.get("/ui/tasks").await.status, 403);
    assert_eq!(operator.task(&task).await["task"]["status"], "cancelled");
    assert_eq!(operator.get("/v1/queues/gpu").await.json()["paused"], false);
}

#[tokio::test]
async fn a_setting_is_changed_after_a_question_and_a_bad_value_is_refused_on_its_page() {
    let world = guarded();
    let browser = Browser::signed_in(&world, json!({"name": "ada"})).await;
    let operator = world.with_token(json!({})).await;
    let list = browser.get("/ui/settings").await.text();
    let page = "/ui/settings/retention.log_hours";
    assert!(list.contains(&format!("href=\"{page}\"")) && !list.contains("/ui/settings/store.url"), "{list}");
    assert!(browser.get(page).await.text().contains("Nobody has changed it"));
    let confirm = format!("{page}/confirm");
    let refused = browser.post(page, &confirm, &[("value", "0"), ("reason", "a <b>slip</b>")]).await;
    assert_eq!(refused.status, 422);
    let text = refused.text();
    assert!(text.contains("role=\"alert\"") && text.contains("from 1 to 87600, got 0"), "{text}");
    assert!(
        text.contains("value=\"0\"") && text.contains("a &#60;b&#62;slip"),
        "what was typed stays: {text}"
    );
    assert_eq!(browser.post(page, &format!("{page}/change"), &[("value", "0")]).await.status, 422);
    let asked = browser.post(page, &confirm, &[("value", "12"), ("reason", "the disk")]).await;
    assert!(asked.text().contains("It is to be <code>12</code>"), "{}", asked.text());
    let kept = async || operator.get("/v1/config/retention.log_hours").await.json()["setting"].clone();
    assert_eq!(kept().await["stored"], Value::Null, "a question changes nothing");
    let fields = [("value", "12"), ("reason", "the disk")];
    let done = browser.post(page, &format!("{page}/change"), &fields).await;
    assert_eq!(location(&done), format!("{page}?did=set"));
    let text = browser.get(page).await.text();
    assert!(
        text.contains("<code>12</code> from the store, set by ada") && text.contains("the disk"),
        "{text}"
    );
    assert_eq!(kept().await["value"], "12");
    let asked = browser.post(page, &confirm, &[("do", "unset")]).await;
    assert!(asked.text().contains("It is to be unset"), "{}", asked.text());
    browser.post(page, &format!("{page}/change"), &[("do", "unset")]).await;
    assert_eq!(kept().await["stored"], Value::Null);
    let text = browser.get(page).await.text();
    assert!(text.contains("<code>12</code></td><td><code>unset</code>"), "what it was: {text}");
    let audit = operator.get("/v1/audit").await.json();
    let done: Vec<_> =
        audit["items"].as_array().unwrap().iter().map(|one| one["action"].as_str().unwrap()).collect();
    assert!(done.starts_with(&["unset_config", "set_config"]), "{done:?}");
    for key in ["store.url", "log.levl", "%3Cscript%3E"] {
        let answer = browser.get(&format!("/ui/settings/{key}")).await;
        assert_eq!(answer.status, 422, "{key}");
        assert!(!answer.text().contains("<script>alert"));
    }
}

#[tokio::test]
async fn a_drain_is_taken_back_on_the_workers_page_until_it_has_ended() {
    let world = guarded();
    let browser = Browser::signed_in(&world, json!({"name": "ada"})).await;
    let operator = world.with_token(json!({})).await;
    let beat = async |ending: bool| {
        let answer = operator.post("/v1/workers/w1/heartbeat", json!({"ending": ending})).await;
        answer.json()["directive"].as_str().unwrap().to_owned()
    };
    beat(false).await;
    let page = "/ui/workers/w1";
    browser.post(page, "/ui/workers/w1/drain", &[("reason", "a new card")]).await;
    let text = browser.get(page).await.text();
    assert!(text.contains("by <bdi>ada</bdi>: <bdi>a new card</bdi>"), "{text}");
    assert!(text.contains("Let it run on") && text.contains("Stop the worker"), "{text}");
    let told = browser.post(page, "/ui/workers/w1/run", &[]).await;
    assert_eq!(location(&told), "/ui/workers/w1?did=runs");
    assert_eq!(beat(true).await, "run", "it hears so with its last heartbeat");
    assert_eq!(beat(false).await, "run");
    browser.post(page, "/ui/workers/w1/drain", &[]).await;
    let form = browser.get(page).await.text();
    assert_eq!(beat(true).await, "drain");
    assert!(!browser.get(page).await.text().contains("Let it run on"), "it has ended");
    let token = form.split("name=\"form\" value=\"").nth(1).map(|rest| &rest[..64]).unwrap();
    let late = browser.post_form("/ui/workers/w1/run", &[("form", token)]).await;
    assert_eq!(location(&late), "/ui/workers/w1?did=ended-before");
    assert!(browser.get(location(&late)).await.text().contains("had ended before"));
}

#[tokio::test]
async fn a_tenant_sees_and_reaches_its_own_alone() {
    let world = guarded();
    let film = world.with_token(json!({"name": "film", "project": "film"})).await;
    let task = film.create(json!({"type": "secret-render", "description": "only-for-film"})).await;
    let game = Browser::signed_in(&world, json!({"name": "game", "project": "game"})).await;
    let page = format!("/ui/tasks/{task}");
    for path in [
        "/ui",
        "/ui/tasks",
        "/ui/tasks?status=queued",
        "/ui/schedules",
        &format!("/ui/find?id={}", &task[..8]),
    ] {
        let text = game.get(path).await.text();
        assert!(
            !text.contains("secret-render") && !text.contains("only-for-film") && !text.contains(&task),
            "{path}"
        );
    }
    assert_eq!(game.get(&page).await.status, 404);
    assert_eq!(game.get("/ui/tasks?project=film").await.status, 403);
    for act in ["cancel", "retry"] {
        assert_eq!(game.post("/ui", &format!("{page}/{act}"), &[]).await.status, 404, "{act}");
    }
    assert_eq!(film.task(&task).await["task"]["status"], "queued");
    let own = Browser::signed_in(&world, json!({"name": "film-2", "project": "film"})).await;
    let text = own.get("/ui/tasks").await.text();
    assert!(text.contains("secret-render") && text.contains("bound to <bdi>project film</bdi>"));
}

#[tokio::test]
async fn nothing_that_callers_write_is_taken_for_the_page() {
    let world = guarded();
    let operator = world.with_token(json!({})).await;
    let long = "w".repeat(5_000);
    let params = json!({HOSTILE: HOSTILE, "long": long, "deep": [[[HOSTILE]]]});
    let failed = operator.create(json!({"type": "render", "params": params, "description": HOSTILE})).await;
    operator.claim("w1").await;
    let error = json!({"message": HOSTILE, "code": "bad", "details": {"why": HOSTILE}});
    let failure = json!({"worker_id": "w1", "attempt": 1, "retryable": false, "error": error});
    assert_eq!(operator.post(&format!("/v1/tasks/{failed}/fail"), failure).await.status, 200);
    let done = operator.create(json!({"type": "render"})).await;
    operator.claim("w1").await;
    let line = json!({"at": "2026-02-02T02:40:00Z", "level": "error", "source": HOSTILE, "message": HOSTILE, "task_id": done});
    let beat =
        json!({"running": [{"task_id": done, "attempt": 1}], "logs": [line], "labels": {"gpu": HOSTILE}});
    let answer = operator.post("/v1/workers/w1/heartbeat", beat).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let output = json!({"worker_id": "w1", "attempt": 1, "result": {"x": HOSTILE}, "location": "javascript:alert(1)", "kind": HOSTILE});
    let answer = operator.post(&format!("/v1/tasks/{done}/complete"), output).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let reason = json!({"reason": HOSTILE});
    assert_eq!(operator.post("/v1/queues/default/pause", reason).await.status, 200);
    let browser = Browser::signed_in(&world, json!({})).await;
    let (failed, done) = (format!("/ui/tasks/{failed}"), format!("/ui/tasks/{done}"));
    let asked = format!("/ui/tasks?queue={0}&status={0}", "%3Cscript%3Ealert(1)%3C/script%3E%22'%3E");
    let found = "/ui/find?id=%3Cscript%3Ealert(1)";
    let next = "/ui/sign-in?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for path in PAGES.iter().copied().chain([&*failed, &*done, "/ui/workers/w1", &asked, found, next]) {
        let text = browser.get(path).await.text();
        for raw in ["<script>alert", "<img src=x", "href=\"javascript:", "\u{202E}", "\u{0007}"] {
            assert!(!text.contains(raw), "{path} has {raw:?}");
        }
        assert!(text.len() < 150_000, "{path} weighs {} bytes", text.len());
    }
    let text = browser.get(&failed).await.text();
    assert!(text.contains("[U+202E]") && text.contains("&#60;script&#62;alert"), "{text}");
    assert!(browser.get(&done).await.text().contains("Result"));
}

#[tokio::test]
async fn a_bulk_command_is_counted_confirmed_and_followed() {
    let world = guarded();
    let operator = world.with_token(json!({})).await;
    for at in 0..120 {
        let queue = if at % 2 == 0 { "old" } else { "new" };
        operator.create(json!({"type": "render", "queue": queue})).await;
    }
    let browser = Browser::signed_in(&world, json!({"name": "ada"})).await;
    assert!(!browser.get("/ui/tasks").await.text().contains("/ui/bulk"), "all tasks at once are offered");
    let list = "/ui/tasks?queue=old";
    assert!(browser.get(list).await.text().contains("/ui/bulk/confirm"));
    let confirm = browser.post(list, "/ui/bulk/confirm", &[("do", "cancel"), ("queue", "old")]).await;
    assert_eq!(confirm.status, 200, "{}", confirm.text());
    assert!(
        confirm.text().contains("<strong>60</strong> tasks") && confirm.text().contains("Cancel 60 tasks")
    );
    assert_eq!(operator.get("/v1/queues/old").await.json()["queued"], 60);
    let answer =
        browser.post(list, "/ui/bulk", &[("do", "cancel"), ("queue", "old"), ("reason", "stale")]).await;
    let page = browser.get(location(&answer)).await.text();
    assert!(
        page.contains("Bulk cancel") && page.contains("<strong>60</strong>") && page.contains("stale"),
        "{page}"
    );
    assert_eq!(operator.get("/v1/queues/new").await.json()["queued"], 60);
    // Without a filter it is about everything, which no page asks for.
    assert_eq!(browser.post(list, "/ui/bulk", &[("do", "cancel")]).await.status, 422);
}

#[tokio::test]
async fn lists_go_by_pages_that_keep_the_filter() {
    let world = World::new();
    for _ in 0..60 {
        world.create(json!({"type": "render", "queue": "a"})).await;
    }
    let browser = Browser::new(&world);
    let first = browser.get("/ui/tasks?queue=a&status=queued&type=").await.text();
    assert_eq!(first.matches("class=\"id\"").count(), 50);
    let next = first.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let next = next.replace("&#38;", "&").replace("&amp;", "&");
    assert!(next.starts_with("/ui/tasks?queue=a&status=queued&cursor="), "{next}");
    let second = browser.get(&next).await.text();
    assert_eq!(second.matches("class=\"id\"").count(), 10);
    assert!(!second.contains("rel=\"next\"") && second.contains("First page"));
    let wrong = browser.get("/ui/tasks?created_from=yesterday").await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.text().contains("The filter does not fit") && wrong.text().contains("value=\"yesterday\""));
}

#[tokio::test]
async fn a_task_is_found_by_the_beginning_of_its_id_and_shows_what_it_waits_for() {
    let world = World::new();
    let first = world.create(json!({"type": "plan"})).await;
    let second = world.create(json!({"type": "render", "depends_on": [first]})).await;
    let browser = Browser::new(&world);
    assert_eq!(location(&browser.get(&format!("/ui/find?id={first}")).await), format!("/ui/tasks/{first}"));
    let text = browser.get(&format!("/ui/tasks/{second}")).await.text();
    assert!(text.contains("Why it waits") && text.contains("class=\"graph\""), "{text}");
    assert!(text.contains(&format!("<a href=\"/ui/tasks/{first}\"")));
}

#[tokio::test]
async fn an_image_of_a_task_is_shown_from_the_pages_own_address() {
    let world = guarded();
    let operator = world.with_token(json!({})).await;
    let task = operator.create(json!({"type": "render"})).await;
    operator.claim("w1").await;
    let png = [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 64]].concat();
    let put = Request::put("/v1/files/default/out/a%20b.png").body(Body::from(png.clone())).unwrap();
    let put = operator.send(put).await;
    assert!(put.status.is_success(), "{}", put.text());
    let page =
        Request::put("/v1/files/default/out/x.html").body(Body::from("<script>alert(1)</script>")).unwrap();
    assert!(operator.send(page).await.status.is_success());
    let output = json!({"worker_id": "w1", "attempt": 1, "files": ["out/a b.png", "out/x.html"]});
    let answer = operator.post(&format!("/v1/tasks/{task}/complete"), output).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let browser = Browser::signed_in(&world, json!({})).await;
    let text = browser.get(&format!("/ui/tasks/{task}")).await.text();
    assert_eq!(text.matches("<img src=\"/ui/files/default/out/a%20b.png\"").count(), 1, "{text}");
    let image = browser.get("/ui/files/default/out/a%20b.png").await;
    assert_eq!((image.status.as_u16(), &image.body), (200, &png));
    assert_eq!(image.headers[CONTENT_SECURITY_POLICY], "default-src 'none'; sandbox");
    let html = browser.get("/ui/files/default/out/x.html").await;
    assert_eq!(
        (&html.headers[CONTENT_TYPE], &html.headers["x-content-type-options"]),
        (&"text/plain".parse().unwrap(), &"nosniff".parse().unwrap())
    );
    let other = Browser::signed_in(&world, json!({"project": "film"})).await;
    assert!(!other.get("/ui/files/default/out/a%20b.png").await.status.is_success());
}

#[tokio::test]
async fn small_texts_and_videos_of_a_task_are_shown_and_nothing_of_them_is_taken_for_the_page() {
    let world = guarded();
    let operator = world.with_token(json!({})).await;
    let task = operator.create(json!({"type": "render"})).await;
    operator.claim("w1").await;
    let video = [b"\0\0\0\x20ftypisom".as_slice(), &[7; 64]].concat();
    let json = json!({HOSTILE: [HOSTILE]}).to_string().into_bytes();
    let line = |length: usize| "x".repeat(length - 1).into_bytes();
    let sent = [
        ("a.json", json),
        ("b.mp4", video.clone()),
        ("c.webm", b"\x1a\x45\xdf\xa3 webm".to_vec()),
        ("d.txt", [b"z".to_vec(), line(16 * 1024)].concat()),
        ("e.txt", [b"zz".to_vec(), line(16 * 1024)].concat()),
        ("f.html", b"<script>alert(1)</script>".to_vec()),
        ("g.txt", b"gone by then".to_vec()),
        ("h.txt", b"one too many".to_vec()),
    ];
    for (name, bytes) in &sent {
        let put =
            Request::put(format!("/v1/files/default/out/{name}")).header(CONTENT_TYPE, "application/json");
        let put = operator.send(put.body(Body::from(bytes.clone())).unwrap()).await;
        assert!(put.status.is_success(), "{name}: {}", put.text());
    }
    let files: Vec<String> = sent.iter().map(|(name, _)| format!("out/{name}")).collect();
    let output = json!({"worker_id": "w1", "attempt": 1, "files": files});
    let answer = operator.post(&format!("/v1/tasks/{task}/complete"), output).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(operator.delete("/v1/files/default/out/g.txt").await.status, 204);
    let browser = Browser::signed_in(&world, json!({})).await;
    let text = browser.get(&format!("/ui/tasks/{task}")).await.text();
    for raw in ["<script>alert", "<img src=x", "\u{202E}", "\u{0007}"] {
        assert!(!text.contains(raw), "the page has {raw:?}");
    }
    assert!(text.contains("<pre tabindex=\"0\">{&#34;&#60;script&#62;alert(1)"), "{text}");
    assert!(text.contains("[U+202E]gnp.exe"), "{text}");
    assert!(text.contains("<pre tabindex=\"0\">&#60;script&#62;alert(1)&#60;/script&#62;</pre>"), "{text}");
    assert!(
        text.contains("<pre tabindex=\"0\">zxx") && !text.contains("<pre tabindex=\"0\">zzx"),
        "16 KiB at most"
    );
    assert!(text.contains("Not shown: "), "what is gone is told: {text}");
    assert!(!text.contains("one too many"), "four are shown at most");
    for name in ["b.mp4", "c.webm"] {
        let shown = format!("<video src=\"/ui/files/default/out/{name}\" controls preload=\"metadata\"");
        assert_eq!(text.matches(&shown).count(), 1, "{name}: {text}");
    }
    // As a browser asks that plays it.
    let part = Request::get("/ui/files/default/out/b.mp4").header("range", "bytes=4-11");
    let part = browser.send(part, Body::empty()).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, b"ftypisom".as_slice()));
    assert_eq!(
        (&part.headers[CONTENT_TYPE], &part.headers["content-range"]),
        (&"video/mp4".parse().unwrap(), &format!("bytes 4-11/{}", video.len()).parse().unwrap())
    );
    assert!(part.headers["content-disposition"].to_str().unwrap().starts_with("inline"));
    // Of another file than the browser has begun with, it is given the whole.
    let stale = Request::get("/ui/files/default/out/b.mp4").header("range", "bytes=4-11");
    let stale = browser.send(stale.header("if-range", "\"another\""), Body::empty()).await;
    assert_eq!((stale.status.as_u16(), &stale.body), (200, &video));
}

#[tokio::test]
async fn log_lines_stand_where_they_were_received_with_the_time_that_they_bear_beside() {
    let world = World::new();
    let task = world.create(json!({"type": "render"})).await;
    world.claim("w1").await;
    world.advance(Duration::from_secs(10));
    let logs: Vec<Value> = [("ahead", "2199-01-01T00:00:00.000Z"), ("behind", "1999-01-01T00:00:00.000Z")]
        .map(|(message, at)| json!({"at": at, "source": "clock", "message": message, "task_id": task}))
        .into();
    let now = json!({"at": world.app.now(), "source": "clock", "message": "right", "task_id": task});
    let beat = json!({"running": [{"task_id": task, "attempt": 1}], "logs": [logs[0], logs[1], now]});
    assert_eq!(world.post("/v1/workers/w1/heartbeat", beat).await.status, 200);
    world.advance(Duration::from_secs(10));
    let done = json!({"worker_id": "w1", "attempt": 1});
    assert_eq!(world.post(&format!("/v1/tasks/{task}/complete"), done).await.status, 200);
    let browser = Browser::new(&world);
    let page = browser.get(&format!("/ui/tasks/{task}")).await.text();
    let history = page.split("id=\"history\"").nth(1).unwrap();
    let places: Vec<_> = ["completed", "clock: right", "clock: behind", "clock: ahead", "claimed", "created"]
        .iter()
        .map(|what| history.find(what).unwrap_or_else(|| panic!("{what}: {history}")))
        .collect();
    assert!(places.is_sorted(), "{places:?}: {history}");
    for text in [history, &browser.get("/ui/workers/w1").await.text()] {
        for year in ["2199", "1999"] {
            assert!(text.contains(&format!("dated <time datetime=\"{year}-01-01T00:00:00.000Z\"")), "{text}");
        }
        assert_eq!(text.matches("dated <time").count(), 2, "{text}");
    }
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let world = World::with(&[("ui.enabled", "false")]);
    world.get("/ui").await.problem(404, "route_not_found");
    world.get("/ui/tasks").await.problem(404, "route_not_found");
}

#[tokio::test]
async fn where_no_token_is_needed_pages_of_other_sites_read_and_change_nothing() {
    let world = World::new();
    let task = world.create(json!({"type": "render"})).await;
    let browser = Browser::new(&world);
    let page = browser.get("/ui").await.text();
    let guess = page.split("name=\"form\" value=\"").nth(1);
    // Even with the form's token, which another site cannot read.
    let shown = browser.get(&format!("/ui/tasks/{task}")).await.text();
    let token =
        guess.or_else(|| shown.split("name=\"form\" value=\"").nth(1)).map(|rest| &rest[..64]).unwrap();
    let request = Request::post(format!("/ui/tasks/{task}/cancel")).header("origin", "https://evil.example");
    let answer =
        browser.send(request.header("host", "127.0.0.1:7410"), Body::from(format!("form={token}"))).await;
    assert_eq!(answer.status, 403);
    assert_eq!(world.task(&task).await["task"]["status"], "queued");
}
