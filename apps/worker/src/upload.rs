//! Sends what a program has left in its folder to the server, before the task is completed with it.

use std::fs::File;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use baton_api::task::TaskView;
use baton_client::ClientError;
use baton_model::Level;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::outcome::Outcome;
use crate::outputs::{Folder, Left};
use crate::retry::{jittered, worth_another_try};
use crate::shared::Shared;

/// The code of an attempt whose files could not be handed in.
const OUTPUTS_REFUSED: &str = "outputs_refused";
/// How much of a file is read at once, and how many such pieces are ahead of what is sent.
const PIECE: usize = 256 << 10;
const AHEAD: usize = 2;
/// How long a server may take nothing of a file before the file is sent anew.
const STALLED: Duration = Duration::from_secs(300);
/// The same once it has all of it: where the file was put elsewhere, it is asked for some minutes whether it has read it.
const UNANSWERED: Duration = Duration::from_secs(7_200);
/// The pauses between tries.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Sends all files of an attempt's folder; the answer is their names, or how the attempt fails.
///
/// They go below `tasks/{id}/{attempt}/`, so that an earlier attempt which does not know yet that it is over changes nothing of a later one's.
/// What may pass is tried again without end: whoever waits for this ends it when the attempt is over.
pub(crate) async fn upload(
    shared: &Shared,
    task: &TaskView,
    folder: &Folder,
) -> Result<Vec<String>, Outcome> {
    let (files, others) = folder.files().map_err(|why| Outcome::failed(OUTPUTS_REFUSED, why, false))?;
    if !others.is_empty() {
        let remark = format!("left out of the outputs, as neither files nor folders: {}", others.join(", "));
        tracing::warn!("{remark}");
        shared.log(Level::Warn, "worker", Some(task.id), &remark, None);
    }
    let mut names = Vec::with_capacity(files.len());
    for file in &files {
        let path = format!("tasks/{}/{}/{}", task.id, task.attempt, file.name);
        send(shared, &format!("{}/{path}", task.project), file).await?;
        names.push(path);
    }
    Ok(names)
}

async fn send(shared: &Shared, name: &str, file: &Left) -> Result<(), Outcome> {
    let unread = |error: io::Error| {
        Outcome::failed(OUTPUTS_REFUSED, format!("cannot read the output {}: {error}", file.name), true)
    };
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut tries: u32 = 0;
    loop {
        let (body, reader, sent) = read(file).map_err(unread)?;
        let size = body.size;
        let answer = tokio::select! {
            answer = shared.client.put_file(name, None, size, body) => Some(answer),
            () = stalled(&sent, size) => None,
        };
        let error = match answer {
            Some(Ok(stored)) => {
                tracing::info!(file = %name, bytes = stored.size, "output handed in");
                return Ok(());
            }
            Some(Err(error)) => {
                // What could not be read is no fault of the way.
                if let Ok(Err(unreadable)) = reader.await {
                    return Err(unread(unreadable));
                }
                if !passes(&error, began.elapsed(), shared.options.denied_patience) {
                    return Err(refused(&file.name, &error));
                }
                error.to_string()
            }
            None if sent.load(Ordering::Relaxed) < size => {
                format!("it took nothing for {} s", STALLED.as_secs())
            }
            None => format!("it had all of it and gave no answer for {} s", UNANSWERED.as_secs()),
        };
        tries += 1;
        if tries.is_power_of_two() {
            tracing::warn!(file = %name, error, tries, "the server does not take an output; it is sent again");
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether the server may yet take a file that it has not taken.
fn passes(error: &ClientError, tried: Duration, denied_patience: Duration) -> bool {
    match error.problem() {
        // The token is good, but not for these files.
        Some(problem) if problem.status == 403 => false,
        _ if error.is_denied() => tried < denied_patience,
        _ => worth_another_try(error),
    }
}

/// What a file's refusal makes of its attempt. The same program leaves the same files: what they are is not mended by another attempt,
/// what the server is may be.
fn refused(file: &str, error: &ClientError) -> Outcome {
    let status = error.problem().map_or(0, |problem| problem.status);
    let details: String = error
        .problem()
        .map(|problem| problem.errors.iter().map(|field| format!("; {field}")).collect())
        .unwrap_or_default();
    let message = format!("the server does not take the output {file}: {error}{details}");
    Outcome::failed(OUTPUTS_REFUSED, message, !matches!(status, 413 | 422))
}

/// Returns once nothing more has been taken for too long, or all has and no answer has come for much longer.
async fn stalled(sent: &AtomicU64, size: u64) {
    let mut before = sent.load(Ordering::Relaxed);
    loop {
        sleep(STALLED).await;
        let now = sent.load(Ordering::Relaxed);
        if now >= size {
            return sleep(UNANSWERED).await;
        }
        if now == before {
            return;
        }
        before = now;
    }
}

/// A file's bytes as they are read, on a thread of their own: a slow disk holds no heartbeat up.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    size: u64,
    sent: Arc<AtomicU64>,
}

type Reading = (Pieces, JoinHandle<io::Result<()>>, Arc<AtomicU64>);

/// Begins to read a file. What goes wrong later is told by the reader's end, too.
fn read(file: &Left) -> io::Result<Reading> {
    let mut opened = File::open(&file.path)?;
    let size = opened.metadata()?.len();
    let (to, pieces) = mpsc::channel(AHEAD);
    let sent = Arc::new(AtomicU64::new(0));
    let reader = tokio::task::spawn_blocking(move || {
        let mut left = size;
        while left > 0 {
            let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
            let read = opened.read(&mut piece).and_then(|read| match read {
                0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has become shorter")),
                read => Ok(read),
            });
            match read {
                Ok(read) => {
                    piece.truncate(read);
                    left -= read as u64;
                    if to.blocking_send(Ok(Bytes::from(piece))).is_err() {
                        // Nobody sends it any more.
                        return Ok(());
                    }
                }
                Err(error) => {
                    let told = io::Error::new(error.kind(), error.to_string());
                    let _ = to.blocking_send(Err(told));
                    return Err(error);
                }
            }
        }
        Ok(())
    });
    Ok((Pieces { pieces, size, sent: Arc::clone(&sent) }, reader, sent))
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = self.pieces.poll_recv(context);
        next.map(|piece| {
            piece.map(|piece| {
                let piece = piece?;
                self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Ok(Frame::data(piece))
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.sent.load(Ordering::Relaxed) == self.size
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size - self.sent.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_sent_anew_once_nothing_more_of_it_is_taken_but_not_while_all_of_it_is_read() {
        let waited = async |taken: u64| {
            let begun = Instant::now();
            stalled(&AtomicU64::new(taken), 10).await;
            begun.elapsed().as_secs()
        };
        assert_eq!(waited(9).await, STALLED.as_secs());
        assert_eq!(waited(10).await, (STALLED + UNANSWERED).as_secs());
        assert_eq!(waited(0).await, STALLED.as_secs());
    }
}
