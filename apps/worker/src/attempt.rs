//! One attempt: the command run to its end, by itself or by force.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use baton_api::task::TaskView;
use baton_model::Level;
use tokio::time::{Instant, sleep, timeout};

use crate::outcome::{Done, Outcome, TIMED_OUT};
use crate::outputs::Folder;
use crate::program::Program;
use crate::shared::{Listed, Shared};
use crate::stop::Phase;
use crate::unstarted::not_started;
use crate::upload::upload;

/// The longest that a command which ran past its timeout has between SIGTERM and SIGKILL, whatever the worker's grace:
/// the task is free for its next attempt meanwhile, which is not to run beside it for long.
const TIMEOUT_GRACE: Duration = Duration::from_secs(5);
/// How long a command that ran past its timeout is listened to after SIGTERM before the failure is told. The server takes
/// the task back by itself at its reaper's next round, and knows no last words.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What is left of an attempt whose outcome is known: processes that are still to be ended, and then the folder that they may write to.
#[derive(Default)]
pub(crate) struct Rest {
    program: Option<(Program, Duration)>,
    folder: Option<Folder>,
}

impl Rest {
    pub(crate) async fn end(self) {
        if let Some((mut program, grace)) = self.program {
            program.end(grace).await;
        }
        if let Some(folder) = self.folder {
            folder.remove().await;
        }
    }
}

/// How the waiting for a command ended.
enum End {
    Exited(io::Result<ExitStatus>),
    Lost(String),
    TimedOut(Duration),
    Stopped,
}

/// Runs a task's command until its outcome is known. What is left of it then is to be ended while that is told: the
/// telling is not to wait for the grace of what ignores SIGTERM.
pub(crate) async fn run(shared: &Arc<Shared>, task: &TaskView, listed: &Arc<Listed>) -> (Outcome, Rest) {
    if shared.stop.phase() == Phase::Stop {
        return (stopped(), Rest::default());
    }
    let folder = match shared.outputs.fresh(task) {
        Ok(folder) => folder,
        Err(error) => return (not_started(shared, task, &error), Rest::default()),
    };
    let mut program = match Program::start(shared, task, listed, folder.as_ref().map(Folder::path)) {
        Ok(program) => program,
        Err(error) => {
            return (not_started(shared, task, &error), Rest { folder, ..Rest::default() });
        }
    };
    shared.started();
    let began = Instant::now();
    let limit = task.timeout_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let end = tokio::select! {
        status = program.exit() => End::Exited(status),
        end = cut(shared, listed, (began, limit)) => end,
    };
    let grace = shared.options.grace;
    let (outcome, program) = match end {
        End::Exited(status) => {
            // Before anything is ended: what a shell has put behind its output may still be passing it on.
            program.hear_out().await;
            let mut left = program.is_left();
            if left {
                tracing::warn!("the command has left processes running; they are ended");
            }
            if left && folder.is_some() {
                // What still writes there has not left its files yet.
                program.end(grace).await;
                left = false;
            }
            let outcome = of_exit(shared, listed, &program, status, left);
            let outcome = match (outcome, &folder) {
                (Outcome::Done(mut done), Some(folder)) => {
                    done.ran = Some(began.elapsed());
                    tokio::select! {
                        outcome = with_files(shared, task, folder, done) => outcome,
                        end = cut(shared, listed, (began, limit)) => cut_off(end),
                    }
                }
                (outcome, _) => outcome,
            };
            (outcome, left.then_some((program, grace)))
        }
        End::Lost(reason) => {
            tracing::warn!(%reason, "the attempt is no longer this worker's; its command is ended");
            program.end(grace).await;
            (Outcome::Lost { reason }, None)
        }
        End::TimedOut(limit) => {
            tracing::warn!(
                timeout_seconds = limit.as_secs_f64(),
                "the attempt's time is up; its command is ended"
            );
            program.terminate();
            let left = timeout(LAST_WORDS, program.gone()).await.is_err();
            let outcome = Outcome::timed_out(limit, &program.said());
            (outcome, left.then_some((program, grace.min(TIMEOUT_GRACE))))
        }
        End::Stopped => {
            tracing::info!("the worker stops; the command is ended");
            program.end(grace).await;
            (stopped(), None)
        }
    };
    (outcome, Rest { program, folder })
}

fn stopped() -> Outcome {
    Outcome::Released { delay: Duration::ZERO, reason: "the worker stops".to_owned() }
}

/// Waits until the attempt is to be ended before it ends by itself.
async fn cut(shared: &Shared, listed: &Listed, (began, limit): (Instant, Option<Duration>)) -> End {
    tokio::select! {
        why = listed.lost() => End::Lost(why),
        limit = after(began, limit) => End::TimedOut(limit),
        () = shared.stop.reached(Phase::Stop) => End::Stopped,
    }
}

/// The outcome of a command that is done, once its files are with the server.
async fn with_files(shared: &Shared, task: &TaskView, folder: &Folder, done: Box<Done>) -> Outcome {
    match upload(shared, task, folder).await {
        Ok(files) => Outcome::Done(Box::new(Done { files, ..*done })),
        Err(failed) => {
            tracing::warn!("the command is done, but its outputs could not be handed in");
            failed
        }
    }
}

/// The outcome of an attempt that was ended while its files went to the server.
fn cut_off(end: End) -> Outcome {
    match end {
        End::Lost(reason) => Outcome::Lost { reason },
        End::TimedOut(limit) => {
            let message = format!(
                "the command was done, but its outputs were not handed in when the time of {} s was up",
                limit.as_secs_f64()
            );
            Outcome::failed(TIMED_OUT, message, true)
        }
        End::Stopped | End::Exited(_) => stopped(),
    }
}

/// The outcome of a command that has exited; what is to be known of its output besides goes into the task's log.
fn of_exit(
    shared: &Shared,
    listed: &Listed,
    program: &Program,
    status: io::Result<ExitStatus>,
    left: bool,
) -> Outcome {
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            return Outcome::failed("wait_failed", format!("could not wait for the command: {error}"), true);
        }
    };
    let (outcome, remark) = Outcome::of_exit(status, &mut program.said(), shared.options.release_delay);
    if let Some(remark) = remark {
        tracing::warn!("{remark}");
        shared.log(Level::Warn, "worker", Some(listed.task), &remark, None);
    }
    match outcome {
        Outcome::Done(mut done) => {
            done.slot_taken = left;
            Outcome::Done(done)
        }
        outcome => outcome,
    }
}

/// Waits until `limit` has passed since `began`, for ever if there is none.
async fn after(began: Instant, limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            sleep(limit.saturating_sub(began.elapsed())).await;
            limit
        }
        None => std::future::pending().await,
    }
}
