//! Logs: one line an event, as JSON or for people, to stderr.
//!
//! Lines go through a buffer that a thread of its own empties (`telemetry/writer.rs`), so that a request waits for no write; what
//! nobody reads is dropped and counted.

mod json;
mod writer;

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use crate::settings::{LogFormat, LogSettings};

pub use writer::{LogGuard, LogWriter};

/// Starts logging to stderr, panics included. Keep the guard until the end: dropping it writes what is still in the buffer.
///
/// # Errors
/// If logging has been started before in this process, or its thread cannot be started.
pub fn start(settings: &LogSettings) -> Result<LogGuard, TelemetryError> {
    let terminal = std::io::stderr().is_terminal();
    let json = match settings.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    // https://no-color.org: any value but the empty one.
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (writer, guard) = LogWriter::start(std::io::stderr())?;
    tracing::subscriber::set_global_default(subscriber(&quieted(settings), json, colour, writer))
        .map_err(|_| TelemetryError::StartedBefore)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(guard)
}

/// Libraries that write whole requests and events to their log below this level, credentials and tokens included.
const TALKATIVE: [&str; 6] = [
    "aws_runtime",
    "aws_sigv4",
    "aws_smithy_http_client",
    "aws_smithy_runtime",
    "hyper_util",
    "lambda_runtime",
];

fn quieted(settings: &LogSettings) -> LogSettings {
    let quiet = TALKATIVE.map(|library| (library, LevelFilter::INFO));
    LogSettings { level: settings.level.clone().with_targets(quiet), ..settings.clone() }
}

/// Starts logging to stderr as JSON, panics included, each line written before who logs it goes on: for a process that
/// may be frozen at any moment between two requests.
///
/// # Errors
/// If logging has been started before in this process.
pub fn start_unbuffered(settings: &LogSettings) -> Result<(), TelemetryError> {
    tracing::subscriber::set_global_default(subscriber(&quieted(settings), true, false, std::io::stderr))
        .map_err(|_| TelemetryError::StartedBefore)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A panic as a log line like any other, and not as text among JSON.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let location = panic.location().map(tracing::field::display);
    let thread = std::thread::current();
    let message = panic.payload_as_str().unwrap_or("(no message)");
    tracing::error!(
        location,
        thread = thread.name(),
        panic = message,
        "the program has a fault: it panicked"
    );
}

/// What [`start`] sets up, for one thread or one test: the events that `settings` let through, written to `writer`.
pub fn subscriber(
    settings: &LogSettings,
    json: bool,
    colour: bool,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Box<dyn tracing::Subscriber + Send + Sync> {
    let registry = tracing_subscriber::registry().with(settings.level.clone());
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    if json {
        let layer = layer.fmt_fields(json::SpanFields).event_format(json::Lines);
        Box::new(registry.with(layer))
    } else {
        Box::new(registry.with(layer.with_ansi(colour).with_timer(json::Rfc3339)))
    }
}

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// It is running already.
    #[error("logging was started before in this process; start it once")]
    StartedBefore,
    /// The thread that writes could not be started.
    #[error("cannot start the thread that writes logs: {0}; free some threads or memory and start again")]
    Thread(#[from] std::io::Error),
}
