//! A worker's side of its supervision: its name, what it is told, and its word that it lives.

use std::io::{self, BufRead as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::write;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::names::Name;
use crate::words::{Beat, Word};

/// What a supervised worker hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is to take no more tasks, finish what runs, and end.
    Drain,
    /// It is to end what runs, give it back, and end.
    Stop,
    /// Its supervisor is gone, and tells it nothing more.
    Gone,
}

/// This process as a supervised worker.
#[derive(Debug)]
pub struct Supervised {
    words: UnboundedReceiver<Word>,
    gone: bool,
    /// Held until the worker has ended.
    _name: Name,
}

/// Tells the supervisor that this process lives.
pub type Voice = Arc<dyn Fn(Beat) + Send + Sync>;

impl Supervised {
    /// Takes the worker's name, whose lock is this file, and begins to listen on standard input.
    ///
    /// # Errors
    /// If another process has the name, or the system refuses something.
    pub fn begin(lock: &Path) -> io::Result<Self> {
        let name = Name::take(lock)?;
        let (sender, words) = unbounded_channel();
        // A thread of its own, which ends with the process: a read that is under way cannot be called off.
        std::thread::Builder::new().name("orders".to_owned()).spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                let Some(word) = Word::read(&line) else { continue };
                if sender.send(word).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { words, gone: false, _name: name })
    }

    /// Waits until all is prepared for the worker. The answer is whether it is to begin: not if its supervisor is gone, or has
    /// thought better of it.
    pub async fn begins(&mut self) -> bool {
        self.words.recv().await == Some(Word::Go)
    }

    /// Waits for what it is told next. After [`Heard::Gone`], nothing comes.
    pub async fn hear(&mut self) -> Heard {
        if self.gone {
            return std::future::pending().await;
        }
        loop {
            match self.words.recv().await {
                Some(Word::Drain) => return Heard::Drain,
                Some(Word::Stop) => return Heard::Stop,
                Some(Word::Go) => {}
                None => {
                    self.gone = true;
                    return Heard::Gone;
                }
            }
        }
    }

    /// What tells the supervisor that this process lives, on standard output. It waits for nobody: what a supervisor that has
    /// stopped does not read is dropped.
    ///
    /// # Errors
    /// If the system refuses it.
    pub fn voice() -> io::Result<Voice> {
        let stdout = io::stdout();
        let flags = OFlag::from_bits_truncate(fcntl(stdout.as_fd(), FcntlArg::F_GETFL)?);
        fcntl(stdout.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Arc::new(move |mut beat| {
            beat.bytes = resident_bytes().unwrap_or_default();
            // A line is shorter than what a pipe takes whole (PIPE_BUF). That nobody hears it is heard on standard input.
            let _ = write(&stdout, beat.line().as_bytes());
        }))
    }
}

/// How much memory this process holds; Linux tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_how_much_memory_it_holds() {
        let bytes = resident_bytes().unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}
