//! One server of its own for each test: all routes over a real store in a directory of its own, with a clock that the
//! test moves.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use baton_files::{ObjectFiles, Objects};
use baton_http::fleet::Fleet;
use baton_http::{App, Notices, Parts};
use baton_model::{Place, ReadingRule, Timestamp, TokenId, TokenSecret};
use baton_runtime::{Clock, LocalDoorbell, ManualClock, RandomIds, Settings, Sources};
use baton_scaling::Policy;
use baton_server::Service;
use baton_store::transfer::Migration;
use baton_store::{Doorbell, Store};
use baton_store_sqlite::{Options, SqliteStore};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dir: Arc<TempDir>,
    service: Service,
    /// The store as one that can be moved.
    movable: Arc<SqliteStore>,
    /// What its requests present, unless they present something else.
    authorization: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// A world with some settings changed, as by flags.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        Self::beside(settings, None, Vec::new(), Vec::new())
    }

    /// The same, beside supervised workers.
    pub(crate) fn with_fleet(settings: &[(&str, &str)], fleet: Arc<dyn Fleet>) -> Self {
        Self::beside(settings, Some(fleet), Vec::new(), Vec::new())
    }

    /// The same, with pools that machines are scaled for.
    pub(crate) fn with_pools(settings: &[(&str, &str)], scaling: Vec<Policy>) -> Self {
        Self::beside(settings, None, scaling, Vec::new())
    }

    /// The same, with rules about readings.
    pub(crate) fn with_readings(readings: Vec<ReadingRule>) -> Self {
        Self::beside(&[], None, Vec::new(), readings)
    }

    fn beside(
        settings: &[(&str, &str)],
        fleet: Option<Arc<dyn Fleet>>,
        scaling: Vec<Policy>,
        readings: Vec<ReadingRule>,
    ) -> Self {
        let flag = |(key, value): &(&str, &str)| ("--set".to_owned(), (*key).to_owned(), (*value).to_owned());
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs").display().to_string();
        let own = ("dialects.assistant.logs", logs.as_str());
        let flags = std::iter::once(&own).chain(settings).map(flag).collect();
        let settings = Settings::load(&Sources { flags, ..Sources::default() }).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_770_000_000_000)));
        let doorbell = LocalDoorbell::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let options = Options { policy: settings.leases, ..Options::default() };
        let rung = Arc::clone(&doorbell) as Arc<dyn Doorbell>;
        let movable = Arc::new(SqliteStore::open(&dir.path().join("baton.db"), options, rung).unwrap());
        let store: Arc<dyn Store> = Arc::clone(&movable) as Arc<dyn Store>;
        let place = Place::Folder(dir.path().join("files"));
        let files = ObjectFiles::new(Objects::open(&place).unwrap());
        let parts = Parts::configured(
            &settings,
            store,
            doorbell,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::new(RandomIds),
        );
        let app = App::new(Parts { files: Some(Arc::new(files)), fleet, scaling, readings, ..parts });
        let service = baton_server::service(app.clone(), &settings).unwrap();
        Self { app, clock, dir: Arc::new(dir), service, movable, authorization: None }
    }

    /// The world with another server in the place of the first, on what that one has stored.
    pub(crate) async fn restarted(&self) -> Self {
        self.restarted_on(Arc::clone(&self.movable)).await
    }

    /// The world with another server, on a file that all has been moved to.
    pub(crate) async fn moved(&self) -> Self {
        let rung = Arc::clone(&self.app.doorbell) as Arc<dyn Doorbell>;
        let target = SqliteStore::open(&self.dir.path().join("moved.db"), Options::default(), rung).unwrap();
        let migration = Migration {
            source: &*self.movable,
            target: &target,
            name: "baton.db",
            page: 20,
            keep_logs: Duration::from_secs(86_400),
            clock: &|| self.app.now(),
        };
        migration.run(|_| {}).await.unwrap();
        self.restarted_on(Arc::new(target)).await
    }

    async fn restarted_on(&self, movable: Arc<SqliteStore>) -> Self {
        let settings = Settings::load(&Sources::default()).unwrap();
        let parts = &self.app;
        let app = App::configured(
            &settings,
            Arc::clone(&movable) as Arc<dyn Store>,
            Arc::clone(&parts.doorbell),
            Arc::clone(&parts.clock),
            Arc::clone(&parts.ids),
        );
        baton_reap_stale_workers::begin(&app).await;
        let service = baton_server::service(app.clone(), &settings).unwrap();
        Self { app, service, movable, ..self.clone() }
    }

    /// The same world, whose settings have these rules of alerts and webhooks.
    pub(crate) fn with_notices(&self, notices: Notices) -> Self {
        let settings = Settings::load(&Sources::default()).unwrap();
        let shared = &self.app;
        let parts = Parts::configured(
            &settings,
            Arc::clone(&shared.store),
            Arc::clone(&shared.doorbell),
            Arc::clone(&shared.clock),
            Arc::clone(&shared.ids),
        );
        let app = App::new(Parts { notices, ..parts });
        let service = baton_server::service(app.clone(), &settings).unwrap();
        Self { app, service, ..self.clone() }
    }

    /// The same world, asked by somebody who presents this header.
    pub(crate) fn presenting(&self, authorization: &str) -> Self {
        Self { authorization: Some(authorization.to_owned()), ..self.clone() }
    }

    /// The same world, asked by somebody who presents a new token, made past the server: see `CreateToken` for its fields.
    pub(crate) async fn with_token(&self, token: Value) -> Self {
        let (_, secret) = self.token(token).await;
        self.presenting(&format!("Bearer {}", secret.reveal()))
    }

    /// A new token, made past the server.
    pub(crate) async fn token(&self, token: Value) -> (TokenId, TokenSecret) {
        let mut request = json!({"name": "t", "scopes": ["operator"]});
        let fields = token.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(fields);
        let request = baton_server::read_token_request(&request.to_string()).unwrap();
        let (stored, secret) =
            baton_server::new_token(request, &*self.app.ids, self.app.now(), None).unwrap();
        let id = stored.token.id;
        self.app.store.create_token(stored).await.unwrap();
        (id, secret)
    }

    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        if let Some(authorization) = &self.authorization
            && !request.headers().contains_key(AUTHORIZATION)
        {
            let value = authorization.parse().unwrap();
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Answer::of(self.service.clone().oneshot(request).await.unwrap()).await
    }

    /// An answer as it begins, to be taken piece by piece.
    pub(crate) async fn open(&self, path: &str) -> axum::response::Response {
        self.open_with(Request::get(path)).await
    }

    /// The same of a request that brings more.
    pub(crate) async fn open_with(&self, request: http::request::Builder) -> axum::response::Response {
        let mut request = request.body(Body::empty()).unwrap();
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        self.service.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_text(path, body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        let request = Request::put(path).header("content-type", "application/json");
        self.send(request.body(body.to_string().into()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Request::delete(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Without a body.
    pub(crate) async fn act(&self, path: &str) -> Answer {
        self.send(Request::post(path).body(Body::empty()).unwrap()).await
    }

    /// Creates a task and gives its id.
    pub(crate) async fn create(&self, task: Value) -> String {
        let answer = self.post("/v1/tasks", task).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Claims one task of the default queue, which must be there.
    pub(crate) async fn claim(&self, worker: &str) -> Value {
        let answer = self.post("/v1/claims", json!({"worker_id": worker})).await.json();
        assert!(answer["tasks"][0].is_object(), "{answer}");
        answer["tasks"][0].clone()
    }

    /// Claims one task of a queue, which must be there.
    pub(crate) async fn claim_of(&self, worker: &str, queue: &str) -> Value {
        let answer = self.post("/v1/claims", json!({"worker_id": worker, "queues": [queue]})).await.json();
        assert!(answer["tasks"][0].is_object(), "{answer}");
        answer["tasks"][0].clone()
    }

    pub(crate) async fn task(&self, id: &str) -> Value {
        let answer = self.get(&format!("/v1/tasks/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

impl Answer {
    pub(crate) async fn of(response: axum::response::Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// Expects a problem document of this status and code, whole in all its parts.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("/errors/{code}"));
        assert_eq!(problem["request_id"].as_str(), self.headers["x-request-id"].to_str().ok());
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{problem}");
        problem
    }

    /// The fields that a 422 names.
    #[track_caller]
    pub(crate) fn wrong_fields(&self) -> Vec<String> {
        let problem = self.problem(422, "invalid_fields");
        let errors = problem["errors"].as_array().unwrap();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}
