//! The sweep of files, and what happens to a file between its look and its removal.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use baton_files::{
    Bounds, ByteStream, Content, FileError, FileName, FilePage, Files, Key, Part, Put, StoredFile,
};
use baton_http::{App, Parts};
use baton_model::{ProjectId, TaskId, Timestamp};
use baton_reap_stale_workers::{begin, reap_within};
use baton_runtime::{Settings, Shutdown, Sources};
use bytes::Bytes;
use futures::StreamExt;
use http::Request;
use serde_json::json;

use crate::world::World;

/// Files of which, right after each look of a sweep, one is put anew and one is given to a task.
struct Moving {
    files: Arc<dyn Files>,
    task: TaskId,
    now: Timestamp,
}

#[async_trait]
impl Files for Moving {
    async fn put(&self, put: Put, bytes: ByteStream) -> Result<StoredFile, FileError> {
        self.files.put(put, bytes).await
    }

    async fn head(&self, name: &FileName) -> Result<StoredFile, FileError> {
        self.files.head(name).await
    }

    async fn get(&self, name: &FileName, part: Part) -> Result<Content, FileError> {
        self.files.get(name, part).await
    }

    async fn remove(&self, name: &FileName) -> Result<(), FileError> {
        self.files.remove(name).await
    }

    async fn remove_unchanged(&self, file: &StoredFile) -> Result<bool, FileError> {
        self.files.remove_unchanged(file).await
    }

    async fn list(
        &self,
        project: &ProjectId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<FilePage, FileError> {
        self.files.list(project, prefix, after, limit).await
    }

    async fn adopt(&self, name: &FileName, task: TaskId) -> Result<StoredFile, FileError> {
        self.files.adopt(name, task).await
    }

    async fn usage(&self, project: &ProjectId) -> Result<u64, FileError> {
        self.files.usage(project).await
    }

    async fn older(
        &self,
        before: Timestamp,
        after: Option<FileName>,
        limit: usize,
    ) -> Result<(Vec<StoredFile>, Option<FileName>), FileError> {
        let found = self.files.older(before, after, limit).await?;
        let bounds = Bounds { file_bytes: u64::MAX, project_bytes: None };
        let name = "film/anew".parse().unwrap();
        let put = Put {
            name,
            now: self.now,
            id: 7,
            content_type: None,
            task: None,
            kept_until: None,
            only_new: false,
            bounds,
        };
        let bytes = futures::stream::once(async { Ok(Bytes::from_static(b"new")) });
        self.files.put(put, bytes.boxed()).await?;
        self.files.adopt(&"film/taken".parse().unwrap(), self.task).await?;
        Ok(found)
    }

    async fn sweep_nameless(&self, before: Timestamp) -> Result<u64, FileError> {
        self.files.sweep_nameless(before).await
    }

    async fn key(&self) -> Result<Key, FileError> {
        self.files.key().await
    }
}

#[tokio::test]
async fn a_sweep_removes_nothing_that_was_put_or_taken_since_it_looked() {
    let world = World::new();
    let task = world.create(json!({"type": "a", "project": "film"})).await;
    let gone = TaskId::from_bytes([9; 16]);
    let paths = ["anew", "taken", "old", &format!("tasks/{task}/a"), &format!("tasks/{gone}/a")];
    for path in paths {
        let request = Request::put(format!("/v1/files/film/{path}")).body(Body::from("x")).unwrap();
        assert_eq!(world.send(request).await.status, 201);
    }
    world.advance(Duration::from_secs(90_000));
    let parts = &world.app;
    let files = parts.files.clone().unwrap();
    let moving = Moving { files: Arc::clone(&files), task: task.parse().unwrap(), now: world.app.now() };
    let settings = Settings::load(&Sources::default()).unwrap();
    let app = App::new(Parts {
        files: Some(Arc::new(moving)),
        ..Parts::configured(
            &settings,
            Arc::clone(&parts.store),
            Arc::clone(&parts.doorbell),
            Arc::clone(&parts.clock),
            Arc::clone(&parts.ids),
        )
    });
    // Until the time has gone on evenly for long enough to be believed.
    begin(&app).await;
    for _ in 0..=7 {
        reap_within(&app, Duration::from_secs(60)).await.unwrap();
        world.advance(Duration::from_secs(601));
    }
    assert!(app.timekeeper.removes_at().is_some());
    let shutdown = Shutdown::new();
    let sweep = tokio::spawn(baton_manage_files::run_sweep(app, shutdown.clone()));
    tokio::task::yield_now().await;
    // An hour goes by at once; what the sweep does then takes its time.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3_601)).await;
    tokio::time::resume();
    let project = "film".parse().unwrap();
    let left = async || {
        let page = files.list(&project, "", None, 9).await.unwrap();
        page.items.iter().map(|file| file.name.path().to_owned()).collect::<Vec<_>>()
    };
    while left().await.len() > 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.begin();
    sweep.await.unwrap();
    assert_eq!(left().await, ["anew".to_owned(), "taken".to_owned(), format!("tasks/{task}/a")]);
    assert_eq!(world.get("/v1/files/film/anew").await.text(), "new");
}
