//! A worker's process, attended from its start to its end.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use baton_processes::Tail;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::timeout;

use crate::decide::{Run, Told};
use crate::words::{Beat, Word};

/// How much is kept of what a worker said last.
const OUTPUT_BYTES: usize = 8 * 1_024;
/// The longest line that is passed on whole.
const LINE_BYTES: usize = 64 * 1_024;
/// How long the end of what a process has said is waited for once it has ended: its guard may live a moment longer.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Takes lines of workers' logs, each with its newline, without waiting.
pub type Lines = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// What is heard of a worker's process.
#[derive(Debug)]
pub(crate) enum Heard {
    Beat(Run, Beat),
    Ended { run: Run, clean: bool, how: String, output: String },
}

/// Attends a process that has just been started.
pub(crate) async fn attend(
    run: Run,
    mut child: Child,
    mut orders: UnboundedReceiver<Told>,
    heard: UnboundedSender<Heard>,
    lines: Lines,
) {
    let mut input = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut beats, mut log) = (Pieces::default(), Pieces::default());
    let mut tail = Tail::new(OUTPUT_BYTES);
    let (mut from_stdout, mut from_stderr) = ([0; 512], [0; 4_096]);
    say(&mut input, Word::Go).await;
    let mut supervised = true;
    let status = loop {
        tokio::select! {
            told = orders.recv(), if supervised => match told {
                Some(Told::Drain) => say(&mut input, Word::Drain).await,
                Some(Told::Stop) => say(&mut input, Word::Stop).await,
                // It has not been waited for, so that its number is still its own.
                Some(Told::Kill) => drop(child.start_kill()),
                // By that it notices.
                None => {
                    supervised = false;
                    input = None;
                }
            },
            bytes = next(&mut stdout, &mut from_stdout) => beats.push(bytes, |line| {
                if let Some(beat) = std::str::from_utf8(line).ok().and_then(Beat::read) {
                    let _ = heard.send(Heard::Beat(run, beat));
                }
            }),
            bytes = next(&mut stderr, &mut from_stderr) => {
                tail.push(bytes);
                log.push(bytes, |line| lines(line));
            }
            status = child.wait() => break status,
        }
    };
    while let Ok(bytes) = timeout(LAST_WORDS, next(&mut stderr, &mut from_stderr)).await {
        tail.push(bytes);
        log.push(bytes, |line| lines(line));
    }
    log.finish(|line| lines(line));
    let clean = status.as_ref().is_ok_and(ExitStatus::success);
    let how = status.map_or_else(|error| format!("it cannot be told how: {error}"), how);
    let (output, _) = tail.text(OUTPUT_BYTES);
    // Nobody is left to hear it when the supervisor has been dropped.
    let _ = heard.send(Heard::Ended { run, clean, how, output });
}

async fn say(input: &mut Option<ChildStdin>, word: Word) {
    let Some(pipe) = input else { return };
    if pipe.write_all(format!("{}\n", word.as_str()).as_bytes()).await.is_err() {
        // It listens no more, as it has ended or is about to.
        *input = None;
    }
}

/// What comes next of a stream; never, once it has ended.
async fn next<'a>(stream: &mut Option<impl AsyncRead + Unpin>, into: &'a mut [u8]) -> &'a [u8] {
    if let Some(open) = stream {
        match open.read(into).await {
            Ok(0) | Err(_) => *stream = None,
            Ok(read) => return &into[..read],
        }
    }
    std::future::pending().await
}

/// How a process has ended, in words.
fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => {
            let name = nix::sys::signal::Signal::try_from(signal)
                .map_or_else(|_| String::new(), |name| format!(" ({name})"));
            format!("signal {signal}{name}")
        }
        (None, None) => status.to_string(),
    }
}

/// Makes lines of bytes as they come.
#[derive(Debug, Default)]
struct Pieces(Vec<u8>);

impl Pieces {
    /// Passes on each line that is whole, with its newline, and what is longer than a line may be as it comes.
    fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        self.0.extend_from_slice(bytes);
        let whole = match self.0.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if self.0.len() > LINE_BYTES => self.0.len(),
            None => 0,
        };
        for one in self.0[..whole].split_inclusive(|byte| *byte == b'\n') {
            line(one);
        }
        self.0.drain(..whole);
    }

    fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.0.is_empty() {
            self.0.push(b'\n');
            line(&self.0);
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_whatever_pieces_they_come_in() {
        let text = b"one\n\ntwo and more\nthree";
        for size in 1..text.len() {
            let (mut pieces, mut lines) = (Pieces::default(), Vec::new());
            for piece in text.chunks(size) {
                pieces.push(piece, |line| lines.push(line.to_vec()));
            }
            pieces.finish(|line| lines.push(line.to_vec()));
            assert_eq!(lines, [&b"one\n"[..], b"\n", b"two and more\n", b"three\n"], "{size}");
        }
        let mut pieces = Pieces::default();
        let mut passed = 0;
        for _ in 0..100 {
            pieces.push(&[b'x'; 1_024], |line| passed += line.len());
        }
        assert!(passed > 0 && pieces.0.len() <= LINE_BYTES);
    }

    #[test]
    fn how_a_process_ended_is_told_in_words() {
        assert_eq!(how(ExitStatus::from_raw(3 << 8)), "exit code 3");
        assert_eq!(how(ExitStatus::from_raw(9)), "signal 9 (SIGKILL)");
    }
}
