//! The external scaler as KEDA meets it: a gRPC client asks it over a socket.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of tests fail as tests do")]

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use baton_http::{App, Parts};
use baton_keda::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef, serve,
};
use baton_model::TaskSpec;
use baton_runtime::{Clock, LocalDoorbell, RandomIds, Settings, Shutdown, Sources, SystemClock};
use baton_store::faulty::Faulty;
use baton_store::{Create, Store};
use baton_store_sqlite::{Options, SqliteStore};
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A scaler over a store of its own.
struct World {
    app: App,
    url: String,
    shutdown: Shutdown,
    serving: JoinHandle<bool>,
    _folder: TempDir,
}

impl World {
    async fn new(pools: &[(&str, &str)]) -> Self {
        Self::over(pools, |store| store).await
    }

    /// The same over a store that wears something.
    async fn over(pools: &[(&str, &str)], worn: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baton.toml");
        let text: String = pools
            .iter()
            .map(|(name, queue)| {
                format!("[[scaling]]\nname = \"{name}\"\nqueues = [\"{queue}\"]\nmost = 5\ntasks_per_machine = 2\n")
            })
            .collect();
        std::fs::write(&file, text).unwrap();
        let settings = Settings::load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let doorbell = LocalDoorbell::new(Arc::clone(&clock));
        let path = folder.path().join("baton.db");
        let store = SqliteStore::open(&path, Options::default(), Arc::clone(&doorbell) as _).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let store = worn(store);
        let app = App::new(Parts::configured(&settings, store, doorbell, clock, Arc::new(RandomIds)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let serving = tokio::spawn(serve(listener, app.clone(), shutdown.clone()));
        Self { app, url, shutdown, serving, _folder: folder }
    }

    async fn create(&self, queue: &str, tasks: usize) {
        for _ in 0..tasks {
            let spec = TaskSpec {
                queue: queue.parse().unwrap(),
                ..TaskSpec::new(self.app.ids.task(), "render".parse().unwrap())
            };
            let create =
                Create { now: self.app.now(), tasks: vec![spec], atomic: true, idempotency: None, by: None };
            self.app.store.create(create).await.unwrap();
        }
    }

    async fn client(&self) -> Client {
        let address = self.url.strip_prefix("http://").unwrap();
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        Client { sender, url: self.url.clone() }
    }
}

/// A connection of HTTP/2, and what gRPC needs besides, by hand.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    url: String,
}

/// Why a request was refused.
#[derive(Debug)]
struct Refused {
    code: String,
    message: String,
}

/// The messages of an answer as they come.
struct Answer<A> {
    body: Incoming,
    read: Vec<u8>,
    ended: Option<Refused>,
    kind: PhantomData<A>,
}

impl Client {
    async fn send<A>(&mut self, method: &str, message: &impl Message) -> Result<Answer<A>, Refused> {
        let message = message.encode_to_vec();
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend(message);
        let request = http::Request::post(format!("{}{method}", self.url))
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        match refused(response.headers()) {
            Some(refused) => {
                // As gRPC's clients ask for it: a status in a head that does not end the stream is none to them.
                assert!(response.body().is_end_stream(), "{refused:?}");
                Err(refused)
            }
            None => {
                Ok(Answer { body: response.into_body(), read: Vec::new(), ended: None, kind: PhantomData })
            }
        }
    }

    async fn ask<A: Message + Default>(&mut self, method: &str, message: impl Message) -> Result<A, Refused> {
        let mut answer = self.send(method, &message).await?;
        let told = answer.next().await.expect("a message");
        assert!(answer.next().await.is_none(), "one message");
        assert_eq!(answer.ended.expect("a status").code, "0");
        Ok(told)
    }
}

/// What a status says, in the head or at the end.
fn refused(headers: &HeaderMap) -> Option<Refused> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    Some(Refused { code: text("grpc-status")?, message: text("grpc-message").unwrap_or_default() })
}

impl<A: Message + Default> Answer<A> {
    /// The next message; none at the end, whose status is then known.
    async fn next(&mut self) -> Option<A> {
        loop {
            if self.read.len() >= 5 {
                let length = u32::from_be_bytes(self.read[1..5].try_into().unwrap()) as usize;
                if self.read.len() >= 5 + length {
                    let rest = self.read.split_off(5 + length);
                    let message = std::mem::replace(&mut self.read, rest);
                    return Some(A::decode(&message[5..]).unwrap());
                }
            }
            let frame = self.body.frame().await?.unwrap();
            match frame.into_data() {
                Ok(data) => self.read.extend(data),
                Err(frame) => self.ended = refused(&frame.into_trailers().unwrap()),
            }
        }
    }
}

const IS_ACTIVE: &str = "/externalscaler.ExternalScaler/IsActive";
const STREAM_IS_ACTIVE: &str = "/externalscaler.ExternalScaler/StreamIsActive";
const GET_METRIC_SPEC: &str = "/externalscaler.ExternalScaler/GetMetricSpec";
const GET_METRICS: &str = "/externalscaler.ExternalScaler/GetMetrics";

/// The ScaledObject of a trigger that names this pool.
fn object(pool: Option<&str>) -> ScaledObjectRef {
    let named = pool.map(|pool| ("pool".to_owned(), pool.to_owned()));
    let address = ("scalerAddress".to_owned(), "baton:7411".to_owned());
    ScaledObjectRef {
        name: "gpu-workers".to_owned(),
        namespace: "default".to_owned(),
        scaler_metadata: named.into_iter().chain([address]).collect(),
    }
}

fn metrics(pool: Option<&str>, metric_name: &str) -> GetMetricsRequest {
    GetMetricsRequest { scaled_object_ref: Some(object(pool)), metric_name: metric_name.to_owned() }
}

#[tokio::test]
async fn a_client_is_told_what_each_pool_wants() {
    let world = World::new(&[("gpu", "images"), ("CPU.small", "mail")]).await;
    let mut client = world.client().await;
    let active: IsActiveResponse = client.ask(IS_ACTIVE, object(Some("gpu"))).await.unwrap();
    assert!(!active.result, "nothing waits");
    world.create("images", 3).await;
    // Longer than figures are good for.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let active: IsActiveResponse = client.ask(IS_ACTIVE, object(Some("gpu"))).await.unwrap();
    assert!(active.result);
    let spec: GetMetricSpecResponse = client.ask(GET_METRIC_SPEC, object(Some("CPU.small"))).await.unwrap();
    let expected =
        MetricSpec { metric_name: "baton-cpu-small".to_owned(), target_size: 1, target_size_float: 1.0 };
    assert_eq!(spec.metric_specs, [expected]);
    let value = |name: &str, wanted: u32| MetricValue {
        metric_name: name.to_owned(),
        metric_value: i64::from(wanted),
        metric_value_float: f64::from(wanted),
    };
    let told: GetMetricsResponse = client.ask(GET_METRICS, metrics(Some("gpu"), "baton-gpu")).await.unwrap();
    assert_eq!(told.metric_values, [value("baton-gpu", 2)], "three tasks, two a machine");
    let told: GetMetricsResponse = client.ask(GET_METRICS, metrics(Some("CPU.small"), "")).await.unwrap();
    assert_eq!(told.metric_values, [value("baton-cpu-small", 0)]);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_words() {
    let world = World::new(&[("gpu", "images"), ("cpu", "mail")]).await;
    let mut client = world.client().await;
    for (pool, got) in [(Some("gpuu"), "got \"gpuu\""), (None, "got \"\"")] {
        let refused = client.ask::<IsActiveResponse>(IS_ACTIVE, object(pool)).await.unwrap_err();
        assert_eq!(refused.code, "5");
        let told = refused.message.as_str();
        assert!(told.starts_with("metadata.pool of the trigger of default/gpu-workers: "), "{told}");
        assert!(told.contains("the name of a pool: gpu, cpu") && told.contains(got), "{told}");
    }
    for method in ["/externalscaler.ExternalScaler/StreamMetricSpec", "/grpc.health.v1.Health/Check"] {
        let refused = client.ask::<IsActiveResponse>(method, object(Some("gpu"))).await.unwrap_err();
        assert_eq!(refused.code, "12", "as KEDA takes it for one that does not have it");
    }
    let mut large = object(Some("gpu"));
    large.scaler_metadata.insert("x".to_owned(), "x".repeat(100_000));
    let refused = client.ask::<IsActiveResponse>(IS_ACTIVE, large).await.unwrap_err();
    assert_eq!(refused.code, "3", "{refused:?}");
    // The only pool need not be named.
    let world = World::new(&[("gpu", "images")]).await;
    let mut client = world.client().await;
    client.ask::<IsActiveResponse>(IS_ACTIVE, object(None)).await.unwrap();
    let world = World::new(&[]).await;
    let mut client = world.client().await;
    let refused = client.ask::<IsActiveResponse>(IS_ACTIVE, object(None)).await.unwrap_err();
    assert!(
        refused.message.contains("expected a section [[scaling]] in the server's settings"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_store_that_fails_is_not_asked_the_more_for_it() {
    let mut kept = None;
    let world = World::over(&[("gpu", "images")], |store| {
        let faulty = Arc::new(Faulty::new(store, 1, 1));
        kept = Some(Arc::clone(&faulty));
        faulty
    })
    .await;
    let faulty = kept.unwrap();
    let mut client = world.client().await;
    // Each question to the store meets a fault, but not each fault fails it.
    for _ in 0..50 {
        let told = client.ask::<IsActiveResponse>(IS_ACTIVE, object(Some("gpu"))).await;
        let met = faulty.met().len();
        if told.is_err() {
            for _ in 0..10 {
                let told = client.ask::<IsActiveResponse>(IS_ACTIVE, object(Some("gpu"))).await;
                assert_eq!(told.unwrap_err().code, "14");
            }
            assert_eq!(faulty.met().len(), met, "the store was asked again");
            return;
        }
        // Longer than figures are good for.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    panic!("no question has failed");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_does_not_keep_a_place() {
    let world = World::new(&[("gpu", "images")]).await;
    let address = world.url.strip_prefix("http://").unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    // The server greets whoever has got a place.
    assert_ne!(silent.read(&mut [0; 9]).await.unwrap(), 0);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(600), silent.read_to_end(&mut rest)).await;
    ended.expect("it is still open").unwrap();
}

#[tokio::test]
async fn who_listens_is_told_of_changes_until_the_server_ends() {
    let world = World::new(&[("gpu", "images")]).await;
    let mut client = world.client().await;
    let mut told = client.send::<IsActiveResponse>(STREAM_IS_ACTIVE, &object(Some("gpu"))).await.unwrap();
    assert!(!told.next().await.unwrap().result, "how it stands is told at once");
    world.create("images", 1).await;
    let now = tokio::time::timeout(Duration::from_secs(30), told.next()).await.unwrap();
    assert!(now.unwrap().result);
    world.shutdown.begin();
    let ended = tokio::time::timeout(Duration::from_secs(30), told.next()).await.unwrap();
    assert_eq!((ended, told.ended.unwrap().code.as_str()), (None, "0"), "the stream ends in order");
    assert!(tokio::time::timeout(Duration::from_secs(30), world.serving).await.unwrap().unwrap());
}
