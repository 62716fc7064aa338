//! Traces on the command line: what a producer's environment says goes with the task to the program that works on it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;

use crate::support::{QUICK, World, run, stderr, stdout, until};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

#[test]
fn a_task_is_created_in_the_trace_of_its_flags_or_of_the_environment() {
    let world = World::new(QUICK);
    let created = |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut command = world.command(&[&["task", "create", "--type", "test"], arguments].concat());
        command.envs(environment.iter().copied());
        let task = world.task(stdout(&run(command, 0)).trim())["task"].clone();
        (task["traceparent"].clone(), task["tracestate"].clone())
    };
    let environment = [("TRACEPARENT", PARENT), ("TRACESTATE", "a=1")];
    assert_eq!(created(&environment, &[]), (json!(PARENT), json!("a=1")));
    assert_eq!(created(&environment, &["--traceparent", OTHER]), (json!(OTHER), json!(null)));
    let flags = ["--traceparent", OTHER, "--tracestate", "b=2"];
    assert_eq!(created(&[], &flags), (json!(OTHER), json!("b=2")));
    assert_eq!(created(&[("TRACEPARENT", "broken")], &[]), (json!(null), json!(null)));
    let refused = stderr(&world.run(&["task", "create", "--type", "test", "--traceparent", "x"], 2));
    assert!(refused.contains("expected a traceparent such as 00-0af7651916cd"), "{refused}");

    let file = world.path("tasks.jsonl");
    std::fs::write(
        &file,
        format!("{{\"type\": \"a\"}}\n{{\"type\": \"b\", \"traceparent\": \"{OTHER}\"}}\n"),
    )
    .unwrap();
    let mut command = world.command(&["task", "create", "--from", file.to_str().unwrap()]);
    command.env("TRACEPARENT", PARENT);
    let ids = stdout(&run(command, 0));
    let told: Vec<_> = ids.lines().map(|id| world.task(id)["task"]["traceparent"].clone()).collect();
    assert_eq!(told, [PARENT, OTHER]);
}

#[test]
fn a_program_has_the_trace_of_its_task_and_not_that_of_its_worker() {
    let world = World::new(QUICK);
    let traced = world.create(&["--traceparent", PARENT, "--tracestate", "a=1"]);
    let plain = world.create(&[]);
    let shown = stdout(&world.run(&["task", "show", &traced], 0));
    let wanted = format!("trace {PARENT}, with a=1");
    let has = |text: &str| text.lines().any(|line| line.split_whitespace().eq(wanted.split_whitespace()));
    assert!(has(&shown), "{shown}");
    // It waits for a worker, which is told by the exit code.
    let debugged = stdout(&world.run(&["debug", "task", &traced], 1));
    assert!(has(&debugged), "{debugged}");
    let script = "echo \"{\\\"parent\\\": \\\"$TRACEPARENT\\\", \\\"state\\\": \\\"$TRACESTATE\\\"}\"";
    let mut command = world.command(&["worker", "run", "--id", "w1", "--", "sh", "-c", script]);
    command.env("TRACEPARENT", OTHER).env("TRACESTATE", "w=1");
    let _worker = crate::support::Running(command.spawn().unwrap());
    assert_eq!(
        world.becomes(&traced, "completed")["generation"]["result"],
        json!({"parent": PARENT, "state": "a=1"})
    );
    assert_eq!(
        world.becomes(&plain, "completed")["generation"]["result"],
        json!({"parent": "", "state": ""})
    );
}

/// A collector on a port of its own, which keeps the spans and the names of the metrics that come.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
    metrics: Arc<Mutex<BTreeSet<String>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let metrics: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let (all, names) = (Arc::clone(&spans), Arc::clone(&metrics));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, all, names) = (stream.unwrap(), Arc::clone(&all), Arc::clone(&names));
                std::thread::spawn(move || while take(&stream, &all, &names).is_some() {});
            }
        });
        Self { url, spans, metrics }
    }

    /// The variables by which a program exports to it.
    fn variables(&self) -> [(&'static str, &str); 3] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &self.url),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
        ]
    }

    /// Waits for the span of this name, of which this holds.
    fn span(&self, name: &str, holds: impl Fn(&Span) -> bool) -> Span {
        until(&format!("the span {name}"), || {
            self.spans.lock().unwrap().iter().find(|span| span.name == name && holds(span)).cloned()
        })
    }
}

/// Takes one request of a connection.
fn take(stream: &TcpStream, spans: &Mutex<Vec<Span>>, metrics: &Mutex<BTreeSet<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if head.contains("/v1/traces") {
        let request = ExportTraceServiceRequest::decode(&*body).unwrap();
        let all =
            request.resource_spans.into_iter().flat_map(|all| all.scope_spans).flat_map(|all| all.spans);
        spans.lock().unwrap().extend(all);
    } else {
        let request = ExportMetricsServiceRequest::decode(&*body).unwrap();
        let all = request
            .resource_metrics
            .into_iter()
            .flat_map(|all| all.scope_metrics)
            .flat_map(|all| all.metrics);
        metrics.lock().unwrap().extend(all.map(|metric| metric.name));
    }
    let mut to = stream;
    to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()
}

/// The traceparent of a span.
fn parent_of(span: &Span) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id))
}

fn said(span: &Span, name: &str) -> String {
    let value =
        span.attributes.iter().find(|one| one.key == name).and_then(|one| one.value.as_ref()?.value.as_ref());
    match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("expected {name}, got {other:?} of {span:?}"),
    }
}

#[test]
fn a_task_is_followed_from_its_producer_through_its_attempts_into_its_program() {
    let collector = Collector::start();
    let world = World::told(QUICK, &collector.variables());
    let trace = PARENT.split('-').nth(1).unwrap();
    let id = world.create(&["--traceparent", PARENT, "--tracestate", "a=1", "--backoff", "50ms"]);
    // The first attempt fails, and the second one tells what it was given.
    let script = "[ $BATON_ATTEMPT = 2 ] || exit 3; echo \"\\\"$TRACEPARENT\\\"\"";
    let mut command = world.command(&["worker", "run", "--id", "w1", "--", "sh", "-c", script]);
    command.envs(collector.variables());
    let worker = crate::support::Running(command.spawn().unwrap());
    let done = world.becomes(&id, "completed");

    let attempt = |n: &str| collector.span("process default", |span| said(span, "baton.attempt") == n);
    let (first, second) = (attempt("1"), attempt("2"));
    let run = collector.span("run test", |span| said(span, "baton.attempt") == "2");
    let delivery = collector.span("deliver", |span| span.parent_span_id == run.span_id);
    let completion =
        collector.span("POST /v1/tasks/{id}/complete", |span| span.parent_span_id == delivery.span_id);
    for span in [&first, &second, &run, &delivery, &completion] {
        assert_eq!(parent_of(span).split('-').nth(1), Some(trace), "{span:?}");
    }
    let producer = PARENT.split('-').nth(2).unwrap();
    for span in [&first, &second] {
        assert_eq!(
            u64::from_be_bytes(span.parent_span_id.clone().try_into().unwrap()),
            u64::from_str_radix(producer, 16).unwrap()
        );
        assert_eq!(span.trace_state, "a=1");
    }
    assert_eq!(
        (first.links.len(), &second.links[0].span_id),
        (0, &first.span_id),
        "the second follows the first"
    );
    assert_eq!(
        (said(&first, "baton.outcome"), said(&first, "error.type")),
        ("failed".to_owned(), "exit_3".to_owned())
    );
    assert_eq!(said(&second, "baton.outcome"), "completed");
    assert_eq!(run.parent_span_id, second.span_id);
    assert_eq!(
        done["generation"]["result"],
        parent_of(&run),
        "the program is a part of what the worker does"
    );

    // Whose worker exports nothing is a part of the attempt itself; a task without a trace is the root of its own.
    drop(worker);
    let plain = world.create(&[]);
    let _worker = world.worker("echo \"\\\"$TRACEPARENT\\\"\"");
    let done = world.becomes(&plain, "completed");
    let root = collector.span("process default", |span| said(span, "baton.task.id") == plain);
    assert_eq!(done["generation"]["result"], parent_of(&root));
    assert_eq!(
        (root.parent_span_id.len(), parent_of(&root).split('-').nth(1).unwrap()),
        (0, &*plain.replace('-', ""))
    );

    until("metrics", || {
        let names = collector.metrics.lock().unwrap();
        ["baton_tasks", "baton_claims", "baton_task_run_seconds", "baton_spans"]
            .iter()
            .all(|name| names.contains(*name))
            .then_some(())
    });
    // Nothing of what tasks say or tokens open is in a span.
    let all = format!("{:?}", collector.spans.lock().unwrap());
    assert!(!all.contains("authorization") && !all.contains("baton_token"), "{all}");
}

#[test]
fn a_worker_whose_server_exports_nothing_tells_of_the_attempts_itself() {
    let collector = Collector::start();
    let world = World::new(QUICK);
    let id = world.create(&["--traceparent", PARENT, "--backoff", "50ms"]);
    let script = "[ $BATON_ATTEMPT = 2 ] || exit 3; echo 1";
    let mut command = world.command(&["worker", "run", "--id", "w1", "--", "sh", "-c", script]);
    command.envs(collector.variables());
    let _worker = crate::support::Running(command.spawn().unwrap());
    world.becomes(&id, "completed");
    let run = |n: &str| collector.span("run test", |span| said(span, "baton.attempt") == n);
    let (first, second) = (run("1"), run("2"));
    let producer = PARENT.split('-').nth(2).unwrap();
    for span in [&first, &second] {
        assert_eq!(parent_of(span).split('-').nth(1), PARENT.split('-').nth(1), "{span:?}");
        let parent = u64::from_be_bytes(span.parent_span_id.clone().try_into().unwrap());
        assert_eq!(parent, u64::from_str_radix(producer, 16).unwrap());
    }
    assert_eq!(
        (first.links.len(), &second.links[0].span_id),
        (0, &first.span_id),
        "the second follows the first"
    );
    assert!(collector.metrics.lock().unwrap().is_empty(), "figures are the server's");
}

#[test]
fn an_attempt_that_a_server_before_has_given_out_is_told_by_the_next_one() {
    let collector = Collector::start();
    let mut world = World::told(QUICK, &collector.variables());
    let id = world.create(&["--traceparent", PARENT]);
    let (status, claimed) = world.ask("POST", "/v1/claims", "{\"worker_id\": \"w\"}");
    assert_eq!((status, claimed["tasks"][0]["id"].as_str()), (200, Some(&*id)));
    let span = claimed["tasks"][0]["lease"]["traceparent"].as_str().unwrap().to_owned();
    world.end_server();
    world.restart_server();
    let (status, _) =
        world.ask("POST", &format!("/v1/tasks/{id}/complete"), "{\"worker_id\": \"w\", \"attempt\": 1}");
    assert_eq!(status, 200);
    let told = collector.span("process default", |_| true);
    assert_eq!((parent_of(&told), said(&told, "baton.worker.id")), (span, "w".to_owned()));
}

#[test]
fn what_is_not_sampled_is_told_by_nobody_and_handed_on_as_such() {
    let collector = Collector::start();
    let world = World::told(QUICK, &collector.variables());
    let id = world.create(&["--traceparent", OTHER]);
    let _worker = world.worker("echo \"\\\"$TRACEPARENT\\\"\"");
    let done = world.becomes(&id, "completed");
    let given = done["generation"]["result"].as_str().unwrap().to_owned();
    assert!(given.ends_with("-00") && given != OTHER && given[..35] == OTHER[..35], "{given}");
    let seen = world.create(&["--traceparent", PARENT]);
    collector.span("process default", |span| said(span, "baton.task.id") == seen);
    let spans = collector.spans.lock().unwrap();
    assert!(spans.iter().all(|span| !parent_of(span).contains(&OTHER[3..35])), "{spans:?}");
}
