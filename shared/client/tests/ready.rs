//! Claims that wait at a queue of rings, against a queue in memory and a server whose answers are written down beforehand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod support;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use baton_api::claim::{AffinityWord, ClaimRequest, ClaimView};
use baton_api::ring::{MOST_RECEIVED, Ring};
use baton_client::{Client, ClientError, Heard, Listener, ReadyError, ReadyQueue};
use serde_json::{Value, json};
use support::{Script, Step};

/// What was done to a queue.
#[derive(Debug, Default)]
struct Queue(Mutex<Held>);

#[derive(Clone, Debug, Default)]
struct Held {
    /// What the next requests bring; afterwards there is nothing until the wait is over.
    coming: VecDeque<Vec<Heard>>,
    denied: bool,
    /// The most messages that each request asked for.
    received: Vec<u32>,
    deleted: Vec<String>,
    released: Vec<String>,
    sent: Vec<String>,
}

#[async_trait]
impl ReadyQueue for Queue {
    async fn receive(&self, most: u32, wait: Duration) -> Result<Vec<Heard>, ReadyError> {
        let coming = {
            let mut held = self.0.lock().unwrap();
            held.received.push(most);
            if held.denied {
                return Err(ReadyError("AccessDenied: not authorized".into()));
            }
            held.coming.pop_front()
        };
        if coming.is_none() {
            tokio::time::sleep(wait).await;
        }
        Ok(coming.unwrap_or_default())
    }

    async fn delete(&self, receipts: &[String]) -> Result<(), ReadyError> {
        self.0.lock().unwrap().deleted.extend_from_slice(receipts);
        Ok(())
    }

    async fn release(&self, receipts: &[String]) -> Result<(), ReadyError> {
        self.0.lock().unwrap().released.extend_from_slice(receipts);
        Ok(())
    }

    async fn send(&self, messages: &[String]) -> Result<(), ReadyError> {
        assert!(messages.len() <= 10, "what one request to SQS carries");
        self.0.lock().unwrap().sent.extend_from_slice(messages);
        Ok(())
    }
}

fn ring(receipt: &str, queue: &str, task_type: &str, count: u32) -> Heard {
    let body =
        json!({"queue": queue, "task_type": task_type, "count": count, "run_after": "2026-02-02T02:40:00Z"});
    Heard { receipt: receipt.to_owned(), body: body.to_string(), times: 1 }
}

fn nothing(reason: &str) -> Step {
    let nothing = json!({"reason": reason, "message": "told by the test"});
    Step::Answer(200, json!({"tasks": [], "nothing": nothing}).to_string())
}

fn tasks(count: usize) -> Step {
    let task = json!({
        "id": "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f", "project": "default", "queue": "gpu", "type": "render",
        "status": "running", "priority": "normal", "params": null, "attempt": 1, "attempts_used": 1,
        "max_attempts": 3, "run_after": "2026-02-02T02:40:00Z", "created_at": "2026-02-02T02:40:00Z",
        "updated_at": "2026-02-02T02:40:00Z",
    });
    Step::Answer(200, json!({"tasks": vec![task; count]}).to_string())
}

/// One claim that waits, and what came of it.
struct Claimed {
    answer: Result<ClaimView, ClientError>,
    queue: Arc<Queue>,
    /// How long each claim that the server has heard was to wait there.
    waits: Vec<Value>,
}

impl Claimed {
    fn held(&self) -> Held {
        self.queue.0.lock().unwrap().clone()
    }

    fn tasks(&self) -> usize {
        self.answer.as_ref().unwrap().tasks.len()
    }
}

fn waiting(seconds: f64) -> ClaimRequest {
    ClaimRequest {
        queues: vec!["gpu".parse().unwrap()],
        types: vec!["render".parse().unwrap()],
        wait_seconds: Some(Duration::from_secs_f64(seconds)),
        ..ClaimRequest::new("w".parse().unwrap())
    }
}

async fn claim(request: ClaimRequest, coming: Vec<Vec<Heard>>, answers: Vec<Step>) -> Claimed {
    let queue = Arc::new(Queue(Mutex::new(Held { coming: coming.into(), ..Held::default() })));
    claim_at(&mut Listener::new(Arc::clone(&queue) as _), queue, request, answers).await
}

async fn claim_at(
    listener: &mut Listener,
    queue: Arc<Queue>,
    request: ClaimRequest,
    answers: Vec<Step>,
) -> Claimed {
    let script = Script::start(answers).await;
    let client = Client::builder(&script.base()).deadline(Duration::ZERO).build().unwrap();
    let answer = listener.claim(&client, &request).await;
    let body = |request: &String| {
        let body = request.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str::<Value>(body).unwrap()["wait_seconds"].clone()
    };
    Claimed { answer, queue, waits: script.heard().iter().map(body).collect() }
}

#[tokio::test]
async fn a_claim_that_finds_nothing_is_made_again_when_it_is_rung_and_the_ring_is_used() {
    let claimed = claim(
        waiting(20.0),
        vec![vec![ring("r", "gpu", "render", 1)]],
        vec![nothing("none_queued"), tasks(1)],
    )
    .await;
    assert_eq!(claimed.tasks(), 1);
    assert_eq!(claimed.waits, [Value::Null, Value::Null], "no claim waits at the server");
    assert_eq!(claimed.held().deleted, ["r"]);
    assert_eq!(claimed.held().received, [1], "no more rings than there is room for tasks");
}

#[tokio::test]
async fn a_wait_without_rings_is_one_claim_and_one_request_to_the_queue() {
    let claimed = claim(waiting(0.2), vec![], vec![nothing("none_queued")]).await;
    assert_eq!(claimed.tasks(), 0);
    assert_eq!((claimed.waits.len(), claimed.held().received.len()), (1, 1));
}

#[tokio::test]
async fn tasks_that_are_there_are_taken_without_a_look_at_the_queue() {
    let claimed = claim(waiting(20.0), vec![], vec![tasks(1)]).await;
    assert_eq!((claimed.tasks(), claimed.held().received.len()), (1, 0));
}

#[tokio::test]
async fn a_ring_for_others_is_given_back_and_one_that_nobody_could_use_ends() {
    let old = Heard { times: MOST_RECEIVED, ..ring("old", "cpu", "render", 1) };
    let others = vec![ring("queue", "cpu", "render", 1), ring("type", "gpu", "thumb", 1), old];
    let claimed = claim(waiting(0.3), vec![others], vec![nothing("none_queued")]).await;
    assert_eq!(claimed.waits.len(), 1, "it is of no use to claim for others' tasks");
    assert_eq!(claimed.held().released, ["queue", "type"]);
    assert_eq!(claimed.held().deleted, ["old"]);
}

#[tokio::test]
async fn of_a_ring_for_many_what_the_claim_had_no_room_for_goes_on_to_others() {
    let coming = vec![vec![ring("r", "gpu", "render", 4), ring("s", "gpu", "render", 1)]];
    let request = ClaimRequest { max_tasks: Some(2), ..waiting(20.0) };
    let claimed = claim(request, coming, vec![nothing("none_queued"), tasks(2)]).await;
    assert_eq!(claimed.tasks(), 2);
    let rest: Vec<Ring> =
        claimed.held().sent.iter().map(|ring| serde_json::from_str(ring).unwrap()).collect();
    assert_eq!(rest.iter().map(|ring| ring.count).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(
        (&claimed.held().deleted[..], &claimed.held().released[..]),
        (&["r".to_owned()][..], &["s".to_owned()][..])
    );
}

#[tokio::test]
async fn a_claim_that_had_room_for_more_shows_that_its_rings_are_done() {
    let coming = vec![vec![ring("r", "gpu", "render", 4)]];
    let request = ClaimRequest { max_tasks: Some(3), ..waiting(20.0) };
    let claimed = claim(request, coming, vec![nothing("none_queued"), tasks(2)]).await;
    assert_eq!((claimed.tasks(), claimed.held().deleted.len(), claimed.held().sent.len()), (2, 1, 0));
}

#[tokio::test]
async fn rings_are_given_back_if_the_server_does_not_answer() {
    let coming = vec![vec![ring("r", "gpu", "render", 1)]];
    let claimed = claim(waiting(20.0), coming, vec![nothing("none_queued"), Step::HangUp]).await;
    assert!(claimed.answer.is_err());
    assert_eq!(claimed.held().released, ["r"]);
}

#[tokio::test]
async fn what_is_no_ring_is_removed() {
    let garbage =
        ["", "{}", "[1]", r#"{"queue":"no such name!","count":1,"run_after":"2026-02-02T02:40:00Z"}"#];
    let garbage = garbage.map(|body| Heard { receipt: body.to_owned(), body: body.to_owned(), times: 1 });
    let claimed = claim(waiting(0.3), vec![garbage.to_vec()], vec![nothing("none_queued")]).await;
    assert_eq!(claimed.tasks(), 0);
    assert_eq!((claimed.held().deleted.len(), claimed.waits.len()), (4, 1));
}

#[tokio::test]
async fn a_worker_that_may_take_nothing_now_takes_no_rings_from_others() {
    let coming = vec![vec![ring("r", "gpu", "render", 1)]];
    let answers = vec![nothing("at_cap"), nothing("runs_alone")];
    let claimed = claim(waiting(0.1), coming, answers).await;
    assert_eq!(claimed.held().received, Vec::<u32>::new());
    assert_eq!(claimed.answer.unwrap().nothing.unwrap().reason, "runs_alone");
}

#[tokio::test]
async fn a_directive_is_told_at_once() {
    let begun = Instant::now();
    let claimed = claim(waiting(20.0), vec![], vec![nothing("directed")]).await;
    assert_eq!(claimed.held().received.len(), 0);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_claim_without_queues_tries_any_ring_and_leaves_to_others_what_brought_it_nothing() {
    let request = ClaimRequest { queues: Vec::new(), ..waiting(0.3) };
    let coming = vec![vec![ring("r", "cpu", "render", 1)]];
    let claimed = claim(request, coming, vec![nothing("none_queued"), nothing("none_queued")]).await;
    assert_eq!(claimed.waits.len(), 2);
    assert_eq!((&claimed.held().released[..], claimed.held().deleted.len()), (&["r".to_owned()][..], 0));
}

#[tokio::test]
async fn a_claim_of_what_is_warm_alone_leaves_to_others_what_brought_it_nothing() {
    let request = ClaimRequest {
        warm: vec!["sdxl".parse().unwrap()],
        affinity: Some(AffinityWord::Only),
        ..waiting(0.3)
    };
    let coming = vec![vec![ring("r", "gpu", "render", 1)]];
    let claimed = claim(request, coming, vec![nothing("none_queued"), nothing("not_warm")]).await;
    assert_eq!((&claimed.held().released[..], claimed.held().deleted.len()), (&["r".to_owned()][..], 0));
}

#[tokio::test]
async fn while_the_queue_is_denied_claims_wait_at_the_server() {
    let queue = Arc::new(Queue::default());
    queue.0.lock().unwrap().denied = true;
    let mut listener = Listener::new(Arc::clone(&queue) as _);
    let answers = vec![nothing("none_queued"), tasks(1)];
    let claimed = claim_at(&mut listener, Arc::clone(&queue), waiting(20.0), answers).await;
    assert_eq!(claimed.tasks(), 1);
    assert_eq!(claimed.waits[0], Value::Null);
    assert!(claimed.waits[1].as_f64().unwrap() > 10.0, "what is left of the wait: {:?}", claimed.waits);

    // The queue is left alone for a while.
    let claimed = claim_at(&mut listener, Arc::clone(&queue), waiting(20.0), vec![tasks(1)]).await;
    assert_eq!(claimed.waits, [json!(20.0)]);
    assert_eq!(claimed.held().received.len(), 1);
}
