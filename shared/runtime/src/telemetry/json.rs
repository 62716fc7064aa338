//! Log lines as flat JSON objects: timestamp, level, message, the event's fields, the fields of its spans, target.
//!
//! `tracing-subscriber` has a JSON format, too; it nests the spans' fields and reads them back for each line.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::request;
use crate::clock::{Clock as _, SystemClock};

/// Formats events.
pub(super) struct Lines;

/// Formats the fields of spans: `,"name":value` for each, to be put into a line as it is.
pub(super) struct SpanFields;

impl<S> FormatEvent<S, SpanFields> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, SpanFields>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        write!(to, r#"{{"timestamp":"{}","level":"{}""#, SystemClock.now(), metadata.level())?;
        let mut fields = Fields { to: &mut to, outcome: Ok(()) };
        event.record(&mut fields);
        fields.outcome?;
        if let Some(scope) = context.event_scope() {
            for span in scope {
                if let Some(fields) = span.extensions().get::<FormattedFields<SpanFields>>() {
                    to.write_str(&fields.fields)?;
                }
            }
        }
        request::with(|name| {
            let Some(name) = name else { return Ok(()) };
            to.write_str(r#","request_id":""#)?;
            Escaped(&mut to).write_str(name)?;
            to.write_char('"')
        })?;
        // A line of Baton's own at this level is known by its message, and there is one for each change of a task.
        if *metadata.level() == Level::INFO && metadata.target().starts_with("baton") {
            return writeln!(to, "}}");
        }
        writeln!(to, r#","target":"{}"}}"#, metadata.target())
    }
}

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(&self, mut to: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Fields { to: &mut to, outcome: Ok(()) };
        fields.record(&mut visitor);
        visitor.outcome
    }
}

struct Fields<'a, W> {
    to: &'a mut W,
    outcome: fmt::Result,
}

impl<W: Write> Fields<'_, W> {
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut W) -> fmt::Result) {
        if self.outcome.is_ok() {
            let name = self.to.write_str(",\"").and_then(|()| self.to.write_str(field.name()));
            self.outcome = name.and_then(|()| self.to.write_str("\":")).and_then(|()| value(self.to));
        }
    }
}

impl<W: Write> Visit for Fields<'_, W> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |to| {
            to.write_char('"')?;
            Escaped(to).write_str(value)?;
            to.write_char('"')
        });
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, |to| write!(to, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, |to| write!(to, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, |to| write!(to, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows no NaN and no infinity.
        self.put(
            field,
            |to| if value.is_finite() { write!(to, "{value}") } else { write!(to, "\"{value}\"") },
        );
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, |to| {
            to.write_char('"')?;
            write!(Escaped(to), "{value:?}")?;
            to.write_char('"')
        });
    }
}

/// Escapes what is written as the inside of a JSON string.
struct Escaped<'a, W>(&'a mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly all text is plain, and seen to be so byte by byte.
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if text.bytes().all(is_plain) {
            return self.0.write_str(text);
        }
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| matches!(c, '"' | '\\') || c.is_control()) {
            let (plain, from) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut chars = from.chars();
            match chars.next() {
                Some(c @ ('"' | '\\')) => write!(self.0, "\\{c}")?,
                Some('\n') => self.0.write_str("\\n")?,
                Some(c) => write!(self.0, "\\u{:04x}", u32::from(c))?,
                None => {}
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Waker};

    use super::super::{LogWriter, Named, subscriber};
    use crate::settings::Settings;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(json: bool, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let (writer, guard) = LogWriter::start(sink.clone()).unwrap();
        let settings = Settings::defaults().unwrap();
        tracing::subscriber::with_default(subscriber(&settings.log, json, false, writer), log);
        drop(guard);
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_json_line_is_one_flat_object_with_the_fields_of_its_span() {
        let lines = logged(true, || {
            let span = tracing::info_span!("request", request_id = "r-1");
            span.in_scope(|| {
                let worker_id: Option<&str> = None;
                tracing::info!(task_id = %"t\"1\"", attempt = 3_u32, ratio = f64::NAN, worker_id, "a\nb\u{1b}ü");
                tracing::debug!("not at info");
            });
        });
        assert_eq!(lines.lines().count(), 1, "{lines}");
        let line: serde_json::Value = serde_json::from_str(&lines).unwrap();
        assert_eq!(line["message"], "a\nb\u{1b}ü");
        assert_eq!(line["task_id"], "t\"1\"");
        assert_eq!(line["attempt"], 3);
        assert_eq!(line["ratio"], "NaN");
        assert_eq!(line["request_id"], "r-1");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line.get("worker_id"), None, "what does not exist is left out");
        assert!(line["timestamp"].as_str().unwrap().parse::<baton_model::Timestamp>().is_ok());
        assert_eq!(line.get("target"), None);
    }

    #[test]
    fn what_a_request_logs_bears_its_name() {
        let request = || Box::pin(Named::new("r-2", async { tracing::info!("done") }));
        let poll = || assert!(request().as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        let line: serde_json::Value = serde_json::from_str(&logged(true, poll)).unwrap();
        assert_eq!(line["request_id"], "r-2");
        let lines = logged(false, poll);
        assert!(lines.ends_with(" done request_id=r-2\n"), "{lines}");
    }

    #[test]
    fn a_warning_and_what_a_library_says_name_their_place() {
        let place =
            |line: String| serde_json::from_str::<serde_json::Value>(&line).unwrap()["target"].clone();
        let here = logged(true, || tracing::warn!("hot"));
        assert_eq!(place(here), "baton_runtime::telemetry::json::tests");
        assert_eq!(place(logged(true, || tracing::info!(target: "hyper::proto", "cold"))), "hyper::proto");
    }

    #[test]
    fn a_line_for_people_has_no_colour_where_none_is_wanted() {
        let lines = logged(false, || tracing::info!(attempt = 1, "claimed"));
        assert!(lines.contains("INFO") && lines.contains("claimed") && lines.contains("attempt"), "{lines}");
        assert!(!lines.contains('\u{1b}'), "{lines}");
    }
}
