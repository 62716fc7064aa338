//! What all dialects have in common: their rules and documents, their own words for problems, old keys, prefixes, sockets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::response::Response;
use baton_api::Problem;
use baton_http::auth::{Access, Credentials, Rule};
use baton_http::{
    ApiResult, App, Authenticator, Caller, Dialect, Dialects, Envelope, ServeOptions, body, ok, routes,
};
use baton_model::Scope::Producer;
use baton_runtime::settings::TokenSettings;
use baton_server::{DIALECTS, Service};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use crate::sockets::SOON;
use crate::world::{Answer, World};

#[test]
fn each_route_of_a_dialect_has_its_rule_and_each_rule_its_route() {
    for dialect in DIALECTS {
        let document: Value = serde_json::from_str(&dialect.openapi()).unwrap();
        let mut routes = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(operation["summary"].is_string(), "{method} {path} has no summary");
                assert!(operation["tags"].is_array(), "{method} {path} has no tag");
                // So that the audit log says of whom it is.
                let own = format!("{}.", dialect.name.replace('-', "_"));
                assert!(id.starts_with(&own), "{method} {path}: {id} does not begin with {own}");
                routes.insert(format!("{} {path} {id}", method.to_uppercase()));
            }
        }
        let rules =
            dialect.rules.iter().map(|rule| format!("{} {} {}", rule.method, rule.path, rule.operation));
        assert_eq!(routes, rules.collect::<BTreeSet<String>>(), "{}", dialect.name);
    }
}

#[test]
fn the_documents_of_the_dialects_are_up_to_date() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/dialects");
    for dialect in DIALECTS {
        let path = folder.join(format!("{}.json", dialect.name));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, dialect.openapi()).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == dialect.openapi(),
            "docs/dialects/{}.json is stale; to write it anew: UPDATE=1 cargo test -p baton-server --test http dialects",
            dialect.name
        );
    }
}

/// A path of a rule, with something in the place of each parameter.
fn some_path(rule: &Rule) -> String {
    let parts = rule.path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// A request that a dialect may read, as far as that can be known of all of them.
fn some_request(rule: &Rule, prefix: &str) -> Request {
    let request = Request::builder().method(rule.method).uri(format!("{prefix}{}", some_path(rule)));
    request.header("content-type", "application/json").body(Body::from("{}")).unwrap()
}

#[tokio::test]
async fn who_presents_no_good_token_is_refused_by_each_route_in_the_dialects_own_words() {
    for dialect in DIALECTS {
        let world = World::with(&[
            ("tokens.required", "always"),
            (&format!("dialects.{}.on", dialect.name), "true"),
            (&format!("dialects.{}.prefix", dialect.name), "/old"),
        ]);
        let worker = world.with_token(json!({"scopes": ["worker"]})).await;
        let operator = world.with_token(json!({"scopes": ["operator"]})).await;
        for rule in dialect.rules {
            let place = format!("{} {}", rule.method, rule.path);
            let Access::Scopes(scopes) = rule.access else { continue };
            for caller in
                [&world, &world.presenting("Bearer x"), &world.presenting("Bearer an-unknown-old-key")]
            {
                let answer = caller.send(some_request(rule, "/old")).await;
                // Some systems tell a key that is wrong from one that is missing.
                assert!([401, 403].contains(&answer.status.as_u16()), "{place}: {}", answer.status);
                assert_ne!(answer.headers["content-type"], "application/problem+json", "{place}");
                assert!(answer.headers.contains_key("x-request-id"), "{place}");
            }
            if !scopes.contains(&baton_model::Scope::Worker) {
                assert_eq!(worker.send(some_request(rule, "/old")).await.status, 403, "{place}");
            }
            let answer = operator.send(some_request(rule, "/old")).await;
            assert!(![401, 403].contains(&answer.status.as_u16()), "{place}: {}", answer.text());
        }
        let answer = operator.get("/old/nowhere/at/all").await;
        assert_eq!(answer.status, 404, "{}", dialect.name);
        assert_ne!(answer.headers["content-type"], "application/problem+json");
        operator.get("/older").await.problem(404, "route_not_found");
        assert_eq!(operator.get("/livez").await.status, 200);
    }
}

/// A dialect of this test: it echoes, upgrades, panics and reads bodies.
const RULES: &[Rule] = &[
    Rule::get("/who", "echo.who", &[Producer]),
    Rule::post("/read", "echo.read", &[Producer]).audited(),
    Rule::get("/panic", "echo.panic", &[Producer]),
    Rule::get("/ws", "echo.ws", &[Producer]),
];

#[utoipa::path(get, path = "/who", operation_id = "echo.who", responses((status = 200)))]
async fn who(caller: Caller) -> ApiResult {
    ok(&json!({ "who": caller.name() }))
}

#[utoipa::path(post, path = "/read", operation_id = "echo.read", responses((status = 200)))]
async fn read(State(app): State<App>, request: Request) -> ApiResult {
    let bytes = body::required(request, app.limits().params_bytes).await?;
    ok(&json!({ "bytes": bytes.len() }))
}

#[utoipa::path(get, path = "/panic", operation_id = "echo.panic", responses((status = 200)))]
async fn fall_over() -> ApiResult {
    panic!("as it is meant to")
}

#[utoipa::path(get, path = "/ws", operation_id = "echo.ws", responses((status = 101)))]
async fn ws(State(app): State<App>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| echo(app, socket))
}

async fn echo(app: App, mut socket: WebSocket) {
    loop {
        tokio::select! {
            () = app.shutdown.wait() => {
                let _ = socket.send(Message::Text("goodbye".into())).await;
                return;
            }
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => socket.send(Message::Text(text)).await.unwrap(),
                Some(Ok(_)) => {}
                _ => return,
            }
        }
    }
}

fn phrase(problem: &Problem, path: &str) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap();
    baton_http::json(status, &json!({"error": problem.code, "at": path})).unwrap()
}

fn echo_dialect(app: &App) -> Dialect {
    let router = OpenApiRouter::default()
        .routes(routes!(who))
        .routes(routes!(read))
        .routes(routes!(fall_over))
        .routes(routes!(ws));
    Dialect::new("echo", RULES, router, app.clone(), phrase)
        .with_credentials(Credentials { headers: &["apikey"], query: &["token"] })
}

fn echo_service(world: &World, prefix: &str, required: bool) -> Service {
    let settings = TokenSettings { required, requests_per_second: None };
    let by = Authenticator::new(world.app.clone(), settings);
    let dialects = Dialects::alone(echo_dialect(&world.app), prefix.to_owned(), by).unwrap();
    Envelope::of_dialects(dialects, &world.app, Duration::from_secs(5))
}

async fn ask(service: &Service, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(service.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap())
        .await
}

#[tokio::test]
async fn what_batons_machinery_refuses_is_said_in_the_dialects_words() {
    let world = World::new();
    let service = echo_service(&world, "/x", false);
    let json = ("content-type", "application/json");
    let large = "x".repeat(world.app.limits().params_bytes + 1);
    for (method, path, headers, body, status, code) in [
        (Method::GET, "/x/nowhere", &[][..], "", 404, "route_not_found"),
        (Method::GET, "/other", &[], "", 404, "route_not_found"),
        (Method::POST, "/x/who", &[], "", 405, "method_not_allowed"),
        (Method::POST, "/x/read", &[json], "", 400, "malformed_json"),
        (Method::POST, "/x/read", &[("content-type", "text/plain")], "x", 415, "unsupported_media_type"),
        (Method::POST, "/x/read", &[json], &large, 413, "payload_too_large"),
        (Method::GET, "/x/panic", &[], "", 500, "internal"),
        (Method::GET, "/x/who", &[("authorization", "Bearer x")], "", 401, "unauthorized"),
    ] {
        let answer = ask(&service, method, path, headers, body).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.headers["content-type"], "application/json", "{path}");
        let at = path.strip_prefix("/x").unwrap_or(path);
        assert_eq!(answer.json(), json!({"error": code, "at": at}), "{path}");
        assert_eq!(answer.headers.contains_key("allow"), status == 405, "{path}");
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401, "{path}");
    }
    let foreign = service.clone().refuse_foreign_pages();
    let answer = ask(&foreign, Method::GET, "/x/who", &[("origin", "https://example.org")], "").await;
    assert_eq!(answer.json(), json!({"error": "foreign_origin", "at": "/who"}));
}

#[tokio::test]
async fn an_old_key_is_read_wherever_its_callers_present_it() {
    let world = World::new();
    let key = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZSJ9.c2VjcmV0";
    world.token(json!({"name": "old", "scopes": ["producer"], "secret": key})).await;
    let service = echo_service(&world, "", true);
    let bearer = format!("Bearer {key}");
    for (path, headers) in [
        ("/who".to_owned(), vec![("authorization", bearer.as_str())]),
        ("/who".to_owned(), vec![("apikey", key)]),
        (format!("/who?token={key}"), vec![]),
    ] {
        let answer = ask(&service, Method::GET, &path, &headers, "").await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"who": "old"})), "{path}");
    }
    for (path, headers) in [
        ("/who".to_owned(), vec![("x-api-key", key)]),
        ("/who".to_owned(), vec![("apikey", "another-key-of-that-system")]),
        (format!("/who?tokens={key}"), vec![]),
        ("/who".to_owned(), vec![("apikey", key), ("authorization", "Bearer another-key-of-that-system")]),
    ] {
        assert_eq!(ask(&service, Method::GET, &path, &headers, "").await.status, 401, "{path} {headers:?}");
    }
    // Baton's own routes take it as a bearer, and nowhere else.
    let own = world.presenting(&bearer);
    assert_eq!(own.get("/v1/tasks").await.status, 200);
    assert_eq!(own.get("/v1/tokens").await.status, 403);
}

#[tokio::test]
async fn an_audited_route_of_a_dialect_is_recorded() {
    let world = World::new();
    let service = echo_service(&world, "", false);
    ask(&service, Method::POST, "/read", &[("content-type", "application/json")], "{}").await;
    let entry = world.get("/v1/audit?action=echo.read").await.json()["items"][0].clone();
    assert_eq!((&entry["action"], &entry["target"]), (&json!("echo.read"), &json!("/read")));
    assert_eq!(entry["outcome"], 200);
}

const OPTIONS: ServeOptions = ServeOptions {
    max_connections: 1,
    head_timeout: Duration::from_secs(1),
    answer_timeout: Duration::from_secs(30),
    grace: Duration::from_secs(10),
};

/// A socket that has been asked to speak WebSocket, as a client by hand (RFC 6455).
struct Client(TcpStream);

impl Client {
    async fn connect(addr: std::net::SocketAddr) -> Self {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let head = "GET /ws HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            timeout(SOON, stream.read_exact(&mut byte)).await.expect("an answer").unwrap();
            read.extend_from_slice(&byte);
        }
        let head = String::from_utf8(read).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        // The answer to the key of RFC 6455 §1.3.
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        Self(stream)
    }

    async fn send(&mut self, text: &str) {
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.0.write_all(&frame).await.unwrap();
    }

    async fn hear(&mut self) -> String {
        let mut head = [0; 2];
        timeout(SOON, self.0.read_exact(&mut head)).await.expect("a frame").unwrap();
        let mut text = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }
}

#[tokio::test]
async fn a_websocket_passes_and_hears_of_the_stop() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let service = echo_service(&world, "", false);
    let served = tokio::spawn(baton_http::serve(listener, service, world.app.shutdown.clone(), OPTIONS));
    let mut client = Client::connect(addr).await;
    client.send("hello").await;
    assert_eq!(client.hear().await, "hello");
    // It is silent for longer than a head may take, and than a silent connection keeps its place from another.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    client.send("still here").await;
    assert_eq!(client.hear().await, "still here");
    // It holds the only place: another connection waits until it is gone.
    let mut second = TcpStream::connect(addr).await.unwrap();
    second.write_all(b"GET /who HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(1_500), second.read(&mut byte)).await.is_err(), "it has no place");
    drop(client);
    assert_eq!(timeout(SOON, second.read(&mut byte)).await.expect("a place is free").unwrap(), 1);
    drop(second);

    let mut client = Client::connect(addr).await;
    world.app.shutdown.begin();
    assert_eq!(client.hear().await, "goodbye");
    assert!(timeout(SOON, served).await.expect("the server ends").unwrap(), "all was answered");
}

#[tokio::test]
async fn dialects_beside_baton_have_their_paths_and_it_has_its_own() {
    let world = World::new();
    let by =
        Authenticator::new(world.app.clone(), TokenSettings { required: false, requests_per_second: None });
    let settings = baton_runtime::Settings::defaults().unwrap();
    let beside = Dialects::beside_baton(vec![(echo_dialect(&world.app), String::new())], by).unwrap();
    let service = baton_server::service(world.app.clone(), &settings).unwrap().beside(Arc::clone(&beside));
    assert_eq!(ask(&service, Method::GET, "/who", &[], "").await.status, 200);
    assert_eq!(ask(&service, Method::GET, "/livez", &[], "").await.status, 200);
    let answer = ask(&service, Method::POST, "/who", &[], "").await;
    assert_eq!(answer.json()["error"], "method_not_allowed");
    ask(&service, Method::GET, "/nowhere", &[], "").await.problem(404, "route_not_found");
}
