//! The binary as Lambda starts it: over the Runtime API, with a table behind it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::process::Stdio;

use baton_lambda::stub::{Outcome, RuntimeApi};
use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::table::{self, TableOptions};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

fn start(api: &RuntimeApi, endpoint: &str, level: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_create-task"))
        .env_clear()
        .envs(api.environment("baton-create-task"))
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_SECRET_ACCESS_KEY", "a-secret-key")
        .env("BATON_STORE_URL", "dynamodb:baton-tasks")
        .env("BATON_LOG_LEVEL", level)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Ends a process; its lines on stdout, and on stderr.
async fn ended(mut process: Child) -> (Vec<Value>, Vec<Value>) {
    process.start_kill().unwrap();
    process.wait().await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    process.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
    process.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
    let lines = |text: String| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines(out), lines(err))
}

#[tokio::test]
async fn a_function_serves_requests_and_messages_and_survives_what_it_cannot_read() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let engine = tokio::spawn(dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap()));
    table::create(&local(&endpoint, http_client()), "baton-tasks", TableOptions::default()).await.unwrap();
    let api = RuntimeApi::start().await.unwrap();
    let process = start(&api, &endpoint, "trace");

    let mut event: Value =
        serde_json::from_str(include_str!("../../../events/http-create-task.json")).unwrap();
    event["headers"]["authorization"] = json!("Bearer baton_a-secret-token");
    event["headers"]["traceparent"] = json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let Some(Outcome::Answer(answer)) = api.invoke(&event).await else { panic!("no answer") };
    assert_eq!(
        (&answer["statusCode"], &answer["headers"]["x-request-id"]),
        (&json!(201), &json!("YfQ5xhVvFiAEPGw"))
    );

    let Some(Outcome::Error(error)) = api.invoke(&json!({"Records": [{"eventSource": "aws:s3"}]})).await
    else {
        panic!("an event of another shape was taken");
    };
    assert_eq!(error["errorType"], "Baton.Event");

    let batch: Value = serde_json::from_str(include_str!("../../../events/sqs-submissions.json")).unwrap();
    let answer = api.invoke(&batch).await;
    assert_eq!(answer, Some(Outcome::Answer(json!({"batchItemFailures": []}))));

    let (metrics, logs) = ended(process).await;
    engine.abort();
    let routes: Vec<&Value> = metrics.iter().map(|line| &line["Route"]).collect();
    assert_eq!(routes, ["unknown"], "Lambda counts what goes well");
    let created = logs.iter().find(|line| line["message"] == "task created").unwrap();
    assert_eq!(created["cold_start"], true);
    assert_eq!(
        (&created["request_id"], &created["invocation_id"]),
        (&json!("YfQ5xhVvFiAEPGw"), &Value::Null)
    );
    assert_eq!(created.get("xray_trace_id"), None, "the trace is not sampled");
    assert_eq!(created["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let queued = logs.iter().rfind(|line| line["message"] == "task created").unwrap();
    assert_eq!((&queued["request_id"], queued.get("cold_start")), (&json!("stub-2"), None));
    for line in logs.iter().chain(&metrics).map(Value::to_string) {
        assert!(!line.contains("a-secret"), "{line}");
    }
}

#[tokio::test]
async fn a_function_says_why_it_cannot_start() {
    for (variable, value, told) in [
        ("BATON_STORE_URL", "sqlite:baton.db", "store.url: expected dynamodb:"),
        ("BATON_QUEUES_READY", "ready", "queues.ready: expected the URL"),
        ("AWS_ACCESS_KEY_ID", "", "expected AWS_ACCESS_KEY_ID in the environment"),
        ("AWS_LAMBDA_RUNTIME_API", "-", "expected to be started by AWS Lambda"),
    ] {
        let api = RuntimeApi::start().await.unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_create-task"));
        command.env_clear().envs(api.environment("baton-create-task"));
        command.env("BATON_STORE_URL", "dynamodb:baton-tasks");
        match value {
            "-" => command.env_remove(variable),
            value => command.env(variable, value),
        };
        let output = command.output().await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{variable}");
        let line: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(line["error"].as_str().unwrap().contains(told), "{line}");
    }
}
