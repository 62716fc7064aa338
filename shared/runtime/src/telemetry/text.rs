//! Log lines for people: those of `tracing-subscriber`, with the name of the request behind.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::request;
use crate::clock::{Clock as _, SystemClock};

/// The time in front of a line.
pub(super) struct Rfc3339;

impl FormatTime for Rfc3339 {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        write!(to, "{}", SystemClock.now())
    }
}

/// Formats events.
pub(super) struct Lines(Format<Full, Rfc3339>);

impl Lines {
    /// In colour or not.
    pub(super) fn new(colour: bool) -> Self {
        Self(Format::default().with_timer(Rfc3339).with_ansi(colour))
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        request::with(|name| {
            let Some(name) = name else { return self.0.format_event(context, to, event) };
            let mut line = String::new();
            self.0.format_event(context, Writer::new(&mut line), event)?;
            writeln!(to, "{} request_id={name}", line.trim_end_matches('\n'))
        })
    }
}
