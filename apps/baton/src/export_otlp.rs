//! Who is told of spans and figures, as the variables `OTEL_…` say; nobody in a build without the feature `otlp`.

use baton_server::Listener;

#[cfg(feature = "otlp")]
mod with {
    use std::sync::Arc;
    use std::time::Duration;

    use baton_otlp::Tells;
    use baton_runtime::Spans;
    use baton_runtime::spans::TakeMetrics;

    /// How long what is left may take to be sent, at the end of a process.
    const LAST: Duration = Duration::from_secs(3);

    /// What exports; none if nobody is to be told.
    pub(crate) type Exporter = Option<baton_otlp::Exporter>;

    /// Begins to export what a server tells.
    pub(crate) fn of_server() -> Exporter {
        baton_otlp::Exporter::of_environment("baton", Tells::SpansAndFigures)
    }

    /// Begins to export what a worker tells, which has no figures.
    pub(crate) fn of_worker() -> Exporter {
        baton_otlp::Exporter::of_environment("baton-worker", Tells::Spans)
    }

    /// Where spans are recorded.
    pub(crate) fn spans(exporter: &Exporter) -> Option<Arc<Spans>> {
        exporter.as_ref()?.spans()
    }

    pub(super) fn metrics(exporter: &Exporter) -> Option<(Duration, TakeMetrics)> {
        exporter.as_ref()?.metrics()
    }

    /// Sends what is left.
    pub(crate) async fn finish(exporter: Exporter) {
        if let Some(exporter) = exporter {
            exporter.finish(LAST).await;
        }
    }
}

#[cfg(not(feature = "otlp"))]
mod with {
    use std::sync::Arc;
    use std::time::Duration;

    use baton_runtime::Spans;
    use baton_runtime::spans::TakeMetrics;

    pub(crate) struct Exporter;

    pub(crate) fn of_server() -> Exporter {
        unavailable(&["", "_TRACES", "_METRICS"])
    }

    pub(crate) fn of_worker() -> Exporter {
        unavailable(&["", "_TRACES"])
    }

    fn unavailable(signals: &[&str]) -> Exporter {
        let named = |variable: &String| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
        let mut variables = signals.iter().map(|signal| format!("OTEL_EXPORTER_OTLP{signal}_ENDPOINT"));
        if let Some(variable) = variables.find(named) {
            tracing::warn!(
                "{variable} is set, and this program was built without the feature otlp: nothing is exported"
            );
        }
        Exporter
    }

    pub(crate) fn spans(_: &Exporter) -> Option<Arc<Spans>> {
        None
    }

    pub(super) fn metrics(_: &Exporter) -> Option<(Duration, TakeMetrics)> {
        None
    }

    pub(crate) async fn finish(_: Exporter) {}
}

pub(crate) use with::{Exporter, finish, of_server, of_worker, spans};

/// Who listens to a server.
pub(crate) fn listener(exporter: &Exporter) -> Listener {
    Listener { spans: spans(exporter), metrics: with::metrics(exporter) }
}
