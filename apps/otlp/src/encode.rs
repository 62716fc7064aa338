//! Spans in the words of OTLP.

use std::time::Duration;

use baton_runtime::spans::{Span, SpanKind, SpanValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Told, Status, span, status};
use prost::Message as _;
use prost::bytes::Bytes;

/// Who says all of it.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "baton".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// A named text.
pub(crate) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    named(key, Value::StringValue(value.into()))
}

/// A named number.
pub(crate) fn number(key: &str, value: i64) -> KeyValue {
    named(key, Value::IntValue(value))
}

fn named(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// Nanoseconds since 1970.
pub(crate) fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

/// The body that tells of spans.
pub(crate) fn request(resource: &Resource, spans: Vec<Span>) -> Bytes {
    let spans = spans.into_iter().map(told).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
    let all = ResourceSpans { resource: Some(resource.clone()), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![all] }.encode_to_vec().into()
}

fn told(one: Span) -> Told {
    let Span { at, parent, state, follows, name, kind, began, lasted, attributes, failed } = one;
    let state = state.map(|state| state.as_str().to_owned()).unwrap_or_default();
    let link = |to: baton_model::TraceParent| span::Link {
        trace_id: to.trace().to_vec(),
        span_id: to.span().to_vec(),
        trace_state: state.clone(),
        flags: u32::from(to.is_sampled()),
        ..span::Link::default()
    };
    let attribute = |(key, value): (&str, SpanValue)| match value {
        SpanValue::Text(value) => text(key, value),
        SpanValue::Number(value) => number(key, value),
    };
    let status = failed.then(|| Status { code: status::StatusCode::Error.into(), ..Status::default() });
    Told {
        trace_id: at.trace().to_vec(),
        span_id: at.span().to_vec(),
        parent_span_id: parent.map(Vec::from).unwrap_or_default(),
        flags: u32::from(at.is_sampled()),
        name: name.into_owned(),
        kind: match kind {
            SpanKind::Server => span::SpanKind::Server,
            SpanKind::Client => span::SpanKind::Client,
            SpanKind::Consumer => span::SpanKind::Consumer,
        }
        .into(),
        start_time_unix_nano: nanos(began),
        end_time_unix_nano: nanos(began + lasted),
        attributes: attributes.into_iter().map(attribute).collect(),
        links: follows.map(link).into_iter().collect(),
        status,
        trace_state: state,
        ..Told::default()
    }
}
