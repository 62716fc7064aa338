//! What becomes of a store when its file cannot be used: always a clear error, and nothing lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

mod archive;
mod endings;
mod health;
mod hold;
mod keeping;
mod sharing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_model::{
    Grant, Payload, RunAfter, Scope, TaskId, TaskSpec, Timestamp, Token, TokenId, TokenSecret,
};
use baton_store::{Create, ErrorKind, NoDoorbell, StoreError, StoredToken, TaskStore, TokenStore};
use baton_store_sqlite::{Durability, Options, SqliteStore};
use rusqlite::Connection;

fn at(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("baton.db")
}

fn open(path: &Path, options: Options) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path, options, Arc::new(NoDoorbell))
}

fn id(n: u128) -> TaskId {
    TaskId::from_bytes(n.to_be_bytes())
}

/// A task whose params are about this many bytes.
fn task(n: u128, bytes: usize) -> Create {
    let spec = TaskSpec {
        params: Payload::from_value(&"x".repeat(bytes).into()),
        ..TaskSpec::new(id(n), "render".parse().unwrap())
    };
    Create {
        now: Timestamp::from_millis(1_000),
        tasks: vec![spec],
        atomic: true,
        idempotency: None,
        by: None,
    }
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_keeps_what_did() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: Some(1024 * 1024), ..Options::default() };
    let store = open(&at(&folder), options).unwrap();
    let mut taken = Vec::new();
    let refused = loop {
        let n = taken.len() as u128 + 1;
        match store.create(task(n, 100_000)).await {
            Ok(_) => taken.push(id(n)),
            Err(error) => break error,
        }
        assert!(taken.len() < 20, "1 MiB took twenty tasks of 100 kB");
    };
    assert!(matches!(refused, StoreError::StorageFull(_)), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let missing = store.task(id(taken.len() as u128 + 1)).await.unwrap_err();
    assert!(matches!(missing, StoreError::TaskNotFound(_)));
    for task in &taken {
        assert_eq!(store.task(*task).await.unwrap().history.len(), 1);
    }
    drop(store);
    // With room again, the store goes on where it was.
    let store = open(&at(&folder), Options::default()).unwrap();
    store.create(task(1_000, 100_000)).await.unwrap();
    assert!(store.task(taken[0]).await.is_ok());
}

#[tokio::test]
async fn a_command_that_breaks_its_group_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: Some(1024 * 1024), ..Options::default() };
    let store = Arc::new(open(&at(&folder), options).unwrap());
    // Sent at once, most of these share a commit with the one that does not fit.
    let creations = (1..=40_u128).map(|n| {
        let store = Arc::clone(&store);
        let bytes = if n == 20 { 4_000_000 } else { 100 };
        tokio::spawn(async move { (n, store.create(task(n, bytes)).await) })
    });
    for creation in creations.collect::<Vec<_>>() {
        let (n, outcome) = creation.await.unwrap();
        assert_eq!(outcome.is_ok(), n != 20, "task {n}: {outcome:?}");
        assert_eq!(store.task(id(n)).await.is_ok(), n != 20);
    }
}

#[tokio::test]
async fn a_locked_file_is_said_to_be_unavailable_and_serves_when_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&at(&folder), Options::default()).unwrap();
    let other = Connection::open(at(&folder)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.create(task(1, 10)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    let health = store.health().await;
    assert!(
        matches!(health.write, Some(Err(StoreError::Unavailable(_)))) && health.read.is_ok(),
        "{health:?}"
    );
    other.execute_batch("ROLLBACK").unwrap();
    store.create(task(1, 10)).await.unwrap();
    store.health().await.all().unwrap();
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&at(&folder), Options::default()).unwrap());
    Connection::open(at(&folder)).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let refused = open(&at(&folder), Options::default()).map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::NewerSchema { found: 99, known: 18 }), "{refused}");
    let version: i32 = Connection::open(at(&folder))
        .unwrap()
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 99);
}

#[tokio::test]
async fn tokens_in_memory_change_only_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&at(&folder), Options::default()).unwrap();
    let token = |n: u8| {
        let id = TokenId::from_bytes([n; 16]);
        let grant = Grant { scopes: [Scope::Worker].into(), queues: [].into(), project: None };
        let token = Token {
            id,
            name: "farm".parse().unwrap(),
            grant,
            requests_per_second: None,
            created_at: Timestamp::from_millis(1),
            created_by: None,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };
        StoredToken { token, digest: TokenSecret::new(id, [9; TokenSecret::BYTES]).digest() }
    };
    store.create_token(token(1)).await.unwrap();
    let kept = store.token(token(1).token.id).await.unwrap();
    // The file cannot be written: neither creation nor revocation nor use may show.
    let other = Connection::open(at(&folder)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let now = Timestamp::from_millis(5);
    let id = token(1).token.id;
    let refused =
        tokio::join!(store.create_token(token(2)), store.revoke_token(id, now), store.token_used(id, now),);
    assert!(refused.0.is_err() && refused.1.is_err() && refused.2.is_err(), "{refused:?}");
    assert_eq!(store.token(id).await.unwrap(), kept);
    assert_eq!(store.token(token(2).token.id).await.unwrap(), None);
    other.execute_batch("ROLLBACK").unwrap();
    store.revoke_token(id, now).await.unwrap();
    let revoked = store.token(id).await.unwrap();
    drop(store);
    let store = open(&at(&folder), Options::default()).unwrap();
    assert_eq!(store.token(id).await.unwrap(), revoked);
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(at(&folder), "the plan for next week, in some detail\n".repeat(1_000)).unwrap();
    let before = std::fs::read(at(&folder)).unwrap();
    let refused = open(&at(&folder), Options::default()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("not a Baton database"), "{refused}");
    assert_eq!(std::fs::read(at(&folder)).unwrap(), before);
}

#[test]
fn another_programs_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    Connection::open(at(&folder)).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    let refused = open(&at(&folder), Options::default()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("not a Baton database"), "{refused}");
}

#[tokio::test]
async fn damage_inside_the_file_is_said_and_does_not_end_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&at(&folder), Options::default()).unwrap();
    store.create(task(1, 10)).await.unwrap();
    store.create(task(2, 10)).await.unwrap();
    let other = Connection::open(at(&folder)).unwrap();
    other.execute_batch("UPDATE task SET state = 2 WHERE n = 1").unwrap();
    let refused = store.task(id(1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Internal);
    assert!(store.task(id(2)).await.is_ok());
}
