use std::process::Output;

use serde_json::Value;

use super::stand_in::Sqs;
use super::{json, told, tool};
use crate::support::{PATIENT, World};

/// A table with tasks, on an engine of its own, and the queue.
struct Shape {
    sqs: Sqs,
    endpoint: String,
    _runtime: tokio::runtime::Runtime,
    world: World,
}

const STORE: [&str; 2] = ["--store", "dynamodb:baton-tasks"];

impl Shape {
    /// So many tasks on the table; each is created and called off.
    fn with(tasks: usize) -> (Self, Vec<String>) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap()));
        let world = World::new(PATIENT);
        let mut shape = Self { sqs: Sqs::new(&["task-events"]), endpoint, _runtime: runtime, world };
        let ids: Vec<String> = (0..tasks).map(|_| shape.world.create(&["--queue", "q"])).collect();
        for id in &ids {
            shape.world.json(&["task", "cancel", id]);
        }
        assert!(shape.world.end_server().success());
        let file = format!("sqlite:{}", shape.world.path("baton.db").display());
        for arguments in
            [&["table", "create", STORE[0], STORE[1]][..], &["migrate", "--from", &file, "--to", STORE[1]]]
        {
            let done = shape.run(arguments);
            assert!(done.status.success(), "{arguments:?}: {}", told(&done));
        }
        (shape, ids)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let environment = [self.sqs.environment()[0], ("AWS_ENDPOINT_URL_DYNAMODB", self.endpoint.as_str())];
        tool(arguments, &environment).output().unwrap()
    }

    fn relay(&self, arguments: &[&str]) -> Output {
        let queue = self.sqs.queue("task-events");
        self.run(&[&["relay", "--events-queue", &queue, "-o", "json"], &STORE[..], arguments].concat())
    }

    /// The ids of the events in the queue.
    fn events(&self) -> Vec<String> {
        let bodies = self.sqs.messages("task-events").into_iter().map(|message| message.body);
        bodies
            .map(|body| serde_json::from_str::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[test]
fn histories_are_sent_again_by_task_and_by_time_under_the_ids_that_they_had() {
    let (shape, ids) = Shape::with(3);
    let both = |id: &String| [format!("{id}/1"), format!("{id}/2")];
    let done = shape.relay(&["--task", &ids[1]]);
    assert!(done.status.success(), "{}", told(&done));
    assert_eq!(json(&done), serde_json::json!({"tasks": 1, "events": 2, "damaged": []}));
    assert_eq!(shape.events(), both(&ids[1]));
    let event: Value = serde_json::from_str(&shape.sqs.messages("task-events")[1].body).unwrap();
    assert_eq!(
        (&event["type"], &event["data"]["event"]["from"]),
        (&"baton.task.cancelled".into(), &"queued".into())
    );
    assert_eq!((&event["subject"], &event["data"]["queue"]), (&Value::from(ids[1].as_str()), &"q".into()));

    let done = shape.relay(&["--since", "1h"]);
    assert_eq!(json(&done), serde_json::json!({"tasks": 3, "events": 6, "damaged": []}), "{}", told(&done));
    let mut events = shape.events().split_off(2);
    events.sort();
    let mut all: Vec<String> = ids.iter().flat_map(both).collect();
    all.sort();
    assert_eq!(events, all);
    let done = shape.relay(&["--since", "2100-01-01T00:00:00Z"]);
    assert_eq!(json(&done)["events"], 0, "nothing has changed since");
}

#[test]
fn what_is_cut_off_says_where_it_goes_on() {
    let (shape, _) = Shape::with(1);
    let nowhere = shape.sqs.queue("gone");
    let cut = shape.run(&[&["relay", "--events-queue", &nowhere, "--since", "1h"], &STORE[..]].concat());
    assert_eq!(cut.status.code(), Some(1));
    assert!(told(&cut).contains("run it again with --since 20"), "{}", told(&cut));
    let done = shape.relay(&["--since", "1h", "--after", "0|"]);
    assert_eq!(json(&done)["tasks"], 1, "{}", told(&done));
    let done = shape.relay(&["--since", "1h", "--after", "999999|"]);
    assert_eq!(json(&done)["tasks"], 0, "behind the last day: {}", told(&done));
    let wrong = shape.relay(&["--since", "1h", "--after", "tomorrow"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", told(&wrong));
}

#[test]
fn what_is_missing_or_unknown_is_told() {
    let (shape, _) = Shape::with(0);
    let unknown = shape.relay(&["--task", "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"]);
    assert_eq!(unknown.status.code(), Some(3), "{}", told(&unknown));
    for arguments in
        [&["relay"][..], &["relay", "--since", "soon"], &["relay", "--since", "1h", "--store", "sqlite:x.db"]]
    {
        assert_eq!(shape.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let without = shape.run(&[&["relay", "--since", "1h"], &STORE[..]].concat());
    assert_eq!(without.status.code(), Some(2));
    assert!(told(&without).contains("BATON_QUEUES_TASK_EVENTS"), "{}", told(&without));
}
