//! Webhooks: what is sent where, signed and tried again, and how it is shown.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_alerts::{HookStanding, SecretText, Webhook, sign};
use baton_http::Notices;
use baton_manage_alerts::Watch;
use baton_runtime::Shutdown;
use baton_store::DocumentChanges;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::World;

/// How long something may take that takes milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// A receiver that notes what comes, and answers as it is told.
#[derive(Clone)]
struct Receiver {
    url: String,
    came: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    answer: Arc<Mutex<u16>>,
}

impl Receiver {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in?key=hunter2", listener.local_addr().unwrap());
        let receiver = Self { url, came: Arc::default(), answer: Arc::new(Mutex::new(204)) };
        let noted = receiver.clone();
        let take = move |headers: HeaderMap, body: String| async move {
            noted.came.lock().unwrap().push((headers, body));
            let status = *noted.answer.lock().unwrap();
            (axum::http::StatusCode::from_u16(status).unwrap(), [("location", "http://127.0.0.1:1/")])
        };
        let router = axum::Router::new().route("/in", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    fn answers(&self, status: u16) {
        *self.answer.lock().unwrap() = status;
    }

    fn messages(&self) -> Vec<Value> {
        self.came.lock().unwrap().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
    }

    fn ids(&self) -> Vec<String> {
        let came = self.came.lock().unwrap();
        came.iter().map(|(headers, _)| headers[sign::ID].to_str().unwrap().to_owned()).collect()
    }

    async fn has(&self, many: usize) {
        soon(|| async { self.came.lock().unwrap().len() >= many }).await;
    }
}

async fn soon<F: Future<Output = bool>>(so: impl Fn() -> F) {
    let waited = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waited).await.expect("it takes too long");
}

/// Sends for a world until this is dropped.
struct Sending(Shutdown, tokio::task::JoinHandle<()>);

impl Sending {
    fn of(world: &World) -> Self {
        let shutdown = Shutdown::new();
        let run = baton_webhooks::run_webhooks(world.app.clone(), true, shutdown.clone());
        Self(shutdown, tokio::spawn(run))
    }

    async fn end(self) {
        self.0.begin();
        self.1.await.unwrap();
    }
}

async fn shown(world: &World) -> Value {
    world.get("/v1/webhooks/chat").await.json()
}

/// Waits until a webhook hears of tasks.
async fn hears(world: &World) {
    soon(|| async {
        let standing = baton_http::notices::hook_standing(&*world.app.store, &"chat".parse().unwrap()).await;
        standing.unwrap().cursor.is_some()
    })
    .await;
}

#[tokio::test]
async fn what_happens_to_tasks_is_sent_signed_by_filter() {
    let (world, receiver) = (World::new(), Receiver::new().await);
    let hook = json!({"url": receiver.url, "events": ["task.completed", "task.created"], "project": "film"});
    let set = world.put("/v1/webhooks/chat", hook).await.json();
    let secret: SecretText = set["secret"].as_str().unwrap().parse().unwrap();
    let sending = Sending::of(&world);
    hears(&world).await;
    world.create(json!({"type": "a", "queue": "gpu", "project": "other"})).await;
    let id = world.create(json!({"type": "a", "queue": "gpu", "project": "film"})).await;
    receiver.has(1).await;
    let message = &receiver.messages()[0];
    assert_eq!((&message["type"], &message["data"]["task_id"]), (&json!("task.created"), &json!(id)));
    assert_eq!(message["data"]["project"], "film");
    let (headers, body) = receiver.came.lock().unwrap()[0].clone();
    let of = |name: &str| headers[name].to_str().unwrap();
    let seconds: i64 = of(sign::TIMESTAMP).parse().unwrap();
    assert_eq!(seconds, world.app.now().as_millis() / 1_000);
    assert_eq!(of(sign::SIGNATURE), sign::signature(&secret, of(sign::ID), seconds, &body));
    assert_eq!(of("content-type"), "application/json");
    soon(|| async { shown(&world).await["delivered"] == 1 }).await;
    let shown = shown(&world).await;
    assert_eq!((&shown["status"], &shown["waiting"]), (&json!("ok"), &json!(0)));
    assert_eq!(
        (&shown["messages"][0]["status"], &shown["messages"][0]["tries"]),
        (&json!("delivered"), &json!(1))
    );
    let all =
        format!("{shown}{}{}", world.get("/v1/webhooks").await.text(), world.get("/v1/audit").await.text());
    assert!(!all.contains("whsec_") && !all.contains("hunter2"), "{all}");
    sending.end().await;
}

#[tokio::test]
async fn nothing_is_lost_over_a_restart_and_a_message_keeps_its_id() {
    let (world, receiver) = (World::new(), Receiver::new().await);
    receiver.answers(500);
    world.put("/v1/webhooks/chat", json!({"url": receiver.url, "events": ["task.created"]})).await;
    let sending = Sending::of(&world);
    hears(&world).await;
    world.create(json!({"type": "a", "queue": "gpu"})).await;
    receiver.has(1).await;
    soon(|| async { shown(&world).await["status"] == "failing" }).await;
    sending.end().await;
    // While nobody sends.
    for _ in 0..150 {
        world.create(json!({"type": "a", "queue": "gpu"})).await;
    }
    receiver.answers(200);
    let world = world.restarted().await;
    world.advance(Duration::from_secs(10));
    let sending = Sending::of(&world);
    soon(|| async { shown(&world).await["delivered"] == 151 }).await;
    let ids = receiver.ids();
    assert_eq!((ids.len(), ids.iter().filter(|id| **id == ids[0]).count()), (152, 2), "one was tried twice");
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 151);
    let shown = shown(&world).await;
    assert_eq!((&shown["status"], shown["messages"].as_array().unwrap().len()), (&json!("ok"), 100));
    sending.end().await;
}

#[tokio::test]
async fn messages_are_neither_lost_nor_sent_twice_by_a_move_of_the_store() {
    let (world, receiver) = (World::new(), Receiver::new().await);
    world.put("/v1/webhooks/chat", json!({"url": receiver.url, "events": ["task.created"]})).await;
    let sending = Sending::of(&world);
    hears(&world).await;
    for _ in 0..5 {
        world.create(json!({"type": "a", "queue": "gpu"})).await;
    }
    receiver.has(5).await;
    receiver.answers(500);
    for _ in 0..3 {
        world.create(json!({"type": "a", "queue": "gpu"})).await;
    }
    receiver.has(8).await;
    soon(|| async { shown(&world).await["waiting"] == 3 }).await;
    soon(|| async { shown(&world).await["delivered"] == 5 }).await;
    sending.end().await;
    // These happen while nobody reads.
    for _ in 0..40 {
        world.create(json!({"type": "a", "queue": "gpu"})).await;
    }
    receiver.answers(200);
    let world = world.moved().await;
    world.create(json!({"type": "a", "queue": "gpu"})).await;
    world.advance(Duration::from_secs(10));
    let sending = Sending::of(&world);
    soon(|| async { shown(&world).await["delivered"] == 49 }).await;
    let ids = receiver.ids();
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    // Three were tried once more, as their receiver had not taken them.
    assert_eq!((distinct.len(), ids.len()), (49, 52));
    sending.end().await;
}

#[tokio::test]
async fn a_position_of_another_stores_order_of_events_is_none_here() {
    let (world, receiver) = (World::new(), Receiver::new().await);
    world.put("/v1/webhooks/chat", json!({"url": receiver.url, "events": ["task.created"]})).await;
    // As it comes from a file by way of a table, which has no order of events.
    let standing = HookStanding { cursor: Some(1_000_000), ..HookStanding::default() };
    let mut changes = DocumentChanges::default();
    changes.put(baton_http::notices::HOOK, "chat", serde_json::to_string(&standing).unwrap());
    world.app.store.change_documents(changes).await.unwrap();
    let sending = Sending::of(&world);
    let name: baton_model::GroupName = "chat".parse().unwrap();
    soon(|| async {
        let standing = baton_http::notices::hook_standing(&*world.app.store, &name).await.unwrap();
        standing.cursor.is_some_and(|cursor| cursor < 1_000_000)
    })
    .await;
    world.create(json!({"type": "a", "queue": "gpu"})).await;
    receiver.has(1).await;
    sending.end().await;
}

#[tokio::test]
async fn a_message_is_tried_for_a_day_and_sent_again_when_asked() {
    let (world, receiver) = (World::new(), Receiver::new().await);
    receiver.answers(503);
    world.put("/v1/webhooks/chat", json!({"url": receiver.url})).await;
    let sending = Sending::of(&world);
    let sent = world.act("/v1/webhooks/chat/test").await.json();
    assert_eq!((&sent["event"], &sent["status"]), (&json!("webhook.test"), &json!("waiting")));
    let mut tries = 0;
    loop {
        tries += 1;
        soon(|| async { shown(&world).await.to_string().contains(&format!("\"tries\":{tries}")) }).await;
        let now = shown(&world).await;
        let Some(next) = now["waiting_messages"][0]["next_at"].as_str() else { break };
        let next: baton_model::Timestamp = next.parse().unwrap();
        world.advance(next.since(world.app.now()));
        world.app.notices.due();
    }
    let now = shown(&world).await;
    assert!((10..=20).contains(&tries), "{tries} tries");
    let message = &now["messages"][0];
    assert_eq!((&message["status"], &message["last"]), (&json!("given_up"), &json!("answered 503")));
    assert_eq!((&now["given_up"], &now["waiting"]), (&json!(1), &json!(0)));
    receiver.answers(200);
    let id = json!({"id": sent["id"]});
    assert_eq!(world.post("/v1/webhooks/chat/redeliver", id).await.json()["status"], "waiting");
    soon(|| async { shown(&world).await["delivered"] == 1 }).await;
    let ids = receiver.ids();
    assert!(ids.iter().all(|one| *one == ids[0]) && ids.len() == tries + 1);
    world.post("/v1/webhooks/chat/redeliver", json!({"id": "msg_9"})).await.problem(404, "message_not_found");
    sending.end().await;
}

#[tokio::test]
async fn a_receiver_that_wants_no_more_is_given_up_until_it_is_enabled() {
    let (world, receiver) = (World::new(), Receiver::new().await);
    receiver.answers(410);
    world.put("/v1/webhooks/chat", json!({"url": receiver.url, "events": ["alert.fired"]})).await;
    world.put("/v1/alerts/deep", json!({"kind": "queue_depth", "above": 0, "for_seconds": 0})).await;
    let sending = Sending::of(&world);
    let mut watch = Watch::default();
    world.create(json!({"type": "a", "queue": "gpu"})).await;
    watch.look(&world.app).await.unwrap();
    soon(|| async { shown(&world).await["status"] == "disabled" }).await;
    let message = &receiver.messages()[0];
    let data = &message["data"];
    assert_eq!((&message["type"], &data["alert"]), (&json!("alert.fired"), &json!("deep")));
    assert_eq!(
        (&data["subject"], &data["message"], &data["rule"]),
        (&json!("gpu"), &json!("1 task waits in queue gpu"), &json!("fires above 0, ends at 0 or less"))
    );
    let line = world.get("/v1/timeline?limit=9").await.text();
    assert!(line.contains("webhook chat was given up: it answered 410"), "{line}");
    world.create(json!({"type": "a", "queue": "cpu"})).await;
    watch.look(&world.app).await.unwrap();
    assert_eq!(shown(&world).await["dropped"], 1);
    receiver.answers(200);
    assert_eq!(world.act("/v1/webhooks/chat/enable").await.json()["status"], "ok");
    world.act("/v1/webhooks/chat/test").await;
    soon(|| async { shown(&world).await["delivered"] == 1 }).await;
    sending.end().await;
}

#[tokio::test]
async fn private_addresses_are_refused_and_redirects_not_followed() {
    let (world, receiver) = (World::new(), Receiver::new().await);
    let local = receiver.url.replace("127.0.0.1", "localhost");
    let number = receiver.url.replace("127.0.0.1", "2130706433");
    for (name, url) in [("a", &receiver.url), ("b", &local), ("c", &number)] {
        world.put(&format!("/v1/webhooks/{name}"), json!({"url": url})).await;
        world.act(&format!("/v1/webhooks/{name}/test")).await;
    }
    let shutdown = Shutdown::new();
    let run = tokio::spawn(baton_webhooks::run_webhooks(world.app.clone(), false, shutdown.clone()));
    for name in ["a", "b", "c"] {
        let path = format!("/v1/webhooks/{name}");
        soon(|| async { world.get(&path).await.json()["status"] == "failing" }).await;
        let told = world.get(&path).await.text();
        assert!(told.contains("server.private_webhooks") && !told.contains("hunter2"), "{told}");
    }
    assert!(receiver.messages().is_empty());
    shutdown.begin();
    run.await.unwrap();
    receiver.answers(307);
    world.put("/v1/webhooks/chat", json!({"url": receiver.url})).await;
    world.act("/v1/webhooks/chat/test").await;
    let sending = Sending::of(&world);
    soon(|| async { shown(&world).await["status"] == "failing" }).await;
    let last = shown(&world).await["waiting_messages"][0]["last"].clone();
    assert_eq!(last, "answered 307: redirects are not followed");
    sending.end().await;
}

#[tokio::test]
async fn a_slow_receiver_holds_no_other_up() {
    let (world, receiver) = (World::new(), Receiver::new().await);
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    world.put("/v1/webhooks/slow", json!({"url": url})).await;
    world.put("/v1/webhooks/chat", json!({"url": receiver.url})).await;
    world.act("/v1/webhooks/slow/test").await;
    let sending = Sending::of(&world);
    for n in 1..4 {
        world.act("/v1/webhooks/chat/test").await;
        soon(|| async { shown(&world).await["delivered"] == n }).await;
    }
    assert_eq!(world.get("/v1/webhooks/slow").await.json()["waiting"], 1);
    sending.end().await;
}

/// Requests and what sends may be different processes: what each writes of a webhook is kept. Of one that is gone, nothing is.
#[tokio::test]
async fn what_several_processes_write_of_a_webhook_is_all_kept() {
    let world = World::new();
    world.put("/v1/webhooks/chat", json!({"url": "https://a.example"})).await;
    let name: baton_model::GroupName = "chat".parse().unwrap();
    let [one, other] = [(); 2].map(|()| Notices::new(Vec::new(), Vec::new()));
    let count = async |notices: &Notices| {
        for _ in 0..4 {
            let stood = notices.stand(&world.app, &name, |standing| {
                standing.delivered += 1;
                Ok(DocumentChanges::default())
            });
            assert!(stood.await.unwrap().is_some());
        }
    };
    tokio::join!(count(&one), count(&other));
    assert_eq!(shown(&world).await["delivered"], 8);
    assert_eq!(world.delete("/v1/webhooks/chat").await.status, 200);
    let stood = one.stand(&world.app, &name, |_| Ok(DocumentChanges::default())).await.unwrap();
    assert_eq!(stood, None);
    assert_eq!(world.app.store.document(baton_http::notices::HOOK, "chat").await.unwrap(), None);
}

/// What a process has written of a webhook while another one took it away is not what the next one of its name begins with.
#[tokio::test]
async fn a_new_webhook_has_nothing_of_an_earlier_one_of_its_name() {
    let world = World::new();
    let hook = json!({"url": "https://a.example"});
    world.put("/v1/webhooks/chat", hook.clone()).await;
    world.act("/v1/webhooks/chat/test").await;
    let waiting = baton_http::notices::waiting(&"chat".parse().unwrap());
    let messages = world.app.store.documents(&waiting, None, 9).await.unwrap();
    assert_eq!(world.delete("/v1/webhooks/chat").await.status, 200);
    let standing = HookStanding { disabled_at: Some(world.app.now()), dropped: 7, ..HookStanding::default() };
    let mut changes = DocumentChanges::default();
    changes.put(baton_http::notices::HOOK, "chat", serde_json::to_string(&standing).unwrap());
    changes.put(&waiting, &messages[0].name, messages[0].value.clone());
    world.app.store.change_documents(changes).await.unwrap();
    world.put("/v1/webhooks/chat", hook.clone()).await;
    let told = |shown: &Value| (shown["status"].clone(), shown["dropped"].clone(), shown["waiting"].clone());
    assert_eq!(told(&shown(&world).await), (json!("ok"), json!(0), json!(0)));
    // One that is set once more goes on as it stands.
    world.act("/v1/webhooks/chat/test").await;
    world.put("/v1/webhooks/chat", hook).await;
    assert_eq!(told(&shown(&world).await), (json!("ok"), json!(0), json!(1)));
}

#[tokio::test]
async fn webhooks_are_set_shown_and_taken_away() {
    let world = World::new();
    let own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let set =
        world.put("/v1/webhooks/chat", json!({"url": "https://a.example/x", "secret": own})).await.json();
    assert_eq!((set.get("secret"), &set["url"]), (None, &json!("https://a.example/…")));
    let again =
        world.put("/v1/webhooks/chat", json!({"url": "https://b.example", "events": ["task.failed"]})).await;
    assert_eq!(again.json().get("secret"), None, "it keeps its secret");
    for (body, field) in [
        (json!({}), "url"),
        (json!({"url": "ftp://a"}), "url"),
        (json!({"url": "https://a", "secret": "hunter2"}), "secret"),
        (json!({"url": "https://a", "events": ["webhook.test"]}), "events"),
        (json!({"url": "https://a", "private": true}), "private"),
    ] {
        let answer = world.put("/v1/webhooks/other", body).await;
        assert!(!answer.text().contains("hunter2"));
        assert_eq!(answer.wrong_fields(), [field]);
    }
    world.act("/v1/webhooks/chat/test").await;
    assert_eq!(world.delete("/v1/webhooks/chat").await.status, 200);
    world.get("/v1/webhooks/chat").await.problem(404, "webhook_not_found");
    world.put("/v1/webhooks/chat", json!({"url": "https://a.example"})).await;
    assert_eq!(shown(&world).await["waiting"], 0, "what waited is gone with it");
    let hook = Webhook {
        name: "own".parse().unwrap(),
        url: "https://a.example".parse().unwrap(),
        secret: own.parse().unwrap(),
        events: Vec::new(),
        queues: Vec::new(),
        project: None,
    };
    let world = world.with_notices(Notices::new(Vec::new(), vec![hook]));
    assert_eq!(world.get("/v1/webhooks/own").await.json()["from"], "settings");
    world.put("/v1/webhooks/own", json!({"url": "https://c"})).await.problem(409, "set_in_settings");
    world.delete("/v1/webhooks/own").await.problem(409, "set_in_settings");
}
