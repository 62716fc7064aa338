//! The default build: what it leaves out, it says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

use std::process::Command;

use baton_tests::program::plain_baton;

#[test]
fn a_program_without_sqs_says_how_to_build_one_with_it() {
    let queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/completions";
    for arguments in [
        &["worker", "run", "--completions-queue", queue, "--", "true"][..],
        &["dead-letters", "list", queue],
        &["dead-letters", "redrive", queue, "--all"],
    ] {
        let output = Command::new(plain_baton()).args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("--features sqs") && told.contains(queue), "{told}");
    }
}

#[test]
fn a_program_without_postgresql_says_how_to_build_one_with_it() {
    let url = "postgres://ray:secret@127.0.0.1/tasks";
    for arguments in [&["import", url, "--as", "task-table", "--dry-run"][..], &["mirror", "--to", url]] {
        let output = Command::new(plain_baton()).args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("--features postgres") && !told.contains("secret"), "{told}");
    }
}

#[test]
fn a_program_without_kedas_external_scaler_says_how_to_build_one_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("BATON_KEDA_LISTEN", "127.0.0.1:0"), ("BATON_SERVER_LISTEN", "127.0.0.1:0")];
    let output = Command::new(plain_baton())
        .arg("serve")
        .envs(environment)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("--features keda") && told.contains("keda.listen"), "{told}");
}

#[test]
fn a_program_without_the_store_on_dynamodb_says_how_to_build_one_with_it() {
    for arguments in [
        &["serve", "--store", "dynamodb:baton"][..],
        &["table", "create", "--store", "dynamodb:baton"],
        &["table", "check", "--store", "dynamodb:baton"],
        &[
            "relay",
            "--since",
            "1h",
            "--events-queue",
            "https://q.example.org/1/q",
            "--store",
            "dynamodb:baton",
        ],
        &["migrate", "--from", "dynamodb:baton", "--to", "sqlite:baton.db"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(plain_baton()).args(arguments).current_dir(folder.path()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains("--features dynamodb"), "{told}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    }
}
