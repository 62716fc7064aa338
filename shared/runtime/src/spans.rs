//! Spans: what a process tells of its work to a collector, where somebody listens (`docs/traces.md`).
//!
//! Spans are no part of `tracing` here. Its registry costs a request 8,000 instructions, and a span of an attempt lives longer than any
//! process ([`Span`] is told whole, once it has ended). Recording one is a push into a bounded queue, which never waits: what the exporter
//! does not keep up with is dropped and counted. Where nobody listens there is no [`Spans`], and a request looks at nothing more.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use baton_model::{TraceParent, TraceState};
use tokio::sync::mpsc;

use crate::clock::SystemClock;

/// What has been done, from its begin to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace, the span's own id, and that it is sampled.
    pub at: TraceParent,
    /// The span that it is a part of; none if it is the root of its trace.
    pub parent: Option<[u8; 8]>,
    /// What the systems before have noted with the trace.
    pub state: Option<TraceState>,
    /// Another span that it follows.
    pub follows: Option<TraceParent>,
    /// What is done, in words of which there are few.
    pub name: Cow<'static, str>,
    /// Its part in the talk of two processes.
    pub kind: SpanKind,
    /// When it began, since 1970.
    pub began: Duration,
    /// How long it took.
    pub lasted: Duration,
    /// What is known of it: never a token, params or a result; of headers, the request's id alone.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// Whether it failed.
    pub failed: bool,
}

/// A span's part in the talk of two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// It answers a request.
    Server,
    /// It makes a request.
    Client,
    /// It works on what another has left for it.
    Consumer,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum SpanValue {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for SpanValue {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for SpanValue {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u32> for SpanValue {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

/// Takes the figures of a process as they are now, in OpenMetrics text.
pub type TakeMetrics = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether a span of a trace that another has begun is recorded if, and only if, that one says so of the trace.
    pub by_parent: bool,
    /// Of the other traces, which part is recorded: from 0 to 1.
    pub ratio: f64,
}

impl Default for Sampler {
    /// As the specification has it: `parentbased_always_on`.
    fn default() -> Self {
        Self { by_parent: true, ratio: 1.0 }
    }
}

/// How many bits at the end of a trace's id are random. W3C Trace Context (level 2) has 56 of them; of a task's own trace, whose id is the
/// UUIDv7 of the task, those before the last 32 count within a millisecond.
const RANDOM_BITS: u32 = 32;

impl Sampler {
    /// Whether there is no trace that is recorded.
    pub fn is_never(&self) -> bool {
        !self.by_parent && self.ratio <= 0.0
    }

    /// Whether a trace is recorded: the same for each of its spans, whoever asks.
    pub fn samples(&self, trace: [u8; 16], parent: Option<TraceParent>) -> bool {
        match parent {
            Some(parent) if self.by_parent => parent.is_sampled(),
            _ => {
                let random = u128::from_be_bytes(trace) & ((1 << RANDOM_BITS) - 1);
                // A float holds 53 bits, which is exact enough for a part of all.
                let below = (1.0 - self.ratio.clamp(0.0, 1.0)) * (1_u64 << RANDOM_BITS) as f64;
                random >= below as u128 && self.ratio > 0.0
            }
        }
    }
}

/// What has become of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// The collector has taken them.
    pub exported: u64,
    /// There was no room in the queue.
    pub overrun: u64,
    /// The collector has refused them.
    pub refused: u64,
    /// It could not be reached, or did not take them in time.
    pub unsent: u64,
}

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    overrun: AtomicU64,
    refused: AtomicU64,
    unsent: AtomicU64,
}

/// Where spans are recorded.
#[derive(Debug)]
pub struct Spans {
    sampler: Sampler,
    queue: mpsc::Sender<Span>,
    counts: Counts,
}

impl Spans {
    /// A place for spans, and the queue of at most `most` that an exporter takes them from.
    pub fn new(sampler: Sampler, most: usize) -> (Arc<Self>, mpsc::Receiver<Span>) {
        let (queue, spans) = mpsc::channel(most.max(1));
        (Arc::new(Self { sampler, queue, counts: Counts::default() }), spans)
    }

    /// Whether the spans of a trace are recorded; `parent` is the span of another process that this one's is a part of.
    pub fn samples(&self, trace: [u8; 16], parent: Option<TraceParent>) -> bool {
        self.sampler.samples(trace, parent)
    }

    /// Whether there is no trace whose spans are recorded.
    pub fn are_never_sampled(&self) -> bool {
        self.sampler.is_never()
    }

    /// Records a span that has ended. Never waits.
    pub fn record(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.overrun();
        }
    }

    /// Notes that there was no room for one.
    pub fn overrun(&self) {
        self.counts.overrun.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the collector has taken so many, and has refused so many.
    pub fn taken(&self, exported: usize, refused: usize) {
        self.counts.exported.fetch_add(exported as u64, Ordering::Relaxed);
        self.counts.refused.fetch_add(refused as u64, Ordering::Relaxed);
    }

    /// Notes that so many could not be sent.
    pub fn unsent(&self, spans: usize) {
        self.counts.unsent.fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// What has become of all until now.
    pub fn counts(&self) -> SpanCounts {
        let told = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { exported, overrun, refused, unsent } = &self.counts;
        SpanCounts {
            exported: told(exported),
            overrun: told(overrun),
            refused: told(refused),
            unsent: told(unsent),
        }
    }
}

/// A span that has begun, and is recorded once it ends.
#[derive(Debug)]
pub struct Begun {
    spans: Arc<Spans>,
    at: TraceParent,
    parent: Option<[u8; 8]>,
    state: Option<TraceState>,
    follows: Option<TraceParent>,
    began: Duration,
    since: Instant,
}

impl Begun {
    /// Begins a span that is a part of `parent`, of a trace with which `state` is noted.
    pub fn new(
        spans: &Arc<Spans>,
        at: TraceParent,
        parent: Option<[u8; 8]>,
        state: Option<TraceState>,
    ) -> Self {
        let (spans, began) = (Arc::clone(spans), SystemClock.since_1970());
        Self { spans, at, parent, state, follows: None, began, since: Instant::now() }
    }

    /// The same, which follows another span.
    #[must_use]
    pub fn following(self, follows: Option<TraceParent>) -> Self {
        Self { follows, ..self }
    }

    /// Begins a span that is a part of this one.
    #[must_use]
    pub fn part(&self, span: [u8; 8]) -> Self {
        let at = self.at.of_same_trace(span, true);
        Self::new(&self.spans, at, Some(self.at.span()), self.state.clone())
    }

    /// The span, for whoever does something as a part of it.
    pub fn at(&self) -> TraceParent {
        self.at
    }

    /// Ends it, and records it.
    pub fn end(
        self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        attributes: Vec<(&'static str, SpanValue)>,
        failed: bool,
    ) {
        let Self { spans, at, parent, state, follows, began, since } = self;
        let (name, lasted) = (name.into(), since.elapsed());
        spans.record(Span { at, parent, state, follows, name, kind, began, lasted, attributes, failed });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(sampled: bool) -> TraceParent {
        TraceParent::new([1; 16], [2; 8], sampled).unwrap()
    }

    #[test]
    fn a_trace_is_recorded_as_its_parent_says_or_by_its_own_id() {
        let by_parent = Sampler { by_parent: true, ratio: 0.0 };
        assert!(by_parent.samples([1; 16], Some(parent(true))));
        assert!(!by_parent.samples([1; 16], Some(parent(false))));
        assert!(!by_parent.samples([0xff; 16], None));
        let always = Sampler { by_parent: false, ratio: 1.0 };
        assert!(always.samples([0; 16], Some(parent(false))) && always.samples([0xff; 16], None));
        let never = Sampler { by_parent: false, ratio: 0.0 };
        assert!(!never.samples([0xff; 16], Some(parent(true))) && never.is_never());
        assert!(!by_parent.is_never() && !always.is_never());
    }

    #[test]
    fn a_part_of_all_traces_is_that_part_also_of_traces_that_are_tasks() {
        use crate::ids::{Ids as _, RandomIds};
        let quarter = Sampler { by_parent: true, ratio: 0.25 };
        let ids = (0..4_000).map(|_| *RandomIds.uuid().as_bytes());
        let sampled = ids.filter(|id| quarter.samples(*id, None)).count();
        assert!((800..1_200).contains(&sampled), "{sampled}");
    }

    #[test]
    fn what_there_is_no_room_for_is_dropped_and_counted() {
        let (spans, mut queue) = Spans::new(Sampler::default(), 2);
        let span = Span {
            at: parent(true),
            parent: None,
            state: None,
            follows: None,
            name: "n".into(),
            kind: SpanKind::Server,
            began: Duration::ZERO,
            lasted: Duration::ZERO,
            attributes: Vec::new(),
            failed: false,
        };
        (0..5).for_each(|_| spans.record(span.clone()));
        assert_eq!(spans.counts().overrun, 3);
        assert_eq!(queue.try_recv(), Ok(span.clone()));
        spans.record(span);
        assert_eq!(spans.counts(), SpanCounts { overrun: 3, ..SpanCounts::default() });
    }
}
