//! Events as they happen: in their order, without a gap or a repetition, within bounds, and at a bounded cost.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::world::World;

/// A test fails after this; none waits for it.
const SOON: Duration = Duration::from_secs(20);

/// One who listens.
struct Ear {
    body: BodyDataStream,
    text: String,
}

/// What came: an id, a name if it has one, and data if it has any.
#[derive(Debug)]
struct Came {
    id: u64,
    name: Option<String>,
    data: Option<Value>,
}

impl Ear {
    async fn at(world: &World, path: &str) -> Self {
        let response = world.open(path).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut ear = Self { body: response.into_body().into_data_stream(), text: String::new() };
        assert!(ear.next().await.unwrap().data.is_none(), "it begins with the position");
        ear
    }

    /// What comes next; none at the end.
    async fn next(&mut self) -> Option<Came> {
        let came = async {
            loop {
                if let Some((block, rest)) = self.text.split_once("\n\n") {
                    let field = |name: &str| {
                        let lines = block.lines().filter_map(|line| line.strip_prefix(name));
                        lines.map(|value| value.trim_start_matches(": ").to_owned()).next()
                    };
                    let data = field("data").map(|data| serde_json::from_str(&data).unwrap());
                    let came = Came { id: field("id").unwrap().parse().unwrap(), name: field("event"), data };
                    self.text = rest.to_owned();
                    return Some(came);
                }
                let chunk = self.body.next().await?.unwrap();
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        timeout(SOON, came).await.expect("something comes")
    }

    /// The next event.
    async fn event(&mut self) -> (u64, Value) {
        loop {
            let came = self.next().await.expect("it goes on");
            assert_eq!(came.name, None, "{came:?}");
            if let Some(data) = came.data {
                assert_eq!(data["id"], came.id);
                return (came.id, data);
            }
        }
    }

    /// Why it ends, and from where to go on.
    async fn end(&mut self) -> (String, u64) {
        loop {
            let came = self.next().await.expect("it says why it ends");
            if came.name.as_deref() == Some("end") {
                assert!(self.next().await.is_none());
                return (came.data.unwrap()["reason"].as_str().unwrap().to_owned(), came.id);
            }
        }
    }
}

#[tokio::test]
async fn events_come_as_they_happen_and_in_order() {
    let world = World::new();
    world.create(json!({"type": "before"})).await;
    let mut ear = Ear::at(&world, "/v1/events").await;
    let id = world.create(json!({"type": "a", "queue": "gpu"})).await;
    world.act(&format!("/v1/tasks/{id}/cancel")).await;
    let (first, created) = ear.event().await;
    assert_eq!((first, &created["task_id"], &created["queue"]), (2, &json!(id), &json!("gpu")));
    assert_eq!(created["details"]["kind"], "created");
    let (second, cancelled) = ear.event().await;
    assert_eq!((second, &cancelled["details"]["kind"]), (3, &json!("cancelled")));
    let mut all = Ear::at(&world, "/v1/events?after=0").await;
    assert_eq!([all.event().await.0, all.event().await.0, all.event().await.0], [1, 2, 3]);
}

#[tokio::test]
async fn a_listener_that_comes_again_misses_nothing_while_others_write() {
    let world = World::new();
    const WRITERS: usize = 4;
    const TASKS: usize = 60;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                for _ in 0..TASKS {
                    let id = world.create(json!({"type": "a"})).await;
                    world.act(&format!("/v1/tasks/{id}/cancel")).await;
                }
            })
        })
        .collect();
    let all = 2 * (WRITERS * TASKS) as u64;
    let (mut last, mut ids, mut server) = (0, Vec::new(), world.clone());
    while last < all {
        let mut ear = Ear::at(&server, &format!("/v1/events?after={last}")).await;
        // It goes away in the midst of it, and the server is another one now and then.
        for _ in 0..37.min(all - last) {
            last = ear.event().await.0;
            ids.push(last);
        }
        if ids.len().is_multiple_of(2) {
            server = server.restarted().await;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(ids, (1..=all).collect::<Vec<_>>());
}

#[tokio::test]
async fn more_at_once_than_is_held_for_listeners_reaches_who_takes_it() {
    let world = World::new();
    let mut ear = Ear::at(&world, "/v1/events").await;
    let tasks: Vec<_> = (0..1_000).map(|n| json!({"type": "a", "params": n})).collect();
    for _ in 0..4 {
        let answer = world.post("/v1/tasks/batch", json!({"tasks": tasks})).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }
    for wanted in 1..=4_000 {
        assert_eq!(ear.event().await.0, wanted);
    }
}

#[tokio::test]
async fn a_listener_is_told_what_it_asks_for_and_may_see() {
    let world = World::new();
    let bound = world.with_token(json!({"scopes": ["producer"], "project": "film"})).await;
    let mut film = Ear::at(&bound, "/v1/events").await;
    let mut gpu = Ear::at(&world, "/v1/events?queue=gpu").await;
    let mut warn = Ear::at(&world, "/v1/events?level=warn").await;
    world.create(json!({"type": "a", "project": "game"})).await;
    let seen = world.create(json!({"type": "a", "project": "film"})).await;
    let on_gpu = world.create(json!({"type": "a", "queue": "gpu", "project": "game"})).await;
    let lost = world.create(json!({"type": "a", "queue": "cpu", "project": "film", "max_attempts": 1})).await;
    world.post("/v1/claims", json!({"worker_id": "w", "queues": ["cpu"]})).await;
    let failure = json!({"worker_id": "w", "attempt": 1, "error": {"message": "x"}});
    assert_eq!(world.post(&format!("/v1/tasks/{lost}/fail"), failure).await.status, 200);
    assert_eq!(film.event().await.1["task_id"], seen.as_str());
    assert_eq!(film.event().await.1["task_id"], lost.as_str());
    assert_eq!(gpu.event().await.1["task_id"], on_gpu.as_str());
    let (_, failed) = warn.event().await;
    assert_eq!((&failed["task_id"], &failed["level"]), (&json!(lost), &json!("error")));
    bound.get("/v1/events?project=game&wait=0s").await.problem(403, "outside_grant");
    bound.get(&format!("/v1/events?task_id={on_gpu}&wait=0s")).await.problem(404, "task_not_found");
    let page = bound.get("/v1/events?after=0&wait=0s").await.json();
    assert!(page["items"].as_array().unwrap().iter().all(|event| event["project"] == "film"), "{page}");
    assert_eq!(page["items"].as_array().unwrap().len(), 4);
    assert_eq!(page["last_id"], 6);
}

#[tokio::test]
async fn who_cannot_stream_asks_and_waits() {
    let world = World::new();
    let nothing = world.get("/v1/events?wait=0s").await.json();
    assert_eq!(nothing, json!({"items": [], "last_id": 0}));
    let waits = tokio::spawn({
        let world = world.clone();
        async move { world.get("/v1/events?after=0&wait=20s").await.json() }
    });
    let id = world.create(json!({"type": "a"})).await;
    let woken = timeout(SOON, waits).await.unwrap().unwrap();
    assert_eq!((&woken["items"][0]["task_id"], &woken["last_id"]), (&json!(id), &json!(1)));
    for _ in 0..5 {
        world.create(json!({"type": "a"})).await;
    }
    let page = world.get("/v1/events?after=1&wait=20&limit=3").await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["last_id"]), (3, &json!(4)));
    let page = world.get("/v1/events?after=4&wait=1.5s").await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["last_id"]), (2, &json!(6)));
    let wrong = world.get("/v1/events?after=x&wait=90s&level=loud&cat=1").await.wrong_fields();
    assert_eq!(wrong, ["level", "after", "wait", "cat"]);
    assert_eq!(world.get("/v1/events?after=900").await.wrong_fields(), ["after"]);
}

#[tokio::test]
async fn the_last_event_id_of_a_browser_stands_before_the_address() {
    let world = World::new();
    for _ in 0..3 {
        world.create(json!({"type": "a"})).await;
    }
    let ask = |id: &str| {
        let request = http::Request::get("/v1/events?after=0&wait=0s").header("last-event-id", id);
        world.send(request.body(axum::body::Body::empty()).unwrap())
    };
    assert_eq!(ask("2").await.json()["items"][0]["id"], 3);
    assert_eq!(ask("").await.json()["items"][0]["id"], 1);
    assert_eq!(ask("two").await.wrong_fields(), ["after"]);
}

#[tokio::test]
async fn a_listener_that_takes_nothing_is_told_and_cut_off() {
    let world = World::new();
    let mut slow = Ear::at(&world, "/v1/events").await;
    let mut steady = Ear::at(&world, "/v1/events").await;
    world.create(json!({"type": "a"})).await;
    assert_eq!(slow.event().await.0, 1);
    assert_eq!(steady.event().await.0, 1);
    let tasks: Vec<_> = (0..1_000).map(|n| json!({"type": "a", "params": n})).collect();
    for _ in 0..2 {
        assert!(world.post("/v1/tasks/batch", json!({"tasks": tasks})).await.status.is_success());
    }
    for wanted in 2..=2_001 {
        assert_eq!(steady.event().await.0, wanted);
    }
    // It takes nothing for longer than is borne.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let (reason, last) = slow.end().await;
    assert_eq!((reason.as_str(), last), ("slow", 1));
    let mut again = Ear::at(&world, &format!("/v1/events?after={last}")).await;
    for wanted in 2..=2_001 {
        assert_eq!(again.event().await.0, wanted);
    }
}

#[tokio::test]
async fn one_listener_too_many_is_told_to_come_later() {
    let world = World::with(&[("server.max_listeners", "2")]);
    let one = Ear::at(&world, "/v1/events").await;
    let _other = Ear::at(&world, "/v1/events").await;
    let refused = world.get("/v1/events").await;
    refused.problem(429, "too_many_requests");
    assert_eq!(refused.headers["retry-after"], "5");
    world.get("/v1/events?wait=1s").await.problem(429, "too_many_requests");
    drop(one);
    drop(Ear::at(&world, "/v1/events").await);
}

#[tokio::test]
async fn a_stop_ends_the_streams() {
    let world = World::new();
    let mut ear = Ear::at(&world, "/v1/events").await;
    world.create(json!({"type": "a"})).await;
    assert_eq!(ear.event().await.0, 1);
    let waits = tokio::spawn({
        let world = world.clone();
        async move { world.get("/v1/events?wait=20s").await.json() }
    });
    world.app.shutdown.begin();
    assert_eq!(ear.end().await, ("shutdown".to_owned(), 1));
    assert_eq!(timeout(SOON, waits).await.unwrap().unwrap()["items"], json!([]));
}

#[tokio::test]
async fn a_token_that_is_revoked_hears_no_more() {
    let world = World::new();
    let (id, secret) = world.token(json!({"scopes": ["producer"]})).await;
    let caller = world.presenting(&format!("Bearer {}", secret.reveal()));
    let mut ear = Ear::at(&caller, "/v1/events").await;
    world.create(json!({"type": "a"})).await;
    assert_eq!(ear.event().await.0, 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    let alive = ear.next().await.unwrap();
    assert_eq!((alive.id, alive.data), (1, None), "as long as it is good, it hears that all is well");
    world.app.store.revoke_token(id, world.app.now()).await.unwrap();
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(ear.end().await.0, "unauthorized");
}

/// Over a socket, more listen than there is room for answers that are read in parts.
#[tokio::test]
async fn many_listen_over_sockets() {
    let site = crate::sockets::site(&[("server.answers_mebibytes", "1")]).await;
    let mut listeners = Vec::new();
    for _ in 0..20 {
        let mut connection = site.connect().await;
        connection.send("GET", "/v1/events", "").await;
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(": listening") {
            assert_ne!(
                connection.0.read_buf(&mut read).await.unwrap(),
                0,
                "{}",
                String::from_utf8_lossy(&read)
            );
        }
        assert!(read.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&read));
        listeners.push(connection);
    }
    let mut producer = site.connect().await;
    producer.send("POST", "/v1/tasks", r#"{"type": "a"}"#).await;
    assert!(producer.answer().await.unwrap().0.starts_with("HTTP/1.1 201"));
    for connection in &mut listeners {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains("data: {\"id\":1,") {
            assert_ne!(timeout(SOON, connection.0.read_buf(&mut read)).await.unwrap().unwrap(), 0);
        }
    }
    assert!(timeout(SOON, site.shutdown()).await.unwrap(), "a stop ends the streams");
}
