//! The server on a real socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_runtime::{Clock, LocalDoorbell, RandomIds, Settings, Sources, SystemClock};
use baton_server::{Beside, Running, Server};
use baton_store::TokenStore;
use baton_store_sqlite::{Options, SqliteStore};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A test fails after this; none waits for it.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Site {
    running: Running,
    doorbell: Arc<LocalDoorbell>,
    store: Arc<SqliteStore>,
    _dir: tempfile::TempDir,
}

pub(crate) async fn site(settings: &[(&str, &str)]) -> Site {
    site_beside(settings, Beside::default()).await
}

/// A server that has this besides its store.
pub(crate) async fn site_beside(settings: &[(&str, &str)], beside: Beside) -> Site {
    let flag = |(key, value): &(&str, &str)| ("--set".to_owned(), (*key).to_owned(), (*value).to_owned());
    let flags = [("server.listen", "127.0.0.1:0")].iter().chain(settings).map(flag).collect();
    let settings = Settings::load(&Sources { flags, ..Sources::default() }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let doorbell = LocalDoorbell::new(Arc::clone(&clock));
    let rung = Arc::clone(&doorbell);
    let store = SqliteStore::open(&dir.path().join("baton.db"), Options::default(), rung).unwrap();
    let store = Arc::new(store);
    let (shared, ids) = (Arc::clone(&store), Arc::new(RandomIds));
    let listening = Server::listen(&settings).await.unwrap();
    let running = Server::serve(listening, &settings, shared, Arc::clone(&doorbell), clock, ids, beside);
    Site { running: running.await.unwrap(), doorbell, store, _dir: dir }
}

impl Site {
    pub(crate) async fn connect(&self) -> Connection {
        Connection(TcpStream::connect(self.running.addr()).await.unwrap())
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.running.addr()
    }

    /// The secret of an operator's token, made past the server.
    pub(crate) async fn token(&self) -> String {
        let request = baton_server::read_token_request(r#"{"name": "t", "scopes": ["operator"]}"#).unwrap();
        let (stored, secret) = baton_server::new_token(request, &RandomIds, SystemClock.now(), None).unwrap();
        self.store.create_token(stored).await.unwrap();
        secret.reveal()
    }

    /// Stops the server; says whether all that it had accepted was answered.
    pub(crate) async fn shutdown(self) -> bool {
        self.running.shutdown().await
    }

    async fn waiting(&self, count: usize) {
        let all = async {
            while self.doorbell.waiting() != count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), all).await.expect("claims wait");
    }
}

pub(crate) struct Connection(pub(crate) TcpStream);

impl Connection {
    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &str) {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.0.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }

    /// One answer, its head and its body; `None` if the server has closed the connection.
    pub(crate) async fn answer(&mut self) -> Option<(String, Value)> {
        let mut read = Vec::new();
        let head = self.head_of(&mut read).await?;
        if head.contains("\r\ntransfer-encoding: chunked\r\n") {
            let body = self.chunks(read).await;
            return Some((head, serde_json::from_slice(&body).unwrap_or_default()));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        while read.len() < length {
            assert_ne!(self.0.read_buf(&mut read).await.unwrap(), 0, "the answer broke off");
        }
        Some((head, serde_json::from_slice(&read).unwrap_or_default()))
    }

    /// A body in chunks (RFC 9112 §7.1), of which some may have been read.
    async fn chunks(&mut self, mut read: Vec<u8>) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match read.windows(2).position(|window| window == b"\r\n") {
                    Some(end) => break end,
                    None => assert_ne!(self.0.read_buf(&mut read).await.unwrap(), 0, "the answer broke off"),
                }
            };
            let size = usize::from_str_radix(std::str::from_utf8(&read[..end]).unwrap(), 16).unwrap();
            let chunk = end + 2..end + 2 + size;
            while read.len() < chunk.end + 2 {
                assert_ne!(self.0.read_buf(&mut read).await.unwrap(), 0, "the answer broke off");
            }
            body.extend_from_slice(&read[chunk.clone()]);
            read.drain(..chunk.end + 2);
            if size == 0 {
                return body;
            }
        }
    }

    /// The head of an answer, of which nothing else has come.
    pub(crate) async fn head(&mut self) -> Option<String> {
        let mut read = Vec::new();
        let head = self.head_of(&mut read).await;
        assert!(read.is_empty(), "more came: {read:?}");
        head
    }

    async fn head_of(&mut self, read: &mut Vec<u8>) -> Option<String> {
        loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                return Some(String::from_utf8(read.drain(..end + 4).collect()).unwrap());
            }
            if self.0.read_buf(read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn ask(&mut self, method: &str, path: &str, body: &str) -> (String, Value) {
        self.send(method, path, body).await;
        timeout(SOON, self.answer()).await.expect("an answer in time").expect("an answer")
    }
}

#[tokio::test]
async fn many_requests_go_over_one_connection() {
    let site = site(&[]).await;
    let mut connection = site.connect().await;
    let (head, created) = connection.ask("POST", "/v1/tasks", r#"{"type":"a"}"#).await;
    assert!(head.starts_with("HTTP/1.1 201 Created\r\n"), "{head}");
    assert!(head.contains("\r\nx-request-id: "), "{head}");
    let (_, claimed) = connection.ask("POST", "/v1/claims", r#"{"worker_id":"w"}"#).await;
    assert_eq!(claimed["tasks"][0]["id"], created["id"]);
    let path = format!("/v1/tasks/{}/complete", created["id"].as_str().unwrap());
    let (_, completed) = connection.ask("POST", &path, r#"{"worker_id":"w","attempt":1}"#).await;
    assert_eq!(completed["status"], "completed");
    let (head, problem) = connection.ask("GET", "/nowhere", "").await;
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    assert_eq!(problem["code"], "route_not_found");
    assert!(site.running.shutdown().await);
}

#[tokio::test]
async fn a_waiting_claim_on_one_connection_is_woken_by_a_task_on_another() {
    let site = site(&[]).await;
    let (mut worker, mut producer) = (site.connect().await, site.connect().await);
    worker.send("POST", "/v1/claims", r#"{"worker_id":"w","wait_seconds":20}"#).await;
    site.waiting(1).await;
    let (_, created) = producer.ask("POST", "/v1/tasks", r#"{"type":"a"}"#).await;
    let (_, claimed) = timeout(SOON, worker.answer()).await.expect("woken").unwrap();
    assert_eq!(claimed["tasks"][0]["id"], created["id"]);
}

#[tokio::test]
async fn a_connection_that_breaks_while_its_claim_waits_strands_no_task() {
    let site = site(&[]).await;
    let (mut gone, mut stays, mut producer) =
        (site.connect().await, site.connect().await, site.connect().await);
    gone.send("POST", "/v1/claims", r#"{"worker_id":"gone","wait_seconds":20}"#).await;
    site.waiting(1).await;
    stays.send("POST", "/v1/claims", r#"{"worker_id":"stays","wait_seconds":20}"#).await;
    site.waiting(2).await;
    drop(gone);
    site.waiting(1).await;
    let (_, created) = producer.ask("POST", "/v1/tasks", r#"{"type":"a"}"#).await;
    let (_, claimed) = timeout(SOON, stays.answer()).await.expect("woken").unwrap();
    assert_eq!(claimed["tasks"][0]["id"], created["id"]);
}

#[tokio::test]
async fn a_server_that_stops_answers_waiting_claims_and_what_is_half_sent() {
    let site = site(&[]).await;
    let mut claims = Vec::new();
    for worker in 0..5 {
        let mut connection = site.connect().await;
        let claim = json!({"worker_id": format!("w{worker}"), "wait_seconds": 20}).to_string();
        connection.send("POST", "/v1/claims", &claim).await;
        claims.push(connection);
    }
    site.waiting(5).await;
    let mut half = site.connect().await;
    let head = "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{\"type\"";
    half.0.write_all(head.as_bytes()).await.unwrap();
    let mut idle = site.connect().await;
    idle.ask("GET", "/livez", "").await;
    let addr = site.running.addr();
    let stopped = tokio::spawn(site.running.shutdown());
    for mut claim in claims {
        let (head, answer) = timeout(SOON, claim.answer()).await.expect("released").expect("answered");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(answer["nothing"]["reason"], "none_queued");
    }
    half.0.write_all(b":\"a\"}").await.unwrap();
    let (head, _) = timeout(SOON, half.answer()).await.expect("answered").expect("answered");
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    assert_eq!(idle.answer().await, None, "an idle connection is closed");
    assert!(timeout(SOON, stopped).await.expect("stopped").unwrap(), "all was answered");
    assert!(TcpStream::connect(addr).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_server_does_not_wait_longer_than_its_grace() {
    let site = site(&[("server.shutdown_grace_seconds", "0.2")]).await;
    let mut stuck = site.connect().await;
    let head = "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{";
    stuck.0.write_all(head.as_bytes()).await.unwrap();
    // The server has the request once it has answered one that was sent later.
    site.connect().await.ask("GET", "/livez", "").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(timeout(SOON, site.running.shutdown()).await.expect("stopped"), "it had not come whole");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let site = site(&[("server.request_timeout_seconds", "1")]).await;
    let mut slow = site.connect().await;
    let head = "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{";
    slow.0.write_all(head.as_bytes()).await.unwrap();
    let (head, problem) = timeout(SOON, slow.answer()).await.expect("given up").expect("answered");
    assert!(head.starts_with("HTTP/1.1 408"), "{head}");
    assert_eq!(problem["code"], "request_timeout");
    // A claim may take as long as it waits, besides.
    let (head, _) =
        site.connect().await.ask("POST", "/v1/claims", r#"{"worker_id":"w","wait_seconds":2}"#).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[tokio::test]
async fn a_large_body_is_read_away_so_that_its_sender_gets_the_answer() {
    let site = site(&[]).await;
    let mut connection = site.connect().await;
    let body = "x".repeat(5 << 20);
    let (head, problem) = connection.ask("POST", "/v1/tasks", &body).await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    assert!(problem["detail"].as_str().unwrap().contains("got 5242880 bytes"), "{problem}");
    connection.ask("GET", "/livez", "").await;
}

#[tokio::test]
async fn web_pages_of_other_sites_are_refused() {
    let site = site(&[]).await;
    let mut connection = site.connect().await;
    for header in ["host: tasks.example.org", "host: localhost\r\norigin: https://example.org"] {
        let request =
            format!("POST /v1/queues/default/pause HTTP/1.1\r\n{header}\r\ncontent-length: 0\r\n\r\n");
        connection.0.write_all(request.as_bytes()).await.unwrap();
        let (head, problem) = timeout(SOON, connection.answer()).await.unwrap().unwrap();
        assert!(head.starts_with("HTTP/1.1 403"), "{head}");
        assert_eq!(problem["code"], "foreign_origin");
    }
    let (_, queues) = connection.ask("GET", "/v1/queues", "").await;
    assert_eq!(queues["items"], json!([]), "nothing was paused");
}

#[tokio::test]
async fn bytes_that_are_not_http_hurt_nobody() {
    let site = site(&[]).await;
    let mut random = StdRng::seed_from_u64(7);
    let good = b"POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"ty\"\r\n";
    for _ in 0..300 {
        let mut bytes = good.to_vec();
        for _ in 0..random.random_range(1..20) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        bytes.truncate(random.random_range(1..=bytes.len()));
        let mut connection = site.connect().await;
        // The server may have closed the connection before all is sent.
        let _ = connection.0.write_all(&bytes).await;
        let _ = connection.0.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, connection.0.read_to_end(&mut answer)).await.expect("closed");
        let text = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.0 4"),
            "{text}"
        );
    }
    let (_, stats) = site.connect().await.ask("GET", "/v1/stats", "").await;
    assert_eq!(stats["states"]["waiting"], 0);
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_their_turn() {
    let site = site(&[("server.max_connections", "1")]).await;
    let mut first = site.connect().await;
    first.ask("GET", "/livez", "").await;
    let mut second = site.connect().await;
    second.send("GET", "/livez", "").await;
    assert!(timeout(Duration::from_millis(100), second.answer()).await.is_err(), "its turn has not come");
    drop(first);
    let (head, _) = timeout(SOON, second.answer()).await.expect("its turn").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let site = site(&[]).await;
    let addr = site.running.addr().to_string();
    let flags = vec![("--listen".to_owned(), "server.listen".to_owned(), addr.clone())];
    let settings = Settings::load(&Sources { flags, ..Sources::default() }).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let doorbell = LocalDoorbell::new(Arc::clone(&clock));
    let rung = Arc::clone(&doorbell);
    let store = SqliteStore::open(&site._dir.path().join("other.db"), Options::default(), rung).unwrap();
    let error =
        Server::start(&settings, Arc::new(store), doorbell, clock, Arc::new(RandomIds)).await.unwrap_err();
    assert!(error.to_string().contains(&addr) && error.to_string().contains("server.listen"), "{error}");
}

#[tokio::test]
async fn an_address_that_others_reach_asks_for_tokens_and_not_for_the_hosts_name() {
    let site = site(&[("server.listen", "0.0.0.0:0")]).await;
    let port = site.running.addr().port();
    let mut connection = Connection(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    let (head, problem) = connection.ask("GET", "/v1/stats", "").await;
    assert!(head.starts_with("HTTP/1.1 401") && head.contains("www-authenticate: Bearer"), "{head}");
    assert_eq!(problem["code"], "unauthorized");
    let (head, _) = connection.ask("GET", "/readyz", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");

    let secret = site.token().await;
    for host in ["localhost", "baton.example.org"] {
        let head =
            format!("GET /v1/stats HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {secret}\r\n\r\n");
        connection.0.write_all(head.as_bytes()).await.unwrap();
        let (head, _) = timeout(SOON, connection.answer()).await.unwrap().unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
}

#[tokio::test]
async fn the_sender_of_a_large_body_gets_to_read_that_its_token_does_not_do() {
    let site = site(&[("tokens.required", "always")]).await;
    let mut connection = site.connect().await;
    let (head, problem) = connection.ask("POST", "/v1/tasks/batch", &" ".repeat(10 << 20)).await;
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    assert_eq!(problem["code"], "unauthorized");
    // And the connection goes on.
    let (head, _) = connection.ask("GET", "/livez", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}
