//! The three log files that the old server's viewers read: every event as JSON, every event for people, and errors.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError};

use baton_model::Timestamp;
use baton_runtime::settings::AssistantSettings;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::files::Rotated;
use crate::python;

/// What happened, as the files name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    IncomingGet,
    IncomingPost,
    OutgoingResponse,
    ProcessingStart,
    ProcessingEnd,
    Error,
    ModuleCall,
    ModuleResponse,
    TaskRequested,
    TaskCreated,
    TaskUpdated,
    TaskCompleted,
    TaskError,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::IncomingGet => "incoming_get",
            Self::IncomingPost => "incoming_post",
            Self::OutgoingResponse => "outgoing_response",
            Self::ProcessingStart => "processing_start",
            Self::ProcessingEnd => "processing_end",
            Self::Error => "error",
            Self::ModuleCall => "module_call",
            Self::ModuleResponse => "module_response",
            Self::TaskRequested => "task_requested",
            Self::TaskCreated => "task_created",
            Self::TaskUpdated => "task_updated",
            Self::TaskCompleted => "task_completed",
            Self::TaskError => "task_error",
        }
    }
}

/// A line of the detailed log. Viewers take the first eight characters of `request_id`, so that it is never null.
#[derive(Serialize)]
struct Line<'a, D: Serialize> {
    timestamp: &'a str,
    event_type: &'static str,
    request_id: &'a str,
    action: &'a str,
    data: &'a D,
    metadata: Map<String, Value>,
}

/// What the log for people tells of an event besides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Suffix<'a> {
    pub(crate) question: Option<&'a str>,
    pub(crate) status: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
}

/// The files.
#[derive(Debug)]
pub(crate) struct Log(Mutex<Files>);

#[derive(Debug)]
struct Files {
    detailed: Rotated,
    events: Rotated,
    errors: Rotated,
}

impl Log {
    /// Opens the files of a folder, which is made if it is not there.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub(crate) fn open(settings: &AssistantSettings) -> io::Result<Self> {
        fs::create_dir_all(&settings.logs)?;
        let file =
            |name: &str| Rotated::open(settings.logs.join(name), settings.log_bytes, settings.log_files);
        Ok(Self(Mutex::new(Files {
            detailed: file("heartbeat_detailed.jsonl")?,
            events: file("heartbeat_events.log")?,
            errors: file("heartbeat_errors.log")?,
        })))
    }

    /// Writes an event, before its request is answered: a server that is killed has told what it did. The lines of one event stand
    /// together in each file.
    pub(crate) fn event(
        &self,
        (now, kind): (Timestamp, Kind),
        request_id: &str,
        action: &str,
        data: &impl Serialize,
        suffix: Suffix<'_>,
    ) {
        let timestamp = now.isoformat();
        let name = kind.as_str();
        let line =
            Line { timestamp: &timestamp, event_type: name, request_id, action, data, metadata: Map::new() };
        let detailed = python::dumps(&line) + "\n";
        let mut people =
            format!("[{timestamp}] {} | ID: {request_id} | Action: {action}", name.to_uppercase());
        for (word, text) in
            [("Question", suffix.question), ("Status", suffix.status), ("Error", suffix.error)]
        {
            if let Some(text) = text {
                // One event is one line, whatever its words are.
                let _ = write!(people, " | {word}: {}", text.replace(['\n', '\r'], " "));
            }
        }
        people.push('\n');
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut written = files.detailed.add(&detailed).and(files.events.add(&people));
        if kind == Kind::Error {
            let text = suffix.error.unwrap_or_default();
            let error = format!("[{timestamp}] ERROR: {text}\n{}\n", "=".repeat(80));
            written = written.and(files.errors.add(&error));
        }
        drop(files);
        if let Err(error) = written {
            // The request is answered all the same: nobody waits for its log.
            tracing::error!(%error, "a log file of the dialect assistant cannot be written; look at its folder");
        }
    }

    /// An error that its request was answered with.
    pub(crate) fn error(&self, now: Timestamp, request_id: &str, action: &str, error: &str) {
        let data = json!({ "error": error });
        let suffix = Suffix { error: Some(error), ..Suffix::default() };
        self.event((now, Kind::Error), request_id, action, &data, suffix);
    }
}
