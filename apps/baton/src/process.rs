//! Programs that the bench and the example start, which are this very program: a server, workers.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

pub(crate) use baton_verdict::words::quoted;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::exit::Failure;

/// How long a server may take until it is ready, and to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// A program that ends with this value.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
}

impl Process {
    /// Starts this program with other arguments. What it says goes to the file `log`.
    pub(crate) fn start(
        arguments: &[OsString],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Result<Self, Failure> {
        let failed =
            |error| Failure::failed(format!("could not start `baton {}`: {error}", arguments[0].display()));
        let program = std::env::current_exe().map_err(failed)?;
        let log = File::options().create(true).append(true).open(log).map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            // The user's own token is for another server.
            .env_remove("BATON_TOKEN")
            .env_remove("BATON_TOKEN_FILE")
            // So is a file of settings, which may lie where this program was started.
            .env("BATON_CONFIG", "")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let child = command.spawn().map_err(failed)?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or_default();
        Ok(Self { child, pid: Pid::from_raw(id) })
    }

    pub(crate) fn id(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(&mut self) -> Result<ExitStatus, Failure> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().await.map_err(|error| Failure::failed(error.to_string()))
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(&mut self) -> Result<ExitStatus, Failure> {
        self.signal(Signal::SIGTERM)?;
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.map_err(|error| Failure::failed(error.to_string())),
            Err(_) => Err(Failure::failed(format!("process {} did not end when it was asked to", self.pid))),
        }
    }

    /// Stops the process in its tracks until [`Self::let_go`].
    pub(crate) fn hold(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a held process go on.
    pub(crate) fn let_go(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        // 0 would mean the own process group.
        if self.pid.as_raw() <= 0 || self.child.id().is_none() {
            return Err(Failure::failed("the process has ended by itself"));
        }
        kill(self.pid, signal)
            .map_err(|error| Failure::failed(format!("could not signal {}: {error}", self.pid)))
    }
}

/// A server that is ready.
pub(crate) struct ServerProcess {
    pub(crate) process: Process,
    pub(crate) url: String,
}

#[derive(Deserialize)]
struct Ready {
    url: String,
}

impl ServerProcess {
    /// Starts a server on any free port of this machine.
    pub(crate) async fn start(
        store: &Path,
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Result<Self, Failure> {
        let mut url = OsString::from("sqlite:");
        url.push(store);
        let mut arguments: Vec<OsString> =
            ["serve", "-o", "json", "--listen", "127.0.0.1:0", "--store"].map(Into::into).into();
        arguments.push(url);
        let mut process = Process::start(&arguments, environment, log)?;
        let not_ready = |why: &str| {
            Failure::failed(format!("the server did not become ready ({why}); see {}", log.display()))
        };
        let stdout = process.child.stdout.take().ok_or_else(|| not_ready("no output"))?;
        let mut line = String::new();
        match timeout(PATIENCE, BufReader::new(stdout).read_line(&mut line)).await {
            Err(_) => return Err(not_ready("it took too long")),
            Ok(Err(error)) => return Err(not_ready(&error.to_string())),
            Ok(Ok(_)) => {}
        }
        let ready: Ready = serde_json::from_str(&line).map_err(|_| not_ready("it has ended"))?;
        Ok(Self { process, url: ready.url })
    }

    /// How much memory it holds now, and held at most, in bytes (Linux only).
    pub(crate) fn memory(&self) -> Option<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        Some(Memory { resident_bytes: kibibytes("VmRSS")? * 1024, peak_bytes: kibibytes("VmHWM")? * 1024 })
    }

    /// How much of the processors it has used since it began (Linux only).
    pub(crate) fn processor(&self) -> Option<Processor> {
        let told = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).ok()?;
        Processor::read(&told)
    }
}

/// How long a process has been on a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Processor(Duration);

impl Processor {
    /// What Linux counts in: `USER_HZ`, which is 100 for all programs.
    const TICK: Duration = Duration::from_millis(10);

    /// Reads a line of `/proc/PID/stat` (proc(5)): `utime` and `stime` are its fields 14 and 15, and the name, which is the second,
    /// may hold blanks and brackets.
    fn read(stat: &str) -> Option<Self> {
        let (_, behind_name) = stat.rsplit_once(')')?;
        let mut fields = behind_name.split_ascii_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u32>().ok();
        Some(Self(Self::TICK * ticks()?.checked_add(ticks()?)?))
    }

    /// How long it was on a processor from one time to a later one.
    pub(crate) fn between(before: Option<Self>, after: Option<Self>) -> Option<Duration> {
        Some(after?.0.saturating_sub(before?.0))
    }
}

/// What a process holds in memory.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) resident_bytes: u64,
    /// At most, so far.
    pub(crate) peak_bytes: u64,
}

/// How the user may call this program from where they are: by its name if that is on the path, through cargo if cargo
/// has started it, else by its file.
pub(crate) fn own_name() -> String {
    let Ok(myself) = std::env::current_exe().and_then(|file| file.canonicalize()) else {
        return "baton".to_owned();
    };
    let is_myself = |file: PathBuf| file.canonicalize().is_ok_and(|file| file == myself);
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| is_myself(folder.join("baton"))) {
        return "baton".to_owned();
    }
    // cargo tells the programs that it runs where it lies itself.
    if std::env::var_os("CARGO").is_some() {
        let release = myself.parent().is_some_and(|folder| folder.ends_with("release"));
        return if release { "cargo run --release --" } else { "cargo run --" }.to_owned();
    }
    let here = std::env::current_dir().and_then(|folder| folder.canonicalize()).ok();
    let shown = match here.as_deref().and_then(|here| myself.strip_prefix(here).ok()) {
        Some(below) => Path::new(".").join(below),
        None => myself,
    };
    quoted(&shown.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("sqlite:a/baton.db"), "sqlite:a/baton.db");
        assert_eq!(quoted("my folder"), "'my folder'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn the_processor_time_of_a_process_is_read_whatever_its_name() {
        let stat = "17 (a) R (b) S 1 17 17 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1000 0 0";
        assert_eq!(Processor::read(stat), Some(Processor(Duration::from_secs(3))));
        assert_eq!(Processor::read("17 (a) S 1"), None);
        let later = Some(Processor(Duration::from_secs(4)));
        assert_eq!(Processor::between(Processor::read(stat), later), Some(Duration::from_secs(1)));
        assert_eq!(Processor::between(None, later), None);
    }
}
