//! Thousands of requests that are wrong in some way: none may hurt the server or change what it holds.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::world::World;

const REQUESTS: usize = 10_000;

/// Set `SEED` to replay a failure.
fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x0ba7_0ba7)
}

struct Generator {
    random: StdRng,
    task: String,
}

impl Generator {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.choose(&mut self.random).copied().unwrap_or_default()
    }

    fn id(&mut self) -> String {
        let task = self.task.clone();
        let long = "9".repeat(self.random.random_range(200..5_000));
        let odd = [
            task.as_str(),
            "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f",
            "0",
            "..",
            ".",
            "%2e%2e",
            "%00",
            "%ff%fe",
            "a%2fb",
            "a;b",
            "*",
            "-1",
            "%F0%9F%92%A9",
            "null",
            "{id}",
            ":id",
            "'%20or%201=1--",
            "$(x)",
            "%0d%0aX:%20y",
            &long,
            "w",
        ];
        self.pick(&odd).to_owned()
    }

    fn path(&mut self) -> String {
        let id = self.id();
        let query = match self.random.random_range(0..4) {
            0 => format!(
                "?{}={}",
                self.pick(&["limit", "cursor", "status", "type", "prefix", "x", "", "a[]"]),
                self.id()
            ),
            1 => format!(
                "?{}&{}",
                self.pick(&["limit=0", "limit=1e9", "cursor=%00", "status=,,,", "=", "&&"]),
                self.id()
            ),
            _ => String::new(),
        };
        let path = match self.random.random_range(0..24) {
            0..4 => "/v1/tasks".to_owned(),
            4..6 => "/v1/tasks/batch".to_owned(),
            6..9 => "/v1/claims".to_owned(),
            9 => "/v1/reap".to_owned(),
            10 => format!("/v1/workers/{id}/heartbeat"),
            11 => format!("/v1/tasks/{id}"),
            12..17 => {
                let action = self.pick(&["complete", "fail", "release", "cancel", "retry", "history", "x"]);
                format!("/v1/tasks/{id}/{action}")
            }
            17 => format!("/v1/workers/{id}/{}", self.pick(&["drain", "stop", "run"])),
            18 => format!("/v1/queues/{id}/{}", self.pick(&["pause", "resume"])),
            19 => format!(
                "/v1/{}",
                self.pick(&[
                    "task-ids",
                    "generations",
                    "workers",
                    "queues",
                    "stats",
                    "logs",
                    "tokens",
                    "audit"
                ])
            ),
            20 => format!("/v1/{}/{id}", self.pick(&["generations", "workers", "queues", "tasks"])),
            21 => format!("/errors/{id}"),
            22 => format!("/{id}//{id}"),
            _ => self.pick(&["/", "//", "/v1/../v1/tasks", "/v1/tasks/", "/livez/x", "/%", "*"]).to_owned(),
        };
        path + &query
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.random.random_range(0..12) {
            0 => Value::Null,
            1 => json!(self.random.random::<bool>()),
            2 => json!(self.random.random::<i64>()),
            3 => json!(self.random.random::<f64>() * 1e300),
            4 => json!(-1),
            5 => json!("x".repeat(self.random.random_range(0..2_000))),
            6 => json!(self.pick(&[
                "a\u{0}b",
                "🦀",
                "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f",
                "9999-99-99",
                "high",
                "w"
            ])),
            7 if depth < 4 => (0..self.random.random_range(0..5)).map(|_| self.value(depth + 1)).collect(),
            8 if depth < 4 => self.object(depth + 1),
            _ => json!(self.random.random_range(0..3)),
        }
    }

    fn object(&mut self, depth: u32) -> Value {
        let fields = [
            "id",
            "type",
            "queue",
            "project",
            "priority",
            "params",
            "description",
            "domain",
            "drift_score",
            "run_after",
            "delay_seconds",
            "max_attempts",
            "timeout_seconds",
            "backoff",
            "worker_id",
            "session_id",
            "queues",
            "types",
            "max_tasks",
            "capacity",
            "lease_seconds",
            "wait_seconds",
            "request_id",
            "attempt",
            "error",
            "retryable",
            "claim",
            "running",
            "readings",
            "labels",
            "logs",
            "by",
            "reason",
            "limit",
            "atomic",
            "tasks",
            "result",
        ];
        let count = self.random.random_range(0..8);
        (0..count).map(|_| (self.pick(&fields).to_owned(), self.value(depth))).collect()
    }

    /// A body that no route takes: it is not JSON, not an object, or has a field that no request knows.
    fn body(&mut self) -> Vec<u8> {
        match self.random.random_range(0..10) {
            0 => (0..self.random.random_range(1..300)).map(|_| self.random.random()).chain([0xff]).collect(),
            1 => b"[".repeat(self.random.random_range(1..50_000)),
            2 => b"{\"a\":".repeat(self.random.random_range(1..10_000)),
            3 => b"[[[[1e999999999999]]]]".to_vec(),
            4 => format!("{{\"type\":\"a\",\"max_attempts\":{},\"zz\":1}}", "9".repeat(3_000)).into_bytes(),
            5 => b"{\"type\":\"\\ud800\",\"worker_id\":\"\\ud800\",\"\\udfff\":1}".to_vec(),
            6 => {
                let mut text = self.object(0).to_string().into_bytes();
                text.truncate(self.random.random_range(1..=text.len()) - 1);
                [text, b"{".to_vec()].concat()
            }
            7 => json!([self.value(0)]).to_string().into_bytes(),
            _ => {
                let mut object = self.object(0);
                object["no_such_field"] = self.value(0);
                // A null stands for nothing and an unknown field that is null is unknown all the same.
                object.to_string().into_bytes()
            }
        }
    }

    fn request(&mut self) -> Option<Request<Body>> {
        let odd = self.random.random_range(0..10) == 0;
        let method = if odd {
            self.pick(&[
                "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "A-Z!",
            ])
        } else {
            self.pick(&["POST", "POST", "POST", "GET"])
        };
        let path: Uri = self.path().parse().ok()?;
        let mut request = Request::new(Body::from(self.body()));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
        *request.uri_mut() = path;
        let content_type = self.pick(&[
            "application/json",
            "application/json",
            "application/json",
            "text/plain",
            "",
            "\u{7f}",
        ]);
        for (name, value) in [
            ("content-type", content_type),
            ("idempotency-key", self.pick(&["k", "", "a b", "🦀"])),
            ("x-request-id", self.pick(&["r", "", "\t", "🦀"])),
            ("content-length", self.pick(&["5", "-1", "99999999999999999999", "x"])),
            ("expect", "100-continue"),
            ("accept", "text/html"),
        ] {
            let often = name == "content-type";
            if often || self.random.random_range(0..8) == 0 {
                let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else { continue };
                request.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        Some(request)
    }
}

async fn state(world: &World, task: &str) -> Vec<Value> {
    let mut state = Vec::new();
    for path in ["tasks", "workers", "queues", "stats", "generations", "logs"] {
        state.push(world.get(&format!("/v1/{path}")).await.json());
    }
    state.push(world.task(task).await);
    state
}

#[tokio::test]
async fn malformed_requests_are_refused_and_change_nothing() {
    let world = World::new();
    refuses_and_keeps(&world, std::slice::from_ref(&world)).await;
}

#[tokio::test]
async fn malformed_requests_with_and_without_tokens_are_refused_and_change_nothing() {
    let world = World::with(&[("tokens.required", "always")]);
    let operator = world.with_token(json!({})).await;
    let callers = [
        world.clone(),
        world.presenting("Bearer baton_0_0"),
        world.presenting("bearer  🦀"),
        world.with_token(json!({"scopes": ["producer", "worker"], "project": "film", "queues": ["a"]})).await,
        operator.clone(),
    ];
    refuses_and_keeps(&operator, &callers).await;
}

/// Sends the requests by each caller in turn.
async fn refuses_and_keeps(world: &World, callers: &[World]) {
    let seed = seed();
    let task = world.create(json!({"type": "a"})).await;
    world.create(json!({"type": "b", "queue": "other"})).await;
    world.claim("w").await;
    let before = state(world, &task).await;
    let mut generator = Generator { random: StdRng::seed_from_u64(seed), task: task.clone() };
    let (mut sent, mut refused) = (0, 0);
    while sent < REQUESTS {
        let Some(request) = generator.request() else { continue };
        sent += 1;
        let shown = format!("seed {seed}, request {sent}: {} {}", request.method(), request.uri());
        let may_succeed = matches!(*request.method(), Method::GET | Method::HEAD);
        let answer = callers[sent % callers.len()].send(request).await;
        assert!(answer.status.as_u16() < 500, "{shown}: {} {}", answer.status, answer.text());
        assert!(answer.headers.contains_key("x-request-id"), "{shown}");
        if !may_succeed {
            assert!(answer.status.is_client_error(), "{shown}: {} {}", answer.status, answer.text());
        }
        if answer.status.is_client_error() {
            refused += 1;
            let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
            answer.problem(answer.status.as_u16(), &code);
            assert!(baton_api::ProblemCode::by_name(&code).is_some(), "{shown}: {code:?}");
        }
        assert!(answer.body.len() < 300_000, "{shown}: an answer of {} bytes", answer.body.len());
    }
    assert!(refused > REQUESTS / 2, "{refused}");
    assert_eq!(state(world, &task).await, before);
}
