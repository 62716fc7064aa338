//! Log lines on their way to the server: kept within bounds, the oldest dropped first and counted.

use std::collections::VecDeque;

use baton_api::heartbeat::LogFields;
use baton_api::text::keep_start;
use baton_model::{Level, TaskId, Timestamp, limits};

/// The most lines that wait for the next heartbeat.
const CAPACITY: usize = 5_000;
/// The most bytes of lines in one heartbeat, whose body the server takes up to its limit for params (256 KiB).
const BEAT_BYTES: usize = 192 * 1024;

#[derive(Debug, Default)]
pub(crate) struct LogBuffer {
    lines: VecDeque<LogFields>,
    dropped: u64,
}

impl LogBuffer {
    pub(crate) fn push(&mut self, line: LogFields) {
        self.lines.push_back(line);
        if self.lines.len() > CAPACITY {
            self.lines.pop_front();
            self.dropped += 1;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The lines for one heartbeat. If some were dropped, the first says how many.
    pub(crate) fn take(&mut self, now: Timestamp) -> Vec<LogFields> {
        let mut taken = Vec::new();
        if self.dropped > 0 {
            let message = format!(
                "{} older log lines were dropped: they came faster than they could be sent",
                self.dropped
            );
            taken.push(line(now, Level::Warn, "worker", None, &message));
            self.dropped = 0;
        }
        let room = limits::LOG_LINES - taken.len();
        let mut bytes = 0;
        let fitting = self.lines.iter().take(room).take_while(|line| {
            bytes += line.message.len() + line.metadata.as_ref().map_or(0, |metadata| metadata.size());
            bytes <= BEAT_BYTES
        });
        let count = fitting.count();
        taken.extend(self.lines.drain(..count));
        taken
    }

    /// Takes lines back whose heartbeat did not come through.
    pub(crate) fn put_back(&mut self, lines: Vec<LogFields>) {
        for line in lines.into_iter().rev() {
            if self.lines.len() < CAPACITY {
                self.lines.push_front(line);
            } else {
                self.dropped += 1;
            }
        }
    }
}

/// One line, made to fit what the server takes.
pub(crate) fn line(
    at: Timestamp,
    level: Level,
    source: &str,
    task: Option<TaskId>,
    message: &str,
) -> LogFields {
    LogFields {
        at: Some(at),
        level: Some(level),
        source: Some(source.to_owned()),
        task_id: task,
        message: keep_start(printable(message), limits::LOG_BYTES),
        metadata: None,
    }
}

/// The text without NUL, which the server does not take in texts.
pub(crate) fn printable(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: usize) -> LogFields {
        line(Timestamp::default(), Level::Info, "stderr", None, &n.to_string())
    }

    #[test]
    fn the_oldest_lines_are_dropped_and_their_number_told() {
        let mut buffer = LogBuffer::default();
        (0..CAPACITY + 7).for_each(|n| buffer.push(numbered(n)));
        let taken = buffer.take(Timestamp::default());
        assert_eq!(taken.len(), limits::LOG_LINES);
        assert!(taken[0].message.starts_with("7 older log lines were dropped"), "{}", taken[0].message);
        assert_eq!(taken[1].message, "7");
        assert_eq!(buffer.len(), CAPACITY - limits::LOG_LINES + 1);
    }

    #[test]
    fn lines_that_were_put_back_come_first_again() {
        let mut buffer = LogBuffer::default();
        (0..3).for_each(|n| buffer.push(numbered(n)));
        let taken = buffer.take(Timestamp::default());
        buffer.push(numbered(3));
        buffer.put_back(taken);
        let messages: Vec<_> =
            buffer.take(Timestamp::default()).into_iter().map(|line| line.message).collect();
        assert_eq!(messages, ["0", "1", "2", "3"]);
    }

    #[test]
    fn a_line_is_made_to_fit() {
        let long =
            line(Timestamp::default(), Level::Info, "stderr", None, &format!("a\0{}", "x".repeat(10_000)));
        assert!(long.message.starts_with("a\u{2400}x") && long.message.len() <= limits::LOG_BYTES + 3);
    }
}
