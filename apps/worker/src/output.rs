//! What a command says while it runs: its lines on standard output and standard error, as they come.

use std::sync::{Arc, Mutex, MutexGuard};

use baton_model::{Level, Payload, limits};
use baton_processes::Tail;
use tokio::io::AsyncRead;
use tokio::sync::watch;

use crate::lines::{End, Lines, Piece};
use crate::logs::{printable, within};
use crate::plain::Plain;
use crate::protocol::{self, Fail};
use crate::shared::{Listed, Shared, lock};
use crate::stream::{self, Patience};

/// The most bytes of standard error that become an error's message.
pub(crate) const ERROR_BYTES: usize = 8 * 1024;
/// What a line of the protocol may have besides the largest result.
const AROUND_BYTES: usize = 64 * 1024;
/// How many bytes of a line that was not understood are shown.
const SHOWN_BYTES: usize = 100;

/// What a command has said so far.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) plain: Plain,
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
    /// Nothing yet, by a command whose result may have that many bytes.
    pub(crate) fn nothing(result_bytes: usize) -> Self {
        Self {
            plain: Plain::of_at_most(result_bytes),
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
    /// The most bytes of JSON that the server takes as a result.
    pub(crate) result_bytes: usize,
    /// Whether the command has exited.
    pub(crate) exited: watch::Receiver<bool>,
}

/// A line of the protocol that is longer than any may be, and is passed over.
struct Overlong {
    /// How it begins.
    start: Vec<u8>,
    /// Whether it tells of nothing but progress or the log.
    aside: bool,
    bytes: usize,
}

impl Listener {
    /// Reads standard output to its end, or as long as it may still be the command's.
    pub(crate) async fn stdout(self, stream: impl AsyncRead + Unpin) {
        let mut lines = Lines::of_at_most(self.line_bytes());
        let mut overlong = None;
        let hear = |bytes: &[u8]| lines.push(bytes, |piece| self.heard(piece, &mut overlong));
        if let Err(error) = stream::read(stream, self.exited.clone(), Patience::default(), hear).await {
            tracing::warn!(%error, "the command's output cannot be read any further");
        }
        lines.finish(|piece| self.heard(piece, &mut overlong));
    }

    /// Reads standard error in the same way.
    pub(crate) async fn stderr(self, stream: impl AsyncRead + Unpin) {
        let mut lines = Lines::of_at_most(limits::LOG_BYTES);
        let hear = |bytes: &[u8]| {
            self.said().stderr.push(bytes);
            lines.push(bytes, |piece| self.log_piece(piece));
        };
        if let Err(error) = stream::read(stream, self.exited.clone(), Patience::default(), hear).await {
            tracing::warn!(%error, "the command's standard error cannot be read any further");
        }
        lines.finish(|piece| self.log_piece(piece));
    }

    fn log_piece(&self, piece: Piece<'_>) {
        let text = String::from_utf8_lossy(piece.bytes);
        let text = if piece.end == End::Bound { &*text } else { text.trim_end() };
        if text.is_empty() {
            return;
        }
        tracing::debug!(line = text, "stderr");
        // What stands for bytes that are no letters is longer than they.
        for part in within(&printable(text), limits::LOG_BYTES) {
            self.log(Level::Info, "stderr", part, None);
        }
    }

    fn heard(&self, piece: Piece<'_>, overlong: &mut Option<Overlong>) {
        if let Some(line) = overlong {
            line.bytes += piece.bytes.len();
        } else if piece.begins
            && let Some(json) = protocol::after_prefix(piece.bytes)
        {
            if piece.end != End::Bound {
                return self.protocol(json);
            }
            let start = json[..json.len().min(2 * SHOWN_BYTES)].to_vec();
            *overlong =
                Some(Overlong { start, aside: protocol::is_side_remark(json), bytes: piece.bytes.len() });
        } else {
            let mut said = self.said();
            said.plain.push(piece.bytes);
            if piece.end == End::Newline {
                said.plain.push(b"\n");
            }
        }
        if piece.end != End::Bound
            && let Some(line) = overlong.take()
        {
            self.too_long(&line);
        }
    }

    fn protocol(&self, json: &[u8]) {
        let line = match protocol::read(json) {
            Ok(line) => line,
            Err(reason) => return self.misread(&reason, json, protocol::is_side_remark(json)),
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

    fn too_long(&self, line: &Overlong) {
        let Overlong { start, aside, bytes } = line;
        let most = self.line_bytes();
        self.misread(&format!("expected a line of at most {most} bytes, got {bytes}"), start, *aside);
        // Progress and log lines are short: what is this long was to be kept.
        if !aside {
            self.said().refused = Some(format!(
                "the command's result was refused: expected a ::baton line of at most {most} bytes, with a result of at \
                 most {} bytes, got {bytes} bytes; write large output to a file and tell its location",
                self.result_bytes
            ));
        }
    }

    fn misread(&self, reason: &str, json: &[u8], aside: bool) {
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
        misread.outcome |= !aside;
    }

    /// The most bytes of a line of the protocol.
    fn line_bytes(&self) -> usize {
        self.result_bytes.saturating_add(AROUND_BYTES)
    }

    fn log(&self, level: Level, source: &str, message: &str, metadata: Option<Payload>) {
        self.shared.log(level, source, Some(self.listed.task), message, metadata);
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        lock(&self.said)
    }
}

/// What comes later replaces what came before.
fn keep<T>(slot: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *slot = new;
    }
}
