//! One attempt: the command run to its end, by itself or by force.

use std::io::ErrorKind;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_api::task::TaskView;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::Instrument as _;

use crate::group::Group;
use crate::outcome::Outcome;
use crate::output::{Listener, Said};
use crate::shared::{Listed, Shared, lock};
use crate::stop::Phase;
use crate::unstarted::not_started;

/// Params of this size and more do not go into the environment: Linux takes at most 128 KiB for one variable.
const PARAMS_BYTES: usize = 100 * 1024;
/// The longest that a command which ran past its timeout has between SIGTERM and SIGKILL, whatever the worker's grace:
/// the server takes the task back meanwhile.
const TIMEOUT_GRACE: Duration = Duration::from_secs(5);
/// How long a command's output is read after its group has ended: some other process may hold it open.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(1);

/// How the waiting for a command ended.
enum End {
    Exited(std::io::Result<std::process::ExitStatus>),
    Lost(String),
    TimedOut(Duration),
    Stopped,
}

/// Runs a task's command to its end.
pub(crate) async fn run(shared: &Arc<Shared>, task: &TaskView, listed: &Arc<Listed>) -> Outcome {
    let stopped = || Outcome::Released { delay: Duration::ZERO, reason: "the worker stops".to_owned() };
    if shared.stop.phase() == Phase::Stop {
        return stopped();
    }
    let (mut child, group) = match spawn(shared, task) {
        Ok(spawned) => spawned,
        Err(error) => return not_started(shared, task, &error),
    };
    shared.started();
    lock(&shared.guard).take_up(group);
    let said = Arc::new(Mutex::new(Said::nothing()));
    let listener =
        Listener { shared: Arc::clone(shared), listed: Arc::clone(listed), said: Arc::clone(&said) };
    let streams = connect(&mut child, task, listener);

    let limit = task.timeout_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let end = tokio::select! {
        status = child.wait() => End::Exited(status),
        why = listed.lost() => End::Lost(why),
        limit = after(limit) => End::TimedOut(limit),
        () = shared.stop.reached(Phase::Stop) => End::Stopped,
    };
    match &end {
        End::Exited(_) if group.exists() => {
            tracing::warn!("the command has left processes running in its group; they are ended");
            group.end(&mut child, shared.options.grace).await;
        }
        End::Exited(_) => {}
        End::Lost(why) => {
            tracing::warn!(reason = %why, "the attempt is no longer this worker's; its command is ended");
            group.end(&mut child, shared.options.grace).await;
        }
        End::TimedOut(limit) => {
            tracing::warn!(
                timeout_seconds = limit.as_secs_f64(),
                "the attempt's time is up; its command is ended"
            );
            group.end(&mut child, shared.options.grace.min(TIMEOUT_GRACE)).await;
        }
        End::Stopped => {
            tracing::info!("the worker stops; the command is ended");
            group.end(&mut child, shared.options.grace).await;
        }
    }
    for stream in streams {
        let abort = stream.abort_handle();
        if timeout(OUTPUT_PATIENCE, stream).await.is_err() {
            abort.abort();
        }
    }
    lock(&shared.guard).let_go(group);
    let mut said = lock(&said);
    match end {
        End::Exited(Ok(status)) => Outcome::of_exit(status, &mut said, shared.options.release_delay),
        End::Exited(Err(error)) => {
            Outcome::failed("wait_failed", format!("could not wait for the command: {error}"), true)
        }
        End::Lost(reason) => Outcome::Lost { reason },
        End::TimedOut(limit) => Outcome::timed_out(limit, &said),
        End::Stopped => stopped(),
    }
}

/// Starts the task's command, without its params in the environment if that has become too large by them.
fn spawn(shared: &Shared, task: &TaskView) -> std::io::Result<(Child, Group)> {
    match spawn_with(shared, task, task.params.size() < PARAMS_BYTES) {
        // The limit is a quarter of the stack's (execve(2)), and the worker's own environment takes its part of it.
        Err(error) if error.kind() == ErrorKind::ArgumentListTooLong && task.params.size() < PARAMS_BYTES => {
            tracing::warn!(
                bytes = task.params.size(),
                "the environment is too large with the task's params; they come by standard input alone"
            );
            spawn_with(shared, task, false)
        }
        spawned => spawned,
    }
}

fn spawn_with(shared: &Shared, task: &TaskView, params: bool) -> std::io::Result<(Child, Group)> {
    let [program, arguments @ ..] = shared.options.command.as_slice() else {
        return Err(std::io::Error::other("there is no command"));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("BATON_TASK_ID", task.id.to_string())
        .env("BATON_TASK_TYPE", task.task_type.as_str())
        .env("BATON_QUEUE", task.queue.as_str())
        .env("BATON_ATTEMPT", task.attempt.to_string())
        .env("BATON_WORKER_ID", shared.options.id.as_str())
        .env("BATON_URL", shared.client.base())
        .env_remove("BATON_PARAMS")
        // What the worker may do is not for its commands to do.
        .env_remove("BATON_TOKEN")
        .env_remove("BATON_TOKEN_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if params {
        command.env("BATON_PARAMS", task.params.as_str());
    }
    let child = command.spawn()?;
    let group = Group::of(&child).ok_or_else(|| std::io::Error::other("the command has no process id"))?;
    Ok((child, group))
}

/// Hands the task in and listens to what comes out, for as long as the streams last.
fn connect(child: &mut Child, task: &TaskView, listener: Listener) -> Vec<JoinHandle<()>> {
    let mut streams = Vec::new();
    if let Some(mut stdin) = child.stdin.take() {
        let mut line = serde_json::to_vec(task).unwrap_or_default();
        line.push(b'\n');
        streams.push(tokio::spawn(async move {
            // A command that does not read its input is free not to.
            let _ = stdin.write_all(&line).await;
        }));
    }
    let span = tracing::Span::current();
    if let Some(stderr) = child.stderr.take() {
        streams.push(tokio::spawn(listener.clone().stderr(stderr).instrument(span.clone())));
    }
    if let Some(stdout) = child.stdout.take() {
        streams.push(tokio::spawn(listener.stdout(stdout).instrument(span)));
    }
    streams
}

/// Waits for `limit`, for ever if there is none.
async fn after(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}
