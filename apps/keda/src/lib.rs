//! KEDA's external scaler: how many machines each pool should have, over gRPC, beside a server.
//!
//! It adds no figure of its own: it tells those of `GET /v1/scaling` ([`baton_http::scaling`]). Why it speaks gRPC by itself, and what
//! that costs, is told in `docs/decisions/0057-kedas-external-scaler.md`.

mod grpc;
mod messages;
mod under_way;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use baton_api::scaling::PoolView;
use baton_http::{App, Fresh, scaling};
use baton_model::Expected;
use baton_runtime::Shutdown;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use grpc::{Answer, Code, Status};
pub use messages::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use under_way::{Sent, UnderWay};

/// How often those who listen are told.
const LOOK: Duration = Duration::from_secs(2);
/// How long the store may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections open at once; KEDA has one for all ScaledObjects of an address.
const CONNECTIONS: usize = 64;
/// How long a connection may have nothing under way, or not even have begun to speak, before it is ended: else 64 that say nothing would
/// keep KEDA out. KEDA asks every 30 s, and the HorizontalPodAutoscaler every 15 s; who asks less often connects anew.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the other side may take to end a connection on which nothing is under way.
const PARTING: Duration = Duration::from_secs(1);
/// Requests at once on each.
const STREAMS: u32 = 256;
/// The most bytes of a request's headers.
const HEADERS: u32 = 16 * 1024;
/// How often a silent peer is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
/// How long what was accepted may take at the end.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What each request is answered from.
struct Scaler {
    app: App,
    shutdown: Shutdown,
    /// However many ask, and for whichever pool, the store is asked once a second.
    latest: Fresh<Result<Arc<Vec<PoolView>>, Status>>,
}

/// Serves it on a socket until `shutdown` begins. Says whether all was answered.
pub async fn serve(listener: TcpListener, app: App, shutdown: Shutdown) -> bool {
    let scaler = Arc::new(Scaler { app, shutdown: shutdown.clone(), latest: Fresh::default() });
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = shutdown.wait() => break,
            accepted = async {
                // Never closed.
                let permit = Arc::clone(&room).acquire_owned().await;
                (listener.accept().await, permit)
            } => accepted,
        };
        let (Ok((stream, _)), Ok(permit)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (scaler, shutdown) = (Arc::clone(&scaler), shutdown.clone());
        connections.spawn(async move {
            let under_way = UnderWay::default();
            let requests = under_way.clone();
            let service = service_fn(move |request| {
                let (scaler, begun) = (Arc::clone(&scaler), requests.begin());
                async move {
                    let response = scaler.answer(request).await;
                    Ok::<_, Infallible>(response.map(|answer| Sent::new(answer, begun)))
                }
            });
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING)
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(HEADERS)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                // Whoever is gone has nothing to be told.
                _ = connection.as_mut() => return,
                () = shutdown.wait() => {}
                () = under_way.none_for(SILENCE) => {}
            }
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ = connection => {}
                () = under_way.none_for(PARTING) => {}
            }
            drop(permit);
        });
    }
    let all = async { while connections.join_next().await.is_some() {} };
    timeout(GRACE, all).await.is_ok()
}

impl Scaler {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        let speaks = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if request.method() != Method::POST
            || !speaks.is_some_and(|kind| kind.starts_with("application/grpc"))
        {
            return grpc::no_grpc();
        }
        let path = request.uri().path().to_owned();
        let Some(method) = path.strip_prefix("/externalscaler.ExternalScaler/") else {
            return grpc::respond(Err(unknown(&path)));
        };
        let body = request.into_body();
        let answer = match method {
            "IsActive" => self.is_active(body).await,
            "StreamIsActive" => self.stream_is_active(body).await,
            "GetMetricSpec" => self.metric_spec(body).await,
            "GetMetrics" => self.metrics(body).await,
            _ => Err(unknown(&path)),
        };
        if let Err(status) = &answer {
            tracing::warn!(method, code = status.code as u16, message = status.message, "KEDA was refused");
        }
        grpc::respond(answer)
    }

    async fn is_active(&self, body: Incoming) -> Result<Answer, Status> {
        let object: ScaledObjectRef = grpc::read(body).await?;
        let pool = self.pool(&object).await?;
        Ok(Answer::One(Some(grpc::encoded(&active(&pool))), false))
    }

    /// Says at once whether there should be a pod, and then whenever that changes.
    async fn stream_is_active(self: Arc<Self>, body: Incoming) -> Result<Answer, Status> {
        let object: ScaledObjectRef = grpc::read(body).await?;
        let mut told = active(&self.pool(&object).await?);
        let (tell, messages) = mpsc::channel::<Bytes>(1);
        tokio::spawn(async move {
            if tell.send(grpc::encoded(&told)).await.is_err() {
                return;
            }
            loop {
                tokio::select! {
                    () = self.shutdown.wait() => return,
                    () = tell.closed() => return,
                    () = sleep(LOOK) => {}
                }
                // What cannot be told now is as it was; requests of their own tell KEDA why.
                let Ok(pool) = self.pool(&object).await else { continue };
                let now = active(&pool);
                if now != told && tell.send(grpc::encoded(&now)).await.is_err() {
                    return;
                }
                told = now;
            }
        });
        Ok(Answer::Stream(messages, false))
    }

    async fn metric_spec(&self, body: Incoming) -> Result<Answer, Status> {
        let object: ScaledObjectRef = grpc::read(body).await?;
        let pool = self.pool(&object).await?;
        // What is wanted is a number of machines already, so that each pod is for one of them.
        let spec = MetricSpec { metric_name: metric_of(&pool), target_size: 1, target_size_float: 1.0 };
        Ok(Answer::One(Some(grpc::encoded(&GetMetricSpecResponse { metric_specs: vec![spec] })), false))
    }

    async fn metrics(&self, body: Incoming) -> Result<Answer, Status> {
        let GetMetricsRequest { scaled_object_ref, metric_name } = grpc::read(body).await?;
        let pool = self.pool(&scaled_object_ref.unwrap_or_default()).await?;
        let metric_name = if metric_name.is_empty() { metric_of(&pool) } else { metric_name };
        let (metric_value, metric_value_float) = (i64::from(pool.wanted), f64::from(pool.wanted));
        let value = MetricValue { metric_name, metric_value, metric_value_float };
        Ok(Answer::One(Some(grpc::encoded(&GetMetricsResponse { metric_values: vec![value] })), false))
    }

    /// The pool that a ScaledObject names, or the only one.
    async fn pool(&self, object: &ScaledObjectRef) -> Result<PoolView, Status> {
        let pools = self.pools().await?;
        let named = object.scaler_metadata.get("pool").map(String::as_str);
        let found = match (named, pools.as_slice()) {
            (None, [only]) => Some(only),
            (named, pools) => pools.iter().find(|pool| Some(pool.name.as_str()) == named),
        };
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
            let expected = match names.is_empty() {
                true => "a section [[scaling]] in the server's settings".to_owned(),
                false => format!("the name of a pool: {}", names.join(", ")),
            };
            let problem = Expected::text(expected, named.unwrap_or_default());
            let (name, namespace) = (short(&object.name), short(&object.namespace));
            Status::new(
                Code::NotFound,
                format!("metadata.pool of the trigger of {namespace}/{name}: {problem}"),
            )
        })
    }

    /// The pools as they were a moment ago, or now.
    async fn pools(&self) -> Result<Arc<Vec<PoolView>>, Status> {
        self.latest.get(self.asked()).await
    }

    async fn asked(&self) -> Result<Arc<Vec<PoolView>>, Status> {
        match timeout(PATIENCE, scaling::pools(&self.app, self.app.now())).await {
            Ok(Ok(pools)) => Ok(Arc::new(pools)),
            Ok(Err(error)) => {
                tracing::warn!(error = error.report(), "KEDA could not be told how many machines are wanted");
                let why = "the task store cannot be asked now; the server's log says why";
                Err(Status::new(Code::Unavailable, why))
            }
            Err(_) => Err(Status::new(Code::DeadlineExceeded, "the task store has not answered within 10 s")),
        }
    }
}

fn unknown(path: &str) -> Status {
    Status::new(Code::Unimplemented, format!("there is no method {}", short(path)))
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

fn active(pool: &PoolView) -> IsActiveResponse {
    IsActiveResponse { result: pool.wanted > 0 }
}

/// The name of a pool's metric: letters, digits and `-`, as Kubernetes has names.
fn metric_of(pool: &PoolView) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("baton-{}", pool.name.as_str().chars().map(plain).collect::<String>())
}
