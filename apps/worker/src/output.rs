//! What a command says while it runs: its lines on standard output and standard error, as they come.

use std::sync::{Arc, Mutex, PoisonError};

use baton_model::{Level, Payload};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

use crate::logs::printable;
use crate::protocol::{self, Fail};
use crate::shared::{Listed, Shared};
use crate::tail::Tail;

/// The most bytes of plain output that are looked at as one JSON result.
pub(crate) const RESULT_BYTES: usize = 1024 * 1024;
/// The most bytes of standard error that become an error's message.
pub(crate) const ERROR_BYTES: usize = 8 * 1024;
/// The most bytes of one protocol line: a result of 1 MiB, and something around it.
const LINE_BYTES: u64 = 1024 * 1024 + 64 * 1024;
/// How many bytes of a line that was not understood are shown.
const SHOWN_BYTES: usize = 100;
/// The most bytes of one line on standard error.
const STDERR_LINE_BYTES: u64 = 8 * 1024;

/// What a command has said so far.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) plain: Tail,
    pub(crate) stderr: Tail,
    pub(crate) result: Option<Payload>,
    pub(crate) location: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) metadata: Option<Payload>,
    pub(crate) fail: Option<Fail>,
    /// Why a result that was told is not there; a later one that can be read takes its place.
    pub(crate) refused: Option<String>,
    /// The first line of the protocol that could not be read.
    pub(crate) misread: Option<Misread>,
}

/// A line of the protocol that could not be read.
#[derive(Clone, Debug)]
pub(crate) struct Misread {
    /// What is wrong with it, and how it begins.
    pub(crate) fault: String,
    /// Whether any such line may have told an outcome, and not only progress or the log.
    pub(crate) outcome: bool,
}

impl Said {
    pub(crate) fn nothing() -> Self {
        Self {
            plain: Tail::new(RESULT_BYTES),
            stderr: Tail::new(ERROR_BYTES),
            result: None,
            location: None,
            kind: None,
            metadata: None,
            fail: None,
            refused: None,
            misread: None,
        }
    }
}

/// Who listens to one command.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) shared: Arc<Shared>,
    pub(crate) listed: Arc<Listed>,
    pub(crate) said: Arc<Mutex<Said>>,
}

impl Listener {
    /// Reads standard output to its end.
    pub(crate) async fn stdout(self, stream: impl AsyncRead + Unpin) {
        let mut reader = BufReader::with_capacity(64 * 1024, stream);
        let mut line = Vec::new();
        let mut at_start = true;
        let mut skipping = false;
        loop {
            line.clear();
            match (&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the command's output cannot be read any further");
                    return;
                }
            }
            let whole = line.ends_with(b"\n");
            if skipping {
                skipping = !whole;
            } else if at_start && let Some(json) = protocol::after_prefix(&line) {
                // A line without its end is either cut off by the end of the output, or longer than any may be.
                if !whole && line.len() as u64 >= LINE_BYTES {
                    self.too_long(json);
                    skipping = true;
                } else {
                    self.protocol(json);
                }
            } else {
                self.said().plain.push(&line);
            }
            at_start = whole;
        }
    }

    /// Reads standard error to its end.
    pub(crate) async fn stderr(self, stream: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut reader).take(STDERR_LINE_BYTES).read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            self.said().stderr.push(&line);
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if !text.is_empty() {
                tracing::debug!(line = text, "stderr");
                self.log(Level::Info, "stderr", text, None);
            }
        }
    }

    fn protocol(&self, json: &[u8]) {
        let line = match protocol::read(json) {
            Ok(line) => line,
            Err(reason) => return self.misread(&reason, json),
        };
        if line.progress.is_some() || line.message.is_some() {
            self.shared.progress(&self.listed, line.progress, line.message);
        }
        if let Some(log) = line.log {
            self.log(log.level.unwrap_or(Level::Info), "command", &log.message, log.metadata);
        }
        let mut said = self.said();
        let said = &mut *said;
        if line.result.is_some() {
            said.refused = None;
        }
        keep(&mut said.result, line.result);
        keep(&mut said.location, line.location);
        keep(&mut said.kind, line.kind);
        keep(&mut said.metadata, line.metadata);
        keep(&mut said.fail, line.fail);
    }

    fn too_long(&self, json: &[u8]) {
        let reason = format!("the line is longer than {LINE_BYTES} bytes");
        self.misread(&reason, json);
        // Progress and log lines are short: what is this long was to be kept.
        if !protocol::is_side_remark(json) {
            self.said().refused = Some(format!(
                "the command's result was refused: expected a ::baton line of at most {LINE_BYTES} bytes, with a \
                 result of at most {RESULT_BYTES} bytes, got a longer one; write large output to a file and tell its \
                 location"
            ));
        }
    }

    fn misread(&self, reason: &str, json: &[u8]) {
        tracing::warn!(reason, "a ::baton line of the command was not understood");
        let message = format!("a line that begins with ::baton was not understood: {reason}");
        self.log(Level::Warn, "worker", &message, None);
        let start = &json[..json.len().min(SHOWN_BYTES)];
        let more = if start.len() < json.len() { "…" } else { "" };
        let start = printable(String::from_utf8_lossy(start).trim());
        let mut said = self.said();
        let misread = said.misread.get_or_insert_with(|| Misread {
            fault: format!("{reason}: ::baton {start}{more}"),
            outcome: false,
        });
        misread.outcome |= !protocol::is_side_remark(json);
    }

    fn log(&self, level: Level, source: &str, message: &str, metadata: Option<Payload>) {
        self.shared.log(level, source, Some(self.listed.task), message, metadata);
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes later replaces what came before.
fn keep<T>(slot: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *slot = new;
    }
}
