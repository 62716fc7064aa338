//! The span of a request, where somebody listens.

use baton_model::TraceParent;
use baton_runtime::spans::{Begun, SpanKind, SpanValue};
use http::{HeaderMap, StatusCode};

use crate::app::App;
use crate::auth::trace_of;
use crate::meters::Route;

/// What is asked again and again by whoever watches a server; its spans would tell nothing.
const UNTOLD: [&str; 5] = ["/livez", "/readyz", "/metrics", "/v1/metrics", "/openapi.json"];

/// A request that is being answered, and whose span is recorded.
pub(crate) struct Spanned {
    begun: Begun,
    route: Route,
}

impl Spanned {
    /// Begins the span of a request; none if nobody listens, or not to this one.
    pub(crate) fn begin(app: &App, route: Route, headers: &HeaderMap) -> Option<Self> {
        let spans = app.meters.spans()?;
        if spans.are_never_sampled() || UNTOLD.contains(&route.route) {
            return None;
        }
        let trace = trace_of(headers);
        let id = *app.ids.uuid().as_bytes();
        let trace_id = trace.as_ref().map_or(id, |trace| trace.parent.trace());
        if !spans.samples(trace_id, trace.as_ref().map(|trace| trace.parent)) {
            return None;
        }
        let mut span = [0; 8];
        span.copy_from_slice(&id[8..]);
        let at = match &trace {
            Some(trace) => trace.parent.of_same_trace(span, true),
            None => TraceParent::new(trace_id, span, true)?,
        };
        let (parent, state) = trace.map(|trace| (trace.parent.span(), trace.state)).unzip();
        Some(Self { begun: Begun::new(spans, at, parent, state.flatten()), route })
    }

    /// Records it with how it was answered.
    pub(crate) fn answered(self, status: StatusCode, request_id: Option<&str>) {
        let Self { begun, route: Route { route, method } } = self;
        let mut attributes: Vec<(&'static str, SpanValue)> = vec![
            ("http.request.method", method.into()),
            ("http.route", route.into()),
            ("http.response.status_code", u32::from(status.as_u16()).into()),
        ];
        attributes.extend(request_id.map(|id| ("baton.request.id", id.to_owned().into())));
        let failed = status.is_server_error();
        if failed {
            attributes.push(("error.type", status.as_str().to_owned().into()));
        }
        begun.end(format!("{method} {route}"), SpanKind::Server, attributes, failed);
    }
}
