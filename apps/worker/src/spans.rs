//! The spans of what a worker does for an attempt, where somebody listens.

use baton_api::task::TaskView;
use baton_model::{Trace, TraceParent};
use baton_runtime::spans::{self, SpanKind, SpanValue};

use crate::deliver::Delivered;
use crate::outcome::Outcome;
use crate::shared::Shared;

/// A span that has begun.
pub(crate) struct Begun(spans::Begun);

impl Begun {
    /// Begins the span of what is done for an attempt, and makes it the one that the task's program is a part of; none if nobody listens,
    /// or not to this trace.
    pub(crate) fn run(shared: &Shared, task: &mut TaskView) -> Option<Self> {
        let spans = shared.options.spans.as_ref()?;
        let given = task.lease.as_ref().and_then(|lease| lease.traceparent);
        let trace = task.traceparent.map(|parent| Trace { parent, state: task.tracestate.clone() });
        let id = given.map_or_else(|| TraceParent::trace_of(task.id, trace.as_ref()), |given| given.trace());
        if !spans.samples(id, given.or(task.traceparent)) {
            return None;
        }
        let (at, parent, follows) = match given {
            Some(given) => (given.of_same_trace(own_id(shared), true), Some(given.span()), None),
            // Nobody else tells of the attempt: this span is the attempt's, and follows that of the one before.
            None => {
                let of = |attempt| TraceParent::of_attempt(task.id, trace.as_ref(), attempt, true);
                let before = (task.attempt > 1).then(|| of(task.attempt - 1));
                (of(task.attempt), task.traceparent.map(|parent| parent.span()), before)
            }
        };
        if let Some(lease) = &mut task.lease {
            lease.traceparent = Some(at);
        }
        let begun = spans::Begun::new(spans, at, parent, task.tracestate.clone());
        Some(Self(begun.following(follows)))
    }

    /// Begins the span of telling the outcome.
    pub(crate) fn delivery(&self, shared: &Shared) -> Self {
        Self(self.0.part(own_id(shared)))
    }

    /// The span, for whoever does something as a part of it.
    pub(crate) fn at(&self) -> TraceParent {
        self.0.at()
    }

    /// Records what was done for an attempt.
    pub(crate) fn has_run(self, shared: &Shared, task: &TaskView, outcome: Told) {
        let text = |text: &str| SpanValue::from(text.to_owned());
        let Told { outcome, error } = outcome;
        let mut attributes = vec![
            ("baton.task.id", task.id.to_string().into()),
            ("baton.task.type", text(task.task_type.as_str())),
            ("baton.queue", text(task.queue.as_str())),
            ("baton.attempt", task.attempt.into()),
            ("baton.worker.id", text(shared.options.id.as_str())),
            ("baton.outcome", outcome.into()),
        ];
        let failed = error.is_some();
        attributes.extend(error.map(|error| ("error.type", SpanValue::from(error))));
        self.0.end(format!("run {}", task.task_type), SpanKind::Consumer, attributes, failed);
    }

    /// Records which way an outcome went.
    pub(crate) fn delivered(self, delivered: &Delivered) {
        let (way, error) = match delivered {
            Delivered::Over(_) => ("server", None),
            Delivered::Detoured(_) => ("detour", None),
            Delivered::Nowhere(why) => ("nowhere", Some(*why)),
        };
        let mut attributes: Vec<(&'static str, SpanValue)> = vec![("baton.way", way.into())];
        attributes.extend(error.map(|error| ("error.type", SpanValue::from(error))));
        self.0.end("deliver", SpanKind::Client, attributes, error.is_some());
    }
}

fn own_id(shared: &Shared) -> [u8; 8] {
    let id = shared.options.ids.uuid();
    let mut span = [0; 8];
    // The last bytes of a UUID are random; the first ones of version 7 tell the time.
    span.copy_from_slice(&id.as_bytes()[8..]);
    span
}

/// An outcome in a span's words.
pub(crate) struct Told {
    outcome: &'static str,
    error: Option<String>,
}

impl Told {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let (outcome, error) = match outcome {
            Outcome::Done(_) => ("completed", None),
            // The message may tell what belongs to the task's owner alone.
            Outcome::Failed(failed) => ("failed", Some(failed.error.code.as_deref().unwrap_or("failed"))),
            Outcome::Released { .. } => ("released", None),
            Outcome::Lost { .. } => ("lost", Some("lost")),
        };
        Self { outcome, error: error.map(|code| code.chars().take(128).collect()) }
    }
}

#[cfg(test)]
mod tests {
    use baton_runtime::spans::{Sampler, Spans};

    use super::*;

    #[test]
    fn an_outcome_that_reaches_nobody_is_a_failed_delivery() {
        let (spans, mut queue) = Spans::new(Sampler::default(), 1);
        let at = TraceParent::new([1; 16], [2; 8], true).unwrap();
        for (delivered, way, failed) in
            [(Delivered::Over(None), "server", false), (Delivered::Nowhere("lost"), "nowhere", true)]
        {
            Begun(spans::Begun::new(&spans, at, None, None)).delivered(&delivered);
            let span = queue.try_recv().unwrap();
            assert_eq!((&span.attributes[0].1, span.failed), (&SpanValue::from(way), failed));
        }
    }
}
