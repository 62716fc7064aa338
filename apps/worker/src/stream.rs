//! Reads what a program writes, until its end, or until it has said all that it will.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The most bytes that a pipe holds (`/proc/sys/fs/pipe-max-size` as it comes): who has read as much after the exit has
/// read all that was written before it.
const PIPE_BYTES: u64 = 1024 * 1024;

/// How long a stream is read after its program has exited, while some other process holds it open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// That long after the last bytes, or the exit.
    pub(crate) quiet: Duration,
    /// That long after the exit, however much still comes: it is not the program's any more.
    pub(crate) most: Duration,
}

impl Default for Patience {
    /// A second of quiet: what a shell has put behind its output (`exec > >(tee log)`) ends only after it. Two at most.
    fn default() -> Self {
        Self { quiet: Duration::from_secs(1), most: Duration::from_secs(2) }
    }
}

/// Reads `stream` to its end, or until `patience` ends after `exited` has become true. All that was written before the exit
/// is read, however late this is run: only a pipe that was found empty counts as quiet.
pub(crate) async fn read(
    mut stream: impl AsyncRead + Unpin,
    mut exited: watch::Receiver<bool>,
    patience: Patience,
    mut hear: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut since_exit = 0;
    // After the exit: when the quiet is over, and when patience is.
    let mut ends: Option<(Instant, Instant)> = None;
    loop {
        if ends.is_none() && *exited.borrow() {
            let now = Instant::now();
            ends = Some((now + patience.quiet, now + patience.most));
        }
        // A stream into which somebody writes without end is never found empty.
        if ends.is_some_and(|(_, last)| since_exit >= PIPE_BYTES && Instant::now() >= last) {
            return Ok(());
        }
        let over = async {
            match ends {
                Some((quiet, last)) => sleep_until(quiet.min(last)).await,
                // It has exited, or nobody is left who would say so.
                None => drop(exited.wait_for(|exited| *exited).await),
            }
        };
        tokio::select! {
            biased;
            read = stream.read(&mut buffer) => match read? {
                0 => return Ok(()),
                count => {
                    hear(&buffer[..count]);
                    if let Some((quiet, _)) = &mut ends {
                        since_exit += count as u64;
                        *quiet = Instant::now() + patience.quiet;
                    }
                }
            },
            () = over => match ends {
                Some(_) => return Ok(()),
                None => {
                    let now = Instant::now();
                    ends = Some((now + patience.quiet, now + patience.most));
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    /// What is heard of a stream; `write` has its other end, and what says that the program has exited.
    async fn heard<W: Future<Output = ()>>(
        patience: Patience,
        write: impl FnOnce(tokio::io::DuplexStream, watch::Sender<bool>) -> W,
    ) -> Vec<u8> {
        let (near, far) = tokio::io::duplex(4096);
        let (exit, exited) = watch::channel(false);
        let mut bytes = Vec::new();
        let reading = read(near, exited, patience, |portion| bytes.extend_from_slice(portion));
        let (read, ()) = timeout(LONG, async { tokio::join!(reading, write(far, exit)) }).await.unwrap();
        read.unwrap();
        bytes
    }

    #[tokio::test]
    async fn a_stream_that_somebody_holds_open_is_read_until_it_is_quiet() {
        let patience = Patience { quiet: SHORT, most: LONG };
        let bytes = heard(patience, async |mut far, exit| {
            far.write_all(b"last ").await.unwrap();
            exit.send_replace(true);
            far.write_all(b"words").await.unwrap();
            std::mem::forget(far);
        });
        assert_eq!(bytes.await, b"last words");
    }

    #[tokio::test]
    async fn a_stream_without_end_is_left_after_a_while() {
        let patience = Patience { quiet: LONG, most: SHORT };
        let (stop, mut stopped) = watch::channel(());
        let bytes = heard(patience, async move |mut far, exit| {
            far.write_all(b"mine").await.unwrap();
            exit.send_replace(true);
            // Ends when the reader has gone.
            tokio::spawn(async move {
                while far.write_all(&[b'y'; 4096]).await.is_ok() {}
                drop(stop);
            });
        })
        .await;
        assert!(bytes.starts_with(b"mine") && bytes.len() as u64 >= PIPE_BYTES, "{}", bytes.len());
        assert!(stopped.changed().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_is_heard_for_a_second_of_quiet_after_its_exit_and_for_two_at_most() {
        let lasted = |begun: Instant| begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let silent = heard(Patience::default(), async |mut far, exit| {
            far.write_all(b"last words").await.unwrap();
            exit.send_replace(true);
            std::mem::forget(far);
        });
        assert_eq!(silent.await, b"last words");
        assert!((1.0..1.1).contains(&lasted(begun)), "{}", lasted(begun));
        let begun = Instant::now();
        let goes_on = heard(Patience::default(), async |mut far, exit| {
            exit.send_replace(true);
            tokio::spawn(async move {
                while far.write_all(b"y").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            });
        });
        assert!(goes_on.await.starts_with(b"yyyy"));
        assert!((2.0..2.1).contains(&lasted(begun)), "{}", lasted(begun));
    }

    #[tokio::test]
    async fn a_stream_that_ends_is_not_waited_for() {
        let patience = Patience { quiet: LONG, most: LONG };
        let bytes = heard(patience, async |mut far, exit| {
            exit.send_replace(true);
            far.write_all(b"all").await.unwrap();
        });
        assert_eq!(bytes.await, b"all");
    }
}
