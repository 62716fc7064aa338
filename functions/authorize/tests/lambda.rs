//! The binary as Lambda starts it: over the Runtime API, with a table behind it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::process::Stdio;

use baton_lambda::stub::{Outcome, RuntimeApi};
use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::table::{self, TableOptions};
use serde_json::{Value, json};
use tokio::process::Command;

#[tokio::test]
async fn a_refusal_is_logged_with_its_code_and_no_secret_at_any_level() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let engine = tokio::spawn(dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap()));
    table::create(&local(&endpoint, http_client()), "baton-tasks", TableOptions::default()).await.unwrap();
    let api = RuntimeApi::start().await.unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_authorize"))
        .env_clear()
        .envs(api.environment("baton-authorize"))
        .env("AWS_ENDPOINT_URL", &endpoint)
        .env("BATON_STORE_URL", "dynamodb:baton-tasks")
        .env("BATON_LOG_LEVEL", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();

    // The table does not know the event's token.
    let event: Value = serde_json::from_str(include_str!("../../../events/authorizer-allowed.json")).unwrap();
    let secret = event["identitySource"][0].as_str().unwrap().rsplit('_').next().unwrap().to_owned();
    let answer = api.invoke(&event).await;
    assert_eq!(answer, Some(Outcome::Answer(json!({"isAuthorized": false, "context": {}}))));

    process.start_kill().unwrap();
    let output = process.wait_with_output().await.unwrap();
    engine.abort();
    let lines = |bytes: &[u8]| -> Vec<Value> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (metrics, logs) = (lines(&output.stdout), lines(&output.stderr));
    assert_eq!(metrics, Vec::<Value>::new(), "a refusal is no error");
    let refusal = logs.iter().find(|line| line["message"] == "request refused").unwrap();
    assert_eq!((&refusal["operation"], &refusal["code"]), (&json!("create_task"), &json!("unauthorized")));
    for line in logs.iter().chain(&metrics).map(Value::to_string) {
        assert!(!line.contains(&secret), "{line}");
    }
}
