//! The exporter against a stand-in for a collector, which reads what arrives: one that takes, refuses, is slow or is not there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use baton_model::{TraceParent, TraceState};
use baton_otlp::{Exporter, Settings, Tells};
use baton_runtime::spans::{Span, SpanCounts, SpanKind, Spans};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::{Span as Told, span, status};
use prost::Message as _;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, RETRY_AFTER};

/// How a collector answers its n-th request, from 0.
type Answers = Arc<dyn Fn(usize) -> Answer + Send + Sync>;

enum Answer {
    Now(Response),
    /// Nothing for so long.
    Later(Duration),
}

/// What has come.
#[derive(Clone, Default)]
struct Came(Arc<Mutex<Vec<Request>>>);

/// What one request has brought.
type Request = (HeaderMap, Vec<u8>);

impl Came {
    fn requests(&self) -> Vec<(HeaderMap, Vec<u8>)> {
        self.0.lock().unwrap().clone()
    }

    /// All spans, in the order in which they came.
    fn spans(&self) -> Vec<Told> {
        let requests = self.requests().into_iter().map(|(_, body)| {
            let request = ExportTraceServiceRequest::decode(&*body).unwrap();
            request.resource_spans.into_iter().flat_map(|all| all.scope_spans).flat_map(|all| all.spans)
        });
        requests.flatten().collect()
    }
}

/// A collector that answers so; its address, and what has come to it.
async fn collector(answers: impl Fn(usize) -> Answer + Send + Sync + 'static) -> (String, Came) {
    async fn take(
        State((came, answers)): State<(Came, Answers)>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Response {
        let number = {
            let mut came = came.0.lock().unwrap();
            came.push((headers, body.to_vec()));
            came.len() - 1
        };
        match answers(number) {
            Answer::Now(response) => response,
            Answer::Later(pause) => {
                tokio::time::sleep(pause).await;
                StatusCode::OK.into_response()
            }
        }
    }
    let came = Came::default();
    let state: (Came, Answers) = (came.clone(), Arc::new(answers));
    let routes = Router::new().route("/v1/traces", post(take)).route("/v1/metrics", post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes.with_state(state)).await });
    (url, came)
}

fn taken() -> Answer {
    Answer::Now(StatusCode::OK.into_response())
}

fn refused(status: u16) -> Answer {
    Answer::Now(StatusCode::from_u16(status).unwrap().into_response())
}

/// What exports to this address, with these variables besides.
fn exporter(url: &str, variables: &[(&str, &str)]) -> Exporter {
    let of =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let settings = Settings::read("baton", Tells::SpansAndFigures, |name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(url.to_owned()),
        "OTEL_BSP_SCHEDULE_DELAY" => of(name).or_else(|| Some("20".to_owned())),
        name => of(name),
    });
    assert_eq!(settings.warnings, Vec::<String>::new());
    Exporter::start(settings).unwrap()
}

fn span(n: u8) -> Span {
    Span {
        at: TraceParent::new([1; 16], [n.max(1); 8], true).unwrap(),
        parent: None,
        state: None,
        follows: None,
        name: "n".into(),
        kind: SpanKind::Server,
        began: Duration::from_secs(7),
        lasted: Duration::from_millis(3),
        attributes: Vec::new(),
        failed: false,
    }
}

/// Waits until this holds of the counts.
async fn until(spans: &Spans, holds: impl Fn(SpanCounts) -> bool) -> SpanCounts {
    let begun = Instant::now();
    loop {
        let counts = spans.counts();
        if holds(counts) {
            return counts;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{counts:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> &'a str {
    let value =
        attributes.iter().find(|one| one.key == name).and_then(|one| one.value.as_ref()?.value.as_ref());
    match value {
        Some(Value::StringValue(text)) => text,
        other => panic!("expected a text named {name}, got {other:?}"),
    }
}

#[tokio::test]
async fn spans_arrive_as_they_were_recorded() {
    let (url, came) = collector(|_| taken()).await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k%2C1"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=blue"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
    ];
    let exporter = exporter(&url, &variables);
    let spans = exporter.spans().unwrap();
    let state: TraceState = "a=1".parse().unwrap();
    spans.record(Span {
        parent: Some([9; 8]),
        state: Some(state),
        follows: TraceParent::new([1; 16], [8; 8], true),
        name: "process images".into(),
        kind: SpanKind::Consumer,
        attributes: vec![("baton.queue", "images".into()), ("baton.attempt", 2_u32.into())],
        failed: true,
        ..span(2)
    });
    until(&spans, |counts| counts.exported == 1).await;
    let (headers, body) = came.requests().remove(0);
    assert_eq!(
        (&headers["api-key"], &headers["content-type"]),
        (&"k,1".parse().unwrap(), &"application/x-protobuf".parse().unwrap())
    );
    let resource =
        ExportTraceServiceRequest::decode(&*body).unwrap().resource_spans[0].resource.clone().unwrap();
    assert_eq!(
        (text(&resource.attributes, "service.name"), text(&resource.attributes, "team")),
        ("baton", "blue")
    );
    let told = came.spans().remove(0);
    assert_eq!(
        (&*told.trace_id, &*told.span_id, &*told.parent_span_id),
        (&[1; 16][..], &[2; 8][..], &[9; 8][..])
    );
    assert_eq!((told.start_time_unix_nano, told.end_time_unix_nano), (7_000_000_000, 7_003_000_000));
    assert_eq!(
        (told.name.as_str(), told.kind, told.trace_state.as_str()),
        ("process images", span::SpanKind::Consumer.into(), "a=1")
    );
    assert_eq!(told.status.unwrap().code, i32::from(status::StatusCode::Error));
    assert_eq!((&*told.links[0].trace_id, &*told.links[0].span_id), (&[1; 16][..], &[8; 8][..]));
    assert_eq!(text(&told.attributes, "baton.queue"), "images");
    exporter.finish(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn bodies_are_compressed_if_that_is_wanted_and_batches_are_bounded() {
    let (url, came) = collector(|_| taken()).await;
    let variables = [("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")];
    let exporter = exporter(&url, &variables);
    let spans = exporter.spans().unwrap();
    (1..=25).for_each(|n| spans.record(span(n)));
    until(&spans, |counts| counts.exported == 25).await;
    let sizes: Vec<usize> = came
        .requests()
        .into_iter()
        .map(|(headers, body)| {
            assert_eq!(headers[CONTENT_ENCODING], "gzip");
            let mut plain = Vec::new();
            GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
            ExportTraceServiceRequest::decode(&*plain).unwrap().resource_spans[0].scope_spans[0].spans.len()
        })
        .collect();
    assert!(sizes.iter().all(|size| *size <= 10) && sizes.iter().sum::<usize>() == 25, "{sizes:?}");
}

#[tokio::test]
async fn a_collector_that_is_busy_is_tried_again_and_one_that_refuses_is_not() {
    let busy = |n: usize| match n {
        0 => Answer::Now((StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response()),
        1 => refused(503),
        _ => taken(),
    };
    let (url, came) = collector(busy).await;
    let exporter = exporter(&url, &[]);
    let (spans, begun) = (exporter.spans().unwrap(), Instant::now());
    spans.record(span(1));
    let counts = until(&spans, |counts| counts.exported == 1).await;
    assert_eq!(counts, SpanCounts { exported: 1, ..SpanCounts::default() });
    assert!(begun.elapsed() >= Duration::from_secs(1), "it has waited for as long as it was asked to");
    assert_eq!(came.requests().len(), 3);

    for status in [400, 404, 413, 500] {
        let (url, came) = collector(move |_| refused(status)).await;
        let exporter = self::exporter(&url, &[]);
        let spans = exporter.spans().unwrap();
        spans.record(span(1));
        until(&spans, |counts| counts.refused == 1).await;
        assert_eq!(came.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn however_long_a_pause_a_collector_asks_for_the_next_batch_is_sent() {
    let busy = |n: usize| match n {
        0 => {
            let after = [(RETRY_AFTER, u64::MAX.to_string())];
            Answer::Now((StatusCode::SERVICE_UNAVAILABLE, after).into_response())
        }
        _ => taken(),
    };
    let (url, _) = collector(busy).await;
    let exporter = exporter(&url, &[]);
    let spans = exporter.spans().unwrap();
    spans.record(span(1));
    until(&spans, |counts| counts.unsent == 1).await;
    spans.record(span(2));
    until(&spans, |counts| counts.exported == 1).await;
}

#[tokio::test]
async fn one_request_lasts_no_longer_than_its_batch_is_tried() {
    let (url, _) = collector(|_| Answer::Later(Duration::from_secs(60))).await;
    let variables = [("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"), ("OTEL_BSP_EXPORT_TIMEOUT", "300")];
    let exporter = exporter(&url, &variables);
    let spans = exporter.spans().unwrap();
    spans.record(span(1));
    until(&spans, |counts| counts.unsent == 1).await;
}

#[tokio::test]
async fn what_cannot_be_sent_at_the_end_is_counted() {
    let (url, came) = collector(|_| Answer::Later(Duration::from_secs(60))).await;
    let exporter = exporter(&url, &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")]);
    let spans = exporter.spans().unwrap();
    (1..=7).for_each(|n| spans.record(span(n)));
    while came.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    exporter.finish(Duration::from_millis(200)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(spans.counts(), SpanCounts { unsent: 7, ..SpanCounts::default() });
}

#[tokio::test]
async fn what_a_collector_takes_in_part_is_counted_so() {
    let partly = |_| {
        let partial =
            ExportTracePartialSuccess { rejected_spans: 2, error_message: "two of them".to_owned() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
        Answer::Now(answer.encode_to_vec().into_response())
    };
    let (url, _) = collector(partly).await;
    let exporter = exporter(&url, &[("OTEL_BSP_SCHEDULE_DELAY", "300")]);
    let spans = exporter.spans().unwrap();
    (1..=5).for_each(|n| spans.record(span(n)));
    let counts = until(&spans, |counts| counts.refused > 0).await;
    assert_eq!((counts.exported, counts.refused), (3, 2));
}

#[tokio::test]
async fn a_collector_that_is_slow_or_gone_holds_up_nobody_and_what_is_dropped_is_counted() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let (slow, _) = collector(|_| Answer::Later(Duration::from_secs(60))).await;
    let variables = [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "200"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "400"),
    ];
    for url in [gone, slow] {
        let exporter = exporter(&url, &variables);
        let (spans, begun) = (exporter.spans().unwrap(), Instant::now());
        (0..100_000_u32).for_each(|n| spans.record(span(n as u8)));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let counts = until(&spans, |counts| counts.unsent > 0).await;
        assert!(counts.overrun >= 90_000 && counts.exported == 0, "{counts:?}");
        let begun = Instant::now();
        exporter.finish(Duration::from_millis(300)).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
}

/// In a process of its own, as the environment is that of a whole one.
#[tokio::test]
async fn a_collector_on_this_machine_is_reached_past_all_proxies() {
    const INSIDE: &str = "BATON_TEST_OTLP_BEHIND_A_PROXY";
    if std::env::var_os(INSIDE).is_some() {
        let (url, came) = collector(|_| taken()).await;
        let exporter = exporter(&url, &[]);
        let spans = exporter.spans().unwrap();
        spans.record(span(1));
        until(&spans, |counts| counts.exported == 1).await;
        assert_eq!(came.spans().len(), 1);
        return;
    }
    // It answers nothing: what asks it has no answer.
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_collector_on_this_machine_is_reached_past_all_proxies"]).env(INSIDE, "1");
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, &url);
    }
    let output = command.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    proxy.set_nonblocking(true).unwrap();
    assert!(proxy.accept().is_err(), "the proxy was asked");
}

#[tokio::test]
async fn what_is_left_at_the_end_is_sent() {
    let (url, came) = collector(|_| taken()).await;
    let exporter = exporter(&url, &[("OTEL_BSP_SCHEDULE_DELAY", "60000")]);
    let spans = exporter.spans().unwrap();
    (1..=7).for_each(|n| spans.record(span(n)));
    let begun = Instant::now();
    exporter.finish(Duration::from_secs(10)).await;
    assert!(begun.elapsed() < Duration::from_secs(9));
    assert_eq!((came.spans().len(), spans.counts().exported), (7, 7));
    spans.record(span(1));
    assert_eq!(spans.counts().overrun, 1, "it comes too late");
}

#[tokio::test]
async fn figures_arrive_as_they_are_told() {
    let (url, came) = collector(|_| taken()).await;
    let exporter =
        exporter(&url, &[("OTEL_METRIC_EXPORT_INTERVAL", "1500"), ("OTEL_TRACES_EXPORTER", "none")]);
    assert!(exporter.spans().is_none());
    let (every, take) = exporter.metrics().unwrap();
    assert_eq!(every, Duration::from_millis(1_500));
    take(
        "# HELP baton_claims Tasks given out.\n# TYPE baton_claims counter\nbaton_claims_total 7\n# EOF\n"
            .to_owned(),
    )
    .await;
    let (_, body) = came.requests().remove(0);
    let all = ExportMetricsServiceRequest::decode(&*body).unwrap().resource_metrics.remove(0);
    let metric = &all.scope_metrics[0].metrics[0];
    assert!(
        matches!(&metric.data, Some(Data::Sum(sum)) if sum.is_monotonic && sum.data_points.len() == 1),
        "{metric:?}"
    );
    assert_eq!((metric.name.as_str(), metric.description.as_str()), ("baton_claims", "Tasks given out"));
}
