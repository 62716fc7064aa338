//! The queue `submissions`.

use serde_json::{Value, json};

use crate::world::{SUBMISSIONS_DEAD, World, again, invoke, messages, send};

fn message(id: &str, body: Value) -> (String, String) {
    (id.to_owned(), body.to_string())
}

async fn tasks(world: &World) -> Vec<Value> {
    let (status, page) = send(&world.function("query-tasks"), "GET", "/v1/tasks", Value::Null).await;
    assert_eq!(status, 200, "{page}");
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_message_that_comes_again_creates_nothing_twice() {
    let world = World::new().await;
    let create = world.function("create-task");
    let event = messages(&[
        message("m-1", json!({"type": "render", "params": {"a": 1}})),
        message("m-2", json!({"tasks": [{"type": "render"}, {"type": "report"}]})),
        message("m-3", json!({"type": "render", "idempotency_key": "order-7"})),
        message("m-4", json!({"id": "01980a6e-5b7c-7cc3-98c4-dc0c0c073991", "type": "render"})),
    ]);
    for _ in 0..2 {
        assert_eq!(again(&invoke(&create, &event).await), Vec::<String>::new());
    }
    // Another function's process, and another message of the same key.
    let other = messages(&[message("m-5", json!({"idempotency_key": "order-7", "type": "render"}))]);
    assert_eq!(again(&invoke(&world.function("create-task"), &other).await), Vec::<String>::new());
    assert_eq!(tasks(&world).await.len(), 5);
    assert_eq!(world.queues.visible(SUBMISSIONS_DEAD), []);
}

#[tokio::test]
async fn a_submission_that_was_given_up_and_is_sent_back_creates_nothing_twice() {
    let world = World::new().await;
    let create = world.function("create-task");
    let body = json!({"type": "render"});
    assert_eq!(
        again(&invoke(&create, &messages(&[message("m-1", body.clone())])).await),
        Vec::<String>::new()
    );
    // It has an id of its own, as everything that is sent; what comes again is named by that.
    let mut back = messages(&[message("m-2", body), message("m-3", json!({"type": 7}))]);
    let first = json!({"dataType": "String", "stringValue": "m-1"});
    back["Records"][0]["messageAttributes"]["baton-message-id"] = first.clone();
    back["Records"][1]["messageAttributes"]["baton-message-id"] = first;
    world.queues.refuse(SUBMISSIONS_DEAD, true);
    assert_eq!(again(&invoke(&create, &back).await), ["m-3"]);
    assert_eq!(tasks(&world).await.len(), 1);
}

#[tokio::test]
async fn what_can_never_succeed_goes_to_the_dead_letter_queue_with_its_reason_and_spares_the_rest() {
    let world = World::new().await;
    let create = world.function("create-task");
    let chosen = "01980a6e-5b7c-7cc3-98c4-dc0c0c073991";
    let bodies = [
        ("m-1", "{".to_owned(), "malformed_json"),
        ("m-2", json!({"queue": "gpu"}).to_string(), "invalid_fields"),
        ("m-3", json!({"tasks": [{"type": "a"}], "atomic": false}).to_string(), "invalid_fields"),
        ("m-4", json!({"tasks": [{"type": "a"}, {"typ": "b"}]}).to_string(), "invalid_fields"),
        ("m-5", json!({"id": chosen, "type": "b"}).to_string(), "task_id_conflict"),
    ];
    let good = messages(&[message("m-0", json!({"id": chosen, "type": "a"}))]);
    assert_eq!(again(&invoke(&create, &good).await), Vec::<String>::new());
    let mut all: Vec<_> = bodies.iter().map(|(id, body, _)| ((*id).to_owned(), body.clone())).collect();
    all.push(message("m-6", json!({"type": "good"})));
    assert_eq!(again(&invoke(&create, &messages(&all)).await), Vec::<String>::new());
    let mut dead = world.queues.visible(SUBMISSIONS_DEAD);
    dead.sort_by(|a, b| a.attributes["baton-message-id"].cmp(&b.attributes["baton-message-id"]));
    assert_eq!(dead.len(), bodies.len());
    for (letter, (id, body, code)) in dead.iter().zip(&bodies) {
        assert_eq!((letter.attributes["baton-message-id"].as_str(), &letter.body), (*id, body));
        assert_eq!(letter.attributes["baton-reason-code"], *code, "{id}");
        assert!(letter.attributes["baton-reason"].len() > 20, "{letter:?}");
    }
    assert_eq!(tasks(&world).await.len(), 2);
}

#[tokio::test]
async fn a_letter_that_the_dead_letter_queue_refuses_comes_again() {
    let world = World::new().await;
    let create = world.function("create-task");
    world.queues.refuse(SUBMISSIONS_DEAD, true);
    let event = messages(&[message("bad", json!({})), message("good", json!({"type": "a"}))]);
    assert_eq!(again(&invoke(&create, &event).await), ["bad"]);
    world.queues.refuse(SUBMISSIONS_DEAD, false);
    assert_eq!(again(&invoke(&create, &event).await), Vec::<String>::new());
    assert_eq!((world.queues.visible(SUBMISSIONS_DEAD).len(), tasks(&world).await.len()), (1, 1));
}
