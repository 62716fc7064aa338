//! Secrets: in no log line, whatever is logged and whatever happens.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::routing::get;
use baton_http::{Authenticator, Caller, Envelope};
use baton_model::TokenSecret;
use baton_runtime::settings::{LogFiles, LogFormat, LogSettings, TokenSettings};
use baton_runtime::telemetry::{LogWriter, subscriber};
use http::Request;
use serde_json::json;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use crate::world::{Answer, World};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn panics(caller: Caller) {
    panic!("a fault, with {caller:?} at hand");
}

#[tokio::test]
async fn neither_secret_nor_digest_is_ever_logged() {
    // While there is one subscriber alone, tracing takes the word of the thread that first comes by a message for whether
    // anybody wants it; that may be another test's, where nobody does. With a second one, it asks them all.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    for json in [true, false] {
        let sink = Sink::default();
        let (writer, guard) = LogWriter::start(sink.clone()).unwrap();
        let settings = LogSettings {
            format: LogFormat::Json,
            level: "trace".parse().unwrap(),
            files: LogFiles::default(),
        };
        let logging = tracing::subscriber::set_default(subscriber(&settings, json, false, writer));

        let world = World::with(&[("tokens.required", "always")]);
        let (id, secret) = world.token(json!({"name": "root", "requests_per_second": 6})).await;
        let operator = world.presenting(&format!("Bearer {}", secret.reveal()));
        let request = json!({"name": "ci", "scopes": ["producer"]});
        let created = operator.post("/v1/tokens", request).await.json();
        let made = TokenSecret::parse(created["secret"].as_str().unwrap()).unwrap();
        let ci = world.presenting(&format!("Bearer {}", made.reveal()));
        let task = ci.create(json!({"type": "a"})).await;
        ci.act(&format!("/v1/tasks/{task}/cancel")).await;
        ci.get("/v1/stats").await.problem(403, "scope_missing");
        operator.act(&format!("/v1/tokens/{}/revoke", made.id())).await;
        ci.get("/v1/tasks").await.problem(401, "unauthorized");
        // With a slip, with another scheme, in the wrong place.
        world.presenting(&format!("Bearer {}x", secret.reveal())).get("/v1/stats").await;
        world.presenting(&format!("Bearer  {} {}", secret.reveal(), made.reveal())).get("/v1/stats").await;
        world.presenting(&secret.reveal()).get("/v1/stats").await;
        for _ in 0..5 {
            operator.get("/v1/stats").await;
        }
        operator.get("/v1/stats").await.problem(429, "too_many_requests");
        world.advance(Duration::from_secs(5));

        let router = OpenApiRouter::default().route("/v1/stats", get(panics));
        let settings = TokenSettings { required: true, requests_per_second: None };
        let by = Authenticator::new(world.app.clone(), settings);
        let service = Envelope::new(router, world.app.clone(), Duration::from_secs(5), Vec::new());
        let request =
            Request::get("/v1/stats").header("authorization", format!("Bearer {}", secret.reveal()));
        let service = service.authenticated(by);
        let answer = service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        Answer::of(answer).await.problem(500, "internal");

        drop(logging);
        drop(guard);
        let log = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        for expected in [
            id.to_string(),
            made.id().to_string(),
            "scope_missing".to_owned(),
            "a handler panicked".to_owned(),
        ] {
            assert!(log.contains(&expected), "{expected} is not in {log}");
        }
        // Whoever has no good token does not set the pace of the log.
        assert_eq!(log.matches("requests were refused that presented no good token").count(), 1, "{log}");
        for secret in [secret, made] {
            let text = secret.reveal();
            let digest = secret.digest();
            let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            let list = format!("{:?}", digest.as_bytes());
            for hidden in [&text[39..], &text[39..71], &text[71..], &hex, &list[1..40]] {
                assert!(!log.contains(hidden), "{hidden} is in {log}");
            }
        }
    }
}
