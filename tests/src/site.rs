//! A server with a dialect on real sockets, as that dialect's old clients meet it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton_files::{ObjectFiles, Objects};
use baton_runtime::{Clock, LocalDoorbell, ManualClock, RandomIds, Settings, Sources};
use baton_server::{Beside, Running, Server};
use baton_store::{Doorbell, Store};
use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::{DynamoStore, aws_sdk_dynamodb, table};
use baton_store_sqlite::{Options, SqliteStore};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where the tasks of a site are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In a file, by SQLite.
    InFile,
    /// In a table of an engine that stands for DynamoDB.
    InTable,
}

/// A place for the tasks of one site, which outlives its server.
enum Place {
    File,
    Table(Engine),
}

/// What stands for DynamoDB, with one table in it.
struct Engine {
    client: aws_sdk_dynamodb::Client,
    serving: tokio::task::JoinHandle<()>,
}

/// The table's name.
const TABLE: &str = "baton-tasks";

impl Engine {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let database = dynoxide::Database::memory().unwrap();
        let serving = tokio::spawn(dynoxide::server::serve_on(listener, database));
        let client = local(&endpoint, http_client());
        table::create(&client, TABLE, table::TableOptions::default()).await.unwrap();
        Self { client, serving }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A server over a file or a table of its own. The dialect has an address to itself.
pub struct Site {
    dialect: String,
    place: Place,
    settings: Vec<(String, String)>,
    running: Running,
    /// The store, for what a test looks at past the server.
    pub store: Arc<dyn Store>,
    /// The time, which the test moves.
    pub clock: Arc<ManualClock>,
    client: reqwest::Client,
    token: Option<String>,
    dir: TempDir,
}

/// What a client reads of an answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }
}

impl Site {
    /// A new server that speaks a dialect at an address of its own, with some settings as by flags.
    pub async fn speaking(dialect: &str, settings: &[(&str, &str)]) -> Self {
        Self::keeping(Kept::InFile, dialect, settings).await
    }

    /// The same with its tasks kept so.
    pub async fn keeping(kept: Kept, dialect: &str, settings: &[(&str, &str)]) -> Self {
        let place = match kept {
            Kept::InFile => Place::File,
            Kept::InTable => Place::Table(Engine::start().await),
        };
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(baton_model::Timestamp::from_millis(1_770_000_000_123)));
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut settings: Vec<_> = settings.iter().map(own).collect();
        settings.push(("server.listen".to_owned(), "127.0.0.1:0".to_owned()));
        settings.push((format!("dialects.{dialect}.listen"), "127.0.0.1:0".to_owned()));
        settings.push(("dialects.assistant.logs".to_owned(), dir.path().join("logs").display().to_string()));
        settings.push((
            "dialects.edge-functions.files".to_owned(),
            dir.path().join("files").display().to_string(),
        ));
        let (running, store) = start(&settings, (&place, dir.path()), &clock).await;
        let client = client();
        Self { dialect: dialect.to_owned(), place, settings, running, store, clock, client, token: None, dir }
    }

    /// The same server after a stop and a new start on the same file.
    pub async fn restarted(self) -> Self {
        assert!(self.running.shutdown().await, "all was answered");
        drop(self.store);
        let (running, store) = start(&self.settings, (&self.place, self.dir.path()), &self.clock).await;
        Self { running, store, client: client(), ..self }
    }

    /// The folder of its files.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Stops it; says whether all that was accepted was answered.
    pub async fn stopped(self) -> bool {
        self.running.shutdown().await
    }

    /// The token that requests present from now on, as a bearer.
    pub fn present(&mut self, token: Option<&str>) {
        self.token = token.map(str::to_owned);
    }

    /// Makes a token past the server: see `CreateToken` for its fields; a producer's unless said.
    pub async fn make_token(&self, fields: Value) -> String {
        let mut request = json!({"name": "t", "scopes": ["producer"]});
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let request = baton_server::read_token_request(&request.to_string()).unwrap();
        let known = request.secret.clone();
        let (stored, secret) = baton_server::new_token(request, &RandomIds, self.clock.now(), None).unwrap();
        self.store.create_token(stored).await.unwrap();
        known.unwrap_or_else(|| secret.reveal())
    }

    /// A path's address in the dialect.
    pub fn url(&self, path: &str) -> String {
        let dialects = self.running.dialects();
        let (_, addr) = dialects.iter().find(|(name, _)| *name == self.dialect).expect("it is spoken");
        format!("http://{addr}{path}")
    }

    /// A path's address in Baton's own API.
    pub fn own_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.addr())
    }

    /// A request to an address, with the token that is presented.
    pub fn request(&self, method: Method, url: String) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, text: answer.text().await.unwrap() }
    }

    /// Asks the dialect without a body.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, self.url(path))).await
    }

    /// Asks the dialect as a client that follows no redirection.
    pub async fn without_following(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = building().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let request = request.request(method, self.url(path));
        let request = if let Some(token) = &self.token { request.bearer_auth(token) } else { request };
        self.send(if let Some(body) = body { request.json(body) } else { request }).await
    }

    /// Posts JSON to the dialect.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, self.url(path)).json(body)).await
    }

    /// Posts JSON to Baton's own API, and expects that it is taken.
    pub async fn own_post(&self, path: &str, body: &Value) -> Value {
        let answer = self.send(self.request(Method::POST, self.own_url(path)).json(body)).await;
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
        answer.json()
    }

    /// Reads from Baton's own API.
    pub async fn own_get(&self, path: &str) -> Value {
        let answer = self.send(self.request(Method::GET, self.own_url(path))).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Claims one task of a queue as a worker, if there is one.
    pub async fn claim(&self, queue: &str) -> Option<Value> {
        let body = json!({"worker_id": "w1", "queues": [queue]});
        let found = self.own_post("/v1/claims", &body).await;
        found["tasks"].as_array().and_then(|tasks| tasks.first()).cloned()
    }

    /// Claims one task of a queue and completes it with this result.
    pub async fn work(&self, queue: &str, result: &Value) -> String {
        let task = self.claim(queue).await.expect("a task waits");
        let id = task["id"].as_str().unwrap().to_owned();
        let body = json!({"worker_id": "w1", "attempt": task["attempt"], "result": result});
        self.own_post(&format!("/v1/tasks/{id}/complete"), &body).await;
        id
    }
}

fn building() -> reqwest::ClientBuilder {
    reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy()
}

fn client() -> reqwest::Client {
    // The TLS library wants to be chosen, though nothing here is encrypted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    building().build().unwrap()
}

async fn start(
    settings: &[(String, String)],
    (place, dir): (&Place, &Path),
    clock: &Arc<ManualClock>,
) -> (Running, Arc<dyn Store>) {
    let flags = settings.iter().map(|(key, value)| ("--set".to_owned(), key.clone(), value.clone()));
    let settings = Settings::load(&Sources { flags: flags.collect(), ..Sources::default() }).unwrap();
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let doorbell = LocalDoorbell::new(Arc::clone(&clock));
    let rung = Arc::clone(&doorbell) as Arc<dyn Doorbell>;
    let policy = settings.leases;
    let store: Arc<dyn Store> = match place {
        Place::File => {
            let options = Options { policy, ..Options::default() };
            Arc::new(SqliteStore::open(&dir.join("baton.db"), options, rung).unwrap())
        }
        Place::Table(engine) => {
            let options = baton_store_dynamodb::Options {
                policy,
                ..baton_store_dynamodb::Options::seeded(rand::random())
            };
            let opened = DynamoStore::open(engine.client.clone(), TABLE, options, rung).await;
            Arc::new(opened.unwrap())
        }
    };
    let ids = Arc::new(RandomIds);
    let files = Objects::open(&baton_model::Place::Folder(dir.join("baton-files"))).unwrap();
    let beside = Beside { files: Some(Arc::new(ObjectFiles::new(files))), ..Beside::default() };
    let listening = Server::listen(&settings).await.unwrap();
    let running =
        Server::serve(listening, &settings, Arc::clone(&store), doorbell, clock, ids, beside).await.unwrap();
    (running, store)
}
