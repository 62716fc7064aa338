//! Attempts that end close together are told to the server by few requests, and each call has its own answer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod support;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use baton_api::claim::{ClaimRequest, NothingView};
use baton_api::complete::{CompleteRequest, ErrorFields, FailRequest, ReleaseRequest};
use baton_api::task::TaskView;
use baton_api::{FieldError, Problem, ProblemCode};
use baton_client::{Client, NextClaims};
use baton_model::{Payload, RequestKey, Status, TaskId};
use serde_json::{Value, json};
use support::{Script, Step};

fn task(number: u8) -> TaskId {
    format!("01980a6e-5b7c-7cc3-98c4-dc0c0c0739{number:02x}").parse().unwrap()
}

fn completion() -> CompleteRequest {
    CompleteRequest {
        worker_id: "w1".parse().unwrap(),
        attempt: 1,
        location: None,
        kind: None,
        metadata: None,
        result: Some(Payload::parse("7").unwrap()),
        files: Vec::new(),
        run_seconds: None,
        claim: None,
    }
}

/// A completion that brings the next task along.
fn claiming(number: u8) -> CompleteRequest {
    let claim = ClaimRequest {
        request_id: Some(RequestKey::of_completion(task(number), 1)),
        ..ClaimRequest::new("w1".parse().unwrap())
    };
    CompleteRequest { claim: Some(claim), ..completion() }
}

fn failure() -> FailRequest {
    FailRequest {
        worker_id: "w1".parse().unwrap(),
        attempt: 1,
        error: ErrorFields { message: "no page".to_owned(), code: None, details: None },
        retryable: None,
        retry_after_seconds: None,
    }
}

fn release() -> ReleaseRequest {
    ReleaseRequest { worker_id: "w1".parse().unwrap(), attempt: 1, delay_seconds: None, reason: None }
}

fn completed(number: u8) -> Value {
    json!({"task_id": task(number).to_string(), "status": "completed",
        "generation_id": task(100 + number).to_string(), "finished_at": "2026-01-31T08:15:00Z"})
}

fn ended(number: u8) -> Value {
    json!({"task_id": task(number).to_string(), "status": "retry", "attempts_used": 1, "max_attempts": 3,
        "run_after": "2026-01-31T08:16:00Z"})
}

fn problem(code: ProblemCode) -> Problem {
    Problem::new(code, "told by the test")
}

fn answer(body: &Value) -> Step {
    Step::Answer(200, body.to_string())
}

fn refusal(problem: &Problem) -> Step {
    Step::Answer(problem.status, serde_json::to_string(problem).unwrap())
}

/// The answer to several ends, of each what became of it.
fn together<const N: usize>(items: [Value; N]) -> Value {
    let indexed = |(index, mut item): (usize, Value)| {
        item["index"] = index.into();
        item
    };
    let items: Vec<Value> = items.into_iter().enumerate().map(indexed).collect();
    json!({"accepted": 0, "refused": 0, "items": items})
}

/// The paths of requests.
fn paths(heard: &[String]) -> Vec<&str> {
    heard.iter().map(|request| request.split(' ').nth(1).unwrap()).collect()
}

fn own(number: u8, route: &str) -> String {
    format!("/v1/tasks/{}/{route}", task(number))
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Which ends a request tells, each with the way it ended.
fn told(request: &str) -> Vec<(String, &'static str)> {
    let kind = |one: &Value| {
        ["completion", "failure", "release"].into_iter().find(|kind| one.get(kind).is_some()).unwrap()
    };
    let body = body(request);
    let endings = body["endings"].as_array().unwrap().iter();
    endings.map(|one| (one["task_id"].as_str().unwrap().to_owned(), kind(one))).collect()
}

/// Begins a request, and leaves it under way.
async fn begin(request: &mut (impl Future + Unpin)) {
    let pending = poll_fn(|context| Poll::Ready(Pin::new(&mut *request).poll(context).is_pending())).await;
    assert!(pending);
}

/// Waits until the server has heard so many requests.
async fn has_heard(script: &Script, count: usize) {
    while script.heard().len() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_ends_while_an_end_is_under_way_goes_together_and_each_has_its_own_outcome() {
    let script = Script::start(vec![
        answer(&completed(1)),
        answer(&together([
            json!({"completed": completed(2)}),
            json!({"ended": ended(3)}),
            json!({"ended": ended(4)}),
            json!({"problem": problem(ProblemCode::LeaseLost)}),
        ])),
    ])
    .await;
    let client = script.client();
    let (done, failed, back) = (completion(), failure(), release());
    // Clones gather together.
    let clone = client.clone();
    let (first, second, third, fourth, fifth) = tokio::join!(
        biased;
        client.complete(task(1), &done),
        clone.complete(task(2), &done),
        client.fail(task(3), &failed),
        clone.release(task(4), &back),
        client.complete(task(5), &done),
    );
    assert_eq!(first.unwrap().task_id, task(1));
    let second = second.unwrap();
    assert_eq!((second.task_id, second.status), (task(2), Status::Completed));
    let third = third.unwrap();
    assert_eq!((third.task_id, third.attempts_used), (task(3), 1));
    assert_eq!(fourth.unwrap().task_id, task(4));
    assert_eq!(fifth.unwrap_err().code(), Some(ProblemCode::LeaseLost));

    let heard = script.heard();
    assert_eq!(paths(&heard), [own(1, "complete").as_str(), "/v1/endings"]);
    let expected = [(2, "completion"), (3, "failure"), (4, "release"), (5, "completion")];
    assert_eq!(told(&heard[1]), expected.map(|(number, kind)| (task(number).to_string(), kind)));
    assert_eq!(body(&heard[1])["endings"][0]["completion"]["result"], 7);
}

#[tokio::test]
async fn an_end_goes_by_its_own_route_if_none_is_under_way() {
    let script = Script::start(vec![answer(&completed(1)), answer(&ended(2)), answer(&ended(3))]).await;
    let client = script.client();
    client.complete(task(1), &completion()).await.unwrap();
    client.fail(task(2), &failure()).await.unwrap();
    client.release(task(3), &release()).await.unwrap();
    let expected = [own(1, "complete"), own(2, "fail"), own(3, "release")];
    assert_eq!(paths(&script.heard()), expected);
}

#[tokio::test]
async fn a_caller_that_goes_while_its_end_gathers_takes_no_other_along() {
    let script = Script::start(vec![
        answer(&completed(1)),
        answer(&together([json!({"ended": ended(3)}), json!({"ended": ended(4)})])),
    ])
    .await;
    let client = script.client();
    let (done, failed, back) = (completion(), failure(), release());
    let mut first = Box::pin(client.complete(task(1), &done));
    let mut gone = Box::pin(client.complete(task(2), &done));
    let mut third = Box::pin(client.fail(task(3), &failed));
    let mut fourth = Box::pin(client.release(task(4), &back));
    begin(&mut first).await;
    begin(&mut gone).await;
    begin(&mut third).await;
    begin(&mut fourth).await;
    drop(gone);
    let (first, third, fourth) = tokio::join!(biased; first, third, fourth);
    assert_eq!(first.unwrap().task_id, task(1));
    assert_eq!((third.unwrap().task_id, fourth.unwrap().task_id), (task(3), task(4)));
    let heard = script.heard();
    assert_eq!(heard.len(), 2);
    let expected = [(3, "failure"), (4, "release")];
    assert_eq!(told(&heard[1]), expected.map(|(number, kind)| (task(number).to_string(), kind)));
}

#[tokio::test]
async fn what_gathers_behind_a_request_that_is_given_up_goes() {
    let script = Script::start(vec![
        Step::Silence,
        answer(&together([json!({"completed": completed(2)}), json!({"ended": ended(3)})])),
        answer(&completed(4)),
    ])
    .await;
    let client = script.client();
    let (done, failed) = (completion(), failure());
    let mut first = Box::pin(client.complete(task(1), &done));
    tokio::select! {
        biased;
        answer = &mut first => panic!("{answer:?}"),
        () = has_heard(&script, 1) => {}
    }
    let mut second = Box::pin(client.complete(task(2), &done));
    let mut third = Box::pin(client.fail(task(3), &failed));
    begin(&mut second).await;
    begin(&mut third).await;
    drop(first);
    let (second, third) = tokio::join!(biased; second, third);
    assert_eq!((second.unwrap().task_id, third.unwrap().task_id), (task(2), task(3)));
    client.complete(task(4), &done).await.unwrap();
    let expected = [own(1, "complete"), "/v1/endings".to_owned(), own(4, "complete")];
    assert_eq!(paths(&script.heard()), expected);
}

#[tokio::test]
async fn a_server_that_does_not_know_the_route_is_sent_each_end_alone() {
    let not_built = Step::Answer(501, "<html>".to_owned());
    for unknown in [refusal(&problem(ProblemCode::RouteNotFound)), not_built] {
        let mut steps = vec![answer(&completed(1)), unknown];
        steps.extend((2..6).map(|number| answer(&completed(number))));
        let script = Script::start(steps).await;
        let (client, done) = (script.client(), completion());
        let (first, second, third) = tokio::join!(
            biased;
            client.complete(task(1), &done),
            client.complete(task(2), &done),
            client.complete(task(3), &done),
        );
        assert!(first.is_ok() && second.is_ok() && third.is_ok(), "{first:?}, {second:?}, {third:?}");
        // Nor is it asked again so soon.
        let (fourth, fifth) =
            tokio::join!(biased; client.complete(task(4), &done), client.complete(task(5), &done));
        assert!(fourth.is_ok() && fifth.is_ok(), "{fourth:?}, {fifth:?}");
        let heard = script.heard();
        let asked = paths(&heard).into_iter().filter(|path| *path == "/v1/endings").count();
        assert_eq!((heard.len(), asked), (6, 1));
    }
}

#[tokio::test]
async fn of_several_ends_only_that_is_sent_again_which_could_not_be_done() {
    let script = Script::start(vec![
        answer(&completed(1)),
        answer(&together([
            json!({"completed": completed(2)}),
            json!({"problem": problem(ProblemCode::OutcomeUnknown)}),
        ])),
        answer(&completed(3)),
    ])
    .await;
    let (client, done) = (script.client(), completion());
    let (first, second, third) = tokio::join!(
        biased;
        client.complete(task(1), &done),
        client.complete(task(2), &done),
        client.complete(task(3), &done),
    );
    assert!(first.is_ok() && second.is_ok(), "{first:?}, {second:?}");
    assert_eq!(third.unwrap().task_id, task(3));
    let expected = [own(1, "complete"), "/v1/endings".to_owned(), own(3, "complete")];
    assert_eq!(paths(&script.heard()), expected);
}

#[tokio::test]
async fn ends_that_a_busy_server_turned_away_together_come_again() {
    let script = Script::start(vec![
        answer(&completed(1)),
        refusal(&problem(ProblemCode::Busy)),
        answer(&completed(2)),
        answer(&completed(3)),
    ])
    .await;
    let (client, done) = (script.client(), completion());
    let (first, second, third) = tokio::join!(
        biased;
        client.complete(task(1), &done),
        client.complete(task(2), &done),
        client.complete(task(3), &done),
    );
    assert!(first.is_ok() && second.is_ok() && third.is_ok(), "{first:?}, {second:?}, {third:?}");
    assert_eq!(script.heard().len(), 4);

    // Without a deadline each hears of it.
    let steps = vec![answer(&completed(1)), refusal(&problem(ProblemCode::Busy))];
    let script = Script::start(steps).await;
    let client = script.client().with_deadline(Duration::ZERO);
    let (first, second, third) = tokio::join!(
        biased;
        client.complete(task(1), &done),
        client.complete(task(2), &done),
        client.complete(task(3), &done),
    );
    assert!(first.is_ok(), "{first:?}");
    for refused in [second, third] {
        assert_eq!(refused.unwrap_err().code(), Some(ProblemCode::Busy));
    }
}

#[tokio::test]
async fn an_end_that_does_not_fit_hears_of_its_own_fields() {
    let wrong = |field: &str| {
        let field = field.to_owned();
        let error = FieldError { field, expected: "1 or more".to_owned(), got: "0".to_owned() };
        Problem { errors: vec![error], ..problem(ProblemCode::InvalidFields) }
    };
    let script = Script::start(vec![
        answer(&completed(1)),
        answer(&together([
            json!({"completed": completed(2)}),
            json!({"problem": wrong("endings[1].completion.attempt")}),
        ])),
        refusal(&wrong("attempt")),
    ])
    .await;
    let (client, done) = (script.client(), completion());
    let misfit = CompleteRequest { attempt: 0, ..completion() };
    let (first, second, third) = tokio::join!(
        biased;
        client.complete(task(1), &done),
        client.complete(task(2), &done),
        client.complete(task(3), &misfit),
    );
    assert!(first.is_ok() && second.is_ok(), "{first:?}, {second:?}");
    let error = third.unwrap_err();
    assert_eq!(error.problem().unwrap().errors[0].field, "attempt");
}

#[tokio::test]
async fn much_output_and_a_completion_with_a_claim_go_by_their_own_routes() {
    let script = Script::start((1..4).map(|number| answer(&completed(number))).collect()).await;
    let (client, done, claims) = (script.client(), completion(), claiming(2));
    let text = Value::String("x".repeat(300 * 1024));
    let large = CompleteRequest { result: Some(Payload::from_value(&text)), ..completion() };
    let (first, second, third) = tokio::join!(
        biased;
        client.complete(task(1), &done),
        client.complete(task(2), &claims),
        client.complete(task(3), &large),
    );
    assert!(first.is_ok() && second.is_ok() && third.is_ok(), "{first:?}, {second:?}, {third:?}");
    let heard = script.heard();
    let mut paths = paths(&heard);
    paths.sort_unstable();
    assert_eq!(paths, [own(1, "complete"), own(2, "complete"), own(3, "complete")]);
    assert_eq!(heard.iter().filter(|request| body(request).get("claim").is_some()).count(), 1);
}

#[tokio::test]
async fn a_client_that_is_told_not_to_gather_ends_each_attempt_by_itself() {
    let steps = (1..7).map(|number| answer(&completed(number))).collect();
    let script = Script::start(steps).await;
    let (gathers, done) = (script.client(), completion());
    for client in
        [Client::builder(&script.base()).gather_ends(false).build().unwrap(), gathers.without_gathering()]
    {
        let (first, second, third) = tokio::join!(
            biased;
            client.complete(task(1), &done),
            client.complete(task(2), &done),
            client.complete(task(3), &done),
        );
        assert!(first.is_ok() && second.is_ok() && third.is_ok(), "{first:?}, {second:?}, {third:?}");
    }
    let heard = script.heard();
    assert!(paths(&heard).iter().all(|path| path.ends_with("/complete")), "{heard:?}");
}

/// Claims as much as was wanted, and notes it.
#[derive(Default)]
struct Claims {
    wanted: Mutex<Vec<u32>>,
    left_over: Mutex<Vec<TaskId>>,
}

impl NextClaims for Claims {
    fn claim(&self, wanted: u32) -> Option<ClaimRequest> {
        self.wanted.lock().unwrap().push(wanted);
        Some(ClaimRequest {
            max_tasks: Some(wanted),
            request_id: Some("w1.claim-9".parse().unwrap()),
            ..ClaimRequest::new("w1".parse().unwrap())
        })
    }

    fn answered(&self, claim: &ClaimRequest, nothing: Option<&NothingView>, problem: Option<&Problem>) {
        assert_eq!((claim.max_tasks, nothing, problem), (Some(2), None, None));
    }

    fn unanswered(&self, claim: ClaimRequest, may_be_granted: bool) {
        panic!("{claim:?}, {may_be_granted}");
    }

    fn left_over(&self, task: TaskView) {
        self.left_over.lock().unwrap().push(task.id);
    }
}

fn claimed(number: u8) -> Value {
    let at = "2026-01-31T08:15:00Z";
    json!({"id": task(number).to_string(), "project": "default", "queue": "default", "type": "ocr", "status": "running",
        "priority": "normal", "params": {}, "attempt": 1, "attempts_used": 1, "max_attempts": 3,
        "run_after": at, "created_at": at, "updated_at": at})
}

#[tokio::test]
async fn one_claim_goes_along_with_several_ends_and_its_tasks_come_with_those_that_were_taken() {
    let mut several = together([
        json!({"completed": completed(2)}),
        json!({"problem": problem(ProblemCode::LeaseLost)}),
        json!({"ended": ended(4)}),
    ]);
    several["next"] = json!({"tasks": [claimed(11), claimed(12)]});
    let script = Script::start(vec![answer(&completed(1)), answer(&several)]).await;
    let next = Arc::new(Claims::default());
    let client = script.client().with_next_claims(Arc::clone(&next) as Arc<dyn NextClaims>);
    let (one, two, three, back) = (claiming(1), claiming(2), claiming(3), release());
    let (first, second, third, fourth) = tokio::join!(
        biased;
        client.complete(task(1), &one),
        client.complete(task(2), &two),
        client.complete(task(3), &three),
        client.release(task(4), &back),
    );
    assert!(first.is_ok() && fourth.is_ok(), "{first:?}, {fourth:?}");
    let brought: Vec<TaskId> = second.unwrap().next.unwrap().tasks.iter().map(|task| task.id).collect();
    assert_eq!(brought, [task(11)]);
    assert_eq!(third.unwrap_err().code(), Some(ProblemCode::LeaseLost));
    assert_eq!(*next.left_over.lock().unwrap(), [task(12)], "its completion was refused");
    assert_eq!(*next.wanted.lock().unwrap(), [2]);

    let heard = script.heard();
    let (alone, several) = (body(&heard[0]), body(&heard[1]));
    assert_eq!(alone["claim"]["request_id"], format!("{}@1", task(1)), "alone it claims for itself");
    assert_eq!(
        (&several["claim"]["max_tasks"], &several["claim"]["request_id"]),
        (&json!(2), &json!("w1.claim-9"))
    );
    assert_eq!(several["endings"][0]["completion"].get("claim"), None);
}
