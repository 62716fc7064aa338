//! A program that runs for one attempt: started, listened to, and ended with all that it has started.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use baton_api::task::TaskView;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use crate::family::Kin;
use crate::mark::Mark;
use crate::output::{Listener, Said};
use crate::shared::{Listed, Shared, lock};

/// Params of this size and more do not go into the environment: Linux takes at most 128 KiB for one variable.
const PARAMS_BYTES: usize = 100 * 1024;
/// The variable that names the folder for files.
const OUTPUTS: &str = "BATON_OUTPUTS";
/// The variables that say in which trace a program runs, as libraries of OpenTelemetry and other tools read them.
const TRACEPARENT: &str = "TRACEPARENT";
const TRACESTATE: &str = "TRACESTATE";
/// How often processes that were told to end are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A program, from its start until nothing is left of it.
pub(crate) struct Program {
    child: Child,
    kin: Kin,
    /// Those who read what it writes, and who writes what it reads.
    streams: JoinSet<()>,
    input: JoinSet<()>,
    exited: watch::Sender<bool>,
    said: Arc<Mutex<Said>>,
    /// Since when all of it has been told to end.
    ending: Option<Instant>,
    shared: Arc<Shared>,
}

impl Program {
    /// Starts a task's command; `outputs` is where it may leave files.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        task: &TaskView,
        listed: &Arc<Listed>,
        outputs: Option<&Path>,
    ) -> io::Result<Self> {
        let (child, kin) = spawn(shared, task, outputs)?;
        lock(&shared.guard).take_up(kin.group());
        let result_bytes = shared.result_bytes();
        let (exit, exited) = watch::channel(false);
        let said = Arc::new(Mutex::new(Said::nothing(result_bytes)));
        let listener = Listener {
            shared: Arc::clone(shared),
            listed: Arc::clone(listed),
            said: Arc::clone(&said),
            result_bytes,
            exited,
        };
        let mut program = Self {
            child,
            kin,
            streams: JoinSet::new(),
            input: JoinSet::new(),
            exited: exit,
            said,
            ending: None,
            shared: Arc::clone(shared),
        };
        program.connect(task, listener);
        Ok(program)
    }

    /// Hands the task in and listens to what comes out, for as long as the streams last.
    fn connect(&mut self, task: &TaskView, listener: Listener) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let mut line = serde_json::to_vec(task).unwrap_or_default();
            line.push(b'\n');
            self.input.spawn(async move {
                // A command that does not read its input is free not to.
                let _ = stdin.write_all(&line).await;
            });
        }
        let span = tracing::Span::current();
        if let Some(stderr) = self.child.stderr.take() {
            self.streams.spawn(listener.clone().stderr(stderr).instrument(span.clone()));
        }
        if let Some(stdout) = self.child.stdout.take() {
            self.streams.spawn(listener.stdout(stdout).instrument(span));
        }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> MutexGuard<'_, Said> {
        lock(&self.said)
    }

    /// Waits until it exits by itself.
    pub(crate) async fn exit(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.kin.waited_for();
        status
    }

    /// Hears the last words of a program that has exited: the streams are read to their end or, where some other
    /// process holds them open, until they are quiet.
    pub(crate) async fn hear_out(&mut self) {
        self.input.abort_all();
        self.exited.send_replace(true);
        // A panic in a reader has been printed; what was said before it is kept.
        while self.streams.join_next().await.is_some() {}
    }

    /// Whether anything that it has started is left, itself included.
    pub(crate) fn is_left(&mut self) -> bool {
        runs(&mut self.child, &self.kin) || self.kin.is_left()
    }

    /// Tells all of it SIGTERM, once.
    pub(crate) fn terminate(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(Instant::now());
            self.kin.terminate();
        }
    }

    /// Waits until all of it has ended, and has been heard out.
    pub(crate) async fn gone(&mut self) {
        while self.is_left() {
            sleep(LOOK).await;
        }
        self.hear_out().await;
    }

    /// Has all of it end: by SIGTERM and, `grace` after that, SIGKILL.
    pub(crate) async fn end(&mut self, grace: Duration) {
        self.terminate();
        let since = self.ending.unwrap_or_else(Instant::now);
        let Self { child, kin, .. } = self;
        kin.end(since, grace, &mut || runs(child, kin)).await;
        self.hear_out().await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        lock(&self.shared.guard).let_go(self.kin.group());
    }
}

/// Whether the program itself has not ended.
fn runs(child: &mut Child, kin: &Kin) -> bool {
    let runs = matches!(child.try_wait(), Ok(None));
    if !runs {
        kin.waited_for();
    }
    runs
}

/// Starts the task's command, without its params in the environment if that has become too large by them.
fn spawn(shared: &Shared, task: &TaskView, outputs: Option<&Path>) -> io::Result<(Child, Kin)> {
    match spawn_with(shared, task, outputs, task.params.size() < PARAMS_BYTES) {
        // The limit is a quarter of the stack's (execve(2)), and the worker's own environment takes its part of it.
        Err(error)
            if error.kind() == io::ErrorKind::ArgumentListTooLong && task.params.size() < PARAMS_BYTES =>
        {
            tracing::warn!(
                bytes = task.params.size(),
                "the environment is too large with the task's params; they come by standard input alone"
            );
            spawn_with(shared, task, outputs, false)
        }
        spawned => spawned,
    }
}

fn spawn_with(
    shared: &Shared,
    task: &TaskView,
    outputs: Option<&Path>,
    params: bool,
) -> io::Result<(Child, Kin)> {
    let [program, arguments @ ..] = shared.options.command.as_slice() else {
        return Err(io::Error::other("there is no command"));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("BATON_TASK_TYPE", task.task_type.as_str())
        .env("BATON_QUEUE", task.queue.as_str())
        .env("BATON_WORKER_ID", shared.options.id.as_str())
        .env("BATON_URL", shared.client.base())
        .env_remove("BATON_PARAMS")
        .env_remove(OUTPUTS)
        // What the worker may do is not for its commands to do.
        .env_remove("BATON_TOKEN")
        .env_remove("BATON_TOKEN_FILE")
        // That of whoever has started the worker is not the task's.
        .env_remove(TRACEPARENT)
        .env_remove(TRACESTATE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if params {
        command.env("BATON_PARAMS", task.params.as_str());
    }
    if let Some(outputs) = outputs {
        command.env(OUTPUTS, outputs);
    }
    if let Some(parent) = task.lease.as_ref().and_then(|lease| lease.traceparent).or(task.traceparent) {
        command.env(TRACEPARENT, parent.to_string());
    }
    if let Some(state) = &task.tracestate {
        command.env(TRACESTATE, state.as_str());
    }
    shared.family.start(&mut command, Mark::new(shared.session, task.id, task.attempt))
}
