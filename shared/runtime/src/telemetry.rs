//! Logs: one line an event, as JSON or for people, to stderr and, if so set, to files.
//!
//! Lines go through a buffer that a thread of its own empties (`telemetry/writer.rs`), so that a request waits for no write; what
//! nobody reads is dropped and counted.

mod file;
mod json;
mod request;
mod text;
mod writer;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, reload};

use crate::clock::{Clock as _, SystemClock};
use crate::settings::{LogFiles, LogFormat, LogSettings, Rotation};
use file::RotatedFile;

pub use request::Named;
pub use writer::{LogGuard, LogWriter};

/// Starts logging to stderr and to the files that are set, panics included. Keep the guard until the end: dropping it writes what is still in
/// the buffers.
///
/// # Errors
/// If logging has been started before in this process, a thread of it cannot be started, or a file cannot be written.
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
    let mut files = Vec::new();
    let mut guards = Vec::new();
    for wanted in wanted_files(&settings.files, json)? {
        let wanted_by_file = settings.files.file.as_ref() == Some(&wanted.path);
        let (writer, guard) = open(&wanted.path, settings.files.rotation)?;
        files.push((writer, wanted));
        guards.push((guard, wanted_by_file));
    }
    let files: Vec<_> = files
        .into_iter()
        .map(|(writer, one)| lines(one.json, false, writer).with_filter(one.least).boxed())
        .collect();
    // A list of no layers would switch off everything.
    let files = (!files.is_empty()).then_some(files);
    let (registry, level) = registry(&quieted(settings));
    let subscriber = registry.with(files).with(lines(json, colour, writer));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::StartedBefore)?;
    LEVEL.get_or_init(|| level);
    std::panic::set_hook(Box::new(log_panic));
    Ok(guard.with(guards))
}

/// A file of the log: what goes to it.
struct WantedFile {
    path: PathBuf,
    json: bool,
    least: LevelFilter,
}

fn wanted_files(files: &LogFiles, json: bool) -> Result<Vec<WantedFile>, TelemetryError> {
    let one =
        files.file.iter().map(|path| WantedFile { path: path.clone(), json, least: LevelFilter::TRACE });
    let mut wanted: Vec<WantedFile> = one.collect();
    if let Some(folder) = &files.directory {
        std::fs::create_dir_all(folder)
            .map_err(|cause| TelemetryError::File { path: folder.clone(), cause })?;
        let file = |name: &str, json, least| WantedFile { path: folder.join(name), json, least };
        wanted.push(file("events.jsonl", true, LevelFilter::TRACE));
        wanted.push(file("events.log", false, LevelFilter::TRACE));
        wanted.push(file("errors.log", false, LevelFilter::WARN));
    }
    Ok(wanted)
}

/// Opens a file of the log, and starts the thread that writes to it.
fn open(path: &Path, rotation: Rotation) -> Result<(LogWriter, LogGuard), TelemetryError> {
    let refused = |cause| TelemetryError::File { path: path.to_owned(), cause };
    let file = RotatedFile::open(path, rotation, || SystemClock.now()).map_err(refused)?;
    let name = path.display().to_string();
    let tell = move |lines| {
        tracing::warn!(
            lines,
            file = name,
            "log lines were dropped, as the file could not be written; see its disk"
        );
    };
    Ok(LogWriter::start_telling(file, tell)?)
}

/// The part of the program that lines of claims name, so that `log.level` has a word for them: `info,baton_claims=warn` leaves them
/// out. There is one for each task that is given out, and it says what the task's history and the line of its end say again.
pub const CLAIMS: &str = "baton_claims";

/// Libraries that write whole requests and events to their log below this level, credentials and tokens included.
const TALKATIVE: [&str; 6] = [
    "aws_runtime",
    "aws_sigv4",
    "aws_smithy_http_client",
    "aws_smithy_runtime",
    "hyper_util",
    "lambda_runtime",
];

/// The level of this process's log, which may change while it runs.
static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// From now on logs what `level` lets through, where logging was started by [`start`] or [`start_unbuffered`].
pub fn go_by(level: &Targets) {
    if let Some(handle) = LEVEL.get() {
        let level = level.clone().with_targets(quiet());
        // Each place in the code that logs is asked anew, and knows it from then on: a line that is not wanted still costs one comparison.
        if handle.modify(|now| *now = level).is_err() {
            tracing::warn!("the level of the log cannot be changed any more; start the server anew");
        }
    }
}

fn quiet() -> [(&'static str, LevelFilter); 6] {
    TALKATIVE.map(|library| (library, LevelFilter::INFO))
}

fn quieted(settings: &LogSettings) -> LogSettings {
    LogSettings { level: settings.level.clone().with_targets(quiet()), ..settings.clone() }
}

/// Starts logging to stderr as JSON, panics included, each line written before who logs it goes on: for a process that
/// may be frozen at any moment between two requests.
///
/// # Errors
/// If logging has been started before in this process.
pub fn start_unbuffered(settings: &LogSettings) -> Result<(), TelemetryError> {
    let (registry, level) = registry(&quieted(settings));
    tracing::subscriber::set_global_default(registry.with(lines(true, false, std::io::stderr)))
        .map_err(|_| TelemetryError::StartedBefore)?;
    LEVEL.get_or_init(|| level);
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
    Box::new(registry(settings).0.with(lines(json, colour, writer)))
}

type Levelled = Layered<reload::Layer<Targets, Registry>, Registry>;

fn registry(settings: &LogSettings) -> (Levelled, reload::Handle<Targets, Registry>) {
    let (level, handle) = reload::Layer::new(settings.level.clone());
    (tracing_subscriber::registry().with(level), handle)
}

/// Lines of one form, to one place.
fn lines<S>(
    json: bool,
    colour: bool,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    if json {
        layer.fmt_fields(json::SpanFields).event_format(json::Lines).boxed()
    } else {
        layer.with_ansi(colour).event_format(text::Lines::new(colour)).boxed()
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
    /// A file of the log cannot be written.
    #[error("cannot write the log to {path}: {cause}; see log.file and log.directory")]
    File {
        /// The file, or its folder.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}
