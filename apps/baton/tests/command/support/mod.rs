//! A world for one test: a server and workers on a database in a folder of their own. All of it ends with the test.

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod sqs_wire;
pub(crate) mod terminal;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test fails; generous, as nothing waits for it to pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Notes what cannot be tried on this system: a test that is passed over looks like one that has passed, and the gate tells of it at its
/// end (`.ci/run`).
pub(crate) fn not_tested(what: &str) {
    eprintln!("NOT TESTED: {what}");
    let noted = Path::new(env!("CARGO_TARGET_TMPDIR")).join("not-tested");
    let mut noted = std::fs::OpenOptions::new().create(true).append(true).open(noted).unwrap();
    // By one write, as other tests note theirs at the same time.
    noted.write_all(format!("{what}\n").as_bytes()).unwrap();
}

/// Quick to notice what happens to workers.
pub(crate) const QUICK: &[(&str, &str)] = &[
    ("BATON_LEASES_HEARTBEAT_TIMEOUT_SECONDS", "5"),
    ("BATON_LEASES_HEARTBEAT_INTERVAL_SECONDS", "0.2"),
    ("BATON_LEASES_FORGET_GRACE_SECONDS", "1"),
    ("BATON_REAPER_INTERVAL_SECONDS", "0.2"),
];

/// As a server is by default, but with frequent heartbeats.
pub(crate) const PATIENT: &[(&str, &str)] = &[("BATON_LEASES_HEARTBEAT_INTERVAL_SECONDS", "0.2")];

/// Leaves it to the workers to end what has run too long.
pub(crate) const SLOW_REAPER: &[(&str, &str)] =
    &[("BATON_LEASES_HEARTBEAT_INTERVAL_SECONDS", "0.2"), ("BATON_REAPER_INTERVAL_SECONDS", "15")];

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("the process ends", || self.0.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) folder: TempDir,
    settings: &'static [(&'static str, &'static str)],
    server: Running,
}

impl World {
    pub(crate) fn new(settings: &'static [(&'static str, &'static str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, url) = serve(folder.path(), settings, "127.0.0.1:0");
        Self { url, folder, settings, server }
    }

    /// A world whose server has these variables besides.
    pub(crate) fn told(
        settings: &[(&'static str, &'static str)],
        variables: &[(&'static str, &str)],
    ) -> Self {
        // They last as long as the test's process.
        let leak = |(name, value): &(&'static str, &str)| (*name, &*String::leak((*value).to_owned()));
        let all: Vec<_> = settings.iter().copied().chain(variables.iter().map(leak)).collect();
        Self::new(Vec::leak(all))
    }

    /// A world whose server finds a file in its working directory.
    pub(crate) fn with_file(name: &str, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        let (server, url) = serve(folder.path(), &[], "127.0.0.1:0");
        Self { url, folder, settings: &[], server }
    }

    /// A world on the database that lies in a folder, whose server is given these flags besides.
    pub(crate) fn on(folder: TempDir, flags: &[&str]) -> Self {
        let (server, url) = serve_with(folder.path(), &[], "127.0.0.1:0", flags);
        Self { url, folder, settings: &[], server }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command of the tool, against this world's server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tool();
        command.args(arguments).env("BATON_URL", &self.url);
        command
    }

    /// Runs a command that must end with this exit code.
    pub(crate) fn run(&self, arguments: &[&str], code: i32) -> Output {
        run(self.command(arguments), code)
    }

    /// What a command answers as JSON; it must succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).args(["-o", "json"]).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", told(&output)))
    }

    /// Creates a task; the answer is its id.
    pub(crate) fn create(&self, arguments: &[&str]) -> String {
        let created = self.json(&[&["task", "create", "--type", "test"], arguments].concat());
        created["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn task(&self, id: &str) -> Value {
        self.json(&["task", "show", id])
    }

    /// Waits until a task has this status; the answer is all there is to know of it.
    pub(crate) fn becomes(&self, id: &str, status: &str) -> Value {
        let begun = Instant::now();
        loop {
            let detail = self.task(id);
            if detail["task"]["status"] == status {
                return detail;
            }
            assert!(begun.elapsed() < PATIENCE, "the task did not become {status}: {detail:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts a worker named `w1` that runs this script for each task of the default queue.
    pub(crate) fn worker(&self, script: &str) -> Running {
        self.worker_with(&[], script)
    }

    pub(crate) fn worker_with(&self, arguments: &[&str], script: &str) -> Running {
        self.worker_named("w1", arguments, script)
    }

    pub(crate) fn worker_named(&self, name: &str, arguments: &[&str], script: &str) -> Running {
        let log = std::fs::File::options().create(true).append(true).open(self.path("worker.log")).unwrap();
        let mut command = self.command(&["worker", "run", "--id", name]);
        command.args(arguments).args(["--", "sh", "-c", script]);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Running(command.spawn().unwrap())
    }

    pub(crate) fn worker_log(&self) -> String {
        std::fs::read_to_string(self.path("worker.log")).unwrap()
    }

    pub(crate) fn kill_server(&mut self) {
        self.server.signal(Signal::SIGKILL);
        self.server.wait();
    }

    /// How the server ends by itself.
    pub(crate) fn server_ends(&mut self) -> ExitStatus {
        self.server.wait()
    }

    pub(crate) fn server_log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap()
    }

    /// What the server answers to `GET` of this path: the status and the JSON.
    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "")
    }

    /// What the server answers to one request, which is not repeated.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.ask_with("", method, path, body)
    }

    /// The same with a header's line, or none.
    pub(crate) fn ask_with(&self, header: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask_text(header, method, path, body);
        (status, serde_json::from_str(&body).unwrap())
    }

    /// The same, with the answer's text as it is.
    pub(crate) fn ask_text(&self, header: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.url.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{header}");
        write!(stream, "{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// The number of the server's process.
    pub(crate) fn server_process(&self) -> u32 {
        self.server.0.id()
    }

    /// Ends the server as an operator does; the answer is how it ended.
    pub(crate) fn end_server(&mut self) -> ExitStatus {
        self.end_server_by(Signal::SIGTERM)
    }

    pub(crate) fn end_server_by(&mut self, signal: Signal) -> ExitStatus {
        self.server.signal(signal);
        self.server.wait()
    }

    pub(crate) fn signal_server(&self, signal: Signal) {
        self.server.signal(signal);
    }

    /// Starts it again, on the same address and database.
    pub(crate) fn restart_server(&mut self) {
        let address = self.url.strip_prefix("http://").unwrap().to_owned();
        let (server, _) = serve(self.folder.path(), self.settings, &address);
        self.server = server;
    }
}

/// The tool in a known environment.
pub(crate) fn tool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    let known = |name: &str| ["BATON_", "OTEL_", "TRACE"].iter().any(|ours| name.starts_with(ours));
    for (name, _) in std::env::vars_os().filter(|(name, _)| known(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.env_remove("COLUMNS").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

fn serve(folder: &Path, settings: &[(&str, &str)], address: &str) -> (Running, String) {
    serve_with(folder, settings, address, &[])
}

fn serve_with(folder: &Path, settings: &[(&str, &str)], address: &str, flags: &[&str]) -> (Running, String) {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("server.log")).unwrap();
    let mut command = tool();
    command.args(["serve", "-o", "json", "--listen", address, "--store", "sqlite:baton.db"]).args(flags);
    command.envs(settings.iter().copied()).current_dir(folder).stdout(Stdio::piped()).stderr(log);
    let mut running = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let log = || std::fs::read_to_string(folder.join("server.log")).unwrap();
    let ready: Value =
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the server did not start: {}", log()));
    (running, ready["url"].as_str().unwrap().to_owned())
}

/// A port that nobody listens on, for whoever has to name one before it is taken: below those that systems give to who asks for any, so that no
/// other test is given it meanwhile.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(12_000 + number % 20_000).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Looks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Writes a program that can be executed. Another process writes it: a file that this one has open for writing could be held open by what
/// another test starts just then, and would be "busy" for whoever executes it.
pub(crate) fn program(file: &Path, text: &str) {
    let mut child = std::process::Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(file)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{}", file.display());
}

/// Waits until a script has written its process ids (one word each) into a file.
pub(crate) fn pids(file: &Path, count: usize) -> Vec<i32> {
    until("the process ids are written", || {
        let text = std::fs::read_to_string(file).ok()?;
        let pids: Vec<i32> = text.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        (pids.len() == count && text.ends_with('\n')).then_some(pids)
    })
}

/// Whether a process is there; one that has ended but was not waited for does not count.
pub(crate) fn alive(pid: i32) -> bool {
    let zombie = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')));
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH) && !zombie
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs a command that must end with this exit code.
pub(crate) fn run(mut command: Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {}", told(&output));
    output
}

pub(crate) fn told(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\nstdout: {}\nstderr: {}", output.status, text(&output.stdout), text(&output.stderr))
}

/// The kinds of a task's events, in order.
pub(crate) fn events(detail: &Value) -> Vec<&str> {
    detail["history"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

/// The seconds between the first events of two kinds in a task's history.
pub(crate) fn seconds_between(detail: &Value, from: &str, to: &str) -> f64 {
    let at = |kind| {
        let events = detail["history"].as_array().unwrap();
        let event = events.iter().find(|event| event["kind"] == kind).unwrap();
        event["at"].as_str().unwrap().parse::<baton_model::Timestamp>().unwrap()
    };
    (at(to).as_millis() - at(from).as_millis()) as f64 / 1_000.0
}
